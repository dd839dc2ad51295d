//! `redrill gate`: records → decision → exit code. With `--run`, what is missing is drilled first.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::drill::{Format, load};
use super::run::{self, How, Order};
use crate::clock::{Clock, SystemClock};
use crate::context::{Context, RunId, Secrets};
use crate::error::{Doing, Error, Result};
use crate::exit::Exit;
use crate::gate::{self, Decision, Requirement};
use crate::history::History;
use crate::origin::Origin;
use crate::plan::{self, Drill};
use crate::report::{decision, terminal};
use crate::suite::policy::{CommitRule, Policy};
use crate::suite::{Site, Suite};

/// Flags of `redrill gate`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Suites: names under suites/, or paths to files; those of redrill.toml, or all but the detection suite, when none is given
    #[arg(value_name = "SUITE")]
    suites: Vec<String>,
    /// Drill what is missing first, then decide; the release too, where a suite names its migrations: they are run on the
    /// restored copy, and the smoke checks after them
    #[arg(long)]
    run: bool,
    /// The commit that is to be released; what is checked out when not given
    #[arg(long, value_name = "SHA")]
    commit: Option<String>,
    #[command(flatten)]
    how: How,
    /// The reports folder with the records
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
    /// What to print on standard output: a table and reasons for people, or the decision and nothing else
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

/// The verb.
pub(super) async fn run(flags: Flags, cancel: CancellationToken) -> Result<Exit> {
    let site = Site::load()?;
    let names = match flags.suites.as_slice() {
        [] => &site.gated,
        names => names,
    };
    let suites = load(names)?;
    let detections = detections(&suites, &site)?;
    let origin = origin(&flags, &cancel).await?;
    let required = required(&suites, &detections, &site, &flags)?;
    let decide = || -> Result<Decision> {
        let history = History::read(&flags.out)?;
        Ok(gate::decide(
            &required,
            &history,
            &origin,
            SystemClock.now(),
        ))
    };
    let mut decision = decide()?;
    if flags.run && !decision.open {
        drill(&flags, &decision, cancel).await?;
        decision = decide()?;
    }
    let mut out = std::io::stdout().lock();
    match flags.format {
        Format::Json => decision::print_json(&decision, &mut out)?,
        Format::Human => decision::print(&decision, terminal::Screen::stdout(), &mut out)?,
    }
    Ok(decision.exit())
}

/// Where the release comes from: what is checked out, or the commit that is named.
async fn origin(flags: &Flags, cancel: &CancellationToken) -> Result<Origin> {
    let scratch = tempfile::tempdir().doing("make a scratch directory")?;
    let dir = scratch.path().to_owned();
    let run = RunId::fresh(SystemClock.now());
    let ctx = Context::new(run, dir.clone(), dir, cancel.clone())?;
    let here = Origin::here(&ctx).await;
    match &flags.commit {
        None => Ok(here),
        Some(commit) => here.of_commit(commit),
    }
}

/// The suites whose detection drills policies ask for, and how old those may be.
fn detections(suites: &[Suite], site: &Site) -> Result<Vec<(Suite, Duration)>> {
    let rules: BTreeSet<(String, Duration)> = suites
        .iter()
        .filter_map(|suite| suite.gate.clone().or(&site.gate).detection)
        .map(|rule| (rule.suite, rule.max_age))
        .collect();
    let mut all = Vec::new();
    for (name, max_age) in rules {
        let suites = load(&[name])?;
        all.extend(suites.into_iter().map(|suite| (suite, max_age)));
    }
    Ok(all)
}

fn required<'s>(
    suites: &'s [Suite],
    detections: &'s [(Suite, Duration)],
    site: &Site,
    flags: &Flags,
) -> Result<Vec<Requirement<'s>>> {
    let options = plan::Options {
        seed: flags.how.seed,
        scale: flags.how.scale,
        release: true,
    };
    let asked = |suite: &'s Suite, policy: Policy| {
        let plan = plan::expand(suite, &options)?;
        Requirement::of(suite, &plan, policy.terms())
    };
    let mut all = Vec::new();
    for suite in suites {
        let mut policy = suite.gate.clone().or(&site.gate);
        if flags.commit.is_some() {
            let rule = policy.commit.filter(|it| *it != CommitRule::Any);
            policy.commit = rule.or(Some(CommitRule::Same));
        }
        all.push(asked(suite, policy)?);
    }
    // Whether damage is noticed does not depend on what is released.
    for (suite, max_age) in detections {
        let policy = Policy {
            max_age: Some(*max_age),
            commit: Some(CommitRule::Any),
            same_suite: Some(false),
            signed_by: site.gate.signed_by.clone(),
            ..Policy::default()
        };
        all.push(asked(suite, policy)?);
    }
    Ok(all)
}

/// Drills what keeps the gate shut; what comes of it is for the gate to judge.
async fn drill(flags: &Flags, decision: &Decision, cancel: CancellationToken) -> Result<()> {
    let missing = decision.missing();
    let names: Vec<String> = decision
        .suites
        .iter()
        .filter(|suite| !suite.open)
        .map(|suite| suite.path.clone())
        .collect();
    let suites = load(&names)?;
    let options = plan::Options {
        seed: flags.how.seed,
        scale: flags.how.scale,
        release: true,
    };
    let mut drills: Vec<Drill> = Vec::new();
    for suite in &suites {
        let plan = plan::expand(suite, &options)?;
        drills.extend(plan::keep(&plan, |drill| missing.contains(drill.id.as_str())).drills);
    }
    if drills.is_empty() {
        return Ok(());
    }
    let order = Order {
        suites: &suites,
        drills: &drills,
        setting: &flags.how.setting,
        jobs: flags.how.jobs,
        task: None,
        secrets: Secrets::default(),
        out: &flags.out,
        command: format!(
            "redrill gate --run {} {}",
            names.join(" "),
            flags.how.again()
        ),
        quiet: false,
    };
    let done = run::carry_out(order, cancel).await?;
    done.announce();
    match done.exit {
        Exit::Interrupted => Err(Error::interrupted()),
        _ => Ok(()),
    }
}
