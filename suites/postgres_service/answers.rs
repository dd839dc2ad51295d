//! What a server answers, when it is well and when it is not.

use libtest_mimic::Failed;
use redrill::service::postgres::PostgresService;
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
