//! The fields of one secret.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};
use zeroize::Zeroize;

/// JSON nested deeper than this is refused: rendering walks it on a small stack.
const MAX_DEPTH: usize = 64;

/// More values than this are refused: in memory each takes up many times the two bytes that it may
/// have in the answer.
const MAX_VALUES: usize = 50_000;

/// The fields of a secret, by name: JSON values whose numbers keep the very spelling of the
/// server (`1.0`, `1e3`, twenty digits). Wiped when dropped, as far as we own the memory.
#[derive(Clone, Default, PartialEq)]
pub struct Fields(Map<String, Value>);

/// Why a text is not the fields of a secret. It never quotes the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldsError {
    /// Not JSON, or not an object.
    NotAnObject,
    /// Nested deeper than 64 levels.
    TooDeep,
    /// More than 50,000 values.
    TooMany,
}

impl fmt::Display for FieldsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject => f.write_str("the data is not a JSON object"),
            Self::TooDeep => write!(f, "the data is nested deeper than {MAX_DEPTH} levels"),
            Self::TooMany => write!(f, "the data has more than {MAX_VALUES} values"),
        }
    }
}

impl std::error::Error for FieldsError {}

impl Fields {
    /// Parses a JSON object, keeping numbers as they are written.
    ///
    /// # Errors
    ///
    /// When the text is no JSON object, is nested too deeply, or has too many values.
    pub fn parse(json: &str) -> Result<Self, FieldsError> {
        if json.len() > MAX_VALUES && values(json) > MAX_VALUES {
            return Err(FieldsError::TooMany);
        }
        match exact(json, 0)? {
            Value::Object(map) => Ok(Self(map)),
            mut other => {
                wipe(&mut other);
                Err(FieldsError::NotAnObject)
            }
        }
    }

    /// Fields made here: metadata, tests.
    #[must_use]
    pub fn from_map(map: Map<String, Value>) -> Self {
        Self(map)
    }

    /// The values themselves.
    #[must_use]
    pub fn expose(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Takes the values out; who takes them wipes them ([`Fields::from_map`] when done).
    #[must_use]
    pub fn into_map(mut self) -> Map<String, Value> {
        std::mem::take(&mut self.0)
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        for value in self.0.values_mut() {
            wipe(value);
        }
    }
}

/// About how many values a JSON text has, and at least as many as it has: each is the first of a list
/// or an object, or follows a comma.
fn values(json: &str) -> usize {
    let (mut quoted, mut escaped, mut count) = (false, false, 0);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' | b'[' | b'{' if !quoted => count += 1,
            _ => {}
        }
    }
    count
}

/// One JSON value with its numbers spelled as in the text: `serde_json` alone would write `1e3`
/// as `1e+3`.
fn exact(json: &str, depth: usize) -> Result<Value, FieldsError> {
    if depth > MAX_DEPTH {
        return Err(FieldsError::TooDeep);
    }
    let json = json.trim();
    let broken = |_| FieldsError::NotAnObject;
    // Loops, not chains of iterators: each level is one frame on a worker's small stack.
    Ok(match json.as_bytes().first() {
        Some(b'{') => {
            let raw: BTreeMap<String, &RawValue> = serde_json::from_str(json).map_err(broken)?;
            let mut map = Map::new();
            for (key, raw) in raw {
                map.insert(key, exact(raw.get(), depth + 1)?);
            }
            Value::Object(map)
        }
        Some(b'[') => {
            let raw: Vec<&RawValue> = serde_json::from_str(json).map_err(broken)?;
            let mut items = Vec::with_capacity(raw.len());
            for raw in raw {
                items.push(exact(raw.get(), depth + 1)?);
            }
            Value::Array(items)
        }
        Some(b'-' | b'0'..=b'9') => {
            serde_json::from_str::<&RawValue>(json).map_err(broken)?;
            Value::Number(Number::from_string_unchecked(json.to_owned()))
        }
        _ => serde_json::from_str(json).map_err(broken)?,
    })
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_spelling() {
        let text = r#"{"a":1e3,"b":1.0,"c":12345678901234567890123,"d":[-0,{"e":1E-7}]}"#;
        let fields = Fields::parse(text).unwrap();
        assert_eq!(serde_json::to_string(fields.expose()).unwrap(), text);
    }

    #[test]
    fn only_an_object_will_do() {
        for text in [
            "[]",
            "1",
            "\"a\"",
            "{",
            "",
            "{\"a\":}",
            "null",
            "{\"a\":1}x",
        ] {
            assert_eq!(Fields::parse(text), Err(FieldsError::NotAnObject), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_a_crash() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
        assert_eq!(Fields::parse(&deep), Err(FieldsError::TooDeep));
        let deeper = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Fields::parse(&deeper).is_err());
    }

    #[test]
    fn a_flood_of_values_is_refused_before_it_takes_up_memory() {
        let list = |count: usize| format!("{{\"a\":[{}]}}", vec!["1"; count].join(","));
        // The object and the list count too.
        assert!(Fields::parse(&list(MAX_VALUES - 1)).is_ok());
        assert_eq!(Fields::parse(&list(MAX_VALUES)), Err(FieldsError::TooMany));
        let text = format!("{{\"a\":\"\\\"{}\"}}", ",".repeat(MAX_VALUES * 2));
        assert!(
            Fields::parse(&text).is_ok(),
            "commas in a text are no values"
        );
        let nested = vec!["[[1]]"; MAX_VALUES / 2].join(",");
        let nested = format!("{{\"a\":[{nested}]}}");
        assert_eq!(Fields::parse(&nested), Err(FieldsError::TooMany));
    }
}
