//! Redis by its snapshot: `BGSAVE`, and the RDB file; the append-only directory beside it when asked for, and the
//! users, which an RDB does not hold.
//!
//! What goes wrong in practice and is seen to here: a save that failed leaves the old file in place (so the
//! server's word on *this* save is asked, and never a file's date); a server with `appendonly yes` ignores a
//! restored RDB and starts empty (so the restore loads it without an append-only file, and turns that on
//! afterwards when the source had it); a server that is stopped in the ordinary way saves its emptiness over the
//! restored file (so it is killed). The append-only directory is kept as a second source; recovery goes by the RDB.
//!
//! Files of an artifact: `dump.rdb`, `users.acl` (lines of `ACL LIST`), `appendonlydir/…`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::evidence::ReadFact;
use crate::pipeline::artifact::{ArtifactReader, ArtifactWriter};
use crate::pipeline::{Fetched, Pipeline, Taken};
use crate::service::redis::catalogue;
use crate::service::redis::client::{Client, cmd, complaint};
use crate::service::redis::persistence::idle;
use crate::service::{Reading, Running, Service, Stop, write_file};
use crate::suite::RestoreOptions;

pub(in crate::pipeline) mod aof;
mod check;

/// The snapshot, by its name in the artifact.
pub const RDB: &str = "dump.rdb";
/// The users, by their name in the artifact.
pub const USERS: &str = "users.acl";
/// Metadata of [`RDB`]: whether the source kept an append-only file, `yes` or `no`.
pub const APPENDONLY: &str = "appendonly";

/// How long a save or a rewrite of the append-only file may take.
const DEADLINE: Duration = Duration::from_secs(3600);

/// Backups by `BGSAVE`.
#[derive(Debug, Clone, Copy)]
pub struct RedisRdb {
    aof: bool,
    deadline: Duration,
}

impl RedisRdb {
    /// Snapshots; with the append-only directory beside them when `aof`.
    pub fn new(aof: bool) -> Self {
        Self {
            aof,
            deadline: DEADLINE,
        }
    }

    /// Gives a save, or a rewrite of the append-only file, another deadline than an hour.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }
}

#[async_trait]
impl Pipeline for RedisRdb {
    async fn backup(
        &self,
        ctx: &Context,
        source: &dyn Service,
        artifact: &mut ArtifactWriter,
    ) -> Result<Taken> {
        let server = source.server();
        let mut client = Client::connect(ctx, &server.endpoint()).await?;
        let saving = save(ctx, &mut client, self.deadline);
        ctx.noting("redis-cli BGSAVE", saving)
            .await
            .doing("save the snapshot")?;

        let appendonly = client.setting("appendonly").await?.unwrap_or_default();
        let metadata = BTreeMap::from([(APPENDONLY.to_owned(), appendonly.clone())]);
        let path = rdb_path(&mut client).await?;
        store(ctx, &*server, &path, RDB, artifact, metadata).await?;

        let users = catalogue::users(&mut client).await?;
        let lines: String = users.iter().map(|line| format!("{line}\n")).collect();
        let lines: Reading = Box::new(std::io::Cursor::new(lines.into_bytes()));
        artifact
            .file(ctx, USERS, lines, BTreeMap::new())
            .await
            .doing("store the users")?;

        let mut tool = format!("redis-server {} BGSAVE", server.version());
        if self.aof && appendonly == "yes" {
            aof::backup(ctx, &*server, &mut client, artifact, self.deadline)
                .await
                .doing("copy the append-only directory")?;
            tool.push_str(" and its append-only directory");
        } else if self.aof {
            tool.push_str(" (no append-only directory: the server has appendonly no)");
        }
        Ok(Taken {
            tool,
            ..Taken::default()
        })
    }

    async fn fetch(
        &self,
        ctx: &Context,
        artifact: &ArtifactReader,
        target: &dyn Service,
    ) -> Result<Fetched> {
        let server = target.server();
        let mut fetched = Fetched {
            artifact: Some(Arc::new(artifact.clone())),
            ..Fetched::default()
        };
        for file in &artifact.manifest.files {
            if file.name != RDB && file.name != USERS && !alone(artifact, &file.name) {
                continue;
            }
            let path = server.staging().join(&file.name);
            if let (true, Some(below)) = (file.name.contains('/'), path.parent()) {
                let made = server
                    .tool("mkdir")
                    .args(["-p", "-m", "0700", "--"])
                    .arg(below);
                made.run(ctx).await?.ok()?;
            }
            let body = artifact.open(ctx, &file.name).await?;
            write_private(ctx, &*server, &path, body)
                .await
                .doing_with(|| format!("fetch {}", file.name))?;
            fetched.stored_bytes += file.bytes;
            fetched.files.push((file.name.clone(), path));
        }
        Ok(fetched)
    }

    async fn restore(
        &self,
        ctx: &Context,
        fetched: &Fetched,
        target: &dyn Service,
        _options: &RestoreOptions,
    ) -> Result<()> {
        let server = target.server();
        if let (None, Some(directory)) = (file(fetched, RDB), aof::fetched(fetched)) {
            return aof::restore(ctx, &*server, directory, self.deadline).await;
        }
        let snapshot = file(fetched, RDB).ok_or_else(|| {
            Error::failed(format!("the artifact holds no {RDB}"))
                .hint("restore from an artifact of a redis-rdb backup")
        })?;
        let mut client = Client::connect(ctx, &server.endpoint()).await?;
        let path = rdb_path(&mut client).await?;
        without_aof(&mut client).await?;
        // From here on nothing but the restored file may be written there.
        client.set("save", "").await?;
        let moved = server
            .tool("mv")
            .args(["-f", "--"])
            .arg(snapshot)
            .arg(&path);
        moved.run(ctx).await?.ok()?;
        let restarting = server.restart(ctx, Stop::Kill);
        ctx.noting("restart redis-server", restarting)
            .await
            .doing("start redis on the snapshot")?;

        let mut client = Client::connect(ctx, &server.endpoint()).await?;
        loaded(ctx, &*server, &mut client, target, &path).await?;
        if let Some(users) = file(fetched, USERS) {
            let restoring = restore_users(ctx, &*server, &mut client, users);
            ctx.noting("redis-cli ACL SETUSER", restoring).await?;
        }
        if had_aof(fetched) {
            let turning = aof::turn_on(ctx, &mut client, self.deadline);
            ctx.noting("redis-cli CONFIG SET appendonly yes", turning)
                .await
                .doing("turn the append-only file on")?;
        }
        Ok(())
    }

    async fn read_through(
        &self,
        ctx: &Context,
        artifact: &ArtifactReader,
        source: &dyn Service,
    ) -> Result<ReadFact> {
        check::read_through(ctx, artifact, &*source.server()).await
    }
}

/// Whether a file is of an append-only directory that comes without a snapshot: recovery then goes by that.
fn alone(artifact: &ArtifactReader, name: &str) -> bool {
    artifact.manifest.file(RDB).is_none() && name.starts_with(aof::PREFIX)
}

/// Has the server save a snapshot now, and waits until it says that this one succeeded.
async fn save(ctx: &Context, client: &mut Client, deadline: Duration) -> Result<()> {
    let refused = loop {
        // A save that runs already began before now: it does not count.
        let before = idle(ctx, client, deadline).await?;
        let reply = client.raw(&cmd("BGSAVE")).await?;
        match complaint(&reply) {
            None => break Ok(before),
            // Another child process began in between.
            Some(words) if words.contains("in progress") || words.contains("child process") => {}
            Some(words) => break Err(words),
        }
    };
    let before = refused.map_err(|words| {
        Error::failed(format!("redis refuses to save: {words}")).hint(SAVE_HINT)
    })?;
    let after = idle(ctx, client, deadline).await?;
    let status = after.text("rdb_last_bgsave_status");
    if status != "ok" {
        return Err(Error::failed(format!(
            "the save failed (rdb_last_bgsave_status:{status}); the file on disk is an older one"
        ))
        .hint(SAVE_HINT));
    }
    // LASTSAVE counts in whole seconds, and so cannot tell two saves within one; the number of saves can.
    let happened = match (before.number("rdb_saves"), after.number("rdb_saves")) {
        (Some(before), Some(after)) => after > before,
        _ => after.number("rdb_last_save_time") >= before.number("rdb_last_save_time"),
    };
    if happened {
        Ok(())
    } else {
        Err(
            Error::failed("redis reports no new save; the file on disk is an older one")
                .hint(SAVE_HINT),
        )
    }
}

const SAVE_HINT: &str = "read the log of redis-server: a full disk, a directory it may not write to, and no memory to fork are the usual reasons";

/// Where the server keeps its snapshot.
async fn rdb_path(client: &mut Client) -> Result<PathBuf> {
    let dir = client.setting("dir").await?.unwrap_or_default();
    let name = client.setting("dbfilename").await?.unwrap_or_default();
    if dir.is_empty() || name.is_empty() {
        return Err(Error::failed(
            "redis does not say where it keeps its snapshot",
        ));
    }
    Ok(Path::new(&dir).join(name))
}

/// Streams a file from where the server runs into the artifact.
async fn store(
    ctx: &Context,
    server: &dyn Running,
    path: &Path,
    name: &str,
    artifact: &mut ArtifactWriter,
    metadata: BTreeMap<String, String>,
) -> Result<()> {
    let reading = server.tool("cat").arg("--").arg(path).stream(ctx)?;
    let (stdout, ended) = reading.split();
    let stored = artifact.file(ctx, name, Box::new(stdout), metadata).await;
    let finished = ended.await.doing("wait for a program")?;
    stored.doing_with(|| format!("store {name}"))?;
    // A file that could not be read to its end must not count as stored.
    finished?.ok().map(drop)
}

/// Writes a file that only the server's user can read; on any error it is not left behind.
async fn write_private(
    ctx: &Context,
    server: &dyn Running,
    path: &Path,
    body: Reading,
) -> Result<()> {
    let made = server
        .tool("sh")
        .args(["-c", "umask 077 && rm -f -- \"$1\" && : > \"$1\"", "sh"])
        .arg(path);
    made.run(ctx).await?.ok()?;
    let written = write_file(ctx, server, path, body).await;
    if written.is_err() {
        let _ = remove(ctx, server, path).await;
    }
    written
}

/// Removes a file or a directory where the server runs, also when the run was interrupted.
async fn remove(ctx: &Context, server: &dyn Running, path: &Path) -> Result<()> {
    let mut ctx = ctx.clone();
    ctx.cancel = tokio_util::sync::CancellationToken::new();
    let removed = server.tool("rm").args(["-rf", "--"]).arg(path);
    removed.run(&ctx).await?.ok().map(drop)
}

fn file<'a>(fetched: &'a Fetched, name: &str) -> Option<&'a Path> {
    fetched
        .files
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, path)| path.as_path())
}

/// Whether the source kept an append-only file.
fn had_aof(fetched: &Fetched) -> bool {
    let artifact = fetched.artifact.as_ref();
    let snapshot = artifact.and_then(|artifact| artifact.file(RDB).ok());
    snapshot
        .and_then(|file| file.metadata.get(APPENDONLY))
        .is_some_and(|appendonly| appendonly == "yes")
}

/// Sees to it that the server will load the snapshot: with `appendonly yes` it would ignore it, and start empty.
async fn without_aof(client: &mut Client) -> Result<()> {
    if client.setting("appendonly").await?.as_deref() != Some("yes") {
        return Ok(());
    }
    let file = client.info("server").await?.text("config_file").to_owned();
    let refusal = || {
        Error::refused(
            "the target starts with appendonly yes: it would ignore the restored snapshot, and come up empty",
        )
        .hint("start the target with appendonly no; redrill turns it on after loading when the source had it")
    };
    if file.is_empty() {
        return Err(refusal());
    }
    client.set("appendonly", "no").await?;
    client
        .call(cmd("CONFIG").arg("REWRITE"))
        .await
        .map(drop)
        .map_err(|error| refusal().doing(error.message()))
}

/// Sees that the server has loaded the snapshot: one that is up and empty, while the snapshot has keys, has not.
async fn loaded(
    ctx: &Context,
    server: &dyn Running,
    client: &mut Client,
    target: &dyn Service,
    path: &Path,
) -> Result<()> {
    let mode = client.setting("appendonly").await?.unwrap_or_default();
    if mode == "yes" {
        return Err(Error::failed(
            "redis came up with appendonly yes, and so has not loaded the snapshot",
        )
        .hint("start the target with appendonly no"));
    }
    if target.population(ctx).await? > 0 {
        return Ok(());
    }
    let snapshot = check::rdb(ctx, server, path).await?;
    if let Some(error) = snapshot.error {
        return Err(Error::failed(format!("redis came up empty: {error}")));
    }
    if snapshot.keys > snapshot.expired {
        return Err(Error::failed(format!(
            "redis came up empty, although the snapshot holds {} keys ({} of them expired)",
            snapshot.keys, snapshot.expired
        ))
        .hint("compare dir and dbfilename of the target with where the snapshot was put"));
    }
    Ok(())
}

/// Makes the users again. Their lines travel by standard output and the connection, never as arguments, and do not
/// stay behind.
async fn restore_users(
    ctx: &Context,
    server: &dyn Running,
    client: &mut Client,
    path: &Path,
) -> Result<()> {
    let reading = server.tool("cat").arg("--").arg(path).stream(ctx)?;
    let (stdout, ended) = reading.split();
    let mut lines = BufReader::new(stdout).lines();
    let restored: Result<()> = async {
        while let Some(line) = lines.next_line().await.doing("read the users")? {
            catalogue::restore_user(client, &line).await?;
        }
        Ok(())
    }
    .await;
    drop(lines);
    let finished = ended.await.doing("wait for a program")?;
    let removed = remove(ctx, server, path).await;
    restored.doing("restore the users")?;
    finished?.ok()?;
    removed
}
