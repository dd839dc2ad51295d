//! Redis: filling it, writing the ledger, and reading it back key by key.
//!
//! What counts as content: every key of every database with its type, value and expiry (to the minute), streams
//! with their groups and pending entries, function libraries, and users. What does not: server settings (they
//! belong to the configuration, not to the data), encodings, and idle times. Redis 7.0 and newer, and its forks.
//!
//! Not here: backups of it (see [`crate::pipeline::redis`]).

pub mod catalogue;
pub mod client;
pub mod digest;
pub mod live;
pub mod observe;
mod odd;
pub mod persistence;
mod seed;
mod smoke;
mod stream;
mod value;

use std::sync::Arc;

use async_trait::async_trait;

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::evidence::{Observation, SmokeFact};
use crate::service::redis::client::{Batch, Client, Info, Reply, cmd, complaint, list, text};
use crate::service::{Endpoint, Running, Service};
use crate::suite::Smoke;

pub use odd::{LIBRARY, USER};

/// The hash that holds the nonce and the canary, in database 0.
pub const RUN: &str = "redrill:run";
/// What a ledger entry's key begins with, in database 0; its number follows.
pub const LEDGER: &str = "redrill:ledger:";
/// What the key begins with whose name holds the canary, in database 0.
pub const CANARY: &str = "redrill:canary:";
/// A key whose value stands in an RDB as it is: [`PROBE_VALUE`].
pub const PROBE: &str = "redrill:probe";
/// The probe's value: every printable ASCII character once. As no three characters repeat, Redis cannot compress
/// it, and it stands in an RDB byte by byte: a byte changed within it changes this value and nothing else.
pub const PROBE_VALUE: &str = "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~";

/// A Redis server as a component.
pub struct RedisService {
    server: Arc<dyn Running>,
    keys: u64,
}

/// Asks a server for a PONG: it is ready when this succeeds (a server that is still loading refuses).
pub async fn answers(ctx: &Context, endpoint: &Endpoint) -> Result<()> {
    Client::connect(ctx, endpoint)
        .await?
        .call(&cmd("PING"))
        .await
        .map(drop)
}

impl RedisService {
    /// The component on a started server; its seed makes so many keys at scale 1 (0 for none).
    pub fn new(server: Arc<dyn Running>, keys: u64) -> Self {
        Self { server, keys }
    }

    async fn connect(&self, ctx: &Context) -> Result<Client> {
        Client::connect(ctx, &self.server.endpoint()).await
    }
}

#[async_trait]
impl Service for RedisService {
    fn server(&self) -> Arc<dyn Running> {
        Arc::clone(&self.server)
    }

    async fn create(&self, ctx: &Context) -> Result<()> {
        // Databases are there by number; only see that the server can be read at all.
        let mut client = self.connect(ctx).await?;
        if client.has("PEXPIRETIME").await? {
            return Ok(());
        }
        Err(Error::unavailable(format!(
            "Redis {} is older than 7.0, and cannot be read back exactly",
            self.server.version()
        ))
        .hint("use Redis 7.0 or newer for the component"))
    }

    async fn seed(&self, ctx: &Context, scale: f64, seed: u64) -> Result<()> {
        if self.keys == 0 {
            return Ok(());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a number of keys is far below 2^52"
        )]
        let keys = (self.keys as f64 * scale).round().max(0.0) as u64;
        seed::seed(ctx, &mut self.connect(ctx).await?, keys, seed).await
    }

    async fn plant(&self, ctx: &Context, nonce: &str, canary: &str) -> Result<()> {
        let mut batch = Batch::with_capacity(3);
        batch.cmd("HSET").arg(RUN);
        batch.arg("nonce").arg(nonce).arg("canary").arg(canary);
        batch
            .cmd("SET")
            .arg(format!("{CANARY}{canary}"))
            .arg(canary);
        batch.cmd("SET").arg(PROBE).arg(PROBE_VALUE);
        self.connect(ctx)
            .await?
            .all(&batch)
            .await
            .map(drop)
            .doing("plant the marks of the run")
    }

    /// Durable as far as the server promises: with an append-only file and `appendfsync always` it is on disk,
    /// with `everysec` within a second; without, only the next save brings it there. The coordinate is the
    /// replication offset; a server that never had a replica keeps none, and then it is the last save's time and
    /// the changes since.
    async fn write(&self, ctx: &Context, number: u64) -> Result<String> {
        let mut batch = Batch::with_capacity(3);
        batch
            .cmd("SET")
            .arg(format!("{LEDGER}{number}"))
            .arg(number);
        batch.cmd("INFO").arg("replication");
        batch.cmd("INFO").arg("persistence");
        let mut replies = self
            .connect(ctx)
            .await?
            .all(&batch)
            .await
            .doing("write to the ledger")?
            .into_iter()
            .skip(1);
        let mut info =
            || -> Result<Info> { Ok(Info::parse(&text(replies.next().unwrap_or_default())?)) };
        let (replication, persistence) = (info()?, info()?);
        Ok(match replication.number("master_repl_offset") {
            Some(offset) if offset > 0 => format!("offset {offset}"),
            _ => format!(
                "save {} + {}",
                persistence.text("rdb_last_save_time"),
                persistence.text("rdb_changes_since_last_save")
            ),
        })
    }

    /// Keys of all databases and function libraries.
    async fn population(&self, ctx: &Context) -> Result<u64> {
        let mut client = self.connect(ctx).await?;
        let libraries = client.raw(cmd("FUNCTION").arg("LIST")).await?;
        let libraries = match &libraries {
            Reply::ServerError(_) => 0,
            _ => list(libraries)?.len() as u64,
        };
        Ok(seed::population(&mut client).await? + libraries)
    }

    /// [`Observation::bytes`] is `used_memory_dataset` of `INFO memory`: what the data takes, without the
    /// server's own overhead.
    async fn observe(&self, ctx: &Context) -> Result<Observation> {
        observe::observe(ctx, &mut self.connect(ctx).await?)
            .await
            .doing("read back redis")
    }

    async fn smoke(&self, ctx: &Context, questions: &[Smoke]) -> Result<Vec<SmokeFact>> {
        Ok(match self.connect(ctx).await {
            Ok(mut client) => smoke::ask(ctx, &mut client, questions).await,
            Err(error) => smoke::unanswered(questions, &error),
        })
    }

    async fn symptom(&self, ctx: &Context) -> Option<String> {
        match self.complaint(ctx).await {
            Ok(complaint) => complaint,
            Err(error) => Some(error.message()),
        }
    }
}

impl RedisService {
    async fn complaint(&self, ctx: &Context) -> Result<Option<String>> {
        let mut client = self.connect(ctx).await?;
        let pong = client.raw(&cmd("PING")).await?;
        if let Some(words) = complaint(&pong) {
            return Ok(Some(words));
        }
        let info = client.info("persistence").await?;
        let failing = ["rdb_last_bgsave_status", "aof_last_write_status"]
            .into_iter()
            .find(|field| !matches!(info.text(field), "ok" | ""));
        Ok(failing.map(|field| format!("{field}:{}", info.text(field))))
    }
}
