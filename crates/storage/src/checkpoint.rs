//! The state, as a file `checkpoint/<begun, 16 hex digits>.ckp` (docs/formats/storage.md).
//!
//! ```text
//! magic "YAMCKP2\0" | next log u32 | next file u64 | catalog length u32 | catalog
//! per log: id u32 | kind u8 (0 queue, 1 stream) | next offset u64 | delivered u64
//!   kind 1: next record's offset u64
//!   per run: kind u8 (0 journal, 1 segment) | first u64 | count u32 | base u64 | newest ms u64 | words u32 | words x settled u64
//!     kind 0: count x (lsn u64, tag u64, length u32)
//!     kind 1: file u64 | data length u64
//!   end of runs u8 = 255
//! end of logs u32 = 2^32-1 | begun at u64 | ended at u64 | crc u32
//! ```
//! The first one, of a directory in which nothing is yet, has no catalog at all.
//! All integers are little-endian. Only durable logs are in it, and of those only persistent records:
//! transient ones are written as settled.
//!
//! It is written in turns, between which the store goes on, so that it is no picture of one moment:
//!
//! ```text
//!   begun at ───┬──────────┬──────────┬── ended at             journal positions
//!            catalog     log 1      log 2   ...                each as it was when its turn came
//!               └───────── replayed ───────────────────── ...
//! ```
//! Recovery replays the journal from where it was *begun*, and what a log had taken in before its turn is replayed onto it once
//! more. That changes nothing, since every frame says where it belongs: a record below the log's next offset is there (or settled)
//! already, settling twice is settling once, of several positions of a record the last one counts, a log that is deleted is gone
//! however often, and one that was made since it was begun is not in here. The catalog is the one part that is replayed as it
//! stands, and it is taken whole, where it was begun. Of each log:
//!
//! - Its next offset is noted at its first turn, and no entry from there on is written: those are replayed.
//! - Its runs are written whole, in order, and none of them is moved into a segment or written anew meanwhile (paging waits), so
//!   that none is met twice or missed.
//!
//! What it holds may be as young as where it *ended*, so that it is written to disk only once the journal is durable up to there;
//! and nothing it holds lies before the oldest record of the moment where it was begun, so that the journal is kept from there on.

use std::collections::HashMap;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest, crc32_iscsi};
use foldhash::fast::FixedState;
use model::Lsn;

use crate::frame::{Fields, LogId, Tag};
use crate::log::{Entry, Home, Log, OFFSET_MAX, Place, Run};

const MAGIC: &[u8; 8] = b"YAMCKP2\0";
/// Of a version that wrote numbers of logs and runs before them, and one position.
const MAGIC_1: &[u8; 8] = b"YAMCKP1\0";
const RUNS_END: u8 = u8::MAX;
/// No log has it: the last id is never given out.
const LOGS_END: u32 = u32::MAX;
/// What a log and a run cost besides their entries, in entries.
const LOG_COST: usize = 8;
const RUN_COST: usize = 4;

pub(crate) fn path(at: Lsn) -> String {
    format!("checkpoint/{:016x}.ckp", at.0)
}

pub(crate) fn parse_name(name: &str) -> Option<Lsn> {
    let at = Lsn(u64::from_str_radix(name.strip_suffix(".ckp")?, 16).ok()?);
    path(at).ends_with(&format!("/{name}")).then_some(at)
}

/// The numbers that the next log and the next segment file get.
#[derive(Clone, Copy)]
pub(crate) struct Next {
    pub log: u32,
    pub file: u64,
}

/// A checkpoint that is being written, part by part.
pub(crate) struct Writer {
    /// Those that are still to be written.
    ids: Vec<LogId>,
    log: Option<Unfinished>,
    parts: Vec<Bytes>,
    digest: Digest,
}

/// A log of which something is written.
struct Unfinished {
    id: LogId,
    /// What is before this offset is written.
    from: u64,
    /// Its next offset when it was begun.
    end: u64,
}

impl Writer {
    /// Begin, with the catalog as it is now and the ids of all logs there are.
    pub fn begin(next: Next, catalog: Bytes, ids: Vec<LogId>) -> Writer {
        let mut head = Vec::with_capacity(24);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&next.log.to_le_bytes());
        head.extend_from_slice(&next.file.to_le_bytes());
        head.extend_from_slice(&(catalog.len() as u32).to_le_bytes());
        let digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        let mut writer = Writer { ids, log: None, parts: Vec::new(), digest };
        writer.put(head.into());
        writer.put(catalog);
        writer
    }

    fn put(&mut self, part: Bytes) {
        self.digest.update(&part);
        self.parts.push(part);
    }

    /// Write about so many entries more. True when everything is written.
    pub fn go_on(&mut self, logs: &HashMap<LogId, Log, FixedState>, entries: usize) -> bool {
        let mut left = entries;
        let mut out = Vec::with_capacity(64 * 1024);
        while left > 0
            && let Some(unfinished) = self.log.take().or_else(|| begin_log(&mut out, &mut self.ids, logs))
        {
            let Some(log) = logs.get(&unfinished.id) else {
                // Deleted since: it will be once more.
                out.push(RUNS_END);
                continue;
            };
            // At least one run, however little may be written.
            self.log = put_runs(&mut out, log, unfinished, &mut left);
            left = left.saturating_sub(LOG_COST);
        }
        if !out.is_empty() {
            self.put(out.into());
        }
        self.ids.is_empty() && self.log.is_none()
    }

    /// All is written, and the journal ends at `ended`: the file's content.
    pub fn finish(mut self, begun: Lsn, ended: Lsn) -> Vec<Bytes> {
        let mut tail = Vec::with_capacity(24);
        tail.extend_from_slice(&LOGS_END.to_le_bytes());
        tail.extend_from_slice(&begun.0.to_le_bytes());
        tail.extend_from_slice(&ended.0.to_le_bytes());
        self.digest.update(&tail);
        tail.extend_from_slice(&(self.digest.finalize() as u32).to_le_bytes());
        self.parts.push(tail.into());
        self.parts
    }
}

/// Begin the next log that is durable and still there.
fn begin_log(out: &mut Vec<u8>, ids: &mut Vec<LogId>, logs: &HashMap<LogId, Log, FixedState>) -> Option<Unfinished> {
    loop {
        let id = ids.pop()?;
        let Some(log) = logs.get(&id).filter(|log| log.durable) else { continue };
        out.extend_from_slice(&id.0.to_le_bytes());
        out.push(u8::from(log.stream.is_some()));
        out.extend_from_slice(&log.next.to_le_bytes());
        out.extend_from_slice(&log.delivered.to_le_bytes());
        if let Some(stream) = &log.stream {
            out.extend_from_slice(&stream.next.to_le_bytes());
        }
        return Some(Unfinished { id, from: 0, end: log.next });
    }
}

/// Write runs of a log as long as entries are left to write. `None`: all of it is written.
fn put_runs(out: &mut Vec<u8>, log: &Log, mut unfinished: Unfinished, left: &mut usize) -> Option<Unfinished> {
    let at = log.runs.partition_point(|run| run.end() <= unfinished.from);
    for run in log.runs.range(at..).take_while(|run| run.first < unfinished.end) {
        if *left == 0 {
            return Some(unfinished);
        }
        let count = run.end().min(unfinished.end) - run.first;
        if run.live > 0 {
            put_run(out, run, count as usize);
        }
        *left = left.saturating_sub(RUN_COST + run.entries.len());
        unfinished.from = run.end();
    }
    out.push(RUNS_END);
    None
}

/// Write the first `count` entries of a run.
fn put_run(out: &mut Vec<u8>, run: &Run, count: usize) {
    let mut settled = run.settled_words().to_vec();
    settled.resize(count.div_ceil(64), 0);
    // Bits beyond the last entry are not entries.
    if !count.is_multiple_of(64)
        && let Some(last) = settled.last_mut()
    {
        *last &= (1 << (count % 64)) - 1;
    }
    let kind = u8::from(matches!(run.home, Home::Segment(_)));
    match &run.home {
        Home::Segment(home) => {
            for (word, transient) in settled.iter_mut().zip(&home.transient) {
                *word |= transient;
            }
        }
        Home::Memory => {
            for (index, entry) in run.entries.iter().take(count).enumerate() {
                let kept = entry.tag.persistent() && entry.place.as_journal().is_some();
                settled[index / 64] |= u64::from(!kept) << (index % 64);
            }
        }
    }
    out.push(kind);
    out.extend_from_slice(&run.first.to_le_bytes());
    out.extend_from_slice(&(count as u32).to_le_bytes());
    out.extend_from_slice(&run.base.to_le_bytes());
    out.extend_from_slice(&run.newest_ms.to_le_bytes());
    out.extend_from_slice(&(settled.len() as u32).to_le_bytes());
    for word in &settled {
        out.extend_from_slice(&word.to_le_bytes());
    }
    match &run.home {
        Home::Segment(home) => {
            out.extend_from_slice(&home.file.to_le_bytes());
            out.extend_from_slice(&home.data_len.to_le_bytes());
        }
        Home::Memory => {
            for entry in run.entries.iter().take(count) {
                out.extend_from_slice(&entry.place.as_journal().unwrap_or(0).to_le_bytes());
                out.extend_from_slice(&entry.tag.0.to_le_bytes());
                out.extend_from_slice(&entry.len.to_le_bytes());
            }
        }
    }
}

/// A checkpoint as read back.
pub(crate) struct Checkpoint<'a> {
    /// Where it was begun: what follows in the journal is replayed.
    pub begun: Lsn,
    /// How far the journal was durable when it was written to disk.
    pub ended: Lsn,
    pub next_log: u32,
    pub next_file: u64,
    pub catalog: &'a [u8],
    pub logs: Vec<(LogId, Log)>,
}

/// `None` where the file is not a whole, undamaged checkpoint of that position.
pub(crate) fn parse(bytes: &[u8], named: Lsn) -> Option<Checkpoint<'_>> {
    read(bytes).filter(|found| found.begun == named)
}

/// The same of whatever position.
pub(crate) fn read(bytes: &[u8]) -> Option<Checkpoint<'_>> {
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    if crc32_iscsi(content) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut fields = Fields(content);
    match &fields.array::<8>()? {
        MAGIC => parse_2(fields),
        MAGIC_1 => parse_1(fields),
        _ => None,
    }
}

fn parse_2(mut fields: Fields<'_>) -> Option<Checkpoint<'_>> {
    let next_log = fields.u32()?;
    let next_file = fields.u64()?;
    let catalog_len = fields.u32()? as usize;
    let catalog = fields.take(catalog_len)?;
    let mut logs = Vec::new();
    loop {
        let id = fields.u32()?;
        if id == LOGS_END {
            break;
        }
        let mut log = take_log(&mut fields, None)?;
        loop {
            let kind = fields.array::<1>()?[0];
            if kind == RUNS_END {
                break;
            }
            add_run(&mut log, take_run(&mut fields, kind)?);
        }
        logs.push((LogId(id), log));
    }
    let (begun, ended) = (Lsn(fields.u64()?), Lsn(fields.u64()?));
    Some(Checkpoint { begun, ended, next_log, next_file, catalog, logs })
}

fn parse_1(mut fields: Fields<'_>) -> Option<Checkpoint<'_>> {
    let at = Lsn(fields.u64()?);
    let next_log = fields.u32()?;
    let next_file = fields.u64()?;
    let catalog_len = fields.u32()? as usize;
    let catalog = fields.take(catalog_len)?;
    let mut logs = Vec::new();
    for _ in 0..fields.u32()? {
        let id = LogId(fields.u32()?);
        let mut runs = 0;
        let mut log = take_log(&mut fields, Some(&mut runs))?;
        for _ in 0..runs {
            let kind = fields.array::<1>()?[0];
            add_run(&mut log, take_run(&mut fields, kind)?);
        }
        logs.push((id, log));
    }
    Some(Checkpoint { begun: at, ended: at, next_log, next_file, catalog, logs })
}

/// A log without its runs. `runs`: their number stands between its fields.
fn take_log(fields: &mut Fields<'_>, runs: Option<&mut u32>) -> Option<Log> {
    let is_stream = fields.array::<1>()?[0] == 1;
    let mut log = if is_stream { Log::new_stream() } else { Log::new(true) };
    log.next = fields.u64().filter(|next| *next < OFFSET_MAX)?;
    log.delivered = fields.u64()?;
    log.marked = log.delivered;
    if let Some(runs) = runs {
        *runs = fields.u32()?;
    }
    if let Some(stream) = &mut log.stream {
        stream.next = fields.u64().filter(|next| *next < OFFSET_MAX)?;
    }
    Some(log)
}

fn add_run(log: &mut Log, run: Run) {
    if run.live > 0 {
        log.live += u64::from(run.live);
        log.runs.push_back(run);
    }
}

fn take_run(fields: &mut Fields<'_>, kind: u8) -> Option<Run> {
    let first = fields.u64()?;
    let count = fields.u32()?;
    let (base, newest_ms) = (fields.u64()?, fields.u64()?);
    let words = fields.u32()? as usize;
    let mut rest = Fields(fields.take(words.checked_mul(8)?)?);
    let settled: Vec<u64> = std::iter::from_fn(|| rest.u64()).collect();
    // As many bits as entries, and none beyond.
    let spare = settled.last().map_or(0, |last| if count.is_multiple_of(64) { 0 } else { last >> (count % 64) });
    if first >= OFFSET_MAX || words > (count as usize).div_ceil(64) || (spare != 0 && words == (count as usize).div_ceil(64)) {
        return None;
    }
    if kind == 1 {
        let mut run = Run::paged(first, count, settled, fields.u64()?, fields.u64()?);
        (run.base, run.newest_ms) = (base, newest_ms);
        return Some(run);
    }
    let mut entries = Fields(fields.take((count as usize).checked_mul(20)?)?);
    let entry = || Some(Entry { place: Place::journal(entries.u64()?), tag: Tag(entries.u64()?), len: entries.u32()? });
    let mut run = Run::loaded(first, std::iter::from_fn(entry).collect(), settled);
    (run.base, run.newest_ms) = (base, newest_ms);
    Some(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_of_version_1_is_read() {
        let mut bytes = MAGIC_1.to_vec();
        let mut put = |field: &[u8]| bytes.extend_from_slice(field);
        put(&4096u64.to_le_bytes());
        put(&8u32.to_le_bytes());
        put(&9u64.to_le_bytes());
        put(&3u32.to_le_bytes());
        put(b"cat");
        // Two logs: a queue with one run of two entries, the first settled; and a stream without any.
        put(&2u32.to_le_bytes());
        put(&1u32.to_le_bytes());
        put(&[0]);
        put(&7u64.to_le_bytes());
        put(&6u64.to_le_bytes());
        put(&1u32.to_le_bytes());
        put(&[0]);
        put(&5u64.to_le_bytes());
        put(&2u32.to_le_bytes());
        put(&[0; 16]);
        put(&1u32.to_le_bytes());
        put(&1u64.to_le_bytes());
        for position in [100u64, 200] {
            put(&position.to_le_bytes());
            put(&Tag::new(true, 0, 0).0.to_le_bytes());
            put(&50u32.to_le_bytes());
        }
        put(&2u32.to_le_bytes());
        put(&[1]);
        put(&3u64.to_le_bytes());
        put(&0u64.to_le_bytes());
        put(&0u32.to_le_bytes());
        put(&33u64.to_le_bytes());
        let crc = crc32_iscsi(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());

        let found = parse(&bytes, Lsn(4096)).unwrap();
        assert_eq!((found.begun, found.ended, found.next_log, found.next_file), (Lsn(4096), Lsn(4096), 8, 9));
        assert_eq!(found.catalog, b"cat");
        let (queue, stream) = (&found.logs[0].1, &found.logs[1].1);
        assert_eq!((queue.next, queue.delivered, queue.live, queue.next_live(0)), (7, 6, 1, Some(6)));
        assert_eq!(queue.runs[0].entry(6).unwrap().place.as_journal(), Some(200));
        assert_eq!((stream.next, stream.stream.as_ref().unwrap().next), (3, 33));
    }
}
