//! The exit codes of the program: the one place where a result becomes a number.
//!
//! Responsible for: the documented enum. Not here: deciding which one applies (see [`crate::error`] for
//! errors and [`crate::record`] for verdicts).

/// What the process reports to its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

impl Exit {
    /// The worse of two. The numbers say nothing of that: what failed is worse than what could not be verified.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        match other.badness() > self.badness() {
            true => other,
            false => self,
        }
    }

    fn badness(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::NothingRan => 1,
            Self::Undetermined => 2,
            Self::GateClosed => 3,
            Self::Failed => 4,
            Self::Usage => 5,
            Self::Interrupted => 6,
            Self::Defect => 7,
        }
    }
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

    #[test]
    fn what_failed_stays_failed_beside_what_could_not_be_verified() {
        let (failed, undetermined) = (Exit::Failed, Exit::Undetermined);
        assert_eq!(failed.worse(undetermined), failed);
        assert_eq!(undetermined.worse(failed), failed);
        assert_eq!(Exit::Passed.worse(undetermined), undetermined);
        assert_eq!(failed.worse(Exit::Interrupted), Exit::Interrupted);
    }
}
