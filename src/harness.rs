//! Drills as tests: plan → trials for libtest-mimic. A drill runs once and is shared by its trials; a trial that
//! cannot run for want of services is ignored with the reason, never passed, and fails where services are required
//! (`REDRILL_REQUIRE_SERVICES=1`).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libtest_mimic::{Arguments, Completion, Conclusion, Failed, Trial};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock};
use crate::context::{Context, RunId};
use crate::drill::runner::{self, Run};
use crate::error::{Doing, Result};
use crate::event::Collected;
use crate::outcome::{DrillResult, Outcome, Severity, Verdict};
use crate::plan::{self, Drill, DrillKind};
use crate::provision::choose::{self, Mode};
use crate::suite::{self, Suite};

/// The scale of drills run as tests, unless `REDRILL_SCALE` says otherwise: small, as every check runs every time.
const SCALE: f64 = 0.1;

/// Runs every check of every suite as a test.
pub fn run(arguments: &Arguments) -> Result<Conclusion> {
    let suites = suite::all()
        .iter()
        .map(|path| suite::load(path))
        .collect::<Result<Vec<_>>>()?;
    let scale = std::env::var("REDRILL_SCALE")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(SCALE);
    let plans = suites
        .iter()
        .map(|suite| {
            // Detection suites are small by themselves, and some faults need a file of several chunks.
            let scale = if suite.detections.is_empty() {
                scale
            } else {
                1.0
            };
            plan::expand(suite, &plan::Options { seed: 1, scale })
        })
        .collect::<Result<Vec<_>>>()?;
    let stage = Arc::new(Stage::new(
        suites,
        plans.into_iter().flat_map(|plan| plan.drills).collect(),
    )?);
    let trials = stage
        .drills
        .iter()
        .enumerate()
        .flat_map(|(index, drill)| trials(&stage, index, drill))
        .collect();
    let conclusion = libtest_mimic::run(arguments, trials);
    Ok(conclusion)
}

/// What the trials share.
struct Stage {
    suites: Vec<Suite>,
    drills: Vec<Drill>,
    results: Vec<OnceLock<std::result::Result<DrillResult, String>>>,
    /// One drill at a time: recovery times must not be measured beside another drill.
    turn: Mutex<()>,
    services: OnceLock<std::result::Result<choose::Chosen, String>>,
    runtime: Runtime,
    folder: tempfile::TempDir,
    cancel: CancellationToken,
}

impl Stage {
    fn new(suites: Vec<Suite>, drills: Vec<Drill>) -> Result<Self> {
        Ok(Self {
            results: drills.iter().map(|_| OnceLock::new()).collect(),
            suites,
            drills,
            turn: Mutex::new(()),
            services: OnceLock::new(),
            runtime: Runtime::new().doing("start the runtime")?,
            folder: tempfile::tempdir().doing("make a folder for logs")?,
            cancel: CancellationToken::new(),
        })
    }

    /// The services of all drills, or why there are none; looked for once.
    fn services(&self) -> &std::result::Result<choose::Chosen, String> {
        self.services.get_or_init(|| {
            let mode = match std::env::var("REDRILL_SERVICES").as_deref() {
                Ok("containers") => Mode::Containers,
                Ok("local") => Mode::Local,
                _ => Mode::Auto,
            };
            let needs = choose::needs(&self.suites, &self.drills);
            let ctx = self
                .context("services")
                .map_err(|error| error.to_string())?;
            self.runtime
                .block_on(choose::choose(&ctx, mode, &needs))
                .map_err(|error| error.to_string())
        })
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

    /// The result of a drill, run when it is first asked for.
    fn result(&self, index: usize) -> &std::result::Result<DrillResult, String> {
        self.results[index].get_or_init(|| {
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            let Ok(chosen) = self.services() else {
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
                folder,
                jobs: 1,
                keep: false,
                observer: &observer,
                cancel: self.cancel.clone(),
            };
            let mut result = None;
            let ended = self.runtime.block_on(runner::run(&run, &mut |drilled| {
                result = Some(drilled);
                Ok(())
            }));
            ended.map_err(|error| error.to_string())?;
            result.ok_or_else(|| "the drill gave no result".to_owned())
        })
    }
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
            if let Err(reason) = stage.services() {
                return if std::env::var_os("REDRILL_REQUIRE_SERVICES").is_some() {
                    Err(Failed::from(reason.clone()))
                } else {
                    Ok(Completion::ignored_with(
                        reason.lines().next().unwrap_or("no services").to_owned(),
                    ))
                };
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
    let failures: Vec<&String> = result
        .evidence
        .failures
        .iter()
        .map(|failure| &failure.message)
        .collect();
    Err(Failed::from(format!(
        "MISSED by {:?}: {}\n{failures:?}",
        result.drill.kind,
        verdicts.join(", ")
    )))
}
