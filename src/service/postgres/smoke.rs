//! Smoke questions: a statement that gives one value, and the answer that passes.

use crate::context::Context;
use crate::error::Result;
use crate::evidence::SmokeFact;
use crate::service::postgres::session::Session;
use crate::suite::Smoke;

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
    session.run(ctx, "rollback").await?;
    Ok(SmokeFact::of(question, answer))
}
