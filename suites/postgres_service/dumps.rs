//! What dumps bring back, and what they must not get away with.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use libtest_mimic::Failed;
use redrill::pipeline::artifact::{ArtifactReader, ArtifactWriter, Keys, Origin};
use redrill::pipeline::pg_dump::PgDump;
use redrill::pipeline::{Fetched, Pipeline};
use redrill::repository::Repository;
use redrill::repository::local::LocalRepository;
use redrill::service::postgres::PostgresService;
use redrill::service::{Running, Service};
use redrill::suite::{Dump, DumpFormat, RestoreOptions};

use crate::server::{Disk, TestServer};
use crate::{Lab, differences, same};

pub async fn a_restored_dump_equals_its_source(
    lab: &Lab,
    format: DumpFormat,
    compress: u8,
) -> Result<(), Failed> {
    let before = lab.seeded().await?;
    let source = lab.database("seeded", None).await?;
    let target = lab.fresh(None).await?;
    lab.round_trip(
        &PgDump::new(Dump::of(format, compress)),
        &source,
        &target,
        &options(true, true),
    )
    .await?;
    Ok(same(
        &differences(before, &target.observe(&lab.ctx).await?),
        [],
    )?)
}

pub async fn owner_and_grants_are_lost_only_when_told_so(lab: &Lab) -> Result<(), Failed> {
    let before = lab.seeded().await?;
    let source = lab.database("seeded", None).await?;
    for (owner, acl) in [(false, true), (true, false), (false, false)] {
        let target = lab.fresh(None).await?;
        lab.round_trip(
            &PgDump::new(Dump::of(DumpFormat::Custom, 1)),
            &source,
            &target,
            &options(owner, acl),
        )
        .await?;
        let mut found = differences(before, &target.observe(&lab.ctx).await?);
        let any =
            |kind: &str, found: &BTreeSet<String>| found.iter().any(|key| key.starts_with(kind));
        if any("owner ", &found) == owner || any("grant ", &found) == acl {
            return Err(format!("owner={owner}, acl={acl} lost {found:#?}").into());
        }
        found.retain(|key| owner || !key.starts_with("owner "));
        found
            .retain(|key| acl || !(key.starts_with("grant ") || key.starts_with("default-grant ")));
        same(&found, [])?;
    }
    Ok(())
}

pub async fn a_new_server_gets_the_roles_and_their_passwords_too(lab: &Lab) -> Result<(), Failed> {
    let before = lab.seeded().await?;
    let source = lab.database("seeded", None).await?;
    let other = TestServer::start(&lab.ctx, &lab.bin, lab.dir.join("other"), Disk::Sure).await?;
    let target = PostgresService::new(other.clone(), "seeded", None);
    let restored = lab
        .round_trip(
            &PgDump::new(Dump::of(DumpFormat::Custom, 1)),
            &source,
            &target,
            &options(true, true),
        )
        .await;
    let after = target.observe(&lab.ctx).await;
    other.remove(&lab.ctx).await?;
    restored?;
    Ok(same(&differences(before, &after?), [])?)
}

pub async fn a_dump_without_a_table_is_seen(lab: &Lab) -> Result<(), Failed> {
    let before = lab.seeded().await?;
    let source = lab.database("seeded", None).await?;
    let target = lab.fresh(None).await?;
    let mut pipeline = PgDump::new(Dump::of(DumpFormat::Custom, 1));
    pipeline.extra_dump_args = vec!["--exclude-table=app.twins".to_owned()];
    lab.round_trip(&pipeline, &source, &target, &options(true, true))
        .await?;
    let found = differences(before, &target.observe(&lab.ctx).await?);
    let expected = [
        "content app.twins",
        "definition column app.twins.a",
        "definition column app.twins.b",
        "definition column-order app.twins",
        "definition table app.twins",
        "grant table app.twins to (owner)",
        "owner table app.twins",
    ];
    Ok(same(&found, expected.map(str::to_owned))?)
}

pub async fn a_restore_without_post_data_is_seen(lab: &Lab) -> Result<(), Failed> {
    let before = lab.seeded().await?;
    let source = lab.database("seeded", None).await?;
    let target = lab.fresh(None).await?;
    let mut pipeline = PgDump::new(Dump::of(DumpFormat::Custom, 1));
    pipeline.extra_restore_args = ["--section=pre-data", "--section=data"]
        .map(str::to_owned)
        .to_vec();
    lab.round_trip(&pipeline, &source, &target, &options(true, true))
        .await?;
    let found = differences(before, &target.observe(&lab.ctx).await?);
    for key in [
        "index app.player_name",
        "constraint app.plays.plays_player",
        "trigger app.plays.noted",
        "policy app.secret.own",
    ] {
        if !found.contains(&format!("definition {key}")) {
            return Err(format!("missed {key} among {found:#?}").into());
        }
    }
    if found.iter().any(|key| key.starts_with("content ")) {
        return Err(format!("content differs: {found:#?}").into());
    }
    Ok(())
}

pub async fn a_second_restore_over_the_first_is_an_error(lab: &Lab) -> Result<(), Failed> {
    lab.seeded().await?;
    let source = lab.database("seeded", None).await?;
    for format in [DumpFormat::Custom, DumpFormat::Plain] {
        let target = lab.fresh(None).await?;
        let pipeline = PgDump::new(Dump::of(format, 0));
        lab.round_trip(&pipeline, &source, &target, &options(true, true))
            .await?;
        let again = lab
            .round_trip(&pipeline, &source, &target, &options(true, true))
            .await;
        let error = again
            .err()
            .ok_or("the second restore was taken for a success")?;
        if !error.message().contains("already exists") {
            return Err(format!("another error came: {error}").into());
        }
    }
    Ok(())
}

pub async fn a_cut_plain_dump_restores_nothing(lab: &Lab) -> Result<(), Failed> {
    lab.seeded().await?;
    let server = lab.server().await?;
    let pipeline = PgDump::new(Dump::of(DumpFormat::Plain, 0));
    let mut text = Vec::new();
    let mut dump = pipeline.stream(&lab.ctx, &*server, "seeded")?;
    tokio::io::AsyncReadExt::read_to_end(&mut dump, &mut text).await?;
    text.truncate(text.len() / 2);
    let path = pipeline
        .stage(
            &lab.ctx,
            &*server,
            "db.sql",
            Box::new(std::io::Cursor::new(text)),
        )
        .await?;
    let target = lab.fresh(None).await?;
    target.create(&lab.ctx).await?;
    let fetched = Fetched {
        files: vec![("db.sql".to_owned(), path)],
        ..Fetched::default()
    };
    let error = pipeline
        .restore(&lab.ctx, &fetched, &target, &options(true, true))
        .await;
    let error = error.err().ok_or("the cut dump was restored")?;
    if !error.message().contains("it was cut") {
        return Err(format!("another error came: {error}").into());
    }
    match target.population(&lab.ctx).await? {
        0 => Ok(()),
        some => Err(format!("{some} objects were restored").into()),
    }
}

pub async fn a_failing_pg_dump_ends_its_stream_in_an_error(lab: &Lab) -> Result<(), Failed> {
    let server = lab.server().await?;
    let pipeline = PgDump::new(Dump::of(DumpFormat::Custom, 9));
    let dump = pipeline.stream(&lab.ctx, &*server, "no such database")?;
    let error = pipeline.stage(&lab.ctx, &*server, "db.dump", dump).await;
    let error = error.err().ok_or("the dump was taken for a success")?;
    if !error.message().contains("does not exist") {
        return Err(format!("another error came: {error}").into());
    }
    let left = staged(&*server)?;
    if left.iter().any(|name| name.ends_with(".part")) {
        return Err(format!("{left:?} is left").into());
    }
    Ok(())
}

pub async fn a_script_made_for_a_database_of_its_own_seeds_ours(
    lab: &Lab,
    script: &Path,
) -> Result<(), Failed> {
    let source = lab.fresh(Some(script.to_owned())).await?;
    source.create(&lab.ctx).await?;
    source.seed(&lab.ctx, 1.0, 42).await?;
    let before = source.observe(&lab.ctx).await?;
    if before.parts.get("public.track").map(|part| part.count) != Some(3503) {
        return Err(format!("the tracks are not there: {:?}", before.parts).into());
    }
    let target = lab.fresh(None).await?;
    lab.round_trip(
        &PgDump::new(Dump::of(DumpFormat::Custom, 9)),
        &source,
        &target,
        &options(true, true),
    )
    .await?;
    Ok(same(
        &differences(&before, &target.observe(&lab.ctx).await?),
        [],
    )?)
}

/// What lies where the server's tools look for dumps.
fn staged(server: &dyn Running) -> Result<Vec<String>, Failed> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(server.staging())? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

pub async fn an_artifact_is_read_through_and_restored_and_a_damaged_one_is_neither(
    lab: &Lab,
) -> Result<(), Failed> {
    let before = lab.seeded().await?;
    let source = lab.database("seeded", None).await?;
    // A server of its own, so that nothing else is staged there.
    let server =
        TestServer::start(&lab.ctx, &lab.bin, lab.dir.join("artifacts"), Disk::Quick).await?;
    let work = async {
        for (format, compress) in [(DumpFormat::Custom, 9), (DumpFormat::Plain, 6)] {
            let pipeline = PgDump::new(Dump::of(format, compress));
            let root = lab.dir.join(format!("repository {format:?}"));
            let repository: Arc<dyn Repository> = Arc::new(LocalRepository::new("local", &root)?);
            let keys = Some(Keys::generate(&lab.ctx));
            let origin = Origin {
                backup: "db".to_owned(),
                component: "db".to_owned(),
                taken_at: lab.ctx.clock.now(),
                engine: "postgres 15".to_owned(),
                compression: format!("zlib:{compress}"),
            };
            let mut writer =
                ArtifactWriter::new(&lab.ctx, origin, vec![repository.clone()], keys.clone());
            let taken = pipeline.backup(&lab.ctx, &source, &mut writer).await?;
            if !taken.tool.starts_with("pg_dump (PostgreSQL) ") {
                return Err(format!("the tool is {}", taken.tool).into());
            }
            let manifest = writer.draft(&lab.ctx);
            let manifest = writer.commit(&lab.ctx, manifest).await?;
            let artifact = ArtifactReader::new(manifest.clone(), repository, keys);

            let target = PostgresService::new(server.clone(), format!("{format:?}"), None);
            let read = pipeline.read_through(&lab.ctx, &artifact, &target).await?;
            let timely = read
                .content_time
                .is_some_and(|time| (lab.ctx.clock.now() - time).num_minutes().abs() < 60);
            if read.error.is_some() || read.entries < 50 || timely != (format == DumpFormat::Custom)
            {
                return Err(format!("read {read:?}").into());
            }
            let left = staged(&*server)?;
            if !left.is_empty() {
                return Err(format!("{left:?} is left").into());
            }
            let fetched = pipeline.fetch(&lab.ctx, &artifact, &target).await?;
            if fetched.stored_bytes != manifest.stored_bytes() {
                return Err(format!("fetched {} bytes", fetched.stored_bytes).into());
            }
            target.create(&lab.ctx).await?;
            pipeline
                .restore(&lab.ctx, &fetched, &target, &options(true, true))
                .await?;
            same(&differences(before, &target.observe(&lab.ctx).await?), [])?;

            // One bit of what is stored.
            let stored = root.join(&manifest.files[0].key);
            let mut bytes = std::fs::read(&stored)?;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&stored, bytes)?;
            for (_, path) in &fetched.files {
                std::fs::remove_file(path)?;
            }
            let read = pipeline.read_through(&lab.ctx, &artifact, &target).await?;
            let fetched = pipeline.fetch(&lab.ctx, &artifact, &target).await;
            let left = staged(&*server)?;
            if read.error.is_none() || fetched.is_ok() || !left.is_empty() {
                return Err(format!("read {read:?}, fetched {fetched:?}, left {left:?}").into());
            }
        }
        Ok::<(), Failed>(())
    };
    let worked = work.await;
    server.remove(&lab.ctx).await?;
    worked
}

pub fn options(owner: bool, acl: bool) -> RestoreOptions {
    RestoreOptions {
        jobs: 2,
        owner,
        acl,
        ..RestoreOptions::default()
    }
}
