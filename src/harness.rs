//! Drills as tests: plan → trials for libtest-mimic. A drill runs once and is shared by its trials; a trial that
//! cannot run for want of services is ignored with the reason, never passed, and fails where services are required
//! (`REDRILL_REQUIRE_SERVICES=1`). Ctrl-C and SIGTERM end the drills, teardown included; what they left unjudged fails.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Completion, Conclusion, Failed, Trial};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::cli::cancelled_by_signals;
use crate::clock::{Clock, SystemClock};
use crate::context::{Context, RunId, Secrets};
use crate::drill::floor::Floor;
use crate::drill::runner::{self, Run, Samples};
use crate::drill::stock::Stock;
use crate::error::{Doing, Result};
use crate::event::Collected;
use crate::origin::Origin;
use crate::outcome::{DrillResult, Outcome, Severity, Verdict};
use crate::plan::{self, Drill, DrillKind};
use crate::provision::choose::{self, Mode};
use crate::record::format::RpoSpread;
use crate::record::{self, Record};
use crate::suite::{self, Check, Suite};

/// The scale of most drills run as tests, unless `REDRILL_SCALE` says otherwise: small, as every check runs every time.
const SCALE: f64 = 0.1;
/// Why a trial failed that was never begun, or not ended.
const INTERRUPTED: &str = "interrupted";

/// Runs every check of every suite as a test.
pub fn run(arguments: &Arguments) -> Result<Conclusion> {
    let suites = suite::all()
        .iter()
        .map(|path| suite::load(path))
        .collect::<Result<Vec<_>>>()?;
    let drills = suites.iter().map(unfold).collect::<Result<Vec<_>>>()?;
    let stage = Arc::new(Stage::new(suites, drills.concat())?);
    // One trial of every drill comes first, and the others, which share its result, after them all: so the threads run
    // different drills, and do not wait for the same one. Calibrations, which other drills wait for, come before these.
    let (mut first, mut others) = (Vec::new(), Vec::new());
    let mut drills: Vec<(usize, &Drill)> = stage.drills.iter().enumerate().collect();
    drills.sort_by_key(|(_, drill)| !calibrates(drill));
    for (index, drill) in drills {
        let mut trials = trials(&stage, index, drill).into_iter();
        first.extend(trials.next());
        others.extend(trials);
    }
    let mut trials: Vec<Trial> = first.into_iter().chain(others).collect();
    if std::env::var_os("NEXTEST").is_none() {
        trials.extend(over_all(&stage));
    }
    let conclusion = libtest_mimic::run(arguments, trials);
    // The trials are gone, and with them everybody else who had it.
    if let Some(stage) = Arc::into_inner(stage) {
        stage.runtime.block_on(stage.stock.clear())?;
    }
    Ok(conclusion)
}

/// The drills of a suite at the scale of tests. Where a named test holds the RTO to its objective at a production size, its
/// drill has the suite's own size, and the calibration a tenth of it: less is not carried so far.
fn unfold(suite: &Suite) -> Result<Vec<Drill>> {
    let at = |scale| {
        let options = plan::Options {
            scale,
            ..plan::Options::default()
        };
        plan::expand(suite, &options).map(|plan| plan.drills)
    };
    // Detection suites are small by themselves, and some faults need a file of several chunks.
    if !suite.detections.is_empty() {
        return at(1.0);
    }
    let asked = std::env::var("REDRILL_SCALE").ok();
    if let Some(scale) = asked.and_then(|text| text.parse().ok()) {
        return at(scale);
    }
    let mut drills = at(SCALE)?;
    let whole = at(1.0)?;
    let projected = whole.iter().filter(|drill| is_projected(suite, drill));
    let projected: Vec<&Drill> = projected.collect();
    for (drill, whole) in drills.iter_mut().zip(&whole) {
        let wanted = |it: &&Drill| it.id == whole.id || plan::rests_on(it, whole);
        if projected.iter().any(wanted) {
            drill.clone_from(whole);
        }
    }
    Ok(drills)
}

/// Whether a named test of the drill is about the RTO, and the RTO about a production size.
fn is_projected(suite: &Suite, drill: &Drill) -> bool {
    let mut sized = suite.components.iter();
    drill.tests.iter().any(|test| test.check == Check::Rto)
        && sized.any(|it| it.production_size.is_some() && drill.components.contains(&it.name))
}

/// What only all drills of a suite or of a scenario show together: that every check fails because of some fault, and that
/// what is typically lost is within its objective.
fn over_all(stage: &Arc<Stage>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for suite in &stage.suites {
        let drills = |wanted: &dyn Fn(&DrillKind) -> bool| -> Vec<usize> {
            let own = stage.drills.iter().enumerate();
            let own = own.filter(|(_, drill)| drill.suite == suite.name && wanted(&drill.kind));
            own.map(|(index, _)| index).collect()
        };
        let planted = drills(&|kind| matches!(kind, DrillKind::Detection { fault: Some(_), .. }));
        // What was not asked for could not fail.
        if suite.every_check && !planted.is_empty() {
            let name = format!("{}::every_check_is_made_to_fail_by_some_fault", suite.name);
            trials.push(together(stage, name, suite, planted, |record| {
                let mut silent = record.suites.iter().flat_map(|it| record.silent(it));
                silent
                    .next()
                    .map(|check| format!("no planted fault makes `{check}` fail"))
            }));
        }
        let typical: Vec<&str> = suite
            .scenarios
            .iter()
            .filter(|scenario| !scenario.rpo_typical.is_empty())
            .map(|scenario| scenario.name.as_str())
            .collect();
        let struck = drills(&|kind| match kind {
            DrillKind::Scenario { scenario, .. } => typical.contains(&scenario.as_str()),
            _ => false,
        });
        if !struck.is_empty() {
            let name = format!(
                "{}::what_is_typically_lost_is_within_its_objective",
                suite.name
            );
            trials.push(together(stage, name, suite, struck, |record| {
                let wrong = |it: &&RpoSpread| {
                    let verdict = it.verdict();
                    verdict.is_some_and(|verdict| verdict != record::Verdict::Passed)
                };
                record.rpo.iter().find(wrong).map(|it| format!("{it:?}"))
            }));
        }
    }
    trials
}

/// A trial over several drills at once, told by the record of them.
fn together(
    stage: &Arc<Stage>,
    name: String,
    suite: &Suite,
    drills: Vec<usize>,
    wrong: fn(&Record) -> Option<String>,
) -> Trial {
    let (stage, suite) = (stage.clone(), suite.clone());
    Trial::ignorable_test(name, move || {
        for index in &drills {
            if let Some(ignored) = stage.lacks(*index)? {
                return Ok(ignored);
            }
        }
        let run = RunId::fresh(SystemClock.now());
        let mut record = Record::new(&record::Start {
            run: &run,
            at: SystemClock.now(),
            mode: "",
            reason: "",
            command: String::new(),
            suites: std::slice::from_ref(&suite),
            drills: &[],
            origin: &Origin::default(),
        });
        for index in drills {
            let result = stage.result(index).as_ref();
            record.push(result.map_err(|error| Failed::from(error.clone()))?);
        }
        match wrong(&record) {
            Some(words) => Err(Failed::from(words)),
            None => Ok(Completion::Completed),
        }
    })
}

/// A trial that cannot run is ignored, and fails where services are required.
fn without_services(reason: &str) -> std::result::Result<Completion, Failed> {
    if std::env::var_os("REDRILL_REQUIRE_SERVICES").is_some() {
        return Err(Failed::from(reason.to_owned()));
    }
    let first = reason.lines().next().unwrap_or("no services");
    Ok(Completion::ignored_with(first.to_owned()))
}

/// What the trials share.
struct Stage {
    suites: Vec<Suite>,
    drills: Vec<Drill>,
    results: Vec<OnceLock<std::result::Result<DrillResult, String>>>,
    /// How many drills may run at once.
    turns: Arc<Semaphore>,
    /// What is timed runs alone.
    floor: Floor,
    /// What several begin with is seeded once.
    stock: Stock,
    /// What several project from is measured once.
    samples: Samples,
    /// Those that any kind of services does for, and those of which only the local ones do.
    services: [OnceLock<std::result::Result<choose::Chosen, String>>; 2],
    runtime: Runtime,
    folder: tempfile::TempDir,
    cancel: CancellationToken,
}

impl Stage {
    fn new(suites: Vec<Suite>, drills: Vec<Drill>) -> Result<Self> {
        let runtime = Runtime::new().doing("start the runtime")?;
        let cancel = {
            let _within = runtime.enter();
            cancelled_by_signals()?
        };
        Ok(Self {
            results: drills.iter().map(|_| OnceLock::new()).collect(),
            stock: Stock::of(&suites, &drills),
            suites,
            drills,
            turns: Arc::new(Semaphore::new(runner::usual_jobs().into())),
            floor: Floor::default(),
            samples: Samples::default(),
            services: Default::default(),
            runtime,
            folder: tempfile::tempdir().doing("make a folder for logs")?,
            cancel,
        })
    }

    /// The services of a drill, or why there are none; looked for once. No image has pgBackRest: what needs it runs beside
    /// local services, whatever the others do.
    fn services(&self, drill: &Drill) -> &std::result::Result<choose::Chosen, String> {
        let locally = |drill: &Drill| {
            let mut own = self.suites.iter().filter(|suite| suite.name == drill.suite);
            own.any(choose::uses_pgbackrest)
        };
        let local = locally(drill);
        self.services[usize::from(local)].get_or_init(|| {
            let mode = match std::env::var("REDRILL_SERVICES").as_deref() {
                _ if local => Mode::Local,
                Ok("containers") => Mode::Containers,
                Ok("local") => Mode::Local,
                _ => Mode::Auto,
            };
            if local {
                choose::pgbackrest("local").map_err(|error| error.to_string())?;
            }
            let alike = self.drills.iter().filter(|other| locally(other) == local);
            let needs = choose::needs(&self.suites, alike);
            let ctx = self
                .context("services")
                .map_err(|error| error.to_string())?;
            self.runtime
                .block_on(choose::choose(&ctx, mode, &needs))
                .map_err(|error| error.to_string())
        })
    }

    /// How a trial ends where something is lacking that its drill needs. What was interrupted has failed: nobody knows
    /// what it lacks.
    fn lacks(&self, index: usize) -> std::result::Result<Option<Completion>, Failed> {
        let chosen = self.services(&self.drills[index]).as_ref();
        match chosen {
            _ if self.cancel.is_cancelled() => Err(Failed::from(INTERRUPTED)),
            Ok(_) => Ok(None),
            Err(reason) => without_services(reason).map(Some),
        }
    }

    fn context(&self, name: &str) -> Result<Context> {
        let dir = self.folder.path().join(name);
        Context::new(
            RunId::fresh(SystemClock.now()),
            dir.clone(),
            dir.join("logs"),
            self.cancel.clone(),
        )
    }

    /// The result of a drill, run when it is first asked for: after the calibrations that it projects from.
    fn result(&self, index: usize) -> &std::result::Result<DrillResult, String> {
        self.results[index].get_or_init(|| {
            let drill = &self.drills[index];
            for (support, calibration) in self.drills.iter().enumerate() {
                if calibrates(calibration) && plan::rests_on(drill, calibration) {
                    self.result(support);
                }
            }
            let _turn = self.runtime.block_on(self.turns.acquire());
            if self.cancel.is_cancelled() {
                return Err(INTERRUPTED.to_owned());
            }
            let Ok(chosen) = self.services(&self.drills[index]) else {
                return Err("no services".to_owned());
            };
            let observer = Collected::default();
            let folder: PathBuf = self.folder.path().join(index.to_string());
            std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
            let run = Run {
                id: RunId::fresh(SystemClock.now()),
                suites: &self.suites,
                drills: std::slice::from_ref(&self.drills[index]),
                provisioner: chosen.provisioner.as_ref(),
                task: None,
                secrets: Secrets::default(),
                folder,
                jobs: 1,
                floor: self.floor.clone(),
                stock: &self.stock,
                samples: &self.samples,
                keep: false,
                observer: &observer,
                cancel: self.cancel.clone(),
            };
            let mut result = None;
            let ended = self.runtime.block_on(runner::run(&run, &mut |drilled| {
                result = Some(drilled);
            }));
            ended.map_err(|error| error.to_string())?;
            result.ok_or_else(|| "the drill gave no result".to_owned())
        })
    }
}

fn calibrates(drill: &Drill) -> bool {
    matches!(drill.kind, DrillKind::Calibration { .. })
}

fn trials(stage: &Arc<Stage>, index: usize, drill: &Drill) -> Vec<Trial> {
    let suite = stage.suites.iter().find(|suite| suite.name == drill.suite);
    let Some(suite) = suite else {
        return Vec::new();
    };
    let trial = |name: String,
                 verdict: fn(&DrillResult, &str) -> std::result::Result<(), Failed>,
                 what: String| {
        let stage = stage.clone();
        Trial::ignorable_test(name, move || {
            if let Some(ignored) = stage.lacks(index)? {
                return Ok(ignored);
            }
            let result = stage
                .result(index)
                .as_ref()
                .map_err(|error| Failed::from(error.clone()))?;
            verdict(result, &what).map(|()| Completion::Completed)
        })
    };
    match &drill.kind {
        DrillKind::Detection { fault: Some(_), .. } => {
            vec![trial(drill.id.clone(), caught, String::new())]
        }
        _ => {
            // Under nextest every trial is a process of its own, and would run its drill anew.
            if std::env::var_os("NEXTEST").is_some() {
                return vec![trial(drill.id.clone(), whole, String::new())];
            }
            let terms = crate::check::Terms { suite, drill };
            let checks = terms.checks().into_iter().map(|check| {
                trial(
                    format!("{}::{check}", drill.id),
                    holds,
                    check.id().to_owned(),
                )
            });
            let named = drill.tests.iter().map(|test| {
                trial(
                    format!("{}::{}", drill.suite, test.name),
                    test_holds,
                    test.name.clone(),
                )
            });
            named.chain(checks).collect()
        }
    }
}

fn whole(result: &DrillResult, _: &str) -> std::result::Result<(), Failed> {
    result
        .outcomes
        .iter()
        .try_for_each(|(outcome, _)| stands(outcome, result))
}

fn holds(result: &DrillResult, check: &str) -> std::result::Result<(), Failed> {
    find(result, |outcome, test| {
        test.is_none() && outcome.check.id() == check
    })
}

fn test_holds(result: &DrillResult, name: &str) -> std::result::Result<(), Failed> {
    find(result, |_, test| test.as_deref() == Some(name))
}

fn find(
    result: &DrillResult,
    wanted: impl Fn(&Outcome, &Option<String>) -> bool,
) -> std::result::Result<(), Failed> {
    match result
        .outcomes
        .iter()
        .find(|(outcome, test)| wanted(outcome, test))
    {
        Some((outcome, _)) => stands(outcome, result),
        None => Err(Failed::from("the drill gave no outcome for it")),
    }
}

fn stands(outcome: &Outcome, result: &DrillResult) -> std::result::Result<(), Failed> {
    if outcome.verdict == Verdict::Passed {
        return Ok(());
    }
    let findings = outcome
        .findings
        .iter()
        .filter(|finding| finding.severity > Severity::Warning)
        .map(|finding| {
            format!(
                "{}: {}\n  remedy: {}",
                finding.kind, finding.message, finding.remedy
            )
        });
    let failures = result
        .evidence
        .failures
        .iter()
        .map(|failure| format!("{}: {}", failure.phase.name(), failure.message));
    let text: Vec<String> =
        std::iter::once(format!("{}: {}", outcome.check, outcome.verdict.name()))
            .chain(findings)
            .chain(failures)
            .collect();
    Err(Failed::from(text.join("\n")))
}

fn caught(result: &DrillResult, _: &str) -> std::result::Result<(), Failed> {
    if result.verdict == Verdict::Passed {
        return Ok(());
    }
    let verdicts: Vec<String> = result
        .outcomes
        .iter()
        .map(|(outcome, _)| format!("{} {}", outcome.check, outcome.verdict.name()))
        .collect();
    let failures = result.evidence.failures.iter();
    let failures = failures.map(|failure| failure.message.clone());
    let found = result.outcomes.iter().flat_map(|(it, _)| &it.findings);
    let found = found.filter(|finding| finding.severity == Severity::Error);
    let found = found.map(|finding| format!("{}: {}", finding.kind, finding.message));
    let told: Vec<String> = failures.chain(found).collect();
    Err(Failed::from(format!(
        "MISSED by {:?}: {}\n{}",
        result.drill.kind,
        verdicts.join(", "),
        told.join("\n")
    )))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_drill_whose_test_holds_the_rto_at_a_production_size_has_the_suites_own_size() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/deltacrown.toml");
        let suite = suite::load(&path).expect("a suite");
        let drills = unfold(&suite).expect("unfolds");
        let of = |wanted: fn(&Drill) -> bool| -> Vec<&str> {
            let drills = drills.iter().filter(|drill| wanted(drill));
            drills.map(|drill| drill.id.as_str()).collect()
        };
        let whole = of(|drill| drill.scale >= 1.0);
        assert_eq!(whole, ["deltacrown/database-corruption"]);
        let small = of(|drill| drill.scale < SCALE);
        assert_eq!(
            small,
            Vec::<&str>::new(),
            "a tenth of the whole, and not of a tenth"
        );
    }
}
