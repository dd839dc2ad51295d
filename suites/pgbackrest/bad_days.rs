//! Repositories that lack something, are damaged, or are another cluster's: each is refused or found.

use std::sync::Arc;

use libtest_mimic::Failed;
use redrill::error::{Error, Kind};
use redrill::pipeline::Pipeline;
use redrill::pipeline::artifact::{ArtifactReader, Keys};
use redrill::provision::local::Local;
use redrill::provision::{Provisioner, Wanted};
use redrill::repository::{LocalRepository, Repository, S3Repository};
use redrill::service::Service;
use redrill::service::postgres::session::Session;
use redrill::service::s3::S3Client;
use redrill::suite::{BackupType, Engine, RecoveryTarget, RestoreOptions};

use crate::lab::{BACKUP, Copy, DATABASE, Lab, alter, pipeline, source};

/// The error of a recovery that must not succeed.
async fn refused(lab: &Lab, copy: &Copy, to: RecoveryTarget) -> Result<Error, Failed> {
    match lab.recover(copy, to).await {
        Ok((target, fact)) => {
            let back = lab.back(&target).await?;
            Err(format!("it recovered {back:?}: {fact:?}").into())
        }
        Err(error) => Ok(error),
    }
}

async fn complaint(lab: &Lab, copy: &Copy) -> Result<String, Failed> {
    let read = lab.read(copy).await?;
    Ok(read
        .error
        .ok_or("it was read through without a complaint")?)
}

/// pgBackRest's own `verify` says that all is well.
pub async fn a_deleted_segment_is_found_and_stops_recovery(lab: &Lab) -> Result<(), Failed> {
    let copy = lab.copy("deleted");
    let segments = copy.segments();
    // The last one but one: writes 6 and 7 are behind it.
    let (file, name) = &segments[segments.len() - 2];
    std::fs::remove_file(file)?;
    let found = complaint(lab, &copy).await?;
    assert!(found.contains(name) && found.contains("missing"), "{found}");
    let error = refused(lab, &copy, RecoveryTarget::EndOfWal).await?;
    assert!(error.message().contains(name), "{error}");
    let time = RecoveryTarget::Time(lab.writes[6].at);
    let error = refused(lab, &copy, time).await?;
    assert!(error.message().contains(name), "{error}");
    lab.clear().await?;
    // What is before it comes back, when it is asked for.
    let (target, _) = lab.recover(&copy, RecoveryTarget::Unbroken).await?;
    assert_eq!(lab.back(&target).await?, [1, 2, 3, 4, 5]);
    Ok(())
}

/// `archive-get` hands it to the server, and ends with 0.
pub async fn an_altered_segment_is_found_and_stops_recovery(lab: &Lab) -> Result<(), Failed> {
    let copy = lab.copy("altered");
    let segments = copy.segments();
    let (file, name) = &segments[segments.len() - 2];
    alter(file);
    let found = complaint(lab, &copy).await?;
    assert!(!found.is_empty(), "{found}");
    let error = refused(lab, &copy, RecoveryTarget::EndOfWal).await?;
    assert!(error.message().contains(name), "{error}");
    Ok(())
}

pub async fn a_segment_with_the_content_of_another_is_not_replayed(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("mixed-up");
    let segments = copy.segments();
    let (file, name) = &segments[segments.len() - 2];
    let (other, _) = &segments[segments.len() - 1];
    std::fs::copy(other, file)?;
    let found = complaint(lab, &copy).await?;
    assert!(found.contains("checksum invalid"), "{found}");
    let error = refused(lab, &copy, RecoveryTarget::EndOfWal).await?;
    assert!(error.message().contains(name), "{error}");
    assert!(error.message().contains("other content"), "{error}");
    Ok(())
}

pub async fn a_truncated_and_a_missing_file_are_found_and_refused(lab: &Lab) -> Result<(), Failed> {
    let full = redrill::pipeline::pgbackrest::label_of(&lab.manifests[0]).ok_or("no label")?;
    for what in ["truncated", "altered", "missing"] {
        let copy = lab.copy(&format!("file-{what}"));
        // Of the full backup, which the newest one builds on.
        let file = copy.stored_of(full).remove(0);
        match what {
            "truncated" => {
                let bytes = std::fs::read(&file)?;
                std::fs::write(&file, &bytes[..bytes.len() / 2])?;
            }
            "altered" => alter(&file),
            _ => std::fs::remove_file(&file)?,
        }
        let found = complaint(lab, &copy).await?;
        assert!(!found.is_empty(), "{what}: {found}");
        let error = refused(lab, &copy, RecoveryTarget::EndOfWal).await?;
        assert!(error.message().contains("restore"), "{what}: {error}");
        assert!(
            error
                .hint_text()
                .is_some_and(|hint| hint.contains("damaged"))
        );
        lab.clear().await?;
    }
    Ok(())
}

pub async fn a_repository_of_another_cluster_and_an_empty_one_are_refused(
    lab: &Lab,
) -> Result<(), Failed> {
    let other = source(&lab.ctx, "foreign").await?;
    lab.ends_with_the_test(&other);
    // A source does not back up into it.
    let taken = lab.copy("taken");
    let error = lab.prepare(&other, &taken.repository(), None).await;
    let error = error
        .err()
        .ok_or("it was prepared over another's repository")?;
    assert!(error.message().contains("do not match"), "{error}");
    // And nothing is recovered out of it.
    let root = lab.ctx.subdir("foreign-repository")?;
    let foreign: Arc<dyn Repository> = Arc::new(LocalRepository::new("foreign", &root)?);
    lab.prepare(&other, &foreign, None).await?;
    lab.backup(&other, BackupType::Full, &foreign, None).await?;
    let newest = lab.manifests.last().ok_or("no backup")?.clone();
    let reader = ArtifactReader::new(newest.clone(), foreign, None);
    let error = lab.recover_from(&reader, RecoveryTarget::EndOfWal).await;
    let error = error.err().ok_or("it recovered another cluster")?;
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.message().contains("of cluster"), "{error}");
    // One with nothing of pgBackRest in it.
    let empty = lab.copy("emptied");
    std::fs::remove_dir_all(empty.own())?;
    let error = refused(lab, &empty, RecoveryTarget::EndOfWal).await?;
    assert!(error.message().contains("no stanza"), "{error}");
    // One that has lost this backup alone.
    let expired = lab.copy("expired");
    let label = redrill::pipeline::pgbackrest::label_of(&newest).ok_or("no label")?;
    let info = expired.own().join("backup/main");
    for name in ["backup.info", "backup.info.copy"] {
        std::fs::remove_file(info.join(name))?;
    }
    std::fs::remove_dir_all(info.join(label))?;
    let error = refused(lab, &expired, RecoveryTarget::EndOfWal).await?;
    assert!(error.hint_text().is_some(), "{error}");
    Ok(())
}

pub async fn another_passphrase_opens_nothing(lab: &Lab) -> Result<(), Failed> {
    let other = source(&lab.ctx, "sealed").await?;
    lab.ends_with_the_test(&other);
    let root = lab.ctx.subdir("sealed-repository")?;
    let sealed: Arc<dyn Repository> = Arc::new(LocalRepository::new("sealed", &root)?);
    let keys = Keys::generate(&lab.ctx);
    lab.prepare(&other, &sealed, Some(keys.clone())).await?;
    let manifest = lab.backup(&other, BackupType::Full, &sealed, None).await?;
    let wrong = Keys::generate(&lab.ctx);
    for keys in [
        Some(keys.with_identity_of(Some(&wrong))),
        Some(keys.with_identity_of(None)),
    ] {
        let reader = ArtifactReader::new(manifest.clone(), sealed.clone(), keys);
        let error = lab.recover_from(&reader, RecoveryTarget::EndOfWal).await;
        let error = error.err().ok_or("it opened with another passphrase")?;
        assert!(
            error
                .hint_text()
                .is_some_and(|hint| hint.contains("passphrase")),
            "{error}"
        );
        lab.clear().await?;
    }
    Ok(())
}

pub async fn an_archiver_that_stores_nothing_is_noticed(lab: &Lab) -> Result<(), Failed> {
    let other = source(&lab.ctx, "lying").await?;
    lab.ends_with_the_test(&other);
    let root = lab.ctx.subdir("lying-repository")?;
    let repository: Arc<dyn Repository> = Arc::new(LocalRepository::new("near", &root)?);
    lab.prepare(&other, &repository, None).await?;
    other.write(&lab.ctx, 1).await?;
    lab.archive(&other, &repository, None).await?;
    let session = Session::open(&lab.ctx, &*other.server(), "postgres").await?;
    session
        .run(&lab.ctx, "alter system set archive_command = 'true'")
        .await?;
    drop(session);
    let server = other.server();
    server
        .restart(&lab.ctx, redrill::service::Stop::Clean)
        .await?;
    other.write(&lab.ctx, 2).await?;
    let error = lab.archive(&other, &repository, None).await;
    let error = error.err().ok_or("nobody noticed")?;
    assert!(error.message().contains("not in repository"), "{error}");
    Ok(())
}

pub async fn a_damaged_page_of_the_source_fails_the_backup(lab: &Lab) -> Result<(), Failed> {
    let other = source(&lab.ctx, "damaged").await?;
    lab.ends_with_the_test(&other);
    let root = lab.ctx.subdir("damaged-repository")?;
    let repository: Arc<dyn Repository> = Arc::new(LocalRepository::new("near", &root)?);
    lab.prepare(&other, &repository, None).await?;
    let server = other.server();
    let session = Session::open(&lab.ctx, &*server, DATABASE).await?;
    session
        .run(
            &lab.ctx,
            "create table public.hurt as select generate_series(1, 5000) n; checkpoint",
        )
        .await?;
    let path = session
        .value(&lab.ctx, "select pg_relation_filepath('public.hurt')")
        .await?
        .ok_or("no path")?;
    let healthy = lab
        .backup(&other, BackupType::Full, &repository, None)
        .await;
    healthy?;
    let file = server.data_dir().join(path);
    let flip = server.tool("dd").arg(format!("of={}", file.display()));
    let flip = flip.args(["bs=1", "seek=20000", "conv=notrunc", "status=none"]);
    flip.feed(&lab.ctx, &b"damage"[..]).await?.ok()?;
    let error = lab
        .backup(&other, BackupType::Full, &repository, None)
        .await;
    let error = error
        .err()
        .ok_or("the damaged page was backed up in silence")?;
    assert!(error.message().contains("fail their checksums"), "{error}");
    Ok(())
}

pub async fn a_target_outside_of_what_is_archived_is_refused(lab: &Lab) -> Result<(), Failed> {
    let copy = lab.copy("outside");
    for (target, words) in [
        (RecoveryTarget::Lsn("FF/0".to_owned()), "after the last WAL"),
        (
            RecoveryTarget::Time(lab.writes[7].at + chrono::TimeDelta::hours(1)),
            "after the last WAL",
        ),
        (
            RecoveryTarget::Name("no such point".to_owned()),
            "after the last WAL",
        ),
        (
            RecoveryTarget::Lsn(lab.writes[0].lsn.clone()),
            "before the end of the base backup",
        ),
        (
            RecoveryTarget::Time(lab.writes[0].at),
            "before the base backup began",
        ),
    ] {
        let error = refused(lab, &copy, target.clone()).await?;
        assert!(error.message().contains(words), "{target}: {error}");
        lab.clear().await?;
    }
    assert!(!copy.root.join(BACKUP).join("wal").exists());
    Ok(())
}

/// Its server answers until the recovery asks for the last segment, and then no more.
pub async fn an_s3_server_that_dies_in_mid_replay_stops_recovery_and_nothing_is_called_lost(
    lab: &Lab,
) -> Result<(), Failed> {
    const WAIT: &str = r#"
case $1 in @last@) : > "$3/asked"; until [ -e "$3/go" ]; do sleep 0.02; done;; esac
"#;
    let wanted = Wanted {
        name: "s3".to_owned(),
        engine: Engine::Bucket,
        version: None,
        settings: Default::default(),
    };
    let s3 = Local.start(&lab.ctx, &wanted).await?;
    let bucket = S3Repository::new("offsite", S3Client::new(&s3.endpoint()), "offsite");
    bucket.create(&lab.ctx).await?;
    let bucket = bucket.over_tls(s3.endpoint(), s3.tls(&lab.ctx).await?);
    let bucket: Arc<dyn Repository> = Arc::new(bucket);
    let other = source(&lab.ctx, "left-alone").await?;
    lab.ends_with_the_test(&other);
    lab.prepare(&other, &bucket, None).await?;
    let manifest = lab.backup(&other, BackupType::Full, &bucket, None).await?;
    for number in 1..=3 {
        other.write(&lab.ctx, number).await?;
        lab.archive(&other, &bucket, None).await?;
    }
    let reader = ArtifactReader::new(manifest, bucket, None);
    let target = lab.target().await?;
    let fetched = lab.fetch(&reader, &target).await?;
    let options = RestoreOptions::default();
    let pipeline = pipeline(BackupType::Full);
    pipeline
        .restore(&lab.ctx, &fetched, &target, &options)
        .await?;

    let log = fetched.log.as_ref().ok_or("no WAL")?;
    let (last, _) = log.chain.last.as_ref().ok_or("no segment")?;
    let (_, dir) = fetched.files.first().ok_or("nothing was fetched")?;
    let server = target.server();
    let at_dir = |script: &str| server.tool("sh").args(["-c", script, "sh"]).arg(dir);
    const PREPEND: &str = r#"cd -- "$1" && { cat; cat fetch.sh; } > waiting.sh && mv waiting.sh fetch.sh &&
        sed -i 's/^io-timeout=.*/io-timeout=1/' pgbackrest.conf"#;
    let wait = WAIT.replace("@last@", &last.to_string());
    at_dir(PREPEND)
        .feed(&lab.ctx, std::io::Cursor::new(wait))
        .await?
        .ok()?;
    let dies = async {
        const ASKED: &str = r#"until [ -e "$1/asked" ]; do sleep 0.02; done"#;
        at_dir(ASKED).run(&lab.ctx).await?.ok()?;
        s3.remove(&lab.ctx).await?;
        at_dir(r#": > "$1/go""#).run(&lab.ctx).await?.ok()
    };
    let (replayed, died) =
        tokio::join!(pipeline.replay(&lab.ctx, &fetched, &target, &options), dies);
    died?;
    let error = match replayed {
        Err(error) => error,
        Ok(fact) => return Err(format!("it was promoted early: {fact:?}").into()),
    };
    let said = error.to_string();
    for words in [
        &last.to_string(),
        "offsite cannot be reached",
        "is not lost",
        "recover once more",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(error.kind(), Kind::Unavailable, "{said}");
    // The target was not replaced by what was recovered until then.
    let session = Session::open(&lab.ctx, &*server, "postgres").await?;
    let there = "select count(*) from pg_database where datname = 'shop'";
    assert_eq!(session.value(&lab.ctx, there).await?.as_deref(), Some("0"));
    Ok(())
}
