//! Names of keys on their way from a secret's fields to files: conversion, `rewrite.regexp`.

use super::manifest::Rewrite;
use super::manifest::Select;

/// What `rewrite` does to names, as far as it can be undone without knowing them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rename {
    /// Names stay.
    Same,
    /// Something is put around them.
    Around { before: String, after: String },
    /// It depends on the names.
    Unknown,
}

impl Rename {
    /// What a list of rewrites does.
    pub(super) fn of(rewrites: &[Rewrite]) -> Self {
        let [rewrite] = rewrites else {
            return if rewrites.is_empty() {
                Self::Same
            } else {
                Self::Unknown
            };
        };
        let Rewrite::Regexp { source, target } = rewrite else {
            return Self::Unknown;
        };
        let whole = [
            "(.*)", "^(.*)$", "(.+)", "^(.+)$", "^(.*)", "^(.+)", "(.*)$", "(.+)$",
        ];
        let (before, after) = if whole.contains(&source.as_str()) {
            let Some(pair) = target.split_once("${1}").or_else(|| {
                let (before, after) = target.split_once("$1")?;
                // `$1x` is a group named `1x`.
                let ends = !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
                ends.then_some((before, after))
            }) else {
                return Self::Unknown;
            };
            pair
        } else if source == "^" {
            (target.as_str(), "")
        } else if source == "$" {
            ("", target.as_str())
        } else {
            return Self::Unknown;
        };
        if before.contains('$') || after.contains('$') {
            return Self::Unknown;
        }
        Self::Around {
            before: before.to_owned(),
            after: after.to_owned(),
        }
    }

    /// The field whose name became this one; `None` where that cannot be told.
    pub(super) fn undone(&self, name: &str) -> Option<String> {
        match self {
            Self::Same => Some(name.to_owned()),
            Self::Around { before, after } => name
                .strip_prefix(before.as_str())?
                .strip_suffix(after.as_str())
                .filter(|name| !name.is_empty())
                .map(str::to_owned),
            Self::Unknown => None,
        }
    }
}

/// `select`: whether a key stays. The rules follow each other, and none brings a key back.
///
/// # Errors
///
/// When an expression is none that we understand.
pub(super) fn selected(rules: &[Select], name: &str) -> Result<bool, String> {
    for rule in rules {
        let matches = rule.names.iter().any(|known| known == name)
            || match &rule.regexp {
                Some(regexp) => compiled(regexp)?.is_match(name),
                None => false,
            };
        if matches != rule.includes {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `conversionStrategy`: what may not stand in the key of a Kubernetes Secret.
pub(super) fn converted(name: &str, unicode: bool) -> String {
    let mut converted = String::with_capacity(name.len());
    for c in name.chars() {
        if is_allowed(c) {
            converted.push(c);
        } else if unicode {
            converted.push_str(&format!("_U{:04x}_", u32::from(c)));
        } else {
            converted.push('_');
        }
    }
    converted
}

/// The longest key of a Secret, in bytes.
pub(super) const MAX_KEY: usize = 253;

/// What the operator lets pass in a key.
pub(super) fn is_allowed(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '.' | '_')
}

/// `rewrite.regexp` on one name, as Go's `ReplaceAllString` does it.
///
/// # Errors
///
/// When the expression is none that we understand.
pub(super) fn replaced(name: &str, source: &str, target: &str) -> Result<String, String> {
    compiled(source).map(|regexp| regexp.replace_all(name, target).into_owned())
}

/// An expression, compiled.
///
/// # Errors
///
/// When it is none that we understand.
pub(super) fn compiled(source: &str) -> Result<regex_lite::Regex, String> {
    regex_lite::Regex::new(source).map_err(|error| {
        format!(
            "`{}` is not an expression that is understood here: {error}",
            super::remark::shown(source)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rename(source: &str, target: &str) -> Rename {
        Rename::of(&[Rewrite::Regexp {
            source: source.into(),
            target: target.into(),
        }])
    }

    #[test]
    fn what_can_be_undone() {
        assert_eq!(Rename::of(&[]).undone("a"), Some("a".into()));
        assert_eq!(
            rename("(.*)", "pg_$1").undone("pg_user"),
            Some("user".into())
        );
        assert_eq!(rename("^(.+)$", "a${1}_b").undone("ax_b"), Some("x".into()));
        assert_eq!(rename("^", "p-").undone("p-x"), Some("x".into()));
        assert_eq!(rename("(.*)", "pg_$1").undone("user"), None);
        assert_eq!(rename("(.*)", "$1x"), Rename::Unknown);
        assert_eq!(rename("a-(.*)", "$1"), Rename::Unknown);
        assert_eq!(rename("(.*)", "$1$1"), Rename::Unknown);
    }

    #[test]
    fn replacement_is_gos() {
        for (source, target, name, expected) in [
            ("(.*)", "pg_$1", "user", "pg_user"),
            ("a", "b", "banana", "bbnbnb"),
            ("(?P<x>[a-z]+)-.*", "${x}", "app-db", "app"),
            ("(.)", "$1x", "ab", ""),
            ("^prefix/", "", "prefix/a/b", "a/b"),
            ("/", "_", "a/b/c", "a_b_c"),
            ("x", "$$", "x", "$"),
        ] {
            assert_eq!(
                replaced(name, source, target).unwrap(),
                expected,
                "{source}"
            );
        }
        assert!(replaced("a", "(", "").is_err());
    }

    #[test]
    fn conversion() {
        assert_eq!(converted("a/b c.é-_", false), "a_b_c.é-_");
        assert_eq!(converted("a/b", true), "a_U002f_b");
    }
}
