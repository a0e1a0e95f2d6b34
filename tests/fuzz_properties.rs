//! The fuzz targets as ordinary tests: all seeds, and many changes of them, hold what they must.
//!
//! `FUZZ_ROUNDS` sets how many changed inputs each target gets, `FUZZ_SEED` which.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

#[path = "fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use targets::{TARGETS, Target};

/// No target takes longer than this, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(8);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(root().join("seeds").join(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Small changes, as a fuzzer makes them, that mean something more often than not.
fn changed(seeds: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    const WORDS: &[&str] = &[
        "",
        "\0",
        "{{",
        "}}",
        "${",
        "}",
        "..",
        "/",
        "'",
        "\"",
        "\\",
        "\n",
        "  ",
        "- ",
        ": ",
        "[",
        "]",
        "{",
        "null",
        "true",
        "-1",
        "99999999999999999999",
        "1e999",
        "\u{feff}",
        "\u{1b}[0m",
        "é",
        "&a",
        "*a",
        "<<: ",
        "|",
        "...",
        "---\n",
        "0s",
        "1h",
        "hvs.CANARYcanaryCANARYcanary",
        "!!binary ",
    ];
    let mut data = seeds[random.usize(..seeds.len())].clone();
    for _ in 0..random.usize(1..6) {
        let at = random.usize(..=data.len());
        let end = (at + random.usize(..24)).min(data.len());
        match random.u8(..6) {
            0 => drop(data.drain(at..end)),
            1 => {
                let word = WORDS[random.usize(..WORDS.len())];
                data.splice(at..at, word.bytes());
            }
            2 => {
                let part = data[at..end].to_vec();
                for _ in 0..random.usize(1..40) {
                    data.splice(at..at, part.iter().copied());
                }
            }
            3 if at < data.len() => data[at] = random.u8(..),
            4 => {
                let other = &seeds[random.usize(..seeds.len())];
                let from = random.usize(..=other.len());
                let part = other[from..(from + 40).min(other.len())].to_vec();
                data.splice(at..at, part);
            }
            _ => data.truncate(at),
        }
    }
    data.truncate(64 << 10);
    data
}

fn check((name, holds): Target) {
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "{name} has no seeds");
    seeds.iter().for_each(|seed| holds(seed));
    let mut random = fastrand::Rng::with_seed(number("FUZZ_SEED", 1));
    let end = Instant::now() + PATIENCE;
    for round in 0..number("FUZZ_ROUNDS", 400) {
        let data = changed(&seeds, &mut random);
        let held = std::panic::catch_unwind(|| holds(&data));
        assert!(
            held.is_ok(),
            "{name}, round {round}: broken by {:?}",
            String::from_utf8_lossy(&data)
        );
        if Instant::now() > end && std::env::var_os("FUZZ_ROUNDS").is_none() {
            break;
        }
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            check((stringify!($name), targets::$name));
        })*

        /// No target is left out anywhere.
        #[test]
        fn every_target_is_a_test_a_program_and_has_seeds() {
            let here = [$(stringify!($name)),*];
            assert_eq!(here, TARGETS.map(|(name, _)| name));
            let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
            for name in here {
                assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
                let program = root().join(format!("fuzz_targets/{name}.rs"));
                assert!(fs::read_to_string(program).unwrap().contains(&format!("targets::{name}(")));
            }
        }
    };
}

targets! {
    configuration environment expansion durations translation rendering formats paths answers status
    manifests agents
}
