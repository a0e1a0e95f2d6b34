//! The real binary as a running daemon.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::http::{Answer, Endpoint};
use super::log::{Log, LogLine, Mark};
use super::setup::Setup;
use super::{SOON, canary, poll, process};

/// A running daemon: killed when this is dropped; its log is shown when the test fails.
pub struct Daemon {
    setup: Setup,
    child: Child,
    log: Log,
    stdout: Log,
    notified: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    /// A daemon to be, with this configuration (`@DIR@` is its own directory).
    #[expect(
        clippy::new_ret_no_self,
        reason = "`new(…)…start()` reads as what it does"
    )]
    pub fn new(config: &str) -> Setup {
        Setup::new(config)
    }

    /// A run without a configuration file: `Daemon::bare().any_stdout().run(&["version"])`.
    pub fn bare() -> Setup {
        Setup::bare()
    }

    #[track_caller]
    pub(super) fn start(setup: Setup) -> Self {
        let notified = Arc::new(Mutex::new(Vec::new()));
        let mut command = setup.command();
        if setup.notify {
            let path = setup.path("notify.sock");
            let socket = UnixDatagram::bind(&path).expect("a notify socket");
            command.env("NOTIFY_SOCKET", &path);
            let heard = Arc::clone(&notified);
            std::thread::spawn(move || listen(&socket, &heard));
        }
        let mut child = process::spawn(command).expect("start secrets-sync");
        let log = Log::follow(child.stderr.take().unwrap());
        let stdout = Log::follow(child.stdout.take().unwrap());
        Self {
            setup,
            child,
            log,
            stdout,
            notified,
        }
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.setup.dir()
    }

    /// A path in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.setup.path(name)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has logged so far.
    pub fn log(&self) -> Vec<LogLine> {
        self.log.lines()
    }

    /// What it has printed so far; a daemon prints nothing.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Now, for [`Daemon::wait_for_log_after`].
    pub fn mark(&self) -> Mark {
        self.log.mark()
    }

    /// The first line, since its start, that `wanted` takes.
    #[track_caller]
    pub fn wait_for_log(&self, within: Duration, wanted: impl Fn(&LogLine) -> bool) -> LogLine {
        self.wait_for_log_after(Mark::default(), within, wanted)
    }

    /// The first line after `mark` that `wanted` takes.
    #[track_caller]
    pub fn wait_for_log_after(
        &self,
        mark: Mark,
        within: Duration,
        wanted: impl Fn(&LogLine) -> bool,
    ) -> LogLine {
        match self.log.wait(mark, within, wanted) {
            Some(line) => line,
            None => panic!("no such line in the log within {within:?}"),
        }
    }

    /// Waits until it says that it is ready, to systemd or in its status file.
    #[track_caller]
    pub fn wait_ready(&self, within: Duration) {
        let ready = || {
            let told = self
                .notifications()
                .iter()
                .any(|m| m.lines().any(|l| l == "READY=1"));
            (told || self.status().is_some_and(|status| status["ready"] == true)).then_some(())
        };
        assert!(poll(within, ready).is_some(), "not ready within {within:?}");
    }

    /// Waits until the file (absolute, or in its directory) has exactly this content.
    #[track_caller]
    pub fn wait_file(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>, within: Duration) {
        let path = self.dir().join(path);
        let content = content.as_ref();
        let same = || {
            fs::read(&path)
                .is_ok_and(|bytes| bytes == content)
                .then_some(())
        };
        if poll(within, same).is_none() {
            let is = fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            let wanted = String::from_utf8_lossy(content);
            panic!("`{}` is {is:?} and not {wanted:?}", path.display());
        }
    }

    /// The status file, when there is one.
    pub fn status(&self) -> Option<Value> {
        let text = fs::read(self.path("status.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Waits until the status file pleases `wanted`. It is written once a second at most.
    #[track_caller]
    pub fn wait_status(&self, within: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        match poll(within, || self.status().filter(|status| wanted(status))) {
            Some(status) => status,
            None => panic!("no such status within {within:?}: {:?}", self.status()),
        }
    }

    /// Waits until the entry of this secret in the status file pleases `wanted`.
    #[track_caller]
    pub fn wait_secret(
        &self,
        name: &str,
        within: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let entry = |status: &Value| {
            let all = status["secrets"].as_array()?;
            all.iter().find(|entry| entry["name"] == name).cloned()
        };
        let status = self.wait_status(within, |status| entry(status).is_some_and(|e| wanted(&e)));
        entry(&status).unwrap()
    }

    /// The messages to systemd so far.
    pub fn notifications(&self) -> Vec<String> {
        self.notified.lock().unwrap().clone()
    }

    /// `GET` from its own HTTP server; needs [`Setup::metrics`].
    #[track_caller]
    pub fn get(&self, target: &str) -> Answer {
        self.endpoint().get(target)
    }

    /// Its own HTTP server; needs [`Setup::metrics`].
    #[track_caller]
    pub fn endpoint(&self) -> Endpoint {
        let port = self
            .setup
            .metrics
            .as_ref()
            .expect("a daemon set up with `.metrics()`");
        Endpoint::Http(port.number())
    }

    /// The sample of a series on `/metrics`, written as `name{label="…"}`.
    #[track_caller]
    pub fn metric(&self, series: &str) -> Option<f64> {
        let page = self.get("/metrics").text();
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|sample| sample.trim().parse().ok())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        process::signal(&self.child, signal);
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn wait_exit(&mut self, within: Duration) -> ExitStatus {
        let Some(status) = process::wait(&mut self.child, within) else {
            panic!("still running after {within:?}");
        };
        self.log.wait_for_end(SOON);
        self.stdout.wait_for_end(SOON);
        status
    }

    /// SIGTERM, then its end; what it wrote stays until this is dropped.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_exit(SOON * 2)
    }

    /// SIGKILL.
    pub fn kill9(&mut self) {
        process::kill(&mut self.child);
    }

    /// Runs another command of the binary in the same directory, environment and configuration,
    /// such as `status`; gives exit code, standard output and standard error.
    #[track_caller]
    pub fn also(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = self.setup.command();
        command.args(args);
        let ended = process::complete(command, SOON).expect("start secrets-sync");
        canary::assert_absent("standard output", &ended.stdout);
        canary::assert_absent("standard error", &ended.stderr);
        let status = ended.status.and_then(|status| status.code());
        (status.unwrap_or(-1), ended.stdout, ended.stderr)
    }

    /// Resident memory now, in KiB.
    pub fn rss_kib(&self) -> u64 {
        self.proc_status("VmRSS:")
    }

    /// Resident memory at its highest, in KiB.
    pub fn peak_rss_kib(&self) -> u64 {
        self.proc_status("VmHWM:")
    }

    /// Threads now.
    pub fn threads(&self) -> u64 {
        self.proc_status("Threads:")
    }

    /// Open file descriptors now. Needs root, or a daemon that may be dumped.
    pub fn fds(&self) -> usize {
        fs::read_dir(self.proc("fd"))
            .expect("its descriptors")
            .count()
    }

    /// Processor time used so far, user and system. The kernel counts it in ticks of 10 ms.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(self.proc("stat")).expect("a running daemon");
        // The name in parentheses may hold spaces; utime and stime are the 12th and 13th after it.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap())
            .sum();
        Duration::from_millis(ticks * 10)
    }

    fn proc_status(&self, key: &str) -> u64 {
        let text = fs::read_to_string(self.proc("status")).expect("a running daemon");
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .expect(key);
        value.split_whitespace().next().unwrap().parse().unwrap()
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.pid()))
    }
}

impl Daemon {
    /// All that a run shows to others, by where: what is asked of a process that lives, now.
    fn shown(&mut self) -> Vec<(String, String)> {
        let mut shown = Vec::new();
        let mut see = |place: &str, bytes: Vec<u8>| {
            shown.push((
                place.to_owned(),
                String::from_utf8_lossy(&bytes).into_owned(),
            ));
        };
        for name in ["environ", "cmdline", "comm"] {
            see(name, fs::read(self.proc(name)).unwrap_or_default());
        }
        let status = self.path("status.json");
        see("the status file", fs::read(status).unwrap_or_default());
        let details = self.path("status.json.details");
        see("the details file", fs::read(details).unwrap_or_default());
        let answers = self.is_running() && !process::stands_still(self.pid());
        if let (true, true) = (answers, self.setup.metrics.is_some()) {
            for target in ["/metrics", "/status", "/", "/ready", "/health"] {
                let page = self.endpoint().glance(target);
                see(target, page.map(|page| page.body).unwrap_or_default());
            }
        }
        see(
            "what systemd hears",
            self.notifications().join("\n").into_bytes(),
        );
        shown
    }

    /// No core was left where one would be.
    fn assert_no_core(&self) {
        let names = fs::read_dir(self.dir()).into_iter().flatten().flatten();
        let core = names
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .find(|name| name == "core" || name.starts_with("core."));
        assert_eq!(core, None, "a core dump in its directory");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            process::kill(&mut self.child);
            self.log.wait_for_end(Duration::from_secs(1));
            eprintln!(
                "--- secrets-sync in {} said:\n{}---",
                self.dir().display(),
                self.log.text()
            );
            return;
        }
        let shown = self.shown();
        process::kill(&mut self.child);
        self.log.wait_for_end(Duration::from_secs(1));
        for (place, text) in shown {
            canary::assert_absent(&place, &text);
        }
        canary::assert_absent("the log", &self.log.text());
        canary::assert_absent("standard output", &self.stdout.text());
        self.assert_no_core();
    }
}

/// Keeps what arrives until the daemon's directory, and the socket in it, is gone.
fn listen(socket: &UnixDatagram, heard: &Mutex<Vec<String>>) {
    let mut buffer = [0; 4096];
    let path = socket
        .local_addr()
        .ok()
        .and_then(|at| at.as_pathname().map(Path::to_owned));
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    while path.as_ref().is_some_and(|path| path.exists()) {
        if let Ok(length) = socket.recv(&mut buffer) {
            heard
                .lock()
                .unwrap()
                .push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
    }
}
