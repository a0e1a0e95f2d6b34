//! One mount of the shared server behind a counting proxy, and configurations that read it: what
//! tests of the running daemon have in common.

#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(
    unreachable_pub,
    reason = "`pub` marks what is for the tests; a test program exports nothing"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::fs;

use serde_json::json;

use crate::support::{CountingProxy, Daemon, OpenBao, SOON, Shared};

/// The mount, and the proxy before its server.
pub struct Site {
    pub bao: Shared,
    pub mount: String,
    pub proxy: CountingProxy,
}

impl Site {
    pub fn new() -> Self {
        let bao = OpenBao::shared();
        let mount = bao.fresh_kv(2);
        let proxy = CountingProxy::start(bao.endpoint());
        Self { bao, mount, proxy }
    }

    /// With these secrets, each with its own name as the value of its field `x`.
    pub fn with(keys: &[&str]) -> Self {
        let site = Self::new();
        for key in keys {
            site.put(key, key);
        }
        site
    }

    /// Writes the field `x` of a secret.
    pub fn put(&self, key: &str, value: &str) -> u64 {
        self.bao.kv2_put(&self.mount, key, &json!({ "x": value }))
    }

    /// The default store, without the line `secrets:`.
    pub fn store(&self) -> String {
        store(&self.proxy.address(), &self.mount)
    }

    /// A configuration of the default store and these secrets.
    pub fn config(&self, secrets: &[String]) -> String {
        format!("{}{}", self.store(), list(secrets))
    }

    /// How often a secret was read.
    pub fn reads(&self, key: &str) -> usize {
        let path = format!("{}/data/{key}", self.mount);
        self.proxy.count(|request| request.is("GET", &path))
    }
}

/// A default store at an address, with the root token.
pub fn store(address: &str, mount: &str) -> String {
    format!(
        "secretStore: {{ address: '{address}', authMethod: token, token: root, mountPath: {mount} }}\n"
    )
}

/// The secrets of a configuration.
pub fn list(secrets: &[String]) -> String {
    format!("secrets:\n{}", secrets.concat())
}

/// A secret `name` that reads the key `name` into the file `name`, once an hour.
pub fn hourly(name: &str) -> String {
    secret(name, "refreshInterval: 1h")
}

/// A secret `name` that reads the key `name` into the file `name`; `more`: further keys, such as
/// `refreshInterval: 1s`.
pub fn secret(name: &str, more: &str) -> String {
    format!(
        "  - {{ name: {name}, key: {name}, files: [{{ path: '@DIR@/{name}', field: x }}], {more} }}\n"
    )
}

/// Writes the daemon's configuration anew, in place.
pub fn rewrite(daemon: &Daemon, config: &str) {
    fs::write(daemon.path("config.yaml"), here(daemon, config)).unwrap();
}

/// The text with the daemon's directory in it.
pub fn here(daemon: &Daemon, text: &str) -> String {
    text.replace("@DIR@", daemon.dir().to_str().unwrap())
}

/// Waits until the file of each of these secrets holds the secret's name, and all are in sync.
#[track_caller]
pub fn settled(daemon: &Daemon, names: &[&str]) {
    for name in names {
        daemon.wait_file(name, name, SOON);
    }
    daemon.wait_status(SOON, |status| status["synced_count"] == names.len());
}
