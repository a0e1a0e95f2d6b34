//! Texts of a manifest that something outside of it fills in (Flux, envsubst, Helm): `${NAME}`
//! becomes a variable of our own environment, with a default that shows what is missing.

/// What stands for a variable that nobody has set.
const PREFIX: &str = "replace-me-";

/// A text as it is written into the configuration, where `${…}` is expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Phrase {
    /// With every `${` that is text escaped.
    pub(super) written: String,
    /// The variables in it.
    pub(super) variables: Vec<String>,
}

/// Writes a text so that variables stay variables and all else stays text.
pub(super) fn phrase(text: &str) -> Phrase {
    let mut phrase = Phrase {
        written: String::with_capacity(text.len()),
        variables: Vec::new(),
    };
    let mut rest = text;
    while let Some(dollar) = rest.find("${") {
        let (before, from) = rest.split_at(dollar);
        phrase.written.push_str(before);
        match variable(from) {
            // `$${x}` is Flux's way to write `${x}`.
            Some(_) if before.ends_with('$') => {
                phrase.written.push_str("${");
                rest = &from[2..];
            }
            Some((name, default, length)) => {
                let default = default.map_or_else(|| format!("{PREFIX}{name}"), str::to_owned);
                phrase.written.push_str(&format!("${{{name}:-{default}}}"));
                phrase.variables.push(name.to_owned());
                rest = &from[length..];
            }
            None => {
                phrase.written.push_str("$${");
                rest = &from[2..];
            }
        }
    }
    phrase.written.push_str(rest);
    phrase
}

/// Whether something outside of the manifest fills this text in: `${X}`, `<X>`, `{{ x }}`.
pub(super) fn placeholder(text: &str) -> Option<&str> {
    let angle = |text: &str| {
        let inner = text.strip_prefix('<')?.strip_suffix('>')?;
        inner
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' ' | '.'))
            .then_some(())
    };
    text.split('/')
        .find(|part| angle(part).is_some() || part.contains("{{") || part.contains("{%"))
}

/// Name, default and length of a variable at the start of a text.
fn variable(text: &str) -> Option<(&str, Option<&str>, usize)> {
    let body = text.strip_prefix("${")?;
    let end = body.find('}')?;
    let body = &body[..end];
    let name_end = body
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(body.len());
    let (name, operator) = body.split_at(name_end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let default = match operator {
        "" => None,
        _ => Some(
            operator
                .strip_prefix(":-")
                .or_else(|| operator.strip_prefix(":="))
                .or_else(|| operator.strip_prefix('='))?,
        ),
    };
    // Another variable inside is more than can be said here; nothing would name nothing.
    // Dots alone would lead elsewhere.
    let usable = |text: &&str| {
        !text.is_empty() && !text.split('/').any(|segment| matches!(segment, "." | ".."))
    };
    let default = default.filter(usable);
    (!body.contains("${")).then_some((name, default, end + 3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, expand};

    #[test]
    fn variables_stay_and_text_stays_text() {
        for (text, expected, variables) in [
            ("a/b", "a/b", 0),
            ("${cluster}/db", "${cluster:-replace-me-cluster}/db", 1),
            ("${A:=x}-${B:-y}", "${A:-x}-${B:-y}", 2),
            ("$${A}", "$${A}", 0),
            ("${{ values.x }}", "$${{ values.x }}", 0),
            ("${A%x}", "$${A%x}", 0),
            ("${", "$${", 0),
            ("${A:-}", "${A:-replace-me-A}", 1),
            ("${A:-../b}", "${A:-replace-me-A}", 1),
        ] {
            let phrase = phrase(text);
            assert_eq!(phrase.written, expected, "{text}");
            assert_eq!(phrase.variables.len(), variables, "{text}");
            let none = Environment::default();
            assert!(expand(&phrase.written, &none).unwrap().unset.is_empty());
        }
    }

    #[test]
    fn placeholders() {
        assert_eq!(placeholder("<TOKEN>"), Some("<TOKEN>"));
        assert_eq!(placeholder("a/<cluster name>/b"), Some("<cluster name>"));
        assert_eq!(placeholder("a/b"), None);
        assert_eq!(placeholder("a<b>c"), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_it_is_it_expands(text in "[a-zA-Z$ {}:=/-]{0,24}") {
            let written = phrase(&text).written;
            let expanded = expand(&written, &Environment::default());
            proptest::prop_assert!(expanded.is_ok_and(|expanded| expanded.unset.is_empty()), "{written}");
        }
    }
}
