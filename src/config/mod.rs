//! The YAML file and the environment, as they were written: schema, expansion, overrides, and
//! problems that know their place. Nothing is resolved here, and nothing touches the network or
//! the target files.

mod environment;
mod problem;

pub use environment::Environment;
pub use problem::{Problem, Problems};
