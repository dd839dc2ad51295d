//! What a run is counted in. One list, from which the summary, the exit code and the tables of the reports all
//! come, so that they cannot disagree.
//!
//! Counted are: the tests, in a suite that names tests, else every check of its drills; every planted fault, and
//! the healthy twin as one; every check that no planted fault makes fail; and whatever did not pass, named by a test or not. So a suite of ten tests counts to
//! `10/10`, and an eleventh line appears only when something no test asked for did not hold. A check that a test of
//! the same drill also makes, and that fares no worse there, is that test and no second line.

use std::collections::BTreeSet;

use super::format::*;
use crate::suite::Check;
use crate::suite::unplanted::unprovoked;

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// A test that the suite names.
    Test,
    /// A check that no test names.
    Check,
    /// A planted fault, or the healthy twin of the planted ones.
    Fault,
    /// A drill as a whole.
    Drill,
}

/// One line that is counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Line<'a> {
    /// What it is about.
    pub kind: LineKind,
    /// The suite.
    pub suite: &'a str,
    /// The drill's id.
    pub drill: &'a str,
    /// The test, check, fault or drill.
    pub name: &'a str,
    /// The check behind it; empty where there is none.
    pub check: &'a str,
    /// Its verdict; `None` when it did not run.
    pub verdict: Option<Verdict>,
    /// Seconds of work that it rests on.
    pub seconds: f64,
}

impl Record {
    /// Everything that is counted: suite by suite, tests in the order of the suite's file, then the rest in the
    /// order of the drills.
    pub fn lines(&self) -> Vec<Line<'_>> {
        let named: BTreeSet<&str> = self
            .drills
            .iter()
            .filter(|drill| drill.checks.iter().any(|check| check.test.is_some()))
            .map(|drill| drill.suite.as_str())
            .chain(
                self.not_run
                    .iter()
                    .filter(|drill| !drill.tests.is_empty())
                    .map(|drill| drill.suite.as_str()),
            )
            .collect();
        let mut lines: Vec<Line<'_>> = Vec::new();
        for drill in &self.drills {
            lines.extend(of_drill(drill, named.contains(drill.suite.as_str())));
        }
        for drill in &self.not_run {
            let line = |kind, name| Line {
                kind,
                suite: &drill.suite,
                drill: &drill.id,
                name,
                check: "",
                verdict: None,
                seconds: 0.0,
            };
            if drill.tests.is_empty() {
                lines.push(line(LineKind::Drill, &drill.id));
            }
            for test in &drill.tests {
                lines.push(line(LineKind::Test, test));
            }
        }
        for suite in &self.suites {
            lines.extend(self.silent(suite).into_iter().map(|check| Line {
                kind: LineKind::Fault,
                suite: &suite.name,
                drill: &suite.name,
                name: check,
                check,
                verdict: Some(Verdict::Failed),
                seconds: 0.0,
            }));
        }
        lines.extend(self.rpo.iter().filter_map(|spread| {
            let verdict = spread.verdict()?;
            let spelled_out = named.contains(spread.suite.as_str()) && verdict == Verdict::Passed;
            (!spelled_out).then(|| Line {
                kind: LineKind::Check,
                suite: &spread.suite,
                drill: &spread.scenario,
                name: "rpo-typical",
                check: "rpo",
                verdict: Some(verdict),
                seconds: 0.0,
            })
        }));
        lines.sort_by_key(|line| self.place(line));
        lines
    }

    /// Whether what is counted over several drills of a suite holds: what is typically lost, and that every check can fail.
    pub fn holds_over_drills(&self, suite: &str) -> bool {
        let mut suites = self.suites.iter().filter(|it| it.name == suite);
        let mut spreads = self.rpo.iter().filter(|it| it.suite == suite);
        suites.all(|it| self.silent(it).is_empty())
            && spreads.all(|it| matches!(it.verdict(), None | Some(Verdict::Passed)))
    }

    /// The checks that no fault of a suite makes fail, as far as this run shows.
    pub fn silent(&self, suite: &SuiteRecord) -> Vec<&'static str> {
        let own = self.drills.iter().filter(|drill| drill.suite == suite.name);
        silent(
            &suite.faults,
            own.filter_map(|drill| drill.detection.as_ref()),
        )
    }

    /// The place of a line: its suite, then a test's place in that suite, all others after the tests.
    fn place(&self, line: &Line<'_>) -> (usize, usize) {
        let suite = self.suites.iter().position(|it| it.name == line.suite);
        let test = suite.and_then(|at| {
            let tests = &self.suites[at].tests;
            (line.kind == LineKind::Test)
                .then(|| tests.iter().position(|test| test == line.name))
                .flatten()
        });
        (
            suite.unwrap_or(usize::MAX),
            test.unwrap_or(match line.kind {
                LineKind::Test => usize::MAX - 1,
                _ => usize::MAX,
            }),
        )
    }

    /// The counts of [`Record::lines`].
    pub(super) fn count(&self) -> Summary {
        let mut summary = Summary::default();
        for line in self.lines() {
            match line.verdict {
                Some(Verdict::Passed) => summary.passed += 1,
                Some(Verdict::Failed) => summary.failed += 1,
                Some(Verdict::Undetermined) => summary.undetermined += 1,
                None => summary.ignored += 1,
            }
        }
        summary
    }
}

/// The checks that no fault of a suite makes fail, once all of them were planted: what never fails proves nothing.
pub fn silent<'d>(
    faults: &[String],
    planted: impl IntoIterator<Item = &'d Detection>,
) -> Vec<&'static str> {
    let planted: Vec<&Detection> = planted.into_iter().collect();
    let was_planted = |fault: &String| planted.iter().any(|it| it.fault == *fault);
    if faults.is_empty() || !faults.iter().all(was_planted) {
        return Vec::new();
    }
    let outcomes = || planted.iter().flat_map(|it| &it.outcomes);
    let looked: BTreeSet<&str> = outcomes().map(|it| it.id.as_str()).collect();
    let failed: BTreeSet<&str> = outcomes()
        .filter(|it| it.verdict == Verdict::Failed)
        .map(|it| it.id.as_str())
        .collect();
    let silent = Check::ALL
        .iter()
        .filter(|check| unprovoked(**check).is_none());
    silent
        .map(|check| check.id())
        .filter(|id| looked.contains(id) && !failed.contains(id))
        .collect()
}

fn of_drill(drill: &DrillRecord, has_tests: bool) -> Vec<Line<'_>> {
    let line = |kind, name, check, verdict, seconds| Line {
        kind,
        suite: drill.suite.as_str(),
        drill: drill.id.as_str(),
        name,
        check,
        verdict: Some(verdict),
        seconds,
    };
    if let Some(detection) = &drill.detection {
        return vec![line(
            LineKind::Fault,
            detection.fault.as_str(),
            detection.must_be_caught_by.as_str(),
            drill.verdict,
            drill.seconds,
        )];
    }
    if drill.kind == DrillKind::HealthyTwin {
        return vec![line(
            LineKind::Fault,
            "healthy twin",
            "",
            drill.verdict,
            drill.seconds,
        )];
    }
    let mut lines: Vec<Line<'_>> = drill
        .checks
        .iter()
        .filter_map(|check| {
            let (kind, name) = match &check.test {
                Some(test) => (LineKind::Test, test.as_str()),
                None if has_tests && check.verdict == Verdict::Passed => return None,
                None if in_a_test(drill, check) => return None,
                None if follows(drill, check) => return None,
                None => (LineKind::Check, check.id.as_str()),
            };
            Some(line(
                kind,
                name,
                check.id.as_str(),
                check.verdict,
                check.seconds,
            ))
        })
        .collect();
    let said = lines.iter().filter_map(|line| line.verdict).max();
    if drill.verdict != Verdict::Passed && said.is_none_or(|said| said < drill.verdict) {
        lines.push(line(
            LineKind::Drill,
            drill.id.as_str(),
            "",
            drill.verdict,
            drill.seconds,
        ));
    }
    lines
}

/// Whether a check had nothing to look at because the drill itself failed: that is counted once, as the drill.
fn follows(drill: &DrillRecord, check: &CheckRecord) -> bool {
    !drill.failures.is_empty() && check.observed == 0 && check.verdict == Verdict::Undetermined
}

/// Whether a test of the drill says at least as much as this check does.
fn in_a_test(drill: &DrillRecord, check: &CheckRecord) -> bool {
    drill
        .checks
        .iter()
        .any(|it| it.test.is_some() && it.id == check.id && it.verdict >= check.verdict)
}
