//! What people ask for: another configuration, a refresh of everything.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use log::{error, info};

use super::{Supervisor, display};
use crate::clock::Tick;
use crate::plan::{self, Plan};
use crate::sync::facts::facts;
use crate::sync::futexes;
use crate::sync::narrator::{expectations, notices};
use crate::sync::reading::{Read, Reading, Sheet};
use crate::sync::showing::Change;
use crate::sync::signals::Signal;

impl Supervisor {
    pub(super) fn refresh(&mut self) {
        info!(target: "sync", secrets = self.plan.secrets.len(); "asked to refresh everything now");
        self.crew.refresh_all();
        self.showing.asked(self.clock.now());
    }

    pub(super) fn follow(&self) {
        let mut files = self.stores.followed_files();
        if self.daemon.watch_config {
            files.push(self.file.clone());
        }
        self.watch.follow(files);
    }

    pub(super) fn files_changed(&mut self, files: &[PathBuf]) {
        self.stores.files_changed(files);
        if self.daemon.watch_config && files.contains(&self.file) {
            info!(target: "config", path = display(&self.file); "the configuration file changed");
            self.reload();
        }
    }

    /// A reload by signal: those that came meanwhile are the same one. `true`: a stop was among
    /// them.
    pub(super) fn reload_asked(&mut self, signals: &Receiver<Signal>) -> bool {
        let mut refresh = false;
        for signal in signals.try_iter() {
            match signal {
                Signal::Reload => {}
                Signal::Refresh => refresh = true,
                Signal::Stop => return true,
            }
        }
        self.reload();
        if refresh {
            self.refresh();
        }
        false
    }

    /// Reads the configuration as it is now. One that is being read already is read once more.
    fn reload(&mut self) {
        if let Some(reading) = &mut self.reading {
            reading.again = true;
            return;
        }
        self.outlook.reloading();
        let sheet = Sheet {
            file: self.file.clone(),
            environment: Arc::clone(&self.environment),
            daemon: Arc::clone(&self.daemon),
            sandbox: self.sandbox.clone(),
        };
        self.reading = Some(Reading::begin(sheet, self.clock.now()));
    }

    /// Whoever read it has told what came of it; or nothing, by a defect.
    pub(super) fn read(&mut self, read: Option<Read>) {
        let again = self.reading.take().is_some_and(|reading| reading.again);
        let defect = || Err("it could not be read, by a defect of this program".to_owned());
        self.end_reload(read.unwrap_or_else(defect));
        if again {
            self.reload();
        }
    }

    /// Takes the plan up, or says why not and goes on with the one that runs.
    fn end_reload(&mut self, read: Read) {
        // Nobody listens any more to those who are replaced.
        self.hear();
        match read {
            Ok(plan) => self.take_up(plan),
            Err(why) => self.refuse(&why),
        }
        self.outlook.reloaded();
        self.showing.note(Change::News);
    }

    /// A disk that does not answer holds up the reload, and nothing else: that is to be seen.
    pub(super) fn look_after_the_reload(&mut self, now: Tick) {
        if !self
            .reading
            .as_mut()
            .is_some_and(|reading| reading.is_late(now))
        {
            return;
        }
        let why = "it is still being read: its disk does not answer";
        error!(target: "config", path = display(&self.file), error = why;
            "the new configuration is not there yet; the old one goes on");
        self.metrics().reloaded(None);
        self.state.refuse(why.to_owned());
        self.showing.note(Change::News);
    }

    fn refuse(&mut self, why: &str) {
        error!(target: "config", path = display(&self.file), error = why;
            "the new configuration was refused; the old one goes on");
        self.metrics().reloaded(None);
        self.state.refuse(why.to_owned());
    }

    fn take_up(&mut self, plan: Plan) {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let diff = plan::diff(&self.plan, &plan);
        self.stores.apply(&plan);
        // Before the first login reads them: no change after that is missed.
        self.follow();
        for name in diff.removed.iter().chain(&diff.changed) {
            self.crew.stop(name);
        }
        let unchanged: HashSet<String> = diff.unchanged.iter().cloned().collect();
        for labels in self.state.apply(&plan, &unchanged, now, wall) {
            self.metrics().forget_secret(&labels);
        }
        for store in &self.plan.stores {
            if plan.stores.iter().all(|new| new.name != store.name) {
                self.metrics().forget_store(&store.name);
            }
        }
        self.narrator.retain(&plan);
        self.describe_by = None;
        self.outlook.describe(&self.file, &facts(&plan), now);
        self.plan = plan;
        self.unstarted.clear();
        self.crew.forget_proofs();
        futexes::make_room(self.plan.secrets.len());
        for index in 0..self.plan.secrets.len() {
            if self
                .state
                .secrets()
                .get(index)
                .is_some_and(|known| known.worker.is_none())
            {
                self.start_worker(index);
            }
        }
        self.to_retire = true;
        if self.crew.nobody_leaves() {
            self.to_retire = false;
            self.stores.retire();
        }
        notices(&self.plan.notices);
        expectations(&self.plan);
        info!(target: "config", path = display(&self.file), added = diff.added.len(),
            removed = diff.removed.len(), changed = diff.changed.len(),
            unchanged = diff.unchanged.len(); "the new configuration is taken up");
        self.metrics().reloaded(Some(wall));
    }
}
