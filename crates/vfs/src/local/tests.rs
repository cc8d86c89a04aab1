//! The real file system, in a temporary directory.

use std::ops::Range;
use std::sync::mpsc;

use bytes::Bytes;

use super::*;
use crate::{Compute, Extent};

fn open(dir: &Path) -> (LocalDisk, mpsc::Receiver<()>) {
    let (wake, woken) = mpsc::channel();
    let disk = LocalDisk::open(dir, &["journal"], Arc::new(move || wake.send(()).unwrap_or_default())).unwrap();
    (disk, woken)
}

fn bytes(done: io::Result<Done>) -> Bytes {
    match done.unwrap() {
        Done::Bytes(bytes) => bytes,
        Done::Parts(parts) => parts.concat().into(),
        Done::Ok | Done::Computed(_) => panic!("no bytes"),
    }
}

fn read(path: &str, offset: u64, len: usize) -> Job {
    Job::Read(Extent { path: path.into(), offset, len })
}

#[test]
fn jobs_of_a_lane_are_done_in_order_and_the_loop_is_woken() {
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, woken) = open(dir.path());
    disk.submit(Lane::Journal, 1, Job::Allocate { path: "journal/a".into(), size: 8192, recycle: None });
    let parts = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"two")];
    disk.submit(Lane::Journal, 2, Job::Write { path: "journal/a".into(), offset: 4096, parts, sync: true, cached: false });
    disk.submit(Lane::Journal, 3, read("journal/a", 4090, 100_000));
    let mut done = Vec::new();
    for _ in 0..3 {
        woken.recv().unwrap();
        done.extend(std::iter::from_fn(|| disk.poll()));
    }
    assert_eq!(done.iter().map(|done| done.token).collect::<Vec<_>>(), [1, 2, 3]);
    let read = bytes(done.pop().unwrap().result);
    assert_eq!(read.len(), 4102);
    assert_eq!(&read[..15], b"\0\0\0\0\0\0onetwo\0\0\0");
    assert!(disk.poll().is_none());
}

#[test]
fn what_takes_long_to_work_out_does_not_hold_the_disk_up() {
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, woken) = open(dir.path());
    // It does not end before something else has been read.
    let (go_on, until) = mpsc::channel::<u32>();
    let until = std::sync::Mutex::new(until);
    let work = Compute::new(move || until.lock().unwrap().recv().unwrap() + 1);
    disk.submit(Lane::Compute, 1, Job::Compute(work));
    disk.submit(Lane::Background, 2, Job::Remove { path: "nothing".into() });
    woken.recv().unwrap();
    assert_eq!(disk.poll().map(|done| done.token), Some(2));
    go_on.send(41).unwrap();
    woken.recv().unwrap();
    let done = disk.poll().expect("worked out").result.unwrap();
    let Done::Computed(found) = done else { panic!("{done:?}") };
    assert_eq!(found.downcast_ref(), Some(&42u32));
}

#[test]
fn files_are_replaced_recycled_gathered_listed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, _woken) = open(dir.path());
    let replace = |text: &'static str| Job::Replace { path: "a/b/c".into(), parts: vec![Bytes::from_static(text.as_bytes())] };
    disk.run(replace("first")).unwrap();
    assert_eq!(bytes(disk.run(read("a/b/c", 0, 9))), "first");
    disk.run(replace("second")).unwrap();
    assert_eq!(bytes(disk.run(read("a/b/c", 0, 9))), "second", "the name means the new file");
    let extent = |offset, len| Extent { path: "a/b/c".into(), offset, len };
    assert_eq!(bytes(disk.run(Job::Gather(vec![extent(4, 2), extent(0, 3)]))), "ndsec");
    assert!(disk.run(Job::Gather(vec![extent(4, 3)])).is_err());
    let recycle = Some("a/b/c".to_owned());
    disk.run(Job::Allocate { path: "a/d".into(), size: 6, recycle: recycle.clone() }).unwrap();
    assert_eq!(bytes(disk.run(read("a/d", 0, 9))), "second");
    disk.run(Job::Allocate { path: "a/e".into(), size: 7, recycle }).unwrap();
    assert_eq!(bytes(disk.run(read("a/e", 0, 9))), "\0\0\0\0\0\0\0");
    assert_eq!(disk.list("a").unwrap(), [("d".to_owned(), 6), ("e".to_owned(), 7)]);
    assert_eq!(disk.list("nowhere").unwrap(), []);
    disk.run(Job::Remove { path: "a/d".into() }).unwrap();
    disk.run(Job::Remove { path: "a/d".into() }).unwrap();
    assert!(disk.run(read("a/d", 0, 1)).is_err());
    assert!(disk.free_bytes().unwrap() > 0);
    assert_ne!(disk.random(), disk.random());
}

/// Many small parts far apart held sixteen times their size.
#[test]
fn what_was_gathered_does_not_hold_the_gaps() {
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, _woken) = open(dir.path());
    disk.run(Job::Replace { path: "x".into(), parts: vec![Bytes::from(vec![1; 1_000_000])] }).unwrap();
    let mut unique = |len: usize, apart: usize| {
        let extents = (0..100).map(|n| Extent { path: "x".into(), offset: (n * apart) as u64, len }).collect();
        let Done::Parts(parts) = disk.run(Job::Gather(extents)).unwrap() else { panic!("no parts") };
        assert!(parts.iter().all(|part| part.len() == len));
        parts.iter().all(Bytes::is_unique)
    };
    assert!(unique(200, 3_000), "each has memory of its own");
    assert!(!unique(2_900, 3_000), "nothing is copied where little lies between");
}

#[test]
fn an_allocation_that_finds_no_room_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, _woken) = open(dir.path());
    let size = disk.free_bytes().unwrap().saturating_mul(2).clamp(1 << 50, i64::MAX as u64 / 2);
    disk.run(Job::Allocate { path: "journal/a".into(), size, recycle: None }).unwrap_err();
    assert_eq!(disk.list("journal").unwrap(), []);
}

#[test]
fn more_parts_than_one_system_call_takes_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, _woken) = open(dir.path());
    let parts: Vec<Bytes> = (0..3000u32).map(|n| Bytes::copy_from_slice(&n.to_le_bytes())).collect();
    disk.run(Job::Replace { path: "x".into(), parts: parts.clone() }).unwrap();
    assert_eq!(bytes(disk.run(read("x", 0, 20_000))), parts.concat());
}

#[test]
fn the_second_process_is_refused_and_told_whose_directory_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, _woken) = open(dir.path());
    let refused = LocalDisk::open(dir.path(), &[], Arc::new(|| {}));
    let Err(error @ OpenError::InUse { .. }) = refused else { panic!("not refused") };
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    drop(disk);
    let (_disk, _woken) = open(dir.path());
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    for dir in [file.clone(), file.join("below")] {
        assert!(matches!(LocalDisk::open(&dir, &[], Arc::new(|| {})), Err(OpenError::NotADirectory { .. })));
    }
}

/// Messages lay there for everybody to read.
#[test]
fn nobody_else_may_read_what_is_kept() {
    use std::os::unix::fs::PermissionsExt as _;
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("data");
    let mode = |path: &str| std::fs::metadata(dir.join(path)).unwrap().permissions().mode() & 0o777;
    let (mut disk, woken) = open(&dir);
    disk.run(Job::Allocate { path: "journal/a".into(), size: 8192, recycle: None }).unwrap();
    disk.run(Job::Replace { path: "checkpoint/b".into(), parts: vec![] }).unwrap();
    let check = || {
        for path in ["", "journal", "checkpoint"] {
            assert_eq!(mode(path), 0o700, "{path}");
        }
        for path in ["LOCK", "journal/a", "checkpoint/b"] {
            assert_eq!(mode(path), 0o600, "{path}");
        }
    };
    check();
    drop((disk, woken));
    // As earlier versions made them.
    for (path, mode) in [("journal", 0o755), ("journal/a", 0o644)] {
        std::fs::set_permissions(dir.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let _again = open(&dir);
    check();
}

#[test]
fn a_directory_to_be_read_is_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, woken) = open(dir.path());
    disk.run(Job::Replace { path: "journal/a".into(), parts: vec![Bytes::from_static(b"kept")] }).unwrap();
    assert!(matches!(LocalDisk::open_read_only(dir.path()), Err(OpenError::InUse { .. })));
    drop((disk, woken));
    std::fs::write(dir.path().join("journal/b.partial"), "x").unwrap();
    let mut disk = LocalDisk::open_read_only(dir.path()).unwrap();
    assert!(matches!(LocalDisk::open(dir.path(), &[], Arc::new(|| {})), Err(OpenError::InUse { .. })));
    assert_eq!(bytes(disk.run(read("journal/a", 0, 10))), b"kept"[..]);
    disk.run(Job::Remove { path: "journal/a".into() }).unwrap_err();
    disk.run(Job::Replace { path: "journal/a".into(), parts: vec![] }).unwrap_err();
    assert_eq!(disk.list("journal").unwrap().len(), 2);
}

#[test]
fn what_was_half_made_is_swept_and_what_was_handed_in_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("journal")).unwrap();
    std::fs::write(dir.path().join("journal/a.partial"), "x").unwrap();
    // Not the broker's: somebody's download beside it.
    std::fs::create_dir(dir.path().join("downloads")).unwrap();
    let foreign = ["film.partial", "downloads/film.partial"].map(|name| dir.path().join(name));
    for path in &foreign {
        std::fs::write(path, "half a film").unwrap();
    }
    let (mut disk, _woken) = open(dir.path());
    assert_eq!(disk.list("journal").unwrap(), []);
    assert!(foreign.iter().all(|path| path.exists()));
    disk.submit(Lane::Background, 1, Job::Replace { path: "b".into(), parts: vec![Bytes::from_static(b"kept")] });
    drop(disk);
    assert_eq!(std::fs::read(dir.path().join("b")).unwrap(), b"kept");
}

/// Through the page cache or around it, at places that allow both or only the former.
#[test]
fn what_was_written_is_read_whichever_way_it_went() {
    const SIZE: usize = 4 * 1024 * 1024;
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, _woken) = open(dir.path());
    disk.run(Job::Allocate { path: "journal/a".into(), size: SIZE as u64, recycle: None }).unwrap();
    let mut wanted = vec![0; SIZE];
    let text: Vec<u8> = (0..SIZE).map(|n| (n % 251) as u8 | 1).collect();
    let writes = [
        // A page, of parts that no disk takes as they lie.
        (4096, vec![1, 4000, 95], true),
        (0, vec![17], false),
        (4090, vec![10], true),
        // More than goes in one piece, with its end at the end of one and beside it.
        (8192, vec![0, 1_000_000, 48_576], true),
        (1_056_768, vec![1_048_577, 4095], true),
        (2_109_440, vec![3 * 4096], true),
        (8192 + 4096, vec![8192], true),
        (SIZE - 4096, vec![4096], true),
    ];
    // And once more, each after the page cache has what is written there.
    let writes = writes.iter().flat_map(|each| [(false, each), (true, each), (false, each)]);
    for (turn, (cached, (offset, lens, sync))) in writes.enumerate() {
        let (offset, sync) = (*offset, *sync);
        let mut end = offset;
        let parts = lens.iter().map(|len| {
            let from = end;
            end += len;
            Bytes::copy_from_slice(&text[from / 2 + turn..from / 2 + turn + len])
        });
        let parts: Vec<Bytes> = parts.collect();
        wanted[offset..end].copy_from_slice(&parts.concat());
        disk.run(Job::Write { path: "journal/a".into(), offset: offset as u64, parts, sync, cached }).unwrap();
        assert!(bytes(disk.run(read("journal/a", 0, SIZE))) == wanted, "after {lens:?} at {offset}");
    }
    if !disk.worker.directly(|| Ok(())).unwrap() {
        eprintln!("not tested: the file system of {} does not write around the page cache", dir.path().display());
    }
}

#[test]
fn a_file_system_that_knows_no_direct_writes_is_asked_once() {
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::new(dir.path());
    assert!(worker.directly(|| Ok(())).unwrap());
    worker.directly(|| Err(io::ErrorKind::StorageFull.into())).unwrap_err();
    assert!(!worker.directly(|| Err(io::ErrorKind::InvalidInput.into())).unwrap(), "what it cannot do is no failure");
    assert!(!worker.directly(|| panic!("asked again")).unwrap());
    let allocate = Job::Allocate { path: "a".into(), size: 8192, recycle: None };
    worker.run(allocate, &mut direct::Buffer::default()).unwrap();
    let write = Job::Write { path: "a".into(), offset: 4096, parts: vec![Bytes::from(vec![7; 4096])], sync: true, cached: false };
    worker.run(write, &mut direct::Buffer::default()).unwrap();
    let found = worker.run(read("a", 0, 9000), &mut direct::Buffer::default()).unwrap().into_bytes();
    assert_eq!(found, [[0; 4096], [7; 4096]].concat());
}

#[test]
fn small_writes_find_zeros_and_nothing_is_filled_over_what_was_written() {
    const SIZE: u64 = 4 * 1024 * 1024;
    const MIB: u64 = 1024 * 1024;
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::new(dir.path());
    let mut buffer = direct::Buffer::default();
    let mut allocate = |path: &str, recycle: Option<&str>| {
        let recycle = recycle.map(str::to_owned);
        worker.run(Job::Allocate { path: path.into(), size: SIZE, recycle }, &mut buffer).unwrap();
    };
    let ahead = |path: &str, part: Range<u64>, sync| {
        let ahead = worker.claim_ahead(path, part.clone(), sync);
        assert_eq!(ahead.start, part.end);
        ahead.end - ahead.start
    };
    allocate("a", None);
    assert_eq!(ahead("a", 0..4096, true), MIB - 4096);
    assert_eq!(ahead("a", 4096..MIB, true), 0, "it is filled");
    assert_eq!(ahead("a", MIB..2 * MIB, true), 0, "a large write");
    assert_eq!(ahead("a", 2 * MIB..2 * MIB + 4096, false), 0, "no sync will wait");
    assert_eq!(ahead("a", 0..4096, true), 0, "before the end of what is written");
    assert_eq!(ahead("a", 2 * MIB + 4096..2 * MIB + 8192, true), MIB - 8192);
    allocate("b", Some("a"));
    assert_eq!(ahead("a", 0..4096, true), 0, "of another process, or gone");
    assert_eq!(ahead("b", 0..3 * MIB, true), 0, "what it held when it had the other name");
    assert_eq!(ahead("b", 3 * MIB + 4095..3 * MIB + 4096, true), MIB - 4096);
    assert!(worker.reserved().is_empty(), "it is written to its end");

    allocate("c", None);
    let mut write = |offset, byte, len, sync| {
        let parts = vec![Bytes::from(vec![byte; len])];
        worker.run(Job::Write { path: "c".into(), offset, parts, sync, cached: !sync }, &mut buffer).unwrap();
    };
    write(4096, 1, 8192, false);
    write(0, 2, 4096, true);
    let found = worker.run(read("c", 0, 16384), &mut direct::Buffer::default()).unwrap().into_bytes();
    assert_eq!(found, [[2; 4096], [1; 4096], [1; 4096], [0; 4096]].concat());
}
