//! Reads an artifact to its end with Redis's own tools: `redis-check-rdb` and `redis-check-aof`.
//!
//! The decrypted files lie in the source's staging directory for as long as that takes, readable by the server's
//! user alone. What the tools say of keys and values is left out: only their verdict and their numbers are kept.

use std::path::Path;

use chrono::{DateTime, Utc};

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::evidence::ReadFact;
use crate::pipeline::artifact::ArtifactReader;
use crate::pipeline::redis::{RDB, aof, remove, write_private};
use crate::process::Finished;
use crate::service::Running;

/// Reads the whole artifact, in a directory of its own that does not stay behind.
pub async fn read_through(
    ctx: &Context,
    artifact: &ArtifactReader,
    server: &dyn Running,
) -> Result<ReadFact> {
    let directory = server.staging().join(format!("read-{}", ctx.next_number()));
    let below = directory.join(aof::PREFIX);
    let made = server
        .tool("mkdir")
        .args(["-p", "-m", "0700", "--"])
        .args([&directory, &below]);
    made.run(ctx).await?.ok()?;
    let read = read(ctx, artifact, server, &directory).await;
    let removed = remove(ctx, server, &directory).await;
    let read = read.doing("read the artifact to its end")?;
    removed.map(|()| read)
}

async fn read(
    ctx: &Context,
    artifact: &ArtifactReader,
    server: &dyn Running,
    directory: &Path,
) -> Result<ReadFact> {
    let mut manifest = None;
    let mut has_rdb = false;
    for file in &artifact.manifest.files {
        let is_aof = file.name.starts_with(aof::PREFIX);
        if !is_aof && file.name != RDB {
            // Nothing of Redis's reads the users; the stream itself is verified to its end.
            let mut body = artifact.open(ctx, &file.name).await?;
            tokio::io::copy(&mut body, &mut tokio::io::sink())
                .await
                .doing_with(|| format!("read {}", file.name))?;
            continue;
        }
        has_rdb |= file.name == RDB;
        let path = directory.join(&file.name);
        let body = artifact.open(ctx, &file.name).await?;
        write_private(ctx, server, &path, body)
            .await
            .doing_with(|| format!("read {}", file.name))?;
        if file.name.ends_with(".manifest") {
            manifest = Some(path);
        }
    }
    if !has_rdb {
        return Ok(ReadFact {
            tool: "redis-check-rdb".to_owned(),
            error: Some(format!("the artifact holds no {RDB}")),
            ..ReadFact::default()
        });
    }
    let snapshot = rdb(ctx, server, &directory.join(RDB)).await?;
    let mut fact = ReadFact {
        tool: "redis-check-rdb".to_owned(),
        error: snapshot.error,
        entries: snapshot.keys,
        content_time: snapshot.saved_at,
        ..ReadFact::default()
    };
    if let Some(manifest) = manifest {
        fact.tool.push_str(", redis-check-aof");
        let checked = server
            .tool("redis-check-aof")
            .arg(manifest)
            .run(ctx)
            .await?;
        fact.error = fact.error.or_else(|| aof_error(&checked));
    }
    Ok(fact)
}

/// What `redis-check-rdb` says of a snapshot.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Its complaint, when it has one.
    pub error: Option<String>,
    /// Keys it read.
    pub keys: u64,
    /// Those among them whose expiry has passed.
    pub expired: u64,
    /// When the server began to write it, by its own clock.
    pub saved_at: Option<DateTime<Utc>>,
}

/// Reads a snapshot with `redis-check-rdb`.
pub async fn rdb(ctx: &Context, server: &dyn Running, path: &Path) -> Result<Snapshot> {
    let checked = server.tool("redis-check-rdb").arg(path).run(ctx).await?;
    let mut snapshot = parse(&checked.text());
    if checked.exit != Some(0) && snapshot.error.is_none() {
        snapshot.error = Some(words(&checked));
    }
    if checked.exit == Some(0) && snapshot.error.is_some() {
        return Err(Error::defect(
            "redis-check-rdb ended well, and yet its report has an error",
        ));
    }
    Ok(snapshot)
}

/// The report of `redis-check-rdb`, of which lines that quote keys are left out.
fn parse(report: &str) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let mut complaint = false;
    let mut sound = false;
    for line in report.lines() {
        if line.contains("RDB ERROR DETECTED") {
            complaint = true;
        } else if let Some(rest) = line.strip_prefix("[info] ") {
            let (number, what) = rest.split_once(' ').unwrap_or_default();
            match what {
                "keys read" => snapshot.keys = number.parse().unwrap_or(0),
                "already expired" => snapshot.expired = number.parse().unwrap_or(0),
                _ => {}
            }
        } else if let Some((_, time)) = line.split_once("AUX FIELD ctime = '") {
            snapshot.saved_at = time
                .trim_end_matches('\'')
                .parse()
                .ok()
                .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        } else if line.contains("RDB looks OK!") {
            sound = true;
        } else if complaint && snapshot.error.is_none() && line.starts_with("[offset ") {
            snapshot.error = Some(line.to_owned());
        }
    }
    if !sound && snapshot.error.is_none() {
        snapshot.error = Some("redis-check-rdb did not come to the end of the snapshot".to_owned());
    }
    snapshot
}

/// The complaint of `redis-check-aof`, when it has one.
fn aof_error(checked: &Finished) -> Option<String> {
    if checked.exit == Some(0) {
        return None;
    }
    let report = checked.text();
    let line = report
        .lines()
        .rev()
        .find(|line| line.contains("is not valid") || line.contains("format error"))
        .map_or_else(|| words(checked), str::to_owned);
    Some(format!("redis-check-aof: {line}"))
}

fn words(checked: &Finished) -> String {
    let how = match checked.exit {
        Some(code) => format!("exit code {code}"),
        None => "ended by a signal".to_owned(),
    };
    match checked.stderr.lines().next() {
        Some(line) => format!("{how}: {line}"),
        None => how,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_snapshot_gives_its_numbers_and_its_time() {
        let snapshot = parse(
            "[offset 0] Checking RDB file dump.rdb\n\
             [offset 27] AUX FIELD redis-ver = '7.0.15'\n\
             [offset 53] AUX FIELD ctime = '1700000000'\n\
             [offset 329] Checksum OK\n\
             [offset 329] \\o/ RDB looks OK! \\o/\n\
             [info] 3 keys read\n[info] 2 expires\n[info] 1 already expired",
        );
        assert_eq!(
            snapshot,
            Snapshot {
                error: None,
                keys: 3,
                expired: 1,
                saved_at: DateTime::from_timestamp(1_700_000_000, 0),
            }
        );
    }

    #[test]
    fn a_complaint_is_kept_without_the_key_that_it_quotes() {
        let snapshot = parse(
            "[offset 0] Checking RDB file dump.rdb\n\
             --- RDB ERROR DETECTED ---\n\
             [offset 300] Unexpected EOF reading RDB file\n\
             [additional info] While doing: read-object-value\n\
             [additional info] Reading key 'canary'\n\
             [info] 1 keys read",
        );
        assert_eq!(
            snapshot.error.as_deref(),
            Some("[offset 300] Unexpected EOF reading RDB file")
        );
        assert_eq!(snapshot.keys, 1);
    }

    #[test]
    fn a_report_without_an_end_is_no_sound_snapshot() {
        assert!(parse("").error.is_some());
        assert!(
            parse("[offset 0] Checking RDB file dump.rdb")
                .error
                .is_some()
        );
    }
}
