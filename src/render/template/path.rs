//! The ways to name a value, Go's and Handlebars', brought into one form.

use super::Problem;

/// Where the reader of a path stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scope {
    /// How many blocks around have a `this` of their own.
    pub(super) parents: usize,
    /// Whether one of them is a loop.
    pub(super) looping: bool,
}

/// Whether a word is a path that only Go has: it begins with `.` or `$`.
pub(super) fn is_go(word: &str) -> bool {
    word.starts_with('$')
        || (word.starts_with('.') && !word.starts_with("./") && !word.starts_with(".."))
}

/// A path in the canonical form that the engine is given, always below `this`, `../this`,
/// `@root/this` or a loop's variable, so that no helper's name can be meant.
pub(super) fn canonical(word: &str, at: usize, scope: Scope) -> Result<String, Problem> {
    let (base, segments) = if is_go(word) {
        go(word, at)?
    } else {
        handlebars(word, at, scope)?
    };
    Ok(join(&base, &segments))
}

/// `value.a.b` for a value that is not a path.
pub(super) fn below(value: &str, word: &str, at: usize) -> Result<String, Problem> {
    let (_, segments) = go(word, at)?;
    Ok(indexed(value, &segments))
}

fn join(base: &str, segments: &[&str]) -> String {
    // The engine's grammar knows no `]` inside brackets, and takes `this` for no name anywhere.
    if segments
        .iter()
        .any(|segment| segment.is_empty() || segment.contains(']') || *segment == "this")
    {
        return indexed(base, segments);
    }
    segments.iter().fold(base.to_owned(), |mut path, segment| {
        path.push_str(".[");
        path.push_str(segment);
        path.push(']');
        path
    })
}

fn indexed(base: &str, segments: &[&str]) -> String {
    if segments.is_empty() {
        return base.to_owned();
    }
    let mut call = format!("(index {base}");
    for segment in segments {
        call.push(' ');
        call.push_str(&super::expression::literal(segment));
    }
    call.push(')');
    call
}

fn go(word: &str, at: usize) -> Result<(String, Vec<&str>), Problem> {
    let (base, rest) = match word.strip_prefix('$') {
        None => ("this", word),
        Some(rest) if rest.is_empty() || rest.starts_with('.') => ("@root/this", rest),
        Some(_) => {
            return Err(Problem::new(at, format!("variables are not supported: `{word}`")).help(
                "inside `range` and `with` the value is `.`, the key is `@key`, the position is \
                 `@index`; `$.x` is a field of the root, `../x` one of the block around",
            ));
        }
    };
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    if rest.is_empty() {
        return Ok((base.to_owned(), Vec::new()));
    }
    let segments: Vec<&str> = rest.split('.').collect();
    for segment in &segments {
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-') || !c.is_ascii();
        if segment.is_empty() || !segment.chars().all(name) {
            return Err(Problem::new(at, format!("`{word}` is no field"))
                .help("a name with other characters is written `{{ index . \"a.b\" }}`"));
        }
    }
    Ok((base.to_owned(), segments))
}

fn handlebars(word: &str, at: usize, scope: Scope) -> Result<(String, Vec<&str>), Problem> {
    let local = word.strip_prefix('@');
    let mut rest = local.unwrap_or(word);
    let mut parents = 0;
    let mut base = String::new();
    if let Some(root) = local.and_then(|name| name.strip_prefix("root"))
        && (root.is_empty() || root.starts_with(['.', '/']))
    {
        let segments = match root.get(1..) {
            None | Some("") => Vec::new(),
            Some(path) => segments(path, word, at)?,
        };
        return Ok(("@root/this".into(), segments));
    }
    while rest == ".." || rest.starts_with("../") {
        rest = rest.strip_prefix("..").unwrap_or(rest);
        rest = rest.strip_prefix('/').unwrap_or(rest);
        base.push_str("../");
        parents += 1;
    }
    if parents > scope.parents {
        return Err(
            Problem::new(at, format!("`{word}` leads out of the template"))
                .help("`../` steps out of one `each`, `range` or `with`"),
        );
    }
    if local.is_some() {
        if !matches!(rest, "index" | "key" | "first" | "last") {
            return Err(Problem::new(at, format!("`{word}` is not known"))
                .help("there are `@index`, `@key`, `@first`, `@last` and `@root`"));
        }
        if !scope.looping {
            return Err(Problem::new(
                at,
                format!("`{word}` stands outside of a loop"),
            ));
        }
        return Ok((format!("@{base}{rest}"), Vec::new()));
    }
    rest = rest.strip_prefix("./").unwrap_or(rest);
    if let Some(below) = rest.strip_prefix("this")
        && (below.is_empty() || below.starts_with(['.', '/']))
    {
        rest = below.get(1..).unwrap_or("");
    }
    base.push_str("this");
    if rest.is_empty() || rest == "." {
        return Ok((base, Vec::new()));
    }
    Ok((base, segments(rest, word, at)?))
}

/// `a.b/[c d]` in its parts.
fn segments<'w>(path: &'w str, word: &str, at: usize) -> Result<Vec<&'w str>, Problem> {
    let broken = || {
        Problem::new(at, format!("`{word}` is no path"))
            .help("a name with other characters is written `[a.b]` or `{{ index . \"a.b\" }}`")
    };
    let mut parts = Vec::new();
    let mut rest = path;
    loop {
        let (part, after) = match rest.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once(']').ok_or_else(broken)?,
            None => {
                let end = rest.find(['.', '/']).unwrap_or(rest.len());
                let (part, after) = rest.split_at(end);
                if part.is_empty() || part.contains(['[', ']', '@', '+']) {
                    return Err(broken());
                }
                (part, after)
            }
        };
        parts.push(part);
        if after.is_empty() {
            return Ok(parts);
        }
        rest = after.strip_prefix(['.', '/']).ok_or_else(broken)?;
    }
}

/// A canonical path as people would write it, for messages.
pub(super) fn readable(canonical: &str) -> String {
    let path = canonical.strip_prefix("@root/").unwrap_or(canonical);
    let path = path.replace(".[", ".").replace(']', "");
    match path.strip_prefix("this.") {
        Some(name) => name.to_owned(),
        None => path.replace("/this.", "/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSIDE: Scope = Scope {
        parents: 2,
        looping: true,
    };

    #[test]
    fn both_forms_become_one() {
        for (word, expected) in [
            (".", "this"),
            (".a", "this.[a]"),
            (".a.b-c", "this.[a].[b-c]"),
            ("$", "@root/this"),
            ("$.a", "@root/this.[a]"),
            (".this", "(index this \"this\")"),
            ("a", "this.[a]"),
            ("a.b/c", "this.[a].[b].[c]"),
            ("a.0", "this.[a].[0]"),
            ("this", "this"),
            ("this.a", "this.[a]"),
            ("this/a", "this.[a]"),
            ("thisone", "this.[thisone]"),
            ("./a", "this.[a]"),
            ("..", "../this"),
            ("../../a", "../../this.[a]"),
            ("../this.a", "../this.[a]"),
            ("[a b].[c.d]", "this.[a b].[c.d]"),
            ("[]", "(index this \"\")"),
            ("@root", "@root/this"),
            ("@root.a", "@root/this.[a]"),
            ("@index", "@index"),
            ("@../key", "@../key"),
        ] {
            assert_eq!(canonical(word, 0, INSIDE).unwrap(), expected, "{word}");
        }
    }

    #[test]
    fn what_is_no_path() {
        for word in [
            "..a",
            ".a.",
            ".a..b",
            "$x",
            ".a/b",
            "a..b",
            "a.",
            "@",
            "@x",
            "@root.",
            "a[b]",
            "[a]b",
            "../../../a",
        ] {
            let result = canonical(word, 0, INSIDE);
            assert!(result.is_err() || word == "@root.", "{word}: {result:?}");
        }
        assert!(canonical("@index", 0, Scope::default()).is_err());
        assert!(canonical("../a", 0, Scope::default()).is_err());
    }

    #[test]
    fn names_for_people() {
        assert_eq!(readable("this.[a].[b c]"), "a.b c");
        assert_eq!(readable("@root/this.[a]"), "a");
        assert_eq!(readable("../../this.[a]"), "../../a");
        assert_eq!(readable("@index"), "@index");
        assert_eq!(readable("this"), "this");
    }
}
