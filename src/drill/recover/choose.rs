//! Which artifact a recovery takes: the newest committed one of a backup, or the newest good one of several.

use super::Recovery;
use crate::context::{Context, Phase};
use crate::error::{Error, Kind, Result};
use crate::evidence::SkippedFact;
use crate::pipeline::artifact::ArtifactReader;
use crate::repository::Repository;
use crate::repository::manifest::Manifest;
use crate::suite::brought::half;
use crate::suite::{Backup, Only, Pick};

use std::sync::Arc;

/// An artifact that may be recovered from.
pub(super) struct Candidate<'a> {
    /// Its backup.
    pub backup: &'a Backup,
    /// The artifact.
    pub reader: ArtifactReader,
}

impl Candidate<'_> {
    /// Its backup's name and its id.
    pub fn named(&self) -> (String, String) {
        (self.backup.name.clone(), self.reader.manifest.id.clone())
    }
}

/// The backups of each component: those that are restored before the last, definitions before rows, and the last; or,
/// where the newest good one is picked, none before and all to pick from.
pub(super) fn by_component<'b>(
    backups: &[&'b Backup],
    pick: Pick,
) -> Vec<(Vec<&'b Backup>, Vec<&'b Backup>)> {
    let mut all: Vec<Vec<&Backup>> = Vec::new();
    for backup in backups {
        let of_same = |known: &&mut Vec<&Backup>| {
            known
                .iter()
                .any(|known| known.component == backup.component)
        };
        match all.iter_mut().find(of_same) {
            Some(known) => known.push(backup),
            None => all.push(vec![backup]),
        }
    }
    all.into_iter()
        .map(|mut backups| match pick {
            Pick::NewestGood => (Vec::new(), backups),
            Pick::Newest => {
                backups.sort_by_key(|backup| half(backup) == Some(Only::Data));
                let last = backups.split_off(backups.len().saturating_sub(1));
                (backups, last)
            }
        })
        .collect()
}

/// What may be recovered from, the newest state first: archived WAL continues every base backup to its end, and so beyond
/// any dump. The same artifact is there once for every repository, the farthest first, as that one outlives the most; and
/// what no repository can be asked for is left, with the reason.
pub(super) async fn candidates<'a>(
    recovery: &Recovery<'a, '_>,
) -> Result<(Vec<Candidate<'a>>, Vec<SkippedFact>)> {
    let ctx = recovery.phase(Phase::Fetch);
    let mut all = Vec::new();
    let mut left = Vec::new();
    let mut failure = None;
    for backup in recovery.candidates.iter().copied() {
        match copies(recovery, &ctx, backup, &mut left).await {
            Ok(readers) => all.extend(
                readers
                    .into_iter()
                    .map(|reader| Candidate { backup, reader }),
            ),
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) if recovery.scenario.pick == Pick::Newest => return Err(error),
            Err(error) => drop(failure.get_or_insert(error)),
        }
    }
    all.sort_by_key(|candidate| {
        let continued = candidate.backup.method.archives();
        std::cmp::Reverse((continued, candidate.reader.manifest.taken_at))
    });
    match (all.is_empty(), failure) {
        (true, Some(error)) => Err(error),
        _ => Ok((all, left)),
    }
}

/// What a backup's repositories hold of it, the farthest first: where the newest is to be taken, that of each; where any
/// may be, all that the farthest has which answers. `left` are those farther ones that did not. Never nothing: that is the error
/// of the farthest.
pub(super) async fn copies(
    recovery: &Recovery<'_, '_>,
    ctx: &Context,
    backup: &Backup,
    left: &mut Vec<SkippedFact>,
) -> Result<Vec<ArtifactReader>> {
    let mut readers = Vec::new();
    let mut failure = None;
    for repository in recovery.world.repositories(backup).into_iter().rev() {
        let found = match recovery.scenario.pick {
            Pick::Newest => Manifest::newest(ctx, &repository, &backup.name)
                .await
                .map(|(newest, _)| newest.into_iter().collect()),
            Pick::NewestGood if !readers.is_empty() => break,
            Pick::NewestGood => Manifest::list(ctx, &repository, &backup.name)
                .await
                .map(|(all, _)| all),
        };
        let read = |manifest| reader(recovery, ctx, backup, repository.clone(), manifest);
        match found {
            Ok(manifests) if manifests.is_empty() => {
                failure.get_or_insert_with(|| nothing(backup, repository.as_ref()));
            }
            Ok(manifests) => readers.extend(manifests.into_iter().map(read)),
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            // A nearer one is asked in case that the farther one fails later.
            Err(_) if !readers.is_empty() => {}
            Err(error) => {
                left.push(SkippedFact {
                    backup: backup.name.clone(),
                    artifact: None,
                    repository: repository.name().to_owned(),
                    why: error.message(),
                });
                failure.get_or_insert(error);
            }
        }
    }
    match (readers.is_empty(), failure) {
        (true, Some(error)) => Err(error),
        (true, None) => Err(Error::defect(format!(
            "the backup {} has no repository",
            backup.name
        ))),
        (false, _) => Ok(readers),
    }
}

fn nothing(backup: &Backup, repository: &dyn Repository) -> Error {
    Error::failed(format!(
        "no committed artifact of {} in {}",
        backup.name,
        repository.name()
    ))
    .hint("see why its backups failed; without an artifact there is nothing to recover from")
}

fn reader(
    recovery: &Recovery<'_, '_>,
    ctx: &Context,
    backup: &Backup,
    repository: Arc<dyn Repository>,
    manifest: Manifest,
) -> ArtifactReader {
    let keys = recovery.world.keys_left(ctx, backup);
    ArtifactReader::new(manifest, repository, keys)
}
