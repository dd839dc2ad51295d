//! The binary, driven as a user drives it, on good days and bad ones: messages, exit codes, and nothing left behind.
//!
//! Tests that need a local Postgres say so and are ignored where there is none (they fail where services are required,
//! `REDRILL_REQUIRE_SERVICES=1`). Those that need containers are ignored where no engine answers or the image is not
//! here, and fail where containers were asked for (`REDRILL_SERVICES=containers`).

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use redrill::process::start_time;
use serde_json::Value;

#[path = "cli/arguments.rs"]
mod arguments;
mod contained;
#[path = "cli/disks.rs"]
mod disks;
#[path = "cli/foreign.rs"]
mod foreign;
mod mounts;
#[path = "cli/programs.rs"]
mod programs;
#[path = "cli/signals.rs"]
mod signals;

use arguments::no_secret_of_a_run_is_in_an_argument_list_or_in_what_it_leaves;
use contained::docker;
use signals::interrupted;

type Outcome = Result<(), Failed>;

/// A place of its own for one test: suites, reports and the temporary directory of its runs.
struct Place {
    dir: tempfile::TempDir,
}

/// The image that tests in containers stand on, built by `make images`.
const POSTGRES_IMAGE: &str = "redrill/postgres:15";

const DB: &str = r#"
[component.db]
kind = "postgres"
[backup.hourly]
component = "db"
method = { pg-dump = { format = "custom", compress = 6 } }
schedule = "0 * * * *"
encrypt = "age"
[scenario.lost]
strike = [{ component = "db", fault = "server-lost" }]
at = "58m after hourly"
rpo = "1h"
rto = "15m"
"#;

impl Place {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::Builder::new()
            .prefix("rdcli")
            .tempdir()
            .expect("a directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))
            .expect("open to servers");
        let place = Self { dir };
        std::fs::create_dir(place.tmp()).expect("a temporary directory");
        std::fs::set_permissions(place.tmp(), std::fs::Permissions::from_mode(0o755))
            .expect("open to servers");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn tmp(&self) -> PathBuf {
        self.path("tmp")
    }

    fn suite(&self, text: &str) -> PathBuf {
        let path = self.path("mine.toml");
        std::fs::write(&path, text).expect("a suite");
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redrill"));
        command
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("TMPDIR", self.tmp())
            .env_remove("REDRILL_SERVICES")
            .env_remove("REDRILL_READY_SECONDS")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("redrill runs")
    }

    fn drill(&self, suite: &Path, more: &[&str]) -> Command {
        self.drill_on("local", suite, more)
    }

    fn drill_on(&self, services: &str, suite: &Path, more: &[&str]) -> Command {
        let out = self.path("reports");
        let mut arguments = vec![
            "drill",
            suite.to_str().expect("utf-8"),
            "--services",
            services,
            "--out",
        ];
        arguments.push(out.to_str().expect("utf-8"));
        arguments.extend(more);
        self.command(&arguments)
    }

    /// The one record below the reports folder.
    fn record(&self) -> Result<Value, Failed> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.path("reports"))? {
            let record = entry?.path().join("record.json");
            found.extend(record.is_file().then_some(record));
        }
        match found.as_slice() {
            [path] => Ok(serde_json::from_slice(&std::fs::read(path)?)?),
            other => Err(format!("expected one record, found {other:?}").into()),
        }
    }

    /// Nothing is left: no directory of a run, no process that was started from one.
    fn is_clean(&self) -> Outcome {
        let left: Vec<_> = std::fs::read_dir(self.tmp())?
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        if !left.is_empty() {
            return Err(format!("left behind in the temporary directory: {left:?}").into());
        }
        let mark = self.tmp().display().to_string();
        for pid in pids() {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(&mark) && !line.contains("redrill ") && state(pid) != Some('Z') {
                return Err(format!("process {pid} is still there: {line}").into());
            }
        }
        Ok(())
    }
}

fn pids() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
        })
        .collect()
}

fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim().chars().next()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn exits(output: &Output, code: i32) -> Outcome {
    if output.status.code() == Some(code) {
        return Ok(());
    }
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    Err(format!(
        "exit {:?}, expected {code}\n--- stdout\n{out}\n--- stderr\n{err}",
        output.status
    )
    .into())
}

fn says(output: &Output, words: &[&str]) -> Outcome {
    let said = text(&output.stderr) + &text(&output.stdout);
    // Tables and findings are wrapped to the width of the terminal.
    let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.iter().find(|word| !flat.contains(**word)) {
        None => Ok(()),
        Some(word) => Err(format!("does not say {word:?}:\n{said}").into()),
    }
}

fn an_empty_drill_is_green_and_leaves_nothing_behind() -> Outcome {
    let place = Place::new();
    let output = place.drill(&place.suite(DB), &[]).output()?;
    exits(&output, 0)?;
    place.is_clean()?;
    let record = place.record()?;
    if record["drills"][0]["rpo"]["window_seconds"].as_f64() != Some(3480.0) {
        return Err(format!(
            "an hourly dump struck 58 minutes later loses 58 minutes: {}",
            record["drills"][0]["rpo"]
        )
        .into());
    }
    Ok(())
}

fn format_json_prints_the_record_and_nothing_else() -> Outcome {
    let place = Place::new();
    let output = place
        .drill(&place.suite(DB), &["--format", "json"])
        .output()?;
    exits(&output, 0)?;
    let printed: Value = serde_json::from_slice(&output.stdout)?;
    if printed != place.record()? || printed["schema_version"] != 2 {
        return Err("standard output is not the record".into());
    }
    Ok(())
}

fn two_runs_at_once_do_not_meet() -> Outcome {
    let (one, two) = (Place::new(), Place::new());
    // The same temporary directory for both.
    let spawn = |place: &Place| {
        let mut command = place.drill(&place.suite(DB), &[]);
        command
            .env("TMPDIR", one.tmp())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    };
    let (first, second) = (spawn(&one)?, spawn(&two)?);
    exits(&first.wait_with_output()?, 0)?;
    exits(&second.wait_with_output()?, 0)?;
    one.is_clean()
}

fn two_runs_at_once_share_a_reports_folder() -> Outcome {
    let place = Place::new();
    let suite = place.suite(DB);
    let spawn = || {
        let mut command = place.drill(&suite, &[]);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    };
    let (first, second) = (spawn()?, spawn()?);
    exits(&first.wait_with_output()?, 0)?;
    exits(&second.wait_with_output()?, 0)?;
    place.is_clean()?;
    let reports = std::fs::read_dir(place.path("reports"))?.flatten();
    let records = reports.filter(|report| report.path().join("record.json").is_file());
    let history = std::fs::read_to_string(place.path("reports/history.jsonl"))?;
    let (records, lines) = (records.count(), history.lines().count());
    if (records, lines) != (2, 2) {
        return Err(format!("{records} records and {lines} lines of history").into());
    }
    let out = place.path("reports");
    let shown = place.run(&["history", "--out", out.to_str().expect("utf-8")]);
    exits(&shown, 0)?;
    says(&shown, &["mine/lost"])
}

fn progress_is_drawn_on_a_terminal_and_told_in_lines_elsewhere() -> Outcome {
    let place = Place::new();
    let drill = place.drill(&place.suite(DB), &[]);
    let words = std::iter::once(drill.get_program()).chain(drill.get_args());
    let line: Vec<String> = words
        .map(|word| redrill::process::quoted(&word.to_string_lossy()))
        .collect();
    let mut command = Command::new("script");
    command
        .args(["-qec", &line.join(" "), "/dev/null"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("TMPDIR", place.tmp())
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null());
    let on_terminal = command.output()?;
    exits(&on_terminal, 0)?;
    let drawn = text(&on_terminal.stdout);
    // Drawn over and over in one place, and no line for each phase.
    if !drawn.contains("\u{1b}[") || drawn.matches("mine/lost").count() < 2 {
        return Err(format!("nothing was drawn: {drawn:?}").into());
    }
    says(&on_terminal, &["PASSED"])?;
    let elsewhere = place.drill(&place.suite(DB), &[]).output()?;
    exits(&elsewhere, 0)?;
    if text(&elsewhere.stderr).contains('\u{1b}') {
        return Err("what is no terminal got the signs of one".into());
    }
    says(&elsewhere, &["restore:"])
}

fn settings_of_the_user_lead_no_tool_astray() -> Outcome {
    let place = Place::new();
    let mut command = place.drill(&place.suite(DB), &[]);
    command
        .env("PGHOSTADDR", "127.0.0.9")
        .env("PGPORT", "1")
        .env("PGSERVICE", "production")
        .env("PGDATABASE", "x");
    exits(&command.output()?, 0)
}

fn a_suite_with_problems_reports_them_all_and_starts_nothing() -> Outcome {
    let place = Place::new();
    let suite = place.suite(
        "[component.db]\nkind = \"postgres\"\nversoin = \"15\"\n[backup.b]\ncomponent = \"bd\"\nschedule = 5\n\
         method = { pg-dump = {} }\n[scenario.s]\nstrike = [{ component = \"db\", fault = \"server-lost\" }]\n",
    );
    let output = place.drill(&suite, &[]).output()?;
    exits(&output, 2)?;
    says(
        &output,
        &[
            "mine.toml:3:1",
            "`versoin`",
            "`version`",
            "mine.toml:5:",
            "`bd`",
            "mine.toml:6:",
        ],
    )?;
    place.is_clean()
}

fn an_address_of_a_database_in_a_suite_is_refused() -> Outcome {
    let place = Place::new();
    let suite = place.suite(&DB.replace(
        "kind = \"postgres\"",
        "kind = \"postgres\"\ndsn = \"postgres://prod/db\"",
    ));
    let output = place.drill(&suite, &[]).output()?;
    exits(&output, 2)?;
    says(
        &output,
        &["`dsn`", "only ever works on servers that it started itself"],
    )
}

fn a_filter_that_matches_nothing_exits_4() -> Outcome {
    let place = Place::new();
    let output = place
        .drill(&place.suite(DB), &["--only", "nothing-like-it"])
        .output()?;
    exits(&output, 4)?;
    says(&output, &["nothing matches", "redrill list"])
}

fn a_server_version_that_is_not_installed_exits_3_with_the_package() -> Outcome {
    let place = Place::new();
    let suite = place.suite(&DB.replace(
        "kind = \"postgres\"",
        "kind = \"postgres\"\nversion = \"9\"",
    ));
    let output = place.drill(&suite, &[]).output()?;
    exits(&output, 3)?;
    says(
        &output,
        &[
            "no PostgreSQL server (version 9)",
            "apt-get install postgresql-9",
        ],
    )?;
    place.is_clean()
}

fn an_engine_that_is_down_exits_3_and_says_what_to_do() -> Outcome {
    let place = Place::new();
    let suite = place.suite(DB);
    let mut command = place.command(&[
        "drill",
        suite.to_str().expect("utf-8"),
        "--services",
        "containers",
        "--out",
    ]);
    command
        .arg(place.path("reports"))
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let output = command.output()?;
    exits(&output, 3)?;
    says(&output, &["reach the container engine", "--services local"])?;
    // One cause, told once: no check that it kept from looking at anything has a row or a finding of its own.
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    for (words, times) in [
        ("unknown: nothing-observed: ", 1),
        ("unknown: not-observed: ", 0),
        ("unknown: check-did-not-run: ", 0),
        (" of mine/", 0),
    ] {
        let found = printed.matches(words).count();
        if found != times {
            return Err(format!("`{words}` stands there {found} times: {printed}").into());
        }
    }
    place.is_clean()
}

fn a_reports_folder_that_cannot_be_written_exits_2_before_anything_starts() -> Outcome {
    let place = Place::new();
    let suite = place.suite(DB);
    let output = place.run(&[
        "drill",
        suite.to_str().expect("utf-8"),
        "--services",
        "local",
        "--out",
        "/proc/reports",
    ]);
    exits(&output, 2)?;
    says(
        &output,
        &[
            "the reports folder /proc/reports cannot be written",
            "--out",
        ],
    )?;
    place.is_clean()
}

fn a_reports_folder_that_is_read_only_exits_2_before_anything_starts() -> Outcome {
    let place = Place::new();
    let reports = place.path("reports");
    std::fs::create_dir(&reports)?;
    let word = redrill::process::quoted(&reports.display().to_string());
    let read_only = [
        mounts::in_place_of(&reports, &reports),
        format!("mount -o remount,bind,ro {word}"),
    ];
    let drill = place.drill(&place.suite(DB), &[]);
    let output = mounts::around(&drill, &read_only, ":")?.output()?;
    exits(&output, 2)?;
    says(
        &output,
        &["cannot be written", "Read-only file system", "--out"],
    )?;
    place.is_clean()
}

fn a_server_that_never_gets_ready_is_given_up_at_the_deadline() -> Outcome {
    let place = Place::new();
    let mut command = place.drill(&place.suite(DB), &[]);
    let output = command.env("REDRILL_READY_SECONDS", "0").output()?;
    exits(&output, 3)?;
    says(&output, &["was not ready within", "REDRILL_READY_SECONDS"])?;
    place.is_clean()
}

fn what_a_sigkill_left_is_reaped_and_a_running_run_is_left_alone() -> Outcome {
    let place = Place::new();
    let killed = interrupted(&place, "local", DB, "restore:", "KILL")?;
    if killed.status.code().is_some() {
        return Err("the run was not killed".into());
    }
    if place.is_clean().is_ok() {
        return Err("a killed run left nothing: there is nothing to reap".into());
    }
    // Sockets lie elsewhere, marked with their process: one that is gone, and this one.
    let mut gone = Command::new("true").spawn()?;
    let sockets = |pid| {
        let started = start_time(pid).ok_or("it has no start")?;
        let path = format!("/tmp/redrill-reaped.{pid}-{started}.XXXXXX");
        Ok::<_, Failed>(PathBuf::from(path))
    };
    let (left, used) = (sockets(gone.id())?, sockets(std::process::id())?);
    gone.wait()?;
    std::fs::create_dir(&left)?;
    std::fs::create_dir(&used)?;
    let output = place.run(&["reap"]);
    let of_a_living_process = std::fs::remove_dir(&used);
    exits(&output, 0)?;
    let sockets = format!("removed directory {} of run reaped", left.display());
    says(&output, &["removed directory", "of run", &sockets])?;
    of_a_living_process?;
    place.is_clean()?;
    says(&place.run(&["reap"]), &["nothing was left behind"])
}

/// What an engine holds that runs bring about: containers of `run` and anything that nobody uses any more.
fn held(run: &str) -> Result<Vec<String>, Failed> {
    let mut held = docker(&["ps", "-aq", "--filter", &format!("label=redrill.run={run}")])?;
    held.extend(docker(&[
        "volume",
        "ls",
        "-q",
        "--filter",
        "dangling=true",
    ])?);
    held.extend(docker(&["network", "ls", "-q"])?);
    held.sort();
    Ok(held)
}

fn same_as_before(before: &[String], run: &str) -> Outcome {
    let after = held(run)?;
    if after == before {
        Ok(())
    } else {
        Err(format!("left in the container engine: {after:?}, before: {before:?}").into())
    }
}

/// The run of the one report.
fn run_of(place: &Place) -> Result<String, Failed> {
    let reports = std::fs::read_dir(place.path("reports"))?.flatten();
    let mut runs = reports.filter(|report| report.path().is_dir());
    let run = runs.next().ok_or("no report")?;
    Ok(run.file_name().to_string_lossy().into_owned())
}

/// An image that declares a volume, as the official ones do: each of its containers brings one about.
fn image_with_a_volume() -> Result<String, Failed> {
    let name = format!("redrill/test-volume:{}", std::process::id());
    let mut build = Command::new("docker")
        .args(["build", "--quiet", "--tag", &name, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let mut stdin = build.stdin.take().ok_or("no stdin")?;
    std::io::Write::write_all(
        &mut stdin,
        format!("FROM {POSTGRES_IMAGE}\nVOLUME /var/lib/postgresql/data\n").as_bytes(),
    )?;
    drop(stdin);
    if build.wait()?.success() {
        Ok(name)
    } else {
        Err("the image could not be built".into())
    }
}

fn a_drill_in_containers_is_green_and_leaves_no_container_volume_or_network() -> Outcome {
    let place = Place::new();
    let image = image_with_a_volume()?;
    let before = held("none")?;
    let output = place
        .drill_on("containers", &place.suite(DB), &[])
        .env("REDRILL_IMAGE_POSTGRES", &image)
        .output()?;
    docker(&["image", "rm", &image])?;
    exits(&output, 0)?;
    place.is_clean()?;
    let record = place.record()?;
    if !record.to_string().contains(&image) {
        return Err("the record does not say which image was used".into());
    }
    same_as_before(&before, &run_of(&place)?)
}

fn a_container_that_ends_at_its_start_says_why_and_is_not_waited_for() -> Outcome {
    let place = Place::new();
    let before = held("none")?;
    let suite = place.suite(&DB.replace(
        "kind = \"postgres\"",
        "kind = \"postgres\"\nsettings = { no_such_setting = \"1\" }",
    ));
    let begun = std::time::Instant::now();
    let output = place.drill_on("containers", &suite, &[]).output()?;
    exits(&output, 3)?;
    says(
        &output,
        &[
            "postgres ended before it was ready",
            "unrecognized configuration parameter \"no_such_setting\"",
        ],
    )?;
    if begun.elapsed() > std::time::Duration::from_secs(60) {
        return Err("it was waited for to the deadline".into());
    }
    place.is_clean()?;
    same_as_before(&before, &run_of(&place)?)
}

fn an_interrupt_in_containers_tears_down() -> Outcome {
    let before = held("none")?;
    for (word, signal) in [("prepare:", "INT"), ("restore:", "TERM")] {
        let place = Place::new();
        let output = interrupted(&place, "containers", DB, word, signal)?;
        exits(&output, 130)?;
        place.is_clean()?;
        same_as_before(&before, &run_of(&place)?)?;
    }
    Ok(())
}

fn containers_of_a_killed_run_are_reaped() -> Outcome {
    let place = Place::new();
    let before = held("none")?;
    interrupted(&place, "containers", DB, "restore:", "KILL")?;
    let run = run_of(&place)?;
    if held(&run)? == before {
        return Err("a killed run left no container: there is nothing to reap".into());
    }
    let output = place.run(&["reap"]);
    exits(&output, 0)?;
    says(&output, &["removed container", &run])?;
    place.is_clean()?;
    same_as_before(&before, &run)
}

fn an_image_that_is_missing_exits_3_and_says_how_to_get_it() -> Outcome {
    let place = Place::new();
    let output = place
        .drill_on("containers", &place.suite(DB), &[])
        .env("REDRILL_IMAGE_POSTGRES", "redrill/not-built:0")
        .output()?;
    exits(&output, 3)?;
    says(
        &output,
        &[
            "redrill/not-built:0",
            "make images",
            "REDRILL_IMAGE_POSTGRES",
        ],
    )?;
    place.is_clean()
}

fn list_explain_and_init_work_without_services() -> Outcome {
    let place = Place::new();
    let listed = place.run(&["list"]);
    exits(&listed, 0)?;
    says(
        &listed,
        &[
            "deltacrown/database-corruption",
            "test_rpo_within_target_1_hour",
            "detection/A1",
        ],
    )?;
    let explained = place.run(&["explain", "A1"]);
    exits(&explained, 0)?;
    says(&explained, &["dump truncated"])?;
    let unknown = place.run(&["explain", "contnet"]);
    exits(&unknown, 2)?;
    says(&unknown, &["did you mean the check `content`?"])?;
    let file = place.path("new/first.toml");
    let file = file.to_str().expect("utf-8");
    exits(&place.run(&["init", file]), 0)?;
    exits(&place.run(&["list", file]), 0)?;
    exits(&place.run(&["init", file]), 2)
}

fn usage_errors_exit_2_and_help_exits_0() -> Outcome {
    let place = Place::new();
    exits(&place.run(&["drill", "--scale", "0"]), 2)?;
    exits(&place.run(&["drill", "no-such-suite"]), 2)?;
    exits(&place.run(&["no-such-verb"]), 2)?;
    let help = place.run(&["--help"]);
    exits(&help, 0)?;
    says(&help, &["Exit codes:", "130 interrupted, after teardown"])
}

fn doctor_says_what_is_needed_and_what_is_there() -> Outcome {
    let place = Place::new();
    let output = place.run(&["doctor"]);
    says(
        &output,
        &[
            "local services need",
            "containers need",
            "postgres (any version)",
            "embedded in redrill",
        ],
    )
}

fn doctor_says_what_is_missing_and_how_to_get_it_and_exits_3_where_neither_kind_can_be_had()
-> Outcome {
    let place = Place::new();
    let suite = place.suite(&DB.replace(
        "kind = \"postgres\"",
        "kind = \"postgres\"\nversion = \"9\"",
    ));
    let suite = suite.to_str().expect("utf-8");
    let mut command = place.command(&["doctor", suite]);
    let output = command
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .output()?;
    exits(&output, 3)?;
    says(
        &output,
        &[
            "postgres 9: no PostgreSQL server (version 9) is installed here",
            "apt-get install postgresql-9",
            "a container engine: ",
            "systemctl start docker",
            "neither kind of services can be had yet",
        ],
    )
}

/// Root reaps by what is noted below a run's directory, in a place where anyone may make one.
fn reap_touches_nothing_that_another_user_made() -> Outcome {
    use std::os::unix::fs::{chown, symlink};
    let place = Place::new();
    let (made, precious) = (
        place.tmp().join("redrill-20260101-000000-00000000"),
        place.path("precious"),
    );
    std::fs::create_dir(&made)?;
    std::fs::write(&precious, "kept")?;
    symlink(&precious, made.join("run.lock"))?;
    let nobody = Some(65534);
    chown(&made, nobody, nobody)?;
    let output = place.run(&["reap"]);
    exits(&output, 0)?;
    says(&output, &["nothing was left behind"])?;
    if std::fs::read_to_string(&precious)? != "kept" || !made.is_dir() {
        return Err("what another user made was touched".into());
    }
    // The healthy twin: the same directory, of whoever reaps.
    std::fs::remove_file(made.join("run.lock"))?;
    std::fs::write(made.join("run.lock"), "")?;
    let root = Some(0);
    chown(&made, root, root)?;
    let output = place.run(&["reap"]);
    exits(&output, 0)?;
    says(&output, &["removed directory"])?;
    place.is_clean()
}

fn no_redis() -> Option<String> {
    let there = Command::new("redis-server").arg("--version").output();
    let there = there.is_ok_and(|output| output.status.success());
    no_postgres().or((!there).then(|| "no local Redis".to_owned()))
}

fn has_postgres() -> bool {
    std::fs::read_dir("/usr/lib/postgresql").is_ok_and(|mut found| found.next().is_some())
}

fn no_postgres() -> Option<String> {
    (!has_postgres()).then(|| "no local PostgreSQL".to_owned())
}

/// Ignored with the reason where something is lacking, and failed with it where services are required.
fn unless(
    lacking: Option<String>,
    test: impl FnOnce() -> Result<Completion, Failed>,
) -> Result<Completion, Failed> {
    match lacking {
        Some(reason) if std::env::var_os("REDRILL_REQUIRE_SERVICES").is_some() => {
            Err(reason.into())
        }
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => test(),
    }
}

fn trial(name: &'static str, lacks: fn() -> Option<String>, test: fn() -> Outcome) -> Trial {
    Trial::ignorable_test(name, move || {
        unless(lacks(), || test().map(|()| Completion::Completed))
    })
}

/// Tests in containers: they look at what the whole engine holds, and so run one at a time.
fn contained(name: &'static str, test: fn() -> Outcome) -> Trial {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    contained::trial(name, &[POSTGRES_IMAGE], move || {
        let _alone = ALONE
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        test()
    })
}

macro_rules! trials {
    ($lacks:expr; $($test:path),+ $(,)?) => { vec![$(trial(stringify!($test), $lacks, $test)),+] };
}

fn main() -> std::process::ExitCode {
    if std::env::var_os(signals::HARNESS).is_some() {
        let conclusion = redrill::harness::run(&Arguments::from_args());
        return conclusion.expect("suites can be read").exit_code();
    }
    let mut trials = trials![|| None;
        a_suite_with_problems_reports_them_all_and_starts_nothing,
        an_address_of_a_database_in_a_suite_is_refused,
        a_filter_that_matches_nothing_exits_4,
        a_server_version_that_is_not_installed_exits_3_with_the_package,
        an_engine_that_is_down_exits_3_and_says_what_to_do,
        list_explain_and_init_work_without_services,
        usage_errors_exit_2_and_help_exits_0,
        doctor_says_what_is_needed_and_what_is_there,
        doctor_says_what_is_missing_and_how_to_get_it_and_exits_3_where_neither_kind_can_be_had,
        signals::a_harness_without_services_ignores_its_trials_with_the_reason_and_fails_them_where_they_are_required,
    ];
    trials.push(Trial::ignorable_test(
        "reap_touches_nothing_that_another_user_made",
        // Who runs the tests is no service that can be had.
        || match nix::unistd::geteuid().is_root() {
            true => reap_touches_nothing_that_another_user_made().map(|()| Completion::Completed),
            false => Ok(Completion::ignored_with(
                "only root gives a directory to another user",
            )),
        },
    ));
    trials.extend(trials![no_postgres;
        an_empty_drill_is_green_and_leaves_nothing_behind,
        format_json_prints_the_record_and_nothing_else,
        two_runs_at_once_do_not_meet,
        two_runs_at_once_share_a_reports_folder,
        progress_is_drawn_on_a_terminal_and_told_in_lines_elsewhere,
        settings_of_the_user_lead_no_tool_astray,
        a_reports_folder_that_cannot_be_written_exits_2_before_anything_starts,
        a_server_that_never_gets_ready_is_given_up_at_the_deadline,
        signals::an_interrupt_in_every_phase_tears_down_and_writes_the_record,
        signals::an_interrupt_in_every_part_of_a_recovery_tears_down,
        signals::an_interrupt_of_the_test_harness_fails_its_trials_and_leaves_no_service,
        what_a_sigkill_left_is_reaped_and_a_running_run_is_left_alone,
    ]);
    trials.extend(trials![no_redis;
        no_secret_of_a_run_is_in_an_argument_list_or_in_what_it_leaves,
        signals::an_interrupt_of_three_components_tears_them_all_down,
    ]);
    trials.extend(trials![|| no_redis().or_else(mounts::lacking);
        programs::a_backup_that_hangs_is_ended_at_its_deadline_with_its_process_group,
        programs::a_program_that_is_missing_exits_3_with_its_package_before_anything_starts,
        disks::a_disk_that_is_full_when_a_server_starts_is_said_and_cleaned_up,
        disks::a_disk_that_fills_as_the_source_is_seeded_is_said_and_cleaned_up,
        disks::a_disk_that_fills_as_a_backup_is_stored_is_said_and_cleaned_up,
        disks::a_disk_that_fills_as_a_backup_is_fetched_is_said_and_cleaned_up,
        disks::a_disk_that_fills_as_a_backup_is_restored_is_said_and_cleaned_up,
        a_reports_folder_that_is_read_only_exits_2_before_anything_starts,
        disks::reports_that_can_no_longer_be_written_to_are_said_and_accuse_no_backup,
        foreign::ten_lines_over_foreign_data_drill_green_and_a_changed_row_drills_red,
    ]);
    macro_rules! contained {
        ($($test:ident),+ $(,)?) => { vec![$(contained(stringify!($test), $test)),+] };
    }
    trials.extend(contained![
        a_drill_in_containers_is_green_and_leaves_no_container_volume_or_network,
        a_container_that_ends_at_its_start_says_why_and_is_not_waited_for,
        an_interrupt_in_containers_tears_down,
        containers_of_a_killed_run_are_reaped,
        an_image_that_is_missing_exits_3_and_says_how_to_get_it,
    ]);
    trials.push(Trial::ignorable_test(
        "ten_lines_over_chinook_drill_green_and_a_changed_row_drills_red",
        || match foreign::no_chinook() {
            // What is not part of the repository is required nowhere.
            Some(why) => Ok(Completion::ignored_with(why)),
            None => unless(no_postgres().or_else(mounts::lacking), || {
                foreign::ten_lines_over_chinook_drill_green_and_a_changed_row_drills_red()
                    .map(|()| Completion::Completed)
            }),
        },
    ));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
