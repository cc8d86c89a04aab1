//! The store over a simulated disk, against a plain model: whatever moves where, every record is read back.

use std::collections::BTreeMap;

use model::{Header, Now, Offset, RecordParts, RecordView};
use vfs::Vfs;
use vfs::simulated::SimulatedDisk;

use crate::{Available, Batch, LogId, Options, Recovery, Sizes, Sought, Store, Tag, Wanted};

mod disk;
mod late;
mod turns;
mod unreadable;

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
    let sizes = Sizes { read_bytes: 2_000, checkpoint_entries: 3, ..Sizes::default() };
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
            self.store.checkpoint(&b"catalog"[..]);
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
            self.store.close(&b"catalog"[..], &mut self.disk).unwrap();
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

/// Whole runs go at once, wherever they lie; the rest one by one.
#[test]
fn a_range_is_settled_like_each_of_its_records() {
    for seed in 1..=4 {
        let mut world = World::new(seed);
        let logs = [world.create(), world.create()];
        for round in 0..7_000 {
            let persistent = world.random(5) > 0;
            world.publish(&logs[round % 5 / 4..], persistent);
            if world.random(4) == 0 {
                let offset = world.random(round as u64 + 1);
                world.settle(logs[1], offset);
            }
            if world.random(3) == 0 {
                world.turn();
            }
        }
        let end = world.store.next_offset(logs[1]).0;
        for (from, to) in [(end / 8, end / 4), (end / 2, end - 100), (end - 50, end)] {
            world.logs.get_mut(&logs[1]).unwrap().retain(|offset, _| !(from..to).contains(offset));
            world.store.settle_range(logs[1], Offset(from), Offset(to));
            world.check();
        }
        world.restart(seed % 2 == 0);
        world.check();
        world.logs.get_mut(&logs[1]).unwrap().clear();
        world.store.settle_range(logs[1], Offset(0), Offset(end));
        world.publish(&logs, true);
        world.drain();
        world.check();
    }
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
        assert_eq!(world.store.resident.entries(), 0);
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

/// A batch of `count` records, as far as the store looks at it.
fn batch(seed: u64, count: u32) -> Vec<u8> {
    let mut out = Vec::new();
    RecordParts { value: &payload(seed), ..RecordParts::default() }.encode(seed, &mut out);
    out[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    let crc = crc_fast::crc32_iscsi(&out[21..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    out
}

impl World {
    /// Whatever entry comes at or after `offset`: its base and its content behind what is patched.
    fn read_batch(&mut self, stream: LogId, offset: u64) -> Option<(u64, Vec<u8>)> {
        for _ in 0..100_000 {
            let at = match self.store.seek(stream, offset) {
                Sought::At(entry) => entry,
                Sought::End => return None,
                Sought::Soon => {
                    self.turn();
                    continue;
                }
                Sought::Damaged(damage) => panic!("{damage}"),
            };
            match self.store.batch_at(stream, at, Wanted::ALL) {
                Batch::Here { base, bytes, .. } => return Some((base, bytes[16..].to_vec())),
                Batch::End => return None,
                Batch::Soon => self.turn(),
                Batch::Damaged(damage) => panic!("{damage}"),
            }
        }
        panic!("the batch never came");
    }
}

#[test]
fn streams_are_read_by_record_offset_wherever_their_batches_moved() {
    for seed in 1..=10 {
        let mut world = World::new(seed);
        let queue = world.create();
        let streams: Vec<LogId> = (0..3).map(|_| world.store.create_stream()).collect();
        world.store.append_catalog(b"made");
        // Per stream: (base, count, seed) of each batch; what was dropped is forgotten.
        let mut model: BTreeMap<LogId, Vec<(u64, u32, u64)>> = streams.iter().map(|id| (*id, Vec::new())).collect();
        for round in 0..2_000 {
            let stream = streams[(world.random(5) as usize).min(2)];
            let (content, count) = (world.random(1 << 40), 1 + world.random(20) as u32);
            let expected = world.store.stream_next(stream);
            let appended = world.store.append_batch(stream, &batch(content, count), 0, false).unwrap();
            assert_eq!((appended.base, world.store.stream_next(stream)), (expected, expected + u64::from(count)));
            model.get_mut(&stream).unwrap().push((appended.base, count, content));
            if world.random(3) == 0 {
                // A message for a queue and a stream lies in the journal once.
                let offset = world.store.next_offset(queue).0;
                let base = world.store.stream_next(streams[0]);
                let content = world.random(1 << 40);
                let parts = RecordParts { value: &payload(content), ..RecordParts::default() };
                let now = Now { wall_ms: content, ..Now::default() };
                world.store.append(&[queue, streams[0]], &parts, Tag::new(false, 3, 0), false, now);
                world.logs.get_mut(&queue).unwrap().insert(offset, (content, true));
                model.get_mut(&streams[0]).unwrap().push((base, 1, content));
                if world.random(2) == 0 {
                    world.settle(queue, offset);
                }
            }
            for _ in 0..world.random(3) {
                world.turn();
            }
            if round % 400 == 399 {
                let stream = streams[world.random(3) as usize];
                let batches = model.get_mut(&stream).unwrap();
                let middle = batches.get(batches.len() / 2).map_or(0, |(base, ..)| *base);
                world.store.drop_before(stream, middle);
                let start = world.store.stream_start(stream);
                assert!(start <= middle);
                batches.retain(|(base, ..)| *base >= start);
            }
            if round % 300 == 299 {
                world.compact(streams[world_pick(round)], &mut model);
            }
            if round % 500 == 499 {
                if world.random(2) == 0 {
                    world.restart(round % 1_000 == 999);
                }
                for (stream, batches) in model.clone() {
                    for (base, count, content) in batches {
                        let inside = base + world.random(count.into());
                        let expected = batch(content, count)[16..].to_vec();
                        assert_eq!(world.read_batch(stream, inside), Some((base, expected)), "seed {seed}, offset {inside}");
                    }
                }
                world.check();
            }
        }
        world.drain();
        while world.store.poll_grown().is_some() {}
        for stream in streams {
            assert_eq!(world.store.stream_end(stream), world.store.stream_next(stream));
        }
        assert!(!world.disk.list("segments").unwrap().is_empty(), "seed {seed}: nothing was paged out");
    }
}

fn world_pick(round: u64) -> usize {
    (round / 300 % 3) as usize
}

impl World {
    /// Drop some batches of every stretch, and write what is left anew.
    fn compact(&mut self, stream: LogId, model: &mut BTreeMap<LogId, Vec<(u64, u32, u64)>>) {
        self.store.close_stretch(stream);
        let stretches: Vec<_> = self.store.stretches(stream).collect();
        for stretch in stretches {
            let mut left = Vec::new();
            let mut at = stretch.entry;
            while at < stretch.entry_end {
                match self.store.batch_at(stream, at, Wanted::ALL) {
                    Batch::Here { entry, base, .. } if entry < stretch.entry_end => {
                        at = entry.next();
                        let batches = model.get_mut(&stream).unwrap();
                        let index = batches.iter().position(|(other, ..)| *other == base).unwrap();
                        if self.random(3) == 0 {
                            batches.remove(index);
                            self.store.settle(stream, entry);
                        } else {
                            let (_, count, content) = batches[index];
                            left.push((entry, base, batch(content, count)));
                        }
                    }
                    Batch::Soon => self.turn(),
                    Batch::Here { .. } | Batch::End => break,
                    Batch::Damaged(damage) => panic!("{damage}"),
                }
            }
            if left.is_empty() {
                continue;
            }
            let left: Vec<_> = left.into_iter().map(|(entry, base, bytes)| (entry, base, bytes.into())).collect();
            // Paging may have melted the stretch with others meanwhile; here it waits until it has come to rest.
            self.drain();
            let now = self.store.stretches(stream).find(|now| now.entry == stretch.entry).unwrap();
            assert!(now.entry_end == stretch.entry_end, "a drained store leaves stretches alone");
            assert!(self.store.rewrite(stream, &now, &left));
            self.drain();
        }
    }
}

/// It was written to the journal and then once more to segments, though nobody takes it.
#[test]
fn what_streams_keep_stays_in_the_journal_until_too_much_else_lies_beside_it() {
    let mut world = World::new(4);
    let queue = world.create();
    let streams: Vec<LogId> = (0..7).map(|_| world.store.create_stream()).collect();
    world.store.append_catalog(b"made");
    let bytes_of = |world: &World| world.store.resident.streams.bytes;
    let mut appended = Vec::new();
    while bytes_of(&world) < 4 * options().journal_bytes {
        for _ in 0..30 {
            let (stream, content) = (streams[world.random(7) as usize], world.random(1 << 40));
            let base = world.store.append_batch(stream, &batch(content, 2), 0, false).unwrap().base;
            appended.push((stream, base, content));
        }
        world.drain();
    }
    let segments = |world: &mut World| world.disk.list("segments").unwrap().len();
    assert_eq!(segments(&mut world), 0);
    let unread = |world: &World| world.store.appended().0 - world.store.paging.newest_checkpoint.unwrap().0;
    assert!(unread(&world) < 2 * options().journal_bytes, "a start would replay all of it");
    world.restart(false);
    for (stream, base, content) in &appended {
        assert_eq!(world.read_batch(*stream, *base), Some((*base, batch(*content, 2)[16..].to_vec())), "{stream:?} at {base}");
    }

    // What is taken from a queue leaves nothing but holes between them.
    let held = world.store.resident.streams.bytes;
    for _ in 0..(4 * held / 1000) {
        let offset = world.store.next_offset(queue).0;
        world.publish(&[queue], true);
        world.settle(queue, offset);
        world.turn();
    }
    world.drain();
    assert!(segments(&mut world) > 0);
    assert!(world.store.needless_bytes() < 2 * options().journal_bytes);
    for (stream, base, content) in &appended {
        assert_eq!(world.read_batch(*stream, *base), Some((*base, batch(*content, 2)[16..].to_vec())), "{stream:?} at {base}");
    }
    for stream in streams {
        world.store.drop_before(stream, world.store.stream_next(stream));
    }
    world.drain();
    assert_eq!((bytes_of(&world), segments(&mut world)), (0, 0));
}

#[test]
fn a_stream_shows_nothing_before_it_is_durable() {
    let mut world = World::new(3);
    let stream = world.store.create_stream();
    world.store.append_catalog(b"made");
    let appended = world.store.append_batch(stream, &batch(5, 7), 0, false).unwrap();
    assert_eq!((appended.base, world.store.stream_next(stream)), (0, 7));
    assert_eq!((world.store.poll_grown(), world.store.stream_end(stream)), (None, 0));
    world.drain();
    assert!(world.store.durable() >= appended.end);
    assert_eq!((world.store.poll_grown(), world.store.stream_end(stream)), (Some(stream), 7));
    assert_eq!(world.store.poll_grown(), None);
}

#[test]
fn streams_that_grew_are_named_once_and_weigh_the_same_after_a_restart() {
    let mut world = World::new(4);
    let streams = [world.store.create_stream(), world.store.create_stream()];
    world.store.append_catalog(b"made");
    for round in 0..10 {
        world.store.append_batch(streams[round % 2], &batch(round as u64, 3), 0, false).unwrap();
    }
    world.drain();
    let mut grown: Vec<LogId> = std::iter::from_fn(|| world.store.poll_grown()).collect();
    grown.sort_unstable();
    assert_eq!(grown, streams);
    world.store.append_batch(streams[0], &batch(11, 3), 0, false).unwrap();
    world.drain();
    assert_eq!(world.store.poll_grown(), Some(streams[0]), "named again when it has grown again");
    let bytes = |world: &World| streams.map(|stream| world.store.stream_bytes(stream));
    let before = bytes(&world);
    assert!(before[1] > 0 && before[0] > before[1]);
    for clean in [true, false] {
        world.restart(clean);
        assert_eq!(bytes(&world), before);
    }
}

/// A catalog that can be damaged.
#[derive(Default)]
struct Judge {
    damage: Option<String>,
}

impl Recovery for Judge {
    fn snapshot(&mut self, catalog: &[u8]) {
        self.damage = (catalog != b"catalog").then(|| "no catalog".into());
    }

    fn entry(&mut self, entry: &[u8]) {
        self.damage = (entry != b"made").then(|| "not made".into());
    }

    fn take_damage(&mut self) -> Option<String> {
        self.damage.take()
    }
}

fn findings(disk: &mut SimulatedDisk) -> Vec<(String, String)> {
    let mut found = Vec::new();
    crate::verify(disk, &mut Judge::default(), &mut |finding| found.push((finding.path, finding.what))).unwrap();
    found
}

/// A directory with segments, a checkpoint and several journal files.
fn grown() -> (World, Vec<String>) {
    let mut world = World::new(3);
    let log = world.create();
    let first = |disk: &mut SimulatedDisk| disk.contents("checkpoint/0000000000000000.ckp").is_some();
    while world.disk.list("segments").unwrap().len() < 4 || first(&mut world.disk) {
        world.publish(&[log], true);
        world.turn();
    }
    world.drain();
    let segments = world.disk.list("segments").unwrap().into_iter().map(|(name, _)| format!("segments/{name}")).collect();
    assert_eq!(findings(&mut world.disk), []);
    (world, segments)
}

/// It stopped at the first damage in the journal, and did not notice what was missing.
#[test]
fn every_damaged_place_is_named_by_file_and_byte() {
    let (mut world, segments) = grown();
    let journal: Vec<String> =
        world.disk.list("journal").unwrap().into_iter().map(|(name, _)| format!("journal/{name}")).collect();
    assert!(journal.len() >= 4, "{journal:?}");
    // In a frame of one file twice, where a block begins in another; a header and its copy.
    let places = [(&journal[0], 9_000), (&journal[0], 30_000), (&journal[1], 4096 + 2)];
    for (path, byte) in places {
        assert!(world.disk.flip_bit(path, byte * 8));
    }
    for byte in [20, 2048 + 20] {
        assert!(world.disk.flip_bit(&journal[2], byte * 8));
    }
    // Two records of one segment, the header of another, the index of a third; a fourth is gone.
    let length = world.disk.contents(&segments[2]).unwrap().len() as u64;
    for (path, byte) in [(&segments[0], 64 + 70), (&segments[0], 20_000), (&segments[1], 9), (&segments[2], length - 30)] {
        assert!(world.disk.flip_bit(path, byte * 8));
    }
    world.disk.run(vfs::Job::Remove { path: segments[3].clone() }).unwrap();

    let found = findings(&mut world.disk);
    let of = |path: &String| found.iter().filter(|(named, _)| named == path).map(|(_, what)| what.as_str()).collect::<Vec<_>>();
    for (path, byte) in places {
        let near = |what: &str| {
            let at = what.strip_prefix("at byte ").and_then(|rest| rest.split(' ').next()).unwrap().parse::<u64>().unwrap();
            at <= byte && byte < at + 8192
        };
        assert!(of(path).into_iter().any(near), "byte {byte} of {path}: {found:?}");
    }
    assert_eq!((of(&journal[0]).len(), of(&journal[1]).len()), (2, 1), "{found:?}");
    assert!(of(&journal[2])[0].contains("header is unreadable"), "{found:?}");
    assert_eq!(of(&segments[0]).len(), 2, "{found:?}");
    assert_eq!(of(&segments[0])[0], "at byte 64: a record fails its checksum");
    assert!(of(&segments[1])[0].contains("header"), "{found:?}");
    assert!(of(&segments[2])[0].contains("index"), "{found:?}");
    assert!(of(&segments[3])[0].contains("missing"), "{found:?}");
}

#[test]
fn a_missing_journal_file_is_named_by_its_position() {
    let (mut world, _) = grown();
    for _ in 0..250 {
        world.publish(&[LogId(1)], true);
        world.turn();
    }
    world.drain();
    world.store.close(&b"catalog"[..], &mut world.disk).unwrap();
    // The oldest ones hold nothing any more. With the first that does go records that only the checkpoint knows; a start
    // refuses too.
    let mut found = Vec::new();
    for (name, _) in world.disk.list("journal").unwrap() {
        world.disk.run(vfs::Job::Remove { path: format!("journal/{name}") }).unwrap();
        found = findings(&mut world.disk);
        if !found.is_empty() {
            break;
        }
    }
    assert!(found.len() == 1 && found[0].0 == "journal" && found[0].1.contains("unsettled records"), "{found:?}");
    let refused = Store::open(options(), &mut world.disk, &mut NoCatalog).err().unwrap().to_string();
    assert!(refused.contains("unsettled record"), "{refused}");
}

#[test]
fn a_damaged_checkpoint_and_an_unreadable_catalog_are_named() {
    let (mut world, _) = grown();
    world.store.append_catalog(b"nonsense");
    world.publish(&[LogId(1)], true);
    world.drain();
    let found = findings(&mut world.disk);
    assert!(found.len() == 1 && found[0].0.starts_with("journal/") && found[0].1.contains("catalog"), "{found:?}");
    let (name, _) = world.disk.list("checkpoint").unwrap().remove(0);
    world.disk.flip_bit(&format!("checkpoint/{name}"), 99);
    let found = findings(&mut world.disk);
    assert!(found[0].0 == format!("checkpoint/{name}") && found[1].1.contains("catalog"), "{found:?}");
}

/// The broker started with nothing, and removed the segments.
#[test]
fn a_missing_checkpoint_is_refused_and_nothing_is_removed() {
    // Young: the journal has everything since the beginning.
    let mut young = World::new(5);
    let log = young.create();
    young.publish(&[log], true);
    young.drain();
    // Old: the journal has been cut.
    for (mut world, cut) in [(young, false), (grown().0, true)] {
        let (name, _) = world.disk.list("checkpoint").unwrap().pop().unwrap();
        world.disk.run(vfs::Job::Remove { path: format!("checkpoint/{name}") }).unwrap();
        let before = world.disk.files();
        let refused = Store::open(options(), &mut world.disk, &mut NoCatalog).err().unwrap().to_string();
        assert!(refused.starts_with("the checkpoint is missing") && refused.contains("Restore"), "{refused}");
        assert!(!cut || refused.contains("begins at position"), "{refused}");
        assert!(findings(&mut world.disk).iter().any(|(path, _)| path == "checkpoint"));
        assert_eq!(world.disk.files(), before);
    }
}

/// Nothing else tells that it is gone: without a journal the segments were removed as garbage.
#[test]
fn segments_alone_are_refused_and_so_are_those_written_after_the_journals_end() {
    let (mut world, segments) = grown();
    for (name, _) in world.disk.list("checkpoint").unwrap() {
        world.disk.run(vfs::Job::Remove { path: format!("checkpoint/{name}") }).unwrap();
    }
    let mut journal = Vec::new();
    for (name, _) in world.disk.list("journal").unwrap() {
        let path = format!("journal/{name}");
        journal.push((path.clone(), world.disk.contents(&path).unwrap()));
        world.disk.run(vfs::Job::Remove { path }).unwrap();
    }
    let refused = |disk: &mut SimulatedDisk| {
        let words = Store::open(options(), disk, &mut NoCatalog).err().unwrap().to_string();
        assert!(!findings(disk).is_empty(), "the check says nothing of: {words}");
        words
    };
    let words = refused(&mut world.disk);
    assert!(words.contains("the checkpoint is missing") && words.contains(&segments[0]), "{words}");

    // A young journal beside an old segment: of another copy.
    let mut young = World::new(5);
    young.create();
    young.drain();
    let segment = world.disk.contents(&segments[3]).unwrap();
    young.disk.run(vfs::Job::Replace { path: segments[3].clone(), parts: vec![segment.into()] }).unwrap();
    let words = refused(&mut young.disk);
    assert!(words.contains("the journal has no file") && words.contains(&segments[3]), "{words}");
}

#[test]
fn a_checkpoint_under_another_ones_name_is_damaged() {
    let (mut world, _) = grown();
    let (name, _) = world.disk.list("checkpoint").unwrap().pop().unwrap();
    let path = format!("checkpoint/{name}");
    let other = crate::checkpoint::path(model::Lsn(1 << 40));
    let bytes = world.disk.contents(&path).unwrap();
    world.disk.run(vfs::Job::Replace { path: other.clone(), parts: vec![bytes.into()] }).unwrap();
    let refused = Store::open(options(), &mut world.disk, &mut NoCatalog).err().unwrap().to_string();
    assert!(refused.contains(&other) && refused.contains("damaged"), "{refused}");
    assert_eq!(findings(&mut world.disk)[0].0, other);
}

/// Each start took one more file of the journal, until it had grown to the length at which it is cut.
#[test]
fn starting_again_and_again_takes_no_more_room() {
    for clean in [true, false] {
        let mut world = World::new(7);
        let log = world.create();
        let mut used = Vec::new();
        for _ in 0..12 {
            world.publish(&[log], true);
            let offset = world.store.next_offset(log).0 - 1;
            world.settle(log, offset);
            world.restart(clean);
            world.drain();
            used.push(world.disk.files().iter().map(|(_, bytes)| bytes).sum::<u64>());
        }
        // Two files are always there, and one that was cut waits to be used again.
        assert!(used.iter().all(|&bytes| bytes < 4 * 64 * 1024), "{used:?}");
    }
}

/// Retention that took hundreds of segments away handed all their removals to the disk at once, and the journal's next file waited
/// behind them: publishers stood still for a second.
#[test]
fn files_are_removed_a_few_at_a_time_and_all_in_the_end() {
    let mut world = World::new(5);
    for file in 0..300 {
        world.store.removals.push_back((model::Lsn(0), format!("segments/{file}")));
    }
    world.store.poll(&mut world.disk);
    assert_eq!(world.store.removals.len(), 298);
    world.drain();
    assert_eq!(world.store.removals.len(), 0);
}
