//! Smoke questions: a statement that gives one value, and the answer that passes.

use crate::context::Context;
use crate::error::Result;
use crate::evidence::SmokeFact;
use crate::service::postgres::session::Session;
use crate::suite::{Expect, Smoke};

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
    Ok(fact(question, answer))
}

/// A question with its answer, or with why there is none.
pub fn fact(question: &Smoke, answer: Result<String, String>) -> SmokeFact {
    SmokeFact {
        name: question.name.clone(),
        expected: expected(&question.expect),
        holds: answer
            .as_ref()
            .is_ok_and(|answer| holds(&question.expect, answer)),
        answer,
    }
}

fn expected(expect: &Expect) -> String {
    match expect {
        Expect::Equals(text) => text.clone(),
        Expect::AtLeast(least) => format!("at least {least}"),
        Expect::Between(least, most) => format!("between {least} and {most}"),
    }
}

fn holds(expect: &Expect, answer: &str) -> bool {
    let number = || answer.trim().parse::<f64>().ok();
    match expect {
        Expect::Equals(text) => text == answer,
        Expect::AtLeast(least) => number().is_some_and(|number| number >= *least),
        Expect::Between(least, most) => {
            number().is_some_and(|number| (*least..=*most).contains(&number))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_no_number_is_never_enough() {
        assert!(holds(&Expect::AtLeast(3.0), "3"));
        for answer in ["2.99", "NaN", "", "many"] {
            assert!(!holds(&Expect::AtLeast(3.0), answer));
            assert!(!holds(&Expect::Between(0.0, 2.0), answer));
        }
        assert!(holds(&Expect::Equals("t".into()), "t"));
    }
}
