//! `convert --query-vault` on a real server, then `validate` and `run --once`: the bytes of every file
//! against those that the operator would have put into the Kubernetes Secret (see `operator`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod operator;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use operator::{Data, Store};
use serde_json::{Value, json};
use support::{Api, Daemon, Finished, OpenBao, Setup, unique};

/// A test's own mounts, with something of everything in them.
struct World {
    api: Api,
    v2: String,
    v1: String,
    token: String,
}

impl World {
    fn new(api: &Api) -> Self {
        let v2 = api.fresh_kv(2);
        let v1 = api.fresh_kv(1);
        api.kv2_put(&v2, "app", &json!({"old": "version one"}));
        api.kv2_put(
            &v2,
            "app",
            &json!({
                "user": "admin", "password": "p<a>&s's \"w\\ord\u{2028}é", "port": 5432, "on": true,
                "big": 1_234_567_890_123_u64, "list": [{"name": "x"}, {"name": "y"}], "object": {"b": 1, "a": ["<"]},
                "tls.crt": "certificate\n", "dotted": {"tls.crt": "inner", "deep": {"er": "deepest"}},
                "b64": "aGVsbG8=", "binary": "//79AA==", "url64": "_-79AA==", "auto": "c2VjcmV0", "plain": "not base64!",
                "inner": {"u": "inner user", "n": 7}, "inner-text": "{\"v\": \"from text\", \"w\": {\"x\": 1}}",
                "hosts": "a,b,c", "odd name": "converted", "empty": "", "nothing": null
            }),
        );
        api.kv2_metadata(
            &v2,
            "app",
            &json!({"custom_metadata": {"owner": "team-a", "env": "prod"}}),
        );
        api.kv2_put(
            &v2,
            "db",
            &json!({"user": "db user", "password": "db password"}),
        );
        api.kv2_put(&v2, "team/one", &json!({"a": "1"}));
        api.kv2_put(&v2, "team/two", &json!({"b": "<2>"}));
        api.kv2_metadata(
            &v2,
            "team/two",
            &json!({"custom_metadata": {"env": "prod"}}),
        );
        api.kv2_put(&v2, "team/sub/three", &json!({"c": 3}));
        api.kv2_put(
            &v2,
            "objects",
            &json!({"one": {"k1": "v1"}, "two": "{\"k2\": \"v2\"}"}),
        );
        api.kv1_put(&v1, "legacy/app", &json!({"user": "old", "n": 3}));
        let policy = unique("convert");
        let rule =
            |path: String| format!("path \"{path}\" {{ capabilities = [\"read\", \"list\"] }}\n");
        api.policy(
            &policy,
            &format!(
                "{}{}{}path \"{v2}/data/forbidden\" {{ capabilities = [\"deny\"] }}\n",
                rule(format!("{v2}/data/*")),
                rule(format!("{v2}/metadata/*")),
                rule(format!("{v1}/*"))
            ),
        );
        let token = api.token(&[&policy], "10m", &Value::Null);
        Self {
            api: api.clone(),
            v2,
            v1,
            token,
        }
    }

    /// A store of the manifests.
    fn store(&self, name: &str, path: Option<&str>, version: &str) -> Value {
        let mut vault = json!({
            "server": self.api.address(), "version": version,
            "auth": {"tokenSecretRef": {"name": "t", "key": "t"}}
        });
        if let Some(path) = path {
            vault["path"] = json!(path);
        }
        json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "metadata": {"name": name},
            "spec": {"provider": {"vault": vault}}
        })
    }

    fn asked(&self, setup: Setup) -> Setup {
        ["", "_V1", "_V2", "_ANYWHERE"]
            .iter()
            .fold(setup, |setup, suffix| {
                setup.env(&format!("VAULT_TOKEN{suffix}"), &self.token)
            })
    }

    /// Converts manifests, validates what comes out, runs it once; gives the directory of the
    /// files and what was said.
    fn run(&self, manifests: &[Value]) -> (tempfile::TempDir, Finished) {
        let out = tempfile::tempdir().unwrap();
        let text: Vec<String> = manifests.iter().map(ToString::to_string).collect();
        let converted = self
            .asked(Daemon::bare())
            .file("manifests.json", &text.join("\n---\n"))
            .any_stdout()
            .any_stderr()
            .run(&[
                "convert",
                "--query-vault",
                "--vault-addr",
                &self.api.address(),
                "--output-dir",
                out.path().to_str().unwrap(),
                "manifests.json",
            ]);
        let config = converted.stdout.clone();
        assert!(!config.contains(&self.token) && !converted.stderr.contains(&self.token));
        self.asked(Daemon::new(&config))
            .any_stdout()
            .any_stderr()
            .validate();
        let config = config.as_str();
        self.asked(Daemon::new(config))
            .any_stdout()
            .any_stderr()
            .once();
        (out, converted)
    }
}

fn manifest(name: &str, store: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["secretStoreRef"] = json!({"name": store, "kind": "ClusterSecretStore"});
    if spec["target"].is_null() {
        spec["target"] = json!({});
    }
    spec["target"]["name"] = json!(name);
    json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": name}, "spec": spec})
}

/// The files of a directory, by name.
fn files(directory: &Path) -> Data {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect()
}

fn shown(data: &Data) -> BTreeMap<&str, String> {
    data.iter()
        .map(|(name, bytes)| (name.as_str(), String::from_utf8_lossy(bytes).into_owned()))
        .collect()
}

#[test]
fn values_properties_and_keys_are_the_operators() {
    let bao = OpenBao::shared();
    let world = World::new(&bao);
    let (v1, v2) = (&world.v1, &world.v2);
    let entry = |key: &str, reference: Value| json!({"secretKey": key, "remoteRef": reference});
    let specs = [
        (
            "values",
            "v2",
            json!({"data": [
                entry("user", json!({"key": "app", "property": "user"})),
                entry("password", json!({"key": "app", "property": "password"})),
                entry("port", json!({"key": "app", "property": "port"})),
                entry("on", json!({"key": "app", "property": "on"})),
                entry("big", json!({"key": "app", "property": "big"})),
                entry("list", json!({"key": "app", "property": "list"})),
                entry("object", json!({"key": "app", "property": "object"})),
                entry("tls.crt", json!({"key": "app", "property": "tls.crt"})),
                entry("escaped", json!({"key": "app", "property": "dotted.tls\\.crt"})),
                entry("deep", json!({"key": "app", "property": "dotted.deep.er"})),
                entry("index", json!({"key": "app", "property": "list.1.name"})),
                entry("length", json!({"key": "app", "property": "list.#"})),
                entry("empty", json!({"key": "app", "property": "empty"})),
                entry("nothing", json!({"key": "app", "property": "nothing"})),
                entry("decoded", json!({"key": "app", "property": "b64", "decodingStrategy": "Base64"})),
                entry("binary", json!({"key": "app", "property": "binary", "decodingStrategy": "Base64"})),
                entry("url", json!({"key": "app", "property": "url64", "decodingStrategy": "Base64URL"})),
                entry("auto", json!({"key": "app", "property": "auto", "decodingStrategy": "Auto"})),
                entry("plain", json!({"key": "app", "property": "plain", "decodingStrategy": "Auto"})),
            ]}),
        ),
        (
            "whole",
            "v2",
            json!({"data": [entry("config.json", json!({"key": "app"}))]}),
        ),
        (
            "keys",
            "v2",
            json!({"data": [
                entry("mount", json!({"key": format!("{v2}/app"), "property": "user"})),
                entry("data", json!({"key": format!("{v2}/data/app"), "property": "user"})),
                entry("slash", json!({"key": "/app", "property": "user"})),
                entry("other", json!({"key": "db", "property": "user"})),
                entry("whole", json!({"key": "db"})),
                entry("old", json!({"key": "app", "property": "old", "version": "1"})),
                entry("owner", json!({"key": "app", "property": "owner", "metadataPolicy": "Fetch"})),
                entry("version", json!({"key": "app", "property": "current_version", "metadataPolicy": "Fetch"})),
            ]}),
        ),
        (
            "legacy",
            "v1",
            json!({"data": [
                entry("user", json!({"key": "legacy/app", "property": "user"})),
                entry("n", json!({"key": format!("{v1}/legacy/app"), "property": "n"})),
                entry("whole", json!({"key": "legacy/app"})),
            ]}),
        ),
        (
            "anywhere",
            "anywhere",
            json!({"data": [
                entry("inserted", json!({"key": format!("{v2}/app"), "property": "user"})),
                entry("written", json!({"key": format!("{v2}/data/team/one"), "property": "a"})),
            ]}),
        ),
    ];
    let mut manifests = vec![
        world.store("v2", Some(v2), "v2"),
        world.store("v1", Some(v1), "v1"),
        world.store("anywhere", None, "v2"),
    ];
    manifests.extend(
        specs
            .iter()
            .map(|(name, store, spec)| manifest(name, store, spec)),
    );
    let (out, _) = world.run(&manifests);
    for (name, store, spec) in &specs {
        let store = match *store {
            "v1" => Store {
                path: Some(v1),
                v2: false,
            },
            "v2" => Store {
                path: Some(v2),
                v2: true,
            },
            _ => Store {
                path: None,
                v2: true,
            },
        };
        let expected = operator::data(&world.api, spec, &store);
        let found = files(&out.path().join(name));
        assert_eq!(shown(&found), shown(&expected), "{name}");
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn whole_secrets_are_written_out_field_by_field() {
    let bao = OpenBao::shared();
    let world = World::new(&bao);
    let specs = [
        ("extract", json!({"dataFrom": [{"extract": {"key": "db"}}]})),
        (
            "conversion",
            json!({"dataFrom": [{"extract": {"key": "app"}}]}),
        ),
        (
            "later-wins",
            json!({
                "dataFrom": [{"extract": {"key": "app"}}, {"extract": {"key": "db"}}],
                "data": [{"secretKey": "password", "remoteRef": {"key": "app", "property": "hosts"}}]
            }),
        ),
        (
            "inside",
            json!({"dataFrom": [{"extract": {"key": "app", "property": "inner"}}]}),
        ),
        (
            "inside-text",
            json!({"dataFrom": [{"extract": {"key": "app", "property": "inner-text"}}]}),
        ),
        (
            "decoded",
            json!({"dataFrom": [{"extract": {"key": "db", "decodingStrategy": "Auto"}}]}),
        ),
        (
            "renamed",
            json!({"dataFrom": [{"extract": {"key": "db"}, "rewrite": [
                {"regexp": {"source": "(.*)", "target": "pg_$1"}}, {"regexp": {"source": "^pg_u", "target": "PG-U"}}
            ]}]}),
        ),
        (
            "selected",
            json!({"dataFrom": [{"extract": {"key": "app"}, "select": [
                {"regexp": "o", "names": ["user", "nowhere"], "operation": "Include"},
                {"names": ["old"], "regexp": "^ho", "operation": "Exclude"}
            ]}]}),
        ),
        (
            "renamed-and-selected",
            json!({"dataFrom": [{
                "extract": {"key": "db"},
                "rewrite": [{"regexp": {"source": "^", "target": "pg_"}}],
                "select": [{"names": ["user", "pg_user"], "operation": "Exclude"}]
            }]}),
        ),
        (
            "found-and-selected",
            json!({"dataFrom": [{
                "find": {"path": "team"},
                "select": [{"regexp": "one|two", "operation": "Include"}, {"names": ["team/two"], "operation": "Exclude"}]
            }]}),
        ),
        (
            "merged",
            json!({"dataFrom": [{"extract": {"key": "objects"}, "rewrite": [{"merge": {}}]}]}),
        ),
        (
            "found",
            json!({"dataFrom": [{"find": {"path": "team", "name": {"regexp": "t(wo|hree)"}}}]}),
        ),
        (
            "tagged",
            json!({"dataFrom": [{"find": {"tags": {"env": "prod"}}}]}),
        ),
        (
            "found-renamed",
            json!({"dataFrom": [{"find": {"path": "team"}, "rewrite": [{"regexp": {"source": "/", "target": "-"}}]}]}),
        ),
    ];
    let mut manifests = vec![world.store("v2", Some(&world.v2), "v2")];
    manifests.extend(specs.iter().map(|(name, spec)| manifest(name, "v2", spec)));
    let (out, _) = world.run(&manifests);
    let store = Store {
        path: Some(&world.v2),
        v2: true,
    };
    for (name, spec) in &specs {
        let expected = operator::data(&world.api, spec, &store);
        assert!(!expected.is_empty(), "{name}");
        assert_eq!(
            shown(&files(&out.path().join(name))),
            shown(&expected),
            "{name}"
        );
    }
}

/// What a template gives, of the data.
type Rendered = fn(&dyn Fn(&str) -> String) -> String;

#[test]
fn templates_give_what_the_operators_gave() {
    let bao = OpenBao::shared();
    let world = World::new(&bao);
    let cases: [(&str, &str, Rendered); 14] = [
        ("plain", "{{ .user }}", |v| v("user")),
        ("renamed", "{{ .pw }}!", |v| format!("{}!", v("pw"))),
        ("string", "{{ .port | toString }}", |v| v("port")),
        ("auth", "{{ printf \"%s:%s\" .user .pw | b64enc }}", |v| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", v("user"), v("pw")))
        }),
        ("indexed", "{{ index . \"tls.crt\" }}x", |v| {
            format!("{}x", v("tls.crt"))
        }),
        ("json", "{{ (.doc | fromJson).dotted.deep.er }}", |_| {
            "deepest".into()
        }),
        ("quoted", "{{ .object | toJson }}", |v| {
            operator::json(&Value::String(v("object")))
        }),
        (
            "branch",
            "{{ if eq .port \"5432\" }}pg{{ else }}other{{ end }}",
            |_| "pg".into(),
        ),
        ("truth", "{{ if .on }}on{{ end }}", |_| "on".into()),
        (
            "list",
            "{{ range $i, $h := splitList \",\" .hosts }}{{ $i }}={{ $h }};{{ end }}",
            |_| "0=a;1=b;2=c;".into(),
        ),
        ("decoded", "<{{ .hello }}>", |_| "<hello>".into()),
        ("urlquery", "{{ .pw | urlquery }}", |v| {
            v("pw").bytes().fold(String::new(), |mut all, byte| {
                match byte {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                        all.push(char::from(byte))
                    }
                    b' ' => all.push('+'),
                    _ => all.push_str(&format!("%{byte:02X}")),
                }
                all
            })
        }),
        // Braces of yet another program, as the operator's users write them for Alertmanager.
        (
            "braces",
            "{{ .user }} {{ \"{{\" }} .Status {{ \"}}\" }} {{ `{{ range .Alerts }}{{ end }}` }}",
            |v| {
                format!(
                    "{} {{{{ .Status }}}} {{{{ range .Alerts }}}}{{{{ end }}}}",
                    v("user")
                )
            },
        ),
        (
            "lines",
            "a\n{{- if .user }}\n  b: {{ .user | quote }}\n{{- end }}\n",
            |v| format!("a\n  b: \"{}\"\n", v("user")),
        ),
    ];
    let data: serde_json::Map<String, Value> = cases
        .iter()
        .map(|(name, template, _)| ((*name).to_owned(), json!(template)))
        .collect();
    let entry = |key: &str, property: &str| json!({"secretKey": key, "remoteRef": {"key": "app", "property": property}});
    let spec = json!({
        "target": {"template": {
            "mergePolicy": "Merge", "data": data,
            "templateFrom": [{"literal": "from: \"{{ .user }}@{{ .db }}\"\nplain: lost\n"}]
        }},
        "data": [
            entry("user", "user"), entry("pw", "password"), entry("port", "port"), entry("tls.crt", "tls.crt"),
            entry("object", "object"), entry("on", "on"), entry("hosts", "hosts"),
            {"secretKey": "doc", "remoteRef": {"key": "app"}},
            {"secretKey": "hello", "remoteRef": {"key": "app", "property": "b64", "decodingStrategy": "Base64"}},
            {"secretKey": "keystore", "remoteRef": {"key": "app", "property": "binary", "decodingStrategy": "Base64"}},
            {"secretKey": "db", "remoteRef": {"key": "db", "property": "user"}}
        ]
    });
    let store = Store {
        path: Some(&world.v2),
        v2: true,
    };
    let (out, _) = world.run(&[
        world.store("v2", Some(&world.v2), "v2"),
        manifest("all", "v2", &spec),
    ]);
    let mut expected = operator::data(&world.api, &spec, &store);
    let gathered = expected.clone();
    let value = |name: &str| String::from_utf8(gathered[name].clone()).unwrap();
    expected.insert(
        "from".to_owned(),
        format!("{}@{}", value("user"), value("db")).into_bytes(),
    );
    for (name, _, rendered) in &cases {
        expected.insert((*name).to_owned(), rendered(&value).into_bytes());
    }
    assert_eq!(shown(&files(&out.path().join("all"))), shown(&expected));
}

#[test]
fn what_cannot_be_read_is_commented_out_with_its_reason() {
    let bao = OpenBao::shared();
    let world = World::new(&bao);
    let entry = |key: &str| json!({"data": [{"secretKey": "a", "remoteRef": {"key": key, "property": "user"}}]});
    let (out, converted) = world.run(&[
        world.store("v2", Some(&world.v2), "v2"),
        manifest("there", "v2", &entry("db")),
        manifest("absent", "v2", &entry("nowhere")),
        manifest("forbidden", "v2", &entry("forbidden")),
        manifest("fieldless", "v2", &entry("team/one")),
    ]);
    let left: Vec<String> = files_of(out.path());
    assert_eq!(left, ["there"]);
    let text = &converted.stdout;
    for (name, reason) in [
        ("absent", "(404)"),
        ("forbidden", "(403)"),
        ("fieldless", "no field `user`"),
    ] {
        let at = text
            .find(&format!("  # - name: {name}\n"))
            .unwrap_or_else(|| panic!("{name}: {text}"));
        let rest = &text[at + 14..];
        let part = &rest[..rest.find("- name:").unwrap_or(rest.len())];
        assert!(part.contains(reason), "{name}: {text}");
    }
    assert!(
        converted.stderr.contains("1 secret converted, 3 left out"),
        "{}",
        converted.stderr
    );
}

/// The operator fails where two fields get one name; nothing may vanish without a word here.
#[test]
fn two_fields_that_become_one_file_are_named() {
    let bao = OpenBao::shared();
    let world = World::new(&bao);
    world.api.kv2_put(
        &world.v2,
        "twins",
        &json!({"a/b": "1", "a_b": "2", "c": "3"}),
    );
    let twins =
        |rewrite: Value| json!({"dataFrom": [{"extract": {"key": "twins"}, "rewrite": rewrite}]});
    let (out, converted) = world.run(&[
        world.store("v2", Some(&world.v2), "v2"),
        manifest("converted", "v2", &twins(json!([]))),
        manifest("renamed", "v2", &twins(json!([{"regexp": {"source": "[/_]", "target": "-"}}]))),
        manifest(
            "found",
            "v2",
            &json!({"dataFrom": [{
                "find": {"path": "team"}, "rewrite": [{"regexp": {"source": "^.*$", "target": "same"}}]
            }]}),
        ),
    ]);
    for (name, file) in [("converted", "a_b"), ("renamed", "a-b"), ("found", "same")] {
        let line = converted
            .stderr
            .lines()
            .find(|line| line.contains(&format!("`{name}`: warning")))
            .unwrap_or_else(|| panic!("{name}: {}", converted.stderr));
        assert!(
            line.contains(&format!("two names become `{file}`")),
            "{line}"
        );
        assert!(out.path().join(name).join(file).exists(), "{name}");
    }
}

fn files_of(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The store says version 2, the mount speaks 1.
#[test]
fn the_version_that_the_mount_speaks_counts() {
    let bao = OpenBao::shared();
    let world = World::new(&bao);
    let spec = json!({"data": [{"secretKey": "user", "remoteRef": {"key": "legacy/app", "property": "user"}}]});
    let (out, converted) = world.run(&[
        world.store("v2", Some(&world.v1), "v2"),
        manifest("a", "v2", &spec),
    ]);
    assert_eq!(
        fs::read_to_string(out.path().join("a/user")).unwrap(),
        "old"
    );
    assert!(
        converted.stderr.contains("speaks KV v1"),
        "{}",
        converted.stderr
    );
}

/// One login by AppRole, revoked when it is done.
#[test]
fn approle_logs_in_once_and_leaves_no_token() {
    let bao = OpenBao::shared();
    let world = World::new(&bao);
    let policy = bao.reader_policy(&world.v2);
    let role = unique("convert");
    let (role_id, secret_id) = bao.approle(
        &role,
        &json!({"token_policies": [policy], "secret_id_num_uses": 1}),
    );
    let spec = json!({"dataFrom": [{"extract": {"key": "db"}}]});
    let manifests = [
        world.store("v2", Some(&world.v2), "v2"),
        manifest("a", "v2", &spec),
        manifest("b", "v2", &spec),
    ];
    let text: Vec<String> = manifests.iter().map(ToString::to_string).collect();
    let converted = Daemon::bare()
        .file("m.json", &text.join("\n---\n"))
        .any_stdout()
        .any_stderr()
        .run(&[
            "convert",
            "--query",
            "m.json",
            "--vault-addr",
            &bao.address(),
            "--vault-role-id",
            &role_id,
            "--vault-secret-id",
            &secret_id,
        ]);
    assert!(
        converted.stdout.contains("field: password"),
        "{}",
        converted.stdout
    );
    for secret in [&role_id, &secret_id] {
        assert!(!converted.stdout.contains(secret.as_str()));
    }
    // One use was enough for two manifests, and is spent.
    Daemon::bare()
        .file("m.json", &text.join("\n---\n"))
        .env("VAULT_ADDR", &bao.address())
        .env("VAULT_ROLE_ID", &role_id)
        .env("VAULT_SECRET_ID", &secret_id)
        .status(1)
        .any_stderr()
        .run(&["convert", "--query-vault", "m.json"]);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let port = support::ports::reserve();
    let address = format!("http://127.0.0.1:{}", port.number());
    let spec = json!({"data": [{"secretKey": "a", "remoteRef": {"key": "db", "property": "a"}}]});
    let finished = Daemon::bare()
        .file("m.json", &manifest("a", "v2", &spec).to_string())
        .env("VAULT_ADDR", &address)
        .env("VAULT_TOKEN", "t")
        .any_stdout()
        .any_stderr()
        .run(&["convert", "--query-vault", "m.json"]);
    assert!(
        finished.stdout.contains("# - name: a\n"),
        "{}",
        finished.stdout
    );
    assert!(finished.stderr.contains(&address), "{}", finished.stderr);
    Daemon::bare()
        .file("m.json", "{}")
        .status(1)
        .any_stderr()
        .run(&["convert", "--query-vault", "m.json"]);
}
