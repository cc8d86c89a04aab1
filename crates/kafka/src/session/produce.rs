//! Key 0, Produce: each partition's batch is asked for by itself, from where it lies in the input.
//!
//! The frame stays in the input until all its batches have been taken, and nothing of it is copied. With acks 1 and -1 the
//! answer waits until all that was written is on disk; requests behind it are read meanwhile. With acks 0 there is no
//! answer, and what fails ends the connection: there is no other way to tell.

use model::record::attribute;
use model::topic::{Produce, TopicRef};
use model::{BadRecord, BadRecordCause, Failure, LogFailure, Lsn, Reply, Request};

use super::errors::{Refusal, log_code};
use super::job::{Answer, partition};
use crate::codec::error_code::{INVALID_RECORD, INVALID_REQUIRED_ACKS, UNSUPPORTED_COMPRESSION_TYPE};
use crate::codec::produce::{self, Counts, Entry, Partition, Partitions, Position, RecordError};
use crate::codec::wire::DecodeError;

/// From this version on batches may be compressed with zstd (KIP-110).
const ZSTD: i16 = 7;
const ZSTD_CODEC: i16 = 4;
/// Where a batch's attributes lie in it.
const ATTRIBUTES_AT: usize = 21;
/// From this version on a transaction takes in partitions as they are written to (KIP-890).
const IMPLICIT: i16 = 12;
const NO_ACKS: i16 = 0;

/// A request that is being carried out. What it has to say goes straight into the response.
pub(super) struct Production {
    version: i16,
    acks: i16,
    /// Where the body begins in the frame.
    body_at: usize,
    position: Position,
    /// Where the partition lies that was asked for.
    asked_at: Position,
    /// It is to be asked for again.
    again: bool,
    /// Partitions that have not been answered.
    left: usize,
    /// The partition that was asked for: its number, and whether it is the last of its topic.
    asked: (i32, bool),
    /// All that was written is safe from here on.
    pub safe_at: Lsn,
    /// Something was refused.
    failed: bool,
}

impl Production {
    /// Begin to carry out a request, whose response's header is in `out`. `body_at`: where the body lies in the frame.
    pub fn new(frame: &[u8], body_at: usize, version: i16, out: &mut Vec<u8>) -> Result<Production, DecodeError> {
        let body = frame.get(body_at..).unwrap_or_default();
        let (head, partitions) = produce::walk(body, version)?;
        let position = partitions.position();
        let Counts { topics, partitions: left } = partitions.check()?;
        produce::put_head(out, version, topics);
        Ok(Production {
            version,
            acks: head.acks,
            body_at,
            position,
            asked_at: position,
            again: false,
            left,
            asked: (0, false),
            safe_at: Lsn(0),
            failed: false,
        })
    }

    /// Ask for the next batch. Nothing: all have been answered, and the response is whole.
    pub fn next<'i>(&mut self, frame: &'i [u8], out: &mut Vec<u8>) -> Option<Request<'i>> {
        while self.left > 0 {
            let body = frame.get(self.body_at..).unwrap_or_default();
            let again = std::mem::take(&mut self.again);
            self.asked_at = if again { self.asked_at } else { self.position };
            let mut partitions = Partitions::resume(body, self.version, self.asked_at);
            // The whole frame was walked before: there are no errors, and there is a next one.
            let Some(Ok(entry)) = partitions.next() else { break };
            self.position = partitions.position();
            if entry.nth == 0 && !again {
                produce::put_topic_head(out, self.version, entry.name, entry.topic_id, entry.partitions);
            }
            self.asked = (entry.index, entry.nth + 1 == entry.partitions);
            let records = entry.records.unwrap_or_default();
            if !matches!(self.acks, -1..=1) {
                let text = format!("acks must be 0, 1 or -1, not {}", self.acks);
                self.put(Err(Refusal::new(INVALID_REQUIRED_ACKS, &text)), out);
            } else if records.is_empty() {
                let text = "a produce request has at least one record batch for each partition";
                self.put(Err(Refusal::new(INVALID_RECORD, text)), out);
            } else if self.version < ZSTD && is_zstd(records) {
                let text = format!("zstd is for Produce from version {ZSTD} on");
                self.put(Err(Refusal::new(UNSUPPORTED_COMPRESSION_TYPE, &text)), out);
            } else {
                return Some(Request::Produce(self.request(body, &entry, records)));
            }
        }
        produce::put_tail(out, self.version, 0);
        None
    }

    fn request<'i>(&self, body: &'i [u8], entry: &Entry<'i>, records: &'i [u8]) -> Produce<'i> {
        Produce {
            topic: TopicRef::Name(entry.name),
            partition: partition(entry.index),
            records,
            transactional_id: produce::walk(body, self.version).ok().and_then(|(head, _)| head.transactional_id),
            implicit: self.version >= IMPLICIT,
        }
    }

    /// The next batch to ask for is the last one once more.
    pub fn ask_again(&mut self) {
        self.again = true;
    }

    /// What became of the batch that was asked for.
    pub fn answered(&mut self, answer: Answer, out: &mut Vec<u8>) {
        match answer {
            Ok(Reply::Produced(produced)) => {
                if self.acks != NO_ACKS {
                    self.safe_at = self.safe_at.max(produced.durable_at);
                }
                let partition = Partition {
                    index: self.asked.0,
                    base_offset: produced.base_offset,
                    log_append_time_ms: produced.append_time_ms,
                    log_start_offset: produced.log_start,
                    ..Partition::default()
                };
                self.put(Ok(partition), out);
            }
            Ok(_) => self.put(Err(Refusal { code: super::errors::MISMATCH, text: None }), out),
            Err(Failure::BadRecords { failure, records }) => self.put_bad(failure, &records, out),
            Err(failure) => self.put(Err(failure.into()), out),
        }
    }

    /// The batch was refused for some of its records, which are named (KIP-467).
    fn put_bad(&mut self, failure: LogFailure, records: &[BadRecord], out: &mut Vec<u8>) {
        let texts: Vec<String> = records.iter().map(bad_record_text).collect();
        let record_error = |(record, message): (&BadRecord, _)| RecordError {
            batch_index: i32::try_from(record.index).unwrap_or(i32::MAX),
            message: Some(message),
        };
        let record_errors = records.iter().zip(texts.iter().map(String::as_str)).map(record_error).collect();
        let text = format!("{failure}: {} of its records, named in the answer", records.len());
        let partition = Partition { record_errors, ..refusal(log_code(failure), Some(&text)) };
        self.failed = true;
        self.put_partition(partition, out);
    }

    fn put(&mut self, told: Result<Partition<'_>, Refusal>, out: &mut Vec<u8>) {
        match told {
            Ok(partition) => self.put_partition(partition, out),
            Err(Refusal { code, text }) => {
                self.failed = true;
                self.put_partition(refusal(code, text.as_deref()), out);
            }
        }
    }

    fn put_partition(&mut self, partition: Partition<'_>, out: &mut Vec<u8>) {
        self.left -= 1;
        let (index, last) = self.asked;
        produce::put_partition(out, self.version, &Partition { index, ..partition });
        if last {
            produce::put_topic_tail(out, self.version);
        }
    }

    /// No response is sent.
    pub fn is_silent(&self) -> bool {
        self.acks == NO_ACKS
    }

    /// The connection ends, since the client cannot be told otherwise what was refused.
    pub fn ends_connection(&self) -> bool {
        self.is_silent() && self.failed
    }
}

/// Whether a batch says that it is compressed with zstd. What is no batch is for the broker to refuse.
fn is_zstd(batch: &[u8]) -> bool {
    let attributes = batch.get(ATTRIBUTES_AT..).and_then(|rest| rest.first_chunk::<2>());
    attributes.is_some_and(|bytes| i16::from_be_bytes(*bytes) & attribute::COMPRESSION == ZSTD_CODEC)
}

fn refusal(error_code: i16, error_message: Option<&str>) -> Partition<'_> {
    Partition { error_code, base_offset: -1, error_message, ..Partition::default() }
}

fn bad_record_text(record: &BadRecord) -> String {
    match record.why {
        BadRecordCause::NoKey => "Compacted topic cannot accept message without key.".into(),
        BadRecordCause::Time { ms, earliest_ms, latest_ms } => format!(
            "Timestamp {ms} of message with offset {} is out of range. The timestamp should be within [{earliest_ms}, {latest_ms}]",
            record.index
        ),
    }
}
