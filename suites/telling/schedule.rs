//! `redrill schedule`.

use std::io::{BufRead, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::place::{Outcome, Place, SUITE, contains, exits, says};

pub fn next_says_when_in_utc_and_in_the_zone() -> Outcome {
    let place = Place::new();
    let output = place.redrill(&["schedule", "next", "shop.toml", "--count", "2"]);
    exits(&output, 0)?;
    says(&output, &["UTC shop", "04:00 CE", "0 4 * * *"])
}

pub fn a_suite_without_a_schedule_exits_4_and_says_what_to_add() -> Outcome {
    let place = Place::new();
    let without = SUITE.replace(
        "[schedule]\ncron = \"0 4 * * *\"\nzone = \"Europe/Berlin\"\n",
        "",
    );
    place.write("shop.toml", &without);
    let output = place.redrill(&["schedule", "next", "shop.toml"]);
    exits(&output, 4)?;
    says(&output, &["[schedule] cron ="])
}

pub fn export_writes_files_that_name_the_suite() -> Outcome {
    let place = Place::new();
    for (form, file, word) in [
        ("cron", "redrill.crontab", "CRON_TZ=Europe/Berlin"),
        (
            "systemd",
            "redrill-shop.timer",
            "OnCalendar=*-*-* 4:0:00 Europe/Berlin",
        ),
        (
            "gitlab",
            "redrill.gitlab-ci.yml",
            "--cronTimeZone 'Europe/Berlin'",
        ),
        (
            "kubernetes",
            "redrill-shop.yaml",
            "timeZone: \"Europe/Berlin\"",
        ),
    ] {
        let output = place.redrill(&["schedule", "export", form, "shop.toml", "--to", "out"]);
        exits(&output, 0)?;
        let written = std::fs::read_to_string(place.path("out").join(file))?;
        contains(&written, &["shop.toml", word])
            .or_else(|_| contains(&written, &["shop", word]))?;
    }
    let output = place.redrill(&["schedule", "export", "github", "shop.toml"]);
    exits(&output, 2)?;
    says(&output, &["in UTC only"])
}

/// A suite that cannot start its server: the drill ends at once, which is all that a service needs.
pub fn the_service_drills_what_is_due_and_ends_when_asked() -> Outcome {
    let place = Place::new();
    let suite = SUITE
        .replace(
            "kind = \"postgres\"",
            "kind = \"postgres\"\nversion = \"9\"",
        )
        .replace("cron = \"0 4 * * *\"", "cron = \"* * * * *\"");
    place.write("shop.toml", &suite);
    let start = |arguments: &[&str]| {
        let mut all = vec!["schedule", "run", "shop.toml"];
        all.extend(arguments);
        place
            .command(&all)
            .args(["--", "--services", "local", "--quiet"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    };
    let mut first = start(&["--times", "1"])?;
    let mut lines = BufReader::new(first.stderr.take().ok_or("no stderr")?);
    let mut said = until(&mut lines, "next: shop at")?;
    // A second service of the same folder waits for the first.
    let second = start(&[])?;
    let began = Instant::now();
    lines.read_to_string(&mut said)?;
    let status = first.wait()?;
    if status.code() != Some(0) {
        return Err(format!("{status}: {said}").into());
    }
    contains(
        &said,
        &["no PostgreSQL server (version 9)", "drilled: shop, exit 3"],
    )?;
    if began.elapsed() > Duration::from_secs(90) {
        return Err("it came late".into());
    }
    Command::new("kill").arg(second.id().to_string()).status()?;
    let output = second.wait_with_output()?;
    exits(&output, 130)?;
    says(&output, &["waiting: another service"])
}

/// Reads what a process says until it has said a word.
fn until(lines: &mut impl BufRead, word: &str) -> Result<String, Failed> {
    let mut said = String::new();
    while !said.contains(word) {
        if lines.read_line(&mut said)? == 0 {
            return Err(format!("ended before it said {word:?}: {said}").into());
        }
    }
    Ok(said)
}

pub fn a_service_that_crashed_leaves_its_drill_alone_and_the_next_one_waits_for_it() -> Outcome {
    let place = Place::new();
    place.write(
        "shop.toml",
        &SUITE.replace("cron = \"0 4 * * *\"", "cron = \"* * * * *\""),
    );
    let start = || {
        place
            .command(&["schedule", "run", "shop.toml", "--", "--services", "local"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    };
    let mut first = start()?;
    let mut lines = BufReader::new(first.stderr.take().ok_or("no stderr")?);
    until(&mut lines, "shop/lost: backup")?;
    first.kill()?;
    first.wait()?;
    let mut second = start()?;
    let mut lines_of_second = BufReader::new(second.stderr.take().ok_or("no stderr")?);
    until(&mut lines_of_second, "waiting: another service, or a drill")?;
    // The drill says its last before it ends; only then the second one begins.
    until(&mut lines, "shop/lost: passed")?;
    until(&mut lines_of_second, "next: shop at")?;
    Command::new("kill").arg(second.id().to_string()).status()?;
    second.wait()?;
    let record = place.record()?;
    match record["state"] == "finished" && record["summary"]["passed"] == 1 {
        true => Ok(()),
        false => Err(format!("{}", record["summary"]).into()),
    }
}
