//! The closed vocabulary of a suite: every word has an id (used in files, records and reports) and a
//! one-sentence meaning (used by `redrill explain`). Matched exhaustively everywhere.
//!
//! Not here: what a word does. Faults act in [`crate::fault`], checks judge in [`crate::check`].

/// Declares a closed enum of words: `id()`, `meaning()`, `ALL` and `find()`.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $id:literal, $meaning:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* #[doc = $meaning] $variant,)+ }

        impl $name {
            /// Every word, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as written in files, records and reports.
            pub fn id(self) -> &'static str {
                match self { $(Self::$variant => $id),+ }
            }

            /// What it means, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }

            /// The word with this id.
            pub fn find(id: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|word| word.id() == id)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.id())
            }
        }
    };
}

words! {
    /// What a component is.
    Engine {
        Postgres = "postgres", "a PostgreSQL database server";
        Redis = "redis", "a Redis server";
        Bucket = "bucket", "a bucket of an S3 server";
    }
}

words! {
    /// What a scenario strikes a component with.
    Strike {
        CorruptHeapPage = "corrupt-heap-page", "one page of the component's largest table is overwritten on disk; the server still answers";
        ZeroedHeapPage = "zeroed-heap-page", "one page of the component's largest table reads as zeros, as after a write that never reached the disk: its rows are gone, and no error is raised";
        RowsDeleted = "rows-deleted", "every row of the component's largest table to which no other table refers is deleted, by a transaction that was acknowledged";
        TableDropped = "table-dropped", "the component's largest table is dropped, and what depends on it, by a transaction that was acknowledged";
        ServerKilled = "server-killed", "the server is killed; its data stays as the crash left it";
        ServerBroken = "server-broken", "the server is killed, and its control file is damaged: it does not start again";
        ServerLost = "server-lost", "the server is killed and its data directory is gone";
        BucketDeleted = "bucket-deleted", "every object of the bucket is deleted, and the bucket itself";
    }
}

words! {
    /// By what a recovery to just before a strike is told where to stop.
    Coordinate {
        Time = "time", "the server's clock just before the strike";
        Lsn = "lsn", "the place in the log where the last write before the strike ended";
        Name = "name", "a restore point that was made just before the strike";
    }
}

words! {
    /// Which artifact a recovery takes.
    #[derive(Default)]
    Pick {
        #[default]
        Newest = "newest", "the newest committed artifact of the backup";
        NewestGood = "newest-good", "the one with the newest state that restores, answers the smoke questions and, of a cluster's files, has no damaged page or index, whichever backup and repository it is of: one that does not is skipped, and why";
    }
}

words! {
    /// How what is recovered takes the place of what is left.
    #[derive(Default)]
    Mode {
        #[default]
        Parallel = "parallel", "it is recovered beside what is left, and takes its name when it has been verified; what was left is kept under another";
        Replace = "replace", "what is left is backed up first, in an emergency backup, then dropped and recovered in its place; without that backup nothing is dropped";
    }
}

words! {
    /// What is judged. Each check is a pure function of the drill's evidence.
    Check {
        Artifact = "artifact", "the artifact is committed by a manifest written last, and every file it names is in the repository with its size and SHA-256";
        Readable = "readable", "the engine's own tool reads the whole artifact to its end, content and not only its table of contents";
        Size = "size", "the artifact's size lies within the expected range";
        Fresh = "fresh", "the artifact holds the newest state the schedule promises: its content's own time and the ledger's high-water mark, not a file date; of a given artifact, that time is not in the future and no longer ago than asked (--max-age)";
        Mirror = "mirror", "the backup of a bucket holds exactly the source's keys, less the excluded ones, on every listing page";
        MassDelete = "mass-delete", "a backup of an emptied or mostly emptied source is refused instead of wiping the mirror";
        TargetEmpty = "target-empty", "the target of the restore was empty before it, and was started by this run";
        Needs = "needs", "every role and extension that a given artifact names is on the server that it is restored on, or was created when asked (--create-roles)";
        Restore = "restore", "every step of the recovery ended well, strictly: no ignored error, no refused start, no skipped step";
        Replay = "replay", "archived WAL was replayed to exactly where it was told to, on the newest timeline, and data checksums are still on";
        Integrity = "integrity", "every page of every relation of the recovered cluster can be read, and every index agrees with its table";
        Ties = "ties", "the recovered server is tied to no other: asked of it, it archives nowhere, follows and feeds nobody, has no subscription at work and runs no jobs; and neither the replication host nor the archive of its source heard of it";
        Identity = "identity", "the recovered data carries this run's nonce, and a recovered cluster is the one that was backed up: it is this system's data of this run, not a leftover, another database or another server's";
        Content = "content", "per table, Redis database or object: the count and the content fingerprint equal the source's at backup time";
        Catalogue = "catalogue", "every definition (columns, constraints, indexes, views, functions, grants, …) equals the source's";
        Sequences = "sequences", "no sequence hands out a value that its column already holds";
        Expiry = "expiry", "keys keep their expiry: none became immortal, none expires at another time; an elapsed one is legitimate";
        Metadata = "metadata", "objects keep their content type and user metadata";
        Smoke = "smoke", "the suite's own questions get the expected answers on the recovered service";
        Baseline = "baseline", "a given artifact holds no fewer rows, bytes and objects than the last one of its lineage that was verified, but for the drop that is allowed";
        Live = "live", "a given artifact holds what the live source holds (rows, keys, files), but for the drop that is allowed";
        Proven = "proven", "at least one thing shows that a given artifact holds the data: a manifest of its own, a baseline, the live source or a question with a known answer; and all of it can be read";
        Release = "release", "the migrations of the release run on the restored copy, and the questions after them get the expected answers";
        Rpo = "rpo", "the ledger's loss window is within the objective, and the ledger has no hole";
        Rto = "rto", "loss declared to first verified read is within the objective, measured and projected to the production size";
        Retention = "retention", "every run left an artifact, and after the pruner ran exactly the artifacts that the policy keeps remain, and the newest good one is among them";
        Encryption = "encryption", "no canary in any stored object, name, metadata or temporary file; a wrong key, no key, a flipped bit and a cut file all fail and leave no output";
        Secrets = "secrets", "no password or key of the run stands in a log, a record or a report, and no canary in a log";
        Executed = "executed", "every check that was asked for really ran and observed something";
        RecordBound = "record-bound", "the facts read back from disk are this run's and name the artifacts that this run restored";
        Teardown = "teardown", "everything that was started was removed";
    }
}

words! {
    /// What a detection drill plants; the ids are those of the fault catalogue.
    Fault {
        A1 = "A1", "dump truncated";
        A1Plain = "A1-plain", "plain dump cut after its rows";
        A2 = "A2", "bit flip in a compressed dump";
        A2Uncompressed = "A2-uncompressed", "byte flip in a row of an uncompressed dump";
        A2Plain = "A2-plain", "byte flip in a row of a plain dump";
        A3 = "A3", "empty dump: pg_dump failed in a pipe without pipefail";
        A4 = "A4", "psql without ON_ERROR_STOP: a statement fails, and it goes on";
        A5 = "A5", "pg_restore's errors ignored: a role that the dump names is not there";
        A6 = "A6", "a table missing from the dump";
        A7 = "A7", "globals incomplete: a role is not restored";
        A8 = "A8", "wrong database dumped";
        A8Stale = "A8-stale", "an older dump stored again as the newest";
        A9 = "A9", "sequence behind its data";
        A10 = "A10", "large objects missing from the dump";
        A11 = "A11", "a plain dump of a newer pg_dump, with commands and settings that an older psql and server do not know";
        A12 = "A12", "restored into a database of another locale";
        A13 = "A13", "restored onto a database that was not empty";
        A14 = "A14", "row security filters the dump: taken by a role that may not see every row";
        A15 = "A15", "indexes, constraints and triggers absent";
        A16 = "A16", "a schema missing from the dump: a scheduler's jobs";
        B1 = "B1", "a table's file missing from the base backup";
        B2 = "B2", "a stray file in the base backup";
        B3 = "B3", "a file of the base backup cut by one byte";
        B3Appended = "B3-appended", "a block appended to a file of the base backup";
        B4 = "B4", "a file of the base backup replaced by zeros of the same length";
        B4Bundle = "B4-bundle", "a byte changed inside a bundle of files that pgBackRest stored";
        B5 = "B5", "the base backup's manifest changed by one character";
        B5Deleted = "B5-deleted", "the base backup's manifest deleted";
        B5Emptied = "B5-emptied", "the base backup's manifest emptied";
        B5Recomputed = "B5-recomputed", "a file of the base backup changed and its manifest with it, every checksum in it recomputed";
        B6 = "B6", "a tablespace's link missing: the server starts without it";
        B7 = "B7", "backup_label missing: recovery begins at the wrong place";
        B8 = "B8", "bit flip in a page of a table";
        B9 = "B9", "torn page: one half of it is not what the other is";
        B10 = "B10", "lost write: an older page with a checksum that is right";
        B10Index = "B10-index", "lost write: an older page of a btree with a checksum that is right";
        B11 = "B11", "misdirected write: a page in the place of another";
        B12 = "B12", "row header damaged, the page's checksum being right";
        B12Hoff = "B12-hoff", "row header damaged: its data are said to begin elsewhere";
        B12Natts = "B12-natts", "row header damaged: it is said to have more columns than the table";
        B13 = "B13", "values that are stored out of line gone";
        B14 = "B14", "btree in the order of another collation";
        B15 = "B15", "btree lacks entries of its table";
        B16 = "B16", "GIN index lacks entries of its table";
        B16Gist = "B16-gist", "GiST index lacks entries of its table";
        B16Brin = "B16-brin", "BRIN index knows of other rows than those of its table";
        B17 = "B17", "duplicate under a unique index";
        B18 = "B18", "data checksums off in the recovered cluster";
        B20 = "B20", "base backup of another cluster, which holds the same rows";
        B21 = "B21", "the backup that an incremental one builds on is missing";
        B21Foreign = "B21-foreign", "the backup that an incremental one builds on holds files of another";
        B22 = "B22", "pg_control of another moment than the data";
        B23 = "B23", "the recovered server archives, as its source did";
        B23Archive = "B23-archive", "the recovered server archived into the archive of its source before it was told not to";
        B23Scheduler = "B23-scheduler", "the recovered server preloads a job scheduler, as its source did";
        B23Standby = "B23-standby", "the recovered server follows the primary that its source names";
        B23Subscription = "B23-subscription", "a subscription of the source is at work in the recovered server";
        C1 = "C1", "WAL segment missing in the middle";
        C1PgBackRest = "C1-pgbackrest", "WAL segment missing in the middle of pgBackRest's archive, which its verify does not miss";
        C2 = "C2", "WAL segment cut";
        C3 = "C3", "WAL segment of the right size that holds no log";
        C3Crc = "C3-crc", "one bit of a record flipped in a WAL segment";
        C4 = "C4", "timeline history missing after a failover";
        C5 = "C5", "the network to the archive is cut in the middle of a recovery";
        C6 = "C6", "restore_command ended by a signal";
        C7 = "C7", "archive_command succeeds and stores nothing";
        C8 = "C8", "archiver stalled: archive_command fails";
        C9 = "C9", "a segment of the same name and other content is in the archive already";
        C10 = "C10", "a window of wal_level = minimal: the server ran with it for a while, and what it wrote is not all in its log";
        C11 = "C11", "recovery target after the end of the archived WAL";
        C11Early = "C11-early", "recovery target before the end of the base backup";
        C12 = "C12", "recovery target read in another time zone: an earlier moment, which is reached without a word";
        C13 = "C13", "recovery follows the timeline of an old primary that wrote on after a failover";
        C14 = "C14", "WAL pruned under a base backup that is kept";
        C15 = "C15", "the last segments lost with the server: none was archived since the base backup";
        C16 = "C16", "an older segment lies where a newer one is fetched from";
        D1 = "D1", "RDB with a flipped byte, CRC on";
        D2 = "D2", "RDB with a flipped byte, CRC off";
        D3 = "D3", "RDB missing or empty: the server starts empty";
        D4 = "D4", "AOF tail cut at a command border";
        D6 = "D6", "an AOF hides the restored RDB";
        D8 = "D8", "expiries lost or shifted by the restore";
        F1 = "F1", "object missing from the backup";
        F2 = "F2", "object content changed, same size and time";
        F4 = "F4", "an upload in parts begun and never finished";
        F6 = "F6", "source wiped, mirror follows";
        F11 = "F11", "listing cut at its first page";
        F16 = "F16", "object metadata lost";
        H1 = "H1", "plaintext stored: encryption disabled in one branch";
        H1Name = "H1-name", "plaintext in the name of a stored object";
        H1Metadata = "H1-metadata", "plaintext in the metadata of a stored object";
        H1Staging = "H1-staging", "plaintext left among the temporary files of a server";
        H1Temporary = "H1-temporary", "plaintext left among redrill's temporary files";
        H1Log = "H1-log", "plaintext in a log";
        H2 = "H2", "the key that is left is the wrong one";
        H3 = "H3", "bit flip in the ciphertext";
        H4 = "H4", "ciphertext cut at a chunk border";
        I1 = "I1", "the last good backup pruned after failures";
        J5 = "J5", "the repository stalls: a recovery takes longer than it may";
        J11 = "J11", "a check that was skipped counted as passed";
        J12 = "J12", "a stale report reused";
        J14 = "J14", "a leftover of an earlier run gives the data";
        J15 = "J15", "the restore never ran: the target already held the data";
        J16 = "J16", "a secret in a log or report";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_by_its_id_and_no_id_is_used_twice() {
        for check in Check::ALL {
            assert_eq!(Check::find(check.id()), Some(*check));
        }
        for fault in Fault::ALL {
            assert_eq!(Fault::find(fault.id()), Some(*fault));
        }
        assert_eq!(Engine::find("mongodb"), None);
    }
}
