//! Thousands of secrets on one daemon: what they cost, and what their server sees.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)] // that is how a test fails

mod support;
mod traffic;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use support::{Action, Daemon, Request, Response, SOON, Setup, Signal, poll};
use tempfile::TempDir;
use traffic::{Store, config, is_health, is_read, names, value};

/// Requests to the store at once.
const MOST: usize = 8;

/// Where files are written: in memory, where that can be had, for thousands are synced here.
fn place() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// One at a time: each is a load of its own, and measures.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `maxConcurrent` as it is by default, and room for all; each secret has a directory of its own. A second
/// file, where `mark` says so, makes it another secret for a reload.
fn many(store: &Store, out: &Path, count: usize, mark: impl Fn(usize) -> bool) -> String {
    let out = out.display();
    let secrets: Vec<_> = names(count)
        .iter()
        .enumerate()
        .map(|(number, name)| {
            let second = format!(", {{ path: '{out}/{name}/second', field: value }}");
            let second = if mark(number) { second } else { String::new() };
            format!(
                "  - {{ name: {name}, key: {name}, refreshInterval: 1h, \
                 files: [{{ path: '{out}/{name}/value', field: value }}{second}] }}\n"
            )
        })
        .collect();
    let limits = format!("limits: {{ maxSecrets: {count} }}\n");
    limits + &config(&store.address(), "authMethod: none", &secrets)
}

fn setup(config: &str) -> Setup {
    // A line a secret and a refresh is of no use here.
    Daemon::new(config).env("LOG_LEVEL", "warn")
}

/// Waits until all these files hold the value.
#[track_caller]
fn wait_all(out: &Path, count: usize, file: &str, value: &str) {
    let mut left = names(count);
    let done = poll(SOON * 3, || {
        left.retain(|name| {
            fs::read(out.join(name).join(file)).unwrap_or_default() != value.as_bytes()
        });
        left.is_empty().then_some(())
    });
    assert!(done.is_some(), "{} are not {value}: {left:?}", left.len());
}

/// Processor time of the main thread, which starts workers, takes up configurations, counts and shows.
fn main_thread(daemon: &Daemon) -> Duration {
    let pid = daemon.pid();
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// A reload; what the main thread spent on it.
#[track_caller]
fn reload(daemon: &Daemon, config: &str) -> Duration {
    let told = daemon.notifications().len();
    let before = main_thread(daemon);
    fs::write(daemon.path("config.yaml"), config).unwrap();
    daemon.signal(Signal::HUP);
    let done = poll(SOON * 2, || {
        let says = |m: &String, word| m.lines().any(|line| line == word);
        let all = daemon.notifications();
        let mut new = all[told..].iter();
        new.find(|m| says(m, "RELOADING=1"))?;
        new.find(|m| says(m, "READY=1")).map(drop)
    });
    assert!(done.is_some(), "the reload did not end");
    main_thread(daemon) - before
}

/// What a life of so many secrets takes.
struct Cost {
    start: Duration,
    reload: Duration,
}

#[track_caller]
fn life(count: usize) -> Cost {
    let (store, out) = (Store::start(), place());
    let out = out.path();
    let plain = many(&store, out, count, |_| false);
    let mut daemon = setup(&plain).start();
    daemon.wait_ready(SOON * 3);
    wait_all(out, count, "value", "v1");
    let start = main_thread(&daemon);
    assert_eq!(store.count(is_read), count, "each is read once");

    // A thread a secret; connections and files of those that are at work, not of those that wait.
    let (threads, fds) = (daemon.threads(), daemon.fds());
    println!(
        "{count}: {threads} threads, {fds} descriptors, {} KiB",
        daemon.rss_kib()
    );
    assert!(threads <= count as u64 + 16, "{threads} threads");
    assert!(fds <= MOST + 40, "{fds} descriptors");

    // The best of some: another process may have had the processor's caches meanwhile.
    let one = many(&store, out, count, |number| number == 0);
    let reload = [&one, &plain, &one, &plain, &one]
        .map(|config| reload(&daemon, config))
        .into_iter()
        .min()
        .unwrap();
    daemon.wait_file(out.join("s0/second"), "v1", SOON);
    let others = store.count(|r| is_read(r) && !traffic::reads(r, "s0"));
    assert_eq!(others, count - 1, "the others are not read again");

    store.rule(|r| is_read(r).then(|| value("v2")));
    daemon.signal(Signal::USR1);
    wait_all(out, count, "value", "v2");
    assert!(
        store.most_open() <= MOST,
        "{} requests at once",
        store.most_open()
    );
    let status = daemon.wait_status(SOON, |status| status["synced_count"] == count);
    assert_eq!(status["degraded"], false);
    assert_eq!(daemon.stop().code(), Some(0));
    Cost { start, reload }
}

#[test]
fn two_thousand_secrets_are_written_refreshed_and_stopped_at_ten_times_the_cost_of_two_hundred() {
    let _alone = alone();
    let (few, many) = (life(200), life(2_000));
    for (what, few, many) in [
        ("start", few.start, many.start),
        ("reload", few.reload, many.reload),
    ] {
        let ratio = many.as_secs_f64() / few.as_secs_f64();
        println!("{what}: {few:?} for 200, {many:?} for 2,000: {ratio:.2} times");
        // A straight line is 10; one list that is walked for each entry of another, at a reload, made 16 of it.
        assert!(ratio < 14.0, "{what}: {few:?} and {many:?}: {ratio:.2}");
    }
}

fn slowly(time: u64, answer: Action) -> Action {
    Action::Delay(Duration::from_millis(time), Box::new(answer))
}

/// Start, a reload that changes all, SIGUSR1, an outage and its end, as the server sees them.
#[test]
fn the_server_of_a_thousand_secrets_sees_eight_requests_at_once_and_never_a_flood() {
    let _alone = alone();
    let (count, out) = (1_000, place());
    let out = out.path();
    let store = Store::with(|r| is_read(r).then(|| slowly(2, value("v1"))));
    let daemon = setup(&many(&store, out, count, |_| false)).start();
    let begin = Instant::now();
    wait_all(out, count, "value", "v1");
    daemon.wait_ready(SOON);
    assert_eq!(store.count(is_read), count, "at start each is read once");
    reload(&daemon, &many(&store, out, count, |_| true));
    wait_all(out, count, "second", "v1");
    assert_eq!(store.count(is_read), 2 * count, "and at the reload");
    assert!(store.most_open() <= MOST, "{} at once", store.most_open());

    // Two bursts of all have been used up: the third goes at twice what the plan needs and 20 a second.
    daemon.signal(Signal::USR1);
    let third = store.wait_for(2 * count + 20, SOON, is_read).len();
    let rate = f64::from(u32::try_from(2 * count).unwrap()) / 3600.0 + 20.0;
    let most = rate.mul_add(begin.elapsed().as_secs_f64(), 2.0 * 1_000.0) + 1.0;
    assert!(third as f64 <= most, "{third} of {most}");

    // The server goes away under it, and all wait.
    store.rule(|_| Some(Response::error(503, "Vault is sealed").act()));
    let away = Instant::now();
    let open = |status: &serde_json::Value| status["stores"][0]["breaker"] == "open";
    daemon.wait_status(SOON, open);
    let since = Instant::now();
    store.wait_for(2, SOON, |r: &Request| r.at > since && is_health(r));
    let asked = store.count(|r| is_read(r) && r.at > away);
    assert!(asked <= 30, "{asked} reads of a server that is away");
    let asked = store.count(|r| is_read(r) && r.at > since);
    assert_eq!(asked, 0, "while the breaker is open the probe alone asks");

    // It is back: three try it first, and only when it has answered one of them come the others.
    let tried = AtomicUsize::new(0);
    store.rule(move |r| {
        let first = is_read(r) && tried.fetch_add(1, Ordering::SeqCst) < 3;
        is_read(r).then(|| slowly(if first { 300 } else { 2 }, value("v2")))
    });
    let back = Instant::now();
    daemon.wait_status(SOON * 2, |status| {
        status["synced_count"] == count && status["degraded"] == false
    });
    let reads: Vec<_> = store.requests();
    let reads: Vec<_> = reads
        .iter()
        .filter(|r| is_read(r) && r.at > back)
        .map(|r| r.at)
        .collect();
    let early = reads
        .iter()
        .filter(|at| **at - reads[0] < Duration::from_millis(250));
    assert!(early.clone().count() <= 3, "{} try it", early.count());
    // The question after its health is one more.
    assert!(store.most_open() <= MOST + 1, "{}", store.most_open());
    println!(
        "{} reads in {:?} from the first",
        reads.len(),
        reads[reads.len() - 1] - reads[0]
    );
}
