//! The state at one journal position, as a file `checkpoint/<lsn, 16 hex digits>.ckp` (docs/formats/storage.md).
//!
//! ```text
//! magic "YAMCKP1\0" | lsn u64 | next log u32 | next file u64 | catalog length u32 | catalog | logs u32
//! per log: id u32 | kind u8 (0 queue, 1 stream) | next offset u64 | delivered u64 | runs u32
//!   kind 1: next record's offset u64
//! per run: kind u8 (0 journal, 1 segment) | first u64 | count u32 | base u64 | newest ms u64 | words u32 | words x settled u64
//!   kind 0: count x (lsn u64, tag u64, length u32)
//!   kind 1: file u64 | data length u64
//! crc u32
//! ```
//! The first one, of a directory in which nothing is yet, has no catalog at all.
//! All integers are little-endian. Only durable logs are in it, and of those only persistent records:
//! transient ones are written as settled.

use bytes::Bytes;
use crc_fast::crc32_iscsi;
use model::Lsn;

use crate::frame::{Fields, LogId, Tag};
use crate::log::{Entry, Home, Log, OFFSET_MAX, Place, Run};

const MAGIC: &[u8; 8] = b"YAMCKP1\0";

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

pub(crate) fn encode<'a>(at: Lsn, next: Next, catalog: &[u8], logs: impl Iterator<Item = (LogId, &'a Log)>) -> Bytes {
    let mut out = Vec::with_capacity(64 * 1024 + catalog.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&at.0.to_le_bytes());
    out.extend_from_slice(&next.log.to_le_bytes());
    out.extend_from_slice(&next.file.to_le_bytes());
    out.extend_from_slice(&(catalog.len() as u32).to_le_bytes());
    out.extend_from_slice(catalog);
    let mut logs: Vec<_> = logs.filter(|(_, log)| log.durable).collect();
    logs.sort_unstable_by_key(|(id, _)| *id);
    out.extend_from_slice(&(logs.len() as u32).to_le_bytes());
    for (id, log) in logs {
        out.extend_from_slice(&id.0.to_le_bytes());
        put_log(&mut out, log);
    }
    let crc = crc32_iscsi(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out.into()
}

fn put_log(out: &mut Vec<u8>, log: &Log) {
    out.push(u8::from(log.stream.is_some()));
    out.extend_from_slice(&log.next.to_le_bytes());
    out.extend_from_slice(&log.delivered.to_le_bytes());
    let runs: Vec<_> = log.runs.iter().filter(|run| run.live > 0).collect();
    out.extend_from_slice(&(runs.len() as u32).to_le_bytes());
    if let Some(stream) = &log.stream {
        out.extend_from_slice(&stream.next.to_le_bytes());
    }
    for run in runs {
        put_run(out, run);
    }
}

fn put_run(out: &mut Vec<u8>, run: &Run) {
    let mut settled = run.settled_words().to_vec();
    settled.resize((run.count as usize).div_ceil(64), 0);
    let kind = u8::from(matches!(run.home, Home::Segment(_)));
    match &run.home {
        Home::Segment(home) => {
            for (word, transient) in settled.iter_mut().zip(&home.transient) {
                *word |= transient;
            }
        }
        Home::Memory => {
            for (index, entry) in run.entries.iter().enumerate() {
                let kept = entry.tag.persistent() && entry.place.as_journal().is_some();
                settled[index / 64] |= u64::from(!kept) << (index % 64);
            }
        }
    }
    out.push(kind);
    out.extend_from_slice(&run.first.to_le_bytes());
    out.extend_from_slice(&run.count.to_le_bytes());
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
            for entry in &run.entries {
                out.extend_from_slice(&entry.place.as_journal().unwrap_or(0).to_le_bytes());
                out.extend_from_slice(&entry.tag.0.to_le_bytes());
                out.extend_from_slice(&entry.len.to_le_bytes());
            }
        }
    }
}

/// A checkpoint as read back.
pub(crate) struct Checkpoint<'a> {
    pub at: Lsn,
    pub next_log: u32,
    pub next_file: u64,
    pub catalog: &'a [u8],
    pub logs: Vec<(LogId, Log)>,
}

/// `None` where the file is not a whole, undamaged checkpoint of that position.
pub(crate) fn parse(bytes: &[u8], named: Lsn) -> Option<Checkpoint<'_>> {
    read(bytes).filter(|found| found.at == named)
}

/// The same of whatever position.
pub(crate) fn read(bytes: &[u8]) -> Option<Checkpoint<'_>> {
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    if crc32_iscsi(content) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut fields = Fields(content);
    if &fields.array::<8>()? != MAGIC {
        return None;
    }
    let at = Lsn(fields.u64()?);
    let next_log = fields.u32()?;
    let next_file = fields.u64()?;
    let catalog_len = fields.u32()? as usize;
    let catalog = fields.take(catalog_len)?;
    let mut logs = Vec::new();
    for _ in 0..fields.u32()? {
        let id = LogId(fields.u32()?);
        logs.push((id, take_log(&mut fields)?));
    }
    Some(Checkpoint { at, next_log, next_file, catalog, logs })
}

fn take_log(fields: &mut Fields<'_>) -> Option<Log> {
    let is_stream = fields.array::<1>()?[0] == 1;
    let mut log = if is_stream { Log::new_stream() } else { Log::new(true) };
    log.next = fields.u64().filter(|next| *next < OFFSET_MAX)?;
    log.delivered = fields.u64()?;
    log.marked = log.delivered;
    let runs = fields.u32()?;
    if let Some(stream) = &mut log.stream {
        stream.next = fields.u64().filter(|next| *next < OFFSET_MAX)?;
    }
    for _ in 0..runs {
        let run = take_run(fields)?;
        if run.live > 0 {
            log.live += u64::from(run.live);
            log.runs.push_back(run);
        }
    }
    Some(log)
}

fn take_run(fields: &mut Fields<'_>) -> Option<Run> {
    let kind = fields.array::<1>()?[0];
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
