//! What of the catalogue's faults of Postgres is not planted, and of the checks not provoked, and why: it stands beside what
//! is, so that nobody takes its absence for a proof.

use super::Check;

/// Faults that are not planted: id, what it is, and why not.
pub const UNPLANTED: &[(&str, &str, &str)] = &[
    (
        "A11",
        "a plain dump with commands that an older psql does not know",
        "it takes an older client than the one that dumps; that such a restore is refused is tested apart",
    ),
    (
        "B6",
        "a tablespace's link missing from the base backup",
        "a limit of redrill: a cluster with further tablespaces is refused before it is backed up",
    ),
    (
        "B19",
        "unlogged tables empty after a replay",
        "it is no fault: every replay empties them, and the healthy twin says so in a warning",
    ),
    (
        "B21",
        "a chain of incremental backups broken",
        "pg_basebackup takes incremental ones from PostgreSQL 17 on, and this method takes none; those of pgBackRest are tested apart",
    ),
    (
        "C10",
        "a window of wal_level = minimal",
        "a server that archives does not start with it, and this method refuses one that does not archive",
    ),
    (
        "C15",
        "the last segment lost with the server",
        "it is no fault but the loss that every drill of an archived backup measures",
    ),
];

/// Why no fault makes a check fail, where none can be planted that would.
pub fn unprovoked(check: Check) -> Option<&'static str> {
    match check {
        Check::Teardown => Some("what cannot be removed would stay on this machine"),
        Check::Needs | Check::Baseline | Check::Live | Check::Proven => {
            Some("it is asked of verified artifacts alone, and fails in the tests of these")
        }
        Check::Release => Some("it is asked of releases alone, and fails in the tests of these"),
        _ => None,
    }
}
