//! `[component.NAME]` and `[repository.NAME]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::problem::did_you_mean;
use super::super::raw::{Table, Value};
use super::super::{Component, ComponentKind, Engine, RepositoryKind, RepositorySpec};
use super::Declared;
use super::app::questions;

/// The most keys or objects that the generator may be asked for at scale 1.
const MOST: u32 = 100_000_000;

pub(super) fn component(name: &str, table: &Table<'_>) -> Option<Component> {
    let engine = table
        .require("kind", "what it is: \"postgres\", \"redis\" or \"bucket\"")
        .and_then(|value| {
            let word = value.text("what the component is")?;
            let engine = Engine::find(word);
            if engine.is_none() {
                let known = Engine::ALL.iter().map(|engine| engine.id());
                value.wrong(
                    format!("there is no engine `{word}`"),
                    did_you_mean(word, known),
                );
            }
            engine
        });
    let version = table.get("version").and_then(|value| version(&value));
    let production_size = table.get("production_size").and_then(|value| value.size());
    let (smoke, app) = questions(table, "a list of questions, [[component.NAME.smoke]]");
    let kind = match engine {
        Some(Engine::Postgres) => ComponentKind::Postgres {
            database: database(name, table),
            seed: table.get("seed").and_then(|value| script(&value)),
            settings: settings(table),
        },
        Some(Engine::Redis) => ComponentKind::Redis {
            keys: generated(table, "keys"),
            settings: settings(table),
        },
        Some(Engine::Bucket) => ComponentKind::Bucket {
            bucket: bucket(name, table),
            objects: generated(table, "objects"),
        },
        None => {
            table.tolerate(&["database", "seed", "settings", "bucket"]);
            return None;
        }
    };
    Some(Component {
        name: name.to_owned(),
        kind,
        version: version.map(str::to_owned),
        production_size,
        smoke,
        app,
    })
}

/// A version or the beginning of one.
pub(super) fn version<'a>(value: &Value<'a>) -> Option<&'a str> {
    const WHAT: &str = "a version in quotes, such as \"15\" or \"15.18\"";
    let text = value.text(WHAT)?;
    let number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    if !text.split('.').all(number) {
        value.expected(WHAT);
        return None;
    }
    Some(text)
}

/// The database's name; the component's own when it is not said and can be one.
fn database(component: &str, table: &Table<'_>) -> String {
    const OWN: [&str; 3] = ["postgres", "template0", "template1"];
    let Some(value) = table.get("database") else {
        let usable = !OWN.contains(&component);
        return if usable { component } else { "app" }.to_owned();
    };
    let name = value.text("the name of a database").unwrap_or("app");
    if OWN.contains(&name) {
        let message = format!("`{name}` belongs to the server itself, and cannot be swapped");
        value.wrong(message, "name a database of its own".to_owned());
    } else if name.len() > 63 || name.chars().any(char::is_control) {
        value.expected("a name of at most 63 bytes, without control characters");
    }
    name.to_owned()
}

/// A psql script beside the suite file, or beside the folder that it is in.
fn script(value: &Value<'_>) -> Option<PathBuf> {
    let name = value.text("the path of a psql script")?;
    let places = places(value.problems.file, Path::new(name));
    for place in &places {
        if place.is_file() {
            return std::path::absolute(place).ok();
        }
    }
    let tried: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
    let message = format!("no such file: `{name}`");
    value.wrong(message, format!("looked for {}", tried.join(" and ")));
    None
}

pub(super) fn places(suite: &Path, name: &Path) -> Vec<PathBuf> {
    if name.is_absolute() {
        return vec![name.to_owned()];
    }
    let folder = suite.parent().unwrap_or(Path::new(""));
    let above = match folder.parent() {
        Some(above) if folder != Path::new(".") => above.to_owned(),
        _ => PathBuf::from(".."),
    };
    vec![folder.join(name), above.join(name)]
}

/// `seed = { keys = 50000 }`: how much redrill's own generator makes.
fn generated(table: &Table<'_>, key: &'static str) -> u64 {
    let Some(value) = table.get("seed") else {
        return 0;
    };
    let what = format!("how much to generate, such as {{ {key} = 1000 }}");
    let Some(seed) = value.table_such_as(&what) else {
        return 0;
    };
    let count = seed
        .require(key, "how many to generate at scale 1")
        .and_then(|value| value.integer(0..=MOST));
    seed.finish();
    count.unwrap_or_default().into()
}

/// Server settings: texts, numbers, or true and false.
fn settings(table: &Table<'_>) -> BTreeMap<String, String> {
    let Some(settings) = table.get("settings").and_then(|value| value.table()) else {
        return BTreeMap::new();
    };
    let mut all = BTreeMap::new();
    for value in settings.entries() {
        let setting = value
            .as_text()
            .filter(|text| !text.chars().any(char::is_control))
            .map(str::to_owned)
            .or_else(|| value.as_integer().map(|number| number.to_string()))
            .or_else(|| value.as_number().map(|number| number.to_string()));
        let setting = match setting {
            Some(setting) => setting,
            // Postgres and Redis both take these two words.
            None if value.is(true) => "yes".to_owned(),
            None if value.is(false) => "no".to_owned(),
            None => {
                value.expected("a text in one line, a number, or true or false");
                continue;
            }
        };
        if value.key == "fsync" && setting != "on" && setting != "yes" {
            value.wrong(
                "fsync stays on",
                Some(
                    "a recovery that is measured without it is faster than yours will be"
                        .to_owned(),
                ),
            );
            continue;
        }
        all.insert(value.key, setting);
    }
    all
}

/// The bucket's name; the component's own when it is not said and can be one.
fn bucket(component: &str, table: &Table<'_>) -> String {
    if table.get("bucket").is_none() && is_bucket_name(component) {
        return component.to_owned();
    }
    bucket_name(table).unwrap_or_default()
}

fn bucket_name(table: &Table<'_>) -> Option<String> {
    let value = table.require("bucket", "the bucket's name")?;
    let name = value.text("the name of a bucket")?;
    if !is_bucket_name(name) {
        value.expected(
            "a bucket's name: 3 to 63 lower-case letters, digits, dots and dashes, a letter or digit at both ends",
        );
        return None;
    }
    Some(name.to_owned())
}

/// The rules of S3, without those about names that look like addresses.
fn is_bucket_name(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.chars().all(|c| edge(c) || c == '-' || c == '.')
        && name.starts_with(edge)
        && name.ends_with(edge)
}

pub(super) fn repository(name: &str, table: &Table<'_>) -> Option<RepositorySpec> {
    let value = table.require("kind", "where it is: \"local\" or \"s3\"")?;
    let kind = match value.text("a kind of repository, \"local\" or \"s3\"") {
        Some("local") => RepositoryKind::Local,
        Some("s3") => RepositoryKind::S3 {
            bucket: bucket_name(table).unwrap_or_default(),
        },
        wrong => {
            if let Some(wrong) = wrong {
                let message = format!("there is no kind of repository `{wrong}`");
                value.wrong(message, did_you_mean(wrong, ["local", "s3"]));
            }
            table.tolerate(&["bucket"]);
            return None;
        }
    };
    Some(RepositorySpec {
        name: name.to_owned(),
        kind,
    })
}

impl RepositorySpec {
    /// The repository that is meant when a suite names none.
    pub(super) fn implied() -> (String, Self) {
        let name = "offsite".to_owned();
        let bucket = "redrill-offsite".to_owned();
        let kind = RepositoryKind::S3 { bucket };
        (name.clone(), Self { name, kind })
    }
}

/// No bucket serves two purposes: a backup kept in what it protects is lost with it.
pub(super) fn buckets_are_distinct(
    top: &Table<'_>,
    components: &Declared<Component>,
    repositories: &Declared<RepositorySpec>,
) {
    let mut owners: BTreeMap<&str, String> = BTreeMap::new();
    let of_components = components
        .iter()
        .filter_map(|component| match &component.kind {
            ComponentKind::Bucket { bucket, .. } => Some(("component", &component.name, bucket)),
            ComponentKind::Postgres { .. } | ComponentKind::Redis { .. } => None,
        });
    let of_repositories = repositories
        .iter()
        .filter_map(|repository| match &repository.kind {
            RepositoryKind::S3 { bucket } => Some(("repository", &repository.name, bucket)),
            RepositoryKind::Local => None,
        });
    for (word, name, bucket) in of_components.chain(of_repositories) {
        if bucket.is_empty() {
            continue;
        }
        if let Some(owner) = owners.insert(bucket, format!("[{word}.{name}]")) {
            let value = top
                .get(word)
                .and_then(|all| all.table()?.entries().into_iter().find(|v| v.key == *name))
                .and_then(|value| {
                    let bucket = value.table()?.get("bucket");
                    Some(bucket.unwrap_or(value))
                });
            if let Some(value) = value {
                let hint = "give each its own bucket".to_owned();
                value.wrong(format!("`{bucket}` is the bucket of {owner} already"), hint);
            }
        }
    }
}
