//! What strains the daemon: values that change, a server that fails, configurations that change.

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::reading::{EndsAll, fields, files};
use crate::support::{Api, Daemon, OpenBao, SOON, Signal, poll};

/// Secrets.
pub(crate) const NUMBER: usize = 100;
/// The last of them have `layout: directory`; every second configuration has none of the last ten.
const SWITCHED: usize = 20;
const COMING_AND_GOING: usize = 10;

/// Until when a part of the run lasts, and whether it was ended early.
pub(crate) struct Pace<'a> {
    pub(crate) end: Instant,
    pub(crate) over: &'a AtomicBool,
}

impl Pace<'_> {
    /// Waits this long; `false`: it is over.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let left = self.end.saturating_duration_since(Instant::now());
        let over = || self.over.load(Ordering::Relaxed).then_some(());
        poll(time.min(left), over).is_none() && time < left
    }

    /// So that a reader does not take the processor that the others share.
    pub(crate) fn breathe(&self) {
        let over = || self.over.load(Ordering::Relaxed).then_some(());
        poll(Duration::from_millis(20), over);
    }
}

/// The secrets and their configuration.
pub(crate) struct Fleet {
    pub(crate) names: Vec<String>,
    store: String,
    generation: AtomicUsize,
}

/// A generation for each secret.
pub(crate) struct Generations(HashMap<String, usize>);

impl Generations {
    pub(crate) fn of(&self, name: &str) -> usize {
        self.0[name]
    }
}

impl Fleet {
    pub(crate) fn new(address: &str, role_id: &str, secret_id: &str) -> Self {
        Self {
            names: (0..NUMBER).map(|number| format!("s{number}")).collect(),
            store: format!(
                "secretStore:\n  address: '{address}'\n  mountPath: kv\n  timeout: 2s\n  \
                 authMethod: approle\n  roleId: {role_id}\n  secretId: {secret_id}\nsecrets:\n"
            ),
            generation: AtomicUsize::new(0),
        }
    }

    pub(crate) fn is_switched(&self, name: &String) -> bool {
        self.names.iter().position(|one| one == name) >= Some(NUMBER - SWITCHED)
    }

    /// The configuration after so many changes: the even ones have all secrets and are equal in
    /// number of threads, the odd ones differ from them, and from each other.
    pub(crate) fn config(&self, change: usize) -> String {
        let odd = change % 2 == 1;
        let mut text = self.store.clone();
        let left = if odd {
            NUMBER - COMING_AND_GOING
        } else {
            NUMBER
        };
        for (number, name) in self.names.iter().enumerate().take(left) {
            // Another five each time have another interval, and ten more files of their own.
            let touched = odd && number / 5 == change / 2 % 10;
            let interval = if touched { "1100ms" } else { "1s" };
            text +=
                &format!("  - name: {name}\n    key: {name}\n    refreshInterval: {interval}\n");
            if self.is_switched(name) {
                text += "    layout: directory\n";
            }
            text += &files(name, "");
            if touched {
                text += &format!("    - {{ path: '@DIR@/more/{name}', format: json }}\n");
            }
        }
        text
    }

    /// One that no secret had before, for each.
    pub(crate) fn next_generation(&self) -> Generations {
        let next = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        Generations(self.names.iter().map(|name| (name.clone(), next)).collect())
    }

    pub(crate) fn put_all(&self, bao: &Api, generations: &Generations) {
        for name in &self.names {
            let within = SOON;
            let put = || self.put(bao, name, generations.of(name)).then_some(());
            assert!(poll(within, put).is_some(), "`{name}` cannot be written");
        }
    }

    /// Writes a value, if the server takes it.
    fn put(&self, bao: &Api, name: &str, generation: usize) -> bool {
        let body = json!({ "data": fields(name, generation) }).to_string();
        let target = format!("/v1/kv/data/{name}");
        let headers = [("X-Vault-Token", bao.root_token())];
        let answer = bao
            .endpoint()
            .exchange("POST", &target, &headers, body.as_bytes());
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// A new value for one secret after the other, twenty a second; how many the server took.
    pub(crate) fn keep_changing(&self, bao: &Api, pace: &Pace<'_>) -> usize {
        let _ends = EndsAll(pace.over);
        let mut taken = 0;
        for name in self.names.iter().cycle() {
            if !pace.wait(Duration::from_millis(50)) {
                break;
            }
            let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
            taken += usize::from(self.put(bao, name, generation));
        }
        taken
    }

    /// Changes the configuration so often, this far apart, and ends with one that has all secrets.
    pub(crate) fn reload(&self, daemon: &Daemon, apart: Duration, number: u32, over: &AtomicBool) {
        let path = daemon.path("config.yaml");
        let dir = daemon.dir().to_str().unwrap();
        let begun = Instant::now();
        for done in 1..=number as usize {
            let due = apart * done as u32;
            let over = || over.load(Ordering::Relaxed).then_some(());
            if poll(due.saturating_sub(begun.elapsed()), over).is_some() {
                return;
            }
            let last = done == number as usize;
            let change = if last { 0 } else { done };
            let mark = daemon.mark();
            fs::write(&path, self.config(change).replace("@DIR@", dir)).unwrap();
            daemon.signal(Signal::HUP);
            daemon.wait_for_log_after(mark, SOON, |line| {
                line.msg() == "the new configuration is taken up"
            });
        }
    }
}

/// Kills, seals and freezes the server by turns; how often.
pub(crate) fn fail_again_and_again(bao: &OpenBao, pace: &Pace<'_>) -> u32 {
    let mut outages = 0;
    // A third of the time it is away.
    for length in [2, 4, 3, 6, 5].into_iter().cycle().map(Duration::from_secs) {
        if !pace.wait(length) || pace.end < Instant::now() + length * 2 {
            break;
        }
        match outages % 3 {
            0 => bao.kill9(),
            1 => bao.seal(),
            _ => bao.stop(),
        }
        pace.wait(length);
        match outages % 3 {
            0 => bao.restart(),
            1 => bao.unseal(),
            _ => bao.cont(),
        }
        outages += 1;
        if !pace.wait(length) {
            break;
        }
    }
    outages
}
