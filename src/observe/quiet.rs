//! How often the same thing is told: once when it begins or changes, then at most once in five
//! minutes with a count, and once when it is over.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Tick;

/// How long the same state stays untold.
pub const EVERY: Duration = Duration::from_secs(300);

/// As many subjects are kept in mind: one more makes it forget the one that was told of longest ago.
/// Texts of servers are among them, and no server shall fill the memory.
const MOST: usize = 5000;

/// What was told of each subject.
#[derive(Clone, Debug)]
pub struct Quiet<K> {
    subjects: BTreeMap<K, Subject>,
}

#[derive(Clone, Debug)]
struct Subject {
    text: String,
    since: Tick,
    told: Tick,
    repeated: u64,
    total: u64,
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
        if self.subjects.len() >= MOST && !self.subjects.contains_key(&key) {
            let oldest = self.subjects.iter().min_by_key(|(_, subject)| subject.told);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.subjects.remove(&oldest);
            }
        }
        let subject = match self.subjects.entry(key) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Subject {
                    text: state.to_owned(),
                    since: now,
                    told: now,
                    repeated: 0,
                    total: 1,
                });
                return Some(Line { repeated: 0 });
            }
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
        };
        subject.total += 1;
        if subject.text != state {
            subject.text.replace_range(.., state);
            subject.told = now;
            subject.repeated = 0;
            return Some(Line { repeated: 0 });
        }
        subject.repeated += 1;
        if now.since(subject.told) < EVERY {
            return None;
        }
        subject.told = now;
        Some(Line {
            repeated: std::mem::take(&mut subject.repeated),
        })
    }

    /// `key` is well; what to say where it was not.
    pub fn clear<Q>(&mut self, key: &Q, now: Tick) -> Option<Ended>
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.subjects.remove(key).map(|subject| Ended {
            after: now.since(subject.since),
            repeated: subject.total,
        })
    }

    /// Forgets subjects that are gone, without a word.
    pub fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        self.subjects.retain(|key, _| keep(key));
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
