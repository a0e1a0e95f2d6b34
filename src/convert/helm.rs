//! Manifests that are templates of Helm still: `helm template` renders them; without it, what
//! stands in `{{ … }}` becomes a variable (`${VALUES_VAULT_PATH}`), so that the rest can be read.
//!
//! What Helm would write without knowing any value is written: the operator's own templates,
//! which stand in raw strings (``{{ `{{ .password }}` }}``) or as `{{ "{{" }} .password {{ "}}" }}`.

use std::collections::BTreeSet;

/// A text that YAML can be read from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plain {
    /// The text, with as many lines.
    pub(super) text: String,
    /// The variables that stand in it now.
    pub(super) variables: BTreeSet<String>,
    /// Lines that were control flow or whole inserted blocks, and are gone.
    pub(super) dropped: usize,
}

/// Whether a text speaks Helm's language, rather than that of the operator's templates alone.
pub(super) fn is_template(text: &str) -> bool {
    actions(text).any(|(_, body)| {
        let body = body.trim_matches('-').trim();
        [
            ".Values",
            ".Release",
            ".Chart",
            ".Capabilities",
            ".Files",
            "include ",
            "tpl ",
            "`{{",
            "\"{{\"",
            "\"}}\"",
        ]
        .iter()
        .any(|sign| body.contains(sign))
    })
}

/// Takes the templates out of a text.
pub(super) fn plain(text: &str) -> Plain {
    let mut plain = Plain {
        text: String::with_capacity(text.len()),
        variables: BTreeSet::new(),
        dropped: 0,
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut at = 0;
    for (opened, body) in actions(text) {
        out.push_str(&rest[..opened - at]);
        let end = opened + body.len() + 4;
        rest = &text[end..];
        at = end;
        let line_before = out.rsplit('\n').next().unwrap_or("");
        let alone = line_before.trim().is_empty()
            && rest
                .split(['\r', '\n'])
                .next()
                .unwrap_or("")
                .trim()
                .is_empty();
        let lines = "\n".repeat(body.matches('\n').count());
        match meaning(body) {
            Meaning::Control => {
                plain.dropped += usize::from(alone);
                if alone {
                    out.truncate(out.trim_end_matches([' ', '\t']).len());
                }
                out.push_str(&lines);
            }
            Meaning::Text(text) => out.push_str(&text),
            // A block, or a value of several lines: nothing is known of its shape.
            Meaning::Value(_) if alone => {
                plain.dropped += 1;
                out.truncate(out.trim_end_matches([' ', '\t']).len());
                out.push_str(&lines);
            }
            Meaning::Value(value) => {
                plain.variables.insert(value.name.clone());
                let quoted = value.quoted && !line_before.ends_with(['"', '\'']);
                let quote = if quoted { "\"" } else { "" };
                let default = value
                    .default
                    .map(|text| format!(":-{text}"))
                    .unwrap_or_default();
                out.push_str(&format!("{quote}${{{}{default}}}{quote}", value.name));
                out.push_str(&lines);
            }
        }
    }
    out.push_str(rest);
    plain.text = out;
    plain
}

/// Offset and inside of each `{{ … }}`.
fn actions(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let opened = at + text.get(at..)?.find("{{")?;
        let inside = opened + 2;
        let length = length(&text[inside..])?;
        at = inside + length + 2;
        Some((opened, &text[inside..inside + length]))
    })
}

/// How long the inside of an action is: strings and comments may hold braces.
fn length(inside: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match quote {
            Some('`') if c == '`' => quote = None,
            Some('`') => {}
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            // No string goes on there: it was an apostrophe.
            Some(_) if c == '\n' => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if inside[at..].starts_with("}}") => return Some(at),
            None => {}
        }
    }
    // A lone quote somewhere: the next braces will do.
    inside.find("}}")
}

enum Meaning {
    /// Writes nothing.
    Control,
    /// Writes this, whatever the values are.
    Text(String),
    /// Writes something that depends on values.
    Value(Value),
}

struct Value {
    name: String,
    default: Option<String>,
    quoted: bool,
}

fn meaning(body: &str) -> Meaning {
    let body = body.strip_prefix('-').unwrap_or(body);
    let body = body.strip_suffix('-').unwrap_or(body).trim();
    let first = body
        .split([' ', '\t', '\r', '\n', '('])
        .next()
        .unwrap_or("");
    let control = [
        "if", "else", "end", "range", "with", "define", "block", "template", "break", "continue",
    ];
    if body.is_empty() || body.starts_with("/*") || control.contains(&first) || body.contains(":=")
    {
        return Meaning::Control;
    }
    if let Some(text) = literal(body) {
        return Meaning::Text(text);
    }
    let mut stages = body.split('|').map(str::trim);
    let subject = stages.next().unwrap_or("");
    let (mut default, mut quoted) = (None, false);
    for stage in stages {
        match stage.split_once(' ') {
            Some(("default", value)) => default = literal(value.trim()),
            None if stage == "quote" || stage == "squote" => quoted = true,
            _ => {}
        }
    }
    let subject = subject
        .strip_prefix("quote ")
        .inspect(|_| quoted = true)
        .unwrap_or(subject);
    Meaning::Value(Value {
        name: variable(subject),
        // Braces in a default would end the variable.
        default: default.filter(|text| !text.contains(['{', '}', '\n'])),
        quoted,
    })
}

/// A string constant.
fn literal(text: &str) -> Option<String> {
    if let Some(raw) = text
        .strip_prefix('`')
        .and_then(|text| text.strip_suffix('`'))
    {
        return (!raw.contains('`')).then(|| raw.to_owned());
    }
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.replace("\\\\", "").replace("\\\"", "").contains('"') {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// A name for what an expression gives: `.Values.vault.path` is `VALUES_VAULT_PATH`.
fn variable(expression: &str) -> String {
    let subject = expression
        .strip_prefix("include ")
        .or_else(|| expression.strip_prefix("tpl "))
        .or_else(|| expression.strip_prefix("printf "))
        .unwrap_or(expression);
    let mut name = String::new();
    for c in subject.trim().chars().take(64) {
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_uppercase());
        } else if !name.ends_with('_') && !name.is_empty() {
            name.push('_');
        }
    }
    let name = name.trim_end_matches('_');
    match name.chars().next() {
        None => "VALUE".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("V_{name}"),
        Some(_) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_helms_own_words_make_a_helm_template() {
        for text in [
            "a: {{ .Values.x }}",
            "a: '{{ include \"f\" . }}'",
            "a: \"{{ `{{ .password }}` }}\"",
            "a: {{- .Release.Name -}}",
            "a: '{{ \"{{\" }} .x {{ \"}}\" }}'",
        ] {
            assert!(is_template(text), "{text}");
        }
        for text in [
            "a: '{{ .password }}'",
            "a: '{{ index . \"a.b\" | b64enc }}'",
            "a: .Values.x",
            "{{",
            "a: '{{ printf \"%s\" .x }}'",
        ] {
            assert!(!is_template(text), "{text}");
        }
    }

    #[test]
    fn values_become_variables_and_constants_become_text() {
        for (text, expected) in [
            (
                "a: {{ .Values.vault.path }}/db",
                "a: ${VALUES_VAULT_PATH}/db",
            ),
            ("a: {{ .Values.x | quote }}", "a: \"${VALUES_X}\""),
            ("a: {{ quote .Values.x }}", "a: \"${VALUES_X}\""),
            (
                "a: \"{{ .Values.x | default \"d\" }}\"",
                "a: \"${VALUES_X:-d}\"",
            ),
            ("a: {{ include \"app.name\" . }}", "a: ${APP_NAME}"),
            ("a: '{{ `{{ .password }}` }}'", "a: '{{ .password }}'"),
            ("a: '{{ \"{{\" }} .x {{ \"}}\" }}'", "a: '{{ .x }}'"),
            ("a: {{ (.x) }}", "a: ${X}"),
            ("a: {{ 1 }}", "a: ${V_1}"),
            ("a: {{ . }}", "a: ${VALUE}"),
            ("a: {{ \"it's }} \" }}", "a: it's }} "),
            ("a: {{ unclosed", "a: {{ unclosed"),
        ] {
            assert_eq!(plain(text).text, expected, "{text}");
        }
    }

    #[test]
    fn control_flow_goes_and_lines_stay() {
        let text = "{{- if .Values.on }}\na: 1\n  {{- include \"labels\" . | nindent 4 }}\nb:{{ if .x }} 2{{ end }}\n{{/*\nlong\n*/}}\nc: 3\n{{- end }}\n";
        let plain = plain(text);
        assert_eq!(plain.text, "\na: 1\n\nb: 2\n\n\n\nc: 3\n\n");
        assert_eq!(plain.text.lines().count(), text.lines().count());
        assert_eq!(plain.dropped, 4);
    }
}
