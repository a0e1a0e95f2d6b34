//! A look at every credential and TLS file of a plan: which are missing, empty, broken, or do not
//! belong together. `validate` and `doctor` show it; `run` waits for what may still come.

use std::collections::HashSet;
use std::path::PathBuf;

use super::auth::is_unexpanded;
use super::model::{Address, Auth, Credential, Plan, SessionKey, SessionPlan};
use super::store::DEFAULT;
use super::tls::{self, FileFault, TlsFileError};

/// What is wrong with one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialProblem {
    /// The file.
    pub path: PathBuf,
    /// The key that names it (`secretStore.tokenFile`); for the system's bundle there is none.
    pub key: Option<String>,
    /// What kind of wrong: [`FileFault::Missing`] and [`FileFault::Empty`] may pass by themselves.
    pub kind: FileFault,
    /// What is wrong; names the file, never quotes it.
    pub message: String,
    /// What to do, where we know.
    pub help: Option<String>,
}

/// Reads every credential and TLS file that the plan uses, each once. Files whose path holds a
/// variable that `validate` could not expand are passed over.
#[must_use]
pub fn inspect(plan: &Plan) -> Vec<CredentialProblem> {
    let mut inspection = Inspection::default();
    for store in &plan.stores {
        if let Address::Http { tls: true, .. } = store.address {
            let trust = &store.tls;
            let named = [&trust.ca_cert, &trust.ca_path];
            if named.into_iter().flatten().any(|path| is_unexpanded(path)) {
                continue;
            }
            let key = match (&trust.ca_cert, &trust.ca_path) {
                (Some(_), _) => Some("tlsCACert"),
                (None, Some(_)) => Some("tlsCAPath"),
                (None, None) => None,
            };
            if let Err(error) = tls::load_roots(trust) {
                let key = if trust
                    .ca_path
                    .as_ref()
                    .is_some_and(|path| error.path.starts_with(path))
                {
                    Some("tlsCAPath")
                } else {
                    key
                };
                inspection.tls(
                    error,
                    key.map(|key| format!("{}.{key}", store_key(&store.name))),
                );
            }
        }
    }
    for session in &plan.sessions {
        inspection.session(session);
    }
    inspection.problems
}

#[derive(Default)]
struct Inspection {
    seen: HashSet<PathBuf>,
    pairs: HashSet<(PathBuf, PathBuf)>,
    problems: Vec<CredentialProblem>,
}

impl Inspection {
    fn session(&mut self, session: &SessionPlan) {
        let below = section_key(&session.key);
        match &session.auth {
            Auth::Token(token) => self.credential(token, &below, "tokenFile"),
            Auth::AppRole {
                role_id, secret_id, ..
            } => {
                self.credential(role_id, &below, "roleIdFile");
                if let Some(secret_id) = secret_id {
                    self.credential(secret_id, &below, "secretIdFile");
                }
            }
            Auth::Cert { .. } | Auth::None => {}
        }
        let Some(client) = &session.client else {
            return;
        };
        let pair = (client.cert.clone(), client.key.clone());
        if is_unexpanded(&client.cert) || is_unexpanded(&client.key) || !self.pairs.insert(pair) {
            return;
        }
        if let Err(error) = tls::load_client(client) {
            let key = if error.path == client.key {
                "tlsClientKey"
            } else {
                "tlsClientCert"
            };
            self.tls(error, Some(format!("{below}.{key}")));
        }
    }

    fn credential(&mut self, credential: &Credential, below: &str, key: &str) {
        let Credential::File(path) = credential else {
            return;
        };
        if is_unexpanded(path) || !self.seen.insert(path.clone()) {
            return;
        }
        if let Err(why) = credential.read() {
            self.problems.push(CredentialProblem {
                key: Some(format!("{below}.{key}")),
                kind: why.fault,
                message: format!("`{}`: {}", path.display(), why.cause),
                help: match why.fault {
                    FileFault::Unreadable => {
                        Some("let it be a file of text that the daemon's user may read".to_owned())
                    }
                    _ => None,
                },
                path: why.path,
            });
        }
    }

    fn tls(&mut self, error: TlsFileError, key: Option<String>) {
        let problem = CredentialProblem {
            path: error.path,
            key,
            kind: error.fault,
            message: error.message,
            help: error.help,
        };
        let known = self
            .problems
            .iter()
            .any(|other| other.path == problem.path && other.kind == problem.kind);
        if !known {
            self.problems.push(problem);
        }
    }
}

fn store_key(name: &str) -> String {
    if name == DEFAULT {
        "secretStore".to_owned()
    } else {
        format!("secretStores.{name}")
    }
}

fn section_key(key: &SessionKey) -> String {
    let store = store_key(&key.store);
    if key.credentials == DEFAULT {
        store
    } else {
        format!("{store}.credentials.{}", key.credentials)
    }
}
