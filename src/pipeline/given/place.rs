//! Where an artifact lies: a path, an S3 bucket, an address over HTTP. What lies elsewhere is looked at by its beginnings
//! first, and brought into a directory of the run once it is wanted.
//!
//! Not here: which of several artifacts is wanted (see [`super::find`]).

use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};

use super::kind::HEAD;
use super::open::save;
use super::shape::{MOST, wal};
use crate::context::{Context, Secrets};
use crate::error::{Doing, Error, Kind, Result};
use crate::http::agent;
use crate::service::s3::{Account, Listed, S3Client};

/// How many objects' beginnings are read at once.
const AT_ONCE: usize = 8;
/// How long a server may take to begin its answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a download may take.
const DOWNLOAD: Duration = Duration::from_secs(12 * 3600);

/// Where an artifact lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file or a folder of this machine.
    Path(PathBuf),
    /// An object of a bucket, or all below a prefix.
    S3 {
        /// The bucket.
        bucket: String,
        /// The key, or what keys begin with.
        prefix: String,
    },
    /// An address; a presigned one is a secret.
    Http(String),
}

impl Place {
    /// The place as it is named; an address's signature becomes a secret.
    pub fn parse(text: &str, secrets: &Secrets) -> Result<Self> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(
                    Error::usage(format!("{text} names no bucket")).hint("as s3://bucket/prefix")
                );
            }
            return Ok(Self::S3 {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
            });
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            if let Some((_, query)) = text.split_once('?') {
                secrets.register("signature of the address", query);
                for (_, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
                    // Short values (a version, a number of seconds) stand in many places by chance.
                    if value.len() >= 32 {
                        secrets.register("signature of the address", value);
                    }
                }
            }
            return Ok(Self::Http(text.to_owned()));
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(
                Error::usage(format!("artifacts are not read from {scheme}://"))
                    .hint("name a path, s3://bucket/prefix, or an http(s) address"),
            );
        }
        Ok(Self::Path(PathBuf::from(text)))
    }

    /// The place without secrets.
    pub fn shown(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::S3 { bucket, prefix } => format!("s3://{bucket}/{prefix}"),
            Self::Http(url) => {
                let bare = url.split(['?', '#']).next().unwrap_or_default();
                // A user and a password in it are nobody's business.
                match bare
                    .split_once("://")
                    .map(|(scheme, rest)| (scheme, rest.split_once('@')))
                {
                    Some((scheme, Some((_, rest)))) => format!("{scheme}://{rest}"),
                    _ => bare.to_owned(),
                }
            }
        }
    }
}

/// What is said where a bucket takes credentials, and there are none.
pub fn no_account(shown: &str) -> Error {
    Error::usage(format!("{shown} takes credentials, and there are none"))
        .hint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and where they apply AWS_SESSION_TOKEN, AWS_REGION or AWS_DEFAULT_REGION, and \
               AWS_ENDPOINT_URL: no other variable is read, and neither a profile nor a role of the machine")
}

/// A place that can be looked at as files of this machine.
pub struct Source {
    /// The file or folder to look at; of what lies elsewhere, a copy of the beginnings.
    pub root: PathBuf,
    remote: Option<Remote>,
    shown: String,
}

struct Remote {
    client: S3Client,
    bucket: String,
    objects: Vec<(PathBuf, Listed)>,
}

impl Source {
    /// Opens a place; `dir` is where copies go, and `account` whose bucket it is.
    pub async fn open(
        ctx: &Context,
        place: &Place,
        account: Option<&Account>,
        dir: &Path,
    ) -> Result<Self> {
        let shown = place.shown();
        let (root, remote) = match place {
            Place::Path(path) => {
                let found = std::fs::metadata(path).map_err(|error| {
                    Error::usage(error.to_string())
                        .doing(format!("look at {shown}"))
                        .hint("name a file, a folder, s3://bucket/prefix, or an http(s) address")
                });
                found?;
                (path.clone(), None)
            }
            Place::Http(url) => {
                let brought = download(ctx, url, &shown, dir).await;
                (brought.map_err(unreached)?, None)
            }
            Place::S3 { bucket, prefix } => {
                let account = account.ok_or_else(|| no_account(&shown))?;
                let client = S3Client::of(account);
                let listed = client.list(ctx, bucket, prefix).await;
                let listed = listed.map_err(unreached);
                let listed = listed.doing_with(|| format!("look at {shown}"))?;
                let named = named(prefix, listed);
                let shown = named
                    .as_ref()
                    .map_or(shown.clone(), |named| match &named.folder {
                        Some(folder) => format!("s3://{bucket}/{folder}"),
                        None => shown.clone(),
                    });
                let (root, remote) = beginnings(ctx, client, bucket, named, dir)
                    .await
                    .map_err(unreached)
                    .doing_with(|| format!("look at {shown}"))?;
                return Ok(Self {
                    root,
                    remote: Some(remote),
                    shown,
                });
            }
        };
        Ok(Self {
            root,
            remote,
            shown,
        })
    }

    /// What a path below the root is called where it lies.
    pub fn shown(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.root).ok();
        match below.filter(|below| !below.as_os_str().is_empty()) {
            None => self.shown.clone(),
            Some(below) => format!("{}/{}", self.shown.trim_end_matches('/'), below.display()),
        }
    }

    /// Makes whole what lies at, or below, a path of which only beginnings were read.
    pub async fn whole(&self, ctx: &Context, path: &Path) -> Result<()> {
        let Some(remote) = &self.remote else {
            return Ok(());
        };
        let wanted = remote.objects.iter().filter(|(at, _)| at.starts_with(path));
        futures::stream::iter(wanted)
            .map(|(at, listed)| remote.bring(ctx, at, listed))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
            .map_err(unreached)
    }
}

/// What could not be brought is no damage of an artifact: nothing is known of it.
fn unreached(error: Error) -> Error {
    match error.kind() {
        Kind::Failed => error.of_kind(Kind::Unavailable),
        _ => error,
    }
}

impl Remote {
    async fn bring(&self, ctx: &Context, at: &Path, listed: &Listed) -> Result<()> {
        let begun = at.exists();
        if listed.bytes <= HEAD as u64 && begun {
            // Its beginning is all there is of it.
            return Ok(());
        }
        let found = self.client.get(ctx, &self.bucket, &listed.key).await?;
        let object = found.ok_or_else(|| Error::failed(format!("{} is gone", listed.key)))?;
        match begun {
            true => std::fs::remove_file(at).doing_with(|| format!("replace {}", at.display()))?,
            false => folder_of(at)?,
        }
        let saved = save(ctx, object.body, at).await;
        saved
            .map(drop)
            .doing_with(|| format!("bring {}", listed.key))
    }
}

/// The objects that a key or a prefix names.
struct Named {
    /// The prefix of the folder that they lie in; none of one object that is named itself.
    folder: Option<String>,
    /// Each by its path in that folder.
    objects: Vec<(PathBuf, Listed)>,
}

/// What is meant: the object of this key, else all below the folder of this name, else all that begin so.
fn named(prefix: &str, listed: Vec<Listed>) -> Option<Named> {
    let mut exact = listed.iter();
    if let Some(object) = exact.find(|it| it.key == prefix && !prefix.ends_with('/')) {
        return Some(Named {
            folder: None,
            objects: vec![(PathBuf::new(), object.clone())],
        });
    }
    let below = match prefix {
        "" => String::new(),
        prefix => format!("{}/", prefix.trim_end_matches('/')),
    };
    let beside = prefix.rfind('/').map_or("", |at| &prefix[..=at]).to_owned();
    [below, beside].into_iter().find_map(|folder| {
        let path = |object: &Listed| {
            let name = PathBuf::from(object.key.strip_prefix(&folder)?);
            let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
            let is_file = !object.key.ends_with('/') && name.components().all(plain);
            is_file.then_some((name, object.clone()))
        };
        let objects: Vec<_> = listed.iter().filter_map(path).collect();
        let folder = Some(folder.trim_end_matches('/').to_owned());
        (!objects.is_empty()).then_some(Named { folder, objects })
    })
}

/// Reads the beginning of every object into a copy of the folder; of an object that is named, of it alone.
async fn beginnings(
    ctx: &Context,
    client: S3Client,
    bucket: &str,
    named: Option<Named>,
    dir: &Path,
) -> Result<(PathBuf, Remote)> {
    let Named {
        folder,
        objects: named,
    } = named.ok_or_else(|| {
        Error::unavailable(
            "there is no object of this name, nor any below it, nor any that begins so",
        )
        .hint("see whether bucket and prefix are the ones meant: aws s3 ls")
    })?;
    let root = match (&folder, named.as_slice()) {
        (None, [(_, object)]) => dir.join(object.key.rsplit('/').next().unwrap_or("artifact")),
        _ => dir.join("folder"),
    };
    // One repository of pgBackRest is one artifact, however many files it has.
    let is_info = |(name, _): &(PathBuf, Listed)| name.ends_with("backup.info");
    let is_wal = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        folder.is_some() && wal(&name).is_some()
    };
    let to_choose_from = named.iter().filter(|(name, _)| !is_wal(name)).count();
    if to_choose_from > MOST && !named.iter().any(is_info) {
        return Err(Error::usage(format!(
            "{to_choose_from} objects are too many to choose from"
        ))
        .hint("name the folder of one kind of backup, or the artifact itself"));
    }
    let at = |name: &Path| match name.as_os_str().is_empty() {
        true => root.clone(),
        false => root.join(name),
    };
    let remote = Remote {
        client,
        bucket: bucket.to_owned(),
        objects: named
            .into_iter()
            .map(|(name, object)| (at(&name), object))
            .collect(),
    };
    if folder.is_some() {
        std::fs::create_dir_all(&root).doing_with(|| format!("create {}", root.display()))?;
    }
    // What WAL is shows in its name; it is brought with what it goes with.
    let wanted = remote.objects.iter().filter(|(at, _)| !is_wal(at));
    futures::stream::iter(wanted)
        .map(|(at, object)| begin(ctx, &remote, at, object))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    Ok((root, remote))
}

/// Makes the folder that a copy goes to.
fn folder_of(at: &Path) -> Result<()> {
    let Some(folder) = at.parent() else {
        return Ok(());
    };
    std::fs::create_dir_all(folder).doing_with(|| format!("create {}", folder.display()))
}

async fn begin(ctx: &Context, remote: &Remote, at: &Path, listed: &Listed) -> Result<()> {
    folder_of(at)?;
    let (bucket, key) = (&remote.bucket, &listed.key);
    // There is no first byte of nothing to ask for.
    let head = match listed.bytes {
        0 => Some(Vec::new()),
        _ => {
            remote
                .client
                .beginning(ctx, bucket, key, HEAD as u64)
                .await?
        }
    };
    let head = head.ok_or_else(|| Error::failed(format!("{key} is gone")))?;
    save(ctx, Box::new(std::io::Cursor::new(head)), at)
        .await
        .map(drop)
}

/// Brings what an address answers with.
async fn download(ctx: &Context, url: &str, shown: &str, dir: &Path) -> Result<PathBuf> {
    let name = shown
        .rsplit('/')
        .next()
        .filter(|name| !name.is_empty())
        .unwrap_or("artifact");
    let path = dir.join(name);
    let (url, target, cancel) = (url.to_owned(), path.clone(), ctx.cancel.clone());
    let work = tokio::task::spawn_blocking(move || {
        let limits = agent(&url, |limits| {
            limits
                .timeout_connect(Some(PATIENCE))
                .timeout_recv_response(Some(PATIENCE))
                .timeout_global(Some(DOWNLOAD))
                .max_redirects(5)
        });
        let answer = limits
            .get(&url)
            .call()
            .map_err(|error| Error::unavailable(error.to_string().replace(&url, "the address")))?;
        match answer.status().as_u16() {
            200 => {}
            code @ (401 | 403) => {
                return Err(Error::unavailable(format!("it answered {code}")).hint(
                    "a presigned address holds for a limited time, and for GET only: make a new one",
                ));
            }
            code @ (404 | 410) => {
                return Err(Error::unavailable(format!(
                    "it answered {code}: there is nothing"
                )));
            }
            code => return Err(Error::unavailable(format!("it answered {code}"))),
        }
        let announced = answer.headers().get("content-length");
        let announced: Option<u64> = announced.and_then(|it| it.to_str().ok()?.parse().ok());
        let mut body = answer.into_body().into_reader();
        let mut options = std::fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options
            .write(true)
            .create_new(true)
            .open(&target)
            .doing("create its copy")?;
        let (mut chunk, mut bytes) = (vec![0; 1 << 18], 0_u64);
        loop {
            if cancel.is_cancelled() {
                return Err(Error::interrupted());
            }
            let read = body.read(&mut chunk).doing("read it")?;
            if read == 0 {
                break;
            }
            std::io::Write::write_all(&mut file, &chunk[..read]).doing("write its copy")?;
            bytes += read as u64;
        }
        match announced {
            Some(announced) if announced != bytes => Err(Error::unavailable(format!(
                "the connection ended after {bytes} of {announced} bytes"
            ))),
            _ => Ok(()),
        }
    });
    let done = work.await.doing("wait for the download")?;
    done.doing_with(|| format!("fetch {shown}"))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_what_opens_it() {
        let secrets = Secrets::default();
        let signature = "0123456789abcdef0123456789abcdef";
        let text =
            format!("https://me:pw@host/b/db.dump?X-Amz-Expires=60&X-Amz-Signature={signature}");
        let place = Place::parse(&text, &secrets).expect("a place");
        assert_eq!(place.shown(), "https://host/b/db.dump");
        assert!(secrets.all().iter().any(|(_, value)| value == signature));
    }

    #[test]
    fn a_prefix_names_an_object_else_a_folder_else_what_begins_so() {
        let listed = |keys: &[&str]| -> Vec<Listed> {
            let object = |key: &&str| Listed {
                key: (*key).to_owned(),
                ..Listed::default()
            };
            keys.iter().map(object).collect()
        };
        let all = ["d/shop-1", "d/shop-2", "d/shop", "d/shop/x/3", "d/shop/"];
        for (prefix, keys, folder, paths) in [
            ("d/shop", &all[..], None, &[""][..]),
            (
                "d/shop",
                &["d/shop-1", "d/shop/x/3", "d/shop/"],
                Some("d/shop"),
                &["x/3"],
            ),
            (
                "d/shop/",
                &["d/shop/x/3", "d/shop/"],
                Some("d/shop"),
                &["x/3"],
            ),
            ("d/shop-", &all[..2], Some("d"), &["shop-1", "shop-2"]),
            ("sho", &["shop/1", "shot"], Some(""), &["shop/1", "shot"]),
            ("", &["d/../x", "d/shop"], Some(""), &["d/shop"]),
        ] {
            let named = named(prefix, listed(keys)).expect("names something");
            assert_eq!(named.folder.as_deref(), folder, "{prefix}");
            let found: Vec<_> = named.objects.iter().map(|(path, _)| path.clone()).collect();
            assert_eq!(
                found,
                paths.iter().map(PathBuf::from).collect::<Vec<_>>(),
                "{prefix}"
            );
        }
        assert!(named("d", Vec::new()).is_none());
    }

    #[test]
    fn places_are_told_apart_by_how_they_begin() {
        let parse = |text| Place::parse(text, &Secrets::default());
        let s3 = Place::S3 {
            bucket: "b".to_owned(),
            prefix: "x/y".to_owned(),
        };
        assert_eq!(parse("s3://b/x/y").expect("a place"), s3);
        assert_eq!(
            parse("db.dump").expect("a place"),
            Place::Path("db.dump".into())
        );
        assert!(parse("ftp://x/y").is_err() && parse("s3://").is_err());
    }
}
