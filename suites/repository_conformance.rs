//! What every implementation of `Repository` must do, as one list of facts tried on each of them.
//!
//! The S3 facts are tried on the server of `suites/server`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use libtest_mimic::{Arguments, Failed, Trial};
use redrill::context::{Context, RunId};
use redrill::error::Kind;
use redrill::evidence::Digest;
use redrill::fault::plant::{bad_streak, prune_by_age};
use redrill::pipeline::artifact::{ArtifactReader, ArtifactWriter, Keys, Origin};
use redrill::pipeline::verify::inspect;
use redrill::repository::manifest::Manifest;
use redrill::repository::retention::{Reason, prune};
use redrill::repository::{LocalRepository, Repository, S3Repository};
use redrill::service::reading::channel;
use redrill::service::s3::S3Client;
use redrill::service::{Endpoint, Reading};
use redrill::sha256;
use redrill::suite::Keep;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

mod server;

/// No metadata.
static PLAIN: BTreeMap<String, String> = BTreeMap::new();

type Repo = Arc<dyn Repository>;
type Fact = for<'a> fn(&'a Context, &'a Repo) -> BoxFuture<'a, ()>;

/// Declares facts: their names are the functions' names, as sentences.
macro_rules! facts {
    ($($name:ident),+ $(,)?) => {
        &[$((stringify!($name), |ctx, repository| Box::pin($name(ctx, repository)))),+]
    };
}

const FACTS: &[(&str, Fact)] = facts![
    any_size_comes_back_byte_for_byte,
    metadata_and_size_come_back_from_head,
    what_is_not_there_is_an_error_to_get_none_to_head_and_nothing_to_delete,
    a_listing_is_complete_sorted_and_keeps_to_its_prefix,
    storing_again_replaces_bytes_and_metadata,
    what_is_to_be_new_is_stored_once_and_what_is_there_stays_as_it_is,
    a_stream_that_breaks_off_leaves_what_was_there_before,
    what_is_not_yet_whole_is_unfinished_and_gone_when_it_is,
    names_of_any_backup_are_kept_apart,
    many_at_once_do_not_meet,
    a_cancelled_run_stores_nothing_more,
    an_artifact_goes_through_whole_and_a_changed_one_does_not,
    the_pruner_removes_what_has_expired_and_what_belongs_to_nothing,
    the_pruner_leaves_alone_what_it_cannot_read,
    a_week_of_hourly_artifacts_is_kept_and_the_rest_goes,
    after_a_streak_of_broken_artifacts_the_pruner_keeps_the_last_good_one_and_one_by_age_alone_does_not,
];

const S3_FACTS: &[(&str, Fact)] = facts![
    a_wrong_secret_is_refused_with_a_hint,
    a_server_that_is_not_there_is_said_so_in_time,
    a_bucket_that_is_not_there_is_said_so,
    an_upload_that_breaks_off_leaves_no_parts,
    an_upload_that_is_damaged_on_its_way_is_refused,
];

fn main() {
    let mut trials = Vec::new();
    for (name, fact) in FACTS {
        trials.push(Trial::test(format!("local::{name}"), move || {
            on_local(*fact)
        }));
    }
    for (name, fact) in FACTS.iter().chain(S3_FACTS) {
        trials.push(Trial::test(format!("s3::{name}"), move || on_s3(*fact)));
    }
    let arguments = Arguments::from_args();
    let server = server::Server::start();
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(server);
    conclusion.exit();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn context(dir: &tempfile::TempDir) -> Context {
    Context::new(
        RunId::fresh(Utc::now()),
        dir.path().join("drill"),
        dir.path().join("logs"),
        CancellationToken::new(),
    )
    .expect("a context")
}

fn on_local(fact: Fact) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let ctx = context(&dir);
    let repository = LocalRepository::new("here", dir.path().join("repository"));
    let repository: Repo = Arc::new(repository.expect("a repository"));
    runtime().block_on(fact(&ctx, &repository));
    Ok(())
}

fn on_s3(fact: Fact) -> Result<(), Failed> {
    let endpoint = server::endpoint();
    let dir = tempfile::tempdir()?;
    let ctx = context(&dir);
    runtime().block_on(async {
        let client = S3Client::new(&endpoint);
        let bucket = format!("repository-{}", ctx.run);
        let repository = S3Repository::new("offsite", client.clone(), &bucket);
        repository.create(&ctx).await.expect("a bucket");
        let repository: Repo = Arc::new(repository);
        fact(&ctx, &repository).await;
        let ctx = ctx.for_teardown();
        client.empty_bucket(&ctx, &bucket).await.expect("emptied");
        client.delete_bucket(&ctx, &bucket).await.expect("deleted");
    });
    Ok(())
}

fn content(size: usize, seed: usize) -> Vec<u8> {
    (0..size)
        .map(|n| (n.wrapping_mul(31) ^ (n >> 9) ^ seed) as u8)
        .collect()
}

fn body(bytes: Vec<u8>) -> Reading {
    Box::new(std::io::Cursor::new(bytes))
}

async fn put(ctx: &Context, repository: &Repo, key: &str, bytes: &[u8]) {
    let put = repository.put(ctx, key, body(bytes.to_vec()), &PLAIN);
    assert_eq!(put.await.expect("stored"), bytes.len() as u64);
}

async fn get(ctx: &Context, repository: &Repo, key: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reading = repository.get(ctx, key).await.expect("there");
    reading.read_to_end(&mut bytes).await.expect("readable");
    bytes
}

async fn keys(ctx: &Context, repository: &Repo, prefix: &str) -> Vec<String> {
    let listed = repository.list(ctx, prefix).await.expect("listed");
    listed.into_iter().map(|stored| stored.key).collect()
}

async fn any_size_comes_back_byte_for_byte(ctx: &Context, repository: &Repo) {
    let part = 8 << 20;
    for size in [
        0,
        1,
        100_000,
        part - 1,
        part,
        part + 1,
        2 * part,
        3 * part + 7,
    ] {
        let bytes = content(size, size);
        put(ctx, repository, "b/a/1", &bytes).await;
        assert!(get(ctx, repository, "b/a/1").await == bytes, "{size} bytes");
        let head = repository.head(ctx, "b/a/1").await.expect("asked");
        assert_eq!(head.map(|found| found.bytes), Some(size as u64));
    }
}

async fn metadata_and_size_come_back_from_head(ctx: &Context, repository: &Repo) {
    let metadata = BTreeMap::from([
        ("rpo".to_owned(), "1736690400".to_owned()),
        (
            "db_version".to_owned(),
            "postgres 15.18 (Debian 15.18-0+deb12u1)".to_owned(),
        ),
    ]);
    for size in [5, 9 << 20] {
        let stored = repository.put(ctx, "b/a/1.age", body(content(size, 1)), &metadata);
        stored.await.expect("stored");
        let head = repository.head(ctx, "b/a/1.age").await.expect("asked");
        let head = head.expect("there");
        assert_eq!((head.bytes, &head.metadata), (size as u64, &metadata));
        assert!(head.written.is_some());
    }
}

async fn what_is_not_there_is_an_error_to_get_none_to_head_and_nothing_to_delete(
    ctx: &Context,
    repository: &Repo,
) {
    let error = repository
        .get(ctx, "b/none/1")
        .await
        .err()
        .expect("not there");
    let words = error.message();
    assert!(
        words.contains("b/none/1") && words.contains(repository.name()),
        "{words}"
    );
    assert_eq!(repository.head(ctx, "b/none/1").await.expect("asked"), None);
    for keys in [
        vec![],
        vec!["b/none/1".to_owned()],
        vec!["b/x".to_owned(), "c".to_owned()],
    ] {
        repository.delete(ctx, &keys).await.expect("no error");
    }
    assert_eq!(keys(ctx, repository, "").await, Vec::<String>::new());
}

async fn a_listing_is_complete_sorted_and_keeps_to_its_prefix(ctx: &Context, repository: &Repo) {
    let mut wanted: Vec<String> = (0..1_100)
        .map(|n| format!("media/blobs/{:x}", n * 7919))
        .collect();
    wanted.extend(
        [
            "media/2025/1.age",
            "media/2025/manifest.json",
            "media2/2025/1",
        ]
        .map(str::to_owned),
    );
    let puts = wanted.iter().map(|key| put(ctx, repository, key, b"x"));
    let all = futures::stream::iter(puts);
    futures::StreamExt::for_each_concurrent(all, 16, |put| put).await;
    wanted.sort();
    assert_eq!(keys(ctx, repository, "").await, wanted);
    let media: Vec<String> = wanted
        .iter()
        .filter(|key| key.starts_with("media/"))
        .cloned()
        .collect();
    assert_eq!(keys(ctx, repository, "media/").await, media);
    let part: Vec<String> = wanted
        .iter()
        .filter(|key| key.starts_with("media/blobs/1"))
        .cloned()
        .collect();
    assert_eq!(keys(ctx, repository, "media/blobs/1").await, part);
    assert_eq!(
        keys(ctx, repository, "nothing/").await,
        Vec::<String>::new()
    );
    let listed = repository.list(ctx, "media2/").await.expect("listed");
    assert_eq!((listed[0].bytes, listed[0].written.is_some()), (1, true));
    repository.delete(ctx, &media).await.expect("deleted");
    assert_eq!(keys(ctx, repository, "").await, ["media2/2025/1"]);
}

async fn storing_again_replaces_bytes_and_metadata(ctx: &Context, repository: &Repo) {
    let first = BTreeMap::from([("rpo".to_owned(), "1".to_owned())]);
    let stored = repository.put(ctx, "b/a/1", body(b"first".to_vec()), &first);
    stored.await.expect("stored");
    put(ctx, repository, "b/a/1", b"2").await;
    assert_eq!(get(ctx, repository, "b/a/1").await, b"2");
    let head = repository.head(ctx, "b/a/1").await.expect("asked");
    assert_eq!(head.expect("there").metadata, BTreeMap::new());
}

/// The sizes that go up in one request and in parts. Not every other server holds the end of the latter to a condition (Ceph's
/// gateway does not).
fn held_to_a_condition() -> &'static [usize] {
    match std::env::var_os("REDRILL_S3_ENDPOINT") {
        None => &[100_000, 9 << 20],
        Some(_) => &[100_000],
    }
}

async fn what_is_to_be_new_is_stored_once_and_what_is_there_stays_as_it_is(
    ctx: &Context,
    repository: &Repo,
) {
    for size in held_to_a_condition() {
        let key = format!("b/wal/{size}");
        // Several at once, each with bytes and metadata of its own.
        let writers = (1..=4_usize).map(|writer| {
            let metadata = BTreeMap::from([("writer".to_owned(), writer.to_string())]);
            let key = &key;
            async move {
                let bytes = body(content(*size, writer));
                let stored = repository.put_new(ctx, key, bytes, &metadata).await;
                (writer, stored)
            }
        });
        let mut first = None;
        for (writer, stored) in futures::future::join_all(writers).await {
            match stored {
                Ok(bytes) => {
                    assert_eq!(bytes, *size as u64);
                    assert_eq!(first.replace(writer), None, "{size} bytes: two were stored");
                }
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Refused, "{error}");
                    assert!(error.message().contains("not overwritten"), "{error}");
                }
            }
        }
        let first = first.expect("one is stored");
        let later = repository.put_new(ctx, &key, body(content(*size, 9)), &PLAIN);
        let error = later.await.expect_err("it is there");
        assert_eq!(error.kind(), Kind::Refused, "{error}");

        assert!(get(ctx, repository, &key).await == content(*size, first));
        let head = repository.head(ctx, &key).await.expect("asked");
        let metadata = head.expect("there").metadata;
        assert_eq!(metadata.get("writer"), Some(&first.to_string()));
        let left = repository.unfinished(ctx).await.expect("looked for");
        assert_eq!(left, Vec::<String>::new());
        // What was removed can be stored anew.
        repository
            .delete(ctx, std::slice::from_ref(&key))
            .await
            .expect("deleted");
        let anew = repository.put_new(ctx, &key, body(content(*size, 9)), &PLAIN);
        assert_eq!(anew.await.expect("stored"), *size as u64);
    }
    assert_eq!(
        keys(ctx, repository, "").await.len(),
        held_to_a_condition().len()
    );
}

async fn a_stream_that_breaks_off_leaves_what_was_there_before(ctx: &Context, repository: &Repo) {
    for size in [10, 20 << 20] {
        for before in [None, Some(b"old".as_slice())] {
            let key = format!("b/{size}/{}", before.is_some());
            if let Some(before) = before {
                put(ctx, repository, &key, before).await;
            }
            let (feeder, reading) = channel(4);
            let feed = async {
                feeder.send(content(size, 1).into()).await;
                feeder.fail(std::io::Error::other("pg_dump died")).await;
            };
            let (stored, ()) = tokio::join!(repository.put(ctx, &key, reading, &PLAIN), feed);
            let error = stored.expect_err("it broke off");
            assert!(error.message().contains("pg_dump died"), "{error}");
            match before {
                Some(before) => assert_eq!(get(ctx, repository, &key).await, before),
                None => assert_eq!(repository.head(ctx, &key).await.expect("asked"), None),
            }
        }
    }
}

async fn names_of_any_backup_are_kept_apart(ctx: &Context, repository: &Repo) {
    let mut names = vec![
        "a b/20250112T140000Z-0badcafe/1.age",
        "a+b/20250112T140000Z-0badcafe/1.age",
        "a%20b/20250112T140000Z-0badcafe/1.age",
        "caf\u{e9}/20250112T140000Z-0badcafe/1.age",
        "cafe\u{301}/20250112T140000Z-0badcafe/1.age",
        ".hidden/.meta/..x",
        "A/1",
        "a/1",
    ];
    for name in &names {
        put(ctx, repository, name, name.as_bytes()).await;
    }
    for name in &names {
        assert_eq!(get(ctx, repository, name).await, name.as_bytes());
    }
    names.sort_unstable();
    assert_eq!(keys(ctx, repository, "").await, names);
}

async fn many_at_once_do_not_meet(ctx: &Context, repository: &Repo) {
    let work = (0..64_usize).map(|n| async move {
        let (key, bytes) = (format!("b/a/{n}"), content(50_000 + n, n));
        put(ctx, repository, &key, &bytes).await;
        assert!(get(ctx, repository, &key).await == bytes);
        repository.delete(ctx, &[key]).await.expect("deleted");
    });
    futures::future::join_all(work).await;
    assert_eq!(keys(ctx, repository, "").await, Vec::<String>::new());
}

async fn a_cancelled_run_stores_nothing_more(ctx: &Context, repository: &Repo) {
    let (feeder, reading) = channel(1);
    let cancel = async {
        feeder.send(content(100, 1).into()).await;
        ctx.cancel.cancel();
    };
    let metadata = BTreeMap::new();
    let (stored, ()) = tokio::join!(repository.put(ctx, "b/a/1", reading, &metadata), cancel);
    assert_eq!(stored.expect_err("cancelled").kind(), Kind::Interrupted);
    let ctx = ctx.for_teardown();
    assert_eq!(keys(&ctx, repository, "").await, Vec::<String>::new());
}

fn at(hour: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_736_690_400 + hour * 3600, 0).expect("an instant")
}

fn artifact(ctx: &Context, repository: &Repo, hour: i64, keys: Option<Keys>) -> ArtifactWriter {
    let origin = Origin {
        backup: "postgres".to_owned(),
        component: "db".to_owned(),
        taken_at: at(hour),
        engine: "postgres 15.18".to_owned(),
        compression: "zlib:9".to_owned(),
    };
    ArtifactWriter::new(ctx, origin, vec![repository.clone()], keys)
}

/// A committed artifact with one file of its own and the shared contents `blobs`.
async fn committed(ctx: &Context, repository: &Repo, hour: i64, blobs: &[&str]) -> Manifest {
    let artifact = artifact(ctx, repository, hour, None);
    let bytes = content(1000 + hour as usize, 1);
    let filed = artifact.file(ctx, "db.dump", body(bytes), BTreeMap::new());
    filed.await.expect("stored");
    for blob in blobs {
        let content = body(blob.as_bytes().to_vec());
        let sha256 = Digest::of(&sha256::of(blob));
        let stored = artifact.blobs().store(ctx, blob, sha256, content).await;
        stored.expect("stored");
    }
    let draft = artifact.draft(ctx);
    artifact.commit(ctx, draft).await.expect("committed")
}

async fn an_artifact_goes_through_whole_and_a_changed_one_does_not(
    ctx: &Context,
    repository: &Repo,
) {
    let pair = Keys::generate(ctx);
    let artifact = artifact(ctx, repository, 0, Some(pair.clone()));
    let bytes = content(20 << 20, 5);
    let watch = Instant::now();
    let filed = artifact.file(ctx, "db.dump", body(bytes.clone()), BTreeMap::new());
    filed.await.expect("stored");
    let stored = watch.elapsed();
    let draft = artifact.draft(ctx);
    let manifest = artifact.commit(ctx, draft).await.expect("committed");
    let reader = ArtifactReader::new(manifest.clone(), repository.clone(), Some(pair.clone()));
    let mut back = Vec::new();
    let watch = Instant::now();
    let mut reading = reader.open(ctx, "db.dump").await.expect("opened");
    reading.read_to_end(&mut back).await.expect("readable");
    assert!(back == bytes);
    assert!(stored + watch.elapsed() < Duration::from_secs(60));
    let unread = ArtifactReader::new(manifest.clone(), repository.clone(), None);
    let (fact, ..) = inspect(ctx, &unread, b"").await.expect("verified");
    assert!(
        fact.committed && fact.manifest_last == Some(true),
        "{fact:?}"
    );
    assert_eq!(
        fact.metadata.get("rpo"),
        Some(&at(0).timestamp().to_string())
    );

    let key = &manifest.files[0].key;
    let mut stored = get(ctx, repository, key).await;
    stored[5_000_000] ^= 1;
    put(ctx, repository, key, &stored).await;
    let out = tempfile::tempdir().expect("a directory");
    let saved = reader
        .save(ctx, "db.dump", &out.path().join("db.dump"))
        .await;
    assert!(saved.is_err());
    assert_eq!(std::fs::read_dir(out.path()).expect("readable").count(), 0);
}

async fn the_pruner_removes_what_has_expired_and_what_belongs_to_nothing(
    ctx: &Context,
    repository: &Repo,
) {
    let keep = Keep::within(Duration::from_secs(24 * 3600));
    let first = committed(ctx, repository, 0, &["only-first"]).await;
    let shared = committed(ctx, repository, 1, &["in-both"]).await;
    // A run that died before its commit.
    let dead = artifact(ctx, repository, 2, None);
    let filed = dead.file(ctx, "db.dump", body(b"half".to_vec()), BTreeMap::new());
    filed.await.expect("stored");
    // Another backup's artifacts are none of this one's business.
    put(ctx, repository, "postgres2/x/1", b"other").await;
    // Some servers keep times by the second; the dead run must be seen to be older than what follows.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let next = artifact(ctx, repository, 24, None);
    let filed = next.file(ctx, "db.dump", body(b"new".to_vec()), BTreeMap::new());
    filed.await.expect("stored");
    let of = ArtifactReader::new(shared.clone(), repository.clone(), None);
    next.share(ctx, &of).await.expect("named");
    let draft = next.draft(ctx);
    let next = next.commit(ctx, draft).await.expect("committed");

    let nothing = prune(ctx, repository, "postgres", &keep, at(24))
        .await
        .expect("pruned");
    assert_eq!(nothing.removed, []);
    assert_eq!(nothing.swept, [format!("postgres/{}/1", dead.id)]);

    let pruned = prune(ctx, repository, "postgres", &keep, at(26))
        .await
        .expect("pruned");
    let removed: BTreeSet<&str> = pruned.removed.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(
        removed,
        BTreeSet::from([first.id.as_str(), shared.id.as_str()])
    );
    let mut left = vec![
        next.files[0].key.clone(),
        format!("postgres/{}/contents.json", next.id),
        next.key(),
        "postgres/blobs/in-both".to_owned(),
        "postgres2/x/1".to_owned(),
    ];
    left.sort();
    assert_eq!(keys(ctx, repository, "").await, left);

    let much_later = prune(ctx, repository, "postgres", &keep, at(2_400))
        .await
        .expect("pruned");
    assert_eq!(
        much_later.removed,
        [],
        "the newest good one stays however old"
    );
    assert_eq!(keys(ctx, repository, "").await, left);
    let (newest, broken) = Manifest::newest(ctx, repository, "postgres")
        .await
        .expect("listed");
    assert_eq!((newest, broken.len()), (Some(next), 0));
}

async fn the_pruner_leaves_alone_what_it_cannot_read(ctx: &Context, repository: &Repo) {
    let keep = Keep::within(Duration::from_secs(3600));
    let good = committed(ctx, repository, 0, &[]).await;
    let cut = committed(ctx, repository, 5, &["of-the-cut-one"]).await;
    let damaged = committed(ctx, repository, 6, &[]).await;
    put(ctx, repository, &cut.key(), b"{ \"schema_version\": 1,").await;
    repository
        .delete(ctx, &[damaged.files[0].key.clone()])
        .await
        .expect("deleted");
    let pruned = prune(ctx, repository, "postgres", &keep, at(100))
        .await
        .expect("pruned");
    assert_eq!(pruned.broken.len(), 1);
    assert_eq!(pruned.broken[0].0, cut.key());
    assert_eq!(pruned.damaged, BTreeSet::from([damaged.id.clone()]));
    let removed: Vec<&str> = pruned.removed.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(
        removed,
        [damaged.id.as_str()],
        "the damaged one does not count as good"
    );
    let left = keys(ctx, repository, "").await;
    for key in [
        good.key(),
        cut.key(),
        cut.files[0].key.clone(),
        "postgres/blobs/of-the-cut-one".to_owned(),
    ] {
        assert!(left.contains(&key), "{key}");
    }
    let (good_ones, broken) = Manifest::list(ctx, repository, "postgres")
        .await
        .expect("listed");
    assert_eq!((good_ones, broken.len()), (vec![good], 1));
}

async fn a_week_of_hourly_artifacts_is_kept_and_the_rest_goes(ctx: &Context, repository: &Repo) {
    let keep = Keep::within(Duration::from_secs(7 * 86_400));
    let mut all = BTreeSet::new();
    for hour in 0..192 {
        all.insert(committed(ctx, repository, hour, &[]).await.id);
    }
    let pruned = prune(ctx, repository, "postgres", &keep, at(191)).await;
    let pruned = pruned.expect("pruned");
    // The oldest that stays is as old as the limit, to the second.
    assert_eq!((pruned.kept.len(), pruned.removed.len()), (169, 23));
    let (left, broken) = Manifest::list(ctx, repository, "postgres")
        .await
        .expect("listed");
    let left: BTreeSet<String> = left.into_iter().map(|manifest| manifest.id).collect();
    let newest: BTreeSet<String> = all.iter().rev().take(169).cloned().collect();
    assert_eq!((left, broken.len()), (newest, 0));
    assert_eq!(
        keys(ctx, repository, "postgres/").await.len(),
        2 * 169,
        "a file and a manifest each"
    );
    let watch = Instant::now();
    let nothing = prune(ctx, repository, "postgres", &keep, at(191)).await;
    assert_eq!(nothing.expect("pruned").removed, []);
    assert!(
        watch.elapsed() < Duration::from_secs(10),
        "{:?}",
        watch.elapsed()
    );
}

async fn after_a_streak_of_broken_artifacts_the_pruner_keeps_the_last_good_one_and_one_by_age_alone_does_not(
    ctx: &Context,
    repository: &Repo,
) {
    let week = Duration::from_secs(7 * 86_400);
    let good = committed(ctx, repository, 0, &[]).await;
    let bad = bad_streak(ctx, repository, "postgres", None).await;
    let bad: Vec<String> = bad.expect("stored").into_iter().map(|it| it.id).collect();
    assert_eq!(bad.len(), 15);
    // The first seven are older than a week then, and so is the good one.
    let now = at(7 * 24 + 8);
    let left = || async {
        let (left, broken) = Manifest::list(ctx, repository, "postgres")
            .await
            .expect("listed");
        assert!(broken.is_empty());
        left.into_iter().map(|it| it.id).collect::<Vec<String>>()
    };

    let pruned = prune(ctx, repository, "postgres", &Keep::within(week), now).await;
    let pruned = pruned.expect("pruned");
    assert_eq!(pruned.damaged, bad.iter().cloned().collect());
    assert_eq!(left().await, [&[good.id][..], &bad[7..]].concat());
    let (_, kept) = &pruned.kept[0];
    assert!(matches!(kept, Reason::NewestGood { .. }), "{kept}");

    let pruned = prune_by_age(ctx, repository, "postgres", week, now).await;
    pruned.expect("pruned");
    assert_eq!(left().await, bad[7..]);
}

fn s3(change: impl FnOnce(&mut Endpoint)) -> S3Client {
    let mut endpoint = server::endpoint();
    change(&mut endpoint);
    S3Client::new(&endpoint)
}

async fn a_wrong_secret_is_refused_with_a_hint(ctx: &Context, _: &Repo) {
    let client = s3(|endpoint| endpoint.password = "wrong".to_owned());
    let error = client.buckets(ctx).await.expect_err("refused");
    let hint = error.hint_text().unwrap_or_default();
    assert!(hint.contains("secret key"), "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
    let repository = S3Repository::new("offsite", client, "any");
    let error = repository.head(ctx, "key").await.expect_err("refused");
    assert!(
        error.hint_text().unwrap_or_default().contains("secret key"),
        "{error}"
    );
}

async fn a_server_that_is_not_there_is_said_so_in_time(ctx: &Context, _: &Repo) {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("bound").port();
    drop(socket);
    let client = s3(|endpoint| endpoint.port = port);
    let watch = Instant::now();
    let error = client.list(ctx, "any", "").await.expect_err("nobody there");
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(
        error.message().contains(&format!("127.0.0.1:{port}")),
        "{error}"
    );
    assert!(error.message().contains("refused"), "{error}");
    assert!(error.hint_text().is_some(), "{error}");
    assert!(watch.elapsed() < Duration::from_secs(20));
}

async fn a_bucket_that_is_not_there_is_said_so(ctx: &Context, _: &Repo) {
    let repository = S3Repository::new("offsite", s3(|_| {}), "no-such-bucket-here");
    let stored = repository.put(ctx, "b/a/1", body(b"x".to_vec()), &PLAIN);
    let error = stored.await.expect_err("no bucket");
    assert!(error.message().contains("NoSuchBucket"), "{error}");
    assert!(error.hint_text().is_some(), "{error}");
}

async fn what_is_not_yet_whole_is_unfinished_and_gone_when_it_is(ctx: &Context, repository: &Repo) {
    let unfinished = || async { repository.unfinished(ctx).await.expect("looked for") };
    assert!(unfinished().await.is_empty());
    for whole in [true, false] {
        let (feeder, reading) = channel(1);
        let watch = async {
            // More than one part, and more to come.
            for _ in 0..3 {
                feeder.send(content(5 << 20, 1).into()).await;
            }
            let deadline = Instant::now() + Duration::from_secs(30);
            let mut found = unfinished().await;
            while found.is_empty() && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(10)).await;
                found = unfinished().await;
            }
            assert_eq!(found.len(), 1, "{found:?}");
            match whole {
                true => feeder.end().await,
                false => feeder.fail(std::io::Error::other("pg_dump died")).await,
            }
        };
        let (stored, ()) = tokio::join!(repository.put(ctx, "b/a/1", reading, &PLAIN), watch);
        assert_eq!(stored.is_ok(), whole);
        assert_eq!(unfinished().await, Vec::<String>::new());
    }
}

async fn an_upload_that_breaks_off_leaves_no_parts(ctx: &Context, repository: &Repo) {
    let (feeder, reading) = channel(4);
    let feed = async {
        for _ in 0..5 {
            feeder.send(content(5 << 20, 1).into()).await;
        }
        feeder.fail(std::io::Error::other("pg_dump died")).await;
    };
    let metadata = BTreeMap::new();
    let (stored, ()) = tokio::join!(repository.put(ctx, "b/a/1", reading, &metadata), feed);
    assert!(stored.is_err());
    let bucket = format!("repository-{}", ctx.run);
    let left = s3(|_| {}).uploads(ctx, &bucket).await.expect("listed");
    assert_eq!(left, []);
}

/// Passes connections on to the server, and changes the last byte of everything large that the client sends.
async fn damaging(to: String) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = tokio::net::TcpStream::connect(&to).await.expect("a server");
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            tokio::spawn(async move {
                let mut chunk = vec![0; 64 << 10];
                while let Ok(n) = from_client.read(&mut chunk).await {
                    if n > 10_000 {
                        chunk[n - 1] ^= 1;
                    }
                    if n == 0 || to_server.write_all(&chunk[..n]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

async fn an_upload_that_is_damaged_on_its_way_is_refused(ctx: &Context, repository: &Repo) {
    let real = server::endpoint();
    let port = damaging(format!("{}:{}", real.host, real.port)).await;
    let client = s3(|endpoint| endpoint.port = port);
    let bucket = format!("repository-{}", ctx.run);
    let damaged = S3Repository::new("damaged", client, bucket);
    for size in [100, 100_000, 9 << 20] {
        let key = format!("b/a/{size}");
        let stored = damaged.put(ctx, &key, body(content(size, 3)), &PLAIN).await;
        assert_eq!(stored.is_err(), size > 10_000, "{size} bytes: {stored:?}");
        let there = repository.head(ctx, &key).await.expect("asked");
        assert_eq!(there.is_some(), size < 10_000, "{size} bytes");
    }
}
