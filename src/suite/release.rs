//! What a release changes: the migrations of a database, run on a restored copy before it is released. `[release]`.
//!
//! Not here: running them (see [`crate::drill`]), or deciding on what came of it ([`crate::gate`]).

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Smoke;
use crate::error::{Doing, Result};

/// The migrations of a release, and what must hold after them.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// The component that they change.
    pub component: String,
    /// The scenario whose recovered copy they are run on.
    pub scenario: String,
    /// What they are.
    pub migrations: Migrations,
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

impl Migrations {
    /// What tells these migrations from others: SHA-256, in hex, over their names and bytes; of a command over its words and the
    /// file that it is, where it is one in `home`, the folder of the suite.
    pub fn sha256(&self, home: &Path) -> Result<String> {
        let mut sum = Sha256::new();
        let mut add = |bytes: &[u8]| {
            sum.update((bytes.len() as u64).to_be_bytes());
            sum.update(bytes);
        };
        match self {
            Self::Folder(folder) => {
                for path in files(folder)? {
                    let name = path.file_name().unwrap_or_default();
                    add(name.as_encoded_bytes());
                    let bytes = std::fs::read(&path);
                    add(&bytes.doing_with(|| format!("read {}", path.display()))?);
                }
            }
            Self::Command(words) => {
                for word in words {
                    add(word.as_bytes());
                    let path = home.join(word);
                    if path.is_file() {
                        let bytes = std::fs::read(&path);
                        add(&bytes.doing_with(|| format!("read {}", path.display()))?);
                    }
                }
            }
        }
        Ok(hex::encode(sum.finalize()))
    }
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
        let folder = Migrations::Folder(dir.path().to_owned());
        let sum = |it: &Migrations| it.sha256(dir.path()).expect("a sum");
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
        let command = Migrations::Command(vec!["./migrate.sh".to_owned(), "up".to_owned()]);
        let first = sum(&command);
        write("migrate.sh", "false");
        assert_ne!(sum(&command), first);
    }
}
