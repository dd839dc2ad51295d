//! What stands in `examples/`, held to what redrill is.

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Failed;

use super::place::{Outcome, Place, exits, says};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The commands of a file that call redrill, without what a CI server fills in.
fn commands(text: &str) -> Vec<Vec<String>> {
    let lines = text.lines().map(|line| {
        line.trim()
            .trim_start_matches("- ")
            .trim_start_matches("run: ")
    });
    lines
        .filter(|line| line.starts_with("redrill "))
        .map(|line| {
            let line = line
                .split(" || ")
                .next()
                .unwrap_or(line)
                .split(" > ")
                .next()
                .unwrap_or(line);
            line.replace("${{ matrix.shard }}", "1")
                .replace("$CI_NODE_INDEX", "1")
                .replace("$CI_NODE_TOTAL", "4")
                .split_whitespace()
                .skip(1)
                .map(|word| word.trim_matches(['"', '\'']).to_owned())
                .collect()
        })
        .collect()
}

pub fn every_command_of_the_examples_is_one_that_redrill_knows() -> Outcome {
    let place = Place::new();
    let mut seen = 0;
    for entry in std::fs::read_dir(folder())?.flatten() {
        for command in commands(&std::fs::read_to_string(entry.path())?) {
            // Help is given once the words before it are known to be right.
            let mut words: Vec<&str> = command.iter().map(String::as_str).collect();
            words.push("--help");
            let output = place.redrill(&words);
            exits(&output, 0)
                .map_err(|error| format!("{}: {command:?}: {error:?}", entry.path().display()))?;
            seen += 1;
        }
    }
    match seen {
        0..6 => Err(format!("only {seen} commands were found").into()),
        _ => Ok(()),
    }
}

pub fn the_deploy_script_stops_at_a_closed_gate_and_goes_on_at_an_open_one() -> Outcome {
    let program = Path::new(env!("CARGO_BIN_EXE_redrill"));
    let programs = program.parent().ok_or("no folder")?.display();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    let deploy = |place: &Place| -> Result<std::process::Output, Failed> {
        let mut shell = Command::new("sh");
        shell
            .arg(folder().join("deploy.sh"))
            .current_dir(place.path(""));
        // As redrill itself would be called there.
        for (name, value) in place.command(&[]).get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell
            .env("PATH", &path)
            .env("SUITE", "shop.toml")
            .env("DEPLOY", "echo deployed");
        Ok(shell.output()?)
    };
    let closed = Place::new();
    let output = deploy(&closed)?;
    exits(&output, 5)?;
    if String::from_utf8_lossy(&output.stdout).contains("deployed") {
        return Err("it deployed behind a closed gate".into());
    }
    let open = Place::drilled()?;
    let output = deploy(&open)?;
    exits(&output, 0)?;
    says(&output, &["GATE OPEN", "deployed"])
}

pub fn no_promtool() -> Option<String> {
    let there = Command::new("promtool").arg("--version").output().is_ok();
    (!there).then(|| "no promtool".to_owned())
}

pub fn the_alert_rules_hold_before_promtool() -> Outcome {
    let output = Command::new("promtool")
        .args(["check", "rules"])
        .arg(folder().join("alerts.yml"))
        .output()?;
    exits(&output, 0)?;
    let output = Command::new("promtool")
        .args(["test", "rules"])
        .arg(folder().join("alerts.test.yml"))
        .output()?;
    exits(&output, 0)
}
