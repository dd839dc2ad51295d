//! The WAL that pgBackRest keeps in a repository: what is there by its names, and which of it continues a backup.
//!
//! A segment's name ends in the SHA-1 of its content. Not here: fetching it (`get.sh`, in the recovery).

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::context::Context;
use crate::error::{Doing, Result};
use crate::pipeline::physical::chain::{self, Base, Have};
use crate::pipeline::physical::log::Log;
use crate::repository::wal::{Name, Segment};
use crate::repository::{Repository, Stored};

use super::stanza::{Stanza, prefix};

/// A file of the archive.
#[derive(Debug, Clone)]
pub(super) struct Archived {
    pub name: Name,
    /// SHA-1 of a segment's content.
    pub sha1: Option<String>,
    pub stored: Stored,
}

/// Everything that is archived below a place of the archive, in the order of its keys: of a stanza, or of one of the
/// clusters that it has been, `main/15-1`.
pub(super) async fn list(
    ctx: &Context,
    repository: &dyn Repository,
    backup: &str,
    place: &str,
) -> Result<Vec<Archived>> {
    let all = format!("{}archive/{place}/", prefix(backup));
    let listing = repository.list(ctx, &all).await?;
    Ok(listing.into_iter().filter_map(archived).collect())
}

fn archived(stored: Stored) -> Option<Archived> {
    let file = stored.key.rsplit('/').next()?;
    let (name, sha1) = parse(file)?;
    Some(Archived { name, sha1, stored })
}

/// `000000010000000000000002-5b49dc933bc728b3e3aa46a305487f198127ede1.zst`, `00000002.history`.
fn parse(file: &str) -> Option<(Name, Option<String>)> {
    let Some((name, rest)) = file.split_once('-') else {
        return Name::parse(file).map(|name| (name, None));
    };
    let sha1 = rest.split('.').next()?;
    let is_sum = sha1.len() == 40 && sha1.bytes().all(|byte| byte.is_ascii_hexdigit());
    let name = Name::parse(name)?;
    is_sum.then(|| (name, Some(sha1.to_owned())))
}

/// What is to be followed.
pub(super) struct Follow<'a> {
    /// The backup in the suite.
    pub backup: &'a str,
    /// Which of the stanza's archives: `15-1`.
    pub archive: &'a str,
    /// What it continues.
    pub base: Base,
    /// Files that are known to be of no use, by their names, and why.
    pub amiss: &'a BTreeMap<String, String>,
    /// Where the list of it will lie.
    pub dir: PathBuf,
}

/// The WAL that continues a backup, and the stored bytes of it.
pub(super) async fn log(
    ctx: &Context,
    stanza: &Stanza<'_>,
    repository: &dyn Repository,
    follow: Follow<'_>,
) -> Result<(Log, u64)> {
    let Follow {
        backup,
        archive,
        base,
        amiss,
        dir,
    } = follow;
    let place = format!("{}/{archive}", stanza.name);
    let mut have: BTreeMap<Segment, Have> = BTreeMap::new();
    let mut histories = BTreeMap::new();
    let mut entries = BTreeMap::new();
    let mut bytes = 0;
    for file in list(ctx, repository, backup, &place).await? {
        if file.name.is_before(base.start) {
            continue;
        }
        match (file.name, &file.sha1) {
            (Name::Segment(segment), Some(sha1)) => {
                let twice = have.contains_key(&segment);
                let twice = twice.then(|| "it is there twice, with different content".to_owned());
                let stored = file.stored.key.rsplit('/').next().unwrap_or_default();
                let problem = twice.or_else(|| amiss.get(stored).cloned());
                let line = match &problem {
                    None => format!("{} {sha1}", base.size),
                    Some(why) => format!("- {why}"),
                };
                bytes += file.stored.bytes;
                entries.insert(segment.to_string(), line);
                let found = Have {
                    problem,
                    ..Have::default()
                };
                have.insert(segment, found);
            }
            (Name::History(timeline), _) => {
                let name = format!("{timeline:08X}.history");
                let path = file.stored.key.strip_prefix(prefix(backup).as_str());
                let text = history(ctx, stanza, path.unwrap_or_default()).await?;
                histories.insert(timeline, text);
                entries.insert(name, format!("{} unsummed", file.stored.bytes));
            }
            _ => {}
        }
    }
    let chain = chain::follow(base, &have, &histories)?;
    if let Some((segment, why)) = &chain.broken {
        let known = entries.entry(segment.to_string());
        known.or_insert_with(|| format!("- {why}"));
    }
    let log = Log {
        dir,
        chain,
        entries,
        repository: stanza.repository.clone(),
    };
    Ok((log, bytes))
}

/// How a timeline came to be, deciphered.
async fn history(ctx: &Context, stanza: &Stanza<'_>, path: &str) -> Result<String> {
    let got = stanza.command("repo-get").arg(path).run(ctx).await?.ok();
    let got = got.doing_with(|| format!("read {path}"))?;
    Ok(String::from_utf8_lossy(&got.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segments_name_carries_its_sum() {
        const SUM: &str = "5b49dc933bc728b3e3aa46a305487f198127ede1";
        let (name, sum) = parse(&format!("000000010000000000000002-{SUM}.zst")).expect("a segment");
        assert!(matches!(name, Name::Segment(_)));
        assert_eq!(sum.as_deref(), Some(SUM));
        assert!(matches!(
            parse("00000002.history"),
            Some((Name::History(2), None))
        ));
        assert!(matches!(
            parse("000000010000000000000002.00000028.backup"),
            Some((Name::Backup(_), None))
        ));
        for stray in ["archive.info", "000000010000000000000002-short.zst", "x-y"] {
            assert!(parse(stray).is_none(), "{stray}");
        }
    }
}
