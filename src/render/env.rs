//! `format: env` and `format: envfile`.

use std::fmt::Write as _;

use serde_json::Value;

use super::buffer::Buffer;
use super::{RenderError, value};

/// What makes a field fit for a variable.
const NAMES: &str = "a variable's name has letters, digits and `_`, and begins with none of the \
                     digits: use a template for this secret, or rename the field";

/// Why the members cannot be written.
pub(super) enum Failed {
    /// The file would be too large.
    Full,
    /// A field does not fit.
    Field(RenderError),
}

impl From<std::fmt::Error> for Failed {
    fn from(_: std::fmt::Error) -> Self {
        Self::Full
    }
}

/// `KEY='value'`, or `KEY="value"` where the value has a quote or a backslash: what `sh` and
/// systemd's `EnvironmentFile=` both read as the very value. (systemd takes a backslash in single
/// quotes for an escape, `sh` does not.) The names of fields that compose reads otherwise are
/// added to `warnings`.
pub(super) fn env<'v>(
    out: &mut Buffer,
    members: impl Iterator<Item = (&'v str, &'v Value)>,
    warnings: &mut Vec<String>,
) -> Result<(), Failed> {
    let most = out.max();
    let mut otherwise = Vec::new();
    for (name, value) in members {
        let text = value::text(value, most).ok_or(Failed::Full)?;
        check(name, &text)?;
        let is_simple = !text.contains(['\'', '\\']);
        // Readers built on python-dotenv (podman-compose) expand `${` in single quotes, too.
        if text.contains("${") || (text.contains('`') && !is_simple) {
            otherwise.push(format!("`{name}`"));
        }
        if is_simple {
            writeln!(out, "{name}='{text}'")?;
            continue;
        }
        write!(out, "{name}=\"")?;
        let mut plain = 0;
        for (at, _) in text.match_indices(['"', '\\', '$', '`']) {
            out.write_str(&text[plain..at])?;
            out.write_char('\\')?;
            plain = at;
        }
        writeln!(out, "{}\"", &text[plain..])?;
    }
    if !otherwise.is_empty() {
        warnings.push(format!(
            "docker compose reads {} otherwise than `sh` and systemd do: write these with a \
             template, or as `format: envfile`",
            otherwise.join(", ")
        ));
    }
    Ok(())
}

/// `KEY=value`, raw: `docker run --env-file` knows no quotes.
pub(super) fn env_file<'v>(
    out: &mut Buffer,
    members: impl Iterator<Item = (&'v str, &'v Value)>,
) -> Result<(), Failed> {
    let most = out.max();
    for (name, value) in members {
        let text = value::text(value, most).ok_or(Failed::Full)?;
        check(name, &text)?;
        if text.contains(['\n', '\r']) {
            return Err(Failed::Field(RenderError {
                message: format!(
                    "field `{name}` has a line break, which `format: envfile` cannot write"
                ),
                help: Some("write it to a file of its own, or use `format: env`".into()),
            }));
        }
        writeln!(out, "{name}={text}")?;
    }
    Ok(())
}

fn check(name: &str, text: &str) -> Result<(), Failed> {
    let fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let (message, help) = if !fits {
        let name = name.escape_debug();
        (format!("field `{name}` is no name for a variable"), NAMES)
    } else if text.contains('\0') {
        (
            format!("field `{name}` has a NUL byte, which no variable can hold"),
            "write it to a file of its own with `field`",
        )
    } else {
        return Ok(());
    };
    Err(Failed::Field(RenderError {
        message,
        help: Some(help.into()),
    }))
}
