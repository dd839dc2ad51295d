//! A source that somebody else runs: counted, part by part, and never written to. The one kind of server that redrill asks
//! anything of without having started it.
//!
//! Not here: what the counts are compared with (see [`crate::check`]).

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};

use crate::context::{Context, Secrets};
use crate::error::{Error, Result};
use crate::evidence::Held;
use crate::service::s3::Account;
use crate::service::{bucket, postgres, redis};
use crate::suite::Engine;

/// What to do about a certificate that nobody here trusts.
pub const UNTRUSTED: &str =
    "trust its certificate (SSL_CERT_FILE names a file of those that are trusted)";

/// A live source.
pub enum Live {
    /// A database of PostgreSQL.
    Postgres(postgres::live::Live),
    /// A server of Redis.
    Redis(redis::live::Live),
    /// What lies in a bucket.
    Bucket(bucket::live::Live),
}

impl Live {
    /// The source that a connection string names; its password becomes a secret. `account` gives the account of a bucket
    /// at the address that the string names.
    pub fn parse(
        text: &str,
        secrets: &Secrets,
        account: impl FnOnce(Option<String>) -> Result<Account>,
    ) -> Result<Self> {
        let text = text.trim();
        let begins = |scheme: &str| text.starts_with(scheme);
        if begins("redis://") || begins("rediss://") {
            return redis::live::Live::parse(text, secrets).map(Self::Redis);
        }
        if let Some(rest) = text.strip_prefix("s3://") {
            return bucket::live::Live::parse(rest, account).map(Self::Bucket);
        }
        postgres::live::Live::parse(text, secrets).map(Self::Postgres)
    }

    /// What it is.
    pub fn engine(&self) -> Engine {
        match self {
            Self::Postgres(_) => Engine::Postgres,
            Self::Redis(_) => Engine::Redis,
            Self::Bucket(_) => Engine::Bucket,
        }
    }

    /// Counts what it holds, and changes nothing.
    pub async fn count(&self, ctx: &Context) -> Result<Held> {
        match self {
            Self::Postgres(live) => live.count(ctx).await,
            Self::Redis(live) => live.count(ctx).await,
            Self::Bucket(live) => live.count(ctx).await,
        }
    }
}

/// TLS with whom this system trusts: what is told to a live source is a password.
pub fn trusting() -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = aws_lc_rs::default_provider().into();
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| Error::defect(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
