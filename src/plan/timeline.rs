//! What happens in a drill and when, in virtual time.
//!
//! Every timeline hangs on one fixed day ([`first_day`]), so that the same suite gives the same instants in every
//! run. A strike *after* a backup comes so long after that backup's first run at or after 14:00 which is followed
//! by a long enough gap. The *worst* strike comes at the very start of the run that ends the longest gap, of the
//! scenario's backup with the longest period; the drill then adds the time that this run would have taken. A *random* one
//! comes anywhere in that gap, drawn from the drill's seed.
//!
//! Of every backup only the last run before the strike is taken, with those that it builds on, or the last two where a
//! drill shows what a run does after another, each followed by a prune: earlier ones would be superseded, so the drill
//! fast-forwards to these. Where
//! damage goes unnoticed for so many runs, as many are taken before it, and all of these after it; the strike is when it
//! is noticed. Each recovered component gets sixty writes per
//! period of its backup, and one at the instant of every backup and just after it, which is the oldest that the
//! strike then loses: an hourly dump struck 58 minutes later really loses 58 minutes. Where WAL is archived
//! continuously, the archive timeout is what a strike loses, and writes are finest before it.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Happening, Timeline};
use crate::error::{Error, Result};
use crate::suite::schedule::{Gap, Schedule, first_day};
use crate::suite::{Backup, BackupType, Method, RetentionRehearsal, Scenario, StrikeTime, Suite};

/// The hour of the first day from which the runs that a strike hangs on are looked for.
const ANCHOR_HOUR: i64 = 14;
/// Writes per period of a component's backup.
const WRITES_PER_PERIOD: i32 = 60;
/// The most runs of each backup that are taken of unnoticed damage.
const LONGEST_UNNOTICED: usize = 40;
/// Writes over the whole time of a backup whose WAL is archived: each may have a segment switched.
const WRITES_ARCHIVED: i32 = 8;
/// Writes per archive timeout of a backup whose WAL is archived, and how many timeouts before the strike have so many.
const WRITES_PER_TIMEOUT: i32 = 10;
const FINE_TIMEOUTS: i32 = 2;

/// How often a rehearsal archives between two base backups.
const ARCHIVED_BETWEEN: i32 = 3;

/// The longest time between two consecutive runs of a schedule. A backup that starts every `period` and takes
/// some time to complete leaves a system exposed for both together.
pub fn period(schedule: &str) -> Result<Duration> {
    parse(schedule).map(|schedule| schedule.period())
}

fn parse(schedule: &str) -> Result<Schedule> {
    Schedule::parse(schedule).map_err(|why| {
        Error::usage(format!("`{schedule}` is {why}")).doing("read a backup's schedule")
    })
}

/// The timeline of a scenario's disaster, struck at one of its times; of the backups in `twice` two runs are taken, and
/// `seed` draws the random times.
pub(super) fn struck(
    suite: &Suite,
    scenario: &Scenario,
    at: &StrikeTime,
    twice: &BTreeSet<String>,
    seed: u64,
) -> Result<Timeline> {
    let backups = backups(suite, &scenario.recover)?;
    let strike = strike(&backups, at, seed)?;
    let mut all = BTreeSet::new();
    let damaged = damaged(&backups, scenario.unnoticed, strike);
    all.extend(damaged.map(|at| (at, Happening::Damage)));
    for (backup, schedule) in &backups {
        let taken = if twice.contains(&backup.name) { 2 } else { 1 };
        let runs = match damaged {
            None => before(schedule, strike, taken),
            Some(damaged) => {
                let mut runs = before(schedule, strike, LONGEST_UNNOTICED);
                runs.retain(|run| *run >= damaged);
                runs.extend(before(schedule, damaged, taken));
                runs
            }
        };
        let runs = with_bases(backup, schedule, runs);
        let (Some(newest), Some(oldest)) = (runs.first(), runs.last()) else {
            continue;
        };
        if let Some(archive_timeout) = backup.method.archive_timeout() {
            let timeout = chrono::Duration::from_std(archive_timeout);
            let timeout = timeout.unwrap_or(strike - *oldest);
            // Struck at random, the archiver is anywhere between two of its runs too.
            let since = match at {
                StrikeTime::Random { .. } => within(timeout, seed.rotate_left(32)),
                StrikeTime::After { .. } | StrikeTime::Worst => timeout,
            };
            archive(&mut all, backup, &runs, strike, (timeout, since));
            continue;
        }
        let next = schedule.after(*newest).unwrap_or(strike);
        let interval = (next - *newest).max(*newest - *oldest) / WRITES_PER_PERIOD;
        let mut write = *oldest - interval;
        while write < strike {
            all.insert((write, Happening::Write(backup.component.clone())));
            write += interval;
        }
        for run in runs {
            all.insert((run, Happening::Backup(backup.name.clone())));
            all.insert((run, Happening::Prune(backup.name.clone())));
            all.insert((run, Happening::Write(backup.component.clone())));
        }
    }
    Ok(Timeline {
        happenings: all.into_iter().collect(),
        strike: Some(strike),
    })
}

/// The last runs before an instant, newest first.
fn before(schedule: &Schedule, instant: DateTime<Utc>, most: usize) -> Vec<DateTime<Utc>> {
    let earlier = |last: &DateTime<Utc>| schedule.before(*last);
    let runs = std::iter::successors(Some(instant), earlier);
    runs.skip(1).take(most).collect()
}

/// The runs of a backup, newest first, with the earlier ones that they build on.
fn with_bases(
    backup: &Backup,
    schedule: &Schedule,
    mut runs: Vec<DateTime<Utc>>,
) -> Vec<DateTime<Utc>> {
    let Method::PgBackRest(rest) = &backup.method else {
        return runs;
    };
    if let Some(oldest) = runs.last().copied() {
        let mut bases = rest.builds_on(oldest);
        if bases.is_empty() && rest.type_at(oldest) != BackupType::Full {
            // No run is said to be full: the first one is, whatever its type.
            bases = before(schedule, oldest, 1);
        }
        runs.extend(bases);
    }
    runs
}

/// When damage is done that is noticed after so many runs of the first backup: half-way between the two around it.
fn damaged(
    backups: &[(&Backup, Schedule)],
    unnoticed: u32,
    noticed: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let (_, schedule) = backups.first().filter(|_| unnoticed > 0)?;
    let runs = before(schedule, noticed, unnoticed as usize + 1);
    let [.., first_damaged, last_good] = runs.as_slice() else {
        return None;
    };
    Some(*last_good + (*first_damaged - *last_good) / 2)
}

/// A backup whose WAL is archived: eight writes from its oldest run to the strike, and ten a timeout in the last two,
/// each archiving there being followed by one at once, which is the oldest that a strike then loses: the last one comes
/// `since` before it.
///
/// What was written is archived a timeout after the last archiving (a base backup brings its own WAL along), as a server
/// does by itself.
fn archive(
    all: &mut BTreeSet<(DateTime<Utc>, Happening)>,
    backup: &Backup,
    runs: &[DateTime<Utc>],
    strike: DateTime<Utc>,
    (timeout, since): (chrono::Duration, chrono::Duration),
) {
    let second = chrono::Duration::seconds(1);
    let oldest = runs.iter().min().copied().unwrap_or(strike);
    let fine = (strike - timeout * (FINE_TIMEOUTS - 1) - since).max(oldest);
    // What is archived before the fine writes is done a timeout before them: it does not shift when they are.
    let steps = [
        (
            oldest,
            (strike - oldest) / WRITES_ARCHIVED,
            fine - timeout * 2,
        ),
        (fine, timeout / WRITES_PER_TIMEOUT, strike),
    ];
    let mut instants: BTreeSet<DateTime<Utc>> = runs.iter().copied().collect();
    for (from, step, to) in steps {
        let times = std::iter::successors(Some(from), |at| Some(*at + step.max(second)));
        instants.extend(times.take_while(|at| *at < to));
    }
    let (mut last, mut due) = (oldest, None);
    while let Some(at) = instants.pop_first() {
        if let Some(due) = due.take_if(|due| *due <= at && !runs.contains(due)) {
            all.insert((due, Happening::Archive(backup.name.clone())));
            last = due;
            if due >= fine && due < at {
                instants.insert(at);
                instants.insert(due);
                continue;
            }
        }
        if runs.contains(&at) {
            all.insert((at, Happening::Backup(backup.name.clone())));
            all.insert((at, Happening::Prune(backup.name.clone())));
            (last, due) = (at, None);
        }
        all.insert((at, Happening::Write(backup.component.clone())));
        due.get_or_insert((last + timeout).max(at + second));
    }
    if let Some(due) = due.filter(|due| *due < strike) {
        all.insert((due, Happening::Archive(backup.name.clone())));
        all.insert((due, Happening::Write(backup.component.clone())));
    }
}

/// The timeline of a retention rehearsal: every run of its backups over its days, pruned at the end of each day, and
/// one write at each run, so that no two artifacts that are taken of the source are the same. What a base backup leaves to
/// the log is written and archived three times until the next one.
pub(super) fn rehearsal(suite: &Suite, rehearsal: &RetentionRehearsal) -> Result<Timeline> {
    let start = first_day();
    let end = start + chrono::Duration::days(rehearsal.days.into());
    let mut all = BTreeSet::new();
    for (backup, schedule) in backups(suite, &rehearsal.backups)? {
        let mut next = schedule.at_or_after(start);
        while let Some(run) = next.filter(|run| *run < end) {
            all.insert((run, Happening::Backup(backup.name.clone())));
            all.insert((run, Happening::Write(backup.component.clone())));
            next = schedule.after(run);
            if matches!(backup.method, Method::PgBasebackup { .. }) {
                let until = next.unwrap_or(end).min(end);
                let step = (until - run) / (ARCHIVED_BETWEEN + 1);
                for number in 1..=ARCHIVED_BETWEEN {
                    let at = run + step * number;
                    all.insert((at, Happening::Archive(backup.name.clone())));
                    all.insert((at, Happening::Write(backup.component.clone())));
                }
            }
            if next.is_none_or(|next| next.date_naive() != run.date_naive()) {
                all.insert((run, Happening::Prune(backup.name.clone())));
            }
        }
    }
    Ok(Timeline {
        happenings: all.into_iter().collect(),
        strike: None,
    })
}

fn backups<'s>(suite: &'s Suite, names: &[String]) -> Result<Vec<(&'s Backup, Schedule)>> {
    let mut all = Vec::new();
    for name in names {
        let backup = suite.backups.iter().find(|backup| backup.name == *name);
        let backup = backup.ok_or_else(|| Error::defect(format!("no backup `{name}`")))?;
        all.push((backup, parse(&backup.schedule)?));
    }
    Ok(all)
}

/// When it strikes.
fn strike(backups: &[(&Backup, Schedule)], at: &StrikeTime, seed: u64) -> Result<DateTime<Utc>> {
    let anchor = first_day() + chrono::Duration::hours(ANCHOR_HOUR);
    let found = match at {
        StrikeTime::After { backup, offset } => {
            let offset = chrono::Duration::from_std(*offset).unwrap_or(chrono::Duration::MAX);
            backups
                .iter()
                .find(|(known, _)| known.name == *backup)
                .and_then(|(_, schedule)| {
                    schedule
                        .gaps(anchor)
                        .find(|(run, next)| *next - *run > offset)
                        .map(|(run, _)| run + offset)
                })
        }
        StrikeTime::Worst => longest_gap(backups, anchor).map(|(_, next)| next),
        StrikeTime::Random { .. } => {
            longest_gap(backups, anchor).map(|(run, next)| run + within(next - run, seed))
        }
    };
    found.ok_or_else(|| Error::usage("no run of a backup that the strike could follow"))
}

/// A part of a time, in whole seconds and at least one, drawn by `seed`.
fn within(time: chrono::Duration, seed: u64) -> chrono::Duration {
    let span = time.num_seconds().max(1).unsigned_abs();
    let part = i64::try_from(seed % span).unwrap_or_default();
    chrono::Duration::seconds(part.max(1))
}

/// The longest gap between two runs of any of the backups.
fn longest_gap(backups: &[(&Backup, Schedule)], from: DateTime<Utc>) -> Option<Gap> {
    let gaps = backups
        .iter()
        .filter_map(|(_, schedule)| schedule.longest_gap(from));
    gaps.reduce(|worst, gap| {
        if gap.1 - gap.0 > worst.1 - worst.0 {
            gap
        } else {
            worst
        }
    })
}
