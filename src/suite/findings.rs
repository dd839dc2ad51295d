//! Every kind of finding: a planted fault names the one by which it must be caught, and `redrill explain` says what it
//! means. A test keeps this list and the checks' code the same.

/// The kinds of findings and what they mean.
pub const FINDINGS: &[(&str, &str)] = &[
    (
        "backup-failed",
        "the backup ended with an error; nothing was committed",
    ),
    (
        "not-committed",
        "no manifest that can be read: the artifact does not count",
    ),
    (
        "manifest-not-last",
        "a file was written after the manifest, which then commits nothing",
    ),
    ("no-files", "the manifest names no file"),
    (
        "file-missing",
        "a file that the manifest names is not in the repository",
    ),
    (
        "file-size-differs",
        "a stored file has another size than its manifest says",
    ),
    (
        "file-hash-differs",
        "a stored file has another SHA-256 than its manifest says",
    ),
    (
        "file-not-read",
        "a stored file could not be read, so nothing is known of it",
    ),
    (
        "more-files-amiss",
        "so many files of an artifact are amiss that only the first are named",
    ),
    (
        "unreadable",
        "the engine's own tool cannot read the artifact to its end",
    ),
    ("nothing-inside", "the artifact is readable and empty"),
    (
        "size-out-of-range",
        "the stored size lies outside of the suite's `size`",
    ),
    (
        "foreign-artifact",
        "the newest artifact was made by another run",
    ),
    (
        "stale-artifact",
        "the newest artifact is older than the schedule promises",
    ),
    (
        "stale-content",
        "the content is of another time than the backup that stored it",
    ),
    (
        "no-content-time",
        "the content of a given artifact does not say when it was made",
    ),
    (
        "from-the-future",
        "the content says that it was made later than now: a clock or a time zone is wrong",
    ),
    (
        "too-old",
        "the content of a given artifact is older than asked",
    ),
    (
        "role-missing",
        "a given artifact names a role that is not on the server: nothing was restored",
    ),
    (
        "extension-missing",
        "a given artifact needs an extension that the server does not have: nothing was restored",
    ),
    (
        "role-created",
        "a role that a given artifact names was created for it, as asked",
    ),
    (
        "not-compared",
        "what a given artifact should be compared with could not be read",
    ),
    (
        "rows-dropped",
        "a table, or a kind of keys, has fewer rows than before, or is gone",
    ),
    ("size-dropped", "what came back is smaller than before"),
    (
        "objects-dropped",
        "there are fewer tables, kinds of keys or files than before",
    ),
    (
        "migration-failed",
        "a migration of the release failed on the restored copy",
    ),
    (
        "release-smoke-failed",
        "a question gets another answer than expected after the migrations of the release",
    ),
    (
        "no-migration",
        "the folder of the release's migrations has no SQL file",
    ),
    (
        "nothing-proven",
        "a given artifact could be restored, and nothing says what it should hold",
    ),
    (
        "behind-its-time",
        "writes acknowledged before the backup are not in what was restored from it",
    ),
    (
        "guard-not-reached",
        "the backup of an emptied source ended before the mass-delete guard was asked",
    ),
    (
        "mirror-wiped",
        "the backup of an emptied source was committed",
    ),
    (
        "keys-missing",
        "objects of the source are not in the backup",
    ),
    (
        "keys-extra",
        "the backup holds objects that the source does not have, or that are excluded",
    ),
    (
        "keys-changed",
        "objects have other content in the backup than in the source",
    ),
    (
        "sequence-was-behind",
        "a sequence hands out values that are taken already, in the source too",
    ),
    (
        "sequence-behind",
        "after the restore a sequence hands out values that are taken already",
    ),
    (
        "sequence-state-differs",
        "a sequence that feeds no column hands out another value than in the source",
    ),
    (
        "other-run",
        "what came back carries the mark of another run",
    ),
    (
        "another-system",
        "a physical backup is of another cluster, or of another database, than the source",
    ),
    ("no-nonce", "what came back does not carry this run's mark"),
    ("part-missing", "a table, Redis database or object is gone"),
    (
        "part-extra",
        "a table, Redis database or object came back that the source did not have",
    ),
    (
        "unlogged-table-empty",
        "an unlogged table is empty after a replay, as it must be",
    ),
    ("part-unreadable", "the server cannot read what it restored"),
    (
        "count-differs",
        "another number of rows, keys or bytes came back",
    ),
    (
        "content-differs",
        "the count is right and the content is not",
    ),
    ("expiry-differs", "keys expire at another time, or never"),
    (
        "metadata-differs",
        "an object lost its content type or user metadata",
    ),
    (
        "definition-missing",
        "a definition of the source's catalogue is gone",
    ),
    ("definition-differs", "a definition came back changed"),
    (
        "definition-extra",
        "a definition came back that the source did not have",
    ),
    (
        "privileges-left-out",
        "owners or grants of the source were left out of the restore on purpose (`owner = false`, `acl = false`): whoever it let \
         in may be let in nowhere until they are set anew",
    ),
    (
        "hole-in-the-ledger",
        "an acknowledged write is lost although a later one came back",
    ),
    (
        "worst-case-beyond-objective",
        "struck at the worst moment, the loss is larger than the objective allows: a warning about the schedule, where the \
         scenario is struck at a stated moment too, which is held to the objective",
    ),
    (
        "rpo-missed",
        "the measured loss window is larger than the objective, at a stated moment or where none but the worst is struck",
    ),
    (
        "schedule-cannot-keep-rpo",
        "period and duration of the backup together exceed the objective",
    ),
    (
        "not-projected",
        "too little was measured to carry the recovery of a component to its production size: undetermined at the suite's own \
         size, a warning at a smaller one",
    ),
    (
        "rto-missed",
        "the measured recovery took longer than the objective",
    ),
    (
        "projected-rto-missed",
        "carried to the production size, the recovery takes longer than the objective",
    ),
    (
        "artifact-skipped",
        "a newer artifact was tried first, and was of no use",
    ),
    (
        "restart-not-tried",
        "the recovery began with a restore although a restart was to be tried first",
    ),
    (
        "restart-failed",
        "the server was started again first, and did not come back as it should",
    ),
    (
        "no-emergency-backup",
        "a struck database was dropped before it was backed up",
    ),
    (
        "past-the-strike",
        "a recovery to just before the strike brought back what came after it",
    ),
    (
        "before-the-strike",
        "a recovery to just before the strike stopped earlier than the moment that was noted then",
    ),
    (
        "target-not-empty",
        "the target held something before the restore",
    ),
    (
        "foreign-target",
        "the target of the restore was not started by this run",
    ),
    (
        "restore-failed",
        "a step of the recovery ended with an error",
    ),
    (
        "target-not-provisioned",
        "no server could be started to restore onto: nothing is known about the backup",
    ),
    ("restore-skipped", "the restore step never ran"),
    (
        "archiving-failed",
        "what was committed between two backups could not be archived in every repository",
    ),
    (
        "target-missed",
        "recovery did not stop where it was told to, by the recovered server's own words",
    ),
    (
        "older-timeline",
        "recovery followed a timeline that is not the newest in the repository",
    ),
    (
        "repository-skipped",
        "a recovery left a repository that was damaged or out of reach, and took the same backup from a nearer one",
    ),
    (
        "timeline-abandoned",
        "the archive holds what was committed on a timeline after another left it: a warning, and no part of what was recovered",
    ),
    (
        "another-cluster",
        "the recovered cluster is not the one that was backed up",
    ),
    (
        "checksums-off",
        "the source had data checksums on, and the recovered cluster has not",
    ),
    (
        "checksums-not-known",
        "the recovered cluster has no data checksums, and nobody could say whether the base backup had any",
    ),
    (
        "called-its-source",
        "the recovered server called the replication host that its source names",
    ),
    (
        "calls-not-seen",
        "nobody listened in the place of the source's replication host: whether the recovered server calls it is not known",
    ),
    (
        "archived-into-its-source",
        "something came into the archive of the source while its recovered copy ran",
    ),
    (
        "archive-not-seen",
        "the archive of the source could not be listed before and after the recovery",
    ),
    (
        "still-tied",
        "the recovered server archives, replicates, subscribes or is set to run jobs as if it were the source",
    ),
    (
        "ties-not-seen",
        "the recovered server could not be asked what ties it to others",
    ),
    ("runs-jobs", "a job scheduler runs in the recovered server"),
    (
        "works-by-itself",
        "a process of an extension runs in the recovered server, and nobody knows what it does",
    ),
    (
        "relation-damaged",
        "a relation of the recovered cluster cannot be read, or an index does not agree with its table",
    ),
    (
        "index-not-checked",
        "an index cannot be held against its table: its kind answers no question of ours, the server complains of the question itself, or the table has no value to look for",
    ),
    (
        "index-sampled",
        "of a large index of a kind that amcheck does not know, only a part was looked at",
    ),
    (
        "integrity-not-checked",
        "a database, a table or an index could not be looked at: an extension is not installed with the server, nobody is let in, the server did not go by the index, or it was not done in time",
    ),
    (
        "database-half-dropped",
        "a database came back whose dropping was begun and not ended: nobody can open it, and nothing of it was looked at",
    ),
    (
        "not-the-newest",
        "an older artifact was restored although a newer one is committed",
    ),
    (
        "older-than-the-last-good",
        "an artifact of before the damage brings back more than the one that was restored, and was not tried, or did not hold up",
    ),
    (
        "damage-came-back",
        "what was restored had been taken after the damage was done, and holds it",
    ),
    ("old-data-gone", "the damaged database was not kept aside"),
    (
        "strike-without-symptom",
        "after the strike the service showed no symptom",
    ),
    (
        "smoke-failed",
        "a question of the suite, to the service or to the application on it, got another answer than expected",
    ),
    (
        "drifted",
        "no more is gone than may go from one artifact to the next, and more than that beside the last ten: it is lost bit by bit",
    ),
    (
        "answer-shows-nothing",
        "the answer to a question would be the same of an empty database: it is no proof",
    ),
    (
        "check-did-not-run",
        "a check that was asked for looked at nothing",
    ),
    ("stale-record", "the facts on disk are those of another run"),
    (
        "other-artifacts",
        "the facts on disk name other artifacts than were restored",
    ),
    (
        "left-behind",
        "something that was started could not be removed",
    ),
    (
        "last-good-pruned",
        "the newest artifact that verifies was removed by the pruner",
    ),
    (
        "pruned-too-much",
        "artifacts that the policy keeps are gone",
    ),
    ("pruned-too-little", "artifacts past the policy remain"),
    ("orphans", "stored files belong to no artifact"),
    ("kept-but-broken", "files of kept artifacts are gone"),
    (
        "log-gap",
        "archived WAL after the oldest base backup that remains is gone, and no recovery gets past it",
    ),
    (
        "no-canary",
        "the canary was not in the source, so that the search for it proves nothing",
    ),
    (
        "not-declared",
        "the manifest of an encrypted backup names no recipient, or another one",
    ),
    ("plaintext-stored", "a stored file is not ciphertext"),
    (
        "canary-found",
        "data of the source stands readable where it must not",
    ),
    (
        "upload-unfinished",
        "an upload in parts, or a file, was begun in a repository and never finished: no listing shows it, no pruner removes it",
    ),
    (
        "does-not-open",
        "the key that is left does not open the artifact",
    ),
    (
        "opened-wrongly",
        "the artifact was read with a wrong key, without one, or damaged",
    ),
    ("output-left", "a failed decryption left an output file"),
    (
        "secret-leaked",
        "a password, key or canary stands readable in a log or report",
    ),
    ("not-observed", "something could not be looked at"),
    ("nothing-observed", "a check found nothing to look at"),
];

#[cfg(test)]
mod tests {
    use super::FINDINGS;
    use std::collections::BTreeSet;

    #[test]
    fn every_finding_in_the_code_is_explained_and_every_explanation_is_of_a_finding() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut code = std::fs::read_to_string(dir.join("outcome.rs")).expect("outcome.rs");
        for entry in std::fs::read_dir(dir.join("check")).expect("src/check") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                code += &std::fs::read_to_string(path).expect("a module");
            }
        }
        let explained: BTreeSet<&str> = FINDINGS.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(explained.len(), FINDINGS.len(), "a kind is explained twice");
        for kind in &explained {
            assert!(
                code.contains(&format!("\"{kind}\"")),
                "no check makes the finding {kind}"
            );
        }
        for word in ["Finding::error(", "Finding::warning(", "Finding::unknown("] {
            for call in code.split(word).skip(1) {
                let Some(kind) = call
                    .trim_start()
                    .strip_prefix('"')
                    .and_then(|rest| rest.split('"').next())
                else {
                    continue;
                };
                assert!(
                    explained.contains(kind) || kind.len() < 3,
                    "the finding {kind} is not explained"
                );
            }
        }
    }
}
