//! The documentation: every configuration that it shows is one that `validate` accepts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::Daemon;

/// README and the guides.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages: Vec<PathBuf> = fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.push(root.join("README.md"));
    pages.sort();
    pages
}

/// The whole configurations of a page, each with its line; parts are fenced as `yaml fragment`.
fn configurations(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in page.lines().enumerate() {
        match (&mut open, line) {
            (None, "```yaml") => open = Some((number + 2, String::new())),
            (Some(_), "```") => found.extend(open.take()),
            (Some((_, text)), line) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, _) => {}
        }
    }
    found
}

#[test]
fn every_configuration_that_is_shown_is_valid() {
    let mut count = 0;
    for page in pages() {
        for (line, text) in configurations(&fs::read_to_string(&page).unwrap()) {
            eprintln!("{}:{line}", page.display());
            Daemon::new(&text)
                .any_stdout()
                .any_stderr()
                .status(0)
                .validate();
            count += 1;
        }
    }
    assert!(count > 15, "only {count} configurations found");
}

#[test]
fn the_sample_is_valid() {
    let sample = Daemon::bare().any_stdout().run(&["init"]).stdout;
    Daemon::new(&sample)
        .any_stdout()
        .any_stderr()
        .status(0)
        .validate();
}
