//! One blocking connection, and the questions that several clients ask.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use kafka::client::{Client, ClientError};
use kafka::codec::{ApiKey, Request, Response, error_code, fetch, init_producer_id, list_offsets, offset_fetch, produce};

use super::record::{Spot, Topic};
use crate::torture::fault::LinkError;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a fetch waits for records, in milliseconds.
const FETCH_WAIT_MS: i32 = 50;
const FETCH_BYTES: i32 = 512 * 1024;

pub struct Link {
    client: Client<TcpStream>,
}

/// A producer id and its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub producer_id: i64,
    pub epoch: i16,
}

impl Link {
    pub fn open(address: SocketAddr) -> Result<Link, LinkError> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        Ok(Link { client: Client::open(stream, "torture").map_err(fault)? })
    }

    /// Speak nothing newer.
    pub fn limit(&mut self, key: ApiKey, newest: i16) {
        self.client.versions.limit(key, newest);
    }

    pub fn ask<'s, T: TryFrom<Response<'s>>>(&'s mut self, request: &Request<'_>) -> Result<T, LinkError> {
        self.client.ask(request).map_err(fault)
    }

    /// Ask, and go on without the answer.
    pub fn send(&mut self, request: &Request<'_>) -> Result<(), LinkError> {
        self.client.send(request).map_err(fault)
    }

    pub fn receive<'s, T: TryFrom<Response<'s>>>(&'s mut self) -> Result<T, LinkError> {
        self.client.receive().map_err(fault)
    }

    /// A new producer id; with a transactional id its own, once whatever was open under it is decided.
    pub fn identify(&mut self, transactional_id: Option<&str>) -> Result<Identity, LinkError> {
        let request = init_producer_id::Request { transactional_id, transaction_timeout_ms: 60_000, ..Default::default() };
        loop {
            let answer: init_producer_id::Response = self.ask(&Request::InitProducerId(request.clone()))?;
            match answer.error_code {
                error_code::CONCURRENT_TRANSACTIONS => std::thread::sleep(Duration::from_millis(5)),
                code => {
                    check(code, "InitProducerId")?;
                    return Ok(Identity { producer_id: answer.producer_id, epoch: answer.producer_epoch });
                }
            }
        }
    }

    /// Where partitions end: at the high watermark, or where the last stable transaction does.
    pub fn ends(&mut self, spots: &[Spot], committed: bool) -> Result<Vec<u64>, LinkError> {
        let latest = |partition_index| list_offsets::RequestPartition { partition_index, timestamp: -1, ..Default::default() };
        let topics = by_topic(spots.iter().copied(), |spot| latest(spot.partition));
        let topics = topics.into_iter().map(|(topic, partitions)| list_offsets::RequestTopic { name: topic.name(), partitions });
        let request = list_offsets::Request {
            replica_id: -1,
            isolation_level: i8::from(committed),
            topics: topics.collect(),
            timeout_ms: 10_000,
        };
        let answer: list_offsets::Response<'_> = self.ask(&Request::ListOffsets(request))?;
        let mut ends = vec![0; spots.len()];
        for (topic, found) in answer.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |found| (topic.name, found)))
        {
            check(found.error_code, "ListOffsets")?;
            let place = spots.iter().position(|spot| (spot.topic.name(), spot.partition) == (topic, found.partition_index));
            let (Some(place), Ok(offset)) = (place, u64::try_from(found.offset)) else {
                return Err(LinkError::Fault(format!("ListOffsets: offset {} of {topic}", found.offset)));
            };
            ends[place] = offset;
        }
        Ok(ends)
    }

    /// Records from these offsets on; each partition's are handed to `heard`: where, bytes, and which transactions were aborted.
    pub fn fetch(
        &mut self,
        from: &[(Spot, u64)],
        committed: bool,
        mut heard: impl FnMut(Spot, &[u8], &[(i64, i64)]) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        let partition = |offset: u64, spot: Spot| fetch::RequestPartition {
            partition: spot.partition,
            fetch_offset: i64::try_from(offset).unwrap_or(i64::MAX),
            partition_max_bytes: FETCH_BYTES,
            ..Default::default()
        };
        let offset_of = |spot: Spot| from.iter().find(|(known, _)| *known == spot).map_or(0, |(_, offset)| *offset);
        let topics = by_topic(from.iter().map(|(spot, _)| *spot), |spot| partition(offset_of(spot), spot));
        let topics = topics.into_iter().map(|(topic, partitions)| fetch::RequestTopic {
            topic: topic.name(),
            partitions,
            ..Default::default()
        });
        let request = fetch::Request {
            replica_id: -1,
            max_wait_ms: FETCH_WAIT_MS,
            min_bytes: 1,
            max_bytes: FETCH_BYTES * 4,
            isolation_level: i8::from(committed),
            topics: topics.collect(),
            ..Default::default()
        };
        let answer: fetch::Response<'_> = self.ask(&Request::Fetch(request))?;
        check(answer.error_code, "Fetch")?;
        for topic in &answer.topics {
            for partition in &topic.partitions {
                let spot = spot(topic.topic, partition.partition_index)?;
                check(partition.error_code, &format!("Fetch of {spot} from {}", offset_of(spot)))?;
                let aborted = partition.aborted_transactions.iter().flatten();
                let aborted: Vec<_> = aborted.map(|aborted| (aborted.producer_id, aborted.first_offset)).collect();
                heard(spot, partition.records.unwrap_or_default(), &aborted)?;
            }
        }
        Ok(())
    }

    /// What a group has committed of a topic, once no open transaction could change it; `None`: nothing.
    pub fn committed(&mut self, group: &str, topic: Topic) -> Result<Vec<(Spot, Option<u64>)>, LinkError> {
        let wanted = offset_fetch::RequestTopic { name: topic.name(), partition_indexes: (0..topic.partitions()).collect() };
        let wanted = offset_fetch::RequestGroup { group_id: group, topics: Some(vec![wanted]), ..Default::default() };
        let request = offset_fetch::Request { groups: vec![wanted], require_stable: true, ..Default::default() };
        loop {
            let answer: offset_fetch::Response<'_> = self.ask(&Request::OffsetFetch(request.clone()))?;
            let Some(found) = answer.groups.first() else { return Err(LinkError::Fault("OffsetFetch: no group".into())) };
            check(found.error_code, "OffsetFetch")?;
            let partitions: Vec<_> = found.topics.iter().flat_map(|topic| &topic.partitions).collect();
            if partitions.iter().any(|partition| partition.error_code == error_code::UNSTABLE_OFFSET_COMMIT) {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            let mut offsets = Vec::new();
            for partition in partitions {
                check(partition.error_code, "OffsetFetch")?;
                let spot = Spot { topic, partition: partition.partition_index };
                offsets.push((spot, u64::try_from(partition.committed_offset).ok()));
            }
            return Ok(offsets);
        }
    }
}

/// A request to produce these batches.
pub fn produce<'a>(batches: &[(Spot, &'a [u8])], acks: i16, transactional_id: Option<&'a str>) -> Request<'a> {
    let records = |spot: Spot| batches.iter().find(|(known, _)| *known == spot).map(|(_, batch)| *batch);
    let topics = by_topic(batches.iter().map(|(spot, _)| *spot), |spot| produce::RequestPartition {
        index: spot.partition,
        records: records(spot),
    });
    let topics = topics.into_iter().map(|(topic, partitions)| produce::RequestTopic {
        name: topic.name(),
        partitions,
        ..Default::default()
    });
    Request::Produce(produce::Request { transactional_id, acks, timeout_ms: 30_000, topics: topics.collect() })
}

/// The first offset of each batch that was produced.
pub fn produced(answer: &produce::Response<'_>) -> Result<Vec<(Spot, u64)>, LinkError> {
    let mut all = Vec::new();
    for topic in &answer.topics {
        for partition in &topic.partitions {
            let spot = spot(topic.name, partition.index)?;
            check(partition.error_code, &format!("Produce to {spot}"))?;
            let base = u64::try_from(partition.base_offset);
            all.push((spot, base.map_err(|_| LinkError::Fault(format!("Produce to {spot} without an offset")))?));
        }
    }
    Ok(all)
}

/// Partitions under the names of their topics, as requests have them.
pub fn by_topic<T>(spots: impl Iterator<Item = Spot>, make: impl Fn(Spot) -> T) -> Vec<(Topic, Vec<T>)> {
    let mut topics: Vec<(Topic, Vec<T>)> = Vec::new();
    for spot in spots {
        match topics.iter_mut().find(|(topic, _)| *topic == spot.topic) {
            Some((_, partitions)) => partitions.push(make(spot)),
            None => topics.push((spot.topic, vec![make(spot)])),
        }
    }
    topics
}

fn spot(topic: &str, partition: i32) -> Result<Spot, LinkError> {
    let topic = Topic::of(topic).ok_or_else(|| LinkError::Fault(format!("an answer about topic '{topic}'")))?;
    Ok(Spot { topic, partition })
}

/// A code that should not be there is a fault.
pub fn check(code: i16, what: &str) -> Result<(), LinkError> {
    if code == error_code::NONE {
        return Ok(());
    }
    Err(LinkError::Fault(format!("{what}: {} ({code})", error_code::name(code).unwrap_or("error"))))
}

fn fault(error: ClientError) -> LinkError {
    match error {
        ClientError::Io(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            LinkError::Fault(format!("no answer within {} s", ANSWER.as_secs()))
        }
        ClientError::Io(error) => LinkError::Gone(error),
        other => LinkError::Fault(other.to_string()),
    }
}
