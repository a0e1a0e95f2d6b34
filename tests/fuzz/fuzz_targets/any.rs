//! Every target in one program, which is built once: `FUZZ_TARGET` says which one it is.

#![no_main]

#[path = "../targets.rs"]
#[allow(dead_code)]
mod targets;

use std::sync::LazyLock;

static CHOSEN: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    let found = targets::TARGETS.iter().find(|(known, _)| *known == name);
    found.expect("FUZZ_TARGET names a target").1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| CHOSEN(data));
