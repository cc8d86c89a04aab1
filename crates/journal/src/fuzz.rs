//! Recovery from any bytes: the entry for fuzzing.

use std::io;

use bytes::Bytes;
use vfs::{Completion, Done, Extent, Job, Lane, Token, Vfs};

use crate::{file, frame};

/// Files in memory that can only be read.
struct ReadOnly(Vec<(u64, Bytes)>);

impl ReadOnly {
    fn read(&self, extent: &Extent) -> io::Result<Bytes> {
        let (_, bytes) = self.0.iter().find(|(first, _)| file::path(*first) == extent.path).ok_or(io::ErrorKind::NotFound)?;
        let start = usize::try_from(extent.offset).unwrap_or(usize::MAX).min(bytes.len());
        let end = start.saturating_add(extent.len).min(bytes.len());
        Ok(bytes.slice(start..end))
    }
}

impl Vfs for ReadOnly {
    fn submit(&mut self, _lane: Lane, _token: Token, _job: Job) {}

    fn poll(&mut self) -> Option<Completion> {
        None
    }

    fn run(&mut self, job: Job) -> io::Result<Done> {
        match job {
            Job::Read(extent) => self.read(&extent).map(Done::Bytes),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn list(&mut self, _directory: &str) -> io::Result<Vec<(String, u64)>> {
        Ok(self.0.iter().map(|(first, bytes)| (file::name(*first), bytes.len() as u64)).collect())
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        Ok(0)
    }

    fn random(&mut self) -> u64 {
        0
    }
}

/// Recover a journal of up to three files that hold `bytes`: a leading byte says into how many parts of equal
/// length they are cut. Must neither panic nor allocate beyond a small multiple of the input.
pub fn fuzz_recover(bytes: &[u8]) {
    let Some((&parts, bytes)) = bytes.split_first() else { return };
    let part_bytes = bytes.len().div_ceil(usize::from(parts % 3) + 1).next_multiple_of(4096).max(4096);
    let mut first = 0;
    let mut files = Vec::new();
    for part in bytes.chunks(part_bytes) {
        files.push((first, Bytes::copy_from_slice(part)));
        first += (part_bytes as u64).saturating_sub(file::FILE_HEADER_BYTES);
        first = first.max(file::FILE_HEADER_BYTES * files.len() as u64);
    }
    read(files);
}

/// Recover and survey: where nothing is reported, both have read the same.
fn read(files: Vec<(u64, Bytes)>) {
    let mut disk = ReadOnly(files);
    let mut visited = [0, 0];
    let recovered = crate::recover(&mut disk, None, &mut |entry| {
        assert_eq!(entry.payload.len() as u64, entry.end.0 - entry.start.0);
        visited[0] += 1;
    });
    let mut damages = 0;
    crate::survey(&mut disk, None, &mut |_| visited[1] += 1, &mut |_| damages += 1);
    assert_eq!(damages == 0, recovered.is_ok());
    assert!(visited[1] >= visited[0] && (damages > 0 || visited[0] == visited[1]));
}

/// As [`fuzz_recover`], with one file whose header and frame checksums are made to hold, so that what lies behind them
/// is reached.
pub fn fuzz_sealed(bytes: &[u8]) {
    let mut body = bytes.to_vec();
    let mut at = 0;
    while let Some(len) = body.get(at..).and_then(frame::claimed_len)
        && let Some(frame) = body.get_mut(at..at.saturating_add(len))
        && let Some(&[kind, flags]) = frame.get(8..10)
    {
        frame::seal(frame, at as u64, 0, kind, flags);
        at += len;
    }
    let segment_bytes = (body.len() as u64).next_multiple_of(4096).max(4096);
    body.resize(segment_bytes as usize, 0);
    let header =
        file::FileHeader { incarnation: 0, first_lsn: 0, previous_end: 0, segment_bytes, relaxed: false, checkpointed: false };
    let mut whole = header.encode();
    whole.extend_from_slice(&body);
    read(vec![(0, Bytes::from(whole))]);
}
