//! Which artifact a recovery takes where any may be picked.

use libtest_mimic::Failed;
use serde_json::Value;

use super::{SEED, drill_of, run_of, said};

/// A dump on the hour and one at a quarter to it; every row is deleted in between, and that is noticed after two dumps.
fn deleted_rows(ask: &str) -> String {
    format!(
        "[component.db]\nkind = \"postgres\"\nseed = \"seed.sql\"\n\
         [[component.db.smoke]]\nname = \"numbers without a gap\"\n{ask}\n\
         [backup.dump]\nschedule = \"0 * * * *\"\n\
         [backup.early]\nschedule = \"45 * * * *\"\n\
         [scenario.s]\nstrike = {{ fault = \"rows-deleted\" }}\nat = \"20m after dump\"\nunnoticed = 2\n\
         recover = [\"dump\", \"early\"]\npick = \"newest-good\"\n"
    )
}

/// The backup and the artifact that were recovered from.
fn taken(drill: &Value) -> (&str, &str) {
    let recovery = &drill["recoveries"][0];
    let word = |key: &str| recovery[key].as_str().unwrap_or_default();
    (word("backup"), word("artifact"))
}

pub fn the_last_dump_before_the_damage_is_found_and_each_that_was_left_is_told()
-> Result<(), Failed> {
    let suite =
        deleted_rows("ask = \"select max(n) - count(*) from public.numbers\"\nexpect = \"0\"");
    let (code, drilled) = drill_of(&suite, SEED)?;
    assert_eq!(code, Some(0), "{drilled:#}");
    let (backup, artifact) = taken(&drilled);
    assert_eq!(backup, "dump", "{drilled:#}");
    assert!(artifact.starts_with("20250112T120000Z"), "{artifact}");
    let skipped = said(&drilled, "artifact-skipped");
    let left = [
        "dump 20250112T140000Z",
        "early 20250112T134500Z",
        "dump 20250112T130000Z",
        "early 20250112T124500Z",
    ];
    assert_eq!(skipped.len(), left.len(), "{skipped:#?}");
    for (words, left) in skipped.iter().zip(left) {
        assert!(words.contains(left), "{left}: {skipped:#?}");
        assert!(words.contains("numbers without a gap"), "{skipped:#?}");
    }
    Ok(())
}

pub fn a_dump_of_the_damage_is_red_although_it_answers_every_question() -> Result<(), Failed> {
    let suite = deleted_rows("ask = \"select count(*) from public.others\"\nexpect = \"7\"");
    let seed = format!("{SEED}\ncreate table others as select generate_series(1, 7) as n;");
    let (code, drilled) = drill_of(&suite, &seed)?;
    assert_eq!(code, Some(1), "{drilled:#}");
    let came_back = said(&drilled, "damage-came-back");
    assert_eq!(came_back.len(), 1, "{drilled:#}");
    // What came back is what was dumped: nothing else is amiss.
    assert_eq!(said(&drilled, "count-differs"), Vec::<String>::new());
    assert_eq!(said(&drilled, "smoke-failed"), Vec::<String>::new());
    Ok(())
}

/// What the drill of a fault says.
fn of_fault<'r>(record: &'r Value, fault: &str) -> Result<&'r Value, Failed> {
    let drills = record["drills"].as_array().into_iter().flatten();
    let mut planted = drills.filter(|drill| drill["detection"]["fault"] == fault);
    planted
        .next()
        .ok_or_else(|| Failed::from(format!("no {fault}: {record:#}")))
}

/// Half an hour after the last base backup comes a dump, and twenty minutes later the server is lost.
pub fn a_dump_is_taken_where_the_log_ends_before_it_or_has_a_gap_and_else_the_log()
-> Result<(), Failed> {
    let suite = "[component.db]
kind = \"postgres\"
seed = \"seed.sql\"
settings = { wal_segment_size = \"1MB\" }
[[component.db.smoke]]
ask = \"select max(n) - count(*) from public.numbers\"
expect = \"0\"
[backup.base]
schedule = \"0 * * * *\"
method = \"pg-basebackup\"
[backup.dump]
schedule = \"30 * * * *\"
[scenario.s]
strike = { fault = \"server-lost\" }
at = \"20m after dump\"
recover = [\"dump\", \"base\"]
pick = \"newest-good\"
[backup.late]
schedule = \"58 * * * *\"
[scenario.just-after-a-dump]
strike = { fault = \"server-lost\" }
at = \"1m after late\"
recover = [\"base\", \"late\"]
pick = \"newest-good\"
[[detection]]
fault = \"C8\"
scenario = \"s\"
caught_by = \"replay\"
finding = \"archiving-failed\"
[[detection]]
fault = \"C1\"
scenario = \"s\"
caught_by = \"restore\"
finding = \"older-than-the-last-good\"
says = \"it is missing\"
";
    let (code, record) = run_of(suite, SEED)?;
    assert_eq!(code, Some(0), "{record:#}");
    let healthy = |scenario: &str| {
        let drills = record["drills"].as_array().into_iter().flatten();
        let mut of_it = drills.filter(|drill| drill["scenario"] == scenario);
        of_it.next().ok_or_else(|| Failed::from(scenario))
    };
    assert_eq!(taken(healthy("s")?).0, "base");
    // What was archived last is older than the dump.
    assert_eq!(taken(healthy("just-after-a-dump")?).0, "late");
    // The archiver was stalled after the base backup: nobody need try that first.
    let stalled = of_fault(&record, "C8")?;
    let (backup, artifact) = taken(stalled);
    assert_eq!(backup, "dump", "{stalled:#}");
    assert!(artifact.starts_with("20250112T143000Z"), "{artifact}");
    let told = stalled["detection"]["outcomes"].to_string();
    assert!(!told.contains("artifact-skipped"), "{told}");
    assert!(!told.contains("older-than-the-last-good"), "{told}");
    // A segment is missing: no base backup reaches the end of the log.
    let broken = of_fault(&record, "C1")?;
    assert_eq!(taken(broken), (backup, artifact), "{broken:#}");
    Ok(())
}

/// The network is cut while the newest artifact is fetched from the farther repository.
pub fn the_newest_good_artifact_is_taken_from_a_nearer_repository_before_an_older_one_is()
-> Result<(), Failed> {
    let suite = "[component.db]
kind = \"postgres\"
seed = \"seed.sql\"
settings = { wal_segment_size = \"1MB\" }
[repository.near]
kind = \"local\"
[repository.far]
kind = \"s3\"
bucket = \"far\"
[backup.base]
schedule = \"0 * * * *\"
method = \"pg-basebackup\"
repository = [\"near\", \"far\"]
[scenario.s]
strike = { fault = \"rows-deleted\" }
restore = { target = \"before-strike\" }
at = \"20m after base\"
pick = \"newest-good\"
[[detection]]
fault = \"C5\"
caught_by = \"restore\"
finding = \"restore-failed\"
";
    let (code, drilled) = drill_of(suite, SEED)?;
    // Nothing failed because of it.
    assert_eq!(code, Some(1), "{drilled:#}");
    let (_, artifact) = taken(&drilled);
    assert!(artifact.starts_with("20250112T140000Z"), "{artifact}");
    let outcomes = drilled["detection"]["outcomes"].as_array();
    let mut outcomes = outcomes.into_iter().flatten();
    let restore = outcomes.find(|it| it["id"] == "restore");
    let restore = restore.ok_or_else(|| Failed::from(format!("{drilled:#}")))?;
    assert_eq!(restore["verdict"], "passed", "{drilled:#}");
    let said = restore.to_string();
    assert!(said.contains("repository-skipped"), "{said}");
    assert!(!said.contains("artifact-skipped"), "{said}");
    Ok(())
}
