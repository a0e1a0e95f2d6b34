//! Truth, equality and order of values. Numbers compare as numbers whatever their spelling; a
//! number, boolean or null beside a string compares by the text it renders to, since in secrets
//! a port is as often `"5432"` as it is `5432`.

use std::cmp::Ordering;

use serde_json::Value;

use super::budget::Fault;
use crate::render::value::{is_true, kind, scalar};

/// The first argument that is false, else the last.
pub(super) fn and(args: &[&Value]) -> Value {
    decisive(args, false)
}

/// The first argument that is true, else the last.
pub(super) fn or(args: &[&Value]) -> Value {
    decisive(args, true)
}

fn decisive(args: &[&Value], wanted: bool) -> Value {
    args.iter()
        .find(|argument| is_true(argument) == wanted)
        .or(args.last())
        .map_or(Value::Null, |value| (*value).clone())
}

/// Whether the first argument equals any of the others.
pub(super) fn equal(args: &[&Value]) -> Result<bool, Fault> {
    let Some((first, others)) = args.split_first() else {
        return Ok(false);
    };
    Ok(others.iter().any(|other| same(first, other)))
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            numbers(&a.to_string(), &b.to_string()) == Some(Ordering::Equal)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|((key, a), (other, b))| key == other && same(a, b))
        }
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => false,
        _ => scalar(a) == scalar(b),
    }
}

/// How two arguments stand to each other.
pub(super) fn order(args: &[&Value]) -> Result<Ordering, Fault> {
    let [a, b] = args else {
        return Err(Fault::new("two values are compared"));
    };
    let ordering = match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(_) | Value::String(_), Value::Number(_) | Value::String(_)) => {
            numbers(&scalar(a), &scalar(b))
        }
        _ => None,
    };
    ordering.ok_or_else(|| {
        Fault::new(format!("{} and {} have no order", kind(a), kind(b)))
            .help("numbers compare with numbers, strings with strings")
    })
}

/// Compares two literals: exactly as integers, else as floats.
fn numbers(a: &str, b: &str) -> Option<Ordering> {
    if a == b {
        return Some(Ordering::Equal);
    }
    if let (Ok(a), Ok(b)) = (a.parse::<i128>(), b.parse::<i128>()) {
        return Some(a.cmp(&b));
    }
    let (a, b) = (a.parse::<f64>().ok()?, b.parse::<f64>().ok()?);
    (a.is_finite() && b.is_finite())
        .then(|| a.partial_cmp(&b))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Fields;

    fn value(json: &str) -> Value {
        let fields = Fields::parse(&format!("{{\"v\":{json}}}")).unwrap();
        fields.expose()["v"].clone()
    }

    #[test]
    fn equality_is_of_meaning_not_of_spelling() {
        for (a, b, expected) in [
            ("1", "1.0", true),
            ("1e3", "1000", true),
            ("12345678901234567890123", "12345678901234567890124", false),
            ("\"5432\"", "5432", true),
            ("\"true\"", "true", true),
            ("null", "\"\"", true),
            ("\"a\"", "\"b\"", false),
            ("[1,{\"a\":1.0}]", "[1.0,{\"a\":1}]", true),
            ("[1]", "\"[1]\"", false),
            ("{}", "[]", false),
        ] {
            let (a, b) = (value(a), value(b));
            assert_eq!(equal(&[&a, &b]), Ok(expected), "{a} {b}");
        }
        let (a, b, c) = (value("1"), value("2"), value("1"));
        assert_eq!(equal(&[&a, &b, &c]), Ok(true));
    }

    #[test]
    fn order_is_numeric_where_numbers_are() {
        for (a, b, expected) in [
            ("9", "10", Some(Ordering::Less)),
            ("\"9\"", "\"10\"", Some(Ordering::Greater)),
            ("\"9\"", "10", Some(Ordering::Less)),
            ("-1.5", "-1", Some(Ordering::Less)),
            (
                "99999999999999999999",
                "99999999999999999998",
                Some(Ordering::Greater),
            ),
            ("\"x\"", "1", None),
            ("true", "1", None),
            ("[]", "[]", None),
        ] {
            let (a, b) = (value(a), value(b));
            assert_eq!(order(&[&a, &b]).ok(), expected, "{a} {b}");
        }
    }
}
