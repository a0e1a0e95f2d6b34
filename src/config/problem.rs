//! What is wrong with a configuration, and where: all of it at once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::printable::in_columns;

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line and column, from 1, where it has a place.
    pub place: Option<(usize, usize)>,
    /// The key path (`secrets[2].files[0].mode`); empty for the file as a whole.
    pub key: String,
    /// What is wrong: lower case, no full stop, no secret value.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// All problems of one configuration. Displayed as people read them: file, line, column, key,
/// message, the source line with a caret, the help.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Problems {
    /// The file.
    pub file: PathBuf,
    /// In order of place.
    pub problems: Vec<Problem>,
    /// The file's lines that problems point at, by number; credentials in them are masked.
    pub lines: BTreeMap<usize, String>,
}

/// The most of a long source line that is shown, in characters.
const WINDOW: usize = 120;

impl Problems {
    /// Each problem as its own text, without a newline at its end: for a program that puts its
    /// name before every one of them.
    pub fn entries(&self) -> impl Iterator<Item = String> + '_ {
        self.problems.iter().map(|problem| self.entry(problem))
    }

    fn entry(&self, problem: &Problem) -> String {
        let mut text = self.file.display().to_string();
        if let Some((line, column)) = problem.place {
            text.push_str(&format!(":{line}:{column}"));
        }
        if !problem.key.is_empty() {
            text.push_str(&format!(": {}", problem.key));
        }
        text.push_str(&format!(": {}", clean(&problem.message)));
        if let Some((line, column)) = problem.place
            && let Some(source) = self.lines.get(&line)
        {
            text.push_str(&excerpt(line, column, source));
        }
        if let Some(help) = &problem.help {
            text.push_str(&format!("\n  help: {help}"));
        }
        text
    }
}

/// The source line and, below it, a caret under the column.
fn excerpt(line: usize, column: usize, source: &str) -> String {
    let (start, shown) = window(column, source);
    let number = line.to_string();
    let mut pad = String::new();
    // A tab moves the caret as far as it moved the text.
    pad.extend(
        shown
            .chars()
            .take(column.saturating_sub(start + 1))
            .map(|c| if c == '\t' { '\t' } else { ' ' }),
    );
    let dots = if start > 0 { "…" } else { "" };
    let dots_pad = if start > 0 { " " } else { "" };
    format!(
        "\n  {number} | {dots}{shown}\n  {:width$} | {dots_pad}{pad}^",
        "",
        width = number.len()
    )
}

/// The part of a long line around the column, and how many characters were left out before it.
fn window(column: usize, source: &str) -> (usize, String) {
    let length = source.chars().count();
    let start = if length <= WINDOW {
        0
    } else {
        column.saturating_sub(WINDOW / 2).min(length - WINDOW)
    };
    let shown = source.chars().skip(start).take(WINDOW).collect::<String>();
    (start, clean(&shown))
}

/// Foreign text made safe for a terminal; the caret below it finds its column.
fn clean(text: &str) -> String {
    let parts: Vec<_> = text.split('\t').map(in_columns).collect();
    parts.join("\t")
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in self.entries() {
            writeln!(f, "{entry}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(place: Option<(usize, usize)>, line: &str) -> String {
        Problems {
            file: "c.yaml".into(),
            problems: vec![Problem {
                place,
                key: "secrets[0].name".into(),
                message: "is bad".into(),
                help: Some("make it good".into()),
            }],
            lines: BTreeMap::from([(12, line.to_owned())]),
        }
        .to_string()
    }

    #[test]
    fn the_caret_stands_under_the_column() {
        assert_eq!(
            one(Some((12, 11)), "  - name: bad"),
            "c.yaml:12:11: secrets[0].name: is bad\n  \
             12 |   - name: bad\n     |           ^\n  help: make it good\n"
        );
    }

    #[test]
    fn tabs_move_the_caret_as_they_move_the_text() {
        assert!(one(Some((12, 3)), "\ta: b").contains("12 | \ta: b\n     | \t ^\n"));
    }

    #[test]
    fn a_long_line_is_cut_around_the_column() {
        let text = one(
            Some((12, 1001)),
            &format!("{}X{}", "a".repeat(1000), "b".repeat(1000)),
        );
        let lines: Vec<&str> = text.lines().collect();
        let caret = lines[2].chars().position(|c| c == '^');
        assert_eq!(lines[1].chars().position(|c| c == 'X'), caret);
        assert!(lines[1].chars().count() < 140);
    }

    #[test]
    fn without_a_place_there_is_no_excerpt() {
        assert_eq!(
            one(None, ""),
            "c.yaml: secrets[0].name: is bad\n  help: make it good\n"
        );
    }
}
