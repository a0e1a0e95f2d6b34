//! The words of this room: what is wanted, what it is made of, what comes out.

use std::time::Instant;

use crate::secret::{Fields, SecretBytes};

/// What one entry of `files:` wants written.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A compiled template.
    Template(super::Template),
    /// One field's value.
    Field(FieldPath, Encoding),
    /// The whole secret.
    Format(Format),
    /// Every field as a file of its own (`dir`).
    EveryField(Encoding),
}

/// How a field's value is decoded before it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    #[default]
    None,
    /// Standard base64.
    Base64,
    /// Base64 with `-` and `_`.
    Base64Url,
    /// Base64 where valid, else base64url where valid, else as it is.
    Auto,
}

/// How a whole secret is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `KEY='value'` for `sh` and systemd's `EnvironmentFile=`.
    Env,
    /// Raw `KEY=value` for `docker --env-file`.
    EnvFile,
    /// Compact, sorted JSON.
    Json,
    /// YAML.
    Yaml,
}

/// The data of one secret.
#[derive(Clone, Debug)]
pub enum Data {
    /// The fields of its one source.
    One(Fields),
    /// Several sources by name, in written order.
    Many(Vec<(String, Fields)>),
}

/// Bounds on one rendering.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes one file may have.
    pub max_bytes: usize,
    /// When to give up.
    pub deadline: Instant,
}

/// One file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The file's name below a `dir`; `None` where the entry is one file.
    pub name: Option<String>,
    /// Its bytes.
    pub bytes: SecretBytes,
}

/// What came out, and what people should know about it (names of fields, never values).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rendered {
    /// One piece, or one a field for a `dir`.
    pub pieces: Vec<Piece>,
    /// For example: a value that compose reads otherwise than `sh` does.
    pub warnings: Vec<String>,
}

/// The path of a `field`: the exact key first, else segments parted by dots (`\.` is a dot).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath {
    text: String,
}

impl FieldPath {
    /// Parses a path as written in the configuration.
    ///
    /// # Errors
    ///
    /// An empty path.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a field needs a name".into());
        }
        Ok(Self {
            text: text.to_owned(),
        })
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is a field of the source with this name.
    #[must_use]
    pub fn is_below(&self, source: &str) -> bool {
        super::field::below(&self.text, source).is_some()
    }
}
