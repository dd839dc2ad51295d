//! What evidence is held to, one rule at a time. A rule gives a reason for closing, or nothing; none of them opens.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::reasons::{Reasons, again};
use super::{Reason, Requirement};
use crate::error::Result;
use crate::evidence::product;
use crate::history::{Entry, History};
use crate::origin::Origin;
use crate::plan::{self, Drill};
use crate::record::format::{Detection, ServiceVersion};
use crate::record::{DrillKind, DrillRecord, Record, Severity, Verdict, planted_by, silent};
use crate::report::text;
use crate::seal;
use crate::sha256;
use crate::suite::Check;
use crate::suite::policy::{CommitRule, Figure};

/// How far clocks of two machines may be apart.
pub(super) const SKEW: TimeDelta = TimeDelta::minutes(5);

/// What the evidence of one suite is held against.
pub(super) struct Bench<'a> {
    pub requirement: &'a Requirement<'a>,
    pub history: &'a History,
    pub origin: &'a Origin,
    pub now: DateTime<Utc>,
}

impl Bench<'_> {
    /// Every reason against the record of a drill.
    pub fn against(&self, drill: &Drill, entry: &Entry) -> Vec<Reason> {
        let mut reasons = Reasons {
            drill: drill.id.clone(),
            run: entry.run.clone(),
            again: again(self.requirement.suite, drill),
            found: Vec::new(),
        };
        match self.record(entry) {
            Err(error) => reasons.unreadable(&error.message()),
            Ok((_, false)) => reasons.add(
                "changed-record",
                "its record is not the one that was written when it ended".to_owned(),
            ),
            Ok((record, true)) => {
                self.time(&record, &mut reasons);
                self.commit(&record, &mut reasons);
                self.suite(&record, &mut reasons);
                match record.drills.iter().find(|it| it.id == drill.id) {
                    Some(drilled) => {
                        self.release(drill, &record, &mut reasons);
                        self.scale(drilled, &mut reasons);
                        self.verdict(drill, drilled, &mut reasons);
                        self.objectives(drill, drilled, &mut reasons);
                        self.over_many(&record, drilled, &mut reasons);
                    }
                    None => reasons.unreadable("it does not have this drill"),
                }
                self.versions(drill, &record, &mut reasons);
                self.signature(entry, &mut reasons);
            }
        }
        reasons.found
    }

    /// The record behind an entry, and whether it is the very one.
    fn record(&self, entry: &Entry) -> Result<(Record, bool)> {
        let (record, bytes) = Record::read_with_bytes(&self.history.record_path(&entry.run)?)?;
        let same = sha256::hex_of(&bytes) == entry.record_sha256;
        Ok((record, same))
    }

    fn time(&self, record: &Record, reasons: &mut Reasons) {
        let age = self.now - record.started_at;
        if age < -SKEW {
            let remedy = format!(
                "{}; where it is shut all the same, remove the folder of run {} first",
                reasons.again, reasons.run
            );
            reasons.add_with(
                "from-the-future",
                format!(
                    "it is dated {}, which is later than now",
                    record.started_at.format("%Y-%m-%d %H:%M UTC")
                ),
                &remedy,
            );
        }
        let allowed = self.requirement.terms.max_age.as_secs_f64();
        if age.as_seconds_f64() > allowed {
            reasons.add(
                "stale",
                format!(
                    "it is {} old, and {} are allowed",
                    text::age(age.as_seconds_f64()),
                    text::duration(allowed)
                ),
            );
        }
    }

    fn commit(&self, record: &Record, reasons: &mut Reasons) {
        let rule = self.requirement.terms.commit;
        let wanted = match (rule, &self.origin.commit) {
            (Some(CommitRule::Any), _) => return,
            (_, None) => {
                reasons.add_with(
                    "unknown-commit",
                    "the commit of the release is not known".to_owned(),
                    "run the gate in the checkout, name the commit with --commit, or say commit = \"any\" under [gate]",
                );
                return;
            }
            (_, Some(wanted)) => wanted,
        };
        match &record.origin.commit {
            Some(commit) if commit.starts_with(wanted.as_str()) => {}
            Some(commit) => reasons.add(
                "other-commit",
                format!(
                    "it was made from commit {}, and {} is to be released",
                    short(commit),
                    short(wanted)
                ),
            ),
            None => reasons.add(
                "unknown-commit",
                format!(
                    "it does not say from which commit it was made, and {} is to be released",
                    short(wanted)
                ),
            ),
        }
        if rule == Some(CommitRule::Clean) && record.origin.dirty != Some(false) {
            reasons.add(
                "changed-checkout",
                "files differed from the commit when it ran, or git could not say".to_owned(),
            );
        }
    }

    fn suite(&self, record: &Record, reasons: &mut Reasons) {
        let suite = self.requirement.suite;
        let recorded = record.suites.iter().find(|it| it.name == suite.name);
        let same = recorded.is_some_and(|it| it.sha256 == suite.sha256);
        if self.requirement.terms.same_suite && !same {
            reasons.add(
                "other-suite",
                format!("{} was changed since", suite.path.display()),
            );
        }
    }

    /// The migrations that were tried are those that are released.
    fn release(&self, asked: &Drill, record: &Record, reasons: &mut Reasons) {
        if !matches!(asked.kind, plan::DrillKind::Release { .. }) {
            return;
        }
        let suite = self.requirement.suite;
        let recorded = record.suites.iter().find(|it| it.name == suite.name);
        let recorded = recorded.and_then(|it| it.release_sha256.as_ref());
        match suite.release_sha256() {
            Some(Ok(now)) if recorded == Some(&now) => {}
            Some(Err(error)) => reasons.add("other-release", error.message()),
            _ => reasons.add(
                "other-release",
                "the migrations are not those that were tried".to_owned(),
            ),
        }
    }

    fn scale(&self, drilled: &DrillRecord, reasons: &mut Reasons) {
        let least = self.requirement.terms.scale;
        if drilled.scale < least {
            let message = format!(
                "it ran at scale {}, and at least {least} is asked for",
                drilled.scale
            );
            let again = format!(
                "{}; or say scale = {} under [gate]",
                reasons.again, drilled.scale
            );
            reasons.add_with("other-scale", message, &again);
        }
    }

    fn verdict(&self, asked: &Drill, drilled: &DrillRecord, reasons: &mut Reasons) {
        for test in &asked.tests {
            let check = drilled
                .checks
                .iter()
                .find(|check| check.test.as_ref() == Some(&test.name));
            let said = match check.map(|check| check.verdict) {
                Some(Verdict::Passed) => continue,
                Some(Verdict::Failed) => "failed",
                Some(Verdict::Undetermined) => "is undetermined",
                None => "was not judged",
            };
            let finding = check.and_then(|check| check.findings.first());
            let why = finding.map_or(String::new(), |it| {
                format!(": {}", text::at_most(&text::line(&it.message), 300))
            });
            reasons.add("test-not-passed", format!("{} {said}{why}", test.name));
        }
        if matches!(asked.kind, plan::DrillKind::Release { .. }) {
            release(drilled, reasons);
        }
        // Chosen tests are all that is asked of the drill.
        if self.requirement.terms.tests.is_empty() && drilled.verdict != Verdict::Passed {
            let mut failed: Vec<&str> = Vec::new();
            for check in &drilled.checks {
                if check.verdict != Verdict::Passed && !failed.contains(&check.id.as_str()) {
                    failed.push(&check.id);
                }
            }
            let word = match drilled.verdict {
                Verdict::Failed => "failed",
                _ => "is undetermined",
            };
            let checks = match failed.is_empty() {
                true => String::new(),
                false => format!(" ({})", failed.join(", ")),
            };
            reasons.add("not-passed", format!("it {word}{checks}"));
        }
    }

    fn objectives(&self, asked: &Drill, drill: &DrillRecord, reasons: &mut Reasons) {
        let figures = &self.requirement.terms.objectives;
        let plan::DrillKind::Scenario { scenario: name, .. } = &asked.kind else {
            return;
        };
        let mut scenarios = self.requirement.suite.scenarios.iter();
        let Some(scenario) = scenarios.find(|it| it.name == *name) else {
            return;
        };
        let held = match drill.kind {
            DrillKind::Scenario => true,
            DrillKind::WorstMoment => {
                figures.contains(&Figure::Worst) || !scenario.states_a_moment()
            }
            _ => false,
        };
        if !held {
            return;
        }
        let again = reasons.again.clone();
        let mut over = |what: String, value: Option<f64>, objective: Duration, unknown: &str| {
            let objective = objective.as_secs_f64();
            let allowed = text::duration(objective);
            match value {
                Some(value) if value <= objective => {}
                Some(value) => {
                    let value = text::against(value, Some(objective));
                    reasons.add_with(
                        "objective-missed",
                        format!("{what} is {value}, and {allowed} are allowed"),
                        "back up more often or restore faster, or change the objective; then drill again",
                    );
                }
                None => reasons.add_with(
                    "objective-missed",
                    format!("{what} is not known, and {allowed} are allowed"),
                    unknown,
                ),
            }
        };
        if figures.contains(&Figure::Measured) {
            let window = |component: &String| {
                let mut measured = drill.rpo.iter().flat_map(|rpo| &rpo.components);
                let found = measured.find(|it| it.component == *component);
                found.map(|it| it.window_seconds)
            };
            for (component, objective) in &scenario.rpo {
                let what = format!("RPO of {component}");
                over(what, window(component), *objective, &again);
            }
            // What was measured is counted over all drills of the scenario.
            let typical = scenario.rpo_typical.iter();
            for (component, objective) in typical.filter(|(it, _)| window(it).is_none()) {
                let what = format!("typical RPO of {component}");
                over(what, None, *objective, &again);
            }
            if let Some(objective) = scenario.rto {
                let total = drill.rto.as_ref().map(|rto| rto.total_seconds);
                over("RTO".to_owned(), total, objective, &again);
            }
        }
        let Some(objective) = scenario
            .rto
            .filter(|_| figures.contains(&Figure::Projected))
        else {
            return;
        };
        match drill.rto.as_ref().and_then(|rto| rto.projected.as_ref()) {
            Some(it) => {
                let what = format!("RTO projected to {}", text::size(it.bytes));
                over(what, Some(it.seconds), objective, &again);
            }
            None if self.has_a_size(asked) => over(
                "RTO projected to the production size".to_owned(),
                None,
                objective,
                "drill the whole suite at --scale 1: a projection takes two measured sizes; or ask for objectives = [\"measured\"]",
            ),
            None => {}
        }
    }

    /// What a record says over several drills, told with the first of them: what a scenario typically loses.
    fn over_many(&self, record: &Record, drill: &DrillRecord, reasons: &mut Reasons) {
        let is_first = |wanted: &dyn Fn(&DrillRecord) -> bool| {
            let mut own = record.drills.iter().filter(|it| it.suite == drill.suite);
            own.find(|it| wanted(it))
                .is_some_and(|it| it.id == drill.id)
        };
        let measured = self
            .requirement
            .terms
            .objectives
            .contains(&Figure::Measured);
        let spreads = record
            .rpo
            .iter()
            .filter(|it| measured && it.suite == drill.suite);
        for spread in spreads {
            let of_scenario = |it: &DrillRecord| it.scenario.as_ref() == Some(&spread.scenario);
            let holds = matches!(spread.verdict(), None | Some(Verdict::Passed));
            if !holds && is_first(&of_scenario) {
                let allowed = spread.typical_objective_seconds;
                reasons.add_with(
                    "objective-missed",
                    format!(
                        "RPO of {} in the median is {}, and {} are allowed",
                        spread.component,
                        text::against(spread.median_seconds, allowed),
                        allowed.map_or("–".to_owned(), text::duration)
                    ),
                    "back up more often, or change the objective; then drill again",
                );
            }
        }
    }

    /// Whether every check was shown to be able to fail, by the faults that were planted in any of the runs that decide.
    pub fn unprovoked(&self, found: &BTreeMap<String, Entry>) -> Option<Reason> {
        let suite = self.requirement.suite;
        let drills = self.requirement.drills.iter().filter_map(|drill| {
            let (record, same) = self.record(found.get(&drill.id)?).ok()?;
            let mut drills = record.drills.into_iter().filter(|_| same);
            drills.find(|it| it.id == drill.id)
        });
        let planted: Vec<Detection> = drills.filter_map(|drill| drill.detection).collect();
        let silent = silent(&planted_by(suite), &planted);
        let of_twin =
            |drill: &&Drill| matches!(drill.kind, plan::DrillKind::Detection { fault: None, .. });
        let drills = &self.requirement.drills;
        let drill = drills.iter().find(of_twin).or_else(|| drills.first())?;
        (!silent.is_empty()).then(|| Reason {
            kind: "not-passed",
            drill: drill.id.clone(),
            message: format!("no planted fault makes {} fail", silent.join(", ")),
            remedy: format!(
                "plant one that does in {}, or leave every_check out",
                suite.path.display()
            ),
        })
    }

    /// Whether the suite says how large a component of the drill is in production.
    fn has_a_size(&self, asked: &Drill) -> bool {
        let of_drill = |name: &String| asked.components.contains(name);
        let components = self.requirement.suite.components.iter();
        components
            .filter(|it| of_drill(&it.name))
            .any(|it| it.production_size.is_some())
    }

    fn versions(&self, asked: &Drill, record: &Record, reasons: &mut Reasons) {
        let served = |service: &&ServiceVersion| {
            asked.components.contains(&service.name)
                && (service.suite == asked.suite || service.suite.is_empty())
        };
        for (engine, wanted) in &self.requirement.terms.versions {
            let product = product(*engine);
            let used = record.services.versions.iter().filter(served);
            for service in used.filter(|service| service.product == product) {
                let rest = service.version.strip_prefix(wanted.as_str());
                if rest.is_none_or(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
                    reasons.add(
                        "other-version",
                        format!(
                            "it ran on {product} {}, and {wanted} is asked for",
                            service.version
                        ),
                    );
                }
            }
        }
    }

    fn signature(&self, entry: &Entry, reasons: &mut Reasons) {
        let Some(key) = &self.requirement.terms.signed_by else {
            return;
        };
        let verified = self
            .history
            .record_path(&entry.run)
            .and_then(|record| seal::verify(&record, key));
        if let Err(error) = verified {
            reasons.add_with(
                "not-signed",
                error.message(),
                "drill again with --sign KEY, the private half of the policy's key",
            );
        }
    }
}

/// The release held on the restored copy, and nothing else opens.
fn release(drilled: &DrillRecord, reasons: &mut Reasons) {
    let mut checks = drilled.checks.iter();
    let Some(check) = checks.find(|check| check.id == Check::Release.id()) else {
        reasons.add("release-failed", "the release was not judged".to_owned());
        return;
    };
    if check.verdict == Verdict::Passed {
        return;
    }
    for finding in check
        .findings
        .iter()
        .filter(|it| it.severity != Severity::Warning)
    {
        let message = text::at_most(&text::line(&finding.message), 600).into_owned();
        reasons.add_with("release-failed", message, &finding.remedy);
    }
}

/// The beginning of a commit.
fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}
