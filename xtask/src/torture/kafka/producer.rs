//! Producers without transactions. The plain one gives up what was not answered when the broker was killed; an idempotent one
//! sends it again to the next run of the broker, with the same sequence numbers.

use std::collections::VecDeque;

use kafka::codec::{ApiKey, produce};

use super::link::{Identity, Link, produce, produced};
use super::record::{Id, Sequenced, Spot, Topic, batch};
use super::{Shared, now_ms, pause};
use crate::torture::fault::LinkError;
use crate::torture::random::Random;

/// Requests without an answer: a broker remembers five batches of a producer.
const IN_FLIGHT_MAX: u64 = 5;
/// Records of a request.
const RECORDS_MAX: u64 = 25;

/// What of a producer outlives the broker.
#[derive(Default)]
pub struct State {
    /// `None`: it has none, or needs none.
    identity: Option<Identity>,
    /// The next sequence number by partition.
    sequences: Vec<i32>,
    /// Requests without an answer, oldest first.
    in_flight: VecDeque<Vec<Batch>>,
}

struct Batch {
    spot: Spot,
    ids: Vec<Id>,
    bytes: Vec<u8>,
}

pub fn run(shared: &Shared, producer: u16, topic: Topic, state: &mut State, seed: u64) -> Result<(), LinkError> {
    let mut random = Random::new(seed);
    let mut link = Link::open(shared.address)?;
    let idempotent = topic != Topic::Plain;
    // Idempotence needs all; and any version that is served will do.
    let acks = if idempotent || random.one_in(2) { -1 } else { 1 };
    link.limit(ApiKey::Produce, i16::try_from(3 + random.below(10)).unwrap_or(3));
    if idempotent && state.identity.is_none() {
        state.identity = Some(link.identify(None)?);
        state.sequences = vec![0; topic.partitions().unsigned_abs() as usize];
    }
    if !idempotent {
        state.in_flight.clear();
    }
    for request in &state.in_flight {
        send(&mut link, request, acks)?;
    }
    let window = usize::try_from(1 + random.below(IN_FLIGHT_MAX)).unwrap_or(1).max(state.in_flight.len());
    loop {
        let stopping = shared.is_producing_over();
        if !stopping && state.in_flight.len() < window {
            let request = prepare(shared, producer, topic, state, 1 + random.below(RECORDS_MAX));
            // It is under way from here on, whatever becomes of the connection.
            state.in_flight.push_back(request);
            if let Some(request) = state.in_flight.back() {
                send(&mut link, request, acks)?;
            }
            pause(&mut random);
            continue;
        }
        if state.in_flight.is_empty() {
            return Ok(());
        }
        let answer: produce::Response<'_> = link.receive()?;
        let bases = produced(&answer)?;
        let Some(request) = state.in_flight.pop_front() else { continue };
        let mut checker = shared.checker();
        for Batch { spot, ids, .. } in request {
            match bases.iter().find(|(answered, _)| *answered == spot) {
                Some((_, base)) => checker.acked(spot, *base, &ids),
                None => checker.violation(format!("producer {producer}: an answer says nothing of {spot}")),
            }
        }
    }
}

/// Make records, and of those for one partition a batch.
fn prepare(shared: &Shared, producer: u16, topic: Topic, state: &mut State, count: u64) -> Vec<Batch> {
    let mut checker = shared.checker();
    let ids: Vec<Id> = (0..count).map(|_| checker.sent(producer, topic, None, None)).collect();
    drop(checker);
    let mut request = Vec::new();
    for spot in topic.spots() {
        let ids: Vec<Id> = ids.iter().copied().filter(|id| id.spot(topic) == spot).collect();
        if ids.is_empty() {
            continue;
        }
        let next = state.sequences.get_mut(spot.partition.unsigned_abs() as usize);
        let by = state.identity.zip(next).map(|(Identity { producer_id, epoch }, next)| {
            let sequence = *next;
            *next += i32::try_from(ids.len()).unwrap_or(0);
            Sequenced { producer_id, epoch, sequence, transactional: false }
        });
        let bytes = batch(&ids, topic, by, now_ms());
        request.push(Batch { spot, ids, bytes });
    }
    request
}

fn send(link: &mut Link, request: &[Batch], acks: i16) -> Result<(), LinkError> {
    let batches: Vec<_> = request.iter().map(|batch| (batch.spot, batch.bytes.as_slice())).collect();
    link.send(&produce(&batches, acks, None))
}
