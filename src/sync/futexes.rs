//! Room for many sleeping threads in the kernel.
//!
//! Since Linux 6.16 each process has a table of its own for the threads that sleep (on a channel, a lock,
//! a timer), made for as many as it has processors: sixteen slots on a small machine. A thread a secret is
//! many more, and each wake, of whomever, walks through the sleepers of one slot. Measured on two
//! processors: 0.2 µs with ten sleepers, 21 µs with 10,000, and 0.2 µs again with a slot for each.

#![allow(unsafe_code)] // prctl(2) has no other way in; see below

use std::ffi::{c_int, c_ulong};

const PR_FUTEX_HASH: c_int = 78;
const SET_SLOTS: c_ulong = 1;
const GET_SLOTS: c_ulong = 2;

/// Below this the kernel's own table does: a wake takes 1 µs at most, and a new table takes 20 ms of the start, in
/// which the kernel waits for all that use the old one.
const FEW: usize = 512;

/// A slot takes 64 bytes; the most that a plan can have need 1 MiB.
const MOST: usize = 16_384;

/// Asks for a table that is large enough for `threads`; one that is larger stays. A kernel that knows
/// nothing of it has a table for all processes, which is large.
pub(super) fn make_room(threads: usize) {
    let Some(wanted) = slots(threads) else { return };
    if ask(GET_SLOTS, 0).is_some_and(|present| present < wanted) {
        ask(SET_SLOTS, wanted);
    }
}

fn slots(threads: usize) -> Option<c_ulong> {
    if threads < FEW {
        return None;
    }
    c_ulong::try_from(threads.min(MOST).next_power_of_two()).ok()
}

fn ask(operation: c_ulong, slots: c_ulong) -> Option<c_ulong> {
    let none: c_ulong = 0;
    // SAFETY: this prctl takes its arguments by value and touches no memory of the process.
    let answer = unsafe { libc::prctl(PR_FUTEX_HASH, operation, slots, none, none) };
    c_ulong::try_from(answer).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_for_each_thread_and_none_where_there_are_few() {
        assert_eq!(slots(0), None);
        assert_eq!(slots(511), None);
        assert_eq!(slots(512), Some(512));
        assert_eq!(slots(1_000), Some(1_024));
        assert_eq!(slots(10_000), Some(16_384));
        assert_eq!(slots(usize::MAX), Some(16_384));
    }

    #[test]
    fn the_table_grows_where_the_kernel_has_one() {
        let before = ask(GET_SLOTS, 0);
        make_room(2_000);
        let after = ask(GET_SLOTS, 0);
        assert_eq!(before.is_some(), after.is_some());
        assert!(after.is_none_or(|slots| slots >= 2_048), "{after:?}");
        make_room(100);
        assert_eq!(ask(GET_SLOTS, 0), after, "a larger one stays");
    }
}
