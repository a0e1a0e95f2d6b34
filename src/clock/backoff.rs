//! Waits that grow with each failure.

use std::time::Duration;

use super::Clock;

/// No wait is shorter than this: chance alone would now and then give none.
const SHORTEST: Duration = Duration::from_millis(100);

/// Exponential backoff with full jitter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// The ceiling of the first wait.
    pub initial: Duration,
    /// The ceiling of all.
    pub max: Duration,
    /// From one ceiling to the next.
    pub multiplier: f64,
}

impl Growth {
    /// The wait after that many failures before this one: a random part of the ceiling.
    pub fn wait(&self, failures: u32, clock: &dyn Clock) -> Duration {
        let exponent = i32::try_from(failures).unwrap_or(i32::MAX);
        let ceiling = self.initial.as_secs_f64() * self.multiplier.powi(exponent);
        let ceiling =
            Duration::try_from_secs_f64(ceiling).map_or(self.max, |ceiling| ceiling.min(self.max));
        clock.jitter(ceiling, 0.0, 1.0).max(SHORTEST.min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const GROWTH: Growth = Growth {
        initial: Duration::from_secs(1),
        max: Duration::from_secs(300),
        multiplier: 2.0,
    };

    #[test]
    fn the_ceiling_doubles_until_the_longest() {
        let clock = ManualClock::new();
        clock.set_chance(1.0);
        let waits: Vec<_> = (0..11)
            .map(|failures| GROWTH.wait(failures, &clock).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(GROWTH.wait(u32::MAX, &clock), GROWTH.max);
    }

    #[test]
    fn jitter_is_full_but_no_wait_is_nothing() {
        let clock = ManualClock::new();
        clock.set_chance(0.5);
        assert_eq!(GROWTH.wait(3, &clock), Duration::from_secs(4));
        clock.set_chance(0.0);
        assert_eq!(GROWTH.wait(3, &clock), SHORTEST);
    }
}
