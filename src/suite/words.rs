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
        ServerLost = "server-lost", "the server is killed and its data directory is gone";
        BucketDeleted = "bucket-deleted", "every object of the bucket is deleted, and the bucket itself";
    }
}

words! {
    /// What is judged. Each check is a pure function of the drill's evidence.
    Check {
        Artifact = "artifact", "the artifact is committed by a manifest written last, and every file it names is in the repository with its size and SHA-256";
        Readable = "readable", "the engine's own tool reads the whole artifact to its end, content and not only its table of contents";
        Size = "size", "the artifact's size lies within the expected range";
        Fresh = "fresh", "the artifact holds the newest state the schedule promises: its content's own time and the ledger's high-water mark, not a file date";
        Mirror = "mirror", "the backup of a bucket holds exactly the source's keys, less the excluded ones, on every listing page";
        MassDelete = "mass-delete", "a backup of an emptied or mostly emptied source is refused instead of wiping the mirror";
        TargetEmpty = "target-empty", "the target of the restore was empty before it, and was started by this run";
        Restore = "restore", "every step of the recovery ended well, strictly: no ignored error, no refused start, no skipped step";
        Replay = "replay", "archived WAL was replayed to exactly where it was told to, on the newest timeline, and the recovered server is tied to no other";
        Integrity = "integrity", "every page of every relation of the recovered cluster can be read, and every index agrees with its table";
        Identity = "identity", "the recovered data carries this run's nonce: it is this system's data of this run, not a leftover or another database";
        Content = "content", "per table, Redis database or object: the count and the content fingerprint equal the source's at backup time";
        Catalogue = "catalogue", "every definition (columns, constraints, indexes, views, functions, grants, …) equals the source's";
        Sequences = "sequences", "no sequence hands out a value that its column already holds";
        Expiry = "expiry", "keys keep their expiry: none became immortal, none expires at another time; an elapsed one is legitimate";
        Metadata = "metadata", "objects keep their content type and user metadata";
        Smoke = "smoke", "the suite's own questions get the expected answers on the recovered service";
        Rpo = "rpo", "the ledger's loss window is within the objective, and the ledger has no hole";
        Rto = "rto", "loss declared to first verified read is within the objective, measured and projected to the production size";
        Retention = "retention", "after the pruner ran, exactly the artifacts that the policy keeps remain, and the newest good one is among them";
        Encryption = "encryption", "no canary in any stored object, name, metadata, temporary file or log; a wrong key, no key, a flipped bit and a cut file all fail and leave no output";
        Secrets = "secrets", "no password or key of the run stands in a log, a record or a report";
        Executed = "executed", "every check that was asked for really ran and observed something";
        RecordBound = "record-bound", "the facts read back from disk are this run's and name the artifacts that this run restored";
        Teardown = "teardown", "everything that was started was removed";
    }
}

words! {
    /// What a detection drill plants; the ids are those of the fault catalogue.
    Fault {
        A1 = "A1", "dump truncated";
        A2 = "A2", "bit flip in a compressed dump";
        A2Uncompressed = "A2-uncompressed", "byte flip in a row of an uncompressed dump";
        A3 = "A3", "empty dump: pg_dump failed in a pipe without pipefail";
        A6 = "A6", "a table missing from the dump";
        A8 = "A8", "wrong database dumped, or yesterday's file again";
        A9 = "A9", "sequence behind its data";
        A13 = "A13", "restored onto a database that was not empty";
        A15 = "A15", "indexes, constraints and triggers absent";
        D1 = "D1", "RDB with a flipped byte, CRC on";
        D2 = "D2", "RDB with a flipped byte, CRC off";
        D3 = "D3", "RDB missing or empty: the server starts empty";
        D4 = "D4", "AOF tail cut at a command border";
        D6 = "D6", "an AOF hides the restored RDB";
        D8 = "D8", "expiries lost or shifted by the restore";
        F1 = "F1", "object missing from the backup";
        F2 = "F2", "object content changed, same size and time";
        F6 = "F6", "source wiped, mirror follows";
        F11 = "F11", "listing cut at its first page";
        F16 = "F16", "object metadata lost";
        H1 = "H1", "plaintext stored: encryption disabled in one branch";
        H2 = "H2", "the key that is left is the wrong one";
        H3 = "H3", "bit flip in the ciphertext";
        H4 = "H4", "ciphertext cut at a chunk border";
        I1 = "I1", "the last good backup pruned after failures";
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
