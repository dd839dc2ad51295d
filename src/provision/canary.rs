//! A canary: a listener that nobody has a reason to call. What calls it was told its address by somebody else's settings.
//!
//! It answers nothing and counts. Not here: who is told the address, and what a call means.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::error::{Doing, Result};

/// How long to wait when no more connections can be accepted, before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A listener, until it is dropped.
#[derive(Debug)]
pub struct Canary {
    address: SocketAddr,
    calls: Arc<AtomicU64>,
    listening: JoinHandle<()>,
}

impl Canary {
    /// Listens on a free port of an address of this machine.
    pub async fn listen(at: Ipv4Addr) -> Result<Self> {
        let listener = TcpListener::bind((at, 0)).await;
        let listener = listener.doing_with(|| format!("listen on {at}"))?;
        let address = listener.local_addr().doing("ask for the port")?;
        let calls = Arc::new(AtomicU64::new(0));
        let counted = calls.clone();
        let listening = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    // Hung up on at once.
                    Ok(_) => counted.fetch_add(1, Ordering::Relaxed),
                    Err(_) => {
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
            }
        });
        Ok(Self {
            address,
            calls,
            listening,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it was called by now.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Forgets the calls until now, and says how many they were.
    pub fn forget(&self) -> u64 {
        self.calls.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_call_is_counted_and_none_is_answered() {
        use tokio::io::AsyncReadExt;
        let canary = Canary::listen(Ipv4Addr::LOCALHOST).await.expect("listens");
        assert_eq!(canary.calls(), 0);
        for calls in 1..=2 {
            let called = tokio::net::TcpStream::connect(canary.address());
            let mut called = called.await.expect("connected");
            let mut answer = Vec::new();
            // A reset, or the end: either way nothing is said.
            let _ = called.read_to_end(&mut answer).await;
            assert_eq!((answer.len(), canary.calls()), (0, calls));
        }
        assert_eq!((canary.forget(), canary.calls()), (2, 0));
    }
}
