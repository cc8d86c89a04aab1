//! From files to state: the newest checkpoint, then every later frame of the journal, in order.

use std::collections::BTreeMap;
use std::io;

use journal::{Journal, JournalFile, RecoverError};
use model::Lsn;
use vfs::{Done, Extent, Job, Vfs};

use crate::checkpoint;
use crate::frame::{self, Fields, LogId, PublishFrame};
use crate::log::{Entry, Home, Log, OFFSET_MAX, Place, Run};
use crate::segment;
use crate::store::{Bucket, Options, Store};

/// Why a data directory cannot be served. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Journal(#[from] RecoverError),
    #[error(transparent)]
    Create(#[from] journal::OpenError),
    #[error(
        "the checkpoint is missing: there is no file in `checkpoint/`, but {0}. \
         Nothing was changed. Restore `checkpoint/` from the copy that `journal/` and `segments/` are of"
    )]
    CheckpointMissing(String),
    #[error("checkpoint {0} is damaged; run `yam check` on the data directory, and restore it from a copy")]
    Checkpoint(String),
    #[error("segment {0} is missing or cut short, though its records are not settled; restore it from a copy")]
    SegmentMissing(String),
    #[error("the catalog holds an entry that cannot be read ({0}); it was written by another version, or restore it from a copy")]
    Catalog(String),
    #[error("cannot read {path}: {error}")]
    Io { path: String, error: io::Error },
    #[error("cannot write {path}: {error}")]
    Write { path: String, error: io::Error },
}

/// What the layer above folds.
pub trait Recovery {
    /// The catalog of the newest checkpoint.
    fn snapshot(&mut self, catalog: &[u8]);
    /// An entry of the catalog appended later.
    fn entry(&mut self, entry: &[u8]);
    /// Why the catalog handed in last cannot be read, if that is so. Asked once for each.
    fn take_damage(&mut self) -> Option<String> {
        None
    }
    /// A batch appended to a stream later, between the entries as it was then: the offset of its first record, where its producer
    /// is known, and the batch itself.
    fn batch(&mut self, _log: LogId, _base: u64, _batch: &[u8]) {}
}

impl Store {
    /// Recover all logs; the layer above gets its catalog back through `above`.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed.
    pub fn open(options: Options, vfs: &mut dyn Vfs, above: &mut dyn Recovery) -> Result<Store, OpenError> {
        let mut fold = Fold::read(vfs, above)?;
        let segments = list(vfs, "segments")?;
        if let Some(lost) = lost(vfs, fold.checkpoint, &fold.recovered, &fold.logs, &segments)? {
            return Err(lost);
        }
        if let Some(path) = missing_segments(&fold.logs, &segments).next() {
            return Err(OpenError::SegmentMissing(path));
        }
        if let Some(&lsn) = missing_records(&fold.logs, &fold.recovered.files).first() {
            let found = "an unsettled record lies there".into();
            return Err(RecoverError::Missing { lsn: Lsn(lsn), found }.into());
        }
        let (end, fresh) = (fold.recovered.end, fold.checkpoint.is_none() && is_empty(&fold.recovered));
        fold.recovered.checkpointed = fresh || fold.checkpoint.is_some();
        let journal = Journal::create(options.journal.clone(), fold.recovered, vfs)?;
        if fresh {
            // So that one that is missing later is always noticed.
            fold.checkpoint = Some(first_checkpoint(vfs)?);
        }
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
        match fold.checkpoint {
            Some(at) => store.cut_dead(at.0.min(fold.oldest), end.0),
            None => store.want_checkpoint(),
        }
        if fold.checkpoint.is_some_and(|at| at < end) {
            // What was read is not to be read again, and what it takes on disk can go.
            store.want_checkpoint();
        }
        store.sweep(vfs, &segments)?;
        Ok(store)
    }

    /// The checkpoint needs nothing of the journal before that position, which ends at `end`: give it back at once. A broker
    /// that is started and stopped again and again would take more room each time.
    fn cut_dead(&mut self, before: u64, end: u64) {
        let bucket_bytes = self.bucket_bytes();
        let holds_nothing = |bucket: &Bucket| bucket.live == 0 && ((bucket.number + 1) * bucket_bytes).min(end) <= before;
        while self.buckets.len() > 1 && self.buckets.pop_front_if(|bucket| holds_nothing(bucket)).is_some() {}
        self.journal.cut(Lsn(before));
    }

    /// Count what lives in each bucket of the journal.
    fn count_live(&mut self) {
        let mut places = Vec::new();
        for (id, log) in &self.logs {
            for run in log.runs.iter().filter(|run| matches!(run.home, Home::Memory)) {
                let live = |index: usize| !run.is_settled(run.first + index as u64);
                let entries = run.entries.iter().enumerate().filter(|(index, _)| live(*index));
                let stream = log.stream.is_some();
                places.extend(entries.filter_map(|(_, entry)| Some((entry.place.as_journal()?, *id, *entry, stream))));
            }
        }
        // Files in which nothing lives are to be cut too.
        let files: Vec<_> = self.journal.files().map(|file| (file.first_lsn.0, file.end.0)).collect();
        for (first, end) in files {
            for number in first / self.bucket_bytes()..=end / self.bucket_bytes() {
                self.bucket_of(number * self.bucket_bytes());
            }
        }
        for (position, id, entry, stream) in places {
            self.resident.enter(&entry, stream);
            if let Some(bucket) = self.bucket_mut(position) {
                bucket.live += 1;
                if bucket.logs.last() != Some(&id) {
                    bucket.logs.push(id);
                }
            }
        }
    }

    /// Remove what a crash left behind: segments that no log knows, older checkpoints. That they are garbage is proved by the
    /// fold, which is whole: its checkpoint was there, or nothing was ever in one, and so was every file of the journal
    /// behind it ([`lost`]). What is not named as the broker names its files is somebody else's.
    fn sweep(&mut self, vfs: &mut dyn Vfs, segments: &[(String, u64)]) -> Result<(), OpenError> {
        for (name, _) in segments {
            let Some((id, file)) = segment::parse_name(name) else { continue };
            if run_in(self.logs.get(&id), file).is_none() {
                self.removals.push_back((Lsn(0), format!("segments/{name}")));
            }
        }
        for (name, _) in list(vfs, "checkpoint")? {
            if checkpoint::parse_name(&name).is_some_and(|at| Some(at) != self.paging.newest_checkpoint) {
                self.removals.push_back((Lsn(0), format!("checkpoint/{name}")));
            }
        }
        Ok(())
    }
}

pub(crate) fn list(vfs: &mut dyn Vfs, directory: &str) -> Result<Vec<(String, u64)>, OpenError> {
    vfs.list(directory).map_err(|error| OpenError::Io { path: directory.into(), error })
}

pub(crate) fn read_file(vfs: &mut dyn Vfs, path: &str, size: u64) -> Result<bytes::Bytes, OpenError> {
    let job = Job::Read(Extent { path: path.into(), offset: 0, len: size as usize });
    vfs.run(job).map(Done::into_bytes).map_err(|error| OpenError::Io { path: path.into(), error })
}

/// Nothing was ever written to the journal.
fn is_empty(recovered: &journal::Recovered) -> bool {
    recovered.end == Lsn(0)
}

/// What is missing altogether, as what is there tells: the checkpoint, or the end of the journal.
pub(crate) fn lost(
    vfs: &mut dyn Vfs,
    checkpoint: Option<Lsn>,
    recovered: &journal::Recovered,
    logs: &Logs,
    segments: &[(String, u64)],
) -> Result<Option<OpenError>, OpenError> {
    let mut unknown = segments
        .iter()
        .filter(|(name, _)| segment::parse_name(name).is_some_and(|(id, file)| run_in(logs.get(&id), file).is_none()));
    if checkpoint.is_none() {
        let told = match (recovered.begins.0, is_empty(recovered)) {
            (1.., _) => Some(format!("the journal begins at position {}, so what was before is in one", recovered.begins)),
            (0, false) if recovered.checkpointed => Some("the journal says that there was one when it was begun".to_owned()),
            (0, false) => None,
            (0, true) => unknown.next().map(|(name, _)| format!("segments/{name} is there, of which the journal knows nothing")),
        };
        if let Some(told) = told {
            return Ok(Some(OpenError::CheckpointMissing(told)));
        }
    }
    for (name, size) in unknown {
        let path = format!("segments/{name}");
        let bytes = read_file(vfs, &path, (*size).min(segment::HEADER_BYTES))?;
        if let Some(header) = segment::parse_header(&bytes).filter(|header| header.durable > recovered.end) {
            let found = format!("it ends at {}, and {path} was written later", recovered.end);
            return Ok(Some(RecoverError::Missing { lsn: header.durable, found }.into()));
        }
    }
    Ok(None)
}

/// The part of a log that lies in that segment; `None`: no log knows it.
pub(crate) fn run_in(log: Option<&Log>, file: u64) -> Option<&Run> {
    log?.runs.iter().find(|run| matches!(&run.home, Home::Segment(home) if home.file == file))
}

/// The checkpoint of a directory in which nothing is yet.
fn first_checkpoint(vfs: &mut dyn Vfs) -> Result<Lsn, OpenError> {
    let (at, next) = (Lsn(0), checkpoint::Next { log: 1, file: 1 });
    let parts = checkpoint::Writer::begin(next, bytes::Bytes::new(), Vec::new()).finish(at, at);
    let path = checkpoint::path(at);
    match vfs.run(Job::Replace { path: path.clone(), parts }) {
        Ok(_) => Ok(at),
        Err(error) => Err(OpenError::Write { path, error }),
    }
}

/// The logs while they are read.
pub(crate) type Logs = BTreeMap<LogId, Log>;

/// The state as it grows from the checkpoint and the frames behind it.
struct Fold {
    logs: Logs,
    next_log: u32,
    next_file: u64,
    checkpoint: Option<Lsn>,
    /// Position of the oldest record in the journal that the checkpoint needs.
    oldest: u64,
    recovered: journal::Recovered,
}

impl Fold {
    fn read(vfs: &mut dyn Vfs, above: &mut dyn Recovery) -> Result<Fold, OpenError> {
        let mut logs = Logs::new();
        let (mut next_log, mut next_file, mut from, mut ended) = (1, 1, None, Lsn(0));
        let files = list(vfs, "checkpoint")?;
        let newest = files.iter().rev().find_map(|(name, size)| Some((checkpoint::parse_name(name)?, *size)));
        if let Some((at, size)) = newest {
            let path = checkpoint::path(at);
            let bytes = read_file(vfs, &path, size)?;
            let found = checkpoint::parse(&bytes, at).ok_or(OpenError::Checkpoint(path))?;
            if !found.catalog.is_empty() {
                above.snapshot(found.catalog);
            }
            (next_log, next_file, from, ended) = (found.next_log, found.next_file, Some(found.begun), found.ended);
            logs.extend(found.logs);
        }
        let oldest = journal_positions(&logs).min().unwrap_or(u64::MAX);
        let mut recovered = journal::recover(vfs, from, &mut |found| {
            apply(&mut logs, &mut next_log, above, found.kind, found.start, found.payload);
        })?;
        recovered.reach(ended)?;
        Ok(Fold { logs, next_log, next_file, checkpoint: from, oldest, recovered })
    }
}

/// The paths of segments that logs need and that are not there, or shorter or longer than they were written.
pub(crate) fn missing_segments<'a>(logs: &'a Logs, segments: &'a [(String, u64)]) -> impl Iterator<Item = String> + 'a {
    let runs = logs.iter().flat_map(|(id, log)| log.runs.iter().map(move |run| (*id, run)));
    runs.filter_map(|(id, run)| {
        let Home::Segment(home) = &run.home else { return None };
        let path = segment::path(id, home.file);
        let size = segment::HEADER_BYTES + home.data_len + segment::index_len(run.count) as u64;
        let name = path.rsplit('/').next().unwrap_or_default();
        let at = segments.binary_search_by(|(known, _)| known.as_str().cmp(name));
        let whole = at.is_ok_and(|at| segments[at].1 == size);
        (!whole).then_some(path)
    })
}

/// Journal positions of unsettled records that lie in none of the files, in order.
pub(crate) fn missing_records(logs: &Logs, files: &[JournalFile]) -> Vec<u64> {
    // What lies behind the last file is cut off, and said.
    let last = files.last().map_or(0, |file| file.end.0);
    let lost = |position: u64| {
        let after = files.partition_point(|file| file.first_lsn.0 <= position);
        position < last && after.checked_sub(1).is_none_or(|at| files[at].end.0 <= position)
    };
    let mut missing: Vec<u64> = journal_positions(logs).filter(|position| lost(*position)).collect();
    missing.sort_unstable();
    missing
}

/// Positions of the unsettled records that lie in the journal, in no order.
pub(crate) fn journal_positions(logs: &Logs) -> impl Iterator<Item = u64> + '_ {
    let runs = logs.values().flat_map(|log| &log.runs).filter(|run| matches!(run.home, Home::Memory));
    runs.flat_map(|run| {
        let unsettled = |index: &usize| !run.is_settled(run.first + *index as u64);
        let entries = run.entries.iter().enumerate().filter(move |(index, _)| unsettled(index));
        entries.filter_map(|(_, entry)| entry.place.as_journal())
    })
}

pub(crate) fn apply(
    logs: &mut Logs,
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
                    } else if let Some(base) = found.batch.first_chunk().map(|base| u64::from_be_bytes(*base))
                        && base < OFFSET_MAX
                    {
                        // The checkpoint's log has it, and its catalog, which is older, not what follows from it.
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
                log.settle_live(first, first.saturating_add(count.into()).min(log.next));
            }
            log.drop_dead_runs();
        }
        frame::CREATE_LOG => {
            let id = LogId(fields.u32()?);
            // The last id of all is never given out.
            *next_log = (*next_log).max(id.0.checked_add(1)?);
            logs.insert(id, Log::new(true));
        }
        frame::CREATE_STREAM => {
            let id = LogId(fields.u32()?);
            // The last id of all is never given out.
            *next_log = (*next_log).max(id.0.checked_add(1)?);
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
