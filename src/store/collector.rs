//! Carries traces to their receiver, over the same HTTP as requests to servers of secrets: no token goes
//! with them, no namespace, and no authority of a store is trusted.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ureq::http::header::CONTENT_TYPE;
use ureq::http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::http::{Http, HttpError, Material, Request};
use crate::clock::Clock;
use crate::config::{Environment, Tracing};
use crate::failure::ErrorType;
use crate::observe::trace::{Carried, Carrier};
use crate::plan::{StorePlan, TlsFiles, collector};
use crate::secret::SecretBytes;

/// Credentials that are shorter are no secret, and would be found anywhere.
const SHORTEST_SECRET: usize = 4;

/// The receiver of traces.
pub struct Collector {
    plan: StorePlan,
    client: Option<TlsFiles>,
    address: String,
    path: String,
    tracing: Arc<Tracing>,
    headers: HeaderMap,
    clock: Arc<dyn Clock>,
    /// Made when it is first needed: certificates may come later.
    http: Mutex<Option<Http>>,
}

impl Collector {
    /// # Errors
    ///
    /// The variable of a proxy that cannot be used, and why.
    pub fn new(
        tracing: &Arc<Tracing>,
        environment: &Environment,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let (plan, client) = collector(tracing, environment)?;
        let mut headers = HeaderMap::with_capacity(tracing.headers.len() + 1);
        for (name, value) in &tracing.headers {
            let bytes = Zeroizing::new(value.expose().as_bytes().to_vec());
            // Looked over when they were read.
            if let Ok(name) = HeaderName::try_from(name)
                && let Ok(mut value) = HeaderValue::from_maybe_shared(Bytes::from_owner(bytes))
            {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        let path = tracing.endpoint.path.clone();
        Ok(Self {
            address: format!("{}{path}", plan.address),
            path,
            plan,
            client,
            tracing: Arc::clone(tracing),
            headers,
            clock,
            http: Mutex::default(),
        })
    }

    /// What people should know of it before it is used.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let open = !self.tracing.endpoint.tls && !self.plan.address.is_local();
        (open && !self.tracing.headers.is_empty()).then(|| {
            format!(
                "`{}`: the headers for the receiver of traces go over the network in the clear",
                self.address
            )
        })
    }

    fn http(&self) -> Result<Http, HttpError> {
        let mut http = self.agent();
        if let Some(http) = &*http {
            return Ok(http.clone());
        }
        let made = Material::load(&self.plan, self.client.as_ref())
            .and_then(|material| Http::new(&self.plan, material, Arc::clone(&self.clock)))
            .map_err(|error| HttpError::tls(format!("`{}`: {error}", self.address)))?;
        Ok(http.insert(made).clone())
    }

    fn agent(&self) -> MutexGuard<'_, Option<Http>> {
        self.http.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, batch: &SecretBytes, within: Duration) -> Result<Carried, HttpError> {
        let response = self.http()?.send(&Request {
            query: self.tracing.endpoint.query.expose(),
            foreign: Some(&self.headers),
            ..Request::post(&self.path, Some(batch), within)
        })?;
        Ok(Carried {
            status: response.status,
            retry_after: response.retry_after,
            body: response.body.expose().to_vec(),
        })
    }
}

impl Carrier for Collector {
    fn carry(&self, batch: Vec<u8>, within: Duration) -> Result<Carried, (String, bool)> {
        self.send(&SecretBytes::new(batch), within)
            .map_err(|error| {
                if error.error_type == ErrorType::Tls {
                    // With the certificates as they are next time.
                    *self.agent() = None;
                }
                let again = error.is_retryable() && error.error_type != ErrorType::Tls;
                (error.message, again)
            })
    }

    fn address(&self) -> &str {
        &self.address
    }

    fn abort(&self) {
        // Whoever holds it reads certificates, maybe for long: there is no request then.
        if let Ok(http) = self.http.try_lock()
            && let Some(http) = &*http
        {
            http.abort();
        }
    }

    fn is_echo(&self, text: &str) -> bool {
        self.tracing
            .credentials()
            .any(|secret| secret.len() >= SHORTEST_SECRET && text.contains(secret))
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collector({})", self.address)
    }
}
