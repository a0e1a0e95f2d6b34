//! Templates as people write them, from text to bytes.

mod bounds;
mod errors;
mod forms;
mod helpers;
mod properties;

use std::time::{Duration, Instant};

use super::*;

const DATA: &str = r#"{
    "user": "admin", "pass": "p<&>\"'x", "upper": "a field", "tls-crt": "CERT", "a.b": "dotted",
    "empty": "", "zero": 0, "no": false, "yes": true, "nothing": null, "none": [], "port": 5432,
    "float": 1.0, "exp": 1e3, "big": 12345678901234567890123,
    "db": {"host": "h", "ports": [1, 2], "deep": {"x-y": "z"}},
    "list": ["a", "b", "c"], "hosts": [{"n": "x", "p": 1}, {"n": "y", "p": 2}],
    "json": "{\"k\":[1e3,{\"z\":\"<\"}],\"user\":\"inner\"}", "b64": "aGVsbG8=", "bin": "/w==",
    "cert": "-----BEGIN\nabc\n-----END\n", "this": "that"
}"#;

fn data() -> Data {
    Data::One(Fields::parse(DATA).unwrap())
}

fn limits() -> Limits {
    Limits {
        max_bytes: 1 << 20,
        deadline: Instant::now() + Duration::from_secs(20),
    }
}

fn render(text: &str) -> Result<String, String> {
    let template = Template::compile(text).map_err(|error| error.to_string())?;
    let bytes = template
        .render(&data(), limits())
        .map_err(|error| error.to_string())?;
    Ok(String::from_utf8(bytes.expose().to_vec()).unwrap())
}

fn check(rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        assert_eq!(render(text).as_deref(), Ok(*expected), "{text}");
    }
}

/// Rows of template and error, at compilation or at rendering.
fn refuse(rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        assert_eq!(render(text), Err((*expected).to_owned()), "{text}");
    }
}
