//! What is known of a token, and what follows from it: when to renew it, when to log in anew.
//! Pure: times and chance come in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::answer::Operation;
use super::envelope::{AuthBlock, Envelope, TokenBlock};
use crate::clock::Tick;
use crate::printable::brief;
use crate::secret::SecretString;

/// A token in use. Shared by the workers; replaced as a whole, never changed.
pub(super) struct Token {
    /// `None` where an agent or a proxy adds it.
    pub(super) value: Option<SecretString>,
    /// Counts the tokens of the session: workers say with it which one was refused.
    pub(super) generation: u64,
    /// Whether it is ours to revoke: a login of ours made it, and it is no batch token.
    pub(super) revocable: bool,
    leased: AtomicBool,
    worked: AtomicBool,
}

impl Token {
    pub(super) fn new(value: Option<SecretString>, generation: u64, revocable: bool) -> Self {
        Self {
            value,
            generation,
            revocable,
            leased: AtomicBool::new(false),
            worked: AtomicBool::new(false),
        }
    }

    /// A read with it succeeded, and a lease hangs on it or not.
    pub(super) fn has_read(&self, leased: bool) {
        self.worked.store(true, Ordering::Relaxed);
        if leased {
            self.leased.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a read with it has ever succeeded.
    pub(super) fn has_worked(&self) -> bool {
        self.worked.load(Ordering::Relaxed)
    }

    /// Whether leases hang on it.
    pub(super) fn has_leases(&self) -> bool {
        self.leased.load(Ordering::Relaxed)
    }
}

/// What is known of a token's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// When its time to live was told.
    pub(super) told: Tick,
    /// How long from then; `None` for ever, or unknown.
    pub(super) ttl: Option<Duration>,
    /// The longest time to live it has had: renewing gives it back until max-TTL is near.
    pub(super) full: Duration,
    /// Whether it can be renewed.
    pub(super) renewable: bool,
    /// Whether it is a batch token: never renewed, never revoked.
    pub(super) batch: bool,
    /// How many uses are left; 0 for no limit.
    pub(super) uses: u64,
    /// Whether a login of ours made it, so that there can be another one.
    pub(super) by_login: bool,
    /// The end of its accessor, by which the server's audit log is searched.
    pub(super) accessor: String,
    /// Its policies, as far as the server told them.
    pub(super) policies: Vec<String>,
}

impl Facts {
    /// Of a token of which nothing is known.
    pub(super) fn unknown(told: Tick) -> Self {
        Self {
            told,
            ttl: None,
            full: Duration::ZERO,
            renewable: false,
            batch: false,
            uses: 0,
            by_login: false,
            accessor: String::new(),
            policies: Vec::new(),
        }
    }

    /// As a login told.
    pub(super) fn of_login(told: Tick, block: &AuthBlock) -> Self {
        Self {
            told,
            ttl: seconds(block.lease_duration),
            full: Duration::from_secs(block.lease_duration),
            renewable: block.renewable,
            batch: block.token_type == "batch",
            uses: block.num_uses,
            by_login: true,
            accessor: tail(&block.accessor),
            policies: names(&block.policies),
        }
    }

    /// As a look-up told.
    pub(super) fn of_lookup(told: Tick, block: &TokenBlock, by_login: bool) -> Self {
        Self {
            told,
            ttl: seconds(block.ttl),
            full: Duration::from_secs(block.ttl.max(block.creation_ttl)),
            renewable: block.renewable,
            batch: block.token_type == "batch",
            uses: block.num_uses,
            by_login,
            accessor: tail(&block.accessor),
            policies: names(&block.policies),
        }
    }

    /// After a renewal; and whether that extended it as far as before.
    pub(super) fn renewed(&self, told: Tick, block: &AuthBlock) -> (Self, bool) {
        let ttl = Duration::from_secs(block.lease_duration);
        let facts = Self {
            told,
            // Nothing left of a life that had an end is no life without one.
            ttl: self.ttl.map(|_| ttl),
            full: self.full.max(ttl),
            renewable: block.renewable,
            ..self.clone()
        };
        // A second of rounding is no sign of max-TTL.
        let whole = ttl.saturating_add(Duration::from_secs(1)) >= self.full
            && (!ttl.is_zero() || self.ttl.is_none());
        (facts, whole)
    }

    /// When it expires.
    pub(super) fn expires(&self) -> Option<Tick> {
        self.ttl.map(|ttl| self.told + ttl)
    }
}

/// Zero means for ever.
fn seconds(secs: u64) -> Option<Duration> {
    (secs > 0).then(|| Duration::from_secs(secs))
}

/// What a token needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upkeep {
    /// Nothing: it does not expire, or nothing can be done about it.
    Nothing,
    /// A renewal.
    Renew(Tick),
    /// A new login, before its end.
    Login(Tick),
}

impl Upkeep {
    /// When.
    pub(super) fn due(self) -> Option<Tick> {
        match self {
            Self::Nothing => None,
            Self::Renew(at) | Self::Login(at) => Some(at),
        }
    }
}

/// Plans it after a login, look-up or renewal. `chance` is a random number in `0.0..1.0`: many
/// daemons started together shall not come back together.
pub(super) fn upkeep(facts: &Facts, chance: f64) -> Upkeep {
    let Some(ttl) = facts.ttl else {
        return Upkeep::Nothing;
    };
    if facts.renewable && !facts.batch {
        let share = 2.0 / 3.0 * 0.1f64.mul_add(-chance, 1.0);
        Upkeep::Renew(facts.told + ttl.mul_f64(share))
    } else {
        before_the_end(facts, chance)
    }
}

/// When a token needs its next renewal or login, as the body of a login, renewal or look-up tells that came at
/// `told`: `None` where it never does, or where the body tells of no token. `chance` is in `0.0..1.0`.
#[must_use]
pub fn due(operation: Operation, body: &[u8], told: Tick, chance: f64) -> Option<Tick> {
    let envelope = Envelope::parse(body)?;
    let facts = match operation {
        Operation::Login => Facts::of_login(told, &envelope.auth()?),
        Operation::LookupSelf => Facts::of_lookup(told, &envelope.data_as::<TokenBlock>()?, true),
        // Only of a token that ends.
        Operation::Renew => {
            let before = Facts {
                ttl: Some(Duration::from_secs(1)),
                by_login: true,
                ..Facts::unknown(told)
            };
            before.renewed(told, &envelope.auth()?).0
        }
        Operation::Read | Operation::Unwrap | Operation::Revoke => return None,
    };
    upkeep(&facts, chance).due()
}

/// The server tells whole seconds, rounded: so much less may be left.
const ROUNDED: Duration = Duration::from_millis(500);

/// Plans the login that replaces a token that cannot be extended: after 80–90 % of what is left.
pub(super) fn before_the_end(facts: &Facts, chance: f64) -> Upkeep {
    match facts.ttl {
        Some(ttl) if facts.by_login => {
            let left = ttl.saturating_sub(ROUNDED);
            Upkeep::Login(facts.told + left.mul_f64(0.1f64.mul_add(chance, 0.8)))
        }
        _ => Upkeep::Nothing,
    }
}

/// The longest name of a policy that is shown, in characters.
const LONGEST_NAME: usize = 100;

fn names(policies: &[String]) -> Vec<String> {
    policies
        .iter()
        .map(|name| brief(name, LONGEST_NAME).into_owned())
        .collect()
}

/// The last four characters, all of an accessor that is ever shown.
pub(super) fn tail(accessor: &str) -> String {
    let start = accessor.chars().count().saturating_sub(4);
    accessor.chars().skip(start).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tick = Tick::from_start(Duration::from_secs(1000));

    fn facts(ttl: u64, renewable: bool, by_login: bool) -> Facts {
        Facts {
            ttl: seconds(ttl),
            full: Duration::from_secs(ttl),
            renewable,
            by_login,
            ..Facts::unknown(NOW)
        }
    }

    fn after(secs: u64) -> Tick {
        NOW + Duration::from_secs(secs)
    }

    #[test]
    fn a_renewable_token_is_renewed_at_two_thirds_less_jitter() {
        assert_eq!(
            upkeep(&facts(3600, true, true), 0.0),
            Upkeep::Renew(after(2400))
        );
        let Upkeep::Renew(at) = upkeep(&facts(3600, true, true), 0.999) else {
            panic!("not renewed");
        };
        assert!(at > after(2155) && at < after(2165), "{at:?}");
        // Somebody else's token too.
        assert_eq!(
            upkeep(&facts(30, true, false), 0.0),
            Upkeep::Renew(after(20))
        );
    }

    #[test]
    fn what_cannot_be_renewed_is_replaced_before_its_end() {
        assert_eq!(
            upkeep(&facts(1000, false, true), 0.0),
            Upkeep::Login(NOW + Duration::from_millis(799_600))
        );
        let mut batch = facts(1000, true, true);
        batch.batch = true;
        assert_eq!(
            upkeep(&batch, 0.5),
            Upkeep::Login(NOW + Duration::from_millis(849_575))
        );
    }

    #[test]
    fn nothing_is_done_about_root_and_somebody_elses_token() {
        assert_eq!(upkeep(&facts(0, true, true), 0.5), Upkeep::Nothing);
        assert_eq!(upkeep(&facts(0, false, false), 0.5), Upkeep::Nothing);
        assert_eq!(upkeep(&facts(60, false, false), 0.5), Upkeep::Nothing);
    }

    #[test]
    fn a_shrinking_ttl_is_noticed() {
        let block = |secs| AuthBlock {
            client_token: SecretString::new("t".into()),
            accessor: String::new(),
            lease_duration: secs,
            renewable: true,
            token_type: "service".into(),
            num_uses: 0,
            policies: Vec::new(),
        };
        let facts = facts(20, true, true);
        let (renewed, whole) = facts.renewed(after(13), &block(20));
        assert!(whole);
        assert_eq!(renewed.expires(), Some(after(33)));
        let (shrunk, whole) = renewed.renewed(after(26), &block(17));
        assert!(!whole);
        assert_eq!(
            before_the_end(&shrunk, 0.0),
            Upkeep::Login(after(26) + Duration::from_millis(13_200))
        );
        let (_, whole) = facts.renewed(after(13), &block(19));
        assert!(whole, "rounding");
        // The last moment is rounded to nothing: no sign of a token without an end.
        let (ended, whole) = shrunk.renewed(after(43), &block(0));
        assert!(!whole);
        assert_eq!(before_the_end(&ended, 0.5), Upkeep::Login(after(43)));
    }

    #[test]
    fn of_an_accessor_four_characters_are_shown() {
        assert_eq!(tail("F7aMwh7XuccBBpwzvGXgLoR4"), "LoR4");
        assert_eq!(tail("ab"), "ab");
    }
}
