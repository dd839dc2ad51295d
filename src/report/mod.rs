//! What people read, rendered from a record: Markdown for the file, tables for the terminal. Nothing is printed
//! anywhere else in redrill.
//!
//! Not here: what is true (see [`crate::record`]) or when a report is made (the command line decides).

pub mod markdown;
pub mod progress;
pub mod terminal;
pub mod text;
pub mod view;

#[cfg(test)]
mod golden;

use std::path::{Path, PathBuf};

use crate::error::{Doing, Result};
use crate::record::{Record, write_atomically};

/// The name of a run's record in its folder.
pub const RECORD: &str = "record.json";
/// The name of a run's report in its folder.
pub const REPORT: &str = "report.md";

/// What every report says its figures mean.
pub const DEFINITIONS: [(&str, &str); 5] = [
    (
        "RPO",
        "strike instant − commit instant of the oldest acknowledged write that did not come back, and their count; \
         0 when none is missing. It comes from the ledger of acknowledged writes, kept outside the service, never \
         from file dates. A write lost although a later one came back fails whatever the objective.",
    ),
    (
        "RTO",
        "loss declared → first verified read on the recovered service: provision, fetch, restore, replay, ready, \
         verify, swap. Measured by the monotonic clock, on server settings as in production (fsync on).",
    ),
    (
        "Projected RTO",
        "the measured recovery carried to the production size that the suite names. It is not a measurement.",
    ),
    (
        "Restore throughput",
        "10^9 bytes of the source, as the server itself reports its size, per minute of the restore phase.",
    ),
    (
        "Worst moment",
        "struck just before the next backup would have completed, that backup lasting what it was measured to \
         last, at production size: an hourly backup is exposed for an hour and its own duration.",
    ),
];

/// Writes the record and its report to `folder`, each whole or not at all; returns the report's path. Called after
/// each drill and at the end.
pub fn write(record: &Record, folder: &Path) -> Result<PathBuf> {
    record.write(&folder.join(RECORD))?;
    let report = folder.join(REPORT);
    write_atomically(&report, markdown::render(record).as_bytes())
        .doing_with(|| format!("write the report {}", report.display()))?;
    Ok(report)
}
