//! Secrets, tokens and credentials, marked, go through everything the program does; afterwards
//! nothing that it said or showed holds one of them, in any spelling.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Action, CountingProxy, Daemon, OpenBao, Response, SOON, Signal, unique};

/// Values that must not be seen.
#[derive(Default)]
struct Canaries(Vec<String>);

impl Canaries {
    /// A new one: a part that every spelling but an encoding keeps, between characters that JSON
    /// and URLs write otherwise.
    fn make(&mut self, what: &str) -> String {
        let core: String = std::iter::repeat_with(fastrand::alphanumeric)
            .take(24)
            .collect();
        self.0.push(core.clone());
        format!("{what}-{core}")
    }

    fn odd(&mut self, what: &str) -> String {
        format!("\"+/ {}\\é", self.make(what))
    }

    /// One that a server made.
    fn mark(&mut self, value: &str) -> String {
        self.0.push(value.to_owned());
        value.to_owned()
    }

    /// What must not be found: the values, and what encodings make of them wherever they begin.
    fn spellings(&self) -> Vec<String> {
        let mut all = Vec::new();
        for core in &self.0 {
            all.push(core.clone());
            all.push(core.chars().rev().collect());
            all.push(core.bytes().map(|byte| format!("{byte:02x}")).collect());
            all.push(format!("{:?}", core.as_bytes()).replace(['[', ']'], ""));
            for skip in 0..3 {
                all.push(base64(&core.as_bytes()[skip..]));
            }
        }
        all
    }

    #[track_caller]
    fn assert_absent(&self, place: &str, text: &str) {
        for spelling in self.spellings() {
            if let Some(at) = text.find(&spelling) {
                let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
                let line = text[start..].lines().next().unwrap_or_default();
                panic!("{place} holds `{spelling}`: {line}");
            }
        }
    }
}

/// Whole groups of three bytes only, so that what follows does not matter.
fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(&bytes[..bytes.len() / 3 * 3])
}

#[test]
fn the_search_itself_finds_every_spelling() {
    let mut canaries = Canaries::default();
    let value = canaries.odd("value");
    let core = canaries.0[0].clone();
    let hex: String = core.bytes().map(|byte| format!("{byte:02x}")).collect();
    let found =
        |text: &str| std::panic::catch_unwind(|| canaries.assert_absent("here", text)).is_err();
    for text in [
        value.clone(),
        json!({ "x": value }).to_string(),
        base64(format!("abc{core}").as_bytes()),
        base64(format!("abcd{core}").as_bytes()),
        base64(format!("abcde{core}").as_bytes()),
        format!("{:?}", core.as_bytes()),
        hex,
    ] {
        assert!(found(&text), "{text}");
    }
    assert!(!found("nothing here"));
}

/// What a template or an encoding can trip over, with the value in its hands.
const STUMBLES: &[&str] = &[
    "{{ .x | fromJson }}",
    "{{ (fromJson .x).y }}",
    "{{ .x | b64dec }}",
    "{{ .x.y }}",
    "{{ index . .x }}",
    "{{ index .x \"a\" }}",
    "{{ range .x }}{{ . }}{{ end }}",
    "{{ with .x }}{{ .y }}{{ end }}",
    "{{ lt .x 3 }}",
    "{{ indent .x .x }}",
    "{{ printf .x .x }}",
    "{{ .x | fromJson | toYaml }}",
];

#[test]
fn no_log_page_or_file_of_the_program_ever_holds_a_secret() {
    let mut canaries = Canaries::default();
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    let policy = unique("leaks");
    let hcl: String = [
        "good", "stumble", "missing", "echo-*", "broken-*", "changed",
    ]
    .iter()
    .map(|key| format!("path \"{mount}/data/{key}\" {{ capabilities = [\"read\"] }}\n"))
    .collect();
    bao.policy(&policy, &hcl);
    let put = |canaries: &mut Canaries, key: &str| {
        let fields = json!({
            "x": canaries.odd("x"),
            "y": {"deep": canaries.odd("y")},
            "n": [canaries.odd("n")],
            "lines": format!("{}\n{}", canaries.odd("l"), canaries.odd("l")),
            "not a name": canaries.odd("z"),
        });
        bao.kv2_put(&mount, key, &fields);
        fields["x"].as_str().unwrap().to_owned()
    };
    let good = put(&mut canaries, "good");
    for key in [
        "stumble",
        "denied",
        "changed",
        "echo-500",
        "echo-400",
        "broken-json",
    ] {
        put(&mut canaries, key);
    }
    let options = json!({ "token_policies": [policy], "token_ttl": "60s" });
    let (role_id, secret_id) = bao.approle(&unique("leaks"), &options);
    let secret_id = canaries.mark(&secret_id);
    let token = canaries.mark(&bao.token(&[&policy], "60s", &Value::Null));
    let accessor = bao.lookup(&token).unwrap()["accessor"]
        .as_str()
        .unwrap()
        .to_owned();
    canaries.mark(&accessor);
    let wrong_token = canaries.make("wrong-token");
    let wrong_id = canaries.make("wrong-id");

    let proxy = CountingProxy::start(bao.endpoint());
    let body = format!("{{\"data\":{{\"data\":{{\"x\":{},", json!(good));
    proxy.inject(move |request| {
        let key = request.target.rsplit('/').next().unwrap();
        let token = request.header("x-vault-token").unwrap_or_default();
        let sent = String::from_utf8_lossy(&request.body).into_owned();
        match key {
            "echo-500" => Some(Response::error(500, &format!("failed for {token}")).act()),
            "echo-400" => Some(Response::error(400, &format!("bad token {token}")).act()),
            "broken-json" => Some(
                Response {
                    status: 200,
                    headers: Vec::new(),
                    body: body.clone().into_bytes(),
                }
                .act(),
            ),
            "broken-head" => Some(Action::Raw(
                format!("HTTP/1.1 {token}\r\n\r\n").into_bytes(),
            )),
            "broken-redirect" => Some(
                Response::json(307, &json!({}))
                    .header("Location", &format!("http://127.0.0.1:1/{token}?t={token}"))
                    .act(),
            ),
            // A login that is refused with what was sent to it.
            "login" if sent.contains("wrong-id") => Some(Response::error(400, &sent).act()),
            _ => None,
        }
    });
    let address = proxy.address();
    let mut config = format!(
        "secretStore: {{address: '{address}', mountPath: {mount}, token: {token}}}\n\
         secretStores:\n  \
         role: {{address: '{address}', mountPath: {mount}, roleId: {role_id}, secretIdFile: \
         @DIR@/secret-id}}\n  \
         refused: {{address: '{address}', mountPath: {mount}, roleId: {role_id}, secretId: \
         {wrong_id}}}\n  \
         dead: {{address: '{address}', mountPath: {mount}, tokenFile: @DIR@/wrong-token}}\nsecrets:\n"
    );
    let mut secret = |name: &str, key: &str, store: &str, rest: &str| {
        config.push_str(&format!(
            "- {{name: {name}, key: {key}, store: {store}, refreshInterval: 1s, {rest}}}\n"
        ));
    };
    let field = |name: &str| format!("files: [{{path: @DIR@/out/{name}, field: x}}]");
    secret("good", "good", "default", &field("good"));
    secret("by-role", "good", "role", &field("by-role"));
    secret(
        "whole",
        "good",
        "default",
        "files: [{path: @DIR@/out/json, format: json}, {path: @DIR@/out/yaml, format: yaml}]",
    );
    secret("changed", "changed", "default", &field("changed"));
    let mut failing = Vec::new();
    let mut fails = |name: &str, key: &str, store: &str, rest: &str| {
        secret(name, key, store, rest);
        failing.push(name.to_owned());
    };
    for (number, template) in STUMBLES.iter().enumerate() {
        let name = format!("template-{number}");
        fails(
            &name,
            "stumble",
            "default",
            &format!(
                "template: {{data: {{t: '{template}'}}}}, files: [{{path: @DIR@/out/{name}, template: t}}]"
            ),
        );
    }
    for (name, file) in [
        ("envfile", "format: envfile"),
        ("env", "format: env"),
        ("no-field", "field: x.deeper"),
        ("not-base64", "field: x, encoding: base64"),
        ("not-base64url", "field: x, encoding: base64url"),
    ] {
        fails(
            name,
            "stumble",
            "default",
            &format!("files: [{{path: @DIR@/out/{name}, {file}}}]"),
        );
    }
    for key in [
        "missing",
        "denied",
        "echo-500",
        "echo-400",
        "broken-json",
        "broken-head",
        "broken-redirect",
    ] {
        fails(key, key, "default", &field(key));
    }
    fails("refused", "good", "refused", &field("refused"));
    fails("dead", "good", "dead", &field("dead"));
    fails(
        "unwritable",
        "good",
        "default",
        "files: [{path: @DIR@/config.yaml/x, field: x}]",
    );

    let mut daemon = Daemon::new(&config)
        .file("secret-id", &secret_id)
        .file("wrong-token", &wrong_token)
        .metrics()
        .env("LOG_LEVEL", "trace")
        .env("INITIAL_BACKOFF", "300ms")
        .start();
    daemon.wait_file("out/good", &good, SOON);
    daemon.wait_file("out/by-role", &good, SOON);
    for name in &failing {
        daemon.wait_for_log(SOON, |line| {
            line.has("secret", name) && line.json["error_type"].is_string()
        });
    }
    // A change, a refresh, a reload, one that is refused, and the other commands beside it.
    let changed = put(&mut canaries, "changed");
    daemon.signal(Signal::USR1);
    daemon.wait_file("out/changed", &changed, SOON);
    let said = canaries.make("said");
    let good_config = fs::read_to_string(daemon.path("config.yaml")).unwrap();
    for bad in [
        good_config.replace(&format!("token: {token}"), &format!("tokn: {said}")),
        good_config.replace(
            &format!("secretId: {wrong_id}"),
            &format!("secretId: [{said}]"),
        ),
        good_config.replace(&address, &format!("http://u:{said}@v")),
        format!("{good_config}x: '{said}"),
    ] {
        assert_ne!(bad, good_config);
        let mark = daemon.mark();
        fs::write(daemon.path("config.yaml"), &bad).unwrap();
        daemon.signal(Signal::HUP);
        daemon.wait_for_log_after(mark, SOON, |line| {
            line.has("level", "error") && line.has("target", "config")
                || line.msg().contains("configuration")
        });
        let (code, out, err) = daemon.also(&["validate"]);
        assert_eq!(code, 2);
        canaries.assert_absent("validate", &format!("{out}{err}"));
    }
    let other_id = canaries.make("wrong-id");
    fs::write(
        daemon.path("config.yaml"),
        good_config.replace(&wrong_id, &other_id),
    )
    .unwrap();
    daemon.signal(Signal::HUP);
    proxy.wait_for(1, SOON, |request| {
        String::from_utf8_lossy(&request.body).contains(&other_id)
    });
    for command in [
        &["validate"][..],
        &["status"],
        &["status", "--json"],
        &["isready"],
        &["run", "--dry-run", "--timeout", "2s"],
        &["run", "--once", "--timeout", "2s"],
    ] {
        let (_, out, err) = daemon.also(command);
        assert!(!format!("{out}{err}").is_empty() || command == ["isready"]);
        canaries.assert_absent(&command.join(" "), &format!("{out}{err}"));
    }
    for page in ["/metrics", "/status", "/ready", "/health", "/", "/nothing"] {
        canaries.assert_absent(page, &daemon.get(page).text());
    }
    let proc = |name: &str| {
        let bytes = fs::read(format!("/proc/{}/{name}", daemon.pid())).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    canaries.assert_absent("cmdline", &proc("cmdline"));
    canaries.assert_absent("environ", &proc("environ"));
    canaries.assert_absent(
        "status file",
        &fs::read_to_string(daemon.path("status.json")).unwrap(),
    );
    canaries.assert_absent("notifications", &daemon.notifications().join("\n"));
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(daemon.stdout(), "");
    let log: String = daemon
        .log()
        .iter()
        .map(|line| format!("{}\n", line.raw))
        .collect();
    assert!(log.contains("\"level\":\"trace\"") || log.contains("\"level\":\"debug\""));
    canaries.assert_absent("the log", &log);
}
