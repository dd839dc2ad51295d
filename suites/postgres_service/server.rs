//! A PostgreSQL server for tests alone: this machine's own, started in a temporary directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redrill::context::Context;
use redrill::error::{Doing, Error, Result};
use redrill::process::{Account, Command};
use redrill::service::{Endpoint, Running, Stop};
use redrill::suite::Engine;

/// Whether a server waits for its disk. Times are only ever measured on one that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// As in production.
    Sure,
    /// For many small databases that nobody will miss.
    Quick,
}

/// A server that was started by its own `pg_ctl`.
pub struct TestServer {
    bin: PathBuf,
    version: String,
    dir: PathBuf,
    port: u16,
    disk: Disk,
    account: Option<Account>,
}

impl TestServer {
    /// The newest installation on this machine.
    pub fn installation() -> Option<PathBuf> {
        let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
            .ok()?
            .filter_map(|entry| entry.ok())
            .filter_map(|entry| {
                Some((
                    entry.file_name().to_str()?.parse().ok()?,
                    entry.path().join("bin"),
                ))
            })
            .filter(|(_, bin)| bin.join("initdb").exists())
            .collect();
        found.sort();
        found.pop().map(|(_, bin)| bin)
    }

    /// Makes a cluster under `dir` and starts it.
    pub async fn start(ctx: &Context, bin: &Path, dir: PathBuf, disk: Disk) -> Result<Arc<Self>> {
        let account = match nix::unistd::User::from_name("postgres") {
            Ok(Some(user)) if nix::unistd::Uid::effective().is_root() => Some(Account {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            }),
            _ => None,
        };
        std::fs::create_dir(&dir).doing("create the server's directory")?;
        if let Some(account) = account {
            std::os::unix::fs::chown(&dir, Some(account.uid), Some(account.gid))
                .doing("give the directory away")?;
        }
        let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).doing("find a port")?;
        let port = socket.local_addr().doing("find a port")?.port();
        drop(socket);
        let asked = Command::new(bin.join("postgres")).arg("--version");
        let asked = asked.run(ctx).await?.ok()?.text();
        let version = asked.split_whitespace().nth(2).unwrap_or_default();
        let server = Arc::new(Self {
            bin: bin.to_owned(),
            version: version.to_owned(),
            dir,
            port,
            disk,
            account,
        });
        let initdb = server.tool("initdb").args([
            "-N",
            "--data-checksums",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
        ]);
        let initdb = initdb
            .args(["-U", "postgres", "-A", "trust", "-D"])
            .arg(server.data_dir());
        initdb.run(ctx).await?.ok()?;
        server
            .tool("mkdir")
            .arg(server.staging())
            .run(ctx)
            .await?
            .ok()?;
        server.up(ctx).await?;
        Ok(server)
    }

    /// Starts the server on the data that is there.
    pub async fn up(&self, ctx: &Context) -> Result<()> {
        let fsync = match self.disk {
            Disk::Sure => "on",
            Disk::Quick => "off",
        };
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync={fsync}",
            self.port
        );
        let log = self.dir.join("server.log");
        let start = self.ctl("start").arg("-l").arg(&log).arg("-o").arg(options);
        start.run(ctx).await?.ok().map(drop)
    }

    fn ctl(&self, verb: &str) -> Command {
        self.tool("pg_ctl")
            .args(["-w", "-t", "30"])
            .arg(verb)
            .arg("-D")
            .arg(self.data_dir())
            .deadline(Duration::from_secs(60))
    }
}

#[async_trait]
impl Running for TestServer {
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
            port: self.port,
            user: "postgres".to_owned(),
            password: String::new(),
        }
    }
    fn tool(&self, program: &str) -> Command {
        let own = self.bin.join(program);
        let program = if own.exists() {
            own
        } else {
            PathBuf::from(program)
        };
        Command::new(program)
            .account(self.account)
            .dir("/")
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "postgres")
            .deadline(Duration::from_secs(120))
    }
    fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }
    fn staging(&self) -> PathBuf {
        self.dir.join("staging")
    }
    async fn restart(&self, ctx: &Context, stop: Stop) -> Result<()> {
        let mode = match stop {
            Stop::Clean => "fast",
            Stop::Kill => "immediate",
        };
        self.ctl("stop").args(["-m", mode]).run(ctx).await?.ok()?;
        self.up(ctx).await
    }
    async fn lose(&self, _: &Context) -> Result<()> {
        Err(Error::defect("the test server is not to be lost"))
    }
    async fn remove(&self, ctx: &Context) -> Result<()> {
        self.ctl("stop")
            .args(["-m", "immediate"])
            .run(&ctx.for_teardown())
            .await?
            .ok()
            .map(drop)
    }
}
