//! What others may read of a run: the argument lists of its processes while it runs, and everything that it leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;

use libtest_mimic::Failed;

use crate::{Outcome, Place, exits, pids};

const SUITE: &str = r#"
[component.db]
kind = "postgres"
seed = "seed.sql"
[component.cache]
kind = "redis"
seed = { keys = 300 }
[component.media]
kind = "bucket"
bucket = "media"
seed = { objects = 30 }
[repository.offsite]
kind = "s3"
bucket = "backups"
[backup.hourly]
component = "db"
method = { pg-dump = { format = "custom", compress = 6 } }
schedule = "0 * * * *"
encrypt = "age"
[backup.quarterly]
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
at = "58m after hourly"
"#;

/// Enough rows for a dump that takes its time.
const SEED: &str =
    "create table numbers as select n, md5(n::text) as word from generate_series(1, 200000) as n;";

/// What was seen of the processes of a machine, and what they know.
#[derive(Default)]
struct Seen {
    /// Argument lists of all processes, joined by spaces, and whether they are the run's.
    lines: BTreeMap<String, bool>,
    /// Secrets, and where each was found.
    secrets: BTreeMap<String, String>,
    known: BTreeSet<(u32, Vec<u8>)>,
}

impl Seen {
    /// Looks at every process once. Those of the run have its temporary directory in their environment or arguments.
    fn look(&mut self, mark: &str) {
        for pid in pids() {
            let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else {
                continue;
            };
            if line.is_empty() || !self.known.insert((pid, line.clone())) {
                continue;
            }
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let environment = String::from_utf8_lossy(&environment);
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let ours = line.contains(mark) || environment.contains(mark);
            for (name, value) in environment.split('\0').filter_map(|it| it.split_once('=')) {
                if ours && ["PGPASSWORD", "REDISCLI_AUTH"].contains(&name) {
                    self.secrets.insert(value.to_owned(), name.to_owned());
                }
            }
            *self.lines.entry(line).or_default() |= ours;
        }
    }

    /// The passwords of the Redis servers, from the settings they are started with.
    fn look_at_settings(&mut self, dir: &Path) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && entry.file_name() != "data" {
                self.look_at_settings(&path);
            } else if entry.file_name() == "redis.conf" {
                let text = std::fs::read_to_string(path).unwrap_or_default();
                let words = text
                    .lines()
                    .filter_map(|line| line.strip_prefix("requirepass "));
                for word in words {
                    self.secrets
                        .insert(word.to_owned(), "requirepass".to_owned());
                }
            }
        }
    }

    fn ours(&self) -> impl Iterator<Item = &str> {
        let ours = self.lines.iter().filter(|(_, ours)| **ours);
        ours.map(|(line, _)| line.as_str())
    }
}

/// Passwords and secret keys of a run are 32 hex digits, and nothing else of it is.
fn has_the_form_of_a_password(word: &str) -> bool {
    word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What in an argument list has the form of a secret: this finds those too that no environment and no file shows, the
/// key of the object store, the age identity and the canary.
fn telltale(line: &str) -> Option<&str> {
    let mut words = line.split(|it: char| !it.is_ascii_alphanumeric() && it != '-');
    words.find(|word| {
        word.split('-').any(has_the_form_of_a_password)
            || word.starts_with("AGE-SECRET-KEY-")
            || word
                .strip_prefix("canary")
                .is_some_and(|rest| rest.len() == 24)
    })
}

/// The files below a folder that hold a secret or what has the form of one, and how many there are in all.
fn tell(seen: &Seen, folder: &Path) -> Result<(Vec<String>, usize), Failed> {
    let (mut telling, mut files, mut dirs) = (Vec::new(), 0, vec![folder.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            files += 1;
            let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
            let known = seen
                .secrets
                .iter()
                .find(|(secret, _)| text.contains(*secret));
            let known = known.map(|(_, from)| from.as_str());
            let what = known.or_else(|| text.lines().find_map(telltale));
            telling.extend(what.map(|what| format!("{what} in {}", path.display())));
        }
    }
    Ok((telling, files))
}

pub fn no_secret_of_a_run_is_in_an_argument_list_or_in_what_it_leaves() -> Outcome {
    let place = Place::new();
    std::fs::write(place.path("seed.sql"), SEED)?;
    let mut run = place
        .drill(&place.suite(SUITE), &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (mark, mut seen) = (place.tmp().display().to_string(), Seen::default());
    while run.try_wait()?.is_none() {
        seen.look(&mark);
        seen.look_at_settings(&place.tmp());
    }
    exits(&run.wait_with_output()?, 0)?;

    for line in seen.lines.keys() {
        if let Some((_, from)) = seen
            .secrets
            .iter()
            .find(|(secret, _)| line.contains(*secret))
        {
            return Err(format!("what {from} holds is an argument: {line}").into());
        }
    }
    if let Some((word, line)) = seen.ours().find_map(|line| Some((telltale(line)?, line))) {
        return Err(format!("{word} is an argument: {line}").into());
    }
    // Nothing seen is nothing held: the servers and the tools of both components, and the secrets of both.
    for program in [
        "initdb",
        "postgres",
        "redis-server",
        "pg_dump",
        "pg_restore",
    ] {
        let is_it = |line: &str| {
            let first = line.split(' ').next().unwrap_or_default();
            Path::new(first)
                .file_name()
                .is_some_and(|name| name == program)
        };
        if !seen.ours().any(is_it) {
            let ours: Vec<_> = seen.ours().collect();
            return Err(format!("no {program} was seen among {ours:#?}").into());
        }
    }
    for name in ["PGPASSWORD", "requirepass"] {
        let mut found = seen.secrets.iter().filter(|(_, from)| *from == name);
        if !found.any(|(secret, _)| has_the_form_of_a_password(secret)) {
            return Err(format!("no secret was learned from {name}").into());
        }
    }

    // Everything is written by now: logs, record and reports in every form.
    let reports = place.path("reports");
    let (telling, files) = tell(&seen, &reports)?;
    if !telling.is_empty() || files < 20 {
        return Err(format!("of {files} files these tell: {telling:#?}").into());
    }
    for name in ["record.json", "report.md", "report.html", "junit.xml"] {
        let mut runs = std::fs::read_dir(&reports)?.flatten();
        if !runs.any(|run| run.path().join(name).is_file()) {
            return Err(format!("{name} is not there to be searched").into());
        }
    }
    // What is planted is found.
    let secret = seen.secrets.keys().next().ok_or("no secret")?.clone();
    for planted in [secret, format!("canary{}", "0f".repeat(12))] {
        std::fs::write(reports.join("planted"), format!("<b>{planted}</b>"))?;
        if tell(&seen, &reports)?.0.len() != 1 {
            return Err("a planted secret is not found".into());
        }
    }
    Ok(())
}
