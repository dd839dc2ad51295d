//! `restore` of a scenario: how the restore is done, and how far archived WAL is replayed.

use super::super::fit;
use super::super::problem::did_you_mean;
use super::super::raw::Value;
use super::super::{Component, Coordinate, Engine, RecoveryTarget, RestoreOptions, Strike};
use super::{Known, component, word};

/// `jobs` of a restore when a suite does not say.
const JOBS: u32 = 4;

impl Default for RestoreOptions {
    /// As `pg_restore` restores when it is not told otherwise, with several jobs.
    fn default() -> Self {
        Self {
            jobs: JOBS,
            owner: true,
            acl: true,
            version: None,
            target: RecoveryTarget::EndOfWal,
        }
    }
}

/// Where replay ends: at a target of [`RestoreOptions`], or just before the strike.
#[derive(Default)]
pub(super) struct Target {
    stated: Option<RecoveryTarget>,
    /// Just before the strike, by this.
    pub before_strike: Option<Coordinate>,
}

pub(super) fn restore(
    value: &Value<'_>,
    strikes: &[(String, Strike)],
    recover: &[String],
    known: &Known<'_>,
) -> (RestoreOptions, Target) {
    let usual = RestoreOptions::default();
    let Some(table) = value.table_such_as("options such as { jobs = 4, owner = false }") else {
        return (usual, Target::default());
    };
    let target = table
        .get("target")
        .map_or_else(Target::default, |value| target(&value));
    if target.before_strike.is_some()
        && let Some(value) = table.get("target")
    {
        has_a_moment_before(&value, strikes, recover, known);
    }
    let boolean = |key| table.get(key).and_then(|value| value.boolean());
    let options = RestoreOptions {
        jobs: table
            .get("jobs")
            .and_then(|value| value.integer(1..=64))
            .unwrap_or(usual.jobs),
        owner: boolean("owner").unwrap_or(usual.owner),
        acl: boolean("acl").unwrap_or(usual.acl),
        version: table.get("version").and_then(|value| {
            let version = component::version(&value)?;
            let replaced = |(name, strike): &(String, Strike)| {
                let engine = known.components.get(name).map(Component::engine);
                *strike == Strike::ServerLost && engine == Some(Engine::Postgres)
            };
            if !strikes.iter().any(replaced) {
                let message =
                    "no postgres server is lost here, to be replaced by one of another version";
                value.wrong(message, "strike it with \"server-lost\"".to_owned());
            }
            Some(version.to_owned())
        }),
        target: target.stated.clone().unwrap_or(usual.target),
    };
    table.finish();
    (options, target)
}

/// How far WAL is replayed. A moment is one of the server's own clock and log, which no suite can know beforehand: what it
/// can say is the moment just before the strike.
fn target(value: &Value<'_>) -> Target {
    const BEFORE: &str = "before-strike";
    let before = |coordinate| Target {
        stated: None,
        before_strike: Some(coordinate),
    };
    if value.is_table() {
        let Some(table) = value.table() else {
            return Target::default();
        };
        let by = table
            .require(BEFORE, "by what it is told, such as \"lsn\"")
            .and_then(|by| {
                word(
                    &by,
                    "by what the moment is told",
                    Coordinate::ALL,
                    Coordinate::id,
                )
            });
        table.finish();
        return by.map_or_else(Target::default, before);
    }
    let all = [
        ("end-of-wal", RecoveryTarget::EndOfWal),
        ("unbroken", RecoveryTarget::Unbroken),
        ("immediate", RecoveryTarget::Immediate),
    ];
    let Some(text) = value.text("how far WAL is replayed, such as \"end-of-wal\"") else {
        return Target::default();
    };
    if text == BEFORE {
        return before(Coordinate::Time);
    }
    let names = all.iter().map(|(name, _)| *name).chain([BEFORE]);
    let names: Vec<&str> = names.collect();
    let found = all.into_iter().find(|(name, _)| *name == text);
    if found.is_none() {
        let message = format!("there is no recovery target `{text}`");
        value.wrong(message, did_you_mean(text, names));
    }
    Target {
        stated: found.map(|(_, target)| target),
        before_strike: None,
    }
}

/// There is a moment just before a strike where that is a transaction, and it can be had from archived WAL alone.
fn has_a_moment_before(
    value: &Value<'_>,
    strikes: &[(String, Strike)],
    recover: &[String],
    known: &Known<'_>,
) {
    if !strikes
        .iter()
        .any(|(_, strike)| fit::is_a_transaction(*strike))
    {
        let all = Strike::ALL.iter().copied();
        let fitting: Vec<String> = all
            .filter(|strike| fit::is_a_transaction(*strike))
            .map(|strike| format!("`{strike}`"))
            .collect();
        let hint = format!("these are: {}", fitting.join(", "));
        value.wrong(
            "nothing that is struck here is a transaction in the log",
            hint,
        );
    }
    let archived = |name: &String| {
        let backup = known.backups.get(name);
        backup.is_some_and(|backup| backup.method.archives())
    };
    if !recover.is_empty() && !recover.iter().any(archived) {
        let hint =
            "recover from a backup whose method is \"pg-basebackup\" or \"pgbackrest\"".to_owned();
        value.wrong("nothing that is recovered from has archived WAL", hint);
    }
}
