//! Templates through the binary: the forms that people have, and what is an error.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use serde_json::json;
use support::{Daemon, OpenBao, Setup};

/// A secret with these fields. In KV version 1, which keeps the spelling of numbers: version 2 makes
/// them 64-bit floating-point numbers when they are written, and nobody can bring digits back.
fn secret(fields: &str, files: &str) -> Setup {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(1);
    bao.kv1_put(&mount, "app", &serde_json::from_str(fields).unwrap());
    Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root }}
secrets:
- name: app
  key: app
  mountPath: {mount}
  kvVersion: v1
{files}\n",
        bao.address()
    ))
    .any_stderr()
}

#[test]
fn templates_in_the_forms_that_people_have() {
    let cases = [
        ("{{ .s }}", "Hello"),
        ("{{s}}", "Hello"),
        ("{{ .o.k }}/{{ o.k }}", "v/v"),
        ("{{ .a-b }}", "dash"),
        ("{{ index . \"a.b\" }}", "dotted"),
        ("x  {{- .s -}}  y", "xHelloy"),
        ("{{ .cert | b64dec }}", "cert"),
        ("{{ .s | lower | b64enc }}", "aGVsbG8="),
        ("{{ .html }}{{html}}", "<&\"'><&\"'>"),
        ("{{ .upper }}-{{ .s | upper }}", "a field-HELLO"),
        ("{{ if .s }}a{{ else }}b{{ end }}", "a"),
        (
            "{{ if .absent }}a{{ else if .o }}b{{ else }}c{{ end }}",
            "b",
        ),
        (
            "{{ range .l }}<{{ . }}{{ $.s }}>{{ end }}",
            "<aHello><bHello>",
        ),
        ("{{ with .o }}{{ .k }}{{ end }}", "v"),
        (
            "{{ if and (eq .s \"Hello\") (ne .n 41) (not .no) }}yes{{ end }}",
            "yes",
        ),
        (
            "{{ if or (lt .n 42) (ge .n 42) }}{{ len .l }}{{ end }}",
            "2",
        ),
        ("{{ printf \"%s=%d\" .s .n }}", "Hello=42"),
        ("{{ .absent | default \"5432\" }}", "5432"),
        (
            "{{ .big }} {{ .f }} {{ .no }} [{{ .nothing }}]",
            "12345678901234567890 1.0 false []",
        ),
        ("{{ .o }}{{ .l | toJson }}", "{\"k\":\"v\"}[\"a\",\"b\"]"),
        ("{{ (fromJson .j).k }}", "v"),
        ("{{ .o | toYaml }}", "k: v"),
        ("{{ .o | toPrettyJson }}", "{\n  \"k\": \"v\"\n}"),
        (
            "{{ .n | toString | quote }}{{ squote .s }}",
            "\"42\"'Hello'",
        ),
        (
            "{{ trim \"  a \" }}{{ trimPrefix \"He\" .s }}{{ trimSuffix \"lo\" .s }}",
            "alloHel",
        ),
        ("{{ indent 2 .s }}{{ nindent 2 .s }}", "  Hello\n  Hello"),
        (
            "{{ replace \"l\" \"L\" .s }}{{ join \",\" .l }}",
            "HeLLoa,b",
        ),
        ("{{ splitList \",\" \"a,b\" | join \";\" }}", "a;b"),
        ("{{ urlquery \"a b&c\" }}", "a+b%26c"),
        (
            "{{ sha256sum .s }}",
            "185f8db32271fe25f561a6fc938b2e264306ec304eda518007d1764826381969",
        ),
    ];
    let mut templates = "  template:\n    data:\n".to_owned();
    let mut files = "  files:\n".to_owned();
    for (at, (template, _)) in cases.iter().enumerate() {
        templates += &format!("      t{at}: {}\n", json!(template));
        files += &format!("  - {{ path: '@DIR@/{at}', template: t{at} }}\n");
    }
    let done = secret(
        r#"{"s": "Hello", "n": 42, "f": 1.0, "l": ["a", "b"], "o": {"k": "v"}, "j": "{\"k\":\"v\"}",
            "a.b": "dotted", "a-b": "dash", "html": "<&\"'>", "upper": "a field", "cert": "Y2VydA==",
            "big": 12345678901234567890, "no": false, "nothing": null}"#,
        &(templates + &files),
    )
    .once();
    for (at, (template, expected)) in cases.iter().enumerate() {
        assert_eq!(done.read(&at.to_string()), *expected, "{template}");
    }
}

#[test]
fn a_missing_field_keeps_every_file_of_the_secret_and_is_named() {
    for template in [
        "{{ .missing }}",
        "{{ .missing | b64dec }}",
        "{{ .o.missing }}",
        "{{ index . \"missing\" }}",
    ] {
        let files = format!(
            "  template: {{ data: {{ good: 'now {{{{ .x }}}}', bad: '{}' }} }}
  files: [{{ path: '@DIR@/good', template: good }}, {{ path: '@DIR@/bad', template: bad }}]",
            template
        );
        let done = secret(r#"{"x": "canary", "o": {"k": "canary"}}"#, &files)
            .file("good", "last good")
            .file("bad", "last good")
            .status(1)
            .run(&["run", "--once"]);
        assert_eq!(
            (done.read("good"), done.read("bad")),
            ("last good".into(), "last good".into())
        );
        assert!(
            done.stderr.contains("missing") && done.stderr.contains("/bad`"),
            "{}",
            done.stderr
        );
        assert!(!done.stderr.contains("canary"), "{}", done.stderr);
    }
}

#[test]
fn what_is_refused_in_a_template_is_found_before_anything_runs() {
    for (template, word) in [
        ("{{ $x := .a }}", "variable"),
        ("{{ define \"a\" }}{{ end }}", "define"),
        ("{{ template \"a\" }}", "template"),
        ("{{ block \"a\" . }}{{ end }}", "block"),
        ("{{> partial }}", "partial"),
        ("{{log .a}}", "log"),
        ("{{ env \"HOME\" }}", "env"),
        ("{{ if .a }}", "end"),
    ] {
        let done = Daemon::new(&format!(
            "secretStore: {{ address: 'https://v', token: t }}
secrets:
- name: a
  key: a
  template: {{ data: {{ t: {} }} }}
  files: [{{ path: /s/a, template: t }}]\n",
            json!(template)
        ))
        .status(2)
        .any_stderr()
        .validate();
        assert!(
            done.stderr.contains("secrets[0].template.data.t"),
            "{template}: {}",
            done.stderr
        );
        assert!(done.stderr.contains(word), "{template}: {}", done.stderr);
    }
}
