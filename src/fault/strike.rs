//! Disasters, struck for real on services that this run started.

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::evidence::Moment;
use crate::service::postgres::session::{Session, literal};
use crate::service::s3::S3Client;
use crate::service::{Running, Stop};

/// Postgres' page size (`block_size`), as every packaged build has it.
pub(super) const PAGE: usize = 8192;

/// What a page is overwritten with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// Bytes that are no page. Data checksums are on: the server will say so.
    Garbage,
    /// Zeros, which are a page without rows to the server.
    Zeros,
}

/// The largest table, of what `and` says besides; a view that is stored is none.
fn largest(and: &str) -> String {
    format!(
        "select format('%I.%I', n.nspname, c.relname), pg_relation_filepath(c.oid) from pg_class c \
         join pg_namespace n on n.oid = c.relnamespace \
         where c.relkind = 'r' and not c.relispartition and c.relpersistence = 'p' \
         and n.nspname not in ('pg_catalog', 'information_schema', 'redrill') and n.nspname !~ '^pg_toast' \
         and pg_relation_size(c.oid) > 0 {and} order by pg_relation_size(c.oid) desc, c.oid limit 1"
    )
}

/// Name and file of a table that [`largest`] finds.
async fn table(ctx: &Context, session: &Session, and: &str) -> Result<(String, String)> {
    let row = session.rows(ctx, &largest(and)).await?.into_iter().next();
    match row.as_deref() {
        Some([Some(name), Some(path)]) => Ok((name.clone(), path.clone())),
        _ => Err(Error::failed(
            "the database has no such table with data in it",
        )),
    }
}

/// Overwrites the first page of the database's largest table on disk, behind the server's back, then restarts it so that
/// it reads the page again.
pub async fn overwrite_heap_page(
    ctx: &Context,
    server: &dyn Running,
    database: &str,
    with: Page,
) -> Result<()> {
    let session = Session::open(ctx, server, database).await?;
    let (_, path) = table(ctx, &session, "")
        .await
        .doing("overwrite a heap page")?;
    // Clean pages are not written back at shutdown: what lies on disk then stays.
    session.run(ctx, "checkpoint").await?;
    drop(session);
    let page: Vec<u8> = match with {
        Page::Garbage => b"redrill struck here "
            .iter()
            .copied()
            .cycle()
            .take(PAGE)
            .collect(),
        Page::Zeros => vec![0; PAGE],
    };
    overwrite(ctx, server, &path, 0, &page).await?;
    server
        .restart(ctx, Stop::Clean)
        .await
        .doing("restart the server on its overwritten page")
}

/// Overwrites a part of a file in the data directory; `at` is in units of what is written.
pub(super) async fn overwrite(
    ctx: &Context,
    server: &dyn Running,
    path: &str,
    at: u64,
    bytes: &[u8],
) -> Result<()> {
    let file = server.data_dir().join(path);
    let write = server.tool("dd").arg(format!("of={}", file.display()));
    let write = write.args([
        format!("bs={}", bytes.len()),
        format!("seek={at}"),
        "count=1".into(),
        "conv=notrunc".into(),
        "iflag=fullblock".into(),
    ]);
    let written = write.feed(ctx, std::io::Cursor::new(bytes.to_vec())).await;
    written?.ok().map(drop)
}

/// Makes a restore point and notes the moment: everything that was committed before lies before it, nothing after.
pub async fn moment(ctx: &Context, server: &dyn Running, database: &str) -> Result<Moment> {
    const NAME: &str = "just before the strike";
    let session = Session::open(ctx, server, database).await?;
    let make = format!("select pg_create_restore_point({})", literal(NAME));
    let made = session.value(ctx, &make).await;
    // Where its record ends, whatever is written meanwhile.
    let lsn = made
        .doing("make a restore point")?
        .ok_or_else(|| Error::failed("the server gave no log position"))?;
    Ok(Moment {
        at: session.now(ctx).await?,
        lsn,
        name: NAME.to_owned(),
    })
}

/// Deletes every row of the largest table to which no other refers, and gives back what users then see.
pub async fn delete_rows(ctx: &Context, server: &dyn Running, database: &str) -> Result<String> {
    const UNREFERRED: &str = "and not exists (select from pg_constraint k where k.contype = 'f' \
                              and k.confrelid = c.oid and k.conrelid <> c.oid)";
    let session = Session::open(ctx, server, database).await?;
    let (table, _) = table(ctx, &session, UNREFERRED)
        .await
        .doing("delete rows")?;
    let count = format!("select count(*) from {table}");
    let before = session.value(ctx, &count).await?.unwrap_or_default();
    session.run(ctx, &format!("delete from {table}")).await?;
    let after = session.value(ctx, &count).await?.unwrap_or_default();
    if before == after {
        return Err(
            Error::failed(format!("no row of {table} was deleted")).hint(
                "a rule or trigger of the suite's seed keeps its rows: strike with another fault",
            ),
        );
    }
    Ok(format!("{table} has {after} rows, and had {before}"))
}

/// Drops the largest table with everything that depends on it, and gives back what users then see.
pub async fn drop_table(ctx: &Context, server: &dyn Running, database: &str) -> Result<String> {
    let session = Session::open(ctx, server, database).await?;
    let (table, _) = table(ctx, &session, "").await.doing("drop a table")?;
    session
        .run(ctx, &format!("drop table {table} cascade"))
        .await?;
    let count = format!("select count(*) from {table}");
    match session.ask(ctx, &count).await? {
        Err(complaint) => Ok(complaint.words),
        Ok(_) => Err(Error::failed(format!(
            "{table} is still there after it was dropped"
        ))),
    }
}

/// Kills the server after its control file was overwritten: it will not start again.
pub async fn break_server(ctx: &Context, server: &dyn Running) -> Result<()> {
    let session = Session::open(ctx, server, "postgres").await?;
    // The next checkpoint, which would write the file anew, is minutes away then.
    session.run(ctx, "checkpoint").await?;
    drop(session);
    overwrite(ctx, server, "global/pg_control", 0, &[0; PAGE]).await?;
    server.halt(ctx).await
}

/// Deletes every object of a bucket.
pub async fn empty_bucket(ctx: &Context, server: &dyn Running, bucket: &str) -> Result<()> {
    S3Client::new(&server.endpoint())
        .empty_bucket(ctx, bucket)
        .await
        .map(drop)
        .doing_with(|| format!("empty the bucket {bucket}"))
}

/// Deletes an emptied bucket.
pub async fn delete_bucket(ctx: &Context, server: &dyn Running, bucket: &str) -> Result<()> {
    S3Client::new(&server.endpoint())
        .delete_bucket(ctx, bucket)
        .await
        .doing_with(|| format!("delete the bucket {bucket}"))
}
