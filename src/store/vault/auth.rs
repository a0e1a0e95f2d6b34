//! Logging in: from credentials to a token, and what is asked of the server about a token.

use std::sync::Arc;

use serde::Serialize;

use super::answer::{Meaning, Operation};
use super::envelope::Envelope;
use super::explain::Asked;
use super::inquiry::LookUp;
use super::kv::encoded;
use super::teller::Teller;
use super::token::Facts;
use super::unwrapped::Unwrapped;
use super::wire::{Call, Method, Reply, Wire, number_of};
use crate::clock::{Clock, Stop};
use crate::failure::{ErrorType, Retry};
use crate::plan::tls::FileFault;
use crate::plan::{Auth, Credential, SessionPlan, Unreadable};
use crate::secret::{SecretBytes, SecretString};
use crate::store::{Mode, StoreError};

/// How often one attempt follows credentials that change under it.
const READINGS: usize = 3;

/// Gets tokens for one session. Owned by its keeper.
pub(super) struct Authenticator {
    pub(super) plan: Arc<SessionPlan>,
    pub(super) mode: Mode,
    wire: Arc<dyn Wire>,
    pub(super) clock: Arc<dyn Clock>,
    teller: Teller,
    pub(super) unwrapped: Arc<Unwrapped>,
    /// The last wrapping token that was unwrapped for this session.
    pub(super) wrapping: Option<SecretString>,
    who: u64,
}

/// The tokens that a keeper knows, which somebody else's token is compared with.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    /// In use.
    pub(super) current: Option<&'a SecretString>,
    /// The one in use may be dead.
    pub(super) doubted: bool,
    /// Found to be dead.
    pub(super) dead: Option<&'a SecretString>,
}

/// What an attempt gave.
pub(super) enum Acquired {
    /// A token.
    New(SecretString, Facts),
    /// Somebody else's token, the same as before.
    Same,
}

/// The credentials of one AppRole login, as they were read for it.
#[derive(PartialEq, Eq)]
struct AppRoleGiven {
    role_id: SecretString,
    secret_id: Option<SecretString>,
}

#[derive(Serialize)]
struct AppRoleBody<'a> {
    role_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_id: Option<&'a str>,
}

#[derive(Serialize)]
struct CertBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

impl Authenticator {
    pub(super) fn new(
        plan: Arc<SessionPlan>,
        mode: Mode,
        wire: Arc<dyn Wire>,
        clock: Arc<dyn Clock>,
        teller: Teller,
        unwrapped: Arc<Unwrapped>,
    ) -> Self {
        Self {
            who: number_of(&plan.key),
            plan,
            mode,
            wire,
            clock,
            teller,
            unwrapped,
            wrapping: None,
        }
    }

    /// Gets a token: reads it, or logs in.
    pub(super) fn acquire(
        &mut self,
        known: Known<'_>,
        stop: &Stop,
    ) -> Result<Acquired, StoreError> {
        let plan = Arc::clone(&self.plan);
        match &plan.auth {
            Auth::None => Ok(Acquired::Same),
            Auth::Token(credential) => self.given_token(credential, known, stop),
            Auth::AppRole {
                mount,
                role_id,
                secret_id,
                wrapping_path,
            } => {
                let read = |this: &mut Self| {
                    this.approle_given(role_id, secret_id.as_ref(), wrapping_path.as_deref(), stop)
                };
                let mut given = read(self)?;
                if self.mode == Mode::Look && given.secret_id.is_some() {
                    self.teller.notice(
                        "this login spends a use of the secret ID, where its uses are limited"
                            .into(),
                        true,
                    );
                }
                let mut readings = 1;
                loop {
                    match self.approle(mount, &given, stop) {
                        // The files may have been replaced since they were read.
                        Err(error)
                            if error.failure.error_type == ErrorType::Auth
                                && readings < READINGS =>
                        {
                            readings += 1;
                            match read(self) {
                                Ok(again) if again != given => given = again,
                                _ => return Err(error),
                            }
                        }
                        result => return result,
                    }
                }
            }
            Auth::Cert { mount, role } => {
                let body = body(&CertBody {
                    name: role.as_deref(),
                });
                self.login(mount, body, Vec::new(), stop)
                    .map_err(|mut error| {
                        let failure = &mut error.failure;
                        if failure.error_type == ErrorType::Auth && failure.remedy.is_none() {
                            failure.remedy =
                                Some(self.register_certificate(mount, role.as_deref()));
                        }
                        error
                    })
            }
        }
    }

    fn given_token(
        &self,
        credential: &Credential,
        known: Known<'_>,
        stop: &Stop,
    ) -> Result<Acquired, StoreError> {
        let value = credential
            .read()
            .map_err(|why| self.waiting("the token", &why))?;
        if known.current == Some(&value) {
            return Ok(Acquired::Same);
        }
        match self.look_up(&value, false, stop) {
            LookUp::Alive(facts) => Ok(Acquired::New(value, facts)),
            LookUp::Unknown(error) if !answered(&error) => Err(error),
            _ if known.dead == Some(&value) => Err(self.dead()),
            // Better the one that works.
            LookUp::Dead if known.current.is_some() && !known.doubted => Err(StoreError::new(
                ErrorType::Auth,
                Retry::Backoff(None),
                format!(
                    "`{}`: the new token was refused: the one in use is kept",
                    self.wire.address()
                ),
            )
            .with_remedy(self.another("token", credential))),
            // Whether it is any good, the first read will tell.
            _ => {
                self.untold();
                Ok(Acquired::New(value, Facts::unknown(self.clock.now())))
            }
        }
    }

    /// The failure of a session whose token somebody else made, and the server does not know.
    pub(super) fn dead(&self) -> StoreError {
        let (retry, remedy) = match &self.plan.auth {
            Auth::Token(token) => (
                match token {
                    Credential::File(_) => Retry::Backoff(None),
                    Credential::Inline(_) => Retry::Settled,
                },
                self.another("token", token),
            ),
            _ => (Retry::Settled, "bring a new token".to_owned()),
        };
        StoreError::new(
            ErrorType::Auth,
            retry,
            format!(
                "`{}`: the token was refused: expired, revoked, used up or never valid here",
                self.wire.address()
            ),
        )
        .with_remedy(remedy)
    }

    /// Where another credential is to be put.
    fn another(&self, key: &str, credential: &Credential) -> String {
        match credential {
            Credential::File(path) => format!(
                "put a new one into `{}`: it is taken up at once",
                path.display()
            ),
            Credential::Inline(_) => format!(
                "write a new one into `{key}` and reload (SIGHUP); where a variable holds it, set that and restart"
            ),
        }
    }

    /// What to do about a certificate that no role of the server knows.
    fn register_certificate(&self, mount: &str, role: Option<&str>) -> String {
        let cert = self.plan.client.as_ref().map_or_else(
            || "CERTIFICATE".to_owned(),
            |client| client.cert.display().to_string(),
        );
        format!(
            "let a role of the server know the certificate: `bao write auth/{mount}/certs/{} certificate=@{cert} \
             token_policies=POLICY`; or correct `certRole`",
            role.unwrap_or("NAME")
        )
    }

    /// What to do about an `AppRole` login that was refused.
    pub(super) fn another_secret_id(&self) -> String {
        const ROLE: &str = "auth/approle/role/NAME";
        let (mount, secret_id, wrapped) = match &self.plan.auth {
            Auth::AppRole {
                mount,
                secret_id,
                wrapping_path,
                ..
            } => (mount.as_str(), secret_id.as_ref(), wrapping_path.as_deref()),
            _ => ("approle", None, None),
        };
        let role = ROLE.replacen("approle", mount, 1);
        let Some(secret_id) = secret_id else {
            return format!("compare the role ID with `bao read {role}/role-id`");
        };
        let make = match wrapped {
            Some(path) => format!("bao write -f -wrap-ttl=10m -field=wrapping_token {path}"),
            None => format!("bao write -f -field=secret_id {role}/secret-id"),
        };
        let put = self.another("secretId", secret_id);
        format!(
            "make a new secret ID: `{make}`, and {put}; or correct the role ID: `bao read {role}/role-id`"
        )
    }

    fn untold(&self) {
        self.teller.notice(
            "the look-up of the token (`auth/token/lookup-self`) told nothing: it is used as it is, and when \
             it ends is not known"
                .into(),
            true,
        );
    }

    /// A credential that is not there is waited for.
    fn waiting(&self, what: &str, why: &Unreadable) -> StoreError {
        StoreError::new(
            ErrorType::Auth,
            Retry::Backoff(None),
            format!("`{}`: {what}: {why}", self.wire.address()),
        )
        .with_remedy(deliver(why))
    }

    fn approle_given(
        &mut self,
        role_id: &Credential,
        secret_id: Option<&Credential>,
        wrapping_path: Option<&str>,
        stop: &Stop,
    ) -> Result<AppRoleGiven, StoreError> {
        let role_id = role_id
            .read()
            .map_err(|why| self.waiting("the role ID", &why))?;
        let secret_id = match secret_id {
            None => None,
            Some(secret_id) => {
                let value = secret_id
                    .read()
                    .map_err(|why| self.waiting("the secret ID", &why))?;
                Some(match wrapping_path {
                    Some(path) => self.unwrap_secret_id(value, path, stop)?,
                    None => value,
                })
            }
        };
        Ok(AppRoleGiven { role_id, secret_id })
    }

    fn approle(
        &self,
        mount: &str,
        given: &AppRoleGiven,
        stop: &Stop,
    ) -> Result<Acquired, StoreError> {
        let secret_id = given.secret_id.as_ref();
        let body = body(&AppRoleBody {
            role_id: given.role_id.expose(),
            secret_id: secret_id.map(SecretString::expose),
        });
        self.login(mount, body, secret_id.into_iter().collect(), stop)
            .map_err(|mut error| {
                if error.failure.error_type == ErrorType::Auth && error.failure.remedy.is_none() {
                    error.failure.remedy = Some(self.another_secret_id());
                }
                error
            })
    }

    /// One login at `auth/MOUNT/login`, and the one look-up after it.
    fn login(
        &self,
        mount: &str,
        body: SecretBytes,
        sent: Vec<&SecretString>,
        stop: &Stop,
    ) -> Result<Acquired, StoreError> {
        let path = format!("auth/{}/login", encoded(mount));
        let mut asked = self.asked(Operation::Login, format!("login at `auth/{mount}`"));
        asked.sent = sent;
        let told = self.clock.now();
        let reply = self.post(Operation::Login, &path, None, Some(body), stop)?;
        if reply.meaning != Meaning::Good {
            return Err(asked.refused(&reply));
        }
        let block = Envelope::parse(reply.body.expose())
            .and_then(|envelope| envelope.auth())
            .ok_or_else(|| asked.garbage("the answer holds no token"))?;
        // Taken into use, it would fail every read until its end.
        if !can_be_sent(&block.client_token) {
            return Err(asked.garbage("the answer's token is none that a request could carry"));
        }
        let mut facts = Facts::of_login(told, &block);
        // A look-up would spend one of the few uses.
        if facts.uses == 0 {
            match self.look_up(&block.client_token, true, stop) {
                LookUp::Alive(looked_up) => {
                    facts = Facts {
                        full: facts.full.max(looked_up.full),
                        ..looked_up
                    };
                }
                LookUp::Unknown(error) if !answered(&error) => {}
                _ => self.untold(),
            }
        }
        Ok(Acquired::New(block.client_token, facts))
    }

    pub(super) fn asked(&self, operation: Operation, what: String) -> Asked<'_> {
        Asked {
            address: self.wire.address(),
            operation,
            what,
            namespace: &self.plan.key.namespace,
            source: None,
            sent: Vec::new(),
        }
    }

    pub(super) fn post(
        &self,
        operation: Operation,
        path: &str,
        token: Option<&SecretString>,
        body: Option<SecretBytes>,
        stop: &Stop,
    ) -> Result<Reply, StoreError> {
        self.send(operation, Method::Post, path, token, body, stop)
    }

    pub(super) fn send(
        &self,
        operation: Operation,
        method: Method,
        path: &str,
        token: Option<&SecretString>,
        body: Option<SecretBytes>,
        stop: &Stop,
    ) -> Result<Reply, StoreError> {
        let call = Call {
            operation,
            who: self.who,
            method,
            path,
            namespace: &self.plan.key.namespace,
            token,
            body,
            client: self.plan.client.as_ref(),
        };
        self.wire.send(&call, stop)
    }
}

/// Whether the server gave an answer that will be the same next time, rather than none.
fn answered(error: &StoreError) -> bool {
    error.wake.is_none()
        && matches!(
            error.failure.error_type,
            ErrorType::Auth
                | ErrorType::Denied
                | ErrorType::NotFound
                | ErrorType::BadRequest
                | ErrorType::BadResponse
        )
}

/// What to do about a credential that is not to be had.
fn deliver(why: &Unreadable) -> String {
    let path = why.path.display();
    match why.fault {
        FileFault::Missing | FileFault::Empty => {
            format!("put the credential into `{path}`: it is taken up at once")
        }
        _ => format!(
            "let `{path}` be a file with one line of text that uid {} may read",
            rustix::process::geteuid().as_raw()
        ),
    }
}

/// A token is not longer: with the rest of its request it must fit into a connection's buffer.
const LONGEST_TOKEN: usize = 8 << 10;

/// Whether a request can carry a token in its header.
fn can_be_sent(token: &SecretString) -> bool {
    let token = token.expose();
    (1..=LONGEST_TOKEN).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A request body. Its buffer is large enough from the start: one that grows leaves copies of
/// what it holds behind.
pub(super) fn body<T: Serialize>(of: &T) -> SecretBytes {
    let mut bytes = Vec::with_capacity(40 * 1024);
    // Writing text into memory does not fail.
    let _ = serde_json::to_writer(&mut bytes, of);
    SecretBytes::new(bytes)
}
