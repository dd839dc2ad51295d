//! `redrill explain`: what a word of the output means.

use clap::Args;

use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::suite::findings::FINDINGS;
use crate::suite::unplanted::{UNPLANTED, planted_by};
use crate::suite::{Check, Fault, Strike};
use crate::{gate, history};

/// Flags of `redrill explain`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// A check (`content`), a fault (`A1`), a strike (`server-lost`) the kind of a finding (`rpo-missed`) or the reason of a gate (`stale`); all when none is given
    #[arg(value_name = "ID")]
    id: Option<String>,
}

/// Every word with its class and meaning.
fn words() -> Vec<(&'static str, &'static str, &'static str)> {
    let checks = Check::ALL
        .iter()
        .map(|word| ("check", word.id(), word.meaning()));
    let faults = Fault::ALL
        .iter()
        .map(|word| ("fault", word.id(), word.meaning()));
    let strikes = Strike::ALL
        .iter()
        .map(|word| ("strike", word.id(), word.meaning()));
    let findings = FINDINGS
        .iter()
        .map(|(id, meaning)| ("finding", *id, *meaning));
    let trend = history::WORDS
        .iter()
        .map(|(id, meaning)| ("trend", *id, *meaning));
    let reasons = gate::REASONS
        .iter()
        .map(|(id, meaning)| ("reason", *id, *meaning));
    checks
        .chain(faults)
        .chain(strikes)
        .chain(findings)
        .chain(trend)
        .chain(reasons)
        .chain(
            UNPLANTED
                .iter()
                .map(|(id, what, _)| ("unplanted", *id, *what)),
        )
        .collect()
}

/// The verb.
pub(super) fn run(flags: &Flags) -> Result<Exit> {
    let words = words();
    let Some(id) = &flags.id else {
        let lines: Vec<String> = words
            .iter()
            .map(|(class, id, meaning)| format!("{class:<8} {id:<28} {meaning}\n"))
            .collect();
        return super::say(&lines.concat()).map(|()| Exit::Passed);
    };
    let found: Vec<_> = words
        .iter()
        .filter(|(_, word, _)| word.eq_ignore_ascii_case(id))
        .collect();
    if found.is_empty() {
        let nearest = words
            .iter()
            .max_by(|a, b| strsim::jaro(a.1, id).total_cmp(&strsim::jaro(b.1, id)));
        let error = Error::usage(format!(
            "there is no check, fault, strike, finding or reason called {id:?}"
        ));
        return Err(match nearest {
            Some((class, word, _)) => error.hint(format!(
                "did you mean the {class} `{word}`? `redrill explain` lists all"
            )),
            None => error,
        });
    }
    for (class, word, meaning) in found {
        super::say(&format!("{class} {word}\n  {meaning}\n"))?;
        if let Some((_, _, why)) = UNPLANTED
            .iter()
            .find(|(id, ..)| id == word && *class == "unplanted")
        {
            super::say(&format!("  not planted: {why}\n"))?;
        }
        if let Some(fault) = Fault::find(word) {
            let suite = planted_by(fault);
            super::say(&format!(
                "  see it caught: redrill drill {suite} --only '{suite}/{fault}'\n"
            ))?;
        }
    }
    Ok(Exit::Passed)
}
