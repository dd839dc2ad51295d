//! A local Redis: `redis-server` with a password, no snapshots of its own accord, and no append-only file unless the
//! component asks for one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::Signal;
use tokio::sync::Mutex;

use super::{Home, check_version, copy, keep};
use crate::context::Context;
use crate::error::{Doing, Result};
use crate::process::{Command, Daemon};
use crate::provision::port::HeldPort;
use crate::provision::{Wanted, fresh_secret, locate, ready};
use crate::service::redis::catalogue::{restore_user, users};
use crate::service::redis::client::{Client, cmd};
use crate::service::redis::persistence::rewritten;
use crate::service::{Endpoint, Held, Running, Stop, redis};
use crate::suite::Engine;

/// The file of a snapshot.
const SNAPSHOT: &str = "dump.rdb";
const SHUTDOWN: Duration = Duration::from_secs(60);

struct LocalRedis {
    home: Home,
    version: String,
    port: HeldPort,
    password: String,
    config: PathBuf,
    /// Whether it writes an append-only file.
    appends: bool,
    daemon: Mutex<Option<Daemon>>,
}

/// Starts an empty server, or one with a copy of what another held.
pub(super) async fn start(
    ctx: &Context,
    wanted: &Wanted,
    held: Option<&Held>,
) -> Result<Arc<dyn Running>> {
    let program = locate::program("redis-server", "redis-server")?;
    let home = Home::make(ctx, wanted, locate::account("redis")?)?;
    let asked = Command::new(&program)
        .arg("--version")
        .run(ctx)
        .await?
        .ok()?;
    // "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=…"
    let text = asked.text();
    let version = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix("v="))
        .unwrap_or_default()
        .to_owned();
    check_version(&version, wanted)?;
    let password = fresh_secret(ctx, &format!("password of {}", wanted.name));
    let port = HeldPort::take()?;
    let mut lines = vec![
        "bind 127.0.0.1".to_owned(),
        format!("port {}", port.number()),
        format!("dir {}", home.data().display()),
        format!("requirepass {password}"),
    ];
    lines.extend(super::super::REDIS_SETTINGS.map(|(name, value)| format!("{name} {value}")));
    lines.extend(
        wanted
            .settings
            .iter()
            .map(|(name, value)| format!("{name} {value}")),
    );
    let config = home.private_file("conf", "redis.conf", &(lines.join("\n") + "\n"))?;
    if let Some(held) = held {
        copy(ctx, held, &home.data(), home.account).await?;
    }
    let server = LocalRedis {
        home,
        version,
        port,
        password,
        config,
        appends: wanted
            .settings
            .get("appendonly")
            .is_some_and(|it| it == "yes"),
        daemon: Mutex::new(None),
    };
    server.launch(ctx).await?;
    if let Some(held) = held {
        server.complete(ctx, held).await?;
    }
    Ok(Arc::new(server))
}

impl LocalRedis {
    async fn launch(&self, ctx: &Context) -> Result<()> {
        let mut daemon = Command::new("redis-server")
            .arg(&self.config)
            .dir(self.home.data())
            .account(self.home.account)
            .daemon(ctx)?;
        let endpoint = self.endpoint();
        let ready = ready::until(
            ctx,
            "redis-server",
            ready::deadline(),
            || std::future::ready(daemon.end_in_words()),
            || redis::answers(ctx, &endpoint),
        )
        .await;
        if let Err(error) = ready {
            // Gone before anybody hears of it.
            daemon.kill().await;
            return Err(error);
        }
        *self.daemon.lock().await = Some(daemon);
        Ok(())
    }

    /// Makes it what a server is that was filled itself: with its users, and without a snapshot that nobody asked for.
    async fn complete(&self, ctx: &Context, held: &Held) -> Result<()> {
        let mut client = Client::connect(ctx, &self.endpoint()).await?;
        for line in &held.users {
            restore_user(&mut client, line).await?;
        }
        if self.appends {
            return Ok(());
        }
        let snapshot = self.home.data().join(SNAPSHOT);
        std::fs::remove_file(&snapshot).doing_with(|| format!("remove {}", snapshot.display()))
    }

    async fn end(&self, stop: Stop) {
        if let Some(mut daemon) = self.daemon.lock().await.take() {
            match stop {
                Stop::Clean => daemon.stop(Signal::SIGTERM, SHUTDOWN).await,
                Stop::Kill => daemon.kill().await,
            }
        }
    }
}

#[async_trait]
impl Running for LocalRedis {
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
            host: "127.0.0.1".to_owned(),
            port: self.port.number(),
            user: String::new(),
            password: self.password.clone(),
        }
    }

    fn tool(&self, program: &str) -> Command {
        let command = Command::new(program)
            .env("REDISCLI_AUTH", &self.password)
            .dir(self.staging())
            .account(self.home.account);
        match program {
            "redis-cli" => command.args(["-h", "127.0.0.1", "-p", &self.port.number().to_string()]),
            _ => command,
        }
    }

    fn data_dir(&self) -> PathBuf {
        self.home.data()
    }

    fn staging(&self) -> PathBuf {
        self.home.staging()
    }

    async fn restart(&self, ctx: &Context, stop: Stop) -> Result<()> {
        self.end(stop).await;
        self.launch(ctx).await
    }

    async fn keep(&self, ctx: &Context, place: &Path) -> Result<Option<Held>> {
        let mut client = Client::connect(ctx, &self.endpoint()).await?;
        let users = users(&mut client).await?;
        if self.appends {
            // Replayed, a log of commands does not give back every detail of a stream; a rewritten one begins with a snapshot.
            client.call(&cmd("BGREWRITEAOF")).await?;
            rewritten(ctx, &mut client, ready::deadline()).await?;
        } else {
            client.call(&cmd("SAVE")).await?;
        }
        drop(client);
        self.end(Stop::Clean).await;
        Ok(Some(Held {
            users,
            ..keep(&self.home.data(), place)?
        }))
    }

    async fn lose(&self, _ctx: &Context) -> Result<()> {
        self.end(Stop::Kill).await;
        self.home.remove()
    }

    async fn remove(&self, _ctx: &Context) -> Result<()> {
        self.end(Stop::Kill).await;
        self.home.remove()
    }
}
