//! Renewal of the token in use, and what people should know about its end.

use std::time::Duration;

use super::super::inquiry::Renewal;
use super::super::token::{Facts, Upkeep, before_the_end, upkeep};
use super::Keeper;
use crate::clock::Stop;
use crate::failure::Retry;

/// The shortest wait between a failed renewal and the login that comes instead.
const SOON: Duration = Duration::from_secs(1);

impl Keeper {
    pub(super) fn renew(&mut self, stop: &Stop) {
        let token = self.session.lock().token.clone();
        let Some(value) = token.as_ref().and_then(|token| token.value.as_ref()) else {
            self.upkeep = Upkeep::Nothing;
            return;
        };
        let chance = self.tools.clock.chance();
        self.hold = None;
        match self.auth.renew(value, &self.facts, stop) {
            Renewal::Done(facts, whole) => {
                self.upkeep = if whole {
                    upkeep(&facts, chance)
                } else {
                    self.ends(&facts);
                    before_the_end(&facts, chance)
                };
                self.retry_at = None;
                self.backoff.reset();
                self.tools.teller.recovered();
                let expires = facts.expires();
                self.facts = facts;
                let facts = self.facts.clone();
                self.session.update(|state| {
                    state.expires = expires;
                    state.facts = Some(facts);
                    state.failure = None;
                });
            }
            Renewal::Dead => {
                // Should a look-up say that it lives, the next renewal is not at once.
                let wait = self.backoff.after(Retry::Backoff(None), &*self.tools.clock);
                self.retry_at = Some(self.tools.clock.now() + wait);
                self.session.update(|state| state.dead = true);
            }
            Renewal::Never(error) => {
                let now = self.tools.clock.now();
                self.facts = Facts {
                    told: now,
                    ttl: self.facts.expires().map(|at| at.since(now)),
                    renewable: false,
                    ..self.facts.clone()
                };
                self.upkeep = before_the_end(&self.facts, chance);
                self.tools.teller.notice(error.to_string(), true);
                self.ends(&self.facts);
            }
            Renewal::Failed(error) if stop.is_stopped() => drop(error),
            Renewal::Failed(error) => {
                self.tools.teller.failed(&error.failure);
                self.pace(&error);
                // Too late for another renewal: rather a login.
                if let (Upkeep::Login(at), Some(retry_at)) =
                    (before_the_end(&self.facts, chance), self.retry_at)
                    && retry_at >= at
                {
                    // Soon, but while the token still lives: after its end nobody has one.
                    let now = self.tools.clock.now();
                    let left = self.facts.expires().map_or(SOON, |end| end.since(now));
                    self.upkeep = Upkeep::Login(at);
                    self.retry_at = Some(at.clamp(now + SOON.min(left / 2), now + left / 2));
                }
                self.session
                    .update(|state| state.failure = Some(error.failure));
            }
        }
    }

    /// A token that will not be extended: for one of a login that is the way of things.
    fn ends(&self, facts: &Facts) {
        let left = facts.ttl.unwrap_or_default();
        let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
        if facts.by_login {
            self.tools.teller.notice(
                "the token is not extended any further: a new login comes before its end".into(),
                false,
            );
        } else {
            self.tools.teller.notice(
                format!("the token is not extended any further and ends in {left}: replace it"),
                true,
            );
        }
    }

    pub(super) fn warn_of_its_end(&self, facts: &Facts) {
        let teller = &self.tools.teller;
        if facts.uses > 0 {
            teller.notice(
                format!(
                    "the token may be used {} more times: each read and renewal is a use",
                    facts.uses
                ),
                true,
            );
        }
        match facts.ttl {
            Some(ttl) if !facts.by_login && (!facts.renewable || facts.batch) => teller.notice(
                format!(
                    "the token ends in {} and cannot be renewed: replace it before, or use a login",
                    humantime::format_duration(Duration::from_secs(ttl.as_secs()))
                ),
                true,
            ),
            _ => {}
        }
    }
}
