//! Which versions made a dump, and whether a server can take it in: asked before anything is restored.
//!
//! A dump goes to its own major version or a newer one; an archive must be of a format that the server's `pg_restore`
//! reads; and a script with a `\restrict` line (written since the minor versions in [`RESTRICTS`]) needs a `psql` that
//! knows it. Not here: whether the dump is whole.

use std::path::Path;

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::service::Running;
use crate::suite::DumpFormat;

use super::DIRECTORY_TOC;
use super::archive::Header;

/// How much of a file's beginning is looked at.
const HEAD: usize = 8192;
/// Where a tar archive's first member, which is the table of contents, begins.
const TAR_HEADER: usize = 512;
/// The first minor version of each major one whose `psql` knows `\restrict`; all later major versions do.
const RESTRICTS: [(u32, u32); 5] = [(13, 22), (14, 19), (15, 14), (16, 10), (17, 6)];

/// Fails, naming both versions, unless the server and its tools can take in the dump and the roles that go with it.
pub async fn admit(
    ctx: &Context,
    server: &dyn Running,
    format: DumpFormat,
    dump: &Path,
    globals: Option<&Path>,
) -> Result<()> {
    let listed = async {
        if format == DumpFormat::Plain {
            return Ok(None);
        }
        let list = server.tool("pg_restore").arg("--list").arg(dump);
        list.run(ctx).await.map(Some)
    };
    let roles = async {
        match globals {
            Some(globals) => head(ctx, server, globals).await,
            None => Ok(Vec::new()),
        }
    };
    // At once: each is a program that is started, and all of them count as time of the restore.
    let (made, listed, roles, psql) = tokio::try_join!(
        Made::of(ctx, server, format, dump),
        listed,
        roles,
        version_of(ctx, server, "psql")
    )?;
    made.fits(server.version())?;
    if listed
        .is_some_and(|list| list.exit != Some(0) && list.stderr.contains("unsupported version"))
    {
        let own = version_of(ctx, server, "pg_restore").await?;
        return Err(made.unreadable_by(&own));
    }
    if made.restricted || is_restricted(&String::from_utf8_lossy(&roles)) {
        knows_restrict(&psql)?;
    }
    Ok(())
}

/// The versions that a dump says it was made by.
#[derive(Debug, Default, PartialEq, Eq)]
struct Made {
    /// The version of the server; empty when the dump does not say.
    server: String,
    /// The version of `pg_dump`; empty when the dump does not say.
    tool: String,
    /// The version of the archive's format, when it is an archive.
    archive: Option<(u8, u8)>,
    /// A script that has a `\restrict` line.
    restricted: bool,
}

impl Made {
    async fn of(
        ctx: &Context,
        server: &dyn Running,
        format: DumpFormat,
        dump: &Path,
    ) -> Result<Self> {
        let read = |path: std::path::PathBuf| async move { head(ctx, server, &path).await };
        // A beginning that is no dump's is told by the tools, in their own words.
        Ok(match format {
            DumpFormat::Plain => {
                Self::of_script(&String::from_utf8_lossy(&read(dump.into()).await?))
            }
            DumpFormat::Custom => Self::of_archive(&read(dump.into()).await?).unwrap_or_default(),
            DumpFormat::Directory => {
                Self::of_archive(&read(dump.join(DIRECTORY_TOC)).await?).unwrap_or_default()
            }
            DumpFormat::Tar => {
                let head = read(dump.into()).await?;
                let toc = head.get(TAR_HEADER..).unwrap_or_default();
                Self::of_archive(toc).unwrap_or_default()
            }
        })
    }

    /// From the comments that a plain dump begins with.
    fn of_script(text: &str) -> Self {
        let after = |words: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(words));
            line.map(number_of).unwrap_or_default()
        };
        Self {
            server: after("-- Dumped from database version "),
            tool: after("-- Dumped by pg_dump version "),
            archive: None,
            restricted: is_restricted(text),
        }
    }

    /// From the header of an archive.
    fn of_archive(mut bytes: &[u8]) -> Option<Self> {
        let header = Header::read(&mut bytes).ok()?;
        Some(Self {
            server: number_of(&header.server),
            tool: number_of(&header.tool),
            archive: Some(header.format),
            restricted: false,
        })
    }

    /// A dump goes to its own major version or a newer one. What an archive's tool wrote is `pg_restore`'s to read;
    /// a script holds settings that only servers of its tool's version know.
    fn fits(&self, target: &str) -> Result<()> {
        let older = |version: &str| {
            let (target, version) = (parts(target), parts(version));
            target
                .zip(version)
                .is_some_and(|(target, version)| target.0 < version.0)
        };
        if older(&self.server) {
            return Err(Error::failed(format!(
                "the dump is of PostgreSQL {}, and this server is {target}: nothing was restored, as a dump does not go back to an older version",
                self.server
            ))
            .hint(format!("restore it onto PostgreSQL {} or newer", major(&self.server))));
        }
        if self.archive.is_none() && older(&self.tool) {
            return Err(Error::failed(format!(
                "the dump was written by pg_dump {}, and this server is PostgreSQL {target}: nothing was restored, as its script is for servers of that version",
                self.tool
            ))
            .hint(format!(
                "dump with the server's own pg_dump, or restore onto PostgreSQL {} or newer",
                major(&self.tool)
            )));
        }
        Ok(())
    }

    fn unreadable_by(&self, own: &str) -> Error {
        let format = self.archive.map_or_else(String::new, |(major, minor)| {
            format!(", in archive format {major}.{minor}")
        });
        Error::failed(format!(
            "the dump was written by pg_dump {}{format}, and pg_restore {own} cannot read that: nothing was restored",
            self.tool
        ))
        .hint(format!(
            "dump with the server's own pg_dump, or restore with pg_restore {} or newer",
            major(&self.tool)
        ))
    }
}

async fn head(ctx: &Context, server: &dyn Running, path: &Path) -> Result<Vec<u8>> {
    let head = server
        .tool("head")
        .args(["-c".to_owned(), HEAD.to_string()]);
    let read = head.arg(path).run(ctx).await?.ok();
    Ok(read.doing("read which version made the dump")?.stdout)
}

fn is_restricted(script: &str) -> bool {
    script.lines().any(|line| line.starts_with("\\restrict "))
}

/// The version that a tool of the server's installation gives for itself.
async fn version_of(ctx: &Context, server: &dyn Running, tool: &str) -> Result<String> {
    let asked = server.tool(tool).arg("--version").run(ctx).await?.ok()?;
    Ok(number_of(&asked.text()))
}

fn knows_restrict(psql: &str) -> Result<()> {
    let Some((major, minor)) = parts(psql) else {
        return Err(Error::failed(format!(
            "psql gives `{psql}` for its version: whether it knows \\restrict cannot be told"
        )));
    };
    let first = RESTRICTS.iter().find(|(known, _)| *known == major);
    let newest = RESTRICTS.iter().map(|(known, _)| *known).max();
    let knows = match first {
        Some((_, first)) => minor >= *first,
        None => Some(major) > newest,
    };
    if knows {
        return Ok(());
    }
    let first: Vec<String> = RESTRICTS.iter().map(|(a, b)| format!("{a}.{b}")).collect();
    Err(Error::failed(format!(
        "the dump has a \\restrict line, which psql {psql} does not know: nothing was restored"
    ))
    .hint(format!(
        "update psql: {} and newer know it",
        first.join(", ")
    )))
}

/// `15.18` of `psql (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
pub fn number_of(text: &str) -> String {
    let mut words = text.split_whitespace();
    let number = words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    number.unwrap_or_default().to_owned()
}

/// The major and the minor version; of a beta or a development version, the minor is 0.
pub fn parts(version: &str) -> Option<(u32, u32)> {
    let digits = |text: &str| -> Option<u32> {
        let end = text.find(|c: char| !c.is_ascii_digit());
        text[..end.unwrap_or(text.len())].parse().ok()
    };
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    Some((digits(major)?, digits(minor).unwrap_or(0)))
}

fn major(version: &str) -> String {
    parts(version).map_or_else(|| version.to_owned(), |(major, _)| major.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::archive::tests::archive;
    use super::*;

    #[test]
    fn an_archive_of_either_layout_names_its_server_and_its_tool() {
        for minor in [14, 15, 16] {
            let made = Made::of_archive(&archive(minor, "15.18 (Debian 15.18-0)", "17.6"));
            let made = made.expect("is an archive");
            assert_eq!(
                (made.server.as_str(), made.tool.as_str()),
                ("15.18", "17.6")
            );
            assert_eq!(made.archive, Some((1, minor)));
        }
        let bytes = archive(16, "15.18", "17.6");
        for end in 0..bytes.len() {
            assert_eq!(Made::of_archive(&bytes[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn a_script_names_its_versions_and_says_whether_it_is_restricted() {
        let text = "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\n\
                    -- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)\n-- Dumped by pg_dump version 17.6\n";
        let made = Made::of_script(text);
        assert_eq!(
            (made.server.as_str(), made.tool.as_str()),
            ("15.18", "17.6")
        );
        assert!(made.restricted);
        assert!(!Made::of_script("insert into t values ('\\restrict');\n").restricted);
    }

    #[test]
    fn a_dump_goes_forward_and_never_back_and_the_error_names_both_versions() {
        let made = |server: &str, tool: &str, archive| Made {
            server: server.to_owned(),
            tool: tool.to_owned(),
            archive,
            restricted: false,
        };
        assert!(made("15.18", "15.18", None).fits("15.2").is_ok());
        assert!(made("15.18", "15.18", None).fits("17.6").is_ok());
        // What wrote an archive is pg_restore's to judge.
        assert!(made("15.18", "17.6", Some((1, 16))).fits("15.18").is_ok());
        for (server, tool, archive) in [
            ("17.6", "17.6", Some((1, 16))),
            ("17.6", "17.6", None),
            ("15.18", "17.6", None),
        ] {
            let error = made(server, tool, archive).fits("15.18");
            let error = error.expect_err("goes back");
            assert!(error.message().contains("17.6"), "{error}");
            assert!(error.message().contains("15.18"), "{error}");
            assert!(
                error
                    .hint_text()
                    .is_some_and(|hint| hint.contains("PostgreSQL 17"))
            );
        }
    }

    #[test]
    fn psql_knows_restrict_since_the_minor_version_that_brought_it() {
        for version in ["13.22", "15.14", "15.18", "17.6", "18beta1", "19.0"] {
            assert!(knows_restrict(version).is_ok(), "{version}");
        }
        for version in ["12.22", "13.21", "15.13", "17.5", "17", "unknown"] {
            assert!(knows_restrict(version).is_err(), "{version}");
        }
    }
}
