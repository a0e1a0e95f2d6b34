//! Every test is a leak scan: what the harness writes into secrets, and every token and secret ID that
//! it or a proxy of it sees, is remembered; no run of the binary may ever say one.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::Value;

/// Shorter values are also names and words that logs may well hold.
const TELLING: usize = 12;

static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Remembers a value that must not be said.
pub(super) fn remember(value: &str) {
    if value.len() >= TELLING {
        SEEN.lock().unwrap().insert(value.to_owned());
    }
}

/// Remembers every text in a secret's fields.
pub(super) fn remember_fields(fields: &Value) {
    match fields {
        Value::String(text) => remember(text),
        Value::Array(list) => list.iter().for_each(remember_fields),
        Value::Object(map) => map.values().for_each(remember_fields),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Remembers the credentials in an answer of the server.
pub(super) fn remember_answer(answer: &Value) {
    for place in ["/auth/client_token", "/wrap_info/token", "/data/secret_id"] {
        if let Some(value) = answer.pointer(place).and_then(Value::as_str) {
            remember(value);
        }
    }
}

/// The first remembered value in a text, as it is or in base64.
pub(super) fn found(text: &str) -> Option<String> {
    use base64::Engine as _;
    let encoded = |value: &str| {
        let whole = &value.as_bytes()[..value.len() / 3 * 3];
        base64::engine::general_purpose::STANDARD.encode(whole)
    };
    SEEN.lock()
        .unwrap()
        .iter()
        .find(|value| text.contains(value.as_str()) || text.contains(&encoded(value)))
        .cloned()
}

/// Fails where a text of the binary holds a remembered value.
#[track_caller]
pub(super) fn assert_absent(place: &str, text: &str) {
    if let Some(value) = found(text) {
        let line = text
            .lines()
            .find(|line| line.contains(&value))
            .unwrap_or("");
        panic!("{place} holds the secret `{value}`: {line}");
    }
}
