//! Between an artifact and the place where the server's tools see its files: unpacked, and with nothing left behind
//! when anything fails. A dump in the directory format is a directory there, and one file after another in an artifact.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt};

use super::whole::Whole;
use super::words::{complete_globals, forgiving};
use super::{DIRECTORY, GLOBALS, PgDump, STATISTICS};
use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::pipeline::Fetched;
use crate::pipeline::artifact::{ArtifactReader, ArtifactWriter};
use crate::service::{Reading, Running, write_file};

/// What unpacks a file, by its ending. Each removes the packed file when it is done.
const UNPACK: [(&str, &[&str]); 3] = [
    ("gz", &["gzip", "--decompress"]),
    ("zst", &["zstd", "--decompress", "--quiet", "--rm"]),
    ("lz4", &["lz4", "--decompress", "--quiet", "--rm"]),
];

impl PgDump {
    /// Brings one file of an artifact to where the server's tools see it, ready to be restored: a dump unpacked, the
    /// roles such that those that exist already are no error. On any error no file is left.
    pub async fn stage(
        &self,
        ctx: &Context,
        server: &dyn Running,
        name: &str,
        mut input: Reading,
    ) -> Result<PathBuf> {
        if name == GLOBALS {
            let text = complete_globals(input).await?;
            input = Box::new(std::io::Cursor::new(
                forgiving(&text, &server.endpoint().user).into_bytes(),
            ));
        }
        let path = place(ctx, server, name);
        let part = path.with_extension("part");
        let written = async {
            write_file(ctx, server, &part, input).await?;
            server
                .tool("mv")
                .arg(&part)
                .arg(&path)
                .run(ctx)
                .await?
                .ok()?;
            let extension = path.extension().and_then(|extension| extension.to_str());
            let unpack = UNPACK.iter().find(|(ending, _)| extension == Some(*ending));
            let Some((_, [tool, options @ ..])) = unpack else {
                return Ok(path.clone());
            };
            let unpack = server.tool(tool).args(options.iter().copied()).arg(&path);
            unpack.deadline(self.deadline).run(ctx).await?.ok()?;
            Ok(path.with_extension(""))
        };
        let written: Result<PathBuf> = written.await;
        if written.is_err() {
            remove(ctx, server, &[&part, &path, &path.with_extension("")]).await;
        }
        written.doing_with(|| format!("bring {name} to the server"))
    }

    /// Brings the files of an artifact that are `wanted` to the server. On any error nothing is left there.
    pub(super) async fn bring(
        &self,
        ctx: &Context,
        artifact: &ArtifactReader,
        server: &dyn Running,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Fetched> {
        let mut fetched = Fetched::default();
        let mut brought = Ok(());
        for file in artifact
            .manifest
            .files
            .iter()
            .filter(|file| wanted(&file.name))
        {
            brought = self
                .bring_one(ctx, artifact, server, &file.name, &mut fetched)
                .await;
            if brought.is_err() {
                break;
            }
            fetched.stored_bytes += file.bytes;
        }
        if brought.is_err() {
            let paths: Vec<&Path> = fetched
                .files
                .iter()
                .map(|(_, path)| path.as_path())
                .collect();
            remove(ctx, server, &paths).await;
        }
        brought.map(|()| fetched)
    }

    async fn bring_one(
        &self,
        ctx: &Context,
        artifact: &ArtifactReader,
        server: &dyn Running,
        name: &str,
        fetched: &mut Fetched,
    ) -> Result<()> {
        let input = artifact.open(ctx, name).await?;
        let Some(member) = member(name)? else {
            let path = self.stage(ctx, server, name, input).await?;
            fetched.files.push((name.to_owned(), path));
            return Ok(());
        };
        let known = fetched.files.iter().find(|(name, _)| name == DIRECTORY);
        let directory = match known {
            Some((_, path)) => path.clone(),
            None => {
                let path = place(ctx, server, DIRECTORY);
                server.tool("mkdir").arg(&path).run(ctx).await?.ok()?;
                fetched.files.push((DIRECTORY.to_owned(), path.clone()));
                path
            }
        };
        write_file(ctx, server, &directory.join(member), input)
            .await
            .doing_with(|| format!("bring {name} to the server"))
    }

    /// Dumps into a directory on the server's side, by several jobs, and stores its files.
    pub(super) async fn store_directory(
        &self,
        ctx: &Context,
        server: &dyn Running,
        database: &str,
        artifact: &ArtifactWriter,
    ) -> Result<()> {
        let directory = place(ctx, server, DIRECTORY);
        let work = async {
            let dump = self
                .command(server, database)
                .arg(format!("--jobs={}", self.dump.jobs.max(1)))
                .arg(format!("--file={}", directory.display()));
            dump.run(ctx).await?.ok()?;
            let listed = server.tool("ls").arg("-1A").arg(&directory);
            let names = listed.run(ctx).await?.ok()?.text();
            let files: Vec<_> = names
                .lines()
                .map(|name| self.store_file(ctx, server, directory.join(name), artifact))
                .collect();
            futures::stream::iter(files)
                .buffer_unordered(self.dump.jobs.max(1) as usize)
                .try_collect::<()>()
                .await
        };
        let stored = work.await;
        remove(ctx, server, &[&directory]).await;
        stored
    }

    /// Stores one file of a dump in the directory format.
    async fn store_file(
        &self,
        ctx: &Context,
        server: &dyn Running,
        path: PathBuf,
        artifact: &ArtifactWriter,
    ) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let cat = server.tool("cat").arg(&path).deadline(self.deadline);
        let body = Box::new(Whole::of(cat.stream(ctx)?));
        artifact
            .file(ctx, &format!("{DIRECTORY}/{name}"), body, BTreeMap::new())
            .await
    }
}

/// A new path in the server's staging directory.
fn place(ctx: &Context, server: &dyn Running, name: &str) -> PathBuf {
    server
        .staging()
        .join(format!("{}-{name}", ctx.next_number()))
}

/// The name of a file within a dump in the directory format, when `name` is of one.
fn member(name: &str) -> Result<Option<&str>> {
    let Some((DIRECTORY, member)) = name.split_once('/') else {
        return Ok(None);
    };
    if member.contains('/') || member.starts_with('.') || member.is_empty() {
        return Err(Error::refused(format!(
            "`{name}` is no file of a dump: it would be written elsewhere"
        )));
    }
    Ok(Some(member))
}

/// What a restore reads; the statistics are for people.
pub(super) fn is_restored(name: &str) -> bool {
    name != STATISTICS
}

/// Removes staged files, also after an interruption; what stays behind goes with the staging directory.
pub(super) async fn remove(ctx: &Context, server: &dyn Running, paths: &[&Path]) {
    let _ = server
        .tool("rm")
        .arg("-rf")
        .args(paths)
        .run(&ctx.for_teardown())
        .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_directory_dump_stays_in_its_directory() {
        assert_eq!(member("db/toc.dat").expect("is one"), Some("toc.dat"));
        assert_eq!(member("db.dump").expect("is none"), None);
        for name in ["db/../x", "db/a/b", "db/", "db/.."] {
            assert!(member(name).is_err(), "{name}");
        }
    }
}
