//! One backup run: observe the source, take, commit or abandon, and note what happened.

use chrono::Utc;

use super::floor::Place;
use super::world::{World, pipeline};
use crate::clock::Stopwatch;
use crate::context::{Context, Phase};
use crate::error::{Doing, Error, Kind, Result};
use crate::evidence::{ArchiveFact, BackupFact, ObjectFact, Observation};
use crate::pipeline::Taken;
use crate::pipeline::artifact::{ArtifactReader, ArtifactWriter, Origin};
use crate::repository::manifest::{Manifest, SCHEMA_VERSION};
use crate::service::Service;
use crate::sha256::Sha256;
use crate::suite::{Backup, Encryption, Method};

/// How closely the source is looked at before a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Everything: this artifact may be restored and compared.
    Whole,
    /// Nothing: this artifact will be superseded.
    Skip,
}

/// When a backup is at work: what only looks at the source goes on beside other drills, and what is timed alone.
pub(super) struct Turn {
    /// The place that is held until then.
    pub working: Place,
    /// Its duration is a figure.
    pub timed: bool,
}

impl Turn {
    /// Gives the place up for the one that the backup itself is taken in. Without a turn, the caller has taken one.
    async fn begin(turn: Option<Self>, ctx: &Context, world: &World<'_>) -> Result<Option<Place>> {
        let Some(Self { working, timed }) = turn else {
            return Ok(None);
        };
        if !timed {
            return Ok(Some(working));
        }
        drop(working);
        world.timed(ctx).await.map(Some)
    }
}

/// Where the content of an artifact comes from.
pub(super) enum Content<'a> {
    /// The source, by the backup's pipeline.
    Source(&'a dyn Service),
    /// An earlier artifact, stored again under another instant: only number and age of the artifacts matter.
    Again(&'a dyn Service, &'a ArtifactReader),
}

impl<'a> Content<'a> {
    fn source(&self) -> &'a dyn Service {
        match self {
            Self::Source(source) | Self::Again(source, _) => *source,
        }
    }
}

/// Takes one backup. A failure is a fact; only an interruption is an error.
pub(super) async fn take(
    ctx: &Context,
    world: &World<'_>,
    backup: &Backup,
    content: Content<'_>,
    high_water: u64,
    look: Look,
    turn: Option<Turn>,
) -> Result<BackupFact> {
    let ctx = ctx.within(Phase::Backup, &backup.component);
    let at = ctx.clock.now();
    let started = Utc::now();
    let mut fact = BackupFact {
        backup: backup.name.clone(),
        component: backup.component.clone(),
        artifact: None,
        at,
        window: (started, started),
        seconds: 0.0,
        error: None,
        refused: None,
        source: None,
        high_water,
        stored: Vec::new(),
        readable: None,
        mirrored: None,
    };
    if look == Look::Whole {
        match content
            .source()
            .observe(&ctx.within(Phase::Observe, &backup.component))
            .await
        {
            Ok(observation) => fact.source = Some(observation),
            Err(error) => fact.error = Some(stop_or_note(error)?),
        }
    }
    let _working = Turn::begin(turn, &ctx, world).await?;
    fact.window.0 = Utc::now();
    let watch = Stopwatch::start();
    match write(&ctx, world, backup, &content, &fact).await {
        Ok(Written::Committed(id)) => fact.artifact = Some(id),
        Ok(Written::Refused(words)) => fact.refused = Some(words),
        Err(error) => fact.error = Some(stop_or_note(error)?),
    }
    fact.seconds = watch.seconds();
    fact.window.1 = Utc::now();
    Ok(fact)
}

/// Archives what was committed since the last time. A failure is a fact; only an interruption is an error.
pub(super) async fn archive(
    ctx: &Context,
    world: &World<'_>,
    backup: &Backup,
    high_water: u64,
    look: Look,
    turn: Option<Turn>,
) -> Result<ArchiveFact> {
    let ctx = ctx.within(Phase::Backup, &backup.component);
    let source = world.service(&backup.component)?;
    let mut fact = ArchiveFact {
        backup: backup.name.clone(),
        component: backup.component.clone(),
        at: ctx.clock.now(),
        high_water,
        ..ArchiveFact::default()
    };
    if look == Look::Whole {
        let ctx = ctx.within(Phase::Observe, &backup.component);
        match source.observe(&ctx).await {
            Ok(observation) => fact.source = Some(observation),
            Err(error) => fact.error = Some(stop_or_note(error)?),
        }
    }
    let pipeline = pipeline(backup, world.component(&backup.component)?, world.fault)?;
    let _working = Turn::begin(turn, &ctx, world).await?;
    let watch = Stopwatch::start();
    let destination = world.destination(backup);
    if let Err(error) = pipeline.archive(&ctx, source.as_ref(), &destination).await {
        fact.error = Some(stop_or_note(error)?);
    }
    fact.seconds = watch.seconds();
    Ok(fact)
}

/// An interruption ends the drill, and so does a defect of redrill's own, which says nothing about a backup; everything
/// else is noted.
pub(super) fn stop_or_note(error: Error) -> Result<String> {
    match error.kind() {
        Kind::Interrupted | Kind::Defect => Err(error),
        _ => Ok(error.in_a_sentence()),
    }
}

/// A fault that could not be planted is a defect of the drill: taken for a failed recovery, it would count as caught.
pub(super) fn not_planted(error: Error) -> Error {
    match error.kind() {
        Kind::Interrupted => error,
        _ => Error::defect(format!("the fault was not planted: {error}")),
    }
}

enum Written {
    Committed(String),
    Refused(String),
}

async fn write(
    ctx: &Context,
    world: &World<'_>,
    backup: &Backup,
    content: &Content<'_>,
    fact: &BackupFact,
) -> Result<Written> {
    let server = content.source().server();
    let engine = format!("{} {}", server.engine(), server.version());
    let compression = match &backup.method {
        Method::PgDump(dump) => dump.compress.to_string(),
        Method::PgBasebackup { compress, .. } => compress.to_string(),
        Method::PgBackRest(options) => options.compress.to_string(),
        Method::RedisRdb { .. } => "rdb".to_owned(),
        Method::BucketSync { .. } | Method::FilesTar => "none".to_owned(),
    };
    let origin = Origin {
        backup: backup.name.clone(),
        component: backup.component.clone(),
        taken_at: fact.at,
        engine: engine.clone(),
        compression: compression.clone(),
    };
    // What pgBackRest stores it encrypts by itself.
    let keys = world
        .keys_of(backup)
        .filter(|_| backup.encrypt == Some(Encryption::Age));
    let recipients = keys
        .iter()
        .map(crate::pipeline::artifact::Keys::recipient)
        .collect();
    let mut artifact = ArtifactWriter::new(ctx, origin, world.repositories(backup), keys);
    let pipeline = pipeline(backup, world.component(&backup.component)?, world.fault)?;
    let id = artifact.id.clone();
    let taking = async {
        match content {
            Content::Source(source) => pipeline.backup(ctx, *source, &mut artifact).await,
            Content::Again(_, earlier) => {
                artifact.copy(ctx, earlier).await?;
                Ok(Taken {
                    tool: earlier.manifest.tool.clone(),
                    ..Taken::default()
                })
            }
        }
    };
    let taken = tokio::time::timeout(backup.deadline, taking).await;
    let taken = taken.unwrap_or_else(|_| {
        Err(Error::new(
            Kind::TimedOut,
            format!(
                "the backup did not end within {}",
                humantime::format_duration(backup.deadline)
            ),
        )
        .hint("see where it hung in its log; raise `deadline` in the suite if it is only slow"))
    });
    let taken = match taken {
        Ok(taken) if taken.refused.is_none() => taken,
        Ok(taken) => {
            artifact.abandon(&ctx.for_teardown()).await?;
            return Ok(Written::Refused(taken.refused.unwrap_or_default()));
        }
        Err(error) => {
            artifact.abandon(&ctx.for_teardown()).await?;
            return Err(error);
        }
    };
    let manifest = Manifest {
        schema_version: SCHEMA_VERSION,
        id,
        backup: backup.name.clone(),
        component: backup.component.clone(),
        run: ctx.run.to_string(),
        taken_at: fact.at,
        engine,
        tool: taken.tool,
        parent: taken.parent,
        compression,
        recipients,
        source_identity: fact
            .source
            .as_ref()
            .map(|source| source.identity.clone())
            .unwrap_or_default(),
        source_fingerprint: match &fact.source {
            Some(source) => fingerprint(source)?,
            None => String::new(),
        },
        ledger_high_water: fact.high_water,
        files: Vec::new(),
        contents: None,
    };
    Ok(Written::Committed(artifact.commit(ctx, manifest).await?.id))
}

/// SHA-256 over everything that was observed, in hex.
fn fingerprint(observation: &Observation) -> Result<String> {
    let mut hash = Sha256::new();
    for (name, part) in &observation.parts {
        hash.update(format!("{name}\0{}\0{}\n", part.count, part.hash));
    }
    for (name, definition) in &observation.catalogue {
        hash.update(format!("{name}\0{definition}\n"));
    }
    for object in observation.objects.iter().flat_map(|all| all.0.each()) {
        let (key, object) = object.doing("go through the objects of the source")?;
        let ObjectFact {
            bytes,
            sha256,
            headers,
        } = object;
        hash.update(format!("{key}\0{bytes}\0{sha256}\0{headers}\n"));
    }
    Ok(hex::encode(hash.finish()))
}
