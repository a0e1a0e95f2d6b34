//! Telling systemd, by `sd_notify(3)`: datagrams to the socket that it names. Sent without waiting:
//! while it is slow to take them, those that matter wait their turn. Without systemd, or when it
//! does not listen, nothing happens.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::clock::Tick;
use crate::config::Environment;
use crate::printable::printable;

/// As many messages wait for a manager that is slow; older ones are dropped.
const WAITING: usize = 16;

/// The socket of `NOTIFY_SOCKET`, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// What the socket did not take yet, in order.
    waiting: VecDeque<String>,
}

impl Notifier {
    /// To the socket that the environment names: a path, or `@name` for an abstract one.
    #[must_use]
    pub fn new(environment: &Environment) -> Self {
        Self {
            to: environment.get_non_empty("NOTIFY_SOCKET").and_then(connect),
            waiting: VecDeque::new(),
        }
    }

    /// Whether somebody may be listening.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.to.is_some()
    }

    /// Sends one message, or keeps it for [`Notifier::flush`].
    pub fn send(&mut self, message: &str) {
        self.flush();
        if !self.waiting.is_empty() {
            // Of these the newest says it all.
            self.waiting.retain(|old| is_a_step(old));
            if self.waiting.len() >= WAITING {
                self.waiting.pop_front();
            }
        }
        self.waiting.push_back(message.to_owned());
        self.flush();
    }

    /// Sends what waits, as far as it is taken.
    pub fn flush(&mut self) {
        let Some((socket, address)) = &self.to else {
            self.waiting.clear();
            return;
        };
        while let Some(message) = self.waiting.front() {
            let sent = socket.send_to_addr(message.as_bytes(), address);
            if sent.is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                return;
            }
            self.waiting.pop_front();
        }
    }
}

/// Whether a message takes the manager's picture of the service one step on: it must not be lost.
fn is_a_step(message: &str) -> bool {
    ["READY=1", "RELOADING=1", "STOPPING=1"]
        .iter()
        .any(|step| message.starts_with(step))
}

fn connect(name: &str) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix('@') {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name).ok()?,
        None if name.starts_with('/') => SocketAddr::from_pathname(name).ok()?,
        None => return None,
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some((socket, address))
}

/// What to send when, so that systemd's picture of the service is right: a pure state.
///
/// Before the first `READY=1` a reload sends only `STATUS=`, since systemd would take
/// `RELOADING=1` as the end of the start; after it, `RELOADING=1` is always followed by a
/// `READY=1`, also when the new configuration was refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Protocol {
    ready: bool,
}

impl Protocol {
    /// The daemon is ready, for the first time.
    #[must_use]
    pub fn ready(&mut self, status: &str) -> String {
        self.ready = true;
        format!("READY=1\n{}", Self::status(status))
    }

    /// Whether that was sent.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// A reload begins. `now` is [`monotonic`].
    #[must_use]
    pub fn reloading(&self, now: Duration) -> String {
        let status = Self::status("reloading the configuration");
        if self.ready {
            format!("RELOADING=1\nMONOTONIC_USEC={}\n{status}", now.as_micros())
        } else {
            status
        }
    }

    /// A reload ended, well or not.
    #[must_use]
    pub fn reloaded(&self, status: &str) -> String {
        let status = Self::status(status);
        if self.ready {
            format!("READY=1\n{status}")
        } else {
            status
        }
    }

    /// A line for `systemctl status`.
    #[must_use]
    pub fn status(status: &str) -> String {
        format!("STATUS={}", printable(status))
    }

    /// The daemon ends.
    #[must_use]
    pub fn stopping(status: &str) -> String {
        format!("STOPPING=1\n{}", Self::status(status))
    }
}

/// `CLOCK_MONOTONIC`, the clock of `MONOTONIC_USEC`.
#[must_use]
pub fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

/// The watchdog that systemd runs over us: beaten at half its time while the main loop turns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watchdog {
    every: Option<Duration>,
    next: Tick,
}

impl Watchdog {
    /// What to send at each beat.
    pub const BEAT: &str = "WATCHDOG=1";

    /// As `WATCHDOG_USEC` says, unless `WATCHDOG_PID` means another process.
    #[must_use]
    pub fn new(environment: &Environment, pid: u32) -> Self {
        let for_us = environment
            .get_non_empty("WATCHDOG_PID")
            .is_none_or(|text| text.parse() == Ok(pid));
        Self {
            every: environment
                .get_non_empty("WATCHDOG_USEC")
                .and_then(|text| text.parse().ok())
                .filter(|micros| *micros > 0 && for_us)
                .map(|micros| Duration::from_micros(micros) / 2),
            next: Tick::default(),
        }
    }

    /// Whether a beat is due; the next one is counted from now on.
    pub fn is_due(&mut self, now: Tick) -> bool {
        match self.every {
            Some(every) if now >= self.next => {
                self.next = now + every;
                true
            }
            _ => false,
        }
    }

    /// When the next beat is due, where there is a watchdog.
    #[must_use]
    pub fn next(&self) -> Option<Tick> {
        self.every.map(|_| self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    fn notifier(name: &str) -> Notifier {
        Notifier::new(&Environment::from_iter([("NOTIFY_SOCKET", name)]))
    }

    #[test]
    fn a_socket_at_a_path_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        notifier(path.to_str().unwrap()).send("READY=1");
        assert_eq!(received(&socket), "READY=1");
    }

    #[test]
    fn an_abstract_socket_is_told() {
        let name = format!("secrets-sync-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        notifier(&format!("@{name}")).send("STOPPING=1");
        assert_eq!(received(&socket), "STOPPING=1");
    }

    #[test]
    fn nobody_listening_is_no_matter_and_never_a_wait() {
        Notifier::new(&Environment::default()).send("READY=1");
        notifier("/nonexistent/notify").send("READY=1");
        assert!(!notifier("vsock:2:1234").is_connected());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let _full = UnixDatagram::bind(&path).unwrap();
        let mut notifier = notifier(path.to_str().unwrap());
        for _ in 0..10_000 {
            notifier.send("WATCHDOG=1");
        }
        assert_eq!(notifier.waiting.len(), 1);
    }

    #[test]
    fn what_matters_is_kept_for_a_manager_that_is_slow() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut notifier = notifier(path.to_str().unwrap());
        while notifier.waiting.is_empty() {
            notifier.send("WATCHDOG=1");
        }
        for message in ["STATUS=1", "READY=1", "STATUS=2", "RELOADING=1", "STATUS=3"] {
            notifier.send(message);
        }
        assert_eq!(notifier.waiting, ["READY=1", "RELOADING=1", "STATUS=3"]);
        let mut heard = Vec::new();
        while heard.last().is_none_or(|last| last != "STATUS=3") {
            heard.push(received(&socket));
            notifier.flush();
        }
        heard.retain(|message| message != "WATCHDOG=1");
        assert_eq!(heard, ["READY=1", "RELOADING=1", "STATUS=3"]);
        for _ in 0..1_000 {
            notifier.send("RELOADING=1");
        }
        assert!(notifier.waiting.len() <= WAITING);
    }

    #[test]
    fn a_reload_before_ready_is_only_a_status() {
        let protocol = Protocol::default();
        assert_eq!(
            protocol.reloading(Duration::from_secs(1)),
            "STATUS=reloading the configuration"
        );
        assert_eq!(protocol.reloaded("refused"), "STATUS=refused");
        assert!(!protocol.is_ready());
    }

    #[test]
    fn a_reload_after_ready_always_ends_in_ready() {
        let mut protocol = Protocol::default();
        assert_eq!(
            protocol.ready("3 of 3 secrets in sync"),
            "READY=1\nSTATUS=3 of 3 secrets in sync"
        );
        assert_eq!(
            protocol.reloading(Duration::from_micros(1_234_567)),
            "RELOADING=1\nMONOTONIC_USEC=1234567\nSTATUS=reloading the configuration"
        );
        assert_eq!(
            protocol.reloaded("refused:\nline 3"),
            "READY=1\nSTATUS=refused:\\nline 3"
        );
        assert_eq!(Protocol::stopping("bye"), "STOPPING=1\nSTATUS=bye");
    }

    #[test]
    fn the_watchdog_is_beaten_at_half_its_time() {
        let at = |ms: u64| Tick::from_start(Duration::from_millis(ms));
        let with = |pairs: &[(&str, &str)]| {
            Watchdog::new(&pairs.iter().copied().collect::<Environment>(), 42)
        };
        let mut dog = with(&[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", "42")]);
        assert!(dog.is_due(at(10_000)));
        assert_eq!(dog.next(), Some(at(11_500)));
        assert!(!dog.is_due(at(11_499)));
        assert!(dog.is_due(at(11_600)));
        assert_eq!(dog.next(), Some(at(13_100)));
        for pairs in [
            [("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", "41")],
            [("WATCHDOG_USEC", "0"), ("WATCHDOG_PID", "42")],
            [("WATCHDOG_USEC", "x"), ("WATCHDOG_PID", "")],
        ] {
            assert_eq!(with(&pairs).next(), None);
            assert!(!with(&pairs).is_due(at(10_000)));
        }
    }

    #[test]
    fn the_monotonic_clock_runs() {
        assert!(monotonic() > Duration::ZERO);
    }
}
