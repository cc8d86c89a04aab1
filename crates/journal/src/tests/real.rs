//! The journal on the real file system.

use std::sync::{Arc, mpsc};

use vfs::local::LocalDisk;

use super::*;

#[test]
fn what_was_confirmed_is_read_back_from_a_real_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for life in 0..3u8 {
        let (wake, woken) = mpsc::channel();
        let mut disk = LocalDisk::open(dir.path(), &[], Arc::new(move || wake.send(()).unwrap_or_default())).unwrap();
        let mut found = Vec::new();
        let recovered = recover(&mut disk, None, &mut |entry| found.push(entry.payload.to_vec())).unwrap();
        assert!(found == expected, "life {life}");
        let mut journal = Journal::create(options(), recovered, &mut disk).unwrap();
        for round in 0..40 {
            let payload = vec![life * 50 + round; 500 * usize::from(round)];
            append(&mut journal, 1, false, &payload);
            expected.push(payload);
            journal.poll(&mut disk);
        }
        while !journal.idle() {
            woken.recv().unwrap();
            while let Some(completion) = disk.poll() {
                journal.completed(completion).unwrap();
            }
            journal.poll(&mut disk);
        }
        assert_eq!(journal.durable(), journal.appended());
    }
}
