//! Every test is a leak scan: what the harness writes into secrets, and every token and secret ID that
//! it, a proxy or a scripted server of it sees, is remembered; no run of the binary may ever say or
//! show one, in any spelling. `Daemon` and `Setup::run` look at all that a run leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::Value;

use super::search::Search;

/// Shorter values are also names and words that logs may well hold.
const TELLING: usize = 12;

/// Of a long value its beginning and its end are looked for.
const PART: usize = 48;

static SEEN: Mutex<Seen> = Mutex::new(Seen {
    values: BTreeSet::new(),
    allowed: BTreeMap::new(),
    index: None,
});

struct Seen {
    values: BTreeSet<String>,
    allowed: BTreeMap<String, &'static str>,
    /// Of what is remembered now.
    index: Option<Arc<Index>>,
}

struct Index {
    search: Search,
    /// What each value of the search is a spelling of.
    of: Vec<String>,
}

/// Remembers a value that must not be said.
pub fn remember(value: &str) {
    if value.len() < TELLING {
        return;
    }
    let mut seen = SEEN.lock().unwrap();
    if !seen.allowed.contains_key(value) && seen.values.insert(value.to_owned()) {
        seen.index = None;
    }
}

/// Takes one value out of the scan: the daemon says it for the reason given (a value that is also a
/// name, say).
pub fn allow(value: &str, reason: &'static str) {
    let mut seen = SEEN.lock().unwrap();
    seen.allowed.insert(value.to_owned(), reason);
    seen.values.remove(value);
    seen.index = None;
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

/// Remembers the credentials in an answer of the server or in what was sent to it.
pub(super) fn remember_answer(answer: &Value) {
    for place in [
        "/auth/client_token",
        "/wrap_info/token",
        "/data/secret_id",
        "/secret_id",
    ] {
        if let Some(value) = answer.pointer(place).and_then(Value::as_str) {
            remember(value);
        }
    }
}

/// Remembers the fields of a KV v2 secret in an answer, and credentials.
pub(super) fn remember_secret(answer: &Value) {
    remember_answer(answer);
    if let Some(fields) = answer.pointer("/data/data") {
        remember_fields(fields);
    }
}

/// The first remembered value in a text, in any spelling, and the line that holds it.
pub(super) fn found(text: &str) -> Option<(String, String)> {
    let index = index();
    let (at, which) = index.search.all(text.as_bytes()).into_iter().next()?;
    let start = text.as_bytes()[..at]
        .iter()
        .rposition(|byte| *byte == b'\n');
    let line = text.get(start.map_or(0, |newline| newline + 1)..)?;
    let line = line.lines().next().unwrap_or_default();
    Some((index.of[which].clone(), line.to_owned()))
}

/// Fails where a text of the binary holds a remembered value.
#[track_caller]
pub fn assert_absent(place: &str, text: &str) {
    if let Some((value, line)) = found(text) {
        panic!("{place} holds the secret `{value}`: {line}");
    }
}

fn index() -> Arc<Index> {
    let mut seen = SEEN.lock().unwrap();
    if let Some(index) = &seen.index {
        return Arc::clone(index);
    }
    let (mut all, mut of) = (Vec::new(), Vec::new());
    for value in &seen.values {
        for spelling in spellings(value) {
            all.push(spelling);
            of.push(value.clone());
        }
    }
    let search = Search::new(all);
    let index = Arc::new(Index { search, of });
    seen.index = Some(Arc::clone(&index));
    index
}

/// A value as texts write it: as it is and each of its lines, escaped for JSON (Go's way, too) and for
/// `Debug`, for URLs, in base64 wherever it begins, in hexadecimal digits, as a list of bytes.
pub fn spellings(value: &str) -> BTreeSet<String> {
    let mut parts = BTreeSet::new();
    for part in std::iter::once(value).chain(value.lines()) {
        let letters: Vec<char> = part.chars().collect();
        if letters.len() <= 2 * PART {
            parts.insert(part.to_owned());
        } else {
            parts.insert(letters[..PART].iter().collect());
            parts.insert(letters[letters.len() - PART..].iter().collect());
        }
    }
    let mut all = BTreeSet::new();
    for part in parts.iter().filter(|part| part.len() >= TELLING) {
        all.insert(part.clone());
        let json = Value::from(part.as_str()).to_string();
        let json = &json[1..json.len() - 1];
        all.insert(json.to_owned());
        let go = [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026")];
        let escape = |text: String, (letter, code): (char, &str)| text.replace(letter, code);
        all.insert(go.into_iter().fold(json.to_owned(), escape));
        let debug = format!("{part:?}");
        all.insert(debug[1..debug.len() - 1].to_owned());
        all.insert(in_url(part, "%20"));
        all.insert(in_url(part, "+"));
        for skip in 0..3.min(part.len()) {
            let rest = &part.as_bytes()[skip..];
            let whole = &rest[..rest.len() / 3 * 3];
            all.insert(STANDARD.encode(whole));
            all.insert(URL_SAFE.encode(whole));
        }
        let mut digits = String::new();
        for byte in part.bytes() {
            let _ = write!(digits, "{byte:02x}");
        }
        all.insert(digits.to_uppercase());
        all.insert(digits);
        let list = format!("{:?}", part.as_bytes());
        all.insert(list[1..list.len() - 1].to_owned());
    }
    all
}

fn in_url(text: &str, space: &str) -> String {
    let mut url = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                url.push(char::from(byte));
            }
            b' ' => url.push_str(space),
            _ => {
                let _ = write!(url, "%{byte:02X}");
            }
        }
    }
    url
}
