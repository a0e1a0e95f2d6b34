//! The two passes over the parser's events that make the tree.
//!
//! The first asks for the shape alone. The second, guided by it, asks for every scalar as a
//! string, so that `0644`, `1.10` and `0x1F` stay what people wrote. Where places are wanted, and since
//! serde has none, its visitor keeps the text and then refuses it on purpose: the error that comes back
//! names the line and the column.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use super::guess;
use super::node::{Entry, Node, Place, Value};

/// Deeper nesting is refused: nothing that we know goes below eight levels.
const MAX_DEPTH: usize = 64;
/// Values and keys, every use of an alias counted anew.
pub(super) const MAX_NODES: usize = 1_000_000;
/// Bytes of text, every use of an alias counted anew.
pub(super) const MAX_TEXT: usize = 64 << 20;
/// Bytes of one key.
pub(super) const MAX_KEY: usize = 1024;
/// What is told then.
pub(super) const TOO_MUCH: &str = "with its aliases expanded, the file holds too much (more than 1,000,000 \
                        values or 64 MiB of text)";
/// Marks the errors that we make ourselves.
const OURS: char = '\u{1}';

/// Reads the tree of the one document. Its places cost as much as the second pass itself: without `places`
/// there are none, and where the text is what a configuration should be, one pass does.
pub(super) fn tree(text: &str, places: bool) -> Result<Node, serde_yaml::Error> {
    let guessed = if places { None } else { guess::tree(text) };
    guessed.map_or_else(|| two_passes(text, places), Ok)
}

/// The same, whatever the text is.
pub(super) fn two_passes(text: &str, places: bool) -> Result<Node, serde_yaml::Error> {
    let budget = Budget::default();
    let seed = ShapeOf {
        budget: &budget,
        depth: 0,
        key: false,
    };
    let shape = seed.deserialize(serde_yaml::Deserializer::from_str(text))?;
    let read = Read {
        shape: &shape,
        places,
    };
    read.deserialize(serde_yaml::Deserializer::from_str(text))
}

/// Our own message, where an error is ours.
pub(super) fn own_message(error: &str) -> Option<&str> {
    let (_, ours) = error.rsplit_once(OURS)?;
    Some(ours.split(" at line ").next().unwrap_or(ours))
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
#[derive(Clone, Copy)]
struct Read<'s> {
    shape: &'s Shape,
    places: bool,
}

impl<'de> DeserializeSeed<'de> for Read<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let places = self.places;
        match self.shape {
            Shape::Null => Scalar { places }
                .deserialize(deserializer)
                .map(|(_, place)| Node {
                    place,
                    value: Value::Null,
                }),
            Shape::Text => Scalar { places }
                .deserialize(deserializer)
                .map(|(text, place)| Node {
                    place,
                    value: Value::Text(text),
                }),
            Shape::List(items) => deserializer.deserialize_seq(Items { items, places }),
            Shape::Map(values) => deserializer.deserialize_map(Entries { values, places }),
        }
    }
}

struct Items<'s> {
    items: &'s [Shape],
    places: bool,
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let Self { items, places } = self;
        let mut read = Vec::with_capacity(items.len());
        for shape in items {
            read.extend(access.next_element_seed(Read { shape, places })?);
        }
        Ok(Node {
            place: read.first().and_then(|item: &Node| item.place),
            value: Value::List(read),
        })
    }
}

struct Entries<'s> {
    values: &'s [Shape],
    places: bool,
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let Self { values, places } = self;
        let mut entries: Vec<Entry> = Vec::with_capacity(values.len());
        for shape in values {
            let Some((mut key, place)) = access.next_key_seed(Scalar { places })? else {
                break;
            };
            entries.push(Entry {
                key: std::mem::take(&mut *key),
                place,
                node: access.next_value_seed(Read { shape, places })?,
            });
        }
        Ok(Node {
            place: entries.first().and_then(|entry| entry.place),
            value: Value::Map(entries),
        })
    }
}

/// A scalar's text and, if it is wanted, its place.
struct Scalar {
    places: bool,
}

impl<'de> DeserializeSeed<'de> for Scalar {
    type Value = (Zeroizing<String>, Place);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if !self.places {
            return Ok((deserializer.deserialize_str(Keep)?, None));
        }
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

/// Keeps the text.
pub(super) struct Keep;

impl Visitor<'_> for Keep {
    type Value = Zeroizing<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Zeroizing::new(text.to_owned()))
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
