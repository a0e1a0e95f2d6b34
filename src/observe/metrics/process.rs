//! The usual `process_*` metrics, from /proc. One that cannot be read is left out.
//!
//! What they are read from is opened once and kept: the sandbox leaves the daemon nothing of /proc, where
//! other processes can be seen, too.

use std::fmt::Write;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::{CWD, Dir, Mode, OFlags, openat};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// What the kernel shows to user space as ticks a second, on every architecture we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Name, kind and help of each.
pub(super) const FAMILIES: [(&str, &str, &str); 7] = [
    (
        "process_cpu_seconds_total",
        "counter",
        "Processor time used, of user and system.",
    ),
    (
        "process_max_fds",
        "gauge",
        "How many descriptors may be open.",
    ),
    (
        "process_open_fds",
        "gauge",
        "How many descriptors are open.",
    ),
    ("process_resident_memory_bytes", "gauge", "Memory in use."),
    (
        "process_start_time_seconds",
        "gauge",
        "When the process started.",
    ),
    ("process_threads", "gauge", "How many threads there are."),
    (
        "process_virtual_memory_bytes",
        "gauge",
        "Address space in use.",
    ),
];

/// The process as /proc shows it to itself.
#[derive(Debug)]
struct Own {
    /// When it started, in seconds after 1970.
    started: Option<f64>,
    status: Option<File>,
    descriptors: Option<Mutex<Dir>>,
}

static OWN: OnceLock<Own> = OnceLock::new();

/// Opens what the metrics are read from. To be called before the sandbox closes; without, the first page
/// does it.
pub fn open() {
    OWN.get_or_init(Own::open);
}

impl Own {
    fn open() -> Self {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let booted = seconds(ClockId::Realtime) - seconds(ClockId::Boottime);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptors = openat(CWD, "/proc/self/fd", flags, Mode::empty()).and_then(Dir::new);
        Self {
            started: start_time(&stat, booted),
            status: File::open("/proc/self/status").ok(),
            descriptors: descriptors.ok().map(Mutex::new),
        }
    }

    /// `/proc/self/status` as it is now.
    fn status(&self) -> String {
        // Some 1.5 KiB; the lists of processors and of groups in it can be longer.
        let mut text = vec![0; 16 * 1024];
        let read = |file: &File| file.read_at(&mut text, 0).ok();
        let length = self.status.as_ref().and_then(read).unwrap_or(0);
        text.truncate(length);
        String::from_utf8(text).unwrap_or_default()
    }

    fn open_descriptors(&self) -> Option<u64> {
        let mut open = self
            .descriptors
            .as_ref()?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.rewind();
        let mut count = 0;
        while let Some(entry) = open.read() {
            count += u64::from(entry.is_ok());
        }
        // `.` and `..` are among them.
        count.checked_sub(2)
    }
}

/// Appends the families.
pub(super) fn encode(page: &mut String) {
    let own = OWN.get_or_init(Own::open);
    let status = own.status();
    // In the order of FAMILIES.
    let values = [
        Some(seconds(ClockId::ProcessCPUTime)),
        getrlimit(Resource::Nofile).current.map(float),
        own.open_descriptors().map(float),
        kibibytes(&status, "VmRSS:"),
        own.started,
        number(&status, "Threads:"),
        kibibytes(&status, "VmSize:"),
    ];
    for ((name, kind, help), value) in FAMILIES.iter().zip(values) {
        if let Some(value) = value {
            let _ = write!(
                page,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
            );
        }
    }
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    let whole = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    std::time::Duration::new(whole, nanos).as_secs_f64()
}

/// The number behind a name of `/proc/self/status`.
fn number(text: &str, name: &str) -> Option<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

fn kibibytes(status: &str, name: &str) -> Option<f64> {
    number(status, name).map(|kibibytes| kibibytes * 1024.0)
}

/// Field 22 of `/proc/self/stat` is in ticks after boot, which was at `booted`: /proc/stat has that
/// too, but a service may be shown processes only (`ProcSubset=pid`). Field 2 is the program's name
/// in parentheses, and may hold anything.
fn start_time(stat: &str, booted: f64) -> Option<f64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let ticks: f64 = behind_name.split_whitespace().nth(19)?.parse().ok()?;
    Some(booted + ticks / TICKS_PER_SECOND)
}

/// For numbers of descriptors, far below where a float loses digits.
#[allow(clippy::cast_precision_loss)]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_there_and_plausible() {
        let mut page = String::new();
        encode(&mut page);
        let value = |name: &str| -> f64 {
            number(&page, &format!("{name} ")).unwrap_or_else(|| panic!("{name} in {page}"))
        };
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_virtual_memory_bytes") > 100_000.0);
        assert!(value("process_threads") >= 1.0);
        let age = seconds(ClockId::Realtime) - value("process_start_time_seconds");
        assert!((-1.0..100_000.0).contains(&age), "{age}");
    }

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let stat = "12 (a) 1 (b) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 5 0 4200 1 1";
        assert_eq!(start_time(stat, 1_700_000_000.0), Some(1_700_000_042.0));
        assert_eq!(start_time("", 0.0), None);
    }
}
