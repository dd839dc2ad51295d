//! A database that somebody else runs: counted, table by table, in a transaction that cannot write.

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::context::{Context, Secrets};
use crate::error::{Error, Result};
use crate::evidence::Held;
use crate::service::live::{UNTRUSTED, trusting};
use crate::service::postgres::content;
use crate::service::postgres::session::Session;

/// A session that cannot write, whatever it is told.
const READ_ONLY: &str = "begin transaction isolation level repeatable read, read only";
/// What holds up nobody else for long.
const PATIENCE: &str = "set local lock_timeout = '10s'; set local statement_timeout = '10min'";

/// What `sslmode` may say beyond what the client knows: certificates are verified in any case, and so are names.
const VERIFIED: [&str; 2] = ["sslmode=verify-full", "sslmode=verify-ca"];

/// A live source.
#[derive(Debug, Clone)]
pub struct Live {
    config: Config,
}

impl Live {
    /// The source that a connection string names; its password becomes a secret.
    pub fn parse(dsn: &str, secrets: &Secrets) -> Result<Self> {
        let usage = |words: &str| {
            Error::usage(format!("the connection string of the live source {words}"))
                .hint("as postgresql://reader:password@host:5432/shop?sslmode=require")
        };
        let mut dsn = dsn.trim().to_owned();
        for mode in VERIFIED {
            dsn = dsn.replace(mode, "sslmode=require");
        }
        let mut config: Config = dsn.parse().map_err(|_| usage("cannot be read"))?;
        let password = config.get_password().map(String::from_utf8_lossy);
        let password = password.unwrap_or_default().into_owned();
        if !password.is_empty() {
            secrets.register("password of the live source", &password);
        }
        if config.get_hosts().len() != 1 {
            return Err(usage("names no host, or several"));
        }
        let user = config.get_user().ok_or_else(|| usage("names no user"))?;
        let user = user.to_owned();
        if config.get_dbname().is_none() {
            config.dbname(user);
        }
        Ok(Self { config })
    }

    /// Counts the rows of every table, in one transaction that only reads.
    pub async fn count(&self, ctx: &Context) -> Result<Held> {
        let session = self.connect(ctx).await?;
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

    /// By TLS where the server offers it, and only by TLS where the connection string asks for it. Its certificate must be
    /// trusted by this system and name the host: what is told to it is a password.
    async fn connect(&self, ctx: &Context) -> Result<Session> {
        let tls = match (self.config.get_ssl_mode(), self.config.get_hosts()) {
            (SslMode::Disable, _) | (_, [Host::Unix(_)]) => None,
            _ => Some(MakeRustlsConnect::new(trusting()?)),
        };
        let connected = Session::by(ctx, self.config.clone(), tls).await;
        connected.map_err(|error| {
            let hint = match error.message().contains("certificate") {
                true => format!("{UNTRUSTED}; sslmode=disable does without TLS"),
                false => "see whether host, port, user, password and sslmode are right, and whether the server lets this machine in".to_owned(),
            };
            error.doing("connect to the live source").hint(hint)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_secret_and_is_not_shown() {
        let secrets = Secrets::default();
        let live = Live::parse("postgresql://reader:s3cret@db.example:6000/shop", &secrets);
        let live = live.expect("is read");
        assert_eq!(live.config.get_dbname(), Some("shop"));
        assert!(!format!("{live:?}").contains("s3cret"));
        assert_eq!(secrets.all()[0].1, "s3cret");
        assert!(Live::parse("postgresql://x/y", &secrets).is_err());
        assert!(Live::parse("nonsense", &secrets).is_err());
    }

    #[test]
    fn every_mode_that_asks_for_tls_gets_it() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let dsn = format!("host=db.example user=reader sslmode={mode}");
            let live = Live::parse(&dsn, &Secrets::default()).expect("is read");
            assert_eq!(live.config.get_ssl_mode(), SslMode::Require, "{mode}");
            assert_eq!(live.config.get_dbname(), Some("reader"));
        }
    }
}
