//! The words, as people read them.

use super::*;
use crate::plan::SessionKey;
use crate::secret::SecretBytes;
use crate::store::vault::answer::meaning;

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
