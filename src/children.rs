//! Child processes of tests. Between fork and exec a child holds all our descriptors, and the locks on them; so a test
//! that counts on a lock being let go has to know that nobody starts one.

use std::io;
use std::process::{Child, Command};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

static STARTING: RwLock<()> = RwLock::new(());

/// What `command.spawn()` does.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    let _starting = STARTING.write().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// Whether it runs, and ends well.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    spawn(command)
        .and_then(|mut child| child.wait())
        .is_ok_and(|status| status.success())
}

/// As long as this is held, no test of this program starts a child.
pub(crate) fn nobody_starts() -> RwLockReadGuard<'static, ()> {
    STARTING.read().unwrap_or_else(PoisonError::into_inner)
}
