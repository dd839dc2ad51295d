//! A gate's decision for people and for programs.
//!
//! Not here: deciding (see [`crate::gate`]).

use std::io::Write;

use crate::error::{Doing, Result};
use crate::gate::Decision;

use super::terminal::{Row, Screen, draw, wrapped};
use super::text::{self, line};
use super::view::Standing;

/// Writes the decision: what was looked at, every reason with its remedy, and the verdict last.
pub fn print(decision: &Decision, screen: Screen, out: &mut dyn Write) -> Result<()> {
    out.write_all(whole(decision, screen).as_bytes())
        .and_then(|()| out.flush())
        .doing("write the decision")
}

/// Writes the decision as JSON, and nothing else.
pub fn print_json(decision: &Decision, out: &mut dyn Write) -> Result<()> {
    let mut text = serde_json::to_string_pretty(decision).doing("write the decision as JSON")?;
    text.push('\n');
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .doing("write the decision")
}

fn whole(decision: &Decision, screen: Screen) -> String {
    let mut text = String::new();
    for suite in &decision.suites {
        let rows: Vec<Row> = suite
            .evidence
            .iter()
            .map(|proof| {
                let age = (decision.decided_at - proof.at).as_seconds_f64();
                let (word, standing) = match proof.holds {
                    true => ("holds", Standing::Good),
                    false => ("DOES NOT HOLD", Standing::Bad),
                };
                Row {
                    cells: vec![
                        line(&proof.drill),
                        line(&proof.run),
                        text::age(age.max(0.0)),
                        word.to_owned(),
                    ],
                    standing: Some(standing),
                }
            })
            .collect();
        if !rows.is_empty() {
            let head = [&line(&suite.title), "Run", "Age", "Evidence"];
            text.push_str(&draw(&head, rows, false, screen));
        }
        for reason in &suite.reasons {
            let what = format!(
                "{}: {}: {}",
                reason.kind,
                line(&reason.drill),
                line(&reason.message)
            );
            text.push_str(&screen.paint("closed: ", Standing::Bad));
            let room = screen.width.saturating_sub("closed: ".len());
            text.push_str(&wrapped(&what, room, 6).join("\n  "));
            text.push('\n');
            let remedy = format!("remedy: {}", line(&reason.remedy));
            for row in wrapped(&remedy, screen.width - 2, 0) {
                text.push_str(&format!("  {row}\n"));
            }
        }
    }
    for note in &decision.notes {
        text.push_str(&wrapped(&format!("note: {}", line(note)), screen.width - 2, 0).join("\n  "));
        text.push('\n');
    }
    let commit = decision.commit.as_deref().map_or(String::new(), |commit| {
        format!(" for commit {}", commit.get(..12).unwrap_or(commit))
    });
    let drills: usize = decision.suites.iter().map(|it| it.evidence.len()).sum();
    text.push_str(&match decision.open {
        true => format!(
            "{}{commit}: {} hold\n",
            screen.paint("GATE OPEN", Standing::Good),
            text::plural(drills as u64, "record"),
        ),
        false => {
            let reasons: usize = decision.suites.iter().map(|it| it.reasons.len()).sum();
            format!(
                "{}{commit}: {}\n",
                screen.paint("GATE CLOSED", Standing::Bad),
                text::plural(reasons as u64, "reason")
            )
        }
    });
    text
}
