//! What a recovery restores onto: a new server where the old one is gone, else a new database or bucket on the one that
//! is left, beside the struck one or in its place.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Recovery;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::service::Service;
use crate::service::postgres::PostgresService;
use crate::service::s3::S3Client;
use crate::suite::{Backup, ComponentKind, Engine, Fault, Mode};

/// Where a recovery restores to.
pub(super) struct Target {
    /// The service that is restored onto.
    pub service: Arc<dyn Service>,
    kind: TargetKind,
}

enum TargetKind {
    /// On a server of its own.
    Server,
    /// A database beside the struck one, whose name it takes.
    Beside { database: String },
    /// A database in the place of the struck one, which is gone.
    InPlace,
    /// A bucket in the place of the struck one, which is gone.
    Bucket { bucket: String },
}

/// A name under which the database is restored before it takes the place of the lost one.
fn beside(database: &str) -> String {
    format!("{database}_new")
}

/// Gets an empty target for a backup of a component.
pub(super) async fn provision(
    recovery: &Recovery<'_, '_>,
    backup: &Backup,
    ctx: &Context,
) -> Result<Target> {
    let (world, component) = (recovery.world, recovery.component);
    // A physical backup is of the whole cluster: it takes a server of its own.
    let physical = backup.method.archives();
    if !recovery.has_a_server() || physical || component.engine() == Engine::Redis {
        let settings: BTreeMap<String, String> = match world.fault {
            Some(Fault::D4 | Fault::D6) => {
                BTreeMap::from([("appendonly".to_owned(), "yes".to_owned())])
            }
            _ => BTreeMap::new(),
        };
        // Another version is asked for where the server is gone.
        let version = recovery.scenario.restore.version.clone();
        let version = version.filter(|_| component.engine() == Engine::Postgres);
        let service = world
            .start(ctx, component, "recovered", version, &settings)
            .await?;
        service.create(ctx).await?;
        return Ok(Target {
            service,
            kind: TargetKind::Server,
        });
    }
    let source = world.service(&component.name)?;
    let (service, kind): (Arc<dyn Service>, _) = match &component.kind {
        ComponentKind::Postgres { database, .. } => {
            let (name, kind) = match recovery.scenario.mode {
                Mode::Parallel => {
                    let database = database.clone();
                    (beside(&database), TargetKind::Beside { database })
                }
                Mode::Replace => {
                    let struck = PostgresService::new(source.server(), database, None);
                    struck.drop_database(ctx).await?;
                    (database.clone(), TargetKind::InPlace)
                }
            };
            let service = PostgresService::new(source.server(), name, None);
            (Arc::new(service), kind)
        }
        ComponentKind::Bucket { bucket, .. } => {
            let bucket = bucket.clone();
            (source, TargetKind::Bucket { bucket })
        }
        ComponentKind::Redis { .. } => {
            return Err(Error::defect(
                "a Redis is recovered onto a server of its own",
            ));
        }
    };
    service.create(ctx).await?;
    Ok(Target { service, kind })
}

impl Target {
    /// Removes it again: what was restored onto it is of no use.
    pub async fn give_up(&self, ctx: &Context) -> Result<()> {
        let server = self.service.server();
        match &self.kind {
            TargetKind::Server => server.remove(ctx).await,
            TargetKind::Beside { .. } | TargetKind::InPlace => {
                let restored = PostgresService::new(server, self.service.database(), None);
                restored.drop_database(ctx).await
            }
            TargetKind::Bucket { bucket } => {
                let client = S3Client::new(&server.endpoint());
                client.empty_bucket(ctx, bucket).await.map(drop)
            }
        }
    }

    /// Has it take the place of what was struck: the service under its own name, and whether the struck database is
    /// still there under another, where it is kept.
    pub async fn take_over(&self, ctx: &Context) -> Result<(Arc<dyn Service>, Option<bool>)> {
        let TargetKind::Beside { database } = &self.kind else {
            return Ok((self.service.clone(), None));
        };
        let server = self.service.server();
        let aside = format!("{database}_corrupted");
        let recovered = PostgresService::new(server.clone(), database, None);
        recovered.swap(ctx, self.service.database(), &aside).await?;
        let kept = PostgresService::new(server, aside, None)
            .population(ctx)
            .await
            .is_ok();
        Ok((Arc::new(recovered), Some(kept)))
    }
}
