//! What must not be shown of the file's own lines: credentials, and the values of keys that we do
//! not know (a mistyped `token` is still a token).

use std::collections::{BTreeMap, BTreeSet};

use super::node::{Node, Value};

/// Keys whose values are never shown.
pub(crate) const CREDENTIAL_KEYS: [&str; 3] = ["token", "roleId", "secretId"];

pub(super) const REDACTED: &str = "[redacted]";

/// Which parts of which lines are hidden.
#[derive(Default)]
pub(crate) struct Masks {
    /// Lines on which any key or value begins.
    starts: BTreeSet<usize>,
    /// From which column on a line is hidden.
    hidden: BTreeMap<usize, usize>,
}

impl Masks {
    /// Hides every credential of the document.
    pub(crate) fn of(root: &Node) -> Self {
        let mut masks = Self::default();
        masks.note_starts(root);
        masks.hide_credentials(root);
        masks
    }

    fn note_starts(&mut self, node: &Node) {
        self.starts.extend(node.place.map(|(line, _)| line));
        match &node.value {
            Value::List(items) => items.iter().for_each(|item| self.note_starts(item)),
            Value::Map(entries) => {
                for entry in entries {
                    self.starts.extend(entry.place.map(|(line, _)| line));
                    self.note_starts(&entry.node);
                }
            }
            Value::Null | Value::Text(_) => {}
        }
    }

    fn hide_credentials(&mut self, node: &Node) {
        match &node.value {
            Value::List(items) => items.iter().for_each(|item| self.hide_credentials(item)),
            Value::Map(entries) => {
                for entry in entries {
                    let is_credential = CREDENTIAL_KEYS.contains(&entry.key.as_str());
                    if is_credential || entry.key == "address" && holds_more(&entry.node) {
                        self.hide(&entry.node);
                    } else {
                        self.hide_credentials(&entry.node);
                    }
                }
            }
            Value::Null | Value::Text(_) => {}
        }
    }

    /// Hides a value wherever it stands.
    pub(crate) fn hide(&mut self, node: &Node) {
        match &node.value {
            Value::List(items) => items.iter().for_each(|item| self.hide(item)),
            Value::Map(entries) => {
                for entry in entries {
                    self.hide_from(entry.place);
                    self.hide(&entry.node);
                }
            }
            Value::Null | Value::Text(_) => self.hide_from(node.place),
        }
    }

    /// Hides a line from a place on.
    pub(crate) fn hide_from(&mut self, place: Option<(usize, usize)>) {
        let Some((line, column)) = place else { return };
        let from = self.hidden.entry(line).or_insert(column);
        *from = column.min(*from);
    }

    /// A line as it may be shown.
    pub(crate) fn apply(&self, number: usize, line: &str) -> String {
        let column = self
            .hidden
            .get(&number)
            .copied()
            .or_else(|| self.continues(number).then_some(1));
        match column {
            Some(column) => {
                let shown: String = line.chars().take(column - 1).collect();
                without_userinfo(&shown) + REDACTED
            }
            None => without_userinfo(line),
        }
    }

    /// Whether a line without a beginning of its own goes on with a hidden value.
    fn continues(&self, number: usize) -> bool {
        if self.starts.contains(&number) {
            return false;
        }
        let start = self.starts.range(..number).next_back();
        start.is_some_and(|start| self.hidden.contains_key(start))
    }
}

fn holds_more(address: &Node) -> bool {
    matches!(&address.value, Value::Text(text) if may_hold_credential(text))
}

/// Whether an address has a part where people put passwords and tokens: before an `@`, or in a
/// query.
pub(crate) fn may_hold_credential(address: &str) -> bool {
    address.contains(['@', '?'])
}

/// A line of a file that could not be parsed: shown where it begins with a harmless key of ours
/// and nothing in it looks like a credential, else hidden.
pub(crate) fn unparsed(line: &str, is_value: impl Fn(&str) -> bool) -> String {
    let lower = line.to_ascii_lowercase();
    let suspicious = [
        "token",
        "secretid",
        "roleid",
        "password",
        "secret_id",
        "role_id",
        "@",
        "?",
    ]
    .iter()
    .any(|word| lower.contains(word));
    let body = line.trim_start_matches([' ', '\t', '-', '{']);
    let key = body
        .split(':')
        .next()
        .unwrap_or_default()
        .trim_matches([' ', '"', '\'']);
    // Several keys in one line: only the first is known to be harmless.
    let flow = line.split(',').skip(1).any(|rest| rest.contains(':'));
    if is_value(key) && !suspicious && !flow {
        return line.to_owned();
    }
    match line.find(':') {
        Some(colon) if is_value(key) => format!("{}: {REDACTED}", &line[..colon]),
        _ => {
            let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
            format!("{indent}{REDACTED}")
        }
    }
}

/// Hides the user and password of a URL.
fn without_userinfo(line: &str) -> String {
    let Some(start) = line.find("://").map(|at| at + 3) else {
        return line.to_owned();
    };
    let rest = &line[start..];
    let end = rest
        .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ','))
        .unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{}{REDACTED}{}", &line[..start], &rest[at..]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::node::parse;
    use crate::config::schema;

    #[test]
    fn a_credential_is_hidden_on_every_line_of_it() {
        let text =
            "a:\n  token: |\n    one\n\n    two\n  b: 1\n  roleId: x\n    y\nc: {token: z, d: 1}\n";
        let masks = Masks::of(&parse(text, true).unwrap());
        let shown: Vec<String> = text
            .lines()
            .enumerate()
            .map(|(index, line)| masks.apply(index + 1, line))
            .collect();
        assert_eq!(
            shown,
            [
                "a:",
                "  token: [redacted]",
                "[redacted]",
                "[redacted]",
                "[redacted]",
                "  b: 1",
                "  roleId: [redacted]",
                "[redacted]",
                "c: {token: [redacted]",
            ]
        );
    }

    #[test]
    fn an_address_with_a_password_or_a_query_is_hidden() {
        for (line, shown) in [
            ("address: https://v:1", "address: https://v:1"),
            ("address: https://u:p@v:1", "address: [redacted]"),
            ("address: u:p@v", "address: [redacted]"),
            ("address: https://v?token=x", "address: [redacted]"),
            (
                "{address: 'https://u:p@v', token: x}",
                "{address: [redacted]",
            ),
            (
                "{x-y: 'https://u:p@v', token: x}",
                "{x-y: 'https://[redacted]@v', token: [redacted]",
            ),
        ] {
            assert_eq!(Masks::of(&parse(line, true).unwrap()).apply(1, line), shown);
        }
    }

    #[test]
    fn of_a_line_that_could_not_be_parsed_only_what_is_clear_is_shown() {
        for (line, shown) in [
            ("  address: a: b", "  address: a: b"),
            ("  - name: 'x", "  - name: 'x"),
            ("  token: x: y", "  token: [redacted]"),
            ("  {address: a, token: b: c}", "  {address: [redacted]"),
            ("  address: https://u:p@v: x", "  address: [redacted]"),
            ("secretStore: !x y", "[redacted]"),
            ("    s.abcdef", "    [redacted]"),
            ("", "[redacted]"),
        ] {
            assert_eq!(unparsed(line, schema::is_value), shown, "{line}");
        }
    }
}
