//! The heap. Values pass through buffers of libraries (TLS, HTTP, JSON, templates) that do not wipe them: it
//! does, whenever something is freed or moved.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dlmalloc::Dlmalloc;
use zeroizing_alloc::ZeroAlloc;

/// A heap that wipes whatever is given back to it, before it is.
pub type Wiping = ZeroAlloc<Heap>;

/// dlmalloc behind a lock. That of the standard library tries again for a moment before it sleeps: who holds
/// this one has done with it in some nanoseconds, and to be put to sleep and woken takes microseconds.
pub struct Heap(Mutex<Dlmalloc>);

impl Heap {
    /// The heap of the program.
    #[must_use]
    pub const fn wiping() -> Wiping {
        ZeroAlloc(Self(Mutex::new(Dlmalloc::new())))
    }

    /// Nothing panics while it is held; if something did, it would be as good as before.
    #[inline]
    fn lock(&self) -> MutexGuard<'_, Dlmalloc> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// SAFETY: dlmalloc gives out blocks of the size and alignment that it is asked for, which nobody else has until they
// are given back, or null; it keeps to what it is asked for between `lock` and the end of a call, and nobody else
// can reach it meanwhile. Neither the lock nor dlmalloc allocates by way of this heap, or unwinds.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size and alignment of a layout will do.
        unsafe { self.lock().malloc(layout.size(), layout.align()) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller has the block from here, with this layout.
        unsafe { self.lock().free(block, layout.size(), layout.align()) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for `alloc`.
        unsafe { self.lock().calloc(layout.size(), layout.align()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: u8 = 0xA5;

    /// A block full of marks.
    #[allow(unsafe_code)]
    fn marked(heap: &Wiping, layout: Layout) -> *mut u8 {
        // SAFETY: of a size that is not zero, and written to within it.
        unsafe {
            let block = heap.alloc(layout);
            assert!(!block.is_null());
            block.write_bytes(MARK, layout.size());
            block
        }
    }

    /// Whether any marks are in a block that is fresh from the heap.
    #[allow(unsafe_code)]
    fn is_marked(heap: &Wiping, layout: Layout) -> (bool, *mut u8) {
        // SAFETY: of a size that is not zero, and read within it. Memory of the kernel's, of which each byte has
        // some value.
        unsafe {
            let block = heap.alloc(layout);
            let bytes: Vec<_> = (0..layout.size())
                .map(|at| block.add(at).read_volatile())
                .collect();
            // A few may be in an address that the heap wrote.
            let marked = bytes.windows(8).any(|some| *some == [MARK; 8]);
            (marked, block)
        }
    }

    #[test]
    #[allow(unsafe_code)]
    fn what_is_freed_or_moved_is_found_by_nobody() {
        for (size, moves) in [24, 200, 5_000, 20_000]
            .map(|size| [(size, false), (size, true)])
            .concat()
        {
            let heap = Heap::wiping();
            let layout = Layout::from_size_align(size, 8).unwrap();
            let old = marked(&heap, layout);
            // What is before this one cannot grow.
            let after = marked(&heap, layout);
            // SAFETY: both are blocks of this heap and this layout; what is read was copied there.
            unsafe {
                if moves {
                    let larger = heap.realloc(old, layout, size * 3);
                    assert_eq!(larger.add(size - 1).read(), MARK);
                } else {
                    heap.dealloc(old, layout);
                }
            }
            // Sooner or later the same memory is given out again.
            let next = || {
                let (found, block) = is_marked(&heap, layout);
                assert!(!found, "{size}, moves: {moves}");
                (block.addr()..block.addr() + size).contains(&(old.addr() + size / 2))
            };
            assert!((0..64).any(|_| next()), "{size}");
            // SAFETY: a block of this heap and this layout.
            unsafe { heap.dealloc(after, layout) };
        }
    }
}
