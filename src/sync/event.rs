//! What workers tell the supervisor. One queue keeps it in order; a bell tells of what somebody waits
//! for. What is calm, a refresh that found everything as it was, lies in the queue until the supervisor
//! looks there for another reason, once a second at least: it is woken neither by that, nor by each one
//! of many.

use std::path::PathBuf;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never, unbounded};

use super::schedule::Reason;
use crate::clock::Tick;
use crate::failure::Failure;
use crate::observe::trace::Ids;

/// Something happened to a worker's secret.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// The worker: one that was replaced is no longer listened to.
    pub(super) worker: u64,
    /// When it happened: it may be heard of later.
    pub(super) at: Tick,
    /// Whether it can wait: the secret is as it was, and nothing was done.
    pub(super) is_calm: bool,
    /// What.
    pub(super) report: Report,
    /// The trace of the cycle that it is about.
    pub(super) trace: Option<Ids>,
}

/// What happened.
#[derive(Clone, Debug)]
pub(super) enum Report {
    /// A complete success.
    Synced {
        /// The version, where there is one.
        version: Option<u64>,
        /// Files written.
        written: Vec<PathBuf>,
        /// Files that were right.
        unchanged: usize,
        /// From the start of the cycle to the end of the commit.
        took: Duration,
        /// The next refresh; `None`: not by itself.
        next: Option<Tick>,
        /// Why then.
        reason: Reason,
        /// When the credential on disk is no longer good; leases only.
        expires: Option<Tick>,
        /// Worth telling once a change.
        warnings: Vec<String>,
        /// `--dry-run`: what would have been done, a line each; `None` when files were written.
        preview: Option<Vec<String>>,
    },
    /// A failure.
    Failed {
        /// Why.
        failure: Failure,
        /// Failures in a row.
        attempt: u32,
        /// Time of this try.
        took: Duration,
        /// The next try; `None`: when the store is back.
        next: Option<Tick>,
        /// Why then.
        reason: Reason,
        /// `once` is over for this secret.
        is_final: bool,
    },
    /// The worker's thread has ended.
    Ended,
}

impl Report {
    /// Whether it tells of nothing but that all is as it was: no file was written, there is no warning and
    /// no lease.
    #[must_use]
    pub(super) fn is_quiet(&self) -> bool {
        match self {
            Self::Synced {
                written,
                expires,
                warnings,
                preview,
                ..
            } => {
                written.is_empty() && expires.is_none() && warnings.is_empty() && preview.is_none()
            }
            Self::Failed { .. } | Self::Ended => false,
        }
    }

    /// Of a success: the version.
    #[must_use]
    pub(super) fn success(&self) -> Option<Option<u64>> {
        match self {
            Self::Synced { version, .. } => Some(*version),
            Self::Failed { .. } | Self::Ended => None,
        }
    }
}

/// Who is heard no longer than this after the last is one of many.
const MANY: Duration = Duration::from_millis(10);

/// Of many, those that come within this time are heard together.
const TOGETHER: Duration = Duration::from_millis(5);

/// The workers' end.
#[derive(Clone, Debug)]
pub(super) struct Post {
    queue: Sender<Event>,
    bell: Sender<()>,
}

impl Post {
    /// Tells it, at once or not, as it says.
    pub(super) fn tell(&self, event: Event) {
        let can_wait = event.is_calm;
        let _ = self.queue.send(event);
        if !can_wait {
            // One that has not been heard yet calls for this, too.
            let _ = self.bell.try_send(());
        }
    }
}

/// The other end.
#[derive(Debug)]
pub(super) struct Mailbox {
    queue: Receiver<Event>,
    bell: Receiver<()>,
    heard: Option<Tick>,
    rests_until: Tick,
}

impl Mailbox {
    /// Empty, with the way to it.
    pub(super) fn new() -> (Post, Self) {
        let (queue, events) = unbounded();
        let (ring, bell) = bounded(1);
        let mailbox = Self {
            queue: events,
            bell,
            heard: None,
            rests_until: Tick::default(),
        };
        (Post { queue, bell: ring }, mailbox)
    }

    /// What to wait for; nothing, while more of many may come.
    pub(super) fn bell(&self, now: Tick) -> Receiver<()> {
        if now < self.rests_until {
            never()
        } else {
            self.bell.clone()
        }
    }

    /// How long to wait for it at most: what is given, less where it rests.
    pub(super) fn wait_until(&self, now: Tick, most: Tick) -> Tick {
        if now < self.rests_until {
            most.min(self.rests_until)
        } else {
            most
        }
    }

    /// The bell has rung. One alone is heard at once; then, for a moment, many are gathered.
    pub(super) fn rung(&mut self, now: Tick) {
        if self.heard.is_some_and(|last| now.since(last) <= MANY) {
            self.rests_until = now + TOGETHER;
        }
        self.heard = Some(now);
    }

    /// What there is, the oldest first.
    pub(super) fn take(&self) -> Vec<Event> {
        // In this order: what comes meanwhile rings again.
        let _ = self.bell.try_recv();
        self.queue.try_iter().collect()
    }

    /// The next, calm or not, waited for as long as a test may.
    #[cfg(test)]
    pub(super) fn next(&self) -> Event {
        self.queue.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Tick {
        Tick::from_start(Duration::from_millis(ms))
    }

    fn tell(post: &Post, worker: u64, is_calm: bool) {
        post.tell(Event {
            worker,
            at: at(0),
            is_calm,
            report: Report::Ended,
            trace: None,
        });
    }

    fn workers(mailbox: &Mailbox) -> Vec<u64> {
        mailbox.take().iter().map(|event| event.worker).collect()
    }

    #[test]
    fn what_is_calm_rings_no_bell_and_is_heard_in_its_turn() {
        let (post, mailbox) = Mailbox::new();
        tell(&post, 1, true);
        tell(&post, 2, true);
        assert!(mailbox.bell(at(0)).is_empty());
        tell(&post, 3, false);
        tell(&post, 4, false);
        tell(&post, 5, true);
        assert_eq!(mailbox.bell(at(0)).len(), 1);
        assert_eq!(workers(&mailbox), [1, 2, 3, 4, 5]);
        assert!(mailbox.bell(at(0)).is_empty(), "all of it was heard");
        tell(&post, 6, false);
        assert_eq!(mailbox.bell(at(0)).len(), 1);
    }

    #[test]
    fn one_alone_is_heard_at_once_and_many_together() {
        let (post, mut mailbox) = Mailbox::new();
        let far = at(9_000);
        for alone in [0, 50, 100] {
            tell(&post, 1, false);
            assert_eq!(mailbox.bell(at(alone)).len(), 1);
            mailbox.rung(at(alone));
            mailbox.take();
            assert_eq!(mailbox.wait_until(at(alone), far), far);
        }
        tell(&post, 2, false);
        assert_eq!(mailbox.bell(at(101)).len(), 1, "the second, too");
        mailbox.rung(at(101));
        mailbox.take();
        tell(&post, 3, false);
        tell(&post, 4, false);
        assert!(mailbox.bell(at(102)).is_empty());
        assert_eq!(mailbox.wait_until(at(102), far), at(106));
        assert_eq!(mailbox.wait_until(at(102), at(103)), at(103));
        assert_eq!(mailbox.bell(at(106)).len(), 1);
        mailbox.rung(at(106));
        assert_eq!(workers(&mailbox), [3, 4]);
        assert_eq!(mailbox.wait_until(at(107), far), at(111), "more may come");
        assert_eq!(mailbox.wait_until(at(111), far), far, "none has come");
    }
}
