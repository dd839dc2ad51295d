//! Retention: which artifacts stay, and the pruner that removes the others.
//!
//! [`decide`] is the policy, pure: it takes `now` and gives every artifact its reason. Where a log continues base backups,
//! any moment within can be recovered to: the newest base backup before it stays too. [`prune`] applies it so that
//! a crash at any moment leaves no artifact that looks complete and is not: an artifact's manifest goes first,
//! then its files, then shared content that no remaining manifest names, and archived WAL that is older than what the
//! oldest remaining base backup needs.
//!
//! Backups and prunes of one backup must not run at once; different backups may. The pruner does not lock: it
//! touches nothing of an artifact without a manifest (it may be on its way) unless a manifest of the same backup
//! was written later, by the repository's own clock, which shows that the unfinished run has ended. A manifest that
//! cannot be read is never removed, nor is anything that it may name. An artifact whose list of shared content is gone or was
//! changed is not good, and goes when its time is up; until then no shared content does.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};

use crate::clock::Stopwatch;
use crate::context::Context;
use crate::error::{Doing, Error, Kind, Result};
use crate::repository::manifest::{self, FILE_NAME, Manifest, ManifestFile};
use crate::repository::wal::{self, Name, Segment};
use crate::repository::{ListedObject, Repository, contents, listing_of};
use crate::shelf::Shelf;
use crate::suite::Keep;

mod decide;

pub use decide::{Decision, Reason, decide};

const GOING: &str = "go through what lies in the repository";

/// What a prune found and did.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Artifacts that stay, and why.
    pub kept: Vec<(String, Reason)>,
    /// Artifacts that were removed, and why.
    pub removed: Vec<(String, Reason)>,
    /// Files of no artifact that were removed: of runs that never committed, and shared content named by none.
    pub swept: Vec<String>,
    /// Manifests that cannot be read, with the reason; left alone.
    pub broken: Vec<(String, Error)>,
    /// Artifacts whose files are missing or have the wrong size; they do not count as good.
    pub damaged: BTreeSet<String>,
}

/// What the pruner remembers of an artifact: not its files, of which there may be very many.
struct Known {
    id: String,
    taken_at: DateTime<Utc>,
    parent: Option<String>,
    good: bool,
    /// The first segment of WAL that its recovery reads, where it is one that WAL continues.
    wal: Option<Segment>,
}

/// What this prune has removed.
struct Gone {
    /// Artifacts.
    ids: HashSet<String>,
    /// Keys of shared content that they named.
    released: Shelf<()>,
}

/// Prunes one backup in one repository as of `now`.
pub async fn prune(
    ctx: &Context,
    repository: &Arc<dyn Repository>,
    backup: &str,
    keep: &Keep,
    now: DateTime<Utc>,
) -> Result<Pruned> {
    let watch = Stopwatch::start();
    let pruned = prune_now(ctx, repository, backup, keep, now).await;
    let done = match &pruned {
        Ok(pruned) => format!(
            "prune {backup} in {}: {} stay, {} removed, {} files of no artifact swept",
            repository.name(),
            pruned.kept.len(),
            pruned.removed.len(),
            pruned.swept.len()
        ),
        Err(_) => format!("prune {backup} in {}", repository.name()),
    };
    ctx.note(
        done,
        pruned.is_ok().then_some(0),
        watch.seconds(),
        Path::new(""),
    );
    pruned.doing_with(|| format!("prune {backup} in repository {}", repository.name()))
}

async fn prune_now(
    ctx: &Context,
    repository: &Arc<dyn Repository>,
    backup: &str,
    keep: &Keep,
    now: DateTime<Utc>,
) -> Result<Pruned> {
    let there = listing_of(ctx, repository.as_ref(), backup).await?;
    let mut manifests = Vec::new();
    let mut latest = None;
    for stored in there.each() {
        let (key, stored) = stored.doing(GOING)?;
        if manifest::is_one_of(&key, backup) {
            latest = latest.max(stored.written);
            manifests.push(key);
        }
    }

    let mut pruned = Pruned::default();
    let (mut known, mut unlisted) = (Vec::new(), false);
    let mut each = manifest::each(ctx, repository, manifests.clone());
    while let Some((key, manifest)) = each.next().await {
        let good = match &manifest {
            Ok(manifest) => is_whole(ctx, repository.as_ref(), manifest, &there).await,
            Err(_) => Ok(false),
        };
        let good = match good {
            Err(error) if error.kind() == Kind::Failed => {
                unlisted = true;
                Ok(false)
            }
            good => good,
        };
        match (manifest, good) {
            (Ok(manifest), Ok(good)) => known.push(Known {
                wal: wal::start_of(&manifest),
                id: manifest.id,
                taken_at: manifest.taken_at,
                parent: manifest.parent,
                good,
            }),
            (Err(error), _) | (Ok(_), Err(error)) => pruned.broken.push((key, error)),
        }
    }
    drop(each);
    ctx.go_on()?;
    pruned.damaged = known
        .iter()
        .filter(|artifact| !artifact.good)
        .map(|artifact| artifact.id.clone())
        .collect();

    let facts: Vec<_> = known
        .iter()
        .map(|artifact| (artifact.id.clone(), artifact.taken_at, artifact.good))
        .collect();
    let continued = known
        .iter()
        .filter(|artifact| artifact.good && artifact.wal.is_some());
    let continued = continued.map(|artifact| artifact.id.as_str()).collect();
    let decision = decide(&facts, keep.of(repository.name()), now);
    let decision = with_parents(decide::with_lead_in(decision, &continued), &known);
    pruned.kept = decision.keep;

    // The manifest, so that it is no artifact any more; then its own files.
    let mut gone = Gone {
        ids: HashSet::new(),
        released: Shelf::new(&ctx.dir).doing(GOING)?,
    };
    for (id, reason) in decision.remove {
        let marker = manifest::key_of(backup, &id);
        let manifest = Manifest::load(ctx, repository.as_ref(), &marker).await?;
        match note_shared(ctx, repository.as_ref(), &manifest, &gone.released).await {
            // What it shared stays until a later prune finds that nothing names it.
            Err(error) if error.kind() == Kind::Failed => ctx.go_on()?,
            noted => noted?,
        }
        repository
            .delete(ctx, std::slice::from_ref(&marker))
            .await?;
        let own = there.under(format!("{backup}/{id}/"));
        let own = own.map(|stored| stored.doing(GOING).map(|(key, _)| key));
        let files: Vec<String> = own.collect::<Result<_>>()?;
        let files: Vec<String> = files.into_iter().filter(|key| *key != marker).collect();
        if !files.is_empty() {
            repository.delete(ctx, &files).await?;
        }
        gone.ids.insert(id.clone());
        pruned.removed.push((id, reason));
    }
    let found = Found {
        there: &there,
        manifests: &manifests,
        latest,
        broken: unlisted || !pruned.broken.is_empty(),
    };
    pruned.swept = sweep(ctx, repository, backup, &found, &gone).await?;
    let stays = known
        .iter()
        .filter(|artifact| !gone.ids.contains(&artifact.id));
    let oldest = stays.filter_map(|artifact| artifact.wal).min();
    // What a broken manifest needs is not known: then all WAL stays.
    if let (Some(oldest), true) = (oldest, pruned.broken.is_empty()) {
        let mut keys = Vec::new();
        for stored in there.each() {
            let (key, _) = stored.doing(GOING)?;
            let name = Name::of_key(backup, &key);
            if name.is_some_and(|(_, name)| name.is_before(oldest)) {
                keys.push(key);
            }
        }
        if !keys.is_empty() {
            repository.delete(ctx, &keys).await?;
            pruned.swept.extend(keys);
        }
    }
    Ok(pruned)
}

/// Keeps what something that stays builds on.
fn with_parents(mut decision: Decision, known: &[Known]) -> Decision {
    let parents: BTreeMap<&str, &str> = known
        .iter()
        .filter_map(|artifact| Some((artifact.id.as_str(), artifact.parent.as_deref()?)))
        .collect();
    let mut next = 0;
    while let Some((id, _)) = decision.keep.get(next) {
        next += 1;
        let parent = parents.get(id.as_str());
        let at = parent.and_then(|parent| decision.remove.iter().position(|(id, _)| id == parent));
        if let Some(at) = at {
            let (id, _) = decision.remove.remove(at);
            decision.keep.push((id, Reason::Parent));
        }
    }
    decision
}

/// What a prune found in the repository before it removed anything.
struct Found<'a> {
    there: &'a Shelf<ListedObject>,
    /// Keys of manifests.
    manifests: &'a [String],
    /// When the last of them was written.
    latest: Option<DateTime<Utc>>,
    /// One of them cannot be read, or what it shares cannot.
    broken: bool,
}

/// Whether everything that an artifact names is there with its size.
async fn is_whole(
    ctx: &Context,
    repository: &dyn Repository,
    manifest: &Manifest,
    there: &Shelf<ListedObject>,
) -> Result<bool> {
    let sound = |file: &ManifestFile| {
        let found = there.get(&file.key).doing(GOING)?;
        Ok::<_, Error>(found.is_some_and(|found| found.bytes == file.bytes))
    };
    let mut good = !manifest.files.is_empty();
    for file in &manifest.files {
        good &= sound(file)?;
    }
    let mut shared = contents::each(ctx, repository, manifest);
    while let Some(content) = shared.try_next().await? {
        good &= sound(&content.file(&manifest.backup))?;
    }
    Ok(good)
}

/// Notes the keys of everything that an artifact shares with others.
async fn note_shared(
    ctx: &Context,
    repository: &dyn Repository,
    manifest: &Manifest,
    keys: &Shelf<()>,
) -> Result<()> {
    for file in manifest.files.iter().filter(|file| file.shared) {
        keys.insert(&file.key, &()).doing(GOING)?;
    }
    let mut shared = contents::each(ctx, repository, manifest);
    while let Some(content) = shared.try_next().await? {
        let key = content.file(&manifest.backup).key;
        keys.insert(&key, &()).doing(GOING)?;
    }
    Ok(())
}

/// Removes what belongs to no artifact, and returns its keys.
async fn sweep(
    ctx: &Context,
    repository: &Arc<dyn Repository>,
    backup: &str,
    found: &Found<'_>,
    gone: &Gone,
) -> Result<Vec<String>> {
    let committed: HashSet<&str> = found
        .manifests
        .iter()
        .filter_map(|key| key.strip_suffix(FILE_NAME))
        .collect();
    let blobs = contents::prefix(backup);
    let archived = wal::prefix(backup);
    let ended = |stored: &ListedObject| match (stored.written, found.latest) {
        (Some(written), Some(latest)) => written < latest,
        _ => false,
    };
    let mut orphans = Vec::new();
    let mut shared = false;
    for stored in found.there.each() {
        let (key, stored) = stored.doing(GOING)?;
        if key.starts_with(&blobs) {
            shared = true;
            continue;
        }
        let own = key.rsplit_once('/').map(|(own, _)| own);
        let of_none = own.is_some_and(|own| !committed.contains(format!("{own}/").as_str()));
        if of_none && ended(&stored) && !key.starts_with(&archived) {
            orphans.push(key);
        }
    }

    // What a broken manifest names is not known: then no shared content goes.
    if !found.broken && shared && !committed.is_empty() {
        let keys = committed
            .iter()
            .filter(|own| {
                let id = own.trim_end_matches('/').rsplit('/').next();
                id.is_some_and(|id| !gone.ids.contains(id))
            })
            .map(|own| format!("{own}{FILE_NAME}"))
            .collect();
        let named = Shelf::new(&ctx.dir).doing(GOING)?;
        let mut each = manifest::each(ctx, repository, keys);
        while let Some((_, manifest)) = each.next().await {
            note_shared(ctx, repository.as_ref(), &manifest?, &named).await?;
        }
        drop(each);
        ctx.go_on()?;
        for stored in found.there.under(blobs) {
            let (key, stored) = stored.doing(GOING)?;
            let is_named = named.get(&key).doing(GOING)?.is_some();
            let released = gone.released.get(&key).doing(GOING)?.is_some();
            if !is_named && (released || ended(&stored)) {
                orphans.push(key);
            }
        }
    }
    if !orphans.is_empty() {
        repository.delete(ctx, &orphans).await?;
    }
    Ok(orphans)
}
