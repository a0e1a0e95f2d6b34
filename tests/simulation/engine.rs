//! The daemon's inside: started, told, looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, unbounded};
use secrets_sync::clock::Clock;
use secrets_sync::config::{Environment, daemon_settings};
use secrets_sync::observe::StatusDocument;
use secrets_sync::observe::status_file::{LockPolicy, StatusFile, StatusLock};
use secrets_sync::plan::{self, Purpose};
use secrets_sync::sync::{Outlook, Signal, Start, Supervisor, Watch};

use super::clock::{MAIN_LOOP, Sim};
use crate::support::{Endpoint, ports};

/// A running engine.
pub struct Engine {
    sim: Sim,
    config: PathBuf,
    signals: Sender<Signal>,
    main: Option<JoinHandle<()>>,
    port: ports::Port,
}

impl Engine {
    /// Takes up `config`, written to `directory`, and starts.
    pub fn start(sim: &Sim, directory: &Path, config: &str, environment: &[(&str, &str)]) -> Self {
        let file = directory.join("config.yaml");
        std::fs::write(&file, config).unwrap();
        let status = directory.join("status.json");
        let environment = environment
            .iter()
            .fold(Environment::default(), |all, (name, value)| {
                all.with(name, value)
            })
            .with("STATUS_FILE", status.to_str().unwrap());
        let daemon = Arc::new(daemon_settings(&environment).unwrap());
        let clock = sim.clock();
        let (changes, changed) = unbounded();
        let watch = Watch::start(Arc::clone(&clock), changes).unwrap();
        let plan = plan::load(&file, &environment, Purpose::Run)
            .unwrap_or_else(|problems| panic!("{problems}"));
        let mut lock = StatusLock::new(&status);
        lock.try_acquire();
        let port = ports::reserve();
        let outlook = Outlook::new(
            Arc::clone(&clock),
            Some(([127, 0, 0, 1], port.number()).into()),
            StatusFile::new(status),
            lock,
            LockPolicy::new(clock.now()),
            &environment,
        );
        let (signals, received) = unbounded();
        let start = Start {
            file: file.clone(),
            environment,
            daemon,
            plan,
            sandbox: None,
            clock,
            signals: received,
            watch,
            changed,
            outlook,
        };
        let main = std::thread::Builder::new()
            .name(MAIN_LOOP.into())
            .spawn(move || Supervisor::new(start).run())
            .unwrap();
        sim.settle();
        Self {
            sim: sim.clone(),
            config: file,
            signals,
            main: Some(main),
            port,
        }
    }

    /// As a signal would.
    pub fn signal(&self, signal: Signal) {
        self.signals.send(signal).unwrap();
        self.sim.settle();
    }

    /// Another configuration, and SIGHUP.
    pub fn reload(&self, config: &str) {
        self.configure(config);
        self.signal(Signal::Reload);
    }

    /// Another configuration, which nobody is told of.
    pub fn configure(&self, config: &str) {
        std::fs::write(&self.config, config).unwrap();
    }

    /// Whether its main loop lives.
    pub fn lives(&self) -> bool {
        self.main.as_ref().is_some_and(|main| !main.is_finished())
    }

    /// `GET /status`.
    pub fn status(&self) -> StatusDocument {
        serde_json::from_value(self.endpoint().get("/status").json()).unwrap()
    }

    /// `GET /ready`: the status, which says it too.
    pub fn ready(&self) -> bool {
        match self.endpoint().get("/ready").status {
            200 => true,
            503 => false,
            other => panic!("/ready answers {other}"),
        }
    }

    /// `GET /metrics`.
    pub fn metrics(&self) -> String {
        self.endpoint().get("/metrics").text()
    }

    /// The value of a series, given as it is written.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let metrics = self.metrics();
        let line = metrics.lines().find(|line| {
            line.strip_prefix(series)
                .is_some_and(|rest| rest.starts_with(' '))
        })?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// A clean exit, and everything that it ends.
    pub fn stop(mut self) {
        self.signal(Signal::Stop);
        let main = self.main.take().unwrap();
        let ended = self
            .sim
            .run_until(Duration::from_secs(60), || main.is_finished());
        assert!(ended, "it does not stop");
        main.join().unwrap();
        self.sim.settle();
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::Http(self.port.number())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind that would disturb the next.
        if let Some(main) = self.main.take() {
            let _ = self.signals.send(Signal::Stop);
            for _ in 0..600 {
                if main.is_finished() {
                    break;
                }
                self.sim.settle();
                let end = self.sim.now() + Duration::from_secs(1);
                self.sim.step(end);
            }
        }
    }
}

/// What this process holds of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pub threads: usize,
    pub descriptors: usize,
    /// Resident, in KiB.
    pub memory: usize,
}

impl Process {
    pub fn now() -> Self {
        let count = |path| std::fs::read_dir(path).unwrap().count();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let (_, rest) = status.split_once("VmRSS:").unwrap();
        let memory = rest.split_whitespace().next().unwrap().parse().unwrap();
        Self {
            threads: count("/proc/self/task"),
            descriptors: count("/proc/self/fd"),
            memory,
        }
    }
}
