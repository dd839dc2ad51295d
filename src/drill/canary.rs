//! The canaries of a drill: every source whose WAL is archived names one as its replication host, and so do its backups.
//!
//! On the source the setting says nothing. A recovered copy that follows it calls the canary, as it would call the
//! production's primary. A source that cannot reach its canary has none: silence would prove nothing.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use futures::future::OptionFuture;

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
        let address = match source.mode() {
            "local" => Some(Ipv4Addr::LOCALHOST),
            _ => gateway(ctx, source).await?,
        };
        // An engine on another machine has a gateway there.
        let Some(Ok(canary)) = OptionFuture::from(address.map(Canary::listen)).await else {
            return Ok(());
        };
        let (host, port) = (canary.address().ip(), canary.address().port());
        let call = source.tool("pg_isready").args(["--timeout=5", "--host"]);
        let call = call.arg(host.to_string()).arg(format!("--port={port}"));
        call.run(ctx).await?;
        if canary.forget() == 0 {
            return Ok(());
        }
        let host = format!(
            "host={host} port={port} user=redrill application_name=canary connect_timeout=5"
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

/// The address by which a container reaches the machine that it runs on: that of its default route.
async fn gateway(ctx: &Context, source: &dyn Running) -> Result<Option<Ipv4Addr>> {
    let routes = source.tool("cat").arg("/proc/net/route").run(ctx).await?;
    Ok(default_route(&routes.ok()?.text()))
}

/// Of `/proc/net/route`: its third column, in hexadecimal and the machine's byte order, where the second is 0.
fn default_route(routes: &str) -> Option<Ipv4Addr> {
    routes.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (to, by) = (words.next()?, words.next()?);
        let by = u32::from_str_radix(by, 16).ok()?;
        (to == "00000000").then(|| Ipv4Addr::from(by.to_ne_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_reaches_its_machine_by_its_default_route() {
        let routes = "Iface\tDestination\tGateway \tFlags\neth0\t000011AC\t00000000\t0001\n\
                      eth0\t00000000\t010011AC\t0003\n";
        if cfg!(target_endian = "little") {
            let expected = Ipv4Addr::new(172, 17, 0, 1);
            assert_eq!(default_route(routes), Some(expected));
        }
        assert_eq!(default_route(""), None);
    }
}
