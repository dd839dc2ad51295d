//! A base backup of PostgreSQL, looked at before any server has it: its label, its manifest, its WAL, and whether all
//! that the manifest names is there. From a data directory, or the tar files that `pg_basebackup` writes.
//!
//! Not here: the bytes of its files, which `pg_verifybackup` holds to the manifest once they are unpacked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::script::instant;
use crate::pipeline::pg_basebackup::given::Known;
use crate::repository::wal::{Lsn, Name, Segment};
use crate::suite::Zone;

/// Files that are read whole, by their names in a data directory.
const LABEL: &str = "backup_label";
const VERSION: &str = "PG_VERSION";
const CONTROL: &str = "global/pg_control";
/// The manifest of a base backup.
pub const MANIFEST: &str = "backup_manifest";
const WAL: &str = "pg_wal/";
/// No file that is read whole is longer.
const MAX: u64 = 512 << 20;
/// The usual size of a segment.
const SEGMENT: u64 = 16 << 20;

/// What was found of a base backup.
#[derive(Debug, Clone, Default)]
pub struct Found {
    small: BTreeMap<String, Vec<u8>>,
    /// Sizes of its files, by name; of the WAL, and of what is made anew by each start, only where they lie there.
    sizes: BTreeMap<String, u64>,
    /// Segments of WAL that came with it.
    segments: BTreeMap<Segment, u64>,
    /// It has tablespaces beside it.
    pub tablespaces: bool,
}

/// A base backup that can be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The major version of the server.
    pub version: String,
    /// When it was begun.
    pub began: Option<DateTime<Utc>>,
    /// The cluster's identity; of older manifests, from its control file.
    pub cluster: String,
    /// Where its recovery begins.
    pub start: Segment,
    /// Where it is consistent, as far as is known.
    pub stop: Lsn,
    /// Bytes of a segment.
    pub segment_size: u64,
    /// The segments that are there.
    pub wal: BTreeSet<String>,
    /// It has a manifest.
    pub has_manifest: bool,
    /// How many files it has.
    pub files: u64,
}

impl From<Base> for Known {
    fn from(base: Base) -> Self {
        Self {
            start: base.start,
            began: base.began.unwrap_or_default(),
            stop: base.stop,
            size: base.segment_size,
            cluster: base.cluster,
            wal: base.wal,
            has_manifest: base.has_manifest,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    #[serde(default, rename = "System-Identifier")]
    system: Option<u64>,
    files: Vec<ManifestFile>,
    #[serde(default, rename = "WAL-Ranges")]
    wal: Vec<Range>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestFile {
    /// Not of names that are no UTF-8.
    path: Option<String>,
    size: u64,
}

#[derive(Deserialize)]
struct Range {
    #[serde(rename = "End-LSN")]
    end: String,
}

impl Found {
    /// Takes note of a file, by its path in the data directory.
    pub fn file(&mut self, path: &str, size: u64, content: &mut dyn Read) -> io::Result<()> {
        let path = path.trim_start_matches("./");
        if [LABEL, VERSION, CONTROL, MANIFEST].contains(&path) {
            let mut bytes = Vec::new();
            content.take(MAX).read_to_end(&mut bytes)?;
            self.small.insert(path.to_owned(), bytes);
        }
        let wal = path.strip_prefix(WAL);
        if let Some(Name::Segment(segment)) = wal.and_then(Name::parse) {
            self.segments.insert(segment, size);
        }
        self.tablespaces |= path.starts_with("pg_tblspc/") && path != "pg_tblspc/";
        self.sizes.insert(path.to_owned(), size);
        Ok(())
    }

    /// Takes note of a segment that comes beside it.
    pub fn wal(&mut self, path: &str, size: u64) {
        let name = path.rsplit('/').next().unwrap_or(path);
        if let Some(Name::Segment(segment)) = Name::parse(name) {
            self.segments.insert(segment, size);
        }
    }

    /// Goes through a data directory.
    pub fn directory(&mut self, root: &Path, below: &str) -> io::Result<()> {
        for entry in std::fs::read_dir(root.join(below))? {
            let entry = entry?;
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.directory(root, &format!("{name}/"))?;
            } else if kind.is_symlink() {
                self.tablespaces |= name.starts_with("pg_tblspc/");
            } else if kind.is_file() {
                let mut file = std::fs::File::open(entry.path())?;
                self.file(&name, entry.metadata()?.len(), &mut file)?;
            }
        }
        Ok(())
    }

    fn text(&self, name: &str) -> Option<String> {
        let bytes = self.small.get(name)?;
        Some(String::from_utf8_lossy(bytes).trim().to_owned())
    }

    /// What can be told at the first look, of a beginning of it.
    pub fn label(&self, zone: Zone) -> (Option<String>, Option<DateTime<Utc>>) {
        let label = self.text(LABEL).unwrap_or_default();
        let line = |word: &str| label.lines().find_map(|line| line.strip_prefix(word));
        let began = line("START TIME: ").and_then(|time| instant(time, zone));
        (self.text(VERSION), began)
    }

    /// Where its recovery begins.
    pub fn start(&self) -> Option<(Segment, Lsn)> {
        start_of(&self.text(LABEL)?)
    }

    /// The base backup, or why it is none that can be restored.
    pub fn understood(&self, zone: Zone) -> Result<Base, String> {
        let (version, began) = self.label(zone);
        let version = version
            .ok_or("it has no PG_VERSION: it is no data directory of PostgreSQL, or was cut")?;
        let label = self.text(LABEL).ok_or(
            "it has no backup_label: it is a copy of a data directory and no base backup, or was cut; nothing says where its recovery begins",
        )?;
        let (first, start) =
            start_of(&label).ok_or("its backup_label does not say where its recovery begins")?;
        let control = self.small.get(CONTROL).filter(|bytes| bytes.len() >= 8);
        let control = control.ok_or("it has no global/pg_control: it was cut")?;
        let mut cluster = [0; 8];
        cluster.copy_from_slice(&control[..8]);
        let manifest = self.manifest()?;
        let stop = manifest
            .as_ref()
            .and_then(|it| Lsn::parse(&it.wal.last()?.end));
        let system = manifest.as_ref().and_then(|it| it.system);
        if let Some(manifest) = &manifest {
            self.holds(manifest)?;
        }
        let segment_size = self.segments.values().copied().max().unwrap_or(SEGMENT);
        Ok(Base {
            version,
            began,
            cluster: system.unwrap_or(u64::from_le_bytes(cluster)).to_string(),
            start: first,
            stop: stop.unwrap_or(start),
            segment_size,
            wal: self
                .segments
                .iter()
                .filter(|(segment, size)| {
                    segment.timeline == first.timeline && **size == segment_size
                })
                .map(|(segment, _)| segment.to_string())
                .collect(),
            has_manifest: manifest.is_some(),
            files: self.sizes.len() as u64,
        })
    }

    fn manifest(&self) -> Result<Option<Manifest>, String> {
        let Some(bytes) = self.small.get(MANIFEST) else {
            return Ok(None);
        };
        let read = serde_json::from_slice(bytes).map(Some);
        read.map_err(|error| format!("its backup_manifest was cut, or is damaged: {error}"))
    }

    /// Every file that the manifest names is there in its size.
    fn holds(&self, manifest: &Manifest) -> Result<(), String> {
        let mut named = manifest
            .files
            .iter()
            .filter_map(|it| Some((it.path.as_ref()?, it.size)));
        let lacking = named.find(|(path, size)| self.sizes.get(*path) != Some(size));
        match lacking.map(|(path, size)| (path, size, self.sizes.get(path))) {
            None => Ok(()),
            Some((path, _, None)) => Err(format!("its manifest names {path}, which is not in it")),
            Some((path, size, Some(found))) => Err(format!(
                "{path} has {found} bytes, and its manifest says {size}"
            )),
        }
    }
}

/// Where a recovery begins, by the label.
fn start_of(label: &str) -> Option<(Segment, Lsn)> {
    let mut lines = label.lines();
    let place = lines.find_map(|line| line.strip_prefix("START WAL LOCATION: "))?;
    let (_, named) = place.split_once("(file ")?;
    match Name::parse(named.split(')').next()?)? {
        Name::Segment(first) => Some((first, Lsn::parse(place.split_whitespace().next()?)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Found {
        let mut found = Found::default();
        for (name, content) in files {
            let size = content.len() as u64;
            found
                .file(name, size, &mut content.as_bytes())
                .expect("is read");
        }
        found
    }

    const LABELLED: &str = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n\
        CHECKPOINT LOCATION: 0/2000060\nSTART TIME: 2026-11-21 03:00:00 UTC\nLABEL: x\nSTART TIMELINE: 1\n";
    const NAMED: &str = r#"{ "PostgreSQL-Backup-Manifest-Version": 1, "Files": [
        { "Path": "PG_VERSION", "Size": 3, "Last-Modified": "x" }],
        "WAL-Ranges": [{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000138" }]}"#;

    fn whole() -> Vec<(&'static str, &'static str)> {
        vec![
            ("./PG_VERSION", "15\n"),
            ("backup_label", LABELLED),
            ("global/pg_control", "\u{1}\0\0\0\0\0\0\0rest"),
            ("backup_manifest", NAMED),
            ("pg_wal/000000010000000000000002", "segment"),
        ]
    }

    #[test]
    fn a_base_backup_says_what_it_is_of_and_when_it_began() {
        let base = found(&whole()).understood(Zone::UTC).expect("is one");
        assert_eq!((base.version.as_str(), base.cluster.as_str()), ("15", "1"));
        assert_eq!(base.stop, Lsn::parse("0/2000138").expect("a place"));
        assert!(base.wal.contains("000000010000000000000002"));
        let began = base.began.map(|at| at.to_rfc3339());
        assert_eq!(began.as_deref(), Some("2026-11-21T03:00:00+00:00"));
    }

    #[test]
    fn what_lacks_something_says_what() {
        for (name, words) in [
            ("./PG_VERSION", "PG_VERSION"),
            ("backup_label", "no backup_label"),
            ("global/pg_control", "pg_control"),
        ] {
            let mut files = whole();
            files.retain(|(known, _)| *known != name);
            let error = found(&files).understood(Zone::UTC).expect_err("lacks it");
            assert!(error.contains(words), "{error}");
        }
        let mut files = whole();
        files[0].1 = "15";
        let error = found(&files).understood(Zone::UTC).expect_err("is shorter");
        assert!(
            error.contains("2 bytes") && error.contains("says 3"),
            "{error}"
        );
        files[3].1 = &NAMED[..60];
        let error = found(&files).understood(Zone::UTC).expect_err("was cut");
        assert!(error.contains("backup_manifest was cut"), "{error}");
    }
}
