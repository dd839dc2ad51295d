//! Is every definition of the source there again, and is it the same? By definition and not by name.

use std::collections::BTreeMap;

use super::Facts;
use super::comparison::{compare, grouped, shortened};
use crate::outcome::Outcome;
use crate::suite::{Check, Engine};

/// Catalogue kinds whose loss is said but does not fail a restore.
const SOFT_KINDS: [&str; 2] = ["comment", "option"];
/// Catalogue kinds that no dump carries. Where data lie is the disks' affair: what a dump brings back lies in the default
/// tablespace, which is said.
const PLACE_KINDS: [&str; 2] = ["tablespace", "placement"];
/// What a dump leaves off on purpose: a subscription at work would take what is meant for its source.
const OFF_KINDS: [&str; 1] = ["subscription-enabled"];
/// Catalogue kinds that `owner = false` and `acl = false` leave out on purpose.
const OWNER_KINDS: [&str; 1] = ["owner"];
const ACL_KINDS: [&str; 2] = ["grant", "default-grant"];

pub(super) fn catalogue(facts: &Facts<'_>) -> Outcome {
    let options = facts
        .terms
        .scenario()
        .map(|scenario| scenario.restore.clone());
    let skipped = |kind: &str| {
        options.as_ref().is_some_and(|o| {
            (!o.owner && OWNER_KINDS.contains(&kind)) || (!o.acl && ACL_KINDS.contains(&kind))
        })
    };
    compare(
        Check::Catalogue,
        facts,
        |engine| engine != Engine::Bucket,
        |recovery, expected, restored, findings| {
            let mut by_kind: BTreeMap<(bool, &'static str), Vec<String>> = BTreeMap::new();
            let kind_of = |entry: &str| entry.split(' ').next().unwrap_or_default().to_owned();
            let physical = facts.is_physical(recovery);
            let skipped = |kind: &str| skipped(kind) || (!physical && OFF_KINDS.contains(&kind));
            let is_soft = |kind: &str| {
                SOFT_KINDS.contains(&kind) || (!physical && PLACE_KINDS.contains(&kind))
            };
            for (entry, want) in &expected.catalogue {
                let kind = kind_of(entry);
                if skipped(&kind) {
                    continue;
                }
                let soft = is_soft(&kind);
                match restored.catalogue.get(entry) {
                    None => by_kind
                        .entry((soft, "definition-missing"))
                        .or_default()
                        .push(format!("{entry} is gone")),
                    Some(got) if got != want => by_kind
                        .entry((soft, "definition-differs"))
                        .or_default()
                        .push(format!(
                            "{entry} is `{}`, was `{}`",
                            shortened(got, want),
                            shortened(want, got)
                        )),
                    Some(_) => {}
                }
            }
            for entry in restored
                .catalogue
                .keys()
                .filter(|entry| !expected.catalogue.contains_key(*entry))
            {
                let kind = kind_of(entry);
                if !skipped(&kind) {
                    by_kind
                        .entry((is_soft(&kind), "definition-extra"))
                        .or_default()
                        .push(format!("{entry} was not in the source"));
                }
            }
            for ((soft, kind), differences) in by_kind {
                let remedy = "the schema is incomplete: constraints and indexes missing now become wrong data later; restore all sections, strictly";
                grouped(
                    findings,
                    kind,
                    &recovery.component,
                    differences,
                    remedy,
                    soft,
                );
            }
            // A Redis may define nothing, which was looked at all the same; a database always does.
            let engine = facts.terms.engine_of(&recovery.component);
            let nothing_is_fine = engine == Some(Engine::Redis);
            (expected.catalogue.len() as u64).max(u64::from(nothing_is_fine))
        },
    )
}

#[cfg(test)]
mod tests {
    use crate::check::comparison::tests::judged;
    use crate::evidence::Observation;
    use crate::suite::Check;

    #[test]
    fn what_only_places_or_tunes_is_a_warning_and_a_dump_is_not_held_to_disks() {
        use crate::outcome::Verdict;
        let seen = |entries: &[&str]| Observation {
            catalogue: entries
                .iter()
                .map(|entry| ((*entry).into(), "so".into()))
                .collect(),
            ..Observation::default()
        };
        let verdict = |method, lost| {
            let (expected, restored) = (
                seen(&["table shop.orders", lost]),
                seen(&["table shop.orders"]),
            );
            let outcome = judged(Check::Catalogue, method, expected, restored);
            (outcome.verdict, outcome.findings.len())
        };
        for (lost, dumped, copied) in [
            (
                "index shop.by_name",
                (Verdict::Failed, 1),
                (Verdict::Failed, 1),
            ),
            (
                "option index shop.by_name",
                (Verdict::Passed, 1),
                (Verdict::Passed, 1),
            ),
            (
                "tablespace fast",
                (Verdict::Passed, 1),
                (Verdict::Failed, 1),
            ),
            (
                "placement table shop.orders",
                (Verdict::Passed, 1),
                (Verdict::Failed, 1),
            ),
            (
                "subscription-enabled prices",
                (Verdict::Passed, 0),
                (Verdict::Failed, 1),
            ),
        ] {
            assert_eq!(verdict("pg-dump", lost), dumped, "{lost}, by a dump");
            assert_eq!(verdict("pgbackrest", lost), copied, "{lost}, by files");
        }
    }
}
