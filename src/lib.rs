//! `secrets-sync` carries secrets from HashiCorp Vault and OpenBao into files, and keeps those
//! files true.
//!
//! The map of the house. One secret goes through it in one straight line, top to bottom, and no
//! room calls one above it:
//!
//! * [`cli`]: one file a command; arguments in, text and exit code out.
//! * [`sync`]: the main thread's event loop, one worker thread a secret, schedules, state.
//! * [`store`]: where secrets come from: connections, sessions, limits, breaker, Vault.
//! * [`plan`]: what will be done, resolved and checked; nothing after it validates again.
//! * [`render`]: fields in, bytes out: templates, formats, encodings.
//! * [`files`]: bytes in, files on disk: path rules, staging, commit, clean-up.
//! * [`config`]: the YAML file and the environment as they were written.
//! * [`observe`]: is told what happened and shows it: log, metrics, HTTP, status file, systemd.
//! * [`convert`]: manifests of External Secrets Operator in, a configuration out.
//! * [`sandbox`]: what the kernel lets the process write and read.
//! * [`heap`]: memory that is wiped when it is freed.
//! * [`secret`], [`failure`], [`clock`], [`printable`]: the words that all rooms share.

#[cfg(test)]
mod children;
pub mod cli;
pub mod clock;
pub mod config;
pub mod convert;
pub mod failure;
pub mod files;
pub mod heap;
pub mod observe;
pub mod plan;
pub mod printable;
pub mod render;
pub mod sandbox;
pub mod secret;
pub mod store;
pub mod sync;
