//! What a bucket as a service and its synchronising backup must do, tried on the real S3 server of `suites/server`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cap::Cap;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use futures::future::BoxFuture;
use libtest_mimic::{Arguments, Failed, Trial};
use redrill::clock::Stopwatch;
use redrill::context::{Context, RunId};
use redrill::error::{Error, Result};
use redrill::evidence::{ObjectFact, Observation, StoredFact};
use redrill::pipeline::artifact::{ArtifactReader, ArtifactWriter, Keys, Origin};
use redrill::pipeline::bucket_sync::BucketSync;
use redrill::pipeline::verify::inspect;
use redrill::pipeline::{Pipeline, Taken};
use redrill::process::Command;
use redrill::repository::contents;
use redrill::repository::manifest::{Manifest, ManifestFile};
use redrill::repository::retention::prune;
use redrill::repository::{LocalRepository, Repository, S3Repository};
use redrill::service::bucket::{BucketService, RUN_KEY, in_lanes, seed};
use redrill::service::s3::{Headers, S3Client};
use redrill::service::{Endpoint, Running, Service, Stop};
use redrill::suite::{Engine, Expect, Keep, RestoreOptions, Smoke};
use tikv_jemallocator::Jemalloc;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

mod server;

const EXCLUDE: [&str; 3] = ["*.pyc", "__pycache__/*", ".DS_Store"];
const CANARY: &str = "canary-7f3a9c51d2e8";
/// What lies in a repository of an artifact, read with its key.
async fn inspected(
    bench: &Bench,
    manifest: &Manifest,
    repository: &Arc<dyn Repository>,
) -> StoredFact {
    let keys = Some(bench.keys.clone());
    let reader = ArtifactReader::new(manifest.clone(), repository.clone(), keys);
    let read = inspect(&bench.ctx, &reader, CANARY.as_bytes()).await;
    let (fact, seen, contents) = read.expect("verified");
    for file in blobs_of(bench, manifest).await {
        let object = seen.get(&file.key).expect("readable");
        let object = object.unwrap_or_else(|| panic!("{} was not read", file.key));
        assert!(object.found.begins_as_age && !object.found.needle);
        assert!(!object.in_name && !object.in_metadata);
        let plain = contents.get(&file.name).expect("readable");
        assert_eq!(plain.map(|plain| plain.0), Some(file.plain_bytes));
    }
    fact
}

/// The contents that an artifact shares, by its list.
async fn blobs_of(bench: &Bench, manifest: &Manifest) -> Vec<ManifestFile> {
    let each = contents::each(&bench.ctx, bench.near.as_ref(), manifest);
    let files = each.map_ok(|content| content.file("media"));
    let files: Vec<ManifestFile> = files.try_collect().await.expect("a list");
    let listed = manifest.contents.as_ref().expect("a list");
    assert_eq!(files.len() as u64, listed.count);
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    assert_eq!(bytes, listed.stored_bytes);
    files
}

type Fact = for<'a> fn(&'a Bench) -> BoxFuture<'a, ()>;

/// Declares facts: their names are the functions' names, as sentences.
macro_rules! facts {
    ($($name:ident),+ $(,)?) => {
        &[$((stringify!($name), |bench| Box::pin($name(bench)))),+]
    };
}

const FACTS: &[(&str, Fact)] = facts![
    a_seeded_bucket_reads_back_as_it_was_planned,
    smoke_questions_are_sizes_and_the_count_and_what_is_missing_does_not_hold,
    a_deleted_bucket_shows_a_symptom_and_holds_nothing,
    what_is_restored_equals_the_source_but_for_what_is_excluded,
    a_second_run_stores_only_what_is_new_and_follows_deletions,
    a_wiped_source_is_refused_with_both_numbers,
    a_run_that_ends_with_a_page_of_the_listing_reads_and_restores_well_without_the_rest,
    nothing_that_is_stored_shows_the_canary,
    a_lost_or_changed_content_is_found_and_never_restored,
    pruning_keeps_what_a_later_run_shares,
    content_that_is_damaged_in_one_repository_is_stored_again_beside_it,
    after_a_backup_whose_list_was_changed_or_lost_the_next_is_whole_and_says_so,
    the_full_size_is_synchronised_and_restored_in_seconds,
    a_large_file_streams_through_in_little_memory,
    memory_is_the_same_for_any_number_of_objects,
];

/// In a process that measures what so many objects take: how many.
const MEASURED: &str = "REDRILL_TEST_MEASURED_OBJECTS";

/// What the program allocates with, counted.
#[global_allocator]
static ALLOCATOR: Cap<Jemalloc> = Cap::new(Jemalloc, usize::MAX);

fn main() {
    let trials = FACTS
        .iter()
        .map(|(name, fact)| Trial::test(format!("bucket::{name}"), move || on_server(*fact)));
    let trials = trials.collect();
    let mut arguments = Arguments::from_args();
    if let Ok(objects) = std::env::var(MEASURED) {
        return measured(objects.parse().expect("a number"));
    }
    // Memory and time are looked at: several at once would say nothing.
    arguments.test_threads.get_or_insert(1);
    let server = server::Server::start();
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(server);
    conclusion.exit();
}

/// A server that something else has started.
struct Given(Endpoint);

#[async_trait]
impl Running for Given {
    fn engine(&self) -> Engine {
        Engine::Bucket
    }
    fn version(&self) -> &str {
        "given"
    }
    fn mode(&self) -> &'static str {
        "local"
    }
    fn endpoint(&self) -> Endpoint {
        self.0.clone()
    }
    fn tool(&self, program: &str) -> Command {
        Command::new(program)
    }
    fn data_dir(&self) -> PathBuf {
        PathBuf::new()
    }
    fn staging(&self) -> PathBuf {
        PathBuf::new()
    }
    async fn restart(&self, _: &Context, _: Stop) -> Result<()> {
        Err(Error::failed("it is not ours to restart"))
    }
    async fn lose(&self, _: &Context) -> Result<()> {
        Err(Error::failed("it is not ours to lose"))
    }
    async fn remove(&self, _: &Context) -> Result<()> {
        Ok(())
    }
}

/// A source, a repository on the same server and one in a directory.
struct Bench {
    ctx: Context,
    service: BucketService,
    offsite: Arc<dyn Repository>,
    near: Arc<dyn Repository>,
    keys: Keys,
}

fn on_server(fact: Fact) -> std::result::Result<(), Failed> {
    on_server_with(|bench| async move { fact(&bench).await })
}

fn on_server_with<F: Future<Output = ()>>(
    fact: impl FnOnce(Arc<Bench>) -> F,
) -> std::result::Result<(), Failed> {
    let endpoint = server::endpoint();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let dir = tempfile::tempdir()?;
    let ctx = Context::new(
        RunId::fresh(Utc::now()),
        dir.path().join("drill"),
        dir.path().join("logs"),
        CancellationToken::new(),
    );
    let ctx = ctx.expect("a context");
    runtime.block_on(async {
        let client = S3Client::new(&endpoint);
        let (source, target) = (format!("media-{}", ctx.run), format!("backups-{}", ctx.run));
        let offsite = S3Repository::new("offsite", client.clone(), &target);
        offsite.create(&ctx).await.expect("a bucket");
        let near = LocalRepository::new("near", dir.path().join("near")).expect("a repository");
        let bench = Arc::new(Bench {
            service: BucketService::new(Arc::new(Given(endpoint)), &source, 2_500),
            offsite: Arc::new(offsite),
            near: Arc::new(near),
            keys: Keys::generate(&ctx),
            ctx,
        });
        bench.service.create(&bench.ctx).await.expect("a bucket");
        fact(bench.clone()).await;
        for bucket in [source, target] {
            if client
                .bucket_exists(&bench.ctx, &bucket)
                .await
                .expect("asked")
            {
                client
                    .empty_bucket(&bench.ctx, &bucket)
                    .await
                    .expect("emptied");
                client
                    .delete_bucket(&bench.ctx, &bucket)
                    .await
                    .expect("deleted");
            }
        }
    });
    Ok(())
}

fn at(day: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_736_647_200 + day * 86_400, 0).expect("an instant")
}

impl Bench {
    fn sync(&self) -> BucketSync {
        let exclude = EXCLUDE.map(str::to_owned);
        BucketSync::new(self.service.bucket(), &exclude, 20).expect("valid")
    }

    async fn fill(&self, scale: f64) {
        let (ctx, service) = (&self.ctx, &self.service);
        service.seed(ctx, scale, 42).await.expect("seeded");
        service
            .plant(ctx, "nonce-1", CANARY)
            .await
            .expect("planted");
        for number in 1..=3 {
            service.write(ctx, number).await.expect("written");
        }
    }

    async fn try_backup(&self, day: i64) -> (Taken, Option<Manifest>) {
        let both = vec![self.near.clone(), self.offsite.clone()];
        self.try_backup_to("media", day, both).await
    }

    async fn try_backup_to(
        &self,
        backup: &str,
        day: i64,
        repositories: Vec<Arc<dyn Repository>>,
    ) -> (Taken, Option<Manifest>) {
        self.take_by(&self.sync(), backup, day, repositories).await
    }

    async fn take_by(
        &self,
        sync: &BucketSync,
        backup: &str,
        day: i64,
        repositories: Vec<Arc<dyn Repository>>,
    ) -> (Taken, Option<Manifest>) {
        let origin = Origin {
            backup: backup.to_owned(),
            component: "media".to_owned(),
            taken_at: at(day),
            engine: "S3 given".to_owned(),
            compression: "none".to_owned(),
        };
        let keys = Some(self.keys.clone());
        let mut artifact = ArtifactWriter::new(&self.ctx, origin, repositories, keys);
        let taken = sync.backup(&self.ctx, &self.service, &mut artifact);
        let taken = taken.await.expect("taken");
        if taken.refused.is_some() {
            artifact.abandon(&self.ctx).await.expect("abandoned");
            return (taken, None);
        }
        let draft = artifact.draft(&self.ctx);
        let manifest = artifact.commit(&self.ctx, draft).await.expect("committed");
        (taken, Some(manifest))
    }

    async fn backup(&self, day: i64) -> Manifest {
        let (taken, manifest) = self.try_backup(day).await;
        manifest.unwrap_or_else(|| panic!("{:?}", taken.refused))
    }

    fn reader(&self, manifest: &Manifest) -> ArtifactReader {
        let keys = Some(self.keys.clone());
        ArtifactReader::new(manifest.clone(), self.offsite.clone(), keys)
    }

    async fn lose(&self) {
        let (client, bucket) = (self.service.client(), self.service.bucket());
        client
            .empty_bucket(&self.ctx, bucket)
            .await
            .expect("emptied");
        client
            .delete_bucket(&self.ctx, bucket)
            .await
            .expect("deleted");
    }

    async fn restore(&self, manifest: &Manifest) -> Result<()> {
        let (ctx, sync) = (&self.ctx, self.sync());
        let fetched = sync
            .fetch(ctx, &self.reader(manifest), &self.service)
            .await?;
        sync.restore(ctx, &fetched, &self.service, &RestoreOptions::default())
            .await
    }

    async fn observe(&self) -> Observation {
        self.service.observe(&self.ctx).await.expect("observed")
    }

    async fn delete(&self, keys: &[&str]) {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let (client, bucket) = (self.service.client(), self.service.bucket());
        client
            .delete(&self.ctx, bucket, &keys)
            .await
            .expect("deleted");
    }

    async fn stored(&self, repository: &Arc<dyn Repository>) -> BTreeSet<String> {
        let listed = repository.list(&self.ctx, "").await.expect("listed");
        listed.into_iter().map(|stored| stored.key).collect()
    }
}

fn is_excluded(key: &str) -> bool {
    key.ends_with(".pyc") || key.starts_with("__pycache__/") || key == ".DS_Store"
}

/// What was read of each object.
fn objects_of(observed: &Observation) -> BTreeMap<String, ObjectFact> {
    let objects = observed.objects.as_ref().expect("a bucket");
    let all = objects.0.each();
    all.map(|object| object.expect("readable")).collect()
}

/// The same but for what is excluded, which came back of nothing.
fn same(one: &Observation, other: &Observation) {
    let mut expected = objects_of(one);
    expected.retain(|key, _| !is_excluded(key));
    assert_eq!(expected, objects_of(other));
    assert_eq!(one.ledger, other.ledger);
    assert_eq!(one.nonce, other.nonce);
    assert_eq!(other.unreadable, BTreeMap::new());
}

async fn a_seeded_bucket_reads_back_as_it_was_planned(bench: &Bench) {
    bench.fill(0.02).await;
    let observed = bench.observe().await;
    let planned: Vec<_> = seed::planned(2_500, 0.02, 42).collect();
    let objects = objects_of(&observed);
    for object in &planned {
        let found = objects.get(object.key.as_str());
        let found = found.unwrap_or_else(|| panic!("{} is missing", object.key));
        assert_eq!(found.bytes, object.bytes, "{}", object.key);
        let described = &found.headers;
        let kind = object.headers.content_type.as_deref().expect("given");
        assert!(described.contains(kind), "{described}");
        for (name, value) in &object.headers.metadata {
            assert!(
                described.contains(&format!("x-amz-meta-{name}: {value}")),
                "{described}"
            );
        }
    }
    assert_eq!(objects.len(), planned.len() + 5);
    assert_eq!(observed.nonce.as_deref(), Some("nonce-1"));
    assert_eq!(observed.canary.as_deref(), Some(CANARY));
    assert_eq!(observed.ledger, BTreeSet::from([1, 2, 3]));
    assert!(objects[RUN_KEY].headers.contains(CANARY));
    let population = bench.service.population(&bench.ctx).await.expect("asked");
    assert_eq!(population, planned.len() as u64 + 5);
    let bytes: u64 = objects.values().map(|object| object.bytes).sum();
    assert_eq!(observed.bytes, bytes);
    assert_eq!(bench.service.symptom(&bench.ctx).await, None);
}

async fn smoke_questions_are_sizes_and_the_count_and_what_is_missing_does_not_hold(bench: &Bench) {
    bench.fill(0.001).await;
    let count = bench.service.population(&bench.ctx).await.expect("asked");
    let ask = |ask: &str, expect| Smoke {
        name: ask.to_owned(),
        ask: ask.to_owned(),
        expect,
    };
    let questions = [
        ask("count", Expect::Equals(count.to_string())),
        ask("count", Expect::AtLeast(1e6)),
        ask("a/b", Expect::Equals("20".to_owned())),
        ask("a/b", Expect::Between(1.0, 20.0)),
        ask("not/there", Expect::AtLeast(0.0)),
    ];
    let facts = bench
        .service
        .smoke(&bench.ctx, &questions)
        .await
        .expect("asked");
    let holds: Vec<bool> = facts.iter().map(|fact| fact.holds).collect();
    assert_eq!(holds, [true, false, true, true, false]);
    assert!(
        facts[4]
            .answer
            .as_ref()
            .is_err_and(|words| words.contains("not/there"))
    );
}

async fn a_deleted_bucket_shows_a_symptom_and_holds_nothing(bench: &Bench) {
    bench.fill(0.001).await;
    bench.lose().await;
    let symptom = bench.service.symptom(&bench.ctx).await.expect("a symptom");
    assert!(symptom.contains("NoSuchBucket"), "{symptom}");
    assert_eq!(
        bench.service.population(&bench.ctx).await.expect("asked"),
        0
    );
}

async fn what_is_restored_equals_the_source_but_for_what_is_excluded(bench: &Bench) {
    bench.fill(0.05).await;
    let before = bench.observe().await;
    let manifest = bench.backup(0).await;
    let sync = bench.sync();
    let reader = bench.reader(&manifest);
    let read = sync
        .read_through(&bench.ctx, &reader, &bench.service)
        .await
        .expect("read");
    assert_eq!(read.error, None);
    let objects = objects_of(&before);
    let hashes = objects.iter().filter(|(key, _)| !is_excluded(key));
    let hashes: BTreeMap<_, _> = hashes.map(|(key, it)| (key.clone(), it.sha256)).collect();
    let kept = read.objects.expect("read");
    let kept = kept.0.each().map(|object| object.expect("readable"));
    assert_eq!(kept.collect::<BTreeMap<_, _>>(), hashes);
    for key in objects.keys() {
        assert_eq!(sync.leaves_out(key), is_excluded(key), "{key}");
    }
    assert_eq!(objects.len() - hashes.len(), 5);
    for repository in [&bench.near, &bench.offsite] {
        let fact = inspected(bench, &manifest, repository).await;
        assert!(
            fact.committed && fact.manifest_last == Some(true),
            "{:?}",
            fact.error
        );
        assert!(fact.metadata.contains_key("rpo") && fact.metadata.contains_key("db_version"));
        // The index, the list of contents, and those.
        let files = 2 + blobs_of(bench, &manifest).await.len() as u64;
        assert_eq!((fact.sound, &fact.amiss[..]), (files, &[][..]));
    }

    bench.lose().await;
    bench.service.create(&bench.ctx).await.expect("created");
    bench.restore(&manifest).await.expect("restored");
    same(&before, &bench.observe().await);
}

async fn a_second_run_stores_only_what_is_new_and_follows_deletions(bench: &Bench) {
    bench.fill(0.03).await;
    let first = bench.backup(0).await;
    let stored = bench.stored(&bench.offsite).await;
    bench.service.write(&bench.ctx, 4).await.expect("written");
    bench.delete(&["a/b", "empty.txt"]).await;
    let second = bench.backup(1).await;
    let new: Vec<String> = bench
        .stored(&bench.offsite)
        .await
        .difference(&stored)
        .cloned()
        .collect();
    // The ledger entry's content, the index, the list of contents and the manifest.
    assert_eq!(new.len(), 4, "{new:?}");
    assert_eq!(
        bench.stored(&bench.near).await,
        bench.stored(&bench.offsite).await
    );
    bench.lose().await;
    bench.service.create(&bench.ctx).await.expect("created");
    bench.restore(&second).await.expect("restored");
    let restored = bench.observe().await;
    assert_eq!(restored.ledger, BTreeSet::from([1, 2, 3, 4]));
    let objects = objects_of(&restored);
    assert!(!objects.contains_key("a/b") && objects.contains_key("a"));
    assert_eq!(objects.len() as u64, second_count(&second));
    assert_eq!(second_count(&first), second_count(&second) + 1);
}

fn second_count(manifest: &Manifest) -> u64 {
    let index = manifest.file("index.json").expect("an index");
    index.metadata["objects"].parse().expect("a number")
}

async fn a_wiped_source_is_refused_with_both_numbers(bench: &Bench) {
    bench.fill(0.03).await;
    let first = bench.backup(0).await;
    let before = bench.stored(&bench.offsite).await;
    let (client, bucket) = (bench.service.client(), bench.service.bucket());
    client
        .empty_bucket(&bench.ctx, bucket)
        .await
        .expect("emptied");
    bench.service.write(&bench.ctx, 9).await.expect("written");
    let (taken, manifest) = bench.try_backup(1).await;
    assert!(manifest.is_none());
    let words = taken.refused.expect("refused");
    let count = second_count(&first).to_string();
    assert!(
        words.contains("holds 1 objects") && words.contains(&count),
        "{words}"
    );
    assert_eq!(bench.stored(&bench.offsite).await, before);
}

/// Nothing in it is at odds with anything else in it: only the source tells.
async fn a_run_that_ends_with_a_page_of_the_listing_reads_and_restores_well_without_the_rest(
    bench: &Bench,
) {
    bench.fill(0.01).await;
    let all = objects_of(&bench.observe().await);
    let page: BTreeSet<String> = all.keys().take(12).cloned().collect();
    let kept = || page.iter().filter(|key| !is_excluded(key));
    let mut short = bench.sync();
    short.listed = page.len();
    let there = vec![bench.offsite.clone()];
    let (_, manifest) = bench.take_by(&short, "media", 0, there).await;
    let manifest = manifest.expect("taken");
    assert_eq!(second_count(&manifest), kept().count() as u64);
    let reader = bench.reader(&manifest);
    let read = bench
        .sync()
        .read_through(&bench.ctx, &reader, &bench.service)
        .await
        .expect("read");
    assert_eq!((read.error, read.entries), (None, kept().count() as u64));
    bench.lose().await;
    bench.service.create(&bench.ctx).await.expect("created");
    bench.restore(&manifest).await.expect("restored");
    let restored = objects_of(&bench.observe().await);
    assert!(restored.keys().eq(kept()) && restored.len() < all.len() / 2);
}

async fn nothing_that_is_stored_shows_the_canary(bench: &Bench) {
    bench.fill(0.01).await;
    bench.backup(0).await;
    for repository in [&bench.near, &bench.offsite] {
        let mut searched = 0;
        for key in bench.stored(repository).await {
            let mut bytes = Vec::new();
            let mut reading = repository.get(&bench.ctx, &key).await.expect("there");
            reading.read_to_end(&mut bytes).await.expect("readable");
            let found = bytes
                .windows(CANARY.len())
                .any(|at| at == CANARY.as_bytes());
            assert!(!found && !key.contains(CANARY), "{key}");
            let head = repository.head(&bench.ctx, &key).await.expect("asked");
            let metadata = format!("{:?}", head.expect("there").metadata);
            assert!(
                !metadata.contains(CANARY) && !metadata.contains("avatar"),
                "{metadata}"
            );
            searched += bytes.len();
        }
        assert!(searched > 1_000_000);
    }
}

async fn a_lost_or_changed_content_is_found_and_never_restored(bench: &Bench) {
    bench.fill(0.01).await;
    let manifest = bench.backup(0).await;
    // Not the empty content, which several objects share.
    let mut blobs = blobs_of(bench, &manifest).await;
    blobs.retain(|file| file.plain_bytes > 0);
    let sync = bench.sync();
    let mut stored = Vec::new();
    let mut reading = bench
        .offsite
        .get(&bench.ctx, &blobs[0].key)
        .await
        .expect("there");
    reading.read_to_end(&mut stored).await.expect("readable");
    let last = stored.len() - 1;
    stored[last] ^= 1;
    let body = Box::new(std::io::Cursor::new(stored));
    let put = bench
        .offsite
        .put(&bench.ctx, &blobs[0].key, body, &PLAIN)
        .await;
    put.expect("stored");
    let lost = std::slice::from_ref(&blobs[1].key);
    bench
        .offsite
        .delete(&bench.ctx, lost)
        .await
        .expect("deleted");

    let reader = bench.reader(&manifest);
    let read = sync
        .read_through(&bench.ctx, &reader, &bench.service)
        .await
        .expect("read");
    let error = read.error.expect("damaged");
    assert!(
        error.contains(&blobs[0].key) && error.contains(&blobs[1].key),
        "{error}"
    );
    assert_eq!(
        read.objects.map(|objects| objects.0.len()),
        Some(second_count(&manifest) - 2)
    );
    bench.lose().await;
    bench.service.create(&bench.ctx).await.expect("created");
    assert!(bench.restore(&manifest).await.is_err());
}

/// No metadata.
static PLAIN: BTreeMap<String, String> = BTreeMap::new();

async fn pruning_keeps_what_a_later_run_shares(bench: &Bench) {
    let keep = Keep::within(Duration::from_secs(86_400));
    bench.fill(0.01).await;
    bench.backup(0).await;
    bench.delete(&["a", "a/b"]).await;
    let second = bench.backup(1).await;
    for repository in [&bench.near, &bench.offsite] {
        let before = bench.stored(repository).await;
        let pruned = prune(&bench.ctx, repository, "media", &keep, at(2))
            .await
            .expect("pruned");
        assert_eq!((pruned.removed.len(), pruned.kept.len()), (1, 1));
        assert_eq!(
            pruned.swept.len(),
            2,
            "the contents of the two deleted objects"
        );
        // Those two, the index, the list of contents and the manifest.
        assert_eq!(bench.stored(repository).await.len(), before.len() - 5);
    }
    bench.lose().await;
    bench.service.create(&bench.ctx).await.expect("created");
    bench.restore(&second).await.expect("restored");
    assert_eq!(
        objects_of(&bench.observe().await).len() as u64,
        second_count(&second)
    );
}

async fn content_that_is_damaged_in_one_repository_is_stored_again_beside_it(bench: &Bench) {
    bench.fill(0.01).await;
    let first = bench.backup(0).await;
    let blob = &blobs_of(bench, &first).await[0];
    let lost = std::slice::from_ref(&blob.key);
    bench
        .offsite
        .delete(&bench.ctx, lost)
        .await
        .expect("deleted");
    let second = bench.backup(1).await;
    let others = blobs_of(bench, &second).await;
    assert!(others.iter().all(|file| file.key != blob.key));
    for repository in [&bench.near, &bench.offsite] {
        let fact = inspected(bench, &second, repository).await;
        assert_eq!(fact.error, None);
    }
    let fact = inspected(bench, &first, &bench.near).await;
    assert_eq!(
        fact.error, None,
        "the older artifact is still whole where it was"
    );
    let third = bench.backup(2).await;
    assert_eq!(
        others,
        blobs_of(bench, &third).await,
        "and is not stored a third time"
    );
}

async fn after_a_backup_whose_list_was_changed_or_lost_the_next_is_whole_and_says_so(
    bench: &Bench,
) {
    bench.fill(0.01).await;
    let keep = Keep::within(Duration::from_secs(86_400));
    let mut last = bench.backup(0).await;
    let told = || {
        let mut steps = bench.ctx.steps().into_iter();
        let last = steps.rfind(|step| step.command.starts_with("sync bucket"));
        last.expect("a step").command.contains("is stored anew")
    };
    assert!(!told());
    for (day, is_lost) in [(1, true), (2, false)] {
        let list = contents::list_of(&last).expect("a list").key;
        for repository in [&bench.near, &bench.offsite] {
            repository
                .delete(&bench.ctx, std::slice::from_ref(&list))
                .await
                .expect("deleted");
            if !is_lost {
                let other = Box::new(std::io::Cursor::new(b"{}\n".to_vec()));
                let nothing = BTreeMap::new();
                let put = repository.put(&bench.ctx, &list, other, &nothing);
                put.await.expect("put");
            }
        }
        let next = bench.backup(day).await;
        assert!(told(), "lost: {is_lost}");
        let fact = inspected(bench, &next, &bench.offsite).await;
        assert_eq!(fact.error, None);
        // The one without its list is not good, and goes when its time is up; nothing that is shared goes meanwhile.
        let pruned = prune(&bench.ctx, &bench.offsite, "media", &keep, at(day)).await;
        let pruned = pruned.expect("pruned");
        assert!(
            pruned.damaged.contains(&last.id) && pruned.swept.is_empty(),
            "{pruned:?}"
        );
        let pruned = prune(&bench.ctx, &bench.offsite, "media", &keep, at(day + 1)).await;
        let removed = pruned.expect("pruned").removed;
        assert!(removed.iter().any(|(id, _)| *id == last.id), "{removed:?}");
        last = next;
    }
    bench.lose().await;
    bench.service.create(&bench.ctx).await.expect("created");
    bench.restore(&last).await.expect("restored");
    assert_eq!(
        objects_of(&bench.observe().await).len() as u64,
        second_count(&last)
    );
}

async fn the_full_size_is_synchronised_and_restored_in_seconds(bench: &Bench) {
    let lap = Lap::start();
    bench.fill(1.0).await;
    lap.done("seed 2,505 objects");
    let lap = Lap::start();
    let before = bench.observe().await;
    lap.done("observe");
    let lap = Lap::start();
    let alone = vec![bench.offsite.clone()];
    bench.try_backup_to("alone", 0, alone).await;
    lap.done("first backup to a bucket alone");
    let lap = Lap::start();
    let manifest = bench.backup(0).await;
    lap.done("first backup to a directory and a bucket");
    let lap = Lap::start();
    bench.backup(1).await;
    let again = lap.watch.seconds();
    lap.done("second backup, nothing new");
    let lap = Lap::start();
    let reader = bench.reader(&manifest);
    let read = bench
        .sync()
        .read_through(&bench.ctx, &reader, &bench.service)
        .await
        .expect("read");
    assert_eq!(read.error, None);
    lap.done("read through");
    let lap = Lap::start();
    let fact = inspected(bench, &manifest, &bench.offsite).await;
    assert_eq!(fact.error, None);
    lap.done("verify what is stored");
    bench.lose().await;
    bench.service.create(&bench.ctx).await.expect("created");
    let lap = Lap::start();
    bench.restore(&manifest).await.expect("restored");
    lap.done("restore");
    same(&before, &bench.observe().await);
    assert!(
        again < 60.0 && lap.watch.seconds() < 120.0,
        "far beyond a slow machine"
    );
    peak();
}

/// One large stream: what encryption, hashing and storing cost.
async fn a_large_file_streams_through_in_little_memory(bench: &Bench) {
    let bytes = 256_u64 << 20;
    let name = "db.dump";
    for (place, repository) in [("a directory", &bench.near), ("a bucket", &bench.offsite)] {
        for keys in [None, Some(bench.keys.clone())] {
            let how = if keys.is_some() {
                "encrypted"
            } else {
                "in the clear"
            };
            let origin = Origin {
                backup: how.to_owned(),
                component: "db".to_owned(),
                taken_at: at(0),
                engine: "postgres 15.18".to_owned(),
                compression: "none".to_owned(),
            };
            let repositories = vec![repository.clone()];
            let artifact = ArtifactWriter::new(&bench.ctx, origin, repositories, keys.clone());
            let lap = Lap::start();
            let body = Box::new(tokio::io::repeat(7).take(bytes));
            let filed = artifact.file(&bench.ctx, name, body, BTreeMap::new()).await;
            filed.expect("stored");
            lap.done(&format!("256 MiB {how} to {place}"));
            let draft = artifact.draft(&bench.ctx);
            let manifest = artifact.commit(&bench.ctx, draft).await.expect("committed");
            let reader = ArtifactReader::new(manifest, repository.clone(), keys);
            let lap = Lap::start();
            let mut reading = reader.open(&bench.ctx, name).await.expect("opened");
            let read = tokio::io::copy(&mut reading, &mut tokio::io::sink()).await;
            assert_eq!(read.expect("readable"), bytes);
            lap.done(&format!("256 MiB {how} from {place}"));
        }
    }
    peak();
}

/// Server, source, repository and all that is known of each object, in one process: what they take with many more objects
/// must not show.
async fn memory_is_the_same_for_any_number_of_objects(_: &Bench) {
    // With fewer, what little of the shelves is held in memory is not full yet.
    const FEW: u64 = 8_000;
    const MANY: u64 = 14_000;
    /// Bytes that are allocated for every more object at the peak: what is known of one is more than half as much again.
    const ALLOWED: u64 = 1_000 * (MANY - FEW);
    let peak_of = async |objects: u64| -> u64 {
        let program = std::env::current_exe().expect("this program");
        let mut child = tokio::process::Command::new(program);
        let output = child.env(MEASURED, objects.to_string()).output().await;
        let output = output.expect("run");
        let said = String::from_utf8_lossy(&output.stdout);
        let peak = said.lines().find_map(|line| line.strip_prefix("peak "));
        let peak = peak.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        peak.parse().expect("a number")
    };
    let (few, many) = (peak_of(FEW).await, peak_of(MANY).await);
    assert!(many < few + ALLOWED, "{few} bytes, then {many}");
}

/// A bucket of so many small objects through everything that is done with one; what this process took at most is printed.
#[expect(clippy::print_stdout, reason = "for the process that started this one")]
fn measured(objects: u64) {
    let server = server::Server::start();
    let lived = on_server_with(|bench| async move {
        let (client, bucket) = (bench.service.client(), bench.service.bucket());
        let puts = (0..objects).map(|number| {
            let (client, bucket, ctx) = (client.clone(), bucket.to_owned(), bench.ctx.clone());
            Ok(async move {
                let body = Box::new(std::io::Cursor::new(format!("{number}\n").into_bytes()));
                let key = format!("avatars/{:02x}/user-{number:08}.jpg", number % 251);
                let headers = Headers::default();
                let put = client.put(&ctx, &bucket, &key, body, &headers).await;
                put.map(drop)
            })
        });
        let filled = in_lanes(futures::stream::iter(puts), |()| Ok(())).await;
        filled.expect("filled");
        let before = bench.observe().await;
        let offsite = || vec![bench.offsite.clone()];
        let (_, manifest) = bench.try_backup_to("media", 0, offsite()).await;
        let manifest = manifest.expect("taken");
        let reader = bench.reader(&manifest);
        let looked = inspect(&bench.ctx, &reader, CANARY.as_bytes()).await;
        let (fact, _seen, contents) = looked.expect("inspected");
        assert_eq!((fact.sound, fact.amiss.len()), (objects + 2, 0));
        let reader = reader.inspected(contents);
        let sync = bench.sync();
        let read = sync.read_through(&bench.ctx, &reader, &bench.service);
        assert_eq!(read.await.expect("read").error, None);
        bench.lose().await;
        bench.service.create(&bench.ctx).await.expect("created");
        bench.restore(&manifest).await.expect("restored");
        let after = bench.observe().await;
        assert_eq!((before.bytes, objects), (after.bytes, len_of(&after)));
        bench.try_backup_to("media", 1, offsite()).await;
        let keep = Keep::within(Duration::from_secs(3_600));
        let pruned = prune(&bench.ctx, &bench.offsite, "media", &keep, at(2)).await;
        assert_eq!(pruned.expect("pruned").removed.len(), 1);
    });
    lived.expect("through");
    drop(server);
    println!("peak {}", ALLOCATOR.max_allocated());
}

fn len_of(observed: &Observation) -> u64 {
    observed.objects.as_ref().expect("a bucket").0.len()
}

/// A measurement.
struct Lap {
    watch: Stopwatch,
    processor: f64,
}

impl Lap {
    fn start() -> Self {
        Self {
            watch: Stopwatch::start(),
            processor: processor_seconds(),
        }
    }

    #[expect(
        clippy::print_stderr,
        reason = "what was measured, for whoever runs it"
    )]
    fn done(&self, what: &str) {
        let processor = processor_seconds() - self.processor;
        let seconds = self.watch.seconds();
        eprintln!("    {what}: {seconds:.2} s ({processor:.2} s of processor time)");
    }
}

/// Seconds of processor time that this process has used (fields 14 and 15 of /proc/self/stat, proc(5)).
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("readable");
    let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
    let ticks: f64 = fields
        .skip(11)
        .take(2)
        .filter_map(|n| n.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}

/// Redrill's own memory is to stay under 200 MB whatever passes through.
#[expect(
    clippy::print_stderr,
    reason = "what was measured, for whoever runs it"
)]
fn peak() {
    let bytes = peak_bytes();
    eprintln!("    peak memory: {} MB", bytes / 1_000_000);
    assert!(bytes < 200_000_000, "{bytes} bytes");
}

/// What this process took at most, in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes: u64 = peak
        .and_then(|number| number.parse().ok())
        .expect("a number");
    kilobytes * 1024
}
