//! `validate`: the configuration, offline.

use std::path::Path;

use super::console;
use super::exit::Exit;
use crate::config::{self, Environment};
use crate::plan::{self, Purpose};

pub(super) fn main(file: &Path, environment: &Environment) -> Exit {
    let settings = config::daemon_settings(environment).err();
    let plan = plan::load(file, environment, Purpose::Validate);
    let errors: Vec<String> = plan
        .as_ref()
        .err()
        .into_iter()
        .flat_map(config::Problems::entries)
        .chain(settings.into_iter().flatten())
        .collect();
    for error in &errors {
        console::fail(error);
    }
    match plan {
        Ok(_plan) if errors.is_empty() => Exit::Success,
        _ => Exit::Unusable,
    }
}
