//! Who may work while something is timed: drills run side by side, but what a figure is made of (a recovery, the backup
//! that it recovers from) runs alone.
//!
//! Not here: how many drills run at once (see [`super::runner`]).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::context::Context;
use crate::error::{Error, Result};

/// More than any run has drills at once.
const ALL: u32 = 1 << 16;

/// The drills that share a machine. Who holds a place must not ask for another one: somebody may be waiting to be alone.
#[derive(Debug, Clone)]
pub struct Floor(Arc<Semaphore>);

/// Held while at work.
pub(super) type Place = OwnedSemaphorePermit;

impl Default for Floor {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ALL as usize)))
    }
}

impl Floor {
    /// For work that may go on beside others' work; waits while somebody is alone, or waits to be.
    pub(super) async fn share(&self, ctx: &Context) -> Result<Place> {
        self.take(ctx, 1).await
    }

    /// For work that is timed; waits until the others have ended what they are at.
    pub(super) async fn alone(&self, ctx: &Context) -> Result<Place> {
        self.take(ctx, ALL).await
    }

    /// What the others are at has deadlines of its own, so that this wait ends.
    async fn take(&self, ctx: &Context, places: u32) -> Result<Place> {
        tokio::select! {
            place = self.0.clone().acquire_many_owned(places) => place.map_err(|_| Error::defect("the floor is closed")),
            () = ctx.cancel.cancelled() => Err(Error::interrupted()),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::context::RunId;

    fn context(dir: &tempfile::TempDir) -> Context {
        let path = dir.path().to_path_buf();
        let (run, cancel) = (
            RunId::from_text("r"),
            tokio_util::sync::CancellationToken::new(),
        );
        Context::new(run, path.clone(), path, cancel).expect("a context")
    }

    #[test]
    fn who_is_timed_is_alone_and_who_shares_waits_for_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let (ctx, floor) = (context(&dir), Floor::default());
        let share = || floor.share(&ctx).now_or_never();
        let alone = || floor.alone(&ctx).now_or_never();
        let (one, two) = (share(), share());
        assert!(one.is_some() && two.is_some(), "two share");
        assert!(alone().is_none(), "two others work");
        drop((one, two));
        let timed = alone();
        assert!(timed.is_some(), "nobody else works");
        assert!(share().is_none() && alone().is_none(), "somebody is timed");
        drop(timed);
        assert!(share().is_some());
    }

    #[tokio::test]
    async fn an_interruption_ends_the_wait() {
        let dir = tempfile::tempdir().expect("a directory");
        let (ctx, floor) = (context(&dir), Floor::default());
        let _alone = floor.alone(&ctx).await.expect("nobody else works");
        ctx.cancel.cancel();
        assert!(floor.share(&ctx).await.is_err());
    }
}
