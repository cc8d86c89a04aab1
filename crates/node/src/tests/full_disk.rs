//! A disk that is full: who frees space always can, and publishers go on by themselves.

use super::*;

const FILE_BYTES: u64 = 256 * 1024;

/// Room for so many journal files and some more.
fn small_disk(files: u64, more: u64) -> (SimulatedDisk, Options) {
    let mut disk = SimulatedDisk::new(1);
    disk.set_capacity(files * (FILE_BYTES + 4096) + more);
    let mut storage = storage::Options::default();
    storage.journal.segment_bytes = FILE_BYTES;
    storage.journal_bytes = 4 * FILE_BYTES;
    (disk, Options { storage, disk_free_limit_bytes: 0, ..Options::default() })
}

impl World {
    /// Time goes by, and the disk does what it is given.
    fn second(&mut self, at_ms: &mut u64) {
        *at_ms += 1_000;
        for _ in 0..8 {
            self.node.turn(Now { mono_ms: NOW.mono_ms + *at_ms, ..NOW }).unwrap();
            while self.disk.step() {}
        }
    }

    /// Publish until the publisher is held back; how many were taken.
    fn fill(&mut self, at_ms: &mut u64) -> usize {
        let mut taken = 0;
        for _ in 0..10_000 {
            self.publish_durably("q", 0, &"x".repeat(1_500));
            self.offer();
            if !self.said.is_empty() {
                break;
            }
            taken += 1;
            self.node.turn(Now { mono_ms: NOW.mono_ms + *at_ms, ..NOW }).unwrap();
            // The file that is made in the background is slow to come, and then there is no room for it.
            if taken % 64 == 0 {
                while self.disk.step() {}
            }
        }
        assert!(!self.said.is_empty(), "the publisher was never held back");
        self.second(at_ms);
        taken
    }
}

/// The publisher filled the newest journal file to its end before anybody knew that there was no room for the next: what was
/// acknowledged then stayed in memory, and an orderly stop lost it with exit 0. A drained broker stayed blocked, because the
/// journal files that it kept to use again left too little free.
#[test]
fn after_a_full_disk_was_drained_publishers_go_on_and_a_stop_has_lost_nothing() {
    for files in 2..6 {
        for limit in [0, FILE_BYTES / 2] {
            let (disk, options) = small_disk(files, FILE_BYTES * 3 / 4);
            let mut world = World::over(disk, Options { disk_free_limit_bytes: limit, ..options });
            world.declare_as(durable(), &[]);
            let mut at_ms = 0;
            for round in 0..3 {
                let filled = world.fill(&mut at_ms);
                // Others drain it: a session that publishes is not heard.
                let waiting = std::mem::take(&mut world.said);
                let session = world.node.connect(Protocol::Amqp, Peer { address: "here".into(), loopback: true }, NOW);
                let mut said = Vec::new();
                let client = Client::connect(&ConnectOptions::default(), &mut said);
                let publisher = (world.session, std::mem::replace(&mut world.client, client));
                (world.session, world.said) = (session, said);
                world.talk();
                world.client.open_channel(&mut world.said, 1);
                world.talk();
                let mut drained = 0;
                while let Some(taken) = world.get("q") {
                    world.client.ack(&mut world.said, 1, taken.tag, false);
                    drained += 1;
                    if drained % 16 == 0 {
                        world.second(&mut at_ms);
                    }
                }
                for _ in 0..4 {
                    world.second(&mut at_ms);
                }
                assert!(drained >= filled, "{drained} of {filled} in round {round}");
                assert!(world.node.idle(), "with {files} files: acknowledgements wait for room, in round {round}");
                world.node.disconnect(world.session, NOW);
                (world.session, world.client) = publisher;
                world.said = waiting;
                assert!(
                    world.node.may_read(world.session),
                    "{files} files, limit {limit}: blocked, though drained, in round {round}"
                );
                world.offer();
                assert!(world.said.is_empty());
                world.second(&mut at_ms);
            }
            assert!(world.node.idle());
            world.node.close().unwrap();
            let mut world = World::over(world.disk, world.options);
            assert_eq!(world.drain("q").len(), 1, "the last one that was held back");
        }
    }
}

/// It ended with exit 0, and said nothing.
#[test]
fn a_stop_that_could_not_write_everything_says_so() {
    let mut world = World::new();
    world.declare_as(durable(), &[]);
    world.publish_durably("q", 0, "hello");
    world.offer();
    world.node.turn(NOW).unwrap();
    let error = world.node.close().unwrap_err();
    assert!(error.unsynced > 0, "{error}");
}
