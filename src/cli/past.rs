//! `redrill history`: earlier runs, how figures moved, and two runs side by side.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::drill::Format;
use super::verify_evidence::record_path;
use crate::error::Error;
use crate::error::{Doing, Result};
use crate::exit::Exit;
use crate::history::{self, History};
use crate::record::Record;
use crate::report::{past, terminal};
use crate::suite::pattern::Patterns;

/// Flags of `redrill history`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Only drills that match this glob
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// How many of the latest runs of each drill
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    last: u32,
    /// The reports folder
    #[arg(long, value_name = "DIR", default_value = "reports", global = true)]
    out: PathBuf,
    /// What to print on standard output: tables for people, or JSON and nothing else
    #[arg(long, value_enum, default_value = "human", global = true)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What got worse, and what got better, from one run to another
    Compare {
        /// The earlier run: its name, its folder, or its record.json
        #[arg(value_name = "A")]
        earlier: String,
        /// The later run; the latest when not given
        #[arg(value_name = "B", default_value = "latest")]
        later: String,
        /// Exit with 1 where anything got worse
        #[arg(long)]
        fail: bool,
    },
}

/// The verb.
pub(super) fn run(flags: &Flags) -> Result<Exit> {
    let screen = terminal::Screen::stdout();
    if let Some(Verb::Compare {
        earlier,
        later,
        fail,
    }) = &flags.verb
    {
        let earlier = Record::read(&record_path(earlier, &flags.out)?)?;
        let later = Record::read(&record_path(later, &flags.out)?)?;
        let comparison = history::compare(&earlier, &later);
        match flags.format {
            Format::Json => {
                let text = serde_json::to_string_pretty(&comparison)
                    .doing("write the comparison as JSON")?;
                super::say(&format!("{text}\n"))?;
            }
            Format::Human => {
                super::say(&past::comparison(&earlier, &later, &comparison, screen))?;
            }
        }
        return Ok(match *fail && comparison.got_worse() {
            true => Exit::Failed,
            false => Exit::Passed,
        });
    }
    let history = History::read(&flags.out)?;
    let patterns = flags
        .only
        .as_deref()
        .map(|pattern| Patterns::parse([pattern]))
        .transpose()
        .map_err(|why| Error::usage(why).doing("read the pattern of drills to show"))?;
    let wanted = |drill: &str| patterns.as_ref().is_none_or(|it| it.matches(drill));
    let suites = history.suites();
    let entries = suites.flat_map(|suite| history.entries(suite, |head| wanted(head.drill)));
    let series = history::series(entries.collect());
    let last = flags.last as usize;
    match flags.format {
        Format::Json => {
            let entries: Vec<_> = series
                .values()
                .flat_map(|all| all.iter().skip(all.len().saturating_sub(last)))
                .collect();
            let text = serde_json::to_string_pretty(&entries).doing("write the history as JSON")?;
            super::say(&format!("{text}\n"))?;
        }
        Format::Human => super::say(&past::table(&series, last, &history.notes, screen))?,
    }
    Ok(if series.is_empty() {
        Exit::NothingRan
    } else {
        Exit::Passed
    })
}
