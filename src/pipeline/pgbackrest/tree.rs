//! A repository of pgBackRest that is somebody else's, by its directory: read where it lies, and never written to.
//!
//! Where the user of the server cannot read it there, what one backup needs of it is copied into the drill's directory.
//! Not here: what is in it (see [`super::given`]).

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::stanza::prefix;
use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::process::Command;
use crate::provision::choose;
use crate::repository::{Place, Repository, Stored};
use crate::service::Reading;

/// A repository by its directory, as that of a backup.
#[derive(Debug, Clone)]
pub struct Tree {
    name: String,
    backup: String,
    root: PathBuf,
    /// What a restore reads of it, from its root.
    needed: Vec<PathBuf>,
}

impl Tree {
    /// The directory with `backup` and `archive` in it, as what a repository keeps of `backup`.
    pub fn new(name: &str, backup: &str, root: &Path, needed: Vec<PathBuf>) -> Result<Self> {
        let root = std::fs::canonicalize(root);
        Ok(Self {
            name: name.to_owned(),
            backup: backup.to_owned(),
            root: root.doing("look at the repository")?,
            needed,
        })
    }

    /// The same where the server's user can read it: as it lies there, or a copy of what is needed of it.
    pub async fn within_reach(self, ctx: &Context) -> Result<Self> {
        let Some(account) = choose::postgres_account()? else {
            return Ok(self);
        };
        let parts = || self.needed.iter().map(|part| self.root.join(part));
        let look = Command::new("find").args(parts()).args([
            "(",
            "!",
            "-readable",
            "-o",
            "-type",
            "d",
            "!",
            "-executable",
            ")",
            "-print",
            "-quit",
        ]);
        let looked = look.dir("/").account(Some(account)).run(ctx).await?;
        if looked.exit == Some(0) && looked.stdout.is_empty() {
            return Ok(self);
        }
        let to = ctx.subdir("given")?.join("repository");
        let mut private = std::fs::DirBuilder::new();
        private
            .mode(0o700)
            .create(&to)
            .doing("make room for a copy of the repository")?;
        const COPY: &str = r#"umask 022 && cd -- "$1" && to=$2 && shift 2 && exec cp -R --parents --no-preserve=mode,ownership --reflink=auto -- "$@" "$to""#;
        let copy = Command::new("sh").args(["-c", COPY, "sh"]);
        let copy = copy.arg(&self.root).arg(&to).args(&self.needed);
        let copied = copy.run(ctx).await?.ok().map(drop);
        let copied = copied.and_then(|()| {
            chown(&to, Some(account.uid), Some(account.gid)).doing("give it to the server's user")
        });
        copied.doing_with(|| {
            format!(
                "copy what is needed of {}, which the server's user cannot read",
                self.root.display()
            )
        })?;
        Ok(Self { root: to, ..self })
    }

    /// Where a key lies; `None` of one that is not of this tree.
    fn path(&self, key: &str) -> Option<PathBuf> {
        let below = key.strip_prefix(prefix(&self.backup).as_str())?;
        let plain = !below.split('/').any(|part| ["", ".", ".."].contains(&part));
        plain.then(|| self.root.join(below))
    }

    fn refused<T>(&self) -> Result<T> {
        Err(Error::refused(format!(
            "{} is somebody's repository: it is read, and never written to",
            self.name
        )))
    }
}

/// Every file below a directory, by its key. What is not there holds none.
fn walk(dir: &Path, key: &str, all: &mut Vec<Stored>) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let key = format!("{key}{}", entry.file_name().to_string_lossy());
        // A link leads where pgBackRest is led too.
        let found = std::fs::metadata(entry.path())?;
        if found.is_dir() {
            walk(&entry.path(), &format!("{key}/"), all)?;
        } else {
            all.push(Stored {
                key,
                bytes: found.len(),
                ..Stored::default()
            });
        }
    }
    Ok(())
}

#[async_trait]
impl Repository for Tree {
    fn name(&self) -> &str {
        &self.name
    }

    async fn put(
        &self,
        _ctx: &Context,
        _key: &str,
        _body: Reading,
        _metadata: &BTreeMap<String, String>,
    ) -> Result<u64> {
        self.refused()
    }

    async fn open(&self, ctx: &Context, key: &str) -> Result<(Stored, Reading)> {
        let stored = self.head(ctx, key).await?;
        let (Some(stored), Some(path)) = (stored, self.path(key)) else {
            return Err(Error::failed(format!("{key} is not there")));
        };
        let file = tokio::fs::File::open(&path).await;
        let file = file.doing_with(|| format!("read {}", path.display()))?;
        let reading = tokio::io::BufReader::with_capacity(1 << 18, file);
        Ok((stored, Box::new(reading)))
    }

    async fn head(&self, _ctx: &Context, key: &str) -> Result<Option<Stored>> {
        let found = self.path(key).and_then(|path| std::fs::metadata(path).ok());
        let file = found.filter(std::fs::Metadata::is_file);
        Ok(file.map(|file| Stored {
            key: key.to_owned(),
            bytes: file.len(),
            ..Stored::default()
        }))
    }

    /// Only of whole folders: a prefix that ends in `/`.
    async fn list(&self, _ctx: &Context, wanted: &str) -> Result<Vec<Stored>> {
        let Some(dir) = self.path(wanted.trim_end_matches('/')) else {
            return Ok(Vec::new());
        };
        let key = wanted.to_owned();
        let work = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            walk(&dir, &key, &mut all).map(|()| all)
        });
        let listed = work.await.doing("wait for the disk")?;
        let mut all = listed.doing_with(|| format!("list repository {}", self.name))?;
        all.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(all)
    }

    fn place(&self) -> Result<Place> {
        Ok(Place::Given(self.root.clone()))
    }

    async fn delete(&self, _ctx: &Context, _keys: &[String]) -> Result<()> {
        self.refused()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_of_its_backup_lead_into_it_and_none_out_of_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let tree = Tree::new("given", "given", dir.path(), Vec::new()).expect("a tree");
        let root = std::fs::canonicalize(dir.path()).expect("is there");
        let path = tree.path("given/pgbackrest/archive/shop/x");
        assert_eq!(path, Some(root.join("archive/shop/x")));
        for stray in [
            "other/pgbackrest/a",
            "given/1",
            "given/pgbackrest/../etc/passwd",
        ] {
            assert_eq!(tree.path(stray), None, "{stray}");
        }
    }
}
