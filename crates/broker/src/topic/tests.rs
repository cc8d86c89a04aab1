//! The broker's topics over a simulated disk. Tests named `pitfall_NN` show one of the places where brokers that speak
//! Kafka's protocol went wrong.

use std::sync::Arc;

use model::group::TransactionRef;
use model::record::{BatchHead, RecordParts, attribute};
use model::topic::{
    ConfigChange, ConfigOf, ConfigOperation, CreateTopic, Fetch, FetchFrom, Fetched, OffsetAt, Produce, Produced, TopicKey,
    TopicRef,
};
use model::{Event, Failure, LogFailure, Now, Offset, Reply, Request, SessionId, SubscriptionId};
use vfs::Vfs;
use vfs::simulated::SimulatedDisk;

use crate::broker::{Broker, Options, Sink};

mod compaction;
mod fetching;
mod producing;
mod retention;
mod streams;
mod topics;
mod transactions;

/// What sessions are told.
#[derive(Default)]
struct Told {
    answers: Vec<(SessionId, Result<Reply, Failure>)>,
    delivered: Vec<streams::Delivered>,
    cancelled: Vec<SubscriptionId>,
}

impl Sink for Told {
    fn send(&mut self, session: SessionId, event: Event<'_>) -> usize {
        match event {
            Event::Reply(reply) => self.answers.push((session, Ok(reply))),
            Event::Failed(failure) => self.answers.push((session, Err(failure))),
            Event::Cancelled { subscription, .. } => self.cancelled.push(subscription),
            Event::Deliver { .. } => self.delivered.push(streams::Delivered::of(session, &event)),
            _ => {}
        }
        0
    }
}

struct World {
    disk: SimulatedDisk,
    broker: Broker,
    told: Told,
    now: Now,
}

const ME: SessionId = SessionId(1);

fn options() -> Options {
    // Whatever a protocol keeps in its header, others may read.
    let plain_headers = |headers: &[model::Header<'_>]| {
        headers.iter().map(|header| (format!("plain {}", header.name), header.value.to_vec())).collect()
    };
    // Little in a turn, so that there are turns; and little memory for keys, so that some do not fit.
    let topics = super::Options { compaction_turn_bytes: 16 * 1024, compaction_key_bytes: 2 * 1024, ..super::Options::default() };
    Options { dialect: model::Dialect { plain_headers, ..model::Dialect::default() }, topics, ..Options::default() }
}

fn storage_options() -> storage::Options {
    let sizes = storage::Sizes { read_bytes: 4_000, page_out_bytes: 1_000, checkpoint_entries: 2, ..storage::Sizes::default() };
    let mut options =
        storage::Options { arena_bytes: 64 * 1024, journal_bytes: 128 * 1024, sizes, ..storage::Options::default() };
    (options.journal.segment_bytes, options.journal.cache_bytes) = (64 * 1024, 32 * 1024);
    options
}

impl World {
    fn new(seed: u64) -> World {
        let mut disk = SimulatedDisk::new(seed);
        let broker = Broker::open(options(), storage_options(), &mut disk).unwrap();
        let now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
        let mut world = World { disk, broker, told: Told::default(), now };
        world.broker.open_session(ME, true);
        world
    }

    fn ask(&mut self, request: Request<'_>) -> Result<Reply, Failure> {
        self.broker.request(ME, request, self.now)
    }

    fn turn(&mut self) {
        while let Some(completion) = self.disk.poll() {
            match completion.lane {
                vfs::Lane::Compute => self.broker.worked_out(completion),
                _ => self.broker.store_mut().completed(completion).unwrap(),
            }
        }
        self.broker.deliver(&mut self.told, self.now);
        self.broker.tick(self.now);
        if self.broker.store().wants_checkpoint() {
            self.broker.checkpoint();
        }
        self.broker.store_mut().poll(&mut self.disk);
        self.broker.submit_work(&mut self.disk);
        self.disk.step();
    }

    fn settle(&mut self) {
        for _ in 0..100_000 {
            self.turn();
            if self.broker.store().idle() && !self.broker.busy() {
                return;
            }
        }
        panic!("the broker never came to rest");
    }

    /// The answer to what was pending.
    fn answer(&mut self) -> Result<Reply, Failure> {
        for _ in 0..10_000 {
            if let Some((_, answer)) = self.told.answers.pop() {
                return answer;
            }
            self.turn();
        }
        panic!("never answered");
    }

    fn crash(&mut self) {
        self.disk.crash();
        self.broker = Broker::open(options(), storage_options(), &mut self.disk).unwrap();
        self.broker.open_session(ME, true);
        self.told = Told::default();
    }

    fn create(&mut self, name: &str, partitions: u32, config: &[(&str, &str)]) {
        let config: Vec<_> = config.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
        let create = CreateTopic { name, partitions: Some(partitions), config: &config, validate_only: false, automatic: false };
        self.ask(Request::CreateTopic(create)).unwrap();
        self.settle();
    }

    fn produce(&mut self, topic: &str, records: &[u8]) -> Result<Produced, Failure> {
        self.produce_to(topic, 0, records)
    }

    fn produce_to(&mut self, topic: &str, partition: u32, records: &[u8]) -> Result<Produced, Failure> {
        let (topic, transactional_id) = (TopicRef::Name(topic), Some("tx"));
        loop {
            match self.ask(Request::Produce(Produce { topic, partition, records, transactional_id, implicit: false }))? {
                Reply::Produced(produced) => return Ok(produced),
                Reply::Pending => assert_eq!(self.answer().unwrap(), Reply::Again),
                other => panic!("{other:?}"),
            }
        }
    }

    fn fetch(&mut self, topic: &str, offset: i64, committed_only: bool) -> Fetched {
        let partitions = [from(topic, 0, offset)];
        self.fetched(Fetch { committed_only, ..fetch_of(&partitions) }).remove(0)
    }

    fn fetched(&mut self, fetch: Fetch<'_>) -> Vec<Fetched> {
        let reply = match self.ask(Request::Fetch(fetch)).unwrap() {
            Reply::Pending => self.answer().unwrap(),
            reply => reply,
        };
        let Reply::Fetched(fetched) = reply else { panic!("{reply:?}") };
        self.nobody_waits();
        fetched
    }

    fn nobody_waits(&self) {
        assert!(self.broker.topics.partitions.values().all(|partition| partition.waiting.is_empty()), "nobody waits any more");
    }

    fn list(&mut self, topic: &str, at: OffsetAt, committed_only: bool) -> (i64, i64, i32) {
        let request = Request::ListOffset { topic, partition: 0, at, committed_only, current_epoch: None };
        let reply = match self.ask(request).unwrap() {
            Reply::Pending => self.answer().unwrap(),
            reply => reply,
        };
        let Reply::Offset(found) = reply else { panic!("{reply:?}") };
        (found.offset, found.timestamp_ms, found.leader_epoch)
    }

    fn init(&mut self, known: Option<(i64, i16)>) -> Result<(i64, i16), Failure> {
        let request = Request::InitProducer { transactional_id: Some("tx"), timeout_ms: 60_000, known };
        match self.ask(request)? {
            Reply::Producer { id, epoch, .. } => Ok((id, epoch)),
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, (producer_id, epoch): (i64, i16), commit: bool, bump: bool) -> Result<(i64, i16), Failure> {
        let transaction = TransactionRef { transactional_id: "tx", producer_id, epoch };
        match self.ask(Request::EndTransaction { transaction, commit, bump })? {
            Reply::Producer { id, epoch, .. } => Ok((id, epoch)),
            other => panic!("{other:?}"),
        }
    }

    fn add(&mut self, (producer_id, epoch): (i64, i16), topic: &str) -> Result<Reply, Failure> {
        let transaction = TransactionRef { transactional_id: "tx", producer_id, epoch };
        self.ask(Request::AddToTransaction { transaction, topic, partition: 0 })
    }
}

fn from(topic: &str, partition: u32, offset: i64) -> FetchFrom {
    FetchFrom { topic: TopicKey::Name(Arc::from(topic)), partition, offset, max_bytes: 1 << 20, current_epoch: None }
}

/// All of these that there is now.
fn fetch_of(partitions: &[FetchFrom]) -> Fetch<'_> {
    Fetch { partitions, min_bytes: 0, max_bytes: 1 << 20, max_wait_ms: 0, committed_only: false, incremental: false }
}

/// A batch of so many records, each of which says its place in the batch, one ms apart.
fn batch(values: &[&str], at_ms: i64, producer: Option<(i64, i16, i32)>, attributes: i16) -> Vec<u8> {
    let mut out = Vec::new();
    RecordParts::default().encode(at_ms as u64, &mut out);
    out.truncate(model::record::HEADER_BYTES);
    for (index, value) in values.iter().enumerate() {
        // Small numbers only: one byte each, zigzag.
        let small = |value: usize| (value as u8) << 1;
        let body = [&[0, small(index), small(index), 1, small(value.len())][..], value.as_bytes(), &[0]].concat();
        out.push(small(body.len()));
        out.extend_from_slice(&body);
    }
    let count = values.len() as u32;
    let len = out.len() as u32;
    out[8..12].copy_from_slice(&(len - 12).to_be_bytes());
    out[21..23].copy_from_slice(&attributes.to_be_bytes());
    out[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    out[35..43].copy_from_slice(&(at_ms + i64::from(count) - 1).to_be_bytes());
    if let Some((id, epoch, sequence)) = producer {
        out[43..51].copy_from_slice(&id.to_be_bytes());
        out[51..53].copy_from_slice(&epoch.to_be_bytes());
        out[53..57].copy_from_slice(&sequence.to_be_bytes());
    }
    out[57..61].copy_from_slice(&count.to_be_bytes());
    model::record::seal(&mut out);
    out
}

const T0: i64 = 1_700_000_000_000;

/// Settings of a topic of which whatever may be compacted away is, the next time that somebody looks.
const COMPACTED_AT_ONCE: [(&str, &str); 4] =
    [("cleanup.policy", "compact"), ("segment.ms", "100"), ("min.cleanable.dirty.ratio", "0"), ("delete.retention.ms", "0")];

fn refused(result: Result<impl std::fmt::Debug, Failure>) -> LogFailure {
    match result {
        Err(Failure::Log(failure) | Failure::LogBecause { failure, .. } | Failure::BadRecords { failure, .. }) => failure,
        other => panic!("{other:?}"),
    }
}

/// A batch of records with keys of one byte; no value: a tombstone.
fn keyed(records: &[(u8, Option<&str>)], at_ms: i64, codec: i16) -> Vec<u8> {
    let mut body = Vec::new();
    for (index, (key, value)) in records.iter().enumerate() {
        let small = |value: usize| (value as u8) << 1;
        let value = value.map_or(vec![1], |value| [&[small(value.len())], value.as_bytes()].concat());
        let record = [&[0, small(index), small(index), 2, *key][..], &value, &[0]].concat();
        body.push(small(record.len()));
        body.extend_from_slice(&record);
    }
    let mut head = batch(&vec![""; records.len()], at_ms, None, codec);
    head.truncate(model::record::HEADER_BYTES);
    model::record::rebuild(
        &head,
        records.len() as u32,
        &super::records::compress(&body, super::records::Packing::of(codec)).unwrap(),
    )
}

/// Every record of the topic: (offset, key, value).
fn all_records(world: &mut World, topic: &str) -> Vec<(i64, u8, Option<Vec<u8>>)> {
    let (mut offset, mut all) = (world.list(topic, OffsetAt::Earliest, false).0, Vec::new());
    loop {
        let fetched = world.fetch(topic, offset, false);
        assert_eq!(fetched.failure, None);
        let Some(last) = fetched.batches.last() else { return all };
        offset = last.base_offset + i64::from(BatchHead::parse(&last.bytes).unwrap().offsets);
        for found in &fetched.batches {
            let head = BatchHead::parse(&found.bytes).unwrap();
            let bytes = super::records::decompress(&found.bytes).unwrap();
            for record in model::record::Records::new(&bytes, head.records) {
                let record = record.unwrap();
                let value = record.value.map(<[u8]>::to_vec);
                all.push((found.base_offset + record.offset_delta, record.key.unwrap()[0], value));
            }
        }
    }
}
