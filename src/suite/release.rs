//! What a release changes: the migrations of a database, run on a restored copy before it is released. `[release]`.
//!
//! Not here: running them (see [`crate::drill`]), or deciding on what came of it ([`crate::gate`]).

use std::path::PathBuf;

use super::Smoke;

/// The migrations of a release, and what must hold after them.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// The component that they change.
    pub component: String,
    /// The scenario whose recovered copy they are run on.
    pub scenario: String,
    /// What they are.
    pub migrations: Migrations,
    /// Questions to the migrated service, beside the component's own.
    pub smoke: Vec<Smoke>,
}

/// What migrates a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Migrations {
    /// Every `*.sql` file of a folder, in the order of their names, by `psql`.
    Folder(PathBuf),
    /// A command, with the database's address in its environment.
    Command(Vec<String>),
}
