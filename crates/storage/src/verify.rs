//! A data directory looked at offline: the same fold as at a start, past every damage, each of which is named.

use journal::{Entry, JournalFile, RecoverError};
use model::Lsn;
use vfs::Vfs;

use crate::frame::{self, PublishFrame};
use crate::recovery::{Logs, OpenError, Recovery, apply, list, missing_records, missing_segments, read_file};
use crate::{checkpoint, segment};

/// What was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verified {
    pub files: u64,
    pub bytes: u64,
    pub records: u64,
}

/// Read and verify every file. `report` hears of each damaged place: the path of the file (or of the directory where one is
/// missing), and what is wrong. `above` judges the catalog.
///
/// # Errors
/// [`OpenError::Io`] where a directory cannot be listed.
pub fn verify(
    vfs: &mut dyn Vfs,
    above: &mut dyn Recovery,
    report: &mut dyn FnMut(String, String),
) -> Result<Verified, OpenError> {
    let mut seen = Verified::default();
    let mut logs = Logs::new();
    let from = checkpoints(vfs, above, &mut logs, &mut seen, report)?;
    for (_, size) in list(vfs, "journal")? {
        seen.count_file(size);
    }
    let files = journal(vfs, above, &mut logs, from, &mut seen, report);
    let segments = list(vfs, "segments")?;
    for (name, size) in segments.iter().filter(|(name, _)| segment::parse_name(name).is_some()) {
        seen.count_file(*size);
        verify_segment(vfs, name, *size, &mut seen, report);
    }
    for path in missing_segments(&logs, &segments) {
        report(path, "is missing or has another length, though its records are not settled".into());
    }
    let missing = missing_records(&logs, &files);
    if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
        let what = format!("{} unsettled records at positions {first} to {last} lie in no file", missing.len());
        report(journal::file::DIRECTORY.into(), what);
    }
    Ok(seen)
}

impl Verified {
    fn count_file(&mut self, size: u64) {
        self.files += 1;
        self.bytes += size;
    }
}

/// Begin with the newest checkpoint that is whole. Returns its position.
fn checkpoints(
    vfs: &mut dyn Vfs,
    above: &mut dyn Recovery,
    logs: &mut Logs,
    seen: &mut Verified,
    report: &mut dyn FnMut(String, String),
) -> Result<Option<Lsn>, OpenError> {
    let mut newest = None;
    for (name, size) in list(vfs, "checkpoint")?.into_iter().rev().filter(|(name, _)| checkpoint::parse_name(name).is_some()) {
        let path = format!("checkpoint/{name}");
        seen.count_file(size);
        let bytes = match read_file(vfs, &path, size) {
            Ok(bytes) => bytes,
            Err(error) => {
                report(path, error.to_string());
                continue;
            }
        };
        let Some(found) = checkpoint::parse(&bytes) else {
            report(path, "fails its checksum".into());
            continue;
        };
        if newest.is_none() {
            newest = Some(found.at);
            logs.extend(found.logs);
            above.snapshot(found.catalog);
            if let Some(damage) = above.take_damage() {
                report(path, format!("its catalog cannot be read: {damage}"));
            }
        }
    }
    Ok(newest)
}

/// Returns the files there are.
fn journal(
    vfs: &mut dyn Vfs,
    above: &mut dyn Recovery,
    logs: &mut Logs,
    from: Option<Lsn>,
    seen: &mut Verified,
    report: &mut dyn FnMut(String, String),
) -> Vec<JournalFile> {
    let mut next_log = 0;
    // Which file a position lies in is known at the end.
    let mut damaged: Vec<(Lsn, String)> = Vec::new();
    let mut visit = |found: Entry<'_>| {
        if matches!(found.kind, frame::PUBLISH | frame::CARRY) {
            seen.records += 1;
            let whole = PublishFrame::parse(found.payload)
                .is_some_and(|frame| model::record::verify(frame.batch) == Ok(frame.batch.len()));
            if !whole {
                damaged.push((found.start, "a record fails its checksum".into()));
            }
        }
        if from.is_none_or(|from| found.start > from) {
            apply(logs, &mut next_log, above, found.kind, found.start, found.payload);
            if let Some(damage) = above.take_damage() {
                damaged.push((found.start, format!("an entry of the catalog cannot be read: {damage}")));
            }
        }
    };
    let mut damage = |error: RecoverError| {
        let (path, what) = error.place();
        report(path, what);
    };
    let files = journal::survey(vfs, from, &mut visit, &mut damage).files;
    for (start, what) in damaged {
        let after = files.partition_point(|file| file.first_lsn <= start);
        if let Some(file) = after.checked_sub(1).and_then(|index| files.get(index)) {
            let byte = journal::file::FILE_HEADER_BYTES + (start.0 - file.first_lsn.0);
            report(file.path(), format!("at byte {byte} (journal position {start}): {what}"));
        }
    }
    files
}

fn verify_segment(vfs: &mut dyn Vfs, name: &str, size: u64, seen: &mut Verified, report: &mut dyn FnMut(String, String)) {
    let path = format!("segments/{name}");
    let mut report = |what: String| report(path.clone(), what);
    let bytes = match read_file(vfs, &path, size) {
        Ok(bytes) => bytes,
        Err(error) => return report(error.to_string()),
    };
    let Some((log, _, count, data_len)) = segment::parse_header(&bytes) else {
        return report("its header fails its checksum".into());
    };
    if segment::parse_name(name).is_some_and(|(named, _)| named != log) {
        report(format!("it holds records of log {}, not of the one that it is named after", log.0));
    }
    let index_at = usize::try_from(segment::HEADER_BYTES.saturating_add(data_len)).unwrap_or(usize::MAX);
    let Some(index) = bytes.get(index_at..) else { return report("it is cut short".into()) };
    let Some(entries) = segment::parse_index(index, count) else {
        return report(format!("at byte {index_at}: its index fails its checksum"));
    };
    for entry in entries.iter().filter(|entry| entry.len > 0) {
        seen.records += 1;
        let from = entry.place.as_segment().unwrap_or(0) as usize;
        match bytes.get(from..from + entry.len as usize) {
            Some(record) if model::record::verify(record) == Ok(record.len()) => {}
            Some(_) => report(format!("at byte {from}: a record fails its checksum")),
            None => report(format!("its index points to byte {from}, beyond its end")),
        }
    }
}
