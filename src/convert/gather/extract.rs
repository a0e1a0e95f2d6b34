//! `dataFrom.extract` whose fields are known: conversion and `rewrite` of their names, `merge`.

use super::merge::inner_parts;
use super::merge::is_nothing;
use super::merge::merged;
use super::merge::respelled;
use super::merge::value_of;
use crate::convert::gather::Datum;
use crate::convert::gather::Gatherer;
use crate::convert::gather::Part;
use crate::convert::gather::Value;
use crate::convert::keys;
use crate::convert::manifest::Decode;
use crate::convert::manifest::From;
use crate::convert::manifest::Remote;
use crate::convert::manifest::Rewrite;
use crate::convert::property::joined;
use crate::convert::remark::shown;
use crate::secret::Fields;
use serde_json::Value as Json;

impl Gatherer<'_, '_> {
    /// An `extract` whose fields are known: each becomes an entry.
    pub(super) fn expand(
        &mut self,
        from: &From,
        remote: &Remote,
        read: usize,
        inside: &[String],
        fields: &Fields,
    ) {
        let at = remote.at.clone();
        let outer = match inside {
            [] => None,
            path => {
                let exact = std::slice::from_ref(&remote.property_text);
                let (path, found) = match value_of(Some(fields), exact) {
                    Some(value) => (exact, Some(value)),
                    None => (path, value_of(Some(fields), path)),
                };
                match found {
                    Some(Json::Object(map)) => {
                        Some((path.to_vec(), Fields::from_map(map.clone()), false))
                    }
                    Some(Json::String(text)) => match Fields::parse(text) {
                        Ok(fields) => Some((path.to_vec(), fields, true)),
                        Err(_) => None,
                    },
                    _ => None,
                }
                .or_else(|| {
                    let message = format!("`{}` holds no object", shown(&remote.property_text));
                    let told = self.teller.warn_there(&format!("{at}.property"), message);
                    self.out.missing.push(told);
                    None
                })
            }
        };
        if !inside.is_empty() && outer.is_none() {
            return;
        }
        let map = outer
            .as_ref()
            .map_or(fields.expose(), |(_, fields, _)| fields.expose());
        let mut pairs: Vec<(String, Part, bool)> = map
            .iter()
            .map(|(name, value)| {
                let part = match &outer {
                    Some((path, _, true)) => Part::Inside {
                        path: path.clone(),
                        name: name.clone(),
                    },
                    Some((path, _, false)) => {
                        let path: Vec<String> = path.iter().cloned().chain([name.clone()]).collect();
                        Part::Field {
                            field: joined(&path),
                            path,
                            sure: true,
                            structured: !value.is_string(),
                        }
                    }
                    None => self.name(name, Some(fields)),
                };
                if respelled(value) {
                    let message = format!("`{}`: the operator respells numbers (`1.0` is `1`), the daemon keeps their digits", shown(name));
                    self.teller.warn(&at, message);
                }
                (name.clone(), part, is_nothing(value))
            })
            .collect();
        for (index, rewrite) in from.rewrite.iter().enumerate() {
            let field = format!("{}.rewrite[{index}]", from.at);
            match self.rewritten(rewrite, pairs, map, &field) {
                Some(rewritten) => pairs = rewritten,
                None => return,
            }
        }
        let mut kept: Vec<(String, Part, bool)> = Vec::with_capacity(pairs.len());
        for (name, part, is_empty) in pairs {
            let name = match self.selected(from, name) {
                Err(()) => return,
                Ok(None) => continue,
                Ok(Some(name)) if from.rewrite.is_empty() => keys::converted(&name, remote.unicode),
                Ok(Some(name)) => name,
            };
            if kept.iter().any(|(known, _, _)| *known == name) {
                self.collides(&name, &at);
            }
            kept.push((name, part, is_empty));
        }
        self.adopt(kept, read, remote.decode, &at);
    }

    /// The name, where `select` keeps it; an error is told, and nothing of the entry counts.
    pub(super) fn selected(&mut self, from: &From, name: String) -> Result<Option<String>, ()> {
        match keys::selected(&from.select, &name) {
            Ok(kept) => Ok(kept.then_some(name)),
            Err(message) => {
                let told = self
                    .teller
                    .warn_there(&format!("{}.select", from.at), message);
                self.out.missing.push(told);
                Err(())
            }
        }
    }

    /// Two names of one entry that become one.
    pub(super) fn collides(&mut self, name: &str, at: &str) {
        let message = format!(
            "two names become `{}`: the operator fails or takes any, here the later one counts",
            shown(name)
        );
        self.teller.warn(at, message);
    }

    /// Takes entries into the data; what no key may hold the operator refuses.
    pub(super) fn adopt(
        &mut self,
        pairs: Vec<(String, Part, bool)>,
        read: usize,
        decode: Decode,
        at: &str,
    ) {
        for (key, part, is_empty) in pairs {
            if key.is_empty() {
                continue;
            }
            if !key.chars().all(keys::is_allowed) || key.len() > keys::MAX_KEY {
                let told = self.teller.warn_there(
                    at,
                    format!(
                        "`{}` is no key of a Secret: the operator fails here",
                        shown(&key)
                    ),
                );
                self.out.missing.push(told);
                continue;
            }
            self.set(Datum {
                key,
                value: Value { read, part, decode },
                comments: Vec::new(),
                is_empty,
            });
        }
    }

    pub(super) fn rewritten(
        &mut self,
        rewrite: &Rewrite,
        pairs: Vec<(String, Part, bool)>,
        map: &serde_json::Map<String, Json>,
        at: &str,
    ) -> Option<Vec<(String, Part, bool)>> {
        let refused = |this: &mut Self, message: String| {
            let told = this.teller.warn_there(at, message);
            this.out.missing.push(told);
            None
        };
        match rewrite {
            Rewrite::Other(what) => refused(self, format!("{what} has no translation")),
            Rewrite::Merge(merge) => {
                // Only what stands in the secret itself can be merged here.
                let flat: Option<Vec<(String, &Json)>> = pairs
                    .iter()
                    .map(|(key, part, _)| match part {
                        Part::Field { path, .. } => match path.as_slice() {
                            [name] => map.get(name).map(|value| (key.clone(), value)),
                            _ => None,
                        },
                        _ => None,
                    })
                    .collect();
                match flat {
                    None => refused(
                        self,
                        "`merge` after `property` has no translation".to_owned(),
                    ),
                    Some(values) => match merged(merge, &values) {
                        Err(message) => refused(self, message),
                        Ok(inner) => Some(inner_parts(&pairs, inner)),
                    },
                }
            }
            Rewrite::Regexp { source, target } => {
                let regexp = match keys::compiled(source) {
                    Ok(regexp) => regexp,
                    Err(message) => return refused(self, message),
                };
                let mut renamed: Vec<(String, Part, bool)> = Vec::with_capacity(pairs.len());
                for (key, part, empty) in pairs {
                    let key = regexp.replace_all(&key, target.as_str()).into_owned();
                    match renamed.iter_mut().find(|(known, _, _)| *known == key) {
                        Some(known) => {
                            self.teller.warn(at, format!("two names become `{}`: the later one counts, the operator takes any", shown(&key)));
                            *known = (key, part, empty);
                        }
                        None => renamed.push((key, part, empty)),
                    }
                }
                Some(renamed)
            }
        }
    }
}
