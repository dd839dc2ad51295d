//! What the kernel keeps of a server that was killed, until somebody removes it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use libtest_mimic::{Completion, Failed};
use redrill::context::{Context, RunId};
use redrill::provision::local::Local;
use redrill::provision::{Provisioner, Wanted};
use redrill::service::Stop;
use redrill::suite::Engine;
use tokio_util::sync::CancellationToken;

/// The ids of all shared memory by System V.
fn system_v() -> Result<BTreeSet<String>, Failed> {
    let table = std::fs::read_to_string("/proc/sysvipc/shm")?;
    let ids = table.lines().skip(1);
    let ids = ids.filter_map(|line| Some(line.split_whitespace().nth(1)?.to_owned()));
    Ok(ids.collect())
}

/// A killed Postgres does not remove its shared memory: after some thousands of them, no other would start any more.
pub fn a_killed_postgres_leaves_no_shared_memory() -> Result<(), Failed> {
    let dir = tempfile::Builder::new().prefix("rdend").tempdir()?;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
    let wanted = Wanted {
        name: "db".to_owned(),
        engine: Engine::Postgres,
        version: None,
        settings: [("wal_segment_size".to_owned(), "1MB".to_owned())].into(),
    };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let (run, cancel) = (RunId::from_text("ended"), CancellationToken::new());
        let ctx = Context::new(run, dir.path().join("run"), dir.path().join("logs"), cancel)?;
        let server = Local.start(&ctx, &wanted).await?;
        let mut held = Vec::new();
        for ends in ["killed and started again", "halted", "removed"] {
            // Its process, and the id of its shared memory: the first line, and the last word of the seventh.
            let said = std::fs::read_to_string(server.data_dir().join("postmaster.pid"))?;
            let lines: Vec<&str> = said.lines().collect();
            let id = lines.get(6).and_then(|line| line.split_whitespace().last());
            let id = id.ok_or("no id")?.to_owned();
            // As the server's own user, who may look into it.
            let maps = server.tool("cat").arg(format!("/proc/{}/maps", lines[0]));
            let maps = maps.run(&ctx).await?.ok()?.text();
            let files: BTreeSet<PathBuf> = maps
                .lines()
                .filter_map(|line| line.split_whitespace().nth(5))
                .filter(|path| path.starts_with("/dev/shm/PostgreSQL."))
                .map(PathBuf::from)
                .collect();
            assert!(system_v()?.contains(&id) && !files.is_empty(), "{ends}");
            held.push((id, files));
            match ends {
                "halted" => {
                    server.halt(&ctx).await?;
                    server.restart(&ctx, Stop::Clean).await?;
                }
                "removed" => server.remove(&ctx).await?,
                _ => server.restart(&ctx, Stop::Kill).await?,
            }
        }
        for (id, files) in held {
            assert!(!system_v()?.contains(&id), "{id} is still there");
            for file in files {
                assert!(!file.exists(), "{} is still there", file.display());
            }
        }
        Ok(())
    })
}

/// A server that is lost.
const LOST: &str = r#"
[component.db]
kind = "postgres"
[backup.nightly]
schedule = "0 2 * * *"
[scenario.lost]
strike = [{ component = "db", fault = "server-lost" }]
rpo = "25h"
rto = "15m"
"#;
/// A place of its own for shared memory (which the test's directory may be below), and what root may do in most
/// containers: not look into another user's processes, nor remove what that user shares. What is left there at the end is
/// printed.
const CONFINED: &str = r#"mount --bind "$TMPDIR" /mnt
export TMPDIR=/mnt
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
setpriv --bounding-set=-sys_ptrace,-sys_admin,-ipc_owner --inh-caps=-sys_ptrace,-sys_admin,-ipc_owner "$@" >&2
ls /dev/shm
tail -n +2 /proc/sysvipc/shm"#;

pub fn a_killed_postgres_leaves_no_shared_memory_where_root_may_not_look_into_it()
-> Result<Completion, Failed> {
    let apart = |script: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--ipc", "sh", "-ec", script, "sh"]);
        unshare
    };
    let root = nix::unistd::Uid::effective().is_root();
    if !root || !apart("setpriv --version").output()?.status.success() {
        let why = "it takes root who may have name spaces, and setpriv";
        return Ok(Completion::ignored_with(why));
    }
    let dir = tempfile::Builder::new().prefix("rdconf").tempdir()?;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
    std::fs::write(dir.path().join("lost.toml"), LOST)?;
    let drilled = apart(CONFINED)
        .arg(env!("CARGO_BIN_EXE_redrill"))
        .args(["drill", "--services", "local", "--quiet"])
        .args(["--out", "/mnt/reports", "/mnt/lost.toml"])
        .env("TMPDIR", dir.path())
        .output()?;
    let said = String::from_utf8_lossy(&drilled.stderr);
    assert!(drilled.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&drilled.stdout), "", "is left");
    Ok(Completion::Completed)
}
