//! The embedded S3 server as a running service: in this process, on its own port and directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::process::Command;
use crate::provision::object_store::ObjectStore;
use crate::provision::{Wanted, fresh_secret, ready};
use crate::service::{Endpoint, Held, Running, Stop, Tls, s3};
use crate::suite::Engine;

use super::tls::TlsFront;
use super::{copy, keep};

const ACCESS_KEY: &str = "redrill";

struct Embedded {
    dir: PathBuf,
    secret: String,
    port: Arc<AtomicU16>,
    store: Mutex<Option<ObjectStore>>,
    front: Mutex<Option<TlsFront>>,
}

/// Starts an empty store, or one with a copy of what another held.
pub(super) async fn start(
    ctx: &Context,
    wanted: &Wanted,
    held: Option<&Held>,
) -> Result<Arc<dyn Running>> {
    if let Some(version) = &wanted.version {
        return Err(
            Error::unavailable(format!("the embedded S3 store has no version {version}"))
                .hint("leave `version` out of the bucket component, or use --services containers"),
        );
    }
    let dir = ctx.subdir(&format!("{}-{}", wanted.name, ctx.next_number()))?;
    if let Some(held) = held {
        copy(ctx, held, &dir, None).await?;
    }
    let secret = fresh_secret(ctx, &format!("secret key of {}", wanted.name));
    let server = Embedded {
        dir,
        secret,
        port: Arc::default(),
        store: Mutex::new(None),
        front: Mutex::new(None),
    };
    server.launch(ctx).await?;
    Ok(Arc::new(server))
}

impl Embedded {
    async fn launch(&self, ctx: &Context) -> Result<()> {
        let store = ObjectStore::start(self.dir.clone(), ACCESS_KEY, &self.secret)?;
        self.port.store(store.port(), Ordering::Relaxed);
        *self.store.lock().await = Some(store);
        let endpoint = self.endpoint();
        ready::until(
            ctx,
            "the embedded S3 store",
            ready::deadline(),
            ready::lasting,
            || s3::answers(ctx, &endpoint),
        )
        .await
    }

    async fn end(&self) {
        if let Some(store) = self.store.lock().await.take() {
            store.stop().await;
        }
    }
}

#[async_trait]
impl Running for Embedded {
    fn engine(&self) -> Engine {
        Engine::Bucket
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn mode(&self) -> &'static str {
        "embedded"
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint {
            host: "127.0.0.1".to_owned(),
            port: self.port.load(Ordering::Relaxed),
            user: ACCESS_KEY.to_owned(),
            password: self.secret.clone(),
        }
    }

    fn tool(&self, program: &str) -> Command {
        Command::new(program)
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.clone()
    }

    fn staging(&self) -> PathBuf {
        self.dir.clone()
    }

    async fn restart(&self, ctx: &Context, _stop: Stop) -> Result<()> {
        self.end().await;
        self.launch(ctx).await
    }

    async fn tls(&self, _ctx: &Context) -> Result<Tls> {
        let mut front = self.front.lock().await;
        if let Some(front) = &*front {
            return Ok(front.tls.clone());
        }
        let started = TlsFront::start(self.port.clone()).await;
        let started = started.doing("answer over TLS too")?;
        Ok(front.insert(started).tls.clone())
    }

    async fn keep(&self, _ctx: &Context, place: &Path) -> Result<Option<Held>> {
        self.front.lock().await.take();
        self.end().await;
        keep(&self.dir, place).map(Some)
    }

    async fn lose(&self, _ctx: &Context) -> Result<()> {
        self.front.lock().await.take();
        self.end().await;
        std::fs::remove_dir_all(&self.dir).doing_with(|| format!("remove {}", self.dir.display()))
    }

    async fn remove(&self, _ctx: &Context) -> Result<()> {
        self.front.lock().await.take();
        self.end().await;
        match std::fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).doing_with(|| format!("remove {}", self.dir.display()))
            }
            _ => Ok(()),
        }
    }
}
