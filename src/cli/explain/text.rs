//! All that is known of one secret, for people.

use std::time::{Duration, SystemTime};

use super::files::{FileReport, Found};
use super::gather::{AttemptReport, Explained, SourceReport};
use crate::cli::status::look::{Look, columns};
use crate::observe::view::{self, Tone};
use crate::observe::{SecretEntry, SessionEntry};
use crate::printable::printable;

/// The column that the values of a list begin in.
const VALUES: usize = 13;

pub(super) fn text(explained: &Explained, now: SystemTime, look: Look) -> String {
    let mut page = Page {
        look,
        lines: Vec::new(),
    };
    head(&mut page, explained, now);
    for source in &explained.sources {
        of_source(&mut page, source, now);
    }
    if let Some(status) = &explained.status {
        lease(&mut page, status, now);
    }
    files(&mut page, explained, now);
    attempts(&mut page, explained, now);
    page.text()
}

/// Lines that fit, in sections.
struct Page {
    look: Look,
    lines: Vec<String>,
}

impl Page {
    fn title(&mut self, title: &str) {
        self.lines.push(String::new());
        self.lines.push(self.look.bold(&printable(title)));
    }

    /// `  key          value`
    fn value(&mut self, key: &str, value: &str) {
        self.toned(key, value, None);
    }

    fn toned(&mut self, key: &str, value: &str, tone: Option<Tone>) {
        let first = format!("  {key:VALUES$}");
        let rest = " ".repeat(columns(&first));
        let value = printable(value);
        for line in self.look.fold(&first, &rest, &value) {
            self.lines
                .push(tone.map_or(line.clone(), |tone| self.look.paint(tone, &line)));
        }
    }

    fn text(self) -> String {
        let lines = self.lines.iter();
        lines.flat_map(|line| [line.trim_end(), "\n"]).collect()
    }
}

fn head(page: &mut Page, explained: &Explained, now: SystemTime) {
    let name = printable(&explained.name);
    let Some(status) = &explained.status else {
        let state = "nothing known of its state";
        let line = page.look.paint(Tone::Waiting, state);
        page.lines
            .push(format!("{}: {line}", page.look.bold(&name)));
        told(page, explained);
        return;
    };
    let row = view::row(status, &explained.document, now);
    let was = if explained.running {
        ""
    } else {
        " when the daemon ended"
    };
    let state = page.look.paint(row.tone, &format!("{}{was}", row.cells[2]));
    page.lines
        .push(format!("{}: {state}", page.look.bold(&name)));
    told(page, explained);
    if let Some(error) = &row.error {
        page.toned("error", error, Some(Tone::Bad));
    }
    if let Some(remedy) = &row.remedy {
        page.value("help", remedy);
    }
    if let Some(version) = status.version {
        page.value("version", &version.to_string());
    }
    let ago = |text: &Option<String>| {
        view::time(text.as_deref()).map(|at| {
            let age = view::short(now.duration_since(at).unwrap_or_default());
            format!("{age} ago ({})", text.as_deref().unwrap_or_default())
        })
    };
    let none = || "not since the start".to_owned();
    page.value(
        "last success",
        &ago(&status.last_success).unwrap_or_else(none),
    );
    page.value("last write", &ago(&status.last_write).unwrap_or_else(none));
    if explained.running {
        let (next, why) = (&row.cells[5], &row.cells[6]);
        page.value("next refresh", &format!("{next}: {why}"));
    }
}

/// What to know, and from where this is known.
fn told(page: &mut Page, explained: &Explained) {
    for note in &explained.notes {
        let note = printable(note);
        let lines = page.look.fold("  ", "    ", &note);
        for line in lines {
            page.lines.push(page.look.paint(Tone::Waiting, &line));
        }
    }
}

fn of_source(page: &mut Page, source: &SourceReport, now: SystemTime) {
    let facts = &source.facts;
    match &facts.alias {
        Some(alias) => page.title(&format!("source {alias}")),
        None => page.title("source"),
    }
    let breaker = source.breaker.as_deref().filter(|state| *state != "closed");
    let breaker = breaker.map_or_else(String::new, |state| format!(", circuit breaker {state}"));
    page.value(
        "store",
        &format!("{} at {}{breaker}", facts.store, facts.address),
    );
    page.value("namespace", root(&facts.namespace));
    page.value(
        "mount",
        &format!("{} (KV {})", facts.mount, facts.kv_version),
    );
    let kind = if facts.metadata { ", its metadata" } else { "" };
    let pin = facts
        .version
        .map_or_else(String::new, |version| format!(", version {version} pinned"));
    page.value("key", &format!("{}{pin}{kind}", facts.key));
    page.value("asks", &format!("GET {}", facts.request));
    if !facts.namespace.is_empty() {
        page.value("", &format!("X-Vault-Namespace: {}", facts.namespace));
    }
    match &facts.policy {
        Some(rule) => {
            let mut key = "policy";
            for line in rule.hcl.lines() {
                page.value(key, line);
                key = "";
            }
        }
        None => page.value(
            "policy",
            "none can allow it: the namespace of the read is not below that of the login",
        ),
    }
    let credentials = if facts.credentials == "default" {
        String::new()
    } else {
        format!(", credentials {}", facts.credentials)
    };
    page.value(
        "login",
        &format!(
            "{}, namespace {}{credentials}",
            facts.method,
            root(&facts.auth_namespace)
        ),
    );
    if let Some(session) = &source.session {
        token(page, session, now);
    }
}

fn root(namespace: &str) -> &str {
    if namespace.is_empty() {
        "root"
    } else {
        namespace
    }
}

fn token(page: &mut Page, session: &SessionEntry, now: SystemTime) {
    let next = view::time(session.next.as_deref()).map(|at| view::within(at, now));
    if session.method == "none" {
        page.value("token", "an agent or proxy adds it");
    } else if session.has_token {
        let end = match view::time(session.expires.as_deref()) {
            Some(at) => format!("ends {}", view::within(at, now)),
            None => "no end known".to_owned(),
        };
        let renewable = if session.renewable {
            "renewable"
        } else {
            "not renewable"
        };
        let mut text = format!("{end}, {renewable}");
        if !session.accessor.is_empty() {
            text.push_str(&format!(", accessor …{}", session.accessor));
        }
        if let Some(next) = next {
            text.push_str(&format!(", renewed or replaced {next}"));
        }
        page.value("token", &text);
        if !session.policies.is_empty() {
            page.value("its policies", &session.policies.join(", "));
        }
    } else {
        let next = next.map_or_else(String::new, |next| format!(", a login is tried {next}"));
        page.toned("token", &format!("none{next}"), Some(Tone::Bad));
    }
    if let Some(error) = &session.error {
        page.toned("trouble", error, Some(Tone::Bad));
    }
}

fn lease(page: &mut Page, status: &SecretEntry, now: SystemTime) {
    let Some(end) = view::time(status.lease_expires.as_deref()) else {
        return;
    };
    page.title("lease");
    page.value("ends", &view::within(end, now));
    page.value("then", "not renewed: another one is fetched before its end");
    page.value("id", "not shown: who has it may revoke the lease");
}

fn files(page: &mut Page, explained: &Explained, now: SystemTime) {
    if explained.files.is_empty() {
        return;
    }
    page.title("files");
    for file in &explained.files {
        of_file(page, file, now);
    }
}

fn of_file(page: &mut Page, file: &FileReport, now: SystemTime) {
    let wanted = &file.wanted;
    let many = if wanted.is_dir { "/*" } else { "" };
    let path = format!("{}{many}", wanted.path);
    let lines = page.look.fold(
        "  ",
        "    ",
        &format!("{} <- {}", printable(&path), printable(&wanted.content)),
    );
    page.lines.extend(lines);
    let id = |id: Option<u32>| id.map_or_else(|| "the daemon's".to_owned(), |id| id.to_string());
    let in_place = if wanted.in_place { ", in place" } else { "" };
    page.value(
        "  wanted",
        &format!(
            "mode {}, owner {}, group {}{in_place}",
            wanted.mode,
            id(wanted.owner),
            id(wanted.group)
        ),
    );
    for found in &file.found {
        if wanted.is_dir {
            page.value("  file", &found.path);
        }
        page.value("  found", &on_disk(found, now));
        for difference in &found.differs {
            page.toned("  differs", difference, Some(Tone::Bad));
        }
    }
    if let Some(problem) = &file.problem {
        page.toned("  found", problem, Some(Tone::Bad));
    }
}

fn on_disk(found: &Found, now: SystemTime) -> String {
    let named = |id: u32, name: &Option<String>| match name {
        Some(name) => format!("{id} ({name})"),
        None => id.to_string(),
    };
    let age = view::time(found.modified.as_deref()).map_or_else(String::new, |at| {
        let age = now.duration_since(at).unwrap_or_default();
        format!(", {} old", view::short(age))
    });
    let digest = match (&found.digest, &found.no_digest) {
        (Some(digest), _) => format!("digest {digest}"),
        (None, why) => format!("no digest: {}", why.as_deref().unwrap_or("unknown")),
    };
    format!(
        "mode {}, owner {}, group {}, {} bytes{age}, {digest}",
        found.mode,
        named(found.uid, &found.owner),
        named(found.gid, &found.group),
        found.size
    )
}

fn attempts(page: &mut Page, explained: &Explained, now: SystemTime) {
    if explained.attempts.is_empty() {
        return;
    }
    page.title("last attempts, the newest first");
    for attempt in explained.attempts.iter().rev() {
        of_attempt(page, attempt, now);
    }
}

fn of_attempt(page: &mut Page, report: &AttemptReport, now: SystemTime) {
    let attempt = &report.attempt;
    let age = view::time(Some(&report.at)).map_or_else(String::new, |at| {
        view::short(now.duration_since(at).unwrap_or_default())
    });
    let (tone, outcome) = match (&attempt.error_type, &attempt.error) {
        (Some(class), error) => {
            let error = error.as_deref().unwrap_or_default();
            (Tone::Bad, format!("{class}: {error}"))
        }
        (None, _) => {
            let version = attempt
                .version
                .map_or_else(String::new, |version| format!("version {version}, "));
            let change = match attempt.written {
                0 => "unchanged".to_owned(),
                1 => "1 file written".to_owned(),
                count => format!("{count} files written"),
            };
            (Tone::Good, format!("{version}{change}"))
        }
    };
    let next = match attempt.wait_ms {
        Some(wait) => format!("; next after {} ({})", millis(wait), attempt.reason),
        None if attempt.reason.is_empty() => String::new(),
        None => format!("; next: {}", attempt.reason),
    };
    let first = format!(
        "  {}  {age:>6}  {:>7}  ",
        report.at,
        millis(attempt.took_ms)
    );
    let text = format!("{outcome}{next}");
    for line in page.look.fold(&first, "      ", &printable(&text)) {
        page.lines.push(page.look.paint(tone, &line));
    }
}

/// `12ms`, `1.5s`, `4m`.
fn millis(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis}ms"),
        1_000..60_000 => format!("{}.{}s", millis / 1_000, millis % 1_000 / 100),
        _ => view::short(Duration::from_millis(millis)),
    }
}
