//! The two buffers of a connection.

use ureq::unversioned::transport::Buffers;
use zeroize::Zeroize;

/// Size of each buffer: a TLS record, and the longest response head.
pub(super) const BUFFER_BYTES: usize = 16 << 10;

/// Buffers that exist only while a request is under way, and whose content (tokens go out,
/// secrets come in) is wiped as soon as it has been used.
#[derive(Default)]
pub(super) struct WipedBuffers {
    input: Vec<u8>,
    consumed: usize,
    filled: usize,
    output: Vec<u8>,
    progress: bool,
    /// The free part of the input was lent as room to work in.
    lent: bool,
}

impl WipedBuffers {
    /// The first `amount` bytes of the output.
    pub(super) fn outgoing(&self, amount: usize) -> &[u8] {
        &self.output[..amount.min(self.output.len())]
    }

    /// Wipes what has been sent.
    pub(super) fn sent(&mut self, amount: usize) {
        let end = amount.min(self.output.len());
        self.output[..end].zeroize();
    }

    /// Gives the memory back while the connection is idle. What was sent and what was consumed is wiped already; to
    /// wipe the rest of 32 KiB, which nobody wrote to, would take longer than to parse the answer.
    pub(super) fn release(&mut self) {
        if self.consumed == self.filled {
            if std::mem::take(&mut self.lent) {
                self.input.zeroize();
                self.output.zeroize();
            }
            self.input = Vec::new();
            self.output = Vec::new();
            self.consumed = 0;
            self.filled = 0;
        }
    }

    fn allocate(&mut self) {
        // Zeros of the kernel's, where it has to give memory: a page that is not used costs nothing.
        if self.output.is_empty() {
            self.output = vec![0; BUFFER_BYTES];
        }
        if self.input.is_empty() {
            self.input = vec![0; BUFFER_BYTES];
        }
    }

    /// The free part of the input, as large as it can be.
    fn space(&mut self) -> &mut [u8] {
        if self.consumed > 0 {
            self.input.copy_within(self.consumed..self.filled, 0);
            let kept = self.filled - self.consumed;
            self.input[kept..self.filled].zeroize();
            self.filled = kept;
            self.consumed = 0;
        }
        &mut self.input[self.filled..]
    }
}

impl Buffers for WipedBuffers {
    fn output(&mut self) -> &mut [u8] {
        self.allocate();
        &mut self.output
    }

    fn input(&self) -> &[u8] {
        &self.input[self.consumed..self.filled]
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.allocate();
        self.space()
    }

    fn input_appended(&mut self, amount: usize) {
        self.filled = (self.filled + amount).min(self.input.len());
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        let end = (self.consumed + amount).min(self.filled);
        self.input[self.consumed..end].zeroize();
        self.consumed = end;
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.allocate();
        self.space();
        self.lent = true;
        (&mut self.input[self.filled..], &mut self.output)
    }

    fn can_use_input(&self) -> bool {
        self.consumed < self.filled && self.progress
    }
}

impl Drop for WipedBuffers {
    fn drop(&mut self) {
        self.input.zeroize();
        self.output.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_wiped() {
        let mut buffers = WipedBuffers::default();
        buffers.output()[..6].copy_from_slice(b"hunter");
        assert_eq!(buffers.outgoing(6), b"hunter");
        buffers.sent(6);
        assert_eq!(buffers.outgoing(6), [0; 6]);
        buffers.input_append_buf()[..6].copy_from_slice(b"secret");
        buffers.input_appended(6);
        buffers.input_consume(2);
        assert_eq!(buffers.input(), b"cret");
        assert_eq!(buffers.input[..2], [0; 2]);
        buffers.input_append_buf();
        assert_eq!(buffers.input(), b"cret");
        assert_eq!(&buffers.input[..6], b"cret\0\0");
        buffers.release();
        assert_eq!(buffers.input(), b"cret", "unread input stays");
        buffers.input_consume(4);
        buffers.release();
        assert!(buffers.input.is_empty() && buffers.output.is_empty());
        assert_eq!(buffers.output().len(), BUFFER_BYTES);
    }
}
