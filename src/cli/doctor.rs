//! `redrill doctor`: what each kind of services needs, and what of it is here.

use std::collections::BTreeSet;

use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock};
use crate::context::{Context, RunId};
use crate::error::{Doing, Result};
use crate::exit::Exit;
use crate::plan;
use crate::provision::choose::{self, Need};
use crate::provision::containers;
use crate::suite;

/// Flags of `redrill doctor`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Suites whose needs are looked at; all of suites/ when none is given
    #[arg(value_name = "SUITE")]
    suites: Vec<String>,
}

/// The verb.
pub(super) async fn run(flags: Flags) -> Result<Exit> {
    let paths = match flags.suites.as_slice() {
        [] => suite::all(),
        names => names
            .iter()
            .map(|name| suite::find(name))
            .collect::<Result<_>>()?,
    };
    let suites = paths
        .iter()
        .map(|path| suite::load(path))
        .collect::<Result<Vec<_>>>()?;
    let options = plan::Options::default();
    let plans = suites
        .iter()
        .map(|suite| plan::expand(suite, &options))
        .collect::<Result<Vec<_>>>()?;
    let drills: Vec<_> = plans.into_iter().flat_map(|plan| plan.drills).collect();
    let needs = choose::needs(&suites, &drills);
    let scratch = tempfile::tempdir().doing("make a scratch directory")?;
    let run = RunId::fresh(SystemClock.now());
    let ctx = Context::new(
        run,
        scratch.path().to_owned(),
        scratch.path().join("logs"),
        CancellationToken::new(),
    )?;
    let pgbackrest = suites.iter().any(choose::uses_pgbackrest);
    let local = local(&needs, pgbackrest)?;
    let contained = contained(&ctx, &needs, pgbackrest).await?;
    super::say(match (local, contained) {
        (true, true) => "\nboth kinds of services can be had\n",
        (true, false) => "\nlocal services can be had: use --services local\n",
        (false, true) => "\ncontainers can be had: use --services containers\n",
        (false, false) => {
            "\nneither kind of services can be had yet: follow one list of hints above\n"
        }
    })?;
    Ok(if local || contained {
        Exit::Passed
    } else {
        Exit::Undetermined
    })
}

fn line(what: &str, found: Result<String>) -> Result<bool> {
    let (text, good) = match found {
        Ok(found) => (format!("  ok       {what}: {found}\n"), true),
        Err(error) => {
            let hint = error
                .hint_text()
                .map(|hint| format!("\n           hint: {hint}"))
                .unwrap_or_default();
            (
                format!("  missing  {what}: {}{hint}\n", error.message()),
                false,
            )
        }
    };
    super::say(&text)?;
    Ok(good)
}

fn wanted(need: &Need) -> String {
    format!(
        "{} {}",
        need.0,
        need.1.as_deref().unwrap_or("(any version)")
    )
}

fn local(needs: &BTreeSet<Need>, pgbackrest: bool) -> Result<bool> {
    super::say("local services need\n")?;
    let mut good = true;
    for need in needs {
        let found = choose::local_program(need);
        good &= line(&wanted(need), found)?;
    }
    if pgbackrest {
        // Only the drills of its own suites go without it.
        line("pgbackrest", choose::pgbackrest("local"))?;
    }
    Ok(good)
}

async fn contained(ctx: &Context, needs: &BTreeSet<Need>, pgbackrest: bool) -> Result<bool> {
    super::say("containers need\n")?;
    let engine = containers::engine_answers(ctx)
        .await
        .map(|()| "answers".to_owned());
    let mut good = line("a container engine", engine)?;
    if good {
        for need in needs {
            let image = containers::here(ctx, need.0, need.1.as_deref()).await;
            good &= line(&wanted(need), image.map(|image| image.to_string()))?;
        }
    }
    if pgbackrest {
        line("pgbackrest", choose::pgbackrest("containers"))?;
    }
    Ok(good)
}
