//! `[release]`.

use std::path::{Path, PathBuf};

use super::super::raw::{Table, Value};
use super::super::release::{Migrations, Release};
use super::super::{Brought, Engine, Scenario};
use super::app::{Question, question, words};
use super::component::places;
use super::{Declared, Known};

const COMMAND: &str = "a program and its arguments, such as [\"./migrate.sh\", \"up\"]";

pub(super) fn release(
    table: &Table<'_>,
    known: &Known<'_>,
    scenarios: &Declared<Scenario>,
) -> Option<Release> {
    let component = known.components.refer_or_only(table, "component");
    let folder = table.get("migrations").map(|value| folder(&value));
    let command = table.get("command").map(|value| words(&value, COMMAND));
    if folder.is_some() == command.is_some() {
        table.missing(
            "migrations",
            "a folder of SQL files; or `command`, what migrates the database; one of the two",
        );
    }
    let read = table.get("files").map(|value| value.one_or_more());
    let read = read.unwrap_or_default();
    let files: Vec<_> = read.iter().filter_map(path).collect();
    let smoke = table
        .get("smoke")
        .map(|value| value.list("a list of questions, [[release.smoke]]"));
    let smoke = smoke
        .unwrap_or_default()
        .iter()
        .filter_map(|value| match question(value, false)? {
            Question::Ask(question) => Some(question),
            Question::Get(_) => None,
        })
        .collect();
    let named = table.get("scenario");
    let scenario = named
        .as_ref()
        .map(|value| scenarios.refer(value).map(str::to_owned));
    table.finish();
    let component = component?;
    let migrations = match (folder, command) {
        (Some(folder), _) => Migrations::Folder(folder?),
        (None, command) => Migrations::Command(command??),
    };
    if known.components.get(&component)?.engine() != Engine::Postgres {
        let hint = "migrations are of a database: name a component of kind `postgres`".to_owned();
        let message = format!("component `{component}` is no database");
        table.problems.add(&table.span, message, hint);
    }
    let recovers = |scenario: &&Scenario| {
        let backups = scenario
            .recover
            .iter()
            .filter_map(|name| known.backups.get(name));
        let own = backups.filter(|backup| backup.component == component);
        scenario.pending.is_none() && Brought::by(own).is_whole()
    };
    let scenario = match scenario {
        Some(scenario) => scenario?,
        None => match scenarios.iter().find(recovers) {
            Some(scenario) => scenario.name.clone(),
            None => {
                table.missing("scenario", "the scenario that recovers all of the database");
                return None;
            }
        },
    };
    let found = scenarios.get(&scenario)?;
    if let (Some(value), false) = (named, recovers(&found)) {
        let message = format!("scenario `{scenario}` does not recover all of `{component}`");
        value.wrong(message, "name one that does".to_owned());
    }
    Some(Release {
        component,
        scenario,
        migrations,
        files,
        smoke,
    })
}

/// A folder beside the suite file, or beside the folder that it is in.
fn folder(value: &Value<'_>) -> Option<PathBuf> {
    let name = value.text("the path of a folder of SQL files")?;
    beside(value, name, "folder", Path::is_dir)
}

/// A file or a folder, looked for in the same places.
fn path(value: &Value<'_>) -> Option<PathBuf> {
    let name = value.text("the path of a file or folder that the migrations read")?;
    beside(value, name, "file or folder", Path::exists)
}

fn beside(value: &Value<'_>, name: &str, what: &str, is: fn(&Path) -> bool) -> Option<PathBuf> {
    let places = places(value.problems.file, Path::new(name));
    if let Some(place) = places.iter().find(|place| is(place)) {
        return std::path::absolute(place).ok();
    }
    let tried: Vec<String> = places.iter().map(|it| it.display().to_string()).collect();
    let message = format!("no such {what}: `{name}`");
    value.wrong(message, format!("looked for {}", tried.join(" and ")));
    None
}
