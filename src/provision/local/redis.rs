//! A local Redis: `redis-server` with a password, no snapshots of its own accord, and no append-only file unless the
//! component asks for one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::Signal;
use tokio::sync::Mutex;

use super::{Home, check_version};
use crate::context::Context;
use crate::error::Result;
use crate::process::{Command, Daemon};
use crate::provision::port::HeldPort;
use crate::provision::{Wanted, fresh_secret, locate, ready};
use crate::service::{Endpoint, Running, Stop, redis};
use crate::suite::Engine;

const SHUTDOWN: Duration = Duration::from_secs(60);

struct LocalRedis {
    home: Home,
    version: String,
    port: HeldPort,
    password: String,
    config: PathBuf,
    daemon: Mutex<Option<Daemon>>,
}

/// Starts an empty server.
pub(super) async fn start(ctx: &Context, wanted: &Wanted) -> Result<Arc<dyn Running>> {
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
    let server = LocalRedis {
        home,
        version,
        port,
        password,
        config,
        daemon: Mutex::new(None),
    };
    server.launch(ctx).await?;
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

    async fn lose(&self, _ctx: &Context) -> Result<()> {
        self.end(Stop::Kill).await;
        self.home.remove()
    }

    async fn remove(&self, _ctx: &Context) -> Result<()> {
        self.end(Stop::Kill).await;
        self.home.remove()
    }
}
