//! Indexes of kinds that amcheck does not know, asked for what their own table holds: a row that an index misses is not found
//! by it.
//!
//! Of every key column, each value is looked for through the index, and must be found as often as it is in the table; of a BRIN
//! index that keeps minima and maxima, those of every range of pages, which are all that matters. What an index answers by
//! going through all of its entries is counted as well. Of a table of very many values only some are looked for, what lies last
//! in it first; that is said, unless the entries were counted one by one. How many is decided by the pages that the server
//! reads for them, so that a busy machine looks for as many as an idle one, and takes longer. An index that has no
//! question by its kind is told, and one that should have answered, or was not done in time, is not known to be sound.

use serde_json::Value;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::evidence::{IntegrityFact, Unable};
use crate::service::postgres::session::{Complaint, Row, Session};

use super::{PAGE, Relation, number};

/// How many pages the server may read, whatever the index's size, to look for the values of one column; and beside that as many
/// as index and table have.
const BUDGET: u64 = 1 << 19;
/// How many values are looked for at first, to see how many pages that takes; then twice as many each time.
const FIRST: u64 = 64;
/// In a larger table, so many rows are drawn, and their values looked for.
const DRAWN: u64 = 1_000_000;
/// Those of the last pages always are, before all others.
const LAST_PAGES: u64 = 8;
const LATE: u64 = 256;

/// The key columns of an index: what is indexed, with its collation where that is not the column's; an operator of the index by which a value is found when asked for itself;
/// the argument that is made of a value (`a`; of a very long document, of its first thousand words, as the server parses no
/// question of any length); whether it keeps minima and maxima; conditions by which it goes through all its entries, as JSON;
/// whether these are single rows. Then: its table, which rows of it, its own name, the table's oid, pages of a range, rows and
/// pages of the table.
const COLUMNS: &str = r"
select k.key, coalesce(case f.opfname when 'tsvector_ops' then 'operator(pg_catalog.@@)' end,
    (select format('operator(%I.%s)', s.nspname, o.oprname)
      from pg_amop p join pg_operator o on o.oid = p.amopopr join pg_namespace s on s.oid = o.oprnamespace
      where p.amopfamily = c.opcfamily and p.amoppurpose = 's' and p.amoplefttype = c.opcintype and p.amoprighttype = c.opcintype
        and o.oprname::text = any (k.reflexive)
      order by array_position(k.reflexive, o.oprname::text) limit 1)),
  case f.opfname when 'tsvector_ops'
    then $x$(select string_agg('''' || replace(replace(l, '\', '\\'), '''', '''''') || '''', ' & ') from unnest((tsvector_to_array(a))[:1000]) l)$x$
    else 'a' end,
  c.opcname like '%\_minmax\_ops' and to_regprocedure(format('pg_catalog.min(%s)', format_type(c.opcintype, null))) is not null,
  to_json(case when m.amname = 'brin' then '{}'
    when pg_index_column_has_property(i.indexrelid, n, 'search_nulls')
      then case n when 1 then array[k.key || ' is not null', k.key || ' is null'] else '{}' end
    when m.amname <> 'gin' then '{}'
    when f.opfname = 'array_ops' then array[k.key || $x$ operator(pg_catalog.@>) '{}'$x$]
    when f.opfname in ('jsonb_ops', 'jsonb_path_ops') then array[k.key || $x$ operator(pg_catalog.@>) '{}'::jsonb$x$]
    when f.opfname = 'tsvector_ops' then array[k.key || $x$ operator(pg_catalog.@@) '!redrill'::tsquery$x$]
    else '{}' end),
  pg_index_column_has_property(i.indexrelid, n, 'search_nulls') and m.amname <> 'brin',
  i.indrelid::regclass::text, coalesce(pg_get_expr(i.indpred, i.indrelid, true), 'true'), r.relname, i.indrelid,
  coalesce((select substr(o, 17) from unnest(r.reloptions) o where o like 'pages_per_range=%'), '128'),
  greatest(t.reltuples, 0)::bigint, pg_relation_size(t.oid) / current_setting('block_size')::bigint
from pg_index i join pg_class r on r.oid = i.indexrelid join pg_class t on t.oid = i.indrelid join pg_am m on m.oid = r.relam
cross join generate_series(1, i.indnkeyatts::integer) n
join pg_opclass c on c.oid = i.indclass[n - 1] join pg_opfamily f on f.oid = c.opcfamily
left join pg_collation l on l.oid = i.indcollation[n - 1] left join pg_namespace ls on ls.oid = l.collnamespace
cross join lateral (select pg_get_indexdef(i.indexrelid, n, true) || case
    when i.indcollation[n - 1] in (0, coalesce((select attcollation from pg_attribute where attrelid = i.indrelid and attnum = i.indkey[n - 1]), 100))
    then '' else format(' collate %I.%I', ls.nspname, l.collname) end as key, array['=', '~=', '@>', '<@', '&&', '<=', '>='] as reflexive) k
where i.indexrelid = ";

struct Column {
    key: String,
    operator: Option<String>,
    argument: String,
    ranges: bool,
    /// Conditions by which the index goes through all of its entries.
    everything: Vec<String>,
    /// Each of which is then a row of its own.
    by_row: bool,
    table: String,
    rows: String,
    index: String,
    table_oid: String,
    pages_per_range: u64,
    estimated: u64,
    pages: u64,
}

fn column(row: &Row) -> Option<Column> {
    let [
        key,
        operator,
        argument,
        ranges,
        everything,
        by_row,
        table,
        rows,
        index,
        oid,
        per_range,
        estimated,
        pages,
    ] = row.as_slice()
    else {
        return None;
    };
    let number = |text: &Option<String>| text.as_ref()?.parse().ok();
    Some(Column {
        key: key.clone()?,
        operator: operator.clone(),
        argument: argument.clone()?,
        ranges: ranges.as_deref() == Some("t"),
        everything: serde_json::from_str(everything.as_ref()?).ok()?,
        by_row: by_row.as_deref() == Some("t"),
        table: table.clone()?,
        rows: rows.clone()?,
        index: index.clone()?,
        table_oid: oid.clone()?,
        pages_per_range: number(per_range)?,
        estimated: number(estimated)?,
        pages: number(pages)?,
    })
}

/// What came of asking about one column.
#[derive(Default)]
struct Answer {
    /// The index was asked, and the server answered by it.
    asked: bool,
    /// The table has rows that it should find.
    rows: bool,
    /// In which way it does not agree with its table.
    differs: Option<String>,
    /// How much of it was looked at, where that is not all.
    sampled: Option<String>,
}

/// Asks an index of a kind that amcheck does not know about every one of its columns.
pub(super) async fn ask(
    ctx: &Context,
    session: &Session,
    relation: &Relation,
    name: &str,
    fact: &mut IntegrityFact,
) -> Result<()> {
    let rows = session
        .rows(ctx, &format!("{COLUMNS}{} order by n", relation.oid))
        .await?;
    let (mut empty, mut mute, mut passed_over) = (Vec::new(), Vec::new(), Vec::new());
    let mut sampled = Vec::new();
    for row in rows {
        let column = column(&row)
            .ok_or_else(|| Error::defect("the columns of an index have an unexpected shape"))?;
        session.run(ctx, "savepoint questions").await?;
        let answer = column.ask(ctx, session, relation).await;
        session
            .run(
                ctx,
                "rollback to savepoint questions; release savepoint questions",
            )
            .await?;
        let answer = match answer? {
            Ok(answer) => answer,
            Err(complaint) => {
                relation.refused(name, complaint, fact);
                return Ok(());
            }
        };
        if let Some(words) = answer.differs {
            fact.damaged.insert(name.to_owned(), words);
            return Ok(());
        }
        match answer {
            Answer { asked: true, .. } => {}
            _ if !column.has_questions() => mute.push(column.key),
            Answer { rows: false, .. } => empty.push(column.key),
            _ => passed_over.push(column.key),
        }
        sampled.extend(answer.sampled);
    }
    let method = &relation.method;
    if !passed_over.is_empty() {
        let why = format!(
            "the server does not go by this {method} index when it is asked for {}",
            passed_over.join(", ")
        );
        fact.unable.insert(name.to_owned(), Unable::Unanswered(why));
    } else if !mute.is_empty() {
        let why = format!(
            "{}: this {method} index has no operator by which a value is found when it is asked for itself",
            mute.join(", ")
        );
        fact.unchecked.insert(name.to_owned(), why);
    } else if !empty.is_empty() {
        let why = format!("{}: its table has no value to look for", empty.join(", "));
        fact.unchecked.insert(name.to_owned(), why);
    } else {
        fact.indexes += 1;
    }
    if !sampled.is_empty() {
        fact.sampled.insert(name.to_owned(), sampled.join("; "));
    }
    Ok(())
}

type Answered<T> = Result<std::result::Result<T, Complaint>>;

/// Gives back what the server complains of.
macro_rules! answered {
    ($asked:expr) => {
        match $asked.await? {
            Ok(rows) => rows,
            Err(complaint) => return Ok(Err(complaint)),
        }
    };
}

/// By which paths the server may go.
fn forced(index_scan: &str, table_scan: &str) -> String {
    format!(
        "set local enable_seqscan = {table_scan}; set local enable_tidscan = {table_scan}; set local enable_indexscan = {index_scan}; \
         set local enable_indexonlyscan = {index_scan}; set local enable_bitmapscan = {index_scan}"
    )
}

/// What `explain` says, as JSON.
fn plan(rows: Vec<Row>) -> Option<Value> {
    let lines: Vec<String> = rows.into_iter().flatten().flatten().collect();
    serde_json::from_str(&lines.join("\n")).ok()
}

/// How many values may be looked for where the first ones took so many pages: at least these.
fn afforded(bytes: u64, pages: u64, first: u64) -> u64 {
    let budget = BUDGET + bytes / PAGE;
    (budget * first / pages.max(1)).max(first)
}

/// How many pages a plan read that was carried out.
fn pages_read(plan: &Value) -> u64 {
    let top = plan.get(0).and_then(|it| it.get("Plan"));
    let blocks = |name: &str| top?.get(name)?.as_u64();
    let (hit, read) = (blocks("Shared Hit Blocks"), blocks("Shared Read Blocks"));
    hit.unwrap_or(0) + read.unwrap_or(0)
}

/// Whether a plan reads an index of this name.
fn goes_by(plan: &Value, index: &str) -> bool {
    match plan {
        Value::Object(node) => {
            node.get("Index Name").and_then(Value::as_str) == Some(index)
                || node.values().any(|it| goes_by(it, index))
        }
        Value::Array(nodes) => nodes.iter().any(|it| goes_by(it, index)),
        _ => false,
    }
}

impl Column {
    async fn ask(&self, ctx: &Context, session: &Session, relation: &Relation) -> Answered<Answer> {
        let (mut answer, patience) = (Answer::default(), relation.patience());
        session.run(ctx, &forced("off", "on")).await?;
        let mut in_table = Vec::new();
        for condition in &self.everything {
            in_table.push(number(&answered!(session.attempt_within(
                ctx,
                &self.count(condition),
                patience
            ))));
        }
        let mut values = 0;
        let question = self.question();
        if let Some((_, collect)) = &question {
            answered!(session.attempt_within(ctx, collect, patience));
            let count = "select count(*) from pg_temp.redrill_values";
            values = number(&answered!(session.ask(ctx, count)));
        }
        answer.rows = values > 0 || in_table.iter().any(|rows| *rows > 0);
        // The planner must have no other index to take; nothing of this outlives the savepoint.
        let alone = format!(
            "set local allow_system_table_mods = on; \
             update pg_catalog.pg_index set indisvalid = false where indrelid = {} and indexrelid <> {}",
            self.table_oid, relation.oid
        );
        answered!(session.ask(ctx, &alone));
        session.run(ctx, &forced("on", "off")).await?;
        let mut counted = false;
        for (condition, there) in self.everything.iter().zip(in_table) {
            let count = self.count(condition);
            if !answered!(self.is_used(ctx, session, &count)) {
                continue;
            }
            (answer.asked, counted) = (true, true);
            let found = number(&answered!(session.attempt_within(ctx, &count, patience)));
            if found != there {
                answer.differs = Some(format!("it finds {found} rows where the table has {there}"));
                return Ok(Ok(answer));
            }
        }
        let Some((missed, _)) = question else {
            return Ok(Ok(answer));
        };
        let (mut done, mut step, mut most) = (0, FIRST, values);
        while done < most {
            let until = most.min(done + step);
            let ask = format!(
                "select count(*) filter (where {missed}) from pg_temp.redrill_values redrill_v where i > {done} and i <= {until}"
            );
            if done == 0 && !answered!(self.is_used(ctx, session, &ask)) {
                answer.asked = counted && self.by_row;
                return Ok(Ok(answer));
            }
            answer.asked = true;
            let wrong = number(&answered!(session.attempt_within(ctx, &ask, patience)));
            if wrong > 0 {
                answer.differs = Some(format!(
                    "of {} values of {}, it does not find all rows of {wrong}",
                    until - done,
                    self.key
                ));
                return Ok(Ok(answer));
            }
            if done == 0 && until < values {
                let explain = format!("explain (analyze, buffers, timing off, format json) {ask}");
                let carried_out = answered!(session.attempt_within(ctx, &explain, patience));
                let pages = plan(carried_out).as_ref().map_or(0, pages_read);
                most = values.min(afforded(relation.bytes, pages, until));
            }
            (done, step) = (until, step * 2);
        }
        let drawn = self.share() < 100.0 && !self.ranges;
        if (done < values || drawn) && !(counted && self.by_row) {
            let of = if drawn { "more than " } else { "" };
            answer.sampled = Some(format!(
                "{done} of {of}{values} values of {} were looked for",
                self.key
            ));
        }
        Ok(Ok(answer))
    }

    fn count(&self, condition: &str) -> String {
        let Self { table, rows, .. } = self;
        format!("select count(*) from only {table} where ({rows}) and {condition}")
    }

    /// Whether the server goes by this index, and no other way.
    async fn is_used(&self, ctx: &Context, session: &Session, sql: &str) -> Answered<bool> {
        let explain = format!("explain (format json) {sql}");
        let plan = plan(answered!(session.ask(ctx, &explain)));
        Ok(Ok(plan.is_some_and(|plan| goes_by(&plan, &self.index))))
    }

    /// Whether its kind of index has a question of any sort.
    fn has_questions(&self) -> bool {
        self.operator.is_some() || !self.everything.is_empty()
    }

    /// How much of the table is drawn from, in percent.
    fn share(&self) -> f64 {
        if self.estimated <= DRAWN {
            return 100.0;
        }
        100.0 * DRAWN as f64 / self.estimated as f64
    }

    /// The condition under which a value (`redrill_v`) is not found as it should be, and the statement that collects the values.
    fn question(&self) -> Option<(String, String)> {
        let Self {
            key, table, rows, ..
        } = self;
        let operator = self.operator.as_ref()?;
        // A query of text search is kept as a text: of its own type, no long one goes into a table.
        let value = match self.argument.as_str() {
            "a" => "redrill_v.a",
            _ => "redrill_v.a::pg_catalog.tsquery",
        };
        let found = format!("from only {table} where ({rows}) and {key} {operator} {value}");
        if self.ranges {
            let (pages, per_range) = (self.pages, self.pages_per_range);
            let within = |r: &str| {
                format!(
                    "ctid >= format('(%s,0)', {r})::tid and ctid < format('(%s,0)', {r} + {per_range})::tid"
                )
            };
            let collect = format!(
                "create temp table redrill_values on commit drop as select row_number() over (order by redrill_r desc) as i, redrill_r as r, a \
                 from generate_series(0, {pages} - 1, {per_range}) redrill_r cross join lateral (select min({key}) as low, max({key}) as high \
                 from only {table} where ({rows}) and {}) e cross join lateral (values (low), (high)) v (a) where a is not null; \
                 analyze redrill_values",
                within("redrill_r")
            );
            return Some((
                format!("not exists (select {found} and {})", within("redrill_v.r")),
                collect,
            ));
        }
        let (share, from) = (self.share(), self.pages.saturating_sub(LAST_PAGES));
        let sample = if share < 100.0 {
            format!("tablesample system ({share}) repeatable (1)")
        } else {
            String::new()
        };
        let values = format!("select ({key})::text as k, {key} as a, ctid from only {table}");
        let known = format!("where ({rows}) and {key} is not null");
        let argument = &self.argument;
        let collect = format!(
            "create temp table redrill_values on commit drop as \
             with candidate as (select distinct on (k) k, a, ctid as last from ({values} {sample} {known} \
               union all {values} {known} and ctid >= '({from},0)') c order by k, ctid desc), \
             counted as (select r.k, count(*) as n from ({values} {known}) r where r.k in (select k from candidate) group by r.k) \
             select k, n, a, row_number() over (order by least(late, {LATE}), hashtextextended(k, 0)) as i \
             from (select k, n, {argument} as a, row_number() over (order by last desc) as late from candidate join counted using (k)) v \
             where a is not null; \
             analyze redrill_values"
        );
        let missed = format!("n <> (select count(*) {found} and ({key})::text = redrill_v.k)");
        Some((missed, collect))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_values_are_looked_for_goes_by_the_pages_that_the_first_ones_took() {
        let small = 80 * PAGE;
        // Five pages for each.
        assert_eq!(afforded(small, 5 * FIRST, FIRST), (BUDGET + 80) / 5);
        assert!(afforded(1 << 40, 5 * FIRST, FIRST) > 100 * BUDGET / 5);
        // What takes very many is looked for all the same, the first ones.
        assert_eq!(afforded(small, u64::MAX / (2 * FIRST), FIRST), FIRST);
        assert!(afforded(small, 0, FIRST) > BUDGET);
    }

    #[test]
    fn the_pages_that_a_plan_read_are_those_of_all_of_its_parts() {
        let said = r#"[{"Plan": {"Node Type": "Aggregate", "Shared Hit Blocks": 320, "Shared Read Blocks": 12,
            "Plans": [{"Node Type": "Index Scan", "Index Name": "by_tag", "Shared Hit Blocks": 300}]}}]"#;
        let plan = plan(vec![vec![Some(said.to_owned())]]).expect("a plan");
        assert_eq!(pages_read(&plan), 332);
        assert!(goes_by(&plan, "by_tag") && !goes_by(&plan, "other"));
    }
}
