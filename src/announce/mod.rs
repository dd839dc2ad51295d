//! Telling others of a run: messages to those who asked for them, figures to where they are collected. It comes after
//! the verdict, each message has a deadline, and whatever goes wrong is returned to be said and changes nothing.
//!
//! Addresses are secrets, and come from environment variables; none is ever repeated in an error.
//! Not here: what a run came to (see [`crate::record`]).

mod email;
mod http;
mod message;
mod metrics;

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::exit::Exit;
use crate::history::History;
use crate::plan::Shard;
use crate::record::{Record, SuiteRecord, Verdict};
use crate::suite::Site;
use crate::suite::site::{Channel, ChannelKind, When};

/// How long figures may take to be delivered.
const METRICS: Duration = Duration::from_secs(10);
/// How long a sender is waited for beyond its own deadline.
const SLACK: Duration = Duration::from_secs(2);

/// What a run is news of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It passed, as before.
    Good,
    /// It did not pass.
    Failure,
    /// It passed, and the run before did not.
    Recovery,
}

impl News {
    /// What a run is news of, after those before it.
    pub fn of(record: &Record, before: &History) -> Self {
        if record.exit() != Exit::Passed {
            return Self::Failure;
        }
        let drills: Vec<&str> = record.drills.iter().map(|it| it.id.as_str()).collect();
        let had_failed = |suite: &SuiteRecord| {
            let earlier = before.newest(&suite.name, |head| {
                (drills.contains(&head.drill) && head.run != record.run_id).then_some(())
            });
            let runs: BTreeSet<&str> = earlier.values().map(|it| it.run.as_str()).collect();
            // What failed over several drills stands in the record alone.
            let held = |run: &str| match before.record(run) {
                Ok(earlier) => earlier.holds_over_drills(&suite.name),
                Err(_) => true,
            };
            earlier.values().any(|it| it.verdict != Verdict::Passed) || !runs.into_iter().all(held)
        };
        match record.suites.iter().any(had_failed) {
            true => Self::Recovery,
            false => Self::Good,
        }
    }

    fn concerns(self, channel: &Channel) -> bool {
        let wanted = |when| channel.when.contains(&when);
        wanted(When::Always)
            || (self == Self::Failure && wanted(When::Failure))
            || (self == Self::Recovery && wanted(When::Recovery))
    }
}

/// Tells everyone, all at once, of a run or of one shard of it; returns what went wrong.
pub fn all(
    site: &Site,
    record: &Record,
    before: &History,
    shard: Option<Shard>,
    news: &News,
) -> Vec<String> {
    let (report, reports) = mpsc::channel();
    let mut last = Instant::now();
    let mut waiting = 0;
    let mut errors = Vec::new();
    let mut start = |deadline: Duration, what: String, work: Work| {
        let report = report.clone();
        let until = Instant::now() + deadline;
        last = last.max(until + SLACK);
        let started = std::thread::Builder::new()
            .name("announce".to_owned())
            .spawn(move || {
                // Nobody listens any more when the deadline has passed.
                let _ = report.send(work(until).map_err(|why| format!("{what}: {why}")));
            });
        match started {
            Ok(_) => waiting += 1,
            Err(error) => errors.push(format!("tell others: {error}")),
        }
    };
    for channel in site.notify.iter().filter(|channel| news.concerns(channel)) {
        let what = format!("notify {} ({})", channel.kind.id(), channel.url_env);
        start(channel.deadline, what, sender(channel, record, *news));
    }
    for (what, work) in metrics::deliveries(&site.metrics, record, before, shard) {
        start(METRICS, what, work);
    }
    while waiting > 0 {
        let left = last.saturating_duration_since(Instant::now());
        match reports.recv_timeout(left) {
            Ok(Ok(())) => waiting -= 1,
            Ok(Err(error)) => {
                waiting -= 1;
                errors.push(error);
            }
            Err(_) => {
                errors.push(format!(
                    "{waiting} of those to be told did not answer in time, and were given up"
                ));
                break;
            }
        }
    }
    errors
}

/// Work under a deadline; the error says in words what went wrong, without any address.
type Work = Box<dyn FnOnce(Instant) -> Result<(), String> + Send>;

fn sender(channel: &Channel, record: &Record, news: News) -> Work {
    let Some(url) = std::env::var(&channel.url_env)
        .ok()
        .filter(|url| !url.trim().is_empty())
    else {
        let name = channel.url_env.clone();
        return Box::new(move |_| {
            Err(format!(
                "the variable {name} is not set, and holds the address"
            ))
        });
    };
    let url = url.trim().to_owned();
    match &channel.kind {
        ChannelKind::Slack => {
            let body = message::slack(record, news);
            Box::new(move |until| http::deliver("POST", &url, "application/json", &body, until))
        }
        ChannelKind::Webhook => {
            let body = message::webhook(record, news);
            Box::new(move |until| http::deliver("POST", &url, "application/json", &body, until))
        }
        ChannelKind::Email { from, to } => {
            let mail = message::mail(record, news);
            let (from, to) = (from.clone(), to.clone());
            Box::new(move |until| email::deliver(&url, &from, &to, &mail, until))
        }
    }
}

/// Tries until it is done, the trouble is one that does not pass, or the time is over.
fn persist(
    until: Instant,
    mut attempt: impl FnMut(Duration) -> Result<(), Trouble>,
) -> Result<(), String> {
    let mut pause = Duration::from_millis(250);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("no time was left".to_owned());
        }
        match attempt(left) {
            Ok(()) => return Ok(()),
            Err(Trouble::Lasting(why)) => return Err(why),
            Err(Trouble::Passing(why)) => {
                let left = until.saturating_duration_since(Instant::now());
                if left <= pause {
                    return Err(why);
                }
                std::thread::sleep(pause);
                pause *= 2;
            }
        }
    }
}

/// Why something could not be delivered.
enum Trouble {
    /// It may work when tried again.
    Passing(String),
    /// It will not.
    Lasting(String),
}

#[cfg(test)]
mod tests;
