//! One connection to a database of a server: text in, text out, every wait under a deadline, and with every
//! setting pinned that could make two servers print the same value differently.
//!
//! The only file that speaks through the wire protocol's client. Not here: what is asked (see the modules beside it).

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::JoinHandle;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::context::Context;
use crate::error::{Error, Kind, Result, chain};
use crate::service::{Endpoint, Running};

/// How long a connection may take to be made.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How long one statement may take. Content is read in slices, so that no statement of redrill's own comes near it.
const STATEMENT_DEADLINE: Duration = Duration::from_secs(600);

/// Everything that changes how a value is printed, and everything a database or role may have set that would
/// hinder a session of redrill's (documentation of PostgreSQL 17, chapter 20.11).
const PINS: &str = "
set search_path = '';
set timezone = 'UTC';
set datestyle = 'ISO, YMD';
set intervalstyle = 'postgres';
set extra_float_digits = 1;
set bytea_output = 'hex';
set xmlbinary = 'base64';
set lc_monetary = 'C';
set quote_all_identifiers = off;
set standard_conforming_strings = on;
set row_security = off;
set default_transaction_read_only = off;
set default_transaction_isolation = 'read committed';
set synchronous_commit = on;
set statement_timeout = 0;
set lock_timeout = 0;
set idle_in_transaction_session_timeout = 0;
set jit = off";

/// What a server of this run says is read by redrill too. Only a superuser may set its language.
const MESSAGES: &str = "set lc_messages = 'C'";

/// The SQLSTATE of what the server was not done with in time.
pub const TOO_LONG: &str = "57014";

/// A row as text, `None` for NULL.
pub type Row = Vec<Option<String>>;

/// What the server said instead of an answer: SQLSTATE and message, never the detail, which may quote rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The five characters of the SQLSTATE.
    pub state: String,
    /// `SQLSTATE message`.
    pub words: String,
}

/// A connection that is being kept.
pub struct Session {
    client: Client,
    driver: JoinHandle<()>,
    database: String,
    /// How the connection is encrypted, where it may be.
    tls: Option<MakeRustlsConnect>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// Connects to a database as the server's superuser, with every setting pinned.
    pub async fn open(ctx: &Context, server: &dyn Running, database: &str) -> Result<Self> {
        Self::at(ctx, &server.endpoint(), database).await
    }

    /// The same, by address.
    pub async fn at(ctx: &Context, endpoint: &Endpoint, database: &str) -> Result<Self> {
        let mut config = Config::new();
        config
            .host(&endpoint.host)
            .port(endpoint.port)
            .user(&endpoint.user)
            .dbname(database);
        if !endpoint.password.is_empty() {
            config.password(&endpoint.password);
        }
        let connected = async {
            let session = Self::by(ctx, config, None).await?;
            session.run(ctx, MESSAGES).await?;
            Ok(session)
        };
        connected.await.map_err(|error: Error| {
            error.doing(format!("connect to database {database} at {endpoint:?}"))
        })
    }

    /// Connects to a database of somebody else, as a user who may be allowed to do no more than read.
    pub async fn by(
        ctx: &Context,
        mut config: Config,
        tls: Option<MakeRustlsConnect>,
    ) -> Result<Self> {
        config
            .application_name("redrill")
            .connect_timeout(CONNECT_DEADLINE);
        let (client, driver) = match tls.clone() {
            Some(tls) => connect(ctx, &config, tls).await?,
            None => connect(ctx, &config, NoTls).await?,
        };
        let session = Self {
            client,
            driver,
            database: config.get_dbname().unwrap_or_default().to_owned(),
            tls,
        };
        session.run(ctx, PINS).await?;
        Ok(session)
    }

    /// The server's own clock.
    pub async fn now(&self, ctx: &Context) -> Result<DateTime<Utc>> {
        const NOW: &str = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint";
        let now = self.value(ctx, NOW).await?;
        now.and_then(|now| DateTime::from_timestamp_micros(now.parse().ok()?))
            .ok_or_else(|| Error::failed("the server does not say what time it is"))
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs one statement (or several, when none returns rows). The outer error means that the connection, the
    /// deadline or the run has ended; the inner one that the server answered with a complaint.
    pub async fn ask(
        &self,
        ctx: &Context,
        sql: &str,
    ) -> Result<std::result::Result<Vec<Row>, Complaint>> {
        self.asked(ctx, sql, STATEMENT_DEADLINE).await
    }

    async fn asked(
        &self,
        ctx: &Context,
        sql: &str,
        deadline: Duration,
    ) -> Result<std::result::Result<Vec<Row>, Complaint>> {
        let asking = async {
            match self.client.simple_query(sql).await {
                Ok(messages) => Ok(Ok(messages.iter().filter_map(row).collect())),
                Err(error) => match error.as_db_error() {
                    // Class 57P: the server is going away, and the connection with it.
                    Some(said) if !said.code().code().starts_with("57P") => Ok(Err(Complaint {
                        state: said.code().code().to_owned(),
                        words: format!("{} {}", said.code().code(), said.message()),
                    })),
                    _ => Err(lost(&error)),
                },
            }
        };
        let answer = bounded(ctx, deadline, asking).await;
        if matches!(&answer, Err(error) if matches!(error.kind(), Kind::TimedOut | Kind::Interrupted))
        {
            // The server would go on with it although nobody listens any more.
            let cancelling = self.client.cancel_token();
            let cancelled = async {
                match self.tls.clone() {
                    Some(tls) => cancelling.cancel_query(tls).await,
                    None => cancelling.cancel_query(NoTls).await,
                }
            };
            let _ = tokio::time::timeout(CONNECT_DEADLINE, cancelled).await;
        }
        answer.map_err(|error| error.doing(format!("query database {}", self.database)))
    }

    /// The same, where a complaint is an error.
    pub async fn rows(&self, ctx: &Context, sql: &str) -> Result<Vec<Row>> {
        self.ask(ctx, sql).await?.map_err(|complaint| {
            Error::failed(complaint.words).doing(format!("query database {}", self.database))
        })
    }

    /// Runs one statement within a transaction, which survives a complaint.
    pub async fn attempt(
        &self,
        ctx: &Context,
        sql: &str,
    ) -> Result<std::result::Result<Vec<Row>, Complaint>> {
        self.run(ctx, "savepoint attempt").await?;
        let answer = self.ask(ctx, sql).await?;
        let after = match &answer {
            Ok(_) => "release savepoint attempt",
            Err(_) => "rollback to savepoint attempt",
        };
        self.run(ctx, after).await?;
        Ok(answer)
    }

    /// The same, for as long as the server is told to work on it: then it complains with [`TOO_LONG`].
    pub async fn attempt_within(
        &self,
        ctx: &Context,
        sql: &str,
        patience: Duration,
    ) -> Result<std::result::Result<Vec<Row>, Complaint>> {
        // None at all would be no limit.
        let limit = patience.as_millis().clamp(1, i32::MAX as u128);
        let begin = format!("savepoint attempt; set local statement_timeout = {limit}");
        self.run(ctx, &begin).await?;
        // Only a server that does not even keep its own time is given up.
        let answer = self.asked(ctx, sql, patience + STATEMENT_DEADLINE).await?;
        let after = match &answer {
            Ok(_) => "set local statement_timeout = 0; release savepoint attempt",
            Err(_) => "rollback to savepoint attempt",
        };
        self.run(ctx, after).await?;
        Ok(answer)
    }

    /// Runs statements for their effect.
    pub async fn run(&self, ctx: &Context, sql: &str) -> Result<()> {
        self.rows(ctx, sql).await.map(drop)
    }

    /// The one value that a statement gives; `None` for NULL or no row.
    pub async fn value(&self, ctx: &Context, sql: &str) -> Result<Option<String>> {
        let rows = self.rows(ctx, sql).await?;
        Ok(rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next())
            .flatten())
    }
}

fn row(message: &SimpleQueryMessage) -> Option<Row> {
    match message {
        SimpleQueryMessage::Row(row) => Some(
            (0..row.len())
                .map(|i| row.get(i).map(str::to_owned))
                .collect(),
        ),
        _ => None,
    }
}

fn lost(error: &tokio_postgres::Error) -> Error {
    Error::unavailable(chain(error))
        .last_resort("see the server's own log for why it does not answer")
}

async fn connect<T>(ctx: &Context, config: &Config, tls: T) -> Result<(Client, JoinHandle<()>)>
where
    T: MakeTlsConnect<Socket, Stream: Send, TlsConnect: Send>,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    T::Stream: 'static,
{
    let connecting = async { config.connect(tls).await.map_err(|error| lost(&error)) };
    let (client, connection) = bounded(ctx, CONNECT_DEADLINE, connecting).await?;
    let driver = tokio::spawn(async move {
        // How it ended shows in the statement that was waiting for it.
        let _ = connection.await;
    });
    Ok((client, driver))
}

/// Waits for an answer, but not past a deadline nor past the end of the run.
async fn bounded<T>(
    ctx: &Context,
    deadline: Duration,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        answer = work => answer,
        () = tokio::time::sleep(deadline) => Err(Error::new(
            Kind::TimedOut,
            format!("no answer within {}", humantime::format_duration(deadline)),
        )),
        () = ctx.cancel.cancelled() => Err(Error::interrupted()),
    }
}

/// A name as SQL, always quoted.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text value as SQL, for sessions with `standard_conforming_strings` on, as all of redrill's are.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
