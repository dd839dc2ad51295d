//! The system under test of one drill: its servers, services, repositories and keys, and their removal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::canary::Canaries;
use super::floor::{Floor, Place};
use super::stock::{Filling, Stock};
use super::verify::Task;
use crate::check::Terms;
use crate::clock::Stopwatch;
use crate::context::{Context, Phase};
use crate::error::{Doing, Error, Result};
use crate::evidence::{ServiceFact, TeardownFact, product};
use crate::fault::link::Link;
use crate::pipeline::Pipeline;
use crate::pipeline::artifact::{Destination, Keys};
use crate::pipeline::bucket_sync::BucketSync;
use crate::pipeline::files::FilesTar;
use crate::pipeline::pg_basebackup::PgBasebackup;
use crate::pipeline::pg_dump::PgDump;
use crate::pipeline::pgbackrest::PgBackRest;
use crate::pipeline::redis::RedisRdb;
use crate::plan::{Drill, DrillKind};
use crate::provision::{Provisioner, Wanted};
use crate::repository::Repository;
use crate::repository::local::LocalRepository;
use crate::repository::s3::S3Repository;
use crate::service::bucket::BucketService;
use crate::service::postgres::PostgresService;
use crate::service::redis::RedisService;
use crate::service::s3::S3Client;
use crate::service::{Held, Running, Service};
use crate::suite::brought::OWN_TABLES;
use crate::suite::{
    Backup, Component, ComponentKind, Engine, Fault, Method, RepositoryKind, Suite,
};

/// Everything a drill has running.
pub(super) struct World<'a> {
    pub suite: &'a Suite,
    pub drill: &'a Drill,
    pub fault: Option<Fault>,
    pub keys: Option<Keys>,
    pub canaries: Canaries,
    /// The artifact that somebody gives, where one is verified.
    pub task: Option<&'a Task<'a>>,
    provisioner: &'a dyn Provisioner,
    floor: &'a Floor,
    stock: &'a Stock,
    services: Mutex<BTreeMap<String, Arc<dyn Service>>>,
    repositories: BTreeMap<String, Arc<dyn Repository>>,
    /// The network to the S3 repositories, where it is to be cut.
    link: Option<Link>,
    started: Mutex<Vec<(String, Arc<dyn Running>)>>,
    facts: Mutex<Vec<ServiceFact>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> World<'a> {
    /// A world with nothing in it yet.
    pub fn new(
        suite: &'a Suite,
        drill: &'a Drill,
        provisioner: &'a dyn Provisioner,
        floor: &'a Floor,
        stock: &'a Stock,
    ) -> Self {
        Self {
            suite,
            drill,
            fault: drill.fault(),
            keys: None,
            canaries: Canaries::default(),
            task: None,
            provisioner,
            floor,
            stock,
            services: Mutex::default(),
            repositories: BTreeMap::new(),
            link: None,
            started: Mutex::default(),
            facts: Mutex::default(),
        }
    }

    /// Work that may go on beside other drills.
    pub async fn share(&self, ctx: &Context) -> Result<Place> {
        self.floor.share(ctx).await
    }

    /// Work that is timed, with no other drill at work; of a detection drill, whose figures nobody reads, as any other.
    pub async fn timed(&self, ctx: &Context) -> Result<Place> {
        match self.drill.kind {
            DrillKind::Detection { .. } => self.floor.share(ctx).await,
            _ => self.floor.alone(ctx).await,
        }
    }

    /// Starts, creates and fills every component of the drill, and opens the repositories of its backups.
    pub async fn set_up(
        &mut self,
        ctx: &Context,
        backups: &[&Backup],
        nonce: &str,
        canary: &str,
    ) -> Result<()> {
        if backups.iter().any(|backup| backup.encrypt.is_some()) {
            self.keys = Some(Keys::generate(ctx));
        }
        (self.repositories, self.link) = self.open_repositories(ctx, backups).await?;
        let suite = self.suite;
        let wanted: Vec<&Component> = suite
            .components
            .iter()
            .filter(|component| self.drill.components.contains(&component.name))
            .collect();
        let this = &*self;
        let components = wanted.into_iter().map(|component| async move {
            let ctx = ctx.within(Phase::Prepare, &component.name);
            let service = this.source(&ctx, component).await?;
            service
                .plant(&ctx, nonce, canary)
                .await
                .doing_with(|| format!("plant the nonce in {}", component.name))?;
            for backup in backups.iter().filter(|b| b.component == component.name) {
                let pipeline = pipeline(backup, component, this.fault)?;
                let destination = this.destination(backup);
                pipeline
                    .prepare(&ctx, service.as_ref(), &destination)
                    .await?;
                if backup.method.archives() {
                    let server = service.server();
                    this.canaries
                        .plant(&ctx, &component.name, server.as_ref())
                        .await?;
                }
            }
            lock(&this.services).insert(component.name.clone(), service);
            Ok::<(), Error>(())
        });
        futures::future::try_join_all(components).await.map(drop)
    }

    /// The source of a component, filled; with a copy of what it was filled with once, where other drills begin with the
    /// same.
    async fn source(&self, ctx: &Context, component: &Component) -> Result<Arc<dyn Service>> {
        let terms = Terms {
            suite: self.suite,
            drill: self.drill,
        };
        let settings = &source_settings(&terms, component)?;
        let filling = Filling::of(self.drill, component, settings.clone());
        let filled = async || {
            let service = self.start(ctx, component, "source", None, settings).await?;
            service.create(ctx).await?;
            if filling.is_some() {
                let seeded = service.seed(ctx, self.drill.scale, self.drill.seed).await;
                seeded.doing_with(|| format!("seed {}", component.name))?;
            }
            Ok::<_, Error>(service)
        };
        let Some(filling) = filling.as_ref().filter(|_| self.provisioner.copies()) else {
            return filled().await;
        };
        let mut own = None;
        let fill = async |place: PathBuf| {
            let service = filled().await?;
            let server = service.server();
            let kept = server.keep(ctx, &place).await;
            let kept =
                kept.doing_with(|| format!("keep what {} was seeded with", component.name))?;
            match &kept {
                Some(_) => self.dismiss(ctx, &server).await?,
                None => own = Some(service),
            }
            Ok(kept)
        };
        let held = self.stock.held(filling, fill).await?;
        match (own, held) {
            (Some(service), _) => Ok(service),
            (None, None) => filled().await,
            (None, Some(held)) => {
                let wanted = wanted(component, "source", None, settings);
                let server = self.launch(ctx, &wanted, &component.name, Some(&held));
                Ok(service_on(component, server.await?))
            }
        }
    }

    /// Removes a server that is of no more use, before the others.
    async fn dismiss(&self, ctx: &Context, server: &Arc<dyn Running>) -> Result<()> {
        server.remove(ctx).await?;
        lock(&self.started).retain(|(_, it)| !Arc::ptr_eq(it, server));
        Ok(())
    }

    /// Takes a repository in, under its name.
    pub fn hold(&mut self, repository: Arc<dyn Repository>) {
        let name = repository.name().to_owned();
        self.repositories.insert(name, repository);
    }

    async fn open_repositories(
        &self,
        ctx: &Context,
        backups: &[&Backup],
    ) -> Result<(BTreeMap<String, Arc<dyn Repository>>, Option<Link>)> {
        let mut link = None;
        let mut open: BTreeMap<String, Arc<dyn Repository>> = BTreeMap::new();
        let mut server: Option<Arc<dyn Running>> = None;
        for spec in &self.suite.repositories {
            let mut own = backups
                .iter()
                .filter(|backup| backup.repositories.contains(&spec.name))
                .peekable();
            if own.peek().is_none() {
                continue;
            }
            let by_itself = own.any(|backup| matches!(backup.method, Method::PgBackRest(_)));
            let repository: Arc<dyn Repository> = match &spec.kind {
                RepositoryKind::Local => {
                    let dir = ctx.subdir(&format!("repository-{}", spec.name))?;
                    Arc::new(LocalRepository::new(&spec.name, dir)?)
                }
                RepositoryKind::S3 { bucket } => {
                    // One server holds every S3 repository; none of the disasters reaches it.
                    let server = match &server {
                        Some(server) => server.clone(),
                        None => {
                            let wanted = Wanted {
                                name: "repository".to_owned(),
                                engine: Engine::Bucket,
                                version: None,
                                settings: BTreeMap::new(),
                            };
                            let started = self.launch(ctx, &wanted, &spec.name, None).await?;
                            server.insert(started).clone()
                        }
                    };
                    let mut endpoint = server.endpoint();
                    if self.fault == Some(Fault::C5) {
                        let way = match link.take() {
                            Some(way) => way,
                            None => Link::to(&endpoint.host, endpoint.port).await?,
                        };
                        (endpoint.host, endpoint.port) = ("127.0.0.1".to_owned(), way.port());
                        link = Some(way);
                    }
                    let mut repository =
                        S3Repository::new(&spec.name, S3Client::new(&endpoint), bucket);
                    repository.create(ctx).await?;
                    if by_itself {
                        repository = repository.over_tls(server.endpoint(), server.tls(ctx).await?);
                    }
                    Arc::new(repository)
                }
            };
            open.insert(spec.name.clone(), repository);
        }
        Ok((open, link))
    }

    async fn launch(
        &self,
        ctx: &Context,
        wanted: &Wanted,
        name: &str,
        held: Option<&Held>,
    ) -> Result<Arc<dyn Running>> {
        let watch = Stopwatch::start();
        let (server, on) = match held {
            Some(held) => {
                let started = self.provisioner.start_on(ctx, wanted, held).await?;
                (started, " on a copy of the seeded data")
            }
            None => (self.provisioner.start(ctx, wanted).await?, ""),
        };
        let what = format!(
            "start {} {} as {}{on}, until it answers ({})",
            product(wanted.engine),
            server.version(),
            wanted.name,
            server.mode()
        );
        ctx.note(what, None, watch.seconds(), Path::new(""));
        lock(&self.started).push((wanted.name.clone(), server.clone()));
        let fact = ServiceFact {
            name: name.to_owned(),
            product: product(wanted.engine).to_owned(),
            version: server.version().to_owned(),
            mode: server.mode().to_owned(),
        };
        let mut facts = lock(&self.facts);
        if !facts.contains(&fact) {
            facts.push(fact);
        }
        Ok(server)
    }

    /// Starts an empty server for a component, of its own version unless another is asked for, and gives back the service
    /// on it; creates nothing inside.
    pub async fn start(
        &self,
        ctx: &Context,
        component: &Component,
        role: &str,
        version: Option<String>,
        extra_settings: &BTreeMap<String, String>,
    ) -> Result<Arc<dyn Service>> {
        let wanted = wanted(component, role, version, extra_settings);
        let server = self.launch(ctx, &wanted, &component.name, None).await?;
        Ok(service_on(component, server))
    }

    /// The service of a component as it is now.
    pub fn service(&self, component: &str) -> Result<Arc<dyn Service>> {
        lock(&self.services)
            .get(component)
            .cloned()
            .ok_or_else(|| Error::defect(format!("the component {component} was not started")))
    }

    /// Puts a recovered service in the place of the lost one.
    pub fn replace(&self, component: &str, service: Arc<dyn Service>) {
        lock(&self.services).insert(component.to_owned(), service);
    }

    /// The component by name.
    pub fn component(&self, name: &str) -> Result<&'a Component> {
        self.suite
            .components
            .iter()
            .find(|component| component.name == name)
            .ok_or_else(|| Error::defect(format!("the suite has no component {name}")))
    }

    /// The repositories of a backup, nearest first.
    pub fn repositories(&self, backup: &Backup) -> Vec<Arc<dyn Repository>> {
        backup
            .repositories
            .iter()
            .filter_map(|name| self.repositories.get(name).cloned())
            .collect()
    }

    /// The keys a backup is encrypted with.
    pub fn keys_of(&self, backup: &Backup) -> Option<Keys> {
        backup.encrypt.and(self.keys.clone())
    }

    /// The network to the S3 repositories, where it is to be cut.
    pub fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    /// Where what belongs to a backup goes.
    pub fn destination(&self, backup: &Backup) -> Destination {
        Destination::new(
            &backup.name,
            self.repositories(backup),
            self.keys_of(backup),
        )
    }

    /// The keys that are left to the operators after the disaster.
    pub fn keys_left(&self, ctx: &Context, backup: &Backup) -> Option<Keys> {
        let keys = self.keys_of(backup)?;
        Some(match self.fault {
            Some(Fault::H2) => keys.with_identity_of(Some(&Keys::generate(ctx))),
            _ => keys,
        })
    }

    /// What is lost with a server: the artifacts that lay on its host.
    pub async fn lose_local_artifacts(&self, ctx: &Context, component: &str) -> Result<()> {
        for backup in self
            .suite
            .backups
            .iter()
            .filter(|backup| backup.component == component)
        {
            for spec in self
                .suite
                .repositories
                .iter()
                .filter(|spec| spec.kind == RepositoryKind::Local)
            {
                if let Some(repository) = self.repositories.get(&spec.name) {
                    let listing = repository.list(ctx, &format!("{}/", backup.name)).await?;
                    let keys: Vec<String> = listing.into_iter().map(|stored| stored.key).collect();
                    repository.delete(ctx, &keys).await?;
                }
            }
        }
        Ok(())
    }

    /// The services used so far.
    pub fn service_facts(&self) -> Vec<ServiceFact> {
        lock(&self.facts).clone()
    }

    /// Every server still known, with its name.
    pub fn servers(&self) -> Vec<(String, Arc<dyn Running>)> {
        lock(&self.started).clone()
    }

    /// Removes everything that was started, and the drill's directory; goes on after failures and reports them.
    pub async fn tear_down(&self, ctx: &Context, keep: bool) -> Vec<TeardownFact> {
        let mut facts = Vec::new();
        if keep {
            // Dropping the servers ends them; their directories stay for a look.
            return vec![TeardownFact {
                what: format!("nothing, as asked: see {}", ctx.dir.display()),
                error: None,
            }];
        }
        for (what, server) in self.servers().into_iter().rev() {
            let error = server.remove(ctx).await.err().map(|error| error.message());
            facts.push(TeardownFact { what, error });
        }
        let gone = std::fs::remove_dir_all(&ctx.dir)
            .err()
            .map(|error| error.to_string());
        facts.push(TeardownFact {
            what: "the drill's directory".to_owned(),
            error: gone,
        });
        facts
    }
}

/// The server that a component wants, of its own version unless another is asked for.
fn wanted(
    component: &Component,
    role: &str,
    version: Option<String>,
    extra_settings: &BTreeMap<String, String>,
) -> Wanted {
    let settings = match &component.kind {
        ComponentKind::Postgres { settings, .. } | ComponentKind::Redis { settings, .. } => {
            settings.clone()
        }
        ComponentKind::Bucket { .. } => BTreeMap::new(),
    };
    Wanted {
        name: format!("{}-{role}", component.name),
        engine: component.engine(),
        version: version.or(component.version.clone()),
        settings: settings.into_iter().chain(extra_settings.clone()).collect(),
    }
}

/// What the backups of a drill want set on the source of a component.
pub(super) fn source_settings(
    terms: &Terms<'_>,
    component: &Component,
) -> Result<BTreeMap<String, String>> {
    let mut settings = BTreeMap::new();
    let backups = terms.backups().into_iter();
    for backup in backups.filter(|backup| backup.component == component.name) {
        let pipeline = pipeline(backup, component, terms.drill.fault())?;
        settings.extend(pipeline.source_settings());
    }
    Ok(settings)
}

/// The service that a component is, on a server.
fn service_on(component: &Component, server: Arc<dyn Running>) -> Arc<dyn Service> {
    match &component.kind {
        ComponentKind::Postgres { database, seed, .. } => {
            Arc::new(PostgresService::new(server, database, seed.clone()))
        }
        ComponentKind::Redis { keys, .. } => Arc::new(RedisService::new(server, *keys)),
        ComponentKind::Bucket { bucket, objects } => {
            Arc::new(BucketService::new(server, bucket, *objects))
        }
    }
}

/// The bucket that a component is; no name where it is none.
fn bucket_of(component: &Component) -> String {
    match &component.kind {
        ComponentKind::Bucket { bucket, .. } => bucket.clone(),
        _ => String::new(),
    }
}

/// The pipeline of a backup, with a planted fault in it where the fault is one of pipelines.
pub(super) fn pipeline(
    backup: &Backup,
    component: &Component,
    fault: Option<Fault>,
) -> Result<Arc<dyn Pipeline>> {
    Ok(match &backup.method {
        Method::PgDump(dump) => {
            let mut dump = dump.clone();
            if !dump.tables.is_empty() {
                dump.tables.extend(OWN_TABLES.map(str::to_owned));
            }
            let mut pipeline = PgDump::new(dump);
            match fault {
                Some(Fault::A4 | Fault::A5) => pipeline.lenient = true,
                Some(Fault::A10) => pipeline.extra_dump_args.push("--no-blobs".into()),
                // A role that may read everything, and sees no more than its policies let it.
                Some(Fault::A14) => pipeline
                    .extra_dump_args
                    .extend(["--role=shop_clerk".into(), "--enable-row-security".into()]),
                Some(Fault::A16) => pipeline
                    .extra_dump_args
                    .push("--exclude-schema=jobs".into()),
                Some(Fault::A2Uncompressed) => pipeline.extra_dump_args.push("--compress=0".into()),
                Some(Fault::A6) => pipeline
                    .extra_dump_args
                    .push("--exclude-table=shop.audit".into()),
                Some(Fault::A9) => pipeline
                    .extra_dump_args
                    .push("--exclude-table-data=shop.*_seq".into()),
                Some(Fault::A15) => {
                    pipeline
                        .extra_restore_args
                        .extend(["--section=pre-data".into(), "--section=data".into()]);
                }
                _ => {}
            }
            pipeline.deadline = backup.deadline;
            Arc::new(pipeline)
        }
        Method::PgBasebackup { compress, .. } => {
            let mut pipeline = PgBasebackup::new(*compress);
            if fault == Some(Fault::C13) {
                pipeline.timeline = "current";
            }
            pipeline.deadline = backup.deadline;
            Arc::new(pipeline)
        }
        Method::PgBackRest(options) => {
            let mut pipeline = PgBackRest::new(options.clone());
            pipeline.deadline = backup.deadline;
            Arc::new(pipeline)
        }
        Method::FilesTar => Arc::new(FilesTar::new(bucket_of(component))),
        Method::RedisRdb { aof } => Arc::new(RedisRdb::new(*aof).deadline(backup.deadline)),
        Method::BucketSync {
            exclude,
            max_delete_percent,
        } => {
            // F6: a mirror without a guard.
            let allowed = if fault == Some(Fault::F6) {
                100
            } else {
                *max_delete_percent
            };
            let mut pipeline = BucketSync::new(bucket_of(component), exclude, allowed)?;
            // F11: each run ends with the first page of the listing, and agrees with itself in all it says.
            if fault == Some(Fault::F11) {
                pipeline.listed = 1000;
            }
            Arc::new(pipeline)
        }
    })
}
