//! `[scenario.NAME]`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::brought::half;
use super::super::fit;
use super::super::problem::did_you_mean;
use super::super::raw::{Table, Value};
use super::super::schedule::Schedule;
use super::super::{
    Backup, Brought, Component, Engine, Only, RecoveryTarget, RestoreOptions, Scenario, Strike,
    StrikeTime,
};
use super::{Known, component, titled};

/// `jobs` of a restore when a suite does not say.
const JOBS: u32 = 4;

pub(super) fn scenario(name: &str, table: &Table<'_>, known: &Known<'_>) -> Option<Scenario> {
    let title = table.get("title").and_then(|value| value.line("a title"));
    let pending = table
        .get("pending")
        .and_then(|value| value.line("why it is not drilled yet"));
    let strikes = match table.get("strike") {
        Some(value) => strikes(&value, known),
        None if pending.is_some() => Vec::new(),
        None => {
            table.missing(
                "strike",
                "what goes wrong, such as [{ component = \"db\", fault = \"server-lost\" }]",
            );
            Vec::new()
        }
    };
    let recover = match table.get("recover") {
        Some(value) => recover(&value, &strikes, known),
        None => protecting(table, &strikes, known),
    };
    let at = table.get("at").map(|value| times(&value, &recover, known));
    let restore = table
        .get("restore")
        .map_or(RestoreOptions::default(), |value| {
            restore(&value, &strikes, known)
        });
    let rpo = table
        .get("rpo")
        .map_or_else(BTreeMap::new, |value| rpo(&value, &recover, known));
    let rto = table.get("rto").and_then(|value| value.duration());
    Some(Scenario {
        name: name.to_owned(),
        title: title.map_or_else(|| titled(name), str::to_owned),
        pending: pending.map(str::to_owned),
        strikes,
        at: at
            .filter(|at| !at.is_empty())
            .unwrap_or_else(|| vec![StrikeTime::Worst]),
        recover,
        restore,
        rpo,
        rto,
    })
}

fn strikes(value: &Value<'_>, known: &Known<'_>) -> Vec<(String, Strike)> {
    let mut all: Vec<(String, Strike)> = Vec::new();
    let items = value.one_or_more();
    if items.is_empty() {
        value.expected(
            "at least one strike, such as { component = \"db\", fault = \"server-lost\" }",
        );
    }
    for item in items {
        let Some(table) =
            item.table_such_as("a strike such as { component = \"db\", fault = \"server-lost\" }")
        else {
            continue;
        };
        let component = known.components.refer_or_only(&table, "component");
        let strike = table
            .require("fault", "what strikes the component")
            .and_then(|value| struck_with(&value, component.as_deref(), known));
        table.finish();
        let (Some(component), Some(strike)) = (component, strike) else {
            continue;
        };
        if all.iter().any(|(struck, _)| *struck == component) {
            item.wrong(format!("component `{component}` is struck twice"), None);
        }
        all.push((component, strike));
    }
    all
}

fn struck_with(value: &Value<'_>, component: Option<&str>, known: &Known<'_>) -> Option<Strike> {
    let word = value.text("what strikes the component")?;
    let Some(strike) = Strike::find(word) else {
        let all = Strike::ALL.iter().map(|strike| strike.id());
        value.wrong(
            format!("there is no strike `{word}`"),
            did_you_mean(word, all),
        );
        return None;
    };
    let engine = component.and_then(|name| Some(known.components.get(name)?.engine()));
    if let Some(engine) = engine.filter(|engine| !fit::strikes(strike).contains(engine)) {
        let fitting: Vec<String> = Strike::ALL
            .iter()
            .filter(|strike| fit::strikes(**strike).contains(&engine))
            .map(|strike| format!("`{strike}`"))
            .collect();
        let message = format!("`{word}` does not fit a component of kind `{engine}`");
        value.wrong(message, format!("these do: {}", fitting.join(", ")));
        return None;
    }
    Some(strike)
}

/// The backups named to recover from, each of a component that is struck: one for each, or two that make a whole.
fn recover(value: &Value<'_>, strikes: &[(String, Strike)], known: &Known<'_>) -> Vec<String> {
    let names = known.backups.refer_all(value);
    let items = value.one_or_more();
    let mut recovered: BTreeMap<&str, Vec<&Backup>> = BTreeMap::new();
    for name in &names {
        let stands_at = |item: &&Value<'_>| item.as_text() == Some(name);
        let Some(item) = items.iter().find(stands_at) else {
            continue;
        };
        let Some((backup, component)) = known.protected(name) else {
            continue;
        };
        if !strikes.is_empty() && !strikes.iter().any(|(struck, _)| *struck == component.name) {
            let message = format!(
                "backup `{}` is of `{}`, which this scenario does not strike",
                backup.name, component.name
            );
            item.wrong(message, "a recovery overwrites it for nothing".to_owned());
        }
        let earlier = recovered.entry(&component.name).or_default();
        if earlier.iter().any(|earlier| earlier.name == backup.name) {
            continue;
        }
        earlier.push(backup);
        fits_the_earlier(item, earlier);
    }
    for (_, backups) in recovered {
        has_a_schema(value, &backups);
    }
    if items.is_empty() {
        value.expected("at least one backup");
    }
    names
}

/// Two backups of one component must be its definitions and its rows.
fn fits_the_earlier(item: &Value<'_>, backups: &[&Backup]) {
    let halves = |only| backups.iter().filter(|b| half(b) == Some(only)).count();
    let fit = match backups {
        [_] => true,
        [_, _] => halves(Only::Schema) == 1 && halves(Only::Data) == 1,
        _ => false,
    };
    if let (false, [.., earlier, last]) = (fit, backups) {
        let message = format!(
            "backups `{}` and `{}` are both of `{}`",
            earlier.name, last.name, last.component
        );
        let hint = "recover each component from one backup, or from one with `only = \"schema\"` and one with `only = \"data\"`";
        item.wrong(message, hint.to_owned());
    }
}

/// Rows alone cannot be restored: there is nothing to put them in.
fn has_a_schema(value: &Value<'_>, backups: &[&Backup]) {
    if let [backup] = backups
        && half(backup) == Some(Only::Data)
    {
        let message = format!("backup `{}` holds rows without definitions", backup.name);
        let hint = "name one with `only = \"schema\"` beside it".to_owned();
        value.wrong(message, hint);
    }
}

/// The backups of what is struck, when the scenario does not name them.
fn protecting(table: &Table<'_>, strikes: &[(String, Strike)], known: &Known<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for (struck, _) in strikes {
        let mut of = known
            .backups
            .iter()
            .filter(|backup| backup.component == *struck);
        match (of.next(), of.next()) {
            (Some(backup), None) if half(backup) == Some(Only::Data) => table.missing(
                "recover",
                &format!("backup `{}` holds rows without definitions: add one with `only = \"schema\"`, and name both", backup.name),
            ),
            (Some(backup), None) => names.push(backup.name.clone()),
            (Some(one), Some(other)) => {
                let (one, other) = (&one.name, &other.name);
                table.missing(
                    "recover",
                    &format!("component `{struck}` has several backups (`{one}`, `{other}`): name the one to recover from"),
                );
            }
            (None, _) if known.backups.all.iter().any(|(_, backup)| backup.is_none()) => {}
            (None, _) => table.missing(
                "recover",
                &format!("component `{struck}` is struck and no backup protects it: add a [backup.…] of it"),
            ),
        }
    }
    names
}

fn times(value: &Value<'_>, recover: &[String], known: &Known<'_>) -> Vec<StrikeTime> {
    let mut all = Vec::new();
    for item in value.one_or_more() {
        if let Some(time) = time(&item, recover, known) {
            if all.contains(&time) {
                item.wrong("the same time stands here twice", None);
            }
            all.push(time);
        }
    }
    all
}

fn time(value: &Value<'_>, recover: &[String], known: &Known<'_>) -> Option<StrikeTime> {
    const WHAT: &str = "\"worst\", or a time after a backup such as \"58m after hourly\"";
    let text = value.text(WHAT)?.trim();
    if text == "worst" {
        return Some(StrikeTime::Worst);
    }
    let Some((offset, backup)) = text.split_once(" after ") else {
        value.expected(WHAT);
        return None;
    };
    let backup = known.backups.refer_by(value, backup.trim())?;
    if !recover.is_empty() && !recover.iter().any(|name| name == backup) {
        let names: Vec<String> = recover.iter().map(|name| format!("`{name}`")).collect();
        let message = format!("this scenario does not recover from backup `{backup}`");
        value.wrong(message, format!("it does from {}", names.join(", ")));
        return None;
    }
    let offset = match humantime::parse_duration(offset.trim()) {
        Ok(offset) if !offset.is_zero() => offset,
        _ => {
            value.expected(WHAT);
            return None;
        }
    };
    let schedule = Schedule::parse(&known.backups.get(backup)?.schedule).ok()?;
    if !schedule.leaves_room_for(offset) {
        let period = humantime::format_duration(schedule.period());
        let message =
            format!("by then backup `{backup}` has run again: its runs are at most {period} apart");
        value.wrong(message, "strike earlier, or say \"worst\"".to_owned());
        return None;
    }
    Some(StrikeTime::After {
        backup: backup.to_owned(),
        offset,
    })
}

impl Default for RestoreOptions {
    /// As `pg_restore` restores when it is not told otherwise, with several jobs.
    fn default() -> Self {
        Self {
            jobs: JOBS,
            owner: true,
            acl: true,
            version: None,
            target: RecoveryTarget::EndOfWal,
        }
    }
}

fn restore(value: &Value<'_>, strikes: &[(String, Strike)], known: &Known<'_>) -> RestoreOptions {
    let usual = RestoreOptions::default();
    let Some(table) = value.table_such_as("options such as { jobs = 4, owner = false }") else {
        return usual;
    };
    let boolean = |key| table.get(key).and_then(|value| value.boolean());
    let options = RestoreOptions {
        jobs: table
            .get("jobs")
            .and_then(|value| value.integer(1..=64))
            .unwrap_or(usual.jobs),
        owner: boolean("owner").unwrap_or(usual.owner),
        acl: boolean("acl").unwrap_or(usual.acl),
        version: table.get("version").and_then(|value| {
            let version = component::version(&value)?;
            let replaced = |(name, strike): &(String, Strike)| {
                let engine = known.components.get(name).map(Component::engine);
                *strike == Strike::ServerLost && engine == Some(Engine::Postgres)
            };
            if !strikes.iter().any(replaced) {
                let message =
                    "no postgres server is lost here, to be replaced by one of another version";
                value.wrong(message, "strike it with \"server-lost\"".to_owned());
            }
            Some(version.to_owned())
        }),
        target: table
            .get("target")
            .map_or(usual.target, |value| target(&value)),
    };
    table.finish();
    options
}

/// How far WAL is replayed. A moment would have to be one of the server's own clock, which no suite can know beforehand.
fn target(value: &Value<'_>) -> RecoveryTarget {
    const ALL: [(&str, RecoveryTarget); 3] = [
        ("end-of-wal", RecoveryTarget::EndOfWal),
        ("unbroken", RecoveryTarget::Unbroken),
        ("immediate", RecoveryTarget::Immediate),
    ];
    let Some(word) = value.text("how far WAL is replayed, such as \"end-of-wal\"") else {
        return RecoveryTarget::EndOfWal;
    };
    let names = ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let found = ALL.into_iter().find(|(name, _)| *name == word);
    found.map_or_else(
        || {
            let message = format!("there is no recovery target `{word}`");
            value.wrong(message, did_you_mean(word, names));
            RecoveryTarget::EndOfWal
        },
        |(_, target)| target,
    )
}

/// One objective for every component that is recovered, or one for each.
fn rpo(value: &Value<'_>, recover: &[String], known: &Known<'_>) -> BTreeMap<String, Duration> {
    let recovered: Vec<&str> = recover
        .iter()
        .filter_map(|backup| Some(known.backups.get(backup)?.component.as_str()))
        .collect();
    let rowless = |component: &str, value: &Value<'_>| {
        let of = recover.iter().filter_map(|name| known.backups.get(name));
        let of: Vec<&Backup> = of.filter(|b| b.component == component).collect();
        if !of.is_empty() && !Brought::by(of.iter().copied()).has_rows() {
            let message =
                format!("`{component}` is recovered without its rows: no loss can be measured");
            value.wrong(message, None);
        }
    };
    if !value.is_table() {
        for name in recovered.iter().collect::<BTreeSet<_>>() {
            rowless(name, value);
        }
        // A wrong one was noted; a placeholder keeps tests of it from being reported on top.
        let limit = value.duration_or_zero().unwrap_or_default();
        return recovered
            .iter()
            .map(|name| ((*name).to_owned(), limit))
            .collect();
    }
    let mut all = BTreeMap::new();
    for entry in value.table().iter().flat_map(Table::entries) {
        let limit = entry.duration_or_zero().unwrap_or_default();
        let entry = entry.at_key();
        if known.components.refer_by(&entry, &entry.key).is_some()
            && !recovered.is_empty()
            && !recovered.contains(&entry.key.as_str())
        {
            let message = format!("this scenario does not recover component `{}`", entry.key);
            entry.wrong(message, did_you_mean(&entry.key, recovered.iter().copied()));
        }
        rowless(&entry.key, &entry);
        all.insert(entry.key, limit);
    }
    all
}
