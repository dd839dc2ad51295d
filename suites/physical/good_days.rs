//! What comes back when nothing is wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use libtest_mimic::Failed;
use redrill::evidence::{IntegrityFact, Unable};
use redrill::pipeline::Pipeline;
use redrill::pipeline::artifact::Keys;
use redrill::pipeline::physical;
use redrill::provision::Wanted;
use redrill::repository::manifest::Manifest;
use redrill::repository::retention::prune;
use redrill::repository::wal::{self, Lsn, Name, Segment};
use redrill::repository::{Repository, S3Repository};
use redrill::service::Service;
use redrill::service::postgres::PostgresService;
use redrill::service::postgres::session::Session;
use redrill::service::s3::S3Client;
use redrill::suite::{Engine, Keep, RecoveryTarget, RestoreOptions};

use crate::lab::{BACKUP, DATABASE, Lab, pipeline};

pub async fn everything_archived_comes_back_and_the_server_is_its_own(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("whole");
    let (target, fact) = lab.recover(&copy, RecoveryTarget::EndOfWal).await?;
    assert_eq!(lab.back(&target).await?, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(fact.missed, None, "{fact:?}");
    assert_eq!(fact.identities.0, fact.identities.1);
    assert_eq!(fact.timelines, (1, 1));
    assert_eq!(fact.checksums, Some(true));
    // Everything but the ledger is what the source holds.
    let (mut before, mut after) = (
        lab.source.observe(&lab.ctx).await?,
        target.observe(&lab.ctx).await?,
    );
    for found in [&mut before, &mut after] {
        found.parts.remove("redrill.ledger");
    }
    assert_eq!(before.parts, after.parts);
    assert_eq!(before.derived, after.derived);
    assert!(before.derived.contains_key("public.counted"), "{before:?}");
    assert_eq!(before.catalogue, after.catalogue);
    assert_eq!(before.identity, after.identity);
    let sound = pipeline().inspect(&lab.ctx, &target).await?;
    let sound = sound.ok_or("nothing was inspected")?;
    assert!(sound.checksums);
    let tied = target.ties(&lab.ctx, true).await?.ok_or("not asked")?;
    assert_eq!((tied.ties, tied.workers), (vec![], vec![]));
    let nothing = Default::default();
    assert_eq!((&sound.damaged, &sound.sampled), (&nothing, &nothing));
    assert_eq!(sound.unable, Default::default());
    // template0 and template1, postgres and the own one.
    assert!(
        sound.databases == 4 && sound.relations > 300 && sound.pages > 500,
        "{sound:?}"
    );
    for index in INDEXES {
        let unchecked = sound.unchecked.keys().find(|name| name.contains(index));
        assert_eq!(unchecked, None, "{sound:?}");
    }
    // It is a server like any other: it takes writes, and starts again.
    target.write(&lab.ctx, 9).await?;
    let server = target.server();
    server
        .restart(&lab.ctx, redrill::service::Stop::Clean)
        .await?;
    assert!(lab.back(&target).await?.contains(&9));
    Ok(())
}

pub async fn recovery_stops_at_an_lsn_a_time_a_name_and_the_end_of_the_base_backup(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("targets");
    let write = |number: usize| lab.writes[number - 1].clone();
    for (target, back) in [
        (RecoveryTarget::Lsn(write(5).lsn), vec![1, 2, 3, 4, 5]),
        (RecoveryTarget::Time(write(2).at), vec![1, 2]),
        (
            RecoveryTarget::Name("before deploy".to_owned()),
            vec![1, 2, 3],
        ),
        (RecoveryTarget::Immediate, vec![1]),
    ] {
        let (server, fact) = lab.recover(&copy, target.clone()).await?;
        assert_eq!(lab.back(&server).await?, back, "{target}: {fact:?}");
        assert_eq!(fact.missed, None, "{fact:?}");
        lab.clear().await?;
    }
    Ok(())
}

pub async fn an_encrypted_repository_in_s3_gives_the_same(lab: &Lab) -> Result<(), Failed> {
    let wanted = Wanted {
        name: "s3".to_owned(),
        engine: Engine::Bucket,
        version: None,
        settings: Default::default(),
    };
    let server = redrill::provision::Provisioner::start(
        &redrill::provision::local::Local,
        &lab.ctx,
        &wanted,
    )
    .await?;
    let bucket = S3Repository::new("offsite", S3Client::new(&server.endpoint()), "offsite");
    bucket.create(&lab.ctx).await?;
    let bucket: Arc<dyn Repository> = Arc::new(bucket);
    let keys = Keys::generate(&lab.ctx);
    let manifest = lab
        .backup(std::slice::from_ref(&bucket), Some(keys.clone()))
        .await?;
    lab.archive(std::slice::from_ref(&bucket), Some(keys.clone()))
        .await?;
    for stored in bucket.list(&lab.ctx, "").await? {
        let sealed = stored.key.ends_with(".age") || stored.key.ends_with("manifest.json");
        assert!(sealed, "{} is in the clear", stored.key);
    }
    let target = lab.target().await?;
    let reader = redrill::pipeline::artifact::ArtifactReader::new(
        manifest,
        bucket.clone(),
        Some(keys.clone()),
    );
    let fetched = lab.fetch(&reader, &target).await?;
    lab.replay(&fetched, &target, RecoveryTarget::EndOfWal)
        .await?;
    assert!(
        lab.back(&target)
            .await?
            .starts_with(&[1, 2, 3, 4, 5, 6, 7, 8])
    );
    server.remove(&lab.ctx).await?;
    Ok(())
}

pub async fn a_base_backup_alone_is_read_through_and_a_damaged_one_is_noticed(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("read");
    let reader = lab.reader(copy.repository(), None);
    let read = pipeline()
        .read_through(&lab.ctx, &reader, &lab.source)
        .await?;
    assert_eq!(read.error, None);
    assert!(read.entries > 500, "{}", read.entries);
    assert!(read.content_time.is_some());
    // A byte of the stored base backup: the manifest's SHA-256 is the first to see it.
    let file = copy.root.join(&lab.manifest.files[0].key);
    let mut bytes = std::fs::read(&file)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes)?;
    let read = pipeline()
        .read_through(&lab.ctx, &reader, &lab.source)
        .await?;
    assert!(read.error.is_some());
    Ok(())
}

pub async fn pruning_takes_wal_with_the_oldest_base_backup_and_never_under_a_kept_one(
    lab: &Lab,
) -> Result<(), Failed> {
    use chrono::TimeDelta;
    use redrill::clock::Clock;
    let copy = lab.copy("pruned");
    let repository = copy.repository();
    let before = copy.segments();
    let keep = Keep::within(std::time::Duration::from_secs(7 * 86_400));
    let now = lab.clock.now();
    prune(&lab.ctx, &repository, BACKUP, &keep, now).await?;
    let start = &lab.manifest.files[0].metadata["wal-start"];
    let needed: Vec<&String> = before.iter().filter(|name| *name >= start).collect();
    assert!(needed.len() < before.len());
    assert_eq!(
        copy.segments().iter().collect::<Vec<_>>(),
        needed,
        "what was archived before the base backup began is of no use"
    );
    // Two of its own: what was archived since the first base backup of all went where other tests sent it.
    let mut own = Vec::new();
    for minute in 1..=2 {
        lab.clock.advance_to(now + TimeDelta::minutes(minute));
        own.push(lab.backup(std::slice::from_ref(&repository), None).await?);
    }
    let [leads_in, later] = &own[..] else {
        return Err("two were taken".into());
    };
    let now = lab.clock.now() + TimeDelta::days(7);
    prune(&lab.ctx, &repository, BACKUP, &keep, now).await?;
    let (left, _) = Manifest::list(&lab.ctx, &repository, BACKUP).await?;
    let left: Vec<&String> = left.iter().map(|it| &it.id).collect();
    let leads = "the newest before the seven days leads into them";
    assert_eq!(left, [&leads_in.id, &later.id], "{leads}");
    let start = &leads_in.files[0].metadata["wal-start"];
    assert_eq!(copy.segments().first(), Some(start));
    // From the oldest base backup to the newest, the log has no gap; where a segment is gone, it has.
    let first = physical::base(leads_in, &leads_in.files[0])?;
    let last = physical::base(later, &later.files[0])?;
    let end = Segment::holding(1, Lsn(last.stop.0 - 1), last.size);
    let gone = || {
        let segments = copy.segments();
        let parsed = segments.iter().filter_map(|name| Name::parse(name));
        let there = parsed.filter_map(|name| match name {
            Name::Segment(segment) => Some(segment.place()),
            _ => None,
        });
        wal::gone(&there.collect(), first.start, end, first.size)
    };
    assert_eq!(gone(), []);
    let lost = first.start.next(first.size);
    let path = copy.wal().join(format!("{lost}.gz"));
    let segment = std::fs::read(&path)?;
    std::fs::remove_file(&path)?;
    assert_eq!(gone(), [lost]);
    std::fs::write(&path, segment)?;
    let now = now + TimeDelta::minutes(1);
    prune(&lab.ctx, &repository, BACKUP, &keep, now).await?;
    let (left, _) = Manifest::list(&lab.ctx, &repository, BACKUP).await?;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, later.id);
    let start = left[0].files[0].metadata["wal-start"].clone();
    let segments = copy.segments();
    assert_eq!(segments.first(), Some(&start));
    assert!(!segments.is_empty() && segments.len() < before.len());
    Ok(())
}

pub async fn a_recovered_server_archives_on_and_the_fork_is_followed(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("fork");
    let repository = copy.repository();
    let (_, whole) = lab.recover(&copy, RecoveryTarget::EndOfWal).await?;
    assert_eq!(whole.abandoned, [""; 0], "nothing forked");
    lab.clear().await?;
    // The first disaster: recovered to write 5, so that 6 and 7 are left aside on timeline 1.
    let target = RecoveryTarget::Lsn(lab.writes[4].lsn.clone());
    let (first, _) = lab.recover(&copy, target).await?;
    let server = first.server();
    lab.sql_on(&first, "alter system set archive_mode = on")
        .await?;
    server
        .restart(&lab.ctx, redrill::service::Stop::Clean)
        .await?;
    let destination =
        redrill::pipeline::artifact::Destination::new(BACKUP, vec![repository.clone()], None);
    pipeline().prepare(&lab.ctx, &first, &destination).await?;
    first.write(&lab.ctx, 50).await?;
    pipeline().archive(&lab.ctx, &first, &destination).await?;
    lab.clear().await?;
    // The second one: the same base backup, over the fork.
    let (second, fact) = lab.recover(&copy, RecoveryTarget::EndOfWal).await?;
    assert_eq!(lab.back(&second).await?, [1, 2, 3, 4, 5, 50], "{fact:?}");
    assert_eq!(fact.timelines, (2, 2));
    // What was left aside is in the archive still, and that is said.
    let [words] = &fact.abandoned[..] else {
        return Err(format!("{:?}", fact.abandoned).into());
    };
    assert!(
        words.contains("on timeline 1, up to 2026-03-01T"),
        "{words}"
    );
    lab.clear().await?;
    // Segments of a timeline of which nobody knows where it left its parent.
    std::fs::remove_file(copy.wal().join("00000002.history.gz"))?;
    let error = lab.recover(&copy, RecoveryTarget::EndOfWal).await.err();
    let error = error.ok_or("recovered without the history")?;
    assert!(error.message().contains("00000002.history"), "{error}");
    Ok(())
}

/// Of each kind that amcheck does not know, one.
const INDEXES: [&str; 5] = [
    "item_name",
    "item_tags",
    "item_brin",
    "item_gist",
    "item_spgist",
];

async fn session(
    lab: &Lab,
    target: &redrill::service::postgres::PostgresService,
) -> Result<redrill::service::postgres::session::Session, Failed> {
    let server = target.server();
    Ok(redrill::service::postgres::session::Session::open(&lab.ctx, &*server, DATABASE).await?)
}

/// What is damaged, as it is told.
async fn damaged(
    lab: &Lab,
    target: &redrill::service::postgres::PostgresService,
) -> Result<Vec<(String, String)>, Failed> {
    let sound = pipeline().inspect(&lab.ctx, target).await?;
    let sound = sound.ok_or("nothing was inspected")?;
    Ok(sound.damaged.into_iter().collect())
}

pub async fn one_row_on_the_last_page_that_an_index_misses_is_told_whatever_its_kind(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("misses");
    let (target, _) = lab.recover(&copy, RecoveryTarget::EndOfWal).await?;
    assert_eq!(damaged(lab, &target).await?, []);
    let session = session(lab, &target).await?;
    let ready = |truth: bool| {
        let all = INDEXES.map(|index| format!("'public.{index}'")).join(", ");
        format!(
            "set allow_system_table_mods = on; update pg_catalog.pg_index set indisready = {truth} \
             where indexrelid = any (array[{all}]::regclass[])"
        )
    };
    session.run(&lab.ctx, &ready(false)).await?;
    let last = "insert into public.item values (1000001, 'the last one', array[99], point(-1, -1))";
    session.run(&lab.ctx, last).await?;
    session.run(&lab.ctx, &ready(true)).await?;
    let mut expected = INDEXES.map(|index| format!("{DATABASE}: {index}"));
    expected.sort();
    let found = damaged(lab, &target).await?;
    let names: Vec<&String> = found.iter().map(|(name, _)| name).collect();
    let names: Vec<String> = names.iter().map(|it| it.replace("public.", "")).collect();
    assert_eq!(names, expected, "{found:?}");
    Ok(())
}

pub async fn keys_that_a_unique_index_holds_twice_are_told_and_nulls_as_it_takes_them(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("twice");
    let (target, _) = lab.recover(&copy, RecoveryTarget::EndOfWal).await?;
    let session = session(lab, &target).await?;
    session
        .run(
            &lab.ctx,
            "create table public.odd (a int, b text, c int);
             insert into public.odd values (null, 'X', 1), (null, 'y', 2), (1, 'x', -1);
             create unique index odd_nulls on public.odd (a);
             create unique index odd_some on public.odd (lower(b)) where c > 0;
             create unique index odd_pair on public.odd (b, c)",
        )
        .await?;
    assert_eq!(damaged(lab, &target).await?, [], "none is there twice");
    let unique = |truth: bool| {
        format!(
            "set allow_system_table_mods = on; update pg_catalog.pg_index set indisunique = {truth} \
             where indexrelid in ('public.odd_some'::regclass, 'public.odd_pair'::regclass)"
        )
    };
    session.run(&lab.ctx, &unique(false)).await?;
    let twice = "insert into public.odd values (2, 'x', 3), (3, 'x', -1)";
    session.run(&lab.ctx, twice).await?;
    session.run(&lab.ctx, &unique(true)).await?;
    let found = damaged(lab, &target).await?;
    let [(pair, words), (some, _)] = found.as_slice() else {
        return Err(format!("{found:?}").into());
    };
    assert!(
        pair.ends_with("odd_pair") && some.ends_with("odd_some"),
        "{found:?}"
    );
    assert!(words.contains("holds duplicates"), "{words}");
    Ok(())
}

pub async fn a_damaged_page_of_a_database_that_lets_nobody_in_is_found(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("template0");
    let (target, _) = lab.recover(&copy, RecoveryTarget::EndOfWal).await?;
    let session = session(lab, &target).await?;
    // The files of a new database have the names that they have in the others.
    let path = "select format('base/%s/%s', oid, pg_relation_filenode('pg_description')) from pg_database where datname = 'template0'";
    let path = session.value(&lab.ctx, path).await?.ok_or("no path")?;
    let server = target.server();
    let file = server.data_dir().join(path);
    let flip = server.tool("dd").arg(format!("of={}", file.display()));
    let flip = flip.args(["bs=1", "seek=12000", "conv=notrunc", "status=none"]);
    flip.feed(&lab.ctx, &b"damage"[..]).await?.ok()?;
    server
        .restart(&lab.ctx, redrill::service::Stop::Clean)
        .await?;
    let found = damaged(lab, &target).await?;
    // Its index cannot be held against it either.
    assert!(!found.is_empty());
    for (name, _) in &found {
        assert!(name.starts_with("template0: pg_description"), "{found:?}");
    }
    let closed = "select count(*) from pg_database where not datallowconn";
    assert_eq!(lab.sql_on(&target, closed).await?.as_deref(), Some("1"));
    Ok(())
}

pub async fn what_ties_a_recovered_server_to_others_is_told_once_it_is_no_longer_cut(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("ties");
    let (target, _) = lab.recover(&copy, RecoveryTarget::EndOfWal).await?;
    let session = session(lab, &target).await?;
    session
        .run(&lab.ctx, "alter subscription feed enable")
        .await?;
    let ties = async || -> Result<Vec<String>, Failed> {
        let found = target.ties(&lab.ctx, true).await?;
        Ok(found.ok_or("not asked")?.ties)
    };
    assert_eq!(ties().await?, [""; 0], "it cannot be at work");
    for set in [
        "reset max_logical_replication_workers",
        "set primary_conninfo = 'host=127.0.0.1 port=1'",
        "set archive_command = 'true'",
    ] {
        session
            .run(&lab.ctx, &format!("alter system {set}"))
            .await?;
    }
    drop(session);
    let server = target.server();
    server
        .restart(&lab.ctx, redrill::service::Stop::Clean)
        .await?;
    let mut found = ties().await?;
    // A worker that cannot connect comes and goes.
    found.retain(|tie| !tie.starts_with("a subscription is at work"));
    found.sort();
    assert_eq!(
        found,
        [
            "archive_command is set",
            "primary_conninfo is set",
            "subscription feed of database shop is enabled",
        ]
    );
    Ok(())
}

pub async fn a_job_scheduler_that_runs_in_the_recovered_server_is_told(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("scheduler");
    let (target, _) = lab.recover(&copy, RecoveryTarget::EndOfWal).await?;
    lab.sql_on(
        &target,
        "alter system set shared_preload_libraries = 'pg_cron'",
    )
    .await?;
    let server = target.server();
    server
        .restart(&lab.ctx, redrill::service::Stop::Clean)
        .await?;
    let found = target.ties(&lab.ctx, true).await?.ok_or("not asked")?;
    assert_eq!(found.ties, ["it preloads pg_cron"]);
    assert!(
        found
            .workers
            .iter()
            .any(|worker| worker.starts_with("pg_cron")),
        "{found:?}"
    );
    Ok(())
}

/// Named by its path and in quotes, as `alter system` writes it, among what a copy may load.
pub async fn what_runs_the_jobs_of_its_source_is_not_preloaded_in_a_copy(
    lab: &Lab,
) -> Result<(), Failed> {
    let (source, repository) = crate::killed::source(lab, "jobs").await?;
    let server = source.server();
    let session = Session::open(&lab.ctx, &*server, "postgres").await?;
    let place = "select setting from pg_config where name = 'PKGLIBDIR'";
    let place = session
        .value(&lab.ctx, place)
        .await?
        .ok_or("no libraries")?;
    // A library that every server has stands in for one that none of ours has.
    let stand_in = server.staging().join("pg_task.so");
    let copy = server.tool("cp").arg(format!("{place}/auto_explain.so"));
    copy.arg(&stand_in).run(&lab.ctx).await?.ok()?;
    let real = crate::lab::no_scheduler().is_none();
    let real = if real { ", 'pg_cron'" } else { "" };
    let preload = format!(
        "alter system set shared_preload_libraries = 'pg_stat_statements', '{}'{real}",
        stand_in.display()
    );
    session.run(&lab.ctx, &preload).await?;
    drop(session);
    server
        .restart(&lab.ctx, redrill::service::Stop::Clean)
        .await?;
    let schedulers = async |service: &PostgresService| -> Result<Vec<String>, Failed> {
        let found = service.ties(&lab.ctx, true).await?.ok_or("not asked")?;
        let ties = found.ties.into_iter();
        Ok(ties.filter(|tie| tie.contains("preloads")).collect())
    };
    let mut expected = vec!["it preloads pg_task"];
    expected.extend((!real.is_empty()).then_some("it preloads pg_cron"));
    assert_eq!(schedulers(&source).await?, expected);

    let repositories = [repository];
    let manifest = lab.backup_of(&source, &repositories, None).await?;
    let destination =
        redrill::pipeline::artifact::Destination::new(BACKUP, repositories.to_vec(), None);
    source.write(&lab.ctx, 2).await?;
    pipeline().archive(&lab.ctx, &source, &destination).await?;
    let [repository] = repositories;
    let reader = redrill::pipeline::artifact::ArtifactReader::new(manifest, repository, None);
    // A cluster may keep its configuration outside of its data, as Debian's do; what `alter system` wrote is in them.
    for elsewhere in [false, true] {
        let target = lab.target().await?;
        let server = target.server();
        let fetched = lab.fetch(&reader, &target).await?;
        let (pipeline, options) = (pipeline(), RestoreOptions::default());
        let restored = pipeline.restore(&lab.ctx, &fetched, &target, &options);
        restored.await?;
        if elsewhere {
            let recovered = server.data_dir().with_file_name("recovered");
            let remove = server.tool("rm").arg(recovered.join("postgresql.conf"));
            remove.run(&lab.ctx).await?.ok()?;
        }
        let replayed = pipeline.replay(&lab.ctx, &fetched, &target, &options);
        let fact = replayed.await?.ok_or("nothing was replayed")?;
        assert_eq!(lab.back(&target).await?, [1, 2]);
        assert_eq!(schedulers(&target).await?, [""; 0]);
        let left = lab.sql_on(&target, "show shared_preload_libraries").await?;
        let others = Some("pg_stat_statements");
        assert_eq!(left.as_deref(), others, "all others stay");
        assert_eq!(fact.checksums, Some(true));
    }
    Ok(())
}

/// Damage that a server takes for granted: it starts, counts and answers.
pub async fn damage_that_no_query_shows_is_found_page_by_page(lab: &Lab) -> Result<(), Failed> {
    let copy = lab.copy("sound");
    for (what, relation, sql) in [
        ("a flipped page of an index", "item_pkey", ""),
        (
            "an index that lost its entries",
            "item_name",
            "set local allow_system_table_mods = on; update pg_catalog.pg_index set indisready = false, indislive = true where indexrelid = 'item_name'::regclass",
        ),
    ] {
        let (target, _) = lab.recover(&copy, RecoveryTarget::EndOfWal).await?;
        let server = target.server();
        let session =
            redrill::service::postgres::session::Session::open(&lab.ctx, &*server, DATABASE)
                .await?;
        if sql.is_empty() {
            let path = format!("select pg_relation_filepath('public.{relation}')");
            let path = session.value(&lab.ctx, &path).await?.ok_or("no path")?;
            drop(session);
            let file = server.data_dir().join(path);
            let flip = server.tool("dd").arg(format!("of={}", file.display()));
            let flip = flip.args(["bs=1", "seek=20000", "conv=notrunc", "status=none"]);
            flip.feed(&lab.ctx, &b"damage"[..]).await?.ok()?;
            server
                .restart(&lab.ctx, redrill::service::Stop::Clean)
                .await?;
        } else {
            // Rows come that the index does not hear of.
            let sql = sql.replace("'item_name'", "'public.item_name'");
            session
                .run(&lab.ctx, &format!("begin; {sql}; commit"))
                .await?;
            let add = "insert into public.item select n + 20000, 'item ' || n, null from generate_series(1, 20000) n";
            session.run(&lab.ctx, add).await?;
            let back = sql.replace("indisready = false", "indisready = true");
            session
                .run(&lab.ctx, &format!("begin; {back}; commit"))
                .await?;
        }
        assert_eq!(lab.back(&target).await?, [1, 2, 3, 4, 5, 6, 7], "{what}");
        let sound = pipeline().inspect(&lab.ctx, &target).await?;
        let sound = sound.ok_or("nothing was inspected")?;
        let damaged: Vec<&String> = sound.damaged.keys().collect();
        assert!(
            damaged.iter().any(|name| name.contains(relation)),
            "{what}: {sound:?}"
        );
        lab.clear().await?;
    }
    Ok(())
}

pub async fn a_provisioned_server_waits_for_its_disk(lab: &Lab) -> Result<(), Failed> {
    for service in [&lab.source, &lab.target().await?] {
        let session = Session::open(&lab.ctx, &*service.server(), "postgres").await?;
        for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
            let found = session.value(&lab.ctx, &format!("show {setting}")).await?;
            assert_eq!(found.as_deref(), Some("on"), "{setting}");
        }
    }
    Ok(())
}

pub async fn a_database_that_was_left_half_dropped_is_told_and_the_others_are_looked_at(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("half-dropped");
    let (target, _) = lab.recover(&copy, RecoveryTarget::EndOfWal).await?;
    let looked_at = async || -> Result<IntegrityFact, Failed> {
        let found = pipeline().inspect(&lab.ctx, &target).await?;
        found.ok_or_else(|| "nothing was inspected".into())
    };
    let sound = looked_at().await?;
    assert_eq!(sound.unable, BTreeMap::new());
    let session = session(lab, &target).await?;
    session.run(&lab.ctx, "create database half").await?;
    // As DROP DATABASE leaves it where it is ended.
    let dropped = "update pg_database set datconnlimit = -2 where datname = 'half'";
    session.run(&lab.ctx, dropped).await?;
    drop(session);
    let found = looked_at().await?;
    let told = ("database half".to_owned(), Unable::HalfDropped);
    assert_eq!(found.unable, BTreeMap::from([told]));
    assert_eq!(found.databases, sound.databases);
    assert_eq!(found.damaged, BTreeMap::new());
    Ok(())
}
