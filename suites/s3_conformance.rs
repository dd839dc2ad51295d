//! One set of cases that every S3 server redrill works with has to pass, driven through the AWS SDK.
//!
//! Each case is tried on the embedded store, and on Ceph's RADOS gateway where a container engine answers and the image
//! is here; what the gateway is known not to do stands in [`gateway::KNOWN_GAPS`]. What only an embedded store can be
//! put through (restarts, kill -9) is in `durability`.

#[path = "s3_conformance/basic.rs"]
mod basic;
#[path = "s3_conformance/checksums.rs"]
mod checksums;
#[path = "s3_conformance/conditional.rs"]
mod conditional;
#[path = "s3_conformance/durability.rs"]
mod durability;
#[path = "s3_conformance/gateway.rs"]
mod gateway;
#[path = "s3_conformance/http.rs"]
mod http;
#[path = "s3_conformance/listing.rs"]
mod listing;
#[path = "s3_conformance/measure.rs"]
mod measure;
mod mounts;
#[path = "s3_conformance/multipart.rs"]
mod multipart;
#[path = "s3_conformance/read.rs"]
mod read;
#[path = "s3_conformance/server.rs"]
mod server;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use futures::future::{BoxFuture, LocalBoxFuture};
use gateway::Gateway;
use libtest_mimic::{Arguments, Completion, Trial};
use server::{Embedded, Server};
use tokio::runtime::Runtime;

/// A case: what it does with a server.
type Case = fn(Server) -> BoxFuture<'static, ()>;
/// A test of the embedded store alone.
type Alone = fn() -> LocalBoxFuture<'static, ()>;

/// Declares the cases: module, name, and the case itself.
macro_rules! cases {
    ($($module:ident: $($case:ident),+;)+) => {
        const CASES: &[(&str, &str, Case)] = &[$($((
            stringify!($module),
            stringify!($case),
            |server| Box::pin($module::$case(server)),
        )),+),+];
    };
}

/// Declares what only the embedded store is put through.
macro_rules! alone {
    ($($module:ident: $($test:ident),+;)+) => {
        const ALONE: &[(&str, Alone)] = &[$($((
            concat!(stringify!($module), "::", stringify!($test)),
            || Box::pin($module::$test()),
        )),+),+];
    };
}

cases! {
    basic:
        an_object_comes_back_as_it_was_put,
        an_empty_object_is_an_object,
        a_wrong_secret_and_an_unknown_key_are_refused,
        metadata_and_standard_headers_come_back,
        a_missing_key_and_a_missing_bucket_are_told_apart,
        awkward_keys_are_kept_apart_and_listed,
        a_key_of_1024_bytes_is_kept_and_a_longer_one_refused,
        a_copy_keeps_or_replaces_the_metadata,
        a_batch_delete_deletes_what_is_there_and_what_is_not,
        buckets_are_created_listed_and_deleted_only_when_empty,
        tags_are_kept_with_the_object;
    checksums:
        a_wrong_content_md5_is_refused,
        a_checksum_is_stored_and_echoed,
        a_wrong_checksum_is_refused,
        a_checksum_in_a_trailer_is_verified_and_echoed,
        a_multipart_checksum_covers_all_parts;
    multipart:
        parts_become_one_object,
        an_aborted_upload_is_gone,
        completing_an_aborted_upload_names_the_reason,
        completing_answers_the_etag_of_the_object,
        a_wrong_part_etag_is_refused,
        a_short_middle_part_is_refused,
        parts_out_of_order_are_refused,
        a_part_can_be_copied_from_a_range,
        a_part_can_be_read_by_its_number,
        uploads_and_parts_are_listed_in_pages,
        uploads_are_grouped_by_a_delimiter;
    listing:
        two_thousand_five_hundred_keys_come_in_sorted_pages,
        v1_pages_by_marker,
        a_delimiter_groups_and_pages_count_groups,
        start_after_begins_behind_the_key;
    http:
        presigned_urls_let_in_who_holds_them,
        expired_tampered_and_unsigned_urls_are_refused,
        a_refused_upload_is_answered_every_time;
    read:
        ranges_give_the_bytes_asked_for,
        an_unsatisfiable_range_is_refused,
        a_conditional_read_is_not_modified_or_fails,
        a_large_object_comes_back_whole;
    conditional:
        a_put_can_be_refused_over_an_object,
        one_of_eight_racing_writers_wins,
        a_swap_needs_the_etag_that_is_there,
        a_multipart_upload_can_be_completed_only_if_nothing_is_there,
        a_delete_can_depend_on_the_etag;
}

alone! {
    durability:
        everything_is_there_after_a_stop_and_a_start,
        a_directory_is_served_by_one_store_at_a_time,
        a_dropped_store_answers_no_more,
        the_next_store_can_have_the_same_port,
        an_upload_that_breaks_off_leaves_nothing,
        a_disk_that_was_full_for_a_moment_leaves_the_bucket_as_it_was,
        nothing_acknowledged_is_lost_or_torn_by_kill_9;
    http:
        a_body_that_is_not_what_its_hash_says_is_refused;
    measure:
        large_bodies_do_not_stay_in_memory;
}

/// What a test lacks here.
fn lacks(name: &str) -> Option<String> {
    let place = tempfile::tempdir().expect("directory");
    let small_disk = || mounts::Mounted::new(place.path(), "size=64k").err();
    name.contains("a_disk").then(small_disk).flatten()
}

fn main() -> ExitCode {
    if let Some(dir) = std::env::var_os(durability::APART) {
        runtime().block_on(durability::serve(Path::new(&dir)));
    }
    let gateway = Arc::new(Gateway::default());
    let mut trials = vec![
        Trial::test("every_known_gap_of_the_gateway_names_a_case", || {
            every_known_gap_names_a_case();
            Ok(())
        }),
        Trial::test("measure::speeds", || {
            runtime().block_on(measure::speeds());
            Ok(())
        })
        .with_ignored_flag(true)
        .with_kind("prints measurements"),
    ];
    for (name, test) in ALONE {
        trials.push(Trial::ignorable_test(*name, || {
            match lacks(name) {
                Some(why) if std::env::var_os("REDRILL_REQUIRE_SERVICES").is_some() => {
                    return Err(why.into());
                }
                Some(why) => return Ok(Completion::ignored_with(why)),
                None => runtime().block_on(test()),
            }
            Ok(Completion::Completed)
        }));
    }
    for (module, name, case) in CASES {
        trials.push(Trial::test(format!("embedded::{module}::{name}"), || {
            runtime().block_on(on_embedded(*case));
            Ok(())
        }));
        let gateway = gateway.clone();
        trials.push(Trial::ignorable_test(
            format!("gateway::{module}::{name}"),
            move || gateway.tries(name, *case),
        ));
    }
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    if let Some(gateway) = Arc::into_inner(gateway) {
        gateway.remove().expect("the gateway is removed");
    }
    conclusion.exit_code()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

async fn on_embedded(case: Case) {
    let embedded = Embedded::start();
    case(embedded.server()).await;
    embedded.stop().await;
}

fn every_known_gap_names_a_case() {
    for (gap, _) in gateway::KNOWN_GAPS.iter().chain(gateway::UNSTEADY) {
        assert!(CASES.iter().any(|(_, name, _)| name == gap), "{gap}");
    }
}
