//! What is said of a run: short, the verdict first, then what is wrong and what to do about it.

use serde_json::json;

use crate::record::Record;
use crate::report::text;
use crate::report::view::{self, Found, Standing};

use super::News;

/// How many findings a message shows.
const SHOWN: usize = 5;

/// An e-mail.
pub(super) struct Mail {
    pub subject: String,
    pub body: String,
}

fn titles(record: &Record) -> String {
    let titles: Vec<&str> = record.suites.iter().map(|it| it.title.as_str()).collect();
    text::line(&titles.join(", "))
}

fn first_line(record: &Record, news: News) -> String {
    let (word, standing) = view::headline(record);
    let again = match news {
        News::Recovery => " again, after a failure",
        News::Good | News::Failure => "",
    };
    format!(
        "{} Backup drill of {}: {word}{again}",
        standing.sign(),
        titles(record)
    )
}

/// What did not hold, worst first.
fn findings(record: &Record) -> Vec<Found> {
    let mut all = view::findings(record);
    all.retain(|found| found.weight().1 != Standing::Warn);
    all.truncate(SHOWN);
    all
}

fn body(record: &Record, news: News) -> String {
    let mut lines = vec![
        first_line(record, news),
        view::verdict_sentence(record),
        String::new(),
    ];
    for found in findings(record) {
        lines.push(format!(
            "- {}: {}",
            text::line(&found.kind),
            text::at_most(&text::line(&found.message), 300)
        ));
        lines.push(format!("  remedy: {}", text::line(&found.remedy)));
    }
    lines.push(format!(
        "Run {} on {}",
        record.run_id,
        text::line(&record.origin.host)
    ));
    lines.push(format!("Again: {}", text::line(&record.command)));
    lines.join("\n")
}

/// A message as Slack's incoming webhooks take it. Foreign text must not make links or mentions.
pub(super) fn slack(record: &Record, news: News) -> String {
    let escaped = body(record, news)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    json!({ "text": escaped }).to_string()
}

/// JSON for programs.
pub(super) fn webhook(record: &Record, news: News) -> String {
    let (word, _) = view::headline(record);
    let drills: Vec<_> = record
        .drills
        .iter()
        .map(|drill| {
            json!({
                "id": drill.id,
                "verdict": drill.verdict,
                "rto_seconds": drill.rto.as_ref().map(|it| it.total_seconds),
                "rpo_seconds": drill.rpo.as_ref().map(|it| it.window_seconds),
            })
        })
        .collect();
    let findings: Vec<_> = findings(record)
        .into_iter()
        .map(|it| json!({ "kind": it.kind, "message": it.message, "remedy": it.remedy, "places": it.places }))
        .collect();
    json!({
        "event": match news {
            News::Failure => "failure",
            News::Recovery => "recovery",
            News::Good => "passed",
        },
        "verdict": word.to_lowercase(),
        "run_id": record.run_id,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "suites": record.suites.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(),
        "commit": record.origin.commit,
        "host": record.origin.host,
        "summary": record.summary,
        "drills": drills,
        "findings": findings,
    })
    .to_string()
}

/// An e-mail.
pub(super) fn mail(record: &Record, news: News) -> Mail {
    let (word, _) = view::headline(record);
    let again = match news {
        News::Recovery => " again",
        News::Good | News::Failure => "",
    };
    Mail {
        subject: format!("[redrill] {word}{again}: {}", titles(record)),
        body: body(record, news) + "\n",
    }
}
