//! The store over a simulated disk, against a plain model: whatever moves where, every record is read back.

use std::collections::BTreeMap;

use model::{Header, Now, Offset, RecordParts, RecordView};
use vfs::Vfs;
use vfs::simulated::SimulatedDisk;

use crate::{Available, LogId, Options, Recovery, Sizes, Store, Tag};

struct NoCatalog;

impl Recovery for NoCatalog {
    fn snapshot(&mut self, catalog: &[u8]) {
        assert_eq!(catalog, b"catalog");
    }

    fn entry(&mut self, entry: &[u8]) {
        assert_eq!(entry, b"made");
    }
}

/// Bounds so small that everything moves all the time.
fn options() -> Options {
    let journal = journal::Options { segment_bytes: 64 * 1024, cache_bytes: 32 * 1024, ..journal::Options::default() };
    // Reads so short that a block read ahead takes the place of an older one all the time; once that was the block with
    // the record that had just been located.
    let sizes = Sizes { read_bytes: 2_000, ..Sizes::default() };
    Options { journal, arena_bytes: 64 * 1024, journal_bytes: 256 * 1024, sizes }
}

struct World {
    disk: SimulatedDisk,
    store: Store,
    random: u64,
    /// What must be in each log: offset to payload seed.
    logs: BTreeMap<LogId, BTreeMap<u64, (u64, bool)>>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut disk = SimulatedDisk::new(seed);
        let store = Store::open(options(), &mut disk, &mut NoCatalog).unwrap();
        World { disk, store, random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, logs: BTreeMap::new() }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn create(&mut self) -> LogId {
        let log = self.store.create_log(true);
        self.store.append_catalog(b"made");
        self.logs.insert(log, BTreeMap::new());
        log
    }

    fn publish(&mut self, targets: &[LogId], persistent: bool) {
        let seed = self.random(1 << 40);
        let value = payload(seed);
        let parts = RecordParts { key: b"k", value: &value, own: None, headers: &[Header { name: "h", value: b"v" }] };
        for log in targets {
            let offset = self.store.next_offset(*log).0;
            self.logs.get_mut(log).unwrap().insert(offset, (seed, persistent));
        }
        self.store.append(targets, &parts, Tag::new(persistent, 0, 0), false, Now::default());
    }

    fn settle(&mut self, log: LogId, offset: u64) {
        self.logs.get_mut(&log).unwrap().remove(&offset);
        self.store.settle(log, Offset(offset));
    }

    fn turn(&mut self) {
        while let Some(completion) = self.disk.poll() {
            self.store.completed(completion).unwrap();
        }
        if self.store.wants_checkpoint() {
            self.store.checkpoint(b"catalog");
        }
        self.store.poll(&mut self.disk);
        self.disk.step();
    }

    fn drain(&mut self) {
        for _ in 0..100_000 {
            self.turn();
            if self.store.idle() {
                return;
            }
        }
        panic!("the store never came to rest");
    }

    fn read(&mut self, log: LogId, offset: u64) -> Vec<u8> {
        for _ in 0..100_000 {
            match self.store.locate(log, Offset(offset)) {
                Available::Now(found) => {
                    let record = self.store.record(&found).expect("a located record is there");
                    return RecordView::parse(record.batch).unwrap().value.to_vec();
                }
                Available::Soon => self.turn(),
                other => panic!("offset {offset} of {log:?}: {other:?}"),
            }
        }
        panic!("the record never came");
    }

    fn check(&mut self) {
        let logs = self.logs.clone();
        for (log, expected) in logs {
            let mut from = Offset(0);
            for (offset, (seed, _)) in &expected {
                assert_eq!(self.store.next_live(log, from), Some(Offset(*offset)), "{log:?} behind {from}");
                assert_eq!(self.read(log, *offset), payload(*seed), "{log:?} at {offset}");
                from = Offset(offset + 1);
            }
            assert_eq!(self.store.next_live(log, from), None);
            assert_eq!(self.store.live(log), expected.len() as u64);
        }
    }

    /// Stop and start: transient records are forgotten.
    fn restart(&mut self, clean: bool) {
        self.drain();
        if clean {
            self.store.close(b"catalog", &mut self.disk).unwrap();
        }
        self.disk.crash();
        for log in self.logs.values_mut() {
            log.retain(|_, (_, persistent)| *persistent);
        }
        self.store = Store::open(options(), &mut self.disk, &mut NoCatalog).unwrap();
    }
}

fn payload(seed: u64) -> Vec<u8> {
    let len = (seed % 900) as usize;
    seed.to_le_bytes().into_iter().cycle().take(len).collect()
}

#[test]
fn every_record_is_read_back_wherever_it_moved() {
    for seed in 1..=20 {
        let mut world = World::new(seed);
        let logs: Vec<LogId> = (0..4).map(|_| world.create()).collect();
        for round in 0..3_000 {
            let pick = world.random(4) as usize;
            let targets = if world.random(4) == 0 { &logs[..] } else { &logs[pick..=pick] };
            let persistent = world.random(5) > 0;
            world.publish(targets, persistent);
            // One log keeps nearly everything, one nearly nothing, the others something.
            for (index, log) in logs.iter().enumerate() {
                let goes = world.random(8) < 2 * index as u64 + 1;
                let first = world.logs[log].keys().next().copied();
                if goes && let Some(first) = first {
                    let skip = world.random(3);
                    let chosen = world.logs[log].keys().nth(skip as usize).copied().unwrap_or(first);
                    world.settle(*log, chosen);
                }
            }
            for _ in 0..world.random(3) {
                world.turn();
            }
            if round % 1_000 == 999 {
                world.check();
                world.restart(round % 2_000 == 999);
                world.check();
            }
        }
        let files = world.disk.list("segments").unwrap().len();
        assert!(files > 0, "seed {seed}: nothing was paged out");
        for log in logs {
            let offsets: Vec<u64> = world.logs[&log].keys().copied().collect();
            for offset in offsets {
                world.settle(log, offset);
            }
        }
        world.drain();
        assert_eq!(world.disk.list("segments").unwrap(), [], "seed {seed}: settled segments are removed");
        assert_eq!(world.store.statistics().window_bytes, 0);
        assert_eq!(world.store.resident.entries, 0);
    }
}

#[test]
fn a_flipped_bit_in_a_segment_is_named_and_not_delivered() {
    let mut world = World::new(7);
    let log = world.create();
    while world.disk.list("segments").unwrap().is_empty() {
        world.publish(&[log], true);
        world.turn();
    }
    world.drain();
    let (name, _) = world.disk.list("segments").unwrap().remove(0);
    assert!(world.disk.flip_bit(&format!("segments/{name}"), 8 * (64 + 70)));
    for _ in 0..1_000 {
        match world.store.locate(log, Offset(0)) {
            Available::Damaged(what) => {
                assert!(what.contains(&name), "{what}");
                return;
            }
            Available::Soon => world.turn(),
            other => panic!("a damaged record came back: {other:?}"),
        }
    }
    panic!("never answered");
}
