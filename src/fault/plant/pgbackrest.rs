//! Faults planted in what pgBackRest stores: a backup that another builds on, a bundle of files, a segment of its archive.
//! Its own names and compression stay as they are.

use std::sync::Arc;

use tokio::io::AsyncReadExt;

use super::flip_middle;
use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::pipeline::pgbackrest::{label_of, prefix};
use crate::repository::manifest::{Manifest, ManifestFile};
use crate::repository::wal::Name;
use crate::repository::{Repository, Stored};
use crate::suite::Fault;

/// Plants the fault in a repository, the newest artifact in it being given.
pub(super) async fn plant(
    ctx: &Context,
    fault: Fault,
    repository: &Arc<dyn Repository>,
    newest: &Manifest,
) -> Result<()> {
    let rest = Rest {
        ctx,
        repository,
        newest,
    };
    match fault {
        Fault::B4Bundle => {
            let label = label_of(newest).ok_or_else(|| Error::defect("it has no label"))?;
            let bundle = largest(rest.of(label), "bundle/")?;
            rest.change(&bundle.key, |bytes| flip_middle(bytes)).await
        }
        Fault::B21 => {
            let parent = rest.parent().await?;
            let keys: Vec<String> = rest.of(&parent).map(|file| file.key.clone()).collect();
            repository.delete(ctx, &keys).await
        }
        Fault::B21Foreign => {
            let parent = rest.parent().await?;
            let label = label_of(newest).ok_or_else(|| Error::defect("it has no label"))?;
            let (of_parent, own) = (
                largest(rest.of(&parent), "bundle/")?,
                largest(rest.of(label), "bundle/")?,
            );
            let other = rest.read(&own.key).await?;
            rest.change(&of_parent.key, |bytes| *bytes = other).await
        }
        Fault::C1PgBackRest => {
            let own = |key: &str| newest.files.iter().any(|file| file.key == key);
            let all = rest.segments().await?;
            let last = newest.files.iter().filter_map(|file| segment(&file.key));
            let last = last
                .max()
                .ok_or_else(|| Error::defect("it names no WAL of its own"))?;
            let after = all.iter().filter(|stored| {
                !own(&stored.key) && segment(&stored.key).is_some_and(|segment| segment > last)
            });
            let [.., middle, _] = after.collect::<Vec<_>>()[..] else {
                return Err(Error::defect(
                    "too little is archived after the backup to damage it",
                ));
            };
            repository
                .delete(ctx, std::slice::from_ref(&middle.key))
                .await
        }
        _ => Err(Error::defect(format!("{fault} is none of pgBackRest"))),
    }
}

/// The name of the segment that a file of the archive holds.
fn segment(key: &str) -> Option<&str> {
    let name = key.rsplit('/').next()?.get(..24)?;
    matches!(Name::parse(name), Some(Name::Segment(_))).then_some(name)
}

fn largest<'f>(
    files: impl Iterator<Item = &'f ManifestFile>,
    below: &str,
) -> Result<&'f ManifestFile> {
    files
        .filter(|file| {
            file.name
                .split_once('/')
                .is_some_and(|(_, name)| name.starts_with(below))
        })
        .max_by_key(|file| file.bytes)
        .ok_or_else(|| Error::defect(format!("the backup has nothing in {below}")))
}

struct Rest<'a> {
    ctx: &'a Context,
    repository: &'a Arc<dyn Repository>,
    newest: &'a Manifest,
}

impl<'a> Rest<'a> {
    /// What the newest artifact names of a backup: its own, or one that it builds on.
    fn of(&self, label: &str) -> impl Iterator<Item = &'a ManifestFile> {
        let own = format!("{label}/");
        let files = self.newest.files.iter();
        files.filter(move |file| file.name.starts_with(&own))
    }

    /// The label of the backup that the newest one builds on.
    async fn parent(&self) -> Result<String> {
        let (all, _) = Manifest::list(self.ctx, self.repository, &self.newest.backup).await?;
        let parent = self.newest.parent.as_ref();
        let mut found = all.iter().filter(|manifest| Some(&manifest.id) == parent);
        let label = found.next().and_then(label_of);
        label
            .map(str::to_owned)
            .ok_or_else(|| Error::defect("the newest backup builds on no other"))
    }

    /// Everything in the archive that is a segment, in order.
    async fn segments(&self) -> Result<Vec<Stored>> {
        let below = format!("{}archive/", prefix(&self.newest.backup));
        let mut all = self.repository.list(self.ctx, &below).await?;
        all.retain(|stored| segment(&stored.key).is_some());
        Ok(all)
    }

    async fn read(&self, key: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut body = self.repository.get(self.ctx, key).await?;
        body.read_to_end(&mut bytes)
            .await
            .doing("read what pgBackRest stored, to damage it")?;
        Ok(bytes)
    }

    async fn change(&self, key: &str, how: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let before = self.read(key).await?;
        let mut bytes = before.clone();
        how(&mut bytes);
        if bytes == before {
            return Err(Error::defect(format!(
                "{key} is as it was: nothing was planted"
            )));
        }
        let body = Box::new(std::io::Cursor::new(bytes));
        self.repository
            .put(self.ctx, key, body, &Default::default())
            .await
            .map(drop)
    }
}
