//! What resolving needs everywhere: the environment, the purpose, the report, and the ways to
//! read a value out of a section.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::config::{
    At, CREDENTIAL_KEYS, DurationError, Environment, ExpandError, Report, Section, Source, Text,
    expand, is_credential_variable, parse_duration, parse_env_bool, shown, yaml_bool,
};

use super::Purpose;
use crate::render::Template;

/// Keys whose values are never quoted, and whose unset variables `validate` only warns of.
const CREDENTIALS: [&str; 8] = [
    "token",
    "tokenFile",
    "roleId",
    "roleIdFile",
    "secretId",
    "secretIdFile",
    "tlsClientCert",
    "tlsClientKey",
];

/// The state of resolving.
pub(super) struct Scope<'a> {
    pub(super) environment: &'a Environment,
    pub(super) purpose: Purpose,
    pub(super) report: Report,
    pub(super) source: &'a Source,
    pub(super) working_dir: PathBuf,
    /// What is compiled, by its text: many secrets have the same, and share it.
    pub(super) templates: HashMap<String, Template>,
}

/// A value after expansion.
pub(super) struct Resolved {
    pub(super) at: At,
    pub(super) text: Zeroizing<String>,
    /// The variables that stood in it.
    pub(super) variables: Vec<String>,
    /// A variable is not set, and `validate` looks past it: the text is not the value.
    pub(super) unset: bool,
}

/// A message, and what to do.
pub(super) type Refusal = (String, Option<String>);

impl Scope<'_> {
    /// The value of a key, expanded; an error in it is reported.
    pub(super) fn value(&mut self, section: &Section, key: &str) -> Option<Resolved> {
        let text = section.text(key)?;
        self.expanded(text, key)
    }

    fn expanded(&mut self, text: &Text, key: &str) -> Option<Resolved> {
        let lenient = key == "address" || CREDENTIALS.contains(&key);
        let at = text.at.clone();
        if at.variable.is_some() {
            return Some(Resolved {
                at,
                text: text.value.clone(),
                variables: Vec::new(),
                unset: false,
            });
        }
        let expanded = match expand(&text.value, self.environment) {
            Ok(expanded) => expanded,
            Err(error) => {
                self.report
                    .error_help(&at, error.message(), ExpandError::HELP);
                return None;
            }
        };
        self.hide(&at, key, &expanded.variables);
        let unset = !expanded.unset.is_empty();
        let look_past = lenient && self.purpose == Purpose::Validate;
        for name in &expanded.unset {
            let message = format!("the variable `{name}` is not set");
            if look_past {
                self.report.warn(&at, message);
            } else {
                let help = format!("set it, or give it a default: `${{{name}:-…}}`");
                self.report.error_help(&at, message, help);
            }
        }
        (!unset || look_past).then_some(Resolved {
            at,
            text: expanded.text,
            variables: expanded.variables,
            unset,
        })
    }

    /// Hides the values of variables that hold a credential, and says where one becomes a name.
    fn hide(&mut self, at: &At, key: &str, variables: &[String]) {
        let is_credential = CREDENTIAL_KEYS.contains(&key);
        for name in variables {
            let holds_one = is_credential_variable(name);
            if let Some(value) = self.environment.get(name)
                && (is_credential || holds_one)
            {
                self.report.hidden.add(value);
            }
            if holds_one && !is_credential {
                self.report.warn(
                    at,
                    format!(
                        "the variable `{name}` holds a credential by its name, and here it becomes \
                         part of a name, which the log, the status and the metrics show: put it into \
                         `token`, `roleId` or `secretId`, or give a variable of a name another name"
                    ),
                );
            }
        }
    }

    /// Reports that a key is absent, unless it is there in a form that is reported already.
    pub(super) fn missing(&mut self, section: &Section, key: &str) {
        if !section.is_spoilt(&[key]) {
            self.report
                .error(&section.at, format!("missing key `{key}`"));
        }
    }

    /// A value as plain text.
    pub(super) fn string(&mut self, section: &Section, key: &str) -> Option<(At, String)> {
        let value = self.value(section, key)?;
        Some((value.at, value.text.to_string()))
    }

    /// A value as plain text, where empty is as good as absent.
    pub(super) fn non_empty(&mut self, section: &Section, key: &str) -> Option<(At, String)> {
        self.string(section, key)
            .filter(|(_, text)| !text.is_empty())
    }

    /// A value that `parse` understands; its refusal follows the quoted value.
    pub(super) fn parsed<T>(
        &mut self,
        section: &Section,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Refusal>,
    ) -> Option<T> {
        let (at, text) = self.string(section, key)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(refusal) => {
                self.refuse(&at, &text, refusal);
                None
            }
        }
    }

    /// Reports a value: it is quoted, and `refusal` says what is wrong with it.
    pub(super) fn refuse(&mut self, at: &At, text: &str, (message, help): Refusal) {
        let message = format!("`{}` {message}", shown(text));
        match help {
            Some(help) => self.report.error_help(at, message, help),
            None => self.report.error(at, message),
        }
    }

    /// A boolean.
    pub(super) fn flag(&mut self, section: &Section, key: &str) -> Option<bool> {
        let from_environment = section
            .text(key)
            .is_some_and(|text| text.at.variable.is_some());
        self.parsed(section, key, |text| {
            let value = if from_environment {
                parse_env_bool(text)
            } else {
                yaml_bool(text)
            };
            value.ok_or_else(|| {
                (
                    "is not a boolean".to_owned(),
                    Some("write `true` or `false`".to_owned()),
                )
            })
        })
    }

    /// A whole number within bounds.
    pub(super) fn number(
        &mut self,
        section: &Section,
        key: &str,
        least: u64,
        most: u64,
    ) -> Option<u64> {
        self.parsed(section, key, |text| {
            text.parse()
                .ok()
                .filter(|number| (least..=most).contains(number))
                .ok_or_else(|| {
                    let range = if most == u64::MAX {
                        format!("is not a whole number of at least {least}")
                    } else {
                        format!("is not a whole number from {least} to {most}")
                    };
                    (range, None)
                })
        })
    }

    /// A duration that is not zero.
    pub(super) fn duration(&mut self, section: &Section, key: &str) -> Option<Duration> {
        self.parsed(section, key, |text| match parse_duration(text) {
            Ok(Duration::ZERO) => Err((
                "is zero".to_owned(),
                Some("write a time above zero".to_owned()),
            )),
            Ok(duration) => Ok(duration),
            Err(error) => Err((
                error.message().to_owned(),
                Some(DurationError::HELP.to_owned()),
            )),
        })
    }

    /// The path of a file, made absolute; empty is as good as absent.
    ///
    /// `Err` where something in it is wrong and reported.
    pub(super) fn path(&mut self, section: &Section, key: &str) -> Result<Option<PathBuf>, ()> {
        if section.text(key).is_none() {
            return Ok(None);
        }
        let value = self.value(section, key).ok_or(())?;
        if value.text.is_empty() {
            return Ok(None);
        }
        if value.text.contains('\0') {
            self.report
                .error(&value.at, "a path cannot hold a NUL character");
            return Err(());
        }
        // What `validate` could not expand is shown as it is written.
        if value.unset {
            return Ok(Some(PathBuf::from(value.text.as_str())));
        }
        Ok(Some(self.working_dir.join(value.text.as_str())))
    }
}

/// Segments joined by one slash, none empty.
pub(super) fn segments(text: &str) -> Result<String, Refusal> {
    let segments: Vec<&str> = text
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    if segments.is_empty() {
        return Err(("names nothing".to_owned(), None));
    }
    if let Some(dots) = segments
        .iter()
        .find(|segment| matches!(**segment, "." | ".."))
    {
        return Err((
            format!("has a segment `{dots}`, which a server would not take as a name"),
            None,
        ));
    }
    Ok(segments.join("/"))
}

/// A namespace: segments without slashes at the ends; empty is the root namespace.
pub(super) fn namespace(text: &str) -> Result<String, Refusal> {
    if text.trim_matches('/').is_empty() {
        return Ok(String::new());
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err((
            format!("holds `{}`, which no namespace may", c.escape_debug()),
            None,
        ));
    }
    segments(text)
}
