//! The steps of a recovery as a numbered list in markdown, each with its command: what the report and the runbook share.

use crate::context::Phase;
use crate::record::DrillRecord;
use crate::record::format::Step;

use super::text::{self, code, markdown};

/// The steps that recovered something, in the order in which they ran.
pub(super) fn of(drill: &DrillRecord) -> Vec<&Step> {
    let names = Phase::RECOVERY.map(Phase::name);
    let recovers = |step: &&Step| names.contains(&step.phase.as_str());
    drill.steps.iter().filter(recovers).collect()
}

/// Whether redrill did it itself: what stands as its command is words, and for no shell.
pub(super) fn is_own_work(step: &Step) -> bool {
    step.log.is_empty() && step.exit.is_none()
}

/// One of them; `note` follows its time, and `command` is what is shown as such.
pub(super) fn one(number: usize, step: &Step, note: &str, command: &str) -> String {
    let whom = match step.component.is_empty() {
        true => String::new(),
        false => format!(" {}", code(&step.component)),
    };
    let language = if is_own_work(step) { "text" } else { "sh" };
    format!(
        "{number}. **{}**{whom} ({}{note})\n\n{}\n",
        markdown(&step.phase),
        text::duration(step.seconds),
        text::fenced(command, language, "    "),
    )
}
