//! How a server is started: its storage, listeners, files and command line.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Mutex;

use tempfile::TempDir;

use super::{Api, OpenBao, binary};
use crate::support::certs::Certs;
use crate::support::http::Endpoint;
use crate::support::{ports, process};

/// Where the server keeps its data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    Dev,
    Memory,
    Raft,
}

/// A server that is not started yet: `OpenBao::dev().tls().start()`.
pub struct Builder {
    storage: Storage,
    tls: bool,
    unix: bool,
    shared: bool,
    config: String,
}

/// A command line that can be run again.
pub(super) struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    home: PathBuf,
    pub(super) log: PathBuf,
}

impl Builder {
    pub(super) fn new(storage: Storage) -> Self {
        Self {
            storage,
            tls: false,
            unix: false,
            shared: false,
            config: String::new(),
        }
    }

    /// HTTPS instead of HTTP; trust [`OpenBao::ca`]. Client certificates are asked for, not
    /// demanded.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Listens on a unix socket as well.
    #[must_use]
    pub fn unix_socket(mut self) -> Self {
        self.unix = true;
        self
    }

    /// Further configuration, such as an `audit "file" …` block.
    #[must_use]
    pub fn config(mut self, hcl: &str) -> Self {
        self.config.push_str(hcl);
        self.config.push('\n');
        self
    }

    pub(super) fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// Starts it and waits until it is active.
    ///
    /// # Panics
    /// When it does not come up, with what it printed.
    #[must_use]
    pub fn start(self) -> OpenBao {
        // The ports were free a moment ago; a stranger may take one before the server does.
        for _ in 0..5 {
            match self.attempt() {
                Ok(server) => return server,
                Err(why) if why.contains("address already in use") => {}
                Err(why) => panic!("{why}"),
            }
        }
        panic!("five times a port was taken before bao had it");
    }

    fn attempt(&self) -> Result<OpenBao, String> {
        let home = if self.shared {
            let prefix = format!("{LEFT_OVER}{}-", std::process::id());
            tempfile::Builder::new().prefix(&prefix).tempdir()
        } else {
            tempfile::tempdir()
        };
        let home = home.expect("a home for bao");
        let port = ports::reserve();
        let ca = self.tls.then(|| self.make_trust(home.path()));
        let socket = self.unix.then(|| home.path().join("bao.sock"));
        let endpoint = match &ca {
            Some(ca) => Endpoint::Https(port.number(), ca.clone()),
            None => Endpoint::Http(port.number()),
        };
        let launch = self.launch(home.path(), port.number(), &endpoint.url());
        let child = launch.spawn();
        let mut server = OpenBao {
            api: Api::new(endpoint, "root".to_owned()),
            launch,
            home,
            port,
            ca,
            socket,
            unseal_key: None,
            child: Mutex::new(Some(child)),
        };
        if server.await_health(&[200, 501])? == 501 {
            server.initialise();
        }
        Ok(server)
    }

    /// Where the certificates will be; a development server makes its own.
    fn make_trust(&self, home: &Path) -> PathBuf {
        let dir = home.join("tls");
        fs::create_dir(&dir).unwrap();
        let ca = dir.join("vault-ca.pem");
        if self.storage != Storage::Dev {
            let certs = Certs::new();
            let (certificate, key) = certs.server("bao", "DNS:localhost,IP:127.0.0.1");
            fs::copy(certs.ca(), &ca).unwrap();
            fs::copy(certificate, dir.join("vault-cert.pem")).unwrap();
            fs::copy(key, dir.join("vault-key.pem")).unwrap();
        }
        ca
    }

    fn launch(&self, home: &Path, port: u16, url: &str) -> Launch {
        let shown = home.display();
        let mut arguments = vec!["server".to_owned()];
        let mut config = self.config.clone();
        if self.unix {
            config.push_str(&format!(
                "listener \"unix\" {{ address = \"{shown}/bao.sock\" }}\n"
            ));
        }
        if self.storage == Storage::Dev {
            arguments.extend([
                "-dev".to_owned(),
                format!("-dev-listen-address=127.0.0.1:{port}"),
                "-dev-root-token-id=root".to_owned(),
                "-dev-no-store-token".to_owned(),
            ]);
            if self.tls {
                arguments.push("-dev-tls".to_owned());
                arguments.push(format!("-dev-tls-cert-dir={shown}/tls"));
            }
        } else {
            config.push_str(&self.server_config(home, port, url));
        }
        if !config.is_empty() {
            let file = home.join("bao.hcl");
            fs::write(&file, config).unwrap();
            arguments.push(format!("-config={}", file.display()));
        }
        Launch {
            program: binary::find(),
            arguments,
            home: home.to_owned(),
            log: home.join("bao.log"),
        }
    }

    fn server_config(&self, home: &Path, port: u16, url: &str) -> String {
        let shown = home.display();
        let cluster = port + 1;
        let storage = if self.storage == Storage::Raft {
            fs::create_dir_all(home.join("raft")).unwrap();
            // Without the multiplier an election takes eight seconds.
            format!(
                "storage \"raft\" {{\n  path = \"{shown}/raft\"\n  node_id = \"n1\"\n  \
                 performance_multiplier = 1\n}}\n"
            )
        } else {
            "storage \"inmem\" {}\n".to_owned()
        };
        let tls = if self.tls {
            format!(
                "  tls_cert_file = \"{shown}/tls/vault-cert.pem\"\n  \
                 tls_key_file = \"{shown}/tls/vault-key.pem\"\n"
            )
        } else {
            "  tls_disable = true\n".to_owned()
        };
        format!(
            "{storage}listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  \
             cluster_address = \"127.0.0.1:{cluster}\"\n{tls}}}\n\
             api_addr = \"{url}\"\ncluster_addr = \"https://127.0.0.1:{cluster}\"\n"
        )
    }
}

impl Launch {
    pub(super) fn spawn(&self) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let mut command = process::command(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .env("HOME", &self.home)
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        process::spawn(command).unwrap_or_else(|error| {
            panic!("start `{}`: {error}", self.program.display());
        })
    }
}

const LEFT_OVER: &str = "secrets-sync-shared-bao-";

/// Statics are not dropped: the home of a shared server stays behind when its program ends, for
/// the next one to remove.
pub(super) fn clear_left_over() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(LEFT_OVER));
        let Some((pid, _)) = owner.and_then(|rest| rest.split_once('-')) else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
