//! What of the catalogue's faults of Postgres is not planted, and of the checks not provoked, and why: it stands beside what
//! is, so that nobody takes its absence for a proof.

use super::{Check, Fault, fit};

/// Which faults are planted in the recovered copy and not in the artifact, and why.
pub const ON_THE_COPY: &str = "B6, B8 to B16, B18 and B23 are planted in the recovered cluster: in the artifact, its manifest finds \
    any changed byte before a server is started on it (B4, B5), and on the source, pg_basebackup and pgBackRest hold every \
    page to its checksum and take no backup of a damaged one. What a disk does after the restore, and what a source carries \
    into every backup under checksums that are right (B10, B12 to B16), is left to the checks that read the cluster, and \
    leaves the same bytes there";

/// The suite that plants a fault: what needs pgBackRest is planted apart, as it wants its package and local services.
pub fn planted_by(fault: Fault) -> &'static str {
    match fit::wants_pgbackrest(fault) {
        true => "detection-pgbackrest",
        false => "detection",
    }
}

/// Faults that are not planted: id, what it is, and why not.
pub const UNPLANTED: &[(&str, &str, &str)] = &[
    (
        "B19",
        "unlogged tables empty after a replay",
        "it is no fault: every replay empties them, and the healthy twin says so in a warning",
    ),
    (
        "B22-newer",
        "pg_control of a later moment than the data",
        "in the artifact its manifest finds any other pg_control, of whatever moment (B22), and on the copy none is later than \
         its own",
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
