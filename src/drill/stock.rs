//! Sources that were filled once: drills that begin with the same data begin with copies of it.
//!
//! Where several drills of a run want a component with the same settings, size and seed, the first of them fills a server
//! that is ended and kept, and each starts its own on a copy. What is drilled is the same; what is saved is filling. A
//! recovered server is never one of these: making it is part of its RTO.
//!
//! Not here: how a server is kept and copied (see [`crate::provision`]).

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::world::source_settings;
use crate::check::Terms;
use crate::clock::{Clock, SystemClock};
use crate::context::RunId;
use crate::error::Result;
use crate::plan::{Drill, DrillKind};
use crate::provision::reap::RunHome;
use crate::service::Held;
use crate::suite::{Component, Suite};

/// What a source is filled with, and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Filling {
    suite: String,
    component: String,
    settings: BTreeMap<String, String>,
    /// The bits of the scale.
    scale: u64,
    seed: u64,
}

impl Filling {
    /// That of a component in a drill; `None` where its source holds the drill's own writes only.
    pub(super) fn of(
        drill: &Drill,
        component: &Component,
        settings: BTreeMap<String, String>,
    ) -> Option<Self> {
        // A retention rehearsal takes hundreds of backups, and only their number and age matter.
        let filled = !matches!(drill.kind, DrillKind::Retention { .. });
        filled.then(|| Self {
            suite: drill.suite.clone(),
            component: component.name.clone(),
            settings,
            scale: drill.scale.to_bits(),
            seed: drill.seed,
        })
    }
}

/// The filled sources of a run, or of several that share them.
#[derive(Default)]
pub struct Stock {
    /// How many drills want each.
    wanted: HashMap<Filling, usize>,
    kept: Mutex<HashMap<Filling, Arc<OnceCell<Option<Held>>>>>,
    /// Where they lie: a place of its own, as it outlives the drill that filled them.
    home: OnceCell<RunHome>,
    number: AtomicU32,
}

impl Stock {
    /// An empty one for these drills.
    pub fn of(suites: &[Suite], drills: &[Drill]) -> Self {
        let mut wanted = HashMap::new();
        for drill in drills {
            let Some(suite) = suites.iter().find(|suite| suite.name == drill.suite) else {
                continue;
            };
            let terms = Terms { suite, drill };
            let components = suite.components.iter();
            for component in components.filter(|it| drill.components.contains(&it.name)) {
                // What is wrong with it is told by the drill.
                let settings = source_settings(&terms, component).unwrap_or_default();
                if let Some(filling) = Filling::of(drill, component, settings) {
                    *wanted.entry(filling).or_default() += 1;
                }
            }
        }
        Self {
            wanted,
            ..Self::default()
        }
    }

    /// The filled source, made by `fill` at the place it is given when it is first asked for; whoever asks meanwhile waits.
    /// `None` where it cannot be kept, or nobody else would begin with it.
    pub(super) async fn held(
        &self,
        filling: &Filling,
        fill: impl AsyncFnOnce(PathBuf) -> Result<Option<Held>>,
    ) -> Result<Option<Held>> {
        if self.wanted.get(filling).is_none_or(|drills| *drills < 2) {
            return Ok(None);
        }
        let cell = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.entry(filling.clone()).or_default().clone()
        };
        let held = cell.get_or_try_init(async || {
            let home = async || RunHome::create(&RunId::fresh(SystemClock.now()));
            let home = self.home.get_or_try_init(home).await?;
            let number = self.number.fetch_add(1, Ordering::Relaxed);
            let name = format!("{}-{number}", filling.component);
            fill(home.path().join(name)).await
        });
        held.await.cloned()
    }

    /// Removes what is kept.
    pub async fn clear(self) -> Result<()> {
        match self.home.into_inner() {
            Some(home) => home.remove("local").await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::plan::{Options, expand};
    use crate::suite;

    const SUITE: &str = r#"
[component.db]
kind = "postgres"
[repository.r]
kind = "local"
[backup.b]
component = "db"
repository = "r"
method = { pg-dump = {} }
schedule = "0 * * * *"
keep = { within = "1d" }
[scenario.one]
title = "One"
strike = [{ component = "db", fault = "server-lost" }]
at = ["5m after b", "worst"]
recover = ["b"]
rpo = "1h"
rto = "1h"
[retention]
days = 2
backups = ["b"]
"#;

    fn filling(stock: &Stock) -> Filling {
        stock.wanted.keys().next().expect("one is wanted").clone()
    }

    fn stock(drills: impl Fn(&Drill) -> bool) -> Stock {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("shop.toml");
        std::fs::write(&path, SUITE).expect("write");
        let suite = suite::load(&path).expect("a suite");
        let plan = expand(&suite, &Options::default()).expect("a plan");
        let drills: Vec<Drill> = plan.drills.into_iter().filter(drills).collect();
        Stock::of(&[suite], &drills)
    }

    #[tokio::test]
    async fn what_two_drills_want_is_filled_once_and_removed_in_the_end() {
        let stock = stock(|_| true);
        // The retention rehearsal, which fills nothing, is not counted.
        assert_eq!(stock.wanted.values().collect::<Vec<_>>(), [&2]);
        let filling = filling(&stock);
        let refused = stock.held(&filling, async |_| Err(Error::failed("no disk")));
        assert!(refused.await.is_err(), "what went wrong is told");
        let fill = async |place: PathBuf| {
            std::fs::create_dir(&place).expect("a place");
            let password = "p".to_owned();
            Ok(Some(Held {
                data: place,
                password,
                users: Vec::new(),
            }))
        };
        let first = stock.held(&filling, fill).await.expect("held");
        let never = async |_| Err(Error::defect("it is filled again"));
        let second = stock.held(&filling, never).await.expect("held");
        let data = first.expect("kept").data;
        assert_eq!(Some(&data), second.map(|held| held.data).as_ref());
        assert!(data.is_dir());
        stock.clear().await.expect("cleared");
        assert!(!data.parent().expect("a parent").exists());
    }

    #[tokio::test]
    async fn what_one_drill_wants_is_not_kept() {
        let stock = stock(|drill| drill.id.ends_with("@worst"));
        let filling = filling(&stock);
        let never = async |_| Err(Error::defect("it is kept"));
        assert!(stock.held(&filling, never).await.expect("none").is_none());
        stock.clear().await.expect("nothing to clear");
    }
}
