//! `property`: the exact key first, else a path of gjson; into the path of our `field`.

/// How a property finds its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Property {
    /// One name.
    Name(String),
    /// A name with dots, or a path where no key has that name.
    Path {
        /// As written: the name, where there is such a key.
        text: String,
        /// The path, its escapes resolved.
        segments: Vec<String>,
    },
    /// `list.#`: how many items a list has, where no key has that name.
    Length {
        /// As written.
        text: String,
        /// The list's path.
        segments: Vec<String>,
    },
}

impl Property {
    /// As our `field` writes it: the exact key first, else segments.
    pub(super) fn field(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Path { text, segments } if own_segments(text) == *segments => text.clone(),
            Self::Path { segments, .. } | Self::Length { segments, .. } => joined(segments),
        }
    }
}

/// The path of a `field`.
pub(super) fn joined(segments: &[String]) -> String {
    let escaped: Vec<String> = segments
        .iter()
        .map(|segment| segment.replace('\\', "\\\\").replace('.', "\\."))
        .collect();
    escaped.join(".")
}

/// Reads a property that is not empty. `Err` names what of gjson has no translation; the text can
/// still be the name of a key.
pub(super) fn parse(text: &str) -> Result<Property, &'static str> {
    let mut segments = vec![String::new()];
    let mut starts = true;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let start = std::mem::take(&mut starts);
        match c {
            '\\' => push(&mut segments, chars.next().unwrap_or(c)),
            '.' => {
                segments.push(String::new());
                starts = true;
            }
            '|' => return Err("the `|` of gjson"),
            '*' | '?' => return Err("a wildcard of gjson"),
            '@' | '!' if start => return Err("a modifier or literal of gjson"),
            '{' | '[' if start => return Err("a multipath of gjson"),
            '#' if start && segments.len() > 1 && chars.peek().is_none() => {
                segments.pop();
                return Ok(Property::Length {
                    text: text.to_owned(),
                    segments,
                });
            }
            '#' if start && matches!(chars.peek(), None | Some('.' | '(')) => {
                return Err("a query of gjson over all items of a list");
            }
            other => push(&mut segments, other),
        }
    }
    Ok(match segments.as_slice() {
        [name] if name == text => Property::Name(text.to_owned()),
        _ => Property::Path {
            text: text.to_owned(),
            segments,
        },
    })
}

fn push(segments: &mut [String], c: char) {
    if let Some(last) = segments.last_mut() {
        last.push(c);
    }
}

/// What our `field` makes of a text, where no key has it as its name.
fn own_segments(text: &str) -> Vec<String> {
    let mut segments = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '.' => segments.push(String::new()),
            '\\' => {
                let c = chars
                    .next_if(|next| matches!(next, '.' | '\\'))
                    .unwrap_or(c);
                push(&mut segments, c);
            }
            other => push(&mut segments, other),
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_paths_and_lengths() {
        for (text, field) in [
            ("password", "password"),
            ("tls.crt", "tls.crt"),
            (".dockerconfigjson", ".dockerconfigjson"),
            ("a.b.0.c", "a.b.0.c"),
            ("a\\.b.c", "a\\.b.c"),
            ("a\\*b", "a*b"),
            ("a\\\\b.c", "a\\\\b.c"),
            ("a\\?.b", "a?.b"),
            ("user@domain", "user@domain"),
            ("a#b", "a#b"),
            ("a-b_c", "a-b_c"),
            ("ключ", "ключ"),
        ] {
            assert_eq!(
                parse(text).map(|property| property.field()),
                Ok(field.to_owned()),
                "{text}"
            );
        }
        assert!(
            matches!(parse("a.b.#"), Ok(Property::Length { segments, .. }) if segments == ["a", "b"])
        );
    }

    #[test]
    fn the_rest_of_gjson_is_named() {
        for text in [
            "a|b",
            "a.*",
            "a?",
            "@this",
            "a.@reverse",
            "!\"x\"",
            "{a,b}",
            "a.[b,c]",
            "#",
            "a.#.b",
            "a.#(x==1).y",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
