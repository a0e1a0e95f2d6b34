//! What a process that holds secrets owes to itself, before it reads the first one.

use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask,
};

/// No core dumps, no debugger of the same user, no file that others may read by accident, no new
/// privileges through programs. To be called before the first thread is started, since the last
/// is inherited by threads that come later only.
///
/// Each holds alone; the ones that the kernel refused are named, to be warned of.
#[must_use]
pub fn harden() -> Vec<String> {
    let no_core = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    umask(Mode::from_raw_mode(0o077));
    [
        ("limit core dumps", setrlimit(Resource::Core, no_core)),
        (
            "make the process undumpable",
            set_dumpable_behavior(DumpableBehavior::NotDumpable),
        ),
        (
            "give up new privileges",
            rustix::thread::set_no_new_privs(true),
        ),
    ]
    .into_iter()
    .filter_map(|(what, done)| Some(format!("cannot {what}: {}", done.err()?)))
    .collect()
}

/// Takes what the system allows and a daemon of many secrets needs: all the descriptors of the
/// hard limit (a group of files holds one each while it is staged), and an error rather than a
/// signal for a file beyond the size limit. What is refused shows where it is missed.
pub fn take_room() {
    let files = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: files.maximum,
        ..files
    };
    let _ = setrlimit(Resource::Nofile, raised);
    let too_large = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, too_large);
}
