//! `init`: a configuration to begin with.

use super::console;
use super::exit::Exit;
use crate::config;

pub(super) fn main() -> Exit {
    console::print(config::SAMPLE)
}
