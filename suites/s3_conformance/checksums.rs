//! Content-MD5, `x-amz-checksum-*` in headers and in trailers, checksums of multipart uploads.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart,
};

use crate::server::{Server, bytes, get, md5, refused};

pub async fn a_wrong_content_md5_is_refused(server: Server) {
    let (client, bucket) = server.bucket().await;
    let put = |md5: String| {
        let body = ByteStream::from_static(b"body");
        client
            .put_object()
            .bucket(&bucket)
            .key("k")
            .body(body)
            .content_md5(md5)
            .send()
    };
    let answer = put(md5(b"other").1).await;
    assert_eq!(refused(answer), (400, "BadDigest".to_owned()));
    assert_eq!(
        refused(put("nonsense".to_owned()).await),
        (400, "InvalidDigest".to_owned())
    );
    let head = client.head_object().bucket(&bucket).key("k").send().await;
    assert_eq!(refused(head).0, 404, "a refused body must not be visible");
    put(md5(b"body").1).await.expect("the right MD5");
}

const ALGORITHMS: [ChecksumAlgorithm; 5] = [
    ChecksumAlgorithm::Crc32,
    ChecksumAlgorithm::Crc32C,
    ChecksumAlgorithm::Crc64Nvme,
    ChecksumAlgorithm::Sha1,
    ChecksumAlgorithm::Sha256,
];

pub async fn a_checksum_is_stored_and_echoed(server: Server) {
    let (_, bucket) = server.bucket().await;
    let client = server.client_with(&server.access_key, &server.secret_key, true);
    for algorithm in ALGORITHMS {
        let put = client
            .put_object()
            .bucket(&bucket)
            .key(algorithm.as_str())
            .body(ByteStream::from_static(b"123456789"))
            .checksum_algorithm(algorithm.clone())
            .send()
            .await
            .expect("put");
        let head = client
            .head_object()
            .bucket(&bucket)
            .key(algorithm.as_str())
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await
            .expect("head");
        // The checksums of "123456789", as published with each algorithm.
        let (answered, stored, expected) = match algorithm {
            ChecksumAlgorithm::Crc32 => (put.checksum_crc32, head.checksum_crc32, "y/Q5Jg=="),
            ChecksumAlgorithm::Crc32C => (put.checksum_crc32_c, head.checksum_crc32_c, "4waSgw=="),
            ChecksumAlgorithm::Crc64Nvme => (
                put.checksum_crc64_nvme,
                head.checksum_crc64_nvme,
                "rosUhgp5mIg=",
            ),
            ChecksumAlgorithm::Sha1 => (
                put.checksum_sha1,
                head.checksum_sha1,
                "98O8HYCOBHMq32eZZczDTKeuNEE=",
            ),
            _ => (
                put.checksum_sha256,
                head.checksum_sha256,
                "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
            ),
        };
        assert_eq!(answered.as_deref(), Some(expected), "{algorithm}");
        assert_eq!(stored.as_deref(), Some(expected), "{algorithm}");
        assert_eq!(
            head.checksum_type,
            Some(ChecksumType::FullObject),
            "{algorithm}"
        );
    }
}

pub async fn a_wrong_checksum_is_refused(server: Server) {
    let (client, bucket) = server.bucket().await;
    let wrong = "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=";
    let answer = client
        .put_object()
        .bucket(&bucket)
        .key("k")
        .body(ByteStream::from_static(b"not 123456789"))
        .checksum_sha256(wrong)
        .send()
        .await;
    assert_eq!(refused(answer), (400, "BadDigest".to_owned()));
    let head = client.head_object().bucket(&bucket).key("k").send().await;
    assert_eq!(refused(head).0, 404);
}

pub async fn a_checksum_in_a_trailer_is_verified_and_echoed(server: Server) {
    let (_, bucket) = server.bucket().await;
    let client = server.client_with(&server.access_key, &server.secret_key, true);
    for length in [0, 1, 65_536, 3_000_000] {
        let body = bytes(length as u64, length);
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), &body).expect("write");
        let stream = ByteStream::from_path(file.path()).await.expect("stream");
        client
            .put_object()
            .bucket(&bucket)
            .key("k")
            .body(stream)
            .send()
            .await
            .expect("put");
        let head = client
            .head_object()
            .bucket(&bucket)
            .key("k")
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await
            .expect("head");
        assert_eq!(head.content_length, Some(length as i64));
        assert!(head.checksum_crc32.is_some());
        assert!(
            head.content_encoding.is_none(),
            "{:?}",
            head.content_encoding
        );
        assert_eq!(get(&client, &bucket, "k").await, body);
    }
}

pub async fn a_multipart_checksum_covers_all_parts(server: Server) {
    let (client, bucket) = server.bucket().await;
    let body = bytes(3, 6 << 20);
    let kinds = [
        (ChecksumAlgorithm::Sha256, ChecksumType::Composite),
        (ChecksumAlgorithm::Crc64Nvme, ChecksumType::FullObject),
    ];
    for (algorithm, kind) in kinds {
        let upload = client
            .create_multipart_upload()
            .bucket(&bucket)
            .key("k")
            .checksum_algorithm(algorithm.clone())
            .checksum_type(kind.clone())
            .send()
            .await
            .expect("create");
        let id = upload.upload_id.expect("id");
        let mut completed = CompletedMultipartUpload::builder();
        for (number, part) in (1..).zip(body.chunks(5 << 20)) {
            let answer = client
                .upload_part()
                .bucket(&bucket)
                .key("k")
                .upload_id(&id)
                .part_number(number)
                .checksum_algorithm(algorithm.clone())
                .body(ByteStream::from(part.to_vec()))
                .send()
                .await
                .expect("part");
            let part = CompletedPart::builder()
                .part_number(number)
                .set_e_tag(answer.e_tag)
                .set_checksum_sha256(answer.checksum_sha256)
                .set_checksum_crc64_nvme(answer.checksum_crc64_nvme);
            completed = completed.parts(part.build());
        }
        let done = client
            .complete_multipart_upload()
            .bucket(&bucket)
            .key("k")
            .upload_id(&id)
            .checksum_type(kind.clone())
            .multipart_upload(completed.build())
            .send()
            .await
            .expect("complete");
        assert_eq!(done.checksum_type, Some(kind.clone()));
        if kind == ChecksumType::Composite {
            assert!(done.checksum_sha256.expect("checksum").ends_with("-2"));
        } else {
            use base64::Engine as _;
            use s3s::crypto::{Checksum as _, Crc64Nvme};
            let whole =
                base64::engine::general_purpose::STANDARD.encode(Crc64Nvme::checksum(&body));
            assert_eq!(done.checksum_crc64_nvme, Some(whole));
        }
    }
}
