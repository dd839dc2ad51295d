//! A plain dump, read line by line to its end: who made it, what it needs, and whether it is whole. Pure.
//!
//! Not here: how it is restored (see [`crate::pipeline::pg_dump`]).

use std::io::{self, BufRead};

use chrono::{DateTime, NaiveDateTime, Utc};

use super::statements::Needs;
use crate::pipeline::pg_dump::gate::number_of;
use crate::pipeline::pg_dump::words::DUMP_END;
use crate::suite::Zone;

/// How a plain dump begins, but for a line of dashes.
pub const BEGIN: &str = "-- PostgreSQL database dump";
/// How a script of a whole cluster begins.
pub const CLUSTER: &str = "-- PostgreSQL database cluster dump";
/// The commands of psql that pg_dump writes.
const OWN_COMMANDS: [&str; 3] = ["\\restrict ", "\\unrestrict ", "\\."];

/// What a plain dump says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    /// The version of the server.
    pub server: String,
    /// When it was begun, where it says so (`pg_dump --verbose`).
    pub began: Option<DateTime<Utc>>,
    /// What it needs.
    pub needs: Needs,
    /// Tables whose rows are in it.
    pub tables: u64,
    /// It ends as pg_dump ends it.
    pub ended: bool,
    /// A line that no dump of one database has, and that is not run: its number and how it begins.
    pub foreign: Option<(u64, String)>,
    copying: bool,
    lines: u64,
}

impl Script {
    /// Reads a script to its end.
    pub fn read(input: &mut dyn BufRead, zone: Zone) -> io::Result<Self> {
        let mut script = Self::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            if input.read_until(b'\n', &mut line)? == 0 {
                return Ok(script);
            }
            script.line(&line, zone);
        }
    }

    fn line(&mut self, line: &[u8], zone: Zone) {
        self.lines += 1;
        if self.copying {
            self.copying = line != b"\\.\n" && line != b"\\.\r\n";
            return;
        }
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if let Some(comment) = line.strip_prefix("-- ") {
            if let Some(version) = comment.strip_prefix("Dumped from database version ") {
                self.server = number_of(version);
            } else if let Some(time) = comment.strip_prefix("Started on ") {
                self.began = self.began.or_else(|| instant(time, zone));
            }
            self.ended |= line == DUMP_END;
        } else if line.starts_with("COPY ") && line.ends_with(" FROM stdin;") {
            self.copying = true;
            self.tables += 1;
        } else if line.starts_with("INSERT INTO ") {
            self.tables = self.tables.max(1);
        } else if line.starts_with('\\') && !OWN_COMMANDS.iter().any(|own| line.starts_with(own)) {
            let begins: String = line.chars().take(40).collect();
            self.foreign.get_or_insert((self.lines, begins));
        } else {
            self.needs.statement(line);
        }
    }
}

/// `2026-11-21 03:00:00 UTC`, or with another zone, which is then the one that the user names.
pub fn instant(text: &str, zone: Zone) -> Option<DateTime<Utc>> {
    let (time, name) = text.trim().rsplit_once(' ')?;
    let time = NaiveDateTime::parse_from_str(time, "%Y-%m-%d %H:%M:%S").ok()?;
    match name {
        "UTC" | "GMT" => Some(time.and_utc()),
        _ => time
            .and_local_timezone(zone)
            .earliest()
            .map(|it| it.to_utc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version 15.18 (Debian 15.18-0)\n\
        -- Dumped by pg_dump version 17.6\n\n-- Started on 2026-11-21 04:00:00 CET\n\nALTER TABLE public.t OWNER TO shop;\n\
        COPY public.t (a) FROM stdin;\n\\! not a command\n-- PostgreSQL database dump complete\nGRANT x TO y\n\\.\n\n";

    fn read(text: &str) -> Script {
        let zone = chrono_tz::Europe::Berlin;
        Script::read(&mut text.as_bytes(), zone).expect("is read")
    }

    #[test]
    fn a_plain_dump_is_read_to_its_end_and_its_rows_are_no_statements() {
        let cut = read(DUMP);
        assert!(!cut.ended && cut.foreign.is_none());
        assert_eq!(cut.server, "15.18");
        let began = cut.began.map(|at| at.to_rfc3339());
        assert_eq!(began.as_deref(), Some("2026-11-21T03:00:00+00:00"));
        assert_eq!(cut.needs.roles, ["shop".to_owned()].into());
        assert!(read(&format!("{DUMP}--\n{DUMP_END}\n--\n\n")).ended);
    }

    #[test]
    fn a_command_of_psql_that_pg_dump_does_not_write_is_told() {
        let script = read(&format!("{DUMP}\\! rm -rf /\n"));
        assert_eq!(script.foreign, Some((17, "\\! rm -rf /".to_owned())));
        assert_eq!(read(&format!("{DUMP}\\unrestrict x\n")).foreign, None);
    }
}
