//! What the tests stand on: a `redis-server` of their own, a repository in memory, and a context that cleans up.

use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use nix::sys::signal::Signal;
use redrill::context::{Context, Phase, RunId};
use redrill::error::{Error, Result};
use redrill::evidence::Observation;
use redrill::pipeline::artifact::{ArtifactReader, ArtifactWriter, Keys, Origin};
use redrill::pipeline::redis::RedisRdb;
use redrill::pipeline::{Pipeline as _, Taken};
use redrill::process::{Command, Daemon};
use redrill::repository::{Repository, Stored};
use redrill::service::redis::RedisService;
use redrill::service::redis::client::{Client, Cmd, Reply, cmd};
use redrill::service::{Endpoint, Reading, Running, Service as _, Stop};
use redrill::suite::{Engine, RestoreOptions};
use tokio::io::AsyncReadExt as _;

/// The password of every server here; searched for in logs.
pub const PASSWORD: &str = "a-password-that-must-not-leak";

/// A context in a directory that goes away with it.
pub struct World {
    pub ctx: Context,
    pub repository: Arc<Memory>,
    keys: Keys,
    _dir: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let ctx = Context::new(
            RunId::fresh(Utc::now()),
            dir.path().join("drill"),
            dir.path().join("logs"),
            Default::default(),
        )
        .expect("a context");
        ctx.secrets.register("password of redis", PASSWORD);
        Self {
            keys: Keys::generate(&ctx),
            ctx: ctx.within(Phase::Prepare, "cache"),
            repository: Arc::default(),
            _dir: dir,
        }
    }

    /// A server with redrill's usual settings and these.
    pub async fn server(&self, name: &str, settings: &[&str]) -> Arc<Local> {
        Local::start(&self.ctx, name, settings)
            .await
            .expect("a redis-server")
    }

    /// A seeded component of about so many keys, with nonce and canary.
    pub async fn seeded(&self, name: &str, keys: u64, settings: &[&str]) -> Component {
        let component = self.empty(name, keys, settings).await;
        component.service.create(&self.ctx).await.expect("created");
        component
            .service
            .seed(&self.ctx, 1.0, 7)
            .await
            .expect("seeded");
        component
            .service
            .plant(&self.ctx, "nonce-1", "canary-0f3a9c")
            .await
            .expect("planted");
        component
    }

    /// A component on an empty server.
    pub async fn empty(&self, name: &str, keys: u64, settings: &[&str]) -> Component {
        let server = self.server(name, settings).await;
        Component {
            service: RedisService::new(server.clone(), keys),
            server,
        }
    }

    /// A writer for one more artifact, encrypted.
    fn writer(&self) -> ArtifactWriter {
        // Two artifacts of one second would have one name.
        let number = i64::try_from(self.ctx.next_number()).expect("a small number");
        let origin = Origin {
            backup: "redis".into(),
            component: "cache".into(),
            taken_at: Utc::now() + chrono::Duration::seconds(number),
            engine: "redis".into(),
            compression: "lzf".into(),
        };
        let repository: Arc<dyn Repository> = self.repository.clone();
        ArtifactWriter::new(&self.ctx, origin, vec![repository], Some(self.keys.clone()))
    }

    async fn commit(&self, writer: ArtifactWriter) -> Result<ArtifactReader> {
        let draft = writer.draft(&self.ctx);
        let manifest = writer.commit(&self.ctx, draft).await?;
        let keys = Some(self.keys.clone());
        Ok(ArtifactReader::new(manifest, self.repository.clone(), keys))
    }

    pub async fn backup(
        &self,
        source: &Component,
        pipeline: RedisRdb,
    ) -> Result<(Taken, ArtifactReader)> {
        self.backup_of(&source.service, pipeline).await
    }

    pub async fn backup_of(
        &self,
        source: &RedisService,
        pipeline: RedisRdb,
    ) -> Result<(Taken, ArtifactReader)> {
        let mut writer = self.writer();
        let taken = pipeline.backup(&self.ctx, source, &mut writer).await?;
        Ok((taken, self.commit(writer).await?))
    }

    /// The plain bytes of a file of an artifact.
    pub async fn read(&self, artifact: &ArtifactReader, name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut body = artifact.open(&self.ctx, name).await.expect("opened");
        body.read_to_end(&mut bytes).await.expect("read");
        bytes
    }

    /// The same artifact with the plain bytes of one file changed before it was stored: what the tools see when the
    /// backup was bad from the start.
    pub async fn changed(
        &self,
        artifact: &ArtifactReader,
        changed: &str,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> ArtifactReader {
        let writer = self.writer();
        let mut change = Some(change);
        for file in &artifact.manifest.files {
            let mut bytes = self.read(artifact, &file.name).await;
            if file.name.ends_with(changed) {
                change.take().expect("only one file")(&mut bytes);
            }
            let body = Box::new(std::io::Cursor::new(bytes));
            writer
                .file(&self.ctx, &file.name, body, file.metadata.clone())
                .await
                .expect("stored");
        }
        assert!(change.is_none(), "no file {changed}");
        self.commit(writer).await.expect("committed")
    }

    pub async fn restore(&self, artifact: &ArtifactReader, target: &Component) -> Result<()> {
        self.restore_to(artifact, &target.service).await
    }

    pub async fn restore_to(&self, artifact: &ArtifactReader, target: &RedisService) -> Result<()> {
        let pipeline = RedisRdb::new(false);
        let fetched = pipeline.fetch(&self.ctx, artifact, target).await?;
        pipeline
            .restore(&self.ctx, &fetched, target, &RestoreOptions::default())
            .await
    }
}

/// A component and its server.
pub struct Component {
    pub service: RedisService,
    pub server: Arc<Local>,
}

impl Component {
    pub async fn observe(&self, world: &World) -> Observation {
        self.service
            .observe(&world.ctx)
            .await
            .expect("an observation")
    }

    /// Runs a command line (words split at spaces) in a database.
    pub async fn run(&self, world: &World, database: u32, line: &str) -> Reply {
        self.run_words(world, database, &line.split(' ').collect::<Vec<_>>())
            .await
    }

    pub async fn run_words(&self, world: &World, database: u32, words: &[&str]) -> Reply {
        let mut client = Client::connect(&world.ctx, &self.server.endpoint())
            .await
            .expect("a connection");
        client.select(database).await.expect("a database");
        told(&mut client, words).await
    }
}

/// The reply to a command of these words.
pub async fn told(client: &mut Client, words: &[&str]) -> Reply {
    let mut command: Cmd = cmd(words[0]);
    for word in &words[1..] {
        command.arg(word);
    }
    client.call(&command).await.expect("a reply")
}

/// Which parts of two observations differ, by name.
pub fn differences(one: &Observation, other: &Observation) -> Vec<String> {
    fn changed<K: Ord, V: PartialEq>(
        one: &BTreeMap<K, V>,
        other: &BTreeMap<K, V>,
        name: impl Fn(&K) -> String,
    ) -> Vec<String> {
        let mut names: Vec<String> = one
            .keys()
            .chain(other.keys())
            .filter(|key| one.get(key) != other.get(key))
            .map(name)
            .collect();
        names.sort();
        names.dedup();
        names
    }
    let mut all = changed(&one.parts, &other.parts, |name| name.to_string());
    // A minute that is not after an observation may have lost keys since.
    let lasting = |seen: &Observation| {
        let mut expiring = seen.expiring.clone();
        expiring.retain(|(_, minute), _| *minute > one.taken_at.max(other.taken_at));
        expiring
    };
    all.extend(changed(&lasting(one), &lasting(other), |(part, _)| {
        format!("{part} expiring")
    }));
    all.extend(changed(&one.catalogue, &other.catalogue, |name| {
        name.to_string()
    }));
    all.extend(changed(&one.unreadable, &other.unreadable, |part| {
        format!("{part} unreadable")
    }));
    if one.nonce != other.nonce {
        all.push("nonce".into());
    }
    if one.ledger != other.ledger {
        all.push("ledger".into());
    }
    all.dedup();
    all
}

/// A `redis-server` child process.
pub struct Local {
    dir: PathBuf,
    port: u16,
    version: String,
    daemon: tokio::sync::Mutex<Option<Daemon>>,
    /// Removes the snapshot before it starts again, as a restore to the wrong place does.
    pub forgetful: AtomicBool,
}

impl Local {
    async fn start(ctx: &Context, name: &str, settings: &[&str]) -> Result<Arc<Self>> {
        let dir = ctx.subdir(name)?;
        for below in ["data", "staging"] {
            std::fs::create_dir_all(dir.join(below)).expect("a directory");
        }
        let version = Command::new("redis-server")
            .arg("--version")
            .run(ctx)
            .await?
            .ok()?
            .text();
        let version = version
            .split("v=")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let mut server = Self {
            version: version.unwrap_or_default().to_owned(),
            port: 0,
            daemon: tokio::sync::Mutex::default(),
            forgetful: AtomicBool::default(),
            dir,
        };
        for _ in 0..10 {
            // Another process may take the port in between: then the next one is tried.
            server.port = std::net::TcpListener::bind("127.0.0.1:0")
                .and_then(|listener| listener.local_addr())
                .expect("a free port")
                .port();
            server.configure(settings);
            if server.up(ctx).await.is_ok() {
                return Ok(Arc::new(server));
            }
        }
        Err(Error::failed("redis-server does not start"))
    }

    fn configure(&self, settings: &[&str]) {
        let mut text = format!(
            "port {}\nbind 127.0.0.1\nrequirepass {PASSWORD}\nsave \"\"\ndbfilename dump.rdb\n\
             dir {}\nenable-debug-command yes\n",
            self.port,
            self.data_dir().display()
        );
        if !settings
            .iter()
            .any(|setting| setting.starts_with("appendonly "))
        {
            text.push_str("appendonly no\n");
        }
        for setting in settings {
            text.push_str(setting);
            text.push('\n');
        }
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(self.dir.join("redis.conf"))
            .expect("a configuration file");
        std::io::Write::write_all(&mut file, text.as_bytes()).expect("written");
    }

    async fn up(&self, ctx: &Context) -> Result<()> {
        let mut daemon = Command::new("redis-server")
            .arg(self.dir.join("redis.conf"))
            .daemon(ctx)?;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = daemon.ended() {
                return Err(Error::failed(format!(
                    "redis-server ended ({status}): {}",
                    daemon.last_words()
                )));
            }
            if let Ok(mut client) = Client::connect(ctx, &self.endpoint()).await
                && client.call(&cmd("PING")).await.is_ok()
            {
                break;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "not ready within a minute"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        *self.daemon.lock().await = Some(daemon);
        Ok(())
    }

    pub async fn pid(&self) -> u32 {
        self.daemon.lock().await.as_ref().expect("running").pid()
    }

    async fn down(&self, stop: Stop) {
        if let Some(mut daemon) = self.daemon.lock().await.take() {
            match stop {
                Stop::Clean => daemon.stop(Signal::SIGTERM, Duration::from_secs(30)).await,
                Stop::Kill => daemon.kill().await,
            }
        }
    }
}

#[async_trait]
impl Running for Local {
    fn engine(&self) -> Engine {
        Engine::Redis
    }
    fn version(&self) -> &str {
        &self.version
    }
    fn mode(&self) -> &'static str {
        "local"
    }
    fn endpoint(&self) -> Endpoint {
        Endpoint {
            host: "127.0.0.1".into(),
            port: self.port,
            user: String::new(),
            password: PASSWORD.into(),
        }
    }
    fn tool(&self, program: &str) -> Command {
        Command::new(program)
    }
    fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }
    fn staging(&self) -> PathBuf {
        self.dir.join("staging")
    }
    async fn restart(&self, ctx: &Context, stop: Stop) -> Result<()> {
        self.down(stop).await;
        if self.forgetful.load(Ordering::Relaxed) {
            std::fs::rename(
                self.data_dir().join("dump.rdb"),
                self.data_dir().join("other.rdb"),
            )
            .expect("renamed");
        }
        self.up(ctx).await
    }
    async fn lose(&self, _: &Context) -> Result<()> {
        self.down(Stop::Kill).await;
        std::fs::remove_dir_all(self.data_dir()).expect("removed");
        Ok(())
    }
    async fn remove(&self, ctx: &Context) -> Result<()> {
        self.lose(ctx).await
    }
}

/// A repository in memory.
#[derive(Default)]
pub struct Memory(pub Mutex<BTreeMap<String, Vec<u8>>>);

#[async_trait]
impl Repository for Memory {
    fn name(&self) -> &str {
        "memory"
    }
    async fn put(
        &self,
        _: &Context,
        key: &str,
        mut body: Reading,
        _: &BTreeMap<String, String>,
    ) -> Result<u64> {
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes)
            .await
            .map_err(|error| Error::failed(error.to_string()))?;
        let length = bytes.len() as u64;
        self.0
            .lock()
            .expect("not poisoned")
            .insert(key.into(), bytes);
        Ok(length)
    }
    async fn open(&self, ctx: &Context, key: &str) -> Result<(Stored, Reading)> {
        let stored = self.head(ctx, key).await?;
        let stored = stored.ok_or_else(|| Error::failed("no such object"))?;
        let bytes = self.0.lock().expect("not poisoned")[key].clone();
        Ok((stored, Box::new(std::io::Cursor::new(bytes))))
    }
    async fn head(&self, _: &Context, key: &str) -> Result<Option<Stored>> {
        let all = self.0.lock().expect("not poisoned");
        Ok(all.get(key).map(|bytes| Stored {
            key: key.into(),
            bytes: bytes.len() as u64,
            ..Stored::default()
        }))
    }
    async fn list(&self, _: &Context, prefix: &str) -> Result<Vec<Stored>> {
        let all = self.0.lock().expect("not poisoned");
        Ok(all
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, bytes)| Stored {
                key: key.clone(),
                bytes: bytes.len() as u64,
                ..Stored::default()
            })
            .collect())
    }
    async fn delete(&self, _: &Context, keys: &[String]) -> Result<()> {
        self.0
            .lock()
            .expect("not poisoned")
            .retain(|key, _| !keys.contains(key));
        Ok(())
    }
}
