//! The client for requests over HTTP: what is told to whom asked to be told, what is fetched from an address, and what an
//! application is asked. Certificates are those of the system.
//!
//! Not here: S3, which has a client of its own (see [`crate::service::s3`]).

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use ureq::config::ConfigBuilder;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

use crate::error::{Doing, Error, Result};

/// A client for requests to one address. Certificates are only read where they are needed.
pub fn agent(
    url: &str,
    limits: impl FnOnce(ConfigBuilder<AgentScope>) -> ConfigBuilder<AgentScope>,
) -> ureq::Agent {
    let config = limits(ureq::Agent::config_builder().http_status_as_error(false));
    let config = match url.starts_with("https://") {
        false => config,
        true => {
            let roots = rustls_native_certs::load_native_certs().certs;
            let roots: Vec<Certificate<'static>> = roots
                .iter()
                .map(|root| Certificate::from_der(root).to_owned())
                .collect();
            let tls = TlsConfig::builder()
                .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
                .root_certs(RootCerts::Specific(Arc::new(roots)))
                .build();
            config.tls_config(tls)
        }
    };
    config.build().into()
}

/// A client for one request, which ends after a time and follows nothing.
pub fn agent_for(url: &str, left: Duration) -> ureq::Agent {
    agent(url, |limits| {
        limits.timeout_global(Some(left)).max_redirects(0)
    })
}

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, as far as it is text; of a long one its beginning.
    pub body: String,
}

/// No body is read beyond this.
const BODY: u64 = 1 << 20;

/// Gets an address. Blocks for at most `left`; a server that does not answer is an error.
pub fn get(url: &str, left: Duration) -> Result<Answer> {
    let doing = || format!("get {url}");
    let mut answer = agent_for(url, left)
        .get(url)
        .call()
        .map_err(|error| Error::unavailable(error.to_string()))
        .doing_with(doing)?;
    let mut body = Vec::new();
    answer
        .body_mut()
        .as_reader()
        .take(BODY)
        .read_to_end(&mut body)
        .map_err(|error| Error::unavailable(error.to_string()))
        .doing_with(doing)?;
    Ok(Answer {
        status: answer.status().as_u16(),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}
