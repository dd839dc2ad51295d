//! What a server answers, when it is well and when it is not.

use std::collections::BTreeMap;

use libtest_mimic::Failed;
use redrill::evidence::Unable;
use redrill::pipeline::physical;
use redrill::service::postgres::session::{Session, TOO_LONG};
use redrill::service::postgres::{PostgresService, integrity};
use redrill::service::{Running, Service, Stop};
use redrill::suite::{Expect, Smoke};

use crate::server::{Disk, TestServer};
use crate::{Lab, SYSTEM, differences, root, same};

pub async fn a_database_is_empty_until_something_is_put_in_it(lab: &Lab) -> Result<(), Failed> {
    let service = lab.fresh(None).await?;
    service.create(&lab.ctx).await?;
    if service.population(&lab.ctx).await? != 0 {
        return Err("a new database is not empty".into());
    }
    for sql in [
        "create table t ()",
        "select lo_create(0)",
        "create function f() returns int language sql as 'select 1'",
        "create schema s",
    ] {
        let service = lab.fresh(None).await?;
        service.create(&lab.ctx).await?;
        lab.sql(service.database(), sql).await?;
        if service.population(&lab.ctx).await? == 0 {
            return Err(format!("it is empty in spite of {sql}").into());
        }
    }
    Ok(())
}

pub async fn the_ledger_goes_on_after_a_crash_of_the_server(lab: &Lab) -> Result<(), Failed> {
    let other = TestServer::start(&lab.ctx, &lab.bin, lab.dir.join("crashing"), Disk::Sure).await?;
    let work = async {
        let service = PostgresService::new(other.clone(), "ledger", None);
        service.create(&lab.ctx).await?;
        service
            .plant(&lab.ctx, "the nonce", "the \"canary's\" name")
            .await?;
        let mut coordinates = Vec::new();
        for number in 1..=6 {
            if number == 4 {
                other.restart(&lab.ctx, Stop::Kill).await?;
            }
            coordinates.push(service.write(&lab.ctx, number).await?);
        }
        let found = service.observe(&lab.ctx).await?;
        let numeric = |lsn: &String| {
            let (high, low) = lsn.split_once('/')?;
            Some((
                u64::from_str_radix(high, 16).ok()?,
                u64::from_str_radix(low, 16).ok()?,
            ))
        };
        if !coordinates.is_sorted_by_key(numeric)
            || coordinates.iter().any(|lsn| numeric(lsn).is_none())
        {
            return Err(format!("positions do not rise: {coordinates:?}").into());
        }
        assert_eq!(found.canary.as_deref(), Some("the \"canary's\" name"));
        if found.ledger != (1..=6).collect() || found.nonce.as_deref() != Some("the nonce") {
            return Err(format!("found {:?} and {:?}", found.ledger, found.nonce).into());
        }
        Ok::<(), Failed>(())
    };
    let worked = work.await;
    other.remove(&lab.ctx).await?;
    worked
}

pub async fn a_damaged_page_is_a_symptom_and_makes_its_table_unreadable(
    lab: &Lab,
) -> Result<(), Failed> {
    let other = TestServer::start(&lab.ctx, &lab.bin, lab.dir.join("damaged"), Disk::Sure).await?;
    let work = async {
        let service = PostgresService::new(other.clone(), "damaged", Some(root().join(SYSTEM)));
        service.create(&lab.ctx).await?;
        service.seed(&lab.ctx, 1.0, 1).await?;
        if let Some(symptom) = service.symptom(&lab.ctx).await {
            return Err(format!("a healthy server complains: {symptom}").into());
        }
        let psql = other.tool("psql").args([
            "-XAtc",
            "select pg_relation_filepath('app.player')",
            "damaged",
        ]);
        let file = psql.run(&lab.ctx).await?.ok()?.text();
        other
            .tool("pg_ctl")
            .args(["-w", "stop", "-m", "fast", "-D"])
            .arg(other.data_dir())
            .run(&lab.ctx)
            .await?
            .ok()?;
        let dd = other.tool("dd").args([
            "if=/dev/urandom",
            "bs=4096",
            "count=1",
            "seek=3",
            "conv=notrunc",
        ]);
        dd.arg(format!("of={}", other.data_dir().join(file).display()))
            .run(&lab.ctx)
            .await?
            .ok()?;
        match service.symptom(&lab.ctx).await {
            Some(symptom) if symptom.contains("connect") => {}
            other => return Err(format!("a stopped server shows {other:?}").into()),
        }
        other.up(&lab.ctx).await?;
        let symptom = service.symptom(&lab.ctx).await.unwrap_or_default();
        if !symptom.starts_with("app.player: XX001 invalid page") {
            return Err(format!("the symptom is {symptom:?}").into());
        }
        let found = service.observe(&lab.ctx).await?;
        let unreadable: Vec<&String> = found.unreadable.keys().collect();
        if unreadable != ["app.player"]
            || found.parts.contains_key("app.player")
            || !found.parts.contains_key("app.plays")
        {
            return Err(format!("unreadable: {unreadable:?}").into());
        }
        Ok::<(), Failed>(())
    };
    let worked = work.await;
    other.remove(&lab.ctx).await?;
    worked
}

pub async fn a_smoke_question_that_gets_no_single_value_does_not_hold(
    lab: &Lab,
) -> Result<(), Failed> {
    lab.seeded().await?;
    let service = lab.database("seeded", None).await?;
    let ask = |ask: &str, expect| Smoke {
        name: ask.to_owned(),
        ask: ask.to_owned(),
        expect,
    };
    let questions = [
        ask(
            "select count(*) from app.player",
            Expect::Equals("500".into()),
        ),
        ask("select count(*) from app.player", Expect::AtLeast(501.0)),
        ask("select count(*) from app.missing", Expect::AtLeast(0.0)),
        ask("select 1, 2", Expect::AtLeast(0.0)),
        ask(
            "select n from generate_series(1, 2) n",
            Expect::AtLeast(0.0),
        ),
        ask("select null", Expect::AtLeast(0.0)),
        ask("delete from app.plays returning 1", Expect::AtLeast(0.0)),
        ask(
            "select sum(points) from app.plays",
            Expect::Between(405_450.0, 405_450.0),
        ),
    ];
    let holds: Vec<bool> = service
        .smoke(&lab.ctx, &questions)
        .await?
        .iter()
        .map(|fact| fact.holds)
        .collect();
    if holds != [true, false, false, false, false, false, false, true] {
        return Err(format!("{holds:?}").into());
    }
    Ok(())
}

pub async fn a_swap_takes_the_place_of_a_database_in_use(lab: &Lab) -> Result<(), Failed> {
    let lost = lab.copy().await?;
    let restored = lab.copy().await?;
    lab.sql(restored.database(), "create table app.restored ()")
        .await?;
    let busy = restored.observe(&lab.ctx).await?;
    lost.plant(&lab.ctx, "n", "c").await?;
    lost.write(&lab.ctx, 1).await?;
    let aside = format!("{}_lost", lost.database());
    lost.swap(&lab.ctx, restored.database(), &aside).await?;
    same(&differences(&busy, &lost.observe(&lab.ctx).await?), [])?;
    match lost
        .in_database(aside)
        .observe(&lab.ctx)
        .await?
        .ledger
        .len()
    {
        1 => Ok(()),
        some => Err(format!("the one kept aside has {some} ledger entries").into()),
    }
}

pub async fn an_error_in_a_seed_script_names_its_file_and_line(lab: &Lab) -> Result<(), Failed> {
    let dir = lab.dir.join("scripts");
    std::fs::create_dir(&dir)?;
    std::fs::write(dir.join("top.sql"), "select 1;\n\\ir inner.sql\n")?;
    std::fs::write(dir.join("inner.sql"), "select 2;\n\nselect nonsense;\n")?;
    let service = lab.fresh(Some(dir.join("top.sql"))).await?;
    service.create(&lab.ctx).await?;
    let error = service
        .seed(&lab.ctx, 1.0, 1)
        .await
        .err()
        .ok_or("it was seeded")?;
    if !error.message().contains("inner.sql:3") || !error.message().contains("nonsense") {
        return Err(format!("the error is {error}").into());
    }
    Ok(())
}

/// Everything that makes a question of an index hard to ask, on sound data.
const ODD: &str = "
create table public.v (id int, a int[], r int, doc tsvector, place point);
insert into public.v select n, array[n], n, to_tsvector('simple', 'word ' || n), point(n, n) from generate_series(1, 500) n;
insert into public.v (id, doc) select 501, to_tsvector('simple', string_agg('w' || n, ' ')) from generate_series(1, 40000) n;
create index v_gin on public.v using gin (a);
create index v_brin on public.v using brin (r);
create index v_doc on public.v using gin (doc);
create index \"V odd\" on public.v using gist ((case when id % 2 = 0 then place else null end));
create index v_lines on public.v using spgist ((case when id % 2 = 0 then 'even
is not null' else id::text end));
create index v_collation on public.v using hash ((id::text) collate \"C\");
analyze public.v";
/// A function that relies on the search path is indexed by those who have one; from PostgreSQL 17 on by nobody, as an index
/// is made without.
const BY_PATH: &str = "
create function public.halved(n int) returns int language sql immutable as $$ select n / 2 $$;
create function public.by_path(n int) returns int language sql immutable as $$ select halved(n) $$;
create table public.w as select id from public.v;
create index w_path on public.w (public.by_path(id));
create index w_path_gin on public.w using gin ((array[public.by_path(id)]))";

pub async fn a_sound_cluster_is_called_sound_whatever_its_indexes_are_made_of_and_one_lost_row_is_told(
    lab: &Lab,
) -> Result<(), Failed> {
    let other = TestServer::start(&lab.ctx, &lab.bin, lab.dir.join("odd"), Disk::Quick).await?;
    let server = other.clone();
    let work = async {
        let session = Session::open(&lab.ctx, &*server, "postgres").await?;
        session.run(&lab.ctx, ODD).await?;
        let indexed_by_path = physical::major(&*server) < 17;
        if indexed_by_path {
            session.run(&lab.ctx, "set search_path = public").await?;
            session.run(&lab.ctx, BY_PATH).await?;
        }
        let sound = integrity::inspect(&lab.ctx, &*server).await?;
        assert_eq!(sound.damaged, BTreeMap::new());
        assert_eq!((sound.unable, sound.sampled), Default::default());
        let unchecked: Vec<(&str, bool)> = sound
            .unchecked
            .iter()
            .map(|(name, why)| (name.as_str(), why.contains("42883")))
            .collect();
        let expected = [
            ("postgres: public.w_path", true),
            ("postgres: public.w_path_gin", true),
        ];
        let expected = expected.into_iter().filter(|_| indexed_by_path);
        assert_eq!(unchecked, expected.collect::<Vec<_>>());
        let ready = |truth: bool| {
            format!(
                "set allow_system_table_mods = on; update pg_catalog.pg_index set indisready = {truth} where indrelid = 'public.v'::regclass"
            )
        };
        session.run(&lab.ctx, &ready(false)).await?;
        let last = "insert into public.v values (1000, '{1000}', 1000, 'lost', point(-1, -1))";
        session.run(&lab.ctx, last).await?;
        session.run(&lab.ctx, &ready(true)).await?;
        let found = integrity::inspect(&lab.ctx, &*server).await?;
        let damaged: Vec<&str> = found.damaged.keys().map(String::as_str).collect();
        let expected = [
            "\"V odd\"",
            "v_brin",
            "v_collation",
            "v_doc",
            "v_gin",
            "v_lines",
        ];
        let expected = expected.map(|name| format!("postgres: public.{name}"));
        assert_eq!(damaged, expected, "{found:?}");
        Ok::<(), Failed>(())
    };
    let worked = work.await;
    other.remove(&lab.ctx).await?;
    worked
}

/// Indexes of which nothing can be asked: no operator of the kind that is asked for, and no value.
const MUTE: &str = "
create operator class public.only_less for type int using brin as operator 1 <, operator 5 >,
  function 1 brin_minmax_opcinfo(internal), function 2 brin_minmax_add_value(internal, internal, internal, internal),
  function 3 brin_minmax_consistent(internal, internal, internal), function 4 brin_minmax_union(internal, internal, internal);
create table public.m as select n as id, null::int as nothing from generate_series(1, 100) n;
create index m_less on public.m using brin (id public.only_less);
create index m_null on public.m using hash (nothing);
create index m_hash on public.m using hash (id);
create table public.void (id int);
create index void_hash on public.void using hash (id);
analyze";

pub async fn an_index_that_cannot_be_asked_is_named_and_one_that_should_have_answered_is_not_known_to_be_sound(
    lab: &Lab,
) -> Result<(), Failed> {
    let other = TestServer::start(&lab.ctx, &lab.bin, lab.dir.join("mute"), Disk::Quick).await?;
    let server = other.clone();
    let work = async {
        let session = Session::open(&lab.ctx, &*server, "postgres").await?;
        session.run(&lab.ctx, MUTE).await?;
        let named = |name: &str| format!("postgres: public.{name}");
        let told = [
            ("m_less", "has no operator"),
            ("m_null", "no value to look for"),
            ("void_hash", "no value to look for"),
        ];
        let sound = async || -> Result<BTreeMap<String, Unable>, Failed> {
            let found = integrity::inspect(&lab.ctx, &*server).await?;
            assert_eq!((found.damaged, found.sampled), Default::default());
            assert_eq!(found.unchecked.len(), told.len(), "{:?}", found.unchecked);
            for (name, why) in told {
                let said = &found.unchecked[&named(name)];
                assert!(said.contains(why), "{name}: {said}");
            }
            Ok(found.unable)
        };
        assert_eq!(sound().await?, BTreeMap::new());
        // As after a change in place: until whoever was there before is gone, the server does not go by it.
        let before = Session::open(&lab.ctx, &*server, "postgres").await?;
        before.run(&lab.ctx, "begin").await?;
        before.value(&lab.ctx, "select txid_current()").await?;
        let change = "set allow_system_table_mods = on; update pg_catalog.pg_index set indcheckxmin = true \
                      where indexrelid = 'public.m_hash'::regclass";
        session.run(&lab.ctx, change).await?;
        let unable = sound().await?;
        let [(name, Unable::Unanswered(why))] = &unable.iter().collect::<Vec<_>>()[..] else {
            return Err(format!("{unable:?}").into());
        };
        assert_eq!(**name, named("m_hash"));
        assert!(why.contains("does not go by this hash index"), "{why}");
        before.run(&lab.ctx, "rollback").await?;
        assert_eq!(sound().await?, BTreeMap::new());
        Ok::<(), Failed>(())
    };
    let worked = work.await;
    other.remove(&lab.ctx).await?;
    worked
}

/// Rows that have so much in common that each takes many pages of their index to find.
const LARGE: &str = "
create table public.large as select n, array(select generate_series(1, 60)) || n as tags from generate_series(100, 20099) n;
create index large_tags on public.large using gin (tags);
analyze";

pub async fn how_much_of_a_large_index_is_looked_at_goes_by_its_pages_and_is_said(
    lab: &Lab,
) -> Result<(), Failed> {
    let other = TestServer::start(&lab.ctx, &lab.bin, lab.dir.join("large"), Disk::Quick).await?;
    let server = other.clone();
    let work = async {
        let session = Session::open(&lab.ctx, &*server, "postgres").await?;
        session.run(&lab.ctx, LARGE).await?;
        let mut said = Vec::new();
        for _ in 0..2 {
            let found = integrity::inspect(&lab.ctx, &*server).await?;
            assert_eq!((found.damaged, found.unable), Default::default());
            assert_eq!(found.unchecked, BTreeMap::new());
            said.push(found.sampled);
        }
        let how_much = said[0].get("postgres: public.large_tags");
        let how_much = how_much.ok_or("all was looked for")?;
        let (done, of) = how_much.split_once(' ').ok_or("no number")?;
        assert_eq!(of, "of 20000 values of tags were looked for");
        let done: u64 = done.parse()?;
        assert!((1_000..20_000).contains(&done), "{done}");
        assert_eq!(said[0], said[1], "whatever else the machine does");
        Ok::<(), Failed>(())
    };
    let worked = work.await;
    other.remove(&lab.ctx).await?;
    worked
}

pub async fn what_the_server_is_not_done_with_in_time_is_a_complaint_and_the_session_goes_on(
    lab: &Lab,
) -> Result<(), Failed> {
    let session = Session::open(&lab.ctx, &*lab.server().await?, "postgres").await?;
    session.run(&lab.ctx, "begin").await?;
    let moment = std::time::Duration::from_millis(50);
    let late = session.attempt_within(&lab.ctx, "select pg_sleep(60)", moment);
    let complaint = late.await?.expect_err("it sleeps for longer");
    assert_eq!(complaint.state, TOO_LONG);
    let soon = session.attempt_within(&lab.ctx, "select 1", moment * 100);
    assert!(soon.await?.is_ok_and(|rows| rows.len() == 1));
    // And of neither is a limit left.
    let limit = session.value(&lab.ctx, "show statement_timeout").await?;
    assert_eq!(limit.as_deref(), Some("0"));
    Ok(session.run(&lab.ctx, "rollback").await?)
}

pub async fn a_question_shows_something_of_the_rows_also_by_a_function_and_never_by_none(
    lab: &Lab,
) -> Result<(), Failed> {
    let service = lab.fresh(None).await?;
    service.create(&lab.ctx).await?;
    let seed = "create table t as select generate_series(1, 3) as n;
                create function counted() returns bigint language plpgsql stable as $$ begin return (select count(*) from public.t); end $$;
                create function nothing() returns int language plpgsql stable as $$ begin return 1; end $$";
    lab.sql(service.database(), seed).await?;
    let void = async |asks: &[&str]| -> Result<Vec<bool>, Failed> {
        let questions = asks.iter().map(|ask| Smoke {
            name: (*ask).to_owned(),
            ask: (*ask).to_owned(),
            expect: Expect::AtLeast(1.0),
        });
        let questions: Vec<Smoke> = questions.collect();
        let facts = service.smoke(&lab.ctx, &questions).await?;
        assert!(facts.iter().all(|fact| fact.holds), "{facts:?}");
        Ok(facts.iter().map(|fact| fact.void.is_some()).collect())
    };
    let (rows, by_function) = ("select count(*) from public.t", "select public.counted()");
    let (catalogue, nothing) = (
        "select count(*) from pg_catalog.pg_class",
        "select public.nothing()",
    );
    // Asked at once: the server tells what it counted for the one only when it has counted for the other.
    assert_eq!(void(&[rows, nothing]).await?, [false, true]);
    assert_eq!(
        void(&[by_function, nothing, by_function]).await?,
        [false, true, false]
    );
    assert_eq!(void(&[catalogue, nothing]).await?, [true, true]);
    assert_eq!(void(&[catalogue, by_function]).await?, [false, false]);
    Ok(())
}
