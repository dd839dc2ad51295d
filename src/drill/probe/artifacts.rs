//! The newest artifact of every backup, as it lies in each of its repositories, read once and read through.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::context::{Context, Phase};
use crate::drill::backup::stop_or_note;
use crate::drill::world::{World, pipeline};
use crate::error::Result;
use crate::evidence::{Evidence, ReadFact, StoredFact};
use crate::pipeline::artifact::ArtifactReader;
use crate::pipeline::verify::{Seen, inspect};
use crate::repository::manifest::Manifest;
use crate::suite::Backup;

/// What was read of the repositories, by backup and repository.
pub(in crate::drill) type Read = BTreeMap<(String, String), Arc<Seen>>;

/// Verifies the newest artifact of every backup where it lies, searches it for the canary, and has the engine's tool
/// read it whole.
pub(in crate::drill) async fn artifacts(
    ctx: &Context,
    world: &World<'_>,
    backups: &[&Backup],
    canary: &str,
    evidence: &mut Evidence,
) -> Result<Read> {
    let mut all = Read::new();
    for backup in backups {
        let ctx = ctx.within(Phase::Observe, &backup.component);
        let mut stored = Vec::new();
        let mut readable = None;
        for repository in world.repositories(backup) {
            let newest = Manifest::newest(&ctx, &repository, &backup.name).await;
            match newest {
                Ok((Some(manifest), _)) => {
                    let name = repository.name().to_owned();
                    let keys = world.keys_left(&ctx, backup);
                    let reader = ArtifactReader::new(manifest, repository, keys);
                    let (fact, seen) = inspect(&ctx, &reader, canary.as_bytes()).await?;
                    stored.push(fact);
                    let seen = Arc::new(seen);
                    let reader = reader.inspected(seen.clone());
                    readable = Some(read_through(&ctx, world, backup, &reader).await?);
                    all.insert((backup.name.clone(), name), seen);
                }
                Ok((None, broken)) => stored.push(StoredFact {
                    error: broken
                        .into_iter()
                        .next()
                        .map(|(_, error)| error.to_string()),
                    repository: repository.name().to_owned(),
                    ..StoredFact::default()
                }),
                Err(error) => stored.push(StoredFact {
                    repository: repository.name().to_owned(),
                    error: Some(stop_or_note(error)?),
                    ..StoredFact::default()
                }),
            }
        }
        if let Some(fact) = evidence
            .backups
            .iter_mut()
            .rev()
            .find(|fact| fact.backup == backup.name)
        {
            fact.stored = stored;
            fact.readable = readable;
        }
    }
    Ok(all)
}

async fn read_through(
    ctx: &Context,
    world: &World<'_>,
    backup: &Backup,
    reader: &ArtifactReader,
) -> Result<ReadFact> {
    let source = world.service(&backup.component)?;
    let pipeline = pipeline(backup, world.component(&backup.component)?, world.fault)?;
    match pipeline.read_through(ctx, reader, source.as_ref()).await {
        Ok(fact) => Ok(fact),
        Err(error) => Ok(ReadFact {
            tool: "redrill".to_owned(),
            error: Some(stop_or_note(error)?),
            ..ReadFact::default()
        }),
    }
}
