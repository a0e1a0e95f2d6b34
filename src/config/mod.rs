//! The YAML file and the environment, as they were written: schema, expansion, overrides, and
//! problems that know their place. Nothing is resolved here, and nothing touches the network or
//! the target files.

mod daemon;
mod document;
pub mod duration;
mod environment;
pub mod expand;
mod file;
mod guess;
mod hidden;
mod mask;
mod merge;
mod node;
mod overrides;
mod problem;
mod reader;
mod report;
mod sample;
mod scalar;
pub mod schema;
mod section;
mod stream;
mod suggest;
mod tracing;
mod variables;

pub use daemon::{Daemon, daemon_settings};
pub use environment::Environment;
pub use file::MAX_FILE_BYTES;
pub use hidden::Hidden;
pub use problem::{Problem, Problems};
pub use sample::SAMPLE;
pub use stream::kind as kind_of_stream;
pub use tracing::{Endpoint, Sampler, Tracing};
pub use variables::VARIABLES;

pub(crate) use document::{Document, Secret, Store, check_name};
pub(crate) use duration::{DurationError, parse as parse_duration, show as show_duration};
pub(crate) use expand::{ExpandError, expand};
pub(crate) use file::{Source, parse, read, read_again};
pub(crate) use hidden::is_credential as is_credential_variable;
pub(crate) use mask::{CREDENTIAL_KEYS, may_hold_credential};
pub(crate) use merge::shown;
pub(crate) use overrides::{apply as apply_overrides, names_a_server};
pub(crate) use report::{At, Note, Report};
pub(crate) use scalar::{BYTES_HELP, bytes as parse_bytes, env_bool as parse_env_bool, yaml_bool};
pub(crate) use section::{Section, Text};
pub(crate) use suggest::nearest;
