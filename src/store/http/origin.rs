//! Where requests go, and where a redirect may take them.

use ureq::http::Uri;
use ureq::http::uri::Scheme;

use crate::plan::Address;

/// Why a redirect is not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The request has been carried out.
    Done,
    /// It is the second one.
    Again,
    /// It says no place.
    Nowhere,
    /// It says what is no URL.
    NoUrl,
    /// To another origin, as people may see it: no path, no query, no user.
    Elsewhere(String),
}

/// Scheme, host and port of one server, and the prefix of its paths.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    tls: bool,
    /// As in a URL: IPv6 in brackets.
    host: String,
    port: u16,
    prefix: String,
    /// A Unix socket has no name of its own that a redirect could name.
    unix: bool,
    /// For people.
    shown: String,
}

impl Origin {
    pub(super) fn new(address: &Address) -> Self {
        match address {
            Address::Http {
                tls,
                host,
                port,
                prefix,
            } => Self {
                tls: *tls,
                host: host.clone(),
                port: *port,
                prefix: prefix.clone(),
                unix: false,
                shown: format!("{}://{host}:{port}{prefix}", scheme(*tls)),
            },
            Address::Unix(path) => Self {
                tls: false,
                host: "localhost".to_owned(),
                port: 80,
                prefix: String::new(),
                unix: true,
                shown: format!("unix://{}", path.display()),
            },
        }
    }

    pub(super) fn tls(&self) -> bool {
        self.tls
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The server's name, or its socket.
    pub(super) fn server(&self) -> &str {
        if self.unix {
            self.shown.trim_start_matches("unix://")
        } else {
            self.bare_host()
        }
    }

    /// Sockets have none.
    pub(super) fn server_port(&self) -> Option<u16> {
        (!self.unix).then_some(self.port)
    }

    /// Without brackets: for look-ups and for the name in a certificate.
    pub(super) fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// `host:port`, for CONNECT.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// For messages.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// The URL of an API path (`/v1/…`, percent-encoded) with its query.
    pub(super) fn url(&self, path: &str, query: &str) -> String {
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}{}{path}{mark}{query}", self.base(), self.prefix)
    }

    /// The URL that a redirect from `from` points to.
    ///
    /// # Errors
    ///
    /// When it is another origin or no URL at all.
    pub(super) fn redirect(&self, from: &Uri, location: &str) -> Result<String, Refused> {
        let location = location.split('#').next().unwrap_or("").trim();
        if location.is_empty() {
            return Err(Refused::Nowhere);
        }
        let url = self.resolve(from, location)?;
        match url.parse::<Uri>() {
            Ok(_) => Ok(url),
            Err(_) => Err(Refused::NoUrl),
        }
    }

    fn resolve(&self, from: &Uri, location: &str) -> Result<String, Refused> {
        if location.starts_with("//") {
            return self.absolute(&format!("{}:{location}", scheme(self.tls)));
        }
        if location.starts_with('/') {
            return Ok(format!("{}{location}", self.base()));
        }
        // A scheme comes before any slash, question mark or dot segment.
        let head = location.split(['/', '?']).next().unwrap_or("");
        if head.contains(':') {
            return self.absolute(location);
        }
        let directory = from
            .path()
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory);
        Ok(format!("{}{directory}/{location}", self.base()))
    }

    fn absolute(&self, location: &str) -> Result<String, Refused> {
        let Ok(uri) = location.parse::<Uri>() else {
            return Err(Refused::NoUrl);
        };
        let host = uri.host().unwrap_or("");
        // Not the path: whoever answers there has the request, and may put any of it into that.
        let shown = format!(
            "{}://{host}{}",
            uri.scheme_str().unwrap_or(""),
            uri.port()
                .map(|port| format!(":{port}"))
                .unwrap_or_default(),
        );
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        let known = tls || uri.scheme() == Some(&Scheme::HTTP);
        let port = uri.port_u16().unwrap_or(default_port(tls));
        let same = known
            && !self.unix
            && tls == self.tls
            && host.eq_ignore_ascii_case(&self.host)
            && port == self.port;
        if !same {
            return Err(Refused::Elsewhere(shown));
        }
        let rest = uri
            .path_and_query()
            .map_or("/", ureq::http::uri::PathAndQuery::as_str);
        Ok(format!("{}{rest}", self.base()))
    }

    /// Without the port where it is the scheme's own, as other clients send it in `Host`.
    fn base(&self) -> String {
        let scheme = scheme(self.tls);
        if self.port == default_port(self.tls) {
            format!("{scheme}://{}", self.host)
        } else {
            format!("{scheme}://{}:{}", self.host, self.port)
        }
    }
}

fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(tls: bool, host: &str, port: u16) -> Origin {
        Origin::new(&Address::Http {
            tls,
            host: host.to_owned(),
            port,
            prefix: "/vault".to_owned(),
        })
    }

    #[test]
    fn urls_have_the_prefix_and_the_port_where_it_is_needed() {
        assert_eq!(
            origin(true, "v.test", 8200).url("/v1/a%20b", "version=3"),
            "https://v.test:8200/vault/v1/a%20b?version=3"
        );
        assert_eq!(
            origin(true, "v.test", 443).url("/v1/a", ""),
            "https://v.test/vault/v1/a"
        );
        assert_eq!(origin(false, "[::1]", 8200).bare_host(), "::1");
    }

    #[test]
    fn a_redirect_stays_on_its_origin() {
        let from: Uri = "https://v.test:8200/v1/a/b?x=1".parse().unwrap();
        let to = |location| origin(true, "v.test", 8200).redirect(&from, location);
        let base = "https://v.test:8200";
        assert_eq!(to("/v1/c?d=e#f"), Ok(format!("{base}/v1/c?d=e")));
        assert!(to("c:d/e").is_err());
        assert_eq!(to("./c:d"), Ok(format!("{base}/v1/a/./c:d")));
        assert_eq!(to("c"), Ok(format!("{base}/v1/a/c")));
        assert_eq!(to("https://V.test:8200/v1/c"), Ok(format!("{base}/v1/c")));
        assert_eq!(to("//v.test:8200/v1/c"), Ok(format!("{base}/v1/c")));
        for (elsewhere, shown) in [
            ("http://v.test:8200/v1/c", "http://v.test:8200"),
            ("https://v.test/v1/c?token=x", "https://v.test"),
            ("https://u:p@w.test:8200/", "https://w.test:8200"),
            ("//w.test/", "https://w.test"),
            ("ftp://v.test:8200/", "ftp://v.test:8200"),
        ] {
            let refused = Refused::Elsewhere(shown.to_owned());
            assert_eq!(to(elsewhere), Err(refused), "{elsewhere}");
        }
        for no_url in ["http://[", "/v1/a b", "/v1/\u{7f}"] {
            assert_eq!(to(no_url), Err(Refused::NoUrl), "{no_url}");
        }
        assert_eq!(to(""), Err(Refused::Nowhere));
    }

    #[test]
    fn a_unix_socket_is_left_by_no_absolute_redirect() {
        let unix = Origin::new(&Address::Unix("/run/v.sock".into()));
        let from: Uri = unix.url("/v1/a", "").parse().unwrap();
        assert!(unix.redirect(&from, "http://localhost/v1/b").is_err());
        assert_eq!(
            unix.redirect(&from, "/v1/b"),
            Ok("http://localhost/v1/b".to_owned())
        );
    }
}
