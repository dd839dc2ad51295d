//! The objects of a bucket held against each other, each as it was read: what came back against what was expected, and a
//! backup against its source. There may be very many: both are gone through side by side.
//!
//! Not here: what a difference means (see [`crate::check`]).

use std::collections::BTreeMap;

use crate::error::{Doing, Result};
use crate::evidence::{Compared, Digest, Mirrored, ObjectFact, Objects};
use crate::shelf::side_by_side;

/// What came back of a bucket, against what was expected but for what `left_out` names. What could not be read is told as
/// that.
pub(super) fn compared(
    expected: &Objects,
    restored: &Objects,
    unreadable: &BTreeMap<String, String>,
    left_out: impl Fn(&str) -> bool,
) -> Result<Compared> {
    let mut facts = Compared::default();
    let compare = |key: &str, want: Option<ObjectFact>, got: Option<ObjectFact>| {
        let want = want.filter(|_| !left_out(key));
        facts.expected += u64::from(want.is_some());
        match (want, got) {
            (Some(_), None) if unreadable.contains_key(key) => {}
            (Some(want), None) => facts.missing.note(key, want.bytes),
            (None, Some(got)) => facts.extra.note(key, got.bytes),
            (Some(want), Some(got)) => {
                if want.bytes != got.bytes {
                    facts.resized.note(key, (want.bytes, got.bytes));
                } else if want.sha256 != got.sha256 {
                    facts.changed.note(key, want.bytes);
                }
                if want.headers != got.headers {
                    facts.described.note(key, (want.headers, got.headers));
                }
            }
            (None, None) => {}
        }
    };
    side_by_side(&expected.0, &restored.0, compare).doing("compare what came back")?;
    Ok(facts)
}

/// What was read of a backup, against its source; what `left_out` names is not to be in it.
pub(super) fn mirrored(
    source: &Objects,
    read: &Objects<Digest>,
    left_out: impl Fn(&str) -> bool,
) -> Result<Mirrored> {
    let mut facts = Mirrored {
        source: source.0.len(),
        ..Mirrored::default()
    };
    let compare = |key: &str, had: Option<ObjectFact>, kept: Option<Digest>| match (
        had.filter(|_| !left_out(key)),
        kept,
    ) {
        (Some(_), None) => facts.missing.note(key, ()),
        (None, Some(_)) => facts.extra.note(key, ()),
        (Some(had), Some(kept)) if had.sha256 != kept => facts.changed.note(key, ()),
        _ => {}
    };
    side_by_side(&source.0, &read.0, compare).doing("compare a backup with its source")?;
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::shelf::Shelf;

    fn objects<V: serde::Serialize + serde::de::DeserializeOwned>(all: &[(&str, V)]) -> Objects<V> {
        let shelf = Shelf::new(&std::env::temp_dir()).expect("a shelf");
        for (key, object) in all {
            shelf.insert(key, object).expect("put");
        }
        Objects(Arc::new(shelf))
    }

    fn object(bytes: u64, content: u128, headers: &str) -> ObjectFact {
        ObjectFact {
            bytes,
            sha256: content.into(),
            headers: headers.to_owned(),
        }
    }

    #[test]
    fn every_kind_of_difference_is_counted_as_that_and_named() {
        let plain = |content| object(3, content, "text");
        let source = objects(&[
            ("a", plain(1)),
            ("changed", plain(2)),
            ("described", plain(3)),
            ("gone", plain(4)),
            ("left.out", plain(5)),
            ("resized", plain(6)),
            ("torn", plain(7)),
        ]);
        let restored = objects(&[
            ("a", plain(1)),
            ("changed", plain(9)),
            ("described", object(3, 3, "image")),
            ("new", object(8, 8, "text")),
            ("resized", object(2, 6, "text")),
        ]);
        let unreadable = BTreeMap::from([("torn".to_owned(), "a disk".to_owned())]);
        let left_out = |key: &str| key == "left.out";
        let facts = compared(&source, &restored, &unreadable, left_out).expect("compared");
        assert_eq!(facts.expected, 6);
        assert_eq!(facts.missing.first, [("gone".to_owned(), 3)]);
        assert_eq!(facts.extra.first, [("new".to_owned(), 8)]);
        assert_eq!(facts.resized.first, [("resized".to_owned(), (3, 2))]);
        assert_eq!(facts.changed.first, [("changed".to_owned(), 3)]);
        let (key, (want, got)) = &facts.described.first[0];
        assert_eq!([key, want, got], ["described", "text", "image"]);
        let healthy = compared(&source, &source, &BTreeMap::new(), |_| false).expect("compared");
        let none = Compared {
            expected: 7,
            ..Compared::default()
        };
        assert_eq!(healthy, none);
    }

    #[test]
    fn a_backup_lacks_nothing_but_what_is_left_out_and_has_nothing_else() {
        let plain = |content| object(3, content, "text");
        let source = objects(&[
            ("a", plain(1)),
            ("b", plain(2)),
            ("c", plain(3)),
            ("x", plain(4)),
        ]);
        let left_out = |key: &str| key == "x";
        let digest = |content: u128| Digest::from(content);
        let read = objects(&[("a", digest(1)), ("b", digest(2)), ("c", digest(3))]);
        let facts = mirrored(&source, &read, left_out).expect("compared");
        let none = Mirrored {
            source: 4,
            ..Mirrored::default()
        };
        assert_eq!(facts, none);
        let read = objects(&[
            ("a", digest(1)),
            ("c", digest(9)),
            ("d", digest(1)),
            ("x", digest(4)),
        ]);
        let facts = mirrored(&source, &read, left_out).expect("compared");
        assert_eq!(facts.missing.first, [("b".to_owned(), ())]);
        assert_eq!(facts.changed.first, [("c".to_owned(), ())]);
        let extra = [("d".to_owned(), ()), ("x".to_owned(), ())];
        assert_eq!((facts.extra.count, &facts.extra.first[..]), (2, &extra[..]));
    }

    #[test]
    fn many_differences_are_counted_and_the_first_few_named() {
        let all: Vec<_> = (0..2_000)
            .map(|n| (format!("{n:05}"), object(1, n, "")))
            .collect();
        let all: Vec<_> = all
            .iter()
            .map(|(key, it)| (key.as_str(), it.clone()))
            .collect();
        let facts = compared(&objects(&all), &objects(&[]), &BTreeMap::new(), |_| false);
        let missing = facts.expect("compared").missing;
        assert_eq!((missing.count, missing.first.len()), (2_000, 5));
        assert_eq!(missing.first[4].0, "00004");
    }
}
