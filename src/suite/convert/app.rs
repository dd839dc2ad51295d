//! `[[smoke]]` and `app`, of a component and of a file of questions: what is asked of the restored service itself, and what of
//! the application that is started on it.

use std::path::Path;
use std::time::Duration;

use super::super::app::{App, Request};
use super::super::raw::{Table, Value};
use super::super::{Expect, Smoke};

/// How long an application may take to be ready where nothing is said.
const DEADLINE: Duration = Duration::from_secs(60);
const COMMAND: &str = "a program and its arguments, such as [\"./server\", \"--quiet\"]";

/// One question.
pub(in crate::suite) enum Question {
    /// To the service.
    Ask(Smoke),
    /// To the application on it.
    Get(Request),
}

/// What a table asks; `what` is what its list is called.
pub(in crate::suite) fn questions(table: &Table<'_>, what: &str) -> (Vec<Smoke>, Option<App>) {
    let list = table.get("smoke").map(|value| value.list(what));
    let named = table.get("app");
    let app = named.as_ref().map(app);
    let (mut smoke, mut requests) = (Vec::new(), Vec::new());
    let mut got = false;
    for value in list.unwrap_or_default() {
        match question(&value, named.is_some()) {
            Some(Question::Ask(question)) => smoke.push(question),
            Some(Question::Get(request)) => requests.push(request),
            // What is wrong with it has been told.
            None => got = true,
        }
    }
    if let (Some(value), true, false) = (&named, requests.is_empty(), got) {
        let hint = "add a question such as [[smoke]] get = \"/health\"".to_owned();
        value.wrong("nothing is asked of the application", hint);
    }
    let app = app.flatten().map(|app| App { requests, ..app });
    (smoke, app)
}

/// A smoke question: `{ name, ask, expect }` or `{ name, get, status, expect }`, the name being the question when it is not
/// said. Without an application there is nobody to get anything from.
pub(in crate::suite) fn question(value: &Value<'_>, has_app: bool) -> Option<Question> {
    let table = value.table_such_as(
        "a question such as { ask = \"…\", expect = \"…\" } or { get = \"/health\" }",
    )?;
    let name = table
        .get("name")
        .and_then(|value| value.line("a few words"));
    let question = match table.get("get") {
        Some(get) => request(&table, &get, has_app).map(Question::Get),
        None => ask(&table).map(Question::Ask),
    };
    table.finish();
    let named = |own: String| name.map_or(own, str::to_owned);
    Some(match question? {
        Question::Ask(question) => Question::Ask(Smoke {
            name: named(question.name),
            ..question
        }),
        Question::Get(request) => Question::Get(Request {
            name: named(request.name),
            ..request
        }),
    })
}

fn ask(table: &Table<'_>) -> Option<Smoke> {
    let ask = table
        .require(
            "ask",
            "SQL giving one value, a Redis command, or an object's key; or `get`, a path of the application",
        )
        .and_then(|value| value.text("a question"));
    let expect = table
        .require(
            "expect",
            "the answer: \"1247\", { min = 1 } or { min = 1, max = 9 }",
        )
        .and_then(|value| expectation(&value));
    let ask = ask?;
    Some(Smoke {
        name: ask.to_owned(),
        ask: ask.to_owned(),
        expect: expect?,
    })
}

fn request(table: &Table<'_>, get: &Value<'_>, has_app: bool) -> Option<Request> {
    let path = path(get);
    let status = table.get("status").map(|value| value.integer(100..=599));
    let expect = table.get("expect").map(|value| expectation(&value));
    if !has_app {
        let hint = "say how it is started: app = { command = [\"./server\"], ready = \"/health\" }";
        get.at_key().wrong(
            "there is no application to get anything from",
            hint.to_owned(),
        );
        return None;
    }
    let path = path?;
    Some(Request {
        name: format!("GET {path}"),
        path,
        status: match status {
            Some(status) => Some(u16::try_from(status?).ok()?),
            None => None,
        },
        expect: match expect {
            Some(expect) => Some(expect?),
            None => None,
        },
    })
}

fn app(value: &Value<'_>) -> Option<App> {
    const SUCH: &str = "an application such as { command = [\"./server\"], ready = \"/health\" }";
    let table = value.table_such_as(SUCH)?;
    let command = table.require("command", COMMAND);
    let command = command.and_then(|value| words(&value, COMMAND));
    let ready = table.require(
        "ready",
        "the path that it answers once it is ready: \"/health\"",
    );
    let ready = ready.and_then(|value| path(&value));
    let deadline = table.get("deadline").map(|value| value.duration());
    table.finish();
    let folder = value.problems.file.parent().unwrap_or(Path::new("."));
    Some(App {
        command: command?,
        home: std::path::absolute(match folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => folder,
        })
        .ok()?,
        ready: ready?,
        deadline: match deadline {
            Some(deadline) => deadline?,
            None => DEADLINE,
        },
        requests: Vec::new(),
    })
}

/// A path of an address: never another host.
fn path(value: &Value<'_>) -> Option<String> {
    const WHAT: &str = "a path such as \"/health\"";
    let text = value.text(WHAT)?;
    let plain = text.starts_with('/')
        && !text.starts_with("//")
        && text.chars().all(|c| c.is_ascii_graphic() && c != '#');
    if !plain {
        value.expected(WHAT);
    }
    plain.then(|| text.to_owned())
}

/// A program and its arguments.
pub(super) fn words(value: &Value<'_>, what: &str) -> Option<Vec<String>> {
    let words = value.list(what);
    let texts: Vec<String> = words
        .iter()
        .filter_map(|word| word.text("a program or an argument").map(str::to_owned))
        .collect();
    if words.is_empty() {
        value.expected(what);
    }
    (!texts.is_empty() && texts.len() == words.len()).then_some(texts)
}

fn expectation(value: &Value<'_>) -> Option<Expect> {
    if let Some(text) = value.as_text() {
        return Some(Expect::Equals(text.to_owned()));
    }
    if let Some(number) = value.as_integer() {
        return Some(Expect::Equals(number.to_string()));
    }
    const SUCH: &str =
        "an answer: \"1247\", { min = 1 }, { min = 1, max = 9 } or { contains = \"ok\" }";
    let table = value.table_such_as(SUCH)?;
    if let Some(part) = table.get("contains") {
        table.finish();
        let part = part.text("a part of the answer")?;
        return Some(Expect::Contains(part.to_owned()));
    }
    let min = table
        .require("min", "the smallest number that passes")
        .and_then(|value| value.number());
    let max = table.get("max").map(|value| (value.number(), value));
    table.finish();
    match (min?, max) {
        (min, None) => Some(Expect::AtLeast(min)),
        (min, Some((max, value))) => {
            let max = max?;
            if max < min {
                value.expected(&format!("a number of at least `min`, which is {min}"));
            }
            Some(Expect::Between(min, max))
        }
    }
}
