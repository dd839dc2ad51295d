//! Which artifact a recovery takes: the newest committed one of a backup, or the newest good one of several.

use super::Recovery;
use crate::context::{Context, Phase};
use crate::drill::backup::stop_or_note;
use crate::error::{Error, Result};
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
/// any dump.
pub(super) async fn candidates<'a>(recovery: &Recovery<'a, '_>) -> Result<Vec<Candidate<'a>>> {
    let ctx = recovery.phase(Phase::Fetch);
    let mut all = Vec::new();
    let mut failure = None;
    for backup in recovery.candidates.iter().copied() {
        if recovery.scenario.pick == Pick::Newest {
            let reader = newest(recovery, &ctx, backup).await?;
            all.push(Candidate { backup, reader });
            continue;
        }
        match committed(recovery, &ctx, backup).await {
            Ok(readers) => all.extend(
                readers
                    .into_iter()
                    .map(|reader| Candidate { backup, reader }),
            ),
            Err(error) => {
                stop_or_note(error).map(|words| failure.get_or_insert(words).len())?;
            }
        }
    }
    all.sort_by_key(|candidate| {
        let continued = candidate.backup.method.archives();
        std::cmp::Reverse((continued, candidate.reader.manifest.taken_at))
    });
    match (all.is_empty(), failure) {
        (true, Some(words)) => Err(Error::failed(words)),
        _ => Ok(all),
    }
}

/// The newest committed artifact of a backup in its farthest repository.
pub(super) async fn newest(
    recovery: &Recovery<'_, '_>,
    ctx: &Context,
    backup: &Backup,
) -> Result<ArtifactReader> {
    let repository = farthest(recovery, backup)?;
    let (newest, _) = Manifest::newest(ctx, &repository, &backup.name).await?;
    let manifest = newest.ok_or_else(|| nothing(backup, repository.as_ref()))?;
    Ok(reader(recovery, ctx, backup, repository, manifest))
}

/// Every committed artifact of a backup in its farthest repository.
async fn committed(
    recovery: &Recovery<'_, '_>,
    ctx: &Context,
    backup: &Backup,
) -> Result<Vec<ArtifactReader>> {
    let repository = farthest(recovery, backup)?;
    let (manifests, _) = Manifest::list(ctx, &repository, &backup.name).await?;
    if manifests.is_empty() {
        return Err(nothing(backup, repository.as_ref()));
    }
    let read = |manifest| reader(recovery, ctx, backup, repository.clone(), manifest);
    Ok(manifests.into_iter().map(read).collect())
}

fn farthest(recovery: &Recovery<'_, '_>, backup: &Backup) -> Result<Arc<dyn Repository>> {
    let mut repositories = recovery.world.repositories(backup);
    repositories
        .pop()
        .ok_or_else(|| Error::defect(format!("the backup {} has no repository", backup.name)))
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
