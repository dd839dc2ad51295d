//! The statistics file of a backup: every table with what was written to it, its rows and its size, largest first, as a
//! text that an operator reads beside a restored database. Nothing is restored from it.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use super::whole::Whole;
use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::service::{Reading, Service};

/// Rows are as the server estimates them: counting them is the restore check's work. A table is one line, whatever its
/// name.
const TABLES: &str = "
select regexp_replace(schemaname, '[[:cntrl:]]', '?', 'g') as schema,
  regexp_replace(relname, '[[:cntrl:]]', '?', 'g') as table, n_tup_ins as inserts, n_tup_upd as updates, n_tup_del as deletes,
  n_live_tup as live_rows, n_dead_tup as dead_rows, pg_total_relation_size(relid) as bytes,
  pg_size_pretty(pg_total_relation_size(relid)) as size
from pg_stat_user_tables order by pg_total_relation_size(relid) desc, schemaname, relname";

/// The file as a stream that ends in an error unless psql ends with 0.
pub(super) fn stream(ctx: &Context, source: &dyn Service, deadline: Duration) -> Result<Reading> {
    let psql = source
        .server()
        .tool("psql")
        .args([
            "-X",
            "-v",
            "ON_ERROR_STOP=1",
            "--pset=footer=on",
            "--pset=pager=off",
        ])
        .arg(format!("--dbname={}", source.database()))
        .arg(format!("--command={TABLES}"))
        .deadline(deadline);
    Ok(Box::new(Whole::of(psql.stream(ctx)?)))
}

/// Fails unless the file ends with the number of its rows, as psql ends it, and that number is right.
pub(super) async fn complete(mut input: Reading) -> Result<()> {
    let mut text = String::new();
    input
        .read_to_string(&mut text)
        .await
        .doing("read the statistics")?;
    if is_complete(&text) {
        return Ok(());
    }
    Err(Error::failed(
        "the statistics do not end with the number of their rows: they were cut",
    ))
}

/// A title, a line, the rows, and `(3 rows)`.
fn is_complete(text: &str) -> bool {
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let Some((last, rest)) = lines.split_last() else {
        return false;
    };
    let told = last
        .strip_prefix('(')
        .and_then(|last| last.strip_suffix(" rows)").or(last.strip_suffix(" row)")))
        .and_then(|number| number.parse::<usize>().ok());
    told.is_some() && told == rest.len().checked_sub(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_that_were_cut_anywhere_are_not_complete() {
        let text = " schema | table\n--------+-------\n core   | teams\n(1 row)\n\n";
        assert!(is_complete(text));
        for end in 0..text.len() - 3 {
            assert!(!is_complete(&text[..end]), "cut at {end}");
        }
        assert!(!is_complete(&text.replace("(1 row)", "(2 rows)")));
    }
}
