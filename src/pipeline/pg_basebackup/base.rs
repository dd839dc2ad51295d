//! The base backup: `pg_basebackup` out as one stream, and back into a directory, held to its manifest.

use std::path::Path;
use std::time::Duration;

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::pipeline::physical::major;
use crate::process::Command;
use crate::repository::wal::{Lsn, Segment};
use crate::service::Running;
use crate::service::postgres::session::Session;
use crate::suite::BaseCompression;

use super::archive::directory;

/// The file's name in the artifact.
pub(super) fn file_name(compress: BaseCompression) -> &'static str {
    match compress {
        BaseCompression::None => "base.tar",
        BaseCompression::Gzip(_) => "base.tar.gz",
        BaseCompression::Zstd(_) => "base.tar.zst",
    }
}

/// The command that writes the whole cluster to its standard output, with its manifest.
pub(super) fn command(
    server: &dyn Running,
    compress: BaseCompression,
    label: &str,
    deadline: Duration,
) -> Result<Command> {
    let command = server
        .tool("pg_basebackup")
        .args(["--format=tar", "--pgdata=-", "--wal-method=none"])
        .args(["--checkpoint=fast", "--manifest-checksums=SHA256"])
        .args(["--no-password", "--verbose"])
        .arg(format!("--label={label}"))
        .deadline(deadline);
    let major = major(server);
    Ok(match compress {
        BaseCompression::None => command,
        BaseCompression::Gzip(level) if major < 15 => command.arg(format!("--compress={level}")),
        BaseCompression::Zstd(_) if major < 15 => {
            return Err(Error::usage(format!(
                "pg_basebackup {} does not know {compress}",
                server.version()
            ))
            .hint("use compress = \"gzip:1\" or \"none\", or PostgreSQL 15 or later"));
        }
        compress => command.arg(format!("--compress=client-{compress}")),
    })
}

/// Fails on a cluster that does not fit into one stream.
pub(super) async fn is_in_one_place(ctx: &Context, session: &Session) -> Result<()> {
    let others = session
        .value(
            ctx,
            "select string_agg(quote_ident(spcname), ', ' order by spcname) from pg_tablespace \
             where spcname not in ('pg_default', 'pg_global')",
        )
        .await?;
    match others {
        None => Ok(()),
        Some(names) => Err(Error::refused(format!(
            "the cluster has further tablespaces ({names}), and a base backup in one stream holds none of them"
        ))
        .hint("move their tables to pg_default, or back this cluster up with pg-dump")),
    }
}

/// What the server notes about a finished base backup, in `….backup`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub start: Lsn,
    pub stop: Lsn,
    pub timeline: u32,
}

impl Note {
    /// Finds the note with this label in the server's archive.
    pub async fn find(ctx: &Context, server: &dyn Running, label: &str) -> Result<Self> {
        const FIND: &str =
            r#"cd -- "$1" && grep -l -F -x -e "LABEL: $2" -- *.backup | xargs cat --"#;
        let find = server
            .tool("sh")
            .args(["-c", FIND, "sh"])
            .arg(directory(server))
            .arg(label);
        let found = find.run(ctx).await?.ok()?.text();
        Self::parse(&found).ok_or_else(|| {
            Error::failed("the server archived no note about the base backup")
                .hint("its archive_command was changed, or something else takes files away from its archive")
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let line = |word: &str| text.lines().find_map(|line| line.strip_prefix(word));
        let lsn = |word: &str| Lsn::parse(line(word)?.split_whitespace().next()?);
        Some(Self {
            start: lsn("START WAL LOCATION: ")?,
            stop: lsn("STOP WAL LOCATION: ")?,
            timeline: line("START TIMELINE: ")?.trim().parse().ok()?,
        })
    }

    /// The segments from the first that a recovery reads to the one in which it is consistent.
    pub fn segments(&self, size: u64) -> (Segment, Segment) {
        let last = Lsn(self.stop.0.saturating_sub(1));
        (
            Segment::holding(self.timeline, self.start, size),
            Segment::holding(self.timeline, last, size),
        )
    }
}

/// Unpacks a staged base backup into a new directory.
pub(super) async fn unpack(
    ctx: &Context,
    server: &dyn Running,
    staged: &Path,
    into: &Path,
    deadline: Duration,
) -> Result<()> {
    const EMPTY: &str = r#"mkdir -p -m 700 -- "$1" && find "$1" -mindepth 1 -delete"#;
    let made = server.tool("sh").args(["-c", EMPTY, "sh"]).arg(into);
    made.run(ctx).await?.ok()?;
    let tar = server.tool("tar").arg("-x");
    let tar = match staged.extension().and_then(|ending| ending.to_str()) {
        Some("gz") => tar.arg("--gzip"),
        Some("zst") => tar.arg("--zstd"),
        _ => tar,
    };
    let tar = tar.arg("-C").arg(into).arg("-f").arg(staged);
    let unpacked = tar.deadline(deadline).run(ctx).await?.ok();
    unpacked.doing("unpack the base backup")?;
    // A tar file may have brought another mode for it, and Postgres refuses what others can read.
    let private = server.tool("chmod").arg("0700").arg(into).run(ctx).await?;
    private.ok().map(drop)
}

/// Holds an unpacked base backup to its manifest.
pub(super) async fn verify(
    ctx: &Context,
    server: &dyn Running,
    into: &Path,
    deadline: Duration,
) -> Result<()> {
    let verify = server
        .tool("pg_verifybackup")
        .args(["--exit-on-error", "--no-parse-wal", "--quiet"])
        .arg(into);
    let verified = verify.deadline(deadline).run(ctx).await?.ok();
    verified
        .map(drop)
        .map_err(|error| {
            error.hint("this base backup is damaged: read it from another repository, or recover the one before it; the WAL that follows that one is still there")
        })
        .doing("hold the base backup to its manifest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_note_gives_the_segments_of_a_base_backup() {
        let text = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n\
                    STOP WAL LOCATION: 0/4000000 (file 000000010000000000000003)\n\
                    LABEL: redrill x\nSTART TIMELINE: 1\nSTOP TIMELINE: 1\n";
        let note = Note::parse(text).expect("a note");
        let (first, last) = note.segments(16 << 20);
        // It ends with the last byte of segment 3, and needs nothing of segment 4.
        assert_eq!(first.to_string(), "000000010000000000000002");
        assert_eq!(last.to_string(), "000000010000000000000003");
        assert_eq!(Note::parse("LABEL: redrill x\n"), None);
    }
}
