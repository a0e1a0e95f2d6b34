//! The log is one that people read: it says at the start what to expect, is silent while nothing
//! changes, and stays short when a thousand secrets fail at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)] // that is how a test fails

mod support;
mod traffic;

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use support::{Daemon, LogLine, Response, SOON, Signal, poll};
use traffic::{Store, brisk, config, is_read, names, reads, secret};

/// A store line of the log, and the numbers in it.
fn expected(line: &LogLine) -> (u64, u64) {
    let number = |field: &str| line.json[field].as_u64().unwrap();
    let (all, reads) = (number("requests_a_day"), number("reads_a_day"));
    assert_eq!(
        all,
        reads + number("session_requests_a_day"),
        "{}",
        line.raw
    );
    (all, reads)
}

#[test]
fn the_first_lines_say_what_runs_and_how_many_requests_a_day_that_means() {
    let store = Store::start();
    let secrets = |interval: &str| -> Vec<String> {
        names(20)
            .iter()
            .map(|name| secret("kv", name, interval))
            .collect()
    };
    let keys = "authMethod: approle, roleId: r, secretId: s, maxConcurrent: 50";
    let text = config(&store.address(), keys, &secrets("1s"));
    let daemon = brisk(&text).start();
    daemon.wait_ready(SOON);
    let began = Instant::now();
    store.clear();
    let start = daemon.wait_for_log(SOON, |line| line.msg() == "secrets-sync starts");
    assert_eq!(start.text("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(
        start.text("config"),
        daemon.path("config.yaml").to_str().unwrap()
    );
    assert_eq!(
        (&start.json["secrets"], &start.json["stores"]),
        (&20.into(), &1.into())
    );
    let is_store = |line: &LogLine| line.json["requests_a_day"].is_u64();
    let line = daemon.wait_for_log(SOON, is_store);
    assert_eq!(line.text("store"), "default");
    assert_eq!(line.text("address"), store.address());
    assert_eq!(line.text("auth"), "approle");
    let (all, reads_a_day) = expected(&line);
    // 20 reads each 0.95 s on average, and the upkeep of one token.
    assert_eq!(reads_a_day, 1_818_947);
    assert_eq!(all - reads_a_day, 38);

    // What it said is what comes. A busy machine makes it fewer, never more: a read takes its time, and
    // nobody is early.
    store.wait_for(160, SOON, is_read);
    let elapsed = began.elapsed().as_secs_f64();
    let counted = store.count(is_read) as f64 * 86_400.0 / elapsed;
    let share = counted / reads_a_day as f64;
    println!("{counted:.0} reads a day by count, {reads_a_day} by the log: {share:.2}");
    assert!((0.5..1.15).contains(&share), "{share}");

    // A reload says it anew.
    let mark = daemon.mark();
    let slower = config(&store.address(), keys, &secrets("1h"))
        .replace("@DIR@", daemon.dir().to_str().unwrap());
    fs::write(daemon.path("config.yaml"), slower).unwrap();
    daemon.signal(Signal::HUP);
    let line = daemon.wait_for_log_after(mark, SOON, is_store);
    assert_eq!(expected(&line).1, 505);
}

/// Lines from `mark` on about secrets that failed, and those that were left out.
fn told(lines: &[LogLine]) -> (usize, u64) {
    let failed = lines
        .iter()
        .filter(|line| line.json["secret"].is_string() && line.json["error_type"].is_string());
    let left_out = lines
        .iter()
        .filter(|line| line.json["error_type"].is_string())
        .filter_map(|line| line.json["left_out"].as_u64());
    (failed.count(), left_out.sum())
}

/// The bound of docs/operations.md: of each store and class 50 lines and one that counts the others, in
/// ten seconds.
const ALONE: usize = 50;
const WINDOW: Duration = Duration::from_secs(10);

#[test]
fn a_thousand_secrets_that_fail_at_once_are_few_lines_and_in_calm_there_are_none() {
    const MANY: usize = 1000;
    let store = Store::start();
    let all = names(MANY);
    let secrets: Vec<String> = all.iter().map(|name| secret("kv", name, "5s")).collect();
    let text = config(
        &store.address(),
        "authMethod: none, maxConcurrent: 50",
        &secrets,
    ) + "limits: { maxSecrets: 1000 }\n";
    let daemon = brisk(&text).metrics().start();
    let in_sync = |count: usize| {
        daemon.wait_status(SOON * 3, |status| status["synced_count"] == count);
    };
    in_sync(MANY);
    daemon.wait_for_log(SOON, |line| line.msg() == "ready");
    let started = daemon.log().len();
    // One line for each file that was written, and a few more.
    assert!(started <= MANY + 20, "{started} lines");

    // In calm nothing is said, however often all are read.
    let mark = daemon.log().len();
    store.clear();
    let everybody = |times: usize| {
        let read = || {
            let requests = store.requests();
            let count = |name| requests.iter().filter(|r| reads(r, name)).count();
            (count("s0") >= times && count("s999") >= times).then_some(())
        };
        poll(SOON * 3, read).expect("all are read again");
    };
    everybody(1);
    let said = &daemon.log()[mark..];
    assert!(said.is_empty(), "{said:?}");

    // The store goes away.
    let mark = daemon.log().len();
    let began = Instant::now();
    store.rule(|_| Some(Response::error(500, "internal error").act()));
    in_sync(0);
    let told_all = || (told(&daemon.log()[mark..]).1 > 0).then_some(());
    poll(SOON, told_all).expect("a line that counts the others");
    let counted = || {
        let (lines, left_out) = told(&daemon.log()[mark..]);
        (lines as u64 + left_out >= MANY as u64).then_some(())
    };
    poll(SOON, counted).expect("every one is counted");
    let lines = daemon.log()[mark..].to_vec();
    let windows = began.elapsed().as_secs() / WINDOW.as_secs() + 1;
    let classes: BTreeSet<&str> = lines.iter().map(|line| line.text("error_type")).collect();
    // And what the store itself says: that it is away.
    let most = (ALONE + 1) * classes.len() * windows as usize + 10;
    println!(
        "{} lines of {MANY} secrets in {:?}, {most} allowed",
        lines.len(),
        began.elapsed()
    );
    assert!(lines.len() <= most, "{} lines", lines.len());
    let away = lines
        .iter()
        .filter(|line| line.msg().starts_with("the store is away"));
    assert_eq!(away.count(), 1);
    let others = lines
        .iter()
        .find(|line| line.json["left_out"].is_u64())
        .unwrap();
    assert_eq!(
        (others.text("level"), others.text("store")),
        ("warn", "default")
    );
    assert!(others.text("named").contains("s"), "{}", others.raw);
    assert!(
        others.msg().contains("`secrets-sync status`"),
        "{}",
        others.raw
    );

    // And while it stays away, nothing more: no line comes again before five minutes are over.
    let mark = daemon.log().len();
    store.clear();
    store.wait_for(1, SOON, traffic::is_health);
    let said: Vec<_> = daemon.log()[mark..].to_vec();
    assert!(said.len() <= 2, "{said:?}");

    // It is back.
    let mark = daemon.log().len();
    let began = Instant::now();
    store.heal();
    in_sync(MANY);
    let ended = |line: &&LogLine| line.msg() == "the secret is current again";
    let counted = || {
        let lines = &daemon.log()[mark..];
        let left_out: u64 = lines
            .iter()
            .filter_map(|line| line.json["left_out"].as_u64())
            .sum();
        (lines.iter().filter(ended).count() as u64 + left_out >= MANY as u64).then_some(())
    };
    poll(SOON, counted).expect("every one is counted");
    let lines = &daemon.log()[mark..];
    let windows = began.elapsed().as_secs() / WINDOW.as_secs() + 1;
    println!(
        "{} lines when it is back, in {:?}",
        lines.len(),
        began.elapsed()
    );
    assert!(
        lines.len() <= (ALONE + 1) * windows as usize + 10,
        "{}",
        lines.len()
    );
    let back = lines.iter().find(ended).unwrap();
    assert!(
        back.json["failed_ms"].is_u64() && back.json["failures"].is_u64(),
        "{}",
        back.raw
    );

    // However it failed, the page has as many series as the configuration allows.
    let page = daemon.get("/metrics").text();
    series_are_bounded(&page, MANY, 1);
}

/// Classes of failures: a secret has a series for each that it met.
const CLASSES: usize = secrets_sync::failure::ErrorType::ALL.len();

#[track_caller]
fn series_are_bounded(page: &str, secrets: usize, stores: usize) {
    let count = |name: &str| {
        page.lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name))
            .count()
    };
    for (name, most) in [
        ("secret_fetch_total", 2 * secrets),
        ("secret_fetch_errors_total", CLASSES * secrets),
        ("secret_sync_duration_seconds_bucket", 12 * secrets),
        ("secret_sync_duration_seconds_count", secrets),
        ("secrets_sync_secret_version", secrets),
        ("secrets_sync_secret_stale_seconds", secrets),
        (
            "secrets_sync_secret_last_success_timestamp_seconds",
            secrets,
        ),
        ("secrets_sync_file_writes_total", secrets),
        ("circuit_breaker_state", stores),
        ("secrets_sync_build_info", 1),
        ("secrets_configured", 1),
        ("secrets_synced", 1),
    ] {
        let found = count(name);
        assert!((1..=most).contains(&found), "{name}: {found} of {most}");
    }
}

/// Answers of a server choose no label: names of fields, versions, words and times of errors.
#[test]
fn what_a_server_says_makes_no_series() {
    let store = Store::start();
    let secrets: Vec<String> = names(3)
        .iter()
        .map(|name| secret("kv", name, "1s"))
        .collect();
    let daemon: Daemon = brisk(&config(&store.address(), "authMethod: none", &secrets))
        .metrics()
        .start();
    daemon.wait_ready(SOON);
    let names_of = |page: &str| -> BTreeSet<String> {
        let series = page.lines().filter(|line| !line.starts_with('#'));
        series
            .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
            .collect()
    };
    let denied = || {
        let number = Instant::now().elapsed().as_nanos();
        Response::error(403, &format!("1 error occurred: denied {number}")).act()
    };
    store.rule(move |request| is_read(request).then(denied));
    daemon.wait_status(SOON, |status| status["synced_count"] == 0);
    let before = names_of(&daemon.get("/metrics").text());
    store.clear();
    store.wait_for(12, SOON, is_read);
    assert_eq!(names_of(&daemon.get("/metrics").text()), before);
    assert!(
        !before.iter().any(|series| series.contains("1 error")),
        "{before:?}"
    );
    series_are_bounded(
        &before
            .iter()
            .map(|s| format!("{s} 1\n"))
            .collect::<String>(),
        3,
        1,
    );
}
