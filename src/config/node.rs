//! The YAML file as a tree that keeps the order, the duplicates, the text as it was written, and
//! where everything stands.
//!
//! Two passes over the parser's events. The first asks for the shape alone. The second, guided by
//! it, asks for every scalar as a string, so that `0644`, `1.10` and `0x1F` stay what people wrote;
//! and since serde has no places, its visitor keeps the text and then refuses it on purpose: the
//! error that comes back names the line and the column.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

/// Line and column, from 1.
pub(crate) type Place = Option<(usize, usize)>;

/// One value.
pub(crate) struct Node {
    /// Where it begins; a list or map begins with its first item or key.
    pub(crate) place: Place,
    /// What it is.
    pub(crate) value: Value,
}

/// What a value is.
pub(crate) enum Value {
    /// Nothing, `~`, `null`.
    Null,
    /// Any other scalar, as written.
    Text(Zeroizing<String>),
    /// In order.
    List(Vec<Node>),
    /// In order, with its duplicates.
    Map(Vec<Entry>),
}

/// One key and its value.
pub(crate) struct Entry {
    /// As written.
    pub(crate) key: String,
    /// Of the key.
    pub(crate) place: Place,
    /// The value.
    pub(crate) node: Node,
}

impl Value {
    /// For messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Text(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Deeper nesting is refused: nothing that we know goes below eight levels.
const MAX_DEPTH: usize = 64;
/// Values and keys, every use of an alias counted anew.
const MAX_NODES: usize = 1_000_000;
/// Bytes of text, every use of an alias counted anew.
const MAX_TEXT: usize = 64 << 20;
/// Bytes of one key.
const MAX_KEY: usize = 1024;
const TOO_MUCH: &str = "with its aliases expanded, the file holds too much (more than 1,000,000 \
                        values or 64 MiB of text)";
/// More brackets than this are never open at once. The parser's time grows with their square.
const MAX_BRACKETS: usize = 2048;
/// Marks the errors that we make ourselves.
const OURS: char = '\u{1}';

/// Why a text is not a tree: one problem with a place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// Where, if the parser says so.
    pub(crate) place: Place,
    /// What; it never quotes the file.
    pub(crate) message: String,
}

/// Parses one document.
pub(crate) fn parse(text: &str) -> Result<Node, SyntaxError> {
    if let Some(place) = many_brackets(text) {
        return Err(SyntaxError {
            place: Some(place),
            message: "nested too deeply".to_owned(),
        });
    }
    let budget = Budget::default();
    let seed = ShapeOf {
        budget: &budget,
        depth: 0,
        key: false,
    };
    let shape = seed
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|error| syntax_error(&error, text))?;
    Read(&shape)
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|error| syntax_error(&error, text))
}

fn syntax_error(error: &serde_yaml::Error, text: &str) -> SyntaxError {
    let place = error.location().map(|at| (at.line(), at.column()));
    let shown = error.to_string();
    let told = |message: &str| SyntaxError {
        place,
        message: message.to_owned(),
    };
    if let Some((_, ours)) = shown.rsplit_once(OURS) {
        return told(ours.split(" at line ").next().unwrap_or(ours));
    }
    for (theirs, message) in [
        ("recursion limit exceeded", "nested too deeply"),
        ("repetition limit exceeded", TOO_MUCH),
        (
            "unknown anchor",
            "an alias (`*name`) without its anchor (`&name`)",
        ),
        ("EOF while parsing", "the file is empty"),
    ] {
        if shown.starts_with(theirs) {
            return told(message);
        }
    }
    if shown.contains("more than one document") {
        return SyntaxError {
            place: second_document(text),
            message: "the file holds more than one document".to_owned(),
        };
    }
    // Texts of the parser are fixed; those of the layer above it quote values.
    if format!("{error:?}").starts_with("Error(") {
        return told("a value does not fit its tag (`!!…`)");
    }
    let without_place = match (shown.split_once(" at line "), place) {
        (Some((what, rest)), Some(_)) => {
            let context = rest.split_once(", ").map(|(_, context)| context);
            match context {
                Some(context) => format!("{what}, {context}"),
                None => what.to_owned(),
            }
        }
        _ => shown,
    };
    told(&format!("not valid YAML: {without_place}"))
}

/// Where more brackets are open than any sane file opens, whatever they mean there.
fn many_brackets(text: &str) -> Option<(usize, usize)> {
    let mut open: usize = 0;
    for (index, line) in text.lines().enumerate() {
        for (column, byte) in line.bytes().enumerate() {
            match byte {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            if open > MAX_BRACKETS {
                return Some((index + 1, column + 1));
            }
        }
    }
    None
}

/// The second `---`, or the first that has something before it.
fn second_document(text: &str) -> Place {
    let mut begun = false;
    for (index, line) in text.lines().enumerate() {
        let marker = line == "---" || line.starts_with("--- ");
        if marker && begun {
            return Some((index + 1, 1));
        }
        begun |= marker || !(line.trim().is_empty() || line.starts_with(['#', '%']));
    }
    None
}

/// The shape of the tree, without its texts.
enum Shape {
    Null,
    Text,
    List(Vec<Shape>),
    Map(Vec<Shape>),
}

#[derive(Default)]
struct Budget {
    nodes: Cell<usize>,
    text: Cell<usize>,
}

impl Budget {
    fn spend<E: de::Error>(&self, text: usize) -> Result<(), E> {
        self.nodes.set(self.nodes.get() + 1);
        self.text.set(self.text.get().saturating_add(text));
        if self.nodes.get() > MAX_NODES || self.text.get() > MAX_TEXT {
            return Err(ours(TOO_MUCH));
        }
        Ok(())
    }
}

fn ours<E: de::Error>(message: &str) -> E {
    E::custom(format_args!("{OURS}{message}"))
}

#[derive(Clone, Copy)]
struct ShapeOf<'b> {
    budget: &'b Budget,
    depth: usize,
    key: bool,
}

impl ShapeOf<'_> {
    fn scalar<E: de::Error>(self, shape: Shape, length: usize) -> Result<Shape, E> {
        if self.key && length > MAX_KEY {
            return Err(ours("a key of more than 1024 bytes"));
        }
        self.budget.spend(length)?;
        Ok(shape)
    }

    fn below<E: de::Error>(self) -> Result<Self, E> {
        if self.key {
            return Err(ours("a key must be text, not a list or a map"));
        }
        if self.depth >= MAX_DEPTH {
            return Err(ours("nested too deeply"));
        }
        self.budget.spend(0)?;
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }
}

impl<'de> DeserializeSeed<'de> for ShapeOf<'_> {
    type Value = Shape;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ShapeOf<'_> {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Shape, E> {
        self.scalar(Shape::Null, 0)
    }

    fn visit_none<E: de::Error>(self) -> Result<Shape, E> {
        Err(ours("the file is empty"))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Shape, E> {
        self.scalar(Shape::Text, 5)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Shape, E> {
        self.scalar(Shape::Text, 20)
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Shape, E> {
        self.scalar(Shape::Text, 40)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Shape, E> {
        self.scalar(Shape::Text, 20)
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Shape, E> {
        self.scalar(Shape::Text, 40)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Shape, E> {
        self.scalar(Shape::Text, 20)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Shape, E> {
        self.scalar(Shape::Text, text.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
        let below = self.below()?;
        let mut shapes = Vec::new();
        while let Some(shape) = items.next_element_seed(below)? {
            shapes.push(shape);
        }
        Ok(Shape::List(shapes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Shape, A::Error> {
        let below = self.below()?;
        let mut shapes = Vec::new();
        while entries
            .next_key_seed(ShapeOf { key: true, ..below })?
            .is_some()
        {
            shapes.push(entries.next_value_seed(below)?);
        }
        Ok(Shape::Map(shapes))
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, _: A) -> Result<Shape, A::Error> {
        Err(ours("a tag (`!…`) has no meaning here"))
    }
}

/// The second pass.
struct Read<'s>(&'s Shape);

impl<'de> DeserializeSeed<'de> for Read<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        match self.0 {
            Shape::Null => Scalar.deserialize(deserializer).map(|(_, place)| Node {
                place,
                value: Value::Null,
            }),
            Shape::Text => Scalar.deserialize(deserializer).map(|(text, place)| Node {
                place,
                value: Value::Text(text),
            }),
            Shape::List(items) => deserializer.deserialize_seq(Items(items)),
            Shape::Map(values) => deserializer.deserialize_map(Entries(values)),
        }
    }
}

struct Items<'s>(&'s [Shape]);

impl<'de> Visitor<'de> for Items<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::with_capacity(self.0.len());
        for shape in self.0 {
            items.extend(access.next_element_seed(Read(shape))?);
        }
        Ok(Node {
            place: items.first().and_then(|item: &Node| item.place),
            value: Value::List(items),
        })
    }
}

struct Entries<'s>(&'s [Shape]);

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries: Vec<Entry> = Vec::with_capacity(self.0.len());
        for shape in self.0 {
            let Some((mut key, place)) = access.next_key_seed(Scalar)? else {
                break;
            };
            entries.push(Entry {
                key: std::mem::take(&mut *key),
                place,
                node: access.next_value_seed(Read(shape))?,
            });
        }
        Ok(Node {
            place: entries.first().and_then(|entry| entry.place),
            value: Value::Map(entries),
        })
    }
}

/// A scalar's text and place.
struct Scalar;

impl<'de> DeserializeSeed<'de> for Scalar {
    type Value = (Zeroizing<String>, Place);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let mut text = None;
        match deserializer.deserialize_str(Refuse(&mut text)) {
            Ok(()) => Err(ours("a value that cannot be read")),
            Err(error) => match text {
                Some(text) => Ok((text, place_in(&error.to_string()))),
                None => Err(error),
            },
        }
    }
}

/// Keeps the text and refuses it, for the error's place.
struct Refuse<'t>(&'t mut Option<Zeroizing<String>>);

impl Visitor<'_> for Refuse<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        *self.0 = Some(Zeroizing::new(text.to_owned()));
        Err(ours(""))
    }
}

/// `… at line 4 column 11`; the very first place of a file is left out by the parser.
fn place_in(error: &str) -> Place {
    let (_, rest) = error.rsplit_once(OURS)?;
    if rest.is_empty() {
        return Some((1, 1));
    }
    let (line, column) = rest.strip_prefix(" at line ")?.split_once(" column ")?;
    Some((line.parse().ok()?, column.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(node: &Node, out: &mut Vec<String>) {
        let (line, column) = node.place.unwrap_or_default();
        match &node.value {
            Value::Null => out.push(format!("{line}:{column} null")),
            Value::Text(text) => out.push(format!("{line}:{column} {}", text.as_str())),
            Value::List(items) => items.iter().for_each(|item| flat(item, out)),
            Value::Map(entries) => {
                for entry in entries {
                    let (line, column) = entry.place.unwrap_or_default();
                    out.push(format!("{line}:{column} {}=", entry.key));
                    flat(&entry.node, out);
                }
            }
        }
    }

    fn tree(text: &str) -> String {
        let mut out = Vec::new();
        flat(&parse(text).unwrap(), &mut out);
        out.join(" ")
    }

    #[test]
    fn texts_stay_as_written_and_know_their_places() {
        assert_eq!(
            tree("a: 0644\nb: [1.10, 0x1F, ~]\n\"c d\": {e: 'x', f: 1e3}\n8: >\n  folded\n"),
            "1:1 a= 1:4 0644 2:1 b= 2:5 1.10 2:11 0x1F 2:17 null \
             3:1 c d= 3:9 e= 3:12 x 3:17 f= 3:20 1e3 4:1 8= 4:4 folded\n"
        );
    }

    #[test]
    fn order_and_duplicates_are_kept() {
        assert_eq!(
            tree("b: 1\na: 2\nb: 3"),
            "1:1 b= 1:4 1 2:1 a= 2:4 2 3:1 b= 3:4 3"
        );
    }

    #[test]
    fn an_alias_stands_where_its_anchor_does() {
        assert_eq!(
            tree("a: &x {k: 7}\nb: *x"),
            "1:1 a= 1:8 k= 1:11 7 2:1 b= 1:8 k= 1:11 7"
        );
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(tree("é: ü"), "1:1 é= 1:4 ü");
    }

    #[test]
    fn what_is_no_document_is_one_error_with_a_place() {
        for (text, place, message) in [
            ("", None, "the file is empty"),
            ("# nothing\n", None, "the file is empty"),
            (
                "a: 1\n---\nb: 2\n",
                Some((2, 1)),
                "the file holds more than one document",
            ),
            (
                "a: *x\n",
                Some((1, 4)),
                "an alias (`*name`) without its anchor (`&name`)",
            ),
            (
                "a: !x 1\n",
                Some((1, 4)),
                "a tag (`!…`) has no meaning here",
            ),
            (
                "a: !!int hunter2\n",
                Some((1, 4)),
                "a value does not fit its tag (`!!…`)",
            ),
            (
                "[a]: 1\n",
                Some((1, 1)),
                "a key must be text, not a list or a map",
            ),
            (
                "a: b: c\n",
                Some((1, 5)),
                "not valid YAML: mapping values are not allowed in this context",
            ),
        ] {
            let error = parse(text).err().unwrap();
            assert_eq!(error.message, message, "{text}");
            if place.is_some() {
                assert_eq!(error.place, place, "{text}");
            }
        }
    }

    #[test]
    fn bombs_are_bounded() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            let below = level - 1;
            let items = vec![format!("*a{below}"); 10].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        assert!(parse(&bomb).is_err_and(|error| error.message == TOO_MUCH));
        let long = format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(1 << 16),
            "*a,".repeat(2000)
        );
        assert!(parse(&long).is_err_and(|error| error.message == TOO_MUCH));
        assert!(parse("a: &a [*a]").is_err_and(|error| error.message == "nested too deeply"));
        for deep in [
            "[".repeat(20_000),
            "{a: ".repeat(20_000),
            "- ".repeat(20_000),
        ] {
            assert!(parse(&deep).is_err());
        }
    }
}
