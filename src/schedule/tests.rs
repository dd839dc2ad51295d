//! Schedules written for others. Their own tools read them in `suites/telling/schedule.rs`.

use std::collections::BTreeSet;
use std::path::Path;

use chrono::{Datelike as _, Timelike as _};

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

#[test]
fn the_soonest_suite_comes_first_and_none_is_an_error() {
    let suites = [
        suite("late", "0 6 * * *", "UTC"),
        suite("early", "0 6 * * *", "Asia/Tokyo"),
    ];
    let planned = planned(&suites).expect("planned");
    let noon = DateTime::UNIX_EPOCH + chrono::Duration::hours(12);
    let early = DateTime::UNIX_EPOCH + chrono::Duration::hours(21);
    assert_eq!(next(&planned, &[noon, noon]), Some((early, 1)));
    let late = DateTime::UNIX_EPOCH + chrono::Duration::hours(30);
    assert_eq!(next(&planned, &[noon, early]), Some((late, 0)));
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
fn units_say_what_systemd_would_read_otherwise() {
    let mut odd = suite("shop", "0 4 * * 1-5", "Europe/Berlin");
    odd.title = "Shop, 100% of it".to_owned();
    odd.path = "suites/pay in $.toml".into();
    let suites = [odd];
    let target = Target {
        program: "/opt/my \"tools\"/redrill",
        dir: Path::new("/srv/50% off"),
        out: Path::new("reports"),
        image: "redrill",
        shards: 1,
    };
    let planned = planned(&suites).expect("planned");
    let units = export(Form::Systemd, &planned, &target).expect("written");
    for line in [
        "Description=redrill: backup drill of Shop, 100%% of it",
        "WorkingDirectory=/srv/50%% off",
        r#"ExecStart="/opt/my \"tools\"/redrill" drill "suites/pay in $$.toml" --out reports"#,
    ] {
        assert!(units[0].1.lines().any(|it| it == line), "{}", units[0].1);
    }
    let timer = &units[1].1;
    assert!(
        timer.contains("OnCalendar=Mon,Tue,Wed,Thu,Fri *-*-* 4:0:00 Europe/Berlin"),
        "{timer}"
    );
    let (_, crontab) = export(Form::Cron, &planned, &target)
        .expect("written")
        .remove(0);
    assert!(crontab.contains("cd '/srv/50\\% off' && "), "{crontab}");
}

/// Whether Debian's cron, and Vixie's that it comes from, is due in a minute by these fields.
fn vixie(fields: &str, at: DateTime<Utc>) -> bool {
    let fields: Vec<&str> = fields.split(' ').collect();
    let within = |field: &str, value: u32, all: (u32, u32)| {
        field.split(',').any(|item| {
            let (range, step) = item.split_once('/').unwrap_or((item, "1"));
            let number = |text: &str| text.parse::<u32>().expect("a number");
            let (from, to) = match (range, range.split_once('-')) {
                ("*", _) => all,
                (_, Some((from, to))) => (number(from), number(to)),
                (one, None) => (number(one), number(one)),
            };
            (from..=to).contains(&value) && (value - from).is_multiple_of(number(step))
        })
    };
    let day = within(fields[2], at.day(), (1, 31));
    let weekday = within(fields[4], at.weekday().num_days_from_sunday(), (0, 6));
    // A field that begins with a star restricts nothing, whatever follows.
    let days = match fields[2].starts_with('*') || fields[4].starts_with('*') {
        true => day && weekday,
        false => day || weekday,
    };
    within(fields[0], at.minute(), (0, 59))
        && within(fields[1], at.hour(), (0, 23))
        && within(fields[3], at.month(), (1, 12))
        && days
}

#[test]
fn cron_is_due_when_redrill_says_that_it_is() {
    for cron in [
        "0 0 * * *",
        "0 0 */2 * 1",
        "30 6 1,15 * */3",
        "0 12 */10,5 * 1-5",
        "0 0 13 * 5",
        "0 3 * */2 7",
        "0 3 */7 * *",
    ] {
        let suites = [suite("s", cron, "UTC")];
        let (_, text) = written(Form::Cron, &suites, 1).expect("written").remove(0);
        let line = text.lines().last().expect("a line");
        let fields = line.split(" cd ").next().expect("fields");
        let due = suites[0].due.as_ref().expect("is due");
        let begin = DateTime::UNIX_EPOCH + chrono::Duration::days(20_000);
        let hours = (0..24 * 2 * 400).map(|half| begin + chrono::Duration::minutes(30 * half));
        let by_cron: Vec<_> = hours.filter(|at| vixie(fields, *at)).collect();
        let mut at = begin - chrono::Duration::minutes(1);
        let mut by_redrill = Vec::new();
        while let Some(next) = due
            .after(at)
            .filter(|it| *it < begin + chrono::Duration::days(400))
        {
            by_redrill.push(next);
            at = next;
        }
        assert!(!by_redrill.is_empty());
        assert_eq!(by_cron, by_redrill, "{cron}, as {fields}");
    }
}

#[test]
fn suites_that_are_due_together_are_one_job_whose_shards_divide_them() {
    let names: Vec<String> = (0..300).map(|n| format!("shop{n}")).collect();
    let mut suites: Vec<Suite> = names
        .iter()
        .map(|name| suite(name, "0 4 * * *", "UTC"))
        .collect();
    suites.push(suite("till", "0 5 * * *", "UTC"));
    suites.push(suite("hall", "0 4 * * *", "Asia/Tokyo"));
    let jobs = written(Form::Kubernetes, &suites, 25).expect("written");
    let files: Vec<&str> = jobs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        files,
        [
            "redrill-0-4-x-x-x-utc-ffc551ee.yaml",
            "redrill-till.yaml",
            "redrill-hall.yaml"
        ]
    );
    let job = &jobs[0].1;
    for name in &names {
        assert!(job.contains(&format!(" suites/{name}.toml ")), "{name}");
    }
    assert!(
        job.contains("completions: 25") && job.contains("--shard $((JOB_COMPLETION_INDEX + 1))/25")
    );
    suites.pop();
    let (_, github) = written(Form::Github, &suites, 25)
        .expect("written")
        .remove(0);
    assert_eq!(github.matches("- cron: ").count(), 2);
    assert_eq!(
        github.matches("redrill drill").count() + github.matches("/usr/bin/true drill").count(),
        2
    );
    for words in [
        "  gate-0-4-x-x-x-utc-ffc551ee:\n    needs: drill-0-4-x-x-x-utc-ffc551ee\n",
        "merge-multiple: true",
        "/usr/bin/true gate suites/till.toml --out reports",
    ] {
        assert!(github.contains(words), "{words}: {github}");
    }
}

#[test]
fn a_name_that_is_too_long_for_kubernetes_is_cut_and_stays_its_own() {
    let long = |end: &str| {
        suite(
            &format!("{}{end}", "a_long_name_".repeat(5)),
            "0 4 * * *",
            "UTC",
        )
    };
    let suites = [
        long("one"),
        Suite {
            due: suite("x", "0 5 * * *", "UTC").due,
            ..long("two")
        },
    ];
    let jobs = written(Form::Kubernetes, &suites, 1).expect("written");
    let names: Vec<&str> = jobs
        .iter()
        .map(|(name, _)| name.trim_end_matches(".yaml"))
        .collect();
    assert!(names.iter().all(|name| name.len() <= 52), "{names:?}");
    assert_ne!(names[0], names[1]);
}

#[test]
fn suites_whose_names_others_cannot_take_have_files_jobs_and_locks_of_their_own() {
    let names = ["shop", "Shop", "shop_1", "shop-1", "магазин", "店"];
    for form in [Form::Kubernetes, Form::Systemd] {
        let suites: Vec<Suite> = names
            .iter()
            .enumerate()
            .map(|(hour, name)| suite(name, &format!("0 {hour} * * *"), "UTC"))
            .collect();
        let files = written(form, &suites, 1).expect("written");
        let own: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(own.len(), files.len(), "{own:?}");
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        for name in own {
            assert!(name.chars().all(plain) && !name.contains("-."), "{name}");
        }
    }
    // Of several that are due together, the times are the name.
    let together = |fields: &str| {
        let suites = [suite("one", fields, "UTC"), suite("two", fields, "UTC")];
        written(Form::Kubernetes, &suites, 1).expect("written")[0]
            .0
            .clone()
    };
    assert_ne!(together("0 4 * * 1-5"), together("0 4 * * 1,5"));
    let odd = [suite("店", "0 4 * * *", "UTC")];
    let (_, crontab) = written(Form::Cron, &odd, 1).expect("written").remove(0);
    assert!(!crontab.contains("redrill-店"), "{crontab}");
}

#[test]
fn a_schedule_of_github_cancels_no_pending_run_of_another() {
    let suites = [suite("shop", "0 4 * * *", "UTC")];
    let (_, text) = written(Form::Github, &suites, 1)
        .expect("written")
        .remove(0);
    assert!(
        text.contains("group: \"redrill-drills-${{ github.event.schedule }}\"\n"),
        "{text}"
    );
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
        }
    }
    let jobs = written(Form::Kubernetes, &suites, 3).expect("written");
    assert_eq!(jobs[1].0, "redrill-till-2-cc2b3205.yaml");
    for word in [
        "completionMode: Indexed",
        "completions: 3",
        "backoffLimitPerIndex: 0",
        "timeZone: \"UTC\"",
        "JOB_COMPLETION_INDEX + 1))/3",
    ] {
        assert!(jobs[0].1.contains(word), "{word}: {}", jobs[0].1);
    }
}

#[test]
fn jobs_of_two_suites_never_have_the_same_name() {
    let suites = [
        suite("shop", "@daily", "UTC"),
        suite("shop-gate", "@hourly", "UTC"),
        suite("gate-shop", "@weekly", "UTC"),
    ];
    for form in [Form::Github, Form::Gitlab] {
        let (name, text) = written(form, &suites, 1).expect("written").remove(0);
        let indent = if form == Form::Github { "  " } else { "" };
        let jobs: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix(indent)?.strip_suffix(':'))
            .filter(|job| job.contains("drill-") || job.contains("gate-"))
            .collect();
        let distinct: std::collections::BTreeSet<&str> = jobs.iter().copied().collect();
        assert_eq!((jobs.len(), distinct.len()), (6, 6), "{name}: {jobs:?}");
    }
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

/// A clock that stands still unless a drill is at work, which takes so long.
struct Busy(std::sync::Mutex<DateTime<Utc>>);

impl crate::clock::Clock for Busy {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().expect("not poisoned")
    }
}

#[tokio::test]
async fn what_becomes_due_while_another_suite_is_drilled_is_drilled_next_and_once() {
    let suites = [
        suite("long", "0 4 * * *", "UTC"),
        suite("short", "*/20 4 * * *", "UTC"),
        suite("other", "30 4 * * *", "UTC"),
    ];
    let dir = tempfile::tempdir().expect("a directory");
    let four = DateTime::UNIX_EPOCH + chrono::Duration::hours(4);
    let clock = Busy(std::sync::Mutex::new(four - chrono::Duration::minutes(1)));
    let set = |at: DateTime<Utc>| *clock.0.lock().expect("not poisoned") = at;
    let lines = std::sync::Mutex::new(Vec::new());
    let cancel = tokio_util::sync::CancellationToken::new();
    let service = Service {
        planned: &planned(&suites).expect("planned"),
        program: "true".into(),
        arguments: Vec::new(),
        out: dir.path().to_owned(),
        times: None,
        clock: &clock,
        say: &|text| {
            let text = text.to_owned();
            // The first drill takes 45 minutes, the others none.
            match text.as_str() {
                "next: long at 1970-01-01 04:00 UTC" => set(four),
                "drilled: long, exit 0" => set(four + chrono::Duration::minutes(45)),
                _ => {}
            }
            if text.starts_with("next: short at 1970-01-02")
                || text.starts_with("next: long at 1970-01-02")
            {
                cancel.cancel();
            }
            lines.lock().expect("not poisoned").push(text);
        },
        cancel: cancel.clone(),
    };
    serve(&service).await.expect("served");
    let lines = lines.into_inner().expect("not poisoned");
    assert_eq!(
        lines,
        [
            "next: long at 1970-01-01 04:00 UTC",
            "drilled: long, exit 0",
            // Due at 4:00, 4:20 and 4:40.
            "skipped: short was due 2 times in the meantime",
            "drilled: short, exit 0",
            "drilled: other, exit 0",
            "next: long at 1970-01-02 04:00 UTC",
        ]
    );
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_told_and_the_service_goes_on() {
    let lines = said("/nowhere/redrill", chrono::Duration::seconds(70), "never").await;
    let told = |line: &&String| line.starts_with("error: start the drill of shop: No such file");
    assert_eq!(lines.iter().filter(told).count(), 3, "{lines:?}");
}
