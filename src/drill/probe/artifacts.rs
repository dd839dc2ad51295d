//! The newest artifact of every backup, as it lies in each of its repositories, read once and read through.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::context::{Context, Phase};
use crate::drill::backup::stop_or_note;
use crate::drill::objects::mirrored;
use crate::drill::world::{World, pipeline};
use crate::error::Result;
use crate::evidence::{Evidence, ReadFact, StoredFact};
use crate::pipeline::artifact::ArtifactReader;
use crate::pipeline::verify::{Seen, inspect};
use crate::repository::Repository;
use crate::repository::manifest::Manifest;
use crate::suite::Backup;

/// What was read of the repositories, by backup and repository.
pub(in crate::drill) type Read = BTreeMap<(String, String), Seen>;

/// Verifies the newest artifact of every backup in every repository at once, searches it for the canary, and has the
/// engine's tool read it whole.
pub(in crate::drill) async fn artifacts(
    ctx: &Context,
    world: &World<'_>,
    backups: &[&Backup],
    canary: &str,
    evidence: &mut Evidence,
) -> Result<Read> {
    let looks = backups.iter().flat_map(|backup| {
        let look = move |repository| look(ctx, world, backup, repository, canary);
        world.repositories(backup).into_iter().map(look)
    });
    let mut all = Read::new();
    for looked in futures::future::try_join_all(looks).await? {
        let mut taken = evidence.backups.iter_mut().rev();
        if let Some(fact) = taken.find(|fact| fact.backup == looked.backup) {
            // A complaint about one copy is not taken back by another one that is well.
            let complained = |read: &ReadFact| read.error.is_some();
            if !fact.readable.as_ref().is_some_and(complained) {
                fact.readable = looked.readable.or(fact.readable.take());
            }
            let repository = looked.stored.repository.clone();
            fact.stored.push(looked.stored);
            all.extend(looked.seen.map(|seen| ((looked.backup, repository), seen)));
        }
    }
    for backup in backups {
        let mut taken = evidence.backups.iter_mut().rev();
        let Some(fact) = taken.find(|fact| fact.backup == backup.name) else {
            continue;
        };
        let read = fact.readable.as_mut().and_then(|read| read.objects.take());
        let source = fact
            .source
            .as_ref()
            .and_then(|source| source.objects.as_ref());
        if let (Some(read), Some(source)) = (read, source) {
            let pipeline = pipeline(backup, world.component(&backup.component)?, world.fault)?;
            let left_out = |key: &str| pipeline.leaves_out(key);
            fact.mirrored = Some(mirrored(source, &read, left_out)?);
        }
    }
    Ok(all)
}

/// What was found of one backup in one repository.
struct Looked {
    backup: String,
    stored: StoredFact,
    readable: Option<ReadFact>,
    seen: Option<Seen>,
}

async fn look(
    ctx: &Context,
    world: &World<'_>,
    backup: &Backup,
    repository: Arc<dyn Repository>,
    canary: &str,
) -> Result<Looked> {
    let ctx = ctx.within(Phase::Observe, &backup.component);
    let mut looked = Looked {
        backup: backup.name.clone(),
        stored: StoredFact {
            repository: repository.name().to_owned(),
            ..StoredFact::default()
        },
        readable: None,
        seen: None,
    };
    match Manifest::newest(&ctx, &repository, &backup.name).await {
        Ok((Some(manifest), _)) => {
            let keys = world.keys_left(&ctx, backup);
            let reader = ArtifactReader::new(manifest, repository, keys);
            let (fact, seen, contents) = inspect(&ctx, &reader, canary.as_bytes()).await?;
            let reader = reader.inspected(contents);
            looked.readable = Some(read_through(&ctx, world, backup, &reader).await?);
            (looked.stored, looked.seen) = (fact, Some(seen));
        }
        Ok((None, broken)) => {
            let first = broken.into_iter().next();
            looked.stored.error = first.map(|(_, error)| error.in_a_sentence());
        }
        Err(error) => looked.stored.error = Some(stop_or_note(error)?),
    }
    Ok(looked)
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
