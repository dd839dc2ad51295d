//! Base backups of a cluster, as a directory or as tar files, with the WAL that is with them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::super::base::{Base, Found, MANIFEST};
use super::super::kind::{self, Layer};
use super::super::{File, Given, open, shape};
use super::{Exam, NO_ARCHIVING, base_method, broken, cut, members, private};
use crate::error::{Doing, Error, Result};
use crate::pipeline::pg_basebackup::given as physical;
use crate::process::Command;
use crate::repository::wal::Name;
use crate::suite::{BaseCompression, Engine, Method};

impl Exam<'_> {
    pub(super) async fn base_directory(&self, dir: &Path, named: &Path) -> Result<Given> {
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
        let given = self.of_base(found, BaseCompression::None, named).await?;
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

    pub(super) async fn base_tars(
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
        let extra = match &self.options.wal {
            Some(dir) => Some(self.pack_wal(dir, &mut found).await),
            None => None,
        };
        let method = Method::PgBasebackup {
            compress,
            archive_timeout: NO_ARCHIVING,
        };
        let mut given = self.given(
            Engine::Postgres,
            method,
            "a base backup".to_owned(),
            &self.by_name(Engine::Postgres, path),
        );
        let extra = match extra.transpose() {
            Err(error) if error.kind() == crate::error::Kind::Failed => {
                return Ok(broken(given, &io::Error::other(error.message())));
            }
            extra => extra?,
        };
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

    /// WAL of a folder as the tar file that goes with a base backup, from where that begins: decrypted and unpacked.
    async fn pack_wal(&self, dir: &Path, found: &mut Found) -> Result<PathBuf> {
        let doing = || format!("look at {}", dir.display());
        let first = found.start().map(|(segment, _)| segment);
        let mut wanted: BTreeMap<String, (bool, PathBuf)> = BTreeMap::new();
        for entry in std::fs::read_dir(dir).doing_with(doing)? {
            let path = entry.doing_with(doing)?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let Some((name, unfinished)) = shape::wal(&file) else {
                continue;
            };
            let parsed = Name::parse(name);
            let early = parsed.is_some_and(|it| first.is_some_and(|first| it.is_before(first)));
            // A segment that was archived whole wins over what was written of it until then.
            let known = wanted.get(name).is_some_and(|(it, _)| !it);
            if !(early || unfinished && known) {
                wanted.insert(name.to_owned(), (unfinished, path.clone()));
            }
        }
        if wanted.is_empty() {
            return Err(Error::usage(format!(
                "{} holds no segment of WAL that the base backup could use",
                dir.display()
            ))
            .hint("segments have names of 24 hex digits; with .gz, .zst, .lz4, .age or .partial behind them they are read too"));
        }
        let number = self.ctx.next_number();
        let plain = self.options.dir.join(format!("{number}-wal"));
        private(&plain)?;
        let mut sizes = BTreeMap::new();
        for (name, (unfinished, path)) in &wanted {
            let (identities, dir) = (&self.options.identities, &self.options.dir);
            let opened = open::plain(self.ctx, path, identities, dir).await?;
            let opened = match self.without_layer(&opened, "wal").await? {
                Ok(opened) => opened,
                // It is still being written, and has no end yet.
                Err(_) if *unfinished => continue,
                Err(error) => {
                    return Err(
                        Error::failed(cut(&error)).doing(format!("unpack WAL segment {name}"))
                    );
                }
            };
            let opened = opened.canonicalize().doing_with(doing)?;
            sizes.insert(name, std::fs::metadata(&opened).doing_with(doing)?.len());
            std::os::unix::fs::symlink(opened, plain.join(name)).doing("gather the WAL")?;
        }
        let whole = sizes.values().copied().max().unwrap_or_default();
        sizes.retain(|name, size| *size == whole || !wanted[*name].0);
        for (name, size) in &sizes {
            found.wal(name, *size);
        }
        let packed = self.options.dir.join(format!("{number}-wal.tar"));
        let list: String = sizes.keys().map(|name| format!("{name}\n")).collect();
        let tar = Command::new("tar")
            .args(["--dereference", "-c", "-f"])
            .arg(&packed)
            .arg("-C")
            .arg(&plain);
        let packing = tar
            .args(["-T", "-"])
            .feed(self.ctx, io::Cursor::new(list.into_bytes()));
        packing.await?.ok().doing("pack the WAL")?;
        Ok(packed)
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
