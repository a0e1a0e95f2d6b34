//! The names of what is made on the way: temporaries and generations. Made and recognised here,
//! so that clean-up knows exactly what is ours.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::SystemTime;

use ring::rand::{SecureRandom, SystemRandom};
use rustix::io::Errno;

const PREFIX: &str = ".secrets-sync-";
const SUFFIX: &str = ".tmp";
const RANDOM: usize = 12;
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The link that names the generation in use (`layout: directory`), by the name that
/// Kubernetes gives it.
pub(super) const DATA: &str = "..data";
/// The link on its way to become [`DATA`] or a file's name.
pub(super) const DATA_TMP: &str = "..data_tmp";

/// Where names come from: the system is asked once for several of them.
#[derive(Debug)]
pub(super) struct Names {
    bytes: [u8; 64],
    used: usize,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            bytes: [0; 64],
            used: 64,
        }
    }
}

impl Names {
    /// `.secrets-sync-XXXXXXXXXXXX.tmp`, not to be guessed.
    pub(super) fn temporary(&mut self) -> Result<OsString, Errno> {
        let mut name = String::with_capacity(PREFIX.len() + RANDOM + SUFFIX.len());
        name.push_str(PREFIX);
        self.add_random(&mut name)?;
        name.push_str(SUFFIX);
        Ok(name.into())
    }

    /// `..YYYY_MM_DD_HH_MM_SS.XXXXXXXXXXXX`: the time (UTC) is for people, the rest is random.
    pub(super) fn generation(&mut self, now: SystemTime) -> Result<OsString, Errno> {
        let time: String = humantime::format_rfc3339_seconds(now.max(SystemTime::UNIX_EPOCH))
            .to_string()
            .trim_end_matches('Z')
            .replace(|c: char| !c.is_ascii_digit(), "_");
        let mut name = format!("..{time}.");
        self.add_random(&mut name)?;
        Ok(name.into())
    }

    /// Letters and digits, each as likely as the others; no byte is used twice.
    fn add_random(&mut self, name: &mut String) -> Result<(), Errno> {
        let mut missing = RANDOM;
        while missing > 0 {
            let Some(byte) = self.bytes.get(self.used) else {
                SystemRandom::new()
                    .fill(&mut self.bytes)
                    .map_err(|_| Errno::IO)?;
                self.used = 0;
                continue;
            };
            let byte = usize::from(*byte);
            self.used += 1;
            if byte < 4 * LETTERS.len() {
                name.push(char::from(LETTERS[byte % LETTERS.len()]));
                missing -= 1;
            }
        }
        Ok(())
    }
}

/// Whether a name is one that [`Names::temporary`] makes.
pub(super) fn is_temporary(name: &OsStr) -> bool {
    name.as_bytes()
        .strip_prefix(PREFIX.as_bytes())
        .and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()))
        .is_some_and(is_random)
}

/// Whether a name is that of the link that becomes `..data` or a file's link.
pub(super) fn is_switch(name: &OsStr) -> bool {
    name == DATA_TMP
}

/// Whether a name is one that [`Names::generation`] makes (those of Kubernetes end in fewer digits).
pub(super) fn is_generation(name: &OsStr) -> bool {
    let Some(rest) = name.as_bytes().strip_prefix(b"..") else {
        return false;
    };
    let Some((time, random)) = rest.split_at_checked(19) else {
        return false;
    };
    let shape = time.iter().enumerate().all(|(at, byte)| match at {
        4 | 7 | 10 | 13 | 16 => *byte == b'_',
        _ => byte.is_ascii_digit(),
    });
    shape && random.strip_prefix(b".").is_some_and(is_random)
}

fn is_random(bytes: &[u8]) -> bool {
    bytes.len() == RANDOM && bytes.iter().all(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::time::Duration;

    #[test]
    fn names_are_ours_and_never_the_same() {
        let mut seen = BTreeSet::new();
        let (mut many, mut letters) = (Names::default(), BTreeSet::new());
        for number in 0..2000 {
            let name = match number % 2 {
                0 => many.temporary(),
                _ => Names::default().temporary(),
            };
            let name = name.unwrap();
            letters.extend(name.as_bytes()[PREFIX.len()..].iter().take(RANDOM).copied());
            assert!(is_temporary(&name) && name.len() == 30, "{name:?}");
            assert!(seen.insert(name));
        }
        assert_eq!(letters.len(), LETTERS.len(), "every letter, and no other");
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        let name = many.generation(at).unwrap();
        assert!(
            name.to_str().unwrap().starts_with("..2026_01_02_03_04_05."),
            "{name:?}"
        );
        assert!(is_generation(&name));
    }

    #[test]
    fn near_misses_are_not_ours() {
        for name in [
            ".secrets-sync-abcdefghijk.tmp",
            ".secrets-sync-abcdefghijklm.tmp",
            ".secrets-sync-abcdefghij-l.tmp",
            ".secrets-sync-abcdefghijkl.tmp~",
            "x.secrets-sync-abcdefghijkl.tmp",
            ".secrets-sync-abcdefghijkl.TMP",
            ".Secrets-sync-abcdefghijkl.tmp",
            ".secrets-sync-.tmp",
            ".secrets-sync-äbcdefghijk.tmp",
            "",
        ] {
            assert!(!is_temporary(OsStr::new(name)), "{name}");
        }
        for name in [
            "..data",
            "..2026_01_02_03_04_05.1234567890",
            "..2026_01_02_03_04_05.abcdefghijklm",
            "..2026-01-02_03_04_05.abcdefghijkl",
            "..2026_01_02_03_04_05_abcdefghijkl",
            ".2026_01_02_03_04_05.abcdefghijkl",
            "..2026_01_02_03_04",
            "..",
        ] {
            assert!(!is_generation(OsStr::new(name)), "{name}");
        }
    }
}
