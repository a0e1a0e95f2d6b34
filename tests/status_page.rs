//! The status page in a real browser: what it shows, on a telephone and in the dark, that it renews
//! itself, that names and errors are text, and that it asks for nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod browser;
mod support;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use browser::Browser;
use secrets_sync::clock::ManualClock;
use secrets_sync::observe::http::{Board, Server};
use secrets_sync::observe::{SecretEntry, SessionEntry, StatusDocument, StoreEntry};
use serde_json::{Value, json};
use support::{Daemon, OpenBao, SOON, Signal};

const NO_BROWSER: &str = "no Chromium (Debian: chromium-headless-shell)";

/// The smallest contrast of text (WCAG 2.2, 1.4.3), of every element that has text of its own.
const CONTRAST: &str = r"(() => {
  const light = c => c.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const parse = c => c.match(/[\d.]+/g).map(Number);
  const behind = e => { for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } };
  let least = 21;
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [parse(getComputedStyle(e).color), behind(e)].map(c => light(c.slice(0, 3)));
    least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  return least;
})()";

#[test]
fn the_page_of_a_daemon_shows_its_secrets_and_renews_itself() {
    let Some(mut browser) = Browser::start() else {
        skip!("{NO_BROWSER}");
    };
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "there", &json!({ "x": "value" }));
    let daemon = Daemon::new(&format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {mount} }}
secrets:
- {{ name: is-there, key: there, files: [{{ path: '@DIR@/a', field: x }}] }}
- {{ name: hostile, key: \"<script>document.title='owned'</script>\", files: [{{ path: '@DIR@/b', field: x }}] }}
- {{ name: comes, key: later, files: [{{ path: '@DIR@/c', field: x }}] }}\n",
        bao.address()
    ))
    .metrics()
    .start();
    daemon.wait_secret("comes", SOON, |secret| secret["state"] == "failed");
    daemon.wait_secret("hostile", SOON, |secret| secret["state"] == "failed");
    daemon.wait_secret("is-there", SOON, |secret| secret["state"] == "in_sync");
    let url = format!("{}/", daemon.endpoint().url());
    browser.open(&url);
    let text = browser.text();
    for part in [
        "not ready: 1 of 3 secrets in sync",
        "is-there",
        "in sync",
        "failed",
        "every 5m, less up to a tenth",
        "not_found: ",
        "<script>document.title='owned'</script>",
        "help: ",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("ready, degraded"), "{text}");

    bao.kv2_put(&mount, "later", &json!({ "x": "value" }));
    daemon.signal(Signal::USR1);
    daemon.wait_secret("comes", SOON, |secret| secret["state"] == "in_sync");
    // By itself, after what is under way.
    browser.wait_for_load();
    browser.wait_for_load();
    let text = browser.text();
    assert!(text.contains("2 of 3 secrets in sync"), "{text}");

    let title = browser.eval("document.title");
    assert!(title.as_str().unwrap().ends_with(" - secrets-sync"));
    assert_eq!(browser.eval("document.scripts.length"), 0);
    for request in browser.requests() {
        assert!(request == url || request == "data:,", "{request}");
    }
    assert_eq!(browser.complaints(), Vec::<&Value>::new());
}

/// What a daemon with every kind of trouble shows, at a time that stands still.
fn troubled(clock: &ManualClock) -> StatusDocument {
    let now = humantime("2026-11-24T12:00:00Z");
    clock.set_wall(now);
    let secret = |name: &str, state: &str| SecretEntry {
        name: name.into(),
        store: "default".into(),
        state: state.into(),
        version: Some(7),
        interval: "5m".into(),
        last_success: Some("2026-11-24T11:57:12Z".into()),
        next_refresh: Some("2026-11-24T12:02:03Z".into()),
        next_reason: Some("interval".into()),
        ..SecretEntry::default()
    };
    let failed = |name: &str, class: &str, error: &str, remedy: &str| SecretEntry {
        error_type: Some(class.into()),
        error: Some(error.into()),
        remedy: Some(remedy.into()),
        next_reason: Some("settled".into()),
        ..secret(name, "failed")
    };
    let mut waiting = failed(
        "reports",
        "unavailable",
        "`https://lab.example.com:8200`: the circuit breaker of store `lab` is not closed: the server answered 503",
        "look at the server: the files stay as they are meanwhile",
    );
    waiting.store = "lab".into();
    waiting.next_refresh = None;
    waiting.next_reason = Some("store".into());
    let mut leased = secret("database", "in_sync");
    leased.version = None;
    leased.next_reason = Some("lease".into());
    leased.lease_expires = Some("2026-11-24T12:03:00Z".into());
    let mut optional = secret("feature-flags", "pending");
    optional.optional = true;
    optional.version = None;
    optional.last_success = None;
    optional.next_refresh = None;
    optional.next_reason = None;
    StatusDocument {
        schema: 1,
        ready: true,
        degraded: true,
        secret_count: 6,
        synced_count: 3,
        started: "2026-11-22T08:15:00Z".into(),
        stores: vec![
            StoreEntry {
                name: "default".into(),
                breaker: "closed".into(),
                sessions: vec![SessionEntry::default()],
                ..StoreEntry::default()
            },
            StoreEntry {
                name: "lab".into(),
                breaker: "open".into(),
                next_probe: Some("2026-11-24T12:00:06Z".into()),
                ..StoreEntry::default()
            },
        ],
        secrets: vec![
            secret("tls-cert", "in_sync"),
            failed(
                "smtp",
                "denied",
                "`https://vault.example.com:8200`: read of `secret/app/smtp`: the token's policies do not allow it",
                "grant `read` on `secret/data/app/smtp`: `secrets-sync policy` prints the rule",
            ),
            waiting,
            leased,
            optional,
            secret("registry", "in_sync"),
        ],
        ..StatusDocument::default()
    }
}

fn humantime(text: &str) -> SystemTime {
    // Seconds since 1970 of the one time that is used here.
    assert_eq!(text, "2026-11-24T12:00:00Z");
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_521_600)
}

fn serve(document: StatusDocument, clock: &ManualClock) -> (Server, String) {
    let board = Arc::new(Board::new(Arc::new(clock.clone())));
    board.publish(Arc::new(document));
    let any = "127.0.0.1:0".parse().unwrap();
    // Its own time is the machine's: a clock that stands still would never let it answer.
    let server = Server::start(any, board, Arc::new(clock.clone())).unwrap();
    let url = format!("http://{}/", server.address());
    (server, url)
}

#[test]
fn the_page_fits_a_telephone_has_contrast_in_light_and_dark_and_keeps_its_table_for_screen_readers()
{
    let Some(mut browser) = Browser::start() else {
        skip!("{NO_BROWSER}");
    };
    let clock = ManualClock::new();
    let mut document = troubled(&clock);
    let long = |text: &str| text.repeat(128).chars().take(128).collect::<String>();
    for (at, name) in [
        long("name"),
        long("<img src=x onerror=alert(1)>"),
        long("漢字"),
        "\u{202e}evil".to_owned(),
        "\u{5e9}\u{5dc}\u{5d5}\u{5dd}".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        document.secrets[at].name = name;
        document.secrets[at].error = Some(long("no-space-in-this-error/"));
    }
    document.notices.push(long("notice"));
    let (_server, url) = serve(document, &clock);
    for (width, mobile, dark) in [
        (360, true, false),
        (320, true, true),
        (820, false, false),
        (1280, false, true),
    ] {
        browser.window(width, 800, mobile, dark);
        browser.open(&url);
        let wide = browser.eval("document.documentElement.scrollWidth");
        assert!(
            wide.as_u64().unwrap() <= u64::from(width),
            "{wide} of {width}"
        );
        let contrast = browser.eval(CONTRAST).as_f64().unwrap();
        assert!(contrast >= 4.5, "{contrast} at {width}, dark: {dark}");
        let text = browser.text();
        assert!(text.contains("<img src=x onerror=alert(1)>"), "{text}");
        assert!(text.contains("\\u{202e}evil"), "{text}");
        assert_eq!(browser.eval("document.images.length"), 0);
        let tree = browser.call("Accessibility.getFullAXTree", &json!({}));
        let roles = |role: &str| {
            let nodes = tree["nodes"].as_array().unwrap().iter();
            nodes.filter(|node| node["role"]["value"] == role).count()
        };
        assert_eq!(
            (roles("table"), roles("columnheader"), roles("rowheader")),
            (1, 7, 6),
            "at {width}"
        );
        assert_eq!(browser.complaints(), Vec::<&Value>::new());
    }
}

/// `make screenshots` gives the path.
#[test]
fn the_screenshot_of_the_guide_is_the_page() {
    let Some(mut browser) = Browser::start() else {
        skip!("{NO_BROWSER}");
    };
    let clock = ManualClock::new();
    let (_server, url) = serve(troubled(&clock), &clock);
    browser.window(1120, 640, false, false);
    browser.open(&url);
    let picture = browser.screenshot();
    assert!(picture.starts_with(b"\x89PNG\r\n"));
    assert!(picture.len() < 200_000, "{}", picture.len());
    if let Some(path) = std::env::var_os("SECRETS_SYNC_SCREENSHOT") {
        fs::write(path, &picture).unwrap();
        return;
    }
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/status-page.png");
    let kept = fs::read(kept).expect("docs/status-page.png: `make screenshots` makes it");
    // Bytes 16 to 24 are width and height: fonts differ from machine to machine.
    assert_eq!(
        kept.get(16..24),
        picture.get(16..24),
        "`make screenshots` makes it anew"
    );
}
