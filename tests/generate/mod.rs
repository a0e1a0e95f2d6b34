//! Files that are made from the program's own lists.

pub mod completions;
pub mod metrics;
pub mod schema;

use std::fs;
use std::path::PathBuf;

/// Set by `make generate`: the files are written.
const WRITE: &str = "SECRETS_SYNC_GENERATE";

pub fn root(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The file must hold this.
#[track_caller]
pub fn is(path: &str, wanted: &str) {
    let file = root(path);
    let found = fs::read_to_string(&file).unwrap_or_default();
    if found == wanted {
        return;
    }
    if std::env::var_os(WRITE).is_some() {
        fs::write(&file, wanted).unwrap();
        return;
    }
    let line = found
        .lines()
        .zip(wanted.lines())
        .position(|(found, wanted)| found != wanted)
        .unwrap_or_else(|| found.lines().count().min(wanted.lines().count()));
    panic!(
        "{path}:{}: not what the program says; `make generate` writes it anew\n  found: {}\n  wanted: {}",
        line + 1,
        found.lines().nth(line).unwrap_or("(end)"),
        wanted.lines().nth(line).unwrap_or("(end)"),
    );
}

/// The file must hold this between its two marks.
#[track_caller]
pub fn is_between_marks(path: &str, wanted: &str) {
    const BEGIN: &str = "<!-- made by `make generate` from here -->\n";
    const END: &str = "<!-- to here -->\n";
    let text = fs::read_to_string(root(path)).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the first mark");
    let (_, after) = rest.split_once(END).expect("the second mark");
    is(path, &format!("{before}{BEGIN}\n{wanted}\n{END}{after}"));
}
