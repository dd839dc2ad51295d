//! What the pruner left: artifacts, and objects that no artifact names.

use std::collections::BTreeSet;

use futures::StreamExt;

use crate::context::{Context, Phase};
use crate::drill::world::World;
use crate::error::{Doing, Result};
use crate::evidence::{Evidence, LedgerEntry, LogFact, RetentionFact};
use crate::fault::plant;
use crate::pipeline::{pgbackrest, physical};
use crate::plan::Happening;
use crate::repository::manifest::Manifest;
use crate::repository::wal::{Lsn, Segment};
use crate::repository::{ListedObject, Repository, contents, listing_of, wal};
use crate::shelf::{Shelf, side_by_side};
use crate::suite::{Backup, Fault, Method};

/// What the pruner left of every backup in every repository.
pub(in crate::drill) async fn retention(
    ctx: &Context,
    world: &World<'_>,
    backups: &[&Backup],
    evidence: &mut Evidence,
) -> Result<()> {
    for backup in backups {
        let ctx = ctx.within(Phase::Observe, &backup.component);
        // Other backups may run later on its last day.
        let mut happenings = world.drill.timeline.happenings.iter().rev();
        let pruned = happenings.find(|(_, it)| *it == Happening::Prune(backup.name.clone()));
        let pruned = pruned.map_or_else(|| ctx.clock.now(), |(at, _)| *at);
        for repository in world.repositories(backup) {
            let mut fact = RetentionFact {
                backup: backup.name.clone(),
                repository: repository.name().to_owned(),
                now: Some(pruned),
                taken: evidence
                    .backups
                    .iter()
                    .filter(|taken| taken.backup == backup.name)
                    .filter_map(|taken| {
                        Some((taken.artifact.clone()?, taken.at, taken.error.is_none()))
                    })
                    .collect(),
                ..RetentionFact::default()
            };
            if world.fault == Some(Fault::I1) {
                let name = &backup.name;
                let bad = plant::bad_streak(&ctx, &repository, name, world.keys_of(backup)).await?;
                // The last good one is past its time, and half of the bad ones are not.
                let within = backup.keep.of(repository.name());
                let middle = bad.get(bad.len() / 2).map(|it| it.taken_at);
                let now = middle.map_or(pruned, |taken_at| taken_at + within);
                plant::prune_by_age(&ctx, &repository, name, within, now).await?;
                fact.now = Some(now);
                let bad = bad.into_iter().map(|it| (it.id, it.taken_at, false));
                fact.taken.extend(bad);
            }
            let (manifests, broken) = Manifest::list(&ctx, &repository, &backup.name).await?;
            fact.remaining = manifests
                .iter()
                .map(|manifest| manifest.id.clone())
                .collect();
            fact.broken.extend(
                broken
                    .into_iter()
                    .map(|(key, error)| format!("{key}: {}", error.message())),
            );
            let there = listing_of(&ctx, repository.as_ref(), &backup.name).await?;
            let named = named(&ctx, repository.as_ref(), &manifests, &mut fact.broken).await?;
            // WAL from the oldest base backup on belongs to all of them.
            let oldest = manifests.iter().filter_map(wal::start_of).min();
            let continues = |key: &str| {
                let name = wal::Name::of_key(&backup.name, key).map(|(_, name)| name);
                name.zip(oldest)
                    .is_some_and(|(name, oldest)| !name.is_before(oldest))
            };
            // pgBackRest keeps what it needs itself: only backups that no artifact names are of no use there.
            let labels: BTreeSet<&str> =
                manifests.iter().filter_map(pgbackrest::label_of).collect();
            let of_pgbackrest = |key: &str| {
                pgbackrest::label_in(&backup.name, key)
                    .is_some_and(|label| label.is_none_or(|label| labels.contains(label)))
            };
            let compare =
                |key: &str, there: Option<ListedObject>, named: Option<()>| match (there, named) {
                    (Some(_), None) if !continues(key) && !of_pgbackrest(key) => {
                        fact.orphans.push(key.to_owned());
                    }
                    (None, Some(())) => fact.broken.push(key.to_owned()),
                    _ => {}
                };
            side_by_side(&there, &named, compare)
                .doing("compare a repository with its manifests")?;
            if matches!(backup.method, Method::PgBasebackup { .. }) {
                fact.log = log(backup, &manifests, &there, evidence)?;
            }
            evidence.retention.push(fact);
        }
    }
    Ok(())
}

/// The archived WAL that a recovery to any moment reads: from where the oldest base backup begins to the last write that was
/// archived, or to where the newest base backup ends.
fn log(
    backup: &Backup,
    manifests: &[Manifest],
    there: &Shelf<ListedObject>,
    evidence: &Evidence,
) -> Result<Option<LogFact>> {
    let bases = manifests.iter().filter_map(|manifest| {
        let mut files = manifest.files.iter();
        let base = files.find(|file| file.metadata.contains_key(wal::START))?;
        physical::base(manifest, base).ok()
    });
    let bases: Vec<physical::chain::Base> = bases.collect();
    let Some(oldest) = bases.iter().min_by_key(|base| base.start) else {
        return Ok(None);
    };
    let mut archived = evidence.archives.iter().rev();
    let archived = archived.find(|fact| fact.backup == backup.name && fact.error.is_none());
    let last = archived.and_then(|archived| {
        let mut ledger = evidence.ledger.iter();
        let last = |entry: &&LedgerEntry| {
            entry.component == backup.component && entry.number == archived.high_water
        };
        Lsn::parse(&ledger.find(last)?.coordinate)
    });
    let ends = bases.iter().map(|base| base.stop).chain(last);
    let end = ends.max().unwrap_or(oldest.stop);
    // What ends where a segment begins has nothing in it.
    let end = Lsn(end.0.saturating_sub(1));
    let end = Segment::holding(oldest.start.timeline, end, oldest.size);
    let mut places = BTreeSet::new();
    for stored in there.under(wal::prefix(&backup.name)) {
        let (key, _) = stored.doing("go through the archived WAL")?;
        if let Some((_, wal::Name::Segment(segment))) = wal::Name::of_key(&backup.name, &key) {
            places.insert(segment.place());
        }
    }
    let gone = wal::gone(&places, oldest.start, end, oldest.size);
    let bytes = end.begins(oldest.size).0 - oldest.start.begins(oldest.size).0;
    Ok(Some(LogFact {
        segments: bytes / oldest.size.max(1) + 1,
        gone: gone.iter().map(ToString::to_string).collect(),
    }))
}

/// Every key that one of the manifests names. Where a list of shared content cannot be read, that is told as broken.
async fn named(
    ctx: &Context,
    repository: &dyn Repository,
    manifests: &[Manifest],
    broken: &mut Vec<String>,
) -> Result<Shelf<()>> {
    const NOTING: &str = "note what manifests name";
    let named = Shelf::new(&ctx.dir).doing(NOTING)?;
    let name = |key: &str| named.insert(key, &()).map(drop).doing(NOTING);
    for manifest in manifests {
        name(&manifest.key())?;
        let files = manifest.files.iter();
        for file in files.chain(contents::list_of(manifest).iter()) {
            name(&file.key)?;
        }
        let mut shared = contents::each(ctx, repository, manifest);
        while let Some(content) = shared.next().await {
            match content {
                Ok(content) => name(&content.file(&manifest.backup).key)?,
                Err(error) => {
                    ctx.go_on()?;
                    broken.push(error.message());
                    break;
                }
            }
        }
    }
    Ok(named)
}
