//! `secrets-sync doctor`: every verdict seen on real servers and files, its remedy followed, and nothing
//! left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use support::{
    Action, Certs, CountingProxy, Daemon, OpenBao, Response, SOON, ScriptedServer, Setup, ports,
    unique,
};

/// What it found.
struct Found {
    code: i32,
    checks: Vec<Value>,
    stderr: String,
}

impl Found {
    fn new(code: i32, stdout: &str, stderr: &str) -> Self {
        let document: Value = serde_json::from_str(stdout).expect(stdout);
        assert_eq!(document["schema"], 1);
        let checks = document["checks"].as_array().unwrap().clone();
        let has = |verdict| checks.iter().any(|check| check["verdict"] == verdict);
        let verdict = match (has("fail"), has("warning")) {
            (true, _) => "fail",
            (false, true) => "warning",
            (false, false) => "ok",
        };
        assert_eq!(document["verdict"], verdict);
        assert_eq!(code, i32::from(has("fail")), "{stdout}");
        for check in &checks {
            let asks = ["fail", "warning"].contains(&check["verdict"].as_str().unwrap());
            assert!(!asks || check["remedy"].is_string(), "no remedy: {check}");
        }
        Self {
            code,
            checks,
            stderr: stderr.to_owned(),
        }
    }

    /// Of a configuration that no daemon runs. `status` is the exit code to come.
    #[track_caller]
    fn of(setup: Setup, status: i32) -> Self {
        let done = setup
            .status(status)
            .any_stdout()
            .any_stderr()
            .run(&["doctor", "--json"]);
        Self::new(done.status, &done.stdout, &done.stderr)
    }

    /// Beside a daemon that runs.
    #[track_caller]
    fn beside(daemon: &Daemon) -> Self {
        let (code, stdout, stderr) = daemon.also(&["doctor", "--json"]);
        Self::new(code, &stdout, &stderr)
    }

    /// The checks of this kind whose message holds `part`.
    fn all(&self, kind: &str, part: &str) -> Vec<&Value> {
        let is = |check: &&Value| {
            check["check"] == kind && check["message"].as_str().unwrap().contains(part)
        };
        self.checks.iter().filter(is).collect()
    }

    /// The only such check; its verdict is this one. Its remedy.
    #[track_caller]
    fn one(&self, kind: &str, part: &str, verdict: &str) -> String {
        let all = self.all(kind, part);
        assert_eq!(all.len(), 1, "`{kind}` with `{part}` in {:#?}", self.checks);
        assert_eq!(all[0]["verdict"], verdict, "{}", all[0]);
        all[0]["remedy"].as_str().unwrap_or_default().to_owned()
    }

    /// All that is no `ok`, but for what is this machine's own: its swap, kernel and limits, and whether a
    /// daemon runs and its files are in memory.
    fn trouble(&self) -> Vec<&Value> {
        let own = [
            "swap",
            "sandbox",
            "descriptors",
            "threads",
            "daemon",
            "disk",
            "port",
        ];
        let is = |check: &&Value| {
            check["verdict"] != "ok" && !own.contains(&check["check"].as_str().unwrap())
        };
        self.checks.iter().filter(is).collect()
    }

    #[track_caller]
    fn assert_well(&self) {
        assert_eq!(self.code, 0);
        assert!(self.trouble().is_empty(), "{:#?}", self.trouble());
    }
}

/// A configuration of one secret, with these keys of the store and of the secret.
fn config(store: &str, secret: &str) -> String {
    format!(
        "secretStore: {{ {store} }}
secrets:
- {{ name: app, {secret}, refreshInterval: 1s, files: [{{ path: '@DIR@/out/app', field: x }}] }}\n"
    )
}

/// What `policy` prints, and what `doctor` asks beside it.
fn printed_policy(config: &str) -> String {
    let printed = Daemon::new(config).any_stdout().run(&["policy"]).stdout;
    let (daemons, doctors) = printed.split_once("\n# path").unwrap();
    assert!(
        doctors.starts_with(" \"sys/capabilities-self\" {"),
        "{doctors}"
    );
    format!("{daemons}\npath{}", doctors.replace("\n#", "\n"))
}

/// A mount with the secret `app`, and a role that may do what `policy` prints.
struct Site {
    bao: support::Shared,
    mount: String,
    policy: String,
    role: String,
    role_id: String,
    secret_id: String,
}

impl Site {
    fn new() -> Self {
        let bao = OpenBao::shared();
        let mount = bao.fresh_kv(2);
        bao.kv2_put(&mount, "app", &json!({ "x": "value" }));
        let (policy, role) = (unique("doctor"), unique("role"));
        let any =
            format!("address: 'http://127.0.0.1:1', mountPath: {mount}, roleId: r, secretId: s");
        bao.policy(&policy, &printed_policy(&config(&any, "key: app")));
        let (role_id, secret_id) = bao.approle(
            &role,
            &json!({ "token_policies": [policy], "token_no_default_policy": true, "token_ttl": "1h" }),
        );
        Self {
            bao,
            mount,
            policy,
            role,
            role_id,
            secret_id,
        }
    }

    fn store(&self, address: &str) -> String {
        let Self {
            mount,
            role_id,
            secret_id,
            ..
        } = self;
        format!(
            "address: '{address}', mountPath: {mount}, roleId: {role_id}, secretId: {secret_id}"
        )
    }

    fn look(&self, secret: &str, status: i32) -> Found {
        Found::of(
            Daemon::new(&config(&self.store(&self.bao.address()), secret)),
            status,
        )
    }
}

#[test]
fn where_all_is_well_nothing_is_found_and_nothing_remains() {
    let site = Site::new();
    let proxy = CountingProxy::start(site.bao.endpoint());
    let daemon = Daemon::new(&config(&site.store(&proxy.address()), "key: app"))
        .metrics()
        .start();
    daemon.wait_file("out/app", "value", SOON);
    daemon.wait_ready(SOON);
    let list = || {
        let mut all: Vec<_> = fs::read_dir(daemon.path("out"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        all.sort();
        all
    };
    let (before, since) = (list(), Instant::now());
    let found = Found::beside(&daemon);
    found.assert_well();
    assert_eq!(
        found.stderr,
        "secrets-sync: warning: the login of credentials `default` of store `default` spends a use of the \
         secret ID, where its uses are limited\n"
    );
    found.one("configuration", "1 secret of 1 store", "ok");
    found.one("user", "this runs as user", "ok");
    found.one(
        "daemon",
        "the daemon runs: ready: 1 of 1 secret in sync",
        "ok",
    );
    found.one("status_file", "the daemon that runs writes it", "ok");
    found.one("port", "is served by the daemon that runs", "ok");
    found.one("files", "`app`: its file can be written", "ok");
    found.one("connection", "connected to 127.0.0.1", "ok");
    found.one("clock", "this machine's clock is", "ok");
    found.one("health", "the server is active, version ", "ok");
    found.one("login", "has a token (approle), ", "ok");
    found.one(
        "capabilities",
        &format!("policies {}: the token can be", site.policy),
        "ok",
    );
    found.one("mount", "is KV v2", "ok");
    found.one("secret", "`app`: read from", "ok");
    assert_eq!(list(), before);
    // Its token is gone; the daemon's is not.
    let requests = proxy.requests();
    let revoked: Vec<_> = requests
        .iter()
        .filter(|request| request.at > since && request.is("POST", "auth/token/revoke-self"))
        .collect();
    assert_eq!(revoked.len(), 1);
    let token = revoked[0].header("X-Vault-Token").unwrap();
    assert_eq!(site.bao.lookup(token), None);
    let reads = proxy.count(|request| request.target.contains("/data/app"));
    proxy.wait_for(reads + 2, SOON, |request| {
        request.target.contains("/data/app")
    });
    assert_eq!(proxy.count(|request| request.status == Some(403)), 0);

    // For people: the same in words, a line each.
    let (code, text, _) = daemon.also(&["doctor"]);
    assert_eq!(code, 0);
    assert!(text.starts_with("configuration\n  ok       `"), "{text}");
    let last = text.lines().last().unwrap();
    assert!(
        last.contains(" ok, ") && last.ends_with(" 0 failed, 0 skipped"),
        "{last}"
    );
    assert!(!text.contains('\u{1b}'), "no colours where nobody looks");
}

#[test]
fn what_is_wrong_with_a_secret_is_told_and_the_remedy_ends_it() {
    let site = Site::new();
    let (bao, mount) = (&site.bao, &site.mount);
    let read = |found: &Found, part: &str| found.one("secret", part, "fail");

    // Not there; then it is.
    bao.policy(
        &site.policy,
        &format!("path \"{mount}/*\" {{ capabilities = [\"read\"] }}"),
    );
    let found = site.look("key: other", 1);
    assert!(read(&found, "no such secret").contains("write it"));
    let found = site.look("key: other, optional: true", 0);
    found.one("secret", "no such secret", "warning");
    bao.kv2_put(mount, "other", &json!({ "x": "value" }));
    site.look("key: other", 0)
        .one("secret", "`app`: read from", "ok");

    // The path as the API has it.
    let found = site.look("key: data/app", 1);
    assert!(read(&found, "no such secret").contains("leave `data/` out"));

    // Another version of the engine, one way and the other.
    let found = site.look("key: app, kvVersion: v1", 1);
    assert_eq!(
        found.one("mount", "is KV v2, and `kvVersion` says v1", "fail"),
        "set `kvVersion: v2`"
    );
    let v1 = bao.fresh_kv(1);
    bao.kv1_put(&v1, "app", &json!({ "x": "value" }));
    bao.policy(&site.policy, "path \"*\" { capabilities = [\"read\"] }");
    let found = site.look(&format!("key: app, mountPath: {v1}"), 1);
    let remedy = found.one("mount", "is KV v1, and `kvVersion` says v2", "fail");
    assert_eq!(remedy, "set `kvVersion: v1`");
    read(&found, "no such secret");
    let found = site.look(&format!("key: app, mountPath: {v1}, kvVersion: v1"), 0);
    found.one("mount", "is KV v1", "ok");

    // No engine, or none of these.
    let found = site.look("key: app, mountPath: nowhere", 1);
    assert!(read(&found, "nothing is mounted there").contains("`mountPath`"));
    let found = site.look("key: app, mountPath: cubbyhole", 1);
    found.one("mount", "is no KV engine, but `cubbyhole`", "fail");

    // No such namespace.
    let found = site.look("key: app, namespace: nobody", 1);
    assert!(read(&found, "there is no such namespace").contains("`namespace`"));
}

#[test]
fn a_policy_that_lacks_a_line_is_mended_by_the_line_that_is_shown() {
    let site = Site::new();
    let config = config(&site.store(&site.bao.address()), "key: app");
    let whole = printed_policy(&config);
    let data = format!(
        "path \"{}/data/app\" {{\n  capabilities = [\"read\"]\n}}\n",
        site.mount
    );
    let without = whole.replace(&data, "");
    assert_ne!(without, whole);
    site.bao.policy(&site.policy, &without);
    let found = Found::of(Daemon::new(&config), 1);
    let remedy = found.one(
        "secret",
        "permission denied by policy (the token has `deny` there)",
        "fail",
    );
    let shown = remedy.clone();
    let line = remedy
        .strip_prefix("allow it in a policy of the token: `")
        .and_then(|line| line.strip_suffix('`'))
        .unwrap();
    site.bao
        .policy(&site.policy, &format!("{without}\n{line}\n"));
    Found::of(Daemon::new(&config), 0).assert_well();

    // What keeps the token.
    for rule in ["lookup-self", "renew-self", "revoke-self"] {
        let at = whole.find(&format!("path \"auth/token/{rule}\"")).unwrap();
        let end = at + whole[at..].find('}').unwrap() + 1;
        let without = format!("{}{}", &whole[..at], &whole[end..]);
        site.bao.policy(&site.policy, &without);
        let found = Found::of(Daemon::new(&config), 0);
        let remedy = found.one(
            "capabilities",
            "do not allow what keeps the token",
            "warning",
        );
        let line = remedy.strip_prefix("add to a policy: ").unwrap();
        assert!(
            line.starts_with(&format!("path \"auth/token/{rule}\" {{")),
            "{line}"
        );
        site.bao
            .policy(&site.policy, &format!("{without}\n{line}\n"));
        Found::of(Daemon::new(&config), 0).assert_well();
    }

    // Without the question itself, the reads tell.
    let printed = Daemon::new(&config).any_stdout().run(&["policy"]).stdout;
    site.bao.policy(&site.policy, &printed);
    let found = Found::of(Daemon::new(&config), 0);
    found.one(
        "capabilities",
        "the token may not ask what it may do",
        "skipped",
    );
    found.one("secret", "`app`: read from", "ok");
    site.bao.policy(&site.policy, &printed.replace(&data, ""));
    let found = Found::of(Daemon::new(&config), 1);
    let remedy = found.one("secret", "permission denied by policy", "fail");
    assert_eq!(remedy, shown);
}

#[test]
fn a_login_that_is_refused_and_tokens_that_are_too_mighty_or_end_are_told() {
    let site = Site::new();
    let (bao, mount) = (&site.bao, &site.mount);
    let store = format!(
        "address: {}, mountPath: {mount}, tokenFile: '@DIR@/token'",
        bao.address()
    );
    let with = |token: &str| Daemon::new(&config(&store, "key: app")).file("token", token);

    let bad = site
        .store(&bao.address())
        .replace(&site.secret_id, "wrong-secret-id");
    let found = Found::of(Daemon::new(&config(&bad, "key: app")), 1);
    found.one("login", "the server refused the credential (400)", "fail");
    found.one(
        "secret",
        "1 read of credentials `default`: there is no token",
        "skipped",
    );

    let found = Found::of(with("s.nobody-knows-it"), 1);
    found.one("login", "has a token (token)", "ok");
    found.one("secret", "the token was refused", "fail");

    let found = Found::of(Daemon::new(&config(&store, "key: app")), 1);
    let remedy = found.one("login", "the token: `", "fail");
    assert!(remedy.contains("taken up at once"), "{remedy}");
    found.one("credential", "secretStore.tokenFile", "fail");

    let found = Found::of(with(bao.root_token()), 0);
    let remedy = found.one("capabilities", "the token may do everything", "warning");
    assert!(remedy.contains("secrets-sync policy"), "{remedy}");

    let fixed = bao.token(&[&site.policy], "1h", &json!({ "renewable": false }));
    let found = Found::of(with(&fixed), 0);
    found.one("token", "cannot be renewed", "warning");
    assert!(
        bao.lookup(&fixed).is_some(),
        "it is not the doctor's to revoke"
    );

    // Each request is a use: but for the look-up, which tells that, none is spent.
    let few = bao.token(&[&site.policy], "1h", &json!({ "num_uses": 5 }));
    let found = Found::of(with(&few), 0);
    found.one("token", "may be used 4 more times", "warning");
    found.one(
        "secret",
        "each would spend one of the token's uses",
        "skipped",
    );
    assert_eq!(bao.lookup(&few).unwrap()["num_uses"], 4);
}

#[test]
fn a_wrapped_secret_id_is_left_for_the_daemon() {
    let site = Site::new();
    let store = format!(
        "address: {}, mountPath: {}, roleId: {}, secretIdFile: '@DIR@/wrapped', \
         secretIdWrappingPath: auth/approle/role/{}/secret-id",
        site.bao.address(),
        site.mount,
        site.role_id,
        site.role
    );
    let wrapped = site.bao.wrapped_secret_id(&site.role, "10m");
    let setup = || Daemon::new(&config(&store, "key: app")).file("wrapped", &wrapped);
    let found = Found::of(setup(), 0);
    found.one("login", "left for the daemon", "ok");
    found.one(
        "secret",
        "the wrapped secret ID is left for the daemon",
        "skipped",
    );
    assert_eq!(found.stderr, "", "no use is spent");
    assert_eq!(setup().any_stderr().once().read("out/app"), "value");
    // Now it is spent, and that is a failure.
    let found = Found::of(setup(), 1);
    found.one("login", "wrapped secret ID", "fail");
}

#[test]
fn a_server_that_is_down_sealed_or_silent_is_told_and_holds_nothing_up() {
    let port = ports::reserve();
    let down = format!("address: 'http://127.0.0.1:{}', token: t", port.number());
    let found = Found::of(Daemon::new(&config(&down, "key: app")), 1);
    let remedy = found.one("connection", "connection refused", "fail");
    assert!(remedy.contains("start the server"), "{remedy}");
    found.one("login", "and 1 read: there is no connection", "skipped");

    let nowhere = "address: 'http://no-such-host.invalid:8200', token: t";
    let found = Found::of(Daemon::new(&config(nowhere, "key: app")), 1);
    found.one("connection", "cannot be resolved", "fail");

    let bao = OpenBao::sealable().start();
    bao.enable_kv("secret", 2);
    bao.kv2_put("secret", "app", &json!({ "x": "value" }));
    let token = bao.token(&["root"], "1h", &json!(null));
    let store = format!("address: {}, tokenFile: '@DIR@/token'", bao.address());
    let with = |status| {
        Found::of(
            Daemon::new(&config(&store, "key: app")).file("token", &token),
            status,
        )
    };
    bao.seal();
    let found = with(1);
    assert_eq!(
        found.one("health", "the server is sealed", "fail"),
        "unseal it: `bao operator unseal`"
    );
    found.one("login", "the server is sealed", "skipped");
    bao.unseal();
    let found = with(0);
    found.one("health", "the server is active", "ok");
    found.one("secret", "`app`: read from", "ok");

    // One that answers nobody, one that answers the health question alone, and one that is well.
    let silent = ScriptedServer::start(|_| Action::Hang);
    let half = ScriptedServer::start(|request| match request.target.contains("/sys/health") {
        true => Response::json(200, &json!({ "version": "1" })).act(),
        false => Action::Hang,
    });
    let both = format!(
        "secretStore: {{ {store} }}
secretStores:
  silent: {{ address: '{}', token: a-token-for-it }}
  half: {{ address: '{}', token: a-token-for-it }}
  mute: {{ address: '{}', authMethod: none }}
secrets:
- {{ name: app, key: app, files: [{{ path: '@DIR@/app', field: x }}] }}
- {{ name: b, store: silent, key: app, files: [{{ path: '@DIR@/b', field: x }}] }}
- {{ name: c, store: half, key: app, files: [{{ path: '@DIR@/c', field: x }}] }}
- {{ name: d, store: half, key: app, files: [{{ path: '@DIR@/d', field: x }}] }}
- {{ name: e, store: mute, key: app, files: [{{ path: '@DIR@/e', field: x }}] }}
- {{ name: f, store: mute, key: app, files: [{{ path: '@DIR@/f', field: x }}] }}\n",
        silent.address(),
        half.address(),
        half.address(),
    );
    let begun = Instant::now();
    let found = Found::of(Daemon::new(&both).file("token", &token), 1);
    // 5 s for the one, 10 s for a login of the next, and twice that for the last.
    assert!(
        begun.elapsed() < Duration::from_secs(45),
        "{:?}",
        begun.elapsed()
    );
    found.one("secret", "`app`: read from", "ok");
    found.one("health", "no complete answer from", "fail");
    found.one("login", "and 1 read: the server does not answer", "skipped");
    found.one("login", "no complete answer from", "fail");
    found.one(
        "secret",
        "2 reads of credentials `default`: there is no token",
        "skipped",
    );
    found.one("mount", "no complete answer from", "fail");
    found.one("secret", "`e`: no complete answer from", "fail");
    found.one(
        "secret",
        "1 read of credentials `default`: the server stopped",
        "skipped",
    );
}

#[test]
fn certificates_are_checked_and_their_end_is_told() {
    // Of an authority whose certificates live for two days.
    let bao = OpenBao::sealable().tls().start();
    bao.enable_kv("secret", 2);
    bao.kv2_put("secret", "app", &json!({ "x": "value" }));
    let token = bao.token(&["root"], "1h", &json!(null));
    let ca = bao.ca().display();
    let with = |keys: &str, status| {
        let store = format!(
            "address: {}, tokenFile: '@DIR@/token', {keys}",
            bao.address()
        );
        Found::of(
            Daemon::new(&config(&store, "key: app")).file("token", &token),
            status,
        )
    };
    let found = with(&format!("tlsCACert: {ca}"), 0);
    found.one("connection", "TLS 1.3", "ok");
    let remedy = found.one(
        "certificate",
        "the server's certificate, good for",
        "warning",
    );
    assert_eq!(remedy, "renew it at the server");
    let text = found.all("certificate", "ends in 1 days (20")[0]["message"].to_string();
    assert!(text.contains("of an authority that is trusted"), "{text}");
    found.one("authority", "ends in 1 days", "warning");

    let stranger = Certs::new();
    let found = with(&format!("tlsCACert: {}", stranger.ca().display()), 1);
    let remedy = found.one("connection", "signed by an unknown authority", "fail");
    assert!(remedy.contains("`tlsCACert`"), "{remedy}");
    let found = with(&format!("tlsCACert: {ca}, tlsServerName: other.example"), 1);
    found.one("connection", "not valid for", "fail");
    found.one("login", "there is no connection", "skipped");
    let found = with("tlsSkipVerify: true", 0);
    found.one(
        "certificate",
        "is not checked: anybody in between",
        "warning",
    );
    found.one(
        "certificate",
        "the server's certificate, not checked",
        "warning",
    );

    let (cert, key) = stranger.client("app");
    let pair = format!(
        "tlsClientCert: {}, tlsClientKey: {}",
        cert.display(),
        key.display()
    );
    let found = with(&format!("tlsCACert: {ca}, {pair}"), 0);
    found.one("client_certificate", "ends in 1 days", "warning");

    let plain = bao.address().replace("https:", "http:");
    let store = format!("address: '{plain}', token: t");
    let found = Found::of(Daemon::new(&config(&store, "key: app")), 1);
    found.all("health", "speaks TLS");

    // One that lives longer.
    let fresh = OpenBao::dev().tls().start();
    fresh.kv2_put("secret", "app", &json!({ "x": "value" }));
    let token = fresh.token(&["root"], "1h", &json!(null));
    let store = format!(
        "address: {}, tokenFile: '@DIR@/token', tlsCACert: {}",
        fresh.address(),
        fresh.ca().display()
    );
    let found = Found::of(
        Daemon::new(&config(&store, "key: app")).file("token", &token),
        0,
    );
    found.one("certificate", "good for", "ok");
}

#[test]
fn a_clock_that_is_off_is_told_by_the_servers_date() {
    for (off, verdict) in [(0_i64, "ok"), (3600, "warning"), (-3600, "warning")] {
        let server = ScriptedServer::start(move |_| {
            let now = SystemTime::now();
            let there = match u64::try_from(off) {
                Ok(ahead) => now + Duration::from_secs(ahead),
                Err(_) => now - Duration::from_secs(off.unsigned_abs()),
            };
            Response::json(
                200,
                &json!({ "data": { "data": { "x": "value" }, "metadata": {} } }),
            )
            .header("Date", &httpdate::fmt_http_date(there))
            .act()
        });
        let store = format!("address: '{}', authMethod: none", server.address());
        let found = Found::of(Daemon::new(&config(&store, "key: app")), 0);
        let side = if off > 0 { " behind" } else { " ahead of" };
        let remedy = found.one("clock", side, verdict);
        assert!(off == 0 || remedy.contains("set the clock"), "{remedy}");
        found.one("login", "an agent or a proxy adds the token", "ok");
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The same, by a user who is nobody.
fn as_nobody(setup: Setup) -> Setup {
    for path in [setup.dir().to_owned(), setup.path("config.yaml")] {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
    under(
        setup,
        "/usr/bin/setpriv",
        &["--reuid=65534", "--regid=65534", "--clear-groups"],
    )
}

fn under(setup: Setup, program: &str, arguments: &[&str]) -> Setup {
    let setup = setup.program(Path::new(program));
    let setup = arguments.iter().fold(setup, |setup, word| setup.arg(word));
    setup.arg(env!("CARGO_BIN_EXE_secrets-sync"))
}

/// A server that gives everybody the same secret.
fn kind_server() -> ScriptedServer {
    ScriptedServer::start(|_| {
        Response::json(
            200,
            &json!({ "data": { "data": { "x": "value" }, "metadata": {} } }),
        )
        .act()
    })
}

fn kind_config(server: &ScriptedServer, files: &str) -> String {
    format!(
        "secretStore: {{ address: '{}', authMethod: none }}
secrets:
- {{ name: app, key: app, files: [{files}] }}\n",
        server.address()
    )
}

#[test]
fn directories_are_proved_as_the_daemon_proves_them() {
    if !is_root() {
        skip!("needs root, to become somebody else");
    }
    let server = kind_server();
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(
        closed.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let dir = closed.path().display();
    let look = |files: String, status| {
        Found::of(
            as_nobody(Daemon::new(&kind_config(&server, &files))),
            status,
        )
    };
    let file = |keys: &str| format!("{{ path: {dir}/app, field: x{keys} }}");
    let found = look(file(""), 1);
    let remedy = found.one("files", "ermission denied", "fail");
    assert!(remedy.contains("SupplementaryGroups"), "{remedy}");
    // A directory that the daemon would make is not made.
    let found = look(format!("{{ path: {dir}/new/app, field: x }}"), 1);
    found.one("files", "/new` cannot be made in `", "fail");
    std::os::unix::fs::chown(closed.path(), Some(65534), None).unwrap();
    look(file(""), 0).one("files", "its file can be written", "ok");
    let found = look(format!("{{ path: {dir}/new/app, field: x }}"), 0);
    found.one("files", "/new` will be made in `", "ok");
    let found = look(file(", owner: '0'"), 1);
    assert!(
        found
            .one("files", "set the owner", "fail")
            .contains("CAP_CHOWN")
    );
    assert_eq!(
        fs::read_dir(closed.path()).unwrap().count(),
        0,
        "nothing remains"
    );
}

#[test]
fn a_target_that_is_a_mount_of_its_own_is_found() {
    if !is_root() {
        skip!("needs root, to mount");
    }
    let server = kind_server();
    let config = kind_config(&server, "{ path: '@DIR@/app', field: x }");
    let setup = Daemon::new(&config)
        .file("app", "")
        .file("other", "")
        .env("PATH", "/usr/bin:/bin");
    let script = "mount --bind other app && exec \"$0\" \"$@\"";
    let setup = under(setup, "/usr/bin/unshare", &["-m", "sh", "-c", script]);
    let found = Found::of(setup, 1);
    let remedy = found.one("files", "`app`: ", "fail");
    assert!(remedy.contains("mount its directory instead"), "{remedy}");
}

#[test]
fn files_in_memory_are_told_from_files_on_a_disk_and_a_full_one_is_a_failure() {
    if !is_root() {
        skip!("needs root, to mount");
    }
    let server = kind_server();
    let config = kind_config(&server, "{ path: '@DIR@/out/app', field: x }");
    let mounted = |script: &str, status| {
        let setup = Daemon::new(&config)
            .file("out/kept", "")
            .env("PATH", "/usr/bin:/bin");
        let script = format!("{script} && exec \"$0\" \"$@\"");
        Found::of(
            under(setup, "/usr/bin/unshare", &["-m", "sh", "-c", &script]),
            status,
        )
    };
    let found = mounted("mount -t tmpfs -o size=1m t out", 0);
    found.one("disk", "is in memory (tmpfs), 1 MiB free", "ok");
    let full = "mount -t tmpfs -o size=64k t out && head -c 65536 /dev/zero > out/filler";
    let found = mounted(full, 1);
    found.one("disk", "0 bytes", "fail");
    let few = "mount -t tmpfs -o nr_inodes=2 t out && touch out/a";
    let found = mounted(few, 1);
    found.one("disk", "0 inodes free", "fail");
    // Whatever a temporary directory is here, it is not memory when it is an image on a loop.
    let disk = "head -c 1048576 /dev/zero > image && mkfs.ext4 -q image && mount -o loop image out";
    if Command::new("mkfs.ext4").arg("-V").output().is_err()
        || !Path::new("/dev/loop-control").exists()
    {
        skip!("needs mkfs.ext4 and loop devices");
    }
    let setup = Daemon::new(&config)
        .file("out/kept", "")
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    let script = format!("{disk} && exec \"$0\" \"$@\"");
    let found = Found::of(
        under(setup, "/usr/bin/unshare", &["-m", "sh", "-c", &script]),
        0,
    );
    let remedy = found.one("disk", "is not in memory", "warning");
    assert!(remedy.contains("tmpfs"), "{remedy}");
}

#[test]
fn a_port_that_another_has_and_a_daemon_of_another_user_are_told() {
    let server = kind_server();
    let config = kind_config(&server, "{ path: '@DIR@/app', field: x }");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = taken.local_addr().unwrap().port().to_string();
    let found = Found::of(Daemon::new(&config).env("METRICS_PORT", &number), 1);
    let remedy = found.one("port", "is taken by another program", "fail");
    assert!(remedy.contains("`METRICS_PORT`"), "{remedy}");
    found.one("daemon", "no daemon runs", "warning");
    found.one("status_file", "can be written", "ok");
    drop(taken);
    let found = Found::of(Daemon::new(&config).metrics(), 0);
    found.one("port", "is free", "ok");
    let found = Found::of(Daemon::new(&config), 0);
    found.one("port", "no port is served", "skipped");
    let elsewhere = Daemon::new(&config)
        .env("METRICS_PORT", "9999")
        .env("METRICS_ADDR", "192.0.2.1");
    found_address(&Found::of(elsewhere, 1));
    let nowhere = Daemon::new(&config).env("STATUS_FILE", "/nowhere/at/all/status.json");
    Found::of(nowhere, 1).one("status_file", "cannot be written", "fail");

    // The port of one daemon, the status file of none.
    let other = Daemon::new(&config).metrics().start();
    other.wait_ready(SOON);
    let number = other
        .endpoint()
        .url()
        .rsplit(':')
        .next()
        .unwrap()
        .to_owned();
    let found = Found::of(Daemon::new(&config).env("METRICS_PORT", &number), 1);
    found.one("port", "is taken by another secrets-sync", "fail");
    // The port of one daemon, the status file of another.
    let mine = Daemon::new(&config.replace("name: app", "name: mine")).start();
    mine.wait_ready(SOON);
    let found = as_seen_with(&mine, &number);
    found.one("daemon", "the daemon runs", "ok");
    found.one("port", "is taken by another secrets-sync", "fail");

    if !is_root() {
        skip!("needs root, to become somebody else");
    }
    let theirs = as_nobody(Daemon::new(&config)).arg("run").start();
    theirs.wait_ready(SOON);
    let found = as_seen_with(&theirs, "0");
    let remedy = found.one("user", "the daemon as user 65534", "warning");
    assert!(
        remedy.contains("sudo -u '#65534' secrets-sync doctor"),
        "{remedy}"
    );
}

/// By root, beside this daemon, with another port in the environment.
fn as_seen_with(daemon: &Daemon, port: &str) -> Found {
    let config = daemon.path("config.yaml");
    let output = Command::new(env!("CARGO_BIN_EXE_secrets-sync"))
        .args(["-c", config.to_str().unwrap(), "doctor", "--json"])
        .env_clear()
        .env("STATUS_FILE", daemon.path("status.json"))
        .env("METRICS_PORT", port)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Found::new(output.status.code().unwrap(), &text(&output.stdout), "")
}

/// An address that is none of this machine's.
fn found_address(found: &Found) {
    let remedy = found.one("port", "192.0.2.1:9999: ", "fail");
    assert!(remedy.contains("`METRICS_ADDR`"), "{remedy}");
}

#[test]
fn a_configuration_or_environment_that_is_invalid_is_exit_code_2() {
    let store = "address: 'http://127.0.0.1:1', token: t, adress: x";
    Daemon::new(&config(store, "key: app"))
        .env("LOG_LEVEL", "loud")
        .status(2)
        .stderr(
            "secrets-sync: @DIR@/config.yaml:1:57: secretStore.adress: unknown key `adress`
  1 | secretStore: { address: 'http://127.0.0.1:1', token: [redacted]
    |                                                         ^
  help: did you mean `address`?
secrets-sync: LOG_LEVEL: `loud` is not one of `trace`, `debug`, `info`, `warn`, `error`\n",
        )
        .run(&["doctor"]);
}
