//! `[scenario.NAME]`: what is struck and when, and what it is recovered from. How it is restored stands in `restore`, how
//! well in `objective`.

use std::collections::BTreeMap;

use super::super::brought::half;
use super::super::fit;
use super::super::problem::did_you_mean;
use super::super::raw::{Table, Value};
use super::super::schedule::Schedule;
use super::super::{
    Backup, Brought, Component, Engine, Method, Mode, Only, Pick, RestoreOptions, Scenario, Strike,
    StrikeTime,
};
use super::objective::objective;
use super::restore::{Target, restore};
use super::{Known, titled, word};

/// The longest that damage may go unnoticed, in runs of a backup: each is really taken.
const LONGEST_UNNOTICED: u32 = 20;
/// The most random moments of one scenario: each is a drill.
const MOST_RANDOM: u32 = 50;

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
    let pick = table
        .get("pick")
        .and_then(|value| word(&value, "which artifact is taken", Pick::ALL, Pick::id))
        .unwrap_or_default();
    let named = match table.get("recover") {
        Some(value) => recover(&value, &strikes, pick, known),
        None => Some(protecting(table, &strikes, known)),
    };
    // Nothing is held against what could not be read.
    let recover = named.as_deref().unwrap_or_default();
    let at = table.get("at").map(|value| times(&value, recover, known));
    let (restore, target) = table.get("restore").map_or_else(
        || (RestoreOptions::default(), Target::default()),
        |value| restore(&value, &strikes, recover, known),
    );
    let unnoticed = table.get("unnoticed").and_then(|value| {
        let runs = value.integer(1..=LONGEST_UNNOTICED)?;
        can_go_unnoticed(&value, &strikes);
        Some(runs)
    });
    let restart = table.get("restart").and_then(|value| {
        let truth = value.boolean()?;
        if truth
            && strikes
                .iter()
                .any(|(_, strike)| fit::leaves_a_server(*strike))
        {
            let hint = "strike it with \"server-killed\" or \"server-broken\"".to_owned();
            value.wrong("a server that still answers is not started again", hint);
        }
        Some(truth)
    });
    let mode = table.get("mode").and_then(|value| {
        let mode = word(&value, "how it takes its place", Mode::ALL, Mode::id)?;
        if mode == Mode::Replace {
            can_be_replaced(&value, &strikes, recover, known);
        }
        Some(mode)
    });
    let limits = |key| {
        table
            .get(key)
            .map_or_else(BTreeMap::new, |value: Value<'_>| {
                objective(&value, recover, known)
            })
    };
    let rpo = limits("rpo");
    let rpo_typical = limits("rpo_typical");
    let rto = table.get("rto").and_then(|value| value.duration());
    Some(Scenario {
        name: name.to_owned(),
        title: title.map_or_else(|| titled(name), str::to_owned),
        pending: pending.map(str::to_owned),
        strikes,
        at: at
            .filter(|at| !at.is_empty())
            .unwrap_or_else(|| vec![StrikeTime::Worst]),
        unnoticed: unnoticed.unwrap_or(0),
        restart: restart.unwrap_or(false),
        recover: named?,
        pick,
        mode: mode.unwrap_or_default(),
        restore,
        before_strike: target.before_strike,
        rpo,
        rpo_typical,
        rto,
    })
}

/// Damage goes unnoticed only when nothing else is struck, and the server says nothing of it.
fn can_go_unnoticed(value: &Value<'_>, strikes: &[(String, Strike)]) {
    let silent = |(_, strike): &(String, Strike)| {
        fit::is_a_transaction(*strike) || *strike == Strike::ZeroedHeapPage
    };
    if strikes.len() > 1 || !strikes.iter().all(silent) {
        let all = Strike::ALL.iter().copied();
        let fitting: Vec<String> = all
            .filter(|strike| silent(&(String::new(), *strike)))
            .map(|strike| format!("`{strike}`"))
            .collect();
        let hint = format!("these do, one at a time: {}", fitting.join(", "));
        value.wrong("what is struck here does not go unnoticed", hint);
    }
}

/// Only a database of a server that is left can be dropped and dumped before.
fn can_be_replaced(
    value: &Value<'_>,
    strikes: &[(String, Strike)],
    recover: &[String],
    known: &Known<'_>,
) {
    let left = |(_, strike): &(String, Strike)| fit::leaves_a_server(*strike);
    let dumps = recover
        .iter()
        .filter_map(|name| known.backups.get(name))
        .all(|backup| matches!(backup.method, Method::PgDump(_)));
    if !strikes.iter().all(left) || !dumps {
        let hint =
            "replace a database that is struck on a server that stays, from a pg-dump".to_owned();
        value.wrong("there is nothing here that could be replaced", hint);
    }
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

/// The backups named to recover from, each of a component that is struck: one for each, or two that make a whole; any
/// number of whole ones where the newest good one is picked. `None` when one of the names means nothing.
fn recover(
    value: &Value<'_>,
    strikes: &[(String, Strike)],
    pick: Pick,
    known: &Known<'_>,
) -> Option<Vec<String>> {
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
        match pick {
            Pick::Newest => fits_the_earlier(item, earlier),
            Pick::NewestGood => can_be_picked(item, backup, component),
        }
    }
    for (_, backups) in recovered {
        has_a_schema(value, &backups);
    }
    if items.is_empty() {
        value.expected("at least one backup");
    }
    let mean_something = items
        .iter()
        .all(|item| names.iter().any(|name| item.as_text() == Some(name)));
    mean_something.then_some(names)
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

/// Whether an artifact is good is told by the answers of a whole database.
fn can_be_picked(item: &Value<'_>, backup: &Backup, component: &Component) {
    let (name, of) = (&backup.name, &component.name);
    if component.engine() != Engine::Postgres {
        let hint = "leave out `pick`".to_owned();
        item.wrong(
            format!("the newest good one is picked for postgres only, and `{of}` is none"),
            hint,
        );
    } else if !Brought::by([backup]).is_whole() {
        let hint = "name backups of everything".to_owned();
        item.wrong(format!("backup `{name}` holds a part of `{of}` only"), hint);
    } else if component.questions() == 0 {
        let hint = format!("add [[component.{of}.smoke]]");
        item.wrong(
            format!(
                "`{of}` has no `smoke` questions: nothing tells a good artifact from a bad one"
            ),
            hint,
        );
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
        if item.is_table() {
            let number = random(&item).unwrap_or(0);
            all.extend((1..=number).map(|number| StrikeTime::Random { number }));
        } else if let Some(time) = time(&item, recover, known) {
            if all.contains(&time) {
                item.wrong("the same time stands here twice", None);
            }
            all.push(time);
        }
    }
    all
}

/// `{ random = 5 }`.
fn random(value: &Value<'_>) -> Option<u32> {
    let table = value.table()?;
    let number = table
        .require(
            "random",
            "how many moments are drawn from the seed, such as 5",
        )
        .and_then(|value| value.integer(1..=MOST_RANDOM));
    table.finish();
    number
}

fn time(value: &Value<'_>, recover: &[String], known: &Known<'_>) -> Option<StrikeTime> {
    const WHAT: &str =
        "\"worst\", a time after a backup such as \"58m after hourly\", or { random = 5 }";
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
