//! The file itself: read within bounds, as text, into a document.

use std::cell::OnceCell;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::mask::{self, Masks};
use super::report::{At, Report};
use super::{Document, Problem, Problems, merge, node, schema, stream};

/// The largest file: 10 000 secrets with their templates need some 2 MiB.
pub const MAX_FILE_BYTES: u64 = 8 << 20;

/// A file's name and text, for messages that quote it.
pub(crate) struct Source {
    /// Its path as given.
    pub(crate) file: PathBuf,
    /// Its text.
    pub(crate) text: Zeroizing<String>,
    /// Where each line begins, once somebody asks.
    starts: OnceCell<Vec<usize>>,
}

impl Source {
    /// A text with the name of its file.
    pub(crate) fn new(file: PathBuf, text: Zeroizing<String>) -> Self {
        Self {
            file,
            text,
            starts: OnceCell::new(),
        }
    }

    /// The lines from this one on, counted from 1. Thousands of problems may ask.
    pub(crate) fn lines_from(&self, number: usize) -> impl Iterator<Item = &str> + Clone {
        let text = self.text.as_str();
        let starts = self.starts.get_or_init(|| {
            lines(text)
                .map(|line| line.as_ptr().addr() - text.as_ptr().addr())
                .collect()
        });
        let start = starts.get(number.saturating_sub(1)).copied();
        lines(&text[start.unwrap_or(text.len())..])
    }
}

/// Reads the file, or what else is there, to its end.
pub(crate) fn read(file: &Path) -> Result<Source, Problems> {
    match text_of(file) {
        Ok(text) => Ok(Source::new(file.to_owned(), text)),
        Err(problem) => Err(alone(file, problem)),
    }
}

/// Reads a file that was read before, perhaps by others: what can be read only once is not touched.
pub(crate) fn read_again(file: &Path) -> Result<Source, Problems> {
    let Some(kind) = stream::kind(file) else {
        return read(file);
    };
    let message = format!("is {kind}, which can be read only once");
    let help = "to reload, keep the configuration in a file, and start with that";
    Err(alone(file, problem(message, Some(help))))
}

fn alone(file: &Path, problem: Problem) -> Problems {
    Problems {
        file: file.to_owned(),
        problems: vec![problem],
        lines: Default::default(),
    }
}

fn problem(message: String, help: Option<&str>) -> Problem {
    Problem {
        place: None,
        key: String::new(),
        message,
        help: help.map(str::to_owned),
    }
}

/// The lines of a text as YAML's parser counts them, so that a place is the same for both.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> + Clone {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some((at, end)) = text
            .char_indices()
            .find(|(_, c)| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'))
        else {
            rest = None;
            return (!text.is_empty()).then_some(text);
        };
        let after = &text[at + end.len_utf8()..];
        rest = Some(match end {
            '\r' => after.strip_prefix('\n').unwrap_or(after),
            _ => after,
        });
        Some(&text[..at])
    })
}

/// Walks a text against the schema, with or without the places of what it finds. That goes to `report`; what makes
/// a walk impossible (no YAML) is the error, and has its place always.
pub(crate) fn parse(
    source: &Source,
    places: bool,
    report: &mut Report,
) -> Result<Document, Problems> {
    let text = source.text.as_str();
    let mut root = node::parse(text, places).map_err(|error| {
        let line = error.place.map_or(0, |(line, _)| line);
        let shown = lines(text).nth(line.wrapping_sub(1));
        Problems {
            file: source.file.clone(),
            problems: vec![Problem {
                place: error.place,
                key: String::new(),
                message: error.message,
                help: None,
            }],
            lines: shown
                .map(|text| (line, mask::unparsed(text, schema::is_value)))
                .into_iter()
                .collect(),
        }
    })?;
    report.masks = Masks::of(&root);
    let top = At {
        place: root.place,
        unsaid: !places,
        ..At::default()
    };
    merge::settle(&mut root, &top, report);
    Ok(Document::read(root, top, report))
}

fn text_of(file: &Path) -> Result<Zeroizing<String>, Problem> {
    let failed = |error: std::io::Error| problem(format!("cannot be read: {error}"), None);
    let mut bytes = Zeroizing::new(Vec::new());
    if let Some(kind) = stream::kind(file) {
        stream::read(file, MAX_FILE_BYTES, &mut bytes)
            .map_err(|error| problem(format!("is {kind}, and cannot be read: {error}"), None))?;
    } else {
        std::fs::File::open(file)
            .map_err(failed)?
            .take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
    }
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(problem("is larger than 8 MiB".to_owned(), None));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(
            text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(),
        )),
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            let line = before.split(|byte| *byte == b'\n').count();
            let start = before
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |newline| newline + 1);
            let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
            Err(Problem {
                place: Some((line, column)),
                ..problem(
                    "is not UTF-8 text".to_owned(),
                    Some("save the file as UTF-8"),
                )
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_their_number() {
        let text = "one\r\ntwö\rthree\u{85}\n\u{2028}six";
        let source = Source::new(PathBuf::new(), Zeroizing::new(text.to_owned()));
        for number in 1..9 {
            let expected: Vec<_> = lines(text).skip(number - 1).collect();
            let found: Vec<_> = source.lines_from(number).collect();
            assert_eq!(found, expected, "{number}");
        }
        assert_eq!(source.lines_from(6).next(), Some("six"));
    }
}
