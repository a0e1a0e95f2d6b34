//! JSON as Go's `encoding/json` writes it: keys sorted, `<`, `>`, `&`, U+2028 and U+2029 escaped,
//! numbers by their literal. `serde_json` escapes less, and would respell numbers.

use std::fmt::{self, Write};

use serde_json::Value;

use super::buffer::Text;

/// In one line, without spaces; `None` where it would be longer than `most` bytes.
pub(super) fn compact(value: &Value, most: usize) -> Option<String> {
    let mut text = Text::new(most);
    write(&mut text, value, None, 0).ok()?;
    Some(text.into_string())
}

/// Indented by two spaces; `None` where it would be longer than `most` bytes.
pub(super) fn pretty(value: &Value, most: usize) -> Option<String> {
    let mut text = Text::new(most);
    write(&mut text, value, Some("  "), 0).ok()?;
    Some(text.into_string())
}

/// The members of an object, already in order, in one line.
pub(super) fn write_members<'v>(
    out: &mut impl Write,
    members: impl Iterator<Item = (&'v str, &'v Value)>,
) -> fmt::Result {
    out.write_char('{')?;
    for (index, (key, value)) in members.enumerate() {
        if index > 0 {
            out.write_char(',')?;
        }
        string(out, key)?;
        out.write_char(':')?;
        write(out, value, None, 1)?;
    }
    out.write_char('}')
}

fn write(out: &mut impl Write, value: &Value, indent: Option<&str>, level: usize) -> fmt::Result {
    match value {
        Value::Null => out.write_str("null"),
        Value::Bool(true) => out.write_str("true"),
        Value::Bool(false) => out.write_str("false"),
        Value::Number(number) => write!(out, "{number}"),
        Value::String(text) => string(out, text),
        Value::Array(items) if items.is_empty() => out.write_str("[]"),
        Value::Object(map) if map.is_empty() => out.write_str("{}"),
        Value::Array(items) => {
            out.write_char('[')?;
            for (index, item) in items.iter().enumerate() {
                next(out, index, indent, level + 1)?;
                write(out, item, indent, level + 1)?;
            }
            line(out, indent, level)?;
            out.write_char(']')
        }
        Value::Object(map) => {
            out.write_char('{')?;
            for (index, (key, value)) in map.iter().enumerate() {
                next(out, index, indent, level + 1)?;
                string(out, key)?;
                out.write_str(if indent.is_some() { ": " } else { ":" })?;
                write(out, value, indent, level + 1)?;
            }
            line(out, indent, level)?;
            out.write_char('}')
        }
    }
}

fn next(out: &mut impl Write, index: usize, indent: Option<&str>, level: usize) -> fmt::Result {
    if index > 0 {
        out.write_char(',')?;
    }
    line(out, indent, level)
}

fn line(out: &mut impl Write, indent: Option<&str>, level: usize) -> fmt::Result {
    let Some(indent) = indent else { return Ok(()) };
    out.write_char('\n')?;
    (0..level).try_for_each(|_| out.write_str(indent))
}

fn string(out: &mut impl Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    let mut plain = 0;
    for (at, c) in text.char_indices() {
        let short = match c {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\u{8}' => "\\b",
            '\u{c}' => "\\f",
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => "",
            _ => continue,
        };
        out.write_str(&text[plain..at])?;
        plain = at + c.len_utf8();
        if short.is_empty() {
            write!(out, "\\u{:04x}", u32::from(c))?;
        } else {
            out.write_str(short)?;
        }
    }
    out.write_str(&text[plain..])?;
    out.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Fields;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn it_is_what_go_writes() {
        let fields = Fields::parse(
            r#"{"b":1e3,"a":"<p>&é\u2028\u0001\b\u007f\"\\/","c":[],"d":{},"e":[null,true,{"z":1,"y":1.0}]}"#,
        )
        .unwrap();
        let value = Value::Object(fields.expose().clone());
        assert_eq!(
            compact(&value, 1_000).unwrap(),
            "{\"a\":\"\\u003cp\\u003e\\u0026é\\u2028\\u0001\\b\u{7f}\\\"\\\\/\",\"b\":1e3,\"c\":[],\"d\":{},\
             \"e\":[null,true,{\"y\":1.0,\"z\":1}]}"
        );
        assert_eq!(
            pretty(&json!({"b": [1, "x"], "a": {}, "c": {"d": null}}), 1_000).unwrap(),
            "{\n  \"a\": {},\n  \"b\": [\n    1,\n    \"x\"\n  ],\n  \"c\": {\n    \"d\": null\n  }\n}"
        );
    }

    proptest! {
        #[test]
        fn every_string_comes_back(text in any::<String>()) {
            let written = compact(&Value::String(text.clone()), usize::MAX).unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
            prop_assert!(!written.contains(['<', '>', '&']));
        }
    }
}
