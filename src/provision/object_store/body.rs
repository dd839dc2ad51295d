//! Bodies on their way in and out: streamed in bounded memory, hashed while they are written.
//!
//! One batch is written on a blocking thread while the next one arrives, so the network and the disk work at the
//! same time; a small body needs a single hop. Not here: where a finished body goes (see [`super::store`]).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::StreamingBlob;
use s3s::{Body, S3Result, s3_error};
use tempfile::NamedTempFile;
use tokio::task::JoinHandle;

use super::checksum::{Algorithm, Checksum, Hasher};
use super::refusal;
use super::store::Opened;

/// Bytes written, or read, by one hop to a blocking thread.
const BATCH: usize = 1 << 20;
/// A body up to this size is kept in its bucket's log, and sent at once.
const SMALL: u64 = 256 << 10;
/// The largest body of one request, as in S3: 5 GiB.
pub const MAX_BODY: u64 = 5 << 30;

/// Runs blocking work.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> S3Result<T> + Send + 'static,
) -> S3Result<T> {
    work()
}

/// A body being written: held while it is small, then in a temporary file, which vanishes unless it is committed.
pub struct Sink {
    tmp: PathBuf,
    kept: Kept,
    size: u64,
    md5: Option<Md5>,
    checksum: Option<Hasher>,
}

/// A whole body.
pub enum Kept {
    /// One of at most [`SMALL`] bytes.
    Small(Vec<u8>),
    /// A larger one.
    Large(NamedTempFile),
}

impl Kept {
    /// The body in a file.
    pub fn into_file(self, tmp: &Path) -> io::Result<NamedTempFile> {
        match self {
            Self::Large(file) => Ok(file),
            Self::Small(bytes) => {
                let mut file = NamedTempFile::new_in(tmp)?;
                file.write_all(&bytes)?;
                Ok(file)
            }
        }
    }
}

/// A body that is written down.
pub struct Written {
    /// The bytes.
    pub kept: Kept,
    /// Its size in bytes.
    pub size: u64,
    /// Its MD5; zero when none was asked for.
    pub md5: [u8; 16],
    /// Its checksum, when one was asked for.
    pub checksum: Option<Checksum>,
}

impl Sink {
    /// A sink that computes the MD5, and the given checksum.
    pub fn new(tmp: &Path, algorithm: Option<Algorithm>) -> Self {
        Self {
            tmp: tmp.to_owned(),
            kept: Kept::Small(Vec::new()),
            size: 0,
            md5: Some(Md5::new()),
            checksum: algorithm.map(Hasher::new),
        }
    }

    /// The same without the MD5.
    #[must_use]
    pub fn without_md5(mut self) -> Self {
        self.md5 = None;
        self
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(checksum) = &mut self.checksum {
            checksum.update(bytes);
        }
        self.size += bytes.len() as u64;
        if let Kept::Small(held) = &mut self.kept
            && self.size <= SMALL
        {
            held.extend_from_slice(bytes);
            return Ok(());
        }
        self.file()?.write_all(bytes)
    }

    /// Appends a part of an object; inside the kernel where nothing has to be computed.
    pub fn copy(&mut self, from: &Opened, start: u64, length: u64) -> io::Result<()> {
        if length <= SMALL {
            return self.write(&read_at(&from.file, from.start + start, length as usize)?);
        }
        // A file of its own, as only small bodies share one.
        let mut file = &*from.file;
        io::Seek::seek(&mut file, io::SeekFrom::Start(from.start + start))?;
        let mut part = file.take(length);
        if self.md5.is_none() && self.checksum.is_none() {
            let copied = io::copy(&mut part, self.file()?)?;
            self.size += copied;
            return whole(copied, length);
        }
        let mut copied = 0;
        let mut buffer = vec![0; length.min(BATCH as u64) as usize];
        loop {
            let count = part.read(&mut buffer)?;
            if count == 0 {
                return whole(copied, length);
            }
            copied += count as u64;
            self.write(&buffer[..count])?;
        }
    }

    /// Ends the body.
    pub fn finish(self) -> Written {
        Written {
            kept: self.kept,
            size: self.size,
            md5: self.md5.map(|md5| md5.finalize()).unwrap_or_default(),
            checksum: self.checksum.map(Hasher::finish),
        }
    }

    /// The temporary file, with what was held until now in it.
    fn file(&mut self) -> io::Result<&mut File> {
        if let Kept::Small(held) = &self.kept {
            let mut file = NamedTempFile::new_in(&self.tmp)?;
            file.write_all(held)?;
            self.kept = Kept::Large(file);
        }
        match &mut self.kept {
            Kept::Large(file) => Ok(file.as_file_mut()),
            Kept::Small(_) => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

fn whole(copied: u64, length: u64) -> io::Result<()> {
    if copied == length {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// A body that has arrived; its last batch is still to be written, by the thread that also commits it.
pub struct Received {
    sink: Box<Sink>,
    rest: Vec<Bytes>,
}

impl Received {
    /// Writes the rest down. Blocks.
    pub fn finish(mut self) -> S3Result<Written> {
        self.rest
            .iter()
            .try_for_each(|chunk| self.sink.write(chunk))
            .map_err(refusal::disk)?;
        Ok(self.sink.finish())
    }
}

/// Receives a body to its end and holds it against its announced length.
pub async fn receive(
    tmp: &Path,
    body: Option<StreamingBlob>,
    announced: Option<i64>,
    algorithm: Option<Algorithm>,
) -> S3Result<Received> {
    if announced.is_some_and(|length| length as u64 > MAX_BODY) {
        return Err(s3_error!(EntityTooLarge, "a body has at most 5 GiB"));
    }
    let mut body = body;
    let mut received = 0;
    let mut writing = Writing::Idle(Box::new(Sink::new(tmp, algorithm)));
    loop {
        let (batch, ended) = next_batch(body.as_mut()).await?;
        received += batch.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
        if received > MAX_BODY {
            return Err(s3_error!(EntityTooLarge, "a body has at most 5 GiB"));
        }
        let sink = writing.idle().await?;
        if ended {
            if announced.is_some_and(|length| length as u64 != received) {
                return Err(s3_error!(
                    IncompleteBody,
                    "the number of bytes does not match the Content-Length header"
                ));
            }
            return Ok(Received { sink, rest: batch });
        }
        writing = Writing::Busy(tokio::task::spawn_blocking(move || {
            let mut sink = sink;
            batch.iter().try_for_each(|chunk| sink.write(chunk))?;
            Ok(sink)
        }));
    }
}

enum Writing {
    Idle(Box<Sink>),
    Busy(JoinHandle<io::Result<Box<Sink>>>),
}

impl Writing {
    async fn idle(self) -> S3Result<Box<Sink>> {
        match self {
            Self::Idle(sink) => Ok(sink),
            Self::Busy(job) => job
                .await
                .map_err(|error| s3_error!(InternalError, "work was lost: {error}"))?
                .map_err(refusal::disk),
        }
    }
}

/// Chunks of about one batch, and whether the body has ended with them.
async fn next_batch(body: Option<&mut StreamingBlob>) -> S3Result<(Vec<Bytes>, bool)> {
    let mut chunks = Vec::new();
    let Some(body) = body else {
        return Ok((chunks, true));
    };
    let mut size = 0;
    while size < BATCH {
        match body.next().await {
            None => return Ok((chunks, true)),
            Some(Ok(chunk)) => {
                size += chunk.len();
                chunks.push(chunk);
            }
            Some(Err(error)) => return Err(refusal::body(&*error)),
        }
    }
    Ok((chunks, false))
}

/// Makes a part of an object ready to be sent: a small one is read at once. Blocks.
pub fn send(from: &Opened, start: u64, length: u64) -> S3Result<StreamingBlob> {
    let (file, start) = (from.file.clone(), from.start + start);
    if length <= SMALL {
        let bytes = read_at(&file, start, length as usize).map_err(refusal::disk)?;
        return Ok(StreamingBlob::from(Body::from(bytes)));
    }
    let chunks = stream::try_unfold((file, start, length), |(file, at, left)| async move {
        if left == 0 {
            return Ok::<_, io::Error>(None);
        }
        let count = left.min(BATCH as u64);
        let reader = Arc::clone(&file);
        let chunk = tokio::task::spawn_blocking(move || read_at(&reader, at, count as usize))
            .await
            .map_err(io::Error::other)??;
        Ok(Some((chunk, (file, at + count, left - count))))
    });
    Ok(StreamingBlob::wrap(chunks))
}

fn read_at(file: &File, start: u64, length: usize) -> io::Result<Bytes> {
    let mut bytes = BytesMut::zeroed(length);
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes.freeze())
}
