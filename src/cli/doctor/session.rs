//! The logins of one store, and what each token may do: as the daemon logs in and reads, once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};

use super::report::Check;
use crate::clock::{Stop, SystemClock};
use crate::failure::ErrorType;
use crate::plan::{Auth, Daemon, KvVersion, Plan, Secret, SessionPlan, Source, StorePlan};
use crate::store::vault::policy::{Rule, asked_path, upkeep_rules};
use crate::store::vault::{LEFT_FOR_THE_DAEMON, VaultStore};
use crate::store::{Mode, Store as _, StoreError, StoreEvent, Stores};

/// No request of these takes longer, whatever `timeout` says.
const WITHIN: Duration = Duration::from_secs(10);

/// How long the revocation of the tokens may take.
const REVOKE_WITHIN: Duration = Duration::from_secs(1);

/// One store's sessions, as they are looked at.
struct Round<'a> {
    plan: &'a Plan,
    store: Arc<VaultStore>,
    events: Receiver<StoreEvent>,
    /// Not to be asked of any more, and why.
    hopeless: Option<&'static str>,
    /// Requests without an answer in time.
    late: usize,
    checks: Vec<Check>,
}

/// Logs in and reads what the plan reads of one store; `hopeless` says why that makes no sense.
pub(super) fn examine(
    plan: &Plan,
    store: &StorePlan,
    daemon: &Arc<Daemon>,
    hopeless: Option<&'static str>,
) -> Vec<Check> {
    let mut part = plan.clone();
    part.sessions.retain(|it| it.key.store == store.name);
    let mut own = store.clone();
    own.timeout = own.timeout.min(WITHIN);
    part.stores = vec![Arc::new(own)];
    let (sender, events) = unbounded();
    let clock = Arc::new(SystemClock);
    let mut stores = Stores::new(Arc::clone(daemon), Mode::Look, clock, sender);
    stores.apply(&part);
    let Some(store) = stores.vault(&store.name) else {
        return Vec::new();
    };
    let mut round = Round {
        plan: &part,
        store,
        events,
        hopeless,
        late: 0,
        checks: Vec::new(),
    };
    for session in &part.sessions {
        round.session(session);
    }
    let checks = round.checks;
    stores.close(REVOKE_WITHIN);
    checks
}

impl Round<'_> {
    fn session(&mut self, session: &SessionPlan) {
        let plan = self.plan;
        let reads: Vec<(&Secret, &Source)> = plan
            .secrets
            .iter()
            .flat_map(|secret| secret.sources.iter().map(move |source| (&**secret, source)))
            .filter(|(_, source)| source.session == session.key)
            .collect();
        if let Some(why) = self.hopeless {
            let text = format!(
                "the login of {} and {}: {why}",
                of(session),
                number(reads.len())
            );
            return self.checks.push(Check::skipped("login", text));
        }
        if let Some(why) = self.log_in(session) {
            let text = format!("{} of {}: {why}", number(reads.len()), of(session));
            return self.checks.push(Check::skipped("secret", text));
        }
        let capabilities = self.capabilities(session, &reads);
        self.mounts(&reads);
        let mut left = reads.into_iter();
        // The others would wait as long, for the same.
        while self.hopeless.is_none()
            && let Some((secret, source)) = left.next()
        {
            let read = self.store.fetch(source, &Stop::never());
            let version = read.as_ref().map(|it| it.version);
            self.checks
                .push(judge(secret, source, version, &capabilities));
            if let Err(error) = &read {
                self.heed(error);
            }
        }
        if let (Some(why), rest @ 1..) = (self.hopeless, left.count()) {
            let text = format!("{} of {}: {why}", number(rest), of(session));
            self.checks.push(Check::skipped("secret", text));
        }
    }

    /// Whether all others would fare the same. What fails at once costs no time, and may be about one
    /// path; of those that wait, a second one tells.
    fn heed(&mut self, error: &StoreError) {
        self.late += usize::from(error.failure.error_type == ErrorType::Timeout);
        let gone = matches!(error.failure.error_type, ErrorType::Tls | ErrorType::Sealed);
        if gone || self.late > 1 {
            self.hopeless = Some("the server stopped answering");
        }
    }

    /// Gets a token. Why nothing more can be asked, if so.
    fn log_in(&mut self, session: &SessionPlan) -> Option<&'static str> {
        const KIND: &str = "login";
        if session.auth == Auth::None {
            let text = format!("{}: an agent or a proxy adds the token", of(session));
            self.checks.push(Check::ok(KIND, text));
            return None;
        }
        match self.store.log_in(&session.key, &Stop::never()) {
            Ok(()) => self.told(session),
            Err(error) if error.failure.message.ends_with(LEFT_FOR_THE_DAEMON) => {
                self.checks.push(Check::ok(KIND, error.failure.message));
                Some("the wrapped secret ID is left for the daemon")
            }
            Err(error) => {
                self.heed(&error);
                self.checks.push(Check::failed(KIND, &error.failure));
                Some("there is no token")
            }
        }
    }

    /// What the login told of the token.
    fn told(&mut self, session: &SessionPlan) -> Option<&'static str> {
        let mut left_for_others = None;
        for event in self.events.try_iter() {
            match event {
                StoreEvent::LoggedIn {
                    method,
                    ttl_secs,
                    renewable,
                    accessor,
                    uses,
                    ..
                } => {
                    let life = match ttl_secs {
                        0 => "without an end".to_owned(),
                        seconds => {
                            humantime::format_duration(Duration::from_secs(seconds)).to_string()
                        }
                    };
                    let renewed = if renewable { ", renewable" } else { "" };
                    let text = format!(
                        "{}: has a token ({method}), {life}{renewed}, accessor …{accessor}",
                        of(session)
                    );
                    self.checks.push(Check::ok("login", text));
                    if uses > 0 {
                        left_for_others = Some("each would spend one of the token's uses");
                    }
                }
                StoreEvent::SessionNotice {
                    message,
                    warning: true,
                    ..
                } if !message.starts_with("this login spends") => {
                    let text = format!("{}: {message}", of(session));
                    self.checks.push(Check::warning(
                        "token",
                        text,
                        "give the daemon a login that it can repeat (AppRole, certificate), or a renewable token; \
                         `secrets-sync policy` prints what a policy must allow",
                    ));
                }
                _ => {}
            }
        }
        left_for_others
    }

    /// What the token may do at the paths that the daemon asks; `None` where the server does not say.
    fn capabilities(
        &mut self,
        session: &SessionPlan,
        reads: &[(&Secret, &Source)],
    ) -> Option<BTreeMap<String, Vec<String>>> {
        const KIND: &str = "capabilities";
        if session.auth == Auth::None {
            return None;
        }
        let upkeep = upkeep_rules(&session.auth);
        let mut paths: BTreeSet<String> =
            reads.iter().filter_map(|(_, it)| asked_path(it)).collect();
        paths.extend(upkeep.iter().map(|rule| rule.path.clone()));
        let paths: Vec<String> = paths.into_iter().collect();
        let capabilities = match self
            .store
            .capabilities(&session.key, &paths, &Stop::never())
        {
            Ok(capabilities) => capabilities,
            Err(error) if error.failure.error_type == ErrorType::Denied => {
                let text = format!(
                    "{}: the token may not ask what it may do (`sys/capabilities-self`, which `default` \
                     allows): the reads will tell",
                    of(session)
                );
                self.checks.push(Check::skipped(KIND, text));
                return None;
            }
            Err(error) => {
                self.heed(&error);
                self.checks.push(Check::failed(KIND, &error.failure));
                return None;
            }
        };
        let lacking: Vec<String> = upkeep
            .iter()
            .filter(|rule| !allows(capabilities.get(&rule.path), rule.capability))
            .map(Rule::line)
            .collect();
        let is_root = capabilities.values().flatten().any(|it| it == "root");
        let policies = self.store.policies(&session.key, &Stop::never());
        let policies = policies.map_or_else(|_| "unknown".to_owned(), |names| names.join(", "));
        let text = format!("{}: policies {policies}", of(session));
        self.checks.push(if is_root {
            Check::warning(
                KIND,
                format!("{text}: the token may do everything"),
                "`secrets-sync policy` prints the least that is needed",
            )
        } else if lacking.is_empty() {
            Check::ok(
                KIND,
                format!("{text}: the token can be looked up, renewed and revoked"),
            )
        } else {
            Check::warning(
                KIND,
                format!("{text}: they do not allow what keeps the token"),
                format!("add to a policy: {}", lacking.join(" ")),
            )
        });
        Some(capabilities)
    }

    /// What is mounted where the plan reads, against what it says; each mount once.
    fn mounts(&mut self, reads: &[(&Secret, &Source)]) {
        const KIND: &str = "mount";
        if self.hopeless.is_some() {
            return;
        }
        let mut seen = BTreeSet::new();
        for (_, source) in reads {
            let version = (source.kv == KvVersion::V2, source.metadata);
            if !seen.insert((&source.namespace, &source.mount, version)) {
                continue;
            }
            let place = format!("mount `{}`{}", source.mount, inside(&source.namespace));
            let mount = match self.store.mount(source, &Stop::never()) {
                Ok(mount) => mount,
                Err(error) => {
                    self.heed(&error);
                    if error.failure.error_type == ErrorType::Timeout {
                        self.checks.push(Check::failed(KIND, &error.failure));
                    }
                    if self.hopeless.is_some() {
                        return;
                    }
                    // Who may read there may ask; who may not learns more from the read.
                    continue;
                }
            };
            let said = if source.kv == KvVersion::V2 {
                "v2"
            } else {
                "v1"
            };
            let is = match mount.kv {
                Some(KvVersion::V1) => "v1",
                Some(KvVersion::V2) => "v2",
                None => {
                    let text = format!("{place} is no KV engine, but `{}`", mount.kind);
                    let remedy = "name a KV engine in `mountPath`".to_owned();
                    self.checks
                        .push(Check::fail(KIND, text).remedy(Some(remedy)));
                    continue;
                }
            };
            self.checks.push(if is == said {
                Check::ok(KIND, format!("{place} is KV {is}"))
            } else {
                Check::fail(
                    KIND,
                    format!("{place} is KV {is}, and `kvVersion` says {said}"),
                )
                .remedy(Some(format!("set `kvVersion: {is}`")))
            });
        }
    }
}

/// What a read came to.
fn judge(
    secret: &Secret,
    source: &Source,
    read: Result<Option<u64>, &StoreError>,
    capabilities: &Option<BTreeMap<String, Vec<String>>>,
) -> Check {
    const KIND: &str = "secret";
    let name = match &source.alias {
        Some(alias) => format!("`{}`, source `{alias}`", secret.name),
        None => format!("`{}`", secret.name),
    };
    let error = match read {
        Ok(version) => {
            let version =
                version.map_or_else(String::new, |version| format!(", version {version}"));
            let text = format!(
                "{name}: read from `{}/{}`{version}",
                source.mount, source.key
            );
            return Check::ok(KIND, text);
        }
        Err(error) => error,
    };
    let failure = &error.failure;
    let mut text = format!("{name}: {}", failure.message);
    let mut remedy = Check::failed(KIND, failure).remedy;
    if failure.error_type == ErrorType::Denied {
        // Only where it may be asked; the remedy names the line that is missing.
        let has = asked_path(source).and_then(|path| capabilities.as_ref()?.get(&path));
        if let Some(has) = has {
            text.push_str(&format!(" (the token has `{}` there)", has.join("`, `")));
        }
    } else if failure.error_type == ErrorType::NotFound
        && source.kv == KvVersion::V2
        && source.key.starts_with("data/")
    {
        remedy = Some("leave `data/` out of `key`: it is put there for KV v2".to_owned());
    }
    if secret.optional {
        let remedy = remedy.unwrap_or_else(|| "it is optional: nothing waits for it".to_owned());
        return Check::warning(KIND, text, remedy);
    }
    Check::fail(KIND, text).remedy(remedy)
}

fn allows(has: Option<&Vec<String>>, wanted: &str) -> bool {
    has.is_some_and(|has| has.iter().any(|it| it == wanted || it == "root"))
}

fn number(reads: usize) -> String {
    let plural = if reads == 1 { "" } else { "s" };
    format!("{reads} read{plural}")
}

fn of(session: &SessionPlan) -> String {
    let key = &session.key;
    format!(
        "credentials `{}`{}",
        key.credentials,
        inside(&key.namespace)
    )
}

fn inside(namespace: &str) -> String {
    match namespace {
        "" => String::new(),
        namespace => format!(" in namespace `{namespace}`"),
    }
}
