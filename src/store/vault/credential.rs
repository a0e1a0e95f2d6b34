//! Credentials as they are given: inline, or in a file that is read at each login.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::plan::Credential;
use crate::secret::SecretString;
use zeroize::Zeroizing;

/// A credential is a token or an identifier, never this long.
const LARGEST: u64 = 16 * 1024;

/// Why a credential is not to be had now; it may come later.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// There is no such file.
    Missing(PathBuf),
    /// Nothing but white space in it.
    Empty(PathBuf),
    /// No text, too long, or the system's reason.
    Broken(PathBuf, String),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "`{}` is not there yet", path.display()),
            Self::Empty(path) => write!(f, "`{}` is empty", path.display()),
            Self::Broken(path, why) => write!(f, "`{}` cannot be read: {why}", path.display()),
        }
    }
}

impl Unreadable {
    /// What to do about it.
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Missing(path) | Self::Empty(path) => format!(
                "put the credential into `{}`: it is taken up at once",
                path.display()
            ),
            Self::Broken(path, _) => format!(
                "let `{}` be a file of text that uid {} may read",
                path.display(),
                rustix::process::geteuid().as_raw()
            ),
        }
    }
}

/// The value now, without the white space around it.
pub(super) fn read(credential: &Credential) -> Result<SecretString, Unreadable> {
    match credential {
        Credential::Inline(value) => Ok(SecretString::new(value.expose().trim().to_owned())),
        Credential::File(path) => read_file(path),
    }
}

fn read_file(path: &Path) -> Result<SecretString, Unreadable> {
    let broken = |why: &str| Unreadable::Broken(path.to_owned(), why.to_owned());
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Unreadable::Missing(path.to_owned())
        }
        _ => broken(&error.to_string()),
    };
    // Not a pipe or a device: opening or reading one might never end.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(broken("it is not a regular file"));
    }
    let file = fs::File::open(path).map_err(failed)?;
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let room = file.metadata().map_or(0, |data| data.len()).min(LARGEST) + 1;
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(room).unwrap_or(0)));
    file.take(LARGEST + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > LARGEST {
        return Err(broken("it is too long for a credential"));
    }
    match text.trim() {
        "" => Err(Unreadable::Empty(path.to_owned())),
        value => Ok(SecretString::new(value.to_owned())),
    }
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
        assert_eq!(read(&credential).unwrap().expose(), "s.token");
        let inline = Credential::Inline(SecretString::new(" s.token\n".into()));
        assert_eq!(read(&inline).unwrap().expose(), "s.token");
    }

    #[test]
    fn what_is_missing_or_empty_is_named() {
        let (dir, credential) = file(b" \n");
        let path = dir.path().join("token").display().to_string();
        let error = read(&credential).unwrap_err().to_string();
        assert_eq!(error, format!("`{path}` is empty"));
        fs::remove_file(dir.path().join("token")).unwrap();
        let error = read(&credential).unwrap_err().to_string();
        assert_eq!(error, format!("`{path}` is not there yet"));
    }

    #[test]
    fn what_is_no_text_is_not_quoted() {
        for content in [&b"\xffhunter2"[..], &b"hunter2".repeat(20_000)] {
            let (_dir, credential) = file(content);
            let error = read(&credential).unwrap_err().to_string();
            assert!(
                error.contains("cannot be read") && !error.contains("hunter2"),
                "{error}"
            );
        }
        let dir = tempfile::tempdir().unwrap();
        let error = read(&Credential::File(dir.path().to_owned())).unwrap_err();
        assert!(error.to_string().contains("not a regular file"));
    }
}
