//! One file a command: arguments in, text and exit code out. Decides nothing about secrets.

/// The whole program.
#[must_use]
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
