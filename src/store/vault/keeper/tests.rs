//! The keeper on a clock moved by hand and a server made of rules: weeks in an instant.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use serde_json::{Value, json};

use super::super::answer::meaning;
use super::super::session::{CALM, Refusal};
use super::super::wire::Reply;
use super::*;
use crate::clock::ManualClock;
use crate::failure::Failure;
use crate::plan::{Credential, SessionKey, SessionPlan};
use crate::store::StoreEvent;
use crate::store::vault::longest_fetch;

const DENIED: &str = "permission denied";
const POLICY: &str = "1 error occurred:\n\t* permission denied\n\n";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A server's rules.
struct Rules {
    ttl: Duration,
    max: Duration,
    renewable: bool,
    /// Nobody answers.
    down: bool,
    /// We have a defect.
    defect: bool,
    /// Logins are refused.
    refuse_logins: bool,
    /// Each answer takes so long.
    slow: Duration,
    /// `lookup-self` and `renew-self` are refused by policy.
    mute: bool,
    tokens: HashMap<String, (Tick, Tick)>,
    calls: Vec<(Operation, Tick)>,
    revoked: usize,
}

struct FakeServer {
    clock: ManualClock,
    rules: Mutex<Rules>,
    /// Replaced when it is back.
    back: Mutex<(Sender<Infallible>, Receiver<Infallible>)>,
}

impl FakeServer {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap()
    }

    fn count(&self, operation: Operation) -> usize {
        let rules = self.rules();
        rules
            .calls
            .iter()
            .filter(|call| call.0 == operation)
            .count()
    }

    fn kill_all(&self) {
        self.rules().tokens.clear();
    }

    fn answer(&self, call: &Call<'_>) -> Option<(u16, Value)> {
        let now = self.clock.now();
        let mut rules = self.rules();
        rules.calls.push((call.operation, now));
        let (down, defect) = (rules.down, rules.defect);
        drop(rules);
        assert!(!defect, "a defect, for the test");
        if down {
            return None;
        }
        let mut rules = self.rules();
        let token = call.token.map(|token| token.expose().to_owned());
        let refused = |text: &str| Some((403, json!({ "errors": [text] })));
        let life = token
            .as_ref()
            .and_then(|token| rules.tokens.get(token).copied())
            .filter(|(_, end)| *end > now);
        match (call.operation, life) {
            (Operation::Login, _) if rules.refuse_logins => {
                Some((400, json!({"errors": ["invalid role or secret ID"]})))
            }
            (Operation::Login, _) => {
                let name = format!("t{}", rules.calls.len());
                let end = now + rules.ttl.min(rules.max);
                rules.tokens.insert(name.clone(), (now, end));
                Some((200, auth(&name, rules.ttl.min(rules.max), rules.renewable)))
            }
            (_, None) => refused(DENIED),
            (Operation::LookupSelf | Operation::Renew, _) if rules.mute => refused(POLICY),
            (Operation::LookupSelf, Some((_, end))) => Some((
                200,
                json!({"data": {
                    "ttl": end.since(now).as_secs(), "renewable": rules.renewable,
                    "accessor": "accessor-1234", "type": "service", "num_uses": 0,
                }}),
            )),
            (Operation::Renew, _) if !rules.renewable => {
                Some((400, json!({"errors": ["lease is not renewable"]})))
            }
            (Operation::Renew, Some((made, _))) => {
                let end = (now + rules.ttl).min(made + rules.max);
                let name = token.unwrap_or_default();
                rules.tokens.insert(name.clone(), (made, end));
                Some((200, auth(&name, end.since(now), true)))
            }
            _ => Some((204, Value::Null)),
        }
    }
}

fn auth(token: &str, ttl: Duration, renewable: bool) -> Value {
    json!({"auth": {
        "client_token": token, "accessor": "accessor-1234", "lease_duration": ttl.as_secs(),
        "renewable": renewable, "token_type": "service", "num_uses": 0,
    }})
}

impl Wire for FakeServer {
    fn send(&self, call: &Call<'_>, _stop: &Stop) -> Result<Reply, StoreError> {
        let slow = self.rules().slow;
        self.clock.advance(slow);
        let (status, body) = self
            .answer(call)
            .ok_or_else(|| StoreError::new(ErrorType::Unavailable, Retry::Backoff(None), "down"))?;
        let body = body.to_string().into_bytes();
        Ok(Reply {
            status,
            meaning: meaning(call.operation, status, &body),
            retry_after: None,
            body: SecretBytes::new(body),
            _place: None,
            span: Default::default(),
        })
    }

    fn send_at_once(&self, call: &Call<'_>, _within: Duration) {
        let token = call.token.unwrap().expose();
        let mut rules = self.rules();
        rules.tokens.remove(token);
        rules.revoked += 1;
    }

    fn back(&self) -> Receiver<Infallible> {
        self.back.lock().unwrap().1.clone()
    }

    fn address(&self) -> &str {
        "http://fake"
    }
}

struct Lab {
    clock: ManualClock,
    server: Arc<FakeServer>,
    session: Arc<Session>,
    keeper: Keeper,
    events: crossbeam_channel::Receiver<StoreEvent>,
    stop: Stop,
}

fn approle() -> Auth {
    Auth::AppRole {
        mount: "approle".into(),
        role_id: Credential::Inline(SecretString::new("role".into())),
        secret_id: None,
        wrapping_path: None,
    }
}

impl Lab {
    fn new(auth: Auth, ttl: Duration, max: Duration) -> Self {
        let clock = ManualClock::new();
        let server = Arc::new(FakeServer {
            clock: clock.clone(),
            rules: Mutex::new(Rules {
                ttl,
                max,
                renewable: true,
                down: false,
                defect: false,
                refuse_logins: false,
                slow: Duration::ZERO,
                mute: false,
                tokens: HashMap::new(),
                calls: Vec::new(),
                revoked: 0,
            }),
            back: Mutex::new(bounded(0)),
        });
        let plan = Arc::new(SessionPlan {
            key: SessionKey {
                store: "default".into(),
                credentials: "default".into(),
                namespace: String::new(),
            },
            auth,
            client: None,
        });
        let (sender, events) = unbounded();
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let session = Arc::new(Session::new(
            Arc::clone(&plan),
            Arc::clone(&shared),
            Duration::from_secs(30),
        ));
        let tools = Tools {
            daemon: Arc::new(crate::store::backoff::tests::daemon()),
            mode: Mode::Use,
            wire: Arc::<FakeServer>::clone(&server),
            clock: shared,
            teller: Teller::new(&plan, sender),
            unwrapped: Arc::default(),
        };
        let keeper = Keeper::new(Arc::clone(&session), tools);
        session.update(|state| state.wanted = true);
        Self {
            clock,
            server,
            session,
            keeper,
            events,
            stop: Stop::never(),
        }
    }

    /// Turns until there is nothing to do; when there will be.
    fn settle(&mut self) -> Option<Tick> {
        for _ in 0..20 {
            if let Turn::Wait(until) = self.keeper.turn(&self.stop) {
                return until;
            }
        }
        panic!("it never rests");
    }

    /// Lets time pass, with a look at the session before each turn.
    fn live(&mut self, span: Duration, mut look: impl FnMut(&Self)) {
        let end = self.clock.now() + span;
        loop {
            let until = self.settle().unwrap_or(end).min(end);
            look(self);
            let now = self.clock.now();
            if now >= end {
                return;
            }
            self.clock
                .advance(until.since(now).max(Duration::from_millis(1)));
        }
    }

    fn token(&self) -> Option<Arc<Token>> {
        self.session.lock().token.clone()
    }

    fn is_valid(&self) -> bool {
        let token = self.token().and_then(|token| token.value.clone());
        let rules = self.server.rules();
        token.is_some_and(|token| {
            let life = rules.tokens.get(token.expose());
            life.is_some_and(|(_, end)| *end > self.clock.now())
        })
    }

    fn failure(&self) -> Option<Failure> {
        self.session.lock().failure.clone()
    }

    fn failures_told(&self) -> usize {
        let told = self.events.try_iter();
        told.filter(|event| matches!(event, StoreEvent::SessionFailed { .. }))
            .count()
    }
}

#[test]
fn sixty_days_of_renewals_and_logins_before_max_ttl() {
    let mut lab = Lab::new(approle(), HOUR, HOUR * 24);
    lab.live(HOUR * 24 * 60, |lab| assert!(lab.is_valid()));
    let logins = lab.server.count(Operation::Login);
    // One a day, and a little earlier each time.
    assert!((60..=65).contains(&logins), "{logins} logins");
    let renewals = lab.server.count(Operation::Renew);
    // Every 36 to 40 minutes.
    assert!((2160..=2500).contains(&renewals), "{renewals} renewals");
    assert_eq!(
        lab.server.count(Operation::LookupSelf),
        logins,
        "one look-up a login"
    );
    assert_eq!(lab.failures_told(), 0);
    // What was replaced is let go, once.
    assert_eq!(lab.server.rules().revoked, logins - 1);
}

#[test]
fn a_token_that_ended_while_the_machine_slept_is_used_for_nothing() {
    let mut lab = Lab::new(approle(), HOUR, HOUR * 24);
    lab.live(HOUR * 10, |lab| assert!(lab.is_valid()));
    let renewals = lab.server.count(Operation::Renew);
    lab.clock.advance(HOUR * 8);
    // Before the keeper has woken: a worker gets it no more.
    let waiting = lab.session.token(|| Ok(()), &stopped());
    assert!(waiting.is_err() && lab.token().is_none());
    lab.settle();
    assert!(lab.is_valid());
    assert_eq!(lab.server.count(Operation::Login), 2);
    assert_eq!(lab.server.count(Operation::Renew), renewals, "none in vain");
    assert_eq!(lab.failures_told(), 0);
}

fn stopped() -> Stop {
    Stop::new().1
}

#[test]
fn a_login_that_backs_off_is_made_at_once_when_the_store_is_back() {
    let mut lab = Lab::new(approle(), HOUR, HOUR * 24);
    lab.server.rules().down = true;
    lab.live(Duration::from_secs(20), |_| {});
    let until = lab.settle();
    lab.server.rules().down = false;
    let before = lab.server.count(Operation::Login);
    *lab.server.back.lock().unwrap() = bounded(0);
    let session = Arc::clone(&lab.session);
    let (nudged, stop) = session.signals();
    lab.keeper.wait(nudged, stop, until);
    lab.settle();
    assert!(lab.is_valid());
    assert_eq!(lab.server.count(Operation::Login), before + 1);
}

#[test]
fn a_token_that_cannot_be_renewed_is_replaced_before_its_end() {
    let mut lab = Lab::new(approle(), HOUR, HOUR);
    lab.server.rules().renewable = false;
    lab.live(HOUR * 24, |lab| assert!(lab.is_valid()));
    let logins = lab.server.count(Operation::Login);
    assert!((26..=31).contains(&logins), "{logins} logins");
    assert_eq!(lab.server.count(Operation::Renew), 0);
}

#[test]
fn a_renewal_that_policy_forbids_is_tried_once() {
    let mut lab = Lab::new(approle(), HOUR, HOUR * 24);
    lab.server.rules().mute = true;
    lab.live(HOUR * 10, |lab| assert!(lab.is_valid()));
    let (logins, renewals) = (
        lab.server.count(Operation::Login),
        lab.server.count(Operation::Renew),
    );
    assert!(renewals <= logins, "{renewals} renewals of {logins} tokens");
    assert!((10..=14).contains(&logins), "{logins} logins");
}

#[test]
fn an_outage_leaves_a_valid_token_in_use() {
    let mut lab = Lab::new(approle(), HOUR, HOUR * 24);
    lab.live(MINUTE * 30, |lab| assert!(lab.is_valid()));
    lab.server.rules().down = true;
    lab.live(MINUTE * 17, |lab| assert!(lab.is_valid(), "thrown away"));
    assert!(lab.failure().is_some());
    assert_eq!(lab.failures_told(), 1, "told once");
    lab.server.rules().down = false;
    lab.live(MINUTE * 6, |_| {});
    assert!(lab.is_valid() && lab.failure().is_none());
    assert_eq!(lab.server.count(Operation::Login), 1, "the same token");
}

#[test]
fn a_long_outage_costs_few_requests_and_ends_at_once() {
    let mut lab = Lab::new(approle(), HOUR, HOUR * 24);
    lab.server.rules().down = true;
    lab.live(HOUR * 24, |_| {});
    let calls = lab.server.count(Operation::Login);
    // Full jitter up to five minutes: about 576 in a day.
    assert!((400..=800).contains(&calls), "{calls} logins");
    assert_eq!(lab.failures_told(), 1);
    lab.server.rules().down = false;
    lab.live(MINUTE * 5, |_| {});
    assert!(lab.is_valid());
}

#[test]
fn a_dead_token_is_replaced_by_one_login() {
    let mut lab = Lab::new(approle(), HOUR, HOUR * 24);
    lab.settle();
    lab.server.kill_all();
    lab.session.update(|state| state.dead = true);
    lab.settle();
    assert!(lab.is_valid());
    assert_eq!(lab.server.count(Operation::Login), 2);
    // Again within five minutes: first a look-up, which says the same.
    lab.server.kill_all();
    lab.session.update(|state| state.dead = true);
    lab.settle();
    assert!(lab.is_valid());
    assert_eq!(lab.server.count(Operation::Login), 3);
    assert_eq!(lab.server.count(Operation::LookupSelf), 4);
}

/// Two servers that do not know each other's tokens answer at one address: each login leaves a token
/// behind, and there was one for each reader's next try.
#[test]
fn tokens_that_die_one_after_the_other_are_replaced_with_backoff() {
    let mut lab = Lab::new(approle(), HOUR, HOUR * 24);
    let end = lab.clock.now() + HOUR * 6;
    while lab.clock.now() < end {
        let until = lab.settle().unwrap();
        if lab.token().is_some() {
            lab.server.kill_all();
            lab.session.update(|state| state.dead = true);
        } else {
            lab.clock.advance(until.since(lab.clock.now()));
        }
    }
    // Twelve an hour at most, once the longest wait is reached; by half that wait on average.
    let logins = lab.server.count(Operation::Login);
    assert!((60..200).contains(&logins), "{logins} logins");
    assert_eq!(lab.failures_told(), 1, "told once, until it is over");
    // One that lives is the end of it: the next death is one like the first.
    lab.live(MINUTE * 10, |_| {});
    assert!(lab.is_valid());
    let before = lab.server.count(Operation::Login);
    for more in 1..=3 {
        lab.server.kill_all();
        lab.session.update(|state| state.dead = true);
        lab.settle();
        assert!(lab.is_valid());
        assert_eq!(lab.server.count(Operation::Login), before + more);
    }
}

#[test]
fn a_token_that_only_seems_dead_survives() {
    let mut lab = Lab::new(approle(), HOUR, HOUR * 24);
    lab.settle();
    for _ in 0..50 {
        lab.session.update(|state| state.dead = true);
        lab.settle();
        assert!(lab.is_valid());
    }
    assert_eq!(lab.server.count(Operation::Login), 2);
    // Workers do not even report it for five minutes.
    let token = lab.token().unwrap();
    let stays = lab
        .session
        .refused(&token, Refusal::Dead, &lab.stop)
        .unwrap();
    assert!(stays.is_none());
    lab.clock.advance(CALM);
    lab.session.update(|state| state.dead = true);
    lab.settle();
    assert_eq!(lab.server.count(Operation::Login), 3);
}

#[test]
fn a_refused_login_brings_the_old_token_back_if_it_is_alive() {
    let mut lab = Lab::new(approle(), HOUR, HOUR * 24);
    lab.settle();
    let before = lab.token().unwrap().generation;
    lab.server.rules().refuse_logins = true;
    lab.session.update(|state| state.dead = true);
    lab.settle();
    assert!(lab.is_valid());
    assert_eq!(lab.token().unwrap().generation, before);
    assert_eq!(lab.failures_told(), 1);
    // A dead one is gone, and the reason is that of the login.
    lab.clock.advance(CALM);
    lab.server.kill_all();
    lab.session.update(|state| state.dead = true);
    lab.settle();
    assert!(lab.token().is_none());
    assert_eq!(lab.failure().unwrap().error_type, ErrorType::Auth);
    lab.server.rules().refuse_logins = false;
    lab.live(MINUTE * 5, |_| {});
    assert!(lab.is_valid());
}

#[test]
fn an_outage_during_the_login_does_not_forget_the_old_token() {
    let mut lab = Lab::new(approle(), HOUR, HOUR * 24);
    lab.settle();
    let before = lab.token().unwrap().generation;
    lab.server.rules().down = true;
    lab.session.update(|state| state.dead = true);
    lab.settle();
    assert!(lab.token().is_none());
    assert_eq!(lab.failure().unwrap().error_type, ErrorType::Unavailable);
    lab.server.rules().down = false;
    lab.server.rules().refuse_logins = true;
    lab.live(MINUTE, |_| {});
    assert_eq!(lab.token().unwrap().generation, before);
    assert!(lab.is_valid());
}

#[test]
fn a_defect_ends_the_keeper_but_not_the_session() {
    let lab = Lab::new(approle(), HOUR, HOUR * 24);
    lab.server.rules().defect = true;
    let started = || start(&lab.session, &lab.keeper.tools);
    let error = lab.session.token(started, &lab.stop).map(drop).unwrap_err();
    assert_eq!(error.failure.error_type, ErrorType::Panic);
    let wake = error.wake.unwrap();
    lab.server.rules().defect = false;
    // It begins anew after a pause.
    let brief = Duration::from_millis(5);
    while wake.recv_timeout(brief) == Err(RecvTimeoutError::Timeout) {
        lab.clock.advance(MINUTE);
    }
    lab.session.token(started, &lab.stop).map(drop).unwrap();
    lab.session.close();
}

#[test]
fn a_policy_denial_causes_one_login_in_five_minutes_and_keeps_the_token_if_it_fails() {
    let mut lab = Lab::new(approle(), HOUR * 24, HOUR * 240);
    lab.settle();
    let denied = |lab: &mut Lab| {
        lab.session.update(|state| state.policy = true);
        lab.settle();
    };
    denied(&mut lab);
    assert_eq!(
        lab.server.count(Operation::Login),
        1,
        "it has just logged in"
    );
    lab.clock.advance(CALM);
    let old = lab.token().unwrap();
    for _ in 0..50 {
        denied(&mut lab);
    }
    assert_eq!(lab.server.count(Operation::Login), 2);
    assert_ne!(lab.token().unwrap().generation, old.generation);
    // The old one is in use by us: not revoked before we let it go.
    assert_eq!(lab.server.rules().revoked, 0);
    drop(old);
    lab.settle();
    assert_eq!(lab.server.rules().revoked, 1);
    lab.clock.advance(CALM);
    lab.server.rules().refuse_logins = true;
    let before = lab.token().unwrap().generation;
    denied(&mut lab);
    assert!(lab.is_valid());
    assert_eq!(lab.token().unwrap().generation, before);
}

#[test]
fn somebody_elses_token_is_renewed_while_it_can_be() {
    let token = Credential::Inline(SecretString::new("theirs".into()));
    let mut lab = Lab::new(Auth::Token(token), HOUR, HOUR * 24);
    let now = lab.clock.now();
    lab.server
        .rules()
        .tokens
        .insert("theirs".into(), (now, now + HOUR));
    lab.live(HOUR * 23, |lab| assert!(lab.is_valid()));
    let renewals = lab.server.count(Operation::Renew);
    assert!((33..=40).contains(&renewals), "{renewals} renewals");
    // Then it ends, and nothing hammers.
    lab.live(HOUR * 24, |_| {});
    let calls = lab.server.rules().calls.len();
    assert!(calls < 60, "{calls} requests");
    assert_eq!(lab.server.count(Operation::Login), 0);
}

#[test]
fn a_root_token_is_left_alone() {
    let token = Credential::Inline(SecretString::new("root".into()));
    let mut lab = Lab::new(Auth::Token(token), Duration::ZERO, Duration::ZERO);
    let far = lab.clock.now() + HOUR * 10_000;
    lab.server
        .rules()
        .tokens
        .insert("root".into(), (Tick::default(), far));
    lab.server.rules().mute = true;
    lab.live(HOUR * 24 * 30, |lab| assert!(lab.is_valid()));
    assert_eq!(lab.server.rules().calls.len(), 1, "one look-up");
}

#[test]
fn the_slowest_fetch_that_succeeds_keeps_within_what_one_may_take() {
    let timeout = Duration::from_secs(30);
    let lab = Lab::new(approle(), HOUR, 24 * HOUR);
    lab.server.rules().slow = timeout;
    let session = Arc::clone(&lab.session);
    let keeper = std::thread::spawn(move || lab.keeper.run());
    let began = lab.clock.now();
    let started = || Ok(());
    let token = session.token(started, &lab.stop).unwrap();
    // Each read waits for a place as long as it may, then for its answer.
    let read = || lab.clock.advance(timeout * 2);
    read();
    lab.server.kill_all();
    let other = session.refused(&token, Refusal::Dead, &lab.stop).unwrap();
    assert!(other.is_some_and(|other| other.generation > token.generation));
    read();
    let took = lab.clock.now().since(began);
    drop(session.close());
    keeper.join().unwrap();
    assert!(took >= timeout * 8, "{took:?}");
    assert!(took <= longest_fetch(timeout, 1), "{took:?}");
}
