//! Ctrl-C and SIGTERM, wherever a drill is: torn down, recorded, exit 130.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use crate::{DB, Outcome, Place, exits, pids, says, text};

const BOTH: [&str; 2] = ["INT", "TERM"];
/// How long an interrupted run may take to tear down.
const TEARDOWN: Duration = Duration::from_secs(60);

/// Interrupts a run once `word` has been said, and waits for its end.
pub fn interrupted(
    place: &Place,
    services: &str,
    suite: &str,
    word: &str,
    signal: &str,
) -> Result<Output, Failed> {
    let mut child = place
        .drill_on(services, &place.suite(suite), &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stderr.take().ok_or("no stderr")?);
    let mut said = String::new();
    while !said.contains(word) {
        if lines.read_line(&mut said)? == 0 {
            return Err(format!("ended before it said {word:?}: {said}").into());
        }
    }
    send(&child, signal)?;
    let begun = Instant::now();
    lines.read_to_string(&mut said)?;
    if begun.elapsed() > TEARDOWN {
        return Err("teardown took more than a minute".into());
    }
    let mut output = child.wait_with_output()?;
    output.stderr = said.into_bytes();
    Ok(output)
}

fn send(child: &Child, signal: &str) -> Outcome {
    let sent = Command::new("kill")
        .args([format!("-{signal}"), child.id().to_string()])
        .status()?;
    match sent.success() {
        true => Ok(()),
        false => Err("it had ended before it was to be interrupted".into()),
    }
}

/// Torn down, recorded as interrupted, and ended so.
fn ended_well(place: &Place, output: &Output) -> Outcome {
    exits(output, 130)?;
    place.is_clean()?;
    let record = place.record()?;
    if record["state"] != "interrupted" {
        return Err(format!("the record says {}", record["state"]).into());
    }
    Ok(())
}

fn told(what: &str, signal: &str, outcome: Outcome) -> Outcome {
    outcome.map_err(|error| {
        let words = error.message().unwrap_or_default();
        format!("{what} {signal}: {words}").into()
    })
}

pub fn an_interrupt_in_every_phase_tears_down_and_writes_the_record() -> Outcome {
    for word in [
        "prepare:",
        "backup:",
        "observe:",
        "strike:",
        "restore:",
        "teardown:",
    ] {
        for signal in BOTH {
            let place = Place::new();
            let output = interrupted(&place, "local", DB, word, signal)?;
            told(word, signal, ended_well(&place, &output))?;
        }
    }
    Ok(())
}

/// A database with something in it that is recovered beside what is left, and asked a question that takes its time.
const BESIDE: &str = r#"
[component.db]
kind = "postgres"
database = "fine_phases"
seed = "seed.sql"
[[component.db.smoke]]
ask = "select 1 from pg_sleep(1)"
expect = "1"
[backup.hourly]
method = { pg-dump = { format = "custom", compress = 6 } }
schedule = "0 * * * *"
encrypt = "age"
[scenario.lost]
strike = [{ component = "db", fault = "table-dropped" }]
at = "58m after hourly"
"#;

/// A part of a recovery, and how it is recognised.
type Part = (&'static str, fn(&Seen) -> bool);

/// The parts of a recovery that are not told, by what is seen of each on the machine.
const FINE: [Part; 5] = [
    ("provision", |seen| seen.server("-recovered-", "initdb")),
    ("fetch", |seen| seen.server("-recovered-", "dd of=")),
    ("restore", |seen| seen.server("pg_restore ", "--dbname=")),
    // A backend says in its title which database it serves, and with what.
    ("verify", |seen| seen.asks("fine_phases_new")),
    ("swap", |seen| seen.renamed && seen.asks("fine_phases")),
];

/// What is seen of the processes of this machine.
#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    mark: String,
    renamed: bool,
    /// Since when the recovered database is asked, by its name.
    asking: Option<(String, Instant)>,
}

impl Seen {
    fn look(&mut self) {
        let line = |pid: u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            text(&line).replace('\0', " ")
        };
        self.lines = pids().into_iter().map(line).collect();
        let asked = ["fine_phases_new", "fine_phases"].into_iter().find(|name| {
            let title = |line: &&String| {
                line.starts_with("postgres: ")
                    && line.contains(&format!(" {name} "))
                    && line.trim_end().ends_with(" SELECT")
            };
            self.lines.iter().any(|line| title(&line))
        });
        self.asking = match (asked, self.asking.take()) {
            (Some(name), Some((before, since))) if before == name => Some((before, since)),
            (Some(name), _) => Some((name.to_owned(), Instant::now())),
            (None, _) => None,
        };
        self.renamed |= self.asks("fine_phases_new");
    }

    /// A program of this run, by its command line and the directory that stands in it.
    fn server(&self, dir: &str, words: &str) -> bool {
        let mut lines = self.lines.iter();
        lines.any(|line| line.contains(&self.mark) && line.contains(dir) && line.contains(words))
    }

    /// For longer than anything but the question takes.
    fn asks(&self, database: &str) -> bool {
        let long = Duration::from_millis(300);
        matches!(&self.asking, Some((name, since)) if name == database && since.elapsed() > long)
    }
}

pub fn an_interrupt_in_every_part_of_a_recovery_tears_down() -> Outcome {
    for (number, (part, is_there)) in FINE.into_iter().enumerate() {
        let signal = BOTH[number % 2];
        let place = Place::new();
        let seed = "create table much as select n, md5(n::text) as words from generate_series(1, 300000) as n;";
        std::fs::write(place.path("seed.sql"), seed)?;
        let suite = match part {
            "provision" | "fetch" => BESIDE.replace("table-dropped", "server-lost"),
            _ => BESIDE.to_owned(),
        };
        let mut child = place
            .drill(&place.suite(&suite), &[])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut seen = Seen {
            mark: place.tmp().display().to_string(),
            ..Seen::default()
        };
        while !is_there(&seen) {
            seen.look();
            if child.try_wait()?.is_some() {
                let output = child.wait_with_output()?;
                let said = text(&output.stderr);
                return Err(format!("{part} was not seen before the end: {said}").into());
            }
        }
        send(&child, signal)?;
        let output = child.wait_with_output()?;
        told(part, signal, ended_well(&place, &output))?;
    }
    Ok(())
}

/// Three components at once.
const THREE: &str = r#"
[component.db]
kind = "postgres"
[component.cache]
kind = "redis"
seed = { keys = 2000 }
[component.media]
kind = "bucket"
bucket = "media"
seed = { objects = 200 }
[repository.offsite]
kind = "s3"
bucket = "backups"
[backup.dumps]
component = "db"
schedule = "0 * * * *"
encrypt = "age"
[backup.snapshots]
component = "cache"
method = "redis-rdb"
schedule = "*/15 * * * *"
encrypt = "age"
[backup.mirror]
component = "media"
method = "bucket-sync"
schedule = "0 * * * *"
encrypt = "age"
[scenario.lost]
strike = [
  { component = "db", fault = "server-lost" },
  { component = "cache", fault = "server-lost" },
  { component = "media", fault = "bucket-deleted" },
]
at = "30m after dumps"
"#;

pub fn an_interrupt_of_three_components_tears_them_all_down() -> Outcome {
    for word in ["backup:", "restore:"] {
        for signal in BOTH {
            let place = Place::new();
            let output = interrupted(&place, "local", THREE, word, signal)?;
            told(word, signal, ended_well(&place, &output))?;
        }
    }
    Ok(())
}

/// Set in a process of this program that is to be the test harness.
pub const HARNESS: &str = "REDRILL_TEST_IS_A_HARNESS";

/// The test harness over a suite, in a place of its own.
fn harness(place: &Place, suite: &str) -> Result<Command, Failed> {
    std::fs::create_dir(place.path("suites"))?;
    std::fs::write(place.path("suites/harnessed.toml"), suite)?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--test-threads", "2", "harnessed/"])
        .current_dir(place.path(""))
        .env(HARNESS, "1")
        .env("TMPDIR", place.tmp())
        .env("REDRILL_SERVICES", "local")
        .env_remove("REDRILL_REQUIRE_SERVICES")
        .stdin(Stdio::null());
    Ok(command)
}

pub fn a_harness_without_services_ignores_its_trials_with_the_reason_and_fails_them_where_they_are_required()
-> Outcome {
    let suite = DB.replace(
        "kind = \"postgres\"",
        "kind = \"postgres\"\nversion = \"9\"",
    );
    let why = "no PostgreSQL server (version 9) is installed here";
    let place = Place::new();
    let output = harness(&place, &suite)?.output()?;
    exits(&output, 0)?;
    let said = text(&output.stdout);
    let result = said.lines().find(|line| line.starts_with("test result: "));
    let result = result.ok_or_else(|| format!("no result: {said}"))?;
    if !result.contains("ok. 0 passed; 0 failed") || result.contains(" 0 ignored") {
        return Err(format!("not ignored: {result}").into());
    }
    says(&output, &[why])?;
    place.is_clean()?;

    let place = Place::new();
    let mut required = harness(&place, &suite)?;
    let output = required.env("REDRILL_REQUIRE_SERVICES", "1").output()?;
    exits(&output, 101)?;
    says(&output, &[why, " 0 passed", " 0 ignored"])?;
    place.is_clean()
}

pub fn an_interrupt_of_the_test_harness_fails_its_trials_and_leaves_no_service() -> Outcome {
    for signal in BOTH {
        let place = Place::new();
        let mut child = harness(&place, DB)?
            .env("REDRILL_REQUIRE_SERVICES", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut seen = Seen {
            mark: place.tmp().display().to_string(),
            ..Seen::default()
        };
        // In mid-drill: a dump is being taken.
        while !seen.server("", "/bin/postgres -D") {
            seen.look();
            if child.try_wait()?.is_some() {
                let output = child.wait_with_output()?;
                return Err(format!("no server was seen: {}", text(&output.stderr)).into());
            }
        }
        send(&child, signal)?;
        let output = child.wait_with_output()?;
        exits(&output, 101)?;
        let said = text(&output.stdout);
        let ended = said.lines().find(|line| line.starts_with("test result: "));
        let ended = ended.ok_or_else(|| format!("no result: {said}"))?;
        if !ended.contains("FAILED. 0 passed") || !ended.contains("0 ignored") {
            return Err(format!("what was interrupted did not fail: {ended}\n{said}").into());
        }
        told("harness", signal, place.is_clean())?;
    }
    Ok(())
}
