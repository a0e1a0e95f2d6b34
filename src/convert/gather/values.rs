//! Which part of a secret a `property` names.

use super::merge::is_nothing;
use super::merge::value_of;
use crate::convert::gather::Datum;
use crate::convert::gather::Gatherer;
use crate::convert::gather::Part;
use crate::convert::gather::Value;
use crate::convert::manifest::Decode;
use crate::convert::manifest::Remote;
use crate::convert::property::Property;
use crate::convert::remark::shown;
use crate::secret::Fields;
use serde_json::Value as Json;

impl Gatherer<'_, '_> {
    /// An entry of `data`.
    pub(super) fn datum(&mut self, key: &str, read: usize, remote: &Remote, at: &str) {
        let mut comments = Vec::new();
        let fields = self
            .out
            .reads
            .get(read)
            .and_then(|reading| reading.fields.clone());
        let mut is_empty = false;
        let part = match &remote.property {
            None => {
                if matches!(remote.decode, Decode::Base64 | Decode::Base64Url) {
                    comments.push(self.teller.warn_there(
                        &format!("{at}.decodingStrategy"),
                        "a whole secret is JSON, which is no base64: the operator fails here; not decoded",
                    ));
                }
                Part::Whole
            }
            Some(Err(what)) => {
                let text = &remote.property_text;
                let known = fields
                    .as_ref()
                    .is_some_and(|fields| fields.expose().contains_key(text));
                if !known {
                    comments.push(self.teller.warn_there(
                        &format!("{at}.property"),
                        format!(
                            "`{}`: {what} has no translation: taken as the name of a field",
                            shown(text)
                        ),
                    ));
                }
                is_empty =
                    value_of(fields.as_deref(), std::slice::from_ref(text)).is_some_and(is_nothing);
                self.name(text, fields.as_deref())
            }
            Some(Ok(property)) => {
                match self.property(property, fields.as_deref(), &format!("{at}.property")) {
                    Ok((part, empty)) => {
                        is_empty = empty;
                        part
                    }
                    Err(told) => {
                        self.out.missing.push(told);
                        return;
                    }
                }
            }
        };
        let decode = match part {
            Part::Whole => Decode::None,
            _ => remote.decode,
        };
        self.set(Datum {
            key: key.to_owned(),
            value: Value { read, part, decode },
            comments,
            is_empty,
        });
    }

    pub(super) fn name(&self, name: &str, fields: Option<&Fields>) -> Part {
        let path = vec![name.to_owned()];
        let structured = value_of(fields, &path).is_some_and(|value| !value.is_string());
        Part::Field {
            field: name.to_owned(),
            path,
            sure: true,
            structured,
        }
    }

    /// The part that a property names, and whether it is known to be empty.
    pub(super) fn property(
        &mut self,
        property: &Property,
        fields: Option<&Fields>,
        at: &str,
    ) -> Result<(Part, bool), String> {
        let (text, segments) = match property {
            Property::Name(name) => (name, std::slice::from_ref(name)),
            Property::Path { text, segments } | Property::Length { text, segments } => {
                (text, segments.as_slice())
            }
        };
        let exact = std::slice::from_ref(text);
        let Some(fields) = fields else {
            return Ok(match property {
                Property::Name(_) => (self.name(text, None), false),
                Property::Path { .. } => (
                    Part::Field {
                        field: property.field(),
                        path: exact.to_vec(),
                        sure: false,
                        structured: false,
                    },
                    false,
                ),
                Property::Length { .. } => (Part::Length(segments.to_vec()), false),
            });
        };
        if let Some(value) = value_of(Some(fields), exact) {
            return Ok((self.name(text, Some(fields)), is_nothing(value)));
        }
        match (property, value_of(Some(fields), segments)) {
            (Property::Length { .. }, Some(Json::Array(_))) => {
                Ok((Part::Length(segments.to_vec()), false))
            }
            (Property::Path { .. }, Some(value)) => {
                if let Json::Number(number) = value
                    && number.to_string().contains(['.', 'e', 'E'])
                {
                    self.teller.warn(at, "a number with a fraction or exponent: the operator respells it, the daemon keeps its digits");
                }
                Ok((
                    Part::Field {
                        field: property.field(),
                        path: segments.to_vec(),
                        sure: true,
                        structured: !value.is_string(),
                    },
                    is_nothing(value),
                ))
            }
            _ => Err(self
                .teller
                .warn_there(at, format!("the secret has no field `{}`", shown(text)))),
        }
    }
}
