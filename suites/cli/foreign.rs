//! The suite of ten lines that the README shows, over a database that nobody wrote for redrill: green as it is, red where
//! one row was changed.

use std::path::{Path, PathBuf};

use libtest_mimic::Failed;
use serde_json::Value;

use crate::programs::{installed, run_with, stand_in};
use crate::{Outcome, Place, exits, says};

/// Real data that is not part of this repository, where it is: `REDRILL_SHARED_DATA`, or `../shared/data` beside the
/// checkout.
fn chinook() -> Option<PathBuf> {
    let dir = std::env::var_os("REDRILL_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    Some(dir.join("Chinook_PostgreSql.sql")).filter(|path| path.is_file())
}

/// Why the data that others publish is not drilled here.
pub fn no_chinook() -> Option<&'static str> {
    let why = "Chinook_PostgreSql.sql is no part of this repository and not beside it: set REDRILL_SHARED_DATA to its folder";
    chinook().is_none().then_some(why)
}

pub fn ten_lines_over_foreign_data_drill_green_and_a_changed_row_drills_red() -> Outcome {
    let seed = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/foreign/music.sql");
    green_and_red(Path::new(seed))
}

pub fn ten_lines_over_chinook_drill_green_and_a_changed_row_drills_red() -> Outcome {
    green_and_red(&chinook().ok_or("no Chinook")?)
}

/// The suite of the README's section about it.
fn of_the_readme() -> Result<&'static str, Failed> {
    let readme = include_str!("../../README.md");
    let (_, section) = readme
        .split_once("\n## A suite in ten lines\n")
        .ok_or("no section")?;
    let (_, suite) = section.split_once("```toml\n").ok_or("no suite")?;
    let (suite, _) = suite.split_once("```").ok_or("no end of it")?;
    let lines = suite.lines().filter(|line| !line.is_empty()).count();
    match lines {
        0..=10 => Ok(suite),
        more => Err(format!("it has {more} lines").into()),
    }
}

fn green_and_red(seed: &Path) -> Outcome {
    let place = Place::new();
    let seed = std::fs::canonicalize(seed)?.display().to_string();
    let suite = of_the_readme()?.replace("\"chinook.sql\"", &format!("{seed:?}"));
    let output = place.drill(&place.suite(&suite), &[]).output()?;
    exits(&output, 0)?;
    place.is_clean()?;
    let red = Place::new();
    let stored_as_it_is = "[backup.nightly]\nmethod = { pg-dump = { compress = 0 } }";
    let path = red.suite(&suite.replace("[backup.nightly]", stored_as_it_is));
    // Every dump loses an artist's name to another before it is sealed.
    let script = "set -o pipefail\n$real \"$@\" | LC_ALL=C sed 's/2\\tAccept$/2\\tExcept/'";
    let changing = stand_in(&red, &installed("pg_dump")?, script)?;
    let output = run_with(&red.drill(&path, &[]), &[changing])?;
    exits(&output, 1)?;
    says(
        &output,
        &["content-differs: chinook: public.artist: same count"],
    )?;
    red.is_clean()?;
    let record = red.record()?;
    let drill = &record["drills"][0];
    if drill["verdict"] != "failed" {
        return Err(format!("the drill is not red: {}", drill["verdict"]).into());
    }
    let failed: Vec<&Value> = drill["checks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|check| check["verdict"] == "failed")
        .collect();
    let [content] = failed.as_slice() else {
        return Err(format!("one check fails, the content: {failed:?}").into());
    };
    let findings = content["findings"].as_array().ok_or("no findings")?;
    let words: Vec<&str> = findings
        .iter()
        .filter_map(|finding| finding["message"].as_str())
        .collect();
    if content["id"] != "content"
        || !matches!(words.as_slice(), [word] if word.starts_with("chinook: public.artist: same count"))
    {
        return Err(format!("the changed table alone is not named: {content}").into());
    }
    Ok(())
}
