//! Conditional writes.

use aws_sdk_s3::primitives::ByteStream;
use futures::future::join_all;

use crate::multipart::{complete, create, part};
use crate::server::{Server, bytes, get, put, refused};

const FAILED: u16 = 412;

pub async fn a_put_can_be_refused_over_an_object(server: Server) {
    let (client, bucket) = server.bucket().await;
    let create = |body: Vec<u8>| {
        client
            .put_object()
            .bucket(&bucket)
            .key("k")
            .if_none_match("*")
            .body(ByteStream::from(body))
            .send()
    };
    create(b"first".to_vec()).await.expect("nothing is there");
    // Large enough that the answer comes before the body has been read.
    for length in [6, 300_000, 3_000_000] {
        assert_eq!(refused(create(bytes(1, length)).await).0, FAILED);
    }
    assert_eq!(get(&client, &bucket, "k").await, b"first");
    client
        .delete_object()
        .bucket(&bucket)
        .key("k")
        .send()
        .await
        .expect("delete");
    create(b"second".to_vec())
        .await
        .expect("nothing is there again");
}

pub async fn one_of_eight_racing_writers_wins(server: Server) {
    let (client, bucket) = server.bucket().await;
    for round in 0..20 {
        let key = format!("race-{round}");
        let writers = (0..8u8).map(|writer| {
            let request = client
                .put_object()
                .bucket(&bucket)
                .key(&key)
                .if_none_match("*")
                .body(ByteStream::from(vec![writer; 20_000]));
            tokio::spawn(request.send())
        });
        let mut winners = Vec::new();
        for (writer, answer) in (0..8u8).zip(join_all(writers).await) {
            match answer.expect("task") {
                Ok(_) => winners.push(writer),
                lost => {
                    let (status, code) = refused(lost);
                    assert!(
                        status == FAILED || (status == 409 && code == "ConditionalRequestConflict"),
                        "{status} {code}"
                    );
                }
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(get(&client, &bucket, &key).await, vec![winners[0]; 20_000]);
    }
}

pub async fn a_swap_needs_the_etag_that_is_there(server: Server) {
    let (client, bucket) = server.bucket().await;
    let first = put(&client, &bucket, "k", "one").await;
    let swap = |etag: &str, body: &'static [u8]| {
        client
            .put_object()
            .bucket(&bucket)
            .key("k")
            .if_match(etag)
            .body(ByteStream::from_static(body))
            .send()
    };
    let second = swap(&first, b"two")
        .await
        .expect("swap")
        .e_tag
        .expect("etag");
    assert_eq!(refused(swap(&first, b"stale").await).0, FAILED);
    swap(&second, b"three").await.expect("swap");
    assert_eq!(get(&client, &bucket, "k").await, b"three");
    client
        .delete_object()
        .bucket(&bucket)
        .key("k")
        .send()
        .await
        .expect("delete");
    assert_eq!(refused(swap(&second, b"nothing there").await).0, 404);
}

pub async fn a_multipart_upload_can_be_completed_only_if_nothing_is_there(server: Server) {
    let (client, bucket) = server.bucket().await;
    let id = create(&client, &bucket, "k").await;
    let parts = vec![part(&client, &bucket, "k", &id, 1, b"part").await];
    put(&client, &bucket, "k", "in the way").await;
    let answer = complete(&client, &bucket, "k", &id, parts.clone())
        .if_none_match("*")
        .send()
        .await;
    assert_eq!(refused(answer).0, FAILED);
    assert_eq!(get(&client, &bucket, "k").await, b"in the way");
    client
        .delete_object()
        .bucket(&bucket)
        .key("k")
        .send()
        .await
        .expect("delete");
    complete(&client, &bucket, "k", &id, parts)
        .if_none_match("*")
        .send()
        .await
        .expect("complete");
    assert_eq!(get(&client, &bucket, "k").await, b"part");
}

pub async fn a_delete_can_depend_on_the_etag(server: Server) {
    let (client, bucket) = server.bucket().await;
    let first = put(&client, &bucket, "k", "one").await;
    let second = put(&client, &bucket, "k", "two").await;
    let answer = client
        .delete_object()
        .bucket(&bucket)
        .key("k")
        .if_match(&first)
        .send()
        .await;
    assert_eq!(refused(answer).0, FAILED);
    assert_eq!(get(&client, &bucket, "k").await, b"two");
    client
        .delete_object()
        .bucket(&bucket)
        .key("k")
        .if_match(&second)
        .send()
        .await
        .expect("delete");
}
