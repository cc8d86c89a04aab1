//! The first file of a new incarnation, behind what was recovered.

use std::io;

use bytes::Bytes;
use vfs::{Done, Job, Vfs};

use crate::file::{self, FILE_HEADER_BYTES, FileHeader};
use crate::options::Options;
use crate::recovery::Recovered;

/// On a full disk the first file may be as small as this: enough to settle and delete, which frees space.
const SEGMENT_BYTES_MIN: u64 = 1024 * 1024;

/// Why no journal could be begun. Nothing was lost.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "no room for a journal file of {bytes} bytes: free that much space on the disk of the data directory and start again"
    )]
    DiskFull { bytes: u64 },
    #[error("the journal cannot be begun in {path}: {source}")]
    Io { path: vfs::Path, source: io::Error },
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Make the first file and its header. Returns the header, with the size that there was room for.
pub(crate) fn first_file(options: &Options, recovered: &mut Recovered, vfs: &mut dyn Vfs) -> Result<FileHeader, OpenError> {
    let mut header = FileHeader {
        incarnation: u128::from(vfs.random()) << 64 | u128::from(vfs.random()),
        first_lsn: recovered.next_first,
        previous_end: recovered.cut,
        segment_bytes: options.segment_bytes,
        relaxed: !options.sync,
        checkpointed: recovered.checkpointed,
    };
    let path = file::path(header.first_lsn);
    let failed = |source| OpenError::Io { path: path.clone(), source };
    vouch(recovered, vfs).map_err(failed)?;
    let size = |header: &FileHeader| FILE_HEADER_BYTES + header.segment_bytes;
    let mut leftovers = std::mem::take(&mut recovered.leftovers);
    let fitting = leftovers.iter().position(|(_, bytes)| *bytes == size(&header));
    let recycle = fitting.map(|index| leftovers.remove(index).0);
    // They hold nothing; and perhaps the room is needed.
    for (path, _) in leftovers {
        vfs.run(Job::Remove { path }).map_err(failed)?;
    }
    loop {
        match vfs.run(Job::Allocate { path: path.clone(), size: size(&header), recycle: recycle.clone() }) {
            Ok(_) => break,
            Err(error) if !is_full(&error) => return Err(failed(error)),
            Err(_) if header.segment_bytes / 2 < SEGMENT_BYTES_MIN => {
                return Err(OpenError::DiskFull { bytes: size(&header) });
            }
            Err(_) => header.segment_bytes = (header.segment_bytes / 2).next_multiple_of(crate::frame::ALIGN_BYTES),
        }
    }
    let parts = vec![Bytes::from(header.encode())];
    vfs.run(Job::Write { path: path.clone(), offset: 0, parts, sync: true, cached: false }).map_err(failed)?;
    if header.segment_bytes < options.segment_bytes {
        tracing::warn!(bytes = header.segment_bytes, "the disk is nearly full: the journal begins with a small file");
    }
    Ok(header)
}

/// Write the last block once more, as it was read, and sync it. It may have been read from memory that no sync has
/// vouched for (the process before us may have died of a failed one), and the new header will say that it is valid.
fn vouch(recovered: &Recovered, vfs: &mut dyn Vfs) -> io::Result<()> {
    let Some(tail) = &recovered.tail else { return Ok(()) };
    if let Done::Bytes(bytes) = vfs.run(Job::Read(tail.clone()))? {
        let (path, offset) = (tail.path.clone(), tail.offset);
        vfs.run(Job::Write { path, offset, parts: vec![bytes], sync: true, cached: false })?;
    }
    Ok(())
}
