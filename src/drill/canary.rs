//! The canaries of a drill: every source whose WAL is archived names one as its replication host, and so do its backups.
//!
//! On the source the setting says nothing. A recovered copy that follows it calls the canary, as it would call the
//! production's primary. A server in a container cannot reach one: then there is none.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::context::Context;
use crate::error::Result;
use crate::provision::canary::Canary;
use crate::service::Running;
use crate::service::postgres::session::{Session, literal};

/// The canaries, by component.
#[derive(Debug, Default)]
pub(super) struct Canaries(Mutex<BTreeMap<String, Canary>>);

impl Canaries {
    /// Has a source name a new canary.
    pub async fn plant(&self, ctx: &Context, component: &str, source: &dyn Running) -> Result<()> {
        if source.mode() != "local" {
            return Ok(());
        }
        let canary = Canary::listen().await?;
        let host = format!(
            "host=127.0.0.1 port={} user=redrill application_name=canary connect_timeout=5",
            canary.port()
        );
        let set = format!("alter system set primary_conninfo = {}", literal(&host));
        let session = Session::open(ctx, source, "postgres").await?;
        session.run(ctx, &set).await?;
        session.run(ctx, "select pg_reload_conf()").await?;
        self.lock().insert(component.to_owned(), canary);
        Ok(())
    }

    /// How often a component's canary was called by now; `None` where there is none.
    pub fn calls(&self, component: &str) -> Option<u64> {
        self.lock().get(component).map(Canary::calls)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Canary>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
