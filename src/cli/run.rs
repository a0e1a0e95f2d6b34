//! `run`: the daemon.

use std::path::PathBuf;

use super::arguments::Run;
use super::console;
use super::exit::Exit;
use crate::config::Environment;

/// Runs until it is told to stop; with `--once` or `--dry-run`, until it is done.
pub(super) fn main(config: PathBuf, options: Run, environment: Environment) -> Exit {
    let _ = (config, options, environment);
    console::fail(&"not built in");
    Exit::Failure
}
