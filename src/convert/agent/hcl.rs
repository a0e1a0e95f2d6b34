//! The part of HCL that the agents' configurations are written in: blocks, assignments, strings,
//! heredocs, numbers, booleans, lists, comments. No expressions: they have none.

/// Blocks inside each other.
const MAX_DEPTH: usize = 32;

/// What stands behind a name.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A string, a number or a boolean, as text.
    Scalar(String),
    /// A list.
    List(Vec<Value>),
    /// A block, or a map.
    Body(Vec<Item>),
}

/// `name = value`, or `name "label" { … }`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) labels: Vec<String>,
    pub(super) value: Value,
    /// From 1.
    pub(super) line: usize,
}

/// Reads a file; the error is a line and what is wrong there.
pub(super) fn parse(text: &str) -> Result<Vec<Item>, (usize, String)> {
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
    };
    let items = reader.body(None);
    items.map_err(|message| (reader.line(), message))
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn line(&self) -> usize {
        self.text.get(..self.at).unwrap_or("").matches('\n').count() + 1
    }

    /// White space, commas between items, comments.
    fn skip(&mut self) -> Result<(), String> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with('#') || trimmed.starts_with("//") {
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if trimmed.starts_with("/*") {
                self.at += trimmed.find("*/").ok_or("a comment that does not end")? + 2;
            } else {
                return Ok(());
            }
        }
    }

    fn eat(&mut self, sign: char) -> bool {
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len_utf8() } else { 0 };
        found
    }

    fn body(&mut self, close: Option<char>) -> Result<Vec<Item>, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("nested too deeply".to_owned());
        }
        let mut items = Vec::new();
        loop {
            self.skip()?;
            if close.is_some_and(|close| self.eat(close)) {
                self.depth -= 1;
                return Ok(items);
            }
            if self.rest().is_empty() {
                return match close {
                    None => Ok(items),
                    Some(close) => Err(format!("a block that is not closed by `{close}`")),
                };
            }
            items.push(self.item()?);
        }
    }

    fn item(&mut self) -> Result<Item, String> {
        let line = self.line();
        let name = self.name()?;
        let mut labels = Vec::new();
        loop {
            self.skip_blanks();
            if self.eat('=') || self.eat(':') {
                self.skip()?;
                let value = self.value()?;
                return Ok(Item {
                    name,
                    labels,
                    value,
                    line,
                });
            }
            if self.eat('{') {
                let value = Value::Body(self.body(Some('}'))?);
                return Ok(Item {
                    name,
                    labels,
                    value,
                    line,
                });
            }
            labels.push(
                self.name().map_err(|_| {
                    format!("`{}` is followed by neither `=` nor `{{`", short(&name))
                })?,
            );
        }
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t']).len();
    }

    fn name(&mut self) -> Result<String, String> {
        if self.rest().starts_with('"') {
            return self.quoted();
        }
        let word = self.word();
        if word.is_empty() {
            let c = self.rest().chars().next().unwrap_or(' ');
            return Err(format!("unexpected `{}`", c.escape_debug()));
        }
        Ok(word.to_owned())
    }

    fn word(&mut self) -> &'t str {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+')))
            .unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn value(&mut self) -> Result<Value, String> {
        if self.rest().starts_with('"') {
            return self.quoted().map(Value::Scalar);
        }
        if self.rest().starts_with("<<") {
            return self.heredoc().map(Value::Scalar);
        }
        if self.eat('{') {
            return self.body(Some('}')).map(Value::Body);
        }
        if self.eat('[') {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err("nested too deeply".to_owned());
            }
            let mut items = Vec::new();
            loop {
                self.skip()?;
                if self.eat(']') {
                    self.depth -= 1;
                    return Ok(Value::List(items));
                }
                if self.rest().is_empty() {
                    return Err("a list that is not closed by `]`".to_owned());
                }
                items.push(self.value()?);
            }
        }
        self.name().map(Value::Scalar)
    }

    fn quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((offset, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += offset + 1;
                    return Ok(text);
                }
                '\n' => break,
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(c @ ('"' | '\\' | '/')) => text.push(c),
                    Some('u') => {
                        let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                        let code = u32::from_str_radix(&digits, 16)
                            .ok()
                            .and_then(char::from_u32);
                        text.push(code.ok_or("a `\\u` that is no character")?);
                    }
                    _ => return Err("an unknown escape in a string".to_owned()),
                },
                c => text.push(c),
            }
        }
        Err("a string that is not closed".to_owned())
    }

    /// `<<END` or `<<-END`: the second form loses the indentation that all lines have.
    fn heredoc(&mut self) -> Result<String, String> {
        self.at += 2;
        let indented = self.eat('-');
        let marker = self.word();
        let rest = self.rest();
        let start = rest.find('\n').ok_or("a heredoc that does not end")? + 1;
        if marker.is_empty() {
            return Err("a heredoc without a name".to_owned());
        }
        let mut lines: Vec<&str> = Vec::new();
        let mut at = start;
        for line in rest.get(start..).unwrap_or("").split_inclusive('\n') {
            at += line.len();
            if line.trim() == marker {
                self.at += at - usize::from(line.ends_with('\n'));
                let common = lines
                    .iter()
                    .filter(|line| !line.trim().is_empty())
                    .map(|line| line.len() - line.trim_start_matches([' ', '\t']).len())
                    .min()
                    .filter(|_| indented)
                    .unwrap_or(0);
                return Ok(lines
                    .iter()
                    .map(|line| line.get(common..).unwrap_or("\n"))
                    .collect::<String>()
                    .replace("\r\n", "\n"));
            }
            lines.push(line);
        }
        Err(format!("a heredoc without its closing `{}`", short(marker)))
    }
}

/// A name in a message.
fn short(name: &str) -> String {
    super::shown(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(items: &[Item]) -> String {
        items
            .iter()
            .map(|item| {
                let labels: String = item
                    .labels
                    .iter()
                    .map(|label| format!(" {label}"))
                    .collect();
                format!("{}{labels}={};", item.name, show_value(&item.value))
            })
            .collect()
    }

    fn show_value(value: &Value) -> String {
        match value {
            Value::Scalar(text) => text.clone(),
            Value::List(items) => format!(
                "[{}]",
                items.iter().map(show_value).collect::<Vec<_>>().join(",")
            ),
            Value::Body(items) => format!("{{{}}}", show(items)),
        }
    }

    #[test]
    fn blocks_assignments_and_comments() {
        let text = "# c\npid_file = \"./p\"\nvault { address = \"https://v\" // x\n}\n/* long\n*/\nauto_auth {\n  method \"approle\" {\n    \
                    config = { role_id_file_path = \"/r\", n = 5 }\n  }\n}\nlist = [\"a\", true, 0600,]\n";
        assert_eq!(
            show(&parse(text).unwrap()),
            "pid_file=./p;vault={address=https://v;};auto_auth={method approle={config={role_id_file_path=/r;n=5;};};};list=[a,true,0600];"
        );
    }

    #[test]
    fn strings_and_heredocs() {
        let text = "a = \"x\\n\\\"\\u00e9\"\nb = <<EOF\n  one\n two\nEOF\nc = <<-EOT\n    x\n      y\n\n    EOT\nd = 1";
        assert_eq!(
            show(&parse(text).unwrap()),
            "a=x\n\"é;b=  one\n two\n;c=x\n  y\n\n;d=1;"
        );
    }

    #[test]
    fn what_is_wrong_has_a_line() {
        for (text, line) in [
            ("a {\n", 2),
            ("\na = \"x\n", 2),
            ("a = <<EOF\nx\n", 1),
            ("a b c", 1),
            ("}", 1),
            ("a = [1", 1),
            ("/* x", 1),
            ("a = \"\\q\"", 1),
        ] {
            assert_eq!(parse(text).unwrap_err().0, line, "{text}");
        }
        assert!(parse(&"a {".repeat(5000)).is_err());
        assert!(parse(&format!("a = {}", "[".repeat(5000))).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a{}=\"\\\\<E\n\\[\\],é/*# -]{0,60}") {
            let _ = parse(&text);
        }
    }
}
