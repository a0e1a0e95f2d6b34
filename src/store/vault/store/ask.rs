//! What `doctor` asks of a server with a session's token, beside the reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::answer::{Meaning, Operation};
use super::super::auth::{Authenticator, body};
use super::super::envelope::Envelope;
use super::super::policy::from_login;
use super::super::wire::Method;
use super::super::{keeper, kv};
use super::{Entry, VaultStore};
use crate::clock::Stop;
use crate::plan::{KvVersion, SessionKey, Source};
use crate::secret::SecretBytes;
use crate::store::StoreError;

/// What is mounted at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The engine, such as `kv`.
    pub(crate) kind: String,
    /// Which version, where it is a KV engine.
    pub(crate) kv: Option<KvVersion>,
}

#[derive(Serialize)]
struct PathsBody<'a> {
    paths: &'a [String],
}

#[derive(Deserialize)]
struct PoliciesBlock {
    #[serde(default)]
    policies: Vec<String>,
    #[serde(default)]
    identity_policies: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct MountBlock {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    options: Option<BTreeMap<String, String>>,
}

impl VaultStore {
    /// Gets the session a token, as its first read would.
    ///
    /// # Errors
    ///
    /// The session's failure.
    pub(crate) fn log_in(&self, key: &SessionKey, stop: &Stop) -> Result<(), StoreError> {
        let Entry { session, tools } = self.session(key)?;
        session
            .token(|| keeper::start(&session, &tools), stop)
            .map(drop)
    }

    /// The names of the token's policies.
    ///
    /// # Errors
    ///
    /// When the server does not tell.
    pub(crate) fn policies(
        &self,
        key: &SessionKey,
        stop: &Stop,
    ) -> Result<Vec<String>, StoreError> {
        let block: PoliciesBlock = self.ask(
            key,
            Method::Get,
            "auth/token/lookup-self",
            None,
            "look-up of the token",
            stop,
        )?;
        let mut all = block.policies;
        all.extend(block.identity_policies.unwrap_or_default());
        Ok(all)
    }

    /// What the token may do at each of these paths, which begin at the namespace of its login.
    ///
    /// # Errors
    ///
    /// When the server does not tell.
    pub(crate) fn capabilities(
        &self,
        key: &SessionKey,
        paths: &[String],
        stop: &Stop,
    ) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
        let body = body(&PathsBody { paths });
        self.ask(
            key,
            Method::Post,
            "sys/capabilities-self",
            Some(body),
            "look-up of the token's capabilities",
            stop,
        )
    }

    /// What is mounted where the source is read. No policy is needed for that, only access to the path.
    ///
    /// # Errors
    ///
    /// When the server does not tell.
    pub(crate) fn mount(&self, source: &Source, stop: &Stop) -> Result<Mount, StoreError> {
        let at = from_login(source, &kv::policy_path(source), "sys/internal/ui/mounts/");
        let path = kv::encoded(&at.unwrap_or_default());
        let what = format!("look at the mount `{}`", source.mount);
        let block: MountBlock = self.ask(&source.session, Method::Get, &path, None, &what, stop)?;
        let version = block
            .options
            .and_then(|mut options| options.remove("version"));
        let kv = match (block.kind.as_str(), version.as_deref()) {
            ("kv", Some("2")) => Some(KvVersion::V2),
            ("kv" | "generic", _) => Some(KvVersion::V1),
            _ => None,
        };
        Ok(Mount {
            kind: block.kind,
            kv,
        })
    }

    /// Asks one thing, in the namespace of the login. The `data` of the answer.
    fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        key: &SessionKey,
        method: Method,
        path: &str,
        body: Option<SecretBytes>,
        what: &str,
        stop: &Stop,
    ) -> Result<T, StoreError> {
        let Entry { session, tools } = self.session(key)?;
        let token = session.token(|| keeper::start(&session, &tools), stop)?;
        let auth = Authenticator::new(
            std::sync::Arc::clone(&session.plan),
            tools.mode,
            tools.wire,
            tools.clock,
            tools.teller,
            tools.unwrapped,
        );
        let token = token.value.as_ref();
        let mut asked = auth.asked(Operation::LookupSelf, what.to_owned());
        asked.sent = token.into_iter().collect();
        let reply = auth.send(Operation::LookupSelf, method, path, token, body, stop)?;
        if reply.meaning != Meaning::Good {
            return Err(asked.refused(&reply));
        }
        Envelope::parse(reply.body.expose())
            .and_then(|envelope| envelope.data_as::<T>())
            .ok_or_else(|| asked.garbage("the answer does not hold what was asked for"))
    }
}
