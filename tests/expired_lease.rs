//! A lease that ends while its store is away: readiness goes by the clock, not by events.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Action, Daemon, Response, SOON, ScriptedServer};

#[test]
fn a_lease_that_ends_while_the_store_is_away_takes_readiness_back() {
    let away = Arc::new(AtomicBool::new(false));
    let gone = Arc::clone(&away);
    let server = ScriptedServer::start(move |request| {
        if gone.load(Ordering::SeqCst) {
            return Action::Close;
        }
        if request.is("GET", "auth/token/lookup-self") {
            return Response::json(200, &json!({"data": {"ttl": 0, "type": "service"}})).act();
        }
        Response::json(
            200,
            &json!({"lease_id": "database/creds/r/1", "lease_duration": 5, "data": {"u": "v"}}),
        )
        .act()
    });
    let daemon = Daemon::new(&format!(
        "secretStore: {{address: '{}', authMethod: token, token: t}}\n\
         secrets:\n  - name: lease\n    mountPath: database\n    key: creds/r\n    kvVersion: v1\n    \
         files: [{{path: u, field: u}}]\n",
        server.address()
    ))
    // The next try after the first failure is far away: no event comes meanwhile.
    .env("INITIAL_BACKOFF", "5m")
    .env("MAX_BACKOFF", "5m")
    .start();
    daemon.wait_ready(SOON);
    away.store(true, Ordering::SeqCst);
    daemon.wait_status(SOON, |status| status["secrets"][0]["state"] == "failed");
    let failed = Instant::now();
    daemon.wait_status(SOON, |status| status["ready"] == false);
    assert!(failed.elapsed() < Duration::from_secs(15));
    assert_eq!(
        std::fs::read_to_string(daemon.path("u")).unwrap(),
        "v",
        "the file stays"
    );
}
