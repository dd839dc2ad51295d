//! Is what came back what was there when the backup was taken? Source and restored observations side by side.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Facts, promise, unobserved};
use crate::evidence::{Compared, Differing, Observation, RecoveryFact};
use crate::outcome::{Finding, Outcome};
use crate::suite::{Check, Engine};

/// How many differences of one kind are named before the rest is counted.
const NAMED: usize = 5;

/// Differences of one kind, in words: how many, and the first of them.
#[derive(Default)]
pub(super) struct Told {
    count: u64,
    first: Vec<String>,
}

impl From<Vec<String>> for Told {
    fn from(mut all: Vec<String>) -> Self {
        let count = all.len() as u64;
        all.truncate(NAMED);
        Self { count, first: all }
    }
}

impl Told {
    /// Those of a bucket.
    fn of<T>(differing: &Differing<T>, words: impl Fn(&str, &T) -> String) -> Self {
        let first = differing.first.iter();
        Self {
            count: differing.count,
            first: first.map(|(key, what)| words(key, what)).collect(),
        }
    }
}

/// Calls `compare` on every recovery with both observations, and reports the recoveries that lack one.
pub(super) fn compare(
    check: Check,
    facts: &Facts<'_>,
    applies: impl Fn(Engine) -> bool,
    mut compare: impl FnMut(&RecoveryFact, &Observation, &Observation, &mut Vec<Finding>) -> u64,
) -> Outcome {
    let mut observed = 0;
    let mut findings = Vec::new();
    for recovery in facts.recoveries() {
        if !facts
            .terms
            .engine_of(&recovery.component)
            .is_some_and(&applies)
        {
            continue;
        }
        let nothing = Observation::default();
        let expected = match check {
            // No source is known; whether a sequence collides shows without one.
            Check::Sequences if facts.terms.asked().is_some() => Some(&nothing),
            _ => recovery.expected.as_ref(),
        };
        let is_bucket = facts.terms.engine_of(&recovery.component) == Some(Engine::Bucket);
        match (expected, &recovery.restored) {
            (Some(expected), Some(restored)) if !is_bucket || recovery.objects.is_some() => {
                let brought = facts.terms.brought(&recovery.component);
                let expected = promise::after_replay(recovery, expected);
                let expected = expected.as_ref();
                let (expected, restored) = promise::narrowed(&brought, expected, restored);
                observed += compare(recovery, &expected, &restored, &mut findings);
            }
            _ => findings.push(unobserved(
                facts,
                &format!("{} was not compared", recovery.component),
            )),
        }
    }
    Outcome::of(check, observed, findings)
}

/// One finding for many differences of one kind: the first few named, the rest counted.
pub(super) fn grouped(
    findings: &mut Vec<Finding>,
    kind: &'static str,
    component: &str,
    differences: impl Into<Told>,
    remedy: &str,
    soft: bool,
) {
    let Told { count, first } = differences.into();
    if count == 0 {
        return;
    }
    let named = first.join("; ");
    let rest = count.saturating_sub(first.len() as u64);
    let more = if rest > 0 {
        format!("; and {rest} more")
    } else {
        String::new()
    };
    let message = format!("{component}: {named}{more}");
    findings.push(if soft {
        Finding::warning(kind, message, remedy)
    } else {
        Finding::error(kind, message, remedy)
    });
}

/// Tells what content differs: missing, of other counts, of other content, extra; and what cannot be read.
fn differs(
    findings: &mut Vec<Finding>,
    component: &str,
    [missing, counts, hashes, extra]: [Told; 4],
    restored: &Observation,
) {
    let unreadable: Vec<String> = restored
        .unreadable
        .iter()
        .map(|(name, words)| format!("{name} cannot be read: {words}"))
        .collect();
    let remedy = "do not go live on this restore; find the last artifact whose drill passed, then how this one came to differ";
    let not_empty = "the target was not empty, or the source was not the one meant";
    for (kind, told, remedy) in [
        ("part-missing", missing, remedy),
        ("count-differs", counts, remedy),
        ("content-differs", hashes, remedy),
        ("part-extra", extra, not_empty),
        ("part-unreadable", unreadable.into(), remedy),
    ] {
        grouped(findings, kind, component, told, remedy, false);
    }
}

/// The objects of a bucket, which were held against each other when they were read.
fn objects_of(
    component: &str,
    objects: &Compared,
    restored: &Observation,
    findings: &mut Vec<Finding>,
) -> u64 {
    let missing = Told::of(&objects.missing, |key, had| {
        format!("{key} is gone (it had {had})")
    });
    let counts = Told::of(&objects.resized, |key, (want, got)| {
        format!("{key} has {got}, expected {want}")
    });
    let hashes = Told::of(&objects.changed, |key, bytes| {
        format!("{key}: same count ({bytes}), other content")
    });
    let extra = Told::of(&objects.extra, |key, bytes| {
        format!("{key} was not in the source (it has {bytes})")
    });
    differs(
        findings,
        component,
        [missing, counts, hashes, extra],
        restored,
    );
    objects.expected
}

pub(super) fn content(facts: &Facts<'_>) -> Outcome {
    compare(
        Check::Content,
        facts,
        |_| true,
        |recovery, expected, restored, findings| {
            let component = &recovery.component;
            if let Some(objects) = &recovery.objects {
                return objects_of(component, objects, restored, findings);
            }
            let mut missing = Vec::new();
            let mut counts = Vec::new();
            let mut hashes = Vec::new();
            let physical = facts.is_physical(recovery);
            let derived = expected.derived.iter().filter(|_| physical);
            for (name, want) in expected.parts.iter().chain(derived) {
                let got = restored.parts.get(name);
                match got.or_else(|| restored.derived.get(name)) {
                    _ if restored.unreadable.contains_key(&**name) => {}
                    None => missing.push(format!("{name} is gone (it had {})", want.count)),
                    Some(got) if got.count != want.count => {
                        counts.push(format!("{name} has {}, expected {}", got.count, want.count));
                    }
                    Some(got) if got.hash != want.hash => {
                        hashes.push(format!(
                            "{name}: same count ({}), other content",
                            want.count
                        ));
                    }
                    Some(_) => {}
                }
            }
            let extra: Vec<String> = restored
                .parts
                .iter()
                .filter(|(name, _)| !expected.parts.contains_key(*name))
                .map(|(name, part)| format!("{name} was not in the source (it has {})", part.count))
                .collect();
            differs(
                findings,
                component,
                [missing.into(), counts.into(), hashes.into(), extra.into()],
                restored,
            );
            let emptied = recovery.expected.iter().flat_map(|source| {
                let unlogged = promise::unlogged(recovery, source);
                unlogged.map(|(name, part)| format!("{name} is empty (it had {})", part.count))
            });
            grouped(
                findings,
                "unlogged-table-empty",
                component,
                emptied.collect::<Vec<_>>(),
                "no log holds what an unlogged table does: fill it anew, or make it a logged one",
                true,
            );
            expected.parts.len() as u64
        },
    )
}

/// The part of a definition around its first difference from another: definitions can be pages long.
pub(super) fn shortened(text: &str, other: &str) -> String {
    const AROUND: usize = 40;
    let common = text
        .chars()
        .zip(other.chars())
        .take_while(|(a, b)| a == b)
        .count();
    let start = common.saturating_sub(AROUND);
    let part: String = text.chars().skip(start).take(2 * AROUND).collect();
    let before = if start > 0 { "…" } else { "" };
    let after = if text.chars().count() > start + 2 * AROUND {
        "…"
    } else {
        ""
    };
    format!("{before}{part}{after}")
}

pub(super) fn sequences(facts: &Facts<'_>) -> Outcome {
    compare(
        Check::Sequences,
        facts,
        |engine| engine == Engine::Postgres,
        |recovery, expected, restored, findings| {
            let mut colliding = Vec::new();
            for sequence in &restored.sequences {
                let Some(reached) = sequence.reached else {
                    continue;
                };
                let collides = if sequence.increment < 0 {
                    sequence.next >= reached
                } else {
                    sequence.next <= reached
                };
                if collides {
                    // A source that already collided came back as it was; that is not the backup's doing.
                    let was_so = expected
                        .sequences
                        .iter()
                        .any(|s| s.name == sequence.name && s.next == sequence.next);
                    let text = format!(
                        "{} hands out {} next, but {} already holds {reached}",
                        sequence.name, sequence.next, sequence.column
                    );
                    if was_so {
                        findings.push(Finding::warning(
                            "sequence-was-behind",
                            format!("{}: {text}; it was so in the source", recovery.component),
                            "call setval() in the source: its next insert fails there too",
                        ));
                    } else {
                        colliding.push((sequence.name.clone(), text));
                    }
                }
            }
            let collides = |name: &str| colliding.iter().any(|(it, _)| it == name);
            let moved: Vec<String> = expected
                .sequences
                .iter()
                .filter_map(|want| {
                    let got = restored
                        .sequences
                        .iter()
                        .find(|got| got.name == want.name)?;
                    // Two ends of its range may lie further apart than either number can say.
                    let step = i128::from(want.increment);
                    let ahead = i128::from(got.next) - i128::from(want.next);
                    let legitimate = i128::from(promise::sequences_ahead(recovery));
                    let where_it_may = step != 0
                        && ahead % step == 0
                        && (0..=legitimate).contains(&(ahead / step));
                    (!where_it_may && !collides(&want.name)).then(|| {
                        format!(
                            "{} hands out {} next, in the source it was {}",
                            want.name, got.next, want.next
                        )
                    })
                })
                .collect();
            let remedy = "call setval() to the column's maximum before the first insert; a data-only restore leaves sequences where they were";
            grouped(
                findings,
                "sequence-behind",
                &recovery.component,
                colliding
                    .into_iter()
                    .map(|(_, text)| text)
                    .collect::<Vec<_>>(),
                remedy,
                false,
            );
            grouped(
                findings,
                "sequence-state-differs",
                &recovery.component,
                moved,
                remedy,
                false,
            );
            // That there is no sequence to go wrong has been established too.
            (restored.sequences.len() as u64).max(u64::from(expected.sequences.is_empty()))
        },
    )
}

pub(super) fn expiry(facts: &Facts<'_>) -> Outcome {
    compare(
        Check::Expiry,
        facts,
        |engine| engine == Engine::Redis,
        |recovery, expected, restored, findings| {
            // A minute that had begun when the restored server was read may have lost keys rightly.
            let from = restored.taken_at + chrono::TimeDelta::minutes(1);
            let alive = |observation: &Observation| -> BTreeMap<_, _> {
                observation
                    .expiring
                    .iter()
                    .filter(|((_, minute), _)| *minute > from)
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect()
            };
            let (want, got) = (alive(expected), alive(restored));
            let mut differences = Vec::new();
            for ((part, minute), keys) in &want {
                match got.get(&(part.clone(), *minute)) {
                None => differences.push(format!("{part}: {} keys that expire at {minute} are gone or expire at another time", keys.count)),
                Some(found) if found != keys => differences.push(format!(
                    "{part}: of the keys that expire at {minute}, {} came back, expected {}{}",
                    found.count,
                    keys.count,
                    if found.count == keys.count { " with the same content" } else { "" }
                )),
                Some(_) => {}
            }
            }
            for (part, minute) in got.keys().filter(|key| !want.contains_key(*key)) {
                differences.push(format!(
                    "{part}: keys expire at {minute}, which none did in the source"
                ));
            }
            let remedy = "restore absolute expiry times (RDB and RESTORE … ABSTTL keep them); keys that never expire fill the memory, keys that expire early log users out";
            grouped(
                findings,
                "expiry-differs",
                &recovery.component,
                differences,
                remedy,
                false,
            );
            // Only what is still alive can be compared; a keyspace without expiries has nothing to lose.
            let expected_at_all: u64 = expected.expiring.len() as u64;
            (want.len() as u64).max(u64::from(expected_at_all == 0))
        },
    )
}

pub(super) fn metadata(facts: &Facts<'_>) -> Outcome {
    compare(
        Check::Metadata,
        facts,
        |engine| engine == Engine::Bucket,
        |recovery, _, _, findings| {
            let Some(objects) = &recovery.objects else {
                return 0;
            };
            // An object that is gone altogether is the content check's finding.
            let differences = Told::of(&objects.described, |key, (want, got)| {
                format!(
                    "metadata {key} is `{}`, was `{}`",
                    shortened(got, want),
                    shortened(want, got)
                )
            });
            let remedy = "copy content type and user metadata with the object (a copy without them serves images as downloads)";
            grouped(
                findings,
                "metadata-differs",
                &recovery.component,
                differences,
                remedy,
                false,
            );
            objects.expected
        },
    )
}

/// Whether the view whose name is the run's canary came back. It is in the source, or there is no telling.
fn has_view_of_the_run(expected: &Observation, restored: &Observation) -> bool {
    let is_own = |entry: &&Arc<str>| entry.starts_with("view redrill.");
    let mut own = expected.catalogue.keys().filter(is_own).peekable();
    own.peek().is_some() && own.all(|entry| restored.catalogue.contains_key(entry))
}

pub(super) fn identity(facts: &Facts<'_>) -> Outcome {
    compare(
        Check::Identity,
        facts,
        |_| true,
        |recovery, expected, restored, findings| {
            let component = &recovery.component;
            // A copy of a cluster's files is that cluster; rows that were dumped can come from anywhere.
            if facts.is_physical(recovery) && expected.identity != restored.identity {
                findings.push(Finding::error(
                    "another-system",
                    format!(
                        "{component}: the recovered data is of {}, and the source is {}",
                        restored.identity, expected.identity
                    ),
                    "stop: another server is backed up here, however alike it is (a stand-in, a copy of last week); see where its \
                     archive_command and its backups go",
                ));
            }
            let remedy = "stop: this is another system's data, or a leftover; check which database was dumped and that the target was empty";
            match &restored.nonce {
                // Without rows there is no nonce: the run's own view, which no other run has, is its mark.
                None if expected.nonce.is_none() && has_view_of_the_run(expected, restored) => {}
                Some(nonce) if *nonce == facts.evidence.nonce => {}
                Some(_) => findings.push(Finding::error(
                    "other-run",
                    format!("{component}: the recovered data carries the mark of another run"),
                    remedy,
                )),
                None => findings.push(Finding::error(
                    "no-nonce",
                    format!(
                        "{component}: the recovered data does not carry this run's mark at all"
                    ),
                    remedy,
                )),
            }
            1
        },
    )
}

#[cfg(test)]
pub(super) mod tests;
