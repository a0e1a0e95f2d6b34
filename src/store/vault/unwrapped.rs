//! Secret IDs that came wrapped: each can be unwrapped once only, and then serves every session
//! that has the same wrapping token, over reloads too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::answer::{Meaning, Operation};
use super::auth::{Authenticator, body};
use super::envelope::{Envelope, SecretIdBlock, WrappingBlock};
use crate::clock::Stop;
use crate::failure::{ErrorType, Retry};
use crate::secret::SecretString;
use crate::store::{Mode, StoreError};

/// What those who only look say of one that is good.
pub(crate) const LEFT_FOR_THE_DAEMON: &str =
    "it is there and was made at the right place: left for the daemon";

/// A secret ID, once it is unwrapped. Its lock is held while that is being done.
pub(super) type Slot = Arc<Mutex<Option<SecretString>>>;

/// What was unwrapped, by wrapping token. Shared by all sessions of all stores.
#[derive(Default)]
pub(crate) struct Unwrapped(Mutex<Vec<(SecretString, Slot)>>);

impl Unwrapped {
    /// The place of the secret ID that this token wraps.
    pub(super) fn slot(&self, wrapping: &SecretString) -> Slot {
        let mut entries = self.entries();
        if let Some((_, slot)) = entries.iter().find(|(token, _)| token == wrapping) {
            return Arc::clone(slot);
        }
        let slot = Slot::default();
        entries.push((wrapping.clone(), Arc::clone(&slot)));
        slot
    }

    /// Another wrapping token has taken its place.
    pub(super) fn forget(&self, wrapping: &SecretString) {
        self.entries().retain(|(token, _)| token != wrapping);
    }

    fn entries(&self) -> MutexGuard<'_, Vec<(SecretString, Slot)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Serialize)]
struct TokenBody<'a> {
    token: &'a str,
}

impl Authenticator {
    /// Unwraps a secret ID, once, after a look at where the wrapping token was made.
    pub(super) fn unwrap_secret_id(
        &mut self,
        wrapping: SecretString,
        made_at: &str,
        stop: &Stop,
    ) -> Result<SecretString, StoreError> {
        let slot = self.unwrapped.slot(&wrapping);
        let mut kept = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(secret_id) = &*kept {
            return Ok(secret_id.clone());
        }
        let alarm = format!(
            "{}; if none of yours unwrapped this one, somebody else did",
            self.another_secret_id()
        );
        let mut asked = self.asked(
            Operation::Unwrap,
            "look-up of the wrapped secret ID".to_owned(),
        );
        asked.sent = vec![&wrapping];
        let body = body(&TokenBody {
            token: wrapping.expose(),
        });
        let reply = self.post(
            Operation::Unwrap,
            "sys/wrapping/lookup",
            None,
            Some(body),
            stop,
        )?;
        if reply.meaning != Meaning::Good {
            return Err(asked.refused(&reply).with_remedy(&alarm));
        }
        let found = Envelope::parse(reply.body.expose())
            .and_then(|envelope| envelope.data_as::<WrappingBlock>())
            .ok_or_else(|| asked.garbage("the answer holds no `creation_path`"))?
            .creation_path;
        if !self.is_made_at(&found, made_at) {
            let why = format!(
                "it was made at `{}`, not at `{made_at}`: not unwrapped",
                asked.foreign(&found)
            );
            return Err(asked
                .failed(ErrorType::Auth, Retry::Backoff(None), &why)
                .with_remedy(format!(
                    "{}; and find out who put this token in its place",
                    self.another_secret_id()
                )));
        }
        if self.mode == Mode::Look {
            return Err(asked.failed(ErrorType::Auth, Retry::Settled, LEFT_FOR_THE_DAEMON));
        }
        asked.what = "unwrapping of the secret ID".to_owned();
        let reply = self.post(
            Operation::Unwrap,
            "sys/wrapping/unwrap",
            Some(&wrapping),
            None,
            stop,
        )?;
        if reply.meaning != Meaning::Good {
            return Err(asked.refused(&reply).with_remedy(&alarm));
        }
        let secret_id = Envelope::parse(reply.body.expose())
            .and_then(|envelope| envelope.data_as::<SecretIdBlock>())
            .ok_or_else(|| asked.garbage("the answer holds no `secret_id`"))?
            .secret_id;
        *kept = Some(secret_id.clone());
        if let Some(old) = self.wrapping.replace(wrapping) {
            self.unwrapped.forget(&old);
        }
        Ok(secret_id)
    }

    /// Servers differ in whether the path begins with the namespace.
    fn is_made_at(&self, found: &str, wanted: &str) -> bool {
        let (found, wanted) = (found.trim_matches('/'), wanted.trim_matches('/'));
        found == wanted
            || found
                .strip_prefix(self.plan.key.namespace.trim_matches('/'))
                .and_then(|rest| rest.strip_prefix('/'))
                == Some(wanted)
    }
}
