//! How often the state is shown, by what has changed of it.

use std::time::Duration;

use crate::clock::Tick;
use crate::observe::status::TIMES_MOVE;

/// A changing state is shown at most this often; a large one less often, since all of it is made
/// anew each time.
const SHOW: Duration = Duration::from_millis(50);
const SHOW_EACH: Duration = Duration::from_micros(100);

/// The longest will do where no secret stands otherwise than before: the status file is not written more often.
const SHOW_MOST: Duration = Duration::from_secs(1);

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// Times of secrets that are as they were.
    Times,
    /// What a secret in sync has, as well.
    Content,
    /// How something stands.
    News,
}

/// What is to be shown.
#[derive(Debug)]
pub(super) struct Showing {
    changed: Option<Change>,
    shown: Option<Tick>,
    /// Until then people look at what they have asked for.
    watched_until: Tick,
}

impl Default for Showing {
    /// All of it, at once.
    fn default() -> Self {
        Self {
            changed: Some(Change::News),
            shown: None,
            watched_until: Tick::default(),
        }
    }
}

impl Showing {
    /// That has changed.
    pub(super) fn note(&mut self, change: Change) {
        self.changed = self.changed.max(Some(change));
    }

    /// Everything was asked to be refreshed: for a while times are shown as content is.
    pub(super) fn asked(&mut self, now: Tick) {
        self.watched_until = now + TIMES_MOVE;
    }

    /// When to wake for it; `None` where what moved is shown by whoever is awake.
    pub(super) fn next(&self, secrets: usize) -> Option<Tick> {
        let is_waited_for = self.changed? > Change::Times;
        is_waited_for.then(|| self.due(secrets)).flatten()
    }

    /// Whether it is to be shown now; then it is.
    pub(super) fn take(&mut self, now: Tick, secrets: usize) -> bool {
        let is_watched = now < self.watched_until;
        if is_watched && self.changed == Some(Change::Times) {
            self.changed = Some(Change::Content);
        }
        if !self.due(secrets).is_some_and(|due| now >= due) {
            return false;
        }
        self.changed = None;
        self.shown = Some(now);
        true
    }

    fn due(&self, secrets: usize) -> Option<Tick> {
        let every = match self.changed? {
            Change::Times => TIMES_MOVE,
            Change::Content => SHOW_MOST,
            Change::News => {
                let secrets = u32::try_from(secrets).unwrap_or(u32::MAX);
                SHOW_EACH.saturating_mul(secrets).clamp(SHOW, SHOW_MOST)
            }
        };
        Some(self.shown.map_or_else(Tick::default, |shown| shown + every))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Tick {
        Tick::from_start(Duration::from_millis(ms))
    }

    fn shown_at(now: u64) -> Showing {
        let mut showing = Showing::default();
        assert_eq!(showing.next(1), Some(Tick::default()));
        assert!(showing.take(at(now), 1));
        assert_eq!(showing.next(1), None);
        assert!(!showing.take(at(now + 60_000), 1), "nothing has changed");
        showing
    }

    #[test]
    fn times_are_shown_every_five_seconds_by_whoever_is_awake() {
        let mut showing = shown_at(10_000);
        showing.note(Change::Times);
        assert_eq!(showing.next(1), None);
        assert!(!showing.take(at(14_999), 1));
        assert!(showing.take(at(15_000), 1));
        showing.note(Change::Times);
        assert!(showing.take(at(22_000), 1), "at once after a quiet time");
    }

    #[test]
    fn content_is_shown_every_second_and_news_at_once() {
        let mut showing = shown_at(10_000);
        showing.note(Change::Content);
        showing.note(Change::Times);
        assert_eq!(showing.next(1), Some(at(11_000)));
        showing.note(Change::News);
        assert_eq!(showing.next(1), Some(at(10_050)));
        assert_eq!(showing.next(2_000), Some(at(10_200)), "there is more of it");
        assert_eq!(showing.next(1_000_000), Some(at(11_000)));
        assert!(!showing.take(at(10_049), 1));
        assert!(showing.take(at(10_050), 1));
    }

    #[test]
    fn who_asked_for_a_refresh_sees_it_within_a_second() {
        let mut showing = shown_at(10_000);
        showing.asked(at(20_000));
        showing.note(Change::Times);
        assert!(showing.take(at(20_100), 1));
        showing.note(Change::Times);
        assert!(!showing.take(at(21_000), 1));
        assert_eq!(showing.next(1), Some(at(21_100)));
        assert!(showing.take(at(21_100), 1));
        showing.note(Change::Times);
        assert!(!showing.take(at(25_000), 1));
    }
}
