//! The process's own environment, as `/proc/PID/environ` shows it: what holds a credential is wiped
//! there once it has been copied.
//!
//! The kernel keeps no copy: it shows the memory that the program was started with. Writing through
//! `/proc/self/mem` reaches it without a pointer of ours.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use zeroize::Zeroizing;

/// Parts of the names of variables that may hold a credential.
const TELLING: [&str; 9] = [
    "TOKEN",
    "SECRET",
    "PASS",
    "CREDENTIAL",
    "KEY",
    "AUTH",
    "PROXY",
    "HEADERS",
    "ROLE_ID",
];

/// The environment in memory. To be opened before the process is made undumpable: after that, a
/// user's own memory belongs to root.
#[derive(Debug)]
pub(super) struct Environ {
    memory: File,
    at: Range<u64>,
}

impl Environ {
    /// The one that this process was started with.
    pub(super) fn open() -> io::Result<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        Ok(Self {
            at: place(&stat).ok_or(io::ErrorKind::Unsupported)?,
            memory: OpenOptions::new()
                .read(true)
                .write(true)
                .open("/proc/self/mem")?,
        })
    }

    /// Wipes the values of the variables whose name tells that they hold a credential, and those in
    /// which one of these stands. Their names stay.
    pub(super) fn wipe(&self, credentials: &[&str]) -> io::Result<()> {
        let length = usize::try_from(self.at.end - self.at.start).unwrap_or_default();
        let mut bytes = Zeroizing::new(vec![0; length]);
        self.memory.read_exact_at(&mut bytes, self.at.start)?;
        for value in values(&bytes, credentials) {
            let zeros = vec![0; value.len()];
            let at = self.at.start + value.start as u64;
            self.memory.write_all_at(&zeros, at)?;
        }
        Ok(())
    }
}

/// Where the environment lies, of the text of `/proc/self/stat` (`env_start`, `env_end`; proc(5)).
fn place(stat: &str) -> Option<Range<u64>> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(47);
    let start = fields.next()?.parse().ok()?;
    let end = fields.next()?.parse().ok()?;
    (0 < start && start <= end).then_some(start..end)
}

/// The values that are to be wiped.
fn values(bytes: &[u8], credentials: &[&str]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    for entry in bytes.split(|byte| *byte == 0) {
        let start = at;
        at += entry.len() + 1;
        let Some(equals) = entry.iter().position(|byte| *byte == b'=') else {
            continue;
        };
        let (name, value) = (&entry[..equals], &entry[equals + 1..]);
        let name = String::from_utf8_lossy(name).to_ascii_uppercase();
        let holds = |credential: &&str| {
            !credential.is_empty()
                && value
                    .windows(credential.len())
                    .any(|part| part == credential.as_bytes())
        };
        if TELLING.iter().any(|part| name.contains(part)) || credentials.iter().any(holds) {
            found.push(start + equals + 1..start + entry.len());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_stands_after_a_name_that_may_hold_anything() {
        let numbers: Vec<String> = (4..=52).map(|field| (field * 1000).to_string()).collect();
        let stat = format!("7 (a) b) S {}", numbers.join(" "));
        assert_eq!(place(&stat), Some(50_000..51_000));
        assert_eq!(place("7 (a) S 1 2"), None);
        assert_eq!(place(""), None);
    }

    #[test]
    fn names_that_tell_and_values_that_are_credentials_are_wiped() {
        let bytes = b"PATH=/bin\0VAULT_TOKEN=abc\0X=role-77\0=\0\0junk\0HTTPS_PROXY=p";
        let wiped: Vec<&[u8]> = values(bytes, &["role-77", ""])
            .into_iter()
            .map(|range| &bytes[range])
            .collect();
        assert_eq!(wiped, [&b"abc"[..], b"role-77", b"p"]);
    }
}
