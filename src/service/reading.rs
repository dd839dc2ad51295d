//! Streams that cannot end early unnoticed: a reading that is held to a size, a hash and a patience, and a
//! channel whose end must be said. An end of file that was not earned is an [`io::Error`].
//!
//! Not here: where the bytes come from or go to.

use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use crate::error::{Doing, Error, Result};
use crate::service::Reading;
use crate::sha256::Sha256;

/// A reading that ends in an error unless exactly the promised bytes came.
pub struct Checked {
    inner: Reading,
    what: String,
    bytes: u64,
    sha256: Option<(Sha256, String)>,
    patience: Option<Duration>,
    seen: u64,
    waiting: Option<Pin<Box<Sleep>>>,
    failed: Option<(io::ErrorKind, String)>,
}

impl Checked {
    /// Holds `inner` to `bytes` bytes; `what` names it in errors.
    pub fn new(inner: Reading, what: impl Into<String>, bytes: u64) -> Self {
        Self {
            inner,
            what: what.into(),
            bytes,
            sha256: None,
            patience: None,
            seen: 0,
            waiting: None,
            failed: None,
        }
    }

    /// Holds it to a SHA-256 too, in hex.
    #[must_use]
    pub fn sha256(mut self, expected: &str) -> Self {
        self.sha256 = Some((Sha256::new(), expected.to_owned()));
        self
    }

    /// Fails when nothing comes for this long. Time in which nobody reads does not count.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    fn fail(&mut self, kind: io::ErrorKind, message: String) -> io::Error {
        let message = format!("{}: {message}", self.what);
        self.failed = Some((kind, message.clone()));
        io::Error::new(kind, message)
    }

    fn at_end(&mut self) -> io::Result<()> {
        let (seen, bytes) = (self.seen, self.bytes);
        if seen < bytes {
            let message = format!("cut short: {seen} of {bytes} bytes");
            return Err(self.fail(io::ErrorKind::UnexpectedEof, message));
        }
        if let Some((hasher, expected)) = &self.sha256 {
            let found = hex::encode(hasher.clone().finish());
            if found != *expected {
                let message = format!("content changed: SHA-256 is {found}, not {expected}");
                return Err(self.fail(io::ErrorKind::InvalidData, message));
            }
        }
        Ok(())
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(patience) = self.patience else {
            return Poll::Pending;
        };
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(waiting.as_mut().poll(cx));
        let message = format!("no data for {}", humantime::format_duration(patience));
        Poll::Ready(Err(self.fail(io::ErrorKind::TimedOut, message)))
    }
}

impl AsyncRead for Checked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some((kind, message)) = &self.failed {
            return Poll::Ready(Err(io::Error::new(*kind, message.clone())));
        }
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Pending => return self.poll_waiting(cx),
            Poll::Ready(Err(error)) => {
                let (kind, message) = (error.kind(), crate::error::chain(&error));
                return Poll::Ready(Err(self.fail(kind, message)));
            }
            Poll::Ready(Ok(())) => self.waiting = None,
        }
        let new = &buf.filled()[before..];
        if new.is_empty() {
            return Poll::Ready(self.at_end());
        }
        self.seen += new.len() as u64;
        if let Some((hasher, _)) = &mut self.sha256 {
            hasher.update(new);
        }
        if self.seen > self.bytes {
            let message = format!("longer than the {} bytes it should have", self.bytes);
            buf.set_filled(before);
            return Poll::Ready(Err(self.fail(io::ErrorKind::InvalidData, message)));
        }
        Poll::Ready(Ok(()))
    }
}

enum Message {
    Data(Bytes),
    End,
    Failed(io::Error),
}

/// The writing side of a [`channel`].
pub struct Feeder(mpsc::Sender<Message>);

impl Feeder {
    /// Passes bytes on, waiting while the reader is behind; `false` when there is no reader any more.
    pub async fn send(&self, bytes: Bytes) -> bool {
        self.0.send(Message::Data(bytes)).await.is_ok()
    }

    /// The same from a thread that may block.
    pub fn send_blocking(&self, bytes: Bytes) -> bool {
        self.0.blocking_send(Message::Data(bytes)).is_ok()
    }

    /// [`Feeder::end`] from a thread that may block.
    pub fn end_blocking(self) {
        let _ = self.0.blocking_send(Message::End);
    }

    /// Says that everything has been sent.
    pub async fn end(self) {
        // A reader that is gone has its own error to tell.
        let _ = self.0.send(Message::End).await;
    }

    /// Ends the stream with an error.
    pub async fn fail(self, error: io::Error) {
        let _ = self.0.send(Message::Failed(error)).await;
    }
}

struct Fed {
    receiver: mpsc::Receiver<Message>,
    current: Bytes,
    ended: bool,
}

/// A bounded channel of bytes as a stream. A feeder that goes away without [`Feeder::end`], for whatever reason
/// (a panic, an abort), makes the reading end in an error and not in an end of file.
pub fn channel(chunks: usize) -> (Feeder, Reading) {
    let (sender, receiver) = mpsc::channel(chunks);
    let reading = Fed {
        receiver,
        current: Bytes::new(),
        ended: false,
    };
    (Feeder(sender), Box::new(reading))
}

impl AsyncRead for Fed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.current.is_empty() && !self.ended {
            match ready!(self.receiver.poll_recv(cx)) {
                Some(Message::Data(bytes)) => self.current = bytes,
                Some(Message::End) => self.ended = true,
                Some(Message::Failed(error)) => return Poll::Ready(Err(error)),
                None => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::BrokenPipe,
                        "the stream was given up before its end",
                    )));
                }
            }
        }
        let n = self.current.len().min(buf.remaining());
        buf.put_slice(&self.current.split_to(n));
        Poll::Ready(Ok(()))
    }
}

/// The most bytes a line may have: a key of 1 KiB, 2 KiB of metadata, headers, all escaped, and to spare.
const MAX_LINE: u64 = 1 << 20;

/// Values that come as one JSON object a line.
pub struct Lines<T> {
    reading: BufReader<Reading>,
    values: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    /// Reads them.
    pub fn new(reading: Reading) -> Self {
        Self {
            reading: BufReader::with_capacity(64 << 10, reading),
            values: PhantomData,
        }
    }

    /// The next one; `None` at the end. A line without its end is an error.
    pub async fn next(&mut self) -> Result<Option<T>> {
        let mut line = Vec::new();
        let mut limited = (&mut self.reading).take(MAX_LINE);
        if limited
            .read_until(b'\n', &mut line)
            .await
            .doing("read a line")?
            == 0
        {
            return Ok(None);
        }
        if line.last() != Some(&b'\n') {
            return Err(Error::failed("a line has no end"));
        }
        serde_json::from_slice(&line)
            .doing("understand a line")
            .map(Some)
    }
}

/// A value as such a line.
pub fn line(value: &impl Serialize) -> Result<Bytes> {
    let mut line = serde_json::to_vec(value).doing("write a line")?;
    line.push(b'\n');
    Ok(line.into())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn reading(bytes: &'static [u8]) -> Reading {
        Box::new(bytes)
    }

    #[tokio::test]
    async fn a_reading_that_ends_early_runs_long_or_changed_is_an_error_every_time() {
        let good = crate::sha256::hex_of(b"hello");
        for (bytes, sha, fails) in [
            (5, good.as_str(), false),
            (6, &good, true),
            (4, &good, true),
            (5, "00", true),
        ] {
            let mut checked = Checked::new(reading(b"hello"), "greeting", bytes).sha256(sha);
            let mut out = Vec::new();
            let result = checked.read_to_end(&mut out).await;
            assert_eq!(result.is_err(), fails, "{bytes} {sha}");
            let again = checked.read_to_end(&mut out).await;
            assert_eq!(again.is_err(), fails, "an error stays an error");
        }
    }

    #[tokio::test]
    async fn a_channel_that_is_dropped_without_its_end_is_an_error() {
        let (feeder, mut reading) = channel(2);
        feeder.send(Bytes::from_static(b"part")).await;
        drop(feeder);
        let mut out = Vec::new();
        let error = reading.read_to_end(&mut out).await.expect_err("no end");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_silent_stream_is_an_error_after_its_patience() {
        let (_feeder, reading) = channel(1);
        let mut checked = Checked::new(reading, "silent", 1).patience(Duration::from_millis(20));
        let error = checked.read_u8().await.expect_err("silent");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
