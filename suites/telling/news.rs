//! Notifications of real runs.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::process::Stdio;
use std::thread::JoinHandle;
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

/// A listener that takes so many messages; its address, and what it was told.
fn listener(count: usize) -> std::io::Result<(String, JoinHandle<Vec<String>>)> {
    let socket = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/SECRET", socket.local_addr()?);
    let told = std::thread::spawn(move || {
        (0..count)
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
    Ok((url, told))
}

/// The head of a request, and its body.
type Request = (String, String);

/// Takes so many requests with a body, and gives back their heads and bodies.
fn server(count: usize) -> std::io::Result<(String, JoinHandle<Vec<Request>>)> {
    let socket = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}", socket.local_addr()?);
    let took = std::thread::spawn(move || {
        let take = |_| {
            let (stream, _) = socket.accept().expect("a connection");
            let mut reader = BufReader::new(stream);
            let (mut head, mut line) = (String::new(), String::new());
            while reader.read_line(&mut line).expect("a line") > 2 {
                head += &std::mem::take(&mut line);
            }
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                (name.eq_ignore_ascii_case("content-length")).then(|| value.trim().parse().ok())?
            });
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body).expect("a body");
            reader
                .get_mut()
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .expect("written");
            (head, String::from_utf8_lossy(&body).into_owned())
        };
        (0..count).map(take).collect()
    });
    Ok((address, took))
}

pub fn a_run_is_told_to_slack_a_pushgateway_and_statsd() -> Outcome {
    let place = Place::new();
    let ((hook, slack), (gateway, pushed)) = (server(1)?, server(1)?);
    let statsd = UdpSocket::bind("127.0.0.1:0")?;
    statsd.set_read_timeout(Some(Duration::from_secs(10)))?;
    place.write(
        "redrill.toml",
        &format!(
            "[metrics]\npushgateway = \"{gateway}\"\nstatsd = \"{}\"\n\
             [[notify]]\nkind = \"slack\"\nurl_env = \"HOOK\"\nwhen = \"always\"\n",
            statsd.local_addr()?
        ),
    );
    let output = place
        .command(&["drill", "shop.toml", "--services", "local"])
        .env("HOOK", format!("{hook}/services/SECRET"))
        .output()?;
    exits(&output, 0)?;
    if all(&output).contains("error:") || all(&output).contains("SECRET") {
        return Err(all(&output).into());
    }
    let rto = &place.record()?["drills"][0]["rto"]["total_seconds"];
    let one = |took: JoinHandle<Vec<Request>>| {
        let took = took.join().map_err(|_| "the server failed")?;
        took.into_iter().next().ok_or("nothing came")
    };
    let (head, body) = one(slack)?;
    contains(
        &head,
        &["POST /services/SECRET HTTP/1.1", "application/json"],
    )?;
    let message: serde_json::Value = serde_json::from_str(&body)?;
    contains(&message.to_string(), &["\"text\":", "Shop", "1/1"])?;
    let (head, body) = one(pushed)?;
    contains(&head, &["PUT /metrics/job/redrill/suite/shop HTTP/1.1"])?;
    let figure = format!("redrill_rto_seconds{{suite=\"shop\",drill=\"shop/lost\"}} {rto}");
    contains(&body, &["redrill_run_passed{suite=\"shop\"} 1", &figure])?;
    let mut packet = [0; 65536];
    let length = statsd.recv(&mut packet)?;
    let said = String::from_utf8_lossy(&packet[..length]).into_owned();
    let figure = format!("redrill.shop.lost.rto_seconds:{rto}|g");
    contains(&said, &["redrill.shop.lost.drill_passed:1|g", &figure])
}

const TOLD: &str =
    "[metrics]\ntextfile = \"figures\"\n[[notify]]\nkind = \"webhook\"\nurl_env = \"HOOK\"\n";

/// Nothing was verified, and everyone hears of it: whoever asked to, the history, the figures.
fn is_told_everywhere(arguments: &[&str], exit: i32, drill: &str, words: &[&str]) -> Outcome {
    let place = Place::new();
    place.write("redrill.toml", TOLD);
    for folder in ["figures", "empty"] {
        std::fs::create_dir(place.path(folder))?;
    }
    std::fs::create_dir(place.path("hollow"))?;
    place.write("hollow/empty.dump", "");
    place.write(
        "shop.toml",
        &SUITE.replace(
            "kind = \"postgres\"",
            "kind = \"postgres\"\nversion = \"9\"",
        ),
    );
    let (url, told) = listener(1)?;
    let output = place.command(arguments).env("HOOK", url).output()?;
    exits(&output, exit)?;
    says(&output, words)?;
    let told = told.join().map_err(|_| "the listener failed")?;
    contains(&told[0], &["\"event\":\"failure\"", drill])?;
    let record = place.record()?;
    if record["state"] != "finished" || record["drills"][0]["id"] != drill {
        return Err(format!("{record}").into());
    }
    says(&place.redrill(&["history"]), &[drill])?;
    let suite = drill.split('/').next().unwrap_or_default();
    let figures = std::fs::read_to_string(place.path(&format!("figures/redrill-{suite}.prom")))?;
    let passed = format!("redrill_drill_passed{{suite=\"{suite}\",drill=\"{drill}\"}} 0");
    contains(&figures, &[&passed, "redrill_drill_timestamp_seconds{"])?;
    // What could not be reached has not failed, and what holds nothing has.
    let verdict = if exit == 1 { "failed" } else { "undetermined" };
    let mode = if exit == 1 { "local" } else { "none" };
    match record["drills"][0]["verdict"] == verdict && record["services"]["mode"] == mode {
        true => Ok(()),
        false => Err(format!("{record}").into()),
    }
}

pub fn a_drill_whose_engine_is_missing_is_told_everywhere() -> Outcome {
    let arguments = ["drill", "shop.toml", "--services", "local"];
    is_told_everywhere(
        &arguments,
        3,
        "shop/lost",
        &["no PostgreSQL server (version 9)"],
    )
}

pub fn an_address_that_nobody_answers_at_is_told_everywhere() -> Outcome {
    let arguments = [
        "verify",
        "http://127.0.0.1:9/shop.dump",
        "--services",
        "local",
    ];
    let drill = "verify/shop";
    is_told_everywhere(
        &arguments,
        3,
        drill,
        &["fetch http://127.0.0.1:9/shop.dump"],
    )
}

pub fn a_folder_without_an_artifact_is_told_everywhere() -> Outcome {
    let arguments = [
        "verify",
        "empty",
        "--services",
        "local",
        "--lineage",
        "shop",
    ];
    is_told_everywhere(&arguments, 3, "verify/shop", &["holds no artifact"])
}

pub fn a_folder_with_only_empty_files_is_told_everywhere() -> Outcome {
    let arguments = [
        "verify",
        "hollow",
        "--services",
        "local",
        "--lineage",
        "shop",
    ];
    is_told_everywhere(&arguments, 1, "verify/shop", &["empty.dump is empty"])
}

pub fn a_secret_in_what_is_told_fails_the_run_and_is_told_by_its_name() -> Outcome {
    let place = Place::new();
    std::fs::create_dir(place.path("empty"))?;
    let verify = |endpoint: &str| {
        let arguments = [
            "verify",
            "empty",
            "--endpoint",
            endpoint,
            "--services",
            "local",
        ];
        place
            .command(&arguments)
            .env("AWS_ACCESS_KEY_ID", "reader")
            .env("AWS_SECRET_ACCESS_KEY", "Geheim-9-lesen")
            .output()
    };
    exits(&verify("http://127.0.0.1:9")?, 3)?;
    let output = verify("http://reader:Geheim-9-lesen@127.0.0.1:9")?;
    exits(&output, 1)?;
    says(&output, &["secret-leaked", "secret key of S3"])?;
    let run = place.runs().pop().ok_or("no run")?;
    let mut told = all(&output);
    for name in ["record.json", "report.md", "report.html", "junit.xml"] {
        told += &std::fs::read_to_string(run.join(name))?;
    }
    contains(&told, &["\"verdict\": \"failed\"", "<secret key of S3>"])?;
    match told.contains("Geheim-9-lesen") {
        true => Err("the secret stands there".into()),
        false => Ok(()),
    }
}

pub fn a_full_standard_output_keeps_nobody_from_hearing_of_it() -> Outcome {
    let place = Place::new();
    place.write(
        "redrill.toml",
        "[[notify]]\nkind = \"webhook\"\nurl_env = \"HOOK\"\nwhen = \"always\"\n",
    );
    let (url, told) = listener(2)?;
    for (suite, exit) in [(SUITE.to_owned(), 0), (SUITE.replace("15m", "1ms"), 1)] {
        place.write("shop.toml", &suite);
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full")?;
        let output = place
            .command(&["drill", "shop.toml", "--services", "local"])
            .env("HOOK", &url)
            .stdout(full)
            .output()?;
        exits(&output, exit)?;
        says(&output, &["error: write the result", "No space left"])?;
    }
    let told = told.join().map_err(|_| "the listener failed")?;
    contains(&told[0], &["\"event\":\"passed\""])?;
    contains(&told[1], &["\"event\":\"failure\""])
}

pub fn failure_and_recovery_are_told_and_no_secret_is_printed() -> Outcome {
    let place = Place::new();
    let (url, told) = listener(2)?;
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
        // Nobody listens after the second: a third message would be told to have failed.
        if all(&output).contains("notify webhook") {
            return Err(all(&output).into());
        }
    }
    let told = told.join().map_err(|_| "the listener failed")?;
    contains(&told[0], &["\"event\":\"failure\"", "rto-missed"])?;
    contains(&told[1], &["\"event\":\"recovery\""])
}
