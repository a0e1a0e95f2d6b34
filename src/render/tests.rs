use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::secret::Fields;

fn limits() -> Limits {
    Limits {
        max_bytes: 1 << 20,
        deadline: Instant::now() + Duration::from_secs(20),
    }
}

fn one(json: &str) -> Data {
    Data::One(Fields::parse(json).unwrap())
}

fn fields(members: &[(String, String)]) -> Data {
    let members = members.iter().cloned();
    Data::One(Fields::from_map(
        members
            .map(|(name, value)| (name, Value::from(value)))
            .collect(),
    ))
}

fn bytes(content: &Content, data: &Data) -> Result<Vec<u8>, String> {
    let rendered = render(content, data, limits()).map_err(|error| error.message)?;
    assert_eq!(rendered.pieces.len(), 1);
    assert_eq!(rendered.pieces[0].name, None);
    Ok(rendered.pieces[0].bytes.expose().to_vec())
}

fn text(format: Format, data: &Data) -> Result<String, String> {
    bytes(&Content::Format(format), data).map(|bytes| String::from_utf8(bytes).unwrap())
}

/// Feeds a program's standard input; `None` where the program is not installed.
fn run(program: &str, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let mut child = crate::children::spawn(&mut command).ok()?;
    child.stdin.take()?.write_all(input).ok()?;
    let output = child.wait_with_output().ok()?;
    assert!(output.status.success(), "{program} failed");
    Some(output.stdout)
}

#[test]
fn a_field_is_written_as_it_is() {
    let data = one(
        r#"{"s":"a\nb","b":"aGk=","bin":"/w==","n":1e3,"t":true,"z":null,"o":{"x":"<","a":[1.0]},"a.b":"dot"}"#,
    );
    for (path, encoding, expected) in [
        ("s", Encoding::None, Ok(b"a\nb".to_vec())),
        ("b", Encoding::Base64, Ok(b"hi".to_vec())),
        ("bin", Encoding::Base64, Ok(vec![0xff])),
        ("bin", Encoding::Auto, Ok(vec![0xff])),
        ("n", Encoding::None, Ok(b"1e3".to_vec())),
        ("t", Encoding::None, Ok(b"true".to_vec())),
        ("z", Encoding::None, Ok(Vec::new())),
        (
            "o",
            Encoding::None,
            Ok(br#"{"a":[1.0],"x":"\u003c"}"#.to_vec()),
        ),
        ("o.a.0", Encoding::None, Ok(b"1.0".to_vec())),
        ("a.b", Encoding::None, Ok(b"dot".to_vec())),
        (
            "s",
            Encoding::Base64,
            Err("field `s` is not base64".to_owned()),
        ),
        (
            "nope",
            Encoding::None,
            Err("field `nope` is missing".to_owned()),
        ),
    ] {
        let content = Content::Field(FieldPath::parse(path).unwrap(), encoding);
        assert_eq!(bytes(&content, &data), expected, "{path}");
    }
}

#[test]
fn every_field_becomes_a_file() {
    let pieces = |data: &Data, encoding| {
        render(&Content::EveryField(encoding), data, limits()).map(|rendered| {
            let pieces = rendered.pieces.into_iter();
            pieces
                .map(|piece| (piece.name.unwrap(), piece.bytes.expose().to_vec()))
                .collect::<Vec<_>>()
        })
    };
    let data = one(r#"{"b":"aGk=","a.x":"dGVzdA=="}"#);
    assert_eq!(
        pieces(&data, Encoding::Base64).unwrap(),
        [
            ("a.x".into(), b"test".to_vec()),
            ("b".into(), b"hi".to_vec())
        ]
    );
    let many = Data::Many(vec![
        ("x".into(), Fields::parse(r#"{"a":"1","b":"1"}"#).unwrap()),
        ("y".into(), Fields::parse(r#"{"b":"2","c":"2"}"#).unwrap()),
    ]);
    assert_eq!(
        pieces(&many, Encoding::None).unwrap(),
        [
            ("a".into(), b"1".to_vec()),
            ("b".into(), b"2".to_vec()),
            ("c".into(), b"2".to_vec())
        ]
    );
    assert_eq!(pieces(&one("{}"), Encoding::None).unwrap(), []);
    let error = pieces(&one(r#"{"a":"1","x/y":"hunter2"}"#), Encoding::None).unwrap_err();
    assert_eq!(
        error.message,
        "field `x/y` cannot be a file: its name has a `/`"
    );
    let error = pieces(&one(r#"{"a":"hunter2!"}"#), Encoding::Base64).unwrap_err();
    assert_eq!(error.message, "field `a` is not base64");
}

#[test]
fn env_quotes_as_sh_and_systemd_read() {
    let data = one(
        r#"{"PLAIN":"a b","QUOTE":"it's","DOUBLE":"say \"hi\"","SLASH":"a\\b","DOLLAR":"$HOME","BOTH":"'$x`\"\\",
            "LINES":"a\nb\n","N":1.0,"T":true,"Z":null,"O":{"b":1,"a":"it's"},"E":"","_x1":" # c"}"#,
    );
    assert_eq!(
        text(Format::Env, &data).unwrap(),
        "BOTH=\"'\\$x\\`\\\"\\\\\"\nDOLLAR='$HOME'\nDOUBLE='say \"hi\"'\nE=''\nLINES='a\nb\n'\nN='1.0'\n\
         O=\"{\\\"a\\\":\\\"it's\\\",\\\"b\\\":1}\"\nPLAIN='a b'\nQUOTE=\"it's\"\nSLASH=\"a\\\\b\"\nT='true'\nZ=''\n_x1=' # c'\n"
    );
}

#[test]
fn env_warns_of_what_compose_reads_otherwise() {
    let warnings = |json| {
        render(&Content::Format(Format::Env), &one(json), limits())
            .unwrap()
            .warnings
    };
    let found = warnings(
        r#"{"A":"'`hunter2","B":"\\`","C":"'${x}","D":"`x`","E":"'$x","F":"it's","G":"${x}"}"#,
    );
    assert_eq!(found.len(), 1);
    assert!(
        found[0].contains("`A`, `B`, `C`, `G` otherwise"),
        "{found:?}"
    );
    assert!(!found[0].contains("hunter2"));
    assert!(warnings(r#"{"D":"`x`","E":"'$x"}"#).is_empty());
}

#[test]
fn what_is_no_variable_is_named() {
    for (format, json, expected) in [
        (
            Format::Env,
            r#"{"a-b":"hunter2"}"#,
            "field `a-b` is no name for a variable",
        ),
        (
            Format::Env,
            r#"{"1a":"hunter2"}"#,
            "field `1a` is no name for a variable",
        ),
        (
            Format::Env,
            r#"{"":"hunter2"}"#,
            "field `` is no name for a variable",
        ),
        (
            Format::EnvFile,
            r#"{"é":"hunter2"}"#,
            "field `é` is no name for a variable",
        ),
        (
            Format::EnvFile,
            r#"{"a\nb":"hunter2"}"#,
            "field `a\\nb` is no name for a variable",
        ),
        (
            Format::Env,
            r#"{"a":"hunter2\u0000"}"#,
            "field `a` has a NUL byte, which no variable can hold",
        ),
        (
            Format::EnvFile,
            r#"{"a":"hunter2\u0000"}"#,
            "field `a` has a NUL byte, which no variable can hold",
        ),
        (
            Format::EnvFile,
            r#"{"a":"hunter2\n"}"#,
            "field `a` has a line break, which `format: envfile` cannot write",
        ),
    ] {
        assert_eq!(text(format, &one(json)), Err(expected.to_owned()));
    }
    assert_eq!(
        text(Format::EnvFile, &one(r#"{"b":" 'x' \"y\" #z\\","a":1e3}"#)).unwrap(),
        "a=1e3\nb= 'x' \"y\" #z\\\n"
    );
}

#[test]
fn json_and_yaml_hold_the_whole_secret() {
    let data = one(r#"{"b":1e3,"a":"<é>","c":{"z":[1.0],"y":null}}"#);
    assert_eq!(
        text(Format::Json, &data).unwrap(),
        "{\"a\":\"\\u003cé\\u003e\",\"b\":1e3,\"c\":{\"y\":null,\"z\":[1.0]}}"
    );
    assert_eq!(
        text(Format::Yaml, &data).unwrap(),
        "a: \"<é>\"\nb: 1e3\nc:\n  \"y\": null\n  z:\n  - 1.0\n"
    );
    let none = one("{}");
    assert_eq!(text(Format::Json, &none).unwrap(), "{}");
    assert_eq!(text(Format::Yaml, &none).unwrap(), "{}\n");
    assert_eq!(text(Format::Env, &none).unwrap(), "");
    let many = Data::Many(vec![
        ("x".into(), Fields::parse(r#"{"a":"1","b":"1"}"#).unwrap()),
        ("y".into(), Fields::parse(r#"{"b":"2"}"#).unwrap()),
    ]);
    assert_eq!(text(Format::Json, &many).unwrap(), r#"{"a":"1","b":"2"}"#);
    assert_eq!(text(Format::Env, &many).unwrap(), "a='1'\nb='2'\n");
}

#[test]
fn nothing_larger_than_the_limit_comes_out() {
    let data = one(r#"{"a":"0123456789"}"#);
    let small = Limits {
        max_bytes: 9,
        ..limits()
    };
    for content in [
        Content::Template(Template::compile("{{ .a }}").unwrap()),
        Content::Field(FieldPath::parse("a").unwrap(), Encoding::None),
        Content::EveryField(Encoding::None),
        Content::Format(Format::Env),
        Content::Format(Format::EnvFile),
        Content::Format(Format::Json),
        Content::Format(Format::Yaml),
    ] {
        let error = render(&content, &data, small).unwrap_err();
        assert!(
            error
                .message
                .ends_with("the content is larger than 9 bytes"),
            "{error}"
        );
        assert!(error.help.unwrap().contains("limits.maxFileBytes"));
    }
}

fn value() -> impl Strategy<Value = String> {
    let hard = "[a '\"\\\\$`{}\n\r\t#!*~=%&|;<>()\\[\\]é-]{0,16}";
    prop_oneof![any::<String>(), Just(String::new()), hard].prop_map(|text| text.replace('\0', ""))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn sh_reads_the_very_values(values in proptest::collection::vec(value(), 1..12)) {
        let members: Vec<(String, String)> =
            values.iter().enumerate().map(|(i, value)| (format!("K{i}"), value.clone())).collect();
        let file = text(Format::Env, &fields(&members)).unwrap();
        let mut script = file.into_bytes();
        for (name, _) in &members {
            script.extend_from_slice(format!("printf '%s\\0' \"${name}\"\n").as_bytes());
        }
        let read = run("sh", &[], &script).expect("there is a shell");
        let expected: Vec<u8> = members
            .iter()
            .flat_map(|(_, value)| value.bytes().chain(std::iter::once(0)))
            .collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn systemd_reads_the_very_values(values in proptest::collection::vec(value(), 1..12)) {
        let members: Vec<(String, String)> =
            values.iter().enumerate().map(|(i, value)| (format!("K{i:02}"), value.clone())).collect();
        let file = text(Format::Env, &fields(&members)).unwrap();
        prop_assert_eq!(environment_file(&file), members);
    }

    #[test]
    fn json_reads_back(members in proptest::collection::btree_map(any::<String>(), value(), 0..8)) {
        let members: Vec<(String, String)> = members.into_iter().collect();
        let written = text(Format::Json, &fields(&members)).unwrap();
        let expected: Map<String, Value> =
            members.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        prop_assert_eq!(serde_json::from_str::<Map<String, Value>>(&written).unwrap(), expected.clone());
        if let Some(read) = run("jq", &["-c", "."], written.as_bytes()) {
            prop_assert_eq!(serde_json::from_slice::<Map<String, Value>>(&read).unwrap(), expected);
        }
    }

    #[test]
    fn no_fields_panic(
        members in proptest::collection::vec((any::<String>(), any::<String>()), 0..6),
        path in any::<String>(),
    ) {
        let data = fields(&members);
        for format in [Format::Env, Format::EnvFile, Format::Json, Format::Yaml] {
            let _ = render(&Content::Format(format), &data, limits());
        }
        for encoding in [Encoding::None, Encoding::Base64, Encoding::Base64Url, Encoding::Auto] {
            let _ = render(&Content::EveryField(encoding), &data, limits());
            if let Ok(path) = FieldPath::parse(&path) {
                let _ = render(&Content::Field(path, encoding), &data, limits());
            }
        }
    }
}

/// A reader of `EnvironmentFile=` for files of assignments with quoted values, after the states
/// of systemd's parser: in single quotes a backslash takes the next character as it is; in double
/// quotes it does so only before `"`, `\`, backtick, `$`, and joins lines.
fn environment_file(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut chars = text.chars();
    loop {
        let name: String = chars.by_ref().take_while(|c| *c != '=').collect();
        if name.is_empty() {
            return found;
        }
        let quote = chars.next().unwrap();
        assert!(matches!(quote, '\'' | '"'));
        let mut value = String::new();
        while let Some(c) = chars.next().filter(|c| *c != quote) {
            if c != '\\' {
                value.push(c);
                continue;
            }
            match chars.next().unwrap() {
                '\n' if quote == '"' => {}
                c if quote == '\'' || matches!(c, '"' | '\\' | '`' | '$') => value.push(c),
                c => value.extend(['\\', c]),
            }
        }
        assert_eq!(chars.next(), Some('\n'));
        found.push((name, value));
    }
}

#[test]
fn data_of_every_kind_reaches_every_format() {
    let data = Data::One(Fields::from_map(
        json!({"A": {"b": [null, 1]}, "C": -1.5, "D": false})
            .as_object()
            .unwrap()
            .clone(),
    ));
    assert_eq!(
        text(Format::Env, &data).unwrap(),
        "A='{\"b\":[null,1]}'\nC='-1.5'\nD='false'\n"
    );
    assert_eq!(
        text(Format::Yaml, &data).unwrap(),
        "A:\n  b:\n  - null\n  - 1\nC: -1.5\nD: false\n"
    );
}
