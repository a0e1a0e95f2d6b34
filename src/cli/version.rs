//! `version`: which sources and tools this program was built from.

use super::console::{self, NAME};
use super::exit::Exit;
use crate::observe::build_info::BUILD;

pub(super) fn main() -> Exit {
    console::print(&format!(
        "{NAME} {}\nrevision: {}\ncommit date: {}\ntarget: {}\nrustc: {}\n",
        BUILD.version, BUILD.revision, BUILD.commit_date, BUILD.target, BUILD.rustc
    ))
}
