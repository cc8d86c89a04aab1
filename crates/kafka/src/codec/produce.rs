//! Key 0, Produce: append record batches to partitions.
//!
//! Known are versions 3 to 13, served up to 12: older ones carry message sets that no log keeps, 13 names topics by id.
//! `acks` is 0 (no response at all), 1 or -1 (all). `records` is one record batch, and stays where it lies in the frame:
//! [`Partitions`] walks a request without allocating, and a response can be written piece by piece.
//!
//! - 3: the transactional id; record batches of magic 2 only
//! - 5: `log_start_offset` comes back
//! - 7: zstd may be used
//! - 8: `record_errors` and `error_message` come back
//! - 9: flexible
//! - 10: current leader and its endpoint come back, as tags
//! - 11: TRANSACTION_ABORTABLE may come back
//! - 12: a partition that is produced to joins the transaction by that (KIP-890)
//! - 13: topics by id

use super::message::{Message, messages};
use super::wire::{DecodeError, Reader, Uuid, Version, Wire, put_length, put_no_tags};

messages! {
    Request<'a> (3..=13, flexible 9) {
        transactional_id: Option<&'a str>,
        acks: i16,
        timeout_ms: i32,
        topics: Vec<RequestTopic<'a>>,
    }

    RequestTopic<'a> {
        name: &'a str [..=12],
        topic_id: Uuid [13..],
        partitions: Vec<RequestPartition<'a>>,
    }

    RequestPartition<'a> {
        index: i32,
        records: Option<&'a [u8]>,
    }

    Response<'a> (3..=13, flexible 9) {
        topics: Vec<Topic<'a>>,
        throttle_time_ms: i32,
        node_endpoints: Vec<NodeEndpoint<'a>> [10.., tag 0],
    }

    Topic<'a> {
        name: &'a str [..=12],
        topic_id: Uuid [13..],
        partitions: Vec<Partition<'a>>,
    }

    Partition<'a> {
        index: i32,
        error_code: i16,
        base_offset: i64,
        log_append_time_ms: i64 = -1,
        log_start_offset: i64 [5..] = -1,
        record_errors: Vec<RecordError<'a>> [8..],
        error_message: Option<&'a str> [8..],
        current_leader: Leader [10.., tag 0],
    }

    RecordError<'a> {
        batch_index: i32,
        message: Option<&'a str>,
    }

    Leader {
        leader_id: i32 = -1,
        leader_epoch: i32 = -1,
    }

    NodeEndpoint<'a> {
        node_id: i32,
        host: &'a str,
        port: i32,
        rack: Option<&'a str>,
    }
}

/// A request without its topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    pub transactional_id: Option<&'a str>,
    pub acks: i16,
    pub timeout_ms: i32,
}

/// One partition of a request, where it lies in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Empty from version 13 on.
    pub name: &'a str,
    /// All zero up to version 12.
    pub topic_id: Uuid,
    /// How many partitions the topic has in this request.
    pub partitions: usize,
    /// How many of them come before this one; 0 begins a topic.
    pub nth: usize,
    pub index: i32,
    pub records: Option<&'a [u8]>,
}

/// Where a walk through a request stands: what to keep while the frame stays in the input. Counted from the body's begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    next: usize,
    /// Where the current topic's name or id lies.
    topic: usize,
    /// Topics that have not begun.
    topics: usize,
    /// Partitions of the current topic, and how many of them have passed.
    partitions: usize,
    passed: usize,
}

/// What a request holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Topics that have partitions; others are nothing to answer.
    pub topics: usize,
    pub partitions: usize,
}

/// The partitions of a request in their order, without allocating. Ends after an error.
#[derive(Clone, Debug)]
pub struct Partitions<'a> {
    body: &'a [u8],
    at: Version,
    position: Position,
}

/// Begin to walk through a request's body.
///
/// # Errors
/// [`DecodeError`] where the version is not known or the bytes before the first topic are malformed.
pub fn walk(body: &[u8], version: i16) -> Result<(Head<'_>, Partitions<'_>), DecodeError> {
    if !Request::VERSIONS.contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let at = Request::version(version);
    let mut reader = Reader::new(body);
    let head = Head {
        transactional_id: Option::read(&mut reader, at)?,
        acks: i16::read(&mut reader, at)?,
        timeout_ms: i32::read(&mut reader, at)?,
    };
    let topics = reader.array_length(at, RequestTopic::smallest(at))?.ok_or(DecodeError::Null)?;
    let next = body.len() - reader.rest().len();
    Ok((head, Partitions { body, at, position: Position { next, topic: next, topics, partitions: 0, passed: 0 } }))
}

impl<'a> Partitions<'a> {
    /// Go on with the same body from where an earlier walk stood.
    #[must_use]
    pub fn resume(body: &'a [u8], version: i16, position: Position) -> Partitions<'a> {
        Partitions { body, at: Request::version(version), position }
    }

    /// Where the walk stands: before the next entry.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Walk to the end, so that nothing of a malformed request is carried out.
    ///
    /// # Errors
    /// [`DecodeError`] where the bytes are malformed.
    pub fn check(self) -> Result<Counts, DecodeError> {
        let mut counts = Counts::default();
        for entry in self {
            counts.topics += usize::from(entry?.nth == 0);
            counts.partitions += 1;
        }
        Ok(counts)
    }

    fn reader(&self, from: usize) -> Reader<'a> {
        Reader::new(self.body.get(from..).unwrap_or_default())
    }

    fn step(&mut self) -> Result<Option<Entry<'a>>, DecodeError> {
        let Partitions { body, at, mut position } = *self;
        let mut reader = self.reader(position.next);
        while position.passed == position.partitions {
            if position.topics == 0 {
                return Ok(None);
            }
            position.topics -= 1;
            position.topic = body.len() - reader.rest().len();
            self.topic(&mut reader)?;
            let partitions = reader.array_length(at, RequestPartition::smallest(at))?.ok_or(DecodeError::Null)?;
            (position.partitions, position.passed) = (partitions, 0);
            if partitions == 0 {
                reader.skip_tags(at)?;
            }
        }
        let (name, topic_id) = self.topic(&mut self.reader(position.topic))?;
        let index = i32::read(&mut reader, at)?;
        let records = Option::read(&mut reader, at)?;
        reader.skip_tags(at)?;
        let entry = Entry { name, topic_id, partitions: position.partitions, nth: position.passed, index, records };
        position.passed += 1;
        if position.passed == position.partitions {
            reader.skip_tags(at)?;
        }
        position.next = body.len() - reader.rest().len();
        self.position = position;
        Ok(Some(entry))
    }

    fn topic(&self, reader: &mut Reader<'a>) -> Result<(&'a str, Uuid), DecodeError> {
        if self.at.number >= 13 { Ok(("", Uuid::read(reader, self.at)?)) } else { Ok((<&str>::read(reader, self.at)?, [0; 16])) }
    }
}

impl<'a> Iterator for Partitions<'a> {
    type Item = Result<Entry<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            (self.position.topics, self.position.partitions, self.position.passed) = (0, 0, 0);
        }
        step.transpose()
    }
}

/// Begin a response in pieces: [`put_topic_head`] and its [`Partition`]s by [`put_partition`] and [`put_topic_tail`] for each
/// of `topics`, then [`put_tail`].
pub fn put_head(out: &mut Vec<u8>, version: i16, topics: usize) {
    put_length(out, Response::version(version), Some(topics));
}

/// Begin a topic of so many partitions. Which of name and id is written depends on the version.
pub fn put_topic_head(out: &mut Vec<u8>, version: i16, name: &str, topic_id: Uuid, partitions: usize) {
    let at = Response::version(version);
    if version >= 13 {
        topic_id.put(out, at)
    } else {
        name.put(out, at)
    }
    put_length(out, at, Some(partitions));
}

/// Append a partition.
pub fn put_partition(out: &mut Vec<u8>, version: i16, partition: &Partition<'_>) {
    partition.put(out, Response::version(version));
}

/// End a topic.
pub fn put_topic_tail(out: &mut Vec<u8>, version: i16) {
    put_no_tags(out, Response::version(version));
}

/// End the response.
pub fn put_tail(out: &mut Vec<u8>, version: i16, throttle_time_ms: i32) {
    let at = Response::version(version);
    throttle_time_ms.put(out, at);
    put_no_tags(out, at);
}
