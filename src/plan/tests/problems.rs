//! What a bad configuration is told.

use proptest::prelude::*;

use super::*;

#[test]
fn many_problems_are_told_at_once_in_order() {
    let text = "\
secretStore:
  adress: https://v
  token: ${TOKEN}
secrets:
  - name: a b
    key: ../x
    refreshInterval: 0
    files:
      - path: /s/a
        fild: x
        mode: [1]
  - name: b
    kvVersion: 2
    files: {}
  - name: c
    key: k
    key: l
    optional: maybe
    files:
      - path: /s/b
        field: x
      - path: /s/c
        field: x
        format: env
limits:
  maxFileBytes: 1M
";
    assert_eq!(
        refused(text, &[]),
        "\
c.yaml:2:3: secretStore.adress: unknown key `adress`
  2 |   adress: [redacted]
    |   ^
  help: did you mean `address`?
c.yaml:3:10: secretStore.token: the variable `TOKEN` is not set
  3 |   token: [redacted]
    |          ^
  help: set it, or give it a default: `${TOKEN:-…}`
c.yaml:5:11: secrets[0].name: the name of a secret may hold letters, digits, `.`, `_` and `-`, not ` `
  5 |   - name: a b
    |           ^
c.yaml:6:10: secrets[0].key: `../x` has a segment `..`, which a server would not take as a name
  6 |     key: ../x
    |          ^
c.yaml:7:22: secrets[0].refreshInterval: `0` is zero, which is no interval
  7 |     refreshInterval: 0
    |                      ^
  help: write `1s` or more, or `once` for a secret that is fetched until it succeeds
c.yaml:10:9: secrets[0].files[0].fild: unknown key `fild`
  10 |         fild: [redacted]
     |         ^
  help: did you mean `field`?
c.yaml:11:9: secrets[0].files[0].mode: expected a single value, found a list
  11 |         mode: [1]
     |         ^
c.yaml:12:5: secrets[1]: missing key `key`
  12 |   - name: b
     |     ^
c.yaml:13:16: secrets[1].kvVersion: `2` is not a version of the KV engine
  13 |     kvVersion: 2
     |                ^
  help: write `v1` or `v2`
c.yaml:14:5: secrets[1].files: expected a list, found a map
  14 |     files: {}
     |     ^
c.yaml:17:5: secrets[2].key: the key `key` stands here twice
  17 |     key: l
     |     ^
c.yaml:18:15: secrets[2].optional: `maybe` is not a boolean
  18 |     optional: maybe
     |               ^
  help: write `true` or `false`
c.yaml:24:17: secrets[2].files[1].format: `field` and `format` exclude each other
  24 |         format: env
     |                 ^
c.yaml:26:17: limits.maxFileBytes: `1M` is not a size
  26 |   maxFileBytes: 1M
     |                 ^
  help: write bytes, or a unit as in `512KiB`, `1MiB`, `10MB`
"
    );
}

/// Each problem's place, key and message, without the excerpt.
fn told(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    match run(text, variables) {
        Ok(_) => vec!["accepted".to_owned()],
        Err(problems) => problems
            .problems
            .iter()
            .map(|p| format!("{}: {}", p.key, p.message))
            .collect(),
    }
}

#[test]
fn what_is_no_document_is_one_located_error() {
    for (text, expected) in [
        ("", "c.yaml:1:1: the file is empty\n"),
        (
            "a: 1\n---\nb: 1\n",
            "c.yaml:2:1: the file holds more than one document\n  2 | [redacted]\n    | ^\n",
        ),
        (
            "secretStore:\n  address: 'x\n",
            "c.yaml:3:1: not valid YAML: found unexpected end of stream, \
             while scanning a quoted scalar at line 2 column 12\n",
        ),
        (
            "secretStore:\n  address: a: b\n",
            "c.yaml:2:13: not valid YAML: mapping values are not allowed in this context\n  \
             2 |   address: a: b\n    |             ^\n",
        ),
        (
            "secretStore:\n  token: hunter2: x\n",
            "c.yaml:2:17: not valid YAML: mapping values are not allowed in this context\n  \
             2 |   token: [redacted]\n    |                 ^\n",
        ),
        (
            "- 1\n",
            "c.yaml:1:3: expected a map, found a list\n  1 | - 1\n    |   ^\n",
        ),
    ] {
        let shown = refused(text, &[]);
        let first = shown.split("c.yaml: missing").next().unwrap();
        assert_eq!(first, expected, "{text}");
    }
    let latin = of(b"a: x\nb: caf\xe9\n", &[], Purpose::Run).unwrap_err();
    assert_eq!(
        latin.to_string(),
        "c.yaml:2:7: is not UTF-8 text\n  help: save the file as UTF-8\n"
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let environment = Environment::default();
    let problems = load("/nonexistent/c.yaml".as_ref(), &environment, Purpose::Run).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "/nonexistent/c.yaml: cannot be read: No such file or directory (os error 2)\n"
    );
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let text = format!("# {}\n", "x".repeat(8 << 20));
    assert_eq!(refused(&text, &[]), "c.yaml: is larger than 8 MiB\n");
}

#[test]
fn problems_beyond_a_hundred_are_counted() {
    let mut text = String::from("secretStore: {address: 'https://v', token: t}\nsecrets: []\n");
    for n in 0..150 {
        text.push_str(&format!("zzzzzzzzzzzzzz{n}: 1\n"));
    }
    let problems = run(&text, &[]).unwrap_err();
    assert_eq!(problems.problems.len(), 101);
    assert_eq!(problems.problems[100].message, "and 50 more problems");
}

#[test]
fn credentials_never_show() {
    let canary = "hunter2";
    for text in [
        format!("secretStore: {{address: 'https://v', token: [{canary}]}}\nsecrets: []\n"),
        format!("secretStore: {{token: {canary}, address: 5}}\nsecrets: []\n"),
        format!("secretStore:\n  address: https://v\n  secretId: {{a: {canary}}}\nsecrets: []\n"),
        format!("secretStore:\n  address: https://v\n  tokne: {canary}\nsecrets: []\n"),
        format!(
            "secretStore:\n  address: https://v\n  token: |\n    {canary}\n    x\nsecrets: 1\n"
        ),
        format!("secretStore:\n  address: https://v\n  token: \"{canary}\\u0001\"\nsecrets: []\n"),
        format!("secretStore:\n  address: https://v\n  token: '${{{canary}'\nsecrets: []\n"),
        format!("secretStore:\n  address: https://u:{canary}@v\n  token: x\nsecrets: []\n"),
        format!("secretStore:\n  address: https://u:{canary}/x@v\n  token: x\nsecrets: []\n"),
        format!("secretStore: {{authMethod: {{x: 1}}, roleId: {canary}}}\nsecrets: []\n"),
        format!("secretStore:\n  x-t: &t {canary}\n  token: *t\n  y: 1\n x: {canary}: 1\n"),
        format!("token: {canary}\ntoken: {canary}\n"),
        format!("secrets:\n  - name: a\n    secretId: {canary}\n"),
        format!("{canary}\n"),
        format!("secretStore: !x {canary}\n"),
        format!("secretStore: !!int {canary}\n"),
    ] {
        let shown = refused(&text, &[]);
        assert!(!shown.contains(canary), "{text}\n{shown}");
    }
    for (name, value) in [
        ("VAULT_ADDR", "https://u:hunter2@v"),
        ("VAULT_ADDR", "hunter2@v"),
        ("VAULT_TOKEN", "hunter2\u{1}"),
        ("HTTPS_PROXY", "socks5://u:hunter2@p"),
    ] {
        let shown = refused(
            "secretStore: {address: 'https://v', token: x}\nsecrets: []\n",
            &[(name, value)],
        );
        assert!(!shown.contains(canary), "{shown}");
        assert!(shown.contains(name), "{shown}");
    }
}

#[test]
fn stores_are_checked() {
    for (lines, expected) in [
        ("token: t", "secretStore: missing key `address`"),
        (
            "address: vault:8200\ntoken: t",
            "secretStore.address: `vault:8200` has no scheme",
        ),
        (
            "address: https://v",
            "secretStore: no credentials: `authMethod`, `token`, `roleId` and their file forms are all absent",
        ),
        (
            "address: https://v\ntoken: t\nroleId: r",
            "secretStore: credentials of two kinds and no `authMethod`: `token`, `roleId`",
        ),
        (
            "address: https://v\nauthMethod: ldap",
            "secretStore.authMethod: `ldap` is not an auth method",
        ),
        (
            "address: https://v\nauthMethod: approle\nsecretId: s",
            "secretStore.authMethod: the auth method `approle` needs `roleId` or `roleIdFile`",
        ),
        (
            "address: https://v\ntoken: t\ntokenFile: /t",
            "secretStore.tokenFile: `token` and `tokenFile` exclude each other",
        ),
        (
            "address: https://v\ntoken: ' '",
            "secretStore.token: `token` is empty",
        ),
        (
            "address: https://v\ntoken: ${EMPTY}",
            "secretStore.token: `token` is empty: the variable `EMPTY` is",
        ),
        (
            "address: https://v\nauthMethod: cert",
            "secretStore.authMethod: the auth method `cert` needs `tlsClientCert` and `tlsClientKey`",
        ),
        (
            "address: http://127.0.0.1\ncertRole: w\ntlsClientCert: /c\ntlsClientKey: /k",
            "secretStore: the auth method `cert` needs an `https` address",
        ),
        (
            "address: https://v\ntoken: t\ntlsClientCert: /c",
            "secretStore.tlsClientCert: `tlsClientCert` without `tlsClientKey`",
        ),
        (
            "address: https://v\nroleId: r\nsecretIdWrappingPath: auth/approle/role/a/secret-id",
            "secretStore.secretIdWrappingPath: a wrapping path without a secret ID",
        ),
        (
            "address: https://v\ntoken: t\ntimeout: 30",
            "secretStore.timeout: `30` is a duration without a unit",
        ),
        (
            "address: https://v\ntoken: t\nmaxConcurrent: 0",
            "secretStore.maxConcurrent: `0` is not a whole number from 1 to 1024",
        ),
        (
            "address: https://v\ntoken: t\nnamespace: a/../b",
            "secretStore.namespace: `a/../b` has a segment `..`, which a server would not take as a name",
        ),
        (
            "address: https://v\ntoken: t\ncredentials: {b: {}}",
            "secretStore.credentials.b: no credentials: `authMethod`, `token`, `roleId` and their file forms are all absent",
        ),
        (
            "address: https://v\ntoken: t\ncredentials: {default: {token: t}}",
            "secretStore.credentials.default: a credential set cannot be named `default`",
        ),
    ] {
        assert_eq!(told(&store(lines), &[("EMPTY", "")]), [expected], "{lines}");
    }
}

#[test]
fn secrets_are_checked() {
    const FILES: &str = "files: [{path: /s/a, field: x}]\n";
    for (lines, expected) in [
        (
            "refreshInterval: -5s",
            "secrets[0].refreshInterval: `-5s` is less than zero, which is no interval",
        ),
        (
            "refreshInterval: 500ms",
            "secrets[0].refreshInterval: `500ms` is less than a second",
        ),
        (
            "refreshInterval: 1d",
            "secrets[0].refreshInterval: `1d` is a duration with an unknown unit",
        ),
        (
            "version: 0",
            "secrets[0].version: `0` is not a whole number of at least 1",
        ),
        (
            "{version: 3, kvVersion: v1}",
            "secrets[0].version: KV v1 has no versions: `version` needs `kvVersion: v2`",
        ),
        (
            "{metadata: true, kvVersion: v1}",
            "secrets[0].metadata: KV v1 has no metadata",
        ),
        ("store: lab", "secrets[0].store: there is no store `lab`"),
        (
            "credentials: b",
            "secrets[0].credentials: the store `default` has no credentials `b`",
        ),
        ("layout: dir", "secrets[0].layout: `dir` is not a layout"),
        (
            "path: k",
            "secrets[0].path: `key` and `path` are one and the same",
        ),
        (
            "sources: {b: {key: k}}",
            "secrets[0].key: `key` and `sources` exclude each other",
        ),
        ("mountPath: /", "secrets[0].mountPath: `/` names nothing"),
    ] {
        let lines = lines.trim_matches(['{', '}']).replace(", ", "\n");
        let lines = if lines.starts_with("sources") {
            "sources: {b: {key: k}}".to_owned()
        } else {
            lines
        };
        assert_eq!(told(&secret(&format!("{lines}\n{FILES}")), &[]), [expected]);
    }
    assert_eq!(
        told(
            "secrets: [{name: a, key: k, files: [{path: /a, field: x}]}]",
            &[]
        ),
        [": missing key `secretStore`: there are secrets that name no `store`"]
    );
    let twice = "secretStore: {address: 'https://v', token: t}\nsecrets:\n- &s {name: a, key: k, files: [{path: /s/a, field: x}]}\n- {<<: *s, files: [{path: /s/b, field: x}]}\n";
    assert_eq!(
        told(twice, &[]),
        ["secrets[1].name: the name `a` is that of secrets[0], too"]
    );
    let many = format!(
        "limits: {{maxSecrets: 1}}\n{}  - {{name: b, key: k, files: [{{path: /s/b, field: x}}]}}\n",
        secret(FILES)
    );
    assert_eq!(
        told(&many, &[]),
        ["secrets: 2 secrets are more than `limits.maxSecrets` allows (1)"]
    );
}

#[test]
fn files_are_checked() {
    for (files, expected) in [
        (
            "[]",
            "secrets[0].files: `files` is empty: the secret would be written nowhere",
        ),
        (
            "[{field: x}]",
            "secrets[0].files[0]: missing key `path` (or `dir`)",
        ),
        (
            "[{path: /a, dir: /b}]",
            "secrets[0].files[0].dir: `path` and `dir` exclude each other",
        ),
        (
            "[{path: /a, template: t, field: x}]",
            "secrets[0].files[0].field: `template` and `field` exclude each other",
        ),
        (
            "[{path: /a, template: t}]",
            "secrets[0].files[0].template: `template.data` has no entry `t`",
        ),
        (
            "[{dir: /a, format: env}]",
            "secrets[0].files[0].format: `format` and `dir` exclude each other",
        ),
        (
            "[{dir: /a, inPlace: true}]",
            "secrets[0].files[0].inPlace: `inPlace` is for a `path`, not for a `dir`",
        ),
        (
            "[{path: /a, format: env, encoding: auto}]",
            "secrets[0].files[0].encoding: `encoding` is only for a `field` or a `dir`",
        ),
        (
            "[{path: /a, format: ini}]",
            "secrets[0].files[0].format: `ini` is not a format",
        ),
        (
            "[{path: /a, field: x, encoding: hex}]",
            "secrets[0].files[0].encoding: `hex` is not an encoding",
        ),
        (
            "[{path: /a}]",
            "secrets[0].files: files that name no content and templates that no file names must be as many: files: `/a`; templates: none",
        ),
        (
            "[{path: /a, field: x}, {path: /a, field: y}]",
            "secrets[0].files[1].path: `/a` is written by secrets[0].files[0], too",
        ),
        (
            "[{path: /a, field: x}, {path: /a/b, field: y}]",
            "secrets[0].files[1].path: `/a` is a file of secrets[0].files[0]: it cannot be a directory, too",
        ),
        (
            "[{path: /a/b, field: x}, {path: /a, field: y}]",
            "secrets[0].files[1].path: `/a` must be a directory for secrets[0].files[0]",
        ),
        (
            "[{dir: /a}, {path: /a/b, field: y}]",
            "secrets[0].files[1].path: `/a` is the `dir` of secrets[0].files[0]: nothing else may be written in it",
        ),
        (
            "[{path: /a/b, field: y}, {dir: /a}]",
            "secrets[0].files[1].dir: `/a/b` is written by secrets[0].files[0]: nothing else may be written in a `dir`",
        ),
    ] {
        assert_eq!(
            told(&secret(&format!("files: {files}")), &[]),
            [expected],
            "{files}"
        );
    }
    for (files, expected) in [
        (
            "[{path: /a/x, field: x}, {path: /b/x, field: y}]",
            "secrets[0].files[1].path: with `layout: directory` all files are in one directory; the first is in `/a`",
        ),
        (
            "[{dir: /a}]",
            "secrets[0].files[0].dir: `layout: directory` takes files with a `path`, not a `dir`",
        ),
        (
            "[{path: /a/x, field: x, inPlace: true}]",
            "secrets[0].files[0].inPlace: `inPlace` cannot be had with `layout: directory`",
        ),
        (
            "[{path: /a/..x, field: x}]",
            "secrets[0].files[0].path: names that begin with `..` are the layout's own",
        ),
    ] {
        let text = secret(&format!("layout: directory\nfiles: {files}"));
        assert_eq!(told(&text, &[]), [expected], "{files}");
    }
}

#[test]
fn both_sides_of_a_position_are_listed() {
    let text = secret(
        "template: {data: {u: x, p: y, n: z}}\nfiles: [{path: /s/u}, {path: /s/n, template: n}]",
    );
    assert_eq!(
        told(&text, &[]),
        [
            "secrets[0].files: files that name no content and templates that no file names must be as many: files: `/s/u`; templates: `u`, `p`"
        ]
    );
}

#[test]
fn sources_are_checked() {
    for (sources, expected) in [
        ("{}", "secrets[0].sources: `sources` is empty"),
        (
            "{a.b: {key: k}}",
            "secrets[0].sources[\"a.b\"]: the name of a source may not hold a dot, for templates write `.NAME.FIELD`",
        ),
        ("{a: {}}", "secrets[0].sources.a: missing key `key`"),
        (
            "{a: {key: k, kvVersion: v1}}",
            "secrets[0].version: KV v1 has no versions: `version` needs `kvVersion: v2`",
        ),
    ] {
        let text = format!(
            "secretStore: {{address: 'https://v', token: t}}\nsecrets:\n- name: a\n  version: 2\n  sources: {sources}\n  files: [{{path: /s/a, format: json}}]\n"
        );
        assert_eq!(told(&text, &[]), [expected], "{sources}");
    }
}

#[test]
fn a_field_names_one_of_the_sources() {
    let of = |field: &str| {
        format!(
            "secretStore: {{address: 'https://v', token: t}}\nsecrets:\n- name: a\n  \
             sources: {{db: {{key: k}}, api: {{key: k}}}}\n  files: [{{path: /s/a, field: {field}}}]\n"
        )
    };
    for field in ["x", "db", "dbx.y", "x.db.y"] {
        assert_eq!(
            told(&of(field), &[]),
            [format!(
                "secrets[0].files[0].field: `{field}` names none of the sources"
            )],
        );
    }
    for field in ["db.x", "api.x.y"] {
        assert_eq!(told(&of(field), &[]), ["accepted"], "{field}");
    }
}

#[test]
fn two_secrets_cannot_switch_one_directory() {
    let text = "secretStore: {address: 'https://v', token: t}\nsecrets:\n\
        - {name: a, key: k, layout: directory, files: [{path: /s/a, field: x}]}\n\
        - {name: b, key: k, layout: directory, files: [{path: /s/b, field: x}]}\n";
    assert_eq!(
        told(text, &[]),
        ["secrets[1].files[0]: the directory `/s` is switched by the secret `a` already"]
    );
}

#[test]
fn a_variable_is_only_a_warning_for_validate_in_addresses_and_credentials() {
    let text =
        "secretStore: {address: '${A}', tokenFile: '${B}/t', mountPath: '${C}'}\nsecrets: []\n";
    let problems = validate(text, &[]).unwrap_err();
    let keys: Vec<_> = problems.problems.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(keys, ["secretStore.mountPath"]);
    assert_eq!(
        told(text, &[]),
        [
            "secretStore.address: the variable `A` is not set",
            "secretStore.tokenFile: the variable `B` is not set",
            "secretStore.mountPath: the variable `C` is not set"
        ]
    );
}

#[test]
fn a_variable_that_is_not_set_is_an_error_where_nothing_reads_the_key_too() {
    let text = "\
secretStore: {address: 'https://v', token: t, authMount: '${A}'}
secrets:
  - name: a
    mountPath: ${B}
    sources: {s: {key: k, mountPath: m}}
    files: [{path: /s/a, field: s.x}]
";
    assert_eq!(
        told(text, &[]),
        [
            "secretStore.authMount: the variable `A` is not set",
            "secrets[0].mountPath: the variable `B` is not set"
        ]
    );
}

#[test]
fn a_problem_behind_an_anchor_is_told_once_where_it_stands() {
    let text = "x-f: &f {path: /s/a, fild: x}\nsecretStore: {address: 'https://v', token: t}\nsecrets:\n\
        - {name: a, key: k, files: [*f]}\n- {name: b, key: k, files: [*f]}\n";
    let problems = run(text, &[]).unwrap_err().problems;
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert_eq!(problems[1].place, Some((1, 22)));
    assert!(problems[0].message.contains("written by secrets[0]"));
}

#[test]
fn bad_variables_name_themselves() {
    let text = store("address: https://v\ntoken: t");
    assert_eq!(
        told(&text, &[("VAULT_SKIP_VERIFY", "maybe")]),
        [
            "secretStore.tlsSkipVerify: `maybe` is not a boolean (it comes from the variable `VAULT_SKIP_VERIFY`)"
        ]
    );
    assert_eq!(
        told(&text, &[("VAULT_TOKEN", "t"), ("VAULT_TOKEN_FILE", "/t")]),
        ["secretStore.tokenFile: `VAULT_TOKEN` and `VAULT_TOKEN_FILE` are both set"]
    );
    assert_eq!(
        told(
            &store("address: https://v\nroleId: r"),
            &[("BAO_TOKEN", "t")]
        ),
        [
            "secretStore: credentials of two kinds and no `authMethod`: `token` (from the variable `BAO_TOKEN`), `roleId`"
        ]
    );
}

#[test]
fn a_template_error_points_into_the_template() {
    let text = secret(
        "template:\n  data:\n    a: |\n      ok {{ .x }}\n      no {{> y }}\n    b: 'x {{ . | nosuch }}'\n\
         files: [{path: /s/a, template: a}, {path: /s/b, template: b}]",
    );
    let problems = run(&text, &[]).unwrap_err().problems;
    let places: Vec<_> = problems
        .iter()
        .map(|p| (p.place.unwrap(), p.key.as_str()))
        .collect();
    assert_eq!(places.len(), 2, "{problems:?}");
    assert_eq!(places[0].0.0, 9);
    assert_eq!(places[1].0.0, 10);
    assert_eq!(places[0].1, "secrets[0].template.data.a");
}

#[test]
fn a_path_that_go_resolved_is_refused_with_what_it_meant() {
    let text = secret("files: [{path: /s/x/../a, field: x}]");
    let problem = run(&text, &[]).unwrap_err().problems.remove(0);
    assert_eq!(problem.key, "secrets[0].files[0].path");
    assert_eq!(
        problem.help.as_deref(),
        Some("write `/s/a`, which is what the Go tool made of it")
    );
}

#[test]
fn odd_line_breaks_do_not_shift_the_mask() {
    for broken in ["\u{2028}", "\u{85}", "\r", "\u{2029}", "\r\n"] {
        let text = format!(
            "# a{broken}# b{broken}# c\nsecretStore:\n  address: x\n  token: hunter2\n  y: 1\nsecrets: []\n"
        );
        let shown = refused(&text, &[]);
        assert!(
            shown.contains("address: x") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = run(&text, &[]);
    }

    #[test]
    fn nothing_like_yaml_panics(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "secretStore", "secretStores", "secrets", "files", "template", "data", "sources",
                "credentials", "address", "token", "roleId", "path", "dir", "key", "name", ":",
                ": ", "\n", "\n  ", "\n    ", "\n      ", "- ", "{", "}", "[", "]", ", ", "'", "\"",
                "|\n", "&a ", "*a", "<<: ", "x-y", "${A}", "${", "$${", "https://v", "/s/a", "0",
                "once", "~", "!!str ", "#", "é", "\t", "..", "v1", "true",
            ]),
            0..60,
        ),
    ) {
        let text = words.concat();
        let _ = run(&text, &[("A", "x")]);
        let _ = validate(&text, &[]);
        let _ = validate(&secret(&text), &[]);
        let _ = validate(&store(&text), &[]);
    }
}
