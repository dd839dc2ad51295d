//! Which artifact a recovery takes: the newest committed one of a backup, or the newest good one of several.

use std::cmp::Reverse;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::Recovery;
use crate::context::{Context, Phase};
use crate::error::{Error, Kind, Result};
use crate::evidence::{ArchiveFact, SkippedFact};
use crate::pipeline::artifact::{ArtifactReader, Keys};
use crate::repository::Repository;
use crate::repository::manifest::Manifest;
use crate::suite::brought::half;
use crate::suite::{Backup, Only, Pick, Replays, Scenario};

/// An artifact that may be recovered from, in one of the repositories that have it.
#[derive(Debug)]
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

    /// Until when what it brings back was committed, its log having been archived until `archived` for the last time.
    fn reaches(&self, scenario: &Scenario, archived: Option<DateTime<Utc>>) -> DateTime<Utc> {
        let taken = self.reader.manifest.taken_at;
        match scenario.replays(self.backup) {
            Replays::Nothing => taken,
            Replays::Everything => archived.map_or(taken, |archived| archived.max(taken)),
            // Where nothing but the log leads.
            Replays::ToAMoment => DateTime::<Utc>::MAX_UTC,
        }
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

/// What may be recovered from, in the order in which it is tried, and what of it could not be read, with the reason;
/// `archived` is what was archived since the strike.
pub(super) async fn candidates<'a>(
    recovery: &Recovery<'a, '_>,
    archived: &[ArchiveFact],
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
    in_order(&mut all, recovery.scenario, |backup| {
        let archived = recovery.known.archives.iter().chain(archived);
        ArchiveFact::last_of(archived, &backup.name).map(|last| last.at)
    });
    match (all.is_empty(), failure) {
        (true, Some(error)) => Err(error),
        _ => Ok((all, left)),
    }
}

/// What brings back the newest state first: a base backup's is that of the last WAL that was archived, so that it comes
/// before every dump as long as the archiver works. The copies of an artifact stay in their order.
fn in_order(
    all: &mut [Candidate<'_>],
    scenario: &Scenario,
    archived: impl Fn(&Backup) -> Option<DateTime<Utc>>,
) {
    all.sort_by_cached_key(|candidate| {
        let (backup, manifest) = (candidate.backup, &candidate.reader.manifest);
        Reverse((
            candidate.reaches(scenario, archived(backup)),
            backup.method.archives(),
            manifest.taken_at,
            manifest.id.clone(),
        ))
    });
}

/// What a backup's repositories hold of it.
pub(super) async fn copies(
    recovery: &Recovery<'_, '_>,
    ctx: &Context,
    backup: &Backup,
    left: &mut Vec<SkippedFact>,
) -> Result<Vec<ArtifactReader>> {
    let (world, pick) = (recovery.world, recovery.scenario.pick);
    let keys = world.keys_left(ctx, backup);
    held(ctx, backup, pick, world.repositories(backup), keys, left).await
}

/// What the repositories, nearest first, hold of a backup: the newest of each, or all that each has where any may be
/// picked. The farthest comes first, as that one outlives the most. `left` are those farther ones that did not
/// answer. Never nothing: that is the error of the farthest.
async fn held(
    ctx: &Context,
    backup: &Backup,
    pick: Pick,
    repositories: Vec<Arc<dyn Repository>>,
    keys: Option<Keys>,
    left: &mut Vec<SkippedFact>,
) -> Result<Vec<ArtifactReader>> {
    let mut readers = Vec::new();
    let mut failure = None;
    for repository in repositories.into_iter().rev() {
        let found = match pick {
            Pick::Newest => Manifest::newest(ctx, &repository, &backup.name)
                .await
                .map(|(newest, _)| newest.into_iter().collect()),
            Pick::NewestGood => Manifest::list(ctx, &repository, &backup.name)
                .await
                .map(|(all, _)| all),
        };
        let read = |manifest| ArtifactReader::new(manifest, repository.clone(), keys.clone());
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

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
