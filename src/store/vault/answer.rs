//! What an answer means: status, body and what was asked in, [`Meaning`] out. Pure.
//!
//! The bodies in the tests were measured on OpenBao 2.7.2; Vault differs where noted.

use super::envelope::Envelope;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A login.
    Login,
    /// A read of a secret.
    Read,
    /// `auth/token/lookup-self`.
    LookupSelf,
    /// `auth/token/renew-self`.
    Renew,
    /// `sys/wrapping/lookup` or `sys/wrapping/unwrap`.
    Unwrap,
    /// `auth/token/revoke-self`.
    Revoke,
}

/// What the server said. Texts are as it sent them: who shows one makes it fit to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Success: the body is worth reading.
    Good,
    /// Sealed.
    Sealed,
    /// Not initialised (501).
    Uninitialised,
    /// 429.
    Throttled,
    /// A server or something before it in trouble; it may pass. With the server's own text.
    Unavailable(Option<String>),
    /// 408: something before the server gave up.
    TimedOut,
    /// The token is not, or no longer, one of the server's.
    TokenDead,
    /// The token lives, its policies do not allow this.
    Policy,
    /// 401 or 403 from something that is not the server.
    Foreign,
    /// The server does not take the credential. With its text.
    CredentialRefused(Option<String>),
    /// Nothing at this path.
    Absent,
    /// The version was deleted, at the time the server gives.
    Deleted(String),
    /// The version was destroyed.
    Destroyed,
    /// No engine is mounted there.
    NoMount,
    /// The engine there is KV version 2, and was asked as version 1.
    OtherKvVersion,
    /// No such namespace.
    NoNamespace,
    /// 404 that does not say what is missing, or is not the server's.
    NotFound(Option<String>),
    /// The request itself was refused.
    Refused(Option<String>),
    /// The body is not what the API promises.
    Garbage,
}

/// What the answer to `operation` means.
#[must_use]
pub fn meaning(operation: Operation, status: u16, body: &[u8]) -> Meaning {
    let envelope = Envelope::parse(body);
    let errors = envelope.as_ref().and_then(Envelope::errors);
    let items = items(errors.unwrap_or_default());
    let text = (!items.is_empty()).then(|| items.join("; "));
    let says = |part: &str| items.iter().any(|item| item.contains(part));
    match status {
        204 if operation != Operation::Revoke => Meaning::Garbage,
        204 => Meaning::Good,
        200..=299 if envelope.is_some() => Meaning::Good,
        200..=299 => Meaning::Garbage,
        503 if says("sealed") => Meaning::Sealed,
        501 => Meaning::Uninitialised,
        429 => Meaning::Throttled,
        408 => Meaning::TimedOut,
        412 | 472 | 473 | 500..=599 | 300..=399 => Meaning::Unavailable(text),
        // A standby just behind the leader, right after a login (Vault#10990).
        400 if says("read-only storage") || says("readonly storage") => Meaning::Unavailable(text),
        401 | 403 if errors.is_none() => Meaning::Foreign,
        400 | 401 | 403 if matches!(operation, Operation::Login | Operation::Unwrap) => {
            Meaning::CredentialRefused(text)
        }
        401 => Meaning::Foreign,
        403 => refusal(errors.unwrap_or_default(), &items),
        404 => missing(envelope.as_ref(), &items, text),
        400..=499 => Meaning::Refused(text),
        _ => Meaning::Garbage,
    }
}

/// Which of its two kinds a 403 of the server is. A dead token is told by `permission denied`
/// alone, or (Vault since 1.16) by `invalid token` beside it; a policy by `1 error occurred:`
/// before it.
fn refusal(errors: &[String], items: &[&str]) -> Meaning {
    let plain = matches!(errors, [only] if only.trim() == "permission denied");
    if plain || items.iter().any(|item| item.contains("invalid token")) {
        Meaning::TokenDead
    } else {
        Meaning::Policy
    }
}

/// Which of its meanings a 404 has.
fn missing(envelope: Option<&Envelope<'_>>, items: &[&str], text: Option<String>) -> Meaning {
    let says = |part: &str| items.iter().any(|item| item.contains(part));
    let Some(envelope) = envelope else {
        return Meaning::NotFound(None);
    };
    if says("no handler for route") {
        return Meaning::NoMount;
    }
    if says("namespace not found") {
        return Meaning::NoNamespace;
    }
    if text.is_some() {
        return Meaning::NotFound(text);
    }
    if let Some(Versioned { metadata }) = envelope.data_as::<Versioned>() {
        if metadata.destroyed {
            return Meaning::Destroyed;
        }
        if !metadata.deletion_time.is_empty() {
            return Meaning::Deleted(metadata.deletion_time);
        }
    }
    let warned = envelope.warnings();
    if warned
        .iter()
        .any(|text| text.contains("for a versioned K/V"))
    {
        return Meaning::OtherKvVersion;
    }
    Meaning::Absent
}

/// The version that an answer about a KV v2 secret is of.
#[must_use]
pub(super) fn version_of(body: &[u8]) -> Option<u64> {
    let versioned = Envelope::parse(body)?.data_as::<Versioned>()?;
    versioned.metadata.version
}

#[derive(serde::Deserialize)]
struct Versioned {
    metadata: VersionState,
}

#[derive(serde::Deserialize)]
struct VersionState {
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
    version: Option<u64>,
}

/// As many of them are looked at; real answers hold two or three.
const MOST_ITEMS: usize = 16;

/// The single errors in the server's texts: Vault and OpenBao print a list as
/// `2 errors occurred:\n\t* first\n\t* second\n\n`.
fn items(errors: &[String]) -> Vec<&str> {
    errors
        .iter()
        .flat_map(|text| text.lines())
        .map(|line| line.trim().trim_start_matches("* "))
        .filter(|line| !line.is_empty() && !is_count(line))
        .take(MOST_ITEMS)
        .collect()
}

fn is_count(line: &str) -> bool {
    line.trim_start_matches(|c: char| c.is_ascii_digit())
        .trim_start()
        .trim_start_matches("errors")
        .trim_start_matches("error")
        == " occurred:"
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENIED: &str = r#"{"errors":["permission denied"]}"#;
    const POLICY: &str = "{\"errors\":[\"1 error occurred:\\n\\t* permission denied\\n\\n\"]}";
    const VAULT_DEAD: &str =
        "{\"errors\":[\"2 errors occurred:\\n\\t* permission denied\\n\\t* invalid token\\n\\n\"]}";

    fn read(status: u16, body: &str) -> Meaning {
        meaning(Operation::Read, status, body.as_bytes())
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_403_tells_a_dead_token_from_a_policy_from_a_proxy() {
        for (body, expected) in [
            (DENIED, Meaning::TokenDead),
            (VAULT_DEAD, Meaning::TokenDead),
            (r#"{"errors":["invalid token"]}"#, Meaning::TokenDead),
            (
                r#"{"errors":["bad token","invalid token"]}"#,
                Meaning::TokenDead,
            ),
            (POLICY, Meaning::Policy),
            (
                r#"{"errors":["permission denied","permission denied"]}"#,
                Meaning::Policy,
            ),
            (r#"{"errors":[]}"#, Meaning::Policy),
            (r#"{"errors":["something new"]}"#, Meaning::Policy),
            ("<html>403 Forbidden</html>", Meaning::Foreign),
            (r#"{"message":"forbidden"}"#, Meaning::Foreign),
            (r#"["permission denied"]"#, Meaning::Foreign),
            (r#"{"errors":["permission den"#, Meaning::Foreign),
            ("", Meaning::Foreign),
        ] {
            assert_eq!(read(403, body), expected, "{body}");
        }
    }

    #[test]
    fn a_404_has_four_meanings() {
        for (body, expected) in [
            (r#"{"errors":[]}"#, Meaning::Absent),
            (
                r#"{"request_id":"x","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":null,"metadata":{"created_time":"2026-11-24T05:59:47Z","custom_metadata":{"owner":"me"},"deletion_time":"2026-11-24T05:59:48.011559739Z","destroyed":false,"version":1}},"wrap_info":null,"warnings":null,"auth":null}"#,
                Meaning::Deleted("2026-11-24T05:59:48.011559739Z".into()),
            ),
            (
                r#"{"data":{"data":null,"metadata":{"deletion_time":"","destroyed":true,"version":2}},"warnings":null}"#,
                Meaning::Destroyed,
            ),
            (
                r#"{"errors":["no handler for route \"nomount/data/x\". route entry not found."]}"#,
                Meaning::NoMount,
            ),
            (
                r#"{"errors":["namespace not found"]}"#,
                Meaning::NoNamespace,
            ),
            (
                r#"{"data":null,"warnings":["Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use."]}"#,
                Meaning::OtherKvVersion,
            ),
            (
                r#"{"errors":["unsupported path"]}"#,
                Meaning::NotFound(text("unsupported path")),
            ),
            ("<html>not here</html>", Meaning::NotFound(None)),
        ] {
            assert_eq!(read(404, body), expected, "{body}");
        }
    }

    #[test]
    fn what_may_pass_by_itself() {
        for (status, body, expected) in [
            (503, r#"{"errors":["Vault is sealed"]}"#, Meaning::Sealed),
            (503, r#"{"errors":["OpenBao is sealed"]}"#, Meaning::Sealed),
            (503, "upstream gone", Meaning::Unavailable(None)),
            (
                500,
                r#"{"errors":["internal error"]}"#,
                Meaning::Unavailable(text("internal error")),
            ),
            (502, "<html>", Meaning::Unavailable(None)),
            (412, "{}", Meaning::Unavailable(None)),
            (472, "", Meaning::Unavailable(None)),
            (473, "", Meaning::Unavailable(None)),
            (501, "{}", Meaning::Uninitialised),
            (408, "", Meaning::TimedOut),
            (307, "", Meaning::Unavailable(None)),
            (
                429,
                r#"{"errors":["request path \"secret/data/foo\": rate limit quota exceeded"]}"#,
                Meaning::Throttled,
            ),
            (
                400,
                r#"{"errors":["cannot write to readonly storage"]}"#,
                Meaning::Unavailable(text("cannot write to readonly storage")),
            ),
        ] {
            assert_eq!(read(status, body), expected, "{status} {body}");
        }
        assert_eq!(
            meaning(Operation::Login, 503, br#"{"errors":["Vault is sealed"]}"#),
            Meaning::Sealed
        );
    }

    #[test]
    fn at_a_login_a_refusal_is_about_the_credential() {
        for (status, body, expected) in [
            (
                400,
                r#"{"errors":["invalid role or secret ID"]}"#,
                Meaning::CredentialRefused(text("invalid role or secret ID")),
            ),
            (
                400,
                r#"{"errors":["missing secret_id"]}"#,
                Meaning::CredentialRefused(text("missing secret_id")),
            ),
            (
                401,
                r#"{"errors":["no"]}"#,
                Meaning::CredentialRefused(text("no")),
            ),
            (
                403,
                DENIED,
                Meaning::CredentialRefused(text("permission denied")),
            ),
            (403, "<html>", Meaning::Foreign),
            (
                404,
                r#"{"errors":["no handler for route \"auth/nope/login\". route entry not found."]}"#,
                Meaning::NoMount,
            ),
            (
                404,
                r#"{"errors":["namespace not found"]}"#,
                Meaning::NoNamespace,
            ),
        ] {
            assert_eq!(
                meaning(Operation::Login, status, body.as_bytes()),
                expected,
                "{status} {body}"
            );
        }
        assert_eq!(
            meaning(
                Operation::Unwrap,
                400,
                br#"{"errors":["wrapping token is not valid or does not exist"]}"#
            ),
            Meaning::CredentialRefused(text("wrapping token is not valid or does not exist"))
        );
    }

    #[test]
    fn a_body_that_is_not_the_servers_is_never_a_secret() {
        for body in [
            "",
            "<html>",
            "{\"data\":",
            "[]",
            "null",
            "[{\"x\":1}]",
            "{\"lease_id\":7}",
        ] {
            assert_eq!(read(200, body), Meaning::Garbage, "{body}");
        }
        assert_eq!(read(204, ""), Meaning::Garbage);
        assert_eq!(read(101, "{}"), Meaning::Garbage);
        assert_eq!(read(999, "{}"), Meaning::Garbage);
        assert_eq!(meaning(Operation::Revoke, 204, b""), Meaning::Good);
        assert_eq!(read(200, "{}"), Meaning::Good);
        assert_eq!(read(400, "{}"), Meaning::Refused(None));
    }

    #[test]
    fn of_a_million_errors_a_few_are_looked_at() {
        for errors in [
            vec!["x"; 1_000_000].join("\",\""),
            vec!["x"; 1_000_000].join("\\n"),
        ] {
            let body = format!("{{\"errors\":[\"{errors}\"]}}");
            let expected = vec!["x"; MOST_ITEMS].join("; ");
            assert_eq!(read(400, &body), Meaning::Refused(Some(expected)));
        }
    }
}
