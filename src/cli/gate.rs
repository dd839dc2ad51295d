//! `redrill gate`: records → decision → exit code. With `--run`, what is missing is drilled first.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::drill::{Format, is_among, load};
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
    let decide = || {
        let now = SystemClock.now();
        match History::read(&flags.out) {
            Ok(history) => gate::decide(&required, &history, &origin, now),
            Err(error) => gate::unreadable(&required, &error, &origin, now),
        }
    };
    let mut decision = decide();
    if flags.run && !decision.open {
        drill(&flags, &decision, cancel).await?;
        decision = decide();
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
    let here = Origin::here(&ctx, &flags.out).await;
    match &flags.commit {
        None => Ok(here),
        Some(commit) => here.of_commit(commit),
    }
}

/// The suites whose detection drills policies ask for, and what is asked of them. Whether damage is noticed does not depend on
/// what is released, nor on how much data there is; who signed that it was does.
fn detections(suites: &[Suite], site: &Site) -> Result<Vec<(Suite, Policy)>> {
    let rules: BTreeSet<(String, Duration, Option<PathBuf>)> = suites
        .iter()
        .filter_map(|suite| {
            let policy = suite.gate.clone().or(&site.gate);
            let rule = policy.detection?;
            Some((rule.suite, rule.max_age, policy.signed_by))
        })
        .collect();
    let mut all = Vec::new();
    for (name, max_age, signed_by) in rules {
        let policy = Policy {
            max_age: Some(max_age),
            commit: Some(CommitRule::Any),
            same_suite: Some(false),
            scale: Some(0.0),
            signed_by,
            ..Policy::default()
        };
        for suite in load(std::slice::from_ref(&name))? {
            is_among(&suite, suites)?;
            if suite.detections.is_empty() {
                return Err(Error::usage(format!(
                    "the suite {name} plants no fault: it cannot show that damage is noticed"
                ))
                .hint(
                    "name one with [[detection]] under `detection` of [gate], or add some to it",
                ));
            }
            all.push((suite, policy.clone()));
        }
    }
    Ok(all)
}

fn required<'s>(
    suites: &'s [Suite],
    detections: &'s [(Suite, Policy)],
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
    for (suite, policy) in detections {
        all.push(asked(suite, policy.clone())?);
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
        shard: None,
        task: None,
        cannot: None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_a_suite_asks_for_is_asked_of_its_detection_drills_too() {
        let suite = |gate: &str| {
            let text = format!(
                "[component.db]\nkind = \"postgres\"\n[backup.b]\nschedule = \"@hourly\"\n[scenario.s]\nstrike = {{ fault = \"server-lost\" }}\n\
                 [gate]\ndetection = \"30d\"\n{gate}"
            );
            let path = std::path::Path::new("shop.toml");
            crate::suite::parse(&text, path).expect("a suite")
        };
        let asked = |suites: &[Suite], site: &Site| {
            let all = detections(suites, site).expect("is there");
            all.into_iter()
                .map(|(_, policy)| policy.signed_by)
                .collect::<Vec<_>>()
        };
        let key = Some(PathBuf::from("ops.pub"));
        let own = suite("signed_by = \"ops.pub\"\n");
        assert_eq!(asked(&[own], &Site::default()), std::slice::from_ref(&key));
        let mut site = Site::default();
        assert_eq!(asked(&[suite("")], &site), [None]);
        site.gate.signed_by = key.clone();
        assert_eq!(asked(&[suite("")], &site), [key]);
    }
}
