//! `${VAR}`, `${VAR:-default}`, and `$${` for a literal `${`.

use zeroize::Zeroizing;

use super::Environment;

/// A text with its variables replaced.
#[derive(Default)]
pub struct Expanded {
    /// The text; a variable that is not set stands in it as written.
    pub text: Zeroizing<String>,
    /// The variables that it named, in order.
    pub variables: Vec<String>,
    /// Those that are not set and have no default.
    pub unset: Vec<String>,
}

/// A `${` that is no variable: what is wrong with it. It never quotes more than a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpandError {
    /// No `}`.
    Open,
    /// No name, or something that is none.
    Name,
    /// Something other than `:-` after the name.
    Operator(String),
    /// A `${` in a default.
    Nested(String),
}

impl ExpandError {
    /// What is wrong.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Open => "a `${` without its `}`".to_owned(),
            Self::Name => "a `${…}` that does not name a variable".to_owned(),
            Self::Operator(name) => {
                format!("the variable `{name}` is followed by something other than `}}` or `:-`")
            }
            Self::Nested(name) => format!("the default of `{name}` holds another `${{`"),
        }
    }

    /// What to write.
    pub const HELP: &str = "write `${NAME}` or `${NAME:-default}`, and `$${` for a literal `${`";
}

/// Replaces the variables of `text` by those of `environment`.
///
/// Empty counts as set for `${V}`, as not set for `${V:-d}`.
pub fn expand(text: &str, environment: &Environment) -> Result<Expanded, ExpandError> {
    let mut expanded = Expanded::default();
    let mut rest = text;
    while let Some(dollar) = rest.find("${") {
        if rest[..dollar].ends_with('$') {
            expanded.text.push_str(&rest[..dollar - 1]);
            expanded.text.push_str("${");
            rest = &rest[dollar + 2..];
            continue;
        }
        expanded.text.push_str(&rest[..dollar]);
        let body = &rest[dollar + 2..];
        let end = body.find('}').ok_or(ExpandError::Open)?;
        variable(&body[..end], environment, &mut expanded)?;
        rest = &body[end + 1..];
    }
    expanded.text.push_str(rest);
    Ok(expanded)
}

fn variable(
    body: &str,
    environment: &Environment,
    expanded: &mut Expanded,
) -> Result<(), ExpandError> {
    let end = body
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(body.len());
    let (name, operator) = body.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(ExpandError::Name);
    }
    expanded.variables.push(name.to_owned());
    let value = if operator.is_empty() {
        environment.get(name)
    } else {
        let default = operator
            .strip_prefix(":-")
            .ok_or_else(|| ExpandError::Operator(name.to_owned()))?;
        if default.contains("${") {
            return Err(ExpandError::Nested(name.to_owned()));
        }
        environment
            .get(name)
            .filter(|value| !value.is_empty())
            .or(Some(default))
    };
    match value {
        Some(value) => expanded.text.push_str(value),
        None => {
            expanded.unset.push(name.to_owned());
            expanded.text.push_str(&format!("${{{name}}}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn environment() -> Environment {
        [("A", "one"), ("EMPTY", ""), ("LOOP", "${A}")]
            .into_iter()
            .collect()
    }

    fn of(text: &str) -> Result<String, ExpandError> {
        expand(text, &environment()).map(|expanded| expanded.text.to_string())
    }

    #[test]
    fn the_forms() {
        for (text, expected) in [
            ("plain $A $ {A} $", "plain $A $ {A} $"),
            ("<${A}>", "<one>"),
            ("${A}${A:-x}", "oneone"),
            ("${NOT:-x}", "x"),
            ("${NOT:-}", ""),
            ("<${EMPTY}>", "<>"),
            ("<${EMPTY:-d}>", "<d>"),
            ("$${A}", "${A}"),
            ("a$$${A}", "a$${A}"),
            ("$$", "$$"),
            ("${NOT:-a:-b}", "a:-b"),
            ("${LOOP}", "${A}"),
            ("${NOT:-$5}", "$5"),
        ] {
            assert_eq!(of(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_variable_is_an_error() {
        for (text, error) in [
            ("${A", ExpandError::Open),
            ("${", ExpandError::Open),
            ("${}", ExpandError::Name),
            ("${1A}", ExpandError::Name),
            ("${ A }", ExpandError::Name),
            ("${A-x}", ExpandError::Operator("A".into())),
            ("${A:?x}", ExpandError::Operator("A".into())),
            ("${A:-${B}}", ExpandError::Nested("A".into())),
        ] {
            assert_eq!(of(text), Err(error), "{text}");
        }
    }

    #[test]
    fn what_is_not_set_is_named_and_stays_as_written() {
        let expanded = expand("https://${NOT}/${A}", &environment()).ok().unwrap();
        assert_eq!(*expanded.text, "https://${NOT}/one");
        assert_eq!(expanded.unset, ["NOT"]);
        assert_eq!(expanded.variables, ["NOT", "A"]);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[$\\{\\}:A-]{0,20}|\\PC{0,20}") {
            let _ = expand(&text, &environment());
        }

        #[test]
        fn text_without_a_variable_stays(text in "[^{]{0,40}") {
            prop_assert_eq!(of(&text), Ok(text));
        }

        #[test]
        fn an_escaped_text_comes_back(text in "([a-z ]|\\$\\{|\\})*") {
            prop_assert_eq!(of(&text.replace("${", "$${")), Ok(text));
        }
    }
}
