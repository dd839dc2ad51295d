//! For tests of the checks: a suite's text unfolded, and what one check says of a drill of it.

use std::path::Path;

use super::{Check, Terms, judge};
use crate::evidence::Evidence;
use crate::outcome::Outcome;
use crate::plan::{Options, Plan, expand};
use crate::suite::{Suite, parse};

/// The text of a suite of one Postgres with one backup by this method, whose server is lost.
pub fn lost(method: &str) -> String {
    format!(
        "[component.db]\nkind = \"postgres\"\n[backup.b]\nschedule = \"@daily\"\nmethod = \"{method}\"\n\
         [scenario.s]\nstrike = {{ fault = \"server-lost\" }}\n"
    )
}

/// A suite, and its drills.
pub fn unfolded(text: &str) -> (Suite, Plan) {
    let suite = parse(text, Path::new("s.toml")).expect("is a suite");
    let plan = expand(&suite, &Options::default()).expect("unfolds");
    (suite, plan)
}

/// What a check says of the first drill of a suite, which must owe it, and of this evidence.
pub fn judged(text: &str, check: Check, evidence: &Evidence) -> Outcome {
    let (suite, plan) = unfolded(text);
    let terms = Terms {
        suite: &suite,
        drill: &plan.drills[0],
    };
    assert!(terms.checks().contains(&check), "{check} is not owed");
    judge(check, evidence, &terms, None)
}
