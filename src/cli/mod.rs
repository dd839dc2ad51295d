//! The command line, one file per verb: flags → one typed call. No logic of its own; nothing below prints.

use std::ffi::OsString;
use std::io::Write as _;

use clap::{Parser, Subcommand};
use tokio::signal::unix::SignalKind;
use tokio_util::sync::CancellationToken;

use crate::error::{Doing, Error, Result};
use crate::exit::Exit;

mod doctor;
mod drill;
mod explain;
mod gate;
mod init;
mod list;
mod past;
mod reap;
mod report;
mod run;
mod runbook;
mod schedule;
mod verify;
mod verify_evidence;

const AFTER_HELP: &str = "\
Exit codes:
    0  everything asked for passed
    1  a drill ran and the backup did not hold up
    2  usage or suite error; nothing was started
    3  undetermined: something could not be verified
    4  nothing ran (no suite, or a filter that matched nothing)
    5  gate closed
   70  a defect in redrill
  130  interrupted, after teardown

Examples:
  redrill drill deltacrown                 drill suites/deltacrown.toml, report in reports/
  redrill drill ./mine.toml --only '*rpo*' only what matches, of a suite by path
  redrill drill detection                  prove that every check catches its fault
  redrill verify shop.dump --ask ask.toml  does this very backup come back, with what it should hold?
  redrill gate deltacrown                  may this be released? exit 0 only on fresh, passing evidence
  redrill history                          earlier runs, and how their figures moved
  redrill explain content                  what a check, fault or finding means";

/// Test whether backups come back: start real services, back them up, break them, recover them, and judge.
#[derive(Debug, Parser)]
#[command(name = "redrill", version, after_help = AFTER_HELP, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run drills, write a report and a record, print the table
    Drill(drill::Flags),
    /// Restore one existing backup, made by anyone, and judge it: a file, a folder, s3://…, a presigned address
    Verify(Box<verify::Flags>),
    /// Decide from the records of earlier drills whether to release; exit 0 opens
    Gate(gate::Flags),
    /// Show earlier runs and how figures moved; compare two of them
    History(past::Flags),
    /// Render the reports of a run again from its record, or show all of them as pages
    Report(report::Flags),
    /// Write the recovery runbook of a suite from its last measured drills
    Runbook(runbook::Flags),
    /// Drill suites when they are due; say when that is; export it to other schedulers
    Schedule(schedule::Flags),
    /// Verify that a record is the one that was signed after its drill
    VerifyEvidence(verify_evidence::Flags),
    /// Say what suites, drills and tests there are
    List(list::Flags),
    /// Say what a check, a fault, a strike or a finding means and how to mend it
    Explain(explain::Flags),
    /// Say what each kind of services needs, and what of it is here
    Doctor(doctor::Flags),
    /// Remove what a killed run left behind, and what --keep kept: processes, containers, directories
    Reap(reap::Flags),
    /// Write a first suite to start from
    Init(init::Flags),
}

impl Verb {
    /// What it ends with when its work did not succeed: no backup failed where none was looked at.
    fn failed(&self) -> Exit {
        match self {
            Self::History(_)
            | Self::Report(_)
            | Self::Runbook(_)
            | Self::Schedule(_)
            | Self::List(_)
            | Self::Explain(_)
            | Self::Init(_) => Exit::Usage,
            Self::Gate(_) => Exit::GateClosed,
            Self::Drill(_)
            | Self::Verify(_)
            | Self::VerifyEvidence(_)
            | Self::Doctor(_)
            | Self::Reap(_) => Exit::Failed,
        }
    }
}

/// Runs the program with these arguments.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Passed
            };
        }
    };
    let failed = arguments.verb.failed();
    match carry_out(arguments.verb) {
        Ok(exit) => exit,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            match error.exit() {
                Exit::Failed => failed,
                exit => exit,
            }
        }
    }
}

fn carry_out(verb: Verb) -> Result<Exit> {
    match verb {
        // What only reads files needs no runtime.
        Verb::List(flags) => list::run(&flags),
        Verb::Explain(flags) => explain::run(&flags),
        Verb::Init(flags) => init::run(&flags),
        Verb::Report(flags) => block_on(|cancel| report::run(flags, cancel)),
        Verb::Runbook(flags) => runbook::run(&flags),
        Verb::Schedule(flags) => block_on(|cancel| schedule::run(flags, cancel)),
        Verb::History(flags) => past::run(&flags),
        Verb::VerifyEvidence(flags) => verify_evidence::run(&flags),
        Verb::Gate(flags) => block_on(|cancel| gate::run(flags, cancel)),
        Verb::Verify(flags) => block_on(|cancel| verify::run(*flags, cancel)),
        Verb::Drill(flags) => block_on(|cancel| drill::run(flags, cancel)),
        Verb::Doctor(flags) => block_on(|_| doctor::run(flags)),
        Verb::Reap(flags) => block_on(|_| reap::run(flags)),
    }
}

/// Runs asynchronous work; Ctrl-C and SIGTERM cancel it, and it then tears down.
fn block_on<F: Future<Output = Result<Exit>>>(
    work: impl FnOnce(CancellationToken) -> F,
) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .doing("start the runtime")?;
    runtime.block_on(async { work(cancelled_by_signals()?).await })
}

/// What Ctrl-C and SIGTERM cancel from now on, where they would end the process. Wants a runtime that lives as long.
pub(crate) fn cancelled_by_signals() -> Result<CancellationToken> {
    let cancel = CancellationToken::new();
    let signalled = cancel.clone();
    let listen = |kind| tokio::signal::unix::signal(kind);
    let mut interrupt = listen(SignalKind::interrupt()).doing("listen for SIGINT")?;
    let mut terminate = listen(SignalKind::terminate()).doing("listen for SIGTERM")?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            let words = "interrupted: removing what was started …";
            let _ = writeln!(std::io::stderr(), "{words}");
            signalled.cancel();
        }
    });
    Ok(cancel)
}

/// Writes to standard output; a reader that went away is no defect.
fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::failed(error.to_string()).doing("write to standard output"))
        }
        _ => Ok(()),
    }
}
