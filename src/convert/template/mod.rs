//! The operator's Go templates into ours. Both are Go's forms; what differs is where values come
//! from: there `.name` is an entry of the data that the manifest gathered, here it is a field of a
//! secret that was read. So the references are rewritten, and all else stays as it was written.

mod ranges;
pub(super) mod scan;

use std::collections::BTreeSet;

pub(super) use ranges::without_variables;
use scan::{Action, Word};

use crate::render::is_helper;

/// What the names in a template stand for.
pub(super) trait Names {
    /// The expression for an entry of the data: a path, or a call in parentheses. `root` is `.` or
    /// `$`.
    ///
    /// # Errors
    ///
    /// Why there is none.
    fn value(&self, name: &str, root: &str) -> Result<String, String>;

    /// The expression for all of the data.
    ///
    /// # Errors
    ///
    /// Why there is none.
    fn whole(&self, root: &str) -> Result<String, String>;
}

/// What a template refers to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct References {
    /// Entries of the data.
    pub(super) names: BTreeSet<String>,
    /// All of the data at once.
    pub(super) whole: bool,
}

/// One thing to be replaced.
struct Place {
    start: usize,
    end: usize,
    what: What,
}

enum What {
    /// `.name`, `$.name`, `index . "name"`; and what follows a name (`.sub`).
    Value {
        name: String,
        root: &'static str,
        below: String,
    },
    Whole(&'static str),
    /// A function under another name.
    Function(&'static str),
}

/// Finds what a template refers to.
pub(super) fn references(template: &str) -> References {
    let mut references = References::default();
    for place in places(template) {
        match place.what {
            What::Value { name, .. } => {
                references.names.insert(name);
            }
            What::Whole(_) => references.whole = true,
            What::Function(_) => {}
        }
    }
    references
}

/// The name, where a template is nothing but one reference (`{{ .name }}`), or that decoded from
/// base64 (then `true`).
pub(super) fn lone(template: &str) -> Option<(String, bool)> {
    let trimmed = template.trim();
    if trimmed.len() != template.len() && !template.starts_with("{{") {
        return None;
    }
    let [action] = scan::actions(template).try_into().ok()?;
    if action.start != 0 || action.end != template.len() {
        return None;
    }
    let [place] = places(template).try_into().ok()?;
    let Place {
        start,
        end,
        what: What::Value { name, below, .. },
    } = place
    else {
        return None;
    };
    if !below.is_empty() {
        return None;
    }
    let others: Vec<&str> = action
        .words
        .iter()
        .filter(|word| word.start < start || word.end() > end)
        .map(|word| word.text)
        .collect();
    match others.as_slice() {
        [] | ["toString"] | ["|", "toString"] | ["(", ")"] => Some((name, false)),
        ["b64dec"] | ["|", "b64dec"] | ["|", "b64dec", "|", "toString"] => Some((name, true)),
        _ => None,
    }
}

/// The functions of a template that we do not have. In Go every bare word is a function; to our
/// templates it would be a field.
pub(super) fn unknown_functions(template: &str) -> BTreeSet<String> {
    const WORDS: [&str; 11] = [
        "if", "else", "end", "range", "with", "true", "false", "nil", "define", "template", "block",
    ];
    scan::actions(template)
        .iter()
        .flat_map(|action| &action.words)
        .map(|word| word.text)
        .filter(|word| {
            word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && !WORDS.contains(word)
                && renamed(word).is_none()
                && *word != "get"
                && !is_helper(word)
        })
        .map(str::to_owned)
        .collect()
}

/// Rewrites every reference of a template.
///
/// # Errors
///
/// The first reference that has no translation.
pub(super) fn rewrite(template: &str, names: &impl Names) -> Result<String, String> {
    let mut out = String::with_capacity(template.len());
    let mut at = 0;
    for place in places(template) {
        out.push_str(&template[at..place.start]);
        at = place.end;
        match place.what {
            What::Function(name) => out.push_str(name),
            What::Whole(root) => out.push_str(&names.whole(root)?),
            What::Value { name, root, below } => {
                let value = names.value(&name, root)?;
                if below.is_empty() || value.starts_with('(') || !value.contains('(') {
                    out.push_str(&value);
                } else {
                    out.push_str(&format!("({value})"));
                }
                out.push_str(&below);
            }
        }
    }
    out.push_str(&template[at..]);
    Ok(out)
}

/// The actions that were taken out of a text.
pub(super) struct Actions<'t>(Vec<&'t str>);

impl Actions<'_> {
    /// Puts them back.
    pub(super) fn restore(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(OPEN) {
            out.push_str(&rest[..at]);
            let inside = &rest[at + OPEN.len_utf8()..];
            let Some(end) = inside.find(CLOSE) else { break };
            let number: Option<usize> = inside[..end].parse().ok();
            out.push_str(number.and_then(|number| self.0.get(number)).unwrap_or(&""));
            rest = &inside[end + CLOSE.len_utf8()..];
        }
        out.push_str(rest);
        out
    }
}

/// Private characters around the number of an action.
const OPEN: char = '\u{e000}';
const CLOSE: char = '\u{e001}';

/// A text with a word without meaning in place of each action.
pub(super) fn masked(text: &str) -> (String, Actions<'_>) {
    let mut plain = String::with_capacity(text.len());
    let mut actions = Vec::new();
    let mut at = 0;
    for action in scan::actions(text) {
        plain.push_str(&text[at..action.start]);
        plain.push_str(&format!("{OPEN}{}{CLOSE}", actions.len()));
        actions.push(&text[action.start..action.end]);
        at = action.end;
    }
    plain.push_str(&text[at..]);
    (plain, Actions(actions))
}

/// The references in order.
fn places(template: &str) -> Vec<Place> {
    let mut places = Vec::new();
    // For each open block: whether `.` is something else inside.
    let mut blocks: Vec<bool> = Vec::new();
    for Action { words, .. } in scan::actions(template) {
        let first = words.first().map_or("", |word| word.text);
        let second = words.get(1).map_or("", |word| word.text);
        match first {
            "end" => {
                blocks.pop();
            }
            "else" => {
                if let Some(top) = blocks.last_mut() {
                    *top = false;
                }
            }
            _ => {}
        }
        let rebound = blocks.iter().any(|rebinds| *rebinds);
        find(&words, rebound, &mut places);
        match (first, second) {
            ("range" | "with", _) => blocks.push(true),
            ("if" | "define" | "block", _) => blocks.push(false),
            ("else", "with") => {
                if let Some(top) = blocks.last_mut() {
                    *top = true;
                }
            }
            _ => {}
        }
    }
    places
}

fn find(words: &[Word<'_>], rebound: bool, places: &mut Vec<Place>) {
    let root_of = |word: &str| match word {
        "." if !rebound => Some("."),
        "$" => Some("$"),
        _ => None,
    };
    let mut at = 0;
    while let Some(word) = words.get(at) {
        at += 1;
        if word.chained {
            continue;
        }
        let follows = |offset: usize| words.get(at - 1 + offset);
        if matches!(word.text, "index" | "get")
            && let (Some(root), Some(key)) = (
                follows(1).and_then(|word| root_of(word.text)),
                follows(2).and_then(Word::constant),
            )
        {
            let deeper = follows(3).is_some_and(|next| {
                word.text == "index" && !matches!(next.text, "|" | ")" | "," | "=")
            });
            if deeper {
                // `index . "a" "b"`: the rest of the keys, from the value of the first.
                if let (Some(first), Some(second)) = (follows(1), follows(2)) {
                    places.push(value(first.start, second.end(), key, root, ""));
                }
            } else if let Some(last) = follows(2) {
                places.push(value(word.start, last.end(), key, root, ""));
            }
            at += 2;
            continue;
        }
        if let Some(root) = root_of(word.text) {
            places.push(Place {
                start: word.start,
                end: word.end(),
                what: What::Whole(root),
            });
            continue;
        }
        let (root, path) = match word.text.strip_prefix('$') {
            Some(path) => ("$", path),
            None => (".", word.text),
        };
        if let Some(path) = path.strip_prefix('.')
            && !path.is_empty()
            && (root == "$" || !rebound)
        {
            let (name, below) = match path.find('.') {
                Some(dot) => path.split_at(dot),
                None => (path, ""),
            };
            places.push(value(word.start, word.end(), name.to_owned(), root, below));
            continue;
        }
        if let Some(name) = renamed(word.text) {
            places.push(Place {
                start: word.start,
                end: word.end(),
                what: What::Function(name),
            });
        }
    }
}

fn value(start: usize, end: usize, name: String, root: &'static str, below: &str) -> Place {
    Place {
        start,
        end,
        what: What::Value {
            name,
            root,
            below: below.to_owned(),
        },
    }
}

/// Functions that we have under another name, with the same result.
fn renamed(name: &str) -> Option<&'static str> {
    Some(match name {
        "mustToJson" => "toJson",
        "mustToPrettyJson" => "toPrettyJson",
        "mustFromJson" => "fromJson",
        _ => return None,
    })
}

/// A field of `base` as an expression: `.a.b`, or `(index .a "b.c")`.
pub(super) fn field_of(base: &str, segments: &[String]) -> String {
    let plain = segments.iter().all(|segment| is_plain(segment));
    if plain {
        let dot = if base == "." { "" } else { base };
        let path: String = segments
            .iter()
            .map(|segment| format!(".{segment}"))
            .collect();
        return format!("{dot}{path}");
    }
    let keys: String = segments
        .iter()
        .map(|segment| format!(" {}", serde_json::Value::from(segment.as_str())))
        .collect();
    format!("(index {base}{keys})")
}

/// Whether a name can stand behind a dot.
fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name is upper case below `a`.
    struct Upper;

    impl Names for Upper {
        fn value(&self, name: &str, root: &str) -> Result<String, String> {
            if name == "none" {
                return Err("there is no `none`".into());
            }
            let base = if root == "$" { "$.a" } else { ".a" };
            Ok(field_of(base, &[name.to_uppercase()]))
        }

        fn whole(&self, root: &str) -> Result<String, String> {
            Ok(format!("{root}all").replace("$all", "$.all"))
        }
    }

    #[test]
    fn references_are_rewritten_and_all_else_stays() {
        for (template, expected) in [
            ("x {{ .n }} y", "x {{ .a.N }} y"),
            ("{{- .n | b64enc -}}", "{{- .a.N | b64enc -}}"),
            ("{{ index . \"tls.crt\" }}", "{{ (index .a \"TLS.CRT\") }}"),
            (
                "{{ index . \"a-b\" | quote }}",
                "{{ (index .a \"A-B\") | quote }}",
            ),
            (
                "{{ printf \"%s:%s\" .u (index $ `p`) }}",
                "{{ printf \"%s:%s\" .a.U ($.a.P) }}",
            ),
            ("{{ get . \"x\" }}", "{{ .a.X }}"),
            ("{{ (fromJson .n).user }}", "{{ (fromJson .a.N).user }}"),
            (
                "{{ (.n | fromJson).user.name }}",
                "{{ (.a.N | fromJson).user.name }}",
            ),
            (
                "{{ range .l }}{{ .x }}{{ $.y }}{{ . }}{{ end }}{{ .z }}",
                "{{ range .a.L }}{{ .x }}{{ $.a.Y }}{{ . }}{{ end }}{{ .a.Z }}",
            ),
            (
                "{{ with .l }}{{ .x }}{{ else }}{{ .y }}{{ end }}",
                "{{ with .a.L }}{{ .x }}{{ else }}{{ .a.Y }}{{ end }}",
            ),
            (
                "{{ if .l }}{{ .x }}{{ end }}",
                "{{ if .a.L }}{{ .a.X }}{{ end }}",
            ),
            ("{{ toJson . }}", "{{ toJson .all }}"),
            ("{{ mustToJson .x }}", "{{ toJson .a.X }}"),
            ("{{/* .n */}}{{ \".n\" }}", "{{/* .n */}}{{ \".n\" }}"),
            ("{{ `{{ .n }}` }}", "{{ `{{ .n }}` }}"),
            ("{{ index . \"a\" \"b\" }}", "{{ index .a.A \"b\" }}"),
            ("no action", "no action"),
            ("{{ .n", "{{ .n"),
        ] {
            assert_eq!(
                rewrite(template, &Upper).as_deref(),
                Ok(expected),
                "{template}"
            );
        }
        assert_eq!(
            rewrite("{{ .none }}", &Upper),
            Err("there is no `none`".into())
        );
    }

    #[test]
    fn what_is_referred_to() {
        let found = references("{{ .a }}{{ index . \"b.c\" }}{{ range .d }}{{ .e }}{{ end }}");
        assert_eq!(
            found.names.into_iter().collect::<Vec<_>>(),
            ["a", "b.c", "d"]
        );
        assert!(!found.whole);
        assert!(references("{{ range $k, $v := . }}{{ end }}").whole);
    }

    #[test]
    fn functions_that_are_not_there() {
        let unknown = |template: &str| unknown_functions(template).into_iter().collect::<Vec<_>>();
        assert_eq!(
            unknown("{{ uuidv4 }}{{ .a | dict | b64enc }}"),
            ["dict", "uuidv4"]
        );
        assert_eq!(
            unknown("{{ if eq .a \"x\" }}{{ mustToJson true }}{{ else }}{{ end }}"),
            [] as [&str; 0]
        );
    }

    #[test]
    fn lone_references() {
        for (template, expected) in [
            ("{{ .n }}", Some(("n", false))),
            ("{{.n}}", Some(("n", false))),
            ("{{- .n -}}", Some(("n", false))),
            ("{{ .n | toString }}", Some(("n", false))),
            ("{{ index . \"a.b\" }}", Some(("a.b", false))),
            ("{{ .n | b64dec }}", Some(("n", true))),
            ("{{ b64dec .n }}", Some(("n", true))),
            ("{{ .n }}\n", None),
            (" {{ .n }}", None),
            ("{{ .n.m }}", None),
            ("{{ .n | upper }}", None),
            ("{{ .n }}{{ .m }}", None),
            ("{{ . }}", None),
        ] {
            let found = lone(template);
            let found = found
                .as_ref()
                .map(|(name, decoded)| (name.as_str(), *decoded));
            assert_eq!(found, expected, "{template:?}");
        }
    }
}
