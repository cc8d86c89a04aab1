//! The log of a partition: an offset names one record for ever, what was confirmed is there, no record is there twice,
//! the records of one client stand in the order in which it sent them, and what was shown once is not taken back, not
//! even by a power failure: readers see only what is durable.

use std::collections::{BTreeMap, HashMap};

use model::record::{self, BatchHead, attribute, parse_marker};

use super::{BatchIx, Model, Place};
use crate::checker::Violation;
use crate::kafka::batch::{self, RecordId};
use crate::kafka::plan::{PartitionIx, Policy};

pub(super) const NAME: &str = "log";
const INVENTED: &str = "invented";

/// What an offset names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Record(RecordId),
    /// The end of a transaction.
    Marker {
        producer_id: i64,
        commit: bool,
    },
}

/// What is known of a partition.
#[derive(Default)]
pub struct Log {
    pub known: BTreeMap<u64, Known>,
    /// The records of each writer, by their offsets.
    by_writer: HashMap<usize, BTreeMap<u64, RecordId>>,
    /// What has been told, at most.
    pub sight: Sight,
    /// Where it was said to begin last.
    pub start: u64,
    /// Somebody asked for everything before this to be deleted.
    pub trim_asked: u64,
}

/// What a client knows of a partition when it asks: the answer must not say less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    pub high: u64,
    pub stable: u64,
    /// Everything before was deleted, and this was confirmed.
    pub trimmed: u64,
    /// Behind the last record that was confirmed.
    pub confirmed: u64,
}

/// A partition's part of the answer to a fetch.
#[derive(Clone, Debug)]
pub struct Read<'a> {
    pub partition: PartitionIx,
    /// Only what is committed was asked for.
    pub committed: bool,
    /// From here on.
    pub offset: u64,
    /// What was known when it was asked.
    pub sight: Sight,
    pub high: i64,
    pub stable: i64,
    /// -1: not told.
    pub start: i64,
    /// (producer id, first offset)
    pub aborted: Vec<(i64, i64)>,
    pub records: &'a [u8],
}

pub fn invented(text: String) -> Violation {
    Violation::new(INVENTED, text)
}

/// A batch of an answer.
struct Found<'a> {
    base: u64,
    head: BatchHead,
    bytes: &'a [u8],
}

impl Found<'_> {
    fn end(&self) -> u64 {
        self.base + u64::from(self.head.offsets)
    }
}

impl Model {
    /// A batch was confirmed.
    ///
    /// # Errors
    /// At an offset where it cannot be.
    pub fn confirmed(&mut self, batch: BatchIx, base: i64) -> Result<(), Violation> {
        let found = &self.batches[batch];
        let (partition, first, count) = (found.partition, found.first, found.count);
        let Ok(base) = u64::try_from(base) else {
            return Err(Violation::new(NAME, format!("record {first} was confirmed at offset {base}")));
        };
        for nth in 0..count {
            self.observe(partition, base + u64::from(nth), Known::Record(first + nth))?;
        }
        if self.batches[batch].confirmed.replace(base).is_none() {
            self.counts.confirmed += u64::from(count);
        } else {
            self.counts.repeated += 1;
        }
        let sight = &mut self.logs[partition].sight;
        sight.confirmed = sight.confirmed.max(base + u64::from(count));
        Ok(())
    }

    /// An offset is seen to name this.
    fn observe(&mut self, partition: PartitionIx, offset: u64, what: Known) -> Result<(), Violation> {
        let place = format!("{} offset {offset}", self.plan.name(partition));
        if let Some(known) = self.logs[partition].known.get(&offset) {
            return match *known == what {
                true => Ok(()),
                false => Err(Violation::new(NAME, format!("{place} named {known:?} and now names {what:?}"))),
            };
        }
        if let Known::Record(id) = what {
            let Some(sent) = self.records.get_mut(id as usize) else {
                return Err(invented(format!("{place} names record {id}, which nobody sent")));
            };
            if sent.record.partition != partition {
                return Err(invented(format!("{place} names record {id}, which was sent elsewhere")));
            }
            match sent.place {
                Place::Perhaps => sent.place = Place::At(offset),
                Place::At(other) => {
                    return Err(Violation::new(NAME, format!("{place} names record {id}, which stands at {other} too")));
                }
                Place::Never => {
                    return Err(invented(format!("{place} names record {id}, which was refused, or not there before")));
                }
            }
            let of_writer = self.logs[partition].by_writer.entry(sent.writer).or_default();
            let before = of_writer.range(..offset).next_back().map(|(_, id)| *id);
            let behind = of_writer.range(offset..).next().map(|(_, id)| *id);
            of_writer.insert(offset, id);
            if before.is_some_and(|before| before > id) || behind.is_some_and(|behind| behind < id) {
                let text = format!("{place} names record {id}, which is out of order: {before:?} before, {behind:?} behind it");
                return Err(Violation::new(NAME, text));
            }
        }
        self.logs[partition].known.insert(offset, what);
        Ok(())
    }

    /// A partition was read. Returns where to go on.
    ///
    /// # Errors
    /// What was read cannot be there, or something is missing.
    pub fn read(&mut self, read: &Read<'_>) -> Result<u64, Violation> {
        let (_, stable) = self.watermarks(read)?;
        let end = if read.committed { stable } else { read.high as u64 };
        let name = self.plan.name(read.partition);
        let wrong = |text: String| Err(Violation::new(NAME, format!("{name}: {text}")));
        let dense = !matches!(self.plan.policy(read.partition), Policy::Compact { .. });
        let mut hidden = super::transactions::Hidden::new(&read.aborted);
        let known = self.logs[read.partition].known.len();
        let mut at = read.offset;
        let mut shown = Vec::new();
        let mut rest = read.records;
        while !rest.is_empty() {
            let (found, behind) = match next_batch(rest) {
                Ok(next) => next,
                Err(error) => return wrong(format!("what follows offset {at} is no batch: {error}")),
            };
            rest = behind;
            if found.end() <= at {
                return wrong(format!("a batch at {} came where {at} was to follow", found.base));
            }
            if dense && found.base > at {
                return wrong(format!("a batch at {} came where {at} was to follow: there is a hole", found.base));
            }
            if found.end() > end {
                return wrong(format!("a batch up to {} was shown, above {end}", found.end()));
            }
            self.take_in(read, &found, at, &mut hidden, &mut shown)?;
            at = found.end();
        }
        self.glimpses += usize::from(self.logs[read.partition].known.len() > known);
        if !dense && at == read.high as u64 {
            self.nothing_is_back(read.partition, &shown, at)?;
        }
        Ok(at)
    }

    /// How far the partition may be read, as it is told.
    fn watermarks(&mut self, read: &Read<'_>) -> Result<(u64, u64), Violation> {
        let name = self.plan.name(read.partition);
        let wrong = |text: String| Err(Violation::new(NAME, format!("{name}: {text}")));
        let (Ok(high), Ok(stable)) = (u64::try_from(read.high), u64::try_from(read.stable)) else {
            return wrong(format!("its ends are said to be {} and {}", read.high, read.stable));
        };
        let before = read.sight;
        if high < before.high.max(before.confirmed) {
            return wrong(format!("its end is {high}, but there was more: {before:?}"));
        }
        if stable < before.stable || stable > high {
            return wrong(format!("its stable end is {stable} of {high}, but there was more: {before:?}"));
        }
        if let Some((offset, id)) = self.open_from(read.partition, stable) {
            return wrong(format!("its stable end is {stable}, but record {id} at {offset} is of an open transaction"));
        }
        if let Ok(start) = u64::try_from(read.start) {
            if start < before.trimmed {
                return wrong(format!("it begins at {start}, but everything before {} was deleted", before.trimmed));
            }
            self.begins_at(read.partition, start)?;
            self.logs[read.partition].start = start;
        }
        let log = &mut self.logs[read.partition];
        log.sight.high = log.sight.high.max(high);
        // Where it is only as far as it is because of a deletion, and nobody was told that this is for ever, it may go back.
        if log.trim_asked < stable || log.sight.trimmed >= stable {
            log.sight.stable = log.sight.stable.max(stable);
        }
        Ok((high, stable))
    }

    /// What one batch says; `at`: from here on something is to be there. Its records join `shown`.
    fn take_in(
        &mut self,
        read: &Read<'_>,
        found: &Found<'_>,
        at: u64,
        hidden: &mut super::transactions::Hidden,
        shown: &mut Vec<(u64, RecordId)>,
    ) -> Result<(), Violation> {
        let Found { base, head, bytes } = found;
        let plan = self.plan.clone();
        let place = || format!("{} offset {base}", plan.name(read.partition));
        let unread = |what: &str| Violation::new(NAME, format!("{}: {what}", place()));
        let plain = batch::unpacked(bytes, head).ok_or_else(|| unread("its records cannot be unpacked"))?;
        let records = batch::records(&plain, head).ok_or_else(|| unread("its records cannot be read"))?;
        hidden.up_to(found.end());
        let mut present = Vec::new();
        if head.is(attribute::CONTROL) {
            let commit = parse_marker(bytes).ok_or_else(|| unread("a control batch that is no marker"))?;
            let marker = Known::Marker { producer_id: head.producer_id, commit };
            self.observe(read.partition, *base, marker)?;
            hidden.ended(head.producer_id, commit);
            present.push(*base);
        } else {
            let is_hidden = head.is(attribute::TRANSACTIONAL) && hidden.hides(head.producer_id);
            for found in &records {
                let Some(id) = batch::id_of(found, head.base_timestamp_ms) else {
                    return Err(invented(format!("{} holds a record that nobody sent", place())));
                };
                let offset = base.saturating_add_signed(found.offset_delta);
                self.observe(read.partition, offset, Known::Record(id))?;
                let sent = &self.records[id as usize];
                if !batch::is_same(found, head, &sent.record) {
                    return Err(Violation::new(NAME, format!("record {id} came otherwise than it was sent")));
                }
                let stamp = self.batches[sent.batch].stamp;
                if (head.producer_id, head.producer_epoch) != (stamp.producer_id, stamp.epoch) {
                    return Err(Violation::new(NAME, format!("record {id} came from another producer than it was sent by")));
                }
                if read.committed {
                    self.judged(id, is_hidden)?;
                }
                self.counts.read += 1;
                present.push(offset);
                shown.push((offset, id));
            }
        }
        let expected: Vec<u64> = self.logs[read.partition].known.range(at..found.end()).map(|(offset, _)| *offset).collect();
        for offset in expected.into_iter().filter(|offset| !present.contains(offset)) {
            self.is_gone(read.partition, offset)?;
        }
        Ok(())
    }

    /// An answer ended at `at` although the partition goes on to `end`, and it was asked again and again: there must be
    /// nothing.
    ///
    /// # Errors
    /// There is.
    pub fn nothing_between(&mut self, partition: PartitionIx, at: u64, end: u64) -> Result<(), Violation> {
        let expected: Vec<u64> = self.logs[partition].known.range(at..end).map(|(offset, _)| *offset).collect();
        if !matches!(self.plan.policy(partition), Policy::Compact { .. }) {
            let text = format!("{}: nothing comes from {at} on although it goes on to {end}", self.plan.name(partition));
            return Err(Violation::new(NAME, text));
        }
        expected.into_iter().try_for_each(|offset| self.is_gone(partition, offset))
    }
}

/// The batch at the front, verified, and what follows.
fn next_batch(bytes: &[u8]) -> Result<(Found<'_>, &[u8]), record::RecordError> {
    let len = record::verify(bytes)?;
    let (batch, rest) = bytes.split_at(len);
    let base = batch.first_chunk().map_or(0, |base| u64::from_be_bytes(*base));
    Ok((Found { base, head: BatchHead::parse(batch)?, bytes: batch }, rest))
}
