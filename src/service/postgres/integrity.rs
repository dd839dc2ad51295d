//! Whether a whole cluster is sound on disk: every page of every relation of every database read through the server,
//! every index checked against its table.
//!
//! Pages are read by pg_prewarm into shared buffers, which holds each to its checksum. Tables and B-trees are checked by
//! amcheck (`heapallindexed`), and a unique B-tree that is sound is searched for keys that it holds twice; an index of another
//! kind is asked for what its own table holds ([`questions`]). Both extensions come with the server, and are put into a
//! transaction that is rolled back. A database that lets nobody in, as template0, is opened for the while; one that was left half dropped cannot be, and is told. What the server
//! refuses because of what it finds on the disk is damage; what it could not be asked, or not in time, is noted apart, as it
//! is not known to be sound. Not here: what the rows hold (see [`super::content`]).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::evidence::{IntegrityFact, Unable};
use crate::service::Running;
use crate::service::postgres::session::{Complaint, Row, Session, TOO_LONG, identifier, literal};

mod questions;

/// Everything with storage, an index's kind, whether it is in use, and of a unique one the statement that counts the keys that
/// are there more than once: by its own expressions, collations, predicate and notion of NULL. Where it compares by another
/// operator than its type does, there is no such statement, and an empty text.
const RELATIONS: &str = "
select c.oid, c.oid::regclass::text, c.relkind, coalesce(a.amname, ''), coalesce(i.indexrelid is null or (i.indisvalid and i.indisready), false),
  case when i.indisunique then case when k.comparable
    then format('select count(*) from (select from only %s where (%s)%s group by %s having count(*) > 1) twice', i.indrelid::regclass,
      coalesce(pg_get_expr(i.indpred, i.indrelid, true), 'true'),
      case when to_jsonb(i) ->> 'indnullsnotdistinct' = 'true' then '' else k.known end, k.keys)
    else '' end end, pg_relation_size(c.oid) + coalesce(pg_relation_size(i.indrelid), 0)
from pg_class c left join pg_am a on a.oid = c.relam left join pg_index i on i.indexrelid = c.oid
left join lateral (
  select string_agg(key || case when l.oid is null then '' else format(' collate %I.%I', s.nspname, l.collname) end, ', ' order by n) as keys,
    string_agg(format(' and %s is distinct from null', key), '' order by n) as known,
    bool_and(exists (select from pg_opclass o join pg_amop p on p.amopfamily = o.opcfamily and p.amopstrategy = 3
        and p.amoplefttype = o.opcintype and p.amoprighttype = o.opcintype
      join pg_opclass d on d.opcmethod = o.opcmethod and d.opcintype = o.opcintype and d.opcdefault
      join pg_amop q on q.amopfamily = d.opcfamily and q.amopstrategy = 3 and q.amopopr = p.amopopr
      where o.oid = i.indclass[n - 1])) as comparable
  from (select n, pg_get_indexdef(i.indexrelid, n, true) as key from generate_series(1, i.indnkeyatts::integer) n) k
  left join pg_collation l on l.oid = i.indcollation[n - 1] left join pg_namespace s on s.oid = l.collnamespace
) k on i.indisunique
where c.relkind in ('r', 'm', 't', 'i', 'S') and c.relpersistence <> 't' and pg_relation_filenode(c.oid) is not null
order by c.oid";

/// Every database, whether it lets anybody in, and whether it was left half dropped.
const DATABASES: &str =
    "select datname, datallowconn, datconnlimit = -2 from pg_database order by datname";

/// Reads and checks every database of a server.
pub async fn inspect(ctx: &Context, server: &dyn Running) -> Result<IntegrityFact> {
    let session = Session::open(ctx, server, "template1").await?;
    let databases = session.rows(ctx, DATABASES).await?;
    let checksums = session.value(ctx, "show data_checksums").await?;
    let mut fact = IntegrityFact {
        checksums: checksums.as_deref() == Some("on"),
        ..IntegrityFact::default()
    };
    for row in databases {
        let [Some(database), Some(open), Some(half_dropped)] = row.as_slice() else {
            return Err(Error::defect(
                "the list of databases has an unexpected shape",
            ));
        };
        ctx.go_on()?;
        let name = format!("database {database}");
        if half_dropped == "t" {
            fact.unable.insert(name, Unable::HalfDropped);
            continue;
        }
        let let_in = |truth: bool| {
            format!(
                "alter database {} with allow_connections {truth}",
                identifier(database)
            )
        };
        let closed = open == "f";
        if closed && let Err(complaint) = session.ask(ctx, &let_in(true)).await? {
            let why = format!("it lets nobody in: {}", complaint.words);
            fact.unable.insert(name, Unable::Closed(why));
            continue;
        }
        let looked_at = one(ctx, server, database, &mut fact).await;
        if closed {
            session.run(ctx, &let_in(false)).await?;
        }
        match looked_at {
            Err(error) if error.kind() == Kind::TimedOut => {
                let why = Unable::Unanswered(error.message());
                fact.unable.insert(name, why);
            }
            looked_at => looked_at?,
        }
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
    /// Bytes that are read to look at it.
    bytes: u64,
    /// Of a unique index, what counts the keys that are there more than once.
    duplicates: Option<String>,
}

/// How long any relation may be looked at, and for each of these bytes a second more: a disk that reads no faster is no disk.
const LEAST: Duration = Duration::from_secs(600);
const A_SECOND: u64 = 8 << 20;
/// Bytes of a page, as nearly every server is built.
const PAGE: u64 = 8192;

impl Relation {
    fn patience(&self) -> Duration {
        LEAST + Duration::from_secs(self.bytes / A_SECOND)
    }

    /// Notes what the server said instead of an answer: damage, where it tells of what is on the disk (classes XX and 58). Else
    /// this one is not known to be sound, unless it is an index of which the server cannot be asked at all: that lies in how
    /// the index is defined.
    fn refused(&self, name: &str, complaint: Complaint, fact: &mut IntegrityFact) {
        let Complaint { state, words } = complaint;
        if state.starts_with("XX") || state.starts_with("58") {
            fact.damaged.insert(name.to_owned(), words);
            return;
        }
        let why = match state.as_str() {
            TOO_LONG => format!(
                "the server was not done with it within {}",
                humantime::format_duration(self.patience())
            ),
            _ => format!("the server cannot be asked: {words}"),
        };
        let another_time = NOT_NOW.iter().any(|class| state.starts_with(class));
        if self.kind == "i" && !another_time {
            fact.unchecked.insert(name.to_owned(), why);
        } else {
            fact.unable.insert(name.to_owned(), Unable::Unanswered(why));
        }
    }
}

/// Classes of complaints that are of the moment: too little memory or disk, somebody else's lock, an end that was asked for.
const NOT_NOW: [&str; 4] = ["40", "53", "55", "57"];

async fn one(
    ctx: &Context,
    server: &dyn Running,
    database: &str,
    fact: &mut IntegrityFact,
) -> Result<()> {
    let session = Session::open(ctx, server, database).await?;
    session.run(ctx, "begin").await?;
    // What reads everything once is neither worth compiling nor to be sorted on disk.
    session
        .run(ctx, "set local jit = off; set local work_mem = '64MB'")
        .await?;
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
            let read = session.attempt_within(ctx, &read, relation.patience());
            match read.await? {
                Ok(rows) => fact.pages += number(&rows),
                Err(complaint) => {
                    relation.refused(&name, complaint, fact);
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
        let name = format!("database {database}");
        fact.unable.insert(name, Unable::Lacks(why));
    }
    Ok(schema)
}

fn relation(row: &Row) -> Option<Relation> {
    let [oid, name, kind, method, valid, duplicates, bytes] = row.as_slice() else {
        return None;
    };
    Some(Relation {
        oid: oid.clone()?,
        name: name.clone()?,
        kind: kind.clone()?,
        method: method.clone()?,
        valid: valid.as_deref() == Some("t"),
        bytes: bytes.as_ref()?.parse().ok()?,
        duplicates: duplicates.clone(),
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
            return questions::ask(ctx, session, relation, name, fact).await;
        }
        _ => return Ok(()),
    };
    let asked = session.attempt_within(ctx, &sql, relation.patience());
    match asked.await? {
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
                None if relation.kind == "i" => {
                    fact.indexes += 1;
                    look_for_duplicates(ctx, session, relation, name, fact).await?;
                }
                None => {}
            }
        }
        Err(complaint) => relation.refused(name, complaint, fact),
    }
    Ok(())
}

/// Whether a unique B-tree holds a key twice. Its order was found to be right and no row to be missing, so that the server may
/// read it in that order.
async fn look_for_duplicates(
    ctx: &Context,
    session: &Session,
    relation: &Relation,
    name: &str,
    fact: &mut IntegrityFact,
) -> Result<()> {
    let Some(sql) = &relation.duplicates else {
        return Ok(());
    };
    if sql.is_empty() {
        let why = "it was not searched for duplicates: it compares otherwise than its type does";
        fact.unchecked.insert(name.to_owned(), why.to_owned());
        return Ok(());
    }
    let asked = session.attempt_within(ctx, sql, relation.patience());
    match asked.await? {
        Ok(rows) => match number(&rows) {
            0 => {}
            keys => {
                let words = format!("it is unique, and holds duplicates: of {keys} keys");
                fact.damaged.insert(name.to_owned(), words);
            }
        },
        Err(complaint) => relation.refused(name, complaint, fact),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_the_moment_leaves_an_index_unknown_and_what_lies_in_its_definition_is_told() {
        let noted = |kind: &str, state: &str| {
            let relation = Relation {
                oid: "1".to_owned(),
                name: "it".to_owned(),
                kind: kind.to_owned(),
                method: "hash".to_owned(),
                valid: true,
                bytes: 0,
                duplicates: None,
            };
            let complaint = Complaint {
                state: state.to_owned(),
                words: "why".to_owned(),
            };
            let mut fact = IntegrityFact::default();
            relation.refused("it", complaint, &mut fact);
            [fact.damaged.len(), fact.unable.len(), fact.unchecked.len()]
        };
        let (damaged, unknown, told) = ([1, 0, 0], [0, 1, 0], [0, 0, 1]);
        for (kind, state, expected) in [
            // Not done in time, out of memory, a full disk, another's lock.
            ("i", TOO_LONG, unknown),
            ("i", "53200", unknown),
            ("i", "53100", unknown),
            ("i", "55P03", unknown),
            // A function that is not on the search path, a question too long to be read.
            ("i", "42883", told),
            ("i", "54000", told),
            ("i", "XX002", damaged),
            ("r", "58P01", damaged),
            ("r", "42883", unknown),
        ] {
            assert_eq!(noted(kind, state), expected, "{kind} {state}");
        }
    }
}
