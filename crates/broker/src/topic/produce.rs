//! Appending batches.

use std::borrow::Cow;

use model::planted::{self, Bug};
use model::record::{self, BatchHead, RecordError, Records, attribute};
use model::topic::{Produce, Produced, TopicRef};
use model::{Failure, LogFailure, Lsn, Now, Reply};
use storage::LogId;

use super::config::Settings;
use super::partition::Checked;
use super::records::repack;
use crate::broker::Broker;

/// No partition holds offsets from here on: an entry's tag has 48 bits for them.
const OFFSETS_MAX: u64 = 1 << 47;
/// Codecs 0 to 4: none, gzip, snappy, lz4, zstd.
const CODEC_MAX: i16 = 4;

impl Broker {
    pub(crate) fn produce(&mut self, produce: &Produce<'_>, now: Now) -> Result<Reply, Failure> {
        if let TopicRef::Name(name) = produce.topic
            && !super::is_name(name)
        {
            return Err(LogFailure::InvalidTopicName.into());
        }
        let log = self.topics.partition_log(produce.topic, produce.partition)?;
        let Some(settings) = self.topics.settings_of(log) else { return Err(LogFailure::UnknownTopic.into()) };
        let (append_time, packing, batch_bytes_max) = (settings.append_time, settings.packing, settings.batch_bytes_max);
        let mut head = check(produce.records, settings, now)?;
        if head.is(attribute::TRANSACTIONAL) {
            self.check_transaction(produce, &head, log, now)?;
        }
        let Some(partition) = self.topics.partitions.get(&log) else { return Err(LogFailure::UnknownTopic.into()) };
        let log_start = partition.start as i64;
        if self.store.stream_next(log) + u64::from(head.offsets) >= OFFSETS_MAX {
            return Err(LogFailure::InvalidRecord.into());
        }
        if let Checked::Duplicate { base, timestamp_ms, end } = partition.check(&head)? {
            let reply = Produced { base_offset: base as i64, append_time_ms: timestamp_ms, log_start, durable_at: end };
            return Ok(Reply::Produced(reply));
        }
        let mut batch = Cow::Borrowed(produce.records);
        if let Some(packing) = packing.filter(|packing| packing.codec != head.attributes & attribute::COMPRESSION) {
            let packed = repack(&batch, &head, packing);
            batch = packed.map_err(|_| because(LogFailure::InvalidRecord, "the records are malformed"))?.into();
            if batch.len() > batch_bytes_max {
                return Err(LogFailure::BatchTooLarge.into());
            }
        }
        if append_time {
            record::stamp(batch.to_mut(), now.wall_ms);
        }
        if let Cow::Owned(batch) = &batch {
            head = BatchHead::parse(batch).map_err(|_| LogFailure::CorruptBatch)?;
        }
        let append_time_ms = if append_time { now.wall_ms as i64 } else { -1 };
        let (base_offset, durable_at) =
            self.append_batch(log, &batch, &head, None, false, now).ok_or(LogFailure::UnknownTopic)?;
        let durable_at = if planted::is(Bug::BatchBeforeSync) { Lsn(0) } else { durable_at };
        Ok(Reply::Produced(Produced { base_offset, append_time_ms, log_start, durable_at }))
    }

    /// Append a batch that has been checked; `marker` as in `Partition::note`. Returns its first offset, and from where on
    /// it is safe.
    pub(crate) fn append_batch(
        &mut self,
        log: LogId,
        batch: &[u8],
        head: &BatchHead,
        marker: Option<bool>,
        group: bool,
        now: Now,
    ) -> Option<(i64, Lsn)> {
        let appended = self.store.append_batch(log, batch, 0, group)?;
        let now_ms = now.wall_ms as i64;
        if let Some(partition) = self.topics.partitions.get_mut(&log)
            && partition.compacted == appended.base
        {
            partition.uncompacted_ms = u64::try_from(head.max_timestamp_ms).unwrap_or(now.wall_ms);
        }
        self.topics.change_partition(log, |partition| partition.note(appended.base, head, marker, appended.end, now_ms));
        if marker.is_some() {
            let (high, cleaned, end) = (self.store.stream_end(log), self.cleaned(log), self.store.appended());
            self.topics.change_partition(log, |partition| partition.forget_some_ended(high, cleaned, end));
        }
        self.statistics.published += u64::from(head.offsets);
        Some((appended.base as i64, appended.end))
    }
}

fn because(failure: LogFailure, text: &str) -> Failure {
    Failure::LogBecause { failure, text: text.into() }
}

/// Whether a partition takes these bytes: exactly one sound batch.
fn check(records: &[u8], settings: &Settings, now: Now) -> Result<BatchHead, Failure> {
    let head = match BatchHead::parse(records) {
        Ok(head) => head,
        Err(RecordError::Magic(0 | 1)) => {
            return Err(because(LogFailure::UnsupportedFormat, "message formats before v2 are not supported"));
        }
        Err(RecordError::Magic(_)) => return Err(because(LogFailure::InvalidRecord, "unknown record format")),
        Err(_) => return Err(LogFailure::CorruptBatch.into()),
    };
    if head.len > settings.batch_bytes_max {
        return Err(LogFailure::BatchTooLarge.into());
    }
    if head.len < records.len() {
        return Err(because(LogFailure::InvalidRecord, "more than one batch for a partition"));
    }
    if record::verify(records) != Ok(records.len()) {
        return Err(LogFailure::CorruptBatch.into());
    }
    if head.attributes & attribute::COMPRESSION > CODEC_MAX {
        return Err(LogFailure::UnsupportedCompression.into());
    }
    if head.is(attribute::CONTROL) {
        return Err(because(LogFailure::InvalidRecord, "clients do not write control records"));
    }
    if i64::from(head.records) != i64::from(head.offsets) {
        return Err(because(LogFailure::InvalidRecord, "the number of records is not that of their offsets"));
    }
    if head.is(attribute::TRANSACTIONAL) && head.producer_id < 0 {
        return Err(because(LogFailure::InvalidRecord, "a transactional batch without a producer id"));
    }
    if head.producer_id >= 0 && head.base_sequence < 0 {
        return Err(because(LogFailure::InvalidRecord, "a producer's batch without a sequence number"));
    }
    // What is not compressed costs little to look through.
    if head.attributes & attribute::COMPRESSION == 0 {
        check_plain(records, &head, settings.compact)?;
    } else if settings.compact && !super::records::all_have_keys(records, &head) {
        return Err(no_key());
    }
    if !settings.append_time {
        let now_ms = now.wall_ms as i64;
        let too_old = now_ms.saturating_sub(head.max_timestamp_ms) > settings.before_max_ms;
        let too_new = head.max_timestamp_ms.saturating_sub(now_ms) > settings.after_max_ms;
        if head.max_timestamp_ms >= 0 && (too_old || too_new) {
            return Err(LogFailure::InvalidTimestamp.into());
        }
    }
    Ok(head)
}

fn no_key() -> Failure {
    because(LogFailure::InvalidRecord, "Compacted topic cannot accept message without key.")
}

/// Whether the records of an uncompressed batch are as many as it says, with keys where they must be, and nothing else is there.
fn check_plain(batch: &[u8], head: &BatchHead, with_keys: bool) -> Result<(), Failure> {
    let mut records = Records::new(batch.get(record::HEADER_BYTES..head.len).unwrap_or_default(), head.records);
    let malformed = || because(LogFailure::InvalidRecord, "the records are malformed");
    let mut keys_missing = false;
    for record in records.by_ref() {
        keys_missing |= record.map_err(|_| malformed())?.key.is_none();
    }
    match records.is_at_end() {
        false => Err(malformed()),
        true if with_keys && keys_missing => Err(no_key()),
        true => Ok(()),
    }
}
