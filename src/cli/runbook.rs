//! `redrill runbook`: how to recover, as it was last done.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::drill::load;
use crate::error::{Doing, Result};
use crate::exit::Exit;
use crate::history::History;
use crate::report::runbook;

/// Flags of `redrill runbook`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// A suite: a name under suites/, or a path to a file
    #[arg(value_name = "SUITE")]
    suite: String,
    /// Write it to this file instead of printing it
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// The reports folder with the records
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
}

/// The verb.
pub(super) fn run(flags: &Flags) -> Result<Exit> {
    let history = History::read(&flags.out)?;
    let mut text = String::new();
    for suite in load(std::slice::from_ref(&flags.suite))? {
        let (measured, wrong) = runbook::measured(&suite, &history);
        text += &runbook::render(&suite, &measured);
        for words in wrong {
            let _ = writeln!(std::io::stderr(), "note: left out: {words}");
        }
    }
    match &flags.to {
        None => super::say(&text)?,
        Some(path) => {
            std::fs::write(path, text).doing_with(|| format!("write {}", path.display()))?;
            super::say(&format!("wrote {}\n", path.display()))?;
        }
    }
    Ok(Exit::Passed)
}
