//! Certificates: whom to trust, and who we are.

use super::key;
use super::login::held;
use super::login::reference;
use crate::convert::object::Object as Fields;
use crate::convert::output::Key;
use crate::convert::remark::Teller;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(super) fn client_files(
    at: &str,
    home: &str,
    (client, private): (&str, &str),
    keys: &mut Vec<Key>,
    teller: &mut Teller<'_>,
) {
    let comment = teller.warn_there(at, "put the certificate and its key into these files");
    keys.push(Key {
        comments: vec![comment, client.to_owned()],
        ..key("tlsClientCert", &format!("{home}/client.crt"))
    });
    keys.push(Key {
        comments: vec![private.to_owned()],
        ..key("tlsClientKey", &format!("{home}/client.key"))
    });
}

/// Certificates: whom to trust, and who we are.
pub(super) fn trust(
    fields: &mut Fields<'_>,
    home: &str,
    keys: &mut Vec<Key>,
    teller: &mut Teller<'_>,
) {
    let at = fields.at_of("caBundle");
    let bundle = fields.filled("caBundle", teller);
    let provider = fields.object("caProvider", teller);
    let file = format!("{home}/ca.crt");
    if let Some(bundle) = bundle {
        if let Some(provider) = &provider {
            teller.note_only(&provider.at, "not used: the operator takes `caBundle`");
        }
        let mut comments = vec![teller.warn_there(&at, "put the certificates into this file")];
        match pem(&bundle) {
            Some(pem) => comments.push(pem),
            None => comments.push(teller.warn_there(&at, "not the base64 of PEM")),
        }
        keys.push(Key {
            comments,
            ..key("tlsCACert", &file)
        });
    } else if let Some(mut provider) = provider {
        let at = provider.at.clone();
        let wanted = reference(&mut provider, teller);
        provider.finish(teller);
        let message = format!("put the certificates into this file: {wanted} held them");
        keys.push(Key {
            comments: vec![teller.warn_there(&at, message)],
            ..key("tlsCACert", &file)
        });
    }
    if let Some(mut tls) = fields.object("tls", teller) {
        let at = tls.at.clone();
        let client = held(&mut tls, "certSecretRef", teller);
        let private = held(&mut tls, "keySecretRef", teller);
        tls.finish(teller);
        if !keys.iter().any(|key| key.name == "tlsClientCert") {
            client_files(&at, home, (&client, &private), keys, teller);
        } else {
            teller.note_only(&at, "not used: the login has a certificate");
        }
    }
}

/// The certificates of a bundle: base64 of PEM, once or twice.
pub(super) fn pem(bundle: &str) -> Option<String> {
    let mut text: String = bundle.to_owned();
    for _ in 0..2 {
        if text.contains("-----BEGIN") {
            break;
        }
        let joined: String = text.split_whitespace().collect();
        text = String::from_utf8(STANDARD.decode(joined).ok()?).ok()?;
    }
    // A private key has no business there, and none in our output.
    (text.contains("-----BEGIN CERTIFICATE-----") && !text.contains("PRIVATE KEY"))
        .then(|| text.trim().to_owned())
}
