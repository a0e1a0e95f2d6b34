//! Exit codes: three, with one meaning each, so that a service manager can tell a restart that
//! may help from one that cannot.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// As asked.
    Success,
    /// The answer is no: not ready, degraded, a secret failed.
    Failure,
    /// A restart cannot help: usage, an invalid configuration, another daemon; for `status`, no
    /// daemon.
    Unusable,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Unusable => 2,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_the_contracts() {
        let codes = [Exit::Success, Exit::Failure, Exit::Unusable].map(Exit::code);
        assert_eq!(codes, [0, 1, 2]);
    }
}
