//! A bell that many threads wait for at once, with a deadline and a stop.

use std::convert::Infallible;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::clock::{Clock, Stop, Tick};

/// Each [`Bell::ring`] wakes everybody who listens at that time, once.
pub(super) struct Bell {
    /// Dropped to ring.
    rope: Sender<Infallible>,
    sound: Receiver<Infallible>,
}

/// Why [`hear`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Bell,
    Stop,
    Late,
}

impl Bell {
    pub(super) fn new() -> Self {
        let (rope, sound) = bounded(0);
        Self { rope, sound }
    }

    /// A channel that closes at the next ring.
    pub(super) fn listen(&self) -> Receiver<Infallible> {
        self.sound.clone()
    }

    pub(super) fn ring(&mut self) {
        let (rope, sound) = bounded(0);
        self.rope = rope;
        self.sound = sound;
    }
}

/// Waits for the bell, until the deadline.
pub(super) fn hear(
    clock: &dyn Clock,
    bell: &Receiver<Infallible>,
    stop: &Stop,
    until: Tick,
) -> Heard {
    loop {
        let alarm = clock.alarm(until);
        select! {
            recv(bell) -> _ => return Heard::Bell,
            recv(stop.receiver()) -> _ => return Heard::Stop,
            recv(alarm) -> _ => if clock.now() >= until { return Heard::Late },
        }
    }
}
