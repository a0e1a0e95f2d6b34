//! A session as workers see it: a token, or the reason why there is none. What is done about it
//! is the keeper's; the two share nothing but the state here.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::token::{Facts, Token};
use crate::clock::{Clock, Stop, StopSource, Tick};
use crate::failure::{ErrorType, Failure, Retry};
use crate::observe::trace::{self, Parent, Span};
use crate::plan::{Auth, Credential, SessionPlan};
use crate::store::bell::{Bell, Heard, hear};
use crate::store::{SessionStatus, StoreError};

/// How often a denial by policy may cause a new login, and for how long the word of a look-up
/// counts.
pub(super) const CALM: Duration = Duration::from_secs(5 * 60);

/// A token that was looked up and found alive is not asked about again for this long: shorter than
/// anybody notices if it is revoked meanwhile, longer than a crowd of doubters needs.
const ASKED: Duration = Duration::from_secs(2);

/// The longest that a worker waits for the keeper: for a login and the look-up after it, and a little.
pub(super) fn patience(timeout: Duration) -> Duration {
    timeout * 2 + Duration::from_secs(5)
}

/// What a worker reports of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The server does not know it.
    Dead,
    /// Its policies do not allow the read.
    Policy,
}

/// One session. Shared by its keeper and all workers that use it.
pub(super) struct Session {
    pub(super) plan: Arc<SessionPlan>,
    clock: Arc<dyn Clock>,
    /// The longest a worker waits for the keeper.
    patience: Duration,
    state: Mutex<State>,
    nudge: Sender<()>,
    nudged: Receiver<()>,
    /// For the keeper; the source is in the state.
    stop: Stop,
}

/// What the keeper and the workers share.
pub(super) struct State {
    /// In use.
    pub(super) token: Option<Arc<Token>>,
    /// Counts the tokens.
    pub(super) generation: u64,
    /// When it expires.
    pub(super) expires: Option<Tick>,
    /// What is known of it.
    pub(super) facts: Option<Facts>,
    /// When the keeper acts next by itself.
    pub(super) next: Option<Tick>,
    /// Why there is none, or the last thing that went wrong with it.
    pub(super) failure: Option<Failure>,
    /// The keeper is at it now: its outcome is worth waiting for.
    pub(super) busy: bool,
    /// Somebody needs a token.
    pub(super) wanted: bool,
    /// The step that somebody is in who waits for the keeper, where that is traced.
    pub(super) asker: Option<Parent>,
    /// The token was reported to be dead.
    pub(super) dead: bool,
    /// It was reported to lack a policy.
    pub(super) policy: bool,
    /// Credential files have changed.
    pub(super) files: bool,
    /// A look-up found the token alive although a read was refused.
    pub(super) alive: Option<Tick>,
    /// When the last login was tried.
    pub(super) tried: Option<Tick>,
    /// How many reports the keeper has dealt with, and why the last could not be.
    pub(super) rounds: u64,
    pub(super) unsure: Option<Failure>,
    /// Replaced, not yet revoked.
    pub(super) replaced: Vec<Arc<Token>>,
    stop: Option<StopSource>,
    started: bool,
    changed: Bell,
    available: Bell,
}

impl Session {
    pub(super) fn new(plan: Arc<SessionPlan>, clock: Arc<dyn Clock>, timeout: Duration) -> Self {
        let (nudge, nudged) = bounded(1);
        let (source, stop) = Stop::new();
        // Where an agent adds the token, there is nothing to get.
        let token = (plan.auth == Auth::None).then(|| Arc::new(Token::new(None, 1, false)));
        Self {
            plan,
            clock,
            patience: patience(timeout),
            state: Mutex::new(State {
                token,
                generation: 1,
                expires: None,
                facts: None,
                next: None,
                failure: None,
                busy: false,
                wanted: false,
                asker: None,
                dead: false,
                policy: false,
                files: false,
                alive: None,
                tried: None,
                rounds: 0,
                unsure: None,
                replaced: Vec::new(),
                stop: Some(source),
                started: false,
                changed: Bell::new(),
                available: Bell::new(),
            }),
            nudge,
            nudged,
            stop,
        }
    }

    /// Starts the keeper, where there will be something to keep. It waits until somebody asks.
    ///
    /// # Errors
    ///
    /// Those of `start`.
    pub(super) fn prepare(
        &self,
        start: impl Fn() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.token.is_some() || state.stop.is_none() {
            return Ok(());
        }
        state.start_once(start)
    }

    /// The token, waiting for a login that is under way. `start` starts the keeper, which happens
    /// once.
    ///
    /// # Errors
    ///
    /// The session's failure, with a channel that closes when there is a token.
    pub(super) fn token(
        &self,
        start: impl Fn() -> Result<(), StoreError>,
        stop: &Stop,
    ) -> Result<Arc<Token>, StoreError> {
        let mut login = Span::none();
        let token = self.await_token(start, stop, &mut login);
        login.judge(&token, |error| &error.failure);
        self.login_ends(&login);
        token
    }

    fn await_token(
        &self,
        start: impl Fn() -> Result<(), StoreError>,
        stop: &Stop,
        login: &mut Span,
    ) -> Result<Arc<Token>, StoreError> {
        let until = self.clock.now() + self.patience;
        loop {
            let changed = {
                let mut state = self.lock();
                self.forget_ended(&mut state);
                if let Some(token) = &state.token {
                    return Ok(Arc::clone(token));
                }
                if state.stop.is_none() {
                    return Err(closed());
                }
                self.login_begins(&mut state, login);
                state.start_once(&start)?;
                if !state.wanted {
                    state.wanted = true;
                    self.poke();
                }
                if !state.busy
                    && let Some(failure) = &state.failure
                {
                    return Err(state.unavailable(failure.clone()));
                }
                state.changed.listen()
            };
            self.wait(&changed, stop, until)?;
        }
    }

    /// Reports that a read with this token was refused, and waits for what the keeper makes of
    /// it: another token to try once more with, or `None` when the refusal is about this read
    /// alone.
    ///
    /// # Errors
    ///
    /// The session's failure, when there is no token any more.
    pub(super) fn refused(
        &self,
        token: &Token,
        refusal: Refusal,
        stop: &Stop,
    ) -> Result<Option<Arc<Token>>, StoreError> {
        if self.plan.auth == Auth::None {
            return Ok(None);
        }
        let mut login = Span::none();
        let other = self.await_other(token, refusal, stop, &mut login);
        login.judge(&other, |error| &error.failure);
        self.login_ends(&login);
        other
    }

    fn await_other(
        &self,
        token: &Token,
        refusal: Refusal,
        stop: &Stop,
        login: &mut Span,
    ) -> Result<Option<Arc<Token>>, StoreError> {
        let until = self.clock.now() + self.patience;
        let mut reported = None;
        loop {
            let changed = {
                let mut state = self.lock();
                match &state.token {
                    Some(other) if other.generation != token.generation => {
                        return Ok(Some(Arc::clone(other)));
                    }
                    Some(_) if state.stop.is_none() => return Ok(None),
                    Some(_) => match reported {
                        // Dealt with, and the token is the same.
                        Some(round) if state.rounds > round => {
                            return match state.unsure.clone() {
                                Some(failure) if refusal == Refusal::Dead => {
                                    Err(state.unavailable(failure))
                                }
                                _ => Ok(None),
                            };
                        }
                        Some(_) => {}
                        None if self.is_moot(&state, refusal) => return Ok(None),
                        None => {
                            self.login_begins(&mut state, login);
                            reported = Some(state.rounds);
                            match refusal {
                                Refusal::Dead => state.dead = true,
                                Refusal::Policy => state.policy = true,
                            }
                            self.poke();
                        }
                    },
                    None => {
                        if state.stop.is_none() {
                            return Err(closed());
                        }
                        if let (Some(failure), false) = (&state.failure, state.busy) {
                            return Err(state.unavailable(failure.clone()));
                        }
                    }
                }
                state.changed.listen()
            };
            self.wait(&changed, stop, until)?;
        }
    }

    /// A token whose time is over (the machine was suspended, or the store away for long) is sent to
    /// nobody any more where a login brings another. Of somebody else's token we cannot know: they
    /// may have renewed it.
    pub(super) fn forget_ended(&self, state: &mut State) {
        let login = matches!(self.plan.auth, Auth::AppRole { .. } | Auth::Cert { .. });
        if login && state.expires.is_some_and(|end| self.clock.now() >= end) {
            state.token = None;
            state.expires = None;
        }
    }

    /// From here on a worker waits for the keeper. What the keeper does next is part of the trace of the
    /// one that waits first.
    fn login_begins(&self, state: &mut State, login: &mut Span) {
        if login.ids().is_some() {
            return;
        }
        *login = trace::child("login");
        login.set("secrets_sync.store", self.plan.key.store.clone());
        login.set(
            "secrets_sync.credentials",
            self.plan.key.credentials.clone(),
        );
        if state.asker.is_none() && login.is_recorded() {
            state.asker = trace::parent();
        }
    }

    /// What the keeper has not begun by now is not done for that worker.
    fn login_ends(&self, login: &Span) {
        if login.is_recorded() {
            let mut state = self.lock();
            if state.asker.as_ref().is_some_and(|asker| asker.is(login)) {
                state.asker = None;
            }
        }
    }

    /// Whether a report would change nothing now.
    fn is_moot(&self, state: &State, refusal: Refusal) -> bool {
        let within =
            |at: Option<Tick>, calm| at.is_some_and(|at| self.clock.now().since(at) < calm);
        match refusal {
            Refusal::Dead => within(state.alive, ASKED),
            Refusal::Policy => match &self.plan.auth {
                Auth::Token(Credential::Inline(_)) | Auth::None => true,
                Auth::Token(Credential::File(_)) => false,
                Auth::AppRole { .. } | Auth::Cert { .. } => within(state.tried, CALM),
            },
        }
    }

    fn wait(
        &self,
        changed: &Receiver<Infallible>,
        stop: &Stop,
        until: Tick,
    ) -> Result<(), StoreError> {
        match hear(&*self.clock, changed, stop, until) {
            Heard::Bell => Ok(()),
            Heard::Stop => Err(closed()),
            Heard::Late => {
                let state = self.lock();
                let failure = state.failure.clone().unwrap_or_else(|| {
                    StoreError::new(
                        ErrorType::Timeout,
                        Retry::Backoff(None),
                        "the login takes longer than expected",
                    )
                    .with_remedy("raise `timeout`, or find what makes the server slow")
                    .failure
                });
                Err(state.unavailable(failure))
            }
        }
    }

    /// Some of these credential files have changed.
    pub(super) fn files_changed(&self) {
        let mut state = self.lock();
        if state.started {
            state.files = true;
            self.poke();
        }
    }

    /// For status and metrics.
    pub(super) fn status(&self) -> SessionStatus {
        let state = self.lock();
        let has_token = state.token.is_some();
        let facts = state.facts.as_ref().filter(|_| has_token);
        SessionStatus {
            key: self.plan.key.clone(),
            method: self.plan.auth.method(),
            has_token,
            expires: state.expires.filter(|_| has_token),
            renewable: facts.is_some_and(|facts| facts.renewable && !facts.batch),
            accessor: facts.map_or_else(String::new, |facts| facts.accessor.clone()),
            policies: facts.map_or_else(Vec::new, |facts| facts.policies.clone()),
            next: state.next,
            failure: state.failure.clone(),
        }
    }

    /// Stops the keeper, and gives out the tokens that are ours to revoke.
    pub(super) fn close(&self) -> Vec<Arc<Token>> {
        let mut state = self.lock();
        state.stop = None;
        let mut tokens = std::mem::take(&mut state.replaced);
        tokens.extend(state.token.clone());
        state.changed.ring();
        tokens.retain(|token| token.revocable && !token.has_leases());
        tokens
    }

    /// Wakes the keeper. One nudge waits for it at most: it looks at the whole state.
    fn poke(&self) {
        match self.nudge.try_send(()) {
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }

    /// For the keeper: nudges and the stop.
    pub(super) fn signals(&self) -> (&Receiver<()>, &Stop) {
        (&self.nudged, &self.stop)
    }

    /// For the keeper: changes the state and wakes who waits for that. Who waits for a token is
    /// woken, too, when it is another reason that there is none: it is theirs to tell.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let (had, why) = (state.token.is_some(), state.reason());
        let result = change(&mut state);
        let other_reason = state.failure.is_some() && state.reason() != why;
        if !had && (state.token.is_some() || other_reason) {
            state.available.ring();
        }
        state.changed.ring();
        result
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn start_once(&mut self, start: impl Fn() -> Result<(), StoreError>) -> Result<(), StoreError> {
        if !self.started {
            start()?;
            self.started = true;
        }
        Ok(())
    }

    fn reason(&self) -> Option<String> {
        self.failure.as_ref().map(|failure| failure.message.clone())
    }

    fn unavailable(&self, failure: Failure) -> StoreError {
        StoreError {
            failure,
            back: None,
            wake: self.token.is_none().then(|| self.available.listen()),
        }
    }
}

/// For a worker that is about to end: nobody reads it.
fn closed() -> StoreError {
    StoreError::new(
        ErrorType::Unavailable,
        Retry::Backoff(None),
        "stopped while waiting for the session",
    )
}
