//! Whatever happens, in whatever order: the engine against a small model of what it promises.
//!
//! A run is a sequence of steps (good and bad answers of many kinds, a server that is sealed, away or
//! silent, revoked tokens, reloads, signals, a full disk, files that others touch, nights of sleep), on a
//! virtual clock. After each step the model says what every file must hold, to the byte, and what
//! status and metrics must say. In the end the faults cease, and within the bounds of the
//! documentation everything has to be well.
//!
//! The sequences come from a fixed seed. More of them: `PROPTEST_CASES=2000 cargo test --test model`; others:
//! `MODEL_SEED=7` beside it. What fails is made as short as possible and printed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)] // that is how a test fails

mod promises;
mod simulation;
mod support;

use std::time::Instant;

use promises::{World, steps};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use simulation::{Process, alone};

#[test]
fn whatever_happens_files_and_status_are_true_and_all_heals() {
    let _alone = alone();
    // A full disk is an error then, as it is in the daemon.
    let too_large = std::sync::Arc::default();
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, too_large).unwrap();
    let number = |name: &str, default: u32| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let (cases, seed) = (number("PROPTEST_CASES", 40), number("MODEL_SEED", 1));
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 500,
        ..Config::default()
    };
    let mut seeds = [0; 32];
    seeds[..4].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seeds);
    let began = Instant::now();
    let before = Process::now();
    let result = TestRunner::new_with_rng(config, rng).run(&steps(), |steps| {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.heal();
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    println!(
        "{cases} runs in {:?}; before {before:?}, after {:?}",
        began.elapsed(),
        Process::now()
    );
}
