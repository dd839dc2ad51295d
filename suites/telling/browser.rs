//! The page in a real browser: headless Chromium, without any network.

use std::path::Path;
use std::process::{Command, Output};

use libtest_mimic::Failed;
use redrill::record::Record;
use redrill::report::html;
use serde_json::Value;

use super::place::{Outcome, contains, text};

fn program() -> Option<&'static str> {
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok())
}

pub fn missing() -> Option<String> {
    match program() {
        Some(_) => None,
        None => Some("no Chromium".to_owned()),
    }
}

fn chromium(profile: &Path, arguments: &[&str]) -> Result<Output, Failed> {
    let program = program().ok_or("no Chromium")?;
    let output = Command::new(program)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
            "--enable-logging=stderr",
            "--v=0",
            // Whatever the page asked of the network would fail, and be logged.
            "--proxy-server=127.0.0.1:9",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(arguments)
        .output()?;
    match output.status.success() {
        true => Ok(output),
        false => Err(text(&output.stderr).into()),
    }
}

/// A record with everything a page can show.
fn record(name: &str) -> Record {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/golden/{name}.record.json"));
    Record::read(&path).expect("a golden record")
}

pub fn the_page_shows_the_numbers_of_the_record_and_no_error() -> Outcome {
    for name in ["green", "red", "missed", "undetermined", "interrupted"] {
        let dir = tempfile::tempdir()?;
        let record = record(name);
        let page = dir.path().join("report.html");
        std::fs::write(&page, html::render(&record, &html::Series::new()))?;
        let url = format!("file://{}", page.display());
        let output = chromium(&dir.path().join("profile"), &["--dump-dom", &url])?;
        let dom = text(&output.stdout);
        let console: Vec<String> = text(&output.stderr)
            .lines()
            .filter(|line| line.contains("CONSOLE"))
            .map(str::to_owned)
            .collect();
        if !console.is_empty() {
            return Err(format!("{name}: {console:?}").into());
        }
        if dom.contains("<script") || dom.contains("http://") || dom.contains("src=") {
            return Err(format!("{name}: the page reaches out").into());
        }
        numbers(&dom, &record).map_err(|error| format!("{name}: {error:?}"))?;
    }
    Ok(())
}

/// Every figure against an objective, every total and every count is on the page as the record has it.
fn numbers(dom: &str, record: &Record) -> Outcome {
    let json: Value = serde_json::from_str(&record.to_json().map_err(|it| it.to_string())?)?;
    let mut wanted = Vec::new();
    let drills = json["drills"].as_array().ok_or("no drills")?;
    for drill in drills {
        if !["scenario", "worst-moment"].contains(&drill["kind"].as_str().unwrap_or_default()) {
            continue;
        }
        let components = drill["rpo"]["components"].as_array();
        for it in components.into_iter().flatten() {
            wanted.push(format!(
                "data-seconds=\"{}\"",
                it["window_seconds"].as_f64().unwrap_or_default()
            ));
        }
        for figure in [
            &drill["rto"]["total_seconds"],
            &drill["rto"]["projected"]["seconds"],
        ] {
            wanted.extend(figure.as_f64().map(|it| format!("data-seconds=\"{it}\"")));
        }
        let phases = drill["rto"]["phases"].as_object();
        for (phase, took) in phases.into_iter().flatten() {
            let took = took.as_f64().unwrap_or_default();
            if took > 0.0 {
                wanted.push(format!("data-phase=\"{phase}\" data-seconds=\"{took}\""));
            }
        }
    }
    let lines = record.lines();
    for suite in &record.suites {
        let own: Vec<_> = lines
            .iter()
            .filter(|it| it.suite == suite.name && it.kind != redrill::record::LineKind::Fault)
            .collect();
        if own.is_empty() {
            continue;
        }
        let passed = own
            .iter()
            .filter(|it| it.verdict == Some(redrill::record::Verdict::Passed))
            .count();
        wanted.push(format!(
            "data-passed=\"{passed}\" data-counted=\"{}\"",
            own.len()
        ));
    }
    wanted.push(record.run_id.clone());
    if wanted.len() < 3 && !drills.is_empty() && record.run_id.is_empty() {
        return Err("nothing was looked for".into());
    }
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    contains(dom, &wanted)
}

pub fn the_page_reads_at_two_widths() -> Outcome {
    let dir = tempfile::tempdir()?;
    let page = dir.path().join("report.html");
    std::fs::write(&page, html::render(&record("green"), &html::Series::new()))?;
    // Nothing is wider than a phone: what is would make the page scroll sideways.
    let frame = dir.path().join("frame.html");
    for width in [360_u32, 1200] {
        std::fs::write(
            &frame,
            format!(
                "<!doctype html><iframe src=\"report.html\" style=\"width:{width}px;height:600px;border:0\" onload=\"\
                 const it = this.contentDocument.documentElement; document.title = it.scrollWidth + ' of ' + it.clientWidth\"></iframe>"
            ),
        )?;
        let url = format!("file://{}", frame.display());
        let profile = dir.path().join(format!("profile-{width}"));
        let output = chromium(
            &profile,
            &[
                "--allow-file-access-from-files",
                "--virtual-time-budget=3000",
                "--dump-dom",
                &url,
            ],
        )?;
        let dom = text(&output.stdout);
        if !dom.contains(&format!("<title>{width} of {width}</title>")) {
            return Err(format!("at {width}: {}", dom.lines().next().unwrap_or_default()).into());
        }
        let shot = dir.path().join(format!("{width}.png"));
        let size = format!("--window-size={width},1600");
        let url = format!("file://{}", page.display());
        chromium(
            &profile,
            &[&size, &format!("--screenshot={}", shot.display()), &url],
        )?;
        let bytes = std::fs::metadata(&shot)?.len();
        if bytes < 20_000 {
            return Err(format!("the screenshot at {width} has only {bytes} bytes").into());
        }
        if let Some(folder) = std::env::var_os("REDRILL_SCREENSHOTS") {
            std::fs::copy(
                &shot,
                Path::new(&folder).join(format!("report-{width}.png")),
            )?;
        }
    }
    Ok(())
}
