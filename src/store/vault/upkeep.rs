//! What a keeper does next. Pure: the situation in, a step out.

use super::session::CALM;
use super::token::Upkeep;
use crate::clock::Tick;

/// What the decision depends on.
#[derive(Clone, Debug)]
pub(super) struct Situation {
    pub(super) now: Tick,
    /// A token is in use.
    pub(super) token: bool,
    /// Somebody needs one.
    pub(super) wanted: bool,
    /// Workers report that the server does not know it.
    pub(super) dead: bool,
    /// Workers report that its policies do not allow a read.
    pub(super) policy: bool,
    /// Credential files have changed.
    pub(super) files: bool,
    /// They have changed, and could not be made use of for a reason that may pass.
    pub(super) unread: bool,
    /// There is a login to repeat; else the token is somebody else's.
    pub(super) login: bool,
    /// When the last login was tried.
    pub(super) tried: Option<Tick>,
    /// When a dead token was last replaced by a login.
    pub(super) revived: Option<Tick>,
    /// The last attempt failed: not before this time.
    pub(super) retry_at: Option<Tick>,
    /// What the token needs.
    pub(super) upkeep: Upkeep,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Get a token.
    Acquire(Why),
    /// Ask the server whether the token lives.
    LookUp,
    /// Renew it.
    Renew,
    /// The reports change nothing: say so to those who wait.
    Dismiss,
    /// Wait for a nudge, until this time.
    Wait(Option<Tick>),
}

/// Why a token is to be got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// There is none.
    Missing,
    /// The server does not know the one in use.
    Dead,
    /// It may lack policies that a new one would have.
    Policy,
    /// The files that it comes from have changed.
    Files,
    /// It ends soon.
    Ending,
}

/// Decides.
pub(super) fn next(s: &Situation) -> Step {
    let calm = |at: Option<Tick>| at.is_none_or(|at| s.now.since(at) >= CALM);
    if !s.token {
        return if !s.wanted {
            Step::Wait(None)
        } else if s.files {
            Step::Acquire(Why::Files)
        } else {
            match s.retry_at {
                Some(at) if at > s.now => Step::Wait(Some(at)),
                _ => Step::Acquire(Why::Missing),
            }
        };
    }
    if s.files && !s.login {
        return Step::Acquire(Why::Files);
    }
    if s.dead {
        // A second dead token so soon after a login: perhaps it is no token that is wrong.
        return if s.login && !calm(s.revived) {
            Step::LookUp
        } else {
            Step::Acquire(Why::Dead)
        };
    }
    if s.policy {
        return if s.login && !calm(s.tried) {
            Step::Dismiss
        } else {
            Step::Acquire(Why::Policy)
        };
    }
    let paced = |due: Tick| s.retry_at.map_or(due, |at| due.max(at));
    if s.unread && !s.login && paced(s.now) <= s.now {
        return Step::Acquire(Why::Files);
    }
    let again = s.retry_at.filter(|_| s.unread && !s.login);
    match (s.upkeep.due().map(paced), s.upkeep) {
        (Some(due), _) if due > s.now => Step::Wait(Some(again.map_or(due, |at| due.min(at)))),
        (Some(_), Upkeep::Renew(_)) => Step::Renew,
        (Some(_), Upkeep::Login(_)) => Step::Acquire(Why::Ending),
        _ => Step::Wait(again),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(secs: u64) -> Tick {
        Tick::from_start(Duration::from_secs(10_000 + secs))
    }

    fn calm() -> Situation {
        Situation {
            now: at(0),
            token: true,
            wanted: true,
            dead: false,
            policy: false,
            files: false,
            unread: false,
            login: true,
            tried: Some(Tick::default()),
            revived: None,
            retry_at: None,
            upkeep: Upkeep::Nothing,
        }
    }

    #[test]
    fn nobody_logs_in_before_somebody_asks() {
        let mut s = Situation {
            token: false,
            wanted: false,
            ..calm()
        };
        assert_eq!(next(&s), Step::Wait(None));
        s.wanted = true;
        assert_eq!(next(&s), Step::Acquire(Why::Missing));
        s.retry_at = Some(at(7));
        assert_eq!(next(&s), Step::Wait(Some(at(7))));
        s.files = true;
        assert_eq!(next(&s), Step::Acquire(Why::Files));
    }

    #[test]
    fn a_token_file_whose_token_could_not_be_tried_is_tried_again_in_time() {
        let mut s = Situation {
            login: false,
            unread: true,
            retry_at: Some(at(3)),
            ..calm()
        };
        assert_eq!(next(&s), Step::Wait(Some(at(3))));
        s.upkeep = Upkeep::Renew(at(9));
        assert_eq!(next(&s), Step::Wait(Some(at(3))));
        s.now = at(3);
        assert_eq!(next(&s), Step::Acquire(Why::Files));
    }

    #[test]
    fn upkeep_waits_for_its_time_and_for_the_backoff() {
        let mut s = Situation {
            upkeep: Upkeep::Renew(at(5)),
            ..calm()
        };
        assert_eq!(next(&s), Step::Wait(Some(at(5))));
        s.now = at(5);
        assert_eq!(next(&s), Step::Renew);
        s.retry_at = Some(at(9));
        assert_eq!(next(&s), Step::Wait(Some(at(9))));
        s.upkeep = Upkeep::Login(at(5));
        s.now = at(9);
        assert_eq!(next(&s), Step::Acquire(Why::Ending));
    }

    #[test]
    fn a_dead_token_is_replaced_once_and_then_doubted() {
        let mut s = Situation {
            dead: true,
            ..calm()
        };
        assert_eq!(next(&s), Step::Acquire(Why::Dead));
        s.revived = Some(at(0));
        s.now = at(299);
        assert_eq!(next(&s), Step::LookUp);
        s.now = at(300);
        assert_eq!(next(&s), Step::Acquire(Why::Dead));
    }

    #[test]
    fn a_policy_causes_one_login_in_five_minutes() {
        let mut s = Situation {
            policy: true,
            tried: Some(at(0)),
            now: at(299),
            ..calm()
        };
        assert_eq!(next(&s), Step::Dismiss);
        s.now = at(300);
        assert_eq!(next(&s), Step::Acquire(Why::Policy));
        // A file is read as often as anybody likes.
        let s = Situation {
            policy: true,
            login: false,
            tried: Some(at(0)),
            ..calm()
        };
        assert_eq!(next(&s), Step::Acquire(Why::Policy));
    }

    #[test]
    fn files_matter_at_once_where_the_token_is_in_them() {
        let s = Situation {
            files: true,
            login: false,
            ..calm()
        };
        assert_eq!(next(&s), Step::Acquire(Why::Files));
        let s = Situation {
            files: true,
            upkeep: Upkeep::Renew(at(5)),
            ..calm()
        };
        assert_eq!(
            next(&s),
            Step::Wait(Some(at(5))),
            "a valid token of a login stays"
        );
    }
}
