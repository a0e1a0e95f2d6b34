//! Where problems and warnings are gathered, while the walk goes on.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use super::file::lines;
use super::hidden::Hidden;
use super::mask::Masks;
use super::{Problem, Problems};

/// Problems beyond this many are counted, not shown.
const MOST: usize = 100;

/// A place in the configuration, as messages name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct At {
    /// Line and column, from 1.
    pub(crate) place: Option<(usize, usize)>,
    /// `secrets[2].files[0].mode`.
    pub(crate) key: String,
    /// The variable of the environment that the value came from.
    pub(crate) variable: Option<&'static str>,
    /// Nobody will be told of it: it needs no words.
    pub(crate) unsaid: bool,
}

impl At {
    /// The key `name` below this one, at its own place.
    pub(crate) fn key(&self, name: &str, place: Option<(usize, usize)>) -> Self {
        if self.unsaid {
            return self.clone();
        }
        let plain = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        let key = match (self.key.is_empty(), plain) {
            (true, true) => name.to_owned(),
            (false, true) => format!("{}.{name}", self.key),
            (_, false) => format!("{}[\"{}\"]", self.key, name.escape_debug()),
        };
        Self {
            place: place.or(self.place),
            key,
            ..*self
        }
    }

    /// The item `index` below this one, at its own place.
    pub(crate) fn item(&self, index: usize, place: Option<(usize, usize)>) -> Self {
        if self.unsaid {
            return self.clone();
        }
        Self {
            place: place.or(self.place),
            key: format!("{}[{index}]", self.key),
            ..*self
        }
    }
}

/// Something that people should know, but that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Note {
    /// Where.
    pub(crate) at: At,
    /// What, and what to do.
    pub(crate) message: String,
    /// Whether it asks for attention.
    pub(crate) warning: bool,
}

/// All that was found so far.
#[derive(Default)]
pub(crate) struct Report {
    problems: Vec<Problem>,
    notes: Vec<Note>,
    /// What may not be shown of the source.
    pub(crate) masks: Masks,
    /// What may not be shown of the environment.
    pub(crate) hidden: Hidden,
}

impl Report {
    /// Adds a problem.
    pub(crate) fn error(&mut self, at: &At, message: impl Into<String>) {
        self.add(at, message.into(), None);
    }

    /// Adds a problem with what to do about it.
    pub(crate) fn error_help(
        &mut self,
        at: &At,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(at, message.into(), Some(help.into()));
    }

    fn add(&mut self, at: &At, message: String, help: Option<String>) {
        let message = match at.variable {
            Some(variable) => format!("{message} (it comes from the variable `{variable}`)"),
            None => message,
        };
        self.problems.push(Problem {
            place: at.place,
            key: at.key.clone(),
            message,
            help,
        });
    }

    /// Adds a warning.
    pub(crate) fn warn(&mut self, at: &At, message: impl Into<String>) {
        self.note(at, message.into(), true);
    }

    /// Adds something to tell that is no warning.
    pub(crate) fn tell(&mut self, at: &At, message: impl Into<String>) {
        self.note(at, message.into(), false);
    }

    fn note(&mut self, at: &At, message: String, warning: bool) {
        self.notes.push(Note {
            at: at.clone(),
            message,
            warning,
        });
    }

    /// Whether there is no problem so far.
    pub(crate) fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether something is to be told whose place or key is not known.
    pub(crate) fn leaves_unsaid(&self) -> bool {
        self.notes.iter().any(|note| note.at.unsaid)
    }

    /// The notes, each once, in the order of their finding.
    pub(crate) fn into_notes(self) -> (Vec<Note>, Hidden) {
        // A value that several secrets inherit is read more than once.
        let mut seen = HashSet::new();
        let notes = self.notes.iter().filter(|note| seen.insert(*note));
        let mut notes: Vec<Note> = notes.cloned().collect();
        for note in &mut notes {
            self.hidden.mask_in(&mut note.message);
        }
        (notes, self.hidden)
    }

    /// The problems in order of place, each once, with the lines they point at.
    pub(crate) fn into_problems(mut self, file: &Path, source: &str) -> Problems {
        for problem in &mut self.problems {
            self.hidden.mask_in(&mut problem.message);
            problem
                .help
                .iter_mut()
                .for_each(|help| self.hidden.mask_in(help));
        }
        let mut seen = BTreeSet::new();
        self.problems.retain(|problem| {
            // One value behind an anchor is one problem, wherever it is used.
            let what = match problem.place {
                Some(_) => String::new(),
                None => problem.key.clone(),
            };
            seen.insert((problem.place, what, problem.message.clone()))
        });
        self.problems
            .sort_by_key(|problem| problem.place.unwrap_or((usize::MAX, 0)));
        if self.problems.len() > MOST {
            let more = self.problems.len() - MOST;
            self.problems.truncate(MOST);
            self.problems.push(Problem {
                place: None,
                key: String::new(),
                message: format!("and {more} more problems"),
                help: None,
            });
        }
        let wanted: BTreeSet<usize> = self
            .problems
            .iter()
            .filter_map(|problem| problem.place.map(|(line, _)| line))
            .collect();
        let lines = lines(source)
            .enumerate()
            .filter(|(index, _)| wanted.contains(&(index + 1)))
            .map(|(index, line)| (index + 1, self.masks.apply(index + 1, line)))
            .collect();
        Problems {
            file: file.to_owned(),
            problems: self.problems,
            lines,
        }
    }
}
