//! The page in a real browser: headless Chromium, without any network. What a reader sees is measured in the browser
//! (see `probe.js`) and held against the record.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::Failed;
use redrill::context::Phase;
use redrill::exit::Exit;
use redrill::history::{self, Entry, History, Metric};
use redrill::record::format::Step;
use redrill::record::{DrillRecord, LineKind, Record, Verdict};
use redrill::report::{html, text as words};
use serde_json::Value;

use super::place::{Outcome, text};

/// The runs whose records and reports are kept as examples.
const GOLDEN: [&str; 5] = ["green", "red", "missed", "undetermined", "interrupted"];
/// A phone, and a desk, in pixels.
const WIDTHS: [u32; 2] = [390, 1280];
/// The least contrast of text with what is behind it (WCAG 2, AA).
const CONTRAST: f64 = 4.5;
/// How many runs a trend is made of.
const RUNS: usize = 5;

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

pub fn no_poppler() -> Option<String> {
    let lacks = |name: &&str| Command::new(name).arg("-v").output().is_err();
    let lacking = ["pdftotext", "pdftoppm"].into_iter().find(lacks);
    missing().or(lacking.map(|name| format!("no {name}")))
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

/// The same run and four before it, a day apart, each a little faster than the one before.
fn runs_of(record: &Record) -> Vec<Record> {
    let earlier = |back: usize| {
        let mut run = record.clone();
        run.started_at -= chrono::TimeDelta::days(i64::try_from(back).expect("a few"));
        if back > 0 {
            run.run_id = format!("{}-{back}", record.run_id);
        }
        for rto in run.drills.iter_mut().filter_map(|it| it.rto.as_mut()) {
            rto.total_seconds += 7.0 * back as f64;
        }
        run
    };
    (0..RUNS).rev().map(earlier).collect()
}

fn series(record: &Record) -> html::Series {
    let runs = runs_of(record);
    let entries = runs.iter().flat_map(|run| Entry::of_run(run, "0"));
    history::series(entries.collect())
}

/// The folder with all pages, and their names: those of the golden runs, and the index of `report --serve`.
struct Pages {
    dir: tempfile::TempDir,
}

impl Pages {
    fn write() -> Result<Self, Failed> {
        let pages = Self {
            dir: tempfile::tempdir()?,
        };
        for name in GOLDEN {
            let record = record(name);
            pages.put(
                &format!("{name}.html"),
                &html::render(&record, &series(&record)),
            )?;
        }
        let reports = pages.path("reports");
        for run in GOLDEN.iter().flat_map(|name| runs_of(&record(name))) {
            let folder = reports.join(&run.run_id);
            std::fs::create_dir_all(&folder)?;
            run.write(&folder.join("record.json"))
                .map_err(|it| it.to_string())?;
        }
        let history = History::read(&reports).map_err(|it| it.to_string())?;
        pages.put("index.html", &html::index(&history))?;
        Ok(pages)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, text: &str) -> Outcome {
        Ok(std::fs::write(self.path(name), text)?)
    }

    fn names() -> Vec<String> {
        let golden = GOLDEN.iter().map(|name| format!("{name}.html"));
        golden.chain(["index.html".to_owned()]).collect()
    }

    /// What the browser says of every page at every width.
    fn probed(&self, flags: &[&str]) -> Result<Vec<Value>, Failed> {
        let frames: String = Self::names()
            .iter()
            .flat_map(|name| WIDTHS.map(|width| (name, width)))
            .map(|(name, width)| {
                format!("<iframe src=\"{name}\" style=\"width:{width}px;height:900px;border:0\"></iframe>\n")
            })
            .collect();
        let script = include_str!("probe.js");
        self.put(
            "probe.html",
            &format!(
                "<!doctype html><meta charset=\"utf-8\"><meta name=\"color-scheme\" content=\"light dark\">\n\
                 <pre id=\"found\"></pre>{frames}<script>{script}</script>"
            ),
        )?;
        let url = format!("file://{}", self.path("probe.html").display());
        let mut arguments = vec![
            "--allow-file-access-from-files",
            "--virtual-time-budget=10000",
            "--dump-dom",
        ];
        arguments.extend(flags);
        arguments.push(&url);
        let output = chromium(&self.path("profile"), &arguments)?;
        let console: Vec<String> = text(&output.stderr)
            .lines()
            .filter(|line| line.contains("CONSOLE"))
            .map(str::to_owned)
            .collect();
        if !console.is_empty() {
            return Err(format!("{console:?}").into());
        }
        let dom = text(&output.stdout);
        let found = dom.split("<pre id=\"found\">").nth(1).unwrap_or_default();
        let found = found.split("</pre>").next().unwrap_or_default();
        let plain = found
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&");
        let all: Vec<Value> = serde_json::from_str(&plain)
            .map_err(|error| format!("{error}: {}", &plain[..plain.len().min(300)]))?;
        match all.len() == Self::names().len() * WIDTHS.len() {
            true => Ok(all),
            false => Err(format!("{} pages were looked at", all.len()).into()),
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, wanted: &T) -> Outcome {
    match found == wanted {
        true => Ok(()),
        false => Err(format!("{what}: the page has {found:?}, the record {wanted:?}").into()),
    }
}

/// Words as a page breaks them.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn strings(value: &Value) -> Vec<String> {
    let all = value.as_array().into_iter().flatten();
    all.map(|it| it.as_str().unwrap_or_default().to_owned())
        .collect()
}

pub fn what_the_page_shows_is_what_the_record_says() -> Outcome {
    let pages = Pages::write()?;
    for page in pages.probed(&[])? {
        let name = page["name"].as_str().unwrap_or_default();
        let Some(name) = name
            .strip_suffix(".html")
            .filter(|name| GOLDEN.contains(name))
        else {
            continue;
        };
        let source = std::fs::read_to_string(pages.path(&format!("{name}.html")))?;
        if source.contains("<script") || source.contains("http://") || source.contains("src=") {
            return Err(format!("{name}: the page reaches out").into());
        }
        let record = record(name);
        let held = readable(&page, &record)
            .and_then(|()| verdicts(&page, &record))
            .and_then(|()| charts(&page, &record))
            .and_then(|()| matrix(&page, &record))
            .and_then(|()| calendars(&page, &record));
        held.map_err(|error| format!("{name} at {}: {error:?}", page["width"]))?;
    }
    Ok(())
}

/// The steps of a drill that recovered something.
fn recovering(drill: &DrillRecord) -> impl Iterator<Item = &Step> {
    let names = Phase::RECOVERY.map(Phase::name);
    let steps = drill.steps.iter();
    steps.filter(move |step| names.contains(&step.phase.as_str()))
}

/// The verdict on the run, on each test or check, and the badges of what was planted.
fn verdicts(page: &Value, record: &Record) -> Outcome {
    let badge = |verdict: Option<Verdict>| match verdict {
        Some(Verdict::Passed) => "✓ passed",
        Some(Verdict::Failed) => "✕ FAILED",
        Some(Verdict::Undetermined) => "? undetermined",
        None => "? not run",
    };
    let headline = match record.exit() {
        Exit::Passed => "✓ PASSED",
        Exit::Failed => "✕ FAILED",
        Exit::Interrupted => "? INTERRUPTED",
        _ => "? UNDETERMINED",
    };
    let found = page["headline"].as_str().unwrap_or_default();
    same("the headline", &found, &headline)?;
    for suite in &record.suites {
        let lines = record.lines();
        let own = lines
            .iter()
            .filter(|it| it.suite == suite.name && it.kind != LineKind::Fault);
        let wanted: Vec<_> = own
            .map(|it| (it.name.to_owned(), badge(it.verdict).to_owned()))
            .collect();
        let id = format!("tests-{}", suite.name);
        let mut tables = page["tables"].as_array().into_iter().flatten();
        let rows = tables.find(|it| it["section"] == *id);
        let rows = rows.and_then(|it| it["rows"].as_array());
        let found: Vec<_> = rows
            .into_iter()
            .flatten()
            .map(strings)
            .map(|cells| {
                let cell = |at: usize| cells.get(at).cloned().unwrap_or_default();
                (cell(0), cell(3))
            })
            .collect();
        same("the tests", &found, &wanted)?;
    }
    let planted = redrill::report::view::planted(record);
    let wanted: Vec<(String, bool)> = planted
        .iter()
        .map(|it| {
            let good = it.standing == redrill::report::view::Standing::Good;
            (it.fault.clone(), good)
        })
        .collect();
    let rows = page["matrix"]["rows"].as_array().into_iter().flatten();
    let found: Vec<(String, bool)> = rows
        .map(strings)
        .map(|cells| {
            let last = cells.last().cloned().unwrap_or_default();
            (cells[0].clone(), last.starts_with('✓'))
        })
        .collect();
    same("what was planted", &found, &wanted)
}

/// What stands there to be read: every figure with its objective, every test with its verdict, every finding.
fn readable(page: &Value, record: &Record) -> Outcome {
    let shown = flat(page["text"].as_str().unwrap_or_default());
    let mut wanted = vec![record.run_id.clone()];
    let scenarios = record
        .drills
        .iter()
        .filter(|it| redrill::report::view::is_scenario(it));
    for drill in scenarios {
        for it in drill.rpo.iter().flat_map(|rpo| &rpo.components) {
            let allowed = it
                .objective_seconds
                .map(|most| format!(" of {}", words::duration(most)));
            wanted.push(format!(
                "{}{} {} of {} lost",
                words::against(it.window_seconds, it.objective_seconds),
                allowed.unwrap_or_default(),
                words::count(it.lost_writes),
                words::plural(it.acknowledged_writes, "write")
            ));
        }
        if let Some(rto) = &drill.rto {
            wanted.push(format!("RTO {}", words::duration(rto.total_seconds)));
            let projected = rto.projected.iter();
            wanted.extend(projected.map(|it| {
                let allowed = rto.objective_seconds;
                let of = allowed.map(|most| format!(" of {}", words::duration(most)));
                format!(
                    "RTO projected {}{} at {}",
                    words::against(it.seconds, allowed),
                    of.unwrap_or_default(),
                    words::size(it.bytes)
                )
            }));
            let took = rto.phases.iter().filter(|(_, took)| **took > 0.0);
            if drill.recoveries.iter().all(|it| it.phases.is_empty()) {
                wanted.extend(
                    took.map(|(phase, took)| format!("{phase} {}", words::duration(*took))),
                );
            }
        }
        wanted.extend(recovering(drill).map(|step| flat(&step.command)));
    }
    for suite in &record.suites {
        let lines = record.lines();
        let own = lines
            .iter()
            .filter(|it| it.suite == suite.name && it.kind != LineKind::Fault);
        let own: Vec<_> = own.collect();
        let passed = own.iter().filter(|it| it.verdict == Some(Verdict::Passed));
        if !own.is_empty() {
            wanted.push(format!("{}/{}", passed.count(), own.len()));
        }
        wanted.extend(own.iter().map(|line| line.name.to_owned()));
    }
    let findings = redrill::report::view::findings(record);
    wanted.extend(findings.iter().map(|it| flat(&it.message.replace('`', ""))));
    // Its run, and more than that.
    if wanted.len() < 2 {
        return Err("nothing was looked for".into());
    }
    match wanted.iter().find(|it| !shown.contains(it.as_str())) {
        None => Ok(()),
        Some(lacking) => Err(format!("{lacking:?} cannot be read on it:\n{shown}").into()),
    }
}

/// Every point of every trend, its value and what is said of the last.
fn charts(page: &Value, record: &Record) -> Outcome {
    let mut wanted = BTreeMap::new();
    for (drill, entries) in series(record) {
        if !entries
            .iter()
            .all(|it| redrill::report::view::is_recovery(it.kind))
        {
            continue;
        }
        for metric in [Metric::Rto, Metric::Rpo, Metric::Throughput, Metric::Size] {
            let points: Vec<String> = entries
                .iter()
                .filter_map(|it| Some((it.at, metric.of(it)?)))
                .map(|(at, value)| {
                    format!("{}: {}", at.format("%Y-%m-%d %H:%M"), metric.say(value))
                })
                .collect();
            if let Some((_, last)) = points.last().and_then(|it| it.split_once(": ")) {
                let last = last.to_owned();
                wanted.insert(format!("{drill} {}", metric.name()), (points, last));
            }
        }
    }
    let mut found = BTreeMap::new();
    for chart in page["charts"].as_array().into_iter().flatten() {
        let text = |key: &str| chart[key].as_str().unwrap_or_default().to_owned();
        let name = format!("{} {}", text("drill"), text("metric"));
        // Each point is higher the more it is, and further right the later.
        let places: Vec<(f64, f64)> = chart["places"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|it| Some((it[0].as_f64()?, it[1].as_f64()?)))
            .collect();
        let ordered = places.windows(2).all(|two| two[0].0 < two[1].0);
        let falls = text("metric") != "RTO" || places.windows(2).all(|two| two[0].1 < two[1].1);
        if !ordered || !falls || places.len() != RUNS {
            return Err(format!("{name} is drawn at {places:?}").into());
        }
        found.insert(name, (strings(&chart["points"]), text("now")));
    }
    if record.drills.iter().any(redrill::report::view::recovers) && wanted.is_empty() {
        return Err("no trend was looked for".into());
    }
    same("trends", &found, &wanted)
}

/// Every planted fault against every check.
fn matrix(page: &Value, record: &Record) -> Outcome {
    let mut wanted = BTreeMap::new();
    let detections = record.drills.iter().filter_map(|it| it.detection.as_ref());
    for it in detections {
        let mut signs: BTreeMap<String, String> = it
            .caught_by
            .iter()
            .map(|check| (check.clone(), "○".to_owned()))
            .collect();
        let caught = it.caught_by.contains(&it.must_be_caught_by);
        let sign = if caught { "●" } else { "✕" };
        signs.insert(it.must_be_caught_by.clone(), sign.to_owned());
        wanted.insert(it.fault.clone(), signs);
    }
    let head = strings(&page["matrix"]["head"]);
    let mut found = BTreeMap::new();
    for row in page["matrix"]["rows"].as_array().into_iter().flatten() {
        let cells = strings(row);
        let signs = head
            .iter()
            .zip(&cells)
            .skip(2)
            .take(head.len().saturating_sub(3));
        let signs: BTreeMap<String, String> = signs
            .filter(|(_, sign)| !sign.is_empty())
            .map(|(check, sign)| (check.clone(), sign.clone()))
            .collect();
        // The healthy twin has no sign.
        if !signs.is_empty() {
            found.insert(cells.first().cloned().unwrap_or_default(), signs);
        }
    }
    same("the matrix", &found, &wanted)?;
    let total = page["matrix"]["total"].as_str().map(str::to_owned);
    let planted = redrill::report::view::planted(record);
    let good = planted
        .iter()
        .filter(|it| it.standing == redrill::report::view::Standing::Good);
    let wanted = (!planted.is_empty()).then(|| format!("{}/{}", good.count(), planted.len()));
    same("its total", &total, &wanted)
}

/// Every day of every calendar, with what was kept of it.
fn calendars(page: &Value, record: &Record) -> Outcome {
    let mut wanted = Vec::new();
    for it in record.drills.iter().flat_map(|drill| &drill.retention) {
        let mut days: BTreeMap<_, Vec<&str>> = BTreeMap::new();
        for kept in &it.artifacts {
            days.entry(kept.at.date_naive())
                .or_default()
                .push(match (kept.good, kept.kept) {
                    (false, _) => "broken",
                    (true, true) => "kept",
                    (true, false) => "gone",
                });
        }
        let kept = it.artifacts.iter().filter(|it| it.kept).count();
        let days: Vec<String> = days
            .iter()
            .map(|(day, cells)| format!("{}: {}", day.format("%a %d %b"), cells.join(" ")))
            .collect();
        let title = format!(
            "{} in {} {kept} of {} kept",
            it.backup,
            it.repository,
            it.artifacts.len()
        );
        wanted.push((title, days));
    }
    let found = page["calendars"].as_array().into_iter().flatten();
    let found: Vec<(String, Vec<String>)> = found
        .map(|it| {
            (
                flat(it["title"].as_str().unwrap_or_default()),
                strings(&it["days"]),
            )
        })
        .collect();
    same("the calendars", &found, &wanted)
}

pub fn no_page_is_wider_than_a_phone_and_every_word_can_be_read_by_day_and_by_night() -> Outcome {
    let pages = Pages::write()?;
    for (flags, dark) in [(&[][..], false), (&["--force-dark-mode"], true)] {
        for page in pages.probed(flags)? {
            let place = format!("{} at {}, dark: {dark}", page["name"], page["width"]);
            same(&place, &page["dark"].as_bool(), &Some(dark))?;
            let (wide, client) = (&page["scroll"], &page["client"]);
            if !WIDTHS.iter().any(|width| client == width) || wide != client {
                return Err(format!("{place}: {wide} of {client} pixels").into());
            }
            let light = page["background"].as_f64().ok_or("no background")?;
            if dark != (light < 0.05) || dark == (light > 0.8) {
                return Err(format!("{place}: its background has a luminance of {light}").into());
            }
            let least = page["contrast"]["ratio"].as_f64().ok_or("no text")?;
            if least < CONTRAST {
                return Err(format!("{place}: {}", page["contrast"]).into());
            }
        }
    }
    if let Some(folder) = std::env::var_os("REDRILL_SCREENSHOTS") {
        for width in WIDTHS {
            let shot = Path::new(&folder).join(format!("report-{width}.png"));
            let (size, shot) = (
                format!("--window-size={width},1600"),
                format!("--screenshot={}", shot.display()),
            );
            let url = format!("file://{}", pages.path("green.html").display());
            chromium(&pages.path("profile"), &[&size, &shot, &url])?;
        }
    }
    Ok(())
}

pub fn on_paper_every_step_is_there_and_nothing_of_the_night() -> Outcome {
    let pages = Pages::write()?;
    let record = record("green");
    let url = format!("file://{}", pages.path("green.html").display());
    let mut seen = Vec::new();
    for (name, flags) in [("day", &[][..]), ("night", &["--force-dark-mode"])] {
        let pdf = pages.path(&format!("{name}.pdf"));
        let print = format!("--print-to-pdf={}", pdf.display());
        let mut arguments = vec!["--no-pdf-header-footer", print.as_str()];
        arguments.extend(flags);
        arguments.push(&url);
        chromium(&pages.path("profile"), &arguments)?;
        let read = Command::new("pdftotext").arg(&pdf).arg("-").output()?;
        // Paper breaks words where the page would not.
        let bare = |text: &str| text.split_whitespace().collect::<String>();
        let printed = bare(&text(&read.stdout));
        let drill = &record.drills[0];
        for step in recovering(drill) {
            if !printed.contains(&bare(&step.command)) {
                return Err(format!("{name}: {:?} is not printed", step.command).into());
            }
        }
        if recovering(drill).count() == 0 {
            return Err("there is no step".into());
        }
        let image = Command::new("pdftoppm")
            .args(["-r", "40", "-gray"])
            .arg(&pdf)
            .output()?;
        seen.push(image.stdout);
    }
    // The same ink on the same white paper.
    let [day, night] = seen.as_slice() else {
        return Err("nothing was printed".into());
    };
    let white = day.iter().filter(|it| **it > 240).count();
    match day == night && white * 2 > day.len() {
        true => Ok(()),
        false => Err(format!("{white} of {} dots are white", day.len()).into()),
    }
}
