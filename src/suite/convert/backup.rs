//! `[backup.NAME]`.

use std::time::Duration;

use super::super::pattern::Patterns;
use super::super::problem::did_you_mean;
use super::super::raw::{Table, Value};
use super::super::schedule::{Schedule, first_day};
use super::super::{
    Backup, BackupType, BaseCompression, Component, Dump, Encryption, Engine, Keep, Method,
    PgBackRest, RepositorySpec, RestCompression, SizeRange,
};
use super::{Declared, dump};

/// Kept when a suite does not say: a week.
const KEEP: Duration = Duration::from_secs(7 * 86_400);
/// A backup's deadline when a suite does not say: an hour.
const DEADLINE: Duration = Duration::from_secs(3_600);
/// The physical method of Postgres, beside the default one.
const PG_BASEBACKUP: &str = "pg-basebackup";
/// The other one, with a repository of its own.
const PGBACKREST: &str = "pgbackrest";
/// How many runs of a backup are looked at for whether they are runs of its schedule: of a weekly one, a year's.
const RUNS_LOOKED_AT: usize = 53;
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
        let elsewhere = table.get("in").and_then(|value| {
            let table = value.table_such_as("repositories, such as { near = \"7d\" }")?;
            let one = |value: Value<'_>| {
                let goes = repositories.contains(&value.key);
                if !goes {
                    let message = format!("the backup does not go to `{}`", value.key);
                    let names = repositories.iter().map(String::as_str);
                    value.wrong(message, did_you_mean(&value.key, names));
                }
                Some((value.key.clone(), value.duration()?)).filter(|_| goes)
            };
            Some(table.entries().into_iter().filter_map(one).collect())
        });
        table.finish();
        Some(Keep {
            within: within?,
            elsewhere: elsewhere.unwrap_or_default(),
        })
    });
    let encrypt = table.get("encrypt").and_then(|value| {
        match value.text("how it is encrypted, \"age\"")? {
            "age" => Some(Encryption::Age),
            "aes-256-cbc" => Some(Encryption::Aes256Cbc),
            wrong => {
                let message = format!("there is no encryption `{wrong}`");
                value.wrong(message, did_you_mean(wrong, ["age", "aes-256-cbc"]));
                None
            }
        }
    });
    let size = table.get("size").and_then(|value| size(&value));
    let deadline = table.get("deadline").and_then(|value| value.duration());
    if let (Some(method), Some(schedule)) = (&method, &schedule) {
        fits_pgbackrest(table, method, schedule, encrypt);
    }
    Some(Backup {
        name: name.to_owned(),
        component: component?,
        repositories,
        method: method?,
        schedule: schedule?,
        keep: keep.unwrap_or_else(|| Keep::within(KEEP)),
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
const METHODS: [(&str, Engine); 5] = [
    ("pg-dump", Engine::Postgres),
    (PG_BASEBACKUP, Engine::Postgres),
    (PGBACKREST, Engine::Postgres),
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
            PGBACKREST => Method::PgBackRest(pgbackrest(&options)),
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
            PGBACKREST => Method::PgBackRest(PgBackRest::default()),
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

fn pgbackrest(options: &Table<'_>) -> PgBackRest {
    let usual = PgBackRest::default();
    let count = |key| {
        let number = options.get(key)?.integer(1..=9_999)?;
        Some(number)
    };
    let cron = |key| options.get(key).and_then(|value| schedule(&value));
    PgBackRest {
        usual: options
            .get("type")
            .and_then(|value| backup_type(&value))
            .unwrap_or(usual.usual),
        full: cron("full"),
        diff: cron("diff"),
        compress: options
            .get("compress")
            .and_then(|value| rest_compression(&value))
            .unwrap_or(usual.compress),
        bundle: options.get("bundle").and_then(|value| value.boolean()) == Some(true),
        retention_full: count("retention_full").unwrap_or(usual.retention_full),
        retention_diff: count("retention_diff"),
        archive_timeout: options
            .get("archive_timeout")
            .and_then(|value| value.duration())
            .unwrap_or(usual.archive_timeout),
    }
}

fn backup_type(value: &Value<'_>) -> Option<BackupType> {
    let text = value.text("a type of backup, \"full\", \"diff\" or \"incr\"")?;
    let mut all = BackupType::ALL.into_iter();
    let found = all.find(|known| known.to_string() == text);
    if found.is_none() {
        let message = format!("there is no type of backup `{text}`");
        value.wrong(message, did_you_mean(text, ["full", "diff", "incr"]));
    }
    found
}

fn rest_compression(value: &Value<'_>) -> Option<RestCompression> {
    const WHAT: &str =
        "\"none\", or \"gz:0\" to \"gz:9\", \"lz4:1\" to \"lz4:9\", \"zst:1\" to \"zst:19\"";
    let found = RestCompression::parse(value.text(WHAT)?);
    if found.is_none() {
        value.expected(WHAT);
    }
    found
}

/// What pgBackRest alone asks of the rest of its backup.
fn fits_pgbackrest(
    table: &Table<'_>,
    method: &Method,
    schedule: &str,
    encrypt: Option<Encryption>,
) {
    let Method::PgBackRest(rest) = method else {
        if let (Some(Encryption::Aes256Cbc), Some(value)) = (encrypt, table.get("encrypt")) {
            let hint = "use \"age\"".to_owned();
            value.wrong("`aes-256-cbc` is pgBackRest's own encryption", hint);
        }
        return;
    };
    if let (Some(Encryption::Age), Some(value)) = (encrypt, table.get("encrypt")) {
        let hint = "use \"aes-256-cbc\"".to_owned();
        value.wrong("pgBackRest encrypts by itself, and not with age", hint);
    }
    if let Some(value) = table.get("repository")
        && value.one_or_more().len() > 1
    {
        let hint = "name the one that is farthest away".to_owned();
        value.wrong("a pgbackrest goes to one repository", hint);
    }
    let (Ok(all), Some(value)) = (Schedule::parse(schedule), table.get("method")) else {
        return;
    };
    for cron in [&rest.full, &rest.diff].into_iter().flatten() {
        let Ok(of_type) = Schedule::parse(cron) else {
            continue;
        };
        let runs = of_type.gaps(first_day()).take(RUNS_LOOKED_AT);
        let mut stray = runs.filter(|(run, _)| all.at_or_after(*run) != Some(*run));
        if let Some((run, _)) = stray.next() {
            let message = format!("`{cron}` comes due at {run}, when `{schedule}` takes no backup");
            let hint = "`full` and `diff` say which of the runs of `schedule` are so".to_owned();
            value.wrong(message, hint);
        }
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
