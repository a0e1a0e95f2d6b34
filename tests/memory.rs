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
use std::os::unix::fs::{FileExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use support::{Daemon, OpenBao, SOON, Search, Signal};

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
    let search = Search::new(values.iter().copied());
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
        for (_, value) in search.all(&bytes) {
            *found[value].entry(kind.clone()).or_insert(0) += 1;
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

/// Every way that a value can take through the daemon, as `files` of a secret of its own with the
/// fields `x`, `odd`, `many`, `number`, `deep`, `json` and `encoded`.
const WAYS: &[(&str, &str)] = &[
    ("field", "files: [{ path: @OUT@, field: x }]"),
    (
        "decoded",
        "files: [{ path: @OUT@, field: encoded, encoding: base64 }]",
    ),
    ("deep", "files: [{ path: @OUT@, field: deep.list.0 }]"),
    ("json", "files: [{ path: @OUT@, format: json }]"),
    ("yaml", "files: [{ path: @OUT@, format: yaml }]"),
    ("env", "files: [{ path: @OUT@, format: env }]"),
    ("every-field", "files: [{ dir: @OUT@ }]"),
    (
        "switched",
        "layout: directory, files: [{ path: @OUT@/x, field: x }, { path: @OUT@/all, format: json }]",
    ),
    (
        "plain",
        "files: [{ path: @OUT@, template: t }], template: { data: { t: 'a={{ .x }} b={{ .odd }} c={{ .number }} d={{ .deep.list }}' } }",
    ),
    (
        "helpers",
        "files: [{ path: @OUT@, template: t }], template: { data: { t: '{{ .x | b64enc }} {{ .x | upper }} {{ .encoded | b64dec }} {{ .json | fromJson | toYaml }} {{ printf \"%s!\" .x }} {{ .odd | quote | indent 2 }} {{ .deep | toPrettyJson }} {{ range .deep.list }}{{ . }}{{ end }}' } }",
    ),
    (
        "fails",
        "optional: true, files: [{ path: @OUT@, template: t }], template: { data: { t: '{{ .x | fromJson }}{{ .odd }}' } }",
    ),
];

/// The fields of one way, every value of them with its own canary in it.
fn marked(canaries: &mut Vec<String>) -> serde_json::Value {
    let mut make = || {
        canaries.push(canary());
        canaries[canaries.len() - 1].clone()
    };
    let encoded = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(make())
    };
    // The server keeps fifteen digits.
    let number = fastrand::u64(100_000_000_000_000..999_999_999_999_999);
    let fields = json!({
        "x": make(),
        "odd": format!("{}\"\\\n\u{e9}<&>{}", make(), make()),
        "many": format!("{}{}", make(), "-".repeat(40_000)),
        "number": number,
        "deep": { "list": [make(), { "key": make() }] },
        "json": json!({ "inner": make() }).to_string(),
        "encoded": encoded,
    });
    canaries.push(number.to_string());
    fields
}

/// What else a value may look like on its way.
fn spellings(canaries: &[String]) -> Vec<String> {
    use base64::Engine as _;
    let mut all: Vec<String> = canaries.to_vec();
    for canary in canaries {
        let whole = &canary.as_bytes()[..canary.len() / 3 * 3];
        all.push(base64::engine::general_purpose::STANDARD.encode(whole));
        let upper = canary.to_uppercase();
        if upper != *canary {
            all.push(upper);
        }
    }
    all
}

#[test]
fn nothing_is_left_whatever_is_made_of_a_value_over_tls_and_after_changes() {
    let bao = OpenBao::dev().tls().start();
    let mount = bao.fresh_kv(2);
    let mut config = format!(
        "secretStore: {{ address: '{}', token: '{}', mountPath: {mount}, tlsCACert: @DIR@/ca.pem }}\nsecrets:\n",
        bao.address(),
        "root",
    );
    let mut canaries = Vec::new();
    let mut put = |name: &str| {
        bao.kv2_put(&mount, name, &marked(&mut canaries));
    };
    for (name, rest) in WAYS {
        put(name);
        let rest = rest.replace("@OUT@", &format!("@DIR@/out/{name}"));
        config.push_str(&format!("- {{ name: {name}, key: {name}, {rest} }}\n"));
    }
    let daemon = Daemon::new(&config)
        .file("ca.pem", &fs::read_to_string(bao.ca()).unwrap())
        .start();
    daemon.wait_ready(SOON);
    daemon.wait_secret("fails", SOON, |secret| secret["error_type"] == "render");
    // Each again with other values: what was compared, replaced and dropped counts, too.
    for (name, _) in WAYS {
        put(name);
    }
    daemon.signal(Signal::USR1);
    for (name, _) in WAYS.iter().filter(|(name, _)| *name != "fails") {
        daemon.wait_secret(name, SOON, |secret| secret["version"] == 2);
    }
    // The last of them may still be on its way out of its cycle.
    let spellings = spellings(&canaries);
    let spellings: Vec<&str> = spellings.iter().map(String::as_str).collect();
    let mut left = BTreeMap::new();
    support::poll(SOON, || {
        left.clear();
        for (value, found) in spellings.iter().zip(remains(daemon.pid(), &spellings)?) {
            for (kind, times) in found {
                *left.entry(kind).or_insert(0) += times;
                println!("{value} in {times}");
            }
        }
        left.is_empty().then_some(())
    });
    println!(
        "{} spellings of {} values: left in memory {left:?}",
        spellings.len(),
        canaries.len()
    );
    assert!(left.is_empty(), "{left:?}");
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

/// A daemon with one secret, under a program such as `prlimit` with its arguments.
fn under(program: &str, args: &[&str]) -> support::Setup {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({ "x": canary() }));
    let mut setup = Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {mount} }}\n\
         secrets: [{{ name: a, key: a, files: [{{ path: @DIR@/out/a, field: x }}] }}]\n",
        bao.address(),
    ))
    .program(Path::new(program));
    for arg in args {
        setup = setup.arg(arg);
    }
    setup.arg(env!("CARGO_BIN_EXE_secrets-sync"))
}

#[test]
fn a_crash_leaves_no_core_where_others_leave_theirs() {
    let limit = ["--core=unlimited:unlimited"];
    let control = Command::new("/usr/bin/prlimit")
        .args(limit)
        .args(["sh", "-c", "kill -ABRT $$"])
        .current_dir(tempfile::tempdir().unwrap().path())
        .status();
    let others_do = control.is_ok_and(|status| status.core_dumped());
    if !others_do {
        skip!("no program leaves a core here");
    }
    for signal in [Signal::ABORT, Signal::QUIT] {
        let mut daemon = under("/usr/bin/prlimit", &limit).start();
        daemon.wait_ready(SOON);
        daemon.signal(signal);
        let status = daemon.wait_exit(SOON);
        assert!(
            status.signal() == Some(signal.as_raw()) && !status.core_dumped(),
            "{status:?}"
        );
        let names: Vec<_> = fs::read_dir(daemon.dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name.to_string_lossy().starts_with("core"))
            .collect();
        assert!(names.is_empty(), "{names:?}");
    }
}

#[test]
fn another_process_of_its_own_user_can_look_at_neither_its_memory_nor_its_environment() {
    const NOBODY: u32 = 65_534;
    let as_nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    if !rustix::process::getuid().is_root() {
        skip!("only root can become another user");
    }
    let setup = under("/usr/bin/setpriv", &as_nobody);
    for entry in [setup.dir().to_owned(), setup.path("config.yaml")] {
        chown(entry, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let daemon = setup
        .without_notify()
        .env("OTHER_TOKEN", "of-the-environment")
        .start();
    daemon.wait_ready(SOON);
    let look = |script: &str| {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(as_nobody).args(["sh", "-c", script]);
        command.output().unwrap()
    };
    let proc = format!("/proc/{}", daemon.pid());
    let uid = fs::read_to_string(format!("{proc}/status")).unwrap();
    assert!(
        uid.contains("\nUid:\t65534\t65534\t65534\t65534\n"),
        "{uid}"
    );
    // Its own memory it could still reach, to wipe its environment there.
    let environ = fs::read(format!("{proc}/environ")).unwrap();
    let environ = String::from_utf8_lossy(&environ);
    assert!(
        environ.contains("OTHER_TOKEN=\0") && !environ.contains("of-the-"),
        "{environ}"
    );
    // The way to look works: on a process of the same user that does not mind.
    assert!(
        look("cat /proc/$$/environ && head -c 0 /proc/$$/mem")
            .status
            .success()
    );
    for way in [
        format!("cat {proc}/environ"),
        format!("head -c 1 {proc}/mem"),
        format!("cat {proc}/maps"),
        format!("ls {proc}/fd/"),
        format!("cat {proc}/root/etc/hostname"),
    ] {
        let looked = look(&way);
        assert!(
            !looked.status.success() && looked.stdout.is_empty(),
            "{way}: {looked:?}"
        );
    }
}
