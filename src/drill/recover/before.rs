//! What is restored onto the same target before the last backup: definitions before their rows.

use super::{Recovery, choose, tidy};
use crate::clock::Stopwatch;
use crate::context::{Context, Phase};
use crate::drill::world::pipeline;
use crate::error::{Doing, Error, Kind, Result};
use crate::evidence::{RecoveryFact, SkippedFact};
use crate::pipeline::{Fetched, Pipeline};
use crate::service::Service;
use crate::suite::Backup;

impl Recovery<'_, '_> {
    /// Restores one of the backups that come before the last.
    pub(super) async fn restore_before(
        &self,
        backup: &Backup,
        target: &dyn Service,
        fact: &mut RecoveryFact,
    ) -> Result<()> {
        let phase = |phase: Phase| self.phase(phase);
        let pipeline = pipeline(backup, self.component, self.world.fault)?;
        let watch = Stopwatch::start();
        let fetching = phase(Phase::Fetch);
        let (id, fetched) = self
            .fetch_newest(&fetching, pipeline.as_ref(), backup, target, fact)
            .await?;
        fact.before.push((backup.name.clone(), id.clone()));
        fact.artifact_bytes += fetched.stored_bytes;
        *fact.phases.entry(Phase::Fetch).or_default() += watch.seconds();
        let watch = Stopwatch::start();
        let restored = pipeline
            .restore(&phase(Phase::Restore), &fetched, target, &self.options()?)
            .await;
        *fact.phases.entry(Phase::Restore).or_default() += watch.seconds();
        let tidied = tidy(&phase(Phase::Observe), target, &fetched).await;
        let restored = restored.doing_with(|| format!("restore {id}"));
        restored.and(tidied)
    }

    /// Fetches the newest artifact of a backup from the farthest repository that gives it.
    async fn fetch_newest(
        &self,
        ctx: &Context,
        pipeline: &dyn Pipeline,
        backup: &Backup,
        target: &dyn Service,
        fact: &mut RecoveryFact,
    ) -> Result<(String, Fetched)> {
        let copies = choose::copies(self, ctx, backup, &mut fact.skipped).await?;
        let mut failure = None;
        for reader in copies {
            let id = reader.manifest.id.clone();
            let fetched = pipeline.fetch(ctx, &reader, target).await;
            match fetched.doing_with(|| format!("fetch {id}")) {
                Ok(fetched) => return Ok((id, fetched)),
                Err(error) if matches!(error.kind(), Kind::Interrupted | Kind::Defect) => {
                    return Err(error);
                }
                Err(error) => {
                    fact.skipped.push(SkippedFact {
                        backup: backup.name.clone(),
                        artifact: None,
                        repository: reader.repository().name().to_owned(),
                        why: error.message(),
                    });
                    failure.get_or_insert(error);
                }
            }
        }
        Err(failure.unwrap_or_else(|| Error::defect("a backup without a copy")))
    }
}
