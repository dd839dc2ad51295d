//! Did a recovery take the artifact that it should? The newest one there was; or, where any may be picked, the one that
//! brings back the most of what was there before the damage, and none of the damage.
//!
//! When the damage was done is known to the drill alone. Not here: what became of the artifact (see
//! [`super::process::restore`]), or whether the source came back as it was when that was taken ([`super::comparison`]).

use super::Facts;
use crate::evidence::{ArchiveFact, BackupFact, RecoveryFact, StrikeFact};
use crate::outcome::Finding;
use crate::suite::{Pick, Replays, Scenario, fit};

/// What is amiss with the artifact that a recovery took.
pub(super) fn picked(facts: &Facts<'_>, recovery: &RecoveryFact) -> Vec<Finding> {
    let scenario = facts.terms.scenario();
    let mut findings = match scenario {
        Some(scenario) if scenario.pick == Pick::NewestGood => {
            let strike = facts.evidence.strike.as_ref();
            let older = strike.and_then(|strike| {
                Picking {
                    facts,
                    scenario,
                    recovery,
                    strike,
                }
                .older_than_the_last_good()
            });
            Vec::from_iter(older)
        }
        _ => Vec::from_iter(not_the_newest(recovery)),
    };
    findings.extend(damage_came_back(facts, recovery));
    findings
}

fn not_the_newest(recovery: &RecoveryFact) -> Option<Finding> {
    (recovery.artifact != recovery.newest).then(|| {
        Finding::error(
            "not-the-newest",
            format!(
                "{}: restored from {}, but the newest committed artifact is {}",
                recovery.component,
                recovery.artifact.as_deref().unwrap_or("nothing"),
                recovery.newest.as_deref().unwrap_or("none")
            ),
            "pick artifacts by the time in their manifests, not by name or modification time",
        )
    })
}

/// An artifact that was taken of the damaged component holds the damage, whatever it answers.
fn damage_came_back(facts: &Facts<'_>, recovery: &RecoveryFact) -> Option<Finding> {
    let strike = facts.evidence.strike.as_ref()?;
    let mut struck = strike.struck.iter();
    struck.find(|(name, ..)| *name == recovery.component)?;
    let last = recovery.artifact.iter().map(|id| (&recovery.backup, id));
    let before = recovery.before.iter().map(|(backup, id)| (backup, id));
    let mut used = last
        .chain(before)
        .filter_map(|(backup, id)| taken(facts, backup, id));
    let damaged = used.find(|taken| taken.at > strike.done)?;
    Some(Finding::error(
        "damage-came-back",
        format!(
            "{}: restored from {} {}, which was taken at {}: the damage was done before, at {}",
            recovery.component,
            damaged.backup,
            damaged.artifact.as_deref().unwrap_or_default(),
            damaged.at.to_rfc3339(),
            strike.done.to_rfc3339()
        ),
        "recover from an artifact of before the damage (`pick = \"newest-good\"`), and ask questions that this damage answers wrongly",
    ))
}

/// The run that made an artifact.
fn taken<'e>(facts: &Facts<'e>, backup: &str, id: &str) -> Option<&'e BackupFact> {
    let mut all = facts.evidence.backups.iter();
    all.find(|fact| fact.backup == backup && fact.artifact.as_deref() == Some(id))
}

/// A recovery that may take any artifact of several backups.
struct Picking<'a, 'e> {
    facts: &'a Facts<'e>,
    scenario: &'a Scenario,
    recovery: &'a RecoveryFact,
    strike: &'a StrikeFact,
}

impl Picking<'_, '_> {
    /// An artifact of before the damage that brings back more than the one that was taken, or, of the same backup, as much
    /// with less to replay.
    fn older_than_the_last_good(&self) -> Option<Finding> {
        let recovery = self.recovery;
        let used = taken(self.facts, &recovery.backup, recovery.artifact.as_deref()?)?;
        let reached = self.reaches(used);
        let offered = recovery.offered.iter();
        let better = offered
            .filter_map(|(backup, id)| taken(self.facts, backup, id))
            .filter(|other| other.error.is_none() && self.is_good(other))
            .filter(|other| {
                let newer = other.backup == used.backup && other.at > used.at;
                used.at <= self.strike.done && (newer || self.reaches(other) > reached)
            })
            .max_by_key(|other| (self.reaches(other), other.at))?;
        let id = better.artifact.as_deref().unwrap_or_default();
        let mut skipped = recovery.skipped.iter();
        let left = skipped.find(|it| it.backup == better.backup && it.artifact == better.artifact);
        let left = left.map_or_else(
            || "it was not tried".to_owned(),
            |left| format!("it was tried and left: {}", left.why),
        );
        Some(Finding::error(
            "older-than-the-last-good",
            format!(
                "{}: restored from {} {}, which brings back what was written up to number {reached}; {} {id} is of before the \
                 damage too, and brings back what was written up to number {}: {left}",
                recovery.component,
                used.backup,
                used.artifact.as_deref().unwrap_or_default(),
                better.backup,
                self.reaches(better),
            ),
            "its backup said that all was well: find out why it was not taken, or does not restore, before it is needed",
        ))
    }

    /// Whether nothing of the damage is in it, nor in the log that it is continued by.
    fn is_good(&self, taken: &BackupFact) -> bool {
        let struck = self.strike.struck.iter();
        let logged = struck
            .filter(|(name, ..)| *name == taken.component)
            .any(|(_, strike, _)| fit::is_a_transaction(*strike));
        // What is archived at the very moment is archived after it.
        let archived = self.archived(taken);
        let replayed = archived.is_some_and(|last| last.at >= self.strike.done);
        taken.at <= self.strike.done && !(logged && replayed)
    }

    /// The last write that it brings back, by the drill's own ledger.
    fn reaches(&self, taken: &BackupFact) -> u64 {
        let just_before = match self.replays(taken) {
            Replays::ToAMoment => self.before_the_damage(taken),
            Replays::Everything | Replays::Nothing => 0,
        };
        let archived = self.archived(taken).map_or(0, |last| last.high_water);
        taken.high_water.max(archived).max(just_before)
    }

    /// What is replayed onto it.
    fn replays(&self, taken: &BackupFact) -> Replays {
        let backup = self.facts.terms.backup(&taken.backup);
        backup.map_or(Replays::Nothing, |backup| self.scenario.replays(backup))
    }

    /// The last archiving of a log that is replayed onto it to its end.
    fn archived(&self, taken: &BackupFact) -> Option<&ArchiveFact> {
        let all = self.facts.evidence.archives.iter();
        ArchiveFact::last_of(all, &taken.backup)
            .filter(|_| self.replays(taken) == Replays::Everything)
            .filter(|last| last.at > taken.at)
    }

    /// The last write before the damage.
    fn before_the_damage(&self, taken: &BackupFact) -> u64 {
        let writes = self.facts.evidence.ledger.iter();
        let own = writes.filter(|write| write.component == taken.component);
        let before = own.filter(|write| write.at <= self.strike.done);
        before.map(|write| write.number).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};

    use super::*;
    use crate::check::trial;
    use crate::evidence::{Evidence, LedgerEntry, SkippedFact};
    use crate::suite::{Check, Strike};

    /// Hourly dumps and base backups, and damage that was done, where nothing else is said, half-way between the third and the
    /// fourth of each.
    struct Drill {
        strike: Strike,
        /// The rest of the scenario.
        scenario: &'static str,
        /// Until which hour the log was archived.
        archived: i64,
        /// At which minute the damage was done.
        done: i64,
        /// The hours at which there was a base backup, and those of the dumps.
        offered: [&'static [i64]; 2],
    }

    const DRILL: Drill = Drill {
        strike: Strike::ZeroedHeapPage,
        scenario: "",
        archived: 6,
        done: 210,
        offered: [&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]],
    };

    fn hour(hour: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(hour)
    }

    /// The artifact of a backup at an hour, such as `dump-3`; ten writes had come by then in each hour.
    fn run(id: &str) -> BackupFact {
        let (backup, at) = id.split_once('-').expect("such as dump-3");
        let at: i64 = at.parse().expect("an hour");
        BackupFact {
            backup: backup.to_owned(),
            component: "db".to_owned(),
            artifact: Some(id.to_owned()),
            at: hour(at),
            window: (hour(at), hour(at)),
            seconds: 1.0,
            error: None,
            refused: None,
            source: None,
            high_water: 10 * at.unsigned_abs(),
            stored: Vec::new(),
            readable: None,
            mirrored: None,
        }
    }

    impl Drill {
        /// What is said of a recovery from `picked` that had tried and left others.
        fn said(&self, picked: &str, left: &[&str]) -> Vec<Finding> {
            let [bases, dumps] = self.offered;
            let bases = bases.iter().map(|at| format!("base-{at}"));
            let ids = bases.chain(dumps.iter().map(|at| format!("dump-{at}")));
            let backups: Vec<BackupFact> = ids.map(|id| run(&id)).collect();
            let all = backups.iter();
            let offered = all
                .clone()
                .map(|it| (it.backup.clone(), it.artifact.clone().unwrap_or_default()));
            let left = left.iter().map(|id| SkippedFact {
                backup: run(id).backup,
                artifact: Some((*id).to_owned()),
                repository: "r".to_owned(),
                why: "it answers wrongly".to_owned(),
            });
            let archived = (1..=6).map(|at| ArchiveFact {
                backup: "base".to_owned(),
                component: "db".to_owned(),
                at: hour(at) + TimeDelta::minutes(20),
                error: (at > self.archived).then(|| "the archiver is stalled".to_owned()),
                high_water: 10 * at.unsigned_abs() + 3,
                ..ArchiveFact::default()
            });
            let ledger = (1..=69).map(|number| LedgerEntry {
                component: "db".to_owned(),
                number,
                at: DateTime::UNIX_EPOCH + TimeDelta::minutes(6 * number as i64),
                coordinate: String::new(),
            });
            let evidence = Evidence {
                strike: Some(StrikeFact {
                    at: hour(7),
                    done: DateTime::UNIX_EPOCH + TimeDelta::minutes(self.done),
                    struck: vec![("db".to_owned(), self.strike, "rows are gone".to_owned())],
                    ..StrikeFact::default()
                }),
                recoveries: vec![RecoveryFact {
                    component: "db".to_owned(),
                    backup: run(picked).backup,
                    artifact: Some(picked.to_owned()),
                    newest: Some("base-5".to_owned()),
                    offered: offered.collect(),
                    skipped: left.collect(),
                    provisioned: true,
                    restore_ran: true,
                    ..RecoveryFact::default()
                }],
                ledger: ledger.collect(),
                archives: archived.collect(),
                backups,
                ..Evidence::default()
            };
            let suite = format!(
                "[component.db]\nkind = \"postgres\"\n\
                 [[component.db.smoke]]\nask = \"select count(*) from t\"\nexpect = \"1\"\n\
                 [backup.dump]\nschedule = \"@hourly\"\n\
                 [backup.base]\nschedule = \"@hourly\"\nmethod = \"pg-basebackup\"\n\
                 [scenario.s]\nstrike = {{ fault = \"{}\" }}\nrecover = [\"dump\", \"base\"]\nunnoticed = 2\n\
                 pick = \"newest-good\"\n{}",
                self.strike, self.scenario
            );
            trial::judged(&suite, Check::Restore, &evidence).findings
        }

        fn errors(&self, picked: &str) -> Vec<&'static str> {
            let said = self.said(picked, &[]);
            said.iter().map(|finding| finding.kind).collect()
        }
    }

    const OLDER: [&str; 1] = ["older-than-the-last-good"];

    #[test]
    fn of_dumps_the_last_before_the_damage_is_right_and_every_other_is_not() {
        let drill = Drill {
            offered: [&[], &[1, 2, 3, 4, 5]],
            ..DRILL
        };
        assert_eq!(drill.errors("dump-3"), [""; 0]);
        assert_eq!(drill.errors("dump-2"), OLDER);
        assert_eq!(drill.errors("dump-1"), OLDER);
        assert_eq!(drill.errors("dump-4"), ["damage-came-back"]);
        assert_eq!(drill.errors("dump-5"), ["damage-came-back"]);
    }

    #[test]
    fn a_dump_that_was_pruned_before_the_damage_was_noticed_is_not_missed() {
        let drill = Drill {
            offered: [&[], &[1, 2, 4, 5]],
            ..DRILL
        };
        assert_eq!(drill.errors("dump-2"), [""; 0]);
    }

    #[test]
    fn a_dump_of_before_the_damage_that_did_not_hold_up_is_no_success_and_is_told_with_the_reason()
    {
        let said = DRILL.said(
            "dump-3",
            &["dump-5", "dump-4", "base-3", "base-2", "base-1"],
        );
        let older: Vec<&Finding> = said.iter().filter(|it| it.kind == OLDER[0]).collect();
        let [older] = older[..] else {
            panic!("{said:?}");
        };
        let words = "db: restored from dump dump-3, which brings back what was written up to number 30; base base-3 is of \
                     before the damage too, and brings back what was written up to number 63: it was tried and left: it \
                     answers wrongly";
        assert_eq!(older.message, words);
    }

    #[test]
    fn the_log_takes_the_last_base_backup_before_the_damage_beyond_any_dump() {
        assert_eq!(DRILL.errors("base-3"), [""; 0]);
        assert_eq!(DRILL.errors("dump-3"), OLDER);
        assert_eq!(DRILL.errors("base-2"), OLDER, "there is more to replay");
        assert_eq!(DRILL.errors("base-4"), ["damage-came-back"]);
    }

    #[test]
    fn where_the_archiver_was_stalled_a_later_dump_is_right_and_the_base_backup_is_not() {
        let stalled = Drill {
            archived: 2,
            offered: [&[1, 2], &[1, 2, 3, 4, 5]],
            ..DRILL
        };
        assert_eq!(stalled.errors("dump-3"), [""; 0]);
        assert_eq!(stalled.errors("base-2"), OLDER);
    }

    #[test]
    fn no_log_is_replayed_to_the_end_of_a_base_backup() {
        let immediate = Drill {
            scenario: "restore = { target = \"immediate\" }\n",
            ..DRILL
        };
        assert_eq!(immediate.errors("base-3"), [""; 0]);
        assert_eq!(immediate.errors("dump-3"), [""; 0]);
        assert_eq!(immediate.errors("base-2"), OLDER);
    }

    #[test]
    fn a_log_that_holds_the_damage_makes_no_base_backup_good_unless_it_is_replayed_to_just_before()
    {
        let logged = Drill {
            strike: Strike::RowsDeleted,
            ..DRILL
        };
        assert_eq!(logged.errors("dump-3"), [""; 0]);
        // Noticed at once, with the rest of the log archived by then.
        let at_once = Drill {
            done: 380,
            ..logged
        };
        assert_eq!(at_once.errors("dump-5"), [""; 0]);
        let unlogged = Drill {
            strike: Strike::ZeroedHeapPage,
            ..at_once
        };
        assert_eq!(unlogged.errors("dump-5"), OLDER);
        let before = Drill {
            scenario: "restore = { target = \"before-strike\" }\n",
            ..logged
        };
        assert_eq!(before.errors("base-3"), [""; 0]);
        assert_eq!(before.errors("dump-3"), OLDER);
    }
}
