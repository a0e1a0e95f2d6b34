//! The lines of the file.

use serde::{Deserialize, Serialize};

use crate::printable::brief;

/// The longest error of an attempt that is kept, in characters; the last one stands whole in the
/// status.
const LONGEST: usize = 160;

/// The daemon that wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonFacts {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The configuration file that it reads.
    pub config: String,
}

/// A secret as the running configuration has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFacts {
    /// Its name.
    pub name: String,
    /// The refresh interval, or `once`.
    pub interval: String,
    /// Counts neither for ready nor for degraded.
    pub optional: bool,
    /// `files` or `directory`.
    pub layout: String,
    /// What is read, in order.
    pub sources: Vec<SourceFacts>,
    /// What is written, in order.
    pub files: Vec<FileFacts>,
}

/// One read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFacts {
    /// Its name below `sources`, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The store's name.
    pub store: String,
    /// The store's address.
    pub address: String,
    /// The namespace of the read; empty is root.
    pub namespace: String,
    /// The credential set.
    pub credentials: String,
    /// The namespace of its login; empty is root.
    pub auth_namespace: String,
    /// `token`, `approle`, `cert`, `none`.
    pub method: String,
    /// The mount.
    pub mount: String,
    /// The key.
    pub key: String,
    /// `v1` or `v2`.
    pub kv_version: String,
    /// The pinned version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Whether the metadata is read instead of the data.
    pub metadata: bool,
    /// What is asked: `/v1/secret/data/app/db`.
    pub request: String,
    /// The rule that the token's policies must hold; `None` where no policy in the namespace of the
    /// login can allow the read.
    pub policy: Option<PolicyRule>,
}

/// A rule of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRule {
    /// The path, from the namespace of the login.
    pub path: String,
    /// What must be allowed there.
    pub capabilities: Vec<String>,
    /// In the language of policies.
    pub hcl: String,
}

/// One file, or the directory of many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Where.
    pub path: String,
    /// Whether it is a `dir`: a file for each field.
    pub is_dir: bool,
    /// The mode of each file, octal: `0640`.
    pub mode: String,
    /// The user ID, where one is named; else the daemon's own.
    pub owner: Option<u32>,
    /// The group ID, where one is named; else the daemon's own.
    pub group: Option<u32>,
    /// What is written, in words: `template tls.crt`.
    pub content: String,
    /// Written into instead of replaced.
    pub in_place: bool,
}

/// One attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended, in milliseconds since 1970.
    pub at_ms: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The class of its failure; `None` for a success.
    pub error_type: Option<String>,
    /// The beginning of what it failed with.
    pub error: Option<String>,
    /// The version that was read.
    pub version: Option<u64>,
    /// How many files were written.
    pub written: usize,
    /// How long after its end the next one was planned, in milliseconds; `None`: not at a time.
    pub wait_ms: Option<u64>,
    /// Why then: the words of the status' `next_reason`.
    pub reason: String,
}

/// What stands in a line: short, for there are many.
pub(super) type Line<'a> = (
    std::borrow::Cow<'a, str>,
    u64,
    u64,
    Option<std::borrow::Cow<'a, str>>,
    Option<std::borrow::Cow<'a, str>>,
    Option<u64>,
    usize,
    Option<u64>,
    std::borrow::Cow<'a, str>,
);

impl Attempt {
    /// The line of the attempt of that secret, with its end.
    pub(super) fn line(&self, name: &str) -> String {
        let error = self.error.as_deref().map(|error| brief(error, LONGEST));
        let line: Line<'_> = (
            name.into(),
            self.at_ms,
            self.took_ms,
            self.error_type.as_deref().map(Into::into),
            error,
            self.version,
            self.written,
            self.wait_ms,
            self.reason.as_str().into(),
        );
        // Numbers and texts cannot fail to be written.
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The secret's name and the attempt, of a line.
    pub(super) fn parse(line: &str) -> Option<(String, Self)> {
        let (name, at_ms, took_ms, error_type, error, version, written, wait_ms, reason) =
            serde_json::from_str::<Line<'_>>(line).ok()?;
        let attempt = Self {
            at_ms,
            took_ms,
            error_type: error_type.map(Into::into),
            error: error.map(Into::into),
            version,
            written,
            wait_ms,
            reason: reason.into(),
        };
        Some((name.into(), attempt))
    }
}

/// The secret's name, of the line of an attempt: what stands in its first quotes. `None` where it
/// is not plain, which no name is that a configuration may have.
pub(super) fn name_of(line: &str) -> Option<&str> {
    let (name, _) = line.strip_prefix("[\"")?.split_once('"')?;
    (!name.contains('\\')).then_some(name)
}

/// The line of the daemon.
#[derive(Serialize, Deserialize)]
pub(super) struct DaemonLine<T> {
    pub(super) daemon: T,
}

/// The line of a secret.
#[derive(Serialize, Deserialize)]
pub(super) struct SecretLine<T> {
    pub(super) secret: T,
}

/// How a secret's line begins.
pub(super) const SECRET: &str = "{\"secret\":";

/// How the daemon's line begins.
pub(super) const DAEMON: &str = "{\"daemon\":";
