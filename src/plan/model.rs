//! The plan's parts. All compare by value: a reload restarts just what is not equal.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Hidden;
use crate::files::Target;
use crate::render::Content;
use crate::secret::SecretString;

/// Everything the daemon will do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The file it was read from.
    pub file: PathBuf,
    /// The stores that secrets use, and the default one.
    pub stores: Vec<Arc<StorePlan>>,
    /// The sessions that secrets use, each once.
    pub sessions: Vec<Arc<SessionPlan>>,
    /// The secrets, in written order.
    pub secrets: Vec<Arc<Secret>>,
    /// What people should know: warnings, overrides in force, differences from the Go tool.
    pub notices: Vec<Notice>,
    /// Values of the environment that may not be shown, though the plan may have names made of them.
    pub hidden: Hidden,
}

/// What the secrets of a plan ask of one store: the rate limit is made from it.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Demand {
    /// Requests a second that the refresh intervals need.
    pub rate: f64,
    /// Reads, each source of each secret once.
    pub reads: usize,
}

impl Plan {
    /// The credentials that stand in the configuration or come from the environment.
    #[must_use]
    pub fn inline_credentials(&self) -> Vec<&str> {
        let mut found = Vec::new();
        for session in &self.sessions {
            for credential in session.auth.credentials() {
                if let Credential::Inline(value) = credential {
                    found.push(value.expose());
                }
            }
        }
        found
    }

    /// What this plan's secrets ask of the store of that name.
    #[must_use]
    pub fn demand(&self, store: &str) -> Demand {
        let mut demand = Demand::default();
        for secret in &self.secrets {
            let reads = secret
                .sources
                .iter()
                .filter(|source| source.session.store == store)
                .count();
            demand.reads += reads;
            if let Interval::Every(interval) = secret.interval {
                #[allow(clippy::cast_precision_loss)] // a few thousand at most
                let reads = reads as f64;
                demand.rate += reads / interval.as_secs_f64();
            }
        }
        demand
    }
}

/// Something to tell at start, reload and `validate`; never fatal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `FILE:LINE:COLUMN` where it has a place.
    pub place: Option<String>,
    /// The key path (`secrets[2].files`), where it has one.
    pub key: Option<String>,
    /// What, and what to do.
    pub message: String,
    /// Whether it asks for attention, rather than only tells what was understood.
    pub warning: bool,
}

/// How to reach one server.
#[derive(Clone, Debug, PartialEq)]
pub struct StorePlan {
    /// `default`, or its name below `secretStores`.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// Whom to trust, and which name its certificate must bear; client certificates belong to
    /// the session.
    pub tls: TrustedRoots,
    /// The proxy for this address, if any.
    pub proxy: Option<Proxy>,
    /// The longest a whole request may take.
    pub timeout: Duration,
    /// Requests in flight to this store.
    pub max_concurrent: usize,
    /// The largest body that is read.
    pub max_response_bytes: usize,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `http` or `https`, a host (IPv6 in brackets), a port, and a path prefix without a slash
    /// at its end (mostly empty).
    Http {
        /// Whether TLS is spoken.
        tls: bool,
        /// The host as written.
        host: String,
        /// The port, explicit.
        port: u16,
        /// For servers behind a path.
        prefix: String,
    },
    /// A Unix socket that speaks plain HTTP.
    Unix(PathBuf),
}

/// A proxy, as Go's environment variables name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its URL (may hold a password: never shown whole).
    pub url: SecretString,
}

/// What server certificates are checked against.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TrustedRoots {
    /// `tlsCACert`.
    pub ca_cert: Option<PathBuf>,
    /// `tlsCAPath`, a directory of PEM files.
    pub ca_path: Option<PathBuf>,
    /// With neither: `SSL_CERT_FILE` where set, else the system's bundle.
    pub system_bundle: Option<PathBuf>,
    /// `tlsServerName`.
    pub server_name: Option<String>,
    /// `tlsSkipVerify`.
    pub skip_verify: bool,
}

impl TrustedRoots {
    /// The files and directories that the authorities are read from.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let named = [&self.ca_cert, &self.ca_path];
        let mut files: Vec<PathBuf> = named.into_iter().flatten().cloned().collect();
        if files.is_empty() {
            files.extend(self.system_bundle.clone());
        }
        files
    }
}

/// A client certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, PEM.
    pub cert: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
}

/// Which session a read uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// The store's name.
    pub store: String,
    /// The credential set's name; `default` for the store's own.
    pub credentials: String,
    /// The namespace of login, renewal, look-up and revocation; empty is root.
    pub namespace: String,
}

/// One login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPlan {
    /// Its identity.
    pub key: SessionKey,
    /// How.
    pub auth: Auth,
    /// The client certificate that its connections present.
    pub client: Option<TlsFiles>,
}

impl SessionPlan {
    /// The files that its login needs.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self
            .auth
            .credentials()
            .filter_map(|credential| match credential {
                Credential::File(path) => Some(path.clone()),
                Credential::Inline(_) => None,
            })
            .collect();
        if let Some(tls) = &self.client {
            files.extend([tls.cert.clone(), tls.key.clone()]);
        }
        files
    }
}

/// How a session gets its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A token that somebody else made.
    Token(Credential),
    /// AppRole.
    AppRole {
        /// Mount of the method.
        mount: String,
        /// Which role.
        role_id: Credential,
        /// Absent where the role allows.
        secret_id: Option<Credential>,
        /// Set: the secret ID is a wrapping token, and this is where it must have been made.
        wrapping_path: Option<String>,
    },
    /// TLS certificate.
    Cert {
        /// Mount of the method.
        mount: String,
        /// Role, optional.
        role: Option<String>,
    },
    /// An agent or proxy adds the token.
    None,
}

impl Auth {
    /// The name of the method: `token`, `approle`, `cert`, `none`.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::AppRole { .. } => "approle",
            Self::Cert { .. } => "cert",
            Self::None => "none",
        }
    }

    /// What it shows the server.
    pub(super) fn credentials(&self) -> impl Iterator<Item = &Credential> {
        let credentials = match self {
            Self::Token(token) => [Some(token), None],
            Self::AppRole {
                role_id, secret_id, ..
            } => [Some(role_id), secret_id.as_ref()],
            Self::Cert { .. } | Self::None => [None, None],
        };
        credentials.into_iter().flatten()
    }
}

/// A credential's value, or the file that holds it (read at each login).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// In the configuration or the environment.
    Inline(SecretString),
    /// In a file.
    File(PathBuf),
}

/// One secret, wholly resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Secret {
    /// Unique.
    pub name: String,
    /// Its reads, in order.
    pub sources: Vec<Source>,
    /// How often.
    pub interval: Interval,
    /// Counts neither for ready nor for degraded.
    pub optional: bool,
    /// How its files lie.
    pub layout: Layout,
    /// What is written where, in written order.
    pub outputs: Vec<Output>,
    /// The largest file.
    pub max_file_bytes: usize,
}

/// When a secret is fetched again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// After this time.
    Every(Duration),
    /// Until it has succeeded; then on request.
    Once,
}

/// How the files of a secret lie on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Layout {
    /// Each at its path.
    #[default]
    Files,
    /// All in one directory that is switched in one step.
    Directory,
}

/// One read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name below `sources`; `None` where the secret has one `key`.
    pub alias: Option<String>,
    /// Which login it uses.
    pub session: SessionKey,
    /// The namespace of the read; empty is root.
    pub namespace: String,
    /// Mount, without slashes at its ends.
    pub mount: String,
    /// Key: segments joined by `/`, none empty, not yet percent-encoded.
    pub key: String,
    /// Of the mount.
    pub kv: KvVersion,
    /// The pin, v2.
    pub version: Option<u64>,
    /// Read the metadata instead of the data, v2.
    pub metadata: bool,
}

/// The KV engine's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KvVersion {
    /// Unversioned.
    V1,
    /// Versioned.
    #[default]
    V2,
}

/// One entry of `files:`.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Where, with which mode and owner.
    pub target: Target,
    /// What.
    pub content: Content,
    /// The name of its template below `template.data`, for people.
    pub template: Option<String>,
}
