//! What `pgbackrest verify` says of a repository. Pure.
//!
//! It ends with 0 whatever it found: only its words tell. It does not miss a segment that is gone: what continues a
//! backup is followed apart from it (see [`super::archived`]).

use std::collections::BTreeMap;

/// What was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Verified {
    /// The complaints, in its words; empty when all is well.
    pub complaints: Vec<String>,
    /// Valid files of the backup that was asked about.
    pub files: u64,
}

/// What was said, part by part: for a repository that is judged by what one backup of it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// What concerns all of it.
    pub whole: Vec<String>,
    /// Backups that are not valid, and what is wrong with them.
    pub backups: BTreeMap<String, String>,
    /// Valid files of each backup.
    pub checked: BTreeMap<String, u64>,
    /// Files that are amiss, by their places below the stanza's, and why.
    pub files: BTreeMap<String, String>,
}

/// Reads the text that `verify --output=text --verbose` prints, and the log beside it, which names the files.
pub(super) fn parts(text: &str, log: &str) -> Parts {
    let mut parts = Parts::default();
    let mut about = None;
    let mut archives = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(backup) = line.strip_prefix("backup: ") {
            let mut words = backup.split(", ");
            let label = words.next().unwrap_or_default().to_owned();
            let status = words.next().and_then(|it| it.strip_prefix("status: "));
            let status = status.unwrap_or("unknown");
            let valid = backup.rsplit_once("total valid files: ");
            let valid = valid.and_then(|(_, files)| files.trim().parse().ok());
            parts.checked.insert(label.clone(), valid.unwrap_or(0));
            if status != "valid" {
                parts.backups.insert(label.clone(), status.to_owned());
            }
            about = Some(label);
        } else if let Some(archive) = line.strip_prefix("archiveId: ") {
            about = None;
            let count = |of: &str| -> Option<u64> {
                let (_, rest) = archive.split_once(of)?;
                rest.split(',').next()?.trim().parse().ok()
            };
            let all = count("total WAL checked: ").zip(count("total valid WAL: "));
            let name = archive.split(',').next().unwrap_or_default().to_owned();
            archives.push((
                name,
                all.map_or(1, |(all, valid)| all.saturating_sub(valid)),
            ));
        } else if line.contains("missing: ") && line.contains("checksum invalid: ") {
            let wrong: Vec<&str> = line.split(", ").filter(|it| !it.ends_with(": 0")).collect();
            if let (Some(label), false) = (&about, wrong.is_empty()) {
                let known = parts.backups.entry(label.clone()).or_default();
                *known = format!("{known} ({})", wrong.join(", ")).trim().to_owned();
            }
        } else if !["stanza: ", "status: "]
            .iter()
            .any(|it| line.starts_with(it))
            && !line.is_empty()
        {
            parts.whole.push(line.to_owned());
        }
    }
    for line in log.lines() {
        let line = line.split_once(": ").map_or(line, |(_, words)| words);
        if let Some((why, rest)) = line.split_once(" '")
            && let Some(path) = rest.strip_suffix('\'')
            && path.contains('/')
        {
            parts.files.insert(path.to_owned(), why.to_owned());
        } else if let Some(rest) = line.strip_prefix("invalid result ")
            && let Some((path, why)) = rest.split_once(": ")
        {
            // `[95] raised from local-1 protocol: unable to flush`
            let why = why.split_once("protocol: ").map_or(why, |(_, why)| why);
            let why = format!("cannot be read: {why}");
            parts.files.insert(path.to_owned(), why);
        }
    }
    for (archive, invalid) in archives {
        let named = parts.files.keys();
        let named = named.filter(|path| path.starts_with(&format!("{archive}/")));
        if (named.count() as u64) < invalid {
            parts.whole.push(format!(
                "{invalid} segments of archive {archive} are amiss, and not all of them are named"
            ));
        }
    }
    parts
}

/// Reads the text that `verify --output=text --verbose` prints; `label` is the backup that is asked about.
pub(super) fn parse(text: &str, label: &str) -> Verified {
    let mut verified = Verified::default();
    let mut ok = false;
    let mut about = "";
    for line in text.lines().map(str::trim) {
        if let Some(status) = line.strip_prefix("status: ") {
            ok |= status == "ok";
            continue;
        }
        let names = line.starts_with("archiveId: ") || line.starts_with("backup: ");
        if names {
            about = line.split(", total").next().unwrap_or(line);
            let own = line.starts_with(&format!("backup: {label}, status: valid"));
            if let (true, Some((_, files))) = (own, line.rsplit_once("total valid files: ")) {
                verified.files = files.trim().parse().unwrap_or(0);
            }
            if line.starts_with("backup: ") && !line.contains(", status: valid") {
                verified.complaints.push(about.to_owned());
            }
        } else if line.contains("checksum invalid: ") || line.contains("missing: ") {
            let wrong: Vec<&str> = line.split(", ").filter(|it| !it.ends_with(": 0")).collect();
            if !wrong.is_empty() {
                verified
                    .complaints
                    .push(format!("{about}: {}", wrong.join(", ")));
            }
        } else if !line.is_empty() && !line.starts_with("stanza: ") {
            verified.complaints.push(line.to_owned());
        }
    }
    if !ok && verified.complaints.is_empty() {
        let words = "it does not say that the repository is well";
        verified.complaints.push(words.to_owned());
    }
    verified
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_amiss_is_told_by_backup_and_by_file() {
        let text = "stanza: main\nstatus: error\n  archiveId: 15-1, total WAL checked: 5, total valid WAL: 4\n    missing: 0, checksum invalid: 1, size invalid: 0, other: 0\n  backup: A, status: valid, total files checked: 9, total valid files: 9\n    missing: 0, checksum invalid: 0, size invalid: 0, other: 0\n  backup: A_B, status: invalid, total files checked: 9, total valid files: 8\n    missing: 1, checksum invalid: 0, size invalid: 0, other: 0\n";
        let log = "$ pgbackrest verify\nINFO: verify command begin 2.45: --x='/a/b' --y\nINFO: invalid checksum '15-1/0000000100000000/000000010000000000000005-f4.zst'\nINFO: file missing 'A_B/pg_data/x.zst'\n";
        let parts = parts(text, log);
        assert_eq!(parts.whole, [""; 0]);
        let backups: Vec<_> = parts.backups.into_iter().collect();
        let told = ("A_B".to_owned(), "invalid (missing: 1)".to_owned());
        assert_eq!(backups, [told]);
        let files: Vec<_> = parts.files.values().map(String::as_str).collect();
        assert_eq!(files, ["invalid checksum", "file missing"]);
        let log = "INFO: invalid result 15-1/0000000100000000/000000010000000000000005-f4.zst: [95] raised from local-1 protocol: unable to flush\n";
        let parts = super::parts(text, log);
        let files: Vec<_> = parts.files.values().map(String::as_str).collect();
        assert_eq!(files, ["cannot be read: unable to flush"]);
        assert_eq!(super::parts(text, "").whole.len(), 1);
        let none = super::parts(
            "stanza: main\nstatus: error\n  No usable backup.info file\n",
            "",
        );
        assert_eq!(none.whole, ["No usable backup.info file"]);
    }

    #[test]
    fn only_a_repository_that_is_said_to_be_well_is_well() {
        let well = "stanza: main\nstatus: ok\n  archiveId: 15-1, total WAL checked: 8, total valid WAL: 8\n    missing: 0, checksum invalid: 0, size invalid: 0, other: 0\n  backup: A, status: valid, total files checked: 965, total valid files: 965\n    missing: 0, checksum invalid: 0, size invalid: 0, other: 0\n";
        let found = parse(well, "A");
        assert_eq!(found.complaints, [""; 0]);
        assert_eq!(found.files, 965);
        assert_eq!(parse(well, "B").files, 0);
        for damaged in [
            "stanza: main\nstatus: error\n  archiveId: 15-1, total WAL checked: 8, total valid WAL: 7\n    missing: 0, checksum invalid: 1, size invalid: 0, other: 0\n",
            "stanza: main\nstatus: error\n  No usable backup.info file\n",
            "stanza: main\nstatus: error\n  backup: A, status: invalid, total files checked: 965, total valid files: 964\n    missing: 1, checksum invalid: 0, size invalid: 0, other: 0\n",
            "stanza: main\nstatus: error\n",
            "",
        ] {
            assert!(!parse(damaged, "A").complaints.is_empty(), "{damaged}");
        }
    }
}
