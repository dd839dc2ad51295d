//! What judgement says: findings, verdicts and outcomes. No I/O, no clock.

use crate::suite::Check;

mod result;
mod spread;

pub use result::{DrillResult, RpoFigure, RtoFigure, ThroughputFigure};
pub use spread::Spread;

/// The result of a check, a drill or a run. The order is the order of badness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Everything looked at holds.
    Passed,
    /// It could not be established; nothing observed is never passed.
    Undetermined,
    /// Something does not hold.
    Failed,
}

impl Verdict {
    /// The word in reports and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Undetermined => "undetermined",
            Self::Failed => "failed",
        }
    }

    /// The worst of several; of none, undetermined.
    pub fn worst(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().max().unwrap_or(Self::Undetermined)
    }
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Always printed, never changes a verdict.
    Warning,
    /// Could not be established.
    Unknown,
    /// A defect.
    Error,
}

/// One defect: typed, with both numbers and a remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it weighs.
    pub severity: Severity,
    /// Its type, in kebab-case, stable across versions: `row-count-differs`.
    pub kind: &'static str,
    /// What is wrong, with what was expected and what was found.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// What it is about, where several drills can only say the same of it (a backup's schedule): reports tell it once.
    pub subject: String,
}

impl Finding {
    /// A defect.
    pub fn error(
        kind: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            kind,
            message: message.into(),
            remedy: remedy.into(),
            subject: String::new(),
        }
    }

    /// Something worth saying that changes no verdict.
    pub fn warning(
        kind: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            kind,
            message: message.into(),
            remedy: remedy.into(),
            subject: String::new(),
        }
    }

    /// The same, told once for all drills that say it of `subject`.
    #[must_use]
    pub fn about(mut self, subject: &str) -> Self {
        subject.clone_into(&mut self.subject);
        self
    }

    /// Something that could not be established.
    pub fn unknown(
        kind: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Unknown,
            kind,
            message: message.into(),
            remedy: remedy.into(),
            subject: String::new(),
        }
    }
}

/// What one check said about one drill.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The check.
    pub check: Check,
    /// Its verdict.
    pub verdict: Verdict,
    /// Everything found, worst first.
    pub findings: Vec<Finding>,
    /// How many facts were looked at; zero never passes.
    pub observed: u64,
    /// Seconds of the drill's work that this check rests on (not the judging, which takes none to speak of).
    pub seconds: f64,
}

impl Outcome {
    /// The outcome of a check that looked at `observed` facts.
    pub fn of(check: Check, observed: u64, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let verdict = match findings.first().map(|finding| finding.severity) {
            Some(Severity::Error) => Verdict::Failed,
            Some(Severity::Unknown) => Verdict::Undetermined,
            Some(Severity::Warning) | None if observed == 0 => Verdict::Undetermined,
            Some(Severity::Warning) | None => Verdict::Passed,
        };
        if observed == 0 && verdict == Verdict::Undetermined && findings.is_empty() {
            findings.push(Finding::unknown(
                "nothing-observed",
                format!("the check `{check}` found nothing to look at"),
                "see which step of the drill did not run, in its log",
            ));
        }
        Self {
            check,
            verdict,
            findings,
            observed,
            seconds: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_observed_nothing_cannot_pass() {
        assert_eq!(
            Outcome::of(Check::Content, 0, vec![]).verdict,
            Verdict::Undetermined
        );
        let warned = Outcome::of(Check::Content, 0, vec![Finding::warning("w", "m", "r")]);
        assert_eq!(warned.verdict, Verdict::Undetermined);
    }

    #[test]
    fn a_warning_changes_no_verdict_and_the_worst_finding_decides() {
        let warning = Finding::warning("w", "m", "r");
        let unknown = Finding::unknown("u", "m", "r");
        let error = Finding::error("e", "m", "r");
        assert_eq!(
            Outcome::of(Check::Rpo, 1, vec![warning.clone()]).verdict,
            Verdict::Passed
        );
        assert_eq!(
            Outcome::of(Check::Rpo, 1, vec![warning.clone(), unknown.clone()]).verdict,
            Verdict::Undetermined
        );
        assert_eq!(
            Outcome::of(Check::Rpo, 1, vec![warning, unknown, error]).verdict,
            Verdict::Failed
        );
    }

    #[test]
    fn no_outcome_at_all_is_undetermined() {
        assert_eq!(Verdict::worst([]), Verdict::Undetermined);
        assert_eq!(
            Verdict::worst([Verdict::Passed, Verdict::Failed]),
            Verdict::Failed
        );
    }
}
