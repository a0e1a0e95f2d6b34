//! What stands inside a tag: a path, a literal, a call, a pipeline of calls; brought into the one
//! form that the engine is given.

use super::functions::{self, Function};
use super::lexer::{Kind, Token};
use super::path::{self, Scope};
use super::{MAX_CALLS, Problem};

/// An expression in canonical form, and how many calls are nested in it.
#[derive(Debug, PartialEq)]
pub(super) struct Term {
    pub(super) text: String,
    calls: usize,
}

/// Reads all the words as one expression; `at` is where to point when there are none.
pub(super) fn parse(tokens: &[Token<'_>], at: usize, scope: Scope) -> Result<Term, Problem> {
    let mut reader = Reader {
        tokens,
        next: 0,
        scope,
        end: tokens.last().map_or(at, |token| token.at),
    };
    let term = reader.pipeline(0)?;
    match reader.peek() {
        None => Ok(term),
        Some(token) => Err(unexpected(token)),
    }
}

/// A string as the engine's grammar wants it.
pub(super) fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn unexpected(token: &Token<'_>) -> Problem {
    match &token.kind {
        Kind::Equals => Problem::new(token.at, "`=` stands for nothing here").help(
            "variables and named arguments are not supported: write the expression where it \
                 is needed, and arguments in their order",
        ),
        Kind::Comma => Problem::new(token.at, "`,` stands for nothing here")
            .help("arguments are parted by spaces; `range` has no variables: the key is `@key`"),
        Kind::Close => Problem::new(token.at, "`)` closes nothing"),
        Kind::Pipe => Problem::new(token.at, "`|` needs a value before it"),
        Kind::Open => Problem::new(token.at, "unexpected `(`"),
        Kind::Word(word) => Problem::new(token.at, format!("unexpected `{word}`")),
        Kind::Text(_) => Problem::new(token.at, "unexpected string"),
    }
}

struct Reader<'a, 't> {
    tokens: &'a [Token<'t>],
    next: usize,
    scope: Scope,
    end: usize,
}

impl<'a, 't> Reader<'a, 't> {
    fn peek(&self) -> Option<&'a Token<'t>> {
        self.tokens.get(self.next)
    }

    fn take_if(&mut self, kind: &Kind<'_>) -> bool {
        let found = self.peek().is_some_and(|token| token.kind == *kind);
        self.next += usize::from(found);
        found
    }

    /// `a | f x | g`: each value is the last argument of the next call.
    fn pipeline(&mut self, depth: usize) -> Result<Term, Problem> {
        let mut term = self.command(None, depth)?;
        while self.take_if(&Kind::Pipe) {
            term = self.command(Some(term), depth)?;
        }
        Ok(term)
    }

    fn command(&mut self, piped: Option<Term>, depth: usize) -> Result<Term, Problem> {
        let Some(first) = self.peek() else {
            return Err(Problem::new(self.end, "an expression is missing"));
        };
        self.next += 1;
        let name = match first.kind {
            Kind::Word(word) if is_name(word) => Some(word),
            _ => None,
        };
        if name.is_none() {
            self.next -= 1;
            let operand = self.operand(depth)?;
            if let Some(more) = self.peek().filter(|token| begins_operand(token)) {
                return Err(Problem::new(more.at, "only a helper takes arguments"));
            }
            return match piped {
                None => Ok(operand),
                Some(_) => Err(Problem::new(
                    first.at,
                    "`|` leads to a helper, not to a value",
                )),
            };
        }
        let name = name.unwrap_or_default();
        let mut arguments = Vec::new();
        while self.peek().is_some_and(begins_operand) {
            arguments.push(self.operand(depth)?);
        }
        arguments.extend(piped);
        match functions::find(name) {
            Some(function) => call(function, arguments, first.at),
            None if arguments.is_empty() => {
                self.next -= 1;
                self.operand(depth)
            }
            None => Err(unknown(name, first.at)),
        }
    }

    fn operand(&mut self, depth: usize) -> Result<Term, Problem> {
        let Some(token) = self.peek() else {
            return Err(Problem::new(self.end, "an expression is missing"));
        };
        self.next += 1;
        let mut term = match &token.kind {
            Kind::Text(text) => Term {
                text: literal(text),
                calls: 0,
            },
            Kind::Word(word) => Term {
                text: self.word(word, token.at)?,
                calls: 0,
            },
            Kind::Open => {
                if depth >= MAX_CALLS {
                    return Err(too_deep(token.at));
                }
                let inner = self.pipeline(depth + 1)?;
                if !self.take_if(&Kind::Close) {
                    return Err(match self.peek() {
                        Some(token) => unexpected(token),
                        None => Problem::new(token.at, "`(` is not closed by `)`"),
                    });
                }
                inner
            }
            Kind::Pipe | Kind::Close | Kind::Comma | Kind::Equals => return Err(unexpected(token)),
        };
        // `(fromJson .x).a`
        if let Some(Token {
            kind: Kind::Word(word),
            at,
            glued: true,
        }) = self.peek()
        {
            if token.kind != Kind::Open || !path::is_go(word) || word.starts_with('$') {
                return Err(Problem::new(*at, "a space is missing"));
            }
            self.next += 1;
            term = deeper(path::below(&term.text, word, *at)?, term.calls, *at)?;
        }
        Ok(term)
    }

    fn word(&self, word: &str, at: usize) -> Result<String, Problem> {
        match word {
            "true" | "false" | "null" => return Ok(word.into()),
            "nil" => return Ok("null".into()),
            _ => {}
        }
        let unsigned = word.strip_prefix(['-', '+']).unwrap_or(word);
        if unsigned.len() < word.len() || unsigned.starts_with(|c: char| c.is_ascii_digit()) {
            return number(word).ok_or_else(|| Problem::new(at, format!("`{word}` is no number")));
        }
        if word.starts_with(':') {
            return Err(unexpected(&Token {
                kind: Kind::Equals,
                at,
                glued: false,
            }));
        }
        path::canonical(word, at, self.scope)
    }
}

fn begins_operand(token: &Token<'_>) -> bool {
    matches!(token.kind, Kind::Word(_) | Kind::Text(_) | Kind::Open)
}

/// A word that may name a helper.
fn is_name(word: &str) -> bool {
    !matches!(word, "true" | "false" | "null" | "nil")
        && word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

fn call(function: &Function, arguments: Vec<Term>, at: usize) -> Result<Term, Problem> {
    let name = function.name;
    if arguments.len() < function.least || arguments.len() > function.most {
        let problem = Problem::new(
            at,
            format!(
                "`{name}` takes {}, not {}",
                function.takes(),
                arguments.len()
            ),
        );
        return Err(if arguments.is_empty() {
            problem.help(format!(
                "a field of that name is written `{{{{ .{name} }}}}`"
            ))
        } else {
            problem
        });
    }
    let calls = arguments.iter().map(|term| term.calls).max().unwrap_or(0);
    let mut text = format!("({name}");
    for argument in &arguments {
        text.push(' ');
        text.push_str(&argument.text);
    }
    text.push(')');
    deeper(text, calls, at)
}

fn deeper(text: String, calls: usize, at: usize) -> Result<Term, Problem> {
    if calls >= MAX_CALLS {
        return Err(too_deep(at));
    }
    Ok(Term {
        text,
        calls: calls + 1,
    })
}

fn too_deep(at: usize) -> Problem {
    Problem::new(
        at,
        format!("more than {MAX_CALLS} calls or parentheses inside each other"),
    )
}

fn unknown(name: &str, at: usize) -> Problem {
    Problem::new(at, format!("there is no helper `{name}`")).help(functions::instead_of(name))
}

/// Go's numbers in the engine's spelling: decimal, without an exponent.
fn number(word: &str) -> Option<String> {
    let (sign, unsigned) = match word.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", word.strip_prefix('+').unwrap_or(word)),
    };
    let hex = unsigned
        .strip_prefix("0x")
        .or_else(|| unsigned.strip_prefix("0X"));
    if let Some(digits) = hex {
        return digits
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit())
            .then(|| u64::from_str_radix(digits, 16).ok())?
            .map(|number| format!("{sign}{number}"));
    }
    let decimal = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if decimal(unsigned) {
        // Go reads a leading zero as octal: refused rather than guessed.
        let plain = unsigned == "0" || !unsigned.starts_with('0');
        return (plain && unsigned.len() <= 400).then(|| format!("{sign}{unsigned}"));
    }
    let mantissa = unsigned.split(['e', 'E']).next()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    if !decimal(whole) || !decimal(fraction) {
        return None;
    }
    let value: f64 = unsigned.parse().ok()?;
    value.is_finite().then(|| format!("{sign}{value}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::template::lexer;

    fn canonical(text: &str) -> Result<String, String> {
        let tag = lexer::tag(text, 0, 2, false).unwrap();
        parse(&tag.tokens, 0, Scope::default())
            .map(|term| term.text)
            .map_err(|problem| problem.message)
    }

    #[test]
    fn calls_pipelines_and_parentheses() {
        for (text, expected) in [
            ("{{ .a }}", "this.[a]"),
            ("{{ .upper }}", "this.[upper]"),
            ("{{ .a | upper }}", "(upper this.[a])"),
            ("{{ .a|b64dec|indent 4 }}", "(indent 4 (b64dec this.[a]))"),
            ("{{ index . \"a.b\" }}", "(index this \"a.b\")"),
            (
                "{{ (fromJson .a).b.c }}",
                "(index (fromJson this.[a]) \"b\" \"c\")",
            ),
            (
                "{{ upper (default \"x\" b) }}",
                "(upper (default \"x\" this.[b]))",
            ),
            (
                "{{ printf \"%s\" ($.a) | quote }}",
                "(quote (printf \"%s\" @root/this.[a]))",
            ),
            ("{{ ((.a)) }}", "this.[a]"),
            ("{{ eq .a -1 }}", "(eq this.[a] -1)"),
            ("{{ eq .a 0x1f }}", "(eq this.[a] 31)"),
            ("{{ eq .a 1.5e3 }}", "(eq this.[a] 1500)"),
            ("{{ eq .a nil }}", "(eq this.[a] null)"),
            ("{{ \"a\\\"\\n\" }}", r#""a\"\n""#),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("{{ }}", "an expression is missing"),
            ("{{ .a | }}", "an expression is missing"),
            ("{{ | upper }}", "`|` needs a value before it"),
            ("{{ .a .b }}", "only a helper takes arguments"),
            ("{{ .a | .b }}", "`|` leads to a helper, not to a value"),
            ("{{ upper }}", "`upper` takes 1 argument, not 0"),
            ("{{ upper .a .b }}", "`upper` takes 1 argument, not 2"),
            ("{{ nosuch .a }}", "there is no helper `nosuch`"),
            ("{{ .a | env }}", "there is no helper `env`"),
            ("{{ $x := .a }}", "variables are not supported: `$x`"),
            ("{{ upper (.a }}", "`(` is not closed by `)`"),
            ("{{ .a ) }}", "`)` closes nothing"),
            ("{{ upper a=b }}", "`=` stands for nothing here"),
            ("{{ \"a\"\"b\" }}", "only a helper takes arguments"),
            ("{{ 012 }}", "`012` is no number"),
            ("{{ 1x }}", "`1x` is no number"),
            ("{{ \"a\".b }}", "a space is missing"),
        ] {
            assert_eq!(canonical(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let pipes = format!("{{{{ .a{} }}}}", " | upper".repeat(MAX_CALLS));
        assert!(canonical(&pipes).is_ok());
        for deep in [
            format!("{{{{ .a{} }}}}", " | upper".repeat(MAX_CALLS + 1)),
            format!("{{{{ {} }}}}", "(".repeat(100_000)),
        ] {
            let message = canonical(&deep).unwrap_err();
            assert!(message.contains("inside each other"), "{message}");
        }
    }
}
