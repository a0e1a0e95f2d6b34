//! A hundred secrets at intervals of 1 s, while the server is killed, sealed and frozen, the
//! configuration is changed and everything is read: nothing grows, nothing is wrong, nothing stays
//! stale. `make soak` takes ten minutes for it, on the release binary; here it is shortened.
//!
//! `SOAK_SECONDS`, `SOAK_RELOADS` and `SOAK_BINARY` choose length, number of reloads and program.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails
#![allow(clippy::print_stdout)] // what was measured

mod bounds;
#[path = "../reading/mod.rs"]
mod reading;
mod strain;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bounds::{Bucket, Resources};
use reading::{EndsAll, Reader};
use serde_json::json;
use strain::{Fleet, Pace};
use support::{CountingProxy, Daemon, OpenBao, SOON, poll};

/// The first part warms up: what is measured after it may not be more at the end.
const WARM_UP: f64 = 0.2;

fn chosen<T: FromStr>(variable: &str, default: T) -> T {
    match std::env::var(variable) {
        Ok(text) => match text.parse() {
            Ok(value) => value,
            Err(_) => panic!("{variable} is {text:?}"),
        },
        Err(_) => default,
    }
}

#[test]
fn under_faults_and_reloads_nothing_grows_nothing_is_wrong_and_nothing_stays_stale() {
    let length = Duration::from_secs(chosen("SOAK_SECONDS", 40));
    let reloads: u32 = chosen("SOAK_RELOADS", 40);
    let bao = OpenBao::raft().start();
    bao.enable_kv("kv", 2);
    bao.kv2_put("kv", "canary", &json!({ "value": reading::CANARY }));
    let policy = bao.reader_policy("kv");
    // Short enough for renewals and new logins, in outages too.
    let role = json!({ "token_policies": [policy], "token_ttl": "20s", "token_max_ttl": "50s" });
    let (role_id, secret_id) = bao.approle("soak", &role);
    let proxy = CountingProxy::start(bao.endpoint());
    let fleet = Fleet::new(&proxy.address(), &role_id, &secret_id);
    fleet.put_all(&bao, &fleet.next_generation());
    let mut setup = Daemon::new(&fleet.config(0));
    if let Ok(program) = std::env::var("SOAK_BINARY") {
        setup = setup.program(&std::fs::canonicalize(program).unwrap());
    }
    let begun = Instant::now();
    let daemon = setup.start();
    daemon.wait_ready(SOON * 2);

    let over = AtomicBool::new(false);
    let warm_up = length.mul_f64(WARM_UP);
    let few = ((f64::from(reloads) * WARM_UP).round() as u32).max(2);
    let first = strained(&fleet, &bao, &daemon, &over, warm_up, few);
    let before = at_rest(&fleet, &bao, &daemon);
    println!(
        "measured: after {:>3} s and {few} reloads: {before}",
        begun.elapsed().as_secs()
    );
    let second = strained(
        &fleet,
        &bao,
        &daemon,
        &over,
        length - warm_up,
        reloads - few,
    );
    let after = at_rest(&fleet, &bao, &daemon);
    println!(
        "measured: after {:>3} s and {reloads} reloads: {after}",
        begun.elapsed().as_secs()
    );

    println!(
        "measured: {} outages; {} new values; {} reads of files, all right; readers saw the two files of a \
         secret differ {} times, none of them with `layout: directory`",
        first.outages + second.outages,
        first.puts + second.puts,
        first.reads + second.reads,
        first.differed + second.differed,
    );
    let requests: Vec<Instant> = proxy.requests().iter().map(|request| request.at).collect();
    let lived = begun.elapsed().as_secs_f64();
    println!(
        "measured: {} requests, {:.1} a second; {} at most in one second, {} in a minute",
        requests.len(),
        requests.len() as f64 / lived,
        bounds::most_within(&requests, Duration::from_secs(1)),
        bounds::most_within(&requests, Duration::from_secs(60)),
    );
    after.assert_no_more_than(&before);
    // The contract's bound, without the refill that it allows after each outage.
    let reads = strain::NUMBER as f64;
    let lowest = Bucket::lowest(&requests, 2.0 * reads + 20.0, 2.0 * reads + 2.0);
    println!(
        "measured: of {} requests in reserve, {lowest:.0} were left at the least",
        2.0 * reads
    );
    assert!(lowest >= 0.0, "the stated rate was exceeded");

    let mut daemon = daemon;
    assert!(daemon.is_running());
    for line in daemon.log() {
        assert!(!line.has("error_type", "panic"), "{}", line.raw);
    }
    let status = daemon.stop();
    assert_eq!(status.code(), Some(0));
}

/// What happened in one part of the run.
struct Seen {
    outages: u32,
    puts: usize,
    reads: usize,
    differed: usize,
}

/// Everything at once: values change, the server fails, the configuration changes, readers read.
fn strained(
    fleet: &Fleet,
    bao: &OpenBao,
    daemon: &Daemon,
    over: &AtomicBool,
    length: Duration,
    reloads: u32,
) -> Seen {
    over.store(false, Ordering::Relaxed);
    let pace = Pace {
        end: Instant::now() + length,
        over,
    };
    thread::scope(|scope| {
        let puts = scope.spawn(|| fleet.keep_changing(bao, &pace));
        let outages = scope.spawn(|| {
            let _ends = EndsAll(over);
            strain::fail_again_and_again(bao, &pace)
        });
        let reloaded = scope.spawn(|| {
            let _ends = EndsAll(over);
            fleet.reload(daemon, length / (reloads + 1), reloads, over);
        });
        let reader = scope.spawn(|| read_all(fleet, &daemon.path("out"), over, &pace));
        let sampler = scope.spawn(|| {
            let begun = Instant::now();
            // Seven lines of figures for each part.
            while pace.wait(length / 8) {
                let now = Resources::of(daemon);
                println!(
                    "measured: {:>3} s into the strain: {now}",
                    begun.elapsed().as_secs()
                );
            }
        });
        let outages = outages.join().unwrap();
        reloaded.join().unwrap();
        sampler.join().unwrap();
        let puts = puts.join().unwrap();
        // Reads until everything else is over.
        over.store(true, Ordering::Relaxed);
        let reader = reader.join().unwrap();
        Seen {
            outages,
            puts,
            reads: reader.reads,
            differed: reader.differed.len(),
        }
    })
}

fn read_all(fleet: &Fleet, out: &Path, over: &AtomicBool, pace: &Pace<'_>) -> Reader {
    let _ends = EndsAll(over);
    let process = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    let mut reader = Reader::new(out, process);
    while !over.load(Ordering::Relaxed) {
        for name in &fleet.names {
            if fleet.is_switched(name) {
                reader.pinned(name);
            } else {
                reader.by_path(name);
            }
        }
        pace.breathe();
    }
    reader
}

/// The server is well, the configuration is the first: every file becomes current, the daemon comes
/// to rest, and this is what it holds.
fn at_rest(fleet: &Fleet, bao: &OpenBao, daemon: &Daemon) -> Resources {
    let newest = fleet.next_generation();
    fleet.put_all(bao, &newest);
    let put = Instant::now();
    let process = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    let mut reader = Reader::new(&daemon.path("out"), process);
    let stale = |reader: &mut Reader| {
        let is_stale = |name: &&String| reader.by_path(name) != [newest.of(name); 2];
        fleet
            .names
            .iter()
            .filter(is_stale)
            .cloned()
            .collect::<Vec<_>>()
    };
    let all_current = poll(SOON * 2, || stale(&mut reader).is_empty().then_some(()));
    assert!(all_current.is_some(), "stale: {:?}", stale(&mut reader));
    println!(
        "measured: all files current {:.1} s after their values",
        put.elapsed().as_secs_f64()
    );
    daemon.wait_status(SOON, |status| {
        status["synced_count"] == strain::NUMBER && status["degraded"] == false
    });
    Resources::at_rest(daemon)
}
