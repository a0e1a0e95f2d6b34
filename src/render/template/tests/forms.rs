//! The forms of Go and of Handlebars, and what they give.

use super::*;

#[test]
fn values_render_as_the_server_sent_them() {
    check(&[
        ("", ""),
        (
            "plain } text { with }} braces\n",
            "plain } text { with }} braces\n",
        ),
        ("{{ .user }}:{{ .pass }}", "admin:p<&>\"'x"),
        ("{{user}}{{{pass}}}{{&pass}}", "adminp<&>\"'xp<&>\"'x"),
        (
            "{{ .float }} {{ .exp }} {{ .big }} {{ .zero }}",
            "1.0 1e3 12345678901234567890123 0",
        ),
        ("{{ .yes }} {{ .no }} [{{ .nothing }}]", "true false []"),
        (
            "{{ .db }}",
            r#"{"deep":{"x-y":"z"},"host":"h","ports":[1,2]}"#,
        ),
        ("{{ .list }}", r#"["a","b","c"]"#),
        ("{{ . | len }}", "23"),
        (
            "{{ fromJson .json }}",
            r#"{"k":[1e3,{"z":"\u003c"}],"user":"inner"}"#,
        ),
    ]);
}

/// A field of each kind, and one that is missing.
const KINDS: [&str; 12] = [
    "user", "pass", "tls-crt", "empty", "zero", "no", "nothing", "float", "big", "db", "list",
    "absent",
];

#[test]
fn a_field_alone_is_what_it_is_beside_others() {
    for form in [
        "{{ .NAME }}",
        "{{NAME}}",
        "{{- .NAME -}}",
        "{{ this.NAME }}",
    ] {
        for name in KINDS {
            let alone = form.replace("NAME", name);
            let beside = format!("|{alone}");
            match (render(&alone), render(&beside)) {
                (Ok(alone), Ok(beside)) => assert_eq!(format!("|{alone}"), beside, "{beside}"),
                (alone, beside) => {
                    let (alone, beside) = (alone.unwrap_err(), beside.unwrap_err());
                    assert_eq!(alone.split(": ").last(), beside.split(": ").last());
                }
            }
        }
    }
    let few = Limits {
        max_bytes: 3,
        ..limits()
    };
    let long = Template::compile("{{ .pass }}");
    let error = long.unwrap().render(&data(), few).unwrap_err();
    assert!(error.message.contains("3 bytes"), "{}", error.message);
}

#[test]
fn the_forms_of_go() {
    check(&[
        ("{{ .db.host }}", "h"),
        ("{{ .tls-crt }}", "CERT"),
        ("{{ .upper }}", "a field"),
        ("{{ .this }}{{ $.this }}", "thatthat"),
        ("{{ .db.deep.x-y }}", "z"),
        ("{{ index . \"a.b\" }}", "dotted"),
        ("{{ index . \"tls-crt\" }}", "CERT"),
        ("{{ index .hosts 1 \"n\" }}", "y"),
        ("{{ (index .hosts 0).n }}", "x"),
        ("{{ (fromJson .json).user }}", "inner"),
        ("{{ .b64 | b64dec }}", "hello"),
        ("{{ .b64|b64dec|upper }}", "HELLO"),
        (
            "{{ printf \"%s:%s\" .user .db.host | b64enc }}",
            "YWRtaW46aA==",
        ),
        (
            "{{ .cert | indent 2 }}",
            "  -----BEGIN\n  abc\n  -----END\n  ",
        ),
        ("{{ `raw \"x\"` }}{{ \"q\\\"\\n\" }}", "raw \"x\"q\"\n"),
        ("{{ \"{{\" }} .x }}", "{{ .x }}"),
        ("a  {{- .user -}}  \n b", "aadminb"),
        ("a {{- /* comment }} */ -}} b", "ab"),
        ("a{{/* c */}}\nb", "a\nb"),
        ("{ {{- .user -}} }", "{admin}"),
        ("{{ true }}{{ 5 }}{{ -1.50 }}{{ nil }}", "true5-1.5"),
        ("C:\\{{ .user }}\\\\{{ .user }}", "C:\\admin\\\\admin"),
        ("{{ if .yes }}a\\{{ else }}b{{ end }}", "a\\"),
        ("{{/* c */}}{{- .user }}", "admin"),
    ]);
}

#[test]
fn blocks_of_go() {
    check(&[
        ("{{ if .user }}y{{ else }}n{{ end }}", "y"),
        ("{{ if .missing }}y{{ else }}n{{ end }}", "n"),
        ("{{ if .db.missing.x }}y{{ end }}", ""),
        ("{{ if index . \"missing\" }}y{{ else }}n{{ end }}", "n"),
        (
            "{{ if .empty }}1{{ else if .zero }}2{{ else if .no }}3{{ else if .nothing }}4{{ else if .none }}5{{ else }}6{{ end }}",
            "6",
        ),
        (
            "{{ if eq .port 5432 }}=={{ end }}{{ if eq .port \"5432\" }}s{{ end }}",
            "==s",
        ),
        (
            "{{ if and .user (not .empty) }}y{{ end }}{{ if or .empty .no }}n{{ end }}",
            "y",
        ),
        ("{{ if gt (len .list) 2 }}many{{ end }}", "many"),
        ("{{ or .empty \"d\" }}{{ and .user .empty }}", "d"),
        ("{{ range .list }}{{ . }},{{ end }}", "a,b,c,"),
        ("{{ range .none }}x{{ else }}nothing{{ end }}", "nothing"),
        ("{{ range .nothing }}x{{ else }}nothing{{ end }}", "nothing"),
        (
            "{{ range .hosts }}{{ .n }}={{ $.user }}{{ @index }};{{ end }}",
            "x=admin0;y=admin1;",
        ),
        (
            "{{ range .db.ports }}{{ . }}{{ @last }} {{ end }}",
            "1false 2true ",
        ),
        ("{{ range .db }}{{ @key }};{{ end }}", "deep;host;ports;"),
        (
            "{{ range fromJson \"[[1,2],[3]]\" }}{{ range . }}{{ . }}{{ end }};{{ end }}",
            "12;3;",
        ),
        (
            "{{ range splitList \",\" \"x,y\" }}<{{ . }}>{{ end }}",
            "<x><y>",
        ),
        (
            "{{ with .db }}{{ .host }}{{ .deep.x-y }}{{ ../user }}{{ end }}",
            "hzadmin",
        ),
        ("{{ with .empty }}x{{ else }}e{{ end }}", "e"),
        (
            "{{ with .empty }}x{{ else with .db }}{{ .host }}{{ else }}y{{ end }}",
            "h",
        ),
        (
            "{{ with fromJson .json }}{{ .user }} {{ index .k 0 }}{{ end }}",
            "inner 1e3",
        ),
        // Go leaves the lines of its blocks where they are.
        ("{{ if .yes }}\na\n{{ end }}\nb\n", "\na\n\nb\n"),
        ("{{- if .yes }}\na\n{{- end }}\nb\n", "\na\nb\n"),
        ("{{ range .list -}}\n  {{ . }}\n{{ end }}", "a\nb\nc\n"),
        ("{{ with .db }}\n{{ $ | len }}\n{{ end }}", "\n23\n"),
    ]);
}

#[test]
fn the_forms_of_handlebars() {
    check(&[
        (
            "{{user}} {{ this.user }} {{./user}} {{db.host}} {{db/deep/x-y}} {{tls-crt}}",
            "admin admin admin h z CERT",
        ),
        (
            "{{[a.b]}} {{this.[a.b]}} {{lookup this \"a.b\"}}",
            "dotted dotted dotted",
        ),
        (
            "{{#if user}}y{{else}}n{{/if}}{{#unless empty}}u{{/unless}}",
            "yu",
        ),
        ("{{#if missing}}y{{else if db.x}}z{{else}}n{{/if}}", "n"),
        ("{{#if missing}}y{{^}}n{{/if}}", "n"),
        (
            "{{#each hosts}}{{n}}{{@index}}{{@first}}{{../user}};{{/each}}",
            "x0trueadmin;y1falseadmin;",
        ),
        (
            "{{#each db}}{{@key}}={{this}};{{/each}}",
            "deep={\"x-y\":\"z\"};host=h;ports=[1,2];",
        ),
        (
            "{{#each hosts}}{{#if n}}{{../user}}{{@root.port}}{{/if}}{{/each}}",
            "admin5432admin5432",
        ),
        (
            "{{#each hosts}}{{#each ../list}}{{@../index}}{{this}}{{/each}}{{/each}}",
            "0a0b0c1a1b1c",
        ),
        ("{{#each none}}x{{else}}none{{/each}}", "none"),
        ("{{#with db}}{{host}}{{/with}}", "h"),
        ("{{upper (default \"x\" user)}}", "ADMIN"),
        (
            "{{default 'x' missing}} {{default \"y\" db.no.such}}",
            "x y",
        ),
        ("a {{~user~}} b", "aadminb"),
        ("{{#if yes}}\n  a\n{{else}}\n  b\n{{/if}}\nc\n", "  a\nc\n"),
        ("x\n{{! a comment }}\ny", "x\ny"),
        ("x {{!-- }} --}} y", "x  y"),
        (
            "\\{{user}} \\\\{{user}} \\\\\\{{user}}",
            "{{user}} \\admin \\\\admin",
        ),
        (
            "{{{{raw}}}} {{ .x }} \\{{y}} { {{{{/raw}}}}{{user}}",
            " {{ .x }} \\{{y}} { admin",
        ),
        ("{{{{raw}}}}{{{{{{{{/raw}}}}{{user}}", "{{{{admin"),
        ("{{#if (eq port 5432)}}pg{{/if}}", "pg"),
        (
            "{{#each list}}{{this}}{{#unless @last}}, {{/unless}}{{/each}}",
            "a, b, c",
        ),
    ]);
}

#[test]
fn both_forms_in_one_template() {
    check(&[
        (
            "{{#each hosts}}{{ .n | upper }}{{/each}}{{ range .list }}{{this}}{{ end }}",
            "XYabc",
        ),
        ("{{#if yes}}\n{{ .user }}\n{{/if}}\n", "admin\n"),
        ("{{ if .yes }}{{#unless no}}x{{/unless}}{{ end }}", "x"),
    ]);
}

#[test]
fn sources_are_seen_by_name() {
    let fields = |json| Fields::parse(json).unwrap();
    let data = Data::Many(vec![
        ("db".into(), fields(r#"{"x":"1"}"#)),
        ("api".into(), fields(r#"{"x":"2"}"#)),
    ]);
    let template = Template::compile("{{ .db.x }}{{ api.x }}").unwrap();
    assert_eq!(template.render(&data, limits()).unwrap().expose(), b"12");
}

#[test]
fn templates_are_equal_when_their_texts_are() {
    let (a, b) = ("{{ .a }}", "{{.a}}");
    assert_eq!(Template::compile(a).unwrap(), Template::compile(a).unwrap());
    assert_ne!(Template::compile(a).unwrap(), Template::compile(b).unwrap());
}
