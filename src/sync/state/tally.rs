//! All secrets counted: made when it is asked for and they may stand otherwise than the last time, which
//! is seldom. So a daemon at rest looks at none of them, however many it has.

use std::time::Duration;

use super::{Known, Standing, State};
use crate::clock::Tick;
use crate::observe::metrics::SecretLabels;

/// What is counted.
#[derive(Debug)]
pub(super) struct Tally {
    in_sync: usize,
    /// Of those that are not optional.
    written: bool,
    pending: bool,
    failing: bool,
    first_end: Option<Tick>,
    /// Those whose staleness goes on, or is to be told to have ended.
    stale: Vec<usize>,
}

impl Tally {
    fn of(secrets: &[Known]) -> Self {
        let counted = || secrets.iter().filter(|known| !known.secret.optional);
        let stands = |standing| move |known: &Known| known.standing == standing;
        let fails = |known: &Known| matches!(known.standing, Standing::Failed | Standing::Stalled);
        Self {
            in_sync: secrets
                .iter()
                .filter(|known| known.standing == Standing::InSync)
                .count(),
            written: counted().all(|known| known.written),
            pending: counted().any(stands(Standing::Pending)),
            failing: counted().any(fails),
            first_end: counted().filter_map(|known| known.expires).min(),
            stale: (0..)
                .zip(secrets)
                .filter(|(_, known)| {
                    known.standing != Standing::InSync || known.stale_told != Some(Duration::ZERO)
                })
                .map(|(index, _)| index)
                .collect(),
        }
    }
}

impl State {
    fn tally(&mut self) -> &mut Tally {
        self.tally.get_or_insert_with(|| Tally::of(&self.secrets))
    }

    /// How many secrets there are, and how many are in sync now.
    #[must_use]
    pub(in crate::sync) fn counts(&mut self) -> (usize, usize) {
        (self.secrets.len(), self.tally().in_sync)
    }

    /// Whether everything that counts has been written since start, and no leased credential on
    /// disk has expired. Once true it stays so through reloads and failures.
    pub(in crate::sync) fn is_ready(&mut self, now: Tick) -> bool {
        let tally = self.tally();
        let (written, first_end) = (tally.written, tally.first_end);
        self.was_ready = self.was_ready || written;
        self.was_ready && first_end.is_none_or(|end| now < end)
    }

    /// Whether something that counts is not in sync, though it was ready; before that, whether
    /// something fails.
    #[must_use]
    pub(in crate::sync) fn is_degraded(&mut self) -> bool {
        let was_ready = self.was_ready;
        let tally = self.tally();
        tally.failing || (tally.pending && was_ready)
    }

    /// Tells how stale they are, of those where it is another time than what was told last.
    pub(in crate::sync) fn tell_stale(
        &mut self,
        now: Tick,
        mut tell: impl FnMut(&SecretLabels, Duration),
    ) {
        let mut stale = std::mem::take(&mut self.tally().stale);
        stale.retain(|index| {
            let Some(known) = self.secrets.get_mut(*index) else {
                return false;
            };
            let span = known.stale(now);
            if known.stale_told.replace(span) != Some(span) {
                tell(&known.labels, span);
            }
            known.standing != Standing::InSync
        });
        self.tally().stale = stale;
    }
}

impl Known {
    /// What is counted of it.
    pub(super) fn counts(&self) -> (Standing, bool, Option<Tick>) {
        (self.standing, self.written, self.expires)
    }

    /// Time since the last complete success (since it was taken up, before the first); zero in
    /// sync.
    #[must_use]
    pub(super) fn stale(&self, now: Tick) -> Duration {
        if self.standing == Standing::InSync {
            return Duration::ZERO;
        }
        now.since(self.last_success.map_or(self.since, |(tick, _)| tick))
    }
}
