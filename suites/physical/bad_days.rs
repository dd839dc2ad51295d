//! What must stop a recovery, and what it then says.

use std::sync::Arc;

use libtest_mimic::Failed;
use redrill::clock::Clock;
use redrill::error::{Error, Kind};
use redrill::fault::link::Link;
use redrill::pipeline::Pipeline;
use redrill::pipeline::artifact::{ArtifactReader, Destination};
use redrill::provision::{Provisioner, Wanted};
use redrill::repository::{Repository, S3Repository};
use redrill::service::Service;
use redrill::service::postgres::session::Session;
use redrill::service::s3::S3Client;
use redrill::suite::{Engine, Fault, RecoveryTarget, RestoreOptions};

use crate::lab::{BACKUP, Copy, DATABASE, Lab, pipeline};

/// What a recovery that must fail says, in full.
async fn refused(lab: &Lab, copy: &Copy, to: RecoveryTarget) -> Result<String, Failed> {
    match lab.recover(copy, to.clone()).await {
        Err(error) => Ok(error.to_string()),
        Ok((server, fact)) => {
            let back = lab.back(&server).await?;
            Err(format!("recovered to {to}: {back:?}, {fact:?}").into())
        }
    }
}

fn has(said: &str, words: &[&str]) -> Result<(), Failed> {
    for word in words {
        if !said.contains(word) {
            return Err(format!("{word:?} is not in: {said}").into());
        }
    }
    Ok(())
}

pub async fn a_missing_segment_stops_recovery_and_says_what_is_lost(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("missing");
    let all = copy.segments();
    // Writes 5, 6 and 7 are in the last three.
    let (path, name) = copy.segment(all.len() - 2);
    std::fs::remove_file(path)?;
    let said = refused(lab, &copy, RecoveryTarget::EndOfWal).await?;
    has(
        &said,
        &[
            &name,
            "is missing",
            "what was committed after",
            "up to",
            "unbroken",
        ],
    )?;
    lab.clear().await?;
    // A moment that the gap does not let it reach is no reason to promote early either.
    let said = refused(lab, &copy, RecoveryTarget::Time(lab.writes[6].at)).await?;
    has(&said, &[&name, "is missing"])?;
    lab.clear().await?;
    // Before the gap all is well, and giving up what is later is a decision that can be made.
    let before = RecoveryTarget::Lsn(lab.writes[3].lsn.clone());
    let (server, _) = lab.recover(&copy, before).await?;
    assert_eq!(lab.back(&server).await?, [1, 2, 3, 4]);
    lab.clear().await?;
    let (server, fact) = lab.recover(&copy, RecoveryTarget::Unbroken).await?;
    assert_eq!(lab.back(&server).await?, [1, 2, 3, 4, 5], "{fact:?}");
    Ok(())
}

pub async fn a_short_and_an_altered_segment_stop_recovery(lab: &Lab) -> Result<(), Failed> {
    for (how, words) in [("short", "cut short"), ("altered", "content changed")] {
        let copy = lab.copy(how);
        let all = copy.segments();
        let (path, name) = copy.segment(all.len() - 2);
        let mut bytes = std::fs::read(&path)?;
        if how == "short" {
            bytes.truncate(bytes.len() - 100);
        } else {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        std::fs::write(&path, bytes)?;
        let said = refused(lab, &copy, RecoveryTarget::EndOfWal).await?;
        has(&said, &[&name, words, "what was committed after"])?;
        lab.clear().await?;
    }
    Ok(())
}

/// Another server's archive is put where ours is: under the name of one of ours, and of a newer timeline.
pub async fn a_segment_of_another_cluster_is_not_replayed(lab: &Lab) -> Result<(), Failed> {
    let (other, repository) = crate::killed::source(lab, "other-cluster").await?;
    let destination = Destination::new(BACKUP, vec![repository], None);
    pipeline().archive(&lab.ctx, &other, &destination).await?;
    let theirs = Copy {
        root: lab.repository.with_file_name("other-cluster"),
    };
    let session = Session::open(&lab.ctx, &*other.server(), "postgres").await?;
    let identity = "select system_identifier from pg_control_system()";
    let their_cluster = session.value(&lab.ctx, identity).await?;
    let their_cluster = their_cluster.ok_or("it has no identity")?;
    let our_cluster = &lab.manifest.files[0].metadata["system-identifier"];
    assert_ne!(&their_cluster, our_cluster);
    let (segment, their_name) = theirs.segment(0);
    let put = |copy: &Copy, name: &str| {
        let sidecar = |name: &str| format!(".{name}.gz.meta");
        let beside = segment.with_file_name(sidecar(&their_name));
        std::fs::copy(&segment, copy.wal().join(format!("{name}.gz")))?;
        std::fs::copy(beside, copy.wal().join(sidecar(name)))
    };

    let copy = lab.copy("foreign");
    let all = copy.segments();
    let (path, name) = copy.segment(all.len() - 2);
    let kept = std::fs::read(&path)?;
    put(&copy, &name)?;
    assert!(std::fs::read(&path)? != kept, "it is ours still");
    let said = refused(lab, &copy, RecoveryTarget::EndOfWal).await?;
    let not_ours = format!("it is of cluster {their_cluster}, not of {our_cluster}");
    has(
        &said,
        &[
            &name,
            &not_ours,
            "what was committed after 2026-03-01T12:",
            "up to 2026-03-01T12:",
            "cannot be recovered from here",
            "`unbroken`",
        ],
    )?;
    lab.clear().await?;
    let (server, fact) = lab.recover(&copy, RecoveryTarget::Unbroken).await?;
    assert_eq!(lab.back(&server).await?, [1, 2, 3, 4, 5], "{fact:?}");
    lab.clear().await?;

    // A timeline of theirs is not the newest of ours.
    let copy = lab.copy("foreign-timeline");
    let last = copy.segments().pop().ok_or("no segment")?;
    put(&copy, "00000002.history")?;
    put(&copy, &format!("00000002{}", &last[8..]))?;
    let (server, fact) = lab.recover(&copy, RecoveryTarget::EndOfWal).await?;
    let back = lab.back(&server).await?;
    assert_eq!(back, [1, 2, 3, 4, 5, 6, 7], "{fact:?}");
    assert_eq!(fact.timelines.1, 1);
    Ok(())
}

pub async fn an_archive_that_cannot_be_read_in_mid_recovery_stops_it(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("unreachable");
    let reader = lab.reader(copy.repository(), None);
    let name = copy.segments().pop().ok_or("no segment")?;
    for (what, damage, words) in [
        ("gone", "rm -- \"$1/$2.gz\"", "cannot be read"),
        (
            "no script",
            "rm -- \"$1/fetch.sh\"",
            "could not restore file",
        ),
    ] {
        let target = lab.target().await?;
        let fetched = lab.fetch(&reader, &target).await?;
        let (_, dir) = fetched
            .files
            .iter()
            .find(|(name, _)| name == "wal")
            .ok_or("no WAL")?;
        let server = target.server();
        let damaged = server.tool("sh").args(["-c", damage, "sh"]);
        let damaged = damaged.arg(dir).arg(&name).run(&lab.ctx).await?;
        damaged.ok()?;
        let error: Error = match lab
            .replay(&fetched, &target, RecoveryTarget::EndOfWal)
            .await
        {
            Err(error) => error,
            Ok(fact) => return Err(format!("{what}: recovered: {fact:?}").into()),
        };
        has(&error.to_string(), &[words])?;
        lab.clear().await?;
    }
    Ok(())
}

/// Both ways in which an archive goes away while everything is fetched: the server with its address, and the network.
pub async fn an_s3_server_that_dies_in_mid_fetch_stops_recovery_and_nothing_is_called_lost(
    lab: &Lab,
) -> Result<(), Failed> {
    let wanted = Wanted {
        name: "s3".to_owned(),
        engine: Engine::Bucket,
        version: None,
        settings: Default::default(),
    };
    let s3 = redrill::provision::local::Local
        .start(&lab.ctx, &wanted)
        .await?;
    let mut endpoint = s3.endpoint();
    let link = Link::to(&endpoint.host, endpoint.port).await?;
    endpoint.port = link.port();
    let bucket = S3Repository::new("offsite", S3Client::new(&endpoint), "offsite");
    bucket.create(&lab.ctx).await?;
    let bucket: Arc<dyn Repository> = Arc::new(bucket);
    let manifest = lab.backup(std::slice::from_ref(&bucket), None).await?;
    lab.archive(std::slice::from_ref(&bucket), None).await?;
    let reader = ArtifactReader::new(manifest, bucket, None);
    let target = lab.target().await?;

    link.cut_before("/wal/");
    let error = lab.fetch(&reader, &target).await.err();
    assert!(link.is_cut(), "no WAL was fetched");
    let error = error.ok_or("it was fetched from nowhere")?;
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    let words = [
        "offsite cannot be reached",
        "is not lost",
        "recover once more",
    ];
    has(&error.to_string(), &words)?;
    // The base backup was brought before that, and is readable where it was.
    let server = target.server();
    let look = r#"ls -A -- "$1"; [ ! -e "$2" ] || echo "$2""#;
    let look = server.tool("sh").args(["-c", look, "sh"]);
    let fetched = server.data_dir().with_file_name("wal-fetched");
    let look = look.arg(server.staging()).arg(fetched).run(&lab.ctx);
    assert_eq!(look.await?.ok()?.text(), "", "is left of what was fetched");

    // Mended, it has everything.
    link.mend();
    let fetched = lab.fetch(&reader, &target).await?;
    lab.replay(&fetched, &target, RecoveryTarget::EndOfWal)
        .await?;
    assert!(lab.back(&target).await?.starts_with(&[1, 2, 3, 4, 5, 6, 7]));

    s3.remove(&lab.ctx).await?;
    let target = lab.target().await?;
    let error = lab.fetch(&reader, &target).await.err();
    let error = error.ok_or("it was fetched from nowhere")?;
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    Ok(())
}

/// A server that ran with it for a while, to load something fast, and then as before.
pub async fn a_window_of_minimal_wal_stops_recovery_and_says_what_is_lost(
    lab: &Lab,
) -> Result<(), Failed> {
    let (source, repository) = crate::killed::source(lab, "minimal").await?;
    let repositories = [repository];
    let manifest = lab.backup_of(&source, &repositories, None).await?;
    let destination = Destination::new(BACKUP, repositories.to_vec(), None);
    source.write(&lab.ctx, 2).await?;
    pipeline().archive(&lab.ctx, &source, &destination).await?;
    redrill::fault::plant::in_source(&lab.ctx, Some(Fault::C10), &source, &destination).await?;
    source.write(&lab.ctx, 3).await?;
    pipeline().archive(&lab.ctx, &source, &destination).await?;

    let [repository] = repositories;
    let reader = ArtifactReader::new(manifest, repository.clone(), None);
    let target = lab.target().await?;
    let fetched = lab.fetch(&reader, &target).await?;
    let to_the_end = lab.replay(&fetched, &target, RecoveryTarget::EndOfWal);
    let said = to_the_end
        .await
        .err()
        .ok_or("it was recovered")?
        .to_string();
    has(
        &said,
        &[
            "wal_level = minimal",
            "what was committed after 0/",
            ", up to 2026-03-01T",
            "take a base backup",
        ],
    )?;
    // Up to there all is well.
    let from = said
        .split("up to the LSN ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let from = RecoveryTarget::Lsn(from.ok_or("it names no LSN")?.to_owned());
    let target = lab.target().await?;
    let fetched = lab.fetch(&reader, &target).await?;
    lab.replay(&fetched, &target, from).await?;
    assert_eq!(lab.back(&target).await?, [1, 2]);
    // And so is what was backed up after it.
    let later = lab.clock.now() + chrono::TimeDelta::minutes(1);
    lab.clock.advance_to(later);
    let manifest = lab
        .backup_of(&source, std::slice::from_ref(&repository), None)
        .await?;
    let target = lab.target().await?;
    let fetched = lab
        .fetch(&ArtifactReader::new(manifest, repository, None), &target)
        .await?;
    lab.replay(&fetched, &target, RecoveryTarget::EndOfWal)
        .await?;
    assert_eq!(lab.back(&target).await?, [1, 2, 3]);
    Ok(())
}

pub async fn a_target_before_the_end_of_the_base_backup_is_refused(
    lab: &Lab,
) -> Result<(), Failed> {
    let copy = lab.copy("early");
    let lsn = RecoveryTarget::Lsn(lab.writes[0].lsn.clone());
    for (target, words) in [
        (lsn, "lies before the end of the base backup"),
        (
            RecoveryTarget::Time(lab.writes[0].at),
            "lies before the base backup began",
        ),
    ] {
        let said = refused(lab, &copy, target).await?;
        has(&said, &[words, "the base backup before this one"])?;
        lab.clear().await?;
    }
    Ok(())
}

pub async fn a_target_after_the_last_wal_is_refused(lab: &Lab) -> Result<(), Failed> {
    let copy = lab.copy("late");
    let last = copy.segments().pop().ok_or("no segment")?;
    let write = lab.writes[7].clone();
    for target in [
        RecoveryTarget::Lsn("FF/0".to_owned()),
        RecoveryTarget::Time(write.at + chrono::TimeDelta::hours(1)),
        RecoveryTarget::Name("never made".to_owned()),
    ] {
        let said = refused(lab, &copy, target).await?;
        has(
            &said,
            &[
                "lies after the last WAL",
                &last,
                "archived at 2026-03-01T12:",
            ],
        )?;
        lab.clear().await?;
    }
    Ok(())
}

pub async fn a_full_disk_at_the_target_is_said(lab: &Lab) -> Result<(), Failed> {
    let copy = lab.copy("full");
    let target = lab.target().await?;
    let server = target.server();
    let fetched = lab
        .fetch(&lab.reader(copy.repository(), None), &target)
        .await?;
    let place = server.data_dir().with_file_name("recovered");
    let small = crate::lab::small_disk(&lab.ctx, &*server, &place, 64).await?;
    let said = lab
        .replay(&fetched, &target, RecoveryTarget::EndOfWal)
        .await;
    drop(small);
    let said = said.err().ok_or("it fitted")?.to_string();
    has(&said, &["No space left on device"])
}

/// The base backup fits, and then there is no room: for a segment of WAL, or for what is replayed of it.
pub async fn a_full_disk_in_mid_replay_is_said_and_nothing_is_called_lost(
    lab: &Lab,
) -> Result<(), Failed> {
    let (source, repository) = crate::killed::source(lab, "growing").await?;
    let manifest = lab
        .backup_of(&source, std::slice::from_ref(&repository), None)
        .await?;
    let session = Session::open(&lab.ctx, &*source.server(), DATABASE).await?;
    let grow = "create table public.grown as select n, repeat('x', 900) as text from generate_series(1, 60000) n";
    session.run(&lab.ctx, grow).await?;
    source.write(&lab.ctx, 2).await?;
    let later = lab.clock.now() + chrono::TimeDelta::minutes(1);
    lab.clock.advance_to(later);
    let destination = Destination::new(BACKUP, vec![repository.clone()], None);
    pipeline().archive(&lab.ctx, &source, &destination).await?;
    let grown = Copy {
        root: lab.repository.with_file_name("growing"),
    };
    let last = grown.segments().pop().ok_or("no segment")?;

    let reader = ArtifactReader::new(manifest, repository, None);
    let target = lab.target().await?;
    let server = target.server();
    let fetched = lab.fetch(&reader, &target).await?;
    let place = server.data_dir().with_file_name("recovered");
    let options = RestoreOptions::default();
    let unpack = async || {
        pipeline()
            .restore(&lab.ctx, &fetched, &target, &options)
            .await
    };
    unpack().await?;
    let used = server.tool("du").arg("-sk").arg(&place).run(&lab.ctx);
    let used = used.await?.ok()?.text();
    let used: u64 = used.split_whitespace().next().ok_or("no size")?.parse()?;
    for (room, without) in [(4 << 10, "gzip: "), (40 << 10, "could not extend file")] {
        let small = crate::lab::small_disk(&lab.ctx, &*server, &place, used + room).await?;
        let said = lab.replay(&fetched, &target, RecoveryTarget::EndOfWal);
        let said = said.await;
        drop(small);
        let said = said.err().ok_or("it fitted")?.to_string();
        let ends = format!("it ends with {last}, archived at {}", later.to_rfc3339());
        let words = [
            without,
            "No space left on device",
            "nothing is lost",
            &ends,
            "hint: make room there",
        ];
        has(&said, &words)?;
    }
    // Where there is room, it has everything.
    lab.replay(&fetched, &target, RecoveryTarget::EndOfWal)
        .await?;
    assert_eq!(lab.back(&target).await?, [1, 2]);
    Ok(())
}
