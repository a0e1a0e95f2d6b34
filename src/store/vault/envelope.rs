//! The JSON that every answer of the API is wrapped in.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::secret::SecretString;

/// What is common to all answers; `data` stays raw, so that numbers keep their spelling.
#[derive(Deserialize, Default)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, default)]
    pub(super) data: Option<&'a RawValue>,
    #[serde(default)]
    lease_id: Option<Cow<'a, str>>,
    #[serde(default)]
    lease_duration: Option<i64>,
    #[serde(borrow, default)]
    auth: Option<&'a RawValue>,
    #[serde(default)]
    errors: Option<Texts>,
    #[serde(default)]
    warnings: Option<Texts>,
}

/// A list of texts, of which no more are kept than any server means: a list of a million tiny ones
/// would take up twenty times the room of the answer.
#[derive(Default)]
struct Texts(Vec<String>);

/// So many are kept.
const MOST_TEXTS: usize = 16;

/// The `auth` part of a login or renewal.
#[derive(Deserialize)]
pub(super) struct AuthBlock {
    #[serde(deserialize_with = "secret")]
    pub(super) client_token: SecretString,
    #[serde(default)]
    pub(super) accessor: String,
    #[serde(default)]
    pub(super) lease_duration: u64,
    #[serde(default)]
    pub(super) renewable: bool,
    #[serde(default)]
    pub(super) token_type: String,
    #[serde(default)]
    pub(super) num_uses: u64,
    #[serde(default, deserialize_with = "texts")]
    pub(super) policies: Vec<String>,
}

/// `data` of `auth/token/lookup-self`.
#[derive(Deserialize)]
pub(super) struct TokenBlock {
    #[serde(default)]
    pub(super) accessor: String,
    #[serde(default)]
    pub(super) ttl: u64,
    #[serde(default)]
    pub(super) creation_ttl: u64,
    #[serde(default)]
    pub(super) renewable: bool,
    #[serde(default, rename = "type")]
    pub(super) token_type: String,
    #[serde(default)]
    pub(super) num_uses: u64,
    #[serde(default, deserialize_with = "texts")]
    pub(super) policies: Vec<String>,
}

/// `data` of `sys/wrapping/lookup`.
#[derive(Deserialize)]
pub(super) struct WrappingBlock {
    pub(super) creation_path: String,
}

/// `data` of an unwrapped secret ID.
#[derive(Deserialize)]
pub(super) struct SecretIdBlock {
    #[serde(deserialize_with = "secret")]
    pub(super) secret_id: SecretString,
}

/// Texts that are only shown: what is no list of them is none.
fn texts<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let raw = Option::<&RawValue>::deserialize(from)?;
    let texts = raw.and_then(|raw| serde_json::from_str::<Texts>(raw.get()).ok());
    Ok(texts.unwrap_or_default().0)
}

impl<'a> Envelope<'a> {
    /// `None` when the body is not the API's: no JSON, or no object, or an object of another shape.
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        object(std::str::from_utf8(body).ok()?)
    }

    /// The `auth` part, where it is one.
    pub(super) fn auth(&self) -> Option<AuthBlock> {
        object(self.auth?.get())
    }

    /// The error texts, `None` where the answer has no such list.
    pub(super) fn errors(&self) -> Option<&[String]> {
        self.errors.as_ref().map(|texts| &*texts.0)
    }

    pub(super) fn warnings(&self) -> &[String] {
        self.warnings.as_ref().map_or(&[], |texts| &*texts.0)
    }

    /// `data`, an object in a shape of its own.
    pub(super) fn data_as<T: Deserialize<'a>>(&self) -> Option<T> {
        object(self.data?.get())
    }

    /// Whether a lease hangs on the token.
    pub(super) fn leased(&self) -> bool {
        self.lease_id.as_deref().is_some_and(|id| !id.is_empty())
    }

    /// `lease_duration` in seconds, where it is positive.
    pub(super) fn lease_secs(&self) -> Option<u64> {
        self.lease_duration
            .and_then(|secs| u64::try_from(secs).ok())
            .filter(|secs| *secs > 0)
    }
}

/// Reads a JSON object. A list would be accepted as the fields in order.
pub(super) fn object<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    let json = json.trim_ascii_start();
    json.starts_with('{')
        .then(|| serde_json::from_str(json).ok())
        .flatten()
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of texts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element::<String>()? {
                    if texts.len() < MOST_TEXTS {
                        texts.push(text);
                    }
                }
                Ok(Texts(texts))
            }
        }
        from.deserialize_seq(Reader)
    }
}

fn secret<'de, D: serde::Deserializer<'de>>(from: D) -> Result<SecretString, D::Error> {
    String::deserialize(from).map(SecretString::new)
}
