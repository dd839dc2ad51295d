//! What `pgbackrest verify` says of a repository. Pure.
//!
//! It ends with 0 whatever it found: only its words tell. It does not miss a segment that is gone: what continues a
//! backup is followed apart from it (see [`super::archived`]).

/// What was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Verified {
    /// The complaints, in its words; empty when all is well.
    pub complaints: Vec<String>,
    /// Valid files of the backup that was asked about.
    pub files: u64,
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
