//! Where the supervisor shows the state: the board behind the HTTP server, the status file with
//! its lock, the service manager. None of them can fail the daemon: what does not work is a notice
//! in log and status, and is tried again.

use std::net::SocketAddr;
use std::path::{Path, absolute};
use std::sync::Arc;
use std::time::Duration;

use log::{Level, info};

use crate::clock::{Clock, Tick};
use crate::config::Environment;
use crate::observe::details::{Attempt, DaemonFacts, Details, SecretFacts};
use crate::observe::http::{Board, Server};
use crate::observe::quiet::Quiet;
use crate::observe::status_file::{BETWEEN, LockPolicy, LockStep, StatusFile, StatusLock};
use crate::observe::systemd::{self, Notifier, Protocol, Watchdog};
use crate::observe::{Metrics, StatusDocument};

/// A port that could not be bound is tried again after this time.
const BIND_AGAIN: Duration = Duration::from_secs(30);

/// What the outlook is made of.
pub struct Outlook {
    clock: Arc<dyn Clock>,
    board: Arc<Board>,
    address: Option<SocketAddr>,
    server: Option<Server>,
    bind_at: Tick,
    file: StatusFile,
    details: Details,
    lock: StatusLock,
    policy: LockPolicy,
    lock_at: Tick,
    notifier: Notifier,
    protocol: Protocol,
    /// When systemd is told at the latest that the daemon is ready.
    ready_at: Option<Tick>,
    watchdog: Watchdog,
    shown: Arc<StatusDocument>,
    /// What does not work now, by what it is about.
    notices: Vec<(&'static str, String)>,
    quiet: Quiet<&'static str>,
}

impl Outlook {
    /// `address`: where HTTP is served, if anywhere. The lock may be held already, as the policy
    /// says.
    #[must_use]
    pub fn new(
        clock: Arc<dyn Clock>,
        address: Option<SocketAddr>,
        file: StatusFile,
        lock: StatusLock,
        policy: LockPolicy,
        environment: &Environment,
    ) -> Self {
        Self {
            board: Arc::new(Board::new(Arc::clone(&clock))),
            clock,
            address,
            server: None,
            bind_at: Tick::default(),
            details: Details::new(file.path()),
            file,
            lock,
            policy,
            lock_at: Tick::default(),
            notifier: Notifier::new(environment),
            protocol: Protocol::default(),
            ready_at: None,
            watchdog: Watchdog::new(environment, std::process::id()),
            shown: Arc::default(),
            notices: Vec::new(),
            quiet: Quiet::new(),
        }
    }

    /// The series.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        self.board.metrics()
    }

    /// What does not work now.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        self.notices.iter().map(|(_, text)| text.clone()).collect()
    }

    /// Whether what is shown says ready.
    #[must_use]
    pub fn shows_ready(&self) -> bool {
        self.shown.ready
    }

    /// When the main loop has to turn at the latest.
    #[must_use]
    pub fn next_turn(&self) -> Option<Tick> {
        self.watchdog
            .next()
            .into_iter()
            .chain(self.ready_at)
            .min()
            .filter(|_| self.notifier.is_connected())
    }

    /// Once a turn of the main loop; `true` when the notices have changed.
    pub fn turn(&mut self, now: Tick) -> bool {
        let before = self.notices.clone();
        self.board.beat(now);
        self.notifier.flush();
        if self.watchdog.is_due(now) {
            self.notifier.send(Watchdog::BEAT);
        }
        if now >= self.lock_at {
            self.hold_lock(now);
        }
        if now >= self.bind_at {
            self.serve(now);
        }
        self.write_file(now);
        self.write_details(now);
        self.tell_ready(now);
        before != self.notices
    }

    /// Shows a document.
    pub fn show(&mut self, document: StatusDocument, now: Tick) {
        if document.ready && !self.shown.ready {
            info!(target: "sync", secrets = document.secret_count; "ready");
        }
        let line = summary(&document);
        let is_new = line != summary(&self.shown) || self.shown.schema == 0;
        // One for all who show it: of thousands of secrets it has a megabyte.
        let document = Arc::new(document);
        self.board.publish(Arc::clone(&document));
        self.shown = document;
        self.write_file(now);
        if !self.tell_ready(now) && is_new {
            self.notifier.send(&Protocol::status(&line));
        }
    }

    /// The configuration that runs from now on, for `explain`.
    pub fn describe(&mut self, config: &Path, secrets: &[SecretFacts], now: Tick) {
        let daemon = DaemonFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            config: absolute(config)
                .unwrap_or_else(|_| config.to_owned())
                .display()
                .to_string(),
        };
        self.details.describe(&daemon, secrets);
        self.write_details(now);
    }

    /// An attempt of a secret has ended, for `explain`; a calm one can wait.
    pub fn attempt(&mut self, name: &str, attempt: &Attempt, is_calm: bool) {
        self.details.attempt(name, attempt, is_calm);
    }

    /// Tells systemd once that the daemon is ready: when the status file says so too, for whoever
    /// asks it then. A file that cannot be written holds that up no longer than one that may not.
    fn tell_ready(&mut self, now: Tick) -> bool {
        if self.protocol.is_ready() || !self.shown.ready {
            self.ready_at = None;
            return false;
        }
        let at = *self.ready_at.get_or_insert(now + BETWEEN);
        let is_due = self.file.says_ready() || now >= at;
        if is_due {
            self.ready_at = None;
            let line = summary(&self.shown);
            self.notifier.send(&self.protocol.ready(&line));
        }
        is_due
    }

    /// A reload begins.
    pub fn reloading(&mut self) {
        self.notifier
            .send(&self.protocol.reloading(systemd::monotonic()));
    }

    /// A reload has ended, well or not.
    pub fn reloaded(&mut self) {
        self.notifier
            .send(&self.protocol.reloaded(&summary(&self.shown)));
    }

    /// The daemon is about to end.
    pub fn stopping(&mut self) {
        self.notifier.send(&Protocol::stopping("stopping"));
    }

    /// The daemon ends.
    pub fn close(self) {
        drop(self.server);
        self.file.remove();
        self.details.close();
    }

    fn hold_lock(&mut self, now: Tick) {
        let attempt = self.lock.try_acquire();
        match self.policy.step(now, attempt) {
            LockStep::Held(next) => {
                self.lock_at = next;
                self.well("status lock", now);
            }
            LockStep::Wait(next) => self.lock_at = next,
            LockStep::GiveUp => self.lock_at = now + BIND_AGAIN,
            LockStep::RunOn(why, next) => {
                self.lock_at = next;
                let path = self.lock.path().display();
                let text = format!(
                    "the lock of the status file is not held, `isready` fails: `{path}`: {why}"
                );
                self.trouble(Level::Warn, "status lock", text, now);
            }
        }
    }

    fn serve(&mut self, now: Tick) {
        let Some(address) = self
            .address
            .filter(|_| !self.server.as_ref().is_some_and(Server::is_alive))
        else {
            return;
        };
        self.server = None;
        match Server::start(address, Arc::clone(&self.board), Arc::clone(&self.clock)) {
            Ok(server) => {
                info!(target: "http", address = server.address().to_string(); "serving health, status and metrics");
                self.server = Some(server);
                self.well("http", now);
            }
            Err(error) => {
                self.bind_at = now + BIND_AGAIN;
                let text = format!(
                    "cannot serve HTTP on {address}: {error}; tried again every 30 s (`METRICS_PORT`, `METRICS_ADDR`)"
                );
                self.trouble(Level::Error, "http", text, now);
            }
        }
    }

    fn write_file(&mut self, now: Tick) {
        if self.shown.schema == 0 {
            return;
        }
        match self.file.tick(now, &self.shown).error {
            None => self.well("status file", now),
            Some(error) => {
                let path = self.file.path().display();
                let text = format!("cannot write the status file `{path}`: {error}");
                self.trouble(Level::Warn, "status file", text, now);
            }
        }
    }

    fn write_details(&mut self, now: Tick) {
        match self.details.tick(now) {
            Ok(_) => self.well("details file", now),
            Err(error) => {
                let path = self.details.path().display();
                let text = format!("cannot write `{path}`, which `explain` reads: {error}");
                self.trouble(Level::Warn, "details file", text, now);
            }
        }
    }

    fn trouble(&mut self, level: Level, about: &'static str, text: String, now: Tick) {
        if let Some(line) = self.quiet.note(about, &text, now) {
            log::log!(target: "observe", level, repeated = Some(line.repeated).filter(|count| *count > 0); "{text}");
        }
        self.notices.retain(|(known, _)| *known != about);
        self.notices.push((about, text));
    }

    fn well(&mut self, about: &'static str, now: Tick) {
        if self.quiet.clear(&about, now).is_some() {
            info!(target: "observe", "{about}: all is well again");
        }
        self.notices.retain(|(known, _)| *known != about);
    }
}

/// The line that `systemctl status` shows.
fn summary(document: &StatusDocument) -> String {
    let mut line = format!(
        "{} of {} secrets in sync",
        document.synced_count, document.secret_count
    );
    if document.degraded {
        line.push_str(", degraded");
    }
    if document.config.error.is_some() {
        line.push_str("; the last reload was refused");
    }
    line
}
