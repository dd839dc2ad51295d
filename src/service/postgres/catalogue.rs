//! Every definition in a database and its cluster, as `kind identity` → definition, in words that a dump and restore
//! give back unchanged: no OIDs, names always qualified and quoted alike, sets in a fixed order.
//!
//! What a restore with `--no-owner` or `--no-acl` loses by intent has kinds of its own (`owner …`; `grant …` and
//! `default-grant …`), and so has what dumps never carry (`password`: only `set` or `none`, the hash is never read out).
//! Kinds that change no meaning begin with `comment` or `option`. Where relations lie (`placement …`, `tablespace …`) and
//! whether a subscription is at work (`subscription-enabled …`) come back with the files of a cluster and with no dump. Versions of libraries that order text stand under
//! `database collation version` and `collation-version …`.
//!
//! Objects of extensions are left out (the extension with its version stands for them), as are temporary objects and
//! the grantors of grants. The statements are in `catalogue/*.sql`; they read PostgreSQL 14 to 17.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::service::postgres::session::Session;

mod views;

/// What values that may be secret are hashed with: another number in every process, so that a hash that is seen in a report
/// cannot be searched for.
static SALT: LazyLock<i64> = LazyLock::new(|| RandomState::new().hash_one(0).cast_signed());

/// The statements: a name for messages, the first version that has it, and the text.
const STATEMENTS: [(&str, u32, &str); 5] = [
    ("relations", 0, include_str!("catalogue/relations.sql")),
    ("types", 0, include_str!("catalogue/types.sql")),
    ("access", 0, include_str!("catalogue/access.sql")),
    ("cluster", 0, include_str!("catalogue/cluster.sql")),
    ("since 15", 150_000, include_str!("catalogue/since_15.sql")),
];

/// Definitions, and statements that the server refused, with its words.
pub type Definitions = (BTreeMap<String, String>, Vec<(String, String)>);

/// Reads every definition. The session must be in a transaction.
pub async fn read(ctx: &Context, session: &Session) -> Result<Definitions> {
    let version: u32 = session
        .value(ctx, "select current_setting('server_version_num')")
        .await?
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::defect("the server's version has an unexpected shape"))?;
    let mut definitions = BTreeMap::<String, String>::new();
    let mut unreadable = Vec::new();
    for (name, since, sql) in STATEMENTS {
        if version < since {
            continue;
        }
        let sql = sql.replace("SALT", &SALT.to_string());
        let rows = match session.attempt(ctx, &sql).await? {
            Ok(rows) => rows,
            Err(complaint) => {
                unreadable.push((format!("catalogue of {name}"), complaint.words));
                continue;
            }
        };
        for row in rows {
            let [Some(kind), Some(identity), definition, Some(expressions)] = row.as_slice() else {
                return Err(Error::defect(format!(
                    "the catalogue of {name} has an unexpected shape"
                )));
            };
            let key = format!("{kind} {identity}").trim_end().to_owned();
            let definition = definition.as_deref().unwrap_or_default();
            let mut definition = match expressions.as_str() {
                "t" => settled(definition),
                _ => definition.to_owned(),
            };
            if version < views::SINCE && ["view", "materialized-view"].contains(&kind.as_str()) {
                definition = views::without_prefix(&definition);
            }
            // Two of one key must not hide each other.
            definitions
                .entry(key)
                .and_modify(|known| *known = format!("{known}\n{definition}"))
                .or_insert(definition);
        }
    }
    Ok((definitions, unreadable))
}

/// An expression in the form that it has after one more round through the server.
///
/// `status IN ('a', 'b')` on a varchar column is printed as `(ARRAY['a'::character varying, …])::text[]`; parsing that
/// moves the cast to the elements, so that a restored database prints `ARRAY[('a'::character varying)::text, …]`.
/// (`transformArrayExpr` in parse_expr.c, under `transformTypeCast`.)
fn settled(text: &str) -> String {
    const OPEN: &str = "(ARRAY[";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut quote = None;
    while let Some(c) = rest.chars().next() {
        match quote {
            None if rest.starts_with(OPEN) => {
                if let Some((array, used)) = distributed(&rest[OPEN.len()..]) {
                    out.push_str(&array);
                    rest = &rest[OPEN.len() + used..];
                    continue;
                }
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if open == c => quote = None,
            _ => {}
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// The array whose elements begin at `rest`, with the cast that follows it moved to each of them, and how many
/// bytes that took; `None` when no cast to an array type follows.
fn distributed(rest: &str) -> Option<(String, usize)> {
    let (mut depth, mut quote, mut start, mut elements, mut end) =
        (0_u32, None, 0, Vec::new(), None);
    for (at, c) in rest.char_indices() {
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[') => depth += 1,
            (None, ']') if depth == 0 => {
                elements.push(&rest[start..at]);
                end = Some(at);
                break;
            }
            (None, ')' | ']') => depth = depth.checked_sub(1)?,
            (None, ',') if depth == 0 => {
                elements.push(&rest[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    let end = end?;
    let cast = rest[end..].strip_prefix("])::")?;
    let kind = &cast[..cast.find("[]")?];
    let plain = |c: char| c.is_alphanumeric() || "_ .\"(),".contains(c);
    let nested = elements
        .iter()
        .any(|element| element.trim_start().starts_with("ARRAY["));
    if nested || !kind.chars().all(plain) || kind.matches('(').count() != kind.matches(')').count()
    {
        return None;
    }
    let elements: Vec<String> = elements
        .iter()
        .map(|element| format!("({})::{kind}", settled(element.trim())))
        .collect();
    let used = end + "])::".len() + kind.len() + "[]".len();
    Some((format!("ARRAY[{}]", elements.join(", ")), used))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cast_of_an_array_is_moved_to_its_elements() {
        assert_eq!(
            settled(
                "CHECK (((s)::text = ANY ((ARRAY['a, ]'::character varying, f(x, 'it''s')])::text[])))"
            ),
            "CHECK (((s)::text = ANY (ARRAY[('a, ]'::character varying)::text, (f(x, 'it''s'))::text])))"
        );
        assert_eq!(
            settled("((ARRAY[a])::character varying(3)[])"),
            "(ARRAY[(a)::character varying(3)])"
        );
    }

    #[test]
    fn what_is_no_cast_of_an_array_stays_as_it_is() {
        for text in [
            "(ARRAY[1, 2])",
            "'(ARRAY[''a''])::text[]'::text",
            "\"(ARRAY[a])::text[]\"",
            "(ARRAY[ARRAY[1]])::bigint[]",
            "(ARRAY[1",
            "ANY (ARRAY[('a'::character varying)::text])",
        ] {
            assert_eq!(settled(text), text);
        }
    }

    proptest! {
        #[test]
        fn a_settled_expression_stays_settled(text in "[(ARY\\[\\])':,a\" ]{0,12}(\\(ARRAY\\[[a', ]{0,6}\\]\\)::text\\[\\])?") {
            let once = settled(&text);
            prop_assert_eq!(settled(&once), once);
        }
    }
}
