//! Which sources and tools this program was built from: `version` and the metrics tell it.

/// What the build script found; `unknown` where it found nothing.
#[derive(Clone, Copy, Debug)]
pub struct BuildInfo {
    /// Of the package.
    pub version: &'static str,
    /// The git commit.
    pub revision: &'static str,
    /// Of the commit (or `SOURCE_DATE_EPOCH`), RFC 3339.
    pub commit_date: &'static str,
    /// The target triple.
    pub target: &'static str,
    /// The compiler's version.
    pub rustc: &'static str,
}

/// This build.
pub const BUILD: BuildInfo = BuildInfo {
    version: env!("CARGO_PKG_VERSION"),
    revision: env!("SECRETS_SYNC_REVISION"),
    commit_date: env!("SECRETS_SYNC_COMMIT_DATE"),
    target: env!("SECRETS_SYNC_TARGET"),
    rustc: env!("SECRETS_SYNC_RUSTC"),
};
