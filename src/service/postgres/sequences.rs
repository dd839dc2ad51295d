//! Sequences with their next value, and how far the columns that they feed have come.

use crate::context::Context;
use crate::error::{Error, Result};
use crate::evidence::SequenceFact;
use crate::service::postgres::session::{Row, Session};

/// A sequence that could not be read, and the server's words.
pub type Unreadable = (String, String);

/// Reads every sequence. The session must be in a transaction.
pub async fn read(
    ctx: &Context,
    session: &Session,
) -> Result<(Vec<SequenceFact>, Vec<Unreadable>)> {
    let (mut facts, mut unreadable) = (Vec::new(), Vec::new());
    for row in session.rows(ctx, SEQUENCES).await? {
        let [Some(name), Some(increment), column, table, quoted] = row.as_slice() else {
            return Err(unexpected());
        };
        let increment: i64 = increment.parse().map_err(|_| unexpected())?;
        let reached = match (table, quoted) {
            (Some(table), Some(column)) => {
                let extreme = if increment < 0 { "min" } else { "max" };
                format!("(select trunc({extreme}({column})::numeric) from {table})")
            }
            _ => "null".to_owned(),
        };
        match session
            .attempt(
                ctx,
                &format!("select last_value, is_called, {reached} from {name}"),
            )
            .await?
        {
            Ok(rows) => facts.push(SequenceFact {
                name: name.clone(),
                increment,
                column: column.clone().unwrap_or_default(),
                ..state(&rows, increment).ok_or_else(unexpected)?
            }),
            Err(complaint) => unreadable.push((format!("sequence {name}"), complaint.words)),
        }
    }
    Ok((facts, unreadable))
}

/// The value that would be handed out next, and the value reached.
fn state(rows: &[Row], increment: i64) -> Option<SequenceFact> {
    let [row] = rows else { return None };
    let [Some(last), Some(called), reached] = row.as_slice() else {
        return None;
    };
    let last: i64 = last.parse().ok()?;
    Some(SequenceFact {
        next: if called == "t" {
            last.saturating_add(increment)
        } else {
            last
        },
        reached: reached.as_ref().and_then(|value| value.parse().ok()),
        ..SequenceFact::default()
    })
}

fn unexpected() -> Error {
    Error::defect("the list of sequences has an unexpected shape")
}

/// Sequence, increment, the column it feeds (`schema.table.column`), and where that column's type is a whole number
/// (or a domain over one), its table and name as SQL. A sequence feeds the column that owns it and every column whose
/// default calls it; of a partitioned table only the root counts.
const SEQUENCES: &str = "
with feed as (
  select objid as sequence, refobjid as relation, refobjsubid::int2 as attribute from pg_depend
  where classid = 'pg_class'::regclass and refclassid = 'pg_class'::regclass and deptype in ('a', 'i') and refobjsubid > 0
  union
  select d.refobjid, v.adrelid, v.adnum from pg_depend d join pg_attrdef v on v.oid = d.objid
  where d.classid = 'pg_attrdef'::regclass and d.refclassid = 'pg_class'::regclass
), fed as (
  select f.sequence, format('%I.%I', n.nspname, t.relname) as tab, format('%I', a.attname) as col, base.oid as type
  from feed f join pg_class t on t.oid = f.relation and not t.relispartition and t.relkind in ('r', 'p')
  join pg_namespace n on n.oid = t.relnamespace
  join pg_attribute a on a.attrelid = f.relation and a.attnum = f.attribute and not a.attisdropped
  cross join lateral (
    with recursive y as (
      select oid, typbasetype from pg_type where oid = a.atttypid
      union all select p.oid, p.typbasetype from y join pg_type p on p.oid = y.typbasetype)
    select oid from y where typbasetype = 0) as base
)
select format('%I.%I', n.nspname, c.relname), q.seqincrement, f.tab || '.' || f.col,
  case when f.type in (20, 21, 23, 1700) then f.tab end, f.col
from pg_sequence q join pg_class c on c.oid = q.seqrelid join pg_namespace n on n.oid = c.relnamespace
left join fed f on f.sequence = q.seqrelid
where c.oid >= 16384 and c.relpersistence <> 't'
order by 1, 3";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_that_was_set_but_not_called_hands_out_its_last_value_itself() {
        let row = |called: &str| {
            vec![vec![
                Some("7".into()),
                Some(called.into()),
                Some("7".into()),
            ]]
        };
        assert_eq!(state(&row("t"), 1).map(|fact| fact.next), Some(8));
        assert_eq!(state(&row("f"), 1).map(|fact| fact.next), Some(7));
        assert_eq!(state(&row("t"), -3).map(|fact| fact.next), Some(4));
    }
}
