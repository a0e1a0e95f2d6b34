//! How often the same thing is told: once when it begins or changes, then at most once in five
//! minutes with a count, and once when it is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::Tick;

/// How long the same state stays untold.
pub const EVERY: Duration = Duration::from_secs(300);

/// As many subjects are kept in mind, unless [`Quiet::make_room`] says more: one more makes it forget the
/// one that was told of longest ago. Texts of servers are among them, and no server shall fill the memory.
const MOST: usize = 5000;

/// What was told of each subject.
#[derive(Clone, Debug)]
pub struct Quiet<K> {
    subjects: BTreeMap<K, Subject>,
    /// The subjects in the order in which they were told of.
    told: BTreeSet<(Tick, K)>,
    most: usize,
}

#[derive(Clone, Debug)]
struct Subject {
    text: String,
    /// When this text was told.
    text_told: Tick,
    /// Other texts, and when they were told: what comes and goes is told no more often than what stays.
    others: Vec<(String, Tick)>,
    since: Tick,
    /// When anything was told.
    told: Tick,
    repeated: u64,
    total: u64,
}

/// As many other texts are kept in mind.
const MOST_OTHERS: usize = 4;

impl Subject {
    /// Makes `state` its text; when that was told last, if it is known.
    fn turn_to(&mut self, state: &str) -> Option<Tick> {
        if self.text == state {
            return Some(self.text_told);
        }
        let known = self.others.iter().position(|(text, _)| text == state);
        let told = known.map(|at| self.others.remove(at).1);
        let text = std::mem::replace(&mut self.text, state.to_owned());
        self.others.push((text, self.text_told));
        if self.others.len() > MOST_OTHERS {
            self.others.remove(0);
        }
        told
    }
}

/// A line is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// How often the same has happened since the last line; 0 when it is new.
    pub repeated: u64,
}

/// It is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How long after its first occurrence, through all changes of its text.
    pub after: Duration,
    /// How often it happened in all.
    pub repeated: u64,
}

impl<K> Default for Quiet<K> {
    fn default() -> Self {
        Self {
            subjects: BTreeMap::new(),
            told: BTreeSet::new(),
            most: MOST,
        }
    }
}

impl<K: Ord + Clone> Quiet<K> {
    /// Nothing told yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `state` holds of `key` (again); whether that is worth a line.
    pub fn note(&mut self, key: K, state: &str, now: Tick) -> Option<Line> {
        let Some(subject) = self.subjects.get_mut(&key) else {
            self.begin(key, state, now);
            return Some(Line { repeated: 0 });
        };
        subject.total += 1;
        let last = subject.turn_to(state);
        if let Some(last) = last {
            subject.repeated += 1;
            subject.text_told = last;
            if now.since(last) < EVERY {
                return None;
            }
        }
        let is_new = last.is_none();
        let repeated = std::mem::take(&mut subject.repeated);
        let told = std::mem::replace(&mut subject.told, now);
        subject.text_told = now;
        let entry = (told, key);
        self.told.remove(&entry);
        self.told.insert((now, entry.1));
        Some(Line {
            repeated: if is_new { 0 } else { repeated },
        })
    }

    fn begin(&mut self, key: K, state: &str, now: Tick) {
        while self.subjects.len() >= self.most
            && let Some((_, oldest)) = self.told.pop_first()
        {
            self.subjects.remove(&oldest);
        }
        self.told.insert((now, key.clone()));
        self.subjects.insert(
            key,
            Subject {
                text: state.to_owned(),
                text_told: now,
                others: Vec::new(),
                since: now,
                told: now,
                repeated: 0,
                total: 1,
            },
        );
    }

    /// `key` is well; what to say where it was not.
    pub fn clear<Q>(&mut self, key: &Q, now: Tick) -> Option<Ended>
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let (key, subject) = self.subjects.remove_entry(key)?;
        self.told.remove(&(subject.told, key));
        Some(Ended {
            after: now.since(subject.since),
            repeated: subject.total,
        })
    }

    /// Keeps at least so many subjects in mind, for a caller who has that many of his own: else each of
    /// them, when its turn comes again, would be told as if it were new.
    pub fn make_room(&mut self, subjects: usize) {
        self.most = MOST.max(subjects);
    }

    /// Forgets subjects that are gone, without a word.
    pub fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        self.subjects.retain(|key, _| keep(key));
        let subjects = &self.subjects;
        self.told.retain(|(_, key)| subjects.contains_key(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn one_line_when_it_changes_then_one_in_five_minutes_with_a_count() {
        let mut quiet = Quiet::<String>::new();
        let mut note = |state: &str, seconds| quiet.note("tls".into(), state, at(seconds));
        assert_eq!(note("denied", 0), Some(Line { repeated: 0 }));
        assert_eq!(note("denied", 1), None);
        assert_eq!(note("denied", 299), None);
        assert_eq!(note("denied", 300), Some(Line { repeated: 3 }));
        assert_eq!(note("denied", 301), None);
        assert_eq!(note("sealed", 302), Some(Line { repeated: 0 }));
        assert_eq!(note("sealed", 303), None);
        assert_eq!(
            quiet.clear("tls", at(310)),
            Some(Ended {
                after: Duration::from_secs(310),
                repeated: 7
            })
        );
        assert_eq!(quiet.clear("tls", at(311)), None);
    }

    #[test]
    fn what_comes_and_goes_is_told_as_often_as_what_stays() {
        let mut quiet = Quiet::<String>::new();
        let mut lines = Vec::new();
        for second in 0..700 {
            let state = ["refused", "sealed"][second as usize % 2];
            if let Some(line) = quiet.note("store".into(), state, at(second)) {
                lines.push((second, line.repeated));
            }
        }
        assert_eq!(
            lines,
            [(0, 0), (1, 0), (300, 299), (301, 1), (600, 299), (601, 1)]
        );
        // What is new is told at once.
        assert!(quiet.note("store".into(), "denied", at(701)).is_some());
    }

    #[test]
    fn ever_new_subjects_push_out_the_oldest() {
        let mut quiet = Quiet::new();
        let at = |number: usize| Tick::from_start(Duration::from_millis(number as u64));
        for number in 0..=MOST {
            assert!(quiet.note(number, "", at(number)).is_some());
        }
        assert_eq!(quiet.subjects.len(), MOST);
        let now = at(MOST + 1);
        assert!(quiet.note(1, "", now).is_none(), "still known");
        assert!(quiet.note(0, "", now).is_some(), "forgotten");
        assert_eq!(quiet.told.len(), quiet.subjects.len());
    }

    #[test]
    fn as_many_subjects_as_the_caller_has_are_each_told_once() {
        let mut quiet = Quiet::new();
        quiet.make_room(2 * MOST);
        let told = |quiet: &mut Quiet<usize>, seconds| {
            (0..2 * MOST)
                .filter(|number| quiet.note(*number, "denied", at(seconds)).is_some())
                .count()
        };
        assert_eq!(told(&mut quiet, 0), 2 * MOST);
        assert_eq!(told(&mut quiet, 60), 0);
        assert_eq!(told(&mut quiet, 300), 2 * MOST);
        assert!(quiet.clear(&7, at(301)).is_some());
        assert!(quiet.note(7, "denied", at(302)).is_some());
        quiet.retain(|number| *number < 10);
        assert_eq!((quiet.told.len(), quiet.subjects.len()), (10, 10));
    }

    #[test]
    fn subjects_do_not_disturb_each_other() {
        let mut quiet = Quiet::new();
        assert!(quiet.note("a", "denied", at(0)).is_some());
        assert!(quiet.note("b", "denied", at(0)).is_some());
        quiet.retain(|key| *key == "a");
        assert!(quiet.note("a", "denied", at(1)).is_none());
        assert!(quiet.note("b", "denied", at(1)).is_some());
    }
}
