//! A given artifact as a repository that holds it and nothing else, so that a recovery finds and reads it as it does any other.
//! Read-only.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;

use super::{GIVEN, Given};
use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::pipeline::pgbackrest::tree::Tree;
use crate::repository::manifest::{Manifest, ManifestFile, SCHEMA_VERSION};
use crate::repository::{Place, Repository, Stored};
use crate::service::Reading;

/// The one artifact, under its backup's name.
pub struct GivenRepository {
    name: String,
    /// What a tool reads by itself.
    tree: Option<Tree>,
    manifest: (String, Vec<u8>),
    files: BTreeMap<String, (PathBuf, u64)>,
}

impl GivenRepository {
    /// The repository [`GIVEN`], in which an artifact lies as one of a backup of that name.
    pub async fn new(ctx: &Context, given: &Given) -> Result<Self> {
        let (name, backup) = (GIVEN, GIVEN);
        let tree = match &given.tree {
            Some(tree) => Some(tree.clone().within_reach(ctx).await?),
            None => None,
        };
        let id = format!("{}-{}", super::slug(&given.lineage), ctx.run);
        let mut files = BTreeMap::new();
        let mut named = Vec::new();
        for (number, file) in given.files.iter().enumerate() {
            let key = format!("{backup}/{id}/{}", number + 1);
            let found = std::fs::metadata(&file.path);
            let bytes = found
                .doing_with(|| format!("look at {}", file.path.display()))?
                .len();
            files.insert(key.clone(), (file.path.clone(), bytes));
            named.push(ManifestFile {
                name: file.name.clone(),
                key,
                bytes,
                // Nobody wrote one down; what the engine's own format has of them is held to on the restore.
                sha256: String::new(),
                plain_bytes: bytes,
                plain_sha256: String::new(),
                shared: false,
                metadata: file.metadata.clone(),
            });
        }
        let manifest = Manifest {
            schema_version: SCHEMA_VERSION,
            id,
            backup: backup.to_owned(),
            component: super::slug(&given.lineage),
            run: ctx.run.to_string(),
            taken_at: given.taken_at.unwrap_or_else(|| ctx.clock.now()),
            engine: format!(
                "{} {}",
                given.engine,
                given.version.as_deref().unwrap_or("")
            ),
            tool: given.what.clone(),
            parent: None,
            compression: String::new(),
            recipients: Vec::new(),
            source_identity: String::new(),
            source_fingerprint: String::new(),
            ledger_high_water: 0,
            files: named,
            contents: None,
        };
        let bytes = serde_json::to_vec(&manifest).doing("describe the artifact")?;
        Ok(Self {
            name: name.to_owned(),
            tree,
            manifest: (manifest.key(), bytes),
            files,
        })
    }

    fn refused<T>(&self) -> Result<T> {
        Err(Error::refused(format!(
            "{} is somebody's artifact: it is read, and never written to",
            self.name
        )))
    }
}

#[async_trait]
impl Repository for GivenRepository {
    fn name(&self) -> &str {
        &self.name
    }

    async fn put(
        &self,
        _ctx: &Context,
        _key: &str,
        _body: Reading,
        _metadata: &BTreeMap<String, String>,
    ) -> Result<u64> {
        self.refused()
    }

    async fn open(&self, ctx: &Context, key: &str) -> Result<(Stored, Reading)> {
        if let Some(tree) = &self.tree
            && tree.head(ctx, key).await?.is_some()
        {
            return tree.open(ctx, key).await;
        }
        let stored = self.head(ctx, key).await?;
        let stored = stored.ok_or_else(|| Error::failed(format!("{key} is not there")))?;
        let Some((path, _)) = self.files.get(key) else {
            return Ok((
                stored,
                Box::new(std::io::Cursor::new(self.manifest.1.clone())),
            ));
        };
        let file = tokio::fs::File::open(path).await;
        let file = file.doing_with(|| format!("read {}", path.display()))?;
        let reading = tokio::io::BufReader::with_capacity(1 << 18, file);
        Ok((stored, Box::new(reading)))
    }

    async fn head(&self, ctx: &Context, key: &str) -> Result<Option<Stored>> {
        if let Some(tree) = &self.tree
            && let Some(stored) = tree.head(ctx, key).await?
        {
            return Ok(Some(stored));
        }
        let all = self.list(ctx, key).await?;
        Ok(all.into_iter().find(|stored| stored.key == key))
    }

    async fn list(&self, ctx: &Context, prefix: &str) -> Result<Vec<Stored>> {
        let (key, bytes) = &self.manifest;
        let manifest = (key, bytes.len() as u64);
        let files = self.files.iter().map(|(key, (_, bytes))| (key, *bytes));
        let all = files
            .chain([manifest])
            .filter(|(key, _)| key.starts_with(prefix));
        let stored = |(key, bytes): (&String, u64)| Stored {
            key: key.clone(),
            bytes,
            ..Stored::default()
        };
        let mut all: Vec<Stored> = all.map(stored).collect();
        if let Some(tree) = &self.tree {
            all.extend(tree.list(ctx, prefix).await?);
        }
        Ok(all)
    }

    fn place(&self) -> Result<Place> {
        match &self.tree {
            Some(tree) => tree.place(),
            None => Err(Error::unavailable(format!(
                "repository {} can only be reached through redrill",
                self.name
            ))),
        }
    }

    async fn delete(&self, _ctx: &Context, _keys: &[String]) -> Result<()> {
        self.refused()
    }
}
