//! The canaries of a drill: every source whose WAL is archived names one as its replication host, and so do its backups.
//!
//! On the source the setting says nothing. A recovered copy that follows it calls the canary, as it would call the
//! production's primary. A source that cannot reach its canary has none, and why is kept: silence would prove nothing.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use crate::context::Context;
use crate::error::Result;
use crate::provision::canary::Canary;
use crate::service::Running;
use crate::service::postgres::session::{Session, literal};

/// A canary, or why there is none.
type Placed = std::result::Result<Canary, String>;

/// The canaries, by component.
#[derive(Debug, Default)]
pub(super) struct Canaries(Mutex<BTreeMap<String, Placed>>);

impl Canaries {
    /// Has a source name a new canary.
    pub async fn plant(&self, ctx: &Context, component: &str, source: &dyn Running) -> Result<()> {
        let placed = placed(ctx, source).await?;
        if let Ok(canary) = &placed {
            let (host, port) = (canary.address().ip(), canary.address().port());
            let host = format!(
                "host={host} port={port} user=redrill application_name=canary connect_timeout=5"
            );
            let set = format!("alter system set primary_conninfo = {}", literal(&host));
            let session = Session::open(ctx, source, "postgres").await?;
            session.run(ctx, &set).await?;
            session.run(ctx, "select pg_reload_conf()").await?;
        }
        self.lock().insert(component.to_owned(), placed);
        Ok(())
    }

    /// How often a component's canary was called by now, or why it has none; `None` of one whose WAL is not archived.
    pub fn calls(&self, component: &str) -> Option<std::result::Result<u64, String>> {
        let placed = self.lock();
        let placed = placed.get(component)?.as_ref();
        Some(placed.map(Canary::calls).map_err(String::clone))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Placed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A canary that was called once, by the source, to see that it can be.
async fn placed(ctx: &Context, source: &dyn Running) -> Result<Placed> {
    let address = match source.mode() {
        "local" => Some(Ipv4Addr::LOCALHOST),
        _ => gateway(ctx, source).await?,
    };
    let Some(address) = address else {
        return Ok(Err("its container has no default route".to_owned()));
    };
    // An engine on another machine has a gateway there.
    let canary = match Canary::listen(address).await {
        Ok(canary) => canary,
        Err(error) => return Ok(Err(error.message())),
    };
    let call = source.tool("pg_isready").args(["--timeout=5", "--host"]);
    let port = canary.address().port();
    let call = call.arg(address.to_string()).arg(format!("--port={port}"));
    call.run(ctx).await?;
    Ok(match canary.forget() {
        0 => Err(format!("it does not reach {address}, this machine")),
        _ => Ok(canary),
    })
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
    use std::path::PathBuf;

    use async_trait::async_trait;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::context::RunId;
    use crate::process::Command;
    use crate::service::{Endpoint, Stop};
    use crate::suite::Engine;

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

    /// A container, of which every program is a script.
    struct Container(&'static str);

    #[async_trait]
    impl Running for Container {
        fn engine(&self) -> Engine {
            Engine::Postgres
        }
        fn version(&self) -> &str {
            "15.18"
        }
        fn mode(&self) -> &'static str {
            "containers"
        }
        fn endpoint(&self) -> Endpoint {
            Endpoint {
                host: String::new(),
                port: 0,
                user: String::new(),
                password: String::new(),
            }
        }
        fn tool(&self, program: &str) -> Command {
            Command::new("sh").args(["-c", self.0, program])
        }
        fn data_dir(&self) -> PathBuf {
            PathBuf::new()
        }
        fn staging(&self) -> PathBuf {
            PathBuf::new()
        }
        async fn restart(&self, _: &Context, _: Stop) -> Result<()> {
            Ok(())
        }
        async fn lose(&self, _: &Context) -> Result<()> {
            Ok(())
        }
        async fn remove(&self, _: &Context) -> Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_source_that_does_not_reach_its_canary_has_none_and_that_is_known() {
        let dir = tempfile::tempdir().expect("a directory");
        let (place, logs) = (dir.path().join("drill"), dir.path().join("logs"));
        let run = RunId::fresh(chrono::Utc::now());
        let ctx = Context::new(run, place, logs, CancellationToken::new()).expect("a context");
        // The route is one to this machine itself, in its own byte order.
        const ROUTE: &str = r#"[ "$0" = pg_isready ] || printf 'eth0\t00000000\t0100007F\t0003\n'"#;
        const NONE: &str = "true";
        let canaries = Canaries::default();
        for (script, why) in [(ROUTE, "it does not reach"), (NONE, "no default route")] {
            let planted = canaries.plant(&ctx, "db", &Container(script)).await;
            planted.expect("nothing is amiss with the source");
            let calls = canaries.calls("db").expect("it archives");
            let said = calls.expect_err("it has none");
            assert!(cfg!(target_endian = "big") || said.contains(why), "{said}");
        }
        assert_eq!(canaries.calls("cache"), None);
        let canary = Canary::listen(Ipv4Addr::LOCALHOST).await;
        let placed = canary.map_err(|error| error.message());
        canaries.lock().insert("db".to_owned(), placed);
        assert_eq!(canaries.calls("db"), Some(Ok(0)));
    }
}
