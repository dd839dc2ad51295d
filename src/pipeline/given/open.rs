//! Files that somebody gives, opened: decrypted into a directory of the run, unpacked on the way, read by what reads
//! step by step. Every stream that does not come whole is an error.
//!
//! Not here: what the bytes are.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use age::armor::ArmoredReader;
use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use tokio::io::AsyncReadExt;
use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use tokio_util::io::SyncIoBridge;

use super::kind::{ARMOR, HEAD, Layer, layer};
use crate::context::{Context, Secrets};
use crate::error::{Doing, Error, Result};
use crate::pipeline::pg_dump::whole::Whole;
use crate::pipeline::stream::{WRONG_KEY, decrypted};
use crate::process::Command;
use crate::service::Reading;
use crate::service::reading::Checked;

/// What opens files that are encrypted.
#[derive(Clone, Default)]
pub struct Identities(Vec<Identity>);

impl Identities {
    /// Reads a file of identities, as age-keygen writes them; they are secrets of the run.
    pub fn read(path: &Path, secrets: &Secrets) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::usage(error.to_string()).doing(format!("read the identity {}", path.display()))
        })?;
        let lines = text.lines().map(str::trim);
        let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys = keys
            .map(Identity::from_str)
            .collect::<std::result::Result<Vec<_>, _>>();
        match keys {
            Ok(keys) if !keys.is_empty() => {
                for key in &keys {
                    secrets.register("age identity", key.to_string().expose_secret());
                }
                Ok(Self(keys))
            }
            _ => Err(Error::usage(format!(
                "{} is no identity file of age",
                path.display()
            ))
            .hint("age-keygen writes one: a line AGE-SECRET-KEY-1…; identities with a passphrase, and keys of ssh, are not read")),
        }
    }
}

/// The beginning of a file as it lies there.
pub async fn head(path: &Path) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let doing = || format!("read {}", path.display());
    let file = tokio::fs::File::open(path).await.doing_with(doing)?;
    file.take(HEAD as u64)
        .read_to_end(&mut head)
        .await
        .doing_with(doing)?;
    Ok(head)
}

/// The beginning of what is in a file, under all that is around it. Of a file that was cut, what there is of it.
pub async fn inner_head(ctx: &Context, path: &Path, identities: &Identities) -> Result<Vec<u8>> {
    let mut head = head(path).await?;
    if layer(&head) == Some(Layer::Age) {
        let mut damage = None;
        for identity in usable(identities, path)? {
            let bytes = head.len() as u64;
            let sealed = Checked::new(Box::new(io::Cursor::new(head.clone())), "head", bytes);
            let mut plain = Vec::new();
            // A beginning ends early; what came before its end is what is wanted.
            let opened = opened(sealed, head.starts_with(ARMOR), identity)
                .read_to_end(&mut plain)
                .await;
            if opened.is_ok() || !plain.is_empty() {
                head = plain;
                break;
            }
            let error = opened
                .err()
                .filter(|error| !error.to_string().contains(WRONG_KEY));
            damage = damage.or(error);
        }
        if layer(&head) == Some(Layer::Age) {
            return Err(match damage {
                None => other_key(path),
                Some(error) => Error::failed(format!(
                    "{} was cut, or is damaged: age cannot open even its beginning ({error})",
                    path.display()
                ))
                .hint("see the log of the job that wrote it, and verify an earlier one"),
            });
        }
    }
    let Some(Layer::Packed(program, _)) = layer(&head) else {
        return Ok(head);
    };
    let unpack = Command::new(program).args(["-d", "-c"]);
    let finished = unpack.feed(ctx, io::Cursor::new(head)).await;
    let finished = finished.map_err(|error| without(program, error))?;
    if finished.stdout.is_empty() && finished.exit != Some(0) {
        return Err(Error::failed(format!(
            "{} was cut, or is damaged: {program} cannot unpack even its beginning",
            path.display()
        ))
        .hint("see the log of the job that wrote it, and verify an earlier one"));
    }
    Ok(finished.stdout)
}

/// Decrypts on the way, and takes what is a text out of its armor before.
fn opened(sealed: Checked, armored: bool, identity: &Identity) -> Reading {
    match armored {
        true => {
            let bare = ArmoredReader::from_async_reader(sealed.compat());
            decrypted(bare.compat(), identity.clone())
        }
        false => decrypted(sealed, identity.clone()),
    }
}

fn usable<'i>(identities: &'i Identities, path: &Path) -> Result<&'i [Identity]> {
    match identities.0.as_slice() {
        [] => Err(Error::usage(format!(
            "{} is encrypted by age, and no identity was given that opens it",
            path.display()
        ))
        .hint("give the file that age-keygen wrote for its recipient: --identity FILE")),
        all => Ok(all),
    }
}

fn is_other_key(error: &Error) -> bool {
    error.message().contains(WRONG_KEY)
}

fn other_key(path: &Path) -> Error {
    Error::usage(format!(
        "{} is encrypted to another recipient than the identity's",
        path.display()
    ))
    .hint("--identity takes the private half of the recipient that the backup was encrypted to")
}

/// Decrypts a file into `dir`, where only this user can read it; a file that is not encrypted stays where it is.
pub async fn plain(
    ctx: &Context,
    path: &Path,
    identities: &Identities,
    dir: &Path,
) -> Result<PathBuf> {
    let head = head(path).await?;
    if layer(&head) != Some(Layer::Age) {
        return Ok(path.to_owned());
    }
    // Which one it is shows in the head.
    inner_head(ctx, path, identities).await?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".age").unwrap_or(&name).to_owned();
    let target = dir.join(format!("{}-{name}", ctx.next_number()));
    let mut failure: Option<Error> = None;
    for identity in usable(identities, path)? {
        let file = tokio::fs::File::open(path).await.doing("open it")?;
        let bytes = file.metadata().await.doing("look at it")?.len();
        let file = tokio::io::BufReader::with_capacity(1 << 18, file);
        let sealed = Checked::new(Box::new(file), path.display().to_string(), bytes);
        let opened = opened(sealed, head.starts_with(ARMOR), identity);
        match save(ctx, opened, &target).await {
            Ok(_) => return Ok(target),
            // That one of several keys is another one says nothing of the file.
            Err(error) => {
                let known = failure.filter(|known| !is_other_key(known) || is_other_key(&error));
                failure = Some(known.unwrap_or(error));
            }
        }
        ctx.go_on()?;
    }
    Err(failure.unwrap_or_else(|| other_key(path)))
        .doing_with(|| format!("decrypt {}", path.display()))
}

/// Writes a stream to a file that only this user can read; on any error none is left.
pub async fn save(ctx: &Context, mut input: Reading, path: &Path) -> Result<u64> {
    let mut options = tokio::fs::OpenOptions::new();
    let written = async {
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .await;
        let mut file = file.doing_with(|| format!("create {}", path.display()))?;
        file.set_max_buf_size(1 << 20);
        let copied = tokio::select! {
            () = ctx.cancel.cancelled() => return Err(Error::interrupted()),
            copied = tokio::io::copy(&mut input, &mut file) => copied,
        };
        let bytes = copied.doing("read it")?;
        tokio::io::AsyncWriteExt::flush(&mut file)
            .await
            .doing("write it")?;
        Ok(bytes)
    };
    let written: Result<u64> = written.await;
    if written.is_err() {
        // The reason why it could not be written is the one to tell.
        let _ = tokio::fs::remove_file(path).await;
    }
    written
}

/// The content of a file, unpacked where it is packed.
pub async fn unpacked(ctx: &Context, path: &Path) -> Result<Reading> {
    match layer(&head(path).await?) {
        Some(Layer::Packed(program, _)) => {
            let unpack = Command::new(program).args(["-d", "-c"]).arg(path);
            let stream = unpack
                .stream(ctx)
                .map_err(|error| without(program, error))?;
            Ok(Box::new(Whole::of(stream)))
        }
        _ => {
            let file = tokio::fs::File::open(path).await;
            let file = file.doing_with(|| format!("open {}", path.display()))?;
            Ok(Box::new(tokio::io::BufReader::with_capacity(1 << 18, file)))
        }
    }
}

fn without(program: &str, error: Error) -> Error {
    error.hint(format!(
        "it takes the program {program}: apt-get install {program}"
    ))
}

/// Has a stream read by what reads step by step, on a thread of its own. What it finds wrong is its own to tell.
pub async fn read_by<T: Send + 'static>(
    ctx: &Context,
    input: Reading,
    read: impl FnOnce(&mut dyn io::BufRead) -> io::Result<T> + Send + 'static,
) -> Result<io::Result<T>> {
    let work = tokio::task::spawn_blocking(move || {
        let mut input = io::BufReader::with_capacity(1 << 18, SyncIoBridge::new(input));
        let value = read(&mut input)?;
        // To the end: only there a stream says whether it came whole.
        io::copy(&mut input, &mut io::sink())?;
        Ok(value)
    });
    tokio::select! {
        () = ctx.cancel.cancelled() => Err(Error::interrupted()),
        done = work => done.doing("wait for a reader"),
    }
}
