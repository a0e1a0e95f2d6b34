//! This machine, as the daemon finds it: whose process it is, what the kernel allows and protects, the
//! daemon that may run already, and its port.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::{Resource, geteuid, getrlimit};

use super::report::Check;
use crate::cli::isready::NO_DAEMON;
use crate::config::Environment;
use crate::observe::StatusDocument;
use crate::observe::status_file::{self, Candidates, Missing, lock_path};
use crate::observe::view::headline;
use crate::plan::{Address, Daemon, Plan, StorePlan, TrustedRoots};
use crate::sandbox::{Roots, Writes, close};
use crate::store::http::{Http, Request};

/// A port of this machine answers at once, or never.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Descriptors that are open whatever the plan: log, status, lock, signals, watch, port.
const OWN_DESCRIPTORS: u64 = 64;

/// Threads of the daemon itself: main, signals, watch, HTTP with its connections.
const OWN_THREADS: u64 = 16;

pub(super) fn checks(plan: &Plan, daemon: &Daemon, environment: &Environment) -> Vec<Check> {
    let mut all = Vec::new();
    let running = running(environment, &mut all);
    all.push(status_file(daemon, running.is_some()));
    all.push(port(daemon, running.as_ref()));
    all.extend(sandbox(plan, daemon));
    all.push(swap());
    all.extend(limits(plan));
    all
}

/// The daemon that runs, and whether we are its user.
fn running(environment: &Environment, all: &mut Vec<Check>) -> Option<StatusDocument> {
    let me = geteuid().as_raw();
    let as_user = Check::ok("user", format!("this runs as user {me}"));
    match status_file::read(&Candidates::new(None, environment), SystemTime::now()) {
        Ok(found) => {
            let owner = fs::metadata(lock_path(&found.path)).map(|lock| lock.uid());
            all.push(match owner {
                Ok(owner) if owner != me => Check::warning(
                    "user",
                    format!(
                        "this runs as user {me}, the daemon as user {owner}: what that one may read and \
                         write is not seen here"
                    ),
                    format!("run it as the daemon's user: `sudo -u '#{owner}' secrets-sync doctor`"),
                ),
                _ => as_user,
            });
            let document = found.document;
            let text = format!("the daemon runs: {}", headline(&document));
            all.push(if document.ready && !document.degraded {
                Check::ok("daemon", text)
            } else {
                Check::warning("daemon", text, "`secrets-sync status` says which and why")
            });
            Some(document)
        }
        Err(Missing::Unusable { path, why, .. }) => {
            all.push(as_user);
            let text = format!("a daemon runs, but `{}`: {why}", path.display());
            let remedy = "look at its log; restart it if it hangs".to_owned();
            all.push(Check::fail("daemon", text).remedy(Some(remedy)));
            None
        }
        Err(Missing::NotRunning(places)) => {
            all.push(as_user);
            let text = format!("no daemon runs: {}", places.join("; "));
            all.push(Check::warning("daemon", text, NO_DAEMON));
            None
        }
    }
}

fn status_file(daemon: &Daemon, runs: bool) -> Check {
    const KIND: &str = "status_file";
    let path = &daemon.status_file;
    let shown = path.display();
    if runs {
        return Check::ok(KIND, "the daemon that runs writes it");
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match may_write(directory) {
        Ok(()) => Check::ok(KIND, format!("`{shown}` can be written")),
        Err(error) => Check::fail(KIND, format!("`{shown}` cannot be written: {error}")).remedy(
            Some(format!(
                "let this user write `{}`, or set `STATUS_FILE`",
                directory.display()
            )),
        ),
    }
}

/// Whether entries can be made in a directory, by the rights of this process.
pub(super) fn may_write(directory: &Path) -> rustix::io::Result<()> {
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    accessat(CWD, directory, wanted, AtFlags::EACCESS)
}

fn port(daemon: &Daemon, running: Option<&StatusDocument>) -> Check {
    const KIND: &str = "port";
    let Some(port) = daemon.metrics_port else {
        return Check::skipped(KIND, "no port is served (`METRICS_PORT`, `ENABLE_METRICS`)");
    };
    let address = SocketAddr::new(daemon.metrics_addr, port);
    let near = match daemon.metrics_addr {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let near = SocketAddr::new(near, port);
    if TcpStream::connect_timeout(&near, ANSWER_WITHIN).is_ok() {
        return match (served(near), running) {
            (Some(served), Some(running)) if is_same(&served, running) => {
                Check::ok(KIND, format!("{address} is served by the daemon that runs"))
            }
            (served, _) => {
                let who = if served.is_some() {
                    "another secrets-sync"
                } else {
                    "another program"
                };
                let text = format!("{address} is taken by {who}");
                let remedy = "stop that one, or choose another `METRICS_PORT`".to_owned();
                Check::fail(KIND, text).remedy(Some(remedy))
            }
        };
    }
    // Free; whether the address is one of this machine's, any port of it says.
    match TcpListener::bind(SocketAddr::new(daemon.metrics_addr, 0)) {
        Ok(_) if running.is_some() => Check::warning(
            KIND,
            format!("the daemon runs, and nothing answers at {address}"),
            "look at its own `METRICS_ADDR` and `METRICS_PORT`, and at `secrets-sync status`",
        ),
        Ok(_) => Check::ok(KIND, format!("{address} is free")),
        Err(error) => Check::fail(KIND, format!("{address}: {error}")).remedy(Some(
            "set `METRICS_ADDR` to an address of this machine".to_owned(),
        )),
    }
}

/// Whether two documents are of one daemon: times are told in seconds, and two may start at once.
fn is_same(one: &StatusDocument, other: &StatusDocument) -> bool {
    let names = |of: &StatusDocument| -> Vec<String> {
        of.secrets.iter().map(|it| it.name.clone()).collect()
    };
    one.started == other.started && names(one) == names(other)
}

/// The status document that is served there, if it is one.
fn served(at: SocketAddr) -> Option<StatusDocument> {
    let host = match at.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let page = StorePlan {
        name: String::new(),
        address: Address::Http {
            tls: false,
            host,
            port: at.port(),
            prefix: String::new(),
        },
        tls: TrustedRoots::default(),
        proxy: None,
        timeout: ANSWER_WITHIN,
        max_concurrent: 1,
        max_response_bytes: 16 << 20,
    };
    let http = Http::build(&page, None).ok()?;
    let answer = http.send(&Request::get("/status", ANSWER_WITHIN)).ok()?;
    serde_json::from_slice(answer.body.expose()).ok()
}

/// How far the kernel enforces the sandbox: it closes around a thread that ends with the question.
fn sandbox(plan: &Plan, daemon: &Daemon) -> Vec<Check> {
    const KIND: &str = "sandbox";
    if !daemon.sandbox {
        return vec![Check::ok(KIND, "the sandbox is off, as `SANDBOX` says")];
    }
    let roots = Roots::of(plan, daemon, Writes::Nothing);
    let Some(closed) = super::within(super::LOCAL, move || close(&roots)) else {
        let text = "a directory did not answer while the sandbox closed";
        return vec![Check::fail(KIND, text)];
    };
    let mut all = vec![match (&closed.sandbox, closed.is_whole) {
        (Some(_), true) => Check::ok(KIND, "the kernel enforces the sandbox (Landlock)"),
        (Some(_), false) => Check::ok(KIND, format!("sandbox: {}", closed.status)),
        (None, _) => Check::warning(
            KIND,
            closed.status,
            "a kernel since 5.19 with Landlock enforces it (`lsm=` must name it); in a container the \
             runtime must not forbid its system calls",
        ),
    }];
    let warning = |text| Check::warning(KIND, text, "make it before the daemon starts");
    all.extend(closed.warnings.into_iter().map(warning));
    all
}

/// Memory may be written to swap, and stay there.
fn swap() -> Check {
    const KIND: &str = "swap";
    let Ok(table) = fs::read_to_string("/proc/swaps") else {
        return Check::skipped(KIND, "`/proc/swaps` cannot be read");
    };
    let open: Vec<&str> = table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .filter(|device| !stays_private(Path::new(device)))
        .collect();
    if open.is_empty() {
        return Check::ok(
            KIND,
            "no memory can reach a disk that is not encrypted through swap",
        );
    }
    let text = format!(
        "swap on {} is not known to be encrypted: secrets in memory and on tmpfs may reach the disk",
        open.join(", ")
    );
    let remedy =
        "encrypt it, turn it off, or set `MemorySwapMax=0` for the daemon and those who read";
    Check::warning(KIND, text, remedy)
}

/// Whether what is swapped out there stays in memory (zram), or is encrypted (dm-crypt).
fn stays_private(device: &Path) -> bool {
    let Ok(device) = device.canonicalize() else {
        return false;
    };
    let Some(name) = device.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    let mapping = fs::read_to_string(format!("/sys/block/{name}/dm/uuid"));
    name.starts_with("zram") || mapping.is_ok_and(|uuid| uuid.starts_with("CRYPT-"))
}

/// Descriptors and threads, against what the plan needs at the most.
fn limits(plan: &Plan) -> Vec<Check> {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let files: usize = plan.secrets.iter().map(|it| it.outputs.len()).sum();
    let sockets: usize = plan.stores.iter().map(|it| it.max_concurrent).sum();
    let judge = |kind, needed: u64, allowed: Option<u64>, what: &str, remedy: &str| match allowed {
        Some(allowed) if allowed < needed => Check::warning(
            kind,
            format!("{allowed} {what} are allowed here, and up to {needed} may be needed"),
            remedy,
        ),
        Some(allowed) => Check::ok(
            kind,
            format!("{allowed} {what} are allowed, {needed} needed at most"),
        ),
        None => Check::ok(
            kind,
            format!("the number of {what} has no limit, {needed} needed at most"),
        ),
    };
    let threads = plan.secrets.len() + plan.sessions.len() + plan.stores.len();
    let own = getrlimit(Resource::Nproc).current;
    let group = pids_max();
    let fewest = own
        .into_iter()
        .filter(|_| !geteuid().is_root())
        .chain(group)
        .min();
    vec![
        judge(
            "descriptors",
            OWN_DESCRIPTORS + count(files) + count(sockets),
            getrlimit(Resource::Nofile).maximum,
            "open files",
            "raise `LimitNOFILE=`, or `--ulimit nofile=` of the container",
        ),
        judge(
            "threads",
            OWN_THREADS + count(threads),
            fewest,
            "threads",
            "raise `TasksMax=` or `LimitNPROC=`, or `--pids-limit` of the container",
        ),
    ]
}

/// `pids.max` of the control group of this process, or of the nearest one above that has it.
fn pids_max() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let base = match controllers {
            "" => "/sys/fs/cgroup",
            "pids" => "/sys/fs/cgroup/pids",
            _ => return None,
        };
        let limit = format!("{base}{path}/pids.max");
        fs::read_to_string(limit).ok()?.trim().parse().ok()
    })
}
