//! Where a server listens.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use super::model::Address;
use super::scope::Refusal;

/// What to write for an address.
const HELP: &str = "write `https://HOST:PORT`, or `unix:///PATH` for a socket";

fn refused(message: &str) -> Refusal {
    (message.to_owned(), Some(HELP.to_owned()))
}

/// Parses `https://host:8200/prefix`, `http://…` or `unix:///path`.
///
/// # Errors
///
/// What is wrong, to follow the quoted address; one with an `@` may hold a password and is not to
/// be quoted.
pub(crate) fn parse(text: &str) -> Result<Address, Refusal> {
    let text = text.trim();
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| refused("has no scheme"))?;
    let (tls, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "https" => (true, 443),
        "http" => (false, 80),
        "unix" => return unix(rest),
        _ => {
            return Err(refused(
                "has a scheme other than `https`, `http` and `unix`",
            ));
        }
    };
    let (authority, prefix) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    if authority.contains('@') {
        return Err((
            "holds a user or password".to_owned(),
            Some("leave it away: credentials have keys of their own".to_owned()),
        ));
    }
    if rest.contains(['?', '#']) {
        return Err(refused("has a query or a fragment"));
    }
    if let Some(c) = rest.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(refused(&format!(
            "holds `{}`, which no URL may",
            c.escape_debug()
        )));
    }
    let (host, port) = authority_of(authority, default_port)?;
    let prefix = prefix.trim_end_matches('/');
    if prefix.ends_with("/v1") {
        return Err((
            "ends in `/v1`, which is part of every request anyway".to_owned(),
            Some("write the address without it".to_owned()),
        ));
    }
    if prefix
        .split('/')
        .any(|segment| matches!(segment, "." | ".."))
    {
        return Err(refused("has a segment `.` or `..` in its path"));
    }
    Ok(Address::Http {
        tls,
        host,
        port,
        prefix: prefix.to_owned(),
    })
}

fn unix(path: &str) -> Result<Address, Refusal> {
    if !path.starts_with('/') || path.len() < 2 || path.contains('\0') {
        return Err(refused("does not name the absolute path of a socket"));
    }
    // The limit of `sun_path`.
    if path.len() > 107 {
        return Err(refused(
            "is too long a path for a socket (107 bytes at most)",
        ));
    }
    Ok(Address::Unix(PathBuf::from(path)))
}

fn authority_of(authority: &str, default_port: u16) -> Result<(String, u16), Refusal> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (inside, after) = rest
            .split_once(']')
            .ok_or_else(|| refused("has a `[` without its `]`"))?;
        if inside.parse::<Ipv6Addr>().is_err() {
            return Err(refused(
                "has brackets around something that is no IPv6 address",
            ));
        }
        (format!("[{inside}]"), after)
    } else {
        let colon = authority.find(':').unwrap_or(authority.len());
        let (host, after) = authority.split_at(colon);
        if host.is_empty() {
            return Err(refused("has no host"));
        }
        if after[after.len().min(1)..].contains(':') {
            return Err(refused(
                "has more than one port; IPv6 addresses stand in `[…]`",
            ));
        }
        let bad = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        if host.contains(bad) || host.len() > 253 || host.split('.').any(|label| label.len() > 63) {
            return Err(refused("has a host that is no host name"));
        }
        (host.to_owned(), after)
    };
    let port = match port {
        "" | ":" => default_port,
        port => port
            .strip_prefix(':')
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .filter(|port| *port != 0)
            .ok_or_else(|| refused("has a port that is not a number from 1 to 65535"))?,
    };
    Ok((host, port))
}

impl Address {
    /// Whether it never leaves this machine: a socket, `localhost`, a loopback address.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Http { host, .. } => {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let name = host.trim_end_matches('.').to_ascii_lowercase();
                name == "localhost"
                    || name.ends_with(".localhost")
                    || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            // What `validate` could not expand.
            Self::Http { host, .. } if host.contains("${") => f.write_str(host),
            Self::Http {
                tls,
                host,
                port,
                prefix,
            } => {
                let scheme = if *tls { "https" } else { "http" };
                write!(f, "{scheme}://{host}:{port}{prefix}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(address) => address.to_string(),
            Err((message, _)) => message,
        }
    }

    #[test]
    fn addresses_are_made_explicit() {
        for (text, expected) in [
            (
                "https://vault.example.com:8200",
                "https://vault.example.com:8200",
            ),
            ("HTTPS://vault", "https://vault:443"),
            ("http://127.0.0.1:8200/", "http://127.0.0.1:8200"),
            ("http://vault", "http://vault:80"),
            ("https://[::1]:8200/a/b/", "https://[::1]:8200/a/b"),
            (" https://v:1 ", "https://v:1"),
            ("unix:///run/vault.sock", "unix:///run/vault.sock"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, expected) in [
            ("vault:8200", "has no scheme"),
            ("", "has no scheme"),
            (
                "ftp://vault",
                "has a scheme other than `https`, `http` and `unix`",
            ),
            ("https://", "has no host"),
            ("https://:8200", "has no host"),
            (
                "https://v:0",
                "has a port that is not a number from 1 to 65535",
            ),
            (
                "https://v:99999",
                "has a port that is not a number from 1 to 65535",
            ),
            (
                "https://v:+1",
                "has a port that is not a number from 1 to 65535",
            ),
            ("https://::1:8200", "has no host"),
            (
                "https://fe80::1",
                "has more than one port; IPv6 addresses stand in `[…]`",
            ),
            ("https://[::1", "has a `[` without its `]`"),
            (
                "https://[x]",
                "has brackets around something that is no IPv6 address",
            ),
            ("https://u:p@v", "holds a user or password"),
            ("https://v?x=1", "has a query or a fragment"),
            ("https://v/a b", "holds ` `, which no URL may"),
            ("https://v*:1", "has a host that is no host name"),
            (
                "https://v/v1/",
                "ends in `/v1`, which is part of every request anyway",
            ),
            (
                "unix://run/x",
                "does not name the absolute path of a socket",
            ),
            ("unix://", "does not name the absolute path of a socket"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn local_is_what_stays_on_this_machine() {
        for (text, local) in [
            ("http://localhost", true),
            ("http://LOCALHOST:1", true),
            ("http://a.localhost", true),
            ("http://127.3.2.1", true),
            ("http://[::1]:1", true),
            ("unix:///x", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example.com", false),
            ("http://[fe80::1]", false),
        ] {
            assert_eq!(
                parse(text).is_ok_and(|address| address.is_local()),
                local,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(https?|unix)://\\PC{0,30}|[a-z:/@\\[\\].0-9?#-]{0,40}") {
            let _ = parse(&text);
        }
    }
}
