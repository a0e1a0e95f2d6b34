//! A server that misbehaves in every way: each is a failure of its class that says what and where,
//! asked again at the pace of that class, and no file and no other secret feels it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails
#![allow(clippy::print_stdout)] // what was measured

mod hostile;
mod support;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hostile::cases::{Case, cases, harmless, kv};
use hostile::{check_bound, paced};
use serde_json::json;
use support::{Daemon, Response, SOON, ScriptedServer, Signal};

#[test]
fn each_misbehaviour_is_a_failure_of_its_class_and_the_file_stays() {
    let (cases, harmless) = (cases(), harmless());
    let hostile = Arc::new(AtomicBool::new(false));
    let good = Arc::new(Mutex::new("good 1"));
    let (turned, told) = (Arc::clone(&hostile), Arc::clone(&good));
    let all = cases.iter().map(|case| (case.0, case.1.clone()));
    let script: HashMap<_, _> = all.chain(harmless.clone()).collect();
    let server = ScriptedServer::start(move |request| {
        let key = request.target.rsplit('/').next().unwrap();
        match script.get(key) {
            Some(action) if turned.load(Ordering::SeqCst) => action.clone(),
            Some(_) => kv("old").act(),
            None if key == "good" => kv(*told.lock().unwrap()).act(),
            // Of its health: or else the breaker opens, and not every request is made.
            None => Response::json(200, &json!({})).act(),
        }
    });
    let mut config = format!(
        "limits: {{maxResponseBytes: 2MiB}}\n\
         secretStore: {{address: '{}', authMethod: none, timeout: 2s, maxConcurrent: 64}}\n\
         secrets:\n- {{name: good, key: good, refreshInterval: 1s, files: [{{path: @DIR@/good, \
         field: x}}]}}\n",
        server.address()
    );
    let names = cases.iter().map(|case| case.0);
    for name in names.chain(harmless.iter().map(|case| case.0)) {
        config.push_str(&format!(
            "- {{name: {name}, key: {name}, refreshInterval: 1h, files: [{{path: @DIR@/{name}, \
             field: x}}]}}\n"
        ));
    }
    let mut daemon = paced(Daemon::new(&config)).metrics().start();
    daemon.wait_ready(SOON);
    let inode = |name: &str| fs::metadata(daemon.path(name)).unwrap().ino();
    let inodes: Vec<_> = cases.iter().map(|case| inode(case.0)).collect();

    hostile.store(true, Ordering::SeqCst);
    let turned = Instant::now();
    server.clear();
    daemon.signal(Signal::USR1);
    let asked = |name: &str| {
        let path = format!("secret/data/{name}");
        let all = server.requests().into_iter();
        let its = all.filter(|request| request.is("GET", &path));
        its.map(|request| request.at).collect::<Vec<_>>()
    };
    for Case(name, _, error_type, message, pace) in &cases {
        let line = daemon.wait_for_log(SOON, |line| {
            line.has("secret", name) && line.json["error_type"].is_string()
        });
        assert_eq!(line.text("error_type"), *error_type, "{}", line.raw);
        let message = message.replace("@A@", &server.address());
        assert!(
            line.text("error").contains(&message),
            "{message}: {}",
            line.raw
        );
        assert!(
            !line.text("error").contains(char::is_control),
            "{}",
            line.raw
        );
        assert!(line.raw.len() < 2000, "{} bytes", line.raw.len());
        assert_eq!(line.text("path"), format!("secret/{name}"));
        pace.check_line(&line);
    }
    for Case(name, .., pace) in &cases {
        server.wait_for(pace.expected(), SOON, |request| {
            request.target.ends_with(name)
        });
    }
    for (name, _) in &harmless {
        daemon.wait_file(name, "new", SOON);
        assert_eq!(asked(name).len(), 1, "{name}");
    }
    *good.lock().unwrap() = "good 2";
    daemon.wait_file("good", "good 2", SOON);
    for Case(name, _, error_type, ..) in &cases {
        daemon.wait_secret(name, SOON, |secret| {
            secret["state"] == "failed" && secret["error_type"] == *error_type
        });
        let series = format!(
            "secret_fetch_errors_total{{error_type=\"{error_type}\",secret_name=\"{name}\",\
             store=\"default\",vault_path=\"secret/{name}\"}}"
        );
        assert!(
            daemon.metric(&series).is_some_and(|count| count >= 1.0),
            "{series}"
        );
    }
    // Whether it stays as it is.
    for Case(name, .., pace) in &cases {
        pace.check(name, &asked(name));
    }
    let (requests, lasted) = (server.requests(), turned.elapsed());
    let times: Vec<_> = requests.iter().map(|request| request.at).collect();
    check_bound(
        "the store",
        &times,
        cases.len() + harmless.len() + 1,
        1.1,
        0,
    );
    println!(
        "measured: {} requests of {} secrets in {lasted:?}",
        times.len(),
        cases.len()
    );
    // The neighbour: at its interval, and never with an error.
    let good: Vec<_> = requests
        .iter()
        .filter(|request| request.target.ends_with("/good"))
        .collect();
    assert!(good.iter().all(|request| request.status == Some(200)));
    let gaps = good.windows(2).map(|pair| pair[1].at - pair[0].at);
    assert!(gaps.min().unwrap() >= Duration::from_millis(800));
    for (Case(name, ..), before) in cases.iter().zip(inodes) {
        assert_eq!(
            fs::read_to_string(daemon.path(name)).unwrap(),
            "old",
            "{name}"
        );
        assert_eq!(inode(name), before, "{name} was written");
    }
    let status = daemon.status().unwrap();
    assert_eq!(
        (&status["ready"], &status["degraded"]),
        (&json!(true), &json!(true))
    );
    println!("measured: {} KiB resident at most", daemon.peak_rss_kib());
    assert!(
        daemon.peak_rss_kib() < 150 * 1024,
        "{} KiB",
        daemon.peak_rss_kib()
    );

    // It passes, and with it every failure that waits for time alone.
    hostile.store(false, Ordering::SeqCst);
    daemon.signal(Signal::USR1);
    daemon.wait_status(SOON, |status| status["degraded"] == false);
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(!daemon.log().iter().any(|line| line.raw.contains("panic")));
}
