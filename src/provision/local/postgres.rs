//! A local Postgres: `initdb`, data checksums on, fsync on, passwords required.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::Signal;
use tokio::sync::Mutex;

use super::{Home, check_version, copy, keep};
use crate::clock::Stopwatch;
use crate::context::Context;
use crate::error::{Doing, Result};
use crate::process::{Command, Daemon};
use crate::provision::port::HeldPort;
use crate::provision::{Wanted, fresh_secret, locate, ready};
use crate::service::{Endpoint, Held, Running, Stop, postgres};
use crate::suite::Engine;

/// How long a clean shutdown may take.
const SHUTDOWN: Duration = Duration::from_secs(60);
const SUPERUSER: &str = "postgres";
/// What a server says that finds processes of an earlier one on its data.
const STILL_THERE: &str = "pre-existing shared memory block";
const LOOK_AGAIN: Duration = Duration::from_millis(50);

struct LocalPostgres {
    home: Home,
    bin: PathBuf,
    version: String,
    port: HeldPort,
    password: String,
    settings: Vec<String>,
    daemon: Mutex<Option<Daemon>>,
}

/// Makes a cluster, or copies one that was kept, and starts it.
pub(super) async fn start(
    ctx: &Context,
    wanted: &Wanted,
    held: Option<&Held>,
) -> Result<Arc<dyn Running>> {
    let bin = locate::postgres_bin(wanted.version.as_deref())?;
    let home = Home::make(ctx, wanted, locate::account("postgres")?)?;
    let asked = Command::new(bin.join("postgres"))
        .arg("--version")
        .run(ctx)
        .await?
        .ok()?;
    // "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
    let version = asked
        .text()
        .split_whitespace()
        .nth(2)
        .unwrap_or_default()
        .to_owned();
    check_version(&version, wanted)?;
    let password = match held {
        None => make_cluster(ctx, wanted, &bin, &home).await?,
        Some(held) => {
            copy(ctx, held, &home.data(), home.account).await?;
            // It is in the data.
            ctx.secrets
                .register(password_of(wanted), held.password.as_str());
            held.password.clone()
        }
    };
    let server = LocalPostgres {
        home,
        bin,
        version,
        port: HeldPort::take()?,
        password,
        settings: wanted
            .server_settings()
            .map(|(name, value)| format!("{name}={value}"))
            .collect(),
        daemon: Mutex::new(None),
    };
    server.launch(ctx).await?;
    Ok(Arc::new(server))
}

fn password_of(wanted: &Wanted) -> String {
    format!("password of {}", wanted.name)
}

/// Makes an empty cluster; returns its superuser's password.
async fn make_cluster(ctx: &Context, wanted: &Wanted, bin: &Path, home: &Home) -> Result<String> {
    let password = fresh_secret(ctx, &password_of(wanted));
    let password_file = home.private_file("conf", "password", &password)?;
    let made = Command::new(bin.join("initdb"))
        .arg(format!("--pgdata={}", home.data().display()))
        .arg(format!("--username={SUPERUSER}"))
        .arg(format!("--pwfile={}", password_file.display()))
        .args([
            "--auth=scram-sha-256",
            "--data-checksums",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        ])
        // The cluster is new and disposable until the server runs, and the server does run with fsync on.
        .args(["--no-sync", "--no-instructions"])
        .args(wanted.initdb())
        .dir("/")
        .account(home.account)
        .run(ctx)
        .await;
    let _ = std::fs::remove_file(&password_file);
    made?.ok()?;
    Ok(password)
}

impl LocalPostgres {
    /// Starts the server. The processes of a killed one end by themselves soon after it; until the last of them is gone
    /// a new one refuses to start on their data, and is started again.
    async fn launch(&self, ctx: &Context) -> Result<()> {
        let watch = Stopwatch::start();
        loop {
            match self.launch_once(ctx).await {
                Err(error)
                    if error.message().contains(STILL_THERE)
                        && watch.elapsed() < ready::deadline() =>
                {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                launched => return launched,
            }
        }
    }

    async fn launch_once(&self, ctx: &Context) -> Result<()> {
        let settings = self.settings.iter().flat_map(|set| ["-c", set]);
        let mut daemon = Command::new(self.bin.join("postgres"))
            .arg("-D")
            .arg(self.home.data())
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "unix_socket_directories=",
                "-c",
                "fsync=on",
            ])
            .args(["-c".to_owned(), format!("port={}", self.port.number())])
            .args(settings)
            .dir("/")
            .account(self.home.account)
            .daemon(ctx)?;
        let endpoint = self.endpoint();
        let ready = ready::until(
            ctx,
            "postgres",
            ready::deadline(),
            || std::future::ready(daemon.end_in_words()),
            || postgres::answers(ctx, &endpoint),
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
                // SIGINT is Postgres' fast shutdown.
                Stop::Clean => daemon.stop(Signal::SIGINT, SHUTDOWN).await,
                Stop::Kill => daemon.kill().await,
            }
        }
    }
}

#[async_trait]
impl Running for LocalPostgres {
    fn engine(&self) -> Engine {
        Engine::Postgres
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
            user: SUPERUSER.to_owned(),
            password: self.password.clone(),
        }
    }

    fn tool(&self, program: &str) -> Command {
        let own = self.bin.join(program);
        let program = if own.is_file() {
            own
        } else {
            PathBuf::from(program)
        };
        Command::new(program)
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.number().to_string())
            .env("PGUSER", SUPERUSER)
            .env("PGPASSWORD", &self.password)
            .env("PGCONNECT_TIMEOUT", "10")
            .dir(self.staging())
            .account(self.home.account)
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

    async fn halt(&self, _ctx: &Context) -> Result<()> {
        self.end(Stop::Kill).await;
        Ok(())
    }

    async fn replace_data(&self, ctx: &Context, prepared: &Path) -> Result<()> {
        self.end(Stop::Kill).await;
        self.home.replace_data(prepared)?;
        self.launch(ctx).await
    }

    async fn keep(&self, _ctx: &Context, place: &Path) -> Result<Option<Held>> {
        let tablespaces = self.home.data().join("pg_tblspc");
        let mut found = std::fs::read_dir(&tablespaces)
            .doing_with(|| format!("look into {}", tablespaces.display()))?;
        if found.next().is_some() {
            return Ok(None);
        }
        self.end(Stop::Clean).await;
        Ok(Some(Held {
            password: self.password.clone(),
            ..keep(&self.home.data(), place)?
        }))
    }

    async fn lose(&self, _ctx: &Context) -> Result<()> {
        self.end(Stop::Kill).await;
        self.home.remove()
    }

    async fn remove(&self, _ctx: &Context) -> Result<()> {
        // The data goes away: what a clean shutdown would write is of no use.
        self.end(Stop::Kill).await;
        self.home.remove()
    }
}
