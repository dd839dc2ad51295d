//! The archived WAL that a recovery replays: what the repository has, listed once, and the `restore_command` that goes by
//! that list.
//!
//! A name that is not in the list ends a recovery; everything else that can go wrong must stop it. Not here: how a listed
//! name is brought, which each pipeline says in a script of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::context::Context;
use crate::error::Result;
use crate::repository::wal::Name;
use crate::service::{Reading, Running, write_file};
use crate::suite::RecoveryTarget;

use super::archiver;
use super::chain::Chain;

const SCRIPT: &str = include_str!("fetch.sh");

/// The archived WAL that continues a backup.
#[derive(Debug, Clone)]
pub struct Log {
    /// Where its list and the scripts lie, as the target's tools see it.
    pub(in crate::pipeline) dir: PathBuf,
    /// What it continues, how far, and where it breaks off.
    pub chain: Chain,
    /// What the repository has by each name: bytes and a checksum, or `-` and why it is of no use.
    pub(in crate::pipeline) entries: BTreeMap<String, String>,
    /// The repository's name.
    pub(in crate::pipeline) repository: String,
}

/// Installs the scripts in `dir`: the common one, and `get`, which brings a listed name.
pub(in crate::pipeline) async fn install(
    ctx: &Context,
    server: &dyn Running,
    dir: &Path,
    get: &str,
) -> Result<()> {
    let script = format!("{SCRIPT}{get}");
    write_file(ctx, server, &dir.join("fetch.sh"), text(&script)).await
}

/// Writes the list that the server's fetches go by, and returns the `restore_command`.
pub async fn restore_command(
    ctx: &Context,
    server: &dyn Running,
    log: &Log,
    target: &RecoveryTarget,
) -> Result<String> {
    let given_up = match (target, &log.chain.broken) {
        (RecoveryTarget::Unbroken, Some((segment, _))) => Some(*segment),
        _ => None,
    };
    let given_up = |name: &str| {
        let segment = match Name::parse(name) {
            Some(Name::Segment(segment)) => segment,
            _ => return false,
        };
        given_up.is_some_and(|first| segment.place() >= first.place())
    };
    let mut list = String::new();
    for (name, line) in log.entries.iter().filter(|(name, _)| !given_up(name)) {
        list += &format!("{name} {line}\n");
    }
    list += "end\n";
    write_file(ctx, server, &log.dir.join("listing"), text(&list)).await?;
    let script = archiver::text(&log.dir.join("fetch.sh"));
    let dir = archiver::text(&log.dir);
    let fetch = archiver::command(&["sh", &script, "%f", "%p", &dir]);
    // 1 to 125 mean "not there", and end the recovery: only one answer may. A shell that fails to start counts as trouble.
    Ok(format!(
        "{fetch}; case $? in 0) exit 0;; 10) exit 1;; *) exit 126;; esac"
    ))
}

fn text(text: &str) -> Reading {
    Box::new(std::io::Cursor::new(text.as_bytes().to_vec()))
}
