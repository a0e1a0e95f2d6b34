//! How many requests a plan means: what `run` says at its start, so that nobody is surprised by them.

use super::model::{Auth, Interval, Plan};

/// A refresh comes after 90 to 100 % of its interval: so much of it on average.
const MEAN_SHARE: f64 = 0.95;

const DAY: f64 = 86_400.0;

/// A token that a login makes is taken to live an hour, as the guide's do: how long it really does,
/// only the login tells. It is renewed at two thirds of that, less up to a tenth.
const RENEWALS: f64 = DAY / (3_600.0 * 2.0 / 3.0 * 0.95);

/// A token that somebody else made lives for weeks, as servers make them.
const UPKEEP: f64 = 1.0;

/// Requests a day to one store, while all is well. Asking for the server's health is not among them:
/// that happens only while it is away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// Reads, by the refresh intervals. Leases that end sooner make more of them.
    pub reads: f64,
    /// Logins, look-ups and renewals, of tokens that live an hour.
    pub sessions: f64,
}

impl Expected {
    /// All of them, rounded.
    #[must_use]
    pub fn requests(&self) -> u64 {
        whole(self.reads + self.sessions)
    }
}

/// Rounded, for a line.
#[must_use]
pub fn whole(number: f64) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // At most 10,000 secrets, a read a second each.
    let whole = number.round().max(0.0) as u64;
    whole
}

impl Plan {
    /// What the store of that name is expected to be asked in a day.
    #[must_use]
    pub fn expected(&self, store: &str) -> Expected {
        let mut expected = Expected {
            reads: 0.0,
            sessions: 0.0,
        };
        for secret in &self.secrets {
            let Interval::Every(interval) = secret.interval else {
                continue;
            };
            let a_day = DAY / (interval.as_secs_f64() * MEAN_SHARE);
            for source in &secret.sources {
                if source.session.store == store {
                    expected.reads += a_day;
                }
            }
        }
        for session in &self.sessions {
            if session.key.store == store {
                expected.sessions += match session.auth {
                    Auth::None => 0.0,
                    Auth::Token(_) => UPKEEP,
                    Auth::AppRole { .. } | Auth::Cert { .. } => RENEWALS,
                };
            }
        }
        expected
    }
}
