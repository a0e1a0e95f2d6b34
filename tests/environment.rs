//! Variables: those that win over the file, and those that the file names.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::fs;

use serde_json::json;
use support::{Daemon, OpenBao, SOON, Setup, Shared, Signal};

fn ready_secret() -> (Shared, String, String) {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({ "x": "value" }));
    let policy = bao.reader_policy(&mount);
    (bao, mount, policy)
}

fn secret(mount: &str) -> String {
    format!(
        "secrets: [{{ name: a, key: a, mountPath: {mount}, files: [{{ path: '@DIR@/a', field: x }}] }}]\n"
    )
}

/// Runs it and finds these lines in the log of the start.
#[track_caller]
fn written_and_told(setup: Setup, told: &[&str]) {
    let done = setup.any_stderr().once();
    assert_eq!(done.read("a"), "value");
    for line in told {
        assert!(done.stderr.contains(line), "`{line}` in:\n{}", done.stderr);
    }
}

#[test]
fn the_environment_alone_is_a_store() {
    let (bao, mount, policy) = ready_secret();
    let token = bao.token(&[&policy], "1h", &json!(null));
    let setup = Daemon::new(&secret(&mount))
        .env("VAULT_ADDR", &bao.address())
        .env("VAULT_TOKEN", &token);
    written_and_told(
        setup,
        &[
            "address comes from the variable `VAULT_ADDR`",
            "token comes from the variable `VAULT_TOKEN`",
        ],
    );
}

#[test]
fn an_override_wins_over_the_file_in_either_form_and_its_bao_twin_over_it() {
    let (bao, mount, policy) = ready_secret();
    let token = bao.token(&[&policy], "1h", &json!(null));
    // What is overridden is not even expanded.
    let config = format!(
        "secretStore: {{ address: '${{NOT_SET}}', namespace: '${{NOT_SET}}', \
         tokenFile: '/nowhere/token' }}\n{}",
        secret(&mount)
    );
    let base = || {
        Daemon::new(&config)
            .env("VAULT_ADDR", "https://vault.invalid:1")
            .env("BAO_ADDR", &bao.address())
            .env("VAULT_NAMESPACE", "nowhere")
            .env("BAO_NAMESPACE", "root")
    };
    written_and_told(
        base().env("VAULT_TOKEN", &token),
        &[
            "address comes from the variable `BAO_ADDR`, not from the file",
            "namespace comes from the variable `BAO_NAMESPACE`, not from the file",
            "token comes from the variable `VAULT_TOKEN`, not from the file",
        ],
    );
    let by_file = base().file("t", &token).env("VAULT_TOKEN_FILE", "@DIR@/t");
    written_and_told(
        by_file,
        &["tokenFile comes from the variable `VAULT_TOKEN_FILE`"],
    );

    let done = base()
        .env("BAO_TOKEN", &token)
        .env("VAULT_TOKEN", "wrong")
        .any_stdout()
        .any_stderr()
        .validate();
    let all = done.stdout + &done.stderr;
    for variable in ["BAO_ADDR", "BAO_NAMESPACE", "BAO_TOKEN"] {
        assert!(
            all.contains(variable),
            "`validate` names `{variable}`:\n{all}"
        );
    }
    assert!(!all.contains(&token), "{all}");
}

#[test]
fn approle_from_the_environment_replaces_the_files_and_never_a_written_method() {
    let (bao, mount, policy) = ready_secret();
    let role = support::unique("role");
    let (role_id, secret_id) = bao.approle(&role, &json!({ "token_policies": [policy] }));
    let config = format!(
        "secretStore: {{ address: '{}', authMethod: approle, roleIdFile: /nowhere/r, \
         secretIdFile: /nowhere/s }}\n{}",
        bao.address(),
        secret(&mount)
    );
    let setup = Daemon::new(&config)
        .env("VAULT_ROLE_ID", &role_id)
        .env("VAULT_SECRET_ID", &secret_id)
        .env("VAULT_TOKEN", "of-somebody-else");
    // A token does not turn it into the token method: it is named in a warning.
    written_and_told(
        setup,
        &[
            "VAULT_ROLE_ID",
            "VAULT_SECRET_ID",
            "VAULT_TOKEN",
            "\"level\":\"warn\"",
        ],
    );
    let setup = Daemon::new(&config)
        .file("s", &secret_id)
        .env("VAULT_ROLE_ID", &role_id)
        .env("VAULT_SECRET_ID_FILE", "@DIR@/s");
    written_and_told(
        setup,
        &["secretIdFile comes from the variable `VAULT_SECRET_ID_FILE`"],
    );

    let unclear = config.replace("authMethod: approle, ", "");
    let done = Daemon::new(&unclear)
        .env("VAULT_TOKEN", "t")
        .status(2)
        .any_stdout()
        .any_stderr()
        .run(&["run", "--once"]);
    assert!(
        done.stderr.contains("credentials of two kinds"),
        "{}",
        done.stderr
    );
}

#[test]
fn tls_comes_from_the_environment_too() {
    let bao = OpenBao::dev().tls().start();
    bao.kv2_put("secret", "a", &json!({ "x": "value" }));
    let config = format!(
        "secretStore: {{ token: root, tlsCACert: /nowhere/ca }}\n{}",
        secret("secret")
    );
    let directory = tempfile::tempdir().unwrap();
    fs::copy(bao.ca(), directory.path().join("ca.pem")).unwrap();
    let ca = bao.ca().to_str().unwrap();
    let path = directory.path().to_str().unwrap();
    let without = config.replace(", tlsCACert: /nowhere/ca", "");
    for (config, variables) in [
        (&config, vec![("VAULT_CACERT", ca)]),
        (
            &config,
            vec![("VAULT_CACERT", "/nowhere/else"), ("BAO_CACERT", ca)],
        ),
        (&without, vec![("VAULT_CAPATH", path)]),
        (&without, vec![("BAO_SKIP_VERIFY", "1")]),
        (&without, vec![("SSL_CERT_FILE", ca)]),
        (
            &without,
            vec![
                ("SSL_CERT_FILE", ca),
                ("VAULT_TLS_SERVER_NAME", "localhost"),
            ],
        ),
    ] {
        let mut setup = Daemon::new(config).env("BAO_ADDR", &bao.address());
        let mut told = Vec::new();
        for (name, value) in &variables {
            setup = setup.env(name, value);
            if !name.starts_with("SSL") {
                told = vec![*name];
            }
        }
        written_and_told(setup, &told);
    }
}

#[test]
fn variables_in_values_have_their_forms() {
    let (bao, mount, _) = ready_secret();
    bao.kv2_put(
        &mount,
        "dev/empty-",
        &json!({ "x": "value", "${x": "dollar" }),
    );
    let config =
        "secretStore: { address: '${SERVER}', authMethod: token, token: '${TOKEN_A}${TOKEN_B}' }
secrets:
- name: a
  key: '${STAGE:-dev}/empty-${EMPTY}${EMPTY_TOO:-}'
  mountPath: ${MOUNT:-nowhere}
  template: { data: { as-it-is: 'a ${HOME} b' } }
  files:
  - { path: '@DIR@/${EMPTY:-a}', field: x }
  - { path: '@DIR@/dollar', field: '$${x' }
  - { path: '@DIR@/template', template: as-it-is }\n";
    let setup = || {
        Daemon::new(config)
            .env("TOKEN_A", "ro")
            .env("TOKEN_B", "ot")
            .env("MOUNT", &mount)
            .env("EMPTY", "")
    };
    let done = setup().env("SERVER", &bao.address()).any_stderr().once();
    assert_eq!(done.read("a"), "value");
    assert_eq!(done.read("dollar"), "dollar");
    assert_eq!(
        done.read("template"),
        "a ${HOME} b",
        "templates are not touched"
    );

    let without = setup().status(2).any_stderr().run(&["run", "--once"]);
    assert!(
        without.stderr.contains("secretStore.address"),
        "{}",
        without.stderr
    );
    assert!(
        without.stderr.contains("`SERVER` is not set"),
        "{}",
        without.stderr
    );
    let validated = setup().any_stdout().any_stderr().validate();
    assert!(
        validated.stderr.contains("`SERVER`"),
        "only a warning: {}",
        validated.stderr
    );
    let empty = setup()
        .env("SERVER", &bao.address())
        .env("TOKEN_A", "")
        .env("TOKEN_B", "")
        .status(2)
        .any_stderr()
        .run(&["run", "--once"]);
    assert!(
        empty.stderr.contains("TOKEN_A"),
        "an empty credential: {}",
        empty.stderr
    );
}

#[test]
fn a_reload_reads_the_copy_of_the_environment_made_at_start() {
    let (bao, mount, _) = ready_secret();
    bao.kv2_put(&mount, "b", &json!({ "x": "second" }));
    let config = |key: &str| {
        format!(
            "secretStore: {{ address: '${{SERVER}}', authMethod: token, token: '${{TOKEN}}' }}
secrets: [{{ name: a, key: {key}, mountPath: {mount}, files: [{{ path: '@DIR@/a', field: x }}] }}]\n"
        )
    };
    let daemon = Daemon::new(&config("a"))
        .env("SERVER", &bao.address())
        .env("TOKEN", "root")
        .start();
    daemon.wait_file("a", "value", SOON);
    let dir = daemon.dir().to_str().unwrap();
    fs::write(
        daemon.path("config.yaml"),
        config("b").replace("@DIR@", dir),
    )
    .unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_file("a", "second", SOON);
}
