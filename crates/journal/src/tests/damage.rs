//! Torn is cut, corrupt is refused, failed is over.

use proptest::prelude::*;

use super::*;

/// A journal of `blocks` blocks of one frame each, the last one written but not confirmed.
fn some_blocks(disk: &mut SimulatedDisk, blocks: u8) -> Vec<Written> {
    let (mut journal, _) = begin(disk);
    let mut frames = Vec::new();
    for block in 0..blocks {
        frames.push(append(&mut journal, 1, false, &vec![block; 1000 * usize::from(block + 1)]));
        settle(&mut journal, disk).unwrap();
    }
    frames
}

fn path(first_lsn: u64) -> String {
    crate::file::path(first_lsn)
}

#[test]
fn a_torn_last_block_is_cut_and_the_journal_goes_on_behind_it() {
    let mut disk = SimulatedDisk::new(1);
    let frames = some_blocks(&mut disk, 5);
    assert!(disk.flip_bit(&path(0), (4096 + frames[4].end - 1) * 8));
    let (recovered, found) = read_all(&mut disk, None).unwrap();
    assert_eq!(found, frames[..4]);
    assert_eq!(recovered.end, Lsn(frames[4].start - 12));
    assert_eq!(recovered.torn_bytes, 8192 - 24);
    let mut journal = Journal::create(options(), recovered, &mut disk).unwrap();
    let next = append(&mut journal, 2, false, b"next");
    assert!(next.start > frames[4].end, "no position is given twice");
    settle(&mut journal, &mut disk).unwrap();
    let (_, found) = read_all(&mut disk, None).unwrap();
    assert_eq!(found[..4], frames[..4]);
    assert_eq!(found[4..], [next]);
}

#[test]
fn a_damaged_byte_with_a_block_behind_it_is_refused() {
    let mut disk = SimulatedDisk::new(1);
    let frames = some_blocks(&mut disk, 5);
    let last_block = frames[4].start - 36;
    for position in (0..last_block).step_by(97) {
        disk.flip_bit(&path(0), (4096 + position) * 8 + position % 8);
        let error = read_all(&mut disk, None).unwrap_err();
        let RecoverError::Corrupt { path: damaged, lsn, .. } = &error else { panic!("{error}") };
        assert_eq!(*damaged, path(0));
        assert!(lsn.0 <= position && position < lsn.0 + 8192, "{lsn} is told for {position}");
        assert!(error.to_string().contains("yam check"));
        disk.flip_bit(&path(0), (4096 + position) * 8 + position % 8);
    }
    assert_eq!(read_all(&mut disk, None).unwrap().1, frames);
}

#[test]
fn what_a_later_incarnation_vouched_for_is_refused_when_damaged() {
    let mut disk = SimulatedDisk::new(2);
    let frames = some_blocks(&mut disk, 3);
    begin(&mut disk);
    // The last block of the first incarnation: without the second one this would be a torn tail.
    disk.flip_bit(&path(0), (4096 + frames[2].start) * 8);
    assert!(matches!(read_all(&mut disk, None).unwrap_err(), RecoverError::Corrupt { .. }));
}

#[test]
fn a_header_is_mended_by_its_copy_and_two_damaged_ones_hide_nothing() {
    let mut disk = SimulatedDisk::new(3);
    let frames = some_blocks(&mut disk, 3);
    disk.flip_bit(&path(0), 20 * 8);
    assert_eq!(read_all(&mut disk, None).unwrap().1, frames);
    disk.flip_bit(&path(0), (2048 + 35) * 8);
    let error = read_all(&mut disk, None).unwrap_err();
    assert!(error.to_string().contains("header"), "{error}");
}

#[test]
fn a_missing_file_is_told() {
    let mut disk = SimulatedDisk::new(4);
    let (mut journal, _) = begin(&mut disk);
    let frames: Vec<_> = (0..30).map(|n| append(&mut journal, 1, false, &[n; 9000])).collect();
    settle(&mut journal, &mut disk).unwrap();
    disk.run(Job::Remove { path: path(SEGMENT_BYTES) }).unwrap();
    let error = read_all(&mut disk, None).unwrap_err();
    assert!(matches!(error, RecoverError::Missing { lsn: Lsn(SEGMENT_BYTES), .. }), "{error}");
    let beyond = read_all(&mut disk, Some(Lsn(1 << 40))).unwrap_err();
    assert!(matches!(beyond, RecoverError::Missing { .. }), "a checkpoint beyond the journal: its end is lost: {beyond}");
    assert!(read_all(&mut SimulatedDisk::new(1), Some(Lsn(5))).is_err());
    assert_eq!(read_all(&mut disk, Some(Lsn(2 * SEGMENT_BYTES))).unwrap().1.last(), frames.last());
}

/// The end of a journal that was lost looked like a journal that ends there.
#[test]
fn a_missing_last_file_is_told_where_the_one_before_says_that_it_was_there() {
    let mut disk = SimulatedDisk::new(4);
    let (mut journal, _) = begin(&mut disk);
    for n in 0..30 {
        append(&mut journal, 1, false, &[n; 9000]);
        settle(&mut journal, &mut disk).unwrap();
    }
    let files: Vec<String> = disk.files().into_iter().map(|(path, _)| path).collect();
    let [.., last, spare] = &files[..] else { panic!("{files:?}") };
    let (kept, empty) = (disk.contents(last).unwrap(), disk.contents(spare).unwrap());
    disk.run(Job::Remove { path: spare.clone() }).unwrap();
    assert!(read_all(&mut disk, None).is_ok(), "what was only prepared is not missed");
    for put_back in [None, Some(vec![0; kept.len()]), Some(empty)] {
        disk.run(Job::Remove { path: last.clone() }).unwrap();
        if let Some(bytes) = put_back {
            disk.run(Job::Replace { path: last.clone(), parts: vec![bytes.into()] }).unwrap();
        }
        let error = read_all(&mut disk, None).unwrap_err();
        assert!(matches!(error, RecoverError::Missing { .. }), "{error}");
    }
}

#[test]
fn a_file_that_is_cut_short_is_told_and_so_is_one_between_two_starts_that_is_gone() {
    let mut disk = SimulatedDisk::new(4);
    some_blocks(&mut disk, 3);
    let whole = disk.contents(&path(0)).unwrap();
    // Behind the content too: files are made as long as they will be.
    for length in [4095, 4096, 4096 + 9000, whole.len() - 1] {
        disk.run(Job::Replace { path: path(0), parts: vec![whole[..length].to_vec().into()] }).unwrap();
        let error = read_all(&mut disk, None).unwrap_err();
        assert!(matches!(&error, RecoverError::Corrupt { path: named, .. } if *named == path(0)), "{length}: {error}");
    }
    disk.run(Job::Replace { path: path(0), parts: vec![whole.into()] }).unwrap();
    // The second start's first file is gone; the one behind it had been prepared.
    some_blocks(&mut disk, 3);
    let files: Vec<String> = disk.files().into_iter().map(|(path, _)| path).collect();
    let [_, second, _] = &files[..] else { panic!("{files:?}") };
    disk.run(Job::Remove { path: second.clone() }).unwrap();
    let error = read_all(&mut disk, None).unwrap_err();
    assert!(matches!(error, RecoverError::Missing { lsn: Lsn(SEGMENT_BYTES), .. }), "{error}");
}

#[test]
fn a_failed_sync_ends_the_journal_for_ever_and_what_was_confirmed_is_there() {
    for seed in 0..100 {
        let mut disk = SimulatedDisk::new(seed);
        let (mut journal, _) = begin(&mut disk);
        let mut frames = vec![append(&mut journal, 1, false, &[1; 5000])];
        settle(&mut journal, &mut disk).unwrap();
        let durable = journal.durable();
        frames.push(append(&mut journal, 1, false, &[2; 5000]));
        disk.fail_next_sync();
        let poisoned = settle(&mut journal, &mut disk).unwrap_err();
        assert!(poisoned.reason.contains("simulated"), "{poisoned}");
        append(&mut journal, 1, false, &[3; 5000]);
        journal.poll(&mut disk);
        assert_eq!((disk.pending(), journal.durable()), (0, durable), "nothing is tried again");
        // The process exits; the machine stays up, and its cache shows what may not be on the platter.
        disk.kill();
        let (mut journal, found) = begin(&mut disk);
        assert!(found == frames || found == frames[..1]);
        let next = append(&mut journal, 1, false, b"next");
        settle(&mut journal, &mut disk).unwrap();
        disk.crash();
        let again = read_all(&mut disk, None).unwrap().1;
        assert_eq!(again, [&found[..], &[next]].concat(), "what recovery handed on is safe, seed {seed}");
    }
}

#[test]
fn the_relaxed_mode_is_cut_where_it_was_torn() {
    for seed in 0..100 {
        let mut disk = SimulatedDisk::new(seed);
        let relaxed = Options { sync: false, ..options() };
        let mut journal = Journal::create(relaxed.clone(), Recovered::default(), &mut disk).unwrap();
        let mut frames = Vec::new();
        for block in 0..30 {
            frames.push(append(&mut journal, 1, false, &[block; 7000]));
            settle(&mut journal, &mut disk).unwrap();
            assert!(journal.durable() >= Lsn(frames.last().unwrap().end));
        }
        disk.crash();
        let (recovered, found) = read_all(&mut disk, Some(Lsn(20_000))).unwrap();
        let skipped = frames.iter().take_while(|frame| frame.start < 20_000 + 12).count();
        assert!(found.is_empty() || frames[skipped..].starts_with(&found), "seed {seed}");
        let mut journal = Journal::create(relaxed, recovered, &mut disk).unwrap();
        append(&mut journal, 1, false, b"next");
        settle(&mut journal, &mut disk).unwrap();
        read_all(&mut disk, None).unwrap();
    }
}

#[test]
fn another_format_is_named() {
    for version in [1, crate::file::VERSION as u8 + 1] {
        let mut disk = SimulatedDisk::new(5);
        let mut header = crate::file::FileHeader {
            incarnation: 1,
            first_lsn: 0,
            previous_end: 0,
            segment_bytes: 4096,
            relaxed: false,
            checkpointed: false,
        }
        .encode();
        header[8] = version;
        let crc = crc_fast::crc32_iscsi(&header[..56]);
        header[56..60].copy_from_slice(&crc.to_le_bytes());
        header[64..70].copy_from_slice(b"12.3.4");
        disk.run(Job::Replace { path: path(0), parts: vec![Bytes::from(header)] }).unwrap();
        let error = read_all(&mut disk, None).unwrap_err();
        assert!(error.to_string().contains("12.3.4"), "{error}");
        assert!(matches!(error, RecoverError::Version { version: found, .. } if found == u32::from(version)), "{error}");
    }
}

/// The files of a small journal with two incarnations, one after another.
fn specimen() -> Vec<u8> {
    let mut disk = SimulatedDisk::new(9);
    some_blocks(&mut disk, 5);
    some_blocks(&mut disk, 3);
    disk.files().iter().flat_map(|(path, _)| disk.contents(path).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_bytes_make_recovery_panic(bytes in proptest::collection::vec(any::<u8>(), 0..20_000)) {
        crate::fuzz::fuzz_recover(&bytes);
    }

    #[test]
    fn no_mutation_of_a_journal_makes_recovery_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        length in any::<prop::sample::Index>(),
        parts in 0u8..3,
    ) {
        let mut bytes = specimen();
        for (at, value) in changes {
            *at.get_mut(&mut bytes) = value;
        }
        bytes.truncate(length.index(bytes.len() * 2));
        bytes.insert(0, parts);
        crate::fuzz::fuzz_recover(&bytes);
    }
}
