//! `[gate]`, `[schedule]` and `[trend]` of a suite; `[gate]` of `redrill.toml` too.

use std::collections::{BTreeMap, BTreeSet};

use super::super::pattern::Patterns;
use super::super::policy::{CommitRule, DetectionRule, Due, Figure, Policy, Trend};
use super::super::problem::did_you_mean;
use super::super::raw::{Table, Value};
use super::super::schedule::Schedule;
use super::super::{Engine, Test};
use super::component;

/// The suite of detection drills that is meant when a policy names none.
const DETECTION: &str = "detection";

/// Whether the suite's file must be the same.
const SAME: [(&str, bool); 2] = [("any", false), ("same", true)];

/// `[gate]`. The names of a suite's tests are known, those of all suites are not.
pub(in crate::suite) fn gate(table: &Table<'_>, tests: Option<&[Test]>) -> Policy {
    let policy = Policy {
        tests: table.get("tests").map(|value| patterns(&value, tests)),
        max_age: table.get("max_age").and_then(|value| value.duration()),
        commit: table
            .get("commit")
            .and_then(|value| word(&value, &CommitRule::ALL, "\"any\", \"same\" or \"clean\"")),
        same_suite: table
            .get("suite")
            .and_then(|value| word(&value, &SAME, "\"any\" or \"same\"")),
        versions: table.get("versions").and_then(|value| versions(&value)),
        scale: table.get("scale").and_then(|value| {
            let scale = value.number().filter(|scale| *scale > 0.0);
            if scale.is_none() {
                value.wrong("expected a number above 0, such as 0.1".to_owned(), None);
            }
            scale
        }),
        objectives: table.get("objectives").map(|value| objectives(&value)),
        detection: table.get("detection").and_then(|value| detection(&value)),
        signed_by: table.get("signed_by").and_then(|value| {
            let path = value.text("the path of a public key (PEM)")?;
            Some(path.into())
        }),
    };
    table.finish();
    policy
}

fn patterns(value: &Value<'_>, tests: Option<&[Test]>) -> Vec<String> {
    let mut all = Vec::new();
    for item in value.one_or_more() {
        let Some(text) = item.text("the name of a test, or a glob over names") else {
            continue;
        };
        match (Patterns::parse([text]), tests) {
            (Err(why), _) => item.wrong(why, None),
            (Ok(glob), Some(tests)) if !tests.iter().any(|test| glob.matches(&test.name)) => {
                let names = tests.iter().map(|test| test.name.as_str());
                let message = format!("`{text}` matches no test of this suite");
                item.wrong(message, did_you_mean(text, names));
            }
            (Ok(_), _) => all.push(text.to_owned()),
        }
    }
    all
}

/// The meaning of one of several words; `what` names them.
pub(in crate::suite) fn word<T: Copy>(
    value: &Value<'_>,
    words: &[(&'static str, T)],
    what: &str,
) -> Option<T> {
    let text = value.text(what)?;
    let found = words.iter().find(|(name, _)| *name == text);
    if found.is_none() {
        let names = words.iter().map(|(name, _)| *name);
        let near = did_you_mean(text, names).filter(|hint| hint.starts_with("did you mean"));
        value.wrong(format!("expected {what}, found {text:?}"), near);
    }
    found.map(|(_, meaning)| *meaning)
}

fn versions(value: &Value<'_>) -> Option<BTreeMap<Engine, String>> {
    let table = value.table_such_as("versions by engine, such as { postgres = \"15\" }")?;
    let mut all = BTreeMap::new();
    for entry in table.entries() {
        let Some(engine) = Engine::find(&entry.key) else {
            let known = Engine::ALL.iter().map(|engine| engine.id());
            let hint = did_you_mean(&entry.key, known);
            let message = format!("there is no engine `{}`", entry.key);
            entry.at_key().wrong(message, hint);
            continue;
        };
        if let Some(version) = component::version(&entry) {
            all.insert(engine, version.to_owned());
        }
    }
    Some(all)
}

fn objectives(value: &Value<'_>) -> BTreeSet<Figure> {
    const WHAT: &str = "\"measured\", \"projected\" or \"worst\"";
    let items = value.one_or_more();
    let figures = items.iter().filter_map(|it| word(it, &Figure::ALL, WHAT));
    figures.collect()
}

/// `detection = "30d"`, or `{ suite = "mine", max_age = "30d" }`.
fn detection(value: &Value<'_>) -> Option<DetectionRule> {
    if !value.is_table() {
        return Some(DetectionRule {
            suite: DETECTION.to_owned(),
            max_age: value.duration()?,
        });
    }
    let table = value.table()?;
    let suite = table
        .get("suite")
        .and_then(|value| value.text("the name of a suite"))
        .unwrap_or(DETECTION);
    let max_age = table
        .require("max_age", "how old they may be, such as \"30d\"")
        .and_then(|value| value.duration());
    table.finish();
    Some(DetectionRule {
        suite: suite.to_owned(),
        max_age: max_age?,
    })
}

/// `[schedule]`.
pub(super) fn schedule(table: &Table<'_>) -> Option<Due> {
    let cron = table
        .require("cron", "when it is drilled, such as \"0 4 * * *\"")
        .and_then(|value| {
            let text = value.text("a cron expression of five fields")?;
            match Schedule::parse(text) {
                Ok(_) => Some(text.to_owned()),
                Err(why) => {
                    value.wrong(why, None);
                    None
                }
            }
        });
    let zone = match table.get("zone") {
        None => Some(chrono_tz::UTC),
        Some(value) => value
            .text("a time zone such as \"Europe/Berlin\"")
            .and_then(|name| {
                let zone = name.parse().ok();
                if zone.is_none() {
                    let names = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
                    let near = did_you_mean(name, names).filter(|hint| hint.starts_with("did"));
                    value.wrong(format!("there is no time zone `{name}`"), near);
                }
                zone
            }),
    };
    table.finish();
    Some(Due {
        cron: cron?,
        zone: zone?,
    })
}

/// `[trend]`.
pub(super) fn trend(table: &Table<'_>) -> Trend {
    let usual = Trend::none();
    let limit = |key| table.get(key).and_then(|value| value.percent());
    let trend = Trend {
        runs: table
            .get("runs")
            .and_then(|value| value.integer(3..=1000))
            .unwrap_or(usual.runs),
        rto: limit("rto"),
        rpo: limit("rpo"),
        size: limit("size"),
        throughput: limit("throughput"),
    };
    table.finish();
    trend
}
