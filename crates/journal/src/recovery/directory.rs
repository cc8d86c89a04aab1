//! The files of the journal as they are found, before their frames are read.

use std::io;

use bytes::Bytes;
use model::Lsn;
use vfs::{Done, Extent, Job, Vfs};

use super::{OnDamage, RecoverError, Writer};
use crate::file::{self, DIRECTORY, FILE_HEADER_BYTES, FileHeader, Found};
use crate::frame::ALIGN_BYTES;

/// Files are read in parts of this size.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// A file with a header of its own.
pub(super) struct Live {
    pub(super) path: vfs::Path,
    pub(super) size: u64,
    pub(super) header: FileHeader,
    /// Up to where a later file says that the content goes.
    pub(super) said_end: Option<u64>,
}

impl Live {
    pub(super) fn range_end(&self) -> u64 {
        self.header.first_lsn + self.header.segment_bytes
    }

    pub(super) fn limit(&self) -> u64 {
        self.said_end.unwrap_or(u64::MAX).min(self.range_end())
    }

    /// Position after the last byte of the content that the file has room for. Files are made as long as they will be.
    pub(super) fn size_limit(&self) -> u64 {
        self.limit().min(self.header.first_lsn.saturating_add(self.size.saturating_sub(FILE_HEADER_BYTES)))
    }

    pub(super) fn offset(&self, lsn: u64) -> u64 {
        FILE_HEADER_BYTES + (lsn - self.header.first_lsn)
    }
}

/// A file both of whose headers are damaged, and the incarnations it may be of.
pub(super) struct DamagedFile {
    pub(super) path: vfs::Path,
    pub(super) size: u64,
    pub(super) first_lsn: u64,
    pub(super) incarnations: [u128; 2],
}

/// The files of the journal.
pub(super) struct Directory {
    pub(super) live: Vec<Live>,
    pub(super) damaged: Vec<DamagedFile>,
    pub(super) leftovers: Vec<(vfs::Path, u64)>,
    /// First position and size of every file, whatever it holds.
    ranges: Vec<(u64, u64)>,
}

impl Directory {
    pub(super) fn read(vfs: &mut dyn Vfs, damage: &mut OnDamage<'_>) -> Result<Directory, RecoverError> {
        let failed = |path: &str, source| RecoverError::Io { path: path.to_owned(), source };
        let names = vfs.list(DIRECTORY).map_err(|error| failed(DIRECTORY, error))?;
        let mut directory = Directory { live: vec![], damaged: vec![], leftovers: vec![], ranges: vec![] };
        for (name, size) in names {
            let Some(first_lsn) = file::parse_name(&name) else { continue };
            let path = file::path(first_lsn);
            directory.ranges.push((first_lsn, size));
            let bytes = match read(vfs, &path, 0, FILE_HEADER_BYTES as usize) {
                Ok(bytes) => bytes,
                Err(error) => {
                    damage(failed(&path, error))?;
                    continue;
                }
            };
            match FileHeader::decode(&bytes, first_lsn) {
                Found::Header(header) => directory.live.push(Live { path, size, header, said_end: None }),
                Found::Version(version, writer) => return Err(RecoverError::Version { path, version, writer: Writer(writer) }),
                Found::Blank => directory.leftovers.push((path, size)),
                Found::Damaged(incarnations) => {
                    directory.damaged.push(DamagedFile { path: path.clone(), size, first_lsn, incarnations });
                    directory.leftovers.push((path, size));
                }
            }
        }
        // What each file says about those before it. A file that begins behind the said end holds nothing:
        // it was only prepared, or its content was given up.
        let mut said_end = None;
        for file in directory.live.iter_mut().rev() {
            file.said_end = said_end;
            said_end = Some(said_end.unwrap_or(u64::MAX).min(file.header.previous_end));
        }
        for file in directory.live.extract_if(.., |file| file.said_end.is_some_and(|end| file.header.first_lsn > end)) {
            directory.leftovers.push((file.path, file.size));
        }
        Ok(directory)
    }

    /// A position behind everything that any file could hold, so that no position is ever given twice.
    pub(super) fn next_first(&self) -> Result<u64, RecoverError> {
        let ends = self.ranges.iter().map(|&(first, size)| {
            let end = first.checked_add(size.max(FILE_HEADER_BYTES + ALIGN_BYTES) - FILE_HEADER_BYTES)?;
            end.checked_next_multiple_of(ALIGN_BYTES).filter(|&end| end < 1 << 63)
        });
        let ends: Option<Vec<u64>> = ends.collect();
        let live = self.live.iter().map(Live::range_end).max().unwrap_or(0);
        match ends {
            Some(ends) => Ok(ends.into_iter().max().unwrap_or(0).max(live)),
            None => Err(RecoverError::Missing { lsn: Lsn(0), found: "a file is named after an impossible position".into() }),
        }
    }

    /// Index in `live` of the file that holds `from`.
    pub(super) fn file_of(&self, from: Option<Lsn>) -> Result<usize, RecoverError> {
        let (Some(from), Some(first)) = (from, self.live.first()) else {
            return match from {
                Some(Lsn(from @ 1..)) => Err(RecoverError::Missing { lsn: Lsn(from), found: "the journal is empty".into() }),
                _ => Ok(0),
            };
        };
        if from.0 < first.header.previous_end {
            let found = format!("the oldest file is {}", first.path);
            return Err(RecoverError::Missing { lsn: from, found });
        }
        Ok(self.live.partition_point(|file| file.header.first_lsn <= from.0).saturating_sub(1))
    }
}

/// Refuses a journal that another version wrote.
///
/// # Errors
/// [`RecoverError::Version`], or the directory cannot be listed.
pub fn known_version(vfs: &mut dyn Vfs) -> Result<(), RecoverError> {
    Directory::read(vfs, &mut |_| Ok(())).map(|_| ())
}

fn read(vfs: &mut dyn Vfs, path: &str, offset: u64, len: usize) -> io::Result<Bytes> {
    vfs.run(Job::Read(Extent { path: path.to_owned(), offset, len })).map(Done::into_bytes)
}

/// A file read in large parts.
pub(super) struct Window<'a> {
    pub(super) path: &'a str,
    pub(super) size: u64,
    start: u64,
    pub(super) bytes: Bytes,
}

impl Window<'_> {
    pub(super) fn new(path: &str, size: u64) -> Window<'_> {
        Window { path, size, start: 0, bytes: Bytes::new() }
    }

    /// `[offset, offset + len)` of the file; `None` where the file ends before.
    pub(super) fn get(&mut self, vfs: &mut dyn Vfs, offset: u64, len: usize) -> Result<Option<&[u8]>, RecoverError> {
        if offset + len as u64 > self.size {
            return Ok(None);
        }
        if offset < self.start || offset + len as u64 > self.start + self.bytes.len() as u64 {
            let failed = |source| RecoverError::Io { path: self.path.to_owned(), source };
            let wanted = len.max(READ_BYTES).min((self.size - offset) as usize);
            self.bytes = read(vfs, self.path, offset, wanted).map_err(failed)?;
            self.start = offset;
        }
        let at = (offset - self.start) as usize;
        Ok(self.bytes.get(at..at + len))
    }

    /// What `get` has just given, to be kept.
    pub(super) fn share(&self, offset: u64, len: usize) -> Bytes {
        let at = (offset - self.start) as usize;
        self.bytes.slice(at..at + len)
    }
}
