//! The wire of one store: certificates taken up as they change, limits, breaker, and the answer's
//! meaning.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::answer::{Meaning, Operation, meaning};
use super::remedy;
use super::wire::{Call, Method, Reply, Wire};
use crate::clock::{Clock, Stop};
use crate::failure::{ErrorType, Retry};
use crate::observe::trace;
use crate::plan::tls::TlsFileError;
use crate::plan::{Daemon, StorePlan, TlsFiles};
use crate::store::breaker::{Found, Outcome};
use crate::store::entrance::{Entrance, PROBE_WITHIN};
use crate::store::http::{Http, HttpError, Material, Request};
use crate::store::{StoreError, StoreEvent};

/// Carries requests to one server. Shared by all that use the store.
pub(super) struct Client {
    plan: Arc<StorePlan>,
    address: String,
    max_backoff: Duration,
    clock: Arc<dyn Clock>,
    entrance: Arc<Entrance>,
    events: Sender<StoreEvent>,
    /// One agent for each client certificate, the last that could be made.
    agents: Mutex<Vec<(Option<TlsFiles>, Http)>>,
    /// What the last look at the server's health said, and what would help.
    away: Mutex<Option<(String, String)>>,
}

impl Client {
    pub(super) fn new(
        plan: Arc<StorePlan>,
        daemon: &Daemon,
        clock: Arc<dyn Clock>,
        entrance: Arc<Entrance>,
        events: Sender<StoreEvent>,
    ) -> Self {
        Self {
            address: plan.address.to_string(),
            plan,
            max_backoff: daemon.max_backoff,
            clock,
            entrance,
            events,
            agents: Mutex::default(),
            away: Mutex::default(),
        }
    }

    /// The content of certificate files has changed: new agents beside the old ones, which end
    /// with their last request. What cannot be used keeps the old one.
    pub(super) fn files_changed(&self) {
        let mut told = Vec::new();
        for (files, agent) in self.agents().iter_mut() {
            match Material::load(&self.plan, files.as_ref()) {
                Ok(material) if material == *agent.material() => {}
                Ok(material) => match Http::new(&self.plan, material, Arc::clone(&self.clock)) {
                    Ok(new) => {
                        *agent = new;
                        told.push((certificates(files.as_ref(), "taken up"), false));
                    }
                    Err(error) => told.push((kept(&error), true)),
                },
                Err(error) => told.push((kept(&error), true)),
            }
        }
        for (message, warning) in told {
            // Nobody listens any more when the daemon ends.
            let _ = self.events.send(StoreEvent::Tls {
                store: self.plan.name.clone(),
                message,
                warning,
            });
        }
    }

    /// The agent for a client certificate. While its files are not there or not good, every
    /// request looks again.
    fn agent(&self, client: Option<&TlsFiles>) -> Result<Http, StoreError> {
        let mut agents = self.agents();
        if let Some((_, agent)) = agents.iter().find(|(files, _)| files.as_ref() == client) {
            return Ok(agent.clone());
        }
        let made = Material::load(&self.plan, client)
            .and_then(|material| Http::new(&self.plan, material, Arc::clone(&self.clock)));
        let agent = made.map_err(|error| {
            let failure = StoreError::new(
                ErrorType::Tls,
                Retry::Backoff(None),
                format!("`{}`: {error}", self.address),
            );
            failure.with_remedy(error.help.unwrap_or_else(|| {
                format!(
                    "put a good one into `{}`: it is taken up at once",
                    error.path.display()
                )
            }))
        })?;
        agents.push((client.cloned(), agent.clone()));
        Ok(agent)
    }

    fn agents(&self) -> MutexGuard<'_, Vec<(Option<TlsFiles>, Http)>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the server's health, past all limits and without a namespace.
    pub(super) fn health(&self) -> (Found, String) {
        let (found, message, remedy) = match self.ask_health() {
            Ok((status, sealed)) => {
                let (what, remedy) = match status {
                    503 if sealed => ("is sealed".to_owned(), Some(remedy::UNSEAL)),
                    501 => ("is not initialised".to_owned(), Some(remedy::INITIALISE)),
                    500..=599 => (format!("answered {status}"), Some(remedy::SERVER_TROUBLE)),
                    _ => (format!("answered {status}"), None),
                };
                (
                    Found::Answer(status),
                    format!("`{}` {what}", self.address),
                    remedy.map(str::to_owned),
                )
            }
            Err((found, error)) => (found, error.failure.message, error.failure.remedy),
        };
        let away = remedy.map(|remedy| (message.clone(), remedy));
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = away;
        (found, message)
    }

    /// The status of the server's health, and whether it says that it is sealed.
    fn ask_health(&self) -> Result<(u16, bool), (Found, StoreError)> {
        let client = self.agents().first().and_then(|(files, _)| files.clone());
        let request = Request {
            query: "standbyok=true&perfstandbyok=true",
            ..Request::get("/v1/sys/health", PROBE_WITHIN)
        };
        let agent = self.agent(client.as_ref());
        let response = agent
            .map_err(|error| (Found::NoAnswer, error))?
            .send(&request)
            .map_err(|error| (found_by(&error), error.into()))?;
        Ok((response.status, says_sealed(response.body.expose())))
    }

    /// While the breaker is open: what would help is what the last look at the server's health says.
    fn with_what_helps(&self, error: StoreError) -> StoreError {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        match &*away {
            Some((cause, remedy)) if error.failure.message.ends_with(cause.as_str()) => {
                error.with_remedy(remedy)
            }
            _ => error,
        }
    }

    fn exchange(
        &self,
        agent: &Http,
        call: &Call<'_>,
        timeout: Duration,
        again: &mut dyn FnMut(),
    ) -> Result<Reply, HttpError> {
        let (path, query) = call.path.split_once('?').unwrap_or((call.path, ""));
        let path = format!("/v1/{path}");
        let request = Request {
            query,
            namespace: call.namespace,
            token: call.token,
            span: match call.operation {
                Operation::Read => "fetch",
                _ => "",
            },
            ..match call.method {
                Method::Get => Request::get(&path, timeout),
                Method::Post => Request::post(&path, call.body.as_ref(), timeout),
            }
        };
        let response = agent.send_counted(&request, again)?;
        Ok(Reply {
            status: response.status,
            meaning: meaning(call.operation, response.status, response.body.expose()),
            // No pause is no wish.
            retry_after: response
                .retry_after
                .filter(|pause| !pause.is_zero())
                .map(|pause| pause.min(self.max_backoff)),
            body: response.body,
            _place: response.place,
            span: response.span,
        })
    }
}

impl Wire for Client {
    fn send(&self, call: &Call<'_>, stop: &Stop) -> Result<Reply, StoreError> {
        // A missing certificate file says nothing of the server: before the gate.
        let agent = self.agent(call.client)?;
        let mut wait = trace::child("wait");
        wait.set("secrets_sync.store", self.plan.name.clone());
        let visit = self
            .entrance
            .enter(&self.address, call.who, stop)
            .map_err(|error| self.with_what_helps(error));
        wait.judge(&visit, |error| &error.failure);
        drop(wait);
        let visit = visit?;
        let result = self.exchange(&agent, call, self.plan.timeout, &mut || visit.again());
        visit.ended(outcome(&result));
        Ok(result?)
    }

    fn send_at_once(&self, call: &Call<'_>, within: Duration) {
        // Nobody can do anything about it.
        if let Ok(agent) = self.agent(call.client) {
            let _ = self.exchange(&agent, call, within.min(self.plan.timeout), &mut || {});
        }
    }

    fn back(&self) -> Receiver<Infallible> {
        self.entrance.back()
    }

    fn address(&self) -> &str {
        &self.address
    }
}

/// Whether the body of a health answer says so, rather than that of a load balancer.
fn says_sealed(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Seal {
        sealed: bool,
    }
    serde_json::from_slice::<Seal>(body).is_ok_and(|seal| seal.sealed)
}

/// What a result says of the server's health.
fn outcome(result: &Result<Reply, HttpError>) -> Outcome {
    match result {
        Ok(reply) => match reply.meaning {
            Meaning::Sealed
            | Meaning::Uninitialised
            | Meaning::Unavailable(_)
            | Meaning::TimedOut => Outcome::Failed(Found::Answer(reply.status)),
            Meaning::Good => Outcome::Success,
            _ => Outcome::Neutral,
        },
        Err(error) if error.is_retryable() => Outcome::Failed(found_by(error)),
        // No HTTP, or a request that cannot be made.
        Err(_) => Outcome::Neutral,
    }
}

/// What a request without an answer says of who was asked.
fn found_by(error: &HttpError) -> Found {
    match error.error_type {
        _ if error.nobody => Found::Nobody,
        ErrorType::Timeout => Found::TimedOut,
        _ => Found::NoAnswer,
    }
}

fn kept(error: &TlsFileError) -> String {
    match &error.help {
        Some(help) => format!("{error}: the certificates in use are kept; {help}"),
        None => format!("{error}: the certificates in use are kept"),
    }
}

fn certificates(files: Option<&TlsFiles>, what: &str) -> String {
    match files {
        Some(files) => format!(
            "new certificates {what} (client certificate `{}`)",
            files.cert.display()
        ),
        None => format!("new certificates {what}"),
    }
}
