//! The one place where world and judgement meet: provision → seed → timeline → strike → recover → observe → tear
//! down → judge. Facts go to [`Evidence`]; nothing is judged before teardown has ended.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::check::caught::{Caught, owed_with_a_fault};
use crate::check::{self, Terms, figures};
use crate::clock::{Stopwatch, VirtualClock};
use crate::context::{Context, Phase, RunId};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Observer};
use crate::evidence::{Evidence, FailureFact, RecoveryFact, Sample, WrittenFact};
use crate::fault::plant;
use crate::outcome::{DrillResult, Outcome, Verdict};
use crate::plan::{Drill, DrillKind, Timeline};
use crate::provision::Provisioner;
use crate::suite::{Fault, Suite};

mod app;
mod backup;
mod canary;
mod disaster;
pub mod floor;
mod objects;
mod probe;
mod recover;
mod release;
pub mod runner;
pub mod stock;
mod timeline;
pub mod verify;
mod witness;
mod world;

use floor::Floor;
use stock::Stock;
use world::World;

/// Tells observers about one drill.
pub(crate) struct Teller<'a> {
    drill: &'a str,
    observer: &'a dyn Observer,
}

impl Teller<'_> {
    fn phase(&self, phase: Phase, what: &str) {
        self.observer.observe(&Event::Phase {
            drill: self.drill.to_owned(),
            phase,
            what: what.to_owned(),
        });
    }

    fn progress(&self, done: usize, total: usize) {
        self.observer.observe(&Event::Progress {
            drill: self.drill.to_owned(),
            done: done as u64,
            total: total as u64,
        });
    }
}

/// What one drill gets from its run.
pub struct Part<'a> {
    /// The suite of the drill.
    pub suite: &'a Suite,
    /// The drill.
    pub drill: &'a Drill,
    /// What the suite's calibration has measured.
    pub samples: Vec<Sample>,
    /// Where services come from.
    pub provisioner: &'a dyn Provisioner,
    /// The artifact that somebody gives, where one is verified.
    pub task: Option<&'a verify::Task<'a>>,
    /// The drills beside it.
    pub floor: &'a Floor,
    /// The sources that they share.
    pub stock: &'a Stock,
    /// Keep the drill's directory.
    pub keep: bool,
    /// Who is told.
    pub observer: &'a dyn Observer,
}

/// Runs one drill to its end, teardown included, and judges it.
pub async fn run(ctx: &Context, part: Part<'_>) -> DrillResult {
    let Part {
        suite,
        drill,
        samples,
        provisioner,
        task,
        floor,
        stock,
        keep,
        observer,
    } = part;
    let watch = Stopwatch::start();
    let clock = Arc::new(VirtualClock::at(start_of(&drill.timeline)));
    let ctx = ctx.clone().with_clock(clock.clone());
    let nonce = format!("{}-{}", ctx.run, drill.id);
    // A canary is only good as long as nobody could have it by chance.
    let canary = format!("canary{}", hex::encode(rand::random::<[u8; 12]>()));
    let mut evidence = Evidence {
        run: ctx.run.to_string(),
        drill: drill.id.clone(),
        nonce: nonce.clone(),
        samples,
        ..Evidence::default()
    };
    let mut world = World::new(suite, drill, provisioner, floor, stock);
    world.task = task;
    let teller = Teller {
        drill: &drill.id,
        observer,
    };
    let terms = Terms { suite, drill };
    let planted = Planted { nonce, canary };
    let worked = match drill.kind {
        DrillKind::Verify { .. } => {
            verify::play(&ctx, &mut world, &terms, &planted, &mut evidence, &teller).await
        }
        _ => {
            let world = &mut world;
            play(
                &ctx,
                world,
                &terms,
                &planted,
                &clock,
                &mut evidence,
                &teller,
            )
            .await
        }
    };
    if let Err((phase, error)) = worked {
        evidence.failures.push(FailureFact {
            phase,
            message: error.in_a_sentence(),
            unavailable: matches!(
                error.kind(),
                Kind::Unavailable | Kind::TimedOut | Kind::Interrupted
            ),
        });
    }
    teller.phase(Phase::Teardown, "remove everything that was started");
    evidence.services = world.service_facts();
    evidence.teardown = world.tear_down(&ctx.for_teardown(), keep).await;
    evidence.steps = ctx.steps();
    result_of(&terms, evidence, watch.seconds())
}

/// A drill of a run that could not begin, and why: nothing of it is established.
pub fn not_begun(suite: &Suite, drill: &Drill, run: &RunId, why: &Error) -> DrillResult {
    let evidence = Evidence {
        run: run.to_string(),
        drill: drill.id.clone(),
        failures: vec![FailureFact {
            phase: Phase::Prepare,
            message: why.in_a_sentence(),
            unavailable: true,
        }],
        ..Evidence::default()
    };
    result_of(&Terms { suite, drill }, evidence, 0.0)
}

/// Judges a drill that has ended, teardown included.
fn result_of(terms: &Terms<'_>, mut evidence: Evidence, seconds: f64) -> DrillResult {
    let mut outcomes: Vec<(Outcome, Option<String>)> = terms
        .checks()
        .into_iter()
        .map(|check| (check::judge(check, &evidence, terms, None), None))
        .collect();
    for test in &terms.drill.tests {
        let outcome = check::judge(test.check, &evidence, terms, test.backup.as_deref());
        outcomes.push((outcome, Some(test.name.clone())));
    }
    let verdict = match &terms.drill.kind {
        DrillKind::Detection {
            caught_by: Some(catch),
            ..
        } => {
            let said = || outcomes.iter().map(|(outcome, _)| outcome);
            let owed = said().filter(|outcome| owed_with_a_fault(catch, outcome));
            // Where the drill itself went wrong, the fault may not have been planted at all.
            let broken = evidence.failures.iter().map(|_| Verdict::Undetermined);
            Verdict::worst(
                std::iter::once(Caught::of(catch, said()).verdict())
                    .chain(owed.map(|outcome| outcome.verdict))
                    .chain(broken),
            )
        }
        _ => Verdict::worst(outcomes.iter().map(|(outcome, _)| outcome.verdict)),
    };
    let (rpo, rto, throughput) = figures::of_drill(&evidence, terms);
    let teardown = evidence
        .teardown
        .iter()
        .map(|fact| (fact.what.clone(), fact.error.clone().map_or(Ok(()), Err)))
        .collect();
    if evidence.given.is_none() {
        // Other drills follow, and this one's result is kept until they have ended.
        evidence.judged();
    }
    DrillResult {
        drill: terms.drill.clone(),
        evidence,
        outcomes,
        verdict,
        rpo,
        rto,
        throughput,
        seconds,
        teardown,
    }
}

/// What is planted in the sources of a drill.
struct Planted {
    nonce: String,
    canary: String,
}

fn start_of(timeline: &Timeline) -> DateTime<Utc> {
    timeline
        .happenings
        .first()
        .map_or_else(Utc::now, |(at, _)| *at)
}

/// The drill up to, and without, its teardown. An error says in which phase it arose.
async fn play(
    ctx: &Context,
    world: &mut World<'_>,
    terms: &Terms<'_>,
    planted: &Planted,
    clock: &VirtualClock,
    evidence: &mut Evidence,
    teller: &Teller<'_>,
) -> Result<(), (Phase, Error)> {
    let backups = terms.backups();
    let at = |phase: Phase| move |error: Error| (phase, error);

    let working = world.share(ctx).await.map_err(at(Phase::Prepare))?;
    teller.phase(Phase::Prepare, "start and fill the system");
    world
        .set_up(ctx, &backups, &planted.nonce, &planted.canary)
        .await
        .map_err(at(Phase::Prepare))?;
    drop(working);

    teller.phase(Phase::Backup, "write, back up and prune on the timeline");
    timeline::play(ctx, world, terms, clock, evidence, teller)
        .await
        .map_err(at(Phase::Backup))?;
    let mut working = world.share(ctx).await.map_err(at(Phase::Backup))?;
    for backup in &backups {
        plant::in_artifact(
            ctx,
            world.fault,
            backup,
            &world.repositories(backup),
            world.keys_of(backup),
        )
        .await
        .map_err(at(Phase::Backup))?;
        if backup.method.archives() {
            plant::in_archive(ctx, world.fault, &world.destination(backup))
                .await
                .map_err(at(Phase::Backup))?;
        }
        let source = world
            .service(&backup.component)
            .map_err(at(Phase::Backup))?;
        plant::in_the_clear(
            ctx,
            world.fault,
            backup,
            &world.repositories(backup),
            world.keys_of(backup),
            source.server().as_ref(),
            &planted.canary,
        )
        .await
        .map_err(at(Phase::Backup))?;
    }
    let (mut read, mut temporary) = (probe::Read::new(), probe::Temporary::default());
    if let Some(scenario) = terms.scenario() {
        teller.phase(Phase::Observe, "read the artifacts");
        read = probe::artifacts(ctx, world, &backups, &planted.canary, evidence)
            .await
            .map_err(at(Phase::Observe))?;
        temporary
            .search(ctx, world, &backups, &planted.canary)
            .await
            .map_err(at(Phase::Observe))?;

        teller.phase(Phase::Strike, &scenario.title);
        disaster::strike(ctx, world, terms, scenario, clock, evidence)
            .await
            .map_err(at(Phase::Strike))?;

        drop(working);
        teller.phase(Phase::Restore, "recover");
        recover::recover(ctx, world, &backups, scenario, evidence)
            .await
            .map_err(at(Phase::Restore))?;
        working = world.share(ctx).await.map_err(at(Phase::Observe))?;
    }
    write_down(ctx, evidence).map_err(at(Phase::Observe))?;
    if let (DrillKind::Release { .. }, Some(release)) = (&world.drill.kind, &world.suite.release) {
        teller.phase(
            Phase::Verify,
            "run the migrations of the release on what came back",
        );
        release::rehearse(ctx, world, release, evidence)
            .await
            .map_err(at(Phase::Verify))?;
    }
    teller.phase(Phase::Observe, "read what came back, and look for leaks");
    let canary = &planted.canary;
    probe::encryption(ctx, world, &backups, canary, &read, temporary, evidence)
        .await
        .map_err(at(Phase::Observe))?;
    if terms.scenario().is_none() || world.fault == Some(Fault::I1) {
        probe::retention(ctx, world, &backups, evidence)
            .await
            .map_err(at(Phase::Observe))?;
    }
    read_back(ctx, world.fault, evidence).map_err(at(Phase::Observe))?;
    plant::in_logs(ctx, world.fault, &planted.canary).map_err(at(Phase::Observe))?;
    evidence.leaks = probe::leaks(ctx, &planted.canary).map_err(at(Phase::Observe))?;
    drop(working);
    Ok(())
}

/// Writes down what the drill has recovered, as soon as it has: at its end that is what must still lie there.
fn write_down(ctx: &Context, evidence: &Evidence) -> Result<()> {
    let recovered = evidence.recoveries.iter();
    let facts = WrittenFact {
        run: evidence.run.clone(),
        drill: evidence.drill.clone(),
        artifacts: recovered.flat_map(RecoveryFact::artifacts).collect(),
    };
    probe::write_facts(ctx, &facts)
}

/// Reads what lies there as the drill's facts: the verdict is bound to what is on disk.
fn read_back(ctx: &Context, fault: Option<Fault>, evidence: &mut Evidence) -> Result<()> {
    plant::in_record(fault, &probe::facts_file(ctx))?;
    evidence.written = Some(probe::read_facts(ctx)?);
    Ok(())
}
