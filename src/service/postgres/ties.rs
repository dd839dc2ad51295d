//! What ties a recovered server to others, as it runs now: where it archives, whom it follows and feeds, which
//! subscriptions are at work, what runs jobs by itself. Asked of the server, whatever its settings were meant to be.
//!
//! Not here: how a recovery cuts them (see [`crate::pipeline::physical`]).

use crate::context::Context;
use crate::error::Result;
use crate::evidence::TiesFact;
use crate::service::Running;
use crate::service::postgres::session::Session;

/// Libraries that start jobs by themselves, which a recovered copy must not. What they keep in tables can be read without
/// them.
const SCHEDULERS: [&str; 4] = ["pg_cron", "pg_partman_bgw", "pgpro_scheduler", "pg_task"];

/// Of a server that is the copy's alone.
const OF_THE_SERVER: &str = "
select 'archive_mode is ' || current_setting('archive_mode') where current_setting('archive_mode') <> 'off'
-- While archive_mode is off these are not shown as they are set.
union all select name || ' is set' from pg_settings where name in ('archive_command', 'archive_library') and reset_val <> ''
union all select 'primary_conninfo is set' where current_setting('primary_conninfo') <> ''
union all select 'it is a standby' where pg_is_in_recovery()
union all select 'it follows a primary: ' || status from pg_stat_wal_receiver
union all select 'it sends WAL to ' || application_name from pg_stat_replication
union all select 'a subscription is at work: ' || subname from pg_stat_subscription where pid is not null
union all select 'a replication slot holds WAL: ' || slot_name from pg_replication_slots";

/// Of one database, or of all. Without workers a subscription is none but in name.
const SUBSCRIPTIONS: &str = "
select format('subscription %I of database %I is enabled', s.subname, d.datname)
from pg_subscription s join pg_database d on d.oid = s.subdbid
where s.subenabled and current_setting('max_logical_replication_workers')::integer > 0";

/// Processes that are none of PostgreSQL's own, with what they say that they are.
const WORKERS: &str = "
select distinct backend_type from pg_stat_activity where backend_type not in ('client backend', 'parallel worker', 'startup',
  'checkpointer', 'background writer', 'walwriter', 'walsummarizer', 'archiver', 'logger', 'io worker', 'standalone backend',
  'autovacuum launcher', 'autovacuum worker', 'walreceiver', 'walsender', 'slotsync worker', 'logical replication launcher',
  'logical replication worker', 'logical replication apply worker', 'logical replication parallel worker',
  'logical replication tablesync worker', 'autoprewarm leader', 'autoprewarm worker') order by 1";

/// The libraries that `shared_preload_libraries` names, as it names them: any of them may stand in double quotes.
pub fn preloaded(setting: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let names = setting.split(move |character| {
        quoted ^= character == '"';
        character == ',' && !quoted
    });
    names.map(str::trim).filter(|name| !name.is_empty())
}

/// The scheduler that a library of that name is, wherever it lies (`"$libdir/pg_cron"`, `/opt/lib/pg_cron.so`).
pub fn scheduler(library: &str) -> Option<&'static str> {
    let file = library.trim_matches('"').rsplit('/').next()?;
    let name = file.strip_suffix(".so").unwrap_or(file);
    SCHEDULERS.into_iter().find(|known| *known == name)
}

/// Asks about the whole server, or, where it is not the copy's alone, only about what came back in this database.
pub async fn ask(ctx: &Context, server: &dyn Running, only: Option<&str>) -> Result<TiesFact> {
    let session = Session::open(ctx, server, only.unwrap_or("template1")).await?;
    let list = async |sql: &str| -> Result<Vec<String>> {
        let rows = session.rows(ctx, sql).await?;
        Ok(rows.into_iter().flatten().flatten().collect())
    };
    if only.is_some() {
        let here = format!("{SUBSCRIPTIONS} and d.datname = current_database()");
        return Ok(TiesFact {
            ties: list(&here).await?,
            workers: Vec::new(),
        });
    }
    let mut ties = list(OF_THE_SERVER).await?;
    let libraries = session.value(ctx, "show shared_preload_libraries").await?;
    let libraries = libraries.unwrap_or_default();
    let schedulers = preloaded(&libraries).filter_map(scheduler);
    ties.extend(schedulers.map(|name| format!("it preloads {name}")));
    ties.extend(list(SUBSCRIPTIONS).await?);
    Ok(TiesFact {
        ties,
        workers: list(WORKERS).await?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheduler_is_known_by_its_name_wherever_it_lies_and_however_it_is_quoted() {
        let of =
            |setting: &str| -> Vec<&str> { preloaded(setting).filter_map(scheduler).collect() };
        for setting in [
            "pg_cron",
            " pg_stat_statements ,\tpg_cron",
            "\"$libdir/pg_cron\", auto_explain",
            "$libdir/pg_cron.so",
            "\"/opt/a, b/pg_cron\"",
        ] {
            assert_eq!(of(setting), ["pg_cron"], "{setting}");
        }
        assert_eq!(
            of("pg_task,\"pg_partman_bgw\""),
            ["pg_task", "pg_partman_bgw"]
        );
        for setting in [
            "",
            "pg_cron_stats, \"$libdir/pg_cron/other\"",
            "auto_explain",
        ] {
            assert_eq!(of(setting), [""; 0], "{setting}");
        }
        let all: Vec<&str> = preloaded("a, \"b, c\" ,d").collect();
        assert_eq!(all, ["a", "\"b, c\"", "d"]);
    }
}
