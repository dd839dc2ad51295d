//! The exit codes of the program: the one place where a result becomes a number.
//!
//! Responsible for: the documented enum. Not here: deciding which one applies (see [`crate::error`] for
//! errors and [`crate::record`] for verdicts).

/// What the process reports to its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for passed.
    Passed = 0,
    /// A drill ran and the backup did not hold up.
    Failed = 1,
    /// Usage or suite error; nothing was started.
    Usage = 2,
    /// Something could not be verified.
    Undetermined = 3,
    /// Nothing ran: no suite, or a filter that matched nothing.
    NothingRan = 4,
    /// The gate is closed.
    GateClosed = 5,
    /// A defect in redrill.
    Defect = 70,
    /// Interrupted, after teardown.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn the_numbers_are_the_documented_ones() {
        let numbers = [
            Exit::Passed,
            Exit::Failed,
            Exit::Usage,
            Exit::Undetermined,
            Exit::NothingRan,
            Exit::GateClosed,
            Exit::Defect,
            Exit::Interrupted,
        ]
        .map(|exit| exit as u8);
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 70, 130]);
    }
}
