//! A configuration that cannot be used: every problem is told at once, at its place, by `validate`
//! and by `run` in the same words; the exit code is 2, and nothing is written anywhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use support::{Daemon, Setup};

const VALIDATE_AND_RUN: &[&[&str]] = &[&["validate"], &["run"]];

/// Each command refuses the configuration with exactly this text, and leaves the directory as it
/// was. `@CONFIG@` in the text is the path of the configuration file.
#[track_caller]
fn refused_by(commands: &[&[&str]], setup: impl Fn() -> Setup, stderr: &str) {
    for command in commands {
        let setup = setup();
        let before = names(setup.dir());
        let finished = setup
            .status(2)
            .stderr(&stderr.replace("@CONFIG@", "@DIR@/config.yaml"))
            .run(command);
        assert_eq!(names(finished.dir.path()), before, "{command:?}");
    }
}

#[track_caller]
fn refused(config: &str, stderr: &str) {
    refused_by(VALIDATE_AND_RUN, || Daemon::new(config), stderr);
}

fn names(directory: &Path) -> BTreeSet<OsString> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect()
}

/// A configuration of these bytes, which need not be text.
fn bytes(content: &[u8]) -> Setup {
    let setup = Daemon::new("");
    fs::write(setup.path("config.yaml"), content).unwrap();
    setup
}

/// With a store and one secret, which has these further lines, from line 7 on.
fn secret(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "secretStore:\n  address: https://127.0.0.1:1\n  token: t\nsecrets:\n  - name: web\n    \
         key: app/web\n{lines}"
    )
}

/// A file of that secret; its value at line 7 and the column given is refused.
#[track_caller]
fn refused_file(entries: &str, column: usize, message: &str) {
    let line = format!("files: [{{{entries}}}]");
    let pad = " ".repeat(column - 1);
    refused(
        &secret(&line),
        &format!(
            "secrets-sync: @CONFIG@:7:{column}: secrets[0].files[0].{message}\n  7 |     {line}\n    \
             | {pad}^\n"
        ),
    );
}

#[test]
fn many_problems_are_told_at_once_in_order_of_their_place() {
    let config = "\
secretStore:
  adress: https://vault:8200
  authMethod: tokens
secrets:
  - name: web server
    key: app/../web
    refreshInterval: 5
    template:
      data:
        {a: x, b: '{{ if .b }}'}
    files:
      - path: /secrets/../a
        mode: '0777'
        owner: nobody-here
      - path: @DIR@/made/b
        mdoe: '0600'
  - name: db
    key: app/db
    key: app/db2
    optional: maybe
    files: {}
limits:
  maxFileBytes: 1M
secretz: []
";
    let expected = "\
secrets-sync: @CONFIG@:2:3: secretStore.adress: unknown key `adress`
  2 |   adress: [redacted]
    |   ^
  help: did you mean `address`?
secrets-sync: @CONFIG@:3:15: secretStore.authMethod: `tokens` is not an auth method
  3 |   authMethod: tokens
    |               ^
  help: write `token`, `approle`, `cert` or `none`
secrets-sync: @CONFIG@:5:11: secrets[0].name: the name of a secret may hold letters, digits, `.`, `_` and `-`, not ` `
  5 |   - name: web server
    |           ^
secrets-sync: @CONFIG@:6:10: secrets[0].key: `app/../web` has a segment `..`, which a server would not take as a name
  6 |     key: app/../web
    |          ^
secrets-sync: @CONFIG@:7:22: secrets[0].refreshInterval: `5` is a duration without a unit
  7 |     refreshInterval: 5
    |                      ^
  help: write a number and a unit, as in `300ms`, `30s`, `5m`, `1h30m`; a day is `24h`
secrets-sync: @CONFIG@:10:20: secrets[0].template.data.b: `{{ if }}` is not closed
  10 |         {a: x, b: '{{ if .b }}'}
     |                    ^
  help: it ends with `{{ end }}`
secrets-sync: @CONFIG@:12:15: secrets[0].files[0].path: `..` is not allowed in a path: write the directory it stands for
  12 |       - path: /secrets/../a
     |               ^
  help: write `/a`, which is what the Go tool made of it
secrets-sync: @CONFIG@:13:15: secrets[0].files[0].mode: the mode `0777` makes the file executable: not for a file of secrets
  13 |         mode: '0777'
     |               ^
secrets-sync: @CONFIG@:14:16: secrets[0].files[0].owner: no user `nobody-here` in `/etc/passwd`: names of other sources are not looked up, give the number
  14 |         owner: nobody-here
     |                ^
secrets-sync: @CONFIG@:16:9: secrets[0].files[1].mdoe: unknown key `mdoe`
  16 |         mdoe: [redacted]
     |         ^
  help: did you mean `mode`?
secrets-sync: @CONFIG@:19:5: secrets[1].key: the key `key` stands here twice
  19 |     key: app/db2
     |     ^
secrets-sync: @CONFIG@:20:15: secrets[1].optional: `maybe` is not a boolean
  20 |     optional: maybe
     |               ^
  help: write `true` or `false`
secrets-sync: @CONFIG@:21:5: secrets[1].files: expected a list, found a map
  21 |     files: {}
     |     ^
secrets-sync: @CONFIG@:23:17: limits.maxFileBytes: `1M` is not a size
  23 |   maxFileBytes: 1M
     |                 ^
  help: write bytes, or a unit as in `512KiB`, `1MiB`, `10MB`
secrets-sync: @CONFIG@:24:1: secretz: unknown key `secretz`
  24 | secretz: []
     | ^
  help: did you mean `secrets`?
";
    let commands: &[&[&str]] = &[
        &["validate"],
        &["run"],
        &[],
        &["run", "--once"],
        &["run", "--dry-run"],
    ];
    refused_by(commands, || Daemon::new(config), expected);
}

#[test]
fn beyond_a_hundred_problems_the_rest_is_counted() {
    let secrets: String = (0..150)
        .map(|number| format!("- {{name: s{number}, key: k, files: []}}\n"))
        .collect();
    let config = format!(
        "secretStore: {{address: 'https://v', token: t}}\nlimits: {{maxSecrets: 200}}\n\
         secrets:\n{secrets}"
    );
    let finished = Daemon::new(&config).status(2).any_stderr().validate();
    let told: Vec<_> = finished
        .stderr
        .lines()
        .filter(|line| line.starts_with("secrets-sync: "))
        .collect();
    assert_eq!(told.len(), 101);
    assert!(told[99].contains(":103:23: secrets[99].files: `files` is empty"));
    assert!(told[100].ends_with("config.yaml: and 50 more problems"));
}

#[test]
fn a_template_error_points_into_the_template() {
    let config = secret(
        "template:\n  data:\n    t: |\n      user={{ .user }}\n      {{ define \"x\" }}\nfiles: \
         [{path: /s/a, template: t}]",
    );
    refused(
        &config,
        "\
secrets-sync: @CONFIG@:11:11: secrets[0].template.data.t: `define` is not supported in templates
  11 |           {{ define \"x\" }}
     |           ^
  help: write the text where it is needed; a field of that name is written `{{ .define }}`
",
    );
}

#[test]
fn paths_that_lead_nowhere_safe_are_refused() {
    refused_file(
        "path: 'C:\\secrets\\a', field: x",
        20,
        "path: a Windows path is not understood: write it with `/`",
    );
    refused_file(
        "path: '\\\\server\\a', field: x",
        20,
        "path: a UNC path (`\\\\server\\share`) is not understood: begin with one `/`",
    );
    refused_file(
        "path: \"/s/\\0a\", field: x",
        20,
        "path: the path contains a NUL byte",
    );
    refused_file("path: '', field: x", 20, "path: the path is empty");
    refused_file(
        "path: /, field: x",
        20,
        "path: the path is the root directory",
    );
}

#[test]
fn modes_and_owners_that_would_give_a_secret_away_are_refused() {
    for (mode, message) in [
        (
            "0755",
            "makes the file executable: not for a file of secrets",
        ),
        ("0602", "lets everyone write the file"),
        ("0664", "lets the group write what everyone may read"),
        (
            "4600",
            "sets the user or group ID: not for a file of secrets",
        ),
        ("rw", "is not octal: write it as `0640`"),
    ] {
        refused_file(
            &format!("field: x, path: /s/a, mode: {mode}"),
            42,
            &format!("mode: the mode `{mode}` {message}"),
        );
    }
    refused_file(
        "field: x, path: /s/a, owner: no-one-here",
        43,
        "owner: no user `no-one-here` in `/etc/passwd`: names of other sources are not looked up, \
         give the number",
    );
    refused_file(
        "field: x, path: /s/a, group: '-1'",
        43,
        "group: no group `-1` in `/etc/group`: names of other sources are not looked up, give the \
         number",
    );
}

#[test]
fn addresses_durations_and_sizes_are_checked_where_they_stand() {
    const ADDRESS: &str = "write `https://HOST:PORT`, or `unix:///PATH` for a socket";
    for (address, message) in [
        ("vault:8200", "has no scheme"),
        (
            "ftp://vault",
            "has a scheme other than `https`, `http` and `unix`",
        ),
        ("https://", "has no host"),
        (
            "https://v:99999",
            "has a port that is not a number from 1 to 65535",
        ),
        ("https://[::1", "has a `[` without its `]`"),
        ("https://v w", "holds ` `, which no URL may"),
        ("unix://run", "does not name the absolute path of a socket"),
    ] {
        refused(
            &format!("secretStore:\n  address: {address:?}\n  token: t\nsecrets: []\n"),
            &format!(
                "secrets-sync: @CONFIG@:2:12: secretStore.address: `{address}` {message}\n  2 |   \
                 address: {address:?}\n    |            ^\n  help: {ADDRESS}\n"
            ),
        );
    }
    refused(
        "secretStore:\n  address: https://v\n  token: t\n  timeout: 0s\n  maxConcurrent: many\n\
         secrets: []\nlimits:\n  maxSecrets: 0\n  maxFileBytes: 2GiB\n  maxResponseBytes: 1.5MiB\n",
        "\
secrets-sync: @CONFIG@:4:12: secretStore.timeout: `0s` is zero
  4 |   timeout: 0s
    |            ^
  help: write a time above zero
secrets-sync: @CONFIG@:5:18: secretStore.maxConcurrent: `many` is not a whole number from 1 to 1024
  5 |   maxConcurrent: many
    |                  ^
secrets-sync: @CONFIG@:8:15: limits.maxSecrets: `0` is not a whole number from 1 to 10000
  8 |   maxSecrets: 0
    |               ^
secrets-sync: @CONFIG@:9:17: limits.maxFileBytes: `2GiB` is more than `1GiB`
  9 |   maxFileBytes: 2GiB
    |                 ^
  help: write bytes, or a unit as in `512KiB`, `1MiB`, `10MB`
secrets-sync: @CONFIG@:10:21: limits.maxResponseBytes: `1.5MiB` is not a size
  10 |   maxResponseBytes: 1.5MiB
     |                     ^
  help: write bytes, or a unit as in `512KiB`, `1MiB`, `10MB`
",
    );
}

#[test]
fn variables_that_are_missing_or_misspelt_are_named() {
    const HELP: &str = "write `${NAME}` or `${NAME:-default}`, and `$${` for a literal `${`";
    for (value, message, help) in [
        (
            "${MOUNT}",
            "the variable `MOUNT` is not set",
            "set it, or give it a default: `${MOUNT:-…}`",
        ),
        ("${MOUNT", "a `${` without its `}`", HELP),
        ("${}", "a `${…}` that does not name a variable", HELP),
        ("${1A}", "a `${…}` that does not name a variable", HELP),
    ] {
        refused(
            &secret(&format!(
                "mountPath: {value}\nfiles: [{{path: /s/a, field: x}}]"
            )),
            &format!(
                "secrets-sync: @CONFIG@:7:16: secrets[0].mountPath: {message}\n  7 |     mountPath: \
                 {value}\n    |                ^\n  help: {help}\n"
            ),
        );
    }
}

/// In an address or a credential the variable may be set where the daemon runs.
#[test]
fn an_unset_variable_in_a_credential_is_a_warning_until_it_runs() {
    let config = "secretStore: {address: '${HERE}', tokenFile: '${CREDENTIALS}/token'}\n\
                  secrets: [{name: a, key: k, files: [{path: /s/a, field: x}]}]\n";
    let finished = Daemon::new(config)
        .any_stdout()
        .stderr(
            "secrets-sync: warning: @DIR@/config.yaml:1:24: secretStore.address: the variable \
             `HERE` is not set\n\
             secrets-sync: warning: @DIR@/config.yaml:1:46: secretStore.tokenFile: the variable \
             `CREDENTIALS` is not set\n",
        )
        .validate();
    assert!(finished.stdout.contains("${HERE}"), "{}", finished.stdout);
    let finished = Daemon::new(config).status(2).any_stderr().run(&["run"]);
    assert_eq!(finished.stderr.matches("is not set").count(), 2);
}

/// Expansion goes everywhere, and so would a token that a name is made of.
#[test]
fn a_credential_that_a_variable_writes_into_a_name_is_not_shown() {
    let store = "secretStore: {address: 'http://127.0.0.1:1', authMethod: token, tokenFile: t}\n";
    let secret = |key: &str, file: &str| {
        format!("{store}secrets: [{{name: a, key: '{key}', files: [{{path: /s/a, {file}}}]}}]\n")
    };
    let long = "a/".repeat(25);
    for config in [
        secret("k", "template: 'x${APP_TOKEN}'"),
        secret("k", "field: x, mode: '${APP_TOKEN}'"),
        secret(&format!("{long}${{APP_TOKEN}}/.."), "field: x"),
        secret("k", "field: x, owner: '${APP_TOKEN}'"),
        secret("k", "field: x").replace("name: a", "name: 'a ${DB_PASSWORD}'"),
    ] {
        let finished = Daemon::new(&config)
            .env("APP_TOKEN", "hvs.neverShownAnywhere0123456789")
            .env("DB_PASSWORD", "neverShownAnywhere")
            .status(2)
            .any_stderr()
            .validate();
        assert!(!finished.stderr.contains("ShownAny"), "{}", finished.stderr);
        assert!(
            finished.stderr.contains("secrets[0]"),
            "{}",
            finished.stderr
        );
    }
    // It is a name like any other, and a warning says who will see it.
    let finished = Daemon::new(&secret("k/${APP_TOKEN}", "field: x"))
        .env("APP_TOKEN", "hvs.neverShownAnywhere0123456789")
        .any_stdout()
        .any_stderr()
        .validate();
    let understood = "from secret/k/[redacted] (KV v2)";
    assert!(finished.stdout.contains(understood), "{}", finished.stdout);
    let warning = "secrets[0].key: the variable `APP_TOKEN` holds a credential by its name";
    assert!(finished.stderr.contains(warning), "{}", finished.stderr);
}

#[test]
fn text_that_is_no_yaml_is_told_with_its_place() {
    for (config, expected) in [
        ("", ":1:1: the file is empty\n"),
        ("# a comment\n", ":2:1: the file is empty\n"),
        ("~\n", ": missing key `secrets`\n"),
        (
            "secrets: [\n",
            ":2:1: not valid YAML: did not find expected node content, while parsing a flow node\n",
        ),
        (
            "secrets:\n\t- name: a\n",
            ":2:1: not valid YAML: found character that cannot start any token, while scanning for \
             the next token\n  2 | \t- name: a\n    | ^\n",
        ),
        (
            "a: b: c\n",
            ":1:5: not valid YAML: mapping values are not allowed in this context\n  1 | \
             [redacted]\n    |     ^\n",
        ),
        (
            "secretStore:\n  address: \"a\\qb\"\n",
            ":2:14: not valid YAML: found unknown escape character, while parsing a quoted scalar \
             at line 2 column 12\n  2 |   address: \"a\\qb\"\n    |              ^\n",
        ),
        (
            "secrets: []\n---\nsecrets: []\n",
            ":2:1: the file holds more than one document\n  2 | [redacted]\n    | ^\n",
        ),
        (
            "- a\n",
            ":1:3: expected a map, found a list\n  1 | - a\n    |   ^\n",
        ),
        (
            "text\n",
            ":1:1: expected a map, found a single value\n  1 | [redacted]\n    | ^\n",
        ),
        (
            "secrets: *nowhere\n",
            ":1:10: an alias (`*name`) without its anchor (`&name`)\n  1 | [redacted]\n    |          \
             ^\n",
        ),
        (
            "secrets: !tag x\n",
            ":1:10: a tag (`!…`) has no meaning here\n  1 | [redacted]\n    |          ^\n",
        ),
        (
            "? [a]\n: c\n",
            ":1:3: a key must be text, not a list or a map\n  1 | [redacted]\n    |   ^\n",
        ),
        (
            "secrets: []\nsecrets: []\n",
            ":2:1: secrets: the key `secrets` stands here twice\n  2 | secrets: []\n    | ^\n",
        ),
        (
            "x-a: &a [*a]\nsecrets: []\n",
            ":1:6: nested too deeply\n  1 | [redacted]\n    |      ^\n",
        ),
    ] {
        refused(config, &format!("secrets-sync: @CONFIG@{expected}"));
    }
}

#[test]
fn a_file_that_is_no_text_is_told_so() {
    for (content, place) in [
        (&b"secrets: []\n# caf\xe9\n"[..], "2:6"),
        (b"\xff\xfes\0e\0c\0", "1:1"),
        (b"\0\x01\x02\xff", "1:4"),
    ] {
        refused_by(
            VALIDATE_AND_RUN,
            || bytes(content),
            &format!(
                "secrets-sync: @CONFIG@:{place}: is not UTF-8 text\n  help: save the file as UTF-8\n"
            ),
        );
    }
    refused_by(
        VALIDATE_AND_RUN,
        || bytes(b"\x7fELF\x02\x01\x01\0\0"),
        "secrets-sync: @CONFIG@:1:1: not valid YAML: control characters are not allowed\n  1 | \
         [redacted]\n    | ^\n",
    );
}

/// What would eat time, memory or stack elsewhere is refused, and soon.
#[test]
fn bombs_do_not_go_off() {
    let deep = 20_000;
    let mut aliases = "x-a: &a [l, l, l, l, l, l, l, l, l, l]\n".to_owned();
    for (before, name) in ('a'..'j').zip('b'..='j') {
        let list = vec![format!("*{before}"); 10].join(", ");
        aliases.push_str(&format!("x-{name}: &{name} [{list}]\n"));
    }
    for (config, expected) in [
        (
            format!("x: {}{}\n", "[".repeat(deep), "]".repeat(deep)),
            "nested too deeply",
        ),
        ("[".repeat(deep), "nested too deeply"),
        ("{a: ".repeat(deep), "nested too deeply"),
        (format!("{}a\n", "- ".repeat(deep)), "nested too deeply"),
        (
            format!("{aliases}secrets: []\n"),
            "with its aliases expanded, the file holds too much (more than 1,000,000 values or 64 \
             MiB of text)",
        ),
        ("#".repeat((8 << 20) + 1), "is larger than 8 MiB"),
    ] {
        for command in ["validate", "run"] {
            let began = std::time::Instant::now();
            let finished = Daemon::new(&config).status(2).any_stderr().run(&[command]);
            let first = finished.stderr.lines().next().unwrap_or_default();
            assert!(first.ends_with(expected), "{first}");
            assert!(finished.stderr.len() < 1000);
            assert!(began.elapsed() < support::SOON);
        }
    }
}

#[test]
fn a_pipe_that_nobody_writes_to_is_not_waited_for_without_end() {
    let pipe = |setup: &Setup| {
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mkfifoat(rustix::fs::CWD, setup.path("pipe"), mode).unwrap();
    };
    let setup = || {
        let setup = Daemon::new("secrets: []\n")
            .arg("--config")
            .arg("@DIR@/pipe");
        pipe(&setup);
        setup
    };
    let told =
        "secrets-sync: @DIR@/pipe: is a pipe, and cannot be read: nothing came from it for 10 s\n";
    refused_by(&[&["run"]], setup, told);
}

#[test]
fn what_is_no_file_cannot_be_read_as_one() {
    for (path, cause) in [
        (
            "@DIR@",
            "@DIR@: cannot be read: Is a directory (os error 21)\n",
        ),
        (
            "@DIR@/config.yaml/x",
            "@DIR@/config.yaml/x: cannot be read: Not a directory (os error 20)\n",
        ),
        (
            "@DIR@/nothing",
            "`@DIR@/nothing`, named by `--config`, does not exist\n  help: `secrets-sync init > \
             config.yaml` writes one to begin with\n",
        ),
        ("/dev/null", "/dev/null:1:1: the file is empty\n"),
        ("/dev/zero", "/dev/zero: is larger than 8 MiB\n"),
    ] {
        refused_by(
            VALIDATE_AND_RUN,
            || Daemon::new("secrets: []\n").arg("--config").arg(path),
            &format!("secrets-sync: {cause}"),
        );
    }
}

/// Whatever is wrong around a credential, its value is not in what is said about it.
#[test]
fn no_error_quotes_a_credential() {
    const CANARY: &str = "hunter2-canary";
    let store = |lines: &str| {
        format!(
            "secretStore:\n  address: https://127.0.0.1:1\n  {}\nsecrets: [{{name: a, key: k, \
             files: [{{path: /s/a, field: x}}]}}]\n",
            lines.replace("@C@", CANARY)
        )
    };
    let in_file = [
        "token: [@C@]",
        "token: {a: @C@}",
        "token: '@C@",
        "token: \"@C@\\q\"",
        "token: \"@C@\\n@C@\"",
        "token: @C@: x",
        "token: @C@\n  token: @C@",
        "token: ${@C@",
        "token: ${X:-@C@}${",
        "token: |\n    @C@\n  broken",
        "token: >-\n    @C@\n    @C@\n  x: [",
        "Token: @C@",
        "tokn: @C@",
        "tokenn @C@",
        "@C@",
        "token: !t @C@",
        "secretId: @C@",
        "roleId: @C@\n  secretId: @C@\n  token: @C@",
        "credentials: {b: {token: @C@, x: 1}}",
        "credentials: {b: {token: '@C@}}",
        "credentials: @C@",
        "<<: {token: @C@, adress: 1}",
        "tlsClientKey: |\n    -----BEGIN @C@\n  x",
    ];
    for lines in in_file {
        let config = store(lines);
        for command in VALIDATE_AND_RUN {
            let finished = Daemon::new(&config).status(2).any_stderr().run(command);
            assert!(!finished.stderr.contains(CANARY), "{}", finished.stderr);
        }
    }
    for address in [
        "https://u:@C@@v",
        "https://u:@C@@v:99999",
        "https://u:@C@ @v",
        "ftp://u:@C@@v",
        "u:@C@@v:8200",
        "https://v?token=@C@",
        "unix://u:@C@@v",
    ] {
        let address = address.replace("@C@", CANARY);
        let config = format!("secretStore: {{address: '{address}', token: t}}\nsecrets: []\n");
        let broken = format!("secretStore:\n  address: {address}: x\n");
        let good = "secretStore: {address: 'https://v', token: t}\nsecrets: []\n";
        for setup in [
            Daemon::new(&config),
            Daemon::new(&broken),
            Daemon::new(good).env("VAULT_ADDR", &address),
            Daemon::new(good).env(
                "OTEL_EXPORTER_ENDPOINT",
                &address.replace("https://", "x://"),
            ),
        ] {
            let finished = setup.status(2).any_stdout().any_stderr().validate();
            assert!(!finished.stderr.contains(CANARY), "{}", finished.stderr);
            assert!(!finished.stdout.contains(CANARY), "{}", finished.stdout);
        }
    }
}
