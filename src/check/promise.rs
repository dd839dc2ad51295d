//! What a recovery is held to: all that the source had, or, where its backups carry only a part on purpose, that part.
//! Both observations are narrowed to what was promised, so that nothing is missed that was, and nothing is demanded
//! that was not. What came back beyond the promise stays, and is told as extra.
//!
//! Not here: what a backup carries (see [`Brought`]), or the comparison itself.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::evidence::{Observation, Part, RecoveryFact};
use crate::suite::Brought;
use crate::suite::brought::Scope;

/// The part of a database's content that no table holds.
const LARGE_OBJECTS: &str = "large objects";
/// Catalogue kinds that only the roles bring.
const ROLE_KINDS: [&str; 6] = [
    "role ",
    "password ",
    "member ",
    "setting of role ",
    "comment role ",
    "security-label role ",
];
/// Catalogue kinds in which a table has things of its own under their own names, and says so in their definitions.
const OWNED_KINDS: [&str; 2] = ["index ", "sequence "];
/// Catalogue kinds in which a table is named although a dump of it does not carry them.
const FOREIGN_KINDS: [&str; 5] = [
    "publication-table ",
    "view ",
    "materialized-view ",
    "statistics ",
    "option statistics ",
];

/// How far the log lets a sequence run ahead, so that it need not be written for every value.
const LOGGED_AHEAD: i64 = 32;

/// Whether the server came back by replaying its log.
fn is_replayed(recovery: &RecoveryFact) -> bool {
    recovery.replay.is_some() || recovery.is_restarted()
}

/// How many values a sequence may be ahead of its source.
pub(super) fn sequences_ahead(recovery: &RecoveryFact) -> i64 {
    if is_replayed(recovery) {
        LOGGED_AHEAD
    } else {
        0
    }
}

/// Tables with rows that no log holds: a replay leaves them empty.
pub(super) fn unlogged<'o>(
    recovery: &RecoveryFact,
    source: &'o Observation,
) -> impl Iterator<Item = (&'o Arc<str>, &'o Part)> {
    let replayed = is_replayed(recovery);
    source.parts.iter().filter(move |(name, part)| {
        let definition = source.catalogue.get(format!("table {name}").as_str());
        let is_unlogged = definition.is_some_and(|definition| definition.starts_with("unlogged"));
        replayed && is_unlogged && part.count > 0
    })
}

/// The source as a replay of its log leaves it.
pub(super) fn after_replay<'o>(
    recovery: &RecoveryFact,
    source: &'o Observation,
) -> Cow<'o, Observation> {
    let emptied: Vec<&Arc<str>> = unlogged(recovery, source).map(|(name, _)| name).collect();
    if emptied.is_empty() {
        return Cow::Borrowed(source);
    }
    let mut left = source.clone();
    for name in emptied {
        left.parts.insert(name.clone(), empty());
    }
    Cow::Owned(left)
}

/// A table without rows: its fingerprint is a sum of none.
fn empty() -> Part {
    Part::default()
}

/// What was expected and what came back, each narrowed to what was promised.
pub(super) fn narrowed<'o>(
    brought: &Brought,
    expected: &'o Observation,
    restored: &'o Observation,
) -> (Cow<'o, Observation>, Cow<'o, Observation>) {
    if brought.is_whole() && brought.roles && brought.together {
        return (Cow::Borrowed(expected), Cow::Borrowed(restored));
    }
    let (mut want, mut got) = (expected.clone(), restored.clone());
    want.parts = rows(brought, expected);
    if !brought.has_rows() {
        want.nonce = None;
        want.ledger.clear();
        // Without rows, a sequence is where its definition starts it.
        want.sequences.clear();
    }
    match &brought.schema {
        Scope::Tables(tables) => {
            let domain = Domain::of(tables, &expected.catalogue);
            let kept = |entry: &str, definition: &str| {
                is_of_roles(entry) || domain.holds(entry, definition)
            };
            want.catalogue
                .retain(|entry, definition| kept(entry, definition));
            // The schemas are made for the tables to be in, and everything else of the cluster was there before.
            got.catalogue.retain(|entry, definition| {
                kept(entry, definition) || !expected.catalogue.contains_key(entry)
            });
        }
        Scope::Everything | Scope::Nothing => {}
    }
    if brought.rows != Scope::Everything {
        want.catalogue
            .retain(|entry, _| !is_of_large_objects(entry));
    }
    if !brought.together {
        for (entry, definition) in &mut want.catalogue {
            if entry.starts_with("materialized-view ") {
                *definition = unfilled(definition).into();
            }
        }
    }
    if !brought.roles {
        want.catalogue.retain(|entry, _| !is_of_roles(entry));
        got.catalogue.retain(|entry, _| !is_of_roles(entry));
    }
    (Cow::Owned(want), Cow::Owned(got))
}

/// The parts that come back: with their rows, or empty where only their definitions do.
fn rows(brought: &Brought, source: &Observation) -> BTreeMap<Arc<str>, Part> {
    let is_in = |scope: &Scope, name: &str| match scope {
        Scope::Nothing => false,
        Scope::Everything => true,
        Scope::Tables(tables) => {
            let path = path_of(name);
            tables.iter().any(|table| table_path(table) == path)
        }
    };
    let come_back = |(name, part): (&Arc<str>, &Part)| {
        let part = if is_in(&brought.rows, name) {
            part.clone()
        } else if is_in(&brought.schema, name) && **name != *LARGE_OBJECTS {
            empty()
        } else {
            return None;
        };
        Some((name.clone(), part))
    };
    source.parts.iter().filter_map(come_back).collect()
}

fn is_of_roles(entry: &str) -> bool {
    // What a role has set in one database goes with the database.
    ROLE_KINDS.iter().any(|kind| entry.starts_with(kind)) && !entry.contains(" of the database ")
}

fn is_of_large_objects(entry: &str) -> bool {
    entry
        .split_once(' ')
        .is_some_and(|(_, identity)| identity.starts_with(LARGE_OBJECTS))
}

/// The definition of a materialized view as it is before it is refreshed.
fn unfilled(definition: &str) -> String {
    const MARK: &str = "; not populated";
    match definition.rsplit_once("; using ") {
        Some((query, method)) if !query.ends_with(MARK) => {
            format!("{query}{MARK}; using {method}")
        }
        _ => definition.to_owned(),
    }
}

/// The paths (schema, name) of tables and of what they own under a name of its own.
struct Domain(BTreeSet<Vec<String>>);

impl Domain {
    fn of(tables: &[String], catalogue: &BTreeMap<Arc<str>, Arc<str>>) -> Self {
        let mut paths: BTreeSet<Vec<String>> =
            tables.iter().map(|table| table_path(table)).collect();
        let mut owned = Vec::new();
        for (entry, definition) in catalogue {
            let own_name = OWNED_KINDS.iter().find_map(|kind| entry.strip_prefix(kind));
            if let Some(name) = own_name
                && names_one_of(&paths, definition)
            {
                owned.push(path_of(name));
            }
        }
        paths.extend(owned);
        Self(paths)
    }

    /// Whether a dump of the tables carries an entry of the catalogue.
    fn holds(&self, entry: &str, definition: &str) -> bool {
        if FOREIGN_KINDS.iter().any(|kind| entry.starts_with(kind)) {
            return false;
        }
        let owned = OWNED_KINDS.iter().any(|kind| entry.starts_with(kind));
        names_one_of(&self.0, entry) || (owned && names_one_of(&self.0, definition))
    }
}

/// Whether a word of a text is one of these paths, or a path below one of them.
fn names_one_of(paths: &BTreeSet<Vec<String>>, text: &str) -> bool {
    words(text).any(|word| {
        let path = path_of(word);
        path.get(..2).is_some_and(|table| paths.contains(table))
    })
}

/// The words of a text; a quoted name is within one word, whatever is in it.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c: char| {
        quoted ^= c == '"';
        !quoted && (c.is_whitespace() || "(),;".contains(c))
    })
    .filter(|word| !word.is_empty())
}

/// The names of a qualified name, without their quotes.
fn path_of(name: &str) -> Vec<String> {
    let mut path = vec![String::new()];
    let mut letters = name.chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                if let Some(last) = path.last_mut() {
                    last.push('"');
                }
            }
            '"' => quoted = !quoted,
            '.' if !quoted => path.push(String::new()),
            letter => {
                if let Some(last) = path.last_mut() {
                    last.push(letter);
                }
            }
        }
    }
    path
}

/// The path of a table as a suite says it: nothing in it is quoted.
fn table_path(table: &str) -> Vec<String> {
    let (schema, name) = table.split_once('.').unwrap_or(("public", table));
    vec![schema.to_owned(), name.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{Backup, Compression, Dump, DumpFormat, Keep, Method, Only};

    fn backup(only: Option<Only>, tables: &[&str], globals: bool) -> Backup {
        let method = Method::PgDump(Dump {
            only,
            tables: tables.iter().map(|table| (*table).to_owned()).collect(),
            globals,
            compress: Compression::None,
            ..Dump::of(DumpFormat::Plain, 0)
        });
        Backup {
            name: "b".to_owned(),
            component: "db".to_owned(),
            repositories: Vec::new(),
            method,
            schedule: String::new(),
            keep: Keep::within(std::time::Duration::ZERO),
            encrypt: None,
            size: None,
            deadline: std::time::Duration::ZERO,
        }
    }

    fn source() -> Observation {
        let part = |count: u64| Part {
            count,
            hash: u128::from(count).into(),
        };
        let entry = |(entry, definition): (&str, &str)| (entry.into(), definition.into());
        Observation {
            nonce: Some("nonce".to_owned()),
            parts: [
                ("core.teams", 3),
                ("core.\"Odd.One\"", 2),
                ("large objects", 1),
            ]
            .map(|(name, count)| (name.into(), part(count)))
            .into(),
            catalogue: [
                ("schema core", "schema"),
                ("table core.teams", "logged"),
                ("table core.\"Odd.One\"", "logged"),
                ("column core.teams.id", "bigint"),
                (
                    "index core.teams_pkey",
                    "CREATE UNIQUE INDEX teams_pkey ON core.teams USING btree (id)",
                ),
                (
                    "index core.odd",
                    "CREATE INDEX odd ON core.\"Odd.One\" USING btree (id)",
                ),
                (
                    "sequence core.teams_id_seq",
                    "as bigint owned by core.teams.id",
                ),
                ("owner sequence core.teams_id_seq", "app"),
                ("comment table constraint teams_pkey on core.teams", "key"),
                (
                    "materialized-view core.m",
                    "select 1 from core.teams; using heap",
                ),
                ("owner large objects app", "1, 2"),
                ("role app", "login"),
                ("setting of role app work_mem", "1"),
                ("setting of role app of the database work_mem", "1"),
            ]
            .map(entry)
            .into(),
            ledger: [1, 2].into(),
            ..Observation::default()
        }
    }

    fn keys_of(observation: &Observation) -> Vec<&str> {
        observation.parts.keys().map(|name| &**name).collect()
    }

    fn keys(observation: &Observation) -> Vec<&str> {
        observation.catalogue.keys().map(|entry| &**entry).collect()
    }

    #[test]
    fn a_whole_backup_is_held_to_everything() {
        let (source, whole) = (source(), backup(None, &[], true));
        let (want, got) = narrowed(&Brought::by([&whole]), &source, &source);
        assert_eq!(*want, source);
        assert_eq!(*got, source);
    }

    #[test]
    fn a_replay_may_empty_unlogged_tables_and_a_dump_may_not() {
        let mut source = source();
        let unlogged = "unlogged; using heap".into();
        source.catalogue.insert("table core.teams".into(), unlogged);
        let restored = RecoveryFact::default();
        let replayed = RecoveryFact {
            replay: Some(crate::evidence::ReplayFact::default()),
            ..RecoveryFact::default()
        };
        let restarted = RecoveryFact {
            restart: Some(Ok(())),
            ..RecoveryFact::default()
        };
        assert_eq!(*after_replay(&restored, &source), source);
        assert_eq!(sequences_ahead(&restored), 0);
        for recovery in [replayed, restarted] {
            let left = after_replay(&recovery, &source);
            assert_eq!(left.parts["core.teams"], empty());
            assert_eq!(
                left.parts["core.\"Odd.One\""],
                source.parts["core.\"Odd.One\""]
            );
            assert_eq!(sequences_ahead(&recovery), 32);
        }
    }

    #[test]
    fn definitions_alone_are_held_to_empty_tables_and_no_large_object() {
        let (source, schema) = (source(), backup(Some(Only::Schema), &[], true));
        let (want, _) = narrowed(&Brought::by([&schema]), &source, &source);
        let counts: Vec<_> = want
            .parts
            .iter()
            .map(|(name, part)| (&**name, part.count))
            .collect();
        assert_eq!(counts, [("core.\"Odd.One\"", 0), ("core.teams", 0)]);
        assert_eq!(want.nonce, None);
        assert!(!want.catalogue.contains_key("owner large objects app"));
        assert_eq!(
            &*want.catalogue["materialized-view core.m"],
            "select 1 from core.teams; not populated; using heap"
        );
        assert!(want.catalogue.contains_key("index core.odd"));
    }

    #[test]
    fn definitions_and_rows_from_two_backups_are_held_to_everything_but_a_filled_view() {
        let halves = [
            backup(Some(Only::Schema), &[], true),
            backup(Some(Only::Data), &[], false),
        ];
        let source = source();
        let (want, _) = narrowed(&Brought::by(&halves), &source, &source);
        assert_eq!(want.parts, source.parts);
        assert_eq!(want.nonce, source.nonce);
        assert_eq!(keys(&want), keys(&source));
        assert!(want.catalogue["materialized-view core.m"].contains("not populated"));
    }

    #[test]
    fn chosen_tables_are_held_to_what_is_theirs_and_anything_new_is_extra() {
        let source = source();
        let tables = backup(None, &["core.teams"], true);
        let mut restored = source.clone();
        restored
            .catalogue
            .insert("table core.leftover".into(), "".into());
        let (want, got) = narrowed(&Brought::by([&tables]), &source, &restored);
        let own = [
            "column core.teams.id",
            "comment table constraint teams_pkey on core.teams",
            "index core.teams_pkey",
            "owner sequence core.teams_id_seq",
            "role app",
            "sequence core.teams_id_seq",
            "setting of role app work_mem",
            "table core.teams",
        ];
        assert_eq!(keys(&want), own);
        assert_eq!(keys_of(&want), ["core.teams"]);
        let extra: Vec<_> = keys(&got)
            .into_iter()
            .filter(|key| !own.contains(key))
            .collect();
        assert_eq!(extra, ["table core.leftover"]);
    }

    #[test]
    fn a_chosen_table_is_found_whatever_its_name() {
        let (source, odd) = (source(), backup(None, &["core.Odd.One"], false));
        let (want, _) = narrowed(&Brought::by([&odd]), &source, &source);
        assert_eq!(keys(&want), ["index core.odd", "table core.\"Odd.One\""]);
        assert_eq!(keys_of(&want), ["core.\"Odd.One\""]);
    }

    #[test]
    fn a_backup_without_roles_is_not_held_to_them() {
        let (source, without) = (source(), backup(None, &[], false));
        let (want, got) = narrowed(&Brought::by([&without]), &source, &source);
        assert_eq!(keys(&want), keys(&got));
        assert!(!want.catalogue.contains_key("role app"));
        let of_database = "setting of role app of the database work_mem";
        assert!(want.catalogue.contains_key(of_database));
    }
}
