//! `method = { pg-dump = { … } }`.

use super::super::dump::{COMPRESSES_OTHERWISE, Compression, Dump, DumpFormat, Only};
use super::super::problem::did_you_mean;
use super::super::raw::{Table, Value};

/// `compress` when a suite does not say: pg_dump's own default for zlib.
const LEVEL: u8 = 6;

impl Default for Dump {
    /// What `pg-dump` means alone: everything, in the custom format.
    fn default() -> Self {
        Self::of(DumpFormat::Custom, LEVEL)
    }
}

/// The options of a `pg-dump`; `version` is that of the server it dumps, where the suite says it.
pub(super) fn dump(options: &Table<'_>, version: Option<&str>) -> Dump {
    let usual = Dump::default();
    let format = options
        .get("format")
        .and_then(|value| format(&value))
        .unwrap_or(usual.format);
    let only = options.get("only").and_then(|value| only(&value));
    let compress = options
        .get("compress")
        .and_then(|value| compression(&value, format, version));
    let jobs = options.get("jobs").and_then(|value| jobs(&value, format));
    let tables = options.get("tables").map(|value| tables(&value));
    let boolean = |key| options.get(key).and_then(|value| value.boolean());
    Dump {
        format,
        compress: compress.unwrap_or(match format {
            DumpFormat::Tar => Compression::None,
            _ => usual.compress,
        }),
        jobs: jobs.unwrap_or(usual.jobs),
        only,
        tables: tables.unwrap_or_default(),
        // Rows name no role: they come after definitions that did.
        globals: boolean("globals").unwrap_or(only != Some(Only::Data)),
        statistics: boolean("statistics").unwrap_or(usual.statistics),
    }
}

fn format(value: &Value<'_>) -> Option<DumpFormat> {
    let word = value.text("a format of pg_dump, such as \"custom\"")?;
    let found = DumpFormat::ALL.iter().find(|(known, _)| *known == word);
    if found.is_none() {
        let known = DumpFormat::ALL.iter().map(|(known, _)| *known);
        let message = format!("there is no dump format `{word}`");
        value.wrong(message, did_you_mean(word, known));
    }
    found.map(|(_, format)| *format)
}

fn only(value: &Value<'_>) -> Option<Only> {
    match value.text("the half that is dumped, \"schema\" or \"data\"")? {
        "schema" => Some(Only::Schema),
        "data" => Some(Only::Data),
        wrong => {
            let message = format!("there is no half of a database called `{wrong}`");
            value.wrong(message, did_you_mean(wrong, ["schema", "data"]));
            None
        }
    }
}

/// A level of zlib, or a method with its level.
fn compression(
    value: &Value<'_>,
    format: DumpFormat,
    version: Option<&str>,
) -> Option<Compression> {
    const WHAT: &str =
        "\"none\", \"gzip:1\" to \"gzip:9\", \"zstd:1\" to \"zstd:22\" or \"lz4:1\" to \"lz4:12\"";
    let compression = match value.as_text() {
        Some(text) => {
            let compression = Compression::parse(text);
            if compression.is_none() {
                value.expected(WHAT);
            }
            compression?
        }
        None => Compression::zlib(u8::try_from(value.integer(0..=9)?).ok()?),
    };
    if format == DumpFormat::Tar && compression != Compression::None {
        let hint = "say `compress = 0`, or use the format \"custom\"".to_owned();
        value.wrong("pg_dump does not compress the format \"tar\"", hint);
        return None;
    }
    let major = version.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    if let (Some(major), Some(version)) = (major, version)
        && compression.is_recent()
        && major < COMPRESSES_OTHERWISE
    {
        let message = format!(
            "`{}` takes pg_dump {COMPRESSES_OTHERWISE} or newer, and the component's version is {version}",
            value.as_text().unwrap_or_default()
        );
        value.wrong(message, "use \"gzip\"".to_owned());
        return None;
    }
    Some(compression)
}

fn jobs(value: &Value<'_>, format: DumpFormat) -> Option<u32> {
    let jobs = value.integer(1..=64)?;
    if jobs > 1 && format != DumpFormat::Directory {
        let message = format!("the format \"{}\" is dumped by one job only", format.id());
        let hint = "use the format \"directory\" (how many jobs restore it is said in a scenario's `restore`)";
        value.wrong(message, hint.to_owned());
        return None;
    }
    Some(jobs)
}

fn tables(value: &Value<'_>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let items = value.list("a list of tables such as [\"core.teams\"]");
    if items.is_empty() {
        value.expected("at least one table such as \"core.teams\"");
    }
    for item in items {
        const WHAT: &str = "a table with its schema, such as \"core.teams\"";
        let Some(name) = item.line(WHAT) else {
            continue;
        };
        match name.split_once('.') {
            Some((schema, table)) if !schema.is_empty() && !table.is_empty() => {}
            _ => {
                item.expected(WHAT);
                continue;
            }
        }
        if name.contains(['*', '?', '"']) {
            let hint = "name every table as it is, without quotes".to_owned();
            item.wrong(format!("`{name}` is a pattern, not a name"), hint);
        } else if all.iter().any(|known| known == name) {
            item.wrong(format!("`{name}` stands here twice"), None);
        }
        all.push(name.to_owned());
    }
    all
}
