//! Bringing a base backup and the WAL that continues it to where the target's tools see them.

use std::collections::BTreeMap;
use std::path::Path;

use futures::{StreamExt, TryStreamExt};
use tokio::io::AsyncReadExt;

use crate::context::Context;
use crate::error::{Doing, Error, Kind, Result};
use crate::pipeline::artifact::ArtifactReader;
use crate::pipeline::physical::chain::{self, Base, Chain, Have};
use crate::pipeline::physical::log::{self, Log};
use crate::repository::Stored;
use crate::repository::manifest::ManifestFile;
use crate::repository::wal::{self, Name, Segment};
use crate::service::{Running, write_file};

use super::ship::noted;

/// How a listed name is brought: decompressed from where it was staged.
const GET: &str = include_str!("get.sh");
/// How many objects are asked for at once.
const AT_ONCE: usize = 8;
/// A timeline's history is a few lines; more is damage.
const MAX_HISTORY: u64 = 1 << 20;

/// A file of the archive in a repository.
#[derive(Debug, Clone)]
struct Found {
    name: String,
    kind: Name,
    encrypted: bool,
    file: ManifestFile,
    metadata: BTreeMap<String, String>,
}

impl Found {
    fn of(name: &str, kind: Name, stored: Stored) -> Self {
        let get = |key: &str| stored.metadata.get(key).cloned().unwrap_or_default();
        let encrypted = stored.key.ends_with(".age");
        let packed = get(noted::PACKED_SHA256);
        let packed_bytes = get(noted::PACKED_BYTES).parse().unwrap_or_default();
        Self {
            name: name.to_owned(),
            kind,
            encrypted,
            file: ManifestFile {
                name: name.to_owned(),
                key: stored.key,
                bytes: if encrypted {
                    stored.bytes
                } else {
                    packed_bytes
                },
                sha256: if encrypted {
                    String::new()
                } else {
                    packed.clone()
                },
                plain_bytes: packed_bytes,
                plain_sha256: packed,
                shared: true,
                metadata: BTreeMap::new(),
            },
            metadata: stored.metadata,
        }
    }

    fn noted(&self, key: &str) -> &str {
        self.metadata.get(key).map_or("", String::as_str)
    }

    /// Whether another cluster than this wrote it, as far as its description tells.
    fn is_foreign(&self, cluster: &str) -> bool {
        self.noted(noted::CLUSTER) != cluster
    }

    /// Why it cannot be of use, as far as its description tells.
    fn problem(&self, cluster: &str, size: u64) -> Option<String> {
        if self.is_foreign(cluster) {
            let of = match self.noted(noted::CLUSTER) {
                "" => "unknown",
                of => of,
            };
            return Some(format!("it is of cluster {of}, not of {cluster}"));
        }
        let bytes = self.noted(noted::BYTES);
        if matches!(self.kind, Name::Segment(_)) && bytes != size.to_string() {
            return Some(format!("it has {bytes} bytes where a segment has {size}"));
        }
        None
    }
}

/// Stages all WAL that continues a base backup.
pub(super) async fn wal(
    ctx: &Context,
    server: &dyn Running,
    reader: &ArtifactReader,
    base: Base,
    cluster: &str,
    dir: &Path,
) -> Result<(Log, u64)> {
    let found = found(ctx, reader, base.start).await?;
    install(ctx, server, dir).await?;
    let mut have: BTreeMap<Segment, Have> = BTreeMap::new();
    let mut histories = BTreeMap::new();
    let mut entries = BTreeMap::new();
    let mut bytes = 0;
    for file in found {
        let foreign = file.is_foreign(cluster);
        if foreign && matches!(file.kind, Name::History(_)) {
            // How another cluster's timelines came to be is not asked for.
            continue;
        }
        let mut problem = file.problem(cluster, base.size);
        if problem.is_none() {
            match stage(ctx, server, reader, &file, dir).await {
                Ok(history) => {
                    bytes += file.file.bytes;
                    if let (Name::History(timeline), Some(history)) = (file.kind, history) {
                        histories.insert(timeline, history);
                    }
                }
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                Err(error) => {
                    still_answers(ctx, reader, &file, base.size, &error).await?;
                    problem = Some(format!("it cannot be used: {}", error.message()));
                }
            }
        }
        let line = match &problem {
            None => format!("{} {}", file.noted(noted::BYTES), file.noted(noted::SHA256)),
            Some(why) => format!("- {}", why.replace('\n', " ")),
        };
        entries.insert(file.name.clone(), line);
        if let Name::Segment(segment) = file.kind {
            let at = file.noted(noted::AT).to_owned();
            let found = Have {
                at,
                problem,
                foreign,
            };
            have.insert(segment, found);
        }
    }
    let chain = chain::follow(base, &have, &histories)?;
    if let Some((segment, why)) = &chain.broken {
        let known = entries.entry(segment.to_string());
        known.or_insert_with(|| format!("- {why}"));
    }
    let wal = Log {
        dir: dir.to_owned(),
        chain,
        entries,
        repository: reader.repository().name().to_owned(),
    };
    Ok((wal, bytes))
}

/// Fails when it is the repository, and not the file in it, of which nothing can be had: a damaged segment is lost, and one
/// that nobody brought is not.
async fn still_answers(
    ctx: &Context,
    reader: &ArtifactReader,
    file: &Found,
    size: u64,
    error: &Error,
) -> Result<()> {
    let repository = reader.repository();
    let silent = match error.kind() {
        Kind::Unavailable | Kind::TimedOut => error.message(),
        _ => match repository.head(ctx, &file.file.key).await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => error.message(),
        },
    };
    let from = match file.kind {
        Name::Segment(segment) => segment.begins(size).to_string(),
        _ => file.name.clone(),
    };
    Err(chain::unreachable(&file.name, &from, repository.name()).doing(silent))
}

/// The WAL of a base backup that has all of it in itself: the archive that its recovery asks has nothing.
pub(super) async fn nothing(
    ctx: &Context,
    server: &dyn Running,
    reader: &ArtifactReader,
    chain: Chain,
    dir: &Path,
) -> Result<Log> {
    install(ctx, server, dir).await?;
    Ok(Log {
        dir: dir.to_owned(),
        chain,
        entries: BTreeMap::new(),
        repository: reader.repository().name().to_owned(),
    })
}

/// Makes the directory that WAL is fetched from, with what fetches it.
async fn install(ctx: &Context, server: &dyn Running, dir: &Path) -> Result<()> {
    let made = server.tool("mkdir").args(["-p", "-m", "700"]).arg(dir);
    made.run(ctx).await?.ok()?;
    log::install(ctx, server, dir, GET).await
}

/// Everything of the archive that a recovery from `start` may want, in the order of its names.
async fn found(ctx: &Context, reader: &ArtifactReader, start: Segment) -> Result<Vec<Found>> {
    let repository = reader.repository();
    let backup = &reader.manifest.backup;
    let listing = repository.list(ctx, &wal::prefix(backup)).await?;
    let wanted = listing.into_iter().filter_map(|stored| {
        let (name, kind) = Name::of_key(backup, &stored.key)?;
        let needed = matches!(kind, Name::Segment(_) | Name::History(_)) && !kind.is_before(start);
        needed.then(|| (name.to_owned(), kind, stored.key.clone()))
    });
    futures::stream::iter(wanted.collect::<Vec<_>>())
        .map(|(name, kind, key)| async move {
            let head = repository.head(ctx, &key).await?;
            let stored = head.ok_or_else(|| {
                Error::failed(format!("{key} was listed, and is gone"))
                    .hint("is something pruning this repository?")
            })?;
            Ok::<_, Error>(Found::of(&name, kind, stored))
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// Brings one file of the archive to the server, as it was before encryption; a history's text too.
async fn stage(
    ctx: &Context,
    server: &dyn Running,
    reader: &ArtifactReader,
    found: &Found,
    dir: &Path,
) -> Result<Option<String>> {
    let path = dir.join(format!("{}.gz", found.name));
    let input = reader.open_file(ctx, &found.file, found.encrypted).await?;
    let doing = || format!("fetch {}", found.name);
    let written = write_file(ctx, server, &path, input).await;
    if written.is_err() {
        let remove = server.tool("rm").arg("-f").arg(&path);
        let _ = remove.run(&ctx.for_teardown()).await;
    }
    written.doing_with(doing)?;
    if !matches!(found.kind, Name::History(_)) {
        return Ok(None);
    }
    let unpack = server.tool("gzip").args(["-dc", "--"]).arg(path);
    let unpacked = unpack.run(ctx).await?.ok().doing_with(doing)?;
    let mut text = String::new();
    let mut limited = unpacked.stdout.as_slice().take(MAX_HISTORY);
    limited.read_to_string(&mut text).await.doing_with(doing)?;
    Ok(Some(text))
}
