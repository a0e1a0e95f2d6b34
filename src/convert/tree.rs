//! One document of YAML or JSON as a tree: order kept, merge keys carried out, bounds on depth,
//! size and what aliases expand to.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// Deeper nesting is refused; manifests go some twenty levels down.
const MAX_DEPTH: usize = 64;
/// Values of one document, every use of an alias counted anew.
const MAX_NODES: usize = 500_000;
/// Bytes of text of one document, likewise.
const MAX_TEXT: usize = 32 << 20;
/// Marks the errors that we make ourselves.
const OURS: char = '\u{1}';
/// How serde's JSON gives a number.
const JSON_NUMBER: &str = "$serde_json::private::Number";

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Nothing.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number, as text.
    Number(String),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map in written order, each key once.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// For messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    /// The value of a key of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, node)| node),
            _ => None,
        }
    }

    /// A scalar as text.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Bool(truth) => Some(truth.to_string()),
            Self::Number(text) | Self::Text(text) => Some(text.clone()),
            Self::Null | Self::List(_) | Self::Map(_) => None,
        }
    }
}

/// A document, read.
#[derive(Debug)]
pub(super) struct Tree {
    /// Its value.
    pub(super) root: Node,
    /// Keys that stand twice in one map; the later value is kept.
    pub(super) duplicates: Vec<String>,
}

/// Why a text is no tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// The line, from 1, where the parser says one.
    pub(super) line: Option<usize>,
    /// What; it never quotes values.
    pub(super) message: String,
}

#[derive(Default)]
struct Budget {
    nodes: Cell<usize>,
    text: Cell<usize>,
    duplicates: RefCell<Vec<String>>,
}

/// Reads one document.
pub(super) fn parse(text: &str) -> Result<Tree, Broken> {
    if text.trim_start().starts_with(['{', '[']) {
        let budget = Budget::default();
        let mut json = serde_json::Deserializer::from_str(text);
        let root = Reading::new(&budget).deserialize(&mut json);
        if let Ok(root) = root
            && json.end().is_ok()
        {
            return Ok(finish(root, &budget));
        }
    }
    let budget = Budget::default();
    Reading::new(&budget)
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map(|root| finish(root, &budget))
        .map_err(|error| broken(&error))
}

fn finish(root: Node, budget: &Budget) -> Tree {
    Tree {
        root,
        duplicates: budget.duplicates.take(),
    }
}

fn broken(error: &serde_yaml::Error) -> Broken {
    let line = error.location().map(|at| at.line());
    let shown = error.to_string();
    let message = if let Some((_, ours)) = shown.rsplit_once(OURS) {
        ours.split(" at line ").next().unwrap_or(ours).to_owned()
    } else if shown.starts_with("recursion limit exceeded") {
        "nested too deeply".to_owned()
    } else if shown.starts_with("repetition limit exceeded") {
        "its aliases expand to far more than it holds".to_owned()
    } else {
        let what = shown.split(" at line ").next().unwrap_or(&shown);
        format!("not valid YAML: {what}")
    };
    Broken { line, message }
}

fn ours<E: de::Error>(message: &str) -> E {
    E::custom(format_args!("{OURS}{message}"))
}

#[derive(Clone, Copy)]
struct Reading<'b> {
    budget: &'b Budget,
    depth: usize,
}

impl<'b> Reading<'b> {
    fn new(budget: &'b Budget) -> Self {
        Self { budget, depth: 0 }
    }

    fn spend<E: de::Error>(self, text: usize) -> Result<(), E> {
        let (nodes, bytes) = (&self.budget.nodes, &self.budget.text);
        nodes.set(nodes.get() + 1);
        bytes.set(bytes.get().saturating_add(text));
        if nodes.get() > MAX_NODES || bytes.get() > MAX_TEXT {
            return Err(ours("with its aliases expanded, the document is too large"));
        }
        Ok(())
    }

    fn below<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(ours("nested too deeply"));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.spend(0)?;
        Ok(Node::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Node, E> {
        self.spend(0)?;
        Ok(Node::Bool(truth))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Node, E> {
        self.spend(8)?;
        Ok(Node::Number(number.to_string()))
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Node, E> {
        self.spend(16)?;
        Ok(Node::Number(number.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Node, E> {
        self.spend(8)?;
        Ok(Node::Number(number.to_string()))
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<Node, E> {
        self.spend(16)?;
        Ok(Node::Number(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Node, E> {
        self.spend(8)?;
        Ok(Node::Number(number.to_string()))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Node, E> {
        self.spend(text.len())?;
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let below = self.below()?;
        self.spend(0)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let below = self.below()?;
        self.spend(0)?;
        let mut map: Vec<(String, Node)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut merged: Vec<(String, Node)> = Vec::new();
        while let Some(key) = entries.next_key_seed(below)? {
            let key = match key {
                Node::Null => "null".to_owned(),
                other => other
                    .text()
                    .ok_or_else(|| ours("a key must be text, not a list or a map"))?,
            };
            let value = entries.next_value_seed(below)?;
            if key == JSON_NUMBER
                && map.is_empty()
                && let Node::Text(number) = value
            {
                return Ok(Node::Number(number));
            }
            if key == "<<" {
                merge(value, &mut merged);
            } else if let Some(known) = places.get(&key).and_then(|at| map.get_mut(*at)) {
                self.budget.duplicates.borrow_mut().push(key);
                known.1 = value;
            } else {
                places.insert(key.clone(), map.len());
                map.push((key, value));
            }
        }
        for (key, value) in merged {
            if !places.contains_key(&key) {
                places.insert(key.clone(), map.len());
                map.push((key, value));
            }
        }
        Ok(Node::Map(map))
    }

    /// A tag of the writer's own (`!Ref x`): the value counts.
    fn visit_enum<A: de::EnumAccess<'de>>(self, tagged: A) -> Result<Node, A::Error> {
        let below = self.below()?;
        let (_, value) = tagged.variant_seed(below)?;
        value.newtype_variant_seed(below)
    }
}

/// The entries of a merge key; the first of several maps wins.
fn merge(value: Node, into: &mut Vec<(String, Node)>) {
    match value {
        Node::Map(entries) => into.extend(entries),
        Node::List(maps) => maps.into_iter().for_each(|map| merge(map, into)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(text: &str) -> Node {
        parse(text).unwrap().root
    }

    fn text(node: &Node, path: &[&str]) -> String {
        path.iter()
            .fold(node, |node, key| node.get(key).unwrap())
            .text()
            .unwrap()
    }

    #[test]
    fn yaml_and_json_are_one() {
        let yaml = root("a: {b: 1.5, c: yes, d: true}\ne: [x, ~]\r\n");
        let json = root("{\"a\": {\"b\": 1.5, \"c\": \"yes\", \"d\": true}, \"e\": [\"x\", null]}");
        assert_eq!(yaml, json);
        assert_eq!(text(&root("{\"e\": \"\\ud83d\\ude00\\/\"}"), &["e"]), "😀/");
    }

    #[test]
    fn anchors_merge_keys_and_tags() {
        let tree =
            root("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\nc: {<<: [{q: 4}, *x]}\nd: !Ref v\n");
        assert_eq!(text(&tree, &["b", "p"]), "1");
        assert_eq!(text(&tree, &["b", "q"]), "3");
        assert_eq!(text(&tree, &["c", "q"]), "4");
        assert_eq!(text(&tree, &["d"]), "v");
    }

    #[test]
    fn the_later_of_two_values_is_kept_and_told() {
        let tree = parse("a: 1\nb: 2\na: 3\n").unwrap();
        assert_eq!(text(&tree.root, &["a"]), "3");
        assert_eq!(tree.duplicates, ["a"]);
    }

    #[test]
    fn bounds() {
        let message = |text: &str| parse(text).unwrap_err().message;
        assert_eq!(message(&"[".repeat(5000)), "nested too deeply");
        assert_eq!(
            message(&format!("{}1{}", "[".repeat(80), "]".repeat(80))),
            "nested too deeply"
        );
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let uses = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{uses}]\n"));
        }
        assert!(message(&bomb).contains("aliases"), "{}", message(&bomb));
        assert!(message("a: b: c").starts_with("not valid YAML"));
        assert_eq!(parse("a:\n  - b\n c: d\n").unwrap_err().line, Some(3));
        assert_eq!(
            message("{{ .Values.x }}: y"),
            "a key must be text, not a list or a map"
        );
    }
}
