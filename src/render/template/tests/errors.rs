//! What is refused, where and in which words.

use super::*;

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
