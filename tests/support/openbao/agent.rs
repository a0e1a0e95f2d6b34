//! `bao proxy`: stands before a server and adds a token to what comes without one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use tempfile::TempDir;

use super::binary;
use crate::support::http::Endpoint;
use crate::support::{SOON, poll, process};

/// A running proxy on a unix socket; gone when this is dropped.
pub struct Agent {
    child: Child,
    home: TempDir,
}

impl Agent {
    /// In front of the server at `address`; what comes without a token goes on with this one.
    ///
    /// # Panics
    /// When it does not come up, with what it printed.
    #[track_caller]
    #[must_use]
    pub fn start(address: &str, token: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        fs::write(path("token"), token).unwrap();
        let shown = home.path().display();
        let config = format!(
            "vault {{ address = \"{address}\" }}\n\
             auto_auth {{ method \"token_file\" {{ config = {{ token_file_path = \"{shown}/token\" }} }} }}\n\
             api_proxy {{ use_auto_auth_token = true }}\n\
             listener \"unix\" {{\n  address = \"{shown}/agent.sock\"\n  tls_disable = true\n}}\n"
        );
        fs::write(path("agent.hcl"), config).unwrap();
        let log = File::create(path("log")).unwrap();
        let mut command = process::command(&binary::find());
        command
            .args([Path::new("proxy"), Path::new("-config"), &path("agent.hcl")])
            .env_clear()
            .env("HOME", home.path())
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = process::spawn(command).expect("start bao proxy");
        let agent = Self { child, home };
        let endpoint = Endpoint::Unix(agent.socket());
        let has_token = || {
            let answer = endpoint.exchange("GET", "/v1/auth/token/lookup-self", &[], b"");
            answer
                .is_ok_and(|answer| answer.status == 200)
                .then_some(())
        };
        let said = || fs::read_to_string(path_of(&agent, "log")).unwrap_or_default();
        assert!(
            poll(SOON, has_token).is_some(),
            "bao proxy said:\n{}",
            said()
        );
        agent
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        path_of(self, "agent.sock")
    }
}

fn path_of(agent: &Agent, name: &str) -> PathBuf {
    agent.home.path().join(name)
}

impl Drop for Agent {
    fn drop(&mut self) {
        process::kill(&mut self.child);
    }
}
