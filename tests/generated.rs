//! What is made from the program's own lists is what they say now; `make generate` writes it anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails
#![allow(unreachable_pub)] // `pub` marks what is for the tests

mod generate;

#[test]
fn the_completions_know_every_command_and_option() {
    generate::is(
        "contrib/completions/secrets-sync.bash",
        &generate::completions::bash(),
    );
    generate::is(
        "contrib/completions/_secrets-sync",
        &generate::completions::zsh(),
    );
    generate::is(
        "contrib/completions/secrets-sync.fish",
        &generate::completions::fish(),
    );
}

#[test]
fn the_schema_for_editors_knows_every_key() {
    generate::is(
        "contrib/secrets-sync.schema.json",
        &generate::schema::schema(),
    );
}

#[test]
fn the_page_of_metrics_has_every_metric() {
    generate::is_between_marks("docs/metrics.md", &generate::metrics::table());
}
