//! `rewrite.merge`, and what is known of single values.

use crate::convert::gather::Part;
use crate::convert::manifest::Merge;
use crate::convert::property::joined;
use crate::convert::remark::shown;
use crate::secret::Fields;
use serde_json::Value as Json;

/// The value at a path.
pub(super) fn value_of<'f>(fields: Option<&'f Fields>, path: &[String]) -> Option<&'f Json> {
    let (first, rest) = path.split_first()?;
    let first = fields?.expose().get(first)?;
    rest.iter().try_fold(first, |at, segment| match at {
        Json::Object(map) => map.get(segment),
        Json::Array(items) => items.get(segment.parse::<usize>().ok()?),
        _ => None,
    })
}

pub(super) fn is_nothing(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Whether the operator, to which a number of an `extract` is a float, would write it otherwise.
pub(super) fn respelled(value: &Json) -> bool {
    match value {
        Json::Number(number) => {
            let literal = number.to_string();
            let Ok(float) = literal.parse::<f64>() else {
                return true;
            };
            format!("{float}") != literal
        }
        Json::Array(items) => items.iter().any(respelled),
        Json::Object(map) => map.values().any(respelled),
        _ => false,
    }
}

/// The inner keys of `rewrite.merge`: each with the outer key that it comes from.
pub(super) fn merged(
    merge: &Merge,
    values: &[(String, &Json)],
) -> Result<Vec<(String, String, bool, bool)>, String> {
    if merge.into.is_some() {
        return Err("`merge` into one JSON value has no translation: use a template".to_owned());
    }
    let mut order: Vec<&(String, &Json)> = values
        .iter()
        .filter(|(key, _)| !merge.priority.contains(key))
        .collect();
    order.sort_by(|(a, _), (b, _)| a.cmp(b));
    for key in &merge.priority {
        match values.iter().find(|(known, _)| known == key) {
            Some(pair) => order.push(pair),
            None if merge.strict => {
                return Err(format!(
                    "`priority` names `{}`, which is not there",
                    shown(key)
                ));
            }
            None => {}
        }
    }
    let mut inner: Vec<(String, String, bool, bool)> = Vec::new();
    for (outer, value) in order {
        let (fields, text) = match value {
            Json::Object(map) => (Fields::from_map(map.clone()), false),
            Json::String(text) => (
                Fields::parse(text)
                    .map_err(|_| format!("the value of `{}` is no JSON object", shown(outer)))?,
                true,
            ),
            _ => return Err(format!("the value of `{}` is no JSON object", shown(outer))),
        };
        for (name, value) in fields.expose() {
            let entry = (name.clone(), outer.clone(), text, is_nothing(value));
            match inner.iter_mut().find(|(known, _, _, _)| known == name) {
                Some(_) if !merge.ignore_conflicts => {
                    return Err(format!(
                        "the key `{}` stands in two of the values that are merged",
                        shown(name)
                    ));
                }
                Some(known) => *known = entry,
                None => inner.push(entry),
            }
        }
    }
    Ok(inner)
}

pub(super) fn inner_parts(
    pairs: &[(String, Part, bool)],
    inner: Vec<(String, String, bool, bool)>,
) -> Vec<(String, Part, bool)> {
    inner
        .into_iter()
        .filter_map(|(name, outer, is_text, empty)| {
            let (_, part, _) = pairs.iter().find(|(key, _, _)| *key == outer)?;
            let Part::Field { path, .. } = part else {
                return None;
            };
            let part = if is_text {
                Part::Inside {
                    path: path.clone(),
                    name: name.clone(),
                }
            } else {
                let path: Vec<String> = path.iter().cloned().chain([name.clone()]).collect();
                Part::Field {
                    field: joined(&path),
                    path,
                    sure: true,
                    structured: false,
                }
            };
            Some((name, part, empty))
        })
        .collect()
}
