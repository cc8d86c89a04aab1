//! A data directory looked at offline: the same fold as at a start, past every damage, each of which is named.

use std::cell::RefCell;

use journal::{Entry, JournalFile, RecoverError, Recovered};
use model::Lsn;
use vfs::Vfs;

use crate::frame::{self, PublishFrame};
use crate::log::Run;
use crate::recovery::{
    Logs, OpenError, Recovery, apply, journal_positions, list, lost, missing_records, missing_segments, read_file, run_in,
};
use crate::{checkpoint, segment};

/// At most this lies between the end of one frame and the payload of the next: the head of a block, and its own.
const BETWEEN_FRAMES_BYTES: u64 = (journal::frame::BLOCK_FRAME_BYTES + journal::frame::FRAME_HEADER_BYTES) as u64;

/// What was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verified {
    pub files: u64,
    pub bytes: u64,
    pub records: u64,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The damaged file, or the directory in which one is missing, below the data directory.
    pub path: String,
    pub what: String,
    /// Nothing that is kept lies there, and no start reads it.
    pub harmless: bool,
}

/// Hears of each finding.
type Report<'a> = dyn FnMut(Finding) + 'a;

/// Read and verify every file. `report` hears of each damaged place. `above` judges the catalog.
///
/// # Errors
/// [`OpenError::Io`] where a directory cannot be listed, and where another version wrote it.
pub fn verify(vfs: &mut dyn Vfs, above: &mut dyn Recovery, report: &mut Report<'_>) -> Result<Verified, OpenError> {
    journal::known_version(vfs)?;
    let mut seen = Verified::default();
    let mut logs = Logs::new();
    let from = checkpoints(vfs, above, &mut logs, &mut seen, report)?;
    for (_, size) in list(vfs, "journal")? {
        seen.count_file(size);
    }
    let mut recovered = journal(vfs, above, &mut logs, from.at(), &mut seen, report);
    let mut damaged = |path: String, what: String| report(Finding { path, what, harmless: false });
    if let Newest::At { ended, .. } = from
        && let Err(error) = recovered.reach(ended)
    {
        let (path, what) = error.place();
        damaged(path, what);
    }
    let segments = list(vfs, "segments")?;
    // A damaged checkpoint has been named, and is not missing.
    let newest = if from == Newest::Damaged { Some(Lsn(0)) } else { from.at() };
    if let Some(lost) = lost(vfs, newest, &recovered, &logs, &segments)? {
        let (path, what) = match lost {
            OpenError::Journal(error) => error.place(),
            OpenError::CheckpointMissing(told) => ("checkpoint".into(), format!("there is none, but {told}")),
            other => ("checkpoint".into(), other.to_string()),
        };
        damaged(path, what);
    }
    for path in missing_segments(&logs, &segments) {
        damaged(path, "is missing or has another length, though its records are not settled".into());
    }
    let missing = missing_records(&logs, &recovered.files);
    if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
        let what = format!("{} unsettled records at positions {first} to {last} lie in no file", missing.len());
        damaged(journal::file::DIRECTORY.into(), what);
    }
    for (name, size) in &segments {
        let Some((id, file)) = segment::parse_name(name) else { continue };
        seen.count_file(*size);
        verify_segment(vfs, name, *size, run_in(logs.get(&id), file), &mut seen, report);
    }
    Ok(seen)
}

impl Verified {
    fn count_file(&mut self, size: u64) {
        self.files += 1;
        self.bytes += size;
    }
}

/// The checkpoint that a start would begin with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Newest {
    None,
    Damaged,
    At { begun: Lsn, ended: Lsn },
}

impl Newest {
    fn at(self) -> Option<Lsn> {
        if let Newest::At { begun, .. } = self { Some(begun) } else { None }
    }
}

/// Begin with the newest checkpoint, as a start does. It is not the older ones' business to stand in for it: the journal
/// has been cut since.
fn checkpoints(
    vfs: &mut dyn Vfs,
    above: &mut dyn Recovery,
    logs: &mut Logs,
    seen: &mut Verified,
    report: &mut Report<'_>,
) -> Result<Newest, OpenError> {
    let mut newest = Newest::None;
    for (name, size) in list(vfs, "checkpoint")?.into_iter().rev() {
        let Some(at) = checkpoint::parse_name(&name) else { continue };
        let path = checkpoint::path(at);
        seen.count_file(size);
        let first = newest == Newest::None;
        let mut damaged = |what: String| report(Finding { path: path.clone(), what, harmless: !first });
        let bytes = read_file(vfs, &path, size);
        match bytes.as_ref().map(|bytes| checkpoint::parse(bytes, at)) {
            Err(error) => damaged(error.to_string()),
            Ok(None) => damaged("fails its checksum, or is of another position than its name says".into()),
            Ok(Some(found)) if first => {
                newest = Newest::At { begun: at, ended: found.ended };
                logs.extend(found.logs);
                if !found.catalog.is_empty() {
                    above.snapshot(found.catalog);
                }
                if let Some(damage) = above.take_damage() {
                    damaged(format!("its catalog cannot be read: {damage}"));
                }
            }
            Ok(Some(_)) => {}
        }
        if newest == Newest::None {
            newest = Newest::Damaged;
        }
    }
    Ok(newest)
}

/// A damaged stretch of the journal.
struct Damage {
    /// `None`: the file is known by the position.
    path: Option<String>,
    what: String,
    /// `None`: nobody knows.
    start: Option<Lsn>,
    /// Payload of the next frame that was read.
    next: Option<Lsn>,
}

/// Read all of the journal.
fn journal(
    vfs: &mut dyn Vfs,
    above: &mut dyn Recovery,
    logs: &mut Logs,
    from: Option<Lsn>,
    seen: &mut Verified,
    report: &mut Report<'_>,
) -> Recovered {
    let mut next_log = 0;
    let damages: RefCell<Vec<Damage>> = RefCell::default();
    let mut visit = |found: Entry<'_>| {
        let mut damages = damages.borrow_mut();
        for damage in damages.iter_mut().rev().take_while(|damage| damage.next.is_none()) {
            damage.next = Some(found.start);
        }
        let mut damaged = |what: String| damages.push(Damage { path: None, what, start: Some(found.start), next: None });
        if matches!(found.kind, frame::PUBLISH | frame::CARRY) {
            seen.records += 1;
            let whole = PublishFrame::parse(found.payload)
                .is_some_and(|frame| model::record::verify(frame.batch) == Ok(frame.batch.len()));
            if !whole {
                damaged("a record fails its checksum".into());
            }
        }
        if from.is_none_or(|from| found.start > from) {
            apply(logs, &mut next_log, above, found.kind, found.start, found.payload);
            if let Some(damage) = above.take_damage() {
                damaged(format!("an entry of the catalog cannot be read: {damage}"));
            }
        }
    };
    let mut damage = |error: RecoverError| {
        let start = error.lsn();
        let (path, what) = error.place();
        damages.borrow_mut().push(Damage { path: Some(path), what, start, next: None });
    };
    let recovered = journal::survey(vfs, from, &mut visit, &mut damage);
    let mut kept: Vec<u64> = journal_positions(logs).collect();
    kept.sort_unstable();
    let read_from = first_read(&recovered.files, from);
    for damage in damages.into_inner() {
        let harmless = is_harmless(&damage, &kept, read_from);
        let (path, what) = match (damage.path, damage.start) {
            (None, Some(start)) => place(&recovered.files, start, damage.what),
            (path, _) => (path.unwrap_or_default(), damage.what),
        };
        report(Finding { path, what, harmless });
    }
    recovered
}

/// Where a start begins to read the journal: at the beginning of the file that goes on from the checkpoint.
fn first_read(files: &[JournalFile], from: Option<Lsn>) -> u64 {
    let Some(from) = from else { return 0 };
    let after = files.partition_point(|file| file.first_lsn <= from);
    after.checked_sub(1).and_then(|index| files.get(index)).map_or(0, |file| file.first_lsn.0)
}

/// Whether a start reads nothing of it, and no record lies in it that is `kept`.
fn is_harmless(damage: &Damage, kept: &[u64], read_from: u64) -> bool {
    let Some(start) = damage.start.filter(|start| start.0 < read_from) else { return false };
    let end = damage.next.map_or(read_from, |next| next.0.saturating_sub(BETWEEN_FRAMES_BYTES));
    let first = kept.partition_point(|position| *position < start.0);
    end <= read_from && kept.get(first).is_none_or(|position| *position >= end)
}

fn place(files: &[JournalFile], start: Lsn, what: String) -> (String, String) {
    let after = files.partition_point(|file| file.first_lsn <= start);
    let Some(file) = after.checked_sub(1).and_then(|index| files.get(index)) else {
        return (journal::file::DIRECTORY.into(), what);
    };
    let byte = journal::file::FILE_HEADER_BYTES + (start.0 - file.first_lsn.0);
    (file.path(), format!("at byte {byte} (journal position {start}): {what}"))
}

fn verify_segment(vfs: &mut dyn Vfs, name: &str, size: u64, run: Option<&Run>, seen: &mut Verified, report: &mut Report<'_>) {
    let path = format!("segments/{name}");
    // What no log knows is left over from a crash, and the next start removes it.
    let mut report = |what: String, harmless| report(Finding { path: path.clone(), what, harmless: harmless || run.is_none() });
    let bytes = match read_file(vfs, &path, size) {
        Ok(bytes) => bytes,
        Err(error) => return report(error.to_string(), false),
    };
    let Some(header) = segment::parse_header(&bytes) else {
        return report("its header fails its checksum".into(), false);
    };
    if segment::parse_name(name).is_some_and(|(named, _)| named != header.log) {
        report(format!("it holds records of log {}, not of the one that it is named after", header.log.0), false);
    }
    let index_at = usize::try_from(segment::HEADER_BYTES.saturating_add(header.data_len)).unwrap_or(usize::MAX);
    let Some(index) = bytes.get(index_at..) else { return report("it is cut short".into(), false) };
    let Some(entries) = segment::parse_index(index, header.count) else {
        return report(format!("at byte {index_at}: its index fails its checksum"), false);
    };
    for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.len > 0) {
        seen.records += 1;
        let from = entry.place.as_segment().unwrap_or(0) as usize;
        let settled = run.is_some_and(|run| run.is_settled(run.first + index as u64));
        match bytes.get(from..from + entry.len as usize) {
            Some(record) if model::record::verify(record) == Ok(record.len()) => {}
            Some(_) => report(format!("at byte {from}: a record fails its checksum"), settled),
            None => report(format!("its index points to byte {from}, beyond its end"), settled),
        }
    }
}
