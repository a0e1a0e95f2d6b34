//! Whether every other thread of this process waits.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Nothing that the engine does takes this long but a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks the kernel about the other threads.
#[derive(Default)]
pub struct Rest {
    threads: HashMap<i32, File>,
    /// The last that was found awake: it is asked first.
    awake: Option<i32>,
}

/// A thread's state, and how often it has gone to sleep.
type Look = (i32, char, u64);

impl Rest {
    /// Waits until all of them sleep.
    ///
    /// Two looks at each that find it asleep, without another falling asleep in between, prove that
    /// it slept all the time; so between the two rounds all of them slept at once. Whoever would
    /// wake one then has to be a timer, a socket of another process, or us.
    pub fn wait(&mut self) {
        let end = Instant::now() + PATIENCE;
        let mut rounds = 0u32;
        loop {
            if let Some(before) = self.look()
                && Some(before) == self.look()
            {
                return;
            }
            assert!(Instant::now() < end, "never at rest: {}", self.busy());
            rounds += 1;
            std::thread::sleep(Duration::from_micros(20 * u64::from(rounds.min(10))));
        }
    }

    /// All of them; `None` when one does not sleep.
    fn look(&mut self) -> Option<Vec<Look>> {
        if let Some(awake) = self.awake.take()
            && self.thread(awake).is_some_and(|look| look.1 != 'S')
        {
            self.awake = Some(awake);
            return None;
        }
        let me = rustix::thread::gettid().as_raw_pid();
        let mut all = Vec::with_capacity(self.threads.len());
        for entry in std::fs::read_dir("/proc/self/task").unwrap() {
            let number: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            if number == me {
                continue;
            }
            let look = self.thread(number)?;
            if look.1 != 'S' {
                self.awake = Some(number);
                return None;
            }
            all.push(look);
        }
        if self.threads.len() > all.len() {
            self.threads
                .retain(|number, _| all.iter().any(|look| look.0 == *number));
        }
        Some(all)
    }

    fn thread(&mut self, number: i32) -> Option<Look> {
        let mut text = [0; 4096];
        let known = self.threads.get(&number);
        let length = match known.map(|file| file.read_at(&mut text, 0)) {
            Some(Ok(length)) => length,
            // New, or another thread with an old number.
            _ => {
                let file = File::open(format!("/proc/self/task/{number}/status")).ok()?;
                let length = file.read_at(&mut text, 0).ok()?;
                self.threads.insert(number, file);
                length
            }
        };
        let text = std::str::from_utf8(&text[..length]).ok()?;
        let field = |name: &str| {
            let (_, rest) = text.split_once(name)?;
            rest.split_whitespace().next()
        };
        let state = field("\nState:")?.chars().next()?;
        let slept = field("\nvoluntary_ctxt_switches:")?.parse().ok()?;
        Some((number, state, slept))
    }

    fn busy(&mut self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
            let path = entry.path();
            let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
            let state = stat
                .rsplit(") ")
                .next()
                .and_then(|rest| rest.chars().next());
            text.push_str(&format!("`{}` {}; ", name.trim(), state.unwrap_or('?')));
        }
        text
    }
}
