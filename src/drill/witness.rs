//! The witness at a source's archive: what lies there is listed when a recovery begins, and again after everything was
//! read. A recovered copy must not archive into the archive of its source; what came in between is told by its name.
//!
//! Not here: where an archive is (see [`Pipeline::archive_of`](crate::pipeline::Pipeline::archive_of)), or whose doing it was
//! ([`crate::check`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::backup::stop_or_note;
use super::world::{World, pipeline};
use crate::context::{Context, Phase};
use crate::error::Result;
use crate::evidence::{ArchiveWatch, InArchive};
use crate::service::Running;
use crate::suite::Backup;

/// What the directory is called in findings.
const DIRECTORY: &str = "the directory that the source archives to";

/// The archive of one source, as it was when the recovery began.
pub(super) struct Witness<'a> {
    backup: &'a Backup,
    source: Arc<dyn Running>,
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
        let source = world.service(&backup.component)?.server();
        let before = look(ctx, world, backup, source.as_ref(), lives).await?;
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
        let now = look(ctx, world, self.backup, self.source.as_ref(), self.lives).await?;
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
    source: &dyn Running,
    lives: bool,
) -> Result<std::result::Result<BTreeSet<InArchive>, String>> {
    let ctx = ctx.within(Phase::Observe, &backup.component);
    let pipeline = pipeline(backup, world.component(&backup.component)?, world.fault)?;
    let Some(archive) = pipeline.archive_of(source, &backup.name) else {
        return Ok(Ok(BTreeSet::new()));
    };
    let looking = async {
        let mut found = BTreeSet::new();
        for repository in world.repositories(backup) {
            let listing = repository.list(&ctx, &archive.prefix).await?;
            let names = listing.iter().filter_map(|it| it.key.rsplit('/').next());
            found.extend(named(&format!("repository {}", repository.name()), names));
        }
        if let Some(directory) = archive.directory {
            const LIST: &str = r#"[ ! -e "$1" ] || ls -- "$1""#;
            let list = source.tool("sh").args(["-c", LIST, "sh"]);
            let listed = list.arg(directory).run(&ctx).await;
            match listed.and_then(|listed| listed.ok()) {
                Ok(listed) => found.extend(named(DIRECTORY, listed.text().lines())),
                // No program runs any more where a lost server was, and nothing is left of its archive.
                Err(error) if !lives => stop_or_note(error).map(drop)?,
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    };
    match looking.await {
        Ok(found) => Ok(Ok(found)),
        Err(error) => stop_or_note(error).map(Err),
    }
}

/// Files of an archive by their names, whatever is added to those; what is no WAL is not of it.
fn named<'n>(place: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<InArchive> {
    let of_timeline = |name: &str| {
        let (timeline, rest) = name.split_at_checked(8)?;
        let is_wal = rest.starts_with(|next: char| next == '.' || next.is_ascii_hexdigit());
        let timeline = u32::from_str_radix(timeline, 16).ok()?;
        is_wal.then(|| InArchive {
            timeline,
            name: name.to_owned(),
            place: place.to_owned(),
        })
    };
    names.into_iter().filter_map(of_timeline).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_an_archive_is_of_the_timeline_in_its_name() {
        let names = [
            "00000002.history.gz.age",
            "0000000A0000000000000003-5b49dc93.zst",
            "archive.info",
            "archive.sh",
        ];
        let found = named("there", names);
        let timelines: Vec<u32> = found.iter().map(|it| it.timeline).collect();
        assert_eq!(timelines, [2, 10]);
    }
}
