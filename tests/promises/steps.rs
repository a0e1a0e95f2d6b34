//! What may happen, and how often it does.

use proptest::prelude::*;

use super::NAMES;
use crate::simulation::{Fault, Mood};

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// A new version of a secret.
    Rotate(usize),
    /// A secret is answered badly, or well again.
    Answer(usize, Option<Fault>),
    /// The whole server.
    Server(Mood),
    /// All tokens of logins are forgotten.
    Revoke,
    /// The configuration has this secret, with this interval in seconds, or not any more.
    Configure(usize, Option<u64>),
    /// A configuration that cannot be read.
    Spoil,
    /// SIGHUP without a change.
    Reload,
    /// SIGUSR1.
    Refresh,
    /// Nothing more can be written, or again.
    Disk { full: bool },
    /// Somebody writes over a file, or takes it away.
    Touch(usize, Hand),
    /// Time goes on, in seconds.
    Pass(u64),
    /// The machine sleeps, in seconds.
    Sleep(u64),
}

#[derive(Clone, Copy, Debug)]
pub enum Hand {
    Writes,
    Removes,
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let secret = 0..NAMES.len();
    let fault = prop_oneof![
        Just(None),
        prop_oneof![
            Just(Fault::Denied),
            Just(Fault::Doubtful),
            Just(Fault::Absent),
            (1u64..400).prop_map(|pause| Fault::Throttled(Some(pause))),
            Just(Fault::Throttled(None)),
            Just(Fault::Broken),
            Just(Fault::Garbage),
            Just(Fault::Hanging),
        ]
        .prop_map(Some),
    ];
    let mood = prop_oneof![
        3 => Just(Mood::Well),
        1 => Just(Mood::Away),
        1 => Just(Mood::Sealed),
        1 => Just(Mood::Broken),
        1 => Just(Mood::Throttling),
        1 => Just(Mood::Hanging),
    ];
    let interval = prop_oneof![
        1 => Just(None),
        3 => prop_oneof![Just(30u64), Just(60), Just(200), Just(600)].prop_map(Some),
    ];
    let step = prop_oneof![
        3 => secret.clone().prop_map(Step::Rotate),
        4 => (secret.clone(), fault).prop_map(|(secret, fault)| Step::Answer(secret, fault)),
        3 => mood.prop_map(Step::Server),
        1 => Just(Step::Revoke),
        2 => (secret.clone(), interval)
            .prop_map(|(secret, interval)| Step::Configure(secret, interval)),
        1 => Just(Step::Spoil),
        1 => Just(Step::Reload),
        2 => Just(Step::Refresh),
        2 => any::<bool>().prop_map(|full| Step::Disk { full }),
        1 => (secret, prop_oneof![Just(Hand::Writes), Just(Hand::Removes)])
            .prop_map(|(secret, hand)| Step::Touch(secret, hand)),
        6 => (1u64..400).prop_map(Step::Pass),
        1 => (1u64..100_000).prop_map(Step::Sleep),
    ];
    prop::collection::vec(step, 1..25)
}
