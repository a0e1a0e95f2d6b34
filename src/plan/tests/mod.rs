//! Whole configurations in, plans and problems out.

mod changes;
mod credential_files;
mod problems;
mod resolved;

use std::fs;

use crate::config::{Environment, Problems};

use super::{Plan, Purpose, load};

/// Loads a text as a file named `c.yaml`, for `run`.
fn run(text: &str, variables: &[(&str, &str)]) -> Result<Plan, Problems> {
    of(text.as_bytes(), variables, Purpose::Run)
}

/// The same for `validate`.
fn validate(text: &str, variables: &[(&str, &str)]) -> Result<Plan, Problems> {
    of(text.as_bytes(), variables, Purpose::Validate)
}

fn of(bytes: &[u8], variables: &[(&str, &str)], purpose: Purpose) -> Result<Plan, Problems> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.yaml");
    fs::write(&file, bytes).unwrap();
    let environment: Environment = variables.iter().copied().collect();
    load(&file, &environment, purpose).map_err(|problems| Problems {
        file: "c.yaml".into(),
        ..problems
    })
}

/// What is printed of the problems.
fn refused(text: &str, variables: &[(&str, &str)]) -> String {
    run(text, variables).unwrap_err().to_string()
}

/// The warnings, with their keys.
fn warnings(plan: &Plan) -> Vec<String> {
    notices(plan, true)
}

fn notices(plan: &Plan, warning: bool) -> Vec<String> {
    plan.notices
        .iter()
        .filter(|notice| notice.warning == warning)
        .map(|notice| {
            format!(
                "{}: {}",
                notice.key.as_deref().unwrap_or_default(),
                notice.message
            )
        })
        .collect()
}

/// A store and a secret around the lines that a test is about.
fn secret(lines: &str) -> String {
    format!(
        "secretStore: {{address: 'https://v:8200', token: t}}\nsecrets:\n  - name: a\n    key: k\n{}",
        indented(lines, 4)
    )
}

/// A store around the lines that a test is about.
fn store(lines: &str) -> String {
    format!(
        "secrets: [{{name: a, key: k, files: [{{path: /s/a, field: x}}]}}]\nsecretStore:\n{}",
        indented(lines, 2)
    )
}

fn indented(lines: &str, by: usize) -> String {
    lines
        .lines()
        .map(|line| format!("{}{line}\n", " ".repeat(by)))
        .collect()
}
