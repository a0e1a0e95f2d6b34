//! The documentation: every configuration that it shows is one that `validate` accepts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod pages;
mod support;

use std::fs;

use support::Daemon;

#[test]
fn every_configuration_that_is_shown_is_valid() {
    let mut count = 0;
    for page in pages::all() {
        for (line, text) in pages::configurations(&fs::read_to_string(&page).unwrap()) {
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
