//! Many drills, one after the other or a few at once: their directories, their calibration samples, and the sweep
//! that leaves nothing behind even after a panic.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::Part;
use super::floor::Floor;
use super::stock::Stock;
use super::verify::Task;
use crate::check::{Terms, figures};
use crate::context::{Context, RunId, Secrets};
use crate::error::{Doing, Error, Result};
use crate::event::{Event, Observer};
use crate::evidence::Sample;
use crate::outcome::DrillResult;
use crate::plan::{Drill, DrillKind};
use crate::provision::{Provisioner, reap};
use crate::suite::Suite;

/// How a run is carried out.
pub struct Run<'a> {
    /// Its name.
    pub id: RunId,
    /// The suites of the drills.
    pub suites: &'a [Suite],
    /// The drills, calibration first.
    pub drills: &'a [Drill],
    /// Where services come from.
    pub provisioner: &'a dyn Provisioner,
    /// The artifact that somebody gives, where one is verified.
    pub task: Option<&'a Task<'a>>,
    /// What must not be seen, as far as it is known before the run.
    pub secrets: Secrets,
    /// The folder of this run's report; logs go to `logs` in it.
    pub folder: PathBuf,
    /// How many drills run at once.
    pub jobs: usize,
    /// Where they meet, and other runs of this process with them.
    pub floor: Floor,
    /// The sources that these drills share, and those of other runs of this process with them.
    pub stock: &'a Stock,
    /// What calibrations have measured, in other runs of this process too.
    pub samples: &'a Samples,
    /// Keep the run's directory.
    pub keep: bool,
    /// Who is told.
    pub observer: &'a dyn Observer,
    /// Cancelled by Ctrl-C or SIGTERM.
    pub cancel: CancellationToken,
}

/// How many drills run at once unless somebody says otherwise: two, where there are two processors. What is timed runs
/// alone all the same.
pub fn usual_jobs() -> u16 {
    match std::thread::available_parallelism() {
        Ok(processors) if processors.get() > 1 => 2,
        _ => 1,
    }
}

/// Runs the drills, up to the one that an interruption ends. `sink` gets each result as soon as the drill has ended and been judged, in whatever order they end.
pub async fn run(run: &Run<'_>, sink: &mut (dyn FnMut(DrillResult) + Send)) -> Result<()> {
    let home = reap::RunHome::create(&run.id)?;
    if run.keep {
        home.keep()?;
    }
    let secrets = run.secrets.clone();
    // What measures nothing that is projected goes beside the calibration.
    let (first, mut others): (Vec<&Drill>, Vec<&Drill>) = run.drills.iter().partition(|drill| {
        matches!(
            drill.kind,
            DrillKind::Calibration { .. } | DrillKind::Retention { .. }
        )
    });
    if run.jobs > 1 {
        // The widest first: a long one that is begun last would end alone.
        others.sort_by_key(|drill| Reverse(drill.components.len()));
    }
    for drills in [first, others] {
        let (path, secrets) = (home.path(), &secrets);
        let mut results = futures::stream::iter(drills)
            .map(|drill| async move {
                if run.cancel.is_cancelled() {
                    return Ok(None);
                }
                one(run, path, secrets, drill).await.map(Some)
            })
            .buffer_unordered(run.jobs.max(1));
        while let Some(result) = results.next().await {
            if let Some(result) = result? {
                sink(result);
            }
        }
    }
    match run.keep {
        true => Ok(()),
        false => home.remove(run.provisioner.mode()).await,
    }
}

fn suite_of<'r>(run: &Run<'r>, drill: &Drill) -> Result<&'r Suite> {
    let mut suites = run.suites.iter();
    suites
        .find(|suite| suite.name == drill.suite)
        .ok_or_else(|| Error::defect(format!("the drill {} has no suite", drill.id)))
}

/// What the calibrations of each suite have measured, for the others to project from.
#[derive(Default)]
pub struct Samples(Mutex<BTreeMap<String, Vec<Sample>>>);

impl Samples {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Sample>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, suite: &Suite) -> Vec<Sample> {
        self.lock().get(&suite.name).cloned().unwrap_or_default()
    }

    fn learn(&self, suite: &Suite, result: &DrillResult) {
        let drill = &result.drill;
        if matches!(drill.kind, DrillKind::Calibration { .. }) {
            let terms = Terms { suite, drill };
            let measured = figures::samples_of(&result.evidence, &terms);
            let mut known = self.lock();
            known
                .entry(suite.name.clone())
                .or_default()
                .extend(measured);
        }
    }
}

async fn one(run: &Run<'_>, home: &Path, secrets: &Secrets, drill: &Drill) -> Result<DrillResult> {
    let suite = suite_of(run, drill)?;
    let slug = drill.id.replace('/', "-");
    let within = |logs: &Path| {
        let (dir, logs) = (home.join(&slug), logs.join("logs").join(&slug));
        Context::new(run.id.clone(), dir, logs, run.cancel.child_token())
    };
    // A disk that is too full for logs ends no drill.
    let ctx = within(&run.folder).or_else(|_| within(home));
    let mut ctx = ctx.doing_with(|| format!("prepare the drill {}", drill.id))?;
    ctx.secrets = secrets.clone();
    run.observer.observe(&Event::DrillStarted {
        drill: drill.id.clone(),
        title: drill.title.clone(),
    });
    let result = super::run(
        &ctx,
        Part {
            suite,
            drill,
            samples: run.samples.of(suite),
            provisioner: run.provisioner,
            task: run.task,
            floor: &run.floor,
            stock: run.stock,
            keep: run.keep,
            observer: run.observer,
        },
    )
    .await;
    run.samples.learn(suite, &result);
    run.observer.observe(&Event::DrillEnded {
        drill: drill.id.clone(),
        verdict: result.verdict,
        seconds: result.seconds,
        outcomes: result
            .outcomes
            .iter()
            .map(|(outcome, _)| outcome.clone())
            .collect(),
    });
    Ok(result)
}
