//! What the manifest of an artifact notes of its backup (the stanza, the label, the cluster), and the backup that this names in
//! a repository.

use std::collections::BTreeMap;

use super::info::{Info, Set};
use super::stanza::{STANZA, Stanza, prefix};
use super::{LABEL, NAME};
use crate::error::{Error, Result};
use crate::pipeline::physical::{self, CLUSTER};
use crate::repository::manifest::{Manifest, ManifestFile};

/// The file of the manifest that says what pgBackRest calls the backup.
pub(super) fn marker_of(manifest: &Manifest) -> Result<&ManifestFile> {
    let mut files = manifest.files.iter();
    let marker = files.find(|file| file.metadata.contains_key(LABEL));
    marker.ok_or_else(|| {
        Error::failed(format!(
            "artifact {} does not say what pgBackRest calls it",
            manifest.id
        ))
    })
}

/// The stanza that an artifact's backup is in.
pub(super) fn name_in(metadata: &BTreeMap<String, String>) -> String {
    let name = metadata.get(NAME).map_or(STANZA, String::as_str);
    name.to_owned()
}

/// What pgBackRest calls the backup of an artifact.
pub fn label_of(manifest: &Manifest) -> Option<&str> {
    let mut files = manifest.files.iter();
    files.find_map(|file| file.metadata.get(LABEL).map(String::as_str))
}

/// Whether a key is one of pgBackRest's; and of which of its backups, where it is of one.
pub fn label_in<'k>(backup: &str, key: &'k str) -> Option<Option<&'k str>> {
    let own = key.strip_prefix(prefix(backup).as_str())?;
    let label = own
        .strip_prefix("backup/")
        .and_then(|own| own.split('/').nth(1));
    // `20261121-222623F`, `20261121-222623F_20261121-222626D`
    Some(label.filter(|label| label.starts_with(|first: char| first.is_ascii_digit())))
}

/// The backup of an artifact in a repository, which must be its cluster's.
pub(super) fn set_of(info: &Info, stanza: &Stanza<'_>, manifest: &Manifest) -> Result<Set> {
    let marker = marker_of(manifest)?;
    let (label, repository) = (
        physical::noted(manifest, marker, LABEL)?,
        &stanza.repository,
    );
    let cluster = physical::noted(manifest, marker, CLUSTER)?;
    if info.cluster.is_empty() {
        return Err(Error::failed(format!(
            "repository {repository} has no stanza of pgBackRest: it is empty, or not the one that was backed up to"
        ))
        .hint("read another repository, or see what removed it"));
    }
    let set = info.set(label);
    let found = set.map_or(&info.cluster, |set| &set.cluster);
    if found != cluster {
        return Err(Error::refused(format!(
            "repository {repository} holds the backups of cluster {found}, and this artifact is of cluster {cluster}"
        ))
        .hint("two systems' repositories were mixed up: see where each one backs up to"));
    }
    set.cloned().ok_or_else(|| {
        Error::failed(format!(
            "repository {repository} does not hold the backup {label} any more"
        ))
        .hint("it was expired or removed: recover another one")
    })
}
