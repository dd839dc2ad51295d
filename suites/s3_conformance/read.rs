//! Ranges and conditional reads.

use std::time::Duration;

use aws_sdk_s3::primitives::DateTime;

use crate::server::{Server, bytes, get, md5, put, refused};

pub async fn ranges_give_the_bytes_asked_for(server: Server) {
    let (client, bucket) = server.bucket().await;
    let body = bytes(30, 3_000_000);
    put(&client, &bucket, "k", body.clone()).await;
    let total = body.len();
    let cases = [
        ("bytes=0-0".to_owned(), 0..1),
        ("bytes=0-99".to_owned(), 0..100),
        ("bytes=1000-2000999".to_owned(), 1000..2_001_000),
        (format!("bytes={}-", total - 5), total - 5..total),
        ("bytes=-7".to_owned(), total - 7..total),
        ("bytes=2999990-99999999".to_owned(), 2_999_990..total),
        ("bytes=-99999999".to_owned(), 0..total),
    ];
    for (range, expected) in cases {
        let answer = client
            .get_object()
            .bucket(&bucket)
            .key("k")
            .range(&range)
            .send()
            .await
            .expect("get");
        let shown = format!("bytes {}-{}/{total}", expected.start, expected.end - 1);
        assert_eq!(
            answer.content_range.as_deref(),
            Some(shown.as_str()),
            "{range}"
        );
        assert_eq!(
            answer.content_length,
            Some(expected.len() as i64),
            "{range}"
        );
        let got = answer.body.collect().await.expect("body").to_vec();
        assert!(got == body[expected], "{range}: the bytes differ");
    }
}

pub async fn an_unsatisfiable_range_is_refused(server: Server) {
    let (client, bucket) = server.bucket().await;
    put(&client, &bucket, "k", "0123456789").await;
    put(&client, &bucket, "empty", "").await;
    for (key, range) in [
        ("k", "bytes=10-"),
        ("k", "bytes=10-20"),
        ("empty", "bytes=0-0"),
    ] {
        let answer = client
            .get_object()
            .bucket(&bucket)
            .key(key)
            .range(range)
            .send()
            .await;
        assert_eq!(
            refused(answer),
            (416, "InvalidRange".to_owned()),
            "{key} {range}"
        );
    }
}

pub async fn a_conditional_read_is_not_modified_or_fails(server: Server) {
    let (client, bucket) = server.bucket().await;
    let etag = put(&client, &bucket, "k", "body").await;
    let head = client
        .head_object()
        .bucket(&bucket)
        .key("k")
        .send()
        .await
        .expect("head");
    let modified = head.last_modified.expect("last modified");
    let later = DateTime::from_secs(modified.secs() + 3600);
    let earlier = DateTime::from_secs(modified.secs() - 3600);
    let request = || client.get_object().bucket(&bucket).key("k");
    request().if_match(&etag).send().await.expect("matches");
    request()
        .if_none_match("\"other\"")
        .send()
        .await
        .expect("differs");
    request()
        .if_modified_since(earlier)
        .send()
        .await
        .expect("modified");
    request()
        .if_unmodified_since(later)
        .send()
        .await
        .expect("not modified");
    assert_eq!(refused(request().if_none_match(&etag).send().await).0, 304);
    assert_eq!(
        refused(request().if_modified_since(modified).send().await).0,
        304
    );
    let failed = (412, "PreconditionFailed".to_owned());
    let other = format!("\"{}\"", md5(b"other").0);
    assert_eq!(refused(request().if_match(other).send().await), failed);
    assert_eq!(
        refused(request().if_unmodified_since(earlier).send().await),
        failed
    );
    let head = client
        .head_object()
        .bucket(&bucket)
        .key("k")
        .if_none_match(&etag)
        .send()
        .await;
    assert_eq!(refused(head).0, 304);
    let now = std::time::SystemTime::now();
    let age = now
        .duration_since(std::time::UNIX_EPOCH)
        .expect("clock")
        .as_secs() as i64
        - modified.secs();
    assert!(age.abs() < Duration::from_secs(60).as_secs() as i64);
}

pub async fn a_large_object_comes_back_whole(server: Server) {
    let (client, bucket) = server.bucket().await;
    let body = bytes(31, 40 << 20);
    let etag = put(&client, &bucket, "large", body.clone()).await;
    assert_eq!(etag.trim_matches('"'), md5(&body).0);
    assert!(
        get(&client, &bucket, "large").await == body,
        "the bytes differ"
    );
}
