//! `redrill gate` and the evidence that it reads.

use std::process::Command;

use serde_json::Value;

use super::place::{Outcome, Place, SUITE, all, exits, says};

pub fn a_gate_without_records_is_closed_and_says_what_to_run() -> Outcome {
    let place = Place::new();
    let output = place.redrill(&["gate", "shop.toml"]);
    exits(&output, 5)?;
    says(
        &output,
        &[
            "GATE CLOSED",
            "no-record: shop/lost",
            "redrill drill shop.toml --only 'shop/lost'",
        ],
    )?;
    let json = place.redrill(&["gate", "shop.toml", "--format", "json"]);
    exits(&json, 5)?;
    let decision: Value = serde_json::from_slice(&json.stdout)?;
    if decision["open"] != false || decision["suites"][0]["reasons"][0]["kind"] != "no-record" {
        return Err(format!("{decision}").into());
    }
    Ok(())
}

pub fn a_suite_that_cannot_be_read_opens_nothing() -> Outcome {
    let place = Place::new();
    place.write(
        "shop.toml",
        "[component.db]\nkind = \"postgres\"\n[gate]\nmax_aeg = \"1h\"\n",
    );
    let output = place.redrill(&["gate", "shop.toml"]);
    exits(&output, 2)?;
    says(&output, &["`max_aeg`", "`max_age`"])
}

pub fn a_key_that_is_none_is_refused_before_anything_starts() -> Outcome {
    let place = Place::new();
    let output = place.redrill(&["drill", "shop.toml", "--sign", "shop.toml"]);
    exits(&output, 2)?;
    says(&output, &["not an ed25519 private key", "openssl genpkey"])?;
    match place.path("reports").exists() {
        true => Err("a run was begun".into()),
        false => Ok(()),
    }
}

pub fn fresh_evidence_opens_and_json_says_so() -> Outcome {
    let place = Place::drilled()?;
    let output = place.redrill(&["gate", "shop.toml"]);
    exits(&output, 0)?;
    says(&output, &["GATE OPEN", "shop/lost", "holds"])?;
    let json = place.redrill(&["gate", "shop.toml", "--format", "json"]);
    let decision: Value = serde_json::from_slice(&json.stdout)?;
    let commit = place.record()?["origin"]["commit"].clone();
    if decision["open"] != true || decision["commit"] != commit || !commit.is_string() {
        return Err(format!("{decision}").into());
    }
    Ok(())
}

pub fn a_passing_record_of_another_commit_closes() -> Outcome {
    let place = Place::drilled()?;
    place.commit("second");
    let output = place.redrill(&["gate", "shop.toml"]);
    exits(&output, 5)?;
    says(&output, &["other-commit", "is to be released"])?;
    let first = place.record()?["origin"]["commit"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    exits(
        &place.redrill(&["gate", "shop.toml", "--commit", &first]),
        0,
    )?;
    place.write("redrill.toml", "[gate]\ncommit = \"any\"\n");
    exits(&place.redrill(&["gate", "shop.toml"]), 0)?;
    let unknown = place.redrill(&["gate", "shop.toml", "--commit", "main"]);
    exits(&unknown, 2)?;
    says(&unknown, &["not a commit"])
}

pub fn a_policy_of_the_suite_is_held_to() -> Outcome {
    let cases = [
        ("max_age = \"1ms\"", "stale"),
        ("versions = { postgres = \"9\" }", "other-version"),
        ("signed_by = \"key.pub\"", "not-signed"),
    ];
    for (policy, reason) in cases {
        let place = Place::drilled()?;
        place.write(
            "shop.toml",
            &format!("{SUITE}\n[gate]\nsuite = \"any\"\n{policy}\n"),
        );
        let output = place.redrill(&["gate", "shop.toml"]);
        exits(&output, 5)?;
        says(&output, &[reason, "remedy:"])?;
    }
    let place = Place::drilled()?;
    place.write("shop.toml", &format!("{SUITE}\n# changed\n"));
    let output = place.redrill(&["gate", "shop.toml"]);
    exits(&output, 5)?;
    says(&output, &["other-suite"])?;
    place.write("shop.toml", &format!("{SUITE}\n[gate]\nsuite = \"any\"\ntests = [\"test_rpo\"]\nversions = {{ postgres = \"1\" }}\n"));
    says(&place.redrill(&["gate", "shop.toml"]), &["other-version"])
}

/// Another suite, in which a fault is planted.
const PLANTED: &str = r#"
[[detection]]
fault = "A1"
caught_by = "readable"
finding = "unreadable"
says = "end of file"
also = ["restore"]
scenario = "lost"
"#;

pub fn a_detection_suite_that_is_asked_for_must_have_caught_its_faults_lately() -> Outcome {
    let place = Place::drilled()?;
    place.write("planted.toml", &format!("{SUITE}{PLANTED}"));
    let gate = |max_age: &str| {
        let policy = format!("detection = {{ suite = \"planted.toml\", max_age = \"{max_age}\" }}");
        place.write(
            "shop.toml",
            &format!("{SUITE}\n[gate]\nsuite = \"any\"\n{policy}\n"),
        );
        place.redrill(&["gate", "shop.toml"])
    };
    let output = gate("30d");
    exits(&output, 5)?;
    says(
        &output,
        &["no-record: planted/A1", "redrill drill planted.toml"],
    )?;
    exits(
        &place.redrill(&["drill", "planted.toml", "--services", "local"]),
        0,
    )?;
    exits(&gate("30d"), 0)?;
    let output = gate("1ms");
    exits(&output, 5)?;
    says(&output, &["stale: planted/A1"])
}

pub fn a_detection_suite_that_plants_nothing_is_refused() -> Outcome {
    let place = Place::new();
    place.write("planted.toml", SUITE);
    place.write(
        "shop.toml",
        &format!(
            "{SUITE}\n[gate]\ndetection = {{ suite = \"planted.toml\", max_age = \"30d\" }}\n"
        ),
    );
    let output = place.redrill(&["gate", "shop.toml"]);
    exits(&output, 2)?;
    says(&output, &["planted.toml plants no fault", "[[detection]]"])
}

pub fn a_suite_that_is_named_twice_is_drilled_once_and_two_of_one_name_are_refused() -> Outcome {
    let place = Place::new();
    let output = place.redrill(&[
        "drill",
        "shop.toml",
        "./shop.toml",
        "--services",
        "local",
        "--format",
        "json",
    ]);
    exits(&output, 0)?;
    let record: Value = serde_json::from_slice(&output.stdout)?;
    if record["drills"].as_array().map(Vec::len) != Some(1) {
        return Err(format!("{record}").into());
    }
    exits(&place.redrill(&["gate", "shop.toml", "shop.toml"]), 0)?;
    std::fs::create_dir(place.path("other"))?;
    place.write("other/shop.toml", SUITE);
    for verb in ["drill", "gate"] {
        let output = place.redrill(&[verb, "shop.toml", "other/shop.toml"]);
        exits(&output, 2)?;
        says(&output, &["two suites of one name", "rename one"])?;
    }
    Ok(())
}

pub fn two_rules_that_ask_for_one_detection_suite_have_it_drilled_once() -> Outcome {
    let place = Place::new();
    place.write("planted.toml", &format!("{SUITE}{PLANTED}"));
    let asking = |days: u32| {
        format!(
            "{SUITE}\n[gate]\ndetection = {{ suite = \"planted.toml\", max_age = \"{days}d\" }}\n"
        )
    };
    place.write("shop.toml", &asking(30));
    place.write("till.toml", &asking(7));
    let gate = [
        "gate",
        "shop.toml",
        "till.toml",
        "--run",
        "--services",
        "local",
    ];
    let output = place.redrill(&gate);
    exits(&output, 0)?;
    let drills = place.record()?["drills"].as_array().map(Vec::len);
    match drills {
        // Two of the shops, and the fault with its healthy twin and the suite's own.
        Some(5) => Ok(()),
        _ => Err(format!("{drills:?}\n{}", all(&output)).into()),
    }
}

pub fn a_test_that_was_mistyped_in_redrill_toml_keeps_the_gate_shut() -> Outcome {
    let place = Place::drilled()?;
    let gate = |tests: &str| {
        place.write("redrill.toml", &format!("[gate]\ntests = {tests}\n"));
        place.redrill(&["gate", "shop.toml"])
    };
    exits(&gate("[\"test_rpo\"]"), 0)?;
    let output = gate("[\"test_rpo\", \"test_rop\"]");
    exits(&output, 5)?;
    says(
        &output,
        &["nothing-asked", "`test_rop`", "did you mean `test_rpo`?"],
    )
}

pub fn what_cannot_be_read_closes_and_is_no_backup_that_failed() -> Outcome {
    let place = Place::drilled()?;
    place.write("file", "");
    for run in [&[][..], &["--run", "--services", "local"]] {
        let output = place.redrill(&[&["gate", "shop.toml", "--out", "file"][..], run].concat());
        exits(&output, 5)?;
        says(&output, &["GATE CLOSED", "unreadable-history", "--out"])?;
    }
    let history = place.path("reports/history.jsonl");
    std::fs::remove_file(&history)?;
    std::fs::create_dir(&history)?;
    let json = place.redrill(&["gate", "shop.toml", "--format", "json"]);
    exits(&json, 5)?;
    let decision: Value = serde_json::from_slice(&json.stdout)?;
    if decision["suites"][0]["reasons"][0]["kind"] != "unreadable-history" {
        return Err(format!("{decision}").into());
    }
    for arguments in [
        &["schedule", "export", "cron", "shop.toml", "--to", "file/x"][..],
        &["schedule", "run", "shop.toml", "--out", "file/x"],
    ] {
        let output = place.redrill(arguments);
        exits(&output, 2)?;
        says(&output, &["file/x"])?;
    }
    Ok(())
}

/// Changes the record of the only run, and takes it into the history as it is then.
fn rewritten(place: &Place, change: impl Fn(&mut Value)) -> Outcome {
    let path = place.run()?.join("record.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    change(&mut record);
    std::fs::write(&path, serde_json::to_vec(&record)?)?;
    std::fs::remove_file(place.path("reports/history.jsonl"))?;
    Ok(())
}

pub fn a_record_from_the_future_closes_until_it_is_drilled_again() -> Outcome {
    let place = Place::drilled()?;
    rewritten(&place, |record| {
        record["started_at"] = "2199-01-01T00:00:00Z".into();
        record["ended_at"] = "2199-01-01T00:01:00Z".into();
    })?;
    redrill::history::update(&place.path("reports"))?;
    let output = place.redrill(&["gate", "shop.toml"]);
    exits(&output, 5)?;
    says(
        &output,
        &["from-the-future", "2199-01-01", "remedy: redrill drill"],
    )?;
    // As the remedy says.
    let again = ["drill", "shop.toml", "--only", "shop/lost"];
    exits(
        &place.redrill(&[&again[..], &["--services", "local"]].concat()),
        0,
    )?;
    let output = place.redrill(&["gate", "shop.toml"]);
    exits(&output, 0)?;
    says(&output, &["GATE OPEN"])
}

pub fn a_record_of_another_schema_version_closes() -> Outcome {
    let place = Place::drilled()?;
    let history = std::fs::read(place.path("reports/history.jsonl"))?;
    rewritten(&place, |record| record["schema_version"] = 99.into())?;
    let output = place.redrill(&["gate", "shop.toml"]);
    exits(&output, 5)?;
    says(&output, &["no-record", "schema version 99"])?;
    // A line that names it shows no more.
    std::fs::write(place.path("reports/history.jsonl"), history)?;
    let output = place.redrill(&["gate", "shop.toml"]);
    exits(&output, 5)?;
    says(&output, &["unreadable-record", "schema version 99"])
}

pub fn a_record_with_only_ignored_tests_closes() -> Outcome {
    let place = Place::drilled()?;
    rewritten(&place, |record| {
        let drill = record["drills"][0].clone();
        record["not_run"] = serde_json::json!([{
            "id": drill["id"], "suite": drill["suite"], "title": drill["title"],
            "tests": ["test_rpo"], "kind": "scenario",
        }]);
        record["drills"] = serde_json::json!([]);
        record["summary"] =
            serde_json::json!({ "passed": 0, "failed": 0, "undetermined": 0, "ignored": 1 });
    })?;
    let output = place.redrill(&["gate", "shop.toml"]);
    exits(&output, 5)?;
    says(&output, &["no-record", "ignored shows nothing"])
}

pub fn an_edited_record_closes() -> Outcome {
    let place = Place::drilled()?;
    let path = place.run()?.join("record.json");
    let record = std::fs::read_to_string(&path)?;
    std::fs::write(&path, record.replace("\"local\"", "\"containers\""))?;
    let output = place.redrill(&["gate", "shop.toml"]);
    exits(&output, 5)?;
    says(&output, &["changed-record"])?;
    std::fs::write(&path, &record[..record.len() - 100])?;
    let output = place.redrill(&["gate", "shop.toml"]);
    exits(&output, 5)?;
    says(&output, &["unreadable-record"])
}

pub fn a_gate_that_runs_what_is_missing_opens() -> Outcome {
    let place = Place::new();
    let arguments = ["gate", "shop.toml", "--run", "--services", "local"];
    let output = place.redrill(&arguments);
    exits(&output, 0)?;
    says(&output, &["GATE OPEN"])?;
    // Now nothing is missing, and nothing runs.
    exits(&place.redrill(&arguments), 0)?;
    match place.runs().len() {
        1 => Ok(()),
        runs => Err(format!("{runs} runs\n{}", all(&output)).into()),
    }
}

pub fn evidence_that_is_signed_verifies_with_openssl_too_and_opens_a_strict_gate() -> Outcome {
    let place = Place::new();
    let openssl = |arguments: &[&str]| -> Outcome {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(place.path(""))
            .output()?;
        exits(&output, 0)
    };
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", "tmp/key.pem"])?;
    openssl(&["pkey", "-in", "tmp/key.pem", "-pubout", "-out", "key.pub"])?;
    place.write(
        "redrill.toml",
        "[gate]\nsigned_by = \"key.pub\"\ncommit = \"clean\"\n",
    );
    place.commit("policy");
    let drilled = place.redrill(&[
        "drill",
        "shop.toml",
        "--services",
        "local",
        "--sign",
        "tmp/key.pem",
    ]);
    exits(&drilled, 0)?;
    exits(&place.redrill(&["gate", "shop.toml"]), 0)?;
    let verified = place.redrill(&["verify-evidence", "latest", "--key", "key.pub"]);
    exits(&verified, 0)?;
    says(&verified, &["is the record that was signed: PASSED"])?;

    // The same by other hands: DSSE's encoding, verified by OpenSSL.
    let run = place.run()?;
    let envelope: Value = serde_json::from_slice(&std::fs::read(run.join("evidence.dsse.json"))?)?;
    let decode = |field: &Value| -> Result<Vec<u8>, libtest_mimic::Failed> {
        use base64::Engine as _;
        let text = field.as_str().ok_or("no text")?;
        Ok(base64::engine::general_purpose::STANDARD.decode(text)?)
    };
    let payload = decode(&envelope["payload"])?;
    let kind = envelope["payloadType"].as_str().ok_or("no type")?;
    let signed = [
        format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).as_bytes(),
        &payload,
    ]
    .concat();
    std::fs::write(place.path("tmp/signed"), signed)?;
    std::fs::write(
        place.path("tmp/sig"),
        decode(&envelope["signatures"][0]["sig"])?,
    )?;
    openssl(&[
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "key.pub",
        "-rawin",
        "-in",
        "tmp/signed",
        "-sigfile",
        "tmp/sig",
    ])?;
    let statement: Value = serde_json::from_slice(&payload)?;
    if statement["predicate"]["passedTests"][0] != "test_rpo of shop/lost" {
        return Err(format!("{statement}").into());
    }

    let record = std::fs::read_to_string(run.join("record.json"))?;
    std::fs::write(
        run.join("record.json"),
        record.replace("\"local\"", "\"containers\""),
    )?;
    let output = place.redrill(&["verify-evidence", "latest", "--key", "key.pub"]);
    exits(&output, 1)?;
    says(&output, &["made over another record"])
}

pub fn a_file_that_was_added_is_no_clean_checkout_and_a_report_is_none() -> Outcome {
    let place = Place::new();
    // Nobody ignores the reports here.
    place.write(".gitignore", "/tmp\n");
    place.write(
        "shop.toml",
        &format!("{SUITE}\n[gate]\ncommit = \"clean\"\n"),
    );
    place.commit("clean");
    let drill = || place.redrill(&["drill", "shop.toml", "--services", "local"]);
    for _ in 0..2 {
        exits(&drill(), 0)?;
        exits(&place.redrill(&["gate", "shop.toml"]), 0)?;
    }
    place.write("added.sql", "select 1;\n");
    exits(&drill(), 0)?;
    let output = place.redrill(&["gate", "shop.toml"]);
    exits(&output, 5)?;
    says(&output, &["changed-checkout"])
}
