//! The service itself: seed, ledger, population, questions, symptoms, and what it costs.

use std::time::{Duration, Instant};

use redrill::service::redis::client::Reply;
use redrill::service::{Running as _, Service as _};
use redrill::suite::{Expect, Smoke};

use crate::world::{PASSWORD, World, differences};

pub async fn the_same_seed_gives_the_same_content_on_another_server() {
    let world = World::new();
    let one = world.seeded("one", 2_000, &[]).await;
    let other = world.seeded("other", 2_000, &[]).await;
    let (one, other) = (one.observe(&world).await, other.observe(&world).await);
    assert_eq!(differences(&one, &other), Vec::<String>::new());
    for kind in ["string", "list", "set", "hash", "zset", "stream"] {
        for database in [0, 1, 2, 5] {
            let part = format!("db{database} {kind}");
            assert!(one.parts.contains_key(part.as_str()), "{part} is missing");
        }
    }
    assert!(one.expiring.len() > 50);
    assert_eq!(one.nonce.as_deref(), Some("nonce-1"));
    assert_eq!(one.canary.as_deref(), Some("canary-0f3a9c"));
    assert!(one.catalogue.contains_key("function redrill"));
}

pub async fn another_seed_gives_other_content() {
    let world = World::new();
    let component = world.empty("one", 600, &[]).await;
    component
        .service
        .seed(&world.ctx, 1.0, 1)
        .await
        .expect("seeded");
    let one = component.observe(&world).await;
    component.run(&world, 0, "FLUSHALL").await;
    component
        .service
        .seed(&world.ctx, 1.0, 2)
        .await
        .expect("seeded");
    let other = component.observe(&world).await;
    assert!(differences(&one, &other).contains(&"db0 string".to_owned()));
}

pub async fn the_seed_makes_as_many_keys_as_the_component_and_the_scale_say() {
    let world = World::new();
    let component = world.empty("one", 1_000, &[]).await;
    assert_eq!(
        component
            .service
            .population(&world.ctx)
            .await
            .expect("counted"),
        0
    );
    component
        .service
        .seed(&world.ctx, 2.5, 1)
        .await
        .expect("seeded");
    // The function library counts too.
    let population = component
        .service
        .population(&world.ctx)
        .await
        .expect("counted");
    assert_eq!(population, 2_501);
}

pub async fn the_ledger_is_read_back_by_number() {
    let world = World::new();
    let component = world.empty("one", 0, &[]).await;
    let mut coordinates = Vec::new();
    for number in [1, 2, 3, 11] {
        coordinates.push(
            component
                .service
                .write(&world.ctx, number)
                .await
                .expect("written"),
        );
    }
    let seen = component.observe(&world).await;
    assert_eq!(seen.ledger.into_iter().collect::<Vec<_>>(), [1, 2, 3, 11]);
    coordinates.dedup();
    assert_eq!(coordinates.len(), 4, "{coordinates:?}");
}

pub async fn no_hash_of_a_password_stands_in_an_observation() {
    let world = World::new();
    let source = world.seeded("source", 600, &[]).await;
    let seen = source.observe(&world).await;
    let rules = &seen.catalogue["acl redrill-app"];
    assert!(rules.contains("#set"), "{rules}");
    let longest = rules.split(' ').map(str::len).max().unwrap_or_default();
    assert!(longest < 64, "{rules}");
}

pub async fn questions_get_one_value_each_and_what_cannot_be_answered_does_not_hold() {
    let world = World::new();
    let source = world.seeded("source", 600, &[]).await;
    let question = |ask: &str, expect| Smoke {
        name: ask.to_owned(),
        ask: ask.to_owned(),
        expect,
    };
    let questions = [
        question("GET odd:same-name", Expect::Equals("database 0".into())),
        question(
            "-n 5 GET odd:same-name",
            Expect::Equals("database 5".into()),
        ),
        question("GET 'odd:key with spaces'", Expect::Equals("spaces".into())),
        question("SCARD odd:set:large", Expect::AtLeast(5_000.0)),
        question("DBSIZE", Expect::Between(1.0, 10.0)),
        question("GET nothing", Expect::Equals(String::new())),
        question("LRANGE odd:list:long 0 -1", Expect::AtLeast(0.0)),
        question("NONSENSE", Expect::AtLeast(0.0)),
    ];
    let facts = source
        .service
        .smoke(&world.ctx, &questions)
        .await
        .expect("asked");
    let holds: Vec<bool> = facts.iter().map(|fact| fact.holds).collect();
    assert_eq!(holds, [true, true, true, true, false, false, false, false]);

    source.server.lose(&world.ctx).await.expect("lost");
    let facts = source
        .service
        .smoke(&world.ctx, &questions)
        .await
        .expect("asked");
    assert!(facts.iter().all(|fact| !fact.holds && fact.answer.is_err()));
}

pub async fn a_lost_server_shows_a_symptom_and_a_healthy_one_none() {
    let world = World::new();
    let source = world.empty("source", 0, &[]).await;
    assert_eq!(source.service.symptom(&world.ctx).await, None);
    source.server.lose(&world.ctx).await.expect("lost");
    let symptom = source.service.symptom(&world.ctx).await.expect("a symptom");
    assert!(symptom.contains("Connection refused"), "{symptom}");
    assert!(!symptom.contains(PASSWORD), "{symptom}");
    assert!(source.service.observe(&world.ctx).await.is_err());
}

pub async fn keys_that_elapse_while_they_are_read_do_not_disturb() {
    let world = World::new();
    let source = world.seeded("source", 600, &[]).await;
    for round in 0..2_000 {
        let name = format!("soon:{round}");
        let life = (round % 50 + 1).to_string();
        if round % 500 == 0 {
            let seen = source.observe(&world).await;
            assert_eq!(seen.unreadable, Default::default());
        }
        source
            .run(&world, 0, &format!("SET {name} 1 PX {life}"))
            .await;
    }
    let seen = source.observe(&world).await;
    assert_eq!(seen.unreadable, Default::default());
}

pub async fn a_table_that_shrinks_while_it_is_read_gives_the_same_content() {
    let world = World::new();
    let source = world.empty("source", 0, &[]).await;
    source
        .service
        .plant(&world.ctx, "n", "c")
        .await
        .expect("planted");
    source.run(&world, 0, "DEBUG POPULATE 40000 gone 8").await;
    source.run(&world, 0, "DEBUG POPULATE 3000 stays 8").await;
    for first in 0..400 {
        let mut words = vec!["DEL".to_owned()];
        words.extend((first * 100..(first + 1) * 100).map(|number| format!("gone:{number}")));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        source.run_words(&world, 0, &words).await;
    }
    let one = source.observe(&world).await;
    let other = source.observe(&world).await;
    assert_eq!(one.unreadable, Default::default());
    assert_eq!(one.parts["db0 string"].count, 3_002);
    assert_eq!(differences(&one, &other), Vec::<String>::new());
}

/// Most memory this process has had, in MB (VmHWM of /proc/self/status, proc(5)).
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("a peak");
    let kilobytes: u64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .expect("a number");
    kilobytes / 1_024
}

pub async fn five_million_keys_are_read_in_flat_memory() {
    let world = World::new();
    let source = world.empty("source", 0, &[]).await;
    source.run(&world, 0, "DEBUG POPULATE 5000000 key 32").await;
    source.run(&world, 1, "SETRANGE big 400000000 x").await;
    let begun = Instant::now();
    let seen = source.observe(&world).await;
    eprintln_facts(&format!(
        "observed 5 M keys in {:?}, peak {} MB",
        begun.elapsed(),
        peak()
    ));
    assert_eq!(seen.parts["db0 string"].count, 5_000_000);
    assert_eq!(seen.unreadable, Default::default());
    assert!(peak() < 200, "{} MB", peak());
}

pub async fn fifty_thousand_keys_are_seeded_read_backed_up_and_restored_in_seconds() {
    let world = World::new();
    let source = world.empty("source", 50_000, &[]).await;
    let mut begun = Instant::now();
    let mut lap = || {
        let elapsed = begun.elapsed();
        begun = Instant::now();
        elapsed
    };
    source
        .service
        .seed(&world.ctx, 1.0, 1)
        .await
        .expect("seeded");
    let seed = lap();
    let before = source.observe(&world).await;
    let observe = lap();
    let (_, artifact) = world
        .backup(&source, redrill::pipeline::redis::RedisRdb::new(false))
        .await
        .expect("backed up");
    let backup = lap();
    let target = world.empty("target", 0, &[]).await;
    lap();
    world.restore(&artifact, &target).await.expect("restored");
    let restore = lap();
    let after = target.observe(&world).await;
    assert_eq!(differences(&before, &after), Vec::<String>::new());
    let Reply::Int(keys) = source.run(&world, 0, "DBSIZE").await else {
        panic!("not a number");
    };
    eprintln_facts(&format!(
        "seed {seed:?}, observe {observe:?}, backup {backup:?}, restore {restore:?}; {} MB of data, {keys} keys in db0, rdb {} bytes, peak {} MB",
        before.bytes / 1_000_000,
        artifact.manifest.files[0].plain_bytes,
        peak()
    ));
    assert!(seed < Duration::from_secs(10));
}

#[expect(clippy::print_stderr, reason = "a measurement is for reading")]
fn eprintln_facts(facts: &str) {
    eprintln!("{facts}");
}
