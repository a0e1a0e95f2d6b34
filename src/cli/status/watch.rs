//! `status --watch`: on a terminal a screen that is drawn each second and at each change of its size;
//! elsewhere a block at each change.

use std::io::{self, ErrorKind, Write};
use std::thread;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, select, unbounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::look::Look;
use super::{Seen, json, table};
use crate::cli::exit::Exit;
use crate::cli::{console, isready};
use crate::config::Environment;
use crate::observe::StatusDocument;
use crate::observe::status_file::Candidates;
use crate::observe::view;
use crate::printable::printable;

/// Between two looks: the status file changes no more often.
const EACH: Duration = Duration::from_secs(1);

/// Watches until it is told to stop, or nobody reads any more. The exit code is that of `status`
/// then.
pub(super) fn watch(candidates: &Candidates, as_json: bool, environment: &Environment) -> Exit {
    let signals = match signals() {
        Ok(signals) => signals,
        Err(error) => {
            console::fail(&format_args!("cannot watch: {error}"));
            return Exit::Failure;
        }
    };
    let mut shown: Box<dyn View> = if as_json {
        Box::new(Lines::default())
    } else if Look::of_stdout(environment).is_screen {
        Box::new(Screen::open(environment))
    } else {
        Box::new(Blocks::default())
    };
    let mut told = Vec::new();
    loop {
        let now = SystemTime::now();
        let (seen, passed_over) = Seen::look(candidates, now);
        if passed_over != told {
            isready::tell_all(&passed_over);
            told = passed_over;
        }
        match shown.show(&seen, now).and_then(|()| reader_is_there()) {
            Ok(()) => {}
            // Who reads has had enough, and that is no error.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return seen.exit(),
            Err(error) => {
                drop(shown);
                console::fail(&format_args!("cannot write to standard output: {error}"));
                return Exit::Failure;
            }
        }
        let wait = crossbeam_channel::after(EACH);
        select! {
            recv(signals) -> signal => match signal {
                Ok(SIGWINCH | SIGCONT) => {}
                Ok(SIGTSTP) => shown.suspended(),
                _ => return seen.exit(),
            },
            recv(wait) -> _ => {}
        }
    }
}

fn signals() -> io::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGCONT, SIGWINCH])?;
    let (sender, receiver) = unbounded();
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                if sender.send(signal).is_err() {
                    return;
                }
            }
        })?;
    Ok(receiver)
}

/// Whether somebody still reads: of a pipe that is quiet for long nothing else would tell.
fn reader_is_there() -> io::Result<()> {
    let out = io::stdout();
    let mut fds = [PollFd::new(&out, PollFlags::empty())];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&at_once))?;
    if fds[0].revents().intersects(PollFlags::ERR) {
        return Err(ErrorKind::BrokenPipe.into());
    }
    Ok(())
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A way to show.
trait View {
    fn show(&mut self, seen: &Seen, now: SystemTime) -> io::Result<()>;

    /// Ctrl-Z.
    fn suspended(&mut self) {
        let _ = emulate_default_handler(SIGTSTP);
    }
}

/// What was shown last, to know a change by.
#[derive(Default)]
enum Shown {
    #[default]
    Nothing,
    Document(Box<StatusDocument>),
    Reason(String),
}

impl Shown {
    /// Whether this is another thing than the last; it is the last then.
    fn changes_to(&mut self, seen: &Seen) -> bool {
        match (&*self, seen) {
            (Self::Document(last), Seen::Document(document)) if last == document => false,
            (Self::Reason(last), Seen::Nothing(reason)) if *last == reason.message => false,
            (_, Seen::Document(document)) => {
                *self = Self::Document(document.clone());
                true
            }
            (_, Seen::Nothing(reason)) => {
                *self = Self::Reason(reason.message.clone());
                true
            }
        }
    }
}

/// A table at each change, behind its time, and an empty line.
#[derive(Default)]
struct Blocks(Shown);

impl View for Blocks {
    fn show(&mut self, seen: &Seen, now: SystemTime) -> io::Result<()> {
        if !self.0.changes_to(seen) {
            return Ok(());
        }
        let body = match seen {
            Seen::Document(document) => table::table(document, now, Look::default()),
            Seen::Nothing(reason) => format!("{}\n", printable(&reason.message)),
        };
        let at = humantime::format_rfc3339_seconds(now);
        write(&format!("{at}\n{body}\n"))
    }
}

/// A document a line at each change; why there is none goes to standard error.
#[derive(Default)]
struct Lines(Shown);

impl View for Lines {
    fn show(&mut self, seen: &Seen, _: SystemTime) -> io::Result<()> {
        if !self.0.changes_to(seen) {
            return Ok(());
        }
        match seen {
            Seen::Document(document) => write(&json(document)?),
            Seen::Nothing(reason) => {
                console::fail(reason);
                Ok(())
            }
        }
    }
}

/// The terminal's other screen, so that what stood there before comes back.
struct Screen {
    environment: Environment,
}

impl Screen {
    const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
    const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";

    fn open(environment: &Environment) -> Self {
        let _ = write(Self::ENTER);
        Self {
            environment: environment.clone(),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write(Self::LEAVE);
    }
}

impl View for Screen {
    fn show(&mut self, seen: &Seen, now: SystemTime) -> io::Result<()> {
        let look = Look::of_stdout(&self.environment);
        let body = match seen {
            Seen::Document(document) => {
                let text = table::table(document, now, look);
                match look.height {
                    // The first lines are what is seen: those that fail come first.
                    Some(height) if text.lines().count() >= height => {
                        let mut document = (**document).clone();
                        document.secrets.sort_by_key(view::tone_of);
                        table::table(&document, now, look)
                    }
                    _ => text,
                }
            }
            Seen::Nothing(reason) => {
                let mut lines = look.fold("", "  ", &printable(&reason.message));
                lines.extend(look.fold("  help: ", "    ", reason.help));
                lines.join("\n")
            }
        };
        write(&frame(&body, look.height))
    }

    fn suspended(&mut self) {
        let _ = write(Self::LEAVE);
        let _ = emulate_default_handler(SIGTSTP);
        let _ = write(Self::ENTER);
    }
}

/// The lines, drawn over what stands there; as many as fit.
fn frame(body: &str, height: Option<usize>) -> String {
    let lines: Vec<&str> = body.lines().collect();
    let most = height.map_or(usize::MAX, |height| height.saturating_sub(1).max(1));
    let mut text = String::from("\u{1b}[H");
    if lines.len() <= most {
        for line in lines {
            text.push_str(&format!("{line}\u{1b}[K\n"));
        }
    } else {
        let shown = most.saturating_sub(1);
        for line in lines.iter().take(shown) {
            text.push_str(&format!("{line}\u{1b}[K\n"));
        }
        text.push_str(&format!("… {} more lines\u{1b}[K\n", lines.len() - shown));
    }
    text.push_str("\u{1b}[J");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_fits_the_screen_and_says_what_is_left_out() {
        assert_eq!(
            frame("a\nb\n", Some(3)),
            "\u{1b}[Ha\u{1b}[K\nb\u{1b}[K\n\u{1b}[J"
        );
        assert_eq!(
            frame("a\nb\nc\nd\n", Some(3)),
            "\u{1b}[Ha\u{1b}[K\n… 3 more lines\u{1b}[K\n\u{1b}[J"
        );
    }
}
