//! Notifications of real runs.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::place::{Outcome, Place, SUITE, all, contains, exits, says};

pub fn mistakes_in_redrill_toml_are_told_before_anything_starts() -> Outcome {
    let place = Place::new();
    place.write(
        "redrill.toml",
        "[[notify]]\nkind = \"slack\"\nurl_env = \"https://hooks.example/SECRET\"\n",
    );
    let output = place.redrill(&["drill", "shop.toml"]);
    exits(&output, 2)?;
    says(&output, &["redrill.toml:3:", "environment variable"])?;
    match all(&output).contains("SECRET") {
        true => Err("the secret is repeated".into()),
        false => Ok(()),
    }
}

pub fn a_webhook_that_hangs_holds_up_no_verdict() -> Outcome {
    let place = Place::new();
    let socket = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/SECRET", socket.local_addr()?);
    place.write("redrill.toml", "[[notify]]\nkind = \"webhook\"\nurl_env = \"HOOK\"\nwhen = \"always\"\ndeadline = \"1s\"\n");
    let mut drill = place
        .command(&["drill", "shop.toml", "--services", "local"])
        .env("HOOK", url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // The verdict stands there before anybody is told: nothing of the socket was answered yet.
    let mut printed = BufReader::new(drill.stdout.take().ok_or("no stdout")?);
    let mut verdict = String::new();
    while !verdict.contains("PASSED: 1/1 tests") {
        if printed.read_line(&mut verdict)? == 0 {
            return Err(format!("no verdict: {verdict}").into());
        }
    }
    if drill.try_wait()?.is_some() {
        return Err("nobody was waited for".into());
    }
    let began = Instant::now();
    printed.read_to_string(&mut verdict)?;
    let mut output = drill.wait_with_output()?;
    let waited = began.elapsed();
    output.stdout = verdict.into_bytes();
    exits(&output, 0)?;
    says(
        &output,
        &["PASSED", "error: notify webhook (HOOK)", "did not answer"],
    )?;
    if all(&output).contains("SECRET") {
        return Err("the address is repeated".into());
    }
    // Three tries of a second each, with pauses; a webhook without a deadline would be waited for much longer.
    match waited < Duration::from_secs(20) {
        true => Ok(()),
        false => Err(format!("it was waited for {waited:?}").into()),
    }
}

pub fn failure_and_recovery_are_told_and_no_secret_is_printed() -> Outcome {
    let place = Place::new();
    let socket = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/SECRET", socket.local_addr()?);
    let told = std::thread::spawn(move || {
        (0..2)
            .map(|_| {
                let (mut stream, _) = socket.accept().expect("a connection");
                let mut request = Vec::new();
                let mut part = [0; 4096];
                while !String::from_utf8_lossy(&request).ends_with('}') {
                    let read = stream.read(&mut part).expect("read");
                    request.extend(&part[..read]);
                }
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    .expect("written");
                String::from_utf8_lossy(&request).into_owned()
            })
            .collect::<Vec<_>>()
    });
    place.write(
        "redrill.toml",
        "[[notify]]\nkind = \"webhook\"\nurl_env = \"HOOK\"\n",
    );
    // Too slow for its objective, and then not.
    for (suite, exit) in [
        (SUITE.replace("15m", "1ms"), 1),
        (SUITE.to_owned(), 0),
        (SUITE.to_owned(), 0),
    ] {
        place.write("shop.toml", &suite);
        let output = place
            .command(&["drill", "shop.toml", "--services", "local"])
            .env("HOOK", &url)
            .output()?;
        exits(&output, exit)?;
        if all(&output).contains("SECRET") {
            return Err("the address is repeated".into());
        }
    }
    let told = told.join().map_err(|_| "the listener failed")?;
    contains(&told[0], &["\"event\":\"failure\"", "rto-missed"])?;
    contains(&told[1], &["\"event\":\"recovery\""])
}
