//! Figures of a run for Prometheus (a text file, a Pushgateway) and StatsD. One file or group for each suite, replaced
//! as a whole, so that what a suite no longer has goes away; of a suite in shards, one for each of these. What a run left out
//! (a filter, another artifact) is told as it was when it last ran, with that time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::UdpSocket;
use std::path::Path;

use chrono::{DateTime, Utc};

use crate::history::{Head, History};
use crate::plan::Shard;
use crate::record::{DrillKind, DrillRecord, Record, SuiteRecord, Verdict, write_atomically};
use crate::report::view;
use crate::suite::site::Metrics;

use super::{Work, http};

/// The content type of Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4";

/// What has to be delivered, each with what it is called. Each shard of a suite has a file and a group of its own, which
/// another shard does not replace.
pub(super) fn deliveries(
    metrics: &Metrics,
    record: &Record,
    before: &History,
    shard: Option<Shard>,
) -> Vec<(String, Work)> {
    let mut all: Vec<(String, Work)> = Vec::new();
    let part = shard.map(|shard| format!("{}-of-{}", shard.number, shard.of));
    for suite in &record.suites {
        let figures = Figures {
            suite: &suite.name,
            part: part.as_deref(),
            record,
            before,
            earlier: earlier(record, suite, before, shard),
        };
        let text = figures.prometheus();
        if let Some(folder) = &metrics.textfile {
            let part = part.iter().map(|part| format!("-{part}"));
            let name = format!("redrill-{}{}.prom", suite.name, part.collect::<String>());
            let path = folder.join(name);
            let text = text.clone();
            let (suite, folder) = (suite.name.clone(), folder.clone());
            all.push((
                format!("write {}", path.display()),
                Box::new(move |_| {
                    write_atomically(&path, text.as_bytes()).map_err(|error| error.message())?;
                    remove_others(&folder, &suite, shard).map_err(|error| error.to_string())
                }),
            ));
        }
        if let Some(gateway) = &metrics.pushgateway {
            let part = part.iter().map(|part| format!("/shard/{part}"));
            let url = format!(
                "{gateway}/metrics/job/redrill/suite/{}{}",
                suite.name,
                part.collect::<String>()
            );
            all.push((
                format!("push figures to {gateway}"),
                Box::new(move |until| http::deliver("PUT", &url, TEXT, &text, until)),
            ));
        }
    }
    if let Some(server) = metrics.statsd.clone() {
        let lines = statsd(record);
        all.push((
            format!("send figures to {server}"),
            Box::new(move |_| send(&server, &lines).map_err(|error| error.to_string())),
        ));
    }
    all
}

/// Removes the files of a suite from when it was divided into another number of shards: nobody writes them any more, and
/// what they say would be scraped for ever.
fn remove_others(folder: &Path, suite: &str, shard: Option<Shard>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let part = name
            .and_then(|name| name.strip_prefix("redrill-")?.strip_suffix(".prom"))
            .and_then(|name| name.strip_prefix(suite));
        let Some(part) = part else { continue };
        let of = match part.strip_prefix('-').and_then(|it| it.split_once("-of-")) {
            Some((number, of)) => format!("{number}/{of}").parse::<Shard>().ok(),
            None => None,
        };
        // Another suite's name may begin like this one's.
        let is_own = part.is_empty() || of.is_some();
        if is_own && of.map(|it| it.of) != shard.map(|it| it.of) {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// A drill as it was when it last ran.
pub(super) struct Ran {
    pub drill: DrillRecord,
    /// When its run began.
    pub at: DateTime<Utc>,
    /// How long after that the next one is overdue.
    pub due_seconds: Option<f64>,
}

/// The drills of a suite, as the same file has it, that this run left out: as they were when they last ran. Of a shard,
/// those that are in it.
pub(super) fn earlier(
    record: &Record,
    suite: &SuiteRecord,
    before: &History,
    shard: Option<Shard>,
) -> Vec<Ran> {
    let ran = |id: &str| record.drills.iter().any(|drill| drill.id == id);
    let in_shard = |drill: &DrillRecord| {
        let struck = matches!(
            drill.kind,
            DrillKind::Scenario | DrillKind::WorstMoment | DrillKind::RandomMoment
        );
        let scenario = drill.scenario.as_ref().filter(|_| struck);
        let scenario = scenario.map(|name| format!("{}/{name}", drill.suite));
        let name = scenario.unwrap_or_else(|| drill.id.clone());
        shard.is_none_or(|shard| shard.has_name(&name))
    };
    // Artifacts that are verified have no suite in common.
    let own = || {
        let drills = record.drills.iter();
        drills.filter(|drill| drill.suite == suite.name)
    };
    let verifies = own().any(|drill| drill.kind == DrillKind::Verify);
    let same = |sha256: &str| verifies || sha256 == suite.sha256;
    let newest = before.newest(&suite.name, |head| {
        (!ran(head.drill) && same(head.suite_sha256)).then_some(())
    });
    let mut records: BTreeMap<String, Option<Record>> = BTreeMap::new();
    let drills = newest.into_iter().filter_map(|(id, entry)| {
        let read = || before.sealed(&entry).ok();
        let record = records.entry(entry.run.clone()).or_insert_with(read);
        let record = record.as_ref()?;
        let mut drills = record.drills.iter();
        let drill = drills.find(|drill| drill.id == id && in_shard(drill))?;
        let known = record.suites.iter().find(|it| it.name == suite.name);
        Some(Ran {
            at: record.started_at,
            due_seconds: known
                .and_then(|suite| suite.due_seconds)
                .filter(|_| comes_again(drill, &entry.run, before)),
            drill: drill.clone(),
        })
    });
    // What could not be read at a place is told by what is read there now.
    let again = |ran: &Ran| {
        let place = ran.drill.title.split(": ").next().unwrap_or_default();
        let nothing = ran.drill.verdict != Verdict::Passed && ran.drill.recoveries.is_empty();
        nothing && own().any(|drill| drill.lies_at(place))
    };
    drills.filter(|ran| !again(ran)).collect()
}

/// Whether a next run of a drill is to be expected after this one: what somebody verified once has no schedule.
fn comes_again(drill: &DrillRecord, run: &str, before: &History) -> bool {
    let another = |head: &Head<'_>| head.drill == drill.id && head.run != run;
    drill.kind != DrillKind::Verify || !before.entries(&drill.suite, another).is_empty()
}

/// A figure of a drill.
struct Figure {
    name: &'static str,
    help: &'static str,
    of: fn(&DrillRecord) -> Option<f64>,
}

/// The figures of a drill, by the names they have in Prometheus.
const FIGURES: [Figure; 9] = [
    Figure {
        name: "redrill_drill_passed",
        help: "1 when the drill passed, 0 when it failed or is undetermined.",
        of: |it| Some(f64::from(u8::from(it.verdict == Verdict::Passed))),
    },
    Figure {
        name: "redrill_drill_seconds",
        help: "How long the drill took, in all.",
        of: |it| Some(it.seconds),
    },
    Figure {
        name: "redrill_rto_seconds",
        help: "Measured recovery time.",
        of: |it| Some(it.rto.as_ref()?.total_seconds),
    },
    Figure {
        name: "redrill_rto_projected_seconds",
        help: "Recovery time projected to the production size.",
        of: |it| Some(it.rto.as_ref()?.projected.as_ref()?.seconds),
    },
    Figure {
        name: "redrill_rto_objective_seconds",
        help: "The longest recovery allowed.",
        of: |it| it.rto.as_ref()?.objective_seconds,
    },
    Figure {
        name: "redrill_rpo_seconds",
        help: "Measured loss window.",
        of: |it| Some(it.rpo.as_ref()?.window_seconds),
    },
    Figure {
        name: "redrill_rpo_objective_seconds",
        help: "The largest loss window allowed; at the worst moment the schedule is on trial, and only warned of.",
        of: |it| {
            let rpo = it
                .rpo
                .as_ref()
                .filter(|_| it.kind != DrillKind::WorstMoment);
            rpo?.objective_seconds
        },
    },
    Figure {
        name: "redrill_restore_gb_per_minute",
        help: "Restore throughput, 10^9 bytes of the source a minute.",
        of: |it| it.throughput_gb_per_min,
    },
    Figure {
        name: "redrill_artifact_bytes",
        help: "Bytes of the artifacts restored.",
        of: |it| {
            let stored = it.throughput.iter().map(|it| it.artifact_bytes);
            stored.reduce(|a, b| a + b).map(|bytes| bytes as f64)
        },
    },
];

/// The figures of a suite.
pub(super) struct Figures<'a> {
    pub suite: &'a str,
    /// The shard of it.
    pub part: Option<&'a str>,
    pub record: &'a Record,
    pub before: &'a History,
    pub earlier: Vec<Ran>,
}

impl Figures<'_> {
    /// In Prometheus' text format.
    pub fn prometheus(&self) -> String {
        let mut out = String::new();
        let now = self.record.suites.iter().find(|it| it.name == self.suite);
        let now = now.and_then(|suite| suite.due_seconds);
        let drilled = self.record.drills.iter();
        let run = &self.record.run_id;
        let due = |drill| now.filter(|_| comes_again(drill, run, self.before));
        let drilled = drilled.map(|drill| (drill, self.record.started_at, due(drill)));
        let before = self.earlier.iter();
        let before = before.map(|ran| (&ran.drill, ran.at, ran.due_seconds));
        let all: Vec<(&DrillRecord, DateTime<Utc>, Option<f64>)> = drilled
            .chain(before)
            .filter(|(drill, ..)| drill.suite == self.suite)
            .collect();
        let mut label = format!("suite=\"{}\"", label(self.suite));
        if let Some(part) = self.part {
            write!(label, ",shard=\"{}\"", self::label(part)).ok();
        }
        let planned = self.record.not_run.iter();
        let passed = all.iter().all(|(it, ..)| it.verdict == Verdict::Passed)
            && self.record.holds_over_drills(self.suite)
            && !self.record.drills.is_empty()
            && !planned.into_iter().any(|drill| drill.suite == self.suite);
        gauge(
            &mut out,
            "redrill_run_timestamp_seconds",
            "When the last run of the suite began.",
        );
        let at = self.record.started_at.timestamp();
        writeln!(out, "redrill_run_timestamp_seconds{{{label}}} {at}").ok();
        gauge(
            &mut out,
            "redrill_run_passed",
            "1 when every drill of the suite passed when it last ran, and what is counted over them.",
        );
        writeln!(out, "redrill_run_passed{{{label}}} {}", u8::from(passed)).ok();
        let mut each = |name: &str, help: &str, values: Vec<(&DrillRecord, f64)>| {
            if !values.is_empty() {
                gauge(&mut out, name, help);
            }
            for (drill, value) in values {
                let drill = self::label(&drill.id);
                writeln!(out, "{name}{{{label},drill=\"{drill}\"}} {value}").ok();
            }
        };
        let times = all
            .iter()
            .map(|(drill, at, _)| (*drill, at.timestamp() as f64));
        each(
            "redrill_drill_timestamp_seconds",
            "When the last run that had the drill began.",
            times.collect(),
        );
        let due = all
            .iter()
            .filter_map(|(drill, _, due)| Some((*drill, (*due)?)));
        each(
            "redrill_drill_due_seconds",
            "How long after that the next one is overdue: the longest gap of its schedule, and some.",
            due.collect(),
        );
        let drills = all.iter().map(|(drill, ..)| *drill);
        let drills: Vec<&DrillRecord> = drills.filter(|it| !view::is_detection(it)).collect();
        for figure in &FIGURES {
            let values = drills.iter();
            let values = values.filter_map(|drill| Some((*drill, (figure.of)(drill)?)));
            each(figure.name, figure.help, values.collect());
        }
        let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for check in drills.iter().flat_map(|drill| &drill.checks) {
            let verdict = match check.verdict {
                Verdict::Passed => "passed",
                Verdict::Failed => "failed",
                Verdict::Undetermined => "undetermined",
            };
            for word in ["passed", "failed", "undetermined"] {
                *counts.entry((&check.id, word)).or_default() += u64::from(word == verdict);
            }
        }
        if !counts.is_empty() {
            gauge(
                &mut out,
                "redrill_checks",
                "Checks of the last run by what they said.",
            );
        }
        for ((check, verdict), count) in counts {
            let check = self::label(check);
            writeln!(
                out,
                "redrill_checks{{{label},check=\"{check}\",verdict=\"{verdict}\"}} {count}"
            )
            .ok();
        }
        out
    }
}

fn gauge(out: &mut String, name: &str, help: &str) {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge").ok();
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// The same figures as StatsD gauges: `redrill.<suite>.<drill>.rto_seconds:1.2|g`.
pub(super) fn statsd(record: &Record) -> Vec<String> {
    let plain = |text: &str| -> String {
        let safe = |c: char| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
                c
            } else {
                '_'
            }
        };
        text.chars().map(safe).collect()
    };
    let mut lines = Vec::new();
    for drill in record.drills.iter().filter(|it| !view::is_detection(it)) {
        let short = drill.id.rsplit('/').next().unwrap_or(&drill.id);
        let place = format!("redrill.{}.{}", plain(&drill.suite), plain(short));
        for figure in &FIGURES {
            let name = figure.name.trim_start_matches("redrill_");
            if let Some(value) = (figure.of)(drill) {
                lines.push(format!("{place}.{name}:{value}|g"));
            }
        }
    }
    lines
}

/// Packets of several lines, small enough for any network.
fn send(server: &str, lines: &[String]) -> std::io::Result<()> {
    let socket = UdpSocket::bind(if server.starts_with('[') {
        "[::]:0"
    } else {
        "0.0.0.0:0"
    })?;
    socket.connect(server)?;
    for packet in lines.chunks(10) {
        socket.send(packet.join("\n").as_bytes())?;
    }
    Ok(())
}
