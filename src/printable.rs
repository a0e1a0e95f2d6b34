//! Foreign text (of servers, files, arguments) made safe for a terminal and for a log: the one place
//! that knows which characters are not.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a character could move the cursor, start a new line, hide or reorder text.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{200b}'..='\u{200f}'        // zero width, and direction marks
            | '\u{2028}'..='\u{202e}'      // line and paragraph separators, embeddings, overrides
            | '\u{2066}'..='\u{2069}'      // isolates
            | '\u{feff}')
}

/// The text with every such character spelled out (`\n`, `\u{1b}`).
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if is_unsafe(c) => {
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// The same of at most `longest` characters of the text; what is left out is told by `…`.
#[must_use]
pub fn brief(text: &str, longest: usize) -> Cow<'_, str> {
    match text.char_indices().nth(longest) {
        None => printable(text),
        Some((end, _)) => {
            let mut safe = printable(text.get(..end).unwrap_or_default()).into_owned();
            safe.push('…');
            Cow::Owned(safe)
        }
    }
}

/// The text with `\u{fffd}` in the place of each such character, so that columns stay where they are.
#[must_use]
pub fn in_columns(text: &str) -> String {
    text.replace(is_unsafe, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_move_the_cursor_is_spelled_out() {
        assert_eq!(printable("plain ü 漢"), "plain ü 漢");
        assert_eq!(printable("a\nb\x1b[2J\u{9b}c"), "a\\nb\\u{1b}[2J\\u{9b}c");
        assert_eq!(printable("x\u{202e}y\u{2028}"), "x\\u{202e}y\\u{2028}");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(brief("äöü", 3), "äöü");
        assert_eq!(brief("äöü\n", 3), "äöü…");
        assert_eq!(brief("ä\n\u{202e}ü", 3), "ä\\n\\u{202e}…");
        assert_eq!(brief("", 0), "");
    }

    #[test]
    fn columns_stay_where_they_are() {
        assert_eq!(in_columns("a\u{1b}b\u{200b}ü"), "a\u{fffd}b\u{fffd}ü");
    }
}
