//! Values as people see them: the text of a value, and whether it counts as true.

use std::borrow::Cow;

use serde_json::Value;

use super::json;

/// A value as text: strings as they are, numbers as the literal that the server sent, null as
/// nothing, objects and arrays as JSON; `None` where that JSON would be longer than `most` bytes.
pub(super) fn text(value: &Value, most: usize) -> Option<Cow<'_, str>> {
    match value {
        Value::Array(_) | Value::Object(_) => json::compact(value, most).map(Cow::Owned),
        _ => Some(scalar(value)),
    }
}

/// The text of a value that is neither object nor array.
pub(super) fn scalar(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        Value::Number(number) => Cow::Owned(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Cow::Borrowed(""),
    }
}

/// What `if` takes for true: everything but the empty value of its kind, as in Go.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => !is_zero(&number.to_string()),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// By its digits, since `1e-400` is not zero though a float cannot hold it.
fn is_zero(literal: &str) -> bool {
    literal
        .bytes()
        .take_while(|byte| !matches!(byte, b'e' | b'E'))
        .all(|byte| !matches!(byte, b'1'..=b'9'))
}

/// What kind of value it is, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Fields;

    #[test]
    fn every_kind_has_its_text_and_its_truth() {
        for (json, expected, truth) in [
            ("\"\"", "", false),
            ("\"a<b\"", "a<b", true),
            ("0", "0", false),
            ("-0.00e7", "-0.00e7", false),
            ("1e-400", "1e-400", true),
            ("1.0", "1.0", true),
            ("1e3", "1e3", true),
            ("12345678901234567890123", "12345678901234567890123", true),
            ("true", "true", true),
            ("false", "false", false),
            ("null", "", false),
            ("[]", "[]", false),
            ("{}", "{}", false),
            (
                "{\"b\":1.0,\"a\":[\"<\"]}",
                "{\"a\":[\"\\u003c\"],\"b\":1.0}",
                true,
            ),
        ] {
            let fields = Fields::parse(&format!("{{\"v\":{json}}}")).unwrap();
            let value = &fields.expose()["v"];
            assert_eq!(text(value, 100).unwrap(), expected, "{json}");
            assert_eq!(is_true(value), truth, "{json}");
        }
    }
}
