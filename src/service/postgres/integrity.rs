//! Whether a whole cluster is sound on disk: every page of every relation of every database read through the server,
//! every index checked against its table.
//!
//! Pages are read by pg_prewarm into shared buffers, which holds each to its checksum. Tables and B-trees are checked by
//! amcheck (`heapallindexed`); an index of another kind is asked with values of its own table, and a sequential scan must
//! answer the same. Both extensions come with the server, and are put into a transaction that is rolled back. What the
//! server refuses is noted; what could not be looked at is noted apart, as it is not known to be sound. Not here: what the
//! rows hold (see [`super::content`]).

use std::collections::BTreeMap;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::evidence::IntegrityFact;
use crate::service::Running;
use crate::service::postgres::session::{Row, Session, identifier, literal};

/// How many values of a table an index is asked with.
const VALUES: u32 = 50;

/// Everything with storage, the table that an index is of, and the index's kind.
const RELATIONS: &str = "
select c.oid, c.oid::regclass::text, c.relkind, coalesce(a.amname, ''), coalesce(i.indexrelid is null or (i.indisvalid and i.indisready), false)
from pg_class c left join pg_am a on a.oid = c.relam left join pg_index i on i.indexrelid = c.oid
where c.relkind in ('r', 'm', 't', 'i', 'S') and c.relpersistence <> 't' and pg_relation_filenode(c.oid) is not null
order by c.oid";

/// What ties the server, as it runs now, to others.
const TIES: &str = "
select 'archive_mode is ' || current_setting('archive_mode') where current_setting('archive_mode') <> 'off'
union all select 'it follows a primary: ' || status from pg_stat_wal_receiver
union all select 'it sends WAL to ' || application_name from pg_stat_replication
union all select 'a subscription is at work: ' || subname from pg_stat_subscription where pid is not null
union all select 'a replication slot holds WAL: ' || slot_name from pg_replication_slots
union all select 'it preloads ' || current_setting('shared_preload_libraries')
  where current_setting('shared_preload_libraries') ~ 'pg_cron|pg_partman_bgw'";

/// Reads and checks every database of a server, and asks what ties it to others.
pub async fn inspect(ctx: &Context, server: &dyn Running) -> Result<IntegrityFact> {
    let session = Session::open(ctx, server, "template1").await?;
    let databases = session
        .rows(
            ctx,
            "select datname from pg_database where datallowconn order by datname",
        )
        .await?;
    let checksums = session.value(ctx, "show data_checksums").await?;
    let ties = session.rows(ctx, TIES).await?;
    drop(session);
    let mut fact = IntegrityFact {
        checksums: checksums.as_deref() == Some("on"),
        ties: ties.into_iter().flatten().flatten().collect(),
        ..IntegrityFact::default()
    };
    for database in databases.into_iter().flatten().flatten() {
        ctx.go_on()?;
        one(ctx, server, &database, &mut fact).await?;
        fact.databases += 1;
    }
    Ok(fact)
}

struct Relation {
    oid: String,
    name: String,
    kind: String,
    method: String,
    valid: bool,
}

async fn one(
    ctx: &Context,
    server: &dyn Running,
    database: &str,
    fact: &mut IntegrityFact,
) -> Result<()> {
    let session = Session::open(ctx, server, database).await?;
    session.run(ctx, "begin").await?;
    let mut there = BTreeMap::new();
    for extension in ["pg_prewarm", "amcheck"] {
        let create = format!("create extension if not exists {extension} with schema pg_catalog");
        there.insert(
            extension,
            place(ctx, &session, extension, &create, database, fact).await?,
        );
    }
    let relations = session.rows(ctx, RELATIONS).await?;
    for row in relations {
        let relation = relation(&row)
            .ok_or_else(|| Error::defect("the list of relations has an unexpected shape"))?;
        let name = format!("{database}: {}", relation.name);
        if let Some(schema) = &there["pg_prewarm"] {
            let read = format!(
                "select sum({schema}.pg_prewarm({}::oid::regclass, 'buffer', f)) from unnest(array['main', 'fsm', 'vm']) f \
                 where pg_relation_size({}::oid::regclass, f) > 0",
                relation.oid, relation.oid
            );
            match session.attempt(ctx, &read).await? {
                Ok(rows) => fact.pages += number(&rows),
                Err(complaint) => {
                    fact.damaged.insert(name.clone(), complaint.words);
                    continue;
                }
            }
            fact.relations += 1;
        }
        check(ctx, &session, &relation, &name, &there, fact).await?;
    }
    session.run(ctx, "rollback").await
}

/// Where an extension's functions are, with the extension made when it is not there; `None` when it cannot be had.
async fn place(
    ctx: &Context,
    session: &Session,
    extension: &str,
    create: &str,
    database: &str,
    fact: &mut IntegrityFact,
) -> Result<Option<String>> {
    let made = session.attempt(ctx, create).await?;
    let asked = format!(
        "select quote_ident(n.nspname) from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = {}",
        literal(extension)
    );
    let schema = session.value(ctx, &asked).await?;
    if schema.is_none() {
        let why = made
            .err()
            .map_or_else(String::new, |complaint| complaint.words);
        let why = format!("{extension} cannot be had: {why}");
        fact.unable.insert(database.to_owned(), why);
    }
    Ok(schema)
}

fn relation(row: &Row) -> Option<Relation> {
    let [oid, name, kind, method, valid] = row.as_slice() else {
        return None;
    };
    Some(Relation {
        oid: oid.clone()?,
        name: name.clone()?,
        kind: kind.clone()?,
        method: method.clone()?,
        valid: valid.as_deref() == Some("t"),
    })
}

fn number(rows: &[Row]) -> u64 {
    let first = rows.first().and_then(|row| row.first()?.as_ref());
    first.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Checks what a relation holds, by its kind.
async fn check(
    ctx: &Context,
    session: &Session,
    relation: &Relation,
    name: &str,
    there: &BTreeMap<&str, Option<String>>,
    fact: &mut IntegrityFact,
) -> Result<()> {
    let amcheck = there["amcheck"].as_deref();
    let sql = match (relation.kind.as_str(), relation.method.as_str(), amcheck) {
        ("i", _, _) if !relation.valid => return Ok(()),
        ("r" | "m" | "t", "heap", Some(schema)) => format!(
            "select msg from {schema}.verify_heapam({}::oid::regclass, on_error_stop => true, check_toast => true) limit 1",
            relation.oid
        ),
        ("i", "btree", Some(schema)) => format!(
            "select {schema}.bt_index_check({}::oid::regclass, true)",
            relation.oid
        ),
        ("i", method, _) if method != "btree" => {
            return scan(ctx, session, relation, name, fact).await;
        }
        _ => return Ok(()),
    };
    match session.attempt(ctx, &sql).await? {
        Ok(rows) => {
            let said = rows
                .into_iter()
                .next()
                .and_then(|row| row.into_iter().next());
            // A B-tree's check answers nothing.
            match said.flatten().filter(|words| !words.is_empty()) {
                Some(words) => {
                    fact.damaged.insert(name.to_owned(), words);
                }
                None if relation.kind == "i" => fact.indexes += 1,
                None => {}
            }
        }
        Err(complaint) => {
            fact.damaged.insert(name.to_owned(), complaint.words);
        }
    }
    Ok(())
}

/// The first column of an index: its table, what is indexed and of which rows, and an operator that the index answers and
/// whose both sides are of the indexed type.
const QUESTION: &str = "
select i.indrelid::regclass::text, pg_get_indexdef(i.indexrelid, 1, true), coalesce(pg_get_expr(i.indpred, i.indrelid, true), 'true'),
  (select format('operator(%I.%s)', n.nspname, o.oprname)
   from pg_opclass c join pg_amop s on s.amopfamily = c.opcfamily and s.amoppurpose = 's'
     and s.amoplefttype = c.opcintype and s.amoprighttype = c.opcintype
   join pg_operator o on o.oid = s.amopopr join pg_namespace n on n.oid = o.oprnamespace
   where c.oid = i.indclass[0] order by o.oprname not in ('=', '@>'), s.amopstrategy limit 1),
  quote_ident(r.relname), i.indrelid
from pg_index i join pg_class r on r.oid = i.indexrelid where i.indexrelid = ";

/// Asks an index and a sequential scan the same questions.
async fn scan(
    ctx: &Context,
    session: &Session,
    relation: &Relation,
    name: &str,
    fact: &mut IntegrityFact,
) -> Result<()> {
    let question = session
        .rows(ctx, &format!("{QUESTION}{}", relation.oid))
        .await?;
    let row = question.into_iter().next().unwrap_or_default();
    let [
        Some(table),
        Some(column),
        Some(rows),
        Some(operator),
        Some(index),
        Some(table_oid),
    ] = row.as_slice()
    else {
        let why = format!(
            "no operator of its {} index compares two of its values",
            relation.method
        );
        fact.unchecked.insert(name.to_owned(), why);
        return Ok(());
    };
    // The planner must have no other index to take; nothing of this outlives the transaction.
    let alone = format!(
        "set local allow_system_table_mods = on; \
         update pg_catalog.pg_index set indisvalid = false where indrelid = {table_oid} and indexrelid <> {}",
        relation.oid
    );
    let answers = |value: &String| format!("({column}) {operator} ({value})");
    let forced = |index_scan: &str, table_scan: &str| {
        format!(
            "set local enable_seqscan = {table_scan}; set local enable_indexscan = {index_scan}; \
             set local enable_indexonlyscan = {index_scan}; set local enable_bitmapscan = {index_scan}"
        )
    };
    let values = format!(
        "select distinct quote_literal(({column})::text) || '::' || pg_typeof({column}) from (select * from only {table} where ({rows}) \
         and ({column}) is not null limit 20000) t limit {VALUES}"
    );
    let work = async {
        let values = match session.ask(ctx, &values).await? {
            Ok(values) => values,
            Err(complaint) => return Ok(Err(complaint)),
        };
        if let Err(complaint) = session.ask(ctx, &alone).await? {
            return Ok(Err(complaint));
        }
        session.run(ctx, &forced("on", "off")).await?;
        let mut asked = Vec::new();
        for value in values.into_iter().flatten().flatten() {
            let ask = format!(
                "select count(*) from only {table} where ({rows}) and {}",
                answers(&value)
            );
            let plan = session.rows(ctx, &format!("explain {ask}")).await?;
            let plan: String = plan.into_iter().flatten().flatten().collect();
            if !plan.contains(index.trim_matches('"')) {
                break;
            }
            match session.ask(ctx, &ask).await? {
                Ok(rows) => asked.push((value, number(&rows))),
                Err(complaint) => return Ok(Err(complaint)),
            }
        }
        if asked.is_empty() {
            return Ok(Ok((false, None)));
        }
        // The table is read once for all values: it may be large.
        let counts = asked.iter().map(|(value, _)| answers(value));
        let counts = counts.map(|answers| format!("count(*) filter (where {answers})"));
        let counts = counts.collect::<Vec<_>>().join(", ");
        session.run(ctx, &forced("off", "on")).await?;
        let read = format!("select {counts} from only {table} where ({rows})");
        let there = match session.ask(ctx, &read).await? {
            Ok(rows) => rows.into_iter().next().unwrap_or_default(),
            Err(complaint) => return Ok(Err(complaint)),
        };
        for ((_, found), there) in asked.iter().zip(&there) {
            let there = there.as_ref().and_then(|count| count.parse().ok());
            if there != Some(*found) {
                let there = there.unwrap_or(0);
                let words = format!("it finds {found} rows where the table has {there}");
                return Ok(Ok((true, Some(words))));
            }
        }
        Ok::<_, Error>(Ok((true, None)))
    };
    let scanning = format!("savepoint {}", identifier("scan"));
    session.run(ctx, &scanning).await?;
    let found = work.await;
    session
        .run(
            ctx,
            "rollback to savepoint \"scan\"; release savepoint \"scan\"",
        )
        .await?;
    match found? {
        Ok((_, Some(words))) => {
            fact.damaged.insert(name.to_owned(), words);
        }
        Ok((true, None)) => fact.indexes += 1,
        Ok((false, None)) => {
            let why = "its table is empty, or the server answers no question of ours by it";
            fact.unchecked.insert(name.to_owned(), why.to_owned());
        }
        Err(complaint) => {
            fact.damaged.insert(name.to_owned(), complaint.words);
        }
    }
    Ok(())
}
