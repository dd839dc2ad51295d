//! The moving parts of an artifact's stream: encrypt, hash and store in several repositories at once; decrypt.
//! A few chunks are held and never a whole file. Every stream that does not come whole ends in an error.
//!
//! Encryption is age (age-encryption.org/v1). Not here: names, manifests (see [`crate::pipeline::artifact`]).

use std::collections::BTreeMap;
use std::io;
use std::iter;
use std::sync::Arc;

use age::x25519::{Identity, Recipient};
use bytes::BytesMut;
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::io::{AsyncRead, AsyncReadExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};
use tokio_util::task::AbortOnDropHandle;

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::evidence::Digest;
use crate::repository::Repository;
use crate::service::Reading;
use crate::service::reading::{Checked, Feeder, channel};
use crate::sha256::Sha256;

/// Bytes moved at once: age's own chunk.
const CHUNK: usize = 64 << 10;
/// Files up to this many bytes are encrypted and decrypted in one go.
const SMALL: u64 = 256 << 10;
/// What is said of a key that opens nothing.
pub const WRONG_KEY: &str = "wrong key: it is encrypted to another recipient";
/// Bytes that may wait between two stages.
const PIPE: usize = 4 * CHUNK;

/// Counts and hashes what passes.
#[derive(Default)]
pub struct Sums {
    bytes: u64,
    hasher: Sha256,
    known: Option<Digest>,
}

impl Sums {
    /// Of bytes whose hash may be known already, and is then not computed again.
    fn beside(known: Option<Digest>) -> Self {
        Self {
            known,
            ..Self::default()
        }
    }

    /// Takes note of bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if self.known.is_none() {
            self.hasher.update(bytes);
        }
    }

    /// Bytes and their SHA-256.
    pub fn digest(self) -> (u64, Digest) {
        let hash = || Digest::of(&self.hasher.finish());
        (self.bytes, self.known.unwrap_or_else(hash))
    }

    /// Bytes and their SHA-256 in hex.
    pub fn finish(self) -> (u64, String) {
        let (bytes, digest) = self.digest();
        (bytes, digest.to_string())
    }

    /// Reads a stream to its end.
    pub async fn over(mut reading: Reading) -> io::Result<Self> {
        let mut sums = Self::default();
        let mut chunk = vec![0; CHUNK];
        loop {
            match reading.read(&mut chunk).await? {
                0 => return Ok(sums),
                n => sums.update(&chunk[..n]),
            }
        }
    }

    /// Reads a stream to its end, and gives back its bytes and SHA-256 in hex.
    pub async fn of(reading: Reading) -> io::Result<(u64, String)> {
        Ok(Self::over(reading).await?.finish())
    }
}

/// What was stored.
pub struct Kept {
    /// Stored bytes and their SHA-256 in hex.
    pub stored: (u64, String),
    /// The same before encryption.
    pub plain: (u64, String),
}

/// What a stream is stored as.
#[derive(Clone, Copy)]
pub struct As<'a> {
    /// Its key.
    pub key: &'a str,
    /// Its user metadata.
    pub metadata: &'a BTreeMap<String, String>,
    /// Refused where something is there by that key.
    pub new: bool,
}

/// Streams `body` into every repository at once, encrypted when there is a recipient. On any error the puts are failed, so that
/// nothing is stored by that name. The SHA-256 of `body` is not computed again where it is `known`.
pub async fn store(
    ctx: &Context,
    repositories: &[Arc<dyn Repository>],
    named: As<'_>,
    body: Reading,
    known: Option<Digest>,
    recipient: Option<&Recipient>,
) -> Result<Kept> {
    let As { key, metadata, new } = named;
    let mut feeders = Vec::new();
    let mut puts = Vec::new();
    for repository in repositories {
        let (feeder, reading) = channel(PIPE / CHUNK);
        let (repository, ctx) = (repository.clone(), ctx.clone());
        let (key, metadata) = (key.to_owned(), metadata.clone());
        feeders.push(feeder);
        puts.push(spawn(async move {
            match new {
                true => repository.put_new(&ctx, &key, reading, &metadata).await,
                false => repository.put(&ctx, &key, reading, &metadata).await,
            }
        }));
    }
    let pumped = tokio::select! {
        () = ctx.cancel.cancelled() => Err(Stopped::Source(Error::interrupted())),
        pumped = pump(body, known, recipient, &feeders) => pumped,
    };
    match &pumped {
        Ok(_) => futures::future::join_all(feeders.into_iter().map(Feeder::end)).await,
        Err(stopped) => {
            let words = match stopped {
                Stopped::Source(error) => error.message(),
                Stopped::Repository => "another repository failed".to_owned(),
            };
            let fail = |feeder: Feeder| feeder.fail(io::Error::other(words.clone()));
            futures::future::join_all(feeders.into_iter().map(fail)).await
        }
    };
    let mut failures = Vec::new();
    for put in puts {
        let done = put.await.doing("wait for a repository")?;
        match (done, &pumped) {
            (Ok(bytes), Ok(kept)) if bytes != kept.stored.0 => {
                failures.push(Error::failed(format!(
                    "store {key}: a repository kept {bytes} of {} bytes",
                    kept.stored.0
                )))
            }
            (Ok(_), _) => {}
            (Err(error), _) => failures.push(error),
        }
    }
    match pumped {
        Err(Stopped::Source(error)) => Err(error.doing(format!("store {key}"))),
        // The one that failed by itself, not those that were failed because of it.
        Err(Stopped::Repository) => {
            let own = |error: &Error| !error.message().contains("another repository failed");
            let at = failures.iter().position(own).unwrap_or(0);
            match failures.into_iter().nth(at) {
                Some(error) => Err(error),
                None => Err(Error::failed(format!(
                    "store {key}: a repository stopped early"
                ))),
            }
        }
        Ok(kept) => match failures.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(kept),
        },
    }
}

enum Stopped {
    Source(Error),
    Repository,
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Source(error)
    }
}

async fn pump(
    body: Reading,
    known: Option<Digest>,
    recipient: Option<&Recipient>,
    feeders: &[Feeder],
) -> std::result::Result<Kept, Stopped> {
    let (whole, body) = take_small(body).await.doing("read what is backed up")?;
    if let (Some(plain), Some(recipient)) = (&whole, recipient) {
        return pump_small(plain, known, recipient, feeders).await;
    }
    let body: Reading = match whole {
        Some(bytes) => Box::new(io::Cursor::new(bytes)),
        None => body,
    };
    let (mut source, encryption): (Reading, _) = match recipient {
        None => (body, None),
        Some(recipient) => {
            let plain = Sums::beside(known);
            let (near, far) = tokio::io::duplex(PIPE);
            let task = spawn(encrypt(recipient.clone(), body, plain, near));
            (Box::new(far), Some(task))
        }
    };
    let mut sums = Sums::default();
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let read = source.read_buf(&mut chunk).await;
        if read.doing("read what is backed up")? == 0 {
            break;
        }
        sums.update(&chunk);
        let chunk = chunk.freeze();
        for feeder in feeders {
            if !feeder.send(chunk.clone()).await {
                return Err(Stopped::Repository);
            }
        }
    }
    let stored = sums.finish();
    let plain = match encryption {
        None => stored.clone(),
        Some(task) => task.await.doing("wait for the encryption")??,
    };
    Ok(Kept { stored, plain })
}

/// The whole of a small stream; of a larger one nothing, and the stream as it was.
async fn take_small(mut body: Reading) -> io::Result<(Option<Vec<u8>>, Reading)> {
    let mut start = Vec::new();
    (&mut body).take(SMALL + 1).read_to_end(&mut start).await?;
    Ok(if start.len() as u64 <= SMALL {
        (Some(start), body)
    } else {
        (None, Box::new(io::Cursor::new(start).chain(body)))
    })
}

/// Encrypts in one go what fits in memory anyway: a bucket has very many small objects, and a task and two pipes for
/// each cost more than the cipher.
async fn pump_small(
    plain: &[u8],
    known: Option<Digest>,
    recipient: &Recipient,
    feeders: &[Feeder],
) -> std::result::Result<Kept, Stopped> {
    let to = iter::once(recipient as &dyn age::Recipient);
    let sealed = age::Encryptor::with_recipients(to)
        .map_err(|error| Error::failed(error.to_string()).doing("encrypt"))
        .and_then(|encryptor| {
            let mut writer = encryptor.wrap_output(Vec::new()).doing("encrypt")?;
            io::Write::write_all(&mut writer, plain).doing("encrypt")?;
            writer.finish().doing("encrypt")
        })?;
    let (mut plain_sums, mut stored_sums) = (Sums::beside(known), Sums::default());
    plain_sums.update(plain);
    stored_sums.update(&sealed);
    let sealed = bytes::Bytes::from(sealed);
    for feeder in feeders {
        if !feeder.send(sealed.clone()).await {
            return Err(Stopped::Repository);
        }
    }
    Ok(Kept {
        stored: stored_sums.finish(),
        plain: plain_sums.finish(),
    })
}

/// Decrypts in one go what fits in memory anyway; `None` when it is too large for that.
pub async fn decrypted_small(
    stored: &mut Checked,
    bytes: u64,
    identity: &Identity,
) -> Option<io::Result<Vec<u8>>> {
    if bytes > SMALL {
        return None;
    }
    let mut sealed = Vec::with_capacity(bytes as usize);
    if let Err(error) = stored.read_to_end(&mut sealed).await {
        return Some(Err(error));
    }
    let mut rest = &sealed[..];
    let mut plain = Vec::with_capacity(sealed.len());
    let opened = age::Decryptor::new_buffered(&mut rest)
        .and_then(|decryptor| decryptor.decrypt(iter::once(identity as &dyn age::Identity)))
        .map_err(refused)
        .and_then(|mut reader| io::Read::read_to_end(&mut reader, &mut plain));
    Some(match opened {
        Err(error) => Err(error),
        Ok(_) if !rest.is_empty() => Err(trailing()),
        Ok(_) => Ok(plain),
    })
}

fn refused(error: age::DecryptError) -> io::Error {
    let words = match error {
        age::DecryptError::NoMatchingKeys => WRONG_KEY.to_owned(),
        other => format!("it does not decrypt: {}", crate::error::chain(&other)),
    };
    io::Error::new(io::ErrorKind::InvalidData, words)
}

fn trailing() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "bytes follow the end of the encrypted file",
    )
}

async fn encrypt(
    recipient: Recipient,
    mut body: Reading,
    mut sums: Sums,
    output: DuplexStream,
) -> Result<(u64, String)> {
    let to = iter::once(&recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(to)
        .map_err(|error| Error::failed(error.to_string()).doing("encrypt"))?;
    let writer = encryptor.wrap_async_output(output.compat_write()).await;
    let mut writer = writer.doing("encrypt")?;
    let mut chunk = vec![0; CHUNK];
    loop {
        match body
            .read(&mut chunk)
            .await
            .doing("read what is backed up")?
        {
            0 => break,
            n => {
                sums.update(&chunk[..n]);
                writer.write_all(&chunk[..n]).await.doing("encrypt")?;
            }
        }
    }
    writer.close().await.doing("encrypt")?;
    Ok(sums.finish())
}

/// Decrypts a stream on the way. The bytes that come before an error are not to be trusted: whoever writes them
/// somewhere removes them when the stream ends in an error.
pub fn decrypted(stored: impl AsyncRead + Send + Unpin + 'static, identity: Identity) -> Reading {
    let (feeder, reading) = channel(PIPE / CHUNK);
    // Ends by itself when its reader is gone.
    tokio::spawn(async move {
        match decrypt(stored, &identity, &feeder).await {
            Ok(()) => feeder.end().await,
            Err(error) => feeder.fail(error).await,
        }
    });
    reading
}

async fn decrypt(
    stored: impl AsyncRead + Send + Unpin,
    identity: &Identity,
    feeder: &Feeder,
) -> io::Result<()> {
    let mut stored = tokio::io::BufReader::with_capacity(2 * CHUNK, stored).compat();
    let decryptor = age::Decryptor::new_async_buffered(&mut stored).await;
    let identities = iter::once(identity as &dyn age::Identity);
    let plain = decryptor.and_then(|decryptor| decryptor.decrypt_async(identities));
    let mut plain = plain.map_err(refused)?;
    loop {
        let mut chunk = vec![0; CHUNK];
        let n = plain.read(&mut chunk).await?;
        if n == 0 {
            break;
        }
        chunk.truncate(n);
        if !feeder.send(chunk.into()).await {
            return Ok(());
        }
    }
    drop(plain);
    // The stored bytes are only known to be whole once their own end was read.
    match futures::AsyncReadExt::read(&mut stored, &mut [0]).await? {
        0 => Ok(()),
        _ => Err(trailing()),
    }
}

/// A task that ends with whoever waits for it.
pub fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> AbortOnDropHandle<T> {
    let handle: JoinHandle<T> = tokio::spawn(work);
    AbortOnDropHandle::new(handle)
}
