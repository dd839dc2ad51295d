use std::path::Path;

use super::*;
use crate::plan::{Options, expand};
use crate::suite::parse;

fn plan() -> Plan {
    let text = r#"
        [component.db]
        kind = "postgres"
        production_size = "10 GB"
        [backup.hourly]
        schedule = "@hourly"
        [scenario.lost]
        strike = { fault = "server-lost" }
        at = ["30m after hourly", "worst"]
        rto = "1h"
        [scenario.planted]
        strike = { fault = "server-lost" }
        [scenario.later]
        pending = "no second region"
        [[test]]
        name = "test_restores"
        check = "restore"
        scenario = "lost"
        [[test]]
        name = "test_rto"
        check = "rto"
        scenario = "lost"
        [[detection]]
        fault = "A1"
        caught_by = "readable"
        finding = "unreadable"
        scenario = "planted"
        [[detection]]
        fault = "A6"
        caught_by = "content"
        finding = "part-missing"
        scenario = "planted"
    "#;
    let suite = parse(text, Path::new("shop.toml")).expect("is a suite");
    expand(&suite, &Options::default()).expect("unfolds")
}

fn selected(pattern: &str) -> Vec<(String, usize)> {
    let kept = select(&plan(), pattern).expect("is a pattern");
    let named = |drill: Drill| {
        (
            drill.id.trim_start_matches("shop/").to_owned(),
            drill.tests.len(),
        )
    };
    kept.drills.into_iter().map(named).collect()
}

fn ids(pattern: &str) -> Vec<String> {
    selected(pattern).into_iter().map(|(id, _)| id).collect()
}

#[test]
fn a_drill_is_named_with_and_without_its_suite_and_keeps_all_its_tests() {
    assert_eq!(ids("shop/*"), ids("*"));
    assert_eq!(ids("*").len(), 6);
    assert_eq!(selected("lost"), selected("shop/lost"));
    assert_eq!(
        selected("lost"),
        [("calibration".to_owned(), 0), ("lost".to_owned(), 2)]
    );
    assert_eq!(ids("lost*"), ["calibration", "lost", "lost@worst"]);
}

#[test]
fn a_test_is_named_and_only_the_tests_that_match_are_left() {
    assert_eq!(
        selected("test_restores"),
        [("calibration".to_owned(), 0), ("lost".to_owned(), 1)]
    );
    let kept = select(&plan(), "test_restores").expect("is a pattern");
    assert_eq!(kept.drills[1].tests[0].name, "test_restores");
    assert!(kept.pending.is_empty());
}

#[test]
fn what_a_verdict_rests_on_is_drilled_with_it() {
    assert_eq!(
        ids("test_rto"),
        ["calibration", "lost"],
        "the projection needs two sizes"
    );
    assert_eq!(
        ids("test_restores"),
        ["calibration", "lost"],
        "and a gate asks for it whatever is judged"
    );
    assert_eq!(
        ids("A6"),
        ["healthy-planted", "A6"],
        "a check that always fails catches nothing"
    );
    assert_eq!(ids("healthy-*"), ["healthy-planted"]);
}

#[test]
fn nothing_that_matches_is_an_empty_plan_and_no_pattern_is_an_error() {
    assert_eq!(
        select(&plan(), "tset_*").expect("is a pattern"),
        Plan::default()
    );
    assert_eq!(
        select(&plan(), "later")
            .expect("is a pattern")
            .pending
            .len(),
        1
    );
    let error = select(&plan(), "[a").expect_err("is no pattern");
    assert_eq!(error.kind(), crate::error::Kind::Usage);
}

#[test]
fn every_drill_is_in_one_shard_whatever_else_there_is_and_brings_what_it_rests_on() {
    let plan = plan();
    let mut seen = std::collections::BTreeMap::new();
    for number in 1..=3 {
        let shard: Shard = format!("{number}/3").parse().expect("a shard");
        for drill in plan.drills.iter().filter(|drill| shard.has(drill)) {
            *seen.entry(drill.id.clone()).or_insert(0) += 1;
            let alone = Plan::of(vec![drill.clone()]);
            assert_eq!(keep(&alone, |drill| shard.has(drill)).drills.len(), 1);
        }
        let kept = keep(&plan, |drill| shard.has(drill)).drills;
        for drill in &kept {
            let support = plan.drills.iter().filter(|it| rests_on(drill, it));
            for needed in support {
                assert!(kept.contains(needed), "{} without {}", drill.id, needed.id);
            }
        }
    }
    assert_eq!(seen.len(), plan.drills.len() - 1, "all but the calibration");
    let shard_of = |id: &str| {
        let drill = plan.drills.iter().find(|drill| drill.id == id);
        let drill = drill.expect("is there");
        (1..=3).find(|number| {
            Shard {
                number: *number,
                of: 3,
            }
            .has(drill)
        })
    };
    assert_eq!(shard_of("shop/lost"), shard_of("shop/lost@worst"));
    assert!(seen.values().all(|times| *times == 1));
}

#[test]
fn a_shard_is_a_number_of_so_many() {
    assert_eq!("2/3".parse(), Ok(Shard { number: 2, of: 3 }));
    for text in ["0/3", "4/3", "1", "a/b", "1/0", ""] {
        assert!(text.parse::<Shard>().is_err(), "{text}");
    }
}
