//! Faults planted by detection drills: in an artifact, before, in and after a restore, in logs. Each does what goes
//! wrong in the field, and nothing more; what does not apply to the given fault does nothing.

mod artifact;
mod base;
mod cluster;
mod pgbackrest;
mod restore;
mod wal;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use super::damaged::{Damage, Damaged};
use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::pipeline::artifact::ArtifactReader;
use crate::repository::Repository;
use crate::repository::manifest::Manifest;
use crate::service::postgres::PostgresService;
use crate::service::{Running, Service};
use crate::suite::{Backup, Component, ComponentKind, Fault};

pub use artifact::in_artifact;
pub use cluster::{in_archive_of_source, in_source_of_backup, stand_in};
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

/// I1: fifteen backups that fail after their manifest, then a pruner that goes by age alone, eight days later.
/// Gives back the bad artifacts: id and taken-at.
pub async fn bad_streak_then_prune_by_age(
    ctx: &Context,
    backup: &Backup,
    repository: &Arc<dyn Repository>,
) -> Result<Vec<(String, chrono::DateTime<chrono::Utc>)>> {
    let Some(good) = Manifest::newest(ctx, repository, &backup.name).await?.0 else {
        return Ok(Vec::new());
    };
    let bad = (1..=15)
        .map(|hour| {
            let taken_at = good.taken_at + TimeDelta::hours(hour);
            (
                format!("{}-bad{hour:02}", taken_at.format("%Y%m%dT%H%M%SZ")),
                taken_at,
            )
        })
        .collect();
    // A pruner by age removes all of them, and the last good one with them: nothing is left at all.
    let keys: Vec<String> = repository
        .list(ctx, &format!("{}/", backup.name))
        .await?
        .into_iter()
        .map(|stored| stored.key)
        .collect();
    repository.delete(ctx, &keys).await?;
    Ok(bad)
}

/// J16: a tool that prints the password it was given.
pub fn in_logs(ctx: &Context, fault: Option<Fault>) -> Result<()> {
    if fault != Some(Fault::J16) {
        return Ok(());
    }
    let Some((_, secret)) = ctx.secrets.all().into_iter().next() else {
        return Err(Error::defect("the run has no secret to leak"));
    };
    let path = ctx.logs.join("9999-verbose-tool.log");
    std::fs::write(&path, format!("connecting with password={secret}\n"))
        .doing_with(|| format!("write {}", path.display()))
}
