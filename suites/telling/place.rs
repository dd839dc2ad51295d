//! A place of its own for each test: a checkout with a suite, and the reports of one real drill.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use libtest_mimic::Failed;
use serde_json::Value;

pub type Outcome = Result<(), Failed>;

pub const SUITE: &str = r#"
title = "Shop"
[component.db]
kind = "postgres"
[[component.db.smoke]]
name = "answers"
ask = "SELECT count(*) > 0 FROM redrill.ledger"
expect = "t"
[backup.hourly]
schedule = "0 * * * *"
[scenario.lost]
strike = { fault = "server-lost" }
at = "58m after hourly"
rpo = "1h"
rto = "15m"
[schedule]
cron = "0 4 * * *"
zone = "Europe/Berlin"
[[test]]
name = "test_rpo"
check = "rpo"
scenario = "lost"
"#;

/// The same with two drills, one for each of two shards.
pub const TWO_DRILLS: &str = r#"
title = "Shop"
[component.db]
kind = "postgres"
[[component.db.smoke]]
name = "answers"
ask = "SELECT 1"
expect = "1"
[backup.hourly]
schedule = "0 * * * *"
[scenario.lost]
strike = { fault = "server-lost" }
at = "58m after hourly"
rpo = "1h"
rto = "15m"
[scenario.second]
strike = { fault = "server-lost" }
at = "20m after hourly"
rpo = "1h"
rto = "15m"
[schedule]
cron = "0 4 * * *"
zone = "Europe/Berlin"
[[test]]
name = "test_rpo"
check = "rpo"
scenario = "lost"
"#;

/// The one place that was drilled, which others are copies of.
static DRILLED: Mutex<Option<Result<Place, String>>> = Mutex::new(None);

/// Removes the place that others are copies of: nothing static is dropped by itself.
pub fn remove_drilled() {
    *DRILLED.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// A git checkout with the suite, and no reports.
    pub fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::Builder::new()
            .prefix("rdtell")
            .tempdir()
            .expect("a directory");
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open.clone()).expect("open to servers");
        let place = Self { dir };
        std::fs::create_dir(place.path("tmp")).expect("a directory");
        std::fs::set_permissions(place.path("tmp"), open).expect("open to servers");
        std::fs::write(place.path("shop.toml"), SUITE).expect("a suite");
        std::fs::write(place.path(".gitignore"), "/reports\n/tmp\n").expect("written");
        place.git(&["init", "--quiet"]);
        place.commit("first");
        place
    }

    /// The same, with the reports of one real drill that passed at this very commit.
    pub fn drilled() -> Result<Self, Failed> {
        let mut drilled = DRILLED.lock().unwrap_or_else(PoisonError::into_inner);
        let first = drilled.get_or_insert_with(|| {
            let place = Place::new();
            let output = place.redrill(&["drill", "shop.toml", "--services", "local"]);
            match output.status.code() {
                Some(0) => Ok(place),
                code => Err(format!("exit {code:?}\n{}", all(&output))),
            }
        });
        let first = first.as_ref().map_err(|why| Failed::from(why.clone()))?;
        let place = Self {
            dir: tempfile::Builder::new().prefix("rdtell").tempdir()?,
        };
        copy(first.dir.path(), place.dir.path())?;
        Ok(place)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    pub fn git(&self, arguments: &[&str]) {
        let status = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(arguments)
            .current_dir(self.dir.path())
            .stdout(Stdio::null())
            .status()
            .expect("git runs");
        assert!(status.success(), "git {arguments:?}");
    }

    /// Commits everything.
    pub fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redrill"));
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env("TMPDIR", self.path("tmp"))
            .stdin(Stdio::null());
        for name in [
            "REDRILL_SERVICES",
            "REDRILL_COMMIT",
            "REDRILL_SIGN",
            "GITHUB_SHA",
            "CI_COMMIT_SHA",
            "GIT_COMMIT",
            "GITHUB_STEP_SUMMARY",
        ] {
            command.env_remove(name);
        }
        command
    }

    pub fn redrill(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("redrill runs")
    }

    /// The folders of runs, oldest first.
    pub fn runs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path("reports"))
            .into_iter()
            .flatten()
            .flatten();
        let mut runs: Vec<PathBuf> = entries
            .map(|it| it.path())
            .filter(|it| it.is_dir())
            .collect();
        // Two of one second have names in any order.
        runs.sort_by_key(|run| {
            let record = std::fs::metadata(run.join("record.json"));
            (record.and_then(|it| it.modified()).ok(), run.clone())
        });
        runs
    }

    /// The folder of the only run.
    pub fn run(&self) -> Result<PathBuf, Failed> {
        match self.runs().as_slice() {
            [run] => Ok(run.clone()),
            runs => Err(format!("expected one run: {runs:?}").into()),
        }
    }

    pub fn record(&self) -> Result<Value, Failed> {
        Ok(serde_json::from_slice(&std::fs::read(
            self.run()?.join("record.json"),
        )?)?)
    }
}

pub fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)?.flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn all(output: &Output) -> String {
    format!(
        "--- stdout\n{}\n--- stderr\n{}",
        text(&output.stdout),
        text(&output.stderr)
    )
}

pub fn exits(output: &Output, code: i32) -> Outcome {
    if output.status.code() == Some(code) {
        return Ok(());
    }
    Err(format!("exit {:?}, expected {code}\n{}", output.status, all(output)).into())
}

/// The words are in the output, wherever lines were broken.
pub fn says(output: &Output, words: &[&str]) -> Outcome {
    contains(&all(output), words)
}

pub fn contains(said: &str, words: &[&str]) -> Outcome {
    let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.iter().find(|word| !flat.contains(**word)) {
        None => Ok(()),
        Some(word) => Err(format!("does not say {word:?}:\n{said}").into()),
    }
}

pub fn no_postgres() -> Option<String> {
    let there = std::fs::read_dir("/usr/lib/postgresql").is_ok_and(|mut it| it.next().is_some());
    (!there).then(|| "no local PostgreSQL".to_owned())
}
