//! Logical backups of PostgreSQL: `pg_dump` out, `pg_restore` or `psql` in, each at the server's own version.
//!
//! An artifact holds the dump (`db.dump`, `db.tar`, the files of `db/`; plain: `db.sql`, packed or not), the cluster's roles
//! (`globals.sql`, by `pg_dumpall`, with the hashes of their passwords: without them nobody could log in after a
//! disaster), the properties of the database itself (`database.sql`) and, when asked for, the sizes and activity of its
//! tables (`statistics.txt`). A dump of definitions or rows alone, or of chosen tables, holds that and no more.
//!
//! Strict throughout: a tool's stream ends in an error unless the tool ended with 0, so that a failed dump is never
//! committed; a dump that the server is too old for is refused before anything is restored; a restore stops at its first
//! error, and what its tool called an error fails it whatever the exit code. Not here: what came back (see
//! [`crate::check`]).

pub(in crate::pipeline) mod archive;
pub(in crate::pipeline) mod gate;
mod stage;
mod statistics;
pub(in crate::pipeline) mod whole;
pub(in crate::pipeline) mod words;

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
use crate::service::postgres::session::identifier;
use crate::service::{Reading, Running, Service};
use crate::suite::dump::COMPRESSES_OTHERWISE;
use crate::suite::{Compression, Dump, DumpFormat, Only, RestoreOptions};

use self::stage::{is_restored, remove};
use self::whole::Whole;
use self::words::{check_end, complete_globals, created, strict};

/// The cluster's roles in an artifact.
const GLOBALS: &str = "globals.sql";
/// The database's own properties in an artifact.
const PROPERTIES: &str = "database.sql";
/// The sizes and activity of the tables in an artifact.
const STATISTICS: &str = "statistics.txt";
/// Where an artifact keeps the files of a dump in the directory format.
const DIRECTORY: &str = "db";
/// The table of contents of a dump in the directory format.
const DIRECTORY_TOC: &str = "toc.dat";

/// `pg_dump` and its counterpart.
#[derive(Debug, Clone)]
pub struct PgDump {
    /// What is dumped, and how.
    pub dump: Dump,
    /// A tool that takes longer is ended, with its whole process group.
    pub deadline: Duration,
    /// Further arguments of `pg_dump`.
    pub extra_dump_args: Vec<String>,
    /// Further arguments of `pg_restore` (not of a plain dump).
    pub extra_restore_args: Vec<String>,
    /// No notice is taken of the restore's errors, as where nobody asks for an end at the first: only to show what comes of
    /// it.
    pub lenient: bool,
}

impl PgDump {
    /// Dumps so, each tool within an hour.
    pub fn new(dump: Dump) -> Self {
        Self {
            dump,
            deadline: Duration::from_secs(3600),
            extra_dump_args: Vec::new(),
            extra_restore_args: Vec::new(),
            lenient: false,
        }
    }

    /// The dump's name in the artifact; of a dump in the directory format, that of the directory.
    pub fn file_name(&self) -> &'static str {
        match (self.dump.format, self.dump.compress) {
            (DumpFormat::Custom, _) => "db.dump",
            (DumpFormat::Tar, _) => "db.tar",
            (DumpFormat::Directory, _) => DIRECTORY,
            (DumpFormat::Plain, Compression::None) => "db.sql",
            (DumpFormat::Plain, Compression::Zlib(_)) => "db.sql.gz",
            (DumpFormat::Plain, Compression::Zstd(_)) => "db.sql.zst",
            (DumpFormat::Plain, Compression::Lz4(_)) => "db.sql.lz4",
        }
    }

    /// `pg_dump` of a database, without a place to write to.
    fn command(&self, server: &dyn Running, database: &str) -> Command {
        let dump = &self.dump;
        let compress = match dump.compress {
            Compression::None => "0".to_owned(),
            // As every version takes it.
            Compression::Zlib(level) => level.to_string(),
            otherwise => otherwise.to_string(),
        };
        let only: &[&str] = match (dump.only, dump.format) {
            (None, _) => &[],
            (Some(Only::Schema), _) => &["--schema-only"],
            // Triggers would fire on the restored rows, and foreign keys refuse what comes before its parent. Of an
            // archive it is said when it is restored.
            (Some(Only::Data), DumpFormat::Plain) => &["--data-only", "--disable-triggers"],
            (Some(Only::Data), _) => &["--data-only"],
        };
        // The target has none of the source's. Of an archive that is said when it is restored.
        let places = (dump.format == DumpFormat::Plain).then_some("--no-tablespaces");
        let tables = dump
            .tables
            .iter()
            .map(|table| format!("--table={}", quoted(table)));
        server
            .tool("pg_dump")
            .arg(format!("--format={}", dump.format.id()))
            .arg(format!("--compress={compress}"))
            .args(only.iter().copied())
            .args(places)
            // A table that is not there is an error, and not left out.
            .args((!dump.tables.is_empty()).then_some("--strict-names"))
            .args(tables)
            .args(self.extra_dump_args.iter().cloned())
            .arg(format!("--dbname={database}"))
            .deadline(self.deadline)
    }

    /// The dump of a database as a stream that ends in an error unless `pg_dump` ends with 0. Not of a dump in the
    /// directory format, which is no stream.
    pub fn stream(&self, ctx: &Context, server: &dyn Running, database: &str) -> Result<Reading> {
        Ok(Box::new(Whole::of(
            self.command(server, database).stream(ctx)?,
        )))
    }

    /// The cluster's roles and their memberships and settings, as a stream of the same kind.
    pub fn globals(&self, ctx: &Context, server: &dyn Running) -> Result<Reading> {
        let command = server
            .tool("pg_dumpall")
            .args(["--globals-only", "--no-tablespaces"])
            .deadline(self.deadline);
        Ok(Box::new(Whole::of(command.stream(ctx)?)))
    }

    /// Older tools would say that they do not know the word, which helps nobody.
    fn can_compress(&self, server: &dyn Running) -> Result<()> {
        let old =
            gate::parts(server.version()).is_some_and(|(major, _)| major < COMPRESSES_OTHERWISE);
        if !(self.dump.compress.is_recent() && old) {
            return Ok(());
        }
        Err(Error::failed(format!(
            "compression {} takes pg_dump {COMPRESSES_OTHERWISE} or newer, and this server's is {}",
            self.dump.compress,
            server.version()
        ))
        .hint("use \"gzip\" for `compress`"))
    }

    /// The TOC of an archive: entries, and the instant that its header gives.
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

    /// Reads a dump that was brought to the server to its end.
    async fn read(&self, ctx: &Context, server: &dyn Running, path: &Path) -> Result<ReadFact> {
        let mut fact = ReadFact::default();
        if self.dump.format == DumpFormat::Plain {
            check_end(ctx, server, path).await?;
            let count = server
                .tool("wc")
                .arg("-l")
                .arg(path)
                .deadline(self.deadline);
            let counted = count.run(ctx).await?.ok()?.text();
            fact.entries = counted
                .split_whitespace()
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0);
        } else {
            let whole = server
                .tool("pg_restore")
                .arg("--file=/dev/null")
                .arg(path)
                .deadline(self.deadline);
            strict(whole.run(ctx).await?)?;
            (fact.entries, fact.content_time) = self.list(ctx, server, path).await?;
        }
        Ok(fact)
    }

    /// Brings the dump to the server and reads it there, and the other files where they are.
    async fn read_all(
        &self,
        ctx: &Context,
        artifact: &ArtifactReader,
        server: &dyn Running,
    ) -> Result<ReadFact> {
        let prefix = format!("{DIRECTORY}/");
        let is_dump = |name: &str| name == self.file_name() || name.starts_with(&prefix);
        let brought = self.bring(ctx, artifact, server, is_dump).await?;
        let Some((_, path)) = brought.files.first() else {
            return Err(self.no_dump());
        };
        let read = self.read(ctx, server, path).await;
        remove(ctx, server, &[path]).await;
        let fact = read?;
        if self.dump.globals {
            complete_globals(artifact.open(ctx, GLOBALS).await?).await?;
        }
        if self.dump.statistics {
            statistics::complete(artifact.open(ctx, STATISTICS).await?).await?;
        }
        Ok(fact)
    }

    fn no_dump(&self) -> Error {
        Error::failed(format!("the artifact has no {}", self.file_name()))
    }

    /// What puts the dump, which is at `path`, into the target.
    fn restoring(&self, target: &dyn Service, path: &Path, options: &RestoreOptions) -> Command {
        if self.dump.format == DumpFormat::Plain {
            let stop = if self.lenient { "0" } else { "1" };
            return psql(target)
                .args(["-v".to_owned(), format!("ON_ERROR_STOP={stop}")])
                .arg(format!("--file={}", path.display()));
        }
        let data: &[&str] = match self.dump.only {
            Some(Only::Data) => &["--data-only", "--disable-triggers"],
            Some(Only::Schema) | None => &[],
        };
        // pg_restore reads a tar archive from its beginning to its end only.
        let jobs = match self.dump.format {
            DumpFormat::Tar => 1,
            _ => options.jobs.max(1),
        };
        target
            .server()
            .tool("pg_restore")
            .arg("--no-tablespaces")
            .args((!self.lenient).then_some("--exit-on-error"))
            .arg(format!("--jobs={jobs}"))
            .args(data.iter().copied())
            .args((!options.owner).then_some("--no-owner"))
            .args((!options.acl).then_some("--no-acl"))
            .args(self.extra_restore_args.iter().cloned())
            .arg(format!("--dbname={}", target.database()))
            .arg(path)
    }

    /// A dump of chosen tables holds their definitions and not the schemas that they are in.
    async fn create_schemas(&self, ctx: &Context, target: &dyn Service) -> Result<()> {
        let mut schemas: Vec<&str> = self
            .dump
            .tables
            .iter()
            .map(|table| split(table).0)
            .collect();
        schemas.dedup();
        if schemas.is_empty() || !self.dump.has_schema() {
            return Ok(());
        }
        let create: String = schemas
            .iter()
            .map(|schema| format!("create schema if not exists {};", identifier(schema)))
            .collect();
        let created = psql(target)
            .arg(format!("--command={create}"))
            .run(ctx)
            .await?;
        strict(created).doing("create the schemas of the chosen tables")
    }
}

/// What to do about a dump that did not come to its end.
const NOT_TAKEN: &str = "nothing of it was committed: the dump before it is what there is to restore; see the log of its step, and \
                         take it once more";
/// What to do about a restore that did not come to its end.
const NOT_RESTORED: &str = "the artifact is as it was, and the target holds a part of it: drop that, see the log of the restore, and \
                            restore once more onto an empty database";

#[async_trait]
impl Pipeline for PgDump {
    async fn backup(
        &self,
        ctx: &Context,
        source: &dyn Service,
        artifact: &mut ArtifactWriter,
    ) -> Result<Taken> {
        let server = source.server();
        let server = &*server;
        let database = source.database();
        let artifact = &*artifact;
        let dump = async {
            self.can_compress(server)?;
            if self.dump.format == DumpFormat::Directory {
                return self.store_directory(ctx, server, database, artifact).await;
            }
            let dump = self.stream(ctx, server, database)?;
            artifact
                .file(ctx, self.file_name(), dump, BTreeMap::new())
                .await
        };
        let globals = async {
            if !self.dump.globals {
                return Ok(());
            }
            let globals = self.globals(ctx, server)?;
            artifact.file(ctx, GLOBALS, globals, BTreeMap::new()).await
        };
        let rest = async {
            tokio::try_join!(dump, globals)?;
            if self.dump.has_schema() && self.dump.tables.is_empty() {
                let properties = properties::script(ctx, server, database).await?;
                let properties = Box::new(std::io::Cursor::new(properties.into_bytes()));
                artifact
                    .file(ctx, PROPERTIES, properties, BTreeMap::new())
                    .await?;
            }
            if self.dump.statistics {
                let statistics = statistics::stream(ctx, source, self.deadline)?;
                artifact
                    .file(ctx, STATISTICS, statistics, BTreeMap::new())
                    .await?;
            }
            Ok(())
        };
        let taken: Result<()> = rest.await;
        taken
            .map_err(|error| error.hint(NOT_TAKEN))
            .doing_with(|| format!("back up database {database}"))?;
        Ok(Taken {
            // Tools are of the server's own installation.
            tool: format!("pg_dump (PostgreSQL) {}", server.version()),
            ..Taken::default()
        })
    }

    async fn fetch(
        &self,
        ctx: &Context,
        artifact: &ArtifactReader,
        target: &dyn Service,
    ) -> Result<Fetched> {
        self.bring(ctx, artifact, &*target.server(), is_restored)
            .await
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
            .ok_or_else(|| self.no_dump())
            .doing_with(doing)?;
        let globals = file(GLOBALS);
        gate::admit(
            ctx,
            &*server,
            self.dump.format,
            dump,
            globals.map(PathBuf::as_path),
        )
        .await
        .doing_with(doing)?;
        if self.dump.format == DumpFormat::Plain {
            check_end(ctx, &*server, dump).await.doing_with(doing)?;
        }
        if let Some(globals) = globals {
            let psql = psql(target).arg(format!("--file={}", globals.display()));
            strict(psql.run(ctx).await?)
                .doing("restore the roles")
                .doing_with(doing)?;
        }
        self.create_schemas(ctx, target).await.doing_with(doing)?;
        let restore = self.restoring(target, dump, options);
        let restored = restore.deadline(self.deadline).run(ctx).await?;
        if !self.lenient {
            strict(restored)
                .map_err(|error| error.hint(NOT_RESTORED))
                .doing_with(doing)?;
        }
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
        let tool = match self.dump.format {
            DumpFormat::Plain => "the end marker of pg_dump",
            DumpFormat::Custom | DumpFormat::Directory | DumpFormat::Tar => {
                "pg_restore --file=/dev/null"
            }
        };
        match self.read_all(ctx, artifact, &*source.server()).await {
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

/// Schema and name of a table as a suite says it.
fn split(table: &str) -> (&str, &str) {
    table.split_once('.').unwrap_or(("public", table))
}

/// A table by its exact name, as `pg_dump` takes it.
fn quoted(table: &str) -> String {
    let (schema, name) = split(table);
    format!("{}.{}", identifier(schema), identifier(name))
}

/// psql on the target's database: no start-up file, an end at the first error.
fn psql(target: &dyn Service) -> Command {
    target
        .server()
        .tool("psql")
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "--output=/dev/null"])
        .arg(format!("--dbname={}", target.database()))
}
