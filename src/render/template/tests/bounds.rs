//! Size, depth, time and memory.

use super::*;

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
            "{{{{raw}}}}".to_owned() + &"{{".repeat(MAX_TAGS) + "{{{{/raw}}}}",
            "more than 2000 tags",
        ),
        ("{{".repeat(100_000), "four braces"),
    ] {
        let message = Template::compile(&text).unwrap_err().message;
        assert!(message.contains(expected), "{message}");
    }
    assert!(Template::compile(&"x".repeat(MAX_BYTES)).is_ok());
    // Minutes, were they given to the engine.
    let backslashes = format!("{{{{ .user }}}}{}", "\\".repeat(MAX_BYTES - 11));
    assert!(Template::compile(&backslashes).is_ok());
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
