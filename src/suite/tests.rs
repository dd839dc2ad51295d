//! Suites as they are written, and as they should not be.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

/// The suite of the given text, which names its seeds relative to a directory with those files in it.
fn suite_with_seeds(text: &str, seeds: &[&str]) -> Suite {
    let dir = tempfile::tempdir().expect("a directory");
    for seed in seeds {
        let path = dir.path().join(seed);
        std::fs::create_dir_all(path.parent().expect("has a parent")).expect("created");
        std::fs::write(path, "").expect("written");
    }
    let path = dir.path().join("suites/deltacrown.toml");
    parse(text, &path).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn example() -> String {
    let docs = include_str!("mod.rs");
    let lines = docs
        .lines()
        .skip_while(|line| *line != "//! ```toml")
        .skip(1);
    lines
        .take_while(|line| *line != "//! ```")
        .map(|line| line.trim_start_matches("//!").trim_start_matches(' '))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn a_suite_of_about_ten_lines_says_enough() {
    let text = example();
    let lines = text.lines().filter(|line| !line.is_empty()).count();
    assert!(lines <= 10, "{lines} lines:\n{text}");
    let suite = suite_with_seeds(&text, &["chinook.sql"]);
    assert_eq!(suite.title, "Deltacrown");
    assert_eq!(suite.sha256.len(), 64);
    let ComponentKind::Postgres { database, seed, .. } = &suite.components[0].kind else {
        panic!("is a database");
    };
    assert_eq!(database, "chinook");
    assert!(seed.as_ref().is_some_and(|seed| seed.is_absolute()));
    assert_eq!(
        suite.repositories[0].kind,
        RepositoryKind::S3 {
            bucket: "redrill-offsite".to_owned()
        }
    );
    let backup = &suite.backups[0];
    assert_eq!(backup.component, "chinook");
    assert_eq!(backup.repositories, ["offsite"]);
    assert_eq!(backup.deadline, HOUR);
    let scenario = &suite.scenarios[0];
    assert_eq!(scenario.title, "Server lost");
    assert_eq!(scenario.recover, ["nightly"]);
    assert_eq!(scenario.at, [StrikeTime::Worst]);
    assert_eq!(scenario.restore.jobs, 4);
    assert_eq!(scenario.rpo["chinook"], 25 * HOUR);
}

#[test]
fn a_rehearsal_of_base_backups_goes_on_until_one_is_pruned_beside_the_one_that_leads_in() {
    for (days, problems) in [(8, 1), (9, 1), (10, 0)] {
        let text = format!(
            "[component.db]\nkind = \"postgres\"\n[backup.base]\nschedule = \"@daily\"\nmethod = \"pg-basebackup\"\n\
             keep = {{ within = \"7d\" }}\n[scenario.s]\nstrike = {{ fault = \"server-lost\" }}\n[retention]\ndays = {days}\n"
        );
        let parsed = parse(&text, Path::new("s.toml"));
        let found = parsed.err().unwrap_or_default();
        assert_eq!(found.len(), problems, "{days}: {found:?}");
        assert!(
            found
                .iter()
                .all(|it| it.to_string().contains("nothing is pruned"))
        );
    }
}

#[test]
fn deltacrown_says_what_its_document_says() {
    let text = std::fs::read_to_string(checkout("suites/deltacrown.toml")).expect("is there");
    let suite = suite_with_seeds(&text, &["fixtures/deltacrown/db.sql"]);
    assert_eq!(suite.title, "DeltaCrown");
    let sizes: Vec<_> = suite.components.iter().map(|c| c.production_size).collect();
    assert_eq!(
        sizes,
        [
            Some(12_300_000_000),
            Some(5_000_000_000),
            Some(28_000_000_000)
        ]
    );
    let backup = |name: &str| {
        suite
            .backups
            .iter()
            .find(|b| b.name == name)
            .expect("is there")
    };
    assert_eq!(
        backup("postgres").method,
        Method::PgDump(Dump::of(DumpFormat::Custom, 9))
    );
    assert_eq!(backup("postgres").keep.within, 7 * 24 * HOUR);
    assert_eq!(backup("redis").keep.within, 24 * HOUR);
    assert_eq!(backup("media").keep.within, 30 * 24 * HOUR);
    assert!(
        suite
            .backups
            .iter()
            .all(|b| b.encrypt == Some(Encryption::Age))
    );
    assert!(
        suite
            .backups
            .iter()
            .all(|b| b.repositories.last().is_some_and(|r| r == "offsite"))
    );

    let scenario = |name: &str| {
        suite
            .scenarios
            .iter()
            .find(|s| s.name == name)
            .expect("is there")
    };
    let corruption = scenario("database-corruption");
    let after_58_minutes = StrikeTime::After {
        backup: "postgres".to_owned(),
        offset: Duration::from_secs(58 * 60),
    };
    assert_eq!(corruption.at, [after_58_minutes, StrikeTime::Worst]);
    assert_eq!(
        (corruption.rpo["db"], corruption.rto),
        (HOUR, Some(HOUR / 4))
    );
    let failure = scenario("complete-server-failure");
    assert_eq!(failure.strikes.len(), 3);
    assert_eq!(failure.rpo["cache"], HOUR / 4);
    assert_eq!(failure.rpo["media"], 24 * HOUR);
    let outage = scenario("region-outage");
    assert!(outage.pending.is_some());
    // Nothing of it is recovered yet, and its objective is known all the same.
    let day = 24 * HOUR;
    let all = [("cache", day), ("db", day), ("media", day)];
    let limits = outage.rpo.iter().map(|(name, most)| (name.as_str(), *most));
    assert_eq!(limits.collect::<Vec<_>>(), all);

    let tests: Vec<_> = suite
        .tests
        .iter()
        .map(|t| (t.name.as_str(), t.check))
        .collect();
    assert_eq!(
        tests,
        [
            ("test_postgres_backup_creates_dump_file", Check::Artifact),
            (
                "test_postgres_backup_size_within_expected_range",
                Check::Size
            ),
            ("test_redis_rdb_snapshot_generated", Check::Readable),
            ("test_media_files_sync_to_s3", Check::Mirror),
            ("test_backup_retention_policy_enforced", Check::Retention),
            ("test_restore_postgres_from_latest_backup", Check::Restore),
            ("test_restored_db_passes_smoke_checks", Check::Smoke),
            ("test_rpo_within_target_1_hour", Check::Rpo),
            ("test_rto_within_target_15_minutes", Check::Rto),
            ("test_backup_encryption_enabled", Check::Encryption),
        ]
    );
    assert_eq!(suite.tests[4].drill, "retention");
}

#[test]
fn every_fault_there_is_has_a_detection_that_says_by_which_words_it_is_caught() {
    let mut planted = BTreeSet::new();
    for name in ["detection", "detection-pgbackrest"] {
        let suite = load(&checkout(&format!("suites/{name}.toml"))).expect("is a suite");
        for detection in &suite.detections {
            let fault = detection.fault;
            assert_eq!(unplanted::planted_by(fault), name);
            let says = detection.caught_by.says.is_some();
            assert!(says, "{fault} could be caught by any finding of its kind");
            assert!(
                planted.insert(detection.fault),
                "{} comes twice",
                detection.fault
            );
        }
    }
    let all: BTreeSet<Fault> = Fault::ALL.iter().copied().collect();
    assert_eq!(planted, all);
}

#[test]
fn seeds_are_found_beside_the_suite_and_beside_its_folder() {
    let text = example();
    for place in ["suites/chinook.sql", "chinook.sql"] {
        let suite = suite_with_seeds(&text, &[place]);
        let ComponentKind::Postgres { seed, .. } = &suite.components[0].kind else {
            panic!("is a database");
        };
        assert!(seed.as_ref().is_some_and(|seed| seed.ends_with(place)));
    }
}

/// Every fixture states its purpose in its first line, and the problems it must give stand beside it, in a file
/// that ends in `.problems`, one to a line, without the folder.
#[test]
fn every_invalid_suite_gives_exactly_the_problems_that_stand_beside_it() {
    let folder = checkout("fixtures/invalid");
    let mut fixtures = 0;
    for entry in std::fs::read_dir(&folder).expect("is there") {
        let path = entry.expect("is readable").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        let text = std::fs::read_to_string(&path).expect("is readable");
        assert!(text.starts_with("# Purpose: "), "{name} states no purpose");
        let file = Path::new("fixtures/invalid").join(name);
        let problems = parse(&text, &file).expect_err("is invalid");
        let found: String = problems
            .iter()
            .map(|problem| format!("{problem}\n"))
            .collect();
        let found = found.replace("fixtures/invalid/", "");
        let beside = path.with_extension("problems");
        if std::env::var_os("REDRILL_BLESS").is_some() {
            std::fs::write(&beside, &found).expect("written");
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        assert_eq!(found, expected, "{name}");
        fixtures += 1;
    }
    assert!(fixtures >= 14, "only {fixtures} fixtures");
}

#[test]
fn a_suites_name_is_its_files_stem_made_fit_for_ids() {
    let text = "[component.db]\nkind = \"postgres\"\n[backup.b]\nschedule = \"@daily\"\n\
                [scenario.s]\nstrike = { fault = \"server-lost\" }\n";
    let suite = parse(text, Path::new("elsewhere/my shop.v2.toml")).expect("is a suite");
    assert_eq!(suite.name, "my-shop-v2");
    assert_eq!(suite.title, "My shop v2");
}

#[test]
fn all_problems_of_a_file_stand_in_one_usage_error() {
    let error = load(&checkout("fixtures/invalid/several-at-once.toml")).expect_err("is invalid");
    assert_eq!(error.kind(), crate::error::Kind::Usage);
    let message = error.message();
    for part in [
        "3 problems",
        "unknown key `retention`",
        "expected a version",
        "no component `database`",
    ] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
}

proptest! {
    #[test]
    fn no_damage_to_a_suite_makes_the_reader_panic_and_every_problem_has_a_place(
        cut in 0usize..6_000,
        insert in "[\\[\\]{}=\"#a-z0-9\n.é ]{0,12}",
        remove in 0usize..40,
    ) {
        let text = include_str!("../../suites/detection.toml");
        let start = text.floor_char_boundary(cut.min(text.len()));
        let end = text.floor_char_boundary((start + remove).min(text.len()));
        let damaged = format!("{}{insert}{}", &text[..start], &text[end..]);
        let lines = damaged.lines().count().max(1);
        if let Err(problems) = parse(&damaged, &checkout("suites/detection.toml")) {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                prop_assert!(problem.line >= 1 && problem.line <= lines + 1);
                prop_assert!(problem.column >= 1);
            }
        }
    }

    #[test]
    fn an_offset_shorter_than_the_period_is_taken_as_said(minutes in 1u64..59) {
        let text = format!(
            "[component.db]\nkind = \"postgres\"\n[backup.b]\nschedule = \"0 * * * *\"\n\
             [scenario.s]\nstrike = {{ fault = \"server-lost\" }}\nat = \"{minutes}m after b\"\n"
        );
        let suite = parse(&text, Path::new("x.toml")).expect("is a suite");
        let offset = Duration::from_secs(minutes * 60);
        let after = StrikeTime::After { backup: "b".to_owned(), offset };
        prop_assert_eq!(&suite.scenarios[0].at, &vec![after]);
    }
}

#[test]
fn an_answer_that_is_no_number_is_never_enough() {
    assert!(Expect::AtLeast(3.0).holds("3"));
    assert!(Expect::Between(1.0, 42.0).holds(" 42\n"));
    assert!(!Expect::Between(1.0, 41.0).holds("42"));
    for answer in ["2.99", "NaN", "", "many"] {
        assert!(!Expect::AtLeast(3.0).holds(answer));
        assert!(!Expect::Between(0.0, 2.0).holds(answer));
    }
    assert!(Expect::Equals("t".into()).holds("t"));
    assert!(!Expect::Equals("42".into()).holds("42.0"));
    assert_eq!(Expect::Between(1.0, 2.0).to_string(), "between 1 and 2");
}
