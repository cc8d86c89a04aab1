//! Dropping what is old: by time, by size, or because somebody asks.

use model::topic::TopicRef;
use model::{Failure, LogFailure, Now, Reply};
use storage::LogId;

use crate::broker::Broker;
use crate::catalog::Entry;

/// How long a producer that does not write is remembered (Kafka's `producer.id.expiration.ms`), in milliseconds.
pub(super) const PRODUCER_MS: i64 = 86_400_000;
/// Partitions looked at in one turn. Few in tests, so that there are turns.
pub(super) const PARTITIONS_PER_TURN: usize = if cfg!(test) { 4 } else { 1024 };
/// Stretches of partitions dropped in one turn. Few in tests, so that there are turns.
const STRETCHES_PER_TURN: usize = if cfg!(test) { 5 } else { 16 };

impl Broker {
    pub(crate) fn delete_records(&mut self, topic: &str, partition: u32, before: Option<i64>) -> Result<Reply, Failure> {
        let log = self.topics.partition_log(TopicRef::Name(topic), partition)?;
        if self.topics.settings_of(log).is_some_and(|settings| settings.compact && !settings.delete) {
            return Err(LogFailure::CompactedOnly.into());
        }
        let high = self.store.stream_end(log);
        let before = match before {
            None => high,
            Some(before) => u64::try_from(before).map_err(|_| LogFailure::OffsetOutOfRange)?,
        };
        if before > high {
            return Err(LogFailure::OffsetOutOfRange.into());
        }
        self.move_start(log, before);
        let offset = self.topics.partitions.get(&log).map_or(0, |partition| partition.start as i64);
        Ok(Reply::LogStart { offset, durable_at: self.store.appended() })
    }

    /// Nothing before `start` is shown any more, and what can be is dropped.
    fn move_start(&mut self, log: LogId, start: u64) {
        let Some(partition) = self.topics.partitions.get_mut(&log) else { return };
        if start <= partition.start {
            return;
        }
        partition.start = start;
        self.record(&Entry::LogStart { log: log.0, offset: start });
        self.store.drop_before(log, start);
        self.store.flush_settles();
        self.forget_ended(log);
        self.wake_readers(log);
    }

    /// Forget transactions of the partition that ended and that nobody needs to hear of any more.
    fn forget_ended(&mut self, log: LogId) {
        let (high, cleaned, appended) = (self.store.stream_end(log), self.cleaned(log), self.store.appended());
        self.topics.change_partition(log, |partition| partition.forget_ended(high, cleaned, appended));
    }

    /// From time to time, drop what the topics' settings say is too old, too much or superseded.
    pub(crate) fn retain(&mut self, now: Now) {
        self.compact(now);
        if self.topics.to_retain.is_empty() {
            if now.mono_ms < self.topics.next_retention_ms {
                return;
            }
            self.topics.next_retention_ms = now.mono_ms + self.options.topics.retention_check_ms;
            self.topics.to_retain.extend(self.topics.partitions.keys());
        }
        let rest = self.topics.to_retain.len().saturating_sub(PARTITIONS_PER_TURN);
        let mut left = STRETCHES_PER_TURN;
        for log in self.topics.to_retain.split_off(rest) {
            // What is left of it, and the others, have the next turn.
            if left == 0 {
                self.topics.to_retain.push(log);
                continue;
            }
            if let Some(start) = self.retained_from(log, &mut left, now) {
                self.move_start(log, start);
            }
            if left == 0 {
                self.topics.to_retain.push(log);
                continue;
            }
            self.forget_ended(log);
            if let Some(partition) = self.topics.partitions.get_mut(&log) {
                partition.forget_producers(now.wall_ms as i64 - PRODUCER_MS);
            }
        }
    }

    /// Where the partition begins once what is too old or too much is gone, at most `left` stretches of it.
    fn retained_from(&mut self, log: LogId, left: &mut usize, now: Now) -> Option<u64> {
        let settings = self.topics.settings_of(log)?;
        if !settings.delete {
            return None;
        }
        // Readers must have seen an end of it.
        let stable = self.topics.partitions.get(&log)?.last_stable(self.store.stream_end(log));
        let mut excess =
            u64::try_from(settings.retention_bytes).ok().map(|most| self.store.stream_bytes(log).saturating_sub(most));
        let oldest_ms = u64::try_from(settings.retention_ms).ok().map(|age| now.wall_ms.saturating_sub(age));
        let mut start = None;
        for stretch in self.store.stretches(log) {
            let newest_ms = match stretch.newest_ms {
                // Nobody said when: it is as old as it has been seen here like this.
                0 => self.topics.partitions.get_mut(&log)?.unstamped_since(stretch.end, now.wall_ms),
                stamped => stamped,
            };
            let old = oldest_ms.is_some_and(|oldest| newest_ms < oldest);
            let much = excess.is_some_and(|excess| excess >= stretch.bytes && stretch.bytes > 0 && !stretch.open);
            if !(old || much) || stretch.end > stable || *left == 0 {
                break;
            }
            *left -= 1;
            excess = excess.map(|excess| excess.saturating_sub(stretch.bytes));
            start = Some(stretch.end);
        }
        start
    }
}
