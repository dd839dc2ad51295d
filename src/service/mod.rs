//! Services under test, one module per engine: seed, write, read back, fingerprint, catalogue.
//!
//! [`Running`] is a started server, however it was started; [`Service`] is what redrill does with one.
//! Not here: how a server is started (see [`crate::provision`]) or how it is backed up ([`crate::pipeline`]).

pub mod bucket;
pub mod live;
pub mod postgres;
pub mod reading;
pub mod redis;
pub mod s3;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::AsyncRead;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::evidence::{Observation, SmokeFact, TiesFact};
use crate::process::Command;
use crate::suite::{Engine, Smoke};

/// Bytes being read from somewhere.
pub type Reading = Box<dyn AsyncRead + Send + Unpin>;

/// Where a server answers, and how to be let in. Its `Debug` shows no secret.
#[derive(Clone)]
pub struct Endpoint {
    /// Host name or address, as reached from this process.
    pub host: String,
    /// Port, as reached from this process.
    pub port: u16,
    /// User name (Postgres; Redis, where it is not the default one), access key (S3).
    pub user: String,
    /// Password or secret key; registered in [`Context::secrets`].
    pub password: String,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}:{}", self.user, self.host, self.port)
    }
}

/// How a server is reached over TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The name that its certificate is for.
    pub host: &'static str,
    /// The port of this machine.
    pub port: u16,
    /// The certificate of this run that is to be trusted, in PEM.
    pub certificate: String,
}

/// What a server held when it was ended, kept for others to begin with. Its `Debug` shows no secret.
#[derive(Clone)]
pub struct Held {
    /// Its data directory as it was left.
    pub data: PathBuf,
    /// The password that is part of the data; empty where an engine keeps it elsewhere.
    pub password: String,
    /// Users that are not part of the data: lines of Redis's `ACL LIST`.
    pub users: Vec<String>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.data.display())
    }
}

/// How a server is ended before it is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// As an operator stops it: it may write what it holds.
    Clean,
    /// As a crash ends it: it writes nothing more.
    Kill,
}

/// A server that this run started.
#[async_trait]
pub trait Running: Send + Sync {
    /// Which engine it is.
    fn engine(&self) -> Engine;
    /// The full version it reports ("15.18", "7.0.15").
    fn version(&self) -> &str;
    /// `local`, `containers` or `embedded`.
    fn mode(&self) -> &'static str;
    /// Where it answers, as reached from this process.
    fn endpoint(&self) -> Endpoint;
    /// A program of the server's own installation (`pg_dump`, `redis-cli`, …), or an ordinary one (`dd`, `cat`,
    /// `sh`, `rm`, `mkdir`), run where the server runs, as the server's user, and for clients with everything set to reach it
    /// (PGHOST, PGPORT, PGUSER, PGPASSWORD; REDISCLI_AUTH plus `-h`/`-p` arguments): a caller names no host,
    /// port or password.
    fn tool(&self, program: &str) -> Command;
    /// The server's data directory, as its tools see it. Its tools can make more directories beside it, on the same
    /// file system: they belong to the server and are lost with it.
    fn data_dir(&self) -> PathBuf;
    /// A directory that its tools can read and write, as they see it: for dumps on their way in.
    fn staging(&self) -> PathBuf;
    /// Ends the server and starts it again on the same data and address, ready when this returns.
    async fn restart(&self, ctx: &Context, stop: Stop) -> Result<()>;
    /// Ends the server as a crash does, and leaves its data as they are. Only [`Running::restart`] starts it again.
    async fn halt(&self, _ctx: &Context) -> Result<()> {
        Err(Error::refused(format!(
            "{} cannot be halted",
            self.engine()
        )))
    }
    /// Ends the server as a crash does, puts a directory that lies beside its data in the data's place, and starts the
    /// server on that, at its own address, ready when this returns.
    async fn replace_data(&self, _ctx: &Context, prepared: &Path) -> Result<()> {
        Err(Error::refused(format!(
            "{} cannot be started on {}",
            self.engine(),
            prepared.display()
        )))
    }
    /// Ends the server for good and moves what it holds to `place`, which is not there yet and on the same file system; of
    /// those that [`Provisioner::copies`](crate::provision::Provisioner::copies). Where it holds something outside of its data
    /// directory (a tablespace), there is nothing to keep, and it goes on.
    async fn keep(&self, _ctx: &Context, _place: &Path) -> Result<Option<Held>> {
        Err(Error::refused(format!(
            "what {} of kind {} holds cannot be kept",
            self.engine(),
            self.mode()
        )))
    }
    /// The same server over TLS, for clients that insist on it.
    async fn tls(&self, _ctx: &Context) -> Result<Tls> {
        Err(Error::unavailable(format!(
            "this {} server does not answer over TLS",
            self.mode()
        ))
        .hint("use --services local, whose embedded store does"))
    }
    /// The disaster: kills the server and removes its data.
    async fn lose(&self, ctx: &Context) -> Result<()>;
    /// Ends the server and removes everything of it. Idempotent.
    async fn remove(&self, ctx: &Context) -> Result<()>;
}

/// Writes `input` to a file where the server runs, as the server's user.
pub async fn write_file(
    ctx: &Context,
    server: &dyn Running,
    path: &Path,
    input: Reading,
) -> Result<()> {
    let command = server
        .tool("dd")
        .arg(format!("of={}", path.display()))
        .args(["bs=1M", "iflag=fullblock", "status=none"]);
    command.feed(ctx, input).await?.ok().map(drop)
}

/// What redrill does with a started server, whatever its engine.
#[async_trait]
pub trait Service: Send + Sync {
    /// The server behind it.
    fn server(&self) -> Arc<dyn Running>;
    /// The database that the server's tools are pointed at; empty where an engine has none to name.
    fn database(&self) -> &str {
        ""
    }
    /// Creates what the component needs to exist (database, bucket) on an empty server.
    async fn create(&self, ctx: &Context) -> Result<()>;
    /// Fills the component from its seed: the same `seed` and `scale` give the same content.
    async fn seed(&self, ctx: &Context, scale: f64, seed: u64) -> Result<()>;
    /// Plants the run's nonce, and the canary where row values, keys and names go (`redrill.run` in Postgres,
    /// `redrill:run` in Redis, `redrill/run` in a bucket). Must survive any backup that is any good.
    async fn plant(&self, ctx: &Context, nonce: &str, canary: &str) -> Result<()>;
    /// Writes ledger entry `number` and returns the server's own coordinate once it is acknowledged as durable.
    async fn write(&self, ctx: &Context, number: u64) -> Result<String>;
    /// Objects that are there by the server's own count, apart from what an empty server has: tables, keys,
    /// objects. 0 means empty.
    async fn population(&self, ctx: &Context) -> Result<u64>;
    /// Reads everything: content, definitions, nonce, ledger. What cannot be read is noted, not an error, as long
    /// as the server answers.
    async fn observe(&self, ctx: &Context) -> Result<Observation>;
    /// Asks the smoke questions. An answer that cannot be had is an answer that does not hold.
    async fn smoke(&self, ctx: &Context, questions: &[Smoke]) -> Result<Vec<SmokeFact>>;
    /// What ties what came back to other servers; `None` where the engine has no such ties. `alone`: nothing but the copy is
    /// on its server, all of which is asked then.
    async fn ties(&self, _ctx: &Context, _alone: bool) -> Result<Option<TiesFact>> {
        Ok(None)
    }
    /// The symptom that users see after a strike: the server's own complaint; `None` when all seems well.
    async fn symptom(&self, ctx: &Context) -> Option<String>;
}
