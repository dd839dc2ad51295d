//! What comes back when nothing is wrong.

use std::sync::Arc;

use libtest_mimic::Failed;
use redrill::pipeline::Pipeline;
use redrill::pipeline::artifact::{ArtifactReader, Destination, Keys};
use redrill::pipeline::pgbackrest::{LABEL, label_of};
use redrill::provision::local::Local;
use redrill::provision::{Provisioner, Wanted};
use redrill::repository::manifest::Manifest;
use redrill::repository::{Repository, S3Repository};
use redrill::service::s3::S3Client;
use redrill::service::{Service, Stop};
use redrill::suite::{BackupType, Engine, Keep, PgBackRest as Options, RecoveryTarget};
use tokio::io::AsyncReadExt;

use crate::lab::{BACKUP, Lab, pipeline, source};

pub async fn everything_comes_back_from_a_full_a_differential_and_an_incremental_backup(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("whole");
    let labels: Vec<&str> = lab.manifests.iter().filter_map(label_of).collect();
    let [full, diff, incr] = labels[..] else {
        return Err(format!("{labels:?}").into());
    };
    assert!(full.ends_with('F') && diff.ends_with('D') && incr.ends_with('I'));
    // Each says, in redrill's words, what it builds on, and when on the drill's clock it was taken.
    let ids: Vec<_> = lab.manifests.iter().map(|it| Some(it.id.clone())).collect();
    assert_eq!(lab.manifests[0].parent, None);
    assert_eq!(lab.manifests[1].parent, ids[0]);
    assert_eq!(lab.manifests[2].parent, ids[1]);
    let day = lab.manifests[1].taken_at - lab.manifests[0].taken_at;
    assert_eq!(day.num_days(), 1);
    for manifest in &lab.manifests {
        let reader = ArtifactReader::new(manifest.clone(), copy.repository(), None);
        let read = pipeline(BackupType::Incr)
            .read_through(&lab.ctx, &reader, &lab.source)
            .await?;
        assert_eq!(read.error, None);
        assert!(read.entries > 900, "{}", read.entries);
        assert!(read.content_time.is_some());
        let (target, fact) = lab.recover_from(&reader, RecoveryTarget::EndOfWal).await?;
        assert_eq!(lab.back(&target).await?, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(fact.missed, None, "{fact:?}");
        assert_eq!(fact.identities.0, fact.identities.1);
        assert_eq!(fact.checksums, Some(true));
        let sound = pipeline(BackupType::Incr)
            .inspect(&lab.ctx, &target)
            .await?;
        let sound = sound.ok_or("nothing was inspected")?;
        let tied = target.ties(&lab.ctx, true).await?.ok_or("not asked")?;
        assert_eq!((tied.ties, tied.workers), (vec![], vec![]));
        assert!(sound.damaged.is_empty() && sound.pages > 500, "{sound:?}");
        lab.clear().await?;
    }
    Ok(())
}

pub async fn recovery_stops_at_an_lsn_a_time_a_name_and_the_end_of_the_backup(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("targets");
    let write = |number: usize| lab.writes[number - 1].clone();
    for (target, back) in [
        (RecoveryTarget::Lsn(write(6).lsn), vec![1, 2, 3, 4, 5, 6]),
        (RecoveryTarget::Time(write(5).at), vec![1, 2, 3, 4, 5]),
        (
            RecoveryTarget::Name("before deploy".to_owned()),
            vec![1, 2, 3, 4],
        ),
        (RecoveryTarget::Immediate, vec![1, 2, 3]),
    ] {
        let (server, fact) = lab.recover(&copy, target.clone()).await?;
        assert_eq!(lab.back(&server).await?, back, "{target}: {fact:?}");
        assert_eq!(fact.missed, None, "{fact:?}");
        // It is a server like any other: it takes writes, and starts again.
        server.write(&lab.ctx, 9).await?;
        server.server().restart(&lab.ctx, Stop::Clean).await?;
        assert!(lab.back(&server).await?.contains(&9));
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
    let server = Local.start(&lab.ctx, &wanted).await?;
    let bucket = S3Repository::new("offsite", S3Client::new(&server.endpoint()), "offsite");
    bucket.create(&lab.ctx).await?;
    let bucket = bucket.over_tls(server.endpoint(), server.tls(&lab.ctx).await?);
    let bucket: Arc<dyn Repository> = Arc::new(bucket);
    let keys = Keys::generate(&lab.ctx);
    let other = source(&lab.ctx, "other").await?;
    lab.ends_with_the_test(&other);
    lab.prepare(&other, &bucket, Some(keys.clone())).await?;
    other.write(&lab.ctx, 1).await?;
    lab.backup(&other, BackupType::Full, &bucket, None).await?;
    other.write(&lab.ctx, 2).await?;
    let manifest = lab.backup(&other, BackupType::Incr, &bucket, None).await?;
    other.write(&lab.ctx, 3).await?;
    lab.archive(&other, &bucket, Some(keys.clone())).await?;
    let stored = bucket.list(&lab.ctx, "").await?;
    assert!(stored.len() > 10, "{stored:?}");
    for stored in stored {
        if stored.key.ends_with("manifest.json") {
            continue;
        }
        let mut begins = [0; 8];
        let mut reading = bucket.get(&lab.ctx, &stored.key).await?;
        reading.read_exact(&mut begins).await?;
        assert_eq!(&begins, b"Salted__", "{} is in the clear", stored.key);
    }
    let reader = ArtifactReader::new(manifest, bucket, Some(keys));
    let read = pipeline(BackupType::Incr)
        .read_through(&lab.ctx, &reader, &other)
        .await?;
    assert_eq!(read.error, None);
    let (target, fact) = lab.recover_from(&reader, RecoveryTarget::EndOfWal).await?;
    assert_eq!(lab.back(&target).await?, [1, 2, 3], "{fact:?}");
    // No password of the run is in any log.
    for entry in std::fs::read_dir(&lab.ctx.logs)? {
        let text = std::fs::read(entry?.path())?;
        let text = String::from_utf8_lossy(&text);
        for (what, secret) in lab.ctx.secrets.all() {
            assert!(!text.contains(&secret), "{what}");
        }
    }
    lab.clear().await?;
    server.remove(&lab.ctx).await?;
    Ok(())
}

pub async fn expired_backups_are_artifacts_no_longer(lab: &Lab) -> Result<(), Failed> {
    let other = source(&lab.ctx, "expiring").await?;
    lab.ends_with_the_test(&other);
    let root = lab.ctx.subdir("expiring-repository")?;
    let repository = redrill::repository::LocalRepository::new("near", root)?;
    let repository: Arc<dyn Repository> = Arc::new(repository);
    let options = |usual| Options {
        usual,
        bundle: true,
        retention_full: 1,
        ..Options::default()
    };
    let pipeline = redrill::pipeline::pgbackrest::PgBackRest::new(options(BackupType::Full));
    let destination = Destination::new(BACKUP, vec![repository.clone()], None);
    pipeline.prepare(&lab.ctx, &other, &destination).await?;
    let keep = Keep::within(std::time::Duration::from_secs(86_400));
    let mut remaining = Vec::new();
    for of_type in [BackupType::Full, BackupType::Incr, BackupType::Full] {
        other.write(&lab.ctx, remaining.len() as u64 + 1).await?;
        let taken = lab
            .backup(&other, of_type, &repository, Some(options(of_type)))
            .await?;
        pipeline
            .prune(&lab.ctx, &other, &destination, &keep, taken.taken_at)
            .await?;
        let (left, _) = Manifest::list(&lab.ctx, &repository, BACKUP).await?;
        remaining.push(left.len());
    }
    // The second full one takes the place of the first, and of what builds on it.
    assert_eq!(remaining, [1, 2, 1]);
    let listing = repository.list(&lab.ctx, &format!("{BACKUP}/")).await?;
    let (left, _) = Manifest::list(&lab.ctx, &repository, BACKUP).await?;
    let label = left[0]
        .files
        .iter()
        .find_map(|file| file.metadata.get(LABEL));
    let label = label.ok_or("no label")?;
    let data = |key: &str| key.contains("/bundle/");
    assert!(listing.iter().any(|stored| data(&stored.key)));
    for stored in listing.iter().filter(|stored| data(&stored.key)) {
        assert!(stored.key.contains(label.as_str()), "{}", stored.key);
    }
    Ok(())
}

pub async fn a_recovered_server_archives_on_and_the_fork_is_followed(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("fork");
    let repository = copy.repository();
    // The first disaster: recovered to write 5, so that 6 and 7 are left aside on timeline 1.
    let target = RecoveryTarget::Lsn(lab.writes[4].lsn.clone());
    let (first, _) = lab.recover(&copy, target).await?;
    let server = first.server();
    let session =
        redrill::service::postgres::session::Session::open(&lab.ctx, &*server, "postgres");
    let session = session.await?;
    session
        .run(&lab.ctx, "alter system set archive_mode = on")
        .await?;
    drop(session);
    server.restart(&lab.ctx, Stop::Clean).await?;
    lab.prepare(&first, &repository, None).await?;
    first.write(&lab.ctx, 50).await?;
    lab.archive(&first, &repository, None).await?;
    lab.clear().await?;
    // The second one: the same backup, over the fork.
    let (second, fact) = lab.recover(&copy, RecoveryTarget::EndOfWal).await?;
    assert_eq!(lab.back(&second).await?, [1, 2, 3, 4, 5, 50], "{fact:?}");
    assert_eq!(fact.timelines, (2, 2));
    Ok(())
}
