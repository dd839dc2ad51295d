//! The service that drills what is due. Each drill is a process of its own, so that none can take the service with it;
//! one at a time, so that recovery times compare. A suite that became due while another was drilled is drilled next, once;
//! what it was due beside that, and while the machine slept, is skipped, and told.
//!
//! It keeps no state: after a crash it goes on from now. A drill that outlived the service holds its lock until it
//! ends (it has the lock's file as its standard input), and the new service waits for that.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Planned, next};
use crate::clock::Clock;
use crate::error::{Doing, Result};
use crate::process::ask_to_end;

/// How often the clock is looked at: it may be set, and the machine may sleep.
const LOOK: Duration = Duration::from_secs(20);
/// A drill that could not begin within this time of when it was due is missed.
const LATE: chrono::Duration = chrono::Duration::minutes(5);
/// How often a lock that another holds is tried.
const TRY: Duration = Duration::from_millis(500);

/// How the service works.
pub struct Service<'a> {
    /// The suites and when they are due.
    pub planned: &'a [Planned<'a>],
    /// The program that drills: redrill itself.
    pub program: PathBuf,
    /// What it is given after the suite.
    pub arguments: Vec<OsString>,
    /// The reports folder; its lock is in there.
    pub out: PathBuf,
    /// End after so many drills; never when none is given.
    pub times: Option<u32>,
    /// The time of day.
    pub clock: &'a dyn Clock,
    /// What happens is told here.
    pub say: &'a dyn Fn(&str),
    /// Cancelled by Ctrl-C or SIGTERM.
    pub cancel: CancellationToken,
}

/// Works until it is told to end.
pub async fn serve(service: &Service<'_>) -> Result<()> {
    let Some(lock) = alone(service).await? else {
        return Ok(());
    };
    let mut done = 0;
    let mut busy_until = service.clock.now();
    let mut seen = vec![busy_until; service.planned.len()];
    while service.times.is_none_or(|times| done < times) {
        let Some((at, which)) = next(service.planned, &seen) else {
            return Ok(());
        };
        let it = &service.planned[which];
        let seen = &mut seen[which];
        // What became due while another suite was drilled is late, and its turn comes all the same.
        let waited = at <= busy_until;
        if !waited {
            (service.say)(&format!(
                "next: {} at {}",
                it.suite.name,
                at.with_timezone(&it.due.zone).format("%Y-%m-%d %H:%M %Z")
            ));
        }
        if !reached(service, at).await {
            return Ok(());
        }
        let begins = service.clock.now();
        if !waited && begins - at > LATE {
            // The machine slept, or its clock was set.
            skipped(service, it, seen, begins);
            continue;
        }
        *seen = at;
        skipped(service, it, seen, begins);
        drill(service, it, &lock).await?;
        done += 1;
        busy_until = service.clock.now();
        skipped(service, it, seen, busy_until);
    }
    Ok(())
}

/// Tells how often a suite was due up to an instant since it was last seen to, and sees to it no more.
fn skipped(
    service: &Service<'_>,
    it: &Planned<'_>,
    seen: &mut DateTime<Utc>,
    until: DateTime<Utc>,
) {
    let mut count = 0;
    while let Some(due) = it.due.after(*seen).filter(|due| *due <= until) {
        count += 1;
        *seen = due;
    }
    *seen = until.max(*seen);
    if count > 0 {
        let name = &it.suite.name;
        (service.say)(&format!(
            "skipped: {name} was due {count} times in the meantime"
        ));
    }
}

/// Waits for an instant; false when the service is to end.
async fn reached(service: &Service<'_>, at: DateTime<Utc>) -> bool {
    while let Ok(left) = (at - service.clock.now()).to_std() {
        if left.is_zero() {
            break;
        }
        tokio::select! {
            () = service.cancel.cancelled() => return false,
            () = sleep(left.min(LOOK)) => {}
        }
    }
    !service.cancel.is_cancelled()
}

/// The lock of this reports folder: one service at a time. None when the service is to end before it has it.
async fn alone(service: &Service<'_>) -> Result<Option<File>> {
    let path = service.out.join("schedule.lock");
    let what = || format!("lock {}", path.display());
    std::fs::create_dir_all(&service.out).doing_with(what)?;
    let file = File::create(&path).doing_with(what)?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(error)) => return Err(error).doing_with(what),
            Err(TryLockError::WouldBlock) => {}
        }
        if !told {
            (service.say)("waiting: another service, or a drill that it started, is at work");
            told = true;
        }
        tokio::select! {
            () = service.cancel.cancelled() => return Ok(None),
            () = sleep(TRY) => {}
        }
    }
}

async fn drill(service: &Service<'_>, it: &Planned<'_>, lock: &File) -> Result<()> {
    let name = &it.suite.name;
    let held = lock.try_clone().doing("hand on the lock")?;
    let child = tokio::process::Command::new(&service.program)
        .arg("drill")
        .arg(&it.suite.path)
        .arg("--out")
        .arg(&service.out)
        .args(&service.arguments)
        .stdin(Stdio::from(held))
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            // There may be room for a process when the next one is due.
            (service.say)(&format!("error: start the drill of {name}: {error}"));
            return Ok(());
        }
    };
    let status = tokio::select! {
        status = child.wait() => status,
        () = service.cancel.cancelled() => {
            // It tears down what it started, and then ends.
            child.id().into_iter().for_each(ask_to_end);
            child.wait().await
        }
    };
    let status = status.doing_with(|| format!("wait for the drill of {name}"))?;
    (service.say)(&match status.code() {
        Some(code) => format!("drilled: {name}, exit {code}"),
        None => format!("drilled: {name}, killed by a signal"),
    });
    Ok(())
}
