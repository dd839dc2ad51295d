//! Schedules written for others, and read back by their own tools where they are here.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::suite::parse;

fn suite(name: &str, cron: &str, zone: &str) -> Suite {
    let text = format!(
        "[component.db]\nkind = \"postgres\"\n[backup.hourly]\nschedule = \"@hourly\"\n[scenario.lost]\n\
         strike = {{ fault = \"server-lost\" }}\n[schedule]\ncron = \"{cron}\"\nzone = \"{zone}\"\n"
    );
    parse(&text, Path::new(&format!("suites/{name}.toml"))).expect("a suite")
}

fn written(form: Form, suites: &[Suite], shards: u32) -> Result<Vec<(String, String)>> {
    let target = Target {
        program: "/usr/bin/true",
        dir: Path::new("/srv"),
        out: Path::new("reports"),
        image: "registry.example/redrill:1",
        shards,
    };
    export(form, &planned(suites)?, &target)
}

/// Whether a program is here. Where services are required, it must be.
fn there(program: &str) -> bool {
    let asked = Command::new(program).arg("--version").output();
    let there = asked.is_ok_and(|output| output.status.success());
    let required = std::env::var_os("REDRILL_REQUIRE_SERVICES").is_some();
    assert!(
        there || !required,
        "{program} is required: make test installs it"
    );
    there
}

#[test]
fn the_soonest_suite_comes_first_and_none_is_an_error() {
    let suites = [
        suite("late", "0 6 * * *", "UTC"),
        suite("early", "0 6 * * *", "Asia/Tokyo"),
    ];
    let planned = planned(&suites).expect("planned");
    let noon = DateTime::UNIX_EPOCH + chrono::Duration::hours(12);
    let next = next(&planned, noon);
    let names: Vec<&str> = next.iter().map(|(_, it)| it.suite.name.as_str()).collect();
    assert_eq!(names, ["early", "late"]);
    assert_eq!(
        next[0].0,
        DateTime::UNIX_EPOCH + chrono::Duration::hours(21)
    );
    let without = Suite {
        due: None,
        ..suites[0].clone()
    };
    assert_eq!(
        super::planned(&[without]).expect_err("none").kind(),
        Kind::NothingRan
    );
}

#[test]
fn cron_reads_in_the_words_of_systemd() {
    let cases = [
        ("0 4 * * *", &["*-*-* 4:0:00"][..]),
        (
            "*/15 8-18 * * 1-5",
            &["Mon,Tue,Wed,Thu,Fri *-*-* 8..18:0/15:00"],
        ),
        ("30 2 1,15 */3 *", &["*-1/3-1,15 2:30:00"]),
        ("0 0 1 * 1", &["*-*-1 0:0:00", "Mon *-*-* 0:0:00"]),
        ("@weekly", &["Sun *-*-* 0:0:00"]),
        ("0 0 * JAN mon-fri/2", &["Mon,Wed,Fri *-1-* 0:0:00"]),
    ];
    for (cron, lines) in cases {
        assert_eq!(
            calendar::on_calendar(cron).expect("has words"),
            lines,
            "{cron}"
        );
        for line in lines.iter().filter(|_| there("systemd-analyze")) {
            let asked = Command::new("systemd-analyze")
                .args(["calendar", line])
                .output()
                .expect("asked");
            assert!(asked.status.success(), "{line}");
        }
    }
    assert_eq!(calendar::on_calendar("0 0 L * *"), None);
    let error = written(Form::Systemd, &[suite("s", "0 0 L * *", "UTC")], 1).expect_err("no words");
    assert!(error.message().contains("no words"), "{error}");
}

#[test]
fn other_schedulers_get_only_what_all_of_them_know() {
    for (cron, fields) in [
        ("0 4 * * 7", "0 4 * * 0"),
        ("0 4 * * 5-7", "0 4 * * 5,6,0"),
        ("0 4 * * 1-7/2", "0 4 * * 1,3,5,0"),
        ("0 4 * * 1,7", "0 4 * * 1,0"),
        ("0 4 * JUL wed-fri", "0 4 * JUL WED-FRI"),
    ] {
        let read = calendar::fields(cron).expect("five").join(" ");
        assert_eq!(read, fields);
        assert!(calendar::is_plain(cron), "{cron}");
    }
    let forms = [Form::Cron, Form::Github, Form::Gitlab, Form::Kubernetes];
    for form in forms {
        for cron in ["0 0 L * *", "0 0 * * 1#2", "0 0 15W * *"] {
            let odd = [suite("s", cron, "UTC")];
            let error = written(form, &odd, 1).expect_err("has no words");
            assert!(error.message().contains("not every scheduler"), "{error}");
        }
    }
    for form in [Form::Cron, Form::Systemd] {
        let error = written(form, &[suite("s", "0 4 * * *", "UTC")], 3).expect_err("no shards");
        assert!(error.message().contains("shards"), "{error}");
    }
}

#[test]
fn units_hold_before_systemd_itself() {
    let units = written(
        Form::Systemd,
        &[suite("shop", "0 4 * * 1-5", "Europe/Berlin")],
        1,
    )
    .expect("written");
    let timer = &units[1].1;
    assert!(
        timer.contains("OnCalendar=Mon,Tue,Wed,Thu,Fri *-*-* 4:0:00 Europe/Berlin"),
        "{timer}"
    );
    if !there("systemd-analyze") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify");
    for (name, text) in &units {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        verify.arg(path);
    }
    let said = verify.output().expect("verified");
    let stderr = String::from_utf8_lossy(&said.stderr).into_owned();
    let about: Vec<&str> = stderr
        .lines()
        .filter(|line| line.contains("redrill-"))
        .collect();
    assert!(said.status.success() && about.is_empty(), "{stderr}");
}

#[test]
fn manifests_are_yaml_with_the_schedule_the_zone_and_the_shards() {
    let suites = [
        suite("shop", "@daily", "UTC"),
        suite("till_2", "0 5 * * *", "UTC"),
    ];
    for form in [Form::Github, Form::Gitlab, Form::Kubernetes] {
        for (name, text) in written(form, &suites, 3).expect("written") {
            assert!(
                text.contains("0 0 * * *") || text.contains("0 5 * * *"),
                "{name}: {text}"
            );
            assert!(text.contains("--shard"), "{name}: {text}");
            schema_holds(form, &name, &text);
        }
    }
    let jobs = written(Form::Kubernetes, &suites, 3).expect("written");
    assert_eq!(jobs[1].0, "redrill-till-2.yaml");
    for word in [
        "completionMode: Indexed",
        "completions: 3",
        "timeZone: \"UTC\"",
        "JOB_COMPLETION_INDEX + 1))/3",
    ] {
        assert!(jobs[0].1.contains(word), "{word}: {}", jobs[0].1);
    }
}

#[test]
fn the_examples_hold_before_the_same_schemas() {
    for (form, name) in [
        (Form::Github, "github-actions.yml"),
        (Form::Gitlab, "gitlab-ci.yml"),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let text = std::fs::read_to_string(path.join(name)).expect("an example");
        schema_holds(form, name, &text);
    }
}

/// The schemas of those who read the files, where their validators are here (`.ci/setup --tests` brings them).
fn schema_holds(form: Form, name: &str, text: &str) {
    let arguments: &[&str] = match form {
        Form::Github => &[
            "check-jsonschema",
            "--builtin-schema",
            "vendor.github-workflows",
        ],
        Form::Gitlab => &[
            "check-jsonschema",
            "--builtin-schema",
            "vendor.gitlab-ci",
            "--data-transform",
            "gitlab-ci",
        ],
        Form::Kubernetes => &["kubernetes-validate"],
        Form::Cron | Form::Systemd => return,
    };
    if !there(arguments[0]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(name);
    std::fs::write(&path, text).expect("written");
    let said = Command::new(arguments[0])
        .args(&arguments[1..])
        .arg(&path)
        .output()
        .expect("validated");
    assert!(
        said.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&said.stdout)
    );
}

#[test]
fn github_refuses_a_zone_that_it_does_not_know_and_cron_names_it() {
    let suites = [suite("shop", "0 4 * * *", "Europe/Berlin")];
    let error = written(Form::Github, &suites, 1).expect_err("refused");
    assert!(error.message().contains("in UTC only"), "{error}");
    let (_, text) = written(Form::Cron, &suites, 1).expect("written").remove(0);
    assert!(
        text.contains("CRON_TZ=Europe/Berlin\n0 4 * * * cd /srv && flock"),
        "{text}"
    );
}

/// A clock that goes on by so much whenever it is looked at.
struct Stepping(std::sync::Mutex<DateTime<Utc>>, chrono::Duration);

impl crate::clock::Clock for Stepping {
    fn now(&self) -> DateTime<Utc> {
        let mut now = self.0.lock().expect("not poisoned");
        *now += self.1;
        *now
    }
}

/// What a service says that runs under such a clock until a word is said.
async fn said(program: &str, step: chrono::Duration, until: &str) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a directory");
    let suites = [suite("shop", "* * * * *", "UTC")];
    let cancel = tokio_util::sync::CancellationToken::new();
    let lines = std::sync::Mutex::new(Vec::new());
    let service = Service {
        planned: &planned(&suites).expect("planned"),
        program: program.into(),
        arguments: Vec::new(),
        out: dir.path().to_owned(),
        times: Some(3),
        clock: &Stepping(std::sync::Mutex::new(DateTime::UNIX_EPOCH), step),
        say: &|text| {
            lines.lock().expect("not poisoned").push(text.to_owned());
            if text.contains(until) {
                cancel.cancel();
            }
        },
        cancel: cancel.clone(),
    };
    serve(&service).await.expect("served");
    lines.into_inner().expect("not poisoned")
}

#[tokio::test]
async fn what_is_due_is_drilled_whatever_came_of_the_drill_before() {
    let lines = said("false", chrono::Duration::seconds(70), "never").await;
    let drilled = lines.iter().filter(|line| *line == "drilled: shop, exit 1");
    assert_eq!(drilled.count(), 3, "{lines:?}");
}

#[tokio::test]
async fn what_was_missed_is_skipped_and_told() {
    let lines = said("true", chrono::Duration::hours(2), "skipped").await;
    let told = |word: &str| lines.iter().any(|line| line.starts_with(word));
    assert!(told("skipped: shop was due "), "{lines:?}");
    assert!(!told("drilled"), "{lines:?}");
}

#[tokio::test]
async fn a_program_that_cannot_be_started_ends_the_service_with_the_reason() {
    let suites = [suite("shop", "* * * * *", "UTC")];
    let dir = tempfile::tempdir().expect("a directory");
    let service = Service {
        planned: &planned(&suites).expect("planned"),
        program: "/nowhere/redrill".into(),
        arguments: Vec::new(),
        out: dir.path().to_owned(),
        times: None,
        clock: &Stepping(
            std::sync::Mutex::new(DateTime::UNIX_EPOCH),
            chrono::Duration::seconds(70),
        ),
        say: &|_| {},
        cancel: tokio_util::sync::CancellationToken::new(),
    };
    let error = serve(&service).await.expect_err("cannot start");
    assert!(
        error.message().contains("start the drill of shop"),
        "{error}"
    );
}
