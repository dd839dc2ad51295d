//! The archiver of a source: what it is pointed at, having it archive the segment that the server writes, and what it says
//! when it falls behind.
//!
//! Not here: what its `archive_command` does with a segment.

use std::collections::BTreeMap;
use std::path::Path;

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::process::quoted;
use crate::provision::ready;
use crate::repository::wal::{Name, Segment};
use crate::service::Running;
use crate::service::postgres::session::{Session, literal};

/// After so many failures the archiver has given up for a minute: it fails at three tries a second apart.
const FAILURES: u64 = 3;

/// Settings that a source must be started with. The switches follow the drill's clock, not the server's.
pub fn settings() -> BTreeMap<String, String> {
    [
        ("wal_level", "replica"),
        ("archive_mode", "on"),
        ("archive_timeout", "0"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// A command line for a setting that Postgres hands to a shell: `%p` and `%f` are its own.
pub fn command(words: &[&str]) -> String {
    let word = |word: &&str| match *word {
        "%p" | "%f" => format!("\"{word}\""),
        _ => quoted(word).replace('%', "%%"),
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Points the server's `archive_command` at a command line, unless it archives with another one already.
pub async fn point_at(ctx: &Context, server: &dyn Running, archive: &str) -> Result<()> {
    let session = Session::open(ctx, server, "postgres").await?;
    let show = |name: &str| format!("select current_setting({})", literal(name));
    for (name, wanted) in [
        ("archive_mode", &["on", "always"][..]),
        ("wal_level", &["replica", "logical"]),
    ] {
        let found = session.value(ctx, &show(name)).await?.unwrap_or_default();
        if !wanted.contains(&found.as_str()) {
            return Err(
                Error::failed(format!("the server runs with {name} = {found}")).hint(format!(
                    "continuous archiving wants {name} = {}, from the server's start",
                    wanted[0]
                )),
            );
        }
    }
    let found = session.value(ctx, &show("archive_command")).await?;
    let found = found.unwrap_or_default();
    if !["", "(disabled)", archive].contains(&found.as_str()) {
        return Err(
            Error::refused(format!("the server archives already, with {found}"))
                .hint("a server has one archive: give it one backup that archives"),
        );
    }
    let timeline = "select timeline_id from pg_control_checkpoint()";
    if found != archive && session.value(ctx, timeline).await?.as_deref() == Some("1") {
        // No base backup can want what a new cluster has written before its first one: none of it is archived.
        set(ctx, &session, "true").await?;
        let behind = "select 1 from pg_ls_archive_statusdir() where name like '%.ready'";
        let caught_up = || async {
            match session.value(ctx, behind).await? {
                None => Ok(()),
                Some(_) => Err(Error::failed("it has not passed over all segments")),
            }
        };
        ready::until(
            ctx,
            "the archiver",
            ready::deadline(),
            ready::lasting,
            caught_up,
        )
        .await?;
    }
    set(ctx, &session, archive).await
}

/// Sets the `archive_command`, and waits until the server goes by it.
async fn set(ctx: &Context, session: &Session, archive: &str) -> Result<()> {
    let set = format!("alter system set archive_command = {}", literal(archive));
    session.run(ctx, &set).await?;
    session.run(ctx, "select pg_reload_conf()").await?;
    let taken = || async {
        let show = "select current_setting('archive_command')";
        match session.value(ctx, show).await? {
            Some(found) if found == archive => Ok(()),
            _ => Err(Error::failed("the server still has the old setting")),
        }
    };
    ready::until(
        ctx,
        "archive_command",
        ready::deadline(),
        ready::lasting,
        taken,
    )
    .await
}

/// Fails when the archiver's last try failed: a base backup would wait for it in vain.
pub async fn is_well(ctx: &Context, session: &Session) -> Result<()> {
    let failing = session
        .value(
            ctx,
            "select last_failed_wal from pg_stat_archiver where last_failed_time > coalesce(last_archived_time, '-infinity')",
        )
        .await?;
    match failing {
        None => Ok(()),
        Some(segment) => Err(behind(ctx, session, &segment, "failed").await),
    }
}

/// Has the server finish the segment that it writes, and waits until that one is archived. Returns the last segment
/// that is archived now; when nothing was written since, it is the same as before.
pub async fn switch(ctx: &Context, session: &Session) -> Result<Segment> {
    let failures = failed(ctx, session).await?;
    // The byte before: at a segment's very start, PostgreSQL 15 names the segment before it, and 17 this one.
    let name = session
        .value(ctx, "select pg_walfile_name(pg_switch_wal() - 1)")
        .await?
        .unwrap_or_default();
    let Some(Name::Segment(segment)) = Name::parse(&name) else {
        return Err(Error::defect(format!(
            "the server names a segment {name:?}"
        )));
    };
    let waiting = format!(
        "select 1 from pg_ls_archive_statusdir() where name <= ({} || '.ready') collate \"C\" and name ~ '^[0-9A-F]{{24}}\\.ready$'",
        literal(&name)
    );
    // The inner error is one that waiting does not mend.
    let archived = ready::until(
        ctx,
        "the archiver",
        ready::deadline(),
        ready::lasting,
        || async {
            if session.value(ctx, &waiting).await?.is_none() {
                return Ok(Ok(()));
            }
            if failed(ctx, session).await? >= failures + FAILURES {
                return Ok(Err("failed"));
            }
            Err(Error::failed(format!("{name} is not archived yet")))
        },
    )
    .await;
    match archived {
        Ok(Ok(())) => Ok(segment),
        Ok(Err(words)) => Err(behind(ctx, session, &name, words).await),
        Err(error) if error.kind() == crate::error::Kind::TimedOut => {
            Err(behind(ctx, session, &name, "did not end in time").await)
        }
        Err(error) => Err(error),
    }
}

async fn failed(ctx: &Context, session: &Session) -> Result<u64> {
    let count = session
        .value(ctx, "select failed_count from pg_stat_archiver")
        .await?;
    Ok(count.and_then(|count| count.parse().ok()).unwrap_or(0))
}

/// An archiver that falls behind: how far, and what is at risk.
async fn behind(ctx: &Context, session: &Session, segment: &str, how: &str) -> Error {
    let asked = session
        .rows(
            ctx,
            "select count(*), min(name), (select last_archived_wal from pg_stat_archiver), \
             (select date_trunc('second', last_archived_time) from pg_stat_archiver) \
             from pg_ls_archive_statusdir() where name ~ '^[0-9A-F]{24}\\.ready$'",
        )
        .await;
    let row = asked.ok().and_then(|rows| rows.into_iter().next());
    let word = |at: usize| {
        let word = row.as_ref().and_then(|row| row.get(at)?.clone());
        word.map_or_else(|| "none".to_owned(), |word| word.replace(".ready", ""))
    };
    Error::failed(format!(
        "the archiver is behind: archive_command {how} for {segment}; {} segments wait, the oldest is {}, the last one \
         archived is {} (at {}): what was committed after it is in no repository",
        word(0),
        word(1),
        word(2),
        word(3)
    ))
    .hint("the server's log has archive_command's words: a full disk and an archive that cannot be written to are the usual reasons")
}

/// A segment that the server believes archived, and that a repository does not hold.
pub fn not_there(segment: Segment, repository: &str) -> Error {
    Error::failed(format!(
        "the server says that {segment} is archived, and it is not in repository {repository}: what was committed in it \
         is in none"
    ))
    .hint("its archive_command succeeds without storing anything: see what it was changed to")
}

/// A path in a command line or a setting.
pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Asks for the bytes of a segment.
pub async fn segment_size(ctx: &Context, session: &Session) -> Result<u64> {
    session
        .value(
            ctx,
            "select setting from pg_settings where name = 'wal_segment_size'",
        )
        .await?
        .and_then(|size| size.parse().ok())
        .ok_or_else(|| Error::failed("the server does not say how large a WAL segment is"))
        .doing("ask for wal_segment_size")
}

/// The identity of a cluster, which its WAL carries.
pub async fn cluster(ctx: &Context, session: &Session) -> Result<String> {
    let cluster = session
        .value(ctx, "select system_identifier from pg_control_system()")
        .await?;
    cluster.ok_or_else(|| Error::failed("the server does not say which cluster it is"))
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn a_path_cannot_break_out_of_the_command_nor_be_taken_for_a_placeholder() {
        assert_eq!(
            command(&["sh", "/a b/it's/50%f", "%p"]),
            r#"sh '/a b/it'\''s/50%%f' "%p""#
        );
    }
}
