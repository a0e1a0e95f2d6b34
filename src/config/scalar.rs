//! Small values: byte sizes, numbers, booleans.

/// Parses a number of bytes: `1048576`, `512KiB`, `1MiB`, `10MB`.
///
/// # Errors
///
/// What is wrong, to follow the quoted value.
pub(crate) fn bytes(text: &str) -> Result<u64, &'static str> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    if number.is_empty() {
        return Err("is not a size");
    }
    let scale: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("is not a size"),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(scale))
        .ok_or("is too large a size")
}

/// What to write for a size.
pub(crate) const BYTES_HELP: &str = "write bytes, or a unit as in `512KiB`, `1MiB`, `10MB`";

/// A boolean of the YAML file; the Go tool's reader took those of YAML 1.1, too.
pub(crate) fn yaml_bool(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            Some(true)
        }
        "false" | "False" | "FALSE" | "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            Some(false)
        }
        _ => None,
    }
}

/// A boolean of the environment: `1 t true yes on` or `0 f false no off`, in any case.
pub(crate) fn env_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "yes" | "on" => Some(true),
        "0" | "f" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("1048576", Ok(1 << 20)),
            ("1MiB", Ok(1 << 20)),
            ("512KiB", Ok(512 << 10)),
            ("512 KiB", Ok(512 << 10)),
            ("10MB", Ok(10_000_000)),
            ("2GiB", Ok(2 << 30)),
            ("1M", Err("is not a size")),
            ("-1", Err("is not a size")),
            ("1.5MiB", Err("is not a size")),
            ("", Err("is not a size")),
            ("99999999999999999999", Err("is too large a size")),
            ("99999999999999GiB", Err("is too large a size")),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn booleans_of_the_file_are_those_of_yaml_1_1() {
        for text in ["true", "TRUE", "yes", "On", "y"] {
            assert_eq!(yaml_bool(text), Some(true), "{text}");
        }
        for text in ["false", "False", "NO", "off", "n"] {
            assert_eq!(yaml_bool(text), Some(false), "{text}");
        }
        for text in ["", "1", "0", "tRUE", "t", "maybe"] {
            assert_eq!(yaml_bool(text), None, "{text}");
        }
    }

    #[test]
    fn booleans_of_the_environment_in_any_case() {
        for text in ["1", "t", "TRUE", "Yes", "oN"] {
            assert_eq!(env_bool(text), Some(true), "{text}");
        }
        for text in ["0", "F", "false", "NO", "off"] {
            assert_eq!(env_bool(text), Some(false), "{text}");
        }
        for text in ["", "2", "y", "enabled", " true"] {
            assert_eq!(env_bool(text), None, "{text}");
        }
    }
}
