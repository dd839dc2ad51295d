//! The source's side of continuous archiving: the script that its `archive_command` runs.
//!
//! The archive lies beside the data and is lost with it; [`super::ship`] brings it into the repositories.

use std::path::PathBuf;

use crate::context::Context;
use crate::error::Result;
use crate::pipeline::physical::archiver;
use crate::service::{Running, write_file};

const SCRIPT: &str = include_str!("archive.sh");

/// The directory beside the data that holds everything of the archive.
pub(super) fn home(server: &dyn Running) -> PathBuf {
    server.data_dir().with_file_name("archive")
}

/// Where the server archives to.
pub(super) fn directory(server: &dyn Running) -> PathBuf {
    home(server).join("wal")
}

/// Installs the script and points the server's `archive_command` at it.
pub(super) async fn install(ctx: &Context, server: &dyn Running) -> Result<()> {
    let (home, directory) = (home(server), directory(server));
    let made = server
        .tool("mkdir")
        .args(["-p", "-m", "700"])
        .args([&home, &directory]);
    made.run(ctx).await?.ok()?;
    let script = home.join("archive.sh");
    write_file(
        ctx,
        server,
        &script,
        Box::new(std::io::Cursor::new(SCRIPT.as_bytes())),
    )
    .await?;
    // A server that was promoted before it archived has not archived how its timeline came to be.
    const HISTORIES: &str = r#"cd -- "$1/pg_wal" && for name in *.history; do
  [ ! -e "$name" ] || sh "$2" "$name" "$name" "$3" || exit
done"#;
    let histories = server.tool("sh").args(["-c", HISTORIES, "sh"]);
    let histories = histories.args([server.data_dir(), script.clone(), directory.clone()]);
    histories.run(ctx).await?.ok()?;
    let archive = archiver::command(&[
        "sh",
        &archiver::text(&script),
        "%p",
        "%f",
        &archiver::text(&directory),
    ]);
    archiver::point_at(ctx, server, &archive).await
}
