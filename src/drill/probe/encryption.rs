//! Whether what is stored is encrypted: searched for the canary, and tried with everything that must not open it.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};

use super::{Read, Temporary};
use crate::clock::Stopwatch;
use crate::context::{Context, Phase};
use crate::drill::backup::stop_or_note;
use crate::drill::world::{World, pipeline};
use crate::error::{Doing, Error, Result};
use crate::evidence::{AttemptFact, BackupFact, EncryptionFact, Evidence};
use crate::fault::damaged::{Damage, Damaged};
use crate::pipeline::artifact::{ArtifactReader, Keys};
use crate::pipeline::pgbackrest;
use crate::pipeline::verify::{SeenObject, read_object};
use crate::repository::manifest::{self, Manifest, ManifestFile};
use crate::repository::{Repository, contents};
use crate::shelf::Shelf;
use crate::suite::{Backup, Encryption};

/// How many objects are searched at once.
const AT_ONCE: usize = 8;
const NOTING: &str = "note what was searched";
/// How long what is being stored may take to become whole.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Whether a key opens an artifact; else which file it does not, and why.
type Opened = std::result::Result<(), String>;

/// Searches what is stored and left lying for the canary, and tries to read the newest artifact as nobody should be
/// able to. `temporary` was found before the disaster.
pub(in crate::drill) async fn encryption(
    ctx: &Context,
    world: &World<'_>,
    backups: &[&Backup],
    canary: &str,
    read: &Read,
    mut temporary: Temporary,
    evidence: &mut Evidence,
) -> Result<()> {
    temporary.search(ctx, world, backups, canary).await?;
    let (taken, temporary) = (&evidence.backups, &temporary);
    let encrypted = backups.iter().filter(|backup| backup.encrypt.is_some());
    let searches = encrypted.map(|backup| async move {
        let mut fact = one(ctx, world, backup, canary, read, taken).await?;
        temporary.tell(&backup.component, &mut fact);
        Ok::<_, Error>(fact)
    });
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
    let own = || taken.iter().filter(|taken| taken.backup == backup.name);
    let mut fact = EncryptionFact {
        backup: backup.name.clone(),
        canary_planted: own()
            .filter_map(|taken| taken.source.as_ref())
            .any(|source| source.canary.as_deref() == Some(canary)),
        declared: true,
        ..EncryptionFact::default()
    };
    let last_read = own().next_back().and_then(|taken| taken.readable.as_ref());
    let read_whole = match last_read {
        Some(read) => read.error.clone().map_or(Ok(()), Err),
        None => Err("it was not read through".to_owned()),
    };
    for repository in world.repositories(backup) {
        search(&ctx, &repository, backup, canary, read, &mut fact).await?;
        unfinished(&ctx, &repository, &mut fact).await?;
        let place = repository.name().to_owned();
        let newest = Manifest::newest(&ctx, &repository, &backup.name).await?.0;
        // The disaster may have taken what lay here; that nothing is left anywhere shows in that nothing was opened.
        let (Some(manifest), Some(keys)) = (newest, world.keys_of(backup)) else {
            continue;
        };
        let manifest = Arc::new(manifest);
        let opened = if backup.encrypt == Some(Encryption::Aes256Cbc) {
            by_itself(&ctx, world, backup, (repository, manifest), keys, &mut fact).await?
        } else {
            fact.declared &= manifest.recipients == [keys.recipient()];
            match attempts(&ctx, &repository, &manifest, &keys).await {
                Ok(tried) if tried.is_empty() => {
                    let words = format!("the artifact in {place} has no file to try keys on");
                    fact.unobserved.push(words);
                }
                Ok(tried) => fact.attempts.extend(tried),
                // A file that is gone is told of the artifact; here it was only not tried.
                Err(error) => fact.unobserved.push(stop_or_note(error)?),
            }
            let keys = world.keys_left(&ctx, backup);
            match opens(&ctx, &repository, &manifest, keys).await? {
                Ok(()) if shares(&manifest) => read_whole.clone(),
                opened => opened,
            }
        };
        let before = fact.opens_with_key.take().unwrap_or(Ok(()));
        fact.opens_with_key = Some(before.and(opened));
    }
    Ok(fact)
}

/// What pgBackRest encrypts it reads by itself: with the key that is left, and with what must not open anything. Says
/// whether the first one opens it, or what it complains of.
async fn by_itself(
    ctx: &Context,
    world: &World<'_>,
    backup: &Backup,
    (repository, manifest): (Arc<dyn Repository>, Arc<Manifest>),
    keys: Keys,
    fact: &mut EncryptionFact,
) -> Result<Opened> {
    let cipher = manifest.files.iter();
    let mut cipher = cipher.filter_map(|file| file.metadata.get(pgbackrest::CIPHER));
    fact.declared &= cipher.any(|cipher| cipher != "none");
    let service = world.service(&backup.component)?;
    let tool = pipeline(backup, world.component(&backup.component)?, world.fault)?;
    // Where it could not be tried, that is noted, and nothing is known.
    let reads = async |what: &str, keys: Option<Keys>, fact: &mut EncryptionFact| {
        let reader = ArtifactReader::new(manifest.clone(), repository.clone(), keys);
        match tool.read_through(ctx, &reader, service.as_ref()).await {
            Ok(read) => Ok::<_, Error>(Some(read.error.map_or(Ok(()), Err))),
            Err(error) => {
                let words = stop_or_note(error)?;
                fact.unobserved
                    .push(format!("{what} was not tried: {words}"));
                Ok(None)
            }
        }
    };
    let opened = reads("the key", world.keys_left(ctx, backup), fact).await?;
    let wrong = Keys::generate(ctx);
    for (what, keys) in [
        ("a wrong key", keys.with_identity_of(Some(&wrong))),
        ("no key", keys.with_identity_of(None)),
    ] {
        let what = format!("{what}, in {}", repository.name());
        if let Some(opened) = reads(&what, Some(keys), fact).await? {
            fact.attempts.push(AttemptFact {
                what,
                failed: opened.is_err(),
                left_output: false,
            });
        }
    }
    Ok(opened.unwrap_or(Ok(())))
}

/// Looks for what was begun in a repository and never became whole. What is just being stored (pgBackRest archives
/// whenever it wants) is given the time to end.
async fn unfinished(
    ctx: &Context,
    repository: &Arc<dyn Repository>,
    fact: &mut EncryptionFact,
) -> Result<()> {
    let watch = Stopwatch::start();
    loop {
        let found = match repository.unfinished(ctx).await {
            Ok(found) => found,
            Err(error) => {
                fact.unobserved.push(stop_or_note(error)?);
                return Ok(());
            }
        };
        if found.is_empty() || watch.elapsed() > PATIENCE {
            let place = |name| format!("{name} in {}", repository.name());
            fact.unfinished.extend(found.into_iter().map(place));
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Searches every object of a backup, its name and its metadata. What was read before, and has not been written
/// since, was searched then; so was what the disaster has taken.
async fn search(
    ctx: &Context,
    repository: &Arc<dyn Repository>,
    backup: &Backup,
    canary: &str,
    read: &Read,
    fact: &mut EncryptionFact,
) -> Result<()> {
    let prefix = format!("{}/", backup.name);
    let listing = repository.walk(ctx, &prefix);
    let read = read.get(&(backup.name.clone(), repository.name().to_owned()));
    let listed = Shelf::new(&ctx.dir).doing(NOTING)?;
    let mut searched = listing
        .map(|stored| async move {
            let stored = stored?;
            let known = match read {
                Some(read) => read.get(&stored.key).doing(NOTING)?,
                None => None,
            };
            let known = known
                .filter(|seen| (seen.found.bytes, seen.written) == (stored.bytes, stored.written));
            let seen = match known {
                Some(known) => known,
                None => {
                    read_object(ctx, repository.as_ref(), &stored.key, canary.as_bytes()).await?
                }
            };
            Ok::<_, Error>((stored.key, seen))
        })
        .buffer_unordered(AT_ONCE);
    while let Some((key, seen)) = searched.try_next().await? {
        listed.insert(&key, &()).doing(NOTING)?;
        note(backup, repository, &key, &seen, fact);
    }
    drop(searched);
    for seen in read.into_iter().flat_map(|read| read.each()) {
        let (key, seen) = seen.doing(NOTING)?;
        if listed.get(&key).doing(NOTING)?.is_none() {
            note(backup, repository, &key, &seen, fact);
        }
    }
    Ok(())
}

/// Takes in what the search of one stored object came to.
fn note(
    backup: &Backup,
    repository: &Arc<dyn Repository>,
    key: &str,
    seen: &SeenObject,
    fact: &mut EncryptionFact,
) {
    let place = format!("{key} in {}", repository.name());
    fact.searched_bytes += seen.found.bytes;
    fact.searched_names += u64::from(seen.names);
    let file = key.rsplit_once('/').map(|(_, file)| file);
    let in_the_clear = [manifest::FILE_NAME, contents::FILE_NAME]
        .map(Some)
        .contains(&file);
    let sealed = match backup.encrypt {
        Some(Encryption::Aes256Cbc) => seen.found.begins_salted,
        Some(Encryption::Age) | None => seen.found.begins_as_age,
    };
    if !in_the_clear && !sealed {
        fact.plaintext_files.push(place.clone());
    }
    for (found, what) in [
        (seen.found.needle, ""),
        (seen.in_name, "the name of "),
        (seen.in_metadata, "the metadata of "),
    ] {
        fact.canary_found
            .extend(found.then(|| format!("{what}{place}")));
    }
}

/// The largest content that an artifact shares. A list that cannot be read is told elsewhere.
async fn largest_content(
    ctx: &Context,
    repository: &dyn Repository,
    manifest: &Manifest,
) -> Result<Option<ManifestFile>> {
    let mut largest = None::<ManifestFile>;
    let mut all = contents::each(ctx, repository, manifest);
    while let Some(content) = all.next().await {
        let file = match content {
            Ok(content) => content.file(&manifest.backup),
            Err(error) => {
                stop_or_note(error)?;
                break;
            }
        };
        if largest.as_ref().is_none_or(|it| it.bytes < file.bytes) {
            largest = Some(file);
        }
    }
    Ok(largest)
}

/// Whether an artifact names what others name too.
fn shares(manifest: &Manifest) -> bool {
    manifest.contents.is_some() || manifest.files.iter().any(|file| file.shared)
}

async fn opens(
    ctx: &Context,
    repository: &Arc<dyn Repository>,
    manifest: &Arc<Manifest>,
    keys: Option<Keys>,
) -> Result<Opened> {
    let reader = ArtifactReader::new(manifest.clone(), repository.clone(), keys);
    for file in manifest.files.iter().filter(|file| !file.shared) {
        let read = async {
            let mut body = reader.open(ctx, &file.name).await?;
            tokio::io::copy(&mut body, &mut tokio::io::sink())
                .await
                .doing("decrypt")
        };
        if let Err(error) = read.await {
            let (name, place) = (&file.name, repository.name());
            return Ok(Err(format!("{name} in {place}: {}", stop_or_note(error)?)));
        }
    }
    Ok(Ok(()))
}

/// Reads the artifact's smallest and its largest file with a wrong key, with none, with a bit flipped and cut short.
async fn attempts(
    ctx: &Context,
    repository: &Arc<dyn Repository>,
    manifest: &Arc<Manifest>,
    keys: &Keys,
) -> Result<Vec<AttemptFact>> {
    let tried = || manifest.files.iter().filter(|file| file.plain_bytes > 0);
    let smallest = tried().min_by_key(|file| file.bytes);
    let largest = tried().max_by_key(|file| file.bytes);
    let another = largest.filter(|largest| smallest.is_some_and(|it| it.key != largest.key));
    let content = largest_content(ctx, repository.as_ref(), manifest).await?;
    let wrong = Keys::generate(ctx);
    let mut facts = Vec::new();
    for file in smallest.into_iter().chain(another).chain(&content) {
        let alone = Arc::new(manifest.with_files(vec![file.clone()]));
        let on = format!("{} in {}", file.name, repository.name());
        for (what, keys) in [
            ("a wrong key", keys.with_identity_of(Some(&wrong))),
            ("no key", keys.with_identity_of(None)),
        ] {
            let reader = ArtifactReader::new(alone.clone(), repository.clone(), Some(keys));
            facts.push(attempt(ctx, format!("{what}, {on}"), &reader, &file.name).await?);
        }
        let damages = [
            (
                "one bit flipped",
                file.bytes,
                Damage::FlipBit(file.bytes / 2),
            ),
            (
                "its last byte missing",
                file.bytes - 1,
                Damage::CutAt(file.bytes - 1),
            ),
        ];
        for (what, bytes, damage) in damages {
            // The manifest is made to agree with the damage, so that the cipher itself has to notice.
            let agreeing = manifest.with_files(vec![ManifestFile {
                bytes,
                sha256: String::new(),
                ..file.clone()
            }]);
            let view: Arc<dyn Repository> =
                Arc::new(Damaged::new(repository.clone(), &file.key, damage));
            let reader = ArtifactReader::new(agreeing, view, Some(keys.clone()));
            facts.push(attempt(ctx, format!("{what}, {on}"), &reader, &file.name).await?);
        }
    }
    Ok(facts)
}

async fn attempt(
    ctx: &Context,
    what: String,
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
        what,
        failed,
        left_output: failed && left,
    })
}
