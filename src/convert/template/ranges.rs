//! `range $k, $v := x` without its variables, which our templates do not have: the value is `.`, the
//! key `@key`.

use super::scan::{self, Action, Word};

/// Rewrites loops whose variables can be done without; the others stay, and are refused by whoever
/// compiles the template.
pub(in crate::convert) fn without_variables(template: &str) -> String {
    let actions = scan::actions(template);
    let mut edits: Vec<(usize, usize, String)> = Vec::new();
    for (index, action) in actions.iter().enumerate() {
        if let Some(own) = rewritten(&actions, index, action) {
            edits.extend(own);
        }
    }
    edits.sort_by_key(|(start, _, _)| *start);
    let mut out = String::with_capacity(template.len());
    let mut at = 0;
    for (start, end, text) in edits {
        // Loops inside each other are none of ours: no two edits overlap.
        if start < at {
            continue;
        }
        out.push_str(&template[at..start]);
        out.push_str(&text);
        at = end;
    }
    out.push_str(&template[at..]);
    out
}

/// The edits for one loop.
fn rewritten(
    actions: &[Action<'_>],
    index: usize,
    action: &Action<'_>,
) -> Option<Vec<(usize, usize, String)>> {
    let words: Vec<&str> = action.words.iter().map(|word| word.text).collect();
    let (key, value, rest) = match words.as_slice() {
        ["range", key, ",", value, ":", "=", ..] => (Some(*key), *value, 6),
        ["range", value, ":", "=", ..] => (None, *value, 4),
        _ => return None,
    };
    let is_variable = |word: &str| word.len() > 1 && word.starts_with('$') && !word.contains('.');
    if !is_variable(value) || !key.is_none_or(|key| is_variable(key) || key == "_") {
        return None;
    }
    let subject = action.words.get(rest)?;
    // What a call gives may be a list, whose keys are positions.
    let is_map = action.words.len() == rest + 1 && subject.text.starts_with(['.', '$']);
    let is_list = action
        .words
        .get(rest)
        .is_some_and(|word| matches!(word.text, "splitList" | "list"));
    let first = action.words.get(1)?;
    let mut edits = vec![(first.start, subject.start, String::new())];
    let mut depth = 0_usize;
    for inner in actions.get(index + 1..)? {
        let word = inner.words.first().map_or("", |word| word.text);
        match word {
            "range" | "with" => return None,
            "if" => depth += 1,
            "end" if depth == 0 => return Some(edits),
            "end" => depth -= 1,
            "else" if depth == 0 => return None,
            _ => {}
        }
        for Word { text, start, .. } in &inner.words {
            let end = start + text.len();
            if *text == value {
                edits.push((*start, end, ".".to_owned()));
            } else if let Some(path) = text.strip_prefix(value)
                && path.starts_with('.')
            {
                edits.push((*start, end, path.to_owned()));
            } else if Some(*text) == key {
                let name = match (is_map, is_list) {
                    (true, _) => "@key",
                    (false, true) => "@index",
                    (false, false) => return None,
                };
                edits.push((*start, end, name.to_owned()));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values() {
        for (template, expected) in [
            (
                "{{ range $k, $v := . }}{{ $k }}={{ $v | quote }}\n{{ end }}",
                "{{ range . }}{{ @key }}={{ . | quote }}\n{{ end }}",
            ),
            (
                "{{- range $v := .l -}}{{ if $v.a }}{{ $v.a }}{{ end }}{{- end -}}{{ $v }}",
                "{{- range .l -}}{{ if .a }}{{ .a }}{{ end }}{{- end -}}{{ $v }}",
            ),
            (
                "{{ range $i, $v := splitList \",\" .x }}{{ $i }}{{ $v }}{{ end }}",
                "{{ range splitList \",\" .x }}{{ @index }}{{ . }}{{ end }}",
            ),
        ] {
            assert_eq!(without_variables(template), expected);
        }
        for stays in [
            "{{ range $k, $v := . }}{{ range .x }}{{ $k }}{{ end }}{{ end }}",
            "{{ range $k, $v := fromJson .x }}{{ $k }}{{ end }}",
            "{{ range $k, $v := . }}{{ else }}{{ end }}",
            "{{ range $k, $v := . }}",
            "{{ range .x }}{{ .y }}{{ end }}",
            "{{ $x := .y }}",
        ] {
            assert_eq!(without_variables(stays), stays);
        }
    }
}
