//! Key 1, Fetch: read partitions, as a session that remembers what is read (KIP-227), or without one.
//!
//! Batches go out as they lie in the log: their first sixteen bytes are written anew, with the offset and the leader epoch
//! that they have here, and the rest is shared.
//!
//! A client's first request names all partitions; it is given a session, and later requests name what has changed, and hear
//! of partitions that have something to say. A connection has one session: a client that asks over another one, or was
//! given a newer one, is told that the session is not known, and begins afresh.

use std::collections::BTreeMap;
use std::ops::Bound;

use model::planted::{self, Bug};
use model::topic::{Fetch, FetchFrom, Fetched, TopicKey};
use model::{Reply, Request, limits};

use super::answers::Frame;
use super::errors::{self, log_code};
use super::job::{Answer, partition};
use super::metadata::{LEADER_EPOCH, topic_id, uuid};
use crate::codec::error_code::{FETCH_SESSION_ID_NOT_FOUND, FETCH_SESSION_TOPIC_ID_ERROR, INVALID_FETCH_SESSION_EPOCH};
use crate::codec::fetch::{self, AbortedTransaction, Partition, RequestPartition, Response};
use crate::codec::wire::Uuid;

/// Where the bytes of a batch begin that are handed out as they lie.
const BATCH_KEPT_FROM: usize = 16;
/// The epoch of a request that begins a session.
const FIRST_EPOCH: i32 = 0;
/// The epoch of a request that wants none.
const NO_EPOCH: i32 = -1;
/// The first version that names topics by id.
const BY_ID: i16 = 13;
/// What a session takes for a partition beside the topic's name, about, in bytes.
const REMEMBERED_BYTES: usize = 160;

/// What a session knows of a partition.
struct Remembered {
    from: FetchFrom,
    /// High watermark and log start as last told; -1: never.
    told: (i64, i64),
}

/// What is read again and again over one connection.
pub(super) struct FetchSession {
    id: i32,
    /// The epoch of the next request.
    epoch: i32,
    by_id: bool,
    partitions: BTreeMap<(TopicKey, u32), Remembered>,
    /// What all of them take, about.
    bytes: usize,
    /// The next answer begins behind this partition, so that none is left out for ever.
    last: Option<(TopicKey, u32)>,
}

/// A request that is being carried out.
pub(super) struct Reading {
    version: i16,
    asked: Vec<FetchFrom>,
    min_bytes: usize,
    max_bytes: usize,
    max_wait_ms: u64,
    committed_only: bool,
    /// Told to the client; 0: none.
    session_id: i32,
    /// Partitions without news are left out.
    incremental: bool,
}

/// How a request begins.
pub(super) enum Begun {
    Read(Reading),
    /// There is nothing to read: answer at once, with this error and session.
    Answer {
        error_code: i16,
        session_id: i32,
    },
}

impl Reading {
    /// Begin to carry out a request. `session`: that of the connection; `new_id`: for a new one.
    pub fn begin(request: &fetch::Request<'_>, version: i16, session: &mut Option<FetchSession>, new_id: i32) -> Begun {
        let mut reading = Reading {
            version,
            asked: Vec::new(),
            min_bytes: usize::try_from(request.min_bytes).unwrap_or(0),
            max_bytes: usize::try_from(request.max_bytes).unwrap_or(0).min(limits::FETCH_BYTES_MAX),
            max_wait_ms: u64::try_from(request.max_wait_ms).unwrap_or(0),
            committed_only: request.isolation_level == 1,
            session_id: 0,
            incremental: false,
        };
        if matches!(request.session_epoch, FIRST_EPOCH | NO_EPOCH) {
            if session.as_ref().is_some_and(|session| session.id == request.session_id) {
                *session = None;
            }
            reading.asked = partitions(request, version).collect();
            if request.session_epoch == FIRST_EPOCH && !reading.asked.is_empty() {
                let new = FetchSession::new(new_id, version >= BY_ID, &reading.asked);
                // One that would take too much is declined: the client names everything each time.
                if !new.is_too_large() {
                    reading.session_id = new.id;
                    *session = Some(new);
                }
            }
        } else {
            match FetchSession::go_on(session, request, version) {
                Ok(known) => {
                    reading.asked = known.partitions();
                    reading.session_id = known.id;
                    reading.incremental = true;
                    if known.is_too_large() {
                        *session = None;
                        return Begun::Answer { error_code: FETCH_SESSION_ID_NOT_FOUND, session_id: 0 };
                    }
                }
                Err(error_code) => return Begun::Answer { error_code, session_id: 0 },
            }
        }
        if reading.asked.is_empty() {
            return Begun::Answer { error_code: 0, session_id: reading.session_id };
        }
        Begun::Read(reading)
    }

    pub fn ask(&self) -> Request<'_> {
        Request::Fetch(Fetch {
            partitions: &self.asked,
            min_bytes: self.min_bytes,
            max_bytes: self.max_bytes,
            max_wait_ms: self.max_wait_ms,
            committed_only: self.committed_only,
            incremental: self.incremental,
        })
    }

    /// Append the response's body.
    pub fn respond(&self, answer: Answer, session: &mut Option<FetchSession>, frame: &mut Frame) {
        // Of an incremental one the first partitions may be enough.
        let is_answer = |count| count == self.asked.len() || (self.incremental && count < self.asked.len());
        let mut fetched = match answer {
            Ok(Reply::Fetched(fetched)) if is_answer(fetched.len()) => fetched,
            Ok(_) => return answer_nothing(errors::MISMATCH, 0, self.version, frame),
            Err(failure) => return answer_nothing(errors::code(&failure), 0, self.version, frame),
        };
        let mut session = session.as_mut().filter(|session| session.id == self.session_id && self.session_id != 0);
        let mut told: Vec<(&FetchFrom, &mut Fetched)> = self.asked.iter().zip(&mut fetched).collect();
        if let Some(session) = &mut session {
            session.pass_turn(&told, self.committed_only);
            told.retain(|(from, fetched)| session.note(from, fetched) || !self.incremental);
        }
        let response = Response { session_id: self.session_id, ..Response::default() };
        let topics = told.chunk_by(|(a, _), (b, _)| a.topic == b.topic).count();
        fetch::put_head(&mut frame.bytes, self.version, &response, topics);
        for topic in told.chunk_by_mut(|(a, _), (b, _)| a.topic == b.topic) {
            let Some((from, _)) = topic.first() else { continue };
            let (name, id) = match &from.topic {
                TopicKey::Name(name) => (&**name, Uuid::default()),
                TopicKey::Id(id) => ("", uuid(*id)),
            };
            fetch::put_topic_head(&mut frame.bytes, self.version, name, id, topic.len());
            for (from, fetched) in topic {
                self.put_partition(from, fetched, frame);
            }
            fetch::put_topic_tail(&mut frame.bytes, self.version);
        }
        fetch::put_tail(&mut frame.bytes, self.version, &response);
    }

    fn put_partition(&self, from: &FetchFrom, fetched: &mut Fetched, frame: &mut Frame) {
        let aborted = |fetched: &Fetched| -> Vec<AbortedTransaction> {
            let aborted = fetched.aborted.iter();
            aborted.map(|&(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset }).collect()
        };
        let partition = Partition {
            partition_index: from.partition as i32,
            error_code: fetched.failure.map_or(0, log_code),
            high_watermark: fetched.high_watermark,
            last_stable_offset: fetched.last_stable,
            log_start_offset: fetched.log_start,
            aborted_transactions: (self.committed_only && fetched.failure.is_none()).then(|| aborted(fetched)),
            ..Partition::default()
        };
        fetch::put_partition_head(&mut frame.bytes, self.version, &partition, fetched.bytes());
        for batch in fetched.batches.drain(..) {
            frame.bytes.extend_from_slice(&batch.base_offset.to_be_bytes());
            // The batch's own length.
            frame.bytes.extend_from_slice(batch.bytes.get(8..12).unwrap_or_default());
            frame.bytes.extend_from_slice(&LEADER_EPOCH.to_be_bytes());
            frame.share(batch.bytes.slice(BATCH_KEPT_FROM.min(batch.bytes.len())..));
        }
        fetch::put_partition_tail(&mut frame.bytes, self.version, &partition);
    }
}

/// Append the body of a response that names no partition.
pub(super) fn answer_nothing(error_code: i16, session_id: i32, version: i16, frame: &mut Frame) {
    let response = Response { error_code, session_id, ..Response::default() };
    fetch::put_head(&mut frame.bytes, version, &response, 0);
    fetch::put_tail(&mut frame.bytes, version, &response);
}

fn remembered_bytes((topic, _): &(TopicKey, u32)) -> usize {
    REMEMBERED_BYTES
        + match topic {
            TopicKey::Name(name) => name.len(),
            TopicKey::Id(_) => 0,
        }
}

fn topic_key(name: &str, id: Uuid, version: i16) -> TopicKey {
    if version >= BY_ID { TopicKey::Id(topic_id(id)) } else { TopicKey::Name(name.into()) }
}

/// What a request names to be read.
fn partitions<'r>(request: &'r fetch::Request<'_>, version: i16) -> impl Iterator<Item = FetchFrom> + use<'r> {
    request.topics.iter().flat_map(move |topic| {
        let key = topic_key(topic.topic, topic.topic_id, version);
        topic.partitions.iter().map(move |asked: &RequestPartition| FetchFrom {
            topic: key.clone(),
            partition: partition(asked.partition),
            offset: asked.fetch_offset,
            max_bytes: usize::try_from(asked.partition_max_bytes).unwrap_or(0),
            current_epoch: (asked.current_leader_epoch >= 0).then_some(asked.current_leader_epoch),
        })
    })
}

impl FetchSession {
    fn new(id: i32, by_id: bool, asked: &[FetchFrom]) -> FetchSession {
        let mut session = FetchSession { id, epoch: 1, by_id, partitions: BTreeMap::new(), bytes: 0, last: None };
        session.read(asked.iter().cloned());
        session
    }

    /// These partitions are read from now on, or from elsewhere.
    fn read(&mut self, asked: impl Iterator<Item = FetchFrom>) {
        for from in asked {
            let key = (from.topic.clone(), from.partition);
            match self.partitions.get_mut(&key) {
                // The name is there already.
                Some(remembered) => {
                    let topic = remembered.from.topic.clone();
                    remembered.from = FetchFrom { topic, ..from };
                }
                None => {
                    self.bytes += remembered_bytes(&key);
                    self.partitions.insert(key, Remembered { from, told: (-1, -1) });
                }
            }
        }
    }

    fn is_too_large(&self) -> bool {
        self.bytes > limits::FETCH_SESSION_BYTES_MAX
    }

    /// Take in the changes that a request names.
    fn go_on<'s>(
        session: &'s mut Option<FetchSession>,
        request: &fetch::Request<'_>,
        version: i16,
    ) -> Result<&'s mut FetchSession, i16> {
        let known = session.as_mut().filter(|session| session.id == request.session_id);
        let Some(session) = known else { return Err(FETCH_SESSION_ID_NOT_FOUND) };
        if request.session_epoch != session.epoch {
            return Err(INVALID_FETCH_SESSION_EPOCH);
        }
        if session.by_id != (version >= BY_ID) {
            return Err(FETCH_SESSION_TOPIC_ID_ERROR);
        }
        for topic in &request.forgotten_topics {
            let key = topic_key(topic.topic, topic.topic_id, version);
            for index in &topic.partitions {
                let key = (key.clone(), partition(*index));
                if session.partitions.remove(&key).is_some() {
                    session.bytes -= remembered_bytes(&key);
                }
            }
        }
        session.read(partitions(request, version));
        // 0 stands for the beginning.
        session.epoch = session.epoch.checked_add(1).unwrap_or(1);
        Ok(session)
    }

    /// What is read, beginning behind the partition that was served last.
    fn partitions(&self) -> Vec<FetchFrom> {
        let Some(last) = &self.last else {
            return self.partitions.values().map(|remembered| remembered.from.clone()).collect();
        };
        let behind = self.partitions.range((Bound::Excluded(last), Bound::Unbounded));
        let before = self.partitions.range(..=last);
        behind.chain(before).map(|(_, remembered)| remembered.from.clone()).collect()
    }

    /// A partition was read. Returns whether there is something to say about it.
    fn note(&mut self, from: &FetchFrom, fetched: &Fetched) -> bool {
        let key = (from.topic.clone(), from.partition);
        let Some(remembered) = self.partitions.get_mut(&key) else { return true };
        let now = (fetched.high_watermark, fetched.log_start);
        let news = !fetched.batches.is_empty() || fetched.failure.is_some() || remembered.told != now;
        // After an error the client is told how things stand, even where they are as before.
        remembered.told = if fetched.failure.is_some() { (-1, -1) } else { now };
        news
    }

    /// The turn goes to whoever follows the last partition that had records, before any for whose records there was no room: a
    /// batch may be too large wherever it is not the first of an answer.
    fn pass_turn(&mut self, read: &[(&FetchFrom, &mut Fetched)], committed_only: bool) {
        let mut last: Option<&FetchFrom> = None;
        for (from, fetched) in read {
            let end = if committed_only { fetched.last_stable } else { fetched.high_watermark };
            if !fetched.batches.is_empty() {
                last = Some(from);
            } else if last.is_some() && from.offset < end {
                break;
            }
        }
        if let Some(from) = last.filter(|_| !planted::is(Bug::TurnKept)) {
            self.last = Some((from.topic.clone(), from.partition));
        }
    }
}
