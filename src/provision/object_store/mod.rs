//! The embedded S3 server: an object store in this process, on 127.0.0.1, with its own storage in a directory.
//!
//! The S3 protocol (routes, XML, SigV4, presigned URLs, chunked uploads) is the crate `s3s`; what objects are, where
//! they lie and what a listing shows is here. Objects, multipart uploads, conditional writes, checksums, ranges and
//! tags behave as in S3; versioning, object lock, policies, lifecycle and encryption answer `NotImplemented`.
//!
//! A `kill -9` at any moment loses nothing that was acknowledged and leaves nothing torn. A loss of power may, as
//! nothing is synced to the disk: this store holds disposable copies.
//!
//! Not here: the client side (see [`crate::service`]), and S3 servers in containers.

mod api;
mod body;
mod checksum;
mod condition;
mod listing;
mod log;
mod meta;
mod refusal;
mod server;
mod store;
mod uploads;

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use s3s::service::S3ServiceBuilder;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::api::{Api, KeyPair};
use self::store::Store;
use crate::error::{Doing, Result};

/// A running S3 server. Dropping it stops it as a crash would: what was acknowledged is kept, what was not is not.
pub struct ObjectStore {
    address: SocketAddr,
    store: Arc<Store>,
    stopping: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

impl ObjectStore {
    /// Starts a server on a free port of 127.0.0.1 that keeps everything in `dir`; the objects of an earlier server
    /// on the same directory are there again. Ready when this returns. Must be called within a tokio runtime.
    pub fn start(dir: PathBuf, access_key: &str, secret_key: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).doing("listen on 127.0.0.1")?;
        Self::start_on(listener, dir, access_key, secret_key)
    }

    /// The same on a listener that is bound already. Who keeps a clone of it ([`TcpListener::try_clone`]) can start
    /// the next server on the same port without a race: connections made in between wait.
    pub fn start_on(
        listener: TcpListener,
        dir: PathBuf,
        access_key: &str,
        secret_key: &str,
    ) -> Result<Self> {
        let doing = || format!("start the object store in {}", dir.display());
        let address = listener.local_addr().doing_with(doing)?;
        listener.set_nonblocking(true).doing_with(doing)?;
        let listener = tokio::net::TcpListener::from_std(listener).doing_with(doing)?;
        let store = Arc::new(Store::open(&dir).doing_with(doing)?);
        let mut service = S3ServiceBuilder::new(Api::new(store.clone(), access_key));
        service.set_auth(KeyPair::new(access_key, secret_key));
        let stopping = CancellationToken::new();
        let serving = tokio::spawn(server::serve(listener, service.build(), stopping.clone()));
        Ok(Self {
            address,
            store,
            stopping,
            serving: Some(serving),
        })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, lets requests in progress end under a deadline of five seconds, and gives the directory
    /// free.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        if let Some(serving) = self.serving.take() {
            // It panics only if a connection's task did, and then there is nothing left to wait for.
            serving.await.ok();
        }
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
        self.store.close();
    }
}

impl fmt::Debug for ObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectStore({})", self.address)
    }
}
