//! What the embedded store costs: memory held against its limit, speeds printed on request
//! (`cargo test --test s3_conformance measure -- --ignored --nocapture`).

use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use redrill::provision::object_store::ObjectStore;
use tempfile::TempDir;

use crate::durability::Apart;
use crate::http::request;
use crate::listing::fill;
use crate::multipart::{MIB, complete, create, part};
use crate::server::{ACCESS_KEY, SECRET_KEY, bytes, put, server_on};

/// A size of a process in MB: `VmRSS` now, `VmHWM` at its highest.
fn memory(process: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("status");
    let line = status
        .lines()
        .find(|line| line.starts_with(what))
        .expect("line");
    let kib: u64 = line
        .split_whitespace()
        .nth(1)
        .expect("value")
        .parse()
        .expect("number");
    kib / 1000
}

/// Seconds of processor time that a process has used: clock ticks of 10 ms, fields 14 and 15 of its `stat`.
fn cpu(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("stat");
    let (_, fields) = stat.rsplit_once(')').expect("name");
    let ticks = |field: usize| -> f64 {
        let text = fields.split_whitespace().nth(field - 3).expect("field");
        text.parse().expect("ticks")
    };
    (ticks(14) + ticks(15)) / 100.0
}

/// Reads an object and throws it away.
async fn read(client: &Client, bucket: &str, key: &str) -> usize {
    let mut body = client
        .get_object()
        .bucket(bucket)
        .key(key)
        .send()
        .await
        .expect("get")
        .body;
    let mut total = 0;
    while let Some(chunk) = body.try_next().await.expect("chunk") {
        total += chunk.len();
    }
    total
}

pub async fn large_bodies_do_not_stay_in_memory() {
    let dir = TempDir::new().expect("directory");
    let apart = Apart::start(dir.path()).await;
    let (client, bucket) = server_on(apart.port).bucket().await;
    put(&client, &bucket, "whole", bytes(1, 200 * MIB)).await;
    let id = create(&client, &bucket, "parts").await;
    let mut parts = Vec::new();
    for number in 1..=4 {
        parts.push(part(&client, &bucket, "parts", &id, number, &bytes(2, 50 * MIB)).await);
    }
    complete(&client, &bucket, "parts", &id, parts)
        .send()
        .await
        .expect("complete");
    for key in ["whole", "parts"] {
        assert_eq!(read(&client, &bucket, key).await, 200 * MIB);
    }
    let peak = memory(apart.id(), "VmHWM");
    assert!(peak < 80, "{peak} MB");
}

#[allow(clippy::print_stderr)] // the report of a measurement
pub async fn speeds() {
    let dir = TempDir::new().expect("directory");
    let apart = Apart::start(dir.path()).await;
    let (client, bucket) = server_on(apart.port).bucket().await;
    put(&client, &bucket, "warm", "up").await;
    eprintln!("idle: {} MB", memory(apart.id(), "VmRSS"));
    let small = bytes(1, 4096);
    let count = 2000;
    let begun = Instant::now();
    for number in 0..count {
        put(&client, &bucket, &format!("small/{number}"), small.clone()).await;
    }
    eprintln!(
        "PUT 4 KiB: {:.3} ms",
        begun.elapsed().as_secs_f64() * 1e3 / f64::from(count)
    );
    let begun = Instant::now();
    for number in 0..count {
        read(&client, &bucket, &format!("small/{number}")).await;
    }
    eprintln!(
        "GET 4 KiB: {:.3} ms",
        begun.elapsed().as_secs_f64() * 1e3 / f64::from(count)
    );
    let large = bytes::Bytes::from(bytes(2, 256 * MIB));
    for round in 1..=3 {
        let (begun, used) = (Instant::now(), cpu(apart.id()));
        client
            .put_object()
            .bucket(&bucket)
            .key("large")
            .body(ByteStream::from(large.clone()))
            .send()
            .await
            .expect("put");
        let writing = 256.0 / begun.elapsed().as_secs_f64();
        let put_cpu = cpu(apart.id()) - used;
        let (begun, used) = (Instant::now(), cpu(apart.id()));
        assert_eq!(read(&client, &bucket, "large").await, 256 * MIB);
        let reading = 256.0 / begun.elapsed().as_secs_f64();
        let get_cpu = cpu(apart.id()) - used;
        eprintln!(
            "256 MiB, round {round}: PUT {writing:.0} MiB/s, GET {reading:.0} MiB/s; \
             server CPU {put_cpu:.2} s and {get_cpu:.2} s"
        );
    }
    let config = PresigningConfig::expires_in(Duration::from_secs(60)).expect("presigning");
    let request_for = client.put_object().bucket(&bucket).key("unsigned");
    let url = request_for.presigned(config).await.expect("presign");
    let (begun, used) = (Instant::now(), cpu(apart.id()));
    let status = request("PUT", url.uri(), "", &large).await.0;
    assert_eq!(status, 200);
    let writing = 256.0 / begun.elapsed().as_secs_f64();
    let put_cpu = cpu(apart.id()) - used;
    eprintln!("256 MiB, presigned: PUT {writing:.0} MiB/s; server CPU {put_cpu:.2} s");
    let id = create(&client, &bucket, "parts").await;
    let begun = Instant::now();
    let mut parts = Vec::new();
    for (number, chunk) in (1..).zip(large.chunks(16 * MIB)) {
        parts.push(part(&client, &bucket, "parts", &id, number, chunk).await);
    }
    let sent = begun.elapsed().as_secs_f64();
    complete(&client, &bucket, "parts", &id, parts)
        .send()
        .await
        .expect("complete");
    let total = begun.elapsed().as_secs_f64();
    eprintln!(
        "256 MiB in 16 parts: {:.0} MiB/s, completed in {:.3} s",
        256.0 / total,
        total - sent
    );
    let many: usize = std::env::var("REDRILL_TEST_KEYS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(10_000);
    let keys: Vec<String> = (0..many)
        .map(|number| format!("many/{:02}/object-{number:08}.jpg", number % 97))
        .collect();
    let begun = Instant::now();
    fill(&client, &bucket, &keys).await;
    eprintln!(
        "{many} keys put, 8 at a time: {:.3} ms each",
        begun.elapsed().as_secs_f64() * 1e3 / many as f64
    );
    let begun = Instant::now();
    let (mut token, mut listed) = (None, 0);
    loop {
        let request = client.list_objects_v2().bucket(&bucket).prefix("many/");
        let page = request
            .set_continuation_token(token)
            .send()
            .await
            .expect("list");
        listed += page.contents().len();
        token = page.next_continuation_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(listed, many);
    eprintln!("{many} keys listed: {:.3} s", begun.elapsed().as_secs_f64());
    eprintln!(
        "memory: {} MB, peak {} MB",
        memory(apart.id(), "VmRSS"),
        memory(apart.id(), "VmHWM")
    );
    drop(apart);
    for (what, path) in [
        ("full", dir.path().join("s3")),
        ("empty", dir.path().join("new")),
    ] {
        let begun = Instant::now();
        let store = ObjectStore::start(path, ACCESS_KEY, SECRET_KEY).expect("start");
        eprintln!(
            "start, {what}: {:.1} ms",
            begun.elapsed().as_secs_f64() * 1e3
        );
        store.stop().await;
    }
}
