//! Whether what is stored is encrypted: searched for the canary, and tried with everything that must not open it.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use super::Read;
use crate::context::{Context, Phase};
use crate::drill::backup::stop_or_note;
use crate::drill::world::{World, pipeline};
use crate::error::{Doing, Result};
use crate::evidence::{AttemptFact, BackupFact, EncryptionFact, Evidence};
use crate::fault::damaged::{Damage, Damaged, damaged};
use crate::pipeline::artifact::{ArtifactReader, Keys};
use crate::pipeline::pgbackrest;
use crate::pipeline::stream::Sums;
use crate::pipeline::verify::read_object;
use crate::repository::Repository;
use crate::repository::manifest::{self, Manifest, ManifestFile};
use crate::suite::{Backup, Encryption, Engine};

/// How many objects are searched at once.
const AT_ONCE: usize = 8;

/// Searches what is stored and left lying for the canary, and tries to read the newest artifact as nobody should be
/// able to.
pub(in crate::drill) async fn encryption(
    ctx: &Context,
    world: &World<'_>,
    backups: &[&Backup],
    canary: &str,
    read: &Read,
    evidence: &mut Evidence,
) -> Result<()> {
    let taken = &evidence.backups;
    let encrypted = backups.iter().filter(|backup| backup.encrypt.is_some());
    let searches = encrypted.map(|backup| one(ctx, world, backup, canary, read, taken));
    let facts = futures::future::try_join_all(searches).await?;
    evidence.encryption.extend(facts);
    Ok(())
}

async fn one(
    ctx: &Context,
    world: &World<'_>,
    backup: &Backup,
    canary: &str,
    read: &Read,
    taken: &[BackupFact],
) -> Result<EncryptionFact> {
    let ctx = ctx.within(Phase::Observe, &backup.component);
    let mut fact = EncryptionFact {
        backup: backup.name.clone(),
        canary_planted: taken
            .iter()
            .any(|taken| taken.backup == backup.name && taken.source.is_some()),
        ..EncryptionFact::default()
    };
    for repository in world.repositories(backup) {
        search(&ctx, &repository, backup, canary, read, &mut fact).await?;
    }
    search_staging(&ctx, world, &backup.component, canary, &mut fact).await?;
    let newest = match world.repositories(backup).pop() {
        Some(repository) => Manifest::newest(&ctx, &repository, &backup.name)
            .await?
            .0
            .map(|manifest| (repository, Arc::new(manifest))),
        None => None,
    };
    if let (Some((repository, manifest)), Some(keys)) = (newest, world.keys_of(backup)) {
        if backup.encrypt == Some(Encryption::Aes256Cbc) {
            by_itself(&ctx, world, backup, (repository, manifest), keys, &mut fact).await?;
            return Ok(fact);
        }
        fact.declared = manifest.recipients == [keys.recipient()];
        let read_whole = taken
            .iter()
            .rev()
            .find(|taken| taken.backup == backup.name)
            .and_then(|taken| taken.readable.as_ref())
            .is_some_and(|read| read.error.is_none());
        fact.opens_with_key = Some(
            opens(&ctx, &repository, &manifest, world.keys_left(&ctx, backup)).await?
                && (read_whole || !manifest.files.iter().any(|file| file.shared)),
        );
        fact.attempts = attempts(&ctx, &repository, &manifest, &keys).await?;
    }
    Ok(fact)
}

/// What pgBackRest encrypts it reads by itself: with the key that is left, and with what must not open anything.
async fn by_itself(
    ctx: &Context,
    world: &World<'_>,
    backup: &Backup,
    (repository, manifest): (Arc<dyn Repository>, Arc<Manifest>),
    keys: Keys,
    fact: &mut EncryptionFact,
) -> Result<()> {
    let cipher = manifest.files.iter();
    let cipher = cipher.filter_map(|file| file.metadata.get(pgbackrest::CIPHER));
    fact.declared = cipher.into_iter().any(|cipher| cipher != "none");
    let service = world.service(&backup.component)?;
    let tool = pipeline(backup, world.component(&backup.component)?, world.fault)?;
    let reads = async |keys: Option<Keys>| {
        let reader = ArtifactReader::new(manifest.clone(), repository.clone(), keys);
        let read = tool.read_through(ctx, &reader, service.as_ref()).await?;
        Ok::<_, crate::error::Error>(read.error.is_none())
    };
    fact.opens_with_key = Some(reads(world.keys_left(ctx, backup)).await?);
    let wrong = Keys::generate(ctx);
    for (what, keys) in [
        ("a wrong key", keys.with_identity_of(Some(&wrong))),
        ("no key", keys.with_identity_of(None)),
    ] {
        fact.attempts.push(AttemptFact {
            what: what.to_owned(),
            failed: !reads(Some(keys)).await?,
            left_output: false,
        });
    }
    Ok(())
}

/// Searches every object of a backup, its name and its metadata. What was read before, and has not been written
/// since, was searched then.
async fn search(
    ctx: &Context,
    repository: &Arc<dyn Repository>,
    backup: &Backup,
    canary: &str,
    read: &Read,
    fact: &mut EncryptionFact,
) -> Result<()> {
    let listing = repository.list(ctx, &format!("{}/", backup.name)).await?;
    let read = read.get(&(backup.name.clone(), repository.name().to_owned()));
    let mut searched = futures::stream::iter(listing)
        .map(|stored| async move {
            let known = read
                .and_then(|read| read.get(stored.key.as_str()))
                .filter(|seen| (seen.found.bytes, seen.written) == (stored.bytes, stored.written));
            let seen = match known {
                Some(known) => known.clone(),
                None => {
                    read_object(ctx, repository.as_ref(), &stored.key, canary.as_bytes()).await?
                }
            };
            Ok::<_, crate::error::Error>((stored.key, seen))
        })
        .buffer_unordered(AT_ONCE);
    while let Some((key, seen)) = searched.try_next().await? {
        let place = format!("{key} in {}", repository.name());
        let (names, in_names) = seen.names;
        fact.searched_bytes += seen.found.bytes;
        fact.searched_names += u64::from(names);
        let is_manifest = key.ends_with(&format!("/{}", manifest::FILE_NAME));
        let sealed = match backup.encrypt {
            Some(Encryption::Aes256Cbc) => seen.found.begins_salted,
            Some(Encryption::Age) | None => seen.found.begins_as_age,
        };
        if !is_manifest && !sealed {
            fact.plaintext_files.push(place.clone());
        }
        if seen.found.needle || in_names {
            fact.canary_found.push(place);
        }
    }
    Ok(())
}

/// Searches the directories that dumps pass through on every server that is still there.
async fn search_staging(
    ctx: &Context,
    world: &World<'_>,
    component: &str,
    canary: &str,
    fact: &mut EncryptionFact,
) -> Result<()> {
    for (name, server) in world.servers() {
        if server.engine() == Engine::Bucket || !name.starts_with(component) {
            continue;
        }
        // The canary goes in by standard input: as an argument it would stand in the log that is searched later.
        let grep = server
            .tool("grep")
            .args(["-r", "-l", "-F", "-f", "-"])
            .arg(server.staging());
        let searched = grep
            .feed(ctx, std::io::Cursor::new(format!("{canary}\n")))
            .await;
        match searched {
            Ok(finished) if finished.exit == Some(0) => {
                fact.canary_found
                    .push(format!("a temporary file of {name}: {}", finished.text()));
            }
            Ok(_) => {}
            // A server that the scenario destroyed has no temporary files left.
            Err(error) => drop(stop_or_note(error)?),
        }
    }
    Ok(())
}

async fn opens(
    ctx: &Context,
    repository: &Arc<dyn Repository>,
    manifest: &Arc<Manifest>,
    keys: Option<Keys>,
) -> Result<bool> {
    let reader = ArtifactReader::new(manifest.clone(), repository.clone(), keys);
    for file in manifest.files.iter().filter(|file| !file.shared) {
        let read = async {
            let mut body = reader.open(ctx, &file.name).await?;
            tokio::io::copy(&mut body, &mut tokio::io::sink())
                .await
                .doing("decrypt")
        };
        if let Err(error) = read.await {
            stop_or_note(error)?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads the artifact's smallest file with a wrong key, with none, with a bit flipped and cut short.
async fn attempts(
    ctx: &Context,
    repository: &Arc<dyn Repository>,
    manifest: &Arc<Manifest>,
    keys: &Keys,
) -> Result<Vec<AttemptFact>> {
    let Some(file) = manifest
        .files
        .iter()
        .filter(|file| file.plain_bytes > 0)
        .min_by_key(|file| file.bytes)
    else {
        return Ok(Vec::new());
    };
    let wrong = Keys::generate(ctx);
    let mut facts = Vec::new();
    for (what, keys) in [
        ("a wrong key", keys.with_identity_of(Some(&wrong))),
        ("no key", keys.with_identity_of(None)),
    ] {
        let reader = ArtifactReader::new(manifest.clone(), repository.clone(), Some(keys));
        facts.push(attempt(ctx, what, &reader, &file.name).await?);
    }
    let damages = [
        ("one bit flipped", Damage::FlipBit(file.bytes / 2)),
        ("its last byte missing", Damage::CutAt(file.bytes - 1)),
    ];
    for (what, damage) in damages {
        // The manifest is made to agree with the damage, so that the cipher itself has to notice.
        let body = damaged(repository.get(ctx, &file.key).await?, damage);
        let (bytes, sha256) = Sums::of(body).await.doing("hash a damaged file")?;
        let agreeing = manifest.with_files(vec![ManifestFile {
            bytes,
            sha256,
            ..file.clone()
        }]);
        let view: Arc<dyn Repository> =
            Arc::new(Damaged::new(repository.clone(), &file.key, damage));
        let reader = ArtifactReader::new(agreeing, view, Some(keys.clone()));
        facts.push(attempt(ctx, what, &reader, &file.name).await?);
    }
    Ok(facts)
}

async fn attempt(
    ctx: &Context,
    what: &str,
    reader: &ArtifactReader,
    name: &str,
) -> Result<AttemptFact> {
    let dir = ctx.subdir(&format!("attempt-{}", ctx.next_number()))?;
    let output = dir.join("output");
    let failed = match reader.save(ctx, name, &output).await {
        Ok(_) => false,
        Err(error) => {
            stop_or_note(error)?;
            true
        }
    };
    let left = std::fs::read_dir(&dir)
        .doing("look for an output")?
        .next()
        .is_some();
    std::fs::remove_dir_all(&dir).doing("remove the attempt's directory")?;
    Ok(AttemptFact {
        what: what.to_owned(),
        failed,
        left_output: failed && left,
    })
}
