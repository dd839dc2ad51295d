//! Finding the programs of locally installed servers, and the user they may run as.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::process::Account;

/// Where distributions put the servers of several Postgres versions side by side; `{}` is the major version.
const POSTGRES_PLACES: [&str; 4] = [
    "/usr/lib/postgresql/{}/bin",
    "/usr/pgsql-{}/bin",
    "/opt/homebrew/opt/postgresql@{}/bin",
    "/usr/local/opt/postgresql@{}/bin",
];
/// Major versions looked for when none is asked for, newest first.
const POSTGRES_MAJORS: std::ops::RangeInclusive<u32> = 12..=19;

/// What a drill runs besides the server itself; a package of its own in some distributions.
const POSTGRES_CLIENTS: [&str; 4] = ["initdb", "psql", "pg_dump", "pg_restore"];

/// The directory with the programs of a Postgres of this version; the newest installed when none is asked for.
pub fn postgres_bin(version: Option<&str>) -> Result<PathBuf> {
    let majors: Vec<String> = match version {
        Some(version) => vec![major(version).to_owned()],
        None => POSTGRES_MAJORS
            .rev()
            .map(|major| major.to_string())
            .collect(),
    };
    let installed = majors.iter().flat_map(|major| {
        POSTGRES_PLACES
            .iter()
            .map(move |place| PathBuf::from(place.replace("{}", major)))
    });
    let mut candidates: Vec<PathBuf> = installed
        .filter(|dir| dir.join("postgres").is_file())
        .collect();
    if version.is_none() {
        candidates.extend(on_path("postgres").and_then(|path| path.parent().map(Path::to_owned)));
    } else if let Some(path) = on_path("postgres")
        && let Ok(found) = std::fs::canonicalize(&path)
        && majors
            .iter()
            .any(|major| found.to_string_lossy().contains(&format!("/{major}/")))
    {
        candidates.extend(found.parent().map(Path::to_owned));
    }
    let found = candidates.into_iter().next().ok_or_else(|| {
        let wanted = version.map_or_else(
            || "any version".to_owned(),
            |version| format!("version {version}"),
        );
        let package = version.map_or_else(
            || "postgresql".to_owned(),
            |version| format!("postgresql-{}", major(version)),
        );
        Error::unavailable(format!("no PostgreSQL server ({wanted}) is installed here")).hint(
            format!("apt-get install {package}, or use --services containers"),
        )
    })?;
    let there = |name: &&str| found.join(name).is_file() || on_path(name).is_some();
    match POSTGRES_CLIENTS.iter().find(|name| !there(name)) {
        None => Ok(found),
        Some(name) => Err(Error::unavailable(format!(
            "{name} is not installed here, beside the server in {}",
            found.display()
        ))
        .hint(
            "apt-get install postgresql-client of the server's version, or use --services containers",
        )),
    }
}

/// A program on PATH or in the usual system directories.
pub fn program(name: &str, package: &str) -> Result<PathBuf> {
    on_path(name).ok_or_else(|| {
        Error::unavailable(format!("{name} is not installed here")).hint(format!(
            "apt-get install {package}, or use --services containers"
        ))
    })
}

/// pgBackRest, which only runs beside a local server.
pub fn pgbackrest() -> Result<PathBuf> {
    on_path("pgbackrest").ok_or_else(|| {
        Error::unavailable("pgbackrest is not installed here").hint("apt-get install pgbackrest")
    })
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/bin", "/usr/bin", "/bin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// The first number of a version; before PostgreSQL 10, the first two.
pub fn major(version: &str) -> &str {
    let dots = if version.starts_with("9.") { 2 } else { 1 };
    let end = version.match_indices('.').nth(dots - 1);
    end.map_or(version, |(end, _)| &version[..end])
}

/// The user a server runs as: itself unless this is root, which Postgres refuses to run as; then the user that
/// the distribution made for the server, or `nobody`.
pub fn account(preferred: &str) -> Result<Option<Account>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    for name in [preferred, "nobody"] {
        if let Ok(Some(user)) = nix::unistd::User::from_name(name) {
            return Ok(Some(Account {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            }));
        }
    }
    Err(Error::unavailable(format!(
        "neither the user {preferred} nor nobody exists; servers must not run as root"
    ))
    .hint("create one of these users, or run redrill as an ordinary user"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_10_a_major_version_of_postgres_has_two_numbers() {
        for (version, expected) in [
            ("9.6.24", "9.6"),
            ("9.6", "9.6"),
            ("9", "9"),
            ("15.18", "15"),
            ("15", "15"),
            ("95.1.2", "95"),
        ] {
            assert_eq!(major(version), expected, "{version}");
        }
    }
}
