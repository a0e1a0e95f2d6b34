//! From what an answer means to what people read: class, message, remedy, pacing.

use std::borrow::Cow;
use std::time::Duration;

use super::answer::{Meaning, Operation, version_of};
use super::policy::read_rule;
use super::remedy::{self, word};
use super::wire::Reply;
use crate::failure::{ErrorType, Retry};
use crate::plan::{KvVersion, Source};
use crate::printable::brief;
use crate::secret::SecretString;
use crate::store::StoreError;

/// What is shorter is no secret, and would be found in any text.
const SHORTEST_SECRET: usize = 4;

/// The longest text of a server that goes into a message, in characters.
const LONGEST: usize = 200;

/// What was asked, for messages.
#[derive(Clone, Debug)]
pub(super) struct Asked<'a> {
    pub(super) address: &'a str,
    pub(super) operation: Operation,
    /// ``read of `secret/app/db` ``, ``login at `auth/approle` ``.
    pub(super) what: String,
    pub(super) namespace: &'a str,
    /// What was read, where it was a read.
    pub(super) source: Option<&'a Source>,
    /// What was sent and may not come back in a message.
    pub(super) sent: Vec<&'a SecretString>,
}

impl Asked<'_> {
    /// A failure of this request, with its place before the reason.
    pub(super) fn failed(&self, error_type: ErrorType, retry: Retry, why: &str) -> StoreError {
        let place = if self.namespace.is_empty() {
            String::new()
        } else {
            format!(" in namespace `{}`", self.namespace)
        };
        let message = format!("`{}`: {}{place}: {why}", self.address, self.what);
        StoreError::new(error_type, retry, message)
    }

    /// What a reply that is not [`Meaning::Good`] amounts to; a good one whose body cannot be used
    /// is the caller's to tell.
    pub(super) fn refused(&self, reply: &Reply) -> StoreError {
        use ErrorType as T;
        let soon = Retry::Backoff(reply.retry_after);
        let status = reply.status;
        match &reply.meaning {
            Meaning::Sealed => self
                .failed(T::Sealed, soon, "the server is sealed")
                .with_remedy(remedy::UNSEAL),
            Meaning::Uninitialised => self
                .failed(T::Unavailable, soon, "the server is not initialised")
                .with_remedy(remedy::INITIALISE),
            Meaning::Throttled => self
                .failed(
                    T::Throttled,
                    soon,
                    &match reply.retry_after {
                        Some(pause) => format!(
                            "the server asks for fewer requests (429, again after {})",
                            seconds(pause)
                        ),
                        None => "the server asks for fewer requests (429)".to_owned(),
                    },
                )
                .with_remedy(remedy::FEWER),
            Meaning::Unavailable(text) => {
                let what = match status {
                    412 => "the replica is behind (412)".to_owned(),
                    472 => "the server is a disaster recovery standby (472)".to_owned(),
                    473 => "the server is a performance standby (473)".to_owned(),
                    _ => format!("the server answered {status}"),
                };
                self.failed(T::Unavailable, soon, &self.with(&what, text.as_deref()))
                    .with_remedy(match status {
                        412 | 472 | 473 => remedy::STANDBY,
                        _ => remedy::SERVER_TROUBLE,
                    })
            }
            Meaning::TimedOut => self
                .failed(
                    T::Timeout,
                    soon,
                    "something before the server gave up (408)",
                )
                .with_remedy(remedy::BEFORE_THE_SERVER),
            Meaning::TokenDead => self
                .failed(T::Denied, Retry::Settled, "the token was refused")
                .with_remedy(remedy::NEW_TOKEN),
            Meaning::Policy => self.denied_by_policy(),
            Meaning::Foreign => self
                .failed(
                    T::Denied,
                    if self.operation == Operation::Read {
                        Retry::Settled
                    } else {
                        soon
                    },
                    &format!("answered {status}, and not by the server: its body is not the API's"),
                )
                .with_remedy(
                    "let the proxy or load balancer before the server pass the request; the token is kept",
                ),
            // Whoever passes once is done with it; a keeper tries again by its own pace.
            Meaning::CredentialRefused(text) => {
                let error = self.failed(
                    T::Auth,
                    match self.operation {
                        Operation::Login | Operation::Unwrap => Retry::Settled,
                        _ => soon,
                    },
                    &self.with(
                        &format!("the server refused the credential ({status})"),
                        text.as_deref(),
                    ),
                );
                // The server says this of a mount that is not there, and of a role that is locked.
                if status == 403 && self.operation == Operation::Login {
                    error.with_remedy(remedy::LOGIN_FORBIDDEN)
                } else {
                    error
                }
            }
            _ => self.missing(reply),
        }
    }

    fn denied_by_policy(&self) -> StoreError {
        let error = self.failed(
            ErrorType::Denied,
            Retry::Settled,
            "permission denied by policy",
        );
        let Some(source) = self.source else {
            return error;
        };
        // Policies are those of the token's own namespace, whatever that of the read.
        let login = source.session.namespace.as_str();
        error.with_remedy(match read_rule(source) {
            Some(rule) if login.is_empty() => {
                format!("allow it in a policy of the token: `{}`", rule.line())
            }
            Some(rule) => format!(
                "allow it in namespace `{login}` in a policy of the token: `{}`",
                rule.line()
            ),
            None => format!(
                "log in elsewhere: no policy of namespace `{login}` reaches `{}`, so let `authNamespace` name it \
                 or one above",
                source.namespace
            ),
        })
    }

    /// What is not there, and what is not understood.
    fn missing(&self, reply: &Reply) -> StoreError {
        use ErrorType as T;
        let settled = Retry::Settled;
        // A login that finds nothing to log in at is a failed login, and tried again.
        let (not_found, pace) = match self.operation {
            Operation::Login | Operation::Unwrap => (T::Auth, Retry::Backoff(None)),
            _ => (T::NotFound, settled),
        };
        match &reply.meaning {
            Meaning::Absent => match self.version() {
                Some(version) => self
                    .failed(
                        not_found,
                        pace,
                        &format!("no such secret, or no version {version}"),
                    )
                    .with_remedy(format!(
                        "take `version: {version}` out, or name one that `{}` lists, or correct `key`",
                        self.kv("metadata get", "")
                    )),
                None => self
                    .failed(not_found, pace, "no such secret")
                    .with_remedy(format!(
                        "write it: `{} NAME=VALUE`; or correct `key`, or set `kvVersion` to that of the mount",
                        self.kv("put", "")
                    )),
            },
            Meaning::Deleted(at) => {
                let version = version_of(reply.body.expose()).or(self.version());
                let version = version.map_or_else(|| "N".to_owned(), |version| version.to_string());
                self.failed(
                    T::Deleted,
                    settled,
                    &format!("the version was deleted at {}", self.foreign(at)),
                )
                .with_remedy(format!(
                    "bring it back: `{}`; or {}",
                    self.kv("undelete", &format!(" -versions={version}")),
                    self.newer()
                ))
            }
            Meaning::Destroyed => self
                .failed(T::Deleted, settled, "the version was destroyed")
                .with_remedy(self.newer()),
            Meaning::NoMount => self
                .failed(not_found, pace, "nothing is mounted there")
                .with_remedy(match (self.operation, self.source) {
                    (Operation::Login, _) => "correct `authMount` or `authNamespace`: `bao auth list` shows what \
                         there is"
                        .to_owned(),
                    (_, Some(source)) => format!(
                        "correct `mountPath` or `namespace` (`bao secrets list` shows what there is), or mount it: \
                         `bao secrets enable{} -path={} {}`",
                        self.namespace_flag(),
                        word(&source.mount),
                        match source.kv {
                            KvVersion::V1 => "-version=1 kv",
                            KvVersion::V2 => "-version=2 kv",
                        }
                    ),
                    _ => "correct `address`".to_owned(),
                }),
            Meaning::OtherKvVersion => self
                .failed(T::NotFound, settled, "the mount speaks KV version 2")
                .with_remedy("set `kvVersion: v2`"),
            Meaning::NoNamespace => self
                .failed(not_found, pace, "there is no such namespace")
                .with_remedy(format!(
                    "correct `{}` (`bao namespace list` shows what there is), or make it: `bao namespace create {}`",
                    match self.operation {
                        Operation::Login => "authNamespace",
                        _ => "namespace",
                    },
                    word(self.namespace)
                )),
            Meaning::NotFound(text) => self
                .failed(not_found, pace, &self.with("answered 404", text.as_deref()))
                .with_remedy("correct `address` or `key`"),
            Meaning::Refused(text) => self
                .failed(
                    T::BadRequest,
                    settled,
                    &self.with(
                        &format!("the server refused the request ({})", reply.status),
                        text.as_deref(),
                    ),
                )
                .with_remedy(remedy::BAD_REQUEST),
            _ if (200..=299).contains(&reply.status) => {
                self.garbage("the body is not the JSON of the API")
            }
            _ => self.garbage(&format!(
                "answered {}, which no server of the API does",
                reply.status
            )),
        }
    }

    /// What happened, with the server's own words.
    fn with(&self, what: &str, text: Option<&str>) -> String {
        match text {
            Some(text) => format!("{what}: {}", self.foreign(text)),
            None => what.to_owned(),
        }
    }

    /// A text of the server made fit for a message: nothing that was sent comes back in it, it
    /// cannot act on a terminal, and it is short.
    pub(super) fn foreign(&self, text: &str) -> String {
        let mut text = Cow::Borrowed(text);
        // Before it is cut: half a token is no longer found.
        for secret in self.sent.iter().map(|secret| secret.expose()) {
            if secret.len() >= SHORTEST_SECRET && text.contains(secret) {
                text = Cow::Owned(text.replace(secret, "[redacted]"));
            }
        }
        brief(&text, LONGEST).into_owned()
    }

    /// An answer that is not what the API promises.
    pub(super) fn garbage(&self, why: &str) -> StoreError {
        let retry = match self.operation {
            Operation::Read => Retry::Settled,
            _ => Retry::Backoff(None),
        };
        self.failed(ErrorType::BadResponse, retry, why)
            .with_remedy(remedy::NOT_THE_API)
    }

    /// The version pinned.
    fn version(&self) -> Option<u64> {
        self.source.and_then(|source| source.version)
    }

    fn namespace_flag(&self) -> String {
        if self.namespace.is_empty() {
            String::new()
        } else {
            format!(" -namespace={}", word(self.namespace))
        }
    }

    /// A command about the secret that was read, as an operator types it.
    fn kv(&self, verb: &str, more: &str) -> String {
        let namespace = self.namespace_flag();
        match self.source {
            Some(source) => format!(
                "bao kv {verb}{namespace} -mount={}{more} {}",
                word(&source.mount),
                word(&source.key)
            ),
            None => format!("bao kv {verb}{namespace}{more} PATH"),
        }
    }

    /// What replaces a version that is gone.
    fn newer(&self) -> String {
        match self.version() {
            Some(version) => format!("take `version: {version}` out, or name another one"),
            None => format!("write a new version: `{} NAME=VALUE`", self.kv("put", "")),
        }
    }
}

fn seconds(pause: Duration) -> String {
    humantime::format_duration(Duration::from_secs(pause.as_secs().max(1))).to_string()
}

#[cfg(test)]
mod tests;
