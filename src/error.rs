//! The one error type: what was being done, why it did not work, and what the user can do about it.
//!
//! Context is a present-tense verb and its object ("start postgres"); a `hint:` line follows where the
//! user can act. An error says what *kind* of trouble it is, and the kind alone decides the exit code.
//! Not here: findings about a backup, which are results and not errors (see [`crate::evidence`]).

use std::fmt;

use crate::exit::Exit;

/// What kind of trouble an [`Error`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The user asked for something that cannot be: a bad flag, a bad suite.
    Usage,
    /// Nothing matched what was asked for.
    NothingRan,
    /// Something needed is not there: a program, an engine, a service that answers.
    Unavailable,
    /// Work that was started did not succeed.
    Failed,
    /// A wait came to its deadline.
    TimedOut,
    /// Refused for safety: it would have touched what this run did not start.
    Refused,
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// redrill itself is wrong.
    Defect,
}

/// What a full disk is called, by the system and by every program, and what the user can do about it.
const DISK_FULL: (&str, &str) = (
    "No space left on device",
    "make room there; servers, dumps and repositories of a drill lie below TMPDIR (/tmp where it is not set), reports in --out",
);

/// What this user may not read or write is called so too.
const FORBIDDEN: (&str, &str) = (
    "Permission denied",
    "let the user that runs redrill read it, and write below TMPDIR (/tmp where it is not set)",
);

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done, why it did not work, and what can be done about it.
#[derive(Clone)]
pub struct Error {
    kind: Kind,
    /// Outermost context last.
    messages: Vec<String>,
    hint: Option<String>,
    last_resort: Option<String>,
}

impl Error {
    /// An error of the given kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            messages: vec![message.into()],
            hint: None,
            last_resort: None,
        }
    }

    /// Work that did not succeed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// A bad flag or suite.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Something needed is not there.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// A safety refusal.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }

    /// A defect of redrill.
    pub fn defect(message: impl Into<String>) -> Self {
        Self::new(Kind::Defect, message)
    }

    /// The run was interrupted.
    pub fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "interrupted")
    }

    /// Says what the user can do; the innermost hint wins, as it knows most.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Says where to look when nobody knows what the user can do: the hint of an error that has no other.
    #[must_use]
    pub fn last_resort(mut self, hint: impl Into<String>) -> Self {
        self.last_resort.get_or_insert_with(|| hint.into());
        self
    }

    /// Adds what was being done: a present-tense verb and its object.
    #[must_use]
    pub fn doing(mut self, what: impl Into<String>) -> Self {
        self.messages.push(what.into());
        self
    }

    /// The same, as trouble of another kind: who called knows better what it means.
    #[must_use]
    pub fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The same, as nothing that could be established where it is this machine's: its disk is full, or its user may not read
    /// or write something. That says nothing of what was worked on.
    #[must_use]
    pub fn blaming_this_machine(self) -> Self {
        let said = |words: &str| self.messages.iter().any(|it| it.contains(words));
        match (self.kind, said(DISK_FULL.0), said(FORBIDDEN.0)) {
            (Kind::Failed, true, _) => self.of_kind(Kind::Unavailable),
            (Kind::Failed, _, true) => Self {
                hint: Some(FORBIDDEN.1.to_owned()),
                ..self.of_kind(Kind::Unavailable)
            },
            _ => self,
        }
    }

    /// What kind of trouble this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the user can do, where that is known. Nothing can be done before there is room on a full disk.
    pub fn hint_text(&self) -> Option<&str> {
        let full = self.messages.iter().any(|it| it.contains(DISK_FULL.0));
        let full = full.then_some(DISK_FULL.1);
        let own = self.hint.as_deref();
        full.or(own).or(self.last_resort.as_deref())
    }

    /// The message without its hint.
    pub fn message(&self) -> String {
        let parts: Vec<&str> = self.messages.iter().rev().map(String::as_str).collect();
        parts.join(": ")
    }

    /// In one line, as it may stand within a sentence: what can be done follows in brackets.
    pub fn in_a_sentence(&self) -> String {
        match self.hint_text() {
            Some(hint) => format!("{} ({hint})", self.message()),
            None => self.message(),
        }
    }

    /// The exit code that this error ends the program with.
    pub fn exit(&self) -> Exit {
        match self.kind {
            Kind::Usage | Kind::Refused => Exit::Usage,
            Kind::NothingRan => Exit::NothingRan,
            Kind::Unavailable | Kind::TimedOut => Exit::Undetermined,
            Kind::Failed => Exit::Failed,
            Kind::Interrupted => Exit::Interrupted,
            Kind::Defect => Exit::Defect,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())?;
        match self.hint_text() {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl std::error::Error for Error {}

/// Adds context to any result on its way up.
pub trait Doing<T> {
    /// Adds what was being done: a present-tense verb and its object.
    fn doing(self, what: impl Into<String>) -> Result<T>;
    /// The same, worded only when it is needed.
    fn doing_with(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for Result<T, Error> {
    fn doing(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|error| error.doing(what))
    }
    fn doing_with(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.doing(what()))
    }
}

/// Foreign errors become [`Kind::Failed`] with their whole chain of causes in the message.
macro_rules! foreign {
    ($($type:ty),+ $(,)?) => {$(
        impl<T> Doing<T> for Result<T, $type> {
            fn doing(self, what: impl Into<String>) -> Result<T> {
                self.map_err(|error| Error::failed(chain(&error)).doing(what))
            }
            fn doing_with(self, what: impl FnOnce() -> String) -> Result<T> {
                self.map_err(|error| Error::failed(chain(&error)).doing(what()))
            }
        }
    )+};
}

foreign!(
    std::io::Error,
    serde_json::Error,
    std::string::FromUtf8Error,
    hex::FromHexError,
    tokio::task::JoinError
);

/// An error and all its causes, in one line, without saying a cause twice.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_reads_from_the_outside_in_and_the_hint_stands_last() {
        let error = Error::unavailable("redis-server: not found")
            .hint("apt-get install redis-server")
            .doing("start redis")
            .hint("never shown: the inner hint knows more");
        assert_eq!(
            error.to_string(),
            "start redis: redis-server: not found\n  hint: apt-get install redis-server"
        );
        assert_eq!(error.exit(), Exit::Undetermined);
    }

    #[test]
    fn any_hint_is_better_than_the_last_resort() {
        let error = Error::failed("tar ended with 2").last_resort("the whole log is tar.log");
        assert_eq!(error.hint_text(), Some("the whole log is tar.log"));
        let error = error.hint("recover the backup before it");
        assert_eq!(error.hint_text(), Some("recover the backup before it"));
    }

    #[test]
    fn a_full_disk_has_a_hint_whoever_says_so() {
        let said = Error::failed("pg_restore: could not extend file: No space left on device");
        let error = said.last_resort("the whole log is x.log").doing("restore");
        let error = error.hint("restore once more");
        assert!(
            error
                .hint_text()
                .is_some_and(|hint| hint.contains("TMPDIR")),
            "{error}"
        );
    }

    #[test]
    fn within_a_sentence_a_hint_stands_in_brackets() {
        let error = Error::failed("no committed artifact of redis in near");
        assert_eq!(error.in_a_sentence(), error.message());
        let error = error.hint("see why its backups failed");
        assert_eq!(
            error.in_a_sentence(),
            "no committed artifact of redis in near (see why its backups failed)"
        );
    }

    #[test]
    fn trouble_of_this_machine_establishes_nothing_and_other_trouble_stays_what_it_is() {
        let of = |words: &str| Error::failed(words).doing("read it").blaming_this_machine();
        for words in [
            "tar: x: Cannot write: No space left on device",
            "Permission denied (os error 13)",
        ] {
            let error = of(words);
            assert_eq!(error.exit(), Exit::Undetermined, "{words}");
            assert!(error.hint_text().is_some_and(|it| it.contains("TMPDIR")));
        }
        assert_eq!(of("unexpected end of file").exit(), Exit::Failed);
        let usage = Error::usage("Permission denied").blaming_this_machine();
        assert_eq!(usage.exit(), Exit::Usage);
    }

    #[test]
    fn a_foreign_error_keeps_its_causes() {
        let result: Result<(), std::io::Error> = Err(std::io::Error::other("disk on fire"));
        let error = result.doing("write report").expect_err("is an error");
        assert_eq!(error.to_string(), "write report: disk on fire");
        assert_eq!(error.kind(), Kind::Failed);
    }
}
