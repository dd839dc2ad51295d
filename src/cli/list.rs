//! `redrill list`: suites, drills and tests, without starting anything.

use clap::Args;

use crate::error::Result;
use crate::exit::Exit;
use crate::plan;
use crate::suite;

/// Flags of `redrill list`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Suites: names under suites/, or paths to files; all when none is given
    #[arg(value_name = "SUITE")]
    suites: Vec<String>,
}

/// The verb.
pub(super) fn run(flags: &Flags) -> Result<Exit> {
    let paths = match flags.suites.as_slice() {
        [] => suite::all(),
        names => names
            .iter()
            .map(|name| suite::find(name))
            .collect::<Result<_>>()?,
    };
    let mut text = String::new();
    for path in &paths {
        let suite = suite::load(path)?;
        text += &format!("{} — {} ({})\n", suite.name, suite.title, path.display());
        let plan = plan::expand(&suite, &plan::Options::default())?;
        for drill in &plan.drills {
            text += &format!("  {:<44} {}\n", drill.id, drill.title);
            for test in &drill.tests {
                text += &format!("    {:<60} {}\n", test.name, test.check);
            }
        }
        for scenario in suite
            .scenarios
            .iter()
            .filter(|scenario| scenario.pending.is_some())
        {
            let why = scenario.pending.as_deref().unwrap_or_default();
            text += &format!(
                "  {:<44} not covered: {why}\n",
                format!("{}/{}", suite.name, scenario.name)
            );
        }
    }
    if paths.is_empty() {
        text = "no suite under suites/; write one with `redrill init`\n".to_owned();
    }
    super::say(&text)?;
    Ok(if paths.is_empty() {
        Exit::NothingRan
    } else {
        Exit::Passed
    })
}
