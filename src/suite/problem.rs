//! Problems of a suite file: what is wrong, where, and what was probably meant. They are collected, never
//! returned at the first one, so that a file is mended in one go.
//!
//! Not here: which rules there are (see `raw` for shapes and `convert` for meanings).

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One thing that is wrong with a suite file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and what was expected.
    pub message: String,
    /// What to write instead, where that is known.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        write!(f, "{file}:{}:{}: {}", self.line, self.column, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// The problems of one file, collected while it is read.
#[derive(Debug)]
pub(super) struct Problems<'a> {
    /// The file, as it was named.
    pub file: &'a Path,
    text: &'a str,
    found: RefCell<Vec<Problem>>,
}

impl<'a> Problems<'a> {
    /// No problem yet.
    pub fn of(text: &'a str, file: &'a Path) -> Self {
        Self {
            file,
            text,
            found: RefCell::default(),
        }
    }

    /// Notes a problem at the start of a span of bytes.
    pub fn add(
        &self,
        span: &Range<usize>,
        message: impl Into<String>,
        hint: impl Into<Option<String>>,
    ) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        self.found.borrow_mut().push(Problem {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.into(),
            hint: hint.into(),
        });
    }

    /// All of them, in the order of the file, each once.
    pub fn into_sorted(self) -> Vec<Problem> {
        let mut all = self.found.into_inner();
        all.sort();
        all.dedup();
        all
    }
}

/// Says which of the valid names was probably meant, or which there are.
pub(crate) fn did_you_mean<'n>(
    wrong: &str,
    valid: impl IntoIterator<Item = &'n str>,
) -> Option<String> {
    let valid: Vec<&str> = valid.into_iter().collect();
    let lower = wrong.to_lowercase();
    let nearest = valid
        .iter()
        .map(|name| {
            (
                strsim::damerau_levenshtein(&lower, &name.to_lowercase()),
                *name,
            )
        })
        .min()
        .filter(|(distance, name)| *distance <= 1.max(name.chars().count().max(lower.len()) / 3));
    match (nearest, valid.as_slice()) {
        (Some((_, name)), _) => Some(format!("did you mean `{name}`?")),
        (None, []) => None,
        (None, [only]) => Some(format!("the only one is `{only}`")),
        (None, all) => Some(format!("there are: {}", all.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_file_line_and_column_in_characters() {
        let text = "title = \"é\"\n[x]\nname = \"ü\" # wrong";
        let problems = Problems::of(text, Path::new("suites/x.toml"));
        let at = text.find('#').expect("is there");
        problems.add(&(at..at + 1), "is wrong", "mend it".to_owned());
        let all = problems.into_sorted();
        assert_eq!(all[0].to_string(), "suites/x.toml:3:12: is wrong; mend it");
    }

    #[test]
    fn the_nearest_name_is_offered_and_otherwise_all_of_them() {
        let names = ["schedule", "keep", "size"];
        assert_eq!(
            did_you_mean("shedule", names).as_deref(),
            Some("did you mean `schedule`?")
        );
        assert_eq!(
            did_you_mean("zebra", names).as_deref(),
            Some("there are: schedule, keep, size")
        );
        assert_eq!(
            did_you_mean("zebra", ["db"]).as_deref(),
            Some("the only one is `db`")
        );
        assert_eq!(did_you_mean("zebra", []), None);
    }
}
