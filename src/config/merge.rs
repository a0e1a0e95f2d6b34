//! Merge keys (`<<`) are carried out, and duplicate keys found, before anybody reads the tree.

use std::collections::{BTreeSet, HashSet};

use super::node::{Entry, Node, Place, Value};
use super::report::{At, Report};

/// The way from the top to a node. It is put into words only where there is something to report.
enum Way<'a> {
    Top(&'a At),
    Key(&'a Way<'a>, &'a str, Place),
    Item(&'a Way<'a>, usize, Place),
}

impl Way<'_> {
    fn at(&self) -> At {
        match self {
            Self::Top(at) => (*at).clone(),
            Self::Key(above, name, place) => above.at().key(name, *place),
            Self::Item(above, index, place) => above.at().item(*index, *place),
        }
    }
}

/// Carries out every merge below `node` and reports every duplicate key.
pub(crate) fn settle(node: &mut Node, at: &At, report: &mut Report) {
    below(node, &Way::Top(at), report);
}

fn below(node: &mut Node, way: &Way<'_>, report: &mut Report) {
    match &mut node.value {
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let place = item.place;
                below(item, &Way::Item(way, index, place), report);
            }
        }
        Value::Map(entries) => {
            for entry in entries.iter_mut() {
                let way = Way::Key(way, &entry.key, entry.place);
                below(&mut entry.node, &way, report);
            }
            duplicates(entries, way, report);
            if entries.iter().any(|entry| entry.key == "<<") {
                *entries = merged(std::mem::take(entries), &way.at(), report);
            }
        }
        Value::Null | Value::Text(_) => {}
    }
}

fn duplicates(entries: &mut Vec<Entry>, way: &Way<'_>, report: &mut Report) {
    let mut seen = BTreeSet::new();
    if entries.iter().all(|entry| seen.insert(entry.key.as_str())) {
        return;
    }
    let at = way.at();
    seen.clear();
    let twice: Vec<bool> = entries
        .iter()
        .map(|entry| !seen.insert(entry.key.as_str()))
        .collect();
    let mut twice = twice.into_iter();
    entries.retain(|entry| {
        let again = twice.next().unwrap_or(false);
        if again {
            report.error(
                &at.key(&entry.key, entry.place),
                format!("the key `{}` stands here twice", shown(&entry.key)),
            );
        }
        !again
    });
}

/// Explicit keys win; of several maps the earlier wins.
fn merged(entries: Vec<Entry>, at: &At, report: &mut Report) -> Vec<Entry> {
    let mut known: HashSet<String> = entries
        .iter()
        .filter(|entry| entry.key != "<<")
        .map(|entry| entry.key.clone())
        .collect();
    let mut all = Vec::with_capacity(entries.len());
    for entry in entries {
        if entry.key != "<<" {
            all.push(entry);
            continue;
        }
        let maps = match entry.node.value {
            Value::List(items) => items,
            _ => vec![entry.node],
        };
        for map in maps {
            match map.value {
                Value::Map(inherited) => all.extend(
                    inherited
                        .into_iter()
                        .filter(|entry| known.insert(entry.key.clone())),
                ),
                other => report.error(
                    &at.key("<<", entry.place),
                    format!("`<<` takes a map or a list of maps, not {}", other.kind()),
                ),
            }
        }
    }
    all
}

/// A text of the file as a message may quote it: one line, not too long.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let mut out: String = text
        .chars()
        .take(MOST)
        .flat_map(char::escape_debug)
        .collect();
    // Quotes need no escape here, and Debug's would be taken for part of the text.
    out = out.replace("\\'", "'").replace("\\\"", "\"");
    if text.chars().count() > MOST {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::node::parse;

    fn keys(text: &str) -> (Vec<String>, Vec<String>) {
        let mut node = parse(text, true).unwrap();
        let mut report = Report::default();
        settle(&mut node, &At::default(), &mut report);
        let Value::Map(entries) = node.value else {
            panic!()
        };
        let Value::Map(last) = &entries.last().unwrap().node.value else {
            panic!()
        };
        let pairs = last
            .iter()
            .map(|entry| match &entry.node.value {
                Value::Text(text) => format!("{}={}", entry.key, text.as_str()),
                _ => entry.key.clone(),
            })
            .collect();
        let problems = report.into_problems("f".as_ref(), text).problems;
        let problems = problems
            .into_iter()
            .map(|p| format!("{:?} {} {}", p.place.unwrap_or_default(), p.key, p.message))
            .collect();
        (pairs, problems)
    }

    #[test]
    fn explicit_keys_win_and_of_several_maps_the_earlier() {
        let (pairs, problems) =
            keys("x-a: &a {p: 1, q: 1}\nx-b: &b {q: 2, r: 2}\nm: {<<: [*a, *b], p: 0}\n");
        assert_eq!(pairs, ["q=1", "r=2", "p=0"]);
        assert_eq!(problems, [""; 0]);
    }

    #[test]
    fn merges_nest() {
        let (pairs, _) = keys("x-a: &a {p: 1}\nx-b: &b {<<: *a, q: 2}\nm: {<<: *b}\n");
        assert_eq!(pairs, ["p=1", "q=2"]);
    }

    #[test]
    fn only_maps_merge() {
        let (_, problems) = keys("m: {<<: 1, p: 0}\n");
        assert_eq!(
            problems,
            ["(1, 5) m[\"<<\"] `<<` takes a map or a list of maps, not a single value"]
        );
    }

    #[test]
    fn a_duplicate_is_told_at_its_second_place() {
        let (pairs, problems) = keys("m:\n  p: 1\n  p: 2\n");
        assert_eq!(pairs, ["p=1"]);
        assert_eq!(problems, ["(3, 3) m.p the key `p` stands here twice"]);
    }
}
