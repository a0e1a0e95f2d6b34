//! What is done once a second whatever happens, and what is shown.

use std::time::Duration;

use super::{ALIGN, SLEPT, Supervisor};
use crate::clock::Tick;
use crate::plan::SessionKey;
use crate::store::StoreStatus;
use crate::sync::cycle::DISK_TIME;
use crate::sync::showing::Change;
use crate::sync::state::{Standing, stalled};

/// Workers are told when the machine was suspended for so long, in one go or in many.
const NAP: Duration = Duration::from_secs(1);

impl Supervisor {
    /// What is done once a second whatever happens.
    pub(super) fn turn(&mut self, now: Tick) {
        self.hear();
        self.narrator.turn(Some(now));
        self.look_at_the_clock();
        self.look_after_workers(now);
        self.look_after_the_reload(now);
        let due: Vec<_> = self
            .unstarted
            .iter()
            .filter(|(_, at)| now >= **at)
            .map(|(index, _)| *index)
            .collect();
        for index in due {
            self.start_worker(index);
        }
        let metrics = self.outlook.metrics();
        self.state
            .tell_stale(now, |labels, stale| metrics.stale(labels, stale));
        self.describe(self.describe_by.is_some_and(|by| now + ALIGN >= by));
        let stores = self.stores.status();
        let noticed = self.outlook.turn(now);
        // A token is renewed, and requests queue, without an event. What has passed by the next turn is
        // not worth another document.
        let differs = stores != self.shown_stores;
        if differs {
            self.show_stores(&stores);
        }
        let differed = std::mem::replace(&mut self.differs, differs);
        // A lease on disk ends without an event.
        if noticed
            || (differed && differs)
            || self.state.is_ready(now) != self.outlook.shows_ready()
        {
            self.showing.note(Change::News);
        }
    }

    /// Workers sleep by alarms that do not count the time for which the machine was suspended.
    fn look_at_the_clock(&mut self) {
        let slept = self.clock.slept();
        if slept.saturating_sub(self.slept) >= NAP {
            self.slept = slept;
            self.crew.look_all();
        } else {
            self.slept = self.slept.min(slept);
        }
    }

    /// Who is past its deadline has stalled. Nobody is looked at before that can be: neither those at work,
    /// by their deadlines, nor who begins meanwhile.
    fn look_after_workers(&mut self, now: Tick) {
        if now.since(self.turned) >= SLEPT {
            self.woken = now;
        }
        self.turned = now;
        if now < self.look_at {
            return;
        }
        self.look_at = now + DISK_TIME;
        let just_woken = now.since(self.woken) < SLEPT;
        let mut moved = Vec::new();
        for (index, known) in self.state.secrets().iter().enumerate() {
            let deadline = self.crew.deadline(&known.secret.name);
            let is_late = deadline.is_some_and(|deadline| now > deadline);
            if let Some(deadline) = deadline {
                self.look_at = self.look_at.min(deadline.max(now));
            }
            if (is_late && !just_woken) || (!is_late && known.standing == Standing::Stalled) {
                moved.push((index, is_late));
            }
        }
        for (index, is_late) in moved {
            self.stalls(index, is_late, now);
        }
    }

    fn stalls(&mut self, index: usize, is_late: bool, now: Tick) {
        let Some(known) = self.state.secrets_mut().get_mut(index) else {
            return;
        };
        if is_late {
            let failure = stalled(&known.secret);
            if !known.stall(failure.clone()) {
                return;
            }
            self.narrator.failed(known, &failure, 0, None, now);
            self.outlook
                .metrics()
                .failed(&known.labels, failure.error_type);
        } else if known.unstall() {
            self.narrator.goes_on(known);
        } else {
            return;
        }
        self.showing.note(Change::News);
    }

    fn show_stores(&self, stores: &[StoreStatus]) {
        for store in stores {
            self.metrics().breaker(&store.name, store.breaker.gauge());
        }
        let sessions = stores.iter().flat_map(|store| &store.sessions);
        let (now, wall) = (self.clock.now(), self.clock.wall());
        self.metrics()
            .token_expiries(sessions.filter_map(|session| {
                let SessionKey {
                    store, credentials, ..
                } = &session.key;
                // A server may say any number: beyond the calendar is never.
                let expires = wall.checked_add(session.expires?.since(now))?;
                Some((&**store, &**credentials, expires))
            }));
    }

    /// Shows the state where it has changed, not too often.
    pub(super) fn show(&mut self, now: Tick) {
        if !self.showing.take(now, self.plan.secrets.len()) {
            return;
        }
        let stores = self.stores.status();
        self.show_stores(&stores);
        let (configured, synced) = self.state.counts();
        self.metrics().secrets(configured, synced);
        self.state.set_notices(self.outlook.notices());
        let document = self.state.document(&stores, now, self.clock.wall());
        self.shown_stores = stores;
        self.differs = false;
        self.describe(document.ready);
        self.outlook.show(document, now);
    }
}
