//! Which archived WAL a recovery needs, where it breaks off, and what is lost there. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::error::{Error, Result};
use crate::repository::wal::{Lsn, Segment};
use crate::suite::RecoveryTarget;

/// A segment in a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::pipeline) struct Have {
    /// When it was archived, on the drill's clock; empty where that is not known.
    pub at: String,
    /// Why it is of no use, when it is.
    pub problem: Option<String>,
    /// It is of another cluster: it stands in the way of what should be there by its name, and says nothing of what there is.
    pub foreign: bool,
}

/// What a base backup needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The segment in which its recovery begins.
    pub start: Segment,
    /// The server's clock when it began.
    pub began: DateTime<Utc>,
    /// Where it is consistent.
    pub stop: Lsn,
    /// Bytes of a segment.
    pub size: u64,
}

/// The archived WAL that continues a base backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// What it continues.
    pub base: Base,
    /// The newest timeline.
    pub timeline: u32,
    /// The last segment before which nothing is amiss, and when it was archived.
    pub reach: Option<(Segment, String)>,
    /// The first segment that is not there or of no use although later ones are, and why.
    pub broken: Option<(Segment, String)>,
    /// The last segment there is.
    pub last: Option<(Segment, String)>,
    /// What the forks on the way left behind, the oldest first.
    pub abandoned: Vec<Abandoned>,
}

/// Archived WAL of a timeline beyond the place at which the one that is followed left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abandoned {
    /// The fork.
    pub from: Lsn,
    /// The last segment of it.
    pub last: Segment,
    /// When that was archived, on the drill's clock; empty where that is not known.
    pub at: String,
}

/// A line of a timeline's history: the timeline left, where, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pipeline) struct Left {
    pub timeline: u32,
    pub at: Lsn,
    pub why: String,
}

/// A repository that did not answer when a file of its archive was asked for: what is there is not lost, unlike what is
/// missing or damaged. `from` is where or when the file begins.
pub(in crate::pipeline) fn unreachable(name: &str, from: &str, repository: &str) -> Error {
    Error::unavailable(format!(
        "{name} cannot be fetched, as repository {repository} cannot be reached: what was committed after {from} is not lost, \
         and nothing was recovered without it"
    ))
    .hint("recover once more when the repository answers, or from another one")
}

/// Reads `….history`.
pub(in crate::pipeline) fn history(text: &str) -> Option<Vec<Left>> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.splitn(3, '\t');
            Some(Left {
                timeline: words.next()?.trim().parse().ok()?,
                at: Lsn::parse(words.next()?)?,
                why: words.next().unwrap_or_default().to_owned(),
            })
        })
        .collect()
}

/// Follows the newest timeline from the base backup to the last segment.
pub(in crate::pipeline) fn follow(
    base: Base,
    have: &BTreeMap<Segment, Have>,
    histories: &BTreeMap<u32, String>,
) -> Result<Chain> {
    let own = base.start.timeline;
    let ours = || have.iter().filter(|(_, have)| !have.foreign);
    let known = ours().map(|(segment, _)| segment.timeline);
    let timeline = known
        .chain(histories.keys().copied())
        .max()
        .unwrap_or(own)
        .max(own);
    let begins = path(&base, timeline, histories)?;
    let abandoned = begins.windows(2).filter_map(|fork| {
        let ((old, _), (_, from)) = (fork[0], fork[1]);
        let fork = Segment::holding(old, from, base.size);
        let mut beyond = ours().rev().take_while(|(segment, _)| **segment >= fork);
        let (last, have) = beyond.find(|(segment, _)| segment.timeline == old)?;
        Some(Abandoned {
            from,
            last: *last,
            at: have.at.clone(),
        })
    });
    let abandoned = abandoned.collect();
    let begins = begins.iter().map(|(timeline, from)| {
        (
            *timeline,
            Segment::holding(*timeline, *from, base.size).place(),
        )
    });
    let begins: Vec<(u32, (u32, u32))> = begins.collect();
    let governs = |segment: Segment| {
        let entry = begins.iter().rev().find(|(_, at)| *at <= segment.place());
        entry.map_or(own, |(timeline, _)| *timeline)
    };
    let mine = |segment: &Segment| {
        segment.place() >= base.start.place() && governs(*segment) == segment.timeline
    };
    let last = ours().rev().find(|(segment, _)| mine(segment));
    let last = last.map(|(segment, have)| (*segment, have.at.clone()));
    let mut chain = Chain {
        timeline,
        reach: None,
        broken: None,
        last,
        abandoned,
        base,
    };
    let stop = Segment::holding(
        own,
        Lsn(chain.base.stop.0.saturating_sub(1)),
        chain.base.size,
    );
    let end = chain
        .last
        .as_ref()
        .map_or(stop, |(last, _)| (*last).max(stop));
    let mut at = chain.base.start;
    while at.place() <= end.place() {
        let segment = at.on(governs(at));
        match have.get(&segment) {
            Some(Have {
                at, problem: None, ..
            }) => chain.reach = Some((segment, at.clone())),
            Some(Have {
                problem: Some(why), ..
            }) => chain.broken = Some((segment, why.clone())),
            None => chain.broken = Some((segment, "it is missing".to_owned())),
        }
        if chain.broken.is_some() {
            break;
        }
        at = at.next(chain.base.size);
    }
    // Another cluster's, right after ours, is in the place of the next of ours.
    let next = at.on(governs(at));
    if let (None, Some(Have { problem, .. })) = (&chain.broken, have.get(&next)) {
        chain.broken = problem.clone().map(|why| (next, why));
    }
    Ok(chain)
}

/// The timelines from the base backup's to the newest, each with the place at which it left the one before it.
fn path(base: &Base, newest: u32, histories: &BTreeMap<u32, String>) -> Result<Vec<(u32, Lsn)>> {
    let own = base.start.timeline;
    if newest == own {
        return Ok(vec![(own, Lsn(0))]);
    }
    let hint = format!(
        "name the timeline's base backup, or recover on timeline {own} from a repository without timeline {newest}"
    );
    let text = histories.get(&newest).ok_or_else(|| {
        Error::failed(format!(
            "the archive has segments of timeline {newest} and no {newest:08X}.history: where it left its parent is not known"
        ))
        .hint(hint.clone())
    })?;
    let left = history(text).ok_or_else(|| {
        Error::failed(format!(
            "{newest:08X}.history in the archive is no timeline history"
        ))
    })?;
    let Some(from) = left.iter().position(|left| left.timeline == own) else {
        return Err(Error::failed(format!(
            "timeline {newest}, the newest in the archive, does not descend from timeline {own} of the base backup"
        ))
        .hint(hint));
    };
    if left[from].at < base.stop {
        return Err(Error::failed(format!(
            "timeline {newest}, the newest in the archive, left timeline {own} at {}, before the base backup ended at {}: \
             what the base backup holds beyond that is not part of it",
            left[from].at, base.stop
        ))
        .hint("recover an older base backup, or one taken after the fork"));
    }
    let mut begins = vec![(own, Lsn(0))];
    for (step, next) in left[from..].iter().enumerate() {
        let timeline = left
            .get(from + step + 1)
            .map_or(newest, |left| left.timeline);
        begins.push((timeline, next.at));
    }
    Ok(begins)
}

impl Chain {
    /// Whether this much can be replayed, as far as is known beforehand; the error says what is lost.
    pub fn leads_to(&self, target: &RecoveryTarget, repository: &str) -> Result<()> {
        let size = self.base.size;
        let wanted = match target {
            RecoveryTarget::Lsn(text) => {
                let lsn = Lsn::parse(text)
                    .ok_or_else(|| Error::usage(format!("{text:?} is no LSN such as 0/3000028")))?;
                if lsn < self.base.stop {
                    return Err(Error::failed(format!(
                        "{target} lies before the end of the base backup at {}: no earlier state can be had from it",
                        self.base.stop
                    ))
                    .hint("recover from the base backup before this one"));
                }
                Some(lsn)
            }
            RecoveryTarget::Immediate => Some(self.base.stop),
            RecoveryTarget::Time(at) if *at < self.base.began => {
                return Err(Error::failed(format!(
                    "{target} lies before the base backup began at {}: no earlier state can be had from it",
                    self.base.began.to_rfc3339()
                ))
                .hint("recover from the base backup before this one"));
            }
            // Whether these lie before the break shows in the recovery, which stops there.
            RecoveryTarget::Unbroken | RecoveryTarget::Time(_) | RecoveryTarget::Name(_) => {
                Some(self.base.stop)
            }
            RecoveryTarget::EndOfWal => None,
        };
        if let Some((segment, why)) = &self.broken
            && wanted.is_none_or(|wanted| wanted > segment.begins(size))
        {
            return Err(self.lost(*segment, why, repository));
        }
        if let (RecoveryTarget::Lsn(_), Some(lsn)) = (target, wanted) {
            let end = self
                .reach
                .as_ref()
                .map(|(segment, _)| segment.next(size).begins(size));
            if end.is_none_or(|end| lsn > end) {
                return Err(self.beyond(target, repository));
            }
        }
        Ok(())
    }

    /// A target that no archived WAL reaches.
    pub fn beyond(&self, target: &RecoveryTarget, repository: &str) -> Error {
        Error::failed(format!(
            "{target} lies after the last WAL in repository {repository}: {}",
            self.reaches()
        ))
        .hint("recover to the end of the archived WAL: what is later is lost with the server")
    }

    /// What is lost by a time in which the server ran with `wal_level = minimal`, from that place of the log on.
    pub fn not_logged(&self, from: Lsn, repository: &str) -> Error {
        let last = match &self.last {
            Some((last, at)) if !at.is_empty() => {
                format!(
                    ", up to {at} ({})",
                    last.next(self.base.size).begins(self.base.size)
                )
            }
            Some((last, _)) => format!(
                ", up to {}",
                last.next(self.base.size).begins(self.base.size)
            ),
            None => String::new(),
        };
        Error::failed(format!(
            "from {from} on the server ran with wal_level = minimal, so that the WAL in repository {repository} does not hold \
             everything that it wrote: what was committed after {from}{last} cannot be recovered from this base backup"
        ))
        .hint(format!(
            "recover from a base backup that was taken after that time, or up to the LSN {from} from this one; after every such time, \
             take a base backup before anything else is written"
        ))
    }

    /// A segment of which nothing is known but that its repository does not answer.
    pub fn not_reached(&self, segment: Segment, repository: &str) -> Error {
        unreachable(
            &segment.to_string(),
            &segment.begins(self.base.size).to_string(),
            repository,
        )
    }

    /// What a recovery that stopped there left behind on other timelines, in words.
    pub fn left_behind(&self, stopped: Lsn) -> Vec<String> {
        let size = self.base.size;
        let passed = self.abandoned.iter().filter(|it| it.from <= stopped);
        passed
            .map(|Abandoned { from, last, at }| {
                let end = last.next(size).begins(size);
                let until = match at.as_str() {
                    "" => format!("up to {end}"),
                    at => format!("up to {at} ({end})"),
                };
                format!(
                    "commits after {from} on timeline {}, {until}, are not part of it",
                    last.timeline
                )
            })
            .collect()
    }

    /// How far the good WAL goes, in words.
    pub fn reaches(&self) -> String {
        match &self.reach {
            Some((segment, at)) => {
                let end = segment.next(self.base.size).begins(self.base.size);
                match at.as_str() {
                    "" => format!("it ends with {segment}, at {end}"),
                    at => format!("it ends with {segment}, archived at {at}, at {end}"),
                }
            }
            None => "there is none".to_owned(),
        }
    }

    /// What is lost by a segment that is of no use.
    pub fn lost(&self, segment: Segment, why: &str, repository: &str) -> Error {
        let size = self.base.size;
        let begins = segment.begins(size);
        let stop = self.base.stop;
        if begins < stop {
            return Error::failed(format!(
                "WAL segment {segment} in repository {repository}: {why}; the base backup needs it (it ends at {stop}): nothing \
                 can be recovered from it here"
            ))
            .hint("read another repository, or recover from the base backup before this one");
        }
        // Not every archive tells on the drill's clock when it got a segment.
        let until = match &self.reach {
            Some((_, at)) if !at.is_empty() => {
                format!("what was committed after {at} ({begins})")
            }
            _ => format!("what was committed after {begins}"),
        };
        let last = match &self.last {
            Some((last, at)) if *last > segment => {
                let end = last.next(size).begins(size);
                match at.as_str() {
                    "" => format!(", up to {end},"),
                    at => format!(", up to {at} ({end}),"),
                }
            }
            _ => String::new(),
        };
        Error::failed(format!(
            "WAL segment {segment} in repository {repository}: {why}; {until}{last} cannot be recovered from here"
        ))
        .hint("read another repository; or accept that loss, and recover to the end of the unbroken WAL (`unbroken`)")
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
