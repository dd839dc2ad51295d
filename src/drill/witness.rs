//! The witness at a source's archive: what lies there is listed when a recovery begins, and again after everything was
//! read. A recovered copy must not archive into the archive of its source; what came in between is told by its name.
//!
//! Not here: where an archive is (see [`Pipeline::archived`](crate::pipeline::Pipeline::archived)), or whose doing it was
//! ([`crate::check`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::backup::stop_or_note;
use super::world::{World, pipeline};
use crate::context::{Context, Phase};
use crate::error::Result;
use crate::evidence::{ArchiveWatch, InArchive};
use crate::service::Service;
use crate::suite::Backup;

/// The archive of one source, as it was when the recovery began.
pub(super) struct Witness<'a> {
    backup: &'a Backup,
    source: Arc<dyn Service>,
    lives: bool,
    before: std::result::Result<BTreeSet<InArchive>, String>,
}

impl<'a> Witness<'a> {
    /// Looks at the archive of a backup's source; `lives` says that the source still answers, and may archive. `None`
    /// where nothing is archived, or the source is somebody else's.
    pub async fn call(
        ctx: &Context,
        world: &World<'_>,
        backup: &'a Backup,
        lives: bool,
    ) -> Result<Option<Self>> {
        if !backup.method.archives() || world.task.is_some() {
            return Ok(None);
        }
        let source = world.service(&backup.component)?;
        let before = look(ctx, world, backup, source.as_ref()).await?;
        Ok(Some(Self {
            backup,
            source,
            lives,
            before,
        }))
    }

    /// Looks again: what came in between.
    pub async fn ask(
        self,
        ctx: &Context,
        world: &World<'_>,
    ) -> Result<std::result::Result<ArchiveWatch, String>> {
        let now = look(ctx, world, self.backup, self.source.as_ref()).await?;
        Ok(self.before.and_then(|before| {
            Ok(ArchiveWatch {
                lives: self.lives,
                newest: before.iter().map(|it| it.timeline).max().unwrap_or(0),
                came: now?.difference(&before).cloned().collect(),
            })
        }))
    }

    /// The component whose source it is of.
    pub fn component(&self) -> &str {
        &self.backup.component
    }
}

/// What lies there, or why that is not known.
async fn look(
    ctx: &Context,
    world: &World<'_>,
    backup: &Backup,
    source: &dyn Service,
) -> Result<std::result::Result<BTreeSet<InArchive>, String>> {
    let ctx = ctx.within(Phase::Observe, &backup.component);
    let pipeline = pipeline(backup, world.component(&backup.component)?, world.fault)?;
    let looked = pipeline
        .archived(&ctx, source, &world.destination(backup))
        .await;
    looked.map_or_else(|error| stop_or_note(error).map(Err), |found| Ok(Ok(found)))
}
