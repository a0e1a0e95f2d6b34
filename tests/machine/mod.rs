//! A machine of its own with a booted systemd: a container over the Debian that `make rootfs` puts
//! under .tools, thrown away with all that was changed in it. It shares the network of this machine,
//! so it reaches the servers of a test.

#![allow(dead_code, reason = "each test program uses its own part")]
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

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::commands::{Said, root, run};
use crate::support::{poll, process, unique};

/// How long a machine may take for something: this one may be busy with others.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where the repository is in it.
pub const SOURCE: &str = "/src";

const LEFT_OVER: &str = "secrets-sync-machine-";

/// Run in namespaces of mounts and processes, both gone with their first process, which this becomes.
const BOOT: &str = r#"set -e
lower=$1 here=$2 source=$3 name=$4 prepare=$5
shift 5
for group; do echo 0 >"$group/cgroup.procs"; done
mount -t tmpfs machine "$here"
mkdir "$here/upper" "$here/work" "$here/root"
mount -t overlay machine -o "lowerdir=$lower,upperdir=$here/upper,workdir=$here/work" "$here/root"
root=$here/root sh -eu -c "$prepare"
mkdir -p /run/systemd/nspawn
mount -t tmpfs machine /run/systemd/nspawn
exec systemd-nspawn --quiet --boot --directory="$here/root" --bind-ro="$source:/src" \
  --system-call-filter='landlock_create_ruleset landlock_add_rule landlock_restrict_self' \
  --register=no --keep-unit --console=pipe --machine="$name" systemd.unit=multi-user.target
"#;

/// A booted machine; it is gone when this is dropped.
pub struct Machine {
    child: Child,
    /// Process 1 of the machine.
    leader: u32,
    dir: TempDir,
    groups: Vec<PathBuf>,
}

impl Machine {
    /// The tree that machines begin with.
    pub fn tree() -> Result<PathBuf, String> {
        let tree = root().join(".tools/trixie");
        if !rustix::process::getuid().is_root() {
            return Err("needs root".to_owned());
        }
        if !tree.join("usr/bin/systemctl").is_file() {
            return Err("needs .tools/trixie: run `make rootfs`".to_owned());
        }
        Ok(tree)
    }

    /// A booted machine with this repository at [`SOURCE`]; an error says why there can be none here.
    pub fn boot() -> Result<Self, String> {
        Self::prepared(":")
    }

    /// The same, after these commands of this machine have done something to its tree at `$root`.
    pub fn prepared(commands: &str) -> Result<Self, String> {
        let tree = Self::tree()?;
        for program in ["systemd-nspawn", "nsenter", "unshare"] {
            if process::in_path(program).is_none() {
                return Err(format!("needs `{program}`"));
            }
        }
        if !root().join("target/static/secrets-sync").is_file() {
            return Err("needs target/static/secrets-sync: run `make static`".to_owned());
        }
        clear_left_over();
        let name = unique(&format!("{LEFT_OVER}{}", std::process::id()));
        // Without a group of its own, two machines would share one tree of services.
        let groups: Vec<_> = hierarchies()
            .into_iter()
            .map(|top| top.join(&name))
            .collect();
        for group in &groups {
            fs::create_dir(group).map_err(|why| format!("{}: {why}", group.display()))?;
        }
        let dir = tempfile::tempdir().unwrap();
        let console = dir.path().with_extension("console");
        let log = fs::File::create(&console).unwrap();
        let mut command = process::command(Path::new("unshare"));
        command
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["--propagation", "private", "sh", "-c", BOOT, "sh"])
            .args([&tree, dir.path(), root()])
            .args([&name, commands])
            .args(&groups)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = process::spawn(command).unwrap();
        let mut machine = Self {
            child,
            leader: 0,
            dir,
            groups,
        };
        let up = machine.await_boot();
        let said = fs::read_to_string(&console).unwrap_or_default();
        let _ = fs::remove_file(console);
        if up {
            Ok(machine)
        } else {
            Err(format!("systemd-nspawn boots no machine here: {said}"))
        }
    }

    fn await_boot(&mut self) -> bool {
        let found = poll(PATIENCE, || {
            if self.child.try_wait().unwrap().is_some() {
                return Some(false);
            }
            // unshare, then systemd-nspawn, then process 1.
            self.leader = child_of(child_of(self.child.id())?)?;
            let said = run(self.command("systemctl", &["is-system-running"]));
            ["running", "degraded"]
                .contains(&said.stdout.trim())
                .then_some(true)
        });
        found == Some(true)
    }

    /// With the daemon and its units in it, as `install.sh` puts them there.
    pub fn installed() -> Result<Self, String> {
        let machine = Self::boot()?;
        machine.ok(&format!("{SOURCE}/packaging/systemd/install.sh"));
        Ok(machine)
    }

    /// A program in the machine.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", "100", "nsenter"])
            .args(["--target", &self.leader.to_string()])
            .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--", program])
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("SYSTEMD_PAGER", "cat")
            .stdin(Stdio::null());
        command
    }

    /// Its root directory, as this machine sees it.
    pub fn root(&self) -> PathBuf {
        format!("/proc/{}/root", self.leader).into()
    }

    /// Commands for bash in the machine, up to the first that fails.
    pub fn sh(&self, script: &str) -> Said {
        run(self.command("bash", &["-eu", "-c", script]))
    }

    /// Commands that must succeed; gives what they printed, trimmed.
    #[track_caller]
    pub fn ok(&self, script: &str) -> String {
        let said = self.sh(script);
        if said.code != 0 {
            eprintln!("--- journal:\n{}", self.journal());
        }
        said.expect_success(script);
        said.stdout.trim().to_owned()
    }

    /// Waits until commands succeed.
    #[track_caller]
    pub fn wait(&self, script: &str) {
        let done = poll(PATIENCE, || (self.sh(script).code == 0).then_some(()));
        assert!(done.is_some(), "in vain: {script}\n{}", self.journal());
    }

    /// A file of the machine, with the content, mode and owner that are given.
    #[track_caller]
    pub fn write(&self, path: &str, mode: &str, owner: &str, content: impl AsRef<[u8]>) {
        let (user, group) = owner.split_once(':').expect("user:group");
        let arguments = [
            "-D",
            "-m",
            mode,
            "-o",
            user,
            "-g",
            group,
            "/dev/stdin",
            path,
        ];
        let mut command = self.command("install", &arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(content.as_ref())
            .unwrap();
        assert!(child.wait().unwrap().success(), "install {path}");
    }

    /// A property of a unit, such as `NRestarts`.
    #[track_caller]
    pub fn show(&self, unit: &str, property: &str) -> String {
        self.ok(&format!("systemctl show --value -p {property} {unit}"))
    }

    /// Waits until a property of a unit is that.
    #[track_caller]
    pub fn wait_show(&self, unit: &str, property: &str, wanted: &str) {
        let last = || self.show(unit, property);
        let got = poll(PATIENCE, || (last() == wanted).then_some(()));
        assert!(
            got.is_some(),
            "{property} of {unit} is {}, not {wanted}\n{}",
            last(),
            self.journal()
        );
    }

    /// What the daemons and systemd said about them.
    pub fn journal(&self) -> String {
        self.sh("journalctl --no-pager -o cat -u 'secrets-sync*'")
            .stdout
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- journal of the machine:\n{}", self.journal());
        }
        process::kill(&mut self.child);
        for group in &self.groups {
            remove_group(group);
        }
    }
}

/// The first child of a process.
fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Where this process is in the trees of control groups that systemd uses.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let of = |prefix: &str| {
        groups
            .lines()
            .find_map(|line| line.split_once(':')?.1.strip_prefix(prefix))
    };
    let mut found = Vec::new();
    for line in mounts.lines() {
        let (mount, kind) = line.split_once(" - ").unwrap();
        let group = if kind.starts_with("cgroup2 ") {
            of(":/")
        } else if kind.starts_with("cgroup ") && kind.contains("name=systemd") {
            of("name=systemd:/")
        } else {
            None
        };
        if let Some(group) = group {
            let at = mount.split(' ').nth(4).unwrap();
            found.push(Path::new(at).join(group));
        }
    }
    found
}

/// Groups are removed from the innermost, when their last process is gone.
fn remove_group(group: &Path) {
    poll(Duration::from_secs(5), || {
        for entry in fs::read_dir(group).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_empty(&entry.path());
            }
        }
        let _ = fs::remove_dir(group);
        (!group.exists()).then_some(())
    });
}

fn remove_empty(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

/// A test program that was killed could not clear up; its machines died with it.
fn clear_left_over() {
    for top in hierarchies() {
        for entry in fs::read_dir(top).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let owner = name
                .to_str()
                .and_then(|name| name.strip_prefix(LEFT_OVER)?.split('-').next());
            if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                remove_group(&entry.path());
            }
        }
    }
}
