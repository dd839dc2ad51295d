//! Faults that let data out: stored without encryption, beside what is encrypted, or left where nobody looks. They are those
//! of a forgotten branch, of a tool that names files by what is in them, of a process that did not live to tidy up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;

use crate::context::Context;
use crate::error::{Doing, Error, Kind, Result};
use crate::pipeline::artifact::{ArtifactReader, Keys};
use crate::repository::Repository;
use crate::repository::manifest::{Manifest, ManifestFile};
use crate::service::reading::channel;
use crate::service::s3::PART_BYTES;
use crate::service::{Reading, Running, write_file};
use crate::suite::{Backup, Fault};

/// How long an upload may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Plants the fault beside the newest artifact of a backup, in every repository, or among what the backup left on its way;
/// `server` is the source, and `canary` stands in its data.
pub async fn in_the_clear(
    ctx: &Context,
    fault: Option<Fault>,
    backup: &Backup,
    repositories: &[Arc<dyn Repository>],
    keys: Option<Keys>,
    server: &dyn Running,
    canary: &str,
) -> Result<()> {
    let Some(
        fault @ (Fault::F4
        | Fault::H1
        | Fault::H1Name
        | Fault::H1Metadata
        | Fault::H1Staging
        | Fault::H1Temporary),
    ) = fault
    else {
        return Ok(());
    };
    for repository in repositories {
        let Some(manifest) = Manifest::newest(ctx, repository, &backup.name).await?.0 else {
            continue;
        };
        let largest = manifest.files.iter().max_by_key(|file| file.bytes);
        let file = largest.ok_or_else(|| Error::defect("the artifact has no file"))?;
        let beside = Beside {
            ctx,
            repository,
            manifest: &manifest,
            file,
        };
        let reader = ArtifactReader::new(manifest.clone(), repository.clone(), keys.clone());
        let plain = async || reader.open(ctx, &file.name).await;
        match fault {
            Fault::F4 => beside.begin_an_upload().await?,
            // The temporary file of a branch that forgot to encrypt.
            Fault::H1 => {
                let key = beside.key("upload.tmp");
                beside.put(&key, plain().await?, &BTreeMap::new()).await?;
            }
            Fault::H1Name => {
                let (sealed, metadata) = beside.sealed().await?;
                beside.put(&beside.key(canary), sealed, &metadata).await?;
            }
            Fault::H1Metadata => beside.describe("title", canary).await?,
            Fault::H1Staging => {
                let dir = server.staging();
                let make = server.tool("mkdir").arg("-p").arg(&dir);
                make.run(ctx).await?.ok()?;
                write_file(ctx, server, &dir.join("left.dump"), plain().await?).await?;
            }
            _ => {
                let left = ctx.dir.join("download.tmp");
                reader.save(ctx, &file.name, &left).await.map(drop)?;
            }
        }
    }
    Ok(())
}

/// J16, H1-log: a tool that prints the password it was given, or the data.
pub fn in_logs(ctx: &Context, fault: Option<Fault>, canary: &str) -> Result<()> {
    let line = match fault {
        Some(Fault::J16) => {
            let Some((_, secret)) = ctx.secrets.all().into_iter().next() else {
                return Err(Error::defect("the run has no secret to leak"));
            };
            format!("connecting with password={secret}\n")
        }
        Some(Fault::H1Log) => format!("skipping row: {canary}\n"),
        _ => return Ok(()),
    };
    let path = ctx.logs.join("9999-verbose-tool.log");
    std::fs::write(&path, line).doing_with(|| format!("write {}", path.display()))
}

/// An artifact and its largest file, in one repository.
struct Beside<'a> {
    ctx: &'a Context,
    repository: &'a Arc<dyn Repository>,
    manifest: &'a Manifest,
    file: &'a ManifestFile,
}

impl Beside<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.manifest.backup, self.manifest.id)
    }

    async fn put(&self, key: &str, body: Reading, about: &BTreeMap<String, String>) -> Result<()> {
        let stored = self.repository.put(self.ctx, key, body, about);
        stored.await.map(drop)
    }

    /// The file as it is stored, with its metadata. Detection drills are small; it is held in memory.
    async fn sealed(&self) -> Result<(Reading, BTreeMap<String, String>)> {
        let mut bytes = Vec::new();
        let (stored, mut body) = self.repository.open(self.ctx, &self.file.key).await?;
        body.read_to_end(&mut bytes)
            .await
            .doing("read an artifact to store it again")?;
        Ok((Box::new(std::io::Cursor::new(bytes)), stored.metadata))
    }

    /// Stores the file again with a description, and the manifest, which comes last, after it.
    async fn describe(&self, name: &str, description: &str) -> Result<()> {
        let (sealed, mut metadata) = self.sealed().await?;
        metadata.insert(name.to_owned(), description.to_owned());
        self.put(&self.file.key, sealed, &metadata).await?;
        let text = serde_json::to_vec_pretty(self.manifest).doing("write a manifest")?;
        let text = Box::new(std::io::Cursor::new(text));
        self.put(&self.manifest.key(), text, &BTreeMap::new()).await
    }

    /// An upload in parts whose process is killed when the first of them are stored.
    async fn begin_an_upload(&self) -> Result<()> {
        let (ctx, repository, key) = (self.ctx, self.repository, self.key("upload"));
        let (feeder, body) = channel(1);
        let nothing = BTreeMap::new();
        let upload = repository.put(ctx, &key, body, &nothing);
        let begun = async {
            for _ in 0..2 {
                let part = Bytes::from(vec![b'x'; PART_BYTES as usize]);
                feeder.send(part).await;
            }
            while repository.unfinished(ctx).await?.is_empty() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Ok(())
        };
        let killed = tokio::time::timeout(PATIENCE, async {
            tokio::select! {
                ended = upload => ended.and(Err(Error::defect("the upload was not killed"))),
                begun = begun => begun,
            }
        });
        let late = |_| Err(Error::new(Kind::TimedOut, "the upload did not begin"));
        killed.await.unwrap_or_else(late)
    }
}
