//! The keeper of a session: one thread that logs in, renews, and answers what workers report.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, never, select};

use super::answer::Operation;
use super::auth::{Acquired, Authenticator, Known};
use super::inquiry::LookUp;
use super::session::{Session, State};
use super::teller::Teller;
use super::token::{Facts, Token, Upkeep, upkeep};
use super::unwrapped::Unwrapped;
use super::upkeep::{Situation, Step, Why, next};
use super::wire::{Call, Method, Wire, number_of};
use crate::clock::{Clock, Stop, Tick, pause};
use crate::failure::{ErrorType, Retry};
use crate::observe::trace::Parent;
use crate::plan::{Auth, Daemon};
use crate::secret::{SecretBytes, SecretString};
use crate::store::backoff::Backoff;
use crate::store::{Mode, StoreError};

/// The keeper's stack: TLS needs the most of it.
const STACK: usize = 256 * 1024;

/// How often tokens that were replaced are looked at: revoked once no worker uses them.
const TIDY: Duration = Duration::from_secs(30);

/// How long the revocation of a token may take.
const REVOKE_WITHIN: Duration = Duration::from_secs(5);

/// So many tokens in a row that die soon are each replaced at once.
const REPLACED_AT_ONCE: u32 = 3;

/// What a keeper is made of.
#[derive(Clone)]
pub(super) struct Tools {
    pub(super) daemon: Arc<Daemon>,
    pub(super) mode: Mode,
    pub(super) wire: Arc<dyn Wire>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) teller: Teller,
    pub(super) unwrapped: Arc<Unwrapped>,
}

/// Starts the keeper's thread.
///
/// # Errors
///
/// When the system gives no thread; a failure of those who need the session, tried again.
pub(super) fn start(session: &Arc<Session>, tools: &Tools) -> Result<(), StoreError> {
    let (session, tools) = (Arc::clone(session), tools.clone());
    std::thread::Builder::new()
        .name(format!("keeper {}", session.plan.key.credentials))
        .stack_size(STACK)
        .spawn(move || keep(&session, &tools))
        .map(drop)
        .map_err(|error| {
            StoreError::new(
                ErrorType::Panic,
                Retry::Backoff(None),
                format!("cannot start a thread for the session's keeper, which logs in: {error}"),
            )
            .with_remedy(crate::failure::MORE_THREADS)
        })
}

/// Runs keepers, one after the other: a defect ends one, not the session.
fn keep(session: &Arc<Session>, tools: &Tools) {
    let stop = session.signals().1;
    let mut backoff = Backoff::new(&tools.daemon);
    while !stop.is_stopped() {
        let keeper = || Keeper::new(Arc::clone(session), tools.clone()).run();
        if catch_unwind(AssertUnwindSafe(keeper)).is_ok() {
            return;
        }
        let failure = StoreError::new(
            ErrorType::Panic,
            Retry::Backoff(None),
            "the session's keeper failed by a defect of ours: it begins anew",
        )
        .with_remedy(crate::failure::REPORT)
        .failure;
        tools.teller.failed(&failure);
        let wait = backoff.after(failure.retry, &*tools.clock);
        session.update(|state| {
            // The next one knows nothing of it.
            state.replaced.extend(state.token.take());
            state.failure = Some(failure);
            settle(state);
        });
        pause(&*tools.clock, stop, tools.clock.now() + wait);
    }
}

struct Keeper {
    session: Arc<Session>,
    auth: Authenticator,
    tools: Tools,
    backoff: Backoff,
    /// How many tokens in a row, made by a login, were dead soon after.
    short_lived: u32,
    /// Between the logins that replace them.
    mourning: Backoff,
    /// When the token in use, or the last one, was made.
    born: Tick,
    /// Of the token in use, or set aside.
    facts: Facts,
    upkeep: Upkeep,
    retry_at: Option<Tick>,
    /// New files could not be made use of, for a reason that may pass.
    unread: bool,
    /// The store is held to be down: closes when it is back.
    hold: Option<Receiver<Infallible>>,
    /// It was called for that, and neither was a login well since, nor has the time of one come.
    called: bool,
    revived: Option<Tick>,
    /// Reported to be dead, while there is no other.
    aside: Option<Arc<Token>>,
    /// Somebody else's token that was found to be dead.
    dead: Option<SecretString>,
    /// The first look-up of the token was answered: the next can be trusted.
    trusted: bool,
}

/// What a turn came to.
enum Turn {
    /// Something was done; there may be more.
    Done,
    /// There is nothing to do before this time, or a nudge.
    Wait(Option<Tick>),
}

impl Keeper {
    fn new(session: Arc<Session>, tools: Tools) -> Self {
        let auth = Authenticator::new(
            Arc::clone(&session.plan),
            tools.mode,
            Arc::clone(&tools.wire),
            Arc::clone(&tools.clock),
            tools.teller.clone(),
            Arc::clone(&tools.unwrapped),
        );
        Self {
            backoff: Backoff::new(&tools.daemon),
            short_lived: 0,
            mourning: Backoff::new(&tools.daemon),
            born: tools.clock.now(),
            facts: Facts::unknown(tools.clock.now()),
            session,
            auth,
            tools,
            upkeep: Upkeep::Nothing,
            retry_at: None,
            unread: false,
            hold: None,
            called: false,
            revived: None,
            aside: None,
            dead: None,
            trusted: false,
        }
    }

    fn run(mut self) {
        let session = Arc::clone(&self.session);
        let (nudged, stop) = session.signals();
        while !stop.is_stopped() {
            if let Turn::Wait(until) = self.turn(stop) {
                self.wait(nudged, stop, until);
            }
        }
    }

    /// Does one thing, if there is one to do.
    fn turn(&mut self, stop: &Stop) -> Turn {
        let tidy = self.tidy();
        let step = next(&self.situation());
        // What is done for a worker is part of its trace.
        let asker = match step {
            Step::Acquire(_) | Step::LookUp => self.session.lock().asker.take(),
            _ => None,
        };
        let _within = asker.map(Parent::enter);
        match step {
            Step::Acquire(why) => self.acquire(why, stop),
            Step::LookUp => self.doubt(stop),
            Step::Renew => self.renew(stop),
            Step::Dismiss => self.answer(None),
            Step::Wait(until) => {
                self.session.lock().next = until;
                return Turn::Wait(match (until, tidy) {
                    (Some(until), Some(tidy)) => Some(until.min(tidy)),
                    (until, tidy) => until.or(tidy),
                });
            }
        }
        Turn::Done
    }

    fn situation(&self) -> Situation {
        let mut state = self.session.lock();
        self.session.forget_ended(&mut state);
        Situation {
            now: self.tools.clock.now(),
            token: state.token.is_some(),
            wanted: state.wanted,
            dead: state.dead,
            policy: state.policy,
            files: state.files,
            unread: self.unread,
            login: self.can_log_in(),
            tried: state.tried,
            revived: self.revived,
            retry_at: self.retry_at,
            upkeep: self.upkeep,
        }
    }

    fn can_log_in(&self) -> bool {
        matches!(
            self.session.plan.auth,
            Auth::AppRole { .. } | Auth::Cert { .. }
        )
    }

    fn wait(&mut self, nudged: &Receiver<()>, stop: &Stop, until: Option<Tick>) {
        let alarm = until.map_or_else(never, |at| self.tools.clock.alarm(at));
        let nobody = never();
        let back = self.hold.as_ref().unwrap_or(&nobody);
        select! {
            recv(nudged) -> _ => {}
            recv(stop.receiver()) -> _ => {}
            recv(alarm) -> _ => self.called = false,
            recv(back) -> _ => {
                self.hold = None;
                self.called = true;
                self.retry_at = None;
            }
        }
    }

    fn acquire(&mut self, why: Why, stop: &Stop) {
        let now = self.tools.clock.now();
        self.hold = None;
        self.unread = false;
        let login = self.can_log_in();
        let (current, aside) = self.session.update(|state| {
            state.busy = true;
            state.files = false;
            state.policy = false;
            state.unsure = None;
            if login {
                state.tried = Some(now);
            }
            // Nobody shall go on with it meanwhile; it comes back if it turns out to be alive.
            let aside = (why == Why::Dead && login)
                .then(|| state.token.take())
                .flatten();
            (state.token.clone(), aside)
        });
        if aside.is_some() {
            self.aside = aside;
            self.revived = Some(now);
            self.count_death(now);
        }
        let known = Known {
            current: current.as_ref().and_then(|token| token.value.as_ref()),
            doubted: why == Why::Dead,
            dead: self.dead.as_ref(),
        };
        let back = self.tools.wire.back();
        let acquired = self.auth.acquire(known, stop);
        match acquired.map_err(|error| error.with_back(back)) {
            Ok(Acquired::New(value, facts)) if stop.is_stopped() => {
                // Nobody will use it.
                let token = Token::new(Some(value), 0, facts.by_login && !facts.batch);
                revoke(&*self.tools.wire, &self.session, &token, REVOKE_LATE);
            }
            Ok(Acquired::New(value, facts)) => self.install(value, facts),
            Ok(Acquired::Same) if why == Why::Dead => self.doubt(stop),
            Ok(Acquired::Same) => {
                self.tools.teller.recovered();
                self.session.update(|state| {
                    state.failure = None;
                    settle(state);
                });
            }
            // Nothing came in its place: is it dead for certain?
            Err(error) if why == Why::Dead && !login && is_credential(&error) => {
                self.tools.teller.failed(&error.failure);
                self.doubt(stop);
            }
            Err(error) => self.not_acquired(why, error, stop),
        }
    }

    /// Puts a new token into use.
    fn install(&mut self, value: SecretString, facts: Facts) {
        let revocable = facts.by_login && !facts.batch;
        let expires = facts.expires();
        self.upkeep = upkeep(&facts, self.tools.clock.chance());
        self.trusted = facts != Facts::unknown(facts.told);
        self.aside = None;
        self.dead = None;
        self.retry_at = None;
        self.called = false;
        self.backoff.reset();
        self.born = self.tools.clock.now();
        // The trouble of tokens that are dead soon is not over with another one.
        if self.short_lived <= REPLACED_AT_ONCE {
            self.tools.teller.recovered();
        }
        // Told before anybody uses it: who waits for a token finds what there is to know of it.
        self.tools.teller.logged_in(&facts);
        self.warn_of_its_end(&facts);
        self.session.update(|state| {
            state.generation += 1;
            let token = Arc::new(Token::new(Some(value), state.generation, revocable));
            if let Some(old) = state.token.replace(token)
                && old.revocable
                && !old.has_leases()
            {
                state.replaced.push(old);
            }
            state.expires = expires;
            state.facts = Some(facts.clone());
            state.failure = None;
            state.alive = None;
            settle(state);
        });
        self.facts = facts;
    }

    /// A login failed, or somebody else's token could not be had.
    fn not_acquired(&mut self, why: Why, error: StoreError, stop: &Stop) {
        if stop.is_stopped() {
            return;
        }
        self.tools.teller.failed(&error.failure);
        if why == Why::Policy {
            // The token is as good as before, the next report in five minutes tries again.
            return self.answer(None);
        }
        if is_credential(&error)
            && let Some(aside) = self.aside.take()
        {
            // No new token: is the old one dead for certain?
            let found = aside
                .value
                .as_ref()
                .map(|value| self.auth.look_up(value, true, stop));
            match found {
                Some(LookUp::Alive(_) | LookUp::Mute) => {
                    let now = self.tools.clock.now();
                    self.pace(&error);
                    return self.session.update(|state| {
                        state.token = Some(aside);
                        state.alive = Some(now);
                        state.failure = Some(error.failure);
                        settle(state);
                    });
                }
                Some(LookUp::Unknown(_)) => self.aside = Some(aside),
                Some(LookUp::Dead) | None => {}
            }
        }
        self.pace(&error);
        self.unread = why == Why::Files && !is_credential(&error);
        self.session.update(|state| {
            state.failure = Some(error.failure);
            state.unsure.clone_from(&state.failure);
            settle(state);
        });
    }

    /// Plans the next attempt.
    fn pace(&mut self, error: &StoreError) {
        let clock = &*self.tools.clock;
        let wait = if error.wake.is_some() {
            // Woken when the store is back, and in any case some time.
            self.tools.daemon.max_backoff
        } else {
            // A refused credential may be replaced on disk or on the server at any time.
            let retry = match error.failure.retry {
                Retry::Settled if self.can_log_in() => Retry::Backoff(None),
                retry => retry,
            };
            self.backoff.after(retry, clock)
        };
        let back = error.back.as_ref().filter(|_| !self.called);
        self.hold = error.wake.as_ref().or(back).cloned();
        self.retry_at = Some(clock.now() + wait);
    }

    /// Tells those who wait that the token stays; and since when it is known to be alive.
    fn answer(&mut self, alive: Option<Tick>) {
        self.session.update(|state| {
            if alive.is_some() {
                state.alive = alive;
            }
            settle(state);
        });
    }

    /// Revokes tokens that were replaced and that no worker holds any more. When to look again.
    fn tidy(&self) -> Option<Tick> {
        let idle: Vec<Arc<Token>> = {
            let mut state = self.session.lock();
            if state.replaced.is_empty() {
                return None;
            }
            state
                .replaced
                .extract_if(.., |token| Arc::strong_count(token) == 1)
                .collect()
        };
        for token in idle {
            revoke(&*self.tools.wire, &self.session, &token, REVOKE_WITHIN);
        }
        let left = !self.session.lock().replaced.is_empty();
        left.then(|| self.tools.clock.now() + TIDY)
    }
}

/// How long the revocation of a token that came too late may take.
const REVOKE_LATE: Duration = Duration::from_secs(1);

/// Whether a failure is about the credential, rather than about the way to the server.
fn is_credential(error: &StoreError) -> bool {
    error.failure.error_type == ErrorType::Auth
}

/// A round of reports is dealt with.
fn settle(state: &mut State) {
    state.busy = false;
    state.dead = false;
    state.policy = false;
    state.rounds += 1;
}

/// Revokes a token, unless leases hang on it. Once: whether it succeeds is not our business, for
/// it ends by itself.
pub(super) fn revoke(wire: &dyn Wire, session: &Session, token: &Token, within: Duration) {
    if token.has_leases() || !token.revocable {
        return;
    }
    let Some(value) = &token.value else { return };
    wire.send_at_once(
        &Call {
            operation: Operation::Revoke,
            who: number_of(&session.plan.key),
            method: Method::Post,
            path: "auth/token/revoke-self",
            namespace: &session.plan.key.namespace,
            token: Some(value),
            body: Some(SecretBytes::new(b"{}".to_vec())),
            client: session.plan.client.as_ref(),
        },
        within,
    );
}

mod doubt;
mod renewal;
#[cfg(test)]
mod tests;
