//! One change each, on a seeded server; the healthy twin of every case is the same server read twice before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use redrill::evidence::Observation;
use redrill::pipeline::redis::RedisRdb;
use redrill::provision::containers::Containers;
use redrill::provision::{Provisioner as _, Wanted};
use redrill::service::redis::RedisService;
use redrill::service::redis::client::{Client, Reply};
use redrill::service::{Running, Service as _};
use redrill::suite::Engine;

use crate::world::{World, differences, told};

/// Makes the change, and says which parts of the observation differ then.
async fn seen(changes: &[(u32, &str)]) -> Vec<String> {
    let world = World::new();
    let source = world.seeded("source", 600, &[]).await;
    let before = source.observe(&world).await;
    let twin = source.observe(&world).await;
    assert_eq!(differences(&before, &twin), Vec::<String>::new());
    assert_eq!(before.unreadable, Default::default());
    for (database, line) in changes {
        source.run(&world, *database, line).await;
    }
    differences(&before, &source.observe(&world).await)
}

/// A change, by database and command line, and the parts of the observation that then differ.
pub struct Case {
    pub name: &'static str,
    changes: &'static [(u32, &'static str)],
    parts: &'static [&'static str],
}

impl Case {
    pub async fn is_seen(&self) {
        assert_eq!(seen(self.changes).await, self.parts);
    }
}

macro_rules! cases {
    ($($name:ident: [$(($database:literal, $line:literal)),+] => [$($part:literal),*];)+) => {
        pub const CASES: &[Case] = &[$(Case {
            name: concat!("changes::", stringify!($name)),
            changes: &[$(($database, $line)),+],
            parts: &[$($part),*],
        }),+];
    };
}

cases! {
    a_changed_value_is_seen: [(0, "SET odd:integer:not 7")] => ["db0 string"];
    a_changed_byte_of_a_large_value_is_seen: [(0, "SETRANGE odd:large 1048570 x")] => ["db0 string"];
    a_missing_key_is_seen: [(0, "DEL odd:list:long")] => ["db0 list"];
    a_key_that_moved_to_another_database_is_seen: [(0, "MOVE odd:empty 2")] => ["db0 string", "db2 string"];
    a_key_in_a_database_that_had_none_is_seen: [(0, "MOVE odd:empty 9")] => ["db0 string", "db9 string"];
    values_that_changed_places_between_databases_are_seen:
        [(1, "SET odd:same-name 2"), (2, "SET odd:same-name 1")] => ["db1 string", "db2 string"];
    a_renamed_key_is_seen: [(0, "RENAME odd:empty odd:blank")] => ["db0 string"];
    a_changed_type_is_seen: [(0, "DEL odd:empty"), (0, "SADD odd:empty a")] => ["db0 set", "db0 string"];
    the_order_of_a_small_list_is_seen: [(0, "LMOVE odd:list:small odd:list:small LEFT RIGHT")] => ["db0 list"];
    the_order_of_a_long_list_is_seen: [(0, "LMOVE odd:list:long odd:list:long LEFT RIGHT")] => ["db0 list"];
    a_member_of_a_large_set_is_seen: [(0, "SPOP odd:set:large")] => ["db0 set"];
    a_member_of_a_set_of_numbers_is_seen: [(0, "SADD odd:set:integers 5")] => ["db0 set"];
    a_changed_field_of_a_small_hash_is_seen: [(0, "HSET odd:hash:small b 1")] => ["db0 hash"];
    a_changed_field_of_a_large_hash_is_seen: [(0, "HSET odd:hash:large field:9:999 x")] => ["db0 hash"];
    a_lost_field_of_a_hash_is_seen: [(0, "HDEL odd:hash:wide picture"), (0, "HSET odd:hash:wide other 1")] => ["db0 hash"];
    a_score_of_a_small_sorted_set_is_seen: [(0, "ZINCRBY odd:zset:small 1e-9 tenth")] => ["db0 zset"];
    a_score_of_a_large_sorted_set_is_seen: [(0, "ZINCRBY odd:zset:large 1 member:3:77")] => ["db0 zset"];
    an_infinite_score_made_finite_is_seen: [(0, "ZADD odd:zset:small 9e99 highest")] => ["db0 zset"];
    a_lost_stream_entry_is_seen: [(0, "XDEL odd:stream:groups 1700000001000-0")] => ["db0 stream"];
    a_lost_group_of_a_stream_is_seen: [(0, "XGROUP DESTROY odd:stream:groups idle")] => ["db0 stream"];
    a_lost_group_of_an_empty_stream_is_seen: [(0, "XGROUP DESTROY odd:stream:empty waiting")] => ["db0 stream"];
    a_lost_consumer_is_seen: [(0, "XGROUP DELCONSUMER odd:stream:groups idle nobody")] => ["db0 stream"];
    a_lost_pending_entry_is_seen: [(0, "XACK odd:stream:groups readers 1700000001205-0")] => ["db0 stream"];
    a_group_set_back_is_seen: [(0, "XGROUP SETID odd:stream:groups late 0")] => ["db0 stream"];
    the_last_identifier_of_an_emptied_stream_is_seen: [(0, "XSETID odd:stream:emptied 6-0")] => ["db0 stream"];
    a_flipped_bit_of_a_bitmap_is_seen: [(0, "SETBIT odd:bitmap 100003 0")] => ["db0 string"];
    a_counted_visitor_is_seen: [(0, "PFADD odd:hll:sparse one two three four")] => ["db0 string"];
    a_moved_place_is_seen: [(0, "GEOADD odd:geo 1.5 1.5 hall")] => ["db0 zset"];
    a_removed_expiry_is_seen: [(0, "PERSIST odd:expiring:hash")] => ["db0 hash", "db0 hash expiring"];
    an_expiry_that_was_never_there_is_seen: [(0, "EXPIREAT odd:empty 4102444800")] => ["db0 string", "db0 string expiring"];
    an_expiry_shifted_by_an_hour_is_seen: [(0, "PEXPIREAT odd:expiring:string 4102448400000")] => ["db0 string expiring"];
    a_changed_value_of_an_expiring_key_is_seen: [(0, "LSET odd:expiring:list 1 x")] => ["db0 list expiring"];
    a_lost_function_is_seen: [(0, "FUNCTION DELETE redrill")] => ["function redrill"];
    a_lost_user_is_seen: [(0, "ACL DELUSER redrill-app")] => ["acl redrill-app"];
    a_changed_right_of_a_user_is_seen: [(0, "ACL SETUSER redrill-app +@write")] => ["acl redrill-app"];
    a_user_that_lost_its_password_is_seen: [(0, "ACL SETUSER redrill-app nopass")] => ["acl redrill-app"];
    a_changed_nonce_is_seen: [(0, "HSET redrill:run nonce other")] => ["db0 hash", "nonce"];
    a_lost_ledger_entry_is_seen: [(0, "SET redrill:ledger:1 1")] => ["db0 string", "ledger"];
}

pub async fn a_changed_function_is_seen() {
    let world = World::new();
    let source = world.seeded("source", 600, &[]).await;
    let before = source.observe(&world).await;
    let code = "#!lua name=redrill\nredis.register_function('other', function() return 2 end)";
    source
        .run_words(&world, 0, &["FUNCTION", "LOAD", "REPLACE", code])
        .await;
    let after = source.observe(&world).await;
    assert_eq!(differences(&before, &after), ["function redrill"]);
}

/// A server that has fields with an expiry of their own: Redis 7.4 and newer.
async fn with_fading_fields(world: &World, name: &str) -> Arc<dyn Running> {
    let wanted = Wanted {
        name: name.to_owned(),
        engine: Engine::Redis,
        version: Some("8".to_owned()),
        settings: BTreeMap::new(),
    };
    let server = Containers.start(&world.ctx, &wanted).await;
    server.expect("a server in a container")
}

async fn seeded_with_fading_fields(server: &Arc<dyn Running>, world: &World) -> RedisService {
    let service = RedisService::new(server.clone(), 600);
    service.create(&world.ctx).await.expect("created");
    service.seed(&world.ctx, 1.0, 7).await.expect("seeded");
    service
}

pub async fn a_field_that_expires_by_itself_is_seen_apart_from_its_hash() {
    for (change, parts) in [
        (
            "HPERSIST odd:hash:fading FIELDS 1 goes",
            &["db0 hash", "db0 hash field expiring"][..],
        ),
        (
            "HPEXPIREAT odd:hash:fading 4102448400000 FIELDS 1 goes",
            &["db0 hash field expiring"],
        ),
        ("HDEL odd:hash:fading goes", &["db0 hash field expiring"]),
    ] {
        let world = World::new();
        let server = with_fading_fields(&world, "fading").await;
        let service = seeded_with_fading_fields(&server, &world).await;
        let before = service.observe(&world.ctx).await.expect("observed");
        let twin = service.observe(&world.ctx).await.expect("observed");
        let words: Vec<&str> = change.split(' ').collect();
        let client = Client::connect(&world.ctx, &server.endpoint()).await;
        told(&mut client.expect("a connection"), &words).await;
        let after = service.observe(&world.ctx).await.expect("observed");
        server.remove(&world.ctx).await.expect("removed");
        assert_eq!(differences(&before, &twin), Vec::<String>::new());
        assert_eq!(differences(&before, &after), parts, "{change}");
    }
}

pub async fn a_field_that_expires_by_itself_comes_back_with_its_expiry() {
    let world = World::new();
    let source_server = with_fading_fields(&world, "fading").await;
    let source = seeded_with_fading_fields(&source_server, &world).await;
    let before = source.observe(&world.ctx).await.expect("observed");
    let (_, artifact) = world
        .backup_of(&source, RedisRdb::new(false))
        .await
        .expect("backed up");
    source_server.remove(&world.ctx).await.expect("removed");

    let server = with_fading_fields(&world, "recovered").await;
    let target = RedisService::new(server.clone(), 0);
    let restored = world.restore_to(&artifact, &target).await;
    restored.expect("restored");
    let after = target.observe(&world.ctx).await.expect("observed");
    let client = Client::connect(&world.ctx, &server.endpoint()).await;
    let words = ["HPEXPIRETIME", "odd:hash:fading", "FIELDS", "1", "goes"];
    let expires = told(&mut client.expect("a connection"), &words).await;
    server.remove(&world.ctx).await.expect("removed");
    assert_eq!(differences(&before, &after), Vec::<String>::new());
    let fading = |observed: &Observation| {
        let parts = observed.parts.keys().map(ToString::to_string);
        parts
            .chain(observed.expiring.keys().map(|(part, _)| part.to_string()))
            .any(|part| part.contains("hash field"))
    };
    assert!(
        fading(&before),
        "no field is seen to expire: {:?}",
        before.parts.keys()
    );
    assert_eq!(expires, Reply::Array(vec![Reply::Int(4_102_444_800_000)]));
}

pub async fn an_emptied_server_is_seen() {
    let everything = seen(&[(0, "FLUSHALL")]).await;
    assert!(
        everything.contains(&"db5 string".to_owned()),
        "{everything:?}"
    );
    assert!(everything.contains(&"nonce".to_owned()), "{everything:?}");
}

pub async fn another_encoding_of_the_same_value_is_no_change() {
    let world = World::new();
    let source = world.seeded("source", 600, &[]).await;
    let before = source.observe(&world).await;
    // From small to large forms, and back to the same content.
    for line in [
        "CONFIG SET hash-max-listpack-entries 1 set-max-intset-entries 1 zset-max-listpack-entries 1 list-max-listpack-size 1",
        "HSET odd:hash:small x 1",
        "HDEL odd:hash:small x",
        "SADD odd:set:integers x",
        "SREM odd:set:integers x",
        "ZADD odd:zset:small 1 x",
        "ZREM odd:zset:small x",
        "RPUSH odd:list:small x",
        "RPOP odd:list:small",
    ] {
        source.run(&world, 0, line).await;
    }
    let after = source.observe(&world).await;
    assert_eq!(differences(&before, &after), Vec::<String>::new());
}
