use super::*;
use crate::check::trial::{self, lost};
use crate::evidence::{Evidence, Part, ReplayFact, SequenceFact};
use crate::outcome::Verdict;

/// What a check says of one recovery by a method.
pub fn judged(check: Check, method: &str, expected: Observation, restored: Observation) -> Outcome {
    judged_after(None, check, method, expected, restored)
}

/// The same, where a log was replayed.
fn judged_after(
    replay: Option<ReplayFact>,
    check: Check,
    method: &str,
    expected: Observation,
    restored: Observation,
) -> Outcome {
    let evidence = Evidence {
        nonce: "of this run".to_owned(),
        recoveries: vec![RecoveryFact {
            component: "db".to_owned(),
            backup: "b".to_owned(),
            expected: Some(expected),
            restored: Some(restored),
            replay,
            ..RecoveryFact::default()
        }],
        ..Evidence::default()
    };
    trial::judged(&lost(method), check, &evidence)
}

/// The same, in kinds of findings.
fn kinds(
    check: Check,
    method: &str,
    expected: Observation,
    restored: Observation,
) -> Vec<&'static str> {
    let outcome = judged(check, method, expected, restored);
    outcome
        .findings
        .iter()
        .map(|finding| finding.kind)
        .collect()
}

#[test]
fn a_physical_copy_of_another_cluster_is_another_system_although_it_bears_the_mark_of_the_run() {
    let seen = |identity: &str| Observation {
        nonce: Some("of this run".to_owned()),
        identity: identity.to_owned(),
        ..Observation::default()
    };
    let kinds = |method, restored| kinds(Check::Identity, method, seen("a"), seen(restored));
    assert_eq!(kinds("pg-basebackup", "a"), [""; 0]);
    assert_eq!(kinds("pg-basebackup", "b"), ["another-system"]);
    assert_eq!(kinds("pgbackrest", "b"), ["another-system"]);
    assert_eq!(
        kinds("pg-dump", "b"),
        [""; 0],
        "a dump is restored into another cluster by intent"
    );
}

#[test]
fn rows_of_a_materialized_view_are_compared_where_its_file_came_back() {
    let seen = |count| Observation {
        derived: BTreeMap::from([(
            "shop.revenue".into(),
            crate::evidence::Part {
                count,
                ..crate::evidence::Part::default()
            },
        )]),
        parts: BTreeMap::from([("shop.orders".into(), crate::evidence::Part::default())]),
        ..Observation::default()
    };
    let kinds = |method, restored| kinds(Check::Content, method, seen(2), seen(restored));
    assert_eq!(kinds("pg-basebackup", 2), [""; 0]);
    assert_eq!(kinds("pg-basebackup", 1), ["count-differs"]);
    assert_eq!(
        kinds("pg-dump", 1),
        [""; 0],
        "a dump's restore computes it anew"
    );
}

#[test]
fn an_unlogged_table_that_a_replay_left_empty_is_told_and_any_other_that_is_empty_is_red() {
    let seen = |persistence: &str, count| Observation {
        parts: BTreeMap::from([(
            "shop.carts".into(),
            Part {
                count,
                ..Part::default()
            },
        )]),
        catalogue: BTreeMap::from([(
            "table shop.carts".into(),
            format!("{persistence}, heap").into(),
        )]),
        ..Observation::default()
    };
    let said = |replay, persistence, came_back| {
        let (expected, restored) = (seen(persistence, 3), seen(persistence, came_back));
        let outcome = judged_after(replay, Check::Content, "pg-basebackup", expected, restored);
        let kinds = outcome.findings.iter().map(|finding| finding.kind);
        (outcome.verdict, kinds.collect::<Vec<_>>())
    };
    let replayed = || Some(ReplayFact::default());
    assert_eq!(
        said(replayed(), "unlogged", 0),
        (Verdict::Passed, vec!["unlogged-table-empty"])
    );
    let red = (Verdict::Failed, vec!["count-differs"]);
    assert_eq!(said(replayed(), "logged", 0), red);
    assert_eq!(said(None, "unlogged", 0), red, "nothing was replayed");
    assert_eq!(said(None, "unlogged", 3), (Verdict::Passed, vec![]));
}

#[test]
fn a_populated_view_whose_file_has_no_rows_is_red_and_one_that_was_never_filled_is_not() {
    let seen = |derived: &[u64]| Observation {
        derived: derived
            .iter()
            .map(|count| {
                let part = Part {
                    count: *count,
                    ..Part::default()
                };
                ("shop.revenue".into(), part)
            })
            .collect(),
        parts: BTreeMap::from([("shop.orders".into(), Part::default())]),
        ..Observation::default()
    };
    let kinds = |expected, restored| {
        kinds(
            Check::Content,
            "pg-basebackup",
            seen(expected),
            seen(restored),
        )
    };
    assert_eq!(kinds(&[], &[]), [""; 0]);
    assert_eq!(kinds(&[2], &[]), ["part-missing"]);
    assert_eq!(kinds(&[2], &[0]), ["count-differs"]);
}

#[test]
fn a_replay_lets_a_sequence_run_ahead_by_32_whole_steps_and_a_dump_by_none() {
    let seen = |next, increment| Observation {
        sequences: vec![SequenceFact {
            name: "shop.orders_id_seq".to_owned(),
            next,
            increment,
            column: String::new(),
            reached: None,
        }],
        ..Observation::default()
    };
    let is_red = |replay: bool, from: i64, increment: i64, to: i64| {
        let replay = replay.then(ReplayFact::default);
        let (expected, restored) = (seen(from, increment), seen(to, increment));
        let outcome = judged_after(
            replay,
            Check::Sequences,
            "pg-basebackup",
            expected,
            restored,
        );
        let kinds: Vec<_> = outcome.findings.iter().map(|it| it.kind).collect();
        assert!(
            kinds.is_empty() || kinds == ["sequence-state-differs"],
            "{kinds:?}"
        );
        outcome.verdict == Verdict::Failed
    };
    for (from, increment, to, after_replay, dumped) in [
        (100, 1, 100, false, false),
        (100, 1, 101, false, true),
        (100, 1, 132, false, true),
        (100, 1, 133, true, true),
        (100, 1, 99, true, true),
        (-100, -1, -132, false, true),
        (-100, -1, -133, true, true),
        (-100, -1, -99, true, true),
        (100, 10, 420, false, true),
        (100, 10, 430, true, true),
        (100, 10, 97, true, true),
        (100, 10, 103, true, true),
        (-100, -10, -97, true, true),
        (i64::MIN, 1, i64::MAX, true, true),
        (i64::MAX, 1, i64::MIN, true, true),
    ] {
        let told = format!("from {from} to {to} by {increment}");
        assert_eq!(
            is_red(true, from, increment, to),
            after_replay,
            "{told}, replayed"
        );
        assert_eq!(is_red(false, from, increment, to), dumped, "{told}, dumped");
    }
}
