//! Backups and restores: what comes back, and what must fail.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::Utc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redrill::error::Kind;
use redrill::evidence::ReadFact;
use redrill::pipeline::Pipeline as _;
use redrill::pipeline::artifact::ArtifactReader;
use redrill::pipeline::redis::RedisRdb;
use redrill::service::redis::client::{Client, Reply, cmd};
use redrill::service::redis::{PROBE_VALUE, USER};
use redrill::service::{Running as _, Service as _, Stop};

use crate::world::{Component, PASSWORD, World, differences};

fn rdb() -> RedisRdb {
    RedisRdb::new(false)
}

/// The process that a server forked to save.
fn saving_child(server: u32) -> Option<Pid> {
    let children =
        std::fs::read_to_string(format!("/proc/{server}/task/{server}/children")).ok()?;
    let child = children.split_whitespace().next()?.parse().ok()?;
    Some(Pid::from_raw(child))
}

/// Waits for something that the server does by itself.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within 30 s"));
}

async fn read_through(world: &World, artifact: &ArtifactReader, source: &Component) -> ReadFact {
    rdb()
        .read_through(&world.ctx, artifact, &source.service)
        .await
        .expect("read through")
}

fn entries(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

pub async fn what_was_backed_up_comes_back_on_another_server() {
    let world = World::new();
    let source = world.seeded("source", 3_000, &[]).await;
    source.service.write(&world.ctx, 1).await.expect("written");
    let before = source.observe(&world).await;
    let (taken, artifact) = world.backup(&source, rdb()).await.expect("backed up");
    assert_eq!(
        taken.tool,
        format!("redis-server {} BGSAVE", source.server.version())
    );

    let target = world.empty("target", 0, &[]).await;
    source.server.lose(&world.ctx).await.expect("lost");
    world.restore(&artifact, &target).await.expect("restored");
    let after = target.observe(&world).await;
    assert_eq!(differences(&before, &after), Vec::<String>::new());
    assert_eq!(after.nonce.as_deref(), Some("nonce-1"));
    assert_eq!(after.ledger.len(), 1);
    assert_eq!(entries(&target.server.staging()), Vec::<String>::new());

    let answer = target.run(&world, 0, "FCALL redrill_keys 0").await;
    assert!(
        matches!(answer, Reply::Int(keys) if keys > 1_000),
        "{answer:?}"
    );
}

pub async fn a_restored_user_gets_in_with_the_old_password() {
    let world = World::new();
    let source = world.seeded("source", 300, &[]).await;
    let (_, artifact) = world.backup(&source, rdb()).await.expect("backed up");
    let target = world.empty("target", 0, &[]).await;
    world.restore(&artifact, &target).await.expect("restored");
    let secrets = world.ctx.secrets.all();
    let (_, password) = secrets
        .iter()
        .find(|(name, _)| name == "password of a redis user")
        .expect("registered");
    let mut client = Client::connect(&world.ctx, &target.server.endpoint())
        .await
        .expect("a connection");
    let mut auth = cmd("AUTH");
    auth.arg(USER).arg(password);
    client.call(&auth).await.expect("let in");
    assert!(client.call(&cmd("FLUSHALL")).await.is_err());
}

pub async fn a_key_whose_time_has_passed_rightly_stays_away() {
    let world = World::new();
    let source = world.seeded("source", 600, &[]).await;
    source.run(&world, 0, "SET elapses 1 PX 3000").await;
    let before = source.observe(&world).await;
    let (_, artifact) = world.backup(&source, rdb()).await.expect("backed up");
    eventually("the key elapses", async || {
        source.run(&world, 0, "EXISTS elapses").await == Reply::Int(0)
    })
    .await;
    let target = world.empty("target", 0, &[]).await;
    world.restore(&artifact, &target).await.expect("restored");
    let after = target.observe(&world).await;
    assert_eq!(differences(&before, &after), Vec::<String>::new());
    let elapsed = |(_, minute): &&(String, chrono::DateTime<Utc>)| *minute <= after.taken_at;
    assert!(before.expiring.keys().any(|key| elapsed(&key)));
    assert!(!after.expiring.keys().any(|key| elapsed(&key)));
}

pub async fn a_snapshot_that_holds_only_elapsed_keys_restores_to_an_empty_server() {
    let world = World::new();
    let source = world.empty("source", 0, &[]).await;
    source.run(&world, 0, "SET elapses 1 PX 1500").await;
    let (_, artifact) = world.backup(&source, rdb()).await.expect("backed up");
    eventually("the key elapses", async || {
        source.run(&world, 0, "EXISTS elapses").await == Reply::Int(0)
    })
    .await;
    let target = world.empty("target", 0, &[]).await;
    world.restore(&artifact, &target).await.expect("restored");
}

pub async fn a_server_that_comes_up_empty_on_a_snapshot_with_keys_is_an_error() {
    let world = World::new();
    let source = world.seeded("source", 300, &[]).await;
    let (_, artifact) = world.backup(&source, rdb()).await.expect("backed up");
    let target = world.empty("target", 0, &[]).await;
    target.server.forgetful.store(true, Ordering::Relaxed);
    let error = world
        .restore(&artifact, &target)
        .await
        .expect_err("nothing came back");
    assert!(error.to_string().contains("came up empty"), "{error}");
}

pub async fn a_save_that_fails_is_an_error_and_not_the_older_file() {
    let world = World::new();
    let source = world.seeded("source", 2_000, &[]).await;
    world.backup(&source, rdb()).await.expect("a first one");
    let old = std::fs::read(source.server.data_dir().join("dump.rdb")).expect("a snapshot");

    // The child that saves is killed, as it is when memory runs out.
    source
        .run(&world, 0, "CONFIG SET rdb-key-save-delay 1000")
        .await;
    let pid = source.server.pid().await;
    let killed = eventually("the saving child", async || {
        saving_child(pid).is_some_and(|child| kill(child, Signal::SIGKILL).is_ok())
    });
    let (taken, ()) = tokio::join!(world.backup(&source, rdb()), killed);
    let error = taken.expect_err("failed");
    assert!(error.to_string().contains("the save failed"), "{error}");
    assert!(error.hint_text().is_some());
    let still = std::fs::read(source.server.data_dir().join("dump.rdb")).expect("a snapshot");
    assert!(old == still, "the older snapshot is still there");
}

pub async fn a_save_that_already_ran_does_not_count_as_ours() {
    let world = World::new();
    let source = world.seeded("source", 600, &[]).await;
    source
        .run(&world, 0, "CONFIG SET rdb-key-save-delay 500")
        .await;
    source.run(&world, 0, "BGSAVE").await;
    source
        .run(&world, 0, "SET written-during-that-save 1")
        .await;
    let before = source.observe(&world).await;
    let (_, artifact) = world.backup(&source, rdb()).await.expect("backed up");
    let target = world.empty("target", 0, &[]).await;
    world.restore(&artifact, &target).await.expect("restored");
    let after = target.observe(&world).await;
    assert_eq!(differences(&before, &after), Vec::<String>::new());
}

pub async fn a_save_that_takes_too_long_ends_at_its_deadline() {
    let world = World::new();
    let source = world.seeded("source", 600, &[]).await;
    source
        .run(&world, 0, "CONFIG SET rdb-key-save-delay 100000")
        .await;
    let hurried = rdb().deadline(Duration::from_millis(300));
    let error = world.backup(&source, hurried).await.expect_err("too long");
    assert_eq!(error.kind(), Kind::TimedOut);
}

pub async fn an_interrupted_backup_ends_at_once() {
    let world = World::new();
    let source = world.seeded("source", 600, &[]).await;
    source
        .run(&world, 0, "CONFIG SET rdb-key-save-delay 100000")
        .await;
    let pid = source.server.pid().await;
    let interrupted = async {
        eventually("the saving child", async || saving_child(pid).is_some()).await;
        world.ctx.cancel.cancel();
    };
    let (taken, ()) = tokio::join!(world.backup(&source, rdb()), interrupted);
    let error = taken.expect_err("interrupted");
    assert_eq!(error.kind(), Kind::Interrupted);
}

pub async fn a_sound_artifact_is_read_to_its_end() {
    let world = World::new();
    let source = world.seeded("source", 600, &[]).await;
    let begun = Utc::now() - chrono::Duration::seconds(1);
    let (_, artifact) = world.backup(&source, rdb()).await.expect("backed up");
    let fact = read_through(&world, &artifact, &source).await;
    assert_eq!(fact.error, None);
    let population = source
        .service
        .population(&world.ctx)
        .await
        .expect("counted");
    assert!(
        fact.entries >= 600 && fact.entries.abs_diff(population) <= 25,
        "{fact:?}"
    );
    let time = fact.content_time.expect("a time");
    assert!(begun <= time && time <= Utc::now(), "{time}");
    assert_eq!(entries(&source.server.staging()), Vec::<String>::new());
}

/// Damages the snapshot; what `redis-check-rdb` and the restore say then.
async fn damaged(
    change: impl FnOnce(&mut Vec<u8>),
) -> (ReadFact, redrill::error::Result<Vec<String>>) {
    let world = World::new();
    let source = world.seeded("source", 600, &[]).await;
    let before = source.observe(&world).await;
    let (_, artifact) = world.backup(&source, rdb()).await.expect("backed up");
    let artifact = world.changed(&artifact, "dump.rdb", change).await;
    let fact = read_through(&world, &artifact, &source).await;
    let target = world.empty("target", 0, &[]).await;
    let restored = world.restore(&artifact, &target).await;
    let differences = match restored {
        Ok(()) => Ok(differences(&before, &target.observe(&world).await)),
        Err(error) => Err(error),
    };
    (fact, differences)
}

fn probe(rdb: &[u8]) -> usize {
    let places: Vec<usize> = rdb
        .windows(PROBE_VALUE.len())
        .enumerate()
        .filter(|(_, window)| *window == PROBE_VALUE.as_bytes())
        .map(|(place, _)| place)
        .collect();
    assert_eq!(
        places.len(),
        1,
        "the probe stands once in the snapshot, uncompressed"
    );
    places[0]
}

pub async fn a_flipped_byte_is_refused_by_the_checksum() {
    let (fact, restored) = damaged(|rdb| {
        let place = probe(rdb) + 40;
        rdb[place] ^= 1;
    })
    .await;
    assert!(fact.error.expect("seen").contains("CRC"));
    assert!(restored.is_err());
}

pub async fn a_flipped_byte_without_a_checksum_is_seen_by_the_content_alone() {
    let (fact, restored) = damaged(|rdb| {
        let place = probe(rdb) + 40;
        rdb[place] ^= 1;
        let end = rdb.len();
        rdb[end - 8..].fill(0);
    })
    .await;
    assert_eq!(fact.error, None);
    assert_eq!(restored.expect("it loads"), ["db0 string"]);
}

pub async fn a_snapshot_that_was_cut_is_refused() {
    let (fact, restored) = damaged(|rdb| rdb.truncate(rdb.len() * 6 / 10)).await;
    assert!(fact.error.is_some());
    assert!(restored.is_err());
}

pub async fn an_empty_file_in_place_of_a_snapshot_is_refused() {
    let (fact, restored) = damaged(Vec::clear).await;
    assert!(fact.error.is_some());
    assert!(restored.is_err());
}

const WITH_AOF: &[&str] = &["appendonly yes", "appendfsync always"];

pub async fn the_append_only_directory_is_kept_beside_the_snapshot_and_checked() {
    let world = World::new();
    let source = world.seeded("source", 600, WITH_AOF).await;
    let (taken, artifact) = world
        .backup(&source, RedisRdb::new(true))
        .await
        .expect("backed up");
    assert!(
        taken.tool.ends_with("append-only directory"),
        "{}",
        taken.tool
    );
    let mut names: Vec<&str> = artifact
        .manifest
        .files
        .iter()
        .map(|file| file.name.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "appendonlydir/appendonly.aof.1.base.rdb",
            "appendonlydir/appendonly.aof.1.incr.aof",
            "appendonlydir/appendonly.aof.manifest",
            "dump.rdb",
            "users.acl",
        ]
    );
    let setting = source
        .run(&world, 0, "CONFIG GET auto-aof-rewrite-percentage")
        .await;
    assert!(format!("{setting:?}").contains("100"), "{setting:?}");
    let fact = read_through(&world, &artifact, &source).await;
    assert_eq!(fact.error, None);
    assert_eq!(fact.tool, "redis-check-rdb, redis-check-aof");

    let artifact = world
        .changed(&artifact, "incr.aof", |aof| aof.truncate(aof.len() - 3))
        .await;
    let fact = read_through(&world, &artifact, &source).await;
    assert!(fact.error.expect("seen").starts_with("redis-check-aof"));
}

pub async fn a_server_without_an_append_only_file_says_so_in_the_artifact() {
    let world = World::new();
    let source = world.seeded("source", 300, &[]).await;
    let (taken, artifact) = world
        .backup(&source, RedisRdb::new(true))
        .await
        .expect("backed up");
    assert!(taken.tool.contains("appendonly no"), "{}", taken.tool);
    assert_eq!(artifact.manifest.files.len(), 2);
    assert_eq!(artifact.manifest.files[0].metadata["appendonly"], "no");
}

pub async fn a_source_with_an_append_only_file_gets_one_again_after_loading() {
    let world = World::new();
    let source = world.seeded("source", 600, WITH_AOF).await;
    let before = source.observe(&world).await;
    let (_, artifact) = world
        .backup(&source, RedisRdb::new(true))
        .await
        .expect("backed up");
    let target = world.empty("target", 0, &["appendfsync always"]).await;
    world.restore(&artifact, &target).await.expect("restored");
    assert_eq!(
        differences(&before, &target.observe(&world).await),
        Vec::<String>::new()
    );

    // And it lasts: what is written now survives a crash.
    target.service.write(&world.ctx, 1).await.expect("written");
    target
        .server
        .restart(&world.ctx, Stop::Kill)
        .await
        .expect("up again");
    let after = target.observe(&world).await;
    assert_eq!(differences(&before, &after), ["db0 string", "ledger"]);
    assert_eq!(after.ledger.len(), 1);
}

pub async fn a_target_with_appendonly_yes_does_not_hide_the_snapshot() {
    let world = World::new();
    let source = world.seeded("source", 600, &[]).await;
    let before = source.observe(&world).await;
    let (_, artifact) = world.backup(&source, rdb()).await.expect("backed up");
    let target = world.empty("target", 0, &["appendonly yes"]).await;
    world.restore(&artifact, &target).await.expect("restored");
    assert_eq!(
        differences(&before, &target.observe(&world).await),
        Vec::<String>::new()
    );
}

pub async fn no_password_hash_or_canary_stands_in_a_log_or_a_command() {
    let world = World::new();
    let source = world.seeded("source", 300, WITH_AOF).await;
    let (_, artifact) = world
        .backup(&source, RedisRdb::new(true))
        .await
        .expect("backed up");
    read_through(&world, &artifact, &source).await;
    let target = world.empty("target", 0, &[]).await;
    world.restore(&artifact, &target).await.expect("restored");
    // A complaint of the tools must not quote a key either.
    let cut = world
        .changed(&artifact, "dump.rdb", |rdb| rdb.truncate(rdb.len() - 20))
        .await;
    let fact = read_through(&world, &cut, &source).await;

    let users = String::from_utf8(world.read(&artifact, "users.acl").await).expect("text");
    let hash = users
        .split('#')
        .nth(1)
        .and_then(|rest| rest.get(..64))
        .expect("a hash");
    let mut secrets = vec![
        hash.to_owned(),
        "canary-0f3a9c".to_owned(),
        PASSWORD.to_owned(),
    ];
    secrets.extend(world.ctx.secrets.all().into_iter().map(|(_, value)| value));

    let mut texts = vec![format!("{fact:?} {:?}", world.ctx.steps())];
    for name in entries(&world.ctx.logs) {
        let log = std::fs::read(world.ctx.logs.join(name)).expect("a log");
        texts.push(String::from_utf8_lossy(&log).into_owned());
    }
    assert!(texts.len() > 5);
    for secret in &secrets {
        assert!(
            !texts.iter().any(|text| text.contains(secret.as_str())),
            "{secret}"
        );
    }
}

pub async fn an_artifact_that_cannot_be_read_leaves_nothing_in_the_staging_directory() {
    let world = World::new();
    let source = world.seeded("source", 300, &[]).await;
    let (_, artifact) = world.backup(&source, rdb()).await.expect("backed up");
    world
        .repository
        .0
        .lock()
        .expect("not poisoned")
        .remove(&artifact.file("users.acl").expect("there").key);
    let read = rdb()
        .read_through(&world.ctx, &artifact, &source.service)
        .await;
    assert!(read.is_err());
    assert_eq!(entries(&source.server.staging()), Vec::<String>::new());
}
