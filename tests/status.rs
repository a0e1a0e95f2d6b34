//! `status` and `explain` beside a running daemon: why the next refresh is when it is, everything
//! about one secret, and the table that is shown again at each change.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};
use support::{
    Action, Daemon, OpenBao, SOON, ScriptedServer, Setup, Signal, poll, ports, process, unique,
};

fn explained(daemon: &Daemon, name: &str) -> (i32, Value) {
    let (code, stdout, stderr) = daemon.also(&["explain", name, "--json"]);
    assert_eq!(stderr, "", "{name}");
    (code, serde_json::from_str(&stdout).unwrap())
}

/// Waits until what `explain` tells pleases `wanted`.
#[track_caller]
fn wait_explained(daemon: &Daemon, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let found = poll(SOON, || {
        let told = explained(daemon, name).1;
        wanted(&told).then_some(told)
    });
    found.unwrap_or_else(|| panic!("{:#}", explained(daemon, name).1))
}

#[test]
fn the_next_refresh_of_every_secret_says_why_it_is_then() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "app", &json!({ "x": "value" }));
    let nobody = ports::reserve();
    let busy = ScriptedServer::start(|request| {
        if request.target.ends_with("lookup-self") {
            return support::Response::error(403, "permission denied").act();
        }
        Action::Hang
    });
    let secret = |name: &str, keys: &str| {
        format!("- {{ name: {name}, files: [{{ path: '@DIR@/{name}', field: x }}], {keys} }}\n")
    };
    let daemon = Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {mount} }}
secretStores:
  away: {{ address: 'http://127.0.0.1:{}', authMethod: none, mountPath: kv }}
  later: {{ address: '{}', tokenFile: '@DIR@/token', mountPath: {mount} }}
  busy: {{ address: '{}', authMethod: none, maxConcurrent: 1, mountPath: kv }}
secrets:
{}{}{}{}{}{}{}",
        bao.address(),
        nobody.number(),
        bao.address(),
        busy.address(),
        secret("often", "key: app, refreshInterval: 1h"),
        secret("at-once", "key: app, refreshInterval: once"),
        secret("missing", "key: none, refreshInterval: 1h"),
        secret("away", "key: app, store: away"),
        secret("later", "key: app, store: later"),
        secret("busy-1", "key: a, store: busy"),
        secret("busy-2", "key: b, store: busy"),
    ))
    .env("INITIAL_BACKOFF", "100ms")
    .start();
    for (name, reason, words) in [
        ("often", "interval", "every 1h, less up to a tenth"),
        ("at-once", "once", "`once`: at SIGUSR1"),
        (
            "missing",
            "settled",
            "no quick retry: it fails until somebody acts",
        ),
        (
            "away",
            "store",
            "when it is back  waits for store `away`, asked after again",
        ),
        (
            "later",
            "session",
            "after a login    waits for a login to `later`",
        ),
    ] {
        let entry = daemon.wait_secret(name, SOON * 2, |secret| secret["next_reason"] == reason);
        let line = poll(SOON, || {
            let (code, table, _) = daemon.also(&["status"]);
            assert_eq!(code, 1);
            let line = table
                .lines()
                .find(|line| line.starts_with(&format!("{name} ")))?;
            line.contains(words).then(|| line.to_owned())
        });
        assert!(line.is_some(), "{entry}\n{}", daemon.also(&["status"]).1);
    }
    daemon.wait_status(SOON, |status| {
        let stores = status["stores"].as_array().unwrap();
        stores
            .iter()
            .any(|store| store["name"] == "busy" && store["waiting"] == 1)
    });
    let (_, table, _) = daemon.also(&["status"]);
    let waits = "under way; 1 request waits for a place";
    assert!(table.contains(waits), "{table}");
    assert!(!table.contains('\u{1b}'), "no colours in a pipe: {table}");
}

/// A daemon that logs in with a role whose policy has that name.
fn with_role(bao: &OpenBao, mount: &str, policy: &str) -> Setup {
    let role = unique("role");
    let (role_id, secret_id) = bao.approle(
        &role,
        &json!({ "token_policies": [policy], "token_ttl": "1h" }),
    );
    Daemon::new(&format!(
        "secretStore:
  address: {}
  authMethod: approle
  roleId: {role_id}
  secretId: {secret_id}
secrets:
- name: tls-cert
  key: common/tls example
  mountPath: {mount}
  version: 1
  template:
    data: {{ crt: '{{{{ .crt }}}}' }}
  files:
  - {{ path: '@DIR@/tls.crt', mode: '0640', template: crt }}
  - {{ path: '@DIR@/tls.key', field: key }}
- {{ name: tls-key, key: other, mountPath: {mount}, files: [{{ path: '@DIR@/other', field: x }}] }}\n",
        bao.address(),
    ))
}

#[test]
fn explain_names_the_policy_that_is_missing_and_granting_it_ends_the_failure() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(
        &mount,
        "common/tls%20example",
        &json!({ "crt": "certificate", "key": "private" }),
    );
    let policy = unique("policy");
    let daemon = with_role(&bao, &mount, &policy).start();
    daemon.wait_secret("tls-cert", SOON, |secret| secret["error_type"] == "denied");
    let (code, told) = explained(&daemon, "tls-cert");
    assert_eq!(code, 1);
    let source = &told["sources"][0];
    assert_eq!(
        source["request"],
        format!("/v1/{mount}/data/common/tls%20example?version=1")
    );
    let rule = &source["policy"];
    assert_eq!(rule["path"], format!("{mount}/data/common/tls example"));
    assert_eq!(rule["capabilities"], json!(["read"]));
    assert_eq!(told["files"][0]["problem"], "not there");

    bao.policy(&policy, rule["hcl"].as_str().unwrap());
    daemon.signal(Signal::USR1);
    daemon.wait_secret("tls-cert", SOON, |secret| secret["state"] == "in_sync");
    let told = wait_explained(&daemon, "tls-cert", |told| {
        told["attempts"].as_array().unwrap().len() > 1
    });
    let attempts = told["attempts"].as_array().unwrap();
    assert_eq!(attempts[0]["error_type"], "denied");
    let last = attempts.last().unwrap();
    assert_eq!(
        (&last["error_type"], &last["version"], &last["written"]),
        (&Value::Null, &json!(1), &json!(2))
    );
    assert_eq!(last["reason"], "interval");
}

#[test]
fn explain_tells_source_login_files_and_what_is_not_as_it_should_be() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(
        &mount,
        "common/tls%20example",
        &json!({ "crt": "the same bytes", "key": "the same bytes" }),
    );
    bao.kv2_put(&mount, "other", &json!({ "x": "y" }));
    let policy = bao.reader_policy(&mount);
    let daemon = with_role(&bao, &mount, &policy).start();
    daemon.wait_ready(SOON);
    let mode = fs::Permissions::from_mode(0o604);
    fs::set_permissions(daemon.path("tls.crt"), mode).unwrap();
    let told = wait_explained(&daemon, "tls-cert", |told| {
        told["attempts"] != json!([]) && told["sources"][0]["session"]["has_token"] == true
    });
    let session = &told["sources"][0]["session"];
    assert_eq!(session["method"], "approle");
    assert_eq!(session["renewable"], true);
    assert_eq!(session["policies"], json!(["default", policy]));
    assert_eq!(session["accessor"].as_str().unwrap().len(), 4);
    let files = told["files"].as_array().unwrap();
    let found = |at: usize| &files[at]["found"][0];
    assert_eq!(found(0)["differs"], json!(["mode 0604, wanted 0640"]));
    assert_eq!(found(1)["differs"], json!([]));
    assert_eq!(found(0)["size"], "the same bytes".len());
    let digest = found(0)["digest"].as_str().unwrap();
    assert_eq!(digest.len(), 8);
    assert_eq!(found(1)["digest"], digest, "the same content");
    let again = explained(&daemon, "tls-cert").1;
    assert_ne!(
        again["files"][0]["found"][0]["digest"], digest,
        "another run has another key"
    );

    let (code, text, stderr) = daemon.also(&["explain", "tls-cert"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    for part in [
        "tls-cert: in sync\n".to_owned(),
        format!("store        default at {}\n", bao.address()),
        format!("mount        {mount} (KV v2)\n"),
        "key          common/tls example, version 1 pinned\n".to_owned(),
        format!("asks         GET /v1/{mount}/data/common/tls%20example?version=1\n"),
        format!("policy       path \"{mount}/data/common/tls example\" {{\n"),
        "capabilities = [\"read\"]\n".to_owned(),
        "login        approle, namespace root\n".to_owned(),
        "renewable, accessor …".to_owned(),
        format!("its policies default, {policy}\n"),
        "tls.crt <- template crt\n".to_owned(),
        "wanted     mode 0640, owner the daemon's, group the daemon's\n".to_owned(),
        "differs    mode 0604, wanted 0640\n".to_owned(),
        "next refresh in ".to_owned(),
        "version 1, 2 files written; next after ".to_owned(),
    ] {
        assert!(text.contains(&part), "{part}\n{text}");
    }

    let (code, _, stderr) = daemon.also(&["explain", "tls-kex"]);
    assert_eq!(code, 2);
    assert_eq!(
        stderr,
        "secrets-sync: no secret `tls-kex`\n  help: did you mean `tls-key`?\n"
    );
}

#[test]
fn a_file_that_the_caller_may_not_read_is_told_by_what_may_be_seen() {
    if !rustix::process::geteuid().is_root() {
        skip!("needs root, to become another user");
    }
    let Some(setpriv) = process::in_path("setpriv") else {
        skip!("no `setpriv`");
    };
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "other", &json!({ "x": "y" }));
    let daemon = Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {mount} }}
secrets: [{{ name: a, key: other, files: [{{ path: '@DIR@/a', field: x }}] }}]\n",
        bao.address()
    ))
    .start();
    daemon.wait_ready(SOON);
    fs::set_permissions(daemon.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    // The test's own program may lie where another user does not come.
    let program = daemon.path("program");
    fs::copy(env!("CARGO_BIN_EXE_secrets-sync"), &program).unwrap();
    let output = Command::new(setpriv)
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(program)
        .args(["explain", "a", "--json"])
        .env("STATUS_FILE", daemon.path("status.json"))
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = &told["files"][0]["found"][0];
    assert_eq!(found["mode"], "0600");
    assert_eq!(found["digest"], Value::Null);
    assert_eq!(found["no_digest"], "permission denied: you may not read it");
    assert_eq!(output.status.code(), Some(0), "{told:#}");
}

/// A daemon whose status file lies in a directory of its own, which outlives it.
fn in_place(bao: &OpenBao, mount: &str, place: &Path) -> Setup {
    let at = place.display();
    Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {mount} }}
secrets: [{{ name: app, key: app, refreshInterval: 1h, files: [{{ path: '{at}/app', field: x }}] }}]\n",
        bao.address()
    ))
    .env("STATUS_FILE", &format!("{at}/status.json"))
}

#[test]
fn attempts_outlive_the_daemon_and_a_stopped_one_is_explained_by_what_it_left() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    let place = tempfile::tempdir().unwrap();
    let mut first = in_place(&bao, &mount, place.path()).start();
    wait_explained(&first, "app", |told| {
        told["attempts"][0]["error_type"] == "not_found"
    });
    assert!(first.stop().success());
    let (code, told) = explained(&first, "app");
    assert_eq!((code, &told["running"]), (2, &json!(false)));
    assert_eq!(told["known_from"], "daemon");
    assert_eq!(told["attempts"][0]["error_type"], "not_found");
    let note = told["notes"][0].as_str().unwrap();
    assert!(note.starts_with("the daemon does not run"), "{note}");

    bao.kv2_put(&mount, "app", &json!({ "x": "value" }));
    let mut second = in_place(&bao, &mount, place.path()).start();
    let told = wait_explained(&second, "app", |told| {
        told["attempts"].as_array().unwrap().len() == 2
    });
    assert_eq!(told["attempts"][0]["error_type"], "not_found");
    assert_eq!(told["attempts"][1]["version"], 1);
    second.kill9();
    let (code, text, _) = second.also(&["explain", "app"]);
    assert_eq!(code, 2);
    assert!(
        text.starts_with("app: in sync when the daemon ended\n"),
        "{text}"
    );
}

#[test]
fn without_a_daemon_the_configuration_is_explained() {
    let config = "secretStore: { address: 'https://vault.example.com:8200', authMethod: token, token: t, namespace: team-a }
secrets: [{ name: app, key: app/db, mountPath: kv, files: [{ path: '@DIR@/app', field: x, mode: '0640' }] }]\n";
    let finished = Daemon::new(config)
        .status(2)
        .any_stdout()
        .run(&["explain", "app"]);
    for part in [
        "app: nothing known of its state\n",
        "the daemon does not run",
        "asks         GET /v1/kv/data/app/db\n",
        "             X-Vault-Namespace: team-a\n",
        "wanted     mode 0640",
        "found      not there\n",
    ] {
        assert!(finished.stdout.contains(part), "{}", finished.stdout);
    }
    let finished = Daemon::new(config)
        .status(2)
        .any_stderr()
        .run(&["explain", "apq"]);
    assert_eq!(
        finished.stderr,
        "secrets-sync: no secret `apq`\n  help: did you mean `app`?\n"
    );
}

#[test]
fn a_configuration_that_was_not_taken_up_is_told() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "app", &json!({ "x": "value" }));
    let place = tempfile::tempdir().unwrap();
    let daemon = in_place(&bao, &mount, place.path()).start();
    wait_explained(&daemon, "app", |told| told["attempts"] != json!([]));
    assert_eq!(explained(&daemon, "app").1["notes"], json!([]));
    let file = daemon.path("config.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace("1h", "2h").replace("key: app", "key: b"),
    )
    .unwrap();
    let note = explained(&daemon, "app").1["notes"][0].clone();
    let note = note.as_str().unwrap();
    assert!(
        note.ends_with(
            "says otherwise than what runs (what is read, the interval): a reload (SIGHUP) takes it up"
        ),
        "{note}"
    );
    daemon.signal(Signal::HUP);
    wait_explained(&daemon, "app", |told| {
        told["notes"] == json!([]) && told["interval"] == "2h" && told["sources"][0]["key"] == "b"
    });
}

/// `status --watch`, with the lines that it prints.
struct Watching {
    child: Child,
    lines: mpsc::Receiver<String>,
    errors: mpsc::Receiver<String>,
}

/// What it writes, a line each, as it comes.
fn lines(from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl Watching {
    fn start(args: &[&str], place: &Path) -> Self {
        let mut command = process::command(Path::new(env!("CARGO_BIN_EXE_secrets-sync")));
        command
            .args(["status", "--watch"])
            .args(args)
            .env("STATUS_FILE", place.join("status.json"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = process::spawn(command).unwrap();
        Self {
            lines: lines(child.stdout.take().unwrap()),
            errors: lines(child.stderr.take().unwrap()),
            child,
        }
    }

    #[track_caller]
    fn wait_for(&self, part: &str) {
        loop {
            let line = self.lines.recv_timeout(SOON).expect(part);
            if line.contains(part) {
                return;
            }
        }
    }

    /// Processor time in ticks of 10 ms.
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let fields = fields.split_whitespace().skip(11).take(2);
        fields.map(|field| field.parse::<u64>().unwrap()).sum()
    }

    fn end(mut self, signal: Signal) -> Option<i32> {
        process::signal(&self.child, signal);
        process::wait(&mut self.child, SOON).unwrap().code()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        process::kill(&mut self.child);
    }
}

#[test]
fn a_watch_shows_each_change_and_outlives_the_daemon() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    let place = tempfile::tempdir().unwrap();
    let watch = Watching::start(&[], place.path());
    watch.wait_for("no daemon found");
    let mut first = in_place(&bao, &mount, place.path()).start();
    watch.wait_for("not ready: 0 of 1 secret in sync");
    watch.wait_for("not_found: ");
    bao.kv2_put(&mount, "app", &json!({ "x": "value" }));
    first.signal(Signal::USR1);
    watch.wait_for("ready: 1 of 1 secret in sync");
    assert!(watch.ticks() < 50, "it does not turn: {}", watch.ticks());
    first.kill9();
    watch.wait_for("left behind by a daemon that has ended");
    let second = in_place(&bao, &mount, place.path()).start();
    watch.wait_for("ready: 1 of 1 secret in sync");
    assert_eq!(watch.end(Signal::TERM), Some(0), "all in sync");

    let documents = Watching::start(&["--json"], place.path());
    let line = documents.lines.recv_timeout(SOON).unwrap();
    let document: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(document["ready"], true);
    drop(second);
    let why = documents.errors.recv_timeout(SOON).unwrap();
    assert!(why.contains("no daemon found"), "{why}");
    assert!(documents.lines.try_recv().is_err(), "documents only");
    assert_eq!(documents.end(Signal::INT), Some(2), "not running");
}

#[test]
fn a_watch_whose_reader_has_gone_ends() {
    let place = tempfile::tempdir().unwrap();
    let mut command = process::command(Path::new(env!("CARGO_BIN_EXE_secrets-sync")));
    command
        .args(["status", "--watch"])
        .env("STATUS_FILE", place.path().join("status.json"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = process::spawn(command).unwrap();
    let mut first = [0];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut first).unwrap();
    drop(out);
    let ended = process::wait(&mut child, SOON);
    process::kill(&mut child);
    assert_eq!(ended.and_then(|status| status.code()), Some(2));
}

/// A terminal of that size, and what is drawn on it by the shell's command.
fn on_terminal(command: &str, place: &Path, env: &[(&str, &str)]) -> Option<Child> {
    let script = process::in_path("script")?;
    let mut child = Command::new(script);
    child
        .args(["-qec", command, "/dev/null"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .env("STATUS_FILE", place.join("status.json"))
        .env("PROGRAM", env!("CARGO_BIN_EXE_secrets-sync"))
        .env("PLACE", place)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    Some(process::spawn(child).unwrap())
}

fn all(child: &mut Child) -> String {
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    process::wait(child, SOON);
    text
}

#[test]
fn a_terminal_gets_colours_and_lines_that_fit_and_is_left_whole() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    let place = tempfile::tempdir().unwrap();
    let daemon = in_place(&bao, &mount, place.path()).start();
    wait_explained(&daemon, "app", |told| told["attempts"] != json!([]));
    daemon_fails(place.path());
    let show = "stty cols 60 rows 24; exec \"$PROGRAM\" status";
    let Some(mut table) = on_terminal(show, place.path(), &[]) else {
        skip!("no `script` to make a terminal with");
    };
    let text = all(&mut table);
    assert!(text.contains("\u{1b}[31mfailed\u{1b}[0m"), "{text}");
    let plain = text.replace("\u{1b}[31m", "").replace("\u{1b}[33m", "");
    let plain = plain.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
    for line in plain.lines() {
        assert!(line.trim_end().chars().count() <= 60, "{line}");
    }
    for env in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let text = all(&mut on_terminal(show, place.path(), &[env]).unwrap());
        assert!(
            !text.contains('\u{1b}') && text.contains("failed"),
            "{text}"
        );
    }

    let watch = "stty cols 60 rows 24; echo $$ >\"$PLACE/pid\"; exec \"$PROGRAM\" status --watch";
    for (signal, code) in [(Signal::INT, 1), (Signal::TERM, 1)] {
        let mut watching = on_terminal(watch, place.path(), &[]).unwrap();
        let mut out = BufReader::new(watching.stdout.take().unwrap());
        let mut drawn = Vec::new();
        while !String::from_utf8_lossy(&drawn).contains("\u{1b}[J") {
            assert!(out.read_until(b'J', &mut drawn).unwrap() > 0);
        }
        let pid = fs::read_to_string(place.path().join("pid")).unwrap();
        let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        out.read_to_end(&mut drawn).unwrap();
        let drawn = String::from_utf8_lossy(&drawn);
        assert!(drawn.starts_with("\u{1b}[?1049h\u{1b}[?25l"), "{drawn}");
        assert!(drawn.ends_with("\u{1b}[?25h\u{1b}[?1049l"), "{drawn}");
        let ended = process::wait(&mut watching, SOON).unwrap();
        assert_eq!(
            ended.code(),
            Some(code),
            "the exit code is that of `status`"
        );
    }
}

/// Waits until the status file tells of the failure.
#[track_caller]
fn daemon_fails(place: &Path) {
    let failed = || {
        let text = fs::read_to_string(place.join("status.json")).ok()?;
        text.contains("\"failed\"").then_some(())
    };
    assert!(poll(SOON, failed).is_some());
}
