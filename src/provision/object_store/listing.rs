//! Pages of a sorted listing: prefix, delimiter, position, limit.
//!
//! Not here: the request and response types of the two list operations (see [`super::api`]).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::ops::Bound;

use s3s::{S3Result, s3_error};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::shelf::Shelf;

/// Most keys and groups on a page, as in S3.
pub const MAX_PAGE: usize = 1000;
/// How many keys are read at once where they may belong to a group.
const AHEAD: usize = 16;

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// Behind this key.
    Key(String),
    /// Behind every key of this group.
    Group(String),
}

impl Position {
    /// The position as an opaque continuation token.
    pub fn to_token(&self) -> String {
        match self {
            Self::Key(key) => format!("k{}", hex::encode(key)),
            Self::Group(group) => format!("g{}", hex::encode(group)),
        }
    }

    /// The position that a token stands for.
    pub fn from_token(token: &str) -> S3Result<Self> {
        let parsed = token.split_at_checked(1).and_then(|(kind, text)| {
            let text = String::from_utf8(hex::decode(text).ok()?).ok()?;
            match kind {
                "k" => Some(Self::Key(text)),
                "g" => Some(Self::Group(text)),
                _ => None,
            }
        });
        parsed.ok_or_else(|| s3_error!(InvalidArgument, "the continuation token is not valid"))
    }

    /// The position of a V1 marker, which is a key or, when it ends a group, that whole group.
    pub fn from_marker(marker: String, prefix: &str, delimiter: Option<&str>) -> Self {
        let group = delimiter.and_then(|delimiter| group_of(&marker, prefix, delimiter));
        if group == Some(marker.as_str()) {
            Self::Group(marker)
        } else {
            Self::Key(marker)
        }
    }

    /// The key or group itself.
    pub fn text(&self) -> &str {
        match self {
            Self::Key(text) | Self::Group(text) => text,
        }
    }
}

/// What a page shows.
#[derive(Debug, Default)]
pub struct Query<'a> {
    /// Only keys that begin so.
    pub prefix: &'a str,
    /// Keys that share what stands up to this delimiter, behind the prefix, are shown as one group.
    pub delimiter: Option<&'a str>,
    /// Where to begin; `None` begins at the first key.
    pub after: Option<Position>,
    /// Most keys and groups together.
    pub limit: usize,
}

/// A sorted map that pages are cut out of.
pub trait Sorted<V> {
    /// At most `limit` keys and their values from a bound on.
    fn some(&self, from: Bound<&str>, limit: usize) -> io::Result<Vec<(String, V)>>;
}

impl<V: Clone> Sorted<V> for BTreeMap<String, V> {
    fn some(&self, from: Bound<&str>, limit: usize) -> io::Result<Vec<(String, V)>> {
        let range = self.range::<str, _>((from, Bound::Unbounded)).take(limit);
        Ok(range
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }
}

impl<V: Serialize + DeserializeOwned> Sorted<V> for Shelf<V> {
    fn some(&self, from: Bound<&str>, limit: usize) -> io::Result<Vec<(String, V)>> {
        Shelf::some(self, from, limit)
    }
}

/// One page.
#[derive(Debug)]
pub struct Page<V> {
    /// The keys, sorted by their UTF-8 bytes.
    pub objects: Vec<(String, V)>,
    /// The groups, sorted.
    pub groups: Vec<String>,
    /// Where the next page begins; `None` when this is the last one.
    pub next: Option<Position>,
}

/// Cuts one page out of a sorted map.
pub fn page<V>(all: &impl Sorted<V>, query: &Query<'_>) -> io::Result<Page<V>> {
    let mut page = Page {
        objects: Vec::new(),
        groups: Vec::new(),
        next: None,
    };
    if query.limit == 0 {
        return Ok(page);
    }
    let mut last = None;
    let mut start = match &query.after {
        Some(Position::Key(key)) if key.as_str() >= query.prefix => {
            Some(Bound::Excluded(key.clone()))
        }
        Some(Position::Group(group)) if group.as_str() >= query.prefix => {
            behind_all_with(group).map(Bound::Included)
        }
        _ => Some(Bound::Included(query.prefix.to_owned())),
    };
    while let Some(from) = start.take() {
        // Behind a group, what was read ahead is of no use.
        let wanted = match query.delimiter {
            Some(_) => AHEAD,
            None => query.limit + 1 - page.objects.len(),
        };
        let some = all.some(from.as_ref().map(String::as_str), wanted)?;
        if some.len() == wanted {
            start = some.last().map(|(key, _)| Bound::Excluded(key.clone()));
        }
        for (key, value) in some {
            if !key.starts_with(query.prefix) {
                return Ok(page);
            }
            if page.objects.len() + page.groups.len() == query.limit {
                page.next = last;
                return Ok(page);
            }
            let group = query
                .delimiter
                .and_then(|delimiter| group_of(&key, query.prefix, delimiter));
            match group {
                None => {
                    last = Some(Position::Key(key.clone()));
                    page.objects.push((key, value));
                }
                Some(group) => {
                    page.groups.push(group.to_owned());
                    last = Some(Position::Group(group.to_owned()));
                    start = behind_all_with(group).map(Bound::Included);
                    break;
                }
            }
        }
    }
    Ok(page)
}

/// The group a key belongs to: prefix, and on to the end of the first delimiter behind it.
pub fn group_of<'a>(key: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    let rest = key.strip_prefix(prefix)?;
    if delimiter.is_empty() {
        return None;
    }
    let at = rest.find(delimiter)?;
    key.get(..prefix.len() + at + delimiter.len())
}

/// The first text behind all that begin with `prefix`; `None` when there is none.
fn behind_all_with(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            char::MAX => None,
            other => char::from_u32(other as u32 + 1),
        };
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}

/// Percent-encodes a key for `encoding-type=url`. Everything but unreserved characters and `/` is encoded, a space
/// as `%20` and a plus as `%2B`, so that every kind of decoder gives the key back.
pub fn url_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            other => _ = write!(encoded, "%{other:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn map(keys: impl IntoIterator<Item = String>) -> BTreeMap<String, ()> {
        keys.into_iter().map(|key| (key, ())).collect()
    }

    /// All pages put together, through tokens.
    fn all_pages(
        all: &BTreeMap<String, ()>,
        prefix: &str,
        delimiter: Option<&str>,
        limit: usize,
    ) -> (Vec<String>, Vec<String>) {
        let (mut keys, mut groups, mut after) = (Vec::new(), Vec::new(), None);
        for _ in 0..=all.len() + 1 {
            let query = Query {
                prefix,
                delimiter,
                after,
                limit,
            };
            let page = page(all, &query).expect("a page");
            assert!(page.objects.len() + page.groups.len() <= limit);
            keys.extend(page.objects.into_iter().map(|(key, ())| key));
            groups.extend(page.groups);
            match page.next {
                None => return (keys, groups),
                Some(next) => {
                    let token = next.to_token();
                    after = Some(Position::from_token(&token).expect("own token"));
                }
            }
        }
        panic!("the listing never ends");
    }

    proptest! {
        #[test]
        fn pages_of_any_size_add_up_to_every_key_and_group_once(
            keys in prop::collection::btree_set("[ab/é\u{10FFFF}]{1,6}", 0..60),
            prefix in "[ab/]{0,3}",
            delimiter in prop::option::of("[/a]{1,2}"),
            limit in 1usize..7,
        ) {
            let all = map(keys.iter().cloned());
            let (listed, groups) = all_pages(&all, &prefix, delimiter.as_deref(), limit);
            let matching = keys.iter().filter(|key| key.starts_with(&prefix));
            let (mut alone, mut grouped) = (Vec::new(), BTreeSet::new());
            for key in matching {
                let cut = delimiter.as_deref().and_then(|delimiter| {
                    key[prefix.len()..].find(delimiter).map(|at| prefix.len() + at + delimiter.len())
                });
                match cut {
                    None => alone.push(key.clone()),
                    Some(end) => _ = grouped.insert(key[..end].to_owned()),
                }
            }
            prop_assert_eq!(listed, alone);
            prop_assert_eq!(groups, grouped.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn an_encoded_key_is_ascii_and_decodes_to_itself(key in "\\PC{0,40}|[\\x00-\\x7f]{0,40}") {
            let encoded = url_encode(&key);
            prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'+'));
            let mut decoded = Vec::new();
            let mut bytes = encoded.bytes();
            while let Some(byte) = bytes.next() {
                decoded.push(if byte == b'%' {
                    let pair = [bytes.next().expect("digit"), bytes.next().expect("digit")];
                    hex::decode(pair).expect("hex")[0]
                } else {
                    byte
                });
            }
            prop_assert_eq!(decoded, key.into_bytes());
        }

        #[test]
        fn behind_all_with_is_behind_exactly_those(prefix in "\\PC{1,4}", tail in "\\PC{0,4}") {
            if let Some(behind) = behind_all_with(&prefix) {
                let within = format!("{prefix}{tail}");
                prop_assert!(within < behind);
                prop_assert!(!behind.starts_with(&prefix));
            }
        }
    }

    #[test]
    fn a_marker_that_ends_a_group_skips_the_group() {
        let all = map(["a/1", "a/2", "b"].map(str::to_owned));
        let after = Position::from_marker("a/".to_owned(), "", Some("/"));
        let query = Query {
            delimiter: Some("/"),
            after: Some(after),
            limit: 10,
            ..Query::default()
        };
        let page = page(&all, &query).expect("a page");
        assert!(page.groups.is_empty());
        assert_eq!(page.objects.len(), 1);
    }

    #[test]
    fn a_foreign_token_is_refused() {
        for token in ["", "k", "x00", "kzz", "é"] {
            let parsed = Position::from_token(token);
            assert!(parsed.is_err() || token == "k", "{token}");
        }
    }
}
