//! Getting servers: containers, local processes, the embedded object store. A suite never says which.
//!
//! Not here: what is done with a server once it is ready (see [`crate::service`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::context::Context;
use crate::error::Result;
use crate::service::Running;
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

/// Starts servers. Ready means that a real query was answered, under a deadline.
#[async_trait]
pub trait Provisioner: Send + Sync {
    /// `local` or `containers`.
    fn mode(&self) -> &'static str;
    /// Starts an empty server.
    async fn start(&self, ctx: &Context, wanted: &Wanted) -> Result<Arc<dyn Running>>;
}
