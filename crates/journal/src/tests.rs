//! The journal over a simulated disk: what was durable comes back, whatever happens; the rest is cut or refused.

mod damage;
mod layout;
mod random;
mod real;

use bytes::Bytes;
use model::Lsn;
use vfs::simulated::SimulatedDisk;
use vfs::{Job, Vfs};

use crate::{Journal, Options, Poisoned, RecoverError, Recovered, recover};

/// Small files, so that a few frames fill several.
const SEGMENT_BYTES: u64 = 64 * 1024;

fn options() -> Options {
    Options { segment_bytes: SEGMENT_BYTES, spare_files: 2, cache_bytes: 100_000, sync: true }
}

/// A frame as the layer above sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    kind: u8,
    start: u64,
    end: u64,
    payload: Vec<u8>,
    more: bool,
}

fn append(journal: &mut Journal, kind: u8, more: bool, payload: &[u8]) -> Written {
    let appended = journal.append(kind, more, payload.len(), |buffer| buffer.extend_from_slice(payload));
    assert_eq!(appended.end.0 - appended.start.0, payload.len() as u64);
    Written { kind, start: appended.start.0, end: appended.end.0, payload: payload.to_vec(), more }
}

fn read_all(disk: &mut SimulatedDisk, from: Option<Lsn>) -> Result<(Recovered, Vec<Written>), RecoverError> {
    let mut found = Vec::new();
    let recovered = recover(disk, from, &mut |entry| {
        let (start, end) = (entry.start.0, entry.end.0);
        found.push(Written { kind: entry.kind, start, end, payload: entry.payload.to_vec(), more: entry.more });
    })?;
    Ok((recovered, found))
}

fn begin(disk: &mut SimulatedDisk) -> (Journal, Vec<Written>) {
    let (recovered, found) = read_all(disk, None).unwrap();
    (Journal::create(options(), recovered, disk).unwrap(), found)
}

/// Hand the journal the completions that there are.
fn take(journal: &mut Journal, disk: &mut SimulatedDisk) -> Result<(), Poisoned> {
    while let Some(completion) = disk.poll() {
        assert!(Journal::owns(completion.token));
        journal.completed(completion)?;
    }
    Ok(())
}

/// Go on until nothing is left to do.
fn settle(journal: &mut Journal, disk: &mut SimulatedDisk) -> Result<(), Poisoned> {
    loop {
        journal.poll(disk);
        if !disk.step() {
            return Ok(());
        }
        take(journal, disk)?;
    }
}

fn read_at(disk: &mut SimulatedDisk, journal: &Journal, pos: u64, len: usize) -> Option<Bytes> {
    let (extent, start) = journal.extent(Lsn(pos), len, 0)?;
    assert_eq!(start, Lsn(pos));
    Some(disk.run(Job::Read(extent)).unwrap().into_bytes())
}
