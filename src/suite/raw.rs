//! A suite file as typed: TOML tables and values that know where they stand, read through small typed
//! accessors that note a problem and go on instead of failing.
//!
//! An accessor gives `None` both for what is absent and for what is wrong; the latter has been noted by then,
//! and no suite comes out of a file with problems, so callers carry on with a default.
//!
//! Not here: what keys there are and what they mean (see `convert`).

use std::cell::RefCell;
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::problem::{Problems, did_you_mean};

/// Keys by which a user may hope to point a drill at a server of theirs.
const ADDRESSES: [&str; 6] = ["dsn", "url", "uri", "host", "port", "endpoint"];

/// The longest duration that a suite may say: a hundred years of 365 days.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// How much of a wrong text a problem shows, in characters.
const SHOWN: usize = 60;

/// A table of the file. Every key that is asked for becomes known; [`Table::finish`] reports the others.
pub(super) struct Table<'a> {
    /// Where problems go.
    pub problems: &'a Problems<'a>,
    /// Where it begins: its header, or its opening brace.
    pub span: Range<usize>,
    /// Its header as TOML writes it, `[backup.postgres]`; empty at the top of the file.
    pub header: String,
    path: String,
    entries: &'a DeTable<'a>,
    known: RefCell<Vec<&'static str>>,
}

/// A value of the file, with the key it stands behind.
#[derive(Clone)]
pub(super) struct Value<'a> {
    /// Where problems go.
    pub problems: &'a Problems<'a>,
    /// Where the value stands; for a table with a header, the header.
    pub span: Range<usize>,
    /// Its key.
    pub key: String,
    /// Where its key stands.
    pub key_span: Range<usize>,
    parent: String,
    path: String,
    item: bool,
    value: &'a DeValue<'a>,
}

impl<'a> Table<'a> {
    /// The whole file.
    pub fn top(problems: &'a Problems<'a>, entries: &'a DeTable<'a>) -> Self {
        Self {
            problems,
            span: 0..0,
            header: String::new(),
            path: String::new(),
            entries,
            known: RefCell::default(),
        }
    }

    /// The value of a key, when it is there.
    pub fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.tolerate(&[key]);
        let (found, value) = self.entries.get_key_value(key)?;
        Some(self.value(found, value))
    }

    /// The value of a key that must be there; `what` says what it would hold.
    pub fn require(&self, key: &'static str, what: &str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.missing(key, what);
        }
        value
    }

    /// Notes that a key is missing; `what` says what it would hold.
    pub fn missing(&self, key: &str, what: &str) {
        let message = format!("missing key `{key}`{self}");
        self.problems.add(&self.span, message, what.to_owned());
    }

    /// Every entry, in file order, for tables whose keys are names that the user gives.
    pub fn entries(&self) -> Vec<Value<'a>> {
        let mut all: Vec<_> = self
            .entries
            .iter()
            .map(|(key, value)| self.value(key, value))
            .collect();
        all.sort_by_key(|value| value.key_span.start);
        all
    }

    /// Takes keys as known without reading them.
    pub fn tolerate(&self, keys: &[&'static str]) {
        let mut known = self.known.borrow_mut();
        let new = keys.iter().filter(|key| !known.contains(key));
        let new: Vec<_> = new.copied().collect();
        known.extend(new);
    }

    /// Notes every key that nobody asked for.
    pub fn finish(&self) {
        let known = self.known.borrow();
        for value in self.entries() {
            if !known.contains(&value.key.as_str()) {
                let message = format!("unknown key `{}`{self}", value.key.escape_debug());
                let hint = if ADDRESSES.contains(&value.key.as_str()) {
                    Some("redrill only ever works on servers that it started itself, and takes no address".to_owned())
                } else {
                    did_you_mean(&value.key, known.iter().copied())
                };
                self.problems.add(&value.key_span, message, hint);
            }
        }
    }

    fn value(
        &self,
        key: &toml::Spanned<std::borrow::Cow<'a, str>>,
        value: &'a toml::Spanned<DeValue<'a>>,
    ) -> Value<'a> {
        let name = key.get_ref().to_string();
        Value {
            problems: self.problems,
            span: value.span(),
            key_span: key.span(),
            parent: self.header.clone(),
            path: if self.path.is_empty() {
                name.clone()
            } else {
                format!("{}.{name}", self.path)
            },
            key: name,
            item: false,
            value: value.get_ref(),
        }
    }
}

/// ` in [backup.postgres]`; nothing at the top of the file.
impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.header.as_str() {
            "" => f.write_str(" at the top of the file"),
            header => write!(f, " in {header}"),
        }
    }
}

impl<'a> Value<'a> {
    /// Notes that something else was expected.
    pub fn expected(&self, what: &str) {
        self.wrong(format!("expected {what}, found {}", self.found()), None);
    }

    /// Notes a problem of this value.
    pub fn wrong(&self, message: impl fmt::Display, hint: impl Into<Option<String>>) {
        let place = match self.parent.as_str() {
            "" => String::new(),
            parent => format!(" in {parent}"),
        };
        let message = format!("`{}`{place}: {message}", self.key);
        self.problems.add(&self.span, message, hint);
    }

    /// The same value, with problems pointing at its key.
    pub fn at_key(&self) -> Self {
        Self {
            span: self.key_span.clone(),
            ..self.clone()
        }
    }

    /// What stands there, in words.
    fn found(&self) -> String {
        match self.value {
            DeValue::String(text) if text.chars().count() > SHOWN => {
                let start: String = text.chars().take(SHOWN).collect();
                format!("{start:?}…")
            }
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Integer(number) => number.as_str().to_owned(),
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Boolean(truth) => truth.to_string(),
            DeValue::Datetime(_) => "a date or time".to_owned(),
            DeValue::Array(items) if items.is_empty() => "an empty list".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }

    /// A text as it stands, without a word about any other type.
    pub fn as_text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// Whether it is a table.
    pub fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// Whether it is this truth value.
    pub fn is(&self, truth: bool) -> bool {
        self.value.as_bool() == Some(truth)
    }

    /// A text that is not blank; `what` says what it is.
    pub fn text(&self, what: &str) -> Option<&'a str> {
        let text = self.as_text().filter(|text| !text.trim().is_empty());
        if text.is_none() {
            self.expected(what);
        }
        text
    }

    /// A text in one line; `what` says what it is.
    pub fn line(&self, what: &str) -> Option<&'a str> {
        let text = self.text(what)?;
        if text.chars().any(char::is_control) {
            self.expected(&format!("{what} in one line"));
            return None;
        }
        Some(text)
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        let truth = self.value.as_bool();
        if truth.is_none() {
            self.expected("true or false");
        }
        truth
    }

    /// A number, whole or not, without a word about any other type.
    pub fn as_number(&self) -> Option<f64> {
        let number = match self.value {
            DeValue::Integer(_) => self.as_integer()?.to_string().parse().ok()?,
            DeValue::Float(float) => float.as_str().parse::<f64>().ok()?,
            _ => return None,
        };
        number.is_finite().then_some(number)
    }

    /// A number, whole or not.
    pub fn number(&self) -> Option<f64> {
        let number = self.as_number();
        if number.is_none() {
            self.expected("a number");
        }
        number
    }

    /// A share such as `"25%"`.
    pub fn percent(&self) -> Option<f64> {
        let number = self.as_text().and_then(|text| text.strip_suffix('%'));
        let number = number.and_then(|text| text.trim().parse::<f64>().ok());
        let share = number.filter(|share| share.is_finite() && *share > 0.0);
        if share.is_none() {
            self.expected("a share such as \"25%\"");
        }
        share
    }

    /// A whole number, without a word about any other type.
    pub fn as_integer(&self) -> Option<i64> {
        let number = self.value.as_integer()?;
        i64::from_str_radix(number.as_str(), number.radix()).ok()
    }

    /// A whole number within a range.
    pub fn integer(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let number = self
            .as_integer()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = (range.start(), range.end());
            self.expected(&format!("a whole number from {least} to {most}"));
        }
        number
    }

    /// A duration longer than nothing.
    pub fn duration(&self) -> Option<Duration> {
        let duration = self.duration_or_zero()?;
        if duration.is_zero() {
            self.expected("a duration longer than nothing");
            return None;
        }
        Some(duration)
    }

    /// A duration, `"0s"` being one.
    pub fn duration_or_zero(&self) -> Option<Duration> {
        const WHAT: &str = "a duration such as \"15m\", \"1h\" or \"7d\"";
        let Some(text) = self.as_text() else {
            self.expected(WHAT);
            return None;
        };
        match humantime::parse_duration(text) {
            Ok(duration) if duration <= LONGEST => Some(duration),
            Ok(_) => {
                self.expected("a duration of at most 100 years");
                None
            }
            Err(error) => {
                let found = self.found();
                self.wrong(format!("expected {WHAT}, found {found} ({error})"), None);
                None
            }
        }
    }

    /// A size in bytes: a whole number, or a text such as `"12.3 GB"` (10^9) or `"2 GiB"` (2^30).
    pub fn size(&self) -> Option<u64> {
        let size = match self.as_text() {
            Some(text) => text.parse::<bytesize::ByteSize>().ok().map(|size| size.0),
            None => self
                .as_integer()
                .and_then(|bytes| u64::try_from(bytes).ok()),
        };
        if size.is_none() {
            self.expected("a size such as \"12.3 GB\", \"40 MB\" or a number of bytes");
        }
        size
    }

    /// A table.
    pub fn table(&self) -> Option<Table<'a>> {
        self.table_such_as("a table")
    }

    /// A table; `what` says what it would look like.
    pub fn table_such_as(&self, what: &str) -> Option<Table<'a>> {
        let Some(entries) = self.value.as_table() else {
            self.expected(what);
            return None;
        };
        let header = if self.item {
            format!("[[{}]]", self.path)
        } else {
            format!("[{}]", self.path)
        };
        Some(Table {
            problems: self.problems,
            span: self.span.clone(),
            header,
            path: self.path.clone(),
            entries,
            known: RefCell::default(),
        })
    }

    /// The items of a list; `what` says what it is a list of.
    pub fn list(&self, what: &str) -> Vec<Value<'a>> {
        if !self.value.is_array() {
            self.expected(what);
            return Vec::new();
        }
        self.one_or_more()
    }

    /// The items of a list, or the value itself as the only one.
    pub fn one_or_more(&self) -> Vec<Value<'a>> {
        match self.value.as_array() {
            None => vec![self.clone()],
            Some(items) => items
                .iter()
                .map(|item| Value {
                    span: item.span(),
                    item: true,
                    value: item.get_ref(),
                    ..self.clone()
                })
                .collect(),
        }
    }
}
