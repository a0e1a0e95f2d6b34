use super::*;
use crate::failure::Retry;
use crate::plan::{Interval, KvVersion, Layout, SessionKey, Source};
use crate::store::BreakerState;
use std::path::PathBuf;

fn secret(name: &str, optional: bool) -> Arc<Secret> {
    Arc::new(Secret {
        name: name.into(),
        sources: vec![Source {
            alias: None,
            session: SessionKey {
                store: "default".into(),
                credentials: "default".into(),
                namespace: String::new(),
            },
            namespace: String::new(),
            mount: "secret".into(),
            key: format!("app/{name}"),
            kv: KvVersion::V2,
            version: None,
            metadata: false,
        }],
        interval: Interval::Every(Duration::from_secs(60)),
        optional,
        layout: Layout::Files,
        outputs: Vec::new(),
        max_file_bytes: 1,
    })
}

fn plan(secrets: &[(&str, bool)]) -> Plan {
    Plan {
        file: PathBuf::from("config.yaml"),
        stores: Vec::new(),
        sessions: Vec::new(),
        secrets: secrets
            .iter()
            .map(|(name, optional)| secret(name, *optional))
            .collect(),
        notices: Vec::new(),
        hidden: crate::config::Hidden::default(),
    }
}

fn at(secs: u64) -> Tick {
    Tick::from_start(Duration::from_secs(secs))
}

fn wall(secs: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + secs)
}

fn state(secrets: &[(&str, bool)]) -> State {
    let mut state = State::new(&plan(secrets), at(0), wall(0));
    for index in 0..secrets.len() {
        state.assign(index, index as u64 + 1);
    }
    state
}

fn good(expires: Option<Tick>) -> Report {
    Report::Synced {
        version: Some(4),
        written: Vec::new(),
        unchanged: 0,
        took: Duration::ZERO,
        next: Some(at(70)),
        reason: Reason::Interval,
        expires,
        warnings: Vec::new(),
        preview: None,
    }
}

fn bad() -> Report {
    Report::Failed {
        failure: Failure {
            error_type: ErrorType::Denied,
            message: "no".into(),
            remedy: None,
            retry: Retry::Settled,
            is_halfway: false,
        },
        attempt: 1,
        took: Duration::ZERO,
        next: Some(at(70)),
        reason: Reason::Settled,
        is_final: false,
    }
}

fn fold(state: &mut State, worker: u64, report: &Report, secs: u64) {
    state.fold(worker, report, at(secs), wall(secs));
}

#[test]
fn who_is_to_be_woken_waits_for_the_store_while_that_is_away_else_for_a_login() {
    let mut state = state(&[("a", false)]);
    let failure = Failure::new(ErrorType::Unavailable, Retry::Backoff(None), "away");
    state.secrets_mut()[0].fail(failure, None, Reason::Woken, 1);
    let mut reason = |breaker| {
        let store = StoreStatus {
            name: "default".into(),
            breaker,
            next_probe: Some(at(8)),
            waiting: 0,
            sessions: Vec::new(),
        };
        let document = state.document(&[store], at(5), wall(5));
        assert_eq!(
            document.stores[0].next_probe.as_deref(),
            Some("2027-01-15T08:00:08.000Z")
        );
        document.secrets[0].next_reason.clone().unwrap()
    };
    assert_eq!(reason(BreakerState::Open), "store");
    assert_eq!(reason(BreakerState::HalfOpen), "store");
    assert_eq!(reason(BreakerState::Closed), "session");
}

#[test]
fn ready_when_everything_that_counts_was_written_and_degraded_while_something_fails() {
    let mut state = state(&[("a", false), ("b", false), ("extra", true)]);
    fold(&mut state, 1, &good(None), 1);
    assert!(!state.is_ready(at(1)), "b is not there yet");
    fold(&mut state, 3, &bad(), 1);
    assert!(!state.is_degraded(), "an optional secret does not count");
    fold(&mut state, 2, &good(None), 2);
    assert!(state.is_ready(at(2)));
    assert!(!state.is_degraded());
    fold(&mut state, 1, &bad(), 3);
    assert!(state.is_ready(at(3)), "a later failure leaves it ready");
    assert!(state.is_degraded());
    fold(&mut state, 1, &good(None), 4);
    assert!(!state.is_degraded());
    assert_eq!(state.counts(), (3, 2));
}

#[test]
fn an_expired_lease_on_disk_takes_readiness_back_until_it_is_replaced() {
    let mut state = state(&[("a", false)]);
    fold(&mut state, 1, &good(Some(at(30))), 1);
    assert!(state.is_ready(at(29)));
    assert!(!state.is_ready(at(30)));
    fold(&mut state, 1, &good(Some(at(90))), 31);
    assert!(state.is_ready(at(31)));
}

#[test]
fn a_reload_keeps_what_is_equal_and_a_new_secret_only_degrades() {
    let mut state = state(&[("a", false), ("b", false)]);
    fold(&mut state, 1, &good(None), 1);
    fold(&mut state, 2, &good(None), 1);
    assert!(state.is_ready(at(1)));
    let unchanged = HashSet::from(["a".to_owned()]);
    let gone = state.apply(
        &plan(&[("c", false), ("a", false)]),
        &unchanged,
        at(5),
        wall(5),
    );
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].vault_path, "secret/app/b");
    assert!(state.is_ready(at(5)));
    assert!(state.is_degraded(), "c is not yet written");
    assert!(
        state.by_worker(2).is_none(),
        "its worker is not listened to"
    );
    assert!(state.by_worker(1).is_some(), "a goes on with its worker");
    let document = state.document(&[], at(5), wall(5));
    let names: Vec<_> = document.secrets.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["c", "a"]);
    assert_eq!(document.secrets[1].state, "in_sync");
    assert_eq!(document.secrets[1].version, Some(4));
    assert_eq!(
        document.secrets[1].next_refresh.as_deref(),
        Some("2027-01-15T08:01:10.000Z")
    );
}

#[test]
fn a_stalled_worker_shows_and_comes_back_as_it_was() {
    let mut state = state(&[("a", false)]);
    fold(&mut state, 1, &good(None), 1);
    let known = &mut state.secrets_mut()[0];
    let failure = stalled(&known.secret);
    assert!(known.stall(failure.clone()));
    assert!(!known.stall(failure), "told once");
    assert_eq!(known.stale(at(11)), Duration::from_secs(10));
    assert!(state.is_degraded());
    let document = state.document(&[], at(5), wall(5));
    assert_eq!(document.secrets[0].state, "stalled");
    assert_eq!(document.secrets[0].error_type.as_deref(), Some("stalled"));
    assert!(state.secrets_mut()[0].unstall());
    assert_eq!(state.secrets()[0].standing, Standing::InSync);
    assert_eq!(state.secrets()[0].stale(at(11)), Duration::ZERO);
}

#[test]
fn staleness_counts_from_the_last_success_or_from_the_start() {
    let mut state = state(&[("a", false)]);
    fold(&mut state, 1, &bad(), 4);
    assert_eq!(state.secrets()[0].stale(at(10)), Duration::from_secs(10));
    fold(&mut state, 1, &good(None), 20);
    fold(&mut state, 1, &bad(), 30);
    assert_eq!(state.secrets()[0].stale(at(50)), Duration::from_secs(30));
    let mut told = Vec::new();
    for now in [50, 50, 51] {
        state.tell_stale(at(now), |_, span| told.push(span.as_secs()));
    }
    assert_eq!(told, [30, 31]);
    told.clear();
    fold(&mut state, 1, &good(None), 60);
    for now in [60, 61] {
        state.tell_stale(at(now), |_, span| told.push(span.as_secs()));
    }
    assert_eq!(told, [0], "its end is told once");
}

#[test]
fn what_only_moves_times_has_nothing_counted_anew() {
    let mut state = state(&[("a", false), ("b", false)]);
    fold(&mut state, 1, &good(None), 1);
    fold(&mut state, 2, &good(None), 1);
    assert!(state.is_ready(at(1)));
    state.tell_stale(at(1), |_, _| ());
    fold(&mut state, 1, &good(None), 2);
    assert!(state.tally.is_some());
    assert_eq!(state.secrets()[0].last_success.unwrap().0, at(2));
    fold(&mut state, 1, &bad(), 3);
    assert!(state.tally.is_none());
    assert_eq!(state.counts(), (2, 1));
    fold(&mut state, 1, &good(Some(at(9))), 4);
    assert_eq!(state.counts(), (2, 2));
    assert!(!state.is_ready(at(9)));
}
