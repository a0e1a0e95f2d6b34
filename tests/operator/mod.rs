//! What External Secrets Operator would put into a Kubernetes Secret, computed from the operator's
//! own rules and from nothing of the code under test: the whole data of a manifest before any
//! template. Templates are not evaluated here; a test that has one says in Rust what it gives.
//!
//! The rules, from the operator's sources (`providers/v1/vault`, `runtime/esutils`): entries of
//! `dataFrom` in order, then `data`, later over earlier; a `property` is the exact key first, else a
//! path of gjson; a value without a `property` is Go's JSON of the whole secret (keys sorted, no
//! spaces, `<`, `>`, `&` escaped); `extract` passes numbers through a float; names of `extract` and
//! `find` are converted where there is no `rewrite`; `select` follows `rewrite`, rule by rule; decoding
//! comes last.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use crate::support::Api;

/// The data of a Secret.
pub(crate) type Data = BTreeMap<String, Vec<u8>>;

/// A store, as far as paths are concerned.
pub(crate) struct Store<'a> {
    pub(crate) path: Option<&'a str>,
    pub(crate) v2: bool,
}

/// Computes the data of a manifest's `spec`.
pub(crate) fn data(api: &Api, spec: &Value, store: &Store<'_>) -> Data {
    let mut all = Data::new();
    for from in list(&spec["dataFrom"]) {
        let mut entries = if from["extract"].is_object() {
            extract(api, &from["extract"], store)
        } else {
            find(api, &from["find"], store)
        };
        let rewrites = list(&from["rewrite"]);
        for rewrite in rewrites {
            entries = rewritten(entries, rewrite);
        }
        for rule in list(&from["select"]) {
            entries.retain(|(name, _)| matches(rule, name) == (rule["operation"] == "Include"));
        }
        if rewrites.is_empty() {
            entries = entries
                .into_iter()
                .map(|(name, value)| (converted(&name), value))
                .collect();
        }
        let strategy = text(&from["extract"]["decodingStrategy"]);
        for (name, value) in entries {
            all.insert(name, decoded(&strategy, value.extracted()));
        }
    }
    for entry in list(&spec["data"]) {
        let reference = &entry["remoteRef"];
        let fields = read(api, reference, store);
        let property = text(&reference["property"]);
        let value = if property.is_empty() {
            json(&fields).into_bytes()
        } else if let Some(value) = fields.get(&property) {
            literal(value).into_bytes()
        } else {
            gjson(&fields, &property).into_bytes()
        };
        all.insert(
            text(&entry["secretKey"]),
            decoded(&text(&reference["decodingStrategy"]), value),
        );
    }
    all
}

/// A value on its way through `extract`.
#[derive(Clone)]
enum Piece {
    Json(Value),
    Bytes(Vec<u8>),
}

impl Piece {
    fn extracted(self) -> Vec<u8> {
        match self {
            Self::Json(value) => extracted(&value).into_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

fn extract(api: &Api, reference: &Value, store: &Store<'_>) -> Vec<(String, Piece)> {
    let fields = read(api, reference, store);
    let property = text(&reference["property"]);
    let value = if property.is_empty() {
        fields
    } else {
        fields
            .get(&property)
            .cloned()
            .unwrap_or_else(|| at(&fields, &property))
    };
    let value = match value {
        Value::String(text) => serde_json::from_str(&text).unwrap(),
        other => other,
    };
    value
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), Piece::Json(value.clone())))
        .collect()
}

fn find(api: &Api, find: &Value, store: &Store<'_>) -> Vec<(String, Piece)> {
    let mount = store.path.unwrap();
    let mut names = Vec::new();
    below(api, mount, &text(&find["path"]), &mut names);
    names.retain(|name| {
        if let Some(regexp) = find["name"]["regexp"].as_str() {
            return regex_lite::Regex::new(regexp).unwrap().is_match(name);
        }
        let metadata = api.call("GET", &format!("{mount}/metadata/{name}"), &Value::Null);
        find["tags"].as_object().is_none_or(|tags| {
            tags.iter()
                .all(|(key, value)| metadata["data"]["custom_metadata"][key] == *value)
        })
    });
    names
        .into_iter()
        .map(|name| {
            let answer = api.call("GET", &format!("{mount}/data/{name}"), &Value::Null);
            (
                name,
                Piece::Bytes(json(&answer["data"]["data"]).into_bytes()),
            )
        })
        .collect()
}

fn below(api: &Api, mount: &str, folder: &str, names: &mut Vec<String>) {
    let folder = folder.trim_matches('/');
    let prefix = if folder.is_empty() {
        String::new()
    } else {
        format!("{folder}/")
    };
    let answer = api.call(
        "GET",
        &format!("{mount}/metadata/{prefix}?list=true"),
        &Value::Null,
    );
    for key in list(&answer["data"]["keys"]) {
        let name = format!("{prefix}{}", text(key));
        if name.ends_with('/') {
            below(api, mount, &name, names);
        } else {
            names.push(name);
        }
    }
}

/// A rule of `select`: one of its names, or its expression anywhere in the name.
fn matches(rule: &Value, name: &str) -> bool {
    list(&rule["names"]).iter().any(|known| known == name)
        || rule["regexp"]
            .as_str()
            .is_some_and(|regexp| regex_lite::Regex::new(regexp).unwrap().is_match(name))
}

fn rewritten(entries: Vec<(String, Piece)>, rewrite: &Value) -> Vec<(String, Piece)> {
    if let Some(regexp) = rewrite["regexp"].as_object() {
        let source = regex_lite::Regex::new(regexp["source"].as_str().unwrap()).unwrap();
        let target = regexp["target"].as_str().unwrap();
        return entries
            .into_iter()
            .map(|(name, value)| (source.replace_all(&name, target).into_owned(), value))
            .collect();
    }
    // `merge` with its defaults: each value is an object, the keys of all become the keys.
    let mut merged = BTreeMap::new();
    for (_, value) in entries {
        let object = match value {
            Piece::Json(Value::String(text)) => serde_json::from_str(&text).unwrap(),
            Piece::Json(value) => value,
            Piece::Bytes(bytes) => serde_json::from_slice(&bytes).unwrap(),
        };
        for (name, value) in object.as_object().unwrap() {
            merged.insert(name.clone(), Piece::Json(value.clone()));
        }
    }
    merged.into_iter().collect()
}

fn read(api: &Api, reference: &Value, store: &Store<'_>) -> Value {
    let key = text(&reference["key"]);
    if text(&reference["metadataPolicy"]) == "Fetch" {
        let path = format!("{}/metadata/{key}", store.path.unwrap());
        let data = api.call("GET", &path, &Value::Null)["data"].clone();
        let mut fields = Map::new();
        for name in ["created_time", "current_version", "delete_version_after"] {
            fields.insert(name.to_owned(), data[name].clone());
        }
        fields.extend(data["custom_metadata"].as_object().unwrap().clone());
        return Value::Object(fields);
    }
    let rest = match store.path {
        Some(mount) => match key.strip_prefix(&format!("{mount}/")) {
            Some(rest) if store.v2 => rest.strip_prefix("data/").unwrap_or(rest).to_owned(),
            Some(rest) => rest.to_owned(),
            None => key.clone(),
        },
        None => key.clone(),
    };
    let path = match (store.path, store.v2) {
        (Some(mount), true) => format!("{mount}/data/{rest}"),
        (Some(mount), false) => format!("{mount}/{rest}"),
        (None, true) if key.contains("/data/") => key,
        (None, true) => {
            let (mount, rest) = key.split_once('/').unwrap();
            format!("{mount}/data/{rest}")
        }
        (None, false) => key,
    };
    let version = text(&reference["version"]);
    let query = if version.is_empty() {
        String::new()
    } else {
        format!("?version={version}")
    };
    let answer = api.call(
        "GET",
        &format!("{}{query}", path.replace("//", "/")),
        &Value::Null,
    );
    if store.v2 {
        answer["data"]["data"].clone()
    } else {
        answer["data"].clone()
    }
}

/// Go's `json.Marshal`.
pub(crate) fn json(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => {
            let plain = serde_json::to_string(text).unwrap();
            plain
                .replace('<', "\\u003c")
                .replace('>', "\\u003e")
                .replace('&', "\\u0026")
                .replace('\u{2028}', "\\u2028")
                .replace('\u{2029}', "\\u2029")
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(","))
        }
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            let members: Vec<String> = sorted
                .into_iter()
                .map(|(key, value)| {
                    format!("{}:{}", json(&Value::String(key.clone())), json(value))
                })
                .collect();
            format!("{{{}}}", members.join(","))
        }
    }
}

/// A value by its exact key.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => json(other),
    }
}

/// A value of `extract`: its numbers went through a float.
fn extracted(value: &Value) -> String {
    match value {
        Value::Number(number) => float(number.as_f64().unwrap()),
        other => literal(other),
    }
}

/// A value by a path of gjson.
fn gjson(fields: &Value, path: &str) -> String {
    if let Some(list) = path.strip_suffix(".#") {
        return at(fields, list).as_array().unwrap().len().to_string();
    }
    match at(fields, path) {
        Value::Number(number) if number.to_string().contains(['.', 'e', 'E']) => {
            float(number.as_f64().unwrap())
        }
        other => literal(&other),
    }
}

/// Go's `FormatFloat(f, 'f', -1, 64)`.
fn float(number: f64) -> String {
    format!("{number}")
}

fn at(fields: &Value, path: &str) -> Value {
    let mut value = fields.clone();
    for segment in path.replace("\\.", "\u{0}").split('.') {
        let segment = segment.replace('\u{0}', ".");
        value = match &value {
            Value::Array(items) => items[segment.parse::<usize>().unwrap()].clone(),
            other => other[&segment].clone(),
        };
    }
    value
}

fn converted(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_alphanumeric() || "-._".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect()
}

fn decoded(strategy: &str, bytes: Vec<u8>) -> Vec<u8> {
    let lax = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    let standard = GeneralPurpose::new(&STANDARD, lax);
    let url = GeneralPurpose::new(&URL_SAFE, lax);
    match strategy {
        "Base64" => standard.decode(bytes).unwrap(),
        "Base64URL" => url.decode(bytes).unwrap(),
        "Auto" => standard
            .decode(&bytes)
            .or_else(|_| url.decode(&bytes))
            .unwrap_or(bytes),
        _ => bytes,
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
