//! Appending batches.

use std::borrow::Cow;

use model::planted::{self, Bug};
use model::record::{self, BatchHead, RecordError, attribute};
use model::topic::{Produce, Produced, TopicRef};
use model::{Failure, LogFailure, Lsn, Now, Reply, SessionId};
use storage::LogId;

use super::config::Settings;
use super::examine::{Asked, Examined, Rules};
use super::partition::Checked;
use crate::broker::Broker;

/// No partition holds offsets from here on: an entry's tag has 48 bits for them.
const OFFSETS_MAX: u64 = 1 << 47;
/// Codecs 0 to 4: none, gzip, snappy, lz4, zstd.
const CODEC_MAX: i16 = 4;

impl Broker {
    pub(crate) fn produce(&mut self, id: SessionId, produce: &Produce<'_>, now: Now) -> Result<Reply, Failure> {
        if let TopicRef::Name(name) = produce.topic
            && !super::is_name(name)
        {
            return Err(LogFailure::InvalidTopicName.into());
        }
        let log = self.topics.partition_log(produce.topic, produce.partition)?;
        let Some(settings) = self.topics.settings_of(log) else { return Err(LogFailure::UnknownTopic.into()) };
        let mut head = check(produce.records, settings)?;
        let packing = settings.packing.filter(|packing| packing.codec != head.attributes & attribute::COMPRESSION);
        // Whether there are keys only the records can tell.
        let believed = self.options.topics.believe_compressed && !settings.compact;
        let asked = Asked { packing, believed, rules: rules(settings, now) };
        let Some(sound) = self.examine(id, produce.records, &head, asked)? else { return Ok(Reply::Pending) };
        let Some(settings) = self.topics.settings_of(log) else { return Err(LogFailure::UnknownTopic.into()) };
        check_records(&sound.records, settings, now)?;
        let (append_time, batch_bytes_max) = (settings.append_time, settings.batch_bytes_max);
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
        if let Some(repacked) = sound.repacked {
            if repacked.len() > batch_bytes_max {
                return Err(LogFailure::BatchTooLarge.into());
            }
            batch = Vec::from(repacked).into();
        }
        if append_time {
            record::stamp(batch.to_mut(), now.wall_ms);
        } else if head.max_timestamp_ms != sound.records.newest_ms || head.is(attribute::APPEND_TIME) {
            // Retention and searches by time go by it.
            record::set_newest(batch.to_mut(), sound.records.newest_ms);
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
fn check(records: &[u8], settings: &Settings) -> Result<BatchHead, Failure> {
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
    Ok(head)
}

/// What the topic takes at this time.
fn rules(settings: &Settings, now: Now) -> Rules {
    let now_ms = now.wall_ms as i64;
    let times_ms = (now_ms.saturating_sub(settings.before_max_ms), now_ms.saturating_add(settings.after_max_ms));
    Rules { keys: settings.compact, times_ms: (!settings.append_time).then_some(times_ms) }
}

/// Whether a partition takes what is inside a batch.
fn check_records(records: &Examined, settings: &Settings, now: Now) -> Result<(), Failure> {
    let refused = |failure| Err(Failure::BadRecords { failure, records: records.bad.clone().into() });
    let rules = rules(settings, now);
    if rules.keys && records.keyless {
        return refused(LogFailure::InvalidRecord);
    }
    if let (Some((earliest_ms, latest_ms)), Some(oldest_ms)) = (rules.times_ms, records.oldest_ms)
        && (oldest_ms < earliest_ms || records.newest_ms > latest_ms)
    {
        return refused(LogFailure::InvalidTimestamp);
    }
    Ok(())
}
