//! `status --watch`, and `status` on a terminal.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::skip;
use crate::support::{OpenBao, SOON, Signal, poll, process};
use crate::{in_place, wait_explained};

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
