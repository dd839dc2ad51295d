//! Is every definition of the source there again, and is it the same? By definition and not by name.

use std::collections::BTreeMap;

use super::Facts;
use super::comparison::{compare, grouped, shortened};
use crate::outcome::{Finding, Outcome};
use crate::suite::{Check, Engine};

/// Catalogue kinds whose loss is said but does not fail a restore.
const SOFT_KINDS: [&str; 2] = ["comment", "option"];
/// Catalogue kinds that a dump leaves out on purpose, although `pg_dumpall` would carry them: a tablespace is a folder outside
/// of its server's own, and a restored server writes to no folder but its own. What a dump brings back lies in the default
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
            let (mut owners, mut grants) = (0, 0);
            for (entry, want) in &expected.catalogue {
                let kind = kind_of(entry);
                if skipped(&kind) {
                    let left_out = usize::from(restored.catalogue.get(entry) != Some(want));
                    if OWNER_KINDS.contains(&kind.as_str()) {
                        owners += left_out;
                    } else if ACL_KINDS.contains(&kind.as_str()) {
                        grants += left_out;
                    }
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
            findings.extend(left_out(&recovery.component, owners, grants));
            // A Redis may define nothing, which was looked at all the same; a database always does.
            let engine = facts.terms.engine_of(&recovery.component);
            let nothing_is_fine = engine == Some(Engine::Redis);
            (expected.catalogue.len() as u64).max(u64::from(nothing_is_fine))
        },
    )
}

/// What a restore without owners or grants left out on purpose: until they are given anew, whoever the source let in may be
/// let in nowhere.
fn left_out(component: &str, owners: usize, grants: usize) -> Option<Finding> {
    let (what, key) = match (owners, grants) {
        (0, 0) => return None,
        (owners, 0) => (counted(owners, "owner"), "owner = true"),
        (0, grants) => (counted(grants, "grant"), "acl = true"),
        (owners, grants) => (
            format!(
                "{} and {}",
                counted(owners, "owner"),
                counted(grants, "grant")
            ),
            "owner = true, acl = true",
        ),
    };
    let finding = Finding::warning(
        "privileges-left-out",
        format!(
            "{component}: {what} of the source were left out on purpose: what the application's role may still do is not known"
        ),
        format!(
            "set them anew as a step of the recovery, or restore them (`{key}`: without --no-owner, --no-acl)"
        ),
    );
    Some(finding.about(component))
}

fn counted(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
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

    #[test]
    fn owners_and_grants_that_were_left_out_on_purpose_are_counted() {
        use crate::check::trial;
        use crate::evidence::{Evidence, RecoveryFact};
        use crate::outcome::Verdict;
        let seen = |entries: &[(&str, &str)]| Observation {
            catalogue: entries
                .iter()
                .map(|(entry, is)| ((*entry).into(), (*is).into()))
                .collect(),
            ..Observation::default()
        };
        let source = || {
            seen(&[
                ("table shop.orders", "so"),
                ("owner table shop.orders", "shop"),
                ("owner schema shop", "postgres"),
                ("grant table shop.orders to app", "SELECT"),
                ("default-grant shop to app", "SELECT"),
            ])
        };
        let said = |options: &str, restored: Observation| {
            let suite = format!("{}{options}", trial::lost("pg-dump"));
            let evidence = Evidence {
                recoveries: vec![RecoveryFact {
                    component: "db".to_owned(),
                    backup: "b".to_owned(),
                    expected: Some(source()),
                    restored: Some(restored),
                    ..RecoveryFact::default()
                }],
                ..Evidence::default()
            };
            trial::judged(&suite, Check::Catalogue, &evidence)
        };
        let without = || {
            seen(&[
                ("table shop.orders", "so"),
                ("owner table shop.orders", "postgres"),
                ("owner schema shop", "postgres"),
            ])
        };
        let left_out = "restore = { owner = false, acl = false }\n";
        let outcome = said(left_out, without());
        assert_eq!(outcome.verdict, Verdict::Passed);
        let [finding] = outcome.findings.as_slice() else {
            panic!("one finding: {:?}", outcome.findings);
        };
        assert_eq!(finding.kind, "privileges-left-out");
        let words = "db: 1 owner and 2 grants of the source were left out on purpose";
        assert!(finding.message.starts_with(words), "{}", finding.message);
        // Where all came back as it was, and where nothing was to be left out, there is nothing to say.
        assert_eq!(said(left_out, source()).findings, []);
        assert_eq!(said("", source()).findings, []);
        assert_eq!(said("", without()).verdict, Verdict::Failed);
    }

    #[test]
    fn a_view_is_as_filled_as_it_was() {
        let seen = |filled: bool| {
            let mark = if filled { "" } else { "; not populated" };
            let definition = format!("select 1{mark}; using heap");
            Observation {
                catalogue: [("materialized-view shop.m".into(), definition.into())].into(),
                ..Observation::default()
            }
        };
        for method in ["pg-dump", "pg-basebackup"] {
            let kinds = |was, is| {
                let outcome = judged(Check::Catalogue, method, seen(was), seen(is));
                let kinds = outcome.findings.iter().map(|finding| finding.kind);
                kinds.collect::<Vec<_>>()
            };
            assert_eq!(kinds(false, false), [""; 0], "{method}");
            assert_eq!(kinds(true, true), [""; 0], "{method}");
            assert_eq!(kinds(true, false), ["definition-differs"], "{method}");
            assert_eq!(kinds(false, true), ["definition-differs"], "{method}");
        }
    }
}
