//! What the pruner left: artifacts, and objects that no artifact names.

use std::collections::BTreeSet;

use crate::context::{Context, Phase};
use crate::drill::world::World;
use crate::error::Result;
use crate::evidence::{Evidence, RetentionFact};
use crate::fault::plant;
use crate::pipeline::pgbackrest;
use crate::repository::manifest::Manifest;
use crate::repository::wal;
use crate::suite::{Backup, Fault};

/// What the pruner left of every backup in every repository.
pub(in crate::drill) async fn retention(
    ctx: &Context,
    world: &World<'_>,
    backups: &[&Backup],
    evidence: &mut Evidence,
) -> Result<()> {
    for backup in backups {
        let ctx = ctx.within(Phase::Observe, &backup.component);
        for repository in world.repositories(backup) {
            let mut fact = RetentionFact {
                backup: backup.name.clone(),
                repository: repository.name().to_owned(),
                now: Some(ctx.clock.now()),
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
                let bad = plant::bad_streak_then_prune_by_age(&ctx, backup, &repository).await?;
                fact.now = bad.last().map(|(_, at)| *at + chrono::TimeDelta::days(8));
                fact.taken
                    .extend(bad.into_iter().map(|(id, at)| (id, at, false)));
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
            let there: BTreeSet<String> = repository
                .list(&ctx, &format!("{}/", backup.name))
                .await?
                .into_iter()
                .map(|stored| stored.key)
                .collect();
            let named: BTreeSet<String> = manifests
                .iter()
                .flat_map(|manifest| {
                    manifest
                        .files
                        .iter()
                        .map(|file| file.key.clone())
                        .chain([manifest.key()])
                })
                .collect();
            // WAL from the oldest base backup on belongs to all of them.
            let oldest = manifests.iter().filter_map(wal::start_of).min();
            let continues = |key: &&String| {
                let name = wal::Name::of_key(&backup.name, key).map(|(_, name)| name);
                name.zip(oldest)
                    .is_some_and(|(name, oldest)| !name.is_before(oldest))
            };
            // pgBackRest keeps what it needs itself: only backups that no artifact names are of no use there.
            let labels: BTreeSet<&str> =
                manifests.iter().filter_map(pgbackrest::label_of).collect();
            let of_pgbackrest = |key: &&String| {
                pgbackrest::label_in(&backup.name, key)
                    .is_some_and(|label| label.is_none_or(|label| labels.contains(label)))
            };
            fact.orphans = there
                .difference(&named)
                .filter(|key| !continues(key) && !of_pgbackrest(key))
                .cloned()
                .collect();
            fact.broken.extend(named.difference(&there).cloned());
            evidence.retention.push(fact);
        }
    }
    Ok(())
}
