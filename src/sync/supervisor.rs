//! The main thread: owns the plan, the workers' handles and the state, and turns over signals, the
//! watch, workers' and stores' events and its timer. It never waits for the network or for a
//! secret's files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

mod reload;
mod turn;

use crossbeam_channel::{Receiver, never, select, unbounded};
use log::{error, info};

use super::crew::{Crew, close_time};
use super::event::{Event, Mailbox, Report};
use super::facts::facts;
use super::futexes;
use super::narrator::{Narrator, expectations, notices};
use super::outlook::Outlook;
use super::reading::Reading;
use super::schedule::Reason;
use super::showing::{Change, Showing};
use super::signals::Signal;
use super::state::{Standing, State};
use super::watch::{Watch, Watched};
use super::worker::{Policy, defect};
use crate::clock::{Clock, Tick};
use crate::config::Environment;
use crate::failure::Failure;
use crate::observe::{Metrics, trace};
use crate::plan::{Daemon, Plan};
use crate::sandbox::Sandbox;
use crate::store::{Mode, StoreEvent, StoreStatus, Stores};

/// The loop turns at least this often: it looks after stalled workers, staleness, the watchdog.
const TURN: Duration = Duration::from_secs(1);

/// Whoever is awake so shortly before the turn does what it does now, and one that is awaited so shortly after
/// it has it wait: each time that a thread wakes costs more than what the loop does then.
const ALIGN: Duration = Duration::from_millis(100);

/// A loop that has not turned for this long was asleep with the machine, and so were the workers:
/// for as long again nobody is called stalled, since whatever was under way has to end first.
const SLEPT: Duration = Duration::from_secs(5);

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
    environment: Arc<Environment>,
    daemon: Arc<Daemon>,
    plan: Plan,
    sandbox: Option<Arc<Sandbox>>,
    /// Another configuration, while it is read.
    reading: Option<Reading>,
    clock: Arc<dyn Clock>,
    signals: Receiver<Signal>,
    watch: Watch,
    changed: Receiver<Watched>,
    outlook: Outlook,
    stores: Stores,
    store_events: Receiver<StoreEvent>,
    crew: Crew,
    mailbox: Mailbox,
    state: State,
    narrator: Narrator,
    /// Secrets whose thread could not be started, by index, and when to try again.
    unstarted: HashMap<usize, Tick>,
    /// Stores that the plan no longer has are let go when nobody works on them any more.
    to_retire: bool,
    /// The last turn, and the last that came late.
    turned: Tick,
    woken: Tick,
    /// When somebody can have stalled.
    look_at: Tick,
    /// For how long the machine was suspended before the workers were told so last.
    slept: Duration,
    showing: Showing,
    /// The stores as they were shown.
    shown_stores: Vec<StoreStatus>,
    /// They stood otherwise at the last turn.
    differs: bool,
    /// What `explain` is to know of the plan is told by then; the files come first.
    describe_by: Option<Tick>,
}

impl Supervisor {
    /// Makes the stores and the state; starts nobody yet.
    #[must_use]
    pub fn new(start: Start) -> Self {
        let (post, mailbox) = Mailbox::new();
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
            crew: Crew::new(Arc::clone(&start.clock), Arc::clone(&start.daemon), post),
            mailbox,
            state: State::new(&start.plan, now, start.clock.wall()),
            narrator: Narrator::new(&start.plan),
            unstarted: HashMap::new(),
            to_retire: false,
            turned: now,
            woken: Tick::default(),
            look_at: Tick::default(),
            slept: start.clock.slept(),
            showing: Showing::default(),
            shown_stores: Vec::new(),
            differs: false,
            file: start.file,
            environment: Arc::new(start.environment),
            daemon: start.daemon,
            plan: start.plan,
            sandbox: start.sandbox.map(Arc::new),
            reading: None,
            clock: start.clock,
            signals: start.signals,
            watch: start.watch,
            changed: start.changed,
            outlook: start.outlook,
            describe_by: Some(now + TURN),
        }
    }

    /// Runs until it is told to stop.
    pub fn run(mut self) {
        notices(&self.plan.notices);
        expectations(&self.plan);
        self.metrics().reloaded(Some(self.clock.wall()));
        self.follow();
        futexes::make_room(self.plan.secrets.len());
        for index in 0..self.plan.secrets.len() {
            self.start_worker(index);
        }
        let mut turn = self.clock.now();
        loop {
            let now = self.clock.now();
            let beat = self.outlook.next_turn();
            if now + ALIGN >= turn || beat.is_some_and(|at| now >= at) {
                self.turn(now);
                turn = now + TURN;
            }
            self.show(now);
            let next = self.next(now, turn);
            let bell = self.mailbox.bell(now);
            let alarm = self.clock.alarm(next);
            let (signals, changed) = (self.signals.clone(), self.changed.clone());
            let read = self.reading.as_ref().map_or_else(never, Reading::done);
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
                recv(read) -> read => self.read(read.ok()),
                recv(bell) -> _ => {
                    self.mailbox.rung(self.clock.now());
                    self.hear();
                }
                recv(self.store_events) -> event => if let Ok(event) = event {
                    self.store_event(&event);
                },
                recv(alarm) -> _ => {}
            }
        }
        self.stop();
    }

    /// When the loop goes on at the latest.
    fn next(&self, now: Tick, turn: Tick) -> Tick {
        let show = self.showing.next(self.plan.secrets.len());
        let next = match show {
            Some(show) if show < turn + ALIGN => show,
            _ => turn,
        };
        let beat = self.outlook.next_turn();
        let next = beat.map_or(next, |beat| next.min(beat));
        self.mailbox.wait_until(now, next)
    }

    /// Takes up what workers have told.
    fn hear(&mut self) {
        for event in self.mailbox.take() {
            self.event(&event);
        }
    }

    /// Tells the details of the plan, which are for people, when all is ready (then before
    /// that is said) or a second has passed.
    fn describe(&mut self, is_due: bool) {
        if self.describe_by.take_if(|_| is_due).is_some() {
            let now = self.clock.now();
            self.outlook.describe(&self.file, &facts(&self.plan), now);
        }
    }

    fn metrics(&self) -> &Metrics {
        self.outlook.metrics()
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
        self.showing.note(Change::News);
    }

    fn event(&mut self, event: &Event) {
        let now = event.at;
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
        let heard = self.clock.now().since(now);
        let wall = self.clock.wall();
        let wall = wall.checked_sub(heard).unwrap_or(wall);
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
        self.showing.note(match (event.is_calm, goes_on_well) {
            (true, true) => Change::Times,
            (false, true) => Change::Content,
            (_, false) => Change::News,
        });
        if let Some(attempt) = attempt {
            let name = &known.labels.secret;
            self.outlook.attempt(name, &attempt, event.is_calm);
        }
        self.state.fold(event.worker, &event.report, now, wall);
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
        self.showing.note(Change::News);
    }

    /// No new work; what is being written is finished; tokens are given back.
    fn stop(mut self) {
        info!(target: "sync", "stopping");
        self.outlook.stopping();
        self.describe(true);
        let began = self.clock.now();
        self.crew.stop_all();
        loop {
            let now = self.clock.now();
            self.hear();
            let Some(look_at) = self.crew.leaves_until(began, now) else {
                break;
            };
            let bell = self.mailbox.bell(now);
            let alarm = self.clock.alarm(self.mailbox.wait_until(now, look_at));
            select! {
                recv(bell) -> _ => self.mailbox.rung(self.clock.now()),
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
