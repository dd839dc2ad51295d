//! Looking at what is stored and what was left behind: artifacts as they lie in their repositories, the pruner's
//! leftovers, ciphertext, and places where secrets must not be.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::backup::stop_or_note;
use super::world::{World, pipeline};
use crate::context::{Context, Phase};
use crate::error::{Doing, Result};
use crate::evidence::{
    AttemptFact, EncryptionFact, Evidence, LeakFact, LeakSearch, ReadFact, RetentionFact,
    StoredFact, WrittenFact,
};
use crate::fault::damaged::{Damage, Damaged, damaged};
use crate::fault::plant;
use crate::pipeline::artifact::{ArtifactReader, Keys};
use crate::pipeline::verify::verify_stored;
use crate::repository::Repository;
use crate::repository::manifest::{self, Manifest};
use crate::repository::wal;
use crate::suite::{Backup, Engine, Fault};

/// How an age file begins (age-encryption.org/v1, "Header").
const AGE_MAGIC: &[u8] = b"age-encryption.org/v1\n";
/// How many objects are searched at once.
const AT_ONCE: usize = 8;

/// Verifies the newest artifact of every backup where it lies, and has the engine's tool read it whole.
pub(super) async fn artifacts(
    ctx: &Context,
    world: &World<'_>,
    backups: &[&Backup],
    evidence: &mut Evidence,
) -> Result<()> {
    for backup in backups {
        let ctx = ctx.within(Phase::Observe, &backup.component);
        let mut stored = Vec::new();
        let mut readable = None;
        for repository in world.repositories(backup) {
            let newest = Manifest::newest(&ctx, &repository, &backup.name).await;
            match newest {
                Ok((Some(manifest), _)) => {
                    stored.push(verify_stored(&ctx, &manifest, &repository).await?);
                    let reader =
                        ArtifactReader::new(manifest, repository, world.keys_left(&ctx, backup));
                    readable = Some(read_through(&ctx, world, backup, &reader).await?);
                }
                Ok((None, broken)) => stored.push(StoredFact {
                    error: broken
                        .into_iter()
                        .next()
                        .map(|(_, error)| error.to_string()),
                    repository: repository.name().to_owned(),
                    ..StoredFact::default()
                }),
                Err(error) => stored.push(StoredFact {
                    repository: repository.name().to_owned(),
                    error: Some(stop_or_note(error)?),
                    ..StoredFact::default()
                }),
            }
        }
        if let Some(fact) = evidence
            .backups
            .iter_mut()
            .rev()
            .find(|fact| fact.backup == backup.name)
        {
            fact.stored = stored;
            fact.readable = readable;
        }
    }
    Ok(())
}

async fn read_through(
    ctx: &Context,
    world: &World<'_>,
    backup: &Backup,
    reader: &ArtifactReader,
) -> Result<ReadFact> {
    let source = world.service(&backup.component)?;
    let pipeline = pipeline(backup, world.component(&backup.component)?, world.fault)?;
    match pipeline.read_through(ctx, reader, source.as_ref()).await {
        Ok(fact) => Ok(fact),
        Err(error) => Ok(ReadFact {
            tool: "redrill".to_owned(),
            error: Some(stop_or_note(error)?),
            ..ReadFact::default()
        }),
    }
}

/// What the pruner left of every backup in every repository.
pub(super) async fn retention(
    ctx: &Context,
    world: &World<'_>,
    backups: &[&Backup],
    evidence: &mut Evidence,
) -> Result<()> {
    for backup in backups {
        let ctx = ctx.within(Phase::Observe, &backup.component);
        for repository in world.repositories(backup) {
            let mut fact = RetentionFact {
                backup: backup.name.clone(),
                repository: repository.name().to_owned(),
                now: Some(ctx.clock.now()),
                taken: evidence
                    .backups
                    .iter()
                    .filter(|taken| taken.backup == backup.name)
                    .filter_map(|taken| {
                        Some((taken.artifact.clone()?, taken.at, taken.error.is_none()))
                    })
                    .collect(),
                ..RetentionFact::default()
            };
            if world.fault == Some(Fault::I1) {
                let bad = plant::bad_streak_then_prune_by_age(&ctx, backup, &repository).await?;
                fact.now = bad.last().map(|(_, at)| *at + chrono::TimeDelta::days(8));
                fact.taken
                    .extend(bad.into_iter().map(|(id, at)| (id, at, false)));
            }
            let (manifests, broken) = Manifest::list(&ctx, &repository, &backup.name).await?;
            fact.remaining = manifests
                .iter()
                .map(|manifest| manifest.id.clone())
                .collect();
            fact.broken.extend(
                broken
                    .into_iter()
                    .map(|(key, error)| format!("{key}: {}", error.message())),
            );
            let there: BTreeSet<String> = repository
                .list(&ctx, &format!("{}/", backup.name))
                .await?
                .into_iter()
                .map(|stored| stored.key)
                .collect();
            let named: BTreeSet<String> = manifests
                .iter()
                .flat_map(|manifest| {
                    manifest
                        .files
                        .iter()
                        .map(|file| file.key.clone())
                        .chain([manifest.key()])
                })
                .collect();
            // WAL from the oldest base backup on belongs to all of them.
            let oldest = manifests.iter().filter_map(wal::start_of).min();
            let continues = |key: &&String| {
                let name = wal::Name::of_key(&backup.name, key).map(|(_, name)| name);
                name.zip(oldest)
                    .is_some_and(|(name, oldest)| !name.is_before(oldest))
            };
            fact.orphans = there
                .difference(&named)
                .filter(|key| !continues(key))
                .cloned()
                .collect();
            fact.broken.extend(named.difference(&there).cloned());
            evidence.retention.push(fact);
        }
    }
    Ok(())
}

/// Searches what is stored and left lying for the canary, and tries to read the newest artifact as nobody should be
/// able to.
pub(super) async fn encryption(
    ctx: &Context,
    world: &World<'_>,
    backups: &[&Backup],
    canary: &str,
    evidence: &mut Evidence,
) -> Result<()> {
    for backup in backups.iter().filter(|backup| backup.encrypt.is_some()) {
        let ctx = ctx.within(Phase::Observe, &backup.component);
        let mut fact = EncryptionFact {
            backup: backup.name.clone(),
            canary_planted: evidence
                .backups
                .iter()
                .any(|taken| taken.backup == backup.name && taken.source.is_some()),
            ..EncryptionFact::default()
        };
        for repository in world.repositories(backup) {
            search(&ctx, &repository, backup, canary, &mut fact).await?;
        }
        search_staging(&ctx, world, &backup.component, canary, &mut fact).await?;
        let newest = match world.repositories(backup).pop() {
            Some(repository) => Manifest::newest(&ctx, &repository, &backup.name)
                .await?
                .0
                .map(|manifest| (repository, manifest)),
            None => None,
        };
        if let (Some((repository, manifest)), Some(keys)) = (newest, world.keys_of(backup)) {
            fact.declared = manifest.recipients == [keys.recipient()];
            let read_whole = evidence
                .backups
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
        evidence.encryption.push(fact);
    }
    Ok(())
}

/// Searches every object of a backup, its name and its metadata.
async fn search(
    ctx: &Context,
    repository: &Arc<dyn Repository>,
    backup: &Backup,
    canary: &str,
    fact: &mut EncryptionFact,
) -> Result<()> {
    let listing = repository.list(ctx, &format!("{}/", backup.name)).await?;
    let searched: Vec<Searched> = futures::stream::iter(listing)
        .map(|stored| async move {
            let head = repository.head(ctx, &stored.key).await?;
            let metadata = head.map(|head| head.metadata).unwrap_or_default();
            let body = repository.get(ctx, &stored.key).await?;
            let scan = scan(body, canary.as_bytes())
                .await
                .doing_with(|| format!("search {}", stored.key))?;
            let in_names = std::iter::once(&stored.key)
                .chain(metadata.keys())
                .chain(metadata.values())
                .any(|text| text.contains(canary));
            Ok::<_, crate::error::Error>(Searched {
                key: stored.key,
                names: 1 + metadata.len() as u64,
                in_names,
                scan,
            })
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    for found in searched {
        let place = format!("{} in {}", found.key, repository.name());
        fact.searched_bytes += found.scan.bytes;
        fact.searched_names += found.names;
        let is_manifest = found.key.ends_with(&format!("/{}", manifest::FILE_NAME));
        if !is_manifest && !found.scan.begins_as_age {
            fact.plaintext_files.push(place.clone());
        }
        if found.scan.found || found.in_names {
            fact.canary_found.push(place);
        }
    }
    Ok(())
}

struct Searched {
    key: String,
    names: u64,
    in_names: bool,
    scan: Scan,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Scan {
    bytes: u64,
    found: bool,
    begins_as_age: bool,
}

/// Searches a stream for `needle`, also across the borders of what is read at once.
async fn scan<R: AsyncRead + Unpin>(mut input: R, needle: &[u8]) -> std::io::Result<Scan> {
    let mut scan = Scan::default();
    let mut window: Vec<u8> = Vec::new();
    let mut chunk = vec![0u8; 64 * 1024];
    loop {
        let read = input.read(&mut chunk).await?;
        if read == 0 {
            return Ok(scan);
        }
        window.extend_from_slice(&chunk[..read]);
        if scan.bytes < AGE_MAGIC.len() as u64 {
            scan.begins_as_age = window.starts_with(AGE_MAGIC);
        }
        scan.bytes += read as u64;
        scan.found |= memchr::memmem::find(&window, needle).is_some();
        if window.len() >= AGE_MAGIC.len() {
            let keep = window
                .len()
                .saturating_sub(needle.len().max(AGE_MAGIC.len()));
            window.drain(..keep);
        }
    }
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
    manifest: &Manifest,
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
    manifest: &Manifest,
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
        let mut agreeing = manifest.clone();
        let body = damaged(repository.get(ctx, &file.key).await?, damage);
        let (bytes, sha256) = hash(body).await.doing("hash a damaged file")?;
        for entry in agreeing
            .files
            .iter_mut()
            .filter(|entry| entry.key == file.key)
        {
            entry.bytes = bytes;
            entry.sha256.clone_from(&sha256);
        }
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

async fn hash<R: AsyncRead + Unpin>(mut input: R) -> std::io::Result<(u64, String)> {
    use sha2::Digest;
    let mut hash = sha2::Sha256::new();
    let mut bytes = 0;
    let mut chunk = vec![0u8; 64 * 1024];
    loop {
        let read = input.read(&mut chunk).await?;
        if read == 0 {
            return Ok((bytes, hex::encode(hash.finalize())));
        }
        bytes += read as u64;
        hash.update(&chunk[..read]);
    }
}

/// Searches every log of the drill for the run's secrets and the canary.
pub(super) fn leaks(ctx: &Context, canary: &str) -> Result<LeakSearch> {
    let mut wanted = ctx.secrets.all();
    wanted.push(("the canary in the data".to_owned(), canary.to_owned()));
    search_files(&ctx.logs, &wanted, true)
}

/// Searches the record and the reports of a run. Its logs were searched drill by drill, and judged.
pub(super) fn search_reports(folder: &Path, wanted: &[(String, String)]) -> Result<LeakSearch> {
    search_files(folder, wanted, false)
}

fn search_files(dir: &Path, wanted: &[(String, String)], deep: bool) -> Result<LeakSearch> {
    let mut search = LeakSearch {
        secrets: wanted.len() as u64,
        ..LeakSearch::default()
    };
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).doing_with(|| format!("list {}", dir.display()))? {
            let path = entry.doing("list a directory")?.path();
            if path.is_dir() {
                dirs.extend(Some(path).filter(|_| deep));
                continue;
            }
            search.places += 1;
            for secret in
                found_in_file(&path, wanted).doing_with(|| format!("search {}", path.display()))?
            {
                let place = path
                    .strip_prefix(dir.parent().unwrap_or(&dir))
                    .unwrap_or(&path)
                    .display()
                    .to_string();
                search.found.push(LeakFact {
                    what: secret,
                    place,
                });
            }
        }
    }
    Ok(search)
}

fn found_in_file(path: &Path, wanted: &[(String, String)]) -> std::io::Result<Vec<String>> {
    use std::io::Read as _;
    let longest = wanted
        .iter()
        .map(|(_, value)| value.len())
        .max()
        .unwrap_or(0);
    let mut file = std::fs::File::open(path)?;
    let mut window: Vec<u8> = Vec::new();
    let mut chunk = vec![0u8; 256 * 1024];
    let mut found = BTreeSet::new();
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(found.into_iter().collect());
        }
        window.extend_from_slice(&chunk[..read]);
        for (name, value) in wanted {
            if memchr::memmem::find(&window, value.as_bytes()).is_some() {
                found.insert(name.clone());
            }
        }
        let keep = window.len().saturating_sub(longest);
        window.drain(..keep);
    }
}

/// Writes the drill's facts beside its logs, then reads them back: what is on disk is what the verdict is bound to.
pub(super) fn write_and_read_back(
    ctx: &Context,
    facts: &WrittenFact,
    fault: Option<Fault>,
) -> Result<WrittenFact> {
    let path = ctx.logs.join("facts.json");
    let stale = WrittenFact {
        run: "20250101-000000-00000000".to_owned(),
        artifacts: BTreeSet::from(["20250101T000000Z-00000000".to_owned()]),
        ..facts.clone()
    };
    // J12: an earlier report lies there, and is taken for this run's.
    let written = if fault == Some(Fault::J12) {
        &stale
    } else {
        facts
    };
    let text = serde_json::to_vec_pretty(written).doing("write the facts")?;
    std::fs::write(&path, text).doing_with(|| format!("write {}", path.display()))?;
    let text = std::fs::read(&path).doing_with(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text).doing("read the facts back")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_needle_across_the_border_of_two_reads_is_found() {
        let mut bytes = vec![b'.'; 64 * 1024 - 3];
        bytes.extend_from_slice(b"needle and more");
        let found = scan(&bytes[..], b"needle").await.expect("scan");
        assert_eq!(
            found,
            Scan {
                bytes: bytes.len() as u64,
                found: true,
                begins_as_age: false
            }
        );
        assert!(!scan(&bytes[..], b"noodle").await.expect("scan").found);
    }

    #[tokio::test]
    async fn ciphertext_is_known_by_its_first_line() {
        let bytes = [AGE_MAGIC, b"-> X25519 abc"].concat();
        assert!(scan(&bytes[..], b"x").await.expect("scan").begins_as_age);
    }
}
