//! The schedule of suites, written for another scheduler: files that it takes as they are, each with a line that says
//! how. The commands in them are those a person would type.

use std::fmt::Write as _;
use std::path::Path;

use super::Planned;
use super::calendar;
use crate::error::{Error, Result};
use crate::process::quoted;

/// Who is to keep the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A crontab.
    Cron,
    /// Units of systemd: a service and a timer for each suite.
    Systemd,
    /// A workflow of GitHub Actions.
    Github,
    /// Jobs of GitLab CI.
    Gitlab,
    /// CronJobs of Kubernetes.
    Kubernetes,
}

/// What the files are written for.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// The program, by its path or its name.
    pub program: &'a str,
    /// The directory that drills run in.
    pub dir: &'a Path,
    /// The reports folder.
    pub out: &'a Path,
    /// The container image with redrill and the suites.
    pub image: &'a str,
    /// How many parts the drills of a suite are divided into.
    pub shards: u32,
}

/// The files, by name. One that cannot say what a suite asks for is an error.
pub fn export(
    form: Form,
    planned: &[Planned<'_>],
    target: &Target<'_>,
) -> Result<Vec<(String, String)>> {
    let odd = planned.iter().find(|it| !calendar::is_plain(&it.due.cron));
    // Those of systemd are not cron expressions, and say so by themselves.
    if let Some(it) = odd.filter(|_| form != Form::Systemd) {
        return Err(Error::usage(format!(
            "the cron expression {:?} of {} has what not every scheduler knows",
            it.due.cron, it.suite.name
        ))
        .hint("use numbers, names, ranges, lists and steps only, or `redrill schedule run`"));
    }
    if target.shards > 1 && matches!(form, Form::Cron | Form::Systemd) {
        return Err(
            Error::usage("one machine keeps this schedule, and has no shards")
                .hint("leave --shards out; GitHub, GitLab and Kubernetes run shards side by side"),
        );
    }
    match form {
        Form::Cron => Ok(vec![("redrill.crontab".to_owned(), cron(planned, target))]),
        Form::Systemd => {
            let units = planned.iter().map(|it| systemd(it, target));
            Ok(units.collect::<Result<Vec<_>>>()?.concat())
        }
        Form::Github => Ok(vec![(
            "redrill-drill.yml".to_owned(),
            github(planned, target)?,
        )]),
        Form::Gitlab => Ok(vec![(
            "redrill.gitlab-ci.yml".to_owned(),
            gitlab(planned, target),
        )]),
        Form::Kubernetes => Ok(planned
            .iter()
            .map(|it| {
                (
                    format!("redrill-{}.yaml", dns(&it.suite.name)),
                    kubernetes(it, target),
                )
            })
            .collect()),
    }
}

/// The command that drills a suite.
fn command(it: &Planned<'_>, target: &Target<'_>) -> String {
    format!(
        "{} drill {} --out {}",
        quoted(target.program),
        quoted(&it.suite.path.display().to_string()),
        quoted(&target.out.display().to_string())
    )
}

fn cron(planned: &[Planned<'_>], target: &Target<'_>) -> String {
    let mut out = String::from("# Drills of redrill. Install with: crontab redrill.crontab\n");
    out.push_str(
        "# CRON_TZ is read by cronie. Debian's cron does not know it, and keeps the zone of its machine: where that is another\n\
         # one, use systemd timers.\n",
    );
    let dir = quoted(&target.dir.display().to_string());
    for it in planned {
        // A percent sign ends a command in a crontab.
        let command = command(it, target).replace('%', "\\%");
        let fields = calendar::fields(&it.due.cron).map_or(it.due.cron.clone(), |it| it.join(" "));
        writeln!(out, "\nCRON_TZ={}", it.due.zone).ok();
        // No drill begins while the one before is still at work.
        writeln!(
            out,
            "{fields} cd {dir} && flock --nonblock /tmp/redrill-{}.lock {command} --quiet",
            it.suite.name
        )
        .ok();
    }
    out
}

fn systemd(it: &Planned<'_>, target: &Target<'_>) -> Result<Vec<(String, String)>> {
    let lines = calendar::on_calendar(&it.due.cron).ok_or_else(|| {
        Error::usage(format!(
            "systemd has no words for the cron expression {:?} of {}",
            it.due.cron, it.suite.name
        ))
        .hint("use numbers, ranges, lists and steps only, or `redrill schedule run`")
    })?;
    let times: String = lines
        .iter()
        .map(|line| format!("OnCalendar={line} {}\n", it.due.zone))
        .collect();
    let unit = format!("redrill-{}", it.suite.name);
    let title = it.suite.title.replace(['\n', '\\'], " ");
    let service = format!(
        "# /etc/systemd/system/{unit}.service\n\
         [Unit]\nDescription=redrill: backup drill of {title}\nAfter=network-online.target\nWants=network-online.target\n\n\
         [Service]\nType=oneshot\nWorkingDirectory={}\nExecStart={}\n\
         # It tears down what it started when it is asked to end.\nKillMode=mixed\nTimeoutStopSec=120\n",
        target.dir.display(),
        command(it, target).replace('%', "%%")
    );
    let timer = format!(
        "# /etc/systemd/system/{unit}.timer; start it with: systemctl enable --now {unit}.timer\n\
         [Unit]\nDescription=redrill: when {title} is drilled\n\n\
         [Timer]\n{times}# A drill that was missed is skipped.\nPersistent=false\nAccuracySec=1s\n\n\
         [Install]\nWantedBy=timers.target\n"
    );
    Ok(vec![
        (format!("{unit}.service"), service),
        (format!("{unit}.timer"), timer),
    ])
}

fn github(planned: &[Planned<'_>], target: &Target<'_>) -> Result<String> {
    if let Some(it) = planned.iter().find(|it| !it.due.is_in_utc()) {
        return Err(Error::usage(format!(
            "{} is due in the zone {}, and GitHub runs schedules in UTC only",
            it.suite.name, it.due.zone
        ))
        .hint(
            "give it a schedule in UTC, or keep it elsewhere: systemd and Kubernetes know zones",
        ));
    }
    let mut out = String::from(
        "# .github/workflows/redrill-drill.yml\nname: Backup drills\non:\n  workflow_dispatch:\n  schedule:\n",
    );
    let mut times: Vec<&str> = planned.iter().map(|it| it.due.cron.as_str()).collect();
    times.sort_unstable();
    times.dedup();
    for time in &times {
        let fields = calendar::fields(time).map_or((*time).to_owned(), |it| it.join(" "));
        writeln!(out, "    - cron: {}", yaml(&fields)).ok();
    }
    out.push_str("permissions:\n  contents: read\nconcurrency:\n  group: redrill-drills\njobs:\n");
    for it in planned {
        let name = dns(&it.suite.name);
        let fields = calendar::fields(&it.due.cron).map_or(it.due.cron.clone(), |it| it.join(" "));
        let when = format!(
            "github.event_name == 'workflow_dispatch' || github.event.schedule == '{fields}'"
        );
        let numbers: Vec<String> = (1..=target.shards).map(|it| it.to_string()).collect();
        let (shards, of) = (numbers.join(", "), target.shards);
        let command = command(it, target);
        write!(
            out,
            "  {name}:\n    if: {}\n    runs-on: ubuntu-latest\n    container: {}\n    strategy:\n      fail-fast: false\n      matrix:\n        shard: [{shards}]\n    steps:\n      - uses: actions/checkout@v4\n      - run: {}\n      - if: always()\n        uses: actions/upload-artifact@v4\n        with:\n          name: redrill-{name}-${{{{ matrix.shard }}}}\n          path: {}\n",
            yaml(&when),
            yaml(target.image),
            yaml(&format!("{command} --shard ${{{{ matrix.shard }}}}/{of}")),
            yaml(&target.out.display().to_string()),
        )
        .ok();
    }
    Ok(out)
}

fn gitlab(planned: &[Planned<'_>], target: &Target<'_>) -> String {
    let mut out = String::from(
        "# Include this in .gitlab-ci.yml. GitLab keeps schedules outside of it; make one for each suite:\n",
    );
    for it in planned {
        let fields = calendar::fields(&it.due.cron).map_or(it.due.cron.clone(), |it| it.join(" "));
        writeln!(
            out,
            "#   glab schedule create --ref main --description 'redrill {0}' --cron '{fields}' --cronTimeZone '{1}' --variable 'REDRILL_SUITE:{0}'",
            it.suite.name, it.due.zone
        )
        .ok();
    }
    for it in planned {
        let name = &it.suite.name;
        let command = command(it, target);
        let rule = format!("$CI_PIPELINE_SOURCE == \"schedule\" && $REDRILL_SUITE == \"{name}\"");
        let (parallel, shard) = match target.shards {
            // One job is no parallel job, and has no number.
            1 => (String::new(), String::new()),
            of => (
                format!("  parallel: {of}\n"),
                " --shard $CI_NODE_INDEX/$CI_NODE_TOTAL".to_owned(),
            ),
        };
        write!(
            out,
            "\nredrill-{name}:\n  image: {}\n{parallel}  rules:\n    - if: {}\n  script:\n    - {}\n  artifacts:\n    when: always\n    paths: [{}]\n    reports:\n      junit: {}\n",
            yaml(target.image),
            yaml(&rule),
            yaml(&format!("{command}{shard}")),
            yaml(&target.out.display().to_string()),
            yaml(&format!("{}/*/junit.xml", target.out.display())),
        )
        .ok();
    }
    out
}

fn kubernetes(it: &Planned<'_>, target: &Target<'_>) -> String {
    let name = format!("redrill-{}", dns(&it.suite.name));
    let shards = target.shards;
    let command = command(it, target);
    // Index 0 is the first shard.
    let script = format!("exec {command} --shard $((JOB_COMPLETION_INDEX + 1))/{shards}");
    let fields = calendar::fields(&it.due.cron).map_or(it.due.cron.clone(), |it| it.join(" "));
    format!(
        "# kubectl apply -f {name}.yaml; all shards write to one reports volume, which must be ReadWriteMany where\n\
         # they run on several nodes. `redrill gate` reads the same volume.\n\
         apiVersion: batch/v1\nkind: CronJob\nmetadata:\n  name: {name}\n  labels:\n    app.kubernetes.io/name: redrill\n\
         spec:\n  schedule: {}\n  timeZone: {}\n  concurrencyPolicy: Forbid\n  startingDeadlineSeconds: 300\n\
         \x20 jobTemplate:\n    spec:\n      completionMode: Indexed\n      completions: {shards}\n      parallelism: {shards}\n      backoffLimit: 0\n\
         \x20     template:\n        spec:\n          restartPolicy: Never\n          terminationGracePeriodSeconds: 120\n          containers:\n\
         \x20           - name: drill\n              image: {}\n              workingDir: {}\n              command: [\"sh\", \"-c\", {}]\n\
         \x20             env:\n                - name: REDRILL_SERVICES\n                  value: local\n\
         \x20             volumeMounts:\n                - name: reports\n                  mountPath: {}\n\
         \x20         volumes:\n            - name: reports\n              persistentVolumeClaim:\n                claimName: redrill-reports\n",
        yaml(&fields),
        yaml(it.due.zone.name()),
        yaml(target.image),
        yaml(&target.dir.display().to_string()),
        yaml(&script),
        yaml(&target.dir.join(target.out).display().to_string()),
    )
}

/// A text as YAML reads it, in double quotes: what JSON writes is YAML.
fn yaml(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A name as Kubernetes takes it.
fn dns(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let name: String = name.chars().map(plain).collect();
    name.trim_matches('-').to_owned()
}
