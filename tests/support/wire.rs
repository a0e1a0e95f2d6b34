//! HTTP/1.1 messages as bytes, read by the tests' own hand: the code under test must not be
//! the measure of itself.

use std::io::{self, BufRead, Read};

/// Header names as sent, with their values.
pub type Headers = Vec<(String, String)>;

/// The value of the first header of that name, in any case.
pub fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// First line and headers; `None` when the peer closed between two messages.
pub fn read_head(from: &mut impl BufRead) -> io::Result<Option<(String, Headers)>> {
    let mut first = String::new();
    if from.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut headers = Headers::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some((first.trim_end().to_owned(), headers)));
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| io::Error::other(format!("no header: `{line}`")))?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
}

/// The body that `headers` announce. Without an announcement: nothing, or everything up to the
/// end where `to_end` says that this is an answer.
pub fn read_body(from: &mut impl BufRead, headers: &Headers, to_end: bool) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if header(headers, "transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        loop {
            let mut line = String::new();
            from.read_line(&mut line)?;
            let digits = line.trim().split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(digits, 16)
                .map_err(|_| io::Error::other(format!("no chunk size: `{}`", line.trim())))?;
            if size == 0 {
                while from.read_line(&mut line)? > 2 {}
                return Ok(body);
            }
            from.by_ref().take(size).read_to_end(&mut body)?;
            from.read_line(&mut line)?;
        }
    }
    if let Some(length) = header(headers, "content-length") {
        let length: usize = length.parse().map_err(io::Error::other)?;
        body.resize(length, 0);
        from.read_exact(&mut body)?;
    } else if to_end {
        match from.read_to_end(&mut body) {
            // TLS without a farewell.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            other => drop(other?),
        }
    }
    Ok(body)
}
