//! Smoke questions: a statement that gives one value, and the answer that passes.
//!
//! What a question reads is told by its plan, and where that names nothing, by what the server counted while it answered: a
//! function may read what no plan shows.

use serde_json::Value;

use crate::context::Context;
use crate::error::Result;
use crate::evidence::SmokeFact;
use crate::service::postgres::session::Session;
use crate::suite::Smoke;

/// Schemas that every database has.
const SYSTEM: [&str; 3] = ["pg_catalog", "information_schema", "pg_toast"];

/// Why an answer from the catalogue shows nothing. Beside another one that comes from rows it shows what it was asked for.
const CATALOGUE: &str = "it reads the catalogue alone, which a dump of no row has too";

/// Scans of what users made, as counted until now and not told to the others yet.
const SCANS: &str = "select coalesce(sum(coalesce(seq_scan, 0) + coalesce(idx_scan, 0)), 0) from pg_catalog.pg_stat_xact_user_tables";

/// Asks one question, in a transaction that cannot write.
pub async fn ask(ctx: &Context, session: &Session, question: &Smoke) -> Result<SmokeFact> {
    session.run(ctx, "begin transaction read only").await?;
    let before = session.value(ctx, SCANS).await?;
    let answer = match session.ask(ctx, &question.ask).await? {
        Ok(rows) => match rows.as_slice() {
            [row] => match row.as_slice() {
                [Some(value)] => Ok(value.clone()),
                [None] => Err("the answer is NULL".to_owned()),
                columns => Err(format!(
                    "the answer has {} columns instead of one",
                    columns.len()
                )),
            },
            rows => Err(format!("the answer has {} rows instead of one", rows.len())),
        },
        Err(complaint) => Err(complaint.words),
    };
    let void = match answer.is_ok() {
        true if session.value(ctx, SCANS).await? != before => None,
        true => void(ctx, session, &question.ask).await?,
        false => None,
    };
    session.run(ctx, "rollback").await?;
    let mut fact = SmokeFact::of(question, answer);
    fact.void = void.or(fact.void);
    Ok(fact)
}

/// Where any answer shows something of the rows, those from the catalogue are what they are meant to be: more of the same
/// database.
pub fn together(facts: &mut [SmokeFact]) {
    let shows = |fact: &SmokeFact| fact.answer.is_ok() && fact.void.is_none();
    if facts.iter().any(shows) {
        for fact in facts.iter_mut().filter(|it| it.void == Some(CATALOGUE)) {
            fact.void = None;
        }
    }
}

/// Why the answer to a statement shows nothing of the rows, by its plan: it reads nothing that a user made.
async fn void(ctx: &Context, session: &Session, sql: &str) -> Result<Option<&'static str>> {
    const NOTHING: Option<&str> = Some("it reads no table of the database");
    let explain = format!("explain (verbose, format json) {sql}");
    let Ok(rows) = session.ask(ctx, &explain).await? else {
        return Ok(NOTHING);
    };
    let lines: Vec<String> = rows.into_iter().flatten().flatten().collect();
    let plan = serde_json::from_str(&lines.join("\n")).unwrap_or_default();
    Ok(match names_a_relation(&plan) {
        Some(true) => None,
        Some(false) => Some(CATALOGUE),
        None => NOTHING,
    })
}

/// Whether a plan names a relation, and whether one of them is of a user.
fn names_a_relation(plan: &Value) -> Option<bool> {
    match plan {
        Value::Object(node) => {
            let schema = node.get("Schema").and_then(Value::as_str);
            let schema = schema.filter(|_| node.contains_key("Relation Name"));
            let own = schema.map(|schema| !SYSTEM.contains(&schema));
            own.max(node.values().filter_map(names_a_relation).max())
        }
        Value::Array(nodes) => nodes.iter().filter_map(names_a_relation).max(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_nothing_or_the_catalogue_alone_or_data() {
        let names = |text: &str| names_a_relation(&serde_json::from_str(text).expect("json"));
        assert_eq!(names(r#"[{"Plan": {"Node Type": "Result"}}]"#), None);
        let scan = |schema: &str| {
            format!(
                r#"[{{"Plan": {{"Node Type": "Aggregate", "Plans": [{{"Node Type": "Seq Scan", "Relation Name": "t", "Schema": "{schema}"}}]}}}}]"#
            )
        };
        assert_eq!(names(&scan("public")), Some(true));
        assert_eq!(names(&scan("pg_catalog")), Some(false));
        assert_eq!(names(&scan("information_schema")), Some(false));
    }

    #[test]
    fn an_answer_from_the_catalogue_shows_something_beside_one_from_rows_alone() {
        let fact = |void| SmokeFact {
            name: String::new(),
            expected: String::new(),
            answer: Ok("1".to_owned()),
            holds: true,
            void,
        };
        let voids = |of: &[Option<&'static str>]| -> Vec<bool> {
            let mut facts: Vec<_> = of.iter().copied().map(fact).collect();
            together(&mut facts);
            facts.iter().map(|it| it.void.is_some()).collect()
        };
        assert_eq!(
            voids(&[None, Some(CATALOGUE), Some("it is another")]),
            [false, false, true]
        );
        assert_eq!(
            voids(&[Some(CATALOGUE), Some("it is another")]),
            [true, true]
        );
    }
}
