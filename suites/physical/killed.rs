//! A server killed in each phase: nothing is left half done, what was acknowledged is there, and it says so.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Failed;
use redrill::error::Error;
use redrill::pipeline::artifact::{ArtifactReader, ArtifactWriter, Destination, Origin};
use redrill::pipeline::pg_dump::PgDump;
use redrill::pipeline::{Fetched, Pipeline};
use redrill::provision::Wanted;
use redrill::repository::Repository;
use redrill::repository::manifest::Manifest;
use redrill::service::postgres::PostgresService;
use redrill::service::postgres::session::Session;
use redrill::service::{Running, Service, Stop};
use redrill::suite::{Dump, DumpFormat, Engine, RecoveryTarget, RestoreOptions};

use crate::lab::{BACKUP, Copy, DATABASE, Lab, pipeline};

/// How long a backup may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// A source to be killed, archiving, with one write; and where its backups go.
pub async fn source(
    lab: &Lab,
    name: &str,
) -> Result<(PostgresService, Arc<dyn Repository>), Failed> {
    let wanted = Wanted {
        name: name.to_owned(),
        engine: Engine::Postgres,
        version: None,
        settings: pipeline().source_settings(),
    };
    let source = lab.start(&wanted).await?;
    source.create(&lab.ctx).await?;
    source.plant(&lab.ctx, "nonce", "canary").await?;
    lab.prepare(&source).await?;
    source.write(&lab.ctx, 1).await?;
    let root = lab.repository.with_file_name(name);
    Ok((source, Copy { root }.repository()))
}

async fn archive(
    lab: &Lab,
    source: &PostgresService,
    repository: &Arc<dyn Repository>,
) -> redrill::error::Result<()> {
    let destination = Destination::new(BACKUP, vec![repository.clone()], None);
    pipeline().archive(&lab.ctx, source, &destination).await
}

/// The writes that come back from everything archived.
async fn back(
    lab: &Lab,
    manifest: Manifest,
    repository: &Arc<dyn Repository>,
) -> Result<Vec<u64>, Failed> {
    let target = lab.target().await?;
    let reader = ArtifactReader::new(manifest, repository.clone(), None);
    let fetched = lab.fetch(&reader, &target).await?;
    lab.replay(&fetched, &target, RecoveryTarget::EndOfWal)
        .await?;
    Ok(lab.back(&target).await?)
}

pub async fn a_source_killed_in_mid_backup_commits_nothing_and_the_next_backup_is_whole(
    lab: &Lab,
) -> Result<(), Failed> {
    let (source, repository) = source(lab, "killed-in-backup").await?;
    let server = source.server();
    let kill = async {
        const STREAMING: &str =
            "select count(*) from pg_stat_progress_basebackup where phase like 'streaming%'";
        let session = Session::open(&lab.ctx, &*server, "postgres").await?;
        let streaming = async {
            while session.value(&lab.ctx, STREAMING).await?.as_deref() != Some("1") {}
            Ok::<_, Error>(())
        };
        tokio::time::timeout(PATIENCE, streaming)
            .await
            .map_err(|_| Error::failed("no base backup was seen to stream"))??;
        drop(session);
        server.restart(&lab.ctx, Stop::Kill).await
    };
    let repositories = [repository.clone()];
    let (taken, killed) = tokio::join!(lab.backup_of(&source, &repositories, None), kill);
    killed?;
    let error = match taken {
        Err(error) => error.to_string(),
        Ok(manifest) => return Err(format!("a killed server gave {}", manifest.id).into()),
    };
    assert!(error.contains("back up the cluster"), "{error}");
    assert!(error.contains("the one before it"), "{error}");
    assert!(error.contains("take it once more"), "{error}");
    let (newest, broken) = Manifest::newest(&lab.ctx, &repository, BACKUP).await?;
    assert!(
        newest.is_none() && broken.is_empty(),
        "something was committed"
    );

    let manifest = lab.backup_of(&source, &repositories, None).await?;
    source.write(&lab.ctx, 2).await?;
    archive(lab, &source, &repository).await?;
    assert_eq!(back(lab, manifest, &repository).await?, [1, 2]);
    Ok(())
}

pub async fn a_source_killed_before_and_in_archiving_loses_no_acknowledged_write(
    lab: &Lab,
) -> Result<(), Failed> {
    let (source, repository) = source(lab, "killed-in-archiving").await?;
    let manifest = lab
        .backup_of(&source, std::slice::from_ref(&repository), None)
        .await?;
    source.write(&lab.ctx, 2).await?;
    source.server().restart(&lab.ctx, Stop::Kill).await?;
    source.write(&lab.ctx, 3).await?;
    let server = source.server();
    let kill = server.restart(&lab.ctx, Stop::Kill);
    // It may have been archived before the server died; then once more changes nothing.
    let (archived, killed) = tokio::join!(archive(lab, &source, &repository), kill);
    killed?;
    if let Err(error) = archived {
        let said = error.to_string();
        for words in [
            "archive what was committed",
            "is on the server alone",
            "once more",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
    source.write(&lab.ctx, 4).await?;
    archive(lab, &source, &repository).await?;
    assert_eq!(back(lab, manifest, &repository).await?, [1, 2, 3, 4]);
    Ok(())
}

/// Kills the server that replays as soon as it says that it is so far, and gives the error of the recovery.
async fn killed_when(
    word: &str,
    lab: &Lab,
    fetched: &Fetched,
    target: &PostgresService,
) -> Result<String, Failed> {
    const KILL: &str = r#"until grep -q "$2" "$1/postmaster.pid"; do sleep 0.01; done
        kill -9 "$(head -n 1 "$1/postmaster.pid")""#;
    let server = target.server();
    let recovering = server.data_dir().with_file_name("recovered");
    let kill = server.tool("sh").args(["-c", KILL, "sh"]);
    let kill = kill.arg(recovering).arg(word);
    let mut replaying = pin!(lab.replay(fetched, target, RecoveryTarget::EndOfWal));
    tokio::select! {
        biased;
        killed = kill.run(&lab.ctx) => killed?.ok().map(drop)?,
        ended = &mut replaying => {
            return Err(format!("it ended before it could be killed: {ended:?}").into());
        }
    }
    match replaying.await {
        Err(error) => Ok(error.to_string()),
        Ok(fact) => Err(format!("a killed recovery gave {fact:?}").into()),
    }
}

pub async fn a_server_killed_in_mid_replay_is_an_error_and_the_next_recovery_has_it_all(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("killed-in-replay");
    let target = lab.target().await?;
    let fetched = lab
        .fetch(&lab.reader(copy.repository(), None), &target)
        .await?;
    let error = killed_when("starting", lab, &fetched, &target).await?;
    assert!(error.contains("recover to"), "{error}");
    assert!(error.contains("recover once more"), "{error}");
    // What was there before is untouched: it is replaced by a recovery that is whole.
    let answer = lab.sql_on(&target, "select 1").await?;
    assert_eq!(answer.as_deref(), Some("1"));

    let (server, _) = lab.recover(&copy, RecoveryTarget::EndOfWal).await?;
    assert_eq!(lab.back(&server).await?, [1, 2, 3, 4, 5, 6, 7]);
    Ok(())
}

pub async fn a_server_killed_after_its_recovery_has_everything_and_what_was_written_since(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("killed-after");
    let (server, _) = lab.recover(&copy, RecoveryTarget::EndOfWal).await?;
    server.write(&lab.ctx, 9).await?;
    server.server().restart(&lab.ctx, Stop::Kill).await?;
    assert_eq!(lab.back(&server).await?, [1, 2, 3, 4, 5, 6, 7, 9]);
    Ok(())
}

/// Kills a server while something waits in it, or sleeps, by this condition on `pg_stat_activity`.
async fn kill_when(
    lab: &Lab,
    server: &Arc<dyn Running>,
    waits: &str,
) -> redrill::error::Result<()> {
    let session = Session::open(&lab.ctx, &**server, "postgres").await?;
    let ask =
        format!("select count(*) from pg_stat_activity where pid <> pg_backend_pid() and {waits}");
    let seen = async {
        while session.value(&lab.ctx, &ask).await?.as_deref() == Some("0") {}
        Ok::<_, Error>(())
    };
    tokio::time::timeout(PATIENCE, seen)
        .await
        .map_err(|_| Error::failed(format!("nothing was seen that waits: {waits}")))??;
    drop(session);
    server.restart(&lab.ctx, Stop::Kill).await
}

/// What waits for a lock on a table.
const LOCKED: &str = "wait_event_type = 'Lock'";

/// Keeps a table to itself until the server is killed.
async fn locked(
    lab: &Lab,
    service: &PostgresService,
    table: &str,
) -> redrill::error::Result<Session> {
    let session = Session::open(&lab.ctx, &*service.server(), DATABASE).await?;
    let lock = format!("begin; lock table {table} in access exclusive mode");
    session.run(&lab.ctx, &lock).await?;
    Ok(session)
}

/// An artifact of the source's database, by `pg_dump`.
async fn dump(
    lab: &Lab,
    source: &PostgresService,
    format: DumpFormat,
    repository: &Arc<dyn Repository>,
) -> redrill::error::Result<Manifest> {
    let origin = Origin {
        backup: DUMP.to_owned(),
        component: "db".to_owned(),
        taken_at: lab.ctx.clock.now(),
        engine: format!("postgres {}", source.server().version()),
        compression: "gzip:1".to_owned(),
    };
    let mut artifact = ArtifactWriter::new(&lab.ctx, origin, vec![repository.clone()], None);
    pg_dump(format)
        .backup(&lab.ctx, source, &mut artifact)
        .await?;
    let draft = artifact.draft(&lab.ctx);
    artifact.commit(&lab.ctx, draft).await
}

const DUMP: &str = "dump";

fn pg_dump(format: DumpFormat) -> PgDump {
    PgDump::new(Dump::of(format, 1))
}

fn has(said: &str, all: &[&str]) {
    for words in all {
        assert!(said.contains(words), "{words}: {said}");
    }
}

pub async fn a_source_killed_in_mid_dump_commits_nothing_and_the_next_dump_is_whole(
    lab: &Lab,
) -> Result<(), Failed> {
    let (source, repository) = source(lab, "killed-in-dump").await?;
    let server = source.server();
    let held = locked(lab, &source, "redrill.ledger").await?;
    let (taken, killed) = tokio::join!(
        dump(lab, &source, DumpFormat::Custom, &repository),
        kill_when(lab, &server, LOCKED)
    );
    killed?;
    drop(held);
    let error = match taken {
        Err(error) => error.to_string(),
        Ok(manifest) => return Err(format!("a killed server gave {}", manifest.id).into()),
    };
    has(
        &error,
        &[
            "back up database shop",
            "nothing of it was committed",
            "take it once more",
        ],
    );
    let (newest, broken) = Manifest::newest(&lab.ctx, &repository, DUMP).await?;
    assert!(
        newest.is_none() && broken.is_empty(),
        "something was committed"
    );
    dump(lab, &source, DumpFormat::Custom, &repository).await?;
    let (newest, _) = Manifest::newest(&lab.ctx, &repository, DUMP).await?;
    assert!(newest.is_some());
    Ok(())
}

pub async fn a_target_killed_in_mid_restore_says_so_and_the_next_restore_has_it_all(
    lab: &Lab,
) -> Result<(), Failed> {
    let (source, repository) = source(lab, "killed-in-restore").await?;
    // A row that only a restore takes its time for.
    let slow = "create function public.slow(n int) returns boolean language plpgsql as $$ begin \
                if current_setting('redrill.slow', true) = 'on' then perform pg_sleep(120); end if; return true; end $$; \
                create table public.held (n int check (public.slow(n))); insert into public.held values (1)";
    let session = Session::open(&lab.ctx, &*source.server(), DATABASE).await?;
    session.run(&lab.ctx, slow).await?;
    drop(session);
    for format in [DumpFormat::Custom, DumpFormat::Plain] {
        let manifest = dump(lab, &source, format, &repository).await?;
        let reader = ArtifactReader::new(manifest.clone(), repository.clone(), None);
        for killed in [true, false] {
            let target = lab.target().await?;
            target.create(&lab.ctx).await?;
            let server = target.server();
            if killed {
                lab.sql_on(&target, "alter role all set redrill.slow = on")
                    .await?;
            }
            let fetched = pg_dump(format).fetch(&lab.ctx, &reader, &target).await?;
            let (pipeline, options) = (pg_dump(format), RestoreOptions::default());
            let restoring = pipeline.restore(&lab.ctx, &fetched, &target, &options);
            if !killed {
                restoring.await?;
                assert_eq!(lab.back(&target).await?, [1]);
                continue;
            }
            let kill = kill_when(lab, &server, "wait_event = 'PgSleep'");
            let (restored, killed) = tokio::join!(restoring, kill);
            killed?;
            let error = restored.err().ok_or("a killed server was restored")?;
            has(
                &error.to_string(),
                &[
                    "restore database shop",
                    "the artifact is as it was",
                    "restore once more",
                ],
            );
        }
        // The next one is of the same second.
        repository.delete(&lab.ctx, &[manifest.key()]).await?;
    }
    Ok(())
}

pub async fn a_server_killed_while_it_is_looked_at_is_never_taken_for_sound(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("killed-in-looking");
    let (target, _) = lab.recover(&copy, RecoveryTarget::EndOfWal).await?;
    let server = target.server();
    let held = locked(lab, &target, "public.item").await?;
    let pipeline = pipeline();
    let (found, killed) = tokio::join!(
        pipeline.inspect(&lab.ctx, &target),
        kill_when(lab, &server, LOCKED)
    );
    killed?;
    drop(held);
    match found {
        Err(_) => {}
        Ok(found) => {
            let found = found.ok_or("nothing was inspected")?;
            assert!(
                found
                    .damaged
                    .keys()
                    .chain(found.unable.keys())
                    .next()
                    .is_some(),
                "{found:?}"
            );
        }
    }
    let held = locked(lab, &target, "public.item").await?;
    let (observed, killed) =
        tokio::join!(target.observe(&lab.ctx), kill_when(lab, &server, LOCKED));
    killed?;
    drop(held);
    if let Ok(observed) = observed {
        assert!(!observed.unreadable.is_empty(), "nothing was amiss");
    }
    // It comes back by its own log, and is sound.
    assert_eq!(lab.back(&target).await?, [1, 2, 3, 4, 5, 6, 7]);
    let found = pipeline.inspect(&lab.ctx, &target).await?;
    let found = found.ok_or("nothing was inspected")?;
    assert!(
        found.damaged.is_empty() && found.unable.is_empty(),
        "{found:?}"
    );
    Ok(())
}

pub async fn a_recovered_server_killed_before_it_takes_its_place_leaves_the_target_as_it_was(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("killed-before-swap");
    let target = lab.target().await?;
    let reader = lab.reader(copy.repository(), None);
    let fetched = lab.fetch(&reader, &target).await?;
    // Promoted, and not yet in the target's place.
    let error = killed_when("ready", lab, &fetched, &target).await?;
    has(
        &error,
        &[
            "nothing is lost",
            "the target is what it was",
            "recover once more",
        ],
    );
    let answer = lab.sql_on(
        &target,
        "select count(*) from pg_database where datname = 'shop'",
    );
    assert_eq!(answer.await?.as_deref(), Some("0"));
    Ok(())
}

pub async fn a_recovery_takes_the_place_of_a_server_that_is_gone_by_then(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("gone-before-swap");
    let target = lab.target().await?;
    let reader = lab.reader(copy.repository(), None);
    let fetched = lab.fetch(&reader, &target).await?;
    target.server().halt(&lab.ctx).await?;
    lab.replay(&fetched, &target, RecoveryTarget::EndOfWal)
        .await?;
    assert_eq!(lab.back(&target).await?, [1, 2, 3, 4, 5, 6, 7]);
    Ok(())
}
