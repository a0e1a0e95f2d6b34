//! `field:` and `dir:`: single values as they are.

use serde_json::{Map, Value};

use super::{Data, RenderError};

/// How many names a message lists.
const LISTED: usize = 20;

/// The value at a path: the exact key first, else segments parted by dots. Where a secret has
/// several sources, the first segment names one.
pub(super) fn find<'d>(data: &'d Data, path: &str) -> Result<&'d Value, RenderError> {
    match data {
        Data::One(fields) => {
            inside(fields.expose(), path).ok_or_else(|| missing(path, fields.expose().keys()))
        }
        Data::Many(sources) => {
            let named = sources
                .iter()
                .filter_map(|(name, fields)| Some((name, fields.expose(), below(path, name)?)))
                .max_by_key(|(name, _, _)| name.len());
            match named {
                Some((_, fields, rest)) => {
                    inside(fields, rest).ok_or_else(|| missing(path, fields.keys()))
                }
                None => Err(RenderError {
                    message: format!("field `{path}` names none of the sources"),
                    help: Some(list(
                        "begin with one of the sources",
                        sources.iter().map(|(name, _)| name),
                    )),
                }),
            }
        }
    }
}

/// What of a path is left below a source.
pub(super) fn below<'p>(path: &'p str, source: &str) -> Option<&'p str> {
    path.strip_prefix(source)?.strip_prefix('.')
}

fn missing<'n>(path: &str, names: impl Iterator<Item = &'n String>) -> RenderError {
    RenderError {
        message: format!("field `{path}` is missing"),
        help: Some(missing_help(names)),
    }
}

/// What to do about a field that is not there.
pub(super) fn missing_help<'n>(names: impl Iterator<Item = &'n String>) -> String {
    list(
        "name one that is there, or add it to the secret, which has",
        names,
    )
}

/// Names, but not without end.
pub(super) fn list<'n>(what: &str, names: impl Iterator<Item = &'n String>) -> String {
    let names: Vec<String> = names
        .take(LISTED + 1)
        .map(|name| format!("`{}`", name.escape_debug()))
        .collect();
    match names.get(..LISTED) {
        _ if names.is_empty() => format!("{what}: none"),
        Some(first) if names.len() > LISTED => format!("{what}: {}, …", first.join(", ")),
        _ => format!("{what}: {}", names.join(", ")),
    }
}

fn inside<'d>(fields: &'d Map<String, Value>, path: &str) -> Option<&'d Value> {
    if let Some(value) = fields.get(path) {
        return Some(value);
    }
    let mut segments = segments(path).into_iter();
    let first = fields.get(&segments.next()?)?;
    segments.try_fold(first, |at, segment| match at {
        Value::Object(map) => map.get(&segment),
        Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Parts a path at its dots; `\.` is a dot, `\\` a backslash.
fn segments(path: &str) -> Vec<String> {
    let mut segments = vec![String::new()];
    let mut chars = path.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '.' => segments.push(String::new()),
            _ => {
                let c = if c == '\\' {
                    chars
                        .next_if(|next| matches!(next, '.' | '\\'))
                        .unwrap_or(c)
                } else {
                    c
                };
                if let Some(last) = segments.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    segments
}

/// Whether a field's name can be that of a file below a `dir`.
pub(super) fn check_file_name(name: &str) -> Result<(), RenderError> {
    let wrong = match name {
        "" => "is empty",
        "." | ".." => "means a directory",
        _ if name.contains('/') => "has a `/`",
        _ if name.contains('\0') => "has a NUL byte",
        _ if name.len() > 255 => "is longer than 255 bytes",
        // The clean-up at start would take it for a left-over of ours.
        _ if name.starts_with(".secrets-sync-") && name.ends_with(".tmp") => {
            "is that of a temporary file"
        }
        _ => return Ok(()),
    };
    let shown: String = name.chars().take(64).collect();
    Err(RenderError {
        message: format!(
            "field `{}` cannot be a file: its name {wrong}",
            shown.escape_debug()
        ),
        help: Some("write the fields that are wanted one by one, with `path` and `field`".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Fields;

    fn one() -> Data {
        Data::One(
            Fields::parse(
                r#"{"a.b":"exact","a":{"b":"nested","c.d":"dot","e":["x",{"f":1.0}]},"b\\":{"c":"slash"},"":"empty"}"#,
            )
            .unwrap(),
        )
    }

    #[test]
    fn the_exact_key_wins_and_paths_reach_inside() {
        let data = one();
        for (path, expected) in [
            ("a.b", Some("\"exact\"")),
            ("a.c\\.d", Some("\"dot\"")),
            ("a.e.0", Some("\"x\"")),
            ("a.e.1.f", Some("1.0")),
            ("b\\\\.c", Some("\"slash\"")),
            ("a.e.2", None),
            ("a.e.x", None),
            ("a.e.0.x", None),
            ("a.", None),
            ("c", None),
        ] {
            let found = find(&data, path).map(ToString::to_string).ok();
            assert_eq!(found.as_deref(), expected, "{path}");
        }
        let error = find(&data, "c").unwrap_err();
        assert_eq!(error.message, "field `c` is missing");
        assert_eq!(
            error.help.unwrap(),
            "name one that is there, or add it to the secret, which has: ``, `a`, `a.b`, `b\\\\`"
        );
    }

    #[test]
    fn a_source_is_named_first() {
        let fields = |json| Fields::parse(json).unwrap();
        let data = Data::Many(vec![
            ("db".into(), fields(r#"{"user":"u","tls.crt":"c"}"#)),
            ("db.x".into(), fields(r#"{"user":"longer"}"#)),
        ]);
        assert_eq!(find(&data, "db.user").unwrap(), "u");
        assert_eq!(find(&data, "db.tls.crt").unwrap(), "c");
        assert_eq!(find(&data, "db.x.user").unwrap(), "longer");
        let error = find(&data, "user").unwrap_err();
        assert_eq!(error.message, "field `user` names none of the sources");
        assert_eq!(
            error.help.unwrap(),
            "begin with one of the sources: `db`, `db.x`"
        );
    }

    #[test]
    fn file_names() {
        for good in ["a", "..a", "a b", "é", "tls.crt", &"x".repeat(255)] {
            assert!(check_file_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "/",
            "a\0",
            &"x".repeat(256),
            ".secrets-sync-abcdefghijkl.tmp",
        ] {
            assert!(check_file_name(bad).is_err(), "{bad}");
        }
    }
}
