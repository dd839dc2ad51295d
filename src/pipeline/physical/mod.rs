//! What every physical backup of PostgreSQL has in common, whatever takes it: the source's archiver, which archived WAL
//! continues a backup, and the recovery to any moment in between.
//!
//! - [`archiver`]: the source's side. - [`chain`]: which WAL continues a backup, and what a gap costs. - [`log`]: what a
//!   recovery fetches it with. - [`replay`]: the recovery, on an address of its own, up to its promotion; then it takes
//!   the place of the target's data. - [`point`]: where it stopped.
//!
//! Not here: taking a backup, bringing it back, and where its WAL is kept (see [`super::pg_basebackup`] and
//! [`super::pgbackrest`]).

pub mod archiver;
pub mod chain;
pub mod log;
pub mod point;
pub mod replay;

use std::path::PathBuf;

use chrono::DateTime;

use crate::error::{Error, Result};
use crate::repository::manifest::{Manifest, ManifestFile};
use crate::repository::wal::{self, Lsn, Name};
use crate::service::Running;

use chain::Base;

/// Manifest metadata of a physical backup, beside [`wal::START`].
pub const BEGAN: &str = "began";
/// Where it is consistent.
pub const STOP: &str = "wal-stop";
/// Bytes of a segment.
pub const SEGMENT: &str = "wal-segment-size";
/// The cluster that it is of.
pub const CLUSTER: &str = "system-identifier";

/// What to do about WAL that did not get into a repository.
pub const NOT_ARCHIVED: &str = "what was committed since the last segment that was archived is on the server alone, until it is \
                                archived once more: what is in a repository already stays as it is";
/// What to do about a backup that did not come to its end.
pub const NOT_TAKEN: &str = "nothing of it was committed: the one before it, and the WAL that follows that, are what there is to \
                             recover from; see the log of its step, and take it once more";

/// A directory beside the server's data, which is lost with it.
pub fn beside(server: &dyn Running, name: &str) -> PathBuf {
    server.data_dir().with_file_name(name)
}

/// The first number of the server's version.
pub fn major(server: &dyn Running) -> u32 {
    let first = server.version().split('.').next();
    first
        .and_then(|major| major.parse().ok())
        .unwrap_or_default()
}

/// What the manifest of a physical backup notes in the metadata of `file`.
pub fn noted<'m>(manifest: &'m Manifest, file: &'m ManifestFile, key: &str) -> Result<&'m str> {
    let noted = file.metadata.get(key);
    noted
        .map(String::as_str)
        .ok_or_else(|| Error::failed(format!("the manifest of {} has no {key}", manifest.id)))
}

/// What the recovery of a backup needs of the WAL, from the metadata of `file` in its manifest.
pub fn base(manifest: &Manifest, file: &ManifestFile) -> Result<Base> {
    let get = |key| noted(manifest, file, key);
    let unreadable = || {
        Error::failed(format!(
            "the manifest of {} cannot be understood",
            manifest.id
        ))
    };
    let Some(Name::Segment(start)) = Name::parse(get(wal::START)?) else {
        return Err(unreadable());
    };
    Ok(Base {
        start,
        began: DateTime::parse_from_rfc3339(get(BEGAN)?)
            .map_err(|_| unreadable())?
            .to_utc(),
        stop: Lsn::parse(get(STOP)?).ok_or_else(unreadable)?,
        size: get(SEGMENT)?.parse().map_err(|_| unreadable())?,
    })
}
