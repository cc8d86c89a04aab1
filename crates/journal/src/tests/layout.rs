//! Where frames lie, what is in memory, how files come and go.

use super::*;
use crate::frame::ALIGN_BYTES;

#[test]
fn what_is_appended_is_durable_after_the_sync_and_read_back() {
    let mut disk = SimulatedDisk::new(1);
    let (mut journal, _) = begin(&mut disk);
    assert_eq!((journal.appended(), journal.durable(), journal.unsynced_bytes()), (Lsn(0), Lsn(0), 0));
    let frames: Vec<Written> =
        (1..=50).map(|kind| append(&mut journal, kind, kind % 5 == 1, &vec![kind; usize::from(kind) * 7])).collect();
    assert_eq!(journal.durable(), Lsn(0), "nothing is durable before it is synced");
    assert!(journal.unsynced_bytes() > 0);
    settle(&mut journal, &mut disk).unwrap();
    assert!(journal.durable() >= Lsn(frames[49].end));
    assert_eq!(journal.durable(), journal.appended());
    assert!(journal.idle());
    disk.crash();
    let (recovered, found) = read_all(&mut disk, None).unwrap();
    assert_eq!(found, frames);
    assert_eq!((recovered.end, recovered.torn_bytes), (journal.durable(), 0));
    let (_, found) = read_all(&mut disk, Some(Lsn(frames[20].start - 12))).unwrap();
    assert_eq!(found, frames[20..], "reading can begin at any frame");
    let (_, found) = read_all(&mut disk, Some(recovered.end)).unwrap();
    assert_eq!(found, []);
}

#[test]
fn while_one_block_is_in_flight_the_next_gathers() {
    let mut disk = SimulatedDisk::new(1);
    let (mut journal, _) = begin(&mut disk);
    settle(&mut journal, &mut disk).unwrap();
    let a = append(&mut journal, 1, false, b"a");
    journal.poll(&mut disk);
    let b = append(&mut journal, 1, false, b"b");
    let c = append(&mut journal, 1, false, b"c");
    journal.poll(&mut disk);
    assert_eq!(disk.pending(), 1, "only one block is in flight");
    assert_eq!(b.start / ALIGN_BYTES, 1, "a new block begins at a new sector");
    assert_eq!(b.start, ALIGN_BYTES + 24 + 12);
    assert_eq!(c.start, b.end + 12, "frames of a block lie side by side");
    assert!(disk.step());
    take(&mut journal, &mut disk).unwrap();
    assert_eq!(journal.durable(), Lsn(ALIGN_BYTES));
    assert!(journal.durable() >= Lsn(a.end) && journal.durable() < Lsn(b.end));
    settle(&mut journal, &mut disk).unwrap();
    assert_eq!(journal.durable(), Lsn(2 * ALIGN_BYTES), "b and c went in one block");
}

#[test]
fn bytes_are_found_in_memory_and_on_disk_at_every_stage() {
    let mut disk = SimulatedDisk::new(2);
    let (mut journal, _) = begin(&mut disk);
    let mut all = Vec::new();
    for round in 0..40u8 {
        let len = if round % 7 == 0 { 40_000 } else { usize::from(round) * 50 };
        all.push(append(&mut journal, 1, false, &vec![round; len]));
        for frame in &all {
            let pos = Lsn(frame.start);
            match journal.cached(pos, frame.payload.len()) {
                Some(stored) => {
                    assert_eq!(stored.bytes, frame.payload);
                    assert!(stored.buffer.is_some() || frame.payload.len() < 40_000, "what is large can be shared at once");
                }
                None => {
                    assert!(journal.durable().0 >= frame.end, "what is not on disk is in memory");
                    assert_eq!(read_at(&mut disk, &journal, frame.start, frame.payload.len()).unwrap(), frame.payload);
                }
            }
        }
        if round % 3 == 0 {
            journal.poll(&mut disk);
        }
        if round % 5 == 0 {
            disk.step();
            take(&mut journal, &mut disk).unwrap();
        }
    }
    settle(&mut journal, &mut disk).unwrap();
    append(&mut journal, 1, false, b"x");
    settle(&mut journal, &mut disk).unwrap();
    let first = &all[0];
    assert!(journal.cached(Lsn(first.start), 40_000).is_none(), "the cache is bounded");
    let (extent, start) = journal.extent(Lsn(first.start), 100, 1000).unwrap();
    assert_eq!((extent.len, start), (1100, Lsn(first.start)));
    journal.insert_cached(start, Bytes::from(vec![0; 1100]));
    assert!(journal.cached(Lsn(first.start + 50), 1000).is_some());
    let last = journal.durable().0 - 10;
    assert_eq!(journal.extent(Lsn(last), 10, 1 << 20).unwrap().0.len, 10, "nothing is read beyond the durable end");
    assert!(journal.extent(Lsn(last), 11, 0).is_none());
}

#[test]
fn no_frame_crosses_a_file_and_the_next_file_is_allocated_ahead() {
    let mut disk = SimulatedDisk::new(3);
    let (mut journal, _) = begin(&mut disk);
    settle(&mut journal, &mut disk).unwrap();
    assert_eq!(disk.files().len(), 2, "one to fill and one ahead");
    assert_eq!(journal.room(), 2 * SEGMENT_BYTES);
    let mut frames = Vec::new();
    for round in 0..60u8 {
        // Sizes that leave every kind of rest at a file's end.
        frames.push(append(&mut journal, 1, round % 4 != 3, &vec![round; 9_000 + usize::from(round) * 13]));
        if round % 4 == 0 {
            settle(&mut journal, &mut disk).unwrap();
        }
    }
    settle(&mut journal, &mut disk).unwrap();
    for frame in &frames {
        assert_eq!((frame.start - 12) / SEGMENT_BYTES, (frame.end - 1) / SEGMENT_BYTES);
    }
    let files: Vec<_> = journal.files().collect();
    assert!(files.len() > 5);
    assert!(files.windows(2).all(|pair| pair[0].end == pair[1].first_lsn));
    disk.crash();
    let (recovered, found) = read_all(&mut disk, None).unwrap();
    assert_eq!(found, frames);
    assert_eq!(recovered.files, files);
}

#[test]
fn every_rest_at_the_end_of_a_file_is_left_correctly() {
    for rest in 0..60usize {
        let mut disk = SimulatedDisk::new(4);
        let (mut journal, _) = begin(&mut disk);
        let len = SEGMENT_BYTES as usize - 24 - 12 - rest;
        let frames = [append(&mut journal, 1, true, &vec![1; len]), append(&mut journal, 2, false, &[2; 100])];
        settle(&mut journal, &mut disk).unwrap();
        assert_eq!(frames[1].start, SEGMENT_BYTES + 36);
        assert_eq!(read_all(&mut disk, None).unwrap().1, frames, "rest {rest}");
    }
}

#[test]
fn old_files_are_recycled_and_the_others_removed() {
    let mut disk = SimulatedDisk::new(5);
    let (mut journal, _) = begin(&mut disk);
    let mut frames = Vec::new();
    for round in 0..200u8 {
        frames.push(append(&mut journal, 1, false, &[round; 5000]));
        settle(&mut journal, &mut disk).unwrap();
        if round % 20 == 19 {
            let keep = frames[frames.len() - 5].start - 12;
            journal.cut(Lsn(keep));
            settle(&mut journal, &mut disk).unwrap();
            assert!(disk.files().len() <= 6, "{:?}", disk.files());
            assert!(journal.files().next().unwrap().first_lsn.0 <= keep);
            disk.kill();
            let (_, found) = read_all(&mut disk, Some(Lsn(keep))).unwrap();
            assert_eq!(found, frames[frames.len() - 5..], "old bytes of recycled files never parse");
        }
    }
    assert!(journal.extent(Lsn(frames[0].start), 1, 0).is_none());
    let missing = read_all(&mut disk, Some(Lsn(frames[0].start))).unwrap_err();
    assert!(matches!(missing, RecoverError::Missing { .. }), "{missing}");
}

#[test]
fn as_many_cut_files_are_kept_as_wanted_and_fewer_where_space_is_short() {
    let mut disk = SimulatedDisk::new(5);
    let wanted = Options { spare_files: 5, ..options() };
    let mut journal = Journal::create(wanted, Recovered::default(), &mut disk).unwrap();
    let fill = |journal: &mut Journal, disk: &mut SimulatedDisk| {
        for _ in 0..90 {
            append(journal, 1, false, &[1; 5000]);
            settle(journal, disk).unwrap();
        }
        journal.cut(journal.durable());
        settle(journal, disk).unwrap();
    };
    fill(&mut journal, &mut disk);
    let files = disk.files().len();
    assert_eq!(files, 2 + 5, "the one being filled, one ahead, five to be used again");
    fill(&mut journal, &mut disk);
    assert_eq!(disk.files().len(), files);
    journal.set_short_of_space(true);
    settle(&mut journal, &mut disk).unwrap();
    assert_eq!(disk.files().len(), 2 + 2);
}

#[test]
fn a_full_disk_leaves_what_room_there_is_and_comes_back_by_itself() {
    let mut disk = SimulatedDisk::new(6);
    let (mut journal, _) = begin(&mut disk);
    settle(&mut journal, &mut disk).unwrap();
    disk.set_capacity(2 * (SEGMENT_BYTES + 4096) + 1000);
    let mut frames = Vec::new();
    while !journal.disk_full() {
        frames.push(append(&mut journal, 1, false, &[7; 3000]));
        settle(&mut journal, &mut disk).unwrap();
    }
    assert!(journal.room() > SEGMENT_BYTES / 2 && journal.room() < SEGMENT_BYTES);
    while journal.room() > 8192 {
        frames.push(append(&mut journal, 1, false, &[8; 3000]));
        settle(&mut journal, &mut disk).unwrap();
    }
    // Beyond the room appends wait in memory.
    frames.push(append(&mut journal, 1, false, &[9; 20_000]));
    settle(&mut journal, &mut disk).unwrap();
    assert!(journal.durable() < Lsn(frames.last().unwrap().end));
    assert_eq!(journal.room(), 0);
    journal.retry_allocation();
    settle(&mut journal, &mut disk).unwrap();
    assert!(journal.disk_full());
    // The first file is not needed any more: it is recycled, and everything goes on.
    journal.cut(Lsn(SEGMENT_BYTES));
    settle(&mut journal, &mut disk).unwrap();
    assert!(journal.durable() >= Lsn(frames.last().unwrap().end));
    disk.set_capacity(1 << 30);
    journal.retry_allocation();
    settle(&mut journal, &mut disk).unwrap();
    assert!(!journal.disk_full() && journal.idle());
    disk.crash();
    let kept: Vec<_> = frames.iter().filter(|frame| frame.start >= SEGMENT_BYTES).cloned().collect();
    assert_eq!(read_all(&mut disk, Some(Lsn(SEGMENT_BYTES))).unwrap().1, kept);
}

#[test]
fn the_start_tells_that_the_disk_is_full() {
    let mut disk = SimulatedDisk::new(7);
    disk.set_capacity(1000);
    let Err(error) = Journal::create(options(), Recovered::default(), &mut disk) else { panic!("no error") };
    assert!(error.to_string().contains("free"), "{error}");
}

#[test]
fn on_a_nearly_full_disk_the_start_makes_do_with_a_small_file() {
    let mut disk = SimulatedDisk::new(7);
    let options = Options { segment_bytes: 16 << 20, ..options() };
    let mut journal = Journal::create(options.clone(), Recovered::default(), &mut disk).unwrap();
    let before = append(&mut journal, 1, false, &vec![1; 12 << 20]);
    settle(&mut journal, &mut disk).unwrap();
    disk.kill();
    let spare = disk.files().last().unwrap().0.clone();
    disk.run(Job::Remove { path: spare }).unwrap();
    disk.set_capacity((16 << 20) + (5 << 20));
    let (recovered, _) = read_all(&mut disk, None).unwrap();
    let mut journal = Journal::create(options, recovered, &mut disk).unwrap();
    settle(&mut journal, &mut disk).unwrap();
    assert!(journal.disk_full());
    assert_eq!(journal.room(), 4 << 20);
    let small = append(&mut journal, 1, false, b"settled");
    settle(&mut journal, &mut disk).unwrap();
    // That makes the old file superfluous, and the next one is as large as ever.
    journal.cut(Lsn(before.end + 4096));
    let large = append(&mut journal, 1, false, &vec![2; 12 << 20]);
    settle(&mut journal, &mut disk).unwrap();
    assert!(journal.durable() >= Lsn(large.end));
    disk.crash();
    assert!(read_all(&mut disk, Some(Lsn(small.start - 12))).unwrap().1 == [small, large]);
}

#[test]
fn large_gatherings_are_split_into_blocks() {
    let mut disk = SimulatedDisk::new(8);
    let options = Options { segment_bytes: 64 << 20, ..options() };
    let mut journal = Journal::create(options, Recovered::default(), &mut disk).unwrap();
    let frames: Vec<Written> = (0..100u8).map(|n| append(&mut journal, 1, true, &vec![n; 300_000])).collect();
    let last = append(&mut journal, 1, false, &vec![3; 17 << 20]);
    journal.poll(&mut disk);
    let mut blocks = 0;
    while journal.unsynced_bytes() > 0 {
        let before = journal.durable();
        assert!(disk.step());
        take(&mut journal, &mut disk).unwrap();
        blocks += u32::from(journal.durable() > before);
        journal.poll(&mut disk);
    }
    assert_eq!(blocks, 5, "four of 8 MiB and the large frame");
    settle(&mut journal, &mut disk).unwrap();
    let found = read_all(&mut disk, None).unwrap().1;
    assert!(found.len() == 101 && found[..100] == frames && found[100] == last);
}
