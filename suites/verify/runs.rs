//! One run of the binary on one artifact, and what its record says.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use libtest_mimic::Failed;
use serde_json::Value;

use crate::place::{Outcome, Place, all, exits};

/// A question that every whole backup of the shop answers.
pub const ASK: &str = "[[smoke]]\nask = \"select count(*) from public.orders\"\nexpect = 1000\n";

/// The command, with questions in `ask.toml` of the place.
pub fn command(place: &Place, artifact: &Path, more: &[&str]) -> Command {
    let artifact = artifact.to_str().expect("utf-8");
    let mut arguments = vec!["verify", artifact, "--services", "local"];
    arguments.extend(more);
    let mut command = place.command(&arguments);
    for name in [
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "REDRILL_IDENTITY",
    ] {
        command.env_remove(name);
    }
    command
}

/// Verifies with the shop's question; nothing is left behind, whatever comes of it.
pub fn verify(place: &Place, artifact: &Path, more: &[&str]) -> Result<Output, Failed> {
    place.write("ask.toml", ASK);
    let arguments = [&["--ask", "ask.toml"][..], more].concat();
    plainly(place, artifact, &arguments)
}

/// The same without a question.
pub fn plainly(place: &Place, artifact: &Path, more: &[&str]) -> Result<Output, Failed> {
    let output = command(place, artifact, more).output()?;
    is_clean(place, &output)?;
    Ok(output)
}

/// Nothing of a run is left in the temporary directory.
pub fn is_clean(place: &Place, output: &Output) -> Outcome {
    let left: Vec<_> = std::fs::read_dir(place.path("tmp"))?
        .flatten()
        .map(|it| it.file_name())
        .collect();
    match left.is_empty() {
        true => Ok(()),
        false => Err(format!("left behind: {left:?}\n{}", all(output)).into()),
    }
}

/// The record of the last run.
pub fn last(place: &Place) -> Result<Value, Failed> {
    let run = place.runs().pop().ok_or("there is no run")?;
    Ok(serde_json::from_slice(&std::fs::read(
        run.join("record.json"),
    )?)?)
}

/// The checks of the last run with a verdict.
pub fn checks(place: &Place, verdict: &str) -> Result<BTreeSet<String>, Failed> {
    let record = last(place)?;
    let checks = record["drills"][0]["checks"]
        .as_array()
        .ok_or("no checks")?;
    let with = checks.iter().filter(|check| check["verdict"] == verdict);
    Ok(with
        .filter_map(|check| Some(check["id"].as_str()?.to_owned()))
        .collect())
}

/// The run failed, and by this check alone.
pub fn failed_by(place: &Place, output: &Output, check: &str) -> Outcome {
    exits(output, 1)?;
    let failed = checks(place, "failed")?;
    match failed == BTreeSet::from([check.to_owned()]) {
        true => Ok(()),
        false => Err(format!("failed: {failed:?}, expected {check}\n{}", all(output)).into()),
    }
}
