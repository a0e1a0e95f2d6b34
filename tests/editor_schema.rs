//! The JSON Schema of the configuration: an editor that uses it says nothing against what the program
//! accepts, and shows what the program would refuse.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod pages;
mod podman;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use podman::{checker, root};
use secrets_sync::config::schema::{MAPS, Map, Shape};
use secrets_sync::config::{Environment, SAMPLE};
use secrets_sync::plan::{self, Purpose};
use serde_json::{Value, json};

/// The schema as it is committed.
fn schema() -> Value {
    let file = root().join("contrib/secrets-sync.schema.json");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// What check-jsonschema has against the files, each with its file and place; `None` without it.
fn errors(schema: &Path, files: &[PathBuf]) -> Option<Vec<(String, String)>> {
    let mut command = Command::new(checker("check-jsonschema")?);
    command
        .args(["--output-format", "json", "--schemafile"])
        .arg(schema)
        .args(files);
    let said = podman::run(command);
    let answer: Value = serde_json::from_str(&said.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", said.stdout, said.stderr));
    let unread = answer.get("parse_errors").and_then(Value::as_array);
    assert!(unread.is_none_or(Vec::is_empty), "{unread:?}");
    let errors = answer["errors"].as_array().unwrap().iter();
    let text = |error: &Value, key: &str| error[key].as_str().unwrap().to_owned();
    Some(
        errors
            .map(|error| (text(error, "filename"), text(error, "path")))
            .collect(),
    )
}

/// Which of these configurations the schema refuses, by number: one file holds them all.
fn refused(configs: &[Value]) -> Option<BTreeSet<usize>> {
    let dir = tempfile::tempdir().unwrap();
    let mut one = schema();
    let definitions = one.as_object_mut().unwrap().remove("definitions");
    let all = json!({ "type": "array", "items": one, "definitions": definitions });
    let (schema, file) = (dir.path().join("schema.json"), dir.path().join("all.json"));
    fs::write(&schema, all.to_string()).unwrap();
    fs::write(&file, json!(configs).to_string()).unwrap();
    let places = errors(&schema, &[file])?;
    Some(
        places
            .iter()
            .map(|(_, place)| {
                let (number, _) = place.strip_prefix("$[").unwrap().split_once(']').unwrap();
                number.parse().unwrap()
            })
            .collect(),
    )
}

/// What the program says against a configuration.
fn problems(text: &str) -> Vec<String> {
    let environment = Environment::default();
    let loaded = plan::load_text(
        Path::new("c"),
        text.to_owned(),
        &environment,
        Purpose::Validate,
    );
    match loaded {
        Ok(_) => Vec::new(),
        Err(problems) => problems.entries().map(|it| it.to_string()).collect(),
    }
}

#[test]
fn every_configuration_that_is_shown_passes() {
    let dir = tempfile::tempdir().unwrap();
    let mut count = 0;
    for page in pages::all() {
        let name = page.file_stem().unwrap().to_str().unwrap().to_owned();
        for (line, text) in pages::configurations(&fs::read_to_string(&page).unwrap()) {
            fs::write(dir.path().join(format!("{name}-{line}.yaml")), text).unwrap();
            count += 1;
        }
    }
    assert!(count > 15, "only {count} configurations found");
    fs::write(dir.path().join("sample.yaml"), SAMPLE).unwrap();
    for example in ["compose/secrets-sync", "compose/dev"] {
        let from = root().join("contrib").join(example).join("config.yaml");
        fs::copy(from, dir.path().join(example.replace('/', "-") + ".yaml")).unwrap();
    }
    let entries = fs::read_dir(dir.path()).unwrap();
    let files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    let schema = root().join("contrib/secrets-sync.schema.json");
    let Some(errors) = errors(&schema, &files) else {
        skip!("needs check-jsonschema: run `make checkers`");
    };
    assert_eq!(errors, []);
}

/// A configuration that uses every kind of map.
fn whole() -> Value {
    json!({
        "secretStore": {
            "address": "https://v:8200",
            "authMethod": "token",
            "token": "t",
            "credentials": { "team": { "authMethod": "token", "token": "t" } }
        },
        "secrets": [
            {
                "name": "a",
                "key": "a",
                "template": { "data": { "t": "{{ .a }}" } },
                "files": [{ "path": "/s/a", "template": "t" }]
            },
            {
                "name": "b",
                "sources": { "one": { "key": "b" } },
                "files": [{ "path": "/s/b", "field": "one.b" }, { "dir": "/s/d" }]
            }
        ],
        "limits": {}
    })
}

/// Where a map of this kind stands in it.
fn places(map: &Map) -> &'static [&'static str] {
    match map.name {
        "the configuration" => &[""],
        "a store" => &["/secretStore"],
        "a credential set" => &["/secretStore/credentials/team"],
        "a secret" => &["/secrets/0", "/secrets/1"],
        "a source" => &["/secrets/1/sources/one"],
        "the templates of a secret" => &["/secrets/0/template"],
        "a file" => &[
            "/secrets/0/files/0",
            "/secrets/1/files/0",
            "/secrets/1/files/1",
        ],
        "limits" => &["/limits"],
        other => panic!("no place for {other}"),
    }
}

#[test]
fn what_an_editor_marks_as_wrong_the_program_refuses_for_every_key_and_kind_of_value() {
    assert_eq!(problems(&whole().to_string()), Vec::<String>::new());
    let values = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(3),
        json!(-1),
        json!(1.5),
        json!(""),
        json!("x"),
        json!("yes"),
        json!("once"),
        json!("30s"),
        json!("1h30m"),
        json!("0s"),
        json!("0644"),
        json!(644),
        json!("4"),
        json!("20000"),
        json!("1MiB"),
        json!("1 kB"),
        json!("/s/x"),
        json!("a.b"),
        json!("auto"),
        json!("v1"),
        json!("directory"),
        json!("json"),
        json!("cert"),
        json!("${X:-30s}"),
        json!("${X:-v2}"),
        json!("${X:-4}"),
        json!([]),
        json!({}),
        json!(["x"]),
        json!({ "x": "y" }),
        json!([{}]),
    ];
    let mut cases = Vec::new();
    for map in MAPS {
        let foreign = ["x-anything", "nonsense"];
        let names = map.keys.iter().map(|key| key.name).chain(foreign);
        for name in names {
            let place = places(map)[0];
            for value in &values {
                let mut config = whole();
                config.pointer_mut(place).unwrap()[name] = value.clone();
                cases.push((format!("{place}/{name}: {value}"), config));
            }
        }
    }
    let configs: Vec<Value> = cases.iter().map(|(_, config)| config.clone()).collect();
    let Some(refused) = refused(&configs) else {
        skip!("needs check-jsonschema: run `make checkers`");
    };
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (number, (case, config)) in cases.iter().enumerate() {
        if refused.contains(&number) {
            seen += 1;
            if problems(&config.to_string()).is_empty() {
                wrong.push(case);
            }
        }
    }
    assert!(wrong.is_empty(), "refused by the schema alone: {wrong:#?}");
    assert!(seen > 600, "only {seen} of {} were refused", cases.len());
}

#[test]
fn every_word_that_a_key_takes_is_understood_and_no_other() {
    for map in MAPS {
        for key in map.keys {
            let Shape::Choice(words) = key.shape else {
                continue;
            };
            let with = |word: &str| {
                let mut config = whole();
                let map = config.pointer_mut(places(map)[0]).unwrap();
                if key.name == "format" {
                    map.as_object_mut().unwrap().remove("template");
                }
                map[key.name] = json!(word);
                problems(&config.to_string())
                    .iter()
                    .any(|problem| problem.contains(&format!("`{word}` is not")))
            };
            for word in words {
                assert!(!with(word), "{}: {word}", key.name);
            }
            assert!(with("bogus"), "{}", key.name);
        }
    }
}

#[test]
fn mistakes_that_people_make_show_in_the_editor() {
    let set = |place: &str, name: &str, value: Value| {
        let mut config = whole();
        config.pointer_mut(place).unwrap()[name] = value;
        config
    };
    let without = |place: &str, name: &str| {
        let mut config = whole();
        let map = config.pointer_mut(place).unwrap().as_object_mut().unwrap();
        map.remove(name).unwrap();
        config
    };
    let mut cases = vec![
        ("misspelt", set("/secretStore", "tokn", json!("t"))),
        (
            "method",
            set("/secretStore", "authMethod", json!("kubernetes")),
        ),
        ("kv", set("/secretStore", "kvVersion", json!(2))),
        ("two-tokens", set("/secretStore", "tokenFile", json!("/t"))),
        ("timeout", set("/secretStore", "timeout", json!(30))),
        ("days", set("/secrets/0", "refreshInterval", json!("1d"))),
        ("never", set("/secrets/0", "refreshInterval", json!(0))),
        ("yes", set("/secrets/0", "optional", json!("maybe"))),
        ("layout", set("/secrets/0", "layout", json!("symlink"))),
        ("name", set("/secrets/0", "name", json!("a/b"))),
        ("key-and-sources", set("/secrets/1", "key", json!("x"))),
        (
            "mode",
            set("/secrets/0/files/0", "mode", json!("rw-r--r--")),
        ),
        ("format", set("/secrets/1/files/0", "format", json!("toml"))),
        (
            "path-and-dir",
            set("/secrets/0/files/0", "dir", json!("/d")),
        ),
        ("dir-field", set("/secrets/1/files/1", "field", json!("f"))),
        (
            "encoding",
            set("/secrets/1/files/0", "encoding", json!("hex")),
        ),
        ("limit", set("/limits", "maxSecrets", json!(0))),
        ("size", set("/limits", "maxFileBytes", json!("1 mebibyte"))),
        (
            "files-no-list",
            set("/secrets/0", "files", json!({ "path": "/a" })),
        ),
        (
            "templates",
            set("/secrets/0/template", "data", json!(["a"])),
        ),
        (
            "source-name",
            set("/secrets/1/sources", "a.b", json!({ "key": "x" })),
        ),
    ];
    for map in MAPS {
        for group in map.needs {
            let place = places(map)[0];
            let gone = |name: &&&str| whole().pointer(place).unwrap().get(**name).is_some();
            let name = group.iter().find(gone).unwrap();
            cases.push(("needed", without(place, name)));
        }
    }
    for (name, config) in &cases {
        let said = problems(&config.to_string());
        assert!(!said.is_empty(), "{name}: {config}");
    }
    let configs: Vec<Value> = cases.iter().map(|(_, config)| config.clone()).collect();
    let Some(refused) = refused(&configs) else {
        skip!("needs check-jsonschema: run `make checkers`");
    };
    let accepted: Vec<_> = cases
        .iter()
        .enumerate()
        .filter(|(number, _)| !refused.contains(number))
        .collect();
    assert!(accepted.is_empty(), "{accepted:#?}");
}
