//! The shim: arguments in, exit code out.

use secrets_sync::heap::{Heap, Wiping};

#[global_allocator]
static HEAP: Wiping = Heap::wiping();

fn main() -> std::process::ExitCode {
    secrets_sync::cli::main()
}
