//! The helpers, by the names, the order of arguments and the results of sprig and Go. Values that
//! are no strings are taken as the text they render to, since what people bring along was written
//! for secrets whose fields are all strings.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use serde_json::Value;

use super::budget::{Budget, Fault};
use super::{compare, printf};
use crate::render::{encoding, json, value, yaml};
use crate::secret::Fields;

/// What a helper gives: a value, or none where something is not there.
pub(super) type Outcome = Result<Option<Value>, Fault>;

/// One helper.
pub(super) struct Function {
    pub(super) name: &'static str,
    /// The fewest arguments.
    pub(super) least: usize,
    /// The most.
    pub(super) most: usize,
    /// From this argument on a missing field is null instead of an error.
    pub(super) missing_from: usize,
    pub(super) run: fn(&[&Value], &Budget) -> Outcome,
}

impl Function {
    const fn new(
        name: &'static str,
        least: usize,
        most: usize,
        run: fn(&[&Value], &Budget) -> Outcome,
    ) -> Self {
        Self {
            name,
            least,
            most,
            missing_from: usize::MAX,
            run,
        }
    }

    /// How many arguments, in words.
    pub(super) fn takes(&self) -> String {
        match (self.least, self.most) {
            (1, 1) => "1 argument".into(),
            (least, most) if least == most => format!("{least} arguments"),
            (1, usize::MAX) => "1 argument or more".into(),
            (least, usize::MAX) => format!("{least} arguments or more"),
            (least, most) => format!("{least} to {most} arguments"),
        }
    }
}

const ANY: usize = usize::MAX;

/// How many there are.
pub(super) const COUNT: usize = 35;

const FUNCTIONS: &[Function; COUNT] = &[
    Function::new("and", 1, ANY, |args, _| Ok(Some(compare::and(args)))),
    Function::new("b64dec", 1, 1, b64dec),
    Function::new("b64enc", 1, 1, b64enc),
    Function {
        missing_from: 1,
        ..Function::new("default", 2, 2, default)
    },
    Function::new("eq", 2, ANY, |args, _| compare::equal(args).map(truth)),
    Function::new("fromJson", 1, 1, from_json),
    Function::new("ge", 2, 2, |args, _| {
        compare::order(args).map(|o| truth(o.is_ge()))
    }),
    Function::new("gt", 2, 2, |args, _| {
        compare::order(args).map(|o| truth(o.is_gt()))
    }),
    Function::new("indent", 2, 2, |args, budget| indent(args, budget, "")),
    Function::new("index", 2, ANY, index),
    Function::new("join", 2, 2, join),
    Function::new("le", 2, 2, |args, _| {
        compare::order(args).map(|o| truth(o.is_le()))
    }),
    Function::new("len", 1, 1, len),
    Function::new("lookup", 2, 2, index),
    Function::new("lower", 1, 1, |args, budget| {
        cased(args, budget, |c| one(c.to_lowercase(), c))
    }),
    Function::new("lt", 2, 2, |args, _| {
        compare::order(args).map(|o| truth(o.is_lt()))
    }),
    Function::new("ne", 2, 2, |args, _| {
        compare::equal(args).map(|equal| truth(!equal))
    }),
    Function::new("nindent", 2, 2, |args, budget| indent(args, budget, "\n")),
    Function::new("not", 1, 1, |args, _| Ok(truth(!value::is_true(args[0])))),
    Function::new("or", 1, ANY, |args, _| Ok(Some(compare::or(args)))),
    Function::new("printf", 1, ANY, |args, budget| {
        printf::printf(args, budget).map(text)
    }),
    Function::new("quote", 1, ANY, |args, budget| {
        quoted(args, budget, printf::quote)
    }),
    Function::new("replace", 3, 3, replace),
    Function::new("sha256sum", 1, 1, sha256sum),
    Function::new("splitList", 2, 2, split_list),
    Function::new("squote", 1, ANY, |args, budget| {
        quoted(args, budget, |text| format!("'{text}'"))
    }),
    Function::new("toJson", 1, 1, |args, budget| {
        budget
            .large(json::compact(args[0], budget.largest()))
            .map(text)
    }),
    Function::new("toPrettyJson", 1, 1, |args, budget| {
        budget
            .large(json::pretty(args[0], budget.largest()))
            .map(text)
    }),
    Function::new("toString", 1, 1, |args, budget| {
        Ok(text(string(args[0], budget)?.into_owned()))
    }),
    Function::new("toYaml", 1, 1, |args, budget| {
        let yaml = budget.large(yaml::to_string(args[0], budget.largest()))?;
        Ok(text(yaml.trim_end_matches('\n').to_owned()))
    }),
    Function::new("trim", 1, 1, |args, budget| {
        Ok(text(string(args[0], budget)?.trim().to_owned()))
    }),
    Function::new("trimPrefix", 2, 2, |args, budget| {
        let (prefix, whole) = (string(args[0], budget)?, string(args[1], budget)?);
        Ok(text(
            whole.strip_prefix(&*prefix).unwrap_or(&whole).to_owned(),
        ))
    }),
    Function::new("trimSuffix", 2, 2, |args, budget| {
        let (suffix, whole) = (string(args[0], budget)?, string(args[1], budget)?);
        Ok(text(
            whole.strip_suffix(&*suffix).unwrap_or(&whole).to_owned(),
        ))
    }),
    Function::new("upper", 1, 1, |args, budget| {
        cased(args, budget, |c| one(c.to_uppercase(), c))
    }),
    Function::new("urlquery", 1, 1, urlquery),
];

/// All of them.
pub(super) fn all() -> &'static [Function; COUNT] {
    FUNCTIONS
}

/// The helper of that name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// What to write instead of a helper that is not there.
pub(super) fn instead_of(name: &str) -> String {
    let advice = match name {
        "env" | "expandenv" | "getenv" => "no helper reads the environment",
        "file" | "readFile" => "no helper reads files",
        "secret" | "key" | "pkiCert" => "name the secret in `secrets`, and its fields here",
        "required" | "fail" | "mustEnv" => "a missing field is an error already",
        "toRawJson" | "mustToJson" | "mustToRawJson" | "toJSON" => "write `toJson`",
        "mustToPrettyJson" | "toJSONPretty" => "write `toPrettyJson`",
        "mustFromJson" | "parseJSON" => "write `fromJson`",
        "base64Encode" => "write `b64enc`",
        "base64Decode" => "write `b64dec`",
        "toUpper" => "write `upper`",
        "toLower" => "write `lower`",
        "trimSpace" => "write `trim`",
        "replaceAll" => "write `replace`, with the value as its last argument",
        "split" | "splitn" => "write `splitList`",
        "gte" => "write `ge`",
        "lte" => "write `le`",
        "print" | "println" | "cat" => "write `printf`",
        "html" | "js" | "log" | "include" | "tpl" => "there is nothing in its place",
        "ternary" | "coalesce" | "empty" => "write `if` and `else`, or `default`",
        "get" | "dig" | "first" | "last" => "write `index`, or the path itself",
        "pick" | "omit" | "keys" | "values" | "dict" | "list" => "use `range`",
        "hasKey" => "write `{{ if .name }}`",
        _ => "",
    };
    let names: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
    let names = names.join(" ");
    if advice.is_empty() {
        format!("the helpers are: {names}")
    } else {
        format!("{advice}; the helpers are: {names}")
    }
}

fn text(text: String) -> Option<Value> {
    Some(Value::String(text))
}

fn truth(truth: bool) -> Option<Value> {
    Some(Value::Bool(truth))
}

/// A value's text, if it is not too large.
fn string<'v>(value: &'v Value, budget: &Budget) -> Result<Cow<'v, str>, Fault> {
    budget.large(value::text(value, budget.largest()))
}

/// What was written, if it is not too large to be handed on.
fn written(result: String, budget: &Budget) -> Outcome {
    budget.room(Some(result.len()))?;
    Ok(text(result))
}

fn b64enc(args: &[&Value], budget: &Budget) -> Outcome {
    let plain = string(args[0], budget)?;
    budget.room(plain.len().checked_mul(2))?;
    Ok(text(STANDARD.encode(plain.as_bytes())))
}

/// Sprig gives the error's text as the value; here it is an error.
fn b64dec(args: &[&Value], budget: &Budget) -> Outcome {
    let bytes = encoding::base64(string(args[0], budget)?.as_bytes())
        .ok_or_else(|| Fault::new("the value is not base64"))?;
    match String::from_utf8(bytes) {
        Ok(decoded) => Ok(text(decoded)),
        Err(_) => Err(Fault::new("the decoded value is binary, not text")
            .help("write it to a file of its own with `field` and `encoding: base64`")),
    }
}

fn default(args: &[&Value], _: &Budget) -> Outcome {
    let chosen = if value::is_true(args[1]) {
        args[1]
    } else {
        args[0]
    };
    Ok(Some(chosen.clone()))
}

/// Reads one JSON value; its numbers keep their spelling.
fn from_json(args: &[&Value], budget: &Budget) -> Outcome {
    let json = string(args[0], budget)?;
    let broken = || Fault::new("the value is not JSON");
    // One whole value, before it is put between braces.
    serde_json::from_str::<&serde_json::value::RawValue>(&json).map_err(|_| broken())?;
    let wrapped = zeroize::Zeroizing::new(format!("{{\"v\":{json}}}"));
    let fields = Fields::parse(&wrapped).map_err(|error| match error {
        crate::secret::FieldsError::TooDeep | crate::secret::FieldsError::TooMany => {
            Fault::new(error.to_string())
        }
        crate::secret::FieldsError::NotAnObject => broken(),
    })?;
    Ok(fields.into_map().remove("v"))
}

fn indent(args: &[&Value], budget: &Budget, before: &str) -> Outcome {
    let width = count(args[0])?;
    let lines = string(args[1], budget)?;
    let breaks = lines.matches('\n').count();
    budget.room(
        width
            .checked_mul(breaks + 1)
            .and_then(|w| w.checked_add(lines.len() + 1)),
    )?;
    let pad = " ".repeat(width);
    Ok(text(format!(
        "{before}{pad}{}",
        lines.replace('\n', &format!("\n{pad}"))
    )))
}

/// An argument that counts something.
fn count(value: &Value) -> Result<usize, Fault> {
    match value {
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
    .ok_or_else(|| Fault::new("the width is no whole number"))
}

fn index(args: &[&Value], budget: &Budget) -> Outcome {
    let mut at = args[0];
    for key in &args[1..] {
        let name = string(key, budget)?;
        let found = match at {
            Value::Object(map) => map.get(&*name),
            Value::Array(items) => {
                let position: usize = name
                    .parse()
                    .map_err(|_| Fault::new("a position in a list is a whole number"))?;
                items.get(position)
            }
            _ => None,
        };
        let Some(found) = found else {
            return Ok(None);
        };
        at = found;
    }
    Ok(Some(at.clone()))
}

fn join(args: &[&Value], budget: &Budget) -> Outcome {
    let separator = string(args[0], budget)?;
    let parts: Vec<Cow<'_, str>> = match args[1] {
        Value::Array(items) => items
            .iter()
            .filter(|item| !item.is_null())
            .map(|item| string(item, budget))
            .collect::<Result<_, _>>()?,
        other => vec![string(other, budget)?],
    };
    let separators = separator.len().checked_mul(parts.len());
    let length = separators.and_then(|length| {
        parts
            .iter()
            .try_fold(length, |sum, part| sum.checked_add(part.len()))
    });
    budget.room(length)?;
    Ok(text(parts.join(&separator)))
}

fn len(args: &[&Value], _: &Budget) -> Outcome {
    let length = match args[0] {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        other => return Err(Fault::new(format!("{} has no length", value::kind(other)))),
    };
    Ok(Some(Value::from(length)))
}

fn cased(args: &[&Value], budget: &Budget, case: fn(char) -> char) -> Outcome {
    written(string(args[0], budget)?.chars().map(case).collect(), budget)
}

/// The one character of a mapping, as Go maps: where Unicode has several, none is changed.
fn one(mut mapped: impl Iterator<Item = char>, c: char) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(only), None) => only,
        _ => c,
    }
}

fn quoted(args: &[&Value], budget: &Budget, quote: fn(&str) -> String) -> Outcome {
    let mut parts = Vec::with_capacity(args.len());
    for argument in args.iter().filter(|argument| !argument.is_null()) {
        parts.push(quote(&string(argument, budget)?));
    }
    written(parts.join(" "), budget)
}

fn replace(args: &[&Value], budget: &Budget) -> Outcome {
    let (old, new, whole) = (
        string(args[0], budget)?,
        string(args[1], budget)?,
        string(args[2], budget)?,
    );
    let found = whole.matches(&*old).count();
    budget.room(
        found
            .checked_mul(new.len())
            .and_then(|added| added.checked_add(whole.len())),
    )?;
    Ok(text(whole.replace(&*old, &new)))
}

fn sha256sum(args: &[&Value], budget: &Budget) -> Outcome {
    let sum = digest::digest(&digest::SHA256, string(args[0], budget)?.as_bytes());
    Ok(text(sum.as_ref().iter().fold(
        String::new(),
        |mut hex, byte| {
            hex.push_str(&format!("{byte:02x}"));
            hex
        },
    )))
}

fn split_list(args: &[&Value], budget: &Budget) -> Outcome {
    /// A value of its own costs more than its bytes.
    const EACH: usize = 64;
    let (separator, whole) = (string(args[0], budget)?, string(args[1], budget)?);
    let parts = if separator.is_empty() {
        whole.chars().count()
    } else {
        whole.matches(&*separator).count() + 1
    };
    budget.room(
        parts
            .checked_mul(EACH)
            .and_then(|sum| sum.checked_add(whole.len())),
    )?;
    let parts = if separator.is_empty() {
        whole.chars().map(|c| Value::from(c.to_string())).collect()
    } else {
        whole.split(&*separator).map(Value::from).collect()
    };
    Ok(Some(Value::Array(parts)))
}

/// Go's `url.QueryEscape`.
fn urlquery(args: &[&Value], budget: &Budget) -> Outcome {
    let plain = string(args[0], budget)?;
    budget.room(plain.len().checked_mul(3))?;
    let mut escaped = String::with_capacity(plain.len());
    for byte in plain.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(text(escaped))
}
