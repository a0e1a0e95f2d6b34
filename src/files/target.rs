//! Where a file goes and how it looks: checked once, in the plan.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::name;

/// `PATH_MAX` less the NUL at its end.
const MAX_PATH: usize = 4095;
/// `NAME_MAX`.
const MAX_NAME: usize = 255;

/// A path that keeps the rules: absolute, normalised, no `..`, no NUL, of bearable length.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetPath(PathBuf);

impl TargetPath {
    /// Resolves `text` against `working_dir` and checks it.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as one line without a full stop.
    pub fn parse(text: &str, working_dir: &Path) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the path is empty".into());
        }
        if text.contains('\0') {
            return Err("the path contains a NUL byte".into());
        }
        refuse_windows(text)?;
        let mut path = PathBuf::from("/");
        for component in working_dir.join(text).components() {
            match component {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => path.push(name),
                Component::ParentDir => {
                    return Err(
                        "`..` is not allowed in a path: write the directory it stands for".into(),
                    );
                }
                Component::Prefix(_) => return Err("a Windows path is not understood".into()),
            }
        }
        if path.as_os_str().len() > MAX_PATH {
            return Err(format!("the path is longer than {MAX_PATH} bytes"));
        }
        for name in path.iter().skip(1) {
            check_name(name)?;
        }
        match path.file_name() {
            None => Err("the path is the root directory".into()),
            Some(last) if name::is_temporary(last) => {
                Err("the name is one of the daemon's own temporary files".into())
            }
            Some(_) => Ok(Self(path)),
        }
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

/// Whether one name is a file name: not empty, no `/`, no NUL, neither `.` nor `..`, at most 255
/// bytes. The reason as one line.
pub(super) fn check_name(name: &OsStr) -> Result<(), String> {
    let bytes = name.as_bytes();
    let shown = name.to_string_lossy();
    if bytes.is_empty() {
        Err("the name is empty".into())
    } else if bytes.len() > MAX_NAME {
        Err(format!("a name in it is longer than {MAX_NAME} bytes"))
    } else if bytes == b"." || bytes == b".." {
        Err(format!("`{shown}` is no file name"))
    } else if bytes.contains(&b'/') || bytes.contains(&0) {
        Err("a file name contains neither `/` nor NUL".into())
    } else {
        Ok(())
    }
}

fn refuse_windows(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    if text.starts_with("\\\\") || text.starts_with("//") {
        return Err(
            "a UNC path (`\\\\server\\share`) is not understood: begin with one `/`".into(),
        );
    }
    let drive = bytes.len() > 1 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':';
    // A backslash is an honest letter below `/` (systemd writes `\x2d`).
    if drive || (!text.starts_with('/') && text.contains('\\')) {
        return Err("a Windows path is not understood: write it with `/`".into());
    }
    Ok(())
}

/// Permission bits that keep the rules: octal, no execute, set-id or sticky bits, no world-write,
/// no group-write with world-read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(u32);

impl Mode {
    /// 0600.
    pub const PRIVATE: Self = Self(0o600);

    /// Parses `0644`, `644` or `0o644`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as one line without a full stop.
    pub fn parse(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let octal = !digits.is_empty() && digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        if !octal {
            return Err(format!(
                "the mode `{text}` is not octal: write it as `0640`"
            ));
        }
        let bits = match u32::from_str_radix(digits, 8) {
            Ok(bits) if bits <= 0o7777 => bits,
            _ => return Err(format!("the mode `{text}` has more than four digits")),
        };
        let refuse = |why: &str| Err(format!("the mode `{text}` {why}"));
        if bits & 0o6000 != 0 {
            refuse("sets the user or group ID: not for a file of secrets")
        } else if bits & 0o1000 != 0 {
            refuse("sets the sticky bit: not for a file of secrets")
        } else if bits & 0o111 != 0 {
            refuse("makes the file executable: not for a file of secrets")
        } else if bits & 0o002 != 0 {
            refuse("lets everyone write the file")
        } else if bits & 0o024 == 0o024 {
            refuse("lets the group write what everyone may read")
        } else {
            Ok(Self(bits))
        }
    }

    /// The bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }
}

/// One entry of `files:`: a file, or a directory whose files are named after fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Of the file or directory.
    pub path: TargetPath,
    /// Whether it is a `dir`.
    pub is_dir: bool,
    /// Of each file.
    pub mode: Mode,
    /// User ID; `None` is the daemon's own.
    pub owner: Option<u32>,
    /// Group ID; `None` is the daemon's own.
    pub group: Option<u32>,
    /// Write into the existing file instead of renaming over it.
    pub in_place: bool,
    /// Whether no bytes are content, too.
    pub allow_empty: bool,
}

impl Target {
    /// The directory that its files lie in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        let path = self.path.as_path();
        if self.is_dir {
            path
        } else {
            path.parent().unwrap_or(path)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<String, String> {
        TargetPath::parse(text, Path::new("/work")).map(|path| path.0.to_string_lossy().into())
    }

    #[test]
    fn paths_are_resolved_and_normalised() {
        for (text, path) in [
            ("/secrets/tls.crt", "/secrets/tls.crt"),
            ("tls.crt", "/work/tls.crt"),
            ("./a/./b", "/work/a/b"),
            ("/a//b///c", "/a/b/c"),
            ("/a/b/", "/a/b"),
            ("/a/..b/...", "/a/..b/..."),
            ("/a/dev-disk\\x2dby", "/a/dev-disk\\x2dby"),
            ("/a/C:/b", "/a/C:/b"),
            ("/ü/ ", "/ü/ "),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(path), "{text}");
        }
    }

    #[test]
    fn what_breaks_a_rule_is_refused_with_its_reason() {
        for (text, part) in [
            ("", "empty"),
            ("/a\0b", "NUL"),
            ("/a/../b", "`..`"),
            ("..", "`..`"),
            ("/a/..", "`..`"),
            ("/", "root"),
            ("\\\\server\\share", "UNC"),
            ("//server/share", "UNC"),
            ("\\\\?\\C:\\x", "UNC"),
            ("C:\\secrets", "Windows"),
            ("c:/secrets", "Windows"),
            ("C:", "Windows"),
            ("secrets\\tls.crt", "Windows"),
            ("/a/.secrets-sync-abcdefABCDEF.tmp", "temporary"),
        ] {
            let reason = parse(text).unwrap_err();
            assert!(reason.contains(part), "{text}: {reason}");
            assert!(!reason.contains('\n') && !reason.ends_with('.'));
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let name = "n".repeat(255);
        assert!(parse(&format!("/{name}")).is_ok());
        assert!(parse(&format!("/{name}n")).unwrap_err().contains("255"));
        let path = format!("/{}", "a/".repeat(2047));
        assert_eq!(path.len(), 4095);
        assert!(parse(&format!("{path}b")).unwrap_err().contains("4095"));
        assert!(parse(&path[..4094]).is_ok());
    }

    #[test]
    fn modes_that_keep_the_rules() {
        for (text, bits) in [
            ("0644", 0o644),
            ("644", 0o644),
            ("0o644", 0o644),
            ("0600", 0o600),
            ("0660", 0o660),
            ("0440", 0o440),
            ("0", 0),
        ] {
            assert_eq!(Mode::parse(text).map(Mode::bits), Ok(bits), "{text}");
        }
    }

    #[test]
    fn modes_that_break_one() {
        for (text, part) in [
            ("", "octal"),
            ("0o", "octal"),
            ("0O644", "octal"),
            ("0x1a4", "octal"),
            ("648", "octal"),
            ("-644", "octal"),
            ("+644", "octal"),
            (" 644", "octal"),
            ("rw-r--r--", "octal"),
            ("20644", "digits"),
            ("77777777777777777777", "digits"),
            ("0700", "executable"),
            ("0641", "executable"),
            ("4644", "user or group ID"),
            ("2640", "user or group ID"),
            ("1640", "sticky"),
            ("0602", "everyone write"),
            ("0664", "everyone may read"),
        ] {
            let reason = Mode::parse(text).unwrap_err();
            assert!(reason.contains(part), "{text}: {reason}");
        }
    }

    proptest! {
        #[test]
        fn a_parsed_path_is_always_safe(text in "[a-z./\\\\:\0 ]{0,40}") {
            if let Ok(path) = TargetPath::parse(&text, Path::new("/w")) {
                prop_assert!(path.as_path().is_absolute());
                prop_assert!(path.as_path().components().skip(1).all(|part|
                    matches!(part, Component::Normal(_))));
                let again = path.as_path().to_str().unwrap();
                prop_assert_eq!(TargetPath::parse(again, Path::new("/v")), Ok(path.clone()));
            }
        }
    }
}
