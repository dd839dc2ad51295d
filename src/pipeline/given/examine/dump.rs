//! Dumps of one database, by pg_dump, in each of its formats.

use std::io;
use std::path::{Path, PathBuf};

use super::super::kind::{self, Layer};
use super::super::script::Script;
use super::super::{File, Given, open};
use super::{AT_ONCE, Exam, broken, cut, dump_method, empty, in_zone, major, members};
use crate::error::{Doing, Error, Result};
use crate::pipeline::pg_dump::archive::{self, Data, Entry, Header};
use crate::pipeline::pg_dump::gate::number_of;
use crate::process::Command;
use crate::suite::{Compression, DumpFormat, Engine};

impl Exam<'_> {
    fn of_header(&self, header: &Header, format: DumpFormat) -> Given {
        let server = number_of(&header.server);
        let what = format!(
            "a dump of database {} by pg_dump {} ({} format), of PostgreSQL {server}",
            header.database,
            number_of(&header.tool),
            format.id()
        );
        let method = dump_method(format, Compression::None, self.options.globals.is_some());
        let mut given = self.given(Engine::Postgres, method, what, &header.database);
        given.version = major(&server);
        given.database = Some(header.database.clone()).filter(|name| !name.is_empty());
        given.taken_at = in_zone(header, self.options.zone);
        if let Some(globals) = &self.options.globals {
            given.files.push(File::new("globals.sql", globals));
        }
        given
    }

    fn headed(&self, mut head: &[u8], format: DumpFormat) -> Result<Given> {
        let header = Header::read(&mut head).map_err(|error| {
            Error::failed(cut(&error)).doing(format!("read {}", self.shown)).hint(
                "the dump holds nothing that could be restored: see the log of the job that wrote it",
            )
        })?;
        Ok(self.of_header(&header, format))
    }

    pub(super) async fn custom(&self, path: &Path, head: &[u8]) -> Result<Given> {
        let mut given = self.headed(head, DumpFormat::Custom)?;
        let plain = match self.without_layer(path, "dump").await? {
            Ok(plain) => plain,
            Err(error) => return Ok(broken(given, &error)),
        };
        let input = open::unpacked(self.ctx, &plain).await?;
        let read = open::read_by(self.ctx, input, |mut input| {
            let header = Header::read(&mut input)?;
            let entries = archive::contents(&header, false, &mut input)?;
            let walked = archive::walk(&header, &entries, &mut input);
            Ok((entries, walked))
        });
        given.files.insert(0, File::new("db.dump", plain));
        Ok(match read.await? {
            Ok((entries, walked)) => of_entries(given, &entries, walked.err()),
            Err(error) => broken(given, &error),
        })
    }

    pub(super) async fn pg_tar(&self, path: &Path, head: &[u8]) -> Result<Given> {
        let mut given = self.headed(head.get(512..).unwrap_or_default(), DumpFormat::Tar)?;
        let plain = match self.without_layer(path, "tar").await? {
            Ok(plain) => plain,
            Err(error) => return Ok(broken(given, &error)),
        };
        let input = open::unpacked(self.ctx, &plain).await?;
        let read = open::read_by(self.ctx, input, |mut input| {
            let (mut entries, mut names) = (Vec::new(), Vec::new());
            let (walked, _) = members(&mut input, |entry, name| {
                if name == "toc.dat" {
                    let mut toc = io::BufReader::new(entry);
                    let header = Header::read(&mut toc)?;
                    entries = archive::contents(&header, true, &mut toc)?;
                }
                names.push(name.to_owned());
                Ok(())
            });
            Ok((entries, names, walked))
        });
        given.files.insert(0, File::new("db.tar", plain));
        Ok(match read.await? {
            Ok((entries, names, walked)) => {
                let has = |name: &str| names.iter().any(|it| it == name);
                let error = walked.err().or_else(|| lacking(&entries, has));
                of_entries(given, &entries, error)
            }
            Err(error) => broken(given, &error),
        })
    }

    pub(super) async fn dump_directory(&self, dir: &Path) -> Result<Given> {
        let toc = std::fs::read(dir.join("toc.dat")).doing("read its table of contents")?;
        if toc.is_empty() {
            return Err(empty(&self.shown));
        }
        let mut given = self.headed(&toc, DumpFormat::Directory)?;
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir).doing("look at it")? {
            let entry = entry.doing("look at it")?;
            let name = entry.file_name().to_string_lossy().into_owned();
            given.bytes += entry.metadata().doing("look at it")?.len();
            given
                .files
                .push(File::new(format!("db/{name}"), entry.path()));
            names.push(name);
        }
        let mut input = toc.as_slice();
        let entries = Header::read(&mut input)
            .and_then(|header| archive::contents(&header, true, &mut input));
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => return Ok(broken(given, &error)),
        };
        let endings = ["", ".gz", ".lz4", ".zst"];
        let has = |name: &str| {
            endings
                .iter()
                .any(|ending| names.iter().any(|it| *it == format!("{name}{ending}")))
        };
        let mut error = lacking(&entries, has);
        for (ending, program) in [("gz", "gzip"), ("lz4", "lz4"), ("zst", "zstd")] {
            let packed = names.iter().map(|name| dir.join(name));
            let packed: Vec<PathBuf> = packed
                .filter(|path| path.extension().is_some_and(|it| it == ending))
                .collect();
            for some in packed.chunks(AT_ONCE) {
                let test = Command::new(program).args(["-t", "-q", "--"]).args(some);
                if let Err(words) = test.run(self.ctx).await?.ok() {
                    error.get_or_insert(io::Error::other(words.message()));
                }
            }
        }
        Ok(of_entries(given, &entries, error))
    }

    pub(super) async fn script(&self, plain: &Path, path: &Path, head: &[u8]) -> Result<Given> {
        let (compress, name) = match kind::layer(&open::head(plain).await?) {
            Some(Layer::Packed(_, "gz")) => (Compression::Zlib(6), "db.sql.gz"),
            Some(Layer::Packed(_, "zst")) => (Compression::Zstd(3), "db.sql.zst"),
            Some(Layer::Packed(..)) => (Compression::Lz4(1), "db.sql.lz4"),
            _ => (Compression::None, "db.sql"),
        };
        let zone = self.options.zone;
        let input = open::unpacked(self.ctx, plain).await?;
        let read = open::read_by(self.ctx, input, move |mut input| {
            Script::read(&mut input, zone)
        });
        let read = read.await?;
        // Of one that cannot be read to its end, its beginning is known all the same.
        let known = match &read {
            Ok(known) => known.clone(),
            Err(_) => Script::read(&mut &*head, zone).unwrap_or_default(),
        };
        let what = format!("a plain dump by pg_dump, of PostgreSQL {}", known.server);
        let method = dump_method(DumpFormat::Plain, compress, self.options.globals.is_some());
        let mut given = self.given(
            Engine::Postgres,
            method,
            what,
            &self.by_name(Engine::Postgres, path),
        );
        given.version = major(&known.server);
        given.taken_at = known.began;
        given.read.content_time = known.began;
        given.read.entries = known.tables;
        given.needs = known.needs;
        given.files.push(File::new(name, plain));
        if let Some(globals) = &self.options.globals {
            given.files.push(File::new("globals.sql", globals));
        }
        if let Some((line, begins)) = known.foreign {
            return Err(Error::refused(format!(
                "{} has a command of psql in line {line} ({begins}), and is not run: a dump of one database has none",
                self.shown
            ))
            .hint("dump without --create, and take out what was added by hand"));
        }
        Ok(match read {
            Err(error) => broken(given, &error),
            Ok(_) if known.ended => given,
            Ok(_) => broken(given, &io::ErrorKind::UnexpectedEof.into()),
        })
    }
}

/// What a table of contents tells.
fn of_entries(mut given: Given, entries: &[Entry], error: Option<io::Error>) -> Given {
    given.read.entries = entries.len() as u64;
    given.read.content_time = given.taken_at;
    for entry in entries {
        given.needs.owner(&entry.owner);
        given.needs.statements(&entry.statement);
        if entry.kind == "EXTENSION" {
            given.needs.extension(&entry.tag);
        }
    }
    match error {
        None => given,
        Some(error) => broken(given, &error),
    }
}

/// The first entry whose data lie in a file that is not there.
fn lacking(entries: &[Entry], has: impl Fn(&str) -> bool) -> Option<io::Error> {
    let mut files = entries.iter().filter_map(|entry| match &entry.data {
        Some(Data::File(name)) => Some((entry, name)),
        _ => None,
    });
    let (entry, name) = files.find(|(_, name)| !has(name))?;
    Some(io::Error::other(format!(
        "{name}, the {} of {}, is not there",
        entry.kind, entry.tag
    )))
}
