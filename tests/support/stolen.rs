//! What a busy machine takes of a time that is measured: how long threads that could run waited for a processor.

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(200);

/// By process and thread: how long it has waited so far.
type Waited = HashMap<(u32, u32), Duration>;

/// Looks at some processes five times a second, until it is dropped.
pub struct Stolen {
    samples: Arc<Mutex<Vec<(Instant, Waited)>>>,
    over: Arc<AtomicBool>,
}

impl Stolen {
    /// Looks at these, and at the test's own.
    pub fn from(pids: impl Fn() -> Vec<u32> + Send + 'static) -> Self {
        let samples = Arc::new(Mutex::new(vec![sample(&pids())]));
        let over = Arc::new(AtomicBool::new(false));
        let (all, end) = (Arc::clone(&samples), Arc::clone(&over));
        std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                std::thread::sleep(EVERY);
                let sample = sample(&pids());
                all.lock().unwrap().push(sample);
            }
        });
        Self { samples, over }
    }

    /// Between these moments: of each process the thread that waited longest, in all, for they wait for each other.
    pub fn between(&self, from: Instant, to: Instant) -> Duration {
        let later = || {
            let samples = self.samples.lock().unwrap();
            let later = samples.iter().find(|(at, _)| *at >= to)?;
            Some(later.1.clone())
        };
        let after = super::poll(super::SOON, later).expect("a look at the machine");
        let samples = self.samples.lock().unwrap();
        let (_, before) = samples
            .iter()
            .rfind(|(at, _)| *at <= from)
            .unwrap_or(&samples[0]);
        let mut longest = HashMap::new();
        for ((pid, thread), waited) in after {
            let before = before.get(&(pid, thread)).copied().unwrap_or_default();
            let one: &mut Duration = longest.entry(pid).or_default();
            *one = (*one).max(waited.saturating_sub(before));
        }
        longest.values().sum()
    }
}

impl Drop for Stolen {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Empty where the kernel does not count it: then nothing is taken off.
fn sample(pids: &[u32]) -> (Instant, Waited) {
    let mut all = Waited::new();
    for pid in pids.iter().copied().chain([std::process::id()]) {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        for task in tasks.flatten() {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let waited = text
                .split(' ')
                .nth(1)
                .and_then(|nanos| nanos.parse().ok())
                .map(Duration::from_nanos);
            let thread = task.file_name().to_string_lossy().parse();
            if let (Ok(thread), Some(waited)) = (thread, waited) {
                all.insert((pid, thread), waited);
            }
        }
    }
    (Instant::now(), all)
}
