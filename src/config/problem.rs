//! What is wrong with a configuration, and where: all of it at once.

use std::fmt;
use std::path::PathBuf;

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line and column, from 1, where it has a place.
    pub place: Option<(usize, usize)>,
    /// The key path (`secrets[2].files[0].mode`); empty for the file as a whole.
    pub key: String,
    /// What is wrong: lower case, no full stop, no secret value.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// All problems of one configuration. Displayed as people read them: file, line, column, key,
/// message, the source line with a caret, the help.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Problems {
    /// The file.
    pub file: PathBuf,
    /// In order of place.
    pub problems: Vec<Problem>,
    /// The file's lines that problems point at, by number.
    pub lines: std::collections::BTreeMap<usize, String>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(
                f,
                "{}: {}: {}",
                self.file.display(),
                problem.key,
                problem.message
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
