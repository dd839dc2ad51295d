//! Buckets, objects, keys, metadata, copies, deletes, tags.

use std::collections::BTreeSet;

use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{Delete, EncodingType, MetadataDirective, ObjectIdentifier, Tag, Tagging};

use crate::server::{Server, bytes, get, md5, put, refused};

pub async fn an_object_comes_back_as_it_was_put(server: Server) {
    let (client, bucket) = server.bucket().await;
    let body = bytes(1, 70_000);
    let etag = put(&client, &bucket, "key", body.clone()).await;
    assert_eq!(etag, format!("\"{}\"", md5(&body).0));
    assert_eq!(get(&client, &bucket, "key").await, body);
    let head = client
        .head_object()
        .bucket(&bucket)
        .key("key")
        .send()
        .await
        .expect("head");
    assert_eq!(head.content_length, Some(70_000));
    assert_eq!(head.e_tag.as_deref(), Some(etag.as_str()));
    put(&client, &bucket, "key", "other").await;
    assert_eq!(get(&client, &bucket, "key").await, b"other");
    client
        .delete_object()
        .bucket(&bucket)
        .key("key")
        .send()
        .await
        .expect("delete");
    let gone = client.head_object().bucket(&bucket).key("key").send().await;
    assert_eq!(refused(gone).0, 404);
    client
        .delete_object()
        .bucket(&bucket)
        .key("key")
        .send()
        .await
        .expect("delete again");
}

pub async fn an_empty_object_is_an_object(server: Server) {
    let (client, bucket) = server.bucket().await;
    let etag = put(&client, &bucket, "empty", "").await;
    assert_eq!(etag, "\"d41d8cd98f00b204e9800998ecf8427e\"");
    assert!(get(&client, &bucket, "empty").await.is_empty());
}

pub async fn a_wrong_secret_and_an_unknown_key_are_refused(server: Server) {
    let (_, bucket) = server.bucket().await;
    let forger = server.client_with(&server.access_key, "not the secret key at all", false);
    let answer = forger.list_objects_v2().bucket(&bucket).send().await;
    assert_eq!(refused(answer), (403, "SignatureDoesNotMatch".to_owned()));
    let stranger = server.client_with("nobody", &server.secret_key, false);
    let answer = stranger.list_objects_v2().bucket(&bucket).send().await;
    assert_eq!(refused(answer), (403, "InvalidAccessKeyId".to_owned()));
    let answer = forger
        .put_object()
        .bucket(&bucket)
        .key("k")
        .body(ByteStream::from(bytes(2, 300_000)))
        .send()
        .await;
    assert_eq!(refused(answer).0, 403);
}

pub async fn metadata_and_standard_headers_come_back(server: Server) {
    let (client, bucket) = server.bucket().await;
    client
        .put_object()
        .bucket(&bucket)
        .key("described")
        .body(ByteStream::from_static(b"x"))
        .content_type("text/markdown; charset=utf-8")
        .cache_control("max-age=60")
        .content_disposition("attachment; filename=\"a b.txt\"")
        .content_encoding("identity")
        .content_language("de")
        .expires(DateTime::from_secs(1_900_000_000))
        .metadata("taken-at", "2025-01-12T12:00:00Z")
        .metadata("postgres", "15.18 (Debian)")
        .send()
        .await
        .expect("put");
    let head = client
        .head_object()
        .bucket(&bucket)
        .key("described")
        .send()
        .await
        .expect("head");
    assert_eq!(
        head.content_type.as_deref(),
        Some("text/markdown; charset=utf-8")
    );
    assert_eq!(head.cache_control.as_deref(), Some("max-age=60"));
    assert_eq!(
        head.content_disposition.as_deref(),
        Some("attachment; filename=\"a b.txt\"")
    );
    assert_eq!(head.content_encoding.as_deref(), Some("identity"));
    assert_eq!(head.content_language.as_deref(), Some("de"));
    assert_eq!(
        head.expires_string.as_deref(),
        Some("Sun, 17 Mar 2030 17:46:40 GMT")
    );
    let metadata = head.metadata.expect("metadata");
    assert_eq!(metadata["taken-at"], "2025-01-12T12:00:00Z");
    assert_eq!(metadata["postgres"], "15.18 (Debian)");
    assert_eq!(metadata.len(), 2);
    put(&client, &bucket, "plain", "x").await;
    let head = client
        .head_object()
        .bucket(&bucket)
        .key("plain")
        .send()
        .await
        .expect("head");
    assert!(head.metadata.is_none_or(|metadata| metadata.is_empty()));
}

pub async fn a_missing_key_and_a_missing_bucket_are_told_apart(server: Server) {
    let (client, bucket) = server.bucket().await;
    let answer = client.get_object().bucket(&bucket).key("none").send().await;
    assert_eq!(refused(answer), (404, "NoSuchKey".to_owned()));
    let answer = client
        .get_object()
        .bucket("no-such-bucket-here")
        .key("none")
        .send()
        .await;
    assert_eq!(refused(answer), (404, "NoSuchBucket".to_owned()));
    let answer = client
        .head_bucket()
        .bucket("no-such-bucket-here")
        .send()
        .await;
    assert_eq!(refused(answer).0, 404);
}

/// Keys that file systems, URLs and XML each get wrong in their own way.
pub const AWKWARD: &[&str] = &[
    "a",
    "a/",
    "a/b",
    "a//b",
    "/a",
    "//",
    "/",
    "a/b/",
    ".",
    "..",
    "a/../b",
    "./a",
    "plus+plus",
    "plus plus",
    "per%cent",
    "per%25cent",
    "q?uestion",
    "ha#sh",
    "amp&amp;",
    "<tag>",
    "\"quoted\"",
    "'single'",
    "back\\slash",
    "semi;colon",
    "co:lon",
    "eq=ual",
    "com,ma",
    "at@",
    "dollar$",
    "tilde~",
    "star*",
    " leading",
    "trailing ",
    "two  spaces",
    "caf\u{e9}",
    "cafe\u{301}",
    "日本語/キー",
    "🦀",
    "CASE",
    "case",
    "\u{feff}bom",
    "a\u{a0}b",
    "-",
    "--help",
    "~",
    "%",
    "%2F",
    "%00",
    "+",
    "con",
    "nul.txt",
    "\u{ffff}",
    "\u{10ffff}",
];

/// Keys with control characters: they need `encoding-type=url` in listings, as XML cannot carry them.
pub const CONTROL: &[&str] = &[
    "tab\there",
    "line\nfeed",
    "carriage\rreturn",
    "bell\u{7}",
    "escape\u{1b}[0m",
    "\u{1}",
];

pub async fn awkward_keys_are_kept_apart_and_listed(server: Server) {
    let (client, bucket) = server.bucket().await;
    let keys: BTreeSet<&str> = AWKWARD.iter().chain(CONTROL).copied().collect();
    assert_eq!(keys.len(), AWKWARD.len() + CONTROL.len());
    for key in &keys {
        put(&client, &bucket, key, format!("body of {key}")).await;
    }
    for key in &keys {
        let body = get(&client, &bucket, key).await;
        assert_eq!(body, format!("body of {key}").into_bytes(), "{key:?}");
    }
    let page = client
        .list_objects_v2()
        .bucket(&bucket)
        .encoding_type(EncodingType::Url)
        .send()
        .await
        .expect("list");
    let listed: Vec<String> = page
        .contents()
        .iter()
        .map(|object| decode(object.key().expect("key")))
        .collect();
    assert_eq!(listed, keys.iter().copied().collect::<Vec<_>>());
    let (source, target) = ("per%cent", "copy of per%cent+");
    client
        .copy_object()
        .copy_source(format!("{bucket}/{}", encode(source)))
        .bucket(&bucket)
        .key(target)
        .send()
        .await
        .expect("copy");
    assert_eq!(get(&client, &bucket, target).await, b"body of per%cent");
    client
        .delete_object()
        .bucket(&bucket)
        .key("a/")
        .send()
        .await
        .expect("delete");
    assert_eq!(get(&client, &bucket, "a").await, b"body of a");
    assert_eq!(get(&client, &bucket, "a/b").await, b"body of a/b");
}

/// Undoes `encoding-type=url`.
pub fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let pair = [rest.next().expect("digit"), rest.next().expect("digit")];
                hex::decode(pair).expect("hex")[0]
            }
            other => other,
        });
    }
    String::from_utf8(bytes).expect("UTF-8")
}

/// Percent-encodes a key for the copy-source header.
pub fn encode(key: &str) -> String {
    key.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

pub async fn a_key_of_1024_bytes_is_kept_and_a_longer_one_refused(server: Server) {
    let (client, bucket) = server.bucket().await;
    let longest = ["k".repeat(1024), "ü".repeat(512), "segment/".repeat(128)];
    for key in &longest {
        assert_eq!(key.len(), 1024);
        put(&client, &bucket, key, key.as_bytes()).await;
        assert_eq!(get(&client, &bucket, key).await, key.as_bytes());
    }
    let answer = client
        .put_object()
        .bucket(&bucket)
        .key("k".repeat(1025))
        .body(ByteStream::from_static(b"x"))
        .send()
        .await;
    // S3's own name for it, and that of Ceph.
    let (status, code) = refused(answer);
    assert_eq!(status, 400);
    assert!(
        ["KeyTooLongError", "InvalidObjectName"].contains(&code.as_str()),
        "{code}"
    );
    let page = client
        .list_objects_v2()
        .bucket(&bucket)
        .send()
        .await
        .expect("list");
    assert_eq!(page.key_count, Some(3));
}

pub async fn a_copy_keeps_or_replaces_the_metadata(server: Server) {
    let (client, bucket) = server.bucket().await;
    client
        .put_object()
        .bucket(&bucket)
        .key("source")
        .body(ByteStream::from_static(b"copied"))
        .content_type("image/png")
        .metadata("kept", "yes")
        .send()
        .await
        .expect("put");
    let copy = |key: &str| {
        client
            .copy_object()
            .copy_source(format!("{bucket}/source"))
            .bucket(&bucket)
            .key(key)
    };
    let copied = copy("kept").send().await.expect("copy");
    let etag = copied
        .copy_object_result
        .and_then(|result| result.e_tag)
        .expect("etag");
    assert_eq!(etag.trim_matches('"'), md5(b"copied").0);
    let head = client
        .head_object()
        .bucket(&bucket)
        .key("kept")
        .send()
        .await
        .expect("head");
    assert_eq!(head.content_type.as_deref(), Some("image/png"));
    assert_eq!(head.metadata.expect("metadata")["kept"], "yes");
    copy("replaced")
        .metadata_directive(MetadataDirective::Replace)
        .content_type("text/plain")
        .metadata("new", "yes")
        .send()
        .await
        .expect("copy");
    let head = client
        .head_object()
        .bucket(&bucket)
        .key("replaced")
        .send()
        .await
        .expect("head");
    assert_eq!(head.content_type.as_deref(), Some("text/plain"));
    let metadata = head.metadata.expect("metadata");
    assert_eq!(metadata["new"], "yes");
    assert_eq!(metadata.len(), 1);
    assert_eq!(get(&client, &bucket, "replaced").await, b"copied");
    assert_eq!(
        refused(copy("source").send().await),
        (400, "InvalidRequest".to_owned())
    );
}

pub async fn a_batch_delete_deletes_what_is_there_and_what_is_not(server: Server) {
    let (client, bucket) = server.bucket().await;
    let keys = [
        "one",
        "two & <three>",
        "plus+",
        "日本",
        " leading",
        "trailing ",
        "line\nfeed",
        "return\r",
        "never there",
    ];
    for key in &keys[..keys.len() - 1] {
        put(&client, &bucket, key, "x").await;
    }
    put(&client, &bucket, "stays", "x").await;
    let objects = keys.map(|key| ObjectIdentifier::builder().key(key).build().expect("key"));
    let batch = Delete::builder()
        .set_objects(Some(objects.to_vec()))
        .build()
        .expect("batch");
    let answer = client
        .delete_objects()
        .bucket(&bucket)
        .delete(batch)
        .send()
        .await
        .expect("delete");
    assert!(answer.errors().is_empty(), "{:?}", answer.errors());
    assert_eq!(answer.deleted().len(), keys.len());
    let page = client
        .list_objects_v2()
        .bucket(&bucket)
        .send()
        .await
        .expect("list");
    let left: Vec<_> = page
        .contents()
        .iter()
        .filter_map(|object| object.key())
        .collect();
    assert_eq!(left, ["stays"]);
}

pub async fn buckets_are_created_listed_and_deleted_only_when_empty(server: Server) {
    let (client, bucket) = server.bucket().await;
    client
        .head_bucket()
        .bucket(&bucket)
        .send()
        .await
        .expect("head bucket");
    client
        .get_bucket_location()
        .bucket(&bucket)
        .send()
        .await
        .expect("location");
    let listed = client.list_buckets().send().await.expect("list buckets");
    assert!(
        listed
            .buckets()
            .iter()
            .any(|found| found.name() == Some(&bucket))
    );
    // S3 in us-east-1 and Ceph let the owner create a bucket again; elsewhere in S3 it is a conflict.
    match client.create_bucket().bucket(&bucket).send().await {
        Ok(_) => {}
        again => assert_eq!(refused(again), (409, "BucketAlreadyOwnedByYou".to_owned())),
    }
    put(&client, &bucket, "in the way", "x").await;
    let answer = client.delete_bucket().bucket(&bucket).send().await;
    assert_eq!(refused(answer), (409, "BucketNotEmpty".to_owned()));
    client
        .delete_object()
        .bucket(&bucket)
        .key("in the way")
        .send()
        .await
        .expect("delete");
    client
        .delete_bucket()
        .bucket(&bucket)
        .send()
        .await
        .expect("delete bucket");
    assert_eq!(
        refused(client.head_bucket().bucket(&bucket).send().await).0,
        404
    );
    let answer = client.create_bucket().bucket("Not_A_Bucket").send().await;
    assert_eq!(refused(answer).0, 400);
}

pub async fn tags_are_kept_with_the_object(server: Server) {
    let (client, bucket) = server.bucket().await;
    client
        .put_object()
        .bucket(&bucket)
        .key("tagged")
        .body(ByteStream::from_static(b"body"))
        .tagging("kind=dump&note=a%20b%2B")
        .send()
        .await
        .expect("put");
    let tags = client
        .get_object_tagging()
        .bucket(&bucket)
        .key("tagged")
        .send()
        .await
        .expect("tags");
    let mut pairs: Vec<_> = tags
        .tag_set()
        .iter()
        .map(|tag| (tag.key(), tag.value()))
        .collect();
    pairs.sort_unstable();
    assert_eq!(pairs, [("kind", "dump"), ("note", "a b+")]);
    let tag = Tag::builder()
        .key("kind")
        .value("other")
        .build()
        .expect("tag");
    let tagging = Tagging::builder().tag_set(tag).build().expect("tags");
    client
        .put_object_tagging()
        .bucket(&bucket)
        .key("tagged")
        .tagging(tagging)
        .send()
        .await
        .expect("put tags");
    let tags = client
        .get_object_tagging()
        .bucket(&bucket)
        .key("tagged")
        .send()
        .await
        .expect("tags");
    assert_eq!(tags.tag_set().len(), 1);
    assert_eq!(tags.tag_set()[0].value(), "other");
    assert_eq!(get(&client, &bucket, "tagged").await, b"body");
    client
        .delete_object_tagging()
        .bucket(&bucket)
        .key("tagged")
        .send()
        .await
        .expect("delete tags");
    let tags = client
        .get_object_tagging()
        .bucket(&bucket)
        .key("tagged")
        .send()
        .await
        .expect("tags");
    assert!(tags.tag_set().is_empty());
}
