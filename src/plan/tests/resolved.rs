//! What a good configuration becomes.

use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::*;
use crate::config::SAMPLE;
use crate::plan::{Auth, Credential, Interval, KvVersion, Layout, describe};

const OK: &str = "files: [{path: /s/a, field: x}]\n";

#[test]
fn the_sample_is_accepted_as_it_is() {
    let plan = validate(SAMPLE, &[]).unwrap();
    assert_eq!(plan.secrets.len(), 2);
    assert_eq!(
        warnings(&plan),
        [
            "secretStore.address: the variable `VAULT_ADDR` is not set",
            "secretStore.roleId: the variable `VAULT_ROLE_ID` is not set",
            "secretStore.secretId: the variable `VAULT_SECRET_ID` is not set",
        ]
    );
    assert!(describe(&plan).contains("default: ${VAULT_ADDR}"));
}

#[test]
fn the_sample_runs_with_its_variables() {
    let plan = run(
        SAMPLE,
        &[
            ("VAULT_ADDR", "https://v:8200"),
            ("VAULT_ROLE_ID", "r"),
            ("VAULT_SECRET_ID", "s"),
            ("SSL_CERT_FILE", "/ca.pem"),
        ],
    )
    .unwrap();
    assert_eq!(warnings(&plan), [""; 0]);
    assert_eq!(
        describe(&plan).split_once('\n').unwrap().1,
        "
from the environment
  address comes from the variable `VAULT_ADDR`, not from the file
  roleId comes from the variable `VAULT_ROLE_ID`, not from the file
  secretId comes from the variable `VAULT_SECRET_ID`, not from the file

stores
  default: https://v:8200, trusting /ca.pem
    login: approle at auth/approle, role ID inline, secret ID inline, root namespace

secrets
  tls-cert: every 30m
    from secret/common/tls/example (KV v2)
    /secrets/tls.crt <- template tls.crt, mode 0644
    /secrets/tls.key <- template tls.key, mode 0600
  database: every 5m
    from secret/app/database (KV v2)
    /secrets/database.env <- template database.env, mode 0600
"
    );
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let plan = run(&secret(OK), &[]).unwrap();
    let store = &plan.stores[0];
    assert_eq!(store.timeout, Duration::from_secs(30));
    assert_eq!(store.max_concurrent, 8);
    assert_eq!(store.max_response_bytes, 10 << 20);
    let secret = &plan.secrets[0];
    assert_eq!(secret.interval, Interval::Every(Duration::from_secs(300)));
    assert_eq!(secret.max_file_bytes, 1 << 20);
    assert_eq!(secret.layout, Layout::Files);
    assert!(!secret.optional);
    let source = &secret.sources[0];
    assert_eq!(
        (source.mount.as_str(), source.key.as_str()),
        ("secret", "k")
    );
    assert_eq!(
        (source.kv, source.version, source.metadata),
        (KvVersion::V2, None, false)
    );
    assert_eq!(source.namespace, "");
    let target = &secret.outputs[0].target;
    assert_eq!(target.mode.bits(), 0o600);
    assert_eq!((target.owner, target.group), (None, None));
    assert!(!target.is_dir && !target.in_place && !target.allow_empty);
}

#[test]
fn scalars_of_text_keys_keep_their_text() {
    let text = "secretStore: {address: 'https://v', authMethod: approle, roleId: 1.10, secretId: 0x1F}\n\
        secrets: [{name: 007, key: 1_000, mountPath: 1e3, files: [{path: /s/a, field: 010, mode: 0644, owner: 1000}]}]\n";
    let plan = run(text, &[]).unwrap();
    let Auth::AppRole {
        role_id, secret_id, ..
    } = &plan.sessions[0].auth
    else {
        panic!()
    };
    let Credential::Inline(role_id) = role_id else {
        panic!()
    };
    let Some(Credential::Inline(secret_id)) = secret_id else {
        panic!()
    };
    assert_eq!((role_id.expose(), secret_id.expose()), ("1.10", "0x1F"));
    let secret = &plan.secrets[0];
    assert_eq!(secret.name, "007");
    assert_eq!(
        (
            secret.sources[0].key.as_str(),
            secret.sources[0].mount.as_str()
        ),
        ("1_000", "1e3")
    );
    assert_eq!(secret.outputs[0].target.mode.bits(), 0o644);
    assert_eq!(secret.outputs[0].target.owner, Some(1000));
}

#[test]
fn namespaces_and_logins_are_inherited_and_each_session_is_one() {
    let text = "
secretStore:
  address: https://v
  namespace: /team-a/
  mountPath: kv
  kvVersion: v1
  token: t
  credentials:
    b: {authMethod: approle, roleId: r, authMount: /roles/}
    c: {token: u, authNamespace: ''}
secretStores:
  lab: {address: 'http://127.0.0.1:8200', authMethod: none}
  unused: {address: 'https://u', token: t}
secrets:
  - {name: a, key: //x//y/, files: [{path: /s/1, field: x}]}
  - {name: b, key: k, namespace: '', kvVersion: v2, version: 3, files: [{path: /s/2, field: x}]}
  - {name: c, key: k, credentials: b, namespace: team-b, files: [{path: /s/3, field: x}]}
  - {name: d, key: k, credentials: b, files: [{path: /s/4, field: x}]}
  - {name: e, key: k, credentials: c, files: [{path: /s/5, field: x}]}
  - {name: f, path: k, store: lab, files: [{path: /s/6, field: x}]}
  - name: g
    credentials: b
    namespace: n
    sources:
      one: {key: k}
      two: {key: l, credentials: default, mountPath: m, kvVersion: v2, metadata: true}
    files: [{path: /s/7, field: one.x}]
";
    let plan = run(text, &[]).unwrap();
    assert_eq!(warnings(&plan), [""; 0]);
    let stores: Vec<_> = plan
        .stores
        .iter()
        .map(|store| store.name.as_str())
        .collect();
    assert_eq!(stores, ["default", "lab"]);
    let reads: Vec<String> = plan
        .secrets
        .iter()
        .flat_map(|secret| &secret.sources)
        .map(|s| {
            format!(
                "{}/{}@{} {:?} via {}:{}@{}",
                s.mount,
                s.key,
                s.namespace,
                s.kv,
                s.session.store,
                s.session.credentials,
                s.session.namespace
            )
        })
        .collect();
    assert_eq!(
        reads,
        [
            "kv/x/y@team-a V1 via default:default@team-a",
            "kv/k@ V2 via default:default@team-a",
            "kv/k@team-b V1 via default:b@team-b",
            "kv/k@team-a V1 via default:b@team-a",
            "kv/k@team-a V1 via default:c@",
            "secret/k@ V2 via lab:default@",
            "kv/k@n V1 via default:b@n",
            "m/l@n V2 via default:default@team-a",
        ]
    );
    let sessions: Vec<String> = plan
        .sessions
        .iter()
        .map(|s| format!("{}:{}@{}", s.key.store, s.key.credentials, s.key.namespace))
        .collect();
    assert_eq!(
        sessions,
        [
            "default:default@team-a",
            "default:b@team-b",
            "default:b@team-a",
            "default:c@",
            "lab:default@",
            "default:b@n"
        ]
    );
    let Auth::AppRole { mount, .. } = &plan.sessions[1].auth else {
        panic!()
    };
    assert_eq!(mount, "roles");
    let metadata: Vec<bool> = plan.secrets[6].sources.iter().map(|s| s.metadata).collect();
    assert_eq!(metadata, [false, true]);
}

#[test]
fn positions_are_the_written_order_and_told_where_go_would_have_sorted() {
    let text = secret(
        "template: {data: {user: U, pass: P, named: N}}\nfiles: [{path: /s/user}, {path: /s/n, template: named}, {path: /s/pass}]",
    );
    let plan = run(&text, &[]).unwrap();
    let pairs: Vec<String> = plan.secrets[0]
        .outputs
        .iter()
        .map(|o| {
            format!(
                "{} {}",
                o.target.path.as_path().display(),
                o.template.as_deref().unwrap()
            )
        })
        .collect();
    assert_eq!(pairs, ["/s/user user", "/s/n named", "/s/pass pass"]);
    assert_eq!(
        warnings(&plan),
        [
            "secrets: files take their templates in written order, where the Go tool sorted the names: let every file name its `template` in `a`"
        ]
    );
    let sorted =
        secret("template: {data: {pass: P, user: U}}\nfiles: [{path: /s/p}, {path: /s/u}]");
    assert_eq!(warnings(&run(&sorted, &[]).unwrap()), [""; 0]);
}

#[test]
fn the_environment_wins_and_is_named() {
    let text = store("address: ${NOT_SET}\ntokenFile: /t\nnamespace: file");
    let plan = run(
        &text,
        &[
            ("VAULT_ADDR", "https://vault"),
            ("BAO_ADDR", "https://bao"),
            ("VAULT_TOKEN", " t${X "),
            ("VAULT_NAMESPACE", ""),
            ("VAULT_SKIP_VERIFY", "on"),
        ],
    )
    .unwrap();
    assert_eq!(plan.stores[0].address.to_string(), "https://bao:443");
    assert!(plan.stores[0].tls.skip_verify);
    assert_eq!(plan.sessions[0].key.namespace, "file");
    let Auth::Token(Credential::Inline(token)) = &plan.sessions[0].auth else {
        panic!()
    };
    assert_eq!(token.expose(), "t${X");
    assert_eq!(
        notices(&plan, false),
        [
            "secretStore.address: address comes from the variable `BAO_ADDR`, not from the file",
            "secretStore.token: token comes from the variable `VAULT_TOKEN`, not from the file",
            "secretStore.tlsSkipVerify: tlsSkipVerify comes from the variable `VAULT_SKIP_VERIFY`",
        ]
    );
}

#[test]
fn a_server_in_the_environment_is_a_default_store() {
    let text = "secrets: [{name: a, key: k, files: [{path: /s/a, field: x}]}]";
    let plan = run(text, &[("VAULT_ADDR", "https://v"), ("VAULT_TOKEN", "t")]).unwrap();
    assert_eq!(plan.stores[0].address.to_string(), "https://v:443");
}

#[test]
fn credentials_that_the_method_does_not_use_are_a_warning() {
    let text = store("address: https://v\nauthMethod: token\ntoken: t\nroleId: r");
    let plan = run(&text, &[("VAULT_SECRET_ID", "s")]).unwrap();
    assert!(matches!(plan.sessions[0].auth, Auth::Token(_)));
    assert_eq!(
        warnings(&plan),
        [
            "secretStore.roleId: `roleId` is not used: the auth method is `token`",
            "secretStore.secretId: the variable `VAULT_SECRET_ID` is not used: the auth method is `token`",
        ]
    );
}

#[test]
fn methods_are_inferred_from_what_is_there() {
    for (lines, expected) in [
        ("tokenFile: /t", "token"),
        ("roleIdFile: /r", "approle"),
        ("certRole: web\ntlsClientCert: /c\ntlsClientKey: /k", "cert"),
        ("token: t\ncertRole: web", "token"),
    ] {
        let plan = run(&store(&format!("address: https://v\n{lines}")), &[]).unwrap();
        let method = match plan.sessions[0].auth {
            Auth::Token(_) => "token",
            Auth::AppRole { .. } => "approle",
            Auth::Cert { .. } => "cert",
            Auth::None => "none",
        };
        assert_eq!(method, expected, "{lines}");
    }
}

#[test]
fn plain_http_to_elsewhere_is_a_warning() {
    let warned = |address: &str| {
        let plan = run(&store(&format!("address: {address}\ntoken: t")), &[]).unwrap();
        warnings(&plan).len()
    };
    assert_eq!(warned("http://vault:8200"), 1);
    assert_eq!(warned("http://127.0.0.1:8200"), 0);
    assert_eq!(warned("unix:///run/vault.sock"), 0);
}

#[test]
fn anchors_merges_and_foreign_keys_work() {
    let text = "
x-file: &file {mode: 0640, x-note: ignored}
x-tls: &tls {refreshInterval: once, optional: true}
secretStore: {address: 'https://v', token: t, x-y: 1}
secrets:
  - <<: *tls
    name: a
    key: k
    optional: false
    template: {data: {x-name: '{{ .a }}'}}
    files:
      - {<<: *file, path: /s/a, template: x-name}
";
    let plan = run(text, &[]).unwrap();
    let secret = &plan.secrets[0];
    assert_eq!(secret.interval, Interval::Once);
    assert!(!secret.optional);
    assert_eq!(secret.outputs[0].target.mode.bits(), 0o640);
    assert_eq!(secret.outputs[0].template.as_deref(), Some("x-name"));
}

#[test]
fn every_string_is_expanded_but_templates() {
    let text = secret(
        "template: {data: {t: '${X}'}}\noptional: ${FLAG}\nversion: ${N}\nfiles: [{path: '/s/${X}', template: t}]",
    );
    let plan = run(&text, &[("X", "one"), ("FLAG", "true"), ("N", "7")]).unwrap();
    let secret = &plan.secrets[0];
    assert!(secret.optional);
    assert_eq!(secret.sources[0].version, Some(7));
    assert_eq!(secret.outputs[0].target.path.as_path(), Path::new("/s/one"));
    assert!(run(&text, &[("X", "one"), ("FLAG", "true"), ("N", "7")]).is_ok());
}

#[test]
fn trust_is_what_is_named_alone() {
    let bundle = |lines: &str, variables: &[(&str, &str)]| {
        let text = store(&format!("address: https://v\ntoken: t\n{lines}"));
        run(&text, variables).unwrap().stores[0].tls.clone()
    };
    let env = [("SSL_CERT_FILE", "/my.pem")];
    assert_eq!(
        bundle("", &env).system_bundle.as_deref(),
        Some(Path::new("/my.pem"))
    );
    let named = bundle("tlsCACert: /ca.pem", &env);
    assert_eq!(
        (named.ca_cert.as_deref(), named.system_bundle),
        (Some(Path::new("/ca.pem")), None)
    );
    // An empty default means none.
    assert_eq!(bundle("tlsCACert: ${CA:-}", &env).ca_cert, None);
}

#[test]
fn a_thousand_secrets_resolve_quickly() {
    let mut text = String::from(
        "limits: {maxSecrets: 2000}\nsecretStore: {address: 'https://v', token: t}\nsecrets:\n",
    );
    for n in 0..1000 {
        text.push_str(&format!(
            "  - name: s{n}\n    key: app/s{n}\n    files:\n      - path: /s/{n}/a\n        field: a\n        mode: 0644\n      - path: /s/{n}/b\n        format: json\n"
        ));
    }
    // Of this thread's own: others may have the processor.
    let used = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let start = used();
    let plan = run(&text, &[]).unwrap();
    assert_eq!(plan.secrets.len(), 1000);
    let took = used() - start;
    assert!(took < Duration::from_secs(1), "{took:?}");
}
