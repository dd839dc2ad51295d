//! A base backup that somebody else took: its WAL lies in it, or in a tar file beside it, and no archive continues it. What a
//! drill writes into its manifest about a base backup is noted here from the backup itself, so that it is recovered as any
//! other is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::BASE;
use crate::context::Context;
use crate::error::{Doing, Result};
use crate::pipeline::Fetched;
use crate::pipeline::artifact::ArtifactReader;
use crate::pipeline::physical::chain::{self, Base, Chain, Have};
use crate::pipeline::physical::{BEGAN, CLUSTER, SEGMENT, STOP};
use crate::repository::manifest::ManifestFile;
use crate::repository::wal::{self, Lsn, Name, Segment};
use crate::service::{Running, write_file};

/// The manifest of a base backup, where it lies beside its tar file.
pub const MANIFEST: &str = "backup_manifest";
/// The WAL of a base backup, where it lies beside its tar file.
pub const WAL_TAR: &str = "pg_wal.tar";
/// The segments that a base backup has with it, with commas between them; not noted where an archive continues it.
const INSIDE: &str = "wal-inside";
/// Whether it has a manifest that it can be held to; not noted of what a drill took, which always has one.
const HAS_MANIFEST: &str = "has-manifest";

/// What is known of a base backup by itself.
pub struct Known {
    /// Where its recovery begins.
    pub start: Segment,
    /// When it was begun; a time long ago where that is not known.
    pub began: DateTime<Utc>,
    /// Where it is consistent.
    pub stop: Lsn,
    /// Bytes of a segment.
    pub size: u64,
    /// The identity of its cluster.
    pub cluster: String,
    /// The segments that are with it.
    pub wal: BTreeSet<String>,
    /// It has a manifest.
    pub has_manifest: bool,
}

/// What is noted beside the file of a base backup.
pub fn notes(known: &Known) -> BTreeMap<String, String> {
    let names: Vec<&str> = known.wal.iter().map(String::as_str).collect();
    [
        (wal::START, known.start.to_string()),
        (BEGAN, known.began.to_rfc3339()),
        (STOP, known.stop.to_string()),
        (SEGMENT, known.size.to_string()),
        (CLUSTER, known.cluster.clone()),
        (INSIDE, names.join(",")),
        (HAS_MANIFEST, known.has_manifest.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// The first segment from `start` to the one that ends at `stop` that is not among those that are there.
pub fn missing(start: Segment, stop: Lsn, size: u64, there: &BTreeSet<String>) -> Option<Segment> {
    let last = Segment::holding(start.timeline, Lsn(stop.0.saturating_sub(1)), size);
    let mut at = start;
    loop {
        if !there.contains(&at.to_string()) {
            return Some(at);
        }
        if at.place() >= last.place() {
            return None;
        }
        at = at.next(size);
    }
}

/// The segments that a base backup has with it, where no archive continues it.
pub(super) fn inside(file: &ManifestFile) -> Option<&str> {
    file.metadata.get(INSIDE).map(String::as_str)
}

/// The WAL that is with a base backup, as far as it goes without a gap.
pub(super) fn chain(base: Base, names: &str) -> Result<Chain> {
    let segments = names.split(',').filter_map(|name| match Name::parse(name) {
        Some(Name::Segment(segment)) => Some(segment),
        _ => None,
    });
    let known = |segment: Segment| {
        (
            segment,
            Have {
                at: "an unknown time".to_owned(),
                ..Have::default()
            },
        )
    };
    let have: BTreeMap<Segment, Have> = segments.map(known).collect();
    chain::follow(base, &have, &BTreeMap::new())
}

/// Whether a base backup has a manifest that it can be held to.
pub(super) fn has_manifest(metadata: &BTreeMap<String, String>) -> bool {
    metadata.get(HAS_MANIFEST).is_none_or(|it| it == "true")
}

/// Brings what lies beside the tar file of a base backup to the server; `files` has each place before it is written to.
pub(super) async fn beside(
    ctx: &Context,
    server: &dyn Running,
    artifact: &ArtifactReader,
    files: &mut Vec<(String, PathBuf)>,
) -> Result<()> {
    for name in [MANIFEST, WAL_TAR] {
        if artifact.manifest.file(name).is_some() {
            let path = server
                .staging()
                .join(format!("{}-{name}", ctx.next_number()));
            files.push((name.to_owned(), path.clone()));
            write_file(ctx, server, &path, artifact.open(ctx, name).await?).await?;
        }
    }
    Ok(())
}

/// Adds what lay beside the tar file to the unpacked base backup.
pub(super) async fn add(
    ctx: &Context,
    server: &dyn Running,
    fetched: &Fetched,
    into: &Path,
    deadline: Duration,
) -> Result<()> {
    for (name, path) in fetched.files.iter().filter(|(name, _)| name != BASE) {
        let add = match name.as_str() {
            MANIFEST => server
                .tool("cp")
                .arg("--")
                .arg(path)
                .arg(into.join(MANIFEST)),
            WAL_TAR => {
                let tar = server
                    .tool("tar")
                    .arg("-x")
                    .arg("-C")
                    .arg(into.join("pg_wal"));
                tar.arg("-f").arg(path)
            }
            _ => continue,
        };
        let added = add.deadline(deadline).run(ctx).await?.ok();
        added.doing_with(|| format!("add {name} to the base backup"))?;
    }
    Ok(())
}
