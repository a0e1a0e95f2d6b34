//! `convert`: every field and form of a manifest against the configuration that comes out.
//!
//! Each directory of `tests/convert` holds an input, the configuration (`output.yaml`) and what is
//! told (`told.txt`). `UPDATE_GOLDEN=1` writes the two anew: read the difference before it is
//! committed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Daemon, Finished};

/// The directories, by name.
fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/convert");
    let mut cases: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert!(cases.len() > 10, "{cases:?}");
    cases
}

/// Runs `convert` on a case's input, with what `args` says.
fn convert(case: &Path, more: &[&str]) -> (Finished, i32) {
    let input = fs::read_dir(case)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_stem().is_some_and(|stem| stem == "input"))
        .unwrap();
    let name = input.file_name().unwrap().to_str().unwrap();
    let args = fs::read_to_string(case.join("args")).unwrap_or_default();
    let broken = case.ends_with("broken");
    let status = i32::from(broken || more.contains(&"--strict"));
    let mut words = vec!["convert", name];
    words.extend(args.split_whitespace());
    words.extend(more);
    let finished = Daemon::bare()
        .file(name, &fs::read_to_string(&input).unwrap())
        .status(status)
        .any_stdout()
        .any_stderr()
        .run(&words);
    (finished, status)
}

fn compare(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert!(
        actual == expected,
        "{} differs (UPDATE_GOLDEN=1 writes it anew)\nexpected:\n{expected}\nactual:\n{actual}",
        path.display()
    );
}

#[test]
fn every_case_gives_its_configuration_and_its_remarks() {
    for case in cases() {
        let (finished, _) = convert(&case, &[]);
        compare(&case.join("output.yaml"), &finished.stdout);
        compare(&case.join("told.txt"), &finished.stderr);
    }
}

#[test]
fn every_configuration_validates() {
    for case in cases() {
        let (finished, _) = convert(&case, &[]);
        Daemon::new(&finished.stdout)
            .any_stdout()
            .any_stderr()
            .validate();
    }
}

#[test]
fn no_credential_of_an_input_is_in_the_output() {
    for case in cases() {
        let (finished, _) = convert(&case, &[]);
        for secret in ["never-to-be-seen", "4d6b0a0e"] {
            for text in [&finished.stdout, &finished.stderr] {
                assert!(!text.contains(secret), "{}: {secret}", case.display());
            }
        }
    }
}

#[test]
fn strict_makes_a_warning_a_failure_and_changes_nothing_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/convert");
    let (strict, _) = convert(&root.join("values"), &["--strict"]);
    let (plain, _) = convert(&root.join("values"), &[]);
    assert_eq!(strict.stdout, plain.stdout);
    // A manifest that is carried over without a remark.
    let clean = "apiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {name: v}\nspec: {provider: {vault: \
                 {server: 'https://v:8200', path: secret, auth: {tokenSecretRef: {name: t, key: t}}}}}\n---\n\
                 apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: a}\nspec:\n  \
                 secretStoreRef: {name: v}\n  data: [{secretKey: k, remoteRef: {key: k, property: p}}]\n";
    Daemon::bare()
        .file("a.yaml", clean)
        .any_stdout()
        .stderr("secrets-sync: 1 secret converted, 0 left out, 0 warnings\n")
        .run(&["convert", "--strict", "a.yaml"]);
}

#[test]
fn inputs_come_from_files_and_directories_and_the_output_goes_to_a_file() {
    let secret = |name: &str| {
        format!(
            "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {{name: {name}}}\nspec:\n  secretStoreRef: \
             {{name: v}}\n  data: [{{secretKey: k, remoteRef: {{key: {name}, property: p}}}}]\n"
        )
    };
    let finished = Daemon::bare()
        .file("d/b/2.yaml", &secret("two"))
        .file("d/1.yml", &secret("one"))
        .file("d/notes.txt", "no manifest")
        .file("d/values.yaml", "{{ helm }}: [")
        .file("3.json", "{\"kind\": \"List\", \"items\": []}")
        .any_stderr()
        .run(&[
            "convert",
            "d",
            "3.json",
            "-o",
            "out.yaml",
            "--output-dir",
            "/run/app",
            "--mount-path",
            "kv",
        ]);
    let written = finished.read("out.yaml");
    let one = written.find("key: one").unwrap();
    let two = written.find("key: two").unwrap();
    assert!(one < two);
    assert!(written.contains("path: /run/app/one/k"), "{written}");
    assert!(written.contains("mountPath: kv"), "{written}");
    assert!(
        finished.stderr.contains("values.yaml"),
        "{}",
        finished.stderr
    );
}

#[test]
fn an_input_that_cannot_be_read_is_exit_code_1_and_loses_no_other() {
    let secret = "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: a}\nspec: {data: [{secretKey: k, \
                  remoteRef: {key: a, property: p}}]}\n";
    let finished = Daemon::bare()
        .file("a.yaml", secret)
        .status(1)
        .any_stdout()
        .any_stderr()
        .run(&["convert", "missing.yaml", "a.yaml"]);
    assert!(
        finished.stdout.contains("- name: a\n"),
        "{}",
        finished.stdout
    );
    assert!(
        finished
            .stderr
            .contains("missing.yaml: not read: cannot be read"),
        "{}",
        finished.stderr
    );
}

#[test]
fn usage_errors_are_exit_code_2() {
    for (args, message) in [
        (
            &["convert"][..],
            "`convert` needs files, directories or `-`",
        ),
        (
            &["convert", "x", "--from", "y"],
            "`--from`: `y` is not `eso`, `vault-agent` or `consul-template`",
        ),
        (
            &["convert", "x", "--kv-version", "3"],
            "`--kv-version`: `3` is not `v1` or `v2`",
        ),
        (
            &["convert", "x", "--mount-path", "/"],
            "`--mount-path`: `` is no mount",
        ),
        (
            &["convert", "x", "--output-dir", "../y"],
            "`--output-dir`: `..` is not allowed in a path: write the directory it stands for",
        ),
        (
            &["convert", "x", "--vault-token", "y"],
            "`--vault-token` has a meaning only with `--query-vault`",
        ),
    ] {
        Daemon::bare()
            .status(2)
            .stderr(&format!(
                "secrets-sync: {message}\n  help: `secrets-sync convert --help` tells the options\n"
            ))
            .run(args);
    }
}

/// A thousand manifests of an ordinary kind.
#[test]
fn a_thousand_manifests_take_no_time() {
    let one = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/convert/one-store/input.yaml"),
    )
    .unwrap();
    let (_, secret) = one.split_once("---\n").unwrap();
    let mut all = one.clone();
    for number in 0..1000 {
        all.push_str("---\n");
        all.push_str(&secret.replace("name: db", &format!("name: db-{number}")));
    }
    let began = std::time::Instant::now();
    let finished = Daemon::bare()
        .file("all.yaml", &all)
        .any_stdout()
        .any_stderr()
        .run(&["convert", "all.yaml"]);
    let took = began.elapsed();
    assert!(finished.stdout.contains("maxSecrets: 1001"));
    // A second in a release build; this one is not, and the machine is busy with others.
    let bound = if cfg!(debug_assertions) { 10 } else { 1 };
    assert!(took.as_secs() < bound, "{took:?}");
}

#[test]
fn a_dash_reads_the_manifests_from_standard_input() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    let mut child = Command::new(env!("CARGO_BIN_EXE_secrets-sync"))
        .args(["convert", "-", "--strict"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // As `kubectl get -o json` and `helm template` write it.
    let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": "v"}, "spec": {"provider":
            {"vault": {"server": "https://v:8200", "path": "kv", "auth": {"tokenSecretRef": {"name": "t", "key": "t"}}}}}},
        {"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": "piped"}, "spec":
            {"secretStoreRef": {"name": "v"}, "data": [{"secretKey": "k", "remoteRef": {"key": "a", "property": "p"}}]}}]}"#;
    child
        .stdin
        .take()
        .unwrap()
        .write_all(list.as_bytes())
        .unwrap();
    let done = child.wait_with_output().unwrap();
    let told = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(0), "{told}");
    assert_eq!(
        told,
        "secrets-sync: 1 secret converted, 0 left out, 0 warnings\n"
    );
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(
        text.contains("path: ./secrets/piped/k") && text.contains("mountPath: kv"),
        "{text}"
    );
}
