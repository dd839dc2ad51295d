//! `redrill schedule`.

use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::Value;

use super::place::{Outcome, Place, SUITE, TWO_DRILLS, contains, exits, says};

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

/// The files that are exported for suites with these schedules, by name.
fn exported(
    place: &Place,
    form: &str,
    schedules: &[(&str, &str, &str)],
    more: &[&str],
) -> Result<Vec<(String, String)>, Failed> {
    let mut arguments = vec!["schedule", "export", form, "--to", "out"];
    let _ = std::fs::remove_dir_all(place.path("out"));
    let mut names = Vec::new();
    for (name, cron, zone) in schedules {
        let suite = SUITE
            .replace("0 4 * * *", cron)
            .replace("Europe/Berlin", zone);
        place.write(&format!("{name}.toml"), &suite);
        names.push(format!("{name}.toml"));
    }
    arguments.extend(names.iter().map(String::as_str));
    arguments.extend(more);
    exits(&place.redrill(&arguments), 0)?;
    let files = std::fs::read_dir(place.path("out"))?.flatten();
    let mut files: Vec<(String, String)> = files
        .map(|it| {
            let text = std::fs::read_to_string(it.path()).expect("a text");
            (it.file_name().to_string_lossy().into_owned(), text)
        })
        .collect();
    files.sort();
    Ok(files)
}

pub fn export_writes_files_that_name_the_suite() -> Outcome {
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_redrill");
    for (form, file, wanted) in [
        (
            "cron",
            "redrill.crontab",
            ["shop.toml", "CRON_TZ=Europe/Berlin", program],
        ),
        (
            "systemd",
            "redrill-shop.timer",
            [
                "shop",
                "OnCalendar=*-*-* 4:0:00 Europe/Berlin",
                "Persistent=false",
            ],
        ),
        (
            "systemd",
            "redrill-shop.service",
            ["shop.toml", "WorkingDirectory=/", program],
        ),
        (
            "gitlab",
            "redrill.gitlab-ci.yml",
            [
                "redrill drill shop.toml",
                "--cronTimeZone 'Europe/Berlin'",
                "redrill gate shop.toml",
            ],
        ),
        (
            "kubernetes",
            "redrill-shop.yaml",
            [
                "redrill drill shop.toml",
                "timeZone: \"Europe/Berlin\"",
                "completionMode: Indexed",
            ],
        ),
    ] {
        let files = exported(&place, form, &[("shop", "0 4 * * *", "Europe/Berlin")], &[])?;
        let written = files
            .iter()
            .find(|(name, _)| name == file)
            .ok_or("is not written")?;
        contains(&written.1, &wanted)?;
    }
    let output = place.redrill(&["schedule", "export", "github", "shop.toml"]);
    exits(&output, 2)?;
    says(&output, &["in UTC only"])
}

/// A program, when it is not here.
fn without(program: &str) -> Option<String> {
    // Whatever it says of this flag, it runs.
    let asked = Command::new(program).arg("--version").output();
    asked.err().map(|_| format!("no {program}"))
}

pub fn no_systemd() -> Option<String> {
    without("systemd-analyze")
}

pub fn no_cron() -> Option<String> {
    without("crontab")
}

pub fn no_validators() -> Option<String> {
    without("check-jsonschema").or(without("kubernetes-validate"))
}

pub fn units_hold_before_systemd_itself() -> Outcome {
    let place = Place::new();
    let schedules = [
        ("shop", "0 4 * * 1-5", "Europe/Berlin"),
        ("till", "*/15 8-18 1,15 * mon-fri/2", "UTC"),
        ("hall", "0 0 */2 * 1", "Asia/Tokyo"),
    ];
    let dir = place.path("50% off");
    let more = ["--dir", dir.to_str().ok_or("no path")?];
    let units = exported(&place, "systemd", &schedules, &more)?;
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify");
    for (name, text) in &units {
        verify.arg(place.path("out").join(name));
        for line in text
            .lines()
            .filter_map(|line| line.strip_prefix("OnCalendar="))
        {
            let asked = Command::new("systemd-analyze")
                .args(["calendar", line])
                .output()?;
            exits(&asked, 0)?;
        }
    }
    let said = verify.output()?;
    exits(&said, 0)?;
    let stderr = String::from_utf8_lossy(&said.stderr).into_owned();
    match stderr.lines().any(|line| line.contains("redrill-")) || units.len() != 6 {
        true => Err(stderr.into()),
        false => Ok(()),
    }
}

pub fn the_crontab_holds_before_cron_itself() -> Outcome {
    let place = Place::new();
    let schedules = [
        ("shop", "@daily", "Europe/Berlin"),
        ("till", "0 0 */2 * 1", "UTC"),
        ("hall", "*/15 8-18 1,15 jan mon-fri/2", "UTC"),
    ];
    exported(&place, "cron", &schedules, &["--dir", "/srv/50% off"])?;
    let read = |path: &Path| Command::new("crontab").arg("-n").arg(path).output();
    let path = place.path("out/redrill.crontab");
    exits(&read(&path)?, 0)?;
    // It would have said so.
    let broken = std::fs::read_to_string(&path)?.replace("1-31/2", "1-32/2");
    std::fs::write(&path, broken)?;
    exits(&read(&path)?, 1)
}

pub fn manifests_hold_before_the_schemas_of_those_who_read_them() -> Outcome {
    let place = Place::new();
    let schedules = [
        ("shop", "@daily", "UTC"),
        ("till_2", "0 5 * * *", "UTC"),
        ("hall", "0 5 * * *", "UTC"),
    ];
    for form in ["github", "gitlab", "kubernetes"] {
        let files = exported(&place, form, &schedules, &["--shards", "3"])?;
        for (name, _) in &files {
            schema_holds(form, &place.path("out").join(name))?;
        }
        if files.len() != if form == "kubernetes" { 2 } else { 1 } {
            return Err(format!("{form}: {} files", files.len()).into());
        }
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    schema_holds("github", &examples.join("github-actions.yml"))?;
    schema_holds("gitlab", &examples.join("gitlab-ci.yml"))
}

/// Runs a command as a scheduler does, in the place.
fn sh(place: &Place, command: &str, set: &[(&str, &str)]) -> Result<Output, Failed> {
    let mut sh = Command::new("sh");
    sh.args(["-c", command])
        .current_dir(place.path(""))
        .env("TMPDIR", place.path("tmp"))
        .env("REDRILL_SERVICES", "local")
        .envs(set.iter().copied());
    Ok(sh.output()?)
}

/// The drills of all runs, one by one.
fn drilled(place: &Place) -> Result<Vec<String>, Failed> {
    let mut all = Vec::new();
    for run in place.runs() {
        let record: Value = serde_json::from_slice(&std::fs::read(run.join("record.json"))?)?;
        let drills = record["drills"].as_array().into_iter().flatten();
        all.extend(drills.filter_map(|it| Some(it["id"].as_str()?.to_owned())));
    }
    all.sort();
    Ok(all)
}

pub fn what_is_exported_drills_and_decides_when_it_is_run() -> Outcome {
    // The lock of a suite is the machine's: its name is no other test's.
    let name = format!("shop-{}", std::process::id());
    let schedule = [(name.as_str(), "0 4 * * *", "UTC")];
    let place = Place::new();
    let files = exported(&place, "cron", &schedule, &[])?;
    let line = files[0]
        .1
        .lines()
        .find_map(|it| it.strip_prefix("0 4 * * * "));
    let line = line.ok_or("no line")?.replace("\\%", "%");
    exits(&sh(&place, &line, &[])?, 0)?;
    if drilled(&place)? != [format!("{name}/lost")] {
        return Err(format!("{:?}", drilled(&place)).into());
    }

    // A command of each shard, and one that decides on the records of all.
    let program = env!("CARGO_BIN_EXE_redrill");
    for form in ["github", "gitlab", "kubernetes"] {
        let place = Place::new();
        place.write("shop.toml", &TWO_DRILLS.replace("Europe/Berlin", "UTC"));
        place.commit("two");
        let mut export = vec!["schedule", "export", form, "shop.toml", "--shards", "2"];
        export.extend(["--program", program]);
        let text = String::from_utf8(place.redrill(&export).stdout)?;
        let command = |word: &str| -> Result<String, Failed> {
            let wanted = format!("{program} {word} shop.toml");
            let line = text
                .lines()
                .find(|it| it.contains(&wanted) && !it.starts_with('#'));
            let quoted = line.and_then(|it| Some(&it[it.find('"')?..]));
            // What stands in quotes is JSON, as a list of words too.
            let quoted = quoted.ok_or_else(|| format!("no {wanted}: {text}"))?;
            let words = format!("[{}]", quoted.trim_end_matches(']'));
            let words: Vec<String> = serde_json::from_str(&words)?;
            Ok(words.into_iter().next_back().ok_or("no command")?)
        };
        for number in 1..=2 {
            let (of, index) = (number.to_string(), (number - 1).to_string());
            let drill = command("drill")?.replace("${{ matrix.shard }}", &of);
            let set = [
                ("CI_NODE_INDEX", of.as_str()),
                ("CI_NODE_TOTAL", "2"),
                ("JOB_COMPLETION_INDEX", index.as_str()),
            ];
            exits(&sh(&place, &drill, &set)?, 0)?;
            if place.runs().len() != number {
                return Err(format!("{form}: {drill}").into());
            }
        }
        if drilled(&place)? != ["shop/lost", "shop/second"] {
            return Err(format!("{form}: {:?}", drilled(&place)).into());
        }
        if form != "kubernetes" {
            exits(&sh(&place, &command("gate")?, &[])?, 0)?;
        }
    }
    Ok(())
}

fn schema_holds(form: &str, path: &Path) -> Outcome {
    let mut validate = match form {
        "kubernetes" => Command::new("kubernetes-validate"),
        _ => Command::new("check-jsonschema"),
    };
    match form {
        "github" => validate.args(["--builtin-schema", "vendor.github-workflows"]),
        "gitlab" => {
            validate.args(["--builtin-schema", "vendor.gitlab-ci"]);
            validate.args(["--data-transform", "gitlab-ci"])
        }
        _ => &mut validate,
    };
    exits(&validate.arg(path).output()?, 0)
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
    // What a drill left behind that was killed long ago.
    let left = place.path("tmp/redrill-20260101-000000-deadbeef");
    std::fs::create_dir(&left)?;
    std::fs::write(left.join("run.lock"), "")?;
    let mut first = start(&["--times", "1"])?;
    let mut lines = BufReader::new(first.stderr.take().ok_or("no stderr")?);
    let mut said = until(&mut lines, "next: shop at")?;
    contains(&said, &["removed directory", "20260101-000000-deadbeef"])?;
    if left.exists() {
        return Err("it is still there".into());
    }
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
    // It was asked to end, and has: systemd calls no such unit failed.
    exits(&output, 0)?;
    says(&output, &["waiting: another service"])
}

pub fn what_is_kept_for_a_look_stays_until_reap_is_asked_for() -> Outcome {
    let place = Place::new();
    let kept = place.path("tmp/redrill-20260101-000000-deadbeef");
    std::fs::create_dir(&kept)?;
    std::fs::write(kept.join("run.lock"), "")?;
    std::fs::write(kept.join("kept"), "")?;
    let service = ["schedule", "run", "shop.toml", "--times", "0"];
    exits(&place.redrill(&service), 0)?;
    if !kept.exists() {
        return Err("the service removed it".into());
    }
    let output = place.redrill(&["reap"]);
    exits(&output, 0)?;
    says(&output, &["removed directory", "20260101-000000-deadbeef"])?;
    match kept.exists() {
        true => Err("it is still there".into()),
        false => Ok(()),
    }
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
