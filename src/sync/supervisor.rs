//! The main thread: owns the plan, the workers' handles and the state, and turns over signals, the
//! watch, workers' and stores' events and its timer. It never waits for the network or for a
//! secret's files.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, never, select, unbounded};
use log::{error, info};

use super::crew::{Crew, close_time};
use super::event::{Event, Report};
use super::facts::facts;
use super::futexes;
use super::narrator::{Narrator, expectations, notices};
use super::outlook::Outlook;
use super::schedule::Reason;
use super::signals::Signal;
use super::state::{Standing, State, stalled};
use super::watch::{Watch, Watched};
use super::worker::{Policy, defect};
use crate::clock::{Clock, Tick};
use crate::config::Environment;
use crate::failure::Failure;
use crate::observe::{Metrics, trace};
use crate::plan::{self, Daemon, Plan, Purpose, SessionKey};
use crate::sandbox::Sandbox;
use crate::store::{Mode, StoreEvent, StoreStatus, Stores};

/// The loop turns at least this often: it looks after stalled workers, staleness, the watchdog.
const TURN: Duration = Duration::from_secs(1);

/// A loop that has not turned for this long was asleep with the machine, and so were the workers:
/// for as long again nobody is called stalled, since whatever was under way has to end first.
const SLEPT: Duration = Duration::from_secs(5);

/// A changing state is shown at most this often; a large one less often, since all of it is made
/// anew each time. Where no secret stands otherwise than before, but for times and versions, the longest
/// will do: the status file is not written more often.
const SHOW: Duration = Duration::from_millis(50);
const SHOW_EACH: Duration = Duration::from_micros(100);
const SHOW_MOST: Duration = Duration::from_secs(1);

/// A thread that could not be started is tried again after this time.
const START_AGAIN: Duration = Duration::from_secs(10);

/// What the supervisor is made from.
pub struct Start {
    /// The configuration file.
    pub file: PathBuf,
    /// The copy of the environment that reloads read.
    pub environment: Environment,
    /// The daemon's settings.
    pub daemon: Arc<Daemon>,
    /// The first plan.
    pub plan: Plan,
    /// What the kernel lets the process do; a plan that needs more is refused.
    pub sandbox: Option<Sandbox>,
    /// Time and chance.
    pub clock: Arc<dyn Clock>,
    /// Signals.
    pub signals: Receiver<Signal>,
    /// The watch, which follows the configuration file already.
    pub watch: Watch,
    /// What the watch sees.
    pub changed: Receiver<Watched>,
    /// Where the state is shown.
    pub outlook: Outlook,
}

/// The main loop.
pub struct Supervisor {
    file: PathBuf,
    environment: Environment,
    daemon: Arc<Daemon>,
    plan: Plan,
    sandbox: Option<Sandbox>,
    clock: Arc<dyn Clock>,
    signals: Receiver<Signal>,
    watch: Watch,
    changed: Receiver<Watched>,
    outlook: Outlook,
    stores: Stores,
    store_events: Receiver<StoreEvent>,
    crew: Crew,
    events: Receiver<Event>,
    state: State,
    narrator: Narrator,
    /// Secrets whose thread could not be started, by index, and when to try again.
    unstarted: HashMap<usize, Tick>,
    /// Stores that the plan no longer has are let go when nobody works on them any more.
    to_retire: bool,
    /// The last turn, and the last that came late.
    turned: Tick,
    woken: Tick,
    /// The state changed and is to be shown.
    changed_since: Option<Tick>,
    /// It is more than times and versions.
    is_news: bool,
    shown: Tick,
    /// The stores as they were shown.
    shown_stores: Vec<StoreStatus>,
    /// They stood otherwise at the last turn.
    differs: bool,
}

impl Supervisor {
    /// Makes the stores and the state; starts nobody yet.
    #[must_use]
    pub fn new(start: Start) -> Self {
        let (event_sender, events) = unbounded();
        let (store_sender, store_events) = unbounded();
        let now = start.clock.now();
        let mut stores = Stores::new(
            Arc::clone(&start.daemon),
            Mode::Use,
            Arc::clone(&start.clock),
            store_sender,
        );
        stores.apply(&start.plan);
        Self {
            stores,
            store_events,
            crew: Crew::new(
                Arc::clone(&start.clock),
                Arc::clone(&start.daemon),
                event_sender,
            ),
            events,
            state: State::new(&start.plan, now, start.clock.wall()),
            narrator: Narrator::new(&start.plan),
            unstarted: HashMap::new(),
            to_retire: false,
            turned: now,
            woken: Tick::default(),
            changed_since: Some(now),
            is_news: true,
            shown: Tick::default(),
            shown_stores: Vec::new(),
            differs: false,
            file: start.file,
            environment: start.environment,
            daemon: start.daemon,
            plan: start.plan,
            sandbox: start.sandbox,
            clock: start.clock,
            signals: start.signals,
            watch: start.watch,
            changed: start.changed,
            outlook: start.outlook,
        }
    }

    /// Runs until it is told to stop.
    pub fn run(mut self) {
        notices(&self.plan.notices);
        expectations(&self.plan);
        self.outlook.describe(&self.file, &facts(&self.plan));
        self.metrics().reloaded(Some(self.clock.wall()));
        self.follow();
        futexes::make_room(self.plan.secrets.len());
        for index in 0..self.plan.secrets.len() {
            self.start_worker(index);
        }
        let mut turn = self.clock.now();
        loop {
            let now = self.clock.now();
            turn = self.outlook.next_turn().map_or(turn, |at| turn.min(at));
            if now >= turn {
                self.turn(now);
                turn = now + TURN;
            }
            self.show(now);
            let next = self
                .changed_since
                .map_or(turn, |_| turn.min(self.shown + self.show_every()));
            let alarm = self.clock.alarm(next);
            let (signals, changed) = (self.signals.clone(), self.changed.clone());
            select! {
                recv(signals) -> signal => match signal {
                    Ok(Signal::Stop) | Err(_) => break,
                    Ok(Signal::Refresh) => self.refresh(),
                    Ok(Signal::Reload) => {
                        if self.reload_asked(&signals) {
                            break;
                        }
                    }
                },
                recv(changed) -> files => match files {
                    Ok(files) => self.files_changed(&files),
                    // The watch is gone, by a defect: a closed channel would be ready for ever.
                    Err(_) => {
                        error!(target: "config", "changes of files are not seen any more: restart the daemon");
                        self.changed = never();
                    }
                },
                recv(self.events) -> event => if let Ok(event) = event { self.event(&event) },
                recv(self.store_events) -> event => if let Ok(event) = event {
                    self.store_event(&event);
                },
                recv(alarm) -> _ => {}
            }
        }
        self.stop();
    }

    fn metrics(&self) -> &Metrics {
        self.outlook.metrics()
    }

    /// What is done once a second whatever happens.
    fn turn(&mut self, now: Tick) {
        self.narrator.turn(Some(now));
        self.look_after_workers(now);
        let due: Vec<_> = self
            .unstarted
            .iter()
            .filter(|(_, at)| now >= **at)
            .map(|(index, _)| *index)
            .collect();
        for index in due {
            self.start_worker(index);
        }
        for known in self.state.secrets_mut() {
            if let Some(stale) = known.stale_news(now) {
                self.outlook.metrics().stale(&known.labels, stale);
            }
        }
        let stores = self.stores.status();
        self.show_stores(&stores);
        let noticed = self.outlook.turn(now);
        // A token is renewed, and requests queue, without an event. What has passed by the next turn is
        // not worth another document.
        let differed = std::mem::replace(&mut self.differs, stores != self.shown_stores);
        // A lease on disk ends without an event.
        if noticed
            || (differed && self.differs)
            || self.state.is_ready(now) != self.outlook.shows_ready()
        {
            self.news(now);
        }
    }

    fn look_after_workers(&mut self, now: Tick) {
        if now.since(self.turned) >= SLEPT {
            self.woken = now;
        }
        self.turned = now;
        let just_woken = now.since(self.woken) < SLEPT;
        let mut news = false;
        for known in self.state.secrets_mut() {
            let is_late = self.crew.is_late(&known.secret.name, now);
            let failure = (is_late && !just_woken).then(|| stalled(&known.secret));
            if let Some(failure) = failure
                && known.stall(failure.clone())
            {
                self.narrator.failed(known, &failure, 0, None, now);
                self.outlook
                    .metrics()
                    .failed(&known.labels, failure.error_type);
                news = true;
            } else if !is_late && known.unstall() {
                self.narrator.goes_on(known);
                news = true;
            }
        }
        if news {
            self.news(now);
        }
    }

    fn start_worker(&mut self, index: usize) {
        let Some(secret) = self.plan.secrets.get(index).cloned() else {
            return;
        };
        let now = self.clock.now();
        self.unstarted.remove(&index);
        match self
            .crew
            .start(&secret, &self.plan, &self.stores, Policy::Forever, None)
        {
            Ok(worker) => self.state.assign(index, worker),
            Err(failure) => self.not_running(index, failure, now),
        }
    }

    /// Nobody works on the secret, against our will: it fails, and is tried again.
    fn not_running(&mut self, index: usize, failure: Failure, now: Tick) {
        let next = now + START_AGAIN;
        self.unstarted.insert(index, next);
        if let Some(known) = self.state.secrets_mut().get_mut(index) {
            self.narrator.failed(known, &failure, 1, Some(next), now);
            self.outlook
                .metrics()
                .failed(&known.labels, failure.error_type);
            known.fail(failure, Some(next), Reason::Thread, 1);
        }
        self.news(now);
    }

    fn event(&mut self, event: &Event) {
        let now = self.clock.now();
        if matches!(event.report, Report::Ended) {
            let told = self.crew.ended(event.worker);
            if let (false, Some(index)) = (told, self.state.index_of(event.worker)) {
                self.not_running(index, defect(), now);
            }
            if self.to_retire && self.crew.nobody_leaves() {
                self.to_retire = false;
                self.stores.retire();
            }
        }
        let wall = self.clock.wall();
        let Some(known) = self.state.by_worker(event.worker) else {
            return;
        };
        {
            let _about = trace::about(event.trace);
            self.narrator.report(known, &event.report, now);
        }
        let metrics = self.outlook.metrics();
        match &event.report {
            Report::Synced {
                took,
                version,
                written,
                ..
            } => {
                metrics.synced(&known.labels, Ok(()), *took);
                metrics.success(&known.labels, wall, *version, written.len());
            }
            Report::Failed { failure, took, .. } => {
                metrics.synced(&known.labels, Err(failure.error_type), *took);
            }
            Report::Ended => {}
        }
        // Only who is to be woken asks what it waits for.
        let stores = match &event.report {
            Report::Failed {
                reason: Reason::Woken,
                ..
            } => self.stores.status(),
            _ => Vec::new(),
        };
        let attempt = known.attempt(&event.report, &stores, now, wall);
        let goes_on_well = known.standing == Standing::InSync
            && matches!(event.report, Report::Synced { expires: None, .. });
        known.fold(&event.report, now, wall);
        if let Some(attempt) = attempt {
            self.outlook.attempt(&known.labels.secret, &attempt);
        }
        self.changed_since.get_or_insert(now);
        self.is_news |= !goes_on_well;
    }

    /// The state is another, and is to be shown soon.
    fn news(&mut self, now: Tick) {
        self.changed_since.get_or_insert(now);
        self.is_news = true;
    }

    fn store_event(&mut self, event: &StoreEvent) {
        let now = self.clock.now();
        self.narrator.store(event, now);
        // A store that is gone may have a last word; its series stays away.
        if let StoreEvent::Breaker { store, state, .. } = event
            && self.plan.stores.iter().any(|known| known.name == *store)
        {
            self.metrics().breaker(store, state.gauge());
        }
        self.news(now);
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

    fn show_every(&self) -> Duration {
        if !self.is_news {
            return SHOW_MOST;
        }
        let secrets = u32::try_from(self.plan.secrets.len()).unwrap_or(u32::MAX);
        SHOW_EACH.saturating_mul(secrets).clamp(SHOW, SHOW_MOST)
    }

    /// Shows the state where it has changed, not too often.
    fn show(&mut self, now: Tick) {
        if self.changed_since.is_none() || now.since(self.shown) < self.show_every() {
            return;
        }
        self.changed_since = None;
        self.is_news = false;
        self.shown = now;
        let stores = self.stores.status();
        self.show_stores(&stores);
        let (configured, synced) = self.state.counts();
        self.metrics().secrets(configured, synced);
        self.state.set_notices(self.outlook.notices());
        let document = self.state.document(&stores, now, self.clock.wall());
        self.shown_stores = stores;
        self.differs = false;
        self.outlook.show(document, now);
    }

    fn refresh(&self) {
        info!(target: "sync", secrets = self.plan.secrets.len(); "asked to refresh everything now");
        self.crew.refresh_all();
    }

    fn follow(&self) {
        let mut files = self.stores.followed_files();
        if self.daemon.watch_config {
            files.push(self.file.clone());
        }
        self.watch.follow(files);
    }

    fn files_changed(&mut self, files: &[PathBuf]) {
        self.stores.files_changed(files);
        if self.daemon.watch_config && files.contains(&self.file) {
            info!(target: "config", path = display(&self.file); "the configuration file changed");
            self.reload();
        }
    }

    /// A reload by signal: those that came meanwhile are the same one. `true`: a stop was among
    /// them.
    fn reload_asked(&mut self, signals: &Receiver<Signal>) -> bool {
        let mut refresh = false;
        for signal in signals.try_iter() {
            match signal {
                Signal::Reload => {}
                Signal::Refresh => refresh = true,
                Signal::Stop => return true,
            }
        }
        self.reload();
        if refresh {
            self.refresh();
        }
        false
    }

    /// Takes up the configuration as it is now, or says why not and goes on with the one it has.
    fn reload(&mut self) {
        let now = self.clock.now();
        self.outlook.reloading();
        match plan::load_again(&self.file, &self.environment, Purpose::Run) {
            Ok(plan) => {
                let sandbox = self.sandbox.as_ref();
                match sandbox.and_then(|sandbox| sandbox.refuses(&plan, &self.daemon)) {
                    None => self.take_up(plan),
                    Some(why) => self.refuse(&why),
                }
            }
            Err(problems) => self.refuse(problems.to_string().trim_end()),
        }
        self.outlook.reloaded();
        self.news(now);
    }

    fn refuse(&mut self, why: &str) {
        error!(target: "config", path = display(&self.file), error = why;
            "the new configuration was refused; the old one goes on");
        self.metrics().reloaded(None);
        self.state.refuse(why.to_owned());
    }

    fn take_up(&mut self, plan: Plan) {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let diff = plan::diff(&self.plan, &plan);
        self.stores.apply(&plan);
        // Before the first login reads them: no change after that is missed.
        self.follow();
        for name in diff.removed.iter().chain(&diff.changed) {
            self.crew.stop(name);
        }
        let unchanged: HashSet<String> = diff.unchanged.iter().cloned().collect();
        for labels in self.state.apply(&plan, &unchanged, now, wall) {
            self.metrics().forget_secret(&labels);
        }
        for store in &self.plan.stores {
            if plan.stores.iter().all(|new| new.name != store.name) {
                self.metrics().forget_store(&store.name);
            }
        }
        self.narrator.retain(&plan);
        self.outlook.describe(&self.file, &facts(&plan));
        self.plan = plan;
        self.unstarted.clear();
        self.crew.forget_proofs();
        futexes::make_room(self.plan.secrets.len());
        for index in 0..self.plan.secrets.len() {
            if self
                .state
                .secrets()
                .get(index)
                .is_some_and(|known| known.worker.is_none())
            {
                self.start_worker(index);
            }
        }
        self.to_retire = true;
        if self.crew.nobody_leaves() {
            self.to_retire = false;
            self.stores.retire();
        }
        notices(&self.plan.notices);
        expectations(&self.plan);
        info!(target: "config", path = display(&self.file), added = diff.added.len(),
            removed = diff.removed.len(), changed = diff.changed.len(),
            unchanged = diff.unchanged.len(); "the new configuration is taken up");
        self.metrics().reloaded(Some(wall));
    }

    /// No new work; what is being written is finished; tokens are given back.
    fn stop(mut self) {
        info!(target: "sync", "stopping");
        self.outlook.stopping();
        let began = self.clock.now();
        self.crew.stop_all();
        while let Some(look_at) = self.crew.leaves_until(began, self.clock.now()) {
            let alarm = self.clock.alarm(look_at);
            select! {
                recv(self.events) -> event => if let Ok(event) = event { self.event(&event) },
                recv(alarm) -> _ => {}
            }
        }
        let most = self.daemon.shutdown_timeout;
        self.stores.close(close_time(most));
        let left = (began + most).since(self.clock.now());
        trace::end(trace::LAST_SPANS.min(left));
        self.outlook.close();
        self.narrator.turn(None);
        info!(target: "sync", "stopped");
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}
