//! A tar file of files, restored as the objects of a disposable bucket: each file under its path, with its mode, owner and
//! time as metadata; a link as an object without bytes, and where it leads.
//!
//! Only for what somebody gives: no drill takes one. Not here: anything that writes to a file system: a path in a tar file
//! may lead anywhere.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::io::SyncIoBridge;

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::evidence::ReadFact;
use crate::pipeline::artifact::{ArtifactReader, ArtifactWriter};
use crate::pipeline::{Fetched, Pipeline, Taken};
use crate::service::reading::channel;
use crate::service::s3::{Headers, S3Client};
use crate::service::{Reading, Service};
use crate::suite::RestoreOptions;

/// The tar file in its artifact.
pub const FILES: &str = "files.tar";
/// Bytes moved at once.
const CHUNK: usize = 256 << 10;
/// The longest key of S3.
const LONGEST: usize = 1024;

/// The pipeline of [`Method::FilesTar`](crate::suite::Method::FilesTar).
pub struct FilesTar {
    bucket: String,
}

impl FilesTar {
    /// Restores into `bucket`.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
        }
    }
}

/// A member of a tar file on its way.
enum Message {
    Begin(String, Headers, u64),
    Bytes(Bytes),
    End,
}

#[async_trait]
impl Pipeline for FilesTar {
    async fn backup(
        &self,
        _ctx: &Context,
        _source: &dyn Service,
        _artifact: &mut ArtifactWriter,
    ) -> Result<Taken> {
        Err(Error::defect("no tar file of files is taken in a drill"))
    }

    async fn fetch(
        &self,
        _ctx: &Context,
        artifact: &ArtifactReader,
        _target: &dyn Service,
    ) -> Result<Fetched> {
        Ok(Fetched {
            stored_bytes: artifact.manifest.stored_bytes(),
            artifact: Some(Arc::new(artifact.clone())),
            ..Fetched::default()
        })
    }

    async fn restore(
        &self,
        ctx: &Context,
        fetched: &Fetched,
        target: &dyn Service,
        _options: &RestoreOptions,
    ) -> Result<()> {
        let artifact = fetched.artifact.as_ref();
        let artifact = artifact.ok_or_else(|| Error::defect("no tar file was fetched"))?;
        let input = artifact.open(ctx, FILES).await?;
        let (sender, mut receiver) = mpsc::channel(8);
        let reader = tokio::task::spawn_blocking(move || send(input, &sender));
        let client = S3Client::new(&target.server().endpoint());
        let storing = async {
            while let Some(message) = receiver.recv().await {
                ctx.go_on()?;
                if let Message::Begin(key, headers, bytes) = message {
                    self.store(ctx, &client, &key, &headers, bytes, &mut receiver)
                        .await?;
                }
            }
            Ok::<_, Error>(())
        };
        let stored = storing.await;
        drop(receiver);
        let read = reader.await.doing("wait for the tar file")?;
        stored?;
        read.doing("read the tar file")
    }

    async fn read_through(
        &self,
        _ctx: &Context,
        _artifact: &ArtifactReader,
        _source: &dyn Service,
    ) -> Result<ReadFact> {
        Err(Error::defect(
            "a tar file of files is read before it is restored",
        ))
    }
}

impl FilesTar {
    async fn store(
        &self,
        ctx: &Context,
        client: &S3Client,
        key: &str,
        headers: &Headers,
        bytes: u64,
        receiver: &mut mpsc::Receiver<Message>,
    ) -> Result<()> {
        let (feeder, body) = channel(4);
        let feed = async {
            let mut fed = 0;
            while let Some(message) = receiver.recv().await {
                match message {
                    Message::Bytes(chunk) => {
                        fed += chunk.len() as u64;
                        if !feeder.send(chunk).await {
                            return;
                        }
                    }
                    Message::End | Message::Begin(..) => break,
                }
            }
            match fed == bytes {
                true => feeder.end().await,
                false => feeder.fail(io::ErrorKind::UnexpectedEof.into()).await,
            }
        };
        let put = client.put(ctx, &self.bucket, key, body, headers);
        let (put, ()) = tokio::join!(put, feed);
        put.map(drop).doing_with(|| format!("restore {key}"))
    }
}

/// Sends every file of a tar file.
fn send(input: Reading, sender: &mpsc::Sender<Message>) -> io::Result<()> {
    let mut archive = tar::Archive::new(SyncIoBridge::new(input));
    let gone = |_| io::Error::other("nobody stores it any more");
    let send = |message| sender.blocking_send(message).map_err(gone);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        let is_link = kind.is_symlink() || kind.is_hard_link();
        if !(kind.is_file() || is_link) {
            continue;
        }
        let key = key(&entry.path_bytes())?;
        let bytes = if is_link { 0 } else { entry.size() };
        let headers = headers(&entry)?;
        send(Message::Begin(key, headers, bytes))?;
        let mut left = bytes;
        while left > 0 {
            let mut chunk = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
            let read = entry.read(&mut chunk)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            chunk.truncate(read);
            left -= read as u64;
            send(Message::Bytes(chunk.into()))?;
        }
        send(Message::End)?;
    }
    Ok(())
}

/// The key of a file by its path.
fn key(path: &[u8]) -> io::Result<String> {
    let path = std::str::from_utf8(path).map_err(|_| {
        io::Error::other("a path in it is no UTF-8: an object cannot have that name")
    })?;
    let key = path.trim_start_matches("./").trim_start_matches('/');
    if key.is_empty() || key.len() > LONGEST {
        return Err(io::Error::other(format!(
            "an object cannot have the name of {path:?}"
        )));
    }
    Ok(key.to_owned())
}

fn headers<R: Read>(entry: &tar::Entry<'_, R>) -> io::Result<Headers> {
    let header = entry.header();
    let mut metadata = BTreeMap::from([
        ("mode".to_owned(), format!("{:o}", header.mode()?)),
        (
            "owner".to_owned(),
            format!("{}:{}", header.uid()?, header.gid()?),
        ),
        ("mtime".to_owned(), header.mtime()?.to_string()),
    ]);
    if let Some(to) = entry.link_name_bytes() {
        // A header of HTTP takes plain characters only.
        metadata.insert("link".to_owned(), to.escape_ascii().to_string());
    }
    Ok(Headers {
        metadata,
        ..Headers::default()
    })
}
