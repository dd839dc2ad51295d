//! Readiness: a real query, asked again and again under a deadline. Nothing here waits for a fixed time.

use std::time::Duration;

use crate::context::Context;
use crate::error::{Error, Kind, Result};

/// How long a server may take to answer its first query.
pub const DEADLINE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(15);

/// Asks `query` until it answers. `gone` is asked in between: a server that has ended will never answer, and its
/// words say why. The last refusal is quoted when the deadline comes.
pub async fn until<T, F, G>(
    ctx: &Context,
    what: &str,
    deadline: Duration,
    mut gone: impl FnMut() -> G,
    mut query: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
    G: Future<Output = Option<String>>,
{
    let mut last = None;
    let asking = async {
        let mut ticks = tokio::time::interval(PAUSE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(words) = gone().await {
                return Err(ended(what, &words));
            }
            match query().await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = Some(error),
            }
        }
    };
    let waited = tokio::select! {
        waited = tokio::time::timeout(deadline, asking) => waited,
        () = ctx.cancel.cancelled() => return Err(Error::interrupted().doing(format!("wait for {what}"))),
    };
    match waited {
        Ok(result) => result,
        Err(_) => {
            let reason = last.map_or_else(|| "no answer".to_owned(), |error| error.message());
            Err(Error::new(
                Kind::TimedOut,
                format!(
                    "{what} was not ready within {}: {reason}",
                    humantime::format_duration(deadline)
                ),
            )
            .hint("see its log; on a slow machine set REDRILL_READY_SECONDS higher"))
        }
    }
}

/// A server that will never answer, with its last words.
pub fn ended(what: &str, words: &str) -> Error {
    Error::failed(format!("{what} ended before it was ready: {words}")).hint(
        "its log has the rest; a full disk and a setting it does not know are the usual causes",
    )
}

/// What `gone` is where nothing can end by itself.
pub async fn lasting() -> Option<String> {
    None
}

/// The deadline in force: `REDRILL_READY_SECONDS`, or a minute.
pub fn deadline() -> Duration {
    deadline_or(DEADLINE)
}

/// The deadline in force: `REDRILL_READY_SECONDS`, or what this kind of server needs.
pub fn deadline_or(usual: Duration) -> Duration {
    std::env::var("REDRILL_READY_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .map_or(usual, Duration::from_secs)
}
