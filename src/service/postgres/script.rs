//! A psql script as one stream: `\i` and `\ir` are expanded here, so that the script can be fed to a psql that runs
//! elsewhere (in the server's container), and what would leave the component's database (`CREATE DATABASE`,
//! `DROP DATABASE`, `\connect`) is left out, so that scripts made for a database of their own name work as they are.
//!
//! Both act on whole statements and lines of their own only: never inside a string, a comment, a dollar-quoted body or COPY
//! data. Line-oriented, in constant memory. Not here: running it.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::{Doing, Error, Result};

/// Includes nested deeper than this are taken for a circle.
const DEPTH_LIMIT: usize = 16;

/// Where the lines of an expanded script came from: from that line of the stream on, that line of that file.
#[derive(Debug, Default)]
pub struct Origins(Vec<(u64, PathBuf, u64)>);

impl Origins {
    /// The file and line that a line of the stream (from 1) came from.
    pub fn place(&self, line: u64) -> Option<String> {
        let (from, path, start) = self.0.iter().rev().find(|(from, ..)| *from <= line)?;
        Some(format!("{}:{}", path.display(), start + (line - from)))
    }
}

/// Reads a script with everything that it includes, handing out its lines, line ends included.
pub fn expand(
    path: &Path,
    emit: &mut dyn FnMut(&[u8]) -> Result<()>,
    origins: &Mutex<Origins>,
) -> Result<()> {
    let mut expansion = Expansion {
        lexer: Lexer::default(),
        line: 0,
        origins,
        emit,
    };
    expansion.file(path, 0)
}

struct Expansion<'a> {
    lexer: Lexer,
    /// Lines handed out.
    line: u64,
    origins: &'a Mutex<Origins>,
    emit: &'a mut dyn FnMut(&[u8]) -> Result<()>,
}

impl Expansion<'_> {
    fn file(&mut self, path: &Path, depth: usize) -> Result<()> {
        let doing = || format!("read the seed script {}", path.display());
        if depth > DEPTH_LIMIT {
            return Err(
                Error::usage(format!("includes are nested more than {DEPTH_LIMIT} deep"))
                    .hint("a script that includes itself never ends")
                    .doing(doing()),
            );
        }
        let file = std::fs::File::open(path).doing_with(doing)?;
        let mut file = std::io::BufReader::with_capacity(1 << 16, file);
        let mut line = Vec::new();
        let mut number = 0;
        self.comes_from(path, 1);
        loop {
            line.clear();
            if file.read_until(b'\n', &mut line).doing_with(doing)? == 0 {
                return Ok(());
            }
            number += 1;
            if number == 1 && line.starts_with(b"\xef\xbb\xbf") {
                line.drain(..3);
            }
            // A last line without an end must not run into what follows its inclusion.
            if depth > 0 && !line.ends_with(b"\n") {
                line.push(b'\n');
            }
            match self.lexer.line(&line) {
                Line::Keep => self.emit(&line)?,
                // An empty line in its place keeps the numbers in psql's messages right.
                Line::Skip => self.emit(b"\n")?,
                Line::Include { name, relative } => {
                    let included = included(path, &name, relative).doing_with(doing)?;
                    self.file(&included, depth + 1)?;
                    self.comes_from(path, number + 1);
                }
            }
        }
    }

    fn emit(&mut self, line: &[u8]) -> Result<()> {
        self.line += 1;
        (self.emit)(line)
    }

    fn comes_from(&mut self, path: &Path, line: u64) {
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        origins.0.push((self.line + 1, path.to_owned(), line));
    }
}

/// Where `\ir` (next to the including file) and `\i` (in the working directory, else next to the including file) point.
fn included(path: &Path, name: &str, relative: bool) -> Result<PathBuf> {
    if name.starts_with([':', '`']) {
        return Err(Error::usage(format!(
            "includes {name}, whose name only psql itself would know"
        ))
        .hint("include files by their plain names"));
    }
    let beside = path.parent().unwrap_or(Path::new(".")).join(name);
    let plain = PathBuf::from(name);
    Ok(if !relative && plain.exists() {
        plain
    } else {
        beside
    })
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Keep,
    Skip,
    Include { name: String, relative: bool },
}

/// Where in the text a line begins.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Within {
    /// Statements.
    #[default]
    Sql,
    /// A string; whether backslashes escape in it.
    Text { escapes: bool },
    /// A quoted name.
    Name,
    /// A dollar-quoted string with this tag, dollars included.
    Dollar(Vec<u8>),
    /// A comment, nested so deep.
    Comment(u32),
    /// The rows after `COPY … FROM stdin;`.
    Rows,
}

/// Follows just enough of psql's lexer (psqlscan.l) to know where statements begin and end.
#[derive(Debug, Default)]
struct Lexer {
    within: Within,
    /// Lower-case words of the statement so far: the first two, and the last two.
    first: Vec<String>,
    last: [String; 2],
    /// COPY … FROM STDIN has been seen in this statement.
    copies_in: bool,
    /// The statement is one of those that are left out.
    skipping: bool,
}

impl Lexer {
    fn line(&mut self, line: &[u8]) -> Line {
        let text = line.trim_ascii();
        if self.within == Within::Rows {
            if text == b"\\." {
                self.within = Within::Sql;
            }
            return Line::Keep;
        }
        if self.within == Within::Sql && self.first.is_empty() {
            if let Some(command) = text.strip_prefix(b"\\") {
                return self.command(command);
            }
            self.skipping = names_a_database(text);
        }
        let skipping = self.skipping;
        self.scan(line);
        if skipping { Line::Skip } else { Line::Keep }
    }

    /// A line that is a psql command of its own.
    fn command(&mut self, command: &[u8]) -> Line {
        let text = String::from_utf8_lossy(command);
        let mut words = text.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let rest = text[verb.len()..].trim();
        match verb {
            "i" | "include" | "ir" | "include_relative" => Line::Include {
                name: unquoted(rest),
                relative: verb.contains('r'),
            },
            // `\c -` stays in the database and may change the user.
            "c" | "connect" if !rest.starts_with('-') => Line::Skip,
            "copy" if copies_from_stdin(rest) => {
                self.within = Within::Rows;
                Line::Keep
            }
            _ => Line::Keep,
        }
    }

    fn scan(&mut self, line: &[u8]) {
        let mut at = 0;
        while at < line.len() {
            let rest = &line[at..];
            at += match &mut self.within {
                Within::Sql => match self.statement(rest) {
                    Some(used) => used,
                    None => return,
                },
                Within::Text { escapes } => match rest {
                    [b'\\', _, ..] if *escapes => 2,
                    [b'\'', b'\'', ..] => 2,
                    [b'\'', ..] => self.leave(1),
                    _ => 1,
                },
                Within::Name if rest[0] == b'"' => self.leave(1),
                Within::Dollar(tag) if rest.starts_with(tag) => {
                    let used = tag.len();
                    self.leave(used)
                }
                Within::Comment(depth) => match rest {
                    [b'/', b'*', ..] => {
                        *depth += 1;
                        2
                    }
                    [b'*', b'/', ..] if *depth == 1 => self.leave(2),
                    [b'*', b'/', ..] => {
                        *depth -= 1;
                        2
                    }
                    _ => 1,
                },
                Within::Name | Within::Dollar(_) => 1,
                Within::Rows => return,
            };
        }
    }

    fn leave(&mut self, used: usize) -> usize {
        self.within = Within::Sql;
        used
    }

    /// One token outside of quotes: how many bytes it has; `None` when the rest of the line is not SQL.
    fn statement(&mut self, rest: &[u8]) -> Option<usize> {
        match rest {
            [b'-', b'-', ..] => return None,
            [b'/', b'*', ..] => {
                self.within = Within::Comment(1);
                return Some(2);
            }
            [b'\'', ..] => {
                self.within = Within::Text { escapes: false };
                return Some(1);
            }
            [b'e' | b'E', b'\'', ..] => {
                self.within = Within::Text { escapes: true };
                return Some(2);
            }
            [b'"', ..] => {
                self.within = Within::Name;
                self.word("\"");
                return Some(1);
            }
            [b'$', ..] => {
                if let Some(tag) = dollar_tag(rest) {
                    let used = tag.len();
                    self.within = Within::Dollar(tag);
                    return Some(used);
                }
                return Some(1);
            }
            [b';', ..] => {
                self.end();
                return Some(1);
            }
            // A psql command takes the rest of its line; \g and its kin send the statement.
            [b'\\', command @ ..] => {
                if command.starts_with(b"g") || command.starts_with(b"crosstab") {
                    self.end();
                }
                return None;
            }
            _ => {}
        }
        if !starts_word(rest[0]) {
            return Some(1);
        }
        let used = rest.iter().take_while(|&&byte| in_word(byte)).count();
        let word = String::from_utf8_lossy(&rest[..used.min(64)]).to_ascii_lowercase();
        self.word(&word);
        Some(used)
    }

    fn word(&mut self, word: &str) {
        if self.first.len() < 2 {
            self.first.push(word.to_owned());
        }
        self.last.swap(0, 1);
        word.clone_into(&mut self.last[1]);
        if self.last[0] == "from" && word == "stdin" && self.first[0] == "copy" {
            self.copies_in = true;
        }
    }

    fn end(&mut self) {
        if self.copies_in {
            self.within = Within::Rows;
        }
        self.first.clear();
        self.last = Default::default();
        self.copies_in = false;
        self.skipping = false;
    }
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn in_word(byte: u8) -> bool {
    starts_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

/// `$tag$` or `$$` at the start of `rest`.
fn dollar_tag(rest: &[u8]) -> Option<Vec<u8>> {
    let inner = rest[1..].iter().position(|&byte| byte == b'$')?;
    let tag = &rest[1..=inner];
    let plain = tag
        .iter()
        .all(|&byte| starts_word(byte) || byte.is_ascii_digit());
    let named = tag.first().is_none_or(|&byte| starts_word(byte));
    (plain && named).then(|| rest[..inner + 2].to_vec())
}

/// Whether a statement that begins with this line creates or drops a database,
/// and nothing else stands on the line, which would be left out with it.
fn names_a_database(line: &[u8]) -> bool {
    if line.iter().filter(|&&byte| byte == b';').count() > 1 {
        return false;
    }
    let text = String::from_utf8_lossy(&line[..line.len().min(64)]).to_ascii_lowercase();
    let mut words = text.split_whitespace();
    matches!(words.next(), Some("create" | "drop")) && words.next() == Some("database")
}

fn copies_from_stdin(arguments: &str) -> bool {
    let text = arguments.to_ascii_lowercase();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.windows(2).any(|pair| pair == ["from", "stdin"])
}

/// A psql argument without its quotes and trailing semicolon.
fn unquoted(argument: &str) -> String {
    match argument
        .strip_prefix('\'')
        .and_then(|rest| rest.rsplit_once('\''))
    {
        Some((inside, _)) => inside.replace("''", "'"),
        None => argument.trim_end_matches(';').trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The script as fed, with left-out lines as empty ones.
    fn check(script: &str) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("seed.sql");
        std::fs::write(&path, script).expect("writes");
        let mut out = Vec::new();
        let mut emit = |line: &[u8]| {
            out.extend_from_slice(line);
            Ok(())
        };
        expand(&path, &mut emit, &Mutex::default()).expect("expands");
        String::from_utf8(out).expect("is text")
    }

    #[test]
    fn statements_about_databases_are_left_out_and_connections_are_not_changed() {
        let script = "DROP DATABASE IF EXISTS chinook;\nCREATE DATABASE chinook\n  TEMPLATE template0;\n\\c chinook;\nSELECT 1;\n";
        assert_eq!(check(script), "\n\n\n\nSELECT 1;\n");
    }

    #[test]
    fn what_only_looks_like_a_statement_is_kept() {
        for script in [
            "INSERT INTO t VALUES ('\nCREATE DATABASE x;\n');\n",
            "SELECT E'it\\'s\nDROP DATABASE x;\n';\n",
            "SELECT $x$\n\\c other\nDROP DATABASE y; $$ $x$;\n",
            "/* /* \n*/ \nDROP DATABASE x;\n*/\nSELECT 1;\n",
            "COPY t (a, \"from\") FROM stdin;\nCREATE DATABASE x;\n\\i nothing\n\\.\nSELECT 1;\n",
            "\\copy t from stdin\nDROP DATABASE x;\n\\.\n",
            "SELECT 1 AS \"\nDROP DATABASE x;\n\";\n",
            "-- don't\nSELECT 1;\n",
            "SELECT 'x' \\gset\nSELECT a$1 FROM t;\n",
        ] {
            assert_eq!(check(script), script);
        }
    }

    #[test]
    fn a_statement_that_was_sent_by_a_command_has_ended() {
        assert_eq!(
            check("SELECT 'a' AS b \\gset\n\\c other\n"),
            "SELECT 'a' AS b \\gset\n\n"
        );
        assert_eq!(
            check("COPY t FROM stdin;\n1\n\\.\n\\c other\n"),
            "COPY t FROM stdin;\n1\n\\.\n\n"
        );
    }

    #[test]
    fn includes_are_expanded_relative_to_the_file_that_names_them() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("db")).expect("creates");
        let write =
            |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("writes");
        write("top.sql", "\\ir db/one.sql\nSELECT 3;\n");
        write("db/one.sql", "SELECT 1;\n\\ir 'it''s two.sql'\n");
        write("db/it's two.sql", "SELECT 2;\n");
        let mut out = Vec::new();
        let mut emit = |line: &[u8]| {
            out.extend_from_slice(line);
            Ok(())
        };
        let origins = Mutex::default();
        expand(&dir.path().join("top.sql"), &mut emit, &origins).expect("expands");
        assert_eq!(
            String::from_utf8_lossy(&out),
            "SELECT 1;\nSELECT 2;\nSELECT 3;\n"
        );
        let origins = origins.into_inner().expect("is whole");
        for (line, place) in [
            (1, "db/one.sql:1"),
            (2, "db/it's two.sql:1"),
            (3, "top.sql:2"),
        ] {
            let found = origins.place(line).expect("is known");
            assert!(found.ends_with(place), "{found}");
        }
    }

    #[test]
    fn a_script_that_includes_itself_is_an_error_and_so_is_one_that_is_not_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("round.sql");
        std::fs::write(&path, "\\ir round.sql\n").expect("writes");
        let error = expand(&path, &mut |_| Ok(()), &Mutex::default()).expect_err("is an error");
        assert!(error.message().contains("nested"), "{error}");
        std::fs::write(&path, "\\ir missing.sql\n").expect("writes");
        let error = expand(&path, &mut |_| Ok(()), &Mutex::default()).expect_err("is an error");
        assert!(error.message().contains("missing.sql"), "{error}");
    }

    proptest! {
        #[test]
        fn a_script_without_commands_or_databases_is_fed_byte_for_byte(
            lines in proptest::collection::vec("[a-z0-9 ';$\"(),*/-]{0,30}", 0..20)
        ) {
            let script = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            prop_assume!(!script.contains("database"));
            prop_assert_eq!(check(&script), script);
        }
    }
}
