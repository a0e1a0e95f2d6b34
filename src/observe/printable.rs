//! Foreign text made safe for a terminal and for a log.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_move_the_cursor_is_spelled_out() {
        assert_eq!(printable("plain ü 漢"), "plain ü 漢");
        assert_eq!(printable("a\nb\x1b[2J\u{9b}c"), "a\\nb\\u{1b}[2J\\u{9b}c");
        assert_eq!(printable("x\u{202e}y\u{2028}"), "x\\u{202e}y\\u{2028}");
    }
}
