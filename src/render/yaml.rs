//! YAML for any reader, of version 1.1 or 1.2: block mappings and lists, keys sorted, numbers by
//! their literal, every string that is not a plain word in double quotes, so that the very bytes
//! come back. (A serialiser would respell the numbers: it knows them as floats.)

use std::fmt::{self, Write};

use serde_json::Value;

use super::buffer::Text;

/// A key that is longer is written with `?`: readers look for the `:` only so far.
const LONGEST_KEY: usize = 1_000;

/// A whole document, or a piece of one; `None` where it would be longer than `most` bytes.
pub(super) fn to_string(value: &Value, most: usize) -> Option<String> {
    let mut out = Text::new(most);
    document(&mut out, value).ok()?;
    Some(out.into_string())
}

fn document(out: &mut impl Write, value: &Value) -> fmt::Result {
    match value {
        Value::Object(map) if !map.is_empty() => mapping(out, map.iter().map(pair), 0, false),
        Value::Array(items) if !items.is_empty() => sequence(out, items, 0, false),
        scalar => {
            self::scalar(out, scalar)?;
            out.write_char('\n')
        }
    }
}

/// The members of an object, already in order, as a document.
pub(super) fn write_members<'v>(
    out: &mut impl Write,
    members: impl ExactSizeIterator<Item = (&'v str, &'v Value)>,
) -> fmt::Result {
    if members.len() == 0 {
        return out.write_str("{}\n");
    }
    mapping(out, members, 0, false)
}

fn pair<'v>((key, value): (&'v String, &'v Value)) -> (&'v str, &'v Value) {
    (key, value)
}

/// Members at a depth of `indent` spaces; `inline` when the first goes on with a line.
fn mapping<'v>(
    out: &mut impl Write,
    members: impl Iterator<Item = (&'v str, &'v Value)>,
    indent: usize,
    inline: bool,
) -> fmt::Result {
    for (index, (key, value)) in members.enumerate() {
        if index > 0 || !inline {
            spaces(out, indent)?;
        }
        let mut written = String::new();
        string(&mut written, key)?;
        let long = written.len() > LONGEST_KEY;
        if long {
            writeln!(out, "? {written}")?;
            spaces(out, indent)?;
            out.write_char(':')?;
        } else {
            write!(out, "{written}:")?;
        }
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.write_char('\n')?;
                mapping(out, map.iter().map(pair), indent + 2, false)?;
            }
            Value::Array(items) if !items.is_empty() => {
                out.write_char('\n')?;
                sequence(out, items, indent + if long { 2 } else { 0 }, false)?;
            }
            _ => {
                out.write_char(' ')?;
                scalar(out, value)?;
                out.write_char('\n')?;
            }
        }
    }
    Ok(())
}

fn sequence(out: &mut impl Write, items: &[Value], indent: usize, inline: bool) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 || !inline {
            spaces(out, indent)?;
        }
        out.write_str("- ")?;
        match item {
            Value::Object(map) if !map.is_empty() => {
                mapping(out, map.iter().map(pair), indent + 2, true)?;
            }
            Value::Array(items) if !items.is_empty() => sequence(out, items, indent + 2, true)?,
            _ => {
                scalar(out, item)?;
                out.write_char('\n')?;
            }
        }
    }
    Ok(())
}

fn spaces(out: &mut impl Write, count: usize) -> fmt::Result {
    (0..count).try_for_each(|_| out.write_char(' '))
}

/// Scalars and what is empty.
fn scalar(out: &mut impl Write, value: &Value) -> fmt::Result {
    match value {
        Value::Null => out.write_str("null"),
        Value::Bool(true) => out.write_str("true"),
        Value::Bool(false) => out.write_str("false"),
        Value::Number(number) => write!(out, "{number}"),
        Value::String(text) => string(out, text),
        Value::Array(_) => out.write_str("[]"),
        Value::Object(_) => out.write_str("{}"),
    }
}

fn string(out: &mut impl Write, text: &str) -> fmt::Result {
    if is_plain(text) {
        return out.write_str(text);
    }
    out.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            // What readers refuse, take for a line break, or drop.
            '\0'..='\u{1f}' | '\u{7f}'..='\u{a0}' => write!(out, "\\x{:02X}", u32::from(c))?,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                write!(out, "\\u{:04X}", u32::from(c))?;
            }
            _ => out.write_char(c)?,
        }
    }
    out.write_char('"')
}

/// A word that no reader takes for anything but a string.
fn is_plain(text: &str) -> bool {
    /// Readers of YAML 1.1 take these for null and booleans, in any case.
    const OTHERS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/'))
        && !OTHERS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Fields;
    use proptest::prelude::*;
    use serde_json::json;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn to_string(value: &Value) -> String {
        super::to_string(value, usize::MAX).unwrap()
    }

    #[test]
    fn it_reads_like_yaml() {
        let fields = Fields::parse(
            r#"{"b":{"y":[1,{"k":"v","l":[]},[2,3]],"x":{}},"a":"text","yes":"no","n":1e3,"m":1.0,"e":"",
                "key":"-----BEGIN\nx\n","num":"0777","t":true,"z":null,"sp":" a","c":"a: b # c"}"#,
        )
        .unwrap();
        assert_eq!(
            to_string(&Value::Object(fields.expose().clone())),
            "a: text\nb:\n  x: {}\n  \"y\":\n  - 1\n  - k: v\n    l: []\n  - - 2\n    - 3\nc: \"a: b # c\"\n\
             e: \"\"\nkey: \"-----BEGIN\\nx\\n\"\nm: 1.0\n\"n\": 1e3\nnum: \"0777\"\nsp: \" a\"\nt: true\n\
             \"yes\": \"no\"\nz: null\n"
        );
        assert_eq!(to_string(&json!({})), "{}\n");
        assert_eq!(to_string(&json!([1])), "- 1\n");
        assert_eq!(to_string(&json!("x")), "x\n");
    }

    #[test]
    fn long_keys_are_read() {
        let value =
            json!({ ("k".repeat(5_000)): { "a": [1, 2] }, ("l".repeat(2_000)): ["x"], "m": "n" });
        let read: Value = serde_yaml::from_str(&to_string(&value)).unwrap();
        assert_eq!(read, value);
        assert_eq!(python(&to_string(&value)).unwrap_or(value.clone()), value);
    }

    /// What PyYAML (YAML 1.1) reads; `None` where it is not installed.
    fn python(text: &str) -> Option<Value> {
        let script = "import json,sys\ntry:\n import yaml\nexcept ImportError:\n sys.exit(3)\n\
                      print(json.dumps(yaml.safe_load(sys.stdin.buffer.read().decode())))";
        let mut command = Command::new("python3");
        command
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = crate::children::spawn(&mut command).ok()?;
        child.stdin.take()?.write_all(text.as_bytes()).ok()?;
        let output = child.wait_with_output().ok()?;
        if output.status.code() == Some(3) {
            return None;
        }
        Some(serde_json::from_slice(&output.stdout).unwrap())
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[a-zA-Z0-9 :#'\"\\\\\n\r\t.,~&*!|>%@`?{}\\[\\]-]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn every_value_comes_back(value in any_value()) {
            let text = to_string(&value);
            let read: Value = serde_yaml::from_str(&text).map_err(|error| {
                TestCaseError::fail(format!("{error}: {text:?}"))
            })?;
            prop_assert_eq!(read.to_string(), value.to_string(), "{}", text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1))]
        #[test]
        fn every_value_comes_back_from_a_reader_of_yaml_1_1(
            values in proptest::collection::vec(any_value(), 150)
        ) {
            let whole = Value::from(values);
            if let Some(read) = python(&to_string(&whole)) {
                prop_assert_eq!(read, whole);
            }
        }
    }

    #[test]
    fn what_readers_take_for_something_else_is_quoted() {
        let words = [
            "yes",
            "No",
            "ON",
            "y",
            "N",
            "null",
            "~",
            "True",
            "0777",
            "1e3",
            "0x1f",
            "1_000",
            "12:30:45",
            ".inf",
            "-.INF",
            ".NaN",
            "2001-12-14",
            "<<",
            "=",
            "-",
            "- a",
            "? a",
            "a: b",
            "a #b",
            "#a",
            "&a",
            "*a",
            "!a",
            "%a",
            "@a",
            "`a",
            "|",
            ">",
            "{a}",
            "[a]",
            "a,b",
            " a",
            "a ",
            "\ta",
            "a\n",
            "\na",
            "a\r\n",
            "\u{85}",
            "\u{2028}",
            "\u{feff}a",
            "\u{7f}",
            "\u{0}",
            "\u{1b}[0m",
            "é",
            "😀",
            "---",
            "...",
            "'",
            "\"",
            "\\n",
            "0o17",
            "0b1",
            "+1",
            "1.",
            "._",
            "",
        ];
        let value = Value::from(words.to_vec());
        let read: Value = serde_yaml::from_str(&to_string(&value)).unwrap();
        assert_eq!(read, value);
        assert_eq!(python(&to_string(&value)).unwrap_or(value.clone()), value);
    }
}
