//! The status page: one HTML document that stands alone, of the same rows as `status`. It has no
//! script, takes nothing from elsewhere, and tells the browser so.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::observe::view::{self, Row, TITLES, Tone};
use crate::observe::{SecretEntry, StatusDocument};
use crate::printable::printable;

const STYLE: &str = include_str!("page.css");

/// The browser loads it again after so many seconds.
const REFRESH: u32 = 5;

/// So many secrets are shown, those that fail first: the page stays one that a phone can show.
const MOST: usize = 500;

/// The longest error and remedy that are shown, in characters; the status has all of it.
const LONGEST: usize = 600;

/// The columns of the rows.
const NAME: usize = 0;
const STATE: usize = 2;

/// What the browser may do with the page: nothing but show it, with this style.
pub(super) fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let digest = ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes());
        format!(
            "default-src 'none'; style-src 'sha256-{}'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            STANDARD.encode(digest)
        )
    });
    &POLICY
}

/// The page, at that time.
pub(super) fn page(document: &StatusDocument, now: SystemTime) -> String {
    let headline = view::headline(document);
    let mut secrets: Vec<&SecretEntry> = document.secrets.iter().collect();
    secrets.sort_by_key(|secret| view::tone_of(secret));
    let left_out = secrets.len().saturating_sub(MOST);
    secrets.truncate(MOST);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"refresh\" content=\"{REFRESH}\">\n\
         <title>{headline} - secrets-sync</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>secrets-sync</h1>\n\
         <p class=\"headline {}\">{} {headline}</p>\n</header>\n<main>\n",
        class(view::tone(document)),
        mark(view::tone(document)),
        headline = escaped(&headline),
    );
    let notes = view::notes(document, now);
    if !notes.is_empty() {
        out.push_str("<ul class=\"notes\">\n");
        for note in &notes {
            let _ = writeln!(out, "<li>{}</li>", escaped(note));
        }
        out.push_str("</ul>\n");
    }
    if !secrets.is_empty() {
        table(&mut out, &secrets, document, now);
    }
    if left_out > 0 {
        let _ = writeln!(
            out,
            "<p>{left_out} more secrets are not shown here: <code>secrets-sync status</code> shows \
             all.</p>"
        );
    }
    let _ = write!(
        out,
        "</main>\n<footer>\n<p><code>secrets-sync explain NAME</code> tells everything about one \
         secret.</p>\n<p>Version {}, running since {}; shown at {}, again every {REFRESH} s.</p>\n\
         </footer>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
        time(&document.started),
        time(&humantime::format_rfc3339_seconds(now).to_string()),
    );
    out
}

fn table(out: &mut String, secrets: &[&SecretEntry], document: &StatusDocument, now: SystemTime) {
    // The roles stay true where a narrow screen shows the rows as blocks.
    out.push_str(
        "<table role=\"table\">\n<caption>Secrets, those that fail first</caption>\n\
         <thead role=\"rowgroup\">\n<tr role=\"row\">",
    );
    for title in TITLES {
        let _ = write!(
            out,
            "<th role=\"columnheader\" scope=\"col\">{}</th>",
            spoken(title)
        );
    }
    out.push_str("</tr>\n</thead>\n<tbody role=\"rowgroup\">\n");
    for secret in secrets {
        row(out, &view::row(secret, document, now));
    }
    out.push_str("</tbody>\n</table>\n");
}

fn row(out: &mut String, row: &Row) {
    out.push_str("<tr role=\"row\" class=\"secret\">");
    for (column, (cell, title)) in row.cells.iter().zip(TITLES).enumerate() {
        let text = escaped(cell);
        let _ = match column {
            NAME => write!(
                out,
                "<th role=\"rowheader\" scope=\"row\"><bdi>{text}</bdi></th>"
            ),
            STATE => write!(
                out,
                "<td role=\"cell\" data-title=\"{}\"><span class=\"state {}\">{} {text}</span></td>",
                spoken(title),
                class(row.tone),
                mark(row.tone)
            ),
            _ => write!(
                out,
                "<td role=\"cell\" data-title=\"{}\"{}><bdi>{text}</bdi></td>",
                spoken(title),
                if cell == "-" { " class=\"empty\"" } else { "" }
            ),
        };
    }
    out.push_str("</tr>\n");
    if row.error.is_none() && row.remedy.is_none() {
        return;
    }
    let _ = write!(
        out,
        "<tr role=\"row\" class=\"detail\"><td role=\"cell\" colspan=\"{}\">",
        TITLES.len()
    );
    if let Some(error) = &row.error {
        let _ = write!(out, "<p class=\"bad\"><bdi>{}</bdi></p>", cut(error));
    }
    if let Some(remedy) = &row.remedy {
        let _ = write!(out, "<p>help: <bdi>{}</bdi></p>", cut(remedy));
    }
    out.push_str("</td></tr>\n");
}

/// The tone in a word of the style.
fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Waiting => "waiting",
        Tone::Bad => "bad",
    }
}

/// The tone for who sees no colours; the words say it, too.
fn mark(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "<span aria-hidden=\"true\">\u{2713}</span>",
        Tone::Waiting => "<span aria-hidden=\"true\">\u{2026}</span>",
        Tone::Bad => "<span aria-hidden=\"true\">\u{2717}</span>",
    }
}

/// `NEXT REFRESH` as `Next refresh`.
fn spoken(title: &str) -> String {
    let (first, rest) = title.split_at(1);
    format!("{first}{}", rest.to_lowercase())
}

fn time(text: &str) -> String {
    let text = escaped(&printable(text));
    format!("<time datetime=\"{text}\">{text}</time>")
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", escaped(text.get(..end).unwrap_or_default())),
        None => escaped(text),
    }
}

/// Text as it stands in an element or a quoted attribute.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(count: usize) -> StatusDocument {
        StatusDocument {
            schema: 1,
            ready: true,
            degraded: true,
            secret_count: count,
            secrets: (0..count)
                .map(|at| SecretEntry {
                    name: format!("secret-{at}"),
                    store: "default".into(),
                    state: if at + 1 == count { "failed" } else { "in_sync" }.into(),
                    error: (at + 1 == count).then(|| "e".repeat(8 << 10)),
                    ..SecretEntry::default()
                })
                .collect(),
            ..StatusDocument::default()
        }
    }

    #[test]
    fn with_ten_thousand_secrets_it_stays_small_and_shows_those_that_fail() {
        let page = page(&document(10_000), SystemTime::now());
        assert!(page.len() < 300_000, "{}", page.len());
        assert!(page.contains("secret-9999") && page.contains("failed"));
        assert!(page.contains("9500 more secrets are not shown here"));
        assert!(page.find("secret-9999").unwrap() < page.find("secret-0<").unwrap());
    }

    #[test]
    fn foreign_text_is_text() {
        let mut document = document(1);
        let hostile = "\"><script>alert('1')</script>&\u{202e}\u{0}";
        let entry = &mut document.secrets[0];
        entry.name = hostile.into();
        entry.store = hostile.into();
        entry.state = hostile.into();
        entry.error = Some(hostile.into());
        entry.remedy = Some(hostile.into());
        entry.next_reason = Some(hostile.into());
        document.notices = vec![hostile.into()];
        document.started = hostile.into();
        let page = page(&document, SystemTime::now());
        let safe = "&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;";
        assert_eq!(page.matches(safe).count(), 9, "{page}");
        assert!(!page.contains("<script") && !page.contains('\0'));
    }

    #[test]
    fn it_asks_for_nothing_from_elsewhere() {
        let page = page(&document(3), SystemTime::now());
        for part in [
            "http://", "https://", "src=", "@import", "url(", "<script", "style=\"",
        ] {
            assert!(!page.contains(part), "{part}");
        }
        assert!(policy().starts_with("default-src 'none'; style-src 'sha256-"));
    }
}
