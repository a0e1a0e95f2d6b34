//! What was found: a verdict a check, for people as it comes, for programs at the end.

use serde::Serialize;

use crate::cli::console;
use crate::cli::exit::Exit;
use crate::cli::status::look::Look;
use crate::config::Environment;
use crate::failure::{ErrorType, Failure};
use crate::observe::view::Tone;
use crate::printable::printable;

/// What to do where a server or the way to it is in trouble, and nothing tells which.
pub(super) const TROUBLE: &str = "look at the server's own log, and at what is before it: proxy, load balancer, \
                                  firewall";

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and deserves a look.
    Warning,
    /// It does not work.
    Fail,
    /// Not looked at, and why.
    Skipped,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// Its kind, for programs: `certificate`, `secret`, ….
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    pub(super) message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Check {
    fn new(check: &'static str, verdict: Verdict, message: impl Into<String>) -> Self {
        Self {
            check,
            verdict,
            message: message.into(),
            remedy: None,
        }
    }

    pub(super) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, message)
    }

    pub(super) fn warning(
        check: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, Verdict::Warning, message).remedy(Some(remedy.into()))
    }

    pub(super) fn fail(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Verdict::Fail, message)
    }

    pub(super) fn skipped(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Verdict::Skipped, message)
    }

    pub(super) fn failed(check: &'static str, failure: &Failure) -> Self {
        let remedy = failure
            .remedy
            .clone()
            .unwrap_or_else(|| match failure.error_type {
                ErrorType::Timeout | ErrorType::Unavailable => TROUBLE.to_owned(),
                _ => "the message has the server's words; the daemon's log has more".to_owned(),
            });
        Self::fail(check, &failure.message).remedy(Some(remedy))
    }

    pub(super) fn remedy(mut self, remedy: Option<String>) -> Self {
        self.remedy = remedy;
        self
    }
}

/// All that was found so far.
pub(super) struct Report {
    json: bool,
    look: Look,
    groups: Vec<(String, Vec<Check>)>,
    printed: Exit,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    verdict: Verdict,
    checks: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    group: &'a str,
    #[serde(flatten)]
    check: &'a Check,
}

impl Report {
    /// None yet.
    pub(super) fn new(json: bool, environment: &Environment) -> Self {
        Self {
            json,
            look: Look::of_stdout(environment),
            groups: Vec::new(),
            printed: Exit::Success,
        }
    }

    /// Takes the checks of one group up, and shows them.
    pub(super) fn add(&mut self, group: impl Into<String>, checks: Vec<Check>) {
        let group = group.into();
        if checks.is_empty() {
            return;
        }
        if !self.json {
            let first = if self.groups.is_empty() { "" } else { "\n" };
            self.print(&format!("{first}{}", show(&group, &checks, self.look)));
        }
        self.groups.push((group, checks));
    }

    /// Shows what it comes to. Success: no check failed.
    pub(super) fn finish(mut self) -> Exit {
        let all = || self.groups.iter().flat_map(|(_, checks)| checks);
        let count = |verdict| all().filter(|check| check.verdict == verdict).count();
        let (failed, warned) = (count(Verdict::Fail), count(Verdict::Warning));
        let text = if self.json {
            let verdict = match (failed, warned) {
                (0, 0) => Verdict::Ok,
                (0, _) => Verdict::Warning,
                _ => Verdict::Fail,
            };
            let document = Document {
                schema: 1,
                verdict,
                checks: self
                    .groups
                    .iter()
                    .flat_map(|(group, checks)| {
                        checks.iter().map(move |check| Line { group, check })
                    })
                    .collect(),
            };
            // Texts and a number: it cannot fail.
            serde_json::to_string(&document).unwrap_or_default() + "\n"
        } else {
            format!(
                "\n{} ok, {warned} warning{}, {failed} failed, {} skipped\n",
                count(Verdict::Ok),
                if warned == 1 { "" } else { "s" },
                count(Verdict::Skipped)
            )
        };
        self.print(&text);
        match failed {
            0 => self.printed,
            _ => Exit::Failure,
        }
    }

    fn print(&mut self, text: &str) {
        if console::print(text) != Exit::Success {
            self.printed = Exit::Failure;
        }
    }
}

impl Verdict {
    /// As wide as the widest.
    fn word(self, look: Look) -> String {
        match self {
            Self::Ok => look.paint(Tone::Good, "ok     "),
            Self::Warning => look.paint(Tone::Waiting, "warning"),
            Self::Fail => look.paint(Tone::Bad, "fail   "),
            Self::Skipped => "skipped".to_owned(),
        }
    }
}

fn show(group: &str, checks: &[Check], look: Look) -> String {
    let mut text = format!("{}\n", look.bold(&printable(group)));
    for check in checks {
        let message = printable(&check.message);
        text.push_str(&format!("  {}  {message}\n", check.verdict.word(look)));
        if let Some(remedy) = &check.remedy {
            text.push_str(&format!("           help: {}\n", printable(remedy)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_a_line_with_its_remedy_below_and_acts_on_no_terminal() {
        let checks = [
            Check::ok("a", "fine"),
            Check::warning("b", "so \u{1b}[2J so", "look"),
            Check::fail("c", "broken"),
            Check::skipped("d", "not looked at"),
        ];
        assert_eq!(
            show("a group", &checks, Look::default()),
            "\
a group
  ok       fine
  warning  so \\u{1b}[2J so
           help: look
  fail     broken
  skipped  not looked at
"
        );
    }
}
