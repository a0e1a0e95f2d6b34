//! The receiver of traces, as a server that requests go to.

use std::time::Duration;

use super::model::{Address, StorePlan, TlsFiles, TrustedRoots};
use super::proxy;
use super::store::system_bundle;
use crate::config::{Environment, Tracing};

/// An answer of a receiver is short.
const MAX_ANSWER: usize = 1 << 20;

/// Where traces are sent, and how: trust is the stores' (`SSL_CERT_FILE`, else the system's bundle) unless
/// a variable names an authority, and so are the proxies, but for `VAULT_PROXY_ADDR`.
///
/// # Errors
///
/// The variable of a proxy that cannot be used, and why.
pub fn collector(
    tracing: &Tracing,
    environment: &Environment,
) -> Result<(StorePlan, Option<TlsFiles>), String> {
    let endpoint = &tracing.endpoint;
    let address = Address::Http {
        tls: endpoint.tls,
        host: endpoint.host.clone(),
        port: endpoint.port,
        prefix: String::new(),
    };
    let proxy = proxy::usual(&address, environment)
        .map_err(|(name, message)| format!("{name}: the value {message}"))?;
    let plan = StorePlan {
        name: "traces".to_owned(),
        proxy,
        address,
        tls: TrustedRoots {
            ca_cert: tracing.authority.clone(),
            system_bundle: system_bundle(environment)
                .filter(|_| endpoint.tls && tracing.authority.is_none()),
            ..TrustedRoots::default()
        },
        timeout: tracing.timeout.max(Duration::from_millis(1)),
        max_concurrent: 1,
        max_response_bytes: MAX_ANSWER,
    };
    let client = tracing.client.clone();
    Ok((plan, client.map(|(cert, key)| TlsFiles { cert, key })))
}
