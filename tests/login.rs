//! Ways to log in, on a real server: token, AppRole in its forms, and none at all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::fs;

use serde_json::json;
use support::{Agent, CountingProxy, Daemon, OpenBao, Request, SOON, Setup, unique};

/// A configuration with these keys of the store, and one secret.
fn with_store(keys: &str, mount: &str) -> Setup {
    Daemon::new(&format!(
        "secretStore:\n{keys}\nsecrets:
- {{ name: a, key: a, mountPath: {mount}, files: [{{ path: '@DIR@/a', field: x }}] }}\n"
    ))
}

/// Keys of a store, one a line, from `key: value, key: value`.
fn keys(text: &str) -> String {
    text.split(", ").map(|key| format!("  {key}\n")).collect()
}

fn a_secret(bao: &OpenBao) -> (String, String) {
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({ "x": "value" }));
    let policy = bao.reader_policy(&mount);
    (mount, policy)
}

fn is_login(request: &Request) -> bool {
    request.target.ends_with("/login")
}

#[test]
fn a_token_inline_or_in_a_file() {
    let bao = OpenBao::shared();
    let (mount, policy) = a_secret(&bao);
    let token = bao.token(&[&policy], "1h", &json!(null));
    let address = bao.address();
    for store in [
        format!("address: {address}, authMethod: token, token: {token}"),
        format!("address: {address}, token: {token}"),
        format!("address: {address}, tokenFile: '@DIR@/token'"),
    ] {
        let done = with_store(&keys(&store), &mount)
            .file("token", &format!("\n{token}  \n"))
            .any_stderr()
            .once();
        assert_eq!(done.read("a"), "value", "{store}");
        assert!(!done.stderr.contains(&token), "{store}");
    }
    assert!(
        bao.lookup(&token).is_some(),
        "it is not the daemon's to revoke"
    );
}

#[test]
fn a_new_token_in_the_file_is_used_and_the_old_one_no_longer() {
    let bao = OpenBao::shared();
    let (mount, policy) = a_secret(&bao);
    let (old, new) = (
        bao.token(&[&policy], "1h", &json!(null)),
        bao.token(&[&policy], "1h", &json!(null)),
    );
    let proxy = CountingProxy::start(bao.endpoint());
    let store = keys(&format!(
        "address: {}, tokenFile: '@DIR@/token'",
        proxy.address()
    ));
    let config = format!(
        "secretStore:\n{store}secrets:\n- {{ name: a, key: a, mountPath: {mount}, \
         refreshInterval: 1s, files: [{{ path: '@DIR@/a', field: x }}] }}\n"
    );
    let daemon = Daemon::new(&config).file("token", &old).start();
    daemon.wait_file("a", "value", SOON);
    let staged = daemon.path("token.new");
    fs::write(&staged, &new).unwrap();
    fs::rename(&staged, daemon.path("token")).unwrap();
    let with = |token: &str| {
        let token = token.to_owned();
        move |request: &Request| {
            request.target.contains("/data/") && request.header("X-Vault-Token") == Some(&token)
        }
    };
    proxy.wait_for(1, SOON, with(&new));
    proxy.clear();
    proxy.wait_for(2, SOON, with(&new));
    assert_eq!(proxy.count(with(&old)), 0);
}

#[test]
fn approle_from_values_files_and_at_a_mount_of_its_own() {
    let bao = OpenBao::shared();
    let (mount, policy) = a_secret(&bao);
    let role = unique("role");
    let (role_id, secret_id) = bao.approle(&role, &json!({ "token_policies": [policy] }));
    let elsewhere = unique("machines");
    bao.enable_auth(&elsewhere, "approle");
    let at = format!("auth/{elsewhere}/role/app");
    bao.call(
        "POST",
        &at,
        &json!({ "token_policies": [policy], "role_id": "the-machines" }),
    );
    let made = bao.call("POST", &format!("{at}/secret-id"), &json!({}));
    let other_secret_id = made["data"]["secret_id"].as_str().unwrap();
    let proxy = CountingProxy::start(bao.endpoint());
    let address = proxy.address();
    for (store, path) in [
        (
            format!("address: {address}, roleId: {role_id}, secretId: {secret_id}"),
            "auth/approle/login".to_owned(),
        ),
        (
            format!(
                "address: {address}, authMethod: approle, roleIdFile: '@DIR@/role', \
                 secretIdFile: '@DIR@/secret'"
            ),
            "auth/approle/login".to_owned(),
        ),
        (
            format!(
                "address: {address}, roleId: the-machines, secretId: {other_secret_id}, \
                 authMount: {elsewhere}"
            ),
            format!("auth/{elsewhere}/login"),
        ),
    ] {
        proxy.clear();
        let done = with_store(&keys(&store), &mount)
            .file("role", &format!("{role_id}\n"))
            .file("secret", &format!(" {secret_id}\n"))
            .any_stderr()
            .once();
        assert_eq!(done.read("a"), "value", "{store}");
        assert_eq!(
            proxy.count(|request| request.is("POST", &path)),
            1,
            "{store}"
        );
        assert_eq!(proxy.count(is_login), 1, "{store}");
        let end = "auth/token/revoke-self";
        assert_eq!(
            proxy.count(|request| request.is("POST", end)),
            1,
            "at the end"
        );
        for secret in [&*role_id, &*secret_id, other_secret_id] {
            assert!(!done.stderr.contains(secret), "{store}");
        }
        for request in proxy.requests() {
            assert_eq!(request.header("X-Vault-Request"), Some("true"));
        }
    }
}

#[test]
fn approle_without_a_secret_id_where_the_role_needs_none() {
    let bao = OpenBao::shared();
    let (mount, policy) = a_secret(&bao);
    let role = unique("role");
    bao.enable_auth("approle", "approle");
    let path = format!("auth/approle/role/{role}");
    let options = json!({
        "token_policies": [policy], "bind_secret_id": false, "token_bound_cidrs": ["127.0.0.1/32"],
        "role_id": role,
    });
    bao.call("POST", &path, &options);
    let store = keys(&format!(
        "address: {}, authMethod: approle, roleId: {role}",
        bao.address()
    ));
    assert_eq!(
        with_store(&store, &mount).any_stderr().once().read("a"),
        "value"
    );

    bao.call(
        "POST",
        &path,
        &json!({ "bind_secret_id": true, "token_policies": [policy] }),
    );
    let done = with_store(&store, &mount).status(1).any_stderr().run(&[
        "run",
        "--once",
        "--timeout",
        "1s",
    ]);
    assert!(
        done.stderr.contains("missing secret_id"),
        "the server's word: {}",
        done.stderr
    );
}

#[test]
fn a_wrapped_secret_id_is_unwrapped_once_and_only_if_it_was_made_where_it_should() {
    let bao = OpenBao::shared();
    let (mount, policy) = a_secret(&bao);
    let role = unique("role");
    let (role_id, _) = bao.approle(&role, &json!({ "token_policies": [policy] }));
    let proxy = CountingProxy::start(bao.endpoint());
    let wrapped = bao.wrapped_secret_id(&role, "5m");
    let store = |made_at: &str| {
        keys(&format!(
            "address: {}, roleId: {role_id}, secretIdFile: '@DIR@/wrapped', \
             secretIdWrappingPath: {made_at}",
            proxy.address()
        ))
    };
    let unwraps = || proxy.count(|request| request.target == "/v1/sys/wrapping/unwrap");

    let wrong = with_store(&store("auth/approle/role/another/secret-id"), &mount)
        .file("wrapped", &wrapped)
        .status(1)
        .any_stderr()
        .run(&["run", "--once", "--timeout", "1s"]);
    assert!(wrong.stderr.contains("not unwrapped"), "{}", wrong.stderr);
    assert!(!wrong.stderr.contains(&wrapped), "it is still good");
    assert_eq!(
        (unwraps(), proxy.count(is_login)),
        (0, 0),
        "looked up, not spent"
    );

    let right = store(&format!("auth/approle/role/{role}/secret-id"));
    let look = with_store(&right, &mount)
        .file("wrapped", &wrapped)
        .status(1)
        .any_stderr()
        .run(&["run", "--dry-run"]);
    assert!(
        look.stderr.contains("left for the daemon"),
        "{}",
        look.stderr
    );
    assert_eq!((unwraps(), proxy.count(is_login)), (0, 0));

    let config = with_store(&right, &mount).file("wrapped", &wrapped);
    assert_eq!(config.any_stderr().once().read("a"), "value");
    assert_eq!((unwraps(), proxy.count(is_login)), (1, 1));

    // Used up: a second daemon says that somebody was there before it.
    let again = with_store(&right, &mount)
        .file("wrapped", &wrapped)
        .status(1)
        .any_stderr()
        .run(&["run", "--once", "--timeout", "1s"]);
    assert!(again.stderr.contains("somebody else"), "{}", again.stderr);
}

#[test]
fn a_dead_token_is_replaced_by_a_login_with_the_secret_id_unwrapped_before() {
    let bao = OpenBao::shared();
    let (mount, policy) = a_secret(&bao);
    let role = unique("role");
    let (role_id, _) = bao.approle(&role, &json!({ "token_policies": [policy] }));
    let proxy = CountingProxy::start(bao.endpoint());
    let daemon = Daemon::new(&format!(
        "secretStore:
  address: {}
  roleId: {role_id}
  secretIdFile: '@DIR@/wrapped'
  secretIdWrappingPath: auth/approle/role/{role}/secret-id
secrets: [{{ name: a, key: a, mountPath: {mount}, refreshInterval: 1s, \
            files: [{{ path: '@DIR@/a', field: x }}] }}]\n",
        proxy.address()
    ))
    .file("wrapped", &bao.wrapped_secret_id(&role, "5m"))
    .start();
    let is_read = |request: &Request| request.target.contains("/data/");
    let token = |request: &Request| request.header("X-Vault-Token").unwrap().to_owned();
    let first = token(&proxy.wait_for(1, SOON, is_read)[0]);
    daemon.wait_file("a", "value", SOON);
    bao.revoke(&first);
    bao.kv2_put(&mount, "a", &json!({ "x": "after it" }));
    daemon.wait_file("a", "after it", SOON);
    assert_eq!(proxy.count(is_login), 2);
    assert_eq!(
        proxy.count(|request| request.target.ends_with("/unwrap")),
        1
    );
}

#[test]
fn with_none_an_agent_on_the_way_adds_the_token() {
    let bao = OpenBao::shared();
    let (mount, policy) = a_secret(&bao);
    let token = bao.token(&[&policy], "1h", &json!(null));
    let agent = Agent::start(&bao.address(), &token);
    let socket = agent.socket();
    let store = keys(&format!(
        "address: 'unix://{}', authMethod: none",
        socket.display()
    ));
    let done = with_store(&store, &mount).any_stderr().once();
    assert_eq!(done.read("a"), "value");

    // Without the agent there is no token, and `none` sends none.
    let counting = CountingProxy::start(bao.endpoint());
    let store = keys(&format!(
        "address: {}, authMethod: none",
        counting.address()
    ));
    let done = with_store(&store, &mount).status(1).any_stderr().run(&[
        "run",
        "--once",
        "--timeout",
        "1s",
    ]);
    assert!(done.stderr.contains("denied"), "{}", done.stderr);
    for request in counting.requests() {
        assert_eq!(request.header("X-Vault-Token"), None);
        assert!(
            request.target.contains("/data/"),
            "no login, no look-up: {}",
            request.target
        );
    }
}
