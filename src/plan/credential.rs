//! A credential as it is used: written out, or what its file holds now. One rule for all who read one, the daemon at
//! each login, `validate`, `doctor` and `convert`: white space around the value is dropped; nothing else is a missing
//! one; one line of text, not too long, in a regular file.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::model::Credential;
use super::tls::FileFault;
use crate::secret::SecretString;

/// A credential is a token or an identifier, never this long.
const LARGEST: u64 = 16 << 10;

/// Why a credential is not to be had now; it may come later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its file.
    pub path: PathBuf,
    /// What kind of wrong.
    pub fault: FileFault,
    /// What is wrong, in a few words that do not name the file and never quote it.
    pub cause: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.fault {
            FileFault::Missing => write!(f, "`{path}` is not there yet"),
            FileFault::Empty => write!(f, "`{path}` is empty"),
            _ => write!(f, "`{path}` cannot be read: {}", self.cause),
        }
    }
}

impl Credential {
    /// The value now, without the white space around it.
    ///
    /// # Errors
    ///
    /// When its file is missing, empty, or not one that holds a credential.
    pub fn read(&self) -> Result<SecretString, Unreadable> {
        match self {
            Self::Inline(value) => Ok(SecretString::new(value.expose().trim().to_owned())),
            Self::File(path) => read(path).map_err(|(fault, cause)| Unreadable {
                path: path.clone(),
                fault,
                cause,
            }),
        }
    }
}

fn read(path: &Path) -> Result<SecretString, (FileFault, String)> {
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            (FileFault::Missing, "no such file".to_owned())
        }
        ErrorKind::InvalidData => malformed("not UTF-8 text"),
        _ => (FileFault::Unreadable, error.to_string().to_lowercase()),
    };
    // Not a pipe or a device: opening or reading one might never end.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err((FileFault::Unreadable, "not a regular file".to_owned()));
    }
    let file = File::open(path).map_err(failed)?;
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let room = file.metadata().map_or(0, |data| data.len()).min(LARGEST) + 1;
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(room).unwrap_or(0)));
    file.take(LARGEST + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > LARGEST {
        return Err(malformed("too long for a credential"));
    }
    match text.trim() {
        "" => Err((FileFault::Empty, "the file is empty".to_owned())),
        value if value.contains(char::is_control) => {
            Err(malformed("more than one line, or control characters"))
        }
        value => Ok(SecretString::new(value.to_owned())),
    }
}

fn malformed(cause: &str) -> (FileFault, String) {
    (FileFault::Malformed, cause.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> (tempfile::TempDir, Credential) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, content).unwrap();
        (dir, Credential::File(path))
    }

    #[test]
    fn white_space_around_a_value_is_dropped() {
        let (_dir, credential) = file(b"\n  s.token \r\n");
        assert_eq!(credential.read().unwrap().expose(), "s.token");
        let inline = Credential::Inline(SecretString::new(" s.token\n".into()));
        assert_eq!(inline.read().unwrap().expose(), "s.token");
    }

    #[test]
    fn what_is_missing_or_empty_is_named() {
        let (dir, credential) = file(b" \n");
        let path = dir.path().join("token");
        let error = credential.read().unwrap_err();
        assert_eq!(error.to_string(), format!("`{}` is empty", path.display()));
        fs::remove_file(&path).unwrap();
        let error = credential.read().unwrap_err().to_string();
        assert_eq!(error, format!("`{}` is not there yet", path.display()));
    }

    #[test]
    fn what_is_no_credential_is_refused_and_not_quoted() {
        for (content, cause) in [
            (&b"\xffhunter2"[..], "not UTF-8 text"),
            (&b"hunter2".repeat(20_000), "too long for a credential"),
            (b"hunter2\nhunter3\n", "more than one line"),
            (b"hunter2\0", "more than one line, or control characters"),
        ] {
            let (_dir, credential) = file(content);
            let error = credential.read().unwrap_err();
            assert_eq!(error.fault, FileFault::Malformed);
            let error = error.to_string();
            assert!(
                error.contains(cause) && !error.contains("hunter"),
                "{error}"
            );
        }
    }

    #[test]
    fn pipes_devices_and_directories_are_refused_without_being_opened() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        for path in [pipe, dir.path().to_owned(), "/dev/zero".into()] {
            let error = Credential::File(path).read().unwrap_err();
            assert_eq!(error.fault, FileFault::Unreadable);
            assert!(error.to_string().contains("not a regular file"), "{error}");
        }
    }
}
