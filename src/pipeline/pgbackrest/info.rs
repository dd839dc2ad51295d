//! What `pgbackrest info` says of a repository. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Doing, Error, Result};
use crate::repository::wal::{Lsn, Name, Segment};

/// What a repository holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Info {
    /// Whose backups they are, the present cluster last; empty where there is no stanza.
    pub cluster: String,
    /// `none`, or how it is encrypted.
    pub cipher: String,
    /// The backups, oldest first.
    pub backups: Vec<Set>,
}

/// A backup of pgBackRest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    /// Its name: `20261121-222623F_20261121-222626D`.
    pub label: String,
    /// The one that it builds on.
    pub prior: Option<String>,
    /// All that it takes files from.
    pub references: Vec<String>,
    /// The first and the last segment that it cannot do without.
    pub wal: (Segment, Segment),
    /// Where it is consistent.
    pub stop: Lsn,
    /// When it began, on the clock of the server's machine, in seconds since 1970.
    pub began: i64,
    /// Pages failed their checksums when it was taken.
    pub damaged: bool,
    /// The cluster that it is of: a repository outlives an upgrade.
    pub cluster: String,
    /// The major version of its server.
    pub version: String,
    /// Where its WAL is kept in the archive: `15-1`.
    pub archive: String,
    /// Stored bytes of all that it is restored from.
    pub stored: u64,
}

impl Info {
    /// The backup of this name.
    pub fn set(&self, label: &str) -> Option<&Set> {
        self.backups.iter().find(|set| set.label == label)
    }
}

#[derive(Deserialize)]
struct Stanza {
    #[serde(default)]
    backup: Vec<Backup>,
    #[serde(default)]
    cipher: String,
    #[serde(default)]
    db: Vec<Database>,
    status: Status,
    #[serde(default)]
    repo: Vec<Repo>,
}

#[derive(Deserialize)]
struct Status {
    code: u32,
    message: String,
}

#[derive(Deserialize)]
struct Repo {
    status: Status,
}

#[derive(Deserialize)]
struct Database {
    id: u32,
    #[serde(rename = "system-id")]
    system_id: u64,
    version: String,
}

#[derive(Deserialize)]
struct Of {
    id: u32,
}

#[derive(Deserialize, Default)]
struct Sizes {
    #[serde(default)]
    repository: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Backup {
    label: String,
    prior: Option<String>,
    reference: Option<Vec<String>>,
    archive: Range,
    lsn: Range,
    timestamp: Times,
    error: Option<bool>,
    database: Of,
    #[serde(default)]
    info: Sizes,
}

#[derive(Deserialize)]
struct Range {
    start: Option<String>,
    stop: Option<String>,
}

#[derive(Deserialize)]
struct Times {
    start: i64,
}

/// Reads the JSON of `info`.
pub(super) fn parse(json: &[u8], repository: &str) -> Result<Info> {
    // What could not be deciphered is quoted in it as it is: no text, and no JSON.
    let text = String::from_utf8_lossy(json).replace(char::is_control, " ");
    let all: Vec<Stanza> = serde_json::from_str(&text).doing("understand it")?;
    let Some(stanza) = all.into_iter().next() else {
        return Ok(Info::default());
    };
    // 1 to 3: no stanza, no backup yet, no stanza in one place. Everything else cannot be read.
    if stanza.status.code > 3 {
        let of_repo = stanza.repo.into_iter().map(|repo| repo.status);
        let mut all = of_repo.chain([stanza.status]);
        let message = all.next().map(|status| status.message).unwrap_or_default();
        // What was read is quoted below it: bytes that were deciphered with another passphrase.
        let words = message.split("FormatError: ").next().unwrap_or_default();
        return Err(Error::failed(format!("repository {repository}: {}", words.trim_end()))
            .hint("either its backup.info was damaged, with its copy, or it is encrypted with another passphrase than the one that is left"));
    }
    let cluster = stanza.db.last().map(|db| db.system_id.to_string());
    Ok(Info {
        cluster: cluster.unwrap_or_default(),
        cipher: stanza.cipher,
        backups: stanza
            .backup
            .into_iter()
            .filter_map(|backup| set(backup, &stanza.db))
            .collect(),
    })
}

/// `None` of one without WAL, which only an offline backup is.
fn set(backup: Backup, databases: &[Database]) -> Option<Set> {
    let mut databases = databases.iter();
    let database = databases.find(|database| database.id == backup.database.id)?;
    let sizes = &backup.info.repository;
    let size = |of| sizes.get(of).and_then(serde_json::Value::as_u64);
    let segment = |name: Option<String>| match Name::parse(&name?)? {
        Name::Segment(segment) => Some(segment),
        _ => None,
    };
    Some(Set {
        label: backup.label,
        prior: backup.prior,
        references: backup.reference.unwrap_or_default(),
        wal: (
            segment(backup.archive.start)?,
            segment(backup.archive.stop)?,
        ),
        stop: Lsn::parse(&backup.lsn.stop?)?,
        began: backup.timestamp.start,
        damaged: backup.error == Some(true),
        cluster: database.system_id.to_string(),
        archive: format!("{}-{}", database.version, database.id),
        version: database.version.clone(),
        // Which of the two it has differs by its version.
        stored: ["size", "delta"]
            .into_iter()
            .find_map(size)
            .unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_says_whose_it_is_and_what_builds_on_what() {
        let json = r#"[{"archive":[],"backup":[
          {"archive":{"start":"000000010000000000000002","stop":"000000010000000000000003"},"error":false,"database":{"id":1},"info":{"repository":{"size":42}},
           "label":"20261121-222623F","lsn":{"start":"0/2000028","stop":"0/3000100"},"prior":null,"reference":null,
           "timestamp":{"start":1795299983,"stop":1795299985},"type":"full"},
          {"archive":{"start":"000000010000000000000006","stop":"000000010000000000000006"},"error":true,"database":{"id":2},
           "label":"20261121-222623F_20261121-222629I","lsn":{"start":"0/6000028","stop":"0/6000100"},
           "prior":"20261121-222623F","reference":["20261121-222623F"],
           "timestamp":{"start":1795299989,"stop":1795299990},"type":"incr"}],
          "cipher":"aes-256-cbc","db":[{"id":1,"repo-key":1,"system-id":5,"version":"9.6"},
            {"id":2,"repo-key":1,"system-id":7710754707307745598,"version":"15"}],
          "name":"main","repo":[{"cipher":"none","key":1,"status":{"code":0,"message":"ok"}}],
          "status":{"code":0,"message":"ok"}}]"#;
        let info = parse(json.as_bytes(), "near").expect("understood");
        assert_eq!(info.cluster, "7710754707307745598");
        assert_eq!(info.cipher, "aes-256-cbc");
        let [full, incr] = info.backups.as_slice() else {
            panic!("{info:?}")
        };
        assert_eq!(full.wal.1.to_string(), "000000010000000000000003");
        assert_eq!((full.prior.clone(), full.damaged), (None, false));
        assert_eq!(incr.references, ["20261121-222623F"]);
        assert!(incr.damaged);
        assert_eq!((full.archive.as_str(), full.stored), ("9.6-1", 42));
        assert_eq!(
            (full.cluster.as_str(), incr.archive.as_str()),
            ("5", "15-2")
        );
    }

    #[test]
    fn a_repository_without_a_stanza_is_empty_and_one_that_cannot_be_read_is_an_error() {
        let empty = r#"[{"archive":[],"backup":[],"cipher":"none","db":[],"name":"main",
          "repo":[{"status":{"code":1,"message":"missing stanza path"}}],
          "status":{"code":1,"message":"missing stanza path"}}]"#;
        let info = parse(empty.as_bytes(), "near").expect("understood");
        assert_eq!((info.cluster.as_str(), info.backups.len()), ("", 0));
        let sealed = r#"[{"backup":[],"db":[],"repo":[{"status":{"code":99,"message":"[FormatError] unable to load info file\nFormatError: key/value: SECRET"}}],
          "status":{"code":99,"message":"other"}}]"#;
        let error = parse(sealed.as_bytes(), "near").expect_err("not read");
        assert!(error.message().contains("unable to load info file"));
        assert!(!error.message().contains("SECRET"), "{error}");
    }
}
