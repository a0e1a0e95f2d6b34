//! What standard output is, and so how a text should look there.

use std::io::IsTerminal;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::config::Environment;
use crate::observe::view::Tone;

/// Narrower terminals are treated as this wide: their lines are folded by the terminal.
const NARROWEST: usize = 24;

/// How a text is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Look {
    /// The columns of the terminal, where it is one.
    pub(crate) width: Option<usize>,
    /// Its lines.
    pub(crate) height: Option<usize>,
    /// Whether colours are shown.
    pub(crate) colour: bool,
    /// Whether it is a terminal on which lines can be drawn over.
    pub(crate) is_screen: bool,
}

impl Look {
    /// Of standard output: colours on a terminal that knows them, unless `NO_COLOR` is set.
    pub(crate) fn of_stdout(environment: &Environment) -> Self {
        let out = std::io::stdout();
        if !out.is_terminal() {
            return Self::default();
        }
        let size = rustix::termios::tcgetwinsize(&out).ok();
        let told = |count: u16| Some(usize::from(count)).filter(|count| *count > 0);
        let is_screen = environment
            .get_non_empty("TERM")
            .is_some_and(|term| term != "dumb");
        Self {
            width: size
                .and_then(|size| told(size.ws_col))
                .map(|width| width.max(NARROWEST)),
            height: size.and_then(|size| told(size.ws_row)),
            colour: is_screen && environment.get_non_empty("NO_COLOR").is_none(),
            is_screen,
        }
    }

    /// The text in the colour of its tone, if colours are shown. Colour says nothing that the words
    /// do not.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Waiting => "33",
            Tone::Bad => "31",
        };
        self.wrapped(code, text)
    }

    /// The same for what stands out.
    pub(crate) fn bold(self, text: &str) -> String {
        self.wrapped("1", text)
    }

    fn wrapped(self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// The text in lines that fit, the first behind `first`, the others behind `rest`.
    pub(crate) fn fold(self, first: &str, rest: &str, text: &str) -> Vec<String> {
        let Some(width) = self.width else {
            return vec![format!("{first}{text}")];
        };
        let mut lines = Vec::new();
        let mut line = first.to_owned();
        let mut is_fresh = true;
        for word in text.split(' ') {
            let mut word = word;
            if !is_fresh && columns(&line) + 1 + columns(word) > width {
                lines.push(std::mem::replace(&mut line, rest.to_owned()));
                is_fresh = true;
            }
            if !is_fresh {
                line.push(' ');
            }
            // One that is wider than the terminal is cut where that ends.
            while columns(&line) + columns(word) > width {
                let (head, tail) = split(word, width.saturating_sub(columns(&line)).max(1));
                if tail.is_empty() {
                    break;
                }
                line.push_str(head);
                lines.push(std::mem::replace(&mut line, rest.to_owned()));
                word = tail;
            }
            line.push_str(word);
            is_fresh = false;
        }
        lines.push(line);
        lines
    }
}

/// How many columns it takes.
pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

/// The longest part that takes so many columns, one character at least, and the rest.
fn split(text: &str, most: usize) -> (&str, &str) {
    let mut taken = 0;
    let end = text
        .char_indices()
        .skip_while(|(at, c)| {
            taken += c.width().unwrap_or(0);
            taken <= most || *at == 0
        })
        .map(|(at, _)| at)
        .next();
    text.split_at(end.unwrap_or(text.len()))
}

/// The text in at most so many columns; what is left out of its middle is told by `…`.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let room = most.saturating_sub(1);
    let tail_room = room / 2;
    let mut tail = String::new();
    for c in text.chars().rev() {
        if columns(&tail) + c.width().unwrap_or(0) > tail_room {
            break;
        }
        tail.insert(0, c);
    }
    let mut head = String::new();
    for c in text.chars() {
        if columns(&head) + c.width().unwrap_or(0) > room - columns(&tail) {
            break;
        }
        head.push(c);
    }
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_folded_between_words_and_within_what_is_too_wide() {
        let look = Look {
            width: Some(10),
            ..Look::default()
        };
        assert_eq!(
            look.fold("a: ", "   ", "one two abcdefghij 漢字漢字x"),
            ["a: one two", "   abcdefg", "   hij", "   漢字漢", "   字x"]
        );
        assert_eq!(look.fold("", "", ""), [""]);
        assert_eq!(Look::default().fold("a: ", "", "x y"), ["a: x y"]);
    }

    #[test]
    fn long_names_keep_both_their_ends() {
        assert_eq!(shortened("abcdefghij", 10), "abcdefghij");
        assert_eq!(shortened("abcdefghijk", 6), "abc…jk");
        assert_eq!(shortened("漢字漢字漢字", 7), "漢字…字");
        assert_eq!(shortened("abc", 1), "…");
    }

    #[test]
    fn colour_is_only_where_it_is_shown() {
        let look = Look {
            colour: true,
            ..Look::default()
        };
        assert_eq!(look.paint(Tone::Bad, "no"), "\u{1b}[31mno\u{1b}[0m");
        assert_eq!(Look::default().paint(Tone::Bad, "no"), "no");
    }
}
