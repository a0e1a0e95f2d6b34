//! The JSON Schema of the configuration, from the keys that the program itself reads by.

use secrets_sync::config::schema::{FILE, Key, MAPS, Map, ROOT, SOURCE, Shape};
use serde_json::{Map as Object, Value, json};

/// A text in which a variable stands may become anything.
const VARIABLE: &str = r"\$\{";

/// The schema, as it is committed. Draft 7 is what editors know best.
pub fn schema() -> String {
    let mut definitions = Object::new();
    for map in MAPS {
        if !std::ptr::eq(map, &ROOT) {
            definitions.insert(id(map), object(map));
        }
    }
    let mut root = object(&ROOT);
    let head = [
        ("$schema", json!("http://json-schema.org/draft-07/schema#")),
        ("title", json!("Configuration of secrets-sync")),
        (
            "$comment",
            json!("Made from src/config/schema.rs by `make generate`"),
        ),
    ];
    let root = root.as_object_mut().unwrap();
    let mut all: Object<String, Value> = head
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    all.append(root);
    all.insert("definitions".to_owned(), Value::Object(definitions));
    serde_json::to_string_pretty(&Value::Object(all)).unwrap() + "\n"
}

/// Its name among the definitions: the last word of what it is.
fn id(map: &Map) -> String {
    map.name
        .trim_start_matches("a ")
        .trim_start_matches("the ")
        .replace(' ', "-")
}

fn reference(map: &Map) -> Value {
    json!({ "$ref": format!("#/definitions/{}", id(map)) })
}

fn object(map: &Map) -> Value {
    let properties: Object<String, Value> = map
        .keys
        .iter()
        .map(|key| (key.name.to_owned(), described(key)))
        .collect();
    // A key without a value counts as absent, so `null` is no presence.
    let here = |key: &&str| json!({ "required": [key], "properties": { *key: { "not": { "type": "null" } } } });
    let needs = map.needs.iter().map(|group| match group {
        [one] => here(one),
        group => json!({ "anyOf": group.iter().map(here).collect::<Vec<_>>() }),
    });
    let excludes = map.excludes.iter().flat_map(|group| {
        group.iter().enumerate().flat_map(move |(index, one)| {
            group[index + 1..]
                .iter()
                .map(move |other| json!({ "not": { "allOf": [present(one), present(other)] } }))
        })
    });
    let rules: Vec<Value> = needs.chain(excludes).collect();
    let mut object = json!({
        "type": ["object", "null"],
        "properties": properties,
        "patternProperties": { "^x-": true, "^<<$": true },
        "additionalProperties": false,
    });
    if !rules.is_empty() {
        object["allOf"] = Value::Array(rules);
    }
    object
}

/// There, and not without effect: `false` is as good as absent.
fn present(key: &str) -> Value {
    json!({ "required": [key], "properties": { key: { "not": { "enum": [null, false] } } } })
}

fn described(key: &Key) -> Value {
    let mut value = shape(key);
    value["description"] = json!(key.about);
    value
}

fn shape(key: &Key) -> Value {
    match key.shape {
        // What is no text in YAML keeps its spelling: `owner: 1000`.
        Shape::Text => json!({ "type": ["string", "number", "boolean", "null"] }),
        Shape::Name => words("^[A-Za-z0-9._-]{1,128}$", &["number", "boolean", "null"]),
        Shape::Choice(choices) => json!({
            "anyOf": [
                { "enum": choices },
                { "type": "string", "pattern": VARIABLE },
                { "type": "null" }
            ]
        }),
        Shape::Duration => words(&duration(""), &["null"]),
        Shape::Interval => words(&duration("once|"), &["null"]),
        Shape::Bytes => words(
            "^[0-9]+ ?(B|kB|KB|MB|GB|KiB|MiB|GiB)?$",
            &["integer", "null"],
        ),
        Shape::Whole(least, most) => {
            let mut number = json!({ "type": "integer", "minimum": least });
            if most < u64::MAX {
                number["maximum"] = json!(most);
            }
            json!({
                "anyOf": [
                    number,
                    { "type": "string", "pattern": format!("^[0-9]+$|{VARIABLE}") },
                    { "type": "null" }
                ]
            })
        }
        Shape::Flag => words(
            "^(y|Y|yes|Yes|YES|on|On|ON|n|N|no|No|NO|off|Off|OFF|true|false)$",
            &["boolean", "null"],
        ),
        // 0644 is a number by YAML 1.1, and another one by YAML 1.2.
        Shape::Mode => words("^(0o)?[0-7]+$", &["integer", "null"]),
        Shape::Map(map) => reference(map),
        Shape::Named(map) => {
            let names = if std::ptr::eq(map, &SOURCE) {
                "^[A-Za-z0-9_-]{1,128}$|^<<$"
            } else {
                "^[A-Za-z0-9._-]{1,128}$|^<<$"
            };
            json!({
                "type": ["object", "null"],
                "propertyNames": { "pattern": names },
                "additionalProperties": reference(map)
            })
        }
        Shape::Texts => json!({
            "type": "object",
            "additionalProperties": { "type": ["string", "number", "boolean"] }
        }),
        Shape::List(map) => {
            let mut list = json!({ "type": ["array", "null"], "items": reference(map) });
            if std::ptr::eq(map, &FILE) {
                list["minItems"] = json!(1);
            }
            list
        }
    }
}

/// A text of this form, or one with a variable in it, or one of these other types.
fn words(pattern: &str, others: &[&str]) -> Value {
    json!({
        "anyOf": [
            { "type": "string", "pattern": format!("{pattern}|{VARIABLE}") },
            { "type": others }
        ]
    })
}

fn duration(or: &str) -> String {
    format!(r"^({or}\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+)$")
}
