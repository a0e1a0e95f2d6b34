//! Namespaces, credential sets and stores: whose token reads what where, and that they never mix.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use serde_json::json;
use support::{CountingProxy, Daemon, OpenBao, Request, SOON, ScriptedServer, unique};

/// A namespace with a secret `app` at `kv`, and a role that may read it.
struct Team {
    name: String,
    role_id: String,
    secret_id: String,
}

impl Team {
    fn new(bao: &OpenBao, value: &str) -> Self {
        let name = unique("team");
        let inner = bao.namespace(&name);
        inner.enable_kv("kv", 2);
        inner.kv2_put("kv", "app", &json!({ "x": value }));
        let policy = inner.reader_policy("kv");
        let (role_id, secret_id) = inner.approle("app", &json!({ "token_policies": [policy] }));
        Self {
            name,
            role_id,
            secret_id,
        }
    }

    fn approle(&self) -> String {
        format!(
            "authMethod: approle, roleId: {}, secretId: {}",
            self.role_id, self.secret_id
        )
    }
}

/// Namespaces of the logins, in no order.
fn login_namespaces(server: &ScriptedServer) -> Vec<String> {
    let mut all: Vec<_> = server
        .requests()
        .iter()
        .filter(|request| request.target.ends_with("/login"))
        .map(namespace)
        .collect();
    all.sort();
    all
}

fn namespace(request: &Request) -> String {
    request
        .header("X-Vault-Namespace")
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn two_namespaces_two_credential_sets_and_two_stores_never_mix() {
    let bao = OpenBao::shared();
    let (one, two) = (Team::new(&bao, "of one"), Team::new(&bao, "of two"));
    let other = OpenBao::dev().start();
    other.kv2_put("secret", "app", &json!({ "x": "of the other store" }));
    let token = other.token(&[&other.reader_policy("secret")], "1h", &json!(null));
    let proxy = CountingProxy::start(bao.endpoint());
    let proxy_of_other = CountingProxy::start(other.endpoint());
    let mut config = format!(
        "secretStore:
  address: '{}'
  mountPath: kv
  namespace: {}
  {}
  credentials:
    second: {{ {} }}
secretStores:
  other: {{ address: '{}', authMethod: token, token: {token} }}
secrets:\n",
        proxy.address(),
        one.name,
        one.approle().replace(", ", "\n  "),
        two.approle(),
        proxy_of_other.address(),
    );
    // Many of each, at once and again and again: one session's namespace must never be another's.
    for number in 0..6 {
        for (name, rest) in [
            ("one", String::new()),
            (
                "two",
                format!("credentials: second, namespace: {}, ", two.name),
            ),
            ("other", "store: other, mountPath: secret, ".to_owned()),
        ] {
            config += &format!(
                "- {{ name: {name}-{number}, key: app, {rest}refreshInterval: 1s, \
                 files: [{{ path: '@DIR@/{name}-{number}', field: x }}] }}\n"
            );
        }
    }
    let daemon = Daemon::new(&config).start();
    for number in 0..6 {
        daemon.wait_file(format!("one-{number}"), "of one", SOON);
        daemon.wait_file(format!("two-{number}"), "of two", SOON);
        daemon.wait_file(format!("other-{number}"), "of the other store", SOON);
    }
    let is_read = |request: &Request| request.target.contains("/data/");
    proxy.wait_for(36, SOON, is_read);
    proxy_of_other.wait_for(18, SOON, is_read);

    // One login for each, in the namespace of its secrets, and each token in its own only.
    let mut both = [one.name.clone(), two.name.clone()];
    both.sort();
    assert_eq!(login_namespaces(&proxy), both);
    assert_eq!(login_namespaces(&proxy_of_other), Vec::<String>::new());
    let mut used: Vec<_> = proxy
        .requests()
        .iter()
        .filter(|request| is_read(request))
        .map(|request| {
            assert_eq!(request.status.unwrap_or(200), 200, "{}", request.target);
            let token = request.header("X-Vault-Token").unwrap().to_owned();
            (namespace(request), token)
        })
        .collect();
    used.sort();
    used.dedup();
    assert_eq!(used.len(), 2, "a namespace, a token");
    assert_ne!(used[0].1, used[1].1);
    for request in proxy_of_other.requests() {
        assert_eq!(namespace(&request), "");
        assert_eq!(request.header("X-Vault-Token"), Some(&*token));
    }
}

#[test]
fn login_happens_in_one_namespace_and_the_read_in_another() {
    let bao = OpenBao::shared();
    let team = Team::new(&bao, "of the team");
    let root_mount = bao.fresh_kv(2);
    bao.kv2_put(&root_mount, "app", &json!({ "x": "of root" }));
    // A role of the root namespace whose policy reaches into the team's.
    let policy = unique("reach");
    bao.policy(
        &policy,
        &format!(
            "path \"{}/kv/data/app\" {{ capabilities = [\"read\"] }}\n\
             path \"{root_mount}/data/app\" {{ capabilities = [\"read\"] }}",
            team.name
        ),
    );
    let role = unique("role");
    let (role_id, secret_id) = bao.approle(&role, &json!({ "token_policies": [policy] }));
    let proxy = CountingProxy::start(bao.endpoint());
    let mut daemon = Daemon::new(&format!(
        "secretStore:
  address: '{}'
  namespace: {team}
  authNamespace: \"\"
  roleId: {role_id}
  secretId: {secret_id}
secrets:
- {{ name: inherited, key: app, mountPath: kv, files: [{{ path: '@DIR@/team', field: x }}] }}
- {{ name: root, key: app, mountPath: {root_mount}, namespace: \"\", \
     files: [{{ path: '@DIR@/root', field: x }}] }}\n",
        proxy.address(),
        team = team.name,
    ))
    .start();
    daemon.wait_file("team", "of the team", SOON);
    daemon.wait_file("root", "of root", SOON);
    assert_eq!(login_namespaces(&proxy), [""], "one session, of root");
    daemon.wait_ready(SOON);
    assert_eq!(daemon.stop().code(), Some(0));
    for request in proxy.requests() {
        let expected = if request.target.contains("/kv/data/") {
            &*team.name
        } else {
            ""
        };
        assert_eq!(namespace(&request), expected, "{}", request.target);
    }
    let revoked = proxy.count(|request| request.is("POST", "auth/token/revoke-self"));
    assert_eq!(
        revoked, 1,
        "in the namespace of the login, as all the token's own requests"
    );
}

#[test]
fn a_named_set_logs_in_where_its_secret_is_unless_it_says_otherwise() {
    let bao = OpenBao::shared();
    let team = Team::new(&bao, "of the team");
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "app", &json!({ "x": "of root" }));
    let policy = bao.reader_policy(&mount);
    let (role_id, secret_id) = bao.approle(&unique("role"), &json!({ "token_policies": [policy] }));
    let proxy = CountingProxy::start(bao.endpoint());
    let root = format!("authMethod: approle, roleId: {role_id}, secretId: {secret_id}");
    // The store's namespace is a wrong one: only what is said nearer may count.
    let done = Daemon::new(&format!(
        "secretStore:
  address: '{}'
  namespace: nowhere
  authMethod: token
  token: not-used
  credentials:
    team: {{ {} }}
    root: {{ {root} }}
    explicit: {{ {root}, authNamespace: \"\" }}
secrets:
- {{ name: team, key: app, mountPath: kv, namespace: {}, credentials: team, \
     files: [{{ path: '@DIR@/team', field: x }}] }}
- {{ name: root, key: app, mountPath: {mount}, namespace: \"\", credentials: root, \
     files: [{{ path: '@DIR@/root', field: x }}] }}
- {{ name: both, credentials: explicit, sources: {{ \
     a: {{ key: app, mountPath: {mount}, namespace: \"\" }}, \
     b: {{ key: app, mountPath: kv, namespace: {}, credentials: team }} }}, \
     files: [{{ path: '@DIR@/both', format: json }}, {{ path: '@DIR@/a', field: a.x }}] }}\n",
        proxy.address(),
        team.approle(),
        team.name,
        team.name,
    ))
    .any_stderr()
    .once();
    assert_eq!(done.read("team"), "of the team");
    assert_eq!(done.read("root"), "of root");
    assert_eq!(done.read("both"), r#"{"x":"of the team"}"#);
    assert_eq!(done.read("a"), "of root");
    let mut expected = vec![String::new(), String::new(), team.name.clone()];
    expected.sort();
    assert_eq!(login_namespaces(&proxy), expected);
}

#[test]
fn a_bad_credential_of_one_team_is_its_own_trouble() {
    let bao = OpenBao::shared();
    let team = Team::new(&bao, "of the team");
    let proxy = CountingProxy::start(bao.endpoint());
    let daemon = Daemon::new(&format!(
        "secretStore:
  address: '{}'
  namespace: {name}
  mountPath: kv
  {}
  credentials:
    bad: {{ authMethod: approle, roleId: {}, secretId: canary-of-the-bad }}
secrets:
- {{ name: good, key: app, refreshInterval: 1s, files: [{{ path: '@DIR@/good', field: x }}] }}
- {{ name: bad, key: app, credentials: bad, files: [{{ path: '@DIR@/bad', field: x }}] }}\n",
        proxy.address(),
        team.approle().replace(", ", "\n  "),
        team.role_id,
        name = team.name,
    ))
    .env("MAX_BACKOFF", "2s")
    .start();
    let entry = daemon.wait_secret("bad", SOON, |entry| entry["state"] == "failed");
    assert_eq!(entry["error_type"], "auth");
    assert!(
        entry["error"]
            .as_str()
            .unwrap()
            .contains("refused the credential (400)"),
        "{entry}"
    );
    daemon.wait_file("good", "of the team", SOON);
    proxy.wait_for(3, SOON, |request| request.target.ends_with("kv/data/app"));
    assert!(!daemon.path("bad").exists());
    assert!(!daemon.log().iter().any(|line| line.raw.contains("canary")));
}
