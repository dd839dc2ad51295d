//! Reading an artifact to its end before any server starts: what it is, when it was made, what it needs, and whether it is
//! whole. What cannot be an artifact at all is an error; what is damaged is found all the same, with why.

mod dump;
mod pgbackrest;
mod physical;
mod redis;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::base::Found;
use super::kind::{self, Kind, Layer};
use super::script::Script;
use super::shape::Shape;
use super::{File, Given, Needs, Options, bare, open, rdb, slug, stem};
use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::evidence::ReadFact;
use crate::pipeline::files::FILES;
use crate::pipeline::pg_dump::archive::Header;
use crate::pipeline::pg_dump::gate::parts;
use crate::suite::{BaseCompression, Compression, Dump, DumpFormat, Engine, Method, Zone};

/// The archive timeout of a base backup that comes without a schedule: nothing is archived.
const NO_ARCHIVING: Duration = Duration::from_secs(3600);
/// How many files a program is given at once.
const AT_ONCE: usize = 500;

/// What the beginning of an artifact tells.
pub struct Began {
    /// The time of its content, where it says one.
    pub at: Option<DateTime<Utc>>,
    /// What it is a backup of, as [`Given::lineage`]; of a base backup only that it is one of a cluster, where its
    /// beginning does not say of which.
    pub lineage: String,
    /// Its content says so, and not its name.
    pub named: bool,
}

/// What lies in a folder, by its beginning.
pub enum Seen {
    /// An artifact.
    Artifact(Began),
    /// What only goes with one, as WAL does.
    Part,
    /// No backup that redrill knows: none at all, or one that is damaged at its very beginning.
    Unknown,
}

/// What lies there, by its beginning.
pub async fn began(ctx: &Context, shape: &Shape, shown: String, options: &Options) -> Result<Seen> {
    let exam = Exam {
        ctx,
        shown,
        options,
    };
    let of_toc = |mut head: &[u8]| {
        let header = Header::read(&mut head).doing("read its header")?;
        let at = in_zone(&header, options.zone);
        Ok::<_, Error>((at, slug(&header.database), true))
    };
    let of_rdb = |head: Vec<u8>, path: &Path| {
        let known = rdb::Head::read(&mut head.as_slice()).ok();
        let at = known.and_then(|it| it.saved_at);
        (at, slug(&exam.by_name(Engine::Redis, path)), false)
    };
    let head = |path: PathBuf| async move {
        let head = open::inner_head(ctx, &path, &options.identities).await?;
        match holds_nothing(&head) {
            true => Err(empty(&path.display().to_string())),
            false => Ok(head),
        }
    };
    let cluster = || "cluster".to_owned();
    let (at, lineage, named) = match shape {
        Shape::DumpDirectory(dir) => of_toc(&head(member(dir, "toc.dat")).await?)?,
        Shape::BaseDirectory(dir) => {
            let mut found = Found::default();
            let label = head(member(dir, "backup_label")).await?;
            let size = label.len() as u64;
            found
                .file("backup_label", size, &mut label.as_slice())
                .doing("read its label")?;
            (found.label(options.zone).1, cluster(), false)
        }
        Shape::AppendOnly(dir) => match redis::based_on(ctx, dir, &options.identities).await? {
            Some(base) => of_rdb(head(base).await?, dir),
            None => of_rdb(Vec::new(), dir),
        },
        // Which one of its backups is taken shows once it is read to its end.
        Shape::PgBackRest(_) => (None, cluster(), false),
        Shape::BaseTars { base, .. } => (
            base_began(&head(base.clone()).await?, options.zone),
            cluster(),
            false,
        ),
        Shape::File(path) => {
            let head = head(path.clone()).await?;
            let Some(kind) = kind::known(&head, &exam.shown)? else {
                return Ok(Seen::Unknown);
            };
            match kind {
                Kind::PgCustom => of_toc(&head)?,
                Kind::PgTar => of_toc(head.get(512..).unwrap_or_default())?,
                Kind::PgPlain => {
                    let read = Script::read(&mut head.as_slice(), options.zone);
                    let at = read.doing("read its beginning")?.began;
                    (at, slug(&exam.by_name(Engine::Postgres, path)), false)
                }
                Kind::BaseTar => (base_began(&head, options.zone), cluster(), false),
                Kind::Rdb => of_rdb(head, path),
                Kind::FilesTar => {
                    let newest = members(&mut head.as_slice(), |_, _| Ok(())).1;
                    (newest, slug(&exam.by_name(Engine::Bucket, path)), false)
                }
                Kind::WalTar => return Ok(Seen::Part),
            }
        }
    };
    Ok(Seen::Artifact(Began { at, lineage, named }))
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

/// Whether there is nothing in a file that begins so: no byte, or none but zeros, as in a tar file without a member and in what
/// was made room for and never written.
fn holds_nothing(head: &[u8]) -> bool {
    head.iter().all(|byte| *byte == 0)
}

fn empty(shown: &str) -> Error {
    Error::failed(format!(
        "{shown} is empty: there is nothing in it to restore (a tool that fails in a pipe leaves this behind: set -o pipefail)"
    ))
    .hint("see the log of the job that wrote it")
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

/// Whether a tar file packs nothing but one directory dump.
#[derive(Debug, Default)]
struct Packs {
    /// The folder of all files so far; `None` once there was another one.
    folder: Option<Option<String>>,
    contents: bool,
}

impl Packs {
    fn member(&mut self, name: &str) {
        let (folder, file) = name.rsplit_once('/').unwrap_or_default();
        // The name of a folder ends in a slash.
        if name.ends_with('/') {
            return;
        }
        match &self.folder {
            None => self.folder = Some(Some(folder.to_owned())),
            Some(Some(known)) if known == folder => {}
            Some(_) => self.folder = Some(None),
        }
        self.contents |= file == "toc.dat";
    }

    fn dump(self) -> Option<String> {
        let folder = self.folder.flatten().filter(|it| !it.is_empty())?;
        self.contents.then_some(folder)
    }
}

/// Reads an artifact to its end. Where this machine could not, that is an error, and no damage of it.
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
    let given = read(&exam, shape).await?;
    if let Some(words) = &given.read.error {
        let error = Error::failed(words).doing(format!("read {}", given.shown));
        let error = error.blaming_this_machine();
        if error.kind() != crate::error::Kind::Failed {
            return Err(error);
        }
    }
    Ok(given)
}

async fn read(exam: &Exam<'_>, shape: &Shape) -> Result<Given> {
    let (dir, kind) = match shape {
        Shape::File(path) => return exam.file(path).await,
        Shape::PgBackRest(root) => return exam.pgbackrest(root).await,
        Shape::BaseTars {
            base,
            wal,
            manifest,
        } => {
            let read = exam.base_tars(base, wal.as_deref(), manifest.as_deref());
            return match read.await {
                Err(error) if error.kind() == crate::error::Kind::Failed => {
                    let bytes = std::fs::metadata(base).doing("look at it")?.len();
                    Ok(exam.unopened(Kind::BaseTar, base, bytes, error))
                }
                read => read,
            };
        }
        Shape::DumpDirectory(dir) => (dir, Kind::PgCustom),
        Shape::AppendOnly(dir) => (dir, Kind::Rdb),
        Shape::BaseDirectory(dir) => (dir, Kind::BaseTar),
    };
    let bytes = below(dir)?.iter().map(|it| it.bytes).sum();
    let plain = match exam.plain_directory(dir).await {
        Err(error) if error.kind() == crate::error::Kind::Failed => {
            return Ok(exam.unopened(kind, dir, bytes, error));
        }
        plain => plain?,
    };
    let given = match shape {
        Shape::AppendOnly(_) => exam.append_only(&plain, dir).await?,
        Shape::BaseDirectory(_) => exam.base_directory(&plain, dir).await?,
        _ => exam.dump_directory(&plain).await?,
    };
    Ok(Given { bytes, ..given })
}

/// What lies somewhere below a folder.
struct Below {
    /// Its path from there.
    path: PathBuf,
    bytes: u64,
    kind: std::fs::FileType,
}

/// All that lies below a folder, each folder before what is in it.
fn below(root: &Path) -> Result<Vec<Below>> {
    let (mut all, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        let doing = || format!("look at {}", root.join(&folder).display());
        for entry in std::fs::read_dir(root.join(&folder)).doing_with(doing)? {
            let entry = entry.doing_with(doing)?;
            let path = folder.join(entry.file_name());
            let kind = entry.file_type().doing_with(doing)?;
            let bytes = match kind.is_file() {
                true => entry.metadata().doing_with(doing)?.len(),
                false => 0,
            };
            if kind.is_dir() {
                folders.push(path.clone());
            }
            all.push(Below { path, bytes, kind });
        }
    }
    Ok(all)
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
            encrypted: false,
            tree: None,
            files: Vec::new(),
        }
    }

    /// What only names tell is named by its engine, its folder and itself: every Redis writes a `dump.rdb`.
    fn by_name(&self, engine: Engine, path: &Path) -> String {
        let shown = Path::new(self.shown.split('?').next().unwrap_or_default());
        let whole = match self.shown.contains("://") {
            true => shown.to_owned(),
            false => std::path::absolute(shown).unwrap_or_else(|_| shown.to_owned()),
        };
        // Folders that are named by dates alone tell nothing.
        let mut folders = whole.ancestors().skip(1).map(stem);
        let folder = folders.find(|stem| !stem.is_empty()).unwrap_or_default();
        let words = [engine.id().to_owned(), folder, stem(path)];
        let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
        words.join("-")
    }

    async fn file(&self, path: &Path) -> Result<Given> {
        let bytes = std::fs::metadata(path).doing("look at it")?.len();
        if bytes == 0 {
            return Ok(self.empty(path, bytes));
        }
        let head = match open::inner_head(self.ctx, path, &self.options.identities).await {
            Err(error) if error.kind() == crate::error::Kind::Failed => {
                return Ok(self.unopened(by_ending(path), path, bytes, error));
            }
            head => head?,
        };
        if holds_nothing(&head) {
            return Ok(self.empty(path, bytes));
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
            Kind::PgPlain => self.script(&plain, path, &head).await?,
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

    /// What holds nothing: its name alone tells what it should have been.
    fn empty(&self, path: &Path, bytes: u64) -> Given {
        let what = "an empty file".to_owned();
        self.unread(by_ending(path), path, what, bytes, empty(&self.shown))
    }

    /// What cannot be opened, or not to its end.
    fn unopened(&self, kind: Kind, path: &Path, bytes: u64, error: Error) -> Given {
        let what = "a file that cannot be opened".to_owned();
        self.unread(kind, path, what, bytes, error)
    }

    fn unread(&self, kind: Kind, path: &Path, what: String, bytes: u64, error: Error) -> Given {
        let (engine, method) = match kind {
            Kind::Rdb => (Engine::Redis, Method::RedisRdb { aof: false }),
            Kind::FilesTar => (Engine::Bucket, Method::FilesTar),
            Kind::BaseTar | Kind::WalTar => (Engine::Postgres, base_method()),
            Kind::PgCustom | Kind::PgTar | Kind::PgPlain => (
                Engine::Postgres,
                dump_method(DumpFormat::Custom, Compression::None, false),
            ),
        };
        let lineage = self.by_name(engine, path);
        let mut given = self.given(engine, method, what, &lineage);
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

    async fn files(&self, plain: &Path, path: &Path) -> Result<Given> {
        let what = "a tar file".to_owned();
        let lineage = self.by_name(Engine::Bucket, path);
        let mut given = self.given(Engine::Bucket, Method::FilesTar, what, &lineage);
        let plain = match self.without_layer(plain, "tar").await? {
            Ok(plain) => plain,
            Err(error) => return Ok(broken(given, &error)),
        };
        let input = open::unpacked(self.ctx, &plain).await?;
        given.files.push(File::new(FILES, plain));
        let read = open::read_by(self.ctx, input, |mut input| {
            let mut packs = Packs::default();
            let read = members(&mut input, |_, name| {
                packs.member(name);
                Ok(())
            });
            Ok((read, packs.dump()))
        });
        match read.await? {
            Ok(((Ok(_), _), Some(folder))) => {
                return Err(Error::usage(format!(
                    "{} packs a directory dump of pg_dump, {folder}",
                    self.shown
                ))
                .hint("unpack it, and verify the folder: as files alone nothing would be known of the database"));
            }
            Ok(((Ok(count), newest), None)) => {
                (given.read.entries, given.taken_at) = (count, newest);
                given.read.content_time = newest;
            }
            Ok(((Err(error), _), _)) | Err(error) => return Ok(broken(given, &error)),
        }
        match given.read.entries {
            0 => Err(empty(&self.shown)),
            _ => Ok(given),
        }
    }

    /// A folder with every file in it and below it decrypted; the folder itself where none is encrypted.
    async fn plain_directory(&self, dir: &Path) -> Result<PathBuf> {
        let all = below(dir)?;
        let sealed = |it: &Below| it.path.extension().is_some_and(|it| it == "age");
        if !all.iter().any(sealed) {
            return Ok(dir.to_owned());
        }
        let number = self.ctx.next_number();
        let plain = self.options.dir.join(format!("{number}-plain"));
        private(&plain)?;
        for found in &all {
            let from = dir.join(&found.path);
            let doing = || format!("decrypt {}", from.display());
            if found.kind.is_dir() {
                // A data directory has folders that nothing lies in.
                private(&plain.join(&found.path))?;
                continue;
            }
            let target = plain.join(&found.path).with_file_name(bare(&found.path));
            if found.kind.is_symlink() {
                let to = std::fs::read_link(&from).doing_with(doing)?;
                std::os::unix::fs::symlink(to, &target).doing_with(doing)?;
                continue;
            }
            let opened = open::plain(self.ctx, &from, &self.options.identities, &plain).await?;
            let moved = match opened == from {
                true => tokio::fs::copy(&from, &target).await.map(drop),
                false => tokio::fs::rename(&opened, &target).await,
            };
            moved.doing_with(doing)?;
        }
        Ok(plain)
    }
}

/// Makes a directory that only this user can look into, as a server of PostgreSQL insists on.
fn private(path: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let made = builder.recursive(true).create(path);
    made.doing_with(|| format!("create {}", path.display()))
}

/// What a file should have been, which its name alone tells.
fn by_ending(path: &Path) -> Kind {
    let name = bare(path);
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("rdb" | "aof") => Kind::Rdb,
        Some("tar" | "tgz") => Kind::FilesTar,
        _ => Kind::PgPlain,
    }
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

/// The version of a server that takes it in: the first number, before 10 the first two.
fn major(version: &str) -> Option<String> {
    parts(version).map(|(major, minor)| match major {
        ..10 => format!("{major}.{minor}"),
        _ => major.to_string(),
    })
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
        // Without the hint: the log that it names goes with the directory of this reading.
        _ => match error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>())
        {
            Some(own) => own.message(),
            None => error.to_string(),
        },
    }
}
