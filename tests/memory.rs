//! What of a secret is left in the daemon once its file is written: in its memory, its environment,
//! its arguments. Looked at from outside, as root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)] // that is how a test fails

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;

use serde_json::json;
use support::{Daemon, OpenBao, SOON, Signal};

/// Unlike anything else: 32 letters and digits.
fn canary() -> String {
    std::iter::repeat_with(fastrand::alphanumeric)
        .take(32)
        .collect()
}

/// How often each value stands in the memory of a process, by kind of region; `None` where the
/// kernel does not let us look.
fn remains(pid: u32, values: &[&str]) -> Option<Vec<BTreeMap<String, usize>>> {
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut found = vec![BTreeMap::new(); values.len()];
    let mut looked = 0;
    for line in maps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (range, rights) = (fields.next()?, fields.next()?);
        if !rights.starts_with("rw") {
            continue;
        }
        let kind = fields.nth(3).unwrap_or("anonymous").to_owned();
        let (start, end) = range.split_once('-')?;
        let start = u64::from_str_radix(start, 16).ok()?;
        let end = u64::from_str_radix(end, 16).ok()?;
        let mut bytes = vec![0; usize::try_from(end - start).ok()?];
        if memory.read_exact_at(&mut bytes, start).is_err() {
            continue;
        }
        looked += bytes.len();
        for (value, found) in values.iter().zip(&mut found) {
            let times = bytes
                .windows(value.len())
                .filter(|part| *part == value.as_bytes())
                .count();
            if times > 0 {
                *found.entry(kind.clone()).or_insert(0) += times;
            }
        }
    }
    (looked > 0).then_some(found)
}

#[test]
fn nothing_of_a_secret_is_left_in_memory_once_its_files_are_written() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    let (field, template, json, token_mark) = (canary(), canary(), canary(), canary());
    bao.kv2_put(&mount, "field", &json!({ "x": field }));
    bao.kv2_put(&mount, "template", &json!({ "x": template, "y": "1" }));
    bao.kv2_put(&mount, "json", &json!({ "x": json, "y": { "z": json } }));
    let token = bao.token(&["root"], "1h", &json!({ "meta": { "mark": token_mark } }));
    let daemon = Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, mountPath: {mount} }}\n\
         secrets:\n\
         - {{ name: field, key: field, files: [{{ path: @DIR@/field, field: x }}] }}\n\
         - name: template\n\
         \x20 key: template\n\
         \x20 template: {{ data: {{ t: 'x={{{{ .x }}}} y={{{{ .y }}}}' }} }}\n\
         \x20 files: [{{ path: @DIR@/template, template: t }}]\n\
         - {{ name: json, key: json, files: [{{ path: @DIR@/json, format: json }}] }}\n",
        bao.address(),
    ))
    .env("VAULT_TOKEN", &token)
    .start();
    daemon.wait_ready(SOON);
    daemon.wait_file("field", &field, SOON);
    daemon.wait_file("template", format!("x={template} y=1"), SOON);

    let Some(found) = remains(daemon.pid(), &[&field, &template, &json, &token]) else {
        skip!("only root may look into another process's memory");
    };
    for (what, found) in ["a field", "a template", "a format", "the token"]
        .iter()
        .zip(&found)
    {
        println!("left in memory of {what}: {found:?}");
    }
    // The token is in use: it has to be somewhere. Of values nothing is left, wherever they went.
    assert!(!found[3].is_empty(), "the search finds nothing at all");
    assert!(found[0].is_empty(), "a field: {:?}", found[0]);
    assert!(found[1].is_empty(), "a template: {:?}", found[1]);
    assert!(found[2].is_empty(), "a format: {:?}", found[2]);
}

#[test]
fn credentials_of_the_environment_are_wiped_where_others_could_look() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({ "x": "value" }));
    let policy = bao.reader_policy(&mount);
    let (role, secret_id) = bao.approle("wiped", &json!({ "token_policies": [policy] }));
    let daemon = Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: approle, mountPath: {mount}, secretId: '${{PLAIN}}' }}\n\
         secrets: [{{ name: a, key: a, files: [{{ path: @DIR@/a, field: x }}] }}]\n",
        bao.address(),
    ))
    .env("VAULT_ROLE_ID", &role)
    .env("PLAIN", &secret_id)
    .env("HTTPS_PROXY", "http://user:password-of-the-proxy@127.0.0.1:1")
    .env("HARMLESS", "stays")
    .start();
    daemon.wait_ready(SOON);
    let proc = format!("/proc/{}", daemon.pid());
    let environ =
        String::from_utf8_lossy(&fs::read(format!("{proc}/environ")).unwrap()).into_owned();
    for value in [role.as_str(), &secret_id, "password-of-the-proxy"] {
        assert!(!environ.contains(value), "{value}");
    }
    for kept in ["HARMLESS=stays", "PLAIN=", "VAULT_ROLE_ID="] {
        assert!(environ.contains(kept), "{kept}");
    }
    // A reload reads the daemon's own copy.
    let mark = daemon.mark();
    daemon.signal(Signal::HUP);
    daemon.wait_for_log_after(mark, SOON, |line| {
        line.msg() == "the new configuration is taken up"
    });
}

#[test]
fn a_crash_leaves_no_core() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({ "x": canary() }));
    let mut daemon = Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {mount} }}\n\
         secrets: [{{ name: a, key: a, files: [{{ path: @DIR@/a, field: x }}] }}]\n",
        bao.address(),
    ))
    .start();
    daemon.wait_ready(SOON);
    daemon.signal(Signal::ABORT);
    let status = daemon.wait_exit(SOON);
    assert!(
        status.signal() == Some(6) && !status.core_dumped(),
        "{status:?}"
    );
    let names: Vec<_> = fs::read_dir(daemon.dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with("core"))
        .collect();
    assert!(names.is_empty(), "{names:?}");
}
