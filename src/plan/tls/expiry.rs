//! When a certificate ends.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error, RootCertStore};

/// The last second of the year 9999, the latest that a certificate can name.
const LATEST: Duration = Duration::from_secs(253_402_300_799);

/// When a certificate ends; `None` where it cannot be read, or never ends.
///
/// There is no crate among ours that says it, but the one that checks certificates says why it refuses
/// one: it looks at the dates before anything else, so the latest of all moments is asked about.
#[must_use]
pub fn expires(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let mut anchors = RootCertStore::empty();
    anchors.add(certificate.clone().into_owned()).ok()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(anchors), provider)
        .build()
        .ok()?;
    let name = ServerName::try_from("localhost").ok()?;
    let latest = UnixTime::since_unix_epoch(LATEST);
    match verifier.verify_server_cert(certificate, &[], &name, &[], latest) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(not_after.as_secs()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair};

    use super::*;

    fn certificate(of: impl FnOnce(&mut CertificateParams), year: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 2, 3);
        of(&mut params);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    fn at(text: &str) -> Option<SystemTime> {
        Some(humantime::parse_rfc3339(text).unwrap())
    }

    #[test]
    fn of_whatever_kind_it_is_its_end_is_known() {
        let client = |params: &mut CertificateParams| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        };
        let authority = |params: &mut CertificateParams| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        };
        // Ended long ago, ends soon, and beyond 2049, where dates are written otherwise.
        for year in [2002, 2030, 2049, 2050, 2999] {
            let end = at(&format!("{year:04}-02-03T00:00:00Z"));
            assert_eq!(expires(&certificate(|_| {}, year)), end);
            assert_eq!(expires(&certificate(client, year)), end);
            assert_eq!(expires(&certificate(authority, year)), end);
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let good = certificate(|_| {}, 2030);
        for length in 0..good.len() {
            let part = CertificateDer::from(good[..length].to_vec());
            assert_eq!(expires(&part), None, "{length} bytes");
        }
        for at in 0..good.len() {
            let mut bytes = good.to_vec();
            bytes[at] ^= 0x55;
            let _ = expires(&CertificateDer::from(bytes));
        }
    }
}
