//! Stores of a hand-made plan, for tests below the daemon.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by test programs, each of which uses a part"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use secrets_sync::clock::{Stop, SystemClock};
use secrets_sync::failure::ErrorType;
use secrets_sync::plan::{
    Address, Auth, Credential, Daemon, KvVersion, Plan, SessionKey, SessionPlan, Source, StorePlan,
    TrustedRoots,
};
use secrets_sync::secret::SecretString;
use secrets_sync::store::{Fetched, Mode, StoreError, StoreEvent, Stores};
use serde_json::Value;

use crate::support::{self, Endpoint};

/// Stores of one plan with one store, and what they tell.
pub struct Lab {
    pub plan: Plan,
    pub stores: Stores,
    pub events: Receiver<StoreEvent>,
}

pub fn daemon() -> Daemon {
    Daemon {
        watch_config: false,
        log_level: log::LevelFilter::Info,
        log_json: true,
        metrics_addr: std::net::Ipv4Addr::LOCALHOST.into(),
        metrics_port: None,
        status_file: PathBuf::from("/nowhere"),
        breaker_max_requests: 3,
        breaker_interval: Duration::from_secs(60),
        breaker_timeout: Duration::from_secs(30),
        initial_backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(5),
        backoff_multiplier: 2.0,
        shutdown_timeout: Duration::from_secs(30),
        sandbox: true,
        sandbox_write_paths: Vec::new(),
        tracing: None,
    }
}

pub fn key(namespace: &str) -> SessionKey {
    SessionKey {
        store: "default".into(),
        credentials: "default".into(),
        namespace: namespace.into(),
    }
}

pub fn text(value: &str) -> Credential {
    Credential::Inline(SecretString::new(value.into()))
}

pub fn approle(role_id: &str, secret_id: Credential) -> Auth {
    Auth::AppRole {
        mount: "approle".into(),
        role_id: text(role_id),
        secret_id: Some(secret_id),
        wrapping_path: None,
    }
}

impl Lab {
    pub fn new(endpoint: &Endpoint, auth: Auth) -> Self {
        Self::with(endpoint, auth, Mode::Use, |_| {})
    }

    pub fn with(
        endpoint: &Endpoint,
        auth: Auth,
        mode: Mode,
        change: impl FnOnce(&mut Plan),
    ) -> Self {
        let address = match endpoint {
            Endpoint::Http(port) | Endpoint::Https(port, _) => Address::Http {
                tls: matches!(endpoint, Endpoint::Https(..)),
                host: "127.0.0.1".into(),
                port: *port,
                prefix: String::new(),
            },
            Endpoint::Unix(path) => Address::Unix(path.clone()),
        };
        let ca_cert = match endpoint {
            Endpoint::Https(_, ca) => Some(ca.clone()),
            _ => None,
        };
        let store = StorePlan {
            name: "default".into(),
            address,
            tls: TrustedRoots {
                ca_cert,
                ..TrustedRoots::default()
            },
            proxy: None,
            timeout: Duration::from_secs(5),
            max_concurrent: 8,
            max_response_bytes: 1 << 20,
        };
        let mut plan = Plan {
            file: PathBuf::from("/config.yaml"),
            stores: vec![Arc::new(store)],
            sessions: vec![Arc::new(SessionPlan {
                key: key(""),
                auth,
                client: None,
            })],
            secrets: Vec::new(),
            notices: Vec::new(),
            hidden: secrets_sync::config::Hidden::default(),
        };
        change(&mut plan);
        let (sender, events) = unbounded();
        let mut stores = Stores::new(Arc::new(daemon()), mode, Arc::new(SystemClock), sender);
        stores.apply(&plan);
        Self {
            plan,
            stores,
            events,
        }
    }

    pub fn fetch(&self, source: &Source) -> Result<Fetched, StoreError> {
        let store = self.stores.get("default").unwrap();
        store.fetch(source, &Stop::never())
    }

    /// The fields, or the error's class and text.
    pub fn read(&self, source: &Source) -> Result<Value, (ErrorType, String)> {
        self.fetch(source)
            .map(|fetched| Value::Object(fetched.fields.expose().clone()))
            .map_err(|error| (error.failure.error_type, error.to_string()))
    }

    pub fn logins(&self) -> usize {
        let told = self.events.try_iter();
        told.filter(|event| matches!(event, StoreEvent::LoggedIn { .. }))
            .count()
    }

    pub fn notices(&self) -> Vec<String> {
        let told = self.events.try_iter();
        told.filter_map(|event| match event {
            StoreEvent::SessionNotice { message, .. } => Some(message),
            _ => None,
        })
        .collect()
    }
}

pub fn source(mount: &str, key_path: &str) -> Source {
    Source {
        alias: None,
        session: key(""),
        namespace: String::new(),
        mount: mount.into(),
        key: key_path.into(),
        kv: KvVersion::V2,
        version: None,
        metadata: false,
    }
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + support::SOON;
    while !done() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
