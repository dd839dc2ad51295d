//! The directory of a run, and the removal of what a SIGKILL left behind: processes, containers, directories.
//!
//! A run's directory is `<temporary directory>/redrill-<run>`, with a lock that its process holds: whoever can take
//! the lock knows that the owner is gone. Only what carries a run's mark is ever touched.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use crate::context::{Context, RunId};
use crate::error::{Doing, Error, Result};
use crate::process::{Command, PIDS, kill_tree, start_time};
use crate::provision::containers::{OWNER_LABEL, RUN_LABEL};

const PREFIX: &str = "redrill-";
const LOCK: &str = "run.lock";
/// In the directory of a run that is kept for a look.
const KEPT: &str = "kept";
/// Where the sockets of a run lie: a socket's path has about a hundred bytes, which a temporary directory can use up.
const SOCKETS: &str = "/tmp";

/// The directory of a running run; dropping it gives the lock back but removes nothing.
pub struct RunHome {
    path: PathBuf,
    run: RunId,
    _lock: Flock<File>,
}

impl RunHome {
    /// Makes the directory and takes its lock.
    pub fn create(run: &RunId) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let base = base()?;
        let path = base.join(format!("{PREFIX}{run}"));
        std::fs::create_dir(&path).doing_with(|| format!("create {}", path.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o711))
            .doing("open the run's directory to its servers")?;
        let lock =
            lock(&path)?.ok_or_else(|| Error::defect("a new run's lock is taken already"))?;
        Ok(Self {
            path,
            run: run.clone(),
            _lock: lock,
        })
    }

    /// Marks it as kept for a look: only who asks for it by `redrill reap` removes it.
    pub fn keep(&self) -> Result<()> {
        let path = self.path.join(KEPT);
        std::fs::write(&path, "").doing_with(|| format!("write {}", path.display()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the directory and everything that still belongs to the run: normally nothing does any more.
    pub async fn remove(self, mode: &str) -> Result<()> {
        end_processes(&self.path);
        remove_sockets(self.run.as_str());
        if mode == "containers" {
            let containers = list_containers(&self.path).await?;
            let own = containers
                .into_iter()
                .filter(|container| container.run == self.run.as_str());
            remove_containers(&self.path, own).await?;
        }
        std::fs::remove_dir_all(&self.path).doing_with(|| format!("remove {}", self.path.display()))
    }
}

/// The temporary directory. Servers that run as another user must be able to pass through every parent.
fn base() -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let base = std::env::temp_dir();
    let base = std::fs::canonicalize(&base)
        .doing_with(|| format!("find the temporary directory {}", base.display()))?;
    if nix::unistd::geteuid().is_root() {
        for parent in base.ancestors() {
            let mode = std::fs::metadata(parent)
                .doing_with(|| format!("look at {}", parent.display()))?
                .permissions()
                .mode();
            if mode & 0o001 == 0 {
                return Err(Error::usage(format!(
                    "the temporary directory {} cannot be reached by the unprivileged users that servers run as: {} has mode {:o}",
                    base.display(),
                    parent.display(),
                    mode & 0o7777
                ))
                .hint("set TMPDIR to a directory that others may pass through, such as /var/tmp"));
            }
        }
    }
    Ok(base)
}

fn lock(dir: &Path) -> Result<Option<Flock<File>>> {
    let path = dir.join(LOCK);
    let file = File::create(&path).doing_with(|| format!("open {}", path.display()))?;
    Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).ok())
}

/// Something that a run left behind, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaped {
    /// What it was, with the run's name.
    pub what: String,
    /// Why it is still there, when it is.
    pub error: Option<String>,
}

/// What becomes of the directories of runs that somebody kept for a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// They are removed as well.
    Removed,
    /// They stay.
    Spared,
}

/// Removes everything of this user's runs whose process is gone. Runs that are still going are left alone, and so is
/// what another user made: nobody else's notes decide which processes are ended, or which files opened.
pub async fn reap(kept: Kept) -> Result<Vec<Reaped>> {
    let (mut reaped, mut held) = (Vec::new(), Vec::new());
    let base = base()?;
    for entry in std::fs::read_dir(&base)
        .doing_with(|| format!("list {}", base.display()))?
        .flatten()
    {
        let path = entry.path();
        let Some(run) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .map(str::to_owned)
        else {
            continue;
        };
        if !is_own(&path) || !path.join(LOCK).is_file() {
            continue;
        }
        let Some(_lock) = lock(&path)? else {
            held.push(run);
            continue;
        };
        for pid in end_processes(&path) {
            reaped.push(Reaped {
                what: format!("process {pid} of run {run}"),
                error: None,
            });
        }
        if kept == Kept::Removed || !path.join(KEPT).is_file() {
            reaped.push(removed(&path, &run));
        }
    }
    // Those of a run whose own directory is gone, or lies elsewhere, too.
    let root = nix::unistd::geteuid().is_root();
    let abandoned = all_sockets()
        .filter(|sockets| root || is_own(&sockets.path))
        .filter(|sockets| sockets.owner.is_gone());
    for Sockets { path, run, .. } in abandoned.filter(|sockets| !held.contains(&sockets.run)) {
        reaped.push(removed(&path, &run));
    }
    let scratch = tempfile::tempdir().doing("make a scratch directory")?;
    // Without an engine there can be no containers to remove.
    if let Ok(containers) = list_containers(scratch.path()).await {
        let orphans: Vec<Container> = containers
            .into_iter()
            .filter(|container| container.owner.is_some_and(Owner::is_gone))
            .collect();
        for container in &orphans {
            reaped.push(Reaped {
                what: format!("container {} of run {}", container.id, container.run),
                error: None,
            });
        }
        remove_containers(scratch.path(), orphans.into_iter()).await?;
    }
    Ok(reaped)
}

/// Whether a run's directory is one that this user's runs made.
fn is_own(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path)
        .is_ok_and(|found| found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw())
}

/// Removes a directory of a run.
fn removed(path: &Path, run: &str) -> Reaped {
    let error = std::fs::remove_dir_all(path).err();
    Reaped {
        what: format!("directory {} of run {run}", path.display()),
        error: error.map(|error| error.to_string()),
    }
}

/// The process that a run belongs to, as what the run leaves outside its directory is marked with it: its pid, and when
/// it was started, as a pid is given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pid: u32,
    started: u64,
}

impl Owner {
    /// This process.
    pub fn this() -> Self {
        let pid = std::process::id();
        let started = start_time(pid).unwrap_or_default();
        Self { pid, started }
    }

    fn parse(text: &str) -> Option<Self> {
        let (pid, started) = text.split_once('-')?;
        let (pid, started) = (pid.parse().ok()?, started.parse().ok()?);
        Some(Self { pid, started })
    }

    fn is_gone(self) -> bool {
        start_time(self.pid) != Some(self.started)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.pid, self.started)
    }
}

/// What `mktemp -d` is told to make a directory for sockets of, where the server runs.
pub fn sockets(run: &RunId) -> String {
    format!("{SOCKETS}/{PREFIX}{run}.{}.XXXXXX", Owner::this())
}

/// A directory for sockets on this machine.
struct Sockets {
    path: PathBuf,
    run: String,
    owner: Owner,
}

fn all_sockets() -> impl Iterator<Item = Sockets> {
    let all = std::fs::read_dir(SOCKETS).into_iter().flatten().flatten();
    all.filter_map(|entry| {
        let name = entry.file_name();
        let mut parts = name.to_str()?.strip_prefix(PREFIX)?.split('.');
        Some(Sockets {
            path: entry.path(),
            run: parts.next()?.to_owned(),
            owner: Owner::parse(parts.next()?)?,
        })
    })
}

/// Removes the directories for sockets of a run on this machine.
fn remove_sockets(run: &str) -> Vec<Reaped> {
    let own = all_sockets().filter(|sockets| sockets.run == run);
    own.map(|sockets| removed(&sockets.path, run)).collect()
}

/// Ends the servers noted below a run's directory, if they are still the processes they were.
fn end_processes(run_dir: &Path) -> Vec<u32> {
    let mut ended = Vec::new();
    for drill in std::fs::read_dir(run_dir).into_iter().flatten().flatten() {
        for entry in std::fs::read_dir(drill.path().join(PIDS))
            .into_iter()
            .flatten()
            .flatten()
        {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            let noted = std::fs::read_to_string(entry.path())
                .ok()
                .and_then(|text| text.trim().parse::<u64>().ok());
            if noted.is_some() && start_time(pid) == noted {
                kill_tree(pid);
                ended.push(pid);
            }
        }
    }
    ended
}

struct Container {
    id: String,
    run: String,
    owner: Option<Owner>,
}

fn scratch_context(dir: &Path) -> Result<Context> {
    Context::new(
        RunId::from_text("reap"),
        dir.to_owned(),
        dir.join("logs"),
        Default::default(),
    )
}

async fn list_containers(dir: &Path) -> Result<Vec<Container>> {
    let ctx = scratch_context(dir)?;
    let format =
        format!("{{{{.ID}}}}\t{{{{.Label \"{RUN_LABEL}\"}}}}\t{{{{.Label \"{OWNER_LABEL}\"}}}}");
    let listed = Command::new("docker")
        .args(["ps", "--all", "--no-trunc", "--filter"])
        .arg(format!("label={RUN_LABEL}"))
        .args(["--format".to_owned(), format])
        .deadline(Duration::from_secs(30))
        .run(&ctx)
        .await?
        .ok()?;
    let text = listed.text();
    Ok(text
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('\t').map(str::to_owned);
            Some(Container {
                id: fields.next()?,
                run: fields.next()?,
                owner: Owner::parse(&fields.next()?),
            })
        })
        .collect())
}

async fn remove_containers(dir: &Path, containers: impl Iterator<Item = Container>) -> Result<()> {
    let ids: Vec<String> = containers.map(|container| container.id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let ctx = scratch_context(dir)?;
    Command::new("docker")
        .args(["rm", "--force", "--volumes"])
        .args(ids)
        .run(&ctx)
        .await?
        .ok()
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sockets_of_a_run_go_and_those_of_another_stay() {
        let (own, other) = (
            RunId::fresh(chrono::Utc::now()),
            RunId::fresh(chrono::Utc::now()),
        );
        let made = |run: &RunId| {
            let path = PathBuf::from(sockets(run).replace("XXXXXX", "abc123"));
            std::fs::create_dir(&path).expect("made");
            std::fs::write(path.join(".s.PGSQL.5432"), "").expect("written");
            path
        };
        let (ours, theirs) = (made(&own), made(&other));
        let removed = remove_sockets(own.as_str());
        let stays = theirs.is_dir();
        std::fs::remove_dir_all(&theirs).expect("removed");
        assert_eq!(removed.len(), 1);
        assert!(removed[0].error.is_none() && !ours.exists() && stays);
        // The longest path that a socket may have, on Linux (unix(7)).
        assert!(ours.join(".s.PGSQL.5432").as_os_str().len() < 108);
    }

    #[test]
    fn an_owner_is_gone_when_its_pid_is_another_process_by_now() {
        let this = Owner::this();
        assert_eq!(Owner::parse(&this.to_string()), Some(this));
        assert!(!this.is_gone());
        let earlier = Owner {
            started: this.started - 1,
            ..this
        };
        assert!(earlier.is_gone());
        assert_eq!(Owner::parse("1"), None);
    }
}
