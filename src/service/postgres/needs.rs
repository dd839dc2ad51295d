//! What a dump names and a server must have before it is restored: roles and extensions.
//!
//! Not here: reading the names out of the dump (see [`crate::pipeline::given`]).

use std::collections::BTreeSet;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::service::postgres::session::{Session, identifier};

/// The roles among these that are not there. Those of the server itself (`pg_…`) come with it.
pub async fn missing_roles(
    ctx: &Context,
    session: &Session,
    roles: &BTreeSet<String>,
) -> Result<Vec<String>> {
    let there = names(ctx, session, "select rolname from pg_roles").await?;
    Ok(roles.difference(&there).cloned().collect())
}

/// The extensions among these that could not be created.
pub async fn missing_extensions(
    ctx: &Context,
    session: &Session,
    extensions: &BTreeSet<String>,
) -> Result<Vec<String>> {
    let there = names(ctx, session, "select name from pg_available_extensions").await?;
    Ok(extensions.difference(&there).cloned().collect())
}

/// Creates roles that may do nothing, not even log in.
pub async fn create_roles(ctx: &Context, session: &Session, roles: &[String]) -> Result<()> {
    for role in roles {
        session
            .run(ctx, &format!("create role {} nologin", identifier(role)))
            .await?;
    }
    Ok(())
}

/// The database with the most in it, of those that are not the server's own; its own where there is no other.
pub async fn largest_database(ctx: &Context, session: &Session) -> Result<String> {
    const LARGEST: &str = "select datname from pg_database \
        where datallowconn and not datistemplate and datname <> 'postgres' \
        order by pg_database_size(oid) desc, datname limit 1";
    let found = session.value(ctx, LARGEST).await?;
    Ok(found.unwrap_or_else(|| "postgres".to_owned()))
}

/// The databases of a cluster that are no templates.
pub async fn databases(ctx: &Context, session: &Session) -> Result<BTreeSet<String>> {
    const ALL: &str = "select datname from pg_database where datallowconn and not datistemplate";
    names(ctx, session, ALL).await
}

/// Fails unless there is a database of this name.
pub async fn has_database(ctx: &Context, session: &Session, name: &str) -> Result<()> {
    let all = names(
        ctx,
        session,
        "select datname from pg_database where datallowconn",
    )
    .await?;
    if all.contains(name) {
        return Ok(());
    }
    let others: Vec<&str> = all
        .iter()
        .map(String::as_str)
        .filter(|it| !it.starts_with("template"))
        .collect();
    Err(Error::failed(format!(
        "the recovered cluster has no database {name}; it has {}",
        others.join(", ")
    ))
    .hint("name one of these with --database"))
}

async fn names(ctx: &Context, session: &Session, sql: &str) -> Result<BTreeSet<String>> {
    let rows = session.rows(ctx, sql).await?;
    Ok(rows.into_iter().flatten().flatten().collect())
}
