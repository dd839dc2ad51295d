//! `[backup.NAME]`.

use std::time::Duration;

use super::super::pattern::Patterns;
use super::super::problem::did_you_mean;
use super::super::raw::{Table, Value};
use super::super::schedule::Schedule;
use super::super::{
    Backup, BaseCompression, Component, Dump, Encryption, Engine, Keep, Method, RepositorySpec,
    SizeRange,
};
use super::{Declared, dump};

/// Kept when a suite does not say: a week.
const KEEP: Duration = Duration::from_secs(7 * 86_400);
/// A backup's deadline when a suite does not say: an hour.
const DEADLINE: Duration = Duration::from_secs(3_600);
/// The physical method of Postgres, beside the default one.
const PG_BASEBACKUP: &str = "pg-basebackup";
/// `compress` of `pg-basebackup` when a suite does not say.
const BASE_COMPRESSION: BaseCompression = BaseCompression::Gzip(1);
/// `archive_timeout` of `pg-basebackup` when a suite does not say.
const ARCHIVE_TIMEOUT: Duration = Duration::from_secs(300);
/// `max_delete` of `bucket-sync` when a suite does not say.
const MAX_DELETE: u8 = 50;

pub(super) fn backup(
    name: &str,
    table: &Table<'_>,
    components: &Declared<Component>,
    repositories: &Declared<RepositorySpec>,
) -> Option<Backup> {
    let component = components.refer_or_only(table, "component");
    let protected = component.as_deref().and_then(|name| components.get(name));
    let engine = protected.map(Component::engine);
    let version = protected.and_then(|component| component.version.as_deref());
    let repositories = match table.get("repository") {
        Some(value) => {
            let names = repositories.refer_all(&value);
            if value.one_or_more().is_empty() {
                value.expected("at least one repository");
            }
            names
        }
        None => repositories
            .refer_or_only(table, "repository")
            .into_iter()
            .collect(),
    };
    let method = match table.get("method") {
        Some(value) => method(&value, engine, version),
        None => engine.map(default_method),
    };
    let schedule = table
        .require(
            "schedule",
            "when it is taken, such as \"0 * * * *\" (hourly, in UTC)",
        )
        .and_then(|value| schedule(&value));
    let keep = table.get("keep").and_then(|value| {
        let table = value.table_such_as("how long, such as { within = \"7d\" }")?;
        let within = table
            .require("within", "how long every artifact is kept, such as \"7d\"")
            .and_then(|value| value.duration());
        table.finish();
        within
    });
    let encrypt = table.get("encrypt").and_then(|value| {
        match value.text("how it is encrypted, \"age\"")? {
            "age" => Some(Encryption::Age),
            wrong => {
                let message = format!("there is no encryption `{wrong}`");
                value.wrong(message, did_you_mean(wrong, ["age"]));
                None
            }
        }
    });
    let size = table.get("size").and_then(|value| size(&value));
    let deadline = table.get("deadline").and_then(|value| value.duration());
    Some(Backup {
        name: name.to_owned(),
        component: component?,
        repositories,
        method: method?,
        schedule: schedule?,
        keep: Keep {
            within: keep.unwrap_or(KEEP),
        },
        encrypt,
        size,
        deadline: deadline.unwrap_or(DEADLINE),
    })
}

fn schedule(value: &Value<'_>) -> Option<String> {
    let text = value.text("a cron expression such as \"0 * * * *\"")?;
    match Schedule::parse(text) {
        Ok(_) => Some(text.trim().to_owned()),
        Err(why) => {
            let hint = "for example \"*/15 * * * *\" or \"0 2 * * *\"".to_owned();
            value.wrong(format!("`{text}` is {why}"), hint);
            None
        }
    }
}

fn size(value: &Value<'_>) -> Option<SizeRange> {
    let table = value.table_such_as("a range such as { min = \"1 MB\", max = \"40 MB\" }")?;
    let min = table
        .require("min", "the smallest size that is believable: \"1 MB\"")
        .and_then(|value| value.size());
    let max = table
        .require("max", "the largest size that is believable: \"40 MB\"")
        .and_then(|value| value.size());
    table.finish();
    let range = SizeRange {
        min: min?,
        max: max?,
    };
    if range.min > range.max {
        value.wrong("its `min` is above its `max`", None);
    }
    Some(range)
}

fn default_method(engine: Engine) -> Method {
    match engine {
        Engine::Postgres => Method::PgDump(Dump::default()),
        Engine::Redis => Method::RedisRdb { aof: false },
        Engine::Bucket => Method::BucketSync {
            exclude: Vec::new(),
            max_delete_percent: MAX_DELETE,
        },
    }
}

/// The methods by their words, and what each backs up.
const METHODS: [(&str, Engine); 4] = [
    ("pg-dump", Engine::Postgres),
    (PG_BASEBACKUP, Engine::Postgres),
    ("redis-rdb", Engine::Redis),
    ("bucket-sync", Engine::Bucket),
];

/// A method by its word alone, or by its word with its options: `{ pg-dump = { compress = 9 } }`.
fn method(value: &Value<'_>, engine: Option<Engine>, version: Option<&str>) -> Option<Method> {
    const WHAT: &str = "a method, such as \"pg-dump\" or { pg-dump = { compress = 9 } }";
    if value.is_table() {
        let table = value.table()?;
        let entries = table.entries();
        let [method] = entries.as_slice() else {
            value.expected(&format!("{WHAT}, and only one"));
            return None;
        };
        let of = method_word(method, &method.key, engine)?;
        let options = method.table_such_as("the method's options, such as { }")?;
        let method = match method.key.as_str() {
            PG_BASEBACKUP => pg_basebackup(&options),
            _ => options_of(of, &options, version),
        };
        options.finish();
        Some(method)
    } else {
        let word = value.text(WHAT)?;
        let of = method_word(value, word, engine)?;
        Some(match word {
            PG_BASEBACKUP => Method::PgBasebackup {
                compress: BASE_COMPRESSION,
                archive_timeout: ARCHIVE_TIMEOUT,
            },
            _ => default_method(of),
        })
    }
}

/// Which engine a method's word is for, and that it fits the component.
fn method_word(value: &Value<'_>, word: &str, engine: Option<Engine>) -> Option<Engine> {
    let Some((_, of)) = METHODS.iter().find(|(known, _)| *known == word) else {
        let known = METHODS.iter().map(|(known, _)| *known);
        let message = format!("there is no backup method `{word}`");
        value.wrong(message, did_you_mean(word, known));
        return None;
    };
    match engine {
        Some(engine) if engine != *of => {
            let fits = METHODS.iter().find(|(_, of)| *of == engine);
            let message = format!(
                "`{word}` backs up a component of kind `{of}`, and this one's is `{engine}`"
            );
            value.wrong(message, fits.map(|(fits, _)| format!("use `{fits}`")));
            None
        }
        _ => Some(*of),
    }
}

fn options_of(engine: Engine, options: &Table<'_>, version: Option<&str>) -> Method {
    match engine {
        Engine::Postgres => Method::PgDump(dump::dump(options, version)),
        Engine::Redis => Method::RedisRdb {
            aof: options.get("aof").and_then(|value| value.boolean()) == Some(true),
        },
        Engine::Bucket => Method::BucketSync {
            exclude: options
                .get("exclude")
                .map_or_else(Vec::new, |value| exclude(&value)),
            max_delete_percent: options
                .get("max_delete")
                .and_then(|value| percent(&value))
                .unwrap_or(MAX_DELETE),
        },
    }
}

fn pg_basebackup(options: &Table<'_>) -> Method {
    Method::PgBasebackup {
        compress: options
            .get("compress")
            .and_then(|value| base_compression(&value))
            .unwrap_or(BASE_COMPRESSION),
        archive_timeout: options
            .get("archive_timeout")
            .and_then(|value| value.duration())
            .unwrap_or(ARCHIVE_TIMEOUT),
    }
}

fn base_compression(value: &Value<'_>) -> Option<BaseCompression> {
    const WHAT: &str = "\"none\", or \"gzip:1\" to \"gzip:9\", or \"zstd:1\" to \"zstd:19\"";
    let text = value.text(WHAT)?;
    let found = match text.split_once(':') {
        None => (text == "none").then_some(BaseCompression::None),
        Some((word, level)) => match (word, level.parse().unwrap_or(0)) {
            ("gzip", level @ 1..=9) => Some(BaseCompression::Gzip(level)),
            ("zstd", level @ 1..=19) => Some(BaseCompression::Zstd(level)),
            _ => None,
        },
    };
    if found.is_none() {
        value.expected(WHAT);
    }
    found
}

fn exclude(value: &Value<'_>) -> Vec<String> {
    let mut all = Vec::new();
    for item in value.list("a list of patterns such as [\"*.pyc\"]") {
        let Some(pattern) = item.text("a pattern such as \"*.pyc\"") else {
            continue;
        };
        if let Err(why) = Patterns::parse([pattern]) {
            item.wrong(why, None);
        }
        all.push(pattern.to_owned());
    }
    all
}

fn percent(value: &Value<'_>) -> Option<u8> {
    let percent = value
        .as_text()
        .and_then(|text| text.strip_suffix('%')?.trim().parse::<u8>().ok())
        .filter(|percent| *percent <= 100);
    if percent.is_none() {
        value.expected("a share from \"0%\" to \"100%\"");
    }
    percent
}
