//! The process environment, copied once at start.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// A copy of the environment; reloads read it, too.
#[derive(Clone, Default)]
pub struct Environment {
    values: BTreeMap<String, String>,
    /// Variables whose values are not UTF-8.
    unreadable: Vec<String>,
}

impl Environment {
    /// The process's own, at this moment. Names that are not UTF-8 are left out: nobody asks for
    /// them.
    #[must_use]
    pub fn of_process() -> Self {
        Self::of(std::env::vars_os())
    }

    pub(super) fn of(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => {
                    environment.values.insert(name, value);
                }
                (Ok(name), Err(_)) => environment.unreadable.push(name),
                (Err(_), _) => {}
            }
        }
        environment
    }

    /// The variables that are set to something that is not UTF-8, and so are as if they were not.
    pub(crate) fn unreadable(&self) -> impl Iterator<Item = &str> {
        self.unreadable.iter().map(String::as_str)
    }

    /// The value of a variable, empty or not.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The value of a variable that is set and not empty.
    #[must_use]
    pub fn get_non_empty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self {
            values: pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            unreadable: Vec::new(),
        }
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.values.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn what_is_not_utf_8_is_known_by_its_name() {
        let broken = || OsString::from_vec(vec![0xff]);
        let environment = Environment::of(
            [
                ("A".into(), "a".into()),
                ("B".into(), broken()),
                (broken(), "c".into()),
            ]
            .into_iter(),
        );
        assert_eq!(environment.get("A"), Some("a"));
        assert_eq!(environment.get("B"), None);
        assert_eq!(environment.unreadable().collect::<Vec<_>>(), ["B"]);
        assert_eq!(format!("{environment:?}"), "[\"A\"]");
    }
}
