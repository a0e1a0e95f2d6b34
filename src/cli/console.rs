//! Standard output and error: written without a panic when nobody reads them any more.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use super::exit::Exit;
use crate::printable::printable;

/// The program's name in front of its errors.
pub const NAME: &str = "secrets-sync";

/// Writes to standard output. A reader that has gone has had enough, and is no error; anything
/// else that cuts the text short (a full disk) is told, and is a failure.
pub fn print(text: &str) -> Exit {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            fail(&format_args!("cannot write to standard output: {error}"));
            Exit::Failure
        }
        _ => Exit::Success,
    }
}

/// Writes `secrets-sync: CONTEXT: CAUSE` to standard error, if it can be written. What could act
/// on a terminal is spelled out, but for line breaks and tabs.
pub fn fail(message: &dyn Display) {
    let text = safe(&format!("{NAME}: {message}"));
    let _ = io::stderr().write_all(text.as_bytes());
}

fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 1);
    for line in text.lines() {
        for (at, part) in line.split('\t').enumerate() {
            safe.push_str(if at > 0 { "\t" } else { "" });
            safe.push_str(&printable(part));
        }
        safe.push('\n');
    }
    safe
}

/// The same, and below it what to do.
pub fn fail_with_help(message: &dyn Display, help: &dyn Display) {
    fail(&format_args!("{message}\n  help: {help}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_act_on_the_terminal() {
        assert_eq!(
            safe("a\tb\u{1b}[2J\n  c\u{7}"),
            "a\tb\\u{1b}[2J\n  c\\u{7}\n"
        );
    }
}
