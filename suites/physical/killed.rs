//! A server killed in each phase: nothing is left half done, what was acknowledged is there, and it says so.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Failed;
use redrill::error::Error;
use redrill::pipeline::Pipeline;
use redrill::pipeline::artifact::{ArtifactReader, Destination};
use redrill::provision::Wanted;
use redrill::repository::Repository;
use redrill::repository::manifest::Manifest;
use redrill::service::postgres::PostgresService;
use redrill::service::postgres::session::Session;
use redrill::service::{Service, Stop};
use redrill::suite::{Engine, RecoveryTarget};

use crate::lab::{BACKUP, Copy, Lab, pipeline};

/// How long a backup may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// A source to be killed, archiving, with one write; and where its backups go.
async fn source(lab: &Lab, name: &str) -> Result<(PostgresService, Arc<dyn Repository>), Failed> {
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
    let (_, killed) = tokio::join!(archive(lab, &source, &repository), kill);
    killed?;
    source.write(&lab.ctx, 4).await?;
    archive(lab, &source, &repository).await?;
    assert_eq!(back(lab, manifest, &repository).await?, [1, 2, 3, 4]);
    Ok(())
}

pub async fn a_server_killed_in_mid_replay_is_an_error_and_the_next_recovery_has_it_all(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("killed-in-replay");
    let target = lab.target().await?;
    let fetched = lab
        .fetch(&lab.reader(copy.repository(), None), &target)
        .await?;
    const KILL: &str = r#"until grep -q starting "$1/postmaster.pid"; do sleep 0.01; done
        kill -9 "$(head -n 1 "$1/postmaster.pid")""#;
    let server = target.server();
    let recovering = server.data_dir().with_file_name("recovered");
    let kill = server.tool("sh").args(["-c", KILL, "sh"]).arg(recovering);
    let (replayed, killed) = tokio::join!(
        lab.replay(&fetched, &target, RecoveryTarget::EndOfWal),
        kill.run(&lab.ctx)
    );
    killed?.ok()?;
    let error = match replayed {
        Err(error) => error.to_string(),
        Ok(fact) => return Err(format!("a killed recovery gave {fact:?}").into()),
    };
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
