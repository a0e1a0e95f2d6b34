//! What is no regular file: a pipe (`<(…)`, `/dev/stdin`) or a device. It is read once, and not waited for without
//! end.

use std::fs::{Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

/// Who writes to a pipe may be silent this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What it is, where it can be read once at most; `None` for files, directories, and what is not there.
pub fn kind(file: &Path) -> Option<&'static str> {
    std::fs::metadata(file).ok().as_ref().and_then(kind_of)
}

fn kind_of(data: &Metadata) -> Option<&'static str> {
    let kind = data.file_type();
    if kind.is_fifo() {
        Some("a pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else if kind.is_char_device() || kind.is_block_device() {
        Some("a device")
    } else {
        None
    }
}

/// Reads it to its end, or until there are more than `most` bytes.
pub(super) fn read(file: &Path, most: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    // A pipe that nobody writes to would hold up the opening for ever.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let mut stream = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(file)?;
    let patience = Timespec::try_from(PATIENCE).ok();
    let mut block = zeroize::Zeroizing::new(vec![0; 64 * 1024]);
    while bytes.len() as u64 <= most {
        match poll(
            &mut [PollFd::new(&stream, PollFlags::IN)],
            patience.as_ref(),
        ) {
            Ok(0) => {
                let silent = format!("nothing came from it for {} s", PATIENCE.as_secs());
                return Err(io::Error::new(ErrorKind::TimedOut, silent));
            }
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        match stream.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(count) => bytes.extend_from_slice(block.get(..count).unwrap_or_default()),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
