//! Smoke questions: a statement that gives one value, and the answer that passes.

use serde_json::Value;

use crate::context::Context;
use crate::error::Result;
use crate::evidence::SmokeFact;
use crate::service::postgres::session::Session;
use crate::suite::Smoke;

/// Schemas that every database has.
const SYSTEM: [&str; 3] = ["pg_catalog", "information_schema", "pg_toast"];

/// Asks one question, in a transaction that cannot write.
pub async fn ask(ctx: &Context, session: &Session, question: &Smoke) -> Result<SmokeFact> {
    session.run(ctx, "begin transaction read only").await?;
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
    let reads = match answer.is_ok() {
        true => reads(ctx, session, &question.ask).await?,
        false => true,
    };
    session.run(ctx, "rollback").await?;
    let mut fact = SmokeFact::of(question, answer);
    if !reads {
        fact.void = Some("it reads no table of the database");
    }
    Ok(fact)
}

/// Whether the plan of a statement reads what a user made: an answer that comes from nowhere else is one of the server alone.
async fn reads(ctx: &Context, session: &Session, sql: &str) -> Result<bool> {
    let explain = format!("explain (verbose, format json) {sql}");
    let Ok(rows) = session.ask(ctx, &explain).await? else {
        return Ok(false);
    };
    let lines: Vec<String> = rows.into_iter().flatten().flatten().collect();
    let plan = serde_json::from_str(&lines.join("\n"));
    Ok(plan.is_ok_and(|plan| names_a_relation(&plan)))
}

fn names_a_relation(plan: &Value) -> bool {
    match plan {
        Value::Object(node) => {
            let schema = node.get("Schema").and_then(Value::as_str);
            let own = schema.is_some_and(|schema| !SYSTEM.contains(&schema));
            node.contains_key("Relation Name") && own || node.values().any(names_a_relation)
        }
        Value::Array(nodes) => nodes.iter().any(names_a_relation),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_reads_the_catalogue_alone_reads_no_data() {
        let names = |text: &str| names_a_relation(&serde_json::from_str(text).expect("json"));
        assert!(!names(r#"[{"Plan": {"Node Type": "Result"}}]"#));
        let scan = |schema: &str| {
            format!(
                r#"[{{"Plan": {{"Node Type": "Aggregate", "Plans": [{{"Node Type": "Seq Scan", "Relation Name": "t", "Schema": "{schema}"}}]}}}}]"#
            )
        };
        assert!(names(&scan("public")));
        assert!(!names(&scan("pg_catalog")) && !names(&scan("information_schema")));
    }
}
