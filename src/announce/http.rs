//! One HTTP request, tried again while it may help and time is left.

use std::time::{Duration, Instant};

use super::{Trouble, persist};
use crate::http::agent_for;

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
    let agent = agent_for(url, left);
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
