//! The simulated disk does to data what real ones do, and the same again from the same seed.

use super::*;

fn write(path: &str, offset: u64, bytes: &[u8], sync: bool) -> Job {
    Job::Write { path: path.into(), offset, parts: vec![Bytes::copy_from_slice(bytes)], sync, cached: false }
}

fn allocate(path: &str, size: u64, recycle: Option<&str>) -> Job {
    Job::Allocate { path: path.into(), size, recycle: recycle.map(str::to_owned) }
}

#[test]
fn what_is_synced_stays_and_what_is_not_is_kept_lost_or_torn() {
    let (mut kept, mut lost, mut mixed) = (0, 0, 0);
    for seed in 0..200 {
        let mut disk = SimulatedDisk::new(seed);
        disk.run(allocate("a/f", 8192, None)).unwrap();
        disk.run(write("a/f", 0, &[1; 4096], true)).unwrap();
        disk.run(write("a/f", 4096, &[2; 4096], false)).unwrap();
        assert_eq!(disk.contents("a/f").unwrap()[4096..], [2; 4096], "programs see it at once");
        disk.crash();
        let after = disk.contents("a/f").unwrap();
        assert_eq!(after[..4096], [1; 4096]);
        assert!(after[4096..].iter().all(|&byte| byte == 0 || byte == 2), "nothing is invented");
        match after[4096..].iter().filter(|&&byte| byte == 2).count() {
            0 => lost += 1,
            4096 => kept += 1,
            _ => mixed += 1,
        }
    }
    assert!(kept > 10 && lost > 10 && mixed > 10, "{kept} {lost} {mixed}");
}

#[test]
fn a_failed_sync_may_lose_what_programs_still_see_and_the_next_one_succeeds() {
    let mut seen_loss = false;
    for seed in 0..50 {
        let mut disk = SimulatedDisk::new(seed);
        disk.run(allocate("f", 4096, None)).unwrap();
        disk.fail_next_sync();
        disk.run(write("f", 0, &[1; 4096], true)).unwrap_err();
        assert_eq!(disk.contents("f").unwrap(), [1; 4096]);
        disk.run(write("f", 0, &[], true)).unwrap();
        disk.crash();
        seen_loss |= disk.contents("f").unwrap() != [1; 4096];
    }
    assert!(seen_loss);
}

#[test]
fn jobs_of_a_lane_keep_their_order_and_vanish_in_a_crash() {
    for seed in 0..50 {
        let mut disk = SimulatedDisk::new(seed);
        disk.submit(Lane::Journal, 1, allocate("f", 512, None));
        disk.submit(Lane::Journal, 2, write("f", 0, &[1; 512], true));
        disk.submit(Lane::Background, 3, allocate("g", 512, None));
        disk.submit(Lane::Background, 4, Job::Remove { path: "g".into() });
        assert_eq!(disk.pending(), 4);
        while disk.step() {}
        let tokens: Vec<Token> = std::iter::from_fn(|| disk.poll()).map(|done| done.token).collect();
        let position = |token| tokens.iter().position(|&other| other == token).unwrap();
        assert!(tokens.len() == 4 && position(1) < position(2) && position(3) < position(4));
        disk.submit(Lane::Journal, 5, write("f", 0, &[2; 512], true));
        disk.submit(Lane::Journal, 6, Job::Remove { path: "f".into() });
        disk.crash();
        assert!(!disk.step() && disk.poll().is_none());
        assert!(disk.contents("f").is_some(), "a job behind the first has not begun");
    }
}

#[test]
fn a_full_disk_refuses_and_recycling_needs_no_room() {
    let mut disk = SimulatedDisk::new(1);
    disk.set_capacity(1000);
    disk.run(allocate("f", 800, None)).unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 200);
    let full = disk.run(allocate("g", 800, None)).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    let replace = Job::Replace { path: "h".into(), parts: vec![Bytes::from(vec![0; 300])] };
    assert_eq!(disk.run(replace).unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.run(allocate("g", 800, Some("f"))).unwrap();
    assert_eq!(disk.files(), [("g".to_owned(), 800)]);
    assert!(disk.flip_bit("g", 6399) && !disk.flip_bit("g", 6400) && !disk.flip_bit("f", 0));
}

#[test]
fn the_same_seed_is_the_same_world() {
    let world = |seed| {
        let mut disk = SimulatedDisk::new(seed);
        disk.set_slow(Some(Lane::Journal));
        disk.run(allocate("f", 1 << 20, None)).unwrap();
        for round in 0..20u8 {
            disk.submit(Lane::Journal, round.into(), write("f", u64::from(round) * 3000, &[round; 5000], round % 3 == 0));
            disk.submit(Lane::Background, round.into(), Job::Remove { path: "g".into() });
            disk.step();
        }
        disk.crash();
        (disk.contents("f"), disk.random())
    };
    assert_eq!(world(7), world(7));
    assert_ne!(world(7), world(8));
}
