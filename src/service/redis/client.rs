//! The one place that speaks the Redis protocol: a connection of redrill's own, batches, and replies read as
//! what they should be. The only file that uses the crate `redis`.
//!
//! Every call has a deadline and ends when the run is interrupted. Not here: what is asked, or what it means.

use std::collections::BTreeMap;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, ConnectionAddr, ErrorKind, RedisConnectionInfo, RedisError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

pub use ::redis::{Cmd, Pipeline as Batch, Value as Reply, cmd};

use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::service::Endpoint;

/// How long a server may take to accept a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How long a server may take to answer one batch; no batch asks for more than a few megabytes.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// A connection to one server. It is not shared: the selected database is this connection's own.
pub struct Client {
    connection: MultiplexedConnection,
    cancel: CancellationToken,
    address: String,
}

impl Client {
    /// Connects and, where the endpoint has a password, authenticates.
    pub async fn connect(ctx: &Context, endpoint: &Endpoint) -> Result<Self> {
        ctx.go_on()?;
        let address = format!("{}:{}", endpoint.host, endpoint.port);
        let told =
            |error: &RedisError| explain(error).doing(format!("connect to redis at {address}"));
        let info = ::redis::IntoConnectionInfo::into_connection_info((
            endpoint.host.as_str(),
            endpoint.port,
        ))
        .map_err(|error| told(&error))?
        .set_redis_settings(settings(endpoint));
        let client = ::redis::Client::open(info).map_err(|error| told(&error))?;
        let config = config();
        let connection = tokio::select! {
            connection = client.get_multiplexed_async_connection_with_config(&config) => {
                connection.map_err(|error| told(&error))?
            }
            () = ctx.cancel.cancelled() => return Err(Error::interrupted()),
        };
        Ok(Self {
            connection,
            cancel: ctx.cancel.clone(),
            address,
        })
    }

    /// The same over a stream that was opened before, such as one by TLS.
    pub async fn over(
        ctx: &Context,
        endpoint: &Endpoint,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Self> {
        let address = format!("{}:{}", endpoint.host, endpoint.port);
        let settings = settings(endpoint);
        let opened = MultiplexedConnection::new_with_config(&settings, stream, config()).await;
        let (connection, driver) = opened
            .map_err(|error| explain(&error).doing(format!("connect to redis at {address}")))?;
        // Ends by itself when the connection is gone.
        tokio::spawn(driver);
        Ok(Self {
            connection,
            cancel: ctx.cancel.clone(),
            address,
        })
    }

    /// Sends one command; a complaint of the server is an error.
    pub async fn call(&mut self, command: &Cmd) -> Result<Reply> {
        let reply = self.raw(command).await?;
        accept(reply)
    }

    /// Sends one command; a complaint of the server is a reply like any other.
    pub async fn raw(&mut self, command: &Cmd) -> Result<Reply> {
        tokio::select! {
            reply = self.connection.send_packed_command(command) => match reply {
                Ok(reply) => Ok(reply),
                Err(error) => Err(self.told(&error)),
            },
            () = self.cancel.cancelled() => Err(Error::interrupted()),
        }
    }

    /// Sends a batch in one go; a reply each, in order, complaints of the server among them.
    pub async fn each(&mut self, batch: &Batch) -> Result<Vec<Reply>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let replies = tokio::select! {
            replies = self.connection.send_packed_commands(batch, 0, batch.len()) => match replies {
                Ok(replies) => replies,
                Err(error) => return Err(self.told(&error)),
            },
            () = self.cancel.cancelled() => return Err(Error::interrupted()),
        };
        if replies.len() == batch.len() {
            Ok(replies)
        } else {
            Err(Error::defect(format!(
                "{} replies to {} commands",
                replies.len(),
                batch.len()
            )))
        }
    }

    /// Sends a batch in one go; the first complaint of the server is an error.
    pub async fn all(&mut self, batch: &Batch) -> Result<Vec<Reply>> {
        self.each(batch).await?.into_iter().map(accept).collect()
    }

    /// Selects a database for what follows.
    pub async fn select(&mut self, database: u32) -> Result<()> {
        self.call(cmd("SELECT").arg(database)).await.map(drop)
    }

    /// One section of `INFO`.
    pub async fn info(&mut self, section: &str) -> Result<Info> {
        let reply = self.call(cmd("INFO").arg(section)).await?;
        Ok(Info::parse(&text(reply)?))
    }

    /// A server setting; `None` when the server does not know it.
    pub async fn setting(&mut self, name: &str) -> Result<Option<String>> {
        let reply = self.call(cmd("CONFIG").arg("GET").arg(name)).await?;
        fields(reply)?.remove(name).map(text).transpose()
    }

    /// Changes a server setting of the running server.
    pub async fn set(&mut self, name: &str, value: &str) -> Result<()> {
        self.call(cmd("CONFIG").arg("SET").arg(name).arg(value))
            .await
            .map(drop)
            .map_err(|error| error.doing(format!("set {name}")))
    }

    /// Whether the server has a command.
    pub async fn has(&mut self, command: &str) -> Result<bool> {
        let reply = self.call(cmd("COMMAND").arg("INFO").arg(command)).await?;
        Ok(list(reply)?
            .first()
            .is_some_and(|found| *found != Reply::Nil))
    }

    fn told(&self, error: &RedisError) -> Error {
        explain(error).doing(format!("talk to redis at {}", self.address))
    }
}

/// Who one is there.
fn settings(endpoint: &Endpoint) -> RedisConnectionInfo {
    let mut settings = RedisConnectionInfo::default();
    if !endpoint.user.is_empty() {
        settings = settings.set_username(&endpoint.user);
    }
    if !endpoint.password.is_empty() {
        settings = settings.set_password(&endpoint.password);
    }
    settings
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_DEADLINE))
        .set_response_timeout(Some(ANSWER_DEADLINE))
        .set_write_backpressure_boundary(256 << 10)
}

/// Where a URL `redis://` says that a server answers, and who one is there; `None` of what is no such URL.
pub fn endpoint(url: &str) -> Option<Endpoint> {
    let info = ::redis::IntoConnectionInfo::into_connection_info(url).ok()?;
    let ConnectionAddr::Tcp(host, port) = info.addr() else {
        return None;
    };
    let settings = info.redis_settings();
    let text = |it: Option<&str>| it.unwrap_or_default().to_owned();
    Some(Endpoint {
        host: host.clone(),
        port: *port,
        user: text(settings.username()),
        password: text(settings.password()),
    })
}

/// A failure of the connection, or of the handshake, in the server's or the system's words.
fn explain(error: &RedisError) -> Error {
    let kind = if error.is_timeout() {
        Kind::TimedOut
    } else if error.is_io_error() || error.kind() == ErrorKind::Io {
        Kind::Unavailable
    } else {
        Kind::Failed
    };
    let told = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    };
    Error::new(kind, told)
}

fn accept(reply: Reply) -> Result<Reply> {
    match complaint(&reply) {
        Some(words) => Err(Error::failed(words)),
        None => Ok(reply),
    }
}

/// The server's complaint, when the reply is one.
pub fn complaint(reply: &Reply) -> Option<String> {
    match reply {
        Reply::ServerError(error) => Some(
            format!("{} {}", error.code(), error.details().unwrap_or_default())
                .trim()
                .to_owned(),
        ),
        _ => None,
    }
}

fn unexpected(wanted: &str, reply: &Reply) -> Error {
    // The kind of reply only: its content may be data.
    let got = match reply {
        Reply::Nil => "nothing".to_owned(),
        Reply::Int(_) => "a number".to_owned(),
        Reply::BulkString(_) | Reply::SimpleString(_) | Reply::Okay => "a string".to_owned(),
        Reply::Array(_) | Reply::Set(_) | Reply::Map(_) => "a list".to_owned(),
        Reply::ServerError(_) => complaint(reply).unwrap_or_default(),
        _ => "a reply of another kind".to_owned(),
    };
    Error::failed(format!("redis answered {got} where {wanted} was expected"))
}

/// A reply as bytes; `None` for nil.
pub fn maybe_bytes(reply: Reply) -> Result<Option<Vec<u8>>> {
    match reply {
        Reply::Nil => Ok(None),
        Reply::BulkString(bytes) => Ok(Some(bytes)),
        Reply::SimpleString(text) => Ok(Some(text.into_bytes())),
        Reply::Okay => Ok(Some(b"OK".to_vec())),
        Reply::Int(number) => Ok(Some(number.to_string().into_bytes())),
        Reply::Double(number) => Ok(Some(number.to_string().into_bytes())),
        Reply::Boolean(yes) => Ok(Some(u8::from(yes).to_string().into_bytes())),
        Reply::VerbatimString { text, .. } => Ok(Some(text.into_bytes())),
        other => Err(unexpected("a string", &other)),
    }
}

/// A reply as bytes.
pub fn bytes(reply: Reply) -> Result<Vec<u8>> {
    maybe_bytes(reply)?.ok_or_else(|| unexpected("a string", &Reply::Nil))
}

/// A reply as text.
pub fn text(reply: Reply) -> Result<String> {
    Ok(String::from_utf8_lossy(&bytes(reply)?).into_owned())
}

/// A reply as a number.
pub fn int(reply: Reply) -> Result<i64> {
    match reply {
        Reply::Int(number) => Ok(number),
        other => Err(unexpected("a number", &other)),
    }
}

/// A reply as a list; nil is an empty one.
pub fn list(reply: Reply) -> Result<Vec<Reply>> {
    match reply {
        Reply::Nil => Ok(Vec::new()),
        Reply::Array(items) | Reply::Set(items) => Ok(items),
        Reply::Map(pairs) => Ok(pairs.into_iter().flat_map(|(a, b)| [a, b]).collect()),
        other => Err(unexpected("a list", &other)),
    }
}

/// A reply of alternating names and values.
pub fn fields(reply: Reply) -> Result<BTreeMap<String, Reply>> {
    let mut fields = BTreeMap::new();
    let mut items = list(reply)?.into_iter();
    while let (Some(name), Some(value)) = (items.next(), items.next()) {
        fields.insert(text(name)?, value);
    }
    Ok(fields)
}

/// The fields of one section of `INFO`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info(BTreeMap<String, String>);

impl Info {
    /// From the server's text: `name:value` lines, with `#` headings.
    pub fn parse(text: &str) -> Self {
        let pairs = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.trim_end().split_once(':'));
        Self(
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// A field as text; empty when it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A field as a number, when it is there and is one.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok()
    }

    /// Whether a 0-or-1 field is 1.
    pub fn flag(&self, name: &str) -> bool {
        self.text(name) == "1"
    }

    /// Every field.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// What `INFO keyspace` says of one database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keyspace {
    /// Keys that never expire.
    pub persistent: u64,
    /// Keys with an expiry, those among them that have passed it but were not removed yet included.
    pub expiring: u64,
    /// Hashes that have fields with an expiry of their own (servers that have such fields).
    pub hashes_with_expiring_fields: u64,
}

/// Every database that holds keys, from `INFO keyspace`: `db0:keys=3,expires=2,avg_ttl=0`.
pub async fn keyspaces(client: &mut Client) -> Result<BTreeMap<u32, Keyspace>> {
    let info = client.info("keyspace").await?;
    Ok(info.all().filter_map(keyspace).collect())
}

fn keyspace((name, value): (&str, &str)) -> Option<(u32, Keyspace)> {
    let database = name.strip_prefix("db")?.parse().ok()?;
    let field = |wanted: &str| {
        value
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .find(|(name, _)| *name == wanted)
            .and_then(|(_, number)| number.parse::<u64>().ok())
    };
    let (keys, expiring) = (field("keys")?, field("expires")?);
    Some((
        database,
        Keyspace {
            persistent: keys.saturating_sub(expiring),
            expiring,
            // Redis 7.4 and newer; Valkey 9 and newer.
            hashes_with_expiring_fields: field("subexpiry")
                .or_else(|| field("keys_with_volatile_items"))
                .unwrap_or(0),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyspace_line_gives_keys_that_stay_and_keys_that_go() {
        let info = Info::parse(
            "# Keyspace\r\ndb0:keys=13,expires=2,avg_ttl=0\r\ndb5:keys=1,expires=0,avg_ttl=0,subexpiry=7\r\n",
        );
        let all: BTreeMap<u32, Keyspace> = info.all().filter_map(keyspace).collect();
        assert_eq!(all[&0].persistent, 11);
        assert_eq!(all[&0].expiring, 2);
        assert_eq!(all[&5].hashes_with_expiring_fields, 7);
    }

    #[test]
    fn a_reply_of_the_wrong_kind_is_an_error_that_shows_no_data() {
        let error = int(Reply::BulkString(b"secret".to_vec())).expect_err("not a number");
        assert_eq!(
            error.to_string(),
            "redis answered a string where a number was expected"
        );
    }

    #[test]
    fn info_reads_fields_and_leaves_headings() {
        let info = Info::parse("# Server\r\nredis_version:7.0.15\r\nloading:0\r\n");
        assert_eq!(info.text("redis_version"), "7.0.15");
        assert_eq!(info.number("loading"), Some(0));
        assert!(!info.flag("loading"));
        assert_eq!(info.text("absent"), "");
    }
}
