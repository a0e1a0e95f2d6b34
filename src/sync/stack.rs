//! The stack of a thread that is about to sleep for long.
//!
//! A cycle (TLS, JSON, templates) goes some 40 KiB deep, and what was once touched stays in memory, for each
//! secret, though nothing lives there any more. It is given back before a long sleep, and comes anew, empty, with
//! the next cycle.

#![allow(unsafe_code)] // the bounds of a stack, and madvise(2), have no other way in; see below

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;

/// What is kept below the frame that gives back: those of the system call, of some hundred bytes.
const KEPT: usize = 2 * 1024;

thread_local! {
    static OWN: Option<Range<usize>> = bounds();
}

/// Gives back what of this thread's stack nobody uses. Where its bounds are not known, nothing.
#[inline(never)]
pub(super) fn let_go() {
    let here = 0_u8;
    let here = ptr::from_ref(&here).expose_provenance();
    OWN.with(|own| {
        if let Some(own) = own.as_ref().filter(|own| own.contains(&here)) {
            give_back(own.start, here - KEPT.min(here - own.start));
        }
    });
}

/// The whole pages from one address to another.
fn give_back(low: usize, high: usize) {
    let page = rustix::param::page_size();
    let (low, high) = (low.next_multiple_of(page), high / page * page);
    if low >= high {
        return;
    }
    // SAFETY: the range lies between the lowest address of this thread's stack and what is below its last
    // frame, with room for those of this call. Stacks grow downwards on all that this is built for, so no
    // frame, and no reference to one, is in it; what is read there later was written later.
    unsafe {
        libc::madvise(
            ptr::with_exposed_provenance_mut::<c_void>(low),
            high - low,
            libc::MADV_DONTNEED,
        );
    }
}

/// The addresses of this thread's stack.
fn bounds() -> Option<Range<usize>> {
    let mut attributes = MaybeUninit::uninit();
    let (mut low, mut size) = (ptr::null_mut(), 0);
    // SAFETY: the calling thread lives; `attributes` is filled where the first call succeeds, and is read and
    // let go of only then.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let known = libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut low, &raw mut size);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        if known != 0 {
            return None;
        }
    }
    let low = low.expose_provenance();
    Some(low..low.checked_add(size)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resident KiB of the mapping that holds the address.
    fn resident(address: usize) -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_it = false;
        for line in maps.lines() {
            let first = line.split(' ').next().unwrap();
            let hex = |text: &str| usize::from_str_radix(text, 16).ok();
            if let Some((low, high)) = first.split_once('-')
                && let (Some(low), Some(high)) = (hex(low), hex(high))
            {
                is_it = (low..high).contains(&address);
            } else if is_it && first == "Rss:" {
                let mut words = line.split_ascii_whitespace().skip(1);
                return words.next().unwrap().parse().unwrap();
            }
        }
        panic!("no mapping at {address:x}")
    }

    #[inline(never)]
    fn deep(levels: usize) -> usize {
        let page = std::hint::black_box([levels; 512]);
        let below = if levels == 0 { 0 } else { deep(levels - 1) };
        below + std::hint::black_box(page)[levels]
    }

    #[test]
    fn what_lies_deeper_is_given_back_and_what_is_in_use_stays() {
        let thread = std::thread::Builder::new().stack_size(4 << 20);
        let thread = thread.spawn(|| {
            let mine = std::hint::black_box([7_u8; 2048]);
            let own = bounds().unwrap();
            assert!(own.contains(&ptr::from_ref(&mine).expose_provenance()));
            let wanted = deep(64);
            let before = resident(own.start);
            let_go();
            let after = resident(own.start);
            assert!(before - after > 150, "{before} KiB, then {after}");
            assert!(mine.iter().all(|byte| *byte == 7));
            assert_eq!(deep(64), wanted, "it comes anew");
        });
        thread.unwrap().join().unwrap();
    }
}
