//! `encoding:` as External Secrets Operator decodes: Go's decoders demand the padding, skip line
//! breaks, and do not look at the bits that are left over.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::{Encoding, RenderError};

const LIKE_GO: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::RequireCanonical);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LIKE_GO);
const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LIKE_GO);

/// Decodes a field's value.
pub(super) fn decode(encoding: Encoding, text: &str, name: &str) -> Result<Vec<u8>, RenderError> {
    let bytes = text.as_bytes();
    let (decoded, what) = match encoding {
        Encoding::None => (Some(bytes.to_vec()), ""),
        Encoding::Base64 => (base64(bytes), "base64"),
        Encoding::Base64Url => (base64url(bytes), "base64url"),
        Encoding::Auto => (
            base64(bytes)
                .or_else(|| base64url(bytes))
                .or_else(|| Some(bytes.to_vec())),
            "",
        ),
    };
    decoded.ok_or_else(|| RenderError {
        message: format!("field `{name}` is not {what}"),
        help: Some(
            "set `encoding: none` or `encoding: auto`, or store the value encoded, with its padding (`=`)".into(),
        ),
    })
}

/// Standard base64.
pub(super) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    with(&STANDARD, text)
}

/// The alphabet with `-` and `_`.
pub(super) fn base64url(text: &[u8]) -> Option<Vec<u8>> {
    with(&URL, text)
}

fn with(engine: &GeneralPurpose, text: &[u8]) -> Option<Vec<u8>> {
    let unbroken: Zeroizing<Vec<u8>> = text
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect::<Vec<u8>>()
        .into();
    engine.decode(&*unbroken).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_encoding_decodes_as_go_does() {
        use Encoding::{Auto, Base64, Base64Url, None as Plain};
        for (encoding, text, expected) in [
            (Plain, "aGk=", Some("aGk=")),
            (Base64, "aGk=", Some("hi")),
            (Base64, "aG\r\nk\n=\n", Some("hi")),
            (Base64, "aGk", None),
            (Base64, "aGl=", Some("hi")), // bits left over
            (Base64, "aG k=", None),
            (Base64, "aGk=aGk=", None),
            (Base64, "", Some("")),
            (Base64, "Pz8_", None),
            (Base64Url, "Pz8_", Some("???")),
            (Base64Url, "Pz8/", None),
            (Base64Url, "aGk", None),
            (Auto, "aGk=", Some("hi")),
            (Auto, "Pz8_", Some("???")),
            (Auto, "not base64!", Some("not base64!")),
            (Auto, "aGk", Some("aGk")),
            (Auto, "", Some("")),
        ] {
            let decoded = decode(encoding, text, "f").ok();
            assert_eq!(
                decoded.as_deref(),
                expected.map(str::as_bytes),
                "{encoding:?} {text:?}"
            );
        }
        // Plain text is decoded too where it happens to be base64, as in the operator.
        assert_eq!(decode(Auto, "test", "f").unwrap(), [0xb5, 0xeb, 0x2d]);
    }

    #[test]
    fn the_error_names_the_field_and_not_the_value() {
        let error = decode(Encoding::Base64, "hunter2!", "password").unwrap_err();
        assert_eq!(error.message, "field `password` is not base64");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
