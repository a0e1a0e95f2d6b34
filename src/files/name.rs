//! The names of what is made on the way: temporaries and generations. Made and recognised here,
//! so that clean-up knows exactly what is ours.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::SystemTime;

use ring::rand::{SecureRandom, SystemRandom};
use rustix::io::Errno;

const PREFIX: &[u8] = b".secrets-sync-";
const SUFFIX: &[u8] = b".tmp";
const RANDOM: usize = 12;
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The link that names the generation in use (`layout: directory`), by the name that
/// Kubernetes gives it.
pub(super) const DATA: &str = "..data";
/// The link on its way to become [`DATA`] or a file's name.
pub(super) const DATA_TMP: &str = "..data_tmp";

/// `.secrets-sync-XXXXXXXXXXXX.tmp`, not to be guessed.
pub(super) fn temporary() -> Result<OsString, Errno> {
    Ok(format!(".secrets-sync-{}.tmp", random()?).into())
}

/// Whether a name is one that [`temporary`] makes.
pub(super) fn is_temporary(name: &OsStr) -> bool {
    name.as_bytes()
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX))
        .is_some_and(is_random)
}

/// `..YYYY_MM_DD_HH_MM_SS.XXXXXXXXXXXX`: the time (UTC) is for people, the rest is random.
pub(super) fn generation(now: SystemTime) -> Result<OsString, Errno> {
    let time: String = humantime::format_rfc3339_seconds(now.max(SystemTime::UNIX_EPOCH))
        .to_string()
        .trim_end_matches('Z')
        .replace(|c: char| !c.is_ascii_digit(), "_");
    Ok(format!("..{time}.{}", random()?).into())
}

/// Whether a name is that of the link that becomes `..data` or a file's link.
pub(super) fn is_switch(name: &OsStr) -> bool {
    name == DATA_TMP
}

/// Whether a name is one that [`generation`] makes (those of Kubernetes end in fewer digits).
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

fn random() -> Result<String, Errno> {
    let mut text = String::with_capacity(RANDOM);
    while text.len() < RANDOM {
        let mut bytes = [0; 2 * RANDOM];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| Errno::IO)?;
        let fair = bytes
            .iter()
            .filter(|byte| usize::from(**byte) < 4 * LETTERS.len())
            .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]));
        text.extend(fair.take(RANDOM - text.len()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::time::Duration;

    #[test]
    fn names_are_ours_and_never_the_same() {
        let mut seen = BTreeSet::new();
        for _ in 0..1000 {
            let name = temporary().unwrap();
            assert!(is_temporary(&name) && name.len() == 30, "{name:?}");
            assert!(seen.insert(name));
        }
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        let name = generation(at).unwrap();
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
