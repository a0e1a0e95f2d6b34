//! The other side: all that the file says of one secret.

use std::io::Read;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::record::{
    Attempt, DAEMON, DaemonFacts, DaemonLine, SECRET, SecretFacts, SecretLine, name_of,
};
use super::{ATTEMPTS, details_path};
use crate::observe::status_file::owner;

/// More than a file may become.
const LARGEST: u64 = 64 << 20;

/// What the file says of one secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Who wrote it.
    pub daemon: DaemonFacts,
    /// The secret, where there is one of that name.
    pub secret: Option<SecretFacts>,
    /// Its last attempts, the oldest first.
    pub attempts: Vec<Attempt>,
    /// The names of all secrets.
    pub names: Vec<String>,
}

/// Reads what lies beside the status file of that path. `Ok(None)`: there is nothing.
///
/// # Errors
///
/// Why it is not to be read, or not to be believed.
pub fn read(status_file: &Path, name: &str) -> Result<Option<Known>, String> {
    let path = details_path(status_file);
    let say = |why: &dyn std::fmt::Display| format!("`{}`: {why}", path.display());
    let file = match owner::open(&path, OFlags::RDONLY, Mode::empty()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(say(&error)),
        Ok(file) => file,
    };
    if let Some(why) = owner::distrust(&file, &path).map_err(|error| say(&error))? {
        return Err(say(&why));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST)
        .read_to_end(&mut bytes)
        .map_err(|error| say(&error))?;
    Ok(Some(parse(&String::from_utf8_lossy(&bytes), name)))
}

/// What the text says of the secret of that name. A line that says nothing (the last one may be
/// half written) is passed over.
fn parse(text: &str, name: &str) -> Known {
    let mut known = Known::default();
    for line in text.lines() {
        if line.starts_with(SECRET) {
            if let Ok(SecretLine { secret }) = serde_json::from_str::<SecretLine<SecretFacts>>(line)
            {
                known.names.push(secret.name.clone());
                if secret.name == name {
                    known.secret = Some(secret);
                }
            }
        } else if line.starts_with(DAEMON) {
            if let Ok(DaemonLine { daemon }) = serde_json::from_str(line) {
                known.daemon = daemon;
            }
        } else if name_of(line) == Some(name)
            && let Some((_, attempt)) = Attempt::parse(line)
        {
            known.attempts.push(attempt);
        }
    }
    let old = known.attempts.len().saturating_sub(ATTEMPTS);
    known.attempts.drain(..old);
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_among_others_and_half_a_line_is_passed_over() {
        let attempt = Attempt {
            at_ms: 7,
            error_type: Some("denied".into()),
            error: Some("no \"policy\"\u{1b}".into()),
            ..Attempt::default()
        };
        let kept = Attempt {
            error: Some("no \"policy\"\\u{1b}".into()),
            ..attempt.clone()
        };
        let facts = SecretFacts {
            name: "b".into(),
            ..SecretFacts::default()
        };
        let line = |secret| serde_json::to_string(&SecretLine { secret }).unwrap();
        let text = format!(
            "{{\"daemon\":{{\"version\":\"1\",\"pid\":2,\"uid\":3,\"gid\":4,\"config\":\"c\"}}}}\n{}\n{}\nnonsense\n[1]\n{}{}{}",
            line(&SecretFacts::default()),
            line(&facts),
            attempt.line("b"),
            attempt.line("a"),
            attempt.line("b").split_at(20).0,
        );
        let known = parse(&text, "b");
        assert_eq!(known.daemon.pid, 2);
        assert_eq!(known.secret, Some(facts));
        assert_eq!(known.attempts, [kept]);
        assert_eq!(known.names, ["", "b"]);
        assert_eq!(parse(&text, "c").secret, None);
    }
}
