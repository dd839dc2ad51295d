//! What fits what: which engines a strike strikes, a check judges and a fault can be planted in.

use super::{
    Backup, BaseCompression, Check, Component, Compression, DumpFormat, Encryption, Engine, Fault,
    Method, Strike,
};

const ALL: &[Engine] = Engine::ALL;
const POSTGRES: &[Engine] = &[Engine::Postgres];
const REDIS: &[Engine] = &[Engine::Redis];
const BUCKET: &[Engine] = &[Engine::Bucket];

/// The engines that a strike can strike.
pub fn strikes(strike: Strike) -> &'static [Engine] {
    match strike {
        Strike::CorruptHeapPage
        | Strike::ZeroedHeapPage
        | Strike::RowsDeleted
        | Strike::TableDropped
        | Strike::ServerKilled
        | Strike::ServerBroken => POSTGRES,
        Strike::ServerLost => ALL,
        Strike::BucketDeleted => BUCKET,
    }
}

/// Whether a strike is a transaction, so that there is a moment just before it.
pub fn is_a_transaction(strike: Strike) -> bool {
    matches!(strike, Strike::RowsDeleted | Strike::TableDropped)
}

/// Whether a server still answers after a strike, so that what it holds can be archived, backed up and replaced.
pub fn leaves_a_server(strike: Strike) -> bool {
    !matches!(
        strike,
        Strike::ServerKilled | Strike::ServerBroken | Strike::ServerLost
    )
}

/// The engines that a check judges.
pub fn judges(check: Check) -> &'static [Engine] {
    match check {
        // Of an artifact that somebody gives, or of a release: no test of a suite is judged there.
        Check::Needs | Check::Baseline | Check::Live | Check::Proven | Check::Release => &[],
        Check::Catalogue | Check::Sequences | Check::Replay | Check::Integrity | Check::Ties => {
            POSTGRES
        }
        Check::Expiry => REDIS,
        Check::Mirror | Check::MassDelete | Check::Metadata => BUCKET,
        Check::Artifact
        | Check::Readable
        | Check::Size
        | Check::Fresh
        | Check::TargetEmpty
        | Check::Restore
        | Check::Identity
        | Check::Content
        | Check::Smoke
        | Check::Rpo
        | Check::Rto
        | Check::Retention
        | Check::Encryption
        | Check::Secrets
        | Check::Executed
        | Check::RecordBound
        | Check::Teardown => ALL,
    }
}

/// Whether a check looks at a recovery, which the retention rehearsal has none of.
pub fn needs_recovery(check: Check) -> bool {
    match check {
        Check::TargetEmpty
        | Check::Restore
        | Check::Replay
        | Check::Integrity
        | Check::Ties
        | Check::Identity
        | Check::Content
        | Check::Catalogue
        | Check::Sequences
        | Check::Expiry
        | Check::Metadata
        | Check::Smoke
        | Check::Rpo
        | Check::Rto
        | Check::Needs
        | Check::Baseline
        | Check::Live
        | Check::Proven
        | Check::Release
        | Check::RecordBound => true,
        Check::Artifact
        | Check::Readable
        | Check::Size
        | Check::Fresh
        | Check::Mirror
        | Check::MassDelete
        | Check::Retention
        | Check::Encryption
        | Check::Secrets
        | Check::Executed
        | Check::Teardown => false,
    }
}

/// Whether a fault can be planted in a backup of a component.
pub fn plants(fault: Fault, backup: &Backup, component: &Component) -> bool {
    let engine = component.engine();
    // Faults of dumps are planted in an archive of one file that carries everything.
    let compression = match &backup.method {
        Method::PgDump(dump) => {
            (dump.format == DumpFormat::Custom && dump.only.is_none() && dump.tables.is_empty())
                .then_some(dump.compress)
        }
        _ => None,
    };
    let plain = matches!(&backup.method, Method::PgDump(dump) if dump.format == DumpFormat::Plain
        && dump.compress == Compression::None && dump.only.is_none() && dump.tables.is_empty());
    let base = match &backup.method {
        Method::PgBasebackup { compress, .. } => Some(*compress),
        _ => None,
    };
    match needed(fault) {
        Needed::Dump => compression.is_some(),
        Needed::CompressedDump => {
            compression.is_some_and(|compression| compression != Compression::None)
        }
        Needed::UncompressedDump => compression == Some(Compression::None),
        Needed::PlainDump => plain,
        Needed::Base => base.is_some(),
        Needed::UncompressedBase => base == Some(BaseCompression::None),
        Needed::PgBackRest => matches!(backup.method, Method::PgBackRest(_)),
        Needed::Redis => engine == Engine::Redis,
        Needed::Aof => backup.method == Method::RedisRdb { aof: true },
        Needed::Bucket => engine == Engine::Bucket,
        Needed::Encryption => backup.encrypt == Some(Encryption::Age),
        Needed::Pruned => !matches!(backup.method, Method::PgBackRest(_)),
        Needed::Backup => true,
    }
}

/// What a fault is planted in.
enum Needed {
    Dump,
    CompressedDump,
    UncompressedDump,
    PlainDump,
    Base,
    UncompressedBase,
    PgBackRest,
    Redis,
    Aof,
    Bucket,
    Encryption,
    Pruned,
    Backup,
}

fn needed(fault: Fault) -> Needed {
    match fault {
        Fault::A1
        | Fault::A3
        | Fault::A5
        | Fault::A6
        | Fault::A7
        | Fault::A8
        | Fault::A8Stale
        | Fault::A9
        | Fault::A10
        | Fault::A12
        | Fault::A13
        | Fault::A14
        | Fault::A15
        | Fault::A16 => Needed::Dump,
        Fault::A2 => Needed::CompressedDump,
        Fault::A2Uncompressed => Needed::UncompressedDump,
        Fault::A1Plain | Fault::A2Plain | Fault::A4 | Fault::A11 => Needed::PlainDump,
        Fault::B1
        | Fault::B2
        | Fault::B3
        | Fault::B3Appended
        | Fault::B4
        | Fault::B5
        | Fault::B5Deleted
        | Fault::B5Emptied
        | Fault::B5Recomputed
        | Fault::B7
        | Fault::B10
        | Fault::B10Index
        | Fault::B22 => Needed::UncompressedBase,
        Fault::B8
        | Fault::B9
        | Fault::B11
        | Fault::B12
        | Fault::B12Hoff
        | Fault::B12Natts
        | Fault::B13
        | Fault::B14
        | Fault::B15
        | Fault::B16
        | Fault::B16Gist
        | Fault::B16Brin
        | Fault::B17
        | Fault::B18
        | Fault::B20
        | Fault::B23
        | Fault::B23Archive
        | Fault::B23Scheduler
        | Fault::B23Standby
        | Fault::B23Subscription
        | Fault::C1
        | Fault::C2
        | Fault::C3
        | Fault::C3Crc
        | Fault::C4
        | Fault::C5
        | Fault::C6
        | Fault::C7
        | Fault::C8
        | Fault::C9
        | Fault::C10
        | Fault::C11
        | Fault::C11Early
        | Fault::C12
        | Fault::C13
        | Fault::C14
        | Fault::C15
        | Fault::C16 => Needed::Base,
        Fault::B4Bundle | Fault::B6 | Fault::B21 | Fault::B21Foreign | Fault::C1PgBackRest => {
            Needed::PgBackRest
        }
        Fault::D1 | Fault::D2 | Fault::D3 | Fault::D6 | Fault::D8 => Needed::Redis,
        Fault::D4 => Needed::Aof,
        Fault::F1 | Fault::F2 | Fault::F6 | Fault::F11 | Fault::F16 => Needed::Bucket,
        Fault::F4
        | Fault::H1
        | Fault::H1Name
        | Fault::H1Metadata
        | Fault::H1Staging
        | Fault::H1Temporary
        | Fault::H1Log
        | Fault::H2
        | Fault::H3
        | Fault::H4 => Needed::Encryption,
        Fault::I1 => Needed::Pruned,
        Fault::J5 => Needed::Pruned,
        Fault::J11 | Fault::J12 | Fault::J14 | Fault::J15 | Fault::J16 => Needed::Backup,
    }
}

/// Whether a fault is one of what pgBackRest stores, or of what only it can back up.
pub fn wants_pgbackrest(fault: Fault) -> bool {
    matches!(needed(fault), Needed::PgBackRest)
}

/// What a fault needs to be planted, in words.
pub fn needs(fault: Fault) -> &'static str {
    match needed(fault) {
        Needed::Dump => "a pg-dump of everything with format = \"custom\"",
        Needed::CompressedDump => "a pg-dump of everything with format = \"custom\", compressed",
        Needed::UncompressedDump => "a pg-dump with format = \"custom\" and compress = 0",
        Needed::PlainDump => "a pg-dump of everything with format = \"plain\" and compress = 0",
        Needed::Base => "a pg-basebackup",
        Needed::PgBackRest => "a pgbackrest",
        Needed::UncompressedBase => "a pg-basebackup with compress = \"none\"",
        Needed::Redis => "a backup of a redis component",
        Needed::Aof => "a redis-rdb with aof = true",
        Needed::Bucket => "a backup of a bucket component",
        Needed::Encryption => "a backup with encrypt = \"age\"",
        Needed::Pruned => "a backup that redrill prunes",
        Needed::Backup => "a backup",
    }
}
