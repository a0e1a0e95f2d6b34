//! A headless Chromium, spoken to over its debugging pipe: what a page shows, asks for and complains
//! about.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails
#![allow(unreachable_pub, reason = "`pub` marks what is for the tests")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::process;

/// A browser is slow to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const PROGRAMS: [&str; 3] = ["chromium-headless-shell", "chromium", "chromium-browser"];

/// One tab. The browser ends when this is dropped.
pub struct Browser {
    child: Child,
    orders: ChildStdin,
    messages: mpsc::Receiver<Value>,
    session: Option<String>,
    next: u64,
    /// Everything that it told since [`Browser::open`].
    told: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// `None` where there is no Chromium.
    pub fn start() -> Option<Self> {
        let program = PROGRAMS.iter().find_map(|name| process::in_path(name))?;
        let profile = tempfile::tempdir().unwrap();
        let mut command = process::command(Path::new("/bin/sh"));
        // It reads orders from descriptor 3 and writes to 4.
        command
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null"])
            .arg(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
                "--no-first-run",
                "--remote-debugging-pipe",
                // Nothing but the machine itself is to be had.
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = process::spawn(command).unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let (sender, messages) = mpsc::channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while out.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                if let Ok(message) = serde_json::from_slice(&message) {
                    let _ = sender.send(message);
                }
                message.clear();
            }
        });
        let mut browser = Self {
            orders: child.stdin.take().unwrap(),
            child,
            messages,
            session: None,
            next: 0,
            told: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attached = browser.call(
            "Target.attachToTarget",
            &json!({ "targetId": target["targetId"], "flatten": true }),
        );
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network", "Audits"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        Some(browser)
    }

    /// Sends an order and waits for its answer.
    #[track_caller]
    pub fn call(&mut self, method: &str, params: &Value) -> Value {
        self.next += 1;
        let mut order = json!({ "id": self.next, "method": method, "params": params });
        if let Some(session) = &self.session {
            order["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&order).unwrap();
        bytes.push(0);
        self.orders.write_all(&bytes).unwrap();
        let end = Instant::now() + PATIENCE;
        loop {
            let message = self.message(end);
            if message["id"] == self.next {
                assert_eq!(message["error"], Value::Null, "{method}");
                return message["result"].clone();
            }
            self.told.push(message);
        }
    }

    #[track_caller]
    fn message(&self, end: Instant) -> Value {
        let left = end.saturating_duration_since(Instant::now());
        self.messages.recv_timeout(left).expect("the browser")
    }

    /// Loads a page, and forgets what was told before.
    #[track_caller]
    pub fn open(&mut self, url: &str) {
        self.told.clear();
        self.call("Page.navigate", &json!({ "url": url }));
        self.wait_for_load();
    }

    /// Waits until a page has been loaded: the one that was opened, or its next self.
    #[track_caller]
    pub fn wait_for_load(&mut self) {
        let end = Instant::now() + PATIENCE;
        let is_load = |message: &Value| message["method"] == "Page.loadEventFired";
        if let Some(at) = self.told.iter().position(is_load) {
            self.told.remove(at);
            return;
        }
        loop {
            let message = self.message(end);
            if is_load(&message) {
                return;
            }
            self.told.push(message);
        }
    }

    /// What an expression comes to in the page.
    #[track_caller]
    pub fn eval(&mut self, expression: &str) -> Value {
        let result = self.call(
            "Runtime.evaluate",
            &json!({ "expression": expression, "returnByValue": true }),
        );
        assert_eq!(result["exceptionDetails"], Value::Null, "{expression}");
        result["result"]["value"].clone()
    }

    /// The text that people see.
    #[track_caller]
    pub fn text(&mut self) -> String {
        let text = self.eval("document.body.innerText");
        text.as_str().unwrap().to_owned()
    }

    /// A window of that size, of a telephone or not, dark or not.
    #[track_caller]
    pub fn window(&mut self, width: u32, height: u32, mobile: bool, dark: bool) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile }),
        );
        let scheme = if dark { "dark" } else { "light" };
        self.call(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
        );
    }

    /// What it looks like, as PNG.
    #[track_caller]
    pub fn screenshot(&mut self) -> Vec<u8> {
        let shot = self.call("Page.captureScreenshot", &json!({ "format": "png" }));
        STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()
    }

    /// The addresses that were asked for since the page was opened.
    pub fn requests(&self) -> Vec<String> {
        let asked = self
            .told
            .iter()
            .filter(|message| message["method"] == "Network.requestWillBeSent");
        asked
            .map(|message| {
                message["params"]["request"]["url"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }

    /// What the browser complained of since the page was opened.
    pub fn complaints(&self) -> Vec<&Value> {
        let of = [
            "Log.entryAdded",
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
            "Audits.issueAdded",
        ];
        let is_one = |message: &&Value| {
            message["method"]
                .as_str()
                .is_some_and(|method| of.contains(&method))
        };
        self.told.iter().filter(is_one).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        process::kill(&mut self.child);
    }
}
