//! Every file of a data directory removed, cut short, changed by a bit and put back as it was earlier, one at a time.
//!
//! A start and the offline check must agree on each: it is refused with the file's name, or harmless, or the very end of a
//! journal that looks as if a write had not ended. Nothing is ever missing in silence.

use std::collections::BTreeMap;

use ::kafka::codec::frame::{self, SIZE_BYTES, Split};
use ::kafka::codec::{Reader, Request, RequestHeader, Response, offset_commit, offset_fetch};
use vfs::{Job, Vfs};

use super::*;
use crate::check;

/// All files of a directory by path.
type Files = BTreeMap<String, Vec<u8>>;

const HEADER_BYTES: usize = 4096;

fn files(disk: &SimulatedDisk) -> Files {
    disk.files().into_iter().map(|(path, _)| (path.clone(), disk.contents(&path).unwrap())).collect()
}

fn disk(files: &Files) -> SimulatedDisk {
    let mut disk = SimulatedDisk::new(2);
    for (path, bytes) in files {
        disk.run(Job::Replace { path: path.clone(), parts: vec![bytes.clone().into()] }).unwrap();
    }
    disk
}

/// Say one thing as a client of Kafka's protocol.
fn ask(world: &mut World, version: i16, request: &Request<'_>) -> Response<'static> {
    let protocol = Protocol::Kafka { host: "here".into(), port: 9092 };
    let session = world.node.connect(protocol, Peer { address: "there".into(), loopback: true }, NOW);
    let header = RequestHeader { api_key: request.key().number(), api_version: version, correlation_id: 1, client_id: None };
    let (mut said, mut heard) = (Vec::new(), Vec::new());
    frame::put_frame(&mut said, |out| {
        header.encode(out);
        request.encode(out, version);
    });
    let payload: &'static [u8] = loop {
        let used = world.node.receive(session, &said, NOW);
        said.drain(..used);
        while world.disk.step() {}
        world.node.turn(NOW).unwrap();
        heard.extend(world.node.output(session).unwrap().take());
        world.node.sent(session);
        if let Ok(Split::Frame(payload)) = frame::split(&heard, 1 << 20) {
            assert_eq!(heard.len(), SIZE_BYTES + payload.len());
            break payload.to_vec().leak();
        }
    };
    let mut reader = Reader::new(payload);
    frame::read_response_header(&mut reader, request.key(), version).unwrap();
    Response::decode(request.key(), &mut reader, version).unwrap()
}

fn commit(world: &mut World, committed_offset: i64) {
    let partitions = vec![offset_commit::RequestPartition { committed_offset, ..Default::default() }];
    let topics = vec![offset_commit::RequestTopic { name: "s", partitions }];
    let request = offset_commit::Request { group_id: "g", topics, ..Default::default() };
    let Response::OffsetCommit(told) = ask(world, 5, &Request::OffsetCommit(request)) else { panic!() };
    assert_eq!(told.topics[0].partitions[0].error_code, 0);
}

fn committed(world: &mut World) -> i64 {
    let topics = Some(vec![offset_fetch::RequestTopic { name: "s", partition_indexes: vec![0] }]);
    let request = offset_fetch::Request { group_id: "g", topics, ..Default::default() };
    let Response::OffsetFetch(told) = ask(world, 5, &Request::OffsetFetch(request)) else { panic!() };
    told.topics[0].partitions[0].committed_offset
}

fn body(number: usize) -> String {
    format!("{number:05}{}", "x".repeat(2_000))
}

/// A world with a queue in segments, one that comes and goes, a stream, and a group, whose journal has been cut again and
/// again; and its files as they were on the way.
fn grown() -> (World, Vec<Files>) {
    let mut world = World::over(SimulatedDisk::new(1), small());
    world.declare_as(durable(), &[]);
    world.declare_as(queue::Declare { queue: "busy", durable: true, ..Default::default() }, &[]);
    world.declare_as(queue::Declare { queue: "s", durable: true, ..Default::default() }, &[("x-queue-type", text("stream"))]);
    let mut earlier = Vec::new();
    for number in 0..240 {
        world.publish_durably("busy", 0, &body(number));
        if number % 4 == 0 {
            world.publish_durably("q", 0, &body(number));
            world.publish_durably("s", 0, &body(number));
        }
        world.talk();
        if number % 20 == 0 {
            world.drain("busy");
            commit(&mut world, number as i64 / 8);
            earlier.push(files(&world.disk));
        }
    }
    assert!(!world.disk.list("segments").unwrap().is_empty(), "nothing was paged out");
    (world, earlier)
}

/// Everything there is to read, and what was said where something could not be.
fn content(mut world: World) -> Vec<String> {
    let mut all = vec![format!("committed {}", committed(&mut world))];
    for name in ["q", "busy"] {
        loop {
            world.client.get(&mut world.said, 1, name, true);
            let events = world.talk();
            all.extend(events.iter().map(|event| format!("{name} {}", &event[..event.len().min(60)])));
            if events.iter().any(|event| event.starts_with("404")) {
                world.client.open_channel(&mut world.said, 1);
                world.talk();
            }
            if events.len() != 1 || !events[0].ends_with('x') {
                break;
            }
        }
    }
    world.client.prefetch(&mut world.said, 1, 1_000);
    let arguments = field::encode_entries(&table(&[("x-stream-offset", text("first"))]));
    let consume = basic::Consume { queue: "s", consumer_tag: "c", arguments: RawTable(&arguments), ..Default::default() };
    world.client.send(&mut world.said, 1, &consume);
    all.extend(world.talk().iter().map(|event| format!("s {}", &event[..event.len().min(60)])));
    all
}

/// What a start says of a directory.
#[derive(Debug, PartialEq)]
enum Start {
    Refused(String),
    Serves(Vec<String>),
}

fn start(files: &Files) -> Start {
    if let Err(error) = Node::open(small(), Box::new(disk(files)), NOW) {
        return Start::Refused(error.to_string());
    }
    Start::Serves(content(World::over(disk(files), small())))
}

/// What the check says is damaged.
fn damaged(files: &Files) -> Vec<String> {
    let mut all = Vec::new();
    let mut report = |finding: crate::Finding| {
        if !finding.harmless {
            all.push(format!("{}: {}", finding.path, finding.what));
        }
    };
    check(&mut disk(files), &mut report).unwrap();
    all
}

/// What is done to a file.
#[derive(Clone, Debug)]
enum Harm {
    Removed,
    CutTo(usize),
    Flipped(usize),
    /// As it was at that time.
    Older(usize),
}

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    /// The start names the file, or the directory where it is missing.
    Refused,
    /// Everything is there.
    Harmless,
    /// The start reads nothing of it. Either nothing that is kept lies there, or the check names it, and whoever comes to
    /// it is told.
    Told,
    /// Only the check reads so much. Where the file lived before under another name, its earlier bytes may be records too.
    CheckTells,
    /// As after a crash in the middle of a write: the last records are not there.
    Torn,
    /// Refused, or everything is there: the test does not know what is still needed.
    Either,
}

/// The roles of the journal's files.
struct Roles {
    checkpoint: u64,
    /// The file that the checkpoint lies in, or the next: a start reads from here on.
    first_read: String,
    /// The last one with content, and where its last block begins and ends in it.
    last: String,
    last_block: std::ops::Range<usize>,
    /// Prepared, with nothing in it.
    spare: Vec<String>,
}

impl Roles {
    fn of(files: &Files) -> Roles {
        let position = |path: &str| u64::from_str_radix(&path[path.len() - 20..path.len() - 4], 16).unwrap();
        let newest = files.keys().rfind(|path| path.starts_with("checkpoint/")).unwrap();
        let checkpoint = position(newest);
        let mut ends: Vec<(String, u64)> = Vec::new();
        let recovered = journal::recover(&mut disk(files), Some(model::Lsn(checkpoint)), &mut |_| {}).unwrap();
        for file in recovered.files {
            ends.push((file.path(), file.end.0 - file.first_lsn.0));
        }
        let (last, length) = ends.iter().rfind(|(_, length)| *length > 0).cloned().unwrap();
        let bytes = &files[&last];
        let end = HEADER_BYTES + length as usize;
        // A block begins with a frame of 24 bytes and the kind 0.
        let begins = |at: &usize| bytes[*at..*at + 4] == [24, 0, 0, 0] && bytes[*at + 8] == 0;
        let start = (HEADER_BYTES..end).step_by(4096).rfind(begins).unwrap();
        let journal = files.keys().filter(|path| path.starts_with("journal/"));
        let spare = journal.clone().filter(|path| position(path) > position(&last)).cloned().collect();
        let first_read = journal.clone().rfind(|path| position(path) <= checkpoint).unwrap().clone();
        Roles { checkpoint, first_read, last, last_block: start..end, spare }
    }

    fn answer(&self, path: &str, harm: &Harm, stopped: bool) -> Answer {
        let at_end = |from: usize| from >= self.last_block.end;
        match (path, harm) {
            // It may have been in place of this one; the journal knows what came since, or refuses.
            (path, Harm::Older(_)) if path.starts_with("checkpoint/") => Answer::Either,
            (path, _) if path.starts_with("checkpoint/") => Answer::Refused,
            (path, Harm::Removed | Harm::CutTo(_)) if path.starts_with("segments/") => Answer::Refused,
            (path, _) if path.starts_with("segments/") => Answer::Told,
            // One copy of the header mends the other.
            (_, Harm::Flipped(byte)) if *byte < HEADER_BYTES => Answer::Harmless,
            (path, Harm::Removed | Harm::Flipped(_)) if self.spare.iter().any(|spare| spare == path) => Answer::Harmless,
            (path, _) if self.spare.iter().any(|spare| spare == path) => Answer::Either,
            (path, Harm::Flipped(byte)) if path == self.last && at_end(*byte) => Answer::Harmless,
            // Nobody vouches for the last block but a checkpoint behind it.
            (path, Harm::Flipped(byte)) if path == self.last && self.last_block.contains(byte) && !stopped => Answer::Torn,
            // The same bytes as a journal that ends there: what a checkpoint has seen is missed, and no more.
            (path, Harm::Older(_)) if path == self.last && !stopped => Answer::Torn,
            (path, _) if path >= self.first_read.as_str() => Answer::Refused,
            // Files before the checkpoint may hold records that are kept.
            (_, Harm::Removed | Harm::CutTo(_)) => Answer::Either,
            (_, Harm::Older(_)) => Answer::CheckTells,
            (_, Harm::Flipped(_)) => Answer::Told,
        }
    }
}

/// The cases of one file.
fn harms(path: &str, bytes: &[u8], roles: &Roles, earlier: &[Files]) -> Vec<Harm> {
    let mut all = vec![Harm::Removed, Harm::CutTo(0), Harm::CutTo(bytes.len() / 2), Harm::CutTo(bytes.len() - 1)];
    let mut places = vec![0, 13, bytes.len() / 3, bytes.len() / 2, bytes.len() - 3];
    if path.starts_with("journal/") {
        all.push(Harm::CutTo(HEADER_BYTES));
        places = vec![9, 2048 + 9, HEADER_BYTES + 3, HEADER_BYTES + 300, bytes.len() / 2];
    }
    if path == roles.last {
        let middle = (roles.last_block.start + roles.last_block.end) / 2;
        places.extend([roles.last_block.start - 100, roles.last_block.start + 5, roles.last_block.start + 40, middle]);
        places.extend([roles.last_block.end].into_iter().filter(|end| *end < bytes.len()));
    }
    // The PAD that ends a block has no byte that is not checked; what lies behind the last block has none that is.
    all.extend(places.into_iter().map(Harm::Flipped));
    let mut versions: Vec<&[u8]> = vec![bytes];
    for (time, files) in earlier.iter().enumerate().rev() {
        if let Some(old) = files.get(path).filter(|old| !versions.contains(&&old[..])) {
            versions.push(old);
            all.push(Harm::Older(time));
        }
    }
    all
}

fn harmed(files: &Files, path: &str, harm: &Harm, earlier: &[Files]) -> Files {
    let mut files = files.clone();
    let bytes = files.get_mut(path).unwrap();
    match harm {
        Harm::CutTo(length) => bytes.truncate(*length),
        Harm::Flipped(byte) => bytes[*byte] ^= 4,
        Harm::Older(time) => bytes.clone_from(&earlier[*time][path]),
        Harm::Removed => {
            files.remove(path);
        }
    }
    files
}

/// Whether a start and the check say what they must.
fn judge(files: &Files, path: &str, answer: Answer, whole: &[String]) -> Result<(), String> {
    let (start, damaged) = (start(files), damaged(files));
    let directory = path.split('/').next().unwrap();
    let names = |words: &str| {
        words.contains(path) || words.contains("no file for position") || words.contains("the checkpoint is missing")
    };
    let fine = match (&start, answer) {
        (Start::Refused(words), Answer::Refused | Answer::Either | Answer::CheckTells) => {
            names(words) && damaged.iter().any(|what| what.starts_with(directory))
        }
        (Start::Serves(found), Answer::Harmless | Answer::Either) => found == whole && damaged.is_empty(),
        (Start::Serves(found), Answer::CheckTells) => {
            damaged.iter().all(|what| what.starts_with(path)) && (found == whole) == damaged.is_empty()
        }
        // The header of a segment is for the check alone.
        (Start::Serves(found), Answer::Told) => match damaged.is_empty() {
            true => found == whole,
            false => damaged.iter().all(|what| what.starts_with(path)) && (found == whole || found.iter().any(|line| said(line))),
        },
        (Start::Serves(found), Answer::Torn) => {
            damaged.is_empty() && found.iter().all(|line| whole.contains(line) || line.starts_with("committed"))
        }
        // Torn before what the checkpoint has seen.
        (Start::Refused(words), Answer::Torn) => names(words) && !damaged.is_empty(),
        _ => false,
    };
    if fine {
        return Ok(());
    }
    let Start::Serves(found) = &start else { return Err(format!("{start:?}; the check: {damaged:?}")) };
    let only = |these: &[String], those: &[String]| these.iter().filter(|line| !those.contains(line)).count();
    let (lost, other) = (only(whole, found), only(found, whole));
    Err(format!("served, {lost} lines are lost and {other} are others; the check: {damaged:?}"))
}

/// A line of [`content`] that says that something cannot be read.
fn said(line: &str) -> bool {
    line.contains("404") || line.contains("Cancel")
}

fn sweep(stopped: bool) {
    let (world, earlier) = grown();
    if stopped {
        world.node.close().unwrap();
    }
    let whole_files = files(&world.disk);
    let Start::Serves(whole) = start(&whole_files) else { panic!("the whole is refused") };
    assert!(whole.len() > 130, "{}", whole.len());
    assert_eq!(damaged(&whole_files), [] as [&str; 0]);
    let roles = Roles::of(&whole_files);
    assert!(roles.checkpoint > 0);
    assert!(!roles.spare.is_empty());
    let mut wrong = Vec::new();
    let mut cases = 0;
    for (path, bytes) in &whole_files {
        for harm in harms(path, bytes, &roles, &earlier) {
            let answer = roles.answer(path, &harm, stopped);
            cases += 1;
            if let Err(told) = judge(&harmed(&whole_files, path, &harm, &earlier), path, answer, &whole) {
                wrong.push(format!("{path} {harm:?} must be {answer:?}: {told}"));
            }
        }
    }
    // The newest checkpoint gone, and an older one there again, under its own name or under the other's.
    let newest = whole_files.keys().rfind(|path| path.starts_with("checkpoint/")).unwrap();
    for (path, bytes) in earlier.iter().flatten().filter(|(path, _)| path.starts_with("checkpoint/") && *path < newest) {
        let mut older = whole_files.clone();
        older.remove(newest);
        older.insert(path.clone(), bytes.clone());
        let mut renamed = whole_files.clone();
        renamed.insert(newest.clone(), bytes.clone());
        cases += 2;
        for (files, name, answer) in [(older, "journal", Answer::Either), (renamed, newest, Answer::Refused)] {
            if let Err(told) = judge(&files, name, answer, &whole) {
                wrong.push(format!("{path} in place of {newest} must be {answer:?}: {told}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cases} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases > 100, "{cases}");
}

#[test]
fn no_harm_to_a_file_of_a_stopped_broker_goes_unnoticed() {
    sweep(true);
}

#[test]
fn no_harm_to_a_file_of_a_killed_broker_goes_unnoticed_but_at_the_very_end() {
    sweep(false);
}
