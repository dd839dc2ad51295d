//! Server processes: they outlive the call that starts them, are noted on disk for reaping, and end with all their
//! descendants (Postgres backends leave the process group of their postmaster, so the group alone is not enough).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, Uid};
use tokio::process::Child;

use super::{Account, TAIL_LINES};
use crate::context::Context;
use crate::error::{Doing, Result};

/// Where a run notes the servers it started, for reaping after a SIGKILL: `<drill dir>/pids/<pid>`, holding the
/// kernel's start time of the process, so that a reused pid is never mistaken for it.
pub const PIDS: &str = "pids";

/// A server process. Dropping it kills it with all its descendants.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    pid: u32,
    log: PathBuf,
    pid_file: PathBuf,
}

impl Daemon {
    /// Takes charge of a process that was just started.
    pub(super) fn adopt(ctx: &Context, child: Child, log: PathBuf) -> Result<Self> {
        let pid = child.id().unwrap_or_default();
        let pid_file = ctx.subdir(PIDS)?.join(pid.to_string());
        let daemon = Self {
            child,
            pid,
            log,
            pid_file,
        };
        let started = start_time(pid).unwrap_or_default();
        std::fs::write(&daemon.pid_file, started.to_string())
            .doing_with(|| format!("write {}", daemon.pid_file.display()))?;
        Ok(daemon)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, when it has, without waiting.
    pub fn ended(&mut self) -> Option<String> {
        self.child
            .try_wait()
            .ok()
            .flatten()
            .map(|status| status.to_string())
    }

    /// How it ended and the last lines of its log, when it has ended.
    pub fn end_in_words(&mut self) -> Option<String> {
        let how = self.ended()?;
        Some(format!("{how}\n{}", self.last_words()))
    }

    /// How it ended, when it does so within `deadline`: what it no longer answers may be noticed before its end is.
    pub async fn ends_within(&mut self, deadline: Duration) -> Option<String> {
        let ended = tokio::time::timeout(deadline, self.child.wait()).await;
        ended.ok()?.ok().map(|status| status.to_string())
    }

    /// The last lines of its log, for error messages.
    pub fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Asks the server to end with `signal`, waits up to `deadline`, then kills what is left.
    pub async fn stop(&mut self, signal: Signal, deadline: Duration) {
        if let Some(pid) = raw(self.pid)
            && self.child.id().is_some()
        {
            let _ = kill(pid, signal);
        }
        let _ = tokio::time::timeout(deadline, self.child.wait()).await;
        self.kill().await;
    }

    /// Asks the whole process group to end, waits up to `deadline` for the process that was started, then kills what is
    /// left: the group, and every descendant that has left it.
    pub async fn stop_group(&mut self, deadline: Duration) {
        let descendants = descendants(self.pid);
        let started: Vec<_> = descendants.iter().map(|pid| start_time(*pid)).collect();
        if let Some(group) = raw(self.pid) {
            let _ = killpg(group, Signal::SIGTERM);
        }
        let _ = tokio::time::timeout(deadline, self.child.wait()).await;
        if let Some(group) = raw(self.pid) {
            let _ = killpg(group, Signal::SIGKILL);
        }
        for (pid, started) in descendants.into_iter().zip(started).skip(1) {
            // A number that was given to another process since is left alone.
            if let Some(known) = raw(pid)
                && started.is_some()
                && start_time(pid) == started
            {
                let _ = kill(known, Signal::SIGKILL);
            }
        }
        self.kill().await;
    }

    /// Kills the server and all its descendants at once, as a crash would.
    pub async fn kill(&mut self) {
        self.kill_now();
        let _ = self.child.wait().await;
        let _ = std::fs::remove_file(&self.pid_file);
    }

    fn kill_now(&mut self) {
        if self.child.id().is_some() {
            kill_tree(self.pid);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill_now();
    }
}

fn raw(pid: u32) -> Option<Pid> {
    i32::try_from(pid)
        .ok()
        .filter(|pid| *pid > 1)
        .map(Pid::from_raw)
}

/// Kills a process and every descendant of it, the process first so that it cannot replace its children, and removes the
/// shared memory that the kernel would keep of them.
pub fn kill_tree(pid: u32) {
    // While it is looked for its children, it makes no more.
    if let Some(pid) = raw(pid) {
        let _ = kill(pid, Signal::SIGSTOP);
    }
    let doomed = descendants(pid);
    let shared = shared(&doomed);
    for pid in doomed {
        if let Some(pid) = raw(pid) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
    shared.iter().for_each(Shared::remove);
}

/// Named shared memory of a Postgres server. One that ends by itself removes it; that of a killed one stays until the
/// machine is started anew, and takes room and a place in the kernel's table.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shared {
    /// By POSIX: a file.
    File(PathBuf),
    /// By System V: its id, and whose it is.
    SystemV(String, Account),
}

impl Shared {
    /// Removes it, as far as it is there; whoever still uses it keeps it until its end.
    fn remove(&self) {
        match self {
            Self::File(path) => {
                let _ = std::fs::remove_file(path);
            }
            Self::SystemV(id, owner) => {
                let mut ipcrm = as_owner("ipcrm", *owner);
                let _ = ipcrm.args(["--shmem-id", id]).status();
            }
        }
    }

    fn of_line(line: &str, owner: Account) -> Option<Self> {
        let mut fields = line.split_whitespace().skip(4);
        let (inode, path) = (fields.next()?, fields.next()?);
        if path.starts_with("/dev/shm/PostgreSQL.") {
            return Some(Self::File(path.into()));
        }
        let id = || Self::SystemV(inode.to_owned(), owner);
        path.starts_with("/SYSV").then(id)
    }
}

/// What those of these processes that are of Postgres share by name (proc_pid_maps(5)).
fn shared(pids: &[u32]) -> BTreeSet<Shared> {
    let mut found = BTreeSet::new();
    let mut note = |maps: &str, owner| {
        found.extend(maps.lines().filter_map(|line| Shared::of_line(line, owner)));
    };
    let mut closed: BTreeMap<Account, Vec<PathBuf>> = BTreeMap::new();
    for pid in pids {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
        let Some(owner) = std::fs::metadata(&process).ok().map(|it| Account {
            uid: it.uid(),
            gid: it.gid(),
        }) else {
            continue;
        };
        if name.trim_end() != "postgres" {
            continue;
        }
        let maps = process.join("maps");
        match std::fs::read_to_string(&maps) {
            Ok(maps) => note(&maps, owner),
            Err(_) => closed.entry(owner).or_default().push(maps),
        }
    }
    // In a container, root may not look into another user's process, and that user may.
    for (owner, maps) in closed {
        let read = as_owner("cat", owner)
            .args(maps)
            .stdout(Stdio::piped())
            .output();
        let read = read.map(|read| read.stdout).unwrap_or_default();
        note(&String::from_utf8_lossy(&read), owner);
    }
    found
}

/// A program, run by whose processes are looked at where that can be chosen.
fn as_owner(program: &str, owner: Account) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if Uid::effective().is_root() {
        command.uid(owner.uid).gid(owner.gid);
    }
    command
}

/// A process and every descendant of it, itself first.
fn descendants(pid: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if let Some(parent) = parent_of(child) {
            children.entry(parent).or_default().push(child);
        }
    }
    let mut doomed = vec![pid];
    let mut next = 0;
    while let Some(pid) = doomed.get(next).copied() {
        doomed.extend(children.remove(&pid).unwrap_or_default());
        next += 1;
    }
    doomed
}

/// Fields of /proc/PID/stat from the third on (proc(5)); the second, the name, may hold anything.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(
        stat.rsplit_once(')')?
            .1
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
    )
}

fn parent_of(pid: u32) -> Option<u32> {
    stat_fields(pid)?.get(1)?.parse().ok()
}

/// The kernel's start time of a process, in clock ticks after boot (field 22 of /proc/PID/stat).
pub fn start_time(pid: u32) -> Option<u64> {
    stat_fields(pid)?.get(19)?.parse().ok()
}
