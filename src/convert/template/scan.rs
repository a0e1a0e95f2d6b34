//! The words inside the actions of a Go template, with their places.

/// One `{{ … }}`.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::convert) struct Action<'t> {
    /// Offset of its braces.
    pub(in crate::convert) start: usize,
    /// Offset behind its closing braces.
    pub(in crate::convert) end: usize,
    /// Its words in order; none for a comment.
    pub(in crate::convert) words: Vec<Word<'t>>,
}

/// A word: a name, a path, a string with its quotes, a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::convert) struct Word<'t> {
    /// As written.
    pub(in crate::convert) text: &'t str,
    /// Offset in the template.
    pub(in crate::convert) start: usize,
    /// Nothing stands between it and a `)` before it: it is a field of what the call gives.
    pub(in crate::convert) chained: bool,
}

impl Word<'_> {
    /// Offset behind it.
    pub(in crate::convert) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// What a string constant says.
    pub(in crate::convert) fn constant(&self) -> Option<String> {
        if let Some(raw) = self.text.strip_prefix('`') {
            return raw.strip_suffix('`').map(str::to_owned);
        }
        if !self.text.starts_with('"') {
            return None;
        }
        serde_json::from_str(self.text).ok()
    }
}

/// All actions of a template, up to the first that is not closed.
pub(in crate::convert) fn actions(template: &str) -> Vec<Action<'_>> {
    let mut actions = Vec::new();
    let mut at = 0;
    while let Some(offset) = template[at..].find("{{") {
        let start = at + offset;
        match action(template, start) {
            Some(action) => {
                at = action.end;
                actions.push(action);
            }
            None => break,
        }
    }
    actions
}

fn action(template: &str, start: usize) -> Option<Action<'_>> {
    let mut at = start + 2;
    let body = &template[at..];
    let trimmed = body.strip_prefix('-').unwrap_or(body).trim_start();
    if trimmed.starts_with("/*") {
        let closed = at + body.find("*/")? + 2;
        let end = closed + template[closed..].find("}}")? + 2;
        return Some(Action {
            start,
            end,
            words: Vec::new(),
        });
    }
    if body.starts_with("- ") || body.starts_with("-\n") || body.starts_with("-\t") {
        at += 1;
    }
    let mut words: Vec<Word<'_>> = Vec::new();
    loop {
        let rest = &template[at..];
        let c = rest.chars().next()?;
        if rest.starts_with("}}") {
            return Some(Action {
                start,
                end: at + 2,
                words,
            });
        }
        if c.is_whitespace() || (c == '-' && rest.starts_with("-}}")) {
            at += c.len_utf8();
            continue;
        }
        let length = match c {
            '"' | '\'' => quoted(rest, c)?,
            '`' => rest[1..].find('`')? + 2,
            '(' | ')' | '|' | ',' | '=' => 1,
            _ => rest
                .find(|c: char| c.is_whitespace() || "()|,=\"`}".contains(c))
                .unwrap_or(rest.len())
                .max(c.len_utf8()),
        };
        let chained = words
            .last()
            .is_some_and(|before| before.text == ")" && before.end() == at);
        words.push(Word {
            text: &template[at..at + length],
            start: at,
            chained,
        });
        at += length;
    }
}

fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '\n' => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(template: &str) -> Vec<Vec<&str>> {
        actions(template)
            .iter()
            .map(|action| action.words.iter().map(|word| word.text).collect())
            .collect()
    }

    #[test]
    fn words_strings_comments_and_dashes() {
        assert_eq!(
            words("a{{- .x | f \"}} \\\" \" -}} {{/* }} */}}{{(index . `a b`).c}}"),
            [
                vec![".x", "|", "f", "\"}} \\\" \""],
                vec![],
                vec!["(", "index", ".", "`a b`", ")", ".c"],
            ]
        );
        let template = "{{ (f).c }}";
        let chained = &actions(template)[0].words[3];
        assert!(chained.chained);
        assert_eq!(&template[chained.start..chained.end()], ".c");
        assert_eq!(words("{{ $x := .a-b }}"), [vec!["$x", ":", "=", ".a-b"]]);
    }

    #[test]
    fn what_is_not_closed_ends_the_list() {
        for template in ["{{ .x", "{{ \"a }}", "{{ `a }}", "{{/* }}", "{{", "{{ \"é"] {
            assert!(actions(template).is_empty(), "{template}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[{}\"`'é.a $/*()|=\\\\-]{0,40}") {
            for action in actions(&text) {
                for word in action.words {
                    proptest::prop_assert_eq!(&text[word.start..word.end()], word.text);
                }
            }
        }
    }
}
