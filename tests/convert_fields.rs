//! Nothing of a manifest is dropped silently: every field is carried over or named.
//!
//! Each field of each manifest is changed, one at a time. A change that shows neither in the configuration nor
//! in any remark, on a field that no remark names, means that the field was dropped without a word.
//! `CONVERT_CORPUS=DIR` adds the manifests of a directory of yours.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails
#![allow(clippy::print_stdout)] // how much was looked at

use std::fs;
use std::path::{Path, PathBuf};

use secrets_sync::convert::{Input, Options, Remark, convert};
use serde::Deserialize;
use serde_json::Value;

/// The way to a field: names of keys, and numbers of items.
type Way = Vec<Step>;

#[derive(Clone)]
enum Step {
    Key(String),
    Item(usize),
}

fn inputs() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/convert");
    let mut paths: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|case| case.unwrap().path().join("input.yaml"))
        .filter(|path| path.exists())
        .collect();
    if let Some(corpus) = std::env::var_os("CONVERT_CORPUS") {
        paths.extend(
            fs::read_dir(corpus)
                .unwrap()
                .map(|file| file.unwrap().path()),
        );
    }
    paths.sort();
    paths
}

/// The documents of a file, or nothing if one is no YAML: those are for the golden cases.
fn documents(text: &str) -> Option<Vec<Value>> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).ok())
        .collect()
}

fn run(documents: &[Value]) -> (Option<String>, Vec<Remark>) {
    let lines: Vec<String> = documents.iter().map(Value::to_string).collect();
    let input = Input {
        name: "input".to_owned(),
        text: lines.join("\n---\n"),
        found: false,
    };
    let mut remarks = Vec::new();
    let converted = convert(&[input], &Options::default(), None, &mut remarks);
    (converted.text, remarks)
}

fn is_of_the_operator(document: &Value) -> bool {
    document["apiVersion"]
        .as_str()
        .is_some_and(|version| version.starts_with("external-secrets.io/"))
        && document["kind"].as_str().is_some_and(|kind| {
            matches!(
                kind,
                "ExternalSecret" | "ClusterExternalSecret" | "SecretStore" | "ClusterSecretStore"
            )
        })
}

fn leaves(value: &Value, way: &mut Way, found: &mut Vec<Way>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                way.push(Step::Key(key.clone()));
                leaves(value, way, found);
                way.pop();
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                way.push(Step::Item(index));
                leaves(value, way, found);
                way.pop();
            }
        }
        Value::Null => {}
        _ => found.push(way.clone()),
    }
}

fn at<'v>(mut value: &'v mut Value, way: &[Step]) -> &'v mut Value {
    for step in way {
        value = match step {
            Step::Key(key) => &mut value[key.as_str()],
            Step::Item(index) => &mut value[*index],
        };
    }
    value
}

/// As remarks write it.
fn written(way: &[Step]) -> String {
    let mut text = String::new();
    for step in way {
        match step {
            Step::Item(index) => text.push_str(&format!("[{index}]")),
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.push_str(&format!(".{key}")),
        }
    }
    text
}

/// A remark names the field when it is about it, or about something around it: the manifest as a whole, a part
/// that is left out with all that it holds, or one that says this key in backticks.
fn is_named(way: &[Step], manifest: &Value, place: &str, remarks: &[Remark]) -> bool {
    let entry = way.iter().position(|step| matches!(step, Step::Item(_)));
    let entry = entry.map(|last| at(&mut manifest.clone(), &way[..=last]).clone());
    let mut about = remarks.iter().filter(|remark| remark.place == place);
    about.any(|remark| {
        let says = |word: &str| remark.message.contains(&format!("`{word}`"));
        // The manifest as a whole; an entry, by its key.
        let key = entry.as_ref().and_then(|entry| entry["secretKey"].as_str());
        if remark.field.is_empty() || remark.field == "spec" || key.is_some_and(says) {
            return true;
        }
        (1..=way.len()).any(|length| {
            let (around, rest) = way.split_at(length);
            let around = written(around);
            if !remark.field.split(", ").any(|field| field == around) {
                return false;
            }
            // These hold so much that a remark on them names nothing but what it says.
            const WIDE: [&str; 9] = [
                "metadata",
                "spec",
                "target",
                "target.template",
                "data",
                "dataFrom",
                "provider",
                "provider.vault",
                "provider.vault.auth",
            ];
            let inner = around
                .trim_start_matches("spec.")
                .trim_start_matches("externalSecretSpec.");
            if !WIDE.contains(&inner) || remark.message.ends_with(": ignored") {
                return true;
            }
            match rest {
                [Step::Key(key), ..] => says(key),
                _ => false,
            }
        })
    })
}

/// What tells manifests apart says nothing of its own.
fn is_identity(way: &[Step], manifest: &Value) -> bool {
    let field = written(way);
    let is_store = manifest["kind"]
        .as_str()
        .is_some_and(|kind| kind.ends_with("Store"));
    field == "apiVersion"
        || is_store && matches!(field.as_str(), "metadata.name" | "metadata.namespace")
}

fn other(value: &Value) -> Value {
    match value {
        Value::Bool(truth) => Value::from(!truth),
        Value::String(text) => Value::from(format!("{text}-other")),
        other => Value::from(format!("{other}-other")),
    }
}

#[test]
fn every_field_is_carried_over_or_named() {
    let mut silent = Vec::new();
    let (mut manifests, mut fields, mut files) = (0, 0, 0);
    for path in inputs() {
        let text = fs::read_to_string(&path).unwrap();
        let Some(mut all) = documents(&text) else {
            continue;
        };
        files += 1;
        let (output, remarks) = run(&all);
        for number in 0..all.len() {
            if !is_of_the_operator(&all[number]) {
                continue;
            }
            manifests += 1;
            let mut ways = Vec::new();
            leaves(&all[number], &mut Vec::new(), &mut ways);
            // Each document is a line, and the mark between two is one as well.
            let place = format!("input:{}", 2 * number + 1);
            ways.retain(|way| !is_identity(way, &all[number]));
            for way in &ways {
                fields += 1;
                let original = at(&mut all[number], way).clone();
                *at(&mut all[number], way) = other(&original);
                let changed = run(&all);
                *at(&mut all[number], way) = original;
                let shows = changed.0 != output || changed.1 != remarks;
                if !shows && !is_named(way, &all[number], &place, &remarks) {
                    let field = written(way);
                    silent.push(format!("{}: document {number}: {field}", path.display()));
                }
            }
        }
    }
    println!("{fields} fields of {manifests} manifests in {files} files looked at");
    assert!(fields > 300, "{fields}");
    assert!(
        silent.is_empty(),
        "dropped without a word:\n{}",
        silent.join("\n")
    );
}
