//! Faults planted around a restore: in its target before, and in what it left after.

use std::path::PathBuf;

use tokio::io::AsyncReadExt;

use super::{cluster, flip_middle};
use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::pipeline::Fetched;
use crate::service::postgres::PostgresService;
use crate::service::postgres::session::{Session, identifier};
use crate::service::s3::{Headers, S3Client};
use crate::service::{Running, Service, Stop, write_file};
use crate::suite::{Component, ComponentKind, Fault};

/// Plants what is wrong with a target before anything is restored.
pub async fn before_restore(
    ctx: &Context,
    fault: Option<Fault>,
    target: &dyn Service,
) -> Result<()> {
    let server = target.server();
    match fault {
        // A volume of an earlier run was not removed: its data is there, and the restore is skipped.
        Some(Fault::J14) => {
            target
                .plant(ctx, "of-an-earlier-run", "of-an-earlier-run")
                .await
        }
        // The database was made beforehand, as the new server's own locale has it.
        Some(Fault::A12) => {
            let made = PostgresService::new(server.clone(), target.database(), None);
            made.drop_database(ctx).await?;
            let session = Session::open(ctx, server.as_ref(), "postgres").await?;
            let make = format!(
                "create database {} template template0 locale 'C'",
                identifier(target.database())
            );
            session.run(ctx, &make).await
        }
        Some(Fault::D6) => {
            // The append-only file that the server made while it was empty.
            let (own, kept) = append_only_dirs(server.as_ref());
            server
                .tool("cp")
                .args(["-a".into(), own, kept])
                .run(ctx)
                .await?
                .ok()
                .map(drop)
        }
        _ => Ok(()),
    }
}

fn append_only_dirs(server: &dyn Running) -> (PathBuf, PathBuf) {
    (
        server.data_dir().join("appendonlydir"),
        server.data_dir().join("appendonlydir.old"),
    )
}

/// Plants what goes wrong in or right after a restore.
pub async fn after_restore(
    ctx: &Context,
    fault: Option<Fault>,
    component: &Component,
    database: &str,
    server: &dyn Running,
    fetched: &Fetched,
) -> Result<()> {
    match (fault, &component.kind) {
        // The same restore once more, data only, of a table without a key: it exits 0 and doubles its rows.
        (Some(Fault::A13), _) => {
            let Some((_, dump)) = fetched.files.iter().find(|(name, _)| name == "db.dump") else {
                return Err(Error::defect("no dump to restore twice"));
            };
            let command =
                server
                    .tool("pg_restore")
                    .args(["--data-only", "--schema=shop", "--table=visits"]);
            let command = command.arg(format!("--dbname={database}")).arg(dump);
            command.run(ctx).await?.ok().map(drop)
        }
        (Some(fault), ComponentKind::Postgres { .. }) if fetched.log.is_some() => {
            cluster::after_recovery(ctx, fault, database, server, fetched).await
        }
        // The data is not where the server looks: it starts empty and answers PONG.
        (Some(Fault::D3), _) => {
            let (aof, _) = append_only_dirs(server);
            let dump = server.data_dir().join("dump.rdb");
            server
                .tool("rm")
                .arg("-rf")
                .arg(dump)
                .arg(aof)
                .run(ctx)
                .await?
                .ok()?;
            server.restart(ctx, Stop::Kill).await
        }
        (Some(Fault::D4), _) => cut_append_only_tail(ctx, server, fetched).await,
        (Some(Fault::D6), _) => {
            turn_append_only_on(ctx, server).await?;
            let (own, kept) = append_only_dirs(server);
            server
                .tool("rm")
                .args(["-rf".into(), own.clone()])
                .run(ctx)
                .await?
                .ok()?;
            server.tool("mv").args([kept, own]).run(ctx).await?.ok()?;
            server.restart(ctx, Stop::Kill).await
        }
        (Some(Fault::D8), _) => {
            // A copy tool that writes values without their expiry.
            let script = "local n = 0 for _, k in ipairs(redis.call('KEYS', '*')) do n = n + redis.call('PERSIST', k) end return n";
            let changed = server
                .tool("redis-cli")
                .args(["-n", "0", "EVAL", script, "0"])
                .run(ctx)
                .await?
                .ok()?
                .text();
            if changed == "0" {
                return Err(Error::defect(
                    "no key had an expiry to lose: the fault was not planted",
                ));
            }
            Ok(())
        }
        (Some(Fault::F2), ComponentKind::Bucket { bucket, .. }) => {
            change_one_object(ctx, server, bucket).await
        }
        (Some(Fault::F16), ComponentKind::Bucket { bucket, .. }) => {
            drop_metadata(ctx, server, bucket).await
        }
        _ => Ok(()),
    }
}

/// The server comes up from the artifact's append-only file, the last commands of which are missing: cut at a command
/// border, which no tool complains about.
async fn cut_append_only_tail(
    ctx: &Context,
    server: &dyn Running,
    fetched: &Fetched,
) -> Result<()> {
    let artifact = fetched
        .artifact
        .as_ref()
        .ok_or_else(|| Error::defect("no artifact with append-only files"))?;
    let dir = server.data_dir().join("appendonlydir");
    server
        .tool("rm")
        .arg("-rf")
        .arg(&dir)
        .run(ctx)
        .await?
        .ok()?;
    server.tool("mkdir").arg(&dir).run(ctx).await?.ok()?;
    let mut cut = false;
    for file in &artifact.manifest.files {
        let Some(name) = file.name.strip_prefix("appendonlydir/") else {
            continue;
        };
        let mut bytes = Vec::new();
        artifact
            .open(ctx, &file.name)
            .await?
            .read_to_end(&mut bytes)
            .await
            .doing("read an append-only file")?;
        // Every command starts with an array header at the start of a line; a SET has three words.
        if let Some(at) =
            memchr::memmem::rfind(&bytes, b"\n*3\r\n").filter(|_| name.ends_with(".incr.aof"))
        {
            bytes.truncate(at + 1);
            cut = true;
        }
        write_file(
            ctx,
            server,
            &dir.join(name),
            Box::new(std::io::Cursor::new(bytes)),
        )
        .await?;
    }
    if !cut {
        return Err(Error::defect(
            "the append-only file has no commands to cut: the fault was not planted",
        ));
    }
    server.restart(ctx, Stop::Kill).await
}

/// The operators' configuration turns the append-only file on, for now and for the next start.
async fn turn_append_only_on(ctx: &Context, server: &dyn Running) -> Result<()> {
    for words in [
        &["CONFIG", "SET", "appendonly", "yes"][..],
        &["CONFIG", "REWRITE"],
    ] {
        let said = server
            .tool("redis-cli")
            .args(words)
            .run(ctx)
            .await?
            .ok()?
            .text();
        if said != "OK" {
            return Err(Error::failed(said).doing("turn the append-only file on"));
        }
    }
    Ok(())
}

/// The first ordinary object of the bucket: its key, headers and bytes.
async fn an_object(
    ctx: &Context,
    client: &S3Client,
    bucket: &str,
) -> Result<(String, Headers, Vec<u8>)> {
    for listed in client.list(ctx, bucket, "").await? {
        if listed.key.starts_with("redrill/") || listed.bytes == 0 {
            continue;
        }
        let Some(mut object) = client.get(ctx, bucket, &listed.key).await? else {
            continue;
        };
        let mut bytes = Vec::new();
        object
            .body
            .read_to_end(&mut bytes)
            .await
            .doing("read an object")?;
        return Ok((listed.key, object.headers, bytes));
    }
    Err(Error::defect("the bucket has no object to damage"))
}

async fn change_one_object(ctx: &Context, server: &dyn Running, bucket: &str) -> Result<()> {
    let client = S3Client::new(&server.endpoint());
    let (key, headers, mut bytes) = an_object(ctx, &client, bucket).await?;
    flip_middle(&mut bytes);
    client
        .put(
            ctx,
            bucket,
            &key,
            Box::new(std::io::Cursor::new(bytes)),
            &headers,
        )
        .await
        .map(drop)
}

async fn drop_metadata(ctx: &Context, server: &dyn Running, bucket: &str) -> Result<()> {
    let client = S3Client::new(&server.endpoint());
    let (key, _, bytes) = an_object(ctx, &client, bucket).await?;
    client
        .put(
            ctx,
            bucket,
            &key,
            Box::new(std::io::Cursor::new(bytes)),
            &Headers::default(),
        )
        .await
        .map(drop)
}
