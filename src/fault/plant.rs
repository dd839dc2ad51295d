//! Faults planted by detection drills: in an artifact, before, in and after a restore, in logs. Each does what goes
//! wrong in the field, and nothing more; what does not apply to the given fault does nothing.

mod artifact;
mod base;
mod cluster;
mod leak;
mod pgbackrest;
mod restore;
mod wal;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::damaged::{Damage, Damaged};
use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::evidence::WrittenFact;
use crate::pipeline::artifact::{ArtifactReader, ArtifactWriter, Keys, Origin};
use crate::repository::Repository;
use crate::repository::manifest::Manifest;
use crate::service::postgres::PostgresService;
use crate::service::{Running, Service};
use crate::suite::{Component, ComponentKind, Fault};

pub use artifact::in_artifact;
pub use cluster::{in_archive_of_source, in_source_of_backup, stand_in};
pub use leak::{in_logs, in_the_clear};
pub use restore::{after_restore, before_restore};
pub use wal::{in_archive, in_fetched, in_source, in_target, in_the_way};

/// A8: the maintenance database of the same server, dumped instead of the one meant.
pub fn another_database(component: &Component, server: Arc<dyn Running>) -> Arc<dyn Service> {
    debug_assert!(matches!(component.kind, ComponentKind::Postgres { .. }));
    Arc::new(PostgresService::new(server, "postgres", None))
}

/// J5: the repository, as a recovery reads it, says nothing for longer than the whole recovery may take.
pub fn on_the_way(
    fault: Option<Fault>,
    artifact: ArtifactReader,
    objective: Option<Duration>,
) -> Result<ArtifactReader> {
    if fault != Some(Fault::J5) {
        return Ok(artifact);
    }
    let largest = artifact.manifest.files.iter().max_by_key(|file| file.bytes);
    let (Some(file), Some(objective)) = (largest, objective) else {
        return Err(Error::defect("no file, or no objective, to be late for"));
    };
    let stall = Damage::Stall(objective + Duration::from_secs(1));
    let slow = Damaged::new(artifact.repository().clone(), &file.key, stall);
    Ok(artifact.through(Arc::new(slow)))
}

fn flip_middle(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 0x10;
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// I1: fifteen backups, an hour apart, after the newest one in a repository, each of which lost its data after its commit.
pub async fn bad_streak(
    ctx: &Context,
    repository: &Arc<dyn Repository>,
    backup: &str,
    keys: Option<Keys>,
) -> Result<Vec<Manifest>> {
    let Some(good) = Manifest::newest(ctx, repository, backup).await?.0 else {
        return Err(Error::defect("there is no good backup to lose"));
    };
    let good = ArtifactReader::new(good, repository.clone(), keys.clone());
    let mut bad = Vec::new();
    for hour in 1..=15 {
        let manifest = &good.manifest;
        let origin = Origin {
            backup: manifest.backup.clone(),
            component: manifest.component.clone(),
            taken_at: manifest.taken_at + TimeDelta::hours(hour),
            engine: manifest.engine.clone(),
            compression: manifest.compression.clone(),
        };
        let writer = ArtifactWriter::new(ctx, origin, vec![repository.clone()], keys.clone());
        writer.copy(ctx, &good).await?;
        let stored = writer.commit(ctx, Manifest::clone(manifest)).await?;
        let own = stored.files.iter().filter(|file| !file.shared);
        let lost = own.max_by_key(|file| file.bytes).map(|file| &file.key);
        let lost = lost.ok_or_else(|| Error::defect("the backup has no file of its own"))?;
        repository.delete(ctx, std::slice::from_ref(lost)).await?;
        bad.push(stored);
    }
    Ok(bad)
}

/// I1: a pruner that goes by age alone, as `find -mtime` does: whether what it keeps is any good, it does not ask.
pub async fn prune_by_age(
    ctx: &Context,
    repository: &Arc<dyn Repository>,
    backup: &str,
    within: Duration,
    now: DateTime<Utc>,
) -> Result<()> {
    let (all, _) = Manifest::list(ctx, repository, backup).await?;
    for old in all.iter().filter(|it| now > it.taken_at + within) {
        let own = repository
            .list(ctx, &format!("{backup}/{}/", old.id))
            .await?;
        let keys: Vec<String> = own.into_iter().map(|stored| stored.key).collect();
        repository.delete(ctx, &keys).await?;
    }
    Ok(())
}

/// J12: where the facts of the drill are read, those of an earlier run of it lie.
pub fn in_record(fault: Option<Fault>, facts: &Path) -> Result<()> {
    if fault != Some(Fault::J12) {
        return Ok(());
    }
    let doing = || format!("put an earlier run's facts at {}", facts.display());
    let own = std::fs::read(facts).doing_with(doing)?;
    let earlier = WrittenFact {
        run: "20250101-000000-00000000".to_owned(),
        artifacts: ["20250101T000000Z-00000000".to_owned()].into(),
        ..serde_json::from_slice(&own).doing_with(doing)?
    };
    let earlier = serde_json::to_vec_pretty(&earlier).doing_with(doing)?;
    std::fs::write(facts, earlier).doing_with(doing)
}
