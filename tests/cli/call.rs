//! One call of the program.

use std::process::{Command, Stdio};

/// One call in an empty directory and an empty environment. What is not said to be expected must
/// not be there.
pub(crate) struct Call {
    pub(crate) command: Command,
    pub(crate) directory: tempfile::TempDir,
    code: i32,
    stdout: String,
    stderr: String,
}

impl Call {
    pub(crate) fn new(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_secrets-sync"));
        command
            .args(arguments)
            .env_clear()
            .current_dir(directory.path())
            .stdin(Stdio::null());
        Self {
            command,
            directory,
            code: 0,
            stdout: String::new(),
            stderr: String::new(),
        }
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        std::fs::write(self.directory.path().join(name), content).unwrap();
        self
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn code(mut self, code: i32) -> Self {
        self.code = code;
        self
    }

    pub(crate) fn stdout(mut self, text: impl Into<String>) -> Self {
        self.stdout = text.into();
        self
    }

    pub(crate) fn stderr(mut self, text: impl Into<String>) -> Self {
        self.stderr = text.into();
        self
    }

    #[track_caller]
    pub(crate) fn check(mut self) {
        let output = self.command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert_eq!(
            (
                output.status.code(),
                text(output.stdout),
                text(output.stderr)
            ),
            (Some(self.code), self.stdout, self.stderr)
        );
    }
}
