//! Multipart uploads.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use s3s::crypto::{Checksum as _, Md5};

use crate::server::{Server, bytes, get, put, refused};

pub const MIB: usize = 1 << 20;

pub async fn create(client: &Client, bucket: &str, key: &str) -> String {
    let upload = client
        .create_multipart_upload()
        .bucket(bucket)
        .key(key)
        .content_type("application/x-dump")
        .metadata("taken-at", "noon")
        .send()
        .await
        .expect("create");
    upload.upload_id.expect("id")
}

pub async fn part(
    client: &Client,
    bucket: &str,
    key: &str,
    id: &str,
    number: i32,
    body: &[u8],
) -> CompletedPart {
    let answer = client
        .upload_part()
        .bucket(bucket)
        .key(key)
        .upload_id(id)
        .part_number(number)
        .body(ByteStream::from(body.to_vec()))
        .send()
        .await
        .expect("part");
    CompletedPart::builder()
        .part_number(number)
        .set_e_tag(answer.e_tag)
        .build()
}

pub fn complete(
    client: &Client,
    bucket: &str,
    key: &str,
    id: &str,
    parts: Vec<CompletedPart>,
) -> aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder
{
    let parts = CompletedMultipartUpload::builder()
        .set_parts(Some(parts))
        .build();
    client
        .complete_multipart_upload()
        .bucket(bucket)
        .key(key)
        .upload_id(id)
        .multipart_upload(parts)
}

pub async fn parts_become_one_object(server: Server) {
    let (client, bucket) = server.bucket().await;
    let body = bytes(10, 12 * MIB + 345);
    let id = create(&client, &bucket, "big").await;
    let mut parts = Vec::new();
    let mut digests = Vec::new();
    // Sent backwards and one of them twice: order and repetition must not matter.
    for (number, chunk) in (1..)
        .zip(body.chunks(5 * MIB))
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        part(&client, &bucket, "big", &id, number, b"overwritten").await;
        parts.insert(0, part(&client, &bucket, "big", &id, number, chunk).await);
        digests.splice(0..0, Md5::checksum(chunk));
    }
    let listed = client
        .list_parts()
        .bucket(&bucket)
        .key("big")
        .upload_id(&id)
        .send()
        .await
        .expect("parts");
    let sizes: Vec<_> = listed
        .parts()
        .iter()
        .filter_map(|part| part.size())
        .collect();
    assert_eq!(
        sizes,
        [5 * MIB as i64, 5 * MIB as i64, 2 * MIB as i64 + 345]
    );
    let before = client.head_object().bucket(&bucket).key("big").send().await;
    assert_eq!(refused(before).0, 404, "not visible before it is complete");
    complete(&client, &bucket, "big", &id, parts)
        .send()
        .await
        .expect("complete");
    let etag = format!("\"{}-3\"", hex::encode(Md5::checksum(&digests)));
    assert!(
        get(&client, &bucket, "big").await == body,
        "the bytes differ"
    );
    let head = client
        .head_object()
        .bucket(&bucket)
        .key("big")
        .send()
        .await
        .expect("head");
    assert_eq!(head.e_tag.as_deref(), Some(etag.as_str()));
    assert_eq!(head.content_type.as_deref(), Some("application/x-dump"));
    assert_eq!(head.metadata.expect("metadata")["taken-at"], "noon");
    let uploads = client
        .list_multipart_uploads()
        .bucket(&bucket)
        .send()
        .await
        .expect("uploads");
    assert!(uploads.uploads().is_empty());
}

pub async fn an_aborted_upload_is_gone(server: Server) {
    let (client, bucket) = server.bucket().await;
    let id = create(&client, &bucket, "aborted").await;
    let done = part(&client, &bucket, "aborted", &id, 1, b"part").await;
    let uploads = client
        .list_multipart_uploads()
        .bucket(&bucket)
        .send()
        .await
        .expect("uploads");
    assert_eq!(uploads.uploads().len(), 1);
    assert_eq!(uploads.uploads()[0].upload_id(), Some(id.as_str()));
    client
        .abort_multipart_upload()
        .bucket(&bucket)
        .key("aborted")
        .upload_id(&id)
        .send()
        .await
        .expect("abort");
    let uploads = client
        .list_multipart_uploads()
        .bucket(&bucket)
        .send()
        .await
        .expect("uploads");
    assert!(uploads.uploads().is_empty());
    let answer = complete(&client, &bucket, "aborted", &id, vec![done])
        .send()
        .await;
    assert!(refused(answer).0 >= 400);
    let head = client
        .head_object()
        .bucket(&bucket)
        .key("aborted")
        .send()
        .await;
    assert_eq!(refused(head).0, 404);
    let answer = client
        .upload_part()
        .bucket(&bucket)
        .key("aborted")
        .upload_id(&id)
        .part_number(1)
        .body(ByteStream::from_static(b"late"))
        .send()
        .await;
    assert_eq!(refused(answer), (404, "NoSuchUpload".to_owned()));
}

pub async fn completing_an_aborted_upload_names_the_reason(server: Server) {
    let (client, bucket) = server.bucket().await;
    let id = create(&client, &bucket, "k").await;
    let done = part(&client, &bucket, "k", &id, 1, b"part").await;
    client
        .abort_multipart_upload()
        .bucket(&bucket)
        .key("k")
        .upload_id(&id)
        .send()
        .await
        .expect("abort");
    let answer = complete(&client, &bucket, "k", &id, vec![done])
        .send()
        .await;
    assert_eq!(refused(answer), (404, "NoSuchUpload".to_owned()));
}

pub async fn completing_answers_the_etag_of_the_object(server: Server) {
    let (client, bucket) = server.bucket().await;
    let id = create(&client, &bucket, "k").await;
    let done = part(&client, &bucket, "k", &id, 1, b"part").await;
    let answer = complete(&client, &bucket, "k", &id, vec![done])
        .send()
        .await
        .expect("complete");
    let head = client
        .head_object()
        .bucket(&bucket)
        .key("k")
        .send()
        .await
        .expect("head");
    assert_eq!(answer.e_tag, head.e_tag);
}

pub async fn a_wrong_part_etag_is_refused(server: Server) {
    let (client, bucket) = server.bucket().await;
    let id = create(&client, &bucket, "k").await;
    part(&client, &bucket, "k", &id, 1, b"part").await;
    let forged = CompletedPart::builder()
        .part_number(1)
        .e_tag("\"00000000000000000000000000000000\"")
        .build();
    let answer = complete(&client, &bucket, "k", &id, vec![forged])
        .send()
        .await;
    assert_eq!(refused(answer), (400, "InvalidPart".to_owned()));
    let missing = CompletedPart::builder()
        .part_number(2)
        .e_tag("\"00000000000000000000000000000000\"")
        .build();
    let answer = complete(&client, &bucket, "k", &id, vec![missing])
        .send()
        .await;
    assert_eq!(refused(answer), (400, "InvalidPart".to_owned()));
}

pub async fn a_short_middle_part_is_refused(server: Server) {
    let (client, bucket) = server.bucket().await;
    let id = create(&client, &bucket, "k").await;
    let parts = vec![
        part(&client, &bucket, "k", &id, 1, &bytes(1, 5 * MIB - 1)).await,
        part(&client, &bucket, "k", &id, 2, b"last").await,
    ];
    let answer = complete(&client, &bucket, "k", &id, parts).send().await;
    assert_eq!(refused(answer), (400, "EntityTooSmall".to_owned()));
}

pub async fn parts_out_of_order_are_refused(server: Server) {
    let (client, bucket) = server.bucket().await;
    let id = create(&client, &bucket, "k").await;
    let parts = vec![
        part(&client, &bucket, "k", &id, 2, &bytes(1, 5 * MIB)).await,
        part(&client, &bucket, "k", &id, 1, &bytes(2, 5 * MIB)).await,
    ];
    let answer = complete(&client, &bucket, "k", &id, parts).send().await;
    assert_eq!(refused(answer), (400, "InvalidPartOrder".to_owned()));
}

pub async fn a_part_can_be_copied_from_a_range(server: Server) {
    let (client, bucket) = server.bucket().await;
    let source = bytes(20, 6 * MIB);
    put(&client, &bucket, "source", source.clone()).await;
    let id = create(&client, &bucket, "joined").await;
    let copied = client
        .upload_part_copy()
        .bucket(&bucket)
        .key("joined")
        .upload_id(&id)
        .part_number(1)
        .copy_source(format!("{bucket}/source"))
        .copy_source_range(format!("bytes=1000-{}", 1000 + 5 * MIB - 1))
        .customize()
        // The SDK sends none with an empty body, and Ceph asks for one.
        .mutate_request(|request| _ = request.headers_mut().insert("content-length", "0"))
        .send()
        .await
        .expect("copy part");
    let etag = copied.copy_part_result.and_then(|result| result.e_tag);
    let first = CompletedPart::builder()
        .part_number(1)
        .set_e_tag(etag)
        .build();
    let second = part(&client, &bucket, "joined", &id, 2, b"the end").await;
    complete(&client, &bucket, "joined", &id, vec![first, second])
        .send()
        .await
        .expect("complete");
    let mut expected = source[1000..1000 + 5 * MIB].to_vec();
    expected.extend_from_slice(b"the end");
    assert!(
        get(&client, &bucket, "joined").await == expected,
        "the bytes differ"
    );
}

pub async fn a_part_can_be_read_by_its_number(server: Server) {
    let (client, bucket) = server.bucket().await;
    let id = create(&client, &bucket, "k").await;
    let parts = vec![
        part(&client, &bucket, "k", &id, 3, &bytes(1, 5 * MIB)).await,
        part(&client, &bucket, "k", &id, 7, b"second").await,
    ];
    complete(&client, &bucket, "k", &id, parts)
        .send()
        .await
        .expect("complete");
    let answer = client
        .get_object()
        .bucket(&bucket)
        .key("k")
        .part_number(2)
        .send()
        .await
        .expect("get");
    assert_eq!(answer.parts_count, Some(2));
    let range = format!("bytes {}-{}/{}", 5 * MIB, 5 * MIB + 5, 5 * MIB + 6);
    assert_eq!(answer.content_range.as_deref(), Some(range.as_str()));
    assert_eq!(
        answer.body.collect().await.expect("body").to_vec(),
        b"second"
    );
    let answer = client
        .get_object()
        .bucket(&bucket)
        .key("k")
        .part_number(3)
        .send()
        .await;
    assert_eq!(refused(answer).0, 416);
}

pub async fn uploads_and_parts_are_listed_in_pages(server: Server) {
    let (client, bucket) = server.bucket().await;
    let mut expected = Vec::new();
    for key in ["b", "a/1", "a/2", "b"] {
        expected.push((key.to_owned(), create(&client, &bucket, key).await));
    }
    expected.sort();
    let (mut found, mut key_marker, mut id_marker) = (Vec::new(), None, None);
    loop {
        let page = client
            .list_multipart_uploads()
            .bucket(&bucket)
            .max_uploads(1)
            .set_key_marker(key_marker)
            .set_upload_id_marker(id_marker)
            .send()
            .await
            .expect("uploads");
        assert!(page.uploads().len() <= 1);
        let pairs = page
            .uploads()
            .iter()
            .filter_map(|upload| Some((upload.key()?, upload.upload_id()?)));
        found.extend(pairs.map(|(key, id)| (key.to_owned(), id.to_owned())));
        if page.is_truncated != Some(true) {
            break;
        }
        (key_marker, id_marker) = (page.next_key_marker, page.next_upload_id_marker);
    }
    found.sort();
    assert_eq!(found, expected);
    let (key, id) = &expected[0];
    for number in 1..=3 {
        part(&client, &bucket, key, id, number, b"x").await;
    }
    let first = client
        .list_parts()
        .bucket(&bucket)
        .key(key)
        .upload_id(id)
        .max_parts(2)
        .send()
        .await
        .expect("parts");
    assert_eq!(first.is_truncated, Some(true));
    let rest = client
        .list_parts()
        .bucket(&bucket)
        .key(key)
        .upload_id(id)
        .set_part_number_marker(first.next_part_number_marker)
        .send()
        .await
        .expect("parts");
    assert_eq!(rest.parts().len(), 1);
    assert_eq!(rest.parts()[0].part_number(), Some(3));
}

pub async fn uploads_are_grouped_by_a_delimiter(server: Server) {
    let (client, bucket) = server.bucket().await;
    for key in ["b", "a/1", "a/2"] {
        create(&client, &bucket, key).await;
    }
    let grouped = client
        .list_multipart_uploads()
        .bucket(&bucket)
        .delimiter("/")
        .send()
        .await
        .expect("uploads");
    assert_eq!(grouped.uploads().len(), 1);
    assert_eq!(grouped.common_prefixes().len(), 1);
    assert_eq!(grouped.common_prefixes()[0].prefix(), Some("a/"));
}
