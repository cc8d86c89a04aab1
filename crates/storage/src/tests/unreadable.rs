//! A disk that will not read one place of the journal.

use model::{Now, Offset, RecordParts};
use vfs::Vfs;

use super::disk::WatchedDisk;
use super::{NoCatalog, batch, options};
use crate::log::Home;
use crate::{Batch, LogId, Store, Tag, Wanted};

struct World {
    disk: WatchedDisk,
    store: Store,
}

impl World {
    fn drain(&mut self) {
        for _ in 0..100_000 {
            while let Some(completion) = self.disk.poll() {
                self.store.completed(completion).unwrap();
            }
            if self.store.wants_checkpoint() {
                self.store.checkpoint(&b"catalog"[..]);
            }
            self.store.poll(&mut self.disk);
            if !self.disk.disk.step() && self.store.idle() {
                return;
            }
        }
        panic!("the store never came to rest");
    }

    /// Queue traffic that is consumed at once but for every `kept`th message, and the disk looked at now and then.
    fn traffic(&mut self, queue: LogId, bytes: u64, kept: u64) {
        let end = self.store.appended().0 + bytes;
        while self.store.appended().0 < end {
            for _ in 0..20 {
                let offset = self.store.next_offset(queue);
                let parts = RecordParts { value: &[7; 700], ..RecordParts::default() };
                self.store.append(&[queue], &parts, Tag::new(true, 0, 0), false, Now::default());
                if !offset.0.is_multiple_of(kept) {
                    self.store.settle(queue, offset);
                }
            }
            self.drain();
            self.store.set_short_of_space(false);
            assert!(!self.store.must_hold(), "publishers would wait for ever");
        }
    }

    fn first_content(&mut self, stream: LogId) -> Result<Vec<u8>, String> {
        loop {
            match self.store.batch_at(stream, Offset(0), Wanted::ALL) {
                Batch::Here { bytes, .. } => return Ok(bytes[16..].to_vec()),
                Batch::Soon => self.drain(),
                Batch::End => return Err("nothing there".into()),
                Batch::Damaged(damage) => return Err(damage),
            }
        }
    }
}

/// The part of the journal with the record was tried again and again, nothing was cut, and publishers waited for ever.
#[test]
fn an_unreadable_record_keeps_its_part_of_the_journal_and_holds_nobody() {
    let mut disk = WatchedDisk::new(1);
    let store = Store::open(options(), &mut disk, &mut NoCatalog).unwrap();
    let mut world = World { disk, store };
    let queue = world.store.create_log(true);
    let [bad, good] = [world.store.create_stream(), world.store.create_stream()];
    world.store.append_catalog(b"made");
    let lies = world.store.append_batch(bad, &batch(899, 2), 0, false).unwrap();
    world.store.append_batch(good, &batch(898, 2), 0, false).unwrap();
    world.drain();
    let (extent, _) = world.store.journal.extent(model::Lsn(lies.end.0 - 400), 1, 0).unwrap();
    world.disk.bad = Some((extent.path, extent.offset));

    world.traffic(queue, 10 * options().journal_bytes, 10);
    let resident = world.store.resident.queues.bytes;
    assert!(resident < options().journal_bytes, "{resident} bytes of others have not moved");
    assert!(world.store.needless_bytes() > 4 * options().journal_bytes, "the journal is kept from where it is damaged");
    assert!(!world.store.is_moving(bad));
    assert!(world.first_content(bad).unwrap_err().contains("input/output error"));
    assert_eq!(world.first_content(good).unwrap(), batch(898, 2)[16..], "the other stream has moved");
    let moved = |world: &World, id| world.store.logs[&id].runs.iter().all(|run| matches!(run.home, Home::Segment(_)));
    assert!(moved(&world, good) && !moved(&world, bad));

    // What is given up no longer holds anything back.
    world.store.drop_before(bad, 2);
    world.traffic(queue, options().journal_bytes, 10);
    assert!(world.store.needless_bytes() < 2 * options().journal_bytes);
}
