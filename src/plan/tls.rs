//! Certificates and keys from their files: read, checked against each other, hashed by content.
//!
//! They are read here, before any connection, so that a bad file is named as such and never shows
//! as a failed handshake (the HTTP client would even panic on a key that does not match).

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest::{Context, SHA256};
use rustls::RootCertStore;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::{Zeroize, Zeroizing};

use super::{TlsFiles, TrustedRoots};

mod expiry;

pub use expiry::expires;

/// No bundle of certificates is larger: system bundles are about 250 KiB.
const MAX_FILE_BYTES: u64 = 8 << 20;

const CLIENT_CERT: &str = "client certificate";
const CLIENT_KEY: &str = "client key";
const CA_CERT: &str = "`tlsCACert`";
const CA_PATH: &str = "`tlsCAPath`";

/// What is wrong with a certificate or key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFault {
    /// Not there: waited for.
    Missing,
    /// There, but without content: waited for.
    Empty,
    /// There, but it cannot be read.
    Unreadable,
    /// There, but not what it should be.
    Malformed,
    /// Certificate and key are each well formed, but do not belong together: waited for.
    Mismatch,
}

/// A certificate or key file that cannot be used, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub fault: FileFault,
    /// What is wrong, in words; names the file, never quotes it.
    pub message: String,
    /// What to do, where we know.
    pub help: Option<String>,
}

impl TlsFileError {
    fn new(path: &Path, fault: FileFault, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            fault,
            message: message.into(),
            help: None,
        }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for TlsFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TlsFileError {}

/// Tells one content from another, whatever the time stamps say.
#[derive(Clone, PartialEq, Eq)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    fn of(context: Context) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Self(hash)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It may cover a private key.
        f.write_str("ContentHash(..)")
    }
}

/// A client certificate with its key, ready to sign; they belong together.
#[derive(Clone)]
pub struct ClientIdentity {
    certified: Arc<CertifiedKey>,
    hash: ContentHash,
}

impl ClientIdentity {
    /// For a TLS client configuration.
    #[must_use]
    pub fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// Of both files' content.
    #[must_use]
    pub fn hash(&self) -> &ContentHash {
        &self.hash
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity")
            .field("chain", &self.certified.cert.len())
            .field("key", &"[redacted]")
            .finish()
    }
}

/// Whom to trust.
#[derive(Clone, Debug)]
pub struct Roots {
    store: Arc<RootCertStore>,
    named: Vec<CertificateDer<'static>>,
    hash: ContentHash,
}

impl Roots {
    /// The trust anchors.
    #[must_use]
    pub fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.store)
    }

    /// The certificates that the operator named himself (`tlsCACert`, `tlsCAPath`), as they are;
    /// none of the system's.
    #[must_use]
    pub fn named(&self) -> &[CertificateDer<'static>] {
        &self.named
    }

    /// Of all files' content.
    #[must_use]
    pub fn hash(&self) -> &ContentHash {
        &self.hash
    }
}

/// Reads a client certificate and its key, and checks that they belong together.
///
/// # Errors
///
/// The first file that cannot be used.
pub fn load_client(files: &TlsFiles) -> Result<ClientIdentity, TlsFileError> {
    let cert_pem = read(&files.cert, CLIENT_CERT)?;
    let key_pem = read(&files.key, CLIENT_KEY)?;
    let chain = certificates(&files.cert, CLIENT_CERT, &cert_pem)?;
    let mut key = private_key(&files.key, &key_pem)?;
    let signing = any_supported_type(&key);
    key.zeroize();
    let certified = CertifiedKey::new(chain, signing.map_err(|error| unfit(files, &error))?);
    certified
        .keys_match()
        .map_err(|error| unfit(files, &error))?;
    let mut context = Context::new(&SHA256);
    hash_into(&mut context, &cert_pem);
    hash_into(&mut context, &key_pem);
    Ok(ClientIdentity {
        certified: Arc::new(certified),
        hash: ContentHash::of(context),
    })
}

/// Why certificate and key, each read well, are of no use.
fn unfit(files: &TlsFiles, error: &rustls::Error) -> TlsFileError {
    let (cert, key) = (tick(&files.cert), tick(&files.key));
    match error {
        rustls::Error::InconsistentKeys(_) => TlsFileError::new(
            &files.cert,
            FileFault::Mismatch,
            format!("{CLIENT_CERT} {cert} does not belong to key {key}"),
        )
        .help("replace both together; the first certificate must be the client's own"),
        rustls::Error::InvalidCertificate(_) => malformed(&files.cert, CLIENT_CERT, 0),
        _ => TlsFileError::new(
            &files.key,
            FileFault::Malformed,
            format!("{CLIENT_KEY} {key}: malformed, or of a kind that is not supported"),
        )
        .help("use RSA of 2048 to 8192 bits, ECDSA P-256 or P-384, or Ed25519"),
    }
}

/// Reads whom to trust: `tlsCACert` and `tlsCAPath` alone where one is given, else the system's
/// bundle. With `tlsSkipVerify` nothing is read.
///
/// A certificate that is broken is an error in the files that the configuration names; in the
/// system's bundle, which nobody here can repair, it is passed over.
///
/// # Errors
///
/// The first file that cannot be used.
pub fn load_roots(trusted: &TrustedRoots) -> Result<Roots, TlsFileError> {
    let mut store = RootCertStore::empty();
    let mut named = Vec::new();
    let mut context = Context::new(&SHA256);
    if trusted.skip_verify {
        // No file has a say.
    } else if trusted.ca_cert.is_some() || trusted.ca_path.is_some() {
        if let Some(path) = &trusted.ca_cert {
            let pem = read(path, CA_CERT)?;
            hash_into(&mut context, &pem);
            named.extend(certificates(path, CA_CERT, &pem)?);
            anchor(&mut store, path, CA_CERT, &named)?;
        }
        if let Some(directory) = &trusted.ca_path {
            for certificate in ca_path(directory, &mut store, &mut context)? {
                if !named.contains(&certificate) {
                    named.push(certificate);
                }
            }
        }
    } else {
        let path = trusted.system_bundle.as_deref().ok_or_else(no_bundle)?;
        let pem = read(path, "certificate bundle")?;
        hash_into(&mut context, &pem);
        store.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        if store.is_empty() {
            return Err(TlsFileError::new(
                path,
                FileFault::Malformed,
                format!(
                    "certificate bundle {}: no certificate that can be used",
                    tick(path)
                ),
            )
            .help("name the server's certificate authority in `tlsCACert`"));
        }
    }
    Ok(Roots {
        store: Arc::new(store),
        named,
        hash: ContentHash::of(context),
    })
}

/// The certificates of every file of the directory that holds some, in the order of the names.
fn ca_path(
    directory: &Path,
    store: &mut RootCertStore,
    context: &mut Context,
) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let entries = std::fs::read_dir(directory)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(|error| unreadable(directory, CA_PATH, &error))?;
    let mut paths: Vec<PathBuf> = entries.iter().map(std::fs::DirEntry::path).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        // Follows links: `c_rehash` makes one for each certificate.
        if !std::fs::metadata(&path).is_ok_and(|file| file.is_file()) {
            continue;
        }
        let pem = match read(&path, CA_PATH) {
            Ok(pem) => pem,
            Err(error) if error.fault == FileFault::Empty => continue,
            Err(error) => return Err(error),
        };
        if !holds_certificate(&pem) {
            continue;
        }
        hash_into(context, &pem);
        let certificates = certificates(&path, CA_PATH, &pem)?;
        anchor(store, &path, CA_PATH, &certificates)?;
        found.extend(certificates);
    }
    if found.is_empty() {
        return Err(TlsFileError::new(
            directory,
            FileFault::Empty,
            format!(
                "{CA_PATH} {}: no file of it holds a PEM certificate",
                tick(directory)
            ),
        ));
    }
    Ok(found)
}

fn anchor(
    store: &mut RootCertStore,
    path: &Path,
    what: &str,
    certificates: &[CertificateDer<'static>],
) -> Result<(), TlsFileError> {
    for (index, certificate) in certificates.iter().enumerate() {
        store
            .add(certificate.clone())
            .map_err(|_| malformed(path, what, index))?;
    }
    Ok(())
}

fn certificates(
    path: &Path,
    what: &str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .enumerate()
        .map(|(index, certificate)| certificate.map_err(|_| malformed(path, what, index)))
        .collect::<Result<Vec<_>, _>>()?;
    if chain.is_empty() {
        return Err(TlsFileError::new(
            path,
            FileFault::Malformed,
            format!("{what} {}: no PEM certificate in it", tick(path)),
        )
        .help("convert DER with `openssl x509 -inform der -in FILE -out FILE.pem`"));
    }
    Ok(chain)
}

fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    let fault = |message: String| TlsFileError::new(path, FileFault::Malformed, message);
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        if contains(pem, b"ENCRYPTED") {
            return fault(format!(
                "{CLIENT_KEY} {}: it is encrypted with a pass phrase, which is not supported",
                tick(path)
            ))
            .help(
                "decrypt it with `openssl pkey -in FILE -out KEY`, for the daemon alone to read",
            );
        }
        fault(format!(
            "{CLIENT_KEY} {}: no PEM private key in it",
            tick(path)
        ))
        .help("it must hold `-----BEGIN PRIVATE KEY-----` (or `RSA`, `EC PRIVATE KEY`)")
    })
}

/// The whole content, in memory that is wiped. Only regular files: opening anything else might
/// never end.
fn read(path: &Path, what: &str) -> Result<Zeroizing<Vec<u8>>, TlsFileError> {
    let failed = |error: io::Error| unreadable(path, what, &error);
    let meta = std::fs::metadata(path).map_err(failed)?;
    if !meta.is_file() {
        return Err(TlsFileError::new(
            path,
            FileFault::Unreadable,
            format!("{what} {}: not a regular file", tick(path)),
        ));
    }
    let file = File::open(path).map_err(failed)?;
    // One allocation that fits, since a vector that grows leaves copies behind.
    let size = usize::try_from(meta.len().min(MAX_FILE_BYTES)).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(size.saturating_add(64)));
    let read = file
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if read as u64 > MAX_FILE_BYTES {
        return Err(TlsFileError::new(
            path,
            FileFault::Malformed,
            format!("{what} {}: larger than 8 MiB", tick(path)),
        ));
    }
    if bytes.trim_ascii().is_empty() {
        return Err(TlsFileError::new(
            path,
            FileFault::Empty,
            format!("{what} {}: the file is empty", tick(path)),
        ));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, what: &str, error: &io::Error) -> TlsFileError {
    let (fault, cause) = match error.kind() {
        io::ErrorKind::NotFound => (FileFault::Missing, "no such file".to_owned()),
        io::ErrorKind::PermissionDenied => (FileFault::Unreadable, "permission denied".to_owned()),
        _ => (FileFault::Unreadable, error.to_string().to_lowercase()),
    };
    TlsFileError::new(path, fault, format!("{what} {}: {cause}", tick(path)))
}

fn malformed(path: &Path, what: &str, index: usize) -> TlsFileError {
    TlsFileError::new(
        path,
        FileFault::Malformed,
        format!("{what} {}: malformed certificate {}", tick(path), index + 1),
    )
    .help(format!(
        "put a good one there; `openssl storeutl -noout -text -certs {}` shows what it is",
        path.display()
    ))
}

fn no_bundle() -> TlsFileError {
    TlsFileError::new(
        Path::new("/etc/ssl/certs/ca-certificates.crt"),
        FileFault::Missing,
        "this system has no bundle of certificate authorities",
    )
    .help("install `ca-certificates`, or set `SSL_CERT_FILE` or `tlsCACert`")
}

fn holds_certificate(pem: &[u8]) -> bool {
    contains(pem, b"-----BEGIN CERTIFICATE-----")
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Each part with its length, so that bytes moved from one file to the next are a change.
fn hash_into(context: &mut Context, bytes: &[u8]) {
    context.update(&(bytes.len() as u64).to_be_bytes());
    context.update(bytes);
}

fn tick(path: &Path) -> String {
    format!("`{}`", path.display())
}

#[cfg(test)]
mod tests;
