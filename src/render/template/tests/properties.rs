//! What holds for every text and every value.

use proptest::prelude::*;

use super::*;

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
