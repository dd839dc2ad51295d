//! Notifications over TLS, to listeners of this machine: over https, over SMTP from its first byte, and over SMTP that
//! turns to TLS. Their certificate is trusted where `SSL_CERT_FILE` names it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use redrill::provision::local::tls::TlsFront;
use tokio::runtime::Runtime;

use super::place::{Outcome, Place, all, contains, exits, says};

/// How long a message is waited for that redrill says it has delivered.
const PATIENCE: Duration = Duration::from_secs(10);
const CHANNELS: &str = r#"
[[notify]]
kind = "webhook"
url_env = "HOOK"
when = "always"
deadline = "3s"
[[notify]]
kind = "email"
url_env = "MAIL"
from = "redrill@example.org"
to = ["ops@example.org"]
when = "always"
deadline = "3s"
[[notify]]
kind = "email"
url_env = "MAIL_UPGRADED"
from = "redrill@example.org"
to = ["ops@example.org"]
when = "always"
deadline = "3s"
"#;

/// Answers one connection, and says what was told.
type Answer = fn(TcpStream, Sender<(&'static str, String)>);

/// Three listeners behind one certificate each, and what they were told.
struct Listeners {
    fronts: Vec<TlsFront>,
    upgraded: u16,
    told: Receiver<(&'static str, String)>,
    /// The fronts live in it.
    _runtime: Runtime,
}

impl Listeners {
    fn start() -> std::io::Result<Self> {
        let runtime = Runtime::new()?;
        let (tell, told) = channel();
        let mut fronts = Vec::new();
        let answers: [Answer; 3] = [
            |stream, tell| web(stream, &tell),
            |stream, tell| mail("smtps", stream, &tell, true),
            |stream, tell| mail("starttls", stream, &tell, false),
        ];
        for answer in answers {
            let tell = tell.clone();
            let port = listen(move |stream| answer(stream, tell.clone()))?;
            let front = TlsFront::start(Arc::new(AtomicU16::new(port)));
            let front = runtime.block_on(front);
            fronts.push(front.map_err(|error| std::io::Error::other(error.to_string()))?);
        }
        let behind = fronts[2].tls.port;
        let upgraded = listen(move |stream| upgrade(stream, behind))?;
        Ok(Self {
            fronts,
            upgraded,
            told,
            _runtime: runtime,
        })
    }

    fn certificates(&self) -> String {
        let all = self.fronts.iter();
        all.map(|front| front.tls.certificate.as_str()).collect()
    }

    /// A drill that passes, told to all three; only the certificates in this file are trusted.
    fn tell(&self, place: &Place, trusted: &str) -> std::io::Result<std::process::Output> {
        place.write("redrill.toml", CHANNELS);
        place.write("trusted.pem", trusted);
        let [web, mail, _] = &self.fronts[..] else {
            return Err(std::io::Error::other("three listeners were started"));
        };
        place
            .command(&["drill", "shop.toml", "--services", "local"])
            .env_remove("SSL_CERT_DIR")
            .env("SSL_CERT_FILE", place.path("trusted.pem"))
            .env("HOOK", format!("https://localhost:{}/SECRET", web.tls.port))
            .env("MAIL", format!("smtps://localhost:{}", mail.tls.port))
            .env(
                "MAIL_UPGRADED",
                format!("smtp://localhost:{}?tls=required", self.upgraded),
            )
            .output()
    }
}

/// Answers every connection of a new port in a thread of its own.
fn listen(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> std::io::Result<u16> {
    let socket = TcpListener::bind("127.0.0.1:0")?;
    let port = socket.local_addr()?.port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in socket.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || answer(stream));
        }
    });
    Ok(port)
}

fn web(mut stream: TcpStream, tell: &Sender<(&'static str, String)>) {
    let mut request = Vec::new();
    let mut part = [0; 4096];
    while !request.ends_with(b"}") {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend(&part[..read]),
        }
    }
    let answered = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    if answered.is_ok() {
        let request = String::from_utf8_lossy(&request).into_owned();
        let _ = tell.send(("https", request));
    }
}

/// A mail server, as far as one message needs it.
fn mail(
    name: &'static str,
    mut stream: TcpStream,
    tell: &Sender<(&'static str, String)>,
    greets: bool,
) {
    let Ok(reading) = stream.try_clone() else {
        return;
    };
    let mut lines = BufReader::new(reading).lines();
    if greets && stream.write_all(b"220 there\r\n").is_err() {
        return;
    }
    let mut message = String::new();
    let mut in_message = false;
    while let Some(Ok(line)) = lines.next() {
        let answer = match (in_message, line.as_str()) {
            (true, ".") => {
                in_message = false;
                let _ = tell.send((name, std::mem::take(&mut message)));
                "250 kept"
            }
            (true, line) => {
                message.push_str(line);
                message.push('\n');
                continue;
            }
            (false, "DATA") => {
                in_message = true;
                "354 go on"
            }
            (false, "QUIT") => "221 bye",
            (false, _) => "250 well",
        };
        if stream
            .write_all(format!("{answer}\r\n").as_bytes())
            .is_err()
        {
            return;
        }
    }
}

/// A mail server that says nothing in the clear but that it speaks TLS; the rest is spoken with what is behind it.
fn upgrade(mut stream: TcpStream, behind: u16) {
    let asked = |stream: &mut TcpStream, answer: &[u8]| -> std::io::Result<String> {
        stream.write_all(answer)?;
        // One byte at a time: what follows the last line is not ours.
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\n") && stream.read(&mut byte)? == 1 {
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    };
    let mut work = || -> std::io::Result<()> {
        asked(&mut stream, b"220 there\r\n")?;
        let wanted = asked(&mut stream, b"250-there\r\n250 STARTTLS\r\n")?;
        if !wanted.starts_with("STARTTLS") {
            return Ok(());
        }
        stream.write_all(b"220 go on\r\n")?;
        let mut sealed = TcpStream::connect(("127.0.0.1", behind))?;
        let (mut from, mut to) = (stream.try_clone()?, sealed.try_clone()?);
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        std::io::copy(&mut sealed, &mut stream).map(drop)
    };
    // A connection that breaks is its client's to notice.
    let _ = work();
}

pub fn what_is_told_over_tls_arrives() -> Outcome {
    let place = Place::new();
    let listeners = Listeners::start()?;
    let output = listeners.tell(&place, &listeners.certificates())?;
    exits(&output, 0)?;
    if all(&output).contains("error: notify") {
        return Err(format!("not everyone was told\n{}", all(&output)).into());
    }
    let mut names = Vec::new();
    for _ in 0..3 {
        let (name, message) = listeners.told.recv_timeout(PATIENCE)?;
        names.push(name);
        let words: &[&str] = match name {
            "https" => &["\"event\"", "\"verdict\""],
            _ => &["To: ops@example.org", "Subject:"],
        };
        contains(&message, words)?;
    }
    names.sort_unstable();
    match names[..] {
        ["https", "smtps", "starttls"] => Ok(()),
        _ => Err(format!("told: {names:?}").into()),
    }
}

pub fn a_certificate_that_is_not_trusted_is_reported_and_changes_no_verdict() -> Outcome {
    let place = Place::new();
    let (listeners, others) = (Listeners::start()?, Listeners::start()?);
    let output = listeners.tell(&place, &others.certificates())?;
    exits(&output, 0)?;
    says(
        &output,
        &[
            "PASSED",
            "error: notify webhook (HOOK)",
            "error: notify email (MAIL)",
            "error: notify email (MAIL_UPGRADED)",
            "certificate",
        ],
    )?;
    if all(&output).contains("SECRET") {
        return Err("the address is repeated".into());
    }
    match listeners.told.try_recv() {
        Ok((name, _)) => Err(format!("{name} was told all the same").into()),
        Err(_) => Ok(()),
    }
}
