//! The KV engines, versions 1 and 2: the path of a read, and the answer as fields.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::envelope::{Envelope, object};
use super::remedy;
use crate::plan::{KvVersion, Source};
use crate::secret::{Fields, FieldsError};
use crate::store::Fetched;

/// The path and query of a read, below `/v1/`, each segment percent-encoded.
#[must_use]
pub fn request_path(source: &Source) -> String {
    let mut path = encoded(&policy_path(source));
    if let (KvVersion::V2, Some(version), false) = (source.kv, source.version, source.metadata) {
        let _ = write!(path, "?version={version}");
    }
    path
}

/// The path as a policy names it.
pub(super) fn policy_path(source: &Source) -> String {
    let infix = match (source.kv, source.metadata) {
        (KvVersion::V1, _) => "",
        (KvVersion::V2, false) => "data/",
        (KvVersion::V2, true) => "metadata/",
    };
    format!("{}/{infix}{}", source.mount, source.key)
}

/// A path of several segments with each of them percent-encoded (RFC 3986: all but `unreserved`).
pub(crate) fn encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Why an answer is not that of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// What the body lacks; it never quotes it.
    pub why: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Unusable {
    fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            remedy: remedy::NOT_THE_API,
        }
    }
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

/// The answer to a read that succeeded.
///
/// # Errors
///
/// What the body lacks.
pub fn fetched(source: &Source, body: &[u8]) -> Result<Fetched, Unusable> {
    let envelope = Envelope::parse(body)
        .ok_or_else(|| Unusable::new("the body is not the JSON of the API"))?;
    let data = envelope
        .data
        .ok_or_else(|| Unusable::new("the body has no `data`"))?;
    let (fields, version) = match (source.kv, source.metadata) {
        (KvVersion::V1, _) => (fields(data)?, None),
        (KvVersion::V2, false) => versioned(data)?,
        (KvVersion::V2, true) => metadata(data)?,
    };
    Ok(Fetched {
        fields,
        version,
        // With `lease_id: ""` a long duration is only the mount's default (KV version 1 says 32
        // days), but a short one is somebody's wish (a `ttl` among the fields): both come out
        // right when the shorter of this and the interval counts.
        ttl: envelope.lease_secs().map(Duration::from_secs),
        leased: envelope.leased(),
    })
}

fn fields(raw: &RawValue) -> Result<Fields, Unusable> {
    Fields::parse(raw.get()).map_err(|error| Unusable {
        why: error.to_string(),
        remedy: match error {
            FieldsError::NotAnObject => remedy::NOT_THE_API,
            FieldsError::TooDeep | FieldsError::TooMany => remedy::MANY_VALUES,
        },
    })
}

#[derive(Deserialize)]
struct Versioned<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    metadata: Option<VersionBlock>,
}

#[derive(Deserialize)]
struct VersionBlock {
    version: Option<u64>,
}

fn versioned(raw: &RawValue) -> Result<(Fields, Option<u64>), Unusable> {
    let Some(Versioned {
        data: Some(data),
        metadata: Some(metadata),
    }) = object(raw.get())
    else {
        return Err(Unusable {
            why: "`data` has not the two parts of KV version 2: does the mount speak version 1?"
                .into(),
            remedy: remedy::KV_VERSION_1,
        });
    };
    Ok((fields(data)?, metadata.version))
}

/// What is offered of the metadata, in the order in which later ones win.
const METADATA: [&str; 3] = ["created_time", "current_version", "delete_version_after"];

fn metadata(raw: &RawValue) -> Result<(Fields, Option<u64>), Unusable> {
    let mut all = fields(raw)?.into_map();
    let version = all.get("current_version").and_then(Value::as_u64);
    let mut offered: Map<String, Value> = METADATA
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), all.remove(*key)?)))
        .collect();
    match all.remove("custom_metadata") {
        Some(Value::Object(custom)) => offered.extend(custom),
        None | Some(Value::Null) => {}
        Some(_) => return Err(Unusable::new("`custom_metadata` is not a JSON object")),
    }
    Ok((Fields::from_map(offered), version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SessionKey;

    fn source(kv: KvVersion, mount: &str, key: &str) -> Source {
        Source {
            alias: None,
            session: SessionKey {
                store: "default".into(),
                credentials: "default".into(),
                namespace: String::new(),
            },
            namespace: String::new(),
            mount: mount.into(),
            key: key.into(),
            kv,
            version: None,
            metadata: false,
        }
    }

    fn json(fetched: &Fetched) -> String {
        serde_json::to_string(fetched.fields.expose()).unwrap()
    }

    #[test]
    fn paths() {
        let v1 = source(KvVersion::V1, "kv1", "a b/ä?#%");
        assert_eq!(request_path(&v1), "kv1/a%20b/%C3%A4%3F%23%25");
        let mut v2 = source(KvVersion::V2, "team/kv two", "app/db");
        assert_eq!(request_path(&v2), "team/kv%20two/data/app/db");
        assert_eq!(policy_path(&v2), "team/kv two/data/app/db");
        v2.version = Some(3);
        assert_eq!(request_path(&v2), "team/kv%20two/data/app/db?version=3");
        v2.metadata = true;
        assert_eq!(request_path(&v2), "team/kv%20two/metadata/app/db");
    }

    #[test]
    fn version_1_has_no_lease_but_a_short_duration_counts() {
        let source = source(KvVersion::V1, "kv1", "a");
        let fetched = fetched(
            &source,
            br#"{"lease_id":"","renewable":false,"lease_duration":90,"data":{"ttl":"90","x":1e3},"auth":null}"#,
        )
        .unwrap();
        assert_eq!(json(&fetched), r#"{"ttl":"90","x":1e3}"#);
        assert_eq!(fetched.version, None);
        assert_eq!(fetched.ttl, Some(Duration::from_secs(90)));
        assert!(!fetched.leased);
    }

    #[test]
    fn a_lease_is_one_with_an_id() {
        let source = source(KvVersion::V1, "database/creds", "r");
        let body = br#"{"lease_id":"database/creds/r/abc","lease_duration":10,"data":{"u":"v"}}"#;
        let fetched = fetched(&source, body).unwrap();
        assert_eq!(
            (fetched.leased, fetched.ttl),
            (true, Some(Duration::from_secs(10)))
        );
    }

    #[test]
    fn version_2_keeps_the_spelling_of_numbers_and_knows_its_version() {
        let source = source(KvVersion::V2, "secret", "a");
        let fetched = fetched(
            &source,
            br#"{"lease_id":"","lease_duration":0,"data":{"data":{"n":1.0,"big":12345678901234567890123},"metadata":{"version":7,"deletion_time":""}}}"#,
        )
        .unwrap();
        assert_eq!(json(&fetched), r#"{"big":12345678901234567890123,"n":1.0}"#);
        assert_eq!((fetched.version, fetched.ttl), (Some(7), None));
    }

    #[test]
    fn of_the_metadata_custom_keys_win() {
        let mut source = source(KvVersion::V2, "secret", "a");
        source.metadata = true;
        let fetched = fetched(
            &source,
            br#"{"data":{"cas_required":false,"created_time":"2026-11-24T05:59:47Z","current_version":4,"custom_metadata":{"owner":"me","created_time":"mine"},"delete_version_after":"0s","versions":{}}}"#,
        )
        .unwrap();
        assert_eq!(
            json(&fetched),
            r#"{"created_time":"mine","current_version":4,"delete_version_after":"0s","owner":"me"}"#
        );
        assert_eq!(fetched.version, Some(4));
    }

    #[test]
    fn what_is_not_the_api_is_refused_without_being_quoted() {
        let v2 = source(KvVersion::V2, "secret", "a");
        for body in [
            &b"<html>hunter2</html>"[..],
            br#"{"data":null}"#,
            br#"{"data":{"password":"hunter2"}}"#,
            br#"{"data":[{"a":"hunter2"},{"version":1}]}"#,
            br#"{"data":{"data":null,"metadata":{}}}"#,
            br#"{"data":{"data":["hunter2"],"metadata":{"version":1}}}"#,
            b"{\"data\":{\"data\":{\"a\":\"\xff\"},\"metadata\":{\"version\":1}}}",
            br#"{"data":{"data":{"a":"hunter2"}"#,
        ] {
            let error = fetched(&v2, body).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
