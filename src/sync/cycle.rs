//! One cycle of one secret: the straight line from the store to the files.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::pulse::Pulse;
use crate::clock::{Clock, Stop, Tick};
use crate::failure::{ErrorType, Failure, Retry};
use crate::files::{NewFile, Proofs, WriteError, Writer};
use crate::observe::trace::{self, Span};
use crate::plan::{Layout, Secret};
use crate::printable::brief;
use crate::render::{Data, Limits, RenderError, render};
use crate::store::{Fetched, Store, StoreError};

/// Rendering one secret's files may take this long.
const RENDER_TIME: Duration = Duration::from_secs(10);

/// Proving that files can be written, and writing them, may take this long each before the secret counts as stalled:
/// a file system that hangs ends by itself never. No deadline of a worker is nearer when it is set.
pub(super) const DISK_TIME: Duration = Duration::from_secs(20);

/// A leased credential is replaced before this part of its life is over.
const LEASE_SHARE: f64 = 0.9;

/// How a secret is done: its stores, its writer, or its preview.
pub(super) struct Cycle {
    secret: Arc<Secret>,
    stores: Vec<Arc<dyn Store>>,
    writer: Writer,
    proofs: Arc<Proofs>,
    proved: bool,
    preview: Option<Preview>,
}

/// Shows contents without their values: digests under a key that lives as long as the run.
#[derive(Clone)]
pub(super) struct Preview(Arc<ring::hmac::Key>);

/// A cycle that went well.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) version: Option<u64>,
    pub(super) written: Vec<PathBuf>,
    pub(super) unchanged: usize,
    pub(super) ttl: Option<Duration>,
    pub(super) expires: Option<Tick>,
    pub(super) warnings: Vec<String>,
    pub(super) preview: Option<Vec<String>>,
}

/// A cycle that did not.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) failure: Failure,
    pub(super) wake: Option<Receiver<Infallible>>,
    /// [`StoreError::back`].
    pub(super) back: Option<Receiver<Infallible>>,
}

impl Cycle {
    /// `stores`: one for each source, in order; `proofs`: of all that start with it.
    #[must_use]
    pub(super) fn new(
        secret: Arc<Secret>,
        stores: Vec<Arc<dyn Store>>,
        proofs: Arc<Proofs>,
        preview: Option<Preview>,
    ) -> Self {
        Self {
            writer: writer(&secret).sharing(Arc::clone(&proofs)),
            secret,
            stores,
            proofs,
            proved: false,
            preview,
        }
    }

    /// The secret.
    #[must_use]
    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Tells the trace of a cycle what it was about, and how it went.
    pub(super) fn tell(&self, span: &mut Span, result: &Result<Done, Trouble>, stopped: bool) {
        let secret = &self.secret;
        span.set("secrets_sync.secret", secret.name.clone());
        if let Some(source) = secret.sources.first() {
            span.set("secrets_sync.store", source.session.store.clone());
        }
        let paths = secret.sources.iter();
        let paths: Vec<_> = paths
            .map(|source| format!("{}/{}", source.mount, source.key))
            .collect();
        span.set("secrets_sync.vault_path", paths.join(", "));
        match result {
            Ok(done) => {
                if let Some(version) = done.version {
                    span.set(
                        "secrets_sync.version",
                        i64::try_from(version).unwrap_or(i64::MAX),
                    );
                }
                if done.preview.is_none() {
                    tell_files(span, done.written.len(), done.unchanged);
                }
            }
            Err(_) if stopped => span.set("secrets_sync.stopped", true),
            Err(_) => span.judge(result, |trouble| &trouble.failure),
        }
    }

    /// Forgets what a broken cycle may have left half done in memory.
    pub(super) fn start_afresh(&mut self) {
        self.writer = writer(&self.secret).sharing(Arc::clone(&self.proofs));
        self.proved = false;
    }

    /// Whether readers may still be in what was replaced.
    #[must_use]
    pub(super) fn has_old(&self) -> bool {
        self.writer.has_old()
    }

    /// Takes away what was replaced. What stays is said, and tried again, by the next commit.
    pub(super) fn remove_old(&mut self) {
        let _ = self.writer.remove_old();
    }

    /// Fetch, render, commit.
    pub(super) fn run(
        &mut self,
        clock: &dyn Clock,
        stop: &Stop,
        pulse: &Pulse,
    ) -> Result<Done, Trouble> {
        let mut done = Done::default();
        if self.preview.is_none() && !self.proved {
            let proved = pulse.within(clock.now() + DISK_TIME, || {
                step("prove", |_| self.writer.prove())
            });
            done.warnings.extend(proved?);
            self.proved = true;
        }
        let data = self.fetch(clock, stop, &mut done)?;
        let files = step("render", |span| {
            let files = self.render(&data, &mut done)?;
            span.set("secrets_sync.files", count(files.len()));
            Ok::<_, RenderError>(files)
        })?;
        drop(data);
        if let Some(preview) = &self.preview {
            done.preview = Some(preview.lines(&self.writer, &files)?);
            return Ok(done);
        }
        if !pulse.writing() {
            return Err(stopped());
        }
        let committed = pulse.within(clock.now() + DISK_TIME, || {
            step("commit", |span| {
                let committed = self.writer.commit(&files)?;
                tell_files(span, committed.written.len(), committed.unchanged);
                Ok::<_, WriteError>(committed)
            })
        })?;
        done.written = committed.written;
        done.unchanged = committed.unchanged;
        done.warnings.extend(committed.warnings);
        few(&mut done.warnings);
        Ok(done)
    }

    /// All sources in order; the first that fails ends it before anything is written.
    fn fetch(&self, clock: &dyn Clock, stop: &Stop, done: &mut Done) -> Result<Data, Trouble> {
        let mut many = Vec::with_capacity(self.secret.sources.len());
        for (source, store) in self.secret.sources.iter().zip(&self.stores) {
            if stop.is_stopped() {
                return Err(stopped());
            }
            let Fetched {
                fields,
                version,
                ttl,
                leased,
            } = store.fetch(source, stop)?;
            if let Some(ttl) = ttl {
                // Of a lease a tenth is left, to be replaced in.
                let good = if leased {
                    ttl.mul_f64(LEASE_SHARE)
                } else {
                    ttl
                };
                done.ttl = Some(done.ttl.map_or(good, |known| known.min(good)));
                if leased {
                    let end = clock.now() + ttl;
                    done.expires = Some(done.expires.map_or(end, |known| known.min(end)));
                }
            }
            match &source.alias {
                None => {
                    done.version = version;
                    return Ok(Data::One(fields));
                }
                Some(alias) => many.push((alias.clone(), fields)),
            }
        }
        Ok(Data::Many(many))
    }

    fn render(&self, data: &Data, done: &mut Done) -> Result<Vec<NewFile>, RenderError> {
        let limits = Limits {
            max_bytes: self.secret.max_file_bytes,
            deadline: Instant::now() + RENDER_TIME,
        };
        let mut files = Vec::with_capacity(self.secret.outputs.len());
        for (target, output) in self.secret.outputs.iter().enumerate() {
            let rendered = render(&output.content, data, limits).map_err(|mut error| {
                error.message = format!(
                    "`{}`: {}",
                    output.target.path.as_path().display(),
                    error.message
                );
                error
            })?;
            done.warnings.extend(rendered.warnings);
            files.extend(rendered.pieces.into_iter().map(|piece| NewFile {
                target,
                name: piece.name,
                bytes: piece.bytes,
            }));
        }
        Ok(files)
    }
}

/// A step with a span of its own.
fn step<T, E: Into<Trouble>>(
    name: &'static str,
    step: impl FnOnce(&mut Span) -> Result<T, E>,
) -> Result<T, Trouble> {
    let mut span = trace::child(name);
    let result = step(&mut span).map_err(Into::into);
    span.judge(&result, |trouble| &trouble.failure);
    result
}

/// How many files were written, and how many were right.
pub(super) fn tell_files(span: &mut Span, written: usize, unchanged: usize) {
    span.set("secrets_sync.files.written", count(written));
    span.set("secrets_sync.files.unchanged", count(unchanged));
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn writer(secret: &Secret) -> Writer {
    Writer::new(
        secret
            .outputs
            .iter()
            .map(|output| output.target.clone())
            .collect(),
        secret.layout == Layout::Directory,
    )
}

impl Preview {
    /// Under a fresh random key.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers.
    pub(super) fn new() -> Result<Self, ring::error::Unspecified> {
        let random = ring::rand::SystemRandom::new();
        let key = ring::hmac::Key::generate(ring::hmac::HMAC_SHA256, &random)?;
        Ok(Self(Arc::new(key)))
    }

    /// Eight hexadecimal digits: equal within a run for equal contents, and nothing else.
    fn digest(&self, bytes: &[u8]) -> String {
        ring::hmac::sign(&self.0, bytes).as_ref()[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// A line for each file: what would change.
    fn lines(&self, writer: &Writer, files: &[NewFile]) -> Result<Vec<String>, WriteError> {
        let changes = writer.compare(files)?;
        Ok(changes
            .iter()
            .zip(files)
            .map(|(change, file)| {
                let path = change.path.display();
                let digest = self.digest(file.bytes.expose());
                let size = change.new_size;
                match (change.content, change.attributes, change.old_size) {
                    (false, false, _) => format!("unchanged {path}: {size} bytes, digest {digest}"),
                    (false, true, _) => {
                        format!("would set mode and owner of {path}: {size} bytes, digest {digest}")
                    }
                    (true, _, None) => {
                        format!("would create {path}: {size} bytes, digest {digest}")
                    }
                    (true, _, Some(old)) => {
                        format!("would replace {path}: {old} -> {size} bytes, digest {digest}")
                    }
                }
            })
            .collect())
    }
}

impl std::fmt::Debug for Preview {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Preview([redacted])")
    }
}

/// The most warnings of one cycle, and the longest of them in characters: a server chooses the names
/// of fields and how many there are.
const MOST_WARNINGS: usize = 20;
const LONGEST_WARNING: usize = 1000;

fn few(warnings: &mut Vec<String>) {
    if let Some(more @ 1..) = warnings.len().checked_sub(MOST_WARNINGS) {
        warnings.truncate(MOST_WARNINGS);
        warnings.push(format!("and {more} more warnings of this kind"));
    }
    for warning in warnings {
        *warning = brief(warning, LONGEST_WARNING).into_owned();
    }
}

fn stopped() -> Trouble {
    Trouble::from(Failure::new(
        ErrorType::Unavailable,
        Retry::Backoff(None),
        "told to stop",
    ))
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            wake: None,
            back: None,
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self {
            failure: error.failure,
            wake: error.wake,
            back: error.back,
        }
    }
}

impl From<RenderError> for Trouble {
    fn from(error: RenderError) -> Self {
        let failure = Failure::new(ErrorType::Render, Retry::Settled, error.message);
        Self::from(failure.with_remedy(error.help.unwrap_or_else(|| {
            "correct the template, or what the secret holds, after the message".to_owned()
        })))
    }
}

impl From<WriteError> for Trouble {
    fn from(error: WriteError) -> Self {
        Self::from(error.failure())
    }
}
