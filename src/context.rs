//! What travels with all work: the run's identity, its directories, its cancellation, its secrets and the log
//! of the commands that ran. A [`Context`] is a cheap clone; [`Context::within`] narrows it to a phase.
//!
//! Not here: any knowledge of suites, services or verdicts.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Stopwatch, SystemClock};
use crate::error::{Doing, Error, Result};

/// The name of one run: carried by every directory, container, database role and bucket that it starts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(String);

impl RunId {
    /// A name made of the start instant and a random tail, so that two runs never share one.
    pub fn fresh(started: DateTime<Utc>) -> Self {
        let tail: u32 = rand::random();
        Self(format!("{}-{tail:08x}", started.format("%Y%m%d-%H%M%S")))
    }

    /// The name as read back from a directory, a label or a record.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The name as text: lower-case letters, digits and dashes only.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A part of a drill; the recovery's parts (from [`Phase::Provision`] to [`Phase::Swap`]) add up to its RTO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Starting the system under test and filling it.
    Prepare,
    /// Taking backups and pruning them.
    Backup,
    /// Breaking things.
    Strike,
    /// Getting a server to recover onto.
    Provision,
    /// Bringing the artifact from its repository, decrypted, to where the restore reads it.
    Fetch,
    /// Writing the data back.
    Restore,
    /// Replaying logs after the restore.
    Replay,
    /// Waiting for the recovered service to answer a real query.
    Ready,
    /// Smoke checks on the recovered data, up to the first verified read.
    Verify,
    /// Putting the recovered data in the place of the lost.
    Swap,
    /// Reading facts for the judgement; never part of an RTO.
    Observe,
    /// Removing everything that was started.
    Teardown,
}

impl Phase {
    /// The parts of a recovery, in order.
    pub const RECOVERY: [Self; 7] = [
        Self::Provision,
        Self::Fetch,
        Self::Restore,
        Self::Replay,
        Self::Ready,
        Self::Verify,
        Self::Swap,
    ];

    /// The word used in reports and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Backup => "backup",
            Self::Strike => "strike",
            Self::Provision => "provision",
            Self::Fetch => "fetch",
            Self::Restore => "restore",
            Self::Replay => "replay",
            Self::Ready => "ready",
            Self::Verify => "verify",
            Self::Swap => "swap",
            Self::Observe => "observe",
            Self::Teardown => "teardown",
        }
    }
}

/// One command that ran, as the report shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The part of the drill that it belongs to.
    pub phase: Phase,
    /// The component it worked for; empty when it worked for the whole drill.
    pub component: String,
    /// The command line, without secrets (those travel in the environment or on standard input).
    pub command: String,
    /// The exit code; `None` when a signal or the deadline ended it.
    pub exit: Option<i32>,
    /// How long it took.
    pub seconds: f64,
    /// Its log file, relative to the log directory; empty for work done by redrill itself.
    pub log: PathBuf,
}

/// Values that must never be seen outside the environment of a process: passwords, keys, planted canaries.
/// Kept so that logs and reports can be searched for them.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Arc<Mutex<Vec<(String, String)>>>);

impl Secrets {
    /// Makes a value known as secret, under a name that may be printed.
    pub fn register(&self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.iter().any(|(_, known)| *known == value) {
            all.push((name, value));
        }
    }

    /// Every known secret: its printable name and its value.
    pub fn all(&self) -> Vec<(String, String)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Somebody else's words, with the name of a secret wherever its value stood.
    pub fn hide(&self, words: &str) -> String {
        let all = self.all().into_iter();
        let known = all.filter(|(_, value)| !value.is_empty());
        known.fold(words.to_owned(), |words, (name, value)| {
            words.replace(&value, &format!("<{name}>"))
        })
    }
}

/// What travels with all work of one drill.
#[derive(Clone)]
pub struct Context {
    /// The run this work belongs to.
    pub run: RunId,
    /// The drill's own directory for services, staging and spools. Others may pass through it (0711), so that
    /// servers that refuse to run as root can reach their data.
    pub dir: PathBuf,
    /// Where the logs of commands and servers go.
    pub logs: PathBuf,
    /// Cancelled by Ctrl-C, SIGTERM or the end of the drill.
    pub cancel: CancellationToken,
    /// Everything that must not leak.
    pub secrets: Secrets,
    /// The clock that names and ages artifacts.
    pub clock: Arc<dyn Clock>,
    /// The part of the drill that this work belongs to.
    pub phase: Phase,
    /// The component this work is for.
    pub component: String,
    steps: Arc<Mutex<Vec<Step>>>,
    numbers: Arc<AtomicU64>,
}

impl Context {
    /// The context of one drill, with its two directories created.
    pub fn new(run: RunId, dir: PathBuf, logs: PathBuf, cancel: CancellationToken) -> Result<Self> {
        for path in [&dir, &logs] {
            std::fs::create_dir_all(path).doing_with(|| format!("create {}", path.display()))?;
        }
        open_to_passers(&dir)?;
        Ok(Self {
            run,
            dir,
            logs,
            cancel,
            secrets: Secrets::default(),
            clock: Arc::new(SystemClock),
            phase: Phase::Prepare,
            component: String::new(),
            steps: Arc::default(),
            numbers: Arc::default(),
        })
    }

    /// The same context under another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The same context, narrowed to a phase and a component.
    #[must_use]
    pub fn within(&self, phase: Phase, component: &str) -> Self {
        Self {
            phase,
            component: component.to_owned(),
            ..self.clone()
        }
    }

    /// The same context for clean-up, which goes on after a cancellation.
    #[must_use]
    pub fn for_teardown(&self) -> Self {
        Self {
            phase: Phase::Teardown,
            cancel: CancellationToken::new(),
            ..self.clone()
        }
    }

    /// A number that no other caller gets: names log files and staging directories.
    pub fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Notes a command or a piece of redrill's own work that ran.
    pub fn note(&self, command: impl Into<String>, exit: Option<i32>, seconds: f64, log: &Path) {
        let log = log.strip_prefix(&self.logs).unwrap_or(log).to_owned();
        self.steps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Step {
                phase: self.phase,
                component: self.component.clone(),
                command: command.into(),
                exit,
                seconds,
                log,
            });
    }

    /// Does work over a connection and notes it, as the command that an operator would type for it.
    pub async fn noting<T>(
        &self,
        command: impl Into<String>,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let watch = Stopwatch::start();
        let done = work.await;
        let exit = done.is_ok().then_some(0);
        self.note(command, exit, watch.seconds(), Path::new(""));
        done
    }

    /// All steps so far, in the order in which they ended.
    pub fn steps(&self) -> Vec<Step> {
        self.steps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// An error when the run was interrupted; for loops that do not wait on anything.
    pub fn go_on(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            Err(Error::interrupted())
        } else {
            Ok(())
        }
    }

    /// A new directory of this drill, open to passers like its parent.
    pub fn subdir(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        std::fs::create_dir_all(&path).doing_with(|| format!("create {}", path.display()))?;
        open_to_passers(&path)?;
        Ok(path)
    }
}

/// Lets other users pass through a directory without listing it (mode 0711).
fn open_to_passers(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o711))
        .doing_with(|| format!("set the mode of {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_elses_words_are_told_without_the_secrets_in_them() {
        let secrets = Secrets::default();
        secrets.register("password of db", "s3cret");
        secrets.register("of nothing", "");
        assert_eq!(
            secrets.hide("as s3cret, s3cret"),
            "as <password of db>, <password of db>"
        );
    }
}
