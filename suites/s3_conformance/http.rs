//! What is checked on the wire rather than through the SDK: presigned URLs, and answers to refused uploads.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::presigning::PresigningConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{Server, bytes, get, put};

const DEADLINE: Duration = Duration::from_secs(20);

/// One request on a connection of its own: status and body of the answer.
pub async fn request(method: &str, url: &str, headers: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let exchange = async {
        let (mut stream, path, host) = connect(url).await;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("send head");
        stream.write_all(body).await.expect("send body");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("read answer");
        let split = answer
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .expect("head");
        let status = String::from_utf8_lossy(&answer[9..12])
            .parse()
            .expect("status");
        (status, answer[split + 4..].to_vec())
    };
    tokio::time::timeout(DEADLINE, exchange)
        .await
        .expect("answered in time")
}

/// A connection to the server of an URL, the URL's path with its query, and the host.
pub async fn connect(url: &str) -> (TcpStream, String, String) {
    let rest = url.strip_prefix("http://").expect("plain http");
    let (host, path) = rest.split_once('/').expect("path");
    let stream = TcpStream::connect(host).await.expect("connect");
    (stream, format!("/{path}"), host.to_owned())
}

fn valid_for(seconds: u64, since: SystemTime) -> PresigningConfig {
    PresigningConfig::builder()
        .expires_in(Duration::from_secs(seconds))
        .start_time(since)
        .build()
        .expect("presigning")
}

pub async fn presigned_urls_let_in_who_holds_them(server: Server) {
    let (client, bucket) = server.bucket().await;
    let key = "with space + plus/ü%";
    let soon = || valid_for(60, SystemTime::now());
    let upload = client
        .put_object()
        .bucket(&bucket)
        .key(key)
        .presigned(soon())
        .await
        .expect("presign");
    let body = bytes(1, 100_000);
    assert_eq!(request("PUT", upload.uri(), "", &body).await.0, 200);
    assert_eq!(get(&client, &bucket, key).await, body);
    let download = client
        .get_object()
        .bucket(&bucket)
        .key(key)
        .presigned(soon())
        .await
        .expect("presign");
    assert_eq!(
        request("GET", download.uri(), "", b"").await,
        (200, body.clone())
    );
    let (status, part) = request("GET", download.uri(), "Range: bytes=5-9\r\n", b"").await;
    assert_eq!((status, part.as_slice()), (206, &body[5..10]));
}

pub async fn expired_tampered_and_unsigned_urls_are_refused(server: Server) {
    let (client, bucket) = server.bucket().await;
    put(&client, &bucket, "k", "body").await;
    put(&client, &bucket, "other", "body").await;
    let request_for = |config| {
        client
            .get_object()
            .bucket(&bucket)
            .key("k")
            .presigned(config)
    };
    let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let expired = request_for(valid_for(60, an_hour_ago))
        .await
        .expect("presign");
    assert_eq!(request("GET", expired.uri(), "", b"").await.0, 403);
    let valid = request_for(valid_for(60, SystemTime::now()))
        .await
        .expect("presign");
    assert_eq!(request("GET", valid.uri(), "", b"").await.0, 200);
    let tampered = valid.uri().replace("/k?", "/other?");
    assert_ne!(tampered, valid.uri());
    assert_eq!(request("GET", &tampered, "", b"").await.0, 403);
    assert_eq!(
        request("PUT", valid.uri(), "", b"x").await.0,
        403,
        "signed for GET"
    );
    let unsigned = valid.uri().split_once('?').expect("query").0;
    assert_eq!(request("GET", unsigned, "", b"").await.0, 403);
}

pub async fn a_refused_upload_is_answered_every_time(server: Server) {
    let (_, bucket) = server.bucket().await;
    let url = format!("{}/{bucket}/k", server.endpoint);
    let body = bytes(2, 2_000_000);
    for _ in 0..50 {
        assert_eq!(request("PUT", &url, "", &body).await.0, 403);
    }
}

pub async fn a_body_that_is_not_what_its_hash_says_is_refused() {
    let embedded = crate::server::Embedded::start();
    let (client, bucket) = embedded.server().bucket().await;
    put(&client, &bucket, "k", "before").await;
    let config = valid_for(60, SystemTime::now());
    let url = client
        .put_object()
        .bucket(&bucket)
        .key("k")
        .presigned(config)
        .await
        .expect("presign");
    let header = format!("x-amz-content-sha256: {}\r\n", "0".repeat(64));
    let (status, answer) = request("PUT", url.uri(), &header, &bytes(3, 2_000_000)).await;
    assert_eq!(status, 400);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("XAmzContentSHA256Mismatch"), "{answer}");
    assert_eq!(get(&client, &bucket, "k").await, b"before");
    embedded.stop().await;
}
