//! Getting servers: containers, local processes, the embedded object store. A suite never says which.
//!
//! Not here: what is done with a server once it is ready (see [`crate::service`]).

pub mod canary;
pub mod choose;
pub mod containers;
pub mod local;
mod locate;
pub mod object_store;
pub mod port;
pub(crate) mod ready;
pub mod reap;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::service::{Held, Running};
use crate::suite::Engine;

/// What is wanted of a server.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// A name for directories, containers and logs: the component or repository, and its role.
    pub name: String,
    /// The engine; [`Engine::Bucket`] means an S3 server.
    pub engine: Engine,
    /// The version wanted, as a prefix.
    pub version: Option<String>,
    /// Server settings beyond redrill's defaults.
    pub settings: BTreeMap<String, String>,
}

/// What Postgres lists among its settings, and only `initdb` decides: the bytes of a WAL segment, such as `16MB`.
const WAL_SEGMENT_SIZE: &str = "wal_segment_size";

impl Wanted {
    /// What `initdb` is told of the settings of a Postgres.
    fn initdb(&self) -> Vec<String> {
        let size = self.settings.get(WAL_SEGMENT_SIZE);
        // initdb counts in megabytes, and says what it takes.
        let told = size.map(|size| format!("--wal-segsize={}", size.trim_end_matches("MB")));
        told.into_iter().collect()
    }

    /// What the server of a Postgres is told: everything that is not `initdb`'s.
    fn server_settings(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.settings.iter();
        let own = all.filter(|(name, _)| *name != WAL_SEGMENT_SIZE);
        own.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Starts servers. Ready means that a real query was answered, under a deadline.
#[async_trait]
pub trait Provisioner: Send + Sync {
    /// `local` or `containers`.
    fn mode(&self) -> &'static str;
    /// Starts an empty server.
    async fn start(&self, ctx: &Context, wanted: &Wanted) -> Result<Arc<dyn Running>>;
    /// Whether what a server holds can be kept ([`Running::keep`]) and copied.
    fn copies(&self) -> bool {
        false
    }
    /// Starts a server with a copy of what another one held, which had the same version and settings.
    async fn start_on(
        &self,
        _ctx: &Context,
        wanted: &Wanted,
        _held: &Held,
    ) -> Result<Arc<dyn Running>> {
        Err(Error::refused(format!(
            "{} cannot begin with a copy in {}",
            wanted.name,
            self.mode()
        )))
    }
}

/// Settings that every Redis of redrill starts with: no snapshot of its own accord (a backup is asked for), and no
/// append-only file unless the component's settings turn it on.
const REDIS_SETTINGS: [(&str, &str); 4] = [
    ("save", "\"\""),
    ("appendonly", "no"),
    ("dbfilename", "dump.rdb"),
    ("daemonize", "no"),
];

/// A password for this run only, known to [`Context::secrets`].
fn fresh_secret(ctx: &Context, name: &str) -> String {
    let secret = hex::encode(rand::random::<[u8; 16]>());
    ctx.secrets.register(name, &secret);
    secret
}
