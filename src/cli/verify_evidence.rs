//! `redrill verify-evidence`: is this the record that was signed?

use std::path::PathBuf;

use clap::Args;

use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::history::History;
use crate::report;
use crate::seal;

/// Flags of `redrill verify-evidence`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// A run's name, its folder, or its record.json
    #[arg(value_name = "RUN")]
    run: String,
    /// The public key (ed25519, PEM)
    #[arg(long, value_name = "KEY", env = "REDRILL_VERIFY_KEY")]
    key: PathBuf,
    /// The reports folder
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
}

/// The verb.
pub(super) fn run(flags: &Flags) -> Result<Exit> {
    let record = record_path(&flags.run, &flags.out)?;
    let verified = seal::verify(&record, &flags.key)?;
    super::say(&format!(
        "{} is the record that was signed: {}\n  record SHA-256 {}\n  key SHA-256 {}\n",
        record.display(),
        verified.result,
        verified.record_sha256,
        verified.key
    ))?;
    Ok(Exit::Passed)
}

/// The record that is meant by the name of a run, `latest`, a folder, or a file.
pub(super) fn record_path(run: &str, out: &std::path::Path) -> Result<PathBuf> {
    let path = PathBuf::from(run);
    if path.is_file() {
        return Ok(path);
    }
    if path.join(report::RECORD).is_file() {
        return Ok(path.join(report::RECORD));
    }
    let history = History::read(out)?;
    let run = match run {
        "latest" => history.runs().pop().ok_or_else(|| {
            Error::usage(format!("there is no run in {}", out.display()))
                .hint("`redrill drill` makes one, or name another folder with --out")
        })?,
        run => run.to_owned(),
    };
    let path = history.record_path(&run)?;
    if path.is_file() {
        return Ok(path);
    }
    Err(
        Error::usage(format!("there is no run {run} in {}", out.display()))
            .hint("`redrill history` shows the runs; a folder or a record.json can be named too"),
    )
}
