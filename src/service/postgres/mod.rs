//! PostgreSQL: one database of a server, as something to fill, write to, read back and ask.
//!
//! Reading everything back has a file each: [`content`] (rows), [`catalogue`] (definitions), [`sequences`]. Not here: how
//! it is backed up and restored (see [`crate::pipeline::pg_dump`]).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio_util::io::StreamReader;

use crate::clock::{Clock, Stopwatch, SystemClock};
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::evidence::{Observation, SmokeFact, TiesFact};
use crate::process::quoted;
use crate::service::postgres::content::Reading;
use crate::service::postgres::script::Origins;
use crate::service::postgres::session::{Session, identifier, literal};
use crate::service::{Endpoint, Running, Service};
use crate::suite::Smoke;

pub mod catalogue;
pub mod content;
pub mod integrity;
pub mod live;
pub mod needs;
pub mod properties;
pub mod script;
pub mod sequences;
pub mod session;
pub mod smoke;
pub mod ties;

/// How long a server may take to come back after a crash of one of its processes, and a database to be let go of.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Which cluster this is, and which of its databases: a copy of the files has all three, a restored dump has not.
const IDENTITY: &str =
    "select format('cluster %s, database %I (%s)', c.system_identifier, d.datname, d.oid)
from pg_control_system() c, pg_database d where d.datname = current_database()";

/// One database of a server.
pub struct PostgresService {
    server: Arc<dyn Running>,
    database: String,
    seed: Option<PathBuf>,
    /// The connection that ledger entries are written on.
    writer: tokio::sync::Mutex<Option<Session>>,
}

/// Asks a server a real query, as its superuser: it is ready when this succeeds.
pub async fn answers(ctx: &Context, endpoint: &Endpoint) -> Result<()> {
    Session::at(ctx, endpoint, "postgres")
        .await?
        .run(ctx, "select 1")
        .await
}

impl PostgresService {
    /// A database of a server, which need not exist yet, and the psql script that fills it.
    pub fn new(
        server: Arc<dyn Running>,
        database: impl Into<String>,
        seed: Option<PathBuf>,
    ) -> Self {
        Self {
            server,
            database: database.into(),
            seed,
            writer: tokio::sync::Mutex::default(),
        }
    }

    /// The name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Another database of the same server: a recovery restores beside the lost one.
    #[must_use]
    pub fn in_database(&self, name: impl Into<String>) -> Self {
        Self::new(self.server.clone(), name, self.seed.clone())
    }

    /// Swaps by rename, in one transaction: this database becomes `aside`, and `with` takes its name. Sessions of either are
    /// ended, as a database in use cannot be renamed.
    pub async fn swap(&self, ctx: &Context, with: &str, aside: &str) -> Result<()> {
        let (watch, typed) = (Stopwatch::start(), self.elsewhere_name());
        let rename = |from: &str, to: &str| {
            format!(
                "alter database {} rename to {}",
                identifier(from),
                identifier(to)
            )
        };
        let statements = [rename(&self.database, aside), rename(with, &self.database)];
        let doing = || format!("swap database {with} into the place of {}", self.database);
        *self.writer.lock().await = None;
        let session = self.elsewhere(ctx).await?;
        let end_sessions = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname in ({}, {})",
            literal(&self.database),
            literal(with)
        );
        loop {
            session
                .run(ctx, &end_sessions)
                .await
                .map_err(|error| error.doing(doing()))?;
            match session
                .ask(
                    ctx,
                    &format!("begin; {}; {}; commit", statements[0], statements[1]),
                )
                .await?
            {
                Ok(_) => break,
                // 55006: somebody is (still, or again) connected.
                Err(complaint) if complaint.state == "55006" && watch.elapsed() < PATIENCE => {
                    session.run(ctx, "rollback").await?;
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(complaint) => return Err(Error::failed(complaint.words).doing(doing())),
            }
        }
        let shown = as_typed(typed, &statements.join("; "));
        ctx.note(shown, Some(0), watch.seconds(), std::path::Path::new(""));
        Ok(())
    }

    /// Drops this database, ending every session of it; one that is not there is no error.
    pub async fn drop_database(&self, ctx: &Context) -> Result<()> {
        *self.writer.lock().await = None;
        let session = self.elsewhere(ctx).await?;
        let drop = format!(
            "drop database if exists {} with (force)",
            identifier(&self.database)
        );
        let typed = as_typed(self.elsewhere_name(), &drop);
        ctx.noting(typed, session.run(ctx, &drop)).await
    }

    async fn open(&self, ctx: &Context) -> Result<Session> {
        Session::open(ctx, &*self.server, &self.database).await
    }

    /// A session in a database other than this one.
    async fn elsewhere(&self, ctx: &Context) -> Result<Session> {
        Session::open(ctx, &*self.server, self.elsewhere_name()).await
    }

    fn elsewhere_name(&self) -> &'static str {
        match self.database.as_str() {
            "postgres" => "template1",
            _ => "postgres",
        }
    }

    /// A session that reads what another one sees (its exported snapshot), or what there is now.
    async fn open_reader(&self, ctx: &Context, snapshot: Option<&str>) -> Result<Session> {
        let session = self.open(ctx).await?;
        session
            .run(
                ctx,
                "begin transaction isolation level repeatable read, read only",
            )
            .await?;
        if let Some(snapshot) = snapshot {
            session
                .run(
                    ctx,
                    &format!("set transaction snapshot {}", literal(snapshot)),
                )
                .await?;
        }
        Ok(session)
    }

    /// Reads until nothing is left, coming back when what was read brought a process of the server down.
    async fn read_on(&self, ctx: &Context, reading: &Reading, mut session: Session) -> Result<()> {
        while let Err(error) = reading.work(ctx, &session).await {
            if error.kind() != Kind::Unavailable {
                return Err(error);
            }
            let watch = Stopwatch::start();
            session = loop {
                match self.open_reader(ctx, None).await {
                    Ok(session) => break session,
                    Err(error)
                        if watch.elapsed() > PATIENCE || error.kind() == Kind::Interrupted =>
                    {
                        return Err(error);
                    }
                    Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
                }
            };
        }
        Ok(())
    }
}

#[async_trait]
impl Service for PostgresService {
    fn server(&self) -> Arc<dyn Running> {
        self.server.clone()
    }

    fn database(&self) -> &str {
        &self.database
    }

    /// Creates the database from `template0`, so that nothing of the site is in it. One that exists is left as it is:
    /// whether it is empty is asked by [`Service::population`].
    async fn create(&self, ctx: &Context) -> Result<()> {
        let session = self.elsewhere(ctx).await?;
        let create = format!(
            "create database {} template template0",
            identifier(&self.database)
        );
        let watch = Stopwatch::start();
        match session.ask(ctx, &create).await? {
            Ok(_) => {
                let typed = as_typed(self.elsewhere_name(), &create);
                ctx.note(typed, Some(0), watch.seconds(), std::path::Path::new(""));
                Ok(())
            }
            Err(complaint) if complaint.state == "42P04" => Ok(()),
            Err(complaint) => {
                Err(Error::failed(complaint.words)
                    .doing(format!("create database {}", self.database)))
            }
        }
    }

    async fn seed(&self, ctx: &Context, scale: f64, seed: u64) -> Result<()> {
        let Some(path) = self.seed.clone() else {
            return Ok(());
        };
        let origins = Arc::<Mutex<Origins>>::default();
        let psql = self
            .server
            .tool("psql")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1"])
            .args([
                "-v".to_owned(),
                format!("scale={scale}"),
                "-v".to_owned(),
                format!("seed={seed}"),
            ])
            .arg(format!("--dbname={}", self.database))
            .arg("--file=-");
        let finished = psql
            .feed(ctx, expanded(path.clone(), origins.clone()))
            .await?;
        finished.ok().map(drop).map_err(|error| {
            let place = stream_line(&error.message()).and_then(|line| {
                origins
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .place(line)
            });
            error.doing(match place {
                Some(place) => format!("seed database {} at {place}", self.database),
                None => format!("seed database {} from {}", self.database, path.display()),
            })
        })
    }

    async fn plant(&self, ctx: &Context, nonce: &str, canary: &str) -> Result<()> {
        let session = self.open(ctx).await?;
        let (nonce, text, name) = (literal(nonce), literal(canary), identifier(canary));
        session
            .run(
                ctx,
                &format!(
                    "begin;
create schema redrill;
create table redrill.run (nonce text primary key, canary text not null);
insert into redrill.run values ({nonce}, {text});
comment on table redrill.run is {text};
create view redrill.{name} as select canary from redrill.run;
create table redrill.ledger (number bigint primary key, at timestamptz not null default clock_timestamp(), payload text);
commit"
                ),
            )
            .await
            .map_err(|error| error.doing("plant the run's nonce"))
    }

    async fn write(&self, ctx: &Context, number: u64) -> Result<String> {
        // A repetition after a lost answer must not be a duplicate.
        let insert = format!(
            "insert into redrill.ledger (number, payload) values ({number}, 'entry {number} of {}') on conflict (number) do nothing",
            ctx.run
        );
        let mut writer = self.writer.lock().await;
        if writer.as_ref().is_none_or(Session::is_closed) {
            *writer = Some(self.open(ctx).await?);
        }
        for again in [true, false] {
            let session = writer
                .as_ref()
                .ok_or_else(|| Error::defect("the writer has no session"))?;
            match session.run(ctx, &insert).await {
                Ok(()) => break,
                // The server was restarted behind an idle connection.
                Err(error) if again && error.kind() == Kind::Unavailable => {
                    *writer = Some(self.open(ctx).await?);
                }
                Err(error) => return Err(error.doing(format!("write ledger entry {number}"))),
            }
        }
        let session = writer
            .as_ref()
            .ok_or_else(|| Error::defect("the writer has no session"))?;
        let lsn = session.value(ctx, "select pg_current_wal_lsn()").await?;
        lsn.ok_or_else(|| Error::failed("the server gave no log position"))
    }

    async fn population(&self, ctx: &Context) -> Result<u64> {
        let session = self.open(ctx).await?;
        let count = session.value(ctx, POPULATION).await?;
        count
            .and_then(|count| count.parse().ok())
            .ok_or_else(|| Error::defect("the count of objects has an unexpected shape"))
    }

    async fn observe(&self, ctx: &Context) -> Result<Observation> {
        let first = self.open_reader(ctx, None).await?;
        let snapshot = first.value(ctx, "select pg_export_snapshot()").await?;
        let second = self.open_reader(ctx, snapshot.as_deref()).await?;
        let reading = Reading::plan(ctx, &first).await?;
        let definitions = async {
            let mut found = Observation::default();
            let (catalogue, refused) = catalogue::read(ctx, &first).await?;
            let shared = |(entry, definition): (String, String)| (entry.into(), definition.into());
            found.catalogue = catalogue.into_iter().map(shared).collect();
            found.unreadable.extend(refused);
            let (facts, refused) = sequences::read(ctx, &first).await?;
            found.sequences = facts;
            found.unreadable.extend(refused);
            found.ledger = content::ledger(ctx, &first).await?;
            found.nonce = content::mark(ctx, &first, "nonce").await?;
            found.canary = content::mark(ctx, &first, "canary").await?;
            found.identity = first.value(ctx, IDENTITY).await?.unwrap_or_default();
            found.bytes = content::bytes(ctx, &first).await?;
            self.read_on(ctx, &reading, first).await?;
            Ok(found)
        };
        let (found, rows) = tokio::join!(definitions, self.read_on(ctx, &reading, second));
        let mut found = found?;
        rows?;
        let read = reading.finish();
        (found.parts, found.derived) = (read.parts, read.derived);
        found.unreadable.extend(read.unreadable);
        found.taken_at = SystemClock.now();
        Ok(found)
    }

    async fn smoke(&self, ctx: &Context, questions: &[Smoke]) -> Result<Vec<SmokeFact>> {
        let mut facts = Vec::with_capacity(questions.len());
        let mut session = self.open(ctx).await;
        for question in questions {
            let watch = Stopwatch::start();
            let answer = match &session {
                Ok(open) => smoke::ask(ctx, open, question).await,
                Err(error) => Ok(SmokeFact::of(question, Err(error.message()))),
            };
            let answered = answer.as_ref().is_ok_and(|fact| fact.answer.is_ok());
            let (typed, exit) = (
                as_typed(&self.database, &question.ask),
                answered.then_some(0),
            );
            ctx.note(typed, exit, watch.seconds(), std::path::Path::new(""));
            match answer {
                Ok(fact) => facts.push(fact),
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                Err(error) => {
                    facts.push(SmokeFact::of(question, Err(error.message())));
                    session = self.open(ctx).await;
                }
            }
        }
        smoke::together(&mut facts);
        Ok(facts)
    }

    async fn ties(&self, ctx: &Context, alone: bool) -> Result<Option<TiesFact>> {
        let only = (!alone).then_some(self.database.as_str());
        ties::ask(ctx, &*self.server, only).await.map(Some)
    }

    async fn symptom(&self, ctx: &Context) -> Option<String> {
        let session = match self.open(ctx).await {
            Ok(session) => session,
            Err(error) => return Some(error.message()),
        };
        match content::first_complaint(ctx, &session).await {
            Ok(complaint) => complaint,
            Err(error) => Some(error.message()),
        }
    }
}

/// A statement that is sent over a connection, as an operator types it.
fn as_typed(database: &str, statement: &str) -> String {
    let database = quoted(&format!("--dbname={database}"));
    format!(
        "psql {database} {}",
        quoted(&format!("--command={statement}"))
    )
}

/// A script and what it includes, as a stream.
fn expanded(
    path: PathBuf,
    origins: Arc<Mutex<Origins>>,
) -> impl tokio::io::AsyncRead + Unpin + Send {
    const CHUNK: usize = 1 << 16;
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(4);
    tokio::task::spawn_blocking(move || {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let gone = |_| Error::failed("psql has ended");
        let mut emit = |line: &[u8]| {
            chunk.extend_from_slice(line);
            if chunk.len() < CHUNK {
                return Ok(());
            }
            sender
                .blocking_send(Ok(chunk.split().freeze()))
                .map_err(gone)
        };
        let last = match script::expand(&path, &mut emit, &origins) {
            Ok(()) => Ok(chunk.freeze()),
            Err(error) => Err(std::io::Error::other(error.to_string())),
        };
        // When nobody listens any more, psql has ended, and its exit code says why.
        let _ = sender.blocking_send(last);
    });
    let stream = futures::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    });
    StreamReader::new(Box::pin(stream))
}

/// The line in `psql:<stdin>:LINE: ERROR: …`.
fn stream_line(message: &str) -> Option<u64> {
    let (_, rest) = message.split_once("psql:<stdin>:")?;
    rest.split(':').next()?.parse().ok()
}

/// Everything in a database that `create database … template template0` does not put there.
const POPULATION: &str = "
with member as (select classid, objid from pg_depend where deptype = 'e')
select
  (select count(*) from pg_class c where c.oid >= 16384 and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f', 'c') and c.relpersistence <> 't'
    and ('pg_class'::regclass::oid, c.oid) not in (select classid, objid from member))
  + (select count(*) from pg_proc p where p.oid >= 16384 and ('pg_proc'::regclass::oid, p.oid) not in (select classid, objid from member))
  + (select count(*) from pg_type t where t.oid >= 16384 and t.typtype in ('e', 'd', 'r')
    and ('pg_type'::regclass::oid, t.oid) not in (select classid, objid from member))
  + (select count(*) from pg_namespace n where n.oid >= 16384 and n.nspname !~ '^pg_'
    and ('pg_namespace'::regclass::oid, n.oid) not in (select classid, objid from member))
  + (select count(*) from pg_largeobject_metadata)";
