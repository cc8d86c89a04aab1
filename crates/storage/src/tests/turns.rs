//! Many streams, each read a little at a time.

use std::io;

use model::{Offset, RecordParts};
use vfs::simulated::SimulatedDisk;
use vfs::{Completion, Done, Job, Lane, Token, Vfs};

use super::NoCatalog;
use crate::{Batch, LogId, Options, Store, Wanted};

const STREAMS: usize = 32;
const BATCHES: u64 = 16;
const BATCH_BYTES: usize = 60_000;

/// Counts the bytes that are read while serving.
struct Counting {
    disk: SimulatedDisk,
    bytes_read: usize,
}

impl Vfs for Counting {
    fn submit(&mut self, lane: Lane, token: Token, job: Job) {
        self.bytes_read += match &job {
            Job::Read(extent) => extent.len,
            Job::Gather(extents) => extents.iter().map(|extent| extent.len).sum(),
            _ => 0,
        };
        self.disk.submit(lane, token, job);
    }

    fn poll(&mut self) -> Option<Completion> {
        self.disk.poll()
    }

    fn run(&mut self, job: Job) -> io::Result<Done> {
        self.disk.run(job)
    }

    fn list(&mut self, directory: &str) -> io::Result<Vec<(String, u64)>> {
        self.disk.list(directory)
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    fn random(&mut self) -> u64 {
        self.disk.random()
    }
}

fn turn(store: &mut Store, disk: &mut Counting) {
    while let Some(completion) = disk.poll() {
        store.completed(completion).unwrap();
    }
    store.poll(disk);
    disk.disk.step();
}

/// What was read ahead for each was forgotten before its turn came, and read again.
#[test]
fn many_streams_in_turn_are_read_from_the_disk_once() {
    let of_each = 0..STREAMS * BATCHES as usize;
    read_in_turn(of_each.clone().map(|index| index % STREAMS));
    read_in_turn(of_each.map(|index| index / BATCHES as usize));
}

/// `filled`: which stream each batch goes to.
fn read_in_turn(filled: impl Iterator<Item = usize>) {
    let mut disk = Counting { disk: SimulatedDisk::new(1), bytes_read: 0 };
    let mut options = Options::default();
    options.journal.cache_bytes = 8 * 1024 * 1024;
    let mut store = Store::open(options, &mut disk, &mut NoCatalog).unwrap();
    let streams: Vec<LogId> = (0..STREAMS).map(|_| store.create_stream()).collect();
    store.append_catalog(b"made");
    let mut batch = Vec::new();
    RecordParts { value: &[7; BATCH_BYTES], ..RecordParts::default() }.encode(0, &mut batch);
    for index in filled {
        store.append_batch(streams[index], &batch, 0, false).unwrap();
        turn(&mut store, &mut disk);
    }
    while !store.idle() {
        turn(&mut store, &mut disk);
    }
    assert_eq!(disk.bytes_read, 0);

    // Four of each at a time.
    for round in 0..BATCHES / 4 {
        for stream in &streams {
            let mut next = Offset(4 * round);
            while next.0 < 4 * (round + 1) {
                let left = (4 * (round + 1) - next.0) as usize;
                match store.batch_at(*stream, next, Wanted { bytes: left * batch.len(), more: false }) {
                    Batch::Here { entry, .. } => next = entry.next(),
                    Batch::Soon => turn(&mut store, &mut disk),
                    other => panic!("{next:?} of {stream:?}: {other:?}"),
                }
            }
        }
    }
    let all = STREAMS * BATCHES as usize * batch.len();
    assert!((all / 2..all + all / 10).contains(&disk.bytes_read), "{} bytes were read of {all}", disk.bytes_read);
}
