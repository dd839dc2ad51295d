//! `redrill drill`: suites → plan → run → record and report → exit code.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock};
use crate::context::{Context, RunId};
use crate::drill::runner::{self, Run};
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::plan::{self, Drill};
use crate::provision::choose::{self, Mode};
use crate::record::{Record, Start};
use crate::report::{self, progress::Progress, terminal};
use crate::suite::{self, Suite};

/// Flags of `redrill drill`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Suites: names under suites/, or paths to files; all of suites/ but the detection suite when none is given
    #[arg(value_name = "SUITE")]
    suites: Vec<String>,
    /// Where services come from
    #[arg(long, value_enum, default_value = "auto", env = "REDRILL_SERVICES")]
    services: Services,
    /// Only drills and tests whose name matches this glob
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// The reports folder; this run gets a folder of its own in it
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
    /// What to print on standard output: tables for people, or the record and nothing else
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
    /// The seed of everything left to chance: the same seed gives the same data and the same timeline
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How much data, 1 being the suite's normal size
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    scale: f64,
    /// How many drills run at once; recovery times are only comparable at 1
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Keep the run's directory (repositories, data, staging) for a look at it; servers are stopped all the same
    #[arg(long)]
    keep: bool,
    /// Print the final table only
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Services {
    /// Containers when an engine answers and the images are there, else local
    Auto,
    /// Server programs of this machine, and the embedded S3 store
    Local,
    /// Containers
    Containers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Human,
    Json,
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if scale.is_finite() && scale > 0.0 => Ok(scale),
        _ => Err("expected a number above 0, such as 0.1 or 4".to_owned()),
    }
}

/// The verb.
pub(super) async fn run(flags: Flags, cancel: CancellationToken) -> Result<Exit> {
    let suites = load(&flags.suites)?;
    let options = plan::Options {
        seed: flags.seed,
        scale: flags.scale,
    };
    let mut drills: Vec<Drill> = Vec::new();
    for suite in &suites {
        let plan = plan::expand(suite, &options)?;
        drills.extend(match &flags.only {
            Some(pattern) => plan::select(&plan, pattern)?.drills,
            None => plan.drills,
        });
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
    let started = SystemClock.now();
    let id = RunId::fresh(started);
    let folder = flags.out.join(id.as_str());
    std::fs::create_dir_all(&folder).map_err(|error| {
        Error::usage(format!(
            "the reports folder {} cannot be written: {error}",
            flags.out.display()
        ))
        .hint("name another one with --out DIR")
    })?;
    let logs = folder.join("logs");
    let ctx = Context::new(id.clone(), logs.clone(), logs, cancel.clone())?;
    let mode = match flags.services {
        Services::Auto => Mode::Auto,
        Services::Local => Mode::Local,
        Services::Containers => Mode::Containers,
    };
    let chosen = choose::choose(&ctx, mode, &choose::needs(&suites, &drills)).await?;
    let progress = Progress::stderr(flags.quiet);
    let mut record = Record::new(&Start {
        run: &id,
        at: started,
        mode: chosen.provisioner.mode(),
        reason: &chosen.reason,
        command: command(&flags),
        suites: &suites,
        drills: &drills,
    });
    let mut report_path = report::write(&record, &folder)?;
    let run = Run {
        id,
        suites: &suites,
        drills: &drills,
        provisioner: chosen.provisioner.as_ref(),
        folder: folder.clone(),
        jobs: usize::from(flags.jobs),
        keep: flags.keep,
        observer: &progress,
        cancel,
    };
    let end = runner::run(&run, &mut |result| {
        record.push(&result);
        report_path = report::write(&record, &folder)?;
        Ok(())
    })
    .await?;
    record.end(SystemClock.now(), end.interrupted);
    let written = report::write(&record, &folder);
    let mut out = std::io::stdout().lock();
    match flags.format {
        Format::Json => terminal::print_json(&record, &mut out)?,
        Format::Human => {
            let screen = terminal::Screen::stdout();
            terminal::print(
                &record,
                &report_path.display().to_string(),
                flags.quiet,
                screen,
                &mut out,
            )?;
        }
    }
    for leak in &end.leaks.found {
        let _ = writeln!(
            std::io::stderr(),
            "error: {} stands readable in {}",
            leak.what,
            leak.place
        );
    }
    let _ = written?;
    Ok(if end.leaks.found.is_empty() {
        record.exit()
    } else {
        record.exit().max(Exit::Failed)
    })
}

/// The named suites; without names all of suites/ that describe a system (the detection suite is asked for by name).
fn load(names: &[String]) -> Result<Vec<Suite>> {
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
    let all = paths
        .iter()
        .map(|path| suite::load(path))
        .collect::<Result<Vec<_>>>()?;
    Ok(all
        .into_iter()
        .filter(|suite| !names.is_empty() || suite.detections.is_empty())
        .collect())
}

/// The command that runs the same again.
fn command(flags: &Flags) -> String {
    let mut words = vec!["redrill".to_owned(), "drill".to_owned()];
    words.extend(flags.suites.iter().cloned());
    if let Some(pattern) = &flags.only {
        words.push(format!("--only '{pattern}'"));
    }
    let services = flags
        .services
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default();
    words.push(format!(
        "--services {services} --seed {} --scale {}",
        flags.seed, flags.scale
    ));
    words.join(" ")
}
