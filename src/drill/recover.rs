//! Recovery by the runbook: provision, fetch, restore, verify, swap, each timed; all components at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::backup::stop_or_note;
use super::world::{World, pipeline};
use crate::clock::Stopwatch;
use crate::context::{Context, Phase};
use crate::error::{Doing, Error, Result};
use crate::evidence::{ArchiveFact, BackupFact, Evidence, Observation, RecoveryFact};
use crate::fault::plant;
use crate::pipeline::artifact::ArtifactReader;
use crate::pipeline::{Fetched, Pipeline};
use crate::repository::manifest::Manifest;
use crate::service::Service;
use crate::service::postgres::PostgresService;
use crate::suite::brought::half;
use crate::suite::{
    Backup, Component, ComponentKind, Engine, Fault, Method, Only, RecoveryTarget, RestoreOptions,
    Strike,
};

/// Recovers every component of the scenario in parallel, then observes what came back.
pub(super) async fn recover(
    ctx: &Context,
    world: &World<'_>,
    backups: &[&Backup],
    strikes: &[(String, Strike)],
    options: &RestoreOptions,
    evidence: &mut Evidence,
) -> Result<()> {
    let declared = Stopwatch::start();
    let (taken, archived) = (&evidence.backups, &evidence.archives);
    let recoveries = by_component(backups)
        .into_iter()
        .map(|(before, backup)| async move {
            let lost = strikes
                .iter()
                .any(|(c, strike)| *c == backup.component && *strike == Strike::ServerLost);
            let recovery = Recovery {
                ctx,
                world,
                before: &before,
                backup,
                component: world.component(&backup.component)?,
                lost,
                options,
                declared,
            };
            recovery.carry_out(taken, archived).await
        });
    let mut facts = futures::future::try_join_all(recoveries).await?;
    if facts.iter().all(|fact| fact.seconds.is_some()) {
        evidence.recovery_seconds = facts
            .iter()
            .filter_map(|fact| fact.seconds)
            .reduce(f64::max);
    }
    if world.fault != Some(Fault::J11) {
        let looks = facts
            .iter_mut()
            .map(|fact| observe(ctx, world, backups, fact));
        futures::future::try_join_all(looks).await?;
    }
    evidence.recoveries = facts;
    Ok(())
}

/// Reads everything that came back of one component, and has its pipeline look at how whole the server is.
async fn observe(
    ctx: &Context,
    world: &World<'_>,
    backups: &[&Backup],
    fact: &mut RecoveryFact,
) -> Result<()> {
    let ctx = ctx.within(Phase::Observe, &fact.component);
    let Ok(service) = world.service(&fact.component) else {
        return Ok(());
    };
    match service.observe(&ctx).await {
        Ok(observation) => fact.restored = Some(observation),
        Err(error) => {
            let words = stop_or_note(error)?;
            fact.error.get_or_insert(words);
        }
    }
    let backup = backups.iter().find(|backup| backup.name == fact.backup);
    if let (Some(backup), None) = (backup, &fact.error) {
        let component = world.component(&fact.component)?;
        let pipeline = pipeline(backup, component, world.fault)?;
        match pipeline.inspect(&ctx, service.as_ref()).await {
            Ok(found) => fact.integrity = found,
            Err(error) => fact.error = Some(stop_or_note(error)?),
        }
    }
    Ok(())
}

fn last_of<'a>(facts: &'a [BackupFact], backup: &str) -> Option<&'a BackupFact> {
    facts.iter().rev().find(|fact| fact.backup == backup)
}

/// What the restore must bring back: the source when it was last backed up, or archived after that.
fn expected(
    taken: &[BackupFact],
    archived: &[ArchiveFact],
    backup: &str,
    target: &RecoveryTarget,
) -> Option<Observation> {
    let taken = last_of(taken, backup);
    let archived = archived
        .iter()
        .rev()
        .find(|fact| fact.backup == backup && fact.error.is_none())
        .filter(|_| *target != RecoveryTarget::Immediate)
        .filter(|archived| taken.is_none_or(|taken| taken.at < archived.at));
    match archived {
        Some(archived) => archived.source.clone(),
        None => taken.and_then(expected_of),
    }
}

/// The backups of each component in the order in which they are restored, definitions before rows: those before the
/// last, and the last.
fn by_component<'b>(backups: &[&'b Backup]) -> Vec<(Vec<&'b Backup>, &'b Backup)> {
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
        .filter_map(|mut backups| {
            backups.sort_by_key(|backup| half(backup) == Some(Only::Data));
            let last = backups.pop()?;
            Some((backups, last))
        })
        .collect()
}

/// The source at backup time, less what the backup leaves out on purpose.
fn expected_of(taken: &BackupFact) -> Option<Observation> {
    let mut expected = taken.source.clone()?;
    if let Some(read) = &taken.readable {
        for key in &read.excluded {
            expected.parts.remove(key);
            expected.catalogue.remove(&format!("metadata {key}"));
        }
    }
    Some(expected)
}

struct Recovery<'a, 'w> {
    ctx: &'a Context,
    world: &'a World<'w>,
    /// What is restored onto the same target first.
    before: &'a [&'a Backup],
    backup: &'a Backup,
    component: &'a Component,
    lost: bool,
    options: &'a RestoreOptions,
    /// Runs since the loss was declared.
    declared: Stopwatch,
}

/// A name under which the database is restored before it takes the place of the lost one.
fn beside(database: &str) -> String {
    format!("{database}_new")
}

impl Recovery<'_, '_> {
    async fn carry_out(
        &self,
        taken: &[BackupFact],
        archived: &[ArchiveFact],
    ) -> Result<RecoveryFact> {
        let mut expected = expected(taken, archived, &self.backup.name, &self.options.target);
        if let (Some(expected), Some(first)) = (&mut expected, self.before.first()) {
            // The definitions are those of the moment when they were dumped.
            let schema = last_of(taken, &first.name).and_then(|fact| fact.source.as_ref());
            expected.catalogue = schema
                .map(|schema| schema.catalogue.clone())
                .unwrap_or_default();
        }
        let mut fact = RecoveryFact {
            component: self.backup.component.clone(),
            backup: self.backup.name.clone(),
            expected,
            ..RecoveryFact::default()
        };
        if let Err(error) = self.run(&mut fact).await {
            fact.error = Some(stop_or_note(error)?);
        }
        Ok(fact)
    }

    /// Restores one of the backups that come before the last.
    async fn restore_before(
        &self,
        backup: &Backup,
        target: &dyn Service,
        fact: &mut RecoveryFact,
    ) -> Result<()> {
        let phase = |phase: Phase| self.ctx.within(phase, &backup.component);
        let pipeline = pipeline(backup, self.component, self.world.fault)?;
        let watch = Stopwatch::start();
        let fetching = phase(Phase::Fetch);
        let reader = self.newest(&fetching, backup).await?;
        let id = reader.manifest.id.clone();
        fact.before.push((backup.name.clone(), id.clone()));
        let fetched = pipeline
            .fetch(&fetching, &reader, target)
            .await
            .doing_with(|| format!("fetch {id}"))?;
        fact.artifact_bytes += fetched.stored_bytes;
        *fact.phases.entry(Phase::Fetch).or_default() += watch.seconds();
        let watch = Stopwatch::start();
        let restored = pipeline
            .restore(&phase(Phase::Restore), &fetched, target, self.options)
            .await;
        *fact.phases.entry(Phase::Restore).or_default() += watch.seconds();
        tidy(&phase(Phase::Observe), target, &fetched).await?;
        restored.doing_with(|| format!("restore {id}"))
    }

    async fn run(&self, fact: &mut RecoveryFact) -> Result<()> {
        let name = &self.backup.component;
        let phase = |phase: Phase| self.ctx.within(phase, name);
        let pipeline = pipeline(self.backup, self.component, self.world.fault)?;
        let fault = self.world.fault;

        let watch = Stopwatch::start();
        let (target, swaps) = self
            .provision(&phase(Phase::Provision))
            .await
            .doing_with(|| format!("provision a target for {name}"))?;
        plant::before_restore(&phase(Phase::Provision), fault, target.as_ref()).await?;
        fact.phases.insert(Phase::Provision, watch.seconds());
        fact.target_started_here = self
            .world
            .servers()
            .iter()
            .any(|(_, server)| Arc::ptr_eq(server, &target.server()));
        if !fact.target_started_here {
            return Err(Error::refused(format!(
                "the target for {name} was not started by this run"
            ))
            .hint("a restore only ever writes to a server that the drill started"));
        }
        let fetching = phase(Phase::Fetch);
        let reader = self.choose(&fetching, fact).await?;
        if fault == Some(Fault::J15) {
            // The target was filled beforehand; the drill's own restore will not run.
            let fetched = pipeline.fetch(&fetching, &reader, target.as_ref()).await?;
            pipeline
                .restore(&fetching, &fetched, target.as_ref(), self.options)
                .await?;
            pipeline
                .replay(&fetching, &fetched, target.as_ref(), self.options)
                .await?;
            tidy(&fetching, target.as_ref(), &fetched).await?;
        }
        fact.target_before = Some(target.population(&phase(Phase::Provision)).await?);

        for backup in self.before {
            self.restore_before(backup, target.as_ref(), fact).await?;
        }
        let watch = Stopwatch::start();
        let fetched = pipeline
            .fetch(&fetching, &reader, target.as_ref())
            .await
            .doing_with(|| format!("fetch {}", reader.manifest.id))?;
        fact.artifact_bytes += fetched.stored_bytes;
        *fact.phases.entry(Phase::Fetch).or_default() += watch.seconds();

        let landing = Landing {
            fetched: &fetched,
            id: &reader.manifest.id,
            swap: swaps,
            target: target.clone(),
        };
        let landed = self.land(pipeline.as_ref(), landing, fact).await;
        // Nothing decrypted stays behind, whatever became of the restore.
        tidy(&phase(Phase::Observe), target.as_ref(), &fetched).await?;
        landed
    }

    /// From the fetched files to the first verified read under the service's own name, which ends the RTO.
    async fn land(
        &self,
        pipeline: &dyn Pipeline,
        landing: Landing<'_>,
        fact: &mut RecoveryFact,
    ) -> Result<()> {
        let Landing {
            fetched,
            id,
            swap,
            target,
        } = landing;
        let (name, fault) = (&self.backup.component, self.world.fault);
        let phase = |phase: Phase| self.ctx.within(phase, name);

        let watch = Stopwatch::start();
        let mut replaying = 0.0;
        let restoring = phase(Phase::Restore);
        if !matches!(fault, Some(Fault::J14 | Fault::J15)) {
            fact.restore_ran = true;
            let restored = pipeline
                .restore(&restoring, fetched, target.as_ref(), self.options)
                .await;
            restored.doing_with(|| format!("restore {}", id))?;
            let before = watch.seconds();
            let replayed = pipeline
                .replay(
                    &phase(Phase::Replay),
                    fetched,
                    target.as_ref(),
                    self.options,
                )
                .await;
            fact.replay = replayed.doing_with(|| format!("replay onto {}", id))?;
            if fact.replay.is_some() {
                replaying = watch.seconds() - before;
                fact.phases.insert(Phase::Replay, replaying);
            }
        }
        let database = swap.as_ref().map_or_else(
            || target.database().to_owned(),
            |swap| swap.restored.clone(),
        );
        let server = target.server();
        plant::after_restore(
            &restoring,
            fault,
            self.component,
            &database,
            server.as_ref(),
            fetched,
        )
        .await?;
        *fact.phases.entry(Phase::Restore).or_default() += watch.seconds() - replaying;

        let watch = Stopwatch::start();
        target
            .population(&phase(Phase::Ready))
            .await
            .doing_with(|| format!("ask the recovered {name}"))?;
        fact.phases.insert(Phase::Ready, watch.seconds());

        let watch = Stopwatch::start();
        fact.smoke = target
            .smoke(&phase(Phase::Verify), &self.component.smoke)
            .await?;
        fact.phases.insert(Phase::Verify, watch.seconds());

        let watch = Stopwatch::start();
        let target = match swap {
            Some(swap) => {
                let (service, kept) = swap.carry_out(&phase(Phase::Swap)).await?;
                fact.kept_aside = Some(kept);
                service
            }
            None => target,
        };
        let first: Vec<_> = self.component.smoke.iter().take(1).cloned().collect();
        target.smoke(&phase(Phase::Swap), &first).await?;
        target.population(&phase(Phase::Swap)).await?;
        fact.phases.insert(Phase::Swap, watch.seconds());
        fact.seconds = Some(self.declared.seconds());
        self.world.replace(name, target);
        Ok(())
    }

    /// A new server when the old one is lost; else a new database, or a new bucket, on the one that is left.
    async fn provision(&self, ctx: &Context) -> Result<(Arc<dyn Service>, Option<Swap>)> {
        // A physical backup is of the whole cluster: it takes a server of its own.
        if self.lost || matches!(self.backup.method, Method::PgBasebackup { .. }) {
            let settings: BTreeMap<String, String> = match self.world.fault {
                Some(Fault::D4 | Fault::D6) => {
                    BTreeMap::from([("appendonly".to_owned(), "yes".to_owned())])
                }
                _ => BTreeMap::new(),
            };
            let target = self
                .world
                .start(ctx, self.component, "recovered", self.version(), &settings)
                .await?;
            target.create(ctx).await?;
            return Ok((target, None));
        }
        let source = self.world.service(&self.component.name)?;
        match &self.component.kind {
            ComponentKind::Postgres { database, .. } => {
                let target = Arc::new(PostgresService::new(
                    source.server(),
                    beside(database),
                    None,
                ));
                target.create(ctx).await?;
                Ok((
                    target.clone(),
                    Some(Swap {
                        source,
                        restored: beside(database),
                        database: database.clone(),
                    }),
                ))
            }
            ComponentKind::Bucket { .. } => {
                source.create(ctx).await?;
                Ok((source, None))
            }
            ComponentKind::Redis { .. } => {
                let target = self
                    .world
                    .start(ctx, self.component, "recovered", None, &BTreeMap::new())
                    .await?;
                target.create(ctx).await?;
                Ok((target, None))
            }
        }
    }

    /// The version of the server that is restored onto, when it is not the component's own.
    fn version(&self) -> Option<String> {
        let other = self.options.version.clone();
        other.filter(|_| self.component.engine() == Engine::Postgres)
    }

    async fn choose(&self, ctx: &Context, fact: &mut RecoveryFact) -> Result<ArtifactReader> {
        let reader = self.newest(ctx, self.backup).await?;
        fact.newest = Some(reader.manifest.id.clone());
        fact.artifact = Some(reader.manifest.id.clone());
        Ok(reader)
    }

    /// The newest committed artifact of a backup in its farthest repository.
    async fn newest(&self, ctx: &Context, backup: &Backup) -> Result<ArtifactReader> {
        let repository = self.world.repositories(backup).pop().ok_or_else(|| {
            Error::defect(format!("the backup {} has no repository", backup.name))
        })?;
        let (newest, _) = Manifest::newest(ctx, &repository, &backup.name).await?;
        let manifest = newest.ok_or_else(|| {
            Error::failed(format!(
                "no committed artifact of {} in {}",
                backup.name,
                repository.name()
            ))
            .hint(
                "see why its backups failed; without an artifact there is nothing to recover from",
            )
        })?;
        let keys = self.world.keys_left(ctx, backup);
        Ok(ArtifactReader::new(manifest, repository, keys))
    }
}

/// What a recovery has in hand once everything is fetched.
struct Landing<'a> {
    fetched: &'a Fetched,
    id: &'a str,
    swap: Option<Swap>,
    target: Arc<dyn Service>,
}

/// Removes what was fetched: nothing decrypted stays behind.
async fn tidy(ctx: &Context, target: &dyn Service, fetched: &Fetched) -> Result<()> {
    let paths: Vec<_> = fetched.files.iter().map(|(_, path)| path).collect();
    if paths.is_empty() {
        return Ok(());
    }
    let remove = target.server().tool("rm").args(["-rf", "--"]).args(paths);
    remove.run(ctx).await?.ok().map(drop)
}

/// Putting a restored database in the place of the damaged one, which is kept under another name.
struct Swap {
    source: Arc<dyn Service>,
    restored: String,
    database: String,
}

impl Swap {
    /// The database under its own name, and whether the damaged one is still there under the other.
    async fn carry_out(&self, ctx: &Context) -> Result<(Arc<dyn Service>, bool)> {
        let server = self.source.server();
        let aside = format!("{}_corrupted", self.database);
        let recovered = PostgresService::new(server.clone(), &self.database, None);
        recovered.swap(ctx, &self.restored, &aside).await?;
        let kept = PostgresService::new(server, aside, None)
            .population(ctx)
            .await
            .is_ok();
        Ok((Arc::new(recovered), kept))
    }
}
