//! Producers and their transactions: keys 22 InitProducerId, 24 AddPartitionsToTxn, 25 AddOffsetsToTxn, 26 EndTxn,
//! 61 DescribeProducers, 65 DescribeTransactions, 66 ListTransactions.

use std::collections::BTreeSet;

use model::group::{TransactionInfo, TransactionRef, TransactionState};
use model::topic::ProducerState;
use model::{Reply, Request};

use super::errors::{MISMATCH, Refusal, transaction_code};
use super::job::{Answer, Each, Here, Item, distinct, partition};
use crate::codec::error_code::{INVALID_REQUEST, OPERATION_NOT_ATTEMPTED};
use crate::codec::{
    Message as _, add_offsets_to_txn, add_partitions_to_txn, describe_producers, describe_transactions, end_txn,
    init_producer_id, list_transactions,
};

/// No producer id, or no epoch.
const NONE: i64 = -1;

/// A producer that asks for an id.
pub(super) struct Init {
    transactional_id: Option<Box<str>>,
    timeout_ms: i32,
    known: Option<(i64, i16)>,
    /// The version knows PRODUCER_FENCED.
    fenced_known: bool,
    told: Option<Result<(i64, i16), i16>>,
}

/// Key 22.
pub(super) fn init_producer(request: &init_producer_id::Request<'_>, version: i16) -> Each<Init> {
    let (id, epoch) = (request.producer_id, request.producer_epoch);
    let odd = (id == NONE) != (i64::from(epoch) == NONE);
    let init = Init {
        transactional_id: request.transactional_id.map(Box::from),
        timeout_ms: request.transaction_timeout_ms,
        known: (id != NONE).then_some((id, epoch)),
        fenced_known: version >= 4,
        told: odd.then_some(Err(INVALID_REQUEST)),
    };
    Each::of([init], |inits, here, out| {
        for item in inits.items() {
            let response = match item.told {
                Some(Ok((producer_id, producer_epoch))) => {
                    init_producer_id::Response { producer_id, producer_epoch, ..Default::default() }
                }
                told => {
                    let error_code = told.and_then(Result::err).unwrap_or(MISMATCH);
                    init_producer_id::Response { error_code, producer_epoch: -1, ..Default::default() }
                }
            };
            response.encode(out, here.version);
        }
    })
}

impl Item for Init {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        let transactional_id = self.transactional_id.as_deref();
        Request::InitProducer { transactional_id, timeout_ms: self.timeout_ms, known: self.known }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(producer_of(answer, self.fenced_known));
    }
}

fn producer_of(answer: Answer, fenced_known: bool) -> Result<(i64, i16), i16> {
    match answer {
        Ok(Reply::Producer { id, epoch, .. }) => Ok((id, epoch)),
        Ok(_) => Err(MISMATCH),
        Err(failure) => Err(transaction_code(&failure, fenced_known)),
    }
}

/// A transaction as its producer names it.
#[derive(Clone)]
struct Named {
    transactional_id: Box<str>,
    producer_id: i64,
    epoch: i16,
    /// The version knows PRODUCER_FENCED.
    fenced_known: bool,
}

impl Named {
    fn new(transactional_id: &str, producer_id: i64, epoch: i16, version: i16) -> Named {
        Named { transactional_id: transactional_id.into(), producer_id, epoch, fenced_known: version >= 2 }
    }

    fn reference(&self) -> TransactionRef<'_> {
        TransactionRef { transactional_id: &self.transactional_id, producer_id: self.producer_id, epoch: self.epoch }
    }

    fn code(&self, answer: Answer) -> i16 {
        answer.map_or_else(|failure| transaction_code(&failure, self.fenced_known), |_| 0)
    }
}

/// A partition that takes part in a transaction.
pub(super) struct Added {
    index: i32,
    to: std::rc::Rc<Named>,
    told: Option<i16>,
}

/// Key 24.
pub(super) fn add_partitions(request: &add_partitions_to_txn::Request<'_>, version: i16) -> Each<Added> {
    let named = Named::new(request.transactional_id, request.producer_id, request.producer_epoch, version);
    let to = std::rc::Rc::new(named);
    let topics = request.topics.iter().map(|topic| {
        let added = |index: &i32| Added { index: *index, to: to.clone(), told: None };
        (topic.name, topic.partitions.iter().map(added).collect::<Vec<_>>())
    });
    Each::by_topic(topics, |added, here, out| {
        // The client adds all or none.
        let refused = added.items().iter().any(|item| item.told != Some(0));
        let partition = |item: &Added| add_partitions_to_txn::Partition {
            partition_index: item.index,
            error_code: match item.told {
                Some(0) if refused => OPERATION_NOT_ATTEMPTED,
                told => told.unwrap_or(MISMATCH),
            },
        };
        let topic = |(name, items): (_, &[Added])| add_partitions_to_txn::Topic {
            name,
            partitions: items.iter().map(partition).collect(),
        };
        let topics = added.topics().map(topic).collect();
        add_partitions_to_txn::Response { topics, ..Default::default() }.encode(out, here.version);
    })
}

impl Item for Added {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, topic: &'a str) -> Request<'a> {
        Request::AddToTransaction { transaction: self.to.reference(), topic, partition: partition(self.index) }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(self.to.code(answer));
    }
}

/// A group whose offsets take part in a transaction.
pub(super) struct AddedGroup {
    group: Box<str>,
    to: Named,
    told: Option<i16>,
}

/// Key 25.
pub(super) fn add_group(request: &add_offsets_to_txn::Request<'_>, version: i16) -> Each<AddedGroup> {
    let to = Named::new(request.transactional_id, request.producer_id, request.producer_epoch, version);
    Each::of([AddedGroup { group: request.group_id.into(), to, told: None }], |added, here, out| {
        for item in added.items() {
            let error_code = item.told.unwrap_or(MISMATCH);
            add_offsets_to_txn::Response { error_code, ..Default::default() }.encode(out, here.version);
        }
    })
}

impl Item for AddedGroup {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        Request::AddGroupToTransaction { transaction: self.to.reference(), group: &self.group }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(self.to.code(answer));
    }
}

/// A transaction that ends.
pub(super) struct End {
    ended: Named,
    commit: bool,
    bump: bool,
    told: Option<Result<(i64, i16), i16>>,
}

/// From this version on the producer gets a new epoch with each transaction (KIP-890).
const BUMP: i16 = 5;

/// Key 26.
pub(super) fn end(request: &end_txn::Request<'_>, version: i16) -> Each<End> {
    let ended = Named::new(request.transactional_id, request.producer_id, request.producer_epoch, version);
    Each::of([End { ended, commit: request.committed, bump: version >= BUMP, told: None }], |ends, here, out| {
        for item in ends.items() {
            let response = match item.told {
                Some(Ok((producer_id, producer_epoch))) => {
                    end_txn::Response { producer_id, producer_epoch, ..Default::default() }
                }
                Some(Err(error_code)) => end_txn::Response { error_code, ..Default::default() },
                None => end_txn::Response { error_code: MISMATCH, ..Default::default() },
            };
            response.encode(out, here.version);
        }
    })
}

impl Item for End {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        Request::EndTransaction { transaction: self.ended.reference(), commit: self.commit, bump: self.bump }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(producer_of(answer, self.ended.fenced_known));
    }
}

/// A partition whose producers are asked for.
pub(super) struct Written {
    index: i32,
    told: Option<Result<Vec<ProducerState>, Refusal>>,
}

/// Key 61.
pub(super) fn describe_producers(request: &describe_producers::Request<'_>) -> Each<Written> {
    let written = |index: &i32| Written { index: *index, told: None };
    // Repeated topics and partitions are answered once.
    let mut seen = std::collections::HashSet::new();
    let topics: Vec<_> = request
        .topics
        .iter()
        .map(|topic| {
            let fresh = topic.partition_indexes.iter().filter(|index| seen.insert((topic.name, **index)));
            (topic.name, fresh.map(written).collect::<Vec<_>>())
        })
        .collect();
    Each::by_topic(topics, tell_producers)
}

impl Item for Written {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, topic: &'a str) -> Request<'a> {
        Request::DescribeProducers { topic, partition: partition(self.index) }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(match answer {
            Ok(Reply::Producers(producers)) => Ok(producers),
            Ok(_) => Err(Refusal { code: MISMATCH, text: None }),
            Err(failure) => Err(failure.into()),
        });
    }
}

fn tell_producers(written: &Each<Written>, here: &Here<'_>, out: &mut Vec<u8>) {
    let producer = |state: &ProducerState| describe_producers::Producer {
        producer_id: state.producer_id,
        producer_epoch: state.epoch.into(),
        last_sequence: state.last_sequence,
        last_timestamp: state.last_timestamp_ms,
        coordinator_epoch: 0,
        current_txn_start_offset: state.transaction_start,
    };
    let partition = |item| {
        let Written { index, told }: &Written = item;
        let mut partition = describe_producers::Partition { partition_index: *index, ..Default::default() };
        match told {
            Some(Ok(producers)) => partition.active_producers = producers.iter().map(producer).collect(),
            Some(Err(refusal)) => {
                (partition.error_code, partition.error_message) = (refusal.code, refusal.text.as_deref());
            }
            None => partition.error_code = MISMATCH,
        }
        partition
    };
    let topic = |(name, items)| {
        let items: &[Written] = items;
        describe_producers::Topic { name, partitions: items.iter().map(partition).collect() }
    };
    let topics = written.topics().map(topic).collect();
    describe_producers::Response { topics, ..Default::default() }.encode(out, here.version);
}

/// Transactions that are asked about: one, or all.
pub(super) struct Sought {
    transactional_id: Option<Box<str>>,
    told: Option<Result<Vec<TransactionInfo>, i16>>,
}

impl Item for Sought {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        Request::DescribeTransactions { transactional_id: self.transactional_id.as_deref() }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(match answer {
            Ok(Reply::Transactions(found)) => Ok(found),
            Ok(_) => Err(MISMATCH),
            Err(failure) => Err(transaction_code(&failure, true)),
        });
    }
}

/// Key 65.
pub(super) fn describe(request: &describe_transactions::Request<'_>) -> Each<Sought> {
    let sought = |id: &&str| Sought { transactional_id: Some((*id).into()), told: None };
    Each::of(distinct(&request.transactional_ids).map(sought), tell_described)
}

fn tell_described(sought: &Each<Sought>, here: &Here<'_>, out: &mut Vec<u8>) {
    let described = |item| {
        let Sought { transactional_id, told }: &Sought = item;
        let transactional_id = transactional_id.as_deref().unwrap_or_default();
        let found = match told {
            Some(Ok(found)) => found.first().ok_or(MISMATCH),
            Some(Err(code)) => Err(*code),
            None => Err(MISMATCH),
        };
        match found {
            Ok(found) => describe_transactions::Transaction {
                error_code: 0,
                transactional_id,
                transaction_state: found.state.name(),
                transaction_timeout_ms: found.timeout_ms,
                transaction_start_time_ms: found.started_ms,
                producer_id: found.producer_id,
                producer_epoch: found.epoch,
                topics: topics(found),
            },
            Err(error_code) => describe_transactions::Transaction { error_code, transactional_id, ..Default::default() },
        }
    };
    let transactions = sought.items().iter().map(described).collect();
    describe_transactions::Response { transactions, ..Default::default() }.encode(out, here.version);
}

fn topics(found: &TransactionInfo) -> Vec<describe_transactions::Topic<'_>> {
    let mut sorted: Vec<(&str, i32)> = found.partitions.iter().map(|(topic, index)| (&**topic, *index as i32)).collect();
    sorted.sort_unstable();
    let topics = sorted.chunk_by(|a, b| a.0 == b.0);
    let topic = |partitions: &[(&'_ str, i32)]| partitions.iter().map(|(_, index)| *index).collect();
    topics
        .filter_map(|partitions| {
            let (name, _) = partitions.first()?;
            Some(describe_transactions::Topic { topic: name, partitions: topic(partitions) })
        })
        .collect()
}

/// States that Kafka knows. Deciding takes no time here, and nothing is ever between two states.
const STATES: [&str; 8] =
    ["Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "PrepareEpochFence", "Dead"];

/// Transactions that fit.
pub(super) struct Filtered {
    // Sets: a client may name a million, and there may be many transactions.
    states: BTreeSet<Box<str>>,
    producer_ids: BTreeSet<i64>,
    duration_ms: i64,
    all: Sought,
}

/// Key 66.
pub(super) fn list(request: &list_transactions::Request<'_>) -> Each<Filtered> {
    let filtered = Filtered {
        states: request.state_filters.iter().map(|state| Box::from(*state)).collect(),
        producer_ids: request.producer_id_filters.iter().copied().collect(),
        duration_ms: request.duration_filter,
        all: Sought { transactional_id: None, told: None },
    };
    Each::of([filtered], tell_listed)
}

impl Item for Filtered {
    fn asks(&self) -> bool {
        self.all.asks()
    }

    fn ask<'a>(&'a self, topic: &'a str) -> Request<'a> {
        self.all.ask(topic)
    }

    fn answered(&mut self, answer: Answer) {
        self.all.answered(answer);
    }
}

impl Filtered {
    fn passes(&self, found: &TransactionInfo, now_ms: i64) -> bool {
        let state = self.states.is_empty() || self.states.contains(found.state.name());
        let producer = self.producer_ids.is_empty() || self.producer_ids.contains(&found.producer_id);
        let lasts = found.state == TransactionState::Ongoing && now_ms.saturating_sub(found.started_ms) > self.duration_ms;
        state && producer && (self.duration_ms < 0 || lasts)
    }
}

fn tell_listed(filtered: &Each<Filtered>, here: &Here<'_>, out: &mut Vec<u8>) {
    let mut response = list_transactions::Response::default();
    for item in filtered.items() {
        let unknown = item.states.iter().map(|state| &**state).filter(|state| !STATES.contains(state));
        response.unknown_state_filters.extend(unknown);
        match &item.all.told {
            Some(Ok(all)) => {
                let fits = all.iter().filter(|found| item.passes(found, here.now.wall_ms as i64));
                response.transactions.extend(fits.map(|found| list_transactions::Transaction {
                    transactional_id: &found.transactional_id,
                    producer_id: found.producer_id,
                    transaction_state: found.state.name(),
                }));
            }
            Some(Err(error_code)) => response.error_code = *error_code,
            None => response.error_code = MISMATCH,
        }
    }
    response.encode(out, here.version);
}
