//! One server, without a login: the way to it, its certificates, its clock, its state.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use serde::Deserialize;

use super::report::{Check, TROUBLE};
use crate::plan::tls::{expires, load_client, load_roots};
use crate::plan::{Address, Plan, StorePlan, TlsFiles};
use crate::store::http::{Http, HttpError, Request, Response, Seen};

/// A connection, and the answer to a health question, may take as long.
const WITHIN: Duration = Duration::from_secs(5);

/// A certificate that ends sooner deserves a look: most tools renew a month before.
const CERTIFICATE_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// A clock that is off by more is worth mending: certificates and leases go by it.
const SKEW: Duration = Duration::from_secs(30);

/// What was found, and whether a login makes sense.
pub(super) struct Found {
    pub(super) checks: Vec<Check>,
    /// Why not, where it makes none.
    pub(super) hopeless: Option<&'static str>,
}

/// What `sys/health` tells.
#[derive(Deserialize, Default)]
struct Health {
    #[serde(default)]
    version: String,
}

pub(super) fn examine(plan: &Plan, store: &StorePlan) -> Found {
    let own = |it: &&Arc<crate::plan::SessionPlan>| it.key.store == store.name;
    let clients: Vec<&TlsFiles> = plan
        .sessions
        .iter()
        .filter(own)
        .filter_map(|session| session.client.as_ref())
        .collect();
    let mut checks = Vec::new();
    if matches!(store.address, Address::Http { tls: true, .. }) {
        checks.extend(own_certificates(store, &clients));
    }
    let http = match Http::build(store, clients.first().copied()) {
        Ok(http) => http,
        Err(error) => {
            checks.push(Check::fail("connection", error.message).remedy(error.help));
            return Found {
                checks,
                hopeless: Some("there is no connection"),
            };
        }
    };
    match http.look(WITHIN) {
        Ok(seen) => checks.extend(connection(store, &seen)),
        Err(error) => {
            checks.push(no_answer("connection", error));
            return Found {
                checks,
                hopeless: Some("there is no connection"),
            };
        }
    }
    let hopeless = match http.send(&Request::get("/v1/sys/health", WITHIN)) {
        Ok(answer) => {
            checks.extend(clock(&answer));
            let (check, hopeless) = health(store, &answer);
            checks.push(check);
            hopeless
        }
        Err(error) => {
            checks.push(no_answer("health", error));
            Some("the server does not answer")
        }
    };
    Found { checks, hopeless }
}

fn no_answer(kind: &'static str, error: HttpError) -> Check {
    let remedy = error.remedy.unwrap_or_else(|| TROUBLE.to_owned());
    Check::fail(kind, error.message).remedy(Some(remedy))
}

fn connection(store: &StorePlan, seen: &Seen) -> Vec<Check> {
    let at: Vec<String> = seen
        .addresses
        .iter()
        .map(|at| at.ip().to_string())
        .collect();
    let mut text = match (&store.proxy, at.is_empty()) {
        (Some(proxy), _) => format!(
            "connected through the proxy {} ({})",
            proxy.shown(),
            at.join(", ")
        ),
        (None, true) => "connected to the socket".to_owned(),
        (None, false) => format!("connected to {}", at.join(", ")),
    };
    text.push_str(&format!(
        ": {} ms for the name, {} ms for the connection",
        seen.resolved_in.as_millis(),
        seen.connected_in.as_millis()
    ));
    if let Some(tls) = &seen.tls {
        text.push_str(&format!(", {}", tls.replace("TLSv1_", "TLS 1.")));
    }
    let mut all = vec![Check::ok("connection", text)];
    match (&store.address, store.tls.skip_verify) {
        (Address::Http { tls: false, .. }, _) if !store.address.is_local() => {
            all.push(Check::warning(
                "certificate",
                "secrets and tokens cross the network in clear text",
                "let the server speak TLS, and write `https://` in `address`",
            ))
        }
        (Address::Http { tls: true, .. }, true) => all.push(Check::warning(
            "certificate",
            "the server's certificate is not checked: anybody in between can read every secret",
            "leave `tlsSkipVerify` out, and name the authority in `tlsCACert`",
        )),
        _ => {}
    }
    // The handshake has checked all else.
    if let Some((first, rest)) = seen.certificates.split_first() {
        let name = store.tls.server_name.as_deref().unwrap_or("its name");
        let of = |what: &str| format!("the server's certificate, {what}");
        let checked = if store.tls.skip_verify {
            of("not checked")
        } else {
            of(&format!("good for {name}, of an authority that is trusted"))
        };
        all.push(ends(
            "certificate",
            &checked,
            first,
            "renew it at the server",
        ));
        let of_chain = rest.iter().map(|certificate| {
            ends(
                "certificate",
                "a certificate that the server sends along",
                certificate,
                "renew it at the server",
            )
        });
        // Only the one that ends first is news.
        all.extend(of_chain.filter(|check| check.remedy.is_some()));
    }
    all
}

/// Those that the configuration names: of authorities and of clients.
fn own_certificates(store: &StorePlan, clients: &[&TlsFiles]) -> Vec<Check> {
    let mut all = Vec::new();
    // What cannot be read is told with the configuration.
    let roots = load_roots(&store.tls);
    for authority in roots.iter().flat_map(|roots| roots.named()) {
        let check = ends(
            "authority",
            "an authority of `tlsCACert` or `tlsCAPath`",
            authority,
            "add the authority that comes after it to the file",
        );
        all.extend(check.remedy.is_some().then_some(check));
    }
    let mut seen: Vec<&TlsFiles> = Vec::new();
    for files in clients {
        if seen.contains(files) {
            continue;
        }
        seen.push(files);
        let Ok(identity) = load_client(files) else {
            continue;
        };
        let certified = identity.certified();
        if let Some(own) = certified.cert.first() {
            let what = format!("client certificate `{}`", files.cert.display());
            let remedy = "put a new one, with its key, in its place: it is taken up at once";
            all.push(ends("client_certificate", &what, own, remedy));
        }
    }
    all
}

fn ends(kind: &'static str, what: &str, certificate: &CertificateDer<'_>, remedy: &str) -> Check {
    let Some(end) = expires(certificate) else {
        return Check::ok(kind, format!("{what}: its end cannot be read"));
    };
    let date = humantime::format_rfc3339_seconds(end);
    match end.duration_since(SystemTime::now()) {
        Ok(left) => {
            let days = left.as_secs() / (24 * 3600);
            let text = format!("{what}: ends in {days} days ({date})");
            if left < CERTIFICATE_SOON {
                Check::warning(kind, text, remedy)
            } else {
                Check::ok(kind, text)
            }
        }
        Err(_) => {
            Check::fail(kind, format!("{what}: ended {date}")).remedy(Some(remedy.to_owned()))
        }
    }
}

/// The server's clock against ours.
fn clock(answer: &Response) -> Option<Check> {
    let (theirs, ours) = (answer.date?, SystemTime::now());
    let (skew, ahead) = match ours.duration_since(theirs) {
        Ok(skew) => (skew, "ahead of"),
        Err(error) => (error.duration(), "behind"),
    };
    let text = format!(
        "this machine's clock is {} s {ahead} the server's",
        skew.as_secs()
    );
    Some(if skew > SKEW {
        let remedy = "set the clock of the machine that is wrong (`timedatectl`, chrony, ntpd): certificates \
                      and wrapped secret IDs go by it";
        Check::warning("clock", text, remedy)
    } else {
        Check::ok("clock", text)
    })
}

fn health(store: &StorePlan, answer: &Response) -> (Check, Option<&'static str>) {
    const KIND: &str = "health";
    let health: Health = serde_json::from_slice(answer.body.expose()).unwrap_or_default();
    let version = if health.version.is_empty() {
        String::new()
    } else {
        format!(", version {}", health.version)
    };
    let failed = |what: &str, remedy: &str, hopeless| {
        let text = format!("`{}`: {what}{version}", store.address);
        (
            Check::fail(KIND, text).remedy(Some(remedy.to_owned())),
            Some(hopeless),
        )
    };
    match answer.status {
        200 => (
            Check::ok(KIND, format!("the server is active{version}")),
            None,
        ),
        429 | 473 => {
            let text = format!("the server is a standby that passes requests on{version}");
            (Check::ok(KIND, text), None)
        }
        472 => failed(
            "the server is a disaster recovery standby",
            "name the active cluster in `address`",
            "the server is a standby that gives nothing out",
        ),
        501 => failed(
            "the server is not initialised",
            "initialise it: `bao operator init`",
            "the server is not initialised",
        ),
        503 => failed(
            "the server is sealed",
            "unseal it: `bao operator unseal`",
            "the server is sealed",
        ),
        500.. => failed(
            &format!("the server answered {}", answer.status),
            "look at the server, and at the load balancer before it",
            "the server is in trouble",
        ),
        status => {
            let text = format!("`sys/health` answered {status}, which says nothing");
            let remedy =
                "is this the server, or something before it that keeps the path to itself?";
            (Check::warning(KIND, text, remedy), None)
        }
    }
}
