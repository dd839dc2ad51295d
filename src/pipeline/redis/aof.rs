//! The append-only directory: a consistent copy of it, and turning it on after a restore.
//!
//! Copied as the documentation of Redis says (Persistence, "Backing up AOF persistence"): rewrites are turned off
//! and none runs, so that the files that the manifest names stay the same ones; then all of them are copied.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::pipeline::Fetched;
use crate::pipeline::artifact::ArtifactWriter;
use crate::pipeline::redis::store;
use crate::service::redis::client::{Client, cmd};
use crate::service::redis::persistence::{idle, rewritten};
use crate::service::{Running, Stop};

/// What the names of the directory's files begin with in the artifact.
pub const PREFIX: &str = "appendonlydir/";
/// The setting that makes the server rewrite the append-only file by itself; 0 turns that off.
const REWRITES: &str = "auto-aof-rewrite-percentage";

/// Copies the manifest of the append-only directory and every file it names.
pub async fn backup(
    ctx: &Context,
    server: &dyn Running,
    client: &mut Client,
    artifact: &mut ArtifactWriter,
    deadline: Duration,
) -> Result<()> {
    let rewrites = client.setting(REWRITES).await?.unwrap_or_default();
    client.set(REWRITES, "0").await?;
    let copied = async {
        idle(ctx, client, deadline).await?;
        copy(ctx, server, client, artifact).await
    }
    .await;
    // However the copy went, and also when the run was interrupted: the source goes on as before.
    let mut ctx = ctx.clone();
    ctx.cancel = tokio_util::sync::CancellationToken::new();
    let mut client = Client::connect(&ctx, &server.endpoint()).await?;
    client.set(REWRITES, &rewrites).await?;
    copied
}

async fn copy(
    ctx: &Context,
    server: &dyn Running,
    client: &mut Client,
    artifact: &mut ArtifactWriter,
) -> Result<()> {
    let mut setting =
        async |name| -> Result<String> { Ok(client.setting(name).await?.unwrap_or_default()) };
    let (dir, below, file) = (
        setting("dir").await?,
        setting("appenddirname").await?,
        setting("appendfilename").await?,
    );
    let directory = Path::new(&dir).join(below);
    let manifest = format!("{file}.manifest");
    let path = directory.join(&manifest);
    let text = server
        .tool("cat")
        .arg("--")
        .arg(&path)
        .run(ctx)
        .await?
        .ok()?;
    for name in named(&text.text()) {
        let name = name?;
        let stored = format!("{PREFIX}{name}");
        store(
            ctx,
            server,
            &directory.join(&name),
            &stored,
            artifact,
            BTreeMap::new(),
        )
        .await?;
    }
    // The very manifest that the copied files were taken from.
    artifact
        .file(
            ctx,
            &format!("{PREFIX}{manifest}"),
            Box::new(std::io::Cursor::new(text.stdout)),
            BTreeMap::new(),
        )
        .await
        .doing("store the manifest of the append-only directory")
}

/// The files that a manifest names, except for those it keeps only to remove them. A line is names and values in
/// turn, `file appendonly.aof.1.base.rdb seq 1 type b` (8.0 and newer add `startoffset 0`); the type is `b` for the
/// base, `i` for an increment, `h` for history.
pub fn named(manifest: &str) -> impl Iterator<Item = Result<String>> {
    manifest
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let value = |name| {
                let pair = words.chunks_exact(2).find(|pair| pair[0] == name);
                pair.map_or("", |pair| pair[1])
            };
            let (file, kind) = (value("file"), value("type"));
            // A name with spaces is quoted, and such a one is not read here.
            let plain = !file.is_empty() && !file.contains(['/', '"', '\\']);
            match kind {
                "h" => None,
                "b" | "i" if plain => Some(Ok(file.to_owned())),
                _ => Some(Err(Error::failed(
                    "the manifest of the append-only directory has a line that redrill does not know",
                ))),
            }
        })
}

/// Where the append-only directory was fetched to, when it was.
pub fn fetched(fetched: &Fetched) -> Option<&Path> {
    let mut files = fetched.files.iter();
    let (_, path) = files.find(|(name, _)| name.starts_with(PREFIX))?;
    path.parent()
}

/// Starts the server on an append-only directory, strictly: one that does not end where a command does is refused, and
/// not cut to fit.
pub async fn restore(
    ctx: &Context,
    server: &dyn Running,
    directory: &Path,
    deadline: Duration,
) -> Result<()> {
    let mut client = Client::connect(ctx, &server.endpoint()).await?;
    let dir = client.setting("dir").await?.unwrap_or_default();
    let below = client.setting("appenddirname").await?.unwrap_or_default();
    let manifest = format!(
        "{}.manifest",
        client.setting("appendfilename").await?.unwrap_or_default()
    );
    let file = client.info("server").await?.text("config_file").to_owned();
    if below.is_empty() || file.is_empty() {
        return Err(Error::failed(
            "the target keeps no append-only directory, or has no configuration file to say so in",
        )
        .hint("Redis keeps one since 7.0"));
    }
    // From here on nothing may be written over what is brought.
    client.set("save", "").await?;
    const PLACE: &str = r#"
set -eu
mkdir -p -m 0700 -- "$2"
rm -f -- "$2"/*
mv -- "$1"/* "$2"/
cd -- "$2"
for found in *.manifest; do [ "$found" = "$3" ] || mv -- "$found" "$3"; done
sed -i -e '/^appendonly /d' -e '/^aof-load-truncated /d' -- "$4"
printf 'appendonly yes\naof-load-truncated no\n' >> "$4"
"#;
    let place = server.tool("sh").args(["-c", PLACE, "sh"]).arg(directory);
    let place = place
        .arg(Path::new(&dir).join(below))
        .arg(manifest)
        .arg(file);
    place
        .deadline(deadline)
        .run(ctx)
        .await?
        .ok()
        .doing("place the append-only directory")?;
    let restarting = server.restart(ctx, Stop::Kill);
    ctx.noting("restart redis-server", restarting)
        .await
        .doing("start redis on its append-only directory")
}

/// Turns the append-only file on in a server that has loaded its data, waits until all of it is in there, and
/// makes it last where the server has a configuration file.
pub async fn turn_on(ctx: &Context, client: &mut Client, deadline: Duration) -> Result<()> {
    client.set("appendonly", "yes").await?;
    rewritten(ctx, client, deadline).await?;
    if !client.info("server").await?.text("config_file").is_empty() {
        client
            .call(cmd("CONFIG").arg("REWRITE"))
            .await
            .doing("write the configuration file")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_names_base_and_increments_and_history_is_left() {
        let manifest = "file appendonly.aof.1.base.rdb seq 1 type b\n\
                        file appendonly.aof.0.incr.aof seq 0 type h\n\
                        file appendonly.aof.1.incr.aof seq 1 type i startoffset 0\n";
        let names: Vec<String> = named(manifest).map(|name| name.expect("a name")).collect();
        assert_eq!(
            names,
            ["appendonly.aof.1.base.rdb", "appendonly.aof.1.incr.aof"]
        );
    }

    #[test]
    fn a_manifest_that_leads_out_of_the_directory_is_refused() {
        assert!(named("file ../../etc/passwd seq 1 type b").any(|name| name.is_err()));
        assert!(named("nonsense").any(|name| name.is_err()));
        assert!(named("file x seq 1 type z").any(|name| name.is_err()));
    }
}
