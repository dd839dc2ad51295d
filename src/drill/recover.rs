//! Recovery by the runbook: start again where that is tried first; else provision, fetch, restore, verify, swap, each
//! timed; all components at once. Which artifact is taken: [`choose`]; what it is restored onto: [`target`].

use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use super::backup::{self, Look, not_planted, stop_or_note};
use super::objects::compared;
use super::witness::Witness;
use super::world::{World, pipeline};
use super::{app, verify};
use crate::clock::Stopwatch;
use crate::context::{Context, Phase};
use crate::error::{Doing, Error, Kind, Result};
use crate::evidence::{ArchiveFact, Evidence, RecoveryFact, SkippedFact, StrikeFact};
use crate::fault::plant;
use crate::pipeline::{Fetched, Pipeline};
use crate::plan::DrillKind;
use crate::service::{Service, Stop};
use crate::suite::{Backup, Component, Fault, Mode, Pick, RestoreOptions, Scenario, fit};

mod before;
mod choose;
mod expected;
mod target;

use choose::Candidate;
use target::Target;

/// Recovers every component of the scenario in parallel, then observes what came back. A calibration recovers one after
/// the other: what it measures is to be a component's own.
pub(super) async fn recover(
    ctx: &Context,
    world: &World<'_>,
    backups: &[&Backup],
    scenario: &Scenario,
    evidence: &mut Evidence,
) -> Result<()> {
    let working = world.timed(ctx).await?;
    let known = &*evidence;
    let components = choose::by_component(backups, scenario.pick);
    let mut witnesses = Vec::new();
    for backup in backups {
        let lives = world.task.is_none() && still_answers(scenario, &backup.component);
        witnesses.extend(Witness::call(ctx, world, backup, lives).await?);
    }
    let (at_once, since) = match world.drill.kind {
        DrillKind::Calibration { .. } => (1, None),
        _ => (components.len().max(1), Some(Stopwatch::start())),
    };
    let recoveries = components
        .into_iter()
        .map(|(before, candidates)| async move {
            let name = candidates.first().map_or("", |backup| &backup.component);
            let recovery = Recovery {
                ctx,
                world,
                before,
                candidates,
                component: world.component(name)?,
                scenario,
                known,
                declared: since.unwrap_or_else(Stopwatch::start),
            };
            recovery.carry_out().await
        });
    let recoveries = futures::stream::iter(recoveries).buffered(at_once);
    let (mut facts, archived): (Vec<_>, Vec<_>) = recoveries
        .try_collect::<Vec<_>>()
        .await?
        .into_iter()
        .unzip();
    evidence.archives.extend(archived.into_iter().flatten());
    if facts.iter().all(|fact| fact.seconds.is_some()) {
        evidence.recovery_seconds = facts
            .iter()
            .filter_map(|fact| fact.seconds)
            .reduce(f64::max);
    }
    drop(working);
    let _working = world.share(ctx).await?;
    if world.fault != Some(Fault::J11) {
        let looks = facts
            .iter_mut()
            .map(|fact| observe(ctx, world, backups, fact));
        futures::future::try_join_all(looks).await?;
    }
    for witness in witnesses {
        let mut recovered = facts.iter_mut();
        if let Some(fact) = recovered.find(|fact| fact.component == witness.component()) {
            fact.archive = Some(witness.ask(ctx, world).await?);
        }
    }
    evidence.recoveries = facts;
    Ok(())
}

/// Reads everything that came back of one component, and has its pipeline look at how whole the server is, both at once.
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
    let backup = backups.iter().find(|backup| backup.name == fact.backup);
    let pipeline = match backup {
        Some(backup) => {
            let component = world.component(&fact.component)?;
            Some(pipeline(backup, component, world.fault)?)
        }
        None => None,
    };
    let inspect = async {
        match (&pipeline, &fact.error) {
            // It was looked at before it was taken.
            _ if fact.integrity.is_some() => Ok(None),
            (Some(pipeline), None) => pipeline.inspect(&ctx, service.as_ref()).await,
            _ => Ok(None),
        }
    };
    let (observed, found) = tokio::join!(service.observe(&ctx), inspect);
    match observed {
        Ok(observation) => {
            let expected = fact.expected.as_ref().and_then(|it| it.objects.as_ref());
            if let (Some(expected), Some(restored)) = (expected, &observation.objects) {
                let left_out = |key: &str| pipeline.as_ref().is_some_and(|it| it.leaves_out(key));
                let unreadable = &observation.unreadable;
                fact.objects = Some(compared(expected, restored, unreadable, left_out)?);
            }
            fact.restored = Some(observation);
        }
        Err(error) => {
            let words = stop_or_note(error)?;
            fact.error.get_or_insert(words);
        }
    }
    match found {
        Ok(Some(found)) => fact.integrity = Some(found),
        Ok(None) => {}
        Err(error) => {
            let words = stop_or_note(error)?;
            fact.error.get_or_insert(words);
        }
    }
    if fact.error.is_none() && !fact.is_restarted() {
        fact.ties = match service.ties(&ctx, fact.alone).await {
            Ok(found) => found.map(Ok),
            Err(error) => Some(Err(stop_or_note(error)?)),
        };
    }
    // Everything was read by now: it had the time to call.
    let calls = world.canaries.calls(&fact.component);
    if let (Some(Ok(called)), Some(Ok(now))) = (&mut fact.called, calls) {
        *called = now.saturating_sub(*called);
    }
    Ok(())
}

/// Whether a component's server still answers after the strike.
fn still_answers(scenario: &Scenario, component: &str) -> bool {
    let mut struck = scenario.strikes.iter();
    let own = struck.find(|(name, _)| name == component);
    own.is_none_or(|(_, strike)| fit::leaves_a_server(*strike))
}

struct Recovery<'a, 'w> {
    ctx: &'a Context,
    world: &'a World<'w>,
    /// What is restored onto the same target first.
    before: Vec<&'a Backup>,
    /// What may be recovered from: one backup, or several of which the newest good artifact is picked.
    candidates: Vec<&'a Backup>,
    component: &'a Component,
    scenario: &'a Scenario,
    /// What is known when the recovery begins.
    known: &'a Evidence,
    /// Runs since the loss was declared.
    declared: Stopwatch,
}

impl Recovery<'_, '_> {
    async fn carry_out(&self) -> Result<(RecoveryFact, Vec<ArchiveFact>)> {
        let mut archived = Vec::new();
        let mut fact = RecoveryFact {
            component: self.component.name.clone(),
            backup: self
                .candidates
                .first()
                .map_or_else(String::new, |backup| backup.name.clone()),
            called: self.world.canaries.calls(&self.component.name),
            ..RecoveryFact::default()
        };
        if let Err(error) = self.run(&mut fact, &mut archived).await {
            fact.error = Some(stop_or_note(error)?);
        }
        fact.expected = expected::expected(self, &fact);
        Ok((fact, archived))
    }

    fn phase(&self, phase: Phase) -> Context {
        self.ctx.within(phase, &self.component.name)
    }

    fn strike(&self) -> Option<&StrikeFact> {
        self.known.strike.as_ref()
    }

    /// Whether the server that was struck still answers. That of a given artifact is somebody else's.
    fn has_a_server(&self) -> bool {
        if self.world.task.is_some() {
            return false;
        }
        still_answers(self.scenario, &self.component.name)
    }

    /// How the restore is done, the moment before the strike being known by now.
    fn options(&self) -> Result<RestoreOptions> {
        let mut options = self.scenario.restore.clone();
        let moment = self
            .strike()
            .and_then(|strike| strike.moments.get(&self.component.name));
        if let (Some(by), Some(moment)) = (self.scenario.before_strike, moment) {
            options.target = moment.by(by);
        }
        let mut backups = self.known.backups.iter().rev();
        let last = backups.find(|fact| fact.component == self.component.name);
        let backed_up = last.map(|fact| fact.window.1);
        plant::in_target(self.world.fault, backed_up, &mut options).map_err(not_planted)?;
        Ok(options)
    }

    async fn run(&self, fact: &mut RecoveryFact, archived: &mut Vec<ArchiveFact>) -> Result<()> {
        if self.scenario.restart && self.start_again(fact).await? {
            return Ok(());
        }
        if self.has_a_server() {
            for backup in &self.candidates {
                archived.extend(self.archive_the_rest(backup, fact).await?);
            }
        }
        if self.scenario.mode == Mode::Replace {
            fact.emergency = Some(self.emergency_backup().await?);
        }
        let (found, left) = choose::candidates(self, archived).await?;
        fact.skipped.extend(left);
        fact.newest = found.first().map(|it| it.reader.manifest.id.clone());
        if self.scenario.pick == Pick::NewestGood {
            let offered = found.iter().map(Candidate::named);
            fact.offered.extend(offered);
        }
        let mut found = found.into_iter().peekable();
        while let Some(candidate) = found.next() {
            let (backup, id) = candidate.named();
            fact.backup = backup.clone();
            fact.artifact = Some(id.clone());
            // What was noted of an artifact that was left is not of this one.
            (fact.replay, fact.integrity) = (None, None);
            (fact.restore_ran, fact.provisioned) = (false, false);
            fact.smoke = Vec::new();
            let mut made = None;
            let tried = self.attempt(&candidate, fact, &mut made).await;
            let Err(error) = tried else {
                return Ok(());
            };
            // What came back whole and did not hold up would not do so from another repository either.
            let asked = !fact.smoke.is_empty() || fact.integrity.is_some();
            if asked && error.kind() == Kind::Failed {
                let same = |other: &Candidate<'_>| other.named() == candidate.named();
                while found.next_if(same).is_some() {}
            }
            if found.peek().is_none() || !self.goes_on(&error, fact) {
                return Err(error);
            }
            fact.skipped.push(SkippedFact {
                backup,
                artifact: Some(id),
                repository: candidate.reader.repository().name().to_owned(),
                why: error.message(),
            });
            if let Some(target) = made {
                target.give_up(&self.phase(Phase::Provision)).await?;
            }
        }
        Ok(())
    }

    /// Whether the next candidate is tried after this error. Where the newest is to be taken, that is another copy of it: it
    /// is of use where this one could not be read, and not where a server or the restore failed.
    fn goes_on(&self, error: &Error, fact: &RecoveryFact) -> bool {
        let unread = fact.provisioned && !fact.restore_ran;
        match error.kind() {
            Kind::Interrupted | Kind::Defect => false,
            Kind::Unavailable => true,
            _ => unread || self.scenario.pick == Pick::NewestGood,
        }
    }

    /// Asks what is recovered for a first answer of its own: how many objects it has.
    async fn read(&self, ctx: &Context, service: &dyn Service) -> Result<()> {
        let watch = Stopwatch::start();
        let found = service.population(ctx).await?;
        let what = format!("ask {}: it holds {found} objects", self.component.name);
        ctx.note(what, None, watch.seconds(), Path::new(""));
        Ok(())
    }

    /// Starts the server that ended again, on the data that it left, and asks it the suite's questions.
    async fn start_again(&self, fact: &mut RecoveryFact) -> Result<bool> {
        let source = self.world.service(&self.component.name)?;
        let watch = Stopwatch::start();
        let ctx = self.phase(Phase::Ready);
        let started = source.server().restart(&ctx, Stop::Kill).await;
        let what = format!("start the server of {} again", self.component.name);
        ctx.note(what, None, watch.seconds(), Path::new(""));
        fact.phases.insert(Phase::Ready, watch.seconds());
        if let Err(error) = started {
            fact.restart = Some(Err(stop_or_note(error)?));
            return Ok(false);
        }
        let watch = Stopwatch::start();
        let ctx = self.phase(Phase::Verify);
        let answers = app::questions(&ctx, self.component, source.as_ref()).await?;
        self.read(&ctx, source.as_ref()).await?;
        fact.phases.insert(Phase::Verify, watch.seconds());
        if let Some(wrong) = answers.iter().find(|answer| !answer.holds) {
            fact.restart = Some(Err(format!("it starts, and {}", wrong.in_words())));
            return Ok(false);
        }
        fact.smoke = answers;
        fact.restart = Some(Ok(()));
        fact.seconds = Some(self.declared.seconds());
        Ok(true)
    }

    /// What a server that still answers has not archived yet can still be brought into the repositories.
    async fn archive_the_rest(
        &self,
        backup: &Backup,
        fact: &mut RecoveryFact,
    ) -> Result<Option<ArchiveFact>> {
        if !backup.method.archives() {
            return Ok(None);
        }
        let mut numbers = self.known.ledger.iter();
        let last = numbers.rfind(|entry| entry.component == backup.component);
        let high_water = last.map_or(0, |entry| entry.number);
        let watch = Stopwatch::start();
        let archived =
            backup::archive(self.ctx, self.world, backup, high_water, Look::Skip, None).await;
        *fact.phases.entry(Phase::Fetch).or_default() += watch.seconds();
        archived.map(Some)
    }

    /// Backs up what is left before it is dropped, under a name of its own, and gives back the artifact.
    async fn emergency_backup(&self) -> Result<String> {
        let Some(backup) = self.candidates.first() else {
            return Err(Error::defect("nothing is recovered from"));
        };
        let emergency = Backup {
            name: format!("{}-emergency", backup.name),
            ..(*backup).clone()
        };
        let source = self.world.service(&self.component.name)?;
        let content = backup::Content::Source(source.as_ref());
        let taken = backup::take(
            self.ctx,
            self.world,
            &emergency,
            content,
            0,
            Look::Skip,
            None,
        )
        .await?;
        taken.artifact.ok_or_else(|| {
            let why = taken.error.or(taken.refused).unwrap_or_default();
            Error::refused(format!(
                "there is no emergency backup of what is left of {}, which is not dropped without one: {why}",
                self.component.name
            ))
            .hint("recover beside it (mode = \"parallel\"), and keep what is left")
        })
    }

    /// Recovers from one artifact, up to the first verified read; `made` is what it was restored onto.
    async fn attempt(
        &self,
        candidate: &Candidate<'_>,
        fact: &mut RecoveryFact,
        made: &mut Option<Target>,
    ) -> Result<()> {
        let name = &self.component.name;
        let phase = |phase: Phase| self.phase(phase);
        let pipeline = pipeline(candidate.backup, self.component, self.world.fault)?;
        let (fault, options) = (self.world.fault, self.options()?);
        let reader = plant::on_the_way(fault, candidate.reader.clone(), self.scenario.rto)
            .map_err(not_planted)?;
        let reader = &reader;

        let watch = Stopwatch::start();
        let place = target::provision(self, candidate.backup, &phase(Phase::Provision))
            .await
            .doing_with(|| format!("provision a target for {name}"))?;
        fact.provisioned = true;
        let place = made.insert(place);
        let target = place.service.clone();
        let source = self.world.service(name);
        fact.alone = !source.is_ok_and(|it| Arc::ptr_eq(&it.server(), &target.server()));
        plant::before_restore(&phase(Phase::Provision), fault, target.as_ref())
            .await
            .map_err(not_planted)?;
        *fact.phases.entry(Phase::Provision).or_default() += watch.seconds();
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
        if fault == Some(Fault::J15) {
            // The target was filled beforehand; the drill's own restore will not run.
            let fetched = pipeline.fetch(&fetching, reader, target.as_ref()).await?;
            pipeline
                .restore(&fetching, &fetched, target.as_ref(), &options)
                .await?;
            pipeline
                .replay(&fetching, &fetched, target.as_ref(), &options)
                .await?;
            tidy(&fetching, target.as_ref(), &fetched).await?;
        }
        fact.target_before = Some(target.population(&phase(Phase::Provision)).await?);

        if let Some(task) = self.world.task {
            let ctx = phase(Phase::Provision);
            let needs = fact
                .needs
                .insert(verify::needs(&ctx, task, target.as_ref()).await?);
            if verify::lacks(needs) {
                return Ok(());
            }
        }
        for backup in &self.before {
            self.restore_before(backup, target.as_ref(), fact).await?;
        }
        let watch = Stopwatch::start();
        let fetched = plant::in_the_way(
            fault,
            self.world.link(),
            pipeline.fetch(&fetching, reader, target.as_ref()),
        )
        .await
        .doing_with(|| format!("fetch {}", reader.manifest.id))?;
        fact.artifact_bytes += fetched.stored_bytes;
        *fact.phases.entry(Phase::Fetch).or_default() += watch.seconds();

        let server = target.server();
        plant::in_fetched(&fetching, fault, server.as_ref(), &fetched)
            .await
            .map_err(not_planted)?;
        let landing = Landing {
            fetched: &fetched,
            id: &reader.manifest.id,
            options: &options,
            place,
        };
        let landed = self.land(pipeline.as_ref(), landing, fact).await;
        // Nothing decrypted stays behind, whatever became of the restore, which is what is told first: where a server ends, its
        // container does, and nothing more can be removed there.
        let tidied = tidy(&phase(Phase::Observe), target.as_ref(), &fetched).await;
        landed.and(tidied)
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
            options,
            place,
        } = landing;
        let (name, fault) = (&self.component.name, self.world.fault);
        let phase = |phase: Phase| self.phase(phase);
        let target = place.service.clone();

        let watch = Stopwatch::start();
        let mut replaying = 0.0;
        let restoring = phase(Phase::Restore);
        if !matches!(fault, Some(Fault::J14 | Fault::J15)) {
            fact.restore_ran = true;
            let restored = pipeline
                .restore(&restoring, fetched, target.as_ref(), options)
                .await;
            restored.doing_with(|| format!("restore {}", id))?;
            let before = watch.seconds();
            let replayed = pipeline
                .replay(&phase(Phase::Replay), fetched, target.as_ref(), options)
                .await;
            fact.replay = replayed.doing_with(|| format!("replay onto {}", id))?;
            if fact.replay.is_some() {
                replaying = watch.seconds() - before;
                *fact.phases.entry(Phase::Replay).or_default() += replaying;
            }
        }
        if let Some(task) = self.world.task {
            place.service = verify::settled(&phase(Phase::Ready), task, &place.service).await?;
        }
        let target = place.service.clone();
        let server = target.server();
        plant::after_restore(
            &restoring,
            fault,
            self.component,
            target.database(),
            server.as_ref(),
            fetched,
        )
        .await
        .map_err(not_planted)?;
        if fault == Some(Fault::B23Archive) {
            let source = self.world.service(&self.component.name)?.server();
            let archive = pipeline.archive_of(source.as_ref(), &fact.backup);
            plant::in_archive_of_source(&restoring, server.as_ref(), source.as_ref(), archive)
                .await
                .map_err(not_planted)?;
        }
        *fact.phases.entry(Phase::Restore).or_default() += watch.seconds() - replaying;

        let watch = Stopwatch::start();
        self.read(&phase(Phase::Ready), target.as_ref())
            .await
            .doing_with(|| format!("ask the recovered {name}"))?;
        *fact.phases.entry(Phase::Ready).or_default() += watch.seconds();

        let watch = Stopwatch::start();
        let ctx = phase(Phase::Verify);
        fact.smoke = app::questions(&ctx, self.component, target.as_ref()).await?;
        *fact.phases.entry(Phase::Verify).or_default() += watch.seconds();
        let wrong = fact.smoke.iter().find(|answer| !answer.holds);
        if let (Pick::NewestGood, Some(wrong)) = (self.scenario.pick, wrong) {
            return Err(Error::failed(format!("restored, {}", wrong.in_words())));
        }
        if self.scenario.pick == Pick::NewestGood {
            let watch = Stopwatch::start();
            fact.integrity = pipeline.inspect(&ctx, target.as_ref()).await?;
            *fact.phases.entry(Phase::Verify).or_default() += watch.seconds();
            let damaged = fact.integrity.iter().flat_map(|found| &found.damaged);
            if let Some((name, words)) = damaged.into_iter().next() {
                return Err(Error::failed(format!("restored, {name}: {words}")));
            }
        }

        let watch = Stopwatch::start();
        let (target, kept) = place.take_over(&phase(Phase::Swap)).await?;
        fact.kept_aside = kept;
        let first: Vec<_> = self.component.smoke.iter().take(1).cloned().collect();
        target.smoke(&phase(Phase::Swap), &first).await?;
        self.read(&phase(Phase::Swap), target.as_ref()).await?;
        fact.phases.insert(Phase::Swap, watch.seconds());
        fact.seconds = Some(self.declared.seconds());
        self.world.replace(name, target);
        Ok(())
    }
}

/// What a recovery has in hand once everything is fetched.
struct Landing<'a> {
    fetched: &'a Fetched,
    id: &'a str,
    options: &'a RestoreOptions,
    place: &'a mut Target,
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
