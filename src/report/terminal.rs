//! The final tables, written to a handle that the caller gives (standard output): objectives, tests with their
//! TOTAL, planted faults, findings worst first, and where the report is. Colour only where it can be seen.
//!
//! Not here: progress while drills run (see [`super::progress`]).

use std::io::{IsTerminal as _, Write};

use tabled::builder::Builder;
use tabled::grid::util::string::get_line_width;
use tabled::settings::style::HorizontalLine;
use tabled::settings::{Color, Style, Theme};

use crate::error::{Doing, Result};
use crate::record::{LineKind, Record, Verdict};

use super::matrix::Matrix;
use super::text::{self, line};
use super::view::{self, Found, Standing};

/// How many findings are shown; the report has more, the record all.
const FINDINGS_SHOWN: usize = 20;

/// What is being written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Columns.
    pub width: usize,
    /// Whether colour codes are understood and wanted.
    pub colour: bool,
}

impl Screen {
    /// 100 columns without colour: what is written to when it is no terminal.
    pub const PLAIN: Self = Self {
        width: 100,
        colour: false,
    };

    /// Standard output as it is: its width on a terminal, colour unless `NO_COLOR` is set or the terminal is dumb.
    pub fn stdout() -> Self {
        let stdout = std::io::stdout();
        if !stdout.is_terminal() {
            return Self::PLAIN;
        }
        let width = terminal_size::terminal_size_of(&stdout).map(|(width, _)| width.0.into());
        Self::terminal(
            width,
            std::env::var("NO_COLOR").ok().as_deref(),
            std::env::var("TERM").ok().as_deref(),
        )
    }

    /// A terminal of this width, under these values of `NO_COLOR` and `TERM`.
    fn terminal(width: Option<usize>, no_color: Option<&str>, term: Option<&str>) -> Self {
        Self {
            width: width.unwrap_or(Self::PLAIN.width).clamp(40, 200),
            colour: no_color.is_none_or(str::is_empty) && term != Some("dumb"),
        }
    }

    /// Text in the colour of a standing, where colour is wanted.
    pub(super) fn paint(self, text: &str, standing: Standing) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match standing {
            Standing::Good => 32,
            Standing::Bad => 31,
            Standing::Warn | Standing::Unknown => 33,
        };
        format!("\u{1b}[1;{code}m{text}\u{1b}[0m")
    }
}

/// Writes the result of a run. `report` says where the report is; with `quiet` only the tables of what was counted
/// are written.
pub fn print(
    record: &Record,
    report: &str,
    quiet: bool,
    screen: Screen,
    out: &mut dyn Write,
) -> Result<()> {
    let text = match quiet {
        true => counted(record, screen),
        false => whole(record, report, screen),
    };
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .doing("write the result")
}

/// Writes the record itself, for `--format json`: nothing else goes to the handle.
pub fn print_json(record: &Record, out: &mut dyn Write) -> Result<()> {
    out.write_all(record.to_json()?.as_bytes())
        .and_then(|()| out.flush())
        .doing("write the record")
}

fn whole(record: &Record, report: &str, screen: Screen) -> String {
    let mut blocks = vec![objectives(record, screen), counted(record, screen)];
    blocks.push(findings(record, screen));
    let (word, standing) = view::headline(record);
    blocks.push(format!(
        "{}: {}\nServices: {} ({})\nReport: {}\nAgain: {}\n",
        screen.paint(word, standing),
        view::verdict_sentence(record),
        line(&record.services.mode),
        line(&record.services.reason),
        line(report),
        line(&record.command)
    ));
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n")
}

fn objectives(record: &Record, screen: Screen) -> String {
    let rows = view::objectives(record);
    let Some(overall) = view::overall(&rows) else {
        return String::new();
    };
    let cells = rows
        .iter()
        .map(|row| Row {
            cells: vec![
                line(&row.scenario),
                line(&row.rpo),
                line(&row.rto),
                row.measured
                    .iter()
                    .map(|it| line(it))
                    .collect::<Vec<_>>()
                    .join("\n"),
                row.status.to_owned(),
            ],
            standing: Some(row.standing),
        })
        .collect();
    let table = draw(
        &["Scenario", "RPO", "RTO", "Measured", "Status"],
        cells,
        false,
        screen,
    );
    format!("{table}{overall}\n")
}

/// The tables of what was counted: tests or checks of each suite, and planted faults.
fn counted(record: &Record, screen: Screen) -> String {
    let mut blocks = tests(record, screen);
    let planted = view::planted(record);
    if !planted.is_empty() {
        let good = planted
            .iter()
            .filter(|row| row.standing == Standing::Good)
            .count();
        let mut rows: Vec<Row> = planted
            .iter()
            .map(|row| Row {
                cells: vec![
                    line(&row.fault),
                    line(&row.planted),
                    line(&row.must),
                    line(&row.caught),
                ],
                standing: Some(row.standing),
            })
            .collect();
        rows.push(Row::total(
            vec![
                String::new(),
                String::new(),
                format!("{good}/{}", planted.len()),
            ],
            good == planted.len(),
        ));
        blocks.push(draw(
            &["Fault", "Planted how", "Must be caught by", "Caught by"],
            rows,
            true,
            screen,
        ));
        blocks.extend(Matrix::of(record).map(|matrix| faults_against_checks(&matrix, screen)));
    }
    blocks.join("\n")
}

/// The matrix, where the screen has room for it, and what is not planted.
fn faults_against_checks(matrix: &Matrix, screen: Screen) -> String {
    let mut text = matrix.text();
    if text.lines().any(|line| get_line_width(line) > screen.width) {
        text.clear();
    }
    for line in matrix.legend() {
        for (at, row) in wrapped(&line, screen.width - 2, 0).iter().enumerate() {
            text.push_str(if at == 0 { "" } else { "  " });
            text.push_str(row);
            text.push('\n');
        }
    }
    text
}

fn tests(record: &Record, screen: Screen) -> Vec<String> {
    let lines = record.lines();
    let mut blocks = Vec::new();
    for suite in &record.suites {
        let own: Vec<_> = lines
            .iter()
            .filter(|it| it.suite == suite.name && it.kind != LineKind::Fault)
            .collect();
        if own.is_empty() {
            continue;
        }
        let passed = own
            .iter()
            .filter(|it| it.verdict == Some(Verdict::Passed))
            .count();
        let took: f64 = own.iter().map(|it| it.seconds).sum();
        let mut rows: Vec<Row> = own
            .iter()
            .map(|it| {
                let (word, standing) = view::verdict(it.verdict);
                let name = match it.kind {
                    LineKind::Check => format!("{} of {}", it.name, it.drill),
                    _ => it.name.to_owned(),
                };
                Row {
                    cells: vec![line(&name), text::duration(it.seconds), word.to_owned()],
                    standing: Some(standing),
                }
            })
            .collect();
        rows.push(Row::total(
            vec![text::duration(took), format!("{passed}/{}", own.len())],
            passed == own.len(),
        ));
        blocks.push(draw(
            &[&line(&suite.title), "Runtime", "Verdict"],
            rows,
            true,
            screen,
        ));
    }
    blocks
}

fn findings(record: &Record, screen: Screen) -> String {
    let all = view::findings(record);
    let mut block = String::new();
    for found in all.iter().take(FINDINGS_SHOWN) {
        block.push_str(&finding(found, screen));
    }
    if all.len() > FINDINGS_SHOWN {
        block.push_str(&format!(
            "and {} more, in the report\n",
            all.len() - FINDINGS_SHOWN
        ));
    }
    block
}

fn finding(found: &Found, screen: Screen) -> String {
    let (word, standing) = found.weight();
    let mut text = String::new();
    let what = format!("{}: {}", line(&found.kind), line(&found.message));
    let first = format!("{word}: ");
    for (at, row) in wrapped(&what, screen.width.saturating_sub(first.len()), 2)
        .iter()
        .enumerate()
    {
        match at {
            0 => text.push_str(&format!("{}{row}\n", screen.paint(&first, standing))),
            _ => text.push_str(&format!("  {row}\n")),
        }
    }
    let place = found.places.first().map_or("", String::as_str);
    let more = match found.places.len() {
        0 | 1 => String::new(),
        all => format!(" and {} more", all - 1),
    };
    for (label, body) in [
        ("in", format!("{}{more}", line(place))),
        ("remedy", line(&found.remedy)),
    ] {
        for row in wrapped(&format!("{label}: {body}"), screen.width - 2, 0) {
            text.push_str(&format!("  {row}\n"));
        }
    }
    text
}

/// Words in lines of at most `width` columns; a longer word stands alone. `spare` columns are added from the second
/// line on, which loses the label of the first.
pub(super) fn wrapped(text: &str, width: usize, spare: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut current = String::new();
    for word in text.split(' ') {
        let room = if lines.is_empty() {
            width
        } else {
            width + spare
        };
        if current.is_empty() {
            current.push_str(word);
        } else if get_line_width(&current) + 1 + get_line_width(word) > room {
            lines.push(std::mem::replace(&mut current, word.to_owned()));
        } else {
            current.push(' ');
            current.push_str(word);
        }
    }
    lines.push(current);
    lines
}

/// A word in pieces of at most `width` columns.
fn broken(word: &str, width: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for letter in word.chars() {
        if let Some(piece) = pieces.last_mut() {
            piece.push(letter);
            if get_line_width(piece) > width && piece.chars().count() > 1 {
                piece.pop();
                pieces.push(letter.to_string());
            }
        }
    }
    pieces
}

/// Wraps cells so that the table fits: the widest column gives way first.
fn fit(rows: &mut [Vec<String>], width: usize) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let natural = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        let lines = cells.flat_map(|cell| cell.lines()).map(get_line_width);
        lines.max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..columns).map(natural).collect();
    // A border and two spaces for each column, and the last border.
    let room = width.saturating_sub(3 * columns + 1);
    while widths.iter().sum::<usize>() > room {
        match widths.iter_mut().max() {
            Some(widest) if *widest > 4 => *widest -= 1,
            _ => break,
        }
    }
    for row in rows {
        for (cell, width) in row.iter_mut().zip(&widths) {
            let lines: Vec<String> = cell
                .lines()
                .flat_map(|line| wrapped(line, *width, 0))
                .flat_map(|line| broken(&line, *width))
                .collect();
            *cell = lines.join("\n");
        }
    }
}

/// A row of a table; its last cell is coloured by its standing.
pub(super) struct Row {
    /// Its cells.
    pub cells: Vec<String>,
    /// How it stands.
    pub standing: Option<Standing>,
}

impl Row {
    fn total(mut cells: Vec<String>, good: bool) -> Self {
        cells.insert(0, "TOTAL".to_owned());
        Self {
            cells,
            standing: Some(if good { Standing::Good } else { Standing::Bad }),
        }
    }
}

/// A table within the screen's width; with `total`, a rule stands above the last row.
pub(super) fn draw(head: &[&str], rows: Vec<Row>, total: bool, screen: Screen) -> String {
    let standings: Vec<Option<Standing>> = rows.iter().map(|row| row.standing).collect();
    let last = rows.len();
    let mut cells: Vec<Vec<String>> = vec![head.iter().map(|it| (*it).to_owned()).collect()];
    cells.extend(rows.into_iter().map(|row| row.cells));
    fit(&mut cells, screen.width);
    let mut builder = Builder::default();
    for row in cells {
        builder.push_record(row);
    }
    let mut theme = Theme::from_style(Style::rounded());
    if total {
        theme.insert_horizontal_line(last, HorizontalLine::inherit(Style::modern()));
    }
    let mut table = builder.build();
    table.with(theme);
    if screen.colour {
        for (at, standing) in standings.into_iter().enumerate() {
            let colour = match standing {
                Some(Standing::Good) => Color::FG_GREEN,
                Some(Standing::Bad) => Color::FG_RED,
                Some(Standing::Warn | Standing::Unknown) => Color::FG_YELLOW,
                None => continue,
            };
            table.modify((at + 1, head.len() - 1), colour);
        }
    }
    format!("{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_that_want_it() {
        let colour = |no_color, term| Screen::terminal(Some(80), no_color, term).colour;
        assert!(colour(None, Some("xterm")));
        assert!(colour(Some(""), Some("xterm")));
        assert!(!colour(Some("1"), Some("xterm")));
        assert!(!colour(None, Some("dumb")));
        assert_eq!(Screen::terminal(Some(3), None, None).width, 40);
        assert_eq!(Screen::terminal(None, None, None).width, 100);
    }

    #[test]
    fn a_table_fits_by_breaking_between_words_first_and_inside_them_last() {
        let mut rows = vec![vec!["one two\nthree".to_owned(), "abcdefghij".to_owned()]];
        fit(&mut rows, 17);
        assert_eq!(rows[0], ["one\ntwo\nthree", "abcde\nfghij"]);
    }

    #[test]
    fn words_are_wrapped_and_never_cut() {
        assert_eq!(
            wrapped("aaa bbb ccc-ddd-eee f", 7, 0),
            ["aaa bbb", "ccc-ddd-eee", "f"]
        );
    }
}
