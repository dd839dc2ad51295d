//! `redrill report`: the reports of a run rendered again, or all runs as pages.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::verify_evidence::record_path;
use crate::error::Result;
use crate::exit::Exit;
use crate::history::History;
use crate::record::Record;
use crate::report;

/// Flags of `redrill report`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// A run's name, its folder, or its record.json
    #[arg(value_name = "RUN", default_value = "latest")]
    run: String,
    /// Write the reports into this folder instead of the run's own
    #[arg(long, value_name = "DIR", conflicts_with = "serve")]
    to: Option<PathBuf>,
    /// Show all runs as pages on this machine, until stopped
    #[arg(long)]
    serve: bool,
    /// The port to show them on; 0 takes a free one
    #[arg(long, default_value_t = 8642, requires = "serve")]
    port: u16,
    /// The reports folder
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
}

/// The verb.
pub(super) async fn run(flags: Flags, cancel: CancellationToken) -> Result<Exit> {
    if flags.serve {
        let listener = report::serve::listen(flags.port).await?;
        super::say(&format!("http://{}/\n", listener.1))?;
        report::serve::serve(listener.0, &flags.out, cancel).await;
        return Ok(Exit::Passed);
    }
    let path = record_path(&flags.run, &flags.out)?;
    let record = Record::read(&path)?;
    let own = path.parent().map(PathBuf::from).unwrap_or_default();
    let folder = flags.to.unwrap_or(own);
    let history = History::read(&flags.out)?;
    let own = |suite: &str| history.entries(suite, |head| head.run == record.run_id);
    let mut entries = record.suites.iter().flat_map(|suite| own(&suite.name));
    if let Some(Err(error)) = entries.next().map(|entry| history.sealed(&entry)) {
        let _ = writeln!(std::io::stderr(), "note: {}", error.message());
    }
    let series = history.of_drills(&record);
    report::render_again(&record, &series, &folder)?;
    for name in [report::REPORT, report::PAGE, report::JUNIT] {
        super::say(&format!("{}\n", folder.join(name).display()))?;
    }
    Ok(Exit::Passed)
}
