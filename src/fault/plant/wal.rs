//! Faults planted in archived WAL: in the archive, in the source that fills it, in what was fetched from it, and in what a
//! recovery is told.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::io::AsyncReadExt;

use super::cluster;
use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::fault::link::Link;
use crate::pipeline::Fetched;
use crate::pipeline::artifact::Destination;
use crate::pipeline::stream::As;
use crate::process::Command;
use crate::repository::manifest::{Manifest, ManifestFile};
use crate::repository::wal::{self, Name, Segment};
use crate::repository::{Repository, Stored};
use crate::service::postgres::session::{Session, literal};
use crate::service::{Running, Service, Stop};
use crate::sha256;
use crate::suite::{Fault, RecoveryTarget, RestoreOptions};

/// Plants the fault in the archive, in every repository.
pub async fn in_archive(
    ctx: &Context,
    fault: Option<Fault>,
    destination: &Destination,
) -> Result<()> {
    let Some(fault @ (Fault::C1 | Fault::C2 | Fault::C3 | Fault::C3Crc | Fault::C4 | Fault::C14)) =
        fault
    else {
        return Ok(());
    };
    for repository in &destination.repositories {
        let archive = Archive {
            ctx,
            repository,
            backup: &destination.backup,
        };
        let after = archive.after_the_base().await?;
        let [.., middle, last] = after.as_slice() else {
            return Err(Error::defect(
                "too little is archived after the base backup to damage it",
            ));
        };
        match fault {
            Fault::C1 => archive.remove(&middle.1.key).await?,
            Fault::C2 => {
                let (stored, bytes) = archive.read(&middle.1.key).await?;
                archive
                    .write(&middle.1.key, &bytes[..bytes.len() / 2], &stored.metadata)
                    .await?;
            }
            Fault::C3 => archive.replace_by_noise(destination, &middle.1.key).await?,
            Fault::C3Crc => archive.flip_in_a_record(destination, &middle.1.key).await?,
            Fault::C4 => {
                let name = format!("{:08X}.history", last.0.timeline);
                let key = wal::key(&destination.backup, &name, destination.is_encrypted());
                if repository.head(ctx, &key).await?.is_none() {
                    return Err(Error::defect(format!("{name} is not in the archive")));
                }
                archive.remove(&key).await?;
            }
            _ => archive.remove(&archive.of_the_base().await?).await?,
        }
    }
    Ok(())
}

/// The archived WAL of one backup in one repository.
struct Archive<'a> {
    ctx: &'a Context,
    repository: &'a Arc<dyn Repository>,
    backup: &'a str,
}

impl Archive<'_> {
    async fn newest(&self) -> Result<Manifest> {
        let (newest, _) = Manifest::newest(self.ctx, self.repository, self.backup).await?;
        newest.ok_or_else(|| Error::defect("there is no base backup to damage the WAL of"))
    }

    /// The segments that are no part of any base backup, after the newest one began, in order.
    async fn after_the_base(&self) -> Result<Vec<(Segment, Stored)>> {
        let newest = self.newest().await?;
        let start = wal::start_of(&newest)
            .ok_or_else(|| Error::defect("the base backup does not say where it begins"))?;
        let own = |key: &str| newest.files.iter().any(|file| file.key == key);
        let listing = self
            .repository
            .list(self.ctx, &wal::prefix(self.backup))
            .await?;
        let mut all: Vec<(Segment, Stored)> = listing
            .into_iter()
            .filter_map(|stored| match Name::of_key(self.backup, &stored.key)? {
                (_, Name::Segment(segment)) => Some((segment, stored)),
                _ => None,
            })
            .filter(|(segment, stored)| *segment > start && !own(&stored.key))
            .collect();
        all.sort_by_key(|(segment, _)| *segment);
        Ok(all)
    }

    /// A segment that the newest base backup cannot do without.
    async fn of_the_base(&self) -> Result<String> {
        let newest = self.newest().await?;
        let own = newest.files.into_iter().find(|file| file.shared);
        own.map(|file| file.key)
            .ok_or_else(|| Error::defect("the base backup names no WAL of its own"))
    }

    async fn remove(&self, key: &str) -> Result<()> {
        self.repository.delete(self.ctx, &[key.to_owned()]).await
    }

    async fn read(&self, key: &str) -> Result<(Stored, Vec<u8>)> {
        let (stored, mut body) = self.repository.open(self.ctx, key).await?;
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes)
            .await
            .doing("read archived WAL to damage it")?;
        Ok((stored, bytes))
    }

    async fn write(&self, key: &str, bytes: &[u8], as_is: &BTreeMap<String, String>) -> Result<()> {
        let body = Box::new(std::io::Cursor::new(bytes.to_vec()));
        self.repository
            .put(self.ctx, key, body, as_is)
            .await
            .map(drop)
    }

    /// A segment of the right size whose content is no log.
    async fn replace_by_noise(&self, destination: &Destination, key: &str) -> Result<()> {
        let (stored, _) = self.read(key).await?;
        let size = noted(&stored, "wal_bytes").parse().ok();
        let size = size.ok_or_else(|| Error::defect(format!("{key} does not say its size")))?;
        let noise = b"no log ".iter().copied().cycle().take(size).collect();
        self.archive(destination, stored, noise).await
    }

    /// A segment with one bit of a record flipped, half-way through what was written of it.
    async fn flip_in_a_record(&self, destination: &Destination, key: &str) -> Result<()> {
        let (stored, bytes) = self.read(key).await?;
        let file = ManifestFile {
            name: key.to_owned(),
            key: key.to_owned(),
            bytes: bytes.len() as u64,
            sha256: sha256::hex_of(&bytes),
            plain_bytes: noted(&stored, "packed_bytes").parse().unwrap_or_default(),
            plain_sha256: noted(&stored, "packed_sha256").to_owned(),
            shared: true,
            metadata: BTreeMap::new(),
        };
        let reader = destination.reader(self.newest().await?, self.repository);
        let encrypted = destination.is_encrypted();
        let packed = reader.open_file(self.ctx, &file, encrypted).await?;
        let unpack = Command::new("gzip").args(["-d", "-c"]);
        let mut log = unpack.feed(self.ctx, packed).await?.ok()?.stdout;
        let written = log.iter().rposition(|byte| *byte != 0).unwrap_or_default();
        log[written / 2] ^= 0x10;
        self.archive(destination, stored, log).await
    }

    /// Archives a segment as if the server had written it so.
    async fn archive(&self, destination: &Destination, of: Stored, log: Vec<u8>) -> Result<()> {
        let mut metadata = of.metadata;
        let pack = Command::new("gzip").args(["-1", "-n", "-c"]);
        let packed = pack.feed(self.ctx, std::io::Cursor::new(log.clone()));
        let packed = packed.await?.ok()?.stdout;
        for (name, value) in [
            ("wal_bytes", log.len().to_string()),
            ("wal_sha256", sha256::hex_of(&log)),
            ("packed_bytes", packed.len().to_string()),
            ("packed_sha256", sha256::hex_of(&packed)),
        ] {
            metadata.insert(name.to_owned(), value);
        }
        let body = Box::new(std::io::Cursor::new(packed));
        let here = [self.repository.clone()];
        let named = As {
            key: &of.key,
            metadata: &metadata,
            new: false,
        };
        let put = destination.put(self.ctx, &here, named, body);
        put.await.map(drop)
    }
}

/// What was noted of an archived segment.
fn noted<'s>(stored: &'s Stored, name: &str) -> &'s str {
    stored.metadata.get(name).map_or("", String::as_str)
}

/// Plants the fault in a source, before what was committed since its base backup is first archived.
pub async fn in_source(
    ctx: &Context,
    fault: Option<Fault>,
    source: &dyn Service,
    destination: &Destination,
) -> Result<()> {
    let server = source.server();
    let server = server.as_ref();
    match fault {
        // An archive_command that stores nothing, and says that all is well.
        Some(Fault::C7) => archive_by(ctx, server, "true").await,
        // One that stores nothing, and says so to nobody who looks.
        Some(Fault::C8) => archive_by(ctx, server, "false").await,
        Some(Fault::C9) => {
            let session = Session::open(ctx, server, "postgres").await?;
            let next = session
                .value(ctx, "select pg_walfile_name(pg_current_wal_insert_lsn())")
                .await?
                .unwrap_or_default();
            let key = wal::key(&destination.backup, &next, destination.is_encrypted());
            for repository in &destination.repositories {
                let body = Box::new(std::io::Cursor::new(b"of another server".to_vec()));
                repository.put(ctx, &key, body, &BTreeMap::new()).await?;
            }
            Ok(())
        }
        Some(Fault::C4) => fail_over(ctx, server, Stop::Clean).await,
        Some(Fault::C10) => run_minimal(ctx, server, source.database()).await,
        Some(Fault::C13) => {
            old_primary_goes_on(ctx, server, source.database()).await?;
            // As a crash ends it: what the old primary wrote from here on, its standby never had.
            fail_over(ctx, server, Stop::Kill).await
        }
        _ => Ok(()),
    }
}

/// The source fails over: it goes on as another timeline.
async fn fail_over(ctx: &Context, server: &dyn Running, stop: Stop) -> Result<()> {
    let signal = server.data_dir().join("standby.signal");
    server.tool("touch").arg(signal).run(ctx).await?.ok()?;
    server.restart(ctx, stop).await?;
    let session = Session::open(ctx, server, "postgres").await?;
    session.run(ctx, "select pg_promote(true, 60)").await
}

/// A server that was taken for dead writes on, on the timeline that its standby leaves, and archives it where that one
/// will.
async fn old_primary_goes_on(ctx: &Context, server: &dyn Running, database: &str) -> Result<()> {
    const ARCHIVE: &str = r#"
set -eu
cd -- "$1"
archived=0
for ready in pg_wal/archive_status/*.ready; do
  name=$(basename "$ready" .ready)
  sh -c "$(printf %s "$2" | sed "s|%p|pg_wal/$name|g; s|%f|$name|g")"
  archived=1
done
[ "$archived" = 1 ]
"#;
    let session = Session::open(ctx, server, "postgres").await?;
    let command = session
        .value(ctx, "select current_setting('archive_command')")
        .await?
        .unwrap_or_default();
    drop(session);
    let old = cluster::copied(ctx, server, "old-primary").await?;
    let write =
        "create table old_primary as select generate_series(1, 100) as n\nselect pg_switch_wal()\n";
    let words = ["-c", "archive_mode=on", "-c", "wal_level=replica", database];
    cluster::alone(ctx, server, &old, &words, write).await?;
    let archive = server.tool("sh").args(["-c", ARCHIVE, "sh"]);
    archive.arg(&old).arg(command).run(ctx).await?.ok()?;
    let remove = server.tool("rm").args(["-rf", "--"]).arg(old);
    remove.run(ctx).await?.ok().map(drop)
}

/// Runs the server with `wal_level = minimal` for one write, and then as before. It is a copy of its data that is run so, as
/// a server that is down has no tools where it runs in a container, and the copy takes its place.
async fn run_minimal(ctx: &Context, server: &dyn Running, database: &str) -> Result<()> {
    const MINIMAL: [&str; 6] = [
        "-c",
        "wal_level=minimal",
        "-c",
        "archive_mode=off",
        "-c",
        "max_wal_senders=0",
    ];
    let session = Session::open(ctx, server, "postgres").await?;
    session.run(ctx, "select pg_switch_wal()").await?;
    session.run(ctx, "checkpoint").await?;
    drop(session);
    let copy = cluster::copied(ctx, server, "minimal").await?;
    let words = [&MINIMAL[..], &[database]].concat();
    let write = "create table loaded_fast as select generate_series(1, 100) as n\n";
    cluster::alone(ctx, server, &copy, &words, write).await?;
    server.replace_data(ctx, &copy).await
}

async fn archive_by(ctx: &Context, server: &dyn Running, command: &str) -> Result<()> {
    let session = Session::open(ctx, server, "postgres").await?;
    let set = format!("alter system set archive_command = {}", literal(command));
    session.run(ctx, &set).await?;
    // A restart, as a reload reaches the archiver at its own time.
    drop(session);
    server.restart(ctx, Stop::Clean).await
}

/// C5: the network is cut while everything is fetched, when the base backup is there and the first archived segment is not.
/// It is whole again afterwards, as what a recovery left is looked at.
pub async fn in_the_way<T>(
    fault: Option<Fault>,
    link: Option<&Link>,
    fetch: impl Future<Output = Result<T>>,
) -> Result<T> {
    let link = match (fault, link) {
        (Some(Fault::C5), Some(link)) if !link.is_spent() => link,
        (Some(Fault::C5), None) => {
            return Err(Error::defect("no repository is reached over a network"));
        }
        _ => return fetch.await,
    };
    link.cut_before("/wal/");
    let fetched = fetch.await;
    let was_cut = link.is_cut();
    link.mend();
    match was_cut {
        true => fetched,
        false => Err(Error::defect(
            "no archived WAL was fetched: nothing was cut",
        )),
    }
}

/// Plants the fault in what was fetched, before the recovery reads it.
pub async fn in_fetched(
    ctx: &Context,
    fault: Option<Fault>,
    server: &dyn Running,
    fetched: &Fetched,
) -> Result<()> {
    let script = match fault {
        // The command that fetches is ended by a signal.
        Some(Fault::C6) => r#"echo 'kill -9 $$' > "$1/fetch.sh""#,
        // An older segment lies where a newer one is looked for.
        Some(Fault::C16) => {
            r#"cd -- "$1" && set -- $(ls | grep '\.gz$') && first=$1 && for last; do :; done && cp -- "$first" "$last""#
        }
        _ => return Ok(()),
    };
    let wal = fetched.files.iter().find(|(name, _)| name == "wal");
    let (_, dir) = wal.ok_or_else(|| Error::defect("no WAL was fetched"))?;
    run(ctx, server, script, dir).await
}

async fn run(ctx: &Context, server: &dyn Running, script: &str, dir: &Path) -> Result<()> {
    let run = server.tool("sh").args(["-c", script, "sh"]).arg(dir);
    run.run(ctx).await?.ok().map(drop)
}

/// Plants the fault in what a recovery is told; `backed_up` is when the base backup had ended, on the clock of this machine.
pub fn in_target(
    fault: Option<Fault>,
    backed_up: Option<DateTime<Utc>>,
    options: &mut RestoreOptions,
) -> Result<()> {
    options.target = match (fault, &options.target, backed_up) {
        (Some(Fault::C11), ..) => RecoveryTarget::Lsn("FF/0".to_owned()),
        (Some(Fault::C11Early), ..) => RecoveryTarget::Lsn("0/28".to_owned()),
        // A time without its zone is read in another one, an earlier moment than it was meant to be. A drill takes seconds,
        // and no two zones are that close: of what an hour would do, it does the same.
        (Some(Fault::C12), RecoveryTarget::Time(meant), Some(ended)) if ended < *meant => {
            RecoveryTarget::Time(ended)
        }
        (Some(Fault::C12), ..) => {
            return Err(Error::defect("no time is told that could be misread"));
        }
        _ => return Ok(()),
    };
    Ok(())
}
