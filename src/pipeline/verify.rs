//! An artifact as it lies in a repository: listed and read to its last stored byte, without any key.
//!
//! Facts only; not here: what they mean (see [`crate::check`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::StreamExt;

use crate::context::Context;
use crate::error::Result;
use crate::evidence::{FileFact, StoredFact};
use crate::pipeline::stream::{Sums, spawn};
use crate::repository::manifest::{Manifest, ManifestFile};
use crate::repository::{Repository, Stored};

/// How many files are read at once.
const READERS: usize = 8;
/// How many complaints are quoted.
const COMPLAINTS: usize = 5;

/// Lists and reads every stored file of an artifact. The manifest is read from the repository; `manifest`, as it was
/// committed, only says where it is, and what to look for when it is gone.
pub async fn verify_stored(
    ctx: &Context,
    manifest: &Manifest,
    repository: &Arc<dyn Repository>,
) -> Result<StoredFact> {
    let mut fact = StoredFact {
        repository: repository.name().to_owned(),
        ..StoredFact::default()
    };
    let listing = repository
        .list(ctx, &format!("{}/", manifest.backup))
        .await?;
    let listing: HashMap<&str, &Stored> = listing
        .iter()
        .map(|stored| (stored.key.as_str(), stored))
        .collect();
    let mut complaints = Vec::new();
    let found = Manifest::load(ctx, repository.as_ref(), &manifest.key()).await;
    ctx.go_on()?;
    let manifest = match &found {
        Ok(found) => {
            fact.committed = true;
            fact.taken_at = Some(found.taken_at);
            fact.run = found.run.clone();
            found
        }
        Err(error) => {
            complaints.push(error.message());
            manifest
        }
    };
    let marker = listing.get(manifest.key().as_str());
    fact.manifest_last = marker.and_then(|marker| marker.written).map(|committed| {
        let files = manifest.files.iter();
        let mut written = files.filter_map(|file| listing.get(file.key.as_str())?.written);
        written.all(|written| written <= committed)
    });
    if let Some(first) = manifest.files.first() {
        match repository.head(ctx, &first.key).await {
            Ok(found) => fact.metadata = found.map(|found| found.metadata).unwrap_or_default(),
            Err(error) => complaints.push(error.message()),
        }
    }
    let sizes: BTreeMap<String, u64> = manifest
        .files
        .iter()
        .filter_map(|file| Some((file.key.clone(), listing.get(file.key.as_str())?.bytes)))
        .collect();
    fact.bytes = sizes.values().sum();
    let files = manifest.files.clone().into_iter();
    let reads = files.map(|file| {
        let listed = sizes.get(&file.key).copied();
        let read = sums(ctx.clone(), repository.clone(), file.key.clone());
        async move {
            let sums = match listed {
                Some(_) => spawn(read)
                    .await
                    .unwrap_or_else(|error| Err(error.to_string())),
                None => Err(format!("{} is not there", file.key)),
            };
            (file, listed, sums)
        }
    });
    let mut reads = futures::stream::iter(reads).buffered(READERS);
    while let Some((file, listed, sums)) = reads.next().await {
        let found = as_found(&file, listed, sums, &mut complaints);
        fact.files.push(found);
    }
    ctx.go_on()?;
    if !complaints.is_empty() {
        let more = complaints.len().saturating_sub(COMPLAINTS);
        complaints.truncate(COMPLAINTS);
        let rest = if more > 0 {
            format!("; and {more} more")
        } else {
            String::new()
        };
        fact.error = Some(complaints.join("; ") + &rest);
    }
    Ok(fact)
}

async fn sums(
    ctx: Context,
    repository: Arc<dyn Repository>,
    key: String,
) -> std::result::Result<(u64, String), String> {
    let reading = repository.get(&ctx, &key).await;
    let reading = reading.map_err(|error| error.message())?;
    tokio::select! {
        () = ctx.cancel.cancelled() => Err("interrupted".to_owned()),
        read = Sums::of(reading) => read.map_err(|error| format!("read {key}: {error}")),
    }
}

fn as_found(
    file: &ManifestFile,
    listed: Option<u64>,
    sums: std::result::Result<(u64, String), String>,
    complaints: &mut Vec<String>,
) -> FileFact {
    let (found_bytes, found_sha256) = match sums {
        Ok((bytes, sha256)) => (Some(bytes), Some(sha256)),
        Err(complaint) => {
            complaints.push(complaint);
            (listed, None)
        }
    };
    FileFact {
        key: file.key.clone(),
        bytes: file.bytes,
        sha256: file.sha256.clone(),
        found_bytes,
        found_sha256,
    }
}
