//! Reading an artifact to its end before any server starts: what it is, when it was made, what it needs, and whether it is
//! whole. What cannot be an artifact at all is an error; what is damaged is found all the same, with why.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::base::{Base, Found, MANIFEST};
use super::kind::{self, Kind, Layer};
use super::script::Script;
use super::shape::Shape;
use super::{File, Given, Needs, Options, bare, open, rdb, slug, stem};
use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::evidence::ReadFact;
use crate::pipeline::files::FILES;
use crate::pipeline::pg_basebackup::given as physical;
use crate::pipeline::pg_dump::archive::{self, Data, Entry, Header};
use crate::pipeline::pg_dump::gate::{number_of, parts};
use crate::pipeline::redis::{RDB, aof};
use crate::process::Command;
use crate::suite::{BaseCompression, Compression, Dump, DumpFormat, Engine, Method, Zone};

/// The archive timeout of a base backup that comes without a schedule: nothing is archived.
const NO_ARCHIVING: Duration = Duration::from_secs(3600);
/// How many files a program is given at once.
const AT_ONCE: usize = 500;

/// The time of an artifact, by its beginning; no time where it does not say one, and nothing at all where it only goes with
/// another.
pub async fn began(
    ctx: &Context,
    shape: &Shape,
    options: &Options,
) -> Result<Option<Option<DateTime<Utc>>>> {
    let of_toc = |head: &[u8]| {
        let mut head = head;
        let header = Header::read(&mut head).ok();
        header.and_then(|header| in_zone(&header, options.zone))
    };
    let head = |path: PathBuf| async move {
        let head = open::inner_head(ctx, &path, &options.identities).await?;
        match head.is_empty() {
            true => Err(empty(&path.display().to_string())),
            false => Ok(head),
        }
    };
    Ok(Some(match shape {
        Shape::DumpDirectory(dir) => of_toc(&head(member(dir, "toc.dat")).await?),
        Shape::BaseDirectory(dir) => {
            let mut found = Found::default();
            let label = head(member(dir, "backup_label")).await?;
            let size = label.len() as u64;
            found
                .file("backup_label", size, &mut label.as_slice())
                .doing("read its label")?;
            found.label(options.zone).1
        }
        Shape::AppendOnly(dir) => match based_on(dir)? {
            Some(base) => rdb::Head::read(&mut head(base).await?.as_slice())
                .ok()
                .and_then(|it| it.saved_at),
            None => None,
        },
        Shape::BaseTars { base, .. } => base_began(&head(base.clone()).await?, options.zone),
        Shape::File(path) => {
            let head = head(path.clone()).await?;
            match kind::kind(&head, &path.display().to_string())? {
                Kind::PgCustom => of_toc(&head),
                Kind::PgTar => of_toc(head.get(512..).unwrap_or_default()),
                Kind::PgPlain => {
                    let read = Script::read(&mut head.as_slice(), options.zone);
                    read.doing("read its beginning")?.began
                }
                Kind::BaseTar => base_began(&head, options.zone),
                Kind::Rdb => rdb::Head::read(&mut head.as_slice())
                    .ok()
                    .and_then(|it| it.saved_at),
                Kind::FilesTar => members(&mut head.as_slice(), |_, _| Ok(())).1,
                Kind::WalTar => return Ok(None),
            }
        }
    }))
}

fn base_began(head: &[u8], zone: Zone) -> Option<DateTime<Utc>> {
    let mut found = Found::default();
    let mut head = head;
    let _ = members(&mut head, |entry, name| {
        let size = entry.size();
        found.file(name, size, entry)
    });
    found.label(zone).1
}

fn member(dir: &Path, name: &str) -> PathBuf {
    let sealed = dir.join(format!("{name}.age"));
    match sealed.is_file() {
        true => sealed,
        false => dir.join(name),
    }
}

fn empty(shown: &str) -> Error {
    Error::failed(format!("{shown} is empty: there is nothing in it to restore"))
        .hint("see the log of the job that wrote it; a tool that fails in a pipe leaves this behind (set -o pipefail)")
}

/// The time of an archive: its clock names no zone.
fn in_zone(header: &Header, zone: Zone) -> Option<DateTime<Utc>> {
    let local = header.made_at?.and_local_timezone(zone);
    local.earliest().map(|at| at.to_utc())
}

/// Goes through the members of a tar file; gives how it ended, and the newest time among them.
fn members(
    input: &mut dyn Read,
    mut each: impl FnMut(&mut tar::Entry<'_, &mut dyn Read>, &str) -> io::Result<()>,
) -> (io::Result<u64>, Option<DateTime<Utc>>) {
    let mut newest = None;
    let mut count = 0;
    let mut archive = tar::Archive::new(input);
    let mut walk = || {
        for entry in archive.entries()? {
            let mut entry = entry?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let time = entry
                .header()
                .mtime()
                .ok()
                .and_then(|it| i64::try_from(it).ok());
            newest = newest.max(time.filter(|it| *it > 0));
            each(&mut entry, &name)?;
            // What is left of it is read here, so that an end within it is an error of it.
            io::copy(&mut entry, &mut io::sink())?;
            count += 1;
        }
        Ok(())
    };
    let walked = walk();
    let newest = newest.and_then(|it: i64| DateTime::from_timestamp(it, 0));
    (walked.map(|()| count), newest)
}

/// Reads an artifact to its end.
pub async fn examine(
    ctx: &Context,
    shape: &Shape,
    shown: String,
    options: &Options,
) -> Result<Given> {
    let exam = Exam {
        ctx,
        shown,
        options,
    };
    match shape {
        Shape::File(path) => exam.file(path).await,
        Shape::DumpDirectory(dir) => exam.dump_directory(&exam.plain_directory(dir).await?).await,
        Shape::AppendOnly(dir) => {
            exam.append_only(&exam.plain_directory(dir).await?, dir)
                .await
        }
        Shape::BaseDirectory(dir) => exam.base_directory(dir).await,
        Shape::BaseTars {
            base,
            wal,
            manifest,
        } => {
            exam.base_tars(base, wal.as_deref(), manifest.as_deref())
                .await
        }
    }
}

struct Exam<'a> {
    ctx: &'a Context,
    shown: String,
    options: &'a Options,
}

impl Exam<'_> {
    fn given(&self, engine: Engine, method: Method, what: String, lineage: &str) -> Given {
        Given {
            shown: self.shown.clone(),
            what,
            lineage: slug(lineage),
            engine,
            method,
            version: None,
            database: None,
            taken_at: None,
            needs: Needs::default(),
            read: ReadFact {
                tool: "redrill's own reading".to_owned(),
                ..ReadFact::default()
            },
            bytes: 0,
            has_manifest: false,
            left: Vec::new(),
            files: Vec::new(),
        }
    }

    async fn file(&self, path: &Path) -> Result<Given> {
        let bytes = std::fs::metadata(path).doing("look at it")?.len();
        if bytes == 0 {
            return Err(empty(&self.shown));
        }
        let head = open::inner_head(self.ctx, path, &self.options.identities).await?;
        if head.is_empty() {
            return Err(empty(&self.shown));
        }
        let kind = kind::kind(&head, &self.shown)?;
        let plain = open::plain(self.ctx, path, &self.options.identities, &self.options.dir).await;
        let plain = match plain {
            Ok(plain) => plain,
            Err(error) if error.kind() == crate::error::Kind::Failed => {
                return Ok(self.unopened(kind, path, bytes, error));
            }
            Err(error) => return Err(error),
        };
        let mut given = match kind {
            Kind::PgCustom => self.custom(&plain, &head).await?,
            Kind::PgTar => self.pg_tar(&plain, &head).await?,
            Kind::PgPlain => self.script(&plain, path).await?,
            Kind::Rdb => self.rdb(&plain, path, &head).await?,
            Kind::FilesTar => self.files(&plain, path).await?,
            Kind::BaseTar => self.base_tars(path, None, None).await?,
            Kind::WalTar => {
                return Err(Error::usage(format!("{} is WAL without its base backup", self.shown))
                    .hint("name the folder of the base backup, and give the WAL with --wal if it lies elsewhere"));
            }
        };
        given.bytes = bytes;
        Ok(given)
    }

    /// What begins well and does not decrypt to its end.
    fn unopened(&self, kind: Kind, path: &Path, bytes: u64, error: Error) -> Given {
        let (engine, method) = match kind {
            Kind::Rdb => (Engine::Redis, Method::RedisRdb { aof: false }),
            Kind::FilesTar => (Engine::Bucket, Method::FilesTar),
            Kind::BaseTar | Kind::WalTar => (Engine::Postgres, base_method()),
            Kind::PgCustom | Kind::PgTar | Kind::PgPlain => (
                Engine::Postgres,
                dump_method(DumpFormat::Custom, Compression::None, false),
            ),
        };
        let mut given = self.given(engine, method, "an encrypted file".to_owned(), &stem(path));
        given.read.error = Some(error.message());
        given.bytes = bytes;
        given
    }

    /// A file without what packs it: of a kind that is not restored packed.
    async fn without_layer(&self, path: &Path, ending: &str) -> Result<io::Result<PathBuf>> {
        if !matches!(
            kind::layer(&open::head(path).await?),
            Some(Layer::Packed(..))
        ) {
            return Ok(Ok(path.to_owned()));
        }
        let target = self
            .options
            .dir
            .join(format!("{}.{ending}", self.ctx.next_number()));
        let input = open::unpacked(self.ctx, path).await?;
        match open::save(self.ctx, input, &target).await {
            Ok(_) => Ok(Ok(target)),
            Err(error) if error.kind() == crate::error::Kind::Failed => {
                Ok(Err(io::Error::other(error.message())))
            }
            Err(error) => Err(error),
        }
    }

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

    async fn custom(&self, path: &Path, head: &[u8]) -> Result<Given> {
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

    async fn pg_tar(&self, path: &Path, head: &[u8]) -> Result<Given> {
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

    async fn dump_directory(&self, dir: &Path) -> Result<Given> {
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

    async fn script(&self, plain: &Path, path: &Path) -> Result<Given> {
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
        let known = read.as_ref().ok().cloned().unwrap_or_default();
        let what = format!("a plain dump by pg_dump, of PostgreSQL {}", known.server);
        let method = dump_method(DumpFormat::Plain, compress, self.options.globals.is_some());
        let mut given = self.given(Engine::Postgres, method, what, &stem(path));
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

    async fn rdb(&self, plain: &Path, path: &Path, head: &[u8]) -> Result<Given> {
        let mut given = self.redis(path, head, false);
        let plain = match self.without_layer(plain, "rdb").await? {
            Ok(plain) => plain,
            Err(error) => return Ok(broken(given, &error)),
        };
        given.files.push(File::new(RDB, &plain));
        self.check_rdb(given, &plain, head).await
    }

    fn redis(&self, path: &Path, mut head: &[u8], aof: bool) -> Given {
        let known = rdb::Head::read(&mut head).unwrap_or_default();
        let what = match aof {
            true => "an append-only directory of Redis".to_owned(),
            false => format!("a snapshot of Redis {}", known.server),
        };
        let mut given = self.given(Engine::Redis, Method::RedisRdb { aof }, what, &stem(path));
        // 7.2 and later each write a format of their own, which the one before does not read.
        given.version = parts(&known.server).and_then(|(major, minor)| match (major, minor) {
            (7, 0) => Some("7".to_owned()),
            (7.., minor) => Some(format!("{major}.{minor}")),
            _ => None,
        });
        given.taken_at = known.saved_at;
        given.read.content_time = known.saved_at;
        given.read.entries = 1;
        given
    }

    async fn check_rdb(&self, mut given: Given, path: &Path, mut head: &[u8]) -> Result<Given> {
        let format = match rdb::Head::read(&mut head) {
            Ok(known) => known.format,
            Err(error) => return Ok(broken(given, &error)),
        };
        let input = open::unpacked(self.ctx, path).await?;
        let checked = open::read_by(self.ctx, input, move |mut input| {
            rdb::check(format, &mut input)
        });
        match checked.await? {
            Ok(words) => given.read.error = words.map(str::to_owned),
            Err(error) => return Ok(broken(given, &error)),
        }
        Ok(given)
    }

    async fn append_only(&self, dir: &Path, named: &Path) -> Result<Given> {
        let base = based_on(dir)?;
        let head = match &base {
            Some(base) if base.is_file() => open::head(base).await?,
            _ => Vec::new(),
        };
        let mut given = self.redis(named, &head, true);
        let manifest = manifest_of(dir)?;
        let text = std::fs::read_to_string(&manifest).doing("read its manifest")?;
        let name = |path: &Path| format!("{}{}", aof::PREFIX, bare(path));
        given.files.push(File::new(name(&manifest), &manifest));
        for named in aof::named(&text) {
            let path = dir.join(named?);
            let Ok(found) = std::fs::metadata(&path) else {
                let what = format!("its manifest names {}, which is not there", bare(&path));
                return Ok(broken(given, &io::Error::other(what)));
            };
            given.bytes += found.len();
            given.files.push(File::new(name(&path), &path));
            let head = open::head(&path).await?;
            if head.starts_with(rdb::MAGIC) {
                given = self.check_rdb(given, &path, &head).await?;
            } else {
                let input = open::unpacked(self.ctx, &path).await?;
                let read = open::read_by(self.ctx, input, |mut input| rdb::commands(&mut input));
                match read.await? {
                    Ok(count) => given.read.entries += count,
                    Err(error) => return Ok(broken(given, &error)),
                }
            }
            if given.read.error.is_some() {
                return Ok(given);
            }
        }
        Ok(given)
    }

    async fn files(&self, plain: &Path, path: &Path) -> Result<Given> {
        let what = "a tar file".to_owned();
        let mut given = self.given(Engine::Bucket, Method::FilesTar, what, &stem(path));
        let plain = match self.without_layer(plain, "tar").await? {
            Ok(plain) => plain,
            Err(error) => return Ok(broken(given, &error)),
        };
        let input = open::unpacked(self.ctx, &plain).await?;
        given.files.push(File::new(FILES, plain));
        let read = open::read_by(self.ctx, input, |mut input| {
            Ok(members(&mut input, |_, _| Ok(())))
        });
        match read.await? {
            Ok((Ok(count), newest)) => {
                (given.read.entries, given.taken_at) = (count, newest);
                given.read.content_time = newest;
            }
            Ok((Err(error), _)) | Err(error) => return Ok(broken(given, &error)),
        }
        match given.read.entries {
            0 => Err(empty(&self.shown)),
            _ => Ok(given),
        }
    }

    async fn base_directory(&self, dir: &Path) -> Result<Given> {
        let path = dir.to_owned();
        let found = tokio::task::spawn_blocking(move || {
            let mut found = Found::default();
            found.directory(&path, "").map(|()| found)
        });
        let found = found
            .await
            .doing("wait for a reader")?
            .doing("look at it")?;
        let packed = self
            .options
            .dir
            .join(format!("{}-base.tar", self.ctx.next_number()));
        let given = self.of_base(found, BaseCompression::None, dir).await?;
        if given.read.error.is_some() {
            return Ok(given);
        }
        // One stream, as every base backup is restored.
        let tar = Command::new("tar")
            .arg("-c")
            .arg("-f")
            .arg(&packed)
            .arg("-C")
            .arg(dir)
            .arg(".");
        tar.run(self.ctx)
            .await?
            .ok()
            .doing("pack the data directory")?;
        Ok(with_base(given, "base.tar", &packed, None))
    }

    async fn base_tars(
        &self,
        base: &Path,
        wal: Option<&Path>,
        manifest: Option<&Path>,
    ) -> Result<Given> {
        let (identities, dir) = (&self.options.identities, &self.options.dir);
        let mut bytes = 0;
        for path in [Some(base), wal, manifest].into_iter().flatten() {
            bytes += std::fs::metadata(path).doing("look at it")?.len();
        }
        let mut base = open::plain(self.ctx, base, identities, dir).await?;
        let (compress, name) = match kind::layer(&open::head(&base).await?) {
            Some(Layer::Packed(_, "gz")) => (BaseCompression::Gzip(6), "base.tar.gz"),
            Some(Layer::Packed(_, "zst")) => (BaseCompression::Zstd(3), "base.tar.zst"),
            Some(Layer::Packed(..)) => {
                base = self.without_layer(&base, "tar").await?.doing("unpack it")?;
                (BaseCompression::None, "base.tar")
            }
            _ => (BaseCompression::None, "base.tar"),
        };
        let (mut found, mut trouble) = self.tar_of(&base, Found::default(), false).await?;
        let mut beside = BTreeMap::new();
        if let Some(manifest) = manifest {
            let plain = open::plain(self.ctx, manifest, identities, dir).await?;
            let content = std::fs::read(&plain).doing("read its manifest")?;
            let size = content.len() as u64;
            found
                .file(MANIFEST, size, &mut content.as_slice())
                .doing("read its manifest")?;
            beside.insert(physical::MANIFEST, plain);
        }
        if let Some(wal) = wal {
            let plain = open::plain(self.ctx, wal, identities, dir).await?;
            let (with, error) = self.tar_of(&plain, found, true).await?;
            (found, trouble) = (with, trouble.or(error));
            beside.insert(
                physical::WAL_TAR,
                self.without_layer(&plain, "tar")
                    .await?
                    .doing("unpack its WAL")?,
            );
        }
        if let Some(error) = trouble {
            let mut given = self.given(
                Engine::Postgres,
                base_method(),
                "a base backup".to_owned(),
                "cluster",
            );
            given.bytes = bytes;
            return Ok(broken(given, &error));
        }
        let mut given = self.of_base(found, compress, &base).await?;
        given.bytes = bytes;
        Ok(with_base(given, name, &base, Some(beside)))
    }

    /// Goes through a tar file of a base backup, or of its WAL.
    async fn tar_of(
        &self,
        path: &Path,
        found: Found,
        wal: bool,
    ) -> Result<(Found, Option<io::Error>)> {
        let input = open::unpacked(self.ctx, path).await?;
        let known = found.clone();
        let read = open::read_by(self.ctx, input, move |mut input| {
            let mut found = found;
            let (walked, _) = members(&mut input, |entry, name| {
                let size = entry.size();
                if wal {
                    found.wal(name, size);
                    return Ok(());
                }
                // A link, as of a tablespace, is no file.
                match entry.header().entry_type() {
                    tar::EntryType::Regular | tar::EntryType::Symlink => {
                        found.file(name, size, entry)
                    }
                    _ => Ok(()),
                }
            });
            walked.map(|_| found)
        });
        Ok(match read.await? {
            Ok(found) => (found, None),
            Err(error) => (known, Some(error)),
        })
    }

    async fn of_base(
        &self,
        mut found: Found,
        compress: BaseCompression,
        path: &Path,
    ) -> Result<Given> {
        if found.tablespaces {
            return Err(Error::usage(format!(
                "{} has tablespaces, and is not restored by redrill",
                self.shown
            ))
            .hint("take the backup with --tablespace-mapping, or dump the databases"));
        }
        let mut extra = None;
        if let Some(dir) = &self.options.wal {
            extra = Some(self.pack_wal(dir, &mut found).await?);
        }
        let method = Method::PgBasebackup {
            compress,
            archive_timeout: NO_ARCHIVING,
        };
        let mut given = self.given(
            Engine::Postgres,
            method,
            "a base backup".to_owned(),
            &stem(path),
        );
        let base = match found.understood(self.options.zone) {
            Ok(base) => base,
            Err(words) => return Ok(broken(given, &io::Error::other(words))),
        };
        given.what = format!(
            "a base backup of cluster {}, of PostgreSQL {}{}",
            base.cluster,
            base.version,
            if base.has_manifest {
                ""
            } else {
                ", without a manifest"
            }
        );
        given.lineage = format!("cluster-{}", base.cluster);
        given.version = Some(base.version.clone());
        given.taken_at = base.began;
        given.read.content_time = base.began;
        given.read.entries = base.files;
        given.has_manifest = base.has_manifest;
        if let Err(words) = reaches(&base) {
            given.read.error = Some(words);
        }
        let mut file = File::new("base", "");
        file.metadata = physical::notes(&base.into());
        given.files.push(file);
        given
            .files
            .extend(extra.map(|path| File::new(physical::WAL_TAR, path)));
        Ok(given)
    }

    /// WAL of a folder as the tar file that goes with a base backup.
    async fn pack_wal(&self, dir: &Path, found: &mut Found) -> Result<PathBuf> {
        let doing = || format!("look at {}", dir.display());
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir).doing_with(doing)? {
            let entry = entry.doing_with(doing)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_wal = name.len() == 24 && name.chars().all(|c| c.is_ascii_hexdigit());
            if is_wal || name.ends_with(".history") {
                found.wal(&name, entry.metadata().doing_with(doing)?.len());
                names.push(name);
            }
        }
        if names.is_empty() {
            return Err(Error::usage(format!("{} holds no segment of WAL", dir.display()))
                .hint("segments have names of 24 hex digits, and are read as they are: unpack them first"));
        }
        names.sort();
        let packed = self
            .options
            .dir
            .join(format!("{}-wal.tar", self.ctx.next_number()));
        let list: String = names.iter().map(|name| format!("{name}\n")).collect();
        let tar = Command::new("tar")
            .arg("-c")
            .arg("-f")
            .arg(&packed)
            .arg("-C")
            .arg(dir);
        let packing = tar
            .args(["-T", "-"])
            .feed(self.ctx, io::Cursor::new(list.into_bytes()));
        packing.await?.ok().doing("pack the WAL")?;
        Ok(packed)
    }

    /// A folder with every file of it decrypted; the folder itself where none is encrypted.
    async fn plain_directory(&self, dir: &Path) -> Result<PathBuf> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(dir).doing("look at it")? {
            paths.push(entry.doing("look at it")?.path());
        }
        if !paths
            .iter()
            .any(|path| path.extension().is_some_and(|it| it == "age"))
        {
            return Ok(dir.to_owned());
        }
        let plain = self
            .options
            .dir
            .join(format!("{}-plain", self.ctx.next_number()));
        std::fs::create_dir(&plain).doing("make room for it")?;
        for path in paths {
            let opened = open::plain(self.ctx, &path, &self.options.identities, &plain).await?;
            let target = plain.join(bare(&path));
            let moved = match opened == path {
                true => std::fs::copy(&path, &target).map(drop),
                false => std::fs::rename(&opened, &target),
            };
            moved.doing_with(|| format!("decrypt {}", path.display()))?;
        }
        Ok(plain)
    }
}

/// The WAL that the base backup cannot do without is there.
fn reaches(base: &Base) -> std::result::Result<(), String> {
    let lacking = physical::missing(base.start, base.stop, base.segment_size, &base.wal);
    match lacking {
        None => Ok(()),
        Some(segment) => Err(format!(
            "WAL segment {segment} is not with it, and without it the base backup cannot be made consistent: it needs {} up to {}; take it with \
             pg_basebackup --wal-method=stream, or give the folder of its WAL (--wal)",
            base.start, base.stop
        )),
    }
}

/// Gives the base backup its file, and what lies beside it.
fn with_base(
    mut given: Given,
    name: &str,
    path: &Path,
    beside: Option<BTreeMap<&str, PathBuf>>,
) -> Given {
    for file in given.files.iter_mut().filter(|file| file.name == "base") {
        (file.name, file.path) = (name.to_owned(), path.to_owned());
    }
    for (name, path) in beside.into_iter().flatten() {
        if !given.files.iter().any(|file| file.name == name) {
            given.files.push(File::new(name, path));
        }
    }
    given
}

fn base_method() -> Method {
    Method::PgBasebackup {
        compress: BaseCompression::None,
        archive_timeout: NO_ARCHIVING,
    }
}

fn dump_method(format: DumpFormat, compress: Compression, globals: bool) -> Method {
    Method::PgDump(Dump {
        compress,
        globals,
        ..Dump::of(format, 0)
    })
}

fn major(version: &str) -> Option<String> {
    parts(version).map(|(major, _)| major.to_string())
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

fn broken(mut given: Given, error: &io::Error) -> Given {
    given.read.error = Some(cut(error));
    given
}

/// Why it could not be read to its end.
fn cut(error: &io::Error) -> String {
    let own = error.get_ref().is_some();
    match error.kind() {
        io::ErrorKind::UnexpectedEof if own && !error.to_string().contains("fill whole buffer") => {
            format!("{error}: it was cut")
        }
        io::ErrorKind::UnexpectedEof => "it ends too early: it was cut".to_owned(),
        _ => error.to_string(),
    }
}

fn manifest_of(dir: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(dir).doing("look at it")?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let found = paths.find(|path| bare(path).ends_with(".aof.manifest"));
    found.ok_or_else(|| Error::defect("the append-only directory lost its manifest"))
}

/// The snapshot that an append-only directory begins with.
fn based_on(dir: &Path) -> Result<Option<PathBuf>> {
    let text = std::fs::read_to_string(manifest_of(dir)?).unwrap_or_default();
    let mut names = aof::named(&text).flatten();
    Ok(names
        .find(|name| name.ends_with(".rdb"))
        .map(|name| member(dir, &name)))
}
