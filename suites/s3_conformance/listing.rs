//! Listings.

use aws_sdk_s3::Client;
use futures::{StreamExt, stream};

use crate::server::{Server, put};

/// Puts many small objects, a few at a time.
pub async fn fill(client: &Client, bucket: &str, keys: &[String]) {
    stream::iter(keys)
        .for_each_concurrent(8, |key| async move {
            put(client, bucket, key, key.as_bytes()).await;
        })
        .await;
}

pub async fn two_thousand_five_hundred_keys_come_in_sorted_pages(server: Server) {
    let (client, bucket) = server.bucket().await;
    // Not in the order in which they are put, and with keys that sort differently as text and as bytes.
    let names = ["media/Ä", "media/z", "media/+", "media/ ", "media/a/b"];
    let mut keys: Vec<String> = (0..2500)
        .map(|number| {
            format!(
                "{}{:04}",
                names[number % names.len()],
                (number * 7919) % 2500
            )
        })
        .collect();
    fill(&client, &bucket, &keys).await;
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 2500);
    let (mut listed, mut token, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = client
            .list_objects_v2()
            .bucket(&bucket)
            .set_continuation_token(token)
            .send()
            .await
            .expect("list");
        assert!(page.contents().len() <= 1000);
        assert_eq!(page.key_count, Some(page.contents().len() as i32));
        listed.extend(
            page.contents()
                .iter()
                .filter_map(|object| object.key().map(str::to_owned)),
        );
        pages += 1;
        token = page.next_continuation_token;
        if page.is_truncated != Some(true) {
            break;
        }
    }
    assert_eq!(listed, keys);
    assert_eq!(pages, 3);
}

pub async fn v1_pages_by_marker(server: Server) {
    let (client, bucket) = server.bucket().await;
    let keys: Vec<String> = (0..25).map(|number| format!("k{number:02}")).collect();
    fill(&client, &bucket, &keys).await;
    let (mut listed, mut marker) = (Vec::<String>::new(), None);
    loop {
        let page = client
            .list_objects()
            .bucket(&bucket)
            .max_keys(7)
            .set_marker(marker)
            .send()
            .await
            .expect("list");
        assert!(page.contents().len() <= 7);
        listed.extend(
            page.contents()
                .iter()
                .filter_map(|object| object.key().map(str::to_owned)),
        );
        if page.is_truncated != Some(true) {
            break;
        }
        marker = page.next_marker.or_else(|| listed.last().cloned());
    }
    assert_eq!(listed, keys);
    // Groups too must come exactly once when paged by V1 markers.
    let (mut groups, mut marker) = (Vec::new(), None);
    fill(
        &client,
        &bucket,
        &["d1/a", "d1/b", "d2/a", "d2/b"].map(str::to_owned),
    )
    .await;
    loop {
        let page = client
            .list_objects()
            .bucket(&bucket)
            .prefix("d")
            .delimiter("/")
            .max_keys(1)
            .set_marker(marker)
            .send()
            .await
            .expect("list");
        groups.extend(
            page.common_prefixes()
                .iter()
                .filter_map(|group| group.prefix().map(str::to_owned)),
        );
        if page.is_truncated != Some(true) {
            break;
        }
        marker = page.next_marker;
    }
    assert_eq!(groups, ["d1/", "d2/"]);
}

pub async fn a_delimiter_groups_and_pages_count_groups(server: Server) {
    let (client, bucket) = server.bucket().await;
    let keys = ["a", "b/1", "b/2", "b/c/3", "c+d/4", "e%/5", "f"].map(str::to_owned);
    fill(&client, &bucket, &keys).await;
    let (mut found, mut token) = (Vec::new(), None);
    loop {
        let page = client
            .list_objects_v2()
            .bucket(&bucket)
            .delimiter("/")
            .max_keys(2)
            .set_continuation_token(token)
            .send()
            .await
            .expect("list");
        assert!(page.contents().len() + page.common_prefixes().len() <= 2);
        found.extend(
            page.contents()
                .iter()
                .filter_map(|object| object.key().map(str::to_owned)),
        );
        found.extend(
            page.common_prefixes()
                .iter()
                .filter_map(|group| group.prefix().map(str::to_owned)),
        );
        token = page.next_continuation_token;
        if page.is_truncated != Some(true) {
            break;
        }
    }
    found.sort();
    assert_eq!(found, ["a", "b/", "c+d/", "e%/", "f"]);
    let page = client
        .list_objects_v2()
        .bucket(&bucket)
        .prefix("b/")
        .delimiter("/")
        .send()
        .await
        .expect("list");
    assert_eq!(page.contents().len(), 2);
    assert_eq!(page.common_prefixes().len(), 1);
    assert_eq!(page.common_prefixes()[0].prefix(), Some("b/c/"));
    let none = client
        .list_objects_v2()
        .bucket(&bucket)
        .prefix("zzz")
        .send()
        .await
        .expect("list");
    assert!(none.contents().is_empty());
    assert_eq!(none.is_truncated, Some(false));
}

pub async fn start_after_begins_behind_the_key(server: Server) {
    let (client, bucket) = server.bucket().await;
    fill(&client, &bucket, &["a", "b", "c", "d"].map(str::to_owned)).await;
    let list = || client.list_objects_v2().bucket(&bucket);
    let page = list()
        .start_after("b")
        .max_keys(1)
        .send()
        .await
        .expect("list");
    assert_eq!(page.contents()[0].key(), Some("c"));
    assert_eq!(page.is_truncated, Some(true));
    let page = list()
        .start_after("b")
        .set_continuation_token(page.next_continuation_token)
        .send()
        .await
        .expect("list");
    assert_eq!(page.contents().len(), 1);
    assert_eq!(page.contents()[0].key(), Some("d"));
    let page = list().start_after("bb").send().await.expect("list");
    assert_eq!(page.contents().len(), 2);
}
