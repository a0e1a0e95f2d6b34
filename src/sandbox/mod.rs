//! The walls of the daemon: with [Landlock] it may write only below the directories that its
//! configuration names, and read only what it needs, whatever a defect of ours, or of a library,
//! would have it do.
//!
//! [`Roots`] says which directories; [`close`] has the kernel enforce it, for the rest of the
//! process's life, on the calling thread and all that come after it: it is called before the first
//! other thread starts. A kernel without Landlock, or with an old one, is told of and run on.
//!
//! The rules bind for life, so a configuration that is taken up later must fit:
//! [`Sandbox::refuses`].
//!
//! [Landlock]: https://docs.kernel.org/userspace-api/landlock.html

mod above;
mod close;
mod enter;
mod roots;

pub use close::{Closed, Sandbox, close};
pub use roots::{Roots, Use, Writes};
