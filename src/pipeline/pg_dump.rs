//! Logical backups of PostgreSQL: `pg_dump` out, `pg_restore` or `psql` in, each at the server's own version.
//!
//! An artifact holds the dump (`db.dump`; plain: `db.sql`, `db.sql.gz`), the cluster's roles (`globals.sql`, by `pg_dumpall`,
//! with the hashes of their passwords: without them nobody could log in after a disaster) and the properties of the database itself (`database.sql`). Strict throughout: a tool's stream ends in an
//! error unless the tool ended with 0, so that a failed dump is never committed; a restore stops at its first error, and what
//! its tool called an error fails it whatever the exit code. Not here: what came back (see [`crate::check`]).

pub(in crate::pipeline) mod whole;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::context::Context;
use crate::error::{Doing, Error, Kind, Result};
use crate::evidence::ReadFact;
use crate::pipeline::artifact::{ArtifactReader, ArtifactWriter};
use crate::pipeline::{Fetched, Pipeline, Taken};
use crate::process::Command;
use crate::service::postgres::properties;
use crate::service::{Reading, Running, Service, write_file};
use crate::suite::{DumpFormat, RestoreOptions};

use self::whole::Whole;
use self::words::{check_end, complete_globals, created, forgiving, strict};

/// The cluster's roles in an artifact.
const GLOBALS: &str = "globals.sql";
/// The database's own properties in an artifact.
const PROPERTIES: &str = "database.sql";
/// `pg_dump` and its counterpart.
#[derive(Debug, Clone)]
pub struct PgDump {
    /// `--format`.
    pub format: DumpFormat,
    /// `--compress`, 0 to 9.
    pub compress: u8,
    /// A tool that takes longer is ended, with its whole process group.
    pub deadline: Duration,
    /// Further arguments of `pg_dump`.
    pub extra_dump_args: Vec<String>,
    /// Further arguments of `pg_restore` (custom format only).
    pub extra_restore_args: Vec<String>,
}

impl PgDump {
    /// Dumps in this format, compressed so much (0 to 9), each tool within an hour.
    pub fn new(format: DumpFormat, compress: u8) -> Self {
        Self {
            format,
            compress,
            deadline: Duration::from_secs(3600),
            extra_dump_args: Vec::new(),
            extra_restore_args: Vec::new(),
        }
    }

    /// The dump's name in the artifact.
    pub fn file_name(&self) -> &'static str {
        match (self.format, self.compress) {
            (DumpFormat::Custom, _) => "db.dump",
            (DumpFormat::Plain, 0) => "db.sql",
            (DumpFormat::Plain, _) => "db.sql.gz",
        }
    }

    /// The dump of a database as a stream that ends in an error unless `pg_dump` ends with 0.
    pub fn dump(&self, ctx: &Context, server: &dyn Running, database: &str) -> Result<Reading> {
        let format = match self.format {
            DumpFormat::Custom => "custom",
            DumpFormat::Plain => "plain",
        };
        let command = server
            .tool("pg_dump")
            .arg(format!("--format={format}"))
            .arg(format!("--compress={}", self.compress))
            .args(self.extra_dump_args.iter().cloned())
            .arg(format!("--dbname={database}"))
            .deadline(self.deadline);
        Ok(Box::new(Whole::of(command.stream(ctx)?)))
    }

    /// The cluster's roles and their memberships and settings, as a stream of the same kind.
    pub fn globals(&self, ctx: &Context, server: &dyn Running) -> Result<Reading> {
        let command = server
            .tool("pg_dumpall")
            .args(["--globals-only", "--no-tablespaces"])
            .deadline(self.deadline);
        Ok(Box::new(Whole::of(command.stream(ctx)?)))
    }

    /// Brings one file of an artifact to where the server's tools see it, ready to be restored: a dump unpacked, the
    /// roles such that those that exist already are no error. On any error no file is left.
    pub async fn stage(
        &self,
        ctx: &Context,
        server: &dyn Running,
        name: &str,
        mut input: Reading,
    ) -> Result<PathBuf> {
        if name == GLOBALS {
            let text = complete_globals(input).await?;
            input = Box::new(std::io::Cursor::new(
                forgiving(&text, &server.endpoint().user).into_bytes(),
            ));
        }
        let path = server
            .staging()
            .join(format!("{}-{name}", ctx.next_number()));
        let part = path.with_extension("part");
        let written = async {
            write_file(ctx, server, &part, input).await?;
            server
                .tool("mv")
                .arg(&part)
                .arg(&path)
                .run(ctx)
                .await?
                .ok()?;
            if path.extension().is_none_or(|extension| extension != "gz") {
                return Ok(path.clone());
            }
            let gzip = server
                .tool("gzip")
                .arg("--decompress")
                .arg(&path)
                .deadline(self.deadline);
            gzip.run(ctx).await?.ok()?;
            Ok(path.with_extension(""))
        };
        let written: Result<PathBuf> = written.await;
        if written.is_err() {
            remove(ctx, server, &[&part, &path, &path.with_extension("")]).await;
        }
        written.doing_with(|| format!("bring {name} to the server"))
    }

    /// The TOC of a custom dump: entries, and the instant that its header gives.
    async fn list(
        &self,
        ctx: &Context,
        server: &dyn Running,
        path: &Path,
    ) -> Result<(u64, Option<DateTime<Utc>>)> {
        let list = server
            .tool("pg_restore")
            .env("TZ", "UTC")
            .arg("--list")
            .arg(path)
            .deadline(self.deadline);
        let listed = list.run(ctx).await?.ok()?;
        let text = String::from_utf8_lossy(&listed.stdout);
        let entries = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with(';'))
            .count();
        Ok((entries as u64, created(&text)))
    }

    async fn read(
        &self,
        ctx: &Context,
        artifact: &ArtifactReader,
        server: &dyn Running,
        path: &mut PathBuf,
    ) -> Result<ReadFact> {
        *path = self
            .stage(
                ctx,
                server,
                self.file_name(),
                artifact.open(ctx, self.file_name()).await?,
            )
            .await?;
        let mut fact = ReadFact::default();
        match self.format {
            DumpFormat::Custom => {
                let whole = server
                    .tool("pg_restore")
                    .arg("--file=/dev/null")
                    .arg(&*path)
                    .deadline(self.deadline);
                strict(whole.run(ctx).await?)?;
                (fact.entries, fact.content_time) = self.list(ctx, server, path).await?;
            }
            DumpFormat::Plain => {
                check_end(ctx, server, path).await?;
                let count = server
                    .tool("wc")
                    .arg("-l")
                    .arg(&*path)
                    .deadline(self.deadline);
                let counted = count.run(ctx).await?.ok()?.text();
                fact.entries = counted
                    .split_whitespace()
                    .next()
                    .and_then(|n| n.parse().ok())
                    .unwrap_or(0);
            }
        }
        complete_globals(artifact.open(ctx, GLOBALS).await?).await?;
        Ok(fact)
    }
}

#[async_trait]
impl Pipeline for PgDump {
    async fn backup(
        &self,
        ctx: &Context,
        source: &dyn Service,
        artifact: &mut ArtifactWriter,
    ) -> Result<Taken> {
        let server = source.server();
        let doing = || format!("back up database {}", source.database());
        let dump = self.dump(ctx, &*server, source.database())?;
        let globals = self.globals(ctx, &*server)?;
        let artifact = &*artifact;
        tokio::try_join!(
            artifact.file(ctx, self.file_name(), dump, BTreeMap::new()),
            artifact.file(ctx, GLOBALS, globals, BTreeMap::new()),
        )
        .doing_with(doing)?;
        let properties = properties::script(ctx, &*server, source.database())
            .await
            .doing_with(doing)?;
        let properties = Box::new(std::io::Cursor::new(properties.into_bytes()));
        artifact
            .file(ctx, PROPERTIES, properties, BTreeMap::new())
            .await
            .doing_with(doing)?;
        Ok(Taken {
            // Tools are of the server's own installation.
            tool: format!("pg_dump (PostgreSQL) {}", server.version()),
            refused: None,
        })
    }

    async fn fetch(
        &self,
        ctx: &Context,
        artifact: &ArtifactReader,
        target: &dyn Service,
    ) -> Result<Fetched> {
        let server = target.server();
        let mut fetched = Fetched::default();
        for file in &artifact.manifest.files {
            let input = artifact.open(ctx, &file.name).await?;
            let path = self.stage(ctx, &*server, &file.name, input).await?;
            fetched.files.push((file.name.clone(), path));
            fetched.stored_bytes += file.bytes;
        }
        Ok(fetched)
    }

    /// Roles first, as grants and policies name them, then the dump, then the database's properties, which might make it
    /// read-only. Roles that exist already are kept and given the attributes that they had.
    async fn restore(
        &self,
        ctx: &Context,
        fetched: &Fetched,
        target: &dyn Service,
        options: &RestoreOptions,
    ) -> Result<()> {
        let server = target.server();
        let doing = || format!("restore database {}", target.database());
        let file = |name: &str| {
            fetched
                .files
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, path)| path)
        };
        let dump = file(self.file_name())
            .ok_or_else(|| Error::failed(format!("the artifact has no {}", self.file_name())))
            .doing_with(doing)?;
        if self.format == DumpFormat::Plain {
            check_end(ctx, &*server, dump).await.doing_with(doing)?;
        }
        if let Some(globals) = file(GLOBALS) {
            let psql = psql(target).arg(format!("--file={}", globals.display()));
            strict(psql.run(ctx).await?)
                .doing("restore the roles")
                .doing_with(doing)?;
        }
        let restore = match self.format {
            DumpFormat::Custom => server
                .tool("pg_restore")
                .args(["--exit-on-error", "--no-tablespaces"])
                .arg(format!("--jobs={}", options.jobs.max(1)))
                .args((!options.owner).then_some("--no-owner"))
                .args((!options.acl).then_some("--no-acl"))
                .args(self.extra_restore_args.iter().cloned())
                .arg(format!("--dbname={}", target.database()))
                .arg(dump),
            DumpFormat::Plain => psql(target).arg(format!("--file={}", dump.display())),
        };
        strict(restore.deadline(self.deadline).run(ctx).await?).doing_with(doing)?;
        if let Some(properties) = file(PROPERTIES) {
            let psql = psql(target)
                .args(["-v".to_owned(), format!("owner={}", options.owner)])
                .args(["-v".to_owned(), format!("acl={}", options.acl)])
                .arg(format!("--file={}", properties.display()));
            strict(psql.run(ctx).await?)
                .doing("restore the database's properties")
                .doing_with(doing)?;
        }
        Ok(())
    }

    async fn read_through(
        &self,
        ctx: &Context,
        artifact: &ArtifactReader,
        source: &dyn Service,
    ) -> Result<ReadFact> {
        let server = source.server();
        let mut path = PathBuf::new();
        let read = self.read(ctx, artifact, &*server, &mut path).await;
        if path != Path::new("") {
            remove(ctx, &*server, &[&path]).await;
        }
        let tool = match self.format {
            DumpFormat::Custom => "pg_restore --file=/dev/null",
            DumpFormat::Plain => "the end marker of pg_dump",
        };
        match read {
            Ok(fact) => Ok(ReadFact {
                tool: tool.to_owned(),
                ..fact
            }),
            Err(error) if error.kind() == Kind::Failed => Ok(ReadFact {
                tool: tool.to_owned(),
                error: Some(error.message()),
                ..ReadFact::default()
            }),
            Err(error) => Err(error),
        }
    }
}

/// psql on the target's database: no start-up file, an end at the first error.
fn psql(target: &dyn Service) -> Command {
    target
        .server()
        .tool("psql")
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "--output=/dev/null"])
        .arg(format!("--dbname={}", target.database()))
}

/// Removes a staged file, also after an interruption; what stays behind goes with the staging directory.
async fn remove(ctx: &Context, server: &dyn Running, paths: &[&Path]) {
    let _ = server
        .tool("rm")
        .arg("-f")
        .args(paths)
        .run(&ctx.for_teardown())
        .await;
}
