//! Figures of a run for Prometheus (a text file, a Pushgateway) and StatsD. One file or group for each suite, replaced
//! as a whole, so that what a suite no longer has goes away. What a run left out (a filter, another shard, another artifact)
//! is told as it was when it last ran.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::UdpSocket;

use crate::history::History;
use crate::record::{DrillKind, DrillRecord, Record, SuiteRecord, Verdict, write_atomically};
use crate::report::view;
use crate::suite::site::Metrics;

use super::{Work, http};

/// The content type of Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4";

/// What has to be delivered, each with what it is called.
pub(super) fn deliveries(
    metrics: &Metrics,
    record: &Record,
    before: &History,
) -> Vec<(String, Work)> {
    let mut all: Vec<(String, Work)> = Vec::new();
    for suite in &record.suites {
        let text = prometheus(record, &earlier(record, suite, before), &suite.name);
        if let Some(folder) = &metrics.textfile {
            let path = folder.join(format!("redrill-{}.prom", suite.name));
            let text = text.clone();
            all.push((
                format!("write {}", path.display()),
                Box::new(move |_| {
                    write_atomically(&path, text.as_bytes()).map_err(|error| error.message())
                }),
            ));
        }
        if let Some(gateway) = &metrics.pushgateway {
            let url = format!("{gateway}/metrics/job/redrill/suite/{}", suite.name);
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

/// The drills of a suite, as the same file has it, that this run left out: as they were when they last ran.
pub(super) fn earlier(record: &Record, suite: &SuiteRecord, before: &History) -> Vec<DrillRecord> {
    let ran = |id: &str| {
        let drills = record.drills.iter().map(|drill| &drill.id);
        let planned = record.not_run.iter().map(|drill| &drill.id);
        drills.chain(planned).any(|known| known == id)
    };
    // Artifacts that are verified have no suite in common.
    let mut own = record
        .drills
        .iter()
        .filter(|drill| drill.suite == suite.name);
    let verifies = own.any(|drill| drill.kind == DrillKind::Verify);
    let same = |sha256: &str| verifies || sha256 == suite.sha256;
    let newest = before.newest(&suite.name, |head| {
        (!ran(head.drill) && same(head.suite_sha256)).then_some(())
    });
    let mut records: BTreeMap<String, Option<Record>> = BTreeMap::new();
    let drills = newest.into_iter().filter_map(|(id, entry)| {
        let read = || before.sealed(&entry).ok();
        let record = records.entry(entry.run.clone()).or_insert_with(read);
        let drills = &record.as_ref()?.drills;
        drills.iter().find(|drill| drill.id == id).cloned()
    });
    drills.collect()
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
        help: "The largest loss window allowed.",
        of: |it| it.rpo.as_ref()?.objective_seconds,
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

/// The figures of a suite in Prometheus' text format.
pub(super) fn prometheus(record: &Record, earlier: &[DrillRecord], suite: &str) -> String {
    let mut out = String::new();
    let all = || {
        let drills = record.drills.iter().chain(earlier);
        drills.filter(|drill| drill.suite == suite)
    };
    let drills: Vec<&DrillRecord> = all().filter(|drill| !view::is_detection(drill)).collect();
    let label = label(suite);
    let passed = all().all(|drill| drill.verdict == Verdict::Passed)
        && !record.drills.is_empty()
        && !record.not_run.iter().any(|drill| drill.suite == suite);
    gauge(
        &mut out,
        "redrill_run_timestamp_seconds",
        "When the last run of the suite began.",
    );
    writeln!(
        out,
        "redrill_run_timestamp_seconds{{suite=\"{label}\"}} {}",
        record.started_at.timestamp()
    )
    .ok();
    gauge(
        &mut out,
        "redrill_run_passed",
        "1 when every drill of the suite passed when it last ran.",
    );
    writeln!(
        out,
        "redrill_run_passed{{suite=\"{label}\"}} {}",
        u8::from(passed)
    )
    .ok();
    for figure in &FIGURES {
        let values: Vec<(&str, f64)> = drills
            .iter()
            .filter_map(|drill| Some((drill.id.as_str(), (figure.of)(drill)?)))
            .collect();
        if values.is_empty() {
            continue;
        }
        gauge(&mut out, figure.name, figure.help);
        for (drill, value) in values {
            let drill = self::label(drill);
            writeln!(
                out,
                "{}{{suite=\"{label}\",drill=\"{drill}\"}} {value}",
                figure.name
            )
            .ok();
        }
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
            "redrill_checks{{suite=\"{label}\",check=\"{check}\",verdict=\"{verdict}\"}} {count}"
        )
        .ok();
    }
    out
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
