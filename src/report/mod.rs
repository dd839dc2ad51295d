//! What people read, rendered from a record: Markdown for the file, tables for the terminal. Nothing is printed
//! anywhere else in redrill.
//!
//! Not here: what is true (see [`crate::record`]) or when a report is made (the command line decides).

pub mod controls;
pub mod decision;
pub mod html;
pub mod junit;
pub mod markdown;
mod matrix;
pub mod past;
pub mod progress;
pub mod runbook;
pub mod serve;
mod steps;
pub mod terminal;
pub mod text;
pub mod view;

#[cfg(test)]
mod golden;

use std::path::Path;

use crate::error::{Doing, Error, Result};

use crate::record::{Record, write_atomically};

use html::Series;

/// The name of a run's record in its folder.
pub const RECORD: &str = "record.json";
/// The name of a run's report in its folder.
pub const REPORT: &str = "report.md";
/// The name of a run's page in its folder.
pub const PAGE: &str = "report.html";
/// The name of a run's JUnit XML in its folder.
pub const JUNIT: &str = "junit.xml";

/// How many characters the summary of a job may have.
const SUMMARY_LIMIT: usize = 250_000;

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

/// Writes the record and its report to `folder`, each whole or not at all. Called after each drill and at the end.
pub fn write(record: &Record, folder: &Path) -> Result<()> {
    record.write(&folder.join(RECORD))?;
    write_text(folder, REPORT, &markdown::render(record))
}

/// Writes what is made once, when the run has ended: the page, JUnit XML, and the summary of a job on GitHub. `series`
/// has the figures of this run and of those before it. Returns what could not be written.
pub fn publish(record: &Record, series: &Series, folder: &Path) -> Vec<Error> {
    let written = [
        write_text(folder, PAGE, &html::render(record, series)),
        junit::render(record).and_then(|xml| write_text(folder, JUNIT, &xml)),
        summary(record),
    ];
    written.into_iter().filter_map(Result::err).collect()
}

/// Renders a run's reports again, from its record.
pub fn render_again(record: &Record, series: &Series, folder: &Path) -> Result<()> {
    write_text(folder, REPORT, &markdown::render(record))?;
    write_text(folder, PAGE, &html::render(record, series))?;
    write_text(folder, JUNIT, &junit::render(record)?)
}

fn write_text(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    write_atomically(&path, text.as_bytes())
        .doing_with(|| format!("write the report {}", path.display()))
}

/// Appends the report to the summary of the job, on GitHub.
fn summary(record: &Record) -> Result<()> {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .doing("write the summary of the job")?;
    // GitHub takes a megabyte.
    let text = markdown::render(record);
    let text = text::at_most(&text, SUMMARY_LIMIT);
    std::io::Write::write_all(&mut file, text.as_bytes()).doing("write the summary of the job")
}
