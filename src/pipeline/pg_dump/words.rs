//! What PostgreSQL's tools say: error lines, end markers, lists, and the script of the roles.

use std::io::BufRead as _;
use std::path::Path;

use chrono::{DateTime, NaiveDateTime, Utc};
use tokio::io::AsyncReadExt as _;

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::process::Finished;
use crate::service::{Reading, Running};

/// The last line but a few of a plain dump (pg_dump's own marker), and of one of the cluster.
pub const DUMP_END: &str = "-- PostgreSQL database dump complete";
const GLOBALS_END: &str = "-- PostgreSQL database cluster dump complete";

/// Success means exit code 0 and not one error in all that the tool said.
pub fn strict(finished: Finished) -> Result<()> {
    let finished = finished.ok()?;
    let log = std::fs::File::open(&finished.log);
    let log = log.doing_with(|| format!("read {}", finished.log.display()))?;
    let mut lines = std::io::BufReader::new(log).split(b'\n').skip(1);
    let found = lines.find_map(|line| {
        let line = line.ok()?;
        let line = String::from_utf8_lossy(&line);
        is_error(&line).then(|| line.into_owned())
    });
    match found {
        None => Ok(()),
        Some(line) => {
            let program = finished
                .command
                .split_whitespace()
                .next()
                .unwrap_or("the tool")
                .to_owned();
            Err(
                Error::failed(format!("{program} ended with exit code 0 but said: {line}"))
                    .hint(format!("the whole log is {}", finished.log.display())),
            )
        }
    }
}

/// Whether a line on standard error tells of an error (PostgreSQL's own log format, `src/common/logging.c`).
fn is_error(line: &str) -> bool {
    let levels = ["ERROR:", "FATAL:", "PANIC:", ": error:", ": fatal:"];
    levels.iter().any(|level| line.contains(level)) || line.contains("errors ignored on restore")
}

/// Fails unless a plain dump ends as pg_dump ends it: cut anywhere, it would restore without a word.
pub async fn check_end(ctx: &Context, server: &dyn Running, path: &Path) -> Result<()> {
    let tail = server
        .tool("tail")
        .args(["-c", "1024"])
        .arg(path)
        .run(ctx)
        .await?
        .ok()?;
    if String::from_utf8_lossy(&tail.stdout)
        .lines()
        .any(|line| line == DUMP_END)
    {
        return Ok(());
    }
    Err(Error::failed(format!(
        "the dump does not end with \"{DUMP_END}\": it was cut"
    ))
    .hint("restore an older backup; this one holds less than was dumped"))
}

/// The cluster's script, whole: its own end marker is there.
pub async fn complete_globals(mut input: Reading) -> Result<String> {
    let mut text = String::new();
    input
        .read_to_string(&mut text)
        .await
        .doing("read the roles")?;
    if text.lines().any(|line| line == GLOBALS_END) {
        return Ok(text);
    }
    Err(Error::failed(format!(
        "the roles do not end with \"{GLOBALS_END}\": they were cut"
    )))
}

/// The cluster's script with each `CREATE ROLE` made conditional; nothing else may fail. The login that restores
/// (`own`) keeps the password it has on the target: the target's, not the source's.
pub fn forgiving(globals: &str, own: &str) -> String {
    const TAG: &str = "$redrill_role$";
    let alters_own = format!("ALTER ROLE {own} WITH ");
    let mut script = String::with_capacity(globals.len() * 2);
    for line in globals.lines() {
        if line.starts_with("CREATE ROLE ") && line.ends_with(';') && !line.contains(TAG) {
            script.push_str(&format!(
                "DO {TAG} BEGIN {line} EXCEPTION WHEN duplicate_object THEN NULL; END {TAG};\n"
            ));
        } else if let (true, Some((attributes, _))) = (
            line.starts_with(&alters_own),
            line.rsplit_once(" PASSWORD '"),
        ) {
            script.push_str(attributes);
            script.push_str(";\n");
        } else {
            script.push_str(line);
            script.push('\n');
        }
    }
    script
}

/// The instant in the line `;     Archive created at 2025-01-12 03:00:00 UTC` of a TOC.
pub fn created(list: &str) -> Option<DateTime<Utc>> {
    let (_, rest) = list.split_once("Archive created at ")?;
    let line = rest.lines().next()?.trim();
    let text = line
        .strip_suffix(" UTC")
        .or_else(|| line.strip_suffix(" GMT"))?;
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S")
        .ok()
        .map(|time| time.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_exists_is_no_error_and_anything_else_is() {
        let script = forgiving(
            "-- Roles\nCREATE ROLE \"o;dd\";\nALTER ROLE \"o;dd\" WITH LOGIN;\n",
            "postgres",
        );
        assert_eq!(
            script,
            "-- Roles\nDO $redrill_role$ BEGIN CREATE ROLE \"o;dd\"; EXCEPTION WHEN duplicate_object THEN NULL; \
             END $redrill_role$;\nALTER ROLE \"o;dd\" WITH LOGIN;\n"
        );
    }

    #[test]
    fn the_login_that_restores_keeps_its_own_password() {
        let line = |role: &str| {
            format!("ALTER ROLE {role} WITH LOGIN PASSWORD 'SCRAM-SHA-256$4096:x$y:z';\n")
        };
        let script = forgiving(&(line("postgres") + &line("app")), "postgres");
        assert_eq!(
            script,
            "ALTER ROLE postgres WITH LOGIN;\n".to_owned() + &line("app")
        );
    }

    #[test]
    fn errors_are_told_from_other_words() {
        for line in [
            "pg_restore: error: could not execute query: ERROR:  role \"x\" does not exist",
            "pg_restore: warning: errors ignored on restore: 3",
            "psql:db.sql:7: ERROR:  syntax error",
        ] {
            assert!(is_error(line), "{line}");
        }
        assert!(!is_error("pg_restore: connecting to database for restore"));
        assert!(!is_error("WARNING:  no privileges were granted for \"x\""));
    }

    #[test]
    fn the_time_of_an_archive_is_read_from_its_list() {
        let list = ";\n; Archive created at 2025-01-12 03:00:01 UTC\n;     dbname: x\n";
        assert_eq!(
            created(list).map(|time| time.to_rfc3339()).as_deref(),
            Some("2025-01-12T03:00:01+00:00")
        );
        assert_eq!(
            created("; Archive created at 2025-01-12 03:00:01 CET\n"),
            None
        );
    }
}
