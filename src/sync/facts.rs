//! A configuration as `explain` tells it: what each secret reads, needs and writes.

use crate::config::show_duration;
use crate::observe::details::{FileFacts, PolicyRule, SecretFacts, SourceFacts};
use crate::plan::{self, Interval, KvVersion, Layout, Output, Plan, Secret, Source};
use crate::store::vault::{kv, policy};

/// Of each secret, in written order. Offline, and without any credential.
#[must_use]
pub fn facts(plan: &Plan) -> Vec<SecretFacts> {
    plan.secrets
        .iter()
        .map(|secret| of_secret(secret, plan))
        .collect()
}

fn of_secret(secret: &Secret, plan: &Plan) -> SecretFacts {
    SecretFacts {
        name: secret.name.clone(),
        interval: match secret.interval {
            Interval::Every(interval) => show_duration(interval),
            Interval::Once => "once".to_owned(),
        },
        optional: secret.optional,
        layout: match secret.layout {
            Layout::Files => "files",
            Layout::Directory => "directory",
        }
        .to_owned(),
        sources: secret
            .sources
            .iter()
            .map(|source| of_source(source, plan))
            .collect(),
        files: secret.outputs.iter().map(of_output).collect(),
    }
}

fn of_source(source: &Source, plan: &Plan) -> SourceFacts {
    let key = &source.session;
    let store = plan.stores.iter().find(|store| store.name == key.store);
    let session = plan.sessions.iter().find(|session| session.key == *key);
    SourceFacts {
        alias: source.alias.clone(),
        store: key.store.clone(),
        address: store.map_or_else(String::new, |store| store.address.to_string()),
        namespace: source.namespace.clone(),
        credentials: key.credentials.clone(),
        auth_namespace: key.namespace.clone(),
        method: session
            .map_or("none", |session| session.auth.method())
            .to_owned(),
        mount: source.mount.clone(),
        key: source.key.clone(),
        kv_version: match source.kv {
            KvVersion::V1 => "v1",
            KvVersion::V2 => "v2",
        }
        .to_owned(),
        version: source.version,
        metadata: source.metadata,
        request: format!("/v1/{}", kv::request_path(source)),
        policy: policy::read_rule(source).map(|rule| PolicyRule {
            hcl: rule.to_string(),
            path: rule.path,
            capabilities: vec![rule.capability.to_owned()],
        }),
    }
}

fn of_output(output: &Output) -> FileFacts {
    let target = &output.target;
    FileFacts {
        path: target.path.as_path().display().to_string(),
        is_dir: target.is_dir,
        mode: format!("{:04o}", target.mode.bits()),
        owner: target.owner,
        group: target.group,
        content: plan::content(output),
        in_place: target.in_place,
    }
}
