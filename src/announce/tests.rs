//! Messages to real listeners on this machine, good ones and bad ones.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread::JoinHandle;

use super::*;
use crate::record::sample;
use crate::suite::site::Metrics;

/// An HTTP server that gives these answers, one a connection; returns the requests.
fn listener(answers: &'static [&'static str]) -> (String, JoinHandle<Vec<(String, String)>>) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/hook", socket.local_addr().expect("an address"));
    let served = std::thread::spawn(move || {
        answers
            .iter()
            .map(|answer| {
                let (mut stream, _) = socket.accept().expect("a connection");
                let request = request(&mut stream);
                let head =
                    format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                stream.write_all(head.as_bytes()).expect("written");
                request
            })
            .collect()
    });
    (url, served)
}

fn request(stream: &mut TcpStream) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        if line.trim().is_empty() {
            break;
        }
        head += &line;
    }
    let length = head
        .lines()
        .find_map(|line| {
            line.to_lowercase()
                .strip_prefix("content-length: ")?
                .trim()
                .parse()
                .ok()
        })
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    (head, String::from_utf8(body).expect("text"))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

#[test]
fn a_webhook_is_told_again_until_it_takes_the_message() {
    let (url, served) = listener(&["503 Busy", "200 OK"]);
    let body = message::webhook(&sample::red(), News::Failure);
    http::deliver("POST", &url, "application/json", &body, soon()).expect("delivered");
    let requests = served.join().expect("served");
    assert_eq!(requests.len(), 2);
    let said: serde_json::Value = serde_json::from_str(&requests[1].1).expect("json");
    assert_eq!(said["event"], "failure");
    assert_eq!(said["summary"]["failed"], 2);
    assert!(requests[1].0.starts_with("POST /hook"), "{}", requests[1].0);
}

#[test]
fn what_is_refused_is_not_tried_again_and_no_address_is_repeated() {
    let (url, served) = listener(&["404 Gone"]);
    let error = http::deliver("POST", &url, "application/json", "{}", soon()).expect_err("refused");
    assert_eq!(error, "it answered 404");
    served.join().expect("served");
    for url in [
        "http://127.0.0.1:1/SECRET",
        "https://127.0.0.1:1/SECRET",
        "http://SE CRET/",
        "ftp://SECRET",
    ] {
        let until = Instant::now() + Duration::from_millis(300);
        let error = http::deliver("POST", url, "application/json", "{}", until).expect_err("down");
        assert!(
            !error.contains("SECRET") && !error.contains("CRET/"),
            "{error}"
        );
    }
}

#[test]
fn a_listener_that_hangs_is_given_up_at_the_deadline() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", socket.local_addr().expect("an address"));
    let began = Instant::now();
    let until = began + Duration::from_millis(500);
    let error = http::deliver("POST", &url, "application/json", "{}", until).expect_err("hangs");
    assert!(error.contains("did not answer"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_message_for_slack_makes_no_link_and_no_mention() {
    let mut record = sample::red();
    record.suites[0].title = "<!channel> & <http://x|y>".to_owned();
    let body = message::slack(&record, News::Failure);
    assert!(!body.contains("<!channel>"), "{body}");
    assert!(body.contains("&lt;!channel&gt; &amp;"), "{body}");
    assert!(body.contains("remedy: "), "{body}");
}

#[test]
fn an_email_goes_out_over_smtp() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("smtp://{}", socket.local_addr().expect("an address"));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = socket.accept().expect("a connection");
        let mut reader = BufReader::new(stream.try_clone().expect("cloned"));
        let mut mail = String::new();
        let mut in_data = false;
        stream.write_all(b"220 here\r\n").expect("written");
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).expect("a line") == 0 {
                return mail;
            }
            let answer: &[u8] = match line.trim_end() {
                "." if in_data => {
                    in_data = false;
                    b"250 taken\r\n"
                }
                _ if in_data => {
                    mail += &line;
                    continue;
                }
                "DATA" => {
                    in_data = true;
                    b"354 go on\r\n"
                }
                "QUIT" => {
                    stream.write_all(b"221 bye\r\n").expect("written");
                    return mail;
                }
                _ => b"250 fine\r\n",
            };
            stream.write_all(answer).expect("written");
        }
    });
    let mail = message::mail(&sample::red(), News::Failure);
    let to = ["ops@example.org".to_owned()];
    email::deliver(&url, "redrill@example.org", &to, &mail, soon()).expect("sent");
    let sent = server.join().expect("served");
    assert!(
        sent.contains("Subject: [redrill] FAILED: DeltaCrown"),
        "{sent}"
    );
    assert!(sent.contains("To: ops@example.org"), "{sent}");
    let kind = "Content-Type: text/plain; charset=utf-8";
    assert!(sent.lines().any(|line| line == kind), "{sent}");
    assert!(!mail.body.is_ascii(), "{}", mail.body);
    let error = email::deliver(&url, "no address", &to, &mail, soon()).expect_err("refused");
    assert!(error.contains("not an e-mail address"), "{error}");
}

#[test]
fn only_those_are_told_who_want_to_be() {
    let channel = |when: &[When]| Channel {
        kind: ChannelKind::Webhook,
        url_env: "REDRILL_TEST_UNSET".to_owned(),
        when: when.iter().copied().collect::<BTreeSet<_>>(),
        deadline: Duration::from_secs(1),
    };
    let told = |news, when| News::concerns(news, &channel(when));
    assert!(told(News::Good, &[When::Always]));
    assert!(!told(News::Good, &[When::Failure, When::Recovery]));
    assert!(told(News::Failure, &[When::Failure]));
    assert!(!told(News::Failure, &[When::Recovery]));
    assert!(told(News::Recovery, &[When::Recovery]));
    let site = Site {
        notify: vec![channel(&[When::Always])],
        ..Site::default()
    };
    let record = sample::green();
    let errors = all(&site, &record, &History::default(), None, &News::Good);
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].contains("REDRILL_TEST_UNSET is not set"),
        "{errors:?}"
    );
}

#[test]
fn what_a_run_left_out_is_told_as_it_was_when_it_last_ran() {
    let dir = tempfile::tempdir().expect("a directory");
    let whole = sample::green();
    let run = dir.path().join(&whole.run_id);
    std::fs::create_dir_all(&run).expect("a folder");
    whole.write(&run.join("record.json")).expect("written");
    crate::history::update(dir.path()).expect("updated");
    let before = History::read(dir.path()).expect("read");
    let mut part = whole.clone();
    part.run_id = "20250113-150000-00000001".to_owned();
    part.drills.truncate(1);
    let of = |part: &Record| {
        let suite = part.suites.iter().find(|suite| suite.name == "deltacrown");
        metrics::Figures {
            suite: "deltacrown",
            part: None,
            record: part,
            before: &before,
            earlier: metrics::earlier(part, suite.expect("a suite"), &before, None),
        }
        .prometheus()
    };
    let figures = |text: &str, name: &str| {
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let passed = "redrill_drill_passed{";
    assert!(figures(&of(&whole), passed).len() > 1);
    assert_eq!(figures(&of(&part), passed), figures(&of(&whole), passed));
    // What is planned and did not run is told as it was, too: what an interruption left out goes stale all the same.
    let mut planned = part.clone();
    planned.not_run = sample::running().not_run.split_off(1);
    assert_eq!(figures(&of(&planned), passed).len(), whole.drills.len());
    // Each with the time of its own run, and when the next one is overdue.
    part.started_at += chrono::TimeDelta::days(3);
    let (now, then) = (part.started_at.timestamp(), whole.started_at.timestamp());
    let times = figures(&of(&part), "redrill_drill_timestamp_seconds{");
    let of_time = |at: i64| {
        times
            .iter()
            .filter(|it| it.ends_with(&format!(" {at}")))
            .count()
    };
    assert_eq!((of_time(now), of_time(then)), (1, whole.drills.len() - 1));
    let due = figures(&of(&part), "redrill_drill_due_seconds{");
    assert_eq!(due.len(), whole.drills.len());
    assert!(due.iter().all(|line| line.ends_with(" 93600")), "{due:?}");
    // What another file of the suite said is of another suite.
    part.suites[0].sha256 = "0".repeat(64);
    assert_eq!(figures(&of(&part), passed).len(), 1);
    // One that failed and was left out has not passed since.
    let ran = |drill: &crate::record::DrillRecord| metrics::Ran {
        drill: drill.clone(),
        at: whole.started_at,
        due_seconds: None,
    };
    let mut failed = whole.clone();
    failed.drills[1].verdict = Verdict::Failed;
    let figures = metrics::Figures {
        suite: "deltacrown",
        part: None,
        record: &part,
        before: &before,
        earlier: failed.drills[1..].iter().map(ran).collect(),
    };
    let text = figures.prometheus();
    assert!(
        text.contains("redrill_run_passed{suite=\"deltacrown\"} 0\n"),
        "{text}"
    );
}

#[test]
fn the_files_of_another_number_of_shards_are_removed_and_no_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = Site {
        metrics: Metrics {
            textfile: Some(dir.path().to_owned()),
            ..Metrics::default()
        },
        ..Site::default()
    };
    let left = |shard: Option<&str>| {
        for name in [
            "redrill-deltacrown.prom",
            "redrill-deltacrown-1-of-2.prom",
            "redrill-deltacrown-2-of-2.prom",
            "redrill-deltacrown-3-of-3.prom",
            "redrill-deltacrown-two.prom",
            "redrill-deltacrown-two-1-of-4.prom",
            "redrill-shop.prom",
            "other-deltacrown.prom",
        ] {
            std::fs::write(dir.path().join(name), "old 1\n").expect("written");
        }
        let shard = shard.map(|it| it.parse().expect("a shard"));
        let none = History::default();
        let errors = all(&site, &sample::green(), &none, shard, &News::Good);
        assert_eq!(errors, Vec::<String>::new());
        let files = std::fs::read_dir(dir.path()).expect("listed").flatten();
        let names = files.map(|it| it.file_name().to_string_lossy().into_owned());
        let own = |name: &String| {
            name.strip_prefix("redrill-deltacrown")
                .is_some_and(|rest| !rest.contains("two"))
        };
        let (own, others): (BTreeSet<String>, BTreeSet<String>) = names.partition(own);
        assert_eq!(others.len(), 4, "{others:?}");
        own.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(left(None), ["redrill-deltacrown.prom"]);
    assert_eq!(
        left(Some("1/2")),
        [
            "redrill-deltacrown-1-of-2.prom",
            "redrill-deltacrown-2-of-2.prom"
        ]
    );
    assert_eq!(left(Some("1/3")).len(), 2);
}

#[test]
fn a_typical_loss_beyond_its_objective_is_no_pass_in_figures_and_the_run_after_it_is_a_recovery() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut missed = sample::green();
    missed.rpo = vec![sample::spread(2000.0)];
    // The counts follow from what is there.
    missed.add("none", missed.drills[0].checks[0].clone());
    assert!(missed.drills.iter().all(|it| it.verdict == Verdict::Passed));
    assert_eq!(missed.exit(), Exit::Failed);
    let none = History::default();
    assert_eq!(News::of(&missed, &none), News::Failure);
    let passed = |record: &Record| {
        let figures = metrics::Figures {
            suite: "deltacrown",
            part: None,
            record,
            before: &none,
            earlier: Vec::new(),
        };
        figures
            .prometheus()
            .contains("redrill_run_passed{suite=\"deltacrown\"} 1\n")
    };
    let mut now = sample::green();
    now.run_id = "20250113-150000-00000001".to_owned();
    assert!(passed(&now) && !passed(&missed));

    let run = dir.path().join(&missed.run_id);
    std::fs::create_dir_all(&run).expect("a folder");
    missed.write(&run.join("record.json")).expect("written");
    crate::history::update(dir.path()).expect("updated");
    let before = History::read(dir.path()).expect("read");
    assert_eq!(News::of(&now, &before), News::Recovery);
    assert_eq!(News::of(&now, &none), News::Good);
}

#[test]
fn a_drill_at_the_worst_moment_has_no_objective_to_be_alerted_by() {
    let record = sample::green();
    let none = History::default();
    let figures = metrics::Figures {
        suite: "deltacrown",
        part: None,
        record: &record,
        before: &none,
        earlier: Vec::new(),
    };
    let text = figures.prometheus();
    let of = |name: &str, worst: bool| {
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.filter(|it| it.contains("@worst\"") == worst).count()
    };
    assert!(of("redrill_rpo_seconds{", true) > 0);
    assert_eq!(of("redrill_rpo_objective_seconds{", true), 0);
    assert!(of("redrill_rpo_objective_seconds{", false) > 0);
}

#[test]
fn what_was_verified_once_is_never_overdue() {
    let dir = tempfile::tempdir().expect("a directory");
    let verify = |run: &str, id: &str| {
        let mut record = sample::green();
        record.run_id = run.to_owned();
        record.drills.truncate(1);
        record.drills[0].kind = crate::record::DrillKind::Verify;
        record.drills[0].id = id.to_owned();
        record.add("none", record.drills[0].checks[0].clone());
        let run = dir.path().join(run);
        std::fs::create_dir_all(&run).expect("a folder");
        record.write(&run.join("record.json")).expect("written");
        let before = History::read(dir.path()).expect("read");
        let suite = record.suites.iter().find(|it| it.name == "deltacrown");
        let earlier = metrics::earlier(&record, suite.expect("a suite"), &before, None);
        let figures = metrics::Figures {
            suite: "deltacrown",
            part: None,
            record: &record,
            before: &before,
            earlier,
        };
        let text = figures.prometheus();
        let due = text
            .lines()
            .filter(|it| it.starts_with("redrill_drill_due"));
        due.map(|it| it.split('"').nth(3).unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    assert_eq!(verify("20250112-150000-00000001", "verify/once"), none);
    assert_eq!(verify("20250112-150000-00000002", "verify/nightly"), none);
    let nightly = ["verify/nightly"];
    assert_eq!(
        verify("20250112-150000-00000003", "verify/nightly"),
        nightly
    );
    assert_eq!(verify("20250112-150000-00000004", "verify/again"), nightly);
}

#[test]
fn a_shard_that_passes_replaces_nothing_of_one_that_failed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (url, served) = listener(&["202 Accepted", "202 Accepted"]);
    let site = Site {
        metrics: Metrics {
            textfile: Some(dir.path().to_owned()),
            pushgateway: Some(url.trim_end_matches("/hook").to_owned()),
            statsd: None,
        },
        ..Site::default()
    };
    let (good, mut bad) = (sample::green(), sample::green());
    bad.drills[0].verdict = Verdict::Failed;
    for (record, shard) in [(&bad, "1/2"), (&good, "2/2")] {
        let shard = Some(shard.parse().expect("a shard"));
        let errors = all(&site, record, &History::default(), shard, &News::Good);
        assert_eq!(errors, Vec::<String>::new());
    }
    let pushed = served.join().expect("served");
    for (at, passed) in [(1, 0), (2, 1)] {
        let part = format!("{at}-of-2");
        let path = dir.path().join(format!("redrill-deltacrown-{part}.prom"));
        let text = std::fs::read_to_string(path).expect("a file");
        let line =
            format!("redrill_run_passed{{suite=\"deltacrown\",shard=\"{part}\"}} {passed}\n");
        assert!(text.contains(&line), "{text}");
        let (head, body) = &pushed[at - 1];
        let group = format!("PUT /metrics/job/redrill/suite/deltacrown/shard/{part} ");
        assert!(head.starts_with(&group), "{head}");
        assert_eq!(*body, text);
    }
}

#[test]
fn what_could_not_be_read_at_a_place_is_told_by_what_is_read_there_now() {
    let dir = tempfile::tempdir().expect("a directory");
    let verify = |run: &str, id: &str, title: &str, verdict| {
        let mut record = sample::green();
        record.run_id = run.to_owned();
        record.drills.truncate(1);
        let drill = &mut record.drills[0];
        drill.kind = crate::record::DrillKind::Verify;
        (drill.id, drill.title) = (id.to_owned(), title.to_owned());
        drill.checks[0].verdict = verdict;
        drill.verdict = verdict;
        if verdict != Verdict::Passed {
            drill.recoveries.clear();
        }
        record.add("none", record.drills[0].checks[0].clone());
        record
    };
    let unread = verify(
        "20250111-150000-00000001",
        "verify/srv-shop",
        "/srv/shop: what could not be read",
        Verdict::Undetermined,
    );
    let run = dir.path().join(&unread.run_id);
    std::fs::create_dir_all(&run).expect("a folder");
    unread.write(&run.join("record.json")).expect("written");
    crate::history::update(dir.path()).expect("updated");
    let before = History::read(dir.path()).expect("read");
    let earlier = |title: &str| {
        let now = verify(
            "20250112-150000-00000002",
            "verify/shop",
            title,
            Verdict::Passed,
        );
        let suite = now.suites.iter().find(|suite| suite.name == "deltacrown");
        metrics::earlier(&now, suite.expect("a suite"), &before, None).len()
    };
    assert_eq!(earlier("/srv/shop/new.dump: a dump"), 0);
    assert_eq!(earlier("/srv/shop: a directory"), 0);
    assert_eq!(earlier("/srv/shopping/new.dump: a dump"), 1);
}

#[test]
fn figures_go_to_a_file_a_gateway_and_statsd() {
    let dir = tempfile::tempdir().expect("a directory");
    let (url, served) = listener(&["202 Accepted"]);
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    udp.set_read_timeout(Some(Duration::from_secs(10)))
        .expect("set");
    let site = Site {
        metrics: Metrics {
            textfile: Some(dir.path().to_owned()),
            pushgateway: Some(url.trim_end_matches("/hook").to_owned()),
            statsd: Some(udp.local_addr().expect("an address").to_string()),
        },
        ..Site::default()
    };
    let record = sample::green();
    let before = History::default();
    let errors = all(&site, &record, &before, None, &News::Good);
    assert_eq!(errors, Vec::<String>::new());
    let text = std::fs::read_to_string(dir.path().join("redrill-deltacrown.prom")).expect("a file");
    let rto = record.drills[0].rto.as_ref().expect("an RTO").total_seconds;
    let line = format!(
        "redrill_rto_seconds{{suite=\"deltacrown\",drill=\"deltacrown/database-corruption\"}} {rto}\n"
    );
    assert!(text.contains(&line), "{text}");
    let pushed = served.join().expect("served").remove(0);
    assert!(
        pushed
            .0
            .starts_with("PUT /metrics/job/redrill/suite/deltacrown"),
        "{}",
        pushed.0
    );
    assert_eq!(pushed.1, text);
    let mut packet = [0; 65536];
    let length = udp.recv(&mut packet).expect("a packet");
    let said = String::from_utf8_lossy(&packet[..length]);
    assert!(
        said.contains("redrill.deltacrown.database-corruption.drill_passed:1|g"),
        "{said}"
    );
}
