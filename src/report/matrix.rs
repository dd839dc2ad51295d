//! Planted faults against checks: which check each fault makes fail, as a table in Markdown and as text for a terminal.
//!
//! Not here: whether that is as it must be (see [`crate::record`]).

use std::collections::BTreeSet;

use crate::record::{Record, Verdict};
use crate::suite::fit::wants_pgbackrest;
use crate::suite::unplanted::{ON_THE_COPY, UNPLANTED, planted_by, unprovoked};
use crate::suite::{Check, Fault};

use super::text::{code, markdown};

/// The check that must fail because of the fault, and one that fails too.
const NAMED: &str = "●";
const ALSO: &str = "○";

/// Faults against checks.
pub(super) struct Matrix {
    /// The checks that looked at any of it, in the order of the documentation.
    checks: Vec<&'static str>,
    /// Each fault with a sign, or none, for each of the checks.
    rows: Vec<(String, Vec<&'static str>)>,
}

impl Matrix {
    /// Of every detection drill in a record; `None` where there is none.
    pub fn of(record: &Record) -> Option<Self> {
        let planted: Vec<_> = record
            .drills
            .iter()
            .filter_map(|drill| drill.detection.as_ref())
            .collect();
        let looked: BTreeSet<&str> = planted
            .iter()
            .flat_map(|it| &it.outcomes)
            .map(|outcome| outcome.id.as_str())
            .collect();
        let all = Check::ALL.iter().map(|check| check.id());
        let checks: Vec<&'static str> = all.filter(|id| looked.contains(id)).collect();
        let rows: Vec<_> = planted
            .iter()
            .map(|it| {
                let failed = |id: &str| {
                    let mut outcomes = it.outcomes.iter();
                    outcomes.any(|check| check.id == id && check.verdict == Verdict::Failed)
                };
                let sign = |id: &&'static str| match failed(id) {
                    true if **id == it.must_be_caught_by => NAMED,
                    true => ALSO,
                    false => "",
                };
                (it.fault.clone(), checks.iter().map(sign).collect())
            })
            .collect();
        (!rows.is_empty()).then_some(Self { checks, rows })
    }

    /// As a table with a legend, and what is not planted.
    pub fn markdown(&self) -> (Vec<String>, Vec<Vec<String>>, String) {
        let mut head = vec!["Fault".to_owned()];
        head.extend(self.checks.iter().map(|id| code(id)));
        let rows = self.rows.iter().map(|(fault, signs)| {
            let mut row = vec![code(fault)];
            row.extend(signs.iter().map(|sign| (*sign).to_owned()));
            row
        });
        let mut notes = format!(
            "{NAMED} the check named for the fault failed because of it; {ALSO} this one failed too.\n\n\
             {}.\n\nNot planted, and why:\n\n",
            markdown(ON_THE_COPY)
        );
        for (fault, suite) in self.elsewhere() {
            notes += &format!(
                "- {} {}: planted by the suite {}.\n",
                code(fault.id()),
                markdown(fault.meaning()),
                code(suite)
            );
        }
        for (id, what, why) in UNPLANTED {
            notes += &format!("- {} {}: {}.\n", code(id), markdown(what), markdown(why));
        }
        for check in Check::ALL {
            if let Some(why) = unprovoked(*check) {
                notes += &format!("- check {}: {}.\n", code(check.id()), markdown(why));
            }
        }
        (head, rows.collect(), notes)
    }

    /// What is planted by another suite than the one that planted these.
    fn elsewhere(&self) -> impl Iterator<Item = (Fault, &'static str)> {
        let own = self.rows.first().and_then(|(fault, _)| Fault::find(fault));
        let others = Fault::ALL.iter().filter(move |fault| {
            own.is_some_and(|own| !wants_pgbackrest(own)) && wants_pgbackrest(**fault)
        });
        others.map(|fault| (*fault, planted_by(*fault)))
    }

    /// As text, two columns a check: the names of the checks stand upright above them.
    pub fn text(&self) -> String {
        let width = self.rows.iter().map(|(fault, _)| fault.len()).max();
        let width = width.unwrap_or(0);
        let tall = self.checks.iter().map(|id| id.len()).max().unwrap_or(0);
        let mut text = String::new();
        let mut line = |first: &str, cells: Vec<char>| {
            let cells: String = cells.into_iter().flat_map(|cell| [' ', cell]).collect();
            text += &format!("{first:width$} {}\n", cells.trim_end());
        };
        for row in 0..tall {
            let letter = |id: &&str| {
                let at = (row + id.len()).checked_sub(tall)?;
                id.chars().nth(at)
            };
            let letters = self.checks.iter().map(|id| letter(id).unwrap_or(' '));
            line("", letters.collect());
        }
        for (fault, signs) in &self.rows {
            let signs = signs.iter().map(|sign| sign.chars().next().unwrap_or('·'));
            line(fault, signs.collect());
        }
        text
    }

    /// What the signs mean, and what is not planted, one statement each.
    pub fn legend(&self) -> Vec<String> {
        let signs = format!("{NAMED} caught by the check named for it, {ALSO} this one failed too");
        let unplanted = UNPLANTED
            .iter()
            .map(|(id, what, why)| format!("{id} not planted ({what}): {why}"));
        let unprovoked = Check::ALL.iter().filter_map(|check| {
            let why = unprovoked(*check)?;
            Some(format!("{} not provoked: {why}", check.id()))
        });
        let elsewhere = self.elsewhere().map(|(fault, suite)| {
            format!(
                "{fault} not planted here ({}): the suite {suite} plants it",
                fault.meaning()
            )
        });
        let all = [signs, ON_THE_COPY.to_owned()].into_iter().chain(elsewhere);
        let all = all.chain(unplanted);
        all.chain(unprovoked).collect()
    }
}
