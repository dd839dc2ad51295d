//! From a file as typed to a suite as meant: names resolved, defaults filled in, rules held. One module per
//! kind of table; each rule that is broken is noted, and reading goes on.
//!
//! Not here: how values are read and problems collected (see `raw` and `problem`).

pub(super) mod app;
mod backup;
pub(super) mod component;
mod dump;
mod objective;
mod release;
mod restore;
mod scenario;
pub(super) mod telling;
mod test;

use std::path::Path;

use toml::de::DeTable;

use super::problem::{Problem, Problems, did_you_mean};
use super::raw::{Table, Value};
use super::{Backup, Component, Policy, RepositorySpec, Scenario, Suite, Trend};
use crate::sha256;

/// Reads the text of a suite file; `path` names it in problems, gives the suite its name, and is where the
/// seeds that it names are looked for.
///
/// All problems come back together, in the order of the file. Where the text is not even TOML, those problems
/// come alone: nothing that follows them could be trusted.
pub fn parse(text: &str, path: &Path) -> Result<Suite, Vec<Problem>> {
    let problems = Problems::of(text, path);
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut readable = true;
    for error in &errors {
        let duplicate = error.message() == "duplicate key";
        readable &= duplicate;
        let message = if duplicate {
            "duplicate key: it was set before".to_owned()
        } else {
            format!("not TOML: {}", error.message())
        };
        problems.add(&error.span().unwrap_or(0..0), message, None);
    }
    let suite = readable.then(|| suite(&Table::top(&problems, document.get_ref()), text));
    match (suite, problems.into_sorted()) {
        (Some(suite), none) if none.is_empty() => Ok(suite),
        (_, some) => Err(some),
    }
}

fn suite(top: &Table<'_>, text: &str) -> Suite {
    let name = name_of(top.problems.file);
    let title = top.get("title").and_then(|value| value.line("a title"));
    let description = top
        .get("description")
        .and_then(|value| value.text("a text"));
    let components = Declared::read(top, "component", component::component);
    let mut repositories = Declared::read(top, "repository", component::repository);
    if repositories.is_empty() {
        repositories.imply(RepositorySpec::implied());
    }
    component::buckets_are_distinct(top, &components, &repositories);
    let backups = Declared::read(top, "backup", |name, table| {
        backup::backup(name, table, &components, &repositories)
    });
    let known = Known {
        components: &components,
        backups: &backups,
    };
    let scenarios = Declared::read(top, "scenario", |name, table| {
        scenario::scenario(name, table, &known)
    });
    let retention = top.get("retention").and_then(|value| value.table());
    let retention = retention.map_or_else(Vec::new, |table| test::retention(&table, &backups));
    let tests = test::tests(top, &known, &scenarios, &retention);
    let detections = test::detections(top, &known, &scenarios);
    let every_check = top.get("every_check").and_then(|value| value.boolean());
    let table = |key| top.get(key).and_then(|value| value.table());
    let gate = table("gate").map_or_else(Policy::default, |it| telling::gate(&it, Some(&tests)));
    let due = table("schedule").and_then(|it| telling::schedule(&it));
    let trend = table("trend").map_or_else(Trend::none, |it| telling::trend(&it));
    let release = table("release").and_then(|it| release::release(&it, &known, &scenarios));
    top.finish();
    something_to_do(top, &components, &backups, &scenarios);
    Suite {
        title: title.map_or_else(|| titled(&name), str::to_owned),
        name,
        path: top.problems.file.to_owned(),
        sha256: sha256::hex_of(text),
        description: description.unwrap_or_default().trim().to_owned(),
        components: components.into_all(),
        repositories: repositories.into_all(),
        backups: backups.into_all(),
        scenarios: scenarios.into_all(),
        retention,
        tests,
        detections,
        every_check: every_check.unwrap_or_default(),
        gate,
        due,
        trend,
        release,
    }
}

/// A suite that would do nothing is a mistake, and says what it lacks.
fn something_to_do(
    top: &Table<'_>,
    components: &Declared<Component>,
    backups: &Declared<Backup>,
    scenarios: &Declared<Scenario>,
) {
    let lacks = if components.is_empty() {
        (
            "component",
            "say what holds data: [component.db] kind = \"postgres\"",
        )
    } else if backups.is_empty() {
        (
            "backup",
            "say how it is backed up: [backup.hourly] schedule = \"0 * * * *\"",
        )
    } else if scenarios.is_empty() && top.get("retention").is_none() {
        (
            "scenario",
            "say what goes wrong: [scenario.server-lost] strike = [{ component = \"db\", fault = \"server-lost\" }]",
        )
    } else {
        return;
    };
    let message = format!("nothing to drill: the suite has no [{}.…]", lacks.0);
    top.problems.add(&(0..0), message, lacks.1.to_owned());
}

/// What scenarios, tests and detections refer to.
struct Known<'d> {
    components: &'d Declared<Component>,
    backups: &'d Declared<Backup>,
}

impl Known<'_> {
    /// The component that a backup protects, and the backup, when both could be read.
    fn protected(&self, backup: &str) -> Option<(&Backup, &Component)> {
        let backup = self.backups.get(backup)?;
        Some((backup, self.components.get(&backup.component)?))
    }
}

/// Everything declared under one word, in file order; `None` for what is declared but could not be read, so
/// that it is not reported as dangling on top of it.
struct Declared<T> {
    word: &'static str,
    all: Vec<(String, Option<T>)>,
}

impl<T> Declared<T> {
    /// Reads `[word.NAME]` for every name.
    fn read(
        top: &Table<'_>,
        word: &'static str,
        read: impl Fn(&str, &Table<'_>) -> Option<T>,
    ) -> Self {
        let mut all = Vec::new();
        let tables = top.get(word).and_then(|value| {
            value.table_such_as(&format!("tables by name, each under [{word}.NAME]"))
        });
        for value in tables.iter().flat_map(Table::entries) {
            if let Err(why) = name_holds(word, &value.key) {
                let name = value.key.escape_debug();
                value.problems.add(
                    &value.key_span,
                    format!("`{name}` cannot be the name of a {word}: {why}"),
                    None,
                );
            }
            let item = value.table().and_then(|table| {
                let item = read(&value.key, &table);
                table.finish();
                item
            });
            all.push((value.key, item));
        }
        Self { word, all }
    }

    fn imply(&mut self, item: (String, T)) {
        self.all.push((item.0, Some(item.1)));
    }

    fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|(name, _)| name.as_str())
    }

    /// Everything that could be read.
    fn iter(&self) -> impl Iterator<Item = &T> {
        self.all.iter().filter_map(|(_, item)| item.as_ref())
    }

    fn get(&self, name: &str) -> Option<&T> {
        let (_, item) = self.all.iter().find(|(known, _)| known == name)?;
        item.as_ref()
    }

    /// The only name there is.
    fn only(&self) -> Option<&str> {
        match self.all.as_slice() {
            [(name, _)] => Some(name),
            _ => None,
        }
    }

    /// The name that a value refers to; notes a reference to nothing.
    fn refer<'v>(&self, value: &Value<'v>) -> Option<&'v str> {
        let word = self.word;
        let name = value.text(&format!("the name of a {word}"))?;
        self.refer_by(value, name)
    }

    /// The same for a name that is only a part of the value.
    fn refer_by<'v>(&self, value: &Value<'v>, name: &'v str) -> Option<&'v str> {
        if !self.names().any(|known| known == name) {
            let message = format!("there is no {} `{name}`", self.word);
            value.wrong(message, did_you_mean(name, self.names()));
            return None;
        }
        Some(name)
    }

    /// The names that a list refers to, each once.
    fn refer_all(&self, value: &Value<'_>) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for item in value.one_or_more() {
            match self.refer(&item) {
                Some(name) if names.iter().any(|known| known == name) => {
                    item.wrong(format!("`{name}` stands here twice"), None);
                }
                Some(name) => names.push(name.to_owned()),
                None => {}
            }
        }
        names
    }

    /// The name that a key refers to, or the only one there is; notes when it must be said.
    fn refer_or_only(&self, table: &Table<'_>, key: &'static str) -> Option<String> {
        match (table.get(key), self.only()) {
            (Some(value), _) => self.refer(&value).map(str::to_owned),
            (None, Some(only)) => Some(only.to_owned()),
            (None, None) => {
                let names: Vec<&str> = self.names().collect();
                let which = match names.as_slice() {
                    [] => format!("the suite has no [{}.…] to mean", self.word),
                    all => format!("one of: {}", all.join(", ")),
                };
                table.missing(key, &which);
                None
            }
        }
    }

    fn into_all(self) -> Vec<T> {
        self.all.into_iter().filter_map(|(_, item)| item).collect()
    }
}

/// Names become parts of drill ids, keys in repositories and file names.
fn name_holds(word: &str, name: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 63 || !name.chars().all(plain) {
        return Err("1 to 63 letters, digits, dashes and underscores");
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err("it starts with a letter or a digit");
    }
    let own = ["calibration", "release", "retention"].contains(&name);
    if word == "scenario" && (own || name.starts_with("retention-")) {
        return Err("redrill has a drill of that name");
    }
    Ok(())
}

/// The file's stem, with a dash for whatever could not be part of a drill's id.
fn name_of(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    stem.chars()
        .map(|c| if plain(c) { c } else { '-' })
        .collect()
}

/// One word of a closed list; `what` says what it tells.
fn word<W: Copy>(
    value: &Value<'_>,
    what: &str,
    all: &[W],
    id: impl Fn(W) -> &'static str,
) -> Option<W> {
    let ids: Vec<&str> = all.iter().map(|word| id(*word)).collect();
    let text = value.text(&format!("{what}: {}", ids.join(", ")))?;
    let found = all.iter().copied().find(|word| id(*word) == text);
    if found.is_none() {
        value.wrong(
            format!("there is no `{text}` here"),
            did_you_mean(text, ids),
        );
    }
    found
}

/// `region-outage` → `Region outage`.
fn titled(name: &str) -> String {
    let words = name.replace(['-', '_'], " ");
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => words,
    }
}
