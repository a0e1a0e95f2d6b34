//! The stack of a thread that sleeps for long: what it once needed is given back.
//!
//! A cycle (TLS, HTTP, templates) goes some 35 KiB deep, and a sleeping worker is some 8 KiB deep. The kernel
//! keeps every page that was ever touched; with a thousand workers that is half of all memory. What lies
//! there, copies of secrets among it, is gone with the pages.

use std::hint::black_box;

use rustix::mm::{Advice, madvise};

/// Below this frame so much is left alone: the call that this one makes.
const KEPT: usize = 1024;

const PAGE: usize = 4096;

/// The lowest address of the present thread's stack that this file touches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stack {
    floor: usize,
}

impl Stack {
    /// That of the present thread, which was made with `size` bytes and has used under a quarter of them so far.
    #[inline(never)]
    pub(super) fn of_this_thread(size: usize) -> Self {
        Self {
            floor: here() - size / 4 * 3,
        }
    }

    /// Gives back what lies below the present frame. To be called on the thread that it was made on.
    #[allow(unsafe_code)]
    #[inline(never)]
    pub(super) fn release(self) {
        let end = (here() - KEPT) & !(PAGE - 1);
        let begin = (self.floor + PAGE - 1) & !(PAGE - 1);
        if begin >= end {
            return;
        }
        let address = std::ptr::with_exposed_provenance_mut(begin);
        // SAFETY: all of it is private anonymous memory of this thread's stack: it begins above the end of the
        // stack, as it was when a quarter of it at most was used, and ends below this frame and all that lies under it (`KEPT`). Memory below the stack
        // pointer belongs to nobody, so that nobody minds that it reads as zeros from now on. It stays mapped.
        // Nothing depends on success.
        let _ = unsafe { madvise(address, end - begin, Advice::LinuxDontNeed) };
    }
}

/// An address in the present frame.
#[inline(always)]
fn here() -> usize {
    let mark = 0_u8;
    (&raw const *black_box(&mark)).addr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const SIZE: usize = 256 * 1024;

    /// KiB of the mapping that holds the address.
    fn resident(address: usize) -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = maps.lines().skip_while(|line| {
            let range = line
                .split(' ')
                .next()
                .and_then(|range| range.split_once('-'));
            let Some((begin, end)) = range else {
                return true;
            };
            let number = |text| usize::from_str_radix(text, 16).unwrap_or(0);
            !(number(begin)..number(end)).contains(&address)
        });
        let line = lines.find(|line| line.starts_with("Rss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[inline(never)]
    fn deep(levels: usize) -> usize {
        let block = black_box([levels; 512]);
        match levels {
            0 => block[0],
            _ => deep(levels - 1) + black_box(block)[levels % 512],
        }
    }

    #[test]
    fn what_a_thread_needed_once_is_given_back_and_can_be_used_again() {
        let worker = thread::Builder::new().stack_size(SIZE).spawn(|| {
            let stack = Stack::of_this_thread(SIZE);
            let sum = deep(10);
            let before = resident(here());
            stack.release();
            let after = resident(here());
            assert!(before >= after + 24, "{before} KiB, then {after} KiB");
            stack.release();
            assert_eq!(deep(10), sum);
        });
        worker.unwrap().join().unwrap();
    }
}
