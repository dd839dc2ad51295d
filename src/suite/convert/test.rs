//! `[retention]`, `[[test]]` and `[[detection]]`.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::super::findings::FINDINGS;
use super::super::fit;
use super::super::problem::did_you_mean;
use super::super::raw::{Table, Value};
use super::super::schedule::Schedule;
use super::super::{
    Backup, Brought, Catch, Check, Component, Detection, Fault, Method, RetentionRehearsal,
    Scenario, Test,
};
use super::{Declared, Known};

/// The name of the retention rehearsal among a suite's drills.
const RETENTION: &str = "retention";
/// The most days of a rehearsal: seven years, and some to see what goes.
const LONGEST: u32 = 2700;

/// `[retention]`, or several of them, `[retention.daily]` and so on.
pub(super) fn retention(table: &Table<'_>, backups: &Declared<Backup>) -> Vec<RetentionRehearsal> {
    let named = table.entries();
    if named.is_empty() || !named.iter().all(Value::is_table) {
        let one = rehearsal(RETENTION.to_owned(), table, backups);
        return one.into_iter().collect();
    }
    let one = |value: &Value<'_>| {
        if let Err(why) = super::name_holds("retention", &value.key) {
            value.wrong(
                format!("`{}` is no name for a rehearsal", value.key),
                why.to_owned(),
            );
            return None;
        }
        rehearsal(
            format!("{RETENTION}-{}", value.key),
            &value.table()?,
            backups,
        )
    };
    named.iter().filter_map(one).collect()
}

fn rehearsal(
    name: String,
    table: &Table<'_>,
    backups: &Declared<Backup>,
) -> Option<RetentionRehearsal> {
    let days = table.require(
        "days",
        "how many virtual days of backups are taken, such as 8",
    );
    let names = match table.get("backups") {
        Some(value) => backups.refer_all(&value),
        None => backups.names().map(str::to_owned).collect(),
    };
    table.finish();
    let value = days?;
    let days = value.integer(1..=LONGEST)?;
    for backup in names.iter().filter_map(|name| backups.get(name)) {
        rehearsal_shows_something(&value, days, backup);
    }
    Some(RetentionRehearsal {
        name,
        days,
        backups: names,
    })
}

/// A rehearsal in which nothing is due to be pruned could not fail.
fn rehearsal_shows_something(value: &Value<'_>, days: u32, backup: &Backup) {
    let name = &backup.name;
    let span = chrono::Duration::days(days.into());
    let schedule = Schedule::parse(&backup.schedule);
    // A base backup that leads into what is kept stays too.
    let archives = matches!(backup.method, Method::PgBasebackup { .. });
    let period = schedule.as_ref().ok().filter(|_| archives);
    let leads_in = period.map_or_else(Duration::default, |schedule| schedule.period() * 2);
    for repository in &backup.repositories {
        let within = backup.keep.of(repository);
        let kept = chrono::Duration::from_std(within.saturating_add(leads_in));
        if kept.unwrap_or(chrono::Duration::MAX) >= span {
            let kept = humantime::format_duration(within);
            let place = match backup.keep.elsewhere.is_empty() {
                true => String::new(),
                false => format!(" in `{repository}`"),
            };
            let message =
                format!("backup `{name}` is kept {kept}{place}: in {days} days nothing is pruned");
            value.wrong(message, "rehearse more days, or other backups".to_owned());
            break;
        }
    }
    let start: DateTime<Utc> = super::super::schedule::first_day();
    let runs = schedule.map(|schedule| {
        schedule
            .gaps(start)
            .take_while(|gap| gap.0 < start + span)
            .count()
    });
    if runs.is_ok_and(|runs| runs < 2) {
        let message = format!("backup `{name}` runs less than twice in {days} days");
        value.wrong(message, "rehearse more days, or other backups".to_owned());
    }
}

pub(super) fn tests(
    top: &Table<'_>,
    known: &Known<'_>,
    scenarios: &Declared<Scenario>,
    retention: &[RetentionRehearsal],
) -> Vec<Test> {
    let mut all: Vec<Test> = Vec::new();
    for value in items(top, "test") {
        let Some(table) = value.table() else { continue };
        let name = table.require("name", "the test's name").and_then(|value| {
            let name = value.line("the test's name")?;
            if all.iter().any(|test| test.name == name) {
                value.wrong(format!("there is a test `{name}` already"), None);
            }
            Some(name.to_owned())
        });
        let check = check(&table, "check", "what is judged, such as \"restore\"");
        let drill = drill(
            &table,
            check.as_ref().map(|(check, _)| *check),
            scenarios,
            retention,
            top,
        );
        let backup = table
            .get("backup")
            .and_then(|value| known.backups.refer(&value).map(|name| (name, value)));
        table.finish();
        let (Some(name), Some((check, check_value)), Some(drill)) = (name, check, drill) else {
            continue;
        };
        let rehearsed = retention.iter().find(|rehearsal| rehearsal.name == drill);
        let recovered = match (scenarios.get(&drill), rehearsed) {
            (Some(scenario), _) => &scenario.recover,
            (None, Some(rehearsal)) => &rehearsal.backups,
            _ => continue,
        };
        if let Some((backup, value)) = &backup
            && !recovered.iter().any(|name| name == backup)
        {
            let message = format!("drill `{drill}` does not use backup `{backup}`");
            value.wrong(
                message,
                did_you_mean(backup, recovered.iter().map(String::as_str)),
            );
            continue;
        }
        let judged: Vec<&str> = match &backup {
            Some((backup, _)) => vec![backup],
            None => recovered.iter().map(String::as_str).collect(),
        };
        has_something_to_judge(check, &check_value, &drill, &judged, known, scenarios);
        all.push(Test {
            name,
            check,
            drill,
            backup: backup.map(|(name, _)| name.to_owned()),
        });
    }
    all
}

/// The items of `[[word]]`.
fn items<'a>(top: &Table<'a>, word: &'static str) -> Vec<Value<'a>> {
    top.get(word)
        .map(|value| value.list(&format!("a list of tables, each under [[{word}]]")))
        .unwrap_or_default()
}

fn check<'a>(table: &Table<'a>, key: &'static str, what: &str) -> Option<(Check, Value<'a>)> {
    let value = table.require(key, what)?;
    Some((known_check(&value)?, value))
}

fn known_check(value: &Value<'_>) -> Option<Check> {
    let word = value.text("the name of a check")?;
    let found = Check::find(word);
    if found.is_none() {
        let all = Check::ALL.iter().map(|check| check.id());
        value.wrong(
            format!("there is no check `{word}`"),
            did_you_mean(word, all),
        );
    }
    found
}

/// Where a test is judged: `scenario = NAME`, `drill = "retention"`, or what is meant when neither is said.
fn drill(
    table: &Table<'_>,
    check: Option<Check>,
    scenarios: &Declared<Scenario>,
    retention: &[RetentionRehearsal],
    top: &Table<'_>,
) -> Option<String> {
    match (table.get("drill"), table.get("scenario")) {
        (Some(value), Some(_)) => {
            value.wrong("a test has a `scenario` or a `drill`, not both", None);
            None
        }
        (Some(value), None) => rehearsed(top, retention, &value),
        (None, Some(value)) => drilled(&value, scenarios),
        (None, None) if check == Some(Check::Retention) && top.get("retention").is_some() => {
            match retention {
                [only] => Some(only.name.clone()),
                [] => None,
                several => {
                    let names = several.iter().map(|it| it.name.as_str());
                    let names = names.collect::<Vec<_>>().join("\", \"");
                    table.missing("drill", &format!("which rehearsal: one of \"{names}\""));
                    None
                }
            }
        }
        (None, None) => {
            let name = scenarios.refer_or_only(table, "scenario")?;
            let pending = scenarios.get(&name).is_some_and(|s| s.pending.is_some());
            (!pending).then_some(name)
        }
    }
}

fn rehearsed(
    top: &Table<'_>,
    retention: &[RetentionRehearsal],
    value: &Value<'_>,
) -> Option<String> {
    let name = value.text("the drill \"retention\"")?;
    let names = || retention.iter().map(|it| it.name.as_str());
    if names().any(|known| known == name) {
        return Some(name.to_owned());
    }
    if name != RETENTION && !name.starts_with("retention-") {
        let hint = "name a scenario with `scenario`".to_owned();
        value.wrong("only \"retention\" is a drill of that kind", hint);
    } else if top.get("retention").is_none() {
        let hint = "add [retention] days = 8".to_owned();
        value.wrong("the suite has no retention rehearsal", hint);
    } else if !retention.is_empty() {
        let hint = did_you_mean(name, names());
        value.wrong(format!("there is no rehearsal `{name}`"), hint);
    }
    None
}

/// A scenario that is really drilled.
fn drilled(value: &Value<'_>, scenarios: &Declared<Scenario>) -> Option<String> {
    let name = scenarios.refer(value)?;
    let scenario = scenarios.get(name)?;
    if scenario.pending.is_some() {
        let message = format!("scenario `{name}` is pending: nothing is drilled in it");
        value.wrong(message, None);
        return None;
    }
    Some(name.to_owned())
}

/// A check without anything to look at could never pass, and says so before anything is started.
fn has_something_to_judge(
    check: Check,
    value: &Value<'_>,
    drill: &str,
    judged: &[&str],
    known: &Known<'_>,
    scenarios: &Declared<Scenario>,
) {
    let pairs: Vec<(&Backup, &Component)> = judged
        .iter()
        .filter_map(|name| known.protected(name))
        .collect();
    if pairs.len() < judged.len() || pairs.is_empty() {
        return;
    }
    let lack = match (scenarios.get(drill), check) {
        (None, _) if fit::needs_recovery(check) => {
            Some("the retention rehearsal recovers nothing".to_owned())
        }
        (Some(scenario), Check::Rpo) if scenario.rpo.is_empty() => {
            Some(format!("scenario `{drill}` has no `rpo`"))
        }
        (Some(scenario), Check::Rto) if scenario.rto.is_none() => {
            Some(format!("scenario `{drill}` has no `rto`"))
        }
        (_, Check::Size) if pairs.iter().all(|(backup, _)| backup.size.is_none()) => {
            Some("no backup in it has a `size`".to_owned())
        }
        (_, Check::Encryption) if pairs.iter().all(|(backup, _)| backup.encrypt.is_none()) => {
            Some("no backup in it has `encrypt`".to_owned())
        }
        (_, Check::Smoke)
            if pairs
                .iter()
                .all(|(_, component)| component.questions() == 0) =>
        {
            Some("no component in it has `smoke` questions".to_owned())
        }
        (Some(scenario), Check::Smoke)
            if !pairs.iter().any(|(_, component)| {
                let backups = scenario.recover.iter();
                let of = backups.filter_map(|name| known.backups.get(name));
                let of = of.filter(|backup| backup.component == component.name);
                component.questions() > 0 && Brought::by(of).is_whole()
            }) =>
        {
            Some("only a part of the component comes back".to_owned())
        }
        _ if !pairs
            .iter()
            .any(|(_, component)| fit::judges(check).contains(&component.engine())) =>
        {
            let engines: Vec<&str> = fit::judges(check).iter().map(|e| e.id()).collect();
            Some(format!(
                "it judges {}, and there is none in it",
                engines.join(" and ")
            ))
        }
        _ => None,
    };
    if let Some(lack) = lack {
        value.wrong(format!("`{check}` has nothing to look at: {lack}"), None);
    }
}

pub(super) fn detections(
    top: &Table<'_>,
    known: &Known<'_>,
    scenarios: &Declared<Scenario>,
) -> Vec<Detection> {
    let mut all: Vec<Detection> = Vec::new();
    for value in items(top, "detection") {
        let Some(table) = value.table() else { continue };
        let fault = table
            .require("fault", "what is planted, such as \"A1\"")
            .and_then(|value| {
                let word = value.text("the id of a fault")?;
                let fault = Fault::find(word);
                if fault.is_none() {
                    let ids = Fault::ALL.iter().map(|fault| fault.id());
                    let message = format!("there is no fault `{word}`");
                    value.wrong(message, did_you_mean(word, ids));
                }
                Some((fault?, value))
            });
        let caught_by = catch(&table);
        let scenario = match table.get("scenario") {
            Some(value) => drilled(&value, scenarios),
            None => scenarios.refer_or_only(&table, "scenario"),
        };
        table.finish();
        let (Some((fault, value)), Some(caught_by), Some(scenario)) = (fault, caught_by, scenario)
        else {
            continue;
        };
        if all
            .iter()
            .any(|d| d.fault == fault && d.scenario == scenario)
        {
            value.wrong(
                format!("`{fault}` is planted in `{scenario}` already"),
                None,
            );
        }
        can_be_planted(fault, &value, scenarios.get(&scenario), known);
        all.push(Detection {
            fault,
            caught_by,
            scenario,
        });
    }
    all
}

/// Who must catch a fault: `caught_by` names the check, `finding` and `says` what it must find, `also` further checks.
fn catch(table: &Table<'_>) -> Option<Catch> {
    let named = check(table, "caught_by", "the check that must catch it");
    let finding = table.require(
        "finding",
        "the kind of the finding by which it must, see `redrill explain`",
    );
    let one = |value: Value<'_>| {
        let word = value.text("the kind of a finding")?;
        let known = || FINDINGS.iter().map(|(kind, _)| *kind);
        if !known().any(|kind| kind == word) {
            let message = format!("there is no finding `{word}`");
            value.wrong(message, did_you_mean(word, known()));
            return None;
        }
        Some(word.to_owned())
    };
    let findings = finding.map(|value| value.one_or_more().into_iter().filter_map(one).collect());
    let says = table.get("says").and_then(|value| {
        let words = value.line("words of the finding's message")?;
        Some(words.to_owned())
    });
    let also = table
        .get("also")
        .map(|value| value.list("a list of checks"));
    let also = also.into_iter().flatten();
    let also = also.filter_map(|value| known_check(&value)).collect();
    Some(Catch {
        check: named?.0,
        findings: findings?,
        says,
        also,
    })
}

fn can_be_planted(fault: Fault, value: &Value<'_>, scenario: Option<&Scenario>, known: &Known<'_>) {
    let Some(scenario) = scenario else { return };
    let pairs: Vec<(&Backup, &Component)> = scenario
        .recover
        .iter()
        .filter_map(|name| known.protected(name))
        .collect();
    if pairs.len() < scenario.recover.len() || pairs.is_empty() {
        return;
    }
    let fits = pairs
        .iter()
        .any(|(backup, component)| fit::plants(fault, backup, component));
    let needs = match fault {
        // What is late is late for something.
        Fault::J5 if fits && scenario.rto.is_none() => "an `rto` in the scenario",
        _ if fits => return,
        _ => fit::needs(fault),
    };
    let message = format!(
        "`{fault}` cannot be planted in scenario `{}`",
        scenario.name
    );
    value.wrong(message, format!("it needs {needs}"));
}
