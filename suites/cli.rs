//! The binary, driven as a user drives it, on good days and bad ones: messages, exit codes, and nothing left behind.
//!
//! Tests that need a local Postgres say so and are ignored where there is none (they fail where services are required,
//! `REDRILL_REQUIRE_SERVICES=1`). Those that need containers are ignored where no engine answers or the image is not
//! here, and fail where containers were asked for (`REDRILL_SERVICES=containers`).

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::Value;

#[path = "cli/arguments.rs"]
mod arguments;

use arguments::no_secret_of_a_run_is_in_an_argument_list_while_it_runs;

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

fn a_server_that_never_gets_ready_is_given_up_at_the_deadline() -> Outcome {
    let place = Place::new();
    let mut command = place.drill(&place.suite(DB), &[]);
    let output = command.env("REDRILL_READY_SECONDS", "0").output()?;
    exits(&output, 3)?;
    says(&output, &["was not ready within", "REDRILL_READY_SECONDS"])?;
    place.is_clean()
}

fn a_backup_that_hangs_is_ended_at_its_deadline_with_its_process_group() -> Outcome {
    let place = Place::new();
    let suite =
        place.suite(&DB.replace("encrypt = \"age\"", "encrypt = \"age\"\ndeadline = \"1ms\""));
    let output = place.drill(&suite, &[]).output()?;
    exits(&output, 1)?;
    says(&output, &["did not end within 1ms", "deadline"])?;
    place.is_clean()
}

fn a_full_disk_is_said_and_cleaned_up() -> Outcome {
    let place = Place::new();
    let tmp = place.tmp();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=30m,mode=755", "tmpfs"])
        .arg(&tmp)
        .output()?;
    if !mounted.status.success() {
        return Err(format!(
            "this test mounts a small file system, which needs root: {}",
            text(&mounted.stderr)
        )
        .into());
    }
    let output = place.drill(&place.suite(DB), &[]).output();
    let clean = place.is_clean();
    Command::new("umount").arg(&tmp).status()?;
    let output = output?;
    if output.status.success() {
        return Err("a drill on a full disk passed".into());
    }
    says(&output, &["No space left on device"])?;
    clean
}

/// Interrupts a run once `word` has been said, and waits for its end.
fn interrupted(place: &Place, services: &str, word: &str, signal: &str) -> Result<Output, Failed> {
    use std::io::{BufRead as _, BufReader, Read as _};
    let mut child = place
        .drill_on(services, &place.suite(DB), &[])
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
    Command::new("kill")
        .args([format!("-{signal}"), child.id().to_string()])
        .status()?;
    let deadline = Instant::now() + Duration::from_secs(60);
    lines.read_to_string(&mut said)?;
    if Instant::now() > deadline {
        return Err("teardown took more than a minute".into());
    }
    let mut output = child.wait_with_output()?;
    output.stderr = said.into_bytes();
    Ok(output)
}

fn an_interrupt_in_every_phase_tears_down_and_writes_the_record() -> Outcome {
    for (word, signal) in [
        ("prepare:", "INT"),
        ("backup:", "TERM"),
        ("observe:", "INT"),
        ("strike:", "TERM"),
        ("restore:", "INT"),
        ("teardown:", "TERM"),
    ] {
        let place = Place::new();
        let output = interrupted(&place, "local", word, signal)?;
        exits(&output, 130).map_err(|error| format!("{word} {signal}: {error:?}"))?;
        place
            .is_clean()
            .map_err(|error| format!("{word} {signal}: {error:?}"))?;
        let record = place.record()?;
        if record["state"] != "interrupted" {
            return Err(format!("{word}: the record says {}", record["state"]).into());
        }
    }
    Ok(())
}

fn what_a_sigkill_left_is_reaped_and_a_running_run_is_left_alone() -> Outcome {
    let place = Place::new();
    let killed = interrupted(&place, "local", "restore:", "KILL")?;
    if killed.status.code().is_some() {
        return Err("the run was not killed".into());
    }
    if place.is_clean().is_ok() {
        return Err("a killed run left nothing: there is nothing to reap".into());
    }
    let output = place.run(&["reap"]);
    exits(&output, 0)?;
    says(&output, &["removed directory", "of run"])?;
    place.is_clean()?;
    says(&place.run(&["reap"]), &["nothing was left behind"])
}

/// What the container engine says, line by line.
fn docker(arguments: &[&str]) -> Result<Vec<String>, Failed> {
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        return Err(text(&output.stderr).into());
    }
    let lines = text(&output.stdout);
    Ok(lines.lines().map(str::to_owned).collect())
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
        let output = interrupted(&place, "containers", word, signal)?;
        exits(&output, 130)?;
        place.is_clean()?;
        same_as_before(&before, &run_of(&place)?)?;
    }
    Ok(())
}

fn containers_of_a_killed_run_are_reaped() -> Outcome {
    let place = Place::new();
    let before = held("none")?;
    interrupted(&place, "containers", "restore:", "KILL")?;
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

fn no_secret_of_a_run_is_in_what_it_leaves() -> Outcome {
    let place = Place::new();
    exits(&place.drill(&place.suite(DB), &[]).output()?, 0)?;
    let mut dirs = vec![place.path("reports")];
    let mut seen = 0;
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir)?.flatten() {
            if entry.path().is_dir() {
                dirs.push(entry.path());
                continue;
            }
            seen += 1;
            let bytes = text(&std::fs::read(entry.path())?);
            for word in ["AGE-SECRET-KEY-", "PGPASSWORD=", "requirepass", "canary"] {
                // The name of a check or a finding may say canary; a planted one is `canary` and 24 hex digits.
                let hit = bytes.match_indices(word).any(|(at, _)| {
                    word != "canary"
                        || bytes[at + 6..]
                            .chars()
                            .take(24)
                            .filter(char::is_ascii_hexdigit)
                            .count()
                            == 24
                });
                if hit {
                    return Err(format!("{} holds {word}", entry.path().display()).into());
                }
            }
        }
    }
    if seen < 5 {
        Err(format!("only {seen} files were looked at").into())
    } else {
        Ok(())
    }
}

/// Real data that nobody here wrote, where it is: `REDRILL_SHARED_DATA`, or `../shared/data` beside the checkout.
fn chinook() -> Option<PathBuf> {
    let dir = std::env::var_os("REDRILL_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    Some(dir.join("Chinook_PostgreSql.sql")).filter(|path| path.is_file())
}

fn ten_lines_over_foreign_data_drill_green_and_a_changed_row_drills_red() -> Outcome {
    let place = Place::new();
    let seed = chinook().ok_or("no Chinook")?;
    let suite = DB.replace(
        "kind = \"postgres\"",
        &format!(
            "kind = \"postgres\"\nseed = {:?}",
            std::fs::canonicalize(seed)?.display().to_string()
        ),
    );
    let output = place.drill(&place.suite(&suite), &[]).output()?;
    exits(&output, 0)?;
    place.is_clean()?;
    let red = Place::new();
    let path = red.suite(&suite.replace("compress = 6", "compress = 0"));
    let output = with_a_changed_row(&red, &red.drill(&path, &[]))?;
    exits(&output, 1)?;
    says(&output, &["content-differs: db: public.artist: same count"])?;
    red.is_clean()?;
    let record = red.record()?;
    let drill = &record["drills"][0];
    if drill["verdict"] != "failed" {
        return Err(format!("the drill is not red: {}", drill["verdict"]).into());
    }
    let failed: Vec<&Value> = drill["checks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|check| check["verdict"] == "failed")
        .collect();
    let [content] = failed.as_slice() else {
        return Err(format!("one check fails, the content: {failed:?}").into());
    };
    let findings = content["findings"].as_array().ok_or("no findings")?;
    let words: Vec<&str> = findings
        .iter()
        .filter_map(|finding| finding["message"].as_str())
        .collect();
    if content["id"] != "content"
        || !matches!(words.as_slice(), [word] if word.starts_with("db: public.artist: same count"))
    {
        return Err(format!("the changed table alone is not named: {content}").into());
    }
    Ok(())
}

/// Runs it where every dump loses an artist's name to another before it is sealed: in place of `pg_dump`, for this run
/// alone, is one that writes another row.
fn with_a_changed_row(place: &Place, drill: &Command) -> Result<Output, Failed> {
    use std::os::unix::fs::PermissionsExt;
    let versions = std::fs::read_dir("/usr/lib/postgresql")?.flatten();
    let newest = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .ok_or("no PostgreSQL")?;
    let installed = format!("/usr/lib/postgresql/{newest}/bin/pg_dump");
    let (real, changing) = (place.path("real_pg_dump"), place.path("pg_dump"));
    std::fs::copy(&installed, &real)?;
    let script = format!(
        "#!/bin/bash\nset -o pipefail\n{} \"$@\" | LC_ALL=C sed 's/2\\tAccept$/2\\tExcept/'\n",
        real.display()
    );
    std::fs::write(&changing, script)?;
    std::fs::set_permissions(&changing, std::fs::Permissions::from_mode(0o755))?;
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "sh",
            "-ec",
            "mount --bind \"$1\" \"$2\"; shift 2; exec \"$@\"",
            "sh",
        ])
        .arg(&changing)
        .arg(&installed)
        .arg(drill.get_program())
        .args(drill.get_args())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null());
    for (name, value) in drill.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.output()?;
    if text(&output.stderr).contains("unshare failed") {
        return Err("this test mounts a file over another, which needs root".into());
    }
    Ok(output)
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
            "postgres 15",
            "embedded in redrill",
        ],
    )
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

/// Why a test that needs containers cannot run.
fn no_containers() -> Option<String> {
    let reason = |asked: Result<Vec<String>, Failed>, what: &str| {
        asked
            .err()
            .map(|error| format!("{what}: {}", error.message().unwrap_or_default().trim()))
    };
    reason(
        docker(&["version", "--format", "{{.Server.Version}}"]),
        "no container engine answers",
    )
    .or_else(|| {
        reason(
            docker(&["image", "inspect", "--format", "{{.Id}}", POSTGRES_IMAGE]),
            "the image is not here, `make images` builds it",
        )
    })
}

/// Tests in containers: they look at what the whole engine holds, and so run one at a time.
fn contained(name: &'static str, test: fn() -> Outcome) -> Trial {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    Trial::ignorable_test(name, move || {
        let _alone = ALONE
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let asked_for = std::env::var("REDRILL_SERVICES").is_ok_and(|mode| mode == "containers");
        match no_containers() {
            Some(reason) if asked_for => Err(reason.into()),
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => test().map(|()| Completion::Completed),
        }
    })
}

macro_rules! trials {
    ($lacks:expr; $($test:ident),+ $(,)?) => { vec![$(trial(stringify!($test), $lacks, $test)),+] };
}

fn main() -> std::process::ExitCode {
    let mut trials = trials![|| None;
        a_suite_with_problems_reports_them_all_and_starts_nothing,
        an_address_of_a_database_in_a_suite_is_refused,
        a_filter_that_matches_nothing_exits_4,
        a_server_version_that_is_not_installed_exits_3_with_the_package,
        an_engine_that_is_down_exits_3_and_says_what_to_do,
        list_explain_and_init_work_without_services,
        usage_errors_exit_2_and_help_exits_0,
        doctor_says_what_is_needed_and_what_is_there,
    ];
    trials.extend(trials![no_postgres;
        an_empty_drill_is_green_and_leaves_nothing_behind,
        format_json_prints_the_record_and_nothing_else,
        two_runs_at_once_do_not_meet,
        settings_of_the_user_lead_no_tool_astray,
        a_reports_folder_that_cannot_be_written_exits_2_before_anything_starts,
        a_server_that_never_gets_ready_is_given_up_at_the_deadline,
        a_backup_that_hangs_is_ended_at_its_deadline_with_its_process_group,
        a_full_disk_is_said_and_cleaned_up,
        an_interrupt_in_every_phase_tears_down_and_writes_the_record,
        what_a_sigkill_left_is_reaped_and_a_running_run_is_left_alone,
        no_secret_of_a_run_is_in_what_it_leaves,
    ]);
    trials.extend(trials![no_redis;
        no_secret_of_a_run_is_in_an_argument_list_while_it_runs,
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
        "ten_lines_over_foreign_data_drill_green_and_a_changed_row_drills_red",
        || {
            unless(no_postgres(), || {
                if chinook().is_none() {
                    return Ok(Completion::ignored_with(
                        "Chinook_PostgreSql.sql is not here: set REDRILL_SHARED_DATA",
                    ));
                }
                ten_lines_over_foreign_data_drill_green_and_a_changed_row_drills_red()
                    .map(|()| Completion::Completed)
            })
        },
    ));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
