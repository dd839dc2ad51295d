//! The S3 server that facts are tried on: the one that `REDRILL_S3_ENDPOINT` (`http://host:port`),
//! `REDRILL_S3_ACCESS_KEY` and `REDRILL_S3_SECRET_KEY` name, else the embedded store, started once.

use std::sync::OnceLock;

use redrill::provision::object_store::ObjectStore;
use redrill::service::Endpoint;

const ACCESS_KEY: &str = "drillaccess";
const SECRET_KEY: &str = "drillsecret0123456789";

static ENDPOINT: OnceLock<Endpoint> = OnceLock::new();

/// A server while it is held.
pub struct Server(Option<Embedded>);

/// Fields are dropped in this order: the server before its runtime, and its directory last.
struct Embedded {
    store: ObjectStore,
    _runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl Server {
    /// Finds or starts the server. Once in a process.
    pub fn start() -> Self {
        let (server, endpoint) = match std::env::var("REDRILL_S3_ENDPOINT") {
            Ok(address) => (Self(None), given(&address)),
            Err(_) => {
                let embedded = start();
                let endpoint = Endpoint {
                    host: "127.0.0.1".to_owned(),
                    port: embedded.store.port(),
                    user: ACCESS_KEY.to_owned(),
                    password: SECRET_KEY.to_owned(),
                };
                (Self(Some(embedded)), endpoint)
            }
        };
        ENDPOINT.set(endpoint).expect("started once");
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

/// Where the server answers.
pub fn endpoint() -> Endpoint {
    ENDPOINT.get().expect("a server").clone()
}

fn given(address: &str) -> Endpoint {
    let get = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    let (host, port) = address.split_once(':').expect("host:port");
    Endpoint {
        host: host.to_owned(),
        port: port.parse().expect("a port"),
        user: get("REDRILL_S3_ACCESS_KEY"),
        password: get("REDRILL_S3_SECRET_KEY"),
    }
}

fn start() -> Embedded {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let store = runtime
        .block_on(async { ObjectStore::start(dir.path().join("store"), ACCESS_KEY, SECRET_KEY) });
    Embedded {
        store: store.expect("a server"),
        _runtime: runtime,
        _dir: dir,
    }
}
