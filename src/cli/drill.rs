//! `redrill drill`: suites → plan → run → record and report → exit code.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tokio_util::sync::CancellationToken;

use super::run::{self, How, Order};
use crate::context::Secrets;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::plan::{self, Drill, Shard};
use crate::suite::{self, Suite};

/// Flags of `redrill drill`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Suites: names under suites/, or paths to files; all of suites/ but the detection suite when none is given
    #[arg(value_name = "SUITE")]
    suites: Vec<String>,
    #[command(flatten)]
    how: How,
    /// Only drills and tests whose name matches this glob
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Only one of several parts, such as 1/4; a drill is always in the same one
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// The reports folder; this run gets a folder of its own in it
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
    /// What to print on standard output: tables for people, or the record and nothing else
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
    /// Print the final table only
    #[arg(long, short)]
    quiet: bool,
}

/// What is printed on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Tables and sentences
    Human,
    /// JSON, and nothing else
    Json,
}

/// The verb.
pub(super) async fn run(flags: Flags, cancel: CancellationToken) -> Result<Exit> {
    let suites = load(&flags.suites)?;
    let options = plan::Options {
        seed: flags.how.seed,
        scale: flags.how.scale,
        release: false,
    };
    let mut drills: Vec<Drill> = Vec::new();
    for suite in &suites {
        let mut plan = plan::expand(suite, &options)?;
        if let Some(pattern) = &flags.only {
            plan = plan::select(&plan, pattern)?;
        }
        drills.extend(plan.drills);
    }
    if let Some(pattern) = flags.only.as_ref().filter(|_| drills.is_empty()) {
        return Err(Error::new(
            Kind::NothingRan,
            format!("nothing matches --only {pattern:?}"),
        )
        .hint("`redrill list` shows the names of drills and tests"));
    }
    if drills.is_empty() {
        return Err(
            Error::new(Kind::NothingRan, "the suites have no drill to run")
                .hint("add a [scenario.…] to the suite"),
        );
    }
    if let Some(shard) = flags.shard {
        drills = plan::keep(&plan::Plan::of(drills), |drill| shard.has(drill)).drills;
        if drills.is_empty() {
            // What all shards together must show is the gate's to ask.
            let words = format!("shard {shard} has no drill: there are more shards than drills");
            let _ = writeln!(std::io::stderr(), "{words}");
            return Ok(Exit::Passed);
        }
    }
    let order = Order {
        suites: &suites,
        drills: &drills,
        setting: &flags.how.setting,
        jobs: flags.how.jobs,
        shard: flags.shard,
        task: None,
        cannot: None,
        secrets: Secrets::default(),
        out: &flags.out,
        command: command(&flags),
        quiet: flags.quiet,
    };
    let done = run::carry_out(order, cancel).await?;
    Ok(done.tell(flags.format, flags.quiet))
}

/// The named suites; without names all of suites/ that describe a system (the detection suite is asked for by name).
pub(super) fn load(names: &[String]) -> Result<Vec<Suite>> {
    let paths = match names {
        [] => suite::all(),
        names => names
            .iter()
            .map(|name| suite::find(name))
            .collect::<Result<_>>()?,
    };
    if paths.is_empty() {
        return Err(
            Error::new(Kind::NothingRan, "there is no suite under suites/")
                .hint("write one with `redrill init`, or name a file"),
        );
    }
    let mut all = read(&paths)?;
    all.retain(|suite| !names.is_empty() || suite.detections.is_empty());
    Ok(all)
}

/// The suites of these files, each once.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Suite>> {
    let mut all: Vec<Suite> = Vec::new();
    for path in paths {
        let suite = suite::load(path)?;
        if !is_among(&suite, &all)? {
            all.push(suite);
        }
    }
    Ok(all)
}

/// Whether a suite is one of these. Another one of the same name is an error: records tell suites by their names.
pub(super) fn is_among(suite: &Suite, others: &[Suite]) -> Result<bool> {
    let Some(other) = others.iter().find(|it| it.name == suite.name) else {
        return Ok(false);
    };
    let place = |suite: &Suite| suite.path.canonicalize();
    match (place(suite), place(other)) {
        (Ok(one), Ok(two)) if one == two => Ok(true),
        _ => Err(Error::usage(format!(
            "{} and {} are two suites of one name",
            other.path.display(),
            suite.path.display()
        ))
        .hint("rename one of the files: records tell suites by their names")),
    }
}

/// The command that runs the same again.
fn command(flags: &Flags) -> String {
    let mut words = vec!["redrill".to_owned(), "drill".to_owned()];
    words.extend(flags.suites.iter().cloned());
    if let Some(pattern) = &flags.only {
        words.push(format!("--only '{pattern}'"));
    }
    if let Some(shard) = flags.shard {
        words.push(format!("--shard {shard}"));
    }
    words.push(flags.how.again());
    words.join(" ")
}
