//! The configuration that `init` prints.

/// A commented sample that `validate` accepts as it is; every file names its template.
pub const SAMPLE: &str = include_str!("sample.yaml");
