//! What stands in `examples/`, held to what redrill is.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::Failed;
use serde_json::Value;

use super::place::{Outcome, Place, SUITE, TWO_DRILLS, contains, copy, exits, says};

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

/// Runs a script in a folder with redrill on its path, as a job does.
fn sh(folder: &Path, arguments: &[&str], set: &[(&str, &str)]) -> Result<Output, Failed> {
    let program = Path::new(env!("CARGO_BIN_EXE_redrill"));
    let programs = program.parent().ok_or("no folder")?.display();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(arguments).current_dir(folder);
    // As redrill itself would be called there.
    for (name, value) in Place::new().command(&[]).get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    // Servers look into it as their own users.
    let tmp = folder.join("tmp");
    std::fs::create_dir_all(&tmp)?;
    std::fs::set_permissions(&tmp, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    shell.env("PATH", &path).env("TMPDIR", tmp);
    Ok(shell.envs(set.iter().copied()).output()?)
}

pub fn the_deploy_script_stops_at_a_closed_gate_and_goes_on_at_an_open_one() -> Outcome {
    let script = folder().join("deploy.sh");
    let deploy = |place: &Place| {
        let set = [("SUITE", "shop.toml"), ("DEPLOY", "echo deployed")];
        sh(
            &place.path(""),
            &[script.to_str().unwrap_or_default()],
            &set,
        )
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

/// A checkout whose `deltacrown` is a small suite with a drill for each of two shards.
fn checkout() -> Result<Place, Failed> {
    let place = Place::new();
    std::fs::create_dir(place.path("suites"))?;
    place.write("suites/deltacrown.toml", TWO_DRILLS);
    place.commit("suites");
    Ok(place)
}

/// The same checkout on another machine, where nothing was drilled.
fn cloned(place: &Place) -> Result<tempfile::TempDir, Failed> {
    let dir = tempfile::Builder::new().prefix("rdtell").tempdir()?;
    std::fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    let from = place.path("");
    let clone = Command::new("git")
        .args(["clone", "--quiet"])
        .arg(from)
        .arg(dir.path().join("checkout"))
        .output()?;
    exits(&clone, 0)?;
    Ok(dir)
}

/// A file of YAML, read by what the validators are made of.
fn yaml(name: &str) -> Result<Value, Failed> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let validators = std::env::split_paths(&paths)
        .find(|path| path.join("check-jsonschema").exists())
        .ok_or("no check-jsonschema")?;
    let script = "import json, sys, ruamel.yaml\n\
                  print(json.dumps(ruamel.yaml.YAML(typ='safe').load(open(sys.argv[1]))))";
    let read = Command::new(validators.join("python"))
        .args(["-c", script])
        .arg(folder().join(name))
        .output()?;
    exits(&read, 0)?;
    Ok(serde_json::from_slice(&read.stdout)?)
}

/// The commands of a job, in order.
fn scripts(job: &Value) -> Vec<&str> {
    let lines = job["script"].as_array().or(job["steps"].as_array());
    let lines = lines.into_iter().flatten();
    lines
        .filter_map(|it| it.as_str().or(it["run"].as_str()))
        .collect()
}

/// The value of a step's `with`, of the step that uses an action.
fn with<'v>(job: &'v Value, action: &str, key: &str) -> Result<&'v str, Failed> {
    let mut steps = job["steps"].as_array().into_iter().flatten();
    let uses = |it: &&Value| it["uses"].as_str().is_some_and(|it| it.starts_with(action));
    let step = steps.find(uses).ok_or(format!("no step uses {action}"))?;
    step["with"][key]
        .as_str()
        .ok_or_else(|| format!("{action} has no {key}").into())
}

/// Runs the drills of a pipeline in two shards, each on a machine of its own, then the gate on another with the reports of
/// both; then the same gate for a commit that nothing was drilled of.
fn pipeline(
    drill: &Value,
    gate: &Value,
    reports: (&str, &str),
    shard: impl Fn(&str, u32) -> (String, Vec<(&'static str, String)>),
) -> Outcome {
    let place = checkout()?;
    let gated = cloned(&place)?;
    let into = gated.path().join("checkout").join(reports.1);
    let mut drilled = 0;
    for number in 1..=2 {
        let machine = cloned(&place)?;
        let work = machine.path().join("checkout");
        for script in scripts(drill) {
            let (script, set) = shard(script, number);
            let set: Vec<(&str, &str)> = set.iter().map(|(a, b)| (*a, b.as_str())).collect();
            exits(&sh(&work, &["-e", "-c", &script], &set)?, 0)?;
        }
        // One history goes over the other, as it does there.
        std::fs::create_dir_all(&into)?;
        for entry in std::fs::read_dir(work.join(reports.0))?.flatten() {
            let target = into.join(entry.file_name());
            if entry.path().is_dir() {
                std::fs::create_dir(&target)?;
                copy(&entry.path(), &target)?;
                drilled += 1;
            } else {
                std::fs::copy(entry.path(), target)?;
            }
        }
    }
    if drilled != 2 {
        return Err(format!("{drilled} runs").into());
    }
    let decide = |code| -> Outcome {
        for script in scripts(gate) {
            let output = sh(&gated.path().join("checkout"), &["-e", "-c", script], &[])?;
            exits(&output, code)?;
            says(
                &output,
                &[if code == 0 {
                    "GATE OPEN"
                } else {
                    "other-commit"
                }],
            )?;
        }
        Ok(())
    };
    decide(0)?;
    let commit = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
        .args(["commit", "--quiet", "--allow-empty", "-m", "another"])
        .current_dir(gated.path().join("checkout"))
        .output()?;
    exits(&commit, 0)?;
    decide(5)
}

pub fn no_validators_or_postgres() -> Option<String> {
    super::schedule::no_validators().or(super::place::no_postgres())
}

pub fn the_workflow_of_github_deploys_what_was_drilled_and_nothing_else() -> Outcome {
    let jobs = yaml("github-actions.yml")?["jobs"].clone();
    let (drill, gate, deploy) = (&jobs["drill"], &jobs["gate"], &jobs["deploy"]);
    if drill["strategy"]["matrix"]["shard"] != serde_json::json!([1, 2])
        || gate["needs"] != "drill"
        || gate["if"] != "always()"
        || deploy["needs"] != "gate"
        || deploy["if"] != "needs.gate.result == 'success'"
        || scripts(gate).len() != 1
        || with(gate, "actions/download-artifact", "pattern")? != "reports-*"
        || with(drill, "actions/upload-artifact", "name")? != "reports-${{ matrix.shard }}"
    {
        return Err(format!("{jobs:#}").into());
    }
    let reports = (
        with(drill, "actions/upload-artifact", "path")?,
        with(gate, "actions/download-artifact", "path")?,
    );
    pipeline(drill, gate, reports, |script, number| {
        (
            script.replace("${{ matrix.shard }}", &number.to_string()),
            Vec::new(),
        )
    })?;
    let output = sh(
        &Place::new().path(""),
        &["-e", "-c", scripts(deploy)[0]],
        &[],
    )?;
    exits(&output, 0)
}

pub fn the_pipeline_of_gitlab_deploys_what_was_drilled_and_nothing_else() -> Outcome {
    let jobs = yaml("gitlab-ci.yml")?;
    let (drill, gate, deploy) = (&jobs["drill"], &jobs["gate"], &jobs["deploy"]);
    let stages = serde_json::json!(["drill", "gate", "deploy"]);
    let named = ["drill", "gate", "deploy"].map(|name| jobs[name]["stage"] == name);
    // A stage begins when the one before has passed; a drill that failed is left to the gate.
    if jobs["stages"] != stages
        || named != [true; 3]
        || drill["parallel"] != 2
        || drill["allow_failure"] != true
        || !gate["allow_failure"].is_null()
        || !deploy["when"].is_null()
        || scripts(gate).len() != 1
    {
        return Err(format!("{jobs:#}").into());
    }
    let reports = drill["artifacts"]["paths"][0].as_str().unwrap_or_default();
    pipeline(drill, gate, (reports, reports), |script, number| {
        let set = vec![
            ("CI_NODE_INDEX", number.to_string()),
            ("CI_NODE_TOTAL", "2".to_owned()),
        ];
        (script.to_owned(), set)
    })
}

pub fn the_nightly_script_drills_signs_and_keeps_the_runbook() -> Outcome {
    let place = checkout()?;
    place.write("suites/detection.toml", SUITE);
    place.commit("detection");
    let openssl = Command::new("openssl")
        .args(["genpkey", "-algorithm", "ed25519", "-out", "tmp/key.pem"])
        .current_dir(place.path(""))
        .output()?;
    exits(&openssl, 0)?;
    let script = folder().join("nightly.sh");
    let script = script.to_str().unwrap_or_default();
    let set = [("SUITES", "deltacrown"), ("KEY", "tmp/key.pem")];
    let nightly = || sh(&place.path(""), &[script], &set);
    let output = nightly()?;
    exits(&output, 0)?;
    says(
        &output,
        &["deltacrown/lost", "deltacrown/second", "detection/lost"],
    )?;
    contains(
        &std::fs::read_to_string(place.path("reports/runbook.md"))?,
        &["# Recovery runbook"],
    )?;
    let signed = place
        .runs()
        .iter()
        .filter(|run| run.join("evidence.dsse.json").exists())
        .count();
    if (place.runs().len(), signed) != (2, 2) {
        return Err(format!("{} runs, {signed} signed", place.runs().len()).into());
    }
    // What fails on the way is what the script ends with, and the rest is done all the same.
    place.write("suites/detection.toml", &SUITE.replace("15m", "1ms"));
    let output = nightly()?;
    exits(&output, 1)?;
    says(&output, &["detection/lost"])?;
    // Nor is it hidden by what goes wrong later.
    std::fs::remove_file(place.path("reports/runbook.md"))?;
    std::fs::create_dir(place.path("reports/runbook.md"))?;
    let output = nightly()?;
    exits(&output, 1)?;
    says(&output, &["runbook.md"])?;
    std::fs::remove_dir(place.path("reports/runbook.md"))?;
    match place.runs().len() {
        6 => Ok(()),
        runs => Err(format!("{runs} runs").into()),
    }
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
