//! Which configuration file.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::Environment;

/// Where it is looked for when nobody names it.
const PLACES: [&str; 2] = ["./config.yaml", "/etc/secrets-sync/config.yaml"];

/// There is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotFound {
    /// Somebody named one.
    Named { by: &'static str, path: PathBuf },
    /// Nobody did, and it lies at none of the usual places.
    Nowhere,
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named { by, path } => {
                write!(f, "`{}`, named by {by}, does not exist", path.display())
            }
            Self::Nowhere => write!(
                f,
                "no configuration file: neither `--config` nor `$CONFIG_FILE` is given, and there is neither `{}` nor `{}`",
                PLACES[0], PLACES[1]
            ),
        }
    }
}

impl NotFound {
    /// What to do.
    pub(super) const HELP: &str = "`secrets-sync init > config.yaml` writes one to begin with";
}

/// `--config`, else `$CONFIG_FILE`, is the file; else the first place where one lies.
pub(super) fn find(given: Option<PathBuf>, environment: &Environment) -> Result<PathBuf, NotFound> {
    find_with(given, environment, |path| {
        // What cannot be looked at is there: reading it will say why it cannot be read.
        !std::fs::metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    })
}

fn find_with(
    given: Option<PathBuf>,
    environment: &Environment,
    exists: impl Fn(&Path) -> bool,
) -> Result<PathBuf, NotFound> {
    let named = given.map(|path| ("`--config`", path)).or_else(|| {
        let path = environment.get_non_empty("CONFIG_FILE")?;
        Some(("`$CONFIG_FILE`", path.into()))
    });
    match named {
        Some((_, path)) if exists(&path) => Ok(path),
        Some((by, path)) => Err(NotFound::Named { by, path }),
        None => PLACES
            .into_iter()
            .map(PathBuf::from)
            .find(|path| exists(path))
            .ok_or(NotFound::Nowhere),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(given: Option<&str>, variable: &str, there: &[&str]) -> Result<String, String> {
        let environment = Environment::from_iter([("CONFIG_FILE", variable)]);
        find_with(given.map(PathBuf::from), &environment, |path| {
            there.iter().any(|there| path == Path::new(there))
        })
        .map(|path| path.display().to_string())
        .map_err(|error| error.to_string())
    }

    #[test]
    fn the_order_is_the_manuals() {
        let all = ["a", "b", "./config.yaml", "/etc/secrets-sync/config.yaml"];
        let of = |given, variable, there: &[&str]| found(given, variable, there).unwrap();
        assert_eq!(of(Some("a"), "b", &all), "a");
        assert_eq!(of(None, "b", &all), "b");
        assert_eq!(of(None, "", &all), "./config.yaml");
        assert_eq!(of(None, "", &all[3..]), "/etc/secrets-sync/config.yaml");
    }

    #[test]
    fn a_named_file_that_is_missing_is_not_looked_for_elsewhere() {
        let all = ["./config.yaml"];
        assert_eq!(
            found(Some("a"), "", &all).unwrap_err(),
            "`a`, named by `--config`, does not exist"
        );
        assert_eq!(
            found(None, "b", &all).unwrap_err(),
            "`b`, named by `$CONFIG_FILE`, does not exist"
        );
    }

    #[test]
    fn all_places_are_named_when_there_is_none() {
        let message = found(None, "", &[]).unwrap_err();
        for place in [
            "`--config`",
            "`$CONFIG_FILE`",
            "`./config.yaml`",
            "`/etc/secrets-sync/config.yaml`",
        ] {
            assert!(message.contains(place), "{message}");
        }
    }
}
