//! How long each piece of work takes: `make micro`. Commits are measured on the disk that the build lies on, and in
//! memory.

use std::path::{Path, PathBuf};

use micro::{WORKS, Work};

fn main() {
    divan::main();
}

fn names() -> impl Iterator<Item = &'static str> {
    WORKS.iter().map(|work| work.name)
}

fn work(name: &str) -> &'static Work {
    WORKS.iter().find(|work| work.name == name).unwrap()
}

#[divan::bench(args = names())]
fn disk(bencher: divan::Bencher<'_, '_>, name: &str) {
    let base = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    bencher.bench_local((work(name).prepare)(&micro::fresh(&base, name)));
}

#[divan::bench(args = names().filter(|name| name.starts_with("commit")))]
fn memory(bencher: divan::Bencher<'_, '_>, name: &str) {
    let base = Path::new("/dev/shm").join(format!("secrets-sync-micro-{}", std::process::id()));
    bencher.bench_local((work(name).prepare)(&micro::fresh(&base, name)));
    let _ = std::fs::remove_dir_all(base);
}
