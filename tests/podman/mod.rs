//! Podman with storage, volumes and networks of its own, and in it the image of the static binary
//! and one with tools: what tests of images, Compose files and guides have in common.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test program uses its own part"
)]
#![allow(
    unreachable_pub,
    reason = "`pub` marks what is for the tests; a test program exports nothing"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and what it prints explains the failure"
)]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde_json::Value;

#[allow(unused_imports, reason = "each test program uses its own part")]
pub use crate::support::commands::{Said, commands, root, run};
use crate::support::poll;

/// How long a container may take for something: the machine may be busy with others.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The image that is tested.
pub const IMAGE: &str = "localhost/secrets-sync";

/// A container with nothing that it does not need.
pub const CONFINED: [&str; 3] = [
    "--read-only",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
];

const LEFT_OVER: &str = "secrets-sync-podman-";

/// What containers/podman of machines without cgroup delegation and without the right to raise
/// limits need.
const NARROW: &str = "runtime = \"runc\"\ncgroup_manager = \"cgroupfs\"\n";
const NARROW_LIMITS: &str = "default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";

/// A program that `make checkers` installs.
pub fn checker(name: &str) -> Option<PathBuf> {
    let file = root().join(".tools/venv/bin").join(name);
    file.is_file().then_some(file)
}

/// A podman; its containers, images, volumes and networks are gone when the last test drops it.
pub struct Podman {
    dir: PathBuf,
}

impl Podman {
    /// With [`IMAGE`] in it; an error says why there can be none here.
    pub fn shared() -> Result<Arc<Self>, String> {
        static SHARED: Mutex<(Weak<Podman>, Option<String>)> = Mutex::new((Weak::new(), None));
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = &shared.1 {
            return Err(why.clone());
        }
        if let Some(podman) = shared.0.upgrade() {
            return Ok(podman);
        }
        match Self::new() {
            Ok(podman) => {
                let podman = Arc::new(podman);
                shared.0 = Arc::downgrade(&podman);
                Ok(podman)
            }
            Err(why) => {
                shared.1 = Some(why.clone());
                Err(why)
            }
        }
    }

    fn new() -> Result<Self, String> {
        clear_left_over();
        if !rustix::process::getuid().is_root() {
            return Err("needs root".to_owned());
        }
        if in_path("podman").is_none() {
            return Err("needs podman".to_owned());
        }
        let binary = root().join("target/static/secrets-sync");
        if !binary.is_file() {
            return Err("needs target/static/secrets-sync: run `make static`".to_owned());
        }
        let prefix = format!("{LEFT_OVER}{}-", std::process::id());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let podman = Self { dir: dir.keep() };
        write_settings(&podman.dir, false);
        podman.build_image();
        let probe = || podman.podman(&["run", "--rm", "--network=none", IMAGE, "version"]);
        if probe().code != 0 {
            write_settings(&podman.dir, true);
            let said = probe();
            if said.code != 0 {
                return Err(format!("podman cannot run a container: {}", said.stderr));
            }
        }
        Ok(podman)
    }

    fn build_image(&self) {
        let mut make = self.command("make");
        make.args(["--no-print-directory", "image-of-static"])
            .args(["CONTAINER=podman", &format!("IMAGE={IMAGE}")])
            .current_dir(root());
        run(make).expect_success("make image-of-static");
    }

    /// An image that has a shell, `bao`, and `vault`, which is `bao` as well.
    pub fn build_tools(&self, bao: &Path) -> Result<&'static str, String> {
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .into_iter()
            .find(|file| is_static(file))
            .ok_or("needs a static busybox (Debian: busybox-static)")?;
        static ONCE: Mutex<()> = Mutex::new(());
        let _once = ONCE.lock().unwrap_or_else(PoisonError::into_inner);
        let context = self.dir.join("tools");
        if context.is_dir() {
            return Ok("localhost/tools");
        }
        let bin = context.join("bin");
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(context.join("tmp")).unwrap();
        fs::set_permissions(context.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::copy(busybox, bin.join("busybox")).unwrap();
        for applet in [
            "sh", "cat", "ls", "sleep", "stat", "mkdir", "chmod", "cp", "ln", "rm",
        ] {
            symlink("busybox", bin.join(applet)).unwrap();
        }
        if fs::hard_link(bao, bin.join("bao")).is_err() {
            fs::copy(bao, bin.join("bao")).unwrap();
        }
        symlink("bao", bin.join("vault")).unwrap();
        let file = self.dir.join("tools.Containerfile");
        fs::write(&file, "FROM scratch\nCOPY . /\nENV PATH=/bin\n").unwrap();
        let (file, context) = (file.to_str().unwrap(), context.to_str().unwrap());
        self.podman(&["build", "-q", "-f", file, "-t", "localhost/tools", context])
            .expect_success("an image with tools");
        Ok("localhost/tools")
    }

    /// A directory for the files of a test, that containers of any user may walk.
    pub fn dir(&self, name: &str) -> PathBuf {
        let dir = self.dir.join("tests").join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Its containers.conf.
    pub fn settings(&self) -> PathBuf {
        self.dir.join("containers.conf")
    }

    /// Any program that is to use this podman.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", "150"])
            .arg(program)
            .env("CONTAINERS_CONF", self.dir.join("containers.conf"))
            .env("PATH", path(&self.dir))
            .stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("VAULT_") || name.starts_with("BAO_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// `podman ARGS`.
    pub fn podman(&self, args: &[&str]) -> Said {
        let mut command = self.command("podman");
        command.args(args);
        run(command)
    }

    /// `podman ARGS`, which must succeed; gives what it printed, trimmed.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let said = self.podman(args);
        said.expect_success(&format!("podman {}", args.join(" ")));
        said.stdout.trim().to_owned()
    }

    /// Starts a container in the background; it is removed when this is dropped.
    #[track_caller]
    pub fn start(self: &Arc<Self>, name: &str, args: &[&str]) -> Container {
        let mut all = vec!["run", "--detach", "--name", name];
        all.extend(args);
        self.ok(&all);
        Container {
            podman: Arc::clone(self),
            name: name.to_owned(),
        }
    }

    /// What `podman inspect` knows of a container or an image.
    #[track_caller]
    pub fn inspect(&self, name: &str) -> Value {
        let text = self.ok(&["inspect", name]);
        serde_json::from_str::<Value>(&text).expect("JSON of podman inspect")[0].clone()
    }

    /// Whether its health check succeeds now; with `systemd` podman would ask by itself.
    pub fn is_healthy(&self, name: &str) -> bool {
        self.podman(&["healthcheck", "run", name]).code == 0
    }

    /// Waits for its health check to succeed.
    #[track_caller]
    pub fn wait_healthy(&self, name: &str) {
        if poll(PATIENCE, || self.is_healthy(name).then_some(())).is_none() {
            panic!("`{name}` is not healthy:\n{}", self.log(name));
        }
    }

    /// What a container has said.
    pub fn log(&self, name: &str) -> String {
        let said = self.podman(&["logs", name]);
        said.stdout + &said.stderr
    }

    /// Waits until a container has said this.
    #[track_caller]
    pub fn wait_log(&self, name: &str, text: &str) {
        let said = poll(PATIENCE, || self.log(name).contains(text).then_some(()));
        assert!(
            said.is_some(),
            "no `{text}` from `{name}`:\n{}",
            self.log(name)
        );
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

/// A running container.
pub struct Container {
    podman: Arc<Podman>,
    name: String,
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- `{}` said:\n{}", self.name, self.podman.log(&self.name));
        }
        self.podman
            .podman(&["rm", "-f", "-v", "-t", "0", &self.name]);
    }
}

/// Settings of podman: everything below `dir`, so that neither the machine's images nor those of
/// another test are touched.
pub fn write_settings(dir: &Path, narrow: bool) {
    let shown = dir.display();
    let (engine, limits) = if narrow {
        (NARROW, NARROW_LIMITS)
    } else {
        ("", "")
    };
    let netavark = ["/usr/lib/podman/netavark", "/usr/libexec/podman/netavark"];
    let backend = if netavark.iter().any(|file| Path::new(file).exists()) {
        "network_backend = \"netavark\"\n"
    } else {
        ""
    };
    let settings = format!(
        "[containers]\n{limits}[network]\n{backend}network_config_dir = \"{shown}/networks\"\n\
         [engine]\nevents_logger = \"file\"\nvolume_path = \"{shown}/volumes\"\n\
         {engine}"
    );
    fs::write(dir.join("containers.conf"), settings).unwrap();
    // Options, since what cleans up after a container is started with these, and without the
    // variable that could name a storage.conf.
    let real = in_path("podman").expect("podman");
    let script = format!(
        "#!/bin/sh\nexec {} --root '{shown}/storage' --runroot '{shown}/run' \
         --tmpdir '{shown}/tmp' --storage-driver overlay \"$@\"\n",
        real.display()
    );
    let file = dir.join("bin/podman");
    fs::create_dir_all(dir.join("bin")).unwrap();
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// With this podman before that of the machine.
fn path(dir: &Path) -> OsString {
    let mut path = dir.join("bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

/// A program of the machine.
fn in_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

fn is_static(program: &str) -> bool {
    let said = Command::new("readelf").args(["-d", program]).output();
    said.is_ok_and(|said| {
        said.status.success() && !String::from_utf8_lossy(&said.stdout).contains("NEEDED")
    })
}

/// Removes what a podman of such a directory has, and the directory.
fn remove(dir: &Path) {
    let podman = |args: &[&str]| {
        let _ = Command::new("timeout")
            .args(["60", "podman"])
            .args(args)
            .env("CONTAINERS_CONF", dir.join("containers.conf"))
            .env("PATH", path(dir))
            .output();
    };
    podman(&["rm", "-f", "-a", "-t", "0"]);
    podman(&["volume", "rm", "-f", "-a"]);
    podman(&["network", "prune", "-f"]);
    for mount in ["storage/overlay", "storage"] {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(dir.join(mount))
            .output();
    }
    let _ = fs::remove_dir_all(dir);
}

/// A test program that was killed could not clear up.
fn clear_left_over() {
    for entry in fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(LEFT_OVER));
        if let Some((pid, _)) = owner.and_then(|rest| rest.split_once('-'))
            && !Path::new("/proc").join(pid).exists()
        {
            remove(&entry.path());
        }
    }
}
