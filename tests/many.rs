//! Many secrets: each on its own schedule.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{CountingProxy, Daemon, OpenBao, SOON};

#[test]
fn a_hundred_secrets_with_a_hundred_intervals_are_each_fetched_on_their_own() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(1);
    let proxy = CountingProxy::start(bao.endpoint());
    let mut config = format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {mount}, \
         kvVersion: v1, maxConcurrent: 100 }}\nsecrets:\n",
        proxy.address()
    );
    let interval = |number: u64| Duration::from_millis(1000 + 20 * number);
    for number in 0..100 {
        bao.kv1_put(
            &mount,
            &format!("s{number}"),
            &json!({ "x": format!("value {number}") }),
        );
        config += &format!(
            "- {{ name: s{number}, key: s{number}, refreshInterval: {}ms, \
             files: [{{ path: '@DIR@/s{number}', field: x }}] }}\n",
            interval(number).as_millis()
        );
    }
    let began = Instant::now();
    let daemon = Daemon::new(&config).start();
    daemon.wait_ready(SOON * 2);
    for number in 0..100 {
        daemon.wait_file(format!("s{number}"), format!("value {number}"), SOON);
    }
    // Until the slowest has been fetched three times.
    let slowest = format!("/v1/{mount}/s99");
    proxy.wait_for(3, SOON * 2, |request| request.target == slowest);
    let (requests, elapsed) = (proxy.requests(), began.elapsed());
    let mut counts: HashMap<&str, u32> = HashMap::new();
    for request in &requests {
        if let Some(key) = request.target.strip_prefix(&format!("/v1/{mount}/")) {
            *counts.entry(key).or_default() += 1;
        }
    }
    for number in 0..100 {
        let count = counts[&*format!("s{number}")];
        // Never earlier than nine tenths of its interval: a bound that no load can break.
        let most = 1 + elapsed.as_millis() / (interval(number).as_millis() * 9 / 10);
        assert!(
            u128::from(count) <= most,
            "s{number}: {count} of {most} in {elapsed:?}"
        );
        // And none is forgotten for the others.
        assert!(count >= 2, "s{number}: {count} in {elapsed:?}");
    }
    // The fast ones run ahead of the slow: intervals are not rounded to a common one.
    let sum = |range: std::ops::Range<u64>| -> u32 {
        range.map(|number| counts[&*format!("s{number}")]).sum()
    };
    assert!(sum(0..20) > sum(80..100), "{counts:?}");

    // A change of one is the affair of one.
    bao.kv1_put(&mount, "s42", &json!({ "x": "changed" }));
    daemon.wait_file("s42", "changed", SOON);
    assert_eq!(std::fs::read(daemon.path("s41")).unwrap(), b"value 41");
    let status = daemon.wait_status(SOON, |status| status["synced_count"] == 100);
    assert_eq!(status["secret_count"], 100);
}
