//! A repository that gives back damaged bytes for one object, or gives them late: what a bad disk, a hostile hand or a bad
//! network would do, without touching the repository itself.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::repository::{Place, Repository, Stored};
use crate::service::Reading;

/// What is done to the object's bytes on their way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The lowest bit of the byte at this offset is flipped.
    FlipBit(u64),
    /// Everything from this offset on is missing.
    CutAt(u64),
    /// Nothing comes for so long.
    Stall(Duration),
}

/// The repository, one object of which reads damaged.
pub struct Damaged {
    inner: Arc<dyn Repository>,
    key: String,
    damage: Damage,
}

impl Damaged {
    /// Damages what is read of `key`.
    pub fn new(inner: Arc<dyn Repository>, key: impl Into<String>, damage: Damage) -> Self {
        Self {
            inner,
            key: key.into(),
            damage,
        }
    }
}

/// Damages a stream.
pub fn damaged(input: Reading, damage: Damage) -> Reading {
    match damage {
        Damage::FlipBit(offset) => Box::new(Flip {
            input,
            offset,
            at: 0,
        }),
        Damage::CutAt(length) => Box::new(input.take(length)),
        Damage::Stall(time) => Box::new(Stalled {
            input,
            over: Box::pin(tokio::time::sleep(time)),
        }),
    }
}

struct Stalled {
    input: Reading,
    over: Pin<Box<tokio::time::Sleep>>,
}

impl AsyncRead for Stalled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        std::task::ready!(self.over.as_mut().poll(task));
        Pin::new(&mut self.input).poll_read(task, buffer)
    }
}

struct Flip {
    input: Reading,
    offset: u64,
    at: u64,
}

impl AsyncRead for Flip {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.input).poll_read(task, buffer);
        let read = buffer.filled().len() - before;
        if let Some(inside) = self
            .offset
            .checked_sub(self.at)
            .and_then(|n| usize::try_from(n).ok())
            && inside < read
        {
            buffer.filled_mut()[before + inside] ^= 1;
        }
        self.at += read as u64;
        polled
    }
}

#[async_trait]
impl Repository for Damaged {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn put(
        &self,
        _: &Context,
        _: &str,
        _: Reading,
        _: &BTreeMap<String, String>,
    ) -> Result<u64> {
        Err(Error::defect(
            "a damaged view of a repository is for reading",
        ))
    }

    async fn open(&self, ctx: &Context, key: &str) -> Result<(Stored, Reading)> {
        let (stored, input) = self.inner.open(ctx, key).await?;
        Ok(if key == self.key {
            (stored, damaged(input, self.damage))
        } else {
            (stored, input)
        })
    }

    async fn head(&self, ctx: &Context, key: &str) -> Result<Option<Stored>> {
        self.inner.head(ctx, key).await
    }

    async fn list(&self, ctx: &Context, prefix: &str) -> Result<Vec<Stored>> {
        self.inner.list(ctx, prefix).await
    }

    async fn unfinished(&self, ctx: &Context) -> Result<Vec<String>> {
        self.inner.unfinished(ctx).await
    }

    fn place(&self) -> Result<Place> {
        Err(Error::defect(
            "a damaged view of a repository is in no place",
        ))
    }

    async fn delete(&self, _: &Context, _: &[String]) -> Result<()> {
        Err(Error::defect(
            "a damaged view of a repository is for reading",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(damage: Damage) -> Vec<u8> {
        let mut out = Vec::new();
        damaged(Box::new(&[0u8; 10][..]), damage)
            .read_to_end(&mut out)
            .await
            .expect("read");
        out
    }

    #[tokio::test]
    async fn exactly_one_bit_is_flipped_or_exactly_the_tail_is_cut() {
        assert_eq!(
            read(Damage::FlipBit(7)).await,
            [0, 0, 0, 0, 0, 0, 0, 1, 0, 0]
        );
        assert_eq!(read(Damage::CutAt(3)).await, [0, 0, 0]);
    }
}
