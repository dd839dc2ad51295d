//! What a file is, by how it begins. Pure.
//!
//! Not here: whether it is whole (see [`super::examine`]).

use super::script::{BEGIN, CLUSTER};
use super::{base, rdb};
use crate::error::Error;
use crate::pipeline::pg_dump::archive;
use crate::pipeline::search::AGE_MAGIC;

/// How much of a beginning is looked at.
pub const HEAD: usize = 256 << 10;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `pg_dump --format=custom`.
    PgCustom,
    /// `pg_dump --format=tar`.
    PgTar,
    /// `pg_dump --format=plain`.
    PgPlain,
    /// The base backup of a cluster, as a tar file.
    BaseTar,
    /// WAL that goes with a base backup.
    WalTar,
    /// A snapshot of Redis.
    Rdb,
    /// A tar file of anything else.
    FilesTar,
}

/// The beginning of what age encrypts as a text (`age --armor`).
pub const ARMOR: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// What is around a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// Encrypted by age, as bytes or as a text.
    Age,
    /// Compressed, as this program unpacks it, with the ending that this gives.
    Packed(&'static str, &'static str),
}

/// Beginnings of what is packed, with what unpacks it.
const PACKED: [(&[u8], &str, &str); 3] = [
    (b"\x1f\x8b", "gzip", "gz"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zst"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4"),
];

const PGP: &str = "encrypted by OpenPGP (gpg)";
const PGP_HINT: &str = "decrypt it first: gpg --decrypt";
/// Beginnings of what is known and cannot be verified, and what can be done about it.
const REFUSED: [(&[u8], &str, &str); 15] = [
    (
        b"Salted__",
        "encrypted by openssl",
        "decrypt it first: openssl enc -d",
    ),
    (b"-----BEGIN PGP MESSAGE-----", PGP, PGP_HINT),
    // By a passphrase; to RSA keys of 2048, 3072 and 4096 bits; to keys on elliptic curves.
    (b"\x8c\x0d\x04", PGP, PGP_HINT),
    (b"\x85\x01\x0c\x03", PGP, PGP_HINT),
    (b"\x85\x01\x8c\x03", PGP, PGP_HINT),
    (b"\x85\x02\x0c\x03", PGP, PGP_HINT),
    (b"\x84\x5e\x03", PGP, PGP_HINT),
    (b"\x84\x4c\x03", PGP, PGP_HINT),
    (b"BZh", "compressed by bzip2", "unpack it first: bunzip2"),
    (b"\xfd7zXZ\0", "compressed by xz", "unpack it first: unxz"),
    (
        b"PK\x03\x04",
        "a zip archive",
        "unpack it, and name what is in it",
    ),
    (
        b"-- MySQL dump",
        "a dump of MySQL by mysqldump",
        "redrill verifies PostgreSQL, Redis and files so far, not MySQL",
    ),
    (
        b"-- MariaDB dump",
        "a dump of MariaDB by mariadb-dump",
        "redrill verifies PostgreSQL, Redis and files so far, not MariaDB",
    ),
    (
        b"/*M!999999",
        "a dump of MariaDB by mariadb-dump",
        "redrill verifies PostgreSQL, Redis and files so far, not MariaDB",
    ),
    (
        b"\x53\x51\x4c\x69\x74\x65",
        "a database of SQLite",
        "redrill verifies PostgreSQL, Redis and files so far",
    ),
];

/// What is around a file that begins so.
pub fn layer(head: &[u8]) -> Option<Layer> {
    if head.starts_with(AGE_MAGIC) || head.starts_with(ARMOR) {
        return Some(Layer::Age);
    }
    let mut packed = PACKED.iter();
    let (_, program, ending) = packed.find(|(magic, ..)| head.starts_with(magic))?;
    Some(Layer::Packed(program, ending))
}

/// What a file is that begins so, with nothing around it; an error names it and says what to do.
pub fn kind(head: &[u8], shown: &str) -> Result<Kind, Error> {
    known(head, shown)?.ok_or_else(|| {
        Error::usage(format!(
            "{shown} is no backup that redrill knows by how it begins"
        ))
        .hint(
            "it verifies pg_dump (custom, directory, tar, plain), pg_basebackup, Redis (RDB, append-only directory) and tar files, \
             each as it is, compressed (gzip, zstd, lz4) or encrypted by age",
        )
    })
}

/// The same; none of what is no backup that redrill knows.
pub fn known(head: &[u8], shown: &str) -> Result<Option<Kind>, Error> {
    if head.starts_with(archive::MAGIC) {
        return Ok(Some(Kind::PgCustom));
    }
    if head.starts_with(rdb::MAGIC) {
        return Ok(Some(Kind::Rdb));
    }
    for (magic, what, hint) in REFUSED {
        if head.starts_with(magic) {
            return Err(Error::usage(format!("{shown} is {what}")).hint(hint));
        }
    }
    if head.get(257..262) == Some(b"ustar") {
        return Ok(Some(tar(head)));
    }
    let text = String::from_utf8_lossy(&head[..head.len().min(4096)]);
    let begins = |line: &str| text.lines().take(10).any(|it| it.trim_end() == line);
    if begins(CLUSTER) {
        return Err(Error::usage(format!(
            "{shown} is a script of a whole cluster by pg_dumpall, and not of one database"
        ))
        .hint("verify the dump of each database, and give the roles with --globals FILE"));
    }
    Ok(begins(BEGIN).then_some(Kind::PgPlain))
}

/// A tar file by its first members.
fn tar(head: &[u8]) -> Kind {
    let mut names = Vec::new();
    let mut archive = tar::Archive::new(head);
    // The beginning of a file ends somewhere: what came before is what is looked at.
    for entry in archive
        .entries()
        .into_iter()
        .flatten()
        .take(200)
        .map_while(Result::ok)
    {
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        names.push(name.trim_start_matches("./").to_owned());
    }
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    let is_wal = |name: &String| {
        let last = name.trim_start_matches("pg_wal/");
        last.len() == 24 && last.chars().all(|c| c.is_ascii_hexdigit())
    };
    if names.first().is_some_and(|name| name == "toc.dat") {
        Kind::PgTar
    } else if has("backup_label") || has("PG_VERSION") || has(base::MANIFEST) {
        Kind::BaseTar
    } else if names.iter().any(is_wal) {
        Kind::WalTar
    } else {
        Kind::FilesTar
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_verified_is_refused_by_its_name_with_what_to_do() {
        for (bytes, what) in [
            (&b"-- MySQL dump 10.13  Distrib 8.0"[..], "mysqldump"),
            (b"/*M!999999\\- enable the sandbox mode */", "mariadb-dump"),
            (b"--\n-- PostgreSQL database cluster dump\n--", "pg_dumpall"),
            (b"BZh91AY", "bzip2"),
            (b"\x89PNG\r\n", "no backup that redrill knows"),
            (b"", "no backup that redrill knows"),
        ] {
            let error = kind(bytes, "x").expect_err("is refused");
            assert!(error.message().contains(what), "{error}");
            assert!(error.hint_text().is_some(), "{error}");
        }
    }

    #[test]
    fn backups_are_known_by_how_they_begin() {
        assert_eq!(kind(b"PGDMP\x01", "x").expect("known"), Kind::PgCustom);
        assert_eq!(kind(b"REDIS0010", "x").expect("known"), Kind::Rdb);
        let plain = b"--\n-- PostgreSQL database dump\n--\n";
        assert_eq!(kind(plain, "x").expect("known"), Kind::PgPlain);
        for (member, is) in [
            ("toc.dat", Kind::PgTar),
            ("backup_label", Kind::BaseTar),
            ("000000010000000000000002", Kind::WalTar),
            ("www/index.html", Kind::FilesTar),
        ] {
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(1);
            header.set_cksum();
            tar.append_data(&mut header, member, &b"x"[..])
                .expect("written");
            let bytes = tar.into_inner().expect("written");
            assert_eq!(kind(&bytes, "x").expect("known"), is, "{member}");
        }
        assert_eq!(layer(b"\x1f\x8b\x08"), Some(Layer::Packed("gzip", "gz")));
        assert_eq!(layer(AGE_MAGIC), Some(Layer::Age));
        assert_eq!(layer(ARMOR), Some(Layer::Age));
        assert_eq!(layer(b"PGDMP"), None);
    }
}
