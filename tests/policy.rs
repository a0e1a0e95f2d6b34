//! `secrets-sync policy`: what it prints is enough for the daemon on a real server, and no line of it
//! is too much.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::collections::BTreeSet;

use serde_json::json;
use support::{Api, CountingProxy, Daemon, OpenBao, Request, SOON, unique};

/// The path of every block, and its text, in their order.
fn blocks(policy: &str) -> Vec<(String, String)> {
    policy
        .split("\n\n")
        .filter_map(|part| {
            let at = part.find("\npath \"")? + 1;
            let path = part[at..].split('"').nth(1).unwrap();
            Some((path.to_owned(), part[at..].to_owned()))
        })
        .collect()
}

/// A role of the root namespace with these policies and no others, not even `default`.
fn role(bao: &Api, role: &str, policy: &str) -> (String, String) {
    let options = json!({
        "token_policies": [policy], "token_no_default_policy": true,
        "token_ttl": "5s", "token_max_ttl": "1h",
    });
    bao.approle(role, &options)
}

/// What a request asks, as a policy of the root namespace names it: `read path`.
fn asked(request: &Request) -> String {
    let namespace = request.header("X-Vault-Namespace").unwrap_or_default();
    let path = request.target.strip_prefix("/v1/").unwrap();
    let path = path.split('?').next().unwrap();
    let verb = match request.method.as_str() {
        "GET" => "read",
        _ => "update",
    };
    let full = format!("{namespace}/{path}");
    format!("{verb} {}", full.trim_start_matches('/'))
}

struct World {
    bao: support::Shared,
    v2: String,
    v1: String,
    team: String,
}

impl World {
    fn new() -> Self {
        let bao = OpenBao::shared();
        let (v2, v1, team) = (bao.fresh_kv(2), bao.fresh_kv(1), unique("team"));
        bao.kv2_put(&v2, "app/db", &json!({ "x": "first" }));
        bao.kv2_put(&v2, "pinned", &json!({ "x": "pinned" }));
        bao.kv2_metadata(
            &v2,
            "app/db",
            &json!({ "custom_metadata": { "x": "meta" } }),
        );
        bao.kv1_put(&v1, "old/one", &json!({ "x": "of v1" }));
        let inner = bao.namespace(&team);
        inner.enable_kv("kv", 2);
        inner.kv2_put("kv", "theirs", &json!({ "x": "of the team" }));
        Self { bao, v2, v1, team }
    }

    /// The daemon of a role behind this address, with a secret for each kind of read.
    fn config(&self, address: &str, role: &str) -> String {
        let Self { v2, v1, team, .. } = self;
        let mut config = format!(
            "secretStore:
  address: '{address}'
  mountPath: {v2}
  authMethod: approle
  roleId: '${{ROLE_ID:-none}}'
  secretIdFile: '@DIR@/secret-id'
  secretIdWrappingPath: auth/approle/role/{role}/secret-id
secrets:\n"
        );
        for (name, source) in [
            ("data", "key: app/db".to_owned()),
            ("again", "key: /app//db/".to_owned()),
            ("meta", "key: app/db, metadata: true".to_owned()),
            ("pin", "key: pinned, version: 1".to_owned()),
            (
                "one",
                format!("key: old/one, mountPath: {v1}, kvVersion: v1"),
            ),
            (
                "team",
                format!("key: theirs, mountPath: kv, namespace: {team}"),
            ),
        ] {
            config += &format!(
                "- {{ name: {name}, {source}, refreshInterval: 1s, \
                 files: [{{ path: '@DIR@/{name}', field: x }}] }}\n"
            );
        }
        config
    }

    fn printed(&self) -> String {
        // Offline: no server there, no credentials.
        let config = self.config("http://127.0.0.1:1", "app");
        let done = Daemon::new(&config).any_stdout().run(&["policy"]);
        done.stdout
    }
}

#[test]
fn the_daemon_needs_every_line_of_it_and_no_other() {
    let world = World::new();
    let bao = &world.bao;
    let printed = world.printed();
    let all = blocks(&printed);
    assert_eq!(all.len(), 8, "{printed}");
    std::thread::scope(|scope| {
        let runs: Vec<_> = std::iter::once(None)
            .chain((0..all.len()).map(Some))
            .map(|without| {
                let (world, all, printed) = (&world, &all, &printed);
                scope.spawn(move || {
                    let text = match without {
                        None => printed.clone(),
                        Some(at) => printed.replacen(&all[at].1, "", 1),
                    };
                    let name = unique("least");
                    bao.policy(&name, &text);
                    run(world, &name, without.map(|at| all[at].0.as_str()), all);
                })
            })
            .collect();
        for run in runs {
            run.join().unwrap();
        }
    });
}

/// The daemon's whole life under a policy that lacks the block of one path, or none.
fn run(world: &World, policy: &str, without: Option<&str>, all: &[(String, String)]) {
    let bao = &world.bao;
    let (role_id, _) = role(bao, policy, policy);
    let proxy = CountingProxy::start(bao.endpoint());
    let mut daemon = Daemon::new(&world.config(&proxy.address(), policy))
        .env("ROLE_ID", &role_id)
        .file("secret-id", &bao.wrapped_secret_id(policy, "5m"))
        .start();
    let lacks = |path: &str| without == Some(path);
    let state = |name: &str, state: &'static str| {
        daemon.wait_secret(name, SOON, |entry| entry["state"] == state)
    };
    let mut names = vec![
        ("one", format!("{}/old/one", world.v1)),
        ("meta", format!("{}/metadata/app/db", world.v2)),
        ("pin", format!("{}/data/pinned", world.v2)),
        ("team", format!("{}/kv/data/theirs", world.team)),
    ];
    for name in ["data", "again"] {
        names.push((name, format!("{}/data/app/db", world.v2)));
    }
    for (name, path) in &names {
        if lacks(path) {
            let entry = state(name, "failed");
            assert_eq!(entry["error_type"], "denied", "{entry}");
        } else {
            state(name, "in_sync");
        }
    }
    // Renewed, or replaced before it ends; reads go on.
    let is_renewal = |request: &Request| request.is("POST", "auth/token/renew-self");
    proxy.wait_for(1, SOON, is_renewal);
    let token = proxy
        .requests()
        .iter()
        .find(|request| is_renewal(request))
        .and_then(|request| request.header("X-Vault-Token").map(str::to_owned))
        .unwrap();
    if lacks("auth/token/renew-self") {
        proxy.wait_for(2, SOON, |request| request.target.ends_with("/login"));
    }
    if lacks("auth/token/lookup-self") {
        daemon.wait_for_log(SOON, |line| line.text("msg").contains("told nothing"));
    }
    let data = format!("{}/data/pinned", world.v2);
    if !lacks(&data) {
        let seen = proxy.count(|request| request.is("GET", &data));
        proxy.wait_for(seen + 2, SOON, |request| request.is("GET", &data));
    }
    assert_eq!(daemon.stop().code(), Some(0));
    if lacks("auth/token/revoke-self") {
        let left = bao.lookup(&token).is_some();
        assert!(left, "a token that nobody revoked lives");
    }
    let requests = proxy.requests();
    let refused: BTreeSet<_> = requests
        .iter()
        .filter(|request| request.status == Some(403))
        .map(asked)
        .collect();
    // The last answer may not have been counted when the daemon ends.
    let with_token: BTreeSet<_> = requests
        .iter()
        .filter(|request| !request.target.contains("/sys/wrapping/"))
        .filter(|request| request.header("X-Vault-Token").is_some())
        .map(asked)
        .collect();
    let allowed: BTreeSet<_> = all
        .iter()
        .map(|(path, text)| {
            let verb = text.split('"').nth(3).unwrap();
            format!("{verb} {path}")
        })
        .collect();
    assert_eq!(with_token, allowed, "asked, and allowed");
    let expected: BTreeSet<_> = allowed
        .iter()
        .filter(|it| without.is_some_and(|path| it.ends_with(&format!(" {path}"))))
        .cloned()
        .collect();
    assert_eq!(refused, expected, "refused");
    if without.is_none() {
        assert_eq!(bao.lookup(&token), None, "revoked at the end");
    }
}

#[test]
fn keys_that_mean_something_to_the_language_are_allowed_all_the_same() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    let keys = [
        ("a*", "a%2A"),
        ("a*b/c", "a%2Ab/c"),
        ("+", "%2B"),
        ("+/c", "%2B/c"),
        ("a+*b/c", "a%2B%2Ab/c"),
        ("{{x}}", "%7B%7Bx%7D%7D"),
        ("a}}", "a%7D%7D"),
        ("say \"hi\" \\ ok", "say%20%22hi%22%20%5C%20ok"),
        ("$${x} $5", "%24%7Bx%7D%20%245"),
        ("open $${y", "open%20%24%7By"),
        ("größe é 🔑", "gr%C3%B6%C3%9Fe%20%C3%A9%20%F0%9F%94%91"),
        ("a%2Fb", "a%252Fb"),
    ];
    let mut config = format!(
        "secretStore: {{ address: '{}', tokenFile: '@DIR@/token', mountPath: {mount} }}\nsecrets:\n",
        bao.address()
    );
    for (number, (key, encoded)) in keys.iter().enumerate() {
        bao.kv2_put(&mount, encoded, &json!({ "x": format!("of {number}") }));
        config += &format!(
            "- {{ name: s{number}, key: {}, files: [{{ path: '@DIR@/{number}', field: x }}] }}\n",
            json!(key)
        );
    }
    let printed = Daemon::new(&config).any_stdout().run(&["policy"]).stdout;
    let wider = printed.matches("# (wider than the path").count();
    assert_eq!(wider, 3, "{printed}");
    let policy = unique("strange");
    bao.policy(&policy, &printed);
    let options = json!({ "no_default_policy": true });
    let token = bao.token(&[&policy], "1h", &options);
    let done = Daemon::new(&config)
        .file("token", &token)
        .any_stderr()
        .once();
    for number in 0..keys.len() {
        assert_eq!(done.read(&number.to_string()), format!("of {number}"));
    }
}

#[test]
fn each_session_has_a_policy_of_its_own_that_is_loaded_where_its_login_is() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({ "x": "of root" }));
    let team = unique("team");
    let inner = bao.namespace(&team);
    inner.enable_kv("kv", 2);
    inner.kv2_put("kv", "b", &json!({ "x": "of the team" }));
    let config = format!(
        "secretStore:
  address: {}
  tokenFile: '@DIR@/token'
  credentials:
    team: {{ authMethod: token, tokenFile: '@DIR@/team-token' }}
secrets:
- {{ name: a, key: a, mountPath: {mount}, files: [{{ path: '@DIR@/a', field: x }}] }}
- {{ name: b, key: b, mountPath: kv, namespace: {team}, credentials: team, \
     files: [{{ path: '@DIR@/b', field: x }}] }}\n",
        bao.address()
    );
    let print = |args: &[&str]| {
        let mut all = vec!["policy"];
        all.extend(args);
        Daemon::new(&config).any_stdout().run(&all).stdout
    };
    let both = print(&[]);
    assert!(
        both.contains("secrets-sync policy --store default --credentials team | bao policy write")
    );
    assert!(
        both.contains(&format!("# load in namespace `{team}`:")),
        "{both}"
    );
    let paths =
        |text: &str| -> Vec<String> { blocks(text).into_iter().map(|(path, _)| path).collect() };
    let upkeep = ["auth/token/lookup-self", "auth/token/renew-self"];
    let (ours, theirs) = (
        print(&["--credentials", "default"]),
        print(&["--store", "default", "--credentials", "team"]),
    );
    assert_eq!(paths(&ours)[..1], [format!("{mount}/data/a")]);
    assert_eq!(paths(&theirs)[..1], ["kv/data/b".to_owned()]);
    for text in [&ours, &theirs] {
        assert_eq!(paths(text)[1..], upkeep, "not its own to revoke");
    }
    let options = json!({ "no_default_policy": true });
    let token = |api: &Api, text: &str| {
        let name = unique("part");
        api.policy(&name, text);
        api.token(&[&name], "1h", &options)
    };
    let done = Daemon::new(&config)
        .file("token", &token(&bao, &ours))
        .file("team-token", &token(&inner, &theirs))
        .any_stderr()
        .once();
    assert_eq!(done.read("a"), "of root");
    assert_eq!(done.read("b"), "of the team");
}

#[test]
fn a_denial_in_a_namespace_below_names_the_line_for_the_policy_of_the_login() {
    let bao = OpenBao::shared();
    let team = unique("team");
    let inner = bao.namespace(&team);
    inner.enable_kv("kv", 2);
    inner.kv2_put("kv", "b", &json!({ "x": "of the team" }));
    let policy = unique("short");
    bao.policy(&policy, "path \"nothing\" { capabilities = [\"read\"] }");
    let token = bao.token(&[&policy], "1h", &json!(null));
    let config = format!(
        "secretStore: {{ address: {}, token: {token}, mountPath: kv, namespace: {team}, authNamespace: '' }}
secrets: [{{ name: b, key: b, files: [{{ path: '@DIR@/b', field: x }}] }}]\n",
        bao.address()
    );
    let once = |status| {
        Daemon::new(&config)
            .status(status)
            .any_stderr()
            .run(&["run", "--once"])
    };
    let told = once(1).stderr;
    let (_, rest) = told
        .split_once("help: allow it in a policy of the token: `")
        .expect(&told);
    let (line, _) = rest.split_once('`').unwrap();
    bao.policy(&policy, line);
    assert_eq!(once(0).read("b"), "of the team");
}

#[test]
fn what_no_policy_can_allow_is_told() {
    let done = Daemon::new(
        "secretStore: { address: 'http://127.0.0.1:1', token: t, authNamespace: a }
secrets:
- { name: x, key: k, namespace: ab, files: [{ path: /run/x, field: x }] }\n",
    )
    .any_stdout()
    .stderr(
        "secrets-sync: warning: x: no policy of namespace `a` reaches namespace `ab`
  help: log in there, or in a namespace above both: set `authNamespace`\n",
    )
    .run(&["policy"]);
    assert!(
        done.stdout
            .contains("\n# x: nothing here can allow a read in namespace `ab`")
    );
}

#[test]
fn a_configuration_that_is_invalid_is_exit_code_2() {
    Daemon::new("secretStore: { address: 'http://127.0.0.1:1', token: t }\n")
        .status(2)
        .stderr("secrets-sync: @DIR@/config.yaml: missing key `secrets`\n")
        .run(&["policy"]);
    let valid = "secretStore: { address: 'http://127.0.0.1:1', token: t }
secrets: [{ name: x, key: k, files: [{ path: /run/x, field: x }] }]\n";
    Daemon::new(valid)
        .status(2)
        .stderr(
            "secrets-sync: no secret uses that store with those credentials
  help: `secrets-sync policy` without options names them all\n",
        )
        .run(&["policy", "--store", "other"]);
}
