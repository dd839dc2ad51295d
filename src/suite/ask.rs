//! What is asked of an artifact that somebody gives: questions with known answers, the age that it may have, and how much
//! less than before it may hold. A small TOML file, in the words of a suite:
//!
//! ```toml
//! max_age = "26h"
//! drop = { rows = "10%", size = "20%", objects = "0%" }
//!
//! [[smoke]]
//! ask = "select count(*) from public.orders"
//! expect = { min = 1000 }
//! ```

use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;

use super::Smoke;
use super::app::App;
use super::convert::app::questions;
use super::find::{problems_in, read_text};
use super::problem::{Problem, Problems};
use super::raw::{Table, Value};
use crate::error::Result;

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ask {
    /// Questions to the restored service.
    pub smoke: Vec<Smoke>,
    /// An application to be started on it, with what is asked of that.
    pub app: Option<App>,
    /// The age that the content may have.
    pub max_age: Option<Duration>,
    /// How much less than before is no finding.
    pub drop: Drop,
}

/// How much less than before is no finding, as shares from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drop {
    /// Of the rows, or keys, of each part.
    pub rows: f64,
    /// Of the size.
    pub size: f64,
    /// Of the number of objects.
    pub objects: f64,
}

impl Default for Drop {
    fn default() -> Self {
        Self {
            rows: 0.1,
            size: 0.2,
            objects: 0.0,
        }
    }
}

impl Ask {
    /// Reads a file; everything that is wrong with it is reported at once.
    pub fn load(path: &Path) -> Result<Self> {
        let read = read_text(path)
            .and_then(|text| Self::parse(&text, path).map_err(|problems| problems_in(&problems)));
        read.map_err(|error| error.doing(format!("read the questions {}", path.display())))
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Vec<Problem>> {
        let problems = Problems::of(text, path);
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let message = format!("not TOML: {}", error.message());
            problems.add(&error.span().unwrap_or(0..0), message, None);
        }
        let ask = ask(&Table::top(&problems, document.get_ref()));
        match problems.into_sorted() {
            none if none.is_empty() => Ok(ask),
            some => Err(some),
        }
    }
}

fn ask(top: &Table<'_>) -> Ask {
    let (smoke, app) = questions(top, "a list of questions, [[smoke]]");
    let drop = top.get("drop").and_then(|value| {
        let table = value.table_such_as("shares such as { rows = \"10%\", size = \"20%\" }")?;
        let usual = Drop::default();
        let share = |key, usual| match table.get(key) {
            Some(value) => share(&value).unwrap_or(usual),
            None => usual,
        };
        let drop = Drop {
            rows: share("rows", usual.rows),
            size: share("size", usual.size),
            objects: share("objects", usual.objects),
        };
        table.finish();
        Some(drop)
    });
    let ask = Ask {
        smoke,
        app,
        max_age: top.get("max_age").and_then(|value| value.duration()),
        drop: drop.unwrap_or_default(),
    };
    top.finish();
    ask
}

/// `"10%"`, from nothing to everything.
fn share(value: &Value<'_>) -> Option<f64> {
    let number = value.as_text().and_then(|text| text.strip_suffix('%'));
    let number = number.and_then(|text| text.trim().parse::<f64>().ok());
    let share = number.filter(|share| (0.0..=100.0).contains(share));
    if share.is_none() {
        value.expected("a share from \"0%\" to \"100%\"");
    }
    share.map(|share| share / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Expect;

    #[test]
    fn questions_are_asked_in_the_words_of_a_suite() {
        let text = "max_age = \"26h\"\ndrop = { rows = \"5%\" }\n[[smoke]]\nask = \"DBSIZE\"\nexpect = { min = 1 }\n";
        let ask = Ask::parse(text, Path::new("ask.toml")).expect("is read");
        assert_eq!(ask.max_age, Some(Duration::from_secs(26 * 3600)));
        assert_eq!((ask.drop.rows, ask.drop.size), (0.05, 0.2));
        assert_eq!(ask.smoke[0].expect, Expect::AtLeast(1.0));
    }

    #[test]
    fn an_application_is_named_with_what_is_asked_of_it() {
        let text = "app = { command = [\"./server\"], ready = \"/health\" }\n[[smoke]]\nget = \"/count?of=orders\"\nexpect = 1000\n\
                    [[smoke]]\nget = \"/nothing\"\nstatus = 404\nexpect = { contains = \"no\" }\n";
        let ask = Ask::parse(text, Path::new("/shop/ask.toml")).expect("is read");
        let app = ask.app.expect("an application");
        assert_eq!(
            (app.home.as_path(), app.deadline.as_secs()),
            (Path::new("/shop"), 60)
        );
        assert_eq!(app.requests[0].name, "GET /count?of=orders");
        assert!(app.requests[0].is_met_by(204) && !app.requests[0].is_met_by(302));
        assert_eq!(app.requests[1].expected(), "status 404 and containing `no`");
        assert!(ask.smoke.is_empty());
    }

    #[test]
    fn what_is_got_from_no_application_is_told_with_its_place() {
        let told = |text: &str| {
            let problems = Ask::parse(text, Path::new("ask.toml")).expect_err("has mistakes");
            problems.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let alone = told("[[smoke]]\nget = \"/health\"\n");
        assert!(
            alone.len() == 1 && alone[0].contains("ask.toml:2:1"),
            "{alone:#?}"
        );
        let idle = told("app = { command = [\"./server\"], ready = \"/health\" }\n");
        assert!(
            idle.len() == 1 && idle[0].contains("nothing is asked"),
            "{idle:#?}"
        );
        let wrong = told(
            "app = { command = [], ready = \"http://x\" }\n[[smoke]]\nget = \"//x/y\"\nstatus = 99\n",
        );
        assert_eq!(wrong.len(), 4, "{wrong:#?}");
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let text = "maxage = \"1h\"\ndrop = { rows = \"200%\" }\n[[smoke]]\nask = \"x\"\n";
        let problems = Ask::parse(text, Path::new("ask.toml")).expect_err("has mistakes");
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:#?}");
        assert!(
            told[0].contains("ask.toml:1:1") && told[0].contains("max_age"),
            "{told:#?}"
        );
    }
}
