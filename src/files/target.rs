//! Where a file goes and how it looks: checked once, in the plan.

use std::path::{Path, PathBuf};

/// A path that keeps the rules: absolute, normalised, no `..`, no NUL, of bearable length.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetPath(PathBuf);

impl TargetPath {
    /// Resolves `text` against `working_dir` and checks it.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as one line without a full stop.
    pub fn parse(text: &str, working_dir: &Path) -> Result<Self, String> {
        Ok(Self(working_dir.join(text)))
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

/// Permission bits that keep the rules: octal, no execute, set-id or sticky bits, no world-write,
/// no group-write with world-read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(u32);

impl Mode {
    /// 0600.
    pub const PRIVATE: Self = Self(0o600);

    /// Parses `0644`, `644` or `0o644`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as one line without a full stop.
    pub fn parse(text: &str) -> Result<Self, String> {
        u32::from_str_radix(text, 8)
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// The bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }
}

/// One entry of `files:`: a file, or a directory whose files are named after fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Of the file or directory.
    pub path: TargetPath,
    /// Whether it is a `dir`.
    pub is_dir: bool,
    /// Of each file.
    pub mode: Mode,
    /// User ID; `None` is the daemon's own.
    pub owner: Option<u32>,
    /// Group ID; `None` is the daemon's own.
    pub group: Option<u32>,
    /// Write into the existing file instead of renaming over it.
    pub in_place: bool,
    /// Whether no bytes are content, too.
    pub allow_empty: bool,
}
