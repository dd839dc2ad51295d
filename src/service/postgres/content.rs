//! What a database holds, table by table: a row count and two order-free sums of seeded 64-bit row hashes, computed
//! in the server; nothing of a row leaves it.
//!
//! A row is hashed as the text of `row(column, …)` with its columns in the order of their names, so that neither dropped
//! columns nor the order in which an inheriting table was put together matter, and every type can be hashed, which
//! `hash_record_extended` cannot (json, point, xml have no hash function). NULL and the empty string differ in that
//! text, as do -0 and 0 and the scale of a numeric; NaN equals NaN. A sum (and not an exclusive or) keeps equal rows from
//! cancelling. Rows are read with `only`, so that each is counted in the one table that stores it.
//!
//! Rows of materialized views are told apart: a copy of the files has them as they were, a dump's restore fills them anew from
//! the tables. Left out: foreign tables, temporary tables, and tables of extensions except those that dumps carry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::evidence::{Digest, Part};
use crate::service::postgres::session::{Row, Session};

/// The seeds of the two row hashes: arbitrary, but fixed, as fingerprints of different runs are compared.
const SEEDS: [i64; 2] = [0x243f_6a88_85a3_08d3, 0x1e37_79b9_7f4a_7c15];
/// A table is read in slices of so many pages (64 MiB), so that two connections can share a large one.
const SLICE_PAGES: u64 = 8192;
/// The part that holds all large objects.
pub const LARGE_OBJECTS: &str = "large objects";

/// What still has to be read, and what has been.
#[derive(Debug, Default)]
pub struct Reading {
    jobs: Mutex<Vec<Job>>,
    sums: Mutex<BTreeMap<String, Sums>>,
    unreadable: Mutex<BTreeMap<String, String>>,
    /// Those of the parts that are materialized views.
    derived: BTreeSet<String>,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Read {
    /// Rows of tables.
    pub parts: BTreeMap<Arc<str>, Part>,
    /// Rows of materialized views.
    pub derived: BTreeMap<Arc<str>, Part>,
    /// What could not be read, with the server's words.
    pub unreadable: BTreeMap<String, String>,
}

/// One statement, giving a count and two sums for a part.
#[derive(Debug)]
struct Job {
    part: String,
    sql: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Sums {
    count: u64,
    hashes: [u64; 2],
}

impl Reading {
    /// Lists everything that is to be read, largest first.
    pub async fn plan(ctx: &Context, session: &Session) -> Result<Self> {
        let mut jobs = Vec::new();
        let mut derived = BTreeSet::new();
        let views = session.rows(ctx, VIEWS).await?;
        let tables = session.rows(ctx, TABLES).await?;
        let marked = |rows: Vec<Row>, derived| rows.into_iter().map(move |row| (row, derived));
        for (row, is_derived) in marked(tables, false).chain(marked(views, true)) {
            let [Some(name), Some(columns), Some(pages)] = row.as_slice() else {
                return Err(Error::defect("the list of tables has an unexpected shape"));
            };
            if is_derived {
                derived.insert(name.clone());
            }
            let pages: u64 = pages.parse().unwrap_or(0);
            jobs.extend(slices(pages).map(|condition| Job {
                part: name.clone(),
                sql: hashed(&format!(
                    "select row({columns})::text as r from only {name}{condition}"
                )),
            }));
        }
        if large_objects(ctx, session).await? > 0 {
            jobs.push(Job {
                part: LARGE_OBJECTS.to_owned(),
                sql: hashed(LARGE_OBJECT_TEXTS),
            });
        }
        // Taken from the end.
        jobs.reverse();
        Ok(Self {
            jobs: Mutex::new(jobs),
            derived,
            ..Self::default()
        })
    }

    /// Works until nothing is left to read; any number of sessions may work at once. The session must be in a transaction. What
    /// the server refuses to read is noted; an error means that the session itself has ended, with the part noted too.
    pub async fn work(&self, ctx: &Context, session: &Session) -> Result<()> {
        loop {
            let job = self
                .jobs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop();
            let Some(job) = job else { return Ok(()) };
            match session.attempt(ctx, &job.sql).await {
                Ok(Ok(rows)) => {
                    let sums = Sums::of(&rows).ok_or_else(|| {
                        Error::defect(format!("the sums of {} have an unexpected shape", job.part))
                    })?;
                    let mut all = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
                    all.entry(job.part).or_default().add(sums);
                }
                Ok(Err(complaint)) => self.note_unreadable(job.part, complaint.words),
                Err(error) => {
                    self.note_unreadable(job.part, error.message());
                    return Err(error);
                }
            }
        }
    }

    /// Whether everything has been read or found unreadable.
    pub fn is_done(&self) -> bool {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    fn note_unreadable(&self, part: String, words: String) {
        let mut all = self
            .unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.entry(part).or_insert(words);
    }

    /// What was read, and what could not be: a part is in one of the two.
    pub fn finish(self) -> Read {
        let unreadable = self
            .unreadable
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let sums = self
            .sums
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let (mut parts, mut derived) = (BTreeMap::new(), BTreeMap::new());
        for (name, sums) in sums {
            if unreadable.contains_key(&name) {
                continue;
            }
            let own = if self.derived.contains(&name) {
                &mut derived
            } else {
                &mut parts
            };
            own.insert(name.into(), sums.part());
        }
        Read {
            parts,
            derived,
            unreadable,
        }
    }
}

impl Sums {
    fn of(rows: &[Row]) -> Option<Self> {
        let [row] = rows else { return None };
        let [Some(count), Some(first), Some(second)] = row.as_slice() else {
            return None;
        };
        Some(Self {
            count: count.parse().ok()?,
            hashes: [reduced(first)?, reduced(second)?],
        })
    }

    fn add(&mut self, other: Self) {
        self.count += other.count;
        for (mine, theirs) in self.hashes.iter_mut().zip(other.hashes) {
            *mine = mine.wrapping_add(theirs);
        }
    }

    fn part(self) -> Part {
        let [first, second] = self.hashes;
        Part {
            count: self.count,
            hash: Digest::from(u128::from(first) << 64 | u128::from(second)),
        }
    }
}

/// A sum of signed 64-bit numbers, modulo 2^64. (2^64 rows would be needed for the sum to leave 128 bits.)
fn reduced(sum: &str) -> Option<u64> {
    sum.parse::<i128>().ok().map(|sum| sum as u64)
}

/// The statement that counts and hashes the one column `r` of a query.
fn hashed(texts: &str) -> String {
    let [first, second] = SEEDS;
    // `offset 0` keeps the planner from computing the text once for each hash.
    format!(
        "select count(*), coalesce(sum(hashtextextended(r, {first})), 0), coalesce(sum(hashtextextended(r, {second})), 0) \
         from ({texts} offset 0) as t"
    )
}

/// The conditions that cut a table of so many pages into slices; the last one is open, for a table that has grown.
fn slices(pages: u64) -> impl Iterator<Item = String> {
    let count = pages.div_ceil(SLICE_PAGES).max(1);
    (0..count).map(move |slice| {
        let from = slice * SLICE_PAGES;
        let to = from + SLICE_PAGES;
        match (slice == 0, slice + 1 == count) {
            (true, true) => String::new(),
            (true, false) => format!(" where ctid < '({to},0)'"),
            (false, true) => format!(" where ctid >= '({from},0)'"),
            (false, false) => format!(" where ctid >= '({from},0)' and ctid < '({to},0)'"),
        }
    })
}

/// Every table whose rows are compared: name, columns in the order of their names, pages. Largest first.
const TABLES: &str = "
select format('%I.%I', n.nspname, c.relname),
  coalesce((select string_agg(format('%I', a.attname), ', ' order by a.attname collate \"C\")
    from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), ''),
  pg_relation_size(c.oid) / current_setting('block_size')::bigint
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and c.relpersistence <> 't' and c.oid >= 16384
  and (c.oid not in (select objid from pg_depend where deptype = 'e' and classid = 'pg_class'::regclass)
    or c.oid in (select unnest(extconfig) from pg_extension))
order by pg_table_size(c.oid) desc, 1";

/// The same of every materialized view that is populated.
const VIEWS: &str = "
select format('%I.%I', n.nspname, c.relname),
  coalesce((select string_agg(format('%I', a.attname), ', ' order by a.attname collate \"C\")
    from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), ''),
  pg_relation_size(c.oid) / current_setting('block_size')::bigint
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'm' and c.relispopulated and c.oid >= 16384
  and c.oid not in (select objid from pg_depend where deptype = 'e' and classid = 'pg_class'::regclass)
order by pg_table_size(c.oid) desc, 1";

/// Large objects as texts: one for each page that holds anything, without the zeros at its end (a hole that
/// was never written and zeros that were are the same bytes to a reader), and one for each object's length.
const LARGE_OBJECT_TEXTS: &str = "
select concat(loid, ':', pageno, ':', encode(rtrim(data, '\\x00'), 'hex')) as r
from pg_catalog.pg_largeobject where rtrim(data, '\\x00') <> ''
union all
select concat(m.oid, '=', coalesce(max(l.pageno::bigint * (current_setting('block_size')::bigint / 4) + length(l.data)), 0))
from pg_catalog.pg_largeobject_metadata m left join pg_catalog.pg_largeobject l on l.loid = m.oid
group by m.oid";

async fn large_objects(ctx: &Context, session: &Session) -> Result<u64> {
    number(
        ctx,
        session,
        "select count(*) from pg_catalog.pg_largeobject_metadata",
    )
    .await
}

/// The size of the database, in bytes.
pub async fn bytes(ctx: &Context, session: &Session) -> Result<u64> {
    number(
        ctx,
        session,
        "select pg_catalog.pg_database_size(current_database())",
    )
    .await
}

async fn number(ctx: &Context, session: &Session, sql: &str) -> Result<u64> {
    let value = session.value(ctx, sql).await?;
    let number = value.and_then(|value| value.parse().ok());
    number.ok_or_else(|| Error::defect(format!("no number answers {sql}")))
}

/// The rows of every table that is compared, and the large objects where there are any, counted and not looked at.
pub async fn counts(ctx: &Context, session: &Session) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for row in session.rows(ctx, TABLES).await? {
        let Some(Some(table)) = row.into_iter().next() else {
            return Err(Error::defect("the list of tables has an unexpected shape"));
        };
        let count = number(ctx, session, &format!("select count(*) from only {table}")).await?;
        counts.insert(table, count);
    }
    let large_objects = large_objects(ctx, session).await?;
    if large_objects > 0 {
        counts.insert(LARGE_OBJECTS.to_owned(), large_objects);
    }
    Ok(counts)
}

/// The server's first complaint on counting the rows of every table; `None` when it has none.
pub async fn first_complaint(ctx: &Context, session: &Session) -> Result<Option<String>> {
    // Counting by an index would not look at the table.
    session.run(ctx, "set enable_indexonlyscan = off; set enable_indexscan = off; set enable_bitmapscan = off").await?;
    let tables = match session.ask(ctx, TABLES).await? {
        Ok(rows) => rows,
        Err(complaint) => return Ok(Some(complaint.words)),
    };
    for table in tables
        .into_iter()
        .filter_map(|row| row.into_iter().next().flatten())
    {
        if let Err(complaint) = session
            .ask(ctx, &format!("select count(*) from only {table}"))
            .await?
        {
            return Ok(Some(format!("{table}: {}", complaint.words)));
        }
    }
    Ok(None)
}

/// A mark of the run (`nonce`, `canary`) found in the database; `None` when there is none that can be read.
pub async fn mark(ctx: &Context, session: &Session, mark: &str) -> Result<Option<String>> {
    if session
        .value(ctx, "select to_regclass('redrill.run')")
        .await?
        .is_none()
    {
        return Ok(None);
    }
    let rows = session
        .attempt(ctx, &format!("select min({mark}) from redrill.run"))
        .await?;
    Ok(rows
        .unwrap_or_default()
        .into_iter()
        .flatten()
        .flatten()
        .next())
}

/// Ledger numbers found in the database; none when it has no ledger.
pub async fn ledger(ctx: &Context, session: &Session) -> Result<BTreeSet<u64>> {
    if session
        .value(ctx, "select to_regclass('redrill.ledger')")
        .await?
        .is_none()
    {
        return Ok(BTreeSet::new());
    }
    let rows = session
        .attempt(ctx, "select number from redrill.ledger")
        .await?;
    // A ledger that cannot be read is noted among the parts, as the table that it is.
    Ok(rows
        .unwrap_or_default()
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|number| number.parse().ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_cover_every_page_once_and_the_last_is_open() {
        assert_eq!(slices(0).collect::<Vec<_>>(), [""]);
        assert_eq!(slices(SLICE_PAGES).collect::<Vec<_>>(), [""]);
        assert_eq!(
            slices(2 * SLICE_PAGES + 1).collect::<Vec<_>>(),
            [
                " where ctid < '(8192,0)'",
                " where ctid >= '(8192,0)' and ctid < '(16384,0)'",
                " where ctid >= '(16384,0)'"
            ]
        );
    }

    #[test]
    fn sums_of_slices_add_up_to_the_sum_of_the_table() {
        let sums = |count: &str, a: &str, b: &str| {
            Sums::of(&[vec![Some(count.into()), Some(a.into()), Some(b.into())]]).expect("is sums")
        };
        let mut whole = sums("2", "-9223372036854775809", "5");
        whole.add(sums("1", "18446744073709551620", "-6"));
        assert_eq!(whole, sums("3", "9223372036854775811", "-1"));
        assert_eq!(
            whole.part().hash,
            0x8000_0000_0000_0003_ffff_ffff_ffff_ffff_u128.into()
        );
    }
}
