//! What a good configuration becomes.

use std::time::{Duration, Instant};

use super::*;
use crate::config::SAMPLE;
use crate::plan::{Auth, Credential, Interval, KvVersion};
use crate::render::Content;

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
}

#[test]
fn the_sample_runs_with_its_variables() {
    let plan = run(
        SAMPLE,
        &[
            ("VAULT_ADDR", "https://v:8200"),
            ("VAULT_ROLE_ID", "r"),
            ("VAULT_SECRET_ID", "s"),
        ],
    )
    .unwrap();
    assert_eq!(warnings(&plan), [""; 0]);
    assert_eq!(plan.stores.len(), 1);
    assert_eq!(plan.sessions.len(), 1);
    let names: Vec<_> = plan
        .secrets
        .iter()
        .map(|s| (s.name.as_str(), s.interval))
        .collect();
    assert_eq!(
        names,
        [
            ("tls-cert", Interval::Every(Duration::from_secs(1800))),
            ("database", Interval::Every(Duration::from_secs(300)))
        ]
    );
}

#[test]
fn a_thousand_secrets_resolve_quickly() {
    let mut text = String::from(
        "limits: {maxSecrets: 2000}\nsecretStore: {address: 'https://v', token: t}\nsecrets:\n",
    );
    for n in 0..1000 {
        text.push_str(&format!(
            "  - name: s{n}\n    key: app/s{n}\n    template:\n      data:\n        b: '{{{{ .x }}}}'\n        a: '{{{{ .y }}}}'\n    files:\n      - path: /s/{n}/a\n        mode: 0644\n      - path: /s/{n}/b\n"
        ));
    }
    let start = Instant::now();
    let plan = run(&text, &[]).unwrap();
    assert_eq!(plan.secrets.len(), 1000);
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}
