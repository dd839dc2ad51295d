//! Records on disk: written whole or not at all, read strictly.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Doing, Error, Result};

use super::format::{Record, SCHEMA_VERSION};

impl Record {
    /// The record as JSON, with a newline at its end.
    pub fn to_json(&self) -> Result<String> {
        let mut text = serde_json::to_string_pretty(self).doing("write the record as JSON")?;
        text.push('\n');
        Ok(text)
    }

    /// A record from JSON. An unknown schema version, an unknown or missing field and a summary that does not
    /// follow from the drills are errors.
    pub fn from_json(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            schema_version: u32,
        }
        let head: Head = serde_json::from_str(text)
            .doing("read its schema_version")
            .map_err(|error| error.hint("is this a record.json of redrill?"))?;
        if head.schema_version != SCHEMA_VERSION {
            return Err(Error::usage(format!(
                "it has schema version {}, and this redrill ({}) reads version {SCHEMA_VERSION}",
                head.schema_version,
                env!("CARGO_PKG_VERSION"),
            ))
            .hint("read it with the redrill that wrote it: its redrill_version says which"));
        }
        let record: Self = serde_json::from_str(text).doing("read its fields")?;
        record.consistent()?;
        Ok(record)
    }

    /// Replaces the file at `path`: after a crash it holds the old record or this one, never a part.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, self.to_json()?.as_bytes())
            .doing_with(|| format!("write the record {}", path.display()))
    }

    /// The record at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_with_bytes(path).map(|(record, _)| record)
    }

    /// The record at `path`, and the bytes that it was read from.
    pub fn read_with_bytes(path: &Path) -> Result<(Self, Vec<u8>)> {
        let what = || format!("read the record {}", path.display());
        let bytes = fs::read(path).doing_with(what)?;
        let record = Self::from_json(&String::from_utf8_lossy(&bytes)).doing_with(what)?;
        Ok((record, bytes))
    }

    /// An error when the record contradicts itself: what was edited by hand is no evidence.
    fn consistent(&self) -> Result<()> {
        let counted = self.count();
        if counted != self.summary {
            return Err(Error::failed(format!(
                "its summary says {:?} and its drills say {counted:?}",
                self.summary
            ))
            .hint("it was changed after it was written: run the drill again"));
        }
        let mut ids = BTreeSet::new();
        for drill in &self.drills {
            if !ids.insert(&drill.id) {
                return Err(Error::failed(format!("it has two drills `{}`", drill.id)));
            }
            if drill
                .checks
                .iter()
                .any(|check| check.verdict > drill.verdict)
            {
                return Err(Error::failed(format!(
                    "its drill `{}` is said to be better than a check of it",
                    drill.id
                ))
                .hint("it was changed after it was written: run the drill again"));
            }
        }
        Ok(())
    }
}

/// Writes a file beside `path` and renames it there, both made durable. The file beside is gone afterwards,
/// whatever happens.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path
        .file_name()
        .ok_or_else(|| Error::usage(format!("{} names no file", path.display())))?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside: PathBuf = folder.join(beside);
    let written = (|| {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    })();
    written.map_err(|error: std::io::Error| {
        // Best effort: the write has already failed, and its reason is the one that matters.
        fs::remove_file(&beside).ok();
        let hint = match error.kind() {
            std::io::ErrorKind::StorageFull => "free some space, or name another folder with --out",
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                "name a folder that can be written to with --out"
            }
            _ => "see whether the folder is there and can be written to; --out names another",
        };
        Error::failed(error.to_string()).hint(hint)
    })
}
