//! A token that workers report to be dead: whether it is, and what comes in its place.

use std::time::Duration;

use super::super::inquiry::LookUp;
use super::{Keeper, REPLACED_AT_ONCE, settle};
use crate::clock::{Stop, Tick};
use crate::failure::{ErrorType, Retry};
use crate::store::StoreError;

/// A token that dies younger than this has died too soon.
const LONG_LIVED: Duration = Duration::from_secs(60);

/// The server tells whole seconds: so much sooner its time may be over.
const ROUNDED: Duration = Duration::from_secs(1);

impl Keeper {
    /// One look-up for all who report the token to be dead.
    pub(super) fn doubt(&mut self, stop: &Stop) {
        let token = self.session.update(|state| {
            state.unsure = None;
            state.token.clone()
        });
        let Some((token, value)) = token.and_then(|token| {
            let value = token.value.clone()?;
            Some((token, value))
        }) else {
            return self.answer(None);
        };
        match self.auth.look_up(&value, self.can_log_in(), stop) {
            LookUp::Alive(_) | LookUp::Mute => self.answer(Some(self.tools.clock.now())),
            // Its look-up was never answered, and reads have worked: it tells nothing.
            LookUp::Dead if !self.can_log_in() && !self.trusted && token.has_worked() => {
                self.answer(Some(self.tools.clock.now()));
            }
            LookUp::Dead if self.can_log_in() => self.bury(),
            LookUp::Dead => {
                self.dead = Some(value);
                let error = self.auth.dead();
                self.tools.teller.failed(&error.failure);
                self.pace(&error);
                self.session.update(|state| {
                    state.token = None;
                    state.expires = None;
                    state.failure = Some(error.failure);
                    settle(state);
                });
            }
            LookUp::Unknown(error) => {
                self.session.update(|state| {
                    state.unsure = Some(error.failure);
                    settle(state);
                });
            }
        }
    }

    /// A token of a login is dead. How many in a row were so soon after it was made, and before their
    /// time.
    pub(super) fn count_death(&mut self, now: Tick) -> u32 {
        let at_its_end = |at: Tick| at <= now + ROUNDED;
        let aged = now.since(self.born) >= LONG_LIVED;
        if aged || self.facts.expires().is_some_and(at_its_end) {
            self.short_lived = 0;
            self.mourning.reset();
        } else {
            self.short_lived = self.short_lived.saturating_add(1);
        }
        self.short_lived
    }

    /// The token of a login is dead: another one. At once, unless they die one after the other: then
    /// it is no token that is wrong (two servers behind one address, say, that do not know each
    /// other's), and each login leaves one behind.
    fn bury(&mut self) {
        let now = self.tools.clock.now();
        self.revived = Some(now);
        if self.count_death(now) <= REPLACED_AT_ONCE {
            self.retry_at = None;
            return self.session.update(|state| {
                state.token = None;
                state.busy = true;
                state.dead = false;
            });
        }
        let error = StoreError::new(
            ErrorType::Auth,
            Retry::Backoff(None),
            format!(
                "`{}`: the login succeeds, and its token is refused soon after",
                self.tools.wire.address()
            ),
        )
        .with_remedy(
            "let `address` name one server, where several answer that do not share their tokens; or look into the \
             audit log of the server for who revokes them",
        );
        self.tools.teller.failed(&error.failure);
        let wait = self.mourning.after(error.failure.retry, &*self.tools.clock);
        self.retry_at = Some(now + wait);
        self.session.update(|state| {
            state.token = None;
            state.expires = None;
            state.failure = Some(error.failure);
            settle(state);
        });
    }
}
