//! Retention: which artifacts stay, and the pruner that removes the others.
//!
//! [`decide`] is the policy, pure: it takes `now` and gives every artifact its reason. [`prune`] applies it so that
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
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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

const GOING: &str = "go through what lies in the repository";

/// Why an artifact stays or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its age is at most what is kept.
    Within {
        /// Its age.
        age: Duration,
    },
    /// It says that it was taken after `now`: some clock is wrong, and no age can be told.
    Future,
    /// However old: it is the newest one that is good.
    NewestGood {
        /// Its age.
        age: Duration,
    },
    /// However old: nothing good is left, and it is the newest of what there is.
    NothingGood {
        /// Its age.
        age: Duration,
    },
    /// An artifact that stays builds on it.
    Parent,
    /// It is older than what is kept.
    Expired {
        /// Its age.
        age: Duration,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_words =
            |age: &Duration| humantime::format_duration(Duration::from_secs(age.as_secs()));
        match self {
            Self::Within { age } => write!(f, "taken {} ago, within what is kept", in_words(age)),
            Self::Future => f.write_str("taken in the future: a clock is wrong"),
            Self::NewestGood { age } => {
                write!(f, "taken {} ago, the newest good one", in_words(age))
            }
            Self::NothingGood { age } => {
                write!(
                    f,
                    "taken {} ago, the newest, and none is good",
                    in_words(age)
                )
            }
            Self::Parent => f.write_str("another one that stays builds on it"),
            Self::Expired { age } => {
                write!(f, "taken {} ago, older than what is kept", in_words(age))
            }
        }
    }
}

/// What a policy says about every artifact, each list oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// What stays.
    pub keep: Vec<(String, Reason)>,
    /// What goes.
    pub remove: Vec<(String, Reason)>,
}

/// Decides over `artifacts` (id, taken-at, whether it is good: committed, and whole). Order is by taken-at, then id.
///
/// Everything not older than `within` stays, to the very instant; so does what is dated in the future. The
/// newest good artifact that is not dated in the future always stays. When none is good, the newest stays.
pub fn decide(
    artifacts: &[(String, DateTime<Utc>, bool)],
    within: Duration,
    now: DateTime<Utc>,
) -> Decision {
    let mut ordered: Vec<_> = artifacts.iter().collect();
    ordered.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    let past = || ordered.iter().rev().filter(|(_, at, _)| *at <= now);
    let newest_good = past().find(|(_, _, good)| *good).map(|(id, ..)| id);
    let any_good = ordered.iter().any(|(_, _, good)| *good);
    let newest = past().next().map(|(id, ..)| id).filter(|_| !any_good);
    let mut decision = Decision::default();
    for (id, at, _) in &ordered {
        let (stays, reason) = match now.signed_duration_since(*at).to_std() {
            Err(_) => (true, Reason::Future),
            Ok(age) if age <= within => (true, Reason::Within { age }),
            Ok(age) if newest_good == Some(id) => (true, Reason::NewestGood { age }),
            Ok(age) if newest == Some(id) => (true, Reason::NothingGood { age }),
            Ok(age) => (false, Reason::Expired { age }),
        };
        let list = if stays {
            &mut decision.keep
        } else {
            &mut decision.remove
        };
        list.push((id.clone(), reason));
    }
    decision
}

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
    let decision = with_parents(decide(&facts, keep.of(repository.name()), now), &known);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 86_400;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).expect("an instant")
    }

    fn week() -> Duration {
        Duration::from_secs(7 * DAY)
    }

    fn ids(list: &[(String, Reason)]) -> Vec<&str> {
        list.iter().map(|(id, _)| id.as_str()).collect()
    }

    fn artifact(id: &str, seconds: i64, good: bool) -> (String, DateTime<Utc>, bool) {
        (id.to_owned(), at(seconds), good)
    }

    #[test]
    fn the_last_good_artifact_outlives_any_number_of_bad_ones_after_it() {
        let mut all = vec![artifact("good", 0, true)];
        for n in 1..=15 {
            all.push(artifact(&format!("bad{n}"), n * DAY as i64, false));
        }
        let decision = decide(&all, week(), at(100 * DAY as i64));
        assert_eq!(ids(&decision.keep), ["good"]);
        assert_eq!(decision.remove.len(), 15);
    }

    #[test]
    fn an_artifact_exactly_as_old_as_the_limit_stays_and_a_second_older_goes() {
        let now = at(7 * DAY as i64);
        let all = [
            artifact("over", -1, true),
            artifact("edge", 0, true),
            artifact("new", 100, true),
        ];
        let decision = decide(&all, week(), now);
        assert_eq!(ids(&decision.keep), ["edge", "new"]);
        assert_eq!(ids(&decision.remove), ["over"]);
    }

    #[test]
    fn what_is_dated_in_the_future_stays_but_does_not_stand_in_for_the_newest_good() {
        let all = [
            artifact("old", 0, true),
            artifact("future", 900 * DAY as i64, true),
        ];
        let decision = decide(&all, week(), at(100 * DAY as i64));
        assert_eq!(ids(&decision.keep), ["old", "future"]);
        assert_eq!(decision.keep[1].1, Reason::Future);
    }

    #[test]
    fn age_comes_from_taken_at_and_not_from_the_name() {
        let all = [
            artifact("z-oldest", 0, true),
            artifact("a-newest", 50, true),
        ];
        let decision = decide(&all, week(), at(100 * DAY as i64));
        assert_eq!(ids(&decision.keep), ["a-newest"]);
    }

    #[test]
    fn when_nothing_is_good_the_newest_is_not_thrown_away() {
        let all = [artifact("a", 0, false), artifact("b", 50, false)];
        let decision = decide(&all, week(), at(100 * DAY as i64));
        assert_eq!(ids(&decision.keep), ["b"]);
        assert_eq!(decide(&[], week(), at(0)), Decision::default());
    }

    fn artifacts() -> impl Strategy<Value = Vec<(String, DateTime<Utc>, bool)>> {
        let one = (0i64..60, any::<bool>(), 0i64..3);
        prop::collection::vec(one, 0..40).prop_map(|all| {
            let numbered = all.into_iter().enumerate();
            numbered
                .map(|(n, (day, good, second))| {
                    let name = format!("{:02}", (n * 37) % 97);
                    artifact(&name, day * DAY as i64 + second, good)
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn every_artifact_gets_one_decision_and_the_rules_hold(
            all in artifacts(), now in 0i64..80, within in 0u64..30,
        ) {
            let now = at(now * DAY as i64);
            let within = Duration::from_secs(within * DAY);
            let decision = decide(&all, within, now);
            let kept: HashSet<&str> = ids(&decision.keep).into_iter().collect();
            prop_assert_eq!(decision.keep.len() + decision.remove.len(), all.len());
            let limit = now - within;
            for (id, at, _) in &all {
                if *at >= limit {
                    prop_assert!(kept.contains(id.as_str()), "{} is within", id);
                }
            }
            let past = all.iter().filter(|(_, at, _)| *at <= now);
            if let Some(newest) = past.filter(|(.., good)| *good).map(|(_, at, _)| *at).max() {
                prop_assert!(
                    all.iter().any(|(id, at, good)| *good && *at == newest && kept.contains(id.as_str())),
                    "the newest good one stays"
                );
            }
            prop_assert!(all.is_empty() || !kept.is_empty(), "something always stays");
            for (id, reason) in &decision.remove {
                let expired = matches!(reason, Reason::Expired { age } if *age > within);
                prop_assert!(expired, "{} goes for its age alone", id);
            }
        }

        #[test]
        fn the_order_of_the_input_changes_nothing(all in artifacts(), now in 0i64..80) {
            let mut turned = all.clone();
            turned.reverse();
            let now = at(now * DAY as i64);
            prop_assert_eq!(decide(&all, week(), now), decide(&turned, week(), now));
        }

        #[test]
        fn pruning_again_at_the_same_instant_removes_nothing_more(all in artifacts(), now in 0i64..80) {
            let now = at(now * DAY as i64);
            let kept = decide(&all, week(), now).keep;
            let left: Vec<_> = all
                .into_iter()
                .filter(|(id, ..)| kept.iter().any(|(other, _)| other == id))
                .collect();
            prop_assert!(decide(&left, week(), now).remove.is_empty());
        }
    }
}
