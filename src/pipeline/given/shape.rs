//! Which files of a folder make up one artifact, by their names and places. Nothing is read but names.
//!
//! Not here: what the files are by their bytes (see [`super::kind`]).

use std::path::{Path, PathBuf};

use super::bare;
use super::base::MANIFEST;
use crate::error::{Doing, Error, Result};

/// The files of one artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// One file.
    File(PathBuf),
    /// `pg_dump --format=directory`.
    DumpDirectory(PathBuf),
    /// A data directory.
    BaseDirectory(PathBuf),
    /// What `pg_basebackup --format=tar` writes into a folder.
    BaseTars {
        /// `base.tar`, packed or not.
        base: PathBuf,
        /// `pg_wal.tar`.
        wal: Option<PathBuf>,
        /// The manifest.
        manifest: Option<PathBuf>,
    },
    /// The append-only directory of Redis.
    AppendOnly(PathBuf),
    /// A repository of pgBackRest: `backup` and `archive`, with a stanza or several.
    PgBackRest(PathBuf),
}

/// The artifact that a file or a folder is; `None` of a folder that only holds artifacts.
pub fn of(path: &Path) -> Result<Option<Shape>> {
    if !path.is_dir() {
        return Ok(Some(beside(path)?));
    }
    let names = names(path)?;
    let has = |wanted: &str| names.iter().any(|(name, _)| name == wanted);
    if path.join("backup").is_dir() && path.join("archive").is_dir() || has_stanza(path) {
        return Ok(Some(Shape::PgBackRest(path.to_owned())));
    }
    if ["backup.info", "archive.info", "backup.manifest"]
        .into_iter()
        .any(has)
    {
        return Err(Error::usage(format!(
            "{} lies within a repository of pgBackRest, and its WAL beside it",
            path.display()
        ))
        .hint("name the folder with both `backup` and `archive` in it"));
    }
    if has("toc.dat") {
        return Ok(Some(Shape::DumpDirectory(path.to_owned())));
    }
    if has("PG_VERSION") {
        return Ok(Some(Shape::BaseDirectory(path.to_owned())));
    }
    if let Some((_, base)) = names.iter().find(|(name, _)| is_base(name)) {
        return Ok(Some(beside(base)?));
    }
    let is_aof = |(name, _): &(String, PathBuf)| name.ends_with(".aof.manifest");
    if names.iter().any(is_aof) {
        return Ok(Some(Shape::AppendOnly(path.to_owned())));
    }
    Ok(None)
}

/// Whether backups of pgBackRest lie below a folder, with or without their WAL.
fn has_stanza(folder: &Path) -> bool {
    let stanzas = std::fs::read_dir(folder.join("backup"));
    stanzas.into_iter().flatten().flatten().any(|stanza| {
        let info = |name: &str| stanza.path().join(name).is_file();
        info("backup.info") || info("backup.info.copy")
    })
}

/// A file, with what belongs to it where it is the tar file of a base backup.
fn beside(path: &Path) -> Result<Shape> {
    let folder = path.parent().filter(|_| is_base(&bare(path)));
    let Some(folder) = folder else {
        return Ok(Shape::File(path.to_owned()));
    };
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    let names = names(folder)?;
    let other = names.iter().find(|(name, _)| {
        let number = name.split_once(".tar").map(|(number, _)| number);
        number.is_some_and(|it| !it.is_empty() && it.chars().all(|c| c.is_ascii_digit()))
    });
    if let Some((name, _)) = other {
        return Err(Error::usage(format!(
            "{} has a tablespace of its own ({name}), and is not restored by redrill",
            folder.display()
        ))
        .hint("take the backup with pg_basebackup --format=plain and --tablespace-mapping, or dump the databases"));
    }
    let find = |wanted: &dyn Fn(&str) -> bool| {
        let mut found = names.iter().filter(|(name, _)| wanted(name));
        found.next().map(|(_, path)| path.clone())
    };
    Ok(Shape::BaseTars {
        base: path.to_owned(),
        wal: find(&|name| name.starts_with("pg_wal.tar")),
        manifest: find(&|name| name == MANIFEST),
    })
}

fn is_base(name: &str) -> bool {
    name == "base.tar" || name.starts_with("base.tar.")
}

/// What lies in a folder and may be an artifact, in the order of the names.
pub fn within(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(names(folder)?.into_iter().map(|(_, path)| path).collect())
}

/// What lies in a folder, by bare names, without what is hidden.
fn names(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let doing = || format!("look at {}", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).doing_with(doing)? {
        let path = entry.doing_with(doing)?.path();
        let name = bare(&path);
        if !name.starts_with('.') {
            names.push((name, path));
        }
    }
    names.sort();
    Ok(names)
}
