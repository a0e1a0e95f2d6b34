//! What an operator does on the server, as one call each: mounts, secrets, policies, tokens.

use serde_json::{Value, json};

use crate::support::http::Endpoint;
use crate::support::{SOON, canary, poll};

/// One namespace of a server, with the root token. Every method panics, with what the server
/// said, when it refuses; [`Api::request`] hands refusals back.
#[derive(Clone, Debug)]
pub struct Api {
    endpoint: Endpoint,
    token: String,
    namespace: String,
}

impl Api {
    pub(super) fn new(endpoint: Endpoint, token: String) -> Self {
        Self {
            endpoint,
            token,
            namespace: String::new(),
        }
    }

    /// Where the server listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// As in `secretStore.address`.
    pub fn address(&self) -> String {
        self.endpoint.url()
    }

    /// A token that may do everything.
    pub fn root_token(&self) -> &str {
        &self.token
    }

    /// Any request: `path` without `/v1/`; no token, namespace or body where they are empty or
    /// null. Status and JSON as they came.
    #[track_caller]
    pub fn request(
        &self,
        method: &str,
        path: &str,
        token: &str,
        namespace: &str,
        body: &Value,
    ) -> (u16, Value) {
        self.send(
            method,
            path,
            &[("X-Vault-Token", token), ("X-Vault-Namespace", namespace)],
            body,
        )
    }

    #[track_caller]
    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> (u16, Value) {
        let headers: Vec<_> = headers
            .iter()
            .copied()
            .filter(|(_, v)| !v.is_empty())
            .collect();
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        match self
            .endpoint
            .exchange(method, &format!("/v1/{path}"), &headers, &body)
        {
            Ok(answer) => {
                let json = answer.json();
                canary::remember_answer(&json);
                (answer.status, json)
            }
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// As the operator, in this namespace; any refusal is the test's failure.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.try_call(method, path, body);
        assert!(
            status < 400,
            "{method} {path} as the operator: {status} {answer}"
        );
        answer
    }

    #[track_caller]
    fn try_call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.request(method, path, &self.token, &self.namespace, body)
    }

    /// Makes a namespace inside this one; the same methods work in it.
    #[track_caller]
    pub fn namespace(&self, name: &str) -> Self {
        self.call("POST", &format!("sys/namespaces/{name}"), &json!({}));
        let namespace = format!("{}/{name}", self.namespace)
            .trim_matches('/')
            .to_owned();
        Self {
            namespace,
            ..self.clone()
        }
    }

    /// A KV engine of version 1 or 2 at `mount`, ready for use.
    #[track_caller]
    pub fn enable_kv(&self, mount: &str, version: u8) {
        let body = json!({ "type": "kv", "options": { "version": version.to_string() } });
        self.call("POST", &format!("sys/mounts/{mount}"), &body);
        if version == 2 {
            // For a moment after its birth it answers 400, "upgrading".
            let config = format!("{mount}/config");
            poll(SOON, || {
                (self.try_call("GET", &config, &Value::Null).0 == 200).then_some(())
            })
            .expect("KV v2 is not ready");
        }
    }

    /// A new engine at a name of its own, for a test on the shared server.
    #[track_caller]
    pub fn fresh_kv(&self, version: u8) -> String {
        let mount = crate::support::unique("kv");
        self.enable_kv(&mount, version);
        mount
    }

    /// Writes a KV v2 secret; gives its new version.
    #[track_caller]
    pub fn kv2_put(&self, mount: &str, key: &str, fields: &Value) -> u64 {
        canary::remember_fields(fields);
        let body = json!({ "data": fields });
        let answer = self.call("POST", &format!("{mount}/data/{key}"), &body);
        answer["data"]["version"].as_u64().expect("a version")
    }

    /// Sets KV v2 metadata, such as `{"custom_metadata": {…}}`.
    #[track_caller]
    pub fn kv2_metadata(&self, mount: &str, key: &str, metadata: &Value) {
        self.call("POST", &format!("{mount}/metadata/{key}"), metadata);
    }

    /// Writes a KV v1 secret.
    #[track_caller]
    pub fn kv1_put(&self, mount: &str, key: &str, fields: &Value) {
        canary::remember_fields(fields);
        self.call("POST", &format!("{mount}/{key}"), fields);
    }

    /// Deletes a KV v1 secret.
    #[track_caller]
    pub fn kv1_delete(&self, mount: &str, key: &str) {
        self.call("DELETE", &format!("{mount}/{key}"), &Value::Null);
    }

    /// Deletes the newest version of a KV v2 secret; [`Api::undelete`] brings it back.
    #[track_caller]
    pub fn delete(&self, mount: &str, key: &str) {
        self.call("DELETE", &format!("{mount}/data/{key}"), &Value::Null);
    }

    /// Brings deleted versions back.
    #[track_caller]
    pub fn undelete(&self, mount: &str, key: &str, versions: &[u64]) {
        self.call(
            "POST",
            &format!("{mount}/undelete/{key}"),
            &json!({ "versions": versions }),
        );
    }

    /// Destroys versions for good.
    #[track_caller]
    pub fn destroy(&self, mount: &str, key: &str, versions: &[u64]) {
        self.call(
            "POST",
            &format!("{mount}/destroy/{key}"),
            &json!({ "versions": versions }),
        );
    }

    /// Removes a KV v2 secret, its versions and metadata, as if it had never been.
    #[track_caller]
    pub fn purge(&self, mount: &str, key: &str) {
        self.call("DELETE", &format!("{mount}/metadata/{key}"), &Value::Null);
    }

    /// Writes a policy.
    #[track_caller]
    pub fn policy(&self, name: &str, hcl: &str) {
        self.call(
            "POST",
            &format!("sys/policies/acl/{name}"),
            &json!({ "policy": hcl }),
        );
    }

    /// A policy of its own that may read below `mount`; gives its name.
    #[track_caller]
    pub fn reader_policy(&self, mount: &str) -> String {
        let name = crate::support::unique("read");
        self.policy(
            &name,
            &format!("path \"{mount}/*\" {{ capabilities = [\"read\"] }}"),
        );
        name
    }

    /// An auth method at a mount; fine when it is there already.
    #[track_caller]
    pub fn enable_auth(&self, mount: &str, kind: &str) {
        let path = format!("sys/auth/{mount}");
        let (status, answer) = self.try_call("POST", &path, &json!({ "type": kind }));
        let there = answer.to_string().contains("path is already in use");
        assert!(
            status < 400 || there,
            "enable auth `{mount}`: {status} {answer}"
        );
    }

    /// A role at `auth/approle`, with options such as `{"token_policies": ["read-1"],
    /// "token_ttl": "20s"}`; gives role ID and a first secret ID.
    #[track_caller]
    pub fn approle(&self, role: &str, options: &Value) -> (String, String) {
        self.enable_auth("approle", "approle");
        let path = format!("auth/approle/role/{role}");
        self.call("POST", &path, options);
        let answer = self.call("GET", &format!("{path}/role-id"), &Value::Null);
        let role_id = text(&answer, "/data/role_id");
        (role_id, self.secret_id(role))
    }

    /// A further secret ID of a role.
    #[track_caller]
    pub fn secret_id(&self, role: &str) -> String {
        let path = format!("auth/approle/role/{role}/secret-id");
        text(&self.call("POST", &path, &json!({})), "/data/secret_id")
    }

    /// A secret ID inside a wrapping token, which is what this gives. `ttl` as `60s`.
    #[track_caller]
    pub fn wrapped_secret_id(&self, role: &str, ttl: &str) -> String {
        let path = format!("auth/approle/role/{role}/secret-id");
        let headers = [
            ("X-Vault-Token", self.token.as_str()),
            ("X-Vault-Namespace", &self.namespace),
            ("X-Vault-Wrap-TTL", ttl),
        ];
        let (status, answer) = self.send("POST", &path, &headers, &json!({}));
        assert_eq!(status, 200, "wrap a secret ID of `{role}`: {answer}");
        text(&answer, "/wrap_info/token")
    }

    /// A token with these policies; `ttl` as `20s`; options such as `{"num_uses": 2}`,
    /// `{"type": "batch"}` or null.
    #[track_caller]
    pub fn token(&self, policies: &[&str], ttl: &str, options: &Value) -> String {
        let mut body = json!({ "policies": policies, "ttl": ttl });
        if let Some(options) = options.as_object() {
            body.as_object_mut().unwrap().extend(options.clone());
        }
        text(
            &self.call("POST", "auth/token/create", &body),
            "/auth/client_token",
        )
    }

    /// Ends a token.
    #[track_caller]
    pub fn revoke(&self, token: &str) {
        self.call("POST", "auth/token/revoke", &json!({ "token": token }));
    }

    /// What the server knows of a token (`ttl`, `num_uses`, …); `None` when it is dead.
    #[track_caller]
    pub fn lookup(&self, token: &str) -> Option<Value> {
        let body = json!({ "token": token });
        let (status, answer) = self.try_call("POST", "auth/token/lookup", &body);
        (status == 200).then(|| answer["data"].clone())
    }

    /// At most `rate` requests in `interval` (`1s`) on `path` (empty: everywhere), then 429.
    #[track_caller]
    pub fn rate_limit(&self, name: &str, path: &str, rate: f64, interval: &str) {
        let body = json!({ "path": path, "rate": rate, "interval": interval });
        self.call("POST", &format!("sys/quotas/rate-limit/{name}"), &body);
    }

    /// Takes a rate limit away.
    #[track_caller]
    pub fn lift_rate_limit(&self, name: &str) {
        self.call(
            "DELETE",
            &format!("sys/quotas/rate-limit/{name}"),
            &Value::Null,
        );
    }
}

#[track_caller]
fn text(answer: &Value, pointer: &str) -> String {
    match answer.pointer(pointer).and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => panic!("no `{pointer}` in {answer}"),
    }
}
