//! What fits what: which engines a strike strikes, a check judges and a fault can be planted in.

use super::{Backup, Check, Component, Compression, DumpFormat, Engine, Fault, Method, Strike};

const ALL: &[Engine] = Engine::ALL;
const POSTGRES: &[Engine] = &[Engine::Postgres];
const REDIS: &[Engine] = &[Engine::Redis];
const BUCKET: &[Engine] = &[Engine::Bucket];

/// The engines that a strike can strike.
pub fn strikes(strike: Strike) -> &'static [Engine] {
    match strike {
        Strike::CorruptHeapPage => POSTGRES,
        Strike::ServerLost => &[Engine::Postgres, Engine::Redis],
        Strike::BucketDeleted => BUCKET,
    }
}

/// The engines that a check judges.
pub fn judges(check: Check) -> &'static [Engine] {
    match check {
        Check::Catalogue | Check::Sequences | Check::Replay | Check::Integrity => POSTGRES,
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
        | Check::Identity
        | Check::Content
        | Check::Catalogue
        | Check::Sequences
        | Check::Expiry
        | Check::Metadata
        | Check::Smoke
        | Check::Rpo
        | Check::Rto
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
    match fault {
        Fault::A1 | Fault::A3 | Fault::A6 | Fault::A8 | Fault::A9 | Fault::A13 | Fault::A15 => {
            compression.is_some()
        }
        Fault::A2 => compression.is_some_and(|compression| compression != Compression::None),
        Fault::A2Uncompressed => compression == Some(Compression::None),
        Fault::D1 | Fault::D2 | Fault::D3 | Fault::D6 | Fault::D8 => engine == Engine::Redis,
        Fault::D4 => backup.method == Method::RedisRdb { aof: true },
        Fault::F1 | Fault::F2 | Fault::F6 | Fault::F11 | Fault::F16 => engine == Engine::Bucket,
        Fault::H1 | Fault::H2 | Fault::H3 | Fault::H4 => backup.encrypt.is_some(),
        Fault::I1 | Fault::J11 | Fault::J12 | Fault::J14 | Fault::J15 | Fault::J16 => true,
    }
}

/// What a fault needs to be planted, in words.
pub fn needs(fault: Fault) -> &'static str {
    match fault {
        Fault::A1 | Fault::A3 | Fault::A6 | Fault::A8 | Fault::A9 | Fault::A13 | Fault::A15 => {
            "a pg-dump of everything with format = \"custom\""
        }
        Fault::A2 => "a pg-dump of everything with format = \"custom\", compressed",
        Fault::A2Uncompressed => "a pg-dump with format = \"custom\" and compress = 0",
        Fault::D1 | Fault::D2 | Fault::D3 | Fault::D6 | Fault::D8 => {
            "a backup of a redis component"
        }
        Fault::D4 => "a redis-rdb with aof = true",
        Fault::F1 | Fault::F2 | Fault::F6 | Fault::F11 | Fault::F16 => {
            "a backup of a bucket component"
        }
        Fault::H1 | Fault::H2 | Fault::H3 | Fault::H4 => "a backup with encrypt = \"age\"",
        Fault::I1 | Fault::J11 | Fault::J12 | Fault::J14 | Fault::J15 | Fault::J16 => "a backup",
    }
}
