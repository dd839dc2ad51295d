//! The network between redrill and a server, which can be cut: every connection goes through a port of this machine, is
//! broken when it is cut, and so is every one that is tried until it is mended.
//!
//! Not here: what is spoken through it, and when it is cut (see [`crate::drill`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::error::{Doing, Result};

/// How much is handed on at once.
const CHUNK: usize = 64 * 1024;

/// A way to a server that can be cut.
pub struct Link {
    port: u16,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

struct State {
    to: (String, u16),
    /// The request before which the network is cut.
    before: Mutex<Option<&'static str>>,
    is_cut: watch::Sender<bool>,
    is_spent: AtomicBool,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Link {
    /// A way to `host` and `port`, from 127.0.0.1.
    pub async fn to(host: &str, port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0));
        let listener = listener.await.doing("listen on 127.0.0.1")?;
        let own = listener.local_addr().doing("ask for the port")?.port();
        let state = Arc::new(State {
            to: (host.to_owned(), port),
            before: Mutex::default(),
            is_cut: watch::Sender::new(false),
            is_spent: AtomicBool::new(false),
        });
        let serving = tokio::spawn(serve(listener, state.clone()));
        Ok(Self {
            port: own,
            state,
            serving,
        })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts it before the next HTTP request to read a path with this in it.
    pub fn cut_before(&self, path: &'static str) {
        *self.state.before() = Some(path);
    }

    /// Whether it was cut already, even if it was mended since.
    pub fn is_spent(&self) -> bool {
        self.state.is_spent.load(Ordering::Relaxed)
    }

    /// Whether it is cut.
    pub fn is_cut(&self) -> bool {
        *self.state.is_cut.borrow()
    }

    /// Lets everything through again, whether it was cut or was to be.
    pub fn mend(&self) {
        *self.state.before() = None;
        self.state.is_cut.send_replace(false);
    }
}

impl State {
    fn before(&self) -> std::sync::MutexGuard<'_, Option<&'static str>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_awaited(&self, request: &[u8]) -> bool {
        let line = request
            .split(|byte| *byte == b'\r')
            .next()
            .unwrap_or(request);
        let path = *self.before();
        let found = |path: &str| memchr::memmem::find(line, path.as_bytes()).is_some();
        line.starts_with(b"GET ") && path.is_some_and(found)
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(hand_on(stream, state.clone()));
            }
            else => return,
        }
    }
}

/// A connection that breaks is its client's to notice.
async fn hand_on(mut near: TcpStream, state: Arc<State>) -> std::io::Result<()> {
    let mut cut = state.is_cut.subscribe();
    if *cut.borrow_and_update() {
        return Ok(());
    }
    near.set_nodelay(true)?;
    let mut far = TcpStream::connect((state.to.0.as_str(), state.to.1)).await?;
    far.set_nodelay(true)?;
    let (mut from_near, mut to_near) = near.split();
    let (mut from_far, mut to_far) = far.split();
    let asking = async {
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = from_near.read(&mut chunk).await?;
            if read == 0 {
                return to_far.shutdown().await;
            }
            if state.is_awaited(&chunk[..read]) {
                state.is_spent.store(true, Ordering::Relaxed);
                state.is_cut.send_replace(true);
                return Ok(());
            }
            to_far.write_all(&chunk[..read]).await?;
        }
    };
    let both = async {
        let answering = tokio::io::copy(&mut from_far, &mut to_near);
        tokio::try_join!(asking, answering).map(drop)
    };
    tokio::select! {
        _ = cut.changed() => Ok(()),
        ended = both => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every request with its own first line.
    async fn echo() -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("listens");
        let port = listener.local_addr().expect("a port").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut chunk = [0; 256];
                    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
                        if stream.write_all(&chunk[..read]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        port
    }

    async fn ask(stream: &mut TcpStream, request: &str) -> Option<String> {
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut chunk = [0; 256];
        let read = stream
            .read(&mut chunk)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        Some(String::from_utf8_lossy(&chunk[..read]).into_owned())
    }

    #[tokio::test]
    async fn everything_is_broken_from_the_awaited_request_on_until_it_is_mended() {
        let link = Link::to("127.0.0.1", echo().await).await.expect("a way");
        let connect = || TcpStream::connect(("127.0.0.1", link.port()));
        let mut stream = connect().await.expect("connects");
        let mut other = connect().await.expect("connects");
        link.cut_before("/wal/");
        for request in [
            "HEAD /b/wal/1 HTTP/1.1\r\n",
            "GET /b/base HTTP/1.1\r\nx: /wal/",
        ] {
            assert_eq!(ask(&mut stream, request).await.as_deref(), Some(request));
        }
        assert!(!link.is_cut());
        assert_eq!(ask(&mut stream, "GET /b/wal/1 HTTP/1.1\r\n").await, None);
        assert!(link.is_cut());
        assert_eq!(ask(&mut other, "HEAD /b HTTP/1.1\r\n").await, None);
        let mut later = connect().await.expect("connects");
        assert_eq!(ask(&mut later, "HEAD /b HTTP/1.1\r\n").await, None);
        link.mend();
        let mut later = connect().await.expect("connects");
        let said = ask(&mut later, "HEAD /b HTTP/1.1\r\n").await;
        assert_eq!(said.as_deref(), Some("HEAD /b HTTP/1.1\r\n"));
    }
}
