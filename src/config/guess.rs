//! The tree in one pass over the text, where the schema tells the kind of each value beforehand: a good
//! configuration has a list where a list belongs. Whatever else there is, the two passes of the reader deal with.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use super::node::{Entry, Node, Value};
use super::reader::{Keep, MAX_KEY, MAX_NODES, MAX_TEXT};
use super::schema::{ROOT, Shape};

/// No scalar counts for fewer bytes: the reader's own count is never higher.
const LEAST: usize = 40;

/// What the reader makes of the text, without places; `None` where it has to be asked.
pub(super) fn tree(text: &str) -> Option<Node> {
    if may_not(text) {
        return None;
    }
    let guess = Guess {
        shape: Shape::Map(&ROOT),
        nodes: &Cell::new(MAX_NODES),
        text: &Cell::new(MAX_TEXT),
    };
    let document = serde_yaml::Deserializer::from_str(text);
    let root = guess.deserialize(document).ok()?;
    // An empty file, it may be, which is an error.
    (!matches!(root.value, Value::Null)).then_some(root)
}

/// Whether there may be a tag, or a key that the schema does not have although it may be there: a pass would be in
/// vain.
fn may_not(text: &str) -> bool {
    let mut before = b'\n';
    let tag = text.bytes().any(|byte| {
        let begins = byte == b'!' && !before.is_ascii_alphanumeric();
        before = byte;
        begins
    });
    tag || text.starts_with("x-") || text.contains("\nx-") || text.contains("<<")
}

/// A value, as the schema has it.
#[derive(Clone, Copy)]
struct Guess<'b> {
    shape: Shape,
    /// What may still come.
    nodes: &'b Cell<usize>,
    text: &'b Cell<usize>,
}

impl<'b> Guess<'b> {
    fn of(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    fn spend<E: Error>(self, text: usize) -> Result<(), E> {
        let left = self.nodes.get().checked_sub(1);
        let room = self.text.get().checked_sub(text);
        let (Some(left), Some(room)) = (left, room) else {
            return Err(wrong());
        };
        self.nodes.set(left);
        self.text.set(room);
        Ok(())
    }

    /// The value of a key.
    fn below<E: Error>(self, key: &str) -> Result<Self, E> {
        match self.shape {
            Shape::Map(map) => (map.keys.iter().find(|known| known.name == key))
                .map(|known| self.of(known.shape))
                .ok_or_else(wrong),
            Shape::Named(map) => Ok(self.of(Shape::Map(map))),
            _ => Ok(self.of(Shape::Text)),
        }
    }
}

/// It is not as the schema has it. Nobody sees this.
fn wrong<E: Error>() -> E {
    E::custom("")
}

impl<'de> DeserializeSeed<'de> for Guess<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let value = deserializer.deserialize_option(self)?;
        Ok(Node { place: None, value })
    }
}

impl<'de> Visitor<'de> for Guess<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the schema has")
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.spend(LEAST)?;
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.shape {
            Shape::Map(_) | Shape::Named(_) | Shape::Texts => deserializer.deserialize_map(self),
            Shape::List(_) => deserializer.deserialize_seq(self),
            _ => {
                let text = deserializer.deserialize_str(Keep)?;
                self.spend(text.len().max(LEAST))?;
                Ok(Value::Text(text))
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let Shape::List(map) = self.shape else {
            return Err(wrong());
        };
        self.spend(0)?;
        let mut read = Vec::new();
        while let Some(item) = items.next_element_seed(self.of(Shape::Map(map)))? {
            read.push(item);
        }
        Ok(Value::List(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.spend(0)?;
        let mut read = Vec::new();
        while let Some(mut key) = entries.next_key_seed(Key)? {
            if key.len() > MAX_KEY {
                return Err(wrong());
            }
            self.spend(key.len().max(LEAST))?;
            let node = entries.next_value_seed(self.below(&key)?)?;
            read.push(Entry {
                key: std::mem::take(&mut *key),
                place: None,
                node,
            });
        }
        Ok(Value::Map(read))
    }
}

/// A key, as text.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Zeroizing<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader;
    use super::*;

    /// Everything in the tree.
    fn shown(node: &Node) -> String {
        match &node.value {
            Value::Null => "null".to_owned(),
            Value::Text(text) => format!("{:?}", text.as_str()),
            Value::List(items) => items.iter().map(shown).collect::<Vec<_>>().join(" - "),
            Value::Map(entries) => entries
                .iter()
                .map(|entry| format!("{{{:?} {}}}", entry.key, shown(&entry.node)))
                .collect(),
        }
    }

    /// The tree of one pass, which is that of two.
    fn guessed(text: &str) -> Option<String> {
        let one = tree(text).map(|node| shown(&node));
        if let Some(one) = &one {
            assert_eq!(
                *one,
                shown(&reader::two_passes(text, false).unwrap()),
                "{text}"
            );
        }
        one
    }

    #[test]
    fn one_pass_finds_what_two_do() {
        for text in [
            crate::config::SAMPLE,
            "secrets: []\n",
            "secrets:\n",
            "limits: {maxSecrets: 0x1F, maxFileBytes: ~}\nsecrets: null\n",
            "secrets:\n- name: 010\n  key: \"\"\n  path: ''\n",
            "secrets:\n- &one\n  name: 1.10\n  files: [{path: &p /a, mode: 0644}, {path: *p}]\n- *one\n-\n- {}\n",
            "secretStores:\n  a: {address: yes, timeout: .inf}\n  b: ~\n  ~: {}\n",
            "secrets:\n- template: {data: {a: 'x!', b: 1, 2: 3}}\n",
            "secrets:\n- template:\n    data:\n      a: |\n        {{ x }}\n      b: >-\n        y\n        z\n",
            "secrets: [{name: a, name: b}]\n",
        ] {
            assert!(guessed(text).is_some(), "{text}");
        }
    }

    #[test]
    fn what_the_schema_does_not_have_is_for_the_two_passes() {
        for text in [
            "",
            "~\n",
            "a",
            "[]\n",
            "secrets: {}\n",
            "secrets: [a]\n",
            "secrets: [[]]\n",
            "secrets:\n- name: []\n",
            "secrets:\n- nmae: a\n",
            "secrets:\n- x-note: a\n",
            "x-all: &a {name: b}\nsecrets: [*a]\n",
            "secrets:\n- <<: {name: a}\n",
            "secrets:\n- name: !!str 1\n",
            "secrets:\n- {\"name\":!secret a}\n",
            "!a\nsecrets: []\n",
            "secrets: []\n---\nsecrets: []\n",
            "secrets: [\n",
            "secrets: *a\n",
        ] {
            assert_eq!(guessed(text), None, "{text}");
        }
    }

    #[test]
    fn more_than_the_reader_takes_is_not_taken() {
        let text = "x".repeat(1 << 20);
        let aliases = "- {name: *a}\n".repeat(80);
        let all = format!("secrets:\n- {{name: &a {text}}}\n{aliases}");
        assert_eq!(guessed(&all), None);
        assert!(reader::two_passes(&all, false).is_err());
    }
}
