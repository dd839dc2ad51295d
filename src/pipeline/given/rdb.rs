//! Files of Redis, read without a server: a snapshot's head and checksum, and whether an append-only file ends where a
//! command does. Pure.
//!
//! Not here: whether the values are right: only a server that has loaded them shows that.

use std::io::{self, BufRead, Read};

use chrono::{DateTime, Utc};

/// How a snapshot begins.
pub const MAGIC: &[u8] = b"REDIS";
/// The operation that a field of the head begins with.
const AUX: u8 = 0xFA;
/// The operation that ends a snapshot.
const END: u8 = 0xFF;
/// Snapshots since this version end with a checksum.
const CHECKED: u32 = 5;
/// CRC-64 of Jones, as Redis computes it (`crc64.c`), by its reflected polynomial.
const JONES: u64 = 0x95ac_9329_ac4b_c9b5;
/// No field of a head is longer.
const MAX_TEXT: u64 = 1 << 20;

/// What a snapshot says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The version of its format.
    pub format: u32,
    /// The version of the server; of forks, what they give for it.
    pub server: String,
    /// When the server began to write it.
    pub saved_at: Option<DateTime<Utc>>,
}

impl Head {
    /// Reads the head of a snapshot.
    pub fn read(input: &mut dyn Read) -> io::Result<Self> {
        let mut magic = [0; 9];
        input.read_exact(&mut magic)?;
        let number = magic
            .strip_prefix(MAGIC)
            .and_then(|it| std::str::from_utf8(it).ok());
        let Some(format) = number.and_then(|number| number.parse().ok()) else {
            return Err(damaged("it does not begin as a snapshot of Redis does"));
        };
        let mut head = Self {
            format,
            ..Self::default()
        };
        while byte(input)? == AUX {
            let (name, value) = (text(input)?, text(input)?);
            match name.as_str() {
                "redis-ver" | "valkey-ver" => head.server = value,
                "ctime" => {
                    let seconds = value.parse().ok();
                    head.saved_at = seconds.and_then(|it| DateTime::from_timestamp(it, 0));
                }
                _ => {}
            }
        }
        Ok(head)
    }
}

/// Reads a snapshot to its end and says what is amiss: where it does not end as one, or is not what was written.
pub fn check(format: u32, input: &mut dyn Read) -> io::Result<Option<&'static str>> {
    let table = table();
    let mut crc = 0_u64;
    // The checksum is over everything before it.
    let tail = if format < CHECKED { 0 } else { 8 };
    let mut window: Vec<u8> = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    let mut last = 0;
    loop {
        let read = input.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        window.extend_from_slice(&chunk[..read]);
        let ready = window.len().saturating_sub(tail);
        for byte in window.drain(..ready) {
            crc = table[usize::from(byte ^ (crc & 0xFF) as u8)] ^ (crc >> 8);
            last = byte;
        }
    }
    let stored = <[u8; 8]>::try_from(window.as_slice()).map(u64::from_le_bytes);
    Ok(match (last, stored) {
        (END, _) if tail == 0 => None,
        // Checksums are off (`rdbchecksum no`).
        (END, Ok(0)) => None,
        (END, Ok(stored)) if stored == crc => None,
        (END, Ok(_)) => Some("its checksum is not that of its bytes"),
        _ => Some("it does not end as a snapshot does: it was cut"),
    })
}

fn table() -> [u64; 256] {
    let mut table = [0; 256];
    for (byte, entry) in (0_u64..).zip(&mut table) {
        *entry = (0..8).fold(byte, |crc, _| (crc >> 1) ^ (JONES * (crc & 1)));
    }
    table
}

/// What an append-only file adds.
#[derive(Debug, Default)]
pub struct Written {
    /// How many commands.
    pub commands: u64,
    /// The last time that is noted in it.
    pub last: Option<DateTime<Utc>>,
}

/// How many commands an append-only file holds; where it ends within one, an error says so.
pub fn commands(input: &mut dyn BufRead) -> io::Result<Written> {
    let mut written = Written::default();
    loop {
        let Some(line) = line(input)? else {
            return Ok(written);
        };
        match line.split_first() {
            // An annotation: with `aof-timestamp-enabled`, the time of what follows.
            Some((b'#', words)) => {
                let seconds = words
                    .strip_prefix(b"TS:")
                    .and_then(|it| std::str::from_utf8(it).ok());
                let seconds = seconds.and_then(|it| it.parse().ok());
                let time = seconds.and_then(|it| DateTime::from_timestamp(it, 0));
                written.last = time.or(written.last);
            }
            Some((b'*', number)) => {
                for _ in 0..length(number)? {
                    let header = line_or_cut(input)?;
                    let bytes = match header.split_first() {
                        Some((b'$', number)) => length(number)?,
                        _ => return Err(damaged("a command in it is not one")),
                    };
                    let skipped = io::copy(&mut input.take(bytes + 2), &mut io::sink())?;
                    if skipped < bytes + 2 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                written.commands += 1;
            }
            _ => return Err(damaged("a command in it is not one")),
        }
    }
}

fn line(input: &mut dyn BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if input.take(MAX_TEXT).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    match line.strip_suffix(b"\r\n") {
        Some(line) => Ok(Some(line.to_vec())),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn line_or_cut(input: &mut dyn BufRead) -> io::Result<Vec<u8>> {
    line(input)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn length(number: &[u8]) -> io::Result<u64> {
    let number = std::str::from_utf8(number).ok();
    let number = number.and_then(|it| it.parse::<u32>().ok());
    number
        .map(u64::from)
        .ok_or_else(|| damaged("a command in it is not one"))
}

fn byte(input: &mut dyn Read) -> io::Result<u8> {
    let mut byte = [0];
    input.read_exact(&mut byte)?;
    Ok(byte[0])
}

/// A text by its length, or a number that is written as one (`rdb.h`, "RDB_6BITLEN").
fn text(input: &mut dyn Read) -> io::Result<String> {
    let first = byte(input)?;
    let low = u64::from(first & 0x3F);
    let length = match (first >> 6, first) {
        (0, _) => low,
        (1, _) => low << 8 | u64::from(byte(input)?),
        (2, 0x80) => {
            let mut bytes = [0; 4];
            input.read_exact(&mut bytes)?;
            u32::from_be_bytes(bytes).into()
        }
        (_, 0xC0) => return Ok(i8::from_le_bytes([byte(input)?]).to_string()),
        (_, 0xC1) => {
            let mut bytes = [0; 2];
            input.read_exact(&mut bytes)?;
            return Ok(i16::from_le_bytes(bytes).to_string());
        }
        (_, 0xC2) => {
            let mut bytes = [0; 4];
            input.read_exact(&mut bytes)?;
            return Ok(i32::from_le_bytes(bytes).to_string());
        }
        _ => return Err(damaged("a field of its head is of no known kind")),
    };
    let mut bytes = Vec::new();
    let read = input.take(length.min(MAX_TEXT)).read_to_end(&mut bytes)?;
    if read as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn damaged(words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crc(bytes: &[u8]) -> u64 {
        let table = table();
        let step = |crc: u64, byte: &u8| table[usize::from(byte ^ (crc & 0xFF) as u8)] ^ (crc >> 8);
        bytes.iter().fold(0, step)
    }

    fn snapshot() -> Vec<u8> {
        let mut bytes = b"REDIS0010".to_vec();
        bytes.extend(b"\xFA\x09redis-ver\x067.0.15\xFA\x05ctime\xC2");
        bytes.extend(1_700_000_000_i32.to_le_bytes());
        bytes.extend(b"\xFE\x00\xFF");
        bytes.extend(crc(&bytes).to_le_bytes());
        bytes
    }

    #[test]
    fn the_checksum_is_that_of_redis() {
        // The test vector in crc64.c.
        assert_eq!(crc(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn a_snapshot_tells_its_version_and_its_time_and_any_damage_shows() {
        let whole = snapshot();
        let head = Head::read(&mut whole.as_slice()).expect("a head");
        assert_eq!((head.format, head.server.as_str()), (10, "7.0.15"));
        assert_eq!(head.saved_at, DateTime::from_timestamp(1_700_000_000, 0));
        assert_eq!(check(10, &mut whole.as_slice()).expect("read"), None);
        for at in 0..whole.len() {
            assert!(
                check(10, &mut &whole[..at]).expect("read").is_some(),
                "cut at {at}"
            );
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            let found = check(10, &mut flipped.as_slice()).expect("read");
            assert!(found.is_some(), "flipped at {at}");
        }
    }

    #[test]
    fn an_append_only_file_ends_where_a_command_does() {
        let text = b"#TS:1700000000\r\n*2\r\n$3\r\nDEL\r\n$1\r\nx\r\n*1\r\n$5\r\nMULTI\r\n";
        let written = commands(&mut &text[..]).expect("whole");
        assert_eq!(written.commands, 2);
        assert_eq!(written.last, DateTime::from_timestamp(1_700_000_000, 0));
        let whole = [0, 16, 36, text.len()];
        for end in 0..text.len() {
            let cut = commands(&mut &text[..end]).is_err();
            assert_eq!(cut, !whole.contains(&end), "cut at {end}");
        }
    }
}
