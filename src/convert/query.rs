//! Asks a real server what the secrets hold (`--query-vault`): one login, then reads.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::facts::{Facts, Read};
use crate::config::Environment;
use crate::plan::{self, Auth, Credential, KvVersion, Purpose, SessionKey, SessionPlan, Source};
use crate::secret::{Fields, SecretBytes, SecretString};
use crate::store::http::{Http, Request, Response};
use crate::store::vault::{encoded, fetched, request_path};

/// Directories inside each other.
const MAX_DEPTH: usize = 32;
/// Requests in a row without an answer, after which no more are made.
const UNANSWERED: u32 = 2;
/// Names that one `find` may see.
const MAX_NAMES: usize = 20_000;

/// The configuration that the arguments and the environment speak for: they override all of it.
const CONFIGURATION: &str = "secretStore: {}\nsecrets: [{name: query, key: query, files: [{path: /query, format: json}]}]\n";

/// A server, and a token for it.
pub struct Server {
    http: Http,
    token: Option<SecretString>,
    /// The token is of our own making.
    made: bool,
    namespace: String,
    timeout: Duration,
    known: RefCell<Known>,
}

/// What was asked already.
#[derive(Default)]
struct Known {
    /// How often in a row there was no answer, and why the last time.
    unanswered: Option<(u32, String)>,
    /// Namespace, mount, version.
    engines: Vec<(String, String, KvVersion)>,
    /// Namespaces and paths in no mount that the token may see.
    nowhere: Vec<(String, String)>,
    secrets: HashMap<Read, Result<Rc<Fields>, String>>,
}

#[derive(Deserialize)]
struct Login {
    auth: LoginAuth,
}

#[derive(Deserialize)]
struct LoginAuth {
    client_token: String,
}

#[derive(Deserialize)]
struct Mount {
    data: MountData,
}

#[derive(Deserialize)]
struct MountData {
    path: String,
    #[serde(default)]
    options: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
struct List {
    data: ListData,
}

#[derive(Deserialize)]
struct ListData {
    #[serde(default)]
    keys: Vec<String>,
}

#[derive(Deserialize, Default)]
struct Errors {
    #[serde(default)]
    errors: Vec<String>,
}

impl Server {
    /// Logs in with what the environment says (`VAULT_ADDR`, `VAULT_TOKEN`, `VAULT_ROLE_ID`, …).
    ///
    /// # Errors
    ///
    /// What is missing or wrong, a line each.
    pub fn connect(environment: &Environment) -> Result<Self, Vec<String>> {
        let name = Path::new("--query-vault");
        let plan = plan::load_text(name, CONFIGURATION.to_owned(), environment, Purpose::Run)
            .map_err(|problems| {
                problems
                    .problems
                    .iter()
                    .map(|problem| match &problem.help {
                        Some(help) => format!("--query-vault: {}; {help}", problem.message),
                        None => format!("--query-vault: {}", problem.message),
                    })
                    .collect::<Vec<_>>()
            })?;
        let (Some(store), Some(session)) = (plan.stores.first(), plan.sessions.first()) else {
            return Err(vec![
                "--query-vault: no server is named: `--vault-addr`".to_owned(),
            ]);
        };
        let http =
            Http::build(store, session.client.as_ref()).map_err(|error| vec![error.to_string()])?;
        let mut server = Self {
            http,
            token: None,
            made: false,
            namespace: session.key.namespace.clone(),
            timeout: store.timeout,
            known: RefCell::default(),
        };
        server
            .log_in(session)
            .map_err(|message| vec![format!("--query-vault: {message}")])?;
        Ok(server)
    }

    /// Lets go of a token that the login made.
    pub fn close(self) {
        if self.made {
            // It ends by itself, if not now.
            let request = Request::post("/v1/auth/token/revoke-self", None, Duration::from_secs(2));
            let _ = self.http.send(&Request {
                namespace: &self.namespace,
                token: self.token.as_ref(),
                ..request
            });
        }
    }

    fn log_in(&mut self, session: &SessionPlan) -> Result<(), String> {
        let value = |credential: &Credential| {
            credential
                .read()
                .map_err(|why| format!("`{}`: {}", why.path.display(), why.cause))
        };
        let (mount, body) = match &session.auth {
            Auth::None => return Ok(()),
            Auth::Token(token) => {
                self.token = Some(value(token)?);
                return Ok(());
            }
            Auth::AppRole {
                mount,
                role_id,
                secret_id,
                ..
            } => {
                let role_id = value(role_id)?;
                let secret_id = secret_id.as_ref().map(value).transpose()?;
                let body = match &secret_id {
                    Some(secret_id) => {
                        json!({"role_id": role_id.expose(), "secret_id": secret_id.expose()})
                    }
                    None => json!({"role_id": role_id.expose()}),
                };
                (mount, body)
            }
            Auth::Cert { mount, role } => (mount, json!({"name": role})),
        };
        let path = format!("/v1/auth/{}/login", encoded(mount));
        let body = SecretBytes::new(body.to_string().into_bytes());
        let request = Request {
            namespace: &self.namespace,
            ..Request::post(&path, Some(&body), self.timeout)
        };
        let response = self.http.send(&request).map_err(|error| error.message)?;
        if response.status != 200 {
            return Err(format!("login at `auth/{mount}`: {}", refusal(&response)));
        }
        let login: Login = serde_json::from_slice(response.body.expose())
            .map_err(|_| format!("login at `auth/{mount}`: the answer holds no token"))?;
        self.token = Some(SecretString::new(login.auth.client_token));
        self.made = true;
        Ok(())
    }

    /// A read. A server that gave no answer twice in a row is not asked again: its time-outs would
    /// be waited for once a secret.
    fn get(&self, namespace: &str, path: &str, query: &str) -> Result<Response, String> {
        if let Some((UNANSWERED, message)) = &self.known.borrow().unanswered {
            return Err(message.clone());
        }
        let path = format!("/v1/{path}");
        let request = Request {
            query,
            namespace,
            token: self.token.as_ref(),
            ..Request::get(&path, self.timeout)
        };
        let result = self.http.send(&request).map_err(|error| error.message);
        let mut known = self.known.borrow_mut();
        known.unanswered = result.as_ref().err().map(|message| {
            let before = known.unanswered.as_ref().map_or(0, |(times, _)| *times);
            (before + 1, message.clone())
        });
        result
    }

    fn ask(&self, read: &Read) -> Result<Fields, String> {
        let source = Source {
            alias: None,
            session: SessionKey {
                store: String::new(),
                credentials: String::new(),
                namespace: String::new(),
            },
            namespace: read.namespace.clone(),
            mount: read.place.mount.clone(),
            key: read.place.key.clone(),
            kv: read.kv(),
            version: read.version,
            metadata: read.metadata,
        };
        let path = request_path(&source);
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        let response = self.get(&read.namespace, path, query)?;
        match response.status {
            200 => fetched(&source, response.body.expose())
                .map(|fetched| fetched.fields)
                .map_err(|error| error.why),
            _ => Err(refusal(&response)),
        }
    }

    fn below(
        &self,
        namespace: &str,
        base: &str,
        folder: &str,
        depth: usize,
        names: &mut Vec<String>,
    ) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("`{folder}` lies too deep"));
        }
        let response = self.get(namespace, &encoded(&format!("{base}{folder}")), "list=true")?;
        let keys = match response.status {
            404 => return Ok(()),
            200 => {
                let list: Result<List, _> = serde_json::from_slice(response.body.expose());
                list.map_err(|_| "the answer is no list".to_owned())?
                    .data
                    .keys
            }
            _ => {
                return Err(format!(
                    "`{folder}` cannot be listed: {}",
                    refusal(&response)
                ));
            }
        };
        for key in keys {
            let name = format!("{folder}{key}");
            if key.ends_with('/') {
                self.below(namespace, base, &name, depth + 1, names)?;
            } else {
                names.push(name);
            }
            if names.len() > MAX_NAMES {
                return Err(format!("more than {MAX_NAMES} secrets"));
            }
        }
        Ok(())
    }
}

impl Facts for Server {
    fn engine(&self, namespace: &str, path: &str) -> Option<(String, KvVersion)> {
        let path = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .collect::<Vec<_>>()
            .join("/");
        let inside = |mount: &str| {
            path == mount
                || path
                    .strip_prefix(mount)
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        if let Some((_, mount, kv)) = self
            .known
            .borrow()
            .engines
            .iter()
            .find(|(own, mount, _)| own == namespace && inside(mount))
        {
            return Some((mount.clone(), *kv));
        }
        let first = path.split('/').next().unwrap_or("").to_owned();
        let asked = (namespace.to_owned(), path.clone());
        if self.known.borrow().nowhere.contains(&asked) {
            return None;
        }
        let response = self
            .get(
                namespace,
                &format!("sys/internal/ui/mounts/{}", encoded(&path)),
                "",
            )
            .ok();
        let mount = response
            .filter(|response| response.status == 200)
            .and_then(|response| serde_json::from_slice::<Mount>(response.body.expose()).ok());
        let Some(mount) = mount.filter(|mount| mount.data.path.starts_with(&first)) else {
            self.known.borrow_mut().nowhere.push(asked);
            return None;
        };
        let version = mount
            .data
            .options
            .as_ref()
            .and_then(|options| options.get("version"));
        let kv = match version.map(String::as_str) {
            Some("2") => KvVersion::V2,
            _ => KvVersion::V1,
        };
        let path = mount.data.path.trim_matches('/').to_owned();
        self.known
            .borrow_mut()
            .engines
            .push((namespace.to_owned(), path.clone(), kv));
        Some((path, kv))
    }

    fn read(&self, read: &Read) -> Result<Rc<Fields>, String> {
        if let Some(known) = self.known.borrow().secrets.get(read) {
            return known.clone();
        }
        let result = self.ask(read).map(Rc::new);
        self.known
            .borrow_mut()
            .secrets
            .insert(read.clone(), result.clone());
        result
    }

    fn list(
        &self,
        namespace: &str,
        mount: &str,
        kv: KvVersion,
        below: &str,
    ) -> Result<Vec<String>, String> {
        let base = match kv {
            KvVersion::V1 => format!("{mount}/"),
            KvVersion::V2 => format!("{mount}/metadata/"),
        };
        let folder = match below.trim_matches('/') {
            "" => String::new(),
            folder => format!("{folder}/"),
        };
        let mut names = Vec::new();
        self.below(namespace, &base, &folder, 0, &mut names)?;
        Ok(names)
    }
}

/// What a refusal says, for people.
fn refusal(response: &Response) -> String {
    let errors: Errors = serde_json::from_slice(response.body.expose()).unwrap_or_default();
    let mut text = match response.status {
        403 => "the token may not (403)".to_owned(),
        404 => "there is none, or not at this mount or in this namespace, or its version is deleted (404)".to_owned(),
        status => format!("the server answers {status}"),
    };
    for error in errors.errors.iter().take(3) {
        let line = error.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = write!(text, ": {}", super::remark::shown(&line));
    }
    text
}
