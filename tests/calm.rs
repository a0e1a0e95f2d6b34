//! A daemon whose secrets do not change does little but ask: its main loop is not woken by refreshes that
//! find everything as it was, and what it shows of them it shows seldom.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)] // that is how a test fails

mod site;
mod support;

use std::time::{Duration, Instant, SystemTime};

use site::{Site, hourly, secret, settled};
use support::{Daemon, SOON, Signal, poll};

const EVERY_SECOND: &str = "refreshInterval: 1s";

/// How often a thread of the daemon has gone to sleep; the main loop's has the daemon's number.
fn sleeps(daemon: &Daemon) -> u64 {
    let pid = daemon.pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/status")).unwrap();
    let (_, count) = status.split_once("\nvoluntary_ctxt_switches:").unwrap();
    count.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn refreshes_that_find_nothing_new_do_not_wake_the_main_loop() {
    let names: Vec<String> = (0..30).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let site = Site::with(&names);
    let secrets: Vec<String> = names
        .iter()
        .map(|name| secret(name, EVERY_SECOND))
        .collect();
    let daemon = Daemon::new(&site.config(&secrets)).metrics().start();
    settled(&daemon, &names);
    let counted = || -> f64 {
        let page = daemon.get("/metrics").text();
        page.lines()
            .filter(|line| {
                line.starts_with("secret_fetch_total{") && line.contains("status=\"success\"")
            })
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum()
    };
    // Each has told of two: from now on all is as before.
    poll(SOON, || {
        names.iter().all(|name| site.reads(name) >= 3).then_some(())
    })
    .unwrap();
    let (began, before, slept) = (Instant::now(), counted(), sleeps(&daemon));
    poll(SOON, || (counted() >= before + 150.0).then_some(()))
        .expect("refreshes are counted, whoever is woken");
    let slept = sleeps(&daemon) - slept;
    let (took, refreshed) = (began.elapsed(), counted() - before);
    println!("{refreshed} refreshes in {took:?}, the main loop slept {slept} times");
    assert!(
        slept <= 20 + 3 * took.as_secs(),
        "{slept} times in {took:?}"
    );
}

#[test]
fn what_only_moves_times_is_written_every_five_seconds_and_what_changes_at_once() {
    let site = Site::with(&["a", "b"]);
    let config = site.config(&[secret("a", EVERY_SECOND), hourly("b")]);
    let daemon = Daemon::new(&config).start();
    settled(&daemon, &["a", "b"]);
    let last = |name: &str| {
        let status = daemon.status().unwrap();
        let mut secrets = status["secrets"].as_array().unwrap().iter();
        let entry = secrets.find(|entry| entry["name"] == name).unwrap();
        humantime::parse_rfc3339(entry["last_success"].as_str().unwrap()).unwrap()
    };
    // When the status was written, each time that it shows another success.
    let mut shown = vec![(last("a"), SystemTime::UNIX_EPOCH)];
    poll(SOON, || {
        let written = daemon.path("status.json").metadata().unwrap().modified();
        let success = last("a");
        if shown.last().unwrap().0 != success {
            shown.push((success, written.unwrap()));
        }
        (shown.len() > 3).then_some(())
    })
    .expect("times go on");
    // The first may have come with the news of the start.
    for pair in shown[1..].windows(2) {
        let apart = pair[1].1.duration_since(pair[0].1).unwrap();
        println!("written {apart:?} later");
        assert!(apart >= Duration::from_millis(4_900), "{apart:?}");
    }
    let details = daemon.path("status.json.details");
    // All attempts are there in the end, one a refresh.
    let attempts = || {
        let text = std::fs::read_to_string(&details).unwrap();
        text.lines()
            .filter(|line| line.starts_with("[\"a\""))
            .count()
    };
    let reads = site.reads("a");
    poll(SOON, || (attempts() >= reads.min(20)).then_some(())).expect("no attempt is lost");

    // A new version is no calm matter: shown, file and status, long before five seconds are over.
    let version = site.put("a", "new");
    daemon.wait_file("a", "new", SOON);
    let status = daemon.wait_secret("a", SOON, |entry| entry["version"] == version);
    assert_eq!(status["state"], "in_sync");

    // Who asks for everything anew sees it.
    let before = last("b");
    daemon.signal(Signal::USR1);
    poll(SOON, || (last("b") > before).then_some(())).expect("a refresh that was asked for shows");
}
