//! Earlier runs on the terminal: a line for each drill with how its figures moved, and two runs side by side.
//!
//! Not here: what is known of earlier runs (see [`crate::history`]).

use std::collections::BTreeMap;

use crate::history::{Change, Comparison, Entry, Metric};
use crate::record::{Record, Verdict};

use super::terminal::{Row, Screen, draw};
use super::text::{self, line};
use super::view::{self, Standing};

/// How many runs a sparkline draws.
const DRAWN: usize = 8;

/// Figures as columns of blocks, the largest full: `▂▃▃▅█`; what was not measured is a dot.
pub fn sparkline(values: &[Option<f64>]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().flatten().copied().fold(0.0, f64::max);
    let block = |value: &Option<f64>| match value {
        None => '·',
        Some(_) if most <= 0.0 => BLOCKS[0],
        Some(value) => {
            let step = (value / most * 8.0).ceil() as usize;
            BLOCKS[step.clamp(1, 8) - 1]
        }
    };
    values.iter().map(block).collect()
}

/// The last runs of every drill.
pub fn table(
    series: &BTreeMap<String, Vec<Entry>>,
    last: usize,
    notes: &[String],
    screen: Screen,
) -> String {
    let mut text = String::new();
    let rows: Vec<Row> = series
        .iter()
        .filter_map(|(drill, entries)| {
            let entries = &entries[entries.len().saturating_sub(last)..];
            let newest = entries.last()?;
            let passed = entries.iter().filter(|it| it.verdict == Verdict::Passed);
            let figure = |metric: Metric| {
                let shown = &entries[entries.len().saturating_sub(DRAWN)..];
                let values: Vec<Option<f64>> = shown.iter().map(|it| metric.of(it)).collect();
                match values.last().copied().flatten() {
                    Some(now) => format!("{}\n{}", metric.say(now), sparkline(&values)),
                    None => "–".to_owned(),
                }
            };
            let (word, standing) = view::verdict(Some(newest.verdict));
            Some(Row {
                cells: vec![
                    format!(
                        "{}\n{}",
                        line(drill),
                        newest.at.format("%Y-%m-%d %H:%M UTC")
                    ),
                    format!("{}/{}", passed.count(), entries.len()),
                    figure(Metric::Rto),
                    figure(Metric::Rpo),
                    figure(Metric::Size),
                    figure(Metric::Throughput),
                    word.to_owned(),
                ],
                standing: Some(standing),
            })
        })
        .collect();
    if rows.is_empty() {
        text.push_str("no run yet: `redrill drill` makes one\n");
    } else {
        let head = [
            "Drill", "Passed", "RTO", "RPO", "Artifact", "Speed", "Verdict",
        ];
        text.push_str(&draw(&head, rows, false, screen));
    }
    for note in notes {
        text.push_str(&format!("note: {}\n", line(note)));
    }
    text
}

/// What differs between two runs.
pub fn comparison(earlier: &Record, later: &Record, found: &Comparison, screen: Screen) -> String {
    let mut text = format!(
        "{} ({}) → {} ({})\n",
        line(&earlier.run_id),
        view::headline(earlier).0,
        line(&later.run_id),
        view::headline(later).0
    );
    if earlier.services.mode != later.services.mode {
        text.push_str("note: the services were of different kinds; times do not compare\n");
    }
    if found.changes.is_empty() {
        text.push_str("nothing got better or worse\n");
        return text;
    }
    let row = |change: &Change| {
        let (word, standing) = match change.worse {
            Some(true) => ("worse", Standing::Bad),
            Some(false) => ("better", Standing::Good),
            None => ("other", Standing::Warn),
        };
        Row {
            cells: vec![
                line(&change.drill),
                line(&change.what),
                line(&change.before),
                line(&change.after),
                word.to_owned(),
            ],
            standing: Some(standing),
        }
    };
    let rows = found.changes.iter().map(row).collect();
    text.push_str(&draw(
        &["Drill", "What", "Was", "Is", ""],
        rows,
        false,
        screen,
    ));
    let worse = found.changes.iter().filter(|it| it.worse == Some(true));
    text.push_str(&format!(
        "{} got worse\n",
        text::plural(worse.count() as u64, "thing")
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_is_as_high_as_its_largest_figure_and_marks_what_is_missing() {
        let values = [Some(1.0), Some(4.0), None, Some(8.0)];
        assert_eq!(sparkline(&values), "▁▄·█");
        assert_eq!(sparkline(&[Some(0.0)]), "▁");
        assert_eq!(sparkline(&[]), "");
    }
}
