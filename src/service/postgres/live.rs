//! A database that somebody else runs: counted, table by table, and never written to. The one server that redrill asks
//! anything of without having started it.
//!
//! Not here: what the counts are compared with (see [`crate::check`]).

use std::path::Path;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::context::{Context, Secrets};
use crate::error::{Error, Result};
use crate::evidence::Held;
use crate::service::Endpoint;
use crate::service::postgres::content;
use crate::service::postgres::session::Session;

/// A session that cannot write, whatever it is told.
const READ_ONLY: &str = "begin transaction isolation level repeatable read, read only";
/// What holds up nobody else for long.
const PATIENCE: &str = "set local lock_timeout = '10s'; set local statement_timeout = '10min'";

/// A live source.
#[derive(Debug, Clone)]
pub struct Live {
    endpoint: Endpoint,
    database: String,
}

impl Live {
    /// The source that a connection string names; its password becomes a secret.
    pub fn parse(dsn: &str, secrets: &Secrets) -> Result<Self> {
        let usage = |words: &str| {
            Error::usage(format!("the connection string of the live source {words}"))
                .hint("as postgresql://reader:password@host:5432/shop")
        };
        let config: Config = dsn.trim().parse().map_err(|_| usage("cannot be read"))?;
        let password = config
            .get_password()
            .map(String::from_utf8_lossy)
            .unwrap_or_default();
        if !password.is_empty() {
            secrets.register("password of the live source", password.as_ref());
        }
        if config.get_ssl_mode() == SslMode::Require {
            return Err(
                usage("asks for TLS, which redrill does not speak to a database")
                    .hint("use a tunnel (ssh -L 5433:host:5432 …) and sslmode=prefer"),
            );
        }
        let host = match config.get_hosts() {
            [Host::Tcp(host)] => host.clone(),
            [Host::Unix(path)] => socket(path)?,
            _ => return Err(usage("names no host, or several")),
        };
        let user = config.get_user().ok_or_else(|| usage("names no user"))?;
        Ok(Self {
            endpoint: Endpoint {
                host,
                port: config.get_ports().first().copied().unwrap_or(5432),
                user: user.to_owned(),
                password: password.into_owned(),
            },
            database: config.get_dbname().unwrap_or(user).to_owned(),
        })
    }

    /// Counts the rows of every table, in one transaction that only reads.
    pub async fn count(&self, ctx: &Context) -> Result<Held> {
        let session = Session::at(ctx, &self.endpoint, &self.database).await?;
        session.run(ctx, READ_ONLY).await?;
        session.run(ctx, PATIENCE).await?;
        let rows = content::counts(ctx, &session).await?;
        session.run(ctx, "rollback").await?;
        Ok(Held {
            bytes: 0,
            objects: rows.len() as u64,
            rows,
        })
    }
}

fn socket(path: &Path) -> Result<String> {
    let path = path.to_str();
    path.map(str::to_owned)
        .ok_or_else(|| Error::usage("the path of the live source's socket is no UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_secret_and_is_not_shown() {
        let secrets = Secrets::default();
        let live = Live::parse("postgresql://reader:s3cret@db.example:6000/shop", &secrets);
        let live = live.expect("is read");
        assert_eq!(live.database, "shop");
        assert!(!format!("{live:?}").contains("s3cret"));
        assert_eq!(secrets.all()[0].1, "s3cret");
        assert!(Live::parse("postgresql://x/y?sslmode=require", &secrets).is_err());
        assert!(Live::parse("nonsense", &secrets).is_err());
    }
}
