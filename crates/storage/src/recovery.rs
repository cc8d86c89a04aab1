//! From files to state: the newest checkpoint, then every later frame of the journal, in order.

use std::io;

use journal::{Journal, RecoverError};
use model::Lsn;
use vfs::{Done, Extent, Job, Vfs};

use crate::checkpoint;
use crate::frame::{self, Fields, LogId, PublishFrame};
use crate::log::{Entry, Home, Log, OFFSET_MAX, Place};
use crate::segment;
use crate::store::{Options, Store};

/// Why a data directory cannot be served. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Journal(#[from] RecoverError),
    #[error(transparent)]
    Create(#[from] journal::OpenError),
    #[error("checkpoint {0} is damaged; run `yam check` on the data directory, and restore it from a copy")]
    Checkpoint(String),
    #[error("segment {0} is missing, though its records are not settled; restore it from a copy")]
    SegmentMissing(String),
    #[error("the catalog holds an entry that cannot be read ({0}); it was written by another version, or restore it from a copy")]
    Catalog(String),
    #[error("cannot read {path}: {error}")]
    Io { path: String, error: io::Error },
}

/// What the layer above folds.
pub trait Recovery {
    /// The catalog of the newest checkpoint.
    fn snapshot(&mut self, catalog: &[u8]);
    /// An entry of the catalog appended later.
    fn entry(&mut self, entry: &[u8]);
    /// A batch appended to a stream later, between the entries as it was then: the offset of its first record, and the
    /// batch itself.
    fn batch(&mut self, _log: LogId, _base: u64, _batch: &[u8]) {}
}

impl Store {
    /// Recover all logs; the layer above gets its catalog back through `above`.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed.
    pub fn open(options: Options, vfs: &mut dyn Vfs, above: &mut dyn Recovery) -> Result<Store, OpenError> {
        let fold = Fold::read(options.journal.segment_bytes, vfs, above)?;
        let segments = list(vfs, "segments")?;
        fold.check_segments(&segments)?;
        let journal = Journal::create(options.journal.clone(), fold.recovered, vfs)?;
        let mut store = Store::new(options, journal);
        store.logs = fold.logs.into_iter().collect();
        // Where transient records were the last, offsets beyond the end had been handed out. They are given anew, to
        // records that never were.
        for log in store.logs.values_mut() {
            log.delivered = log.delivered.min(log.next);
            log.marked = log.delivered;
            if let Some(stream) = &mut log.stream {
                stream.durable = stream.next;
            }
        }
        store.next_log = fold.next_log;
        let newest = segments.iter().filter_map(|(name, _)| segment::parse_name(name)).map(|(_, file)| file).max().unwrap_or(0);
        store.next_file = fold.next_file.max(newest + 1);
        store.paging.newest_checkpoint = fold.checkpoint;
        store.count_live();
        store.sweep(vfs, &segments)?;
        Ok(store)
    }

    /// Count what lives in each bucket of the journal.
    fn count_live(&mut self) {
        let mut places = Vec::new();
        for (id, log) in &self.logs {
            for run in log.runs.iter().filter(|run| matches!(run.home, Home::Memory)) {
                let live = |index: usize| !run.is_settled(run.first + index as u64);
                let entries = run.entries.iter().enumerate().filter(|(index, _)| live(*index));
                places.extend(entries.filter_map(|(_, entry)| Some((entry.place.as_journal()?, *id, *entry))));
            }
        }
        // Files in which nothing lives are to be cut too.
        let files: Vec<_> = self.journal.files().map(|file| (file.first_lsn.0, file.end.0)).collect();
        for (first, end) in files {
            for number in first / self.bucket_bytes()..=end / self.bucket_bytes() {
                self.bucket_of(number * self.bucket_bytes());
            }
        }
        for (position, id, entry) in places {
            self.resident.enter(&entry);
            if let Some(bucket) = self.bucket_mut(position) {
                bucket.live += 1;
                if bucket.logs.last() != Some(&id) {
                    bucket.logs.push(id);
                }
            }
        }
    }

    /// Remove what a crash left behind: segments that no log knows, older checkpoints.
    fn sweep(&mut self, vfs: &mut dyn Vfs, segments: &[(String, u64)]) -> Result<(), OpenError> {
        for (name, _) in segments {
            let known = segment::parse_name(name).is_some_and(|(id, file)| {
                let runs = self.logs.get(&id).into_iter().flat_map(|log| &log.runs);
                runs.into_iter().any(|run| matches!(&run.home, Home::Segment(home) if home.file == file))
            });
            if !known {
                self.removals.push_back((Lsn(0), format!("segments/{name}")));
            }
        }
        for (name, _) in list(vfs, "checkpoint")? {
            if checkpoint::parse_name(&name) != self.paging.newest_checkpoint {
                self.removals.push_back((Lsn(0), format!("checkpoint/{name}")));
            }
        }
        Ok(())
    }
}

fn list(vfs: &mut dyn Vfs, directory: &str) -> Result<Vec<(String, u64)>, OpenError> {
    vfs.list(directory).map_err(|error| OpenError::Io { path: directory.into(), error })
}

pub(crate) fn read_file(vfs: &mut dyn Vfs, path: &str, size: u64) -> Result<bytes::Bytes, OpenError> {
    let job = Job::Read(Extent { path: path.into(), offset: 0, len: size as usize });
    match vfs.run(job) {
        Ok(Done::Bytes(bytes)) => Ok(bytes),
        Ok(Done::Ok) => Ok(bytes::Bytes::new()),
        Err(error) => Err(OpenError::Io { path: path.into(), error }),
    }
}

/// The state as it grows from the checkpoint and the frames behind it.
struct Fold {
    logs: std::collections::BTreeMap<LogId, Log>,
    next_log: u32,
    next_file: u64,
    checkpoint: Option<Lsn>,
    recovered: journal::Recovered,
}

impl Fold {
    fn read(_segment_bytes: u64, vfs: &mut dyn Vfs, above: &mut dyn Recovery) -> Result<Fold, OpenError> {
        let mut logs = std::collections::BTreeMap::new();
        let (mut next_log, mut next_file, mut from) = (1, 1, None);
        let files = list(vfs, "checkpoint")?;
        if let Some((name, size)) = files.iter().rev().find(|(name, _)| checkpoint::parse_name(name).is_some()) {
            let path = format!("checkpoint/{name}");
            let bytes = read_file(vfs, &path, *size)?;
            let found = checkpoint::parse(&bytes).ok_or(OpenError::Checkpoint(path))?;
            above.snapshot(found.catalog);
            (next_log, next_file, from) = (found.next_log, found.next_file, Some(found.at));
            logs.extend(found.logs);
        }
        let recovered = journal::recover(vfs, from, &mut |found| {
            apply(&mut logs, &mut next_log, above, found.kind, found.start, found.payload);
        })?;
        Ok(Fold { logs, next_log, next_file, checkpoint: from, recovered })
    }

    fn check_segments(&self, segments: &[(String, u64)]) -> Result<(), OpenError> {
        for (id, log) in &self.logs {
            for run in &log.runs {
                if let Home::Segment(home) = &run.home {
                    let path = segment::path(*id, home.file);
                    let size = segment::HEADER_BYTES + home.data_len + segment::index_len(run.count) as u64;
                    if !segments.iter().any(|(name, len)| path.ends_with(name.as_str()) && *len == size) {
                        return Err(OpenError::SegmentMissing(path));
                    }
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn apply(
    logs: &mut std::collections::BTreeMap<LogId, Log>,
    next_log: &mut u32,
    above: &mut dyn Recovery,
    kind: u8,
    start: Lsn,
    payload: &[u8],
) -> Option<()> {
    let mut fields = Fields(payload);
    match kind {
        frame::PUBLISH | frame::CARRY => {
            let found = PublishFrame::parse(payload)?;
            let place = Place::journal(start.0 + (payload.len() - found.batch.len()) as u64);
            let entry = Entry { place, tag: found.tag, len: found.batch.len() as u32 };
            for (id, offset) in found.targets() {
                let Some(log) = logs.get_mut(&id) else { continue };
                if offset >= OFFSET_MAX {
                    continue;
                }
                if kind == frame::PUBLISH && log.stream.is_some() {
                    if offset == log.next {
                        let (count, newest_ms) = crate::stream::extent(found.batch);
                        let base = log.push_batch(entry, count, newest_ms);
                        above.batch(id, base, found.batch);
                    }
                } else if kind == frame::PUBLISH {
                    log.push_at(offset, entry);
                } else if let Some(index) = log.run_index(offset) {
                    log.runs[index].replace(offset, entry);
                }
            }
        }
        frame::SETTLE => {
            let id = LogId(fields.u32()?);
            let count = fields.u32()?;
            let log = logs.get_mut(&id)?;
            for _ in 0..count {
                let (first, count) = (fields.u64()?, fields.u32()?);
                // Only what the log holds: the range was cut to it when it was written.
                let end = first.saturating_add(count.into()).min(log.next);
                for offset in first.max(log.first())..end {
                    log.settle(offset);
                }
            }
            log.drop_dead_runs();
        }
        frame::CREATE_LOG => {
            let id = LogId(fields.u32()?);
            *next_log = (*next_log).max(id.0 + 1);
            logs.insert(id, Log::new(true));
        }
        frame::CREATE_STREAM => {
            let id = LogId(fields.u32()?);
            *next_log = (*next_log).max(id.0 + 1);
            logs.insert(id, Log::new_stream());
        }
        frame::DELETE_LOG => {
            logs.remove(&LogId(fields.u32()?));
        }
        frame::CATALOG => above.entry(payload),
        frame::DELIVERED => {
            let log = logs.get_mut(&LogId(fields.u32()?))?;
            log.delivered = log.delivered.max(fields.u64()?);
            log.marked = log.delivered;
        }
        _ => {}
    }
    Some(())
}

/// What [`verify`] looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verified {
    pub files: u64,
    pub bytes: u64,
    pub records: u64,
}

/// Read and verify every file; `report` hears of each damaged one: its path and what is wrong.
///
/// # Errors
/// [`OpenError::Io`] where a directory cannot be listed.
pub fn verify(vfs: &mut dyn Vfs, report: &mut dyn FnMut(String, String)) -> Result<Verified, OpenError> {
    let mut seen = Verified::default();
    for (name, size) in list(vfs, "checkpoint")? {
        let path = format!("checkpoint/{name}");
        seen.files += 1;
        seen.bytes += size;
        match read_file(vfs, &path, size) {
            Ok(bytes) if checkpoint::parse(&bytes).is_some() => {}
            Ok(_) => report(path, "fails its checksum".into()),
            Err(error) => report(path, error.to_string()),
        }
    }
    for (name, size) in list(vfs, "segments")? {
        let path = format!("segments/{name}");
        seen.files += 1;
        seen.bytes += size;
        match read_file(vfs, &path, size) {
            Ok(bytes) => match verify_segment(&bytes) {
                Ok(records) => seen.records += records,
                Err(what) => report(path, what),
            },
            Err(error) => report(path, error.to_string()),
        }
    }
    for (_, size) in list(vfs, "journal")? {
        seen.files += 1;
        seen.bytes += size;
    }
    let mut records = 0;
    let mut damaged = Vec::new();
    let read = journal::recover(vfs, None, &mut |found| {
        if matches!(found.kind, frame::PUBLISH | frame::CARRY) {
            records += 1;
            let whole = PublishFrame::parse(found.payload)
                .is_some_and(|frame| model::record::verify(frame.batch) == Ok(frame.batch.len()));
            if !whole {
                damaged.push(found.start);
            }
        }
    });
    seen.records += records;
    for start in damaged {
        report("journal".into(), format!("the record at position {:#x} fails its checksum", start.0));
    }
    if let Err(error) = read {
        report("journal".into(), error.to_string());
    }
    Ok(seen)
}

fn verify_segment(bytes: &[u8]) -> Result<u64, String> {
    let (_, _, count, data_len) = segment::parse_header(bytes).ok_or("its header fails its checksum")?;
    let index_at = (segment::HEADER_BYTES + data_len) as usize;
    let index = bytes.get(index_at..).ok_or("it is cut short")?;
    let entries = segment::parse_index(index, count).ok_or("its index fails its checksum")?;
    let mut records = 0;
    for entry in entries.iter().filter(|entry| entry.len > 0) {
        let from = entry.place.as_segment().unwrap_or(0) as usize;
        let record = bytes.get(from..from + entry.len as usize).ok_or("its index points beyond its end")?;
        if model::record::verify(record) != Ok(record.len()) {
            return Err(format!("the record at byte {from} fails its checksum"));
        }
        records += 1;
    }
    Ok(records)
}
