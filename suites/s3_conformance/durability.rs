//! What survives: a stop and a start, a kill -9 under load, an upload that breaks off.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use redrill::provision::object_store::ObjectStore;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::http::connect;
use crate::mounts::Mounted;
use crate::multipart::{MIB, complete, create, part};
use crate::server::{ACCESS_KEY, Embedded, SECRET_KEY, bytes, get, put, refused, server_on};

/// The variable that makes this program a store in the directory it names.
pub const APART: &str = "REDRILL_TEST_STORE";
const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until something is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < DEADLINE, "{what}: not in {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn start(dir: &Path) -> ObjectStore {
    ObjectStore::start(dir.to_owned(), ACCESS_KEY, SECRET_KEY).expect("start")
}

pub async fn everything_is_there_after_a_stop_and_a_start() {
    let dir = TempDir::new().expect("directory");
    let store = start(dir.path());
    let (client, bucket) = server_on(store.port()).bucket().await;
    client
        .put_object()
        .bucket(&bucket)
        .key("described +%")
        .body(ByteStream::from_static(b"body"))
        .content_type("text/plain")
        .metadata("note", "kept as it was")
        .tagging("a=b")
        .send()
        .await
        .expect("put");
    put(&client, &bucket, "deleted", "x").await;
    client
        .delete_object()
        .bucket(&bucket)
        .key("deleted")
        .send()
        .await
        .expect("delete");
    let id = create(&client, &bucket, "unfinished").await;
    let body = bytes(1, 5 * MIB);
    let first = part(&client, &bucket, "unfinished", &id, 1, &body).await;
    store.stop().await;

    let store = start(dir.path());
    let client = server_on(store.port()).client();
    let head = client
        .head_object()
        .bucket(&bucket)
        .key("described +%")
        .send()
        .await
        .expect("head");
    assert_eq!(head.content_type.as_deref(), Some("text/plain"));
    assert_eq!(head.metadata.expect("metadata")["note"], "kept as it was");
    assert_eq!(get(&client, &bucket, "described +%").await, b"body");
    let page = client
        .list_objects_v2()
        .bucket(&bucket)
        .send()
        .await
        .expect("list");
    assert_eq!(page.contents().len(), 1);
    let second = part(&client, &bucket, "unfinished", &id, 2, b"end").await;
    complete(&client, &bucket, "unfinished", &id, vec![first, second])
        .send()
        .await
        .expect("complete");
    assert_eq!(get(&client, &bucket, "unfinished").await.len(), 5 * MIB + 3);
    store.stop().await;
}

pub async fn a_directory_is_served_by_one_store_at_a_time() {
    let dir = TempDir::new().expect("directory");
    let first = start(dir.path());
    let error =
        ObjectStore::start(dir.path().to_owned(), ACCESS_KEY, SECRET_KEY).expect_err("refused");
    assert!(
        error.to_string().contains("another object store"),
        "{error}"
    );
    drop(first);
    start(dir.path()).stop().await;
}

pub async fn a_dropped_store_answers_no_more() {
    let embedded = Embedded::start();
    let address = embedded.store.address();
    drop(embedded.store);
    until("the port is closed", async || {
        tokio::net::TcpStream::connect(address).await.is_err()
    })
    .await;
}

pub async fn the_next_store_can_have_the_same_port() {
    let dir = TempDir::new().expect("directory");
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("bind");
    let begin = || {
        let listener = listener.try_clone().expect("clone");
        ObjectStore::start_on(listener, dir.path().to_owned(), ACCESS_KEY, SECRET_KEY)
            .expect("start")
    };
    let first = begin();
    let (client, bucket) = server_on(first.port()).bucket().await;
    put(&client, &bucket, "k", "body").await;
    let port = first.port();
    drop(first);
    let second = begin();
    assert_eq!(second.port(), port);
    // The same client: its old connection is gone, the new one may have been waiting.
    assert_eq!(get(&client, &bucket, "k").await, b"body");
    second.stop().await;
}

pub async fn an_upload_that_breaks_off_leaves_nothing() {
    let embedded = Embedded::start();
    let (client, bucket) = embedded.server().bucket().await;
    put(&client, &bucket, "k", "the old object").await;
    let config = PresigningConfig::expires_in(Duration::from_secs(60)).expect("presigning");
    let url = client
        .put_object()
        .bucket(&bucket)
        .key("k")
        .presigned(config)
        .await
        .expect("presign");
    let (mut stream, path, host) = connect(url.uri()).await;
    let head = format!("PUT {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9000000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("head");
    stream
        .write_all(&bytes(1, 6_000_000))
        .await
        .expect("half a body");
    let tmp = embedded.dir.path().join("s3/tmp");
    let waiting = || std::fs::read_dir(&tmp).expect("list").count();
    until("the upload has begun", async || waiting() == 1).await;
    drop(stream);
    until("the upload is swept", async || waiting() == 0).await;
    assert_eq!(get(&client, &bucket, "k").await, b"the old object");
    embedded.stop().await;
}

/// A store in a process of its own, to be killed or measured.
pub struct Apart {
    child: Child,
    pub port: u16,
}

impl Apart {
    pub async fn start(dir: &Path) -> Self {
        let said = dir.join("port");
        std::fs::remove_file(&said).ok();
        let child = Command::new(std::env::current_exe().expect("own path"))
            .env(APART, dir)
            .stdout(Stdio::null())
            .spawn()
            .expect("start a child");
        let mut port = None;
        until("the child listens", async || {
            port = std::fs::read_to_string(&said)
                .ok()
                .and_then(|text| text.parse().ok());
            port.is_some()
        })
        .await;
        let port = port.expect("port");
        Self { child, port }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Apart {
    /// SIGKILL, at whatever it is doing.
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What this program does instead of testing when [`APART`] names a directory: it is what tests start and kill.
pub async fn serve(dir: &Path) {
    let store = start(&dir.join("s3"));
    std::fs::write(dir.join("port.new"), store.port().to_string()).expect("write");
    std::fs::rename(dir.join("port.new"), dir.join("port")).expect("rename");
    std::future::pending::<()>().await;
}

/// What writers were told: for each key the number of the last acknowledged write; 0 after an acknowledged delete.
type Ledger = Arc<Mutex<BTreeMap<String, u64>>>;

/// The body of write `number`: small ones, some above a batch of the store, now and then a large one.
fn body_of(number: u64) -> Vec<u8> {
    let length = match number % 16 {
        0 => 3_000_000,
        1 => 0,
        other => other as usize * 9000,
    };
    bytes(number, length)
}

/// Writes until the server is gone: new keys, overwrites, deletes, multipart uploads.
async fn write_until_killed(
    client: Client,
    bucket: String,
    writer: u64,
    round: u64,
    ledger: Ledger,
    acknowledged: Arc<AtomicUsize>,
) {
    for step in 1.. {
        let number = (round << 40) | (writer << 32) | step;
        let key = format!("writer {writer}/{}", step % 40);
        if step % 11 == 0 {
            let id = match client
                .create_multipart_upload()
                .bucket(&bucket)
                .key(&key)
                .metadata("number", number.to_string())
                .send()
                .await
            {
                Ok(upload) => upload.upload_id.expect("id"),
                Err(_) => return,
            };
            let request = client
                .upload_part()
                .bucket(&bucket)
                .key(&key)
                .upload_id(&id)
                .part_number(1);
            let Ok(done) = request.body(ByteStream::from(body_of(number))).send().await else {
                return;
            };
            let done = aws_sdk_s3::types::CompletedPart::builder()
                .part_number(1)
                .set_e_tag(done.e_tag)
                .build();
            if complete(&client, &bucket, &key, &id, vec![done])
                .send()
                .await
                .is_err()
            {
                return;
            }
        } else {
            let request = client
                .put_object()
                .bucket(&bucket)
                .key(&key)
                .metadata("number", number.to_string());
            if request
                .body(ByteStream::from(body_of(number)))
                .send()
                .await
                .is_err()
            {
                return;
            }
        }
        ledger.lock().expect("ledger").insert(key, number);
        acknowledged.fetch_add(1, Ordering::Relaxed);
        if step % 7 == 0 {
            let key = format!("writer {writer}/{}", (step + 20) % 40);
            // Unknown until it is acknowledged: neither there nor gone may be asserted.
            ledger.lock().expect("ledger").remove(&key);
            if client
                .delete_object()
                .bucket(&bucket)
                .key(&key)
                .send()
                .await
                .is_err()
            {
                return;
            }
            ledger.lock().expect("ledger").insert(key, 0);
        }
    }
}

pub async fn nothing_acknowledged_is_lost_or_torn_by_kill_9() {
    let dir = TempDir::new().expect("directory");
    let mut bucket = String::new();
    let ledger = Ledger::default();
    for round in 1..=4 {
        let apart = Apart::start(dir.path()).await;
        let server = server_on(apart.port);
        if round == 1 {
            bucket = server.bucket().await.1;
        }
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = (1..=6)
            .map(|writer| {
                let (ledger, acknowledged) = (ledger.clone(), acknowledged.clone());
                tokio::spawn(write_until_killed(
                    server.client(),
                    bucket.clone(),
                    writer,
                    round,
                    ledger,
                    acknowledged,
                ))
            })
            .collect();
        until("enough was acknowledged", async || {
            acknowledged.load(Ordering::Relaxed) >= 250
        })
        .await;
        drop(apart);
        for writer in writers {
            writer.await.expect("writer");
        }
        check(&dir.path().join("s3"), &bucket, &ledger).await;
    }
}

/// Every acknowledged write is there, or a later one that was on its way; whatever is there is whole.
async fn check(dir: &Path, bucket: &str, ledger: &Ledger) {
    let store = start(dir);
    assert_eq!(std::fs::read_dir(dir.join("tmp")).expect("list").count(), 0);
    let client = server_on(store.port()).client();
    let ledger = ledger.lock().expect("ledger").clone();
    for (key, number) in &ledger {
        let answer = client.get_object().bucket(bucket).key(key).send().await;
        match answer {
            Ok(object) => {
                let metadata = object.metadata.as_ref().expect("metadata");
                let found: u64 = metadata["number"].parse().expect("number");
                assert!(found >= *number, "{key}: {found} instead of {number}");
            }
            missing => {
                assert_eq!(refused(missing).0, 404);
                assert_eq!(*number, 0, "{key}: acknowledged and lost");
            }
        }
    }
    let page = client
        .list_objects_v2()
        .bucket(bucket)
        .send()
        .await
        .expect("list");
    assert!(page.contents().len() > 40);
    for object in page.contents() {
        let key = object.key().expect("key");
        let object = client
            .get_object()
            .bucket(bucket)
            .key(key)
            .send()
            .await
            .expect("get");
        let number = object.metadata.as_ref().expect("metadata")["number"]
            .parse()
            .expect("number");
        let body = object.body.collect().await.expect("body").to_vec();
        assert!(body == body_of(number), "{key}: torn");
    }
    store.stop().await;
}

pub async fn a_disk_that_was_full_for_a_moment_leaves_the_bucket_as_it_was() {
    let dir = TempDir::new().expect("directory");
    let [large, small] = ["large", "small"].map(|name| dir.path().join(name));
    let store = start(&large);
    let (_, bucket) = server_on(store.port()).bucket().await;
    store.stop().await;
    // The bucket stays where there is room, and its index comes to lie on a small disk.
    std::fs::create_dir(&small).expect("directory");
    let disk = Mounted::new(&small, "size=4m,mode=777").expect("a small disk");
    std::fs::create_dir(small.join("buckets")).expect("directory");
    let place = Path::new("buckets").join(&bucket);
    std::os::unix::fs::symlink(large.join(&place), small.join(&place)).expect("linked");
    let store = start(&small);
    let client = server_on(store.port()).client();
    let filler = small.join("filler");
    let key = |n: usize| format!("{n:06}-{}", "x".repeat(900));
    let put = async |n: usize| {
        let body = ByteStream::from_static(b"body");
        let put = client.put_object().bucket(&bucket).key(key(n)).body(body);
        put.send().await.is_ok()
    };
    assert!(put(0).await);
    let fill = std::fs::write(&filler, vec![0; 8 << 20]);
    assert!(fill.is_err(), "the disk is full");
    let mut kept = 1;
    while put(kept).await {
        kept += 1;
        assert!(kept < 20_000, "the disk was never full");
    }
    std::fs::remove_file(&filler).expect("removed");
    assert!(put(kept).await, "there is room again");
    for n in [0, kept / 2, kept] {
        assert_eq!(get(&client, &bucket, &key(n)).await, b"body");
    }
    let mut pages = client
        .list_objects_v2()
        .bucket(&bucket)
        .into_paginator()
        .send();
    let mut listed = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.expect("a page");
        listed.extend(
            page.contents()
                .iter()
                .filter_map(|it| it.key().map(str::to_owned)),
        );
    }
    assert_eq!(listed, (0..=kept).map(key).collect::<Vec<_>>());
    store.stop().await;
    drop(disk);
}
