//! The archives of pg_dump (custom, directory, tar), read without a server or a tool: who made them and when, what they
//! name, and whether their data are there to the end. The layout is that of `pg_backup_archiver.c` and
//! `pg_backup_custom.c`, archive versions 1.10 (PostgreSQL 8.4) to 1.16 (17, 18).
//!
//! Not here: whether a server can take an archive in (see `gate`), or whether its rows are right: only a restore shows that.

use std::collections::BTreeSet;
use std::io::{self, Read};

use chrono::{NaiveDate, NaiveDateTime};

/// How an archive of the custom format, and the table of contents of the others, begins.
pub const MAGIC: &[u8] = b"PGDMP";
/// No text of a table of contents is longer.
const MAX_TEXT: u64 = 1 << 30;
/// An entry without data of its own (`K_OFFSET_NO_DATA`).
const NO_DATA: u8 = 3;

/// What an archive says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// The version of the archive's format.
    pub format: (u8, u8),
    /// When it was made, by the clock of who dumped, in a zone that it does not name.
    pub made_at: Option<NaiveDateTime>,
    /// The database.
    pub database: String,
    /// The version of the server, as it says it.
    pub server: String,
    /// The version of `pg_dump`, as it says it.
    pub tool: String,
    integer: u8,
    offset: u8,
}

/// An entry of the table of contents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub id: i64,
    /// What it is of: `TABLE DATA`, `EXTENSION`, …
    pub kind: String,
    /// Its name.
    pub tag: String,
    /// Its schema.
    pub schema: String,
    /// The statement that makes it.
    pub statement: String,
    /// Its owner.
    pub owner: String,
    /// Where its data are, when it has any.
    pub data: Option<Data>,
}

/// Where the data of an entry are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// In the archive itself, in a block that bears the entry's number.
    Block,
    /// In a file beside the table of contents, of this name and perhaps a further ending.
    File(String),
}

impl Header {
    /// Reads a header, the magic included.
    pub fn read(input: &mut dyn Read) -> io::Result<Self> {
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(damaged("it does not begin as an archive of pg_dump does"));
        }
        let mut input = Fields::new(input);
        let (major, minor, _) = (input.byte()?, input.byte()?, input.byte()?);
        if major != 1 || minor < 10 {
            return Err(damaged(&format!(
                "its format {major}.{minor} is of no known pg_dump"
            )));
        }
        let (integer, offset) = (input.byte()?, input.byte()?);
        if !(1..=8).contains(&integer) || !(1..=8).contains(&offset) {
            return Err(damaged("its header is damaged"));
        }
        input.width = integer;
        input.byte()?; // the kind of archive
        if minor >= 15 {
            input.byte()?; // the compression's algorithm
        } else {
            input.integer()?; // its level
        }
        let mut time = [0; 7];
        for part in &mut time {
            *part = input.integer()?;
        }
        Ok(Self {
            format: (major, minor),
            made_at: instant(time),
            database: input.text()?.unwrap_or_default(),
            server: input.text()?.unwrap_or_default(),
            tool: input.text()?.unwrap_or_default(),
            integer,
            offset,
        })
    }
}

/// Seconds, minutes, hours, day, month from 0, year from 1900, daylight saving.
fn instant(time: [i64; 7]) -> Option<NaiveDateTime> {
    let [second, minute, hour, day, month, year, _] = time;
    let small = |number: i64| u32::try_from(number).ok();
    let date = NaiveDate::from_ymd_opt(
        i32::try_from(year.checked_add(1900)?).ok()?,
        small(month)?.checked_add(1)?,
        small(day)?,
    )?;
    date.and_hms_opt(small(hour)?, small(minute)?, small(second)?.min(59))
}

/// Reads the table of contents that follows a header; `files` says that data lie in files of their own.
pub fn contents(header: &Header, files: bool, input: &mut dyn Read) -> io::Result<Vec<Entry>> {
    let minor = header.format.1;
    let mut input = Fields::new(input);
    input.width = header.integer;
    let count = input.integer()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let mut entry = Entry {
            id: input.integer()?,
            ..Entry::default()
        };
        input.integer()?; // whether it had a dumper
        input.text()?; // the catalogue's number
        input.text()?; // its own
        let text = |input: &mut Fields<'_>| Ok::<_, io::Error>(input.text()?.unwrap_or_default());
        entry.tag = text(&mut input)?;
        entry.kind = text(&mut input)?;
        if minor >= 11 {
            input.integer()?; // its section
        }
        entry.statement = text(&mut input)?;
        text(&mut input)?; // what drops it
        text(&mut input)?; // what copies its rows
        entry.schema = text(&mut input)?;
        text(&mut input)?; // the tablespace
        if minor >= 14 {
            text(&mut input)?; // the access method
        }
        if minor >= 16 {
            input.integer()?; // the kind of relation
        }
        entry.owner = text(&mut input)?;
        text(&mut input)?; // whether rows had numbers
        while input.text()?.is_some() {} // what it depends on
        entry.data = if files {
            let name = text(&mut input)?;
            (!name.is_empty()).then_some(Data::File(name))
        } else {
            let state = input.byte()?;
            input.skip(header.offset.into())?;
            (state != NO_DATA).then_some(Data::Block)
        };
        entries.push(entry);
    }
    Ok(entries)
}

/// Goes through the data that follow the table of contents of a custom archive, to their end: every entry that has data
/// has them here, and every block is whole.
pub fn walk(header: &Header, entries: &[Entry], input: &mut dyn Read) -> io::Result<()> {
    let mut input = Fields::new(input);
    input.width = header.integer;
    let mut seen = BTreeSet::new();
    while let Some(kind) = input.byte_or_end()? {
        let id = input.integer()?;
        match kind {
            1 => input.chunks()?,
            // Large objects: each with its number, 0 after the last.
            3 => {
                while input.integer()? != 0 {
                    input.chunks()?;
                }
            }
            _ => return Err(damaged("a block of its data is of no known kind")),
        }
        seen.insert(id);
    }
    let lacking = entries
        .iter()
        .find(|entry| entry.data == Some(Data::Block) && !seen.contains(&entry.id));
    match lacking {
        None => Ok(()),
        Some(entry) => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("it ends before the {} of {}", entry.kind, entry.tag),
        )),
    }
}

fn damaged(words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

/// The fields that an archive is written in.
struct Fields<'r> {
    input: &'r mut dyn Read,
    width: u8,
}

impl<'r> Fields<'r> {
    fn new(input: &'r mut dyn Read) -> Self {
        Self { input, width: 4 }
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.input.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn byte_or_end(&mut self) -> io::Result<Option<u8>> {
        match self.byte() {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            byte => byte.map(Some),
        }
    }

    /// A sign, then the number, its lowest byte first.
    fn integer(&mut self) -> io::Result<i64> {
        let negative = self.byte()? != 0;
        let mut value = 0_i64;
        for place in 0..u32::from(self.width) {
            value |= i64::from(self.byte()?) << (8 * place);
        }
        Ok(if negative {
            value.wrapping_neg()
        } else {
            value
        })
    }

    /// A length, then so many bytes; a negative length is no text at all.
    fn text(&mut self) -> io::Result<Option<String>> {
        let Ok(length) = u64::try_from(self.integer()?) else {
            return Ok(None);
        };
        if length > MAX_TEXT {
            return Err(damaged("a text in it has no possible length"));
        }
        let mut bytes = Vec::new();
        let read = self.input.take(length).read_to_end(&mut bytes)?;
        if (read as u64) < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Lengths and so many bytes each, until a length of 0.
    fn chunks(&mut self) -> io::Result<()> {
        loop {
            match u64::try_from(self.integer()?) {
                Ok(0) => return Ok(()),
                Ok(length) => self.skip(length)?,
                Err(_) => return Err(damaged("a piece of its data has no possible length")),
            }
        }
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.input.take(bytes), &mut io::sink())?;
        match skipped == bytes {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn integer(value: i64) -> Vec<u8> {
        let number = u32::try_from(value.abs()).expect("small");
        [&[u8::from(value < 0)][..], &number.to_le_bytes()].concat()
    }

    fn text(text: &str) -> Vec<u8> {
        let length = i64::try_from(text.len()).expect("short");
        [integer(length), text.as_bytes().to_vec()].concat()
    }

    /// A header of either layout.
    pub fn archive(minor: u8, server: &str, tool: &str) -> Vec<u8> {
        let mut bytes = b"PGDMP\x01".to_vec();
        bytes.extend([minor, 0, 4, 8, 1]);
        match minor {
            15.. => bytes.push(1),
            _ => bytes.extend(integer(-1)),
        }
        for part in [1, 2, 3, 12, 0, 125, 0] {
            bytes.extend(integer(part));
        }
        for name in ["a database", server, tool] {
            bytes.extend(text(name));
        }
        bytes
    }

    /// A custom archive of one table with one chunk of data.
    fn whole(minor: u8) -> Vec<u8> {
        let mut bytes = archive(minor, "15.18", "15.18");
        bytes.extend(integer(1));
        bytes.extend([integer(7), integer(1)].concat());
        for word in ["0", "1", "orders", "TABLE DATA"] {
            bytes.extend(text(word));
        }
        bytes.extend(integer(3));
        for word in ["", "", "COPY …", "public", ""] {
            bytes.extend(text(word));
        }
        if minor >= 14 {
            bytes.extend(integer(-1));
        }
        if minor >= 16 {
            bytes.extend(integer(0));
        }
        for word in ["shop", "false"] {
            bytes.extend(text(word));
        }
        bytes.extend(text("3"));
        bytes.extend(integer(-1));
        bytes.push(1);
        bytes.extend([0; 8]);
        bytes.push(1);
        bytes.extend([integer(7), integer(3)].concat());
        bytes.extend(b"abc");
        bytes.extend(integer(0));
        bytes
    }

    fn read(mut bytes: &[u8]) -> io::Result<(Header, Vec<Entry>)> {
        let header = Header::read(&mut bytes)?;
        let entries = contents(&header, false, &mut bytes)?;
        walk(&header, &entries, &mut bytes)?;
        Ok((header, entries))
    }

    #[test]
    fn an_archive_tells_who_made_it_when_and_what_it_holds() {
        for minor in [13, 14, 15, 16] {
            let (header, entries) = read(&whole(minor)).expect("whole");
            assert_eq!(header.database, "a database");
            assert_eq!(
                header.made_at.map(|at| at.to_string()).as_deref(),
                Some("2025-01-12 03:02:01")
            );
            assert_eq!(entries[0].owner, "shop");
            assert_eq!(entries[0].data, Some(Data::Block), "{minor}");
        }
    }

    #[test]
    fn an_archive_that_was_cut_anywhere_is_not_whole() {
        let bytes = whole(14);
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err(), "cut at {end}");
        }
    }
}
