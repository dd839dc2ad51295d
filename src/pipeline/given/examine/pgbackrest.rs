//! A repository of pgBackRest: the newest complete backup of a stanza, and the WAL that continues it.

use std::path::Path;

use super::super::{File, GIVEN, Given};
use super::Exam;
use crate::error::Result;
use crate::pipeline::pgbackrest::given::{self, Look};
use crate::pipeline::pgbackrest::tree::Tree;
use crate::suite::{Engine, Method, PgBackRest};

impl Exam<'_> {
    pub(super) async fn pgbackrest(&self, root: &Path) -> Result<Given> {
        let number = self.ctx.next_number();
        let look = Look {
            root,
            shown: &self.shown,
            stanza: self.options.stanza.as_deref(),
            passphrase: self.options.passphrase.as_deref(),
            dir: self.options.dir.join(format!("{number}-pgbackrest")),
            name: GIVEN,
        };
        let found = given::look(self.ctx, &look).await?;
        let method = Method::PgBackRest(PgBackRest::default());
        let encrypted = if found.encrypted { ", encrypted" } else { "" };
        let what = format!(
            "backup {} of stanza {} by pgBackRest, of PostgreSQL {}, cluster {}{encrypted}",
            found.label, found.stanza, found.version, found.cluster
        );
        let lineage = format!("cluster-{}", found.cluster);
        let mut given = self.given(Engine::Postgres, method, what, &lineage);
        given.version = Some(found.version);
        given.taken_at = found.began;
        given.read.tool = "pgbackrest verify, and the WAL followed".to_owned();
        given.read.content_time = found.began;
        given.read.entries = found.files;
        given.read.error = found.error;
        given.bytes = found.bytes;
        // Every file is held to it by its sum when it is restored.
        given.has_manifest = true;
        given.encrypted = found.encrypted;
        given.left = found.left;
        if let Some(manifest) = found.needed.first() {
            let mut file = File::new(
                format!("{}/backup.manifest", found.label),
                root.join(manifest),
            );
            file.metadata = found.notes;
            given.files.push(file);
        }
        given.tree = Some(Tree::new(GIVEN, GIVEN, root, found.needed)?);
        Ok(given)
    }
}
