//! `printf` and `%q`, as Go's `fmt` and `strconv` write. What Go marks inside the text
//! (`%!d(string=x)`, `%!s(MISSING)`) is an error here.

use serde_json::Value;

use super::budget::{Budget, Fault};
use crate::render::value::{kind, text};

/// The digits a float can have behind its point; more are zeros.
const FRACTION: usize = 1_100;

/// One `%…`.
#[derive(Clone, Copy, Default)]
struct Verb {
    left: bool,
    zeros: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

/// Formats the arguments after the first by the first.
pub(super) fn printf(args: &[&Value], budget: &Budget) -> Result<String, Fault> {
    let Some((format, values)) = args.split_first() else {
        return Err(Fault::new("the format is missing"));
    };
    let format = budget.large(text(format, budget.largest()))?;
    let mut values = values.iter();
    let mut out = String::new();
    let mut rest: &str = &format;
    while let Some((plain, verb)) = rest.split_once('%') {
        out.push_str(plain);
        let (flags, after) = Verb::read(verb)?;
        let Some(letter) = after.chars().next() else {
            return Err(Fault::new("the format ends in `%`").help("a per cent sign is `%%`"));
        };
        rest = &after[letter.len_utf8()..];
        if letter == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = values.next() else {
            return Err(Fault::new(format!("`%{letter}` has no value")));
        };
        // Before anything of that size is made.
        budget.room(
            out.len()
                .checked_add(flags.width)
                .and_then(|sum| sum.checked_add(flags.precision.unwrap_or(0))),
        )?;
        let body = flags.format(letter, value, budget)?;
        flags.pad(&body, &mut out);
        budget.room(Some(out.len()))?;
    }
    out.push_str(rest);
    budget.room(Some(out.len()))?;
    if values.next().is_some() {
        return Err(Fault::new(
            "there are more values than the format has verbs",
        ));
    }
    Ok(out)
}

impl Verb {
    /// Flags, width and precision; what follows is the letter.
    fn read(text: &str) -> Result<(Self, &str), Fault> {
        let mut verb = Self::default();
        let mut rest = text;
        loop {
            let flag = match rest.as_bytes().first() {
                Some(b'-') => &mut verb.left,
                Some(b'0') => &mut verb.zeros,
                Some(b'+') => &mut verb.plus,
                Some(b' ') => &mut verb.space,
                Some(b'#') => &mut verb.alternate,
                _ => break,
            };
            *flag = true;
            rest = &rest[1..];
        }
        let (width, after) = number(rest)?;
        verb.width = width.unwrap_or(0);
        rest = after;
        if let Some(after) = rest.strip_prefix('.') {
            let (precision, after) = number(after)?;
            verb.precision = Some(precision.unwrap_or(0));
            rest = after;
        }
        if rest.starts_with(['*', '[']) {
            return Err(Fault::new("`*` and `[n]` are not supported in a format"));
        }
        Ok((verb, rest))
    }

    fn format(self, letter: char, value: &Value, budget: &Budget) -> Result<String, Fault> {
        let wrong = || {
            Fault::new(format!("`%{letter}` does not take {}", kind(value)))
                .help("`%v` takes every value")
        };
        match (letter, value) {
            ('s' | 'v', _) => {
                let text = budget.large(text(value, budget.largest()))?;
                Ok(self.cut(&text).to_owned())
            }
            ('q', Value::String(text)) if !self.plus && !self.alternate => {
                Ok(quote(self.cut(text)))
            }
            ('t', Value::Bool(truth)) => Ok(truth.to_string()),
            ('d', Value::Number(number)) => {
                let literal = number.to_string();
                let (sign, digits) = integer(&literal).ok_or_else(wrong)?;
                Ok(self.signed(sign, "", digits))
            }
            ('x' | 'X', Value::Number(number)) => {
                let literal = number.to_string();
                let (sign, digits) = integer(&literal).ok_or_else(wrong)?;
                let number: u128 = digits.parse().map_err(|_| wrong())?;
                let (prefix, digits) = if letter == 'x' {
                    ("0x", format!("{number:x}"))
                } else {
                    ("0X", format!("{number:X}"))
                };
                Ok(self.signed(sign, if self.alternate { prefix } else { "" }, &digits))
            }
            ('x' | 'X', Value::String(text)) if !self.alternate && !self.space => {
                let bytes = text.as_bytes();
                let length = self.precision.unwrap_or(bytes.len()).min(bytes.len());
                let digits = if letter == 'x' {
                    b"0123456789abcdef"
                } else {
                    b"0123456789ABCDEF"
                };
                Ok(bytes[..length]
                    .iter()
                    .flat_map(|byte| [byte >> 4, byte & 15])
                    .map(|digit| char::from(digits[usize::from(digit)]))
                    .collect())
            }
            ('f' | 'F', Value::Number(number)) => {
                let float: f64 = number.to_string().parse().map_err(|_| wrong())?;
                if !float.is_finite() {
                    return Err(wrong());
                }
                let precision = self.precision.unwrap_or(6);
                let exact = precision.min(FRACTION);
                let mut digits = format!("{:.exact$}", float.abs());
                digits.extend(std::iter::repeat_n('0', precision - exact));
                let plain = Self {
                    precision: None,
                    ..self
                };
                Ok(plain.signed(float.is_sign_negative(), "", &digits))
            }
            ('d' | 't' | 'q' | 'x' | 'X' | 'f' | 'F', _) => Err(wrong()),
            _ => Err(
                Fault::new(format!("`%{}` is not supported", letter.escape_debug()))
                    .help("the verbs are %s %v %d %q %t %f %x %%"),
            ),
        }
    }

    /// So many characters at most.
    fn cut(self, text: &str) -> &str {
        let Some(precision) = self.precision else {
            return text;
        };
        text.char_indices()
            .nth(precision)
            .map_or(text, |(at, _)| &text[..at])
    }

    /// A number with its sign, and with zeros before its digits.
    fn signed(self, negative: bool, prefix: &str, digits: &str) -> String {
        let sign = match (negative, self.plus, self.space) {
            (true, _, _) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        };
        let least = match self.precision {
            Some(precision) => precision,
            None if self.zeros && !self.left => {
                self.width.saturating_sub(sign.len() + prefix.len())
            }
            None => 0,
        };
        let zeros = "0".repeat(least.saturating_sub(digits.len()));
        format!("{sign}{prefix}{zeros}{digits}")
    }

    fn pad(self, body: &str, out: &mut String) {
        let missing = self.width.saturating_sub(body.chars().count());
        let fill = if self.zeros && !self.left && self.precision.is_none() {
            '0'
        } else {
            ' '
        };
        if self.left {
            out.push_str(body);
            out.extend(std::iter::repeat_n(' ', missing));
        } else {
            out.extend(std::iter::repeat_n(fill, missing));
            out.push_str(body);
        }
    }
}

/// Digits at the start, if any.
fn number(text: &str) -> Result<(Option<usize>, &str), Fault> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return Ok((None, rest));
    }
    match digits.parse() {
        Ok(number) => Ok((Some(number), rest)),
        Err(_) => Err(Fault::new("a width in the format is too large")),
    }
}

/// Sign and digits of a whole number's literal.
fn integer(literal: &str) -> Option<(bool, &str)> {
    let digits = literal.strip_prefix('-').unwrap_or(literal);
    let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
    whole.then_some((digits.len() < literal.len() && digits != "0", digits))
}

/// Go's `strconv.Quote`.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            ' '..='~' => quoted.push(c),
            '\0'..='\u{7f}' => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            _ if is_printable(c) => quoted.push(c),
            '\u{80}'..='\u{ffff}' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

/// Letters, marks, numbers, punctuation and symbols; Rust's `Debug` of a string knows them. The
/// letter before lets a mark stand.
fn is_printable(c: char) -> bool {
    let mut buffer = [b'a'; 5];
    let length = c.encode_utf8(&mut buffer[1..]).len();
    std::str::from_utf8(&buffer[..=length]).is_ok_and(|text| text.escape_debug().eq(text.chars()))
}
