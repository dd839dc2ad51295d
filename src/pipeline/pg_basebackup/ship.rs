//! The shipper: brings what the server archived from beside its data into every repository of the backup, compressed
//! and encrypted like everything else.
//!
//! It never replaces an object that has other content, and what has the same content counts as shipped. What is in
//! every repository is removed from the server's archive. One shipper works for a server at a time; of two servers that archive
//! to one place, the second is refused, however close they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::context::Context;
use crate::error::{Doing, Error, Kind, Result};
use crate::pipeline::artifact::Destination;
use crate::pipeline::physical::archiver;
use crate::pipeline::stream::As;
use crate::repository::manifest::ManifestFile;
use crate::repository::wal::{self, Name, Segment};
use crate::repository::{Repository, Stored};
use crate::service::Running;

use super::archive::{directory, home};

const PACK: &str = include_str!("pack.sh");

/// Metadata of an archived file in a repository; names without `-`, which not every S3 server tells from `_`.
pub(super) mod noted {
    /// Bytes as the server wrote them.
    pub const BYTES: &str = "wal_bytes";
    /// SHA-256 as the server wrote them.
    pub const SHA256: &str = "wal_sha256";
    /// Bytes before encryption.
    pub const PACKED_BYTES: &str = "packed_bytes";
    /// SHA-256 before encryption.
    pub const PACKED_SHA256: &str = "packed_sha256";
    /// The cluster that wrote it.
    pub const CLUSTER: &str = "system_identifier";
    /// When it was archived, on the drill's clock.
    pub const AT: &str = "archived_at";
}

/// One file of the archive, compressed.
#[derive(Debug, PartialEq, Eq)]
struct Packed {
    name: String,
    bytes: u64,
    sha256: String,
    packed_bytes: u64,
    packed_sha256: String,
}

/// What was shipped.
#[derive(Debug, Default)]
pub(super) struct Shipped {
    /// Files of the archive that are in every repository now.
    pub files: u64,
    /// Those that all repositories got as the same stored bytes, as a manifest can name them.
    pub named: Vec<(Name, ManifestFile)>,
}

/// Ships everything that the server has archived.
pub(super) async fn ship(
    ctx: &Context,
    server: &dyn Running,
    destination: &Destination,
    cluster: &str,
) -> Result<Shipped> {
    let mut shipped = Shipped::default();
    let packed_dir = home(server).join("packed");
    let made = server
        .tool("mkdir")
        .args(["-p", "-m", "700"])
        .arg(&packed_dir);
    made.run(ctx).await?.ok()?;
    let pack = server
        .tool("sh")
        .args(["-c", PACK, "pack.sh"])
        .arg(directory(server))
        .arg(&packed_dir);
    let listed = pack
        .run(ctx)
        .await?
        .ok()
        .doing("compress the archived WAL")?;
    let mut done = Vec::new();
    let mut failure = None;
    for file in packed(&String::from_utf8_lossy(&listed.stdout))? {
        let path = packed_dir.join(format!("{}.gz", file.name));
        match one(ctx, server, destination, cluster, &file, &path).await {
            Ok(named) => {
                shipped.files += 1;
                shipped.named.extend(named);
                done.push(directory(server).join(&file.name));
                done.push(path);
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    if !done.is_empty() {
        let remove = server.tool("rm").args(["-f", "--"]).args(done);
        remove.run(ctx).await?.ok()?;
    }
    match failure {
        None => Ok(shipped),
        Some(error) => Err(error.hint(
            "it stays in the server's archive, and what was committed in it is in no repository until it is shipped",
        )),
    }
}

/// What the packing script printed, in the order in which it must be shipped: how timelines came to be first.
fn packed(text: &str) -> Result<Vec<Packed>> {
    let mut all = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, bytes, sha256, packed_bytes, packed_sha256] = words[..] else {
            return Err(Error::defect(format!(
                "the packing script printed {line:?}"
            )));
        };
        let number = |text: &str| {
            text.parse()
                .map_err(|_| Error::defect(format!("the packing script printed {line:?}")))
        };
        if Name::parse(name).is_none() {
            return Err(
                Error::failed(format!("{name} lies in the archive, and is no WAL"))
                    .hint("nothing but archive_command may write there: see who did"),
            );
        }
        all.push(Packed {
            name: name.to_owned(),
            bytes: number(bytes)?,
            sha256: sha256.to_owned(),
            packed_bytes: number(packed_bytes)?,
            packed_sha256: packed_sha256.to_owned(),
        });
    }
    all.sort_by_key(|file| (!file.name.ends_with(".history"), file.name.clone()));
    Ok(all)
}

/// Ships one file to the repositories that lack it. Where another writer was faster, what it stored must be the same.
async fn one(
    ctx: &Context,
    server: &dyn Running,
    destination: &Destination,
    cluster: &str,
    file: &Packed,
    path: &std::path::Path,
) -> Result<Option<(Name, ManifestFile)>> {
    let key = wal::key(&destination.backup, &file.name, destination.is_encrypted());
    let metadata = BTreeMap::from([
        (noted::BYTES.to_owned(), file.bytes.to_string()),
        (noted::SHA256.to_owned(), file.sha256.clone()),
        (
            noted::PACKED_BYTES.to_owned(),
            file.packed_bytes.to_string(),
        ),
        (noted::PACKED_SHA256.to_owned(), file.packed_sha256.clone()),
        (noted::CLUSTER.to_owned(), cluster.to_owned()),
        (noted::AT.to_owned(), ctx.clock.now().to_rfc3339()),
    ]);
    let mut lacking = lacking(ctx, destination, &key, file).await?;
    let kept = loop {
        if lacking.is_empty() {
            return Ok(None);
        }
        let reading = server.tool("cat").arg("--").arg(path).stream(ctx)?;
        let body = Box::new(crate::pipeline::pg_dump::whole::Whole::of(reading));
        let named = As {
            key: &key,
            metadata: &metadata,
            new: true,
        };
        let put = destination.put(ctx, &lacking, named, body);
        match put.await {
            Err(error) if error.kind() == Kind::Refused => {
                let left = self::lacking(ctx, destination, &key, file).await?;
                if left.len() == lacking.len() {
                    return Err(error.doing(format!("ship {}", file.name)));
                }
                lacking = left;
            }
            put => break put.doing_with(|| format!("ship {}", file.name))?,
        }
    };
    if kept.plain != (file.packed_bytes, file.packed_sha256.clone()) {
        return Err(Error::failed(format!(
            "{} changed while it was shipped",
            file.name
        )));
    }
    let everywhere = lacking.len() == destination.repositories.len();
    let named = everywhere.then(|| ManifestFile {
        name: format!("wal/{}", file.name),
        key,
        bytes: kept.stored.0,
        sha256: kept.stored.1,
        plain_bytes: kept.plain.0,
        plain_sha256: kept.plain.1,
        shared: true,
        metadata: BTreeMap::new(),
    });
    Ok(Name::parse(&file.name).zip(named))
}

/// The repositories without a file; what the others have by its name must be the same.
async fn lacking(
    ctx: &Context,
    destination: &Destination,
    key: &str,
    file: &Packed,
) -> Result<Vec<Arc<dyn Repository>>> {
    let mut lacking = Vec::new();
    for repository in &destination.repositories {
        match repository.head(ctx, key).await? {
            None => lacking.push(repository.clone()),
            Some(found) => same(&found, file, repository.name())?,
        }
    }
    Ok(lacking)
}

/// Fails when a segment that the server says is archived is not in every repository: an `archive_command` that succeeds
/// without storing anything is believed by everyone else.
pub(super) async fn is_there(
    ctx: &Context,
    destination: &Destination,
    segment: Segment,
) -> Result<()> {
    let key = wal::key(
        &destination.backup,
        &segment.to_string(),
        destination.is_encrypted(),
    );
    for repository in &destination.repositories {
        if repository.head(ctx, &key).await?.is_none() {
            return Err(archiver::not_there(segment, repository.name()));
        }
    }
    Ok(())
}

/// What is there by this name already must be the same.
fn same(found: &Stored, file: &Packed, repository: &str) -> Result<()> {
    if found.metadata.get(noted::SHA256) == Some(&file.sha256) {
        return Ok(());
    }
    let cluster = found.metadata.get(noted::CLUSTER);
    Err(Error::refused(format!(
        "{} is in repository {repository} already, with other content (of cluster {}): it is not overwritten",
        file.name,
        cluster.map_or("unknown", String::as_str)
    ))
    .hint("two servers archive to the same place: a copy or a recovered server that still archives, or one restored to an earlier moment. Give each its own"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_timelines_came_to_be_is_shipped_before_their_segments() {
        let text = "000000020000000000000004 16 aa 3 bb\n00000002.history 5 cc 2 dd\n";
        let names: Vec<String> = packed(text)
            .expect("a list")
            .into_iter()
            .map(|file| file.name)
            .collect();
        assert_eq!(names, ["00000002.history", "000000020000000000000004"]);
    }

    #[test]
    fn a_stray_file_in_the_archive_is_not_shipped() {
        let error = packed("core 16 aa 3 bb\n").expect_err("refused");
        assert!(error.message().contains("core"), "{error}");
    }
}
