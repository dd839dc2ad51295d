//! Was a planted fault caught: by the check named for it, and because of it? A check that fails for another reason would
//! have failed without the fault, or fails with every fault alike, and has caught nothing.

use crate::outcome::{Finding, Outcome, Severity, Verdict};
use crate::suite::{Catch, Check};

/// What became of a planted fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caught {
    /// The named check found it, and so did every other check that must.
    Yes,
    /// The named check found it, and this one, which must as well, did not fail.
    NotBy(Check),
    /// The named check failed, but did not find what it must.
    ByAccident,
    /// The named check passed.
    Missed,
    /// The named check could not be asked.
    Unknown,
}

impl Caught {
    /// By what the checks of the drill said.
    pub fn of<'a>(catch: &Catch, outcomes: impl Iterator<Item = &'a Outcome> + Clone) -> Self {
        let of = |check: Check| {
            let mut outcomes = outcomes.clone();
            outcomes.find(move |outcome| outcome.check == check)
        };
        let fails = |check: Check| of(check).is_some_and(|it| it.verdict == Verdict::Failed);
        match of(catch.check) {
            None => Self::Unknown,
            Some(named) => match named.verdict {
                Verdict::Undetermined => Self::Unknown,
                Verdict::Passed => Self::Missed,
                Verdict::Failed if !named.findings.iter().any(|it| is_it(catch, it)) => {
                    Self::ByAccident
                }
                Verdict::Failed => match catch.also.iter().find(|check| !fails(**check)) {
                    Some(check) => Self::NotBy(*check),
                    None => Self::Yes,
                },
            },
        }
    }

    /// The verdict on a drill that planted it.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Yes => Verdict::Passed,
            Self::Unknown => Verdict::Undetermined,
            Self::NotBy(_) | Self::ByAccident | Self::Missed => Verdict::Failed,
        }
    }
}

fn is_it(catch: &Catch, finding: &Finding) -> bool {
    let says = catch.says.as_ref();
    finding.severity == Severity::Error
        && catch.findings.iter().any(|kind| kind == finding.kind)
        && says.is_none_or(|words| finding.message.contains(words.as_str()))
}

/// What a drill with a fault planted owes all the same: nothing left behind, and no secret told.
pub fn owed_with_a_fault(catch: &Catch, outcome: &Outcome) -> bool {
    let (Check::Teardown | Check::Secrets) = outcome.check else {
        return false;
    };
    outcome.check != catch.check && !catch.also.contains(&outcome.check)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(check: Check, kind: &'static str, message: &str) -> Outcome {
        Outcome::of(check, 1, vec![Finding::error(kind, message, "mend it")])
    }

    fn catch(says: Option<&str>, also: &[Check]) -> Catch {
        Catch {
            check: Check::Restore,
            findings: vec!["restore-failed".to_owned()],
            says: says.map(str::to_owned),
            also: also.to_vec(),
        }
    }

    #[test]
    fn a_fault_is_caught_by_its_own_finding_of_its_own_check_and_by_nothing_else() {
        let failed = outcome(Check::Restore, "restore-failed", "db: segment 2 is missing");
        let other = outcome(Check::Restore, "not-the-newest", "db: segment 2 is missing");
        let warned = {
            let mut outcome = other.clone();
            outcome.findings.push(Finding::warning(
                "restore-failed",
                "segment 2 is missing",
                "",
            ));
            outcome
        };
        let passed = Outcome::of(Check::Restore, 1, vec![]);
        let nothing = Outcome::of(Check::Restore, 0, vec![]);
        let smoke = outcome(Check::Smoke, "smoke-failed", "db: 3, expected 4");
        let said = Some("segment 2 is missing");
        for (catch, outcomes, expected) in [
            (catch(None, &[]), vec![&failed], Caught::Yes),
            (catch(said, &[]), vec![&smoke, &failed], Caught::Yes),
            (
                catch(Some("segment 3"), &[]),
                vec![&failed],
                Caught::ByAccident,
            ),
            (catch(said, &[]), vec![&other], Caught::ByAccident),
            (catch(said, &[]), vec![&warned], Caught::ByAccident),
            (
                catch(said, &[Check::Smoke]),
                vec![&failed, &smoke],
                Caught::Yes,
            ),
            (
                catch(said, &[Check::Smoke]),
                vec![&failed],
                Caught::NotBy(Check::Smoke),
            ),
            (catch(said, &[]), vec![&passed, &smoke], Caught::Missed),
            (catch(said, &[]), vec![&nothing], Caught::Unknown),
            (catch(said, &[]), vec![&smoke], Caught::Unknown),
        ] {
            let caught = Caught::of(&catch, outcomes.into_iter());
            assert_eq!(caught, expected);
        }
    }
}
