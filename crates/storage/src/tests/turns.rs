//! Many streams, each read a little at a time.

use bytes::Bytes;
use model::{Now, Offset, RecordParts};
use vfs::Vfs;

use super::NoCatalog;
use super::disk::WatchedDisk;
use crate::log::{Home, Run};
use crate::stream::STREAM_WINDOW_BYTES;
use crate::{Batch, LogId, Options, Store, Tag, Wanted};

const STREAMS: usize = 32;
const BATCHES: u64 = 16;
const BATCH_BYTES: usize = 60_000;

fn turn(store: &mut Store, disk: &mut WatchedDisk) {
    while let Some(completion) = disk.poll() {
        store.completed(completion).unwrap();
    }
    if store.wants_checkpoint() {
        store.checkpoint(&b"catalog"[..]);
    }
    store.poll(disk);
    disk.disk.step();
}

fn drain(store: &mut Store, disk: &mut WatchedDisk) {
    turn(store, disk);
    while !store.idle() {
        turn(store, disk);
    }
}

/// What was read ahead for each was forgotten before its turn came, and read again.
#[test]
fn many_streams_in_turn_are_read_from_the_disk_once() {
    let of_each = 0..STREAMS * BATCHES as usize;
    read_in_turn(of_each.clone().map(|index| index % STREAMS));
    read_in_turn(of_each.map(|index| index / BATCHES as usize));
}

fn read_in_turn(filled: impl Iterator<Item = usize>) {
    let (mut store, mut disk, streams, batch) = world(STREAMS, filled);
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

/// A store with so many streams, and the batch that is in them. `filled`: which stream each goes to.
fn world(streams: usize, filled: impl Iterator<Item = usize>) -> (Store, WatchedDisk, Vec<LogId>, Bytes) {
    let mut disk = WatchedDisk::new(1);
    let mut options = Options::default();
    options.journal.cache_bytes = 8 * 1024 * 1024;
    let mut store = Store::open(options, &mut disk, &mut NoCatalog).unwrap();
    let streams: Vec<LogId> = (0..streams).map(|_| store.create_stream()).collect();
    store.append_catalog(b"made");
    let mut batch = Vec::new();
    RecordParts { value: &[7; BATCH_BYTES], ..RecordParts::default() }.encode(0, &mut batch);
    for index in filled {
        store.append_batch(streams[index], &batch, 0, false).unwrap();
        turn(&mut store, &mut disk);
    }
    drain(&mut store, &mut disk);
    (store, disk, streams, batch.into())
}

/// Write the newest stretch of a stream to a segment.
fn to_segment(store: &mut Store, disk: &mut WatchedDisk, stream: LogId, batch: &Bytes) {
    store.close_stretch(stream);
    let stretch = store.stretches(stream).last().unwrap();
    let left: Vec<_> = (stretch.entry.0..stretch.entry_end.0).map(|entry| (Offset(entry), entry, batch.clone())).collect();
    assert!(store.rewrite(stream, &stretch, &left));
    drain(store, disk);
}

/// What was on its way when it should have been forgotten was never forgotten, and everything else at once.
#[test]
fn what_consumers_left_unread_is_forgotten_and_what_is_awaited_is_not() {
    let streams = 60;
    let (mut store, mut disk, streams, batch) = world(streams, (0..streams * BATCHES as usize).map(|index| index % streams));
    for stream in &streams {
        to_segment(&mut store, &mut disk, *stream, &batch);
    }
    let here = |store: &mut Store, stream| matches!(store.batch_at(stream, Offset(0), Wanted::ALL), Batch::Here { .. });
    for readers in streams.chunks(36) {
        // The indexes, and then what they are for.
        for _ in 0..2 {
            drain(&mut store, &mut disk);
            readers.iter().for_each(|stream| assert!(!here(&mut store, *stream)));
        }
        store.poll(&mut disk);
        let mut arrived = Vec::new();
        while arrived.len() < 2 {
            disk.disk.step();
            disk.poll().into_iter().for_each(|completion| store.completed(completion).unwrap());
            arrived.extend(store.poll_arrived());
        }
        for stream in arrived {
            assert!(here(&mut store, stream), "{stream:?} was forgotten before its reader came");
        }
    }
    // The other readers are gone.
    drain(&mut store, &mut disk);
    let held = store.statistics().window_bytes;
    assert!((STREAM_WINDOW_BYTES / 2..=STREAM_WINDOW_BYTES).contains(&held), "{held} bytes are held");
    assert!(all_can_be_forgotten(&store));
}

/// Whether everything of segments that is in memory is among what is forgotten in its turn.
fn all_can_be_forgotten(store: &Store) -> bool {
    let listed = |id: LogId, run: &Run| store.streams.touched.contains(&(id, run.first));
    let held = |run: &Run| matches!(&run.home, Home::Segment(home) if !run.entries.is_empty() || !home.window.is_empty());
    store.logs.iter().all(|(id, log)| log.runs.iter().all(|run| listed(*id, run) || !held(run)))
}

/// The index of the segment behind the one that was read was not among what is forgotten.
#[test]
fn an_index_that_was_read_in_advance_is_forgotten_too() {
    let (mut store, mut disk, streams, batch) = world(1, 0..1);
    to_segment(&mut store, &mut disk, streams[0], &batch);
    store.append_batch(streams[0], &batch, 0, false).unwrap();
    drain(&mut store, &mut disk);
    to_segment(&mut store, &mut disk, streams[0], &batch);
    while !matches!(store.batch_at(streams[0], Offset(0), Wanted::ALL), Batch::Here { .. }) {
        turn(&mut store, &mut disk);
    }
    drain(&mut store, &mut disk);
    assert!(store.logs[&streams[0]].runs.iter().all(|run| !run.entries.is_empty()));
    assert!(all_can_be_forgotten(&store));
}

/// Everything else goes to the disk past it.
#[test]
fn what_is_written_behind_a_lagging_reader_stays_in_the_page_cache() {
    let (mut store, mut disk, streams, batch) = world(1, std::iter::repeat_n(0, 200));
    let write = |store: &mut Store, disk: &mut WatchedDisk, count: usize| {
        for _ in 0..count {
            store.append_batch(streams[0], &batch, 0, false).unwrap();
            drain(store, disk);
        }
        disk.cached
    };
    assert!(!write(&mut store, &mut disk, 1), "nobody has read anything");
    let newest = store.next_offset(streams[0]).0 - 1;
    assert!(matches!(store.batch_at(streams[0], Offset(newest), Wanted::ALL), Batch::Here { .. }));
    assert!(!write(&mut store, &mut disk, 1), "who keeps up reads from memory");
    assert!(matches!(store.batch_at(streams[0], Offset(0), Wanted::ALL), Batch::Soon));
    assert!(write(&mut store, &mut disk, 100));
    assert!(!write(&mut store, &mut disk, 1100), "the reader has gone");
}

/// It will be read from the disk, later.
#[test]
fn what_is_written_to_a_backlog_stays_in_the_page_cache() {
    let (mut store, mut disk, ..) = world(0, std::iter::empty());
    let queue = store.create_log(true);
    let publish = |store: &mut Store, disk: &mut WatchedDisk| {
        let parts = RecordParts { value: &[7; BATCH_BYTES], ..RecordParts::default() };
        store.append(&[queue], &parts, Tag::new(true, 0, 0), false, Now::default());
        drain(store, disk);
        disk.cached
    };
    let caches = |store: &Store| store.resident.queues.bytes as f64 / store.options.journal.cache_bytes as f64;
    while !publish(&mut store, &mut disk) {
        assert!(caches(&store) < 1.1, "{} bytes wait", store.resident.queues.bytes);
    }
    assert!(caches(&store) > 1.0, "{} bytes are no backlog", store.resident.queues.bytes);
}
