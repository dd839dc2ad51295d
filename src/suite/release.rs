//! What a release changes: the migrations of a database, run on a restored copy before it is released. `[release]`.
//!
//! Not here: running them (see [`crate::drill`]), or deciding on what came of it ([`crate::gate`]).

use std::path::{Path, PathBuf};

use super::Smoke;
use crate::error::{Doing, Result};
use crate::sha256::Sha256;

/// The migrations of a release, and what must hold after them.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// The component that they change.
    pub component: String,
    /// The scenario whose recovered copy they are run on.
    pub scenario: String,
    /// What they are.
    pub migrations: Migrations,
    /// Files that they read, and folders of such files: other contents make another release.
    pub files: Vec<PathBuf>,
    /// Questions to the migrated service, beside the component's own.
    pub smoke: Vec<Smoke>,
}

/// What migrates a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Migrations {
    /// Every `*.sql` file of a folder, in the order of their names, by `psql`.
    Folder(PathBuf),
    /// A command, with the database's address in its environment.
    Command(Vec<String>),
}

impl Release {
    /// What tells this release from others: SHA-256, in hex, over the names and bytes of its migrations, or over the words of
    /// the command and those of them that are files in `home`, the folder of the suite; and over the names and bytes of all
    /// that stands under `files`.
    pub fn sha256(&self, home: &Path) -> Result<String> {
        let mut sum = Sha256::new();
        let mut add = |bytes: &[u8]| {
            sum.update((bytes.len() as u64).to_be_bytes());
            sum.update(bytes);
        };
        let read =
            |path: &Path| std::fs::read(path).doing_with(|| format!("read {}", path.display()));
        match &self.migrations {
            Migrations::Folder(folder) => {
                for path in files(folder)? {
                    add(path.file_name().unwrap_or_default().as_encoded_bytes());
                    add(&read(&path)?);
                }
            }
            Migrations::Command(words) => {
                for word in words {
                    add(word.as_bytes());
                    let path = home.join(word);
                    if path.is_file() {
                        add(&read(&path)?);
                    }
                }
            }
        }
        for named in &self.files {
            for path in below(named)? {
                let name = path.strip_prefix(named).unwrap_or(&path);
                add(name.as_os_str().as_encoded_bytes());
                add(&read(&path)?);
            }
        }
        Ok(hex::encode(sum.finish()))
    }
}

/// A file, or every file in a folder and in those within it, in the order of their paths.
fn below(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let doing = || format!("list {}", path.display());
    let mut all = Vec::new();
    for entry in std::fs::read_dir(path).doing_with(doing)? {
        let entry = entry.doing_with(doing)?;
        // A link to a folder may lead back up.
        if entry.file_type().doing_with(doing)?.is_dir() {
            all.extend(below(&entry.path())?);
        } else if entry.path().is_file() {
            all.push(entry.path());
        }
    }
    all.sort();
    Ok(all)
}

/// The migrations of a folder, in the order of their names.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let doing = || format!("read the migrations in {}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).doing_with(doing)? {
        let path = entry.doing_with(doing)?.path();
        if path.extension().is_some_and(|ending| ending == "sql") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_others_when_a_name_or_a_byte_of_them_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).expect("written");
        };
        let release = |migrations, files: &[&str]| Release {
            component: "db".to_owned(),
            scenario: "lost".to_owned(),
            migrations,
            files: files.iter().map(|it| dir.path().join(it)).collect(),
            smoke: Vec::new(),
        };
        let folder = release(Migrations::Folder(dir.path().to_owned()), &[]);
        let sum = |it: &Release| it.sha256(dir.path()).expect("a sum");
        write("1.sql", "select 1");
        write("readme.md", "of no matter");
        let first = sum(&folder);
        write("readme.md", "still of no matter");
        assert_eq!(sum(&folder), first);
        write("1.sql", "select 2");
        assert_ne!(sum(&folder), first);
        write("1.sql", "select 1");
        write("2.sql", "");
        assert_ne!(sum(&folder), first);

        write("migrate.sh", "true");
        let words = Migrations::Command(vec!["./migrate.sh".to_owned(), "up".to_owned()]);
        let command = release(words.clone(), &[]);
        let first = sum(&command);
        write("migrate.sh", "false");
        assert_ne!(sum(&command), first);

        // What the script reads is of the release where the suite says so.
        std::fs::create_dir_all(dir.path().join("changes/2026")).expect("folders");
        write("changes/2026/1.sql", "select 1");
        let first = sum(&command);
        let with = release(words, &["changes", "1.sql"]);
        let first_with = sum(&with);
        assert_ne!(first_with, first);
        for (name, text) in [
            ("changes/2026/1.sql", "select 2"),
            ("changes/2026/2.sql", "select 1"),
            ("1.sql", "select 3"),
        ] {
            let before = sum(&with);
            write(name, text);
            assert_ne!(sum(&with), before, "{name}");
            assert_eq!(sum(&command), first);
        }
        std::fs::remove_file(dir.path().join("1.sql")).expect("removed");
        assert!(with.sha256(dir.path()).is_err());
    }
}
