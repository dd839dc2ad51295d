//! A Redis that somebody else runs: its keys counted by database and type, as an observation names them, and nothing
//! written. A user that may read (`~* +@read +@connection +info`) suffices.
//!
//! Counted are keys that never expire: the others come and go between a backup and now, rightly.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::context::{Context, Secrets};
use crate::error::{Error, Result, chain};
use crate::evidence::Held;
use crate::service::Endpoint;
use crate::service::live::{UNTRUSTED, trusting};
use crate::service::redis::client::{self, Batch, Client, cmd, int, keyspaces, text};
use crate::service::redis::value::{Kind, cursor_and_items};

/// How long a server may take to accept a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// How long counting may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// How many keys are asked for at once.
const KEYS: usize = 1_000;
/// How often a database is counted again when its keys do not agree with the server's own count.
const ATTEMPTS: usize = 5;
/// How far the two may be apart while others write: one key in so many.
const APART: u64 = 100;

/// A live source.
#[derive(Debug)]
pub struct Live {
    endpoint: Endpoint,
    tls: bool,
}

impl Live {
    /// The server that a URL names, as `redis://user:password@host:port`, or `rediss://` by TLS.
    pub fn parse(url: &str, secrets: &Secrets) -> Result<Self> {
        let plain = url.strip_prefix("rediss://");
        let tls = plain.is_some();
        let plain = plain.map_or(url.to_owned(), |rest| format!("redis://{rest}"));
        let endpoint = client::endpoint(&plain).ok_or_else(|| {
            Error::usage("the URL of the live source cannot be read")
                .hint("as redis://reader:password@host:6379, or rediss:// by TLS")
        })?;
        if !endpoint.password.is_empty() {
            secrets.register("password of the live source", &endpoint.password);
        }
        Ok(Self { endpoint, tls })
    }

    /// Counts the keys of every database, by type.
    pub async fn count(&self, ctx: &Context) -> Result<Held> {
        let counted = tokio::time::timeout(PATIENCE, async {
            let mut client = self.connect(ctx).await?;
            let mut rows = BTreeMap::new();
            for database in keyspaces(&mut client).await?.into_keys() {
                // A node of a cluster has one database, and refuses to be asked for one.
                if database > 0 {
                    client.select(database).await?;
                }
                for (kind, keys) in settled(ctx, &mut client, database).await? {
                    rows.insert(format!("db{database} {kind}"), keys);
                }
            }
            Ok::<_, Error>(rows)
        });
        let slow = |_| Error::unavailable("the live source was not counted within 10 minutes");
        let rows: BTreeMap<String, u64> = counted.await.map_err(slow)??;
        Ok(Held {
            bytes: 0,
            objects: rows.len() as u64,
            rows,
        })
    }

    async fn connect(&self, ctx: &Context) -> Result<Client> {
        let connecting = async {
            if !self.tls {
                return Client::connect(ctx, &self.endpoint).await;
            }
            let failed = |error: std::io::Error| Error::unavailable(chain(&error));
            let host = self.endpoint.host.clone();
            let stream = TcpStream::connect((host.as_str(), self.endpoint.port));
            let stream = stream.await.map_err(failed)?;
            let name = ServerName::try_from(host)
                .map_err(|_| Error::usage("the host of the live source is no name"))?;
            let tls = TlsConnector::from(Arc::new(trusting()?));
            let stream = tls.connect(name, stream).await.map_err(failed)?;
            Client::over(ctx, &self.endpoint, stream).await
        };
        let connected = tokio::select! {
            connected = tokio::time::timeout(CONNECT, connecting) => connected,
            () = ctx.cancel.cancelled() => return Err(Error::interrupted()),
        };
        let connected = connected.unwrap_or_else(|_| Err(Error::unavailable("it does not answer")));
        connected.map_err(|error| {
            let hint = match error.message().contains("certificate") {
                true => UNTRUSTED,
                false => "see whether host, port, user and password are right, and whether it wants TLS (rediss://)",
            };
            error.doing("connect to the live source").hint(hint)
        })
    }
}

/// Counts a database until its keys agree with the server's count: `SCAN` may hand out a key twice while a table shrinks.
async fn settled(
    ctx: &Context,
    client: &mut Client,
    database: u32,
) -> Result<BTreeMap<&'static str, u64>> {
    let mut attempt = 1;
    loop {
        let before = persistent(client, database).await?;
        let (counted, all) = scan(ctx, client).await?;
        let after = persistent(client, database).await?;
        let (least, most) = (before.min(after), before.max(after));
        if all + all / APART >= least && all <= most + most / APART {
            return Ok(counted);
        }
        if attempt == ATTEMPTS {
            return Err(Error::failed(format!(
                "its keys kept changing while they were counted: {all} of database {database} were seen, and it has {after}"
            )));
        }
        attempt += 1;
    }
}

async fn persistent(client: &mut Client, database: u32) -> Result<u64> {
    let all = keyspaces(client).await?;
    Ok(all.get(&database).map_or(0, |it| it.persistent))
}

/// Keys that never expire: by the types that redrill reads, and all.
async fn scan(ctx: &Context, client: &mut Client) -> Result<(BTreeMap<&'static str, u64>, u64)> {
    let (mut counted, mut all, mut cursor) = (BTreeMap::new(), 0, 0);
    loop {
        ctx.go_on()?;
        let page = cmd("SCAN").arg(cursor).arg("COUNT").arg(KEYS).to_owned();
        let (next, keys) = cursor_and_items(client.call(&page).await?)?;
        let mut questions = Batch::with_capacity(keys.len() * 2);
        for key in keys {
            let key = client::bytes(key)?;
            questions.cmd("TYPE").arg(&key);
            questions.cmd("PTTL").arg(&key);
        }
        let mut answers = client.all(&questions).await?.into_iter();
        while let (Some(kind), Some(left)) = (answers.next(), answers.next()) {
            // -2 of one that is gone by now, and what is left of others.
            if int(left)? == -1 {
                all += 1;
                if let Some(kind) = Kind::find(&text(kind)?) {
                    *counted.entry(kind.name()).or_default() += 1;
                }
            }
        }
        cursor = next;
        if cursor == 0 {
            return Ok((counted, all));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_secret_and_is_not_shown() {
        let secrets = Secrets::default();
        let live = Live::parse("rediss://reader:s3%2Fcret@cache.example:6380/0", &secrets);
        let live = live.expect("is read");
        assert!(live.tls);
        let (host, port) = (live.endpoint.host.as_str(), live.endpoint.port);
        assert_eq!(
            (host, port, live.endpoint.user.as_str()),
            ("cache.example", 6380, "reader")
        );
        assert!(!format!("{live:?}").contains("s3/cret"));
        assert_eq!(secrets.all()[0].1, "s3/cret");
        assert!(Live::parse("redis://", &secrets).is_err());
    }
}
