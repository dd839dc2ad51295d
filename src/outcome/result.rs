//! What one drill amounts to: its facts, what its checks said, and its figures. Filled once teardown has ended;
//! records are made from it.
//!
//! Not here: how the figures are computed (see [`crate::check`]) or written down (see [`crate::record`]).

use std::time::Duration;

use super::{Outcome, Verdict};
use crate::context::Phase;
use crate::evidence::Evidence;
use crate::plan::Drill;

/// The result of one drill.
#[derive(Debug, Clone)]
pub struct DrillResult {
    /// The drill as planned.
    pub drill: Drill,
    /// What was observed.
    pub evidence: Evidence,
    /// What the checks said, each with the name of the suite's test that asked for it, when one did.
    pub outcomes: Vec<(Outcome, Option<String>)>,
    /// The drill's verdict. For a detection drill: passed when the named check caught the fault.
    pub verdict: Verdict,
    /// Measured losses, one per component; empty when none was measured.
    pub rpo: Vec<RpoFigure>,
    /// The measured recovery time; `None` when nothing came back.
    pub rto: Option<RtoFigure>,
    /// Measured restores, one per component.
    pub throughput: Vec<ThroughputFigure>,
    /// How long the drill took, from provision to the end of teardown.
    pub seconds: f64,
    /// Everything that was removed, in order, and why it could not be where it could not.
    pub teardown: Vec<(String, Result<(), String>)>,
}

/// The measured loss of one component, from the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpoFigure {
    /// The component.
    pub component: String,
    /// Acknowledged writes that did not come back.
    pub lost_writes: u64,
    /// Strike − commit of the oldest acknowledged write that did not come back; zero when none is missing.
    pub window: Duration,
    /// The largest window allowed.
    pub objective: Option<Duration>,
    /// The largest median allowed of the windows of the scenario's drills.
    pub typical: Option<Duration>,
}

/// The measured recovery time of a drill.
#[derive(Debug, Clone, PartialEq)]
pub struct RtoFigure {
    /// Loss declared to the last component's first verified read.
    pub total: Duration,
    /// Its parts, in order; components recovered in parallel overlap, so that they need not add up to the total.
    pub phases: Vec<(Phase, Duration)>,
    /// The longest recovery allowed.
    pub objective: Option<Duration>,
    /// The recovery time projected to the production size: bytes, all components together, and the time.
    pub projected: Option<(u64, Duration)>,
}

/// The measured restore of one component.
#[derive(Debug, Clone, PartialEq)]
pub struct ThroughputFigure {
    /// The component.
    pub component: String,
    /// 10^9 bytes of the source over minutes of the restore phase.
    pub gb_per_min: f64,
    /// Bytes of the source, as the server itself reports its size.
    pub source_bytes: u64,
    /// Stored bytes of the artifact.
    pub artifact_bytes: u64,
    /// This component's recovery projected to its production size: bytes and time.
    pub projected: Option<(u64, Duration)>,
}
