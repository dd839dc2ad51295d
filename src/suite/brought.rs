//! What the backups of a recovery promise to bring back of a component: everything, or the part that was dumped.
//!
//! Not here: comparing what came back with it (see `crate::check`).

use super::{Backup, Method, Only};

/// The tables of a drill's own nonce and ledger: they go with chosen tables, as nothing could be told of either without.
pub const OWN_TABLES: [&str; 2] = ["redrill.run", "redrill.ledger"];

/// A part of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// None of it.
    Nothing,
    /// All of it.
    Everything,
    /// These tables, `schema.table` by their exact names.
    Tables(Vec<String>),
}

/// What backups that are restored one after the other onto one target bring back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brought {
    /// Whose definitions.
    pub schema: Scope,
    /// Whose rows.
    pub rows: Scope,
    /// Whether the roles come with them.
    pub roles: bool,
    /// Whether definitions and rows come from one backup, which fills materialized views too.
    pub together: bool,
}

impl Brought {
    /// What these backups of one component bring back; everything, where no backup leaves anything out on purpose.
    pub fn by<'b>(backups: impl IntoIterator<Item = &'b Backup>) -> Self {
        let mut brought = Self {
            schema: Scope::Nothing,
            rows: Scope::Nothing,
            roles: false,
            together: false,
        };
        for backup in backups {
            let Method::PgDump(dump) = &backup.method else {
                return Self::everything();
            };
            let scope = match dump.tables.as_slice() {
                [] => Scope::Everything,
                tables => {
                    let own = OWN_TABLES.iter().map(|table| (*table).to_owned());
                    Scope::Tables(tables.iter().cloned().chain(own).collect())
                }
            };
            if dump.has_schema() {
                brought.schema = scope.clone();
            }
            if dump.has_rows() {
                brought.rows = scope;
            }
            brought.roles |= dump.globals;
            brought.together |= dump.has_schema() && dump.has_rows();
        }
        brought
    }

    fn everything() -> Self {
        Self {
            schema: Scope::Everything,
            rows: Scope::Everything,
            roles: true,
            together: true,
        }
    }

    /// Whether every row and every definition comes back, so that the service can be asked anything.
    pub fn is_whole(&self) -> bool {
        self.schema == Scope::Everything && self.rows == Scope::Everything
    }

    /// Whether any rows come back, redrill's own ledger and nonce with them.
    pub fn has_rows(&self) -> bool {
        self.rows != Scope::Nothing
    }
}

/// Which half of a database a backup carries, when it is one half.
pub fn half(backup: &Backup) -> Option<Only> {
    match &backup.method {
        Method::PgDump(dump) => dump.only,
        Method::PgBasebackup { .. }
        | Method::PgBackRest(_)
        | Method::RedisRdb { .. }
        | Method::BucketSync { .. }
        | Method::FilesTar => None,
    }
}
