//! Kinds of objects: that none is forgotten, and those that the cases cannot make in a copy of a database.

use std::collections::BTreeSet;

use libtest_mimic::Failed;
use redrill::service::Service;
use redrill::service::postgres::session::Session;

use crate::cases::{CASES, CATALOGUES, CLUSTER_CASES, Read};
use crate::{Lab, differences, quoted, same};

pub async fn every_catalogue_of_the_server_is_read_or_left_out_for_a_reason(
    lab: &Lab,
) -> Result<(), Failed> {
    let server = lab.server().await?;
    let session = Session::open(&lab.ctx, &*server, "postgres").await?;
    let all = "select relname from pg_class where relnamespace = 'pg_catalog'::regnamespace and relkind = 'r'";
    let all = session.rows(&lab.ctx, all).await?;
    let all: BTreeSet<String> = all.into_iter().flatten().flatten().collect();
    let known: BTreeSet<&str> = CATALOGUES.iter().map(|(name, _)| *name).collect();
    assert!(all.len() > 50, "{all:?}");
    let forgotten: Vec<&String> = all
        .iter()
        .filter(|it| !known.contains(it.as_str()))
        .collect();
    assert_eq!(forgotten, [""; 0], "catalogues that nobody thought of");
    let cases = CASES
        .iter()
        .chain(CLUSTER_CASES.iter().map(|(case, _)| case));
    let seen: BTreeSet<&str> = cases.flat_map(|case| case.seen).copied().collect();
    for (name, read) in CATALOGUES {
        match read {
            Read::As(kind) => assert!(
                seen.iter().any(|seen| seen.starts_with(kind)),
                "{name}: no case is seen as {kind}"
            ),
            Read::No(why) => assert!(!why.is_empty(), "{name} is left out for no reason"),
        }
    }
    Ok(())
}

/// A database with a subscription, which keeps the database from being dropped until it is gone itself.
async fn subscribed(lab: &Lab) -> Result<redrill::service::postgres::PostgresService, Failed> {
    let service = lab.fresh(None).await?;
    service.create(&lab.ctx).await?;
    // Named after the database: those of a cluster have names of their own in each.
    let sql = "create subscription feed connection 'host=127.0.0.1 port=1 dbname=prices password=s3cret' publication p, q \
               with (connect = false, slot_name = 'feed')";
    lab.sql(service.database(), sql).await?;
    Ok(service)
}

async fn unsubscribe(
    lab: &Lab,
    service: &redrill::service::postgres::PostgresService,
) -> Result<(), Failed> {
    let sql = "alter subscription feed disable; alter subscription feed set (slot_name = none); drop subscription feed";
    lab.sql(service.database(), sql).await?;
    let drop = format!("drop database {} with (force)", quoted(service.database()));
    Ok(lab.sql("postgres", &drop).await?)
}

pub async fn a_subscription_is_seen_in_all_its_ways_and_its_source_is_not_told(
    lab: &Lab,
) -> Result<(), Failed> {
    let service = subscribed(lab).await?;
    let mut before = service.observe(&lab.ctx).await?;
    let told = before
        .catalogue
        .get("subscription feed")
        .ok_or("not seen")?;
    assert!(
        told.contains("slot feed") && !told.contains("s3cret"),
        "{told}"
    );
    for (change, seen) in [
        ("set publication q, p with (refresh = false)", ""),
        (
            "set publication p with (refresh = false)",
            "subscription feed",
        ),
        (
            "connection 'host=127.0.0.1 port=1 dbname=prices password=other'",
            "subscription feed",
        ),
        ("set (slot_name = 'another')", "subscription feed"),
        (
            "set (synchronous_commit = 'remote_apply')",
            "subscription feed",
        ),
        ("set (binary = true)", "subscription feed"),
        ("set (streaming = true)", "subscription feed"),
        ("set (disable_on_error = true)", "subscription feed"),
        ("enable", "subscription-enabled feed"),
    ] {
        lab.sql(
            service.database(),
            &format!("alter subscription feed {change}"),
        )
        .await?;
        let after = service.observe(&lab.ctx).await?;
        let seen = (!seen.is_empty()).then(|| format!("definition {seen}"));
        same(&differences(&before, &after), seen)
            .map_err(|error| format!("after {change}: {error}"))?;
        before = after;
    }
    unsubscribe(lab, &service).await
}

/// What is told of a worker that runs.
const AT_WORK: &str = "a subscription is at work: feed";

pub async fn an_enabled_subscription_ties_what_came_back_to_others_and_a_disabled_one_does_not(
    lab: &Lab,
) -> Result<(), Failed> {
    let service = subscribed(lab).await?;
    let other = lab.copy().await?;
    for alone in [true, false] {
        let found = service.ties(&lab.ctx, alone).await?.ok_or("not asked")?;
        assert_eq!(
            (found.ties, found.workers),
            (vec![], vec![]),
            "alone: {alone}"
        );
    }
    lab.sql(service.database(), "alter subscription feed enable")
        .await?;
    let tie = format!(
        "subscription feed of database {} is enabled",
        quoted(service.database())
    );
    for alone in [true, false] {
        let found = service.ties(&lab.ctx, alone).await?.ok_or("not asked")?;
        // Its worker comes and goes, as nobody answers it.
        let ties = found.ties.iter().filter(|tie| *tie != AT_WORK);
        assert_eq!(ties.collect::<Vec<_>>(), [&tie], "alone: {alone}");
    }
    // On a server that is shared with its source, that of another database is the source's own.
    let found = other.ties(&lab.ctx, false).await?.ok_or("not asked")?;
    assert_eq!(found.ties, [""; 0]);
    let drop = format!("drop database {} with (force)", quoted(other.database()));
    lab.sql("postgres", &drop).await?;
    unsubscribe(lab, &service).await
}
