//! `report.html`: one page that stands alone. No script, no font, no picture from elsewhere; it reads on a phone, in
//! the dark and on paper. The same rows as in Markdown, with charts.
//!
//! Not here: which rows there are (see [`super::view`]) or what is drawn (see `charts`).

mod charts;
mod index;
mod tables;

use std::collections::BTreeMap;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::history::Entry;
use crate::record::Record;

use super::text;
use super::view::{self, Standing};

pub use index::index;

const STYLE: &str = include_str!("style.css");

/// Figures of earlier runs, by drill, oldest first.
pub type Series = BTreeMap<String, Vec<Entry>>;

/// The page of a run, with the figures of it and of those before it.
pub fn render(record: &Record, series: &Series) -> String {
    noted(record, series, None)
}

/// The same, with what casts doubt on all of it.
pub fn noted(record: &Record, series: &Series, doubt: Option<&str>) -> String {
    let (word, standing) = view::headline(record);
    let title = format!("{word}: backup drill of {}", titles(record));
    page(
        &title,
        html! {
            @if let Some(doubt) = doubt { p.doubt { (badge("do not rely on this", Standing::Bad)) " " (sentence(doubt)) } }
            (head(record))
            @for section in [
                charts::objectives(record),
                tables::tests(record),
                tables::detections(record),
                tables::findings(record),
                charts::waterfall(record),
                charts::trends(series),
                charts::retention(record),
                tables::recoveries(record),
                tables::throughput(record),
                tables::controls(record),
                tables::services(record),
                tables::definitions(record),
            ] { (section) }
        },
        standing,
    )
}

/// A page with this body.
pub fn page(title: &str, body: Markup, standing: Standing) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                meta name="color-scheme" content="light dark";
                title { (text::line(title)) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body class=(class(standing)) { main { (body) } }
        }
    }
    .into_string()
}

/// The class of a standing in the style sheet.
pub fn class(standing: Standing) -> &'static str {
    match standing {
        Standing::Good => "good",
        Standing::Warn => "warn",
        Standing::Bad => "bad",
        Standing::Unknown => "unknown",
    }
}

/// A word in the colour of its standing, and with a sign, for those who do not see colours.
pub fn badge(word: &str, standing: Standing) -> Markup {
    let sign = match standing {
        Standing::Good => "✓",
        Standing::Warn => "!",
        Standing::Bad => "✕",
        Standing::Unknown => "?",
    };
    html! { span class={ "badge " (class(standing)) } { span.sign aria-hidden="true" { (sign) } " " (word) } }
}

/// redrill's own sentences with foreign names in them: what stands between backticks is code.
fn sentence(said: &str) -> Markup {
    let said = text::line(said);
    let parts: Vec<&str> = said.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return html! { (said) };
    }
    html! {
        @for (at, part) in parts.iter().enumerate() {
            @if at % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// A section with a heading; nothing when it is empty.
fn section(id: &str, title: &str, about: &str, body: Option<Markup>) -> Markup {
    html! {
        @if let Some(body) = body {
            section id=(id) {
                h2 { (title) }
                @if !about.is_empty() { p.about { (about) } }
                (body)
            }
        }
    }
}

fn titles(record: &Record) -> String {
    let titles: Vec<String> = record
        .suites
        .iter()
        .map(|suite| text::line(&suite.title))
        .collect();
    match titles.is_empty() {
        true => "no suite".to_owned(),
        false => titles.join(", "),
    }
}

fn head(record: &Record) -> Markup {
    let (word, standing) = view::headline(record);
    let commit = record.origin.commit.as_deref();
    html! {
        header class=(class(standing)) {
            p.kicker { "Backup drill of " (titles(record)) }
            h1 { (badge(word, standing)) }
            p.verdict { (view::verdict_sentence(record)) }
            dl.facts {
                div { dt { "Run" } dd { code { (record.run_id) } } }
                div { dt { "Started" } dd { (record.started_at.format("%Y-%m-%d %H:%M UTC")) } }
                div { dt { "Services" } dd { (text::line(&record.services.mode)) } }
                @if let Some(commit) = commit {
                    div { dt { "Commit" } dd {
                        code { (commit.get(..12).unwrap_or(commit)) }
                        @if record.origin.dirty == Some(true) { " and changes" }
                    } }
                }
                @if !record.origin.host.is_empty() {
                    div { dt { "Host" } dd { (text::line(&record.origin.host)) } }
                }
            }
            @if !record.not_run.is_empty() {
                p { "These drills did not run, and count as nothing:" }
                ul { @for drill in &record.not_run { li { code { (drill.id) } " " (text::line(&drill.title)) } } }
            }
        }
    }
}
