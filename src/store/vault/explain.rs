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
mod tests {
    use super::super::answer::meaning;
    use super::*;
    use crate::plan::SessionKey;
    use crate::secret::SecretBytes;

    fn source() -> Source {
        Source {
            alias: None,
            session: SessionKey {
                store: "default".into(),
                credentials: "default".into(),
                namespace: String::new(),
            },
            namespace: String::new(),
            mount: "secret".into(),
            key: "app/db".into(),
            kv: KvVersion::V2,
            version: None,
            metadata: false,
        }
    }

    fn told(operation: Operation, status: u16, body: &str, namespace: &str) -> StoreError {
        let asked = Asked {
            address: "https://vault:8200",
            operation,
            what: "read of `secret/app/db`".into(),
            namespace,
            source: Some(&Source {
                namespace: namespace.into(),
                ..source()
            }),
            sent: Vec::new(),
        };
        asked.refused(&Reply {
            status,
            meaning: meaning(operation, status, body.as_bytes()),
            retry_after: None,
            body: SecretBytes::new(body.as_bytes().to_vec()),
            _place: None,
            span: Default::default(),
        })
    }

    fn line(error: &StoreError) -> String {
        let failure = &error.failure;
        let retry = match failure.retry {
            Retry::Backoff(_) => "again",
            Retry::Settled => "settled",
        };
        format!(
            "{} {retry} | {} | {}",
            failure.error_type,
            failure.message,
            failure.remedy.as_deref().unwrap_or("-")
        )
    }

    #[test]
    fn the_words_of_a_read() {
        let read = Operation::Read;
        for (status, body, namespace, expected) in [
            (
                403,
                "{\"errors\":[\"1 error occurred:\\n\\t* permission denied\\n\\n\"]}",
                "team-a",
                "denied settled | `https://vault:8200`: read of `secret/app/db` in namespace `team-a`: permission denied by policy | allow it in a policy of the token: `path \"team-a/secret/data/app/db\" { capabilities = [\"read\"] }`",
            ),
            (
                404,
                r#"{"errors":[]}"#,
                "",
                "not_found settled | `https://vault:8200`: read of `secret/app/db`: no such secret | write it: `bao kv put -mount=secret app/db NAME=VALUE`; or correct `key`, or set `kvVersion` to that of the mount",
            ),
            (
                404,
                r#"{"data":{"data":null,"metadata":{"deletion_time":"2026-11-24T05:59:48Z","version":3}}}"#,
                "",
                "deleted settled | `https://vault:8200`: read of `secret/app/db`: the version was deleted at 2026-11-24T05:59:48Z | bring it back: `bao kv undelete -mount=secret -versions=3 app/db`; or write a new version: `bao kv put -mount=secret app/db NAME=VALUE`",
            ),
            (
                404,
                r#"{"errors":["no handler for route \"a/b\". route entry not found."]}"#,
                "",
                "not_found settled | `https://vault:8200`: read of `secret/app/db`: nothing is mounted there | correct `mountPath` or `namespace` (`bao secrets list` shows what there is), or mount it: `bao secrets enable -path=secret -version=2 kv`",
            ),
            (
                404,
                r#"{"errors":["namespace not found"]}"#,
                "nope",
                "not_found settled | `https://vault:8200`: read of `secret/app/db` in namespace `nope`: there is no such namespace | correct `namespace` (`bao namespace list` shows what there is), or make it: `bao namespace create nope`",
            ),
            (
                503,
                r#"{"errors":["Vault is sealed"]}"#,
                "",
                "sealed again | `https://vault:8200`: read of `secret/app/db`: the server is sealed | unseal it: `bao operator unseal`, once for each key that it asks for",
            ),
            (
                200,
                "<html>",
                "",
                "bad_response settled | `https://vault:8200`: read of `secret/app/db`: the body is not the JSON of the API | let `address` name the server itself: what answers there is something else, such as a page before it",
            ),
        ] {
            assert_eq!(line(&told(read, status, body, namespace)), expected);
        }
    }

    #[test]
    fn a_login_that_fails_may_pass_by_itself_unless_the_credential_was_refused() {
        for (status, body, error_type) in [
            (
                400,
                r#"{"errors":["invalid role or secret ID"]}"#,
                ErrorType::Auth,
            ),
            (
                404,
                r#"{"errors":["no handler for route"]}"#,
                ErrorType::Auth,
            ),
            (403, "<html>", ErrorType::Denied),
            (200, "<html>", ErrorType::BadResponse),
            (429, "{}", ErrorType::Throttled),
        ] {
            let failure = told(Operation::Login, status, body, "").failure;
            assert_eq!(failure.error_type, error_type, "{status} {body}");
            let refused = (400..=403).contains(&status) && error_type == ErrorType::Auth;
            let pace = if refused {
                Retry::Settled
            } else {
                Retry::Backoff(None)
            };
            assert_eq!(failure.retry, pace, "{status} {body}");
        }
    }

    #[test]
    fn a_servers_text_is_short_and_cannot_act_on_a_terminal() {
        let body = format!("{{\"errors\":[\"a\\u001b[31mb\\rc{}\"]}}", "x".repeat(500));
        let message = told(Operation::Read, 400, &body, "").failure.message;
        let (_, text) = message.split_once("(400): ").unwrap();
        assert!(text.starts_with("a\\u{1b}[31mb\\rcxxx"), "{text}");
        assert!(text.ends_with("x…") && text.len() < 300, "{text}");
        let body = r#"{"data":{"data":null,"metadata":{"deletion_time":"\u001b]0;x\u0007"}}}"#;
        let message = told(Operation::Read, 404, body, "").failure.message;
        assert!(
            message.ends_with(r"deleted at \u{1b}]0;x\u{7}"),
            "{message}"
        );
    }

    #[test]
    fn a_denial_names_the_line_that_the_policy_lacks_as_it_must_stand_there() {
        for (login, namespace, key, expected) in [
            (
                "team-a",
                "team-a",
                "app/db",
                "allow it in namespace `team-a` in a policy of the token: `path \"secret/data/app/db\" { capabilities = [\"read\"] }`",
            ),
            (
                "",
                "team-a",
                "say \"x\"",
                "allow it in a policy of the token: `path \"team-a/secret/data/say \\\"x\\\"\" { capabilities = [\"read\"] }`",
            ),
            (
                "team-a",
                "team-b",
                "app/db",
                "log in elsewhere: no policy of namespace `team-a` reaches `team-b`, so let `authNamespace` name it or one above",
            ),
        ] {
            let mut source = source();
            source.session.namespace = login.into();
            source.namespace = namespace.into();
            source.key = key.into();
            let asked = Asked {
                address: "https://vault:8200",
                operation: Operation::Read,
                what: String::new(),
                namespace,
                source: Some(&source),
                sent: Vec::new(),
            };
            let error = asked.denied_by_policy();
            assert_eq!(error.failure.remedy.as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_was_sent_does_not_come_back() {
        let secret = SecretString::new("hunter2".into());
        let asked = Asked {
            address: "https://vault:8200",
            operation: Operation::Login,
            what: "login at `auth/approle`".into(),
            namespace: "",
            source: None,
            sent: vec![&secret],
        };
        let body = r#"{"errors":["bad secret ID hunter2"]}"#;
        let error = asked.refused(&Reply {
            status: 400,
            meaning: meaning(Operation::Login, 400, body.as_bytes()),
            retry_after: None,
            body: SecretBytes::default(),
            _place: None,
            span: Default::default(),
        });
        assert!(
            error.to_string().ends_with("bad secret ID [redacted]"),
            "{error}"
        );
        // Not even the beginning of it, where the text is cut.
        for before in 190..200 {
            let text = asked.foreign(&format!("{}hunter2", "x".repeat(before)));
            assert!(!text.contains('h'), "{text}");
        }
    }
}
