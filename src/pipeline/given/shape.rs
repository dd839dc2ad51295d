//! Which files of a folder make up one artifact, by their names and places. Nothing is read but names.
//!
//! Not here: what the files are by their bytes (see [`super::kind`]).

use std::path::{Path, PathBuf};

use super::bare;
use super::base::MANIFEST;
use crate::error::{Doing, Error, Result};
use crate::repository::wal::Name;

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

/// How many folders deep artifacts are looked for.
pub const DEPTH: usize = 5;
/// No folder of artifacts has more files and folders in it.
pub const MOST: usize = 20_000;

/// What lies in a folder, and in the folders in it.
pub struct Within {
    /// What may be an artifact, or why it is none, in the order of the names.
    pub all: Vec<(PathBuf, Result<Shape>)>,
    /// A folder that lies too deep to be looked into, where there is one.
    pub deeper: Option<PathBuf>,
}

/// What lies in a folder and may be an artifact. A folder that only holds others is looked into, [`DEPTH`] folders deep.
pub fn within(root: &Path) -> Result<Within> {
    let mut within = Within {
        all: Vec::new(),
        deeper: None,
    };
    let mut seen = 0;
    let mut folders = vec![(0, root.to_owned())];
    while let Some((depth, folder)) = folders.pop() {
        let names = match names(&folder) {
            Ok(names) => names,
            Err(error) if depth == 0 => return Err(error),
            Err(error) => {
                within.all.push((folder, Err(error)));
                continue;
            }
        };
        // Of WAL there may be very much, and there is nothing to choose of it.
        seen += names.iter().filter(|(name, _)| wal(name).is_none()).count();
        if seen > MOST {
            return Err(Error::usage(format!(
                "{} holds more than {MOST} files and folders, too many to choose from",
                root.display()
            ))
            .hint("name the folder of one kind of backup, or the artifact itself"));
        }
        for (name, path) in names {
            match of(&path) {
                // It goes with a base backup, and there may be many.
                Ok(Some(Shape::File(_))) if wal(&name).is_some() => {}
                Ok(Some(shape)) => within.all.push((path, Ok(shape))),
                Ok(None) if depth + 1 < DEPTH => folders.push((depth + 1, path)),
                Ok(None) => within.deeper = Some(path),
                Err(error) => within.all.push((path, Err(error))),
            }
        }
    }
    within.all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(within)
}

/// The name of a file of WAL without what only says how it is stored, and whether it is one that was not finished.
pub fn wal(name: &str) -> Option<(&str, bool)> {
    let (mut name, mut unfinished) = (name, false);
    let endings = [".age", ".gz", ".zst", ".lz4", ".partial"];
    while let Some((rest, ending)) = endings
        .iter()
        .find_map(|ending| Some((name.strip_suffix(ending)?, *ending)))
    {
        (name, unfinished) = (rest, unfinished || ending == ".partial");
    }
    match Name::parse(name)? {
        Name::Segment(_) | Name::History(_) => Some((name, unfinished)),
        Name::Backup(_) | Name::Partial(_) => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wal_is_known_by_its_name_however_it_is_stored() {
        let segment = "000000010000000000000002";
        for (ending, unfinished) in [
            ("", false),
            (".gz", false),
            (".zst.age", false),
            (".lz4", false),
            (".partial", true),
            (".gz.partial", true),
            (".partial.age", true),
        ] {
            let name = format!("{segment}{ending}");
            assert_eq!(wal(&name), Some((segment, unfinished)), "{ending}");
        }
        for other in [
            "archive_status",
            "000000010000000000000002.00000028.backup",
            "x.gz",
        ] {
            assert_eq!(wal(other), None, "{other}");
        }
    }

    #[test]
    fn artifacts_are_looked_for_a_few_folders_deep_and_it_is_said_where_that_ends() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |path: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
            std::fs::write(path, "x").expect("written");
        };
        write("a.dump");
        write("2026/11/27/shop.dump");
        write("2026/11/27/wal/000000010000000000000002.gz");
        write("host/directory/toc.dat");
        let found = within(dir.path()).expect("looked at");
        let below = |path: &PathBuf| path.strip_prefix(dir.path()).expect("below").to_owned();
        let all: Vec<PathBuf> = found.all.iter().map(|(path, _)| below(path)).collect();
        let expected = ["2026/11/27/shop.dump", "a.dump", "host/directory"];
        assert_eq!(all, expected.map(PathBuf::from));
        assert_eq!(found.deeper, None);
        for segment in 0..=MOST {
            let name = format!("wal/{:024X}", (1_u128 << 64) + segment as u128);
            std::fs::create_dir_all(dir.path().join("wal")).expect("created");
            std::fs::File::create(dir.path().join(name)).expect("created");
        }
        let found = within(dir.path()).expect("an archive of WAL is nothing to choose from");
        assert_eq!(found.all.len(), 3);
        write("1/2/3/4/5/shop.dump");
        let found = within(dir.path()).expect("looked at");
        assert_eq!(found.all.len(), 3);
        assert_eq!(found.deeper.as_ref().map(below), Some("1/2/3/4/5".into()));
    }
}
