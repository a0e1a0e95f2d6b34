//! The head of a request: as much of HTTP/1 as four read-only pages need.

use std::net::IpAddr;
use std::str::FromStr;

use tiny_http::{HTTPVersion, Method, StatusCode};

/// The longest head, request line included.
pub(super) const LONGEST: usize = 8 * 1024;

/// What was asked. Of the headers only the host matters; the others are checked for their form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// How.
    pub(super) method: Method,
    /// The path, without a query; percent-encoding as it came.
    pub(super) path: String,
    /// 1.0 or 1.1.
    pub(super) version: HTTPVersion,
    /// Whether the name by which the server was asked can only be its own: an address or
    /// `localhost`, or none.
    pub(super) is_by_own_name: bool,
}

/// Where the head ends (behind its empty line), if it does. `seen` bytes have been searched
/// before, in vain.
pub(super) fn end(bytes: &[u8], seen: usize) -> Option<usize> {
    let start = seen.saturating_sub(3);
    (start..bytes.len()).find_map(|at| {
        let rest = bytes.get(at..)?;
        [b"\n\r\n".as_slice(), b"\n\n"]
            .into_iter()
            .find(|end| rest.starts_with(end))
            .map(|end| at + end.len())
    })
}

/// How many bytes of empty lines stand in front of the head: those are allowed (RFC 9112, section
/// 2.2).
pub(super) fn leading_lines(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
        .count()
}

/// What to answer to a head that is too long, its leading empty lines left out.
pub(super) fn too_long(bytes: &[u8]) -> StatusCode {
    StatusCode(match bytes {
        [] => 400,
        bytes if bytes.contains(&b'\n') => 431,
        _ => 414,
    })
}

/// Reads a whole head.
pub(super) fn parse(head: &[u8]) -> Result<Request, StatusCode> {
    let bad = StatusCode(400);
    let mut lines = head
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = lines.next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| bad)?;
    if !line
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic())
    {
        return Err(bad);
    }
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad);
    };
    let version = match version {
        "HTTP/1.1" => HTTPVersion(1, 1),
        "HTTP/1.0" => HTTPVersion(1, 0),
        other if other.starts_with("HTTP/") => return Err(StatusCode(505)),
        _ => return Err(bad),
    };
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err(bad);
    }
    let headers: Vec<&[u8]> = lines.take_while(|line| !line.is_empty()).collect();
    if !headers.iter().all(|line| is_header(line)) {
        return Err(bad);
    }
    let mut named = headers.iter().filter_map(|line| host(line));
    Ok(Request {
        method: Method::from_str(method).map_err(|()| bad)?,
        path: path(target).ok_or(bad)?.to_owned(),
        version,
        is_by_own_name: named.all(is_own_name) && authority(target).is_none_or(is_own_name),
    })
}

/// The path of `/path?query`, and of `http://host/path?query` as proxies write it.
fn path(target: &str) -> Option<&str> {
    let path = if target.starts_with('/') || target == "*" {
        target
    } else {
        let (scheme, rest) = target.split_once("://")?;
        if !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        rest.find('/').map_or("/", |at| &rest[at..])
    };
    path.split(['?', '#']).next()
}

/// The value of a `Host` header.
fn host(line: &[u8]) -> Option<&str> {
    let (name, value) = line.split_at_checked(4)?;
    if !name.eq_ignore_ascii_case(b"host") || value.first() != Some(&b':') {
        return None;
    }
    // What is no text is no name of ours.
    Some(std::str::from_utf8(value.get(1..)?).map_or("?", str::trim))
}

/// The host and port of `http://host/path`.
fn authority(target: &str) -> Option<&str> {
    let (_, rest) = target
        .split_once("://")
        .filter(|_| !target.starts_with('/'))?;
    rest.split(['/', '?', '#']).next()
}

/// A name that no stranger can make point here: an address, or one that browsers and resolvers keep
/// for the machine itself (RFC 6761, section 6.3).
fn is_own_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name.is_empty()
        || name.parse::<IpAddr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
}

fn is_header(line: &[u8]) -> bool {
    let name: Vec<u8> = line.iter().copied().take_while(|b| *b != b':').collect();
    !name.is_empty() && name.len() < line.len() && name.into_iter().all(is_token)
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(head: &str) -> Result<(Method, String), u16> {
        parse(head.as_bytes())
            .map(|request| (request.method, request.path))
            .map_err(|status| status.0)
    }

    #[test]
    fn heads_are_read() {
        for (head, path) in [
            ("GET /health HTTP/1.1\r\nHost: x\r\n\r\n", "/health"),
            ("GET /metrics?a=b HTTP/1.0\n\n", "/metrics"),
            ("GET http://h:1/ready HTTP/1.1\r\n\r\n", "/ready"),
            ("GET http://h HTTP/1.1\r\n\r\n", "/"),
        ] {
            assert_eq!(parsed(head), Ok((Method::Get, path.into())), "{head}");
        }
        assert_eq!(
            parsed("BREW /pot HTTP/1.1\r\nX: \u{fc}\r\n\r\n").unwrap().1,
            "/pot"
        );
    }

    #[test]
    fn a_name_that_a_stranger_may_have_made_is_told_from_our_own() {
        for (head, own) in [
            ("GET / HTTP/1.0", true),
            ("GET / HTTP/1.1\r\nHost: 127.0.0.1:8080", true),
            ("GET / HTTP/1.1\r\nHost: 10.1.2.3", true),
            ("GET / HTTP/1.1\r\nHost: [::1]:8080", true),
            ("GET / HTTP/1.1\r\nhost:LocalHost:8080", true),
            ("GET / HTTP/1.1\r\nHost: vault.localhost.", true),
            ("GET / HTTP/1.1\r\nHost:", true),
            ("GET / HTTP/1.1\r\nHost: evil.example:8080", false),
            ("GET / HTTP/1.1\r\nHost: localhost.evil.example", false),
            ("GET / HTTP/1.1\r\nHost: 127.0.0.1.evil.example", false),
            (
                "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
                false,
            ),
            ("GET / HTTP/1.1\r\nHost: \u{fc}", false),
            (
                "GET http://evil.example/ HTTP/1.1\r\nHost: localhost",
                false,
            ),
            ("GET http://localhost/ HTTP/1.1", true),
        ] {
            let head = format!("{head}\r\n\r\n");
            assert_eq!(
                parse(head.as_bytes()).unwrap().is_by_own_name,
                own,
                "{head}"
            );
        }
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for (head, status) in [
            ("\r\n\r\n", 400),
            ("GET /health\r\n\r\n", 400),
            ("GET  /health HTTP/1.1\r\n\r\n", 400),
            ("GET /health HTTP/1.1 x\r\n\r\n", 400),
            ("GET /he\u{fc} HTTP/1.1\r\n\r\n", 400),
            ("GET /a\tb HTTP/1.1\r\n\r\n", 400),
            ("G\u{0}T / HTTP/1.1\r\n\r\n", 400),
            ("GET health HTTP/1.1\r\n\r\n", 400),
            ("GET ftp://h/ready HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n: x\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nA : x\r\n\r\n", 400),
            ("PRI * HTTP/2.0\r\n\r\n", 505),
            ("\u{16}\u{3}\u{1} hello\r\n\r\n", 400),
        ] {
            assert_eq!(parsed(head), Err(status), "{head:?}");
        }
    }

    #[test]
    fn the_end_is_found_however_the_bytes_come() {
        let bytes = b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest";
        for cut in 0..bytes.len() {
            let seen = end(&bytes[..cut], 0).map_or(cut, |_| 0);
            assert_eq!(end(bytes, seen), Some(24), "seen {cut}");
        }
        assert_eq!(end(b"GET / HTTP/1.1\n\nrest", 0), Some(16));
        assert_eq!(end(b"GET / HTTP/1.1\r\n", 0), None);
    }
}
