//! Faults planted in artifacts: after the product wrote them, as a failing tool, disk or hand would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use tokio::io::AsyncReadExt;

use super::{base, find, pgbackrest};
use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::fault::damaged::{Damage, damaged};
use crate::pipeline::artifact::{ArtifactReader, ArtifactWriter, Destination, Keys, Origin};
use crate::pipeline::stream::As;
use crate::repository::manifest::{Manifest, ManifestFile};
use crate::repository::{Repository, contents};
use crate::service::redis::PROBE_VALUE;
use crate::suite::{Backup, Fault};

/// age encrypts in chunks of 64 KiB (age-encryption.org/v1, "Payload").
const AGE_CHUNK: u64 = 64 * 1024;
/// What `gzip` makes of an empty input.
const EMPTY_GZIP: [u8; 20] = [
    0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// Plants the fault in the newest artifact of a backup, in every repository.
pub async fn in_artifact(
    ctx: &Context,
    fault: Option<Fault>,
    backup: &Backup,
    repositories: &[Arc<dyn Repository>],
    keys: Option<Keys>,
) -> Result<()> {
    let Some(fault) = fault else { return Ok(()) };
    for repository in repositories {
        let Some(manifest) = Manifest::newest(ctx, repository, &backup.name).await?.0 else {
            continue;
        };
        let artifact = Artifact {
            ctx,
            repository,
            manifest: &manifest,
            keys: &keys,
        };
        match fault {
            Fault::A1 => {
                artifact
                    .reseal("db.dump", |bytes| bytes.truncate(bytes.len() * 6 / 10))
                    .await?
            }
            // psql ends well where the script does, and this one ends where its keys and indexes would begin.
            Fault::A1Plain => artifact.reseal("db.sql", cut_after_the_rows).await?,
            // The table of contents comes first; the end is compressed rows.
            Fault::A2 => artifact.reseal("db.dump", |bytes| flip_late(bytes)).await?,
            Fault::A2Uncompressed => {
                artifact
                    .reseal("db.dump", |bytes| change_a_name(bytes))
                    .await?
            }
            Fault::A2Plain => {
                artifact
                    .reseal("db.sql", |bytes| change_a_name(bytes))
                    .await?
            }
            Fault::A3 => {
                artifact
                    .reseal("db.dump", |bytes| *bytes = EMPTY_GZIP.to_vec())
                    .await?
            }
            // One statement is not understood: a table is not made, and none of its rows is loaded.
            Fault::A4 => {
                let misspell = |bytes: &mut Vec<u8>| {
                    if let Some(at) = find(bytes, b"CREATE TABLE shop.audit (") {
                        bytes[at + b"CREATE TA".len()] = b'V';
                    }
                };
                artifact.reseal("db.sql", misspell).await?
            }
            Fault::A5 => artifact.lose_a_role("shop_reader").await?,
            Fault::A7 => artifact.lose_a_role("shop_auditor").await?,
            // Written by a newer pg_dump: with its version, a command of psql and a setting that came later.
            Fault::A11 => artifact.reseal("db.sql", of_a_newer_dump).await?,
            Fault::B1
            | Fault::B2
            | Fault::B3
            | Fault::B3Appended
            | Fault::B4
            | Fault::B5
            | Fault::B5Deleted
            | Fault::B5Emptied
            | Fault::B5Recomputed
            | Fault::B7
            | Fault::B22 => artifact.alter_base(fault).await?,
            Fault::B4Bundle | Fault::B21 | Fault::B21Foreign | Fault::C1PgBackRest => {
                pgbackrest::plant(ctx, fault, repository, &manifest).await?
            }
            Fault::D1 => {
                artifact
                    .reseal("dump.rdb", |bytes| flip_value(bytes))
                    .await?
            }
            Fault::D2 => {
                artifact
                    .reseal("dump.rdb", |bytes| flip_value_without_checksum(bytes))
                    .await?
            }
            Fault::F1 => artifact.lose_one().await?,
            Fault::H3 => {
                artifact
                    .damage_stored(|bytes| Damage::FlipBit(bytes / 2))
                    .await?
            }
            Fault::H4 => artifact.cut_at_chunk().await?,
            _ => {}
        }
    }
    Ok(())
}

/// Changes a letter of the first capitalised word that fills a column's beginning in the dump's rows (they are
/// separated by tabs): text, then, and no label of an enum.
fn change_a_name(bytes: &mut [u8]) {
    let a_name = |window: &[u8]| {
        window[0] == b'\t'
            && window[1].is_ascii_uppercase()
            && window[2..].iter().all(u8::is_ascii_lowercase)
    };
    if let Some(at) = bytes.windows(6).position(a_name) {
        bytes[at + 3] = if bytes[at + 3] == b'z' {
            b'a'
        } else {
            bytes[at + 3] + 1
        };
    }
}

/// Ends a plain dump before the first of the constraints, which come after all rows.
fn cut_after_the_rows(bytes: &mut Vec<u8>) {
    let constraint = find(bytes, b"; Type: CONSTRAINT; ");
    let before = constraint.and_then(|at| memchr::memmem::rfind(&bytes[..at], b"\n--\n"));
    bytes.truncate(before.map_or(bytes.len(), |at| at + 1));
}

/// The head of a plain dump as a `pg_dump` of years to come would write it.
fn of_a_newer_dump(bytes: &mut Vec<u8>) {
    const BY: &str = "-- Dumped by pg_dump version ";
    let Some(from) = find(bytes, BY.as_bytes()) else {
        return;
    };
    let line = bytes[from..].iter().position(|byte| *byte == b'\n');
    let to = line.map_or(bytes.len(), |end| from + end + 1);
    let newer = format!("{BY}99.0\n\n\\restrict later\n\nSET transaction_timeout = 0;\n");
    bytes.splice(from..to, newer.into_bytes());
}

fn flip_late(bytes: &mut [u8]) {
    let late = bytes.len() * 9 / 10;
    if let Some(byte) = bytes.get_mut(late) {
        *byte ^= 0x10;
    }
}

/// Flips a bit in the value of the key that [`crate::service::redis`] seeds for this.
fn flip_value(bytes: &mut [u8]) {
    if let Some(at) = find(bytes, PROBE_VALUE.as_bytes()) {
        bytes[at + PROBE_VALUE.len() / 2] ^= 1;
    }
}

/// Changes a byte of a value and sets the RDB's checksum, its last eight bytes, to 0: "not computed".
fn flip_value_without_checksum(bytes: &mut [u8]) {
    flip_value(bytes);
    let length = bytes.len();
    bytes[length.saturating_sub(8)..].fill(0);
}

struct Artifact<'a> {
    ctx: &'a Context,
    repository: &'a Arc<dyn Repository>,
    manifest: &'a Manifest,
    keys: &'a Option<Keys>,
}

impl Artifact<'_> {
    fn reader(&self) -> ArtifactReader {
        ArtifactReader::new(
            self.manifest.clone(),
            self.repository.clone(),
            self.keys.clone(),
        )
    }

    /// The file with the data in it.
    fn largest(&self) -> Option<&ManifestFile> {
        self.manifest.files.iter().max_by_key(|file| file.bytes)
    }

    /// Writes the artifact again through the product's own writer, one file of it altered: everything fits, as if
    /// the tool itself had given bad output. Detection drills are small; the file is held in memory.
    async fn reseal(&self, name: &str, alter: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let reader = self.reader();
        let mut contents = Vec::new();
        let (shared, own): (Vec<_>, Vec<_>) =
            self.manifest.files.iter().partition(|file| file.shared);
        for file in own {
            let mut bytes = Vec::new();
            reader
                .open(self.ctx, &file.name)
                .await?
                .read_to_end(&mut bytes)
                .await
                .doing("read an artifact to damage it")?;
            contents.push((file.clone(), bytes));
        }
        let (_, bytes) = contents
            .iter_mut()
            .find(|(file, _)| file.name == name)
            .ok_or_else(|| Error::defect(format!("the artifact has no file {name} to damage")))?;
        let before = bytes.clone();
        alter(bytes);
        if *bytes == before {
            return Err(Error::defect(format!(
                "the fault did not change {name}: it was not planted"
            )));
        }
        let origin = Origin {
            backup: self.manifest.backup.clone(),
            component: self.manifest.component.clone(),
            taken_at: self.manifest.taken_at,
            engine: self.manifest.engine.clone(),
            compression: self.manifest.compression.clone(),
        };
        let own = contents.iter().map(|(file, _)| file.key.clone());
        let own: Vec<String> = own.chain([self.manifest.key()]).collect();
        self.repository.delete(self.ctx, &own).await?;
        let writer = ArtifactWriter::new(
            self.ctx,
            origin,
            vec![self.repository.clone()],
            self.keys.clone(),
        );
        for file in shared {
            writer.blobs().reuse(file.clone());
        }
        writer.share(self.ctx, &reader).await?;
        for (file, bytes) in contents {
            writer
                .file(
                    self.ctx,
                    &file.name,
                    Box::new(std::io::Cursor::new(bytes)),
                    file.metadata,
                )
                .await?;
        }
        let manifest = Manifest {
            files: Vec::new(),
            ..self.manifest.clone()
        };
        writer.commit(self.ctx, manifest).await.map(drop)
    }

    /// The roles as they would be had one of them been left out.
    async fn lose_a_role(&self, role: &str) -> Result<()> {
        let without = |bytes: &mut Vec<u8>| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let others = text
                .split_inclusive('\n')
                .filter(|line| !line.contains(role));
            *bytes = others.collect::<String>().into_bytes();
        };
        self.reseal("globals.sql", without).await
    }

    /// Alters the tar of the base backup, beside that of the one before it.
    async fn alter_base(&self, fault: Fault) -> Result<()> {
        const BASE: &str = "base.tar";
        let (all, _) = Manifest::list(self.ctx, self.repository, &self.manifest.backup).await?;
        let before = all.iter().rev().find(|older| older.id != self.manifest.id);
        let mut older = Vec::new();
        if let Some(before) = before {
            let reader =
                ArtifactReader::new(before.clone(), self.repository.clone(), self.keys.clone());
            let mut body = reader.open(self.ctx, BASE).await?;
            body.read_to_end(&mut older)
                .await
                .doing("read a base backup")?;
        }
        let mut altered = Ok(());
        if fault == Fault::B5Recomputed {
            // Whoever can have a base backup fit its own manifest cannot have it fit the repository's as well.
            let mut tar = self.read(BASE).await?;
            base::alter(fault, &mut tar, &older)?;
            return self.exchange(BASE, tar).await;
        }
        let alter = |tar: &mut Vec<u8>| altered = base::alter(fault, tar, &older);
        let sealed = self.reseal(BASE, alter).await;
        altered.and(sealed)
    }

    async fn read(&self, name: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut body = self.reader().open(self.ctx, name).await?;
        body.read_to_end(&mut bytes)
            .await
            .doing("read an artifact to damage it")?;
        Ok(bytes)
    }

    /// Stores other content for a file, sealed as it should be, and says nothing of it in the manifest.
    async fn exchange(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let file = self.manifest.file(name);
        let file = file.ok_or_else(|| Error::defect(format!("the artifact has no file {name}")))?;
        let here = [self.repository.clone()];
        let destination = Destination::new(&self.manifest.backup, here.to_vec(), self.keys.clone());
        let body = Box::new(std::io::Cursor::new(bytes));
        let named = As {
            key: &file.key,
            metadata: &BTreeMap::new(),
            new: false,
        };
        let put = destination.put(self.ctx, &here, named, body);
        put.await.map(drop)
    }

    /// Removes a stored file that the manifest names: shared content where there is any.
    async fn lose_one(&self) -> Result<()> {
        let mut contents = contents::each(self.ctx, self.repository.as_ref(), self.manifest);
        let content = contents.try_next().await?;
        let content = content.map(|content| content.file(&self.manifest.backup));
        let files = &self.manifest.files;
        let named = || files.iter().find(|file| file.shared).or(files.first());
        let file = content.or_else(|| named().cloned());
        let key = file.map(|file| file.key);
        self.repository.delete(self.ctx, key.as_slice()).await
    }

    /// Changes stored bytes behind the manifest's back.
    async fn damage_stored(&self, how: impl Fn(u64) -> Damage) -> Result<()> {
        let Some(file) = self.largest() else {
            return Ok(());
        };
        let (spool, _guard) = spool(
            self.ctx,
            self.repository.get(self.ctx, &file.key).await?,
            how(file.bytes),
        )
        .await?;
        self.repository
            .put(self.ctx, &file.key, spool, &file.metadata)
            .await
            .map(drop)
    }

    /// Cuts the first file's ciphertext after a whole chunk, and has the manifest agree: only the cipher can tell.
    async fn cut_at_chunk(&self) -> Result<()> {
        let mut manifest = self.manifest.clone();
        let Some(file) = manifest.files.iter_mut().max_by_key(|file| file.bytes) else {
            return Ok(());
        };
        let sealed_chunk = AGE_CHUNK + 16;
        let payload = file.plain_bytes.div_ceil(AGE_CHUNK).max(1);
        if payload < 2 {
            return Err(Error::defect(
                "the artifact has one chunk only: it cannot be cut between two",
            ));
        }
        let header = file.bytes - (file.plain_bytes + 16 * payload);
        let kept = header + sealed_chunk * (payload - 1);
        let (spool, path) = spool(
            self.ctx,
            self.repository.get(self.ctx, &file.key).await?,
            Damage::CutAt(kept),
        )
        .await?;
        file.bytes = kept;
        file.sha256 = sha256(&path)?;
        self.repository
            .put(self.ctx, &file.key, spool, &file.metadata)
            .await?;
        self.rewrite(&manifest).await
    }

    async fn rewrite(&self, manifest: &Manifest) -> Result<()> {
        let text = serde_json::to_vec_pretty(manifest).doing("write a manifest")?;
        let body = Box::new(std::io::Cursor::new(text));
        self.repository
            .put(self.ctx, &manifest.key(), body, &Default::default())
            .await
            .map(drop)
    }
}

/// Damaged bytes through a file, as a repository must not be read and written at once.
async fn spool(
    ctx: &Context,
    input: crate::service::Reading,
    damage: Damage,
) -> Result<(crate::service::Reading, PathBuf)> {
    let path = ctx.dir.join(format!("damaged-{}", ctx.next_number()));
    let mut file = tokio::fs::File::create(&path)
        .await
        .doing_with(|| format!("create {}", path.display()))?;
    tokio::io::copy(&mut damaged(input, damage), &mut file)
        .await
        .doing("damage an artifact")?;
    file.sync_all().await.doing("damage an artifact")?;
    let file = tokio::fs::File::open(&path)
        .await
        .doing_with(|| format!("open {}", path.display()))?;
    Ok((Box::new(file), path))
}

fn sha256(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).doing_with(|| format!("read {}", path.display()))?;
    Ok(crate::sha256::hex_of(bytes))
}
