//! `convert` on whatever it is given: it never panics, and what comes out is valid, or nothing does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

use std::path::Path;

use proptest::prelude::*;
use secrets_sync::config::Environment;
use secrets_sync::convert::{Dialect, Input, Options, Remark, Weight, convert};
use secrets_sync::plan::{self, Purpose};

fn run(text: &str, dialect: Dialect) -> (Option<String>, Vec<Remark>) {
    let input = Input {
        name: "input".to_owned(),
        text: text.to_owned(),
        found: false,
    };
    let options = Options {
        dialect,
        ..Options::default()
    };
    let mut remarks = Vec::new();
    let converted = convert(&[input], &options, None, &mut remarks);
    (converted.text, remarks)
}

/// The property: valid, or exit code 1.
fn check(text: &str, dialect: Dialect) -> Result<(), TestCaseError> {
    let (output, remarks) = run(text, dialect);
    match output {
        Some(output) => {
            let read = plan::load_text(
                Path::new("output"),
                output.clone(),
                &Environment::default(),
                Purpose::Validate,
            );
            prop_assert!(read.is_ok(), "{}\n{output}", read.unwrap_err());
        }
        None => prop_assert!(
            remarks.iter().any(|remark| remark.weight == Weight::Unread),
            "no output, and no reason"
        ),
    }
    Ok(())
}

/// All inputs of the golden cases.
fn corpus() -> Vec<(String, Dialect)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/convert");
    let mut all = Vec::new();
    for case in std::fs::read_dir(root).unwrap() {
        for file in std::fs::read_dir(case.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.file_stem().is_some_and(|stem| stem == "input") {
                let agent = path
                    .extension()
                    .is_some_and(|extension| extension != "yaml");
                let dialect = if agent {
                    Dialect::VaultAgent
                } else {
                    Dialect::Operator
                };
                all.push((std::fs::read_to_string(path).unwrap(), dialect));
            }
        }
    }
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all
}

/// Words that mean something somewhere, and some that break things.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("a".to_owned()),
        Just("secret/data/app".to_owned()),
        Just("/a//b/../c".to_owned()),
        Just("..".to_owned()),
        Just("a.b\\.c.0".to_owned()),
        Just("list.#".to_owned()),
        Just("${X}".to_owned()),
        Just("${X:-..}/$${Y}/${".to_owned()),
        Just("<X>".to_owned()),
        Just("{{ .a | b64dec }}".to_owned()),
        Just("{{ range $k, $v := . }}{{ $k }}{{ end }}".to_owned()),
        Just(
            "{{ index . \"a\" \"b\" }}{{ $.b.c }}{{ with .a }}{{ .b }}{{ else }}{{ .a }}{{ end }}"
                .to_owned()
        ),
        Just("{{ .Values.x }}".to_owned()),
        Just("tls.crt".to_owned()),
        Just("Base64".to_owned()),
        Just("Fetch".to_owned()),
        Just("0".to_owned()),
        Just("1h".to_owned()),
        Just("Merge".to_owned()),
        Just("kubernetes.io/tls".to_owned()),
        Just("https://v:8200".to_owned()),
        Just("#\u{2028}\u{85}\t x: y - '\"".to_owned()),
        Just("x".repeat(300)),
        "[a-z${}:./\\\\|#*@ -]{0,12}",
        any::<String>(),
    ]
}

/// A value: mostly a word, at times something of another shape.
fn value() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        8 => word().prop_map(serde_json::Value::from),
        1 => any::<i64>().prop_map(serde_json::Value::from),
        1 => any::<bool>().prop_map(serde_json::Value::from),
        1 => Just(serde_json::Value::Null),
        1 => Just(serde_json::json!([1, "a", {}])),
        1 => Just(serde_json::json!({"name": "a", "key": "b"})),
    ]
}

fn reference() -> impl Strategy<Value = serde_json::Value> {
    (word(), value(), value(), value(), value()).prop_map(|(key, property, version, decode, policy)| {
        serde_json::json!({
            "key": key, "property": property, "version": version, "decodingStrategy": decode, "metadataPolicy": policy
        })
    })
}

prop_compose! {
    fn manifest()(
        names in (word(), word(), value()),
        store in (word(), value(), value()),
        auth in (0..10_usize, value()),
        data in prop::collection::vec((word(), reference()), 0..4),
        from in prop::collection::vec((reference(), word(), word(), 0..4_usize), 0..3),
        template in prop::option::of((value(), value(), prop::collection::vec((word(), word()), 0..4), word())),
        interval in value(),
    ) -> String {
        let (name, target, namespace) = names;
        let (server, path, version) = store;
        let method = ["tokenSecretRef", "appRole", "kubernetes", "ldap", "userPass", "jwt", "cert", "iam", "gcp", "odd"][auth.0];
        let data: Vec<_> = data
            .into_iter()
            .map(|(key, reference)| serde_json::json!({"secretKey": key, "remoteRef": reference}))
            .collect();
        let from: Vec<_> = from
            .into_iter()
            .map(|(reference, a, b, kind)| match kind {
                0 => serde_json::json!({"extract": reference}),
                1 => serde_json::json!({"extract": reference, "rewrite": [{"regexp": {"source": a, "target": b}}]}),
                2 => serde_json::json!({"find": {"path": a, "name": {"regexp": b}}}),
                _ => serde_json::json!({"extract": reference, "rewrite": [{"merge": {"into": a}}, {"transform": {}}]}),
            })
            .collect();
        let mut target = serde_json::json!({"name": target});
        if let Some((kind, merge, data, literal)) = template {
            let data: serde_json::Map<_, _> = data.into_iter().map(|(key, text)| (key, text.into())).collect();
            target["template"] = serde_json::json!({
                "type": kind, "mergePolicy": merge, "data": data, "templateFrom": [{"literal": literal}]
            });
        }
        let store = serde_json::json!({
            "apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": "s"},
            "spec": {"provider": {"vault": {"server": server, "path": path, "version": version, "auth": {method: auth.1}}}}
        });
        let secret = serde_json::json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"secretStoreRef": {"name": "s"}, "refreshInterval": interval, "target": target, "data": data, "dataFrom": from}
        });
        format!("{store}\n---\n{secret}\n---\n{secret}\n")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn manifests_of_any_content_give_a_valid_configuration(text in manifest()) {
        check(&text, Dialect::Operator)?;
    }

    #[test]
    fn damaged_inputs_do_no_harm(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..20_usize, word()), 1..6),
    ) {
        let corpus = corpus();
        let (text, dialect) = which.get(&corpus);
        let mut text: Vec<char> = text.chars().collect();
        for (at, length, new) in cuts {
            let at = at.index(text.len() + 1);
            let end = (at + length).min(text.len());
            text.splice(at..end, new.chars());
        }
        check(&text.into_iter().collect::<String>(), *dialect)?;
    }

    #[test]
    fn any_text_at_all(text in any::<String>(), agent in any::<bool>()) {
        check(&text, if agent { Dialect::ConsulTemplate } else { Dialect::Operator })?;
    }
}
