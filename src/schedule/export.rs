//! The schedule of suites, written for another scheduler: files that it takes as they are, each with a line that says
//! how. The commands in them are those a person would type.

use std::fmt::Write as _;
use std::path::Path;

use super::Planned;
use super::calendar;
use crate::error::{Error, Result};
use crate::process::quoted;
use crate::sha256;
use crate::suite::{Due, Suite};

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
    /// The program, by its path, or by a name that those find who keep the schedule.
    pub program: &'a str,
    /// The directory that drills run in.
    pub dir: &'a Path,
    /// The reports folder.
    pub out: &'a Path,
    /// The container image with redrill and the suites.
    pub image: &'a str,
    /// How many parts the drills of suites that are due together are divided into.
    pub shards: u32,
}

/// Suites that are due at the same times: one job, whose drills are divided among its shards.
struct Group<'a> {
    due: &'a Due,
    /// The fields of the expression, as every scheduler reads them.
    fields: String,
    suites: Vec<&'a Suite>,
}

impl<'a> Group<'a> {
    /// All suites, those with the same times together, in the order in which they come.
    fn all(planned: &[Planned<'a>]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for it in planned {
            let fields = spelled(&it.due.cron);
            let mut known = all.iter_mut();
            match known.find(|group| group.fields == fields && group.due.zone == it.due.zone) {
                Some(group) => group.suites.push(it.suite),
                None => all.push(Self {
                    due: it.due,
                    fields,
                    suites: vec![it.suite],
                }),
            }
        }
        all
    }

    /// Its name, as Kubernetes takes it: the suite's, or that of the times of several.
    fn name(&self) -> String {
        let [suite] = self.suites.as_slice() else {
            let times = self.fields.replace('*', "x");
            return dns(&format!("{times} {}", self.due.zone));
        };
        dns(&suite.name)
    }

    fn paths(&self) -> String {
        let path = |suite: &&Suite| quoted(&suite.path.display().to_string());
        let paths: Vec<String> = self.suites.iter().map(path).collect();
        paths.join(" ")
    }

    /// The command that drills its suites.
    fn drill(&self, target: &Target<'_>) -> String {
        let out = quoted(&target.out.display().to_string());
        format!(
            "{} drill {} --out {out}",
            quoted(target.program),
            self.paths()
        )
    }

    /// The command that decides on their records.
    fn gate(&self, target: &Target<'_>) -> String {
        let out = quoted(&target.out.display().to_string());
        format!(
            "{} gate {} --out {out}",
            quoted(target.program),
            self.paths()
        )
    }
}

/// A cron expression as every scheduler reads it.
fn spelled(cron: &str) -> String {
    calendar::fields(cron).map_or(cron.to_owned(), |it| it.join(" "))
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
    let groups = Group::all(planned);
    match form {
        Form::Cron => Ok(vec![("redrill.crontab".to_owned(), cron(planned, target))]),
        Form::Systemd => {
            let units = planned.iter().map(|it| systemd(it, target));
            Ok(units.collect::<Result<Vec<_>>>()?.concat())
        }
        Form::Github => Ok(vec![(
            "redrill-drill.yml".to_owned(),
            github(&groups, target)?,
        )]),
        Form::Gitlab => Ok(vec![(
            "redrill.gitlab-ci.yml".to_owned(),
            gitlab(&groups, target),
        )]),
        Form::Kubernetes => Ok(groups
            .iter()
            .map(|it| {
                (
                    format!("redrill-{}.yaml", it.name()),
                    kubernetes(it, target),
                )
            })
            .collect()),
    }
}

/// The arguments that drill a suite, the program first.
fn words(it: &Planned<'_>, target: &Target<'_>) -> [String; 5] {
    [
        target.program.to_owned(),
        "drill".to_owned(),
        it.suite.path.display().to_string(),
        "--out".to_owned(),
        target.out.display().to_string(),
    ]
}

fn cron(planned: &[Planned<'_>], target: &Target<'_>) -> String {
    let mut out = String::from("# Drills of redrill. Install with: crontab redrill.crontab\n");
    out.push_str(
        "# CRON_TZ is read by cronie. Debian's cron does not know it, and keeps the zone of its machine: where that is another\n\
         # one, use systemd timers.\n",
    );
    for it in planned {
        let command = words(it, target).map(|word| quoted(&word)).join(" ");
        // No drill begins while the one before is still at work.
        let line = format!(
            "cd {} && flock --nonblock /tmp/redrill-{}.lock {command} --quiet",
            quoted(&target.dir.display().to_string()),
            dns(&it.suite.name)
        );
        // A percent sign ends a command in a crontab.
        let (fields, line) = (spelled(&it.due.cron), line.replace('%', "\\%"));
        writeln!(out, "\nCRON_TZ={}\n{fields} {line}", it.due.zone).ok();
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
    let unit = format!("redrill-{}", dns(&it.suite.name));
    // A percent sign begins a specifier, wherever it stands.
    let title = it.suite.title.replace(['\n', '\\'], " ").replace('%', "%%");
    let service = format!(
        "# /etc/systemd/system/{unit}.service\n\
         [Unit]\nDescription=redrill: backup drill of {title}\nAfter=network-online.target\nWants=network-online.target\n\n\
         [Service]\nType=oneshot\nWorkingDirectory={}\nExecStart={}\n\
         # It tears down what it started when it is asked to end.\nKillMode=mixed\nTimeoutStopSec=120\n",
        target.dir.display().to_string().replace('%', "%%"),
        words(it, target).map(|word| unit_word(&word)).join(" ")
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

/// A word of a command line as systemd reads it: it knows quotes, and its own escapes also within them.
fn unit_word(word: &str) -> String {
    let word = word.replace('%', "%%").replace('$', "$$");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+$".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word,
        false => format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

fn github(groups: &[Group<'_>], target: &Target<'_>) -> Result<String> {
    if let Some(it) = groups.iter().find(|it| !it.due.is_in_utc()) {
        let names: Vec<&str> = it.suites.iter().map(|suite| suite.name.as_str()).collect();
        return Err(Error::usage(format!(
            "{} is due in the zone {}, and GitHub runs schedules in UTC only",
            names.join(", "),
            it.due.zone
        ))
        .hint(
            "give it a schedule in UTC, or keep it elsewhere: systemd and Kubernetes know zones",
        ));
    }
    let mut out = String::from(
        "# .github/workflows/redrill-drill.yml\nname: Backup drills\non:\n  workflow_dispatch:\n  schedule:\n",
    );
    for it in groups {
        writeln!(out, "    - cron: {}", yaml(&it.fields)).ok();
    }
    out.push_str("# What is due at one time waits for the run before, and for nothing else.\npermissions:\n  contents: read\nconcurrency:\n  group: ");
    out.push_str(&yaml("redrill-drills-${{ github.event.schedule }}"));
    out.push_str("\njobs:\n");
    for it in groups {
        let (name, fields) = (it.name(), &it.fields);
        let when = format!(
            "github.event_name == 'workflow_dispatch' || github.event.schedule == '{fields}'"
        );
        let numbers: Vec<String> = (1..=target.shards).map(|it| it.to_string()).collect();
        let (shards, of) = (numbers.join(", "), target.shards);
        let (image, reports) = (yaml(target.image), yaml(&target.out.display().to_string()));
        let drill = yaml(&format!(
            "{} --shard ${{{{ matrix.shard }}}}/{of}",
            it.drill(target)
        ));
        write!(
            out,
            "  drill-{name}:\n    if: {}\n    runs-on: ubuntu-latest\n    container: {image}\n    strategy:\n      fail-fast: false\n      matrix:\n        shard: [{shards}]\n    steps:\n      - uses: actions/checkout@v4\n      - run: {drill}\n      - if: always()\n        uses: actions/upload-artifact@v4\n        with:\n          name: redrill-{name}-${{{{ matrix.shard }}}}\n          path: {reports}\n",
            yaml(&when),
        )
        .ok();
        // A failed drill is for the gate to explain, which has the records of all shards.
        write!(
            out,
            "  gate-{name}:\n    needs: drill-{name}\n    if: {}\n    runs-on: ubuntu-latest\n    container: {image}\n    steps:\n      - uses: actions/checkout@v4\n      - uses: actions/download-artifact@v4\n        with:\n          pattern: redrill-{name}-*\n          path: {reports}\n          merge-multiple: true\n      - run: {}\n",
            yaml(&format!("always() && ({when})")),
            yaml(&it.gate(target)),
        )
        .ok();
    }
    Ok(out)
}

fn gitlab(groups: &[Group<'_>], target: &Target<'_>) -> String {
    let mut out = String::from(
        "# Include this in .gitlab-ci.yml. GitLab keeps schedules outside of it; make these:\n",
    );
    for it in groups {
        let (name, fields, zone) = (it.name(), &it.fields, it.due.zone);
        writeln!(
            out,
            "#   glab schedule create --ref main --description 'redrill {name}' --cron '{fields}' --cronTimeZone '{zone}' --variable 'REDRILL_DRILL:{name}'",
        )
        .ok();
    }
    for it in groups {
        let name = it.name();
        let rule = yaml(&format!(
            "$CI_PIPELINE_SOURCE == \"schedule\" && $REDRILL_DRILL == \"{name}\""
        ));
        let (parallel, shard) = match target.shards {
            // One job is no parallel job, and has no number.
            1 => (String::new(), String::new()),
            of => (
                format!("  parallel: {of}\n"),
                " --shard $CI_NODE_INDEX/$CI_NODE_TOTAL".to_owned(),
            ),
        };
        let (image, out_dir) = (yaml(target.image), target.out.display());
        // A failed drill is for the gate to explain, which has the records of all shards.
        write!(
            out,
            "\nredrill-drill-{name}:\n  image: {image}\n{parallel}  allow_failure: true\n  rules:\n    - if: {rule}\n  script:\n    - {}\n  artifacts:\n    when: always\n    paths: [{}]\n    exclude: [{}]\n    reports:\n      junit: {}\n\nredrill-gate-{name}:\n  image: {image}\n  needs: [redrill-drill-{name}]\n  rules:\n    - if: {rule}\n  script:\n    - {}\n",
            yaml(&format!("{}{shard}", it.drill(target))),
            yaml(&out_dir.to_string()),
            yaml(&format!("{out_dir}/history.jsonl")),
            yaml(&format!("{out_dir}/*/junit.xml")),
            yaml(&it.gate(target)),
        )
        .ok();
    }
    out
}

fn kubernetes(it: &Group<'_>, target: &Target<'_>) -> String {
    let name = format!("redrill-{}", it.name());
    let shards = target.shards;
    // Index 0 is the first shard.
    let script = format!(
        "exec {} --shard $((JOB_COMPLETION_INDEX + 1))/{shards}",
        it.drill(target)
    );
    format!(
        "# kubectl apply -f {name}.yaml; all shards write to one reports volume, which must be ReadWriteMany where\n\
         # they run on several nodes. `redrill gate` reads the same volume.\n\
         apiVersion: batch/v1\nkind: CronJob\nmetadata:\n  name: {name}\n  labels:\n    app.kubernetes.io/name: redrill\n\
         spec:\n  schedule: {}\n  timeZone: {}\n  concurrencyPolicy: Forbid\n  startingDeadlineSeconds: 300\n\
         \x20 jobTemplate:\n    spec:\n      completionMode: Indexed\n      completions: {shards}\n      parallelism: {shards}\n      # A shard that fails is not tried again, and ends no other.\n      backoffLimitPerIndex: 0\n\
         \x20     template:\n        spec:\n          restartPolicy: Never\n          terminationGracePeriodSeconds: 120\n          containers:\n\
         \x20           - name: drill\n              image: {}\n              workingDir: {}\n              command: [\"sh\", \"-c\", {}]\n\
         \x20             env:\n                - name: REDRILL_SERVICES\n                  value: local\n\
         \x20             volumeMounts:\n                - name: reports\n                  mountPath: {}\n\
         \x20         volumes:\n            - name: reports\n              persistentVolumeClaim:\n                claimName: redrill-reports\n",
        yaml(&it.fields),
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

/// The longest name of a CronJob, after `redrill-`.
const NAME: usize = 52 - 8;

/// A name as everyone takes it. One that it is not as it stands stays its own by a part of its hash.
fn dns(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let dashed: String = name.chars().map(plain).collect();
    let words: Vec<&str> = dashed.split('-').filter(|word| !word.is_empty()).collect();
    let plain = words.join("-");
    if plain == name && plain.len() <= NAME {
        return plain;
    }
    let begin = plain.get(..NAME - 9).unwrap_or(&plain);
    let hash = sha256::hex_of(name);
    let own = format!("{}-{}", begin.trim_end_matches('-'), &hash[..8]);
    own.trim_start_matches('-').to_owned()
}
