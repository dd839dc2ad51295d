//! The policy: which artifacts stay and which go, with the reason of each. Pure: `now` is given.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

/// Why an artifact stays or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its age is at most what is kept.
    Within {
        /// Its age.
        age: Duration,
    },
    /// It says that it was taken after `now`: some clock is wrong, and no age can be told.
    Future,
    /// However old: the log that continues it leads to the first moment that is kept.
    LeadsIn {
        /// Its age.
        age: Duration,
    },
    /// However old: it is the newest one that is good.
    NewestGood {
        /// Its age.
        age: Duration,
    },
    /// However old: nothing good is left, and it is the newest of what there is.
    NothingGood {
        /// Its age.
        age: Duration,
    },
    /// An artifact that stays builds on it.
    Parent,
    /// It is older than what is kept.
    Expired {
        /// Its age.
        age: Duration,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_words =
            |age: &Duration| humantime::format_duration(Duration::from_secs(age.as_secs()));
        match self {
            Self::Within { age } => write!(f, "taken {} ago, within what is kept", in_words(age)),
            Self::Future => f.write_str("taken in the future: a clock is wrong"),
            Self::LeadsIn { age } => write!(
                f,
                "taken {} ago, and the log leads from it into what is kept",
                in_words(age)
            ),
            Self::NewestGood { age } => {
                write!(f, "taken {} ago, the newest good one", in_words(age))
            }
            Self::NothingGood { age } => {
                write!(
                    f,
                    "taken {} ago, the newest, and none is good",
                    in_words(age)
                )
            }
            Self::Parent => f.write_str("another one that stays builds on it"),
            Self::Expired { age } => {
                write!(f, "taken {} ago, older than what is kept", in_words(age))
            }
        }
    }
}

/// What a policy says about every artifact, each list oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// What stays.
    pub keep: Vec<(String, Reason)>,
    /// What goes.
    pub remove: Vec<(String, Reason)>,
}

/// Decides over `artifacts` (id, taken-at, whether it is good: committed, and whole). Order is by taken-at, then id.
///
/// Everything not older than `within` stays, to the very instant; so does what is dated in the future. The
/// newest good artifact that is not dated in the future always stays. When none is good, the newest stays.
pub fn decide(
    artifacts: &[(String, DateTime<Utc>, bool)],
    within: Duration,
    now: DateTime<Utc>,
) -> Decision {
    let mut ordered: Vec<_> = artifacts.iter().collect();
    ordered.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    let past = || ordered.iter().rev().filter(|(_, at, _)| *at <= now);
    let newest_good = past().find(|(_, _, good)| *good).map(|(id, ..)| id);
    let any_good = ordered.iter().any(|(_, _, good)| *good);
    let newest = past().next().map(|(id, ..)| id).filter(|_| !any_good);
    let mut decision = Decision::default();
    for (id, at, _) in &ordered {
        let (stays, reason) = match now.signed_duration_since(*at).to_std() {
            Err(_) => (true, Reason::Future),
            Ok(age) if age <= within => (true, Reason::Within { age }),
            Ok(age) if newest_good == Some(id) => (true, Reason::NewestGood { age }),
            Ok(age) if newest == Some(id) => (true, Reason::NothingGood { age }),
            Ok(age) => (false, Reason::Expired { age }),
        };
        let list = if stays {
            &mut decision.keep
        } else {
            &mut decision.remove
        };
        list.push((id.clone(), reason));
    }
    decision
}

/// Keeps, of the artifacts that a log `continues`, the newest good one that is older than what is kept by its age: a
/// recovery to the first moment within begins with it.
pub(super) fn with_lead_in(mut decision: Decision, continues: &BTreeSet<&str>) -> Decision {
    let leads = |(id, reason): &(String, Reason)| {
        continues.contains(id.as_str()) && matches!(reason, Reason::NewestGood { .. })
    };
    if decision.keep.iter().any(leads) {
        return decision;
    }
    let mut going = decision.remove.iter();
    if let Some(at) = going.rposition(|(id, _)| continues.contains(id.as_str())) {
        let (id, reason) = decision.remove.remove(at);
        let reason = match reason {
            Reason::Expired { age } => Reason::LeadsIn { age },
            other => other,
        };
        decision.keep.push((id, reason));
    }
    decision
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 86_400;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).expect("an instant")
    }

    fn week() -> Duration {
        Duration::from_secs(7 * DAY)
    }

    fn ids(list: &[(String, Reason)]) -> Vec<&str> {
        list.iter().map(|(id, _)| id.as_str()).collect()
    }

    fn artifact(id: &str, seconds: i64, good: bool) -> (String, DateTime<Utc>, bool) {
        (id.to_owned(), at(seconds), good)
    }

    #[test]
    fn the_last_good_artifact_outlives_any_number_of_bad_ones_after_it() {
        let mut all = vec![artifact("good", 0, true)];
        for n in 1..=15 {
            all.push(artifact(&format!("bad{n}"), n * DAY as i64, false));
        }
        let decision = decide(&all, week(), at(100 * DAY as i64));
        assert_eq!(ids(&decision.keep), ["good"]);
        assert_eq!(decision.remove.len(), 15);
    }

    #[test]
    fn an_artifact_exactly_as_old_as_the_limit_stays_and_a_second_older_goes() {
        let now = at(7 * DAY as i64);
        let all = [
            artifact("over", -1, true),
            artifact("edge", 0, true),
            artifact("new", 100, true),
        ];
        let decision = decide(&all, week(), now);
        assert_eq!(ids(&decision.keep), ["edge", "new"]);
        assert_eq!(ids(&decision.remove), ["over"]);
    }

    #[test]
    fn what_is_dated_in_the_future_stays_but_does_not_stand_in_for_the_newest_good() {
        let all = [
            artifact("old", 0, true),
            artifact("future", 900 * DAY as i64, true),
        ];
        let decision = decide(&all, week(), at(100 * DAY as i64));
        assert_eq!(ids(&decision.keep), ["old", "future"]);
        assert_eq!(decision.keep[1].1, Reason::Future);
    }

    #[test]
    fn age_comes_from_taken_at_and_not_from_the_name() {
        let all = [
            artifact("z-oldest", 0, true),
            artifact("a-newest", 50, true),
        ];
        let decision = decide(&all, week(), at(100 * DAY as i64));
        assert_eq!(ids(&decision.keep), ["a-newest"]);
    }

    #[test]
    fn when_nothing_is_good_the_newest_is_not_thrown_away() {
        let all = [artifact("a", 0, false), artifact("b", 50, false)];
        let decision = decide(&all, week(), at(100 * DAY as i64));
        assert_eq!(ids(&decision.keep), ["b"]);
        assert_eq!(decide(&[], week(), at(0)), Decision::default());
    }

    #[test]
    fn of_what_a_log_continues_the_newest_good_one_before_the_window_leads_into_it() {
        let day = |id: &str, day: i64, good| artifact(id, day * DAY as i64, good);
        let all = [
            day("oldest", 0, true),
            day("before", 1, true),
            day("bad", 2, false),
            day("edge", 3, true),
            day("new", 9, true),
        ];
        let kept = |now: i64, continues: &[&str]| -> Vec<String> {
            let decision = decide(&all, week(), at(now * DAY as i64));
            let continues: BTreeSet<&str> = continues.iter().copied().collect();
            let decision = with_lead_in(decision, &continues);
            assert_eq!(decision.keep.len() + decision.remove.len(), all.len());
            decision.keep.into_iter().map(|(id, _)| id).collect()
        };
        let good = ["oldest", "before", "edge", "new"];
        // What is exactly as old as the limit ends later than the window begins.
        assert_eq!(kept(10, &good), ["edge", "new", "before"]);
        assert_eq!(kept(10, &[]), ["edge", "new"], "no log, no way in");
        // The newest good one is older than the window, and leads to whatever is left of it.
        assert_eq!(kept(30, &good), ["new"]);
        // All are within.
        assert_eq!(kept(7, &good), ["oldest", "before", "bad", "edge", "new"]);
    }

    fn artifacts() -> impl Strategy<Value = Vec<(String, DateTime<Utc>, bool)>> {
        let one = (0i64..60, any::<bool>(), 0i64..3);
        prop::collection::vec(one, 0..40).prop_map(|all| {
            let numbered = all.into_iter().enumerate();
            numbered
                .map(|(n, (day, good, second))| {
                    let name = format!("{:02}", (n * 37) % 97);
                    artifact(&name, day * DAY as i64 + second, good)
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn every_artifact_gets_one_decision_and_the_rules_hold(
            all in artifacts(), now in 0i64..80, within in 0u64..30,
        ) {
            let now = at(now * DAY as i64);
            let within = Duration::from_secs(within * DAY);
            let decision = decide(&all, within, now);
            let kept: HashSet<&str> = ids(&decision.keep).into_iter().collect();
            prop_assert_eq!(decision.keep.len() + decision.remove.len(), all.len());
            let limit = now - within;
            for (id, at, _) in &all {
                if *at >= limit {
                    prop_assert!(kept.contains(id.as_str()), "{} is within", id);
                }
            }
            let past = all.iter().filter(|(_, at, _)| *at <= now);
            if let Some(newest) = past.filter(|(.., good)| *good).map(|(_, at, _)| *at).max() {
                prop_assert!(
                    all.iter().any(|(id, at, good)| *good && *at == newest && kept.contains(id.as_str())),
                    "the newest good one stays"
                );
            }
            prop_assert!(all.is_empty() || !kept.is_empty(), "something always stays");
            for (id, reason) in &decision.remove {
                let expired = matches!(reason, Reason::Expired { age } if *age > within);
                prop_assert!(expired, "{} goes for its age alone", id);
            }
        }

        #[test]
        fn the_order_of_the_input_changes_nothing(all in artifacts(), now in 0i64..80) {
            let mut turned = all.clone();
            turned.reverse();
            let now = at(now * DAY as i64);
            prop_assert_eq!(decide(&all, week(), now), decide(&turned, week(), now));
        }

        #[test]
        fn pruning_again_at_the_same_instant_removes_nothing_more(all in artifacts(), now in 0i64..80) {
            let now = at(now * DAY as i64);
            let kept = decide(&all, week(), now).keep;
            let left: Vec<_> = all
                .into_iter()
                .filter(|(id, ..)| kept.iter().any(|(other, _)| other == id))
                .collect();
            prop_assert!(decide(&left, week(), now).remove.is_empty());
        }
    }
}
