//! Names that files and secrets can have.

use std::collections::HashMap;

/// The longest name of a secret.
const MAX_NAME: usize = 128;
/// The longest name of a file.
const MAX_FILE: usize = 255;

/// A text as the name of a file or secret: `[A-Za-z0-9._-]`, other characters become one `-`.
pub(super) fn component(text: &str) -> String {
    let mut name = String::new();
    let mut parted = false;
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
            if parted && !name.is_empty() && !name.ends_with('-') && c != '-' {
                name.push('-');
            }
            name.push(c);
            parted = false;
        } else {
            parted = true;
        }
    }
    name.truncate(MAX_FILE);
    if name.chars().all(|c| c == '.')
        || name.starts_with("..")
        || name.starts_with(".secrets-sync-")
    {
        name = format!("_{}", name.trim_start_matches('.'));
    }
    name
}

/// A name that none has had: with a number behind it where needed.
/// `taken` holds, for each name, the number that the next one would get.
pub(super) fn unique(wanted: &str, taken: &mut HashMap<String, usize>) -> String {
    let mut base = if wanted.is_empty() {
        "secret".to_owned()
    } else {
        wanted.to_owned()
    };
    base.truncate(MAX_NAME - 8);
    let Some(next) = taken.get(&base).copied() else {
        taken.insert(base.clone(), 2);
        return base;
    };
    let mut number = next;
    loop {
        let name = format!("{base}-{number}");
        number += 1;
        if !taken.contains_key(&name) {
            taken.insert(name.clone(), 2);
            taken.insert(base, number);
            return name;
        }
    }
}

/// A name for a source that templates can write behind a dot.
pub(super) fn alias(key: &str) -> String {
    let last = key
        .rsplit('/')
        .find(|segment| !segment.is_empty())
        .unwrap_or("");
    let mut alias = String::new();
    for c in last.chars().take(40) {
        if c.is_ascii_alphanumeric() {
            alias.push(c);
        } else if !alias.is_empty() && !alias.ends_with('_') {
            alias.push('_');
        }
    }
    alias.truncate(alias.trim_end_matches('_').len());
    if !alias.starts_with(|c: char| c.is_ascii_alphabetic()) {
        alias.insert_str(0, if alias.is_empty() { "source" } else { "s_" });
    }
    alias
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components() {
        for (text, expected) in [
            ("tls.crt", "tls.crt"),
            (".dockerconfigjson", ".dockerconfigjson"),
            ("${cluster}-db", "cluster-db"),
            ("<NAME>", "NAME"),
            ("a/b c", "a-b-c"),
            (".", "_"),
            ("..", "_"),
            ("..data", "_data"),
            ("", "_"),
            ("é", "_"),
        ] {
            assert_eq!(component(text), expected, "{text}");
        }
    }

    #[test]
    fn unique_names_and_aliases() {
        let mut taken = HashMap::new();
        assert_eq!(unique("a", &mut taken), "a");
        assert_eq!(unique("a", &mut taken), "a-2");
        assert_eq!(unique("a", &mut taken), "a-3");
        assert_eq!(unique(&"x".repeat(300), &mut taken).len(), 120);
        assert_eq!(alias("apps/my-db"), "my_db");
        assert_eq!(alias("apps/1/"), "s_1");
        assert_eq!(alias(""), "source");
        assert_eq!(alias("${{ values.name }}"), "values_name");
    }
}
