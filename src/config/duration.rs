//! Durations as Go writes them: `1h30m`, `1.5h`, `300ms`.

use std::time::Duration;

/// What is wrong with a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationError {
    /// Not of the form at all.
    Malformed,
    /// A number alone.
    NoUnit,
    /// A unit that Go does not have (`d`).
    UnknownUnit,
    /// Less than zero.
    Negative,
    /// More than Go can hold (some 292 years).
    TooLong,
}

impl DurationError {
    /// What is wrong, to follow the quoted value.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Malformed => "is not a duration",
            Self::NoUnit => "is a duration without a unit",
            Self::UnknownUnit => "is a duration with an unknown unit",
            Self::Negative => "is less than zero",
            Self::TooLong => "is too long a duration",
        }
    }

    /// What to write.
    pub const HELP: &str =
        "write a number and a unit, as in `300ms`, `30s`, `5m`, `1h30m`; a day is `24h`";
}

/// Nanoseconds of a unit.
fn unit(name: &str) -> Option<u128> {
    Some(match name {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Parses a duration as Go's `time.ParseDuration` does, but refuses what is below zero.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    const MOST: u128 = i64::MAX as u128;
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(DurationError::Malformed);
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(DurationError::Malformed);
        }
        let end = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        if name.is_empty() {
            return Err(DurationError::NoUnit);
        }
        let scale = unit(name).ok_or(DurationError::UnknownUnit)?;
        let whole: u128 = match whole {
            "" => 0,
            digits if digits.len() > 30 => return Err(DurationError::TooLong),
            digits => digits.parse().map_err(|_| DurationError::Malformed)?,
        };
        nanos = whole
            .checked_mul(scale)
            .and_then(|part| part.checked_add(part_of(fraction, scale)))
            .and_then(|part| part.checked_add(nanos))
            .filter(|nanos| *nanos <= MOST)
            .ok_or(DurationError::TooLong)?;
        rest = after;
    }
    if negative && nanos > 0 {
        return Err(DurationError::Negative);
    }
    Ok(Duration::from_nanos(
        u64::try_from(nanos).unwrap_or(u64::MAX),
    ))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// The fraction `0.digits` of a unit, in nanoseconds; what is below a nanosecond is dropped.
fn part_of(digits: &str, scale: u128) -> u128 {
    // Fifteen digits of an hour are below a nanosecond, and far from overflowing.
    let digits = &digits[..digits.len().min(15)];
    let (number, power) = digits.bytes().fold((0, 1), |(number, power), digit| {
        (number * 10 + u128::from(digit - b'0'), power * 10)
    });
    number * scale / power
}

/// A duration as people write it: `1h30m`, `1.5s`, `300ms`.
#[must_use]
pub fn show(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    let mut rest = nanos;
    for name in ["h", "m", "s", "ms", "µs", "ns"] {
        let scale = unit(name).unwrap_or(1);
        if rest >= scale {
            text.push_str(&format!("{}{name}", rest / scale));
            rest %= scale;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_go_reads_is_read() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("-0s", 0),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("300ms", 300),
            (".5s", 500),
            ("1.s", 1000),
            ("+5s", 5000),
            ("720h0m0s", 2_592_000_000),
            ("2h45m30.5s", 9_930_500),
            ("1.1m", 66_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("1.5us"), Ok(Duration::from_nanos(1500)));
        assert_eq!(parse("2µs"), parse("2μs"));
        assert_eq!(
            parse("0.333333333333333333s"),
            Ok(Duration::from_nanos(333_333_333))
        );
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for (text, error) in [
            ("", DurationError::Malformed),
            ("-", DurationError::Malformed),
            ("s", DurationError::Malformed),
            (".s", DurationError::Malformed),
            ("1h ", DurationError::UnknownUnit),
            ("10", DurationError::NoUnit),
            ("1h5", DurationError::NoUnit),
            ("1d", DurationError::UnknownUnit),
            ("1H", DurationError::UnknownUnit),
            ("-5s", DurationError::Negative),
            ("9999999h", DurationError::TooLong),
            (
                "9999999999999999999999999999999999999999999s",
                DurationError::TooLong,
            ),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,20}") {
            let _ = parse(&text);
        }

        #[test]
        fn nothing_of_the_right_letters_panics(text in "[-+0-9.hmsnuµ]{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_shown_is_read_back(nanos in 0_u64..i64::MAX as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&show(duration)), Ok(duration));
        }
    }
}
