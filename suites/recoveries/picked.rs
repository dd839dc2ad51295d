//! Which artifact a recovery takes where any may be picked.

use libtest_mimic::Failed;
use serde_json::Value;

use super::{SEED, drill_of, said};

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
