//! History, reports and runbooks of earlier runs.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use libtest_mimic::Failed;
use serde_json::Value;

use redrill::process::quoted;

use super::place::{Outcome, Place, SUITE, TWO_DRILLS, all, contains, copy, exits, says, text};
use crate::mounts;

pub fn a_history_of_nothing_exits_4() -> Outcome {
    let place = Place::new();
    let output = place.redrill(&["history"]);
    exits(&output, 4)?;
    says(&output, &["no run yet", "redrill drill"])?;
    let output = place.redrill(&["report"]);
    exits(&output, 2)?;
    says(&output, &["there is no run in reports"])
}

pub fn every_report_is_written_and_rendered_again_from_the_record() -> Outcome {
    let place = Place::drilled()?;
    let run = place.run()?;
    let record = std::fs::read(run.join("record.json"))?;
    for name in ["report.md", "report.html", "junit.xml"] {
        let before = std::fs::read_to_string(run.join(name))?;
        std::fs::remove_file(run.join(name))?;
        exits(&place.redrill(&["report"]), 0)?;
        if std::fs::read_to_string(run.join(name))? != before {
            return Err(format!("{name} came out differently").into());
        }
    }
    if std::fs::read(run.join("record.json"))? != record {
        return Err("the record was changed".into());
    }
    let junit = std::fs::read_to_string(run.join("junit.xml"))?;
    contains(
        &junit,
        &[
            "testsuite name=\"shop\"",
            "testcase name=\"test_rpo\"",
            "failures=\"0\"",
        ],
    )
}

pub fn history_shows_runs_and_compares_them() -> Outcome {
    let place = Place::drilled()?;
    let shown = place.redrill(&["history"]);
    exits(&shown, 0)?;
    says(&shown, &["shop/lost", "58 m", "1/1", "passed"])?;
    let json = place.redrill(&["history", "--format", "json"]);
    let entries: Value = serde_json::from_slice(&json.stdout)?;
    if entries[0]["rpo"] != 3480.0 {
        return Err(format!("{entries}").into());
    }
    let same = place.redrill(&["history", "compare", "latest"]);
    exits(&same, 0)?;
    says(&same, &["nothing got better or worse"])?;
    exits(
        &place.redrill(&["history", "compare", "latest", "--fail"]),
        0,
    )?;
    // A later run that took much longer.
    let (first, mut slower) = (place.run()?, place.record()?);
    slower["run_id"] = "20990101-000000-00000001".into();
    slower["drills"][0]["rto"]["total_seconds"] = 700.into();
    let later = place.path("later.json");
    std::fs::write(&later, slower.to_string())?;
    let (first, later) = (first.join("record.json"), later);
    let names = [&first, &later].map(|it| it.to_str().unwrap_or_default());
    let compare = |more: &[&str]| {
        place.redrill(&[&["history", "compare", names[0], names[1]][..], more].concat())
    };
    exits(&compare(&[]), 0)?;
    let worse = compare(&["--fail"]);
    exits(&worse, 1)?;
    says(&worse, &["RTO", "11 m 40 s"])?;
    let json = compare(&["--format", "json"]);
    exits(&json, 0)?;
    let said: Value = serde_json::from_slice(&json.stdout)?;
    let change = &said["changes"][0];
    if change["drill"] != "shop/lost" || change["after"] != "11 m 40 s" || change["worse"] != true {
        return Err(format!("{said}").into());
    }
    // A torn last line is told, and nothing is lost.
    let path = place.path("reports/history.jsonl");
    let history = std::fs::read(&path)?;
    std::fs::write(&path, &history[..history.len() / 2])?;
    let torn = place.redrill(&["history"]);
    exits(&torn, 0)?;
    says(
        &torn,
        &["shop/lost", "note: line 1 of history.jsonl is torn"],
    )?;
    exits(&place.redrill(&["gate", "shop.toml"]), 0)
}

pub fn a_full_disk_while_reporting_leaves_the_verdict_and_its_exit_code() -> Outcome {
    let place = Place::new();
    let reports = place.path("reports");
    std::fs::create_dir(&reports)?;
    Command::new("openssl")
        .args(["genpkey", "-algorithm", "ed25519", "-out"])
        .arg(place.path("key.pem"))
        .output()?;
    let filler = quoted(&reports.join("filler").display().to_string());
    let mounts = [
        mounts::small_disk("64k", &reports)?,
        format!("head -c 48k /dev/zero > {filler}"),
    ];
    let full = ["error: write the record", "No space left"];
    let drill = ["drill", "shop.toml", "--services", "local"];
    let good = mounts::around(&place.command(&drill), &mounts, ":")?.output()?;
    exits(&good, 0)?;
    says(&good, &["PASSED: 1/1 tests passed"])?;
    says(&good, &full)?;
    place.write("shop.toml", &SUITE.replace("15m", "1ms"));
    // That there is no signature either makes it no better.
    let signed = [&drill[..], &["--sign", "key.pem"]].concat();
    let bad = mounts::around(&place.command(&signed), &mounts, ":")?.output()?;
    exits(&bad, 1)?;
    says(&bad, &["FAILED", "rto-missed"])?;
    says(&bad, &full)
}

pub fn a_report_that_cannot_be_written_changes_no_verdict() -> Outcome {
    let place = Place::new();
    let output = place
        .command(&["drill", "shop.toml", "--services", "local"])
        .env("GITHUB_STEP_SUMMARY", "/dev/full")
        .output()?;
    exits(&output, 0)?;
    says(
        &output,
        &[
            "PASSED: 1/1 tests",
            "error: write the summary of the job",
            "No space left",
        ],
    )?;
    let summary = place.path("tmp/summary.md");
    let output = place
        .command(&["drill", "shop.toml", "--services", "local"])
        .env("GITHUB_STEP_SUMMARY", &summary)
        .output()?;
    exits(&output, 0)?;
    contains(
        &std::fs::read_to_string(summary)?,
        &["# Backup drill of Shop", "## Control map"],
    )
}

pub fn shards_are_merged_by_putting_their_folders_together() -> Outcome {
    let place = Place::new();
    // The second one is too slow for its objective, whatever it takes.
    let slow = TWO_DRILLS
        .replacen("rto = \"15m\"", "rto = \"1ms\"", 2)
        .replacen("rto = \"1ms\"", "rto = \"15m\"", 1);
    for (suite, second, code) in [(TWO_DRILLS, 0, 0), (slow.as_str(), 1, 5)] {
        place.write("shop.toml", suite);
        for shard in ["1/2", "2/2"] {
            let out = format!("shard-{}", &shard[..1]);
            let _ = std::fs::remove_dir_all(place.path(&out));
            let output = place.redrill(&[
                "drill",
                "shop.toml",
                "--services",
                "local",
                "--shard",
                shard,
                "--out",
                &out,
            ]);
            // `second` falls into the first shard, and `lost` into the other.
            exits(&output, if shard == "1/2" { second } else { 0 })?;
        }
        let reports = place.path("reports");
        let _ = std::fs::remove_dir_all(&reports);
        std::fs::create_dir(&reports)?;
        let merge = |out: &str| -> Outcome {
            for entry in std::fs::read_dir(place.path(out))?.flatten() {
                let target = reports.join(entry.file_name());
                match entry.path().is_dir() {
                    true => {
                        std::fs::create_dir(&target)?;
                        copy(&entry.path(), &target)?;
                    }
                    false => drop(std::fs::copy(entry.path(), target)?),
                }
            }
            Ok(())
        };
        // One shard alone is not enough.
        merge("shard-1")?;
        let output = place.redrill(&["gate", "shop.toml"]);
        exits(&output, 5)?;
        says(&output, &["no-record"])?;
        merge("shard-2")?;
        exits(&place.redrill(&["gate", "shop.toml"]), code)?;
        says(&place.redrill(&["history"]), &["shop/lost", "shop/second"])?;
    }
    Ok(())
}

/// Three earlier runs whose artifacts were twice as large: something is missing from the backup.
pub fn a_figure_that_drifts_further_than_the_suite_allows_fails_the_run() -> Outcome {
    let place = Place::drilled()?;
    let original = place.record()?;
    for day in 1..=3 {
        let mut record = original.clone();
        let run = format!("2026010{day}-000000-0000000{day}");
        record["run_id"] = run.as_str().into();
        record["started_at"] = format!("2026-01-0{day}T00:00:00Z").into();
        let bytes = &mut record["drills"][0]["throughput"][0]["artifact_bytes"];
        *bytes = (bytes.as_u64().ok_or("no size")? * 2).into();
        std::fs::create_dir(place.path("reports").join(&run))?;
        place.write(&format!("reports/{run}/record.json"), &record.to_string());
    }
    let suite = std::fs::read_to_string(place.path("shop.toml"))?;
    let drill = |limit: &str| {
        place.write(
            "shop.toml",
            &format!("{suite}\n[trend]\nsize = \"{limit}\"\n"),
        );
        place.redrill(&["drill", "shop.toml", "--services", "local"])
    };
    let output = drill("25%");
    exits(&output, 1)?;
    says(
        &output,
        &["regression: artifact size is", "below the median", "FAILED"],
    )?;
    exits(&drill("95%"), 0)
}

pub fn two_drills_that_end_at_once_are_both_in_the_history() -> Outcome {
    let place = Place::new();
    let spawn = || {
        place
            .command(&["drill", "shop.toml", "--services", "local"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    };
    let (one, two) = (spawn()?, spawn()?);
    for child in [one, two] {
        exits(&child.wait_with_output()?, 0)?;
    }
    let history = std::fs::read_to_string(place.path("reports/history.jsonl"))?;
    let mut runs = Vec::new();
    for line in history.lines() {
        runs.push(serde_json::from_str::<Value>(line)?["run"].clone());
    }
    match runs.as_slice() {
        [a, b] if a != b => Ok(()),
        _ => Err(format!("{runs:?}").into()),
    }
}

/// Asks the server for a path, naming it by `host`.
fn ask(address: &str, host: &str, path: &str) -> Result<String, Failed> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

pub fn pages_are_served_on_loopback_to_those_who_name_it() -> Outcome {
    let place = Place::drilled()?;
    let mut child = place
        .command(&["report", "--serve", "--port", "0"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
    let address = line
        .trim()
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    let run = place
        .run()?
        .file_name()
        .ok_or("no name")?
        .to_string_lossy()
        .into_owned();
    let answers = (|| -> Outcome {
        contains(
            &ask(&address, &address, "/")?,
            &["200 OK", "Backup drills", &run],
        )?;
        contains(
            &ask(&address, &address, &format!("/run/{run}"))?,
            &["200 OK", "data-seconds=\"3480\""],
        )?;
        contains(&ask(&address, &address, "/run/../../etc/passwd")?, &["404"])?;
        contains(&ask(&address, "evil.example", "/")?, &["403"])?;
        // A record that was edited is shown as what it is, on both pages; until then none is.
        let pages = || -> Result<[String; 2], Failed> {
            let page = ask(&address, &address, &format!("/run/{run}"))?;
            Ok([ask(&address, &address, "/")?, page])
        };
        if pages()?
            .iter()
            .any(|page| page.contains("do not rely on this"))
        {
            return Err("a record that nobody touched is doubted".into());
        }
        let path = place.run()?.join("record.json");
        let record = std::fs::read_to_string(&path)?;
        std::fs::write(&path, record.replace("\"Lost", "\"Found"))?;
        for page in pages()? {
            contains(
                &page,
                &["do not rely on this", "is not the one that was written"],
            )?;
        }
        Ok(())
    })();
    Command::new("kill").arg(child.id().to_string()).status()?;
    let status = child.wait()?;
    answers?;
    match status.code() {
        Some(0) => Ok(()),
        code => Err(format!("ended with {code:?}").into()),
    }
}

pub fn a_record_that_was_edited_or_cut_is_told_wherever_it_is_read() -> Outcome {
    let place = Place::drilled()?;
    let run = place.run()?;
    let name = run
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let path = run.join("record.json");
    let whole = std::fs::read_to_string(&path)?;
    std::fs::write(&path, whole.replace("\"Lost", "\"Found"))?;
    let changed = "is not the one that was written when it ended";
    let runbook = place.redrill(&["runbook", "shop.toml"]);
    exits(&runbook, 0)?;
    says(&runbook, &[changed, "No drill of this has passed yet"])?;
    let report = place.redrill(&["report", &name]);
    exits(&report, 0)?;
    says(&report, &[changed])?;
    std::fs::write(&path, &whole[..whole.len() / 2])?;
    let report = place.redrill(&["report", &name]);
    exits(&report, 2)?;
    says(&report, &["error:", "record.json"])?;
    // Where nothing is wrong, nothing is said.
    std::fs::write(&path, &whole)?;
    let report = place.redrill(&["report", &name]);
    exits(&report, 0)?;
    match all(&report).contains("note:") {
        true => Err(all(&report).into()),
        false => Ok(()),
    }
}

pub fn the_runbook_has_the_commands_of_the_drill() -> Outcome {
    let place = Place::drilled()?;
    let output = place.redrill(&["runbook", "shop.toml"]);
    exits(&output, 0)?;
    says(
        &output,
        &[
            "# Recovery runbook: Shop",
            "pg_restore",
            "### Symptoms",
            "redrill.ledger",
        ],
    )?;
    // Each step with the time that it took in the drill.
    let record = place.record()?;
    let steps = record["drills"][0]["steps"].as_array().ok_or("no steps")?;
    let restored = steps.iter().filter(|step| step["phase"] == "restore");
    let times: Vec<String> = restored
        .filter_map(|step| step["seconds"].as_f64())
        .map(|seconds| {
            format!(
                "**restore** `db` ({})",
                redrill::report::text::duration(seconds)
            )
        })
        .collect();
    if times.is_empty() {
        return Err("nothing was restored".into());
    }
    says(
        &output,
        &times.iter().map(String::as_str).collect::<Vec<_>>(),
    )?;
    if text(&output.stdout).contains("was changed since") {
        return Err("nobody changed the suite".into());
    }
    place.write("shop.toml", &format!("{SUITE}\n# changed\n"));
    says(
        &place.redrill(&["runbook", "shop.toml"]),
        &["The suite was changed since"],
    )
}
