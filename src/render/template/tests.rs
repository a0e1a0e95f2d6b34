use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const DATA: &str = r#"{
    "user": "admin", "pass": "p<&>\"'x", "upper": "a field", "tls-crt": "CERT", "a.b": "dotted",
    "empty": "", "zero": 0, "no": false, "yes": true, "nothing": null, "none": [], "port": 5432,
    "float": 1.0, "exp": 1e3, "big": 12345678901234567890123,
    "db": {"host": "h", "ports": [1, 2], "deep": {"x-y": "z"}},
    "list": ["a", "b", "c"], "hosts": [{"n": "x", "p": 1}, {"n": "y", "p": 2}],
    "json": "{\"k\":[1e3,{\"z\":\"<\"}],\"user\":\"inner\"}", "b64": "aGVsbG8=", "bin": "/w==",
    "cert": "-----BEGIN\nabc\n-----END\n", "this": "that"
}"#;

fn data() -> Data {
    Data::One(Fields::parse(DATA).unwrap())
}

fn limits() -> Limits {
    Limits {
        max_bytes: 1 << 20,
        deadline: Instant::now() + Duration::from_secs(20),
    }
}

fn render(text: &str) -> Result<String, String> {
    let template = Template::compile(text).map_err(|error| error.to_string())?;
    let bytes = template
        .render(&data(), limits())
        .map_err(|error| error.to_string())?;
    Ok(String::from_utf8(bytes.expose().to_vec()).unwrap())
}

fn check(rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        assert_eq!(render(text).as_deref(), Ok(*expected), "{text}");
    }
}

/// Rows of template and error, at compilation or at rendering.
fn refuse(rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        assert_eq!(render(text), Err((*expected).to_owned()), "{text}");
    }
}

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
fn helpers_as_in_sprig() {
    check(&[
        ("{{ b64enc .pass }}", "cDwmPiIneA=="),
        ("{{ toJson .pass }}", r#""p\u003c\u0026\u003e\"'x""#),
        (
            "{{ toPrettyJson .hosts }}",
            "[\n  {\n    \"n\": \"x\",\n    \"p\": 1\n  },\n  {\n    \"n\": \"y\",\n    \"p\": 2\n  }\n]",
        ),
        (
            "{{ toYaml .db }}",
            "deep:\n  x-y: z\nhost: h\nports:\n- 1\n- 2",
        ),
        (
            "{{ fromJson \"1e3\" }}{{ fromJson \"\\\"x\\\"\" }}{{ fromJson \" null \" }}",
            "1e3x",
        ),
        ("{{ toString .port }}{{ .exp | toString }}", "54321e3"),
        ("{{ upper \"aß\" }}{{ lower \"ÀB\" }}", "Aßàb"),
        ("[{{ trim \" \\n a b\\t\" }}]", "[a b]"),
        (
            "{{ trimPrefix \"ad\" .user }}{{ trimSuffix \"in\" .user }}{{ trimPrefix \"x\" .user }}",
            "minadmadmin",
        ),
        (
            "{{ quote .pass }} {{ squote .user }} {{ quote .user .nothing .port }}",
            "\"p<&>\\\"'x\" 'admin' \"admin\" \"5432\"",
        ),
        (
            "{{ quote \"é\\u0301\\x00\\u00a0\\ufeff\\U000e0001😀\" }}",
            "\"é\u{301}\\x00\\u00a0\\ufeff\\U000e0001😀\"",
        ),
        (
            "{{ default \"d\" .empty }}{{ default \"d\" .zero }}{{ default \"d\" .missing }}{{ .missing | default \"p\" }}{{ default \"d\" .user }}",
            "dddpadmin",
        ),
        ("{{ index . \"missing\" | default \"x\" }}", "x"),
        (
            "{{ indent 2 \"a\\nb\" }}|{{ nindent 1 \"a\\nb\" }}",
            "  a\n  b|\n a\n b",
        ),
        (
            "{{ replace \"a\" \"bb\" \"banana\" }}{{ \"ab\" | replace \"\" \"-\" }}",
            "bbbnbbnbb-a-b-",
        ),
        (
            "{{ join \",\" .list }}{{ join \"-\" .user }}{{ .db.ports | join \"+\" }}",
            "a,b,cadmin1+2",
        ),
        (
            "{{ splitList \",\" \"a,,b\" }}{{ splitList \"\" \"ab\" }}{{ splitList \",\" \"\" }}",
            "[\"a\",\"\",\"b\"][\"a\",\"b\"][\"\"]",
        ),
        (
            "{{ sha256sum \"abc\" }}",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        ("{{ urlquery \"a b&é~-_.\" }}", "a+b%26%C3%A9~-_."),
        ("{{ len .list }}{{ len .db }}{{ len \"é\" }}", "332"),
        (
            "{{ not .user }}{{ ne 1 2 }}{{ lt 9 10 }}{{ le \"a\" \"b\" }}{{ ge 1 1.0 }}",
            "falsetruetruetruetrue",
        ),
        ("{{ eq .user \"x\" \"admin\" }}", "true"),
    ]);
}

#[test]
fn printf_as_in_go() {
    check(&[
        (
            "{{ printf \"%s|%5s|%-5s|%.2s|%5.1s\" \"abc\" \"ab\" \"ab\" \"héé\" \"xyz\" }}",
            "abc|   ab|ab   |hé|    x",
        ),
        (
            "{{ printf \"%d|%5d|%-5d|%05d|%+d|% d|%.4d|%+05d\" 42 42 42 42 42 42 42 -42 }}",
            "42|   42|42   |00042|+42| 42|0042|-0042",
        ),
        (
            "{{ printf \"%d %d\" .big .port }}",
            "12345678901234567890123 5432",
        ),
        (
            "{{ printf \"%v %v %v %v\" .user .port .yes .db.ports }}",
            "admin 5432 true [1,2]",
        ),
        ("{{ printf \"%s\" .port }}", "5432"),
        (
            "{{ printf \"%q|%8q\" \"a\\\"b\" \"x\" }}",
            "\"a\\\"b\"|     \"x\"",
        ),
        ("{{ printf \"%t|%6t\" true false }}", "true| false"),
        (
            "{{ printf \"%f|%.2f|%8.3f|%08.3f|%+.1f|%.0f\" 1.5 2.005 3.14159 -3.14159 2.25 2.5 }}",
            "1.500000|2.00|   3.142|-003.142|+2.2|2",
        ),
        ("{{ printf \"%f\" .port }}", "5432.000000"),
        (
            "{{ printf \"%x|%X|%#x|%x|%04x\" 255 255 255 \"hi\" 10 }}",
            "ff|FF|0xff|6869|000a",
        ),
        ("{{ printf \"100%%\" }}", "100%"),
        ("{{ printf \"%05s\" \"ab\" }}", "000ab"),
    ]);
    refuse(&[
        (
            "{{ printf \"%d\" \"5\" }}",
            "line 1, column 1: `printf`: `%d` does not take a string",
        ),
        (
            "{{ printf \"%d\" 1.5 }}",
            "line 1, column 1: `printf`: `%d` does not take a number",
        ),
        (
            "{{ printf \"%t\" \"true\" }}",
            "line 1, column 1: `printf`: `%t` does not take a string",
        ),
        (
            "{{ printf \"%s\" }}",
            "line 1, column 1: `printf`: `%s` has no value",
        ),
        (
            "{{ printf \"%s\" 1 2 }}",
            "line 1, column 1: `printf`: there are more values than the format has verbs",
        ),
        (
            "{{ printf \"%y\" 1 }}",
            "line 1, column 1: `printf`: `%y` is not supported",
        ),
        (
            "{{ printf \"%\" }}",
            "line 1, column 1: `printf`: the format ends in `%`",
        ),
        (
            "{{ printf \"%*d\" 1 2 }}",
            "line 1, column 1: `printf`: `*` and `[n]` are not supported in a format",
        ),
    ]);
}

#[test]
fn a_missing_field_is_an_error_wherever_it_stands() {
    refuse(&[
        (
            "a\n {{ .missing }}",
            "line 2, column 2: field `missing` is missing",
        ),
        (
            "{{ .db.missing }}",
            "line 1, column 1: field `db.missing` is missing",
        ),
        (
            "{{ .user.x }}",
            "line 1, column 1: field `user.x` is missing",
        ),
        (
            "{{ .nothing.x }}",
            "line 1, column 1: field `nothing.x` is missing",
        ),
        (
            "{{ index . \"a-x\" }}",
            "line 1, column 1: field `a-x` is missing",
        ),
        (
            "{{ index .db \"deep\" \"no\" }}",
            "line 1, column 1: field `deep.no` is missing",
        ),
        (
            "{{ index .list 7 }}",
            "line 1, column 1: field `7` is missing",
        ),
        (
            "{{ upper .missing }}",
            "line 1, column 1: field `missing` is missing",
        ),
        (
            "{{ upper (lower .missing) }}",
            "line 1, column 1: field `missing` is missing",
        ),
        (
            "{{ if eq .missing \"x\" }}{{ end }}",
            "line 1, column 1: field `missing` is missing",
        ),
        (
            "{{ if not .missing }}{{ end }}",
            "line 1, column 1: field `missing` is missing",
        ),
        (
            "{{ default .missing .empty }}",
            "line 1, column 1: field `missing` is missing",
        ),
        (
            "{{ range .missing }}{{ end }}",
            "line 1, column 1: field `missing` is missing",
        ),
        (
            "{{ with .missing }}{{ end }}",
            "line 1, column 1: field `missing` is missing",
        ),
        (
            "{{#each missing}}{{/each}}",
            "line 1, column 1: field `missing` is missing",
        ),
        (
            "{{#unless missing}}{{/unless}}",
            "line 1, column 1: field `missing` is missing",
        ),
        (
            "{{#each hosts}}\n  é{{ nope }}{{/each}}",
            "line 2, column 4: field `nope` is missing",
        ),
        (
            "{{ with .db }}{{ ../nope }}{{ end }}",
            "line 1, column 15: field `../nope` is missing",
        ),
        (
            "{{ with .db }}{{ $.nope }}{{ end }}",
            "line 1, column 15: field `nope` is missing",
        ),
        (
            "{{ .list.x }}",
            "line 1, column 1: `x` is no position in a list",
        ),
        (
            "{{ range .user }}{{ end }}",
            "line 1, column 1: a string cannot be looped over",
        ),
        (
            "{{ range .port }}{{ end }}",
            "line 1, column 1: a number cannot be looped over",
        ),
        (
            "{{ .pass | b64dec }}",
            "line 1, column 1: `b64dec`: the value is not base64",
        ),
        (
            "{{ .bin | b64dec }}",
            "line 1, column 1: `b64dec`: the decoded value is binary, not text",
        ),
        (
            "{{ fromJson .pass }}",
            "line 1, column 1: `fromJson`: the value is not JSON",
        ),
        (
            "{{ fromJson \"1},{\" }}",
            "line 1, column 1: `fromJson`: the value is not JSON",
        ),
        (
            "{{ fromJson \"1,\\\"v\\\":2\" }}",
            "line 1, column 1: `fromJson`: the value is not JSON",
        ),
        (
            "{{ len .port }}",
            "line 1, column 1: `len`: a number has no length",
        ),
        (
            "{{ lt .list 1 }}",
            "line 1, column 1: `lt`: a list and a number have no order",
        ),
        (
            "{{ indent -1 .user }}",
            "line 1, column 1: `indent`: the width is no whole number",
        ),
    ]);
}

#[test]
fn what_is_refused_says_where_and_why() {
    refuse(&[
        ("x{{ .a", "line 1, column 2: the tag is not closed by `}}`"),
        (
            "{{{ a }}",
            "line 1, column 1: the tag is not closed by `}}}`",
        ),
        (
            "a\né{{ $x := .a }}",
            "line 2, column 5: variables are not supported: `$x`",
        ),
        (
            "{{ range $k, $v := .db }}{{ end }}",
            "line 1, column 10: variables are not supported: `$k`",
        ),
        (
            "{{ define \"x\" }}{{ end }}",
            "line 1, column 1: `define` is not supported in templates",
        ),
        (
            "{{ template \"x\" . }}",
            "line 1, column 1: `template` is not supported in templates",
        ),
        (
            "{{ block \"x\" . }}{{ end }}",
            "line 1, column 1: `block` is not supported in templates",
        ),
        (
            "{{ range .list }}{{ break }}{{ end }}",
            "line 1, column 18: `break` is not supported in templates",
        ),
        (
            "{{ continue }}",
            "line 1, column 1: `continue` is not supported in templates",
        ),
        (
            "{{ nosuch .a }}",
            "line 1, column 4: there is no helper `nosuch`",
        ),
        (
            "{{ .a | trunc 5 }}",
            "line 1, column 9: there is no helper `trunc`",
        ),
        (
            "{{> partial}}",
            "line 1, column 1: partials are not supported",
        ),
        (
            "{{#> partial}}{{/partial}}",
            "line 1, column 1: partials are not supported",
        ),
        (
            "{{#*inline \"x\"}}{{/inline}}",
            "line 1, column 1: inline definitions and decorators are not supported",
        ),
        (
            "{{* deco}}",
            "line 1, column 1: decorators are not supported",
        ),
        ("{{log user}}", "line 1, column 3: there is no helper `log`"),
        (
            "{{#user}}{{/user}}",
            "line 1, column 1: there is no block `#user`",
        ),
        (
            "{{^user}}{{/user}}",
            "line 1, column 1: inverse sections are not supported",
        ),
        (
            "{{#each list as |x|}}{{/each}}",
            "line 1, column 14: names for a block's value (`as |x|`) are not supported",
        ),
        (
            "{{upper}}",
            "line 1, column 3: `upper` takes 1 argument, not 0",
        ),
        ("{{ end }}", "line 1, column 1: `end` closes nothing"),
        ("{{/if}}", "line 1, column 1: `{{/if}}` closes nothing"),
        (
            "{{else}}",
            "line 1, column 1: `else` stands outside of a block",
        ),
        (
            "\n{{ if .a }}",
            "line 2, column 1: `{{ if }}` is not closed",
        ),
        (
            "{{#if a}}{{ end }}",
            "line 1, column 10: `{{ end }}` where `{{/if}}` should close `{{#if}}`",
        ),
        (
            "{{ range .a }}{{/each}}",
            "line 1, column 15: `{{/each}}` where `{{ end }}` should close `{{ range }}`",
        ),
        (
            "{{#if a}}{{/each}}",
            "line 1, column 10: `{{/each}}` where `{{/if}}` should close `{{#if}}`",
        ),
        (
            "{{ if .a }}{{ else }}{{ else }}{{ end }}",
            "line 1, column 22: a second `else` in one block",
        ),
        (
            "{{ range .a }}{{ else if .b }}{{ end }}",
            "line 1, column 15: `range` has no `else if`",
        ),
        (
            "{{ if }}{{ end }}",
            "line 1, column 1: `if` needs an expression",
        ),
        (
            "{{@index}}",
            "line 1, column 3: `@index` stands outside of a loop",
        ),
        (
            "{{../a}}",
            "line 1, column 3: `../a` leads out of the template",
        ),
        (
            "{{{{x}}}}{{{{/x}}}}",
            "line 1, column 1: four braces open only a raw block",
        ),
        (
            "{{! a",
            "line 1, column 1: the comment is not closed by `}}`",
        ),
        (
            "{{!-- a }}",
            "line 1, column 1: the comment is not closed by `--}}`",
        ),
        (
            "{{/* a }}",
            "line 1, column 1: the comment is not closed by `*/`",
        ),
        ("{{}}", "line 1, column 1: an expression is missing"),
        (
            "{{ .a-}}",
            "line 1, column 4: a dash that trims needs a space before it",
        ),
        ("{{ a & b }}", "line 1, column 6: unexpected character `&`"),
    ]);
    let error = Template::compile("{{ .a | nosuch }}").unwrap_err();
    assert!(error.help.unwrap().contains("b64dec"));
    let error = Template::compile("{{ env \"HOME\" }}").unwrap_err();
    assert!(
        error
            .help
            .unwrap()
            .starts_with("no helper reads the environment")
    );
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

#[test]
fn the_bounds_of_a_template() {
    let tags = |count: usize| "{{ .user }}".repeat(count);
    assert!(Template::compile(&tags(MAX_TAGS)).is_ok());
    let nested = |count: usize| {
        format!(
            "{}x{}",
            "{{ if .yes }}".repeat(count),
            "{{ end }}".repeat(count)
        )
    };
    assert!(Template::compile(&nested(MAX_BLOCKS)).is_ok());
    let chain = |count: usize| {
        format!(
            "{{{{ if .no }}}}{}{{{{ end }}}}",
            "{{ else if .no }}".repeat(count)
        )
    };
    assert!(Template::compile(&chain(MAX_BLOCKS - 1)).is_ok());
    for (text, expected) in [
        (tags(MAX_TAGS + 1), "more than 2000 tags"),
        (nested(MAX_BLOCKS + 1), "more than 32 blocks"),
        (chain(MAX_BLOCKS), "more than 32 blocks"),
        ("x".repeat(MAX_BYTES + 1), "larger than 256 KiB"),
        (
            "{{{{raw}}}}".to_owned() + &"{{".repeat(MAX_TAGS) + "{{{{/raw}}}}{{a}}",
            "more than 2000 tags",
        ),
        ("{{".repeat(100_000), "larger than 256 KiB"[..0].into()),
    ] {
        let message = Template::compile(&text).unwrap_err().message;
        assert!(message.contains(expected), "{message}");
    }
    assert!(Template::compile(&"x".repeat(MAX_BYTES)).is_ok());
}

/// Workers have 256 KiB of stack: the deepest template must fit, with the deepest data, and not
/// just so.
#[test]
fn the_deepest_template_renders_on_a_workers_stack() {
    const STACK: usize = 240 * 1024;
    let calls = format!("{{{{ $.user{} }}}}", " | upper".repeat(MAX_CALLS));
    let parentheses = format!(
        "{{{{ {}$.user{} }}}}",
        "(".repeat(MAX_CALLS),
        ")".repeat(MAX_CALLS)
    );
    let json = "{{ toYaml $.d }}{{ $.d }}{{ toPrettyJson (fromJson (toJson $.d)) | len }}";
    let inner = format!("{calls}{parentheses}{json}");
    let data = |json: &str| {
        let deep = format!("{}1{}", "[".repeat(63), "]".repeat(63));
        Data::One(Fields::parse(&format!("{{\"d\":{deep},{json}")).unwrap())
    };
    for (open, close) in [
        ("{{ if $.yes }}", "{{ end }}"),
        ("{{ with $ }}", "{{ end }}"),
        ("{{ range $.one }}", "{{ end }}"),
        ("{{#each (splitList \",\" \"x\")}}", "{{/each}}"),
        ("{{#unless @root.no}}", "{{/unless}}"),
    ] {
        let text = format!(
            "{}{inner}{}",
            open.repeat(MAX_BLOCKS),
            close.repeat(MAX_BLOCKS)
        );
        let template = Template::compile(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let data = data(r#""user":"u","yes":true,"no":false,"one":[[0]]}"#);
        let limits = limits();
        let thread = std::thread::Builder::new().stack_size(STACK);
        let bytes = thread
            .spawn(move || template.render(&data, limits).unwrap())
            .unwrap()
            .join()
            .unwrap();
        assert!(bytes.expose().starts_with(b"Uu- - -"));
    }
    let branches = "{{ else if .no }}".repeat(MAX_BLOCKS - 1);
    let chain = format!("{{{{ if .no }}}}{branches}{{{{ else }}}}x{{{{ end }}}}");
    let template = Template::compile(&chain).unwrap();
    let (data, limits) = (data(r#""no":false}"#), limits());
    let thread = std::thread::Builder::new().stack_size(STACK);
    let bytes = thread.spawn(move || template.render(&data, limits).unwrap());
    assert_eq!(bytes.unwrap().join().unwrap().expose(), b"x");
}

#[test]
fn output_and_time_are_bounded() {
    let run = |text: &str, limits| {
        Template::compile(text)
            .unwrap()
            .render(&data(), limits)
            .map(|bytes| bytes.len())
            .map_err(|error| error.message)
    };
    let small = Limits {
        max_bytes: 10,
        ..limits()
    };
    assert_eq!(run("0123456789", small), Ok(10));
    assert_eq!(
        run("0123456789{{ .user }}", small).unwrap_err(),
        "line 1, column 11: the content is larger than 10 bytes"
    );
    assert_eq!(
        run("{{ len (indent 100 .user) }}", small),
        Ok(3),
        "what is on the way may be larger"
    );
    for text in [
        "{{ printf \"%1000000000d\" 1 }}",
        "{{ printf \"%.1000000000f\" 1 }}",
        "{{ printf \"%-99999999999999999999d\" 1 }}",
        "{{ indent 1000000000 .cert }}",
        "{{ nindent 99999999999 .cert }}",
        "{{ .cert | indent 10000000 | indent 10000000 }}",
        "{{ replace \"\" (indent 8000000 .user) .cert }}",
        "{{ join (indent 8000000 .user) .list }}",
        "{{ splitList \"\" (indent 8000000 .user) }}",
    ] {
        let message = run(text, small).unwrap_err();
        assert!(
            message.contains("larger than") || message.contains("too large"),
            "{text}: {message}"
        );
    }
    let late = Limits {
        deadline: Instant::now(),
        ..limits()
    };
    assert_eq!(
        run("x", late).unwrap_err(),
        "line 1, column 1: rendering takes too long"
    );
    // A loop that writes nothing.
    let items = format!("{{\"a\":[{}1]}}", "1,".repeat(3_000));
    let data = Data::One(Fields::parse(&items).unwrap());
    let template = Template::compile(
        "{{ range .a }}{{ range $.a }}{{ range $.a }}{{ end }}{{ end }}{{ end }}",
    )
    .unwrap();
    let soon = Limits {
        deadline: Instant::now() + Duration::from_millis(50),
        ..limits()
    };
    let begun = Instant::now();
    assert!(template.render(&data, soon).is_err());
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn no_value_is_in_an_error() {
    let secret = "hunter2";
    let data =
        Data::One(Fields::parse(r#"{"s":"hunter2","l":["hunter2"],"o":{"x":"hunter2"}}"#).unwrap());
    for text in [
        "{{ b64dec .s }}",
        "{{ fromJson .s }}",
        "{{ printf \"%d\" .s }}",
        "{{ .s.x }}",
        "{{ index .l .s }}",
        "{{ range .s }}{{ end }}",
        "{{ lt .s .l }}",
        "{{ indent .s .s }}",
        "{{ .o.y }}",
        "{{ index .o .s }}",
        "{{ printf .s .s }}",
        "{{ index .o \"x\" \"y\" }}",
    ] {
        let error = Template::compile(text)
            .unwrap()
            .render(&data, limits())
            .unwrap_err();
        assert!(!format!("{error:?}").contains(secret), "{text}: {error}");
    }
}

/// Texts that look like templates.
fn heap_of_words() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "{{",
        "}}",
        "{{{",
        "}}}",
        "{{-",
        " -}}",
        "{{~",
        "~}}",
        "#if ",
        "/if",
        "if ",
        "else",
        "else if ",
        "end",
        "range ",
        "#each ",
        "/each",
        "with ",
        ".",
        ".user",
        "user",
        "$",
        "../",
        "@index",
        "@root",
        "this",
        "[",
        "]",
        "(",
        ")",
        "|",
        "\"",
        "'",
        "`",
        "\\",
        "upper ",
        "printf ",
        "index ",
        "\"%s\"",
        "!",
        "!--",
        "--",
        "/*",
        "*/",
        ">",
        "*",
        "&",
        "{{{{raw}}}}",
        "{{{{/raw}}}}",
        " ",
        "\n",
        "é",
        "0",
        "-1",
        "=",
        ":=",
        "{",
        "}",
        "Z",
        "Z\n",
        "{{#if user}}",
        "{{/if}}",
        "{{else}}",
        "{{ if .user }}",
        "{{ end }}",
        "{{ range .list }}",
        "{{user}}",
        "{{~user~}}",
        "{{- .user -}}",
        "{{ .user | upper }}",
        "{{! c }}",
        "{{/* c */}}",
        "{{#each list}}",
        "{{/each}}",
        "\n{{#if no}}\n",
        "\n{{else}}\n",
        "\n{{/if}}\n",
    ];
    proptest::collection::vec(proptest::sample::select(WORDS), 0..24)
        .prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = render(&text);
    }

    #[test]
    fn text_without_tags_stays_as_it_is(text in any::<String>()) {
        prop_assume!(!text.contains("{{"));
        prop_assert_eq!(render(&text), Ok(text));
    }

    #[test]
    fn no_heap_of_words_panics(text in heap_of_words()) {
        if let Err(message) = render(&text) {
            // The engine must accept whatever we translate.
            prop_assert!(!message.contains("cannot be compiled"), "{}: {}", text, message);
            prop_assert!(!message.contains("cannot be rendered"), "{}: {}", text, message);
        }
    }

    #[test]
    fn long_texts_are_treated_like_short_ones(text in heap_of_words()) {
        if let Ok(rendered) = render(&text) {
            let long = "Z is a text \n of several \u{f8ff}0\u{f8ff} words Z";
            prop_assert_eq!(render(&text.replace('Z', long)), Ok(rendered.replace('Z', long)), "{}", text);
        }
    }

    #[test]
    fn braces_backslashes_and_tags_keep_the_text(
        before in "[\\\\{} a\n]{0,6}", after in "[\\\\{} a\n]{0,6}"
    ) {
        // As Go reads it: the text stands, the value is between.
        prop_assume!(!before.ends_with('{') && !before.contains("{{") && !after.contains("{{"));
        let text = format!("{before}{{{{ .user }}}}{after}");
        prop_assert_eq!(render(&text), Ok(format!("{before}admin{after}")));
    }

    #[test]
    fn strings_come_through_literals(text in any::<String>()) {
        let template = format!("{{{{ printf \"%s\" {} }}}}", serde_json::Value::from(text.as_str()));
        prop_assert_eq!(render(&template), Ok(text));
    }

    #[test]
    fn no_data_panics(value in any::<String>(), key in any::<String>(), number in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?") {
        let json = serde_json::json!({ "s": value, (key.clone()): { (key.clone()): [value] } }).to_string();
        let json = format!("{{\"n\":{number},{}", &json[1..]);
        let data = Data::One(Fields::parse(&json).unwrap());
        for text in [
            "{{ . }}{{ toYaml . }}{{ toPrettyJson . }}", "{{ range . }}{{ . }}{{ end }}", "{{ .s | quote }}",
            "{{ b64dec .s }}", "{{ fromJson .s }}", "{{ printf .s .n }}", "{{ printf \"%d\" .n }}", "{{ printf \"%f\" .n }}",
            "{{ printf \"%x\" .n }}", "{{ printf \"%5.3s|%x|%q\" .s .s .s }}", "{{ eq .n .s }}{{ lt .n 5 }}", "{{ indent .n .s }}", "{{ replace .s .s .s }}",
            "{{ splitList .s .s }}{{ join .s (splitList .s .s) }}", "{{ upper .s }}{{ lower .s }}{{ trim .s }}{{ urlquery .s }}{{ sha256sum .s }}",
            "{{ index . .s }}", "{{ if .n }}{{ end }}{{ default .n .s }}",
        ] {
            let _ = Template::compile(text).unwrap().render(&data, limits());
        }
    }
}
