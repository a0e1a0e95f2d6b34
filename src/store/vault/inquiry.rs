//! What is asked of the server about a token: whether it lives, and to let it live longer.

use super::answer::{Meaning, Operation};
use super::auth::Authenticator;
use super::envelope::{Envelope, TokenBlock};
use super::token::Facts;
use super::wire::Method;
use crate::clock::Stop;
use crate::secret::{SecretBytes, SecretString};
use crate::store::StoreError;

/// What a look-up says.
pub(super) enum LookUp {
    /// It lives, and this is known of it.
    Alive(Facts),
    /// It lives, but may not look itself up.
    Mute,
    /// The server does not know it.
    Dead,
    /// No answer, or one that says nothing of the token.
    Unknown(StoreError),
}

/// What a renewal gave.
pub(super) enum Renewal {
    /// Its new life, and whether it was extended as far as before.
    Done(Facts, bool),
    /// It cannot be renewed, and why.
    Never(StoreError),
    /// The server does not know the token.
    Dead,
    /// It did not succeed this time.
    Failed(StoreError),
}

impl Authenticator {
    /// Asks the server about a token.
    pub(super) fn look_up(&self, token: &SecretString, by_login: bool, stop: &Stop) -> LookUp {
        let mut asked = self.asked(Operation::LookupSelf, "look-up of the token".to_owned());
        asked.sent = vec![token];
        let told = self.clock.now();
        let reply = match self.send(
            Operation::LookupSelf,
            Method::Get,
            "auth/token/lookup-self",
            Some(token),
            None,
            stop,
        ) {
            Ok(reply) => reply,
            Err(error) => return LookUp::Unknown(error),
        };
        match reply.meaning {
            Meaning::Good => Envelope::parse(reply.body.expose())
                .and_then(|envelope| envelope.data_as::<TokenBlock>())
                .map_or_else(
                    || LookUp::Unknown(asked.garbage("the answer holds no token data")),
                    |block| LookUp::Alive(Facts::of_lookup(told, &block, by_login)),
                ),
            Meaning::Policy => LookUp::Mute,
            Meaning::TokenDead => LookUp::Dead,
            _ => LookUp::Unknown(asked.refused(&reply)),
        }
    }

    /// Renews a token by as much as it had.
    pub(super) fn renew(&self, token: &SecretString, facts: &Facts, stop: &Stop) -> Renewal {
        let mut asked = self.asked(Operation::Renew, "renewal of the token".to_owned());
        asked.sent = vec![token];
        let told = self.clock.now();
        let empty = Some(SecretBytes::new(b"{}".to_vec()));
        let reply = match self.post(
            Operation::Renew,
            "auth/token/renew-self",
            Some(token),
            empty,
            stop,
        ) {
            Ok(reply) => reply,
            Err(error) => return Renewal::Failed(error),
        };
        match reply.meaning {
            Meaning::Good => Envelope::parse(reply.body.expose())
                .and_then(|envelope| envelope.auth())
                .map_or_else(
                    || Renewal::Failed(asked.garbage("the answer holds no token")),
                    |block| {
                        let (facts, whole) = facts.renewed(told, &block);
                        Renewal::Done(facts, whole)
                    },
                ),
            Meaning::TokenDead => Renewal::Dead,
            Meaning::Policy | Meaning::Refused(_) => Renewal::Never(asked.refused(&reply)),
            _ => Renewal::Failed(asked.refused(&reply)),
        }
    }
}
