//! What a suite can say of a `pg_dump`: its format, compression and jobs, and what of the database it carries.
//!
//! Not here: the command that follows from it (see `crate::pipeline::pg_dump`), or what a partial dump is judged on
//! (see `crate::check`).

use std::fmt;

/// The first major version whose `pg_dump` knows compression other than zlib.
pub const COMPRESSES_OTHERWISE: u32 = 16;

/// A `pg_dump` and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// `--format`.
    pub format: DumpFormat,
    /// `--compress`.
    pub compress: Compression,
    /// `--jobs`: how many tables are dumped at once (directory format only).
    pub jobs: u32,
    /// `--schema-only` or `--data-only`; both when `None`.
    pub only: Option<Only>,
    /// `--table`, `schema.table` each, by exact name; everything when there are none.
    pub tables: Vec<String>,
    /// Whether the cluster's roles go with it (`pg_dumpall --globals-only`).
    pub globals: bool,
    /// Whether the sizes and activity of the tables go with it, as a text to read.
    pub statistics: bool,
}

impl Dump {
    /// A dump of everything, with roles, in this format, compressed by zlib (1 to 9) or not at all (0).
    pub fn of(format: DumpFormat, level: u8) -> Self {
        Self {
            format,
            compress: Compression::zlib(level),
            jobs: 1,
            only: None,
            tables: Vec::new(),
            globals: true,
            statistics: false,
        }
    }

    /// Whether definitions are in it.
    pub fn has_schema(&self) -> bool {
        self.only != Some(Only::Data)
    }

    /// Whether rows are in it.
    pub fn has_rows(&self) -> bool {
        self.only != Some(Only::Schema)
    }
}

/// The formats of `pg_dump`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpFormat {
    /// `--format=custom`, restored by `pg_restore`.
    Custom,
    /// `--format=plain`, restored by `psql`.
    Plain,
    /// `--format=directory`: a file for each table, dumped and restored by several jobs.
    Directory,
    /// `--format=tar`, restored by `pg_restore`, one table after the other.
    Tar,
}

impl DumpFormat {
    /// All of them, by their words.
    pub const ALL: [(&'static str, Self); 4] = [
        ("custom", Self::Custom),
        ("plain", Self::Plain),
        ("directory", Self::Directory),
        ("tar", Self::Tar),
    ];

    /// Its word, which is also `pg_dump`'s.
    pub fn id(self) -> &'static str {
        match self {
            Self::Custom => "custom",
            Self::Plain => "plain",
            Self::Directory => "directory",
            Self::Tar => "tar",
        }
    }
}

/// The half of a database that a partial dump carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only {
    /// Definitions without rows.
    Schema,
    /// Rows, and the state of sequences, without definitions.
    Data,
}

/// How a dump is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// zlib, 1 to 9: gzip, where the dump is a text.
    Zlib(u8),
    /// zstd, 1 to 22.
    Zstd(u8),
    /// LZ4, 1 to 12.
    Lz4(u8),
}

impl Compression {
    /// zlib at a level; 0 is none at all.
    pub fn zlib(level: u8) -> Self {
        match level {
            0 => Self::None,
            level => Self::Zlib(level),
        }
    }

    /// From text: `none`, or a method with its level where that is said: `gzip:6`, `zstd:3`, `lz4`.
    pub fn parse(text: &str) -> Option<Self> {
        let (word, level) = match text.split_once(':') {
            Some((word, level)) => (word, Some(level.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let within = |usual: u8, most: u8| {
            let level = level.unwrap_or(usual);
            (1..=most).contains(&level).then_some(level)
        };
        match word {
            "none" if level.is_none() => Some(Self::None),
            "gzip" => within(6, 9).map(Self::Zlib),
            "zstd" => within(3, 22).map(Self::Zstd),
            "lz4" => within(1, 12).map(Self::Lz4),
            _ => None,
        }
    }

    /// Whether only newer versions of `pg_dump` know it: see [`COMPRESSES_OTHERWISE`].
    pub fn is_recent(self) -> bool {
        matches!(self, Self::Zstd(_) | Self::Lz4(_))
    }
}

/// As manifests and messages say it.
impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Zlib(level) => write!(f, "zlib:{level}"),
            Self::Zstd(level) => write!(f, "zstd:{level}"),
            Self::Lz4(level) => write!(f, "lz4:{level}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compression_is_a_method_and_a_level_that_the_method_has() {
        for (text, meant) in [
            ("none", Some(Compression::None)),
            ("gzip:9", Some(Compression::Zlib(9))),
            ("zstd", Some(Compression::Zstd(3))),
            ("lz4:12", Some(Compression::Lz4(12))),
            ("gzip:0", None),
            ("gzip:10", None),
            ("zstd:23", None),
            ("zstd:", None),
            ("none:1", None),
            ("xz", None),
        ] {
            assert_eq!(Compression::parse(text), meant, "{text}");
        }
    }
}
