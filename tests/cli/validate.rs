//! `validate`.

use std::path::Path;

use secrets_sync::sandbox::{Roots, Writes};

use crate::call::Call;

/// What the library understands of the same file: `validate` prints just that.
fn understood(file: &Path) -> String {
    let environment = secrets_sync::config::Environment::default();
    let purpose = secrets_sync::plan::Purpose::Validate;
    let plan = secrets_sync::plan::load(file, &environment, purpose).unwrap();
    let daemon = secrets_sync::config::daemon_settings(&environment).unwrap();
    let mut text = secrets_sync::plan::describe(&plan);
    text.push_str("\nsandbox\n");
    for line in Roots::of(&plan, &daemon, Writes::All).describe() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

const VALID: &str = "\
secretStore:
  address: http://127.0.0.1:8200
  token: sesame
secrets:
  - name: a
    key: app/a
    files:
      - path: /secrets/a
        field: x
";

#[test]
fn validate_prints_what_it_understood() {
    let call = Call::new(&["validate", "-c"]).file("c.yaml", VALID);
    let file = call.directory.path().join("c.yaml");
    let understood = understood(&file);
    assert!(understood.contains("/secrets/a <- field x") && !understood.contains("sesame"));
    call.arg(file).stdout(understood).check();
}

#[test]
fn validate_accepts_the_sample_and_warns_of_what_is_not_set() {
    let call = Call::new(&["validate", "-c"]).file("c.yaml", secrets_sync::config::SAMPLE);
    let file = call.directory.path().join("c.yaml");
    let understood = understood(&file);
    let call = call.arg(file).stdout(understood);
    let mut warnings = String::new();
    for (number, line) in secrets_sync::config::SAMPLE.lines().enumerate() {
        let is_comment = line.trim_start().starts_with('#');
        if let Some(at) = line.find("${").filter(|_| !is_comment) {
            let variable = line[at + 2..].split('}').next().unwrap();
            let key = line.trim().split(':').next().unwrap();
            warnings.push_str(&format!(
                "secrets-sync: warning: {}:{}:{}: secretStore.{key}: \
                 the variable `{variable}` is not set\n",
                call.directory.path().join("c.yaml").display(),
                number + 1,
                at + 1,
            ));
        }
    }
    assert!(!warnings.is_empty());
    call.stderr(warnings).check();
}

#[test]
fn validate_warns_of_a_credential_that_is_not_there_yet() {
    let with_file = VALID.replace("token: sesame", "tokenFile: /nonexistent/token");
    let call = Call::new(&["validate", "-c"]).file("c.yaml", &with_file);
    let file = call.directory.path().join("c.yaml");
    let understood = understood(&file);
    call.arg(file)
        .stdout(understood)
        .stderr(
            "secrets-sync: warning: secretStore.tokenFile: `/nonexistent/token`: no such file\n",
        )
        .check();
}

#[test]
fn validate_refuses_a_certificate_file_without_a_certificate() {
    let call = Call::new(&["validate"])
        .file("ca.pem", "no certificate")
        .file(
            "config.yaml",
            &VALID
                .replace("http:", "https:")
                .replace("  token:", "  tlsCACert: ca.pem\n  token:"),
        );
    let output = { call }.command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with("secrets-sync: secretStore.tlsCACert: ")
            && stderr.contains("no PEM certificate"),
        "{stderr}"
    );
}

#[test]
fn validate_tells_all_that_is_wrong_at_once() {
    Call::new(&["validate"])
        .file(
            "config.yaml",
            &VALID
                .replace("    key:", "    kye:")
                .replace("        field:", "        feild:"),
        )
        .env("LOG_LEVEL", "loud")
        .code(2)
        .stderr(
            "\
secrets-sync: ./config.yaml:6:5: secrets[0].kye: unknown key `kye`
  6 |     kye: [redacted]
    |     ^
  help: did you mean `key`?
secrets-sync: ./config.yaml:9:9: secrets[0].files[0].feild: unknown key `feild`
  9 |         feild: [redacted]
    |         ^
  help: did you mean `field`?
secrets-sync: LOG_LEVEL: `loud` is not one of `trace`, `debug`, `info`, `warn`, `error`
",
        )
        .check();
}
