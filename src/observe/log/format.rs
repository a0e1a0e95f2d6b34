//! A record as one line.

use std::fmt::Write;
use std::time::SystemTime;

use humantime::{format_rfc3339_millis, format_rfc3339_seconds};
use log::kv::{self, Key, Value, VisitSource, VisitValue};
use log::{Level, Record};

use crate::observe::trace::told_of;
use crate::printable::{is_unsafe, printable};

/// Names that every line has; a field of that name gets a `_` behind it.
const FIXED: [&str; 4] = ["ts", "level", "target", "msg"];

/// One JSON object: `ts`, `level`, `target`, `msg`, then the fields, numbers and booleans as
/// such.
pub(super) fn json(now: SystemTime, record: &Record<'_>) -> String {
    let mut line = format!(
        "{{\"ts\":\"{}\",\"level\":\"{}\",\"target\":",
        format_rfc3339_millis(now),
        level(record.level()),
    );
    json_string(&mut line, record.target());
    line.push_str(",\"msg\":");
    json_string(&mut line, &record.args().to_string());
    let _ = record.key_values().visit(&mut JsonFields(&mut line));
    if let Some(ids) = told_of() {
        let (trace, span) = (ids.trace_id(), ids.span_id());
        let _ = write!(line, ",\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"");
    }
    line.push_str("}\n");
    line
}

/// For people: time, level, message, then `name=value`.
pub(super) fn text(now: SystemTime, record: &Record<'_>) -> String {
    let mut line = format!(
        "{} {:5} {}",
        format_rfc3339_seconds(now),
        record.level(),
        printable(&record.args().to_string()),
    );
    let _ = record.key_values().visit(&mut TextFields(&mut line));
    if let Some(ids) = told_of() {
        let (trace, span) = (ids.trace_id(), ids.span_id());
        let _ = write!(line, " trace_id={trace} span_id={span}");
    }
    line.push('\n');
    line
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// A JSON string in which nothing is left that a terminal would act on.
fn json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // All of them lie in the basic plane: four digits are enough.
            c if is_unsafe(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

struct JsonFields<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for JsonFields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        if is_nothing(&value) {
            return Ok(());
        }
        self.0.push(',');
        if FIXED.contains(&key.as_str()) {
            json_string(self.0, &format!("{key}_"));
        } else {
            json_string(self.0, key.as_str());
        }
        self.0.push(':');
        value.visit(JsonValue(self.0))
    }
}

struct JsonValue<'a>(&'a mut String);

impl JsonValue<'_> {
    fn literal(&mut self, value: impl std::fmt::Display) -> Result<(), kv::Error> {
        let _ = write!(self.0, "{value}");
        Ok(())
    }
}

impl<'v> VisitValue<'v> for JsonValue<'_> {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), kv::Error> {
        json_string(self.0, &value.to_string());
        Ok(())
    }
    fn visit_null(&mut self) -> Result<(), kv::Error> {
        self.literal("null")
    }
    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.literal(value)
    }
    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.literal(value)
    }
    fn visit_u128(&mut self, value: u128) -> Result<(), kv::Error> {
        self.literal(value)
    }
    fn visit_i128(&mut self, value: i128) -> Result<(), kv::Error> {
        self.literal(value)
    }
    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        if value.is_finite() {
            self.literal(value)
        } else {
            self.literal("null")
        }
    }
    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.literal(value)
    }
    fn visit_str(&mut self, value: &str) -> Result<(), kv::Error> {
        json_string(self.0, value);
        Ok(())
    }
}

/// Whether a field has no value: such a one is left out.
fn is_nothing(value: &Value<'_>) -> bool {
    struct Nothing(bool);
    impl VisitValue<'_> for Nothing {
        fn visit_any(&mut self, _: Value<'_>) -> Result<(), kv::Error> {
            Ok(())
        }
        fn visit_null(&mut self) -> Result<(), kv::Error> {
            self.0 = true;
            Ok(())
        }
    }
    let mut nothing = Nothing(false);
    let _ = value.visit(&mut nothing);
    nothing.0
}

struct TextFields<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for TextFields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        if is_nothing(&value) {
            return Ok(());
        }
        let value = value.to_string();
        let value = printable(&value);
        let bare = !value.is_empty() && !value.contains([' ', '"', '=']);
        let _ = if bare {
            write!(self.0, " {key}={value}")
        } else {
            write!(self.0, " {key}=\"{}\"", value.replace('"', "\\\""))
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value as Json;

    use super::*;

    fn at() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_000_000_042)
    }

    fn with_record<T>(
        message: &str,
        fields: &[(&str, Value<'_>)],
        look: impl FnOnce(&Record<'_>) -> T,
    ) -> T {
        look(
            &Record::builder()
                .level(Level::Warn)
                .target("secrets_sync::sync")
                .args(format_args!("{message}"))
                .key_values(&fields)
                .build(),
        )
    }

    #[test]
    fn a_json_line_has_the_fixed_names_first_typed_fields_and_none_without_a_value() {
        let fields: &[(&str, Value<'_>)] = &[
            ("secret", Value::from("tls-cert")),
            ("duration_ms", Value::from(17u64)),
            ("ratio", Value::from(0.5)),
            ("optional", Value::from(true)),
            ("nothing", Value::null()),
            ("nan", Value::from(f64::NAN)),
        ];
        let line = with_record("fetch failed", fields, |record| json(at(), record));
        assert_eq!(
            line,
            "{\"ts\":\"2026-11-18T11:06:40.042Z\",\"level\":\"warn\",\
             \"target\":\"secrets_sync::sync\",\"msg\":\"fetch failed\",\
             \"secret\":\"tls-cert\",\"duration_ms\":17,\"ratio\":0.5,\"optional\":true,\
             \"nan\":null}\n"
        );
        serde_json::from_str::<Json>(&line).unwrap();
    }

    #[test]
    fn hostile_text_stays_one_line_of_valid_json() {
        let hostile = "a\n{\"msg\":\"forged\"}\u{1b}[31m\u{9b}\u{202e}\u{2028}\"\\\u{7f}é";
        let fields: &[(&str, Value<'_>)] = &[("msg", Value::from(hostile))];
        let line = with_record(hostile, fields, |record| json(at(), record));
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.trim_end().contains(is_unsafe));
        let json: Json = serde_json::from_str(&line).unwrap();
        assert_eq!(json["msg"], hostile);
        assert_eq!(json["msg_"], hostile);
    }

    #[test]
    fn a_text_line_quotes_where_it_must() {
        let fields: &[(&str, Value<'_>)] = &[
            ("secret", Value::from("tls-cert")),
            ("error", Value::from("no \"route\"\n")),
            ("attempt", Value::from(3)),
            ("empty", Value::from("")),
        ];
        let line = with_record("fetch\nfailed", fields, |record| text(at(), record));
        assert_eq!(
            line,
            "2026-11-18T11:06:40Z WARN  fetch\\nfailed secret=tls-cert \
             error=\"no \\\"route\\\"\\n\" attempt=3 empty=\"\"\n"
        );
    }
}
