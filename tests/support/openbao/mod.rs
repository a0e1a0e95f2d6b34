//! A real OpenBao: started, stopped, sealed, killed and brought back.

mod agent;
mod api;
mod binary;
mod builder;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

pub use agent::Agent;
pub use api::Api;
pub use builder::Builder;

use super::http::Endpoint;
use super::ports::Port;
use super::{SOON, poll, process};

/// How long a server may take to answer: raft on a busy machine is slow.
const START: Duration = Duration::from_secs(60);

/// A running server, gone when this is dropped; what it printed is shown when the test fails.
/// It is the [`Api`] of its root namespace.
pub struct OpenBao {
    api: Api,
    launch: builder::Launch,
    home: TempDir,
    port: Port,
    ca: Option<PathBuf>,
    socket: Option<PathBuf>,
    unseal_key: Option<String>,
    child: Mutex<Option<Child>>,
}

/// The shared server, as one test sees it.
pub struct Shared(&'static OpenBao);

impl OpenBao {
    /// A development server: in memory, unsealed, root token `root`, KV v2 at `secret/`.
    pub fn dev() -> Builder {
        Builder::new(builder::Storage::Dev)
    }

    /// A server in memory that was initialised and unsealed, and can be sealed. No mounts.
    pub fn sealable() -> Builder {
        Builder::new(builder::Storage::Memory)
    }

    /// A server that keeps its data over [`OpenBao::kill9`] and [`OpenBao::restart`]. No mounts.
    pub fn raft() -> Builder {
        Builder::new(builder::Storage::Raft)
    }

    /// The development server that all tests of this program share. Give each test mounts,
    /// roles and namespaces of its own ([`Api::fresh_kv`], [`super::unique`]); never stop it or
    /// limit it as a whole.
    pub fn shared() -> Shared {
        static SERVER: OnceLock<OpenBao> = OnceLock::new();
        Shared(SERVER.get_or_init(|| {
            builder::clear_left_over();
            Self::dev().shared().start()
        }))
    }

    /// The server program, for those who put it into a container.
    pub fn program() -> PathBuf {
        binary::find()
    }

    /// The authority to trust, where it speaks TLS.
    pub fn ca(&self) -> &Path {
        self.ca.as_deref().expect("a server built with `.tls()`")
    }

    /// Its second address, where it was built with `.unix_socket()`.
    pub fn unix_address(&self) -> String {
        self.unix_endpoint().url()
    }

    /// The same, to talk to.
    pub fn unix_endpoint(&self) -> Endpoint {
        Endpoint::Unix(
            self.socket
                .clone()
                .expect("a server built with `.unix_socket()`"),
        )
    }

    /// The status of its health page: 200 active, 503 sealed; `None` when it does not answer.
    pub fn health(&self) -> Option<u16> {
        let answer = self
            .api
            .endpoint()
            .exchange("GET", "/v1/sys/health", &[], b"");
        answer.ok().map(|answer| answer.status)
    }

    /// The one key that unseals it, where it can be sealed.
    pub fn unseal_key(&self) -> &str {
        self.unseal_key
            .as_deref()
            .expect("a server that can be sealed")
    }

    /// SIGHUP: it reads its certificates again.
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Seals it.
    #[track_caller]
    pub fn seal(&self) {
        self.call("POST", "sys/seal", &json!({}));
        self.await_health(&[503]).unwrap();
    }

    /// Unseals it and waits until it is active.
    #[track_caller]
    pub fn unseal(&self) {
        let key = self.unseal_key();
        let (status, answer) = self.request("POST", "sys/unseal", "", "", &json!({ "key": key }));
        assert_eq!(status, 200, "unseal: {answer}");
        self.await_health(&[200]).unwrap();
    }

    /// SIGSTOP: connections are accepted by the kernel, and nothing answers. Returns when the last
    /// of its threads stands still.
    #[track_caller]
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        let pid = self.child.lock().unwrap().as_ref().map(Child::id);
        let still = || process::stands_still(pid?).then_some(());
        poll(SOON, still).expect("a server that stops at SIGSTOP");
    }

    /// While it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.lock().unwrap().as_ref().map(Child::id)
    }

    /// SIGCONT.
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL; returns when it is gone and its port refuses connections.
    pub fn kill9(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            process::kill(&mut child);
        }
    }

    /// Starts it again after [`OpenBao::kill9`], at the same address, unsealed and active. A raft
    /// server has its data; a server in memory is new: a development server starts as it first did,
    /// with another authority where it speaks TLS, and a sealable one would have to be initialised.
    #[track_caller]
    pub fn restart(&self) {
        if self.start_again() == 503 {
            self.unseal();
        }
    }

    /// The same, sealed as a server is that has just been started.
    #[track_caller]
    pub fn restart_sealed(&self) {
        assert_eq!(self.start_again(), 503, "a server that comes back sealed");
    }

    #[track_caller]
    fn start_again(&self) -> u16 {
        self.kill9();
        *self.child.lock().unwrap() = Some(self.launch.spawn());
        self.await_health(&[200, 501, 503]).unwrap()
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.launch.log).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.lock().unwrap();
        process::signal(child.as_ref().expect("a running server"), signal);
    }

    /// Initialises a server that is not a development one, unseals it, keeps its keys.
    fn initialise(&mut self) {
        let body = json!({ "secret_shares": 1, "secret_threshold": 1 });
        let (status, answer) = self.request("POST", "sys/init", "", "", &body);
        assert_eq!(status, 200, "initialise: {answer}");
        let word = |value: &Value| {
            value
                .as_str()
                .expect("keys of an initialised server")
                .to_owned()
        };
        self.unseal_key = Some(word(&answer["keys_base64"][0]));
        self.api = Api::new(self.api.endpoint().clone(), word(&answer["root_token"]));
        self.unseal();
    }

    /// Waits for one of these statuses; an error says why it will not come.
    fn await_health(&self, wanted: &[u16]) -> Result<u16, String> {
        let end = Instant::now() + START;
        let mut pause = Duration::from_millis(5);
        loop {
            let health = self.health();
            if let Some(status) = health.filter(|status| wanted.contains(status)) {
                return Ok(status);
            }
            if let Some(child) = self.child.lock().unwrap().as_mut()
                && let Some(status) = child.try_wait().unwrap()
            {
                return Err(format!("bao ended ({status}):\n{}", self.log()));
            }
            if Instant::now() >= end {
                return Err(format!(
                    "bao's health is {health:?}, not {wanted:?}:\n{}",
                    self.log()
                ));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    fn show_log(&self) {
        let log = self.log();
        let from = log.lines().count().saturating_sub(60);
        let tail: Vec<_> = log.lines().skip(from).collect();
        eprintln!(
            "--- bao at {} printed last:\n{}\n---",
            self.address(),
            tail.join("\n")
        );
    }
}

impl Deref for OpenBao {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            self.show_log();
        }
    }
}

impl Deref for Shared {
    type Target = OpenBao;

    fn deref(&self) -> &OpenBao {
        self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.show_log();
        }
    }
}
