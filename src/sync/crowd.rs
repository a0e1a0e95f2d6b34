//! Many secrets that say the same at once: the first of them are told one by one, the others together.
//! A store that goes away takes thousands with it, and the log is to stay one that people read.

use std::collections::BTreeMap;
use std::time::Duration;

use log::Level;

use crate::clock::Tick;

/// As many are told one by one in a window.
const ALONE: usize = 50;

/// What comes within this time after the first is counted together.
const WINDOW: Duration = Duration::from_secs(10);

/// As many of the others are named.
const NAMED: usize = 10;

/// What is alike: the store, and what is said of its secrets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Alike {
    pub(super) store: String,
    pub(super) what: &'static str,
}

#[derive(Debug)]
struct Group {
    level: Level,
    since: Tick,
    told: usize,
    left_out: usize,
    named: Vec<String>,
}

/// The others of one window.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Others {
    pub(super) alike: Alike,
    /// Of their lines.
    pub(super) level: Level,
    /// How many lines stand for them: this one.
    pub(super) lines: usize,
    /// Some of them.
    pub(super) named: String,
}

/// What was told in each window.
#[derive(Debug, Default)]
pub(super) struct Crowd(BTreeMap<Alike, Group>);

impl Crowd {
    /// Whether this one has a line of its own.
    pub(super) fn admits(
        &mut self,
        store: &str,
        what: &'static str,
        level: Level,
        secret: &str,
        now: Tick,
    ) -> bool {
        let alike = Alike {
            store: store.to_owned(),
            what,
        };
        let group = self.0.entry(alike).or_insert(Group {
            level,
            since: now,
            told: 0,
            left_out: 0,
            named: Vec::new(),
        });
        if group.told < ALONE {
            group.told += 1;
            return true;
        }
        group.level = group.level.min(level);
        group.left_out += 1;
        if group.named.len() < NAMED {
            group.named.push(secret.to_owned());
        }
        false
    }

    /// Those that had no line of their own in windows that are over; `None`: in all of them.
    pub(super) fn over(&mut self, now: Option<Tick>) -> Vec<Others> {
        let is_over = |group: &Group| now.is_none_or(|now| now.since(group.since) >= WINDOW);
        let mut all = Vec::new();
        self.0.retain(|alike, group| {
            if !is_over(group) {
                return true;
            }
            if group.left_out > 0 {
                let mut named = group.named.join(", ");
                if group.left_out > group.named.len() {
                    named.push_str(", …");
                }
                all.push(Others {
                    alike: alike.clone(),
                    level: group.level,
                    lines: group.left_out,
                    named,
                });
            }
            false
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn the_first_are_told_alone_and_the_others_together_window_by_window() {
        let mut crowd = Crowd::default();
        let alone = (0..1000)
            .filter(|n| {
                crowd.admits(
                    "default",
                    "sealed",
                    Level::Warn,
                    &format!("s{n}"),
                    at(n / 200),
                )
            })
            .count();
        assert_eq!(alone, ALONE);
        assert!(
            crowd.admits("lab", "sealed", Level::Warn, "x", at(5)),
            "another store"
        );
        assert!(
            crowd.admits("default", "denied", Level::Warn, "x", at(5)),
            "another class"
        );
        assert!(crowd.over(Some(at(9))).is_empty());
        let others = crowd.over(Some(at(10)));
        assert_eq!(others.len(), 1);
        assert_eq!((others[0].lines, others[0].alike.what), (950, "sealed"));
        assert!(
            others[0].named.starts_with("s50, s51, "),
            "{}",
            others[0].named
        );
        assert!(others[0].named.ends_with("s59, …"), "{}", others[0].named);
        assert!(
            crowd.admits("default", "sealed", Level::Warn, "s0", at(11)),
            "a window of its own"
        );
        assert!(crowd.over(None).is_empty(), "nobody was left out");
    }
}
