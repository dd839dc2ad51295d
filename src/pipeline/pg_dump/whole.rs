//! A program's output as a stream that tells how the program ended.

use std::pin::Pin;
use std::task::{Context as Waker, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::process::ChildStdout;
use tokio::task::JoinHandle;

use crate::error::Result;
use crate::process::{Finished, Stream};

/// A program's output that ends in an error unless the program ends with 0.
pub enum Whole {
    /// Still printing.
    Output(ChildStdout, JoinHandle<Result<Finished>>),
    /// Has printed all; how it ended is not known yet.
    Ending(JoinHandle<Result<Finished>>),
    /// Has ended with 0, or its error was handed out.
    Ended,
}

impl Whole {
    /// The output of a program that has been started.
    pub fn of(stream: Stream) -> Self {
        let (stdout, ended) = stream.split();
        Self::Output(stdout, ended)
    }
}

impl AsyncRead for Whole {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Waker<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        loop {
            match &mut *self {
                Self::Output(stdout, _) => {
                    let before = buffer.filled().len();
                    ready!(Pin::new(stdout).poll_read(cx, buffer))?;
                    if buffer.filled().len() > before || buffer.remaining() == 0 {
                        return Poll::Ready(Ok(()));
                    }
                    if let Self::Output(_, ended) = std::mem::replace(&mut *self, Self::Ended) {
                        *self = Self::Ending(ended);
                    }
                }
                Self::Ending(ended) => {
                    let finished = ready!(Pin::new(ended).poll(cx));
                    *self = Self::Ended;
                    let finished = finished.map_err(std::io::Error::other)?;
                    return Poll::Ready(
                        finished
                            .and_then(Finished::ok)
                            .map(drop)
                            .map_err(std::io::Error::other),
                    );
                }
                Self::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}
