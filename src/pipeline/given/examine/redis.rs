//! Snapshots and append-only directories of Redis.

use std::io;
use std::path::{Path, PathBuf};

use super::super::{File, Given, Identities, bare, open, rdb};
use super::{Exam, broken, member};
use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::pipeline::pg_dump::gate::parts;
use crate::pipeline::redis::{RDB, aof};
use crate::suite::{Engine, Method};

impl Exam<'_> {
    pub(super) async fn rdb(&self, plain: &Path, path: &Path, head: &[u8]) -> Result<Given> {
        let mut given = self.redis(path, head, false);
        let plain = match self.without_layer(plain, "rdb").await? {
            Ok(plain) => plain,
            Err(error) => return Ok(broken(given, &error)),
        };
        given.files.push(File::new(RDB, &plain));
        self.check_rdb(given, &plain, head).await
    }

    fn redis(&self, path: &Path, mut head: &[u8], aof: bool) -> Given {
        let known = rdb::Head::read(&mut head).unwrap_or_default();
        let what = match aof {
            true => "an append-only directory of Redis".to_owned(),
            false => format!("a snapshot of Redis {}", known.server),
        };
        let lineage = self.by_name(Engine::Redis, path);
        let mut given = self.given(Engine::Redis, Method::RedisRdb { aof }, what, &lineage);
        // 7.2 and later each write a format of their own, which the one before does not read.
        given.version = parts(&known.server).and_then(|(major, minor)| match (major, minor) {
            (7, 0) => Some("7".to_owned()),
            (7.., minor) => Some(format!("{major}.{minor}")),
            _ => None,
        });
        given.taken_at = known.saved_at;
        given.read.content_time = known.saved_at;
        given.read.entries = 1;
        given
    }

    async fn check_rdb(&self, mut given: Given, path: &Path, mut head: &[u8]) -> Result<Given> {
        let format = match rdb::Head::read(&mut head) {
            Ok(known) => known.format,
            Err(error) => return Ok(broken(given, &error)),
        };
        let input = open::unpacked(self.ctx, path).await?;
        let checked = open::read_by(self.ctx, input, move |mut input| {
            rdb::check(format, &mut input)
        });
        match checked.await? {
            Ok(words) => given.read.error = words.map(str::to_owned),
            Err(error) => return Ok(broken(given, &error)),
        }
        Ok(given)
    }

    pub(super) async fn append_only(&self, dir: &Path, named: &Path) -> Result<Given> {
        let base = based_on(self.ctx, dir, &self.options.identities).await?;
        let head = match &base {
            Some(base) if base.is_file() => open::head(base).await?,
            _ => Vec::new(),
        };
        let mut given = self.redis(named, &head, true);
        let manifest = manifest_of(dir)?;
        let text = std::fs::read_to_string(&manifest).doing("read its manifest")?;
        let name = |path: &Path| format!("{}{}", aof::PREFIX, bare(path));
        given.files.push(File::new(name(&manifest), &manifest));
        for named in aof::named(&text) {
            let path = dir.join(named?);
            let Ok(found) = std::fs::metadata(&path) else {
                let what = format!("its manifest names {}, which is not there", bare(&path));
                return Ok(broken(given, &io::Error::other(what)));
            };
            given.bytes += found.len();
            given.files.push(File::new(name(&path), &path));
            let head = open::head(&path).await?;
            if head.starts_with(rdb::MAGIC) {
                given = self.check_rdb(given, &path, &head).await?;
            } else {
                let input = open::unpacked(self.ctx, &path).await?;
                let read = open::read_by(self.ctx, input, |mut input| rdb::commands(&mut input));
                match read.await? {
                    Ok(written) => {
                        given.read.entries += written.commands;
                        // What was written since is newer than the snapshot: by how much, only annotations tell.
                        if written.commands > 0 {
                            given.taken_at = written.last;
                            given.read.content_time = written.last;
                        }
                    }
                    Err(error) => return Ok(broken(given, &error)),
                }
            }
            if given.read.error.is_some() {
                return Ok(given);
            }
        }
        Ok(given)
    }
}

fn manifest_of(dir: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(dir).doing("look at it")?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let found = paths.find(|path| bare(path).ends_with(".aof.manifest"));
    found.ok_or_else(|| Error::defect("the append-only directory lost its manifest"))
}

/// The snapshot that an append-only directory begins with.
pub(super) async fn based_on(
    ctx: &Context,
    dir: &Path,
    identities: &Identities,
) -> Result<Option<PathBuf>> {
    let text = open::inner_head(ctx, &manifest_of(dir)?, identities).await?;
    let text = String::from_utf8_lossy(&text);
    let mut names = aof::named(&text).flatten();
    Ok(names
        .find(|name| name.ends_with(".rdb"))
        .map(|name| member(dir, &name)))
}
