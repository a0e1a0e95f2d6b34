//! A proxy in front of a real server: counts what the daemon asks, and answers in the server's
//! place where a test wants that.

use std::io::{self, BufReader};
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::http::{self, Answer, Endpoint, Stream};
use super::scripted::{Action, Request, Response, ScriptedServer};

/// Plain HTTP in front, anything behind. It is the [`ScriptedServer`] whose script is "forward".
pub struct CountingProxy {
    server: ScriptedServer,
    rule: Arc<Mutex<Box<Rule>>>,
}

type Rule = dyn Fn(&Request) -> Option<Action> + Send;

impl CountingProxy {
    /// In front of `behind`.
    pub fn start(behind: &Endpoint) -> Self {
        let behind = behind.clone();
        let none: Box<Rule> = Box::new(|_| None);
        let rule = Arc::new(Mutex::new(none));
        let asked = Arc::clone(&rule);
        let idle = Mutex::new(Vec::new());
        let server = ScriptedServer::start(move |request| {
            let injected = asked.lock().unwrap()(request);
            injected.unwrap_or_else(|| forward(&behind, &idle, request))
        });
        Self { server, rule }
    }

    /// From now on `rule` answers first; where it gives `None` the server does.
    pub fn inject(&self, rule: impl Fn(&Request) -> Option<Action> + Send + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    /// From now on the server answers everything again.
    pub fn restore(&self) {
        self.inject(|_| None);
    }
}

impl Deref for CountingProxy {
    type Target = ScriptedServer;

    fn deref(&self) -> &ScriptedServer {
        &self.server
    }
}

type Idle = Mutex<Vec<BufReader<Box<dyn Stream>>>>;

fn forward(behind: &Endpoint, idle: &Idle, request: &Request) -> Action {
    let pooled = idle.lock().unwrap().pop();
    let answer = match pooled {
        // The server may have closed it: then a fresh connection, as for everybody else.
        Some(stream) => exchange(stream, idle, request).or_else(|_| fresh(behind, idle, request)),
        None => fresh(behind, idle, request),
    };
    match answer {
        Ok(answer) => {
            let framing = ["content-length", "transfer-encoding", "connection"];
            let mut headers = answer.headers;
            headers.retain(|(name, _)| !framing.contains(&name.to_ascii_lowercase().as_str()));
            Response {
                status: answer.status,
                headers,
                body: answer.body,
            }
            .act()
        }
        // What a client sees of a server that is down, had it no proxy before it.
        Err(_) => Action::Reset,
    }
}

fn fresh(behind: &Endpoint, idle: &Idle, request: &Request) -> io::Result<Answer> {
    let stream = behind.connect(Duration::from_secs(60))?;
    exchange(BufReader::new(stream), idle, request)
}

fn exchange(
    mut stream: BufReader<Box<dyn Stream>>,
    idle: &Idle,
    request: &Request,
) -> io::Result<Answer> {
    let hop = ["connection", "transfer-encoding", "content-length"];
    if let Some(token) = request.header("x-vault-token") {
        super::canary::remember(token);
    }
    super::canary::remember_answer(&request.json());
    let headers: Vec<_> = request
        .headers
        .iter()
        .filter(|(name, _)| !hop.contains(&name.to_ascii_lowercase().as_str()))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    http::send(
        stream.get_mut(),
        &request.method,
        &request.target,
        &headers,
        &request.body,
    )?;
    let answer = http::receive(&mut stream)?;
    super::canary::remember_answer(&answer.json());
    if !answer
        .header("connection")
        .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    {
        idle.lock().unwrap().push(stream);
    }
    Ok(answer)
}
