//! Files that name no content take templates by their place, in written order: a configuration of
//! the Go tool sorted them, and is told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use serde_json::json;
use support::{Daemon, OpenBao};

/// The Go tool's own sample: it put the password into the file of the user's name.
fn config(store: &str, mount: &str, name: &str, first: &str, second: &str) -> String {
    format!(
        "{store}secrets:
- name: {name}
  key: login
  mountPath: {mount}
  template:
    data:
      username: '{{{{ .username }}}}'
      password: '{{{{ .password }}}}'
  files:
  - {{ path: '@DIR@/username'{first} }}
  - {{ path: '@DIR@/password'{second} }}\n"
    )
}

const WARNING: &str = "files take their templates in written order, where the Go tool sorted the \
                       names: let every file name its `template` in `login`";

#[test]
fn files_take_templates_in_written_order_and_a_warning_says_that_it_was_another() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(
        &mount,
        "login",
        &json!({ "username": "me", "password": "hidden" }),
    );
    let store = format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root }}\n",
        bao.address()
    );
    let (username, password) = (", template: username", ", template: password");
    for (first, second, warned) in [
        ("", "", true),
        (username, password, false),
        // Named ones first; what is left has one order only.
        ("", password, false),
        (username, "", false),
    ] {
        let text = config(&store, &mount, "login", first, second);
        let done = Daemon::new(&text).any_stderr().once();
        assert_eq!(done.read("username"), "me", "{first}{second}");
        assert_eq!(done.read("password"), "hidden", "{first}{second}");
        assert_eq!(
            done.stderr.contains(WARNING),
            warned,
            "at start:\n{}",
            done.stderr
        );
        let done = Daemon::new(&text).any_stdout().any_stderr().validate();
        let all = done.stdout + &done.stderr;
        assert_eq!(
            all.matches(WARNING).count(),
            usize::from(warned),
            "by validate:\n{all}"
        );
    }
}

#[test]
fn sorted_names_are_no_reason_for_a_warning_and_many_secrets_share_one() {
    let bao = OpenBao::shared();
    let store = format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root }}\n",
        bao.address()
    );
    let one = config(&store, "kv", "one", "", "");
    let sorted = config("", "kv", "sorted", "", "")
        .replace("username: '", "a-username: '")
        .replace("password: '", "b-password: '")
        .replace("secrets:\n", "")
        .replace("@DIR@", "@DIR@/sorted");
    let three = config("", "kv", "three", "", "")
        .replace("secrets:\n", "")
        .replace("@DIR@", "@DIR@/three");
    let done = Daemon::new(&(one + &sorted + &three))
        .any_stdout()
        .any_stderr()
        .validate();
    let all = done.stdout + &done.stderr;
    assert_eq!(all.matches("the Go tool sorted").count(), 1, "{all}");
    assert!(all.contains("its `template` in `one`, `three`"), "{all}");
}

#[test]
fn counts_that_differ_are_an_error_that_lists_both_sides() {
    let text = config(
        "secretStore: { address: 'https://v', token: t }\n",
        "kv",
        "login",
        "",
        "",
    )
    .replace("  - { path: '@DIR@/password' }\n", "");
    let done = Daemon::new(&text).status(2).any_stderr().validate();
    for word in ["/username`", "`username`", "`password`", "secrets[0]"] {
        assert!(done.stderr.contains(word), "`{word}` in: {}", done.stderr);
    }
}
