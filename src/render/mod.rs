//! Fields in, bytes out: templates, formats, single fields and their encodings.
//!
//! Knows no file, no server, no clock but the deadline it is given; it never logs. What a
//! configuration says about content is compiled into a [`Content`] once, in the plan; workers
//! only [`render`].

mod buffer;
mod content;
mod encoding;
mod env;
mod error;
mod field;
mod json;
mod template;
mod value;
mod yaml;

pub use content::{Content, Data, Encoding, FieldPath, Format, Limits, Piece, Rendered};
pub use error::{RenderError, TemplateError};
pub use template::Template;
pub(crate) use template::is_helper;

use std::collections::BTreeMap;

use serde_json::Value;

use self::buffer::Buffer;
use self::env::Failed;
use crate::secret::SecretBytes;

/// Renders one entry's content.
///
/// # Errors
///
/// When a field is missing, a value does not decode, or a bound is exceeded; the message names
/// fields, never values.
pub fn render(content: &Content, data: &Data, limits: Limits) -> Result<Rendered, RenderError> {
    match content {
        Content::Template(template) => template.render(data, limits).map(whole),
        Content::Field(path, encoding) => {
            let value = field::find(data, path.as_str())?;
            decoded(value, *encoding, path.as_str(), limits).map(whole)
        }
        Content::Format(format) => formatted(*format, data, limits),
        Content::EveryField(encoding) => every_field(data, *encoding, limits),
    }
}

fn whole(bytes: SecretBytes) -> Rendered {
    Rendered {
        pieces: vec![Piece { name: None, bytes }],
        warnings: Vec::new(),
    }
}

fn decoded(
    value: &Value,
    encoding: Encoding,
    name: &str,
    limits: Limits,
) -> Result<SecretBytes, RenderError> {
    let full = || {
        let RenderError { message, help } = Buffer::full(limits.max_bytes);
        RenderError {
            message: format!("field `{name}`: {message}"),
            help,
        }
    };
    // Encoded, a value takes four bytes for three, and line breaks.
    let most = limits.max_bytes.saturating_mul(2);
    let text = value::text(value, most).ok_or_else(full)?;
    let bytes = SecretBytes::new(encoding::decode(encoding, &text, name)?);
    if bytes.len() > limits.max_bytes {
        return Err(full());
    }
    Ok(bytes)
}

/// All fields by name; of several sources the later wins.
fn merged(data: &Data) -> BTreeMap<&str, &Value> {
    let sources: Vec<_> = match data {
        Data::One(fields) => vec![fields],
        Data::Many(sources) => sources.iter().map(|(_, fields)| fields).collect(),
    };
    sources
        .into_iter()
        .flat_map(|fields| fields.expose())
        .map(|(name, value)| (name.as_str(), value))
        .collect()
}

fn formatted(format: Format, data: &Data, limits: Limits) -> Result<Rendered, RenderError> {
    let merged = merged(data);
    let members = merged.iter().map(|(name, value)| (*name, *value));
    let mut out = Buffer::new(limits.max_bytes);
    let mut warnings = Vec::new();
    let done = match format {
        Format::Env => env::env(&mut out, members, &mut warnings),
        Format::EnvFile => env::env_file(&mut out, members),
        Format::Json => json::write_members(&mut out, members).map_err(Failed::from),
        Format::Yaml => yaml::write_members(&mut out, members).map_err(Failed::from),
    };
    match done {
        Ok(()) => Ok(Rendered {
            warnings,
            ..whole(out.into_bytes())
        }),
        Err(Failed::Full) => Err(Buffer::full(limits.max_bytes)),
        Err(Failed::Field(error)) => Err(error),
    }
}

fn every_field(data: &Data, encoding: Encoding, limits: Limits) -> Result<Rendered, RenderError> {
    let mut pieces = Vec::new();
    for (name, value) in merged(data) {
        field::check_file_name(name)?;
        pieces.push(Piece {
            name: Some(name.to_owned()),
            bytes: decoded(value, encoding, name, limits)?,
        });
    }
    Ok(Rendered {
        pieces,
        warnings: Vec::new(),
    })
}

#[cfg(test)]
mod tests;
