//! The figures that reports print: loss from the ledger, exposure of a schedule, projections by linear fit,
//! throughput. Formulas are those of the design: see each function.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Terms;
use crate::context::Phase;
use crate::evidence::{BackupFact, Evidence, RecoveryFact, Sample};
use crate::outcome::{RpoFigure, RtoFigure, ThroughputFigure};
use crate::plan;
use crate::suite::Check;

/// What was lost of one component.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// Acknowledged writes that did not come back.
    pub lost: u64,
    /// Strike instant minus commit instant of the oldest lost write, in seconds; 0 when none is lost.
    pub window: f64,
    /// Lost writes although a later one came back.
    pub holes: Vec<u64>,
}

/// RPO = strike instant − commit instant of the oldest acknowledged write that did not come back. From the ledger
/// only, never from file dates.
pub fn loss(evidence: &Evidence, recovery: &RecoveryFact) -> Option<Loss> {
    let strike = evidence.strike.as_ref()?.at;
    let back = &recovery.restored.as_ref()?.ledger;
    let written: Vec<(u64, DateTime<Utc>)> = evidence
        .ledger
        .iter()
        .filter(|entry| entry.component == recovery.component)
        .map(|entry| (entry.number, entry.at))
        .collect();
    if written.is_empty() {
        return None;
    }
    let missing: Vec<(u64, DateTime<Utc>)> = written
        .into_iter()
        .filter(|(number, _)| !back.contains(number))
        .collect();
    let newest_back = back.last().copied().unwrap_or(0);
    let oldest = missing.iter().map(|(_, at)| *at).min();
    Some(Loss {
        lost: missing.len() as u64,
        window: oldest.map_or(0.0, |at| seconds_between(at, strike)),
        holes: missing
            .iter()
            .map(|(number, _)| *number)
            .filter(|number| *number < newest_back)
            .collect(),
    })
}

fn seconds_between(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).num_milliseconds() as f64 / 1000.0
}

/// How long a schedule leaves data exposed at worst.
#[derive(Debug, Clone, PartialEq)]
pub struct Exposure {
    /// Period and duration together, in seconds.
    pub seconds: f64,
    /// The longest time between two runs, in seconds.
    pub period: f64,
    /// How long a run takes, in seconds.
    pub duration: f64,
    /// The duration is projected to the production size.
    pub projected: bool,
    /// The time between two ledger writes, in seconds: no window is known more finely.
    pub grain: f64,
}

/// Struck just before the next backup would have completed, that backup lasting what it was measured to last,
/// projected to the production size: a schedule is exposed for its period *and* its own duration.
pub fn exposure(evidence: &Evidence, terms: &Terms<'_>, backup: &str) -> Option<Exposure> {
    let spec = terms.backup(backup)?;
    if let Some(archive_timeout) = spec.method.archive_timeout() {
        let period = archive_timeout.as_secs_f64();
        let duration = archiving_duration(evidence, backup)?;
        return Some(Exposure {
            seconds: period + duration,
            period,
            duration,
            projected: false,
            grain: period / 10.0,
        });
    }
    let period = plan::period(&spec.schedule).ok()?.as_secs_f64();
    let (duration, projected) = backup_duration(evidence, terms, backup)?;
    Some(Exposure {
        seconds: period + duration,
        period,
        duration,
        projected,
        grain: period / 60.0,
    })
}

/// The longest that it took until what was committed was archived in every repository, in seconds. It takes as long for
/// a large cluster as for a small one: it is of the commits of one archive timeout.
fn archiving_duration(evidence: &Evidence, backup: &str) -> Option<f64> {
    let archives = evidence.archives.iter();
    let done = archives.filter(|fact| fact.backup == backup && fact.error.is_none());
    done.map(|fact| fact.seconds).reduce(f64::max)
}

/// How long after its instant a strike at the worst moment comes: what exposes the backup lasts that much longer.
pub fn worst_delay(evidence: &Evidence, terms: &Terms<'_>, backup: &str) -> Option<f64> {
    if terms.backup(backup)?.method.archives() {
        return archiving_duration(evidence, backup);
    }
    backup_duration(evidence, terms, backup).map(|(seconds, _)| seconds)
}

/// How long the backup takes: projected to the production size where one is known, else as measured, in seconds.
pub fn backup_duration(
    evidence: &Evidence,
    terms: &Terms<'_>,
    backup: &str,
) -> Option<(f64, bool)> {
    let last = evidence
        .backups
        .iter()
        .rev()
        .find(|fact| fact.backup == backup && fact.error.is_none())?;
    let component = terms
        .suite
        .components
        .iter()
        .find(|c| c.name == last.component)?;
    let Some(size) = component.production_size else {
        return Some((last.seconds, false));
    };
    let mut points: Vec<(f64, f64)> = samples(evidence, &last.component)
        .map(|s| (s.bytes as f64, s.backup_seconds))
        .collect();
    points.extend(backup_point(last));
    let projected = project(&points, size as f64);
    Some(projected.map_or((last.seconds, false), |seconds| (seconds, true)))
}

fn backup_point(fact: &BackupFact) -> Option<(f64, f64)> {
    Some((fact.source.as_ref()?.bytes as f64, fact.seconds))
}

fn samples<'a>(evidence: &'a Evidence, component: &'a str) -> impl Iterator<Item = &'a Sample> {
    evidence
        .samples
        .iter()
        .filter(move |sample| sample.component == component)
}

/// No measurement is carried further than to this multiple of the largest measured size: noise and fixed costs would
/// be all that a projection from a handful of megabytes multiplies.
const FARTHEST: f64 = 500.0;
/// How far apart the smallest and the largest size must be, as a ratio, for a line through them to mean anything.
const NEAREST: f64 = 2.0;

/// Why measured seconds are not carried to another size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TooLittle {
    /// No second size was measured.
    OneSize,
    /// The largest size is not twice the smallest.
    TooClose {
        /// The smallest size measured, in bytes.
        smallest: f64,
        /// The largest size measured, in bytes.
        largest: f64,
    },
    /// The largest size is less than a five-hundredth of the one asked for.
    TooSmall {
        /// The largest size measured, in bytes.
        largest: f64,
        /// The least that it would have to be, in bytes.
        least: f64,
    },
}

/// Carries measured seconds to another size by a least-squares line through the points; where the line would fall
/// with size (noise), in proportion to the largest point, which errs on the slow side. It takes two sizes of which one
/// is at least twice the other, and the largest must be a five-hundredth of the size asked for.
pub fn project(points: &[(f64, f64)], size: f64) -> Result<f64, TooLittle> {
    let largest = points.iter().copied().max_by(|a, b| a.0.total_cmp(&b.0));
    let (Some(largest), true) = (largest, points.len() > 1) else {
        return Err(TooLittle::OneSize);
    };
    let smallest = points.iter().map(|p| p.0).fold(largest.0, f64::min);
    if largest.0 <= 0.0 || smallest * NEAREST > largest.0 {
        let largest = largest.0;
        return Err(TooLittle::TooClose { smallest, largest });
    }
    if size > largest.0 * FARTHEST {
        return Err(TooLittle::TooSmall {
            largest: largest.0,
            least: size / FARTHEST,
        });
    }
    let n = points.len() as f64;
    let (mean_x, mean_y) = (
        points.iter().map(|p| p.0).sum::<f64>() / n,
        points.iter().map(|p| p.1).sum::<f64>() / n,
    );
    let spread: f64 = points.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
    let slope = points
        .iter()
        .map(|p| (p.0 - mean_x) * (p.1 - mean_y))
        .sum::<f64>()
        / spread;
    if !slope.is_finite() || slope <= 0.0 {
        return Ok(largest.1 * size / largest.0);
    }
    let at_zero = (mean_y - slope * mean_x).max(0.0);
    Ok(at_zero + slope * size)
}

/// A component's recovery carried to its production size.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    /// The component.
    pub component: String,
    /// Its production size, in bytes.
    pub bytes: u64,
    /// Seconds of its recovery there, or why they are not known.
    pub seconds: Result<f64, TooLittle>,
}

impl Projection {
    fn figure(&self) -> Option<(u64, Duration)> {
        let seconds = Duration::try_from_secs_f64(self.seconds.ok()?);
        Some((self.bytes, seconds.unwrap_or_default()))
    }
}

/// The measured recoveries carried to the production sizes, of every component that has one and was restored whole.
pub fn projections(evidence: &Evidence, terms: &Terms<'_>) -> Vec<Projection> {
    let recoveries = evidence.recoveries.iter();
    recoveries
        .filter_map(|recovery| project_component(evidence, terms, recovery))
        .collect()
}

/// The whole recovery carried to the production sizes: components are recovered in parallel, so that the longest decides.
/// `None` where one of them could not be carried, which may be the longest.
fn projected_recovery(evidence: &Evidence, terms: &Terms<'_>) -> Option<(u64, Duration)> {
    let all = projections(evidence, terms);
    let figures: Option<Vec<_>> = all.iter().map(Projection::figure).collect();
    figures?.into_iter().max_by_key(|(_, time)| *time)
}

/// The phases of a recovery that grow with the data; the others (a server started, a name swapped) do not.
const MOVING: [Phase; 4] = [Phase::Fetch, Phase::Restore, Phase::Replay, Phase::Verify];

/// Seconds of the phases that grow with the data; `None` of a recovery without a restore.
fn moving(recovery: &RecoveryFact) -> Option<f64> {
    recovery.phases.get(&Phase::Restore)?;
    let seconds = MOVING.iter().filter_map(|phase| recovery.phases.get(phase));
    Some(seconds.sum())
}

/// One component's recovery carried to its production size, from this drill's size and the calibration's: what grows
/// with the data by the line through both, and the rest as it was measured. A part of a component has no production
/// size, and starting a server again moves nothing.
fn project_component(
    evidence: &Evidence,
    terms: &Terms<'_>,
    recovery: &RecoveryFact,
) -> Option<Projection> {
    let component = terms
        .suite
        .components
        .iter()
        .find(|c| c.name == recovery.component)?;
    let bytes = component
        .production_size
        .filter(|_| is_whole(terms, recovery))?;
    let mut points: Vec<(f64, f64)> = samples(evidence, &component.name)
        .map(|s| (s.bytes as f64, s.moving_seconds))
        .collect();
    let moving = moving(recovery)?;
    let measured = recovery.expected.iter();
    points.extend(measured.map(|expected| (expected.bytes as f64, moving)));
    let fixed = (recovery.seconds? - moving).max(0.0);
    Some(Projection {
        component: component.name.clone(),
        bytes,
        seconds: project(&points, bytes as f64).map(|seconds| fixed + seconds),
    })
}

/// Whether all of the source came back, by whose size a restore is measured.
fn is_whole(terms: &Terms<'_>, recovery: &RecoveryFact) -> bool {
    terms.brought(&recovery.component).is_whole()
}

/// What a drill measured, for the projections of later ones.
pub fn samples_of(evidence: &Evidence, terms: &Terms<'_>) -> Vec<Sample> {
    evidence
        .recoveries
        .iter()
        .filter(|recovery| is_whole(terms, recovery))
        .filter_map(|recovery| {
            let taken = evidence
                .backups
                .iter()
                .rev()
                .find(|fact| fact.backup == recovery.backup)?;
            Some(Sample {
                component: recovery.component.clone(),
                bytes: recovery.expected.as_ref()?.bytes,
                moving_seconds: moving(recovery)?,
                backup_seconds: taken.seconds,
            })
        })
        .collect()
}

/// Restore throughput in GB/min: 10^9 bytes of the source as the server itself reports its size, over the restore
/// phase (for Redis and buckets the load is part of it).
pub fn throughput(recovery: &RecoveryFact) -> Option<f64> {
    let seconds = recovery
        .phases
        .get(&Phase::Restore)
        .copied()
        .filter(|seconds| *seconds > 0.0)?;
    Some(gb_per_min(recovery.expected.as_ref()?.bytes, seconds))
}

/// Everything that a report prints of a drill in numbers.
pub fn of_drill(
    evidence: &Evidence,
    terms: &Terms<'_>,
) -> (Vec<RpoFigure>, Option<RtoFigure>, Vec<ThroughputFigure>) {
    let scenario = terms.scenario();
    let seconds = |value: f64| Duration::try_from_secs_f64(value).unwrap_or_default();
    let rpo = evidence
        .recoveries
        .iter()
        .filter_map(|recovery| {
            let loss = loss(evidence, recovery)?;
            Some(RpoFigure {
                component: recovery.component.clone(),
                lost_writes: loss.lost,
                window: seconds(loss.window),
                objective: scenario
                    .and_then(|scenario| scenario.rpo.get(&recovery.component).copied()),
                typical: scenario
                    .and_then(|scenario| scenario.rpo_typical.get(&recovery.component).copied()),
            })
        })
        .collect();
    let rto = evidence.recovery_seconds.map(|total| RtoFigure {
        total: seconds(total),
        phases: Phase::RECOVERY
            .into_iter()
            .filter_map(|phase| {
                let longest = evidence
                    .recoveries
                    .iter()
                    .filter_map(|fact| fact.phases.get(&phase).copied());
                Some((phase, seconds(longest.reduce(f64::max)?)))
            })
            .collect(),
        objective: scenario.and_then(|scenario| scenario.rto),
        projected: projected_recovery(evidence, terms),
    });
    let throughput = evidence
        .recoveries
        .iter()
        .filter(|recovery| is_whole(terms, recovery))
        .filter_map(|recovery| {
            Some(ThroughputFigure {
                component: recovery.component.clone(),
                gb_per_min: throughput(recovery)?,
                source_bytes: recovery.expected.as_ref()?.bytes,
                artifact_bytes: recovery.artifact_bytes,
                projected: project_component(evidence, terms, recovery)
                    .and_then(|projection| projection.figure()),
            })
        })
        .collect();
    (rpo, rto, throughput)
}

/// 10^9 bytes a minute.
pub fn gb_per_min(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / 1e9 / (seconds / 60.0)
}

/// Seconds of the drill's own work that a check rests on: what the test "took".
pub(super) fn seconds_behind(check: Check, evidence: &Evidence, only: Option<&str>) -> f64 {
    let backups = evidence
        .backups
        .iter()
        .filter(|fact| only.is_none_or(|name| fact.backup == name));
    let recoveries = || {
        evidence
            .recoveries
            .iter()
            .filter(|fact| only.is_none_or(|name| fact.used(name)))
    };
    let phase = |phase: Phase| {
        recoveries()
            .filter_map(|fact| fact.phases.get(&phase))
            .sum::<f64>()
    };
    let steps = |phase: Phase| {
        evidence
            .steps
            .iter()
            .filter(|s| s.phase == phase)
            .map(|s| s.seconds)
            .sum::<f64>()
    };
    match check {
        Check::Artifact
        | Check::Readable
        | Check::Size
        | Check::Fresh
        | Check::Mirror
        | Check::Retention => backups.map(|fact| fact.seconds).sum(),
        Check::MassDelete => evidence.guards.iter().map(|fact| fact.seconds).sum(),
        Check::Restore | Check::TargetEmpty => phase(Phase::Fetch) + phase(Phase::Restore),
        Check::Replay => phase(Phase::Replay),
        Check::Smoke => phase(Phase::Verify),
        Check::Rto | Check::Rpo => evidence.recovery_seconds.unwrap_or(0.0),
        Check::Teardown => steps(Phase::Teardown),
        Check::Needs => phase(Phase::Provision),
        Check::Release => evidence
            .release
            .iter()
            .flat_map(|it| &it.migrations)
            .map(|it| it.seconds)
            .sum(),
        Check::Encryption
        | Check::Baseline
        | Check::Live
        | Check::Proven
        | Check::Integrity
        | Check::Ties
        | Check::Identity
        | Check::Content
        | Check::Catalogue
        | Check::Sequences
        | Check::Expiry
        | Check::Metadata
        | Check::Secrets
        | Check::Executed
        | Check::RecordBound => steps(Phase::Observe),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_points_on_a_line_project_along_it() {
        let seconds = project(&[(1e9, 11.0), (2e9, 21.0)], 10e9).expect("two points");
        assert!((seconds - 101.0).abs() < 1e-6, "{seconds}");
    }

    #[test]
    fn a_line_that_falls_is_noise_and_the_largest_point_decides() {
        assert_eq!(project(&[(1e6, 5.0), (4e6, 4.0)], 8e6), Ok(8.0));
    }

    #[test]
    fn one_size_or_a_size_far_too_small_projects_nothing() {
        assert_eq!(project(&[(4e6, 4.0)], 8e6), Err(TooLittle::OneSize));
        assert_eq!(project(&[], 8e6), Err(TooLittle::OneSize));
        let close = project(&[(4e6, 4.0), (4.1e6, 4.1)], 8e6);
        let (smallest, largest) = (4e6, 4.1e6);
        assert_eq!(close, Err(TooLittle::TooClose { smallest, largest }));
        let (largest, least) = (4e6, 24.6e6);
        let small = project(&[(1e6, 1.0), (4e6, 4.0)], 12.3e9);
        assert_eq!(small, Err(TooLittle::TooSmall { largest, least }));
    }

    proptest! {
        #[test]
        fn a_projection_to_a_larger_size_is_never_shorter(
            a in 1e9f64..5e9, b in 1e10f64..1e11, s in 0.01f64..1e3, t in 0.01f64..1e3, size in 1e11f64..1e12
        ) {
            let points = [(a, s), (b, t)];
            let near = project(&points, size).expect("points");
            let far = project(&points, size * 2.0).expect("points");
            prop_assert!(far >= near && near >= 0.0);
        }
    }
}
