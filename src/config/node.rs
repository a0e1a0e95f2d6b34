//! The YAML file as a tree that keeps the order, the duplicates, the text as it was written, and
//! where everything stands.
//!
//! Anchors are followed here; merge keys and duplicates are left to `merge`.

use zeroize::Zeroizing;

use super::file::lines;
use super::reader;

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

/// More brackets than this are never open at once. The parser's time grows with their square: it
/// is about a second for so many. Those in texts and comments count, too, so that each of 10 000
/// secrets may leave one open there.
const MAX_BRACKETS: usize = 16_384;

/// Why a text is not a tree: one problem with a place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// Where, if the parser says so.
    pub(crate) place: Place,
    /// What; it never quotes the file.
    pub(crate) message: String,
}

/// Parses one document, with or without the places in it.
pub(crate) fn parse(text: &str, places: bool) -> Result<Node, SyntaxError> {
    if let Some(place) = many_brackets(text) {
        return Err(SyntaxError {
            place: Some(place),
            message: "nested too deeply".to_owned(),
        });
    }
    reader::tree(text, places).map_err(|error| syntax_error(&error, text))
}

fn syntax_error(error: &serde_yaml::Error, text: &str) -> SyntaxError {
    let place = error.location().map(|at| (at.line(), at.column()));
    let shown = error.to_string();
    let told = |message: &str| SyntaxError {
        place,
        message: message.to_owned(),
    };
    if let Some(ours) = reader::own_message(&shown) {
        return told(ours);
    }
    for (theirs, message) in [
        ("recursion limit exceeded", "nested too deeply"),
        ("repetition limit exceeded", reader::TOO_MUCH),
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
    for (index, line) in lines(text).enumerate() {
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
    for (index, line) in lines(text).enumerate() {
        let marker = line == "---" || line.starts_with("--- ");
        if marker && begun {
            return Some((index + 1, 1));
        }
        begun |= marker || !(line.trim().is_empty() || line.starts_with(['#', '%']));
    }
    None
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
        flat(&parse(text, true).unwrap(), &mut out);
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
            let error = parse(text, true).err().unwrap();
            assert_eq!(error.message, message, "{text}");
            if place.is_some() {
                assert_eq!(error.place, place, "{text}");
            }
        }
    }

    #[test]
    fn brackets_in_texts_open_nothing() {
        let text = "- '[ { not closed' # [\n".repeat(5_000);
        assert!(parse(&text, true).is_ok());
    }

    #[test]
    fn bombs_are_bounded() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            let below = level - 1;
            let items = vec![format!("*a{below}"); 10].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        assert!(parse(&bomb, true).is_err_and(|error| error.message == reader::TOO_MUCH));
        let long = format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(1 << 16),
            "*a,".repeat(2000)
        );
        assert!(parse(&long, true).is_err_and(|error| error.message == reader::TOO_MUCH));
        assert!(parse("a: &a [*a]", true).is_err_and(|error| error.message == "nested too deeply"));
        for deep in [
            "[".repeat(20_000),
            "{a: ".repeat(20_000),
            "- ".repeat(20_000),
        ] {
            assert!(parse(&deep, true).is_err());
        }
    }
}
