//! What is done late: reads and checkpoints that come when what they are of has changed.

use bytes::Bytes;
use model::Offset;
use vfs::{Completion, Vfs};

use super::{World, batch};
use crate::{LogId, Sought, Stretch};

/// Batches of the stream, two records in each.
const BATCHES: u64 = 20;

/// A stream in one segment, and nothing of it in memory.
fn world() -> (World, LogId) {
    let mut world = World::new(1);
    let stream = world.store.create_stream();
    world.store.append_catalog(b"made");
    for content in 0..BATCHES {
        world.store.append_batch(stream, &batch(content, 2), 0, false).unwrap();
    }
    world.store.close_stretch(stream);
    world.drain();
    let stretch = only_stretch(&world, stream);
    assert!(world.store.rewrite(stream, &stretch, &left(0)));
    world.restart(true);
    (world, stream)
}

fn only_stretch(world: &World, stream: LogId) -> Stretch {
    let all: Vec<Stretch> = world.store.stretches(stream).collect();
    assert_eq!(all.len(), 1);
    all[0]
}

/// All batches from this one on, as they are to be written.
fn left(from: u64) -> Vec<(Offset, u64, Bytes)> {
    (from..BATCHES).map(|content| (Offset(content), 2 * content, batch(content, 2).into())).collect()
}

impl World {
    fn segments(&mut self) -> Vec<(String, u64)> {
        self.disk.list("segments").unwrap()
    }

    /// Go on, without taking checkpoints, until something is so.
    fn until(&mut self, is: impl Fn(&World) -> bool) {
        for _ in 0..1_000 {
            if is(self) {
                return;
            }
            self.store.poll(&mut self.disk);
            if is(self) {
                return;
            }
            self.disk.step();
            while let Some(completion) = self.disk.poll() {
                self.store.completed(completion).unwrap();
            }
        }
        panic!("it never was so");
    }
}

/// What came of a read of the old file, which was gone by then, was taken for damage of the new one: every fetch failed until
/// the next start.
#[test]
fn a_segment_written_anew_is_not_read_through_its_old_file() {
    let (mut world, stream) = world();
    assert!(matches!(world.store.seek(stream, 0), Sought::Soon));
    world.store.poll(&mut world.disk);
    while world.disk.step() {}
    let late: Vec<Completion> = std::iter::from_fn(|| world.disk.poll()).collect();
    assert!(!late.is_empty());

    for entry in 0..BATCHES / 2 {
        world.store.settle(stream, Offset(entry));
    }
    let stretch = only_stretch(&world, stream);
    let old = world.segments();
    assert!(world.store.rewrite(stream, &stretch, &left(BATCHES / 2)));
    world.until(|world| !world.store.is_moving(stream));
    assert_ne!(world.segments(), old);
    for completion in late {
        let gone = Err(std::io::ErrorKind::NotFound.into());
        world.store.completed(Completion { result: gone, ..completion }).unwrap();
    }
    for content in BATCHES / 2..BATCHES {
        let expected = Some((2 * content, batch(content, 2)[16..].to_vec()));
        assert_eq!(world.read_batch(stream, 2 * content), expected);
    }
}

/// The checkpoint that was being written still named the old file, and a crash left a broker that would not start.
#[test]
fn a_segment_written_anew_stays_until_a_checkpoint_does_without_it() {
    let (mut world, stream) = world();
    let old = format!("segments/{}", world.segments()[0].0);
    let first = world.store.paging.newest_checkpoint;
    world.store.append_catalog(b"made");
    world.store.checkpoint(&b"catalog"[..]);
    let stretch = only_stretch(&world, stream);
    assert!(!world.store.rewrite(stream, &stretch, &left(0)), "the checkpoint would know of it, or not");
    while world.store.is_taking_checkpoint() {
        world.store.poll(&mut world.disk);
    }
    assert!(world.store.rewrite(stream, &stretch, &left(0)));
    // The next one is taken while the one from before is being written.
    world.until(|world| world.store.wants_checkpoint());
    world.store.checkpoint(&b"catalog"[..]);
    world.until(|world| world.store.paging.newest_checkpoint != first);
    assert!(world.store.removals.iter().all(|(_, path)| *path != old), "the checkpoint on disk names it");
    let second = world.store.paging.newest_checkpoint;
    world.until(|world| world.store.paging.newest_checkpoint != second);
    world.drain();
    assert!(world.disk.contents(&old).is_none());
}

/// What was settled after a checkpoint was taken, and was not yet durably so, lay in a file that went with the checkpoint: a
/// crash brought the record back, and left a broker that would not start.
#[test]
fn a_journal_file_stays_while_the_checkpoint_knows_of_something_in_it() {
    let mut world = World::new(1);
    let queue = world.create();
    while world.store.appended().0 < 3 * 64 * 1024 {
        world.publish(&[queue], true);
        world.turn();
    }
    for offset in 1..world.store.next_offset(queue).0 {
        world.settle(queue, offset);
    }
    world.drain();
    let first_file = |world: &World| world.store.journal.files().next().unwrap().first_lsn.0;
    assert_eq!(first_file(&world), 0);
    let before = world.store.paging.newest_checkpoint;
    world.store.checkpoint(&b"catalog"[..]);
    world.settle(queue, 0);
    world.until(|world| world.store.paging.newest_checkpoint != before);
    assert_eq!(first_file(&world), 0, "the record at offset 0 is not settled in the checkpoint");
    world.drain();
    let before = world.store.paging.newest_checkpoint;
    world.publish(&[queue], true);
    world.store.checkpoint(&b"catalog"[..]);
    world.until(|world| world.store.paging.newest_checkpoint != before);
    assert!(first_file(&world) > 0);
}

/// Between the turns of a checkpoint everything goes on; what it missed or has already is replayed onto it.
#[test]
fn what_happens_while_a_checkpoint_is_taken_is_neither_lost_nor_doubled() {
    for turns in 0..40 {
        let mut world = World::new(turns + 1);
        let queues: Vec<LogId> = (0..6).map(|_| world.create()).collect();
        for _ in 0..20 {
            world.publish(&queues, true);
        }
        world.drain();
        let before = world.store.paging.newest_checkpoint;
        world.store.checkpoint(&b"catalog"[..]);
        for _ in 0..turns {
            world.store.poll(&mut world.disk);
        }
        for (index, queue) in (0..).zip(&queues[..5]) {
            world.settle(*queue, index);
            world.publish(&[*queue], true);
        }
        world.store.delete_log(queues[5]);
        world.logs.remove(&queues[5]);
        let new = world.create();
        world.publish(&[new, queues[0]], true);
        assert_eq!(world.store.is_taking_checkpoint(), turns < 6, "few turns: the test would show nothing");
        world.until(|world| world.store.paging.newest_checkpoint != before);
        // It is durable as far as the checkpoint reaches; nothing later is needed.
        world.restart(false);
        world.check();
        assert_eq!(world.store.next_offset(new), Offset(1));
        assert_eq!(world.store.next_offset(queues[0]), Offset(22));
        assert!(!world.store.logs.contains_key(&queues[5]));
    }
}
