//! Writing around the page cache.
//!
//! What is synced at once, and is not read again soon, gains nothing from it: every page is taken, filled, written back
//! and let go, and that is most of what writing a journal costs the processor. What is written so is read from the disk
//! the first time, and from the page cache after that; both ways may be mixed in one file.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

/// Addresses, offsets and lengths are multiples of this. A file system that wants more refuses.
const ALIGN_BYTES: usize = 4096;
/// Written in one go.
const PIECE_BYTES: usize = 1024 * 1024;

/// Memory that the disk takes bytes from. Kept, because fresh memory costs more than copying into it.
#[derive(Default)]
pub struct Buffer(Vec<u8>);

impl Buffer {
    fn piece(&mut self) -> &mut [u8] {
        if self.0.is_empty() {
            self.0 = vec![0; PIECE_BYTES + ALIGN_BYTES];
        }
        let skip = self.0.as_ptr().align_offset(ALIGN_BYTES);
        &mut self.0[skip..skip + PIECE_BYTES]
    }
}

/// Whether that part of a file can be written so.
pub fn fits(part: &Range<u64>) -> bool {
    !part.is_empty() && [part.start, part.end].iter().all(|at| at.is_multiple_of(ALIGN_BYTES as u64))
}

/// Write the parts one after another from `offset` on. They [`fits`] together; each alone need not.
///
/// # Errors
/// Those of the file system. [`is_refused`]: it cannot do this; nothing is lost by writing them again in another way.
pub fn write_parts(file: &File, mut offset: u64, parts: &[Bytes], buffer: &mut Buffer) -> io::Result<()> {
    let piece = buffer.piece();
    let mut filled = 0;
    for part in parts {
        let mut rest = &part[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(PIECE_BYTES - filled));
            piece[filled..filled + now.len()].copy_from_slice(now);
            filled += now.len();
            rest = later;
            if filled == PIECE_BYTES {
                file.write_all_at(piece, offset)?;
                offset += PIECE_BYTES as u64;
                filled = 0;
            }
        }
    }
    file.write_all_at(&piece[..filled], offset)
}

/// The file system knows no such writes.
pub fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}
