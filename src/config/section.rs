//! One map of the file, read against its keys.

use std::collections::{BTreeMap, BTreeSet};

use zeroize::Zeroizing;

use super::merge::shown;
use super::node::{Entry, Node, Value};
use super::report::{At, Report};
use super::schema::{Keys, Map, Takes};
use super::suggest::nearest;

/// A single value as it was written, and where.
#[derive(Clone)]
pub(crate) struct Text {
    /// Where.
    pub(crate) at: At,
    /// As written; not expanded.
    pub(crate) value: Zeroizing<String>,
}

/// One map: its single values by key, and its lists and maps, still to be read.
pub(crate) struct Section {
    /// Where it stands.
    pub(crate) at: At,
    texts: BTreeMap<&'static str, Text>,
    parts: BTreeMap<&'static str, (At, Node)>,
    /// Keys that were meant, it seems, but are mistyped or of the wrong kind.
    spoilt: BTreeSet<&'static str>,
}

impl Section {
    /// An empty map that is not in the file.
    pub(crate) fn empty(at: At) -> Self {
        Self {
            at,
            texts: BTreeMap::new(),
            parts: BTreeMap::new(),
            spoilt: BTreeSet::new(),
        }
    }

    /// Reads a map; what does not fit the keys is reported.
    pub(crate) fn read(node: Node, at: At, map: &'static Map, report: &mut Report) -> Self {
        let keys = map.keys;
        let mut section = Self::empty(at);
        if !matches!(node.value, Value::Map(_) | Value::Null) {
            section.spoilt.extend(keys.iter().map(|key| key.name));
        }
        for entry in entries(node, &section.at, report) {
            if entry.key.starts_with("x-") {
                continue;
            }
            let at = section.at.key(&entry.key, entry.place);
            let Some(key) = keys.iter().find(|key| key.name == entry.key) else {
                section.spoilt.extend(unknown(&entry, &at, keys, report));
                continue;
            };
            let name = key.name;
            match (key.takes(), entry.node.value) {
                (_, Value::Null) => {}
                (Takes::Value, Value::Text(value)) => {
                    let place = entry.node.place.or(at.place);
                    let at = At { place, ..at };
                    section.texts.insert(name, Text { at, value });
                }
                (Takes::List, value @ Value::List(_)) | (Takes::Map, value @ Value::Map(_)) => {
                    let place = entry.node.place;
                    section.parts.insert(name, (at, Node { place, value }));
                }
                (takes, value) => {
                    section.spoilt.insert(name);
                    if let Value::Text(_) = value {
                        report.masks.hide_from(entry.node.place);
                    }
                    report.error(
                        &at,
                        format!("expected {}, found {}", takes.as_str(), value.kind()),
                    );
                }
            }
        }
        section
    }

    /// A single value.
    pub(crate) fn text(&self, key: &str) -> Option<&Text> {
        self.texts.get(key)
    }

    /// Puts a value in the place of the one written.
    pub(crate) fn set(&mut self, key: &'static str, text: Text) {
        self.texts.insert(key, text);
    }

    /// Takes a value away.
    pub(crate) fn remove(&mut self, key: &str) {
        self.texts.remove(key);
    }

    /// Whether one of the keys is there in a form that is reported already, so that its absence
    /// is no news.
    pub(crate) fn is_spoilt(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.spoilt.contains(key))
    }

    /// Takes the items of a list out.
    pub(crate) fn take_list(&mut self, key: &str) -> Option<Vec<(At, Node)>> {
        let (at, node) = self.parts.remove(key)?;
        match node.value {
            Value::List(items) => Some(
                items
                    .into_iter()
                    .enumerate()
                    .map(|(index, item)| (at.item(index, item.place), item))
                    .collect(),
            ),
            _ => None,
        }
    }

    /// Takes a map out.
    pub(crate) fn take_map(&mut self, key: &str) -> Option<(At, Node)> {
        self.parts.remove(key)
    }

    /// Where a key stands, or the section where it does not.
    pub(crate) fn at_of(&self, key: &str) -> At {
        self.texts
            .get(key)
            .map(|text| text.at.clone())
            .or_else(|| self.parts.get(key).map(|(at, _)| at.clone()))
            .unwrap_or_else(|| self.at.clone())
    }
}

/// The entries of a map; anything else is reported.
pub(crate) fn entries(node: Node, at: &At, report: &mut Report) -> Vec<Entry> {
    match node.value {
        Value::Map(entries) => entries,
        Value::Null => Vec::new(),
        other => {
            // Who can tell what it was meant to be?
            if let Value::Text(_) = other {
                report.masks.hide_from(node.place);
            }
            report.error(at, format!("expected a map, found {}", other.kind()));
            Vec::new()
        }
    }
}

/// Reports an unknown key; the answer is the key that was meant, it seems.
fn unknown(entry: &Entry, at: &At, keys: Keys, report: &mut Report) -> Option<&'static str> {
    report.masks.hide(&entry.node);
    let names = keys.iter().map(|key| key.name);
    let message = format!("unknown key `{}`", shown(&entry.key));
    let meant = nearest(&entry.key, names.clone());
    match meant {
        Some(name) => report.error_help(at, message, format!("did you mean `{name}`?")),
        None => {
            let known: Vec<&str> = names.collect();
            report.error_help(at, message, format!("known here: {}", known.join(", ")));
        }
    }
    meant
}
