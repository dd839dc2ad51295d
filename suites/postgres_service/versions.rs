//! Which dumps a server takes in, and which it refuses before anything is restored.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use libtest_mimic::Failed;
use redrill::context::Context;
use redrill::error::Result;
use redrill::pipeline::pg_dump::PgDump;
use redrill::process::Command;
use redrill::provision::containers::Containers;
use redrill::provision::{Provisioner, Wanted};
use redrill::service::postgres::PostgresService;
use redrill::service::{Endpoint, Running, Service, Stop, write_file};
use redrill::suite::{Compression, Dump, DumpFormat, Engine};

use crate::formats::{artifact_of, restore};
use crate::server::TestServer;
use crate::{Lab, SYSTEM, differences, root, same};

/// The server with a psql that gives an older version for itself, and does nothing else.
struct OldPsql {
    server: Arc<TestServer>,
    psql: PathBuf,
}

#[async_trait]
impl Running for OldPsql {
    fn engine(&self) -> Engine {
        self.server.engine()
    }
    fn version(&self) -> &str {
        self.server.version()
    }
    fn mode(&self) -> &'static str {
        self.server.mode()
    }
    fn endpoint(&self) -> Endpoint {
        self.server.endpoint()
    }
    fn tool(&self, program: &str) -> Command {
        match program {
            "psql" => Command::new(&self.psql),
            other => self.server.tool(other),
        }
    }
    fn data_dir(&self) -> PathBuf {
        self.server.data_dir()
    }
    fn staging(&self) -> PathBuf {
        self.server.staging()
    }
    async fn restart(&self, ctx: &Context, stop: Stop) -> Result<()> {
        self.server.restart(ctx, stop).await
    }
    async fn lose(&self, ctx: &Context) -> Result<()> {
        self.server.lose(ctx).await
    }
    async fn remove(&self, ctx: &Context) -> Result<()> {
        self.server.remove(ctx).await
    }
}

/// Fails unless the restore is refused in these words, and the target is as empty as it was.
async fn refused(
    lab: &Lab,
    restored: Result<()>,
    target: &PostgresService,
    words: &[&str],
) -> Result<(), Failed> {
    let error = restored.err().ok_or("it was restored")?;
    let message = error.message();
    if !words.iter().all(|word| message.contains(word)) {
        return Err(format!("not all of {words:?} is in: {error}").into());
    }
    match target.population(&lab.ctx).await? {
        0 => Ok(()),
        some => Err(format!("{some} objects were restored").into()),
    }
}

pub async fn a_restricted_dump_is_refused_when_psql_is_too_old_for_it(
    lab: &Lab,
) -> Result<(), Failed> {
    lab.seeded().await?;
    let source = lab.database("seeded", None).await?;
    let psql = lab.dir.join("old-psql");
    let script = "#!/bin/sh\n[ \"$*\" = --version ] || exit 99\necho 'psql (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)'\n";
    std::fs::write(&psql, script)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&psql, mode)?;
    let server = lab.server().await?;
    // The roles of a custom dump are a script too.
    for format in [DumpFormat::Plain, DumpFormat::Custom] {
        let pipeline = PgDump::new(Dump::of(format, 0));
        let artifact = artifact_of(lab, &pipeline, &source).await?;
        let target = lab.fresh(None).await?;
        target.create(&lab.ctx).await?;
        let old = OldPsql {
            server: server.clone(),
            psql: psql.clone(),
        };
        let old = PostgresService::new(Arc::new(old), target.database(), None);
        let restored = restore(lab, &pipeline, &artifact, &old).await;
        refused(lab, restored, &target, &["\\restrict", "psql 15.13"]).await?;
    }
    Ok(())
}

async fn container(lab: &Lab, version: &str) -> Result<Arc<dyn Running>> {
    let wanted = Wanted {
        name: format!("versions-{version}"),
        engine: Engine::Postgres,
        version: Some(version.to_owned()),
        settings: Default::default(),
    };
    Containers.start(&lab.ctx, &wanted).await
}

async fn seeded(lab: &Lab, server: &Arc<dyn Running>) -> Result<PostgresService> {
    let source = PostgresService::new(server.clone(), "source", Some(root().join(SYSTEM)));
    source.create(&lab.ctx).await?;
    source.seed(&lab.ctx, 1.0, 42).await?;
    Ok(source)
}

async fn empty(lab: &Lab, server: &Arc<dyn Running>, name: &str) -> Result<PostgresService> {
    let target = PostgresService::new(server.clone(), name, None);
    target.create(&lab.ctx).await?;
    Ok(target)
}

pub async fn a_dump_goes_to_a_newer_server_and_never_to_an_older_one(
    lab: &Lab,
) -> Result<(), Failed> {
    let (old, new) = (container(lab, "15").await?, container(lab, "17").await?);
    let work = async {
        let source = seeded(lab, &old).await?;
        let before = source.observe(&lab.ctx).await?;
        for format in [DumpFormat::Custom, DumpFormat::Plain] {
            let pipeline = PgDump::new(Dump::of(format, 6));
            let artifact = artifact_of(lab, &pipeline, &source).await?;
            let target = empty(lab, &new, &format!("from 15 {}", format.id())).await?;
            restore(lab, &pipeline, &artifact, &target).await?;
            let after = target.observe(&lab.ctx).await?;
            same(&differences(&before, &after), [])
                .map_err(|error| format!("15 to 17, {format:?}: {error}"))?;
        }

        let source = seeded(lab, &new).await?;
        let before = source.observe(&lab.ctx).await?;
        let newer = [
            (DumpFormat::Custom, Compression::Zstd(3)),
            (DumpFormat::Custom, Compression::Lz4(1)),
            (DumpFormat::Directory, Compression::Zstd(3)),
            (DumpFormat::Directory, Compression::Lz4(1)),
            (DumpFormat::Tar, Compression::None),
            (DumpFormat::Plain, Compression::Zstd(3)),
            (DumpFormat::Plain, Compression::Lz4(1)),
            (DumpFormat::Plain, Compression::None),
        ];
        for (format, compress) in newer {
            let what = format!("{format:?} {compress}");
            let pipeline = PgDump::new(Dump {
                compress,
                ..Dump::of(format, 0)
            });
            let artifact = artifact_of(lab, &pipeline, &source).await?;
            let target = empty(lab, &new, &format!("from 17 {what}")).await?;
            restore(lab, &pipeline, &artifact, &target)
                .await
                .map_err(|error| format!("17 to 17, {what}: {error}"))?;
            let after = target.observe(&lab.ctx).await?;
            same(&differences(&before, &after), [])
                .map_err(|error| format!("17 to 17, {what}: {error}"))?;
            if compress.is_recent() && format == DumpFormat::Plain {
                continue; // the older server's image need not have the program that unpacks it
            }
            let target = empty(lab, &old, &format!("from 17 {what}")).await?;
            let restored = restore(lab, &pipeline, &artifact, &target).await;
            refused(lab, restored, &target, &["17.", "15."])
                .await
                .map_err(|error| format!("17 to 15, {what}: {error:?}"))?;
        }
        Ok::<(), Failed>(())
    };
    let worked = work.await;
    old.remove(&lab.ctx).await?;
    new.remove(&lab.ctx).await?;
    worked
}

/// A dump that a newer client takes of an older server: not the server's version, but the archive's is too new.
pub async fn what_a_newer_client_wrote_is_refused_by_name(lab: &Lab) -> Result<(), Failed> {
    let (old, new) = (container(lab, "15").await?, container(lab, "17").await?);
    let work = async {
        let source = seeded(lab, &old).await?;
        // The newer client reaches the older server over the engine's own network.
        let newer = PostgresService::new(
            Arc::new(pointed(lab, &new, &old).await?),
            source.database(),
            None,
        );
        for format in [DumpFormat::Custom, DumpFormat::Plain] {
            let pipeline = PgDump::new(Dump::of(format, 6));
            let artifact = artifact_of(lab, &pipeline, &newer).await?;
            let target = empty(lab, &old, &format!("by 17 {}", format.id())).await?;
            let restored = restore(lab, &pipeline, &artifact, &target).await;
            refused(lab, restored, &target, &["pg_dump 17.", "15."])
                .await
                .map_err(|error| format!("{format:?}: {error:?}"))?;
        }
        Ok::<(), Failed>(())
    };
    let worked = work.await;
    old.remove(&lab.ctx).await?;
    new.remove(&lab.ctx).await?;
    worked
}

/// Where the newer tools find the older server's password.
const PASSWORDS: &str = "/tmp/redrill/passwords";

/// The tools of one server pointed at another: where it answers other containers, and its password in a file.
async fn pointed(
    lab: &Lab,
    tools: &Arc<dyn Running>,
    server: &Arc<dyn Running>,
) -> Result<Pointed> {
    let asked = server
        .tool("hostname")
        .arg("-i")
        .run(&lab.ctx)
        .await?
        .ok()?;
    let line = format!("*:*:*:*:{}\n", server.endpoint().password);
    let input = Box::new(std::io::Cursor::new(line.into_bytes()));
    write_file(&lab.ctx, &**tools, PASSWORDS.as_ref(), input).await?;
    let chmod = tools.tool("chmod").args(["600", PASSWORDS]);
    chmod.run(&lab.ctx).await?.ok()?;
    Ok(Pointed {
        tools: tools.clone(),
        server: server.clone(),
        address: asked.text(),
    })
}

/// One server, and the tools of another that are pointed at it.
struct Pointed {
    tools: Arc<dyn Running>,
    server: Arc<dyn Running>,
    address: String,
}

#[async_trait]
impl Running for Pointed {
    fn engine(&self) -> Engine {
        self.server.engine()
    }
    fn version(&self) -> &str {
        self.tools.version()
    }
    fn mode(&self) -> &'static str {
        self.server.mode()
    }
    fn endpoint(&self) -> Endpoint {
        self.server.endpoint()
    }
    fn tool(&self, program: &str) -> Command {
        let at = [
            format!("PGHOST={}", self.address),
            format!("PGPASSFILE={PASSWORDS}"),
        ];
        let env = self.tools.tool("env").args(["-u", "PGPASSWORD"]).args(at);
        env.arg(program)
    }
    fn data_dir(&self) -> PathBuf {
        self.server.data_dir()
    }
    fn staging(&self) -> PathBuf {
        self.tools.staging()
    }
    async fn restart(&self, ctx: &Context, stop: Stop) -> Result<()> {
        self.server.restart(ctx, stop).await
    }
    async fn lose(&self, ctx: &Context) -> Result<()> {
        self.server.lose(ctx).await
    }
    async fn remove(&self, ctx: &Context) -> Result<()> {
        self.server.remove(ctx).await
    }
}
