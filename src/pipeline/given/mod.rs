//! An artifact that somebody else made: found where it lies ([`place`]), known by how it begins ([`kind`]), read to its
//! end before any server starts ([`examine`]), and handed to the pipeline of its method as if a drill had taken it
//! ([`repository`]).
//!
//! Of a folder, and a few folders deep, the newest whole artifact is taken, by the time that its content gives and never by
//! a file's; of one with backups of several things, which of them must be said.
//! Not here: restoring it (the pipelines beside this module), or judging it ([`crate::check`]).

mod base;
mod examine;
mod kind;
mod open;
pub mod place;
mod rdb;
pub mod repository;
mod script;
mod shape;
mod statements;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::evidence::ReadFact;
use crate::pipeline::pgbackrest::tree::Tree;
use crate::suite::{Engine, Method, Zone};

pub use open::Identities;
pub use statements::Needs;

use examine::{Began, Seen};
use place::Source;
use shape::Shape;

/// The name of the repository that holds an artifact, and of its backup there.
pub const GIVEN: &str = "given";

/// How many lineages of a folder are named.
const NAMED: usize = 50;

/// What an artifact is read with.
pub struct Options {
    /// What opens what is encrypted.
    pub identities: Identities,
    /// The zone of times that name none.
    pub zone: Zone,
    /// The cluster's roles, by `pg_dumpall --globals-only`.
    pub globals: Option<PathBuf>,
    /// WAL that continues a base backup.
    pub wal: Option<PathBuf>,
    /// The stanza of a repository of pgBackRest.
    pub stanza: Option<String>,
    /// What such a repository is encrypted with; a secret of the run.
    pub passphrase: Option<String>,
    /// What it is a backup of, where it lies in a folder: any of these words.
    pub of: Vec<String>,
    /// Where copies go: a directory of the run.
    pub dir: PathBuf,
}

/// An artifact that was found, and read.
#[derive(Debug, Clone)]
pub struct Given {
    /// Where it lies, without secrets.
    pub shown: String,
    /// What it is, in words.
    pub what: String,
    /// What it is a backup of, in a word: artifacts of one lineage have the same.
    pub lineage: String,
    /// The engine.
    pub engine: Engine,
    /// How it was taken, and so is restored.
    pub method: Method,
    /// The version of the server to restore it onto.
    pub version: Option<String>,
    /// The database, where it names one.
    pub database: Option<String>,
    /// The time that its content gives.
    pub taken_at: Option<DateTime<Utc>>,
    /// What it needs of the server.
    pub needs: Needs,
    /// What came of reading it to its end.
    pub read: ReadFact,
    /// Its bytes, as they lie there.
    pub bytes: u64,
    /// A manifest of its own says what every file of it holds.
    pub has_manifest: bool,
    /// Newer ones beside it that are not whole, and why.
    pub left: Vec<(String, String)>,
    /// It is encrypted by the tool that took it, which is given the passphrase.
    pub encrypted: bool,
    /// The repository of pgBackRest that it is in.
    tree: Option<Tree>,
    /// Its files, as the pipeline of its method names them.
    files: Vec<File>,
}

impl Given {
    /// The folder that it lies in, with a sign for each part that names a day: another one tomorrow is the same.
    pub fn folder(&self) -> String {
        let (folder, _) = self.shown.rsplit_once('/').unwrap_or_default();
        let folder = match self.shown.contains("://") {
            true => folder.to_owned(),
            false => {
                let here = std::path::absolute(if folder.is_empty() { "." } else { folder });
                here.map_or(folder.to_owned(), |it| it.display().to_string())
            }
        };
        let day = |part: &str| {
            let digits = part.chars().filter(char::is_ascii_digit).count();
            let letters = part.chars().filter(char::is_ascii_alphabetic).count();
            digits >= 6 && letters <= 2 || digits > 0 && digits == part.len()
        };
        let parts = folder.split('/');
        let parts = parts.map(|part| if day(part) { "*" } else { part });
        parts.collect::<Vec<_>>().join("/")
    }

    /// What lies at a place, was not an artifact that can be read, and why. Its lineage is the one given, else a word for the
    /// place.
    pub fn unread(shown: String, lineage: Option<String>, why: &Error) -> Self {
        let read = ReadFact {
            tool: "redrill's own reading".to_owned(),
            error: Some(why.message()),
            ..ReadFact::default()
        };
        Self {
            what: "what could not be read".to_owned(),
            lineage: lineage.unwrap_or_else(|| placed(&shown)),
            shown,
            engine: Engine::Bucket,
            method: Method::FilesTar,
            version: None,
            database: None,
            taken_at: None,
            needs: Needs::default(),
            read,
            bytes: 0,
            has_manifest: false,
            left: Vec::new(),
            encrypted: false,
            tree: None,
            files: Vec::new(),
        }
    }
}

/// A file of an artifact.
#[derive(Debug, Clone)]
struct File {
    name: String,
    path: PathBuf,
    metadata: BTreeMap<String, String>,
}

impl File {
    fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            path: path.into(),
            metadata: BTreeMap::new(),
        }
    }
}

/// Finds the artifact that is meant, and reads it to its end. What is no artifact, or cannot be opened, is an error; one
/// that is damaged is found all the same, and says so ([`Given::read`]).
pub async fn find(ctx: &Context, source: &Source, options: &Options) -> Result<Given> {
    let found = find_there(ctx, source, options).await;
    found.map_err(Error::blaming_this_machine)
}

async fn find_there(ctx: &Context, source: &Source, options: &Options) -> Result<Given> {
    let root = &source.root;
    if let Some(shape) = shape::of(root)? {
        source.whole(ctx, root).await?;
        // Of what lies elsewhere, the beginnings may have said less.
        let shape = shape::of(root)?.unwrap_or(shape);
        let shown = source.shown(root);
        return examine::examine(ctx, &shape, shown, options).await;
    }
    newest(ctx, source, options).await
}

/// An artifact of a folder, by its beginning.
struct Candidate {
    path: PathBuf,
    shape: Shape,
    began: Began,
}

/// The newest whole artifact of a folder, and of the folders in it.
async fn newest(ctx: &Context, source: &Source, options: &Options) -> Result<Given> {
    let found = shape::within(&source.root)?;
    let (mut candidates, mut refusals, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for (path, shape) in found.all {
        if is_globals(&path, options) {
            continue;
        }
        let began = match shape {
            Ok(shape) => {
                let began = examine::began(ctx, &shape, source.shown(&path), options).await;
                began.map(|seen| (shape, seen))
            }
            Err(error) => Err(error),
        };
        match began {
            Ok((shape, Seen::Artifact(began))) => candidates.push(Candidate { path, shape, began }),
            Ok((_, Seen::Part)) => {}
            Ok((_, Seen::Unknown)) => unknown.push(path),
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => refusals.push((path, error)),
        }
    }
    let unknown = unknown.into_iter().filter(|path| {
        let mut beside = candidates.iter().map(|it| it.path.as_path());
        ends_as_a_backup(path) || beside.any(|it| is_named_as(path, it))
    });
    let unknown = unknown.map(|path| {
        let words =
            "it does not begin as any backup that redrill knows: its beginning may be damaged";
        (path, Error::failed(words))
    });
    let unknown: Vec<(PathBuf, Error)> = unknown.collect();
    let deeper = found.deeper.map(|path| {
        let words = format!(
            "it lies {} folders deep, and was not looked into",
            shape::DEPTH
        );
        (source.shown(&path), words)
    });
    let mut candidates = of_one_lineage(source, candidates, options)?;
    let Some(count) = (!candidates.is_empty()).then_some(candidates.len()) else {
        // What holds nothing says more than what is of another kind, and that more than what is of none.
        refusals.sort_by_key(|(_, error)| error.kind() != Kind::Failed);
        let here = source.shown(&source.root);
        let first = refusals.into_iter().chain(unknown).next();
        return Err(match (first, deeper) {
            (Some((path, error)), _) => error
                .doing(format!("read {}", source.shown(&path)))
                .doing(format!("choose an artifact of {here}")),
            (None, Some((path, words))) => Error::unavailable(format!(
                "{here} holds no artifact that was looked at: of {path}, {words}"
            ))
            .hint("name the folder that the backups are written to"),
            (None, None) => Error::unavailable(format!("{here} holds no artifact"))
                .hint("name the file, or the folder that the backups are written to"),
        });
    };
    if let (2.., Some(undated)) = (count, candidates.iter().find(|it| it.began.at.is_none())) {
        return Err(Error::usage(format!(
            "the newest of {count} artifacts cannot be told: {} does not say when it was made, and file dates say when it was copied",
            source.shown(&undated.path)
        ))
        .hint("name the artifact; pg_dump writes the time into custom, directory and tar dumps, and into plain ones with --verbose"));
    }
    candidates.sort_by(|a, b| (b.began.at, &b.path).cmp(&(a.began.at, &a.path)));
    // Whatever is empty, of a kind that is refused, opened by another key or known by its name alone has no time: it may be the
    // newest, and is told beside the one that is taken.
    let untold = refusals.into_iter().chain(unknown);
    let mut left: Vec<(String, String)> = untold
        .map(|(path, error)| (source.shown(&path), error.in_a_sentence()))
        .collect();
    left.extend(deeper);
    let mut first = None;
    for candidate in candidates {
        source.whole(ctx, &candidate.path).await?;
        let shown = source.shown(&candidate.path);
        let shape = shape::of(&candidate.path)?.unwrap_or(candidate.shape);
        let given = examine::examine(ctx, &shape, shown, options).await?;
        match &given.read.error {
            None => {
                left.extend(given.left.clone());
                return Ok(Given { left, ..given });
            }
            Some(why) => left.push((given.shown.clone(), why.clone())),
        }
        first.get_or_insert(given);
    }
    first.ok_or_else(|| Error::defect("no candidate was examined"))
}

/// The artifacts of the lineage that is meant, of those of a folder.
fn of_one_lineage(
    source: &Source,
    candidates: Vec<Candidate>,
    options: &Options,
) -> Result<Vec<Candidate>> {
    let mut lineages: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        let lineage = candidate.began.lineage.clone();
        lineages.entry(lineage).or_default().push(candidate);
    }
    let mut meant = options.of.iter().map(|name| slug(name));
    if let Some(meant) = meant.find_map(|name| lineages.remove(&name)) {
        return Ok(meant);
    }
    let here = source.shown(&source.root);
    if lineages.len() <= 1 {
        let (only, all) = lineages.pop_first().unwrap_or_default();
        // What its content does not name may be called anything.
        let named = all.iter().any(|it| it.began.named);
        return match (options.of.first(), named) {
            (Some(name), true) => Err(Error::usage(format!(
                "{here} holds backups of {only} alone, and none of {name}"
            ))
            .hint(format!(
                "see why those of {name} are not written there, or say --lineage {only}"
            ))),
            _ => Ok(all),
        };
    }
    let mut named: Vec<String> = lineages
        .iter()
        .take(NAMED)
        .filter_map(|(lineage, all)| {
            let newest = all.iter().max_by_key(|it| it.began.at)?;
            let at = newest.began.at.map_or("undated".to_owned(), |at| {
                at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
            });
            Some(format!("{lineage} ({at}, {})", source.shown(&newest.path)))
        })
        .collect();
    if lineages.len() > NAMED {
        named.push(format!("and {} more", lineages.len() - NAMED));
    }
    Err(Error::usage(format!(
        "{here} holds backups of several things: {}",
        named.join("; ")
    ))
    .hint("say which one is meant, by the word before its time: --lineage NAME"))
}

/// The name of a file without what only says how it is stored.
fn bare(path: &Path) -> String {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    name.strip_suffix(".age").unwrap_or(&name).to_owned()
}

/// Endings of backups, and of what packs them.
const ENDINGS: [&str; 16] = [
    "age", "backup", "bak", "custom", "dmp", "dump", "gz", "lz4", "pgdump", "psql", "rdb", "sql",
    "tar", "tgz", "zip", "zst",
];

fn ends_as_a_backup(path: &Path) -> bool {
    let ending = path
        .extension()
        .map(|it| it.to_string_lossy().to_lowercase());
    ending.is_some_and(|it| ENDINGS.contains(&it.as_str()))
}

/// Whether a file is named as another one is, but for what rotates.
fn is_named_as(path: &Path, other: &Path) -> bool {
    path.extension() == other.extension() && stem(path) == stem(other)
}

/// The file of roles that is given by itself is nothing that was left.
fn is_globals(path: &Path, options: &Options) -> bool {
    let globals = options
        .globals
        .as_ref()
        .and_then(|it| it.canonicalize().ok());
    globals.is_some_and(|globals| path.canonicalize().is_ok_and(|path| path == globals))
}

/// Words of a file's name that say when it was written: names of months and days, and of what is between them.
const WHEN: [&str; 39] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "jan",
    "feb",
    "mar",
    "apr",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "mon",
    "tue",
    "wed",
    "thu",
    "fri",
    "sat",
    "sun",
    "utc",
    "gmt",
];

/// A word for what a file is a backup of: its name without endings, and without what rotates: dates, numbers, ids in hex.
fn stem(path: &Path) -> String {
    let name = bare(path).to_ascii_lowercase();
    let first = name.split('.').next().unwrap_or_default();
    let words = first.split(|c: char| !c.is_ascii_alphanumeric());
    let id = |word: &&str| {
        let hex = word.chars().all(|c| c.is_ascii_hexdigit());
        word.len() >= 4 && hex && word.contains(|c: char| c.is_ascii_digit())
    };
    let words = words.filter(|word| !id(word));
    let words = words.flat_map(|word| word.split(|c: char| c.is_ascii_digit()));
    // A lone t or z is of a time such as 20261121T030000Z.
    let words = words.filter(|word| !["", "t", "z"].contains(word) && !WHEN.contains(word));
    words.collect::<Vec<_>>().join("-")
}

/// A word for a place of which nothing else is known: its name, and that of its folder.
fn placed(shown: &str) -> String {
    let path = Path::new(shown);
    let folder = path.parent().map(stem).unwrap_or_default();
    let words = [folder, stem(path)];
    let words = words.iter().filter(|word| !word.is_empty());
    slug(&words.cloned().collect::<Vec<_>>().join("-"))
}

/// A word that may stand in the id of a drill.
pub fn slug(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
            c
        } else {
            '-'
        }
    };
    let slug: String = text.chars().map(plain).collect();
    let slug = slug.trim_matches('-');
    match slug {
        "" => "artifact".to_owned(),
        slug => slug.chars().take(60).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_another_day_is_the_same_and_one_of_another_tenant_is_not() {
        let folder = |shown: &str| {
            let why = Error::failed("it is an example");
            Given::unread(shown.to_owned(), None, &why).folder()
        };
        assert_eq!(
            folder("/srv/2026-11-21/app.dump"),
            folder("/srv/20261122T0300Z/app.dump")
        );
        assert_eq!(folder("s3://b/2026/11/21/x"), "s3://b/*/*/*");
        assert_ne!(
            folder("/srv/tenant1/app.dump"),
            folder("/srv/tenant2/app.dump")
        );
    }

    #[test]
    fn what_ends_as_a_backup_or_is_named_as_one_beside_it_may_be_one_and_its_checksum_is_none() {
        let (shop, other) = (Path::new("d/shop-1.pgd"), Path::new("d/shop-2.pgd"));
        assert!(is_named_as(shop, other) && !ends_as_a_backup(shop));
        assert!(!is_named_as(Path::new("d/shop-1.pgd.sha256"), other));
        assert!(!is_named_as(Path::new("d/stock-1.pgd"), other));
        for (name, may_be) in [
            ("shop.dump", true),
            ("SHOP.SQL", true),
            ("shop.sql.gz", true),
            ("shop.dump.sha256", false),
            ("README.md", false),
            ("backup.log", false),
        ] {
            assert_eq!(ends_as_a_backup(Path::new(name)), may_be, "{name}");
        }
    }

    #[test]
    fn artifacts_of_one_lineage_have_one_name_whatever_their_dates() {
        for name in [
            "shop-2026-11-21.sql.gz",
            "shop_20261122T030000Z.sql",
            "shop.20261120.sql.zst.age",
        ] {
            assert_eq!(stem(Path::new(name)), "shop", "{name}");
        }
        for (name, word) in [
            ("dump-mon.rdb", "dump"),
            ("dump-Tuesday.rdb", "dump"),
            ("shop-2026-Nov-27.sql", "shop"),
            ("shop-3f2a9c1b.sql.gz", "shop"),
            ("shop-550e8400-e29b-41d4-a716-446655440000.sql", "shop"),
            ("sat.sql.gz", ""),
            // And what is none of it stays.
            ("stock.sql", "stock"),
            ("shop-facade.sql", "shop-facade"),
            ("marketing.sql", "marketing"),
        ] {
            assert_eq!(stem(Path::new(name)), word, "{name}");
        }
        assert_eq!(slug("Shop db/äx"), "Shop-db--x");
        assert_eq!(slug("??"), "artifact");
    }
}
