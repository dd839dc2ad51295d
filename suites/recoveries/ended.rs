//! What the kernel keeps of a server that was killed, until somebody removes it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use libtest_mimic::Failed;
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
    use std::os::unix::fs::PermissionsExt;
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
            let maps = std::fs::read_to_string(format!("/proc/{}/maps", lines[0]))?;
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
