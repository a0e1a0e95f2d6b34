//! The status document as a table.

use std::time::SystemTime;

use super::look::{Look, columns, shortened};
use crate::observe::StatusDocument;
use crate::observe::view::{self, Row, TITLES};

/// Spaces between two columns.
const GAP: usize = 2;

/// A name and a store's name are not made shorter than this, in columns.
const SHORTEST: usize = 8;

/// Where the columns of the table stand.
const NAME: usize = 0;
const STORE: usize = 1;
const STATE: usize = 2;
const WHY: usize = 6;

/// Headline, what is wrong with the daemon as a whole, then a line a secret, with its error and
/// what to do below it. On a terminal no line is wider than it.
pub(crate) fn table(document: &StatusDocument, now: SystemTime, look: Look) -> String {
    let headline = view::headline(document);
    let tone = view::tone(document);
    let mut lines: Vec<String> = look
        .fold("", "  ", &headline)
        .iter()
        .map(|line| look.paint(tone, line))
        .collect();
    for note in view::notes(document, now) {
        lines.extend(look.fold("", "  ", &note));
    }
    let rows = view::rows(document, now);
    if !rows.is_empty() {
        lines.push(String::new());
        lines.extend(body(&rows, look));
    }
    let mut text = String::new();
    for line in lines {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// How the rows are laid out.
struct Layout {
    /// The columns' widths.
    widths: [usize; TITLES.len()],
    /// How many columns stand in the line; the others below it.
    shown: usize,
}

impl Layout {
    /// All in a line where they fit; else the reason below it, then names shortened. `None`: not
    /// even so.
    fn new(rows: &[Row], width: Option<usize>) -> Option<Self> {
        let mut widths = TITLES.map(str::len);
        for row in rows {
            for (to, cell) in widths.iter_mut().zip(&row.cells) {
                *to = columns(cell).max(*to);
            }
        }
        let Some(width) = width else {
            return Some(Self {
                widths,
                shown: TITLES.len(),
            });
        };
        let total = |widths: &[usize; TITLES.len()], shown: usize| {
            widths.iter().take(shown).map(|to| to + GAP).sum::<usize>() - GAP
        };
        if total(&widths, TITLES.len()) <= width {
            return Some(Self {
                widths,
                shown: TITLES.len(),
            });
        }
        for column in [NAME, STORE] {
            let over = total(&widths, WHY).saturating_sub(width);
            widths[column] = widths[column].saturating_sub(over).max(SHORTEST);
        }
        (total(&widths, WHY) <= width).then_some(Self { widths, shown: WHY })
    }

    fn line(
        &self,
        cells: &[String; TITLES.len()],
        paint: impl Fn(usize, &str) -> String,
    ) -> String {
        let mut line = String::new();
        let cells = cells.iter().zip(self.widths).take(self.shown);
        for (column, (cell, width)) in cells.enumerate() {
            let cell = shortened(cell, width);
            line.push_str(&paint(column, &cell));
            line.push_str(&" ".repeat(width - columns(&cell) + GAP));
        }
        // The spaces behind the last column.
        line.truncate(line.trim_end_matches(' ').len());
        line
    }
}

fn body(rows: &[Row], look: Look) -> Vec<String> {
    let Some(layout) = Layout::new(rows, look.width) else {
        return rows.iter().flat_map(|row| card(row, look)).collect();
    };
    let mut lines = vec![layout.line(&TITLES.map(str::to_owned), |_, title| look.bold(title))];
    for row in rows {
        lines.push(layout.line(&row.cells, |column, cell| {
            if column == STATE {
                look.paint(row.tone, cell)
            } else {
                cell.to_owned()
            }
        }));
        if layout.shown <= WHY && row.cells[WHY] != "-" {
            lines.extend(look.fold("  next: ", "    ", &row.cells[WHY]));
        }
        lines.extend(below(row, look));
    }
    lines
}

/// A secret on a terminal that is too narrow for columns.
fn card(row: &Row, look: Look) -> Vec<String> {
    let mut lines = look.fold("", "  ", &row.cells[NAME]);
    for (column, title) in TITLES.iter().enumerate().skip(1) {
        let cell = &row.cells[column];
        if cell == "-" {
            continue;
        }
        let title = format!("  {}: ", title.to_lowercase());
        let folded = look.fold(&title, "    ", cell);
        if column == STATE {
            lines.extend(folded.iter().map(|line| look.paint(row.tone, line)));
        } else {
            lines.extend(folded);
        }
    }
    lines.extend(below(row, look));
    lines
}

fn below(row: &Row, look: Look) -> Vec<String> {
    let error = row
        .error
        .iter()
        .flat_map(|text| look.fold("  ", "    ", text));
    let remedy = row.remedy.iter();
    error
        .chain(remedy.flat_map(|text| look.fold("  help: ", "    ", text)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{ConfigEntry, SecretEntry, StoreEntry};

    fn now() -> SystemTime {
        humantime::parse_rfc3339("2026-11-24T12:00:00Z").unwrap()
    }

    fn document() -> StatusDocument {
        StatusDocument {
            schema: 1,
            ready: true,
            degraded: true,
            secret_count: 3,
            synced_count: 1,
            config: ConfigEntry {
                loaded: String::new(),
                error: Some("config.yaml:3:1: secrets: missing".into()),
            },
            stores: vec![
                StoreEntry {
                    name: "default".into(),
                    breaker: "closed".into(),
                    ..StoreEntry::default()
                },
                StoreEntry {
                    name: "lab".into(),
                    breaker: "open".into(),
                    ..StoreEntry::default()
                },
            ],
            notices: vec!["port 8080: address in use".into()],
            secrets: vec![
                SecretEntry {
                    name: "tls-cert".into(),
                    store: "default".into(),
                    state: "in_sync".into(),
                    version: Some(12),
                    last_success: Some("2026-11-24T11:55:30Z".into()),
                    next_refresh: Some("2026-11-24T13:30:00Z".into()),
                    next_reason: Some("interval".into()),
                    interval: "2h".into(),
                    ..SecretEntry::default()
                },
                SecretEntry {
                    name: "db".into(),
                    store: "lab".into(),
                    state: "failed".into(),
                    last_success: Some("2026-11-20T10:00:00Z".into()),
                    next_refresh: Some("2026-11-24T12:00:00.4Z".into()),
                    next_reason: Some("backoff".into()),
                    attempt: 2,
                    error_type: Some("not_found".into()),
                    error: Some("`secret/app/db`: nothing\u{1b}[31m there".into()),
                    remedy: Some("write it".into()),
                    ..SecretEntry::default()
                },
                SecretEntry {
                    name: "extra".into(),
                    store: "default".into(),
                    state: "pending".into(),
                    optional: true,
                    ..SecretEntry::default()
                },
            ],
            ..StatusDocument::default()
        }
    }

    #[test]
    fn the_table_shows_state_and_what_to_do() {
        assert_eq!(
            table(&document(), now(), Look::default()),
            "\
ready, degraded: 1 of 3 secrets in sync
configuration: the last reload was refused: config.yaml:3:1: secrets: missing
store `lab`: circuit breaker open
port 8080: address in use

NAME      STORE    STATE               VERSION  AGE   NEXT REFRESH  WHY THEN
tls-cert  default  in sync             12       4m    in 1h30m      every 2h, less up to a tenth
db        lab      failed              -        4d2h  now           retry 2 with backoff
  not_found: `secret/app/db`: nothing\\u{1b}[31m there
  help: write it
extra     default  pending (optional)  -        -     now           under way
"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_whatever_stands_in_it() {
        let mut document = document();
        for (at, name) in ["漢字".repeat(30), "n".repeat(128), "a".into()]
            .into_iter()
            .enumerate()
        {
            document.secrets[at].name = name;
        }
        document.secrets[1].error = Some("漢 long\u{1b}".repeat(100));
        for width in [24, 40, 60, 80, 100, 132, 400] {
            let look = Look {
                width: Some(width),
                ..Look::default()
            };
            let text = table(&document, now(), look);
            for line in text.lines() {
                assert!(columns(line) <= width, "{width}: {line}");
            }
            assert!(
                text.contains("in sync") && text.contains("failed"),
                "{text}"
            );
        }
    }

    #[test]
    fn on_a_narrow_terminal_the_reason_stands_below_its_secret() {
        let look = Look {
            width: Some(80),
            colour: true,
            ..Look::default()
        };
        let text = table(&document(), now(), look);
        assert!(
            text.contains("\u{1b}[32min sync\u{1b}[0m") && text.contains("\u{1b}[31mfailed"),
            "{text}"
        );
        assert!(
            text.contains("\n  next: every 2h, less up to a tenth\n"),
            "{text}"
        );
    }

    #[test]
    fn an_empty_plan_is_one_line() {
        let document = StatusDocument {
            ready: true,
            ..StatusDocument::default()
        };
        assert_eq!(
            table(&document, now(), Look::default()),
            "ready: 0 of 0 secrets in sync\n"
        );
    }
}
