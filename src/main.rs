//! The shim: arguments in, exit code out.

use dlmalloc::GlobalDlmalloc;
use zeroizing_alloc::ZeroAlloc;

/// Values pass through buffers of libraries (TLS, HTTP, JSON, templates) that do not wipe them: the heap
/// does, whenever something is freed or moved.
#[global_allocator]
static HEAP: ZeroAlloc<GlobalDlmalloc> = ZeroAlloc(GlobalDlmalloc);

fn main() -> std::process::ExitCode {
    secrets_sync::cli::main()
}
