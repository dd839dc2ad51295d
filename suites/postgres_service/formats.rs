//! Every format and part that `pg_dump` makes, through an artifact and back.

use std::collections::BTreeSet;
use std::sync::Arc;

use libtest_mimic::Failed;
use redrill::error::Result;
use redrill::pipeline::Pipeline;
use redrill::pipeline::artifact::{ArtifactReader, ArtifactWriter, Keys, Origin};
use redrill::pipeline::pg_dump::PgDump;
use redrill::pipeline::physical;
use redrill::repository::Repository;
use redrill::repository::local::LocalRepository;
use redrill::service::postgres::PostgresService;
use redrill::service::postgres::session::Session;
use redrill::service::{Running, Service};
use redrill::suite::{Compression, Dump, DumpFormat, Only, RestoreOptions};
use tokio::io::AsyncReadExt;

use crate::server::{Disk, TestServer};
use crate::{Lab, differences, same};

/// Dumps into an encrypted artifact.
pub async fn artifact_of(
    lab: &Lab,
    pipeline: &PgDump,
    source: &PostgresService,
) -> Result<ArtifactReader> {
    let number = lab.ctx.next_number();
    let root = lab.dir.join(format!("repository {number}"));
    let repository: Arc<dyn Repository> = Arc::new(LocalRepository::new("local", root)?);
    let keys = Some(Keys::generate(&lab.ctx));
    let origin = Origin {
        backup: "db".to_owned(),
        component: "db".to_owned(),
        taken_at: lab.ctx.clock.now(),
        engine: "postgres".to_owned(),
        compression: pipeline.dump.compress.to_string(),
    };
    let mut writer = ArtifactWriter::new(&lab.ctx, origin, vec![repository.clone()], keys.clone());
    pipeline.backup(&lab.ctx, source, &mut writer).await?;
    let manifest = writer.draft(&lab.ctx);
    let manifest = writer.commit(&lab.ctx, manifest).await?;
    Ok(ArtifactReader::new(manifest, repository, keys))
}

/// Restores an artifact into a database, and leaves nothing where the dump was.
pub async fn restore(
    lab: &Lab,
    pipeline: &PgDump,
    artifact: &ArtifactReader,
    target: &PostgresService,
) -> Result<()> {
    let fetched = pipeline.fetch(&lab.ctx, artifact, target).await?;
    let options = RestoreOptions {
        jobs: 2,
        ..RestoreOptions::default()
    };
    let restored = pipeline.restore(&lab.ctx, &fetched, target, &options).await;
    for (_, path) in &fetched.files {
        let server = target.server();
        let removed = server.tool("rm").arg("-r").arg(path);
        removed.run(&lab.ctx).await?.ok()?;
    }
    restored
}

fn dump(format: DumpFormat, only: Option<Only>) -> Dump {
    Dump {
        only,
        globals: only != Some(Only::Data),
        ..Dump::of(format, if format == DumpFormat::Tar { 0 } else { 6 })
    }
}

pub async fn any_format_comes_back_through_an_artifact(
    lab: &Lab,
    format: DumpFormat,
) -> std::result::Result<(), Failed> {
    let before = lab.seeded().await?;
    let source = lab.database("seeded", None).await?;
    let pipeline = PgDump::new(Dump {
        jobs: if format == DumpFormat::Directory {
            4
        } else {
            1
        },
        statistics: true,
        ..dump(format, None)
    });
    // A server of its own, so that nothing else is staged there.
    let name = format!("formats {}", format.id());
    let server = TestServer::start(&lab.ctx, &lab.bin, lab.dir.join(name), Disk::Quick).await?;
    let work = async {
        let artifact = artifact_of(lab, &pipeline, &source).await?;
        let names: Vec<&str> = artifact
            .manifest
            .files
            .iter()
            .map(|f| f.name.as_str())
            .collect();
        let tables = names.iter().filter(|name| name.starts_with("db/")).count();
        if (tables > 5) != (format == DumpFormat::Directory) {
            return Err(format!("its files are {names:?}").into());
        }
        let mut statistics = String::new();
        artifact
            .open(&lab.ctx, "statistics.txt")
            .await?
            .read_to_string(&mut statistics)
            .await?;
        if !["player", "live_rows", "kB", " rows)"]
            .iter()
            .all(|word| statistics.contains(word))
        {
            return Err(format!("the statistics are {statistics}").into());
        }

        let target = PostgresService::new(server.clone(), "target", None);
        let read = pipeline.read_through(&lab.ctx, &artifact, &target).await?;
        let timely = read
            .content_time
            .is_some_and(|time| (lab.ctx.clock.now() - time).num_minutes().abs() < 60);
        if read.error.is_some() || read.entries < 50 || timely != (format != DumpFormat::Plain) {
            return Err(format!("read {read:?}").into());
        }
        target.create(&lab.ctx).await?;
        restore(lab, &pipeline, &artifact, &target).await?;
        same(&differences(before, &target.observe(&lab.ctx).await?), [])?;

        // A file of the dump that is gone is missed by the tool itself.
        if format == DumpFormat::Directory {
            let lost = names.iter().position(|name| name.ends_with(".dat.gz"));
            let mut without = (*artifact.manifest).clone();
            without.files[lost.ok_or("no table has a file")?].name = "elsewhere".to_owned();
            let without = artifact.by(without);
            let read = pipeline.read_through(&lab.ctx, &without, &target).await?;
            if read.error.is_none() {
                return Err("a directory without one of its files was read".into());
            }
        }
        let left: Vec<_> = std::fs::read_dir(server.staging())?.collect();
        if !left.is_empty() {
            return Err(format!("{left:?} is left").into());
        }
        Ok::<(), Failed>(())
    };
    let worked = work.await;
    server.remove(&lab.ctx).await?;
    worked
}

pub async fn definitions_and_rows_dumped_apart_make_the_whole_but_for_views_to_be_refreshed(
    lab: &Lab,
) -> std::result::Result<(), Failed> {
    let before = lab.seeded().await?;
    let source = lab.database("seeded", None).await?;
    for format in [DumpFormat::Plain, DumpFormat::Directory] {
        let target = lab.fresh(None).await?;
        target.create(&lab.ctx).await?;
        for half in [Only::Schema, Only::Data] {
            let pipeline = PgDump::new(dump(format, Some(half)));
            let artifact = artifact_of(lab, &pipeline, &source).await?;
            restore(lab, &pipeline, &artifact, &target).await?;
            let after = target.observe(&lab.ctx).await?;
            let mut found = differences(before, &after);
            if half == Only::Schema {
                if after.parts.len() < 10 || after.parts.values().any(|part| part.count > 0) {
                    return Err(format!("the tables are not empty: {:?}", after.parts).into());
                }
                // Rows, sequences and large objects are the other half.
                found.retain(|key| {
                    !key.starts_with("content ")
                        && !key.starts_with("sequence ")
                        && !key.contains("large objects")
                });
            }
            same(
                &found,
                ["definition materialized-view app.totals".to_owned()],
            )
            .map_err(|error| format!("{format:?}, {half:?}: {error}"))?;
        }
    }
    Ok(())
}

pub async fn what_lies_in_a_tablespace_comes_back_onto_a_server_that_has_none_of_its_name(
    lab: &Lab,
) -> std::result::Result<(), Failed> {
    // A tablespace is its whole server's.
    let start = |name| TestServer::start(&lab.ctx, &lab.bin, lab.dir.join(name), Disk::Quick);
    let (from, to) = (start("placed").await?, start("placeless").await?);
    let work = async {
        let source = PostgresService::new(from.clone(), "shop", None);
        source.create(&lab.ctx).await?;
        let session = Session::open(&lab.ctx, &*from, "shop").await?;
        for statement in [
            "set allow_in_place_tablespaces = on",
            "create tablespace fast location ''",
            "create table public.item (id int primary key using index tablespace fast) tablespace fast",
            "insert into public.item select generate_series(1, 100)",
        ] {
            session.run(&lab.ctx, statement).await?;
        }
        let before = source.observe(&lab.ctx).await?;
        for (id, format) in DumpFormat::ALL {
            let target = PostgresService::new(to.clone(), id, None);
            target.create(&lab.ctx).await?;
            let pipeline = PgDump::new(dump(format, None));
            let artifact = artifact_of(lab, &pipeline, &source).await?;
            restore(lab, &pipeline, &artifact, &target).await?;
            let placed = [
                "definition placement index public.item_pkey",
                "definition placement table public.item",
                "definition tablespace fast",
            ];
            let found = differences(&before, &target.observe(&lab.ctx).await?);
            same(&found, placed.map(str::to_owned)).map_err(|error| format!("{id}: {error}"))?;
        }
        Ok::<(), Failed>(())
    };
    let worked = work.await;
    from.remove(&lab.ctx).await?;
    to.remove(&lab.ctx).await?;
    worked
}

pub async fn chosen_tables_come_back_alone_and_one_that_is_not_there_is_an_error(
    lab: &Lab,
) -> std::result::Result<(), Failed> {
    let before = lab.seeded().await?;
    let source = lab.database("seeded", None).await?;
    let odd = "Odd \"Schéma\", – ünï.sel ect'";
    for format in [DumpFormat::Plain, DumpFormat::Custom] {
        let mut pipeline = PgDump::new(Dump {
            tables: vec!["app.twins".to_owned(), odd.to_owned()],
            ..dump(format, None)
        });
        let target = lab.fresh(None).await?;
        target.create(&lab.ctx).await?;
        let artifact = artifact_of(lab, &pipeline, &source).await?;
        restore(lab, &pipeline, &artifact, &target).await?;
        let after = target.observe(&lab.ctx).await?;
        let twins = "app.twins";
        let names: BTreeSet<&str> = after.parts.keys().map(|name| &**name).collect();
        if names.len() != 2 || after.parts.get(twins) != before.parts.get(twins) {
            return Err(format!("{names:?} came back").into());
        }
        pipeline.dump.tables.push("app.no_such_table".to_owned());
        let error = artifact_of(lab, &pipeline, &source).await;
        let error = error.err().ok_or("a table that is not there was dumped")?;
        if !error.message().contains("no_such_table") {
            return Err(format!("another error came: {error}").into());
        }
    }
    Ok(())
}

pub async fn a_compression_that_the_server_is_too_old_for_is_named_with_its_version(
    lab: &Lab,
) -> std::result::Result<(), Failed> {
    lab.seeded().await?;
    let source = lab.database("seeded", None).await?;
    let mut pipeline = PgDump::new(dump(DumpFormat::Custom, None));
    pipeline.dump.compress = Compression::Zstd(3);
    let taken = artifact_of(lab, &pipeline, &source).await;
    let major = physical::major(&*source.server());
    if major >= 16 {
        return Ok(taken.map(drop)?);
    }
    let error = taken.err().ok_or("PostgreSQL 15 compressed with zstd")?;
    match ["zstd:3", "pg_dump 16", &format!("is {major}")]
        .iter()
        .all(|word| error.message().contains(word))
    {
        true => Ok(()),
        false => Err(format!("another error came: {error}").into()),
    }
}
