//! The shim: arguments in, exit code out.

fn main() -> std::process::ExitCode {
    secrets_sync::cli::main()
}
