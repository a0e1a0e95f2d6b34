//! `templateFrom` with keys and values in one text: the operator renders it and reads the result
//! as YAML. Here the text is read as YAML first, with the actions in it as they are, so that every
//! key becomes a template of its own.

use super::template::masked;
use super::tree::{self, Node};

/// Keys and their templates.
///
/// # Errors
///
/// Why the keys cannot be told apart before rendering.
pub(super) fn split(text: &str) -> Result<Vec<(String, String)>, String> {
    let (plain, actions) = masked(text);
    let tree = tree::parse(&plain).map_err(|_| {
        "which keys it has shows only when it is rendered: write each key to `data`".to_owned()
    })?;
    let Node::Map(entries) = tree.root else {
        return Err("it is no map of keys and values".to_owned());
    };
    let mut split = Vec::new();
    for (key, value) in entries {
        let key = actions.restore(&key);
        if key.contains("{{") {
            return Err("a key in it is a template: write each key to `data`".to_owned());
        }
        let value = match value {
            Node::Null => String::new(),
            other => other
                .text()
                .ok_or_else(|| format!("the value of `{key}` is {}, not a string", other.kind()))?,
        };
        let value = actions.restore(&value);
        if value.contains("indent") {
            return Err(format!(
                "the value of `{key}` is indented to fit into the text: write the key to `data`, without the indentation"
            ));
        }
        split.push((key, unquoted(value)));
    }
    Ok(split)
}

/// `{{ .x | quote }}` as a whole value: what it quotes YAML unquotes again.
fn unquoted(value: String) -> String {
    let Some(inner) = value
        .strip_prefix("{{")
        .and_then(|rest| rest.strip_suffix("}}"))
    else {
        return value;
    };
    if inner.contains("}}") {
        return value;
    }
    let trimmed = inner.trim_end();
    for stage in ["quote", "squote", "toJson"] {
        if let Some(rest) = trimmed.strip_suffix(stage)
            && let Some(rest) = rest.trim_end().strip_suffix('|')
        {
            return format!("{{{{{} }}}}", rest.trim_end());
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_a_template() {
        let split = split(
            "password: \"{{ .password }}\"\nurl: pg://{{ .user }}@h\nq: {{ .x | quote }}\nport: 5432\n\
             conf: |\n  a={{ .a }}\n  {{ if .b }}b{{ end }}\nnone:\n",
        )
        .unwrap();
        let pairs: Vec<(&str, &str)> = split
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("password", "{{ .password }}"),
                ("url", "pg://{{ .user }}@h"),
                ("q", "{{ .x }}"),
                ("port", "5432"),
                ("conf", "a={{ .a }}\n{{ if .b }}b{{ end }}\n"),
                ("none", ""),
            ]
        );
    }

    #[test]
    fn what_shows_only_when_rendered_is_named() {
        for text in [
            "{{ range $k, $v := . }}{{ $k }}: {{ $v }}\n{{ end }}",
            "{{ .k }}: v",
            "{{ toYaml . }}",
            "a: v\n{{ if .x }}\nb: w\n{{ end }}\n",
            "a: [1]",
            "- a",
            "a: |\n  {{ .x | nindent 2 }}",
        ] {
            assert!(split(text).is_err(), "{text}");
        }
    }
}
