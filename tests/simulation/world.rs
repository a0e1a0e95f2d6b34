//! All that the simulated server knows, and how it answers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use secrets_sync::clock::Tick;
use serde_json::{Value, json};

/// What the server is like as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// Well.
    #[default]
    Well,
    /// Every connection is closed without a word.
    Away,
    Sealed,
    /// 500 to everything.
    Broken,
    /// 429 to everything but the health question.
    Throttling,
    /// No request is ever answered.
    Hanging,
}

/// What is wrong with one secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 403 for want of a policy.
    Denied,
    /// 403 in the words that a dead token gets, though it lives.
    Doubtful,
    /// 404.
    Absent,
    /// 429, with a pause in seconds or without.
    Throttled(Option<u64>),
    /// 500.
    Broken,
    /// 200 with half a body of JSON.
    Garbage,
    /// No answer.
    Hanging,
}

/// How a secret is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// KV v2.
    Kv2,
    /// KV v1, with the 32 days that it always tells.
    Kv1,
    /// With a lease of so many seconds.
    Lease(u64),
}

/// What a request was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Health,
    Login,
    LookUp,
    Renew,
    Revoke,
    /// Of the secret of that name.
    Read(String),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Tick,
    pub asked: Asked,
    /// Of the answer; 0 for none.
    pub status: u16,
    /// A read: the value that was given.
    pub given: Option<String>,
    /// An error that trying again soon does not help.
    pub permanent: bool,
    /// The token that came with it had ended by itself before.
    pub ended_token: bool,
}

/// All that the server knows.
#[derive(Default)]
pub struct World {
    pub mood: Mood,
    secrets: BTreeMap<String, Secret>,
    tokens: HashMap<String, Token>,
    /// Of tokens that a login makes.
    pub ttl: Duration,
    pub max_ttl: Duration,
    made: u64,
    pub(super) seen: VecDeque<Seen>,
    pub(super) streams: HashMap<u64, UnixStream>,
    pub(super) stopping: bool,
}

struct Secret {
    kind: Kind,
    version: u64,
    value: String,
    fault: Option<Fault>,
}

struct Token {
    expires: Tick,
    max: Tick,
}

pub(super) enum Reply {
    Answer(u16, Value),
    /// A status with a pause.
    Pause(u64),
    Garbage,
    Nothing,
    Close,
}

impl World {
    /// Well, without secrets; its tokens live for an hour, renewed for a day.
    pub(super) fn new() -> Self {
        Self {
            ttl: Duration::from_secs(3600),
            max_ttl: Duration::from_secs(24 * 3600),
            ..Self::default()
        }
    }

    /// A new version of a secret, or the first; gives its value.
    pub fn put(&mut self, name: &str, kind: Kind) -> String {
        let secret = self.secrets.entry(name.to_owned()).or_insert(Secret {
            kind,
            version: 0,
            value: String::new(),
            fault: None,
        });
        secret.version += 1;
        secret.value = format!("{name} in version {}", secret.version);
        secret.value.clone()
    }

    /// The next version of a secret that is there.
    pub fn rotate(&mut self, name: &str) -> String {
        let kind = self.secrets[name].kind;
        self.put(name, kind)
    }

    /// The value that a good read gives now.
    pub fn value(&self, name: &str) -> &str {
        &self.secrets[name].value
    }

    pub fn set_fault(&mut self, name: &str, fault: Option<Fault>) {
        self.secrets.get_mut(name).unwrap().fault = fault;
    }

    /// A token that nobody logs in for and that never ends.
    pub fn add_token(&mut self, token: &str) {
        let never = Tick::from_start(Duration::from_secs(1 << 40));
        let token_data = Token {
            expires: never,
            max: never,
        };
        self.tokens.insert(token.to_owned(), token_data);
    }

    /// Forgets the tokens of all logins.
    pub fn revoke_all(&mut self) {
        self.tokens.retain(|name, _| !name.starts_with("login-"));
    }

    /// Tokens of logins that would be accepted at that moment.
    pub fn live_tokens(&self, now: Tick) -> usize {
        self.tokens
            .iter()
            .filter(|(name, token)| name.starts_with("login-") && token.expires > now)
            .count()
    }

    pub(super) fn cut(&mut self) {
        for stream in self.streams.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn answer(&mut self, now: Tick, head: &str, token: &str) -> (Seen, Reply) {
        let mut words = head.split(' ');
        let (_, target) = (words.next(), words.next().unwrap_or_default());
        let path = target.split('?').next().unwrap_or_default();
        let path = path.strip_prefix("/v1/").unwrap_or_default();
        let asked = match path {
            "sys/health" => Asked::Health,
            "auth/approle/login" => Asked::Login,
            "auth/token/lookup-self" => Asked::LookUp,
            "auth/token/renew-self" => Asked::Renew,
            "auth/token/revoke-self" => Asked::Revoke,
            read => {
                let name = read.rsplit('/').next().unwrap_or_default();
                Asked::Read(name.to_owned())
            }
        };
        let ended_token = self
            .tokens
            .get(token)
            .is_some_and(|token| token.expires <= now);
        let reply = match (self.mood, &asked) {
            (Mood::Away, _) => Reply::Close,
            (Mood::Hanging, _) => Reply::Nothing,
            (Mood::Broken, _) => refusal(500, "internal error"),
            (Mood::Sealed, Asked::Health) => Reply::Answer(503, json!({"sealed": true})),
            (Mood::Sealed, _) => refusal(503, "Vault is sealed"),
            (_, Asked::Health) => Reply::Answer(200, json!({"sealed": false})),
            (Mood::Throttling, _) => refusal(429, "request path rate limit quota exceeded"),
            (Mood::Well, Asked::Login) => self.login(now),
            (Mood::Well, _) if !self.knows(token, now) => refusal(403, "permission denied"),
            (Mood::Well, Asked::LookUp) => {
                let token = &self.tokens[token];
                let ttl = seconds(token.expires.since(now));
                let creation_ttl = seconds(self.ttl);
                let forever = token.max.since_start().as_secs() == 1 << 40;
                let (ttl, creation_ttl) = if forever { (0, 0) } else { (ttl, creation_ttl) };
                Reply::Answer(
                    200,
                    json!({"data": {"ttl": ttl, "creation_ttl": creation_ttl, "renewable": !forever,
                        "type": "service", "num_uses": 0, "accessor": "accessor"}}),
                )
            }
            (Mood::Well, Asked::Renew) => {
                let token_data = self.tokens.get_mut(token).unwrap();
                token_data.expires = (now + self.ttl).min(token_data.max);
                let ttl = token_data.expires.since(now);
                grant(token, ttl)
            }
            (Mood::Well, Asked::Revoke) => {
                self.tokens.remove(token);
                Reply::Answer(204, Value::Null)
            }
            (Mood::Well, Asked::Read(name)) => self.read(name),
        };
        let given = match (&asked, &reply) {
            (Asked::Read(name), Reply::Answer(200, _)) => Some(self.secrets[name].value.clone()),
            _ => None,
        };
        let fault = match &asked {
            Asked::Read(name) => self.secrets.get(name).and_then(|secret| secret.fault),
            _ => None,
        };
        let permanent = matches!(fault, Some(Fault::Denied | Fault::Absent | Fault::Garbage));
        let seen = Seen {
            at: now,
            asked,
            permanent: permanent && self.mood == Mood::Well,
            status: match &reply {
                Reply::Answer(status, _) => *status,
                Reply::Pause(_) => 429,
                Reply::Garbage => 200,
                Reply::Nothing | Reply::Close => 0,
            },
            given,
            ended_token,
        };
        (seen, reply)
    }

    fn login(&mut self, now: Tick) -> Reply {
        self.tokens
            .retain(|_, token| token.expires + Duration::from_secs(86_400) > now);
        self.made += 1;
        let name = format!("login-{}", self.made);
        let token = Token {
            expires: now + self.ttl.min(self.max_ttl),
            max: now + self.max_ttl,
        };
        let reply = grant(&name, token.expires.since(now));
        self.tokens.insert(name, token);
        reply
    }

    fn knows(&self, token: &str, now: Tick) -> bool {
        self.tokens
            .get(token)
            .is_some_and(|token| token.expires > now)
    }

    fn read(&self, name: &str) -> Reply {
        let Some(secret) = self.secrets.get(name) else {
            return Reply::Answer(404, json!({"errors": []}));
        };
        match secret.fault {
            None => {}
            Some(Fault::Denied) => {
                return refusal(403, "1 error occurred:\n\t* permission denied\n\n");
            }
            Some(Fault::Doubtful) => return refusal(403, "permission denied"),
            Some(Fault::Absent) => return Reply::Answer(404, json!({"errors": []})),
            Some(Fault::Throttled(Some(pause))) => return Reply::Pause(pause),
            Some(Fault::Throttled(None)) => return refusal(429, "quota exceeded"),
            Some(Fault::Broken) => return refusal(500, "internal error"),
            Some(Fault::Garbage) => return Reply::Garbage,
            Some(Fault::Hanging) => return Reply::Nothing,
        }
        let (version, value) = (secret.version, &secret.value);
        Reply::Answer(
            200,
            match secret.kind {
                Kind::Kv2 => json!({"lease_id": "", "lease_duration": 0, "data": {
                    "data": {"value": value}, "metadata": {"version": version}}}),
                Kind::Kv1 => json!({"lease_id": "", "lease_duration": 2_764_800,
                    "data": {"value": value}}),
                Kind::Lease(seconds) => json!({"lease_id": format!("lease/{version}"),
                    "lease_duration": seconds, "renewable": false, "data": {"value": value}}),
            },
        )
    }
}

fn refusal(status: u16, error: &str) -> Reply {
    Reply::Answer(status, json!({"errors": [error]}))
}

fn grant(token: &str, ttl: Duration) -> Reply {
    Reply::Answer(
        200,
        json!({"auth": {"client_token": token, "accessor": "accessor", "renewable": true,
            "lease_duration": seconds(ttl), "token_type": "service", "num_uses": 0}}),
    )
}

/// Whole and rounded, as the server tells them.
fn seconds(span: Duration) -> u64 {
    (span + Duration::from_millis(500)).as_secs()
}
