//! One HTTP request, tried again while it may help and time is left. The one place of the HTTP client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::{Trouble, persist};

/// Delivers a body by POST or PUT.
pub(super) fn deliver(
    method: &str,
    url: &str,
    kind: &str,
    body: &str,
    until: Instant,
) -> Result<(), String> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err("the address is not one of http or https".to_owned());
    }
    persist(until, |left| once(method, url, kind, body, left))
}

fn once(method: &str, url: &str, kind: &str, body: &str, left: Duration) -> Result<(), Trouble> {
    let agent = agent(url, left);
    let request = match method {
        "PUT" => agent.put(url),
        _ => agent.post(url),
    };
    let answer = request.header("Content-Type", kind).send(body);
    match answer {
        Ok(answer) => match answer.status().as_u16() {
            200..300 => Ok(()),
            code @ (408 | 429 | 500..600) => Err(Trouble::Passing(format!("it answered {code}"))),
            code => Err(Trouble::Lasting(format!("it answered {code}"))),
        },
        Err(ureq::Error::BadUri(_) | ureq::Error::Http(_)) => {
            Err(Trouble::Lasting("the address cannot be read".to_owned()))
        }
        Err(ureq::Error::Timeout(_)) => Err(Trouble::Passing(format!(
            "it did not answer within {}",
            crate::clock::readable(left.as_secs_f64())
        ))),
        // The rest speaks of sockets, names and certificates.
        Err(error) => Err(Trouble::Passing(
            error.to_string().replace(url, "the address"),
        )),
    }
}

/// A client for one request. Certificates are only read where they are needed.
fn agent(url: &str, left: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(left))
        .http_status_as_error(false)
        .max_redirects(0);
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
