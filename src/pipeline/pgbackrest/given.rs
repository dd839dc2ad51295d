//! A repository that somebody else's pgBackRest made, read to its end before any server has it: its stanzas, its backups,
//! what `verify` says of each, and whether the WAL that continues one is all there.
//!
//! The newest complete backup is taken, as `info` lists them; one that is damaged is passed over and told. Not here: the
//! restore, which is that of every backup of pgBackRest ([`super`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::archived::{self, Follow};
use super::info::{Info, Set};
use super::stanza::{Host, Stanza, Wanted, prefix};
use super::tree::Tree;
use super::verify::{self, Parts};
use super::{CIPHER, LABEL, NAME};
use crate::context::Context;
use crate::error::{Doing, Error, Kind, Result};
use crate::pipeline::pg_dump::whole::Whole;
use crate::pipeline::physical::chain::Base;
use crate::pipeline::physical::{BEGAN, CLUSTER, SEGMENT, STOP};
use crate::process::Command;
use crate::repository::wal::{self, Name};
use crate::suite::{PgBackRest, RecoveryTarget};

/// How a file begins that pgBackRest (or openssl) encrypted.
const SEALED: &[u8] = b"Salted__";
/// The usual size of a segment.
const USUAL: u64 = 16 << 20;
/// How many damaged files of a backup are named.
const NAMED: usize = 3;

/// Which repository is looked at, and with what.
pub struct Look<'a> {
    /// The folder with `backup` and `archive` in it.
    pub root: &'a Path,
    /// What it is called where it lies.
    pub shown: &'a str,
    /// The stanza, where it is named.
    pub stanza: Option<&'a str>,
    /// What it is encrypted with.
    pub passphrase: Option<&'a str>,
    /// A directory to be made for the configuration.
    pub dir: PathBuf,
    /// The name of the repository, and of the backup, that it becomes.
    pub name: &'a str,
}

/// The backup that is to be restored.
pub struct Found {
    /// The stanza.
    pub stanza: String,
    /// What pgBackRest calls the backup.
    pub label: String,
    /// The repository is encrypted.
    pub encrypted: bool,
    /// The major version of its server.
    pub version: String,
    /// The cluster.
    pub cluster: String,
    /// When it was begun.
    pub began: Option<DateTime<Utc>>,
    /// Files that were read.
    pub files: u64,
    /// Stored bytes of it.
    pub bytes: u64,
    /// What is noted beside its manifest.
    pub notes: BTreeMap<String, String>,
    /// Newer ones that are not taken, and why.
    pub left: Vec<(String, String)>,
    /// Why it cannot be restored: then none can.
    pub error: Option<String>,
    /// What a restore reads of it, from its root; the manifest of the backup first.
    pub needed: Vec<PathBuf>,
}

/// Reads a repository to its end, and finds the backup that is meant.
pub async fn look(ctx: &Context, look: &Look<'_>) -> Result<Found> {
    let name = choose(look)?;
    let encrypted = is_sealed(look, &name)?;
    if encrypted && look.passphrase.is_none() {
        return Err(Error::usage(format!(
            "{} is encrypted by pgBackRest, and no passphrase was given that opens it",
            look.shown
        ))
        .hint("name the variable that holds its repo-cipher-pass (--cipher-pass-env NAME), or the file (--cipher-pass-file FILE)"));
    }
    let tree = Tree::new(look.name, look.name, look.root, Vec::new())?;
    let wanted = Wanted {
        dir: look.dir.clone(),
        name: name.clone(),
        cluster: None,
        repository: &tree,
        backup: look.name,
        passphrase: look.passphrase.filter(|_| encrypted).map(str::to_owned),
    };
    let stanza = Stanza::configure(ctx, Host::Here, &PgBackRest::default(), wanted).await?;
    let read = Reading {
        ctx,
        look,
        stanza: &stanza,
        tree: &tree,
        encrypted,
    };
    let found = read.newest().await;
    stanza.forget(&ctx.for_teardown()).await?;
    found
}

/// The stanzas of a repository, in the order of their names.
fn stanzas(root: &Path) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for part in ["backup", "archive"] {
        let dir = root.join(part);
        let Ok(entries) = std::fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries {
            let entry = entry.doing_with(|| format!("look at {}", dir.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() && !name.starts_with('.') {
                all.insert(name);
            }
        }
    }
    Ok(all)
}

/// The stanza that is meant.
fn choose(look: &Look<'_>) -> Result<String> {
    let all = stanzas(look.root)?;
    let listed = || {
        all.iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let name = match (look.stanza, all.len()) {
        (_, 0) => {
            return Err(Error::failed(format!(
                "{} is a repository of pgBackRest without a stanza: there is nothing in it to restore",
                look.shown
            ))
            .hint("see whether it is the one that is backed up to (pgbackrest info), and what emptied it"));
        }
        (Some(name), _) if all.contains(name) => name.to_owned(),
        (Some(name), _) => {
            return Err(Error::usage(format!("{} has no stanza {name}", look.shown))
                .hint(format!("it has: {}", listed())));
        }
        (None, 1) => all.iter().next().cloned().unwrap_or_default(),
        (None, count) => {
            return Err(
                Error::usage(format!("{} has {count} stanzas: {}", look.shown, listed()))
                    .hint("say which one is meant: --stanza NAME"),
            );
        }
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match name.chars().all(plain) && !name.starts_with('-') {
        true => Ok(name),
        false => Err(Error::usage(format!("{name:?} is no name of a stanza"))),
    }
}

/// Whether the stanza is encrypted. That there is nothing to read is an error.
fn is_sealed(look: &Look<'_>, stanza: &str) -> Result<bool> {
    let dir = look.root.join("backup").join(stanza);
    let read = |name: &str| std::fs::read(dir.join(name)).ok();
    let mut found = ["backup.info", "backup.info.copy"]
        .into_iter()
        .filter_map(read);
    let first = found.find(|bytes| !bytes.is_empty());
    let archive = look.root.join("archive").join(stanza);
    let has = |name: &str| archive.join(name).is_file();
    match first {
        Some(_) if !has("archive.info") && !has("archive.info.copy") => {
            Err(Error::failed(format!(
                "stanza {stanza} of {} has no archive.info: the WAL that makes its backups consistent is not with them",
                look.shown
            ))
            .hint("copy the repository whole, `archive` beside `backup`"))
        }
        Some(bytes) => Ok(bytes.starts_with(SEALED)),
        None => Err(Error::failed(format!(
            "stanza {stanza} of {} has neither a backup.info nor its copy, or both are empty: nothing says what it holds",
            look.shown
        ))
        .hint("see what emptied it; copy the repository anew, whole")),
    }
}

/// One look at one stanza.
struct Reading<'a> {
    ctx: &'a Context,
    look: &'a Look<'a>,
    stanza: &'a Stanza<'a>,
    tree: &'a Tree,
    encrypted: bool,
}

impl Reading<'_> {
    /// The newest backup that is whole; where none is, the newest of all with what is wrong with it.
    async fn newest(&self) -> Result<Found> {
        let info = self.info().await?;
        let parts = self.verify().await?;
        let mut left = self.unfinished(&info)?;
        let mut first = None;
        for set in info.backups.iter().rev() {
            let found = self.found(&info, set, &parts).await?;
            match &found.error {
                None => return Ok(Found { left, ..found }),
                Some(why) => {
                    let at = format!("{} of {}", set.label, self.look.shown);
                    left.push((at, why.clone()));
                }
            }
            first.get_or_insert(found);
        }
        first.ok_or_else(|| {
            Error::failed(format!(
                "stanza {} of {} holds no backup that was completed",
                self.stanza.name, self.look.shown
            ))
            .hint("see the log of the job that backs up: pgbackrest info says the same there")
        })
    }

    async fn info(&self) -> Result<Info> {
        let error = match self.stanza.info(self.ctx).await {
            Ok(info) => return Ok(info),
            Err(error) => error,
        };
        if !self.encrypted || error.kind() != Kind::Failed || self.opens_the_archive().await? {
            return Err(error);
        }
        Err(Error::usage(format!(
            "{} is encrypted with another passphrase than the one that was given",
            self.look.shown
        ))
        .hint("give the repo-cipher-pass that it was made with; what follows the last line of a file counts, spaces too"))
    }

    /// Whether what is encrypted beside the backups can be read: then it is not the passphrase.
    async fn opens_the_archive(&self) -> Result<bool> {
        let path = format!("archive/{}/archive.info", self.stanza.name);
        let got = self
            .stanza
            .command("repo-get")
            .arg(path)
            .run(self.ctx)
            .await?;
        Ok(got.exit == Some(0) && got.stdout.starts_with(b"["))
    }

    async fn verify(&self) -> Result<Parts> {
        let verify = self.stanza.command("verify");
        let verify = verify.args(["--output=text", "--verbose"]);
        let said = verify
            .deadline(super::ALL_OF_IT)
            .run(self.ctx)
            .await?
            .ok()?;
        let log = std::fs::read(&said.log).doing("read what pgBackRest said")?;
        let parts = verify::parts(&said.text(), &String::from_utf8_lossy(&log));
        match parts.whole.is_empty() {
            true => Ok(parts),
            false => Err(Error::failed(format!(
                "stanza {} of {} is damaged: {}",
                self.stanza.name,
                self.look.shown,
                parts.whole.join("; ")
            ))
            .hint("copy the repository anew, whole, or see what damaged it")),
        }
    }

    /// Backups that were begun after the newest that was completed.
    fn unfinished(&self, info: &Info) -> Result<Vec<(String, String)>> {
        let dir = self.look.root.join("backup").join(&self.stanza.name);
        let newest = info.backups.iter().map(|set| ended(&set.label)).max();
        let mut left = Vec::new();
        for entry in std::fs::read_dir(&dir).doing_with(|| format!("look at {}", dir.display()))? {
            let name = entry.doing("look at it")?.file_name();
            let label = name.to_string_lossy();
            let is_label = label.starts_with(|c: char| c.is_ascii_digit());
            if is_label && info.set(&label).is_none() && newest.is_none_or(|it| ended(&label) > it)
            {
                let why = "it was never completed: backup.info does not name it".to_owned();
                left.push((format!("{label} of {}", self.look.shown), why));
            }
        }
        left.sort();
        Ok(left)
    }

    async fn found(&self, info: &Info, set: &Set, parts: &Parts) -> Result<Found> {
        let (base, cluster) = self.base(set).await?;
        let began = base.began;
        let notes = [
            (wal::START, set.wal.0.to_string()),
            (BEGAN, began.to_rfc3339()),
            (STOP, set.stop.to_string()),
            (SEGMENT, base.size.to_string()),
            (CLUSTER, set.cluster.clone()),
            (LABEL, set.label.clone()),
            (CIPHER, info.cipher.clone()),
            (NAME, self.stanza.name.clone()),
        ]
        .map(|(key, value)| (key.to_owned(), value));
        let amiss = match cluster {
            Some(other) if other != set.cluster => Some(format!(
                "its archive holds the WAL of cluster {other}, and it is of cluster {}",
                set.cluster
            )),
            _ => amiss(set, parts),
        };
        let error = match amiss {
            Some(why) => Some(why),
            None => self.broken(set, base, parts).await?,
        };
        Ok(Found {
            stanza: self.stanza.name.clone(),
            label: set.label.clone(),
            encrypted: self.encrypted,
            version: set.version.clone(),
            cluster: set.cluster.clone(),
            began: DateTime::from_timestamp(set.began, 0),
            files: parts.checked.get(&set.label).copied().unwrap_or_default(),
            bytes: set.stored,
            notes: notes.into(),
            left: Vec::new(),
            error,
            needed: self.needed(set),
        })
    }

    /// What a restore reads, as far as it is there.
    fn needed(&self, set: &Set) -> Vec<PathBuf> {
        let backup = PathBuf::from("backup").join(&self.stanza.name);
        let archive = PathBuf::from("archive").join(&self.stanza.name);
        let mut needed = vec![backup.join(&set.label).join("backup.manifest")];
        let sets = std::iter::once(&set.label).chain(&set.references);
        needed.extend(sets.map(|label| backup.join(label)));
        needed.extend(["backup.info", "backup.info.copy"].map(|name| backup.join(name)));
        needed.extend(["archive.info", "archive.info.copy"].map(|name| archive.join(name)));
        needed.push(archive.join(&set.archive));
        needed.retain(|path| self.look.root.join(path).exists());
        needed
    }

    /// What a recovery of a backup needs of the WAL; and whose WAL it is, by the segment that it begins in.
    async fn base(&self, set: &Set) -> Result<(Base, Option<String>)> {
        let place = format!("{}/{}", self.stanza.name, set.archive);
        let listing = archived::list(self.ctx, self.tree, self.look.name, &place).await?;
        let mut all = listing.into_iter();
        let first = all.find(|file| file.name == Name::Segment(set.wal.0));
        let head = match &first {
            Some(file) => self.head(&file.stored.key).await?,
            None => None,
        };
        let (size, cluster) = head.unzip();
        let base = Base {
            start: set.wal.0,
            began: DateTime::from_timestamp(set.began, 0).unwrap_or_default(),
            stop: set.stop,
            size: size.unwrap_or(USUAL),
        };
        Ok((base, cluster))
    }

    /// The size of segments and the cluster, as the first page of one says; `None` of one that cannot be read.
    async fn head(&self, key: &str) -> Result<Option<(u64, String)>> {
        let own = prefix(self.look.name);
        let path = key.strip_prefix(own.as_str()).unwrap_or(key);
        let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending);
        let program = match ending {
            "zst" => "zstd",
            "gz" => "gzip",
            "lz4" => "lz4",
            "bz2" => "bzip2",
            _ => "cat",
        };
        let got = self.stanza.command("repo-get").arg(path).stream(self.ctx)?;
        let unpack = match program {
            "cat" => Command::new(program),
            _ => Command::new(program).args(["-d", "-c"]),
        };
        let unpacked = unpack.feed(self.ctx, Whole::of(got)).await;
        match unpacked {
            Ok(unpacked) => Ok(long_header(&unpacked.stdout)),
            // What is wrong with it is said where it is needed.
            Err(error) if error.kind() == Kind::Failed => Ok(None),
            Err(error) => Err(error.hint(format!(
                "its WAL is packed by {program}: apt-get install {program}"
            ))),
        }
    }

    /// Where the WAL that continues a backup breaks off.
    async fn broken(&self, set: &Set, base: Base, parts: &Parts) -> Result<Option<String>> {
        let of_archive = format!("{}/", set.archive);
        let amiss = parts.files.iter().filter_map(|(path, why)| {
            let file = path.strip_prefix(&of_archive)?.rsplit('/').next()?;
            Some((file.to_owned(), why.clone()))
        });
        let follow = Follow {
            backup: self.look.name,
            archive: &set.archive,
            base,
            amiss: &amiss.collect(),
            dir: PathBuf::new(),
        };
        let followed = archived::log(self.ctx, self.stanza, self.tree, follow).await;
        let led = followed.and_then(|(log, _)| {
            log.chain
                .leads_to(&RecoveryTarget::EndOfWal, &log.repository)
        });
        match led {
            Ok(()) => Ok(None),
            Err(error) if error.kind() == Kind::Failed => Ok(Some(error.message())),
            Err(error) => Err(error),
        }
    }
}

/// What of a backup's own is damaged.
fn amiss(set: &Set, parts: &Parts) -> Option<String> {
    if set.damaged {
        return Some("pages failed their checksums while it was taken".to_owned());
    }
    let how = parts.backups.get(&set.label)?;
    let of_it = |path: &&String| {
        let mut labels = std::iter::once(&set.label).chain(&set.references);
        labels.any(|label| path.starts_with(&format!("{label}/")))
    };
    let files: Vec<&String> = parts.files.keys().filter(of_it).collect();
    let named: Vec<String> = files
        .iter()
        .take(NAMED)
        .map(|path| format!("{path}: {}", parts.files[*path]))
        .collect();
    let more = match files.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let colon = if named.is_empty() { "" } else { ": " };
    Some(format!(
        "pgbackrest verify says that it is {how}{colon}{}{more}",
        named.join("; ")
    ))
}

/// The instant in a label at which its backup was taken: `20261121-222626` of `20261121-222623F_20261121-222626D`.
fn ended(label: &str) -> &str {
    let last = label.rsplit('_').next().unwrap_or(label);
    last.trim_end_matches(|c: char| c.is_ascii_alphabetic())
}

/// What the long header of a segment's first page says: the bytes of a segment, and the cluster's identity.
fn long_header(bytes: &[u8]) -> Option<(u64, String)> {
    const LONG: u16 = 2;
    let info = u16::from_le_bytes(bytes.get(2..4)?.try_into().ok()?);
    let cluster = u64::from_le_bytes(bytes.get(24..32)?.try_into().ok()?);
    let size = u32::from_le_bytes(bytes.get(32..36)?.try_into().ok()?);
    let whole = info & LONG != 0 && size.is_power_of_two() && size >= 1 << 20;
    whole.then(|| (u64::from(size), cluster.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_says_how_long_it_is_and_whose() {
        let mut page = vec![0; 40];
        page[2] = 2;
        page[24..32].copy_from_slice(&7_710_754_707_307_745_598_u64.to_le_bytes());
        page[32..36].copy_from_slice(&(1_u32 << 20).to_le_bytes());
        let (size, cluster) = long_header(&page).expect("a header");
        assert_eq!((size, cluster.as_str()), (1 << 20, "7710754707307745598"));
        page[2] = 0;
        assert_eq!(long_header(&page), None);
        assert_eq!(long_header(&page[..30]), None);
    }

    #[test]
    fn labels_are_ordered_by_when_they_were_taken() {
        let (full, incr) = ("20261121-222623F", "20261120-010000F_20261122-010000I");
        assert!(ended(incr) > ended(full));
    }
}
