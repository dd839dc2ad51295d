//! `redrill schedule`: when suites are due, the service that drills them, and the schedule for other schedulers.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use tokio_util::sync::CancellationToken;

use super::drill::{load, read};
use crate::clock::{Clock, SystemClock};
use crate::error::{Doing, Result};
use crate::exit::Exit;
use crate::provision::reap::{self, Kept};
use crate::schedule::{self, Form, Service, Target};
use crate::suite::{self, Suite};

/// Flags of `redrill schedule`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Drill suites when they are due, one at a time, until stopped: exit 0 when it was asked to end (Ctrl-C, SIGTERM)
    ///
    /// A suite that becomes due while another is drilled is drilled next, once. What it was due more often than that, and what
    /// was missed while the machine slept, is skipped and told. What a killed drill left behind is removed at the start;
    /// what `--keep` kept stays.
    Run {
        /// Suites: names under suites/, or paths; all that have a [schedule] when none is given
        #[arg(value_name = "SUITE")]
        suites: Vec<String>,
        /// The reports folder
        #[arg(long, value_name = "DIR", default_value = "reports")]
        out: PathBuf,
        /// End after so many drills
        #[arg(long, value_name = "N")]
        times: Option<u32>,
        /// Flags for each `redrill drill`
        #[arg(last = true, value_name = "FLAGS")]
        flags: Vec<OsString>,
    },
    /// Say when suites are due
    Next {
        /// Suites: names under suites/, or paths; all that have a [schedule] when none is given
        #[arg(value_name = "SUITE")]
        suites: Vec<String>,
        /// How many times of each
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
    },
    /// Write the schedule for another scheduler
    Export {
        /// Which one
        #[arg(value_enum)]
        form: Word,
        /// Suites: names under suites/, or paths; all that have a [schedule] when none is given
        #[arg(value_name = "SUITE")]
        suites: Vec<String>,
        /// Write files into this folder instead of printing them
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
        /// The program, as the scheduler finds it; when not given, this one by its path for cron and systemd, and `redrill` in
        /// the image for the others
        #[arg(long)]
        program: Option<String>,
        /// The directory that drills run in; the current one when not given
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// The reports folder
        #[arg(long, value_name = "DIR", default_value = "reports")]
        out: PathBuf,
        /// The container image with redrill and the suites
        #[arg(long, default_value = "redrill:latest")]
        image: String,
        /// How many parts the drills of suites that are due together are divided into
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
        shards: u32,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Word {
    Cron,
    Systemd,
    Github,
    Gitlab,
    Kubernetes,
}

impl From<Word> for Form {
    fn from(word: Word) -> Self {
        match word {
            Word::Cron => Self::Cron,
            Word::Systemd => Self::Systemd,
            Word::Github => Self::Github,
            Word::Gitlab => Self::Gitlab,
            Word::Kubernetes => Self::Kubernetes,
        }
    }
}

/// The named suites; without names all that say when they are drilled.
fn scheduled(names: &[String]) -> Result<Vec<Suite>> {
    if !names.is_empty() {
        return load(names);
    }
    read(&suite::all())
}

/// Removes what drills that were killed left behind: no service starts without room.
async fn tidy(say: &(dyn Fn(&str) + Sync)) {
    match reap::reap(Kept::Spared).await {
        Ok(reaped) => {
            for thing in reaped {
                match thing.error {
                    None => say(&format!("removed {}", thing.what)),
                    Some(error) => say(&format!("could not remove {}: {error}", thing.what)),
                }
            }
        }
        Err(error) => say(&format!("error: {error}")),
    }
}

/// The verb.
pub(super) async fn run(flags: Flags, cancel: CancellationToken) -> Result<Exit> {
    match flags.verb {
        Verb::Run {
            suites,
            out,
            times,
            flags,
        } => {
            let suites = scheduled(&suites)?;
            let say = |text: &str| {
                let _ = writeln!(std::io::stderr(), "{text}");
            };
            tidy(&say).await;
            let service = Service {
                planned: &schedule::planned(&suites)?,
                program: std::env::current_exe().doing("find this program")?,
                arguments: flags,
                out,
                times,
                clock: &SystemClock,
                say: &say,
                cancel,
            };
            schedule::serve(&service).await?;
            // A service that was asked to end has not failed.
            Ok(Exit::Passed)
        }
        Verb::Next { suites, count } => {
            let suites = scheduled(&suites)?;
            let planned = schedule::planned(&suites)?;
            let mut all = Vec::new();
            for it in &planned {
                let mut at = SystemClock.now();
                for _ in 0..count {
                    let Some(next) = it.due.after(at) else { break };
                    all.push((next, it));
                    at = next;
                }
            }
            all.sort_by_key(|(at, it)| (*at, it.suite.name.clone()));
            for (at, it) in all {
                let there = at.with_timezone(&it.due.zone);
                super::say(&format!(
                    "{}  {}  ({}, {})\n",
                    at.format("%Y-%m-%d %H:%M UTC"),
                    it.suite.name,
                    there.format("%a %H:%M %Z"),
                    it.due.cron
                ))?;
            }
            Ok(Exit::Passed)
        }
        Verb::Export {
            form,
            suites,
            to,
            program,
            dir,
            out,
            image,
            shards,
        } => {
            let suites = scheduled(&suites)?;
            let here = std::env::current_dir().doing("find the current directory")?;
            // cron looks for programs in /usr/bin and /bin alone.
            let program = match (program, form) {
                (Some(program), _) => program,
                (None, Word::Cron | Word::Systemd) => {
                    let this = std::env::current_exe().doing("find this program")?;
                    this.display().to_string()
                }
                (None, _) => "redrill".to_owned(),
            };
            let target = Target {
                program: &program,
                dir: dir.as_deref().unwrap_or(&here),
                out: &out,
                image: &image,
                shards,
            };
            let files = schedule::export(form.into(), &schedule::planned(&suites)?, &target)?;
            let Some(folder) = to else {
                let texts: Vec<String> = files.into_iter().map(|(_, text)| text).collect();
                super::say(&texts.join(if matches!(form, Word::Kubernetes) {
                    "---\n"
                } else {
                    "\n"
                }))?;
                return Ok(Exit::Passed);
            };
            std::fs::create_dir_all(&folder)
                .doing_with(|| format!("create {}", folder.display()))?;
            for (name, text) in files {
                let path = folder.join(name);
                std::fs::write(&path, text).doing_with(|| format!("write {}", path.display()))?;
                super::say(&format!("wrote {}\n", path.display()))?;
            }
            Ok(Exit::Passed)
        }
    }
}
