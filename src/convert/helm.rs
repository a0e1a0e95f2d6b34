//! Manifests that are templates of Helm still: `helm template` renders them; without it, what
//! stands in `{{ … }}` becomes a variable (`${HELM_VALUES_VAULT_PATH}`), so that the rest can be read.
//! While YAML is read, a mark without braces stands for it: braces mean something in lists and maps.
//!
//! What Helm would write without knowing any value is written: the operator's own templates,
//! which stand in raw strings (``{{ `{{ .password }}` }}``) or as `{{ "{{" }} .password {{ "}}" }}`.

use std::collections::BTreeSet;

use super::tree::Node;

/// Private characters around the number of a value.
const OPEN: char = '\u{e000}';
const CLOSE: char = '\u{e001}';
/// Before every variable: a chart's `$path` is not the `PATH` of the daemon's environment.
const PREFIX: &str = "HELM_";

/// A text that YAML can be read from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plain {
    /// The text, with as many lines.
    pub(super) text: String,
    /// The names of the variables that stand in it now.
    pub(super) variables: BTreeSet<String>,
    /// Lines that were control flow or whole inserted blocks, and are gone.
    pub(super) dropped: usize,
    /// What each mark stands for.
    values: Vec<String>,
}

impl Plain {
    /// Puts variables in the place of their marks.
    pub(super) fn restore(&self, node: Node) -> Node {
        match node {
            Node::Text(text) => Node::Text(self.restored(&text)),
            Node::List(items) => {
                Node::List(items.into_iter().map(|item| self.restore(item)).collect())
            }
            Node::Map(entries) => Node::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| (self.restored(&key), self.restore(value)))
                    .collect(),
            ),
            other => other,
        }
    }

    fn restored(&self, text: &str) -> String {
        let mut parts = text.split(OPEN);
        let mut out = parts.next().unwrap_or("").to_owned();
        for part in parts {
            let marked = part.split_once(CLOSE).and_then(|(number, rest)| {
                let value = self.values.get(number.parse::<usize>().ok()?)?;
                Some((value, rest))
            });
            match marked {
                Some((value, rest)) => out.extend([value, rest]),
                None => out.push_str(part),
            }
        }
        out
    }
}

/// Whether a text speaks Helm's language, rather than that of the operator's templates alone.
///
/// Strings that hold braces (``{{ `{{ .x }}` }}``, `{{ "{{" }}`) are Helm's way to write the operator's
/// templates, and the operator's way to write those of yet another program (Alertmanager). Where a
/// field stands beside them (`{{ .x }}`), which Helm would not leave there, they are the operator's.
pub(super) fn is_template(text: &str) -> bool {
    let (mut hidden, mut field) = (false, false);
    for (_, body) in actions(text) {
        let body = body.trim_matches('-').trim();
        let of_helm = [
            ".Values",
            ".Release",
            ".Chart",
            ".Capabilities",
            ".Files",
            "include ",
            "tpl ",
        ];
        if of_helm.iter().any(|sign| body.contains(sign)) {
            return true;
        }
        let braces = ["`{{", "\"{{\"", "\"}}\""];
        hidden |= braces.iter().any(|sign| body.contains(sign))
            || constant(body).is_some_and(|text| text.contains("{{"));
        field |= body.starts_with("index .")
            || body
                .strip_prefix('.')
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'));
    }
    hidden && !field
}

/// Takes the templates out of a text.
pub(super) fn plain(text: &str) -> Plain {
    without(text, |_| true)
}

/// Takes out what another program fills in (`{{APP_NAME}}`, `{{ app.name }}`) and leaves the
/// operator's own templates, which begin with a dot or call a function.
pub(super) fn words(text: &str) -> Plain {
    without(text, |body| {
        let body = body.trim();
        body.starts_with(|c: char| c.is_ascii_alphabetic())
            && !["end", "else", "break", "continue"].contains(&body)
            && body
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    })
}

/// A text without the lines that hold nothing but directives of Jinja (`{% raw %}`) or Terraform
/// (`%{ if … }`), which no YAML begins with, and how many there were. Lines keep their numbers.
pub(super) fn without_directives(text: &str) -> (String, usize) {
    let mut dropped = 0;
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        let directive = (bare.starts_with("{%") && bare.ends_with("%}"))
            || (bare.starts_with("%{") && bare.ends_with('}'));
        if directive {
            dropped += 1;
            out.push_str(if line.ends_with('\n') { "\n" } else { "" });
        } else {
            out.push_str(line);
        }
    }
    (out, dropped)
}

/// Takes the actions out of a text whose inside is `wanted`.
fn without(text: &str, wanted: impl Fn(&str) -> bool) -> Plain {
    let mut plain = Plain {
        text: String::with_capacity(text.len()),
        variables: BTreeSet::new(),
        dropped: 0,
        values: Vec::new(),
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut at = 0;
    for (opened, body) in actions(text) {
        if !wanted(body) {
            continue;
        }
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
                let default = value.default.map(|text| format!(":-{text}"));
                out.push_str(&format!("{OPEN}{}{CLOSE}", plain.values.len()));
                plain.values.push(format!(
                    "${{{}{}}}",
                    value.name,
                    default.unwrap_or_default()
                ));
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
    if let Some(text) = constant(body) {
        return Meaning::Text(text);
    }
    let mut stages = body.split('|').map(str::trim);
    let subject = stages.next().unwrap_or("");
    let mut default = None;
    for stage in stages {
        if let Some(("default", value)) = stage.split_once(' ') {
            default = literal(value.trim());
        }
    }
    let subject = subject.strip_prefix("quote ").unwrap_or(subject);
    Meaning::Value(Value {
        name: variable(subject),
        // Braces in a default would end the variable.
        default: default.filter(|text| !text.contains(['{', '}', '\n'])),
    })
}

/// What an action writes whatever the values are: a string, also through `printf`.
fn constant(body: &str) -> Option<String> {
    match body.strip_prefix("printf ").or(body.strip_prefix("print ")) {
        Some(text) => literal(text.trim()).filter(|text| !text.contains('%')),
        None => literal(body),
    }
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

/// A name for what an expression gives: `.Values.vault.path` is `HELM_VALUES_VAULT_PATH`.
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
    match name.trim_end_matches('_') {
        "" => format!("{PREFIX}VALUE"),
        name => format!("{PREFIX}{name}"),
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
            "a: |\n  b: {{`\"{{ .x }}\"`}}\n",
            "a: |\n  b: {{ printf \"{{ .x }}\" }}\n",
        ] {
            assert!(is_template(text), "{text}");
        }
        for text in [
            "a: '{{ .password }}'",
            "a: '{{ index . \"a.b\" | b64enc }}'",
            "a: .Values.x",
            "{{",
            "a: '{{ printf \"%s\" .x }}'",
            "a: '{{ .url }} {{ \"{{\" }} range .Alerts {{ \"}}\" }}'",
            "a: '{{ index . \"u\" }} {{ `{{ range .Alerts }}` }}'",
        ] {
            assert!(!is_template(text), "{text}");
        }
    }

    #[test]
    fn values_become_variables_and_constants_become_text() {
        for (text, expected) in [
            (
                "a: {{ .Values.vault.path }}/db",
                "a: ${HELM_VALUES_VAULT_PATH}/db",
            ),
            ("a: {{ .Values.x | quote }}", "a: ${HELM_VALUES_X}"),
            ("a: {{ quote .Values.x }}", "a: ${HELM_VALUES_X}"),
            ("a: {b: {{ .Values.x }}-c}", "a: {b: ${HELM_VALUES_X}-c}"),
            (
                "a: \"{{ .Values.x | default \"d\" }}\"",
                "a: \"${HELM_VALUES_X:-d}\"",
            ),
            ("a: {{ include \"app.name\" . }}", "a: ${HELM_APP_NAME}"),
            ("a: '{{ `{{ .password }}` }}'", "a: '{{ .password }}'"),
            ("a: '{{ \"{{\" }} .x {{ \"}}\" }}'", "a: '{{ .x }}'"),
            ("a: {{ (.x) }}", "a: ${HELM_X}"),
            ("a: {{`\"{{ .x }}\"`}}", "a: \"{{ .x }}\""),
            ("a: {{ printf \"{{ .x }}\" }}", "a: {{ .x }}"),
            ("a: {{ printf \"%s\" .x }}", "a: ${HELM_S_X}"),
            ("a: {{ 1 }}", "a: ${HELM_1}"),
            ("a: {{ . }}", "a: ${HELM_VALUE}"),
            ("a: {{ \"it's }} \" }}", "a: it's }} "),
            ("a: {{ unclosed", "a: {{ unclosed"),
        ] {
            let plain = plain(text);
            assert_eq!(plain.restored(&plain.text), expected, "{text}");
        }
    }

    #[test]
    fn placeholders_of_another_program_go_and_the_operators_templates_stay() {
        let plain =
            words("a: {{APP}}-{{ app.name }}\nb: '{{ .x }} {{ index . \"y\" }} {{ end }}'\n");
        assert_eq!(
            plain.restored(&plain.text),
            "a: ${HELM_APP}-${HELM_APP_NAME}\nb: '{{ .x }} {{ index . \"y\" }} {{ end }}'\n"
        );
        let (text, dropped) =
            without_directives("{% raw %}\na: 1\n  %{~ if x ~}\r\nb: '{% c %}'\n{%- endraw -%}");
        assert_eq!(text, "\na: 1\n\nb: '{% c %}'\n");
        assert_eq!(dropped, 3);
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
