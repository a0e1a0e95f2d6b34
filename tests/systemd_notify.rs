//! What the service manager is told, message by message.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod site;
mod support;

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use site::{Site, hourly, rewrite, secret, settled};
use support::{Daemon, SOON, Setup, Signal, poll};

const ALL: &str = "STATUS=1 of 1 secrets in sync";
const REFUSED: &str = "STATUS=1 of 1 secrets in sync; the last reload was refused";

/// Waits until so many messages have come; gives them, with the time of a reload as `TIME`.
#[track_caller]
fn messages(daemon: &Daemon, count: usize) -> Vec<String> {
    let enough = || {
        let all = daemon.notifications();
        (all.len() >= count).then_some(all)
    };
    let all = poll(SOON, enough).unwrap_or_else(|| daemon.notifications());
    all.iter().map(|message| timeless(message)).collect()
}

fn timeless(message: &str) -> String {
    let lines = message.lines().map(|line| match line.split_once('=') {
        Some(("MONOTONIC_USEC", _)) => "MONOTONIC_USEC=TIME",
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn reload(daemon: &Daemon) {
    let mark = daemon.mark();
    daemon.signal(Signal::HUP);
    daemon.wait_for_log_after(mark, SOON, |line| {
        line.msg().starts_with("the new configuration")
    });
}

fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000 + u64::try_from(now.tv_nsec).unwrap() / 1000
}

/// For services that start after it, and ask.
#[test]
fn when_systemd_hears_that_it_is_ready_so_does_whoever_asks() {
    let ready = |daemon: &Daemon| {
        let told = || {
            daemon
                .notifications()
                .iter()
                .any(|all| all.starts_with("READY=1"))
        };
        poll(SOON, || told().then_some(())).expect("READY=1");
        let asked = daemon.also(&["isready"]);
        assert_eq!(asked.0, 0, "{asked:?}");
    };
    let site = Site::with(&["a"]);
    ready(&Daemon::new(&site.config(&[hourly("a")])).start());
    // After the file has said for a while that it is not.
    let late = site.config(&[secret("late", "refreshInterval: 1s")]);
    let daemon = Daemon::new(&late).start();
    daemon.wait_status(SOON, |status| status["ready"] == false);
    site.put("late", "here");
    daemon.signal(Signal::USR1);
    ready(&daemon);
}

#[test]
fn start_reloads_and_stop_are_told_in_order() {
    let site = Site::with(&["a"]);
    let good = site.config(&[hourly("a")]);
    let mut daemon = Daemon::new(&good).start();
    let ready = format!("READY=1\n{ALL}");
    let mut told = vec!["STATUS=0 of 1 secrets in sync".to_owned(), ready.clone()];
    assert_eq!(messages(&daemon, 2), told);

    let reloading = "RELOADING=1\nMONOTONIC_USEC=TIME\nSTATUS=reloading the configuration";
    let before = monotonic();
    reload(&daemon);
    told.extend([reloading.to_owned(), ready.clone()]);
    assert_eq!(messages(&daemon, 4), told);
    let time = daemon.notifications()[2]
        .lines()
        .nth(1)
        .unwrap()
        .replace("MONOTONIC_USEC=", "");
    assert!(
        (before..=monotonic()).contains(&time.parse().unwrap()),
        "{time}"
    );

    rewrite(&daemon, "nonsense");
    reload(&daemon);
    told.extend([reloading, &ready, REFUSED].map(str::to_owned));
    assert_eq!(messages(&daemon, 7), told);

    rewrite(&daemon, &good);
    reload(&daemon);
    told.extend([
        reloading.to_owned(),
        format!("READY=1\n{REFUSED}"),
        ALL.to_owned(),
    ]);
    assert_eq!(messages(&daemon, 10), told);

    assert_eq!(daemon.stop().code(), Some(0));
    told.push("STOPPING=1\nSTATUS=stopping".to_owned());
    assert_eq!(messages(&daemon, 11), told);
}

#[test]
fn before_the_first_ready_a_reload_tells_its_status_only() {
    let site = Site::new();
    let config = site.config(&[secret("a", "refreshInterval: 1s")]);
    let daemon = Daemon::new(&config).start();
    let begins = [
        "STATUS=0 of 1 secrets in sync",
        "STATUS=0 of 1 secrets in sync, degraded",
    ];
    assert_eq!(messages(&daemon, 2), begins);
    rewrite(&daemon, "nonsense");
    reload(&daemon);
    rewrite(&daemon, &config);
    reload(&daemon);
    site.put("a", "a");
    settled(&daemon, &["a"]);
    daemon.wait_ready(SOON);
    let is_ready = |message: &String| message.contains("READY=1");
    poll(SOON, || {
        daemon.notifications().iter().any(is_ready).then_some(())
    })
    .expect("READY=1");
    let all = daemon.notifications();
    let ready = all.iter().position(is_ready).unwrap();
    assert_eq!(all[ready], format!("READY=1\n{ALL}"));
    assert!(
        all[..ready]
            .iter()
            .all(|message| message.starts_with("STATUS=")),
        "{all:?}"
    );
    assert!(
        all.iter()
            .any(|message| message == "STATUS=reloading the configuration"),
        "{all:?}"
    );
}

#[test]
fn the_watchdog_is_fed_at_half_its_time_from_the_start() {
    // Not ready, and it stays so: no server.
    let port = support::ports::reserve();
    let config = format!(
        "{}{}",
        site::store(&format!("http://127.0.0.1:{}", port.number()), "kv"),
        site::list(&[hourly("a")])
    );
    let setup = Daemon::new(&config).env("WATCHDOG_USEC", "400000");
    let (fed, socket) = told_abstractly(setup, "fed");
    let mut beats = Vec::new();
    while beats.len() < 7 {
        if next(&socket) == "WATCHDOG=1" {
            beats.push(Instant::now());
        }
    }
    let gaps: Vec<_> = beats.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // A busy machine makes some longer; the others after them shorter, and not the sum.
    assert!(
        gaps.iter().any(|gap| *gap < Duration::from_millis(300)),
        "{gaps:?}"
    );
    assert!(beats[6] - beats[0] > Duration::from_millis(900), "{gaps:?}");
    drop(fed);

    let beats = |daemon: &Daemon| {
        let all = daemon.notifications();
        all.iter()
            .filter(|message| *message == "WATCHDOG=1")
            .count()
    };
    let under_shell = |pid: &str| {
        let script = format!("export WATCHDOG_PID={pid}; exec \"$0\" run");
        let setup = Daemon::new(&config)
            .env("WATCHDOG_USEC", "400000")
            .program(Path::new("/bin/sh"));
        setup
            .arg("-c")
            .arg(&script)
            .arg(env!("CARGO_BIN_EXE_secrets-sync"))
    };
    let ours = under_shell("$$").start();
    poll(SOON, || (beats(&ours) >= 2).then_some(())).expect("beats for its own process id");
    let mut others = under_shell("1").start();
    others.wait_status(SOON, |status| status["degraded"] == true);
    others.stop();
    assert_eq!(beats(&others), 0, "the watchdog of another process");
}

/// A daemon that tells an abstract socket, which the test reads when it wants to.
fn told_abstractly(setup: Setup, name: &str) -> (Daemon, UnixDatagram) {
    let name = format!("secrets-sync-test/{}/{name}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let setup = setup
        .without_notify()
        .env("NOTIFY_SOCKET", &format!("@{name}"));
    (setup.start(), socket)
}

fn next(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 512];
    let length = socket.recv(&mut bytes).expect("a message");
    timeless(&String::from_utf8_lossy(&bytes[..length]))
}

#[test]
fn an_abstract_socket_is_told_too_and_a_missing_one_is_no_matter() {
    let site = Site::with(&["a"]);
    let config = site.config(&[hourly("a")]);
    let (daemon, socket) = told_abstractly(Daemon::new(&config), "plain");
    assert_eq!(next(&socket), "STATUS=0 of 1 secrets in sync");
    assert_eq!(next(&socket), format!("READY=1\n{ALL}"));
    // Nobody listens any more.
    drop(socket);
    reload(&daemon);
    for nowhere in ["@nobody-listens-here", "/nonexistent/socket", "relative"] {
        let setup = Daemon::new(&config).without_notify();
        let mut daemon = setup.env("NOTIFY_SOCKET", nowhere).start();
        settled(&daemon, &["a"]);
        assert_eq!(daemon.stop().code(), Some(0));
    }
}

#[test]
fn a_manager_that_is_slow_to_listen_still_hears_ready() {
    let site = Site::new();
    let config = site.config(&[secret("a", "refreshInterval: 1s")]);
    let (daemon, socket) = told_abstractly(Daemon::new(&config), "slow");
    daemon.wait_for_log(SOON, |line| line.msg() == "secrets-sync starts");
    // More than its socket holds.
    let holds = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap();
    let holds: usize = holds.trim().parse().unwrap();
    if holds > 100 {
        skip!("the socket holds {holds} messages: too many to fill it");
    }
    for _ in 0..=holds / 2 {
        reload(&daemon);
    }
    site.put("a", "a");
    settled(&daemon, &["a"]);
    let mut heard = Vec::new();
    while !heard
        .last()
        .is_some_and(|last: &String| last.starts_with("READY=1"))
    {
        heard.push(next(&socket));
    }
    assert!(heard.len() > holds, "{heard:?}");
}
