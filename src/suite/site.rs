//! `redrill.toml` of the current directory: what holds for every suite that is drilled from there. Images, the gate's
//! policy, who is told of a run, and where figures go.
//!
//! It never holds a secret: an address that is one (a webhook, a mail server with its password) is named by the
//! environment variable that holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::convert::telling;
use super::find::{problems_in, read_text};
use super::policy::Policy;
use super::problem::{Problem, Problems};
use super::raw::{Table, Value};
use crate::error::Result;

/// The file.
const FILE: &str = "redrill.toml";
/// How long a notification may take, retries included, when nobody says.
const DEADLINE: Duration = Duration::from_secs(20);

/// What holds for every suite.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Site {
    /// Images in the place of the usual ones, by the name of the engine.
    pub images: BTreeMap<String, String>,
    /// The suites that `redrill gate` decides on when none is named.
    pub gated: Vec<String>,
    /// The policy of suites that have none of their own.
    pub gate: Policy,
    /// Who is told.
    pub notify: Vec<Channel>,
    /// Where figures go.
    pub metrics: Metrics,
}

/// Someone who is told of runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// In which form.
    pub kind: ChannelKind,
    /// The environment variable with the address.
    pub url_env: String,
    /// Of which runs.
    pub when: BTreeSet<When>,
    /// How long it may take, retries included.
    pub deadline: Duration,
}

/// The form of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelKind {
    /// A message as Slack's incoming webhooks take it; Mattermost, Rocket.Chat and others do too.
    Slack,
    /// JSON with the verdict and the figures.
    Webhook,
    /// E-mail over SMTP.
    Email {
        /// The sender.
        from: String,
        /// The receivers.
        to: Vec<String>,
    },
}

impl ChannelKind {
    /// The word for it.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Webhook => "webhook",
            Self::Email { .. } => "email",
        }
    }
}

/// Of which runs someone is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// Of those that did not pass.
    Failure,
    /// Of the first that passed after one that did not.
    Recovery,
    /// Of all.
    Always,
}

impl When {
    const ALL: [(&'static str, Self); 3] = [
        ("failure", Self::Failure),
        ("recovery", Self::Recovery),
        ("always", Self::Always),
    ];
}

/// Where figures go after a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The folder that Prometheus' node exporter reads text files from.
    pub textfile: Option<PathBuf>,
    /// The address of a Pushgateway.
    pub pushgateway: Option<String>,
    /// Host and port of a StatsD server.
    pub statsd: Option<String>,
}

impl Site {
    /// What `redrill.toml` of the current directory says; the defaults when there is none.
    pub fn load() -> Result<Self> {
        let path = Path::new(FILE);
        if !path.is_file() {
            return Ok(Self::default());
        }
        let read = read_text(path)
            .and_then(|text| Self::parse(&text, path).map_err(|problems| problems_in(&problems)));
        read.map_err(|error| error.doing("read redrill.toml"))
    }

    /// Reads the text of the file; every problem comes back at once.
    fn parse(text: &str, path: &Path) -> Result<Self, Vec<Problem>> {
        let problems = Problems::of(text, path);
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let message = format!("not TOML: {}", error.message());
            problems.add(&error.span().unwrap_or(0..0), message, None);
        }
        let site = site(&Table::top(&problems, document.get_ref()));
        match problems.into_sorted() {
            none if none.is_empty() => Ok(site),
            some => Err(some),
        }
    }
}

fn site(top: &Table<'_>) -> Site {
    let mut gated = Vec::new();
    let gate = top.get("gate").and_then(|value| value.table());
    let gate = gate.map(|table| {
        let suites = table.get("suites").map(|value| value.one_or_more());
        for item in suites.unwrap_or_default() {
            gated.extend(item.text("the name of a suite").map(str::to_owned));
        }
        telling::gate(&table, None)
    });
    let site = Site {
        images: top
            .get("images")
            .map(|value| images(&value))
            .unwrap_or_default(),
        gated,
        gate: gate.unwrap_or_default(),
        notify: top
            .get("notify")
            .map(|value| value.list("a list of tables, each under [[notify]]"))
            .unwrap_or_default()
            .iter()
            .filter_map(channel)
            .collect(),
        metrics: top
            .get("metrics")
            .and_then(|value| Some(metrics(&value.table()?)))
            .unwrap_or_default(),
    };
    top.finish();
    site
}

fn images(value: &Value<'_>) -> BTreeMap<String, String> {
    let entries = value.table().map(|table| table.entries());
    let image = |entry: Value<'_>| {
        let image = entry.line("the name of an image")?.to_owned();
        Some((entry.key, image))
    };
    entries.into_iter().flatten().filter_map(image).collect()
}

fn channel(value: &Value<'_>) -> Option<Channel> {
    const KINDS: &str = "\"slack\", \"webhook\" or \"email\"";
    const TIMES: &str = "\"failure\", \"recovery\" or \"always\"";
    let table = value.table()?;
    let kind = table.require("kind", KINDS).and_then(|value| {
        const WORDS: [(&str, u8); 3] = [("slack", 0), ("webhook", 1), ("email", 2)];
        Some(match telling::word(&value, &WORDS, KINDS)? {
            0 => ChannelKind::Slack,
            1 => ChannelKind::Webhook,
            _ => email(&table)?,
        })
    });
    let url_env = table
        .require(
            "url_env",
            "the environment variable that holds the address, so that no secret stands here",
        )
        .and_then(|value| variable(&value));
    let times = table.get("when").map(|value| value.one_or_more());
    let when: BTreeSet<When> = times
        .iter()
        .flatten()
        .filter_map(|it| telling::word(it, &When::ALL, TIMES))
        .collect();
    let deadline = table.get("deadline").and_then(|value| value.duration());
    table.tolerate(&["from", "to"]);
    table.finish();
    Some(Channel {
        kind: kind?,
        url_env: url_env?,
        when: if when.is_empty() {
            BTreeSet::from([When::Failure, When::Recovery])
        } else {
            when
        },
        deadline: deadline.unwrap_or(DEADLINE),
    })
}

fn email(table: &Table<'_>) -> Option<ChannelKind> {
    let from = table.require("from", "the sender's address");
    let to = table.require("to", "the receivers' addresses");
    let to = to.map(|value| value.one_or_more()).unwrap_or_default();
    Some(ChannelKind::Email {
        from: from?.line("an address")?.to_owned(),
        to: to
            .iter()
            .filter_map(|item| item.line("an address").map(str::to_owned))
            .collect(),
    })
}

/// The name of an environment variable; an address in its place is a secret that must not stand in a file.
fn variable(value: &Value<'_>) -> Option<String> {
    let name = value.text("the name of an environment variable")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(name.to_owned());
    }
    // What stands there may be a secret: it is not repeated.
    value.wrong(
        "expected the name of an environment variable",
        "put the address into a variable, and its name here".to_owned(),
    );
    None
}

fn metrics(table: &Table<'_>) -> Metrics {
    let metrics = Metrics {
        textfile: table.get("textfile").and_then(|value| {
            value
                .text("the folder that node_exporter reads")
                .map(Into::into)
        }),
        pushgateway: table
            .get("pushgateway")
            .and_then(|value| pushgateway(&value)),
        statsd: table
            .get("statsd")
            .and_then(|value| value.line("host and port, such as \"127.0.0.1:8125\""))
            .map(str::to_owned),
    };
    table.finish();
    metrics
}

fn pushgateway(value: &Value<'_>) -> Option<String> {
    const WHAT: &str = "an address such as \"http://127.0.0.1:9091\"";
    let url = value.line(WHAT)?;
    if url.contains('@') {
        value.wrong(
            "an address with a password must not stand in a file",
            "name one without".to_owned(),
        );
        return None;
    }
    if !url.starts_with("http://") && !url.starts_with("https://") {
        value.expected(WHAT);
        return None;
    }
    Some(url.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::policy::CommitRule;
    use super::*;

    fn problems(text: &str) -> String {
        let problems = Site::parse(text, Path::new(FILE)).expect_err("has problems");
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    #[test]
    fn everything_that_can_be_said_is_read() {
        let text = r#"
[images]
postgres = "registry:5000/postgres:{version}"
[gate]
suites = ["deltacrown"]
max_age = "12h"
commit = "any"
versions = { postgres = "15" }
objectives = ["measured", "worst"]
detection = "30d"
[[notify]]
kind = "slack"
url_env = "SLACK_URL"
[[notify]]
kind = "email"
url_env = "SMTP_URL"
from = "redrill@example.org"
to = "ops@example.org"
when = "always"
deadline = "5s"
[metrics]
pushgateway = "http://127.0.0.1:9091/"
statsd = "127.0.0.1:8125"
"#;
        let site = Site::parse(text, Path::new(FILE)).expect("is read");
        assert_eq!(site.gated, ["deltacrown"]);
        assert_eq!(site.gate.commit, Some(CommitRule::Any));
        assert_eq!(site.notify.len(), 2);
        assert_eq!(site.notify[0].when, [When::Failure, When::Recovery].into());
        assert_eq!(site.notify[1].deadline, Duration::from_secs(5));
        assert_eq!(
            site.metrics.pushgateway.as_deref(),
            Some("http://127.0.0.1:9091")
        );
    }

    #[test]
    fn the_example_holds() {
        let text = include_str!("../../examples/redrill.toml");
        let site = Site::parse(text, Path::new(FILE)).expect("is read");
        assert_eq!(site.notify[0].url_env, "REDRILL_SLACK_URL");
        assert!(site.gate.detection.is_some() && site.metrics.textfile.is_some());
    }

    #[test]
    fn problems_come_together_and_no_secret_is_repeated() {
        let said = problems(
            "[[notify]]\nkind = \"slak\"\nurl_env = \"https://hooks.example/T0/SECRET\"\n[gate]\nmax_age = 5\n\
             [metrics]\npushgateway = \"http://me:SECRET@host\"\n[imgaes]\n",
        );
        for word in [
            "redrill.toml:2:",
            "`slack`",
            "put the address into a variable",
            "redrill.toml:5:",
            "`imgaes`",
        ] {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert!(!said.contains("SECRET"), "{said}");
    }
}
