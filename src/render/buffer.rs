//! Where content grows: bounded, and wiped when it moves or goes.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use super::RenderError;
use crate::secret::SecretBytes;

/// Bytes up to a limit. A `Vec` alone would leave a copy behind each time it grows.
pub(super) struct Buffer {
    bytes: Zeroizing<Vec<u8>>,
    max: usize,
}

/// The content would be larger than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Buffer {
    pub(super) fn new(max: usize) -> Self {
        Self {
            bytes: Zeroizing::new(Vec::new()),
            max,
        }
    }

    /// The most bytes it holds.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    pub(super) fn push(&mut self, more: &[u8]) -> Result<(), TooLarge> {
        let length = self.bytes.len() + more.len();
        if length > self.max {
            return Err(TooLarge);
        }
        if length > self.bytes.capacity() {
            let capacity = length.max(self.bytes.capacity() * 2).max(256);
            let mut larger = Vec::with_capacity(capacity.min(self.max));
            larger.extend_from_slice(&self.bytes);
            let mut old = std::mem::replace(&mut *self.bytes, larger);
            old.zeroize();
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }

    pub(super) fn into_bytes(mut self) -> SecretBytes {
        SecretBytes::new(std::mem::take(&mut *self.bytes))
    }

    /// What to say when it is full.
    pub(super) fn full(max: usize) -> RenderError {
        RenderError {
            message: format!("the content is larger than {max} bytes"),
            help: Some(format!(
                "raise `limits.maxFileBytes` above {max} if the file is meant to be that large"
            )),
        }
    }
}

impl fmt::Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes()).map_err(|TooLarge| fmt::Error)
    }
}

/// Text up to a limit, for values on the way.
pub(super) struct Text {
    text: String,
    most: usize,
}

impl Text {
    pub(super) fn new(most: usize) -> Self {
        Self {
            text: String::new(),
            most,
        }
    }

    pub(super) fn into_string(self) -> String {
        self.text
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        if more.len() > self.most - self.text.len() {
            return Err(fmt::Error);
        }
        self.text.push_str(more);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_fits_and_no_more() {
        let mut buffer = Buffer::new(1_000);
        for _ in 0..100 {
            buffer.push(b"0123456789").unwrap();
        }
        assert_eq!(buffer.push(b"x"), Err(TooLarge));
        assert_eq!(
            buffer.into_bytes().expose(),
            "0123456789".repeat(100).as_bytes()
        );
    }
}
