//! A given artifact put to the test: recovered as any other onto a server that this run starts, beside what there is to
//! hold it against. Nothing is seeded, backed up or struck.
//!
//! Not here: finding and reading the artifact (see [`crate::pipeline::given`]), or the earlier run that it is compared
//! with, which the caller knows.

use std::sync::Arc;

use super::backup::stop_or_note;
use super::world::World;
use super::{Planted, Teller, probe, read_back, recover, write_down};
use crate::check::Terms;
use crate::context::{Context, Phase};
use crate::error::{Error, Result};
use crate::evidence::{BackupFact, Baseline, ClusterFact, Evidence, GivenFact, NeedsFact};
use crate::pipeline::artifact::Keys;
use crate::pipeline::given::Given;
use crate::pipeline::given::repository::GivenRepository;
use crate::service::Service;
use crate::service::live::Live;
use crate::service::postgres::PostgresService;
use crate::service::postgres::content;
use crate::service::postgres::needs as server;
use crate::service::postgres::session::Session;
use crate::suite::{Engine, Method};

/// What is verified, and what it is held against.
pub struct Task<'a> {
    /// The artifact, read to its end.
    pub given: &'a Given,
    /// The database of a cluster that is looked at; the largest when none is named.
    pub database: Option<String>,
    /// What the tool that took it encrypted it with.
    pub passphrase: Option<String>,
    /// Roles that it names and that are not there are created.
    pub create_roles: bool,
    /// Owners and grants are restored, so that the roles must be there.
    pub roles: bool,
    /// Somebody said of what it is a backup.
    pub is_named: bool,
    /// What the last one of its lineage held that was verified.
    pub baseline: Option<std::result::Result<Baseline, String>>,
    /// The live source.
    pub live: Option<Live>,
}

/// The drill up to, and without, its teardown.
pub(super) async fn play(
    ctx: &Context,
    world: &mut World<'_>,
    terms: &Terms<'_>,
    planted: &Planted,
    evidence: &mut Evidence,
    teller: &Teller<'_>,
) -> Result<(), (Phase, Error)> {
    let at = |phase: Phase| move |error: Error| (phase, error);
    let (Some(task), Some(scenario)) = (world.task, terms.scenario()) else {
        let error = Error::defect("there is no artifact to verify");
        return Err((Phase::Prepare, error));
    };
    let backups = terms.backups();
    let mut known = GivenFact {
        what: format!("{}: {}", task.given.shown, task.given.what),
        cluster: None,
        folder: task.given.folder(),
        is_named: task.is_named,
        taken_at: task.given.taken_at,
        read_at: ctx.clock.now(),
        manifest: task.given.has_manifest,
        baseline: task.baseline.clone(),
        live: None,
        left: task.given.left.clone(),
    };
    evidence
        .backups
        .extend(backups.iter().map(|backup| BackupFact {
            backup: backup.name.clone(),
            component: backup.component.clone(),
            artifact: None,
            at: known.taken_at.unwrap_or(known.read_at),
            window: (known.read_at, known.read_at),
            seconds: 0.0,
            error: task.given.read.error.clone(),
            refused: None,
            source: None,
            high_water: 0,
            stored: Vec::new(),
            readable: Some(task.given.read.clone()),
            mirrored: None,
        }));
    if task.given.read.error.is_none() {
        if let Some(live) = &task.live {
            teller.phase(Phase::Observe, "count what the live source holds");
            known.live = Some(count(ctx, live).await.map_err(at(Phase::Observe))?);
        }
        let repository = GivenRepository::new(ctx, task.given).await;
        world.hold(Arc::new(repository.map_err(at(Phase::Prepare))?));
        let keys = task.passphrase.as_ref();
        world.keys = keys.map(|passphrase| Keys::of_passphrase(ctx, passphrase));
        teller.phase(Phase::Restore, "restore");
        recover::recover(ctx, world, &backups, scenario, evidence)
            .await
            .map_err(at(Phase::Restore))?;
        if let Some(service) = cluster(world, task) {
            let counted = beside(ctx, &*service).await;
            known.cluster = Some(counted.map_err(at(Phase::Observe))?);
        }
    }
    evidence.given = Some(known);
    write_down(ctx, evidence).map_err(at(Phase::Observe))?;
    evidence.leaks = probe::leaks(ctx, &planted.canary).map_err(at(Phase::Observe))?;
    read_back(ctx, world.fault, evidence).map_err(at(Phase::Observe))?;
    Ok(())
}

/// The cluster that came back, where it is one.
fn cluster(world: &World<'_>, task: &Task<'_>) -> Option<Arc<dyn Service>> {
    let is_cluster = task.given.method.archives() && task.given.engine == Engine::Postgres;
    let component = world.suite.components.first().filter(|_| is_cluster)?;
    // Where nothing came back, the recovery says why.
    world.service(&component.name).ok()
}

/// Counts the databases beside the one that is looked at.
async fn beside(ctx: &Context, service: &dyn Service) -> Result<ClusterFact> {
    let ctx = ctx.within(Phase::Observe, "beside");
    let server = service.server();
    let session = Session::open(&ctx, &*server, "postgres").await?;
    let mut fact = ClusterFact {
        database: service.database().to_owned(),
        ..ClusterFact::default()
    };
    for database in server::databases(&ctx, &session).await? {
        if database == fact.database {
            continue;
        }
        let counted = async {
            let session = Session::open(&ctx, &*server, &database).await?;
            let rows = content::counts(&ctx, &session).await?;
            Ok((rows, content::bytes(&ctx, &session).await?))
        };
        match counted.await {
            Ok((rows, bytes)) => {
                let rows = rows.into_iter();
                let named = rows.map(|(part, rows)| (ClusterFact::name(&database, &part), rows));
                fact.rows.extend(named);
                fact.bytes += bytes;
            }
            Err(error) => {
                let why = stop_or_note(error)?;
                fact.uncounted.push((database, why));
            }
        }
    }
    Ok(fact)
}

async fn count(
    ctx: &Context,
    live: &Live,
) -> Result<std::result::Result<crate::evidence::Held, String>> {
    match live.count(&ctx.within(Phase::Observe, "live")).await {
        Ok(held) => Ok(Ok(held)),
        Err(error) => stop_or_note(error).map(Err),
    }
}

/// Asks the server for what the artifact names, and creates the roles where that is asked for.
pub(super) async fn needs(
    ctx: &Context,
    task: &Task<'_>,
    target: &dyn Service,
) -> Result<NeedsFact> {
    let needs = &task.given.needs;
    let Method::PgDump(dump) = &task.given.method else {
        return Ok(NeedsFact::default());
    };
    let session = Session::open(ctx, &*target.server(), "postgres").await?;
    let mut fact = NeedsFact {
        named: (needs.roles.len() + needs.extensions.len()) as u64,
        extensions: server::missing_extensions(ctx, &session, &needs.extensions).await?,
        ..NeedsFact::default()
    };
    // Those that are given with it are there before anything names them.
    if task.roles && !dump.globals {
        let missing = server::missing_roles(ctx, &session, &needs.roles).await?;
        if task.create_roles {
            server::create_roles(ctx, &session, &missing).await?;
            fact.created = missing;
        } else {
            fact.roles = missing;
        }
    }
    Ok(fact)
}

/// Whether the server lacks what the artifact cannot be restored without.
pub(super) fn lacks(needs: &NeedsFact) -> bool {
    !(needs.roles.is_empty() && needs.extensions.is_empty())
}

/// The service to look at after the restore: of a whole cluster, the database that is meant.
pub(super) async fn settled(
    ctx: &Context,
    task: &Task<'_>,
    service: &Arc<dyn Service>,
) -> Result<Arc<dyn Service>> {
    if !task.given.method.archives() || task.given.engine != Engine::Postgres {
        return Ok(service.clone());
    }
    let session = Session::open(ctx, &*service.server(), "postgres").await?;
    let database = match &task.database {
        Some(name) => {
            server::has_database(ctx, &session, name).await?;
            name.clone()
        }
        None => server::largest_database(ctx, &session).await?,
    };
    Ok(Arc::new(PostgresService::new(
        service.server(),
        database,
        None,
    )))
}
