//! The words inside one `{{ … }}`: those of Go and those of Handlebars together.

use super::Problem;

/// One word, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind<'t>,
    /// Byte offset in the template.
    pub(super) at: usize,
    /// Nothing stands between it and the word before.
    pub(super) glued: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind<'t> {
    /// A name, path, keyword or number.
    Word(&'t str),
    /// A string, its escapes resolved.
    Text(String),
    Pipe,
    Open,
    Close,
    Comma,
    /// `=`: neither named arguments nor variables are known here.
    Equals,
}

/// The words of one tag, and how it ends.
#[derive(Debug, PartialEq)]
pub(super) struct Tag<'t> {
    pub(super) tokens: Vec<Token<'t>>,
    /// Byte offset behind its last brace.
    pub(super) end: usize,
    /// It ends in ` -}}`: the white space behind it goes.
    pub(super) dash: bool,
    /// It ends in `~}}`, likewise.
    pub(super) tilde: bool,
}

/// Reads the words from `from` to the closing braces; `opened` is where the tag began.
pub(super) fn tag(
    template: &str,
    opened: usize,
    from: usize,
    triple: bool,
) -> Result<Tag<'_>, Problem> {
    let mut tokens = Vec::new();
    let mut at = from;
    loop {
        let rest = &template[at..];
        let c = match rest.chars().next() {
            Some(c) if !(triple && c == '}' && ending(rest, false, true).is_none()) => c,
            _ => return Err(unclosed(opened, triple)),
        };
        let spaced = template[..at].ends_with(char::is_whitespace);
        if let Some((length, dash, tilde)) = ending(rest, spaced, triple) {
            return Ok(Tag {
                tokens,
                end: at + length,
                dash,
                tilde,
            });
        }
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let (kind, length) = match c {
            '|' => (Kind::Pipe, 1),
            '(' => (Kind::Open, 1),
            ')' => (Kind::Close, 1),
            ',' => (Kind::Comma, 1),
            '=' => (Kind::Equals, 1),
            '`' => {
                let Some(length) = rest[1..].find('`') else {
                    return Err(Problem::new(at, "the string in backticks is not closed"));
                };
                (Kind::Text(rest[1..=length].replace('\r', "")), length + 2)
            }
            '"' | '\'' => {
                let (text, length) = quoted(rest, at)?;
                (Kind::Text(text), length)
            }
            _ => {
                let length = word(rest, at)?;
                (Kind::Word(&rest[..length]), length)
            }
        };
        tokens.push(Token {
            kind,
            at,
            glued: !spaced && at > from,
        });
        at += length;
    }
}

fn unclosed(opened: usize, triple: bool) -> Problem {
    let braces = if triple { "`}}}`" } else { "`}}`" };
    Problem::new(opened, format!("the tag is not closed by {braces}"))
        .help("braces that are no tag are written `{{ \"{{\" }}`")
}

/// Length, dash and tilde of closing braces.
fn ending(rest: &str, spaced: bool, triple: bool) -> Option<(usize, bool, bool)> {
    if triple {
        return match rest {
            _ if rest.starts_with("}}}") => Some((3, false, false)),
            _ if rest.starts_with("}~}}") || rest.starts_with("~}}}") => Some((4, false, true)),
            _ => None,
        };
    }
    match rest {
        _ if rest.starts_with("}}") => Some((2, false, false)),
        _ if rest.starts_with("~}}") => Some((3, false, true)),
        _ if spaced && rest.starts_with("-}}") => Some((3, true, false)),
        _ => None,
    }
}

/// The length of a name, path or number.
fn word(rest: &str, at: usize) -> Result<usize, Problem> {
    let mut length = 0;
    let mut bracket = false;
    for (offset, c) in rest.char_indices() {
        let inside = match c {
            _ if bracket => {
                bracket = c != ']';
                true
            }
            '[' => {
                bracket = true;
                true
            }
            '_' | '-' | '+' | '$' | ':' | '.' | '/' | '@' => true,
            _ => c.is_ascii_alphanumeric() || (!c.is_ascii() && !c.is_whitespace()),
        };
        if !inside {
            break;
        }
        length = offset + c.len_utf8();
    }
    if bracket {
        return Err(Problem::new(at, "the bracket `[` is not closed by `]`"));
    }
    if length == 0 {
        let c = rest.chars().next().unwrap_or(' ');
        return Err(Problem::new(
            at,
            format!("unexpected character `{}`", c.escape_debug()),
        ));
    }
    if rest[..length].ends_with('-') && rest[length..].starts_with("}}") {
        return Err(
            Problem::new(at, "a dash that trims needs a space before it").help("write ` -}}`"),
        );
    }
    Ok(length)
}

/// A string in single or double quotes, with the escapes of Go and JSON; its text and its length.
fn quoted(rest: &str, at: usize) -> Result<(String, usize), Problem> {
    let quote = rest.as_bytes().first().copied().unwrap_or(b'"');
    let mut bytes = Vec::new();
    let mut chars = rest.char_indices();
    chars.next();
    while let Some((offset, c)) = chars.next() {
        match c {
            '\n' => break,
            _ if u32::from(c) == u32::from(quote) => {
                let text = String::from_utf8(bytes)
                    .map_err(|_| Problem::new(at, "the string is not UTF-8"))?;
                return Ok((text, offset + 1));
            }
            '\\' => {
                let length = escape(&rest[offset + 1..], &mut bytes)
                    .ok_or_else(|| Problem::new(at + offset, "unknown escape in a string"))?;
                while chars
                    .clone()
                    .next()
                    .is_some_and(|(next, _)| next <= offset + length)
                {
                    chars.next();
                }
            }
            _ => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Err(Problem::new(at, "the string is not closed"))
}

/// One escape, after its backslash: its bytes are added, its length is given.
fn escape(rest: &str, bytes: &mut Vec<u8>) -> Option<usize> {
    let first = *rest.as_bytes().first()?;
    let simple = match first {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' | b'\'' | b'"' | b'/' => first,
        b'0'..=b'7' => {
            bytes.push(u8::try_from(digits(rest, 0, 3, 8)?).ok()?);
            return Some(3);
        }
        b'x' => {
            bytes.push(u8::try_from(digits(rest, 1, 2, 16)?).ok()?);
            return Some(3);
        }
        b'u' | b'U' => {
            let (code, length) = code_point(rest, if first == b'u' { 4 } else { 8 })?;
            let c = char::from_u32(code)?;
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(length);
        }
        _ => return None,
    };
    bytes.push(simple);
    Some(1)
}

/// `uXXXX` or `UXXXXXXXX`; two of JSON's surrogates make one character.
fn code_point(rest: &str, length: usize) -> Option<(u32, usize)> {
    let code = digits(rest, 1, length, 16)?;
    if length == 4 && (0xd800..0xdc00).contains(&code) {
        let low = digits(rest.get(5..)?.strip_prefix("\\u")?, 0, 4, 16)?;
        let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
        return Some((0x10000 + ((code - 0xd800) << 10) + low, 11));
    }
    Some((code, length + 1))
}

fn digits(rest: &str, from: usize, length: usize, radix: u32) -> Option<u32> {
    let digits = rest.get(from..from + length)?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then(|| u32::from_str_radix(digits, radix).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Kind<'_>> {
        let tag = tag(text, 0, 2, false).unwrap();
        assert_eq!(tag.end, text.len());
        tag.tokens.into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn words_strings_and_signs() {
        assert_eq!(
            words("{{ .a.b-c|f ($) \"x}}\" `y\"z` ../[q r].s -}}"),
            [
                Kind::Word(".a.b-c"),
                Kind::Pipe,
                Kind::Word("f"),
                Kind::Open,
                Kind::Word("$"),
                Kind::Close,
                Kind::Text("x}}".into()),
                Kind::Text("y\"z".into()),
                Kind::Word("../[q r].s"),
            ]
        );
    }

    #[test]
    fn escapes_of_go_and_of_json() {
        for (written, meant) in [
            (
                r#""\a\b\f\n\r\t\v\\\"\'\/""#,
                "\u{7}\u{8}\u{c}\n\r\t\u{b}\\\"'/",
            ),
            (r#""\101\x41\u00e9\U0001F600""#, "AAé😀"),
            (r#""\xc3\xa9""#, "é"),
            (r#""\ud83d\ude00""#, "😀"),
            ("'it\"'", "it\""),
        ] {
            let (text, _) = quoted(written, 0).unwrap();
            assert_eq!(text, meant, "{written}");
        }
        for bad in [
            r#""\q""#,
            r#""\xff""#,
            r#""\ud83d""#,
            r#""\400""#,
            "\"a\nb\"",
            "\"a",
            r#""\x4é""#,
            r#""\"#,
        ] {
            assert!(quoted(bad, 0).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_ways_a_tag_ends() {
        let end = |text, triple| {
            let tag = tag(text, 0, if triple { 3 } else { 2 }, triple).unwrap();
            (tag.dash, tag.tilde)
        };
        assert_eq!(end("{{ a -}}", false), (true, false));
        assert_eq!(end("{{ a~}}", false), (false, true));
        assert_eq!(end("{{{a}}}", true), (false, false));
        assert_eq!(end("{{{a}~}}", true), (false, true));
        assert!(tag("{{ a-}}", 0, 2, false).is_err());
        assert!(tag("{{ a", 0, 2, false).is_err());
        assert!(tag("{{ a } }", 0, 2, false).is_err());
    }
}
