//! Which proxy an address is reached through, as Go's `httpproxy` reads the environment.

use std::net::IpAddr;

use crate::config::Environment;
use crate::secret::SecretString;

use super::model::{Address, Proxy};

/// The proxy for `address`, if the environment names one.
///
/// `VAULT_PROXY_ADDR` (and its `BAO_` twin) is for every address; `HTTPS_PROXY` and `HTTP_PROXY`
/// heed `NO_PROXY`. What is on this machine is never reached through a proxy.
///
/// # Errors
///
/// The variable, and what is wrong with its value (which is not quoted: it may hold a password).
pub(super) fn choose(
    address: &Address,
    environment: &Environment,
) -> Result<Option<Proxy>, (&'static str, String)> {
    if address.is_local() {
        return Ok(None);
    }
    if let Some((name, value)) = first(&["BAO_PROXY_ADDR", "VAULT_PROXY_ADDR"], environment) {
        return url(value).map(Some).map_err(|message| (name, message));
    }
    usual(address, environment)
}

/// The same without the variables that are for servers of secrets alone.
///
/// # Errors
///
/// As [`choose`].
pub(super) fn usual(
    address: &Address,
    environment: &Environment,
) -> Result<Option<Proxy>, (&'static str, String)> {
    let Address::Http {
        tls, host, port, ..
    } = address
    else {
        return Ok(None);
    };
    if address.is_local() {
        return Ok(None);
    }
    let names: &[&'static str] = if *tls {
        &["HTTPS_PROXY", "https_proxy"]
    } else {
        &["HTTP_PROXY", "http_proxy"]
    };
    let Some((name, value)) = first(names, environment) else {
        return Ok(None);
    };
    let no_proxy = first(&["NO_PROXY", "no_proxy"], environment).map_or("", |(_, value)| value);
    if exempt(no_proxy, host, *port) {
        return Ok(None);
    }
    url(value).map(Some).map_err(|message| (name, message))
}

fn first<'e>(
    names: &[&'static str],
    environment: &'e Environment,
) -> Option<(&'static str, &'e str)> {
    names
        .iter()
        .find_map(|name| Some((*name, environment.get_non_empty(name)?)))
}

/// A proxy's URL; without a scheme it is `http`.
fn url(value: &str) -> Result<Proxy, String> {
    let value = value.trim();
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    let scheme = scheme.to_ascii_lowercase();
    match scheme.as_str() {
        "http" | "https" => {}
        "socks5" | "socks5h" | "socks4" | "socks" => {
            return Err("names a SOCKS proxy, which is not supported".to_owned());
        }
        _ => return Err("does not name an `http` or `https` proxy".to_owned()),
    }
    let rest = rest.trim_end_matches('/');
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '?' | '#');
    if host.is_empty() || host.starts_with(':') || rest.contains(bad) {
        return Err("is not the URL of a proxy".to_owned());
    }
    let port = match host.rsplit_once(':') {
        Some((before, port)) if !before.starts_with('[') || before.ends_with(']') => Some(port),
        _ => None,
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err("has a port that is no number".to_owned());
    }
    Ok(Proxy {
        url: SecretString::new(format!("{scheme}://{rest}")),
    })
}

/// Whether `NO_PROXY` names this host: `*`, addresses, networks, domains (with all below them;
/// with a leading dot only what is below), each with or without a port.
fn exempt(no_proxy: &str, host: &str, port: u16) -> bool {
    let host = unbracketed(host).trim_end_matches('.').to_ascii_lowercase();
    let ip: Option<IpAddr> = host.parse().ok();
    no_proxy.split(',').any(|entry| {
        let entry = entry.trim().to_ascii_lowercase();
        if entry.is_empty() {
            return false;
        }
        if entry == "*" {
            return true;
        }
        if let Some((network, bits)) = entry.split_once('/') {
            return ip.is_some_and(|ip| within(ip, network, bits));
        }
        let (name, wanted) = split_port(&entry);
        if wanted.is_some_and(|wanted| wanted != port.to_string()) {
            return false;
        }
        let name = unbracketed(name);
        if let Ok(entry) = name.parse::<IpAddr>() {
            return ip == Some(entry);
        }
        let name = name
            .strip_prefix('*')
            .filter(|rest| rest.starts_with('.'))
            .unwrap_or(name);
        match name.strip_prefix('.') {
            Some(domain) => !domain.is_empty() && host.ends_with(name),
            None => {
                !name.is_empty()
                    && (host == name
                        || host
                            .strip_suffix(name)
                            .is_some_and(|before| before.ends_with('.')))
            }
        }
    })
}

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// `host:port`, but a bare IPv6 address has no port.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (entry, None),
    }
}

fn within(ip: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(ip) & mask == u32::from(network) & mask
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(ip) & mask == u128::from(network) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn https(host: &str) -> Address {
        Address::Http {
            tls: true,
            host: host.into(),
            port: 8200,
            prefix: String::new(),
        }
    }

    fn chosen(address: &Address, variables: &[(&str, &str)]) -> Option<String> {
        let environment = variables.iter().copied().collect();
        choose(address, &environment)
            .unwrap()
            .map(|proxy| proxy.url.expose().to_owned())
    }

    #[test]
    fn the_scheme_chooses_the_variable_and_upper_case_wins() {
        let both = [
            ("HTTPS_PROXY", "upper:1"),
            ("https_proxy", "lower:1"),
            ("http_proxy", "http://plain:1/"),
        ];
        assert_eq!(
            chosen(&https("v"), &both).as_deref(),
            Some("http://upper:1")
        );
        let plain = Address::Http {
            tls: false,
            host: "v".into(),
            port: 80,
            prefix: String::new(),
        };
        assert_eq!(chosen(&plain, &both).as_deref(), Some("http://plain:1"));
        assert_eq!(chosen(&plain, &[("HTTPS_PROXY", "x:1")]), None);
    }

    #[test]
    fn the_vault_variable_is_for_every_address_but_this_machine() {
        let variables = [
            ("VAULT_PROXY_ADDR", "http://u:p@vault:1"),
            ("HTTPS_PROXY", "other:1"),
            ("NO_PROXY", "*"),
        ];
        assert_eq!(
            chosen(&https("v"), &variables).as_deref(),
            Some("http://u:p@vault:1")
        );
        assert_eq!(chosen(&https("localhost"), &variables), None);
        assert_eq!(chosen(&https("[::1]"), &variables), None);
    }

    #[test]
    fn no_proxy_as_go_reads_it() {
        for (no_proxy, host, exempt_expected) in [
            ("*", "v.example.com", true),
            ("example.com", "v.example.com", true),
            ("example.com", "example.com", true),
            ("example.com", "badexample.com", false),
            (".example.com", "v.example.com", true),
            (".example.com", "example.com", false),
            ("*.example.com", "v.example.com", true),
            ("*.example.com", "example.com", false),
            ("EXAMPLE.com", "v.Example.COM", true),
            (" a , example.com ", "example.com", true),
            ("example.com:8200", "example.com", true),
            ("example.com:443", "example.com", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("0.0.0.0/0", "11.1.2.3", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3:8200", "10.1.2.3", true),
            ("10.1.2.3:1", "10.1.2.3", false),
            ("fe80::/10", "[fe80::1]", true),
            ("fe80::1", "[fe80::1]", true),
            ("[fe80::1]:8200", "[fe80::1]", true),
            ("", "example.com", false),
            (",.,", "example.com", false),
            ("10.0.0.0/99", "10.0.0.1", false),
        ] {
            assert_eq!(
                exempt(no_proxy, host, 8200),
                exempt_expected,
                "{no_proxy} {host}"
            );
        }
    }

    #[test]
    fn a_bad_proxy_names_its_variable_and_not_its_value() {
        for value in [
            "socks5://u:hunter2@x:1",
            "ftp://x",
            "http://",
            "http://x:port",
            "a b",
            ":1",
        ] {
            let environment = [("HTTPS_PROXY", value)].into_iter().collect();
            let (name, message) = choose(&https("v"), &environment).unwrap_err();
            assert_eq!(name, "HTTPS_PROXY");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
