//! Smoke questions to a Redis server: a command line as one types it to `redis-cli`, with one value for an answer.
//!
//! `GET "some key"` asks database 0, `-n 2 GET key` database 2. Not here: which questions are asked.

use crate::context::Context;
use crate::error::{Error, Result};
use crate::evidence::SmokeFact;
use crate::service::redis::client::{Client, Reply, cmd, complaint, text};
use crate::suite::Smoke;

/// Asks every question.
pub async fn ask(ctx: &Context, client: &mut Client, questions: &[Smoke]) -> Vec<SmokeFact> {
    let mut facts = Vec::with_capacity(questions.len());
    for question in questions {
        let typed = format!("redis-cli {}", question.ask);
        let answer = ctx.noting(typed, answer(client, &question.ask)).await;
        let answer = answer.map_err(|error| error.message());
        facts.push(SmokeFact::of(question, answer));
    }
    facts
}

/// What is known of every question when the server does not answer at all.
pub fn unanswered(questions: &[Smoke], error: &Error) -> Vec<SmokeFact> {
    let failed = |question| SmokeFact::of(question, Err(error.message()));
    questions.iter().map(failed).collect()
}

async fn answer(client: &mut Client, line: &str) -> Result<String> {
    let mut words = words(line)?;
    let mut database = 0;
    if words.len() > 2 && words[0] == "-n" {
        database = words[1]
            .parse()
            .map_err(|_| Error::usage(format!("`{}` is not the number of a database", words[1])))?;
        words.drain(..2);
    }
    let Some((name, arguments)) = words.split_first() else {
        return Err(Error::usage("the question is empty").hint("ask a command, as `DBSIZE`"));
    };
    client.select(database).await?;
    let mut command = cmd(name);
    for argument in arguments {
        command.arg(argument);
    }
    let reply = client.raw(&command).await?;
    match &reply {
        Reply::Nil => Err(Error::failed("there is no such value")),
        Reply::Array(_) | Reply::Set(_) | Reply::Map(_) => Err(Error::usage(
            "the answer is a list, where one value is needed",
        )
        .hint("ask for a length or a count, as `LLEN key`")),
        _ => match complaint(&reply) {
            Some(words) => Err(Error::failed(words)),
            None => text(reply),
        },
    }
}

/// Splits a command line at white space; quotes keep words together, and a backslash keeps the character behind
/// it (not within single quotes).
pub fn words(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let Some(kept) = characters.next() else {
                    return Err(Error::usage("a backslash stands at the end of the line"));
                };
                word.get_or_insert_default().push(kept);
            }
            (None, space) if space.is_whitespace() => words.extend(word.take()),
            (_, plain) => word.get_or_insert_default().push(plain),
        }
    }
    if quote.is_some() {
        return Err(Error::usage("a quote is not closed"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_split_at_spaces_and_kept_by_quotes() {
        let split = |line: &str| words(line).expect("well formed");
        assert_eq!(split("  GET  key "), ["GET", "key"]);
        assert_eq!(
            split(r#"GET "a key" 'b \ c' d\ e ''"#),
            ["GET", "a key", r"b \ c", "d e", ""]
        );
        assert_eq!(split(""), Vec::<String>::new());
        assert!(words("GET 'open").is_err());
        assert!(words(r"GET \").is_err());
    }

    proptest! {
        #[test]
        fn any_words_in_single_quotes_come_back(all in proptest::collection::vec("[^']{0,8}", 0..6)) {
            let line: Vec<String> = all.iter().map(|word| format!("'{word}'")).collect();
            prop_assert_eq!(words(&line.join(" ")).expect("well formed"), all);
        }
    }
}
