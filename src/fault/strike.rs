//! Disasters, struck for real on services that this run started.

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::service::s3::S3Client;
use crate::service::{Running, Stop};

/// Postgres' page size (`block_size`), as every packaged build has it.
const PAGE: u64 = 8192;

/// Overwrites the first page of the database's largest table on disk with bytes that are no page, behind the
/// server's back, then restarts it so that it reads the page again. Data checksums are on: it will say so.
pub async fn corrupt_heap_page(ctx: &Context, server: &dyn Running, database: &str) -> Result<()> {
    let ask = |sql: &'static str| {
        server.tool("psql").args([
            "-X",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            database,
            "-c",
            sql,
        ])
    };
    let largest = "select pg_relation_filepath(c.oid) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
                   where c.relkind in ('r', 'm') and n.nspname not in ('pg_catalog', 'information_schema', 'redrill') \
                   and n.nspname !~ '^pg_toast' and pg_relation_size(c.oid) > 0 \
                   order by pg_relation_size(c.oid) desc, c.oid limit 1";
    let path = ask(largest).run(ctx).await?.ok()?.text();
    if path.is_empty() {
        return Err(
            Error::failed("the database has no table with data in it").doing("corrupt a heap page")
        );
    }
    // Clean pages are not written back at shutdown: what lies on disk then stays.
    ask("checkpoint").run(ctx).await?.ok()?;
    let garbage: Vec<u8> = b"redrill struck here "
        .iter()
        .copied()
        .cycle()
        .take(PAGE as usize)
        .collect();
    let file = server.data_dir().join(path);
    server
        .tool("dd")
        .arg(format!("of={}", file.display()))
        .args([
            format!("bs={PAGE}"),
            "seek=0".into(),
            "count=1".into(),
            "conv=notrunc".into(),
            "iflag=fullblock".into(),
        ])
        .feed(ctx, std::io::Cursor::new(garbage))
        .await?
        .ok()?;
    server
        .restart(ctx, Stop::Clean)
        .await
        .doing("restart the server on its corrupted page")
}

/// Deletes every object of a bucket.
pub async fn empty_bucket(ctx: &Context, server: &dyn Running, bucket: &str) -> Result<()> {
    let client = S3Client::new(&server.endpoint());
    let keys: Vec<String> = client
        .list(ctx, bucket, "")
        .await?
        .into_iter()
        .map(|object| object.key)
        .collect();
    client
        .delete(ctx, bucket, &keys)
        .await
        .doing_with(|| format!("empty the bucket {bucket}"))
}

/// Deletes an emptied bucket.
pub async fn delete_bucket(ctx: &Context, server: &dyn Running, bucket: &str) -> Result<()> {
    S3Client::new(&server.endpoint())
        .delete_bucket(ctx, bucket)
        .await
        .doing_with(|| format!("delete the bucket {bucket}"))
}
