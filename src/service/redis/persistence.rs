//! What a Redis server writes to its disk beside its work, and waiting for that.

use std::time::Duration;

use super::client::{Client, Info};
use crate::context::Context;
use crate::error::{Error, Kind, Result};

/// How often the server is asked how far it is.
const INTERVAL: Duration = Duration::from_millis(10);

/// Waits until the append-only file, which was turned on or is being rewritten, has all that the server holds.
pub async fn rewritten(ctx: &Context, client: &mut Client, deadline: Duration) -> Result<()> {
    let what = "writing its append-only file";
    let info = until(ctx, client, deadline, what, |info| {
        info.flag("aof_enabled")
            && !info.flag("aof_rewrite_in_progress")
            && !info.flag("aof_rewrite_scheduled")
    })
    .await?;
    let status = info.text("aof_last_bgrewrite_status");
    if status != "ok" {
        return Err(Error::failed(format!(
            "redis could not write its append-only file (aof_last_bgrewrite_status:{status})"
        ))
        .hint("read the log of redis-server: a full disk is the usual reason"));
    }
    Ok(())
}

/// Waits until no child process of the server works (it has one at a time), and returns what it says then.
pub async fn idle(ctx: &Context, client: &mut Client, deadline: Duration) -> Result<Info> {
    until(ctx, client, deadline, "its background work", |info| {
        [
            "rdb_bgsave_in_progress",
            "aof_rewrite_in_progress",
            "aof_rewrite_scheduled",
            "module_fork_in_progress",
        ]
        .into_iter()
        .all(|field| !info.flag(field))
    })
    .await
}

/// Asks `INFO persistence` until it is as wanted.
async fn until(
    ctx: &Context,
    client: &mut Client,
    deadline: Duration,
    what: &str,
    wanted: impl Fn(&Info) -> bool,
) -> Result<Info> {
    let asking = async {
        loop {
            ctx.go_on()?;
            let info = client.info("persistence").await?;
            if wanted(&info) {
                return Ok(info);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    tokio::time::timeout(deadline, asking)
        .await
        .unwrap_or_else(|_| {
            Err(Error::new(
                Kind::TimedOut,
                format!(
                    "redis did not end {what} within {}",
                    humantime::format_duration(deadline)
                ),
            )
            .hint("read the log of redis-server, and see whether its disk is fast enough"))
        })
}
