//! What happens, as it happens: events leave sideways to observers, and nothing flows back.

use crate::context::Phase;
use crate::outcome::{Outcome, Verdict};

/// Something that happened in a run.
#[derive(Debug, Clone)]
pub enum Event {
    /// A run begins: how many drills, which services and why.
    RunStarted {
        /// The run's name.
        run: String,
        /// How many drills it has.
        drills: usize,
        /// Which kind of services, and why.
        services: String,
    },
    /// A drill begins.
    DrillStarted {
        /// Its id.
        drill: String,
        /// Its title.
        title: String,
    },
    /// A drill enters a phase.
    Phase {
        /// The drill.
        drill: String,
        /// The phase.
        phase: Phase,
        /// What is being done, in a few words.
        what: String,
    },
    /// A drill's timeline goes on: done and total happenings.
    Progress {
        /// The drill.
        drill: String,
        /// Done so far.
        done: u64,
        /// In all.
        total: u64,
    },
    /// A drill has ended, after teardown and judgement.
    DrillEnded {
        /// The drill.
        drill: String,
        /// Its verdict.
        verdict: Verdict,
        /// How long it took.
        seconds: f64,
        /// What its checks said.
        outcomes: Vec<Outcome>,
    },
    /// The interrupt was seen; teardown goes on.
    Interrupted,
}

/// Who is told.
pub trait Observer: Send + Sync {
    /// Takes note of an event. Must not block on anything slow.
    fn observe(&self, event: &Event);
}

/// An observer that keeps everything, for tests and for `--quiet`.
#[derive(Debug, Default)]
pub struct Collected(std::sync::Mutex<Vec<Event>>);

impl Collected {
    /// Everything observed so far.
    pub fn events(&self) -> Vec<Event> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

impl Observer for Collected {
    fn observe(&self, event: &Event) {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(event.clone());
    }
}
